"""What writes each format, on TensorFlow: one function per format, by its name."""

import functools
import json
import pathlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

import keras_vaegan
from keras_vaegan.backend.layers import layers_of
from keras_vaegan.export import serving
from keras_vaegan.export.converters import calm, write_onnx
from keras_vaegan.export.job import SUFFIXES, Job
from keras_vaegan.files import write_json
from keras_vaegan.functions import Function, Served, described, signature
from keras_vaegan.noise import prior_noise

if TYPE_CHECKING:
    from keras_vaegan.models.latent import LatentVariableModel

FUNCTIONS = "functions.json"
ASSETS = "assets.extra"  # where TensorFlow Serving looks for what is no part of the graph


def in_float32(model: "LatentVariableModel") -> "LatentVariableModel":
    """The model itself, or a copy that computes in float32 where it computes in halves."""
    policies = [layer.dtype_policy for layer in layers_of(model)]
    halves = {policy.name for policy in policies if policy.compute_dtype != "float32"}
    if not halves:
        return model
    config = json.dumps(keras.saving.serialize_keras_object(model))
    for name in halves:
        config = config.replace(f'"{name}"', '"float32"')
    copy = keras.saving.deserialize_keras_object(json.loads(config))
    copy.set_weights(model.get_weights())
    return copy


def tf_saved_model(model: "LatentVariableModel", job: Job, examples: dict[str, np.ndarray]) -> None:
    """A SavedModel with a signature for each function; for TensorFlow Serving with requests to warm up."""
    folder = pathlib.Path(job.path)
    archive = keras.export.ExportArchive()
    offered = model.functions(job.image_size)
    functions = {name: offered[name] for name in job.names}
    for name, function in functions.items():
        served = Served(model, function.call, name)
        archive.add_endpoint(name, served.__call__, input_signature=[signature(function)])
    with calm():
        archive.write_out(folder, verbose=False)
    extra = folder / ASSETS
    extra.mkdir(exist_ok=True)
    write_json(extra / FUNCTIONS, described(functions))
    if job.serving is not None:
        requests = {name: arguments(model, of, examples) for name, of in functions.items()}
        serving.write_warm_up(extra, job.serving, requests)
        serving.write_readme(folder, extra, job.serving, functions, requests)


def litert(model: "LatentVariableModel", job: Job, examples: dict[str, np.ndarray]) -> None:
    """A `.tflite` file of built-in operators for each function."""
    _one_each(model, job, functools.partial(_write_litert, model, job.precision, examples))


def onnx(model: "LatentVariableModel", job: Job, examples: dict[str, np.ndarray]) -> None:
    """An `.onnx` file for each function."""
    _one_each(model, job, functools.partial(write_onnx, model))


def web(model: "LatentVariableModel", job: Job, examples: dict[str, np.ndarray]) -> None:
    """A folder that a browser opens, with no server behind it."""
    from keras_vaegan.export.web import write_page

    write_page(model, job, examples)


def arguments(
    model: "LatentVariableModel", function: Function, examples: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Inputs of a function, made of images and their labels."""
    images, labels = examples["images"], examples.get("labels")
    masks = None
    if model.completes:
        names = [name for name in model.masks if name in keras_vaegan.data.masks.NAMED] or ["left"]
        drawn = [keras_vaegan.data.named_mask(name, model.image_shape) for name in names]
        masks = np.stack([drawn[i % len(drawn)] for i in range(len(images))])
    sizes = function.inputs["noise"].sizes if "noise" in function.inputs else model.code_shape
    noise_shape = [size or own for size, own in zip(sizes, model.code_shape, strict=True)]
    found: dict[str, Any] = {
        "images": images,
        "labels": labels,
        "mask": masks,
        "noise": prior_noise(len(images), noise_shape, 0),
        "new_labels": None if labels is None else np.roll(labels, 1),
    }
    if "codes" in function.inputs:
        found["codes"] = model.encode(images, labels, masks, sample=True, seed=0)
    return {name: np.asarray(found[name], port.dtype) for name, port in function.inputs.items()}


def _one_each(model: "LatentVariableModel", job: Job, write: Any) -> None:
    """Write one file, or a folder with one for each function and what is said of them."""
    path, functions = pathlib.Path(job.path), model.functions(job.image_size)
    if not path.is_dir():
        write(job.names[0], functions[job.names[0]], path)
        return
    for name in job.names:
        write(name, functions[name], path / f"{name}{SUFFIXES[job.format]}")
    write_json(path / FUNCTIONS, described({name: functions[name] for name in job.names}))


def _write_litert(
    model: "LatentVariableModel",
    precision: str,
    examples: dict[str, np.ndarray],
    name: str,
    function: Function,
    path: pathlib.Path,
) -> None:
    """A `.tflite` file of one function, by TensorFlow's converter."""
    builtins = [tf.lite.OpsSet.TFLITE_BUILTINS]
    target: dict[str, Any] = {"supported_ops": builtins}
    settings: dict[str, Any] = {}
    if precision == "float16":
        target["supported_types"] = [tf.float16]
    if precision == "int8":
        target["supported_ops"] = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8, *builtins]
        inputs = arguments(model, function, examples)

        def one_by_one() -> Iterator[dict[str, np.ndarray]]:
            for i in range(len(examples["images"])):
                yield {name: value[i : i + 1] for name, value in inputs.items()}

        settings["representative_dataset"] = one_by_one
    if precision != "float32":
        settings["optimizations"] = [tf.lite.Optimize.DEFAULT]
    served = Served(model, function.call, name)
    with calm():
        served.export(
            path,
            format="litert",
            verbose=False,
            input_signature=[signature(function)],
            target_spec=target,
            **settings,
        )
