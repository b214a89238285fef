"""Images for training: embedded digits, TFDS sets, image folders and files of arrays; and latent codes."""

from keras_vaegan.data.batches import Batches
from keras_vaegan.data.checks import check_images
from keras_vaegan.data.codes import Codes
from keras_vaegan.data.masks import check_mask, named_mask, read_mask
from keras_vaegan.data.preprocessing import Preprocessing
from keras_vaegan.data.sources import ImageData, load, load_pictures
from keras_vaegan.data.splits import semi_supervised_split

__all__ = [
    "Batches",
    "Codes",
    "ImageData",
    "Preprocessing",
    "check_images",
    "check_mask",
    "load",
    "load_pictures",
    "named_mask",
    "read_mask",
    "semi_supervised_split",
]
