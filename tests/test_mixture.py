"""The mixture that is fitted to codes as a prior, against SciPy, scikit-learn and an integral."""

import keras
import numpy as np
import pytest
import registry
from scipy import special, stats
from sklearn.mixture import GaussianMixture
from test_cli import TINY, TINY_NETWORKS, refused, run

from keras_vaegan.callbacks import SampleGrids
from keras_vaegan.errors import InputError
from keras_vaegan.noise import prior_noise
from keras_vaegan.presets import load_source
from keras_vaegan.priors import Drawn, Mixture

RNG = np.random.default_rng(0)
SHARES = np.array([0.1, 0.6, 0.3])
MEANS = np.array([[-6.0, 0.0, 1.0], [6.0, 1.0, 0.0], [0.0, 8.0, -1.0]])
FACTORS = np.array(
    [np.diag([0.5, 1.0, 2.0]), [[1.0, 0, 0], [0.8, 0.3, 0], [-0.5, 0.2, 0.7]], 0.4 * np.eye(3)]
)
COVARIANCES = FACTORS @ FACTORS.transpose(0, 2, 1)


def begun(components):
    """A mixture over codes of three numbers."""
    made = Mixture(components)
    made.begin((3,), {})
    return made


def log_prob(prior, z):
    """Its density, as an array."""
    return keras.ops.convert_to_numpy(prior.given().log_prob(np.float32(z)))


def mixture():
    """The mixture of these numbers."""
    made = begun(3)
    made.log_shares.assign(np.log(SHARES))
    made.means.assign(MEANS)
    made.factors.assign(FACTORS)
    return made


def codes_of(model, count=20_000):
    """What it makes of standard normal noise."""
    noise = np.random.default_rng(1).standard_normal((count, *model.code_shape)).astype("float32")
    return keras.ops.convert_to_numpy(model.given().place(noise))


def test_before_it_is_fitted_it_is_standard_normal():
    """Noise comes out as noise, though not as the same; the density is SciPy's."""
    codes = codes_of(begun(5))
    assert all(stats.kstest(codes[:, i], "norm").pvalue > 0.01 for i in range(3))
    np.testing.assert_allclose(np.cov(codes.T), np.eye(3), atol=0.04)
    z = RNG.standard_normal((10, 3))
    expected = stats.multivariate_normal(np.zeros(3)).logpdf(z)
    np.testing.assert_allclose(log_prob(begun(5), z), expected, rtol=1e-6)


def test_the_density_is_that_of_a_sum_of_normal_ones():
    """SciPy's, weighed and summed."""
    z = 4.0 * RNG.standard_normal((50, 3))
    each = [stats.multivariate_normal(m, c).logpdf(z) for m, c in zip(MEANS, COVARIANCES, strict=True)]
    expected = special.logsumexp(np.log(SHARES)[:, None] + np.array(each), axis=0)
    np.testing.assert_allclose(log_prob(mixture(), z), expected, rtol=1e-4)


def test_noise_comes_to_lie_as_the_mixture_says():
    """Components lie apart: codes of each have its share, mean and covariance, and are normal."""
    codes = codes_of(mixture())
    nearest = np.argmin([np.square(codes - mean).sum(axis=1) for mean in MEANS], axis=0)
    for k, (share, mean, factor) in enumerate(zip(SHARES, MEANS, FACTORS, strict=True)):
        own = codes[nearest == k]
        assert len(own) / len(codes) == pytest.approx(share, abs=0.012)
        noise = np.linalg.solve(factor, (own - mean).T)
        np.testing.assert_allclose(noise.mean(axis=1), 0.0, atol=0.1)
        np.testing.assert_allclose(np.cov(noise), np.eye(3), atol=0.1)
        assert all(stats.kstest(row, "norm").pvalue > 1e-3 for row in noise)


def test_fitting_is_scikit_learns():
    """The same density of the same codes."""
    codes = codes_of(mixture(), 2000)
    made = begun(3)
    made.fit(Drawn([codes]), seed=4)
    z = 4.0 * RNG.standard_normal((50, 3))
    expected = GaussianMixture(3, reg_covar=1e-4, random_state=4).fit(codes.astype("float64"))
    np.testing.assert_allclose(log_prob(made, z), expected.score_samples(z), rtol=1e-3, atol=1e-2)
    made.reset()
    np.testing.assert_allclose(log_prob(made, z), stats.norm.logpdf(z).sum(axis=1), rtol=1e-6)


def fitted():
    """A VAE with a mixture for a prior, and the images whose codes it is of."""
    model = registry.set_weights(registry.MODELS["vae_mixture"](seed=2))
    images = registry.images(300, seed=5)
    model.prior.reset()
    model.fit_prior(images, seed=6)
    return model, images


def test_codes_are_likelier_in_the_fitted_prior():
    """Also those of a draw that it was not fitted to; and the same seed gives the same prior."""
    model, images = fitted()
    codes = model.encode(images, sample=True, seed=7)
    assert log_prob(model.prior, codes).mean() > stats.norm.logpdf(codes).sum(axis=1).mean() + 0.05
    again, _ = fitted()
    np.testing.assert_allclose(again.generate(8, seed=1), model.generate(8, seed=1), atol=1e-5)


def test_likelihood_is_an_integral_over_the_fitted_prior():
    """log p(x), with many draws, against a sum over a grid of codes."""
    model, images = fitted()
    for weight in model.encoder.weights:
        if weight.path.endswith("log_variance/bias"):  # proposals that are wider than the prior
            weight.assign(weight + 3.0)
    axis = np.linspace(-7.0, 7.0, 141)
    z = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    logits = special.logit(np.clip(model.decode(z), 1e-7, 1 - 1e-7).astype("float64"))
    log_prior = log_prob(model.prior, z) + 2.0 * np.log(axis[1] - axis[0])
    for image in images[:3]:
        log_p = (image * logits - np.logaddexp(0.0, logits)).reshape(len(z), -1).sum(axis=1)
        expected = special.logsumexp(log_p + log_prior)
        found = model.log_likelihood(image[None], num_samples=20_000, seed=3)[0]
        assert found == pytest.approx(expected, abs=0.04)


def test_it_is_saved_and_training_again_forgets_it(tmp_path):
    """A `.keras` file and a preset in float16 generate the same; after `fit` the prior is N(0, I)."""
    model, images = fitted()
    expected = model.generate(6, seed=3)
    model.save(tmp_path / "model.keras")
    model.save_to_preset(tmp_path / "preset", half=True)
    np.testing.assert_allclose(
        load_source(tmp_path / "model.keras")[0].generate(6, seed=3), expected, atol=1e-6
    )
    np.testing.assert_allclose(load_source(tmp_path / "preset")[0].generate(6, seed=3), expected, atol=0.02)
    model.compile(keras.optimizers.SGD(1e-3))
    model.fit(images, epochs=1, verbose=0)
    z = RNG.standard_normal((5, 2))
    np.testing.assert_allclose(log_prob(model.prior, z), stats.norm.logpdf(z).sum(axis=1), rtol=1e-6)


@pytest.mark.core_on("one")
@pytest.mark.parametrize("settings", [{"prior_components": 2}, {"fakes_from": "posterior"}])
def test_samples_before_a_prior_is_fitted_are_warned_of(settings, recwarn, tmp_path):
    model, x = registry.vae_gan(**settings), registry.images(20)
    with pytest.warns(UserWarning, match=r"fit_prior\(x, prior='mixture'\)"):
        model.generate(2)
    model.compile()
    grids = SampleGrids(tmp_path, num_images=2)
    recwarn.clear()
    model.fit(x, batch_size=len(x), epochs=1, verbose=0, callbacks=[grids])  # not yet the time for it
    model.fit_prior(x, prior={"class": "mixture", "components": 2})
    model.generate(2)
    assert not [str(one.message) for one in recwarn if "N(0, I)" in str(one.message)]


def test_the_codes_of_all_steps_are_one_vector():
    """Of DRAW: density, codes and fit are those of a mixture over the steps' numbers in a row."""
    one, steps = mixture(), Mixture(3)
    steps.begin((1, 3), {})
    for own, other in zip(steps.weights, one.weights, strict=True):
        own.assign(other)
    np.testing.assert_allclose(codes_of(steps, 100)[:, 0], codes_of(one, 100), rtol=1e-5)
    z = 4.0 * RNG.standard_normal((50, 3))
    np.testing.assert_allclose(log_prob(steps, z[:, None]), log_prob(one, z), rtol=1e-5)

    model, images = registry.set_weights(registry.MODELS["draw_gan_mixture"](seed=2)), registry.images(300)
    model.prior.reset()
    model.fit_prior(images, seed=6)
    codes = model.encode(images, sample=True, seed=6)
    flat = codes.reshape(len(images), -1).astype("float64")
    expected = GaussianMixture(2, reg_covar=1e-4, random_state=6).fit(flat).score_samples(flat)
    np.testing.assert_allclose(log_prob(model.prior, codes), expected, rtol=1e-3, atol=1e-2)


def test_half_precision_leaves_its_numbers_as_they_are(dtype_policy):
    """Of a model in bfloat16: codes of samples are placed in float32, and only then decoded."""
    dtype_policy("mixed_bfloat16")
    model, _ = fitted()
    noise = prior_noise(8, model.code_shape, 1)
    codes = keras.ops.convert_to_numpy(model.prior.given().place(noise))
    np.testing.assert_allclose(model.generate(8, seed=1), model.decode(codes), atol=1e-6)


# ---- a mixture for each class ----


def of_classes():
    """Two classes: the mixture of these numbers, and the same elsewhere with other shares."""
    made = Mixture(3)
    made.begin((3,), {"labels": keras.Input((2,))})
    made.log_shares.assign(np.log(np.stack([SHARES, SHARES[::-1]])))
    made.means.assign(np.stack([MEANS, MEANS + 20.0]))
    made.factors.assign(np.stack([FACTORS, FACTORS[[2, 0, 1]]]))
    return made


def test_each_class_has_its_mixture():
    """Density and codes are those of a mixture of that class alone, row by row."""
    made, one = of_classes(), mixture()
    two = begun(3)
    two.log_shares.assign(np.log(SHARES[::-1]))
    two.means.assign(MEANS + 20.0)
    two.factors.assign(FACTORS[[2, 0, 1]])
    classes = np.array([0, 1, 1, 0, 1])
    given = made.given({"labels": keras.ops.convert_to_tensor(np.eye(2, dtype="float32")[classes])})
    noise = RNG.standard_normal((5, 3)).astype("float32")
    codes = keras.ops.convert_to_numpy(given.place(noise))
    density = keras.ops.convert_to_numpy(given.log_prob(codes))
    for row, k in enumerate(classes):
        alone = (one, two)[k].given()
        expected = keras.ops.convert_to_numpy(alone.place(noise[row : row + 1]))
        np.testing.assert_allclose(codes[row], expected[0], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(density[row], log_prob((one, two)[k], codes[row : row + 1])[0], rtol=1e-4)


def test_each_class_is_fitted_to_its_own_codes():
    """As scikit-learn fits the codes of that class; the training sees N(0, I)."""
    codes = RNG.standard_normal((600, 3)).astype("float32") + np.repeat([[0.0], [9.0]], 300, axis=0)
    classes = np.repeat([0, 1], 300)
    made = Mixture(2)
    made.begin((3,), {"labels": keras.Input((2,))})
    made.fit(Drawn([codes.astype("float32")]), classes, seed=4)
    for k in (0, 1):
        expected = GaussianMixture(2, reg_covar=1e-4, random_state=4 + k).fit(codes[classes == k])
        given = made.given({"labels": keras.ops.one_hot(np.full(50, k), 2)})
        z = codes[classes == k][:50]
        found = keras.ops.convert_to_numpy(given.log_prob(z.astype("float32")))
        np.testing.assert_allclose(found, expected.score_samples(z), rtol=1e-3, atol=1e-2)
    noise = RNG.standard_normal((4, 3)).astype("float32")
    in_training = made.given({"labels": keras.ops.one_hot(np.zeros(4, int), 2)}, training=True)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(in_training.place(noise)), noise)


@pytest.mark.parametrize("name", ["cvae", "cvae_gan", "ssl_vae", "ssl_vae_gan", "stacked_ssl_vae"])
def test_models_on_labels_take_it(name, tmp_path):
    """Codes of a class are likelier in its mixture than in N(0, I); labels may be missing."""
    arguments = {"prior_components": 2, "seed": 1}
    model = registry.set_weights(getattr(registry, name)(num_classes=3, **arguments))
    x = registry.images(120)
    labels = registry.labels(120)
    before = model.generate(6, seed=2)
    model.fit_prior(x, labels)
    made = model.generate(6, seed=2)
    assert np.abs(made - before).max() > 1e-3 and np.isfinite(model.log_likelihood(x[:3], labels[:3])).all()
    codes = model.encode(x, labels, sample=True, seed=0)
    if codes.shape[1:] == model.code_shape:
        given = model.prior.given({"labels": keras.ops.one_hot(labels, 3)})
        found = keras.ops.convert_to_numpy(given.log_prob(codes)).mean()
        assert found > stats.norm.logpdf(codes).sum(axis=1).mean()
    model.save(tmp_path / "model.keras")
    again = load_source(tmp_path / "model.keras")[0]
    np.testing.assert_allclose(again.generate(6, seed=2), made, atol=1e-6)
    if model.classifiers:
        model.fit_prior(x, np.where(np.arange(120) < 60, labels, -1))  # the model tells the others


@pytest.mark.core_on("one")
def test_each_class_needs_as_many_images_as_components():
    model = registry.cvae(num_classes=3, prior_components=4)
    labels = np.array([0] * 20 + [1] * 20 + [2] * 3)
    with pytest.raises(InputError, match="components must be at most 3, as many as the images of the small"):
        model.fit_prior(registry.images(43), labels)


@pytest.mark.core_on("one")
def test_bad_input_is_refused():
    """No mixture, too few images, a model that has another prior, codes of one number."""
    images = registry.images(5)
    with pytest.raises(InputError, match="prior must be one that is fitted"):
        registry.vae().fit_prior(images)
    with pytest.raises(InputError, match="components must be at most 5"):
        registry.vae(prior_components=9).fit_prior(images)
    with pytest.raises(InputError, match="prior must not be a mixture"):
        registry.cvae(given=True, prior_components=2)
    with pytest.raises(InputError, match="prior must not be a mixture"):
        registry.spatial_vae_gan(prior_components=2)
    with pytest.raises(InputError, match=r"codes of 2 to 512 numbers alone; received codes \(9, 100\)"):
        Mixture(2).begin((9, 100), {})
    with pytest.raises(InputError, match="components must be"):
        registry.vae(prior_components=-1)


@pytest.mark.core_on("one")
def test_train_refuses_more_components_than_images(tmp_path, capsys):
    """Before it trains, in one line."""
    train = ["train", "--model", "vae", "--set", "prior=mixture", "--set", "components=5000"]
    train += ["--dataset", "digits"]
    assert "components must be at most" in refused(capsys, *train, "--output", tmp_path / "run")


@pytest.mark.core_on("one")
def test_train_fits_it_at_the_end(tmp_path, capsys):
    """A run with components has a prior that is not N(0, I)."""
    folder = tmp_path / "run"
    train = [
        "train",
        "--model",
        "vae",
        *TINY,
        *TINY_NETWORKS,
        "--set",
        "prior=mixture",
        "--set",
        "components=4",
    ]
    assert run(*train, "--epochs", 1, "--output", folder) == 0
    assert "fits the prior, a mixture of 4 components" in capsys.readouterr().out
    assert np.abs(keras.ops.convert_to_numpy(load_source(folder)[0].prior.means)).max() > 0.1
