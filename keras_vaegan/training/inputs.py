"""What the batches of a dataset, loader or generator hold: noted on the device, looked at in time.

Arrays are checked before they are used. Other sources can be looked at only while they are.
"""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_vaegan.errors import InputError
from keras_vaegan.training.watch import Snapshot
from keras_vaegan.typing import Tensor

CHECK_EVERY = 100  # batches between two looks, each of which waits for the device


class Seen:
    """The extremes of images and labels over the batches so far.

    It is no Keras metric, so that no saved file and no log knows of it: its variable is part of the state of
    a step alone (`MultiPlayerModel.metrics_variables`).

    Attributes:
        whole: whether the images were of an integer type.
    """

    def __init__(self) -> None:
        # The maxima of: -x, x, -y, y, the distance of y to whole numbers, |y - x| where y is images.
        self.maxima = keras.Variable(
            np.full(6, -np.inf, "float32"),
            dtype="float32",
            trainable=False,
            aggregation="only_first_replica",
            name="seen",
        )
        self.whole = False

    def observe(self, x: Tensor, y: Tensor | None) -> None:
        """Note a batch.

        Args:
            x: images `(B, H, W, C)` as they came.
            y: labels `(B,)`, images like x, or None where it is not looked at.
        """
        dtype = keras.backend.standardize_dtype(x.dtype)
        self.whole = "int" in dtype
        x = ops.cast(x, "float32")
        finite = ops.where(ops.isfinite(x), x, float("inf"))
        nothing = ops.full((), -float("inf"), dtype="float32")
        extremes = [ops.max(-finite), ops.max(finite)]
        if y is None:
            extremes += [nothing] * 4
        elif len(y.shape) == len(x.shape):
            difference = ops.abs(ops.cast(y, "float32") - x)
            extremes += [nothing] * 3 + [ops.max(difference)]
        else:
            y = ops.cast(y, "float32")
            extremes += [ops.max(-y), ops.max(y), ops.max(ops.abs(y - ops.round(y))), nothing]
        self.maxima.assign(ops.maximum(self.maxima, ops.stack(extremes)))

    def read(self) -> dict[str, float]:
        """What was noted: `low`, `high`, `label_low`, `label_high`, `fraction`, `difference`.

        Values of which nothing was seen are left out. On JAX the running `fit` must be synchronized first.
        """
        names = ("low", "high", "label_low", "label_high", "fraction", "difference")
        signs = (-1.0, 1.0, -1.0, 1.0, 1.0, 1.0)
        values = ops.convert_to_numpy(self.maxima)
        return {
            name: float(sign * value)
            for name, sign, value in zip(names, signs, values, strict=True)
            if value != -np.inf
        }

    def forget(self) -> None:
        """Begin anew."""
        self.maxima.assign(np.full(6, -np.inf, "float32"))


class Guard(keras.callbacks.Callback):
    """End a training on images or labels that will not do, after the first batch of them.

    If it is the first batch of the training, the model goes back to the state before it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._before: Snapshot | None = None
        self._looked = 0

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._before = Snapshot.take(self.model, 0)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._looked = 0

    # Not at the end of a batch: a callback with that hook makes Keras fetch the logs of every batch.
    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if batch and (self._before is not None or batch - self._looked >= CHECK_EVERY):
            self._looked = batch
            self._look()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._look()

    def _look(self) -> None:
        self.model.synchronize()
        try:
            self.model.check_seen(training=True)
        except InputError as error:
            if self._before is None:
                raise InputError(f"{error} The model has been trained on them.") from error
            self._before.restore(self.model)
            raise
        finally:
            self._before = None
