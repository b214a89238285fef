"""The trained weights that come with the package."""

import json
import os
import subprocess
import sys

import h5py
import keras
import numpy as np
import pytest
import registry
from PIL import Image

from keras_vaegan import metrics, presets
from keras_vaegan.presets.sources import find

pytestmark = pytest.mark.core_on("one")

MOST_BYTES, MOST_IN_ALL = 6_000_000, 60_000_000
SHIPPED = presets.trained_presets()


def test_the_promised_presets_are_there_and_small():
    assert set(SHIPPED) == {
        "vae_mnist",
        "vae_gan_mnist",
        "cvae_mnist",
        "cvae_gan_mnist",
        "completion_cvae_mnist",
        "cvae_gan_cifar10",
        "conditional_draw_gan_mnist",
        "conditional_draw_mnist",
        "draw_gan_mnist",
        "draw_mnist",
        "ssl_vae_gan_mnist",
        "ssl_vae_mnist",
        "vae_gan_fruits",
    }
    sizes = [(find(name).folder / "model.weights.h5").stat().st_size for name in SHIPPED]
    assert max(sizes) <= MOST_BYTES and sum(sizes) <= MOST_IN_ALL


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_preset_holds_networks_in_half_precision_and_says_what_it_is(name):
    folder = find(name).folder
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json",
        "metadata.json",
        "model.weights.h5",
    ]
    kinds = {}
    with h5py.File(folder / "model.weights.h5") as file:
        file.visititems(
            lambda path, item: kinds.update({path: item.dtype}) if isinstance(item, h5py.Dataset) else None
        )
    assert not [path for path in kinds if path.startswith("optimizer")]
    assert {str(kind) for path, kind in kinds.items() if "seed" not in path} == {"float16"}
    metadata = json.loads((folder / "metadata.json").read_text())
    assert metadata["recipe"] == json.loads(json.dumps(presets.plan(presets.recipe(name))))
    # Images that are shared alike ask it of the weights, too.
    assert metadata["licence"] == ("CC BY-SA 4.0" if "fruits" in name else "Apache-2.0")
    assert metadata["dataset"] and metadata["results"]
    training = metadata["recipe"]["training"]
    if "epochs" in training:
        assert metadata["epochs_done"] == training["epochs"]
    else:
        assert metadata["steps_per_epoch"] * metadata["epochs_done"] >= training["steps"]


AUTOENCODERS = [name for name in SHIPPED if presets.RECIPES[name]["networks"]["family"] == "resnet"]


@pytest.mark.parametrize("name", AUTOENCODERS)
def test_a_shipped_autoencoder_gives_images_back(name):
    """Shaded discs on white, which no training has seen; in PSNR, against the mean color."""
    model, metadata = presets.load_source(name)
    assert metadata["results"]["peak_signal_to_noise_ratio"] > 28.0
    height, width, channels = model.image_shape
    row, column = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    radius = np.hypot(row, column)[..., None]
    disc, light = (
        radius < 0.8,
        1.0 - 0.5 * radius + 0.3 * np.exp(-20 * ((row + 0.3) ** 2 + column**2))[..., None],
    )
    colors = np.array([[0.8, 0.15, 0.1], [0.3, 0.6, 0.1], [0.9, 0.7, 0.2]])
    images = np.where(disc, light * colors[:, None, None], 1.0)
    if channels == 4:
        images = np.concatenate([images, np.broadcast_to(disc, (3, height, width, 1))], axis=-1)
    x = np.float32(np.clip(images, 0.0, 1.0))
    labels = None if model.num_classes is None else [0, 1, 2]

    def psnr(given):
        return -10.0 * np.log10(np.mean((given - x) ** 2, axis=(1, 2, 3)))

    assert (psnr(model.reconstruct(x, labels)) > psnr(x.mean((1, 2), keepdims=True)) + 12.0).all()


@pytest.mark.parametrize(
    "name",
    registry.core(
        ("vae_gan_mnist", "cvae_gan_cifar10", "ssl_vae_mnist"),
        [name for name in SHIPPED if name not in AUTOENCODERS],
    ),
)
def test_a_shipped_preset_is_the_model_that_was_measured(name):
    model, metadata = presets.load_source(name)
    results = metadata["results"]
    images = model.generate(1000, seed=metadata["measured"]["samples"]["seed"])
    assert metrics.laplacian_variance(images) == pytest.approx(results["sharpness"], rel=0.08)
    if model.image_shape == (28, 28, 1):
        seen = metrics.extractor("mnist_plain").extract(images).probabilities
        assert metrics.class_balance(seen)["entropy"] > 0.97
        if model.num_classes is not None:
            asked = model.labels_in_turn(1000)
            expected = results["label_agreement (mnist_plain)"]
            assert metrics.label_agreement(seen, asked)["agreement"] == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("name", ["ssl_vae_mnist", "ssl_vae_gan_mnist"])
def test_a_shipped_classifier_tells_digits_that_another_model_draws(name):
    painter, classifier = (presets.load_source(source)[0] for source in ("cvae_gan_mnist", name))
    asked = painter.labels_in_turn(500)
    told = classifier.classify(painter.generate(500, labels=asked, seed=0)).argmax(axis=1)
    assert np.mean(told == asked) > 0.96


def test_a_shipped_preset_draws_with_no_network_and_nothing_at_home(tmp_path):
    environment = os.environ | {
        "HOME": str(tmp_path),
        "KERAS_HOME": str(tmp_path / "keras"),
        "KERAS_BACKEND": keras.backend.backend(),
        "http_proxy": "http://127.0.0.1:9",
        "https_proxy": "http://127.0.0.1:9",
    }
    command = [sys.executable, "-m", "keras_vaegan", "generate", "vae_gan_mnist", "--num-images", "64"]
    done = subprocess.run(
        [*command, "--output", str(tmp_path / "samples.png")], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    picture = np.asarray(Image.open(tmp_path / "samples.png"))
    assert picture.shape[0] == picture.shape[1] > 8 * 28 and picture.std() > 30
