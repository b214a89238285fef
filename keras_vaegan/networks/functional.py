"""The networks that a model is made of, as Keras' functional models: their inputs by name."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_vaegan.errors import InputError
from keras_vaegan.typing import Condition, Tensor


def as_functional(argument: str, network: Any) -> Any:
    """A network whose inputs and outputs Keras knows: the functional model itself, or that of a Sequential.

    The layers of a Sequential model are shared. Raises `InputError` for other objects; `argument` names it.
    """
    if not isinstance(network, keras.Model):
        raise InputError(f"{argument} must be a Keras model; received a {type(network).__name__}.")
    if isinstance(network, keras.Sequential):
        try:
            return keras.Model(network.inputs[0], network.outputs[0], name=network.name)
        except (AttributeError, ValueError, TypeError):
            raise InputError(
                f"{argument} must know its input: begin the Sequential model with keras.Input(shape)."
            ) from None
    try:
        if network.input is not None and network.output is not None:
            return network
    except (AttributeError, ValueError):
        pass
    raise InputError(
        f"{argument} must be a functional or Sequential model; received a {type(network).__name__}. "
        "Wrap it: keras.Model(inputs, network(inputs))."
    )


def feed(network: keras.Model, own: str, value: Tensor, condition: Condition) -> Any:
    """Inputs of a network: `value`, or a dictionary of it under its `own` name and what else it takes."""
    if not isinstance(network.input, dict):
        return value
    return {name: value if name == own else condition[name] for name in network.input}


def input_of(network: keras.Model, own: str) -> Tensor:
    """The symbolic input of that name of a network, or its only one."""
    return network.input[own] if isinstance(network.input, dict) else network.input


def output_of(network: keras.Model, own: str, shape: Sequence[int]) -> Any:
    """The symbolic output of a network for its `own` input of that shape, without B, for a batch of one."""
    given = keras.KerasTensor((1, *shape), "float32")
    inputs = keras.tree.map_structure(
        lambda tensor: keras.KerasTensor((1, *tensor.shape[1:]), tensor.dtype), network.input
    )
    return network.compute_output_spec({**inputs, own: given} if isinstance(inputs, dict) else given)


def size_built_for(network: keras.Model) -> tuple[int, ...]:
    """`(H, W)` of the images for which a network of any size was built."""
    return tuple(_padding(network).image_size)


def factor_of(network: keras.Model) -> int:
    """f, by which an encoder of images of any size shrinks height and width."""
    return _padding(network).factor


def _padding(network: keras.Model) -> Any:
    """The layer that pads images of any size, which says what they are; `InputError` if there is none."""
    for layer in network.layers:
        if getattr(layer, "image_size", None) and hasattr(layer, "factor"):
            return layer
    raise InputError(
        "encoder must say which size its images have in training: build it for an image_shape, or "
        "begin it with keras_vaegan.networks.PadToMultiple(factor, image_size=(height, width))."
    )
