"""The models: one short file each."""

import keras_vaegan.networks  # noqa: F401 - Keras finds the layers of a saved model by their registration
from keras_vaegan.models.cvae import CVAE
from keras_vaegan.models.cvae_gan import CVAEGAN
from keras_vaegan.models.draw import DRAW
from keras_vaegan.models.draw_gan import DRAWGAN
from keras_vaegan.models.latent import LatentVariableModel
from keras_vaegan.models.semi_supervised import SemiSupervisedVAE
from keras_vaegan.models.semi_supervised_gan import SemiSupervisedVAEGAN
from keras_vaegan.models.stacked_semi_supervised import StackedSemiSupervisedVAE
from keras_vaegan.models.vae import VAE
from keras_vaegan.models.vae_gan import VAEGAN

# Keys of the command line and of the presets.
MODELS: dict[str, type[LatentVariableModel]] = {
    "vae": VAE,
    "cvae": CVAE,
    "completion_cvae": CVAE,
    "vae_gan": VAEGAN,
    "cvae_gan": CVAEGAN,
    "draw": DRAW,
    "conditional_draw": DRAW,
    "draw_gan": DRAWGAN,
    "conditional_draw_gan": DRAWGAN,
    "ssl_vae": SemiSupervisedVAE,
    "ssl_vae_gan": SemiSupervisedVAEGAN,
    "stacked_ssl_vae": StackedSemiSupervisedVAE,
}

__all__ = [
    "CVAE",
    "CVAEGAN",
    "DRAW",
    "DRAWGAN",
    "MODELS",
    "VAE",
    "VAEGAN",
    "SemiSupervisedVAE",
    "SemiSupervisedVAEGAN",
    "StackedSemiSupervisedVAE",
]
