"""The digest that names the weights of a network."""

import hashlib
from collections.abc import Iterable

import numpy as np


def digest(arrays: Iterable[np.ndarray]) -> str:
    """First 12 hexadecimal digits of the SHA-256 of weights, in their order, as float32."""
    summed = hashlib.sha256()
    for array in arrays:
        summed.update(np.ascontiguousarray(array, "float32").tobytes())
    return summed.hexdigest()[:12]
