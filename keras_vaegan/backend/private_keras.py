"""All that the package uses of Keras' inside: names that Keras may change without notice.

`PRIVATE` says for each name whose it is, which files use it and what for, and how to tell that it still does
what they need. Names without an underscore are here if Keras does not document them, or does not document
that an instance's own method may replace the class's. Only Keras is imported, so that the table can be read
where a new Keras breaks the package.
"""

import functools
import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np

ALL = ("tensorflow", "jax", "torch")


class Private(NamedTuple):
    """A name of Keras' inside.

    Attributes:
        name: as the code has it.
        owner: the class or module whose name it is.
        files: that use it, below the package's folder.
        use: what the package needs it for.
        works: whether it is there and does that, on the running backend.
        backends: on which the package uses it.
    """

    name: str
    owner: str
    files: tuple[str, ...]
    use: str
    works: Callable[[], bool]
    backends: tuple[str, ...] = ALL


def missing() -> list[str]:
    """A sentence for each name that the package uses on the running backend and that fails its check."""
    backend = keras.backend.backend()
    sentences = []
    for private in PRIVATE:
        if backend not in private.backends:
            continue
        try:
            reason = None if private.works() else "it no longer does what is needed"
        except Exception as error:  # whatever a changed inside raises
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        if reason is not None:
            sentences.append(
                f"Keras {keras.__version__} on {backend} breaks {', '.join(private.files)}, which need "
                f"{private.name} of {private.owner} {private.use}; {reason}. Install an older Keras, or "
                "adapt these files."
            )
    return sentences


# ---- small objects to look at ----


class Adding(keras.Layer):
    """A layer with a loss of its own."""

    def call(self, inputs: Any) -> Any:
        self.add_loss(keras.ops.sum(inputs))
        return inputs


class Subject(keras.Model):
    """A model of one weight, which notes what a `fit` and an `evaluate` did."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = keras.layers.Dense(1)
        self.asked = 0
        self.made = 0
        self.train_functions: list[Any] = []

    def call(self, inputs: Any) -> Any:
        return self.dense(inputs)

    @property
    def metrics_variables(self) -> list[keras.Variable]:
        self.asked += 1
        return super().metrics_variables

    def make_train_function(self, force: bool = False) -> None:
        self.made += 1
        self.train_functions.append(self.train_function)
        super().make_train_function(force)
        self.train_functions.append(self.train_function)


@functools.cache
def _fitted() -> tuple[Subject, list[str], int]:
    """A model after `fit` and `evaluate`, the calls within `fit`, and the batches that `evaluate` saw."""
    calls: list[str] = []
    tested: list[int] = []

    class Ending(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            step = self.model.train_function
            if not calls:  # from the next batch on by way of another function

                def counting(*arguments: Any) -> Any:
                    calls.append("train_function")
                    return step(*arguments)

                calls.append("batch")
                self.model.train_function = counting

        def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
            tested.append(batch)
            self.model.stop_evaluating = True

    model, optimizer = Subject(), keras.optimizers.SGD(0.1)
    model.compile(optimizer, "mse")
    optimizer.finalize_variable_values = lambda variables: calls.append("finalize_variable_values")
    x = np.ones((4, 1), "float32")
    model.fit(x, x, batch_size=2, epochs=1, verbose=0, callbacks=[Ending()])
    model.evaluate(x, x, batch_size=1, verbose=0, callbacks=[Ending()])
    return model, calls, len(tested)


def _variables() -> list[keras.Variable]:
    return [keras.Variable(np.ones(shape, "float32"), name=f"of_{len(shape)}") for shape in ((2,), (3, 1))]


def _built(optimizer: Any) -> tuple[Any, list[keras.Variable]]:
    variables = _variables()
    optimizer.build(variables)
    return optimizer, variables


def _called(owner: Any, name: str, act: Callable[[], Any], value: Any = None) -> bool:
    """Whether an action calls the function that stands on an object in place of its method."""
    calls = []

    def own(*arguments: Any, **settings: Any) -> Any:
        calls.append(name)
        return value

    assert callable(getattr(owner, name))
    setattr(owner, name, own)
    act()
    return bool(calls)


# ---- the checks ----


def _all_layers_are_found() -> bool:
    deepest = keras.layers.Dense(1)
    inner = keras.Sequential([keras.Input((2,)), keras.layers.SpectralNormalization(deepest)])
    outer = keras.Sequential([keras.Input((2,)), inner])
    found = [id(layer) for layer in outer._flatten_layers()]
    return {id(outer), id(inner), id(deepest)} <= set(found) and len(found) == len(set(found))


def _a_layer_can_be_let_go() -> bool:
    outer = keras.Model()
    outer.one = one = keras.layers.Dense(1)
    outer.two = keras.layers.Identity()
    one.build((None, 2))
    place, kept = outer._layers.index(one), len(outer.weights)
    outer._tracker.untrack(one)
    outer.one = keras.layers.Identity()
    outer._layers.insert(place, outer._layers.pop())
    return kept == 2 and not outer.weights and outer.layers == [outer.one, outer.two]


def _one_call_context_keeps_the_losses_of_all_calls() -> bool:
    layer, x = Adding(), np.ones((1, 2), "float32")
    owner = keras.Sequential([layer])
    owner._get_call_context()
    try:
        layer(x)
        layer(x)
        within = len(layer.losses)
    finally:
        owner._maybe_reset_call_context()
    layer(x)
    return within == 2 and len(layer.losses) == 1


def _a_learning_rate_that_is_a_function_is_kept() -> bool:
    def rate() -> float:
        return 0.1

    return keras.optimizers.SGD(rate)._learning_rate is rate


def _known_variables() -> bool:
    optimizer, variables = _built(keras.optimizers.SGD())
    return [id(known) for known in optimizer._trainable_variables] == [id(variable) for variable in variables]


def _exclusions_are_kept(name: str) -> bool:
    optimizer, variables = keras.optimizers.AdamW(), _variables()
    optimizer.exclude_from_weight_decay(var_list=variables[:1], var_names=["bias"])
    return bool(getattr(optimizer, name))


def _slots_of(name: str, *kinds: Any) -> bool:
    for kind in kinds:
        optimizer, variables = _built(kind())
        if [slot.shape for slot in getattr(optimizer, name)] != [variable.shape for variable in variables]:
            return False
    return True


def _places_of_variables() -> bool:
    optimizer, variables = _built(keras.optimizers.Adam())
    return [optimizer._get_variable_index(variable) for variable in variables] == [0, 1]


def _an_instance_takes_the_steps(name: str) -> bool:
    optimizer, variables = _built(keras.optimizers.Adam())
    gradients = [keras.ops.ones(variable.shape) for variable in variables]
    return _called(optimizer, name, lambda: optimizer.apply(gradients, variables))


def _an_instance_convolves() -> bool:
    layer, x = keras.layers.Conv2D(1, 2, padding="same"), np.ones((1, 2, 2, 1), "float32")
    layer.build(x.shape)
    return _called(layer, "convolution_op", lambda: layer(x), keras.ops.convert_to_tensor(x))


def _instances_are_called() -> bool:
    x = np.ones((1, 2, 2, 1), "float32")
    kinds = [
        keras.layers.Conv2DTranspose(1, 2, padding="same"),
        keras.layers.MaxPooling2D(2, padding="same"),
        keras.layers.GroupNormalization(1),
        keras.layers.UpSampling2D(2),
    ]
    for layer in kinds:
        layer.build(x.shape)
    return all(_called(layer, "call", lambda: layer(x), x) for layer in kinds)  # noqa: B023


def _a_scope_knows_the_one_around_it() -> bool:
    with keras.StatelessScope() as outer, keras.StatelessScope() as inner:
        known = inner.original_scope is outer
    return known and outer.original_scope is None


def _a_scope_holds_values() -> bool:
    variable = keras.Variable(np.zeros(2, "float32"))
    with keras.StatelessScope() as scope:
        scope.state_mapping.update({id(variable): keras.ops.ones(2)})
        read = keras.ops.convert_to_numpy(variable.value)
        variable.assign(keras.ops.full(2, 2.0))
        moved = keras.ops.convert_to_numpy(scope.state_mapping[id(variable)])
    return (read == 1.0).all() and (moved == 2.0).all()


def _a_scope_holds_losses() -> bool:
    layer, x = Adding(), keras.ops.ones((1, 2))
    with keras.StatelessScope(collect_losses=True) as scope:
        layer(x)
        return scope.collect_losses and [id(loss) for loss in scope.losses] == [
            id(loss) for loss in layer.losses
        ]


def _a_variable_shows_that_its_value_is_out() -> bool:
    variable = keras.Variable(np.zeros(2, "float32"))
    shown = variable._value is variable.value
    variable._value = None  # as Keras does while steps run
    variable.assign(keras.ops.ones(2))
    return shown and variable._value is not None


def _scaling_wraps_an_optimizer() -> bool:
    inner = keras.optimizers.SGD()
    return keras.optimizers.LossScaleOptimizer(inner).inner_optimizer is inner


def _optimizers_of_several() -> bool:
    one, other = keras.optimizers.SGD(), keras.optimizers.SGD()
    several = keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(one, {"a": one, "b": other}))
    return [id(each) for each in several.optimizers] == [id(one), id(other)]


def _steps_between_are_counted() -> bool:
    optimizer = keras.optimizers.SGD(gradient_accumulation_steps=2)
    several = keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(optimizer))
    variables = _variables()
    several.build(variables)
    several.apply([keras.ops.ones(variable.shape) for variable in variables], variables)
    counts = [int(keras.ops.convert_to_numpy(each._iterations)) for each in (several, optimizer)]
    return counts == [1, 1] and int(keras.ops.convert_to_numpy(optimizer.iterations)) == 0


def _an_attribute_can_be_set(name: str, value: Any) -> bool:
    optimizer = keras.optimizers.SGD()
    known = hasattr(optimizer, name)
    setattr(optimizer, name, value)
    return known and optimizer.get_config()[name] == value


def _the_backend_is_configured_here() -> bool:
    configuration = importlib.import_module("keras.src.backend.config")
    return configuration.backend() == keras.backend.backend()


_MODEL, _OPTIMIZER, _SCOPE = "keras.Model", "keras.optimizers.Optimizer", "keras.StatelessScope"
_LEAF = {name: f"backend/{name}.py" for name in ALL}
_STEP, _SLOTS = "training/multi_player.py", "training/slots.py"

PRIVATE = (
    Private(
        "_flatten_layers",
        "keras.Layer",
        ("backend/layers.py",),
        "to find the layers in a network at any depth",
        _all_layers_are_found,
    ),
    Private(
        "_tracker",
        "keras.Layer",
        ("models/latent.py",),
        "to let go of the prior that another replaces",
        _a_layer_can_be_let_go,
    ),
    Private(
        "_layers",
        "keras.Layer",
        ("models/latent.py",),
        "to put a new prior in the place of the old one",
        _a_layer_can_be_let_go,
    ),
    Private(
        "_get_call_context",
        "keras.Layer",
        (_STEP,),
        "to keep what `add_loss` is given in all calls of a step",
        _one_call_context_keeps_the_losses_of_all_calls,
    ),
    Private(
        "_maybe_reset_call_context",
        "keras.Layer",
        (_STEP,),
        "to forget at the end of a step what `add_loss` was given",
        _one_call_context_keeps_the_losses_of_all_calls,
    ),
    Private(
        "train_function",
        _MODEL,
        (_STEP,),
        "to leave batches out on resuming, and to keep compiled steps",
        lambda: _fitted()[0].train_functions[0] is None and "train_function" in _fitted()[1],
    ),
    Private(
        "make_train_function",
        _MODEL,
        (_STEP,),
        "to begin the slots of an optimizer, and to make the step anew",
        lambda: _fitted()[0].made > 0 and callable(_fitted()[0].train_functions[1]),
    ),
    Private(
        "metrics_variables",
        _MODEL,
        (_STEP, _LEAF["jax"]),
        "to hand counters of the model's own from step to step",
        lambda: (
            isinstance(keras.Model.metrics_variables, property)
            and (keras.backend.backend() != "jax" or _fitted()[0].asked > 0)
        ),
    ),
    Private(
        "steps_per_execution",
        _MODEL,
        (_STEP, "training/epochs.py"),
        "to count the batches of an epoch",
        lambda: _fitted()[0].steps_per_execution == 1,
    ),
    Private(
        "stop_evaluating",
        _MODEL,
        ("callbacks.py", "training/epochs.py"),
        "to end a validation early",
        lambda: _fitted()[2] == 1,
    ),
    Private(
        "distribute_strategy",
        _MODEL,
        (_LEAF["tensorflow"],),
        "to tell whether devices share a batch",
        lambda: _fitted()[0].distribute_strategy.num_replicas_in_sync >= 1,
        ("tensorflow",),
    ),
    Private(
        "_maybe_symbolic_build",
        _MODEL,
        (_LEAF["tensorflow"],),
        "to build nothing from batches that several processes share",
        lambda: callable(keras.Model._maybe_symbolic_build),
        ("tensorflow",),
    ),
    Private(
        "jax_state_sync",
        _MODEL,
        (_LEAF["jax"],),
        "to give the variables the state of the running `fit`",
        lambda: callable(keras.Model.jax_state_sync),
        ("jax",),
    ),
    Private(
        "_value",
        "keras.Variable",
        (_LEAF["jax"],),
        "to give a variable its value back if a step fails",
        _a_variable_shows_that_its_value_is_out,
        ("jax",),
    ),
    Private(
        "original_scope",
        _SCOPE,
        (_LEAF["jax"],),
        "to find the scope in which a step runs",
        _a_scope_knows_the_one_around_it,
        ("jax",),
    ),
    Private(
        "state_mapping",
        _SCOPE,
        (_LEAF["jax"],),
        "to let variables change within an input's gradient",
        _a_scope_holds_values,
        ("jax",),
    ),
    Private(
        "losses",
        _SCOPE,
        (_LEAF["jax"],),
        "to let `add_loss` work within an input's gradient",
        _a_scope_holds_losses,
        ("jax",),
    ),
    Private(
        "collect_losses",
        _SCOPE,
        (_LEAF["jax"],),
        "to let `add_loss` work within an input's gradient",
        _a_scope_holds_losses,
        ("jax",),
    ),
    Private(
        "convolution_op",
        "keras.layers.Conv2D",
        ("backend/layers.py",),
        "to give an instance the backend's fast form",
        _an_instance_convolves,
    ),
    Private(
        "call",
        "keras.layers.Conv2DTranspose, MaxPooling2D, GroupNormalization and UpSampling2D",
        ("backend/layers.py",),
        "to give an instance the backend's fast form",
        _instances_are_called,
    ),
    Private(
        "name",
        _OPTIMIZER,
        (_STEP,),
        "to name a player's learning rate in logs",
        lambda: _an_attribute_can_be_set("name", "generator"),
    ),
    Private(
        "loss_scale_factor",
        _OPTIMIZER,
        (_STEP,),
        "to keep a player's own loss scaling",
        lambda: _an_attribute_can_be_set("loss_scale_factor", 2.0),
    ),
    Private(
        "finalize_variable_values",
        _OPTIMIZER,
        (_STEP,),
        "to put averages in place of the weights when `fit` ends, unless they are young",
        lambda: "finalize_variable_values" in _fitted()[1],
    ),
    Private(
        "inner_optimizer",
        "keras.optimizers.LossScaleOptimizer",
        (_STEP, _SLOTS),
        "to find the players' optimizers",
        _scaling_wraps_an_optimizer,
    ),
    Private(
        "optimizers",
        "keras.optimizers.MultiOptimizer",
        (_STEP,),
        "to find the players' optimizers",
        _optimizers_of_several,
    ),
    Private(
        "_iterations",
        "keras.optimizers.Optimizer and MultiOptimizer",
        (_SLOTS,),
        "to count the steps of an optimizer that accumulates gradients",
        _steps_between_are_counted,
    ),
    Private(
        "_learning_rate",
        _OPTIMIZER,
        (_SLOTS,),
        "to copy an optimizer whose learning rate is a function",
        _a_learning_rate_that_is_a_function_is_kept,
    ),
    Private(
        "_trainable_variables",
        _OPTIMIZER,
        (_SLOTS,),
        "to tell for which variables an optimizer was built",
        _known_variables,
    ),
    Private(
        "_exclude_from_weight_decay",
        _OPTIMIZER,
        (_SLOTS,),
        "to copy an optimizer that leaves variables out of weight decay",
        lambda: _exclusions_are_kept("_exclude_from_weight_decay"),
    ),
    Private(
        "_exclude_from_weight_decay_pattern",
        _OPTIMIZER,
        (_SLOTS,),
        "to copy an optimizer that leaves variables out of weight decay",
        lambda: _exclusions_are_kept("_exclude_from_weight_decay_pattern"),
    ),
    Private(
        "_momentums",
        "keras.optimizers.Adam and ScheduleFreeAdamW",
        (_SLOTS, _LEAF["tensorflow"], _LEAF["torch"]),
        "to take Adam's steps by the backend's kernel, and to begin slots as copies of weights",
        lambda: _slots_of("_momentums", keras.optimizers.Adam, keras.optimizers.ScheduleFreeAdamW),
    ),
    Private(
        "_velocities",
        "keras.optimizers.Adam",
        (_LEAF["tensorflow"], _LEAF["torch"]),
        "to take Adam's steps by the backend's kernel",
        lambda: _slots_of("_velocities", keras.optimizers.Adam),
        ("tensorflow", "torch"),
    ),
    Private(
        "_get_variable_index",
        _OPTIMIZER,
        (_LEAF["tensorflow"], _LEAF["torch"]),
        "to take Adam's steps by the backend's kernel",
        _places_of_variables,
        ("tensorflow", "torch"),
    ),
    Private(
        "update_step",
        _OPTIMIZER,
        (_LEAF["tensorflow"],),
        "to take Adam's steps by TensorFlow's kernel",
        lambda: _an_instance_takes_the_steps("update_step"),
        ("tensorflow",),
    ),
    Private(
        "_parallel_update_step",
        "keras.optimizers.Adam on PyTorch",
        (_LEAF["torch"],),
        "to take Adam's steps by PyTorch's kernel",
        lambda: _an_instance_takes_the_steps("_parallel_update_step"),
        ("torch",),
    ),
    Private(
        "keras.src.backend.config",
        "Keras",
        ("backend_choice.py",),
        "to name the backend if Keras cannot be imported",
        _the_backend_is_configured_here,
    ),
)
