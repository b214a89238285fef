"""A flow from noise to latent codes, which is learned when the rest of the model is trained."""

import dataclasses
import hashlib
import json
import math
import pathlib
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_vaegan.backend import shares, unfold
from keras_vaegan.distributions import DiagonalNormal
from keras_vaegan.errors import InputError, at_least, shown, whole_number
from keras_vaegan.files import atomic_path, read_json, write_json
from keras_vaegan.priors import velocity
from keras_vaegan.priors.base import Fitted, Fitting, PriorOfBatch
from keras_vaegan.priors.draws import Drawn, Draws, finite_first
from keras_vaegan.typing import Tensor

EPOCH = 100  # steps of the fit from one checkpoint to the next
UNLABELLED = 0.1  # share of the codes whose class is hidden, so that guidance has a velocity without
LEAST_SCALE = 1e-3  # of a code's element, by which it is divided
CHECKPOINT, FACTS = "flow.keras", "flow.json"


@dataclasses.dataclass(frozen=True)
class Form:
    """What a flow's settings are for codes of one kind, if they are not given.

    Attributes:
        width, depth: of the network.
        fit_steps, fit_batch_size, fit_rate: of its training.
    """

    width: int
    depth: int
    fit_steps: int
    fit_batch_size: int
    fit_rate: float


VECTORS = Form(192, 4, 10_000, 256, 1e-3)
SEQUENCES = Form(128, 4, 4000, 128, 1e-3)
MAPS = Form(144, 6, 3000, 64, 1e-3)


@keras.saving.register_keras_serializable("keras_vaegan")
class Flow(Fitted):
    """p(z|y) by a rectified flow, learned from codes when all else is trained (Liu et al. 2023).

    A network learns the velocity of codes on straight ways from noise e at time 0 to codes z at time 1:

        L = E |v((1 - t) e + t z, t, y) - (z - e)|^2,  e ~ N(0, I),  z ~ q(z|x)

    (eq. 1; also Lipman et al. 2023.) Times are logit-normal (Esser et al. 2024). Codes come from noise by the
    differential equation dz = v(z, t) dt, which the midpoint rule solves in a fixed number of steps. Codes
    are scaled to mean 0 and variance 1: each element, or each channel of a map. The weights are averages
    (EMA).

    A model that is conditioned on class labels has a flow for each class. With a guidance g above 1 the
    velocity is v(z, t) + g (v(z, t, y) - v(z, t)) (Ho and Salimans 2022): codes are more typical of their
    class, and less varied.

    Before `fit` the flow is N(0, I). The KL of the ELBO stays the one to N(0, I). A flow gives no density, so
    `log_likelihood` takes N(0, I).

    Args:
        solver_steps: steps from noise to codes, two evaluations of the network each.
        guidance: g; 1 is none.
        width, depth, heads: of the network: hidden width, residual blocks, and heads of the attention between
            the positions of sequences and maps. None for a size that suits the form of the codes.
        fit_steps, fit_batch_size, fit_rate: steps, batch size and first learning rate of the training of the
            flow; None for those that suit the form of the codes.
        **kwargs: of `keras.layers.Layer`.

    Raises:
        InputError: a setting out of its range; a width that the heads do not divide; a model that is
            conditioned on images.
    """

    has_density = False
    redraws = True
    walks_through_noise = True
    most_numbers = 50_000_000

    def __init__(
        self,
        solver_steps: int = 8,
        guidance: float = 1.0,
        width: int | None = None,
        depth: int | None = None,
        heads: int = 4,
        fit_steps: int | None = None,
        fit_batch_size: int | None = None,
        fit_rate: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.solver_steps = whole_number("solver_steps", solver_steps, 1)
        self.guidance = at_least("guidance", guidance, 1.0)
        self.heads = whole_number("heads", heads, 1)
        whole = {"width": width, "depth": depth, "fit_steps": fit_steps, "fit_batch_size": fit_batch_size}
        for name, value in whole.items():
            setattr(self, name, None if value is None else whole_number(name, value, 1))
        self.fit_rate = None if fit_rate is None else at_least("fit_rate", fit_rate, 0.0)

    def begin(self, code_shape: Sequence[int], condition: dict[str, Any]) -> None:
        if "given" in condition:
            raise InputError("prior must not be a flow in a model that is conditioned on images.")
        if self.guidance != 1.0 and "labels" not in condition:
            raise InputError(
                f"guidance must be 1 in a model that is not conditioned on labels; received {self.guidance}."
            )
        super().begin(code_shape, condition)

    def make_weights(self) -> None:
        if len(self.code_shape) > 1 and self.form.width % self.heads:
            raise InputError(f"heads must divide the width {self.form.width}; received {shown(self.heads)}.")
        self.network = self._new_network()
        self.network.trainable = False
        each = self.code_shape[-1:] if len(self.code_shape) == 3 else self.code_shape
        self.mean = self.add_weight(shape=each, initializer="zeros", trainable=False, name="mean")
        self.scale = self.add_weight(shape=each, initializer="ones", trainable=False, name="scale")
        self.done = self.add_weight(shape=(), initializer="zeros", trainable=False, name="fitted")

    @property
    def form(self) -> Form:
        """The settings as they are for the codes of the model."""
        default = {1: VECTORS, 2: SEQUENCES}.get(len(self.code_shape), MAPS)
        given = {field.name: getattr(self, field.name) for field in dataclasses.fields(Form)}
        return dataclasses.replace(default, **{k: v for k, v in given.items() if v is not None})

    def _new_network(self) -> keras.Model:
        form = self.form
        return velocity.network(self.code_shape, form.width, form.depth, self.heads, self.num_classes)

    def of_batch(self, labels: Tensor | None) -> PriorOfBatch:
        return _FlowOfBatch(self, labels)

    # ---- the fit ----

    def fit(
        self,
        draws: Draws | Drawn,
        labels: np.ndarray | None = None,
        seed: int = 0,
        fitting: Fitting = Fitting(),  # noqa: B008
    ) -> None:
        self.require_codes(len(draws), labels)
        form = self.form
        mean, scale = _moments(finite_first(draws))
        epochs = -(-form.fit_steps // EPOCH)
        per_epoch = -(-form.fit_steps // epochs)
        steps = epochs * per_epoch
        settings = {**dataclasses.asdict(form), "heads": self.heads, "seed": seed}
        kept = _Kept.of(fitting.folder, settings, mean, scale, labels)
        found = kept.read()
        if found is None:
            done, network = 0, self._new_network()
            velocity.begin(network, seed)
            schedule = keras.optimizers.schedules.CosineDecay(
                0.0, steps, alpha=0.02, warmup_target=form.fit_rate, warmup_steps=per_epoch
            )
            averaged = {"use_ema": True, "ema_momentum": 1.0 - 10.0 / max(steps, 100)}
            network.compile(keras.optimizers.Adam(schedule, global_clipnorm=1.0, **averaged), loss="mse")
        else:
            done, network = found
        if done < epochs:
            batches = _Batches(self, draws, labels, (mean, scale), seed, per_epoch)
            network.fit(
                batches,
                epochs=epochs,
                initial_epoch=done,
                shuffle=False,
                verbose=0,
                callbacks=[
                    keras.callbacks.LambdaCallback(on_epoch_begin=batches.begin),
                    *fitting.callbacks(steps, done * per_epoch),
                    keras.callbacks.TerminateOnNaN(),
                    kept,
                ],
            )
        else:  # the last checkpoint is older than the averages in their place
            network.optimizer.finalize_variable_values(network.trainable_variables)
        if not all(np.isfinite(weight).all() for weight in network.get_weights()):
            raise InputError(
                f"fit_rate must be lower: the flow's training gave NaN or infinity; received {form.fit_rate}."
            )
        self.network.set_weights(network.get_weights())
        self.mean.assign(mean)
        self.scale.assign(scale)
        self.done.assign(1.0)

    def require_codes(self, count: int, labels: np.ndarray | None = None) -> None:
        if count < 2:
            raise InputError(f"x must hold at least 2 images for a flow; received {count}.")

    @property
    def fitted(self) -> bool:
        return bool(ops.convert_to_numpy(self.done))

    @property
    def summary(self) -> str:
        each = "" if self.num_classes is None else " conditioned on the class"
        return f"a flow of {self.solver_steps} steps{each}"

    def reset(self) -> None:
        """Make the flow N(0, I), which it is until `fit`."""
        if not self.fitted:
            return
        last = self.network.get_layer("velocity")
        last.set_weights([np.zeros(weight.shape) for weight in last.weights])
        self.mean.assign(np.zeros(self.mean.shape))
        self.scale.assign(np.ones(self.scale.shape))
        self.done.assign(0.0)

    def get_config(self) -> dict[str, Any]:
        names = ("solver_steps", "guidance", "heads", *(field.name for field in dataclasses.fields(Form)))
        return super().get_config() | {name: getattr(self, name) for name in names}


def _moments(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each element of codes, or of each channel of maps."""
    axes = (0, 1, 2) if codes.ndim == 4 else 0
    mean, scale = (of(codes, axis=axes, dtype="float64") for of in (np.mean, np.std))
    return mean.astype("float32"), np.maximum(scale, LEAST_SCALE).astype("float32")


class _Batches(keras.utils.PyDataset):
    """Batches for the fit of a flow; each depends on the seed and its number alone.

    Args:
        flow: which is fitted.
        draws, labels: of the codes, and their classes.
        scaling: mean and scale of the codes.
        seed: of all that is drawn.
        per_epoch: batches of an epoch.
    """

    def __init__(
        self,
        flow: Flow,
        draws: Draws | Drawn,
        labels: np.ndarray | None,
        scaling: tuple[np.ndarray, np.ndarray],
        seed: int,
        per_epoch: int,
    ) -> None:
        super().__init__()
        self.flow, self.draws, self.labels, self.scaling = flow, draws, labels, scaling
        self.seed, self.per_epoch, self.epoch = seed, per_epoch, 0
        self.devices = shares()

    def __len__(self) -> int:
        return self.per_epoch

    def begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Give the batches of an epoch from now on."""
        self.epoch = epoch

    def __getitem__(self, index: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        generator = np.random.default_rng([self.seed, self.epoch, index])
        size, classes = self.flow.form.fit_batch_size, self.flow.num_classes
        size = -(-size // self.devices) * self.devices  # which share a batch
        rows = generator.integers(0, len(self.draws), size)
        mean, scale = self.scaling
        z = (self.draws.of(rows, generator) - mean) / scale
        e = generator.standard_normal(z.shape, "float32")
        time = 1.0 / (1.0 + np.exp(-generator.standard_normal(size, "float32")))
        t = time.reshape(-1, *[1] * (z.ndim - 1))
        inputs = {"codes": (1.0 - t) * e + t * z, "time": time}
        if classes is not None and self.labels is not None:
            told = generator.random(size) >= UNLABELLED
            inputs["labels"] = np.eye(classes)[self.labels[rows]] * told[:, None]
        return {name: value.astype("float32") for name, value in inputs.items()}, z - e


class _FlowOfBatch(PriorOfBatch):
    """A flow for the classes of a batch."""

    def __init__(self, of: Flow, labels: Tensor | None) -> None:
        self.of, self.labels, self.code_shape = of, labels, of.code_shape

    def kl(self, q: DiagonalNormal) -> Tensor:
        """KL(q || N(0, I)): the training does not know the flow."""
        return q.kl_per_dimension()

    def place(self, noise: Tensor) -> Tensor:
        z = self.solved(ops.cast(noise, "float32"), 0.0, 1.0, self.of.solver_steps)
        return ops.convert_to_tensor(self.of.mean) + ops.convert_to_tensor(self.of.scale) * z

    def noise_of(self, z: Tensor) -> Tensor:
        z = (ops.cast(z, "float32") - self.of.mean) / self.of.scale
        return self.solved(z, 1.0, 0.0, 2 * self.of.solver_steps)

    def velocity(self, z: Tensor, time: Tensor) -> Tensor:
        """v `(B, ...)` of scaled codes at one time, a scalar."""
        inputs = {"codes": z, "time": ops.broadcast_to(time, (ops.shape(z)[0],))}
        if self.labels is None:
            return self.of.network(inputs)
        labels = ops.cast(self.labels, "float32")
        of_class = self.of.network({**inputs, "labels": labels})
        if self.of.guidance == 1.0:
            return of_class
        of_any = self.of.network({**inputs, "labels": ops.zeros_like(labels)})
        return of_any + self.of.guidance * (of_class - of_any)

    def solved(self, z: Tensor, begin: float, end: float, steps: int) -> Tensor:
        """Scaled codes taken from one time to another by the midpoint rule."""
        size = (end - begin) / steps

        def step(state: Any, given: Any) -> Any:
            z, time = state["z"], given["time"]
            middle = z + 0.5 * size * self.velocity(z, time)
            return {"z": z + size * self.velocity(middle, time + 0.5 * size)}, {}

        times = ops.convert_to_tensor(begin + size * np.arange(steps, dtype="float32"))
        return unfold(step, {"z": z}, {"time": times}, steps)[0]["z"]


class _Kept(keras.callbacks.Callback):
    """Checkpoints of a fit in a folder, if there is one, and the state to go on from."""

    def __init__(self, folder: pathlib.Path | None, facts: dict[str, Any]) -> None:
        super().__init__()
        self.folder, self.facts = folder, facts

    @classmethod
    def of(
        cls,
        folder: pathlib.Path | None,
        settings: dict[str, Any],
        mean: np.ndarray,
        scale: np.ndarray,
        labels: np.ndarray | None,
    ) -> "_Kept":
        """Those of a fit with these settings to codes of these moments and classes."""
        if folder is not None and folder.exists() and not folder.is_dir():
            raise InputError(f"folder must be a folder; {folder} is a file.")
        classes = (
            None if labels is None else hashlib.sha256(np.asarray(labels, "int64").tobytes()).hexdigest()
        )
        moments = [float(np.sum(values, dtype="float64")) for values in (mean, scale)]
        return cls(folder, {**settings, "labels": classes, "codes": moments})

    def read(self) -> tuple[int, keras.Model] | None:
        """The epochs that are done and the network, if the folder has a checkpoint of the same fit."""
        if self.folder is None or not (self.folder / FACTS).is_file():
            return None
        try:
            there = read_json(self.folder / FACTS, "folder", dict)
            known = {name: there.get(name) for name in self.facts}
            if not _alike(known, self.facts):
                return None
            return int(there["epochs"]), keras.saving.load_model(self.folder / there["file"])
        except (InputError, OSError, ValueError, KeyError, TypeError):  # damaged: the fit begins anew
            return None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{epoch + 1:04d}_{CHECKPOINT}"
        with atomic_path(path) as temporary:
            self.model.save(temporary)
        write_json(self.folder / FACTS, {**self.facts, "epochs": epoch + 1, "file": path.name})
        for old in self.folder.glob(f"*_{CHECKPOINT}"):
            if old != path:
                old.unlink(missing_ok=True)


def _alike(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether facts are equal, numbers nearly."""
    numbers = [*(one["codes"] or [math.nan]), *other["codes"]]
    half = len(numbers) // 2
    same = json.dumps({**one, "codes": None}) == json.dumps({**other, "codes": None})
    return same and np.allclose(numbers[:half], numbers[half:], rtol=1e-4)
