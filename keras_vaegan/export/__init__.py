"""A trained model as files that run without Keras and without this package.

Functions of a model (`functions`) are traced by TensorFlow, whose exporters and converters write every
format. From another backend the model is rebuilt in a process of its own that runs TensorFlow.
"""

import contextlib
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keras_vaegan.backend.layers import layers_of
from keras_vaegan.data.checks import check_labels
from keras_vaegan.data.images import parse_size
from keras_vaegan.errors import InputError, choose
from keras_vaegan.export.job import ALIASES, FORMATS, SUFFIXES, Job
from keras_vaegan.export.serving import check_name, describe, next_version
from keras_vaegan.export.web import runtime_folder
from keras_vaegan.files import atomic_folder, atomic_path, holding_stderr, scratch_folder, sweep
from keras_vaegan.locks import FolderLock
from keras_vaegan.noise import prior_noise
from keras_vaegan.typing import EXPORT_PRECISIONS

if TYPE_CHECKING:
    from keras_vaegan.models.latent import LatentVariableModel

# Format, or `serving` for its layout -> packages beyond those of the package itself.
NEEDED = {
    "serving": {"tensorflow_serving": "tensorflow-serving-api"},
    "onnx": {"onnx": "onnx", "tf2onnx": "tf2onnx"},
    "web": {"onnx": "onnx", "tf2onnx": "tf2onnx"},
}
FAILED = 2  # exit code of the TensorFlow process where the input was bad


def export(
    model: "LatentVariableModel",
    path: str | os.PathLike[str],
    format: str = "tf_saved_model",
    signature: str | None = None,
    precision: str = "float32",
    data: Any = None,
    overwrite: bool = False,
    imports: Sequence[str] = (),
    serving: str | None = None,
    runtime: str | os.PathLike[str] | None = None,
    facts: dict[str, Any] | None = None,
    image_size: int | Sequence[int] | None = None,
) -> pathlib.Path:
    """Write a model so that it runs without Keras; see `LatentVariableModel.export`.

    Args:
        model: a trained model.
        path: what to make: a folder, or with one function a `.tflite` or `.onnx` file.
        format: `tf_saved_model`, `litert`, `onnx` or `web`; also `saved_model` and `tflite`.
        signature: the function to write, by its name in the model's `functions`; all of them, or in a single
            file the first, `generate`, if None.
        precision: of a LiteRT file's weights, `float32` or `float16`, or `int8` for its arithmetic too.
        data: images `(N, H, W, C)`, or a tuple of them and their labels, from which `int8` takes its ranges;
            some hundreds are enough.
        overwrite: whether to replace what is at `path`.
        imports: modules to import before the model is rebuilt in another process: those of layers that
            are no part of Keras.
        serving: write a new version, `path/1` and so on, with what TensorFlow Serving wants beside it, for a
            model of this name.
        runtime: folder with the files of ONNX Runtime Web; fetched by npm if None.
        facts: `class_names` and a `name`, for pages and tables.
        image_size: `(H, W)`, or an int for both, of the images of a model that takes any size. None leaves
            height and width open; a page of the format `web` then has the size of the training.

    Returns:
        The path of what was written.

    Raises:
        InputError: bad arguments, something at `path` already, a package that is missing, another process
            that exports versions to the same `path`.
    """
    asked, format = format, choose("format", ALIASES.get(format, format), FORMATS)
    size: tuple[int, ...] | None = parse_size(image_size)
    if format == "web":  # a page shows images of one size
        size = size or model.image_shape[:2]
    functions = model.functions(size)
    known = list(functions)
    if signature is not None:
        choose("signature", signature, known)
    if format == "web":
        model.must_generate()
    choose("precision", precision, EXPORT_PRECISIONS)
    if serving is not None:
        check_name(serving)
        if format != "tf_saved_model":
            raise InputError(f"serving must be None for the format {asked}; received {serving!r}.")
    if precision != "float32" and format != "litert":
        raise InputError(f"precision must be float32 for {asked}; received {precision!r}.")
    examples = _examples(model, data, precision, functions["encode"].inputs["images"].sizes)
    path, names = _target(pathlib.Path(path), format, signature, known, asked)
    _check_packages(format, serving, asked)
    place = None
    if format == "web":
        place = str(runtime_folder(pathlib.Path(runtime) if runtime else None))
    shown = {"class_names": model.preset_metadata.get("class_names")} | (facts or {})
    job = Job(str(path), format, names, precision, serving, place, size, shown)
    final = path
    if serving is not None:
        final = next_version(path, overwrite)
    else:
        _check_new(path, overwrite)
    # Two exports at once would write the same version.
    with FolderLock(path, "filepath") if serving is not None else contextlib.nullcontext():
        if serving is not None:
            sweep(path)  # of a version that a killed process had begun, whatever its number
            final = next_version(path, overwrite)
        whole = atomic_path if final.suffix == SUFFIXES.get(format) else atomic_folder
        with whole(final) as temporary:
            here = job._replace(path=str(temporary))
            if keras.backend.backend() == "tensorflow":
                perform(model, here, examples)
            else:
                _perform_elsewhere(model, here, examples, imports)
            if serving is None:
                _check_new(path, overwrite)  # again: another export may have ended meanwhile
        if serving is not None:
            describe(path, serving, final)
    return final


def _check_new(path: pathlib.Path, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise InputError(
            f"filepath must not exist unless overwrite (--overwrite) is given; there is {path} already.",
            argument="filepath",
            received=path,
        )


def perform(model: "LatentVariableModel", job: Job, examples: dict[str, np.ndarray]) -> None:
    """Do a job in this process, which runs TensorFlow."""
    from keras_vaegan.export import formats

    getattr(formats, job.format)(formats.in_float32(model), job, examples)


def _perform_elsewhere(
    model: "LatentVariableModel", job: Job, examples: dict[str, np.ndarray], imports: Sequence[str]
) -> None:
    """Do a job in a process that runs TensorFlow, from the model's configuration and weights."""
    with scratch_folder() as folder:
        with holding_stderr():  # Keras imports TensorFlow to save, where it is there
            model.save_to_preset(folder / "model")
        np.savez(folder / "examples.npz", allow_pickle=False, **examples)
        settings = {"job": job._asdict(), "imports": [*imports, *_own_modules(model)]}
        (folder / "job.json").write_text(json.dumps(settings), encoding="utf-8")
        environment = os.environ | {
            "KERAS_BACKEND": "tensorflow",
            "CUDA_VISIBLE_DEVICES": "",  # this process may hold all of an accelerator's memory
            "PYTHONPATH": os.pathsep.join(part for part in sys.path if part),
        }
        done = subprocess.run(  # which says nothing where all is well
            [sys.executable, "-m", "keras_vaegan.export", folder],
            env=environment,
            capture_output=True,
            text=True,
        )
    if done.returncode == FAILED:
        raise InputError(done.stderr.strip().splitlines()[-1])
    if done.returncode:
        raise RuntimeError(f"The export failed in the process that runs TensorFlow:\n{done.stderr[-3000:]}")


def _own_modules(model: keras.Model) -> list[str]:
    """Modules of a model's layers that neither Keras nor the package has, where they can be imported."""
    modules = {type(layer).__module__ for layer in layers_of(model)}
    own = {name for name in modules if name.split(".")[0] not in ("keras", "keras_vaegan", "__main__")}
    return sorted(name for name in own if importlib.util.find_spec(name.split(".")[0]) is not None)


def _target(
    path: pathlib.Path, format: str, signature: str | None, known: list[str], asked: str
) -> tuple[pathlib.Path, list[str]]:
    """Where to write, and which functions; `asked` is the format by the name that the caller gave."""
    suffix = SUFFIXES.get(format)
    if suffix is None or (path.suffix == "" and signature is None):
        return path, [signature] if signature else known
    if path.suffix != suffix:
        raise InputError(
            f"filepath must end in {suffix} for one function in the format {asked}, or have no ending "
            f"for a folder with all; received {str(path)!r}."
        )
    return path, [signature or known[0]]


def _examples(
    model: "LatentVariableModel", data: Any, precision: str, shape: Sequence[int | None]
) -> dict[str, np.ndarray]:
    """Images, and labels where the model takes them, that stand for all: of the data, or of its own.

    Their shape `(H, W, C)` is that of the functions; where it is open, that of the data or of the training.
    """
    if data is None:
        if precision == "int8":
            raise InputError("data must be given for the precision int8: it takes its ranges from images.")
        count = 4 * (model.num_classes or 1)
        labels = model.labels_in_turn(count)
        if model.generates:
            images = model.generate(count, seed=0)
        else:
            images = model.decode(prior_noise(count, model.code_shape, 0), labels)
        images = _at_size(images, [size or own for size, own in zip(shape, model.image_shape, strict=True)])
    else:
        images, labels = (*data, None)[:2] if isinstance(data, tuple) else (data, None)
        images = model.intake.images(images, "data", shape)
        if model.num_classes is None:
            labels = None
        elif labels is None:
            raise InputError("data must be images and their labels: the model is conditioned on classes.")
        else:
            labels = check_labels(labels, len(images), model.num_classes, "data: labels", unlabelled=False)
    return {"images": images} if labels is None else {"images": images, "labels": labels}


def _at_size(images: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Images `(B, H, W, C)` of that shape: cut, or repeated side by side."""
    missing = [(0, max(size - own, 0)) for size, own in zip(shape, images.shape[1:], strict=True)]
    return np.pad(images, [(0, 0), *missing], mode="wrap")[:, : shape[0], : shape[1]]


def _check_packages(format: str, serving: str | None, asked: str) -> None:
    """Raise unless the packages are there that a format needs."""
    for module, package in NEEDED.get(format if serving is None else "serving", {}).items():
        if importlib.util.find_spec(module) is None:
            raise InputError(
                f"format {asked} needs the package {package}: pip install 'keras-vaegan[export]'.",
                argument="format",
                received=asked,
            )
