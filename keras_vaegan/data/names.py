"""Names of classes: their order, their equality, and what a number stands for beside them."""

import decimal
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from keras_vaegan.errors import InputError, did_you_mean, nearest, one_line

UNLABELLED = ("unlabelled", "unlabeled")  # folders that are no class: their images have the label -1
NUMBER = r"-?[0-9]+(?:\.[0-9]+)?"  # of ASCII digits alone: `str.isdigit` is true of a superscript, too
MOST_SHOWN = 8  # names in a message
NAME_LENGTH = 60  # characters of a name in a message

_RANGE = re.compile(f"({NUMBER})-({NUMBER})")


def normalize(name: str) -> str:
    """The one form of a name: accents are composed (NFC), as macOS decomposes those of its files."""
    return unicodedata.normalize("NFC", name)


def is_unlabelled(name: str) -> bool:
    """Whether a folder of that name holds images without a label."""
    return name.lower() in UNLABELLED


def natural_key(name: str) -> tuple[list[tuple[int, str]], str]:
    """A sort key that takes digits for numbers: 2 comes before 10, and 7 beside 07."""
    parts = re.split("([0-9]+)", name)  # text and digits by turns
    key = []
    for i, part in enumerate(parts):
        value = part.lstrip("0") if i % 2 else part
        key.append((len(value) if i % 2 else 0, value))  # of two numbers the longer is the larger
    return key, name


def in_order(names: Iterable[str]) -> list[str]:
    """Different names in natural order."""
    return sorted(set(names), key=natural_key)


def as_number(name: str) -> decimal.Decimal | None:
    """The number that a name is, as 7, 07 or 0.5; None for other names."""
    return decimal.Decimal(name) if re.fullmatch(NUMBER, name) else None


def class_numbers(names: Sequence[str]) -> list[decimal.Decimal | None] | None:
    """What numbers mean for classes of these names.

    Returns:
        The number of each name, if any name is one: a number means a name then. None if a number means a
        position, 0 to K - 1.
    """
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise InputError(f"class_names must be a list of names; received a {type(names).__name__}.")
    numbers = [as_number(name) for name in names]
    return None if all(number is None for number in numbers) else numbers


def listed(names: Iterable[str]) -> str:
    """Names for a message: the first few, on one line."""
    names = list(names)
    shown = ", ".join(one_line(name, NAME_LENGTH) for name in names[:MOST_SHOWN])
    return shown if len(names) <= MOST_SHOWN else f"{shown} and {len(names) - MOST_SHOWN} more"


def named_labels(labels: np.ndarray, class_names: Sequence[str], argument: str) -> np.ndarray:
    """Labels that came as numbers, as positions among the classes of a model.

    If any class name is a number, a label means the class of that name; else it is a position already.

    Args:
        labels: int64 `(B,)`, -1 where unlabelled.
        class_names: of the model.
        argument: for the error.

    Raises:
        InputError: a label that is no class.
    """
    numbers = class_numbers(class_names)
    if numbers is None:
        known = {k: k for k in range(len(class_names))}
    else:
        whole = [(n, k) for k, n in enumerate(numbers) if n is not None and n == n.to_integral_value()]
        known = {int(n): k for n, k in reversed(whole)}
    found, inverse = np.unique(labels, return_inverse=True)
    other = [str(label) for label in found if label >= 0 and int(label) not in known]
    if other:
        raise InputError(
            f"{argument} must be labels of the classes {listed(class_names)}; received {listed(other)}."
        )
    positions = np.array([known[int(label)] if label >= 0 else -1 for label in found], np.int64)
    return positions[inverse.reshape(-1)]


def renamed_labels(
    labels: np.ndarray, names: Sequence[str], class_names: Sequence[str], argument: str
) -> np.ndarray:
    """Labels that are positions among `names`, as positions among `class_names`, by equal names.

    Args:
        labels: int64 `(B,)`, -1 where unlabelled.
        names: of the classes of `labels`.
        class_names: of a model.
        argument: for the error.

    Raises:
        InputError: a label whose class is none of `class_names`.
    """
    known = positions_of(class_names)
    place = np.array([known.get(normalize(name), len(class_names)) for name in names] + [-1], np.int64)
    moved = place[labels]  # -1 is the last
    other = [names[k] for k in np.unique(labels[moved == len(class_names)])]
    if other:
        raise InputError(
            f"{argument} must be images of the classes {listed(class_names)}; received {listed(other)}."
        )
    return moved


def positions_of(class_names: Sequence[str]) -> dict[str, int]:
    """The position of each class by its name in composed form; a name that is in that form goes first."""
    known: dict[str, int] = {}
    for exact in (True, False):
        for k, name in enumerate(class_names):
            if (normalize(name) == name) is exact:
                known.setdefault(normalize(name), k)
    return known


def check_names(class_names: Any, argument: str = "class_names") -> list[str]:
    """Return different names of classes as a list, or raise `InputError`."""
    names = class_names if isinstance(class_names, (list, tuple)) else ()
    if not names or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise InputError(
            f"{argument} must be a list of different names, one for each class; "
            f"received {one_line(repr(class_names), NAME_LENGTH)}."
        )
    return list(names)


def check_folders(names: Iterable[str], folder: object) -> None:
    """Raise `InputError` if two class folders differ in the Unicode form of their accents alone."""
    seen: dict[str, str] = {}
    for name in sorted(set(names)):
        other = seen.setdefault(normalize(name), name)
        if other != name:
            raise InputError(
                f"source must hold one folder for each class; in {one_line(folder)} the folders "
                f"{ascii(other)} and {ascii(name)} are one name in two Unicode forms. Rename or join them."
            )


def parse_classes(text: str, num_classes: int, class_names: Sequence[str] | None, argument: str) -> list[int]:
    """Positions of the classes in a text such as `cat,dog`, `0-4,7` or a mixture.

    A class name wins over a number or a range. If any class name is a number, numbers and ranges mean names;
    else they mean positions. Of names with commas the longest that fits is taken.

    Args:
        text: names, numbers and ranges with commas between. A class may stand there several times.
        num_classes: K.
        class_names: K names, or None.
        argument: for the error.

    Raises:
        InputError: an empty part, or one that is no class.
    """
    names = list(class_names) if class_names else [str(k) for k in range(num_classes)]
    exact, composed = {name: k for k, name in reversed(list(enumerate(names)))}, positions_of(names)
    numbers = class_numbers(names)

    def named(part: str) -> list[int] | None:
        for name in (part, part.strip()):
            k = exact.get(name, composed.get(normalize(name)))
            if k is not None:
                return [k]
        return None

    def read(part: str) -> list[int] | None:
        return named(part) or _numbered(part.strip(), names, numbers)

    parts = text.split(",")

    def part_at(start: int, stop: int) -> list[int] | None:
        return (read if stop == start + 1 else named)(",".join(parts[start:stop]))

    longest = max((name.count(",") for name in names), default=0) + 1
    # From the end: what the parts from the i-th on can be, the longest names first.
    after: list[list[int] | None] = [None] * len(parts) + [[]]
    for i in reversed(range(len(parts))):
        for stop in range(min(i + longest, len(parts)), i, -1):
            first, rest = part_at(i, stop), after[stop]
            if first is not None and rest is not None:
                after[i] = first + rest
                break
    if after[0] is not None:
        return after[0]
    start = 0  # of the first part that is no class, however the parts before it are read
    while fitting := [s for s in range(start + 1, min(start + longest, len(parts)) + 1) if part_at(start, s)]:
        start = fitting[-1]
    raise _no_class(argument, parts[start].strip(), text, names, numbers)


def _numbered(
    part: str, names: Sequence[str], numbers: list[decimal.Decimal | None] | None
) -> list[int] | None:
    """The classes that a number or a range means, in their order; None if it means none."""
    found = _RANGE.fullmatch(part)
    low, high = (as_number(end) for end in (found.groups() if found else (part, part)))
    if low is None or high is None or low > high:
        return None
    if numbers is None:
        if low < 0 or high >= len(names) or low % 1 or high % 1:
            return None
        return list(range(int(low), int(high) + 1))
    if low not in numbers or high not in numbers:
        return None
    if found is None:  # 7 is another way to write 07, and the first of those that are equal
        return [numbers.index(low)]
    within = [k for k, number in enumerate(numbers) if number is not None and low <= number <= high]
    return sorted(within, key=lambda k: (numbers[k], k))


def _no_class(
    argument: str, part: str, text: str, names: Sequence[str], numbers: list[decimal.Decimal | None] | None
) -> InputError:
    """The error for a part that is no class."""
    if not part:
        received = one_line(repr(text), NAME_LENGTH)
        return InputError(f"{argument} must be classes with commas between; received {received}.")
    ends = _RANGE.fullmatch(part)
    if ends and decimal.Decimal(ends[1]) > decimal.Decimal(ends[2]):
        rising = one_line(f"{ends[2]}-{ends[1]}", NAME_LENGTH)
        received = one_line(part, NAME_LENGTH)
        return InputError(f"{argument} must have ranges that rise, as {rising}; received {received}.")
    counted = [str(k) for k in range(len(names))] == list(names)
    if re.fullmatch("[0-9]+(-[0-9]+)?", part) and (numbers is None or counted):
        received = one_line(part, NAME_LENGTH)
        return InputError(f"{argument} must lie in 0..{len(names) - 1}; received {received}.")
    numbered = f", or numbers of 0 to {len(names) - 1}" if numbers is None else ""
    if numbers is not None and (as_number(part) is not None or _RANGE.fullmatch(part)):
        numbered = "; numbers and ranges mean the names that are numbers"
    composed = {normalize(name): name for name in reversed(names)}
    near = nearest(normalize(part), composed)
    hint = did_you_mean(None if near is None else composed[near])
    received = one_line(repr(part), NAME_LENGTH)
    return InputError(f"{argument} must be one of {listed(names)}{numbered}; received {received}.{hint}")
