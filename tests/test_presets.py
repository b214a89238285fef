"""Recipes, models built from them, and run folders."""

import json

import keras
import numpy as np
import pytest

from keras_vaegan import InputError, presets

SHAPE = (8, 6, 1)


def small(name):
    """A recipe with networks that train in a moment."""
    recipe = presets.recipe(name)
    for network in recipe["networks"]:
        if "filters" in (
            settings := recipe["networks"][network] if isinstance(recipe["networks"][network], dict) else {}
        ):
            settings["filters"] = [3]
    return recipe


@pytest.mark.parametrize("name", presets.RECIPES)
def test_every_recipe_builds_and_trains_a_step(name):
    recipe = small(name)
    model = presets.build(recipe, SHAPE, seed=0)
    x = np.random.default_rng(0).random((4, *SHAPE), dtype="float32")
    logs = model.fit(x, batch_size=4, verbose=0).history
    assert all(np.isfinite(values).all() for values in logs.values())
    for player, settings in recipe["optimizer"].items():
        optimizer = model.player_optimizer(player)
        assert type(optimizer).__name__ == settings["class"]
        assert float(optimizer.learning_rate) == pytest.approx(settings["learning_rate"])
    assert set(recipe) == {"model", "networks", "optimizer", "training", "source", "expect"}


@pytest.mark.parametrize("key", presets.MODEL_KEYS)
def test_every_model_has_a_recipe_for_digits_and_one_for_mnist(key):
    for dataset in ("digits", "mnist"):
        recipe = presets.RECIPES[f"{key}_{dataset}"]
        assert recipe["model"]["key"] == key
        assert recipe["training"]["dataset"] == dataset


def test_a_recipe_is_a_copy():
    presets.recipe("vae_digits")["training"]["epochs"] = 1
    assert presets.RECIPES["vae_digits"]["training"]["epochs"] > 1


def test_other_data_sets_take_the_recipe_of_mnist():
    recipe = presets.recipe_for("vae_gan", "fashion_mnist")
    assert recipe["training"]["dataset"] == "fashion_mnist"
    recipe["training"]["dataset"] = "mnist"
    assert recipe == presets.recipe("vae_gan_mnist")


@pytest.mark.parametrize("key", ["model.gamma", "gamma"])
def test_an_option_is_set_by_its_full_or_its_last_name(key):
    recipe = presets.recipe("vae_gan_digits")
    presets.override(recipe, key, 0.25)
    assert recipe["model"]["gamma"] == 0.25


def test_another_family_of_networks_starts_from_its_own_defaults():
    recipe = small("vae_gan_digits")
    presets.override(recipe, "family", "mlp")
    presets.override(recipe, "discriminator.units", [7])
    model = presets.build(recipe, SHAPE)
    assert model.discriminator.get_layer("discriminator_dense_0").units == 7
    assert model.encoder.get_layer("encoder_dense_0").units == 512


def test_all_options_of_a_recipe_can_be_named():
    names = presets.options(presets.recipe("vae_gan_digits"))
    assert {
        "model.beta",
        "model.gamma",
        "model.margin",
        "networks.latent_dim",
        "networks.discriminator.spectral_normalization",
        "optimizer.discriminator.use_ema",
        "optimizer.generator.learning_rate",
        "training.epochs",
    } <= set(names)
    assert not [name for name in names if "model.discriminator" in name or "kwargs" in name]
    assert "model.gamma" not in presets.options(presets.recipe("vae_digits"))


def test_a_player_without_settings_moves_as_the_generator_does():
    recipe = small("vae_gan_digits")
    presets.override(recipe, "three_players", True)
    presets.override(recipe, "generator.learning_rate", 0.123)
    model = presets.build(recipe, SHAPE)
    assert model.players == ("encoder", "generator", "discriminator")
    assert float(model.player_optimizer("encoder").learning_rate) == pytest.approx(0.123)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("gama", 1, "Did you mean 'gamma'"),
        ("learning_rate", 1, "optimizer.generator.learning_rate"),
        ("epochs", 0, "training.epochs"),
        ("latent_dim", "8", "networks.latent_dim"),
        ("networks.family", "dcgam", "Did you mean 'dcgan'"),
        ("generator.class", "adam", "Did you mean 'Adam'"),
        ("generator.beta_1", "high", "optimizer.generator.beta_1"),
    ],
)
def test_bad_options_are_named(key, value, said):
    with pytest.raises(InputError, match=said):
        presets.override(presets.recipe("vae_gan_digits"), key, value)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("encoder.activation", "rleu", "networks.encoder"),
        ("model.beta", -1, "beta"),
    ],
)
def test_bad_values_are_named(key, value, said):
    recipe = small("vae_gan_digits")
    presets.override(recipe, key, value)
    with pytest.raises(InputError, match=said) as error:
        presets.build(recipe, SHAPE)
    assert "\n" not in str(error.value)


def test_a_folder_gives_back_the_model(tmp_path):
    model = presets.build(small("vae_gan_digits"), SHAPE, seed=0)
    presets.save_folder(model, tmp_path, {"dataset": "digits"})
    again, metadata = presets.load_folder(tmp_path)
    assert metadata["dataset"] == "digits"
    assert metadata["format_version"] == 1
    np.testing.assert_allclose(again.generate(3, seed=1), model.generate(3, seed=1), atol=1e-6)
    assert not again.compiled
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "config.json",
        "metadata.json",
        "model.weights.h5",
    ]


def test_a_folder_keeps_the_state_of_the_noise(tmp_path):
    model = presets.build(small("vae_digits"), SHAPE, seed=3)
    model.fit(np.zeros((8, *SHAPE), "float32"), batch_size=4, verbose=0)
    presets.save_folder(model, tmp_path, {})
    again, _ = presets.load_folder(tmp_path)
    states = [keras.ops.convert_to_numpy(m.seed_generator.state) for m in (model, again)]
    np.testing.assert_array_equal(*states)
    assert states[0][1] > 0


def test_a_folder_of_a_later_format_is_refused(tmp_path):
    presets.save_folder(presets.build(small("vae_digits"), SHAPE), tmp_path, {"format_version": 99})
    with pytest.raises(InputError, match="99"):
        presets.load_folder(tmp_path)


def test_another_class_of_optimizer_drops_what_it_does_not_know():
    recipe = small("vae_gan_digits")
    presets.override(recipe, "generator.class", "SGD")
    assert recipe["optimizer"]["generator"].keys() == {"class", "learning_rate", "use_ema", "ema_momentum"}
    assert isinstance(presets.build(recipe, SHAPE).player_optimizer("generator"), keras.optimizers.SGD)


def test_a_folder_keeps_the_users_own_functional_networks(tmp_path):
    inputs = keras.Input((4, 4, 1))
    x = keras.layers.Dense(5, "elu")(keras.layers.Flatten()(inputs))
    encoder = keras.Model(
        inputs, {"mean": keras.layers.Dense(2)(x), "log_variance": keras.layers.Dense(2)(x)}
    )
    codes = keras.Input((2,))
    decoder = keras.Model(codes, keras.layers.Reshape((4, 4, 1))(keras.layers.Dense(16)(codes)))
    from keras_vaegan import VAE

    model = VAE(encoder, decoder, likelihood="gaussian", beta=0.5)
    presets.save_folder(model, tmp_path, {})
    again, _ = presets.load_folder(tmp_path)
    assert (again.beta, again.observation) == (0.5, "gaussian")
    np.testing.assert_allclose(again.generate(3, seed=1), model.generate(3, seed=1), atol=1e-6)


def test_weights_of_another_shape_are_refused(tmp_path):
    presets.save_folder(presets.build(small("vae_digits"), SHAPE), tmp_path / "a", {})
    presets.save_folder(presets.build(small("vae_digits"), (8, 8, 1)), tmp_path / "b", {})
    (tmp_path / "b" / "model.weights.h5").replace(tmp_path / "a" / "model.weights.h5")
    with pytest.raises(InputError, match="cannot be read"):
        presets.load_folder(tmp_path / "a")


def test_a_folder_cannot_run_code(tmp_path):
    presets.save_folder(presets.build(small("vae_digits"), SHAPE), tmp_path, {})
    config = json.loads((tmp_path / "config.json").read_text())
    config["config"]["encoder"] = {"module": "os", "class_name": "system", "config": {"command": "true"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError):
        presets.load_folder(tmp_path)
