"""Every optimizer of Keras and every option of one, against Keras' own steps on the same gradients.

The reference is an optimizer that no model has seen: it is applied, player by player, to copies of the
variables, with gradients that NumPy computes.
"""

import keras
import numpy as np
import pytest
from keras import ops

import keras_vaegan as kvg
from keras_vaegan.training.multi_player import Losses, MultiPlayerModel
from tests import registry

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
