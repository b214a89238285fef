"""What of a model can be exported: pure functions of named tensors, with their shapes and ranges.

No function draws anything: noise is an input. Labels are whole numbers, masks numbers of 0 (hidden) and 1
(visible), images pixels in [0, 1].
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_vaegan.distributions import DiagonalNormal
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
    image = Port(model.image_shape, "float32", "pixels in [0, 1]")
    codes = Port(model.code_shape, "float32", "any, near a standard normal distribution")
    noise = Port(model.code_shape, "float32", "standard normal noise; the same gives the same images")
    given: dict[str, Port] = {}
    if model.num_classes is not None:
        given["labels"] = Port((), "int32", f"classes of 0 to {model.num_classes - 1}")
    labels = dict(given)
    if model.completes:
        given |= {
            "images": image._replace(values="pixels in [0, 1]; what is hidden is not looked at"),
            "mask": Port(model.image_shape[:2], "float32", "1 where visible, 0 where hidden"),
        }
    images, pixels = {"images": image}, {"pixels": image}

    def code(inputs: Mapping[str, Tensor]) -> DiagonalNormal:
        return model.posterior(inputs["images"], _condition(model, inputs))

    def image_of(codes: Tensor, condition: Condition) -> dict[str, Tensor]:
        return {"pixels": model.with_visible(model.likelihood(codes, condition).mean, condition)}

    def drawn(inputs: Mapping[str, Tensor]) -> tuple[Tensor, Condition]:
        condition = _condition(model, inputs)
        prior = model.prior(condition)
        return inputs["noise"] if prior is None else prior.place(inputs["noise"]), condition

    def encode(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        q = code(inputs)
        return {"mean": q.mean, "log_variance": q.log_variance}

    normal = {
        "mean": codes,
        "log_variance": Port(model.code_shape, "float32", "natural logarithm of the variance"),
    }
    found = {
        "generate": Function(
            "Images from the prior.",
            {"noise": noise, **labels},
            pixels,
            lambda inputs: image_of(*drawn(inputs)),
        ),
        "encode": Function("Mean and log-variance of q(z|x).", {**given, **images}, normal, encode),
        "decode": Function(
            "Images from codes.",
            {"codes": codes, **given},
            pixels,
            lambda inputs: image_of(inputs["codes"], _condition(model, inputs)),
        ),
        "reconstruct": Function(
            "Images encoded, and decoded from the mean of their code.",
            {**given, **images},
            pixels,
            lambda inputs: image_of(code(inputs).mean, _condition(model, inputs)),
        ),
    }
    if model.completes:
        found["complete"] = Function(
            "The hidden part of images, one of the ways that it may be; what is visible stays as it is.",
            {**given, "noise": noise},
            pixels,
            lambda inputs: image_of(*drawn(inputs)),
        )
    if labels and not model.completes:

        def transferred(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return image_of(code(inputs).mean, _condition(model, {"labels": inputs["new_labels"]}))

        asked = {"new_labels": labels["labels"]._replace(values=f"{labels['labels'].values}: what to show")}
        found["transfer_style"] = Function(
            "Images of other classes in the style of these.",
            {**images, **labels, **asked},
            pixels,
            transferred,
        )
    if isinstance(model, SemiSupervisedVAE):
        found["classify"] = Function(
            "The probability of each class, at the temperature that was fitted.",
            images,
            {"probabilities": Port((model.num_classes or 0,), "float32", "in [0, 1]; they sum to 1")},
            lambda inputs: {"probabilities": model.class_probabilities(inputs["images"])},
        )
    if isinstance(model, DRAW):

        def canvases(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
            codes, condition = drawn(inputs)
            made = model.drawing({"codes": codes, **condition})
            canvases = model.observed(made["canvases"]).mean
            return {"canvases": canvases, "centres": made["centre"], "sizes": made["size"]}

        found["canvases"] = Function(
            "How images from the prior come about, step by step.",
            found["generate"].inputs,
            {
                "canvases": image._replace(shape=(model.steps, *model.image_shape)),
                "centres": Port((model.steps, 2), "float32", "of the glimpses, in pixels, height first"),
                "sizes": Port((model.steps,), "float32", "of the glimpses, in pixels"),
            },
            canvases,
        )
    return found


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


def _condition(model: LatentVariableModel, inputs: Mapping[str, Tensor]) -> Any:
    """The condition as the networks take it, from the inputs of a function."""
    condition = {}
    if "labels" in inputs:
        # A row of the identity, and no `one_hot`: in eight bits LiteRT gives the 1 of that operator the
        # largest number of what it is joined to.
        rows = ops.convert_to_tensor(np.eye(model.num_classes or 0, dtype="float32"))
        condition["labels"] = ops.take(rows, inputs["labels"], axis=0)
    if model.completes:
        if "mask" in inputs:
            visible = ops.cast(inputs["mask"][..., None] > 0.5, "float32")
            condition["given"] = ops.concatenate([inputs["images"] * visible, visible], axis=-1)
        else:  # nothing is given
            rows = ops.zeros_like(inputs["noise"][:, :1])
            height, width, channels = model.image_shape
            blank = ops.zeros((1, height, width, channels + 1))
            condition["given"] = blank + ops.reshape(rows, (-1, 1, 1, 1))
    return condition
