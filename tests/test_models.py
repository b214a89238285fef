"""Construction: what a model refuses, and what it makes of its arguments."""

import inspect

import keras
import numpy as np
import pytest
import registry
from registry import MODELS, REPRESENTATIVES

import keras_vaegan as kvg
from keras_vaegan import presets
from keras_vaegan import registry as keys
from keras_vaegan.networks import dcgan, mlp

BAD_NUMBERS = [
    ("beta", -1.0),
    ("beta", "high"),
    ("beta", float("nan")),
    ("beta", float("inf")),
    ("beta", True),
    ("free_bits", -0.1),
    ("annealing_steps", -1),
    ("noise_scale", 0.0),
    ("gamma", -1.0),
    ("pixel_weight", -1.0),
    ("label_smoothing", -0.1),
    ("label_smoothing", 1.5),
    ("r1", -1.0),
    ("margin", (0.7,)),
    ("margin", (0.7, -0.1)),
    ("margin", 0.7),
    ("likelihood", "bernouli"),
]


@pytest.mark.core_on("one")
@pytest.mark.parametrize("argument, value", BAD_NUMBERS)
def test_a_bad_argument_is_named(argument, value):
    _, name = registry.SETTINGS.get(argument, (None, argument))
    with pytest.raises(kvg.InputError, match=name) as error:
        registry.vae_gan(**{argument: value})
    assert "\n" not in str(error.value)


@pytest.mark.core_on("one")
def test_numbers_of_numpy_are_numbers():
    model = registry.vae(beta=np.float32(0.5), annealing_steps=np.int64(3))
    assert (model.beta, model.annealing_steps) == (0.5, 3)
    assert type(model.get_config()["beta"]) is float and type(model.annealing_steps) is int


@pytest.mark.core_on("one")
def test_the_nearest_likelihood_is_suggested():
    with pytest.raises(kvg.InputError, match="Did you mean 'bernoulli'"):
        registry.vae(likelihood="bernouli")


SHAPE, SMALL = (2, 3, 1), {"units": (3,)}


CLASSES = {"num_classes": 3}


def conditional(**changed):
    """Networks of a CVAEGAN that fit each other, but for those given."""
    fitting = {
        "encoder": mlp.encoder(SHAPE, 2, **SMALL, **CLASSES),
        "decoder": mlp.decoder(SHAPE, 2, **SMALL, **CLASSES),
        "discriminator": mlp.discriminator(SHAPE, num_outputs=4, **SMALL),
    }
    return fitting | changed


CONDITIONAL_MISFITS = {
    "prior must be of codes": lambda: {"prior": mlp.prior(SHAPE, 3, **SMALL, **CLASSES)},
    "prior must be conditioned on what the decoder is": lambda: {
        "prior": mlp.prior(SHAPE, 2, **SMALL, given=True)
    },
    "encoder must be conditioned on what the decoder is": lambda: {
        "encoder": mlp.encoder(SHAPE, 2, **SMALL, num_classes=4)
    },
    "4 logits, of the classes and of fakes": lambda: {"discriminator": mlp.discriminator(SHAPE, **SMALL)},
    "`labels`, and nothing else, in a CVAEGAN": lambda: {
        "decoder": mlp.decoder(SHAPE, 2, **SMALL, **CLASSES, given=True)
    },
    "received codes alone": lambda: {"decoder": mlp.decoder(SHAPE, 2, **SMALL)},
    "masks must be one of left": lambda: {"masks": ["middle"]},
    "masks must name at least one": lambda: {"masks": []},
    "masks must be left out": lambda: {"masks": ["left"]},
}


@pytest.mark.core_on("one")
@pytest.mark.parametrize("said", CONDITIONAL_MISFITS)
def test_conditional_networks_that_do_not_fit_are_refused(said):
    with pytest.raises(kvg.InputError, match=said) as error:
        kvg.CVAEGAN(**conditional(**CONDITIONAL_MISFITS[said]()))
    assert "\n" not in str(error.value)


@pytest.mark.core_on("one")
def test_a_network_may_leave_out_part_of_the_condition():
    model = kvg.CVAE(mlp.encoder(SHAPE, 2, **SMALL), conditional()["decoder"])
    assert model.num_classes == 3 and not model.completes
    x = registry.images()
    assert (model.encode(x, [0, 1, 2, 0]) == model.encode(x, [2, 1, 0, 1])).all()


def networks(**changed):
    """Encoder, decoder and discriminator that fit each other, but for those given."""
    fitting = {
        "encoder": mlp.encoder(SHAPE, 2, **SMALL),
        "decoder": mlp.decoder(SHAPE, 2, **SMALL),
        "discriminator": mlp.discriminator(SHAPE, **SMALL),
    }
    return fitting | changed


MISFITS = {
    "code": lambda: {"decoder": mlp.decoder(SHAPE, 3, **SMALL)},
    "image": lambda: {"decoder": mlp.decoder((3, 3, 1), 2, **SMALL)},
    "discriminator": lambda: {"discriminator": mlp.discriminator((3, 3, 1), **SMALL)},
    "one logit": lambda: {"discriminator": mlp.discriminator(SHAPE, num_outputs=3, **SMALL)},
    "'features'": lambda: {"discriminator": mlp.encoder(SHAPE, 2, **SMALL)},
    "'mean'": lambda: {"encoder": mlp.discriminator(SHAPE, **SMALL)},
}


@pytest.mark.core_on("one")
@pytest.mark.parametrize("named", MISFITS)
def test_networks_that_do_not_fit_are_refused(named):
    with pytest.raises(kvg.InputError, match=named):
        kvg.VAEGAN(**networks(**MISFITS[named]()))


@pytest.mark.core_on("one")
def test_networks_with_equal_names_of_variables_are_refused_at_compile():
    # The layers of D are named like the encoder's.
    model = kvg.VAEGAN(**networks(discriminator=mlp.discriminator(SHAPE, name="encoder", **SMALL)))
    with pytest.raises(kvg.InputError, match="encoder_dense_0/kernel.*generator and discriminator"):
        model.compile()


OTHER_THAN_DEFAULT = {
    "beta": 0.5,
    "free_bits": 0.1,
    "annealing_steps": 7,
    "seed": 3,
    "fakes_from": "prior",
    "value_range": (0, 4095),
}
# Arguments that are objects: their class and settings.
OBJECTS = {
    "likelihood": ("gaussian", {"noise_scale": 0.2}),
    "prior": ("mixture", {"components": 4}),
    "game": (
        "standard",
        {
            "label_smoothing": 0.1,
            "r1": 2.0,
            "r2": 0.5,
            "label_weight": 1.0,
            "three_players": True,
            "margin": (0.7, 0.2),
        },
    ),
}
WEIGHTS = {"features": 0.4, "pixels": 0.3, "l1": 0.2}


@pytest.mark.core_on("one")
@pytest.mark.parametrize("key, arguments", [("vae_gan", networks), ("cvae_gan", conditional)])
def test_the_defaults_of_a_hybrid_are_those_of_its_recipe(key, arguments):
    model, recipe = keys.MODELS[key](**arguments()), presets.RECIPES[f"{key}_mnist_small"]["model"]
    assert (model.beta, model.fakes_from) == (recipe["beta"], recipe["fakes_from"])
    assert {term.name: term.weight for term in model.reconstruction} == recipe["reconstruction"]
    game = model.game.get_config()
    assert {name: game[name] for name in recipe["game"]} == recipe["game"]


@pytest.mark.core_on("one")
def test_the_default_networks_are_those_of_the_recipe_for_mnist():
    for name, settings in presets.RECIPES["vae_gan_mnist"]["networks"].items():
        if isinstance(settings, dict):
            default = inspect.signature(getattr(dcgan, name)).parameters
            assert {setting: default[setting].default for setting in settings} == {
                setting: tuple(value) if isinstance(value, list) else value
                for setting, value in settings.items()
            }


@pytest.mark.core_on("one")
def test_every_argument_is_in_the_configuration():
    objects = {name: {"class": kind, **settings} for name, (kind, settings) in OBJECTS.items()}
    model = kvg.VAEGAN(**networks(), **OTHER_THAN_DEFAULT, **objects, reconstruction=WEIGHTS)
    again = type(model).from_config(model.get_config())
    config = again.get_config()
    assert {name: config[name] for name in OTHER_THAN_DEFAULT} == OTHER_THAN_DEFAULT
    for name, (_, settings) in OBJECTS.items():
        found = config[name]["config"]
        assert {setting: found[setting] for setting in settings} == settings
    assert {term.name: term.weight for term in again.reconstruction} == WEIGHTS
    arguments = set()
    for cls in (*kvg.VAEGAN.__mro__, *kvg.CVAEGAN.__mro__):
        if cls.__module__.startswith("keras_vaegan.models.") and "__init__" in vars(cls):
            arguments |= set(inspect.signature(cls.__init__).parameters)
    known = {*OTHER_THAN_DEFAULT, *OBJECTS, "reconstruction", "masks"}
    assert arguments - {"self", "args", "kwargs", *networks()} == known
    bits = registry.vae(binarize=True)
    assert type(bits).from_config(bits.get_config()).observation.binarize


def test_the_largest_model_has_sixteen_arguments():
    """Each by its name, of the class and those above it."""
    for model in MODELS.values():
        arguments = set()
        for cls in type(model()).__mro__:
            if cls.__module__.startswith("keras_vaegan.models.") and "__init__" in vars(cls):
                arguments |= set(inspect.signature(cls.__init__).parameters)
        assert len(arguments - {"self", "args", "kwargs"}) <= 16


@pytest.mark.core_on("one")
def test_the_condition_is_in_the_configuration():
    model = registry.cvae(given=True, prior=True, masks=("top", "blocks"))
    again = type(model).from_config(model.get_config())
    assert again.masks == ("top", "blocks") and again.prior.network.count_params() > 0
    assert [v.path for v in again.trainable_variables] == [v.path for v in model.trainable_variables]
    assert registry.cvae(num_classes=3).get_config()["prior"]["class_name"] == "StandardNormal"
    game = registry.cvae_gan(label_weight=0.3)
    assert type(game).from_config(game.get_config()).game.label_weight == 0.3
    with pytest.raises(kvg.InputError, match="label_weight must be"):
        registry.cvae_gan(label_weight=-1.0)


@pytest.mark.core_on("one")
def test_a_player_that_is_frozen_is_refused_at_compile():
    model = registry.vae_gan()
    model.discriminator.trainable = False
    with pytest.raises(kvg.InputError, match="discriminator are frozen"):
        model.compile()


@pytest.mark.core_on("one")
def test_every_class_has_a_representative_in_the_core_suite():
    assert {type(MODELS[name]()) for name in REPRESENTATIVES} == set(keys.MODELS.values())


@pytest.mark.core_on("one")
@pytest.mark.parametrize("name", MODELS)
def test_a_model_knows_its_shapes(name):
    model = MODELS[name](image_shape=(3, 2, 2))
    assert model.image_shape == (3, 2, 2)
    assert model.latent_dim == registry.LATENT_DIM


@pytest.mark.core_on("one")
def test_models_are_keras_models_registered_under_the_package():
    for model in keys.MODELS.values():
        assert issubclass(model, keras.Model)
        assert keras.saving.get_registered_name(model) == f"keras_vaegan>{model.__name__}"
