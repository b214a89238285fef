"""Recipes as plain configuration, models built from them, and models in folders.

The recipes themselves are data that can be read without a backend; all else is imported on use.
"""

import importlib
from typing import TYPE_CHECKING

from keras_vaegan.presets.recipes import MODEL_KEYS, RECIPES
from keras_vaegan.presets.shipped import trained_presets

if TYPE_CHECKING:
    from keras_vaegan.presets.building import build, from_preset, take_over
    from keras_vaegan.presets.choice import RecipeChoice
    from keras_vaegan.presets.configure import options, override, plan, recipe, recipe_for
    from keras_vaegan.presets.folder import load_folder, save_folder
    from keras_vaegan.presets.sources import find, load_source

_PUBLIC = {
    "RecipeChoice": "choice",
    "build": "building",
    "options": "configure",
    "override": "configure",
    "plan": "configure",
    "recipe": "configure",
    "recipe_for": "configure",
    "find": "sources",
    "from_preset": "building",
    "load_folder": "folder",
    "load_source": "sources",
    "save_folder": "folder",
    "take_over": "building",
}

__all__ = [
    "MODEL_KEYS",
    "RECIPES",
    "RecipeChoice",
    "build",
    "options",
    "override",
    "plan",
    "recipe",
    "recipe_for",
    "find",
    "from_preset",
    "load_folder",
    "load_source",
    "save_folder",
    "take_over",
    "trained_presets",
]


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)
