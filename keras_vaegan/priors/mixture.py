"""Mixtures of normal distributions that are fitted to latent codes."""

import math
import warnings
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_vaegan.distributions import LOG_2PI, DiagonalNormal
from keras_vaegan.errors import InputError, whole_number
from keras_vaegan.priors.base import Fitted, Fitting, PriorOfBatch
from keras_vaegan.priors.draws import Drawn, Draws, finite_first
from keras_vaegan.typing import Tensor

LEAST_VARIANCE = 1e-4
MOST_NUMBERS = 512  # of a code: a component has their square


@keras.saving.register_keras_serializable("keras_vaegan")
class Mixture(Fitted):
    """p(z|y) = sum_k w_k N(z; m_k, F_k F_k^T), fitted to codes when all else is trained.

    Codes of images do not fill N(0, I) evenly: what is decoded from the gaps between them looks like no image
    (Ghosh et al. 2020, section 4, "ex-post density estimation"). A model that is conditioned on class labels
    has a mixture for each class. The codes of all steps of a DRAW are one vector z. Before `fit` each
    component is N(0, I). The KL of the ELBO stays the one to N(0, I).

    `place` is exact. The angle that the first two numbers of the noise make is uniform, whatever their
    length. Where it lies among the shares w says which component; where it lies within that share is uniform
    again, and becomes their new angle.

    Args:
        components: K, at least 1, for each class.
        **kwargs: of `keras.layers.Layer`.
    """

    has_inverse = False  # the same code comes of several components

    def __init__(self, components: int = 40, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.components = whole_number("components", components, 1)

    def begin(self, code_shape: Sequence[int], condition: dict[str, Any]) -> None:
        if "given" in condition or len(code_shape) > 2:
            raise InputError(
                "prior must not be a mixture in a model that has spatial latent codes or is conditioned on "
                f"images; received codes {tuple(code_shape)}"
                f"{' and the condition given' if 'given' in condition else ''}."
            )
        if not 2 <= math.prod(code_shape) <= MOST_NUMBERS:
            raise InputError(
                f"prior must be a mixture for codes of 2 to {MOST_NUMBERS} numbers alone; received codes "
                f"{tuple(code_shape)}. A flow takes any."
            )
        super().begin(code_shape, condition)

    def make_weights(self) -> None:
        numbers = self.numbers
        shape = (*([] if self.num_classes is None else [self.num_classes]), self.components)
        fixed = {"initializer": "zeros", "trainable": False}
        self.log_shares = self.add_weight(shape=shape, name="log_shares", **fixed)
        self.means = self.add_weight(shape=(*shape, numbers), name="means", **fixed)
        self.factors = self.add_weight(shape=(*shape, numbers, numbers), name="factors", **fixed)
        self.reset()

    @property
    def numbers(self) -> int:
        """D, of a code."""
        return math.prod(self.code_shape)

    def of_batch(self, labels: Tensor | None) -> PriorOfBatch:
        return _MixtureOfBatch(self, labels)

    def fit(
        self,
        draws: Draws | Drawn,
        labels: np.ndarray | None = None,
        seed: int = 0,
        fitting: Fitting = Fitting(),  # noqa: B008
    ) -> None:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.mixture import GaussianMixture

        self.require_codes(len(draws), labels)
        codes = finite_first(draws).reshape(len(draws), self.numbers)
        of_classes = []
        for k in range(self.num_classes or 1):
            own = codes if labels is None else codes[labels == k]
            found = GaussianMixture(
                self.components, reg_covar=LEAST_VARIANCE, random_state=(seed + k) % 2**32
            )
            with warnings.catch_warnings():  # a hundred rounds are enough for a density to draw from
                warnings.simplefilter("ignore", ConvergenceWarning)
                found.fit(own.astype("float64"))
            of_classes.append((np.log(found.weights_), found.means_, np.linalg.cholesky(found.covariances_)))
        for weight, values in zip(
            (self.log_shares, self.means, self.factors), zip(*of_classes, strict=True), strict=True
        ):
            weight.assign(np.reshape(values, weight.shape))

    def require_codes(self, count: int, labels: np.ndarray | None = None) -> None:
        if labels is not None and self.num_classes is not None:
            count = int(np.bincount(labels[labels >= 0], minlength=self.num_classes).min())
        if count < self.components:
            of_class = "" if self.num_classes is None else " of the smallest class"
            fewer = f"Set components={count} (--set components={count}), or take more images."
            raise InputError(
                f"components must be at most {count}, as many as the images{of_class}; received "
                f"{self.components}. {fewer if count else 'Take images of every class.'}"
            )

    @property
    def fitted(self) -> bool:
        return bool(np.any(ops.convert_to_numpy(self.means)))

    @property
    def summary(self) -> str:
        each = "" if self.num_classes is None else " for each class"
        return f"a mixture of {self.components} components{each}"

    def reset(self) -> None:
        """Make each component N(0, I), which it is until `fit`."""
        self.log_shares.assign(np.zeros(self.log_shares.shape))
        self.means.assign(np.zeros(self.means.shape))
        self.factors.assign(np.broadcast_to(np.eye(self.numbers), self.factors.shape))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"components": self.components}


class _MixtureOfBatch(PriorOfBatch):
    """A mixture for each code of a batch: that of its class, or the same for all."""

    def __init__(self, of: Mixture, labels: Tensor | None) -> None:
        self.of, self.code_shape = of, of.code_shape
        self.classes = None if labels is None else ops.argmax(labels, axis=-1)

    def of_class(self, weight: Any) -> Tensor:
        """A weight's values for each code `(B, K, ...)`; `(1, K, ...)` if all have the same."""
        if self.classes is None:
            return ops.convert_to_tensor(weight)[None]
        return ops.take(ops.convert_to_tensor(weight), self.classes, axis=0)

    def kl(self, q: DiagonalNormal) -> Tensor:
        """KL(q || N(0, I)): the training does not know the mixture."""
        return q.kl_per_dimension()

    def place(self, noise: Tensor) -> Tensor:
        noise = ops.reshape(ops.cast(noise, "float32"), (-1, self.of.numbers))
        shares = ops.softmax(self.of_class(self.of.log_shares), axis=-1)  # (B or 1, K)
        ends = ops.cumsum(shares, axis=-1)
        turn = ops.arctan2(noise[:, 1], noise[:, 0]) / (2.0 * math.pi)
        turn = ops.where(turn < 0.0, turn + 1.0, turn)
        which = ops.sum(ops.cast(turn[:, None] >= ends[:, :-1], "int32"), axis=1)
        share, end = (self._of_component(values, which) for values in (shares, ends))
        angle = 2.0 * math.pi * (turn - (end - share)) / share
        length = ops.sqrt(ops.square(noise[:, 0]) + ops.square(noise[:, 1]))
        turned = ops.stack([length * ops.cos(angle), length * ops.sin(angle)], axis=1)
        noise = ops.concatenate([turned, noise[:, 2:]], axis=1)
        # The class and the component as one position: factors of all components of a code are large.
        row = which if self.classes is None else ops.cast(self.classes, "int32") * self.of.components + which
        numbers = self.of.numbers
        factors = ops.take(ops.reshape(self.of.factors, (-1, numbers, numbers)), row, axis=0)
        means = ops.take(ops.reshape(self.of.means, (-1, numbers)), row, axis=0)
        codes = means + ops.matmul(factors, noise[:, :, None])[:, :, 0]
        return ops.reshape(codes, (-1, *self.code_shape))

    def _of_component(self, values: Tensor, which: Tensor) -> Tensor:
        """Values `(B or 1, K)` of one component of each code: `(B,)`."""
        if self.classes is None:
            return ops.take(values[0], which)
        return ops.take_along_axis(values, which[:, None], axis=1)[:, 0]

    def log_prob(self, z: Tensor) -> Tensor:
        factors = ops.convert_to_tensor(self.of.factors)
        identity = ops.broadcast_to(ops.eye(self.of.numbers), ops.shape(factors))
        inverse = ops.solve_triangular(factors, identity, lower=True)
        log_volume = ops.sum(ops.log(ops.diagonal(factors, axis1=-2, axis2=-1)), axis=-1)
        z = ops.reshape(ops.cast(z, "float32"), (-1, 1, self.of.numbers))
        z = z - self.of_class(self.of.means)  # (B, K, D)
        if self.classes is None:  # without a copy of the factors for each code
            whitened = ops.einsum("kij,bkj->bki", inverse, z)
        else:
            whitened = ops.einsum("bkij,bkj->bki", self.of_class(inverse), z)
        of_each = -0.5 * ops.sum(ops.square(whitened) + LOG_2PI, axis=-1) - self.of_class(log_volume)
        return ops.logsumexp(ops.log_softmax(self.of_class(self.of.log_shares), axis=-1) + of_each, axis=-1)
