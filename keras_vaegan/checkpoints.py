"""Checkpoints from which a training goes on as if it had never stopped."""

import dataclasses
import io
import os
import pathlib
import re
import warnings
import zipfile
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_vaegan import backend
from keras_vaegan.data import Batches
from keras_vaegan.errors import InputError, whole_number
from keras_vaegan.files import atomic_path, check_zip, reason_of, sweep
from keras_vaegan.training.epochs import EpochCallback
from keras_vaegan.training.watch import Snapshot, state_of

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

    @classmethod
    def take(cls, model: Any, position: Position) -> "Extra":
        """That of a model as it is now, at a position."""
        return cls(position, _values(_means_of(model)), backend.random_states())


@dataclasses.dataclass(frozen=True)
class Kept:
    """A state of a training to go back to, and what a checkpoint of it holds; None if it is not known."""

    snapshot: Snapshot
    extra: Extra | None


class Checkpoints(EpochCallback):
    """Write `epoch_0001.keras`, ... : the whole model, optimizers included; the last few are kept.

    Each is a model that `keras.saving.load_model` reads, and holds beside it the position within the
    epoch and the means so far, so that a training that was killed goes on from it:

        checkpoints = callbacks.Checkpoints("checkpoints", every=100)
        first = checkpoints.resume(model, batches)      # 0 where there is none
        model.fit(batches, epochs=20, initial_epoch=first, callbacks=[..., checkpoints])

    The batches must be the same each time, as `keras_vaegan.data.Batches` are; then weights,
    optimizers, seeds and averages come out bit for bit as without the interruption, on the same
    machine, versions and number of threads. To stand after `HistoryFile` in the list of callbacks.

    If a callback stops the training within an epoch or its validation, the checkpoint holds that position.
    If a `Monitor` put an older state back, the checkpoint holds that state and its position. None is written
    if the state is not finite, or once the `Monitor`'s watch has seen a tensor that is not.

    Args:
        folder: where they go; files that another callback wrote stay.
        keep: how many stay, at least 1.
        every: batches from one checkpoint to the next within an epoch; None for the epochs' ends alone.

    Attributes:
        position: that of the newest checkpoint, as `(epochs that are done, batches of the next one)`.
        stopped: whether this training was stopped within an epoch, and its position is kept.

    Raises:
        InputError: `keep` or `every` that is no whole number of at least 1.
    """

    def __init__(self, folder: str | os.PathLike[str], keep: int = 2, every: int | None = None) -> None:
        super().__init__()
        self.folder, self.keep = pathlib.Path(folder), whole_number("keep", keep, 1)
        self.every = None if every is None else whole_number("every", every, 1)
        self._written: list[pathlib.Path] = []
        self._batches: Batches | None = None
        self._epoch = self._last = 0
        self._begin_at: Extra | None = None
        self._pending: Extra | None = None
        self._fixed: list[np.ndarray] = []
        self.position, self.stopped = Position(0, 0), False

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
        sweep(self.folder)  # of a process that was killed as it wrote
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
            self.position = extra.position
            self._batches = batches
            if batches is not None:
                batches.epoch = extra.position.epoch
            return extra.position.epoch
        return 0

    # ---- Keras' hooks ----

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self.stopped, self._pending = False, None
        if self._begin_at is not None and self._begin_at.position.batch:
            self.model.leave_out(self._begin_at.position.batch)
            if self._batches is not None and self._batches.epoch == self._begin_at.position.epoch:
                self._batches.leave_out(self._begin_at.position.batch)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self.model.leave_out(0)  # where it was stopped before it had drawn them all
        if self._batches is not None:
            self._batches.leave_out(0)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        super().on_epoch_begin(epoch, logs)
        self._epoch, self._last, self._pending = epoch, 0, None
        extra = self._begin_at
        if extra is None or epoch != extra.position.epoch:
            self._begin_at = None
        elif extra.position.batch:
            self._last = extra.position.batch
            _assign(_means_of(self.model), extra.means)
        else:
            self._draw_as_before()

    def _draw_as_before(self) -> None:
        """Set the generators where they were: torch draws from its own for each pass over data, too."""
        if self._begin_at is not None:
            backend.set_random_states(self._begin_at.random_states)
            self._begin_at = None

    # Not at the end of a batch: a callback with that hook makes Keras fetch the logs of every batch.
    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        super().on_train_batch_begin(batch, logs)
        if self._begin_at is not None and batch >= self._begin_at.position.batch:
            self._draw_as_before()
        if self.every is not None and batch - self._last >= self.every:
            self._last = batch
            self.model.synchronize()
            watch = self.model.watch
            if watch is None or watch.seen()[1] is None:
                self._save(Extra.take(self.model, Position(self._epoch, batch)))

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        super().on_test_begin(logs)
        self._note_end_of_batches()
        if self.model.stop_training:  # at once: a process that is asked to end has little time
            self._save_stop()

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        super().on_test_end(logs)
        if self.broken_off:
            self._save_stop()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._note_end_of_batches()
        if self.broken_off or self.gone_back:
            self._save_stop()
        else:
            self.stopped = False
            self._save(Extra.take(self.model, Position(epoch + 1, 0)))

    def _note_end_of_batches(self) -> None:
        """Keep what a validation changes: seeds, the means so far, the backend's generators."""
        if self._pending is not None:
            return
        self._pending = self._begin_at  # if there was no step: all batches so far were left out
        self._draw_as_before()
        if self._pending is None:
            self._pending = Extra.take(self.model, Position(self._epoch, self.batches_done))
        self._fixed = _values(self.model.non_trainable_variables)

    def _save_stop(self) -> None:
        """Keep the position at which the batches of an epoch were stopped, or all were done."""
        if self.gone_back:
            self._save_kept()
            return
        extra = self._pending
        if self.stopped or extra is None or not extra.position.batch:
            return
        variables = self.model.non_trainable_variables
        after = _values(variables)
        _assign(variables, self._fixed)
        try:
            if Snapshot.take(self.model, 0).first_bad(self.model) is None:
                self._save(extra)
                self.stopped = True
        finally:
            _assign(variables, after)

    def _save_kept(self) -> None:
        """Keep the state that was put back, unless there is a checkpoint as late."""
        kept = self.model.gone_back_to
        if kept is not None and kept.extra is not None and kept.extra.position > self.position:
            kept.snapshot.restore(self.model)  # which a validation has changed
            self._save(kept.extra)
            self.stopped = True

    def _save(self, extra: Extra) -> None:
        path = self.folder / extra.position.file
        with atomic_path(path) as temporary:
            self.model.save(temporary)
            _add(temporary, extra)
        self.position = extra.position
        self._written = [*(old for old in self._written if old != path), path]
        while len(self._written) > self.keep:
            self._written.pop(0).unlink(missing_ok=True)


def found(folder: pathlib.Path) -> list[pathlib.Path]:
    """The checkpoints in a folder, oldest first."""
    matches = {path: NAME.fullmatch(path.name) for path in folder.glob("*.keras") if path.is_file()}
    positions = {
        path: [int(part or 0) for part in match.groups()] for path, match in matches.items() if match
    }
    return sorted(positions, key=positions.__getitem__)


def _means_of(model: Any) -> list[keras.Variable]:
    return [variable for metric in model.metrics for variable in metric.variables]


def _values(variables: Sequence[keras.Variable]) -> list[np.ndarray]:
    """Copies of what variables hold: some backends give a view of the variable's own memory."""
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]


def _assign(variables: Sequence[keras.Variable], values: Sequence[np.ndarray]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


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
        check_zip(archive, f"checkpoint {path}")
        with np.load(io.BytesIO(archive.read(STATE)), allow_pickle=False) as arrays:
            means, states = (
                [arrays[name] for name in sorted(arrays.files) if name.startswith(kind)]
                for kind in ("mean", "random_state")
            )
            extra = Extra(Position(*map(int, arrays["position"])), means, states)
        if min(extra.position) < 0:
            raise ValueError(f"its position is {tuple(extra.position)}")
    return extra, keras.saving.load_model(path)


def _hand_over(saved: Any, model: Any, path: pathlib.Path) -> None:
    """Assign the whole state of one model to another."""
    theirs, ours = state_of(saved), state_of(model)
    if [tuple(variable.shape) for variable in theirs] != [tuple(variable.shape) for variable in ours]:
        raise InputError(f"model must be that of the checkpoint {path}; its variables are others.")
    for mine, other in zip(ours, theirs, strict=True):
        mine.assign(keras.ops.convert_to_numpy(other))
