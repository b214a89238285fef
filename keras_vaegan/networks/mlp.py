"""Fully connected encoder, decoder and discriminator.

All are functional `keras.Model`s built from `image_shape` `(H, W, C)`; images are in [0, 1].
"""

import math
from collections.abc import Sequence

import keras
from keras import layers

from keras_vaegan.networks import blocks
from keras_vaegan.typing import Tensor


def encoder(
    image_shape: Sequence[int],
    latent_dim: int,
    units: int | Sequence[int] = (512, 256),
    activation: str = "relu",
    name: str = "encoder",
) -> keras.Model:
    """q(z|x): images `(B, H, W, C)` -> `{"mean", "log_variance"}`, each `(B, Z)`.

    Args:
        image_shape: `(H, W, C)`.
        latent_dim: Z.
        units: widths of the hidden layers.
        activation: Keras name of the hidden layers' activation.
        name: of the model; prefix of its layers' names.
    """
    images, x = _flat_images(image_shape, name)
    x = _hidden(x, units, activation, name)
    (latent_dim,) = blocks.check_positive("latent_dim", latent_dim)
    return keras.Model(images, blocks.posterior_head(x, latent_dim, name), name=name)


def decoder(
    image_shape: Sequence[int],
    latent_dim: int,
    units: int | Sequence[int] = (256, 512),
    activation: str = "relu",
    name: str = "decoder",
) -> keras.Model:
    """p(x|z): codes `(B, Z)` -> logits `(B, H, W, C)`. Arguments as for `encoder`."""
    image_shape = blocks.check_image_shape(image_shape)
    (latent_dim,) = blocks.check_positive("latent_dim", latent_dim)
    codes = keras.Input((latent_dim,), name=f"{name}_codes")
    x = _hidden(codes, units, activation, name)
    x = layers.Dense(math.prod(image_shape), dtype="float32", name=f"{name}_logits")(x)
    x = layers.Reshape(image_shape, dtype="float32", name=f"{name}_image")(x)
    return keras.Model(codes, x, name=name)


def discriminator(
    image_shape: Sequence[int],
    units: int | Sequence[int] = (512, 256),
    feature_layer: int = -1,
    num_outputs: int = 1,
    activation: str = "leaky_relu",
    spectral_normalization: bool = False,
    name: str = "discriminator",
) -> keras.Model:
    """D(x): images `(B, H, W, C)` -> `{"logits": (B, num_outputs), "features": (B, F)}`.

    Args:
        image_shape: `(H, W, C)`.
        units: widths of the hidden layers.
        feature_layer: index into `units` of the layer whose output, before its activation,
            is the features that the VAE/GAN reconstructs.
        num_outputs: 1 for real against fake, K + 1 for classes against fake.
        activation: Keras name of the hidden layers' activation.
        spectral_normalization: divide every kernel by its spectral norm.
        name: of the model; prefix of its layers' names.
    """
    images, x = _flat_images(image_shape, name)
    dense, outputs = blocks.dense(spectral_normalization), []
    for i, width in enumerate(blocks.check_positive("units", units)):
        x = dense(width, name=f"{name}_dense_{i}")(x)
        outputs.append(x)
        x = blocks.activate(x, activation, f"{name}_dense_{i}_activation")
    logits = dense(num_outputs, dtype="float32", name=f"{name}_logits")(x)
    features = blocks.feature_output(outputs, feature_layer, name)
    return keras.Model(images, {"logits": logits, "features": features}, name=name)


def _flat_images(image_shape: Sequence[int], name: str) -> tuple[Tensor, Tensor]:
    images = keras.Input(blocks.check_image_shape(image_shape), name=f"{name}_images")
    return images, layers.Flatten(name=f"{name}_flatten")(images)


def _hidden(x: Tensor, units: int | Sequence[int], activation: str, name: str) -> Tensor:
    for i, width in enumerate(blocks.check_positive("units", units)):
        x = layers.Dense(width, name=f"{name}_dense_{i}")(x)
        x = blocks.activate(x, activation, f"{name}_dense_{i}_activation")
    return x
