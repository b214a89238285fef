"""Whether a value from a file or a command line is of the kind that an annotation names."""

import collections.abc
import math
import types
import typing
from typing import Any, Literal, TypeAlias

from keras_vaegan.errors import InputError, must_be

Kind: TypeAlias = Any  # int, float, bool, str, dict, None, Literal, Sequence, tuple or a union of them
LARGEST = 2**31 - 1  # of an integer: no size or count of the package is larger
LARGEST_SIDE = 32_768  # of an image, in pixels
MOST_ENTRIES = 1000  # of a list
NAMES = {
    int: f"an integer of at most {LARGEST}",
    float: "a finite number",
    bool: "true or false",
    str: "text",
    dict: "an object",
    type(None): "null",
}
MANY = {int: "integers", float: "finite numbers", str: "texts", bool: "booleans"}


def check_kind(argument: str, value: Any, kind: Kind) -> None:
    """Raise `InputError`, in one line, unless a value from outside is of a kind.

    Args:
        argument: what the value is for, for the message.
        value: as `json.loads` gives it; tuples are lists.
        kind: an annotation, as `int | Sequence[int]` or `Literal["none", "batch"]`.
    """
    if not fits(value, kind):
        raise must_be(argument, described(kind), value)


def fits(value: Any, kind: Kind) -> bool:
    """Whether a value is of the kind of an annotation; one that is not known takes anything."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, one) for one in arguments)
    if origin is Literal:
        return any(type(value) is type(one) and value == one for one in arguments)
    if origin in (collections.abc.Sequence, list, tuple):
        return _fits_list(value, origin, arguments)
    if kind is None or kind is type(None):
        return value is None
    if kind is bool or kind is str or kind is dict:
        return isinstance(value, kind)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST
    if kind is float:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return number and abs(value) < 1e300 and math.isfinite(value)
    return True


def _fits_list(value: Any, origin: Any, arguments: tuple[Any, ...]) -> bool:
    if not isinstance(value, (list, tuple)) or len(value) > MOST_ENTRIES:
        return False
    if origin is tuple and Ellipsis not in arguments:
        return len(value) == len(arguments) and all(map(fits, value, arguments))
    return all(fits(entry, arguments[0]) for entry in value)


def described(kind: Kind) -> str:
    """A kind in words."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(described(one) for one in arguments)
    if origin is Literal:
        return f"one of {', '.join(map(str, arguments))}"
    if origin is tuple and Ellipsis not in arguments:
        return f"a list of {len(arguments)} {MANY.get(arguments[0], 'values')}"
    if origin in (collections.abc.Sequence, list, tuple):
        return f"a list of {MANY.get(arguments[0], 'values')}"
    return NAMES.get(type(None) if kind is None else kind, "a value")


# What `metadata.json` may say of a model; each fact may be missing.
FACTS: dict[str, Kind] = {
    "format_version": int,
    "model": str,
    "dataset": str,
    "image_shape": tuple[int, int, int],
    "class_names": list[str] | None,
    "num_classes": int | None,
    "value_range": tuple[int, int] | None,
    "data": dict | None,
    "seed": int,
    "backend": str,
    "mixed_precision": str,
    "distribute": str,
    "augment": str | None,
    "checkpoint_every": int | None,
    "preprocessing": dict | None,
    "steps_per_epoch": int | None,
    "recipe": dict | None,
    "epochs_done": int,
    "interrupted": bool,
    "finished": bool,
    "seconds": float,
    "results": dict | None,
    "weights_sha256": str,
}


def check_facts(metadata: dict[str, Any], prefix: str, whole: bool = False) -> None:
    """Raise `InputError` unless the facts of `metadata.json` are of their kinds.

    Args:
        metadata: as it was read.
        prefix: words before the name of a fact in the message.
        whole: whether its recipe, if it has one, must have all sections.
    """
    for name, kind in FACTS.items():
        if name in metadata:
            check_kind(f"{prefix} {name}", metadata[name], kind)
    if recipe := metadata.get("recipe"):
        check_recipe(recipe, f"{prefix} recipe", whole)


# What a recipe must have, beside the options that its constructors check.
NEEDED: dict[str, dict[str, Kind]] = {
    "model": {"key": str},
    "networks": {"family": str, "latent_dim": int},
    "optimizer": {"generator": dict},
    "training": {"dataset": str, "batch_size": int},
}
LENGTHS = ("epochs", "steps")  # of a training, of which its section has one


def check_recipe(recipe: Any, argument: str = "recipe", whole: bool = True) -> None:
    """Raise `InputError` unless a recipe has its sections, and in them what each recipe must have.

    Args:
        recipe: of a preset, of `metadata.json`, or the user's own.
        argument: what it is called in the message.
        whole: whether all sections must be there; else those that are there are looked at.
    """
    check_kind(argument, recipe, dict)
    for section, needed in NEEDED.items():
        if section in recipe or whole:
            check_kind(f"{argument}.{section}", recipe.get(section), dict)
            for name, kind in needed.items():
                if name in recipe[section] or whole:
                    check_kind(f"{argument}.{section}.{name}", recipe[section].get(name), kind)
    if "training" in recipe or whole:
        _check_length(recipe["training"], f"{argument}.training", whole)
    for player, settings in recipe.get("optimizer", {}).items():
        check_kind(f"{argument}.optimizer.{player}", settings, dict)


def _check_length(training: dict[str, Any], argument: str, whole: bool) -> None:
    """Raise `InputError` if a training's length is in epochs and in steps, or, if `whole`, in neither."""
    given = [name for name in LENGTHS if training.get(name) is not None]
    for name in given:
        check_kind(f"{argument}.{name}", training[name], int)
    if len(given) > 1 or whole and not given:
        received = "both" if given else "neither"
        raise InputError(f"{argument} must have epochs or steps; received {received}.", argument=argument)
