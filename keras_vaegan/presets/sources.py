"""Presets by name, by folder and by address: where a model comes from."""

import contextlib
import dataclasses
import os
import pathlib
import re
import urllib.parse
from typing import TYPE_CHECKING, Any

from keras_vaegan.errors import InputError, did_you_mean, nearest, renaming, shown, unknown_name
from keras_vaegan.files import cache_folder, kept_or_passing, reason_of, user_path
from keras_vaegan.presets import configure
from keras_vaegan.presets.folder import load_folder, load_keras_file, load_metadata
from keras_vaegan.presets.recipes import ALL_PRESETS, HUB, RECIPES
from keras_vaegan.presets.shipped import shipped, trained_presets
from keras_vaegan.registry import MODELS
from keras_vaegan.runs import CONFIG, METADATA, WEIGHTS
from keras_vaegan.training.multi_player import MultiPlayerModel

if TYPE_CHECKING:
    from keras_vaegan.models.latent import LatentVariableModel

ADDRESS = "hf://user/name or hf://user/name@revision"
# A revision is a branch, a tag or a commit.
REPOSITORY = re.compile(
    r"hf://([A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9_][\w.-]{0,95})(?:@([A-Za-z0-9_][\w.+/-]{0,99}))?", re.ASCII
)


@dataclasses.dataclass(frozen=True)
class Preset:
    """A preset that was found.

    Attributes:
        name: as it was asked for.
        folder: with the trained model; None where there is a recipe alone.
        recipe: how it is built and trained; None for a model built by hand.
        metadata: what is known of the trained model.
    """

    name: str
    folder: pathlib.Path | None
    recipe: dict[str, Any] | None
    metadata: dict[str, Any]


def find(preset: str | os.PathLike[str]) -> Preset:
    """The preset of a folder that exists, of a name, or of `hf://user/name@revision` (in this order).

    Raises `InputError` where there is none (with the nearest name), where it cannot be downloaded, and where
    its metadata are missing or damaged.
    """
    path = user_path("preset", preset)
    text = os.fspath(preset)
    with renaming(source="preset"):
        if path.is_dir():
            return _in_folder(text, path, {})
        if text in RECIPES:
            recipe, folder = configure.recipe(text), shipped(text)
            return _in_folder(text, folder, recipe) if folder else Preset(text, None, recipe, {})
        if text.startswith(HUB):
            return _in_folder(text, _download(text), {})
    raise unknown_name(
        "preset",
        text,
        [*RECIPES, "a folder", ADDRESS],
        kind=f"the name of a preset, a folder or {HUB}user/name",
        listing=ALL_PRESETS,
    )


def load_source(source: str | os.PathLike[str]) -> "tuple[LatentVariableModel, dict[str, Any]]":
    """The trained model that a command's SOURCE names: a run folder, a `.keras` file or a preset.

    Returns:
        `(model, metadata)`; the metadata of a `.keras` file is empty.

    Raises:
        InputError: nothing at `source`; a recipe without weights; a `.keras` file that is damaged or holds no
            model of the package; a preset as of `find`, a folder as of `load_folder`.
    """
    place = locate(source)
    if place.is_dir():
        return load_folder(place)
    model = load_keras_file(place)
    if not isinstance(model, MultiPlayerModel):
        raise InputError(f"source must hold a model of keras-vaegan; {place} holds {type(model).__name__}.")
    return model, {}


def locate(source: str | os.PathLike[str]) -> pathlib.Path:
    """The folder or `.keras` file of the trained model that a command's SOURCE names.

    Raises `InputError` as `load_source` does, but for what is in the files.
    """
    path = user_path("source", source)
    if path.is_file() and path.suffix == ".keras":
        return path
    if not path.is_dir() and str(source) not in RECIPES and not str(source).startswith(HUB):
        hint = did_you_mean(nearest(source, [name for name in RECIPES if shipped(name)]))
        raise InputError(
            f"source must be a run folder, a .keras file or a preset; there is none at {source}.{hint} "
            f"{ALL_PRESETS}"
        )
    with renaming(preset="source"):
        found = find(source)
    if found.folder is None:
        raise InputError(
            f"source must be a trained model; {source} is a recipe: keras-vaegan train --preset {source}."
        )
    return found.folder


class Presets:
    """`Model.presets`: the recipes of that class, with what they give and whether weights are there."""

    def __get__(self, instance: Any, owner: type[Any]) -> dict[str, dict[str, Any]]:
        trained = trained_presets()
        return {
            name: {
                "dataset": recipe["training"]["dataset"],
                "expect": recipe["expect"],
                "source": recipe["source"],
                "weights": name in trained,
            }
            for name, recipe in RECIPES.items()
            if MODELS.get(recipe["model"]["key"]) is owner
        }


def _in_folder(name: str, folder: pathlib.Path, recipe: dict[str, Any]) -> Preset:
    metadata = load_metadata(folder)
    if metadata.get("recipe"):
        configure.check(metadata["recipe"])
    return Preset(name, folder, recipe or metadata.get("recipe") or None, metadata)


def _download(address: str) -> pathlib.Path:
    """The folder of a model on the Hugging Face Hub, which is downloaded once for each revision."""
    found = REPOSITORY.fullmatch(address)
    if found is None or ".." in address or "//" in address.removeprefix(HUB) or address.endswith("/"):
        raise InputError(f"preset must be {ADDRESS}, a branch, a tag or a commit; received {shown(address)}.")
    repository, revision = found.groups()
    try:
        import huggingface_hub
    except ImportError as error:
        raise InputError(
            f"preset {address} needs the package huggingface_hub: pip install 'keras-vaegan[hf]'."
        ) from error
    name = repository.replace("/", "--")
    asked = {}
    if revision is not None:
        name, asked = f"{name}@{urllib.parse.quote(revision, safe='')}", {"revision": revision}
    files = [CONFIG, WEIGHTS, METADATA]
    with contextlib.suppress(InputError):  # no home folder
        kept = cache_folder() / "hub" / name
        if all((kept / file).is_file() for file in files) and not os.access(kept, os.W_OK):
            return kept
    folder = kept_or_passing(f"hub/{name}")
    try:
        huggingface_hub.snapshot_download(repository, local_dir=folder, allow_patterns=files, **asked)
    except Exception as error:  # each way of having no network or no such model fails in its own way
        raise InputError(f"preset {address} cannot be downloaded: {reason_of(error)}") from error
    return folder
