"""Distances between the distributions of two sets of features `(N, d)`.

Plain NumPy in float64: the same numbers on every backend. The Fréchet distance takes moments,
gathered in constant memory; the others keep the features and chunk their distances.
"""

import dataclasses

import numpy as np

from keras_vaegan.data.checks import numbers
from keras_vaegan.errors import InputError, whole_number

CHUNK = 1000  # rows of a distance matrix that are in memory at a time
# Rows of a block of the kernel distance; blocks that small sets are divided into, for the error.
BLOCK, FEWEST_BLOCKS = 1000, 5


@dataclasses.dataclass
class Moments:
    """Mean and covariance of features that come in batches, in constant memory.

    Attributes:
        count: rows seen.
        mean: `(d,)`.
        scatter: `(d, d)`, sum of outer products of the deviations from the mean.
    """

    count: int = 0
    mean: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0))
    scatter: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((0, 0)))

    def update(self, features):
        """Add features `(n, d)`, by the pairwise update of Chan et al. 1983; returns self.

        Raises `InputError` for features that are empty, not finite, or of another d than those before.
        """
        x = check_features("features", features)
        mean = x.mean(axis=0)
        scatter = (x - mean).T @ (x - mean)
        if self.count == 0:
            self.count, self.mean, self.scatter = len(x), mean, scatter
            return self
        if x.shape[1] != len(self.mean):
            raise InputError(f"features must have {len(self.mean)} columns; received {x.shape[1]}.")
        total, difference = self.count + len(x), mean - self.mean
        self.scatter = self.scatter + scatter + np.outer(difference, difference) * self.count * len(x) / total
        self.mean, self.count = self.mean + difference * len(x) / total, total
        return self

    @property
    def covariance(self):
        """Unbiased covariance `(d, d)`, from two rows on."""
        if self.count < 2:
            raise InputError(f"features must have at least 2 rows for a covariance; received {self.count}.")
        return self.scatter / (self.count - 1)


def frechet_distance(a, b):
    """Fréchet distance of two normal distributions with the moments of `a` and `b`.

        |m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2))

    (Dowson and Landau 1982; Heusel et al. 2017). It falls with the number of images: compare
    only numbers made of equally many.

    Args:
        a, b: features `(N, d)`, or their `Moments`; at least two rows each.

    Returns:
        A float of at least 0, in squared units of the features.

    Raises:
        InputError: features that are not `(N, d)`, are empty or not finite; fewer than two rows; another d of
            `a` than of `b`.

    Examples:
        >>> import numpy as np
        >>> from keras_vaegan import metrics
        >>> a = np.random.default_rng(0).normal(size=(5000, 8))
        >>> round(float(metrics.frechet_distance(a, a + 1.0)), 6)  # means that are 1 apart in 8 dimensions
        8.0
    """
    a, b = (x if isinstance(x, Moments) else Moments().update(x) for x in (a, b))
    if len(a.mean) != len(b.mean):
        raise InputError(f"a and b must have as many columns; received {len(a.mean)} and {len(b.mean)}.")
    values, vectors = np.linalg.eigh(a.covariance)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    # The eigenvalues of S_a S_b are those of the symmetric S_a^(1/2) S_b S_a^(1/2).
    eigenvalues = np.linalg.eigvalsh(root @ b.covariance @ root)
    cross = np.sqrt(np.maximum(eigenvalues, 0.0)).sum()
    distance = np.sum((a.mean - b.mean) ** 2) + np.trace(a.covariance) + np.trace(b.covariance) - 2.0 * cross
    return float(max(distance, 0.0))


def kernel_distance(a, b, block=None, seed=0):
    """Squared maximum mean discrepancy with the cubic kernel (x.y / d + 1)^3, unbiased.

    The mean over disjoint random blocks of both sets of the U-statistic (Binkowski et al. 2018);
    the blocks are independent, so their spread gives the standard error. Of sets too small for two blocks
    it is the U-statistic of all rows, and the error that of the mean of five smaller blocks: of sets that
    are nearly alike it is too large, up to twice and more.

    Args:
        a, b: features `(N, d)`, at least two rows each.
        block: rows of a block; 1,000 if None, where there are twice as many.
        seed: of the division into blocks.

    Returns:
        `(distance, standard_error)`; the error is NaN where there is one block only: of fewer than four
        rows, or by the argument `block`.

    Raises:
        InputError: as of `frechet_distance`.
    """
    a, b = _two_sets(a, b, minimum=2)
    rows = min(len(a), len(b))
    whole_number("seed", seed, 0)
    if block is not None:
        whole_number("block", block, 2)
    if block is None and rows < 2 * BLOCK:
        error = kernel_distance(a, b, max(2, rows // FEWEST_BLOCKS), seed)[1]
        return kernel_distance(a, b, rows, seed)[0], error
    block = min(block or BLOCK, rows)
    number = rows // block
    generator = np.random.default_rng(seed)
    rows_a, rows_b = (generator.permutation(len(x))[: number * block].reshape(number, block) for x in (a, b))
    estimates = [_unbiased_mmd(a[i], b[j]) for i, j in zip(rows_a, rows_b, strict=True)]
    error = np.std(estimates, ddof=1) / np.sqrt(number) if number > 1 else float("nan")
    return float(np.mean(estimates)), float(error)


def _unbiased_mmd(x, y):
    def kernel(u, v):
        return (u @ v.T / u.shape[1] + 1.0) ** 3

    n, xx, yy = len(x), kernel(x, x), kernel(y, y)
    within = (xx.sum() - np.trace(xx) + yy.sum() - np.trace(yy)) / (n * (n - 1))
    return within - 2.0 * kernel(x, y).mean()


def precision_recall_density_coverage(real, fake, k=5):
    """Precision, recall (Kynkaanniemi et al. 2019), density and coverage (Naeem et al. 2020).

    With balls around each image to its k-th nearest neighbour of its own set: precision is the
    share of fakes in some real ball, recall of reals in some fake ball, density the mean number
    of real balls that a fake is in, over k, and coverage the share of real balls with a fake.

    Args:
        real, fake: features `(N, d)`, more than k rows each.
        k: the neighbour that sets the radius.

    Returns:
        `{"precision", "recall", "density", "coverage"}`: floats, density may be above 1.

    Raises:
        InputError: k rows or fewer, and as of `frechet_distance`.
    """
    real, fake = _two_sets(real, fake, minimum=whole_number("k", k, 1) + 1)
    real_radii, fake_radii = _radii(real, k), _radii(fake, k)
    in_real, in_fake_ball = np.zeros(len(fake), int), np.zeros(len(real), bool)
    covered = np.zeros(len(real), bool)
    for start in range(0, len(real), CHUNK):
        rows = slice(start, start + CHUNK)
        squared = squared_distances(real[rows], fake)
        inside = squared <= real_radii[rows, None]
        in_real += inside.sum(axis=0)
        covered[rows] = inside.any(axis=1)
        in_fake_ball[rows] = (squared <= fake_radii).any(axis=1)
    return {
        "precision": float(np.mean(in_real > 0)),
        "recall": float(np.mean(in_fake_ball)),
        "density": float(np.mean(in_real) / k),
        "coverage": float(np.mean(covered)),
    }


def _radii(x, k):
    """Squared distance of each row to its k-th nearest other row, `(N,)`."""
    radii = np.empty(len(x))
    for start in range(0, len(x), CHUNK):
        squared = squared_distances(x[start : start + CHUNK], x)
        rows = np.arange(len(squared))
        squared[rows, start + rows] = -1.0  # itself comes first, whatever the rounding
        radii[start : start + CHUNK] = np.partition(squared, k, axis=1)[:, k]
    return radii


def squared_distances(x, y):
    """Squared Euclidean distances of the rows of `(N, d)` and `(M, d)`: `(N, M)`."""
    squared = (x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1) - 2.0 * x @ y.T
    return np.maximum(squared, 0.0)


def check_features(argument, features):
    """Return features as float64 `(N, d)` of finite numbers, or raise."""
    x = numbers(features, argument, "biuf", "features (N, d)").astype("float64")
    if x.ndim != 2 or not x.size:
        raise InputError(f"{argument} must be features (N, d) with N > 0; received {x.shape}.")
    if not np.isfinite(x).all():
        raise InputError(f"{argument} must be finite; received NaN or infinite values.")
    return x


def _two_sets(a, b, minimum):
    a, b = check_features("the first set", a), check_features("the second set", b)
    if a.shape[1] != b.shape[1]:
        raise InputError(f"both sets must have as many columns; received {a.shape[1]} and {b.shape[1]}.")
    if min(len(a), len(b)) < minimum:
        raise InputError(f"both sets must have at least {minimum} rows; received {len(a)} and {len(b)}.")
    return a, b
