"""A mixture of normal distributions as the prior of a model that was trained with N(0, I)."""

import math
import warnings
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_vaegan.distributions import LOG_2PI
from keras_vaegan.typing import Tensor

LEAST_VARIANCE = 1e-4


class MixturePrior(keras.Model):
    """p(z) = sum_k w_k N(z; m_k, F_k F_k^T), fitted to codes when all else is trained.

    Codes of images do not fill N(0, I) evenly: what is decoded from the gaps between them looks like no image
    (Ghosh et al. 2020, section 4, "ex-post density estimation"). Before `fit_to` each component is N(0, I).

    It is a map from standard normal noise `(B, Z)` to codes `(B, Z)`, and exact. The angle that the first two
    numbers of the noise make is uniform, whatever their length. Where it lies among the shares w says which
    component; where it lies within that share is uniform again, and becomes their new angle.

    Args:
        components: K.
        latent_dim: Z, at least 2.
        **kwargs: of `keras.Model`.
    """

    def __init__(self, components: int, latent_dim: int, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", "trainable": False, **kwargs})
        self.components, self.latent_dim = components, latent_dim
        shape = (components, latent_dim)
        self.log_shares = self.add_weight(shape=(components,), initializer="zeros", name="log_shares")
        self.means = self.add_weight(shape=shape, initializer="zeros", name="means")
        self.factors = self.add_weight(shape=(*shape, latent_dim), initializer="zeros", name="factors")
        self.reset()
        self.built = True

    def call(self, noise: Tensor) -> Tensor:
        """Standard normal noise `(B, Z)` -> codes `(B, Z)`."""
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

    def log_prob(self, z: np.ndarray) -> np.ndarray:
        """log p(z) of codes `(N, Z)`, in nats: `(N,)` float64."""
        log_shares, means, factors = (
            ops.convert_to_numpy(weight).astype("float64")
            for weight in (self.log_shares, self.means, self.factors)
        )
        log_shares = log_shares - np.logaddexp.reduce(log_shares)
        result = np.full(len(z), -np.inf)
        for log_share, mean, factor in zip(log_shares, means, factors, strict=True):
            squared = np.square(np.linalg.solve(factor, (z - mean).T)).sum(axis=0)
            volume = np.linalg.slogdet(factor)[1]
            of_one = log_share - volume - 0.5 * (squared + self.latent_dim * LOG_2PI)
            result = np.logaddexp(result, of_one)
        return result

    def fit_to(self, codes: np.ndarray, seed: int) -> None:
        """Fit the mixture to codes `(N, Z)` by expectation maximisation, begun from `seed`."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.mixture import GaussianMixture

        found = GaussianMixture(self.components, reg_covar=LEAST_VARIANCE, random_state=seed % 2**32)
        with warnings.catch_warnings():  # a hundred rounds are enough for a density to draw from
            warnings.simplefilter("ignore", ConvergenceWarning)
            found.fit(codes.astype("float64"))
        self.log_shares.assign(np.log(found.weights_))
        self.means.assign(found.means_)
        self.factors.assign(np.linalg.cholesky(found.covariances_))

    def reset(self) -> None:
        """Make each component N(0, I), which it is until `fit_to`."""
        self.log_shares.assign(np.zeros(self.components))
        self.means.assign(np.zeros((self.components, self.latent_dim)))
        self.factors.assign(np.broadcast_to(np.eye(self.latent_dim), self.factors.shape))
