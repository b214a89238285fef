"""Fully connected encoder, decoder, prior and discriminator.

All are functional `keras.Model`s built from `image_shape` `(H, W, C)`; images are in [0, 1]. A
conditional network takes a dictionary: beside `images` or `codes` the one-hot `labels` `(B, K)`, if
`num_classes` is K, and the visible part of the images `given` `(B, H, W, C + 1)`, if asked.
"""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from keras_vaegan.errors import InputError
from keras_vaegan.networks import blocks
from keras_vaegan.typing import Tensor


def encoder(
    image_shape: Sequence[int],
    latent_dim: int,
    units: int | Sequence[int] = (512, 256),
    activation: str = "relu",
    num_classes: int | None = None,
    given: bool = False,
    name: str = "encoder",
) -> keras.Model:
    """q(z|x): images `(B, H, W, C)` -> `{"mean", "log_variance"}`, each `(B, Z)`.

    Args:
        image_shape: `(H, W, C)`.
        latent_dim: Z.
        units: widths of the hidden layers.
        activation: Keras name of the hidden layers' activation.
        num_classes: K, of a network that is conditioned on labels.
        given: whether it is conditioned on part of the images.
        name: of the model; prefix of its layers' names.

    Raises:
        InputError: `image_shape` that is not `(H, W, C)` with C from 1 to 16; `latent_dim`, `units` or
            `num_classes` that are no positive integers; no units.
    """
    image_shape = blocks.check_image_shape(image_shape)
    inputs, images, condition = blocks.conditional_inputs(
        "images", image_shape, image_shape, num_classes, given, name
    )
    x = blocks.flatten(images, f"{name}_flatten")
    x = _hidden(_with_condition([x], condition, name), units, activation, name)
    (latent_dim,) = blocks.check_positive("latent_dim", latent_dim)
    return keras.Model(inputs, blocks.posterior_head(x, latent_dim, name), name=name)


def trunk(
    image_shape: Sequence[int],
    units: int | Sequence[int] = (512, 256),
    activation: str = "relu",
    dropout: float = 0.0,
    name: str = "trunk",
) -> keras.Model:
    """What the heads of a model share: images `(B, H, W, C)` -> features `(B, F)`.

    Args:
        dropout: share of each layer that is left out in training.
        image_shape, units, activation, name: as for `encoder`.

    Raises:
        InputError: as of `encoder`; `dropout` that is no share of at least 0 and below 1.
    """
    images = keras.Input(blocks.check_image_shape(image_shape), name=f"{name}_images")
    x = blocks.flatten(images, f"{name}_flatten")
    return keras.Model(images, _hidden(x, units, activation, name, dropout=dropout), name=name)


def prior(
    image_shape: Sequence[int],
    latent_dim: int,
    units: int | Sequence[int] = (256,),
    activation: str = "relu",
    num_classes: int | None = None,
    given: bool = False,
    name: str = "prior",
) -> keras.Model:
    """p(z|condition), learned: -> `{"mean", "log_variance"}`, each `(B, Z)`; arguments as for `encoder`.

    Raises `InputError` as that does, and where there are neither classes nor a given part to be conditioned
    on.
    """
    condition = blocks.condition_inputs(blocks.check_image_shape(image_shape), num_classes, given)
    if not condition:
        raise InputError("num_classes or given must be set: a prior is learned as a function of something.")
    x = _hidden(_with_condition([], condition, name), units, activation, name)
    (latent_dim,) = blocks.check_positive("latent_dim", latent_dim)
    return keras.Model(condition, blocks.posterior_head(x, latent_dim, name), name=name)


def decoder(
    image_shape: Sequence[int],
    latent_dim: int,
    units: int | Sequence[int] = (256, 512),
    activation: str = "relu",
    num_classes: int | None = None,
    given: bool = False,
    name: str = "decoder",
) -> keras.Model:
    """p(x|z): codes `(B, Z)` -> logits `(B, H, W, C)`. Arguments, and `InputError`, as for `encoder`."""
    image_shape = blocks.check_image_shape(image_shape)
    (latent_dim,) = blocks.check_positive("latent_dim", latent_dim)
    inputs, codes, condition = blocks.conditional_inputs(
        "codes", (latent_dim,), image_shape, num_classes, given, name
    )
    x = _hidden(_with_condition([codes], condition, name), units, activation, name)
    x = layers.Dense(math.prod(image_shape), dtype="float32", name=f"{name}_logits")(x)
    x = layers.Reshape(image_shape, dtype="float32", name=f"{name}_image")(x)
    return keras.Model(inputs, x, name=name)


def discriminator(
    image_shape: Sequence[int],
    units: int | Sequence[int] = (512, 256),
    feature_layer: int = -1,
    num_outputs: int = 1,
    activation: str = "leaky_relu",
    spectral_normalization: bool = False,
    dropout: float = 0.0,
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
        dropout: share of each hidden layer that is left out in training.
        name: of the model; prefix of its layers' names.

    Raises:
        InputError: as of `trunk`; `feature_layer` that is no index of a layer.
    """
    images = keras.Input(blocks.check_image_shape(image_shape), name=f"{name}_images")
    x = blocks.flatten(images, f"{name}_flatten")
    dense = blocks.dense(spectral_normalization)
    outputs: list[Tensor] = []
    x = _hidden(x, units, activation, name, dropout=dropout, dense=dense, outputs=outputs)
    return blocks.verdict(images, x, outputs, feature_layer, num_outputs, dense, name)


def _with_condition(parts: list[Tensor], condition: dict[str, Tensor], name: str) -> Tensor:
    """Flat parts, the labels and the flattened given part side by side, `(B, F)`."""
    if "labels" in condition:
        parts = [*parts, condition["labels"]]
    if "given" in condition:
        parts = [*parts, blocks.flatten(condition["given"], f"{name}_given_flatten")]
    return blocks.joined(parts, f"{name}_joined")


def _hidden(x: Tensor, units: int | Sequence[int], activation: str, name: str, **settings: Any) -> Tensor:
    """At least one dense layer; `settings` are those of `blocks.dense_stack`."""
    return blocks.dense_stack(x, blocks.check_positive("units", units), activation, name, **settings)
