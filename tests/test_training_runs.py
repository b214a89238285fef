"""Runs from Python: the folder of the command line, the same stops, and no command line."""

import copy
import json
import os
import pathlib
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest
import stops
from test_cli import refused, run
from test_resume import TINY
from test_runs import assert_as_whole, assert_tidy

import keras_vaegan as kvg
from keras_vaegan import InputError, data, presets, training
from keras_vaegan.runs import BEGUN, METADATA

tensorflow_only = pytest.mark.core_on("tensorflow")
EPOCHS = 2


class Once(keras.callbacks.Callback):
    """Do something before the second batch of the second epoch."""

    def __init__(self, action):
        super().__init__()
        self.action, self.epoch = action, None

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if (self.epoch, batch) == (1, 1):
            self.action(self.model)


class Quiet(training.Console):
    """Keeps the lines."""

    def __init__(self):
        self.lines = []

    def show(self, line, warning=False):
        self.lines.append((line, warning))


def tiny(epochs=EPOCHS):
    """The recipe that `TINY` makes on the command line."""
    recipe = presets.recipe_for("vae", "digits")
    for name, value in {
        "prior": "standard_normal",
        "latent_dim": 2,
        "batch_size": 512,
        "encoder.filters": [3],
        "decoder.filters": [3],
        "epochs": epochs,
    }.items():
        presets.override(recipe, name, value)
    return recipe


@pytest.fixture(scope="module")
def digits():
    return data.load("digits", 8)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run of the command line."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    keras.utils.clear_session()  # names count up within a process
    assert run("train", "--model", "vae", *TINY, "--epochs", EPOCHS, "--output", folder) == 0
    return folder


def test_a_run_trains_saves_and_goes_on(tmp_path, digits, capsys):
    before = keras.config.dtype_policy()
    precision = "none" if keras.backend.backend() == "jax" else "bfloat16"
    chosen = tiny(epochs=1)
    asked = copy.deepcopy(chosen)
    result = training.run(chosen, digits, tmp_path / "run", mixed_precision=precision, verbose=0)
    assert chosen == asked and keras.config.dtype_policy() == before
    assert result.finished and result.exit_code == 0 and result.finding is result.interrupted_by is None
    assert result.history["epoch"] == [1] and np.isfinite(result.history["val_loss"]).all()
    assert result.model.generate(3, seed=0).shape == (3, 8, 8, 1)
    result = training.resume(tmp_path / "run", epochs=2, verbose=0)
    assert result.finished and result.history["epoch"] == [1, 2]
    said = capsys.readouterr()
    assert said.out.count("1,437 images of (8, 8, 1)") == 2 and said.err == ""
    again = training.resume(tmp_path / "run")
    assert again.finished and "more with epochs=4" in capsys.readouterr().out
    for mine, theirs in zip(again.model.get_weights(), result.model.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert_tidy(tmp_path)


@pytest.mark.draws  # as `whole` does
@tensorflow_only
def test_the_folder_is_that_of_the_command_line(tmp_path, digits, whole):
    console = Quiet()
    keras.utils.clear_session()
    training.run(tiny(), digits, tmp_path / "run", seed=0, console=console, verbose=0)
    assert stops.contents(tmp_path / "run") == stops.contents(whole)
    assert not any(warning for _, warning in console.lines)
    assert any("epochs=667 makes 2,000" in line for line, _ in console.lines)


@tensorflow_only
def test_other_seeds_make_other_runs(tmp_path, digits, whole):
    keras.utils.clear_session()
    training.run(tiny(), digits, tmp_path / "run", seed=1, console=Quiet(), verbose=0)
    mine, theirs = stops.contents(tmp_path / "run"), stops.contents(whole)
    assert mine.keys() == theirs.keys() and mine != theirs


@tensorflow_only
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_stops_a_run_which_keeps_its_position(tmp_path, digits, whole, name):
    def send(model):
        os.kill(os.getpid(), getattr(signal, name))

    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    settings = {"console": Quiet(), "verbose": 0}
    result = training.run(tiny(), digits, tmp_path / "run", callbacks=[Once(send)], **settings)
    assert (result.finished, result.interrupted_by) == (False, name)
    assert result.exit_code == 128 + getattr(signal, name)
    assert "after 1 epochs and 2 batches" in settings["console"].lines[-1][0]
    assert {number: signal.getsignal(number) for number in handlers} == handlers
    assert training.resume(tmp_path / "run", digits, **settings).finished
    assert_as_whole(tmp_path / "run", whole)


@tensorflow_only
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_error_in_a_run_leaves_its_last_checkpoint(tmp_path, digits, whole, error):
    def fail(model):
        raise error("broken off")

    settings = {"console": Quiet(), "verbose": 0}
    with pytest.raises(error, match="broken off"):
        training.run(tiny(), digits, tmp_path / "run", callbacks=[Once(fail)], **settings)
    assert "finished" not in json.loads((tmp_path / "run" / METADATA).read_text())
    assert training.resume(tmp_path / "run", **settings).finished
    assert_as_whole(tmp_path / "run", whole)


@tensorflow_only
def test_a_signal_before_the_first_step_leaves_nothing_and_ends_a_script(tmp_path, monkeypatch):
    def load(*arguments, **settings):
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(kvg.data, "load", load)
    with pytest.raises(SystemExit) as end:
        training.run(tiny(), "digits", tmp_path / "run", console=Quiet())
    assert end.value.code == 143 and list(tmp_path.iterdir()) == []


@tensorflow_only
def test_numbers_that_are_not_finite_end_a_run(tmp_path, digits):
    recipe = tiny()
    presets.override(recipe, "generator.learning_rate", 1e30)
    console = Quiet()
    result = training.run(recipe, digits, tmp_path / "run", console=console, verbose=0)
    assert not result.finished and result.exit_code == 1 and result.finding.kind == "not_finite"
    assert (result.finding.message, True) in console.lines
    assert all(np.isfinite(weights).all() for weights in result.model.get_weights())


@tensorflow_only
def test_what_a_run_cannot_use_is_named_as_in_python(tmp_path, digits, whole):
    def refuses(said, *arguments, call=training.run, **settings):
        with pytest.raises(InputError, match=said):
            call(*arguments, console=Quiet(), **settings)

    refuses(r"^folder .* holds a run already; add overwrite=True", tiny(), digits, whole)
    refuses(r"^folder must be a run folder; .* is a file", tiny(), digits, whole / "history.csv")
    refuses(r"^image_size must be None for loaded data", tiny(), digits, tmp_path / "run", image_size=8)
    refuses(r"^data must be one of mnist_small, digits", tiny(), "digitss", tmp_path / "run")
    refuses(r"^mixed_precision must be one of", tiny(), digits, tmp_path / "run", mixed_precision="half")
    refuses(r"^checkpoint_every must be", tiny(), digits, tmp_path / "run", checkpoint_every=0)
    refuses(r"^recipe", {"model": {"key": "vae"}}, digits, tmp_path / "run")
    refuses(r"^distribute must be one of", tiny(), digits, tmp_path / "run", distribute="all")
    resume = {"call": training.resume}
    refuses(r"^folder must be a run folder", tmp_path / "none", **resume)
    refuses(r"^epochs must be more than the 2", whole, epochs=1, **resume)
    refuses(r"^data must be ImageData", whole, "digits", **resume)
    other = data.load("digits", 8, seed=1)
    refuses(r"^folder .* must have the data .*training.init='", whole, other, epochs=3, **resume)
    assert not (tmp_path / "run").exists()


@tensorflow_only
def test_images_know_where_they_were_loaded_from(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    deep = np.random.default_rng(0).integers(0, 4096, (40, 8, 8, 1)).astype("uint16")
    np.savez("deep.npz", x=deep)
    loaded = copy.deepcopy(data.load("deep.npz", value_range=(0, 4095)))
    assert (loaded.source, loaded.value_range) == (str(tmp_path / "deep.npz"), (0, 4095))
    training.run(tiny(1), loaded, "run", console=Quiet(), verbose=0)
    metadata = json.loads(pathlib.Path("run", METADATA).read_text())
    assert metadata["dataset"] == metadata["recipe"]["training"]["dataset"] == loaded.source
    assert metadata["value_range"] == [0, 4095] and metadata["image_shape"] == [8, 8, 1]
    assert training.resume("run", epochs=2, console=Quiet(), verbose=0).finished
    made = data.ImageData(*loaded, name="made by hand")
    assert made.source is None
    training.run(tiny(1), made, "other", console=Quiet(), verbose=0)
    with pytest.raises(InputError, match=r"^data must be"):
        training.resume("other", epochs=2, console=Quiet())
    assert training.resume("other", made, epochs=2, console=Quiet(), verbose=0).finished


@tensorflow_only
def test_a_run_imports_no_command_line():
    program = """
import sys
import keras_vaegan
from keras_vaegan import training
training.run, training.resume, training.Result
print(sorted({"click", "keras_vaegan.cli"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


# ---- a run that is killed before it has metadata ----

KILLED = """
import os, signal, sys
sys.argv[0] = "keras-vaegan"
from keras_vaegan import cli
import keras_vaegan.data

def load(*arguments, **settings):
    os.kill(os.getpid(), signal.SIGKILL)

keras_vaegan.data.load = load
cli.main(sys.argv[1:])
"""


def killed(folder, *more):
    """A folder whose training was killed as it read its images."""
    command = ["train", "--model", "vae", *TINY, "--epochs", EPOCHS, "--output", folder, *more]
    program = 'import sys; sys.argv[0] = "keras-vaegan"\n' + KILLED
    done = subprocess.run([sys.executable, "-c", program, *map(str, command)], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    return folder


@pytest.mark.draws  # as `whole` does
@tensorflow_only
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")
def test_a_run_killed_before_its_first_step_is_begun_when_resumed(tmp_path, capsys, monkeypatch, whole):
    folder = killed(tmp_path / "run")
    assert {path.name for path in folder.iterdir()} == {BEGUN, ".lock"}

    def stop(*arguments, **settings):
        os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:  # which leaves what it can begin with once more
        patch.setattr(kvg.data, "load", stop)
        assert run("train", "--resume", folder) == 143
    begun = json.loads((folder / BEGUN).read_text())
    for name, value, said in [
        ("backend", "mxnet", "backend must be one of"),
        ("image_size", [8, 10**9], "image_size must have sides"),
        ("recipe", [], "recipe must be"),
        ("seed", -1, "seed must be"),
    ]:
        (folder / BEGUN).write_text(json.dumps(begun | {name: value}))
        message = refused(capsys, "train", "--resume", folder)
        assert f"--resume {folder / BEGUN}: {said}" in message
    (folder / BEGUN).write_text(json.dumps(begun))
    keras.utils.clear_session()
    assert run("train", "--resume", folder) == 0
    assert stops.contents(folder) == stops.contents(whole)


@tensorflow_only
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")
def test_the_command_that_was_killed_can_be_repeated_and_an_older_run_stays_until_then(tmp_path, whole):
    folder = tmp_path / "run"
    assert run("train", "--model", "vae", *TINY, "--epochs", 1, "--seed", 3, "--output", folder) == 0
    older = stops.contents(folder)
    killed(folder, "--overwrite")
    now = stops.contents(folder)
    assert now.keys() - older.keys() == {BEGUN, ".lock"} and older.items() <= now.items()
    assert run("train", "--resume", folder) == 0
    assert_as_whole(folder, whole)

    folder = killed(tmp_path / "new")
    assert run("train", "--model", "vae", *TINY, "--epochs", EPOCHS, "--output", folder) == 0
    assert_as_whole(folder, whole)
