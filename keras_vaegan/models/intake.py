"""The checks of what a model is given to train on, to evaluate or to predict from."""

import functools
import inspect
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import keras
import numpy as np
from keras import ops
from numpy.typing import ArrayLike

from keras_vaegan.data.batches import Batches
from keras_vaegan.data.checks import (
    check_brightness,
    check_extremes,
    check_images,
    check_label_extremes,
    check_labels,
    check_weights,
    not_one_label_each,
    numbers,
)
from keras_vaegan.data.images import as_float32
from keras_vaegan.data.splits import check_every_class
from keras_vaegan.data.stored import is_stored
from keras_vaegan.data.views import parts_of
from keras_vaegan.errors import InputError
from keras_vaegan.training.inputs import known_rank

if TYPE_CHECKING:
    from keras_vaegan.models.latent import LatentVariableModel

P = ParamSpec("P")
R = TypeVar("R")

NO_TARGETS = "must be labels, x itself or None: the model reconstructs x; received other images."


class Intake:
    """The checks of a model's images and labels, by its image shape, value range and condition.

    Arrays are checked before they are used; datasets, loaders and generators while they are.
    """

    def __init__(self, model: "LatentVariableModel") -> None:
        self.model = model

    # ---- all images of a training or evaluation, or one batch of them ----

    def checked(self, x: Any, y: Any, weights: Any, prefix: str = "", whole: bool = True) -> dict[str, Any]:
        """x, y and sample weights as Keras is to have them, arrays of them checked.

        Lists become arrays. `whole` says that these are all images of a training or evaluation, not a batch.
        """
        shape, value_range = self.model.image_shape, self.model.value_range
        if isinstance(x, Batches):
            check_images(np.zeros((1, *x.image_shape)), shape, f"{prefix}x")  # the values it has checked
            self.check_targets(x.y, len(x.x), f"{prefix}y")
        elif isinstance(x, keras.utils.PyDataset):  # of the first batch at least, which costs little
            self._check_first(x[0], prefix)
        elif isinstance(x, Mapping):
            raise InputError(f"{prefix}x must be images; received {_kind(x)}.")
        elif is_array(x):
            images = check_images(x, shape, f"{prefix}x", value_range)
            x = x if ops.is_tensor(x) else images
            if whole:
                check_brightness(images.max(), images.dtype.kind in "iu", f"{prefix}x", value_range)
            if y is not None:
                self.check_targets(y, len(images), f"{prefix}y", images)
                y = _plain(y)
            else:
                self.check_targets(None, len(images), f"{prefix}y")
            if weights is not None:
                weights = check_weights(weights, len(images), f"{prefix}sample_weight")
                if y is None:  # Keras drops weights that stand beside no y
                    y = np.zeros(len(images), "int32")
        else:
            check_source(x, f"{prefix}x")
            if isinstance(x, Iterator):
                x = self._looked_at(x, prefix)
            if y is not None or weights is not None:
                raise InputError(f"{prefix}y and sample_weight must be None: a dataset gives its own.")
        if whole and self.model.condition.unlabelled and (isinstance(x, Batches) or is_array(x)):
            labels: Any = x.y if isinstance(x, Batches) else y
            if not np.any(numbers(labels, f"{prefix}y", "iuf", "labels (B,)") >= 0):  # the error would be 0
                raise InputError(f"{prefix}y must have labels for some of the images; all are -1.")
        return {"x": x, "y": y, "sample_weight": weights}

    def checked_validation(self, validation: Any, batch_size: int | None = None) -> Any:
        """`validation_data` as Keras is to have it; stored images in batches of `batch_size`."""
        argument = "validation_data: "
        if isinstance(validation, (tuple, list)):
            x, y, weights = keras.utils.unpack_x_y_sample_weight(tuple(validation))
            if is_stored(x):
                x, y = self.in_batches(x, y, weights, batch_size, argument, shuffle=False), None
            known = self.checked(x, y, weights, argument)
            if isinstance(x, Batches):
                return x
            return known["x"], known["y"], known["sample_weight"]
        if isinstance(validation, keras.utils.PyDataset):
            self.checked(validation, None, None, argument)
        elif validation is not None and is_array(validation):
            raise InputError("validation_data must be (x,) or (x, y); received an array.")
        return validation

    def in_batches(
        self, x: Any, y: Any, weights: Any, batch_size: int | None, prefix: str = "", **settings: Any
    ) -> Batches:
        """Stored images and their labels as batches; `settings` are arguments of `Batches`."""
        if weights is not None:
            raise InputError(
                f"{prefix}sample_weight must be None with images that are not in memory; received weights. "
                "Give batches (x, y, sample_weight)."
            )
        with warnings.catch_warnings():
            if not settings.get("shuffle", True):  # of images to train on it is told
                warnings.filterwarnings("ignore", message=".*almost black")
            return Batches(
                x, None if y is x else y, batch_size or 32, value_range=self.model.value_range, **settings
            )

    def checked_batch(self, x: Any, y: Any, weights: Any) -> dict[str, Any]:
        """The arguments of a step on one batch of images."""
        if not is_array(x):
            raise InputError(f"x must be a batch of images; received {_kind(x)}.")
        return self.checked(x, y, weights, whole=False)

    def checked_dictionary(self, x: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """The dictionary that `call` takes: images, and the condition as the networks take it."""
        condition = self.model.condition
        if set(x) != {"images", *condition.inputs}:
            names = ", ".join(["images", *condition.inputs])
            raise InputError(f"x must be images, or a dictionary of {names}; received {_kind(x)}.")
        images = check_images(x["images"], self.model.shape_taken, "images", self.model.value_range)
        return {"images": images, **condition.checked(x, len(images))}

    def _looked_at(self, batches: Iterator[Any], prefix: str) -> Iterator[Any]:
        """The same batches, of which the first one was checked, as a generator that Keras takes."""
        nothing = object()
        first = next(batches, nothing)
        if first is nothing:
            raise InputError(f"{prefix}x must give a batch at least; received none.")
        self._check_first(first, prefix)

        def again() -> Iterator[Any]:
            yield tuple(first) if isinstance(first, list) else first
            for batch in batches:
                yield tuple(batch) if isinstance(batch, list) else batch

        return again()

    def _check_first(self, batch: Any, prefix: str) -> None:
        """Raise unless a batch `(x,)`, `(x, y)` or `(x, y, sample_weight)` will do."""
        if not isinstance(batch, (tuple, list)) or not 1 <= len(batch) <= 3:
            raise InputError(
                f"{prefix}x must give batches (x,), (x, y) or (x, y, sample_weight); received {_kind(batch)}."
            )
        x, y, weights = (*batch, None, None)[:3]
        if isinstance(x, (Mapping, tuple, list)):
            raise InputError(f"{prefix}x must be images; received {_kind(x)}.")
        argument = f"{prefix}x of the first batch"
        images = check_images(x, self.model.image_shape, argument, self.model.value_range)
        self.check_targets(y, len(images), f"{prefix}y of the first batch", images)
        if weights is not None:
            check_weights(weights, len(images), f"{prefix}sample_weight of the first batch")

    # ---- images of the verbs ----

    def images(
        self, x: ArrayLike, argument: str = "x", shape: Sequence[int | None] | None = None
    ) -> np.ndarray:
        """Images `(B, H, W, C)` as the networks take them, float32 in [0, 1].

        Args:
            x: floats in [0, 1], or integers of the model's `value_range`.
            argument: the argument's name in errors.
            shape: `(H, W, C)` that they must have, None for any; that of the training if it is None.

        Raises:
            InputError: images of another shape or range.
        """
        x = check_images(x, shape or self.model.image_shape, argument, self.model.value_range)
        if x.dtype.kind in "iu" and self.model.value_range is None and x.max() == 1:  # a dark image may be so
            warnings.warn(
                f"{argument} holds integers of 0 and 1 alone, which are almost black in 0..255. "
                f"Pass bits as {argument}.astype('float32').",
                stacklevel=3,
            )
        return as_float32(x, self.model.value_range)

    # ---- labels ----

    def check_targets(self, y: Any, count: int, argument: str, images: np.ndarray | None = None) -> None:
        """Raise unless the labels of a training will do; a model without labels ignores them.

        Args:
            y: labels `(B,)`, or None. For a model without labels also the images themselves, as is usual for
                autoencoders in Keras.
            count: B.
            argument: the argument's name in the error.
            images: `(B, H, W, C)`.
        """
        condition = self.model.condition
        if condition.num_classes is not None:
            if y is None:
                unknown = ", -1 where they are not known" if condition.unlabelled else ""
                raise InputError(
                    f"{argument} must be given: classes of 0 to {condition.num_classes - 1}{unknown}."
                )
            check_labels(y, count, condition.num_classes, argument, unlabelled=condition.unlabelled)
            return
        if y is None:
            return
        y = numbers(y, argument, "biuf", "labels (B,)")
        if y.ndim > 2:
            if images is None or y.shape != images.shape or not np.array_equal(y, images):
                raise InputError(f"{argument} {NO_TARGETS}")
        elif y.ndim == 2 and y.shape[1] > 1:
            raise InputError(self._takes_no_labels(argument, y.shape))
        else:
            check_labels(y, count, argument=argument)

    def check_classes(self, x: Any, y: Any) -> None:
        """Raise unless the labels of a training, which passed `checked`, have an image of every class."""
        if self.model.condition.unlabelled and isinstance(x, (np.ndarray, Batches)):
            labels = x.y if isinstance(x, Batches) else y
            check_every_class(np.asarray(labels), self.model.num_classes or 0, "y")

    def _takes_no_labels(self, argument: str, shape: Sequence[int | None]) -> str:
        return (
            f"{argument} must be left out, or be labels (B,) or x itself: {type(self.model).__name__} takes "
            f"no labels; received the shape {tuple(shape)}."
        )

    # ---- datasets, loaders and generators, while they are used ----

    def check_batch(self, x: Any, y: Any) -> None:
        """Raise unless a batch of a dataset, loader or generator has the form that the model takes."""
        if isinstance(x, (Mapping, tuple, list)):
            raise InputError(f"x must be images; received {_kind(x)}.")
        shape, image_shape = _shape_of(x), self.model.image_shape
        fits = len(shape) == 4 and all(
            size in (None, wanted) for size, wanted in zip(shape[1:], image_shape, strict=True)
        )
        if not fits:
            hint = " Batch the dataset first." if len(shape) == 3 else ""
            raise InputError(
                f"x must be batches of images (B, H, W, C) = (B, {', '.join(map(str, image_shape))}); "
                f"received {shape}.{hint}"
            )
        if y is None:
            return
        labels = _shape_of(y)
        if self.model.num_classes is None:
            if len(labels) > 2 and labels[1:] != shape[1:]:
                raise InputError(f"y {NO_TARGETS}")
            if len(labels) == 2 and labels[1] != 1:
                raise InputError(self._takes_no_labels("y", labels))
        elif len(labels) != 1 and labels[1:] != (1,):
            raise InputError(not_one_label_each("y", labels))

    def check_extremes(self, found: Mapping[str, float], watched: bool) -> None:
        """Raise unless the extremes of the batches so far will do.

        Args:
            found: what `Seen` has noted.
            watched: whether a `Monitor` sees to values that are not finite.
        """
        value_range = self.model.value_range
        if "high" in found and not (watched and not np.isfinite(found["high"])):
            check_extremes(found["low"], found["high"], False, "x")
        if "whole_high" in found:
            low, high = round(found["whole_low"]), round(found["whole_high"])
            check_extremes(low, high, True, "x", value_range)
            if high == 1:
                check_brightness(high, True, "x", value_range)
        least = found.get("weight_low", 0.0)
        if least < 0 and not (watched and least == -np.inf):
            raise InputError("sample_weight must hold finite numbers of at least 0; received others.")
        if found.get("difference", 0.0) > 0.0:
            raise InputError(f"y {NO_TARGETS}")
        if "label_high" not in found:
            return
        if not found["label_fraction"] == 0.0:
            raise InputError("y must hold whole numbers; received others.")
        if self.model.condition.label_range is not None:
            low, high = self.model.condition.label_range
            check_label_extremes(found["label_low"], found["label_high"], high + 1, unlabelled=low < 0)

    def warn_of_extremes(self, found: Mapping[str, float]) -> None:
        """Warn of extremes that are allowed, and hardly meant."""
        if "high" in found:
            check_brightness(found["high"], False, "x")
        if "whole_high" in found:
            check_brightness(round(found["whole_high"]), True, "x", self.model.value_range)


def by_parts(verb: Callable[P, R]) -> Callable[P, R]:
    """Let a verb on images take stored ones: it is run on one part after another.

    The verb's first argument is the model. The images, its argument `x` or `images`, and all else that has as
    many rows, are cut alike. What the verb gives has a row for each image: an array, or a dictionary of them.
    """
    form = inspect.signature(verb)

    @functools.wraps(verb)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        bound = form.bind(*args, **kwargs)
        images: Any = bound.arguments.get("x" if "x" in form.parameters else "images")
        if not is_stored(images):
            return verb(*args, **kwargs)
        bound.apply_defaults()
        given, found = dict(bound.arguments), []
        for rows in parts_of(images, given.get("batch_size", 1)):
            for name, value in given.items():
                whole = not isinstance(value, (np.ndarray, list, tuple)) and not is_stored(value)
                if not whole and name != "mask" or name == "mask" and np.ndim(value) == 3:
                    value = value[rows] if len(value) == len(images) else value
                bound.arguments[name] = value
            found.append(verb(*bound.args, **bound.kwargs))
        return _joined(found)

    return run


def _joined(parts: Sequence[Any]) -> Any:
    """Arrays joined along their first axis; dictionaries of arrays, array by array."""
    if isinstance(parts[0], dict):
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return None if parts[0] is None else np.concatenate(parts)


def check_source(x: Any, argument: str = "x") -> None:
    """Raise unless x, which is no array, can be a dataset, loader or generator."""
    if isinstance(x, (str, bytes, set, frozenset, range)) or not isinstance(
        x, (Iterable, keras.utils.PyDataset)
    ):
        raise InputError(
            f"{argument} must be images, or a dataset, loader or generator of them; "
            f"received a {type(x).__name__}."
        )


def is_array(x: Any) -> bool:
    """Whether x holds images itself: an array, a tensor, or a list of images."""
    return isinstance(x, (list, tuple)) or ops.is_tensor(x) or hasattr(x, "__array__")


def first_two(data: Any) -> tuple[Any, Any]:
    """x and y of a batch."""
    if isinstance(data, (tuple, list)):
        return (*data, None)[:2]
    return data, None


def _plain(y: Any) -> Any:
    """Labels as an array, a tensor as it is."""
    return y if ops.is_tensor(y) else np.asarray(y)


def _shape_of(x: Any) -> tuple[int | None, ...]:
    """Shape of a tensor; `()` where even the number of axes is unknown, as TensorFlow has it at times."""
    return tuple(x.shape) if hasattr(x, "shape") and known_rank(x) else ()


def _kind(x: Any) -> str:
    """What x is, and what to do with it, in words."""
    if isinstance(x, Mapping):
        pair = ", ".join(f"row[{name!r}]" for name in ("image", "label") if name in x)
        hint = f" Use dataset.map(lambda row: ({pair}))." if "image" in x else ""
        return f"a dictionary of {', '.join(map(repr, x))}.{hint}".removesuffix(".")
    if isinstance(x, (tuple, list)):
        return f"a {type(x).__name__} of {len(x)}; a dataset gives (x,) or (x, y)"
    return f"a {type(x).__name__}"
