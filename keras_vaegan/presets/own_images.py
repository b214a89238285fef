"""Recipes for images that no recipe names, chosen by their shape and number.

Gray and small images (up to 32 pixels) get the networks of MNIST, small color images (up to 48) those of
CIFAR-10, and larger ones networks that halve the image until a map of about 4x4 is left. A VAE/GAN of images
of 64 pixels or more is another model, `vae_gan_images`: an autoencoder with spatial latent codes, a
discriminator of patches and a perceptual loss (Esser et al. 2021, Rombach et al. 2022). The length of the
training is a number of steps, so that 500 and 500,000 images are both trained on long enough.
"""

import copy
import math
from collections.abc import Sequence
from typing import Any

from keras_vaegan.presets.recipes import (
    AVERAGED,
    AVERAGED_WITH_STATISTICS,
    DRAWN_GAME,
    FINE_SIDE,
    PLAIN,
    RECIPES,
    SPATIAL_SOURCE,
    autoencoder,
    clipped,
    cosine,
    drawing,
    judge,
    late,
    num_steps,
    players,
)

GRAY_SIDE, SMALL_SIDE = 32, 48  # the longest sides of gray and of other images that count as small
SMALLEST_MAP = 4  # pixels a side of the last map of a network, about
MOST_STAGES = 6
MANY_IMAGES = 100_000  # above them, a training is twice as long
MOST_COMPONENTS = 40  # of a mixture prior
CODES_PER_DIMENSION = 4  # that a component of a mixture needs for its covariances
SPATIAL = ("vae_gan", "cvae_gan")  # the models that get spatial latent codes
SPATIAL_SIDE = 64  # from which they do
PIXEL_WEIGHT = 20.0  # of the pixels of a whole image in a hybrid's loss, as in the recipe for MNIST
FEATURE_WEIGHT = 60.0  # of all features, as in the recipe for CIFAR-10


def recipe_by_images(
    key: str, image_shape: Sequence[int], num_images: int | None = None, spatial: bool | None = None
) -> dict[str, Any]:
    """The recipe of a model for images of that shape and number; its data set is to be set.

    Args:
        key: of `MODEL_KEYS`.
        image_shape: `(H, W, C)`.
        num_images: images to train on; None if they are many.
        spatial: whether a VAE/GAN gets spatial latent codes, not vectors; None if its images are large.
    """
    height, width, channels = image_shape
    side = max(height, width)
    source = RECIPES[f"{key}_mnist"]["source"]
    if key in SPATIAL and (side >= SPATIAL_SIDE if spatial is None else spatial):
        found, networks = autoencoder(key, image_shape), f"{key}_images: spatial latent codes"
        found["training"] = _training(key, 8000, 16 if side <= FINE_SIDE else 8)
        source = SPATIAL_SOURCE
    elif side <= GRAY_SIDE and channels == 1:
        found, networks = _gray(key, image_shape), "networks for small gray images"
    else:
        size = "small" if side <= SMALL_SIDE else "large"
        found, networks = _colored(key, image_shape), f"networks for {size} images"
    _fit_to_number(found, num_images)
    start_late(found, num_images)
    found["source"] = f"{networks}; {source}"
    found["expect"] = "not trained here"
    return found


def start_late(recipe: dict[str, Any], num_images: int | None) -> None:
    """Let D of a model with spatial latent codes start after a fifth of the training, whatever its length."""
    game = recipe["model"].get("game")
    if isinstance(game, dict) and "warm_up" in game:
        game |= late(num_steps(recipe["training"], num_images or MANY_IMAGES))


def _fit_to_number(recipe: dict[str, Any], num_images: int | None) -> None:
    """Let the length, the batch and the prior of a recipe be those for that many images."""
    training, prior = recipe["training"], recipe["model"].get("prior")
    if num_images is None:
        return
    while training["batch_size"] > max(num_images, 2):
        training["batch_size"] //= 2
    if num_images > MANY_IMAGES:
        training["steps"] *= 2
    if prior is not None:
        codes = CODES_PER_DIMENSION * recipe["networks"]["latent_dim"]
        prior["components"] = max(2, min(prior["components"], num_images // codes))


def _gray(key: str, image_shape: Sequence[int]) -> dict[str, Any]:
    """The recipe for MNIST, without what belongs to digits: bits, hidden labels, trained models of digits."""
    found = copy.deepcopy(RECIPES[f"{key}_mnist"])
    steps = 4000
    if "draw" in key:
        found["model"].pop("likelihood", None)  # gray pixels are no bits
        _draw(found, key, image_shape, latent_dim=10, units=256, glimpse=5, judged_by=[32, 64, 128])
        steps = 10_000
    elif key == "completion_cvae":
        steps = 6000
    elif "ssl" in key:
        steps = 10_000
    found["training"] = _training(key, steps, found["training"]["batch_size"])
    _without_base(found)
    return found


def _colored(key: str, image_shape: Sequence[int]) -> dict[str, Any]:
    """The recipe for images in color, in many channels, or of more than a few pixels."""
    found = copy.deepcopy(RECIPES[f"{key}_mnist"])
    side, channels = max(image_shape[:2]), image_shape[2]
    small = side <= SMALL_SIDE
    if "draw" in key:
        found["model"].pop("likelihood", None)
        glimpse = (5 if small else 12) if channels <= 4 else 5
        judged_by = widths(side)
        _draw(found, key, image_shape, latent_dim=16, units=400, glimpse=glimpse, judged_by=judged_by)
    elif key == "stacked_ssl_vae":
        _without_base(found)
    else:
        of_networks = _semi_supervised if "ssl" in key else _convolutional
        of_networks(found, key, image_shape)
    batch_size = 64 if small else 32 if side <= 96 else 16
    found["training"] = _training(key, 8000 if small else 5000, batch_size)
    return found


def _training(key: str, steps: int, batch_size: int) -> dict[str, Any]:
    """The section of that name; a semi-supervised model takes the labels that there are."""
    labels = {"num_labels": None, "labelled_share": 0.25} if "ssl" in key else {}
    return {"dataset": "", "steps": steps, "batch_size": batch_size, **labels}


def widths(side: int) -> list[int]:
    """Channels of the convolutions that halve images of that side, the widest of them last."""
    stages = max(2, min(MOST_STAGES, round(math.log2(side / SMALLEST_MAP))))
    first = 32 if side <= 96 else 16
    return [min(first * 2**i, 256) for i in range(stages)]


def _convolutional(found: dict[str, Any], key: str, image_shape: Sequence[int]) -> None:
    """Set what is larger than for MNIST of a (C)VAE, its hybrids and the model that completes."""
    side, values = max(image_shape[:2]), math.prod(image_shape)
    down = widths(side)
    networks, model = found["networks"], found["model"]
    networks["latent_dim"] = 64 if side <= SMALL_SIDE or image_shape[2] == 1 else 128
    networks["encoder"] = {"filters": down, "units": [256]}
    networks["decoder"] = PLAIN | {"filters": down[::-1], "normalization": "batch"}
    if "prior" in networks:  # of the model that completes, whose decoder sees the visible part, too
        networks["encoder"]["units"] = [128]
        networks["prior"] = {"filters": down, "units": [128]}
        networks["decoder"] = PLAIN | {"filters": down[::-1], "units": [128], "full_size_filters": 16}
        found["optimizer"] = {"generator": _adam(cosine(1e-3), AVERAGED)}
        return
    if "discriminator" not in networks:
        # In color the Bernoulli likelihood is that of much noise: a KL of full weight leaves blurred images.
        model["beta"] = 0.1 if key == "vae" else 0.25
        found["optimizer"] = {"generator": _adam(cosine(1e-3), AVERAGED_WITH_STATISTICS)}
    else:
        features = math.prod(math.ceil(size / 2 ** len(down)) for size in image_shape[:2]) * down[-1]
        networks["discriminator"] = {"filters": down, "normalization": "batch"}
        model["beta"] = 0.05
        model["reconstruction"] = {
            "features": _rounded(FEATURE_WEIGHT / features),
            "pixels": _rounded(PIXEL_WEIGHT / values),
        }
        # D is normalized: no R1.
        model["game"] = {"label_weight": 0.5} if key == "cvae_gan" else {"class": "standard"}
        found["optimizer"] = players(4e-4, 4e-4)
    if "prior" in model:
        model["prior"]["components"] = MOST_COMPONENTS


def _semi_supervised(found: dict[str, Any], key: str, image_shape: Sequence[int]) -> None:
    """Set what is larger than for MNIST of M2 and its hybrid, whose decoder runs once for each class."""
    down = widths(max(image_shape[:2]))
    networks, classification = found["networks"], found["model"]["classification"]
    networks["latent_dim"] = 64
    networks["trunk"] = {"filters": down, "units": [256]}
    networks["decoder"] = PLAIN | {"filters": [max(16, width // 2) for width in down[::-1]]}
    if "discriminator" in networks:
        networks["discriminator"] = {"filters": down, "units": [256], "feature_layer": -1}
        found["model"]["reconstruction"] = {"pixels": 1.0}
    # The radius of virtual adversarial training, of the same size for each pixel as for MNIST.
    classification["radius"] = _rounded(min(10.0, 2.0 * math.sqrt(math.prod(image_shape) / 28**2)))


def _draw(
    found: dict[str, Any],
    key: str,
    image_shape: Sequence[int],
    latent_dim: int,
    units: int,
    glimpse: int,
    judged_by: list[int],
) -> None:
    """Set networks, optimizers and the game of a DRAW that begins untrained."""
    judged = judged_by if "gan" in key else None
    glimpse = max(2, min(glimpse, *image_shape[:2]))
    found["networks"] = drawing(latent_dim, units, glimpse, "conditional" in key, judged)
    if min(image_shape[:2]) < 2:  # too narrow for a grid of filters
        for network in ("encoder", "decoder"):
            found["networks"][network].pop("glimpse")
    if judged is None:
        found["optimizer"] = {"generator": clipped(cosine(1e-3))}
    else:
        found["optimizer"] = {"generator": clipped(cosine(1e-3), beta_1=0.5), "discriminator": judge(5e-4)}
        found["model"] = {"key": key, "steps": found["model"]["steps"], **copy.deepcopy(DRAWN_GAME)}


def _without_base(found: dict[str, Any]) -> None:
    """Name no trained model that others are built on: that of MNIST has seen digits alone."""
    if "base" in found["networks"]:
        found["networks"]["base"] = None


def _adam(rate: Any, averages: dict[str, Any]) -> dict[str, Any]:
    return {"class": "Adam", "learning_rate": rate, **averages}


def _rounded(number: float) -> float:
    """To two digits, for people who read the recipe."""
    return float(f"{number:.2g}")
