"""Base class of callbacks that must know whether an epoch is complete."""

from typing import Any

import keras


class EpochCallback(keras.callbacks.Callback):
    """A callback that can tell a complete epoch from one that was stopped before its end.

    Keras ends an epoch that is stopped as it ends any other: validation, then `on_epoch_end`. A subclass
    that has one of the hooks below calls the base class's first.
    """

    def __init__(self) -> None:
        super().__init__()
        self._reset()

    def _reset(self) -> None:
        self._begun = 0
        self._stopped: bool | None = None
        self._cut = False

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._reset()

    # Not at the end of a batch: a callback with that hook makes Keras fetch the logs of every batch.
    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._begun = batch + int(getattr(self.model, "steps_per_execution", 1) or 1)

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        if self._stopped is None:  # a stop that comes later is no stop of the batches
            self._stopped = bool(self.model.stop_training)

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        self._cut = bool(self.model.stop_training and getattr(self.model, "stop_evaluating", False))

    @property
    def batches_done(self) -> int:
        """Batches of this epoch that the model was trained on, those left out on resuming included."""
        return self._begun if self._steps is None else min(self._begun, self._steps)

    @property
    def broken_off(self) -> bool:
        """Whether the batches of this epoch, or its validation, were stopped before their end."""
        stopped = getattr(self.model, "stop_training", False) if self._stopped is None else self._stopped
        return self._cut or (stopped and (self._steps is None or self._begun < self._steps))

    @property
    def _steps(self) -> int | None:
        """Batches of an epoch; None if Keras does not know."""
        return (self.params or {}).get("steps")

    @property
    def gone_back(self) -> bool:
        """Whether a `Monitor` put an older state back, so that the epoch's training is undone in part."""
        return bool(getattr(self.model, "gone_back", False))
