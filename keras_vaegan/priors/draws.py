"""Draws of the latent codes of images, to which a prior is fitted."""

from collections.abc import Mapping, Sequence

import numpy as np

from keras_vaegan.errors import InputError
from keras_vaegan.noise import placed, prior_noise


class Draws:
    """Draws from q(z|x) of many images.

    Args:
        q: `mean` and `log_variance` of q(z|x), `(N, ..., Z)` float32.
        seed: of `first`.
    """

    def __init__(self, q: Mapping[str, np.ndarray], seed: int) -> None:
        self.q, self.seed = dict(q), seed

    def __len__(self) -> int:
        return len(self.q["mean"])

    @property
    def first(self) -> np.ndarray:
        """One draw for each image, `(N, ..., Z)`, that depends on the seed alone."""
        return placed(self.q, prior_noise(len(self), self.q["mean"].shape[1:], self.seed))

    def of(self, rows: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Draws for some of the images, with noise from a generator."""
        q = {name: values[rows] for name, values in self.q.items()}
        return placed(q, generator.standard_normal(q["mean"].shape, "float32"))


class Drawn:
    """A few draws of each image, for a model whose q(z|x) is no single normal distribution.

    Args:
        draws: one or more draws, `(N, ..., Z)` each.
    """

    def __init__(self, draws: Sequence[np.ndarray]) -> None:
        self.draws = list(draws)

    def __len__(self) -> int:
        return len(self.draws[0])

    @property
    def first(self) -> np.ndarray:
        """The first draw of each image, `(N, ..., Z)`."""
        return self.draws[0]

    def of(self, rows: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """One of the draws of some of the images, chosen by a generator."""
        which = generator.integers(0, len(self.draws), len(rows))
        return np.stack([self.draws[draw][row] for draw, row in zip(which, rows, strict=True)])


def finite_first(draws: Draws | Drawn) -> np.ndarray:
    """The first draw of each image, `(N, ..., Z)`.

    Raises:
        InputError: if one is NaN or infinite.
    """
    codes = draws.first
    if not np.isfinite(codes).all():
        raise InputError("x must have finite latent codes; those of some images are NaN or infinite.")
    return codes
