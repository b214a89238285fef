"""The classifier that may say that a picture is no digit, and the share of pictures it takes for one."""

import numpy as np
import pytest

from keras_vaegan import InputError, data, evaluation, metrics, presets
from keras_vaegan.metrics import classifiers, features

pytestmark = pytest.mark.core_on("one")


@pytest.fixture(scope="module")
def digits():
    """Thirty digits of each class, drawn by a shipped model: the classifier was trained on real ones."""
    model = presets.load_source("cvae_gan_mnist")[0]
    return model.generate(300, np.arange(300) % 10, seed=0)


def recognized(images):
    return metrics.recognized_share(metrics.recognizer().extract(images).probabilities)


def test_digits_are_recognized_and_broken_ones_are_not(digits):
    assert recognized(digits) > 0.85
    generator = np.random.default_rng(0)
    for number in (2, 4):
        side = 28 // number
        patches = digits.reshape(-1, number, side, number, side).swapaxes(2, 3).reshape(300, -1, side, side)
        order = np.stack([generator.permutation(number**2) for _ in range(300)])
        moved = np.take_along_axis(patches, order[..., None, None], axis=1)
        moved = moved.reshape(-1, number, number, side, side).swapaxes(2, 3).reshape(digits.shape)
        assert recognized(moved) < 0.3, number
    for half in (np.s_[:, :14], np.s_[:, 14:], np.s_[:, :, :14], np.s_[:, :, 14:]):
        part = np.zeros_like(digits)
        part[half] = digits[half]
        assert recognized(part) < 0.3, half
    assert recognized(generator.random((50, 28, 28, 1)).astype("float32")) == 0.0
    assert recognized(np.zeros((2, 28, 28, 1), "float32")) == 0.0


def test_the_share_counts_what_is_surely_some_digit():
    probabilities = np.zeros((4, 11))
    probabilities[0, 3] = 0.95
    probabilities[1, 10] = 0.99  # surely none
    probabilities[2, [1, 7]] = 0.5  # one of two
    probabilities[3, 0] = 0.6
    assert metrics.recognized_share(probabilities) == 0.25
    assert metrics.recognized_share(probabilities, sure=0.55) == 0.5
    for wrong in (np.zeros((0, 11)), np.zeros(3), np.zeros((3, 1))):
        with pytest.raises(InputError, match="probabilities must be"):
            metrics.recognized_share(wrong)


def test_it_is_a_score_of_mnist_alone(digits):
    split = (digits, np.arange(300) % 10)
    result = evaluation.score(
        digits[:100], data.ImageData(split, split, split, name="mnist"), ["recognition"]
    )
    (found,) = result["scores"]
    assert found["value"] == recognized(digits[:100]) and found["reference"] == recognized(digits)
    with pytest.raises(InputError, match="recognition cannot be computed: the data are not mnist"):
        evaluation.score(digits, data.ImageData(split, split, split, name="others"), ["recognition"])


def test_its_weights_are_those_that_the_package_names():
    assert set(features.DIGESTS) == set(classifiers.ARCHITECTURES) | set(classifiers.REJECTING)
    assert metrics.recognizer().digest == features.DIGESTS["mnist_reject"]
    with pytest.raises(InputError, match="features must be"):
        metrics.extractor("mnist_reject")  # its eleventh class is none of the data's
