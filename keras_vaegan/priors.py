"""Priors p(z|c) over latent codes, on tensors.

A model has one prior. `given(condition)` is p(z|c) for a batch, with four methods:

- `kl(q)`: KL(q || p) of each latent dimension, `(B, ..., Z)` in nats, as the ELBO has it in training;
- `sample(count, seed)`: latent codes `(count, ..., Z)`;
- `place(noise)`: the codes that standard normal noise `(B, ..., Z)` becomes;
- `log_prob(z)`: log p(z|c), `(B,)` in nats.
"""

import math
import warnings
from collections.abc import Sequence
from typing import Any, Self

import keras
import numpy as np
from keras import ops

from keras_vaegan.distributions import LOG_2PI, DiagonalNormal, sum_event
from keras_vaegan.errors import InputError, whole_number
from keras_vaegan.typing import UNCONDITIONAL, Condition, Tensor

LEAST_VARIANCE = 1e-4


class PriorOfBatch:
    """p(z|c) for the conditions of a batch; see the module."""

    code_shape: tuple[int, ...] = ()

    def kl(self, q: DiagonalNormal) -> Tensor:
        """KL(q || p) of each latent dimension, `(B, ..., Z)` in nats."""
        raise NotImplementedError

    def place(self, noise: Tensor) -> Tensor:
        """The codes `(B, ..., Z)` that standard normal noise `(B, ..., Z)` becomes."""
        raise NotImplementedError

    def log_prob(self, z: Tensor) -> Tensor:
        """log p(z|c) of codes `(B, ..., Z)`: `(B,)` in nats."""
        raise NotImplementedError

    def sample(self, count: int, seed: Any) -> Tensor:
        """Codes `(count, ..., Z)`."""
        return self.place(keras.random.normal((count, *self.code_shape), dtype="float32", seed=seed))


class Prior(keras.layers.Layer):
    """Base class of priors, a Keras layer so that its weights are saved with the model."""

    fitted_to_codes = False  # whether `fit` is to be called when the rest is trained
    of_any_size = False  # whether `place` takes maps of noise of any height and width

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", "name": "prior", **kwargs})
        self.code_shape: tuple[int, ...] = ()

    def begin(self, code_shape: Sequence[int], condition: dict[str, Any]) -> None:
        """Take the form of the model that has this prior.

        Args:
            code_shape: of one image, `(..., Z)`.
            condition: the symbolic tensors of the model's condition, by name.

        Raises:
            InputError: a prior that such a model cannot have.
        """
        self.code_shape = tuple(code_shape)
        self.built = True

    def given(self, condition: Condition = UNCONDITIONAL, training: bool = False) -> Any:
        """p(z|c) of a batch's condition: an object with `kl`, `sample`, `place` and `log_prob`."""
        raise NotImplementedError

    def fit(self, codes: np.ndarray, seed: int) -> None:
        """Fit the prior to latent codes `(N, ..., Z)` when the rest of the model is trained."""
        raise InputError(f"prior must be one that is fitted to codes; a {type(self).__name__} is not.")

    def require_codes(self, count: int) -> None:
        """Raise `InputError` if that many codes are too few for `fit`."""

    @property
    def summary(self) -> str:
        """What the prior is, in a few words."""
        return type(self).__name__

    def reset(self) -> None:
        """Forget what `fit` has found."""

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name}

    def get_build_config(self) -> None:  # the model calls `begin`
        return None

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(
            **{
                name: keras.saving.deserialize_keras_object(value) if isinstance(value, dict) else value
                for name, value in config.items()
            }
        )


@keras.saving.register_keras_serializable("keras_vaegan")
class StandardNormal(Prior, PriorOfBatch):
    """N(0, I), whatever the condition (Kingma and Welling 2014)."""

    of_any_size = True

    def given(self, condition: Condition = UNCONDITIONAL, training: bool = False) -> Self:
        return self

    def kl(self, q: DiagonalNormal) -> Tensor:
        return q.kl_per_dimension()

    def place(self, noise: Tensor) -> Tensor:
        return ops.cast(noise, "float32")

    def log_prob(self, z: Tensor) -> Tensor:
        return -0.5 * sum_event(ops.square(ops.cast(z, "float32")) + LOG_2PI)


class _Normal(PriorOfBatch):
    """A diagonal normal distribution for each condition of a batch."""

    def __init__(self, normal: DiagonalNormal, code_shape: tuple[int, ...]) -> None:
        self.normal, self.code_shape = normal, code_shape

    def kl(self, q: DiagonalNormal) -> Tensor:
        return q.kl_per_dimension(self.normal)

    def place(self, noise: Tensor) -> Tensor:
        return self.normal.place(ops.cast(noise, "float32"))

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

    def given(self, condition: Condition = UNCONDITIONAL, training: bool = False) -> _Normal:
        parts = self.network({name: condition[name] for name in self.network.input}, training=training)
        return _Normal(DiagonalNormal(parts["mean"], parts["log_variance"]), self.code_shape)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"network": keras.saving.serialize_keras_object(self.network)}


@keras.saving.register_keras_serializable("keras_vaegan")
class Mixture(Prior, PriorOfBatch):
    """p(z) = sum_k w_k N(z; m_k, F_k F_k^T), fitted to codes when all else is trained.

    Codes of images do not fill N(0, I) evenly: what is decoded from the gaps between them looks like no image
    (Ghosh et al. 2020, section 4, "ex-post density estimation"). Before `fit` each component is N(0, I). The
    KL of the ELBO stays the one to N(0, I).

    `place` is exact. The angle that the first two numbers of the noise make is uniform, whatever their
    length. Where it lies among the shares w says which component; where it lies within that share is uniform
    again, and becomes their new angle.

    Args:
        components: K, at least 1.
        **kwargs: of `keras.layers.Layer`.
    """

    fitted_to_codes = True

    def __init__(self, components: int = 40, **kwargs: Any) -> None:
        super().__init__(**{"trainable": False, **kwargs})
        self.components = whole_number("components", components, 1)

    def begin(self, code_shape: Sequence[int], condition: dict[str, Any]) -> None:
        if condition or len(code_shape) > 1:
            raise InputError(
                "prior must not be a mixture in a model that has a condition or draws in steps: it is fitted "
                f"to vectors of unconditional models; received codes {tuple(code_shape)}"
                f"{' and the condition ' + ', '.join(condition) if condition else ''}."
            )
        if code_shape[0] < 2:
            raise InputError("prior must not be a mixture for codes of one dimension; received codes (1,).")
        (latent_dim,), again = code_shape, self.built
        if again and self.code_shape != tuple(code_shape):
            raise InputError(f"prior must be a new object: this one is of codes {self.code_shape}.")
        super().begin(code_shape, condition)
        if again:
            return
        shape = (self.components, latent_dim)
        self.log_shares = self.add_weight(shape=(self.components,), initializer="zeros", name="log_shares")
        self.means = self.add_weight(shape=shape, initializer="zeros", name="means")
        self.factors = self.add_weight(shape=(*shape, latent_dim), initializer="zeros", name="factors")
        self.reset()

    def given(self, condition: Condition = UNCONDITIONAL, training: bool = False) -> Self:
        return self

    def kl(self, q: DiagonalNormal) -> Tensor:
        """KL(q || N(0, I)): the training does not know the mixture."""
        return q.kl_per_dimension()

    def place(self, noise: Tensor) -> Tensor:
        noise = ops.cast(noise, "float32")
        shares = ops.softmax(self.log_shares)
        ends = ops.cumsum(shares)
        turn = ops.arctan2(noise[:, 1], noise[:, 0]) / (2.0 * math.pi)
        turn = ops.where(turn < 0.0, turn + 1.0, turn)
        which = ops.sum(ops.cast(turn[:, None] >= ends[None, :-1], "int32"), axis=1)
        start, share = ops.take(ends - shares, which), ops.take(shares, which)
        angle = 2.0 * math.pi * (turn - start) / share
        length = ops.sqrt(ops.square(noise[:, 0]) + ops.square(noise[:, 1]))
        turned = ops.stack([length * ops.cos(angle), length * ops.sin(angle)], axis=1)
        noise = ops.concatenate([turned, noise[:, 2:]], axis=1)
        away = ops.matmul(ops.take(self.factors, which, axis=0), noise[:, :, None])[:, :, 0]
        return ops.take(self.means, which, axis=0) + away

    def log_prob(self, z: Tensor) -> Tensor:
        z = ops.cast(z, "float32")[:, None] - self.means  # (B, K, Z)
        identity = ops.broadcast_to(ops.eye(self.code_shape[0]), ops.shape(self.factors))
        inverse = ops.solve_triangular(ops.convert_to_tensor(self.factors), identity, lower=True)
        whitened = ops.einsum("kij,bkj->bki", inverse, z)
        log_volume = ops.sum(ops.log(ops.diagonal(self.factors, axis1=1, axis2=2)), axis=-1)
        of_each = -0.5 * ops.sum(ops.square(whitened) + LOG_2PI, axis=-1) - log_volume
        return ops.logsumexp(ops.log_softmax(self.log_shares) + of_each, axis=-1)

    def fit(self, codes: np.ndarray, seed: int) -> None:
        """Fit the mixture to codes `(N, Z)` by expectation maximization, begun from `seed`."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.mixture import GaussianMixture

        self.require_codes(len(codes))
        found = GaussianMixture(self.components, reg_covar=LEAST_VARIANCE, random_state=seed % 2**32)
        with warnings.catch_warnings():  # a hundred rounds are enough for a density to draw from
            warnings.simplefilter("ignore", ConvergenceWarning)
            found.fit(codes.astype("float64"))
        self.log_shares.assign(np.log(found.weights_))
        self.means.assign(found.means_)
        self.factors.assign(np.linalg.cholesky(found.covariances_))

    def require_codes(self, count: int) -> None:
        if count < self.components:
            raise InputError(
                f"components must be at most {count}, as many as the images; received {self.components}."
            )

    @property
    def summary(self) -> str:
        return f"a mixture of {self.components} components"

    def reset(self) -> None:
        """Make each component N(0, I), which it is until `fit`."""
        self.log_shares.assign(np.zeros(self.components))
        self.means.assign(np.zeros(self.means.shape))
        self.factors.assign(np.broadcast_to(np.eye(self.code_shape[0]), self.factors.shape))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"components": self.components}


PRIORS: dict[str, type[Prior]] = {"standard_normal": StandardNormal, "mixture": Mixture}
