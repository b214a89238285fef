"""What the batches of a dataset, loader or generator hold: noted on the device, looked at in time.

Arrays are checked before they are used. Other sources can be looked at only while they are.
"""

import inspect
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
    """

    # Largest values of: float images and their negatives, integer images and theirs, labels and theirs, the
    # distance of labels to whole numbers, |y - x| where y is images, the negatives of sample weights. A step
    # that is compiled for floats knows nothing of one for integers, so that they stand apart.
    NAMES = (
        "high",
        "low",
        "whole_high",
        "whole_low",
        "label_high",
        "label_low",
        "label_fraction",
        "difference",
        "weight_low",
    )

    def __init__(self) -> None:
        self.maxima = keras.Variable(
            self._nothing(),
            dtype="float32",
            trainable=False,
            aggregation="only_first_replica",
            name="seen",
        )

    def _nothing(self) -> np.ndarray:
        return np.full(len(self.NAMES), -np.inf, "float32")

    def observe(self, x: Tensor, y: Tensor | None, sample_weight: Tensor | None = None) -> None:
        """Note a batch.

        Args:
            x: images `(B, H, W, C)` as they came.
            y: labels `(B,)`, images like x, or None where it is not looked at.
            sample_weight: `(B,)`, or None.
        """
        kind = "whole_" if "int" in keras.backend.standardize_dtype(x.dtype) else ""
        x = ops.cast(x, "float32")
        finite = ops.where(ops.isfinite(x), x, float("inf"))
        # -min, and not the max of -x: TensorFlow's optimizer of graphs confuses several of those.
        seen = {f"{kind}high": ops.max(finite), f"{kind}low": -ops.min(finite)}
        if y is not None and known_rank(y):
            y = ops.cast(y, "float32")
            if len(y.shape) == len(x.shape):
                seen["difference"] = ops.max(ops.abs(y - x))
            else:
                # Flat, as a graph of TensorFlow with known shapes else reduces y as if it were images.
                y = ops.reshape(y, (-1,))
                seen |= {"label_high": ops.max(y), "label_low": -ops.min(y)}
                seen["label_fraction"] = ops.max(ops.abs(y - ops.round(y)))
        if sample_weight is not None:
            weights = ops.cast(sample_weight, "float32")
            seen["weight_low"] = ops.max(ops.where(ops.isfinite(weights), -weights, float("inf")))
        nothing = ops.full((), -float("inf"), dtype="float32")
        self.maxima.assign(ops.maximum(self.maxima, ops.stack([seen.get(n, nothing) for n in self.NAMES])))

    def read(self) -> dict[str, float]:
        """What was noted, by `NAMES`, without those of which nothing was seen.

        On JAX the running `fit` must be synchronized first.
        """
        values = zip(self.NAMES, ops.convert_to_numpy(self.maxima), strict=True)
        return {
            name: float(-value if name.endswith("low") else value)
            for name, value in values
            if value != -np.inf
        }

    def forget(self) -> None:
        """Begin anew."""
        self.maxima.assign(self._nothing())


def known_rank(x: Tensor) -> bool:
    """Whether the number of axes is known, as of all tensors but some of TensorFlow's."""
    return getattr(x.shape, "rank", 0) is not None


class Guard(keras.callbacks.Callback):
    """End a training on images or labels that will not do, after the first batch of them.

    If it is the first batch of the training, the model goes back to the state before it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._before: Snapshot | None = None
        self._warned = False
        self._looked = 0

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self.model.forget_seen()
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
        if not self._warned:
            self._warned = True
            self.model.warn_of_seen()

    def _look(self) -> None:
        self.model.synchronize()
        try:
            self.model.check_seen(training=True)
        except InputError as error:
            if self._before is None:
                raise InputError(
                    f"{error} The model has been trained on them.",
                    argument=error.argument,
                    allowed=error.allowed,
                    received=error.received,
                ) from error
            self._before.restore(self.model)
            raise
        finally:
            self._before = None


def by_name(verb: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
    """Arguments of a method of `keras.Model` by their names; x and y are there in any case."""
    given = inspect.signature(getattr(keras.Model, verb)).bind_partial(None, *args, **kwargs).arguments
    del given["self"]
    extra = given.pop("kwargs", {})
    return {"x": None, "y": None, **given, **extra}
