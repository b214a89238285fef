"""Recipes, models built from them, and run folders."""

import json
import sys
import types
import warnings

import keras
import numpy as np
import pytest
import registry
from test_resume import noisy_vae

import keras_vaegan as kvg
from keras_vaegan import InputError, games, likelihoods, presets, priors

pytestmark = pytest.mark.core_on("one")

SHAPE = (8, 6, 1)


def small(name):
    """A recipe with networks that train in a moment."""
    recipe = presets.recipe(name)
    for network in recipe["networks"]:
        if "filters" in (
            settings := recipe["networks"][network] if isinstance(recipe["networks"][network], dict) else {}
        ):
            settings["filters"] = [3]
    for settings in recipe["networks"].values():
        if isinstance(settings, dict) and "glimpse" in settings:
            settings["glimpse"] = 3
    return recipe


EVERY_RECIPE = registry.core(
    (
        "vae_gan_mnist",
        "cvae_gan_mnist_small",
        "stacked_ssl_vae_mnist_small",
        "ssl_vae_gan_mnist_small",
        "draw_gan_mnist_small",
    ),
    presets.RECIPES,
)


@pytest.mark.parametrize("name", EVERY_RECIPE)
def test_every_recipe_builds_and_trains_a_step(name, tmp_path):
    recipe = small(name)
    if "base" in recipe["networks"]:
        presets.build(small("vae_mnist_small"), SHAPE).save_to_preset(tmp_path)
        presets.override(recipe, "base", str(tmp_path))
    model = presets.build(recipe, SHAPE, seed=0, num_classes=3)
    x = np.random.default_rng(0).random((4, *SHAPE), dtype="float32")
    y = np.array([0, 2, 1, 1])
    assert (model.num_classes == 3) == ("labels" in recipe["networks"].get("condition", ()))
    assert model.completes == ("image" in recipe["networks"].get("condition", ()))
    logs = model.fit(x, model.labels_of(y), batch_size=4, verbose=0).history
    assert all(np.isfinite(values).all() for values in logs.values())
    for player, settings in recipe["optimizer"].items():
        optimizer = model.player_optimizer(player)
        assert type(optimizer).__name__ == settings["class"]
        rate = settings["learning_rate"]
        rate = rate["initial_learning_rate"] if isinstance(rate, dict) else rate
        assert float(optimizer.learning_rate) == pytest.approx(rate, rel=1e-3)
    assert set(recipe) == {"model", "networks", "optimizer", "training", "source", "expect"}


def test_a_stack_needs_a_base_of_its_images(tmp_path):
    recipe = small("stacked_ssl_vae_mnist_small")
    with pytest.raises(InputError, match="networks.base must name a trained VAE.*received None"):
        presets.build(recipe, SHAPE, num_classes=3)
    presets.build(small("vae_mnist_small"), (5, 5, 1)).save_to_preset(tmp_path)
    presets.override(recipe, "base", str(tmp_path))
    with pytest.raises(InputError, match=r"networks.base must be of images of the shape.*is of \(5, 5, 1\)"):
        presets.build(recipe, SHAPE, num_classes=3)


def test_the_papers_networks_are_of_its_sizes():
    """Chen, Fang and Ju 2016: inputs and outputs of the dense layers, kernels of the convolutions."""

    def kernels(network):
        return [tuple(variable.shape) for variable in network.weights if variable.path.endswith("kernel")]

    model = presets.build(presets.recipe("paper_ssl_vae_mnist"), (28, 28, 1), num_classes=10)
    assert kernels(model.trunk) == [(784, 1024), (1024, 1024)]
    assert sorted(kernels(model.encoder_head)) == [(1024, 50), (1024, 50), (1034, 1024)]
    assert kernels(model.class_head) == [(1024, 10)]
    assert kernels(model.decoder) == [(60, 1024), (1024, 1024), (1024, 784)]
    model = presets.build(presets.recipe("paper_convolutional_ssl_vae_mnist"), (28, 28, 1), num_classes=10)
    assert kernels(model.trunk) == [(5, 5, 1, 20), (5, 5, 20, 50), (7 * 7 * 50, 1024)]
    assert kernels(model.decoder) == [
        (50, 500),
        (500, 7 * 7 * 50),
        (5, 5, 50, 20),
        (5, 5, 20, 1),
        (784 + 10, 512),
        (512, 784),
    ]


@pytest.mark.parametrize("key", presets.MODEL_KEYS)
def test_every_model_has_a_recipe_for_the_embedded_digits_and_one_for_mnist(key):
    for dataset in ("mnist_small", "mnist"):
        recipe = presets.RECIPES[f"{key}_{dataset}"]
        assert recipe["model"]["key"] == key
        assert recipe["training"]["dataset"] == dataset
    assert presets.recipe_for(key) == presets.RECIPES[f"{key}_mnist_small"]
    alike = presets.recipe_for(key, "digits")
    assert alike["training"].pop("dataset") == "digits"
    assert alike["training"].items() < presets.recipe_for(key)["training"].items()
    assert alike["networks"] == presets.recipe_for(key)["networks"]


def test_a_recipe_is_a_copy():
    presets.recipe("vae_mnist_small")["training"]["steps"] = 1
    assert presets.RECIPES["vae_mnist_small"]["training"]["steps"] > 1


def test_other_data_sets_take_the_recipe_of_mnist():
    recipe = presets.recipe_for("vae_gan", "fashion_mnist")
    assert recipe["training"]["dataset"] == "fashion_mnist"
    recipe["training"]["dataset"] = "mnist"
    assert recipe == presets.recipe("vae_gan_mnist")


@pytest.mark.parametrize("key", ["model.reconstruction.features", "reconstruction.features", "features"])
def test_an_option_is_set_by_its_full_or_its_last_name(key):
    recipe = presets.recipe("vae_gan_mnist_small")
    presets.override(recipe, key, 0.25)
    assert recipe["model"]["reconstruction"] == {"features": 0.25, "pixels": 0.025}
    assert presets.build(recipe, SHAPE).reconstruction[0].weight == 0.25


def test_a_class_of_an_object_keeps_the_settings_that_it_knows():
    recipe = small("vae_gan_mnist_small")
    presets.override(recipe, "r1", 0.5)
    presets.override(recipe, "label_smoothing", 0.1)
    presets.override(recipe, "game", "hinge")
    assert recipe["model"]["game"] == {"class": "hinge", "r1": 0.5}
    assert isinstance(presets.build(recipe, SHAPE).game, games.Hinge)
    with pytest.raises(InputError, match="Did you mean 'hinge'"):
        presets.override(recipe, "game", "hing")
    with pytest.raises(InputError, match="label_smoothing"):
        presets.override(recipe, "label_smoothing", 0.1)


def test_another_family_of_networks_starts_from_its_own_defaults():
    recipe = small("vae_gan_mnist_small")
    presets.override(recipe, "family", "mlp")
    presets.override(recipe, "discriminator.units", [7])
    model = presets.build(recipe, SHAPE)
    assert model.discriminator.get_layer("discriminator_dense_0").units == 7
    assert model.encoder.get_layer("encoder_dense_0").units == 512


def test_one_network_may_be_of_another_family():
    recipe = small("vae_mnist_small")
    presets.override(recipe, "decoder.family", "mlp")
    presets.override(recipe, "decoder.units", [7])
    model = presets.build(recipe, SHAPE)
    assert model.decoder.get_layer("decoder_dense_0").units == 7
    assert "encoder_conv_0" in [layer.name for layer in model.encoder.layers]
    with pytest.raises(InputError, match="networks.decoder.family must be one of"):
        presets.override(recipe, "decoder.family", "lenett")


def test_all_options_of_a_recipe_can_be_named():
    names = presets.options(presets.recipe("vae_gan_mnist_small"))
    assert {
        "model.beta",
        "model.reconstruction.features",
        "model.game",
        "model.game.margin",
        "model.likelihood.binarize",
        "networks.latent_dim",
        "networks.discriminator.spectral_normalization",
        "optimizer.discriminator.use_ema",
        "optimizer.generator.learning_rate",
        "training.epochs",
    } <= set(names)
    assert not [name for name in names if "model.discriminator" in name or "kwargs" in name]
    assert "model.reconstruction.features" not in presets.options(presets.recipe("vae_mnist_small"))


def test_a_player_without_settings_moves_as_the_generator_does():
    recipe = small("vae_gan_mnist_small")
    presets.override(recipe, "three_players", True)
    presets.override(recipe, "generator.learning_rate", 0.123)
    model = presets.build(recipe, SHAPE)
    assert model.players == ("encoder", "generator", "discriminator")
    assert float(model.player_optimizer("encoder").learning_rate) == pytest.approx(0.123)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("featurs", 1, "Did you mean 'features'"),
        ("learning_rate", 1, "ambiguous: write discriminator.learning_rate or generator.learning_rate"),
        ("betta", 1, "option betta must be an option of vae_gan. Did you mean 'beta'"),
        ("zzz", 1, "option of vae_gan. `keras-vaegan presets vae_gan_mnist_small --options` lists"),
        ("fit_steps", 1, "It belongs to --set prior=flow"),
        ("a b", 1, "option 'a b' must be an option of vae_gan"),
        ("epochs", 0, "training.epochs"),
        ("latent_dim", "8", "networks.latent_dim"),
        ("networks.family", "dcgam", "Did you mean 'dcgan'"),
        ("generator.class", "adam", "Did you mean 'Adam'"),
        ("generator.beta_1", "high", "optimizer.generator.beta_1"),
    ],
)
def test_bad_options_are_named(key, value, said):
    with pytest.raises(InputError, match=said):
        presets.override(presets.recipe("vae_gan_mnist_small"), key, value)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("encoder.activation", "rleu", "networks.encoder"),
        ("model.beta", -1, "beta"),
    ],
)
def test_bad_values_are_named(key, value, said):
    recipe = small("vae_gan_mnist_small")
    presets.override(recipe, key, value)
    with pytest.raises(InputError, match=said) as error:
        presets.build(recipe, SHAPE)
    assert "\n" not in str(error.value)


@pytest.mark.core_on("all")
def test_a_folder_gives_back_the_model(tmp_path):
    model = presets.build(small("vae_gan_mnist_small"), SHAPE, seed=0)
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


def test_a_preset_has_the_state_of_every_seed(tmp_path):
    model = noisy_vae(seed=3)  # with a generator in each layer of noise

    def seeds(model):
        return [v.numpy().tolist() for v in model.non_trainable_variables if "seed" in v.path]

    model.save_to_preset(tmp_path / "first")
    keras.utils.set_random_seed(9)
    model.save_to_preset(tmp_path / "second")
    files = [(tmp_path / name / "metadata.json").read_text() for name in ("first", "second")]
    assert files[0] == files[1]
    assert len(seeds(model)) == 3 and seeds(kvg.VAE.from_preset(tmp_path / "first")) == seeds(model)


def test_a_folder_keeps_the_state_of_the_noise(tmp_path):
    model = presets.build(small("vae_mnist_small"), SHAPE, seed=3)
    model.fit(np.zeros((8, *SHAPE), "float32"), batch_size=4, verbose=0)
    presets.save_folder(model, tmp_path, {})
    again, _ = presets.load_folder(tmp_path)
    states = [keras.ops.convert_to_numpy(m.seed_generator.state) for m in (model, again)]
    np.testing.assert_array_equal(*states)
    assert states[0][1] > 0


def test_a_folder_of_a_later_format_is_refused(tmp_path):
    presets.save_folder(presets.build(small("vae_mnist_small"), SHAPE), tmp_path, {})
    metadata = json.loads((tmp_path / "metadata.json").read_text())
    (tmp_path / "metadata.json").write_text(json.dumps(metadata | {"format_version": 99}))
    with pytest.raises(InputError, match="99"):
        presets.load_folder(tmp_path)


def test_another_class_of_optimizer_drops_what_it_does_not_know():
    recipe = small("vae_gan_mnist_small")
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
    assert (again.beta, type(again.observation)) == (0.5, likelihoods.Gaussian)
    np.testing.assert_allclose(again.generate(3, seed=1), model.generate(3, seed=1), atol=1e-6)


def test_weights_of_another_shape_are_refused(tmp_path):
    presets.save_folder(presets.build(small("vae_mnist_small"), SHAPE), tmp_path / "a", {})
    presets.save_folder(presets.build(small("vae_mnist_small"), (8, 8, 1)), tmp_path / "b", {})
    (tmp_path / "b" / "model.weights.h5").replace(tmp_path / "a" / "model.weights.h5")
    with pytest.raises(InputError, match="cannot be read"):
        presets.load_folder(tmp_path / "a")


def test_a_folder_cannot_run_code(tmp_path):
    presets.save_folder(presets.build(small("vae_mnist_small"), SHAPE), tmp_path, {})
    config = json.loads((tmp_path / "config.json").read_text())
    config["config"]["encoder"] = {"module": "os", "class_name": "system", "config": {"command": "true"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError):
        presets.load_folder(tmp_path)


# ---- the verbs of presets ----


@pytest.fixture
def saved(tmp_path):
    """A model and the preset that it was written to."""
    model = presets.build(small("vae_gan_mnist_small"), SHAPE, seed=0)
    recipe = small("vae_gan_mnist_small")
    model.save_to_preset(tmp_path / "mine", {"recipe": recipe, "dataset": "digits", "licence": "CC0"})
    return model, tmp_path / "mine"


@pytest.mark.core_on("all")
def test_a_preset_gives_back_the_model_ready_to_train(saved):
    model, folder = saved
    again = kvg.VAEGAN.from_preset(folder)
    np.testing.assert_allclose(again.generate(3, seed=1), model.generate(3, seed=1), atol=1e-6)
    rate = saved[0].player_optimizer("discriminator").learning_rate
    assert float(again.player_optimizer("discriminator").learning_rate) == pytest.approx(float(rate))
    again.fit(np.zeros((4, *SHAPE), "float32"), verbose=0)
    metadata = json.loads((folder / "metadata.json").read_text())
    assert metadata["model"] == "vae_gan" and metadata["licence"] == "CC0"


def test_what_is_known_of_a_preset_survives_a_round_trip(saved, tmp_path):
    kvg.VAEGAN.from_preset(saved[1]).save_to_preset(tmp_path / "again", {"results": {"coverage": 0.8}})
    before, after = (
        json.loads((folder / "metadata.json").read_text()) for folder in (saved[1], tmp_path / "again")
    )
    assert after["recipe"] == before["recipe"] and after["licence"] == "CC0"
    assert after["results"] == {"coverage": 0.8}


def test_halved_weights_are_near_and_small(saved, tmp_path):
    model, folder = saved
    model.save_to_preset(tmp_path / "half", half=True)
    again = kvg.VAEGAN.from_preset(tmp_path / "half")
    for mine, theirs in zip(model.trainable_variables, again.trainable_variables, strict=True):
        expected = np.float32(np.float16(np.asarray(keras.ops.convert_to_numpy(mine))))
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(theirs), expected)
    sizes = [(path / "model.weights.h5").stat().st_size for path in (tmp_path / "half", folder)]
    assert sizes[0] < sizes[1]


def test_a_recipe_alone_gives_a_new_model_and_says_so():
    with pytest.warns(UserWarning, match="no trained weights"):
        model = kvg.VAE.from_preset("vae_mnist_small", seed=0)
    assert model.image_shape == (28, 28, 1) and model.compiled
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kvg.VAE.from_preset("vae_mnist_small", load_weights=False)


def test_a_model_of_another_size_takes_over_the_weights_that_fit(saved):
    model, folder = saved
    with pytest.warns(UserWarning, match="took over"):
        other = kvg.VAEGAN.from_preset(folder, load_weights="compatible", image_shape=(12, 10, 1))
    assert other.image_shape == (12, 10, 1)
    same = model.encoder.get_layer("encoder_conv_0").get_weights()
    for mine, theirs in zip(same, other.encoder.get_layer("encoder_conv_0").get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert other.generate(1, seed=0).shape == (1, 12, 10, 1)
    with pytest.raises(InputError, match="load_weights must be False or 'compatible'"):
        kvg.VAEGAN.from_preset(folder, image_shape=(12, 10, 1))
    fresh = kvg.VAEGAN.from_preset(folder, load_weights=False, image_shape=(12, 10, 1))
    assert fresh.image_shape == (12, 10, 1)


def test_a_learning_rate_may_be_a_schedule_in_steps():
    recipe = small("vae_gan_mnist_small")
    schedule = {"class": "PolynomialDecay", "initial_learning_rate": 0.1, "decay_steps": 4}
    presets.override(recipe, "generator.learning_rate", 0.0005)
    presets.override(recipe, "discriminator.learning_rate", schedule)
    model = presets.build(json.loads(json.dumps(recipe)), SHAPE, seed=0)
    model.fit(np.zeros((6, *SHAPE), "float32"), batch_size=2, verbose=0)
    rates = [float(model.player_optimizer(player).learning_rate) for player in model.players]
    assert rates == pytest.approx([0.0005, 0.1 / 4 + 0.0001 * 3 / 4], rel=1e-4)
    wrong = schedule | {"class": "PolynomialDecai"}, schedule | {"decay_step": 3}
    for value, right in zip(wrong, ("PolynomialDecay", "decay_steps"), strict=True):
        with pytest.raises(InputError, match=f"Did you mean '{right}'"):
            presets.override(recipe, "discriminator.learning_rate", value)
        recipe["optimizer"]["discriminator"]["learning_rate"] = value
        with pytest.raises(InputError, match=f"Did you mean '{right}'"):
            presets.build(recipe, SHAPE)


def test_a_schedule_that_says_no_steps_ends_with_the_training():
    recipe = small("vae_gan_mnist_small")
    schedule = {"class": "CosineDecay", "initial_learning_rate": 0.1, "alpha": 0.02}
    presets.override(recipe, "generator.learning_rate", schedule)
    presets.override(recipe, "discriminator.learning_rate", schedule | {"decay_steps": 9})
    recipe["training"] = {"dataset": "mine", "epochs": 3, "batch_size": 128}  # of a number of images unknown
    with pytest.raises(InputError, match="learning_rate must have decay_steps"):
        presets.build(recipe, SHAPE)
    recipe["training"]["dataset"] = "mnist"
    model = presets.build(recipe, SHAPE)
    steps = [model.player_optimizer(player)._learning_rate.decay_steps for player in model.players]
    assert steps == [3 * 430, 9]  # 55,000 images in batches of 128
    planned = presets.plan(recipe, 12)["optimizer"]
    assert [settings["learning_rate"]["decay_steps"] for settings in planned.values()] == [12, 9]


def test_a_model_of_other_classes_comes_from_the_same_recipe(tmp_path):
    recipe = small("cvae_mnist_small")
    model = presets.build(recipe, SHAPE, seed=0, num_classes=3)
    model.save_to_preset(tmp_path, {"recipe": recipe})
    assert json.loads((tmp_path / "metadata.json").read_text())["num_classes"] == 3
    assert kvg.CVAE.from_preset(tmp_path, num_classes=3).num_classes == 3
    with pytest.raises(InputError, match="load_weights must be False or 'compatible'"):
        kvg.CVAE.from_preset(tmp_path, num_classes=5)
    with pytest.warns(UserWarning, match="took over"):
        other = kvg.CVAE.from_preset(tmp_path, load_weights="compatible", num_classes=5)
    assert (other.num_classes, other.image_shape) == (5, SHAPE)
    same = model.encoder.get_layer("encoder_conv_0").get_weights()
    for mine, theirs in zip(same, other.encoder.get_layer("encoder_conv_0").get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert kvg.CVAE.from_preset(tmp_path, load_weights=False).num_classes == 3
    with pytest.warns(UserWarning, match="no trained weights"):
        assert kvg.CVAE.from_preset("cvae_mnist_small").num_classes == 10


def test_a_recipe_on_labels_cannot_be_built_without_classes():
    with pytest.raises(InputError, match="num_classes must be given"):
        presets.build(small("cvae_mnist_small"), SHAPE)


def test_the_networks_of_the_paper_have_its_sizes():
    model = presets.build(presets.recipe("paper_cvae_gan_mnist"), (28, 28, 1), num_classes=10)
    kernels = {v.path: tuple(v.shape) for v in model.trainable_variables if v.path.endswith("kernel")}
    assert kernels == {
        "encoder_conv_0/kernel": (5, 5, 1, 28),
        "encoder_conv_1/kernel": (5, 5, 28, 56),
        "encoder_conv_2/kernel": (5, 5, 56, 108),
        "encoder_mean/kernel": (4 * 4 * 108 + 10, 50),
        "encoder_log_variance/kernel": (4 * 4 * 108 + 10, 50),
        "decoder_project/kernel": (50 + 10, 7 * 7 * 128),
        "decoder_deconv_0/kernel": (5, 5, 64, 128),
        "decoder_deconv_1/kernel": (5, 5, 32, 64),
        "decoder_logits/kernel": (5, 5, 32, 1),
        "discriminator_conv_0/kernel": (3, 3, 1, 16),
        "discriminator_conv_1/kernel": (3, 3, 16, 32),
        "discriminator_conv_2/kernel": (3, 3, 32, 64),
        "discriminator_dense_0/kernel": (4 * 4 * 64, 512),
        "discriminator_dense_1/kernel": (512, 500),
        "discriminator_logits/kernel": (500, 11),
    }
    assert model.discriminator.output["features"].shape == (None, 512)


def test_a_prior_is_learned_where_the_recipe_has_one():
    recipe = small("cvae_mnist")
    assert presets.build(recipe, SHAPE, num_classes=3).prior.__class__ is priors.StandardNormal
    presets.override(recipe, "prior.units", [7])
    model = presets.build(recipe, SHAPE, num_classes=3)
    assert model.prior.network.get_layer("prior_dense_0").units == 7
    with pytest.raises(InputError, match="networks.condition must be one of labels, image"):
        presets.override(recipe, "condition", ["classes"])


def test_a_class_lists_its_own_presets():
    assert set(kvg.VAE.presets) == {"vae_mnist_small", "vae_mnist"}
    assert {"cvae_mnist", "completion_cvae_mnist", "paper_cvae_mnist"} < set(kvg.CVAE.presets)
    assert kvg.VAEGAN.presets["vae_gan_mnist"]["dataset"] == "mnist"


def test_the_class_must_be_that_of_the_preset(tmp_path):
    presets.build(small("vae_mnist_small"), SHAPE).save_to_preset(tmp_path)
    with pytest.raises(InputError, match="preset must be of a VAEGAN"):
        kvg.VAEGAN.from_preset(tmp_path)


def damage(name, content):
    return lambda folder: (folder / name).write_bytes(content)


def shorten(folder):
    content = (folder / "model.weights.h5").read_bytes()
    (folder / "model.weights.h5").write_bytes(content[: len(content) // 2])


def shorten_and_rehash(folder):
    shorten(folder)
    edit(folder, weights_sha256=None)


def edit(folder, **changes):
    metadata = json.loads((folder / "metadata.json").read_text()) | changes
    kept = {name: value for name, value in metadata.items() if value is not None}
    (folder / "metadata.json").write_text(json.dumps(kept))


def lead_out(folder):
    (folder / "model.weights.h5").replace(folder.parent / "elsewhere.h5")
    (folder / "model.weights.h5").symlink_to(folder.parent / "elsewhere.h5")


def foreign(folder):
    images = keras.Input((2,))
    config = keras.saving.serialize_keras_object(keras.Model(images, images))
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    "harm, said",
    [
        (damage("config.json", b""), "cannot be read"),
        (damage("config.json", b'{"class_name": "VAE"'), "cannot be read"),
        (damage("metadata.json", b"[]"), "an object was expected"),
        (damage("metadata.json", b"\xff\xfe"), "cannot be read"),
        (shorten, "has the hash"),
        (shorten_and_rehash, "cannot be read"),
        (lambda folder: edit(folder, weights_sha256="0" * 64), "says 000000000000"),
        (lambda folder: edit(folder, format_version=2), "format version 2"),
        (lambda folder: edit(folder, format_version="new"), "format_version must be an integer"),
        (lambda folder: (folder / "model.weights.h5").unlink(), "has no model.weights.h5"),
        (lambda folder: (folder / "metadata.json").unlink(), "has no metadata.json"),
        (lead_out, "must hold its own files"),
        (foreign, "not a model of keras-vaegan"),
    ],
)
def test_a_damaged_preset_is_refused_in_one_line(saved, harm, said):
    harm(saved[1])
    before = {path.name: path.read_bytes() for path in saved[1].iterdir()}
    with pytest.raises(InputError, match=said) as error:
        kvg.VAEGAN.from_preset(saved[1])
    assert "\n" not in str(error.value)
    assert {path.name: path.read_bytes() for path in saved[1].iterdir()} == before


@pytest.mark.parametrize(
    "arguments, said",
    [
        ({"preset": "vae_mnits"}, "Did you mean 'vae_mnist'"),
        ({"preset": "/no/such/folder"}, "preset must be the name of a preset, a folder or hf://user/name"),
        ({"preset": "vae_mnist_small", "load_weights": "some"}, "load_weights must be one of"),
        ({"preset": "vae_mnist_small", "num_classes": 10}, "num_classes must be None"),
        ({"preset": "vae_mnist_small", "load_weights": False, "image_shape": (8, 8)}, "image_shape must be"),
        ({"preset": "hf://only-a-name"}, "hf://user/name"),
        ({"preset": "hf://../up"}, "hf://user/name"),
    ],
)
def test_bad_arguments_of_from_preset_are_named(arguments, said):
    with pytest.raises(InputError, match=said):
        kvg.VAE.from_preset(**arguments)


def test_a_preset_is_not_written_over_a_file(saved, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="is a file"):
        saved[0].save_to_preset(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_model_built_by_hand_has_no_recipe_to_be_built_anew(tmp_path):
    presets.build(small("vae_mnist_small"), SHAPE).save_to_preset(tmp_path)
    kvg.VAE.from_preset(tmp_path).evaluate(np.zeros((2, *SHAPE), "float32"), verbose=0)
    with pytest.raises(InputError, match="must have a recipe"):
        kvg.VAE.from_preset(tmp_path, load_weights=False, image_shape=(8, 8, 1))


def test_the_hub_is_asked_for_three_files_into_our_own_cache(saved, tmp_path, monkeypatch):
    asked = {}

    def snapshot_download(repository, local_dir, allow_patterns):
        asked.update(repository=repository, allow_patterns=sorted(allow_patterns))
        local_dir.mkdir(parents=True)
        for path in saved[1].iterdir():
            (local_dir / path.name).write_bytes(path.read_bytes())

    hub = types.SimpleNamespace(snapshot_download=snapshot_download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    model = kvg.VAEGAN.from_preset("hf://someone/digits")
    np.testing.assert_allclose(model.generate(2, seed=0), saved[0].generate(2, seed=0), atol=1e-6)
    files = ["config.json", "metadata.json", "model.weights.h5"]
    assert asked == {"repository": "someone/digits", "allow_patterns": files}
    assert (tmp_path / "keras" / "keras_vaegan" / "hub" / "someone--digits" / "config.json").is_file()


def test_the_hub_that_cannot_be_reached_or_is_not_installed_is_one_line(tmp_path, monkeypatch):
    def snapshot_download(*args, **kwargs):
        raise ConnectionError("no route\nto host")

    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    hub = types.SimpleNamespace(snapshot_download=snapshot_download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    with pytest.raises(InputError, match="cannot be downloaded: no route to host"):
        presets.load_source("hf://someone/digits")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match=r"pip install 'keras-vaegan\[hf\]'"):
        kvg.VAE.from_preset("hf://someone/digits")
