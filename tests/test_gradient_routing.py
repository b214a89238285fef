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
    "hinge": {"game": "hinge", "gamma": 0.7, "r1": 1.0},
    "least_squares": {"game": "least_squares", "gamma": 0.4, "pixel_weight": 0.3},
    "relativistic": {"game": "relativistic", "gamma": 0.7, "r1": 1.0, "three_players": True},
    "r1": {"gamma": 0.5, "beta": 0.5, "r1": 3.0},
    "r1_spectral": {"gamma": 2.0, "r1": 2.0, "spectral": True, "three_players": True},
    "weight": {"gamma": 0.7, "pixel_weight": 0.3, "weight": 0.2},
    "no_samples": {"game": "hinge", "gamma": 0.4, "pixel_weight": 0.3, "r1": 1.0, "fakes_from": "none"},
    "mixture": {"gamma": 0.7, "beta": 0.4, "pixel_weight": 0.3, "prior_components": 3},
    "gaussian_free_bits": {
        "pixel_weight": 1.5,
        "likelihood": "gaussian",
        "noise_scale": 0.5,
        "free_bits": 0.35,
    },
}

# Of the game of K + 1 classes.
CLASSES = {"num_classes": registry.NUM_CLASSES}
GAMES |= {
    "classes": CLASSES | GAMES["two_players"] | {"r1": 1.5},
    "classes_prior": CLASSES | GAMES["two_players"] | {"prior": True, "free_bits": 4.0},
    "classes_three_players": CLASSES | GAMES["three_players"] | {"prior": True, "r1": 0.5},
    "classes_label_weight": CLASSES | {"gamma": 0.5, "label_weight": 0.2},
    "classes_r1_spectral": CLASSES | {"gamma": 0.5, "r1": 2.0, "spectral": True, "label_smoothing": 0.1},
}
LABELS = registry.labels()


def build(**arguments):
    make = registry.cvae_gan if "num_classes" in arguments else registry.vae_gan
    return registry.set_weights(make(**arguments))


def compile_for_steps(model):
    """Compile with SGD for each player, whose learning rates `updates` sets; return the model."""
    model.compile({player: keras.optimizers.SGD(0.0) for player in model.players})
    return model


@pytest.fixture
def play(inject_noise):
    """`play(**arguments)`: the model of a game under `registry.noise()`, which is traced once in a worker."""
    inject_noise(*registry.noise())

    def ready(**arguments):
        key = "test_gradient_routing", repr(sorted(arguments.items()))
        return registry.compiled(key, lambda: compile_for_steps(build(**arguments)))

    return ready


def updates(model, rates, data=None, **fit_arguments):
    """What one step of SGD with these rates takes from each variable, `{path: array}`."""
    if not model.compiled:
        compile_for_steps(model)
    for player, rate in rates.items():
        model.player_optimizer(player).learning_rate = rate
    before = reference.weights_of(model)
    model.train_on_batch(*(registry.data(model) if data is None else data), **fit_arguments)
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
def test_each_player_descends_its_own_loss(game, play):
    arguments, noise = GAMES[game], registry.noise()
    model = play(**arguments)
    weights = reference.weights_of(model)
    applied = updates(model, dict.fromkeys(model.players, 1.0))
    for player in model.players:
        expected = reference.gradient(weights, player, registry.images(), noise, LABELS, **arguments)
        assert_same_direction_and_length(applied, expected)


@pytest.mark.parametrize("game", ["standard", "classes", "no_samples"])
def test_an_adaptive_weight_is_the_ratio_of_two_gradients(game, play):
    """The weight has no gradient itself: it is a number in the transcription."""
    arguments, noise = (
        {"pixel_weight": 0.3, "gamma": 0.7, "weight": 0.5} | GAMES.get(game, {}),
        registry.noise(),
    )
    model = play(**arguments, adaptive=True)
    weights = reference.weights_of(model)
    batch = registry.images(), noise, LABELS
    balance = reference.balance(weights, *batch, **arguments)
    assert 0.0 < balance < 1e4 and abs(balance - 1.0) > 0.01
    applied = updates(model, dict.fromkeys(model.players, 1.0))
    adapted = arguments | {"weight": balance * arguments["weight"]}
    for player in model.players:
        expected = reference.gradient(weights, player, *batch, **adapted)
        assert_same_direction_and_length(applied, expected)


@pytest.mark.parametrize("three_players", [False, True])
def test_before_the_start_the_generator_has_no_part_of_d(three_players, inject_noise):
    arguments = {"game": "hinge", "gamma": 0.7, "pixel_weight": 0.3, "three_players": three_players}
    inject_noise(*registry.noise())
    model = compile_for_steps(build(**arguments, start=1, warm_up=1))
    batch = registry.images(), registry.noise()
    alone = {"gamma": 0.0, "weight": 0.0}
    for step, (moves, counts) in enumerate([(False, alone), (True, alone), (True, {})]):
        weights = reference.weights_of(model)
        applied = updates(model, dict.fromkeys(model.players, 0.1))
        for player in model.players:
            told = arguments | counts
            if player == "encoder" and counts:  # its features have no weight that could be 0
                continue
            expected = reference.gradient(weights, player, *batch, **told)
            expected = {path: 0.1 * value for path, value in expected.items()}
            if player == "discriminator" and not moves:
                assert all(np.all(applied[path] == 0.0) for path in expected), step
            else:
                assert_same_direction_and_length(applied, expected)


@pytest.mark.parametrize("game", ["gaussian_free_bits", "classes_prior"])
def test_free_bits_hold_in_one_dimension_and_not_in_the_other(game):
    x, arguments = np.float64(registry.images()), GAMES[game]
    weights = reference.weights_of(build(**arguments))
    parts, _ = reference.condition(x, LABELS, **arguments)
    q = reference.encode(weights, x, parts)
    kl = reference.normal_kl(*q, *reference.prior(weights, parts, q[0].shape)).mean(axis=0)
    assert np.sum(kl > arguments["free_bits"]) == 1


BOUNDS = {
    "vae": registry.TRANSCRIBED["vae"],
    "vae_gaussian": registry.TRANSCRIBED["vae_gaussian"],
    "labels": CLASSES | {"beta": 0.5},
    "labels_prior": CLASSES | {"prior": True, "free_bits": 0.85, "likelihood": "gaussian"},
    "given": {"given": True, "masks": ("left",)},
    "given_prior": {"given": True, "prior": True, "masks": ("quadrants:3",), "likelihood": "gaussian"},
    "nothing_given": {"given": True, "prior": True, "masks": ("none",)},
    "ssl": {"alpha": 0.8, "beta": 0.6},
    "ssl_prior": {"alpha": 2.0, "prior": True, "likelihood": "gaussian", "noise_scale": 0.4},
    "ssl_free_bits": {"free_bits": 0.16, "beta": 0.8},  # of which all classes alike would have more
    "both": CLASSES | {"given": True, "prior": True, "masks": ("quadrants:1",), "beta": 2.0},
}


@pytest.mark.parametrize("name", BOUNDS)
def test_a_vae_descends_its_bound(name, inject_noise):
    noise, arguments = registry.noise(), BOUNDS[name]
    inject_noise(noise[0])
    makers = {"vae": registry.vae, "ssl": registry.ssl_vae}
    model = registry.set_weights(makers.get(name[:3], registry.cvae)(**arguments))
    weights = reference.weights_of(model)
    applied = updates(model, {"generator": 1.0})
    batch = registry.images(), noise, registry.targets(name)
    expected = reference.gradient(weights, "generator", *batch, **arguments)
    assert set(expected) == set(applied)
    assert_same_direction_and_length(applied, expected)


@pytest.mark.parametrize("arguments", [{}, CLASSES | {"prior": True}], ids=["two outcomes", "classes"])
def test_examples_count_by_their_sample_weight(arguments, play):
    noise, share = registry.noise(), np.array([2.0, 0.0, 0.5, 1.0], "float32")
    model = play(**arguments)
    weights = reference.weights_of(model)
    applied = updates(model, dict.fromkeys(model.players, 1.0), sample_weight=share)
    batch = registry.images(), noise, LABELS
    for player in model.players:
        expected = reference.gradient(weights, player, *batch, example_weight=share, **arguments)
        assert_same_direction_and_length(applied, expected)


@pytest.mark.parametrize("game", ["two_players", "three_players", "classes_three_players"])
def test_only_the_player_with_a_learning_rate_moves(game, play):
    for mover in play(**GAMES[game]).players:
        model = play(**GAMES[game])
        applied = updates(model, {player: float(player == mover) for player in model.players})
        moved = {path for path, update in applied.items() if np.any(update != 0)}
        assert moved == {variable.path for variable in model.player_variables()[mover]}


@pytest.mark.parametrize("game", GAMES)
def test_players_own_all_variables_and_share_none(game):
    model = build(**GAMES[game])
    owned = [variable.path for own in model.player_variables().values() for variable in own]
    assert len(owned) == len(set(owned))
    assert set(owned) == {variable.path for variable in model.trainable_variables}


def test_the_encoder_of_three_players_owns_the_learned_prior():
    model = build(**GAMES["classes_three_players"])
    owned = {
        player: {variable.path.split("_")[0] for variable in own}
        for player, own in model.player_variables().items()
    }
    assert owned == {
        "encoder": {"encoder", "prior"},
        "generator": {"decoder"},
        "discriminator": {"discriminator"},
    }


SEMI_SUPERVISED_GAMES = {
    "enumerated": {"gamma": 0.7, "beta": 0.4, "pixel_weight": 0.3, "alpha": 0.6, "label_weight": 0.5},
    "prior": {"gamma": 0.5, "prior": True, "r1": 1.5, "label_smoothing": 0.1},
    "all labels known": {"gamma": 0.5, "pixel_weight": 1.0, "alpha": 2.0},
    "no label known": {"gamma": 0.5, "alpha": 2.0},
    "feature matching": {"game": "feature_matching", "gamma": 3.0, "pixel_weight": 0.5},
    "three players": {"three_players": True, "gamma": 0.5, "pixel_weight": 1.0, "prior": True},
    "no label known, three players": {"three_players": True, "gamma": 0.5, "pixel_weight": 0.4},
    # As the preset plays; a class that is not drawn is known.
    "sampled": {
        "expectation": "sampled",
        "three_players": True,
        "gamma": 0.5,
        "pixel_weight": 1.0,
        "alpha": 2.0,
    },
}


@pytest.mark.parametrize(
    "name",
    registry.core(
        ["prior", "feature matching", "no label known, three players", "sampled"], SEMI_SUPERVISED_GAMES
    ),
)
def test_each_player_of_a_semi_supervised_game_descends_its_own_loss(name, inject_noise):
    arguments, noise = SEMI_SUPERVISED_GAMES[name], registry.noise()
    inject_noise(*noise)
    labels = {
        "enumerated": registry.targets("ssl"),
        "prior": registry.targets("ssl"),
        "three players": registry.targets("ssl"),
        "no label known": np.full(registry.BATCH, -1),
        "no label known, three players": np.full(registry.BATCH, -1),
    }.get(name, LABELS)  # in feature matching the class of a fake is drawn where the image's is not known
    model = registry.set_weights(registry.ssl_vae_gan(**arguments))
    weights = reference.weights_of(model)
    applied = updates(model, dict.fromkeys(model.players, 1.0), (registry.images(), labels))
    told = {k: v for k, v in arguments.items() if k not in ("game", "expectation")}
    told["game"] = arguments.get("game", "standard")
    for player in model.players:
        expected = reference.gradient(weights, player, registry.images(), noise, labels, **told)
        assert set(expected) == {variable.path for variable in model.player_variables()[player]}
        assert_same_direction_and_length(applied, expected)


PURE_GAME = {"gamma": 0.0, "beta": 0.0, "pixel_weight": 0.0, "three_players": True}
PURE_GAMES = {
    "two outcomes": PURE_GAME,
    "classes": PURE_GAME | CLASSES,
    "classes, prior": PURE_GAME | CLASSES | {"prior": True},
}


def verdicts(model, label=None):
    """Mean log-probability that D gives to a class on reconstructions and on prior samples.

    Args:
        label: classes `(B,)`; None for that of fakes.
    """
    x, noise = np.float64(registry.images()), np.float64(registry.noise())
    weights = reference.weights_of(model)
    parts, _ = reference.condition(x, LABELS, model.num_classes)
    distributions = reference.encode(weights, x, parts), reference.prior(weights, parts, noise[0].shape)
    codes = [
        mean + np.exp(log_variance / 2) * z
        for z, (mean, log_variance) in zip(noise, distributions, strict=True)
    ]
    shares = [
        reference.log_shares(reference.discriminate(weights, reference.decode(weights, z, parts))[0])
        for z in codes
    ]
    at = np.full(len(x), -1) if label is None else label
    return np.array([share[np.arange(len(x)), at].mean() for share in shares])


def small_step_of(player, model):
    updates(model, {name: 0.05 * (name == player) for name in model.players})


@pytest.mark.parametrize("game", PURE_GAMES)
def test_the_decoder_steps_towards_being_taken_for_what_was_asked(game, play):
    model = play(**PURE_GAMES[game])
    asked = 0 * LABELS if model.num_classes is None else LABELS
    before = verdicts(model, asked)
    small_step_of("generator", model)
    assert np.all(verdicts(model, asked) > before + 1e-4)


@pytest.mark.parametrize("game", PURE_GAMES)
def test_the_discriminator_steps_towards_exposing_the_decoder(game, play):
    model = play(**PURE_GAMES[game])
    before = verdicts(model)
    small_step_of("discriminator", model)
    assert np.all(verdicts(model) > before + 1e-4)


def test_the_discriminator_learns_the_classes_of_real_images(play):
    model, x = play(**PURE_GAMES["classes"]), np.float64(registry.images())

    def own_class():
        shares = reference.log_shares(reference.discriminate(reference.weights_of(model), x)[0])
        # Among the classes alone: not how real the images seem.
        return (shares[np.arange(len(x)), LABELS] - np.log(1.0 - np.exp(shares[:, -1]))).mean()

    before = own_class()
    small_step_of("discriminator", model)
    assert own_class() > before + 1e-4


@pytest.mark.parametrize("game", PURE_GAMES)
def test_the_encoder_takes_no_part_in_the_game_of_three_players(game, play):
    model, arguments = play(**PURE_GAMES[game]), PURE_GAMES[game]
    weights = reference.weights_of(model)
    applied = updates(model, {"encoder": 1.0, "generator": 0.0, "discriminator": 0.0})
    batch = registry.images(), registry.noise(), LABELS
    expected = reference.gradient(weights, "encoder", *batch, **arguments)
    assert_same_direction_and_length(applied, expected)  # feature matching alone
    assert all(not np.any(applied[path]) for path in applied if path.startswith("prior"))  # no KL: beta is 0
