"""Encoders, decoders and discriminators: functional Keras models built from an image shape."""

from keras_vaegan.networks import dcgan, draw, efficientnet_lite, heads, lenet, mlp, patch, resnet
from keras_vaegan.networks.blocks import SpectralConv2D, SpectralDense
from keras_vaegan.networks.resnet import PadToMultiple

FAMILIES = {"mlp": mlp, "dcgan": dcgan, "lenet": lenet, "draw": draw, "patch": patch, "resnet": resnet}

__all__ = [
    "FAMILIES",
    "PadToMultiple",
    "SpectralConv2D",
    "SpectralDense",
    "dcgan",
    "draw",
    "efficientnet_lite",
    "heads",
    "lenet",
    "mlp",
    "patch",
    "resnet",
]
