"""A Gaussian likelihood whose standard deviation is learned."""

import math

import keras
import numpy as np
import pytest
import reference
import registry
from keras import ops
from scipy import stats

import keras_vaegan as kvg
from keras_vaegan import InputError
from keras_vaegan.likelihoods import LearnedGaussian


def log_scale(model):
    return float(ops.convert_to_numpy(model.observation.log_scale))


def test_the_density_is_that_of_its_scale():
    likelihood = LearnedGaussian(0.3)
    likelihood.moved.assign(-0.05)
    rng = np.random.default_rng(0)
    logits, x = rng.normal(size=(2, 3, 4, 1)), rng.uniform(size=(2, 3, 4, 1))
    above = math.log(0.3) - math.log(1e-3) - 0.5
    scale = 1e-3 * (1 + math.exp(above))
    expected = stats.norm.logpdf(x, 1 / (1 + np.exp(-logits)), scale).sum(axis=(1, 2, 3))
    found = likelihood(ops.convert_to_tensor(logits.astype("float32"))).log_prob(x.astype("float32"))
    np.testing.assert_allclose(ops.convert_to_numpy(found), expected, rtol=1e-4)


@pytest.mark.parametrize("kind", ["vae", "three_players"])
def test_a_player_moves_the_scale_to_the_root_mean_squared_error(kind, inject_noise):
    inject_noise()
    settings = {"likelihood": {"class": "learned_gaussian", "noise_scale": 0.4}}
    model = registry.set_weights(registry.vae(**settings))
    owner = "generator"
    if kind == "three_players":
        settings |= {"three_players": True, "pixel_weight": 1.0}
        model = registry.set_weights(registry.vae_gan(**settings))
    assert [v.path for v in model.player_variables()[owner]].count("likelihood/log_scale") == 1
    model.observation.moved.assign(0.0)
    model.compile({player: keras.optimizers.SGD(0.0) for player in model.players})
    model.player_optimizer(owner).learning_rate = 1e-6
    x = registry.images()
    mean = model.reconstruct(x)
    before = reference.weights_of(model)["likelihood/log_scale"]
    model.train_on_batch(x)
    applied = before - reference.weights_of(model)["likelihood/log_scale"]

    # Of -log N with s = log sigma, d/ds is the number of pixels less the sum of squares / sigma^2.
    scale = 1e-3 * (1 + 0.4 / 1e-3)
    slope = mean[0].size - np.square(x - mean).sum(axis=(1, 2, 3)).mean() / scale**2
    share = 1 / (1 + 1e-3 / 0.4)
    assert applied / 1e-6 == pytest.approx(10 * share * slope, rel=2e-3)


@pytest.mark.core_on("one")
def test_training_finds_the_error_and_the_file_keeps_it(tmp_path):
    x = np.random.default_rng(0).uniform(0.3, 0.7, (64, 4, 4, 1)).astype("float32")
    model = registry.vae(image_shape=(4, 4, 1), likelihood="learned_gaussian")
    model.compile({"generator": keras.optimizers.Adam(1e-2)})
    model.fit(x, epochs=40, batch_size=64, verbose=0)
    error = np.sqrt(np.square(model.reconstruct(x) - x).mean())
    assert math.exp(log_scale(model)) == pytest.approx(error, rel=0.15)
    assert abs(log_scale(model) - math.log(0.1)) > 0.05
    model.save(tmp_path / "model.keras")
    model.save_to_preset(tmp_path / "preset")
    for loaded in (
        keras.saving.load_model(tmp_path / "model.keras"),
        kvg.VAE.from_preset(tmp_path / "preset"),
    ):
        assert log_scale(loaded) == pytest.approx(log_scale(model), abs=1e-3)
        np.testing.assert_allclose(
            loaded.log_likelihood(x[:4], num_samples=2, seed=0),
            model.log_likelihood(x[:4], num_samples=2, seed=0),
            rtol=1e-2,
        )


@pytest.mark.core_on("one")
def test_a_scale_below_the_least_is_refused():
    with pytest.raises(InputError, match="noise_scale must be a number of at least 0.001"):
        LearnedGaussian(1e-4)
