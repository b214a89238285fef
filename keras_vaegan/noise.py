"""Standard normal noise for images, drawn in NumPy from a seed."""

from collections.abc import Mapping, Sequence

import numpy as np

from keras_vaegan.errors import whole_number

NOISE_BLOCK = 256


def prior_noise(num_images: int, shape: Sequence[int], seed: int, start: int = 0) -> np.ndarray:
    """Standard normal noise `(num_images, *shape)` float32 for images `start`, `start + 1`, ...

    Row i depends on `seed` and i alone: it is drawn in NumPy in fixed blocks, so it is the
    same whatever the number of images, the batch size or the backend.
    """
    first, last = start // NOISE_BLOCK, -(-(start + num_images) // NOISE_BLOCK)
    blocks = [
        np.random.default_rng([seed, block]).standard_normal((NOISE_BLOCK, *shape), dtype="float32")
        for block in range(first, last)
    ]
    offset = start - first * NOISE_BLOCK
    return np.concatenate(blocks)[offset : offset + num_images]


def placed(normal: Mapping[str, np.ndarray], noise: np.ndarray) -> np.ndarray:
    """Draws from normal distributions by `mean` and `log_variance`, `(N, ...)` float32."""
    return normal["mean"] + np.exp(0.5 * normal["log_variance"]) * noise


def as_seed(seed: int | None) -> int:
    """`seed` as a non-negative integer; a fresh one if it is None."""
    if seed is None:
        return int(np.random.SeedSequence().generate_state(1)[0])
    return whole_number("seed", seed, 0)
