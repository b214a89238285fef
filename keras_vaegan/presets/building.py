"""Models built from recipes, and models from presets."""

import inspect
import itertools
import math
import os
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self

import keras

from keras_vaegan.errors import InputError, choose, whole_number
from keras_vaegan.files import reason_of
from keras_vaegan.memory import require
from keras_vaegan.networks.blocks import check_image_shape
from keras_vaegan.presets.configure import (
    NETWORKS,
    OPTIMIZERS,
    SCHEDULES,
    as_list,
    check,
    function_of,
    networks_of,
    plan,
    player_settings,
)
from keras_vaegan.presets.folder import load_folder
from keras_vaegan.presets.recipes import DATA_SETS
from keras_vaegan.presets.sources import Preset, find, load_source
from keras_vaegan.registry import MODELS

if TYPE_CHECKING:
    from keras_vaegan.models.latent import LatentVariableModel


def build(
    recipe: Mapping[str, Any],
    image_shape: Sequence[int],
    seed: int | None = None,
    num_classes: int | None = None,
) -> "LatentVariableModel":
    """A compiled model from a recipe.

    Args:
        recipe: as `recipe` gives it.
        image_shape: `(H, W, C)`.
        seed: of the model's own randomness.
        num_classes: K, for a recipe whose networks are conditioned on labels; else it is not looked at.

    Raises:
        InputError: a model, family or optimizer that there is not; settings that a network, the model or an
            optimizer does not take; no `num_classes` for networks that take labels; a base that is no trained
            model of images of that shape; a learning rate as of `plan`.
    """
    check(recipe)
    image_shape = check_image_shape(image_shape)
    _check_memory(recipe, image_shape)
    arguments = dict(recipe["model"])
    model_class: Any = MODELS[choose("model", arguments.pop("key"), MODELS)]
    latent_dim = recipe["networks"]["latent_dim"]
    networks: dict[str, keras.Model] = {}
    condition = recipe["networks"].get("condition", ())
    if "labels" in condition and num_classes is None:
        raise InputError(f"num_classes must be given: the networks of {recipe['model']['key']} take labels.")
    for network in networks_of(model_class):
        if network == "prior" and network not in recipe["networks"]:
            continue
        if network == "base":
            networks[network] = _base(recipe, image_shape)
            continue
        function = function_of(recipe, network, model_class)
        known = inspect.signature(function).parameters
        own: dict[str, Any] = {"image_shape": image_shape, "latent_dim": latent_dim}
        if "labels" in condition:
            own |= {"num_classes": num_classes, "num_outputs": (num_classes or 0) + 1}
        if "image" in condition:
            own["given"] = True
        if "base" in networks:
            own["codes"] = networks["base"].latent_dim
        if "trunk" in networks:
            own["features"] = networks["trunk"].output_shape[-1]
        own = {name: value for name, value in own.items() if name in known}
        with _named(f"networks.{network}"):
            settings = {k: v for k, v in recipe["networks"].get(network, {}).items() if k != "family"}
            networks[network] = function(**own, **settings)
    if "prior" in networks and "prior" in arguments:
        raise InputError("model.prior must be left out beside networks.prior, which is the prior's network.")
    with _named("model"):
        model = model_class(**networks, seed=seed, **arguments)
    compile_from(recipe, model)
    return model


def from_preset(
    preset: str | os.PathLike[str],
    load_weights: bool | Literal["compatible"] = True,
    image_shape: Sequence[int] | None = None,
    num_classes: int | None = None,
    seed: int | None = None,
) -> "LatentVariableModel":
    """A compiled model from a preset; see `LatentVariableModel.from_preset`.

    Raises `InputError` as `find`, `load_folder` and `build` do; for another `load_weights`; for
    `num_classes` of a model that takes no labels; for images or classes other than those of the trained
    weights under `load_weights=True`; where a new model is asked for and there is no recipe, or no
    `image_shape` is known.
    """
    choose("load_weights", load_weights, (True, False, "compatible"))
    found = find(preset)
    trained = load_folder(found.folder)[0] if found.folder and load_weights else None
    if num_classes is not None:
        whole_number("num_classes", num_classes, 1)
        takes_labels = trained is not None and trained.num_classes is not None
        if not takes_labels and "labels" not in (found.recipe or {}).get("networks", {}).get("condition", ()):
            raise InputError(f"num_classes must be None: the model of {found.name} takes no labels.")
    fits = (
        trained is not None
        and image_shape in (None, tuple(trained.image_shape))
        and num_classes in (None, trained.num_classes)
    )
    if trained is not None and fits:
        model = trained
        if found.recipe:
            compile_from(found.recipe, model)
        else:
            model.compile()
    else:
        if trained is not None and load_weights is True:
            raise InputError(
                f"load_weights must be False or 'compatible' for other images or classes than those of "
                f"{found.name}, {trained.image_shape} and {trained.num_classes or 'none'}; received True."
            )
        model = _untrained(found, image_shape, num_classes, seed)
        if trained is not None:
            taken = take_over(model, trained)
            warnings.warn(f"{found.name}: took over {taken} of {len(model.weights)} arrays.", stacklevel=3)
        elif load_weights:
            warnings.warn(f"{found.name} has no trained weights; the model is new.", stacklevel=3)
    model.preset_metadata = found.metadata | ({"recipe": found.recipe} if found.recipe else {})
    return model


def take_over(model: "LatentVariableModel", other: "LatentVariableModel") -> int:
    """Copy the weights of another model that have the same path and shape; returns how many."""
    theirs = {variable.path: variable for variable in other.weights}
    taken = 0
    for variable in model.weights:
        found = theirs.get(variable.path)
        if found is not None and tuple(found.shape) == tuple(variable.shape):
            variable.assign(keras.ops.convert_to_numpy(found))
            taken += 1
    return taken


def compile_from(recipe: Mapping[str, Any], model: "LatentVariableModel") -> None:
    """Compile a model with the optimizers of a recipe."""
    settings = player_settings(plan(recipe))
    model.compile({player: _optimizer(player, settings[player]) for player in model.players})


def _untrained(
    found: Preset, image_shape: Sequence[int] | None, num_classes: int | None, seed: int | None
) -> "LatentVariableModel":
    if found.recipe is None:
        raise InputError(f"preset {found.name} must have a recipe to be built anew; it has weights alone.")
    dataset = found.recipe["training"]["dataset"]
    shape, classes = DATA_SETS.get(dataset, (None, None))
    image_shape = image_shape or found.metadata.get("image_shape") or shape
    if image_shape is None:
        raise InputError(f"image_shape must be given for {found.name}: its images are those of {dataset}.")
    num_classes = num_classes or found.metadata.get("num_classes") or classes
    return build(found.recipe, tuple(image_shape), seed, num_classes)


def _base(recipe: Mapping[str, Any], image_shape: Sequence[int]) -> "LatentVariableModel":
    """The trained model that another one stands on."""
    source = recipe["networks"].get("base")
    if not isinstance(source, str):
        raise InputError(
            "networks.base must name a trained VAE, a preset or a run folder "
            f"(as --set base=runs/vae_mnist_small); received {source!r}."
        )
    base = load_source(source)[0]
    if tuple(base.image_shape) != tuple(image_shape):
        raise InputError(
            f"networks.base must be of images of the shape {tuple(image_shape)}; {source} is of "
            f"{base.image_shape}."
        )
    return base


def _optimizer(player: str, settings: Mapping[str, Any]) -> keras.optimizers.Optimizer:
    settings = dict(settings)
    kind = choose(f"optimizer.{player}.class", settings.pop("class"), OPTIMIZERS)
    with _named(f"optimizer.{player}"):
        if isinstance(settings.get("learning_rate"), Mapping):
            schedule = dict(settings["learning_rate"])
            name = choose(f"optimizer.{player}.learning_rate.class", schedule.pop("class", None), SCHEDULES)
            settings["learning_rate"] = SCHEDULES[name](**schedule)
        elif isinstance(settings.get("learning_rate"), int):  # as of --set learning_rate=1
            settings["learning_rate"] = float(settings["learning_rate"])
        return OPTIMIZERS[kind](**settings)


def _check_memory(recipe: Mapping[str, Any], image_shape: Sequence[int]) -> None:
    """Raise `InputError` if the networks of a recipe need more memory than there is.

    What is counted is less than what they need: the weights between layers whose sizes the recipe names,
    with their gradients and what Adam keeps of each; of a DRAW also the canvases of its steps.
    """
    networks = recipe["networks"]
    pixels, latent_dim = math.prod(image_shape), networks["latent_dim"]
    weights = 0
    for name in NETWORKS[1:]:
        settings = networks.get(name) or {}
        sides = [*as_list(settings.get("kernel_size") or 1)]
        area = min(sides) ** 2
        filters, units = (as_list(settings.get(key) or []) for key in ("filters", "units"))
        counts = [*filters, *units, latent_dim]
        if settings.get("family", networks["family"]) == "mlp" and units and name != "class_head":
            counts.append(pixels)  # at one of its ends
        weights += sum(a * b * area for a, b in itertools.pairwise(filters))
        weights += sum(a * b for a, b in itertools.pairwise(units)) + max(counts)
    per_weight = 4 * 4  # bytes of a float32; itself, its gradient, two means
    require("networks", weights * per_weight, "Set a smaller latent_dim, smaller filters or units.")
    steps = recipe["model"].get("steps", 1)
    batch = steps * pixels * recipe["training"]["batch_size"] * 4
    if "steps" in recipe["model"]:
        require(f"model.steps={steps}", batch, "Set fewer steps, or a smaller batch_size.")


class _named:
    """Say which part of a recipe a constructor could not use."""

    def __init__(self, part: str) -> None:
        self.part = part

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> Literal[False]:
        if isinstance(error, Exception) and not isinstance(error, InputError):
            raise InputError(f"{self.part} does not take these settings: {reason_of(error)}") from error
        return False
