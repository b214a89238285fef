"""LeNet's convolutions and pooling (LeCun et al. 1998), as Chen, Fang and Ju 2016 have them for M2.

Trunk: 5x5 convolutions, each followed by a pooling that halves height and width, then dense layers. The
decoder turns it round, and learns of the labels behind its convolutions only. The discriminator is such a
trunk. What LeNet does not say (the networks of models that do not sum over classes) is as in `dcgan`.
"""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from keras_vaegan.networks import blocks
from keras_vaegan.networks.blocks import Normalization
from keras_vaegan.networks.dcgan import crop, encoder, flat_with_labels, halved_sizes, prior
from keras_vaegan.typing import Tensor

__all__ = ["decoder", "discriminator", "encoder", "prior", "trunk"]

# Activations that rise with what goes in.
RISING = {"relu", "leaky_relu", "elu", "selu", "sigmoid", "tanh", "softplus", "linear"}


def trunk(
    image_shape: Sequence[int],
    filters: int | Sequence[int] = (20, 50),
    kernel_size: int | Sequence[int] = 5,
    units: int | Sequence[int] = (1024,),
    normalization: Normalization = "none",
    activation: str = "relu",
    dropout: float = 0.0,
    name: str = "trunk",
) -> keras.Model:
    """What the heads of a model share: images `(B, H, W, C)` -> features `(B, F)`.

    Args:
        image_shape: `(H, W, C)`.
        filters: channels of the convolutions.
        kernel_size: of the convolutions.
        units: widths of the dense layers behind them; none for their flat maps.
        normalization: `none`, `batch`, `layer`, `instance`, `group` or `rms`, after each convolution.
        activation: Keras name of the activation.
        dropout: share of each dense layer, and of what goes into the first, that is left out in training.
        name: of the model; prefix of its layers' names.

    Raises:
        InputError: `image_shape` that is not `(H, W, C)` with C from 1 to 16; `filters` or `units` that are
            no positive integers; a normalisation of another name; `dropout` that is no share of at least 0
            and below 1.
    """
    images = keras.Input(blocks.check_image_shape(image_shape), name=f"{name}_images")
    x = _flat_maps(images, filters, kernel_size, normalization, activation, dropout, name, blocks.Conv2D, [])
    return keras.Model(images, blocks.dense_stack(x, units, activation, name, dropout), name=name)


def discriminator(
    image_shape: Sequence[int],
    filters: int | Sequence[int] = (20, 50),
    kernel_size: int | Sequence[int] = 5,
    units: int | Sequence[int] = (1024,),
    feature_layer: int = -1,
    num_outputs: int = 1,
    normalization: Normalization = "none",
    spectral_normalization: bool = False,
    activation: str = "relu",
    dropout: float = 0.0,
    name: str = "discriminator",
) -> keras.Model:
    """D(x): images `(B, H, W, C)` -> `{"logits": (B, num_outputs), "features": (B, ...)}`.

    Args:
        feature_layer: index into `filters` and then `units` of the layer whose output, before its
            normalisation, pooling and activation, is the features that the VAE/GAN reconstructs.
        num_outputs: 1 for real against fake, K + 1 for classes against fake.
        spectral_normalization: divide every kernel by its spectral norm.
        image_shape, filters, kernel_size, units, normalization, activation, dropout, name: as for `trunk`.

    Raises:
        InputError: as of `trunk`; `feature_layer` that is no index of a layer.
    """
    images = keras.Input(blocks.check_image_shape(image_shape), name=f"{name}_images")
    convolution, dense = blocks.convolution(spectral_normalization), blocks.dense(spectral_normalization)
    outputs: list[Tensor] = []
    x = _flat_maps(
        images, filters, kernel_size, normalization, activation, dropout, name, convolution, outputs
    )
    x = blocks.dense_stack(x, units, activation, name, dropout, dense, outputs)
    return blocks.verdict(images, x, outputs, feature_layer, num_outputs, dense, name)


def _flat_maps(
    images: Tensor,
    filters: int | Sequence[int],
    kernel_size: int | Sequence[int],
    normalization: Normalization,
    activation: str,
    dropout: float,
    name: str,
    convolution: Any,
    outputs: list[Tensor],
) -> Tensor:
    """Convolved and pooled to the last maps, flat `(B, F)`; what each convolution gives goes to `outputs`."""
    x = images
    for i, channels in enumerate(blocks.check_positive("filters", filters)):
        block = f"{name}_conv_{i}"
        x = convolution(channels, kernel_size, padding="same", name=block)(x)
        outputs.append(x)
        normalize = blocks.normalization(normalization, f"{block}_norm", x.shape[-1])
        x = pooled(x if normalize is None else normalize(x), activation, block)
    return blocks.flat(x, dropout, name)


def pooled(x: Tensor, activation: str, name: str) -> Tensor:
    """The largest of every 2x2, activated: in that order where it comes to the same, since they are fewer."""
    pool = blocks.MaxPooling2D(2, padding="same", name=f"{name}_pool")
    if activation in RISING:
        return blocks.activate(pool(x), activation, f"{name}_activation")
    return pool(blocks.activate(x, activation, f"{name}_activation"))


def decoder(
    image_shape: Sequence[int],
    latent_dim: int,
    filters: int | Sequence[int] = (50, 20),
    kernel_size: int | Sequence[int] = 5,
    units: int | Sequence[int] = (500,),
    label_units: int | Sequence[int] = (512,),
    activation: str = "relu",
    num_classes: int | None = None,
    given: bool = False,
    name: str = "decoder",
) -> keras.Model:
    """p(x|z, y): codes `(B, Z)` and labels `(B, K)` -> logits `(B, H, W, C)`.

    Args:
        latent_dim: Z.
        filters: channels of the maps, the smallest first; each is doubled in height and width and
            convolved to the next, the last to the image's own channels.
        units: widths of the dense layers before the maps.
        label_units: widths of the dense layers behind them, which see the labels too.
        num_classes: K.
        given: whether it is conditioned on part of the images, which comes in beside the labels.
        image_shape, kernel_size, activation, name: as for `trunk`.

    Raises:
        InputError: `image_shape` as of `trunk`; `latent_dim`, `filters`, `units`, `label_units` or
            `num_classes` that are no positive integers.
    """
    image_shape = blocks.check_image_shape(image_shape)
    filters = blocks.check_positive("filters", filters)
    (latent_dim,) = blocks.check_positive("latent_dim", latent_dim)
    sizes = halved_sizes(image_shape, len(filters))
    inputs, codes, condition = blocks.conditional_inputs(
        "codes", (latent_dim,), image_shape, num_classes, given, name
    )
    x = blocks.dense_stack(codes, units, activation, name)
    x = layers.Dense(math.prod(sizes[-1]) * filters[0], name=f"{name}_project")(x)
    x = layers.Reshape((*sizes[-1], filters[0]), name=f"{name}_map")(x)
    x = blocks.activate(x, activation, f"{name}_project_activation")
    for i, channels in enumerate([*filters[1:], image_shape[2]]):
        block = f"{name}_deconv_{i}"
        x = layers.UpSampling2D(2, data_format=blocks.LAST, name=f"{block}_up")(x)
        x = crop(x, sizes[-2 - i], f"{block}_crop")
        x = blocks.Conv2D(channels, kernel_size, padding="same", name=block)(x)
        x = blocks.activate(x, activation, f"{block}_activation")
    x = flat_with_labels([x, *([condition["given"]] if given else [])], condition, name)
    x = blocks.dense_stack(x, label_units, activation, f"{name}_labelled")
    x = layers.Dense(math.prod(image_shape), dtype="float32", name=f"{name}_logits")(x)
    return keras.Model(
        inputs, layers.Reshape(image_shape, dtype="float32", name=f"{name}_image")(x), name=name
    )
