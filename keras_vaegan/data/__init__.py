"""Images for training: embedded digits, TFDS sets, image folders and `.npz` files."""

from keras_vaegan.data.batches import Batches
from keras_vaegan.data.checks import check_images
from keras_vaegan.data.sources import ImageData, load

__all__ = ["Batches", "ImageData", "check_images", "load"]
