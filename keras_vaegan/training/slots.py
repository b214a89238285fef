"""What Keras' optimizers know and do not tell: the one place that reads their private attributes."""

from collections.abc import Sequence

import keras

# Set by `exclude_from_weight_decay`, which is no part of an optimizer's configuration.
EXCLUSIONS = ("_exclude_from_weight_decay", "_exclude_from_weight_decay_pattern")


def copy_unbuilt(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """A new optimizer of the same settings, without slots."""
    config = optimizer.get_config()
    rate = optimizer._learning_rate
    if not isinstance(rate, keras.Variable):  # a function is no part of the configuration
        config["learning_rate"] = rate
    copy = type(optimizer).from_config(config)
    for name in EXCLUSIONS:
        if hasattr(optimizer, name):
            setattr(copy, name, getattr(optimizer, name))
    return copy


def are_for(optimizer: keras.optimizers.Optimizer, variables: Sequence[keras.Variable]) -> bool:
    """Whether the slots of an optimizer, if it has some, are those of these variables."""
    if not optimizer.built:
        return True
    return {id(known) for known in optimizer._trainable_variables} == {id(known) for known in variables}


def steps_of(optimizer: keras.optimizers.Optimizer) -> keras.Variable:
    """The training steps that an optimizer has seen; its `iterations` leaves out those that accumulate."""
    return getattr(optimizer, "inner_optimizer", optimizer)._iterations


def begin(optimizer: keras.optimizers.Optimizer) -> None:
    """Let slots that start as copies of the weights, if there are any, start as what the weights are now."""
    of_weights = isinstance(optimizer, keras.optimizers.ScheduleFreeAdamW)
    if of_weights and not int(keras.ops.convert_to_numpy(optimizer.iterations)):
        for slot, variable in zip(optimizer._momentums, optimizer._trainable_variables, strict=True):
            slot.assign(keras.ops.copy(variable))  # JAX cannot hand one array to a step twice
