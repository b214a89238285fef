"""EfficientNet-Lite0 with weights trained on ImageNet: frozen features in which images are compared.

Tan and Le 2019, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks". The Lite variant
has ReLU6 and no squeeze-and-excitation. The weights come with the package; the files beside them tell their
origin and their license. The classifier on top of the pooled features is left out.
"""

import functools
import importlib.resources
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import keras
import numpy as np
from keras import layers

from keras_vaegan.backend import quicken_layers
from keras_vaegan.errors import InputError, choose
from keras_vaegan.typing import Tensor
from keras_vaegan.weights import digest

NAME = "efficientnet_lite0"
DIGEST = "4abadfe84235"  # of the weights: others are another network, and are refused
SMALLEST = 32  # pixels a side, of which the last feature map has one
# Images in [0, 1] become (255 x - 127) / 128, which the weights were trained on.
SCALE, OFFSET = 255 / 128, -127 / 128
STEM, HEAD = 32, 1280  # channels
# Whatever Keras' configuration says, so that the features of an image are always the same numbers.
EXACT = {"dtype": "float32"}
OF_IMAGES = {**EXACT, "data_format": "channels_last"}


class Block(NamedTuple):
    """An inverted residual block (Sandler et al. 2018), by its sizes."""

    name: str
    kernel_size: int
    stride: int
    expansion: int
    inputs: int
    filters: int


def _blocks() -> Iterator[Block]:
    """The 16 blocks from the image upwards."""
    inputs, number = STEM, 0
    # Kernel size, stride of the first block, expansion, channels and number of blocks.
    for kernel_size, stride, expansion, filters, repeats in (
        (3, 1, 1, 16, 1),
        (3, 2, 6, 24, 2),
        (5, 2, 6, 40, 2),
        (3, 2, 6, 80, 3),
        (5, 1, 6, 112, 3),
        (5, 2, 6, 192, 4),
        (3, 1, 6, 320, 1),
    ):
        for i in range(repeats):
            yield Block(
                f"block_{number:02}", kernel_size, stride if i == 0 else 1, expansion, inputs, filters
            )
            inputs, number = filters, number + 1


BLOCKS = tuple(_blocks())
# The last map of each resolution, by the block that gives it.
MAPS = {
    "block_00": "stride_2",
    "block_02": "stride_4",
    "block_04": "stride_8",
    "block_10": "stride_16",
    "block_15": "stride_32",
}
CHANNELS = {MAPS[block.name]: block.filters for block in BLOCKS if block.name in MAPS}
OUTPUTS = (*MAPS.values(), "pooled")


def features(
    outputs: Sequence[str] = OUTPUTS,
    image_size: Sequence[int | None] = (None, None),
    name: str = NAME,
) -> keras.Model:
    """The frozen network: images `(B, H, W, 3)` in [0, 1] -> a dictionary of features in float32.

    `stride_2` `(B, ceil(H / 2), ceil(W / 2), 16)` to `stride_32` (24, 40, 112 and 320 channels) are the
    outputs of the last block of each resolution, which has no activation. `pooled` `(B, 1280)` is the mean
    over positions of the last layer, after its ReLU6. The network is differentiable with respect to the
    images. Its weights are float32 and never train.

    Args:
        outputs: names of what is asked for; layers above the last of them are not built.
        image_size: `(H, W)`, each at least 32; None for any.
        name: of the model.

    Raises:
        InputError: an unknown output, or none.
    """
    for output in outputs:
        choose("outputs", output, OUTPUTS)
    if not outputs:
        raise InputError(f"outputs must be one at least of {', '.join(OUTPUTS)}; received none.")
    images = keras.Input((*image_size, 3), name="images", dtype="float32")
    found: dict[str, Tensor] = {}
    x = layers.Rescaling(SCALE, OFFSET, name="scaled", **EXACT)(images)
    x = _activated(_convolution(STEM, 3, 2, "stem")(x), "stem")
    for block in BLOCKS:
        x = _inverted_residual(x, block)
        if block.name in MAPS:
            found[MAPS[block.name]] = x
        if set(outputs) <= set(found):
            break
    else:
        x = _activated(_convolution(HEAD, 1, 1, "head")(x), "head")
        found["pooled"] = layers.GlobalAveragePooling2D(name="pooled", **OF_IMAGES)(x)
    model = keras.Model(images, {output: found[output] for output in outputs}, name=name)
    _load(model)
    model.trainable = False
    quicken_layers(model)
    return model


def _inverted_residual(x: Tensor, block: Block) -> Tensor:
    """Expand channels, filter each of them, project; the input is added if it has the output's shape."""
    inputs = x
    if block.expansion != 1:
        expanded = f"{block.name}_expand"
        x = _activated(_convolution(block.inputs * block.expansion, 1, 1, expanded)(x), expanded)
    filtered = f"{block.name}_depthwise"
    depthwise = layers.DepthwiseConv2D(
        block.kernel_size, strides=block.stride, padding="same", name=filtered, **OF_IMAGES
    )
    x = _activated(depthwise(x), filtered)
    x = _convolution(block.filters, 1, 1, f"{block.name}_project")(x)
    if block.stride == 1 and block.inputs == block.filters:
        x = layers.Add(name=f"{block.name}_add", **EXACT)([x, inputs])
    return x


def _convolution(filters: int, kernel_size: int, stride: int, name: str) -> layers.Conv2D:
    return layers.Conv2D(filters, kernel_size, strides=stride, padding="same", name=name, **OF_IMAGES)


def _activated(x: Tensor, name: str) -> Tensor:
    return layers.ReLU(max_value=6.0, name=f"{name}_relu6", **EXACT)(x)


def _load(model: keras.Model) -> None:
    """Give the model's layers their shipped weights."""
    stored = _stored()
    for variable in model.weights:
        variable.assign(stored[variable.path])


@functools.cache
def _stored() -> dict[str, np.ndarray]:
    """The shipped weights in float32 by their paths, read once; raise `InputError` if they are others."""
    file = importlib.resources.files("keras_vaegan.networks") / "weights" / f"{NAME}_{DIGEST}.npz"
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as halves:
        stored = {path: halves[path].astype("float32") for path in halves.files}
    found = digest(stored.values())
    if found != DIGEST:
        message = f"network {NAME} must have the weights {DIGEST}; received {found}."
        raise InputError(message, argument="network", received=found)
    return stored
