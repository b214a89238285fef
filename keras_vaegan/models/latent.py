"""Base class of all models: verbs, prior, condition, presets, export."""

import contextlib
import math
import os
import pathlib
import weakref
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal, Self

import keras
import numpy as np
from keras import ops
from numpy.typing import ArrayLike

from keras_vaegan import memory, registry
from keras_vaegan.backend import Seeds, part, shares
from keras_vaegan.code_statistics import CodeStatistics
from keras_vaegan.conditions import Conditioning
from keras_vaegan.data.batches import Batches
from keras_vaegan.data.checks import (
    BYTES,
    check_images,
    check_labels,
    check_value_range,
    fits,
    numbers,
    open_sides,
    some_classes,
)
from keras_vaegan.data.images import parse_size
from keras_vaegan.data.stored import is_stored
from keras_vaegan.distributions import DiagonalNormal, sum_event
from keras_vaegan.errors import InputError, choose, flag, must_be, shown, whole_number
from keras_vaegan.export import export
from keras_vaegan.functions import Function, InBatches, Port, image_port
from keras_vaegan.interpolation import arc, line
from keras_vaegan.kinds import check_facts
from keras_vaegan.likelihoods import Likelihood
from keras_vaegan.models.intake import Intake, by_parts, check_source, first_two, is_array
from keras_vaegan.noise import as_seed, placed, prior_noise
from keras_vaegan.parts import choose_part
from keras_vaegan.presets.building import from_preset
from keras_vaegan.presets.folder import save_folder
from keras_vaegan.presets.recipes import HUB
from keras_vaegan.presets.sources import Presets
from keras_vaegan.priors import PRIORS, Drawn, Draws, Prior, StandardNormal
from keras_vaegan.priors.base import Fitting
from keras_vaegan.tiling import in_tiles, tile_and_overlap
from keras_vaegan.training.inputs import Guard, by_name
from keras_vaegan.training.multi_player import MultiPlayerModel
from keras_vaegan.typing import UNCONDITIONAL, Condition, Tensor

LARGEST_SEED = 2**31 - 1  # that every backend takes for a model's own randomness
WORKERS = 2  # threads that read stored images for `fit`
NUM_WEIGHED = 10_000  # images that are in memory at a time for the importance-weighted bound


def is_seed(variable: keras.Variable, own: keras.Variable) -> bool:
    """Whether a variable is the state of a seed generator other than `own`."""
    return variable is not own and variable.path.endswith("seed_generator_state")


class LatentVariableModel(MultiPlayerModel):
    """A model with latent codes z of dimension Z and images x: p(x, z|c) and q(z|x, c).

    A subclass gives, on tensors, `posterior(x, c)` and `likelihood(z, c)`: distributions of z and of x. It
    has a `prior` (`keras_vaegan.priors`), an `observation` (`keras_vaegan.likelihoods`) and a `condition`
    (`keras_vaegan.conditions`). The verbs on arrays run these in batches: `encode`, `decode`,
    `reconstruct`, `generate`, `interpolate`, `complete`, `transfer_style`, `classify`, `log_likelihood`.

    A condition c is a dictionary of tensors, empty for an unconditional model.
    """

    if TYPE_CHECKING:  # what a subclass gives
        encoder: keras.Model
        decoder: keras.Model
        prior: Prior
        observation: Likelihood
        condition: Conditioning

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

    presets = Presets()
    """The recipes of the class: `{name: {"dataset", "expect", "source", "weights"}}`, the last whether
    weights come with the package."""
    # Methods on a dictionary of tensors that the verbs run on arrays, batch by batch.
    classifiers: tuple[str, ...] = ()
    """Who can tell classes, of a model with a classifier of its own."""
    in_batches: tuple[str, ...] = (
        "encoded",
        "decoded",
        "generated",
        "noise_of_codes",
        "log_weights",
        "elbos",
        "kls",
    )

    def __init__(
        self, seed: int | None = None, value_range: Sequence[int] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.seed = None if seed is None else whole_number("seed", seed, 0)
        if seed is not None and seed > LARGEST_SEED:
            raise InputError(f"seed must be an integer of 0 to {LARGEST_SEED}; received {seed}.")
        self.value_range = check_value_range(value_range)
        self.preset_metadata: dict[str, Any] = {}
        self.code_statistics: CodeStatistics | None = None  # of spatial codes
        self.seed_generator = Seeds(self.seed)
        self.intake = Intake(self)
        self.batched = InBatches(self, self.in_batches)

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
        if os.fsdecode(folder).startswith(HUB):
            raise InputError(
                f"folder must be one of this machine; received {os.fspath(folder)!r}. Upload it then."
            )
        if pathlib.Path(folder).is_file():
            raise InputError(f"folder must be a folder; {os.fspath(folder)!r} is a file.")
        if not isinstance(metadata, dict | None):
            raise InputError(f"metadata must be a dictionary; received {type(metadata).__name__}.")
        check_facts(metadata or {}, "metadata:")  # as they are when the preset is read
        known = {
            "model": registry.key_of(self),
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
                layout of TensorFlow Serving; for `web` `runtime`, a folder with ONNX Runtime Web; for a model
                of images of any size `image_size`, `(H, W)`, which fixes height and width.

        Raises:
            InputError: bad arguments, something at `filepath` already, a package that is missing.
        """
        if input_signature is not None:
            raise InputError(
                f"input_signature must be None: functions have their own; received {input_signature}."
            )
        self.synchronize()
        made = export(self, filepath, format, **kwargs)
        if verbose is not False:
            print(f"wrote {made}")

    def functions(self, image_size: int | Sequence[int] | None = None) -> dict[str, Function]:
        """The functions that `export` writes, by name; the first is `generate`, unless the model cannot.

        Height and width are open if the model takes images of any size.

        Args:
            image_size: `(H, W)` of all images, or an int for both, in place of open sides.

        Raises:
            InputError: an `image_size` that the model does not take.
        """
        size = self._fixed_size(image_size)
        image_shape, code_shape = self._port_shapes(size)
        image, (labels, seen) = image_port(image_shape), self.condition.ports()
        images, pixels = {"images": image}, {"pixels": image}
        codes = Port(code_shape, "float32", "any, near a standard normal distribution")
        if self.any_size:
            each = "x".join([str(self.factor)] * 2)
            codes = codes._replace(values=f"{codes.values}; one position for {each} pixels")
        noise = {"noise": codes._replace(values="standard normal noise; the same gives the same images")}
        samples = pixels
        if self.any_size and not self.prior.of_any_size:
            noise = {"noise": noise["noise"]._replace(shape=self.code_shape)}
            samples = {"pixels": image_port(self.image_shape)}
        normal = {
            "mean": codes,
            "log_variance": codes._replace(values="natural logarithm of the variance"),
        }

        def given(inputs: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
            return {name: inputs[name], **self.condition.of_ports(inputs)}

        def encode(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return self.encoded(given(inputs, "images"))

        def decoded(inputs: Mapping[str, Tensor], to: Sequence[Any] | None) -> dict[str, Tensor]:
            """Pixels of `codes`, cut to the height and width `to`; None for those of `decode`."""
            inputs = given(inputs, "codes")
            return {"pixels": self.decoded(inputs) if to is None else cut(self.decoded_whole(inputs), to)}

        def generate(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
            if size is None or not self.prior.of_any_size:
                return {"pixels": self.generated(given(inputs, "noise"))}
            prior = self.prior.given(self.condition.of_ports(inputs))
            return decoded({**inputs, "codes": prior.place(inputs["noise"])}, size)

        def decode(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return decoded(inputs, size)

        def of_images(inputs: Mapping[str, Tensor], codes: Tensor) -> dict[str, Tensor]:
            """Pixels of the codes of `images`, as large as these."""
            to = ops.shape(inputs["images"])[1:3] if self.any_size else None
            return decoded({**inputs, "codes": codes}, to)

        def reconstruct(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return of_images(inputs, encode(inputs)["mean"])

        def transfer_style(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return of_images({**inputs, "labels": inputs["new_labels"]}, encode(inputs)["mean"])

        found = {}
        if self.generates:
            found["generate"] = Function("Images from the prior.", {**noise, **labels}, samples, generate)
        found |= {
            "encode": Function("Mean and log-variance of q(z|x).", {**seen, **images}, normal, encode),
            "decode": Function("Images from codes.", {"codes": codes, **seen}, pixels, decode),
            "reconstruct": Function(
                "Images encoded, and decoded from the mean of their code.",
                {**seen, **images},
                pixels,
                reconstruct,
            ),
        }
        if self.completes:
            found["complete"] = Function(
                "The hidden part of images, one of the ways that it may be; visible pixels are copied.",
                {**seen, **noise},
                pixels,
                generate,
            )
        elif labels:
            asked = {
                "new_labels": labels["labels"]._replace(values=f"{labels['labels'].values}: what to show")
            }
            found["transfer_style"] = Function(
                "Images of other classes in the style of these.",
                {**images, **labels, **asked},
                pixels,
                transfer_style,
            )
        return found

    def _fixed_size(self, image_size: Any) -> tuple[int, int] | None:
        """The size at which functions of a model of any size are fixed; None for open sides, or its own."""
        size, own = parse_size(image_size), self.image_shape[:2]
        if not self.any_size and size not in (None, own):
            raise must_be("image_size", f"None or {own}, the one size that the networks take", image_size)
        return size if self.any_size else None

    def _port_shapes(
        self, size: tuple[int, int] | None
    ) -> tuple[tuple[int | str, ...], tuple[int | str, ...]]:
        """The shapes of images and of codes in exported functions, with names for open sides."""
        if not self.any_size:
            return self.image_shape, self.code_shape
        channels, latent_dim = self.image_shape[-1], self.latent_dim
        if size is None:
            return ("height", "width", channels), ("code_height", "code_width", latent_dim)
        return (*size, channels), (*(-(-side // self.factor) for side in size), latent_dim)

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
        """What the ELBO is of: the images, or bits drawn from them if the likelihood asks for bits."""
        return self.observation.observe(x, self.seed_generator)

    def call(self, x: Tensor | Mapping[str, Tensor], training: bool = False) -> Tensor:
        """Reconstruction in pixels `(B, H, W, C)`: the mean of p(x|z, c) at the mean of q(z|x, c).

        Args:
            x: images, or a dictionary of `images` and the condition, `labels` one-hot.
            training: as Keras has it.
        """
        condition = dict(x) if isinstance(x, Mapping) else {"images": x}
        x = self.as_images(condition.pop("images"))
        z = self.posterior(x, condition, training).mean
        images = self.decoded_whole({"codes": z, **condition}, training)
        if self.any_size:  # the encoder has padded it
            images = cut(images, ops.shape(x)[1:3])
        return self.condition.with_visible(images, condition)

    # Each takes a dictionary of its tensor and of the condition as the networks take it.

    def encoded(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Mean and log-variance of q(z|x, c), `(B, Z)` each, of `images`."""
        x, condition = _apart(inputs, "images")
        q = self.posterior(x, condition)
        return {"mean": q.mean, "log_variance": q.log_variance}

    def decoded(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Pixels `(B, H, W, C)` of `codes` `(B, Z)`: the mean of p(x|z, c), visible pixels copied."""
        z, condition = _apart(inputs, "codes")
        return self.condition.with_visible(self.likelihood(z, condition).mean, condition)

    def decoded_whole(self, inputs: Mapping[str, Tensor], training: bool = False) -> Tensor:
        """Pixels of `codes` with all that the encoder has padded; visible pixels are not copied."""
        z, condition = _apart(inputs, "codes")
        return self.likelihood(z, condition, training).mean

    def generated(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Pixels `(B, H, W, C)` of codes from the prior, made of standard normal `noise` `(B, Z)`."""
        noise, condition = _apart(inputs, "noise")
        return self.decoded({"codes": self.prior.given(condition).place(noise), **condition})

    def noise_of_codes(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """The noise `(B, ..., Z)` that the prior makes `codes` `(B, ..., Z)` of."""
        z, condition = _apart(inputs, "codes")
        return self.prior.given(condition).noise_of(z)

    def explained(self, x: Tensor, condition: Condition) -> tuple[DiagonalNormal, Any]:
        """q(z|x, c) and p(z|c) of images `(B, H, W, C)`."""
        return self.posterior(x, condition), self.prior.given(condition)

    def elbos(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """ELBO of `images` in nats `(B,)`, at the mean of q(z|x, c)."""
        x, condition = _apart(inputs, "images")
        q, prior = self.explained(x, condition)
        p = self.likelihood(q.mean, condition)
        return p.log_prob(x, self.condition.hidden(condition)) - sum_event(prior.kl(q))

    def kls(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """KL(q(z|x, c) || p(z|c)) of each latent dimension in nats, `(B, Z)`, of `images`, as in the ELBO."""
        q, prior = self.explained(*_apart(inputs, "images"))
        return prior.kl(q)

    # ---- training, on Keras' verbs ----

    def fit(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """Train, as `keras.Model.fit`.

        Averages of the weights (`use_ema` of an optimizer) take their place at the end unless they are young:
        before 3 / (1 - momentum) steps they are still made of the weights that training began with. A prior
        that `fit_prior` fitted goes back to N(0, I).

        Args:
            x: images `(B, H, W, C)`, floats in [0, 1] or integers of `value_range`: an array, a tensor or a
                list of images; images that are not in memory, as `Batches` takes them, which are read batch
                by batch; or a dataset, loader or generator of batches `(x,)`, `(x, y)` or
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
        if is_stored(given["x"]):
            given = self.as_batches(given, given.get("shuffle", True), WORKERS)
        given |= self.intake.checked(given["x"], given["y"], given.get("sample_weight"))
        if isinstance(given["x"], Batches):
            given.setdefault("shuffle", False)  # it has an order of its own, which can be resumed
        self.intake.check_classes(given["x"], given["y"])
        if "validation_data" in given:
            sizes = [given.get("validation_batch_size"), given.get("batch_size")]
            if isinstance(given["x"], Batches):
                sizes.append(given["x"].batch_size)
            size = next(filter(None, sizes), None)
            given["validation_data"] = self.intake.checked_validation(given["validation_data"], size)
        if self.compiled:  # else Keras refuses
            self.prior.reset()
            self.preset_metadata.pop("prior", None)
        unchecked = not isinstance(given["x"], (np.ndarray, Batches))
        if unchecked:
            given["callbacks"] = [Guard(), *keras.tree.flatten(given.get("callbacks") or [])]
        with self._while(guarded=unchecked, in_training=True):
            return super().fit(**given)

    def evaluate(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """The means of the logs, as `keras.Model.evaluate`, weighted if there is a `sample_weight` `(B,)`.

        Args:
            x, y, *args, **kwargs: as for `fit`.

        Raises:
            InputError: as of `fit`.
        """
        given = by_name("evaluate", x, y, *args, **kwargs)
        if is_stored(given["x"]):
            given = self.as_batches(given, shuffle=False)
        given |= self.intake.checked(given["x"], given["y"], given.get("sample_weight"))
        with self._while(guarded=not isinstance(given["x"], (np.ndarray, Batches))):
            result = super().evaluate(**given)
        self.check_seen(training=False)
        return result

    def as_batches(
        self, given: dict[str, Any], shuffle: bool, workers: int = 0, **settings: Any
    ) -> dict[str, Any]:
        """Arguments of a verb of Keras, with `Batches` in place of images and their labels."""
        if given.get("validation_split"):
            raise InputError(
                "validation_split must be 0 with images that are not in memory; "
                f"received {given['validation_split']}. Give validation_data."
            )
        sharing: dict[str, Any] = {"multiple": shares(), "part": part()} if shuffle else {}
        batches = self.intake.in_batches(
            given["x"],
            given["y"],
            given.get("sample_weight"),
            given.get("batch_size"),
            shuffle=shuffle,
            seed=self.seed or 0,
            workers=workers,
            **sharing,
            **settings,
        )
        batches.epoch = given.get("initial_epoch", 0)
        return given | {"x": batches, "y": None, "sample_weight": None, "batch_size": None}

    @contextlib.contextmanager
    def _while(self, **flags: bool) -> Iterator[None]:
        """Set attributes for as long as a verb of Keras runs."""
        before = {name: getattr(self, name) for name in flags}
        try:
            for name, flag in flags.items():
                setattr(self, name, flag)
            yield
        finally:
            for name, flag in before.items():
                setattr(self, name, flag)

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
            return super().predict(self.intake.checked_dictionary(x), *args, **kwargs)
        if is_stored(x):
            given = by_name("predict", None, *args, **kwargs)
            size, given["steps"] = given.pop("batch_size", None) or 32, None
            inputs = self._inputs_by_batches(x, labels, mask, size)
            del given["y"]
            return super().predict(**given | {"x": inputs, "steps": -(-len(x) // size)})
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
        return super().train_on_batch(**self._batch("train_on_batch", x, y, *args, **kwargs))

    def test_on_batch(self, x: Any, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """The logs of a batch, as `keras.Model.test_on_batch`; checked as in `train_on_batch`."""
        return super().test_on_batch(**self._batch("test_on_batch", x, y, *args, **kwargs))

    def _batch(self, verb: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        given = by_name(verb, *args, **kwargs)
        return given | self.intake.checked_batch(given["x"], given["y"], given.get("sample_weight"))

    def predict_on_batch(
        self, x: Any, labels: ArrayLike | None = None, mask: str | ArrayLike | None = None
    ) -> Any:
        """Reconstruct a batch, as `keras.Model.predict_on_batch`; labels and mask as for `encode`."""
        inputs = (
            self.intake.checked_dictionary(x) if isinstance(x, Mapping) else self._inputs(x, labels, mask)
        )
        return super().predict_on_batch(inputs)

    def _inputs(self, x: Any, labels: ArrayLike | None, mask: str | ArrayLike | None) -> Any:
        """What `call` takes, from images and the verbs' arguments."""
        x = check_images(x, self.shape_taken, "x", self.value_range)
        condition = self.conditioned(len(x), labels, x, mask)
        return {"images": x, **condition} if condition else x

    def _inputs_by_batches(
        self, x: Any, labels: ArrayLike | None, mask: str | ArrayLike | None, batch_size: int
    ) -> Iterator[Any]:
        """What `call` takes, batch by batch, of stored images."""
        classes = None if labels is None else check_labels(labels, len(x), self.num_classes, "labels")
        each = mask is not None and not isinstance(mask, str) and np.ndim(mask) == 3
        for start in range(0, len(x), batch_size):
            rows = slice(start, start + batch_size)
            known = None if classes is None else classes[rows]
            yield (self._inputs(x[rows], known, np.asarray(mask)[rows] if each else mask),)

    def _inputs_of_batches(self, source: Any) -> Iterator[Any]:
        """What `call` takes, batch by batch, from a dataset, loader or generator."""
        if isinstance(source, keras.utils.PyDataset):
            batches = (source[i] for i in range(source.num_batches or 0))
        else:
            batches = iter(source)
        for batch in batches:
            x, y = first_two(batch)
            self.check_batch(x, y)
            yield (self._inputs(x, None if self.num_classes is None else y, None),)

    # ---- datasets, loaders and generators, while they are used ----

    def check_batch(self, x: Any, y: Any) -> None:
        self.intake.check_batch(x, y)

    def check_seen(self, training: bool) -> None:
        seen = self._seen_in_training if training else self._seen_in_test
        if seen is None:
            return
        try:
            self.intake.check_extremes(seen.read(), watched=self._watch is not None)
        except InputError:
            seen.forget()
            raise

    def warn_of_seen(self) -> None:
        if self._seen_in_training is not None:
            self.intake.warn_of_extremes(self._seen_in_training.read())

    # ---- the form of codes and condition ----

    @property
    def code_shape(self) -> tuple[int, ...]:
        """Shape of the code of one image, `(Z,)`."""
        return (self.latent_dim,)

    @property
    def any_size(self) -> bool:
        """Whether the networks take images of any size, whose codes are maps `(h, w, Z)`."""
        return False

    @property
    def generates(self) -> bool:
        """Whether latent codes follow the prior, so that `generate` makes images."""
        return True

    @property
    def factor(self) -> int:
        """f, the pixels of a side that become one position of a map of codes; 1 for vectors."""
        return 1

    def unpadded(self, images: Any, sides: Sequence[Any]) -> Any:
        """Images of maps of codes, without what the encoder pads if the maps are those of the training.

        Args:
            images: `(B, f h, f w, C)`, an array or a tensor.
            sides: h and w, which are tensors in a graph of open sides.

        Returns:
            `(B, H, W, C)` of the training if h and w are those of `code_shape`, else `images`.
        """
        own, trained = self.image_shape[:2], self.code_shape[:2]
        whole = tuple(self.factor * side for side in trained)
        if own == whole or any(side is None for side in sides):
            return images
        if all(isinstance(side, int) for side in sides):
            return cut(images, own) if tuple(sides) == trained else images
        same = ops.logical_and(ops.equal(sides[0], trained[0]), ops.equal(sides[1], trained[1]))
        sizes = zip(own, sides, strict=True)
        return cut(images, [ops.where(same, side, self.factor * other) for side, other in sizes])

    @property
    def shape_taken(self) -> tuple[int | None, ...]:
        """`(H, W, C)` of the images that `encode`, `reconstruct` and `predict` take, None for any."""
        return (None, None, self.image_shape[-1]) if self.any_size else self.image_shape

    @property
    def noise_dim(self) -> int:
        """Standard normal numbers from which all codes of an image are drawn."""
        return math.prod(self.code_shape)

    @property
    def num_classes(self) -> int | None:
        """K, the classes that the model is conditioned on; None without labels."""
        return self.condition.num_classes

    @property
    def completes(self) -> bool:
        """Whether the model is conditioned on part of the image."""
        return self.condition.completes

    def conditioned(
        self,
        count: int,
        labels: ArrayLike | None = None,
        images: ArrayLike | None = None,
        mask: str | ArrayLike | None = None,
    ) -> dict[str, np.ndarray]:
        """The condition of `count` images as the networks take it, from the verbs' arguments.

        Args:
            count: B.
            labels: classes `(B,)`, for a model that is conditioned on them.
            images: `(B, H, W, C)`, of which a model that completes images is given a part.
            mask: which part, see `encode`; nothing if None.

        Raises:
            InputError: what the model does not take, or does not get, or not in that form.
        """
        return self.condition.arrays(count, labels, images, mask, self.intake.images)

    @by_parts
    def labels_of(self, y: ArrayLike | None, x: ArrayLike | None = None) -> np.ndarray | None:
        """The labels to hand to a verb: None for a model without labels.

        Args:
            y: labels `(B,)`, -1 where they are not known, or None.
            x: the images `(B, H, W, C)`, of which the model tells the classes that are not known.
        """
        if self.num_classes is None:
            return None
        if x is None:
            return None if y is None else check_labels(y, np.size(y), self.num_classes, "labels")
        x = check_images(x, self.shape_taken, "x", self.value_range)
        count = len(x)
        labels = np.full(count, -1) if y is None else check_labels(y, count, self.num_classes, "labels")
        unknown = labels < 0
        if unknown.any():
            if x.shape[1:] != self.image_shape:
                raise InputError(
                    f"labels must be known for images of {x.shape[1:]}: this {type(self).__name__} tells "
                    f"the classes of images of {self.image_shape} alone."
                )
            labels[unknown] = self.classify(x[unknown]).argmax(axis=1)
        return labels

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
        tile: int | None = None,
        scaled: bool = False,
        start: int = 0,
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
            tile: pixels, for images of any size: they are encoded in overlapping tiles of that height and
                width, and the results are blended. None for whole images.
            scaled: whether each channel of spatial codes gets mean 0 and variance 1, by what `measure_codes`
                has measured.
            start: index of the first image, for codes that are made in parts: the draw of image i depends on
                the seed and i alone.

        Returns:
            `(B, Z)` float32; of networks that take images of any size `(B, h, w, Z)`.

        Raises:
            InputError: images of another shape or range, labels that are none of the model's classes, a mask
                that is none; as of all verbs.
        """
        sample, seed = flag("sample", sample), as_seed(seed)
        start = whole_number("start", start, 0)
        statistics = self._statistics(scaled)
        q = self.posterior_parameters(x, labels, mask, batch_size, tile)
        codes = q["mean"]
        if sample:
            codes = placed(q, prior_noise(len(codes), codes.shape[1:], seed, start))
        return statistics.scaled(codes) if statistics else codes

    @by_parts
    def posterior_parameters(
        self,
        x: ArrayLike,
        labels: ArrayLike | None = None,
        mask: str | ArrayLike | None = None,
        batch_size: int = 128,
        tile: int | None = None,
    ) -> dict[str, np.ndarray]:
        """Mean and log-variance of q(z|x): `{"mean", "log_variance"}`, `(B, Z)` float32; see `encode`."""
        x = self.intake.images(x, shape=self.shape_taken)
        condition = self.conditioned(len(x), labels, x, mask)
        if tile is None:
            return self.batched("encoded", {"images": x, **condition}, batch_size)
        tile, overlap = self.check_tile(tile)
        factor = self.factor
        padding = [(0, -side % factor) for side in x.shape[1:3]]
        x = np.pad(x, [(0, 0), *padding, (0, 0)], mode="edge")  # as the encoder does with a whole image

        def encoded(part: np.ndarray) -> np.ndarray:
            q = self.batched("encoded", {"images": part, **condition}, batch_size)
            return np.concatenate([q["mean"], q["log_variance"]], axis=-1)

        both = in_tiles(encoded, x, tile, overlap, Fraction(1, factor))
        return dict(zip(("mean", "log_variance"), np.split(both, 2, axis=-1), strict=True))

    @by_parts
    def kl_per_dimension(
        self, x: ArrayLike, labels: ArrayLike | None = None, batch_size: int = 128
    ) -> np.ndarray:
        """KL(q(z|x, c) || p(z|c)) of each latent dimension, `(B, Z)` in nats; see `encode`."""
        x = self.intake.images(x)
        inputs = {"images": x, **self.conditioned(len(x), labels, x)}
        return self.batched("kls", inputs, batch_size)

    def decode(
        self,
        z: ArrayLike,
        labels: ArrayLike | None = None,
        images: ArrayLike | None = None,
        mask: str | ArrayLike | None = None,
        batch_size: int = 128,
        tile: int | None = None,
        scaled: bool = False,
    ) -> np.ndarray:
        """Images in pixels `(B, H, W, C)` float32 from codes `z` `(B, Z)`: the mean of p(x|z).

        Args:
            z: codes `(B, Z)`.
            labels: classes `(B,)`, for a model that is conditioned on them.
            images, mask: images of which the visible part is given, for a model that completes them.
            batch_size: images decoded at a time.
            tile, scaled: as for `encode`; `scaled` codes are taken back to their own mean and variance.

        Raises:
            InputError: codes of another shape, and as of `encode`.
        """
        statistics = self._statistics(scaled)
        with np.errstate(over="ignore"):  # what is too large becomes infinite, which is refused
            z = numbers(z, "z", "biuf", "codes").astype("float32")
        if not np.isfinite(z).all():
            raise InputError("z must be finite codes; received NaN or infinite values.")
        self.check_codes(z.shape)
        if not len(z):
            raise InputError(f"z must hold at least one code; received the shape {z.shape}.")
        if images is not None:  # without a mask they say nothing, and yet may be wrong
            images = self.intake.images(images, "images", self.shape_taken)
            if len(images) != len(z):
                raise InputError(f"images must be {len(z)}, as many as the codes; received {len(images)}.")
        z = statistics.unscaled(z) if statistics else z
        condition = self.conditioned(len(z), labels, images, mask)
        if tile is None:
            return self._decoded(z, condition, batch_size)
        return self.unpadded(self._uncut(z, condition, batch_size, tile), z.shape[1:3])

    def check_codes(self, shape: Sequence[int]) -> None:
        """Raise `InputError` unless codes of a shape `(B, ...)` are those of this model."""
        form: tuple[Any, ...] = (None, None, self.latent_dim) if self.any_size else self.code_shape
        if not fits(shape[1:], form):
            raise InputError(
                f"z must be codes of shape ({open_sides(('B', *form))}); received {tuple(shape)}."
            )

    def check_tile(self, tile: int) -> tuple[int, int]:
        """The size of tiles and their overlap in pixels; raise `InputError` if the model cannot have them."""
        if not self.any_size:
            raise InputError(
                f"tile must be None: the networks of this {type(self).__name__} take images of "
                f"{self.image_shape[:2]} alone; received {shown(tile)}."
            )
        return tile_and_overlap(whole_number("tile", tile, 1), self.factor)

    def _statistics(self, scaled: bool) -> CodeStatistics | None:
        """The statistics to scale codes by; None for codes as they are."""
        if not flag("scaled", scaled):
            return None
        if self.code_statistics is None:
            raise InputError(
                f"scaled must be False: this {type(self).__name__} has no spatial codes with channels."
            )
        return self.code_statistics

    def measure_codes(self, x: ArrayLike, seed: int | None = 0, batch_size: int = 128) -> None:
        """Measure mean and standard deviation of each channel of the codes of images, one draw for each.

        `encode(scaled=True)` and `decode(scaled=True)` use them from then on, and they are saved with the
        model.

        Args:
            x: images `(B, H, W, C)`, those of the training.
            seed: of the draws.
            batch_size: images encoded at a time.

        Raises:
            InputError: a model without spatial codes; as of `encode`.
        """
        statistics = self._statistics(True)
        assert statistics is not None
        statistics.measure(self.encode(x, sample=True, seed=seed, batch_size=batch_size))

    def _uncut(self, z: np.ndarray, condition: Condition, batch_size: int, tile: int | None) -> np.ndarray:
        """Pixels of maps of codes, with all that the encoder has padded."""

        def decoded(z: np.ndarray) -> np.ndarray:
            return self.batched("decoded_whole", {"codes": z, **condition}, batch_size)

        if tile is None:
            return decoded(z)
        tile, overlap = (pixels // self.factor for pixels in self.check_tile(tile))
        return in_tiles(decoded, z, tile, overlap, Fraction(self.factor))

    def _decoded(self, z: np.ndarray, condition: Condition, batch_size: int) -> np.ndarray:
        return self.batched("decoded", {"codes": z, **condition}, batch_size)

    @by_parts
    def reconstruct(
        self,
        x: ArrayLike,
        labels: ArrayLike | None = None,
        mask: str | ArrayLike | None = None,
        batch_size: int = 128,
        tile: int | None = None,
    ) -> np.ndarray:
        """Reconstructions of images: their codes, the means of q(z|x), decoded.

        Args:
            x, labels, mask, batch_size, tile: as for `encode`.

        Returns:
            `(B, H, W, C)` float32 in [0, 1], as `predict` gives, without its progress bar.
        """
        codes = self.encode(x, labels, mask, batch_size=batch_size, tile=tile)
        if not self.any_size:
            return self.decode(codes, labels, x, mask, batch_size)
        condition = self.conditioned(len(codes), labels, x, mask)
        return cut(self._uncut(codes, condition, batch_size, tile), np.shape(x)[1:3])

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
            InputError: no image asked for, a negative seed or start, labels that are no classes of the model;
                an autoencoder whose codes do not follow the prior.
        """
        num_images, start = whole_number("num_images", num_images, 1), whole_number("start", start, 0)
        seed = as_seed(seed)
        self.must_generate()
        self._require_memory("num_images", num_images, "Make them in parts, by `start`.")
        condition = self.conditioned(num_images, self.labels_in_turn(num_images, labels, start))
        noise = prior_noise(num_images, self.code_shape, seed, start)
        return self.batched("generated", {"noise": noise, **condition}, batch_size)

    def must_generate(self) -> None:
        """Raise `InputError` unless the model `generates`."""

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

    def check_path(
        self, path: Literal["linear", "spherical", "noise"] | None
    ) -> Literal["linear", "spherical", "noise"]:
        """The path of `interpolate`, None replaced; raise `InputError` if the prior does not have it."""
        if path is None:
            path = "noise" if self.prior.walks_through_noise else "linear"
        choose("path", path, ("linear", "spherical", "noise"))
        if path == "noise" and not self.prior.has_inverse:
            raise InputError(
                f"path must be linear or spherical: {self.prior.summary} has no inverse; received 'noise'."
            )
        return path

    def interpolate(
        self,
        a: ArrayLike,
        b: ArrayLike,
        steps: int = 8,
        path: Literal["linear", "spherical", "noise"] | None = None,
        labels: tuple[ArrayLike, ArrayLike] | None = None,
    ) -> np.ndarray:
        """Images on the way from `a` to `b` in the space of codes.

        Args:
            a, b: images `(H, W, C)`, or as many of each, `(B, H, W, C)`.
            steps: images on each way, both ends included, at least 2.
            path: `linear`; `spherical` (the great arc, lengths interpolated; White 2016); or `noise`, the
                great arc between the noise that the prior makes the codes of, for a prior with an inverse.
                None is `noise` for a flow, else `linear`.
            labels: classes of `a` and of `b`, for a model that is conditioned on them; the one-hot
                vectors are interpolated linearly.

        Returns:
            `(steps, H, W, C)`, or `(B, steps, H, W, C)`, float32.

        Raises:
            InputError: fewer than two steps, an unknown path, not as many images at both ends, labels
                that are no pair; as of `encode`.
        """
        path = self.check_path(path)
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
        found = [self.encode(x, y) for x, y in zip(ends, classes, strict=True)]
        if ends[0].shape != ends[1].shape:
            raise InputError(f"a and b must be of one size; received {ends[0].shape} and {ends[1].shape}.")
        conditions = [self.conditioned(len(x), y, x) for x, y in zip(ends, classes, strict=True)]
        if path == "noise":
            self._require_own_size(found[0].shape[1:])
            found = [
                self.batched("noise_of_codes", {"codes": z, **c}, 128)
                for z, c in zip(found, conditions, strict=True)
            ]
        codes = [z.reshape(len(z), 1, -1) for z in found]
        t = np.linspace(0.0, 1.0, steps, dtype="float32")
        way = (line if path == "linear" else arc)(codes[0], codes[1], t[None, :, None])
        condition = {}
        for name, start in conditions[0].items():
            axes = (1,) * (start.ndim - 1)
            way_of = line(start[:, None], conditions[1][name][:, None], t.reshape(1, -1, *axes))
            condition[name] = way_of.reshape(-1, *start.shape[1:])
        way = way.reshape(-1, *found[0].shape[1:])
        if path == "noise":
            images = self.batched("generated", {"noise": way, **condition}, 128)
        else:
            images = self._decoded(way, condition, batch_size=128)
        images = cut(images, ends[0].shape[1:3])
        images = images.reshape(len(ends[0]), steps, *images.shape[1:])
        return images[0] if single else images

    def _require_own_size(self, shape: Sequence[int]) -> None:
        """Raise unless codes have the shape of those that the model generates."""
        if tuple(shape) != self.code_shape and not self.prior.of_any_size:
            raise InputError(
                f"a and b must be images of {self.image_shape}, to which {self.prior.summary} was fitted, "
                f"unless path is linear or spherical; received codes {tuple(shape)}."
            )

    def complete(
        self,
        images: ArrayLike,
        mask: str | ArrayLike,
        num_samples: int = 8,
        labels: ArrayLike | None = None,
        seed: int | None = None,
        batch_size: int = 128,
    ) -> np.ndarray:
        """Several completions of images of which a part is given; the given pixels come back untouched.

        Args:
            images: `(B, H, W, C)`, float in [0, 1] or uint8; what is not visible is not looked at.
            mask: what is visible: `left`, `right`, `top`, `bottom`, `quadrants:1` to `quadrants:3`, or an
                array `(H, W)` or `(B, H, W)`, True where visible.
            num_samples: completions of each image.
            labels: classes `(B,)`, for a model that is conditioned on them too.
            seed: of the draws; the same seed gives the same completions.
            batch_size: images decoded at a time.

        Returns:
            `(B, num_samples, H, W, C)` float32 in [0, 1].

        Raises:
            InputError: a model that does not complete images; images, a mask or labels that will not do.
        """
        self._must_complete()
        images = self.intake.images(images, "images")
        num_samples = whole_number("num_samples", num_samples, 1)
        self._require_memory("num_samples", num_samples, "Ask for fewer.", images=len(images))
        condition = self.conditioned(len(images), labels, images, mask)
        noise = prior_noise(len(images) * num_samples, self.code_shape, as_seed(seed))
        repeated = {name: np.repeat(value, num_samples, axis=0) for name, value in condition.items()}
        completed = self.batched("generated", {"noise": noise, **repeated}, batch_size)
        return completed.reshape(len(images), num_samples, *self.image_shape)

    def transfer_style(
        self,
        images: ArrayLike,
        labels: ArrayLike,
        source_labels: ArrayLike | None = None,
        batch_size: int = 128,
    ) -> np.ndarray:
        """Images of other classes in the style of these: their codes, decoded with other labels.

        Args:
            images: `(B, H, W, C)`, float in [0, 1] or uint8.
            labels: the classes to show each of them as, `(L,)`.
            source_labels: the classes of the images, `(B,)`; those under which the ELBO is highest,
                by `classify`, if None.
            batch_size: images decoded at a time.

        Returns:
            `(B, L, H, W, C)` float32 in [0, 1].

        Raises:
            InputError: a model that knows no classes; images or labels that will not do.
        """
        self._must_have_labels()
        images = self.intake.images(images, "images")
        labels = some_classes(labels)
        labels = check_labels(labels, len(labels), self.num_classes, "labels", unlabelled=False)
        if source_labels is None:
            source_labels = self.classify(images, batch_size).argmax(axis=1)
        codes = self.encode(images, source_labels, batch_size=batch_size)
        shown = np.tile(labels, len(images))
        styled = self.decode(np.repeat(codes, len(labels), axis=0), shown, batch_size=batch_size)
        return styled.reshape(len(images), len(labels), *self.image_shape)

    @by_parts
    def classify(self, images: ArrayLike, batch_size: int = 128) -> np.ndarray:
        """p(y|x) by the model itself: exp(ELBO) of p(x|y), normalized; classes are equally likely before.

        The ELBO is taken at the mean of q(z|x, y). A by-product of the conditional model, without
        a classifier of its own.

        Args:
            images: `(B, H, W, C)`, float in [0, 1] or uint8.
            batch_size: images classified at a time.

        Returns:
            Probabilities, `(B, K)` float32.

        Raises:
            InputError: a model that knows no classes; images that will not do.
        """
        self._must_have_labels()
        x = self.intake.images(images, "images")
        bounds = []
        for k in range(self.num_classes or 0):
            condition = self.condition.arrays(len(x), np.full(len(x), k), None, None, self.intake.images)
            bounds.append(self.batched("elbos", {"images": x, **condition}, batch_size))
        log_shares = np.stack(bounds, axis=1) - np.logaddexp.reduce(bounds, axis=0)[:, None]
        return np.exp(log_shares).astype("float32")

    def _must_complete(self) -> None:
        if not self.completes:
            raise InputError(
                f"this {type(self).__name__} cannot complete images: it is not conditioned on part of them; "
                "a completion_cvae is."
            )

    def _must_have_labels(self) -> None:
        if self.num_classes is None:
            raise InputError(
                f"this {type(self).__name__} knows no classes: it is not conditioned on labels; a cvae is."
            )

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

        Its mean rises with k towards log p(x|c); at k = 1 it is a draw of the evidence lower bound. p(z|c) is
        the model's prior. A flow has no density: then p(z|c) is N(0, I), that of the training.

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
        x, k, seed = self.intake.images(x), whole_number("num_samples", num_samples, 1), as_seed(seed)
        self._require_memory("num_samples", k, "Ask for fewer.")  # of one image at least
        x = self.observation.observe_arrays(x, seed)
        condition = self.conditioned(len(x), labels, x, mask)
        known = self.proposals(x, condition, batch_size)
        rows, result = max(1, NUM_WEIGHED // k), np.empty(len(x))
        for start in range(0, len(x), rows):
            chunk = slice(start, start + rows)
            noise = [
                np.random.default_rng([seed, image]).standard_normal((k, self.noise_dim))
                for image in range(start, start + len(x[chunk]))
            ]
            # Each image k times, one after the other.
            repeated = {
                name: np.repeat(value[chunk], k, axis=0)
                for name, value in {"images": x, **condition, **known}.items()
            }
            inputs = {**repeated, "noise": np.concatenate(noise).astype("float32")}
            weights = self.batched("log_weights", inputs, batch_size).astype("float64")
            result[chunk] = np.logaddexp.reduce(weights.reshape(-1, k), axis=1) - np.log(k)
        return result

    def proposals(self, x: np.ndarray, condition: Condition, batch_size: int) -> dict[str, np.ndarray]:
        """What `log_weights` takes of each image beside it: mean and log-variance of q(z|x, c)."""
        return self.batched("encoded", {"images": x, **condition}, batch_size)

    def log_weights(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """log p(x, z|c) - log q(z|x, c) in nats, `(B,)`, of a draw z for each image.

        Args:
            inputs: `images`; `noise` `(B, noise_dim)`, standard normal, of which z is made; what `proposals`
                gave; the condition.
        """
        condition = dict(inputs)
        x, noise, *parts = (condition.pop(name) for name in ("images", "noise", "mean", "log_variance"))
        q = DiagonalNormal(*parts)
        z = q.place(ops.reshape(noise, (-1, *self.code_shape)))
        p = self.likelihood(z, condition)
        log_joint = p.log_prob(x, self.condition.hidden(condition)) + self.density(condition).log_prob(z)
        return log_joint - q.log_prob(z)

    def density(self, condition: Condition) -> Any:
        """p(z|c) with a density: the prior, or N(0, I), that of the training, if it has none."""
        return self.prior.given(condition, training=not self.prior.has_density)

    def fit_prior(
        self,
        x: Any,
        labels: ArrayLike | None = None,
        prior: str | dict | Prior | None = None,
        seed: int | None = 0,
        batch_size: int = 128,
        verbose: int = 1,
        folder: str | os.PathLike[str] | None = None,
        callbacks: Sequence[keras.callbacks.Callback] = (),
    ) -> None:
        """Fit a prior, `priors.Mixture` or `priors.Flow`, to the latent codes of images (Ghosh et al. 2020).

        The codes are draws of q(z|x). From then on `generate`, `interpolate` and `export` have the fitted
        prior as p(z), and so has `log_likelihood` if the prior has a density. The ELBO that is trained and
        evaluated, and its KL, stay those of N(0, I). `fit` begins anew: it takes the prior back to N(0, I).

        Args:
            x: images `(B, H, W, C)`, float in [0, 1] or uint8, those of the training.
            labels: their classes `(B,)`, for a model that is conditioned on them. The model tells those that
                are -1, or all if None.
            prior: `mixture`, `flow`, a dictionary of the `class` and its settings, or an object, which
                replaces the prior of the model. None for the one that it has.
            seed: of the codes' noise and of the fit; None for another one each time.
            batch_size: images encoded at a time.
            verbose: 1 for a progress bar, 2 for some lines, 0 for neither. A mixture has none.
            folder: for checkpoints of a flow's training. If it is stopped, the same call continues from
                there; if it was complete, the call gives the same prior at once. None for no checkpoints.
            callbacks: of Keras, for the training of a flow.

        Raises:
            InputError: a prior that is not fitted to codes, or that the model cannot have; a model whose
                prior was trained with it; too few images; as of `encode`.
        """
        seed, verbose = as_seed(seed), choose("verbose", verbose, (0, 1, 2))
        new = self.prior if prior is None else self.new_prior(prior)
        if not new.fitted_to_codes:
            raise InputError(
                "prior must be one that is fitted to codes, 'mixture' or 'flow'; this model's is a "
                f"{type(new).__name__}."
            )
        if labels is not None and self.num_classes is None:
            raise InputError(f"labels must be None: this {type(self).__name__} is not conditioned on labels.")
        if not is_stored(x):
            x = self.intake.images(x, shape=self.image_shape)
        elif tuple(x.shape[1:]) != self.image_shape:
            raise InputError(f"x must hold images of {self.image_shape}; received {tuple(x.shape[1:])}.")
        classes = self.labels_of(labels, x)
        new.require_codes(len(x), classes)
        fitting = Fitting(verbose, None if folder is None else pathlib.Path(folder), tuple(callbacks))
        new.fit(self.draws(x, classes, seed, batch_size, new.redraws), classes, seed, fitting)
        if new is not self.prior:  # now that nothing can fail any more
            self._replace_prior(new)

    def draws(
        self, x: ArrayLike, labels: ArrayLike | None, seed: int, batch_size: int, several: bool = True
    ) -> Draws | Drawn:
        """Draws of the codes of images, to which a prior is fitted: `several` of each image, or one."""
        return Draws(self.posterior_parameters(x, labels, batch_size=batch_size), seed)

    def new_prior(self, prior: str | dict | Prior) -> Prior:
        """A prior for `fit_prior`, in the form of this model, or raise `InputError` if it cannot have it."""
        new, own = choose_part("prior", prior, PRIORS, Prior, "flow"), self.prior
        if not (isinstance(own, StandardNormal) or own.fitted_to_codes):
            raise InputError(
                f"prior must be None: the prior of this {type(self).__name__}, a {type(own).__name__}, was "
                "trained with it."
            )
        if not new.fitted_to_codes:
            raise InputError(
                f"prior must be one that is fitted to codes, 'mixture' or 'flow'; received a "
                f"{type(new).__name__}."
            )
        if new.built and new is not own and (new.begun_by is None or new.begun_by() is not self):
            raise InputError("prior must be a new object: this one may be that of another model.")
        new.begin(self.code_shape, self.seen_by_prior())
        new.begun_by = weakref.ref(self)
        return new

    def _replace_prior(self, new: Prior) -> None:
        """Take another prior in the place of the old one."""
        place = self._layers.index(self.prior)
        self._tracker.untrack(self.prior)
        self.prior = new
        self._layers.insert(place, self._layers.pop())  # the order of the weights is that of a new model
        self.batched = InBatches(self, self.in_batches)
        self.forget_steps()

    def seen_by_prior(self) -> dict[str, Any]:
        """The symbolic tensors on which the prior may depend, by name."""
        return self.condition.inputs

    def _require_memory(self, argument: str, count: int, advice: str, images: int = 1) -> None:
        """Raise unless `count` times as many images as `images`, and their codes, fit into memory."""
        numbers = 2 * math.prod(self.image_shape) + 2 * math.prod(self.code_shape)  # logits and pixels, noise
        memory.require(f"{argument}={count}", 4 * count * images * numbers, advice)


def cut(images: Any, size: Sequence[Any]) -> Any:
    """The upper left part of images `(B, H, W, C)`, as high and wide as `size` begins with."""
    return images[:, : size[0], : size[1]]


def _apart(inputs: Mapping[str, Tensor], name: str) -> tuple[Tensor, Condition]:
    """A tensor by its name, and the others, which are the condition."""
    return inputs[name], {other: value for other, value in inputs.items() if other != name}
