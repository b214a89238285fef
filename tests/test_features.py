"""Feature extractors: the shipped classifiers and others."""

import gzip
import pathlib

import keras
import numpy as np
import pytest
from PIL import Image

from keras_vaegan import InputError
from keras_vaegan.data import load
from keras_vaegan.metrics import FrechetDistance, KernelDistance, extractor
from keras_vaegan.metrics.classifiers import ARCHITECTURES

pytestmark = pytest.mark.core_on("one")

MNIST = pathlib.Path(__file__).parents[1] / ".." / "shared" / "data" / "mnist"


@pytest.fixture(scope="module", params=ARCHITECTURES)
def shipped(request):
    return extractor(request.param)


def share_of_test_digits_read(shipped, count):
    def original(name, offset, shape):
        return np.frombuffer(gzip.open(MNIST / name).read(), np.uint8, offset=offset).reshape(shape)

    images = original("t10k-images-idx3-ubyte.gz", 16, (-1, 28, 28, 1))[:count]
    labels = original("t10k-labels-idx1-ubyte.gz", 8, -1)[:count]
    return np.mean(shipped.extract(images).probabilities.argmax(axis=1) == labels)


needs_mnist = pytest.mark.skipif(not MNIST.exists(), reason="needs the original MNIST files")


@needs_mnist
def test_the_shipped_classifiers_read_real_digits(shipped):
    assert share_of_test_digits_read(shipped, 2000) > 0.985


@needs_mnist
@pytest.mark.slow
def test_the_shipped_classifiers_read_all_test_digits_as_well_as_is_said(shipped):
    assert share_of_test_digits_read(shipped, 10_000) >= 0.993


def test_features_and_probabilities_have_their_shapes(shipped):
    images = load("digits").test[0][:30]
    features, probabilities = shipped.extract(images, batch_size=7)
    assert features.shape == (30, {"mnist_plain": 128, "mnist_residual": 96}[shipped.name])
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-5)
    again = shipped.extract(np.rint(images * 255).astype("uint8")).features
    np.testing.assert_allclose(features, again, atol=0.05 * np.abs(features).max())


def test_a_shipped_extractor_is_frozen_and_named_by_its_weights(shipped):
    assert not shipped.model.trainable_variables
    assert len(shipped.digest) == 12
    assert shipped.provenance((28, 28, 1)) == {
        "extractor": shipped.name,
        "digest": shipped.digest,
        "resized": None,
    }


def test_other_weights_under_the_same_name_are_refused(monkeypatch):
    monkeypatch.setitem(extractor.__globals__["DIGESTS"], "mnist_plain", "0" * 12)
    with pytest.raises(InputError, match="must have the weights"):
        extractor("mnist_plain")


def users_model(shape=(8, 8, 3)):
    return keras.Sequential([keras.Input(shape), keras.layers.Flatten()], name="own")


def test_images_of_another_size_are_resized_as_pil_does():
    images = np.random.default_rng(0).random((2, 16, 16, 3), dtype="float32")
    features, probabilities = extractor(users_model()).extract(images)
    assert probabilities is None
    for image, result in zip(images, features.reshape(2, 8, 8, 3), strict=True):
        for c in range(3):
            expected = Image.fromarray(image[..., c]).resize((8, 8), Image.Resampling.BILINEAR)
            np.testing.assert_allclose(result[..., c], np.asarray(expected), atol=1e-3)
    stated = extractor(users_model()).provenance((16, 16, 3))
    assert stated["resized"] == "from (16, 16, 3) to (8, 8, 3)"


def test_a_network_of_any_size_takes_images_as_they_are():
    images = np.random.default_rng(0).random((2, 5, 7, 3), dtype="float32")
    inputs = keras.Input((None, None, 3))
    of_any = extractor(keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(inputs)))
    np.testing.assert_allclose(of_any.extract(images).features, images.mean(axis=(1, 2)), rtol=1e-5)
    assert of_any.provenance((5, 7, 3))["resized"] is None
    assert of_any.provenance((5, 7, 1))["resized"] == "from (5, 7, 1) to (5, 7, 3)"


def test_grey_images_become_colour_and_not_the_reverse():
    grey = np.random.default_rng(0).random((2, 8, 8, 1), dtype="float32")
    features = extractor(users_model()).extract(grey).features.reshape(2, 8, 8, 3)
    np.testing.assert_array_equal(features, np.repeat(grey, 3, axis=-1))
    with pytest.raises(InputError, match="must have 1 channel"):
        extractor(users_model((8, 8, 1))).extract(np.zeros((2, 8, 8, 3), "float32"))


def test_networks_are_told_apart_by_their_weights():
    digests = set()
    for seed in (0, 0, 1):
        keras.utils.set_random_seed(seed)
        model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(3)])
        digests.add(extractor(model).digest)
    assert len(digests) == 2


def bad_networks():
    inputs, flat = keras.Input((8, 8, 1)), keras.Input((64,))
    dense = keras.layers.Dense(2)
    return {
        "is built from a keras.Input": keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(2)]),
        "takes images": keras.Model(flat, dense(flat)),
        "takes images .* takes .*8, 8, 1.*64": keras.Model([inputs, flat], dense(flat)),
        "gives .B, d., .* gives .*8, 8, 3": keras.Model(inputs, keras.layers.Conv2D(3, 1)(inputs)),
        "gives .B, d., .* gives .'logits'": keras.Model(
            inputs, {"logits": dense(keras.layers.Flatten()(inputs))}
        ),
    }


@pytest.mark.parametrize("message", bad_networks())
@pytest.mark.parametrize("taker", [extractor, FrechetDistance, KernelDistance])
def test_networks_without_features_are_refused(message, taker):
    with pytest.raises(InputError, match=f"features must be a network that {message}"):
        taker(bad_networks()[message])


def test_a_sequential_network_is_as_good_as_another():
    own = extractor(users_model())
    assert (own.dimension, own.num_classes, own.image_shape) == (192, None, (8, 8, 3))
    images = np.random.default_rng(0).random((6, 8, 8, 3), dtype="float32")
    metric = KernelDistance(users_model())
    metric.update_state(images, images[::-1])
    assert np.isfinite(float(metric.result()))


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(InputError, match="Did you mean 'inception_v3'"):
        extractor("inception")


def test_weights_that_cannot_be_downloaded_are_one_clear_line(monkeypatch):
    def no_network(**arguments):
        raise OSError("URL fetch failure\non https://storage")

    monkeypatch.setattr(keras.applications, "InceptionV3", no_network)
    with pytest.raises(InputError, match="without a network") as error:
        extractor("inception_v3")
    assert "\n" not in str(error.value)
