"""The `Monitor`: what it names, what it goes back to, and that it leaves no trace."""

import gc
import json
import math
import os
import re
import subprocess
import sys

import h5py
import keras
import numpy as np
import pytest
import reference
import registry
from keras import ops
from test_cli import TINY, TINY_GAN, TINY_NETWORKS, run

import keras_vaegan as kvg
from keras_vaegan import callbacks
from keras_vaegan.diagnosis import SAMPLE_DIVERSITY
from keras_vaegan.monitor import Monitor, nearest_distance
from keras_vaegan.runs import FINDINGS, read_findings
from keras_vaegan.training.watch import state_of

BACKEND = keras.backend.backend()
QUIET = {"verbose": 0, "shuffle": False, "batch_size": registry.BATCH}
BATCHES = 10
MANY = registry.images(BATCHES * registry.BATCH)


class Stream(keras.utils.PyDataset):
    """Batches that are not checked, one of which may have a number of another kind."""

    def __init__(self, batch=None, value=np.nan):
        super().__init__()
        self.x = MANY.copy()
        if batch is not None:
            self.x[registry.BATCH * (batch - 1) + 1, 1, 2, 0] = value

    def __len__(self):
        return BATCHES

    def __getitem__(self, index):
        return (self.x[registry.BATCH * index : registry.BATCH * (index + 1)],)


class Record(keras.callbacks.Callback):
    """Keeps the whole state before each batch, by the number of steps done."""

    def __init__(self):
        super().__init__()
        self.states = {}

    def on_train_batch_begin(self, batch, logs=None):
        self.model.synchronize()
        self.states[batch] = state(self.model)


class Trouble(kvg.VAEGAN):
    """A VAE/GAN in whose third step something happens."""

    happens = staticmethod(lambda losses, model, now: losses)

    def compute_losses(self, x, y=None, training=False):
        losses = super().compute_losses(x, y, training)
        return self.happens(losses, self, ops.equal(self.optimizer.iterations, 2)) if training else losses


def troubled(happens, optimizer=None, **compiled):
    model = registry.set_weights(Trouble(*registry.smooth_networks(registry.IMAGE_SHAPE, True), seed=0))
    model.happens = happens
    model.compile(optimizer or keras.optimizers.SGD(0.01, momentum=0.5), **compiled)
    return model


def build(name="vae_gan", optimizer=None, **arguments):
    model = registry.set_weights(registry.MODELS[name](seed=0, **arguments))
    model.compile(optimizer or keras.optimizers.Adam(0.01))
    return model


def state(model):
    return [np.array(ops.convert_to_numpy(variable)) for variable in state_of(model)]


def same(left, right):
    return all(np.array_equal(a, b) for a, b in zip(left, right, strict=True))


def watch(model, data, check_every=2, epochs=1, also=(), **arguments):
    """Fit with a monitor; it, the states on the way, and what Keras noted."""
    said, record = [], Record()
    monitor = Monitor(check_every=check_every, report=said.append, **arguments)
    history = model.fit(data, epochs=epochs, verbose=0, shuffle=False, callbacks=[record, monitor, *also])
    assert said == [finding.message for finding in monitor.findings]
    return monitor, record.states, history


def assert_stopped(monitor, step, epoch, what):
    """The training was stopped at this step by this tensor."""
    (finding,) = monitor.findings
    assert monitor.stopped is finding
    assert (finding.kind, finding.severity, finding.epoch) == ("not_finite", "severe", epoch)
    assert finding.message.startswith(
        f"step {step} (epoch {epoch}): {what} is not finite, the first bad tensor"
    )
    assert "\n" not in finding.message


def assert_no_trace(model, data=None):
    assert model._watch is None
    assert len(model.metrics_variables) == 2 * len(model.log_names) + 2  # and the extremes of the data
    history = model.fit(Stream() if data is None else data, verbose=0).history
    assert sorted(history) == sorted(model.log_names)
    assert all(np.isfinite(values).all() for values in history.values())


# ---- the first bad tensor, and the state gone back to ----


def test_verdicts_before_the_discriminator_starts_are_blank():
    """D of this game starts after a step: in the first epoch, of one step, it says nothing."""
    model = registry.MODELS["vae_gan_late"](seed=0)
    model.compile()
    monitor = Monitor(patience=1, report=lambda line: None)
    told = {"epochs": 3, "callbacks": [monitor], **QUIET}
    history = model.fit(registry.images(registry.BATCH), **told).history
    for name in ("d_real", "d_fake"):
        assert np.isnan(history[name]).tolist() == [True, False, False]
    assert np.isfinite(history["loss"]).all()
    assert not [finding for finding in monitor.findings if finding.kind == "not_finite"]


@pytest.mark.parametrize(
    "name, value",
    [
        ("vae", np.nan),
        pytest.param("vae_gan_convolutional", np.inf, marks=pytest.mark.core_on("one")),
    ],
)
def test_a_bad_image_is_named_and_the_state_before_it_kept(name, value):
    model, twin = (build(name, keras.optimizers.SGD(0.05, momentum=0.9)) for _ in range(2))
    monitor, states, history = watch(model, Stream(batch=6, value=value))
    assert_stopped(monitor, 6, 1, "the batch of images")
    assert "the weights of step 4 are kept" in monitor.stopped.message
    assert "Look for bad numbers in the data" in monitor.stopped.message
    assert max(states) < BATCHES - 1  # it did not go on to the end of the epoch
    assert same(state(model), states[4])
    assert not same(state(model), states[3])
    assert math.isnan(history.history["loss"][0])
    for x, _ in zip(Stream(), range(4), strict=False):
        twin.train_on_batch(x[0])
    for ours, theirs in zip(state(model), state(twin), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)
    assert_no_trace(model)


def test_training_goes_on_as_if_nothing_had_been():
    model, twin = build(), build()
    watch(model, Stream(batch=6), check_every=5)
    twin.fit(MANY[: 5 * registry.BATCH], **QUIET)
    assert same(state(model), state(twin))
    for each in (model, twin):
        each.fit(MANY, **QUIET)
    for ours, theirs in zip(state(model), state(twin), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)


def nan_where(now):
    return ops.where(now, float("nan"), 1.0)


def spoil_the_discriminators_loss(losses, model, now):
    players = losses.players | {"discriminator": losses.players["discriminator"] * nan_where(now)}
    return losses._replace(players=players)


def spoil_a_term(losses, model, now):
    logs = losses.logs | {"feature_matching": losses.logs["feature_matching"] * nan_where(now)}
    return losses._replace(logs=logs | {"d_fake": losses.logs["d_fake"] * nan_where(now)})


def spoil_a_gradient(losses, model, now):
    # The square root has no derivative at 0; the loss is finite.
    kernel = model.decoder.get_layer("decoder_logits").kernel
    nothing = ops.sum(ops.square(kernel - ops.stop_gradient(kernel)))
    extra = ops.sqrt(nothing + ops.where(now, 0.0, 1.0))
    return losses._replace(players=losses.players | {"generator": losses.players["generator"] + extra})


def spoil_the_step(losses, model, now):
    # Large and finite gradients, which times the learning rate of 100 are not.
    larger = losses.players["discriminator"] * ops.where(now, 3e37, 1e-4)
    return losses._replace(players=losses.players | {"discriminator": larger})


CASES = {
    "loss": (spoil_the_discriminators_loss, "the loss of discriminator", ["discriminator"]),
    "term": (spoil_a_term, "the term feature_matching", ["generator", "discriminator"]),
    "gradient": (spoil_a_gradient, "the gradient of generator for decoder_logits/kernel", ["generator"]),
}


@pytest.mark.parametrize(
    "case, steps_per_execution", [("loss", 1), ("term", 1), ("gradient", 1), ("gradient", 2)]
)
def test_what_goes_bad_within_a_step_is_named(case, steps_per_execution):
    if BACKEND == "torch" and steps_per_execution > 1:
        pytest.skip("Keras has no such steps on PyTorch")
    happens, what, players = CASES[case]
    model = troubled(happens, steps_per_execution=steps_per_execution)
    monitor, states, _ = watch(model, Stream(), check_every=2)
    assert_stopped(monitor, 3, 1, what)
    assert same(state(model), states[2])
    named = re.findall(r"--set (\w+)\.learning_rate", monitor.stopped.message)
    assert named == players
    model.happens = Trouble.happens
    assert_no_trace(model)


def test_a_step_out_of_bounds_is_named_by_the_weights_it_leads_to():
    model, twin = (troubled(spoil_the_step, keras.optimizers.SGD(100.0)) for _ in range(2))
    for model_ in (model, twin):
        model_.player_optimizer("generator").learning_rate = 1e-4
    monitor, states, _ = watch(model, Stream(), check_every=1)
    for x, _ in zip(Stream(), range(3), strict=False):
        twin.train_on_batch(x[0])
    bad = [v.path for v in twin.trainable_variables if not np.isfinite(ops.convert_to_numpy(v)).all()]
    assert bad
    assert_stopped(monitor, 3, 1, f"{bad[0]} as discriminator changed it")
    assert same(state(model), states[2])


def test_slots_out_of_bounds_are_named_when_the_state_is_copied():
    # The square of the gradient, in Adam's velocity, is out of bounds; the weights stay where they are.
    model = troubled(spoil_the_step, keras.optimizers.Adam(1e-3))
    monitor, states, _ = watch(model, Stream(), check_every=3)
    assert re.match(
        r"step 3, or shortly before \(epoch 1\): .*velocity is not finite", monitor.stopped.message
    )
    assert "the weights of step 0 are kept" in monitor.stopped.message
    assert same(state(model), states[0])


def test_an_exploding_training_is_named_by_the_first_term_out_of_bounds(inject_noise):
    inject_noise()
    rate, model = 1e30, registry.set_weights(registry.vae())
    model.compile(keras.optimizers.SGD(rate))
    weights, nothing = reference.weights_of(model), np.zeros((2, registry.BATCH, registry.LATENT_DIM))
    reference.descend(weights, model.players, rate, Stream()[0][0], nothing)
    largest = np.finfo("float32").max
    assert max(np.abs(value).max() for value in weights.values()) < largest
    with np.errstate(all="ignore"):
        second = reference.losses(weights, Stream()[1][0], nothing)
    first = next(log for log in ("kl", "reconstruction") if not np.all(np.abs(second[log]) < largest))
    monitor, states, _ = watch(model, Stream(), check_every=100)
    assert_stopped(monitor, 2, 1, f"the term {first}")
    assert same(state(model), states[0])
    assert len(states) == BATCHES  # it looked at the end of the epoch


def test_the_epoch_is_that_in_which_it_came(tmp_path):
    model, path = build(), tmp_path / FINDINGS
    happens = Stream()

    class Spoil(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            happens.x[5] = np.nan if epoch == 2 else happens.x[5]

    file = callbacks.HistoryFile(tmp_path / "history.csv")
    monitor, _, history = watch(model, happens, epochs=5, also=[Spoil(), file], path=path)
    assert_stopped(monitor, 22, 3, "the batch of images")
    assert "the weights of step 20 are kept" in monitor.stopped.message
    assert read_findings(path) == monitor.findings
    assert [np.isfinite(value) for value in file.columns["loss"]] == [True, True, False]
    assert history.epoch == [0, 1, 2]


def test_validation_sees_the_state_gone_back_to_and_leaves_it_as_it_was():
    model, record = build(), Record()
    monitor = Monitor(check_every=2, report=lambda line: None)
    x = registry.images(8, seed=5)
    history = model.fit(
        Stream(batch=6), validation_data=(x,), verbose=0, shuffle=False, callbacks=[record, monitor]
    ).history
    assert math.isfinite(history["val_loss"][0])
    assert same(state(model), record.states[4])  # its draws have not moved the seeds


def test_averages_are_those_of_the_state_gone_back_to():
    averaging = {
        player: keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.2) for player in ("generator",)
    }
    model = build(optimizer=averaging)
    monitor, states, _ = watch(model, Stream(batch=6))
    kept = states[4][len(model.trainable_variables) + len(model.non_trainable_variables) :]
    paths = [variable.path for variable in model.optimizer.variables]
    averages = {path: value for path, value in zip(paths, kept, strict=True) if path.endswith("average")}
    assert averages
    for variable in model.player_variables()["generator"]:  # Keras puts them in place at the end
        (average,) = [v for path, v in averages.items() if variable.path.replace("/", "_") in path]
        assert np.array_equal(ops.convert_to_numpy(variable), average)


def test_a_model_that_is_bad_from_the_start_is_said_to_be():
    model = build("vae")
    bad = model.trainable_variables[2]
    bad.assign(ops.convert_to_numpy(bad) * np.nan)
    monitor, states, _ = watch(model, Stream(), epochs=3)
    assert monitor.stopped.message.startswith(f"before the first step (epoch 1): {bad.path} is not finite")
    assert "nothing is kept" in monitor.stopped.message
    assert len(states) == 1


def test_gradients_that_overflow_under_loss_scaling_are_no_trouble(dtype_policy):
    dtype_policy("mixed_float16")
    model = build()
    model.optimizer.dynamic_scale.assign(2.0**126)
    monitor, states, history = watch(model, Stream())
    assert monitor.findings == []
    assert len(states) == BATCHES
    assert float(model.optimizer.dynamic_scale) == 2.0**116  # every step overflowed
    model.optimizer.dynamic_scale.assign(2.0**10)
    monitor, states, _ = watch(model, Stream(batch=6))
    assert_stopped(monitor, 6, 1, "the batch of images")


TWO_DEVICES = """
import sys
import tensorflow as tf
(processor, *_) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * 2)
sys.path.insert(0, sys.argv[1])
import numpy as np
import registry
from keras_vaegan.monitor import Monitor
with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    model = registry.vae(seed=0)
    model.compile("sgd")
x = registry.images(80)
x[46] = np.nan  # on the second device in the sixth step
batches = tf.data.Dataset.from_tensor_slices((x,)).batch(8)
model.fit(batches, verbose=0, callbacks=[Monitor(check_every=2)])
"""


@pytest.mark.skipif(BACKEND != "tensorflow", reason="of TensorFlow's distribution")
def test_devices_that_share_a_batch_agree_on_the_tensor_and_the_step():
    command = [sys.executable, "-c", TWO_DEVICES, os.path.dirname(__file__)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("step 6 (epoch 1): the batch of images is not finite")
    assert "the weights of step 4 are kept" in done.stdout


# ---- a healthy training ----


@pytest.mark.parametrize(
    "name", registry.core(["vae_gan_r1_spectral"], ["vae", "vae_gan_r1_spectral", "vae_gan_convolutional"])
)
def test_a_healthy_training_is_the_same_with_and_without(name):
    validation = {"validation_data": (registry.images(6, seed=5),)}
    plain, watched = build(name), build(name)
    expected = plain.fit(MANY, epochs=2, **QUIET, **validation).history
    monitor = Monitor(registry.images(16, seed=7), check_every=3)
    history = watched.fit(MANY, epochs=2, **QUIET, **validation, callbacks=[monitor]).history
    assert monitor.findings == []
    assert len(history.pop(SAMPLE_DIVERSITY)) == 2
    assert history == expected
    assert same(state(watched), state(plain))
    assert_no_trace(watched, MANY)


def names_in(path):
    names = []
    with h5py.File(path) as file:
        file.visit(names.append)
    return sorted(names)


def test_files_saved_meanwhile_are_those_of_any_model(tmp_path):
    def fit(folder, *used):
        class Weights(keras.callbacks.Callback):
            def on_epoch_end(self, epoch, logs=None):
                self.model.save_weights(folder / "meanwhile.weights.h5")

        model = build()
        model.fit(MANY, **QUIET, callbacks=[*used, callbacks.Checkpoints(folder), Weights()])
        model.save_weights(folder / "after.weights.h5")
        return model

    for folder in ("plain", "watched"):
        (tmp_path / folder).mkdir()
    fit(tmp_path / "plain")
    model = fit(tmp_path / "watched", Monitor())
    for name in ("meanwhile", "after"):
        expected, found = (names_in(tmp_path / f / f"{name}.weights.h5") for f in ("plain", "watched"))
        assert found == expected
    loaded = keras.saving.load_model(tmp_path / "watched" / "epoch_0001.keras")
    assert same(state(loaded), state(model))
    model.load_weights(tmp_path / "plain" / "after.weights.h5")


def test_a_monitor_can_be_used_again():
    model, monitor = build(), Monitor(check_every=2, report=lambda line: None)
    model.fit(Stream(batch=6), verbose=0, shuffle=False, callbacks=[monitor])
    assert monitor.stopped
    model.fit(Stream(), verbose=0, callbacks=[monitor])
    assert (monitor.stopped, monitor.findings) == (None, [])


# ---- diversity, and the rules on epochs ----


@pytest.mark.core_on("one")
def test_the_distance_to_the_nearest_is_what_it_says():
    images = registry.images(7)
    flat = images.reshape(7, -1).astype("float64")
    nearest = [min(np.linalg.norm(a - b) for j, b in enumerate(flat) if j != i) for i, a in enumerate(flat)]
    assert nearest_distance(images) == pytest.approx(np.mean(nearest))
    assert nearest_distance(np.repeat(images, 2, axis=0) + 0.1) == pytest.approx(0.0, abs=1e-6)


class Fixed(kvg.VAE):
    """A VAE that generates these pictures."""

    pictures = None

    def generate(self, num_images, seed=None, start=0, batch_size=128):
        return self.pictures[:num_images]


def fixed(pictures, reference, epochs=4):
    """What is said, and logged, of a model that generates these pictures."""
    model, said = Fixed(*registry.smooth_networks(pictures.shape[1:], False), seed=0), []
    model.pictures = pictures
    model.compile()
    monitor = Monitor(reference, report=said.append)
    history = model.fit(reference, epochs=epochs, verbose=0, callbacks=[monitor]).history
    return said, history[SAMPLE_DIVERSITY]


def digits():
    (x, _), (validation, _), _ = kvg.data.load("digits", 8)
    return kvg.data.images.as_float32(x), kvg.data.images.as_float32(validation)


@pytest.mark.core_on("one")
@pytest.mark.parametrize("noise", [0.0, 0.02])
@pytest.mark.parametrize("distinct", [1, 10])
def test_copies_of_a_few_pictures_are_a_collapse(noise, distinct):
    x, validation = digits()
    pictures = np.resize(x[:distinct], (256, *x.shape[1:]))
    pictures = pictures + noise * np.random.default_rng(0).standard_normal(pictures.shape)
    said, diversity = fixed(np.clip(pictures, 0, 1), validation, epochs=6)
    assert max(diversity) < 0.2
    (line,) = said  # told once
    assert line.startswith("epochs 2 to 4: the samples are nearly alike")


@pytest.mark.core_on("one")
def test_real_images_are_no_collapse():
    x, validation = digits()
    said, diversity = fixed(x[:256], validation)
    assert said == []
    assert diversity == pytest.approx([1.0] * 4, abs=0.15)


@pytest.mark.core_on("one")
def test_eight_bits_are_compared_as_the_images_they_are():
    x, validation = digits()
    eight_bits = np.rint(validation * 255).astype("uint8")
    _, expected = fixed(x[:256], validation, epochs=1)
    assert fixed(x[:256], eight_bits, epochs=1)[1] == pytest.approx(expected, rel=0.01)


@pytest.mark.core_on("one")
def test_images_that_say_nothing_give_no_number():
    for images in (registry.images(4), np.zeros((20, *registry.IMAGE_SHAPE), "float32")):
        assert SAMPLE_DIVERSITY not in build("vae").fit(MANY, **QUIET, callbacks=[Monitor(images)]).history
    with pytest.raises(kvg.InputError, match="images"):
        Monitor(np.zeros((4, 4)))
    with pytest.raises(kvg.InputError, match="check_every"):
        Monitor(check_every=0)


class Deadly(kvg.VAE):
    """A VAE whose code carries nothing, as it says."""

    def elbo(self, kl, reconstruction):
        logs = super().elbo(kl, reconstruction)
        return logs | {"kl": 0.0 * logs["kl"]}


@pytest.mark.core_on("one")
def test_findings_are_said_when_they_are_found_and_once(tmp_path):
    path, seen = tmp_path / FINDINGS, []

    class When(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append((len(said), path.exists()))

    model, said = Deadly(*registry.smooth_networks(registry.IMAGE_SHAPE, False)), []
    model.compile()
    monitor = Monitor(path=path, patience=2, report=said.append)
    model.fit(registry.images(), epochs=4, verbose=0, callbacks=[monitor, When()])
    assert seen == [(0, False), (1, True), (1, True), (1, True)]
    assert said[0].startswith("epochs 1 to 2: the code carries nothing")
    (finding,) = read_findings(path)
    assert finding.message.startswith("epochs 1 to 4: ")


@pytest.mark.core_on("one")
def test_a_resumed_training_finds_what_one_finds_that_was_not_stopped(tmp_path):
    def train(folder, first, epochs):
        said = []
        history = folder / "history.csv"
        monitor = Monitor(path=folder / FINDINGS, patience=3, report=said.append, history=history)
        model = Deadly(*registry.smooth_networks(registry.IMAGE_SHAPE, False))
        model.compile()
        used = [monitor, callbacks.HistoryFile(history)]
        model.fit(registry.images(), initial_epoch=first, epochs=epochs, verbose=0, callbacks=used)
        return said, read_findings(folder / FINDINGS)

    said, findings = train(tmp_path / "whole", 0, 4)
    assert [finding.kind for finding in findings] == ["dead_kl"] and findings[0].epoch == 1
    assert train(tmp_path / "stopped", 0, 2) == ([], [])
    assert train(tmp_path / "stopped", 2, 3)[0] == said
    assert train(tmp_path / "stopped", 3, 4) == ([], findings)  # it was said before


@pytest.mark.core_on("one")
def test_the_progress_bar_is_not_written_into(capsys):
    model = build()
    model.fit(Stream(batch=2), verbose=1, shuffle=False, callbacks=[Monitor()])
    assert re.search(r"^step 2 \(epoch 1\)", capsys.readouterr().out, re.MULTILINE)


# ---- the command line ----


@pytest.mark.core_on("one")
def test_a_training_that_explodes_ends_in_order(tmp_path, capsys):
    folder = tmp_path / "run"
    explode = ["--set", "generator.learning_rate=1e30", "--epochs", 3, "--output", folder]
    assert run("train", "--model", "vae_gan", *TINY_GAN, *explode) == 1
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert re.match(r"step 2 \(epoch 1\): .* is not finite, the first bad tensor; stopped, the weights", line)
    assert str(folder) in captured.out.splitlines()[-1]
    for path in (folder, folder / "model.keras"):
        model, metadata = kvg.presets.load_source(path)
        assert all(np.isfinite(value).all() for value in model.get_weights())
    assert (folder / "history.csv").read_text().count("\n") == 2
    metadata = json.loads((folder / "metadata.json").read_text(), parse_constant=pytest.fail)
    assert metadata["results"]["loss"] is None
    assert run("doctor", folder) == 1
    assert capsys.readouterr().out == f"severe: {line}\n"

    train = ["train", "--model", "vae", *TINY, *TINY_NETWORKS, "--epochs", 1, "--output", folder]
    assert run(*train, "--overwrite") == 0
    assert not (folder / FINDINGS).exists()
    assert capsys.readouterr().err == ""
    assert SAMPLE_DIVERSITY in (folder / "history.csv").read_text()
    assert run("doctor", folder) == 0
    assert capsys.readouterr().out == "nothing found in 1 epochs\n"


# ---- gradients that explode along the steps of a recurrence ----


@pytest.mark.core_on("one")
def test_exploding_gradients_of_draw_are_named_and_clipped_ones_do_not_explode():
    data, messages = registry.images(BATCHES * registry.BATCH), []
    for clip in (None, 0.01):
        optimizer = keras.optimizers.SGD(100.0, global_clipnorm=clip)
        model = build("draw", optimizer, steps=6)
        monitor, _, _ = watch(model, data)
        messages.append([finding.message for finding in monitor.findings if finding.kind == "not_finite"])
        assert all(np.isfinite(weights).all() for weights in model.get_weights())
    assert re.search(r"is not finite, the first bad tensor", messages[0][0])
    assert "clipped gradients: --set generator.global_clipnorm" in messages[0][0]
    assert messages[1] == []


@pytest.mark.skipif(sys.gettrace() is not None, reason="a tracer keeps objects of its own")
@pytest.mark.filterwarnings("ignore")  # pytest keeps them all
@pytest.mark.parametrize("fits", [5, pytest.param(200, marks=pytest.mark.slow)])
def test_fits_leave_nothing_behind(fits, tmp_path):
    """Objects, since the memory of a process also depends on the allocators of libraries."""
    model, x = build("vae_gan"), registry.images()

    def fit(times):
        for _ in range(times):
            model.fit(x, callbacks=[Monitor(), callbacks.Checkpoints(tmp_path)], **QUIET)
        gc.collect()
        return len(gc.get_objects())

    fit(3)
    before = fit(1)
    assert fit(fits) - before < fits  # a function that is compiled anew has thousands
