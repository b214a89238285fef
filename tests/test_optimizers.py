"""Every optimizer of Keras and every option of one, against Keras' own steps on the same gradients.

The reference is an optimizer that no model has seen: it is applied, player by player, to copies of the
variables, with gradients that NumPy computes.
"""

import keras
import numpy as np
import pytest
import registry
from keras import ops

import keras_vaegan as kvg
from keras_vaegan.training.multi_player import Losses, MultiPlayerModel

BACKEND = keras.backend.backend()
BATCH = 2
STEPS = 7
QUIET = {"batch_size": BATCH, "shuffle": False, "verbose": 0}
HELD = np.array([1, 0, 1, 1, 0, 1, 1])  # the steps in which the first player moves, where one is held

optimizers, schedules = keras.optimizers, keras.optimizers.schedules


class Toy(MultiPlayerModel):
    """Players with a kernel `(3, 2)` and a bias each, which make `x @ kernel + bias` small.

    Images are rows `(B, 4)`: the last column says whether the first player moves.
    """

    def __init__(self, count, held=False, dtype=None):
        super().__init__(dtype=dtype)
        self.held = held
        self.nets = []
        for i in range(count):
            inputs = keras.Input((3,), name=f"x_{i}")
            self.nets.append(
                keras.Model(inputs, keras.layers.Dense(2, name=f"dense_{i}")(inputs), name=f"net_{i}")
            )

    def player_networks(self):
        return {f"player_{i}": [net] for i, net in enumerate(self.nets)}

    @property
    def log_names(self):
        return ("loss",)

    def default_optimizers(self):
        return {player: optimizers.Adam(0.05) for player in self.players}

    def compute_losses(self, x, y=None, training=False):
        players = {
            player: ops.cast((i + 1.0), "float32")
            * 0.5
            * ops.sum(ops.square(ops.cast(net(x[:, :3], training=training), "float32")), axis=1)
            for i, (player, net) in enumerate(zip(self.players, self.nets, strict=True))
        }
        active = {self.players[0]: ops.any(x[:, 3] > 0.5)} if self.held else {}
        return Losses(players, {"loss": sum(players.values())}, active)

    def get_config(self):
        return {"count": len(self.nets), "held": self.held}


def toy(count=2, held=False, seed=0):
    """A toy with weights of a seed."""
    model, generator = Toy(count, held), np.random.default_rng(seed)
    for variable in model.trainable_variables:
        variable.assign(generator.normal(size=variable.shape).astype("float32"))
    return model


def rows(held=False, steps=STEPS):
    """The images of so many steps, `(steps B, 4)`."""
    x = np.random.default_rng(1).normal(size=(steps, BATCH, 4)).astype("float32")
    x[:, :, 3] = HELD[:steps, None] if held else 1.0
    return x.reshape(-1, 4)


def gradients(i, kernel, bias, x):
    """Of player i on a batch, by hand."""
    y = (x[:, :3] @ kernel + bias) * (i + 1) / len(x)
    return [x[:, :3].T @ y, y.sum(axis=0)]


def numpy(variables):
    """Their values."""
    return [np.array(ops.convert_to_numpy(variable)) for variable in variables]


class Reference:
    """The players' variables and optimizers as Keras alone has them."""

    def __init__(self, model, made):
        self.optimizers, self.held = made, model.held
        self.variables = [
            [keras.Variable(value, name=f"v{i}") for i, value in enumerate(numpy(net.trainable_variables))]
            for net in model.nets
        ]
        for optimizer, variables in zip(self.optimizers, self.variables, strict=True):
            optimizer.build(variables)

    def step(self, x):
        """Apply each player's optimizer to its own variables, all gradients being taken before."""
        found = [gradients(i, *numpy(variables), x) for i, variables in enumerate(self.variables)]
        for i, own in enumerate(found):
            if not (self.held and i == 0 and x[0, 3] < 0.5):
                factor = self.optimizers[i].loss_scale_factor or 1.0
                tensors = [ops.convert_to_tensor(np.float32(factor * gradient)) for gradient in own]
                self.optimizers[i].apply(tensors, self.variables[i])

    def train(self, x):
        for start in range(0, len(x), BATCH):
            self.step(x[start : start + BATCH])
        return self

    def finish(self):
        """What `fit` does when it ends: averages that are old enough take the weights' place."""
        for optimizer, variables in zip(self.optimizers, self.variables, strict=True):
            steps = int(optimizer.iterations) * (optimizer.gradient_accumulation_steps or 1)
            if steps >= 3.0 / (1.0 - optimizer.ema_momentum):
                optimizer.finalize_variable_values(variables)
        return self


def assert_alike(model, reference, tolerance=2e-6):
    """The same weights and the same slots, for every player."""
    for player, net, optimizer, variables in zip(
        model.players, model.nets, reference.optimizers, reference.variables, strict=True
    ):
        ours = [*net.trainable_variables, *model.player_optimizer(player).variables]
        theirs = [*variables, *optimizer.variables]
        assert len(ours) == len(theirs)
        for one, other in zip(numpy(ours), numpy(theirs), strict=True):
            np.testing.assert_allclose(one, other, rtol=2e-5, atol=tolerance)


KINDS = {
    "adadelta": lambda **o: optimizers.Adadelta(0.5, **o),
    "adafactor": lambda **o: optimizers.Adafactor(0.05, **o),
    "adagrad": lambda **o: optimizers.Adagrad(0.1, **o),
    "adam": lambda **o: optimizers.Adam(0.05, beta_1=0.5, **o),
    "adamax": lambda **o: optimizers.Adamax(0.05, **o),
    "adamw": lambda **o: optimizers.AdamW(0.05, **{"weight_decay": 0.1, **o}),
    "amsgrad": lambda **o: optimizers.Adam(0.05, amsgrad=True, **o),
    "ftrl": lambda **o: optimizers.Ftrl(0.1, **o),
    "lamb": lambda **o: optimizers.Lamb(0.05, **o),
    "lion": lambda **o: optimizers.Lion(0.01, **o),
    "muon": lambda **o: optimizers.Muon(0.05, **o),
    "nadam": lambda **o: optimizers.Nadam(0.05, **o),
    "rmsprop": lambda **o: optimizers.RMSprop(0.02, **o),
    "rmsprop_centered": lambda **o: optimizers.RMSprop(0.02, centered=True, momentum=0.5, **o),
    "schedule_free": lambda **o: optimizers.ScheduleFreeAdamW(0.05, **o),
    "sgd": lambda **o: optimizers.SGD(0.05, **o),
    "sgd_nesterov": lambda **o: optimizers.SGD(0.05, momentum=0.9, nesterov=True, **o),
}

OPTIONS = {
    "plain": {},
    "accumulation": {"gradient_accumulation_steps": 2},
    "ema": {"use_ema": True, "ema_momentum": 0.4},
    "ema_overwrite": {"use_ema": True, "ema_momentum": 0.4, "ema_overwrite_frequency": 3},
    "weight_decay": {"weight_decay": 0.2},
    "clipnorm": {"clipnorm": 0.3},
    "clipvalue": {"clipvalue": 0.1},
    "global_clipnorm": {"global_clipnorm": 0.3},
    "loss_scale_factor": {"loss_scale_factor": 128.0},
    "all": {
        "gradient_accumulation_steps": 3,
        "use_ema": True,
        "ema_momentum": 0.4,
        "ema_overwrite_frequency": 2,
        "weight_decay": 0.2,
        "global_clipnorm": 0.3,
        "loss_scale_factor": 128.0,
    },
}

# Of every option the optimizer with a kernel of our own, of every optimizer the plain case and accumulation.
CORE = {("adam", option) for option in OPTIONS} | {("sgd_nesterov", "all"), ("schedule_free", "plain")}
CASES = [
    pytest.param(kind, option, marks=() if (kind, option) in CORE else pytest.mark.slow)
    for kind in KINDS
    for option in OPTIONS
]


@pytest.mark.parametrize(("kind", "option"), CASES)
@pytest.mark.parametrize("count", [1, pytest.param(2, id="two")])
def test_steps_are_those_of_keras_alone(kind, option, count):
    held = count == 2
    make = lambda: [KINDS[kind](**OPTIONS[option]) for _ in range(count)]  # noqa: E731
    model, x = toy(count, held), rows(held)
    reference = Reference(model, make()).train(x).finish()
    model.compile(dict(zip(model.players, make(), strict=True)))
    model.fit(x, **QUIET)
    assert_alike(model, reference)


@pytest.mark.filterwarnings("ignore:Model doesn't support `jit_compile=True`")  # on TensorFlow
@pytest.mark.parametrize(
    "settings", [{"steps_per_execution": 3}, {"run_eagerly": True}, {"jit_compile": True}]
)
def test_ways_to_run_a_step_change_no_step(settings):
    if BACKEND == "torch" and "run_eagerly" not in settings:
        pytest.skip("refused")

    def make():
        return [
            optimizers.Adam(0.05, gradient_accumulation_steps=2, clipnorm=0.3),
            optimizers.SGD(0.05, momentum=0.9, use_ema=True, ema_momentum=0.4, ema_overwrite_frequency=3),
        ]

    model, x = toy(held=True), rows(held=True, steps=6)
    reference = Reference(model, make()).train(x).finish()
    model.compile(dict(zip(model.players, make(), strict=True)), **settings)
    model.fit(x, **QUIET)
    assert_alike(model, reference)


RATES = {
    "schedule": lambda: schedules.CosineDecay(0.1, 5),
    "function": lambda: lambda: 0.03,
}


@pytest.mark.filterwarnings("ignore:The object being serialized includes a `lambda`")
@pytest.mark.parametrize("rate", RATES)
def test_learning_rates_are_those_of_keras_alone(rate):
    settings = {"gradient_accumulation_steps": 2, "weight_decay": 0.1}
    model, x = toy(), rows()
    made = [optimizers.Adam(RATES[rate](), **settings) for _ in range(2)]
    reference = Reference(model, made).train(x)
    model.compile(optimizers.Adam(RATES[rate](), **settings))  # copied for both players
    model.fit(x, **QUIET)
    assert_alike(model, reference)


def test_weights_that_do_not_decay_are_the_same_in_each_copy():
    def make():
        optimizer = optimizers.SGD(0.1, weight_decay=0.5)
        optimizer.exclude_from_weight_decay(var_names=["bias", "v1"])
        return optimizer

    model, x = toy(), rows()
    reference = Reference(model, [make(), make()]).train(x)
    model.compile(make())
    model.fit(x, **QUIET)
    assert_alike(model, reference)


@pytest.mark.parametrize("kind", ["adam", "schedule_free"])
def test_slots_begin_with_the_weights_that_training_begins_with(kind):
    model, x = toy(seed=0), rows()
    model.compile(KINDS[kind]())
    model.set_weights(toy(seed=5).get_weights())  # as where weights are loaded
    reference = Reference(model, [KINDS[kind](), KINDS[kind]()]).train(x)
    model.fit(x, **QUIET)
    assert_alike(model, reference)


@pytest.mark.parametrize("option", ["plain", "all"])
@pytest.mark.parametrize("count", [1, 2])
def test_scaled_losses_take_the_steps_of_unscaled_ones(option, count):
    def make():
        return [KINDS["adam"](**OPTIONS[option]) for _ in range(count)]

    x = rows()
    x[2 * BATCH] = np.inf  # in the third step the gradients are not finite, so that nothing moves
    model = Toy(count, dtype="mixed_float16")  # the networks themselves stay in float32
    model.set_weights(toy(count).get_weights())
    reference = Reference(model, [optimizer for optimizer in make()])
    reference.train(np.delete(x, slice(2 * BATCH, 3 * BATCH), axis=0)).finish()
    model.compile(dict(zip(model.players, make(), strict=True)))
    model.fit(x, **QUIET)
    assert float(model.optimizer.dynamic_scale) == 2.0**14
    for optimizer in reference.optimizers:
        optimizer.loss_scale_factor = None
    assert_alike(model, reference)


@pytest.mark.parametrize("option", ["plain", pytest.param("all", marks=pytest.mark.slow)])
def test_a_saved_training_goes_on_with_the_same_steps(option, tmp_path):
    def make():
        return [KINDS["adam"](**OPTIONS[option]), KINDS["sgd_nesterov"](**OPTIONS[option])]

    joined = 1 if BACKEND == "torch" else 2
    model, x = toy(held=True), rows(held=True)
    reference = Reference(model, make()).train(x)
    model.compile(dict(zip(model.players, make(), strict=True)), steps_per_execution=joined)
    model.fit(x[: 4 * BATCH], **QUIET)
    model.save(tmp_path / "toy.keras")
    model = keras.saving.load_model(tmp_path / "toy.keras", custom_objects={"Toy": Toy})
    assert model.steps_per_execution == joined
    model.fit(x[4 * BATCH :], **QUIET)
    if option == "plain":  # averages took the weights' place in between
        assert_alike(model, reference)
    assert [o.get_config()["loss_scale_factor"] for o in model.optimizer.optimizers] == [
        OPTIONS[option].get("loss_scale_factor")
    ] * 2


class Embedded(Toy):
    """A toy of one player, whose kernel's rows are looked up: TensorFlow has its gradient in slices."""

    def __init__(self):
        super().__init__(0)
        inputs = keras.Input((), dtype="int32", name="x")
        self.nets.append(keras.Model(inputs, keras.layers.Embedding(4, 2, name="rows")(inputs), name="net"))

    def compute_losses(self, x, y=None, training=False):
        cost = 0.5 * ops.sum(ops.square(self.nets[0](ops.cast(x[:, 0], "int32"))), axis=1)
        return Losses({"player_0": cost}, {"loss": cost})


@pytest.mark.parametrize("settings", [{}, {"gradient_accumulation_steps": 2}], ids=["plain", "accumulation"])
def test_rows_of_an_embedding_take_the_steps_of_keras_alone(settings):
    model, generator = Embedded(), np.random.default_rng(0)
    start = generator.normal(size=(4, 2)).astype("float32")
    model.set_weights([start])
    x = np.array([0, 1, 1, 1, 3, 0, 2, 2], "float32")[:, None]
    variable, optimizer = keras.Variable(start), optimizers.Adam(0.05, **settings)
    for chosen in x[:, 0].reshape(-1, BATCH).astype(int):
        table, gradient = numpy([variable])[0], np.zeros((4, 2), "float32")
        np.add.at(gradient, chosen, table[chosen] / BATCH)
        optimizer.apply([ops.convert_to_tensor(gradient)], [variable])
    model.compile(optimizers.Adam(0.05, **settings))
    model.fit(x, **QUIET)
    np.testing.assert_allclose(numpy(model.weights)[0], numpy([variable])[0], rtol=1e-5, atol=1e-6)


# ---- what is refused ----


def _built_elsewhere():
    optimizer = optimizers.Adam()
    optimizer.build([keras.Variable(np.zeros(2, "float32"))])
    return {"player_0": optimizer}


REFUSED = {
    "unknown name": ({"optimizer": "adamm"}, "optimizer must be one of .*adam.*Did you mean 'adam'"),
    "no optimizer": ({"optimizer": 3}, "optimizer must be a Keras optimizer.*received 3"),
    "no optimizer of a player": ({"optimizer": {"player_0": None}}, "optimizer of player_0.*None"),
    "loss scaling": (
        lambda: {"optimizer": optimizers.LossScaleOptimizer(optimizers.Adam())},
        "plain.*LossScaleOptimizer",
    ),
    "several in one": (
        lambda: {"optimizer": optimizers.MultiOptimizer(optimizers.OptimizerMap(optimizers.Adam()))},
        "plain.*MultiOptimizer",
    ),
    "built elsewhere": (lambda: {"optimizer": _built_elsewhere()}, "player_0 must be new"),
    "no steps": ({"steps_per_execution": 0}, "steps_per_execution.*at least 1; received 0"),
    "half a step": ({"steps_per_execution": 1.5}, "steps_per_execution.*received 1.5"),
    "jit_compile": ({"jit_compile": "yes"}, "jit_compile must be True, False or 'auto'; received 'yes'"),
    "run_eagerly": ({"run_eagerly": "no"}, "run_eagerly must be True or False; received 'no'"),
}


@pytest.mark.core_on("one")
@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_compiled_is_refused_in_one_line(case):
    arguments, message = REFUSED[case]
    with pytest.raises(kvg.InputError, match=message) as caught:
        toy().compile(**(arguments() if callable(arguments) else arguments))
    assert "\n" not in str(caught.value)


def test_a_model_compiles_again_with_the_optimizers_that_it_has():
    model, x = toy(), rows()
    model.compile()
    model.fit(x, **QUIET)
    kept = {player: model.player_optimizer(player) for player in model.players}
    model.compile(kept)
    assert int(model.player_optimizer("player_1").iterations) == STEPS
    model.fit(x, **QUIET)
    assert int(model.player_optimizer("player_1").iterations) == 2 * STEPS
    model.nets[0].layers[1].kernel.trainable = False
    with pytest.raises(kvg.InputError, match="optimizer of player_0 must be new"):
        model.compile(kept)
    model.compile()


@pytest.mark.skipif(BACKEND != "torch", reason="of PyTorch alone")
@pytest.mark.parametrize("setting", [{"jit_compile": True}, {"steps_per_execution": 2}])
def test_steps_are_not_compiled_on_torch(setting):
    model = registry.vae_gan()
    with pytest.raises(kvg.InputError, match=f"{next(iter(setting))} must be .* on torch"):
        model.compile(**setting)
    model.compile()
    model.compile_from_config(model.get_compile_config() | setting)  # of a file that another backend wrote
    assert model.jit_compile is False and model.steps_per_execution == 1
