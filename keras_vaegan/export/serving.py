"""What TensorFlow Serving wants beside a SavedModel: versions, a list of models, requests to warm up.

And a page that says how to start it and what to ask, made from the signatures in the SavedModel itself.
"""

import json
import pathlib
import re
import shutil
from collections.abc import Mapping

import numpy as np

from keras_vaegan.errors import InputError
from keras_vaegan.files import PARTIAL, atomic_path
from keras_vaegan.functions import Function
from keras_vaegan.locks import LOCK

WARM_UP = "tf_serving_warmup_requests"
README, REQUEST, MODELS_CONFIG = "README.md", "request.json", "models.config"
IMAGE = "tensorflow/serving"
NUM_WARM_UP = 2  # images of a request: one alone would not show that the batch is of any size
DEFAULT = "serving_default"


def next_version(folder: pathlib.Path, overwrite: bool) -> pathlib.Path:
    """Folder of the next version of a model, or of its last one where that is to be replaced.

    Raises:
        InputError: `folder` is there and is not one of versions.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"filepath must be a folder; {folder} is a file.")
    # A lock and what is being written are no content.
    ours = (LOCK, PARTIAL)
    entries = [entry for entry in folder.glob("*") if not entry.name.startswith(ours)]
    versions = [int(entry.name) for entry in entries if re.fullmatch("[0-9]+", entry.name) and entry.is_dir()]
    if entries and not versions:
        raise InputError(
            f"filepath must be new, empty or a folder of versions (1, 2, ...); {folder} holds other files."
        )
    last = max(versions, default=0)
    return folder / str(last if overwrite and last else last + 1)


def write_warm_up(extra: pathlib.Path, name: str, requests: Mapping[str, dict[str, np.ndarray]]) -> None:
    """Write the requests that TensorFlow Serving runs before it answers: one for each signature."""
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    with tf.io.TFRecordWriter(str(extra / WARM_UP)) as writer:
        for signature, inputs in requests.items():
            request = predict_pb2.PredictRequest()
            request.model_spec.name = name
            request.model_spec.signature_name = signature
            for argument, value in inputs.items():
                request.inputs[argument].CopyFrom(tf.make_tensor_proto(value[:NUM_WARM_UP]))
            log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
            writer.write(log.SerializeToString())


Tensors = dict[str, tuple[str, list[int]]]  # name -> (dtype, shape), in which -1 is any size


def signatures_in(saved_model: pathlib.Path) -> dict[str, dict[str, Tensors]]:
    """The signatures of a SavedModel: `{name: {"inputs": tensors, "outputs": tensors}}`."""
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2

    proto = saved_model_pb2.SavedModel.FromString((saved_model / "saved_model.pb").read_bytes())
    return {
        name: {
            side: {
                key: (tf.as_dtype(info.dtype).name, [dim.size for dim in info.tensor_shape.dim])
                for key, info in sorted(getattr(signature, side).items())
            }
            for side in ("inputs", "outputs")
        }
        for name, signature in proto.meta_graphs[0].signature_def.items()
        if not name.startswith("__")
    }


def write_readme(
    saved_model: pathlib.Path,
    extra: pathlib.Path,
    name: str,
    functions: Mapping[str, Function],
    requests: Mapping[str, dict[str, np.ndarray]],
) -> None:
    """Write how to serve a model, and a request for its default signature, from the SavedModel itself."""
    found = signatures_in(saved_model)
    default = next(iter(functions))
    chosen = {key: np.asarray(requests[default][key][0], "float64") for key in found[default]["inputs"]}
    first = {key: np.round(value, 3).tolist() for key, value in chosen.items()}
    body = {"signature_name": default, "instances": [first]}
    (extra / REQUEST).write_text(json.dumps(body) + "\n", encoding="utf-8")
    lines = [f"# {name}", "", "Serve it, from the folder that holds this file:", "", *recipe(name), ""]
    outputs = " and ".join(f"`{key}`" for key in found[default]["outputs"])
    lines += [f"The answer has `predictions`, a list with the {outputs} of each.", ""]
    lines += [f"Signatures; `{DEFAULT}` is `{default}`. Shapes are without the batch, of any size.", ""]
    if any(None in port.sizes for of in functions.values() for port in of.inputs.values()):
        lines[-1:] = ["A name in a shape stands for a side of any size.", ""]
    lines += ["| signature | | name | type | shape | values |", "|---|---|---|---|---|---|"]
    for signature, function in functions.items():
        for side, ports in (("in", function.inputs), ("out", function.outputs)):
            for key, (dtype, (_, *sizes)) in found[signature][f"{side}puts"].items():
                named = zip(sizes, ports[key].shape, strict=True)
                shape = ", ".join(str(name if size == -1 else size) for size, name in named)
                lines.append(
                    f"| `{signature}` | {side} | `{key}` | {dtype} | [{shape}] | {ports[key].values} |"
                )
    lines += ["", *(f"- `{signature}`: {function.summary}" for signature, function in functions.items())]
    (extra / README).write_text("\n".join(lines) + "\n", encoding="utf-8")


def recipe(name: str) -> list[str]:
    """The commands that serve a model of that name and ask it once."""
    return [
        f'    docker run --rm -p 8501:8501 -v "$PWD:/models/{name}" {IMAGE} \\',
        f"        --model_config_file=/models/{name}/{MODELS_CONFIG}",
        f"    curl -d @{REQUEST} http://localhost:8501/v1/models/{name}:predict",
    ]


def describe(folder: pathlib.Path, name: str, version: pathlib.Path) -> None:
    """Put beside the versions of a model what belongs to them all."""
    for file in (README, REQUEST):
        with atomic_path(folder / file) as temporary:
            shutil.copy(version / "assets.extra" / file, temporary)
    with atomic_path(folder / MODELS_CONFIG) as temporary:
        temporary.write_text(
            "model_config_list {\n  config {\n"
            f'    name: "{name}"\n    base_path: "/models/{name}"\n    model_platform: "tensorflow"\n'
            "  }\n}\n",
            encoding="utf-8",
        )


def check_name(name: str) -> str:
    """Return a name that a model can be served under, or raise."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise InputError(f"name must be letters, digits, '_', '.' and '-'; received {name!r}.")
    return name
