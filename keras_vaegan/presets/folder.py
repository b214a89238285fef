"""A preset, which is a model in a folder: `config.json`, `model.weights.h5`, `metadata.json`."""

import contextlib
import hashlib
import math
import os
import pathlib
import re
import shlex
import tempfile
import warnings
import zipfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

import keras_vaegan
from keras_vaegan import memory
from keras_vaegan.errors import InputError
from keras_vaegan.files import (
    MOST_FACTS,
    atomic_files,
    check_inside,
    check_json,
    check_zip,
    member,
    read_json,
    reading,
    user_path,
    write_json,
)
from keras_vaegan.kinds import check_facts
from keras_vaegan.runs import CONFIG, METADATA, WEIGHTS, is_unfinished
from keras_vaegan.training.multi_player import MultiPlayerModel

if TYPE_CHECKING:
    from keras_vaegan.models.latent import LatentVariableModel

FORMAT_VERSION = 1
TRIES = 5  # to read the files of a model while another process replaces them


def save_folder(
    model: "LatentVariableModel",
    folder: str | os.PathLike[str],
    metadata: dict[str, Any],
    half: bool = False,
) -> dict[str, Any]:
    """Write a model's configuration, the weights of its networks, and what is known of it.

    The three files replace older ones all at once: whenever the process is killed, `load_folder` finds
    either the older model or this one.

    Args:
        model: any model of the package.
        folder: made if missing; what is there of the three files is replaced.
        metadata: dictionary for `metadata.json`; the versions and the weights' hash are added.
        half: whether the weights are written in float16.

    Returns:
        The metadata as they are written.

    Raises:
        InputError: metadata that JSON cannot hold.
    """
    check_json(metadata, "metadata")
    folder = pathlib.Path(folder)
    # A copy that was never compiled: the weights' file is to hold the networks and no optimizer.
    networks = type(model).from_config(model.get_config())
    networks.set_weights(model.get_weights())
    # The states of all seeds, those of dropout included: a new layer begins at a random one.
    for copy, own in zip(networks.non_trainable_variables, model.non_trainable_variables, strict=True):
        copy.assign(own)
    with atomic_files(folder) as scratch:
        networks.save_weights(scratch / WEIGHTS)
        if half:
            _halve(scratch / WEIGHTS)
        own = {  # a run that went on brings those of its older state
            "format_version": FORMAT_VERSION,
            "keras_vaegan": keras_vaegan.__version__,
            "keras": keras.__version__,
            "weights_sha256": _sha256(scratch / WEIGHTS),
        }
        write_json(scratch / CONFIG, keras.saving.serialize_keras_object(networks))
        write_json(scratch / METADATA, metadata | own)
    return metadata | own


def load_folder(folder: str | os.PathLike[str]) -> "tuple[LatentVariableModel, dict[str, Any]]":
    """The model in a folder that `save_folder` or a training wrote, with its metadata.

    Returns:
        `(model, metadata)`; the model is not compiled.

    Raises:
        InputError: a file that is missing, damaged, foreign, of a later format, elsewhere, or weights
            that are not those of the metadata.
    """
    folder = user_path("source", folder)
    for _ in range(TRIES):
        before = _identity(folder)
        try:
            loaded, error = _load(folder), None
        except InputError as reason:
            error = reason
        if before == _identity(folder):  # no other process has replaced the files meanwhile
            break
    if error is not None:
        raise error
    return loaded


def _load(folder: pathlib.Path) -> "tuple[LatentVariableModel, dict[str, Any]]":
    config_path, weights_path = (_inside(folder, name) for name in (CONFIG, WEIGHTS))
    metadata = load_metadata(folder)
    config = read_json(config_path, "source", dict)
    with _reading(folder):
        digest = _sha256(weights_path)
        if metadata.get("weights_sha256", digest) != digest:
            raise ValueError(
                f"{WEIGHTS} has the hash {digest[:12]}; {METADATA} says {metadata['weights_sha256'][:12]}"
            )
        _check_weights(weights_path)
        model = keras.saving.deserialize_keras_object(config)
        if not isinstance(model, MultiPlayerModel):
            raise ValueError(f"it holds {type(model).__name__}, not a model of keras-vaegan")
        with warnings.catch_warnings():
            # Keras warns where weights are missing, and goes on with random ones.
            warnings.filterwarnings("error", message="(?s).*could not be loaded")
            model.load_weights(weights_path)
        _check_finite(model)
        names, count = metadata.get("class_names"), model.num_classes
        if names is not None and count is not None and len(names) != count:
            raise ValueError(f"{METADATA} has {len(names)} class_names; the model has {count} classes")
    return model, metadata


def _identity(folder: pathlib.Path) -> list[tuple[int, int, int] | None]:
    """What tells whether the three files are still the same."""
    found: list[tuple[int, int, int] | None] = []
    for name in (CONFIG, WEIGHTS, METADATA):
        try:
            status = member(folder, name).stat()
            found.append((status.st_ino, status.st_size, status.st_mtime_ns))
        except OSError:
            found.append(None)
    return found


def load_metadata(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """What is known of the model in a folder."""
    folder = user_path("source", folder)
    path = _inside(folder, METADATA)
    metadata = read_json(path, "source", dict, MOST_FACTS)
    check_facts(metadata, f"source {folder / METADATA}:", whole=True)
    with _reading(folder):
        version = metadata.get("format_version", 1)
        if version > FORMAT_VERSION:
            raise ValueError(f"format version {version!r}, where up to {FORMAT_VERSION} is known")
    return metadata


def _inside(folder: pathlib.Path, name: str) -> pathlib.Path:
    """The path of a file that the folder has, and has itself; raise if there is none."""
    path = member(folder, name)
    if not path.is_file():
        if is_unfinished(folder):
            again = shlex.join(["keras-vaegan", "train", "--resume", str(folder)])
            raise InputError(
                f"source must be a run that has finished; the training of {folder} has not. If it runs no "
                f"more, continue it: {again}",
                argument="source",
                received=folder,
            )
        raise InputError(
            f"source must be a preset or run folder ({CONFIG}, {WEIGHTS}, {METADATA}); "
            f"{folder} has no {name}."
        )
    check_inside("source", folder, path)
    return path


def _sha256(path: pathlib.Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _halve(path: pathlib.Path) -> None:
    """Rewrite a weights' file with its float32 arrays in float16."""
    import h5py

    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        halved = pathlib.Path(folder, path.name)
        with h5py.File(path) as source, h5py.File(halved, "w") as target:

            def copy(name: str, item: Any) -> None:
                if isinstance(item, h5py.Group):
                    made = target.require_group(name)
                else:
                    dtype = "float16" if item.dtype == "float32" else item.dtype
                    made = target.create_dataset(name, data=item[()], dtype=dtype)
                made.attrs.update(item.attrs)

            source.visititems(copy)
            target.attrs.update(source.attrs)
        halved.replace(path)


def load_keras_file(path: str | os.PathLike[str]) -> keras.Model:
    """Any Keras model from its `.keras` file.

    Raises `InputError`, in one line, where the file is missing or damaged, or has a class that is unknown.
    """
    if not user_path("source", path).is_file():
        message = f"source must be a .keras file; there is none at {os.fspath(path)}."
        raise InputError(message, argument="source", received=path)
    with _reading(path):
        with zipfile.ZipFile(path) as archive:
            check_zip(archive, f"source {path}")
        model = keras.saving.load_model(path)
        _check_finite(model)
        return model


def _check_finite(model: keras.Model) -> None:
    """Raise `ValueError` if weights are no numbers: what the model makes would be none, either."""
    for variable in model.weights:
        if not np.all(np.isfinite(keras.ops.convert_to_numpy(variable).astype("float64"))):
            raise ValueError(f"its weights {variable.path} hold NaN or infinity")


def _check_weights(path: pathlib.Path) -> None:
    """Raise unless the arrays of a weights' file fit into memory, whatever shapes they claim."""
    import h5py

    claimed = []

    def add(_: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            claimed.append(math.prod(item.shape or ()) * item.dtype.itemsize)

    with h5py.File(path) as file:
        file.visititems(add)
    memory.require(f"source {path}", sum(claimed), "Is it the right file?")


@contextlib.contextmanager
def _reading(path: str | os.PathLike[str]) -> Iterator[None]:
    """`files.reading`, which says of a class that is unknown how to make it known."""
    try:
        with reading(path, "source"):
            yield
    except InputError as error:
        unknown = re.search(r"Could not locate class '([^']+)'", str(error.__cause__))
        if unknown is None:
            raise
        raise InputError(
            f"source {path} has a class that is no part of Keras, {unknown[1]}: import its module first "
            "(--import MODULE), in which keras.saving.register_keras_serializable makes it known.",
            argument="source",
            received=path,
        ) from error
