"""What is to be written of a model, and the formats there are."""

from collections.abc import Sequence
from typing import Any, NamedTuple

ALIASES = {"saved_model": "tf_saved_model", "tflite": "litert"}
FORMATS = ("tf_saved_model", "litert", "onnx", "web")
SUFFIXES = {"litert": ".tflite", "onnx": ".onnx"}


class Job(NamedTuple):
    """What is to be written of a model, as the process that writes it is told.

    Attributes:
        path: the file or folder to make.
        format: one of `FORMATS`.
        names: the functions to write.
        precision: one of `EXPORT_PRECISIONS`.
        serving: name under which TensorFlow Serving offers the model; None for no such layout.
        runtime: folder with ONNX Runtime Web; None for the package's own way to it.
        image_size: `(H, W)` of the functions; None for the model's own, or any.
        facts: what is known of the model, for what is shown.
    """

    path: str
    format: str
    names: list[str]
    precision: str = "float32"
    serving: str | None = None
    runtime: str | None = None
    image_size: Sequence[int] | None = None
    facts: dict[str, Any] = {}
