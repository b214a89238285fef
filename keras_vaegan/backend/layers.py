"""The layers of a network, and the faster forms in which a backend computes some of Keras' own.

The layers stay Keras' own: a form replaces one method of an instance. A saved file names `keras.layers`,
Keras alone reads it, and a model gives the forms to every network that it takes in.
"""

import functools
from collections.abc import Callable

import keras
from keras import layers

from keras_vaegan.typing import Tensor

Convolve = Callable[[Tensor, Tensor, tuple[int, int]], Tensor]  # images, kernel, strides -> images
Normalize = Callable[[Tensor, int, Tensor | None, Tensor | None, float], Tensor]  # as `torch.group_normalize`


def layers_of(network: keras.Layer) -> list[keras.Layer]:
    """A network and every layer in it, at any depth."""
    return network._flatten_layers()


def quicken(
    network: keras.Layer,
    convolve: Convolve | None = None,
    conv_transpose: Convolve | None = None,
    halve_by_max: Callable[[Tensor], Tensor] | None = None,
    group_normalize: Normalize | None = None,
    double: Callable[[Tensor], Tensor] | None = None,
    convolve_each: Convolve | None = None,
) -> None:
    """Let layers of a network compute by these functions; None leaves Keras' own way.

    Only images with channels last are concerned, and of convolutions and pooling those with padding `same`. A
    class that overrides the method of Keras that a form replaces keeps its own.

    Args:
        network: a layer or a model; all layers in it are looked at.
        convolve: computes the convolution of `Conv2D`, without dilation or groups.
        conv_transpose: computes the transposed convolution of `Conv2DTranspose`, without dilation.
        halve_by_max: computes `MaxPooling2D` of 2x2 with strides of 2.
        group_normalize: computes `GroupNormalization` of the last axis of four.
        double: computes `UpSampling2D` of 2x2 by the nearest pixel.
        convolve_each: computes the convolutions of each channel of `DepthwiseConv2D`, without dilation.
    """
    for layer in layers_of(network):
        if group_normalize is not None and _leaves(layer, layers.GroupNormalization, "call"):
            if layer.built and layer.axis in (-1, 3) and layer.input_spec.ndim == 4:
                layer.call = functools.partial(_call_normalizing, layer, group_normalize)
            continue
        if getattr(layer, "data_format", None) != "channels_last":
            continue
        if double is not None and _leaves(layer, layers.UpSampling2D, "call"):
            if set(layer.size) == {2} and layer.interpolation == "nearest":
                layer.call = functools.partial(_call_on_inputs, double)
            continue
        if getattr(layer, "padding", "") != "same":
            continue
        if convolve is not None and _leaves(layer, layers.Conv2D, "convolution_op"):
            if layer.groups == 1 and set(layer.dilation_rate) == {1}:
                layer.convolution_op = functools.partial(_convolved, convolve, tuple(layer.strides))
        elif conv_transpose is not None and _leaves(layer, layers.Conv2DTranspose, "call"):
            if layer.output_padding is None and set(layer.dilation_rate) == {1}:
                layer.call = functools.partial(_call_convolving, layer, conv_transpose)
        elif convolve_each is not None and _leaves(layer, layers.DepthwiseConv2D, "call"):
            if set(layer.dilation_rate) == {1}:
                layer.call = functools.partial(_call_convolving, layer, convolve_each)
        elif halve_by_max is not None and _leaves(layer, layers.MaxPooling2D, "call"):
            if set(layer.pool_size) == set(layer.strides) == {2}:
                layer.call = functools.partial(_call_on_inputs, halve_by_max)


def _leaves(layer: keras.Layer, kind: type[keras.Layer], method: str) -> bool:
    """Whether a layer is of a kind, and its class leaves a method of that kind as it is."""
    return isinstance(layer, kind) and getattr(type(layer), method) is getattr(kind, method)


def _convolved(convolve: Convolve, strides: tuple[int, int], inputs: Tensor, kernel: Tensor) -> Tensor:
    """`Conv2D.convolution_op` by `convolve`."""
    return convolve(inputs, kernel, strides)


def _call_convolving(
    layer: layers.Conv2DTranspose | layers.DepthwiseConv2D, convolve: Convolve, inputs: Tensor
) -> Tensor:
    """`Conv2DTranspose.call` or `DepthwiseConv2D.call` by `convolve`."""
    outputs = convolve(inputs, layer.kernel, tuple(layer.strides))
    if layer.use_bias:
        outputs = outputs + layer.bias
    return outputs if layer.activation is None else layer.activation(outputs)


def _call_on_inputs(function: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
    """`MaxPooling2D.call` or `UpSampling2D.call` by a function of the images alone."""
    return function(inputs)


def _call_normalizing(layer: layers.GroupNormalization, normalize: Normalize, inputs: Tensor) -> Tensor:
    """`GroupNormalization.call` by `normalize`, in float32 at least, as in Keras."""
    scales = layer.gamma if layer.scale else None, layer.beta if layer.center else None
    gamma, beta = (None if scale is None else keras.ops.convert_to_tensor(scale) for scale in scales)
    wide = keras.backend.result_type(keras.backend.standardize_dtype(inputs.dtype), "float32")
    outputs = normalize(keras.ops.cast(inputs, wide), layer.groups, gamma, beta, layer.epsilon)
    return keras.ops.cast(outputs, layer.compute_dtype)
