"""Train, validation and test splits."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from keras_vaegan.errors import InputError

Pair: TypeAlias = tuple[np.ndarray, np.ndarray | None]  # (x, y)
Splits: TypeAlias = Sequence[Pair]  # train, validation, test


def split_indices(
    num_images: int, labels: np.ndarray | None, held_out: int, seed: int
) -> tuple[np.ndarray, ...]:
    """Return the indices of the training images and of `held_out` splits of 10 % each.

    A permutation from `seed`; with labels every split has the classes in the same proportions,
    give or take one image.

    Args:
        num_images: B.
        labels: int array `(B,)`, or None.
        held_out: how many splits to hold out, 1 or 2.
        seed: int.

    Returns:
        `1 + held_out` index arrays, disjoint, together 0..B-1, in random order.
    """
    if num_images <= held_out:
        raise InputError(
            f"source must hold at least {held_out + 1} images to be split; received {num_images}."
        )
    order = np.random.default_rng(seed).permutation(num_images)
    by_class = order if labels is None else order[np.argsort(labels[order], kind="stable")]
    turn = np.empty(num_images, int)
    turn[by_class] = np.arange(num_images) % 10  # every tenth image of every class takes the same turn
    turn = turn[order]
    return order[turn >= held_out], *(order[turn == k] for k in range(held_out))


def complete_splits(train: Pair, validation: Pair | None, test: Pair | None, seed: int) -> Splits:
    """Return `train, validation, test`, with those that are None carved out of `train`.

    Each is a pair `(x, y)` of arrays with equal first axes; y may be None.
    """
    missing = (validation is None) + (test is None)
    if validation is not None and test is not None:
        return train, validation, test
    x, y = train
    held_out: list[Any]
    kept, *held_out = split_indices(len(x), y, missing, seed)
    train, *held_out = [(x[index], None if y is None else y[index]) for index in (kept, *held_out)]
    validation = held_out.pop(0) if validation is None else validation
    test = held_out.pop(0) if test is None else test
    return train, validation, test
