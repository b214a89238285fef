"""The converter to ONNX, and the silence of all converters."""

import contextlib
import json
import logging
import pathlib
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

from keras_vaegan.files import holding_stderr
from keras_vaegan.functions import Function, Served, described, signature

if TYPE_CHECKING:
    from keras_vaegan.models.latent import LatentVariableModel


def write_onnx(model: "LatentVariableModel", name: str, function: Function, path: pathlib.Path) -> None:
    """An `.onnx` file of one function, by tf2onnx, checked; what is said of the function is in it."""
    import onnx

    served = Served(model, function.call, name)
    with calm():
        served.export(path, format="onnx", verbose=False, input_signature=[signature(function)])
    graph = onnx.load(path)
    graph.graph.name, graph.doc_string = name, function.summary
    ports = function.inputs | function.outputs
    for tensor in (*graph.graph.input, *graph.graph.output):
        for dimension, size in zip(
            tensor.type.tensor_type.shape.dim, ("batch", *ports[tensor.name].shape), strict=True
        ):
            if isinstance(size, str):
                dimension.dim_param = size
    onnx.helper.set_model_props(graph, {"functions": json.dumps(described({name: function}))})
    onnx.checker.check_model(graph, full_check=True)
    onnx.save(graph, path)


@contextlib.contextmanager
def calm() -> Iterator[None]:
    """Without the warnings and log lines of the converters, which are about themselves."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"), holding_stderr():
            yield
    finally:
        logging.disable(disabled)
