"""Recipes: how each named model is built and trained, as plain configuration one can read.

A recipe's sections: `model` (key of the model and its arguments), `networks` (family, size
of the code, what they are conditioned on, arguments of each network, which may be of another family; a
`prior` is learned where it stands, else N(0, I)), `optimizer` (by player), `training` (data set, epochs,
batch; how many labels are kept where a model can do with few), and in words its `source` and what to
`expect`. The length of a training is a number of `epochs` or of `steps`, one of the two.
"""

import math
from collections.abc import Sequence
from typing import Any

# Model keys, as the command line and the presets' names have them.
MODEL_KEYS: dict[str, str] = {
    "vae": "variational auto-encoder (Kingma and Welling 2014)",
    "cvae": "VAE conditioned on class labels (Sohn et al. 2015)",
    "completion_cvae": "VAE conditioned on the visible part of an image (Sohn et al. 2015)",
    "vae_gan": "VAE with a discriminator's features as reconstruction loss (Larsen et al. 2015)",
    "cvae_gan": "conditional VAE with a discriminator over K + 1 classes (Chen, Fang and Ju 2016)",
    "draw": "DRAW, which draws an image step by step (Gregor et al. 2015)",
    "conditional_draw": "DRAW conditioned on class labels (Chen, Fang and Ju 2016)",
    "draw_gan": "DRAW with a discriminator on its canvases (Chen, Fang and Ju 2016)",
    "conditional_draw_gan": "DRAW-GAN conditioned on labels, with K + 1 classes (Chen, Fang and Ju 2016)",
    "stacked_ssl_vae": "M1+M2, the semi-supervised VAE on the codes of a trained VAE (Kingma et al. 2014)",
    "ssl_vae_gan": "M2 with a discriminator over K + 1 classes (Chen, Fang and Ju 2016)",
    "ssl_vae": "semi-supervised VAE, M2, which learns classes from few labels (Kingma et al. 2014)",
}

# `(H, W, C)` and the number of classes of the data sets that recipes name.
DATA_SETS: dict[str, tuple[tuple[int, int, int], int | None]] = {
    "digits": ((28, 28, 1), 10),
    "mnist": ((28, 28, 1), 10),
    "mnist_small": ((28, 28, 1), 10),
    "cifar10": ((32, 32, 3), 10),
    "celeb_a": ((64, 64, 3), None),
    "fruits": ((64, 64, 3), 3),
    "emoji": ((64, 64, 4), 10),
}

# The data set of a command that names none, and those of the same form that its recipes are for, too.
DEFAULT_DATASET = "mnist_small"
TRAINED_ALIKE = {"digits": DEFAULT_DATASET}

MNIST_TRAINING = {"dataset": "mnist", "epochs": 8, "batch_size": 128}
LONGER_TRAINING = {**MNIST_TRAINING, "epochs": 12}
DRAWN_MNIST_TRAINING = {**MNIST_TRAINING, "epochs": 30}
COMPLETION_TRAINING = {**MNIST_TRAINING, "epochs": 16}
SEMI_SUPERVISED_TRAINING = {
    "dataset": "mnist",
    "epochs": 12,
    "batch_size": 64,
    "num_labels": 1000,
    "labelled_share": 0.25,
}
# A network without the dense layers and the normalization that those of `dcgan` have by default.
PLAIN = {"units": [], "normalization": "none"}
LENET_TRUNK = {"family": "lenet", "filters": [16, 32]}
CIFAR_TRAINING = {"dataset": "cifar10", "augment": "flip", "epochs": 70, "batch_size": 64}

# Images trained on, those held out left out: of cifar10 10,000 were at hand.
TRAINING_IMAGES = {"mnist": 55_000, "mnist_small": 10_000, "cifar10": 9_000}


def cosine(rate: float) -> dict[str, Any]:
    """A learning rate that falls to a fiftieth along half a cosine (Loshchilov and Hutter 2017).

    Without `decay_steps` it ends where the training does.
    """
    return {"class": "CosineDecay", "initial_learning_rate": rate, "alpha": 0.02}


def num_steps(training: dict[str, Any], num_images: int) -> int:
    """Steps of a whole training, from its section of the recipe and the images trained on."""
    if training.get("steps") is not None:
        return training["steps"]
    batch_size = training["batch_size"]
    parts = [(num_images, batch_size)]
    if (labels := training.get("num_labels")) is not None:  # an epoch passes over the part of more batches
        labelled = round(training["labelled_share"] * batch_size)
        parts = [(num_images - labels, batch_size - labelled), (labels, labelled)]
    return training["epochs"] * max(math.ceil(images / share) for images, share in parts)


def short_training(steps: int, **settings: Any) -> dict[str, Any]:
    """A training on the embedded digits, of a few minutes on two processor cores."""
    return {"dataset": DEFAULT_DATASET, "steps": steps, "batch_size": 64, **settings}


def convolutional(width: int, labels: bool = False, judged: bool = False) -> dict[str, Any]:
    """Networks for digits, of so many filters at half the image's size, with a discriminator or without."""
    return {
        "family": "dcgan",
        "latent_dim": 16,
        **({"condition": ["labels"]} if labels else {}),
        "encoder": {"filters": [width, 2 * width], "units": [256]},
        "decoder": {"filters": [2 * width, width], "units": [256], "normalization": "batch"},
        **({"discriminator": {"filters": [width, 2 * width, 4 * width]}} if judged else {}),
    }


# Keras averages the weights along the training and puts the averages in place at its end. With batch
# normalisation they must not reach further back than its statistics: those are of the weights that moved.
AVERAGED = {"use_ema": True, "ema_momentum": 0.995}
AVERAGED_WITH_STATISTICS = {"use_ema": True, "ema_momentum": 0.99}


def players(generator: float, discriminator: float) -> dict[str, Any]:
    """Adam for both players of a hybrid, with rates that fall along the training."""
    return {
        "generator": {
            "class": "Adam",
            "learning_rate": cosine(generator),
            "beta_1": 0.5,
            **AVERAGED_WITH_STATISTICS,
        },
        "discriminator": judge(cosine(discriminator)),
    }


def clipped(rate: Any, **settings: Any) -> dict[str, Any]:
    """Adam for a model that runs through many steps, whose gradients may explode (Gregor et al. 2015)."""
    return {"class": "Adam", "learning_rate": rate, **settings, "global_clipnorm": 10.0, **AVERAGED}


def judge(rate: Any) -> dict[str, Any]:
    """Adam for a discriminator (Radford et al. 2015)."""
    return {"class": "Adam", "learning_rate": rate, "beta_1": 0.5}


def drawing(
    latent_dim: int,
    units: int,
    glimpse: int,
    labels: bool = False,
    judged_by: list[int] | None = None,
    spectral: bool = True,
) -> dict[str, Any]:
    """Networks of a DRAW, and filters of the discriminator of its canvases, spectrally normalised or not."""
    discriminator = {"filters": judged_by, "spectral_normalization": spectral}
    return {
        "family": "draw",
        "latent_dim": latent_dim,
        **({"condition": ["labels"]} if labels else {}),
        "encoder": {"units": units, "glimpse": glimpse},
        "decoder": {"units": units, "glimpse": glimpse},
        **({"discriminator": discriminator} if judged_by else {}),
    }


def short_drawing(components: int) -> dict[str, Any]:
    """Settings of a DRAW of few steps, whose codes are few numbers and so take a mixture as prior."""
    return {"steps": 4, "prior": {"class": "mixture", "components": components}}


FINE_SIDE = 128  # up to which spatial codes have a quarter of the image's height and width, not an eighth
SPATIAL_SOURCE = "Esser et al. 2021, Rombach et al. 2022"  # of autoencoders with spatial latent codes
PERCEPTUAL_CHANNELS = (1, 3, 4)  # of images that the perceptual network takes


def autoencoder(key: str, image_shape: Sequence[int]) -> dict[str, Any]:
    """A VAE/GAN whose codes are maps, whose KL is small, and whose D judges patches; without its training.

    Weights are those of Rombach et al. 2022, appendix G: 1 for L1 and for the perceptual loss of each pixel,
    1e-6 for the KL. That of the adaptive game is smaller, 0.1: it balances gradients at x~, where those of D
    are alike at neighboring pixels and so move the decoder more than those of L1, whose signs alternate. With
    0.5 reconstructions break when D starts. D has batch normalization as there. A spectral norm lets D change
    no more than its image does, so that it cannot tell x from a x~ that is close to it.
    """
    side, channels = max(image_shape[:2]), image_shape[2]
    labels = key == "cvae_gan"
    networks = {"size": "small", "factor": 4 if side <= FINE_SIDE else 8}
    losses = {"features": 0.0, "pixels": 0.0, "l1": 1.0}
    if channels in PERCEPTUAL_CHANNELS:
        losses["perceptual"] = 1.0
    game = {"class": "hinge", "weight": 0.1, "adaptive": True, "start": 0, "warm_up": 0}
    return {
        "model": {
            "key": key,
            "beta": 1e-6,
            "fakes_from": "none",
            "reconstruction": losses,
            "game": game | ({"label_weight": 0.5} if labels else {}),
        },
        "networks": {
            "family": "resnet",
            "latent_dim": 4,
            **({"condition": ["labels"]} if labels else {}),
            "encoder": dict(networks),
            "decoder": dict(networks),
            "discriminator": {
                "family": "patch",
                "receptive_field": 34 if side <= FINE_SIDE else 70,
                "normalization": "batch",
            },
        },
        "optimizer": {
            "generator": {"class": "Adam", "learning_rate": cosine(1e-3), "beta_1": 0.5, **AVERAGED},
            "discriminator": judge(cosine(1e-3)),
        },
    }


def trained_autoencoder(key: str, dataset: str, expect: str) -> dict[str, Any]:
    """The recipe of an autoencoder that was trained on a folder of images of `DATA_SETS`."""
    made = autoencoder(key, DATA_SETS[dataset][0])
    made["training"] = {"dataset": dataset, "steps": 2000, "batch_size": 16}
    made["model"]["game"] |= late(made["training"]["steps"])
    return {**made, "source": f"{key}_images: {SPATIAL_SOURCE}", "expect": expect}


def late(steps: int) -> dict[str, int]:
    """When D of an autoencoder starts, and for how long it trains alone, in a training of that many steps."""
    return {"start": steps // 5, "warm_up": steps // 50}


# The bound of a hundred nats against a game of a few: with less, all samples become one stroke.
DRAWN_GAME = {"beta": 0.2, "reconstruction": {"features": 0.0, "pixels": 0.2}}
# A short training with a prior that is fitted to codes: D does not see samples of N(0, I).
SHORT_DRAWN_GAME = {
    "beta": 0.05,
    "reconstruction": {"features": 0.0, "pixels": 0.1},
    "game": {"r1": 0.3},
    "fakes_from": "none",
}
# A DRAW that draws digits already goes on with a smaller weight of the bound, and so of its pixels.
GAME_OF_THE_TRAINED = {
    "beta": 0.125,
    "reconstruction": {"features": 0.0, "pixels": 0.05},
    "game": {"r1": 0.3},
}

# L_G and L_D of Chen, Fang and Ju 2016, all of weight 1.
LOSSES_OF_THE_PAPERS = {
    "beta": 1.0,
    "fakes_from": "prior",
    "reconstruction": {"features": 1.0, "pixels": 0.0},
    "game": {"class": "standard"},
}

ALL_PRESETS = "`keras-vaegan presets` lists all presets."
HUB = "hf://"  # how the address of a model on the Hugging Face Hub begins

RECIPES: dict[str, dict[str, Any]] = {
    "vae_mnist_small": {
        "model": {"key": "vae", "beta": 0.5, "prior": {"class": "mixture", "components": 40}},
        "networks": convolutional(16),
        "optimizer": {
            "generator": {"class": "Adam", "learning_rate": cosine(3e-3), **AVERAGED_WITH_STATISTICS}
        },
        "training": short_training(2000),
        "source": "Kingma and Welling 2014, with convolutional networks; Ghosh et al. 2020, the prior",
        "expect": "somewhat blurred digits of all ten classes",
    },
    "vae_mnist": {
        "model": {"key": "vae", "beta": 0.5, "prior": {"class": "mixture", "components": 40}},
        "networks": convolutional(32),
        "optimizer": {"generator": {"class": "Adam", "learning_rate": 2e-3, **AVERAGED_WITH_STATISTICS}},
        "training": MNIST_TRAINING,
        "source": "Kingma and Welling 2014, with convolutional networks; Ghosh et al. 2020, the prior",
        "expect": "somewhat blurred digits of all ten classes",
    },
    "cvae_mnist_small": {
        "model": {"key": "cvae", "beta": 0.5, "prior": {"class": "mixture", "components": 10}},
        "networks": convolutional(16, labels=True),
        "optimizer": {
            "generator": {"class": "Adam", "learning_rate": cosine(3e-3), **AVERAGED_WITH_STATISTICS}
        },
        "training": short_training(2000),
        "source": "Chen, Fang and Ju 2016, CVAE, with smaller networks; Ghosh et al. 2020, the prior",
        "expect": "somewhat blurred digits of the classes asked for",
    },
    "cvae_mnist": {
        "model": {"key": "cvae", "beta": 2.0},
        "networks": convolutional(32, labels=True),
        "optimizer": {"generator": {"class": "Adam", "learning_rate": 2e-3, **AVERAGED_WITH_STATISTICS}},
        "training": LONGER_TRAINING,
        "source": "Chen, Fang and Ju 2016, CVAE, with smaller networks",
        "expect": "blurred digits of the classes asked for",
    },
    "paper_cvae_mnist": {
        "model": {"key": "cvae"},
        "networks": {
            "family": "dcgan",
            "latent_dim": 50,
            "condition": ["labels"],
            "encoder": {**PLAIN, "filters": [28, 56, 108], "kernel_size": 5, "activation": "relu"},
            "decoder": {**PLAIN, "filters": [128, 64], "full_size_filters": 32, "kernel_size": 5},
        },
        "optimizer": {"generator": {"class": "Adam", "learning_rate": 1e-3}},
        "training": {"dataset": "mnist", "epochs": 20, "batch_size": 100},
        "source": "Chen, Fang and Ju 2016, CVAE, the paper's own networks",
        "expect": "blurred digits of the classes asked for",
    },
    "completion_cvae_mnist_small": {
        "model": {"key": "completion_cvae"},
        "networks": {
            "family": "mlp",
            "latent_dim": 16,
            "condition": ["image"],
            "encoder": {"units": [256, 128]},
            "decoder": {"units": [128, 256]},
            "prior": {"units": [256, 128]},
        },
        "optimizer": {"generator": {"class": "Adam", "learning_rate": cosine(2e-3), **AVERAGED}},
        "training": short_training(3000),
        "source": "Sohn et al. 2015, CVAE, trained over all masks",
        "expect": "the hidden part of a digit completed in several ways",
    },
    "completion_cvae_mnist": {
        "model": {"key": "completion_cvae"},
        "networks": {
            "family": "dcgan",
            "latent_dim": 32,
            "condition": ["image"],
            "encoder": {"filters": [32, 64, 96], "units": [256]},
            "decoder": {**PLAIN, "filters": [96, 64, 32], "units": [256], "full_size_filters": 16},
            "prior": {"filters": [32, 64, 96], "units": [256]},
        },
        "optimizer": {"generator": {"class": "Adam", "learning_rate": cosine(2e-3), **AVERAGED}},
        "training": COMPLETION_TRAINING,
        "source": "Sohn et al. 2015, CVAE, trained over all masks",
        "expect": "the hidden part of a digit completed in several ways",
    },
    "draw_mnist_small": {
        "model": {"key": "draw", **short_drawing(20), "beta": 0.5},
        "networks": drawing(8, 128, glimpse=12),
        "optimizer": {"generator": clipped(cosine(4e-3))},
        "training": short_training(2000),
        "source": "Gregor et al. 2015, with smaller networks; Ghosh et al. 2020, the prior",
        "expect": "blurred digits of all ten classes, drawn in four steps",
    },
    "draw_mnist": {
        "model": {"key": "draw", "steps": 16, "likelihood": {"binarize": True}},
        "networks": drawing(10, 256, glimpse=5),
        "optimizer": {"generator": clipped(cosine(2e-3))},
        "training": DRAWN_MNIST_TRAINING,
        "source": "Gregor et al. 2015",
        "expect": "digits of all ten classes, drawn in 16 steps; a bound below 88 nats on bits",
    },
    "conditional_draw_mnist_small": {
        "model": {"key": "conditional_draw", **short_drawing(5), "beta": 0.5},
        "networks": drawing(8, 128, glimpse=12, labels=True),
        "optimizer": {"generator": clipped(cosine(4e-3))},
        "training": short_training(2000),
        "source": "Chen, Fang and Ju 2016, conditional DRAW, with smaller networks; Ghosh et al. 2020",
        "expect": "blurred digits of the classes asked for, drawn in four steps",
    },
    "conditional_draw_mnist": {
        "model": {"key": "conditional_draw", "steps": 16, "likelihood": {"binarize": True}},
        "networks": drawing(10, 256, glimpse=5, labels=True),
        "optimizer": {"generator": clipped(cosine(2e-3))},
        "training": {**DRAWN_MNIST_TRAINING, "epochs": 20},
        "source": "Chen, Fang and Ju 2016, conditional DRAW",
        "expect": "digits of the classes asked for, drawn in 16 steps",
    },
    "draw_gan_mnist_small": {
        "model": {
            "key": "draw_gan",
            **short_drawing(20),
            **SHORT_DRAWN_GAME,
        },
        "networks": drawing(8, 128, glimpse=12, judged_by=[16, 32], spectral=False),
        "optimizer": {"generator": clipped(cosine(4e-3), beta_1=0.5), "discriminator": judge(5e-4)},
        "training": short_training(1600),
        "source": "Chen, Fang and Ju 2016, DRAW-GAN, with smaller networks; Ghosh et al. 2020, the prior",
        "expect": "digits of all ten classes, drawn in four steps",
    },
    "draw_gan_mnist": {
        "model": {"key": "draw_gan", "steps": 16, **GAME_OF_THE_TRAINED, "likelihood": {"binarize": True}},
        "networks": drawing(10, 256, glimpse=5, judged_by=[32, 64, 128], spectral=False),
        "optimizer": {"generator": clipped(cosine(5e-4), beta_1=0.5), "discriminator": judge(cosine(1e-3))},
        "training": {**MNIST_TRAINING, "init": "draw_mnist"},
        "source": "Chen, Fang and Ju 2016, DRAW-GAN; begins as a trained DRAW",
        "expect": "digits of all ten classes, drawn in 16 steps",
    },
    "conditional_draw_gan_mnist_small": {
        "model": {
            "key": "conditional_draw_gan",
            **short_drawing(5),
            **SHORT_DRAWN_GAME,
        },
        "networks": drawing(8, 128, glimpse=12, labels=True, judged_by=[16, 32], spectral=False),
        "optimizer": {"generator": clipped(cosine(4e-3), beta_1=0.5), "discriminator": judge(5e-4)},
        "training": short_training(1600),
        "source": "Chen, Fang and Ju 2016, conditional DRAW-GAN, with smaller networks; Ghosh et al. 2020",
        "expect": "digits of the classes asked for, drawn in four steps",
    },
    "conditional_draw_gan_mnist": {
        "model": {
            "key": "conditional_draw_gan",
            "steps": 16,
            **GAME_OF_THE_TRAINED,
            "likelihood": {"binarize": True},
        },
        "networks": drawing(10, 256, glimpse=5, labels=True, judged_by=[32, 64, 128], spectral=False),
        "optimizer": {"generator": clipped(cosine(5e-4), beta_1=0.5), "discriminator": judge(cosine(1e-3))},
        "training": {**MNIST_TRAINING, "init": "conditional_draw_mnist"},
        "source": "Chen, Fang and Ju 2016, conditional DRAW-GAN; begins as a trained DRAW",
        "expect": "digits of the classes asked for, drawn in 16 steps",
    },
    "vae_gan_mnist_small": {
        "model": {
            "key": "vae_gan",
            "beta": 0.0625,
            "prior": {"class": "mixture", "components": 40},
            "fakes_from": "posterior",
            "reconstruction": {"features": 0.05, "pixels": 0.025},
            "game": {"r1": 0.03},
        },
        "networks": convolutional(16, judged=True),
        "optimizer": players(2e-3, 1e-3),
        "training": short_training(1500),
        "source": "Chen, Fang and Ju 2016, L_G and L_D; Ghosh et al. 2020, the prior",
        "expect": "digits of all ten classes, a few malformed",
    },
    "vae_gan_mnist": {
        "model": {
            "key": "vae_gan",
            "beta": 0.0625,
            "prior": {"class": "mixture", "components": 100},
            "fakes_from": "posterior",
            "reconstruction": {"features": 0.05, "pixels": 0.025},
            "game": {"r1": 0.03},
        },
        "networks": convolutional(32, judged=True),
        "optimizer": players(1e-3, 1e-3),
        "training": MNIST_TRAINING,
        "source": "Chen, Fang and Ju 2016, L_G and L_D; Ghosh et al. 2020, the prior",
        "expect": "digits of all ten classes, as sharp as the real images",
    },
    "vae_gan_celeb_a": {
        "model": {
            "key": "vae_gan",
            **LOSSES_OF_THE_PAPERS,
            "reconstruction": {"features": 1e-06, "pixels": 0.0},
            "game": {"three_players": True, "margin": [0.68, 0.35]},
        },
        "networks": {
            "family": "dcgan",
            "latent_dim": 128,
            "encoder": {
                "filters": [64, 128, 256],
                "kernel_size": 5,
                "units": [1024],
                "normalization": "batch",
                "activation": "relu",
            },
            "decoder": {
                **PLAIN,
                "filters": [256, 256, 128],
                "full_size_filters": 32,
                "kernel_size": 5,
                "normalization": "batch",
            },
            "discriminator": {
                "filters": [32, 128, 256, 256],
                "kernel_size": 5,
                "units": [512],
                "normalization": "batch",
                "activation": "relu",
            },
        },
        "optimizer": {
            player: {"class": "RMSprop", "learning_rate": 3e-4}
            for player in ("encoder", "generator", "discriminator")
        },
        "training": {"dataset": "celeb_a", "image_size": [64, 64], "epochs": 15, "batch_size": 64},
        "source": "Larsen et al. 2015, the released code's networks, all of D's convolutions strided",
        "expect": "faces; not trained here",
    },
    "cvae_gan_mnist_small": {
        "model": {
            "key": "cvae_gan",
            "beta": 0.0625,
            "prior": {"class": "mixture", "components": 10},
            "fakes_from": "posterior",
            "reconstruction": {"features": 0.05, "pixels": 0.025},
            "game": {"label_weight": 0.55, "r1": 0.03},
        },
        "networks": convolutional(16, labels=True, judged=True),
        "optimizer": players(2e-3, 1e-3),
        "training": short_training(1500),
        "source": "Chen, Fang and Ju 2016, CVAE-GAN with K + 1 classes; Ghosh et al. 2020, the prior",
        "expect": "digits of the classes asked for, nearly as sharp as the real images",
    },
    "cvae_gan_mnist": {
        "model": {
            "key": "cvae_gan",
            "beta": 0.125,
            "fakes_from": "prior",
            "reconstruction": {"features": 0.05, "pixels": 0.025},
            "game": {"label_weight": 0.55, "r1": 0.3},
        },
        "networks": convolutional(32, labels=True, judged=True),
        "optimizer": players(1e-3, 1e-3),
        "training": LONGER_TRAINING,
        "source": "Chen, Fang and Ju 2016, CVAE-GAN with K + 1 classes, with smaller networks",
        "expect": "digits of the classes asked for, nearly as sharp as the real images",
    },
    "cvae_gan_cifar10": {
        "model": {
            "key": "cvae_gan",
            "beta": 0.1,
            "fakes_from": "prior",
            "reconstruction": {"features": 0.02, "pixels": 0.0},
            "game": {"label_weight": 0.5},
        },
        "networks": {
            "family": "dcgan",
            "latent_dim": 64,
            "condition": ["labels"],
            "encoder": {"filters": [32, 64, 128], "units": [256]},
            "decoder": {**PLAIN, "filters": [192, 96, 48], "normalization": "batch"},
            "discriminator": {"filters": [48, 96, 192], "normalization": "batch"},
        },
        "optimizer": players(4e-4, 4e-4),
        "training": CIFAR_TRAINING,
        "source": "Chen, Fang and Ju 2016, CVAE-GAN with K + 1 classes; networks after DCGAN",
        "expect": "colours and outlines of the classes asked for",
    },
    "ssl_vae_mnist_small": {
        "model": {"key": "ssl_vae", "classification": {"alpha": 10.0}},
        "networks": {
            "family": "mlp",
            "latent_dim": 8,
            "condition": ["labels"],
            "trunk": {"units": [256]},
            "class_head": {"units": [128], "dropout": 0.3},
            "encoder": {"units": [128]},
            "decoder": {"units": [128, 256]},
        },
        "optimizer": {"generator": {"class": "Adam", "learning_rate": 1e-3, **AVERAGED}},
        "training": short_training(4000, num_labels=100, labelled_share=0.25),
        "source": "Kingma et al. 2014, M2, with smaller networks",
        "expect": "most digits told apart, learnt from ten of each",
    },
    "ssl_vae_mnist": {
        "model": {"key": "ssl_vae", "classification": {"alpha": 100.0, "consistency": 100.0, "radius": 2.0}},
        "networks": {
            "family": "dcgan",
            "latent_dim": 32,
            "condition": ["labels"],
            "trunk": LENET_TRUNK,
            "encoder": {"units": [128]},
            "decoder": {"family": "mlp", "units": [256, 256]},
        },
        "optimizer": {
            "generator": {
                "class": "Adam",
                "learning_rate": cosine(1e-3),
                **AVERAGED_WITH_STATISTICS,
            }
        },
        "training": SEMI_SUPERVISED_TRAINING,
        "source": "Kingma et al. 2014, M2, with virtual adversarial training (Miyato et al. 2018)",
        "expect": "digits told apart, learnt from a hundred of each",
    },
    "stacked_ssl_vae_mnist_small": {
        "model": {"key": "stacked_ssl_vae", "classification": {"alpha": 10.0}},
        "networks": {
            "family": "mlp",
            "latent_dim": 8,
            "condition": ["labels"],
            "base": None,
            "trunk": {"units": [128]},
            "encoder": {"units": [128]},
            "decoder": {"units": [128]},
        },
        "optimizer": {"generator": {"class": "Adam", "learning_rate": 1e-3, **AVERAGED}},
        "training": short_training(4000, num_labels=100, labelled_share=0.25),
        "source": "Kingma et al. 2014, M1+M2, with smaller networks; on a VAE that is trained first",
        "expect": "most digits told apart, learnt from ten of each",
    },
    "stacked_ssl_vae_mnist": {
        "model": {"key": "stacked_ssl_vae", "classification": {"alpha": 0.3}},
        "networks": {
            "family": "mlp",
            "latent_dim": 32,
            "condition": ["labels"],
            "base": "vae_mnist",
            "trunk": {"units": [500]},
            "encoder": {"units": [500]},
            "decoder": {"units": [500]},
        },
        "optimizer": {
            "generator": {
                "class": "Adam",
                "learning_rate": cosine(1e-3),
                **AVERAGED,
            }
        },
        "training": {**SEMI_SUPERVISED_TRAINING, "epochs": 36},
        "source": "Kingma et al. 2014, M1+M2",
        "expect": "digits told apart, learnt from a hundred of each",
    },
    "ssl_vae_gan_mnist_small": {
        "model": {
            "key": "ssl_vae_gan",
            "reconstruction": {"pixels": 1.0},
            "game": {"class": "feature_matching"},
            "classification": {"alpha": 10.0, "classifier": "ensemble"},
        },
        "networks": {
            "family": "mlp",
            "latent_dim": 8,
            "condition": ["labels"],
            "trunk": {"units": [256]},
            "class_head": {"units": [128], "dropout": 0.3},
            "encoder": {"units": [128]},
            "decoder": {"units": [128, 256]},
            "discriminator": {"units": [256, 128]},
        },
        "optimizer": {
            "generator": {"class": "Adam", "learning_rate": 1e-3, **AVERAGED},
            "discriminator": {"class": "Adam", "learning_rate": 5e-4, "beta_1": 0.5, **AVERAGED},
        },
        "training": short_training(4000, num_labels=100, labelled_share=0.25),
        "source": "Chen, Fang and Ju 2016, M2 and GAN, with the feature matching of Salimans et al. 2016",
        "expect": "most digits told apart, learnt from ten of each",
    },
    "ssl_vae_gan_mnist": {
        "model": {
            "key": "ssl_vae_gan",
            "reconstruction": {"pixels": 1.0},
            "game": {"three_players": True},
            "classification": {
                "alpha": 100.0,
                "consistency": 100.0,
                "radius": 2.0,
                "expectation": "sampled",
                "discriminator_consistency": 1.0,
                "classifier": "encoder",
            },
        },
        "networks": {
            "family": "dcgan",
            "latent_dim": 32,
            "condition": ["labels"],
            "trunk": LENET_TRUNK,
            "encoder": {"units": [128]},
            "decoder": {"family": "mlp", "units": [256, 256]},
            "discriminator": {"filters": [32, 64], "units": [256], "feature_layer": -1},
        },
        "optimizer": {
            "generator": {"class": "Adam", "learning_rate": cosine(1e-3), **AVERAGED_WITH_STATISTICS},
            "discriminator": {**judge(cosine(1e-3)), **AVERAGED},
        },
        "training": SEMI_SUPERVISED_TRAINING,
        "source": "Chen, Fang and Ju 2016, M2 and GAN; Miyato et al. 2018, virtual adversarial training",
        "expect": "digits told apart, learnt from a hundred of each, and sharp ones drawn",
    },
    "paper_ssl_vae_mnist": {
        "model": {"key": "ssl_vae", "classification": {"alpha": 10.0}},
        "networks": {
            "family": "mlp",
            "latent_dim": 50,
            "condition": ["labels"],
            "trunk": {"units": [1024, 1024]},
            "encoder": {"units": [1024], "variance_of_features": True},
            "decoder": {"units": [1024, 1024]},
        },
        "optimizer": {"generator": {"class": "Adam", "learning_rate": 1e-3}},
        "training": {**SEMI_SUPERVISED_TRAINING, "epochs": 6, "batch_size": 100},
        "source": "Chen, Fang and Ju 2016, M2, the paper's own fully connected networks",
        "expect": "digits told apart; 5.1 % wrong with 1,000 labels in the paper",
    },
    "paper_convolutional_ssl_vae_mnist": {
        "model": {"key": "ssl_vae"},
        "networks": {
            "family": "lenet",
            "latent_dim": 50,
            "condition": ["labels"],
            "encoder": {"units": [1024], "variance_of_features": True},
        },
        "optimizer": {"generator": {"class": "Adam", "learning_rate": 1e-3}},
        "training": {**SEMI_SUPERVISED_TRAINING, "batch_size": 100},
        "source": "Chen, Fang and Ju 2016, M2, the paper's own convolutional networks",
        "expect": "digits told apart; 4.8 % wrong with 1,000 labels in the paper",
    },
    "paper_cvae_gan_mnist": {
        "model": {"key": "cvae_gan", **LOSSES_OF_THE_PAPERS},
        "networks": {
            "family": "dcgan",
            "latent_dim": 50,
            "condition": ["labels"],
            "encoder": {**PLAIN, "filters": [28, 56, 108], "kernel_size": 5, "activation": "relu"},
            "decoder": {**PLAIN, "filters": [128, 64], "full_size_filters": 32, "kernel_size": 5},
            "discriminator": {
                "filters": [16, 32, 64],
                "kernel_size": 3,
                "units": [512, 500],
                "feature_layer": -2,
                "activation": "relu",
            },
        },
        "optimizer": {
            "generator": {"class": "Adam", "learning_rate": 1e-4},
            "discriminator": {"class": "Adam", "learning_rate": 1e-4},
        },
        "training": {"dataset": "mnist", "epochs": 20, "batch_size": 100},
        "source": "Chen, Fang and Ju 2016, CVAE-GAN with K + 1 classes, the paper's own networks",
        "expect": "digits of the classes asked for; in the paper, sharper than those of the CVAE",
    },
    "vae_gan_fruits": trained_autoencoder(
        "vae_gan", "fruits", "reconstructions of apples, cherries and tomatoes with their texture"
    ),
    "vae_gan_emoji": trained_autoencoder(
        "vae_gan", "emoji", "reconstructions of emoji with their alpha, small figures a little blurred"
    ),
    "cvae_gan_fruits": trained_autoencoder(
        "cvae_gan", "fruits", "reconstructions of fruits; another class for a code changes little"
    ),
}
