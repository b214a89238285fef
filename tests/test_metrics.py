"""Metrics against independent computations."""

import numpy as np
import pytest
from scipy import ndimage

from keras_vaegan import InputError
from keras_vaegan.data import load
from keras_vaegan.metrics import laplacian_variance


def test_laplacian_variance_is_that_of_scipys_laplacian():
    images = np.random.default_rng(0).random((4, 9, 7, 1))
    expected = [ndimage.laplace(image[..., 0])[1:-1, 1:-1].var() for image in images]
    assert laplacian_variance(images) == pytest.approx(np.mean(expected))


def test_blurring_lowers_and_noise_raises_it():
    images = load("digits").test[0]
    blurred = ndimage.gaussian_filter(images, (0, 1, 1, 0))
    noisy = images + 0.1 * np.random.default_rng(0).standard_normal(images.shape)
    assert laplacian_variance(blurred) < 0.5 * laplacian_variance(images) < laplacian_variance(noisy)


@pytest.mark.parametrize("shape", [(0, 9, 9, 1), (4, 2, 9, 1), (4, 9, 9)])
def test_pictures_without_an_inside_are_refused(shape):
    with pytest.raises(InputError, match="images must be"):
        laplacian_variance(np.zeros(shape))
