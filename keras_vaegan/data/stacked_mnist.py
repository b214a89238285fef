"""Stacked MNIST: three digits in three channels, whose 1,000 classes show how many modes are found."""

import dataclasses
import os

import numpy as np

from keras_vaegan.data.preprocessing import Preprocessing
from keras_vaegan.data.splits import Pair, Splits
from keras_vaegan.data.tfds import read_tfds


def read_stacked_mnist(
    asked: Preprocessing,
    data_dir: str | os.PathLike[str] | None,
    manual_dir: str | os.PathLike[str] | None,
    seed: int,
    bytes_per_value: int = 3,
    deep: bool = True,
) -> tuple[Splits, list[str] | None, list[str], Preprocessing]:
    """Return the splits, class names, notes and preprocessing of stacked MNIST (Metz et al. 2017).

    Each split has as many images as that of TFDS' `mnist`. Each image is three digits, drawn from the
    seed, in three channels, whatever `channels` is asked for. Class 100 a + 10 b + c has the digits a, b, c
    in the channels red, green, blue.
    """
    asked = dataclasses.replace(asked, channels=1)
    splits, _, notes, made = read_tfds(
        "mnist", asked, data_dir, manual_dir, 3 * bytes_per_value, deep, "memory"
    )
    names = [f"{number:03d}" for number in range(1000)]
    stacked = [_stack(split, np.random.default_rng([seed, i])) for i, split in enumerate(splits)]
    return stacked, names, notes, dataclasses.replace(made, channels=3)


def _stack(split: Pair, generator: np.random.Generator) -> Pair:
    x, y = split
    rows = generator.integers(len(x), size=(3, len(x)))
    labels = None if y is None else y[rows[0]] * 100 + y[rows[1]] * 10 + y[rows[2]]
    return np.concatenate([x[row] for row in rows], axis=-1), labels
