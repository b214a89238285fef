"""The models: one short file each, which registers itself in `keras_vaegan.registry`."""

import keras_vaegan.networks  # noqa: F401 - Keras finds the layers of a saved model by their registration
from keras_vaegan.models.cvae import CVAE
from keras_vaegan.models.cvae_gan import CVAEGAN
from keras_vaegan.models.draw import DRAW
from keras_vaegan.models.draw_gan import DRAWGAN
from keras_vaegan.models.semi_supervised import SemiSupervisedVAE
from keras_vaegan.models.semi_supervised_gan import SemiSupervisedVAEGAN
from keras_vaegan.models.stacked_semi_supervised import StackedSemiSupervisedVAE
from keras_vaegan.models.vae import VAE
from keras_vaegan.models.vae_gan import VAEGAN

__all__ = [
    "CVAE",
    "CVAEGAN",
    "DRAW",
    "DRAWGAN",
    "VAE",
    "VAEGAN",
    "SemiSupervisedVAE",
    "SemiSupervisedVAEGAN",
    "StackedSemiSupervisedVAE",
]
