"""Stacked MNIST: three digits in three channels, whose 1,000 classes show how many modes are found."""

import os

import numpy as np

from keras_vaegan.data.checks import ValueRange
from keras_vaegan.data.images import WHITE, Colour, Resize
from keras_vaegan.data.splits import Pair, Splits
from keras_vaegan.data.tfds import read_tfds


def read_stacked_mnist(
    size: tuple[int, int] | None,
    data_dir: str | os.PathLike[str] | None,
    manual_dir: str | os.PathLike[str] | None,
    seed: int,
    value_range: ValueRange = None,
    bytes_per_value: int = 3,
    channels: int | None = None,
    resize: Resize = "crop",
    background: Colour = WHITE,
) -> tuple[Splits, list[str] | None]:
    """Return the splits and class names of stacked MNIST (Metz et al. 2017), from TFDS' `mnist`.

    Each split has as many images as that of MNIST; each is three of its digits, drawn from the
    seed, in three channels, whatever `channels` is. Class 100 a + 10 b + c has the digits a, b, c in the
    channels red, green, blue.
    """
    # Three channels are made of the one that is read.
    splits, _ = read_tfds(
        "mnist", size, 1, data_dir, manual_dir, value_range, 3 * bytes_per_value, resize, background
    )
    names = [f"{number:03d}" for number in range(1000)]
    return [_stack(split, np.random.default_rng([seed, i])) for i, split in enumerate(splits)], names


def _stack(split: Pair, generator: np.random.Generator) -> Pair:
    x, y = split
    rows = generator.integers(len(x), size=(3, len(x)))
    labels = None if y is None else y[rows[0]] * 100 + y[rows[1]] * 10 + y[rows[2]]
    return np.concatenate([x[row] for row in rows], axis=-1), labels
