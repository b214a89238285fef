"""What all priors have: p(z|c) over latent codes, on tensors."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any, Self

import keras
import numpy as np
from keras import ops

from keras_vaegan.distributions import LOG_2PI, DiagonalNormal, sum_event
from keras_vaegan.errors import InputError
from keras_vaegan.priors.draws import Drawn, Draws
from keras_vaegan.typing import UNCONDITIONAL, Condition, Tensor


class PriorOfBatch:
    """p(z|c) for the conditions of a batch; see the package."""

    code_shape: tuple[int, ...] = ()

    def kl(self, q: DiagonalNormal) -> Tensor:
        """KL(q || p) of each latent dimension, `(B, ..., Z)` in nats."""
        raise NotImplementedError

    def place(self, noise: Tensor) -> Tensor:
        """The codes `(B, ..., Z)` that standard normal noise `(B, ..., Z)` becomes."""
        raise NotImplementedError

    def noise_of(self, z: Tensor) -> Tensor:
        """The noise that `place` makes codes `(B, ..., Z)` of; of a flow nearly."""
        raise NotImplementedError

    def log_prob(self, z: Tensor) -> Tensor:
        """log p(z|c) of codes `(B, ..., Z)`: `(B,)` in nats."""
        raise NotImplementedError

    def sample(self, count: int, seed: Any) -> Tensor:
        """Codes `(count, ..., Z)`."""
        return self.place(keras.random.normal((count, *self.code_shape), dtype="float32", seed=seed))


class Unit(PriorOfBatch):
    """N(0, I) of a batch."""

    def __init__(self, code_shape: tuple[int, ...]) -> None:
        self.code_shape = code_shape

    def kl(self, q: DiagonalNormal) -> Tensor:
        return q.kl_per_dimension()

    def place(self, noise: Tensor) -> Tensor:
        return ops.cast(noise, "float32")

    def noise_of(self, z: Tensor) -> Tensor:
        return ops.cast(z, "float32")

    def log_prob(self, z: Tensor) -> Tensor:
        return -0.5 * sum_event(ops.square(ops.cast(z, "float32")) + LOG_2PI)


@dataclasses.dataclass(frozen=True)
class Fitting:
    """How a long fit of a prior is shown and kept.

    Attributes:
        verbose: 1 for a progress bar, 2 for some lines, 0 for neither.
        folder: for checkpoints, from which a fit that was stopped goes on; None for none.
        own: callbacks of Keras' `fit`.
    """

    verbose: int = 0
    folder: pathlib.Path | None = None
    own: Sequence[keras.callbacks.Callback] = ()

    def callbacks(self, steps: int, done: int = 0) -> list[keras.callbacks.Callback]:
        """The callbacks of a fit of so many steps, some of which are done."""
        shown = {1: _Bar, 2: _Lines}.get(self.verbose)
        return [*([shown(steps, done)] if shown else []), *self.own]


class _Bar(keras.callbacks.Callback):
    """One progress bar over all steps of a fit."""

    def __init__(self, steps: int, done: int) -> None:
        super().__init__()
        self.bar, self.done = keras.utils.Progbar(steps), done

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self.done += 1
        self.bar.update(self.done, [("loss", float((logs or {}).get("loss", 0.0)))])


class _Lines(keras.callbacks.Callback):
    """A line after each tenth of a fit."""

    def __init__(self, steps: int, done: int) -> None:
        super().__init__()
        self.steps, self.done = steps, done

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        before, self.done = self.done, self.done + 1
        if 10 * self.done // self.steps > 10 * before // self.steps:
            loss = float((logs or {}).get("loss", 0.0))
            print(f"prior: {self.done:,} of {self.steps:,} steps, loss {loss:.3f}", flush=True)


class Prior(keras.layers.Layer):
    """Base class of priors, a Keras layer so that its weights are saved with the model."""

    fitted_to_codes = False  # whether `fit` is to be called when the rest is trained
    looks_back = False  # whether p(z_t) depends on what DRAW has drawn before step t
    of_any_size = False  # whether `place` takes maps of noise of any height and width
    has_inverse = True  # whether there is a `noise_of`
    has_density = True  # whether there is a `log_prob`
    redraws = False  # whether `fit` takes more than one draw of each image's code
    walks_through_noise = False  # whether ways between codes are better taken between their noise
    most_numbers = 2_600_000  # in the codes that `fit` gets: 20,000 codes of 128 take a mixture minutes

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", "name": "prior", **kwargs})
        self.code_shape: tuple[int, ...] = ()
        self.begun_by: Any = None  # a reference to the model that made it for a fit

    def begin(self, code_shape: Sequence[int], condition: dict[str, Any]) -> None:
        """Take the form of the model that has this prior.

        Args:
            code_shape: of one image, `(..., Z)`.
            condition: the symbolic tensors of the model's condition, by name. For a model that draws in steps
                also `state`, that of its decoder `(B, R)`.

        Raises:
            InputError: a prior that such a model cannot have.
        """
        self.code_shape = tuple(code_shape)
        self.built = True

    def given(self, condition: Condition = UNCONDITIONAL, training: bool = False) -> Any:
        """p(z|c) of a batch's condition, a `PriorOfBatch`."""
        raise NotImplementedError

    def fit(
        self,
        draws: Draws | Drawn,
        labels: np.ndarray | None = None,
        seed: int = 0,
        fitting: Fitting = Fitting(),  # noqa: B008
    ) -> None:
        """Fit the prior to latent codes when the rest of the model is trained.

        Args:
            draws: of the codes of images.
            labels: their classes, `(N,)`, for a model that is conditioned on them.
            seed: of where the fit begins, and of what it draws.
            fitting: how it is shown and kept.

        Raises:
            InputError: a prior that is not fitted to codes; codes to which it cannot be fitted.
        """
        raise InputError(f"prior must be one that is fitted to codes; a {type(self).__name__} is not.")

    def require_codes(self, count: int, labels: np.ndarray | None = None) -> None:
        """Raise `InputError` if the codes of so many images, of these classes, are too few for `fit`."""

    @property
    def fitted(self) -> bool:
        """Whether `fit` has found something, as far as is known."""
        return self.fitted_to_codes

    @property
    def summary(self) -> str:
        """What the prior is, in a few words."""
        return type(self).__name__

    def reset(self) -> None:
        """Forget what `fit` has found."""

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name}

    def get_build_config(self) -> None:  # the model calls `begin`
        return None

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(
            **{
                name: keras.saving.deserialize_keras_object(value) if isinstance(value, dict) else value
                for name, value in config.items()
            }
        )


class Fitted(Prior):
    """Base class of the package's priors that are fitted to latent codes when the rest is trained.

    Its weights are no player's: they stay fixed whatever `trainable` of the model says. In training, and
    until `fit`, the prior is N(0, I). It may be one for each class.
    """

    fitted_to_codes = True

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "trainable": False})
        self.num_classes: int | None = None

    @property
    def trainable(self) -> bool:
        """False."""
        return False

    @trainable.setter
    def trainable(self, value: bool) -> None:
        """Keras hands down what the model is set to."""

    def begin(self, code_shape: Sequence[int], condition: dict[str, Any]) -> None:
        labels = condition.get("labels")
        num_classes = None if labels is None else labels.shape[-1]
        if not self.built:
            super().begin(code_shape, condition)
            self.num_classes = num_classes
            self.make_weights()
        elif (self.code_shape, self.num_classes) != (tuple(code_shape), num_classes):
            raise InputError(
                f"prior must be a new object: this one is of codes {self.code_shape} and "
                f"{self.num_classes or 'no'} classes."
            )

    def make_weights(self) -> None:
        """Make the weights, for codes of `code_shape` and `num_classes`."""
        raise NotImplementedError

    def of_batch(self, labels: Tensor | None) -> PriorOfBatch:
        """p(z|y) of the one-hot labels of a batch."""
        raise NotImplementedError

    def given(self, condition: Condition = UNCONDITIONAL, training: bool = False) -> PriorOfBatch:
        return Unit(self.code_shape) if training else self.of_batch(condition.get("labels"))
