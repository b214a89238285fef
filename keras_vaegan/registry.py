"""The models by the keys of the command line and the presets; the decorator `register` fills the registry.

It stands below the models, so that presets, export and evaluation need to import none of them.
"""

from collections.abc import Callable
from typing import Any, TypeVar

Class = TypeVar("Class", bound=type)

MODELS: dict[str, Any] = {}  # key -> class


def register(*keys: str) -> Callable[[Class], Class]:
    """Register a model class under its keys, as `@register("draw", "conditional_draw")`.

    Raises `ValueError` for a key that another class has.
    """

    def add(model: Class) -> Class:
        for key in keys:
            known = MODELS.setdefault(key, model)
            if (known.__module__, known.__qualname__) != (model.__module__, model.__qualname__):
                raise ValueError(f"the key {key!r} belongs to {known.__name__}")
            MODELS[key] = model
        return model

    return add


def key_of(model: Any) -> str:
    """Key of a model, that for its condition if its class has several; the class's name if it has none."""
    keys = [key for key, kind in MODELS.items() if kind is type(model)]
    kind = "completion_" if model.completes else "conditional_" if model.num_classes else ""
    prefixed = [key for key in keys if kind and key.startswith(kind)]
    return (prefixed or keys or [type(model).__name__])[0]
