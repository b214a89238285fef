"""Tiny models that the tests of properties run over: a new model is one more line in `MODELS`."""

import functools

import numpy as np

import keras_vaegan as kvg
from keras_vaegan.networks import dcgan, mlp

IMAGE_SHAPE = (2, 3, 1)
LATENT_DIM = 2
BATCH = 4


def smooth_networks(image_shape, adversarial, spectral=False):
    """Fully connected networks that are smooth functions of their weights."""
    arguments = {"units": (5,), "activation": "tanh"}
    networks = [
        mlp.encoder(image_shape, LATENT_DIM, **arguments),
        mlp.decoder(image_shape, LATENT_DIM, **arguments),
    ]
    if adversarial:
        judge = mlp.discriminator(
            image_shape, units=(6, 4), activation="softplus", spectral_normalization=spectral
        )
        networks.append(judge)
    return networks


def vae(image_shape=IMAGE_SHAPE, **arguments):
    """A fully connected VAE."""
    return kvg.VAE(*smooth_networks(image_shape, adversarial=False), **arguments)


def vae_gan(image_shape=IMAGE_SHAPE, spectral=False, **arguments):
    """A fully connected VAE/GAN."""
    return kvg.VAEGAN(*smooth_networks(image_shape, adversarial=True, spectral=spectral), **arguments)


def convolutional_vae_gan(image_shape=IMAGE_SHAPE, **arguments):
    """A convolutional VAE/GAN with batch normalisation in all networks."""
    shared = {"filters": (2, 3), "normalization": "batch", "activation": "leaky_relu"}
    return kvg.VAEGAN(
        dcgan.encoder(image_shape, LATENT_DIM, **shared),
        dcgan.decoder(image_shape, LATENT_DIM, **shared),
        dcgan.discriminator(image_shape, **shared),
        **arguments,
    )


# Name -> builder and its arguments, without the image shape.
ARGUMENTS = {
    "vae": (vae, {}),
    "vae_gaussian": (vae, {"likelihood": "gaussian", "noise_scale": 0.3, "beta": 0.5}),
    "vae_gan": (vae_gan, {"gamma": 0.7, "pixel_weight": 0.2}),
    "vae_gan_three_players": (vae_gan, {"three_players": True, "beta": 0.5, "label_smoothing": 0.1}),
    "vae_gan_r1_spectral": (vae_gan, {"r1": 2.0, "spectral": True}),
    "vae_gan_convolutional": (convolutional_vae_gan, {}),
}

# Name -> function that builds the model, for an image shape.
MODELS = {name: functools.partial(build, **kwargs) for name, (build, kwargs) in ARGUMENTS.items()}

ADVERSARIAL = [name for name in MODELS if name.startswith("vae_gan")]

# The models that `reference.losses` transcribes, with its arguments.
TRANSCRIBED = {
    name: kwargs for name, (build, kwargs) in ARGUMENTS.items() if build is not convolutional_vae_gan
}


def images(count=BATCH, image_shape=IMAGE_SHAPE, seed=0):
    """Random images `(count, H, W, C)` float32 in [0, 1]."""
    return np.random.default_rng(seed).random((count, *image_shape), dtype="float32")


def noise(count=BATCH, seed=1):
    """Two draws `(count, Z)`: for the posterior and, in the adversarial models, for the prior."""
    return np.random.default_rng(seed).standard_normal((2, count, LATENT_DIM), dtype="float32")


def set_weights(model, seed=2):
    """Give the model weights that are the same on every backend; return it."""
    generator = np.random.default_rng(seed)
    for variable in sorted(model.trainable_variables, key=lambda variable: variable.path):
        variable.assign(generator.normal(0.0, 0.6, variable.shape).astype("float32"))
    return model
