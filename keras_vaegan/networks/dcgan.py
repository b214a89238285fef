"""Convolutional encoder, decoder and discriminator after DCGAN (Radford et al. 2015).

Strided convolutions down, transposed convolutions up, for any image size: sizes are halved
and rounded up on the way down, and cropped by a pixel where needed on the way up. All are
functional `keras.Model`s built from `image_shape` `(H, W, C)`; images are in [0, 1].
"""

import math
from collections.abc import Sequence

import keras
from keras import layers

from keras_vaegan.networks import blocks
from keras_vaegan.networks.blocks import Normalization
from keras_vaegan.typing import Tensor


def encoder(
    image_shape: Sequence[int],
    latent_dim: int,
    filters: int | Sequence[int] = (32, 64),
    kernel_size: int | Sequence[int] = 4,
    units: int | Sequence[int] = (),
    normalization: Normalization = "none",
    activation: str = "leaky_relu",
    name: str = "encoder",
) -> keras.Model:
    """q(z|x): images `(B, H, W, C)` -> `{"mean", "log_variance"}`, each `(B, Z)`.

    Args:
        image_shape: `(H, W, C)`.
        latent_dim: Z.
        filters: channels of the strided convolutions, each halving height and width.
        kernel_size: of the convolutions.
        units: widths of the dense layers between the convolutions and the code.
        normalization: `none`, `batch`, `layer` or `instance`, after each convolution but the first.
        activation: Keras name of the activation; `leaky_relu` has slope 0.2.
        name: of the model; prefix of its layers' names.
    """
    images = keras.Input(blocks.check_image_shape(image_shape), name=f"{name}_images")
    x = images
    for i, channels in enumerate(blocks.check_positive("filters", filters)):
        block = f"{name}_conv_{i}"
        x = layers.Conv2D(channels, kernel_size, strides=2, padding="same", name=block)(x)
        x = blocks.normalize_and_activate(x, normalization if i else "none", activation, block)
    x = layers.Flatten(name=f"{name}_flatten")(x)
    x = _dense_stack(x, units, activation, name)
    (latent_dim,) = blocks.check_positive("latent_dim", latent_dim)
    return keras.Model(images, blocks.posterior_head(x, latent_dim, name), name=name)


def decoder(
    image_shape: Sequence[int],
    latent_dim: int,
    filters: int | Sequence[int] = (64, 32),
    kernel_size: int | Sequence[int] = 4,
    units: int | Sequence[int] = (),
    normalization: Normalization = "none",
    activation: str = "relu",
    name: str = "decoder",
) -> keras.Model:
    """p(x|z): codes `(B, Z)` -> logits `(B, H, W, C)`.

    The first of `filters` is the channels of the smallest map; each stage doubles height and
    width; the last one makes the image. Other arguments as for `encoder`.
    """
    image_shape = blocks.check_image_shape(image_shape)
    filters = blocks.check_positive("filters", filters)
    (latent_dim,) = blocks.check_positive("latent_dim", latent_dim)
    sizes = _halved_sizes(image_shape, len(filters))
    codes = keras.Input((latent_dim,), name=f"{name}_codes")
    x = _dense_stack(codes, units, activation, name)
    x = layers.Dense(math.prod(sizes[-1]) * filters[0], name=f"{name}_project")(x)
    x = layers.Reshape((*sizes[-1], filters[0]), name=f"{name}_map")(x)
    x = blocks.normalize_and_activate(x, normalization, activation, f"{name}_project")
    for i, channels in enumerate(filters[1:]):
        block = f"{name}_deconv_{i}"
        x = layers.Conv2DTranspose(channels, kernel_size, strides=2, padding="same", name=block)(x)
        x = _crop(x, sizes[-2 - i], f"{block}_crop")
        x = blocks.normalize_and_activate(x, normalization, activation, block)
    x = layers.Conv2DTranspose(
        image_shape[2], kernel_size, strides=2, padding="same", dtype="float32", name=f"{name}_logits"
    )(x)
    return keras.Model(codes, _crop(x, sizes[0], f"{name}_logits_crop"), name=name)


def discriminator(
    image_shape: Sequence[int],
    filters: int | Sequence[int] = (32, 64),
    kernel_size: int | Sequence[int] = 4,
    units: int | Sequence[int] = (),
    feature_layer: int = -1,
    num_outputs: int = 1,
    normalization: Normalization = "none",
    spectral_normalization: bool = False,
    activation: str = "leaky_relu",
    name: str = "discriminator",
) -> keras.Model:
    """D(x): images `(B, H, W, C)` -> `{"logits": (B, num_outputs), "features": (B, ...)}`.

    Args:
        feature_layer: index into `filters` of the convolution whose output, before its
            normalisation and activation, is the features that the VAE/GAN reconstructs
            (Larsen et al. 2015 use the third).
        num_outputs: 1 for real against fake, K + 1 for classes against fake.
        spectral_normalization: divide every kernel by its spectral norm.
        image_shape, filters, kernel_size, units, normalization, activation, name: as for `encoder`.
    """
    images = keras.Input(blocks.check_image_shape(image_shape), name=f"{name}_images")
    convolution, dense = blocks.convolution(spectral_normalization), blocks.dense(spectral_normalization)
    x, outputs = images, []
    for i, channels in enumerate(blocks.check_positive("filters", filters)):
        block = f"{name}_conv_{i}"
        x = convolution(channels, kernel_size, strides=2, padding="same", name=block)(x)
        outputs.append(x)
        x = blocks.normalize_and_activate(x, normalization if i else "none", activation, block)
    x = layers.Flatten(name=f"{name}_flatten")(x)
    x = _dense_stack(x, units, activation, name, dense)
    logits = dense(num_outputs, dtype="float32", name=f"{name}_logits")(x)
    features = blocks.feature_output(outputs, feature_layer, name)
    return keras.Model(images, {"logits": logits, "features": features}, name=name)


def _halved_sizes(image_shape: Sequence[int], times: int) -> list[tuple[int, ...]]:
    """Heights and widths after 0, 1, ... `times` halvings, rounded up."""
    sizes = [tuple(image_shape[:2])]
    for _ in range(times):
        sizes.append(tuple(math.ceil(size / 2) for size in sizes[-1]))
    return sizes


def _crop(x: Tensor, size: Sequence[int], name: str) -> Tensor:
    """Drop the last row or column where doubling made one too many."""
    surplus = (x.shape[1] - size[0], x.shape[2] - size[1])
    if surplus == (0, 0):
        return x
    return layers.Cropping2D(tuple((0, extra) for extra in surplus), dtype=x.dtype, name=name)(x)


def _dense_stack(
    x: Tensor,
    units: int | Sequence[int],
    activation: str,
    name: str,
    dense: type[layers.Dense] = layers.Dense,
) -> Tensor:
    for i, width in enumerate(blocks.check_positive("units", units) if units else ()):
        x = dense(width, name=f"{name}_dense_{i}")(x)
        x = blocks.activate(x, activation, f"{name}_dense_{i}_activation")
    return x
