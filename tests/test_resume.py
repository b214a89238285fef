"""A training that was interrupted ends bit for bit as one that was not."""

import csv
import json
import os
import pathlib
import re
import signal
import subprocess
import sys

import h5py
import keras
import numpy as np
import pytest
import registry
import stops
from keras import layers
from test_cli import refused, run

import keras_vaegan as kvg
from keras_vaegan import InputError, callbacks
from keras_vaegan.checkpoints import found
from keras_vaegan.data import Batches
from keras_vaegan.files import PARTIAL
from keras_vaegan.locks import LOCK
from keras_vaegan.networks import mlp
from keras_vaegan.training.watch import state_of

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
EPOCHS, SHAPE = 3, (6, 5, 1)
STEPS = 5  # in an epoch, the last one of a smaller batch


class Killed(Exception):
    """Stands for the end of the process."""


class KillAt(keras.callbacks.Callback):
    """Raise before a batch, counted from 0, of an epoch, counted from 0."""

    def __init__(self, epoch, batch):
        super().__init__()
        self.at, self.epoch = (epoch, batch), None

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if (self.epoch, batch) == self.at:
            raise Killed


def noisy_vae(image_shape=SHAPE, **arguments):
    """A VAE whose encoder has noise of its own."""
    images = keras.Input(image_shape)
    x = layers.GaussianNoise(0.1)(layers.Flatten()(images))
    x = layers.Dropout(0.3)(layers.Dense(6, "tanh")(x))
    encoder = keras.Model(images, {"mean": layers.Dense(2)(x), "log_variance": layers.Dense(2)(x)})
    return kvg.VAE(encoder, mlp.decoder(image_shape, 2, units=(5,)), **arguments)


def compiled(name):
    """A new model with averages and a schedule, the same each time."""
    keras.utils.set_random_seed(7)
    model = noisy_vae(seed=3) if name == "noisy" else registry.MODELS[name](image_shape=SHAPE, seed=3)

    def optimizer():
        rate = keras.optimizers.schedules.ExponentialDecay(1e-2, 4, 0.9)
        return keras.optimizers.Adam(rate, use_ema=True, ema_momentum=0.8)

    model.compile({player: optimizer() for player in model.players})
    return model


def fit(name, folder, kill=None, epochs=EPOCHS, every=2, compile_settings=None, also=()):
    """Train from the newest checkpoint in the folder; return the model and the rows of its history."""
    model = compiled(name)
    batches = Batches(*registry.data(model, 18), batch_size=4, seed=5)
    checkpoints = callbacks.Checkpoints(folder / "checkpoints", every=every)
    history = callbacks.HistoryFile(folder / "history.csv")
    used = [history, checkpoints, *([KillAt(*kill)] if kill else []), *also]
    first = checkpoints.resume(model, batches)
    validation = registry.data(model, 6, seed=9)
    model.fit(
        batches, epochs=epochs, initial_epoch=first, validation_data=validation, callbacks=used, verbose=0
    )
    with open(folder / "history.csv", newline="") as file:
        return model, list(csv.reader(file))


def state(model):
    return {
        f"{i} {variable.path}": keras.ops.convert_to_numpy(variable)
        for i, variable in enumerate(state_of(model))
    }


def assert_same(model, other):
    mine, theirs = list(state(model).items()), list(state(other).items())
    for (path, value), (_, expected) in zip(mine, theirs, strict=True):
        np.testing.assert_array_equal(value, expected, err_msg=path)


# On every backend the one with masks, since the test below of several steps has two players; on one backend
# spectral vectors and the averages of batch normalization, too.
ON_ONE = ("vae_gan_r1_spectral", "vae_gan_convolutional")
EVERY_MODEL = [
    *registry.core(("cvae_both",), [name for name in (*registry.MODELS, "noisy") if name not in ON_ONE]),
    *(pytest.param(name, marks=pytest.mark.core_on("one")) for name in ON_ONE),
]


@pytest.mark.parametrize("name", EVERY_MODEL)
def test_every_model_goes_on_within_an_epoch_as_if_never_stopped(name, tmp_path):
    whole, rows = fit(name, tmp_path / "whole")
    for kill in [(0, 3), (1, 1), (2, 4)]:
        with pytest.raises(Killed):
            fit(name, tmp_path / "killed", kill)
    resumed, resumed_rows = fit(name, tmp_path / "killed")
    assert_same(resumed, whole)
    assert resumed_rows == rows and len(rows) == EPOCHS + 1


@pytest.mark.core_on("one")
def test_a_monitor_that_comes_after_the_checkpoints_does_not_undo_them(tmp_path):
    whole, rows = fit("vae", tmp_path / "whole")
    with pytest.raises(Killed):
        fit("vae", tmp_path / "killed", (1, 3))
    resumed, resumed_rows = fit("vae", tmp_path / "killed", also=[callbacks.Monitor()])
    assert_same(resumed, whole)
    assert resumed_rows == rows


class InterruptAt(KillAt):
    """Send the own process SIGINT there, as Ctrl-C does."""

    def on_train_batch_begin(self, batch, logs=None):
        if (self.epoch, batch) == self.at:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.core_on("one")
@pytest.mark.parametrize("batch", [STEPS - 2, STEPS - 1])
def test_a_stop_in_the_last_batches_of_an_epoch_forgets_no_draw_of_the_backend(batch, tmp_path):
    """torch draws a number for each pass over data, and Keras begins one more when a pass has ended."""
    whole, rows = fit("noisy", tmp_path / "whole")
    interrupted = InterruptAt(1, batch), callbacks.StopOnInterrupt()
    _, stopped = fit("noisy", tmp_path / "stopped", also=interrupted)
    assert len(stopped) == 2  # the header and an epoch
    resumed, resumed_rows = fit("noisy", tmp_path / "stopped")
    assert_same(resumed, whole)
    assert resumed_rows == rows


@pytest.mark.core_on("one")
def test_what_is_left_out_of_a_training_is_not_left_out_of_the_next(tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = True

    with pytest.raises(Killed):
        fit("vae", tmp_path, (1, 3))
    model, _ = fit("vae", tmp_path, also=[Stop()])
    steps = int(model.optimizer.iterations)
    model.fit(registry.images(8, SHAPE), batch_size=4, verbose=0, callbacks=[callbacks.Monitor()])
    assert int(model.optimizer.iterations) == steps + 2


@pytest.mark.core_on("one")
def test_the_comparison_sees_a_training_that_forgets(tmp_path):
    whole, _ = fit("vae", tmp_path / "whole")
    with pytest.raises(Killed):
        fit("vae", tmp_path / "killed", (1, 3), every=None)
    (first,) = found(tmp_path / "killed" / "checkpoints")
    saved = keras.saving.load_model(first)
    assert saved.optimizer.iterations == STEPS
    saved.seed_generator.state.assign(keras.ops.convert_to_numpy(saved.seed_generator.state) + 1)
    batches = Batches(registry.images(18, SHAPE), batch_size=4, seed=5)
    batches.epoch = 1
    saved.fit(batches, epochs=EPOCHS, initial_epoch=1, verbose=0)
    with pytest.raises(AssertionError):
        assert_same(saved, whole)


@pytest.mark.core_on("one")
def test_more_epochs_than_first_asked_for(tmp_path):
    fit("vae_gan", tmp_path / "short", epochs=2)
    longer, rows = fit("vae_gan", tmp_path / "short", epochs=4)
    whole, expected = fit("vae_gan", tmp_path / "whole", epochs=4)
    assert_same(longer, whole)
    assert rows == expected


@pytest.mark.core_on("one")
def test_a_damaged_newest_checkpoint_falls_back_with_a_warning(tmp_path):
    whole, rows = fit("vae", tmp_path / "whole")
    with pytest.raises(Killed):
        fit("vae", tmp_path / "killed", (2, 3))
    older, newest = found(tmp_path / "killed" / "checkpoints")
    content = newest.read_bytes()
    for damaged in (content[: len(content) // 2], b"", content[:-200] + bytes(200)):
        newest.write_bytes(damaged)
        model = compiled("vae")
        with pytest.warns(UserWarning, match=re.escape(newest.name)):
            assert callbacks.Checkpoints(tmp_path / "killed" / "checkpoints").resume(model) == 2
    with pytest.warns(UserWarning, match="taking the one before"):
        resumed, resumed_rows = fit("vae", tmp_path / "killed")
    assert_same(resumed, whole)
    assert resumed_rows == rows


@pytest.mark.core_on("one")
def test_a_checkpoint_of_another_model_is_refused_and_nothing_changed(tmp_path):
    fit("vae", tmp_path, epochs=1)
    other = compiled("vae_gan")
    before = state(other)
    with pytest.raises(InputError, match="model must be that of the checkpoint"):
        callbacks.Checkpoints(tmp_path / "checkpoints").resume(other)
    for path, value in state(other).items():
        np.testing.assert_array_equal(value, before[path])


@pytest.mark.core_on("one")
def test_without_a_checkpoint_the_training_begins_at_its_start(tmp_path):
    model = compiled("vae")
    before = state(model)
    assert callbacks.Checkpoints(tmp_path).resume(model) == 0
    for path, value in state(model).items():
        np.testing.assert_array_equal(value, before[path])


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="Keras has one step per execution on torch")
def test_several_steps_in_one_execution_go_on_too(tmp_path, monkeypatch):
    def compile_again(name):
        model = once(name)
        optimizers = {player: model.player_optimizer(player).get_config() for player in model.players}
        model.compile(
            {player: keras.optimizers.Adam.from_config(config) for player, config in optimizers.items()},
            steps_per_execution=2,
        )
        return model

    once = compiled
    monkeypatch.setitem(globals(), "compiled", compile_again)
    whole, _ = fit("vae_gan", tmp_path / "whole")
    with pytest.raises(Killed):
        fit("vae_gan", tmp_path / "killed", (1, 4))
    assert_same(fit("vae_gan", tmp_path / "killed")[0], whole)


# ---- the command, stopped ----

TINY = ["--dataset", "digits", "--image-size", 8, "--latent-dim", 2, "--batch-size", 512]
TINY += ["--set", "encoder.filters=[3]", "--set", "decoder.filters=[3]", "--set", "prior=standard_normal"]
# Of `metadata.json`, what a training writes when it ends.
ADDED_AT_THE_END = ("epochs_done", "interrupted", "results", "weights_sha256")


def arrays_of(folder):
    """Everything that the last checkpoint and the preset of a run hold, as bytes of arrays."""
    newest = found(folder / "checkpoints")[-1]
    model = keras.saving.load_model(newest)
    preset, _ = kvg.presets.load_folder(folder)
    # Keras numbers names that come again in one process: the order tells the arrays apart.
    trained = {f"state {i}": value for i, value in enumerate(state(model).values())}
    weights = {f"preset {i}": keras.ops.convert_to_numpy(v) for i, v in enumerate(preset.weights)}
    return {"newest": np.array(newest.name), **trained, **weights}


def stopped_and_resumed(log, *arguments):
    """Stop trainings at random places, in a process that has computed nothing; return the log's records."""
    tool = [sys.executable, "-m", "tests.stops", "--backend", keras.backend.backend(), "--log", log]
    done = subprocess.run(
        [*map(str, [*tool, *arguments])],
        cwd=pathlib.Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return stops.read_log(log)


@pytest.mark.core_on("one")
@needs_fork
def test_a_run_that_is_stopped_twice_ends_bit_for_bit_as_one_that_was_not(tmp_path):
    records = stopped_and_resumed(tmp_path / "log", "--models", "vae_gan", "--stops", 2, "--seed", 2)
    assert [record["wrong"] for record in records] == [[]] * len(records)
    made = [stop for record in records for stop in record["stops"]]
    assert len(made) == 2 and all(stop["code"] == stops.CODES[stop["signal"]] for stop in made)


@needs_fork
@pytest.mark.slow
def test_runs_that_are_stopped_at_every_place_by_every_signal_end_bit_for_bit(tmp_path):
    """Each pair of a place and a signal once for each model; the log of the repository has 50 stops each."""
    pairs = len(stops.PLACES) * len(stops.SIGNALS)
    records = stopped_and_resumed(tmp_path / "log", "--stops", pairs)
    made = {
        (record["model"], stop["place"], stop["signal"]) for record in records for stop in record["stops"]
    }
    assert len(made) == pairs * len(stops.MODELS)


@pytest.mark.core_on("one")
def test_the_comparison_of_runs_sees_any_change(tmp_path):
    folder = tmp_path / "run"
    assert run("train", "--model", "vae", *TINY, "--epochs", stops.EPOCHS, "--output", folder) == 0
    whole = stops.contents(folder)
    assert whole == stops.contents(folder)
    assert {name.split("/")[-1] for name in whole} >= {"history.csv", "samples.png", "metadata.json"}

    def changed():
        own = stops.contents(folder)
        return {name for name in own.keys() | whole.keys() if own.get(name) != whole.get(name)}

    (folder / LOCK).touch()
    (folder / "checkpoints" / f"{PARTIAL}1-epoch_0002.keras").touch()
    assert changed() == {LOCK, f"checkpoints/{PARTIAL}1-epoch_0002.keras"}
    for path in (folder / LOCK, folder / "checkpoints" / f"{PARTIAL}1-epoch_0002.keras"):
        path.unlink()
    with h5py.File(folder / "model.weights.h5", "r+") as file:
        names = []
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        file[names[0]][...] = file[names[0]][()] + 1
    assert changed() == {f"model.weights.h5/{names[0]}"}


@pytest.mark.core_on("one")
def test_a_run_killed_after_its_last_epoch_is_finished_when_resumed(tmp_path):
    folder = tmp_path / "run"
    assert run("train", "--model", "vae", *TINY, "--epochs", 2, "--output", folder) == 0
    whole, history = arrays_of(folder), (folder / "history.csv").read_text()
    done = json.loads((folder / "metadata.json").read_text())
    before = {name: value for name, value in done.items() if name not in ADDED_AT_THE_END}
    (folder / "metadata.json").write_text(json.dumps(before))
    for name in ("model.weights.h5", "config.json", "model.keras", "samples.png", "curves.png"):
        (folder / name).unlink()

    assert run("train", "--resume", folder) == 0
    for name, value in arrays_of(folder).items():
        np.testing.assert_array_equal(value, whole[name], err_msg=name)
    assert (folder / "history.csv").read_text() == history
    after = json.loads((folder / "metadata.json").read_text())
    assert after["epochs_done"] == 2 and after["results"] == done["results"]
    assert after["seconds"] >= done["seconds"] > 0
    assert (folder / "samples.png").is_file() and (folder / "curves.png").is_file()


@pytest.mark.core_on("one")
def test_the_time_of_a_run_that_broke_off_counts(tmp_path, monkeypatch):
    folder, draw = tmp_path / "run", kvg.callbacks.SampleGrids.on_epoch_end

    def break_off(callback, epoch, logs=None):
        if epoch == 1:
            raise RuntimeError("power cut")
        draw(callback, epoch, logs)

    with monkeypatch.context() as patch:
        patch.setattr(kvg.callbacks.SampleGrids, "on_epoch_end", break_off)
        assert run("train", "--model", "vae", *TINY, "--epochs", 3, "--output", folder) == 1
    metadata = json.loads((folder / "metadata.json").read_text())
    assert metadata["seconds"] > 0 and "epochs_done" not in metadata
    metadata["seconds"] = 1000.0
    (folder / "metadata.json").write_text(json.dumps(metadata))
    assert run("train", "--resume", folder) == 0
    assert 1000 < json.loads((folder / "metadata.json").read_text())["seconds"] < 2000


@pytest.mark.core_on("one")
def test_the_command_goes_on_with_more_epochs_and_refuses_what_it_cannot(tmp_path, capsys):
    folder = tmp_path / "run"
    assert run("train", "--model", "vae", *TINY, "--epochs", 1, "--output", folder) == 0
    before = (folder / "history.csv").read_text()
    assert run("train", "--resume", folder) == 0
    assert "is finished, with all epochs asked for (1)" in capsys.readouterr().out
    assert (folder / "history.csv").read_text() == before
    assert run("train", "--resume", folder, "--epochs", 3) == 0
    assert run("generate", folder, "--num-images", 4, "--output", tmp_path / "after.npz") == 0
    after = (folder / "history.csv").read_text()
    assert after.startswith(before) and len(after.splitlines()) == 4
    assert "--seed must not come with --resume" in refused(capsys, "train", "--resume", folder, "--seed", 3)
    none = refused(capsys, "train", "--resume", tmp_path / "none")
    assert "--resume must be a run folder" in none and "repeat the command that began it" in none
    other = next(name for name in ("tensorflow", "jax") if name != keras.backend.backend())
    metadata = (folder / "metadata.json").read_text()
    (folder / "metadata.json").write_text(metadata.replace(f'"{keras.backend.backend()}"', f'"{other}"'))
    assert f"--backend must be {other}" in refused(capsys, "train", "--resume", folder, "--epochs", 9)
    (folder / "metadata.json").write_text("{}")
    assert "--resume must be a folder that `train` made" in refused(capsys, "train", "--resume", folder)
    (folder / "metadata.json").write_text("{")
    assert "cannot be read" in refused(capsys, "train", "--resume", folder)
