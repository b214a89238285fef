"""Priors that are normal distributions: N(0, I), or one that is trained with the rest of the model."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_vaegan.distributions import DiagonalNormal
from keras_vaegan.errors import InputError, whole_number
from keras_vaegan.priors.base import Prior, PriorOfBatch, Unit
from keras_vaegan.typing import UNCONDITIONAL, Condition, Tensor


@keras.saving.register_keras_serializable("keras_vaegan")
class StandardNormal(Prior):
    """N(0, I), whatever the condition (Kingma and Welling 2014)."""

    of_any_size = True

    def given(self, condition: Condition = UNCONDITIONAL, training: bool = False) -> Unit:
        return Unit(self.code_shape)


class Normal(PriorOfBatch):
    """A diagonal normal distribution for each condition of a batch."""

    def __init__(self, normal: DiagonalNormal, code_shape: tuple[int, ...]) -> None:
        self.normal, self.code_shape = normal, code_shape

    def kl(self, q: DiagonalNormal) -> Tensor:
        return q.kl_per_dimension(self.normal)

    def place(self, noise: Tensor) -> Tensor:
        return self.normal.place(ops.cast(noise, "float32"))

    def noise_of(self, z: Tensor) -> Tensor:
        return (ops.cast(z, "float32") - self.normal.mean) * ops.exp(-0.5 * self.normal.log_variance)

    def log_prob(self, z: Tensor) -> Tensor:
        return self.normal.log_prob(z)


@keras.saving.register_keras_serializable("keras_vaegan")
class Conditional(Prior):
    """p(z|c), a diagonal normal distribution by a network that is trained with the rest (Sohn et al. 2015).

    Args:
        network: functional model, dictionary of the condition -> `{"mean", "log_variance"}`, `(B, Z)` each.
        **kwargs: of `keras.layers.Layer`.
    """

    def __init__(self, network: keras.Model, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.network = network

    def begin(self, code_shape: Sequence[int], condition: dict[str, Any]) -> None:
        inputs = self.network.input
        if not isinstance(inputs, dict):
            raise InputError("prior must take a dictionary of `labels`, `given` or both.")
        for name, tensor in inputs.items():
            if name not in condition or tuple(tensor.shape) != tuple(condition[name].shape):
                raise InputError(
                    f"prior must be conditioned on what the decoder is; its {name!r} {tuple(tensor.shape)} "
                    "is not."
                )
        outputs = self.network.output
        if not isinstance(outputs, dict) or not {"mean", "log_variance"} <= set(outputs):
            raise InputError("prior must give a dictionary with 'mean' and 'log_variance'.")
        if tuple(outputs["mean"].shape[1:]) != tuple(code_shape):
            raise InputError(
                f"prior must be of codes {tuple(code_shape)}; received {tuple(outputs['mean'].shape[1:])}."
            )
        super().begin(code_shape, condition)

    def given(self, condition: Condition = UNCONDITIONAL, training: bool = False) -> Normal:
        parts = self.network({name: condition[name] for name in self.network.input}, training=training)
        return Normal(DiagonalNormal(parts["mean"], parts["log_variance"]), self.code_shape)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"network": keras.saving.serialize_keras_object(self.network)}


@keras.saving.register_keras_serializable("keras_vaegan")
class LookBack(Prior):
    """p(z_t|s_{t-1}) of DRAW, a diagonal normal given the decoder's state before step t (Gregor et al. 2016).

    It is trained with the rest: the KL of the ELBO is sum_t KL(q(z_t|x, ...) || p(z_t|s_{t-1})). It begins as
    N(0, I). With class labels the network sees them, too.

    Args:
        units: widths of the hidden layers, between the state and the parameters of the normal distribution.
        **kwargs: of `keras.layers.Layer`.

    Raises:
        InputError: a width below 1; a model that does not draw in steps.
    """

    looks_back = True

    def __init__(self, units: int | Sequence[int] = (256,), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        widths = units if isinstance(units, (list, tuple)) else [units]
        self.units = tuple(whole_number("units", width, 1) for width in widths)

    def begin(self, code_shape: Sequence[int], condition: dict[str, Any]) -> None:
        if "state" not in condition:
            raise InputError("prior must not look back in a model that does not draw in steps, as DRAW does.")
        if self.built:
            if self.code_shape != tuple(code_shape):
                raise InputError(f"prior must be a new object: this one is of codes {self.code_shape}.")
            return
        super().begin(code_shape, condition)
        seen = {name: keras.Input(tensor.shape[1:], name=name) for name, tensor in condition.items()}
        x = (
            keras.layers.Concatenate(name="prior_seen")(list(seen.values()))
            if len(seen) > 1
            else seen["state"]
        )
        for i, width in enumerate(self.units):
            x = keras.layers.Dense(width, "elu", dtype="float32", name=f"prior_hidden_{i}")(x)
        settings = {"kernel_initializer": "zeros", "dtype": "float32"}
        parts = {
            part: keras.layers.Dense(code_shape[-1], name=f"prior_{part}", **settings)(x)
            for part in ("mean", "log_variance")
        }
        self.network = keras.Model(seen, parts, name="look_back")

    def at(self, state: Tensor, condition: Condition, training: bool = False) -> DiagonalNormal:
        """p(z_t|c) of one step, given the decoder's state `(B, R)` before it."""
        parts = self.network({"state": state, **condition}, training=training)
        return DiagonalNormal(parts["mean"], parts["log_variance"])

    @property
    def summary(self) -> str:
        return "a prior that looks back"

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"units": list(self.units)}
