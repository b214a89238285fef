"""`fit`, `evaluate` and what Keras hangs on them: logs, callbacks, margins, averaging, saving."""

import csv

import keras
import numpy as np
import pytest
import reference
import registry
from keras import ops
from registry import ADVERSARIAL, EVERY_MODEL, MODELS, TRANSCRIBED, Chunks, core

import keras_vaegan as kvg

VAE_LOGS = ["loss", "kl", "reconstruction"]
GAME_LOGS = ["generator", "discriminator", "feature_matching", "d_real", "d_fake"]
SSL_LOGS = [*VAE_LOGS, "labelled", "unlabelled", "error", "classification"]
LOGS = {
    "vae": VAE_LOGS,
    "vae_gaussian": VAE_LOGS,
    "vae_mixture": VAE_LOGS,
    "vae_gan": VAE_LOGS + GAME_LOGS,
    "vae_gan_three_players": [*VAE_LOGS, "encoder", *GAME_LOGS],
    "vae_gan_r1_spectral": VAE_LOGS + GAME_LOGS,
    "vae_gan_mixture": VAE_LOGS + GAME_LOGS,
    "vae_gan_hinge": VAE_LOGS + GAME_LOGS,
    "vae_gan_least_squares": VAE_LOGS + GAME_LOGS,
    "vae_gan_relativistic": VAE_LOGS + GAME_LOGS,
    "vae_gan_patches": VAE_LOGS + GAME_LOGS,
    "vae_gan_spatial": VAE_LOGS + GAME_LOGS,
    "vae_gan_late": VAE_LOGS + GAME_LOGS,
    "vae_gan_convolutional": VAE_LOGS + GAME_LOGS,
    "cvae": VAE_LOGS,
    "cvae_completion": VAE_LOGS,
    "cvae_both": VAE_LOGS,
    "ssl_vae": SSL_LOGS,
    "ssl_vae_consistent": [*SSL_LOGS, "consistency"],
    "stacked_ssl_vae": SSL_LOGS,
    "draw": VAE_LOGS,
    "draw_conditional": VAE_LOGS,
    "draw_gan": VAE_LOGS + GAME_LOGS,
    "draw_gan_conditional": [*VAE_LOGS, "encoder", *GAME_LOGS],
    "ssl_vae_gan": [*SSL_LOGS, *GAME_LOGS, "d_error"],
    "ssl_vae_gan_matching": [*SSL_LOGS, *GAME_LOGS, "d_error"],
    "ssl_vae_gan_sampled": [*SSL_LOGS, "encoder", *GAME_LOGS, "d_error", "d_consistency"],
    "cvae_gan": VAE_LOGS + GAME_LOGS,
    "cvae_gan_spatial": VAE_LOGS + GAME_LOGS,
    "cvae_gan_three_players": [*VAE_LOGS, "encoder", *GAME_LOGS],
}
QUIET = {"verbose": 0, "shuffle": False, "batch_size": registry.BATCH}


def build(name="vae_gan", rate=None, **arguments):
    """A registered model with fixed weights, compiled: SGD of that rate for all, or its own recipe."""
    model = registry.set_weights(MODELS[name](**arguments))
    model.compile(None if rate is None else keras.optimizers.SGD(rate))
    return model


def arrays(variables):
    return [ops.convert_to_numpy(variable) for variable in variables]


def same(left, right):
    return all(np.array_equal(a, b) for a, b in zip(left, right, strict=True))


def assert_close(left, right, rtol=1e-4, atol=1e-5):
    for a, b in zip(left, right, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


def slots(model, player):
    return arrays(model.player_optimizer(player).variables)


def weights(model, player):
    return arrays(model.player_variables()[player])


# ---- logs ----


@pytest.fixture
def ready(inject_noise):
    """`ready(name)`: a registered model with its recipe, without noise, which is traced once in a worker."""
    inject_noise()

    def of(name):
        short = {"steps": 2} if name.startswith("draw") else {}
        return registry.compiled(("test_training", name), lambda: build(name, **short))

    return of


@pytest.mark.parametrize("name", EVERY_MODEL)
def test_fit_reports_the_log_names_and_counts_the_steps(name, ready):
    model = ready(name)
    validation = registry.data(model, 6, seed=5)
    history = model.fit(*registry.data(model, 6), epochs=2, validation_data=validation, **QUIET).history
    assert list(model.log_names) == LOGS[name]
    assert sorted(history) == sorted(LOGS[name] + [f"val_{log}" for log in LOGS[name]])
    assert all(np.all(np.isfinite(values)) for values in history.values())
    assert int(model.optimizer.iterations) == 4
    assert [int(model.player_optimizer(player).iterations) for player in model.players] == [4] * len(
        model.players
    )


@pytest.mark.parametrize("name", core(("vae", "vae_gan_three_players", "ssl_vae"), TRANSCRIBED))
def test_logs_are_means_over_the_examples_of_the_epoch(name, inject_noise):
    inject_noise()
    model = build(name, rate=0.0)
    data, data_val = registry.data(model, 6), registry.data(model, 6, seed=5)
    history = model.fit(*data, validation_data=data_val, **QUIET).history
    evaluated = model.evaluate(*data_val, batch_size=registry.BATCH, verbose=0, return_dict=True)

    at_work, labels = reference.weights_of(model), registry.targets(name, 6)

    def by_hand(x, **arguments):
        """Batch by batch: how much a label counts depends on how many there are."""
        noise, made = np.zeros((2, registry.BATCH, registry.LATENT_DIM)), []
        for start in range(0, 6, registry.BATCH):
            rows = slice(start, start + registry.BATCH)
            made.append(
                reference.losses(at_work, x[rows], noise[:, : len(x[rows])], labels[rows], **arguments)
            )
        return {name: np.concatenate([batch[name] for batch in made]) for name in made[0]}

    expected = by_hand(data[0], **TRANSCRIBED[name])
    validated = by_hand(data_val[0], **TRANSCRIBED[name] | {"r1": 0.0})
    for log in LOGS[name]:
        assert history[log] == [pytest.approx(np.nanmean(expected[log]), rel=1e-4)], log
        assert history[f"val_{log}"] == [pytest.approx(np.nanmean(validated[log]), rel=1e-4)], log
        assert evaluated[log] == pytest.approx(np.nanmean(validated[log]), rel=1e-4), log


# ---- the same numbers on every backend ----

RATE = 0.05
# Batch means at the first and at the third step, by `reference.descend`.
STEPS = {
    "ssl_vae_gan": (
        {
            "loss": 13.2071,
            "kl": 7.65807,
            "reconstruction": 4.68805,
            "labelled": 12.8132,
            "unlabelled": 12.1682,
            "error": 1.0,
            "classification": 1.40441,
            "generator": 12.8707,
            "discriminator": 4.13283,
            "feature_matching": 0.169639,
            "d_real": 0.655831,
            "d_fake": 0.674651,
            "d_error": 0.666667,
        },
        {
            "loss": 7.1614,
            "kl": 1.49091,
            "reconstruction": 4.80597,
            "labelled": 7.39584,
            "unlabelled": 6.27473,
            "error": 1.0,
            "classification": 1.35531,
            "generator": 7.16054,
            "discriminator": 3.55256,
            "feature_matching": 0.268993,
            "d_real": 0.509267,
            "d_fake": 0.52675,
            "d_error": 0.666667,
        },
    ),
    "ssl_vae": (
        {
            "loss": 8.67135,
            "kl": 2.84896,
            "reconstruction": 4.92995,
            "labelled": 8.83176,
            "unlabelled": 7.65146,
            "error": 0.666667,
            "classification": 1.24513,
        },
        {
            "loss": 7.02873,
            "kl": 1.31993,
            "reconstruction": 4.82595,
            "labelled": 7.15561,
            "unlabelled": 6.01142,
            "error": 0.666667,
            "classification": 1.20059,
        },
    ),
    "vae": (
        {"loss": 6.49751, "kl": 0.946162, "reconstruction": 5.55135},
        {"loss": 5.70799, "kl": 0.558424, "reconstruction": 5.14956},
    ),
    "vae_gaussian": (
        {"loss": 5.16443, "kl": 0.946162, "reconstruction": 4.21827},
        {"loss": 3.59801, "kl": 0.646248, "reconstruction": 2.95177},
    ),
    "vae_gan": (
        {
            "loss": 5.63556,
            "kl": 0.810442,
            "reconstruction": 4.82512,
            "generator": 2.8141,
            "discriminator": 2.69636,
            "feature_matching": 0.373064,
            "d_real": 0.651256,
            "d_fake": 0.677975,
        },
        {
            "loss": 5.47624,
            "kl": 0.630355,
            "reconstruction": 4.84588,
            "generator": 3.19491,
            "discriminator": 2.18679,
            "feature_matching": 0.371198,
            "d_real": 0.47413,
            "d_fake": 0.512968,
        },
    ),
    "vae_gan_three_players": (
        {
            "loss": 5.63556,
            "kl": 0.810442,
            "reconstruction": 4.82512,
            "encoder": 0.778285,
            "generator": 1.15056,
            "discriminator": 2.7589,
            "feature_matching": 0.373064,
            "d_real": 0.651256,
            "d_fake": 0.677975,
        },
        {
            "loss": 5.55024,
            "kl": 0.714747,
            "reconstruction": 4.83549,
            "encoder": 0.727245,
            "generator": 1.77794,
            "discriminator": 2.13722,
            "feature_matching": 0.369871,
            "d_real": 0.454618,
            "d_fake": 0.494722,
        },
    ),
    "vae_gan_hinge": (
        {
            "loss": 5.63556,
            "kl": 0.810442,
            "reconstruction": 4.82512,
            "generator": 0.546958,
            "discriminator": 3.89545,
            "feature_matching": 0.373064,
            "d_real": 0.812709,
            "d_fake": 0.872413,
        },
        {
            "loss": 5.48908,
            "kl": 0.625214,
            "reconstruction": 4.86387,
            "generator": 1.856,
            "discriminator": 3.17898,
            "feature_matching": 0.362032,
            "d_real": 0.427604,
            "d_fake": 0.498852,
        },
    ),
    "vae_gan_least_squares": (
        {
            "loss": 5.63556,
            "kl": 0.810442,
            "reconstruction": 4.82512,
            "generator": 1.13865,
            "discriminator": 0.62974,
            "feature_matching": 0.373064,
            "d_real": 0.625417,
            "d_fake": 0.744826,
        },
        {
            "loss": 5.54031,
            "kl": 0.612899,
            "reconstruction": 4.92741,
            "generator": 1.20299,
            "discriminator": 0.432082,
            "feature_matching": 0.377287,
            "d_real": 0.303644,
            "d_fake": 0.430416,
        },
    ),
    "vae_gan_relativistic": (
        {
            "loss": 5.63556,
            "kl": 0.810442,
            "reconstruction": 4.82512,
            "generator": 2.34489,
            "discriminator": 1.53085,
            "feature_matching": 0.373064,
            "d_real": 0.471112,
            "d_fake": 0.529729,
        },
        {
            "loss": 5.53962,
            "kl": 0.613334,
            "reconstruction": 4.92628,
            "generator": 2.16942,
            "discriminator": 1.49675,
            "feature_matching": 0.371242,
            "d_real": 0.475996,
            "d_fake": 0.523466,
        },
    ),
    "vae_gan_mixture": (
        {
            "loss": 5.63556,
            "kl": 0.810442,
            "reconstruction": 4.82512,
            "generator": 1.86056,
            "discriminator": 2.67237,
            "feature_matching": 0.373064,
            "d_real": 0.651256,
            "d_fake": 0.674095,
        },
        {
            "loss": 5.54092,
            "kl": 0.610409,
            "reconstruction": 4.93051,
            "generator": 2.22112,
            "discriminator": 2.18151,
            "feature_matching": 0.385631,
            "d_real": 0.474078,
            "d_fake": 0.511638,
        },
    ),
    "vae_gan_r1_spectral": (
        {
            "loss": 5.63556,
            "kl": 0.810442,
            "reconstruction": 4.82512,
            "generator": 1.71893,
            "discriminator": 2.49717,
            "feature_matching": 0.0128216,
            "d_real": 0.634086,
            "d_fake": 0.639014,
        },
        {
            "loss": 5.56542,
            "kl": 0.608188,
            "reconstruction": 4.95723,
            "generator": 1.85859,
            "discriminator": 2.18631,
            "feature_matching": 0.0135253,
            "d_real": 0.531328,
            "d_fake": 0.538789,
        },
    ),
    "cvae": (
        {"loss": 7.76608, "kl": 2.80093, "reconstruction": 4.96515},
        {"loss": 5.55171, "kl": 0.876006, "reconstruction": 4.6757},
    ),
    "cvae_completion": (
        {"loss": 19.9975, "kl": 18.343, "reconstruction": 1.65458},
        {"loss": 5.00816, "kl": 3.41522, "reconstruction": 1.59294},
    ),
    "cvae_gan": (
        {
            "loss": 7.32859,
            "kl": 2.655,
            "reconstruction": 4.67359,
            "generator": 6.44817,
            "discriminator": 4.30732,
            "feature_matching": 0.071737,
            "d_real": 0.781035,
            "d_fake": 0.776022,
        },
        {
            "loss": 6.60151,
            "kl": 1.88494,
            "reconstruction": 4.71657,
            "generator": 6.11018,
            "discriminator": 3.36846,
            "feature_matching": 0.0731788,
            "d_real": 0.616784,
            "d_fake": 0.60329,
        },
    ),
    "cvae_gan_three_players": (
        {
            "loss": 13.0596,
            "kl": 8.38604,
            "reconstruction": 4.67359,
            "encoder": 8.45778,
            "generator": 2.85659,
            "discriminator": 4.37208,
            "feature_matching": 0.071737,
            "d_real": 0.781035,
            "d_fake": 0.779658,
        },
        {
            "loss": 5.74532,
            "kl": 0.983912,
            "reconstruction": 4.76141,
            "encoder": 1.04809,
            "generator": 3.27477,
            "discriminator": 3.38153,
            "feature_matching": 0.0641727,
            "d_real": 0.609136,
            "d_fake": 0.607948,
        },
    ),
}


def transcribed_steps(name):
    """The batch means of three steps, in NumPy."""
    arguments, model = TRANSCRIBED[name], registry.set_weights(MODELS[name]())
    state, batch = reference.weights_of(model), (registry.images(), registry.noise())
    arguments = arguments | {"labels": registry.targets(name)}
    steps = [reference.descend(state, model.players, RATE, *batch, **arguments) for _ in range(3)]
    return [{log: step[log] for log in LOGS[name]} for step in steps]


@pytest.mark.core_on("one")
@pytest.mark.parametrize("name", TRANSCRIBED)
def test_the_stored_numbers_are_those_of_the_transcription(name):
    first, _, third = transcribed_steps(name)
    assert (first, third) == tuple(pytest.approx(step, rel=1e-4) for step in STEPS[name])


@pytest.mark.parametrize("name", TRANSCRIBED)
def test_training_steps_give_the_stored_numbers(name, inject_noise):
    inject_noise(*registry.noise())
    model = build(name, rate=RATE)
    for expected in (STEPS[name][0], None, STEPS[name][1]):
        model.reset_metrics()
        logs = model.train_on_batch(*registry.data(model), return_dict=True)
        if expected:
            assert {log: float(value) for log, value in logs.items()} == pytest.approx(expected, rel=1e-3)


# ---- margins ----

NOBODY_HELD = (0.7, 100.0)


def after_two_free_steps_and_two_with(margin):
    """The model, and the state of each player before the last two steps."""
    model = registry.set_weights(registry.vae_gan(margin=NOBODY_HELD))
    model.compile("adam")
    x = registry.images(8)
    model.fit(x, **QUIET)
    before = {player: (weights(model, player), slots(model, player)) for player in model.players}
    model.game.margin = margin
    model.make_train_function(force=True)
    model.fit(x, **QUIET)
    return model, before


@pytest.mark.parametrize(
    "held, margin", [("discriminator", (100.0, 0.0)), ("generator", (0.0, 0.0))], ids=["D", "G"]
)
def test_a_player_held_by_its_margin_keeps_weights_and_slots(held, margin, inject_noise):
    inject_noise()
    model, before = after_two_free_steps_and_two_with(margin)
    assert same(weights(model, held), before[held][0])
    assert same(slots(model, held), before[held][1])
    (other,) = set(model.players) - {held}
    moved = zip(weights(model, other), before[other][0], strict=True)
    assert all(np.any(new != old) for new, old in moved)
    assert not same(slots(model, other), before[other][1])


def test_both_move_when_both_would_be_held(inject_noise):
    inject_noise(*registry.noise())
    model = build()
    at_work = reference.weights_of(model)
    real, _, _ = reference.discriminate(at_work, np.float64(registry.images()))
    prior, _, _ = reference.discriminate(at_work, reference.decode(at_work, np.float64(registry.noise()[1])))
    costs = -np.log(reference.sigmoid(real)).mean(), -np.log(1 - reference.sigmoid(prior)).mean()
    model.game.margin = (float(np.mean(costs)), 0.0)  # one cost is below, the other above
    assert abs(costs[0] - costs[1]) > 1e-3
    before = arrays(model.trainable_variables)
    model.train_on_batch(registry.images())
    moved = zip(arrays(model.trainable_variables), before, strict=True)
    assert all(np.any(new != old) for new, old in moved)


# ---- optimizers ----


def test_a_model_compiles_with_its_recipe_a_name_an_optimizer_or_a_dictionary():
    model = registry.vae_gan()
    model.compile()
    assert {model.player_optimizer(player).name for player in model.players} == {"generator", "discriminator"}
    recipe = model.player_optimizer("discriminator").get_config()
    model.compile("sgd")
    assert all(isinstance(model.player_optimizer(p), keras.optimizers.SGD) for p in model.players)
    model.compile(keras.optimizers.RMSprop(0.3))
    assert [float(model.player_optimizer(p).learning_rate) for p in model.players] == pytest.approx(
        [0.3, 0.3]
    )
    model.compile({"generator": "adagrad"})
    assert isinstance(model.player_optimizer("generator"), keras.optimizers.Adagrad)
    assert model.player_optimizer("discriminator").get_config() == recipe


@pytest.mark.core_on("one")
@pytest.mark.parametrize("bad", [{"critic": "sgd"}, {"encoder": "sgd"}], ids=["unknown", "of three players"])
def test_an_optimizer_for_an_unknown_player_is_refused(bad):
    with pytest.raises(kvg.InputError, match=rf"player.*generator.*{next(iter(bad))}"):
        registry.vae_gan().compile(bad)


@pytest.mark.core_on("one")
def test_one_optimizer_for_two_players_is_refused():
    shared = keras.optimizers.SGD()
    with pytest.raises(kvg.InputError, match="optimizer"):
        registry.vae_gan().compile({"generator": shared, "discriminator": shared})


@pytest.mark.core_on("one")
def test_an_unknown_name_of_a_player_is_refused():
    with pytest.raises(kvg.InputError, match="player"):
        build().player_optimizer("critic")


class AdamByParts(keras.optimizers.Adam):
    """Of a class of its own Keras updates one variable after another, by what the class itself says."""


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("vae_gan", {}),
        ("vae_gan", {"amsgrad": True}),
        # A large epsilon: behind a normalisation the gradient of a bias is rounding, which Adam makes large.
        pytest.param(
            "vae_gan_convolutional",
            {"epsilon": 1e-2, "weight_decay": 0.1, "clipnorm": 0.5},
            marks=pytest.mark.core_on("one"),
        ),
    ],
)
def test_adam_takes_the_steps_of_keras_own(name, settings, inject_noise):
    trained = []
    for kind in (keras.optimizers.Adam, AdamByParts):
        inject_noise()
        model = build(name)
        rate = keras.optimizers.schedules.CosineDecay(0.05, 10)
        model.compile({player: kind(rate, beta_1=0.5, **settings) for player in model.players})
        model.fit(registry.images(4 * registry.BATCH), epochs=2, **QUIET)
        trained.append([arrays(model.weights), *(slots(model, player) for player in model.players)])
    for one, other in zip(*trained, strict=True):
        assert_close(one, other, rtol=1e-3, atol=2e-5)


def test_averaged_weights_are_those_of_the_player_that_asked(inject_noise):
    inject_noise()
    model = build()
    averaging = keras.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.2)  # not young after four steps
    model.compile({"generator": averaging, "discriminator": keras.optimizers.Adam(0.01)})
    trajectory = []

    class Record(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            model.synchronize()
            trajectory.append({player: weights(model, player) for player in model.players})

    model.fit(registry.images(16), callbacks=[Record()], **QUIET)
    average = trajectory[0]["generator"]
    for step in trajectory[1:]:
        average = [0.2 * a + 0.8 * w for a, w in zip(average, step["generator"], strict=True)]
    assert len(trajectory) == 4
    assert_close(weights(model, "generator"), average)
    assert not same(average, trajectory[-1]["generator"])
    assert same(weights(model, "discriminator"), trajectory[-1]["discriminator"])


def test_training_goes_on_after_averages_took_the_place_of_weights(inject_noise):
    inject_noise()
    model, x = build(), registry.images(8)
    model.compile(keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5))
    model.fit(x, **QUIET)
    before = weights(model, "generator")
    again = model.fit(x, **QUIET)
    assert np.isfinite(again.history["loss"]).all()
    assert not same(weights(model, "generator"), before)


@pytest.mark.parametrize("momentum, epochs, averaged", [(0.5, 4, True), (0.5, 2, False), (0.99, 4, False)])
def test_averages_that_are_young_do_not_replace_the_weights(momentum, epochs, averaged, inject_noise):
    inject_noise()
    model = build()
    optimizer = keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=momentum)
    model.compile({"generator": optimizer, "discriminator": "sgd"})
    raw = []

    class Record(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raw.append(weights(model, "generator"))
            assert optimizer.use_ema  # what is saved here can be loaded

    model.fit(registry.images(8), epochs=epochs, callbacks=[Record()], **QUIET)
    assert same(weights(model, "generator"), raw[-1]) != averaged
    assert optimizer.use_ema


def test_young_averages_do_not_trouble_other_callbacks(inject_noise):
    inject_noise()
    model = build()
    optimizer = keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.99)
    model.compile({"generator": optimizer, "discriminator": "sgd"})
    swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
    history = model.fit(registry.images(8), epochs=3, callbacks=[swap], **QUIET)
    assert np.isfinite(history.history["loss"]).all() and optimizer.use_ema


def test_validation_can_use_the_averages(inject_noise):
    inject_noise()
    model, x = build(), registry.images(16)
    model.compile(
        {"generator": keras.optimizers.SGD(0.5, use_ema=True, ema_momentum=0.2), "discriminator": "sgd"}
    )
    swap = keras.callbacks.SwapEMAWeights()
    validated = model.fit(x, validation_data=(x,), callbacks=[swap], **QUIET).history["val_loss"]
    assert validated == [pytest.approx(model.evaluate(x, verbose=0, return_dict=True)["loss"], rel=1e-5)]


@pytest.mark.parametrize("name", ["vae_gan", "vae_gan_three_players"])
def test_beta_rises_with_the_steps(name, inject_noise):
    inject_noise()
    model = build(name, rate=0.0, annealing_steps=4)
    player = model.players[0]
    evaluated = model.evaluate(registry.images(), verbose=0, return_dict=True)
    batches = []
    for _ in range(6):
        model.reset_metrics()
        batches.append(model.train_on_batch(registry.images(), return_dict=True))
    rises = [(logs[player] - batches[0][player]) / (model.beta * logs["kl"]) for logs in batches]
    assert rises == pytest.approx([0.0, 0.25, 0.5, 0.75, 1.0, 1.0], abs=1e-3)
    assert batches[0]["loss"] == pytest.approx(batches[-1]["loss"])  # the bound keeps its beta of 1
    assert evaluated[player] == pytest.approx(batches[-1][player], rel=1e-4)  # beta rises in training only


# ---- Keras' callbacks ----


def test_callbacks_of_keras_work(inject_noise, tmp_path):
    inject_noise()
    model = build()
    x, path, seen = registry.images(8), tmp_path / "epoch_{epoch}.keras", []
    callbacks = [
        keras.callbacks.LearningRateScheduler(lambda epoch: 0.01 / (epoch + 1)),
        keras.callbacks.ModelCheckpoint(path, monitor="val_loss"),
        keras.callbacks.CSVLogger(tmp_path / "history.csv"),
        keras.callbacks.TerminateOnNaN(),
        keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(logs["loss"])),
    ]
    history = model.fit(x, epochs=2, validation_data=(x,), callbacks=callbacks, **QUIET).history
    for player in model.players:
        assert float(model.player_optimizer(player).learning_rate) == pytest.approx(0.005)
        assert history[f"learning_rate_{player}"] == pytest.approx([0.01, 0.005])
    assert len(seen) == 4
    with open(tmp_path / "history.csv") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["val_loss"]) for row in rows] == pytest.approx(history["val_loss"])
    restored = keras.saving.load_model(tmp_path / "epoch_2.keras")
    np.testing.assert_allclose(restored.reconstruct(x), model.reconstruct(x), rtol=1e-5)
    assert not np.allclose(
        keras.saving.load_model(tmp_path / "epoch_1.keras").reconstruct(x), model.reconstruct(x), rtol=1e-4
    )


def test_early_stopping_and_plateaus_follow_the_validated_bound(inject_noise):
    inject_noise()
    model = build(rate=0.0)  # no progress at all
    x = registry.images(8)
    callbacks = [
        keras.callbacks.EarlyStopping(monitor="val_loss", patience=3),
        keras.callbacks.ReduceLROnPlateau(monitor="val_loss", factor=0.5, patience=2, min_delta=0.1),
    ]
    for player in model.players:
        model.player_optimizer(player).learning_rate = 1e-9
    history = model.fit(x, epochs=9, validation_data=(x,), callbacks=callbacks, **QUIET).history
    assert len(history["loss"]) == 4
    for player in model.players:
        assert float(model.player_optimizer(player).learning_rate) == pytest.approx(0.5e-9)


def test_training_stops_on_nan(inject_noise):
    inject_noise(np.full((4, registry.LATENT_DIM), np.nan), registry.noise()[1])
    history = build("vae").fit(
        registry.images(8), epochs=3, callbacks=[keras.callbacks.TerminateOnNaN()], **QUIET
    )
    assert len(history.epoch) == 1


def test_an_interrupted_training_is_resumed(inject_noise, tmp_path):
    inject_noise()
    x = registry.images(8)

    class Interrupt(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    def backup():
        return keras.callbacks.BackupAndRestore(tmp_path / "backup")

    with pytest.raises(KeyboardInterrupt):
        build().fit(x, epochs=3, callbacks=[backup(), Interrupt()], **QUIET)
    resumed, straight = build(), build()
    assert resumed.fit(x, epochs=3, callbacks=[backup()], **QUIET).epoch == [2]
    straight.fit(x, epochs=3, **QUIET)
    assert_close(arrays(resumed.trainable_variables), arrays(straight.trainable_variables))


# ---- saving ----


@pytest.mark.parametrize("name", EVERY_MODEL)
def test_a_saved_model_goes_on_where_it_was(name, ready, tmp_path):
    model = ready(name)
    data, condition = registry.data(model), registry.condition(model)
    first = weights(model, "generator")
    model.fit(*data, **QUIET)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded) is type(model)
    assert loaded.players == model.players
    reconstructed = model.reconstruct(data[0], **condition)
    np.testing.assert_allclose(loaded.reconstruct(data[0], **condition), reconstructed, rtol=1e-5)
    np.testing.assert_allclose(loaded.generate(3, seed=1), model.generate(3, seed=1), rtol=1e-5)
    for player in model.players:
        assert type(loaded.player_optimizer(player)) is type(model.player_optimizer(player))
        assert same(slots(loaded, player), slots(model, player))
    for one in (model, loaded):
        one.fit(*data, **QUIET)
    assert_close(arrays(loaded.weights), arrays(model.weights))
    assert not same(weights(loaded, "generator"), first)


def test_a_saved_model_goes_on_with_its_own_noise(tmp_path):
    x, model = registry.images(), build("vae", rate=0.1, seed=3)
    model.train_on_batch(x)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    model.train_on_batch(x)
    loaded.train_on_batch(x)
    assert_close(arrays(loaded.trainable_variables), arrays(model.trainable_variables))


@pytest.mark.parametrize("name", EVERY_MODEL)
def test_a_model_is_its_configuration_and_its_weights(name):
    model = registry.set_weights(MODELS[name]())
    copy = type(model).from_config(model.get_config())
    copy.set_weights(model.get_weights())
    assert {k: v for k, v in copy.get_config().items() if not isinstance(v, dict)} == {
        k: v for k, v in model.get_config().items() if not isinstance(v, dict)
    }
    x, condition = registry.images(), registry.condition(model)
    np.testing.assert_allclose(copy.reconstruct(x, **condition), model.reconstruct(x, **condition))
    np.testing.assert_allclose(copy.generate(3, seed=1), model.generate(3, seed=1))


def test_the_same_seed_gives_the_same_training_and_another_one_does_not():
    def trained(seed):
        model = build("vae", rate=0.1, seed=seed)
        model.fit(registry.images(8), **QUIET)
        return arrays(model.trainable_variables)

    once = trained(3)
    assert same(once, trained(3))
    assert not same(once, trained(4))


def test_every_step_has_its_own_noise():
    model = build("vae", rate=0.0, seed=3)
    losses = []
    for _ in range(3):
        model.reset_metrics()
        losses.append(float(model.train_on_batch(registry.images(), return_dict=True)["loss"]))
    assert len(set(losses)) == 3


# ---- what fit, evaluate and predict take ----


@pytest.mark.core_on("one")
def test_all_forms_of_the_same_images_train_alike(inject_noise):
    inject_noise()
    eight_bits = np.random.default_rng(0).integers(0, 256, (8, *registry.IMAGE_SHAPE), "uint8")
    x, y = eight_bits / np.float32(255), np.arange(8) % 3
    forms = {
        "images": (x,),
        "with labels": (x, y),
        "eight bits": (eight_bits,),
        "double": (x.astype("float64"),),
        "dataset": (Chunks(x),),
        "dataset with labels": (Chunks(x, y),),
        "batches": (kvg.data.Batches(x, batch_size=registry.BATCH, shuffle=False),),
    }
    histories = {}
    for form, data in forms.items():
        batch = {} if isinstance(data[0], keras.utils.PyDataset) else {"batch_size": registry.BATCH}
        model = build("vae")
        histories[form] = model.fit(*data, verbose=0, shuffle=False, **batch).history
    for form, history in histories.items():
        assert history == {log: pytest.approx(histories["images"][log], rel=1e-5) for log in history}, form


@pytest.mark.core_on("one")
def test_validation_takes_images_alone_or_with_labels(inject_noise):
    inject_noise()
    x, y = registry.images(), np.zeros(registry.BATCH, "int64")
    validated = [
        build("vae", rate=0.0).fit(x, y, validation_data=data, **QUIET).history["val_loss"]
        for data in ((x,), (x, y), Chunks(x))
    ]
    assert validated[1:] == [pytest.approx(validated[0])] * 2


def test_predict_reconstructs(inject_noise):
    model, x = build(), registry.images(6)
    predicted = model.predict(x, batch_size=registry.BATCH, verbose=0)
    at_work = reference.weights_of(model)
    mean, _ = reference.encode(at_work, np.float64(x))
    expected = reference.decode(at_work, mean).reshape(x.shape)
    np.testing.assert_allclose(predicted, expected, rtol=1e-4)
    eight_bits = np.rint(x * 255).astype("uint8")
    np.testing.assert_allclose(
        model.predict(eight_bits, verbose=0),
        model.predict(eight_bits / np.float32(255), verbose=0),
        rtol=1e-5,
    )


BAD_DATA = {
    "one image": ("x", registry.images()[0]),
    "no channel": ("x", registry.images()[..., 0]),
    "another size": ("x", registry.images(image_shape=(3, 3, 1))),
    "no images": ("x", registry.images()[:0]),
    "above one": ("x", 255 * registry.images()),
    "below zero": ("x", registry.images() - 0.5),
    "nan": ("x", np.full((4, 2, 3, 1), np.nan, "float32")),
    "text": ("x", np.full((4, 2, 3, 1), "a")),
    "too few labels": ("y", np.zeros(3, "int64")),
    "labels of rank two": ("y", np.zeros((4, 3), "int64")),
    "fractions as labels": ("y", np.full(4, 0.5)),
}


PLACES = ["fit", "validation_data", "evaluate", "predict"]


@pytest.mark.core_on("one")
@pytest.mark.parametrize(
    "place, case",
    [(p, case) for p in PLACES for case in BAD_DATA if (p, BAD_DATA[case][0]) != ("predict", "y")],
)
def test_bad_data_is_refused_in_one_line_that_names_it(place, case):
    model, x = build("vae"), registry.images()
    argument, value = BAD_DATA[case]
    data = (value,) if argument == "x" else (x, value)
    calls = {
        "fit": lambda: model.fit(*data, **QUIET),
        "validation_data": lambda: model.fit(x, validation_data=data, **QUIET),
        "evaluate": lambda: model.evaluate(*data, verbose=0),
        "predict": lambda: model.predict(value, verbose=0),
    }
    with pytest.raises(kvg.InputError) as error:
        calls[place]()
    message = str(error.value)
    prefix = "validation_data: " if place == "validation_data" else ""
    assert message.startswith(f"{prefix}{argument} must ")
    assert "\n" not in message


# ---- precision ----


PRECISIONS = [
    (name, policy)
    for name in ("vae", "vae_gan", "vae_gan_r1_spectral", "cvae_gan")
    for policy in ("mixed_bfloat16", "mixed_float16")
]
PRECISIONS.append(("cvae_completion", "mixed_bfloat16"))  # its first gradients overflow in float16


@pytest.mark.parametrize("name, policy", PRECISIONS)
def test_mixed_precision_descends_the_same_losses(name, policy, dtype_policy, inject_noise):
    dtype_policy(policy)
    noise = registry.noise()
    inject_noise(*noise)
    model = registry.set_weights(MODELS[name]())
    assert model.encoder.get_layer("encoder_dense_0").compute_dtype == policy.removeprefix("mixed_")
    model.compile({player: keras.optimizers.SGD(1.0) for player in model.players})
    if policy == "mixed_float16":  # a smaller scale, at which no gradient overflows in the first step
        model.optimizer.dynamic_scale.assign(256.0)
    before = reference.weights_of(model)
    logs = model.train_on_batch(*registry.data(model), return_dict=True)
    after = reference.weights_of(model)
    arguments = TRANSCRIBED[name] | {"labels": registry.labels()}
    expected = reference.losses(before, registry.images(), noise, **arguments)
    for log in LOGS[name]:
        assert float(logs[log]) == pytest.approx(np.nanmean(expected[log]), rel=0.03), log
    for player in model.players:
        step = reference.gradient(before, player, registry.images(), noise, **arguments)
        applied = np.concatenate([np.ravel(before[path] - after[path]) for path in step])
        step = np.concatenate([np.ravel(value) for value in step.values()])
        lengths = np.linalg.norm(applied), np.linalg.norm(step)
        assert applied @ step / np.prod(lengths) > 0.995
        assert lengths[0] == pytest.approx(lengths[1], rel=0.05)


def test_learning_rates_are_scheduled_under_loss_scaling(dtype_policy):
    dtype_policy("mixed_float16")
    model = build()
    scheduler = keras.callbacks.LearningRateScheduler(lambda epoch: 0.25)
    model.fit(registry.images(8), callbacks=[scheduler], **QUIET)
    assert [float(model.player_optimizer(p).learning_rate) for p in model.players] == [0.25, 0.25]


@pytest.mark.core_on("one")
@pytest.mark.parametrize("name", ADVERSARIAL)
def test_the_discriminator_is_judged_in_full_precision(name, dtype_policy):
    dtype_policy("mixed_float16")
    outputs = MODELS[name]().discriminator.output
    assert {output.dtype for output in outputs.values()} == {"float32"}
