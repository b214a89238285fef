"""Every setting that a model accepts changes what it computes; a setting without an effect is refused."""

import inspect

import keras
import numpy as np
import pytest
import registry
from keras import ops

from keras_vaegan.classification import CLASSIFICATIONS
from keras_vaegan.errors import InputError
from keras_vaegan.games import GAMES, Standard
from keras_vaegan.likelihoods import LIKELIHOODS
from keras_vaegan.models.latent import LatentVariableModel
from keras_vaegan.parts import settings_of
from keras_vaegan.priors import PRIORS
from keras_vaegan.reconstructions import L1, RECONSTRUCTIONS, Features, Pixels

pytestmark = pytest.mark.core_on("one")

# Argument -> its kinds by name, and another value of each of their settings. A new setting needs a line.
PARTS = {
    "game": (
        GAMES,
        {
            "r1": 0.7,
            "r2": 0.7,
            "label_weight": 0.3,
            "three_players": True,
            "margin": (5.0, 0.1),
            "label_smoothing": 0.2,
            "weight": 0.4,
            "adaptive": True,
            "start": 5,
            "warm_up": 5,
        },
    ),
    "likelihood": (LIKELIHOODS, {"binarize": True, "noise_scale": 0.5}),
    "prior": (
        PRIORS,
        {
            "components": 5,
            "units": (7,),
            "solver_steps": 3,
            "guidance": 2.0,
            "width": 12,
            "depth": 2,
            "heads": 3,
            "fit_steps": 7,
            "fit_batch_size": 9,
            "fit_rate": 0.5,
        },
    ),
    "classification": (
        CLASSIFICATIONS,
        {
            "alpha": 2.0,
            "consistency": 3.0,
            "discriminator_consistency": 3.0,
            "radius": 0.2,
            "expectation": "sampled",
            "classifier": "discriminator",
            "temperature": 3.0,
        },
    ),
}
# Priors that begin as N(0, I) whatever their settings; test_flow.py and test_draw.py look at these.
AT_FIRST_ALIKE = ("look_back", "flow")
# The same for the model's own arguments.
OWN = {
    "beta": 0.4,
    "free_bits": 3.0,
    "annealing_steps": 9,
    "fakes_from": "none",
    "masks": ("quadrants:3",),
    "steps": 3,
    "time_weights": "equal",
    "seed": 1,
}
NETWORKS = {"encoder", "decoder", "discriminator", "trunk", "class_head", "base"}
ELSEWHERE = {"self", "args", "kwargs", "value_range", *NETWORKS, *PARTS, "reconstruction"}
# A model of each class and condition, by its line in the registry, of which the networks are taken.
MODELS = registry.core(
    ("vae", "vae_gan", "cvae_completion", "cvae_gan", "stacked_ssl_vae", "ssl_vae_gan", "draw_gan"),
    ("vae", "vae_gan", "vae_gan_patches", "cvae", "cvae_completion", "cvae_gan", "ssl_vae", "stacked_ssl_vae")
    + ("ssl_vae_gan", "draw", "draw_conditional", "draw_gan"),
)


def arguments_of(model):
    """`{name: default}` of the constructors of a model's classes."""
    found = {}
    for kind in type(model).__mro__:
        if issubclass(kind, LatentVariableModel) and "__init__" in vars(kind):
            of = inspect.signature(kind.__init__).parameters
            found = {name: parameter.default for name, parameter in of.items()} | found
    return found


def networks(name):
    """The class of a model and the networks that a new one is built of."""
    build, arguments = registry.ARGUMENTS[name]
    kept = {key: arguments[key] for key in ("num_classes", "given", "prior", "glimpse") if key in arguments}
    model = build(registry.IMAGE_SHAPE, **kept)
    heads = {"encoder": "encoder_head", "trunk": "code_trunk", "decoder": "code_decoder"}
    given = {}
    for argument in NETWORKS & arguments_of(model).keys():
        given[argument] = getattr(model, heads.get(argument, argument), None) or getattr(model, argument)
    return model, given


def computed(model):
    """What a model makes of a batch in training, and what its verbs make, by name."""
    model.compile()
    x, *y = (ops.convert_to_tensor(array) for array in registry.data(model))
    made = model.compute_losses(x, *y, training=True)
    found = {f"{kind} {name}": value for kind in made._fields for name, value in getattr(made, kind).items()}
    if not model.completes:
        noise = np.random.default_rng(0).standard_normal((2, *model.code_shape), dtype="float32")
        inputs = {"noise": noise, **model.conditioned(2, model.labels_in_turn(2))}
        found["pixels"] = model.generated({key: ops.convert_to_tensor(of) for key, of in inputs.items()})
    if model.classifiers:
        found["probabilities"] = model.class_probabilities(x)
    return {name: ops.convert_to_numpy(value) for name, value in found.items()}


class Builder:
    """Models of the same networks and seed, with other settings."""

    def __init__(self, name):
        keras.utils.set_random_seed(0)
        model, self.networks = networks(name)
        registry.set_weights(model)
        self.kind, self.known, self.before = type(model), arguments_of(model), {}
        self.short = {"steps": 2} if "steps" in self.known else {}

    def __call__(self, **settings):
        return self.kind(**self.networks, **{"seed": 0, **self.short, **settings})

    def accepts(self, base):
        try:
            self(**base)
        except InputError:
            return False
        return True

    def silent(self, base, argument, value):
        """Whether a model takes an argument and computes what it does without it."""
        key = repr(base)
        if key not in self.before:
            self.before[key] = computed(self(**base))
        try:
            model = self(**{**base, argument: value})
        except InputError:
            return False
        before, now = self.before[key], computed(model)
        return before.keys() == now.keys() and all(np.array_equal(before[one], now[one]) for one in now)


@pytest.mark.parametrize("name", MODELS)
def test_no_setting_is_silent(name):
    build, silent = Builder(name), []
    assert build.known.keys() <= ELSEWHERE | OWN.keys(), "OWN must have each argument of a model"

    def look(base, argument, value):
        if build.silent(base, argument, value):
            silent.append(f"{argument}={value!r} beside {base}")

    def look_at_part(part, kind, base):
        kinds, others = PARTS[part]
        before = dict(base.get(part) or ({"class": kind} if len(kinds) > 1 else {}))
        for setting in settings_of(kinds[kind]).keys() & others.keys():
            look({**base, part: before}, part, {**before, setting: others[setting]})

    for argument in OWN.keys() & build.known:
        look({}, argument, OWN[argument])
    base = {}
    if "classification" in build.known:  # without a weight of consistency there is no radius
        base["classification"] = dict.fromkeys(
            ("consistency", "discriminator_consistency") if "game" in build.known else ("consistency",), 1.0
        )
    for part in ("likelihood", "prior", "classification"):
        for kind in PARTS[part][0] if part in build.known else ():
            if kind in AT_FIRST_ALIKE:
                continue
            if build.accepts({**base, part: {"class": kind}} if len(PARTS[part][0]) > 1 else base):
                look_at_part(part, kind, base)
    for game in GAMES if "game" in build.known else ():
        if not build.accepts(base | {"game": game}):
            continue
        played = base | {"game": {"class": game}}
        look_at_part("game", game, played)
        for loss in RECONSTRUCTIONS:
            look(played, "reconstruction", {loss: 1.7})
        if "classification" in build.known:
            look_at_part("classification", "classification", played)
    if "game" not in build.known:
        for loss in RECONSTRUCTIONS:
            look(base, "reconstruction", {loss: 1.7})
    if {"classification", "game"} <= build.known.keys():  # and of one class drawn for each image
        base["classification"]["expectation"] = "sampled"
        look_at_part("game", "standard", base)
        look(base, "reconstruction", {"l1": 1.7})
    assert not silent


def test_every_setting_of_a_part_has_another_value():
    for kinds, others in PARTS.values():
        for kind in kinds.values():
            known = settings_of(kind)
            assert known.keys() <= others.keys(), f"PARTS must have each setting of {kind.__name__}"
            for name, parameter in known.items():
                assert parameter.default != others[name]


class Doubled(Pixels):
    """A loss of pixels of the user's."""


class Own(Features):
    """A loss of features of the user's."""


def test_settings_without_an_effect_are_refused_by_name():
    def refused(said, **settings):
        with pytest.raises(InputError, match=said):
            registry.ssl_vae_gan(**settings)

    matching = {"game": "feature_matching"}
    refused("reconstruction must have features and pixels", reconstruction={"l1": 0.5}, **matching)
    refused("reconstruction must have features and pixels", reconstruction=[Own(), Pixels()], **matching)
    refused("reconstruction must have .*Pixels.*Doubled", reconstruction=[Features(), Doubled()])
    with pytest.raises(InputError, match="reconstruction must have no features in a VAE.*0.5"):
        registry.vae(reconstruction={"features": 0.5})
    with pytest.raises(InputError, match="reconstruction must have a loss of a weight above 0"):
        registry.vae(reconstruction={"pixels": 0.0})
    with pytest.raises(InputError, match="reconstruction must have pixels alone in a SemiSupervisedVAE"):
        registry.ssl_vae(reconstruction={"l1": 1.0})
    refused("label_weight must be left out", label_weight=0.3, **matching)
    refused("weight must be left out.*0.3", weight=0.3, **matching)
    refused("adaptive must be False in a Semi", adaptive=True)
    with pytest.raises(InputError, match="adaptive must be False without a reconstruction loss"):
        registry.vae_gan(gamma=1.0, adaptive=True)
    refused("expectation must be left out.*'sampled'", expectation="sampled", **matching)
    assert registry.ssl_vae_gan(reconstruction={"l1": 0.0}, **matching)


@pytest.mark.core_on("all")
@pytest.mark.parametrize("name", ["vae", "cvae", "draw"])
def test_a_vae_minimizes_the_reconstruction_losses_that_are_asked_for(name, inject_noise):
    """Against the reconstruction by NumPy; the logs stay those of the ELBO."""
    inject_noise()
    build, arguments = registry.ARGUMENTS[name]
    losses = {"pixels": 0.25, "l1": 0.7, "l2": 3.0}
    model = registry.set_weights(build(**arguments, reconstruction=losses, beta=0.5))
    model.compile()
    x, *y = registry.data(model)
    made = model.compute_losses(ops.convert_to_tensor(x), *map(ops.convert_to_tensor, y))
    logs = {key: ops.convert_to_numpy(value) for key, value in made.logs.items()}
    np.testing.assert_allclose(logs["loss"], logs["kl"] + logs["reconstruction"], rtol=1e-5)
    expected = 0.5 * logs["kl"] + 0.25 * logs["reconstruction"]
    error = x - model.reconstruct(x, *y)
    expected += (0.7 * np.abs(error) + 3.0 * error**2).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(ops.convert_to_numpy(made.players["generator"]), expected, rtol=1e-4)


def test_l1_of_m2_is_the_mean_over_its_classes(inject_noise):
    """Against the reconstructions with each label, by NumPy; where the label is known, with that one."""
    inject_noise()
    x, labels = registry.images(), np.array([0, -1, 2, -1])
    made, weight = {}, 0.7
    for terms in ([Features(), Pixels(0.0)], [Features(), Pixels(0.0), L1(weight)]):
        model = registry.set_weights(registry.ssl_vae_gan(reconstruction=terms))
        losses = model.compute_losses(ops.convert_to_tensor(x), ops.convert_to_tensor(labels))
        made[len(terms)] = ops.convert_to_numpy(losses.players["generator"])
    distance = np.stack(
        [
            np.abs(x - model.reconstruct(x, np.full(len(x), k))).sum(axis=(1, 2, 3))
            for k in range(registry.NUM_CLASSES)
        ],
        axis=1,
    )
    shares = np.where(labels[:, None] >= 0, np.eye(registry.NUM_CLASSES)[labels], model.classify(x))
    expected = weight * np.sum(shares * distance, axis=1)
    np.testing.assert_allclose(made[3] - made[2], expected, rtol=1e-4, atol=1e-5)


class Annealed(Standard):
    """A game of the user's, which passes on what it does not know."""

    def __init__(self, warmth=1.0, r1=0.5, **kwargs):
        super().__init__(r1=r1, **kwargs)
        self.warmth = warmth


class Alone(Standard):
    """A game of the user's, which passes on nothing."""

    def __init__(self, warmth=1.0):
        super().__init__()
        self.warmth = warmth


def test_settings_are_those_of_the_classes_above_where_they_are_passed_on():
    of_game = ["r1", "r2", "label_weight", "three_players", "margin"]
    of_game += ["weight", "adaptive", "start", "warm_up"]
    assert list(settings_of(GAMES["standard"])) == ["label_smoothing", *of_game]
    assert list(settings_of(GAMES["relativistic"])) == list(settings_of(GAMES["hinge"])) == of_game
    assert list(settings_of(Annealed)) == ["warmth", "r1", "label_smoothing", *of_game[1:]]
    assert settings_of(Annealed)["r1"].default == 0.5
    assert list(settings_of(Alone)) == ["warmth"]
    assert list(settings_of(PRIORS["mixture"])) == ["components"]  # and none of a layer
    game = Annealed(warmth=2.0, label_smoothing=0.1, r2=0.3)
    again = Annealed.from_config(game.get_config())
    assert repr(again) == repr(game) and again.label_smoothing == 0.1
