"""The terms that the models' objectives are made of: pure functions on tensors.

Every loss is `(B,)`, in nats, summed over pixels, latents or features; the model takes the
mean over the batch last.

D plays one of two games. Its logits are `(B, 1)`, log-odds that an image is real; or `(B, K + 1)`,
of K classes of real images and, last, of the fakes (Chen, Fang and Ju 2016; Salimans et al. 2016).
"""

from keras import ops

from keras_vaegan.distributions import sum_event
from keras_vaegan.typing import Tensor


def free_bits(kl_per_dimension: Tensor, minimum: float, shares: Tensor | None = None) -> Tensor:
    """KL with at least `minimum` nats per latent dimension: no gradient below it.

    The comparison is made on the batch mean of each dimension (Kingma et al. 2016,
    "Improved variational inference with inverse autoregressive flow", eq. 15).

    Args:
        kl_per_dimension: `(B, Z)` in nats.
        minimum: nats per dimension.
        shares: weights of the rows in that mean, `(B, 1)`; equal ones if None.

    Returns:
        `(B,)` in nats.
    """
    if shares is None:
        average = ops.mean(kl_per_dimension, axis=0, keepdims=True)
    else:
        weighed = ops.sum(shares * kl_per_dimension, axis=0, keepdims=True)
        average = weighed / ops.sum(shares, axis=0, keepdims=True)
    return sum_event(ops.where(average > minimum, kl_per_dimension, minimum))


def binary_cross_entropy(logits: Tensor, target: float) -> Tensor:
    """Cross-entropy between D's verdict and `target` in [0, 1]: `(B, 1)` logits -> `(B,)`."""
    logits = ops.cast(logits, "float32")
    return sum_event(ops.softplus(logits) - target * logits)


def class_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy between D's verdict and shares of classes: both `(B, K + 1)` -> `(B,)`."""
    log_shares = ops.log_softmax(ops.cast(logits, "float32"), axis=-1)
    return -ops.sum(ops.cast(target, "float32") * log_shares, axis=-1)


def judged_real(logits: Tensor, target: float = 1.0, labels: Tensor | None = None) -> Tensor:
    """Low when D takes the images for real: -log D, or, with K classes, the cross-entropy to their own.

    Args:
        logits: `(B, 1)`, or `(B, K + 1)` where there are labels.
        target: below 1 it smooths the label: the rest is the share of fake.
        labels: one-hot `(B, K)`, in the game of K + 1 classes.
    """
    if labels is None:
        return binary_cross_entropy(logits, target)
    labels = ops.cast(labels, "float32")
    fake = ops.full_like(labels[:, :1], 1.0 - target)
    return class_cross_entropy(logits, ops.concatenate([target * labels, fake], axis=-1))


def real_of_any_class(logits: Tensor, target: float = 1.0) -> Tensor:
    """Low when D takes the images for real, of whatever class: `(B, K + 1)` logits -> `(B,)`."""
    log_odds = log_odds_real(logits)
    return ops.softplus(log_odds) - target * log_odds


def wrong_class(logits: Tensor, labels: Tensor) -> Tensor:
    """Low when D sees the class: -log P(y|real), the part of `judged_real` that is about the class alone.

    Args:
        logits: `(B, K + 1)`.
        labels: one-hot `(B, K)`.
    """
    log_shares = ops.log_softmax(ops.cast(logits, "float32")[:, :-1], axis=-1)
    return -ops.sum(ops.cast(labels, "float32") * log_shares, axis=-1)


def judged_fake(logits: Tensor) -> Tensor:
    """Low when D takes the images for fakes: -log(1 - D), or the cross-entropy to the last class."""
    if logits.shape[-1] == 1:
        return binary_cross_entropy(logits, 0.0)
    return -ops.log_softmax(ops.cast(logits, "float32"), axis=-1)[:, -1]


def log_odds_real(logits: Tensor) -> Tensor:
    """log D / (1 - D), D the probability that an image is real, of whatever class: `(B,)`."""
    logits = ops.cast(logits, "float32")
    if logits.shape[-1] == 1:
        return ops.squeeze(logits, axis=-1)
    return ops.logsumexp(logits[:, :-1], axis=-1) - logits[:, -1]


def probability_real(logits: Tensor) -> Tensor:
    """D(x), the probability that D gives to real, of whatever class: `(B,)`."""
    return ops.sigmoid(log_odds_real(logits))


def feature_matching(features: Tensor, target: Tensor) -> Tensor:
    """Half the summed squared difference of two feature maps `(B, ...)` -> `(B,)`.

    It is -log N(target | features, I) without its constant: the reconstruction loss of
    Larsen et al. 2015 (eq. 7) and of Chen, Fang and Ju 2016.
    """
    difference = ops.cast(features, "float32") - ops.cast(target, "float32")
    return 0.5 * sum_event(ops.square(difference))


def gradient_penalty(gradient: Tensor) -> Tensor:
    """Half the squared norm of dD/dx `(B, ...)` -> `(B,)`: the R1 penalty (Mescheder et al. 2018, eq. 9)."""
    return 0.5 * sum_event(ops.square(ops.cast(gradient, "float32")))


def of_length(direction: Tensor, length: float) -> Tensor:
    """The same directions `(B, ...)`, each of Euclidean norm `length`; zero stays zero."""
    shape = (-1,) + (1,) * (len(direction.shape) - 1)
    # Scaled first: the square of a tiny gradient is nothing in float32.
    direction = direction / (
        ops.max(ops.abs(direction), axis=tuple(range(1, len(shape))), keepdims=True) + 1e-30
    )
    norm = ops.sqrt(sum_event(ops.square(direction)))
    return length * direction / (ops.reshape(norm, shape) + 1e-12)
