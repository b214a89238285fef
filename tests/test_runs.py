"""Runs that are stopped, killed or started twice: positions, locks, and files that are whole or not there."""

import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

import keras
import numpy as np
import pytest
import registry
from test_cli import refused, run
from test_resume import STEPS, TINY, arrays_of, assert_same, compiled, fit

import keras_vaegan as kvg
from keras_vaegan import InputError, callbacks, files, locks, signals
from keras_vaegan.checkpoints import found
from keras_vaegan.files import NEXT, PARTIAL
from keras_vaegan.locks import LOCK, FolderLock, InUse
from keras_vaegan.training import runner

pytestmark = pytest.mark.core_on("one")

GONE = 2**22 + 1  # above the largest number of a process on Linux


class At(keras.callbacks.Callback):
    """Do something before a batch, counted from 0, of the training or validation of an epoch."""

    def __init__(self, epoch, batch, action, validation=False):
        super().__init__()
        self.at, self.action, self.validation, self.epoch = (epoch, batch), action, validation, None

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if not self.validation and (self.epoch, batch) == self.at:
            self.action(self.model)

    def on_test_batch_begin(self, batch, logs=None):
        if self.validation and (self.epoch, batch) == self.at:
            self.action(self.model)


def stop(model):
    model.stop_training = True


def spoil(model):
    model.synchronize()
    variable = model.trainable_variables[0]
    variable.assign(np.full(variable.shape, np.nan, "float32"))


def rows_in(folder):
    return (folder / "history.csv").read_text().splitlines()[1:]


def newest(folder):
    return found(folder / "checkpoints")[-1].name


# ---- the position ----


@pytest.mark.core_on("all")
def test_a_training_that_is_stopped_within_an_epoch_goes_on_there(tmp_path):
    def train(folder, *also):
        grids = callbacks.SampleGrids(folder / "samples", num_images=1)  # on torch, it moves a generator
        return fit("noisy", folder, every=None, also=[grids, *also])

    def send(model):
        os.kill(os.getpid(), signal.SIGINT)

    def epochs_done():
        assert len(list((folder / "samples").iterdir())) == len(rows_in(folder))
        return len(rows_in(folder))

    whole, rows = train(tmp_path / "whole")
    folder, interrupt = tmp_path / "stopped", callbacks.StopOnInterrupt()
    for batch in (1, 0):  # the second comes as the batches are left out that were done before
        with pytest.raises(FileNotFoundError):  # no epoch was done, so that there is no history
            train(folder, At(0, batch, stop))
        assert newest(folder) == "epoch_0000_batch_000002.keras"
    train(folder, At(1, 0, send, validation=True), interrupt)
    assert interrupt.interrupted and epochs_done() == 1
    assert newest(folder) == f"epoch_0001_batch_{STEPS:06d}.keras"
    train(folder, At(2, 3, send), callbacks.StopOnInterrupt())
    assert newest(folder) == "epoch_0002_batch_000004.keras" and epochs_done() == 2
    resumed, resumed_rows = train(folder)
    assert_same(resumed, whole)
    assert resumed_rows == rows


def test_a_stop_of_another_callback_at_the_end_of_an_epoch_leaves_a_whole_one(tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = True

    _, rows = fit("vae", tmp_path, also=[Stop()])
    assert newest(tmp_path) == "epoch_0001.keras" and len(rows) == 2


@pytest.mark.parametrize(
    "callback", [keras.callbacks.TerminateOnNaN, lambda: callbacks.Monitor(check_every=1)]
)
def test_numbers_that_are_not_finite_leave_the_last_checkpoint(tmp_path, callback):
    whole, rows = fit("vae", tmp_path / "whole")
    folder = tmp_path / "stopped"
    model = compiled("vae")
    batches = kvg.data.Batches(*registry.data(model, 18), batch_size=4, seed=5)
    checkpoints = callbacks.Checkpoints(folder / "checkpoints", every=2)
    history = callbacks.HistoryFile(folder / "history.csv")
    used = [callback(), history, checkpoints, At(1, 2, spoil)]
    validation = registry.data(model, 6, seed=9)
    model.fit(batches, epochs=3, validation_data=validation, callbacks=used, verbose=0)
    assert newest(folder) == "epoch_0001_batch_000002.keras"
    assert checkpoints.position == (1, 2)
    resumed, resumed_rows = fit("vae", folder)
    assert_same(resumed, whole)
    assert resumed_rows == rows


@pytest.mark.parametrize(
    ("check_every", "every", "spoiled", "kept"),
    [
        (1, None, (1, 3), "epoch_0001_batch_000003.keras"),
        (2, None, (0, 3), "epoch_0000_batch_000002.keras"),
        (1, None, (1, STEPS - 1), f"epoch_0001_batch_{STEPS - 1:06d}.keras"),  # found as validation begins
        (100, 1, (1, 1), "epoch_0001_batch_000001.keras"),  # no checkpoint of what is not finite
    ],
)
def test_a_monitor_that_goes_back_leaves_a_checkpoint_of_the_state_it_keeps(
    tmp_path, check_every, every, spoiled, kept
):
    whole, rows = fit("noisy", tmp_path / "whole", every=None, also=[callbacks.Monitor()])
    folder = tmp_path / "stopped"
    model = compiled("noisy")
    batches = kvg.data.Batches(*registry.data(model, 18), batch_size=4, seed=5)
    monitor = callbacks.Monitor(check_every=check_every, report=lambda line: None)
    checkpoints = callbacks.Checkpoints(folder / "checkpoints", every=every)
    used = [monitor, callbacks.HistoryFile(folder / "history.csv"), checkpoints, At(*spoiled, spoil)]
    validation = registry.data(model, 6, seed=9)
    model.fit(batches, epochs=3, validation_data=validation, callbacks=used, verbose=0)
    assert monitor.stopped is not None and newest(folder) == kept
    assert kept == checkpoints.position.file
    saved = keras.saving.load_model(folder / "checkpoints" / kept)
    assert all(np.isfinite(weights).all() for weights in saved.get_weights())
    if every is None:
        assert_same(saved, model)
    resumed, resumed_rows = fit("noisy", folder, every=None)
    assert_same(resumed, whole)
    assert resumed_rows == rows


def test_several_trainings_of_a_generator_know_no_number_of_batches(tmp_path):
    model = compiled("vae")
    x = registry.images(12, (6, 5, 1))

    def stream():
        while True:
            yield (x[:4],)

    checkpoints = callbacks.Checkpoints(tmp_path)
    model.fit(stream(), steps_per_epoch=3, epochs=2, callbacks=[At(1, 1, stop), checkpoints], verbose=0)
    assert checkpoints.position == (1, 2)


# ---- signals ----


def test_signals_that_are_ignored_stay_ignored():
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    received = callbacks.StopOnInterrupt((signal.SIGINT, signal.SIGTERM))
    received.set_model(compiled("vae"))
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        received.on_train_begin()
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
        received.on_train_end()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        received.on_train_begin()
        for _ in range(2):  # the second is ignored, too
            os.kill(os.getpid(), signal.SIGTERM)
        assert received.interrupted and received.received == signal.SIGTERM
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
        received.on_train_end()
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    assert run("train", "--model", "vae", *TINY, "--epochs", 2, "--output", folder) == 0
    return folder


def assert_as_whole(folder, whole):
    expected = arrays_of(whole)
    for name, value in arrays_of(folder).items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)
    assert (folder / "history.csv").read_text() == (whole / "history.csv").read_text()
    # Which checkpoints are left differs: those within an epoch count, too.
    names, expected_names = ({path.name for path in run.rglob("*")} for run in (folder, whole))
    assert {name for name in names ^ expected_names if not name.endswith(".keras")} == set()
    assert_tidy(folder)
    assert json.loads((folder / "metadata.json").read_text())["finished"] is True


def assert_tidy(folder):
    assert not [path for path in folder.rglob("*") if path.name.startswith((PARTIAL, LOCK, NEXT))]


@pytest.mark.parametrize("number, code", [("SIGTERM", 143), ("SIGHUP", 129), ("SIGINT", 130)])
def test_a_command_that_is_asked_to_end_keeps_its_position(
    tmp_path, monkeypatch, capsys, whole, number, code
):
    folder, begin = tmp_path / "run", kvg.callbacks.Checkpoints.on_train_batch_begin

    def send(callback, batch, logs=None):
        if (callback._epoch, batch) == (1, 1):
            os.kill(os.getpid(), getattr(signal, number))
        begin(callback, batch, logs)

    with monkeypatch.context() as patch:
        patch.setattr(kvg.callbacks.Checkpoints, "on_train_batch_begin", send)
        assert run("train", "--model", "vae", *TINY, "--epochs", 2, "--output", folder) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert "after 1 epochs and 2 batches" in line and f"train --resume {folder} goes on" in line
    metadata = json.loads((folder / "metadata.json").read_text())
    assert metadata["epochs_done"] == 1 and metadata["interrupted"] and "finished" not in metadata
    assert (folder / "model.keras").exists() == (number == "SIGINT")
    assert len((folder / "history.csv").read_text().splitlines()) == 2
    assert len(list((folder / "samples").iterdir())) == 1
    assert_tidy(folder)
    assert run("train", "--resume", folder) == 0
    assert_as_whole(folder, whole)


def test_a_command_that_is_asked_to_end_outside_of_a_training_is_tidy(tmp_path, monkeypatch, capsys):
    def load(*arguments, **settings):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    monkeypatch.setattr(kvg.data, "load", load)
    before = signal.getsignal(signal.SIGTERM)
    assert run("train", "--model", "vae", *TINY, "--output", tmp_path / "run") == 143
    assert capsys.readouterr().err == "keras-vaegan: ended by SIGTERM\n"
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("number, code", [("SIGTERM", 143), ("SIGHUP", 129), ("SIGINT", 130)])
def test_a_signal_that_a_library_turns_into_an_error_ends_a_command(
    monkeypatch, capsys, tmp_path, number, code
):
    def load(*arguments, **settings):
        with contextlib.suppress(ValueError):
            try:
                os.kill(os.getpid(), getattr(signal, number))
                time.sleep(5)
            except BaseException:
                raise errors[-1] from None

    monkeypatch.setattr(kvg.data, "load", load)
    errors = [ValueError("which is swallowed"), InputError("bad"), RuntimeError("release unlocked lock")]
    while errors:
        assert run("train", "--model", "vae", *TINY, "--output", tmp_path / "run") == code
        (line,) = capsys.readouterr().err.splitlines()
        assert line == f"keras-vaegan: {'interrupted' if code == 130 else f'ended by {number}'}"
        assert list(tmp_path.iterdir()) == []
        errors.pop()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_command_has_handlers_before_it_imports_a_backend():
    """The first process of a container gets no signal that it has no handler for."""
    program = """
import signal, sys
import click
from keras_vaegan import cli

def command(*arguments, **settings):
    numbers = (signal.SIGTERM, signal.SIGHUP)
    print([callable(signal.getsignal(number)) for number in numbers], "keras" in sys.modules)
    signal.raise_signal(signal.SIGTERM)

sys.argv[0], click.Group.invoke = "keras-vaegan", command
cli.main(["doctor", "run"])
"""
    command = [sys.executable, "-c", 'import sys; sys.argv[0] = "keras-vaegan"\n' + program]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (143, "[True, True] False\n"), done.stderr


class Killed(BaseException):
    """Stands for the end of the process."""


def test_a_run_killed_as_it_draws_is_finished_when_resumed(tmp_path, monkeypatch, capsys, whole):
    folder = tmp_path / "run"

    def kill(*arguments):
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(runner, "draw_images", kill)
        kvg.cli.main(["train", "--model", "vae", *map(str, TINY), "--epochs", "2", "--output", str(folder)])
    for name in (f"{PARTIAL}{GONE}-{files._machine()}-abcdefghnotes.txt", f"{PARTIAL}oldsamples.png"):
        (folder / name).write_text("half")
    (folder / "samples" / f"{PARTIAL}abcepoch_0001.png").write_text("half")
    (folder / LOCK).write_text("{}")  # of the killed process
    assert not (folder / "samples.png").exists()
    assert run("train", "--resume", folder) == 0
    assert_as_whole(folder, whole)
    capsys.readouterr()
    assert run("train", "--resume", folder) == 0  # as a scheduler does that starts it until it is done
    assert "is finished, with all epochs asked for (2)" in capsys.readouterr().out
    shutil.rmtree(folder / "checkpoints")
    assert "has none that can be read" in refused(capsys, "train", "--resume", folder, "--epochs", 3)
    assert (folder / "model.keras").exists()


def test_fewer_epochs_than_a_run_has_are_refused(tmp_path, capsys, whole):
    folder = shutil.copytree(whole, tmp_path / "run")
    metadata = json.loads((folder / "metadata.json").read_text())
    for name in ("finished", "epochs_done"):
        metadata.pop(name)
    (folder / "metadata.json").write_text(json.dumps(metadata))
    message = refused(capsys, "train", "--resume", folder, "--epochs", 1)
    assert "--epochs must be more than 2" in message and "received 1" in message
    assert (folder / "model.keras").exists()


# ---- locks ----

HOLD = """
import sys, time
from keras_vaegan.locks import FolderLock
FolderLock(sys.argv[1], "--output").acquire()
print("held", flush=True)
time.sleep(600)
"""


def test_the_lock_of_a_process_ends_with_it(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    with pytest.raises(InUse, match=rf"in use by process {process.pid} on .*, since "):
        FolderLock(tmp_path, "--output").acquire()
    process.kill()
    process.communicate()
    assert (tmp_path / LOCK).exists()
    with FolderLock(tmp_path, "--output"):
        with pytest.raises(InUse, match=str(os.getpid())):
            FolderLock(tmp_path, "--resume").acquire()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
def test_a_child_does_not_release_the_lock_of_its_parent(tmp_path):
    lock = FolderLock(tmp_path, "--output")
    lock.acquire()
    child = os.fork()
    if not child:
        lock.release()
        os._exit(0)
    os.waitpid(child, 0)
    assert (tmp_path / LOCK).exists()
    lock.release()
    assert not (tmp_path / LOCK).exists()


def test_without_locks_of_the_file_system_the_file_is_the_lock(tmp_path, monkeypatch):
    def unsupported(handle):
        raise OSError(locks.errno.ENOSYS, "no locks")

    monkeypatch.setattr(locks, "_lock", unsupported)
    with FolderLock(tmp_path, "--output"):
        with pytest.raises(InUse, match=re.escape(f"delete {tmp_path / LOCK}")):
            FolderLock(tmp_path, "--output").acquire()
        holder = json.loads((tmp_path / LOCK).read_text())
    (tmp_path / LOCK).write_text(json.dumps(holder | {"pid": GONE}))
    with FolderLock(tmp_path, "--output"):
        pass
    (tmp_path / LOCK).write_text(json.dumps(holder | {"started": holder["started"] - 100}))  # another process
    with FolderLock(tmp_path, "--output"):
        pass
    for left in (json.dumps(holder | {"pid": GONE, "host": "elsewhere"}), ""):
        (tmp_path / LOCK).write_text(left)
        with pytest.raises(InUse, match="delete"):
            FolderLock(tmp_path, "--output").acquire()


def test_two_trainings_at_once_take_two_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "vae").mkdir(parents=True)
    (tmp_path / "runs" / "vae" / f"{PARTIAL}abcmetadata.json").touch()  # which is no content
    console = kvg.training.Console()
    claimed = [runner.claim_folder(None, "vae", False, console) for _ in range(3)]
    assert [lock.folder.name for lock, _ in claimed] == ["vae", "vae-2", "vae-3"]
    assert [made for _, made in claimed] == [False, True, True]
    for overwrite in (False, True):
        with pytest.raises(InUse, match="folder .* is in use by process"):
            runner.claim_folder(pathlib.Path("runs/vae"), "vae", overwrite, console)
    for lock, _ in claimed:
        lock.release()
    assert not list(tmp_path.rglob(LOCK))


def test_what_runs_is_neither_resumed_nor_replaced_but_read(tmp_path, capsys, whole):
    folder = shutil.copytree(whole, tmp_path / "run")
    before = sorted(path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file())
    with FolderLock(folder, "--output"):
        assert "is in use by process" in refused(capsys, "train", "--resume", folder, "--epochs", 3)
        overwrite = ["train", "--model", "vae", *TINY, "--output", folder, "--overwrite"]
        assert "is in use by process" in refused(capsys, *overwrite)
        assert run("generate", folder, "--num-images", 2, "--output", tmp_path / "x.npz") == 0
    assert sorted(path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()) == before


def test_two_processes_do_not_write_parts_into_one_folder(tmp_path, capsys, whole):
    generate = ["generate", whole, "--num-images", 2, "--output", tmp_path / "parts"]
    with FolderLock(tmp_path / "parts", "--output"):
        assert "is in use by process" in refused(capsys, *generate)
    (tmp_path / "parts" / f"{PARTIAL}abcgeneration.json").touch()  # of a process that was killed
    assert run(*generate) == 0
    assert sorted(path.name for path in (tmp_path / "parts").iterdir()) == [
        "generation.json",
        "part-00000.npz",
    ]
    (tmp_path / "parts" / "generation.json").write_text("[]")
    assert "generation.json" in refused(capsys, *generate)


def test_two_processes_do_not_export_the_same_version(tmp_path):
    with FolderLock(tmp_path / "served", "filepath"):
        with pytest.raises(InUse, match="filepath .* is in use by process"):
            registry.vae().export(tmp_path / "served", serving="vae")


# ---- files that are there whole or not at all ----


def saved(folder, value, tag):
    model = registry.vae()
    for weights in model.weights:
        weights.assign(np.full(weights.shape, value, weights.dtype))
    model.save_to_preset(folder, {"tag": tag})


def read(folder):
    model, metadata = kvg.presets.load_folder(folder)
    (value,) = {float(array.flat[0]) for array in model.encoder.get_weights()}
    return metadata["tag"], value


def test_a_preset_that_is_replaced_is_the_old_or_the_new_one_at_every_moment(tmp_path, monkeypatch):
    folder, states = tmp_path / "preset", []
    saved(folder, 0.25, "old")
    (folder / "notes.txt").write_text("kept")
    copying = []

    def noting(call):
        def note(*arguments, **settings):
            if not copying:
                copying.append(True)
                states.append(shutil.copytree(folder, tmp_path / f"{len(states)}"))
                copying.clear()
            return call(*arguments, **settings)

        return note

    with monkeypatch.context() as patch:
        for name in ("replace", "mkdir", "rmdir", "unlink"):
            patch.setattr(os, name, noting(getattr(os, name)))
        saved(folder, 0.5, "new")
    states.append(folder)
    seen = [read(state) for state in states]
    assert set(seen) == {("old", 0.25), ("new", 0.5)} and seen == sorted(seen, reverse=True)
    assert sum((state / NEXT).exists() for state in states) >= 4
    for state in states:  # and the next one clears up
        saved(state, 0.75, "next")
        assert read(state) == ("next", 0.75) and not (state / NEXT).exists()
        assert (state / "notes.txt").read_text() == "kept"
    assert {path.name for path in folder.iterdir()} == {
        "config.json",
        "metadata.json",
        "model.weights.h5",
        "notes.txt",
    }


@pytest.mark.parametrize(
    "metadata, said",
    [
        ({"results": {"loss": np.float32(1)}}, "metadata['results']['loss'] must be what JSON holds"),
        ({"classes": ["a", {1}]}, "metadata['classes'][1] must be"),
        ({"x": {(1, 2): 3}}, "metadata['x'] must have text as keys; received (1, 2)"),
        (["a"], "metadata must be a dictionary"),
    ],
)
def test_metadata_that_json_cannot_hold_are_refused_and_change_nothing(tmp_path, metadata, said):
    saved(tmp_path, 0.25, "old")
    with pytest.raises(InputError, match=re.escape(said)):
        registry.vae().save_to_preset(tmp_path, metadata)
    assert read(tmp_path) == ("old", 0.25)
    circle = {}
    circle["again"] = circle
    with pytest.raises(InputError, match="must be what JSON holds"):
        files.check_json(circle, "metadata")


def test_partial_files_of_processes_that_are_gone_are_deleted(tmp_path):
    def partial(process, host=None, ending="a.json"):
        path = tmp_path / f"{PARTIAL}{process}-{host or files._machine()}-abcdefgh{ending}"
        path.touch()
        return path

    partial(GONE)
    living, elsewhere = partial(os.getpid()), partial(GONE, "0" * 8)
    other = partial(GONE, ending="b.json")
    reused = partial(os.getpid(), ending="2a.json")
    os.utime(reused, (1e9, 1e9))  # written before this process began
    with files.atomic_path(tmp_path / "a.json") as temporary:
        assert str(os.getpid()) in temporary.name
        assert {path for path in tmp_path.iterdir()} == {living, elsewhere, other, temporary}
    os.utime(elsewhere, (1e9, 1e9))
    files.sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {living.name, "a.json"}
    files.sweep(tmp_path / "missing")


def test_a_long_name_is_written_too(tmp_path):
    with files.atomic_path(tmp_path / ("é" * 120 + ".png")) as temporary:
        assert temporary.suffix == ".png"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_is_replaced_is_never_lost(tmp_path, monkeypatch):
    target, states = tmp_path / "a" / "export", []
    replace = os.replace

    def write(text):
        with files.atomic_folder(target) as folder:
            (folder / "model").write_text(text)

    def note(*arguments):
        states.append(shutil.copytree(tmp_path / "a", tmp_path / f"{len(states)}"))
        replace(*arguments)

    write("old")
    monkeypatch.setattr(os, "replace", note)
    write("new")
    monkeypatch.setattr(os, "replace", replace)
    assert (target / "model").read_text() == "new"
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["export"]
    assert len(states) == 2
    for state in states:
        monkeypatch.setattr(files, "_abandoned", lambda path: True)  # the process was killed
        files.sweep(state)
        with pytest.raises(Killed):
            with files.atomic_folder(state / "export"):
                raise Killed
        assert (state / "export" / "model").read_text() in ("old", "new")
        assert [path.name for path in state.iterdir()] == ["export"]


# ---- signals that come while a library is imported ----


@pytest.mark.parametrize(
    "number, raised", [("SIGINT", KeyboardInterrupt), ("SIGTERM", signals.Ended), ("SIGHUP", signals.Ended)]
)
def test_a_signal_waits_for_an_import_and_then_acts(number, raised):
    done = []
    with pytest.raises(raised), signals.ending_on_signals():
        before = signal.getsignal(signal.SIGINT)
        try:
            with signals.held_back():
                signal.raise_signal(getattr(signal, number))
                done.append("import")
            done.append("after it")
        finally:
            assert signal.getsignal(signal.SIGINT) is before
    assert done == ["import"]


def test_a_second_signal_does_not_wait():
    done = []
    with pytest.raises(KeyboardInterrupt), signals.ending_on_signals(), signals.held_back():
        signal.raise_signal(signal.SIGTERM)
        done.append("held")
        signal.raise_signal(signal.SIGINT)
        done.append("not reached")
    assert done == ["held"]


def test_an_error_of_an_import_does_not_hide_the_signal():
    with pytest.raises(signals.Ended), signals.ending_on_signals(), signals.held_back():
        signal.raise_signal(signal.SIGTERM)
        raise ImportError("initialization failed")


def test_a_signal_that_is_ignored_or_comes_to_a_thread_is_not_held_back():
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals.held_back():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, previous)
    handlers = []

    def work():
        with signals.held_back():
            handlers.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(signal.SIGINT)]


# The signal comes as the second name begins to be imported; the third is imported long after it.
@pytest.mark.parametrize(
    "module, begun, last",
    [("torch", "torch._C", "keras.layers"), ("tensorflow", "tensorflow.python", "tensorflow._api.v2.compat")],
)
def test_ctrl_c_during_an_import_ends_a_command_when_it_is_done(module, begun, last, tmp_path):
    program = f"""
import atexit, importlib.abc, signal, sys
sys.argv[0] = "keras-vaegan"
from keras_vaegan import cli

class Interrupt(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "{begun}":
            sys.meta_path.remove(self)
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Interrupt())
assert "{module}" not in sys.modules
atexit.register(lambda: print("whole" if "{last}" in sys.modules else "broken off"))
cli.main(sys.argv[1:])
"""
    arguments = ["train", "--model", "vae", "--dataset", "digits", "--augment", "translation", *TINY]
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments), "--output", str(tmp_path / "run")],
        capture_output=True,
        text=True,
        env=os.environ | {"KERAS_BACKEND": "torch"},
    )
    assert done.returncode == 130, done.stderr
    assert done.stdout.splitlines()[-1] == "whole"
    assert done.stderr.splitlines()[-1] == "keras-vaegan: interrupted"
    assert "Traceback" not in done.stderr
