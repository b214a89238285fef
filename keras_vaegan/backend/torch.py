"""The training and test steps on PyTorch: all gradients by `autograd.grad` before any update."""

import contextlib
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import torch
from torch.optim.adam import adam

from keras_vaegan.backend import layers
from keras_vaegan.backend.stateful import StatefulSteps, one_device, predict, unfold
from keras_vaegan.errors import InputError
from keras_vaegan.memory import Cycles
from keras_vaegan.typing import Tensor

# What `keras.tree` is given on PyTorch, the inputs of each layer among it, it leaves in a reference cycle.
CYCLES = Cycles()

__all__ = [
    "Steps",
    "be_deterministic",
    "differentiates",
    "distribution",
    "input_gradient",
    "of_replica",
    "one_device",
    "part",
    "predict",
    "quicken_layers",
    "random_states",
    "set_random_states",
    "shares",
    "unfold",
    "worker",
]


class Steps(StatefulSteps):
    """`train_step` of a `MultiPlayerModel` on PyTorch."""

    compiles = False

    # torch.compile frees the graph that the players' gradients share after the first of them.
    compiles_steps = False

    @staticmethod
    def quicken(optimizer: keras.optimizers.Optimizer) -> None:
        kind = type(optimizer)  # a class of Keras for this backend alone, below the public one
        if (kind.__name__, kind.__module__.split(".")[0]) == ("Adam", "keras"):  # and no class of the user's
            optimizer._parallel_update_step = functools.partial(adam_step, optimizer)

    def train_step(self: Any, data: Any) -> dict[str, Tensor]:
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        self.check_batch(x, y)
        losses = self.step_losses(x, y, training=True)
        players = self.player_variables()
        first, gradients = next(iter(players)), {}
        # The generator last, whose gradient walks most of the graph: it frees what the others have kept.
        for player, variables in reversed(players.items()):
            objective = self.scale_loss(player, self.objective(losses, player, sample_weight))
            # Only the path to these variables is walked; another player's gradients are never made.
            gradients[player] = torch.autograd.grad(
                objective,
                [variable.value for variable in variables],
                retain_graph=player != first,
                allow_unused=True,
                materialize_grads=True,
            )
        gradients = {player: gradients[player] for player in players}
        with torch.no_grad():
            self.apply_gradients(gradients, losses.active)
            self.track(losses, sample_weight)
            if self.guarded:
                self.note(x, y, training=True, sample_weight=sample_weight)
            self.observe(x, sample_weight, losses, gradients)
        CYCLES.look()
        return self.get_metrics_result()


def adam_step(
    optimizer: Any, gradients: list[Tensor], variables: list[keras.Variable], learning_rate: Tensor
) -> None:
    """The step that Keras' Adam takes, by torch's kernel, in a fifth of the time on processors.

    Keras reads and writes all weights a dozen times. Its epsilon stands beside the root of the mean as it is,
    torch's beside that of the corrected one. The kernel takes the plain case alone; all else goes Keras' own
    way. Keras clips and decays before this step, and averages after it.
    """
    values = [variable.value for variable in variables]
    places = [optimizer._get_variable_index(variable) for variable in variables]
    first = [optimizer._momentums[place].value for place in places]
    second = [optimizer._velocities[place].value for place in places]
    kinds = {(value.dtype, value.device.type) for value in [*values, *gradients]}
    # The kernel goes through memory, whatever the strides: those of a convolution's gradient are others.
    whole = all(array.is_contiguous() for array in [*values, *first, *second])
    plain = whole and kinds == {(torch.float32, "cpu")}
    if optimizer.amsgrad or optimizer.gradient_accumulation_steps or not plain:
        type(optimizer)._parallel_update_step(optimizer, gradients, variables, learning_rate)
        return
    done = int(optimizer.iterations)
    adam(
        values,
        [gradient.contiguous() for gradient in gradients],
        first,
        second,
        [],
        list(torch.full((len(values),), float(done)).unbind()),  # it counts in them
        fused=True,
        amsgrad=False,
        beta1=optimizer.beta_1,
        beta2=optimizer.beta_2,
        lr=float(learning_rate),
        weight_decay=0.0,  # Keras has applied it before
        eps=optimizer.epsilon / math.sqrt(1.0 - optimizer.beta_2 ** (done + 1)),
        maximize=False,
    )


def of_replica(seed: Tensor) -> Tensor:
    """The seed itself: there is one device."""
    return seed


def distribution(required: bool) -> contextlib.AbstractContextManager[Any]:
    """See `keras_vaegan.backend.distribution`: Keras has none on PyTorch; `required` raises `InputError`."""
    if required:
        raise InputError("distribute must be auto or none: Keras trains on one device with PyTorch.")
    return contextlib.nullcontext()


def shares() -> int:
    """See `keras_vaegan.backend.shares`."""
    return 1


def worker() -> tuple[int, int]:
    """See `keras_vaegan.backend.worker`: there is one process."""
    return 0, 1


part = worker


def quicken_layers(network: keras.Layer) -> None:
    """See `keras_vaegan.backend.quicken_layers`."""
    layers.quicken(
        network, convolve, conv_transpose, halve_by_max, group_normalize, convolve_each=convolve_each
    )


def convolve(x: Tensor, kernel: Tensor, strides: tuple[int, int]) -> Tensor:
    """A convolution with padding `same`.

    Keras copies the images to channels-first memory and back to channels-last, where torch can be told that
    they are channels-last already.

    Args:
        x: `(B, H, W, C)`.
        kernel: `(h, w, C, D)`.
        strides: by which height and width shrink.

    Returns:
        `(B, ceil(H / strides[0]), ceil(W / strides[1]), D)`.
    """
    return _convolved(x, kernel_channels_last(kernel), strides, groups=1)


def convolve_each(x: Tensor, kernel: Tensor, strides: tuple[int, int]) -> Tensor:
    """Convolutions of each channel by itself, with padding `same`.

    Keras copies the images here, too.

    Args:
        x: `(B, H, W, C)`.
        kernel: `(h, w, C, M)`, M kernels for each channel.
        strides: by which height and width shrink.

    Returns:
        `(B, ceil(H / strides[0]), ceil(W / strides[1]), C M)`, the channels made of the first one first.
    """
    kernel = keras.ops.convert_to_tensor(kernel)
    side_by_side = kernel.reshape(*kernel.shape[:2], 1, -1)
    return _convolved(x, kernel_channels_last(side_by_side), strides, groups=kernel.shape[2])


def _convolved(x: Tensor, kernel: Tensor, strides: tuple[int, int], groups: int) -> Tensor:
    """A convolution of `(B, H, W, C)` with a kernel in torch's layout and padding `same`."""
    images = channels_first(x)
    margins = []
    for size, extent, stride in zip(images.shape[2:], kernel.shape[2:], strides, strict=True):
        margins.append(max(extent - (size % stride or stride), 0))
    if any(margin % 2 for margin in margins):  # the larger half goes behind
        height, width = margins
        before, after = (height // 2, width // 2), (height - height // 2, width - width // 2)
        images = torch.nn.functional.pad(images, (before[1], after[1], before[0], after[0]))
        margins = [0, 0]
    outputs = torch.nn.functional.conv2d(
        images, kernel, stride=strides, padding=[margin // 2 for margin in margins], groups=groups
    )
    return channels_last(outputs)


def conv_transpose(x: Tensor, kernel: Tensor, strides: tuple[int, int]) -> Tensor:
    """A transposed convolution with padding `same`.

    Keras computes a margin that it cuts off; where both sides of it are equal torch need not.

    Args:
        x: `(B, H, W, C)`.
        kernel: `(h, w, D, C)`.
        strides: by which height and width grow.

    Returns:
        `(B, H strides[0], W strides[1], D)`.
    """
    margins = [size - stride for size, stride in zip(kernel.shape[:2], strides, strict=True)]
    if any(margin % 2 or margin < 0 for margin in margins):
        return keras.ops.conv_transpose(x, kernel, strides, "same", data_format="channels_last")
    outputs = torch.nn.functional.conv_transpose2d(
        channels_first(x),
        kernel_channels_last(kernel),
        stride=strides,
        padding=[margin // 2 for margin in margins],
    )
    return channels_last(outputs)


def halve_by_max(x: Tensor) -> Tensor:
    """The largest of every 2x2, what is over at an odd edge by itself: `(B, ceil(H / 2), ceil(W / 2), C)`.

    Keras copies here, too.

    Args:
        x: `(B, H, W, C)`.
    """
    images = channels_first(x)
    return channels_last(torch.nn.functional.max_pool2d(images, 2, ceil_mode=True))


def group_normalize(
    x: Tensor, groups: int, gamma: Tensor | None, beta: Tensor | None, epsilon: float
) -> Tensor:
    """Maps less the mean of their group of channels, over its standard deviation.

    On PyTorch Keras computes the variance as E[x^2] - E[x]^2, which rounding can make negative: maps of mean
    100 and standard deviation 0.01 become NaN. On processors it also takes two to four times as long.

    Args:
        x: `(B, H, W, C)` float32.
        groups: into which the channels are cut.
        gamma: `(C,)`, factors of the channels; None for 1.
        beta: `(C,)`, what is added to them; None for 0.
        epsilon: what is added to the variance.
    """
    return channels_last(torch.nn.functional.group_norm(channels_first(x), groups, gamma, beta, epsilon))


def channels_first(x: Tensor) -> Tensor:
    """`(B, H, W, C)` as torch wants it, `(B, C, H, W)`, in the same memory."""
    return keras.ops.convert_to_tensor(x).permute(0, 3, 1, 2)


def channels_last(x: Tensor) -> Tensor:
    """`(B, C, H, W)` as Keras wants it, `(B, H, W, C)`, in the same memory."""
    return x.permute(0, 2, 3, 1)


def kernel_channels_last(kernel: Tensor) -> Tensor:
    """Keras' kernel `(h, w, C, D)` as torch's `(D, C, h, w)`, in the memory in which the images are."""
    kernel = keras.ops.convert_to_tensor(kernel).permute(3, 2, 0, 1)
    return kernel.contiguous(memory_format=torch.channels_last)


def be_deterministic() -> None:
    """See `keras_vaegan.backend.be_deterministic`; an operator that has no such form warns."""
    torch.use_deterministic_algorithms(True, warn_only=True)


def random_states() -> list[np.ndarray]:
    """See `keras_vaegan.backend.random_states`; Keras' Dropout draws from these here."""
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return [state.numpy() for state in (torch.get_rng_state(), *devices)]


def set_random_states(states: Sequence[np.ndarray]) -> None:
    """See `keras_vaegan.backend.set_random_states`."""
    own, *devices = (torch.from_numpy(state.copy()) for state in states)
    torch.set_rng_state(own)
    if devices and len(devices) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(devices)


def differentiates(x: Tensor) -> bool:
    """Whether what is computed of a tensor now may be asked for a gradient at it."""
    return torch.is_grad_enabled() and x.requires_grad


def input_gradient(
    function: Callable[[Tensor], tuple[Tensor, Any]], x: Tensor, again: bool = True
) -> tuple[Tensor, Any]:
    """See `keras_vaegan.backend.input_gradient`."""
    with torch.enable_grad():
        x = x if x.requires_grad else x.detach().requires_grad_()
        value, auxiliary = function(x)
        (gradient,) = torch.autograd.grad(value.sum(), x, create_graph=again)
    return gradient, auxiliary
