"""A trained model in a folder: `config.json`, `model.weights.h5`, `metadata.json`."""

import contextlib
import json
import os
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any

import keras

import keras_vaegan
import keras_vaegan.models  # registers the classes that a configuration names
from keras_vaegan.diagnosis import FINDINGS
from keras_vaegan.errors import InputError
from keras_vaegan.files import atomic_path, write_json
from keras_vaegan.models.latent import LatentVariableModel

CONFIG, WEIGHTS, METADATA = "config.json", "model.weights.h5", "metadata.json"
FORMAT_VERSION = 1
PICTURES = ("samples", "reconstructions", "curves", "latent_means", "latent_grid")
RUN_FILES = (
    CONFIG,
    WEIGHTS,
    METADATA,
    "model.keras",
    "history.csv",
    FINDINGS,
    "report.html",
    *(f"{name}.png" for name in PICTURES),
)
RUN_FOLDERS = ("checkpoints", "samples")
ERROR_LENGTH = 300  # characters of a foreign error's text


def save_folder(model: LatentVariableModel, folder: str | os.PathLike[str], metadata: dict[str, Any]) -> None:
    """Write a model's configuration, the weights of its networks, and what is known of it.

    Args:
        model: any model of the package.
        folder: made if missing; what is there of the three files is replaced.
        metadata: dictionary for `metadata.json`; the versions are added.
    """
    folder = pathlib.Path(folder)
    # A copy that was never compiled: the weights' file is to hold the networks and no optimizer.
    networks = type(model).from_config(model.get_config())
    networks.set_weights(model.get_weights())
    networks.seed_generator.state.assign(model.seed_generator.state)
    with atomic_path(folder / WEIGHTS) as temporary:
        networks.save_weights(temporary)
    write_json(folder / CONFIG, keras.saving.serialize_keras_object(networks))
    versions = {
        "format_version": FORMAT_VERSION,
        "keras_vaegan": keras_vaegan.__version__,
        "keras": keras.__version__,
    }
    write_json(folder / METADATA, versions | metadata)


def load_folder(folder: str | os.PathLike[str]) -> tuple[LatentVariableModel, dict[str, Any]]:
    """The model in a folder that `save_folder` or a training wrote, with its metadata.

    Returns:
        `(model, metadata)`; the model is not compiled.
    """
    folder = pathlib.Path(folder)
    for name in (CONFIG, WEIGHTS, METADATA):
        if not (folder / name).is_file():
            raise InputError(
                f"source must be a run folder ({CONFIG}, {WEIGHTS}, {METADATA}); {folder} has no {name}."
            )
    with _reading(folder):
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        metadata = json.loads((folder / METADATA).read_text(encoding="utf-8"))
        if metadata["format_version"] > FORMAT_VERSION:
            raise ValueError(f"format version {metadata['format_version']}, newer than {FORMAT_VERSION}")
        model = keras.saving.deserialize_keras_object(config)
        model.load_weights(folder / WEIGHTS)
    return model, metadata


def is_run(folder: pathlib.Path) -> bool:
    """Whether a folder's metadata are those that a training wrote."""
    try:
        metadata = json.loads((folder / METADATA).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(metadata, dict) and {"model", "dataset", "recipe"} <= set(metadata)


def clear_run(folder: pathlib.Path) -> None:
    """Delete what a training makes, and nothing else that may lie in its folder."""
    for name in RUN_FILES:
        (folder / name).unlink(missing_ok=True)
    for name in RUN_FOLDERS:
        shutil.rmtree(folder / name, ignore_errors=True)


def load_source(source: str | os.PathLike[str]) -> tuple[LatentVariableModel, dict[str, Any]]:
    """The model that a command's SOURCE names: a run folder, or a `.keras` file.

    Returns:
        `(model, metadata)`; the metadata of a `.keras` file is empty.
    """
    path = pathlib.Path(source)
    if path.is_dir():
        return load_folder(path)
    if path.is_file() and path.suffix == ".keras":
        model = load_keras_file(path)
        if not isinstance(model, LatentVariableModel):
            raise InputError(
                f"source must hold a model of keras-vaegan; {path} holds {type(model).__name__}."
            )
        return model, {}
    raise InputError(f"source must be a run folder or a .keras file; there is none at {source}.")


def load_keras_file(path: str | os.PathLike[str]) -> keras.Model:
    """Any Keras model from its `.keras` file, or the error in one line."""
    if not pathlib.Path(path).is_file():
        raise InputError(f"{path} must be a .keras file; there is none.")
    with _reading(path):
        return keras.saving.load_model(path)


@contextlib.contextmanager
def _reading(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn the many errors of a damaged or foreign file into one line."""
    try:
        yield
    except (ValueError, TypeError, KeyError, AttributeError, OSError) as error:
        message = " ".join(str(error).split())[:ERROR_LENGTH]
        raise InputError(f"source {path} cannot be read: {message}") from error
