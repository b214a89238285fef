"""A discriminator that judges patches (PatchGAN, Isola et al. 2017, section 3.2.2)."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers, ops

from keras_vaegan.errors import InputError, must_be, whole_number
from keras_vaegan.networks import blocks
from keras_vaegan.networks.blocks import Normalization
from keras_vaegan.typing import Tensor

FILTERS = (32, 64, 128)  # without a receptive field
FIRST_WIDTH, MOST_DOUBLINGS = 32, 3  # with one: the width of the first layer, doubled so often at most
MOST_STRIDED = 6  # convolutions with strides of 2


def discriminator(
    image_shape: Sequence[int | None],
    filters: int | Sequence[int] | None = None,
    kernel_size: int | Sequence[int] = 4,
    feature_layer: int | None = None,
    num_outputs: int = 1,
    normalization: Normalization = "none",
    spectral_normalization: bool = False,
    activation: str = "leaky_relu",
    receptive_field: int | None = None,
    scales: int = 1,
    name: str = "discriminator",
) -> keras.Model:
    """D(x): images `(B, H, W, C)` -> `{"logits": (B, h, w, num_outputs), "features": (B, ...)}`.

    A last convolution gives the logits, each of the patch of the image that it sees; losses are averaged over
    them. So D judges texture, and its number of weights does not depend on the size of the image.

    Every convolution before the last halves height and width. `receptive_field` chooses how many do, and
    whether one that does not follows them. A receptive field of 70 with kernels of 4 is the network of Isola
    et al. 2017: three convolutions with strides of 2, one without, and the logits.

    Several scales are several networks: one judges the image, another the image at half size, and so on
    (Wang et al. 2018, section 3.2). A coarse map of logits is repeated to the size of the finest, and the
    maps stand one below another, `(B, scales h, w, num_outputs)`. So there is one verdict, and the mean over
    its patches is the mean over the scales: each counts the same, although a coarser one has fewer patches.

    Args:
        image_shape: `(H, W, C)`; `(None, None, C)` for images of any size.
        filters: of the convolutions before the last; 32, 64 and 128 if None. Beside `receptive_field` one
            integer is the width of the first, 32 if None, which doubles at each layer, three times at most.
        kernel_size: of all convolutions.
        feature_layer: index of the convolution whose output, before normalization and activation, is the
            features that the VAE/GAN reconstructs, at full scale; the last before the logits if None.
        num_outputs: 1 for real against fake, K + 1 for classes against fake.
        normalization: of all layers but the first: `none`, `batch`, `layer`, `instance`, `group` or `rms`.
        spectral_normalization: divide every kernel by its spectral norm.
        activation: Keras name of the activation.
        receptive_field: side in pixels of the patch that one logit sees: 16, 34, 70, 142 and others for
            kernels of 4. It chooses the layers. None if `filters` gives their number.
        scales: number of networks, each for images of half the size of those of the one before.
        name: of the model; prefix of its layers' names.

    Raises:
        InputError: sizes that are no positive integers; `feature_layer` that is no index of a layer; a
            receptive field that no number of layers has, beside several kernel sizes, or beside `filters` for
            another number of layers.
    """
    image_shape = blocks.check_open_shape(image_shape)
    strides, widths = _layers(filters, kernel_size, receptive_field)
    blocks.check_positive("num_outputs", num_outputs)
    images = keras.Input(image_shape, name=f"{name}_images")
    maps, outputs, x = [], [], images
    for scale in range(whole_number("scales", scales, 1)):
        own = f"{name}_scale_{scale}" if scale else name
        if scale:
            x = layers.AveragePooling2D(2, padding="same", data_format=blocks.LAST, name=f"{own}_images")(x)
        hidden: list[Tensor] = []
        style = (kernel_size, normalization, spectral_normalization, activation)
        maps.append(_logits(x, list(zip(widths, strides, strict=True)), style, num_outputs, hidden, own))
        outputs.append(hidden)
    chosen = len(outputs[0]) - 1 if feature_layer is None else feature_layer
    features = blocks.feature_output(outputs[0], chosen, name)
    joined = maps[0] if scales == 1 else MapsOfScales(dtype="float32", name=f"{name}_scales")(maps)
    logits = layers.Activation("linear", dtype="float32", name=f"{name}_map")(joined)
    return keras.Model(images, {"logits": logits, "features": features}, name=name)


def _logits(
    x: Tensor,
    hidden: Sequence[tuple[int, int]],
    style: tuple[Any, Normalization, bool, str],
    num_outputs: int,
    outputs: list[Tensor],
    name: str,
) -> Tensor:
    """The logits of one scale. `outputs` gets what the `hidden` layers, given by width and stride, give."""
    kernel_size, normalization, spectral, activation = style
    convolution = blocks.convolution(spectral)
    for i, (width, stride) in enumerate(hidden):
        block = f"{name}_conv_{i}"
        x = convolution(width, kernel_size, strides=stride, padding="same", name=block)(x)
        outputs.append(x)
        x = blocks.normalize_and_activate(x, normalization if i else "none", activation, block)
    return convolution(num_outputs, kernel_size, padding="same", dtype="float32", name=f"{name}_logits")(x)


def _layers(
    filters: int | Sequence[int] | None, kernel_size: int | Sequence[int], receptive_field: int | None
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Strides and widths of the convolutions before the last; raises `InputError` as `discriminator` does."""
    if receptive_field is None:
        widths = blocks.check_positive("filters", FILTERS if filters is None else filters)
        return (2,) * len(widths), widths
    if not isinstance(kernel_size, int):
        raise must_be("kernel_size", "one integer beside receptive_field", kernel_size)
    strides = _strides(receptive_field, kernel_size)
    if isinstance(filters, (list, tuple)):
        if len(filters) != len(strides):
            allowed = f"{len(strides)} integers for receptive_field {receptive_field}"
            raise must_be("filters", allowed, filters)
        return strides, blocks.check_positive("filters", filters)
    (first,) = blocks.check_positive("filters", FIRST_WIDTH if filters is None else filters)
    return strides, tuple(first * 2 ** min(i, MOST_DOUBLINGS) for i in range(len(strides)))


def _strides(receptive_field: int, kernel_size: int) -> tuple[int, ...]:
    """Strides of the layers before the logits by which these see so many pixels: twos, then one 1 or none."""
    found = {}
    for halvings in range(1, MOST_STRIDED + 1):
        for plain in ((1,), ()):  # where both have that field, the network without another layer
            strides = (2,) * halvings + plain
            found[pixels_seen((*strides, 1), kernel_size)] = strides
    if receptive_field not in found or isinstance(receptive_field, bool):
        listed = ", ".join(map(str, sorted(found)))
        raise InputError(
            f"receptive_field must be one of {listed} for kernel_size {kernel_size}; "
            f"received {receptive_field!r}."
        )
    return found[receptive_field]


def pixels_seen(strides: Sequence[int], kernel_size: int) -> int:
    """Side of the patch of the input, in pixels, that one output of these convolutions sees.

    Args:
        strides: of the convolutions, the first first.
        kernel_size: of all of them.
    """
    side = 1
    for stride in reversed(strides):
        side = (side - 1) * stride + kernel_size
    return side


@keras.saving.register_keras_serializable("keras_vaegan")
class MapsOfScales(layers.Layer):
    """Maps of several scales, each repeated to the size of the first, one below another.

    n maps, the first `(B, h, w, K)` and the i-th after it of 2^-i of its height and width, give
    `(B, n h, w, K)`. The mean of an elementwise loss over it is the mean over the maps. If h or w is no
    multiple of 2^i, what is repeated beyond it is cut.

    Args:
        **kwargs: of `keras.layers.Layer`.
    """

    def call(self, maps: Sequence[Tensor]) -> Tensor:
        height, width = ops.shape(maps[0])[1:3]
        sized = [maps[0]]
        for i, coarse in enumerate(maps[1:], 1):
            repeated = ops.repeat(ops.repeat(coarse, 2**i, axis=1), 2**i, axis=2)
            sized.append(repeated[:, :height, :width])
        return ops.concatenate(sized, axis=1)

    def compute_output_shape(self, input_shape: Sequence[Sequence[int | None]]) -> tuple[int | None, ...]:
        batch, height, width, channels = input_shape[0]
        return (batch, None if height is None else len(input_shape) * height, width, channels)
