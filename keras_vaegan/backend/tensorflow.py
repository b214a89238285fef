"""The training and test steps on TensorFlow: one persistent tape, one gradient per player."""

import contextlib
import functools
import json
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_vaegan.backend import layers, stateful
from keras_vaegan.backend.stateful import StatefulSteps, in_turn, one_device, unfold
from keras_vaegan.errors import InputError
from keras_vaegan.typing import Tensor

REPLICA_STRIDE = 1_000_003  # between the seeds of two devices

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
    """`train_step` of a `MultiPlayerModel` on TensorFlow."""

    def train_step(self: Any, data: Any) -> dict[str, Tensor]:
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        # tf.distribute sums gradients over its replicas.
        share = 1.0 / tf.distribute.get_strategy().num_replicas_in_sync
        self.check_batch(x, y)
        with tf.GradientTape(persistent=True) as tape:
            losses = self.step_losses(x, y, training=True)
            objectives = {
                player: self.scale_loss(player, self.objective(losses, player, sample_weight) * share)
                for player in losses.players
            }
        gradients = {
            player: tape.gradient(
                objectives[player], variables, unconnected_gradients=tf.UnconnectedGradients.ZERO
            )
            for player, variables in self.player_variables().items()
        }
        del tape
        self.apply_gradients(gradients, losses.active)
        self.track(losses, sample_weight)
        self.note(x, y, training=True, sample_weight=sample_weight)
        self.observe(x, sample_weight, losses, gradients)
        return _reducible(self.get_metrics_result())

    @staticmethod
    def quicken(optimizer: keras.optimizers.Optimizer) -> None:
        if type(optimizer) is keras.optimizers.Adam:  # and no class of the user's
            optimizer.update_step = functools.partial(adam_step, optimizer)

    def update(self, gradients: list[Tensor], variables: list[keras.Variable]) -> None:
        # An embedding's gradient comes in slices; Keras would square each of two slices of one row alone.
        super().update([tf.convert_to_tensor(gradient) for gradient in gradients], variables)

    def test_step(self, data: Any) -> dict[str, Tensor]:
        return _reducible(super().test_step(data))

    def _maybe_symbolic_build(self, *arguments: Any, **settings: Any) -> None:
        """Build nothing: all is built when compiled, and Keras cannot make the batch that it would need.

        It reduces the batch of a process among several, of which `tf.distribute` knows no reduction.
        """

    def replica_mean(self, value: Tensor) -> Tensor:
        """Mean of a tensor over the devices that share a batch."""
        context = tf.distribute.get_replica_context()
        alone = context is None or context.num_replicas_in_sync == 1
        return value if alone else context.all_reduce("MEAN", value)


def adam_step(
    optimizer: keras.optimizers.Adam, gradient: Tensor, variable: tf.Variable, learning_rate: Tensor
) -> None:
    """The step that Keras' Adam takes, by TensorFlow's kernel, which reads and writes each weight once.

    The kernel takes the plain case alone; all else goes Keras' own way. Keras clips and decays before this
    step, and averages after it.
    """
    plain = (
        gradient.dtype == variable.dtype == tf.float32
        and not optimizer.amsgrad
        and not optimizer.gradient_accumulation_steps
        and tf.distribute.get_strategy().num_replicas_in_sync == 1
    )
    if not plain:
        keras.optimizers.Adam.update_step(optimizer, gradient, variable, learning_rate)
        return
    place = optimizer._get_variable_index(variable)
    step = tf.cast(optimizer.iterations.value + 1, tf.float32)
    tf.raw_ops.ResourceApplyAdam(
        var=variable.handle,
        m=optimizer._momentums[place].value.handle,
        v=optimizer._velocities[place].value.handle,
        beta1_power=tf.pow(optimizer.beta_1, step),
        beta2_power=tf.pow(optimizer.beta_2, step),
        lr=tf.cast(learning_rate, tf.float32),
        beta1=optimizer.beta_1,
        beta2=optimizer.beta_2,
        epsilon=optimizer.epsilon,
        grad=gradient,
    )


def of_replica(seed: Tensor) -> Tensor:
    """A seed `(2,)` made another one on each device that shares a batch."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return seed
    number = tf.cast(context.replica_id_in_sync_group, seed.dtype)
    return seed + tf.stack([number * REPLICA_STRIDE, tf.zeros_like(number)])


def distribution(required: bool) -> contextlib.AbstractContextManager[Any]:
    """See `keras_vaegan.backend.distribution`.

    Raises `InputError` where sharing is required and TensorFlow sees one device of each kind.
    """
    if len(_jobs(json.loads(os.environ.get("TF_CONFIG") or "{}").get("cluster", {}))) > 1:
        return _workers().scope()
    devices = tf.config.list_logical_devices("GPU")
    if required and len(devices) < 2:
        devices = tf.config.list_logical_devices("CPU")
    if len(devices) > 1:
        return tf.distribute.MirroredStrategy([device.name for device in devices]).scope()
    if required:
        raise InputError("distribute must be auto or none: TensorFlow sees one device; received 'data'.")
    return contextlib.nullcontext()


@functools.cache
def _workers() -> Any:
    """The strategy of the processes that train together; TensorFlow makes it once, before all else."""
    return tf.distribute.MultiWorkerMirroredStrategy()


def shares() -> int:
    """See `keras_vaegan.backend.shares`: a device without any image has no means, and none to share.

    Known within the scope of the strategy alone.
    """
    return tf.distribute.get_strategy().num_replicas_in_sync


def worker() -> tuple[int, int]:
    """See `keras_vaegan.backend.worker`."""
    cluster = tf.distribute.get_strategy().cluster_resolver
    jobs = _jobs(cluster.cluster_spec().as_dict()) if cluster else []
    return (jobs.index((cluster.task_type, cluster.task_id)), len(jobs)) if jobs else (0, 1)


def part() -> tuple[int, int]:
    """See `keras_vaegan.backend.part`: `tf.distribute` cuts the batches."""
    return 0, 1


def predict(network: keras.Model, inputs: Any, batch_size: int) -> Any:
    """See `keras_vaegan.backend.predict`: where devices share batches, on the first of this process."""
    if network.distribute_strategy.num_replicas_in_sync == 1:
        with _without_warning_of_traces():
            return stateful.predict(network, inputs, batch_size)
    return in_turn(lambda batch: network(batch, training=False), inputs, batch_size)


@contextlib.contextmanager
def _without_warning_of_traces() -> Iterator[None]:
    """Drop TensorFlow's warning of frequent retracing.

    It counts the graphs of Keras' `predict` by the line of code that makes them, so the functions of a model,
    with one graph each, look like one function that is traced again and again.
    """
    logger, seen = tf.get_logger(), lambda record: "function retracing" not in record.getMessage()
    logger.addFilter(seen)
    try:
        yield
    finally:
        logger.removeFilter(seen)


def _jobs(cluster: dict[str, Any]) -> list[tuple[str, int]]:
    """The processes of a cluster that train, in order."""
    return [(job, i) for job in ("chief", "worker") for i in range(len(cluster.get(job, ())))]


def _reducible(logs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Logs `()`, or `(1,)` where Keras takes their mean over the processes, along a first axis."""
    _, processes = worker()
    if processes == 1:
        return logs
    return {name: tf.reshape(value, (1,)) for name, value in logs.items()}


def quicken_layers(network: keras.Layer) -> None:
    """See `keras_vaegan.backend.quicken_layers`: TensorFlow computes most of Keras' own forms fast."""
    layers.quicken(network, double=double)


def double(x: Tensor) -> Tensor:
    """Each pixel 2x2 times: `(B, H, W, C)` -> `(B, 2 H, 2 W, C)`.

    Keras' form loses the number of channels in a graph of open height and width, which LiteRT then refuses.

    Args:
        x: `(B, H, W, C)`.
    """
    batch, height, width, channels = keras.ops.shape(x)
    wide = tf.reshape(tf.concat([x, x], axis=3), (batch, height, 2 * width, channels))
    return tf.reshape(tf.concat([wide, wide], axis=2), (batch, 2 * height, 2 * width, channels))


def be_deterministic() -> None:
    """See `keras_vaegan.backend.be_deterministic`."""
    tf.config.experimental.enable_op_determinism()


def random_states() -> list[np.ndarray]:
    """See `keras_vaegan.backend.random_states`; every layer draws from a seed of its own here."""
    return []


def set_random_states(states: Sequence[np.ndarray]) -> None:
    """See `keras_vaegan.backend.set_random_states`."""


def differentiates(x: Tensor) -> bool:
    """Whether what is computed of a tensor now may be asked for a gradient at it; nobody can tell here."""
    return True


def input_gradient(
    function: Callable[[Tensor], tuple[Tensor, Any]], x: Tensor, again: bool = True
) -> tuple[Tensor, Any]:
    """See `keras_vaegan.backend.input_gradient`."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        value, auxiliary = function(x)
        total = tf.reduce_sum(value)
    return tape.gradient(total, x), auxiliary
