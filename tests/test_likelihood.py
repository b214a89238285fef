"""The importance-weighted bound on log p(x), or log p(x|c) of what is not given."""

import keras
import numpy as np
import pytest
import reference
import registry
from keras import ops
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
    model = kvg.VAE(
        encoder, keras.Model(codes, logits), likelihood={"class": "gaussian", "noise_scale": SCALE}
    )

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
            model.log_likelihood(np.repeat(x, 25, axis=0), num_samples=k, seed=1, batch_size=5000).mean()
            for k in (1, 5, 50, 500)
        ]
    finally:
        model.encoder.get_layer("log_variance").set_weights([kernel, bias])
        model.encoder.get_layer("mean").set_weights(mean)
    assert np.all(np.diff(bounds) > 0)
    assert bounds[0] < exact.mean() - 0.1
    assert bounds[-1] == pytest.approx(exact.mean(), abs=0.02)


# ---- conditional models ----

CLASSES = np.repeat([0, 2, 1, 1], 5)
NOISE = 0.1
LEFT = np.arange(DIMENSIONS) < DIMENSIONS // 2


def dense(inputs, units, name):
    return keras.layers.Dense(units, name=name)(inputs)


def logit(x):
    """So that the decoder's mean, the sigmoid of its logits, is linear."""
    x = ops.clip(x, 1e-4, 1.0 - 1e-4)
    return ops.log(x) - ops.log(1.0 - x)


def orthogonal(generator, rows):
    """Loadings `(DIMENSIONS, 2)` whose columns are orthogonal on those rows."""
    loadings = 0.05 * generator.standard_normal((DIMENSIONS, 2))
    directions, _ = np.linalg.qr(generator.standard_normal((rows.sum(), 2)))
    loadings[rows] = 0.07 * directions
    return loadings


class Linear:
    """A conditional model of which p(x|c) of the hidden pixels is Gaussian and known.

    z ~ N(P c + p, diag(v)) and x ~ N(1/2 + L z + M c, s^2), c being the labels, one-hot, or the visible
    pixels and their mask; the encoder has the exact posterior, which is diagonal.
    """

    def __init__(self, condition):
        generator = np.random.default_rng(1)
        self.condition = condition
        self.hidden = ~LEFT if condition == "given" else np.ones(DIMENSIONS, bool)
        shape = (3,) if condition == "labels" else (1, DIMENSIONS, 2)
        size, hidden = int(np.prod(shape)), self.hidden
        loadings, map_c = orthogonal(generator, hidden), 0.03 * generator.standard_normal((DIMENSIONS, size))
        prior_c, prior_0 = generator.standard_normal((2, size)), np.array([0.3, -0.2])
        variance = np.array([1.5, 0.6])
        precision = 1 / variance + np.sum(loadings[hidden] ** 2, axis=0) / NOISE**2
        # The posterior's mean is gain (x - 1/2 - M c) + (P c + p) / v / precision.
        gain = np.zeros((2, DIMENSIONS))
        gain[:, hidden] = loadings[hidden].T / NOISE**2 / precision[:, None]
        shrunk = 1 / variance / precision

        def inputs(**own):
            tensors = {name: keras.Input(of, name=name) for name, of in own.items()}
            tensors[condition] = keras.Input(shape, name=condition)
            flat = [keras.layers.Flatten()(tensor) for tensor in tensors.values()]
            return tensors, flat[0] if len(flat) == 1 else keras.layers.Concatenate()(flat)

        def normal(name, **own):
            tensors, x = inputs(**own)
            outputs = {part: dense(x, 2, f"{name}_{part}") for part in ("mean", "log_variance")}
            return keras.Model(tensors, outputs)

        tensors, x = inputs(codes=(2,))
        logits = keras.layers.Activation(logit)(dense(x, DIMENSIONS, "pixels"))
        logits = keras.layers.Reshape((1, DIMENSIONS, 1))(logits)
        decoder = keras.Model(tensors, logits)
        encoder, prior = normal("encoder", images=(1, DIMENSIONS, 1)), normal("prior")
        self.model = kvg.CVAE(
            encoder, decoder, prior=prior, likelihood={"class": "gaussian", "noise_scale": NOISE}
        )

        pixels = [np.concatenate([loadings, map_c], 1).T, np.full(DIMENSIONS, 0.5)]
        decoder.get_layer("pixels").set_weights(pixels)
        prior.get_layer("prior_mean").set_weights([prior_c.T, prior_0])
        prior.get_layer("prior_log_variance").set_weights([np.zeros((size, 2)), np.log(variance)])
        on_c = shrunk[:, None] * prior_c - gain @ map_c
        self.mean, self.log_variance = (encoder.get_layer(f"encoder_{p}") for p in ("mean", "log_variance"))
        self.mean.set_weights([np.concatenate([gain, on_c], 1).T, shrunk * prior_0 - gain.sum(axis=1) / 2])
        self.log_variance.set_weights([np.zeros((DIMENSIONS + size, 2)), -np.log(precision)])

        x = np.float32(np.clip(0.5 + 0.15 * generator.standard_normal((20, DIMENSIONS)), 0, 1))
        c = reference.one_hot(CLASSES, 3)
        if condition == "given":
            c = reference.joined(reference.given_part(np.float64(x).reshape(-1, 1, DIMENSIONS, 1), LEFT))
        center = 0.5 + c @ map_c.T + (c @ prior_c.T + prior_0) @ loadings.T
        covariance = loadings @ np.diag(variance) @ loadings.T + NOISE**2 * np.eye(DIMENSIONS)
        density = stats.multivariate_normal(np.zeros(hidden.sum()), covariance[np.ix_(hidden, hidden)])
        self.exact = density.logpdf((x - center)[:, hidden])
        self.x = x.reshape(-1, 1, DIMENSIONS, 1)

    def bound(self, repeats=1, **arguments):
        """The bound of each image, as often as it is said."""
        given = {"mask": LEFT[None]} if self.condition == "given" else {"labels": np.repeat(CLASSES, repeats)}
        return self.model.log_likelihood(np.repeat(self.x, repeats, axis=0), **given, **arguments)


@pytest.fixture(scope="module", params=["labels", "given"])
def conditional(request):
    return Linear(request.param)


def test_the_exact_conditional_likelihood_is_that_of_the_exact_posterior(conditional):
    assert np.std(conditional.exact) > 0.3
    for seed in (0, 1):
        bound = conditional.bound(num_samples=1, seed=seed)
        np.testing.assert_allclose(bound, conditional.exact, atol=1e-3)


def test_the_conditional_bound_rises_with_k_to_the_exact_likelihood(conditional):
    layers = conditional.mean, conditional.log_variance
    kept = [layer.get_weights() for layer in layers]
    try:
        for layer, (kernel, bias), shift in zip(layers, kept, (0.5, [0.9, -0.7]), strict=True):
            layer.set_weights([kernel, bias + np.float32(shift)])
        bounds = [
            conditional.bound(25, num_samples=k, seed=1, batch_size=5000).mean() for k in (1, 5, 50, 500)
        ]
    finally:
        for layer, weights in zip(layers, kept, strict=True):
            layer.set_weights(weights)
    assert np.all(np.diff(bounds) > 0)
    assert bounds[0] < conditional.exact.mean() - 0.1
    assert bounds[-1] == pytest.approx(conditional.exact.mean(), abs=0.02)


@pytest.fixture(scope="module")
def completing():
    """A model of image completion whose posterior is not far from its prior."""
    model = registry.set_weights(registry.MODELS["cvae_completion"]())
    for variable in (*model.encoder.trainable_variables, *model.prior.trainable_variables):
        variable.assign(0.1 * variable)
    return model


HIDDEN = reference.visible("quadrants:3", *registry.IMAGE_SHAPE[:2]) == 0


def test_the_likelihood_of_a_completion_is_that_of_the_hidden_pixels(completing):
    x, k = registry.images(3), 200_000
    weights = reference.weights_of(completing)
    parts, hidden = reference.condition(np.float64(x), **registry.TRANSCRIBED["cvae_completion"])
    found = completing.log_likelihood(x, mask="quadrants:3", num_samples=5000, seed=3, batch_size=5000)
    # p(hidden|given) by draws of the prior, without the encoder.
    noise = np.random.default_rng(4).standard_normal((k, 3, registry.LATENT_DIM))
    center, log_spread = reference.prior(weights, parts, noise[0].shape)
    z = (center + np.exp(log_spread / 2) * noise).reshape(-1, registry.LATENT_DIM)
    mean = reference.decode(weights, z, [np.tile(part, (k, 1)) for part in parts])
    pixels = hidden * reference.log_density(reference.joined(np.float64(x)), mean.reshape(k, 3, -1))
    likelihoods = np.exp(pixels.sum(axis=2))
    expected = np.log(likelihoods.mean(axis=0))
    assert np.all(likelihoods.std(axis=0) / likelihoods.mean(axis=0) / np.sqrt(k) < 1e-3)
    np.testing.assert_allclose(found, expected, atol=0.01)


def test_the_probabilities_of_the_hidden_pixels_add_up_to_one(completing):
    rows, columns = np.nonzero(HIDDEN)
    assert len(rows) == 2
    pictures = np.repeat(registry.images(1), 4, axis=0)
    pictures[:, rows, columns, 0] = [[0, 0], [0, 1], [1, 0], [1, 1]]
    found = completing.log_likelihood(pictures, mask="quadrants:3", num_samples=5000, batch_size=5000)
    assert np.exp(found).sum() == pytest.approx(1.0, abs=0.01)


# ---- draws ----


@pytest.mark.parametrize("name", ["vae", "cvae", "cvae_completion"])
def test_one_sample_is_a_draw_of_the_bound_that_training_reports(name):
    model = registry.set_weights(registry.MODELS[name]())
    x, labels, k = registry.images(3), registry.labels(3), 400
    condition = registry.condition(model, 3)
    if "labels" in condition:
        condition["labels"] = np.repeat(condition["labels"], k)
    samples = model.log_likelihood(np.repeat(x, k, axis=0), num_samples=1, seed=2, **condition).reshape(3, k)
    noise = np.random.default_rng(5).standard_normal((k, 1, 3, registry.LATENT_DIM))
    weights, arguments = reference.weights_of(model), registry.TRANSCRIBED[name]
    bounds = [
        -reference.losses(weights, x, np.concatenate([n, n]), labels, **arguments)["loss"] for n in noise
    ]
    error = np.hypot(samples.std(axis=1), np.std(bounds, axis=0)) / np.sqrt(k)
    assert np.all(np.abs(samples.mean(axis=1) - np.mean(bounds, axis=0)) < 5 * error)


@pytest.mark.parametrize("name", ["vae", "cvae_both"])
def test_an_image_has_the_same_draws_whatever_the_chunks(name, monkeypatch):
    model, x = registry.set_weights(registry.MODELS[name]()), registry.images(7)
    arguments = registry.condition(model, 7) | {"num_samples": 4}
    if model.completes:  # a mask of its own for each image
        arguments["mask"] = np.random.default_rng(0).random((7, *registry.IMAGE_SHAPE[:2])) < 0.5
    whole = model.log_likelihood(x, seed=1, **arguments)
    monkeypatch.setattr("keras_vaegan.models.latent.NUM_WEIGHED", 9)
    np.testing.assert_allclose(model.log_likelihood(x, seed=1, batch_size=3, **arguments), whole, rtol=1e-5)
    assert not np.allclose(model.log_likelihood(x, seed=2, **arguments), whole)


def test_no_samples_are_refused():
    with pytest.raises(kvg.InputError, match="num_samples"):
        registry.vae().log_likelihood(registry.images(), num_samples=0)


# ---- bits drawn from grey pixels ----


@pytest.mark.core_on("one")
@pytest.mark.parametrize("name", ["vae", "vae_gan", "cvae_completion", "ssl_vae", "ssl_vae_gan", "draw_gan"])
def test_the_bound_of_bits_is_that_of_the_images_of_bits(name, inject_noise, monkeypatch):
    build, arguments = registry.ARGUMENTS[name]
    models = [
        registry.set_weights(build(**arguments, binarize=binarize, seed=0)) for binarize in (True, False)
    ]
    x = registry.images()
    u = np.random.default_rng(8).random(x.shape).astype("float32")
    monkeypatch.setattr(keras.random, "uniform", lambda *args, **kwargs: ops.convert_to_tensor(u))
    inject_noise()
    y = ops.convert_to_tensor(registry.targets(name))
    grey, bits = (ops.convert_to_tensor(images) for images in (x, (u < x).astype("float32")))
    found, expected = (model.compute_losses(of, y) for model, of in zip(models, (grey, bits), strict=True))
    for log in ("loss", "kl", "reconstruction"):
        np.testing.assert_allclose(
            ops.convert_to_numpy(found.logs[log]), ops.convert_to_numpy(expected.logs[log]), rtol=1e-5
        )
    if "gan" in name:  # what D judges beside the fakes is not made of bits
        other = models[1].compute_losses(grey, y)
        np.testing.assert_allclose(
            ops.convert_to_numpy(found.logs["d_real"]), ops.convert_to_numpy(other.logs["d_real"]), rtol=1e-5
        )


def test_bits_are_drawn_with_the_pixels_probabilities():
    """With a decoder that knows nothing of z, log p(bits) is linear in the bits."""
    model = registry.vae(binarize=True, seed=0)
    for variable in model.decoder.weights:
        variable.assign(np.zeros(variable.shape))
    logits = np.float32([0.5, -1.0, 2.0, 0.0, -3.0, 1.0])
    model.decoder.weights[-1].assign(logits)
    for variable in model.encoder.weights:
        variable.assign(np.zeros(variable.shape))  # q(z|x) is the prior
    x = registry.images(1)
    found = model.log_likelihood(np.repeat(x, 4000, axis=0), num_samples=1, seed=2)
    p = 1.0 / (1.0 + np.exp(-np.float64(logits)))
    grey = np.sum(x.ravel() * np.log(p) + (1.0 - x.ravel()) * np.log(1.0 - p))
    variance = np.sum(x.ravel() * (1.0 - x.ravel()) * np.float64(logits) ** 2)
    assert found.mean() == pytest.approx(grey, abs=5 * np.sqrt(variance / len(found)))
    assert found.var() == pytest.approx(variance, rel=0.15)
    assert model.log_likelihood(x, num_samples=1, seed=2)[0] == pytest.approx(found[0], rel=1e-5)


def test_bits_are_for_the_bernoulli_likelihood():
    with pytest.raises(kvg.InputError, match="binarize"):
        registry.vae(binarize=True, likelihood="gaussian")
