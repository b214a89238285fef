"""Likelihoods p(x|z): the distribution over images that a decoder's outputs stand for.

Siblings of one shape: `__call__(logits)` gives the distribution, `observe(x)` the images or bits of the ELBO.
"""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_vaegan.distributions import Bernoulli as BernoulliDistribution
from keras_vaegan.distributions import DiagonalNormal
from keras_vaegan.errors import at_least, flag
from keras_vaegan.parts import Part
from keras_vaegan.typing import Tensor

LEAST_SCALE = 1e-3  # of a learned standard deviation: a quarter of a step of 8 bits
# How much faster the logarithm of a learned scale moves than a weight. Adam moves a weight by its learning
# rate at most, so 0.1 would take 23,000 steps of 1e-4 to become 0.01.
SPEED = 10.0


class Likelihood(Part):
    """Base class of likelihoods."""

    def __call__(self, logits: Tensor) -> Any:
        """The distribution over images `(B, H, W, C)` of the decoder's outputs `(B, H, W, C)`."""
        raise NotImplementedError

    def observe(self, x: Tensor, seed: Any) -> Tensor:
        """What the ELBO is of: images `(B, H, W, C)` in [0, 1], or what is drawn from them."""
        return x

    def observe_arrays(self, x: np.ndarray, seed: int) -> np.ndarray:
        """The same of an array; what is drawn for image i depends on the seed and i alone."""
        return x


@keras.saving.register_keras_serializable("keras_vaegan")
class Bernoulli(Likelihood):
    """Independent Bernoulli pixels with `logits`; gray pixels are allowed.

    Args:
        binarize: whether pixels are probabilities of bits. The model draws the bits anew each time that it
            computes the ELBO or a likelihood (dynamic binarization, Burda et al. 2016).
    """

    def __init__(self, binarize: bool = False) -> None:
        self.binarize = flag("binarize", binarize)

    def __call__(self, logits: Tensor) -> BernoulliDistribution:
        return BernoulliDistribution(logits)

    def observe(self, x: Tensor, seed: Any) -> Tensor:
        if not self.binarize:
            return x
        u = keras.random.uniform(ops.shape(x), dtype="float32", seed=seed)
        return ops.cast(u < x, "float32")

    def observe_arrays(self, x: np.ndarray, seed: int) -> np.ndarray:
        if not self.binarize:
            return x
        draws = (np.random.default_rng([seed, i, 1]).random(x.shape[1:]) for i in range(len(x)))
        return np.stack([u < image for u, image in zip(draws, x, strict=True)]).astype("float32")


@keras.saving.register_keras_serializable("keras_vaegan")
class Gaussian(Likelihood):
    """Normal pixels around sigmoid(logits), all with one standard deviation.

    Args:
        noise_scale: that standard deviation, in pixels of [0, 1]; at least 1e-4.
    """

    def __init__(self, noise_scale: float = 0.1) -> None:
        self.noise_scale = at_least("noise_scale", noise_scale, 1e-4)

    def __call__(self, logits: Tensor) -> DiagonalNormal:
        mean = ops.sigmoid(ops.cast(logits, "float32"))
        return DiagonalNormal(mean, ops.full_like(mean, 2.0 * math.log(self.noise_scale)))


@keras.saving.register_keras_serializable("keras_vaegan")
class LearnedGaussian(Likelihood, keras.layers.Layer):
    """Normal pixels around sigmoid(logits), all with one standard deviation, which the generator learns.

    Rybkin et al. 2021, "Simple and Effective VAE Training with Calibrated Decoders" (sigma-VAE). The
    optimum is the root of the mean squared error, so KL and reconstruction are balanced without a beta. It
    is a Keras layer so that its one weight is saved with the model.

    Args:
        noise_scale: the standard deviation before training, in pixels of [0, 1]; at least 0.001, which it
            stays above.
    """

    def __init__(self, noise_scale: float = 0.1) -> None:
        super().__init__(dtype="float32", name="likelihood")
        self.noise_scale = at_least("noise_scale", noise_scale, LEAST_SCALE)
        self.moved = self.add_weight(shape=(), initializer="zeros", name="log_scale")
        self.built = True

    def __call__(self, logits: Tensor) -> DiagonalNormal:
        mean = ops.sigmoid(ops.cast(logits, "float32"))
        return DiagonalNormal(mean, 2.0 * self.log_scale + ops.zeros_like(mean))

    @property
    def log_scale(self) -> Tensor:
        """Logarithm of the standard deviation, a scalar tensor."""
        least = math.log(LEAST_SCALE)
        above = math.log(self.noise_scale) - least + SPEED * self.moved
        return least + ops.softplus(above)

    def get_build_config(self) -> None:  # it is built when it is made
        return None


LIKELIHOODS: dict[str, type[Likelihood]] = {
    "bernoulli": Bernoulli,
    "gaussian": Gaussian,
    "learned_gaussian": LearnedGaussian,
}
