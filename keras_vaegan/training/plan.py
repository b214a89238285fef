"""The plan of a training: its length in epochs and steps, and what a run tells of it before it starts."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_vaegan import memory
from keras_vaegan.backend.layers import layers_of
from keras_vaegan.networks.functional import output_of
from keras_vaegan.training.epochs import EpochCallback

FEWEST_EPOCHS, MOST_EPOCHS, USUAL_EPOCHS = 10, 50, 20  # that steps are divided into, if they are enough
LEAST_STEPS = 25  # in one of several epochs: a sample grid after every few steps would cost more than they do
STEPS_TIMED = 20  # at most, after the first ones, which compile
SECONDS_TIMED = 10.0  # or fewer steps, if they take longer than this
MOST_VALIDATED = 5000  # images after each epoch: more would take longer than short epochs do
FIRST_STEPS = 2  # that compile, and are not timed
WORTH_TELLING = 20.0  # seconds that a training must take for its time to be told
NUMBERS_PER_WEIGHT = 5  # itself, its gradient, two means of Adam, and the average of the weights
COLORS = {1: "gray", 3: "color (RGB)", 4: "color and alpha (RGBA)"}


class Length(NamedTuple):
    """How long a training is.

    Attributes:
        epochs: its number.
        steps_per_epoch: steps of each, if the length is given in steps; None for one pass over the images.
    """

    epochs: int
    steps_per_epoch: int | None


def length_of(training: Mapping[str, Any], steps_per_epoch: int | None = None) -> Length:
    """The length of a training from its section of the recipe.

    Steps are divided into 10 to 50 epochs of one length, with a checkpoint and a sample grid after each, in
    such a way that as few steps as possible are added to make the last epoch whole.

    Args:
        training: with `epochs` or `steps`.
        steps_per_epoch: of a run that goes on, whose epochs keep their length; None for a new one.
    """
    steps = training.get("steps")
    if steps is None:
        return Length(training["epochs"], None)
    if steps_per_epoch is not None:
        return Length(math.ceil(steps / steps_per_epoch), steps_per_epoch)
    most = max(1, min(MOST_EPOCHS, steps // LEAST_STEPS))
    fewest = min(FEWEST_EPOCHS, most)

    def cost(epochs: int) -> tuple[int, float]:
        return -steps % epochs, abs(math.log(epochs / USUAL_EPOCHS))

    epochs = min(range(fewest, most + 1), key=cost)
    return Length(epochs, math.ceil(steps / epochs))


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a run has found and will do, for people.

    Attributes:
        recipe: of the model, with its `source` in words.
        num_images: of the three splits.
        image_shape: `(H, W, C)` that the model takes.
        code_shape: of the latent code of an image.
        class_names: names of the classes; numbers if they have none; None without labels.
        parameters: numbers in the weights of each network.
        length: of the training.
        steps: in an epoch.
        done: steps that a run that goes on has done.
        in_memory: bytes of images that are in memory, of all splits.
        step_memory: bytes that a step takes, roughly, beside the weights.
        notes: further words on the images, as how they are cropped.
    """

    recipe: Mapping[str, Any]
    num_images: Sequence[int]
    image_shape: Sequence[int]
    code_shape: Sequence[int]
    num_classes: int | None
    parameters: Mapping[str, int]
    length: Length
    steps: int
    done: int = 0
    in_memory: int = 0
    step_memory: int = 0
    notes: Sequence[str] = ()

    @property
    def total(self) -> int:
        """Steps of the whole training."""
        return self.length.epochs * self.steps

    def lines(self) -> Iterator[str]:
        """The plan as text: a line for each subject."""
        rows = {
            "images": self._images(),
            "recipe": self._recipe(),
            "networks": self._networks(),
            "training": self._training(),
            "memory": self._memory(),
        }
        for name, text in rows.items():
            yield f"  {name:9} {text}"

    def _images(self) -> str:
        train, validation, test = self.num_images
        height, width, channels = self.image_shape
        kind = COLORS.get(channels, f"{channels} channels")
        used = "labels" in self.recipe["networks"].get("condition", ())
        classes = "no classes" if self.num_classes is None else _count(self.num_classes, "class", "classes")
        if self.num_classes is not None and not used:
            classes += ", which this model does not use"
        found = f"{train:,} to train on, {validation:,} to validate, {test:,} to test"
        return "; ".join([found, f"{height}x{width}, {kind}", *self.notes, classes])

    def _recipe(self) -> str:
        training = self.recipe["training"]
        facts = [
            self.recipe["model"]["key"],
            *self.recipe.get("source", "").split("; ")[:1],
            f"latent code of {'x'.join(map(str, self.code_shape))} numbers",
            f"batches of {training['batch_size']}",
        ]
        return "; ".join(fact for fact in facts if fact)

    def _networks(self) -> str:
        each = ", ".join(f"{name} {count:,}" for name, count in self.parameters.items())
        total = sum(self.parameters.values())
        amount = f"{total / 1e6:.1f} million" if total >= 1e5 else f"{total:,}"
        return f"{each}; {amount} parameters"

    def _training(self) -> str:
        batch_size = self.recipe["training"]["batch_size"]
        passes = self.total * batch_size / max(self.num_images[0], 1)
        over = f", {passes:,.0f} passes over the images" if passes >= 1.5 else ""
        epochs = _count(self.length.epochs, "epoch", "epochs")
        done = f"; {self.done:,} steps are done" if self.done else ""
        return (
            f"{_count(self.total, 'step', 'steps')} in {epochs} of {self.steps:,}{over}{done}"
            f"{self._accumulated()}; "
            f"a checkpoint and a sample grid after each epoch{self._validated()}"
        )

    def _accumulated(self) -> str:
        """After how many steps weights are updated, if gradients accumulate."""
        counts = {
            player: settings.get("gradient_accumulation_steps") or 1
            for player, settings in self.recipe["optimizer"].items()
        }
        if len(set(counts.values())) == 1:
            counts = {"weights": next(iter(counts.values()))}
        told = [f"{name} updated every {number} steps" for name, number in counts.items() if number > 1]
        return "".join(f"; {one}" for one in told)

    def _validated(self) -> str:
        number = self.num_images[1]
        if number <= MOST_VALIDATED:
            return ""
        return f", and the losses of {MOST_VALIDATED:,} of the {number:,} validation images"

    def _memory(self) -> str:
        weights = sum(self.parameters.values()) * NUMBERS_PER_WEIGHT * 4
        parts = {"images": self.in_memory, "weights": weights, "a step": self.step_memory}
        needed = ", ".join(f"{name} {_size(count)}" for name, count in parts.items() if count)
        where = "" if self.in_memory else "; images are read from disk"
        return f"about {_size(sum(parts.values()))} ({needed}) of {_size(memory.available())} free{where}"


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def _size(number: float) -> str:
    """Bytes for people, in MB or GB."""
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{max(number / 1e6, 1):.0f} MB"


def parameters_of(model: Any) -> dict[str, int]:
    """`{network: numbers in its weights}` of a model of players, each network once."""
    found: dict[str, int] = {}
    seen: set[int] = set()
    for network in (network for networks in model.player_networks().values() for network in networks):
        own = {id(weight): weight for weight in network.weights if id(weight) not in seen}
        seen |= own.keys()
        count = sum(math.prod(weight.shape) for weight in own.values())
        if count:
            found[network.name] = found.get(network.name, 0) + count
    return found


def step_memory(model: Any, batch_size: int) -> int:
    """Bytes that a training step takes, roughly: what the layers of all networks give, with its gradients.

    The decoder of a hybrid runs twice, its discriminator three times, a DRAW as often as it has steps.
    """
    runs = {"decoder": 2, "discriminator": 3} if hasattr(model, "discriminator") else {}
    total = 0
    for network in (network for networks in model.player_networks().values() for network in networks):
        total += _numbers(network, model) * runs.get(network.name, 1)
    return 2 * 4 * batch_size * total * int(getattr(model, "steps", None) or 1)


def _numbers(network: Any, model: Any) -> int:
    """Numbers that the layers of a network give for one image."""
    inputs = keras.tree.flatten(getattr(network, "inputs", []))
    if not any(None in tensor.shape[1:] for tensor in inputs):
        return sum(_outputs(layer) for layer in layers_of(network) if not isinstance(layer, keras.Model))
    of_codes = network is model.decoder
    inner = keras.Model(network.input, [layer.output for layer in network.layers])
    given = output_of(
        inner, "codes" if of_codes else "images", model.code_shape if of_codes else model.image_shape
    )
    return sum(math.prod(tensor.shape[1:]) for tensor in keras.tree.flatten(given))


def _outputs(layer: Any) -> int:
    """Numbers that a layer gives for one image; 0 if it does not say."""
    try:
        shapes = [tensor.shape[1:] for tensor in keras.tree.flatten(layer.output)]
    except (AttributeError, ValueError):
        return 0
    return sum(math.prod(side or 1 for side in shape) for shape in shapes)


def memory_of(arrays: Sequence[Any]) -> int:
    """Bytes of the arrays that are in memory, those that are read on use left out."""
    return sum(
        array.nbytes for array in arrays if isinstance(array, np.ndarray) and not isinstance(array, np.memmap)
    )


class TellTime(EpochCallback):
    """Tell after the first steps how long the training will take, and once more if an epoch takes longer.

    Args:
        report: takes a line.
        total: steps of the whole training.
        left_out: batches that a resumed `fit` draws without a step, in its first epoch.
    """

    def __init__(self, report: Callable[[str], None], total: int, left_out: int = 0) -> None:
        super().__init__()
        self.report, self.total, self.left_out = report, total, left_out
        self._first: int | None = None
        self._at = self._epoch_at = 0.0
        self._from = 0
        self._told: float | None = None
        self._measured = False
        self._epoch = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        super().on_epoch_begin(epoch, logs)
        self._epoch, self._epoch_at = epoch, time.monotonic()
        if self._first is None:
            self._first = epoch

    # Not at the end of a batch: a callback with that hook makes Keras fetch the logs of every batch.
    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        super().on_train_batch_begin(batch, logs)
        if self._measured or self._epoch != self._first:
            return
        trained = batch - self.left_out
        if self._at == 0.0 and trained >= FIRST_STEPS:
            self.model.synchronize()
            self._at, self._from = time.monotonic(), batch
        elif self._at and batch > self._from:
            spent = time.monotonic() - self._at
            if batch - self._from >= STEPS_TIMED or spent >= SECONDS_TIMED:
                self.model.synchronize()
                each = (time.monotonic() - self._at) / (batch - self._from)
                self._measured = True
                self._tell(each, batch, "validation not counted")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self._steps is None or epoch != (self._first or 0) + 1 or self.broken_off:
            return
        # The second epoch of this `fit`, whose steps were all trained and compiled before.
        each = (time.monotonic() - self._epoch_at) / self._steps
        if self._told is None or not 0.8 * self._told <= each <= 1.2 * self._told:
            self._tell(each, self._steps, "validation included")

    def _tell(self, each: float, batch: int, note: str) -> None:
        """Report the time of the steps that are left, if it is worth it."""
        steps = self._steps or 0
        left = (self.total - self._epoch * steps - batch) * each
        self._told = each
        if left >= WORTH_TELLING:
            self.report(f"  time      {each:.2g} s a step: about {roughly(left)} left, {note}")


def roughly(seconds: float) -> str:
    """A time for people, of two digits."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 100 * 3600 else f"{seconds / 86400:.1f} days"
