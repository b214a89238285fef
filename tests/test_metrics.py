"""Metrics against independent computations."""

import numpy as np
import pytest
from scipy import linalg, ndimage, spatial

from keras_vaegan import InputError
from keras_vaegan.data import load
from keras_vaegan.metrics import (
    Moments,
    frechet_distance,
    kernel_distance,
    laplacian_variance,
    precision_recall_density_coverage,
)


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


# ---- distances between sets of features ----


def two_sets(rows=300, columns=6, shift=0.3):
    generator = np.random.default_rng(0)
    mixing = generator.standard_normal((columns, columns))
    a = generator.standard_normal((rows, columns))
    return a, generator.standard_normal((rows + 50, columns)) @ mixing + shift


def test_the_frechet_distance_is_scipys():
    a, b = two_sets()
    cov_a, cov_b = np.cov(a.T), np.cov(b.T)
    expected = np.sum((a.mean(0) - b.mean(0)) ** 2)
    expected += np.trace(cov_a + cov_b - 2 * linalg.sqrtm(cov_a @ cov_b).real)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-8)
    assert frechet_distance(b, a) == pytest.approx(expected, rel=1e-8)
    assert frechet_distance(a, a) == pytest.approx(0.0, abs=1e-9)


def test_the_frechet_distance_of_known_normals_is_the_closed_form():
    a, b = Moments(1001), Moments(1001)
    a.mean, b.mean = np.zeros(3), np.array([1.0, -2.0, 0.5])
    a.scatter, b.scatter = 1000 * np.diag([1.0, 4.0, 9.0]), 1000 * np.diag([4.0, 4.0, 1.0])
    assert frechet_distance(a, b) == pytest.approx(1 + 4 + 0.25 + 1 + 0 + 4)  # means, then deviations


def test_the_frechet_distance_takes_covariances_that_are_singular():
    a, b = two_sets(rows=4)
    lifted_a, lifted_b = (np.hstack([x, x, np.zeros((len(x), 3))]) for x in (a, b))
    assert frechet_distance(lifted_a, lifted_b) == pytest.approx(2 * frechet_distance(a, b), rel=1e-6)


def test_moments_are_the_same_in_batches():
    _, b = two_sets()
    moments = Moments()
    for part in np.array_split(b + 1e4, 7):
        moments.update(part)
    np.testing.assert_allclose(moments.mean, b.mean(0) + 1e4)
    np.testing.assert_allclose(moments.covariance, np.cov(b.T), rtol=1e-6, atol=1e-8)


def mmd(a, b):
    """The unbiased squared discrepancy, pair by pair."""

    def kernel(x, y):
        return (np.dot(x, y) / len(x) + 1) ** 3

    within = [
        np.mean([kernel(s[i], s[j]) for i in range(len(s)) for j in range(len(s)) if i != j]) for s in (a, b)
    ]
    return sum(within) - 2 * np.mean([kernel(x, y) for x in a for y in b])


def test_the_kernel_distance_is_the_sum_over_pairs():
    a, b = two_sets(rows=12)
    b = b[:12]
    distance, error = kernel_distance(a, b, block=12)
    assert distance == pytest.approx(mmd(a, b))
    assert np.isnan(error)


def test_the_kernel_distance_is_unbiased_and_its_error_honest():
    generator = np.random.default_rng(1)
    same, errors = [], []
    for _ in range(200):
        distance, error = kernel_distance(*generator.standard_normal((2, 100, 4)), block=20)
        same.append(distance)
        errors.append(error)
    spread = np.std(same)
    assert abs(np.mean(same)) < 4 * spread / np.sqrt(len(same))
    assert np.mean(errors) == pytest.approx(spread, rel=0.25)


def test_precision_recall_density_and_coverage_are_those_of_all_pairs():
    real, fake = two_sets(rows=80)
    real, fake, k = real, fake[:90] * 0.6, 5
    distances = spatial.distance.cdist(real, fake)
    radii = [np.sort(spatial.distance.cdist(s, s), axis=1)[:, k] for s in (real, fake)]
    in_real = distances <= radii[0][:, None]
    expected = {
        "precision": in_real.any(0).mean(),
        "recall": (distances <= radii[1]).any(1).mean(),
        "density": in_real.sum() / (k * len(fake)),
        "coverage": in_real.any(1).mean(),
    }
    assert precision_recall_density_coverage(real, fake, k) == pytest.approx(expected)
    assert 0.1 < expected["coverage"] < 0.95


def test_chunks_do_not_change_precision_and_coverage(monkeypatch):
    real, fake = two_sets(rows=80)
    whole = precision_recall_density_coverage(real, fake)
    monkeypatch.setattr("keras_vaegan.metrics.distances.CHUNK", 7)
    assert precision_recall_density_coverage(real, fake) == pytest.approx(whole)


def test_copies_of_one_image_cover_almost_nothing():
    real, _ = two_sets()
    scores = precision_recall_density_coverage(real, np.repeat(real[:1], 50, axis=0))
    assert scores["coverage"] < 0.05
    assert scores["precision"] == 1.0


@pytest.mark.parametrize("measure", [frechet_distance, kernel_distance, precision_recall_density_coverage])
@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        (np.zeros((1, 3)), np.zeros((9, 3)), "at least"),
        (np.zeros((9, 3)), np.zeros((9, 4)), "as many columns"),
        (np.zeros((9, 3)), np.full((9, 3), np.nan), "finite"),
        (np.zeros((0, 3)), np.zeros((9, 3)), "N > 0"),
        (np.zeros((9, 3, 1)), np.zeros((9, 3)), "N, d"),
    ],
)
def test_sets_that_cannot_be_compared_are_refused(measure, a, b, said):
    with pytest.raises(InputError, match=said):
        measure(a, b)
