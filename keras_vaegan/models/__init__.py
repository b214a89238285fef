"""The models: one short file each."""

from keras_vaegan.models.latent import LatentVariableModel
from keras_vaegan.models.vae import VAE
from keras_vaegan.models.vae_gan import VAEGAN

# Keys of the command line and of the presets.
MODELS: dict[str, type[LatentVariableModel]] = {"vae": VAE, "vae_gan": VAEGAN}

__all__ = ["MODELS", "VAE", "VAEGAN"]
