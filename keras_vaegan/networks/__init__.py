"""Encoders, decoders and discriminators: functional Keras models built from an image shape."""

from keras_vaegan.networks import dcgan, draw, efficientnet_lite, heads, lenet, mlp, patch
from keras_vaegan.networks.blocks import SpectralConv2D, SpectralDense

FAMILIES = {"mlp": mlp, "dcgan": dcgan, "lenet": lenet, "draw": draw, "patch": patch}

__all__ = [
    "FAMILIES",
    "SpectralConv2D",
    "SpectralDense",
    "dcgan",
    "draw",
    "efficientnet_lite",
    "heads",
    "lenet",
    "mlp",
    "patch",
]
