"""The terms that the models' objectives are made of: pure functions on tensors.

Every loss is `(B,)`, in nats, summed over pixels, latents or features and averaged over the patches that a
discriminator judges; the model takes the mean over the batch last.

A discriminator's logits are `(B, ..., 1)`, or `(B, ..., K + 1)`: of K classes of real images and, last, of
the fakes (Salimans et al. 2016). The axes between are those of a map of patches (Isola et al. 2017).
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


def mean_of_patches(values: Tensor) -> Tensor:
    """The mean over all axes but the first: `(B, ...)` -> `(B,)`."""
    return ops.mean(values, axis=tuple(range(1, len(values.shape)))) if len(values.shape) > 1 else values


def binary_cross_entropy(log_odds: Tensor, target: float) -> Tensor:
    """Cross-entropy in nats between sigmoid(`log_odds`) and `target` in [0, 1], of the same shape."""
    log_odds = ops.cast(log_odds, "float32")
    return ops.softplus(log_odds) - target * log_odds


def log_odds_real(logits: Tensor) -> Tensor:
    """log D / (1 - D), D the probability that an image or patch is real, of whatever class.

    `(B, ..., 1)` or `(B, ..., K + 1)` -> `(B, ...)` float32.
    """
    logits = ops.cast(logits, "float32")
    if logits.shape[-1] == 1:
        return ops.squeeze(logits, axis=-1)
    return ops.logsumexp(logits[..., :-1], axis=-1) - logits[..., -1]


def log_classes(logits: Tensor) -> Tensor:
    """log P(y|x, real) of each class: `(B, ..., K + 1)` -> `(B, ..., K)` float32."""
    return ops.log_softmax(ops.cast(logits, "float32")[..., :-1], axis=-1)


def wrong_class(log_shares: Tensor, labels: Tensor) -> Tensor:
    """-log P(y|x, real): low if D sees the class.

    Args:
        log_shares: `(B, ..., K)`, as `log_classes` gives them.
        labels: one-hot `(B, K)`.

    Returns:
        `(B,)` in nats, the mean over patches.
    """
    patches = (1,) * (len(log_shares.shape) - 2)
    labels = ops.reshape(ops.cast(labels, "float32"), (-1, *patches, labels.shape[-1]))
    return mean_of_patches(-ops.sum(labels * log_shares, axis=-1))


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
