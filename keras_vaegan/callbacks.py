"""Keras callbacks that fill a run folder while a model trains."""

import csv
import os
import pathlib
import signal
import threading
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike

from keras_vaegan import evaluation, plots
from keras_vaegan.checkpoints import Checkpoints
from keras_vaegan.data import ImageData
from keras_vaegan.errors import csv_cell, whole_number
from keras_vaegan.files import atomic_path
from keras_vaegan.monitor import Monitor
from keras_vaegan.runs import read_rows
from keras_vaegan.training.epochs import EpochCallback

__all__ = [
    "Checkpoints",
    "HistoryFile",
    "Monitor",
    "SampleGrids",
    "ScoreSamples",
    "StopOnInterrupt",
]


class SampleGrids(EpochCallback):
    """Write `epoch_0001.png`, ... : images from the prior, of the same noise each epoch.

    A model that cannot generate, as an autoencoder of a small `beta`, shows the given images above their
    reconstructions. An epoch that is stopped before its end gets no grid.

    Args:
        folder: where they go.
        num_images: images in a grid.
        seed: of the noise.
        images: `(N, H, W, C)` to reconstruct, of which half of `num_images` are used.
        labels: their classes `(N,)`, for a model that is conditioned on them.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        num_images: int = 64,
        seed: int = 0,
        images: Any = None,
        labels: ArrayLike | None = None,
    ) -> None:
        super().__init__()
        self.folder, self.num_images, self.seed = pathlib.Path(folder), num_images, seed
        self.images, self.labels = images, labels

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self.broken_off or self.gone_back:
            return
        path = self.folder / f"epoch_{epoch + 1:04d}.png"
        if self.model.generates:
            images = self.model.generate(self.num_images, seed=self.seed)
            plots.save_grid(images, path, plots.class_columns(self.model.num_classes, self.num_images))
        elif self.images is not None:
            x = self.images[: max(1, self.num_images // 2)]
            known = None if self.labels is None else np.asarray(self.labels)[: len(x)]
            plots.save_reconstructions(x, self.model.reconstruct(x, self.model.labels_of(known, x)), path)


class ScoreSamples(EpochCallback):
    """Score the samples against real images every few epochs, and log the numbers.

    The names are those of `evaluation.score`, with the features' name where there are several
    (`frechet_distance`, `coverage`, ...). To stand before `HistoryFile` in the list of callbacks.
    Scores watched here should not be the ones that a result is published by. What is computed of the
    real images is kept from one scoring to the next.

    Args:
        data: what `keras_vaegan.data.load` gives; the validation split is compared with.
        groups: which scores, of `evaluation.GROUPS`.
        every: epochs from one scoring to the next. The last epoch is scored too; one in which another
            callback ends the training, as `Monitor` or `EarlyStopping`, if that stands before this one.
        **settings: other arguments of `evaluation.Evaluation`, as `num_images` and `features`.

    Raises:
        InputError: no group, or one that is none of `evaluation.GROUPS`, or `every` that is no whole
            number of at least 1; what else `evaluation.score` refuses, when it first scores.
    """

    def __init__(
        self,
        data: ImageData,
        groups: Sequence[str] = ("frechet", "sharpness"),
        every: int = 1,
        **settings: Any,
    ) -> None:
        super().__init__()
        evaluation.check_groups("groups", groups)
        self.data, self.groups, self.every = data, tuple(groups), whole_number("every", every, 1)
        self.settings = {"split": "validation", **settings}
        self._of: evaluation.Evaluation | None = None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        last = self.model.stop_training or epoch + 1 == self.params["epochs"]
        if (
            logs is None
            or (self.broken_off and not self.gone_back)
            or ((epoch + 1) % self.every and not last)
        ):
            return
        if self._of is None or self._of.model is not self.model:
            self._of = evaluation.Evaluation(self.model, self.data, **self.settings)
        self._of.forget_subject()
        scores, _ = evaluation.compute(self._of, self.groups)
        several = len({one.features for one in scores if one.features}) > 1
        for one in scores:
            suffix = f"_{one.features}" if several and one.features else ""
            logs[one.name + suffix] = one.value


class HistoryFile(EpochCallback):
    """Write `history.csv`: a row for each epoch, a column for each log; whole after every epoch.

    An epoch that is stopped before its end has no row, unless a `Monitor` stopped it for its numbers.

    Args:
        path: of the file. A training that goes on from a later epoch (`initial_epoch`) keeps the
            rows before it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__()
        self.path = pathlib.Path(path)
        self.rows: list[dict[str, Any]] = []
        self._has_read = False

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self.rows, self._has_read = [], False

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        super().on_epoch_begin(epoch, logs)
        if not self._has_read:
            self._read(epoch)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        if not self._has_read:  # every epoch was done before
            self._read(self.params["epochs"])

    def _read(self, done: int) -> None:
        """Take over the rows of the epochs that are done."""
        self._has_read = True
        self.rows = read_rows(self.path, done)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self.broken_off and not self.gone_back:
            return
        self.rows.append({"epoch": epoch + 1} | {name: float(value) for name, value in (logs or {}).items()})
        with atomic_path(self.path) as temporary, open(temporary, "w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=self._names())
            writer.writerow({name: csv_cell(name) for name in self._names()})
            writer.writerows(self.rows)

    @property
    def columns(self) -> dict[str, list[float]]:
        """`{log name: [value of each epoch]}`; NaN where an epoch has none."""
        return {name: [row.get(name, float("nan")) for row in self.rows] for name in self._names()}

    def _names(self) -> list[str]:
        """All names in the order of their first appearance: some epochs have no validation."""
        return list(dict.fromkeys(name for row in self.rows for name in row))


class StopOnInterrupt(keras.callbacks.Callback):
    """Turn the first Ctrl-C into an orderly end of the training, after the batch that runs.

    A validation that runs is cut short. `Checkpoints` then keeps the position within the epoch.

    Args:
        signals: which signals stop the training, by number. One that the process ignores, as SIGHUP under
            `nohup`, stays ignored; SIGINT does not, which shells let their background jobs ignore.

    Attributes:
        interrupted: whether one came. A second Ctrl-C raises KeyboardInterrupt, as usual; other signals that
            come again are ignored until the training has ended.
        received: the number of the last one, or None.
    """

    def __init__(self, signals: Sequence[int] = (signal.SIGINT,)) -> None:
        super().__init__()
        self.signals = tuple(signals)
        self.interrupted = False
        self.received: int | None = None
        self._previous: dict[int, Any] = {}

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        for number in self.signals:
            before = signal.getsignal(number)  # None if it was not set from Python, and could not be put back
            if before is not None and (number == signal.SIGINT or before != signal.SIG_IGN):
                self._previous[number] = signal.signal(number, self._stop)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self.restore()

    def restore(self) -> None:
        """Give the signals back to whoever had them."""
        for number in list(self._previous):
            self._give_back(number)

    def _give_back(self, number: int) -> None:
        previous = self._previous.pop(number, None)
        if previous is not None:
            signal.signal(number, previous)

    # The signal comes between any two instructions of Keras: the model is touched at safe places only.
    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        # The last batches end by themselves: Keras then begins one more pass over the data, for which torch
        # draws from its generator. An epoch that is broken off there would lack that draw for good.
        steps, at_once = (self.params or {}).get("steps"), getattr(self.model, "steps_per_execution", 1)
        if steps is None or batch + at_once < steps:
            self._tell()

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._tell()

    def on_test_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._tell()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._tell()

    def _tell(self) -> None:
        if self.interrupted:
            self.model.stop_training = True
            self.model.stop_evaluating = True

    def _stop(self, number: int, frame: Any) -> None:
        self.interrupted, self.received = True, number
        if number == signal.SIGINT:
            self._give_back(number)
