"""Tiny models that the tests of properties run over: a new model is one more line in `MODELS`."""

import functools

import keras
import numpy as np
import pytest

import keras_vaegan as kvg
from keras_vaegan.networks import dcgan, draw, heads, mlp, patch, resnet
from keras_vaegan.training.watch import Snapshot

IMAGE_SHAPE = (2, 3, 1)
LATENT_DIM = 2
BATCH = 4
NUM_CLASSES = 3


# Setting of an object, by the paper's symbol or a short name -> argument of the model, name in it.
SETTINGS = {
    **{name: ("likelihood", name) for name in ("binarize", "noise_scale")},
    **dict.fromkeys(("gamma",), ("reconstruction", "features")),
    **dict.fromkeys(("pixel_weight",), ("reconstruction", "pixels")),
    **{
        name: ("game", name)
        for name in ("label_smoothing", "r1", "r2", "label_weight", "three_players", "margin")
        + ("weight", "adaptive", "start", "warm_up")
    },
    **{
        name: ("classification", name)
        for name in ("alpha", "consistency", "discriminator_consistency", "radius", "temperature")
    },
    **{name: ("classification", name) for name in ("expectation", "classifier")},
}


def objects(likelihood=None, game=None, prior_components=0, **flat):
    """Arguments of a model, from settings by their own names (`SETTINGS`)."""
    arguments = {}
    for argument, name in (("likelihood", likelihood), ("game", game)):
        if name is not None:
            arguments[argument] = {"class": name} if isinstance(name, str) else name
    if prior_components:
        arguments["prior"] = {"class": "mixture", "components": prior_components}
    for name, value in flat.items():
        argument, setting = SETTINGS.get(name, (name, None))
        if setting is None:
            arguments[argument] = value
        else:
            arguments.setdefault(argument, {})[setting] = value
    return arguments


# The losses of the papers, which a hybrid has here where its line in the table says nothing else.
OF_THE_PAPERS = {"beta": 1.0, "game": "standard", "gamma": 1.0, "pixel_weight": 0.0, "fakes_from": "prior"}


def hybrid_objects(**arguments):
    """Arguments of a hybrid, from settings by their own names."""
    return objects(**OF_THE_PAPERS | arguments)


def smooth_networks(image_shape, adversarial, spectral=False, num_classes=None, given=False):
    """Fully connected networks that are smooth functions of their weights."""
    arguments = {"units": (5,), "activation": "tanh", "num_classes": num_classes, "given": given}
    networks = [
        mlp.encoder(image_shape, LATENT_DIM, **arguments),
        mlp.decoder(image_shape, LATENT_DIM, **arguments),
    ]
    if adversarial:
        judge = mlp.discriminator(
            image_shape,
            units=(6, 4),
            num_outputs=1 if num_classes is None else num_classes + 1,
            activation="softplus",
            spectral_normalization=spectral,
        )
        networks.append(judge)
    return networks


def vae(image_shape=IMAGE_SHAPE, **arguments):
    """A fully connected VAE."""
    return kvg.VAE(*smooth_networks(image_shape, adversarial=False), **objects(**arguments))


def vae_gan(image_shape=IMAGE_SHAPE, spectral=False, **arguments):
    """A fully connected VAE/GAN."""
    networks = smooth_networks(image_shape, adversarial=True, spectral=spectral)
    if arguments.get("prior_components"):  # samples will be of the codes
        arguments.setdefault("fakes_from", "posterior")
    return kvg.VAEGAN(*networks, **hybrid_objects(**arguments))


def spatial_vae_gan(image_shape=IMAGE_SHAPE, num_classes=None, **arguments):
    """A VAE/GAN of images of any size, whose latent codes are maps."""
    style = {"factor": 2, "filters": 4, "blocks": 1, "normalization": "rms", "num_classes": num_classes}
    open_shape = (None, None, image_shape[-1])
    outputs = 1 if num_classes is None else num_classes + 1
    judge = patch.discriminator(
        open_shape, filters=(4,), kernel_size=2, activation="softplus", num_outputs=outputs
    )
    networks = [build(image_shape, LATENT_DIM, **style) for build in (resnet.encoder, resnet.decoder)]
    kind = kvg.VAEGAN if num_classes is None else kvg.CVAEGAN
    return kind(*networks, judge, **hybrid_objects(**arguments))


def patch_vae_gan(image_shape=IMAGE_SHAPE, **arguments):
    """A fully connected VAE/GAN whose discriminator judges patches."""
    networks = smooth_networks(image_shape, adversarial=False)
    judge = patch.discriminator(image_shape, filters=(4,), kernel_size=2, activation="softplus")
    return kvg.VAEGAN(*networks, judge, **hybrid_objects(**arguments))


def convolutional_vae_gan(image_shape=IMAGE_SHAPE, **arguments):
    """A convolutional VAE/GAN with batch normalisation in all networks."""
    shared = {"filters": (2, 3), "units": (), "normalization": "batch", "activation": "leaky_relu"}
    return kvg.VAEGAN(
        dcgan.encoder(image_shape, LATENT_DIM, **shared),
        dcgan.decoder(image_shape, LATENT_DIM, **shared),
        dcgan.discriminator(image_shape, **shared),
        **hybrid_objects(**arguments),
    )


def learned_prior(image_shape, **condition):
    """A fully connected p(z|condition)."""
    return mlp.prior(image_shape, LATENT_DIM, units=(4,), activation="tanh", **condition)


def cvae(image_shape=IMAGE_SHAPE, num_classes=None, given=False, prior=False, **arguments):
    """A fully connected CVAE; `prior` says whether it has a learned one."""
    condition = {"num_classes": num_classes, "given": given}
    networks = smooth_networks(image_shape, adversarial=False, **condition)
    network = learned_prior(image_shape, **condition) if prior else None
    return kvg.CVAE(*networks, **{"prior": network, **objects(**arguments)})


def cvae_gan(image_shape=IMAGE_SHAPE, num_classes=NUM_CLASSES, prior=False, spectral=False, **arguments):
    """A fully connected CVAE/GAN."""
    networks = smooth_networks(image_shape, True, spectral, num_classes)
    network = learned_prior(image_shape, num_classes=num_classes) if prior else None
    return kvg.CVAEGAN(*networks, **{"prior": network, **hybrid_objects(**arguments)})


def ssl_vae(image_shape=IMAGE_SHAPE, num_classes=NUM_CLASSES, prior=False, **arguments):
    """A fully connected semi-supervised VAE."""
    trunk = mlp.trunk(image_shape, units=(5,), activation="tanh")
    return kvg.SemiSupervisedVAE(
        trunk,
        heads.encoder_head(5, LATENT_DIM, num_classes, units=(4,), activation="tanh"),
        heads.class_head(5, num_classes, units=(3,), activation="tanh"),
        mlp.decoder(image_shape, LATENT_DIM, units=(5,), activation="tanh", num_classes=num_classes),
        **{
            "prior": learned_prior(image_shape, num_classes=num_classes) if prior else None,
            **objects(**arguments),
        },
    )


def draw_networks(image_shape, num_classes, glimpse):
    """One step of a DRAW of few units: encoder and decoder."""
    settings = {"units": 4, "glimpse": glimpse, "num_classes": num_classes}
    return [build(image_shape, LATENT_DIM, **settings) for build in (draw.encoder, draw.decoder)]


def draw_model(image_shape=IMAGE_SHAPE, num_classes=None, glimpse=2, steps=3, **arguments):
    """A DRAW of few units."""
    return kvg.DRAW(*draw_networks(image_shape, num_classes, glimpse), steps=steps, **objects(**arguments))


def draw_gan(image_shape=IMAGE_SHAPE, num_classes=None, glimpse=2, steps=3, spectral=False, **arguments):
    """A DRAW of few units, with a fully connected discriminator."""
    *_, judge = smooth_networks(image_shape, True, spectral, num_classes)
    networks = draw_networks(image_shape, num_classes, glimpse)
    return kvg.DRAWGAN(*networks, judge, steps=steps, **hybrid_objects(**{"pixel_weight": 1.0, **arguments}))


def stacked_ssl_vae(image_shape=IMAGE_SHAPE, num_classes=NUM_CLASSES, prior=False, **arguments):
    """A fully connected M1+M2, on a VAE of codes of three dimensions."""
    shape = {"units": (5,), "activation": "tanh"}
    base = kvg.VAE(
        mlp.encoder(image_shape, 3, name="base_encoder", **shape),
        mlp.decoder(image_shape, 3, name="base_decoder", **shape),
    )
    return kvg.StackedSemiSupervisedVAE(
        base,
        heads.code_trunk(3, **shape),
        heads.encoder_head(5, LATENT_DIM, num_classes, units=(4,), activation="tanh"),
        heads.class_head(5, num_classes),
        heads.code_decoder(3, LATENT_DIM, num_classes, **shape),
        **{
            "prior": learned_prior(image_shape, num_classes=num_classes) if prior else None,
            **objects(**arguments),
        },
    )


def ssl_vae_gan(image_shape=IMAGE_SHAPE, num_classes=NUM_CLASSES, **arguments):
    """A fully connected semi-supervised VAE/GAN."""
    *_, judge = smooth_networks(image_shape, True, num_classes=num_classes)
    prior = arguments.pop("prior", False)
    vae = ssl_vae(image_shape, num_classes)
    networks = {
        "trunk": vae.trunk,
        "encoder": vae.encoder_head,
        "class_head": vae.class_head,
        "decoder": vae.decoder,
        "prior": learned_prior(image_shape, num_classes=num_classes) if prior else None,
    }
    return kvg.SemiSupervisedVAEGAN(**{**networks, "discriminator": judge, **hybrid_objects(**arguments)})


# Name -> builder and its arguments, without the image shape.
ARGUMENTS = {
    "vae": (vae, {}),
    "vae_gaussian": (vae, {"likelihood": "gaussian", "noise_scale": 0.3, "beta": 0.5}),
    "vae_mixture": (vae, {"prior_components": 3}),
    "vae_gan": (vae_gan, {"gamma": 0.7, "pixel_weight": 0.2}),
    "vae_gan_three_players": (vae_gan, {"three_players": True, "beta": 0.5, "label_smoothing": 0.1}),
    "vae_gan_r1_spectral": (vae_gan, {"r1": 2.0, "spectral": True}),
    "vae_gan_hinge": (vae_gan, {"game": "hinge", "gamma": 0.7, "pixel_weight": 0.2, "r1": 0.5}),
    "vae_gan_least_squares": (vae_gan, {"game": "least_squares", "gamma": 0.7}),
    "vae_gan_relativistic": (vae_gan, {"game": "relativistic", "gamma": 0.7, "r1": 0.3}),
    "vae_gan_late": (
        vae_gan,
        {
            "game": "hinge",
            "pixel_weight": 0.5,
            "fakes_from": "none",
            "weight": 0.5,
            "adaptive": True,
            "start": 1,
            "warm_up": 1,
        },
    ),
    "vae_gan_patches": (patch_vae_gan, {"game": "hinge", "r1": 0.5, "r2": 0.5}),
    "vae_gan_spatial": (spatial_vae_gan, {"game": "hinge", "beta": 0.3, "pixel_weight": 0.5, "warm_up": 1}),
    "cvae_gan_spatial": (spatial_vae_gan, {"num_classes": NUM_CLASSES, "fakes_from": "none"}),
    "vae_gan_mixture": (vae_gan, {"gamma": 0.7, "prior_components": 3}),
    "vae_flow": (
        vae,
        {"prior": {"class": "flow", "width": 8, "depth": 1, "solver_steps": 2, "fit_steps": 20}},
    ),
    "cvae_mixture": (cvae, {"num_classes": NUM_CLASSES, "prior_components": 2}),
    "vae_gan_convolutional": (convolutional_vae_gan, {}),
    "cvae": (cvae, {"num_classes": NUM_CLASSES}),
    "cvae_completion": (cvae, {"given": True, "prior": True, "masks": ("quadrants:3",)}),
    "cvae_both": (cvae, {"num_classes": NUM_CLASSES, "given": True, "prior": True}),
    "ssl_vae": (ssl_vae, {"alpha": 0.5, "beta": 0.7, "prior": True}),
    "ssl_vae_consistent": (ssl_vae, {"consistency": 2.0, "radius": 0.5}),
    "draw": (draw_model, {}),
    "draw_conditional": (draw_model, {"num_classes": NUM_CLASSES, "glimpse": None, "beta": 0.5}),
    "draw_look_back": (draw_model, {"prior": {"class": "look_back", "units": 3}}),
    "draw_gan": (draw_gan, {"gamma": 0.7, "time_weights": "linear", "r1": 0.5}),
    "draw_gan_conditional": (
        draw_gan,
        {"num_classes": NUM_CLASSES, "glimpse": None, "three_players": True, "label_weight": 0.6},
    ),
    "draw_gan_look_back": (
        draw_gan,
        {"num_classes": NUM_CLASSES, "prior": "look_back", "pixel_weight": 0.5, "beta": 0.5},
    ),
    "draw_gan_mixture": (
        draw_gan,
        {"gamma": 0.7, "pixel_weight": 0.5, "prior_components": 2, "fakes_from": "none"},
    ),
    "stacked_ssl_vae": (stacked_ssl_vae, {"alpha": 0.5, "prior": True}),
    "ssl_vae_gan": (
        ssl_vae_gan,
        {"alpha": 0.5, "gamma": 0.7, "pixel_weight": 0.2, "prior": True, "label_weight": 0.6},
    ),
    "ssl_vae_gan_matching": (
        ssl_vae_gan,
        {"game": "feature_matching", "gamma": 0.5, "pixel_weight": 1.0, "classifier": "ensemble"},
    ),
    "ssl_vae_gan_sampled": (
        ssl_vae_gan,
        {
            "expectation": "sampled",
            "three_players": True,
            "r1": 0.3,
            "discriminator_consistency": 2.0,
            "radius": 0.5,
        },
    ),
    "cvae_gan": (cvae_gan, {"num_classes": NUM_CLASSES, "gamma": 0.7, "pixel_weight": 0.2}),
    "cvae_gan_three_players": (
        cvae_gan,
        {
            "num_classes": NUM_CLASSES,
            "prior": True,
            "three_players": True,
            "label_smoothing": 0.1,
            "r1": 0.5,
        },
    ),
}

# Name -> function that builds the model, for an image shape.
MODELS = {name: functools.partial(build, **kwargs) for name, (build, kwargs) in ARGUMENTS.items()}

# The variants with most to go wrong, of every class: the core suite's, where a test is costly.
REPRESENTATIVES = (
    "vae",
    "vae_gan_three_players",
    "vae_gan_convolutional",
    "vae_gan_patches",
    "vae_gan_spatial",
    "cvae_both",
    "cvae_gan_three_players",
    "ssl_vae_consistent",
    "stacked_ssl_vae",
    "ssl_vae_gan_sampled",
    "draw_conditional",
    "draw_gan",
)


def core(representatives, names):
    """Parameters of a test: these names, of which all but the representatives are of the full matrix."""
    return [pytest.param(name, marks=() if name in representatives else pytest.mark.slow) for name in names]


EVERY_MODEL = core(REPRESENTATIVES, MODELS)
ADVERSARIAL = [name for name in MODELS if "gan" in name]
CONDITIONAL = [name for name in MODELS if name.startswith("cvae")]

# The models that `reference.losses` transcribes, with its arguments: those of fully connected
# networks that draw nothing but the codes, and so no masks, directions or classes.
TRANSCRIBED = {
    name: kwargs
    for name, (_, kwargs) in ARGUMENTS.items()
    if name
    not in (
        "vae_flow",
        "vae_mixture",
        "cvae_mixture",
        "vae_gan_convolutional",
        "vae_gan_late",
        "vae_gan_patches",
        "vae_gan_spatial",
        "cvae_gan_spatial",
        "cvae_both",
        "ssl_vae_consistent",
        "stacked_ssl_vae",
        "draw",
        "draw_conditional",
        "draw_look_back",
        "draw_gan_look_back",
        "draw_gan_mixture",
        "draw_gan",
        "draw_gan_conditional",
        "ssl_vae_gan_matching",
        "ssl_vae_gan_sampled",
    )
}


class Chunks(keras.utils.PyDataset):
    """Batches of arrays, the last of what is left."""

    def __init__(self, *arrays):
        super().__init__()
        self.arrays = arrays

    def __len__(self):
        return -(-len(self.arrays[0]) // BATCH)

    def __getitem__(self, index):
        return tuple(array[BATCH * index :][:BATCH] for array in self.arrays)


def images(count=BATCH, image_shape=IMAGE_SHAPE, seed=0):
    """Random images `(count, H, W, C)` float32 in [0, 1]."""
    return np.random.default_rng(seed).random((count, *image_shape), dtype="float32")


def labels(count=BATCH):
    """Classes `(count,)`, which all occur from `NUM_CLASSES` on."""
    return (2 * np.arange(count) + 1) % NUM_CLASSES


def targets(name, count=BATCH):
    """The labels that a model is fitted to: of the first images alone, where the others may be hidden."""
    return np.where(np.arange(count) < NUM_CLASSES, labels(count), -1) if "ssl" in name else labels(count)


def data(model, count=BATCH, seed=0):
    """What a model is fitted to: images alone, or with labels, as a tuple."""
    x = images(count, model.image_shape, seed)
    kind = "ssl" if isinstance(model, kvg.SemiSupervisedVAE) else ""
    return (x,) if model.num_classes is None else (x, targets(kind, count))


def condition(model, count=BATCH):
    """The arguments by which `count` images are conditioned in the verbs: none, `labels`, `mask`."""
    labelled = {} if model.num_classes is None else {"labels": model.labels_of(labels(count))}
    return labelled | ({"mask": model.masks[0]} if model.completes else {})


def noise(count=BATCH, seed=1):
    """Two draws `(count, Z)`: for the posterior and, in the adversarial models, for the prior."""
    return np.random.default_rng(seed).standard_normal((2, count, LATENT_DIM), dtype="float32")


def set_weights(model, seed=2):
    """Give the model weights that are the same on every backend; return it."""
    generator = np.random.default_rng(seed)
    for variable in sorted(model.trainable_variables, key=lambda variable: variable.path):
        variable.assign(generator.normal(0.0, 0.6, variable.shape).astype("float32"))
    return model


# Key -> a compiled model and the state that it had then; of this process, so of one worker.
_COMPILED = {}


def compiled(key, build):
    """A model that `build()` makes and compiles once in a worker, with the state that it had then.

    Tracing takes most of a tiny model's first step. What the first test traces serves the others, so
    all tests of a key must inject the same noise.
    """
    if key not in _COMPILED:
        model = build()
        model.optimizer.build(model.trainable_variables)  # the slots are part of the state
        _COMPILED[key] = model, Snapshot.take(model, 0)
    model, state = _COMPILED[key]
    state.restore(model)
    return model
