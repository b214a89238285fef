"""What a training shows while it runs: a bar with the time left, and a row of numbers for each epoch."""

import math
import time
from collections.abc import Callable
from typing import Any

from keras_vaegan.diagnosis import VERDICTS
from keras_vaegan.training.epochs import EpochCallback

# The logs that matter, by name, with their headings; a row has those that there are.
SHOWN = {
    "loss": "loss",
    "kl": "kl",
    "reconstruction": "recon",
    "error": "error",
    "d_real": "d_real",
    "d_fake": "d_fake",
    "val_loss": "val_loss",
    "val_error": "val_error",
}
SCORES = ("frechet_distance", "recognition", "kernel_distance")  # of which the first that there is is shown
MOST = 7  # numbers in a row, so that it fits into 80 columns
WIDTH = 10
REFRESH = 4.0  # times a second that the bar is drawn


class EpochRows(EpochCallback):
    """Print a row for each epoch: the logs that matter, and the time that it took.

    To stand after the callbacks that add logs. An epoch that is stopped before its end has no row.

    Args:
        show: takes a line.
        bar: whether a bar shows the steps and the time left, for a terminal.
        steps: of the whole training, for the bar; None if that is not known.
        console: of rich, on which the bar is drawn; None for standard output.
    """

    def __init__(
        self,
        show: Callable[[str], None],
        bar: bool = False,
        steps: int | None = None,
        console: Any = None,
    ) -> None:
        super().__init__()
        self.show, self.bar, self.steps, self.console = show, bar, steps, console
        self._names: list[str] = []
        self._progress: Any = None
        self._task: Any = None
        self._epoch, self._at = 0, 0.0

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._names = []
        if not self.bar:
            return
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("steps"),
            TimeRemainingColumn(),
            TextColumn("left"),
        )
        self._progress = Progress(*columns, console=self.console, transient=True, refresh_per_second=REFRESH)
        self._task = self._progress.add_task("starting", total=self.steps)
        self._progress.start()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        super().on_epoch_begin(epoch, logs)
        self._epoch, self._at = epoch, time.monotonic()

    # Not at the end of a batch: a callback with that hook makes Keras fetch the logs of every batch.
    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        super().on_train_batch_begin(batch, logs)
        self._move(f"epoch {self._epoch + 1}", batch)

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        super().on_test_begin(logs)
        self._move(f"validating epoch {self._epoch + 1}", self.batches_done)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self.broken_off or self.gone_back:
            return
        logs = logs or {}
        score = [name for kind in SCORES for name in logs if name.startswith(kind)][:1]
        names = [*score, *(name for name in SHOWN if name in logs)][:MOST]
        if not set(names) <= set(self._names):  # a score may come every few epochs
            self._names = names
            headings = (SHOWN.get(name, name)[: WIDTH - 1] for name in self._names)
            self.show("epoch" + "".join(f"{name:>{WIDTH}}" for name in headings) + "    time")
        if self._progress is not None:
            self._progress.refresh()
        blank = {name for name in VERDICTS & logs.keys() if math.isnan(logs[name])}  # D has not begun
        values = (None if name in blank else logs.get(name) for name in self._names)
        numbers = "".join(f"{_number(value):>{WIDTH}}" for value in values)
        self.show(f"{epoch + 1:5}{numbers}{time.monotonic() - self._at:6.0f} s")

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self.close()

    def close(self) -> None:
        """Take the bar away, also if an error ended the training."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _move(self, what: str, batch: int) -> None:
        if self._progress is not None:
            done = self._epoch * (self._steps or 0) + batch
            self._progress.update(self._task, description=what, completed=done)


def _number(value: Any) -> str:
    """A number in at most nine characters; a dash if there is none."""
    if value is None:
        return "-"
    text = f"{float(value):.4g}"
    return text if len(text) < WIDTH else f"{float(value):.2e}"
