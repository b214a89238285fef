"""The ways between latent codes."""

import numpy as np


def line(a: np.ndarray, b: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Points of the straight way from a to b, at t from 0 to 1; the shapes are broadcast."""
    return a + t * (b - a)


def arc(a: np.ndarray, b: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Points of the great arc from a to b, lengths interpolated (White 2016): codes `(..., Z)`."""
    length_a, length_b = (np.linalg.norm(z, axis=-1, keepdims=True) + 1e-12 for z in (a, b))
    cosine = np.clip(np.sum(a * b, axis=-1, keepdims=True) / (length_a * length_b), -1.0, 1.0)
    angle = np.maximum(np.arccos(cosine), 1e-6)
    direction = (np.sin((1 - t) * angle) * a / length_a + np.sin(t * angle) * b / length_b) / np.sin(angle)
    return direction * line(length_a, length_b, t)
