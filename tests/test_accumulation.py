"""Accumulated gradients: n batches of b images train as one batch of n b images, and a step is a batch."""

import functools
import json

import keras
import numpy as np
import pytest
import registry
from keras import ops
from test_cli import run

from keras_vaegan import presets
from keras_vaegan.networks import resnet
from keras_vaegan.presets.choice import ALL_ACCUMULATIONS, change
from keras_vaegan.presets.configure import player_settings

ACCUMULATED, BATCH = 3, 2
GAME = {"game": "hinge", "beta": 0.3, "pixel_weight": 0.5}
GAN = functools.partial(registry.spatial_vae_gan, **GAME)


def adam(accumulated):
    """Epsilon is large, since Adam's first steps blow up what rounding leaves of a gradient."""
    return keras.optimizers.Adam(0.01, epsilon=1e-3, gradient_accumulation_steps=accumulated)


def trained(make, x, batch_size, accumulated, steps):
    """A model after so many steps over the same images, in their order, and its weights before them."""
    model = registry.set_weights(make())
    model.compile({player: adam(accumulated) for player in model.players})
    begun = weights_of(model)
    rows = np.resize(x, (steps * batch_size, *x.shape[1:]))
    model.fit(rows, batch_size=batch_size, shuffle=False, verbose=0)
    return model, begun


def weights_of(model):
    return {v.path: ops.convert_to_numpy(v) for v in model.trainable_variables}


def count(variable):
    return int(ops.convert_to_numpy(variable))


def assert_alike(one, other, begun):
    """The same weights, all of which have moved."""
    for path, value in weights_of(one).items():
        moved = np.abs(value - begun[path]).max()
        assert moved > 1e-4, path
        difference = np.abs(weights_of(other)[path] - value).max()
        assert difference < 0.01 * moved, path


def test_accumulated_batches_train_as_one_of_all_their_images(inject_noise):
    """In a game that starts late: `start` and `warm_up` count batches."""
    inject_noise()
    x, found = registry.images(ACCUMULATED * BATCH), []
    for n, size in ((ACCUMULATED, BATCH), (1, ACCUMULATED * BATCH)):
        make = functools.partial(registry.spatial_vae_gan, **GAME, start=n, warm_up=n, weight=0.7)
        model, begun = trained(make, x, size, n if n > 1 else None, 4 * n)
        assert count(model.steps_done) == 4 * n
        # D stood still in its first steps, and accumulated nothing there.
        assert [count(model.player_optimizer(p).iterations) for p in model.players] == [4, 3]
        found.append(model)
    assert_alike(*found, begun)


def test_weights_stand_still_until_all_batches_are_there(inject_noise):
    inject_noise()
    x = registry.images(BATCH)
    for steps in (ACCUMULATED - 1, ACCUMULATED):
        model, begun = trained(GAN, x, BATCH, ACCUMULATED, steps)
        moved = [np.any(value != begun[path]) for path, value in weights_of(model).items()]
        assert all(moved) if steps == ACCUMULATED else not any(moved)


@pytest.mark.parametrize("kind", ["vae", "vae_gan"])
def test_annealing_counts_batches_whatever_the_players(kind, inject_noise):
    """A VAE has one optimizer, a hybrid several, and Keras counts the steps of these in other ways."""
    inject_noise()
    make = functools.partial(registry.MODELS[kind], annealing_steps=4)
    model, _ = trained(make, registry.images(BATCH), BATCH, 2, 3)
    kl = model.weighted_kl(ops.ones((1, 1)), training=True)
    assert float(ops.convert_to_numpy(kl)[0]) == pytest.approx(0.75 * model.beta)


def test_a_saved_training_goes_on_between_two_updates(inject_noise, tmp_path):
    inject_noise()
    x = registry.images(BATCH)
    whole, begun = trained(GAN, x, BATCH, ACCUMULATED, ACCUMULATED)
    broken, _ = trained(GAN, x, BATCH, ACCUMULATED, 1)
    broken.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    again.fit(np.concatenate([x] * (ACCUMULATED - 1)), batch_size=BATCH, shuffle=False, verbose=0)
    assert_alike(whole, again, begun)


@pytest.mark.core_on("one")
def test_the_command_line_sets_it_for_all_players(tmp_path, capsys):
    """With the other options for large images, of spatial networks."""
    networks = ["family=resnet", "discriminator.family=patch", "discriminator.filters=[3]"]
    for network in ("encoder", "decoder"):
        style = {"factor": 2, "filters": 4, "blocks": 1, "remat": "true"}
        networks += [f"{network}.{name}={value}" for name, value in style.items()]
    settings = [*networks, "three_players=true", "encoder.learning_rate=1e-3", "discriminator.beta_1=0.4"]
    settings += ["prior=standard_normal"]
    schedule = '{"class": "CosineDecay", "initial_learning_rate": 1e-3}'
    settings += [f"generator.learning_rate={schedule}"]
    arguments = ["--dataset", "digits", "--image-size", 8, "--latent-dim", 2, "--batch-size", 512]
    arguments += ["--epochs", 2, "--accumulate", 3]
    for setting in settings:
        arguments += ["--set", setting]
    folder = tmp_path / "run"
    half = ["--mixed-precision", "bfloat16"]
    assert run("train", "--model", "vae_gan", *arguments, *half, "--output", folder) == 0
    assert "6 steps in 2 epochs of 3" in (said := capsys.readouterr().out)
    assert "; weights updated every 3 steps;" in said
    model = keras.saving.load_model(folder / "model.keras")
    assert model.players == ("encoder", "generator", "discriminator")
    assert [count(model.player_optimizer(player).iterations) for player in model.players] == [2, 2, 2]
    assert {optimizer.gradient_accumulation_steps for optimizer in model.optimizer.optimizers} == {3}
    for network in (model.encoder, model.decoder):
        assert any(isinstance(layer, resnet.Rematerialized) for layer in network.layers)
    metadata = json.loads((folder / "metadata.json").read_text())
    assert metadata["mixed_precision"] == "bfloat16"
    # Schedules count steps, too, so that the rate is 0 after the last.
    assert metadata["recipe"]["optimizer"]["generator"]["learning_rate"]["decay_steps"] == 6
    assert float(model.player_optimizer("generator").learning_rate) == pytest.approx(0.0, abs=1e-9)
    assert run("train", "--resume", folder, "--epochs", 3) == 0
    assert "weights updated every 3 steps" in capsys.readouterr().out


@pytest.mark.core_on("one")
def test_one_is_none(tmp_path):
    recipe = presets.recipe_for("vae_gan", "digits")
    presets.override(recipe, "generator.gradient_accumulation_steps", 4)
    change(recipe, [(ALL_ACCUMULATIONS, None), ("three_players", True)])
    found = player_settings(recipe)
    assert [(player, settings["gradient_accumulation_steps"]) for player, settings in found.items()] == [
        (player, None) for player in ("generator", "discriminator", "encoder")
    ]
