"""Recipes as plain configuration, models built from them, and models in folders.

The recipes themselves are data that can be read without a backend; all else is imported on use.
"""

import importlib

from keras_vaegan.presets.recipes import MODEL_KEYS, RECIPES

_PUBLIC = {
    "build": "configure",
    "options": "configure",
    "override": "configure",
    "recipe": "configure",
    "recipe_for": "configure",
    "load_folder": "folder",
    "load_source": "folder",
    "save_folder": "folder",
}

__all__ = ["MODEL_KEYS", "RECIPES", *_PUBLIC]  # noqa: PLE0604


def __getattr__(name):
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)
