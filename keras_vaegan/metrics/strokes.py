"""The style of a digit as two numbers: how its strokes lean, and how wide they are."""

import numpy as np

from keras_vaegan.data.checks import check_labels
from keras_vaegan.errors import InputError
from keras_vaegan.metrics.pixels import as_float64, checked


def slant(images):
    """How far strokes lean to the right: the tangent of the angle from upright.

    -mu_11 / mu_02 of the central moments (Hu 1962), the shear that makes columns and rows uncorrelated;
    y points down, hence the sign.

    Args:
        images: `(N, H, W, 1)`, float in [0, 1] or uint8, bright strokes on black.

    Returns:
        `(N,)` float64; NaN for an image that is black or of one bright row alone.
    """
    x = _strokes(images)
    mass = x.sum(axis=(1, 2))
    rows, columns = np.arange(x.shape[1], dtype="float64"), np.arange(x.shape[2], dtype="float64")
    with np.errstate(invalid="ignore", divide="ignore"):
        down = rows[:, None] - (x.sum(axis=2) @ rows / mass)[:, None, None]
        across = columns[None, :] - (x.sum(axis=1) @ columns / mass)[:, None, None]
        variance = (x * down**2).sum(axis=(1, 2))
        return np.where(variance > 0, -(x * down * across).sum(axis=(1, 2)) / variance, np.nan)


def stroke_width(images):
    """Mean width of the strokes in pixels: twice their mass over the length of their edge.

    The mass is the moment of order 0; the length of the edge is the total variation, which for an image
    of black and white is the perimeter. Of a stroke of length L and width w, w L and 2 L for w << L.
    Strokes narrower than two pixels come out too wide.

    Args:
        images: `(N, H, W, 1)`, float in [0, 1] or uint8, bright strokes on black.

    Returns:
        `(N,)` float64; NaN for an image that is black.
    """
    x = np.pad(_strokes(images), ((0, 0), (1, 1), (1, 1)))
    down, across = x[:, 1:, :-1] - x[:, :-1, :-1], x[:, :-1, 1:] - x[:, :-1, :-1]
    edge = np.hypot(down, across).sum(axis=(1, 2))
    with np.errstate(invalid="ignore"):
        return 2.0 * x.sum(axis=(1, 2)) / np.where(edge > 0, edge, np.nan)


def style_kept(sources, results, labels):
    """Whether slant and stroke width of images are those of what was made of them in other classes.

    Args:
        sources, results: `(N, H, W, 1)`, float in [0, 1] or uint8, in pairs.
        labels: classes that the results were asked to show, `(N,)`; the correlation is taken over those of
            one class, so that what the class itself brings along does not count.

    Returns:
        `{"slant": {class: Pearson correlation}, "stroke_width": {class: Pearson correlation}}`.

    Raises:
        InputError: sources, results and labels of different lengths; images that are not `(N, H, W, 1)`.
    """
    sources, results = checked(sources, "sources"), checked(results, "results")
    if len(sources) != len(results) or np.shape(labels) != (len(results),):
        raise InputError(
            f"sources, results and labels must be as many; received {len(sources)}, {len(results)} and "
            f"{np.size(labels)}."
        )
    labels = check_labels(labels, len(results), argument="labels")
    return {
        measure.__name__: {
            int(k): _correlation(*(measure(np.asarray(images)[labels == k]) for images in (sources, results)))
            for k in np.unique(labels)
        }
        for measure in (slant, stroke_width)
    }


def _correlation(a, b):
    """Pearson's, of the pairs of which both can be measured; NaN for fewer than three."""
    both = np.isfinite(a) & np.isfinite(b)
    if both.sum() < 3 or not a[both].std() or not b[both].std():
        return float("nan")
    return float(np.corrcoef(a[both], b[both])[0, 1])


def _strokes(images):
    x = as_float64(checked(images))
    if x.shape[-1] != 1:
        raise InputError(f"images must be (N, H, W, 1), grey, with N > 0; received {x.shape}.")
    return x[..., 0]
