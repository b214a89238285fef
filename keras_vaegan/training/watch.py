"""The first tensor of a training step that is not finite, and states of a training to go back to."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_vaegan.typing import Tensor

NONE = -1


class Place(NamedTuple):
    """What a tensor of the training step is.

    Attributes:
        what: in words, as "the loss of generator".
        players: whose optimizers have to do with it; none have with the data.
    """

    what: str
    players: tuple[str, ...] = ()


class Watch:
    """Notes on the device, without a stop, the first tensor that is not finite, and its step.

    It is no Keras metric, so that no saved file and no log knows of it: its variables are part of
    the state of the step alone (`MultiPlayerModel.metrics_variables`).
    """

    def __init__(self) -> None:
        def counter(value: int, name: str) -> keras.Variable:
            # "int" is what every backend keeps beside the weights; all replicas assign the same.
            return keras.Variable(
                value, dtype="int", trainable=False, aggregation="only_first_replica", name=name
            )

        self.first, self.steps = counter(NONE, "first_bad"), counter(0, "clean_steps")
        self.places: tuple[Place, ...] = ()

    def forget(self) -> None:
        """Begin anew."""
        self.first.assign(NONE)
        self.steps.assign(0)

    @property
    def variables(self) -> list[keras.Variable]:
        """`first`, the index of the tensor or -1, and `steps`, the clean steps before it."""
        return [self.first, self.steps]

    def observe(self, tensors: Mapping[Place, Tensor], replica_mean: Callable[[Tensor], Tensor]) -> None:
        """Look at the tensors of a step.

        Args:
            tensors: `{place: tensor}` in the order of their computation.
            replica_mean: the mean of a tensor over the devices that share the batch.
        """
        floats = {
            place: ops.convert_to_tensor(tensor) for place, tensor in tensors.items() if is_float(tensor)
        }
        self.places = tuple(floats)
        finite = [ops.all(ops.isfinite(tensor)) for tensor in floats.values()]
        # The counters, too, so that every replica has read them before another one assigns.
        read = [ops.cast(value, "float32") for value in (*finite, *self.variables)]
        agreed = replica_mean(ops.stack(read))
        finite, first, steps = agreed[:-2] == 1.0, agreed[-2], agreed[-1]
        count = float(len(floats))
        position = ops.min(ops.where(finite, count, ops.arange(count, dtype="float32")))
        seen = ops.where(ops.logical_and(first == NONE, position < count), position, first)
        self.first.assign(ops.cast(seen, self.first.dtype))
        self.steps.assign(ops.cast(steps, self.steps.dtype) + ops.cast(seen == NONE, self.steps.dtype))

    def seen(self) -> tuple[int, Place | None]:
        """The number of clean steps, and the place of the tensor that ended them, or None.

        On JAX the state of the running `fit` must be synchronised first.
        """
        first, steps = (int(ops.convert_to_numpy(variable)) for variable in self.variables)
        return steps, None if first == NONE else self.places[first]


def step_tensors(
    model: Any, x: Tensor, sample_weight: Tensor | None, losses: Any, gradients: Mapping[str, list[Tensor]]
) -> dict[Place, Tensor]:
    """What a training step of a `MultiPlayerModel` computes, in this order.

    The data, the terms that are logged, the players' losses, their gradients, and the state after
    the step. `losses` are its `Losses`, `gradients` are by player.
    """
    everyone, players = tuple(model.players), model.player_variables()
    tensors = {Place("the batch of images"): x}
    if sample_weight is not None:
        tensors[Place("the batch of sample weights")] = sample_weight
    # In the order of the model: JAX sorts the dictionaries. `loss` is the sum of other terms.
    terms = [name for name in model.log_names if name not in (*everyone, "loss")]
    for name in [*terms, "loss"]:
        tensors[Place(f"the term {name}", everyone)] = losses.logs[name]
    for player in everyone:
        tensors[Place(f"the loss of {player}", (player,))] = losses.players[player]
    # Under loss scaling gradients overflow as a matter of course, and their step is left out.
    scaled = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    for player, variables in ({} if scaled else players).items():
        for variable, gradient in zip(variables, gradients[player], strict=True):
            tensors[Place(f"the gradient of {player} for {variable.path}", (player,))] = gradient
    for player, variables in players.items():
        for variable in variables:
            tensors[Place(f"{variable.path} as {player} changed it", (player,))] = variable
    for variable in model.non_trainable_variables:
        tensors[Place(variable.path, everyone)] = variable
    return tensors


class Snapshot(NamedTuple):
    """The whole state of a training on the host: weights, optimizer slots, averages, seeds."""

    step: int
    values: list[np.ndarray]

    @classmethod
    def take(cls, model: Any, step: int) -> "Snapshot":
        """A copy of what the model's variables hold."""
        # Some backends give a view of the variable's own memory.
        return cls(step, [np.array(ops.convert_to_numpy(variable)) for variable in state_of(model)])

    def restore(self, model: Any) -> None:
        """Give the model this state back."""
        for variable, value in zip(state_of(model), self.values, strict=True):
            variable.assign(value)

    def first_bad(self, model: Any) -> str | None:
        """Path of the first variable that is not finite, or None."""
        for variable, value in zip(state_of(model), self.values, strict=True):
            if is_float(variable) and not np.isfinite(value).all():
                return variable.path
        return None


def state_of(model: Any) -> Sequence[keras.Variable]:
    """All variables that training changes."""
    return [*model.trainable_variables, *model.non_trainable_variables, *model.optimizer.variables]


def is_float(tensor: Any) -> bool:
    """Whether a tensor or variable can be other than finite."""
    return "float" in keras.backend.standardize_dtype(tensor.dtype)
