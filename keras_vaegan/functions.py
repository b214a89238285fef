"""Functions of a model on named tensors: what is exported, and what the verbs on arrays run in batches.

No exported function draws anything: noise is an input. Labels are whole numbers, masks numbers of 0 (hidden)
and 1 (visible), images pixels in [0, 1].
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_vaegan.backend import predict
from keras_vaegan.errors import whole_number
from keras_vaegan.typing import Tensor


class Port(NamedTuple):
    """One tensor that goes in or comes out.

    Attributes:
        shape: without the batch, which is of any size. A name, as `height`, stands for a side of any size.
        dtype: `float32` or `int32`.
        values: the range of the values, in words.
    """

    shape: tuple[int | str, ...]
    dtype: str
    values: str

    @property
    def sizes(self) -> tuple[int | None, ...]:
        """The shape with None for sides of any size."""
        return tuple(None if isinstance(side, str) else side for side in self.shape)


def image_port(image_shape: Sequence[int | str], values: str = "pixels in [0, 1]") -> Port:
    """The port of images `(H, W, C)`."""
    return Port(tuple(image_shape), "float32", values)


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


def described(functions: Mapping[str, Function]) -> dict[str, Any]:
    """Summary, inputs and outputs of functions for JSON; a name in a shape, as `batch`, is any number."""

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
    """A function of a model as a Keras model, which Keras can export and `predict` with.

    Args:
        of: the model, whose weights the function uses.
        call: dictionary of the inputs -> tensor, or dictionary of tensors.
        name: of the function.
    """

    def __init__(self, of: keras.Model, call: Callable[..., Any], name: str) -> None:
        # Noise, codes and a prior's numbers stay in float32; networks cast what they take themselves.
        super().__init__(name=name, dtype="float32")
        self.of, self.function = of, call
        self.built = True

    def call(self, inputs: Mapping[str, Tensor], training: bool = False) -> Any:
        """Dictionary of the inputs -> what the function gives."""
        return self.function(inputs)


def signature(function: Function) -> dict[str, keras.InputSpec]:
    """Shapes and types of the inputs of a function."""
    return {
        name: keras.InputSpec(shape=(None, *port.sizes), dtype=port.dtype, name=name)
        for name, port in function.inputs.items()
    }


class InBatches:
    """The functions of a model that its verbs run on arrays, batch by batch.

    Each is compiled once for the life of the model. It is no Keras object, so that the model does not take
    itself for a layer of its own.

    Args:
        model: a `MultiPlayerModel`.
        names: of its methods, each a function of a dictionary of tensors.
    """

    def __init__(self, model: Any, names: Sequence[str]) -> None:
        self._model = model
        self._served = {name: Served(model, getattr(model, name), name) for name in names}

    def __call__(self, name: str, inputs: Mapping[str, np.ndarray], batch_size: int) -> Any:
        """What a function gives for arrays of equal length: an array, or a dictionary of arrays."""
        self._model.synchronize()  # the weights of the running `fit`
        inputs = dict(inputs)
        count = len(next(iter(inputs.values())))
        batch_size = min(whole_number("batch_size", batch_size, 1), max(count, 1))
        return predict(self._served[name], inputs, batch_size)
