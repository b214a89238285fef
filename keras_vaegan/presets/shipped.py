"""The trained presets that come with the package: where they are. Nothing here imports a backend."""

import importlib.resources
import pathlib

from keras_vaegan.presets.recipes import RECIPES
from keras_vaegan.runs import METADATA


def shipped(name: str) -> pathlib.Path | None:
    """The folder of a preset's trained weights in the package; None for a recipe without weights."""
    folder = importlib.resources.files("keras_vaegan.presets") / "weights" / name
    return pathlib.Path(str(folder)) if (folder / METADATA).is_file() else None


def trained_presets() -> list[str]:
    """Names of the presets whose weights come with the package."""
    return [name for name in RECIPES if shipped(name)]
