"""Convolutional encoder, decoder, prior and discriminator after DCGAN (Radford et al. 2015).

Strided convolutions down, transposed convolutions up, for any image size: sizes are halved
and rounded up on the way down, and cropped by a pixel where needed on the way up. All are
functional `keras.Model`s built from `image_shape` `(H, W, C)`; images are in [0, 1].

A conditional network takes a dictionary: beside `images` or `codes` the one-hot `labels` `(B, K)`,
if `num_classes` is K, and the visible part of the images `given` `(B, H, W, C + 1)`, if asked.
"""

import functools
import math
from collections.abc import Callable, Sequence

import keras
from keras import layers

from keras_vaegan.errors import InputError
from keras_vaegan.networks import blocks
from keras_vaegan.networks.blocks import Normalization
from keras_vaegan.typing import Tensor


def encoder(
    image_shape: Sequence[int],
    latent_dim: int,
    filters: int | Sequence[int] = (32, 64),
    kernel_size: int | Sequence[int] = 4,
    units: int | Sequence[int] = (256,),
    normalization: Normalization = "none",
    activation: str = "leaky_relu",
    num_classes: int | None = None,
    given: bool = False,
    name: str = "encoder",
) -> keras.Model:
    """q(z|x): images `(B, H, W, C)` -> `{"mean", "log_variance"}`, each `(B, Z)`.

    The given part stands beside the images, the labels beside the last map, as in Chen, Fang and Ju 2016.

    Args:
        image_shape: `(H, W, C)`.
        latent_dim: Z.
        filters: channels of the strided convolutions, each halving height and width.
        kernel_size: of the convolutions.
        units: widths of the dense layers between the convolutions and the code.
        normalization: `none`, `batch`, `layer`, `instance`, `group` or `rms`, after each convolution but the
            first.
        activation: Keras name of the activation; `leaky_relu` has slope 0.2.
        num_classes: K, of a network that is conditioned on labels.
        given: whether it is conditioned on part of the images.
        name: of the model; prefix of its layers' names.

    Raises:
        InputError: `image_shape` that is not `(H, W, C)` with C from 1 to 16; `latent_dim`, `filters`,
            `units` or `num_classes` that are no positive integers; a normalisation of another name.
    """
    image_shape = blocks.check_image_shape(image_shape)
    inputs, images, condition = blocks.conditional_inputs(
        "images", image_shape, image_shape, num_classes, given, name
    )
    x = blocks.joined([images, *([condition["given"]] if given else [])], f"{name}_seen")
    x = maps_down(x, filters, kernel_size, normalization, activation, name)[-1]
    x = blocks.dense_stack(flat_with_labels([x], condition, name), units, activation, name)
    (latent_dim,) = blocks.check_positive("latent_dim", latent_dim)
    return keras.Model(inputs, blocks.posterior_head(x, latent_dim, name), name=name)


def trunk(
    image_shape: Sequence[int],
    filters: int | Sequence[int] = (32, 64),
    kernel_size: int | Sequence[int] = 4,
    units: int | Sequence[int] = (256,),
    normalization: Normalization = "none",
    activation: str = "leaky_relu",
    dropout: float = 0.0,
    name: str = "trunk",
) -> keras.Model:
    """What the heads of a model share: images `(B, H, W, C)` -> features `(B, F)`.

    Args:
        units: widths of the dense layers behind the convolutions; none for their flat maps.
        dropout: share of each dense layer, and of what goes into the first, that is left out in training.
        image_shape, filters, kernel_size, normalization, activation, name: as for `encoder`.

    Raises:
        InputError: as of `encoder`; `dropout` that is no share of at least 0 and below 1.
    """
    images = keras.Input(blocks.check_image_shape(image_shape), name=f"{name}_images")
    x = maps_down(images, filters, kernel_size, normalization, activation, name)[-1]
    x = blocks.flat(x, dropout, name)
    return keras.Model(images, blocks.dense_stack(x, units, activation, name, dropout), name=name)


def prior(
    image_shape: Sequence[int],
    latent_dim: int,
    filters: int | Sequence[int] = (32, 64),
    kernel_size: int | Sequence[int] = 4,
    units: int | Sequence[int] = (),
    normalization: Normalization = "none",
    activation: str = "leaky_relu",
    num_classes: int | None = None,
    given: bool = False,
    name: str = "prior",
) -> keras.Model:
    """p(z|condition), learned: -> `{"mean", "log_variance"}`, each `(B, Z)`; arguments as for `encoder`.

    Without a given part there are no convolutions. Raises `InputError` as `encoder` does, and where there are
    neither classes nor a given part to be conditioned on.
    """
    image_shape = blocks.check_image_shape(image_shape)
    condition = blocks.condition_inputs(image_shape, num_classes, given)
    if not condition:
        raise InputError("num_classes or given must be set: a prior is learned as a function of something.")
    maps = (
        maps_down(condition["given"], filters, kernel_size, normalization, activation, name)[-1:]
        if given
        else []
    )
    x = blocks.dense_stack(flat_with_labels(maps, condition, name), units, activation, name)
    (latent_dim,) = blocks.check_positive("latent_dim", latent_dim)
    return keras.Model(condition, blocks.posterior_head(x, latent_dim, name), name=name)


def decoder(
    image_shape: Sequence[int],
    latent_dim: int,
    filters: int | Sequence[int] = (64, 32),
    kernel_size: int | Sequence[int] = 4,
    units: int | Sequence[int] = (256,),
    normalization: Normalization = "batch",
    activation: str = "relu",
    full_size_filters: int | None = None,
    num_classes: int | None = None,
    given: bool = False,
    name: str = "decoder",
) -> keras.Model:
    """p(x|z): codes `(B, Z)` -> logits `(B, H, W, C)`.

    Labels stand beside the codes. The given part is convolved down to the smallest map, and what
    comes by on the way stands beside the map of its size on the way up (Ronneberger et al. 2015).

    Args:
        filters: channels of the maps, the smallest first; each stage doubles height and width, the last
            one makes the image.
        full_size_filters: channels of one more map, of full size, from which a last convolution makes
            the image; None for none, or beside a given part the last of `filters`.
        image_shape, latent_dim, kernel_size, units: as for `encoder`, and so are
        normalization, activation, num_classes, given, name: the others.

    Raises:
        InputError: as of `encoder`; `full_size_filters` that is no positive integer.
    """
    image_shape = blocks.check_image_shape(image_shape)
    filters = blocks.check_positive("filters", filters)
    (latent_dim,) = blocks.check_positive("latent_dim", latent_dim)
    sizes = halved_sizes(image_shape, len(filters))
    inputs, codes, condition = blocks.conditional_inputs(
        "codes", (latent_dim,), image_shape, num_classes, given, name
    )
    seen = []  # maps of the given part, the smallest first, itself last
    if given:
        down = maps_down(
            condition["given"], filters[::-1], kernel_size, normalization, activation, f"{name}_given"
        )
        seen = [*down[::-1], condition["given"]]
    x = blocks.dense_stack(flat_with_labels([codes, *seen[:1]], condition, name), units, activation, name)
    x = layers.Dense(math.prod(sizes[-1]) * filters[0], name=f"{name}_project")(x)
    x = layers.Reshape((*sizes[-1], filters[0]), name=f"{name}_map")(x)
    x = blocks.normalize_and_activate(x, normalization, activation, f"{name}_project")
    # Beside a given part a convolution in full size, which sees its edge.
    full_size = filters[-1] if given and full_size_filters is None else full_size_filters
    widths = [*filters[1:]]
    if full_size is not None:
        widths += blocks.check_positive("full_size_filters", full_size)
    for i, channels in enumerate(widths):
        block = f"{name}_deconv_{i}"
        x = blocks.joined([x, *seen[i : i + 1]], f"{block}_seen")
        x = blocks.Conv2DTranspose(channels, kernel_size, strides=2, padding="same", name=block)(x)
        x = crop(x, sizes[-2 - i], f"{block}_crop")
        x = blocks.normalize_and_activate(x, normalization, activation, block)
    x = blocks.joined([x, *seen[-1:]], f"{name}_logits_seen")
    last = blocks.Conv2D if full_size is not None else functools.partial(blocks.Conv2DTranspose, strides=2)
    logits = last(image_shape[2], kernel_size, padding="same", dtype="float32", name=f"{name}_logits")(x)
    return keras.Model(inputs, crop(logits, sizes[0], f"{name}_logits_crop"), name=name)


def discriminator(
    image_shape: Sequence[int],
    filters: int | Sequence[int] = (32, 64, 128),
    kernel_size: int | Sequence[int] = 4,
    units: int | Sequence[int] = (),
    feature_layer: int | None = None,
    num_outputs: int = 1,
    normalization: Normalization = "none",
    spectral_normalization: bool = False,
    activation: str = "leaky_relu",
    dropout: float = 0.0,
    name: str = "discriminator",
) -> keras.Model:
    """D(x): images `(B, H, W, C)` -> `{"logits": (B, num_outputs), "features": (B, ...)}`.

    Args:
        feature_layer: index into `filters` and then `units` of the layer whose output, before its
            normalisation and activation, is the features that the VAE/GAN reconstructs (Larsen et
            al. 2015 use the third convolution); the last convolution if None.
        num_outputs: 1 for real against fake, K + 1 for classes against fake.
        spectral_normalization: divide every kernel by its spectral norm.
        dropout: share of each dense layer, and of what goes into the first, that is left out in training.
        image_shape, filters, kernel_size, units, normalization, activation, name: as for `encoder`.

    Raises:
        InputError: as of `trunk`; `feature_layer` that is no index of a layer.
    """
    images = keras.Input(blocks.check_image_shape(image_shape), name=f"{name}_images")
    convolution, dense = blocks.convolution(spectral_normalization), blocks.dense(spectral_normalization)
    outputs: list[Tensor] = []
    x = maps_down(images, filters, kernel_size, normalization, activation, name, convolution, outputs)[-1]
    last_convolution = len(outputs) - 1
    x = blocks.flat(x, dropout, name)
    x = blocks.dense_stack(x, units, activation, name, dropout, dense, outputs)
    chosen = last_convolution if feature_layer is None else feature_layer
    return blocks.verdict(images, x, outputs, chosen, num_outputs, dense, name)


def halved_sizes(image_shape: Sequence[int], times: int) -> list[tuple[int, ...]]:
    """Heights and widths after 0, 1, ... `times` halvings, rounded up."""
    sizes = [tuple(image_shape[:2])]
    for _ in range(times):
        sizes.append(tuple(math.ceil(size / 2) for size in sizes[-1]))
    return sizes


def crop(x: Tensor, size: Sequence[int], name: str) -> Tensor:
    """Drop the last row or column where doubling made one too many."""
    surplus = (x.shape[1] - size[0], x.shape[2] - size[1])
    if surplus == (0, 0):
        return x
    edges = tuple((0, extra) for extra in surplus)
    return layers.Cropping2D(edges, data_format=blocks.LAST, dtype=x.dtype, name=name)(x)


def maps_down(
    x: Tensor,
    filters: int | Sequence[int],
    kernel_size: int | Sequence[int],
    kind: Normalization,
    activation: str,
    name: str,
    convolution: Callable[..., layers.Conv2D] = blocks.Conv2D,
    outputs: list[Tensor] | None = None,
) -> list[Tensor]:
    """The maps of strided convolutions, each half as high and wide as the one before.

    `outputs` gets what they give before normalisation, which the first has none of, and activation.
    """
    maps = []
    for i, channels in enumerate(blocks.check_positive("filters", filters)):
        block = f"{name}_conv_{i}"
        x = convolution(channels, kernel_size, strides=2, padding="same", name=block)(x)
        if outputs is not None:
            outputs.append(x)
        x = blocks.normalize_and_activate(x, kind if i else "none", activation, block)
        maps.append(x)
    return maps


def flat_with_labels(parts: Sequence[Tensor], condition: dict[str, Tensor], name: str) -> Tensor:
    """The parts, flattened, and the labels side by side, `(B, F)`."""
    flat = [
        blocks.flatten(part, f"{name}_flatten" + (f"_{i}" if i else "")) if len(part.shape) > 2 else part
        for i, part in enumerate(parts)
    ]
    return blocks.joined([*flat, *([condition["labels"]] if "labels" in condition else [])], f"{name}_joined")
