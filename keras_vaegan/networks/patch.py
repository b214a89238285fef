"""A discriminator that judges patches (PatchGAN, Isola et al. 2017, section 3.2.2)."""

from collections.abc import Sequence

import keras
from keras import layers

from keras_vaegan.networks import blocks
from keras_vaegan.networks.blocks import Normalization
from keras_vaegan.networks.dcgan import maps_down
from keras_vaegan.typing import Tensor


def discriminator(
    image_shape: Sequence[int],
    filters: int | Sequence[int] = (32, 64, 128),
    kernel_size: int | Sequence[int] = 4,
    feature_layer: int | None = None,
    num_outputs: int = 1,
    normalization: Normalization = "none",
    spectral_normalization: bool = False,
    activation: str = "leaky_relu",
    name: str = "discriminator",
) -> keras.Model:
    """D(x): images `(B, H, W, C)` -> `{"logits": (B, h, w, num_outputs), "features": (B, ...)}`.

    Each convolution halves height and width. A last convolution gives the logits, each of the patch of the
    image that it sees; losses are averaged over them. So D judges texture, and its size does not depend on
    that of the image.

    Args:
        image_shape: `(H, W, C)`.
        filters: of the convolutions.
        kernel_size: of all convolutions.
        feature_layer: index into `filters` of the layer whose output, before normalization and activation,
            is the features that the VAE/GAN reconstructs; the last if None.
        num_outputs: 1 for real against fake, K + 1 for classes against fake.
        normalization: of all layers but the first: `none`, `batch`, `layer` or `instance`.
        spectral_normalization: divide every kernel by its spectral norm.
        activation: Keras name of the activation.
        name: of the model; prefix of its layers' names.

    Raises:
        InputError: sizes that are no positive integers, `feature_layer` that is no index of a layer.
    """
    images = keras.Input(blocks.check_image_shape(image_shape), name=f"{name}_images")
    convolution = blocks.convolution(spectral_normalization)
    outputs: list[Tensor] = []
    x = maps_down(images, filters, kernel_size, normalization, activation, name, convolution, outputs)[-1]
    (channels,) = blocks.check_positive("num_outputs", num_outputs)
    x = convolution(channels, kernel_size, padding="same", name=f"{name}_logits")(x)
    logits = layers.Activation("linear", dtype="float32", name=f"{name}_map")(x)
    chosen = len(outputs) - 1 if feature_layer is None else feature_layer
    features = blocks.feature_output(outputs, chosen, name)
    return keras.Model(images, {"logits": logits, "features": features}, name=name)
