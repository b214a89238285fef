"""Images and latent codes in overlapping tiles, whose results are blended.

A network that has seen small images runs on large ones tile by tile, in the memory of one tile. Where tiles
overlap, each result counts less towards the edge of its tile, so that no seam is left.
"""

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np

from keras_vaegan.errors import InputError


def in_tiles(
    run: Callable[[np.ndarray], np.ndarray], x: np.ndarray, tile: int, overlap: int, ratio: Fraction
) -> np.ndarray:
    """What a function gives for maps, computed tile by tile.

    Args:
        run: maps `(B, t, u, C)` -> maps `(B, t * ratio, u * ratio, D)`.
        x: maps `(B, H, W, C)`.
        tile: height and width of a tile, in positions of x; less if x is smaller.
        overlap: positions that neighboring tiles share, less than `tile`. The last tiles may share more.
        ratio: output positions for each position of x. It must give whole numbers for all sides and steps.

    Returns:
        `(B, H * ratio, W * ratio, D)` float32.
    """
    sides = x.shape[1:3]
    tiles = [min(tile, side) for side in sides]
    total, weights = None, np.zeros([int(side * ratio) for side in sides])
    for top in _starts(sides[0], tiles[0], overlap):
        for left in _starts(sides[1], tiles[1], overlap):
            made = run(x[:, top : top + tiles[0], left : left + tiles[1]])
            if total is None:
                total = np.zeros((len(x), *weights.shape, made.shape[-1]))
            weight = np.outer(
                *(
                    _ramp(int(start * ratio), int(size * ratio), int(side * ratio), int(overlap * ratio))
                    for start, size, side in zip((top, left), tiles, sides, strict=True)
                )
            )
            place = tuple(
                slice(int(start * ratio), int((start + size) * ratio))
                for start, size in zip((top, left), tiles, strict=True)
            )
            total[:, *place] += weight[..., None] * made
            weights[place] += weight
    assert total is not None
    return (total / weights[..., None]).astype("float32")


def _starts(side: int, tile: int, overlap: int) -> list[int]:
    """Where tiles begin, so that they cover the side and none leaves it."""
    if side == tile:  # which may be no larger than the overlap
        return [0]
    number = max(1, math.ceil((side - overlap) / (tile - overlap)))
    return [min(i * (tile - overlap), side - tile) for i in range(number)]


def borders(side: int, tile: int, overlap: int) -> list[int]:
    """Where tiles of `in_tiles` begin or end within a side; a seam would lie before such a position."""
    starts = _starts(side, min(tile, side), overlap)
    return sorted({*starts[1:], *(start + tile for start in starts[:-1])})


def _ramp(start: int, size: int, side: int, overlap: int) -> np.ndarray:
    """Weights of the positions of a tile along a side: they rise over the overlap from an inner edge.

    They are squares of a sine: the same sum of two tiles everywhere, and less near the edge than a straight
    line, since a tile's edge is what it has computed without its neighbors.
    """
    place = np.arange(size) + 0.5
    shares = np.ones(size)
    if overlap and start > 0:
        shares = np.minimum(shares, place / overlap)
    if overlap and start + size < side:
        shares = np.minimum(shares, (size - place) / overlap)
    return np.sin(0.5 * np.pi * shares) ** 2


def tile_and_overlap(tile: int, factor: int) -> tuple[int, int]:
    """The size of a tile and the overlap, a quarter of it, in whole steps of `factor` pixels.

    Raises:
        InputError: a tile that is no multiple of `factor`, or less than 4 times as large.
    """
    if tile % factor or tile < 4 * factor:
        raise InputError(
            f"tile must be a multiple of {factor} pixels, at least {4 * factor}; received {tile}."
        )
    return tile, max(factor, tile // 4 // factor * factor)
