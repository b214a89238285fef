"""What several backends share, most of it those whose variables hold the state while a step runs."""

import contextlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_vaegan.typing import Tensor


def unfold(
    step: Callable[[Any, Any], tuple[Any, Any]], state: Any, inputs: Any, length: int
) -> tuple[Any, Any]:
    """See `keras_vaegan.backend.unfold`: a Python loop, which TensorFlow compiles as one long graph."""
    outputs = []
    for t in range(length):
        state, output = step(state, {name: values[t] for name, values in inputs.items()})
        outputs.append(output)
    return state, {name: ops.stack([output[name] for output in outputs]) for name in outputs[0]}


class StatefulSteps:
    """`test_step`, `update` and `synchronize` of a `MultiPlayerModel` on TensorFlow and PyTorch."""

    compiles = True  # a step that is compiled for batches that were checked serves others as well

    compiles_steps = True  # whether `jit_compile` and `steps_per_execution` can be used

    @staticmethod
    def quicken(optimizer: keras.optimizers.Optimizer) -> None:
        """Let an Adam of Keras take its steps by the backend's kernel for them: equal steps, in less time."""
        raise NotImplementedError

    def test_step(self: Any, data: Any) -> dict[str, Tensor]:
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        self.check_batch(x, y)
        self.track(self.step_losses(x, y, training=False), sample_weight)
        if self.guarded or self.compiles:
            self.note(x, y, training=False, sample_weight=sample_weight)
        return self.get_metrics_result()

    @staticmethod
    def losses_of(network: keras.Model) -> list[Tensor]:
        """What the regularizers of a network give, and what its layers gave to `add_loss` in this step."""
        return network.losses

    def update(self: Any, gradients: list[Tensor], variables: list[keras.Variable]) -> None:
        """Let the optimizer change the variables."""
        self.optimizer.apply(gradients, variables)

    def replica_mean(self, value: Tensor) -> Tensor:
        """Mean of a tensor over the devices that share a batch; here there is one."""
        return value

    def synchronize(self) -> None:
        """Make the variables hold the state of the running `fit`: they always do here."""


def predict(network: keras.Model, inputs: Any, batch_size: int) -> Any:
    """See `keras_vaegan.backend.predict`: Keras' own, on one device."""
    return network.predict(inputs, batch_size=batch_size, verbose=0)


def in_turn(step: Callable[[Any], Any], inputs: Any, batch_size: int) -> Any:
    """What a function makes of the batches of some arrays, put together again."""
    count = len(keras.tree.flatten(inputs)[0])
    outputs = [
        keras.tree.map_structure(
            ops.convert_to_numpy,
            step(keras.tree.map_structure(lambda array: array[i : i + batch_size], inputs)),  # noqa: B023
        )
        for i in range(0, count, batch_size)
    ]
    return keras.tree.map_structure(lambda *parts: np.concatenate(parts), *outputs)


def one_device() -> contextlib.AbstractContextManager[Any]:
    """What a model is built and trained in on one device."""
    return contextlib.nullcontext()
