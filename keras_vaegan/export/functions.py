"""What of a model can be exported: pure functions of named tensors, with their shapes and ranges.

No function draws anything: noise is an input. Labels are whole numbers, masks numbers of 0 (hidden) and 1
(visible), images pixels in [0, 1].
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_vaegan.models.draw import DRAW
from keras_vaegan.models.latent import LatentVariableModel
from keras_vaegan.models.semi_supervised import SemiSupervisedVAE
from keras_vaegan.typing import Condition, Tensor


class Port(NamedTuple):
    """One tensor that goes in or comes out.

    Attributes:
        shape: without the batch, which is of any size.
        dtype: `float32` or `int32`.
        values: the range of the values, in words.
    """

    shape: tuple[int, ...]
    dtype: str
    values: str


class Function(NamedTuple):
    """A function of a model, on dictionaries of tensors.

    Attributes:
        summary: what it gives, in words.
        inputs, outputs: the tensors, by name.
        call: dictionary of the inputs -> dictionary of the outputs.
    """

    summary: str
    inputs: dict[str, Port]
    outputs: dict[str, Port]
    call: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]


def functions_of(model: LatentVariableModel) -> dict[str, Function]:
    """The functions of a model by name; the first, `generate`, is what it is for."""
    calls, images, pixels = _Calls(model), {"images": _image(model)}, {"pixels": _image(model)}
    labels, seen = _condition_ports(model)
    noise = {
        "noise": Port(model.code_shape, "float32", "standard normal noise; the same gives the same images")
    }
    codes = Port(model.code_shape, "float32", "any, near a standard normal distribution")
    variance = codes._replace(values="natural logarithm of the variance")
    normal = {"mean": codes, "log_variance": variance}
    drawn = {**noise, **labels}
    found = {
        "generate": Function("Images from the prior.", drawn, pixels, calls.generate),
        "encode": Function("Mean and log-variance of q(z|x).", {**seen, **images}, normal, calls.encode),
        "decode": Function("Images from codes.", {"codes": codes, **seen}, pixels, calls.decode),
        "reconstruct": Function(
            "Images encoded, and decoded from the mean of their code.",
            {**seen, **images},
            pixels,
            calls.reconstruct,
        ),
    }
    if model.completes:
        found["complete"] = Function(
            "The hidden part of images, one of the ways that it may be; what is visible stays as it is.",
            {**seen, **noise},
            pixels,
            calls.generate,
        )
    elif labels:
        asked = {"new_labels": labels["labels"]._replace(values=f"{labels['labels'].values}: what to show")}
        found["transfer_style"] = Function(
            "Images of other classes in the style of these.",
            {**images, **labels, **asked},
            pixels,
            calls.transfer_style,
        )
    if isinstance(model, SemiSupervisedVAE):
        shares = Port((model.num_classes or 0,), "float32", "in [0, 1]; they sum to 1")
        found["classify"] = Function(
            "The probability of each class, at the temperature that was fitted.",
            images,
            {"probabilities": shares},
            calls.classify,
        )
    if isinstance(model, DRAW):
        steps = (model.steps,)
        found["canvases"] = Function(
            "How images from the prior come about, step by step.",
            drawn,
            {
                "canvases": _image(model)._replace(shape=(*steps, *model.image_shape)),
                "centres": Port((*steps, 2), "float32", "of the glimpses, in pixels, height first"),
                "sizes": Port(steps, "float32", "of the glimpses, in pixels"),
            },
            calls.canvases,
        )
    return found


class _Calls:
    """What the functions of a model do, each on a dictionary of its inputs."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def generate(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return self._pixels(*self._drawn(inputs))

    def encode(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        q = self.model.posterior(inputs["images"], self._condition(inputs))
        return {"mean": q.mean, "log_variance": q.log_variance}

    def decode(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return self._pixels(inputs["codes"], self._condition(inputs))

    def reconstruct(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return self._pixels(self.encode(inputs)["mean"], self._condition(inputs))

    def transfer_style(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return self._pixels(self.encode(inputs)["mean"], self._condition({"labels": inputs["new_labels"]}))

    def classify(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"probabilities": self.model.class_probabilities(inputs["images"])}

    def canvases(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        codes, condition = self._drawn(inputs)
        made = self.model.drawing({"codes": codes, **condition})
        canvases = self.model.observed(made["canvases"]).mean
        return {"canvases": canvases, "centres": made["centre"], "sizes": made["size"]}

    def _pixels(self, codes: Tensor, condition: Condition) -> dict[str, Tensor]:
        images = self.model.likelihood(codes, condition).mean
        return {"pixels": self.model.with_visible(images, condition)}

    def _drawn(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Condition]:
        """Where noise comes to lie in the prior, and the condition."""
        condition = self._condition(inputs)
        return self.model.placed_noise(inputs["noise"], condition), condition

    def _condition(self, inputs: Mapping[str, Tensor]) -> Condition:
        """The condition as the networks take it."""
        condition = {}
        if "labels" in inputs:
            # A row of the identity, and no `one_hot`: in eight bits LiteRT gives the 1 of that operator
            # the largest number of what it is joined to.
            rows = ops.convert_to_tensor(np.eye(self.model.num_classes, dtype="float32"))
            condition["labels"] = ops.take(rows, inputs["labels"], axis=0)
        if self.model.completes:
            if "mask" in inputs:
                visible = ops.cast(inputs["mask"][..., None] > 0.5, "float32")
                condition["given"] = ops.concatenate([inputs["images"] * visible, visible], axis=-1)
            else:  # nothing is given
                height, width, channels = self.model.image_shape
                blank = ops.zeros((1, height, width, channels + 1))
                each = ops.reshape(ops.zeros_like(inputs["noise"][:, :1]), (-1, 1, 1, 1))
                condition["given"] = blank + each
        return condition


def _image(model: LatentVariableModel) -> Port:
    """The port of images."""
    return Port(model.image_shape, "float32", "pixels in [0, 1]")


def _condition_ports(model: LatentVariableModel) -> tuple[dict[str, Port], dict[str, Port]]:
    """Of what a model is conditioned on, the labels; and all of it, with the images that are seen in part."""
    labels = {}
    if model.num_classes is not None:
        labels["labels"] = Port((), "int32", f"classes of 0 to {model.num_classes - 1}")
    if not model.completes:
        return labels, labels
    part = _image(model)._replace(values="pixels in [0, 1]; what is hidden is not looked at")
    mask = Port(model.image_shape[:2], "float32", "1 where visible, 0 where hidden")
    return labels, {**labels, "images": part, "mask": mask}


def described(functions: Mapping[str, Function]) -> dict[str, Any]:
    """What there is to know of functions, as JSON has it; shapes with `batch` for the images' number."""

    def ports(of: Mapping[str, Port]) -> dict[str, Any]:
        return {
            name: {"shape": ["batch", *port.shape], "dtype": port.dtype, "values": port.values}
            for name, port in of.items()
        }

    return {
        name: {"summary": of.summary, "inputs": ports(of.inputs), "outputs": ports(of.outputs)}
        for name, of in functions.items()
    }


class Served(keras.Model):
    """A function of a model as a model of its own: what Keras exports."""

    def __init__(self, model: LatentVariableModel, name: str, function: Function) -> None:
        super().__init__(name=name)
        self.of, self.function = model, function
        self.built = True

    def call(self, inputs: Mapping[str, Tensor], training: bool = False) -> dict[str, Tensor]:
        """Dictionary of the inputs -> dictionary of the outputs."""
        return self.function.call(inputs)

    @property
    def signature(self) -> dict[str, keras.InputSpec]:
        """Shapes and types of the inputs."""
        return {
            name: keras.InputSpec(shape=(None, *port.shape), dtype=port.dtype, name=name)
            for name, port in self.function.inputs.items()
        }
