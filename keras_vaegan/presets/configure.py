"""Recipes changed by the user, and models built from them."""

import contextlib
import copy
import functools
import inspect
import math
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keras

from keras_vaegan.classification import CLASSIFICATIONS
from keras_vaegan.data.images import parse_size
from keras_vaegan.errors import InputError, choose, did_you_mean, nearest, shown, whole_number
from keras_vaegan.games import GAMES
from keras_vaegan.kinds import LARGEST_SIDE, LENGTHS, Kind, check_kind, check_recipe
from keras_vaegan.likelihoods import LIKELIHOODS
from keras_vaegan.networks import FAMILIES, heads
from keras_vaegan.networks.blocks import check_image_shape
from keras_vaegan.parts import KIND, settings_of
from keras_vaegan.presets.own_images import recipe_by_images
from keras_vaegan.presets.recipes import (
    ALL_PRESETS,
    DATA_SETS,
    DEFAULT_DATASET,
    RECIPES,
    TRAINED_ALIKE,
    TRAINING_IMAGES,
    num_steps,
)
from keras_vaegan.priors import PRIORS
from keras_vaegan.reconstructions import RECONSTRUCTIONS, Features
from keras_vaegan.registry import MODELS

if TYPE_CHECKING:
    pass

OPTIMIZERS = {
    name: getattr(keras.optimizers, name)
    for name in ("Adam", "AdamW", "Adamax", "Nadam", "RMSprop", "SGD", "Lion")
}
SCHEDULES = {
    name: getattr(keras.optimizers.schedules, name)
    for name in ("CosineDecay", "ExponentialDecay", "PiecewiseConstantDecay", "PolynomialDecay")
}
# Arguments of models that are objects: the classes by their names, and the name of the default.
PARTS: dict[str, tuple[Mapping[str, type], str]] = {
    "likelihood": (LIKELIHOODS, "bernoulli"),
    "prior": (PRIORS, "standard_normal"),
    "game": (GAMES, "standard"),
    "classification": (CLASSIFICATIONS, "classification"),
}
WEIGHTS = "reconstruction"  # the argument whose settings are weights by name
NETWORKS = (
    "base",
    "trunk",
    "encoder",
    "class_head",
    "decoder",
    "prior",
    "discriminator",
)  # heads after their trunk
TRAINING = ("dataset", "image_size", "augment", *LENGTHS, "batch_size", "init")
SEMI_SUPERVISED = ("num_labels", "labelled_share")  # of training, where some of the labels are hidden
CONDITIONS = ("labels", "image")  # what `networks.condition` may list: classes, the visible part of the image
LEAST_ONE = {
    "training.epochs",
    "training.steps",
    "training.batch_size",
    "training.num_labels",
    "networks.latent_dim",
}
PLAYERS = ("encoder", "generator", "discriminator")
CHECKED_BY_NAME = {"networks.condition", "training.image_size"}
# What the options take that no constructor of ours has.
KINDS: dict[str, Kind] = {
    "networks.latent_dim": int,
    "networks.base": str | None,
    "training.dataset": str,
    "training.augment": str | None,
    "training.epochs": int,
    "training.steps": int,
    "training.batch_size": int,
    "training.init": str | None,
    "training.num_labels": int | None,
    "training.labelled_share": float,
}
OPTIMIZER_KINDS: dict[str, Kind] = {
    "gradient_accumulation_steps": int | None,
    "ema_overwrite_frequency": int | None,
}
_SHARE, _POSITIVE = (0.0, 1.0), (0.0, math.inf)
RANGES = {  # the least value of an optimizer's setting, and the one that it stays below
    "learning_rate": _POSITIVE,
    "weight_decay": _POSITIVE,
    "epsilon": _POSITIVE,
    "clipnorm": _POSITIVE,
    "global_clipnorm": _POSITIVE,
    "clipvalue": _POSITIVE,
    "beta_1": _SHARE,
    "beta_2": _SHARE,
    "rho": _SHARE,
    "momentum": _SHARE,
    "ema_momentum": (0.0, 1.0 + 1e-9),
    "gradient_accumulation_steps": (2, math.inf),
    "ema_overwrite_frequency": (1, math.inf),
}
NOT_OPTIONS = {"self", "kwargs", "image_shape", "name", "seed", "dtype", *NETWORKS}
SET_BY_BUILD = {"codes", "latent_dim", "num_outputs", "num_classes", "given", "features"}


def recipe(name: str) -> dict[str, Any]:
    """A copy of the recipe of that name, or raise `InputError` with the nearest right one."""
    known = choose("preset", name, RECIPES, kind="the name of a preset", listing=ALL_PRESETS)
    return copy.deepcopy(RECIPES[known])


def recipe_for(
    model: str,
    dataset: str | None = None,
    image_shape: Sequence[int] | None = None,
    num_images: int | None = None,
) -> dict[str, Any]:
    """The recipe of a model for a data set.

    Args:
        model: of `MODELS`.
        dataset: a name or path. The recipe is `<model>_<dataset>` if there is one; None for `mnist_small`,
            the embedded digits. `digits` has the recipe of `mnist_small`.
        image_shape: `(H, W, C)` of a data set that no recipe names, by which one is chosen. None for that of
            MNIST, unless the shape of the data set is known.
        num_images: images to train on, of such a data set; None if they are many.

    Raises:
        InputError: a model that is none of `MODELS`; an `image_shape` that is none.
    """
    choose("model", model, MODELS)
    if is_named(model, dataset):
        found = recipe(_named(model, dataset))
        if dataset is not None:
            found["training"]["dataset"] = dataset
        return found
    if image_shape is None and dataset in DATA_SETS:
        image_shape, num_images = DATA_SETS[dataset][0], TRAINING_IMAGES.get(dataset)
    if image_shape is None:
        found = recipe(f"{model}_mnist")
    else:
        found = recipe_by_images(model, check_image_shape(image_shape), num_images)
    found["training"]["dataset"] = dataset
    return found


def is_named(model: str, dataset: str | None) -> bool:
    """Whether a recipe names the model and the data set."""
    return _named(model, dataset) in RECIPES


def _named(model: str, dataset: str | None) -> str:
    """The name that the recipe of a model for a data set has, if there is one."""
    dataset = dataset or DEFAULT_DATASET
    return f"{model}_{TRAINED_ALIKE.get(dataset, dataset)}"


def options(recipe: Mapping[str, Any]) -> list[str]:
    """Every option that may be set in a recipe, by its full name, `section.part.option`.

    Raises `InputError` where the class of an optimizer is none of `OPTIMIZERS`.
    """
    check_recipe(recipe)
    model = MODELS[choose("recipe.model.key", recipe["model"]["key"], MODELS)]
    choose("recipe.networks.family", recipe["networks"]["family"], FAMILIES)
    names = _model_options(recipe, model)
    names += ["networks.family", "networks.latent_dim"]
    if model.takes:
        names.append("networks.condition")
    for network in networks_of(model):
        if network == "base":
            names.append("networks.base")
            continue
        names.append(f"networks.{network}.family")
        with contextlib.suppress(InputError):  # one that the family does not have has no options
            legal = _parameters(function_of(recipe, network, model)) - SET_BY_BUILD
            names += [f"networks.{network}.{option}" for option in legal]
    for player, settings in player_settings(recipe).items():
        kind = choose(f"optimizer.{player}.class", settings.get("class"), OPTIMIZERS)
        legal = _defaults(kind).keys() - {"name", "loss_scale_factor"}
        names += [f"optimizer.{player}.{option}" for option in (*legal, "class")]
    training = (*TRAINING, *(SEMI_SUPERVISED if "class_head" in networks_of(model) else ()))
    return sorted([*names, *(f"training.{option}" for option in training)])


def _model_options(recipe: Mapping[str, Any], model: Any) -> list[str]:
    """The options of a model: its arguments, and the class and settings of those that are objects."""
    arguments = _arguments_of(model)
    names = [f"model.{option}" for option in _parameters(*_constructors(model)) - {*PARTS, WEIGHTS}]
    for part in _parts_of(model):
        if len(PARTS[part][0]) > 1:
            names += [f"model.{part}", f"model.{part}.{KIND}"]
        names += [f"model.{part}.{setting}" for setting in settings_of(_part_class(recipe, part))]
    if WEIGHTS in arguments:
        judged = "discriminator" in networks_of(model)
        names += [f"model.{WEIGHTS}.{name}" for name in RECONSTRUCTIONS if judged or name != Features.name]
    return names


def _arguments_of(model: Any) -> set[str]:
    """Names of the arguments of a model's constructors."""
    return {name for function in _constructors(model) for name in inspect.signature(function).parameters}


def _parts_of(model: Any) -> list[str]:
    """Names of the arguments of a model that are objects of `PARTS`."""
    arguments = _arguments_of(model)
    return [part for part in PARTS if part in arguments]


def _part_settings(recipe: Mapping[str, Any], part: str) -> dict[str, Any]:
    """The settings of an argument that is an object, the name of its class under `class` if there is one."""
    given = recipe["model"].get(part) or {}
    return {KIND: given} if isinstance(given, str) else dict(given)


def _part_class(recipe: Mapping[str, Any], part: str) -> type:
    """The class of an argument that is an object."""
    kinds, default = PARTS[part]
    return kinds[choose(f"model.{part}", _part_settings(recipe, part).get(KIND, default), kinds)]


def override(recipe: dict[str, Any], key: str, value: Any) -> None:
    """Set an option of a recipe, in place.

    Args:
        recipe: as `recipe` gives it.
        key: the option's full name, or its last part or parts where that is unambiguous:
            `model.game.r1` or `r1`, `optimizer.generator.learning_rate` or
            `generator.learning_rate`, `networks.encoder.filters` or `encoder.filters`.
        value: number, text, boolean or list; for a learning rate also a dictionary of the `class` and
            the settings of one of Keras' schedules, which are stated in steps.

    Raises:
        InputError: a key of no option, or of several; a value that the option cannot have: a count below 1,
            an optimizer's setting that is no number, a family, condition or class of optimizer that there is
            not, a data set that is no text.
    """
    if not isinstance(key, str):
        raise InputError(f"key must be the name of an option; received {shown(key)}.")
    legal = options(recipe)
    found = [name for name in legal if name == key or name.endswith(f".{key}")]
    if not found:
        raise _unknown_option(recipe, key, legal)
    least = min(name.count(".") for name in found)
    if key not in found:  # `family` is that of all networks before it is that of one
        found = [name for name in found if name.count(".") == least]
    if len(found) > 1 and key not in found:  # `steps` is that of a DRAW's model before that of the training
        found = [name for name in found if not name.startswith("training.")]
    if len(found) > 1 and key not in found:
        allowed = [_short(name) for name in found]
        raise InputError(
            f"option {key} is ambiguous: write {' or '.join(allowed)}.",
            argument=key,
            allowed=allowed,
            received=key,
        )
    name = key if key in found else found[0]
    if name.removeprefix("model.") in PARTS:  # its class, by name
        name = f"{name}.{KIND}"
    *sections, option = name.split(".")
    _check_option(recipe, name, value)
    if sections[0] == "model" and sections[1:] and sections[1] in PARTS:
        _override_part(recipe, sections[1], option, value)
        return
    if sections[0] == "optimizer" and option == "class":
        choose(name, value, OPTIMIZERS)
    if name.endswith(".family"):  # the settings of networks were those of the other family
        choose(name, value, FAMILIES)
        changed = NETWORKS if name == "networks.family" else name.split(".")[1:2]
        for network in changed if value != recipe["networks"]["family"] else ():
            recipe["networks"].pop(network, None)
    if name == "networks.condition":
        for part in value if isinstance(value, list) else [value]:
            choose(name, part, CONDITIONS)
    if sections[0] == "optimizer":
        recipe["optimizer"][sections[1]] = player_settings(recipe)[sections[1]]
        if option == "class":  # what the new class does not know was the old one's
            known = _defaults(value)
            settings = recipe["optimizer"][sections[1]]
            recipe["optimizer"][sections[1]] = {k: v for k, v in settings.items() if k in known}
    target = recipe
    for section in sections:
        target = target.setdefault(section, {})
    target[option] = value
    if sections[0] == "training" and option in LENGTHS:  # the newer length replaces the other
        for other in LENGTHS:
            if other != option:
                target.pop(other, None)


def _unknown_option(recipe: Mapping[str, Any], key: str, legal: Sequence[str]) -> InputError:
    """The error for a key of no option: why there is none, and the nearest one."""
    model = recipe["model"]["key"]
    owners = [*networks_of(MODELS[model]), *player_settings(recipe), *_parts_of(MODELS[model])]
    *sections, setting = key.removeprefix("networks.").removeprefix("optimizer.").split(".")
    reason = ""
    if sections and sections[0] in {*NETWORKS, *PLAYERS, *PARTS} - set(owners):
        reason = f", which has no {sections[0]}"
    others = [
        f"--set {part}={kind}"
        for part in _parts_of(MODELS[model])
        for kind, of in PARTS[part][0].items()
        if setting in settings_of(of)
    ]
    if reason:
        hint = ""
    elif others:
        hint = f" It belongs to {' or '.join(others)}."
    else:  # compare with the short forms too, so that `bta` is told of `beta`
        hint = did_you_mean(nearest(key, [*map(_short, legal), *legal]))
    shown_key = key if re.fullmatch(r"[A-Za-z_][\w.]*", key) else shown(key)
    return InputError(
        f"option {shown_key} must be an option of {model}{reason}.{hint} "
        f"`keras-vaegan presets {_alike(recipe)} --options` lists all options.",
        argument="option" if shown_key != key else key,
        allowed=tuple(legal),
        received=key,
    )


def _alike(recipe: Mapping[str, Any]) -> str:
    """The name of a preset that has the options of a recipe: of its model, and of its networks' family."""
    named = _named(recipe["model"]["key"], recipe["training"]["dataset"])
    of_model = [name for name, of in RECIPES.items() if of["model"]["key"] == recipe["model"]["key"]]
    family = recipe["networks"]["family"]
    of_family = [name for name in of_model if RECIPES[name]["networks"]["family"] == family]
    return named if named in of_model else (of_family or of_model)[0]


def _short(name: str) -> str:
    """The short form of an option's name: without its section, of a model's without the object's name."""
    parts = name.split(".")
    return parts[-1] if parts[0] == "model" and parts[-1] != KIND else ".".join(parts[1:])


def _override_part(recipe: dict[str, Any], part: str, setting: str, value: Any) -> None:
    """Set the class of an argument that is an object, which keeps the settings it knows; or a setting."""
    settings = _part_settings(recipe, part)
    if setting == KIND:
        known = settings_of(PARTS[part][0][choose(f"option model.{part}.{KIND}", value, PARTS[part][0])])
        settings = {name: of for name, of in settings.items() if name in known}
    recipe["model"][part] = {**settings, setting: value}


def _check_option(recipe: Mapping[str, Any], name: str, value: Any) -> None:
    """Raise `InputError` unless a value is of the kind and in the range that an option takes."""
    argument = f"option {name}"
    section, *_, option = name.split(".")
    if isinstance(value, str) and "\0" in value:
        raise InputError(f"{argument} must hold no null character; received {shown(value)}.")
    if name == "training.image_size":
        size = parse_size(value)
        if size and max(size) > LARGEST_SIDE:
            raise InputError(f"{argument} must be at most {LARGEST_SIDE} pixels; received {shown(value)}.")
    elif section == "optimizer" and option == "learning_rate" and isinstance(value, Mapping):
        _check_schedule(argument, value)
    elif name in CHECKED_BY_NAME or option in ("family", "class"):
        pass
    else:
        check_kind(argument, value, _kind_of(recipe, name))
    if section == "optimizer" and isinstance(value, (int, float)) and option in RANGES:
        least, below = RANGES[option]
        if not least <= value < below:
            limit = f" and below {below:g}" if below < math.inf else ""
            raise InputError(f"{argument} must be at least {least:g}{limit}; received {value!r}.")
    if name in LEAST_ONE and value is not None:
        whole_number(argument, value, 1)
    if name == "training.labelled_share" and not 0 < value < 1:
        raise InputError(f"{argument} must lie between 0 and 1; received {value!r}.")


def _kind_of(recipe: Mapping[str, Any], name: str) -> Kind:
    """What an option takes: by the annotation of its constructor, or by the default of Keras' optimizer."""
    section, *part, option = name.split(".")
    if name in KINDS:
        return KINDS[name]
    model = MODELS[recipe["model"]["key"]]
    if section == "model" and part:
        return float if part[0] == WEIGHTS else settings_of(_part_class(recipe, part[0]))[option].annotation
    if section == "model":
        for constructor in _constructors(model):
            if option in inspect.signature(constructor).parameters:
                return typing.get_type_hints(constructor)[option]
    if section == "networks":
        return typing.get_type_hints(function_of(recipe, part[0], model))[option]
    if option in OPTIMIZER_KINDS:
        return OPTIMIZER_KINDS[option]
    default = _defaults(player_settings(recipe)[part[0]]["class"])[option]
    return bool if isinstance(default, bool) else float | None if default is None else float


@functools.cache
def _defaults(optimizer: str) -> Mapping[str, Any]:
    """The settings of one of `OPTIMIZERS` by their names, as Keras has them."""
    return OPTIMIZERS[optimizer]().get_config()


def _check_schedule(argument: str, schedule: Mapping[str, Any]) -> None:
    """Raise `InputError` unless a learning rate's schedule has settings that its class takes."""
    settings = {name: value for name, value in schedule.items() if name != "class"}
    kind = SCHEDULES[choose(f"{argument}.class", str(schedule.get("class")), SCHEDULES)]
    known = {name: of for name, of in inspect.signature(kind).parameters.items() if name != "name"}
    for name, value in settings.items():
        choose(argument, name, known)
        default = known[name].default
        if name in ("boundaries", "values"):
            check_kind(f"{argument}.{name}", value, Sequence[float])
        elif isinstance(default, bool):
            check_kind(f"{argument}.{name}", value, bool)
        else:
            check_kind(f"{argument}.{name}", value, float | None if default is None else float)
            if value is not None and value < (name == "decay_steps"):
                raise InputError(
                    f"{argument}.{name} must be at least {int(name == 'decay_steps')}; received {value!r}."
                )
    lacking = [
        name
        for name, of in known.items()
        if of.default is of.empty and name not in settings and name != "decay_steps"
    ]
    if lacking:
        raise InputError(f"{argument} must have {', '.join(lacking)} for {schedule['class']}.")


def check(recipe: Any) -> None:
    """Raise `InputError` unless every setting of a recipe is of a kind that its option takes.

    Nothing is built: this is to be told before data are read and networks are made.
    """
    check_recipe(recipe)
    choose("recipe.model.key", recipe["model"]["key"], MODELS)
    choose("recipe.networks.family", recipe["networks"]["family"], FAMILIES)
    for network in NETWORKS[1:]:
        check_kind(f"recipe.networks.{network}", recipe["networks"].get(network), dict | None)
    for part in as_list(recipe["networks"].get("condition", [])):
        choose("recipe.networks.condition", part, CONDITIONS)
    legal = set(options(recipe))
    for section in ("model", "networks", "optimizer", "training"):
        for name, value in recipe[section].items():
            nested = isinstance(value, Mapping) and name in (*NETWORKS, *PLAYERS, *PARTS, WEIGHTS)
            parts: dict[str, Any] = (
                {f".{part}": setting for part, setting in value.items()} if nested else {"": value}
            )
            for part, setting in parts.items():
                full = f"{section}.{name}{part}"
                if full in legal:  # of the others, the constructors tell which they do not take
                    _check_option(recipe, full, setting)
    _check_factors(recipe)


def _check_factors(recipe: Mapping[str, Any]) -> None:
    """Raise `InputError` if the encoder shrinks images by another factor than the decoder enlarges codes."""
    model = MODELS[recipe["model"]["key"]]
    factors = []
    for network in ("encoder", "decoder"):
        with contextlib.suppress(InputError):  # a family without that network
            default = inspect.signature(function_of(recipe, network, model)).parameters.get("factor")
            if default is not None:
                factors.append(recipe["networks"].get(network, {}).get("factor", default.default))
    if len(factors) == 2 and factors[0] != factors[1]:
        raise InputError(
            f"networks.encoder.factor must be equal to networks.decoder.factor; received {factors[0]} and "
            f"{factors[1]}. Set both: encoder.factor and decoder.factor."
        )


def as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def plan(recipe: Mapping[str, Any], steps: int | None = None) -> dict[str, Any]:
    """The recipe with `decay_steps` for the learning rates that say none: those of the whole training.

    Args:
        recipe: as `recipe` gives it.
        steps: of the training; if None, what the recipe's own data set makes of it.

    Raises:
        InputError: a learning rate without `decay_steps`, and no `steps`, on data of which the number of
            images is not known.
    """
    check_recipe(recipe)
    planned = copy.deepcopy(dict(recipe))
    lacking = [settings for settings in planned["optimizer"].values() if _lacks_steps(settings)]
    training = planned["training"]
    if lacking and steps is None:
        if training.get("steps") is None and training["dataset"] not in TRAINING_IMAGES:
            raise InputError(
                "optimizer: learning_rate must have decay_steps: how many images there are in "
                f"{training['dataset']} is not known here."
            )
        steps = num_steps(training, TRAINING_IMAGES.get(training["dataset"], 0))
    for settings in lacking:
        settings["learning_rate"]["decay_steps"] = steps
    return planned


def _lacks_steps(settings: Mapping[str, Any]) -> bool:
    """Whether the learning rate is a schedule that needs `decay_steps` and has none."""
    schedule = settings.get("learning_rate")
    if not isinstance(schedule, Mapping) or "decay_steps" in schedule:
        return False
    known = SCHEDULES.get(str(schedule.get("class")))
    return known is not None and "decay_steps" in inspect.signature(known).parameters


def player_settings(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Optimizer settings of each player; an encoder that plays for itself starts from the generator's."""
    settings = dict(recipe["optimizer"])
    if _part_settings(recipe, "game").get("three_players"):
        settings.setdefault("encoder", dict(settings["generator"]))
    return settings


def _constructors(model: Any) -> list[Callable[..., Any]]:
    """The constructors of the package's own classes that a model's arguments may come from."""
    own = (base for base in model.__mro__ if base.__module__.startswith("keras_vaegan."))
    return [base.__init__ for base in own if "__init__" in vars(base)]


def networks_of(model: Any) -> list[str]:
    """Names of the networks that a model is built from, in the order of `NETWORKS`."""
    known = _arguments_of(model)
    if not model.takes:
        known -= {"prior"}  # of networks; an unconditional prior has none
    return [network for network in NETWORKS if network in known]


def function_of(recipe: Mapping[str, Any], network: str, model: Any) -> Callable[..., Any]:
    """What builds a network: of its family or the recipe's, or of the heads that all families share."""
    networks = recipe["networks"]
    name = networks.get(network, {}).get("family", networks["family"])
    family = FAMILIES[choose("networks.family", name, FAMILIES)]
    others = networks_of(model)
    if network == "encoder" and "trunk" in others:
        network = "encoder_head"
    if network in ("trunk", "decoder") and "base" in others:
        network = f"code_{network}"
    function = getattr(family, network, getattr(heads, network, None))
    if function is None:
        raise InputError(f"networks.{network} must be of another family; {name} has none.")
    return function


def _parameters(*functions: Callable[..., Any]) -> set[str]:
    """Names of the options that these functions take."""
    return (
        {name for function in functions for name in inspect.signature(function).parameters}
        - NOT_OPTIONS
        - {"args"}
    )
