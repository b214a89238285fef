"""The importance-weighted bound on log p(x)."""

import keras
import numpy as np
import pytest
import reference
import registry
from scipy import stats

import keras_vaegan as kvg

DIMENSIONS, SCALE = 6, 0.4


@pytest.fixture(scope="module")
def linear():
    """A model whose pixels are Gaussian around a nearly linear function of the code.

    sigmoid(logits) is p(x|z)'s mean; with small weights around 0 it is 1/2 + logits / 4 to
    within 1e-4, so that p(x) is Gaussian and known.
    """
    generator = np.random.default_rng(0)
    inputs, codes = keras.Input((1, DIMENSIONS, 1)), keras.Input((2,))
    x = keras.layers.Flatten()(inputs)
    outputs = {name: keras.layers.Dense(2, name=name)(x) for name in ("mean", "log_variance")}
    encoder = keras.Model(inputs, outputs)
    logits = keras.layers.Reshape((1, DIMENSIONS, 1))(keras.layers.Dense(DIMENSIONS, name="logits")(codes))
    model = kvg.VAE(encoder, keras.Model(codes, logits), likelihood="gaussian", noise_scale=SCALE)

    directions, _ = np.linalg.qr(generator.standard_normal((DIMENSIONS, 2)))
    loadings = 0.05 * directions  # pixels per unit of the code, orthogonal: the posterior is diagonal
    precision = 1 + np.sum(loadings**2, axis=0) / SCALE**2
    posterior = loadings / SCALE**2 / precision
    model.decoder.get_layer("logits").set_weights([4 * loadings.T, np.zeros(DIMENSIONS)])
    encoder.get_layer("mean").set_weights([posterior, -0.5 * posterior.sum(axis=0)])
    encoder.get_layer("log_variance").set_weights([np.zeros((DIMENSIONS, 2)), -np.log(precision)])
    covariance = loadings @ loadings.T + SCALE**2 * np.eye(DIMENSIONS)
    x = np.clip(generator.multivariate_normal(np.full(DIMENSIONS, 0.5), covariance / 9, 20), 0, 1)
    exact = stats.multivariate_normal(np.full(DIMENSIONS, 0.5), covariance).logpdf(x)
    return model, x.reshape(-1, 1, DIMENSIONS, 1).astype("float32"), exact


def test_with_the_exact_posterior_every_sample_gives_the_exact_likelihood(linear):
    model, x, exact = linear
    np.testing.assert_allclose(model.log_likelihood(x, num_samples=1), exact, atol=2e-3)


def test_the_bound_rises_with_k_to_the_exact_likelihood(linear):
    model, x, exact = linear
    kernel, bias = model.encoder.get_layer("log_variance").get_weights()
    mean = model.encoder.get_layer("mean").get_weights()
    try:
        model.encoder.get_layer("log_variance").set_weights([kernel, bias + [0.9, -0.7]])
        model.encoder.get_layer("mean").set_weights([mean[0], mean[1] + 0.3])
        bounds = [
            model.log_likelihood(np.repeat(x, 25, axis=0), num_samples=k, seed=1).mean()
            for k in (1, 5, 50, 500)
        ]
    finally:
        model.encoder.get_layer("log_variance").set_weights([kernel, bias])
        model.encoder.get_layer("mean").set_weights(mean)
    assert np.all(np.diff(bounds) > 0)
    assert bounds[0] < exact.mean() - 0.1
    assert bounds[-1] == pytest.approx(exact.mean(), abs=0.02)


def test_one_sample_is_a_draw_of_the_bound_that_training_reports(inject_noise):
    model = registry.set_weights(registry.vae())
    x, k = registry.images(3), 400
    samples = model.log_likelihood(np.repeat(x, k, axis=0), num_samples=1, seed=2).reshape(3, k)
    noise = np.random.default_rng(5).standard_normal((k, 1, 3, registry.LATENT_DIM))
    weights = reference.weights_of(model)
    bounds = [-reference.losses(weights, x, np.concatenate([n, n]))["loss"] for n in noise]
    error = np.hypot(samples.std(axis=1), np.std(bounds, axis=0)) / np.sqrt(k)
    assert np.all(np.abs(samples.mean(axis=1) - np.mean(bounds, axis=0)) < 5 * error)


def test_an_image_has_the_same_draws_whatever_the_chunks(monkeypatch):
    model = registry.set_weights(registry.vae())
    x = registry.images(7)
    whole = model.log_likelihood(x, num_samples=4, seed=1)
    monkeypatch.setattr("keras_vaegan.models.latent.NUM_WEIGHED", 9)
    np.testing.assert_allclose(model.log_likelihood(x, num_samples=4, seed=1, batch_size=3), whole, rtol=1e-5)
    assert not np.allclose(model.log_likelihood(x, num_samples=4, seed=2), whole)


def test_no_samples_are_refused():
    with pytest.raises(kvg.InputError, match="num_samples"):
        registry.vae().log_likelihood(registry.images(), num_samples=0)
