"""The callback that watches a training and says in plain words what it sees."""

import os
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops
from numpy.typing import ArrayLike

from keras_vaegan import diagnosis, runs
from keras_vaegan.checkpoints import Extra, Kept, Position
from keras_vaegan.data.checks import check_images
from keras_vaegan.data.images import as_float32
from keras_vaegan.data.stored import as_stored, is_stored
from keras_vaegan.diagnosis import SAMPLE_DIVERSITY, VERDICTS, Finding
from keras_vaegan.errors import whole_number
from keras_vaegan.metrics.distances import squared_distances
from keras_vaegan.training.epochs import EpochCallback
from keras_vaegan.training.watch import Place, Snapshot, Watch

FEWEST = 16  # images, below which their distances say nothing


class Monitor(EpochCallback):
    """Tell what goes wrong, once, by the rules of `keras_vaegan.diagnosis`; stop at NaN or infinity.

    Every step looks for tensors that are not finite. When one came, the training ends, the whole
    state (weights, optimizers, averages, seeds) goes back to the last time that all was well, of which
    `Checkpoints` writes a checkpoint, and the message names the first bad tensor. Each epoch logs
    `sample_diversity`.

    To stand first in the list of callbacks: those after it see the log and the state gone back to.

    Args:
        images: real images `(N, H, W, C)` to compare the samples with; None for no `sample_diversity`.
        path: file to keep the findings in, as JSON; it is there only where there are any.
        patience: epochs in a row that a state must last to be told.
        check_every: batches between two looks, which wait for the device and copy the state.
        num_images: at most how many samples and real images are compared.
        seed: of the samples.
        report: what takes the lines to be said.
        history: file that `HistoryFile` writes. A training that goes on from a later epoch
            (`initial_epoch`) judges the epochs before it, too; None for those of this training alone.

    Attributes:
        findings: list of `Finding`, of this training.
        stopped: the finding for which the training was stopped, or None.

    Raises:
        InputError: images that are not `(N, H, W, C)` with N > 0, or out of range; `patience` or
            `check_every` that is no whole number of at least 1, or, with images, `num_images` below 2.

    Examples:
        >>> import keras_vaegan as kvg
        >>> from keras_vaegan.callbacks import Monitor
        >>> (x, y), (x_val, _), _ = kvg.data.load("digits")
        >>> model = kvg.VAEGAN.from_preset("vae_gan_mnist_small", load_weights=False)
        >>> history = model.fit(x, epochs=1, callbacks=[Monitor(x_val)], verbose=0)
    """

    def __init__(
        self,
        images: ArrayLike | None = None,
        path: str | os.PathLike[str] | None = None,
        patience: int = 3,
        check_every: int = 100,
        num_images: int = 256,
        seed: int = 0,
        report: Callable[[str], object] = print,
        history: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__()
        self.patience = whole_number("patience", patience, 1)
        self.check_every = whole_number("check_every", check_every, 1)
        self.seed, self.report = seed, report
        self.path = None if path is None else pathlib.Path(path)
        self.history = None if history is None else pathlib.Path(history)
        self._reference = None if images is None else _Reference(images, num_images)
        self._begin()

    def _begin(self) -> None:
        self.findings: list[Finding] = []
        self.stopped: Finding | None = None
        self._history: dict[str, list[float]] = {"epoch": []}
        self._watch: Watch | None = None
        self._good: Kept | None = None
        self._epoch = self._looked = 0

    # ---- Keras' hooks ----

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._begin()
        self.model.gone_back, self.model.gone_back_to = False, None
        self._watch = self.model.watched(True)
        self._look()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        super().on_epoch_begin(epoch, logs)
        self._epoch, self._looked = epoch + 1, 0
        if self.history is not None and not self._history["epoch"]:
            for row in runs.read_rows(self.history, epoch):
                self._note(int(row.pop("epoch")) - 1, row)
            self.findings = diagnosis.diagnose(self._history, self.patience)  # which were told

    # Not at the end of a batch: a callback with that hook makes Keras fetch the logs of every batch.
    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        super().on_train_batch_begin(batch, logs)
        if batch - self._looked >= self.check_every:
            self._looked = batch
            self._look(batch)

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        super().on_test_begin(logs)
        if self._watch is not None:
            self._look(self.batches_done)
            self._go_back()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._look(self.batches_done)
        self._go_back()
        if self.broken_off and self.stopped is None:
            return  # the numbers of a part of an epoch are no epoch's
        logs = {} if logs is None else logs
        if self._before_discriminator():
            logs.update(dict.fromkeys(VERDICTS & logs.keys(), float("nan")))
        if self._reference is not None:
            diversity = self._reference.diversity(self.model, self.seed)
            if diversity is not None:
                logs[SAMPLE_DIVERSITY] = diversity
        self._note(epoch, logs)
        self._diagnose()

    def _before_discriminator(self) -> bool:
        """Whether D, which may start late, has not trained yet: then its verdicts say nothing."""
        game = getattr(self.model, "game", None)
        return game is not None and float(ops.convert_to_numpy(self.model.steps_done)) <= game.start > 0

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self.model.watched(False)
        self._watch = self._good = self.model.gone_back_to = None

    # ---- NaN and infinity ----

    def _look(self, batch: int | None = None) -> None:
        """Ask the watch; if all is well, keep the state, else ask for the end of the training.

        Args:
            batch: how many of the epoch are done; None before the first epoch, in which no step was made.
        """
        if self.stopped is not None or self._watch is None:
            return
        self.model.synchronize()
        steps, place = self._watch.seen()
        step = f"step {steps + 1}"
        if place is None:
            if self._good is not None and self._good.snapshot.step == steps:
                return
            snapshot = Snapshot.take(self.model, steps)
            bad = snapshot.first_bad(self.model)  # the optimizers' slots are seen only here
            if bad is None:
                position = None if batch is None else Position(self._epoch - 1, batch)
                self._good = Kept(snapshot, position and Extra.take(self.model, position))
                return
            place = Place(bad, tuple(self.model.players))
            step = f"step {steps}, or shortly before" if steps else "before the first step"
        self._stop(step, place)

    def _stop(self, step: str, place: Place) -> None:
        if place.players:
            advice = diagnosis.lower_rates(place.players)
        else:
            advice = "Look for bad numbers in the data and in what is done to them."
        kept = f"the weights of step {self._good.snapshot.step} are kept" if self._good else "nothing is kept"
        message = (
            f"{step} (epoch {max(self._epoch, 1)}): {place.what} is not finite, the first bad tensor; "
            f"stopped, {kept}. {advice}"
        )
        self.stopped = Finding("not_finite", "severe", max(self._epoch, 1), message)
        self.model.stop_training = True
        self._say(self.stopped)

    def _go_back(self) -> None:
        if self.stopped is not None and self._good is not None:
            self._good.snapshot.restore(self.model)
            self.model.gone_back, self.model.gone_back_to = True, self._good

    # ---- the rules on epochs ----

    def _note(self, epoch: int, logs: dict[str, Any]) -> None:
        """Add a row to the history; names may come and go, as those of a validation do."""
        row = {"epoch": epoch + 1} | {name: float(value) for name, value in logs.items()}
        count = len(self._history["epoch"])
        for name in {**self._history, **row}:
            self._history.setdefault(name, [float("nan")] * count).append(row.get(name, float("nan")))

    def _diagnose(self) -> None:
        told = {finding.kind for finding in self.findings}
        noted = [self.stopped] if self.stopped else []
        self.findings = diagnosis.merged(noted, diagnosis.diagnose(self._history, self.patience))
        for finding in self.findings:
            if finding.kind not in told and finding is not self.stopped:
                self._say(finding)
        if self.path is not None:
            runs.write_findings(self.path, self.findings)

    def _say(self, finding: Finding) -> None:
        # Keras' progress bar leaves its line open.
        self.report(("\n" if self.params.get("verbose") == 1 else "") + finding.message)


class _Reference:
    """Real images, and how far apart they are."""

    def __init__(self, images: ArrayLike, num_images: int) -> None:
        # Of stored images those that are compared are read, and no others.
        of: Any = as_stored(images) if is_stored(images) else check_images(images, argument="images")
        chosen = np.random.default_rng(0).permutation(len(of))[: whole_number("num_images", num_images, 2)]
        self.count = len(chosen)
        self.distance = nearest_distance(as_float32(check_images(of[np.sort(chosen)], argument="images")))

    def diversity(self, model: Any, seed: int) -> float | None:
        """Ratio of the distances among samples to those here; None where it says nothing."""
        if self.count < FEWEST or not self.distance > 0.0 or not model.generates:
            return None
        return nearest_distance(model.generate(self.count, seed=seed)) / self.distance


def nearest_distance(images: ArrayLike) -> float:
    """Mean Euclidean distance, in pixels, of an image to the nearest other one, of `(N, H, W, C)`, N > 1."""
    images = np.asarray(images, "float64")
    flat = images.reshape(len(images), -1)
    squared = squared_distances(flat - flat.mean(axis=0), flat - flat.mean(axis=0))
    np.fill_diagonal(squared, np.inf)
    return float(np.sqrt(squared.min(axis=1)).mean())
