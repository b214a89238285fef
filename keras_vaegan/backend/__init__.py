"""What differs between the backends: one leaf each, `tensorflow.py`, `jax.py` and `torch.py`.

Models, networks, losses and training name no backend.
"""

import contextlib
import importlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_vaegan import backend_choice
from keras_vaegan.backend.layers import layers_of
from keras_vaegan.errors import choose
from keras_vaegan.typing import DISTRIBUTIONS, Tensor

backend_choice.require()
_leaf = importlib.import_module(f"keras_vaegan.backend.{keras.backend.backend()}")

if TYPE_CHECKING:
    from keras_vaegan.backend.stateful import StatefulSteps as Steps
else:
    Steps = _leaf.Steps


def input_gradient(
    function: Callable[[Tensor], tuple[Tensor, Any]], x: Tensor, again: bool = True
) -> tuple[Tensor, Any]:
    """Gradient of a scalar function with respect to its input, differentiable again.

    Args:
        function: `x` -> `(value, auxiliary)`, `value` of any shape; its sum is differentiated.
        x: a tensor.
        again: False if neither the gradient nor the function is differentiated any more, which on PyTorch
            frees the function's memory.

    Returns:
        `(gradient, auxiliary)`, the gradient of the shape of `x`.
    """
    return _leaf.input_gradient(function, x, again)


def linearized(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """A function's values `(B,)`, whose gradient is computed at once and passed on to whoever asks for it.

    So a costly function that is differentiated twice, for an adaptive weight and for a player, runs once. The
    gradient itself has no gradient.

    Args:
        function: `x` -> values `(B,)`, each of one row of `x` alone.
        x: `(B, ...)`.
    """
    if not _leaf.differentiates(x):
        return function(x)

    def twice(x: Tensor) -> tuple[Tensor, Tensor]:
        values = function(x)
        return values, values

    fixed = ops.stop_gradient(x)
    gradient, values = (ops.stop_gradient(of) for of in input_gradient(twice, fixed, again=False))
    return values + ops.sum(gradient * (x - fixed), axis=tuple(range(1, len(x.shape))))


def unfold(
    step: Callable[[Any, Any], tuple[Any, Any]], state: Any, inputs: Any, length: int
) -> tuple[Any, Any]:
    """Take a step again and again, in the form that is fastest to compile and to run on the backend.

    Args:
        step: `(state, input)` -> `(state, output)`, dictionaries of tensors; it must change no variable.
        state: of which the steps keep shapes and types.
        inputs: dictionary of tensors `(length, ...)`, of which each step gets one.
        length: number of steps.

    Returns:
        `(last state, outputs)`, the outputs as tensors `(length, ...)`.
    """
    return _leaf.unfold(step, state, inputs, length)


class Seeds(keras.random.SeedGenerator):
    """A seed generator whose draws differ on each of the devices that share a batch.

    On TensorFlow every device has a copy of the state; Keras' own gives all of them the same noise.
    """

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(seed, name="seed_generator")

    def next(self, ordered: bool = True) -> Tensor:
        """A new seed, for this device."""
        return _leaf.of_replica(super().next(ordered))


def distribution(choice: str) -> contextlib.AbstractContextManager[Any]:
    """What a model is built and trained in, so that devices share each batch.

    Where the environment names the processes that train together (`TF_CONFIG` on TensorFlow, Keras'
    `KERAS_DISTRIBUTION_...` on JAX) and `choice` is not `none`, the devices of all of them share each batch.

    Args:
        choice: `none` for one device; `auto` for all accelerators that there are, one device where there is
            one; `data` for all devices, and an error where there is one alone.

    Raises:
        InputError: `data` where the backend sees one device, or cannot share (PyTorch).
    """
    if choose("distribute", choice, DISTRIBUTIONS) == "none":
        return _leaf.one_device()
    return _leaf.distribution(choice == "data")


def shares() -> int:
    """The number of devices by which the size of a batch has to be divisible; 1 where any size will do."""
    return _leaf.shares()


class Worker(NamedTuple):
    """Which of the `size` processes that train together this is; that of rank 0 writes the files."""

    rank: int
    size: int


def worker() -> Worker:
    """This process among those that train together; known within `distribution`."""
    return Worker(*_leaf.worker())


def part() -> Worker:
    """The part of every batch that this process must give to `fit`; all of it where the backend cuts it."""
    return Worker(*_leaf.part())


def predict(network: keras.Model, inputs: Any, batch_size: int) -> Any:
    """The outputs of a network as arrays, also where devices or processes share the batches of a training."""
    return _leaf.predict(network, inputs, batch_size)


def quicken_layers(network: keras.Layer) -> None:
    """Let convolutions and pooling in a network take the forms that the backend computes fast.

    The layers stay Keras' own, in memory and in saved files. Values and gradients are the same; on
    processors XLA and PyTorch are slow at some of Keras' forms.

    Args:
        network: a layer or a model, with all that is in it.
    """
    _leaf.quicken_layers(network)


def be_deterministic() -> None:
    """Ask the backend for operators that give the same bits each time, for the whole process."""
    _leaf.be_deterministic()


def random_states() -> list[np.ndarray]:
    """States of the backend's own generators, which belong to no layer; none where there are none."""
    return _leaf.random_states()


def set_random_states(states: Sequence[np.ndarray]) -> None:
    """Put back what `random_states` gave."""
    if states:
        _leaf.set_random_states(states)


__all__ = [
    "Seeds",
    "Steps",
    "Worker",
    "be_deterministic",
    "distribution",
    "input_gradient",
    "layers_of",
    "linearized",
    "part",
    "predict",
    "quicken_layers",
    "random_states",
    "set_random_states",
    "shares",
    "unfold",
    "worker",
]
