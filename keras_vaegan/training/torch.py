"""The training and test steps on PyTorch: all gradients by `autograd.grad` before any update."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import torch

from keras_vaegan.errors import InputError
from keras_vaegan.training.stateful import StatefulSteps, one_device, predict, unfold
from keras_vaegan.typing import Tensor

__all__ = [
    "Steps",
    "be_deterministic",
    "conv_transpose",
    "distribution",
    "input_gradient",
    "of_replica",
    "one_device",
    "part",
    "predict",
    "random_states",
    "set_random_states",
    "shares",
    "unfold",
    "worker",
]


class Steps(StatefulSteps):
    """`train_step` of a `MultiPlayerModel` on PyTorch."""

    def train_step(self: Any, data: Any) -> dict[str, Tensor]:
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        losses = self.compute_losses(x, y, training=True)
        gradients = {}
        for player, variables in self.player_variables().items():
            objective = self.optimizer.scale_loss(self.objective(losses.players[player], sample_weight))
            # Only the path to these variables is walked; another player's gradients are never made.
            gradients[player] = torch.autograd.grad(
                objective,
                [variable.value for variable in variables],
                retain_graph=True,
                allow_unused=True,
                materialize_grads=True,
            )
        with torch.no_grad():
            self.apply_gradients(gradients, losses.active)
            self.track(losses)
            self.observe(x, sample_weight, losses, gradients)
        return self.get_metrics_result()


def of_replica(seed: Tensor) -> Tensor:
    """The seed itself: there is one device."""
    return seed


def distribution(required: bool) -> contextlib.AbstractContextManager[Any]:
    """See `keras_vaegan.training.distribution`: Keras has none on PyTorch."""
    if required:
        raise InputError("distribute must be auto or none: Keras trains on one device with PyTorch.")
    return contextlib.nullcontext()


def shares() -> int:
    """See `keras_vaegan.training.shares`."""
    return 1


def worker() -> tuple[int, int]:
    """See `keras_vaegan.training.worker`: there is one process."""
    return 0, 1


part = worker


def conv_transpose(x: Tensor, kernel: Tensor, strides: tuple[int, int]) -> Tensor:
    """See `keras_vaegan.training.conv_transpose`.

    Keras computes a margin that it cuts off; where both sides of it are equal torch need not.
    """
    margins = [size - stride for size, stride in zip(kernel.shape[:2], strides, strict=True)]
    if any(margin % 2 or margin < 0 for margin in margins):
        return keras.ops.conv_transpose(x, kernel, strides, "same", data_format="channels_last")
    x, kernel = (keras.ops.convert_to_tensor(value) for value in (x, kernel))
    outputs = torch.nn.functional.conv_transpose2d(
        x.permute(0, 3, 1, 2),
        kernel.permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last),
        stride=strides,
        padding=[margin // 2 for margin in margins],
    )
    return outputs.permute(0, 2, 3, 1)


def be_deterministic() -> None:
    """See `keras_vaegan.training.be_deterministic`; an operator that has no such form warns."""
    torch.use_deterministic_algorithms(True, warn_only=True)


def random_states() -> list[np.ndarray]:
    """See `keras_vaegan.training.random_states`; Keras' Dropout draws from these here."""
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return [state.numpy() for state in (torch.get_rng_state(), *devices)]


def set_random_states(states: Sequence[np.ndarray]) -> None:
    """See `keras_vaegan.training.set_random_states`."""
    own, *devices = (torch.from_numpy(state.copy()) for state in states)
    torch.set_rng_state(own)
    if devices and len(devices) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(devices)


def input_gradient(function: Callable[[Tensor], tuple[Tensor, Any]], x: Tensor) -> tuple[Tensor, Any]:
    """See `keras_vaegan.training.input_gradient`."""
    with torch.enable_grad():
        x = x if x.requires_grad else x.detach().requires_grad_()
        value, auxiliary = function(x)
        (gradient,) = torch.autograd.grad(value.sum(), x, create_graph=True)
    return gradient, auxiliary
