"""Who moves, in which direction, and that nobody else does.

Each player's applied update is compared with finite differences of its own loss, in the
transcription of `reference.py`, with respect to its own variables.
"""

import keras
import numpy as np
import pytest
import reference
import registry

GAMES = {
    "two_players": {"gamma": 0.7, "beta": 0.4, "pixel_weight": 0.3, "label_smoothing": 0.1},
    "three_players": {
        "gamma": 0.3,
        "beta": 2.0,
        "pixel_weight": 0.2,
        "label_smoothing": 0.2,
        "three_players": True,
    },
    "r1": {"gamma": 0.5, "beta": 0.5, "r1": 3.0},
    "r1_spectral": {"gamma": 2.0, "r1": 2.0, "spectral": True, "three_players": True},
    "gaussian_free_bits": {
        "pixel_weight": 1.5,
        "likelihood": "gaussian",
        "noise_scale": 0.5,
        "free_bits": 0.35,
    },
}


def build(**arguments):
    return registry.set_weights(registry.vae_gan(**arguments))


def updates(model, rates, **fit_arguments):
    """What one step of SGD with these rates takes from each variable, `{path: array}`."""
    model.compile({player: keras.optimizers.SGD(rate) for player, rate in rates.items()})
    before = reference.weights_of(model)
    model.train_on_batch(registry.images(), **fit_arguments)
    return {path: before[path] - after for path, after in reference.weights_of(model).items()}


def flat(values):
    return np.concatenate([np.ravel(values[path]) for path in sorted(values)])


def assert_same_direction_and_length(applied, expected):
    applied = flat({path: applied[path] for path in expected})
    expected = flat(expected)
    lengths = np.linalg.norm(applied), np.linalg.norm(expected)
    assert lengths[1] > 1e-3, "the test would prove nothing"
    assert applied @ expected / np.prod(lengths) > 0.999999
    assert lengths[0] == pytest.approx(lengths[1], rel=1e-3)


@pytest.mark.parametrize("game", GAMES)
def test_each_player_descends_its_own_loss(game, inject_noise):
    arguments, noise = GAMES[game], registry.noise()
    inject_noise(*noise)
    model = build(**arguments)
    weights = reference.weights_of(model)
    applied = updates(model, dict.fromkeys(model.players, 1.0))
    for player in model.players:
        expected = reference.gradient(weights, player, registry.images(), noise, **arguments)
        assert_same_direction_and_length(applied, expected)


def test_free_bits_hold_in_one_dimension_and_not_in_the_other():
    weights = reference.weights_of(build())
    mean, log_variance = reference.encode(weights, np.float64(registry.images()))
    kl = ((mean**2 + np.exp(log_variance) - 1 - log_variance) / 2).mean(axis=0)
    assert np.sum(kl > GAMES["gaussian_free_bits"]["free_bits"]) == 1


@pytest.mark.parametrize("name", ["vae", "vae_gaussian"])
def test_a_vae_descends_its_bound(name, inject_noise):
    noise = registry.noise()
    inject_noise(noise[0])
    model = registry.set_weights(registry.MODELS[name]())
    weights = reference.weights_of(model)
    applied = updates(model, {"generator": 1.0})
    arguments = registry.TRANSCRIBED[name]
    expected = reference.gradient(weights, "generator", registry.images(), noise, **arguments)
    assert set(expected) == set(applied)
    assert_same_direction_and_length(applied, expected)


def test_examples_count_by_their_sample_weight(inject_noise):
    noise, share = registry.noise(), np.array([2.0, 0.0, 0.5, 1.0], "float32")
    inject_noise(*noise)
    model = build()
    weights = reference.weights_of(model)
    applied = updates(model, dict.fromkeys(model.players, 1.0), sample_weight=share)
    for player in model.players:
        expected = reference.gradient(weights, player, registry.images(), noise, example_weight=share)
        assert_same_direction_and_length(applied, expected)


@pytest.mark.parametrize("game", ["two_players", "three_players"])
def test_only_the_player_with_a_learning_rate_moves(game, inject_noise):
    inject_noise(*registry.noise())
    for mover in build(**GAMES[game]).players:
        model = build(**GAMES[game])
        applied = updates(model, {player: float(player == mover) for player in model.players})
        moved = {path for path, update in applied.items() if np.any(update != 0)}
        assert moved == {variable.path for variable in model.player_variables()[mover]}


@pytest.mark.parametrize("game", ["two_players", "three_players"])
def test_players_own_all_variables_and_share_none(game):
    model = build(**GAMES[game])
    owned = [variable.path for own in model.player_variables().values() for variable in own]
    assert len(owned) == len(set(owned))
    assert set(owned) == {variable.path for variable in model.trainable_variables}


PURE_GAME = {"gamma": 0.0, "beta": 0.0, "pixel_weight": 0.0, "three_players": True}


def verdicts_after_a_small_step_of(player):
    """Mean log D on reconstructions and on prior samples, before and after."""
    noise = np.float64(registry.noise())
    model = build(**PURE_GAME)

    def log_d():
        weights = reference.weights_of(model)
        mean, log_variance = reference.encode(weights, np.float64(registry.images()))
        codes = mean + np.exp(log_variance / 2) * noise[0], noise[1]
        logits = [reference.discriminate(weights, reference.decode(weights, z))[0] for z in codes]
        return np.array([np.log(reference.sigmoid(logit)).mean() for logit in logits])

    before = log_d()
    updates(model, {name: 0.05 * (name == player) for name in model.players})
    return before, log_d()


def test_the_decoder_steps_towards_being_taken_for_real(inject_noise):
    inject_noise(*registry.noise())
    before, after = verdicts_after_a_small_step_of("generator")
    assert np.all(after > before + 1e-4)


def test_the_discriminator_steps_towards_exposing_the_decoder(inject_noise):
    inject_noise(*registry.noise())
    before, after = verdicts_after_a_small_step_of("discriminator")
    assert np.all(after < before - 1e-4)


def test_the_encoder_takes_no_part_in_the_game_of_three_players(inject_noise):
    inject_noise(*registry.noise())
    model = build(**PURE_GAME)
    weights = reference.weights_of(model)
    applied = updates(model, {"encoder": 1.0, "generator": 0.0, "discriminator": 0.0})
    expected = reference.gradient(weights, "encoder", registry.images(), registry.noise(), **PURE_GAME)
    assert_same_direction_and_length(applied, expected)  # feature matching alone
