"""Scores of color images in the features of ImageNet that come with the package."""

import keras
import numpy as np
import pytest
import registry
from PIL import Image

import keras_vaegan as kvg
from keras_vaegan import evaluation, metrics
from keras_vaegan.cli.evaluate import _table
from keras_vaegan.data import ImageData
from keras_vaegan.metrics import extractor
from keras_vaegan.networks import efficientnet_lite
from keras_vaegan.perceptual import FeatureDistance
from keras_vaegan.reconstructions import Perceptual

pytestmark = pytest.mark.core_on("one")

SHAPE = (8, 8, 3)


def images(count, shape=SHAPE, seed=0):
    return np.random.default_rng(seed).random((count, *shape), dtype="float32")


def data(shape=SHAPE):
    splits = [(images(24, shape, seed), None) for seed in range(3)]
    return ImageData(*splits, name="noise")


def test_features_are_the_pooled_ones_of_images_that_are_large_enough():
    x = images(3, (32, 48, 3))
    found = extractor("imagenet")
    assert (found.dimension, found.num_classes, found.digest) == (1280, None, efficientnet_lite.DIGEST)
    enlarged = []
    for image in x:
        channels = [
            Image.fromarray(image[..., c]).resize((192, 128), Image.Resampling.BILINEAR) for c in range(3)
        ]
        enlarged.append(np.stack([np.asarray(channel) for channel in channels], axis=-1))
    expected = efficientnet_lite.features(("pooled",)).predict_on_batch(np.stack(enlarged))["pooled"]
    error = np.linalg.norm(found.extract(x).features - expected) / np.linalg.norm(expected)
    assert error < 2e-3
    assert found.provenance((32, 48, 3))["resized"] == "from (32, 48, 3) to (128, 192, 3)"
    assert found.provenance((130, 200, 3))["resized"] is None


def test_alpha_is_laid_on_white():
    x = images(2, (*SHAPE[:2], 4))
    white = x[..., :3] * x[..., 3:] + 1 - x[..., 3:]
    found = extractor("imagenet")
    np.testing.assert_allclose(found.extract(x).features, found.extract(white).features, rtol=1e-3, atol=1e-4)


def test_large_images_come_in_smaller_batches(monkeypatch):
    inputs = keras.Input((None, None, 3))
    of_any = extractor(keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(inputs)))
    seen = []

    def pooled(x):
        seen.append(len(x))
        return x.mean(axis=(1, 2))

    monkeypatch.setattr(of_any.model, "predict_on_batch", pooled)
    of_any.extract(np.zeros((3, 1400, 1500, 3), "float32"))
    assert seen == [1, 1, 1]


@pytest.mark.parametrize("channels", [3, 4])
def test_color_images_are_scored_without_a_download(channels):
    result = evaluation.score(images(24, (*SHAPE[:2], channels), seed=5), data((*SHAPE[:2], channels)))
    names = {one["name"] for one in result["scores"] if one["features"] == "imagenet"}
    assert {"kernel_distance", "precision", "coverage"} <= names
    assert "must be at least 1281 images" in result["skipped"]["frechet"]
    assert [one["extractor"] for one in result["features"]] == ["imagenet"]


def vae_gan(*terms):
    model = registry.vae_gan(image_shape=SHAPE, reconstruction=list(terms))
    return registry.set_weights(model)


def test_reconstructions_of_color_images_have_a_distance():
    model, of = vae_gan(), data()
    result = evaluation.score(model, of, ["reconstruction"], num_images=10)
    (found,) = [one for one in result["scores"] if one["name"] == "reconstruction_distance"]
    rows = np.sort(np.random.default_rng(0).permutation(24)[:10])
    x, distance = of.test[0][rows], FeatureDistance("imagenet", None, SHAPE)
    away = metrics.reconstruction_distance(x, model.reconstruct(x), distance, batch_size=4)
    assert away.shape == (10,)
    assert found["value"] == pytest.approx(away.mean(), rel=1e-3)
    assert found["error"] == pytest.approx(away.std(ddof=1) / np.sqrt(10), rel=1e-3)
    assert (found["features"], found["better"], found["note"]) == ("imagenet_maps", "lower", None)
    used = {"extractor": "imagenet_maps", "digest": efficientnet_lite.DIGEST, "resized": None}
    assert result["features"] == [used]
    gray = evaluation.score(registry.vae(image_shape=(8, 8, 1)), data((8, 8, 1)), ["reconstruction"])
    assert "reconstruction_distance" not in {one["name"] for one in gray["scores"]}


def test_scores_in_the_features_of_the_training_say_so():
    groups = ["neighbours", "reconstruction"]
    found = {}
    for name, terms in (("with", [Perceptual(0.3)]), ("weight 0", [Perceptual(0.0)]), ("without", [])):
        result = evaluation.score(vae_gan(*terms), data(), groups, num_images=10)
        noted = {one["features"] for one in result["scores"] if one["note"] == evaluation.TRAINED_IN}
        found[name] = noted, [line for line in result["findings"] if "flatters" in line]
    assert found["with"][0] == {"imagenet", "imagenet_maps"} and len(found["with"][1]) == 2
    assert found["weight 0"] == found["without"] == (set(), [])


def test_the_table_has_the_note():
    result = evaluation.score(vae_gan(Perceptual(0.3)), data(), ["reconstruction"], num_images=4)
    lines = list(_table(result))
    (line,) = [line for line in lines if line.startswith("reconstruction distance")]
    assert evaluation.TRAINED_IN in line and line.endswith("imagenet_maps")
    assert any(line.startswith("warning: imagenet_maps flatters the model") for line in lines)


def test_a_network_of_ones_own_is_another_judge():
    inputs = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(4, 3, name="map")(inputs)
    own = keras.Model(inputs, {"features": keras.layers.GlobalAveragePooling2D()(x)}, name="own")
    model = vae_gan(Perceptual(0.3))
    result = evaluation.score(model, data(), ["neighbours"], num_images=10, features=["imagenet", own])
    notes = {(one["features"], one["note"]) for one in result["scores"]}
    assert notes == {("imagenet", evaluation.TRAINED_IN), ("own", None)}
    assert isinstance(model, kvg.VAEGAN)
