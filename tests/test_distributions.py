"""Distributions against SciPy, and against Monte Carlo estimates within five standard errors."""

import keras
import numpy as np
import pytest
from keras import ops
from scipy import integrate, special, stats

from keras_vaegan.backend import input_gradient
from keras_vaegan.distributions import Bernoulli, Categorical, DiagonalNormal

B = 3
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def softmax(logits):
    return special.softmax(np.float64(logits), axis=-1)


def array(tensor):
    return ops.convert_to_numpy(tensor)


def five_standard_errors(samples, axis=0):
    return 5 * np.std(samples, axis=axis, ddof=1) / np.sqrt(np.shape(samples)[axis])


# ---- closed forms ----


def test_bernoulli_log_prob_and_entropy_are_scipys():
    logits, x = draw(B, 2, 3, 1), draw(B, 2, 3, 1, seed=1) > 0
    p = special.expit(np.float64(logits))
    distribution = Bernoulli(logits)
    expected = stats.bernoulli.logpmf(x, p).sum((1, 2, 3))
    np.testing.assert_allclose(array(distribution.log_prob(x.astype("float32"))), expected, **CLOSE)
    np.testing.assert_allclose(
        array(distribution.entropy()), stats.bernoulli.entropy(p).sum((1, 2, 3)), **CLOSE
    )


def test_bernoulli_takes_grey_pixels_as_negative_cross_entropy():
    logits, x = draw(B, 4), np.random.default_rng(1).random((B, 4))
    p = special.expit(np.float64(logits))
    expected = (special.xlogy(x, p) + special.xlogy(1 - x, 1 - p)).sum(1)
    np.testing.assert_allclose(array(Bernoulli(logits).log_prob(x)), expected, **CLOSE)


def test_bernoulli_is_finite_at_extreme_logits():
    logits = np.array([[-300.0, 300.0]], "float32")
    distribution = Bernoulli(logits)
    assert array(distribution.log_prob(np.array([[0.0, 1.0]]))) == pytest.approx(0.0)
    assert array(distribution.log_prob(np.array([[1.0, 0.0]]))) == pytest.approx(-600.0)
    assert array(distribution.entropy()) == pytest.approx(0.0)


def test_bernoulli_kl_is_scipys_relative_entropy():
    logits, other = draw(B, 4), draw(B, 4, seed=1)
    p, q = (np.stack([special.expit(-a), special.expit(a)]) for a in (np.float64(logits), np.float64(other)))
    expected = stats.entropy(p, q, axis=0).sum(1)
    np.testing.assert_allclose(array(Bernoulli(logits).kl(Bernoulli(other))), expected, **CLOSE)


def test_a_variance_for_all_is_broadcast():
    mean, log_variance, x = draw(3, 3), draw(3), draw(3, 3, seed=2)
    expected = stats.norm(mean, np.exp(log_variance / 2)).logpdf(x).sum(1)
    np.testing.assert_allclose(array(DiagonalNormal(mean, log_variance).log_prob(x)), expected, **CLOSE)


def test_normal_log_prob_and_entropy_are_scipys():
    mean, log_variance, x = draw(B, 2, 3), draw(B, 2, 3, seed=1), draw(B, 2, 3, seed=2)
    normal = stats.norm(mean, np.exp(log_variance / 2))
    distribution = DiagonalNormal(mean, log_variance)
    np.testing.assert_allclose(array(distribution.log_prob(x)), normal.logpdf(x).sum((1, 2)), **CLOSE)
    np.testing.assert_allclose(array(distribution.entropy()), normal.entropy().sum((1, 2)), **CLOSE)


@pytest.mark.parametrize("to_standard", [True, False])
def test_normal_kl_is_the_integral(to_standard):
    mean, log_variance = draw(1, 2), draw(1, 2, seed=1)
    other_mean, other_log_variance = np.zeros((2, 1, 2)) if to_standard else draw(2, 1, 2, seed=2)
    expected = 0.0
    for i in range(2):
        p = stats.norm(mean[0, i], np.exp(log_variance[0, i] / 2))
        q = stats.norm(other_mean[0, i], np.exp(other_log_variance[0, i] / 2))
        low, high = p.mean() - 12 * p.std(), p.mean() + 12 * p.std()
        expected += integrate.quad(lambda z, p, q: p.pdf(z) * (p.logpdf(z) - q.logpdf(z)), low, high, (p, q))[
            0
        ]
    distribution = DiagonalNormal(mean, log_variance)
    other = None if to_standard else DiagonalNormal(other_mean, other_log_variance)
    assert array(distribution.kl(other)) == pytest.approx(expected, rel=1e-4)
    np.testing.assert_allclose(
        array(distribution.kl_per_dimension(other)).sum(-1), array(distribution.kl(other)), **CLOSE
    )


def test_normal_kl_defaults_to_the_standard_normal():
    distribution = DiagonalNormal(draw(B, 2), draw(B, 2, seed=1))
    standard = DiagonalNormal(np.zeros((B, 2)), np.zeros((B, 2)))
    np.testing.assert_allclose(array(distribution.kl()), array(distribution.kl(standard)), **CLOSE)
    np.testing.assert_allclose(array(standard.kl()), np.zeros(B), atol=1e-6)


@pytest.mark.parametrize("shape", [(B, 2, 3, 2), (B, 2, 3, 1)], ids=["of each", "of all channels"])
def test_log_probs_are_weighted_sums_over_the_elements(shape):
    weights = (np.random.default_rng(5).random(shape) < 0.5).astype("float32")
    assert 0 < weights.sum() < weights.size
    logits, x = draw(B, 2, 3, 2), np.random.default_rng(1).random((B, 2, 3, 2), "float32")
    p = special.expit(np.float64(logits))
    expected = (weights * (special.xlogy(x, p) + special.xlogy(1 - x, 1 - p))).sum((1, 2, 3))
    np.testing.assert_allclose(
        array(Bernoulli(logits).log_prob(x, ops.convert_to_tensor(weights))), expected, **CLOSE
    )
    log_variance = draw(B, 2, 3, 2, seed=3)
    expected = (weights * stats.norm(logits, np.exp(log_variance / 2)).logpdf(x)).sum((1, 2, 3))
    found = DiagonalNormal(logits, log_variance).log_prob(x, ops.convert_to_tensor(weights))
    np.testing.assert_allclose(array(found), expected, **CLOSE)


def test_categorical_is_scipys():
    logits, other, index = draw(B, 4), draw(B, 4, seed=1), np.array([0, 3, 1])
    p, q = softmax(logits), softmax(other)
    distribution = Categorical(logits)
    one_hot = np.eye(4)[index]
    expected = [stats.multinomial.logpmf(row, 1, weights) for row, weights in zip(one_hot, p, strict=True)]
    np.testing.assert_allclose(array(distribution.log_prob(one_hot)), expected, **CLOSE)
    np.testing.assert_allclose(array(distribution.entropy()), stats.entropy(p, axis=1), **CLOSE)
    np.testing.assert_allclose(
        array(distribution.kl(Categorical(other))), stats.entropy(p, q, axis=1), **CLOSE
    )
    np.testing.assert_allclose(array(distribution.mean), p, **CLOSE)


# ---- Monte Carlo ----


@pytest.mark.parametrize("to_standard", [True, False])
def test_normal_kl_is_the_mean_log_ratio_of_draws(to_standard):
    mean, log_variance = draw(B, 2), draw(B, 2, seed=1)
    other_mean, other_log_variance = np.zeros((2, B, 2)) if to_standard else draw(2, B, 2, seed=2)
    z = np.random.default_rng(3).normal(mean, np.exp(log_variance / 2), (40_000, B, 2))
    other = stats.norm(other_mean, np.exp(other_log_variance / 2))
    ratio = (stats.norm.logpdf(z, mean, np.exp(log_variance / 2)) - other.logpdf(z)).sum(-1)
    prior = None if to_standard else DiagonalNormal(other_mean, other_log_variance)
    kl = array(DiagonalNormal(mean, log_variance).kl(prior))
    assert np.all(np.abs(kl - ratio.mean(0)) < five_standard_errors(ratio))


@pytest.mark.parametrize(
    "distribution, mean, variance",
    [
        (lambda n: Bernoulli(np.tile([[-1.0, 0.5]], (n, 1))), special.expit([-1.0, 0.5]), None),
        (
            lambda n: DiagonalNormal(np.full((n, 2), 0.5), np.tile([[-1.0, 1.0]], (n, 1))),
            0.5,
            np.exp([-1.0, 1.0]),
        ),
        (lambda n: Categorical(np.tile([[0.0, 1.0, -1.0]], (n, 1))), softmax([0.0, 1.0, -1.0]), None),
    ],
    ids=["bernoulli", "normal", "categorical"],
)
def test_draws_have_the_moments(distribution, mean, variance):
    samples = array(distribution(40_000).sample(keras.random.SeedGenerator(1)))
    assert np.all(np.abs(samples.mean(0) - mean) < five_standard_errors(samples))
    variance = mean * (1 - mean) if variance is None else variance
    squares = (samples - mean) ** 2
    assert np.all(np.abs(squares.mean(0) - variance) < five_standard_errors(squares))


def test_categorical_draws_are_one_hot():
    samples = array(Categorical(draw(50, 4)).sample(keras.random.SeedGenerator(1)))
    assert set(np.unique(samples)) == {0.0, 1.0}
    np.testing.assert_array_equal(samples.sum(1), 1.0)


def test_a_seed_generator_gives_new_draws_each_time():
    seed, distribution = keras.random.SeedGenerator(1), DiagonalNormal(np.zeros((2, 3)), np.zeros((2, 3)))
    assert np.all(array(distribution.sample(seed)) != array(distribution.sample(seed)))


# ---- gradients and precision ----


def test_normal_draws_have_the_reparametrised_gradient():
    mean, log_variance = draw(B, 2), ops.convert_to_tensor(draw(B, 2, seed=1))

    def by_mean(mean):
        return DiagonalNormal(mean, log_variance).sample(seed=1), None

    def by_log_variance(log_variance):
        sample = DiagonalNormal(mean, log_variance).sample(seed=1)
        return sample, ops.stop_gradient(sample)

    gradient, _ = input_gradient(by_mean, ops.convert_to_tensor(mean))
    np.testing.assert_allclose(array(gradient), np.ones((B, 2)))
    gradient, sample = input_gradient(by_log_variance, log_variance)
    np.testing.assert_allclose(array(gradient), (array(sample) - mean) / 2, **CLOSE)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("kind", [Bernoulli, Categorical, DiagonalNormal])
def test_results_are_float32_from_parameters_of_half_precision(kind, dtype):
    half = ops.cast(draw(B, 4), dtype)
    distribution = kind(half, half) if kind is DiagonalNormal else kind(half)
    sample = distribution.sample(seed=1)
    results = [sample, distribution.log_prob(ops.cast(sample, dtype)), distribution.entropy()]
    results += [distribution.kl(distribution), distribution.mean]
    assert {keras.backend.standardize_dtype(result.dtype) for result in results} == {"float32"}


def test_distributions_are_immutable():
    distribution = Bernoulli(draw(B, 4))
    with pytest.raises(AttributeError):
        distribution.logits = draw(B, 4)


# ---- a model whose p(x) is known: x = W z + b + noise ----

SCALE = 0.5
W = np.array([[1.0, 0.5], [0.5, -1.0], [-0.2, 1.0], [1.0, 0.2]])  # orthogonal columns: diagonal posterior
SHIFT = np.array([0.3, -0.2, 0.1, 0.0])
X = np.array([0.9, -0.4, 0.7, 0.2])


def evidence():
    return stats.multivariate_normal(SHIFT, W @ W.T + SCALE**2 * np.eye(4)).logpdf(X)


def exact_posterior():
    variance = 1 / (1 + (W**2).sum(0) / SCALE**2)
    return variance * ((X - SHIFT) @ W) / SCALE**2, np.log(variance)


def log_joint(z):
    """log p(x, z) of codes `(N, 2)`."""
    p = DiagonalNormal(z @ W.T + SHIFT, np.full((len(z), 4), 2 * np.log(SCALE)))
    prior = DiagonalNormal(np.zeros((len(z), 2)), np.zeros((len(z), 2)))
    return array(p.log_prob(np.tile(X, (len(z), 1)))), array(prior.log_prob(z))


def test_the_columns_are_orthogonal():
    assert W[:, 0] @ W[:, 1] == pytest.approx(0.0)


def test_the_bound_is_the_evidence_at_the_exact_posterior():
    mean, log_variance = exact_posterior()
    z = mean + np.exp(log_variance / 2) * np.random.default_rng(0).normal(size=(20_000, 2))
    reconstruction = log_joint(z)[0]
    bound = reconstruction.mean() - array(DiagonalNormal(mean[None], log_variance[None]).kl())[0]
    assert abs(bound - evidence()) < five_standard_errors(reconstruction)
    assert five_standard_errors(reconstruction) < 0.06


def test_importance_weighted_bounds_rise_to_the_evidence():
    mean, log_variance = exact_posterior()
    mean, log_variance = mean + [0.2, -0.15], log_variance + 0.5  # an encoder that is off
    estimates = []
    for k in (1, 5, 50, 500):
        count = max(400, 20_000 // k)
        z = mean + np.exp(log_variance / 2) * np.random.default_rng(k).normal(size=(count * k, 2))
        q = DiagonalNormal(np.tile(mean, (len(z), 1)), np.tile(log_variance, (len(z), 1)))
        ratio = np.sum(log_joint(z), axis=0) - array(q.log_prob(z))
        bounds = special.logsumexp(ratio.reshape(count, k), axis=1) - np.log(k)
        estimates.append((bounds.mean(), five_standard_errors(bounds)))
    estimates.append((evidence(), 0.0))
    for (low, low_error), (high, high_error) in zip(estimates, estimates[1:], strict=False):
        assert low <= high + low_error + high_error
    assert estimates[0][0] + estimates[0][1] < evidence() - 0.1  # there is a gap to close
    assert estimates[-2][0] == pytest.approx(evidence(), abs=0.02)
