"""Residual encoder and decoder of images of any size, with spatial latent codes.

The encoder turns an image `(H, W, C)` into a latent code `(h, w, c)`, h = ceil(H / f) and w = ceil(W / f).
The decoder turns a code into an image `(f h, f w, C)`. They are the autoencoder of Esser et al. 2021 and
Rombach et al. 2022. Both are fully convolutional `keras.Model`s whose height and width are open, so they
take images larger than those of the training.

A residual block computes x + conv(act(norm(conv(act(norm(x)))))), with 3x3 convolutions (He et al. 2016). If
its width differs from that of x, a 1x1 convolution gives x that width. A network has log2(f) + 1
resolutions, and the decoder mirrors the encoder:

    encoder: convolution, (blocks, halve) for each resolution but the last, blocks, mean and log-variance
    decoder: convolution, (blocks, double) for each resolution but the last, blocks, logits

All layers are Keras' own but for two that Keras has not: `PadToMultiple` and `Rematerialized`.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import keras
from keras import layers, ops

from keras_vaegan.backend import quicken_layers
from keras_vaegan.errors import choose, flag, must_be, whole_number
from keras_vaegan.networks import blocks as shared
from keras_vaegan.typing import Tensor

Size: TypeAlias = Literal["small", "base", "large"]
Factor: TypeAlias = Literal[2, 4, 8, 16]
Down: TypeAlias = Literal["strided", "space_to_depth"]
Up: TypeAlias = Literal["nearest", "depth_to_space"]
Normalization: TypeAlias = Literal["group", "rms", "none"]
FACTORS = (2, 4, 8, 16)
DOWNS, UPS = ("strided", "space_to_depth"), ("nearest", "depth_to_space")
NORMALIZATIONS = ("group", "rms", "none")


class Preset(NamedTuple):
    """Widths and blocks that `size` names.

    Attributes:
        filters: widths at full resolution, a half, a quarter, an eighth and a sixteenth of it.
        encoder: the number of residual blocks at each resolution, and at the lowest.
        decoder: the same.
    """

    filters: tuple[int, ...]
    encoder: tuple[int, int]
    decoder: tuple[int, int]


SIZES = {
    "small": Preset((32, 64, 128, 128, 128), (1, 2), (1, 2)),
    "base": Preset((64, 128, 256, 256, 256), (2, 4), (2, 5)),
    "large": Preset((128, 256, 512, 512, 512), (2, 4), (3, 7)),  # as KL-f4 and KL-f8 of Rombach et al. 2022
}


class Style(NamedTuple):
    """What all blocks of a network have in common.

    Attributes:
        normalization: of `NORMALIZATIONS`.
        activation: Keras name of the activation.
        labels: one-hot `(B, K)`, or None.
        remat: whether gradients recompute the blocks.
    """

    normalization: Normalization
    activation: str
    labels: Tensor | None
    remat: bool


def encoder(
    image_shape: Sequence[int | None],
    latent_dim: int,
    size: Size = "small",
    factor: Factor = 4,
    filters: int | Sequence[int] | None = None,
    blocks: int | Sequence[int] | None = None,
    down: Down = "strided",
    attention: int = 0,
    normalization: Normalization = "group",
    activation: str = "silu",
    num_classes: int | None = None,
    remat: bool = False,
    name: str = "encoder",
) -> keras.Model:
    """q(z|x): images `(B, H, W, C)` -> `{"mean", "log_variance"}`, each `(B, h, w, c)` float32.

    h = ceil(H / f), w = ceil(W / f). If a side is no multiple of f, the last row or column is repeated at the
    bottom or at the right.

    Args:
        image_shape: `(H, W, C)`. The weights depend on C alone. H and W are the size of the images that a
            model with this encoder is trained on and generates; both may be None for a network on its own.
        latent_dim: c, the channels of the latent code.
        size: default of `filters` and `blocks`, as `SIZES` has them: `small` for processors, `base`, or
            `large`, about as many weights as KL-f4 and KL-f8 of Rombach et al. 2022 have.
        factor: f, by which height and width shrink.
        filters: widths of the log2(f) + 1 resolutions, full resolution first; one width for all of them.
        blocks: numbers of residual blocks at these resolutions; one number for all of them.
        down: how a resolution is halved. `strided` is a 3x3 convolution with strides of 2. `space_to_depth`
            puts each 2x2 pixels side by side and mixes their channels, which is a 2x2 convolution with
            strides of 2.
        attention: heads of the self-attention over all positions of the lowest resolution, before its last
            block; 0 for none. Its memory grows with the square of the number of positions.
        normalization: before each activation. `group` normalizes over all positions, so a tile gets other
            codes than the same part of the whole image. `rms` normalizes each position by itself. `none`.
        activation: Keras name of the activation.
        num_classes: K, of a network that is conditioned on labels. Each residual block then has a scale and a
            shift for each class and channel, between its second normalization and activation (Dumoulin et
            al. 2017). A shift alone cannot turn a channel off for a class.
        remat: whether gradients compute each block once more, in place of keeping its inner values. A step
            needs less memory and about a third more time. On processors XLA (JAX) undoes it.
        name: of the model; prefix of its layers' names.

    Raises:
        InputError: `image_shape` that is not `(H, W, C)` with C from 1 to 16; sizes that are no positive
            integers; a list whose length is not the number of resolutions; a name that there is not;
            `attention` that is no integer of at least 0; `remat` that is neither True nor False.
    """
    *sides, channels = shared.check_open_shape(image_shape)
    (latent_dim,) = shared.check_positive("latent_dim", latent_dim)
    widths, counts = _resolutions(size, factor, filters, blocks, "encoder")
    choose("down", down, DOWNS)
    open_shape = (None, None, channels)
    inputs, images, condition = shared.conditional_inputs(
        "images", open_shape, open_shape, num_classes, False, name
    )
    style = _style(normalization, activation, condition, remat)
    known = None if None in sides else [int(side) for side in sides if side is not None]
    x = PadToMultiple(2 ** (len(widths) - 1), known, name=f"{name}_pad")(images)
    x = shared.Conv2D(widths[0], 3, padding="same", name=f"{name}_stem")(x)
    for i, (width, count) in enumerate(zip(widths[:-1], counts[:-1], strict=True)):
        level = f"{name}_level_{i}"
        x = _residual_blocks(x, [width] * count, style, level)
        kernel_size = 3 if down == "strided" else 2
        x = shared.Conv2D(width, kernel_size, strides=2, padding="same", name=f"{level}_down")(x)
    level = f"{name}_level_{len(widths) - 1}"
    before = counts[-1] - 1
    x = _residual_blocks(x, [widths[-1]] * before, style, level)
    x = _attended(x, attention, style, f"{level}_attention")
    x = _residual_blocks(x, [widths[-1]], style, level, first=before)
    x = _normalized(x, style, f"{name}_last")
    outputs = {
        part: shared.Conv2D(latent_dim, 3, padding="same", dtype="float32", name=f"{name}_{part}")(x)
        for part in ("mean", "log_variance")
    }
    return _quick(keras.Model(inputs, outputs, name=name))


def decoder(
    image_shape: Sequence[int | None],
    latent_dim: int,
    size: Size = "small",
    factor: Factor = 4,
    filters: int | Sequence[int] | None = None,
    blocks: int | Sequence[int] | None = None,
    up: Up = "nearest",
    attention: int = 0,
    normalization: Normalization = "group",
    activation: str = "silu",
    num_classes: int | None = None,
    remat: bool = False,
    name: str = "decoder",
) -> keras.Model:
    """p(x|z): codes `(B, h, w, c)` -> logits `(B, f h, f w, C)` float32.

    Args:
        filters: widths of the log2(f) + 1 resolutions, the lowest first; one width for all of them.
        blocks: numbers of residual blocks at these resolutions; one number for all of them.
        up: how a resolution is doubled. `nearest` repeats each position 2x2 times and convolves by 3x3 (Odena
            et al. 2016). `depth_to_space` mixes channels and spreads them over 2x2 positions, which is a 2x2
            transposed convolution with strides of 2. It mirrors the encoder's `space_to_depth`.
        attention: heads of the self-attention at the lowest resolution, after its first block; 0 for none.
        image_shape, latent_dim, size, factor: as for `encoder`, and so are
        normalization, activation, num_classes, remat, name: the others.

    Raises:
        InputError: as of `encoder`.
    """
    *_, channels = shared.check_open_shape(image_shape)
    (latent_dim,) = shared.check_positive("latent_dim", latent_dim)
    widths, counts = _resolutions(size, factor, filters, blocks, "decoder")
    choose("up", up, UPS)
    inputs, codes, condition = shared.conditional_inputs(
        "codes", (None, None, latent_dim), (None, None, channels), num_classes, False, name
    )
    style = _style(normalization, activation, condition, remat)
    x = shared.Conv2D(widths[0], 3, padding="same", name=f"{name}_stem")(codes)
    for i, (width, count) in enumerate(zip(widths, counts, strict=True)):
        level, last = f"{name}_level_{i}", i == len(widths) - 1
        # The last block before a doubling gives the next width, as the encoder's first after a halving does.
        each = [width] * (count - 1) + [width if last else widths[i + 1]]
        of_lowest = 1 if i == 0 else 0
        x = _residual_blocks(x, each[:of_lowest], style, level)
        if i == 0:
            x = _attended(x, attention, style, f"{level}_attention")
        x = _residual_blocks(x, each[of_lowest:], style, level, first=of_lowest)
        if not last:
            x = _doubled(x, up, f"{level}_up")
    x = _normalized(x, style, f"{name}_last")
    logits = shared.Conv2D(channels, 3, padding="same", dtype="float32", name=f"{name}_logits")(x)
    return _quick(keras.Model(inputs, logits, name=name))


def _quick(network: keras.Model) -> keras.Model:
    """The network with the backend's fast forms, which group normalization needs on PyTorch to be finite."""
    quicken_layers(network)
    return network


def _resolutions(
    size: str, factor: int, filters: Any, blocks: Any, network: Literal["encoder", "decoder"]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Widths and numbers of blocks at each resolution, in the order in which the network has them."""
    preset = SIZES[choose("size", size, SIZES)]
    number = int(choose("factor", factor, FACTORS)).bit_length()
    each, lowest = getattr(preset, network)
    widths, counts = preset.filters[:number], (each,) * (number - 1) + (lowest,)
    if network == "decoder":
        widths, counts = widths[::-1], counts[::-1]
    return (
        widths if filters is None else _for_each("filters", filters, number, factor),
        counts if blocks is None else _for_each("blocks", blocks, number, factor),
    )


def _for_each(argument: str, values: int | Sequence[int], number: int, factor: int) -> tuple[int, ...]:
    """Positive integers, one for each resolution; raises `InputError`, naming the argument."""
    checked = shared.check_positive(argument, values)
    if isinstance(values, (list, tuple)) and len(checked) != number:
        raise must_be(argument, f"one integer or {number} for factor {factor}", values)
    return checked * number if len(checked) == 1 else checked


def _style(normalization: Any, activation: str, condition: dict[str, Tensor], remat: bool) -> Style:
    choose("normalization", normalization, NORMALIZATIONS)
    return Style(normalization, activation, condition.get("labels"), flag("remat", remat))


# ---- the parts: maps `(B, h, w, D)` -> maps ----


def _residual_blocks(x: Tensor, widths: Sequence[int], style: Style, level: str, first: int = 0) -> Tensor:
    """Residual blocks of these widths; `first` is the number of the first of them in its level."""
    for i, width in enumerate(widths, first):
        x = _block(x, _residual, style, f"{level}_block_{i}", width)
    return x


def _attended(x: Tensor, heads: int, style: Style, name: str) -> Tensor:
    """Self-attention over all positions, added to x; x itself if there are no heads."""
    if not whole_number("attention", heads, 0):
        return x
    return _block(x, _attention, style._replace(labels=None), name, heads)


def _block(x: Tensor, function: Callable[..., Tensor], style: Style, name: str, setting: int) -> Tensor:
    """A block as it is, or as a model that gradients compute once more."""
    if not style.remat:
        return function(x, style, name, setting)
    parts = [x] if style.labels is None else [x, style.labels]
    inputs = [
        keras.Input(part.shape[1:], dtype=part.dtype, name=f"{name}_{own}")
        for part, own in zip(parts, ("maps", "labels"), strict=False)
    ]
    inner = style if style.labels is None else style._replace(labels=inputs[1])
    model = keras.Model(inputs, function(inputs[0], inner, name, setting), name=f"{name}_model")
    return Rematerialized(model, name=name)(parts)


def _residual(x: Tensor, style: Style, name: str, width: int) -> Tensor:
    """x + conv(act(norm(conv(act(norm(x))))))."""
    y = _normalized(x, style, f"{name}_0")
    y = shared.Conv2D(width, 3, padding="same", name=f"{name}_conv_0")(y)
    y = _normalized(y, style, f"{name}_1", style.labels)
    y = shared.Conv2D(width, 3, padding="same", name=f"{name}_conv_1")(y)
    if x.shape[-1] != width:
        x = shared.Conv2D(width, 1, name=f"{name}_shortcut")(x)
    return layers.Add(name=f"{name}_sum")([x, y])


def _normalized(x: Tensor, style: Style, name: str, labels: Tensor | None = None) -> Tensor:
    """act(norm(x)), or act(norm(x) * scale(y) + shift(y)) for labels y."""
    layer = shared.normalization(style.normalization, f"{name}_norm", x.shape[-1])
    x = x if layer is None else layer(x)
    if labels is not None:
        for part, bias, joined in (("scale", "ones", layers.Multiply), ("shift", "zeros", layers.Add)):
            of_class = layers.Dense(x.shape[-1], bias_initializer=bias, name=f"{name}_{part}")(labels)
            of_class = layers.Reshape((1, 1, x.shape[-1]), name=f"{name}_{part}_map")(of_class)
            x = joined(name=f"{name}_{part}d")([x, of_class])
    return shared.activate(x, style.activation, f"{name}_activation")


def _attention(x: Tensor, style: Style, name: str, heads: int) -> Tensor:
    """x + attention(norm(x)), computed in float32 (Vaswani et al. 2017)."""
    layer = shared.normalization(style.normalization, f"{name}_norm", x.shape[-1])
    y = x if layer is None else layer(x)
    width = max(x.shape[-1] // heads, 1)
    attend = layers.MultiHeadAttention(
        heads, width, attention_axes=(1, 2), dtype="float32", name=f"{name}_heads"
    )
    return layers.Add(name=f"{name}_sum")([x, attend(y, y)])


def _doubled(x: Tensor, up: str, name: str) -> Tensor:
    """Twice the height and width."""
    width = x.shape[-1]
    if up == "depth_to_space":
        return shared.Conv2DTranspose(width, 2, strides=2, padding="same", name=name)(x)
    x = layers.UpSampling2D(2, data_format=shared.LAST, name=f"{name}_repeat")(x)
    return shared.Conv2D(width, 3, padding="same", name=name)(x)


# ---- what Keras has no layer for ----


@keras.saving.register_keras_serializable("keras_vaegan")
class PadToMultiple(layers.Layer):
    """Repeat the last row and column until height and width are multiples of a factor.

    Repeated edges fit images of any size: a reflection has no more rows than the image.

    Args:
        factor: a positive integer.
        image_size: `(H, W)` of the images that the network is built for, which a model with the network reads
            here; None if it is not known.
        **kwargs: of `keras.layers.Layer`.

    Raises:
        InputError: a factor or a side that is no positive integer.
    """

    def __init__(self, factor: int, image_size: Sequence[int] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.factor = whole_number("factor", factor, 1)
        self.image_size = None
        if image_size is not None:
            self.image_size = [whole_number("image_size", side, 1) for side in image_size]

    def call(self, images: Tensor) -> Tensor:
        """Images `(B, H, W, C)` -> `(B, f ceil(H / f), f ceil(W / f), C)`."""
        for axis in (1, 2):
            size = ops.shape(images)[axis]
            if isinstance(size, int) and size % self.factor == 0:
                continue
            # Of positive numbers, which ONNX divides as Python does.
            whole = (size + self.factor - 1) // self.factor * self.factor
            places = ops.arange(whole, dtype="int32")
            images = ops.take(images, ops.minimum(places, size - 1), axis=axis)
        return images

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        batch, *sides, channels = input_shape
        whole = (None if side is None else -(-side // self.factor) * self.factor for side in sides)
        return (batch, *whole, channels)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "factor": self.factor, "image_size": self.image_size}


@keras.saving.register_keras_serializable("keras_vaegan")
class Rematerialized(layers.Wrapper):
    """A model whose inner values gradients compute once more, in place of keeping them.

    `keras.remat` does it, in training alone, so exported functions have no part of it. Keras' `RematScope` is
    not used: saved files do not have it, and it keeps the output of every layer.

    Args:
        layer: a functional model of a list of tensors, without state that a call changes and without noise.
        **kwargs: of `keras.layers.Wrapper`.
    """

    def call(self, inputs: Any, training: bool = False) -> Tensor:
        """Tensors -> what the model makes of them."""
        parts = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
        if not training:
            return self.layer(parts, training=False)
        # The tensors one by one: TensorFlow takes no lists here, and no keywords.
        return keras.remat(lambda *tensors: self.layer(list(tensors), training=True))(*parts)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        return self.layer.compute_output_shape(input_shape)
