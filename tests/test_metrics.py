"""Metrics against independent computations."""

import numpy as np
import pytest
from scipy import linalg, ndimage, spatial, stats

from keras_vaegan import InputError
from keras_vaegan.data import load
from keras_vaegan.metrics import (
    Moments,
    active_units,
    bits_per_dimension,
    class_balance,
    diversity_within_classes,
    frechet_distance,
    kernel_distance,
    kl_per_dimension,
    label_agreement,
    laplacian_variance,
    mean_pairwise_distance,
    mean_squared_error,
    modes_covered,
    peak_signal_to_noise_ratio,
    precision_recall_density_coverage,
    slant,
    stroke_width,
    structural_similarity,
    style_kept,
)

pytestmark = pytest.mark.core_on("one")


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


def test_measures_of_pixels_take_eight_bits_as_floats(monkeypatch):
    generator = np.random.default_rng(0)
    x, y = generator.integers(0, 256, (2, 7, 12, 13, 1), dtype="uint8")
    for measure in (mean_squared_error, peak_signal_to_noise_ratio, structural_similarity):
        expected = measure(x / 255, y / 255)
        np.testing.assert_allclose(measure(x, y), expected, rtol=1e-5)
        np.testing.assert_allclose(measure(x, y / 255), expected, rtol=1e-5)  # each as it is
    assert laplacian_variance(x) == pytest.approx(laplacian_variance(x / 255), rel=1e-5)
    for measure in (slant, stroke_width):
        np.testing.assert_allclose(measure(x), measure(x / 255), rtol=1e-5)
    whole = structural_similarity(x, y), laplacian_variance(x)
    monkeypatch.setattr("keras_vaegan.metrics.pixels.CHUNK", 3)
    np.testing.assert_array_equal(structural_similarity(x, y), whole[0])
    assert laplacian_variance(x) == whole[1]


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


@pytest.mark.parametrize("rows, size", [(1999, 399), (30, 6), (4, 2)])
def test_small_sets_have_an_error_of_the_kernel_distance_too(rows, size):
    a, b = np.random.default_rng(2).standard_normal((2, rows, 3))
    distance, error = kernel_distance(a, b)
    assert distance == kernel_distance(a, b, block=rows)[0]
    assert error == kernel_distance(a, b, block=size)[1] > 0


def test_two_thousand_rows_are_two_blocks():
    a, b = np.random.default_rng(2).standard_normal((2, 2000, 3))
    assert kernel_distance(a, b) == kernel_distance(a, b, block=1000)


def test_three_rows_make_one_block():
    distance, error = kernel_distance(*np.random.default_rng(0).standard_normal((2, 3, 4)))
    assert np.isfinite(distance) and np.isnan(error)


@pytest.mark.parametrize(
    "block, shift, least, most",
    [(20, 0.0, 0.75, 1.25), (20, 1.0, 0.75, 1.25), (None, 1.0, 0.7, 1.3), (None, 0.0, 1.0, 4.0)],
)
def test_the_kernel_distance_is_unbiased_and_its_error_honest(block, shift, least, most):
    """In small sets that are alike the error is too large, as its docstring says."""
    generator = np.random.default_rng(1)
    sets = generator.standard_normal((200, 2, 100, 4)) + [[[0.0]], [[shift]]]
    distances, errors = np.transpose([kernel_distance(a, b, block) for a, b in sets])
    spread = np.std(distances)
    # The kernel's expectations, by the mean over many pairs.
    x, y = generator.standard_normal((2, 400_000, 4))
    kernels = [
        np.mean((((x + u) * (y + v)).sum(axis=1) / 4 + 1) ** 3)
        for u, v in ((0.0, 0.0), (shift, shift), (0.0, shift))
    ]
    expected = kernels[0] + kernels[1] - 2 * kernels[2]
    assert np.mean(distances) == pytest.approx(expected, abs=4 * spread / np.sqrt(200) + 0.05 * shift)
    assert least < np.mean(errors) / spread < most


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


# ---- reconstructions ----


def pairs(shape=(2, 13, 14, 2)):
    generator = np.random.default_rng(0)
    images = generator.random(shape)
    return images, np.clip(images + 0.2 * generator.standard_normal(shape), 0, 1)


def test_errors_and_signal_to_noise_are_their_formulas():
    x, y = pairs()
    squared = [np.mean((a - b) ** 2) for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(mean_squared_error(x, y), squared)
    np.testing.assert_allclose(peak_signal_to_noise_ratio(x, y), 20 * np.log10(1 / np.sqrt(squared)))
    assert np.all(np.isinf(peak_signal_to_noise_ratio(x, x)))


def test_similarity_is_that_of_weighted_windows():
    x, y = pairs()
    offsets = np.arange(-5, 6)
    window = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 1.5**2))
    window /= window.sum()
    expected = np.zeros((2, 3, 4, 2))
    for n, i, j, c in np.ndindex(expected.shape):
        a, b = x[n, i : i + 11, j : j + 11, c], y[n, i : i + 11, j : j + 11, c]
        mean_a, mean_b = (window * a).sum(), (window * b).sum()
        var_a, var_b = (window * (a - mean_a) ** 2).sum(), (window * (b - mean_b) ** 2).sum()
        cov = (window * (a - mean_a) * (b - mean_b)).sum()
        luminance = (2 * mean_a * mean_b + 1e-4) / (mean_a**2 + mean_b**2 + 1e-4)
        expected[n, i, j, c] = luminance * (2 * cov + 9e-4) / (var_a + var_b + 9e-4)
    np.testing.assert_allclose(structural_similarity(x, y), expected.mean(axis=(1, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(structural_similarity(x, x), 1.0)


def test_similarity_ranks_a_blurred_image_below_a_brighter_one():
    images = load("digits").test[0]
    blurred = ndimage.gaussian_filter(images, (0, 2, 2, 0))
    brighter = np.clip(images * 1.05, 0, 1)
    assert (
        structural_similarity(images, brighter).mean() > structural_similarity(images, blurred).mean() + 0.1
    )


@pytest.mark.parametrize("measure", [mean_squared_error, structural_similarity])
def test_images_of_other_shapes_are_refused(measure):
    with pytest.raises(InputError, match="same shape"):
        measure(np.zeros((2, 12, 12, 1)), np.zeros((2, 12, 11, 1)))
    with pytest.raises(InputError, match="11 pixels"):
        structural_similarity(np.zeros((2, 10, 12, 1)), np.zeros((2, 10, 12, 1)))


# ---- codes ----


def test_kl_per_dimension_is_the_integral():
    mean, log_variance = np.array([[0.5, -1.0]]), np.array([[0.2, -0.7]])
    z = np.linspace(-12, 12, 200_001)[:, None]
    q = stats.norm(mean, np.exp(log_variance / 2))
    integral = np.trapezoid(q.pdf(z) * (q.logpdf(z) - stats.norm.logpdf(z)), z, axis=0)
    np.testing.assert_allclose(kl_per_dimension(mean, log_variance), integral, rtol=1e-6)


def test_kl_per_dimension_is_the_integral_for_another_normal_too():
    q = stats.norm(np.array([[0.5, -1.0]]), np.exp(np.array([[0.1, -0.3]])))
    p = stats.norm(np.array([[1.5, -0.2]]), np.exp(np.array([[-0.2, 0.4]])))
    z = np.linspace(-12, 12, 200_001)[:, None]
    integral = np.trapezoid(q.pdf(z) * (q.logpdf(z) - p.logpdf(z)), z, axis=0)
    found = kl_per_dimension(q.mean(), 2 * np.log(q.std()), p.mean(), 2 * np.log(p.std()))
    np.testing.assert_allclose(found, integral, rtol=1e-6)


def test_units_are_active_when_their_mean_moves():
    generator = np.random.default_rng(0)
    means = generator.standard_normal((5000, 4)) * [1.0, 0.2, 0.05, 0.0] + 3.0
    assert active_units(means) == 2


def test_a_bit_is_a_coin_per_pixel():
    assert bits_per_dimension(28 * 28 * np.log(2.0), (28, 28, 1)) == pytest.approx(1.0)


# ---- classes ----


def certain(classes, count=10):
    """Probabilities of a classifier that is nearly certain."""
    return np.eye(count)[classes] * 0.9 + 0.1 / count


def test_agreement_is_counted_by_class():
    seen, asked = np.array([0, 1, 1, 2, 0]), np.array([0, 1, 2, 2, 1])
    result = label_agreement(certain(seen), asked)
    assert result["agreement"] == pytest.approx(3 / 5)
    np.testing.assert_allclose(result["per_class"][:3], [1.0, 0.5, 0.5])
    assert np.isnan(result["per_class"][3:]).all()


def test_images_without_a_label_are_not_disagreed_about():
    seen, labels = np.array([0, 1, 1, 2, 0]), np.array([0, -1, 2, -1, 0])
    assert label_agreement(certain(seen), labels)["agreement"] == pytest.approx(2 / 3)


def test_shuffled_labels_agree_by_chance():
    generator = np.random.default_rng(0)
    seen, asked = generator.integers(0, 10, (2, 20_000))
    assert label_agreement(certain(seen), asked)["agreement"] == pytest.approx(0.1, abs=0.01)


def test_balance_is_the_entropy_of_the_classes_seen():
    seen = np.repeat(np.arange(10), [5, 5, 10, 0, 0, 0, 0, 0, 0, 20])
    balance = class_balance(certain(seen))
    np.testing.assert_allclose(balance["histogram"], np.bincount(seen, minlength=10) / 40)
    assert balance["entropy"] == pytest.approx(stats.entropy(balance["histogram"], base=10))
    assert class_balance(certain(np.arange(10)))["entropy"] == pytest.approx(1.0)
    assert class_balance(certain(np.zeros(10, int)))["entropy"] == 0.0


def test_pairwise_distances_are_scipys():
    x, _ = two_sets(rows=30)
    assert mean_pairwise_distance(x, chunk=7) == pytest.approx(spatial.distance.pdist(x).mean())


def test_one_image_with_noise_is_not_a_diverse_class():
    generator = np.random.default_rng(0)
    real, labels = generator.standard_normal((400, 8)), np.repeat([0, 1], 200)
    real[labels == 1] += 3.0
    alike = real[[0, 200]].repeat(100, axis=0) + 0.1 * generator.standard_normal((200, 8))
    same = diversity_within_classes(real, labels, alike, np.repeat([0, 1], 100))
    assert max(same["spread"].values()) < 0.2
    assert max(same["coverage"].values()) < 0.2
    other = generator.standard_normal((400, 8)) + 3.0 * (labels == 1)[:, None]
    diverse = diversity_within_classes(real, labels, other, labels)
    assert min(diverse["spread"].values()) > 0.9
    assert min(diverse["coverage"].values()) > 0.8


def test_a_class_that_is_missing_or_unlabelled_counts_as_not_covered():
    real, labels = np.random.default_rng(0).standard_normal((40, 3)), np.repeat([0, 1], 20)
    result = diversity_within_classes(real, labels, real, np.where(labels == 1, -1, 0))
    assert (result["spread"][1], result["coverage"][1]) == (0.0, 0.0)
    assert result["coverage"][0] == 1.0


def test_modes_of_stacked_digits_are_counted():
    generator = np.random.default_rng(0)
    everything = modes_covered(generator.integers(0, 10, (200_000, 3)))
    assert everything["modes"] == 1000
    assert everything["kl"] == pytest.approx(0.0, abs=0.01)
    two = modes_covered(np.array([[0, 0, 0], [9, 9, 9]] * 5))
    assert two["modes"] == 2
    assert two["kl"] == pytest.approx(np.log(500))


def test_classes_that_cannot_be_are_refused():
    with pytest.raises(InputError, match="labels must"):
        label_agreement(certain(np.zeros(4, int)), [0, 1, 2, 10])
    with pytest.raises(InputError, match="digits must"):
        modes_covered(np.zeros((4, 2), int))
    with pytest.raises(InputError, match="class 1 has 2"):
        diversity_within_classes(np.eye(12), [0] * 10 + [1] * 2, np.zeros((3, 12)), [0, 0, 1])


# ---- strokes ----


def bar(angle, width, size=28, length=16, scale=16):
    """A straight stroke, leaning `angle` degrees to the right of upright, anti-aliased."""
    y, x = (np.indices((size * scale, size * scale)) + 0.5) / scale - size / 2
    angle = np.radians(angle)
    across, along = x * np.cos(angle) + y * np.sin(angle), x * np.sin(angle) - y * np.cos(angle)
    inside = (np.abs(across) <= width / 2) & (np.abs(along) <= length / 2)
    return inside.reshape(size, scale, size, scale).mean(axis=(1, 3))[..., None]


@pytest.mark.parametrize("angle", [-30, -10, 0, 20, 40])
def test_slant_is_the_tangent_of_the_angle_of_a_stroke(angle):
    assert slant(bar(angle, 2)[None])[0] == pytest.approx(np.tan(np.radians(angle)), abs=0.03)


def test_slant_is_undone_by_the_shear_it_names():
    digits = np.float64(load("digits").test[0][:50])
    for image, lean in zip(digits, slant(digits), strict=True):
        y = np.arange(28) - ndimage.center_of_mass(image[..., 0])[0]
        upright = np.stack(
            [ndimage.shift(row, lean * d, order=1) for row, d in zip(image[..., 0], y, strict=True)]
        )
        assert abs(slant(upright[None, ..., None])[0]) < 0.05


@pytest.mark.parametrize("width", [2, 3, 5])
@pytest.mark.parametrize("angle", [0, 25, 45])
def test_stroke_width_is_that_of_a_drawn_stroke(width, angle):
    of_a_bar = 2 * width * 16 / (2 * (width + 16))  # with its ends
    assert stroke_width(bar(angle, width)[None])[0] == pytest.approx(of_a_bar, rel=0.08)


def test_style_is_kept_by_the_same_strokes_and_not_by_others():
    rng = np.random.default_rng(0)
    strokes = [(rng.uniform(-30, 30), rng.uniform(2, 5)) for _ in range(40)]
    images = np.stack([bar(*stroke, scale=4) for stroke in strokes])
    longer = np.stack([bar(*stroke, scale=4, length=20) for stroke in strokes])
    labels = np.arange(40) % 2
    for values in style_kept(images, longer, labels).values():
        assert set(values) == {0, 1} and min(values.values()) > 0.97
    for values in style_kept(images, longer[rng.permutation(40)], labels).values():
        assert max(values.values()) < 0.5


def test_style_of_a_class_is_not_that_of_the_others():
    # The classes differ in width, and within each the results have nothing of the sources.
    widths = np.array([2.0, 2.4, 2.8, 4.0, 4.4, 4.8])
    sources = np.stack([bar(0, width, scale=10) for width in widths])
    results = np.stack([bar(0, width, scale=10) for width in widths[[1, 2, 0, 4, 5, 3]]])
    of_all = stats.pearsonr(stroke_width(sources), stroke_width(results)).statistic
    within = style_kept(sources, results, [0, 0, 0, 1, 1, 1])["stroke_width"]
    assert of_all > 0.8 and max(within.values()) < 0


def test_strokes_that_are_not_there_have_no_number():
    black = np.zeros((3, 8, 8, 1))
    assert np.isnan(slant(black)).all() and np.isnan(stroke_width(black)).all()
    kept = style_kept(black, black, [0, 0, 0])
    assert np.isnan(kept["slant"][0]) and np.isnan(kept["stroke_width"][0])


@pytest.mark.parametrize("measure", [slant, stroke_width])
def test_strokes_are_measured_in_grey_images(measure):
    with pytest.raises(InputError, match=r"images must be \(N, H, W, 1\), grey"):
        measure(np.zeros((2, 8, 8, 3)))


def test_pairs_of_styles_must_be_as_many():
    with pytest.raises(InputError, match="must be as many; received 2, 3 and 3"):
        style_kept(np.ones((2, 8, 8, 1)), np.ones((3, 8, 8, 1)), [0, 0, 1])
