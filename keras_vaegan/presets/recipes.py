"""Recipes: how each named model is built and trained, as plain configuration one can read.

A recipe's sections: `model` (key of the model and its arguments), `networks` (family, size
of the code, arguments of each network), `optimizer` (by player), `training` (data set,
epochs, batch), and in words its `source` and what to `expect`.
"""

from typing import Any

# Model keys, as the command line and the presets' names have them.
MODEL_KEYS: dict[str, str] = {
    "vae": "variational auto-encoder (Kingma and Welling 2014)",
    "vae_gan": "VAE with a discriminator's features as reconstruction loss (Larsen et al. 2015)",
}

# `(H, W, C)` of the data sets that recipes name.
IMAGE_SHAPES: dict[str, tuple[int, int, int]] = {"digits": (28, 28, 1), "mnist": (28, 28, 1)}

DIGITS_TRAINING = {"dataset": "digits", "epochs": 80, "batch_size": 32}
MNIST_TRAINING = {"dataset": "mnist", "epochs": 8, "batch_size": 128}

# Keras averages the weights along the training and puts the averages in place at its end. With batch
# normalisation they must not reach further back than its statistics: those are of the weights that moved.
AVERAGED = {"use_ema": True, "ema_momentum": 0.995}
AVERAGED_WITH_STATISTICS = {"use_ema": True, "ema_momentum": 0.99}

RECIPES: dict[str, dict[str, Any]] = {
    "vae_digits": {
        "model": {"key": "vae"},
        "networks": {
            "family": "dcgan",
            "latent_dim": 8,
            "encoder": {"filters": [32, 64]},
            "decoder": {"filters": [64, 32]},
        },
        "optimizer": {"generator": {"class": "Adam", "learning_rate": 1e-3, **AVERAGED}},
        "training": DIGITS_TRAINING,
        "source": "Kingma and Welling 2014, with convolutional networks",
        "expect": "blurred digits of all ten classes",
    },
    "vae_mnist": {
        "model": {"key": "vae"},
        "networks": {
            "family": "dcgan",
            "latent_dim": 16,
            "encoder": {"filters": [32, 64], "units": [256]},
            "decoder": {"filters": [64, 32], "units": [256], "normalization": "batch"},
        },
        "optimizer": {"generator": {"class": "Adam", "learning_rate": 1e-3, **AVERAGED_WITH_STATISTICS}},
        "training": MNIST_TRAINING,
        "source": "Kingma and Welling 2014, with convolutional networks",
        "expect": "blurred digits of all ten classes",
    },
    "vae_gan_digits": {
        "model": {"key": "vae_gan"},
        "networks": {
            "family": "dcgan",
            "latent_dim": 8,
            "encoder": {"filters": [32, 64]},
            "decoder": {"filters": [64, 32]},
            "discriminator": {"filters": [32, 64]},
        },
        "optimizer": {
            "generator": {"class": "Adam", "learning_rate": 5e-4, "beta_1": 0.5, **AVERAGED},
            "discriminator": {"class": "Adam", "learning_rate": 5e-4, "beta_1": 0.5},
        },
        "training": DIGITS_TRAINING,
        "source": "Chen, Fang and Ju 2016, L_G and L_D; networks after DCGAN",
        "expect": "digits of all ten classes, as sharp as the scaled images are",
    },
    "vae_gan_mnist": {
        "model": {"key": "vae_gan", "gamma": 0.1, "beta": 0.5},
        "networks": {
            "family": "dcgan",
            "latent_dim": 16,
            "encoder": {"filters": [32, 64], "units": [256]},
            "decoder": {"filters": [64, 32], "units": [256], "normalization": "batch"},
            "discriminator": {"filters": [32, 64], "spectral_normalization": True},
        },
        "optimizer": {
            "generator": {"class": "Adam", "learning_rate": 1e-3, "beta_1": 0.5, **AVERAGED_WITH_STATISTICS},
            "discriminator": {"class": "Adam", "learning_rate": 1e-3, "beta_1": 0.5},
        },
        "training": MNIST_TRAINING,
        "source": "Chen, Fang and Ju 2016, L_G and L_D; networks after DCGAN",
        "expect": "digits of all ten classes, as sharp as the real images",
    },
}
