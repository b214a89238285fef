"""The training and test steps on JAX: pure functions of the model's state.

Each player's gradient is traced from `compute_losses` on its own; the forward passes of the
players are the same computation, which XLA makes once.
"""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import keras
import numpy as np

from keras_vaegan.backend import layers, stateful
from keras_vaegan.errors import InputError
from keras_vaegan.typing import Tensor


class Steps:
    """`train_step` and `test_step` of a `MultiPlayerModel` on JAX."""

    compiles_steps = True

    def fit(self: Any, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        # Where `fit` ended with averages in place of the weights, both are one array, which JAX
        # refuses to hand to a step twice.
        for variable in self.trainable_variables:
            variable.assign(variable.value.copy())
        with _keeping_values(self):
            return super().fit(*args, **kwargs)  # type: ignore[misc]

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        with _keeping_values(self):
            return super().evaluate(*args, **kwargs)  # type: ignore[misc]

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        with _keeping_values(self):
            return super().predict(*args, **kwargs)  # type: ignore[misc]

    @staticmethod
    def quicken(optimizer: keras.optimizers.Optimizer) -> None:
        """See `StatefulSteps.quicken`; XLA makes one operation of an optimizer's already."""

    def train_step(self: Any, state: Any, data: Any) -> tuple[dict[str, Tensor], Any]:
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        variables = (
            self.trainable_variables,
            self.non_trainable_variables,
            self.optimizer.variables,
            self.metrics_variables,
        )
        mapping = _mapping(variables, state)
        self.check_batch(x, y)

        def objective(
            values: list[Tensor], player: str, players_variables: list[keras.Variable]
        ) -> tuple[Tensor, Any]:
            own = zip(players_variables, values, strict=True)
            with keras.StatelessScope(state_mapping=[*mapping, *own], collect_losses=True) as scope:
                losses = self.step_losses(x, y, training=True)
                scalar = self.scale_loss(player, self.objective(losses, player, sample_weight))
            return scalar, (losses, _values(scope, self.non_trainable_variables))

        gradients, current = {}, dict((id(variable), value) for variable, value in mapping)
        for player, own in self.player_variables().items():
            values = [current[id(variable)] for variable in own]
            gradients[player], (losses, moved) = jax.grad(objective, has_aux=True)(values, player, own)

        mapping += zip(self.non_trainable_variables, moved, strict=True)
        with keras.StatelessScope(state_mapping=mapping) as scope:
            self.apply_gradients(gradients, losses.active)
            self.track(losses, sample_weight)
            self.note(x, y, training=True, sample_weight=sample_weight)
            self.observe(x, sample_weight, losses, gradients)
            logs = self.get_metrics_result()
        return logs, tuple(_values(scope, group) for group in variables)

    def test_step(self: Any, state: Any, data: Any) -> tuple[dict[str, Tensor], Any]:
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        self.check_batch(x, y)
        variables = self.trainable_variables, self.non_trainable_variables, self.metrics_variables
        mapping = _mapping(variables, state)
        with keras.StatelessScope(state_mapping=mapping, collect_losses=True) as scope:
            self.track(self.step_losses(x, y, training=False), sample_weight)
            self.note(x, y, training=False, sample_weight=sample_weight)
            logs = self.get_metrics_result()
        return logs, tuple(_values(scope, group) for group in variables)

    @staticmethod
    def losses_of(network: keras.Model) -> list[Tensor]:
        """See `StatefulSteps.losses_of`; within a stateless scope that collects losses."""
        left = _left_as(_scope())
        return [left.get(id(loss), loss) for loss in network.losses]

    def update(self: Any, gradients: list[Tensor], variables: list[keras.Variable]) -> None:
        """Let the optimizer change the variables, within a stateless scope."""
        # Not `apply`: under loss scaling it assigns inside a branch, which JAX cannot trace.
        updated = self.optimizer.stateless_apply(
            [variable.value for variable in self.optimizer.variables],
            gradients,
            [variable.value for variable in variables],
        )
        for group, values in zip((variables, self.optimizer.variables), updated, strict=True):
            for variable, value in zip(group, values, strict=True):
                variable.assign(value)

    def replica_mean(self, value: Tensor) -> Tensor:
        """Mean of a tensor over the devices that share a batch; a JAX array spans them all."""
        return value

    def synchronize(self: Any) -> None:
        """Make the variables hold the state of the running `fit`, as they do between epochs."""
        self.jax_state_sync()


def unfold(
    step: Callable[[Any, Any], tuple[Any, Any]], state: Any, inputs: Any, length: int
) -> tuple[Any, Any]:
    """See `keras_vaegan.backend.unfold`: a scan, which compiles one step."""
    return jax.lax.scan(step, state, inputs, length)


def of_replica(seed: Tensor) -> Tensor:
    """The seed itself: an array of noise spans all devices."""
    return seed


def distribution(required: bool) -> contextlib.AbstractContextManager[Any]:
    """See `keras_vaegan.backend.distribution`; the choice is Keras' for the whole process.

    Raises `InputError` where sharing is required and JAX sees one device.
    """
    named = int(os.environ.get("KERAS_DISTRIBUTION_NUM_PROCESSES", 1))
    if named > 1 and not jax.distributed.is_initialized():
        keras.distribution.initialize()
    devices = keras.distribution.list_devices()
    processes = jax.process_count() > 1
    if len(devices) > 1 and (required or processes or not devices[0].startswith("cpu")):
        keras.distribution.set_distribution(
            keras.distribution.DataParallel(devices=devices, auto_shard_dataset=not processes)
        )
    elif required:
        raise InputError("distribute must be auto or none: JAX sees one device; received 'data'.")
    return contextlib.nullcontext()


def one_device() -> contextlib.AbstractContextManager[Any]:
    """What a model is built and trained in on one device: nothing, once Keras has forgotten the others."""
    keras.distribution.set_distribution(None)
    return contextlib.nullcontext()


def shares() -> int:
    """See `keras_vaegan.backend.shares`: Keras takes the layout of the first batch for all of them."""
    distribution = keras.distribution.distribution()
    return 1 if distribution is None else distribution.num_model_replicas


def worker() -> tuple[int, int]:
    """See `keras_vaegan.backend.worker`."""
    alone = keras.distribution.distribution() is None
    return (0, 1) if alone else (jax.process_index(), jax.process_count())


part = worker


def predict(network: keras.Model, inputs: Any, batch_size: int) -> Any:
    """See `keras_vaegan.backend.predict`: where devices share batches, on the first of this process."""
    if keras.distribution.distribution() is None:
        return stateful.predict(network, inputs, batch_size)
    state = [
        [variable.value.addressable_data(0) for variable in group]
        for group in (network.trainable_variables, network.non_trainable_variables)
    ]
    step = jax.jit(lambda batch: network.stateless_call(*state, batch, training=False)[0])
    return stateful.in_turn(step, inputs, batch_size)


def quicken_layers(network: keras.Layer) -> None:
    """See `keras_vaegan.backend.quicken_layers`."""
    layers.quicken(network, conv_transpose=conv_transpose, halve_by_max=halve_by_max)


def conv_transpose(x: Tensor, kernel: Tensor, strides: tuple[int, int]) -> Tensor:
    """A transposed convolution with padding `same`, whose gradient XLA computes fast.

    On processors XLA takes 25 times as long on the gradient that automatic differentiation derives for the
    kernel as on that for the kernel of the convolution which is transposed here. The two are the same when
    image and cotangent change places.

    Args:
        x: `(B, H, W, C)`.
        kernel: `(h, w, D, C)`.
        strides: by which height and width grow.

    Returns:
        `(B, H strides[0], W strides[1], D)`.
    """
    return _transposed(strides)(*(keras.ops.convert_to_tensor(value) for value in (x, kernel)))


@functools.cache
def _transposed(strides: tuple[int, int]) -> Callable[[Tensor, Tensor], Tensor]:
    """A transposed convolution by `strides` with a gradient of its own."""

    def convolve(x: Tensor, kernel: Tensor) -> Tensor:
        return jax.lax.conv_general_dilated(
            x, kernel, strides, "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    @jax.custom_vjp
    def transposed(x: Tensor, kernel: Tensor) -> Tensor:
        return keras.ops.conv_transpose(x, kernel, strides, "same", data_format="channels_last")

    def forward(x: Tensor, kernel: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        return transposed(x, kernel), (x, kernel)

    def backward(kept: tuple[Tensor, Tensor], cotangent: Tensor) -> tuple[Tensor, Tensor]:
        x, kernel = kept
        x_cotangent, pull = jax.vjp(functools.partial(convolve, cotangent), kernel)
        return x_cotangent, *pull(x)

    transposed.defvjp(forward, backward)
    return transposed


def halve_by_max(x: Tensor) -> Tensor:
    """The largest of every 2x2, what is over at an odd edge by itself: `(B, ceil(H / 2), ceil(W / 2), C)`.

    On processors XLA takes long on the gradient of a window's maximum, and does not on that of four arrays'.

    Args:
        x: `(B, H, W, C)`.
    """
    x = keras.ops.convert_to_tensor(x)
    odd = [(0, size % 2) for size in x.shape[1:3]]
    if any(after for _, after in odd):
        x = jax.numpy.pad(x, [(0, 0), *odd, (0, 0)], mode="edge")
    top, bottom = x[:, ::2], x[:, 1::2]
    rows = jax.numpy.maximum(top, bottom)
    return jax.numpy.maximum(rows[:, :, ::2], rows[:, :, 1::2])


def be_deterministic() -> None:
    """See `keras_vaegan.backend.be_deterministic`; XLA's operators on the CPU are."""


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
    outer = _scope()

    def total(x: Tensor) -> tuple[Tensor, Any]:
        # Assignments inside (moving averages, seeds) are tracers of this gradient: they go
        # out as its auxiliary result. A scope inside a scope does not see the outer values.
        with keras.StatelessScope(collect_losses=outer is not None and outer.collect_losses) as inner:
            before = {} if outer is None else outer.state_mapping
            inner.state_mapping.update(before)
            value, auxiliary = function(x)
        moved = {k: v for k, v in inner.state_mapping.items() if v is not before.get(k)}
        added[:] = inner.losses
        left = _left_as(inner)
        return value.sum(), (auxiliary, moved, [left.get(id(loss), loss) for loss in added])

    added: list[Tensor] = []
    gradient, (auxiliary, moved, losses) = jax.grad(total, has_aux=True)(x)
    if outer is not None:
        outer.state_mapping.update(moved)
        # A layer knows its losses by their identity: that of the tracers of this gradient.
        outer.losses.extend(added)
        _left_as(outer).update({id(old): new for old, new in zip(added, losses, strict=True)})
    return gradient, auxiliary


def _scope() -> Any:
    """The stateless scope that was entered last, or None."""
    with keras.StatelessScope(initialize_variables=False) as inner:
        return inner.original_scope


def _left_as(scope: Any) -> dict[int, Tensor]:
    """By the identity of a loss that a layer gave to `add_loss`, the tensor that left an input's gradient."""
    if not hasattr(scope, "left_as"):
        scope.left_as = {}
    return scope.left_as


@contextlib.contextmanager
def _keeping_values(model: Any) -> Iterator[None]:
    """Leave the variables with their last values if a step raises: Keras takes them out while steps run."""
    held = [(variable, variable.value) for variable in _all_variables(model)]
    try:
        yield
    except BaseException:
        model.jax_state_sync()
        for variable, value in held:
            if variable._value is None and not value.is_deleted():
                variable.assign(value)
        raise


def _all_variables(model: Any) -> list[keras.Variable]:
    """All that a step of training, evaluation or prediction may change."""
    of_optimizer = model.optimizer.variables if model.compiled else []
    return [
        *model.trainable_variables,
        *model.non_trainable_variables,
        *of_optimizer,
        *model.metrics_variables,
    ]


def _mapping(
    variables: Sequence[Sequence[keras.Variable]], values: Sequence[Sequence[Tensor]]
) -> list[tuple[keras.Variable, Tensor]]:
    """Pairs of variable and value from two tuples of lists."""
    return [
        pair for group, new in zip(variables, values, strict=True) for pair in zip(group, new, strict=True)
    ]


def _values(scope: keras.StatelessScope, variables: Sequence[keras.Variable]) -> list[Tensor]:
    """What the variables hold at the end of `scope`."""
    return [scope.get_current_value(variable) for variable in variables]
