"""A score, and what scores say in plain words."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

from keras_vaegan.errors import one_line

NAME_LENGTH = 60  # characters of a class name


@dataclasses.dataclass
class Score:
    """One number.

    Attributes:
        name: of the number, the same in every result.
        value: the number.
        error: its standard error, where it is an estimate that tells one.
        reference: what to compare it with: of a distance between sets the floor, that of real
            training images to the real images; else the value of the real images.
        unit: `nats`, `decibels`, ...; None for a pure number.
        better: `lower`, `higher` or `near` the reference; None where neither is.
        features: name of the extractor, where the number depends on one.
        details: the same by class, dimension, ..., `{name: number}`.
        note: of what the number is, where that is not all that the other numbers are of.
    """

    name: str
    value: float
    error: float | None = None
    reference: float | None = None
    unit: str | None = None
    better: str | None = None
    features: str | None = None
    details: Mapping[str, float | None] | None = None
    note: str | None = None


def findings(scores: Sequence[Score]) -> list[str]:
    """What is wrong with the scored images, in plain words."""
    found = []
    for one in scores:
        say, at_fault = RULES.get(one.name, ("", None))
        if at_fault is not None and at_fault(one):
            where = f" (in the features of {one.features})" if one.features else ""
            how = "less sharp" if one.value < (one.reference or 0.0) else "sharper, or noisier,"
            found.append(say.format(one, worst=_worst(one), how=how) + where)
    return found


# Score name -> what to say, and when.
RULES: dict[str, tuple[str, Callable[[Score], bool]]] = {
    "coverage": (
        "collapse: the samples come near {0.value:.1%} of the real images only (floor: {0.reference:.1%})",
        # Few samples cannot come near many images: the floor is of as many.
        lambda one: one.value < 0.25 * (one.reference or 0.0),
    ),
    "class_entropy": (
        "classes are out of balance: their entropy is {0.value:.2f} of the largest; rarest is {worst}",
        lambda one: one.value < 0.9 * (one.reference or 1.0),
    ),
    "sharpness": (
        "the samples are {how} than the real images: a Laplacian variance of {0.value:.4f} against "
        "{0.reference:.4f}",
        lambda one: not 0.6 < one.value / max(one.reference or 0.0, 1e-12) < 1.5,
    ),
    "label_agreement": (
        "a classifier sees the asked label in {0.value:.1%} of the samples only; worst is {worst}",
        lambda one: one.value < 0.8,
    ),
    "spread_within_classes": (
        "samples of one class look alike: they spread {0.value:.2f} times as wide as real ones; "
        "worst is {worst}",
        lambda one: min(_numbers(one), default=1.0) < 0.5,
    ),
    "active_units": ("no dimension of the code is used", lambda one: one.value == 0),
}


def _numbers(one: Score) -> list[float]:
    return [value for value in (one.details or {}).values() if value is not None and math.isfinite(value)]


def _worst(one: Score) -> str:
    """The part of a score with the lowest number, and it."""
    parts = {name: value for name, value in (one.details or {}).items() if value is not None}
    if not parts:
        return "unknown"
    name = min(parts, key=lambda part: parts[part])
    return f"{one_line(name, NAME_LENGTH)} with {parts[name]:.2f}"
