"""Checkpoints from which a training goes on as if it had never stopped."""

import io
import os
import pathlib
import re
import warnings
import zipfile
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_vaegan import training
from keras_vaegan.data import Batches
from keras_vaegan.errors import InputError, whole_number
from keras_vaegan.files import PARTIAL, atomic_path, reason_of
from keras_vaegan.training.watch import state_of

STATE = "training_state.npz"  # beside Keras' own members of a checkpoint
NAME = re.compile(r"epoch_(\d+)(?:_batch_(\d+))?\.keras")


class Position(NamedTuple):
    """Where a training is: epochs that are done, and batches of the one that runs."""

    epoch: int
    batch: int

    @property
    def file(self) -> str:
        """Name of the checkpoint; names sort as positions do."""
        within = f"_batch_{self.batch:06d}" if self.batch else ""
        return f"epoch_{self.epoch:04d}{within}.keras"


class Extra(NamedTuple):
    """What a checkpoint holds beside Keras' own: position, the epoch's means, states of generators."""

    position: Position
    means: list[np.ndarray]
    random_states: list[np.ndarray]


class Checkpoints(keras.callbacks.Callback):
    """Write `epoch_0001.keras`, ... : the whole model, optimizers included; the last few are kept.

    Each is a model that `keras.saving.load_model` reads, and holds beside it the position within the
    epoch and the means so far, so that a training that was killed goes on from it:

        checkpoints = callbacks.Checkpoints("checkpoints", every=100)
        first = checkpoints.resume(model, batches)      # 0 where there is none
        model.fit(batches, epochs=20, initial_epoch=first, callbacks=[..., checkpoints])

    The batches must be the same each time, as `keras_vaegan.data.Batches` are; then weights,
    optimizers, seeds and averages come out bit for bit as without the interruption, on the same
    machine, versions and number of threads. To stand after `HistoryFile` in the list of callbacks.

    Args:
        folder: where they go; files that another callback wrote stay.
        keep: how many stay, at least 1.
        every: batches from one checkpoint to the next within an epoch; None for the epochs' ends alone.

    Raises:
        InputError: `keep` or `every` that is no whole number of at least 1.
    """

    def __init__(self, folder: str | os.PathLike[str], keep: int = 2, every: int | None = None) -> None:
        super().__init__()
        self.folder, self.keep = pathlib.Path(folder), whole_number("keep", keep, 1)
        self.every = None if every is None else whole_number("every", every, 1)
        self._written: list[pathlib.Path] = []
        self._epoch = self._last = 0
        self._begin_at: Extra | None = None

    def resume(self, model: Any, batches: Batches | None = None) -> int:
        """Give a compiled model the state of the newest whole checkpoint.

        Args:
            model: built and compiled as the one that was trained.
            batches: what it is trained on, which is moved to the right epoch.

        Returns:
            `initial_epoch` for `fit`; 0, with nothing changed, where there is no checkpoint.

        Raises:
            InputError: the newest whole checkpoint is of another model.
        """
        for left in self.folder.glob(f"{PARTIAL}*.keras"):  # of a process that was killed as it wrote
            left.unlink(missing_ok=True)
        for path in reversed(found(self.folder)):
            try:
                extra, saved = _read(path)
            except Exception as error:  # a damaged file makes libraries raise errors of many kinds
                warnings.warn(
                    f"checkpoint {path} cannot be read ({reason_of(error)}); taking the one before",
                    stacklevel=2,
                )
                continue
            _hand_over(saved, model, path)
            self._begin_at = extra
            self._written = found(self.folder)
            if batches is not None:
                batches.epoch = extra.position.epoch
            return extra.position.epoch
        return 0

    # ---- Keras' hooks ----

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        if self._begin_at is not None and self._begin_at.position.batch:
            self.model.leave_out(self._begin_at.position.batch)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self.model.leave_out(0)  # where it was stopped before it had drawn them all

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._epoch, self._last = epoch, 0
        extra = self._begin_at
        if extra is None or epoch != extra.position.epoch:
            self._begin_at = None
        elif extra.position.batch:
            self._last = extra.position.batch
            for variable, value in zip(_means_of(self.model), extra.means, strict=True):
                variable.assign(value)
        else:
            self._draw_as_before()

    def _draw_as_before(self) -> None:
        """Set the generators where they were: torch draws from its own for each pass over data, too."""
        if self._begin_at is not None:
            training.set_random_states(self._begin_at.random_states)
            self._begin_at = None

    # Not at the end of a batch: a callback with that hook makes Keras fetch the logs of every batch.
    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if self._begin_at is not None and batch >= self._begin_at.position.batch:
            self._draw_as_before()
        if self.every is not None and batch - self._last >= self.every:
            self._last = batch
            self.model.synchronize()
            self._save(Position(self._epoch, batch))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._save(Position(epoch + 1, 0))

    def _save(self, position: Position) -> None:
        path = self.folder / position.file
        means = [keras.ops.convert_to_numpy(variable) for variable in _means_of(self.model)]
        extra = Extra(position, means, training.random_states())
        with atomic_path(path) as temporary:
            self.model.save(temporary)
            _add(temporary, extra)
        self._written = [*(old for old in self._written if old != path), path]
        while len(self._written) > self.keep:
            self._written.pop(0).unlink(missing_ok=True)


def found(folder: pathlib.Path) -> list[pathlib.Path]:
    """The checkpoints in a folder, oldest first."""
    matches = {path: NAME.fullmatch(path.name) for path in folder.glob("*.keras")}
    positions = {
        path: [int(part or 0) for part in match.groups()] for path, match in matches.items() if match
    }
    return sorted(positions, key=positions.__getitem__)


def _means_of(model: Any) -> list[keras.Variable]:
    return [variable for metric in model.metrics for variable in metric.variables]


def _add(path: pathlib.Path, extra: Extra) -> None:
    """Put what Keras does not save into its file."""
    arrays: dict[str, Any] = {"position": np.asarray(extra.position)}
    for kind, values in (("mean", extra.means), ("random_state", extra.random_states)):
        arrays |= {f"{kind}_{i:03d}": value for i, value in enumerate(values)}
    content = io.BytesIO()
    np.savez(content, **arrays)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(STATE, content.getvalue())


def _read(path: pathlib.Path) -> tuple[Extra, Any]:
    """What a checkpoint holds, every byte of which has been read, and its model."""
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
        if damaged is not None:
            raise ValueError(f"its {damaged} is damaged")
        with np.load(io.BytesIO(archive.read(STATE)), allow_pickle=False) as arrays:
            means, states = (
                [arrays[name] for name in sorted(arrays.files) if name.startswith(kind)]
                for kind in ("mean", "random_state")
            )
            extra = Extra(Position(*map(int, arrays["position"])), means, states)
    return extra, keras.saving.load_model(path)


def _hand_over(saved: Any, model: Any, path: pathlib.Path) -> None:
    """Assign the whole state of one model to another."""
    theirs, ours = state_of(saved), state_of(model)
    if [tuple(variable.shape) for variable in theirs] != [tuple(variable.shape) for variable in ours]:
        raise InputError(f"model must be that of the checkpoint {path}; its variables are others.")
    for mine, other in zip(ours, theirs, strict=True):
        mine.assign(keras.ops.convert_to_numpy(other))
