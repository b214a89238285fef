"""What a training shows: rows that are the history's numbers, a bar on a terminal, what to do next."""

import csv
import importlib.util
import io
import math

import pytest
import registry
from rich.console import Console
from test_cli import TINY, TINY_NETWORKS, refused, run

from keras_vaegan import callbacks
from keras_vaegan.progress import EpochRows

TRAIN = ["train", "--model", "vae_gan", *TINY, *TINY_NETWORKS]


def fitted(bar=False, epochs=2, **settings):
    """The lines of a small training, and its history."""
    lines, model = [], registry.MODELS["vae_gan"](seed=0)
    model.compile()
    rows = EpochRows(lines.append, bar, settings.pop("steps", None), settings.pop("console", None))
    history = model.fit(
        *registry.data(model, 8), batch_size=4, epochs=epochs, verbose=0, callbacks=[rows], **settings
    )
    return lines, history.history, rows


def test_a_row_has_the_numbers_that_matter():
    """They are the history's, to four digits, in at most 80 columns."""
    x = registry.images(4)
    lines, history, _ = fitted(validation_data=(x,))
    names = lines[0].split()
    assert names == ["epoch", "loss", "kl", "recon", "d_real", "d_fake", "val_loss", "time"]
    for epoch, line in enumerate(lines[1:], 1):
        number, *values, _, unit = line.split()
        assert (int(number), unit) == (epoch, "s") and len(line) <= 80
        logs = ["loss", "kl", "reconstruction", "d_real", "d_fake", "val_loss"]
        for name, value in zip(logs, values, strict=True):
            assert math.isclose(float(value), history[name][epoch - 1], rel_tol=1e-3)


def test_an_epoch_that_is_stopped_has_no_row():
    class Stop(callbacks.EpochCallback):
        """Ends the training after its first batch."""

        def on_train_batch_begin(self, batch, logs=None):
            super().on_train_batch_begin(batch, logs)
            self.model.stop_training = True

    model, lines = registry.MODELS["vae"](seed=0), []
    model.compile()
    model.fit(registry.images(8), batch_size=4, verbose=0, callbacks=[Stop(), EpochRows(lines.append)])
    assert lines == []


@pytest.mark.core_on("one")
def test_a_bar_counts_steps_and_goes():
    """On a terminal: it shows steps of the whole training, and is taken away, also after an error."""
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=80, _environ={"TERM": "xterm"})
    _, _, rows = fitted(bar=True, steps=4, console=console)
    assert "epoch 2" in screen.getvalue() and "/4" in screen.getvalue() and rows._progress is None
    broken = EpochRows(lambda line: None, True, 4, console)
    broken.on_train_begin()
    broken.close()
    broken.close()
    assert broken._progress is None


@pytest.mark.core_on("one")
def test_the_command_shows_rows_and_what_to_do_next(tmp_path, capsys):
    """Piped: a row for each epoch of `history.csv`, then three commands; nothing of it with --verbose 0."""
    folder = tmp_path / "run"
    assert run(*TRAIN, "--epochs", 2, "--output", folder) == 0
    said = capsys.readouterr().out.splitlines()
    header = next(i for i, line in enumerate(said) if line.startswith("epoch"))
    with open(folder / "history.csv") as file:
        rows = list(csv.DictReader(file))
    for row, line in zip(rows, said[header + 1 :][: len(rows)], strict=True):
        assert math.isclose(float(line.split()[1]), float(row["loss"]), rel_tol=1e-3) and len(line) <= 80
    assert [line.split()[-4:] for line in said if line.startswith("next:")] == [
        ["generate", str(folder), "--output", str(folder / "more.png")]
    ]
    assert f"keras-vaegan train --resume {folder} --epochs 4" in said[-1]
    assert run("train", "--resume", folder, "--epochs", 3, "--verbose", 0) == 0
    assert "epoch " not in capsys.readouterr().out


@pytest.mark.core_on("one")
def test_tensorboard_gets_the_logs(tmp_path, capsys):
    """Events in the run folder, if it is installed; else one line says so."""
    if importlib.util.find_spec("tensorboard") is None:
        assert "pip install tensorboard" in refused(capsys, *TRAIN, "--tensorboard")
        return
    assert run(*TRAIN, "--epochs", 1, "--tensorboard", "--output", tmp_path / "run") == 0
    assert list((tmp_path / "run" / "tensorboard").rglob("events*"))


@pytest.mark.core_on("one")
def test_tensorboard_is_asked_for_if_it_is_missing(monkeypatch, tmp_path, capsys):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "tensorboard" else find(name)
    )
    assert "pip install tensorboard" in refused(capsys, *TRAIN, "--tensorboard", "--output", tmp_path / "run")
