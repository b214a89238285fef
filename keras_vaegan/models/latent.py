"""What every model with a latent code offers: the verbs, the prior, the seed."""

import os
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Self

import keras
import numpy as np
from keras import ops
from numpy.typing import ArrayLike

from keras_vaegan.data.batches import Batches
from keras_vaegan.data.checks import check_images, check_labels
from keras_vaegan.data.images import as_float32
from keras_vaegan.errors import InputError, choose, whole_number
from keras_vaegan.training.multi_player import MultiPlayerModel
from keras_vaegan.typing import Tensor

NOISE_BLOCK = 256
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
    """A model with codes z of dimension Z and images x: p(x, z) and q(z|x).

    A subclass gives, on tensors: `posterior(x)` -> distribution of z, `likelihood(z)` ->
    distribution of x, and `observed(logits)`, the latter from the decoder's outputs. From these
    come the verbs on arrays, in batches: `encode`, `decode`, `reconstruct`, `generate`,
    `interpolate`, `log_likelihood`.
    """

    if TYPE_CHECKING:  # what a subclass gives
        encoder: keras.Model
        decoder: keras.Model

        @property
        def image_shape(self) -> tuple[int, ...]: ...

        @property
        def latent_dim(self) -> int: ...

        def posterior(self, x: Tensor, training: bool = False) -> Any: ...

        def likelihood(self, z: Tensor, training: bool = False) -> Any: ...

        def observed(self, logits: Tensor) -> Any: ...

    presets = _Presets()

    def __init__(self, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed = seed
        self.preset_metadata: dict[str, Any] = {}
        self.seed_generator = keras.random.SeedGenerator(seed)

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
        """
        from keras_vaegan.models import MODELS
        from keras_vaegan.presets import save_folder

        if pathlib.Path(folder).is_file():
            raise InputError(f"folder must be a folder; {os.fspath(folder)!r} is a file.")
        key = next((key for key, model in MODELS.items() if model is type(self)), type(self).__name__)
        known = {"model": key, "image_shape": list(self.image_shape)}
        stale = ("format_version", "keras_vaegan", "keras", "weights_sha256")
        kept = {name: value for name, value in self.preset_metadata.items() if name not in stale}
        save_folder(self, folder, kept | known | (metadata or {}), half)

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
        """Images as float in [0, 1]: integers are taken as 0 to 255 and scaled."""
        x = ops.convert_to_tensor(x)
        if "int" in keras.backend.standardize_dtype(x.dtype):
            return ops.cast(x, "float32") / 255.0
        return ops.cast(x, "float32")

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        """Reconstruction in pixels `(B, H, W, C)`: the mean of p(x|z) at the mean of q(z|x)."""
        return self.likelihood(self.posterior(self.as_images(x), training).mean, training).mean

    def prior_sample(self, batch_size: int) -> Tensor:
        """Codes `(B, Z)` from the prior N(0, I)."""
        return keras.random.normal((batch_size, self.latent_dim), dtype="float32", seed=self.seed_generator)

    # ---- training, on Keras' verbs ----

    def fit(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """Train, as `keras.Model.fit`; arrays are checked first (`InputError` if they will not do)."""
        self._check_data(x, y)
        validation = kwargs.get("validation_data")
        if validation is not None:
            self._check_data(*_first_two(validation), prefix="validation_data: ")
        if isinstance(x, Batches):
            kwargs.setdefault("shuffle", False)  # it has an order of its own, which can be resumed
        return super().fit(x, y, *args, **kwargs)

    def evaluate(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Report the epoch means of `log_names`, as `keras.Model.evaluate`."""
        self._check_data(x, y)
        return super().evaluate(x, y, *args, **kwargs)

    def predict(self, x: Any, *args: Any, **kwargs: Any) -> np.ndarray:
        """Reconstruct, as `keras.Model.predict`: `(B, H, W, C)` in [0, 1]."""
        self._check_data(x, None)
        return super().predict(x, *args, **kwargs)

    def _check_data(self, x: Any, y: Any, prefix: str = "") -> None:
        if isinstance(x, np.ndarray):
            check_images(x, self.image_shape, f"{prefix}x")
            if y is not None:
                check_labels(y, len(x), argument=f"{prefix}y")

    # ---- the verbs, on arrays ----

    def encode(
        self, x: ArrayLike, sample: bool = False, seed: int | None = None, batch_size: int = 128
    ) -> np.ndarray:
        """Codes of images.

        Args:
            x: images `(B, H, W, C)`, float in [0, 1] or uint8.
            sample: a draw from q(z|x) in place of its mean.
            seed: of the draw.
            batch_size: images encoded at a time.

        Returns:
            `(B, Z)` float32.
        """
        q = self.posterior_parameters(x, batch_size)
        if not sample:
            return q["mean"]
        noise = prior_noise(len(q["mean"]), q["mean"].shape[1:], _seed(seed))
        return q["mean"] + np.exp(0.5 * q["log_variance"]) * noise

    def posterior_parameters(self, x: ArrayLike, batch_size: int = 128) -> dict[str, np.ndarray]:
        """Mean and log-variance of q(z|x), `{"mean", "log_variance"}`, each `(B, Z)` float32."""
        return self._in_batches(self.encoder, self._array(x), batch_size)

    def decode(self, z: ArrayLike, batch_size: int = 128) -> np.ndarray:
        """Images in pixels `(B, H, W, C)` float32 from codes `z` `(B, Z)`: the mean of p(x|z)."""
        z = np.asarray(z, "float32")
        if z.ndim != 2 or z.shape[1] != self.latent_dim:
            raise InputError(f"z must be codes of shape (B, {self.latent_dim}); received {z.shape}.")
        return ops.convert_to_numpy(self.observed(self._in_batches(self.decoder, z, batch_size)).mean)

    def reconstruct(self, x: ArrayLike, batch_size: int = 128) -> np.ndarray:
        """Reconstructions `(B, H, W, C)` of images, as `predict` without its progress bar."""
        return self.decode(self.encode(x, batch_size=batch_size), batch_size)

    def generate(
        self, num_images: int, seed: int | None = None, start: int = 0, batch_size: int = 128
    ) -> np.ndarray:
        """Images from the prior.

        Args:
            num_images: how many.
            seed: integer; the same seed gives the same images. None for other ones each time.
            start: index of the first image; image i depends on the seed and i alone.
            batch_size: images decoded at a time.

        Returns:
            `(num_images, H, W, C)` float32 in [0, 1].
        """
        num_images, start = whole_number("num_images", num_images, 1), whole_number("start", start, 0)
        return self.decode(prior_noise(num_images, (self.latent_dim,), _seed(seed), start), batch_size)

    def interpolate(
        self, a: ArrayLike, b: ArrayLike, steps: int = 8, path: Literal["linear", "spherical"] = "linear"
    ) -> np.ndarray:
        """Images on the way from `a` to `b` in the space of codes.

        Args:
            a, b: images `(H, W, C)`, or as many of each, `(B, H, W, C)`.
            steps: images on each way, both ends included, at least 2.
            path: `linear`, or `spherical` (the great arc, lengths interpolated; White 2016).

        Returns:
            `(steps, H, W, C)`, or `(B, steps, H, W, C)`, float32.
        """
        choose("path", path, ("linear", "spherical"))
        whole_number("steps", steps, 2)
        single = np.ndim(a) == 3
        a, b = (self.encode(x[None] if single else x) for x in (np.asarray(a), np.asarray(b)))
        if len(a) != len(b):
            raise InputError(f"a and b must be as many images; received {len(a)} and {len(b)}.")
        t = np.linspace(0.0, 1.0, steps, dtype="float32")[None, :, None]
        codes = (_arc if path == "spherical" else _line)(a[:, None], b[:, None], t)
        images = self.decode(codes.reshape(-1, self.latent_dim))
        images = images.reshape(len(a), steps, *images.shape[1:])
        return images[0] if single else images

    def log_likelihood(
        self, x: ArrayLike, num_samples: int = 100, seed: int | None = 0, batch_size: int = 128
    ) -> np.ndarray:
        """Importance-weighted bound on log p(x) (Burda et al. 2016, eq. 8).

            log 1/k sum_i p(x|z_i) p(z_i) / q(z_i|x),  z_i ~ q(z|x)

        Its mean rises with k towards log p(x); at k = 1 it is a draw of the evidence lower bound.

        Args:
            x: images `(B, H, W, C)`, float in [0, 1] or uint8.
            num_samples: k, codes drawn for each image.
            seed: of the draws; image i's depend on the seed and i alone.
            batch_size: codes decoded at a time.

        Returns:
            `(B,)` float64, in nats.
        """
        x, k = self._array(x), whole_number("num_samples", num_samples, 1)
        q, seed = self.posterior_parameters(x, batch_size), _seed(seed)
        mean, log_variance = (q[part].astype("float64") for part in ("mean", "log_variance"))
        rows, result = max(1, NUM_WEIGHED // k), np.empty(len(x))
        for start in range(0, len(x), rows):
            chunk = slice(start, start + rows)
            noise = np.stack(
                [
                    np.random.default_rng([seed, image]).standard_normal((k, self.latent_dim))
                    for image in range(start, start + len(x[chunk]))
                ]
            )
            z = mean[chunk, None] + np.exp(0.5 * log_variance[chunk, None]) * noise
            # log p(z) - log q(z|x); the constants cancel.
            weights = 0.5 * (noise**2 + log_variance[chunk, None] - z**2).sum(axis=-1)
            logits = self._in_batches(self.decoder, z.reshape(-1, self.latent_dim), batch_size)
            log_p = self.observed(logits).log_prob(np.repeat(x[chunk], k, axis=0))
            weights = weights + ops.convert_to_numpy(log_p).reshape(-1, k)
            result[chunk] = np.logaddexp.reduce(weights, axis=1) - np.log(k)
        return result

    def _in_batches(self, network: keras.Model, inputs: np.ndarray, batch_size: int) -> Any:
        """The outputs of a network as arrays."""
        self.synchronize()
        return network.predict(inputs, batch_size=whole_number("batch_size", batch_size, 1), verbose=0)

    def _array(self, x: ArrayLike) -> np.ndarray:
        return as_float32(check_images(x, self.image_shape, "x"))


def _first_two(data: Any) -> tuple[Any, Any]:
    """x and y of validation data, where they are arrays."""
    if isinstance(data, (tuple, list)):
        return (*data, None)[:2]
    return data, None


def _seed(seed: int | None) -> int:
    """`seed` as a non-negative integer; a fresh one where none is given."""
    if seed is None:
        return int(np.random.SeedSequence().generate_state(1)[0])
    return whole_number("seed", seed, 0)


def _line(a: np.ndarray, b: np.ndarray, t: np.ndarray) -> np.ndarray:
    return a + t * (b - a)


def _arc(a: np.ndarray, b: np.ndarray, t: np.ndarray) -> np.ndarray:
    length_a, length_b = (np.linalg.norm(z, axis=-1, keepdims=True) + 1e-12 for z in (a, b))
    cosine = np.clip(np.sum(a * b, axis=-1, keepdims=True) / (length_a * length_b), -1.0, 1.0)
    angle = np.maximum(np.arccos(cosine), 1e-6)
    direction = (np.sin((1 - t) * angle) * a / length_a + np.sin(t * angle) * b / length_b) / np.sin(angle)
    return direction * _line(length_a, length_b, t)
