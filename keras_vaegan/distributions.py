"""Distributions as immutable values: log-density, draws, KL divergence and entropy.

Shapes: the first axis is the batch `B`; all other axes are the event. Log-densities,
divergences and entropies are summed over the event and come as `(B,)`, in nats.
Parameters are taken to float32, whatever the precision of the networks that made them.
"""

import dataclasses
import math
from typing import Any

import keras
from keras import ops

from keras_vaegan.typing import Tensor

LOG_2PI = math.log(2.0 * math.pi)


def sum_event(x: Tensor, weights: Tensor | None = None, batch_axes: int = 1) -> Tensor:
    """Sum over all but the first `batch_axes` axes, each element as often as its weight says.

    `(B, ...)` -> `(B,)`; with two such axes `(K, B, ...)` -> `(K, B)`.
    """
    return ops.sum(flat(x if weights is None else x * weights, batch_axes), axis=-1)


def flat(x: Tensor, batch_axes: int = 1) -> Tensor:
    """All but the first `batch_axes` axes as one."""
    return ops.reshape(x, (*ops.shape(x)[:batch_axes], -1))


def _in_rows(
    value: Tensor, parameters: tuple[Tensor, ...], weights: Tensor | None, batch_axes: int
) -> tuple[Tensor, ...]:
    """The value in float32 and the parameters, each event in a row where all have the same shape.

    XLA takes long to sum over the several axes of an image, and undoes a `flat` just before the sum.
    """
    value = ops.cast(value, "float32")
    events = {tuple(value.shape[1:]), *(tuple(parameter.shape[batch_axes:]) for parameter in parameters)}
    if weights is not None or len(events) > 1:  # what is broadcast keeps its axes
        return value, *parameters
    return flat(value), *(flat(parameter, batch_axes) for parameter in parameters)


class Distribution:
    """What all distributions have: float32 parameters, `log_prob`, `sample`, `mean`, `entropy`."""

    def __post_init__(self: Any) -> None:
        for field in dataclasses.fields(self):
            value = ops.cast(getattr(self, field.name), "float32")
            object.__setattr__(self, field.name, value)


@dataclasses.dataclass(frozen=True)
class Bernoulli(Distribution):
    """Independent Bernoulli variables, by `logits` `(B, ...)`.

    `log_prob` also takes values between 0 and 1 (grey pixels), where it is the
    negative cross-entropy, the usual likelihood of the VAE literature.
    """

    logits: Tensor

    @property
    def mean(self) -> Tensor:
        """Probability of one, `(B, ...)`."""
        return ops.sigmoid(self.logits)

    def log_prob(self, value: Tensor, weights: Tensor | None = None, batch_axes: int = 1) -> Tensor:
        """log p(value) in nats, `(B,)`; of the elements that have weight 1 where weights are given.

        With `batch_axes` 2 the logits are `(K, B, ...)`, a distribution for each of K cases, and so is what
        comes out, `(K, B)`; the value `(B, ...)` is the same for all.
        """
        value, logits = _in_rows(value, (self.logits,), weights, batch_axes)
        return sum_event(value * logits - ops.softplus(logits), weights, batch_axes)

    def sample(self, seed: int | keras.random.SeedGenerator | None = None) -> Tensor:
        """A draw of zeros and ones, `(B, ...)`."""
        uniform = keras.random.uniform(ops.shape(self.logits), dtype="float32", seed=seed)
        return ops.cast(uniform < self.mean, "float32")

    def entropy(self) -> Tensor:
        """Entropy in nats, `(B,)`."""
        return sum_event(ops.softplus(self.logits) - self.logits * self.mean)

    def kl(self, other: "Bernoulli") -> Tensor:
        """KL(self || other) in nats, `(B,)`, to another Bernoulli."""
        difference = self.mean * (self.logits - other.logits)
        return sum_event(difference - ops.softplus(self.logits) + ops.softplus(other.logits))


@dataclasses.dataclass(frozen=True)
class DiagonalNormal(Distribution):
    """Normal variables with diagonal covariance, by `mean` and `log_variance`, both `(B, ...)`."""

    mean: Tensor
    log_variance: Tensor

    def log_prob(self, value: Tensor, weights: Tensor | None = None, batch_axes: int = 1) -> Tensor:
        """log p(value) in nats, `(B,)`; of the elements that have weight 1 where weights are given.

        `batch_axes` as for `Bernoulli`.
        """
        value, mean, log_variance = _in_rows(value, (self.mean, self.log_variance), weights, batch_axes)
        squared = ops.square(value - mean) * ops.exp(-log_variance)
        return -0.5 * sum_event(squared + log_variance + LOG_2PI, weights, batch_axes)

    def sample(self, seed: int | keras.random.SeedGenerator | None = None) -> Tensor:
        """A reparametrised draw (Kingma and Welling 2014, section 2.4), `(B, ...)`."""
        return self.place(keras.random.normal(ops.shape(self.mean), dtype="float32", seed=seed))

    def place(self, noise: Tensor) -> Tensor:
        """Where standard normal noise `(B, ...)` comes to lie: a draw."""
        return self.mean + ops.exp(0.5 * self.log_variance) * noise

    def entropy(self) -> Tensor:
        """Differential entropy in nats, `(B,)`."""
        return 0.5 * sum_event(self.log_variance + LOG_2PI + 1.0)

    def kl(self, other: "DiagonalNormal | None" = None) -> Tensor:
        """KL(self || other) in nats, `(B,)`; `other` is N(0, I) when not given."""
        return sum_event(self.kl_per_dimension(other))

    def kl_per_dimension(self, other: "DiagonalNormal | None" = None) -> Tensor:
        """KL(self || other) of each variable, in nats, `(B, ...)`."""
        if other is None:
            return 0.5 * (ops.square(self.mean) + ops.exp(self.log_variance) - 1.0 - self.log_variance)
        difference = self.log_variance - other.log_variance
        squared = ops.square(self.mean - other.mean) * ops.exp(-other.log_variance)
        return 0.5 * (ops.exp(difference) + squared - 1.0 - difference)


@dataclasses.dataclass(frozen=True)
class Categorical(Distribution):
    """One of `K` classes, by `logits` `(B, K)`; values are one-hot `(B, K)`."""

    logits: Tensor

    @property
    def log_probabilities(self) -> Tensor:
        """Normalised log-probabilities, `(B, K)`."""
        return ops.log_softmax(self.logits, axis=-1)

    @property
    def mean(self) -> Tensor:
        """Probabilities, `(B, K)`."""
        return ops.softmax(self.logits, axis=-1)

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(value) of a one-hot value, in nats, `(B,)`."""
        return ops.sum(ops.cast(value, "float32") * self.log_probabilities, axis=-1)

    def sample(self, seed: int | keras.random.SeedGenerator | None = None) -> Tensor:
        """A one-hot draw, `(B, K)`, by the Gumbel-max trick."""
        tiny = 1e-7
        uniform = keras.random.uniform(
            ops.shape(self.logits), minval=tiny, maxval=1.0 - tiny, dtype="float32", seed=seed
        )
        index = ops.argmax(self.logits - ops.log(-ops.log(uniform)), axis=-1)
        return ops.one_hot(index, self.logits.shape[-1], dtype="float32")

    def entropy(self) -> Tensor:
        """Entropy in nats, `(B,)`."""
        return -ops.sum(self.mean * self.log_probabilities, axis=-1)

    def kl(self, other: "Categorical") -> Tensor:
        """KL(self || other) in nats, `(B,)`, to another Categorical."""
        return ops.sum(self.mean * (self.log_probabilities - other.log_probabilities), axis=-1)
