"""The training and test steps on TensorFlow: one persistent tape, one gradient per player."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_vaegan.errors import InputError
from keras_vaegan.training.stateful import StatefulSteps, one_device, unfold
from keras_vaegan.typing import Tensor

REPLICA_STRIDE = 1_000_003  # between the seeds of two devices

__all__ = [
    "Steps",
    "be_deterministic",
    "conv_transpose",
    "distribution",
    "input_gradient",
    "of_replica",
    "one_device",
    "random_states",
    "set_random_states",
    "shares",
    "unfold",
]


class Steps(StatefulSteps):
    """`train_step` of a `MultiPlayerModel` on TensorFlow."""

    def train_step(self: Any, data: Any) -> dict[str, Tensor]:
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        # tf.distribute sums gradients over its replicas.
        share = 1.0 / tf.distribute.get_strategy().num_replicas_in_sync
        with tf.GradientTape(persistent=True) as tape:
            losses = self.compute_losses(x, y, training=True)
            objectives = {
                player: self.optimizer.scale_loss(self.objective(loss, sample_weight) * share)
                for player, loss in losses.players.items()
            }
        gradients = {
            player: tape.gradient(
                objectives[player], variables, unconnected_gradients=tf.UnconnectedGradients.ZERO
            )
            for player, variables in self.player_variables().items()
        }
        del tape
        self.apply_gradients(gradients, losses.active)
        self.track(losses)
        self.observe(x, sample_weight, losses, gradients)
        return self.get_metrics_result()

    def replica_mean(self, value: Tensor) -> Tensor:
        """Mean of a tensor over the devices that share a batch."""
        context = tf.distribute.get_replica_context()
        alone = context is None or context.num_replicas_in_sync == 1
        return value if alone else context.all_reduce("MEAN", value)


def of_replica(seed: Tensor) -> Tensor:
    """A seed `(2,)` made another one on each device that shares a batch."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return seed
    number = tf.cast(context.replica_id_in_sync_group, seed.dtype)
    return seed + tf.stack([number * REPLICA_STRIDE, tf.zeros_like(number)])


def distribution(required: bool) -> contextlib.AbstractContextManager[Any]:
    """See `keras_vaegan.training.distribution`."""
    devices = tf.config.list_logical_devices("GPU")
    if required and len(devices) < 2:
        devices = tf.config.list_logical_devices("CPU")
    if len(devices) > 1:
        return tf.distribute.MirroredStrategy([device.name for device in devices]).scope()
    if required:
        raise InputError("distribute must be auto or none: TensorFlow sees one device; received 'data'.")
    return contextlib.nullcontext()


def shares() -> int:
    """See `keras_vaegan.training.shares`: a device without any image has no means, and none to share.

    Known within the scope of the strategy alone.
    """
    return tf.distribute.get_strategy().num_replicas_in_sync


def conv_transpose(x: Tensor, kernel: Tensor, strides: tuple[int, int]) -> Tensor:
    """See `keras_vaegan.training.conv_transpose`."""
    return keras.ops.conv_transpose(x, kernel, strides, "same", data_format="channels_last")


def be_deterministic() -> None:
    """See `keras_vaegan.training.be_deterministic`."""
    tf.config.experimental.enable_op_determinism()


def random_states() -> list[np.ndarray]:
    """See `keras_vaegan.training.random_states`; every layer draws from a seed of its own here."""
    return []


def set_random_states(states: Sequence[np.ndarray]) -> None:
    """See `keras_vaegan.training.set_random_states`."""


def input_gradient(function: Callable[[Tensor], tuple[Tensor, Any]], x: Tensor) -> tuple[Tensor, Any]:
    """See `keras_vaegan.training.input_gradient`."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        value, auxiliary = function(x)
        total = tf.reduce_sum(value)
    return tape.gradient(total, x), auxiliary
