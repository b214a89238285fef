"""What every model with a latent code offers: the verbs, the prior, the condition, the seed."""

import contextlib
import inspect
import math
import os
import pathlib
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self

import keras
import numpy as np
from keras import ops
from numpy.typing import ArrayLike

from keras_vaegan import memory
from keras_vaegan.backend import Seeds, predict
from keras_vaegan.data.batches import Batches
from keras_vaegan.data.checks import (
    BYTES,
    check_brightness,
    check_extremes,
    check_images,
    check_label_extremes,
    check_labels,
    check_value_range,
    check_weights,
    not_one_label_each,
    numbers,
)
from keras_vaegan.data.images import as_float32
from keras_vaegan.distributions import LOG_2PI
from keras_vaegan.errors import InputError, choose, flag, shown, whole_number
from keras_vaegan.kinds import check_facts
from keras_vaegan.training.inputs import Guard
from keras_vaegan.training.multi_player import MultiPlayerModel
from keras_vaegan.typing import UNCONDITIONAL, Condition, Tensor

NOISE_BLOCK = 256
NO_TARGETS = "must be labels, x itself or None: the model reconstructs x; received other images."
LARGEST_SEED = 2**31 - 1  # that every backend takes for a model's own randomness
NUM_WEIGHED = 10_000  # images that are in memory at a time for the importance-weighted bound


def prior_noise(num_images: int, shape: Sequence[int], seed: int, start: int = 0) -> np.ndarray:
    """Standard normal noise `(num_images, *shape)` float32 for images `start`, `start + 1`, ...

    Row i depends on `seed` and i alone: it is drawn in NumPy in fixed blocks, so it is the
    same whatever the number of images, the batch size or the backend.
    """
    first, last = start // NOISE_BLOCK, -(-(start + num_images) // NOISE_BLOCK)
    blocks = [
        np.random.default_rng([seed, block]).standard_normal((NOISE_BLOCK, *shape), dtype="float32")
        for block in range(first, last)
    ]
    offset = start - first * NOISE_BLOCK
    return np.concatenate(blocks)[offset : offset + num_images]


def feed(network: keras.Model, own: str, value: Tensor, condition: Condition) -> Any:
    """Inputs of a network: `value`, or a dictionary of it under its `own` name and what else it takes."""
    if not isinstance(network.input, dict):
        return value
    return {name: value if name == own else condition[name] for name in network.input}


def input_of(network: keras.Model, own: str) -> Tensor:
    """The symbolic input of that name of a network, or its only one."""
    return network.input[own] if isinstance(network.input, dict) else network.input


def some_classes(labels: ArrayLike) -> np.ndarray:
    """One class or several as an array, or raise where there is none; they are not checked further."""
    labels = np.atleast_1d(numbers(labels, "labels", "iuf", "whole numbers (B,)"))
    if not len(labels):
        raise InputError("labels must hold at least one class; received none.")
    return labels


def as_functional(argument: str, network: Any) -> Any:
    """A network whose inputs and outputs Keras knows: the functional model itself, or that of a Sequential.

    The layers of a Sequential model are shared. Raises `InputError` for other objects; `argument` names it.
    """
    if not isinstance(network, keras.Model):
        raise InputError(f"{argument} must be a Keras model; received a {type(network).__name__}.")
    if isinstance(network, keras.Sequential):
        try:
            return keras.Model(network.inputs[0], network.outputs[0], name=network.name)
        except (AttributeError, ValueError, TypeError):
            raise InputError(
                f"{argument} must know its input: begin the Sequential model with keras.Input(shape)."
            ) from None
    try:
        if network.input is not None and network.output is not None:
            return network
    except (AttributeError, ValueError):
        pass
    raise InputError(
        f"{argument} must be a functional or Sequential model; received a {type(network).__name__}. "
        "Wrap it: keras.Model(inputs, network(inputs))."
    )


def is_seed(variable: keras.Variable, own: keras.Variable) -> bool:
    """Whether a variable is the state of a seed generator other than `own`."""
    return variable is not own and variable.path.endswith("seed_generator_state")


class _Presets:
    """`Model.presets`: the recipes of that class, with what they give and whether weights are there."""

    def __get__(self, instance: Any, owner: type[Any]) -> dict[str, dict[str, Any]]:
        from keras_vaegan import presets
        from keras_vaegan.models import MODELS

        trained = presets.trained_presets()
        return {
            name: {
                "dataset": recipe["training"]["dataset"],
                "expect": recipe["expect"],
                "source": recipe["source"],
                "weights": name in trained,
            }
            for name, recipe in presets.RECIPES.items()
            if MODELS[recipe["model"]["key"]] is owner
        }


class LatentVariableModel(MultiPlayerModel):
    """A model with codes z of dimension Z and images x: p(x, z|c) and q(z|x, c).

    A subclass gives, on tensors: `posterior(x, c)` and, where it is learned, `prior(c)` ->
    distributions of z, `likelihood(z, c)` -> distribution of x, and `observed(logits)`, the latter
    from the decoder's outputs. From these come the verbs on arrays, in batches: `encode`, `decode`,
    `reconstruct`, `generate`, `interpolate`, `log_likelihood`.

    The condition c is a dictionary, empty here; a subclass that has one gives `condition`, from the
    verbs' arguments, and `draw_condition`, in training.
    """

    if TYPE_CHECKING:  # what a subclass gives
        encoder: keras.Model
        decoder: keras.Model

        @property
        def image_shape(self) -> tuple[int, ...]: ...

        @property
        def latent_dim(self) -> int: ...

        def posterior(
            self, x: Tensor, condition: Condition = UNCONDITIONAL, training: bool = False
        ) -> Any: ...

        def likelihood(
            self, z: Tensor, condition: Condition = UNCONDITIONAL, training: bool = False
        ) -> Any: ...

        def observed(self, logits: Tensor) -> Any: ...

    presets = _Presets()
    """The recipes of the class: `{name: {"dataset", "expect", "source", "weights"}}`, the last whether
    weights come with the package."""
    binarize = False

    def __init__(
        self, seed: int | None = None, value_range: Sequence[int] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.seed = None if seed is None else whole_number("seed", seed, 0)
        if seed is not None and seed > LARGEST_SEED:
            raise InputError(f"seed must be an integer of 0 to {LARGEST_SEED}; received {seed}.")
        self.value_range = check_value_range(value_range)
        self.preset_metadata: dict[str, Any] = {}
        self.seed_generator = Seeds(self.seed)

    # ---- presets ----

    @classmethod
    def from_preset(
        cls,
        preset: str | os.PathLike[str],
        load_weights: bool | Literal["compatible"] = True,
        image_shape: Sequence[int] | None = None,
        num_classes: int | None = None,
        seed: int | None = None,
    ) -> Self:
        """A compiled model from a preset: a name (see `presets`), a folder or `hf://user/name`.

        Args:
            preset: a folder that exists wins over a name.
            load_weights: True for the trained weights (a warning says so where there are none),
                False for new ones, `"compatible"` for those of the same path and shape.
            image_shape: `(H, W, C)`, for a model of another size from the same recipe.
            num_classes: for a model of other labels from the same recipe.
            seed: of the model's own randomness, where it is new.
        """
        from keras_vaegan.presets import from_preset

        model = from_preset(preset, load_weights, image_shape, num_classes, seed)
        if not isinstance(model, cls):
            raise InputError(f"preset must be of a {cls.__name__}; {preset} is of a {type(model).__name__}.")
        return model

    def save_to_preset(
        self, folder: str | os.PathLike[str], metadata: dict[str, Any] | None = None, half: bool = False
    ) -> None:
        """Write the model, without its optimizers, as a folder that `from_preset` takes.

        Args:
            folder: made if missing; an older preset in it is replaced.
            metadata: more of what is known of the model, as `dataset`, `licence` or `results`.
            half: whether the weights are written in float16.

        Raises:
            InputError: a file in the folder's place, an address, or metadata that JSON cannot hold.
        """
        from keras_vaegan.models import MODELS
        from keras_vaegan.presets import save_folder
        from keras_vaegan.presets.recipes import HUB

        if os.fsdecode(folder).startswith(HUB):
            raise InputError(
                f"folder must be one of this machine; received {os.fspath(folder)!r}. Upload it then."
            )
        if pathlib.Path(folder).is_file():
            raise InputError(f"folder must be a folder; {os.fspath(folder)!r} is a file.")
        if not isinstance(metadata, dict | None):
            raise InputError(f"metadata must be a dictionary; received {type(metadata).__name__}.")
        check_facts(metadata or {}, "metadata:")  # as they are when the preset is read
        key = next((key for key, model in MODELS.items() if model is type(self)), type(self).__name__)
        kind = "completion" if self.completes else "conditional" if self.num_classes else ""
        key = f"{kind}_{key}" if f"{kind}_{key}" in MODELS else key
        known = {
            "model": key,
            "image_shape": list(self.image_shape),
            "num_classes": self.num_classes,
        }
        save_folder(self, folder, self.preset_metadata | known | (metadata or {}), half)

    # ---- export ----

    def export(
        self,
        filepath: str | os.PathLike[str],
        format: str = "tf_saved_model",
        verbose: bool | None = None,
        input_signature: None = None,
        **kwargs: Any,
    ) -> None:
        """Write the model so that it runs without Keras, as `keras.Model.export` does.

        What is written are functions: `generate`, `encode`, `decode`, `reconstruct`, and where the model can,
        `complete`, `transfer_style`, `classify` and `canvases`, each with named inputs and outputs. Noise is
        an input.

        Args:
            filepath: what to make. For `litert` and `onnx` a file with the ending of its format holds one
                function, and a path without an ending becomes a folder with a file for each.
            format: `tf_saved_model`, `litert` or `onnx`; `web`, a folder for a browser; `saved_model` and
                `tflite` are other names of the first two.
            verbose: whether to print what was written; None is yes.
            input_signature: None: the functions' own.
            **kwargs: `signature`, the function to write; `overwrite`; for `litert` `precision`, of `float32`,
                `float16` and `int8`, and `data`, images or images and labels, that `int8` needs; `imports`,
                modules of layers of your own, where the backend is not TensorFlow; `serving`, a name, for the
                layout of TensorFlow Serving; for `web` `runtime`, a folder with ONNX Runtime Web.

        Raises:
            InputError: bad arguments, something at `filepath` already, a package that is missing.
        """
        from keras_vaegan.export import export

        if input_signature is not None:
            raise InputError(
                f"input_signature must be None: functions have their own; received {input_signature}."
            )
        self.synchronize()
        made = export(self, filepath, format, **kwargs)
        if verbose is not False:
            print(f"wrote {made}")

    # ---- saving ----

    def save_own_variables(self, store: Any) -> None:
        """Keras saves no seed states; without them a loaded model would repeat its noise."""
        super().save_own_variables(store)
        for name, state in self._seed_states().items():
            store[name] = ops.convert_to_numpy(state)

    def load_own_variables(self, store: Any) -> None:
        """Restore what `save_own_variables` wrote."""
        store = {name: store[name] for name in store.keys()}
        saved = {name: store.pop(name) for name in list(store) if name.startswith("seed_state")}
        for name, state in self._seed_states().items():
            if name in saved:  # an older file may have fewer
                state.assign(saved[name])
        super().load_own_variables(store)

    def _seed_states(self) -> dict[str, keras.Variable]:
        """`seed_state` of the model, and `seed_state_0`, ... of the layers that draw noise."""
        own = self.seed_generator.state
        nested = [variable for variable in self.non_trainable_variables if is_seed(variable, own)]
        return {"seed_state": own} | {f"seed_state_{i}": state for i, state in enumerate(nested)}

    # ---- on tensors ----

    def as_images(self, x: Tensor) -> Tensor:
        """Images as float in [0, 1]: integers are scaled from `value_range`, 0 to 255 if that is None."""
        x = ops.convert_to_tensor(x)
        if "int" in keras.backend.standardize_dtype(x.dtype):
            low, high = self.value_range or BYTES
            return (ops.cast(x, "float32") - low) / (high - low)
        return ops.cast(x, "float32")

    def as_observed(self, x: Tensor) -> Tensor:
        """What the bound is of: the images, or bits drawn from them where the model wants bits."""
        if not self.binarize:
            return x
        u = keras.random.uniform(ops.shape(x), dtype="float32", seed=self.seed_generator)
        return ops.cast(u < x, "float32")

    def prior(self, condition: Condition = UNCONDITIONAL, training: bool = False) -> Any:
        """p(z|c), or None for the standard normal distribution."""
        return None

    def placed_noise(
        self, noise: Tensor, condition: Condition = UNCONDITIONAL, training: bool = False
    ) -> Tensor:
        """Where standard normal noise `(B, ...)` comes to lie in the prior: codes `(B, ...)`."""
        prior = self.prior(condition, training)
        return noise if prior is None else prior.place(noise)

    def prior_sample(self, batch_size: int, prior: Any = None) -> Tensor:
        """Codes `(B, Z)` from the prior: what `prior` gave, N(0, I) if None."""
        if prior is not None:
            return prior.sample(self.seed_generator)
        return keras.random.normal((batch_size, *self.code_shape), dtype="float32", seed=self.seed_generator)

    def draw_condition(self, x: Tensor, y: Tensor | None) -> Condition:
        """The condition of a batch in training, from its images and labels."""
        return {}

    def with_visible(self, images: Tensor, condition: Condition) -> Tensor:
        """Images with the pixels that were given put back, where some were."""
        return images

    def log_prob(self, p: Any, x: Tensor, condition: Condition) -> Tensor:
        """log p(x|z, c) in nats, `(B,)`, of what is not given."""
        return p.log_prob(x)

    def call(self, x: Tensor | Mapping[str, Tensor], training: bool = False) -> Tensor:
        """Reconstruction in pixels `(B, H, W, C)`: the mean of p(x|z, c) at the mean of q(z|x, c).

        Args:
            x: images, or a dictionary of `images` and the condition, `labels` one-hot.
            training: as Keras has it.
        """
        condition = dict(x) if isinstance(x, Mapping) else {"images": x}
        x = self.as_images(condition.pop("images"))
        z = self.posterior(x, condition, training).mean
        return self.with_visible(self.likelihood(z, condition, training).mean, condition)

    # ---- training, on Keras' verbs ----

    def fit(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """Train, as `keras.Model.fit`.

        Averages of the weights (`use_ema` of an optimizer) take their place at the end unless they are young:
        before 3 / (1 - momentum) steps they are still made of the weights that training began with.

        Args:
            x: images `(B, H, W, C)`, floats in [0, 1] or integers of `value_range`: an array, a tensor or a
                list of images; or a dataset, loader or generator of batches `(x,)`, `(x, y)` or
                `(x, y, sample_weight)`.
            y: class labels `(B,)`. A model without labels does not look at them; y may also be x itself.
            *args, **kwargs: as Keras has them. `sample_weight` `(B,)` weighs losses and logs.

        Raises:
            InputError: images or labels of another shape or range; `trainable` has changed since `compile`.
                Arrays are checked first. A dataset, loader or generator is checked after its first batch,
                the model then is as before; and every hundred batches.
        """
        self.check_compiled()
        given = by_name("fit", x, y, *args, **kwargs)
        given |= self._checked(given["x"], given["y"], given.get("sample_weight"))
        if isinstance(given["x"], Batches):
            given.setdefault("shuffle", False)  # it has an order of its own, which can be resumed
        if isinstance(given["x"], (np.ndarray, Batches)):
            labels = given["x"].y if isinstance(given["x"], Batches) else given["y"]
            self.check_training_labels(labels)
        validation = given.get("validation_data")
        if isinstance(validation, (tuple, list)):
            x, y, weights = keras.utils.unpack_x_y_sample_weight(tuple(validation))
            known = self._checked(x, y, weights, "validation_data: ")
            given["validation_data"] = (known["x"], known["y"], known["sample_weight"])
        elif validation is not None and not isinstance(validation, keras.utils.PyDataset):
            if is_array(validation):
                raise InputError("validation_data must be (x,) or (x, y); received an array.")
        elif validation is not None:
            self._checked(validation, None, None, "validation_data: ")
        unchecked = not isinstance(given["x"], (np.ndarray, Batches))
        if unchecked:
            given["callbacks"] = [Guard(), *keras.tree.flatten(given.get("callbacks") or [])]
        with self._guarding(unchecked):
            return super().fit(**given)

    def evaluate(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """The means of the logs, as `keras.Model.evaluate`, weighted if there is a `sample_weight` `(B,)`.

        Args:
            x, y, *args, **kwargs: as for `fit`.

        Raises:
            InputError: as of `fit`.
        """
        given = by_name("evaluate", x, y, *args, **kwargs)
        given |= self._checked(given["x"], given["y"], given.get("sample_weight"))
        with self._guarding(not isinstance(given["x"], (np.ndarray, Batches))):
            result = super().evaluate(**given)
        self.check_seen(training=False)
        return result

    @contextlib.contextmanager
    def _guarding(self, unchecked: bool) -> Iterator[None]:
        """Say whether batches have to be looked at while they are used."""
        before, self.guarded = self.guarded, unchecked
        try:
            yield
        finally:
            self.guarded = before

    def predict(
        self,
        x: Any,
        *args: Any,
        labels: ArrayLike | None = None,
        mask: str | ArrayLike | None = None,
        **kwargs: Any,
    ) -> np.ndarray:
        """Reconstruct, as `keras.Model.predict`: `(B, H, W, C)` in [0, 1].

        Args:
            x: images, or a dataset, loader or generator of `(x,)` or `(x, y)`; a model that is conditioned on
                classes takes y as its labels.
            labels, mask: as for `encode`, beside images.
            *args, **kwargs: Keras'.

        Raises:
            InputError: as of `encode`.
        """
        if isinstance(x, Mapping):
            return super().predict(self._checked_inputs(x), *args, **kwargs)
        if is_array(x):
            return super().predict(self._inputs(x, labels, mask), *args, **kwargs)
        check_source(x)
        if labels is not None or mask is not None:
            raise InputError(
                "labels and mask must be None unless x holds images: a dataset has its own labels."
            )
        given = by_name("predict", None, *args, **kwargs)
        with contextlib.suppress(TypeError):  # of an unknown or no length: until it ends
            given.setdefault("steps", len(x))
        del given["y"]
        return super().predict(**given | {"x": self._inputs_of_batches(x)})

    def train_on_batch(self, x: Any, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """One step, as `keras.Model.train_on_batch`; a batch that will not do raises `InputError` first."""
        self.check_compiled()
        return super().train_on_batch(**self._checked_batch("train_on_batch", x, y, *args, **kwargs))

    def test_on_batch(self, x: Any, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """The logs of a batch, as `keras.Model.test_on_batch`; checked as in `train_on_batch`."""
        return super().test_on_batch(**self._checked_batch("test_on_batch", x, y, *args, **kwargs))

    def predict_on_batch(
        self, x: Any, labels: ArrayLike | None = None, mask: str | ArrayLike | None = None
    ) -> Any:
        """Reconstruct a batch, as `keras.Model.predict_on_batch`; labels and mask as for `encode`."""
        inputs = self._checked_inputs(x) if isinstance(x, Mapping) else self._inputs(x, labels, mask)
        return super().predict_on_batch(inputs)

    def _checked_batch(self, verb: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        given = by_name(verb, *args, **kwargs)
        if not is_array(given["x"]):
            raise InputError(f"x must be a batch of images; received {_kind(given['x'])}.")
        return given | self._checked(given["x"], given["y"], given.get("sample_weight"), whole=False)

    def _checked_inputs(self, x: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """The dictionary that `call` takes, checked: images, and the condition as the networks take it."""
        condition = self._condition_inputs
        if set(x) != {"images", *condition}:
            names = ", ".join(["images", *condition])
            raise InputError(f"x must be images, or a dictionary of {names}; received {_kind(x)}.")
        images = check_images(x["images"], self.image_shape, "images", self.value_range)
        checked = {"images": images}
        for name, tensor in condition.items():
            value = numbers(x[name], name, "biuf", "numbers").astype("float32")
            shape = (len(images), *tensor.shape[1:])
            if value.shape != shape or not np.isfinite(value).all():
                raise InputError(f"{name} must be finite numbers {shape}; received the shape {value.shape}.")
            checked[name] = value
        return checked

    @property
    def _condition_inputs(self) -> dict[str, Tensor]:
        """The symbolic inputs of the decoder for the condition, by name."""
        return {}

    def _inputs(self, x: Any, labels: ArrayLike | None, mask: str | ArrayLike | None) -> Any:
        """What `call` takes, from images and the verbs' arguments."""
        x = check_images(x, self.image_shape, "x", self.value_range)
        condition = self.condition(len(x), labels, x, mask)
        return {"images": x, **condition} if condition else x

    def _inputs_of_batches(self, source: Any) -> Iterator[Any]:
        """What `call` takes, batch by batch, from a dataset, loader or generator."""
        if isinstance(source, keras.utils.PyDataset):
            batches = (source[i] for i in range(source.num_batches or 0))
        else:
            batches = iter(source)
        for batch in batches:
            x, y = _first_two(batch)
            self.check_batch(x, y)
            yield (self._inputs(x, None if self.label_range is None else y, None),)

    def _checked(self, x: Any, y: Any, weights: Any, prefix: str = "", whole: bool = True) -> dict[str, Any]:
        """x, y and sample weights as Keras is to have them, arrays of them checked.

        Lists become arrays. `whole` says that these are all images of a training or evaluation, not a batch.
        """
        if isinstance(x, Batches):
            check_images(x.x[:1], self.image_shape, f"{prefix}x", x.value_range)  # the rest it has checked
            self.check_targets(x.y, len(x.x), f"{prefix}y")
        elif isinstance(x, keras.utils.PyDataset):  # of the first batch at least, which costs little
            self._check_first(x[0], prefix)
        elif isinstance(x, Mapping):
            raise InputError(f"{prefix}x must be images; received {_kind(x)}.")
        elif is_array(x):
            images = check_images(x, self.image_shape, f"{prefix}x", self.value_range)
            x = x if ops.is_tensor(x) else images
            if whole:
                check_brightness(images.max(), images.dtype.kind in "iu", f"{prefix}x", self.value_range)
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
        return {"x": x, "y": y, "sample_weight": weights}

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
        images = check_images(x, self.image_shape, f"{prefix}x of the first batch", self.value_range)
        self.check_targets(y, len(images), f"{prefix}y of the first batch", images)
        if weights is not None:
            check_weights(weights, len(images), f"{prefix}sample_weight of the first batch")

    def check_targets(self, y: Any, count: int, argument: str, images: np.ndarray | None = None) -> None:
        """Raise unless the labels of a training will do; a model that takes none does not look at them.

        Args:
            y: labels `(B,)`, or None. For a model without labels also the images themselves, as is usual for
                autoencoders in Keras.
            count: B.
            argument: the argument's name in the error.
            images: `(B, H, W, C)`.
        """
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

    def _takes_no_labels(self, argument: str, shape: Sequence[int | None]) -> str:
        return (
            f"{argument} must be left out, or be labels (B,) or x itself: {type(self).__name__} takes no "
            f"labels; received the shape {tuple(shape)}."
        )

    # ---- what comes from datasets, loaders and generators ----

    @property
    def label_range(self) -> tuple[int, int] | None:
        """The smallest and the largest label of a training; None for a model that takes no labels."""
        return None

    def check_batch(self, x: Any, y: Any) -> None:
        """Raise unless a batch of a dataset, loader or generator has the form that the model takes."""
        if isinstance(x, (Mapping, tuple, list)):
            raise InputError(f"x must be images; received {_kind(x)}.")
        shape = _shape_of(x)
        fits = len(shape) == 4 and all(
            size in (None, wanted) for size, wanted in zip(shape[1:], self.image_shape, strict=True)
        )
        if not fits:
            hint = " Batch the dataset first." if len(shape) == 3 else ""
            raise InputError(
                f"x must be batches of images (B, H, W, C) = (B, {', '.join(map(str, self.image_shape))}); "
                f"received {shape}.{hint}"
            )
        if y is None:
            return
        labels = _shape_of(y)
        if self.label_range is None:
            if len(labels) > 2 and labels[1:] != shape[1:]:
                raise InputError(f"y {NO_TARGETS}")
            if len(labels) == 2 and labels[1] != 1:
                raise InputError(self._takes_no_labels("y", labels))
        elif len(labels) != 1 and labels[1:] != (1,):
            raise InputError(not_one_label_each("y", labels))

    def check_seen(self, training: bool) -> None:
        seen = self._seen_in_training if training else self._seen_in_test
        if seen is None:
            return
        found = seen.read()
        try:
            if "high" in found:
                watched = self._watch is not None and not np.isfinite(found["high"])  # `Monitor` sees to it
                if not watched:
                    check_extremes(found["low"], found["high"], False, "x")
            if "whole_high" in found:
                low, high = round(found["whole_low"]), round(found["whole_high"])
                check_extremes(low, high, True, "x", self.value_range)
                if high == 1:
                    check_brightness(high, True, "x", self.value_range)
            least = found.get("weight_low", 0.0)
            if least < 0 and not (self._watch is not None and least == -np.inf):
                raise InputError("sample_weight must hold finite numbers of at least 0; received others.")
            if found.get("difference", 0.0) > 0.0:
                raise InputError(f"y {NO_TARGETS}")
            if "label_high" in found:
                self._check_seen_labels(found)
        except InputError:
            seen.forget()
            raise

    def warn_of_seen(self) -> None:
        """Warn of what a training has seen that is allowed, and hardly meant."""
        found = {} if self._seen_in_training is None else self._seen_in_training.read()
        if "high" in found:
            check_brightness(found["high"], False, "x")
        if "whole_high" in found:
            check_brightness(round(found["whole_high"]), True, "x", self.value_range)

    def _check_seen_labels(self, found: Mapping[str, float]) -> None:
        if not found["label_fraction"] == 0.0:
            raise InputError("y must hold whole numbers; received others.")
        if self.label_range is None:
            return
        low, high = self.label_range
        check_label_extremes(found["label_low"], found["label_high"], high + 1, unlabelled=low < 0)

    @property
    def code_shape(self) -> tuple[int, ...]:
        """Shape of the code of one image, `(Z,)`."""
        return (self.latent_dim,)

    def check_training_labels(self, y: Any) -> None:
        """Raise unless labels that passed `check_targets` are enough to train on."""

    # ---- the condition, on arrays ----

    @property
    def num_classes(self) -> int | None:
        """K, the classes that the model is conditioned on; None where it takes no labels."""
        return None

    @property
    def completes(self) -> bool:
        """Whether the model is conditioned on part of the image."""
        return False

    def condition(
        self,
        count: int,
        labels: ArrayLike | None = None,
        images: ArrayLike | None = None,
        mask: str | ArrayLike | None = None,
    ) -> dict[str, np.ndarray]:
        """The condition of `count` images as the networks take it, from the verbs' arguments.

        Args:
            count: B.
            labels: classes, `(B,)`, for a model that is conditioned on them.
            images: `(B, H, W, C)`, float in [0, 1] or uint8, of which a model that completes images is given
                a part.
            mask: which part, see `encode`.

        Raises:
            InputError: what the model does not take, or not in that form.
        """
        for name, value in (("labels", labels), ("mask", mask)):
            if value is not None:
                raise InputError(f"{name} must be None: {type(self).__name__} is not conditioned on any.")
        return {}

    def labels_of(self, y: ArrayLike | None, x: ArrayLike | None = None) -> np.ndarray | None:
        """The labels to hand to a verb: None where the model takes none.

        Args:
            y: labels `(B,)`, -1 where they are not known, or None.
            x: the images `(B, H, W, C)`, of which the model tells the classes that are not known.
        """
        return None

    # ---- the verbs, on arrays ----

    # `labels` are whole numbers `(B,)`, for models that are conditioned on classes. `mask` says what
    # is given, for models that complete images: a name, `(H, W)` or `(B, H, W)`, True is visible.

    def encode(
        self,
        x: ArrayLike,
        labels: ArrayLike | None = None,
        mask: str | ArrayLike | None = None,
        sample: bool = False,
        seed: int | None = None,
        batch_size: int = 128,
    ) -> np.ndarray:
        """Codes of images.

        Args:
            x: images `(B, H, W, C)`, float in [0, 1] or uint8.
            labels: their classes, `(B,)`, for a model that is conditioned on them.
            mask: what is given, for a model that completes images: `left`, `quadrants:2` and the like, or
                an array `(H, W)` or `(B, H, W)`, True where visible; nothing if None.
            sample: a draw from q(z|x) in place of its mean.
            seed: of the draw.
            batch_size: images encoded at a time.

        Returns:
            `(B, Z)` float32.

        Raises:
            InputError: images of another shape or range, labels that are none of the model's classes, a mask
                that is none; as of all verbs.
        """
        sample, seed = flag("sample", sample), as_seed(seed)
        q = self.posterior_parameters(x, labels, mask, batch_size)
        if not sample:
            return q["mean"]
        noise = prior_noise(len(q["mean"]), q["mean"].shape[1:], seed)
        return placed((q["mean"], q["log_variance"]), noise)

    def posterior_parameters(
        self,
        x: ArrayLike,
        labels: ArrayLike | None = None,
        mask: str | ArrayLike | None = None,
        batch_size: int = 128,
    ) -> dict[str, np.ndarray]:
        """Mean and log-variance of q(z|x): `{"mean", "log_variance"}`, `(B, Z)` float32; see `encode`."""
        x = self._array(x)
        condition = self.condition(len(x), labels, x, mask)
        return self._encoded(x, condition, batch_size)

    def prior_parameters(
        self, condition: Condition, count: int, batch_size: int = 128
    ) -> dict[str, np.ndarray]:
        """Mean and log-variance of p(z|c), `{"mean", "log_variance"}`, each `(count, Z)` float32."""
        return dict.fromkeys(("mean", "log_variance"), np.zeros((count, *self.code_shape), "float32"))

    def decode(
        self,
        z: ArrayLike,
        labels: ArrayLike | None = None,
        images: ArrayLike | None = None,
        mask: str | ArrayLike | None = None,
        batch_size: int = 128,
    ) -> np.ndarray:
        """Images in pixels `(B, H, W, C)` float32 from codes `z` `(B, Z)`: the mean of p(x|z).

        Args:
            z: codes `(B, Z)`.
            labels: classes `(B,)`, for a model that is conditioned on them.
            images, mask: images of which the visible part is given, for a model that completes them.
            batch_size: images decoded at a time.

        Raises:
            InputError: codes of another shape, and as of `encode`.
        """
        with np.errstate(over="ignore"):  # what is too large becomes infinite, which is refused
            z = numbers(z, "z", "biuf", "codes").astype("float32")
        if not np.isfinite(z).all():
            raise InputError("z must be finite codes; received NaN or infinite values.")
        if z.shape[1:] != self.code_shape or z.ndim == len(self.code_shape):
            shape = ", ".join(map(str, ("B", *self.code_shape)))
            raise InputError(f"z must be codes of shape ({shape}); received {z.shape}.")
        if not len(z):
            raise InputError(f"z must hold at least one code; received the shape {z.shape}.")
        if images is not None:  # without a mask they say nothing, and yet may be wrong
            images = self._array(images, "images")
            if len(images) != len(z):
                raise InputError(f"images must be {len(z)}, as many as the codes; received {len(images)}.")
        return self._decoded(z, self.condition(len(z), labels, images, mask), batch_size)

    def _decoded(self, z: np.ndarray, condition: Condition, batch_size: int) -> np.ndarray:
        logits = self._logits(z, condition, batch_size)
        return ops.convert_to_numpy(self.with_visible(self.observed(logits).mean, condition))

    def reconstruct(
        self,
        x: ArrayLike,
        labels: ArrayLike | None = None,
        mask: str | ArrayLike | None = None,
        batch_size: int = 128,
    ) -> np.ndarray:
        """Reconstructions of images: their codes, the means of q(z|x), decoded.

        Args:
            x, labels, mask, batch_size: as for `encode`.

        Returns:
            `(B, H, W, C)` float32 in [0, 1], as `predict` gives, without its progress bar.
        """
        codes = self.encode(x, labels, mask, batch_size=batch_size)
        return self.decode(codes, labels, x, mask, batch_size)

    def generate(
        self,
        num_images: int,
        labels: ArrayLike | None = None,
        seed: int | None = None,
        start: int = 0,
        batch_size: int = 128,
    ) -> np.ndarray:
        """Images from the prior.

        Args:
            num_images: how many.
            labels: for a model that is conditioned on classes, the ones to show; image i shows
                `labels[i % len(labels)]`. All classes in turn if None.
            seed: integer; the same seed gives the same images. None for other ones each time.
            start: index of the first image; image i depends on the seed and i alone.
            batch_size: images decoded at a time.

        Returns:
            `(num_images, H, W, C)` float32 in [0, 1].

        Raises:
            InputError: no image asked for, a negative seed or start, labels that are no classes of the model.
        """
        num_images, start = whole_number("num_images", num_images, 1), whole_number("start", start, 0)
        seed = as_seed(seed)
        self._require_memory("num_images", num_images, "Make them in parts, by `start`.")
        condition = self.condition(num_images, self.labels_in_turn(num_images, labels, start))
        noise = prior_noise(num_images, self.code_shape, seed, start)
        return self._decoded(self.placed_in_prior(noise, condition, batch_size), condition, batch_size)

    def placed_in_prior(self, noise: np.ndarray, condition: Condition, batch_size: int) -> np.ndarray:
        """Where standard normal noise `(N, Z)` comes to lie in the prior, `(N, Z)` float32."""
        prior = self.prior_parameters(condition, len(noise), batch_size)
        return placed((prior["mean"], prior["log_variance"]), noise)

    def labels_in_turn(
        self, num_images: int, labels: ArrayLike | None = None, start: int = 0
    ) -> np.ndarray | None:
        """Class of images `start`, `start + 1`, ... of `generate`, `(num_images,)`, or None."""
        num_images, start = whole_number("num_images", num_images, 1), whole_number("start", start, 0)
        memory.require(f"num_images={num_images}", 3 * 8 * num_images, "Make them in parts, by `start`.")
        if labels is None:
            if self.num_classes is None:
                return None
            labels = np.arange(self.num_classes)
        labels = some_classes(labels)
        labels = check_labels(labels, len(labels), self.num_classes, "labels", unlabelled=False)
        return labels[(start % len(labels) + np.arange(num_images)) % len(labels)]

    def interpolate(
        self,
        a: ArrayLike,
        b: ArrayLike,
        steps: int = 8,
        path: Literal["linear", "spherical"] = "linear",
        labels: tuple[ArrayLike, ArrayLike] | None = None,
    ) -> np.ndarray:
        """Images on the way from `a` to `b` in the space of codes.

        Args:
            a, b: images `(H, W, C)`, or as many of each, `(B, H, W, C)`.
            steps: images on each way, both ends included, at least 2.
            path: `linear`, or `spherical` (the great arc, lengths interpolated; White 2016).
            labels: classes of `a` and of `b`, for a model that is conditioned on them; the one-hot
                vectors are interpolated linearly.

        Returns:
            `(steps, H, W, C)`, or `(B, steps, H, W, C)`, float32.

        Raises:
            InputError: fewer than two steps, an unknown path, not as many images at both ends, labels
                that are no pair; as of `encode`.
        """
        choose("path", path, ("linear", "spherical"))
        whole_number("steps", steps, 2)
        ends = [numbers(x, name, "biuf", "images") for name, x in (("a", a), ("b", b))]
        for end, name in zip(ends, ("a", "b"), strict=True):
            if end.ndim not in (3, 4) or end.ndim != ends[0].ndim:
                raise InputError(
                    f"{name} must be an image (H, W, C), or images (B, H, W, C) as many as the others; "
                    f"received {end.shape}."
                )
        single = ends[0].ndim == 3
        ends = [end[None] if single else end for end in ends]
        self._require_memory("steps", steps, "Ask for fewer.", images=len(ends[0]))
        if len(ends[0]) != len(ends[1]):
            raise InputError(f"a and b must be as many images; received {len(ends[0])} and {len(ends[1])}.")
        if labels is not None and (not isinstance(labels, (tuple, list)) or len(labels) != 2):
            raise InputError(f"labels must be a pair, the classes of a and of b; received {shown(labels)}.")
        classes = [None, None] if labels is None else [some_classes(y) for y in labels]
        codes = [self.encode(x, y).reshape(len(x), 1, -1) for x, y in zip(ends, classes, strict=True)]
        conditions = [self.condition(len(x), y, x) for x, y in zip(ends, classes, strict=True)]
        t = np.linspace(0.0, 1.0, steps, dtype="float32")
        way = (_arc if path == "spherical" else _line)(codes[0], codes[1], t[None, :, None])
        condition = {}
        for name, start in conditions[0].items():
            axes = (1,) * (start.ndim - 1)
            line = _line(start[:, None], conditions[1][name][:, None], t.reshape(1, -1, *axes))
            condition[name] = line.reshape(-1, *start.shape[1:])
        images = self._decoded(way.reshape(-1, *self.code_shape), condition, batch_size=128)
        images = images.reshape(len(ends[0]), steps, *images.shape[1:])
        return images[0] if single else images

    def log_likelihood(
        self,
        x: ArrayLike,
        labels: ArrayLike | None = None,
        mask: str | ArrayLike | None = None,
        num_samples: int = 100,
        seed: int | None = 0,
        batch_size: int = 128,
    ) -> np.ndarray:
        """Importance-weighted bound on log p(x|c) (Burda et al. 2016, eq. 8).

            log 1/k sum_i p(x|z_i, c) p(z_i|c) / q(z_i|x, c),  z_i ~ q(z|x, c)

        Its mean rises with k towards log p(x|c); at k = 1 it is a draw of the evidence lower bound.

        Args:
            x: images `(B, H, W, C)`, float in [0, 1] or uint8.
            labels: their classes, `(B,)`, for a model that is conditioned on them.
            mask: what is given, for a model that completes images: then the bound is that of the
                pixels that are not.
            num_samples: k, codes drawn for each image.
            seed: of the draws; of bits, too, where they are drawn; image i's depend on the seed and i alone.
            batch_size: codes decoded at a time.

        Returns:
            `(B,)` float64, in nats.

        Raises:
            InputError: no sample asked for, a negative seed, and as of `encode`.
        """
        x, k, seed = self._array(x), whole_number("num_samples", num_samples, 1), as_seed(seed)
        self._require_memory("num_samples", k, "Ask for fewer.")  # of one image at least
        if self.binarize:
            draws = (np.random.default_rng([seed, i, 1]).random(self.image_shape) for i in range(len(x)))
            x = np.stack([u < image for u, image in zip(draws, x, strict=True)]).astype("float32")
        condition = self.condition(len(x), labels, x, mask)
        known = self.proposals(x, condition, batch_size)
        rows, result = max(1, NUM_WEIGHED // k), np.empty(len(x))
        for start in range(0, len(x), rows):
            chunk = slice(start, start + rows)
            noise = [
                np.random.default_rng([seed, image]).standard_normal((k, self.noise_dim))
                for image in range(start, start + len(x[chunk]))
            ]
            # Each image k times, one after the other.
            repeated = {name: np.repeat(value[chunk], k, axis=0) for name, value in condition.items()}
            normals = {
                name: (
                    np.repeat(of["mean"][chunk], k, axis=0),
                    np.repeat(of["log_variance"][chunk], k, axis=0),
                )
                for name, of in known.items()
            }
            images = np.repeat(x[chunk], k, axis=0)
            weights = self.log_weights(images, repeated, normals, np.concatenate(noise), batch_size)
            result[chunk] = np.logaddexp.reduce(weights.reshape(-1, k), axis=1) - np.log(k)
        return result

    @property
    def noise_dim(self) -> int:
        """Standard normal numbers that a draw of all the codes of an image takes."""
        return self.latent_dim

    def proposals(
        self, x: np.ndarray, condition: Condition, batch_size: int
    ) -> dict[str, dict[str, np.ndarray]]:
        """What `log_weights` knows of each image, by name: parameters of normal distributions `(B, Z)`."""
        return {
            "posterior": self._encoded(x, condition, batch_size),
            "prior": self.prior_parameters(condition, len(x), batch_size),
        }

    def log_weights(
        self,
        x: np.ndarray,
        condition: Condition,
        normals: Mapping[str, tuple[np.ndarray, np.ndarray]],
        noise: np.ndarray,
        batch_size: int,
    ) -> np.ndarray:
        """log p(x, z|c) - log q(z|x, c) of draws z, `(N,)` float64 in nats; one row for each draw.

        Args:
            x: images `(N, H, W, C)`.
            condition: of each.
            normals: what `proposals` gave, as `(mean, log_variance)`.
            noise: standard normal, `(N, noise_dim)`.
            batch_size: codes decoded at a time.
        """
        z = placed(normals["posterior"], noise)
        logits = self._logits(z, condition, batch_size)
        log_p = ops.convert_to_numpy(self.log_prob(self.observed(logits), x, condition)).astype("float64")
        return log_p + self.log_prior(z, normals["prior"]) - log_density(z, normals["posterior"])

    def log_prior(self, z: np.ndarray, normal: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        """log p(z|c) of codes `(N, Z)`, in nats: `(N,)` float64, from what `prior_parameters` gave."""
        return log_density(z, normal)

    def _encoded(self, x: np.ndarray, condition: Condition, batch_size: int) -> dict[str, np.ndarray]:
        """Mean and log-variance of q(z|x, c), as arrays."""
        return self._in_batches(self.encoder, feed(self.encoder, "images", x, condition), batch_size)

    def _logits(self, z: np.ndarray, condition: Condition, batch_size: int) -> np.ndarray:
        """The decoder's outputs for codes, as an array."""
        return self._in_batches(self.decoder, feed(self.decoder, "codes", z, condition), batch_size)

    def _in_batches(self, network: keras.Model, inputs: Any, batch_size: int) -> Any:
        """The outputs of a network as arrays."""
        self.synchronize()
        count = len(keras.tree.flatten(inputs)[0])
        batch_size = min(whole_number("batch_size", batch_size, 1), max(count, 1))
        return predict(network, inputs, batch_size)

    def _array(self, x: ArrayLike, argument: str = "x") -> np.ndarray:
        x = check_images(x, self.image_shape, argument, self.value_range)
        if x.dtype.kind in "iu" and self.value_range is None and x.max() == 1:  # a dark image may be so
            warnings.warn(
                f"{argument} holds integers of 0 and 1 alone, which are almost black in 0..255. "
                f"Pass bits as {argument}.astype('float32').",
                stacklevel=3,
            )
        return as_float32(x, self.value_range)

    def _require_memory(self, argument: str, count: int, advice: str, images: int = 1) -> None:
        """Raise unless `count` times as many images as `images`, and their codes, fit into memory."""
        numbers = 2 * math.prod(self.image_shape) + 2 * math.prod(self.code_shape)  # logits and pixels, noise
        memory.require(f"{argument}={count}", 4 * count * images * numbers, advice)


def by_name(verb: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
    """Arguments of a method of `keras.Model` by their names; x and y are there in any case."""
    given = inspect.signature(getattr(keras.Model, verb)).bind_partial(None, *args, **kwargs).arguments
    del given["self"]
    extra = given.pop("kwargs", {})
    return {"x": None, "y": None, **given, **extra}


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


def _plain(y: Any) -> Any:
    """Labels as an array, a tensor as it is."""
    return y if ops.is_tensor(y) else np.asarray(y)


def _shape_of(x: Any) -> tuple[int | None, ...]:
    """Shape of a tensor; `()` where even the number of axes is unknown, as TensorFlow has it at times."""
    try:
        return tuple(x.shape)
    except (AttributeError, TypeError, ValueError):
        return ()


def _kind(x: Any) -> str:
    """What x is, and what to do with it, in words."""
    if isinstance(x, Mapping):
        pair = ", ".join(f"row[{name!r}]" for name in ("image", "label") if name in x)
        hint = f" Use dataset.map(lambda row: ({pair}))." if "image" in x else ""
        return f"a dictionary of {', '.join(map(repr, x))}.{hint}".removesuffix(".")
    if isinstance(x, (tuple, list)):
        return f"a {type(x).__name__} of {len(x)}; a dataset gives (x,) or (x, y)"
    return f"a {type(x).__name__}"


def _first_two(data: Any) -> tuple[Any, Any]:
    """x and y of a batch."""
    if isinstance(data, (tuple, list)):
        return (*data, None)[:2]
    return data, None


def as_seed(seed: int | None) -> int:
    """`seed` as a non-negative integer; a fresh one where none is given."""
    if seed is None:
        return int(np.random.SeedSequence().generate_state(1)[0])
    return whole_number("seed", seed, 0)


def placed(normal: tuple[np.ndarray, np.ndarray], noise: np.ndarray) -> np.ndarray:
    """Draws from normal distributions `(mean, log_variance)`: `(N, ...)` float32."""
    mean, log_variance = (part.astype("float64") for part in normal)
    return (mean + np.exp(0.5 * log_variance) * noise).astype("float32")


def log_density(z: np.ndarray, normal: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """log N(z; mean, log_variance) in nats: `(N,)` float64."""
    mean, log_variance = (part.astype("float64") for part in normal)
    return -0.5 * ((z - mean) ** 2 * np.exp(-log_variance) + log_variance + LOG_2PI).sum(axis=1)


def _line(a: np.ndarray, b: np.ndarray, t: np.ndarray) -> np.ndarray:
    return a + t * (b - a)


def _arc(a: np.ndarray, b: np.ndarray, t: np.ndarray) -> np.ndarray:
    length_a, length_b = (np.linalg.norm(z, axis=-1, keepdims=True) + 1e-12 for z in (a, b))
    cosine = np.clip(np.sum(a * b, axis=-1, keepdims=True) / (length_a * length_b), -1.0, 1.0)
    angle = np.maximum(np.arccos(cosine), 1e-6)
    direction = (np.sin((1 - t) * angle) * a / length_a + np.sin(t * angle) * b / length_b) / np.sin(angle)
    return direction * _line(length_a, length_b, t)
