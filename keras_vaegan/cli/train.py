"""`train` and `models`."""

import dataclasses
import json
import os
import pathlib
import tomllib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from keras_vaegan.cli import options
from keras_vaegan.cli.options import DATA, MODEL, TRAINING, GroupedCommand, option, shown_name
from keras_vaegan.errors import InputError, renaming
from keras_vaegan.files import (
    parse_json,
    read_text,
    reading,
    reason_of,
)
from keras_vaegan.kinds import check_kind
from keras_vaegan.presets.recipes import MODEL_KEYS, RECIPES
from keras_vaegan.runs import check_resumable
from keras_vaegan.typing import CACHES, DISTRIBUTIONS, PRECISIONS, RESIZES

if TYPE_CHECKING:
    from keras_vaegan.presets import RecipeChoice

# Options that may stand together with --resume.
WITH_RESUME = {"resume", "epochs", "steps", "data_dir", "manual_dir", "cache", "workers", "backend", "import"}
WITH_RESUME |= {"verbose", "tensorboard"}
# Of a recipe, named as options in any case.
SET_BY_OPTIONS = ("training.batch_size", "training.init", "training.epochs", "training.steps")
SECTIONS = ("model", "networks", "optimizer", "training")  # of a recipe


def _resumed_run(context, parameter, value):
    """Look at the run to go on with before anything is loaded: it says on which backend it runs."""
    if value is None:
        return None
    with renaming(folder="--resume"):
        os.environ.setdefault("KERAS_BACKEND", check_resumable(value))
    return value


class TrainCommand(GroupedCommand):
    """`train`, in which an argument may also be an option of the recipe, from `--set` or `--config`."""

    def name_of(self, argument: str, context: click.Context) -> str | None:
        name = argument.removeprefix("recipe.")
        of_recipe = name.startswith(tuple(f"{section}." for section in SECTIONS))
        for setting in context.params.get("settings") or ():
            key = setting.partition("=")[0].strip()
            if f".{name}".endswith(f".{key}"):
                return f"--set {name}"
            if not of_recipe and key.endswith(f".{name}"):
                return f"--set {key}"
        if name == "folder":
            return "--output" if context.params.get("resume") is None else "--resume"
        if not of_recipe:
            return super().name_of(argument, context)
        own = self.parameter_for(name.split(".")[-1])
        if own is not None and (name in SET_BY_OPTIONS or _is_given(context, own)):
            return shown_name(own)
        if context.params.get("resume") is not None:  # the recipe is that of the run
            return None
        return f"--config {name}" if context.params.get("config") is not None else f"--set {name}"


def _is_given(context: click.Context, parameter: click.Parameter) -> bool:
    """Whether a parameter stands on the command line."""
    return context.get_parameter_source(parameter.name or "") == click.core.ParameterSource.COMMANDLINE


@click.command(cls=TrainCommand, arguments={"data": "--dataset"})
@option("--model", "key", type=options.Name("--model", MODEL_KEYS), group=MODEL, help="Train this model.")
@option("--preset", default=None, group=MODEL, help="Repeat the recipe of a preset: a name or a folder.")
@options.data_options("the recipe's", "Train on these images: a name, a folder or an .npz file.")
@option(
    "--resize",
    type=options.Name("--resize", RESIZES),
    default=None,
    show_default="crop",
    group=DATA,
    help="Fit images to the size: crop, pad, or stretch them.",
)
@option(
    "--background",
    default=None,
    show_default="white",
    metavar="COLOR",
    group=DATA,
    help="Color under transparent pixels and padding, as #ffffff.",
)
@option(
    "--channels",
    type=options.Whole(1, 16),
    default=None,
    show_default="those of the images, without alpha",
    group=DATA,
    help="Set the channels: 1 gray, 3 color, 4 with alpha, to 16.",
)
@option(
    "--random-crop",
    type=options.ImageSize("--random-crop"),
    default=None,
    show_default="whole images",
    group=DATA,
    help="Train on random crops of this size.",
)
@option(
    "--cache",
    type=options.Name("--cache", CACHES),
    default=None,
    show_default="memory if the images fit well, else none",
    group=DATA,
    help="Keep decoded images in memory, on disk or nowhere.",
)
@option(
    "--workers",
    type=options.Whole(0, 256),
    default=None,
    show_default="2 if images are read from disk, else 0",
    group=DATA,
    help="Prepare batches in this many threads.",
)
@option(
    "--num-labels",
    type=options.Count(1),
    default=None,
    show_default="the recipe's",
    group=DATA,
    help="Keep this many class labels. A semi-supervised model does without the others.",
)
@option(
    "--augment",
    default=None,
    show_default="the recipe's, or none",
    group=DATA,
    help="Change images at random, as translation,cutout or none.",
)
@option(
    "--latent-dim", type=options.Count(1), default=None, group=MODEL, help="Set the size of the latent code."
)
@option(
    "--init",
    default=None,
    show_default="the recipe's, or none",
    group=TRAINING,
    help="Begin with the weights of this run, preset or file.",
)
@option(
    "--steps",
    type=options.Count(1),
    default=None,
    show_default="the recipe's",
    group=TRAINING,
    help="Train for this many steps, instead of epochs.",
)
@option(
    "--epochs",
    type=options.Count(1),
    default=None,
    show_default="the recipe's",
    group=TRAINING,
    help="Train for this many passes over the images.",
)
@option(
    "--batch-size",
    type=options.Count(1),
    default=None,
    group=TRAINING,
    help="Put this many images into a step.",
)
@option(
    "--accumulate",
    type=options.Count(1),
    default=None,
    show_default="the recipe's, or 1",
    group=TRAINING,
    help="Update weights every so many steps, by the mean gradient.",
)
@option(
    "--learning-rate",
    type=options.Positive(),
    default=None,
    group=TRAINING,
    help="Set all initial learning rates. For one player: --set generator.learning_rate=3e-4.",
)
@option(
    "--mixed-precision",
    type=options.Name("--mixed-precision", PRECISIONS),
    default="none",
    group=TRAINING,
    help="Compute in half precision.",
)
@option(
    "--distribute",
    type=options.Name("--distribute", DISTRIBUTIONS),
    default="auto",
    group=TRAINING,
    help="Share batches among accelerators, all devices or none.",
)
@option(
    "--config",
    type=click.Path(path_type=pathlib.Path),
    default=None,
    help="Read a recipe, or a part of one, from JSON or TOML.",
)
@option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Set any option of the recipe, as features=0.5.",
)
@options.seed
@option(
    "--output",
    type=options.Output(folder=True),
    default=None,
    show_default="runs/MODEL_DATASET",
    help="Write this run folder.",
)
@option("--overwrite", is_flag=True, help="Replace an older run in that folder.")
@option(
    "--checkpoint-every",
    type=options.Count(1),
    default=None,
    show_default="the end of an epoch",
    help="Write a checkpoint after this many batches.",
)
@option(
    "--resume",
    type=click.Path(path_type=pathlib.Path),
    default=None,
    callback=_resumed_run,
    is_eager=True,
    help="Continue this run. --steps or --epochs extends it.",
)
@option(
    "--verbose",
    type=click.Choice(("0", "1", "2")),
    default=None,
    show_default="1 on a terminal, else 2",
    help="Show nothing (0), a bar and rows (1), or rows alone (2).",
)
@option("--tensorboard", is_flag=True, help="Write logs for TensorBoard into the run folder.")
@options.backend
@click.pass_context
def train(
    context,
    key,
    preset,
    dataset,
    data_dir,
    manual_dir,
    image_size,
    value_range,
    resize,
    background,
    channels,
    random_crop,
    cache,
    workers,
    num_labels,
    augment,
    latent_dim,
    init,
    steps,
    epochs,
    batch_size,
    accumulate,
    learning_rate,
    mixed_precision,
    distribute,
    config,
    settings,
    seed,
    output,
    overwrite,
    checkpoint_every,
    resume,
    verbose,
    tensorboard,
):
    """Train a model and write a run folder: weights, history, pictures.

    The recipe is that of --preset, or of --model and its data set; --config comes after it, then options,
    then --set.
    """
    shown = {"verbose": None if verbose is None else int(verbose), "tensorboard": tensorboard}
    if resume is not None:
        where = {"data_dir": data_dir, "manual_dir": manual_dir, "cache": cache, "workers": workers}
        context.exit(_continue(resume, epochs=epochs, steps=steps, **where, **shown))
    if epochs is not None and steps is not None:
        raise InputError("--steps must not come with --epochs: a training has one length.")
    options.load_keras()
    from keras_vaegan import presets, training
    from keras_vaegan.presets.choice import ALL_ACCUMULATIONS, ALL_RATES, change

    training.distribution(distribute)  # before anything is computed: processes find each other first
    recipe, choice, changes = _recipe(key, preset, dataset, config)
    read: dict[str, Any] = {
        "image_size": image_size,
        "value_range": value_range,
        "channels": channels,
        "resize": resize,
        "background": background,
        "random_crop": random_crop,
    }
    if preset is not None and dataset is None:  # the same images once more
        read = _as_before(presets.find(preset).metadata, read)
    asked = {
        "networks.latent_dim": latent_dim,
        "training.num_labels": num_labels,
        "training.init": init,
        "training.epochs": epochs,
        "training.steps": steps,
        "training.batch_size": batch_size,
        ALL_RATES: learning_rate,
    }
    if num_labels is not None and "training.num_labels" not in presets.options(recipe):
        raise InputError(
            f"--num-labels must not be given: {recipe['model']['key']} is not semi-supervised; ssl_vae is."
        )
    changes += [(name, value) for name, value in asked.items() if value is not None]
    if accumulate is not None:
        changes.append((ALL_ACCUMULATIONS, accumulate if accumulate > 1 else None))
    changes += [options.key_and_value(setting) for setting in settings]
    given = {name.split(".")[-1] for name, _ in changes}
    change(recipe, changes)

    result = training.run(
        recipe if choice is None else dataclasses.replace(choice, changes=changes),
        folder=output,
        seed=seed,
        # Given, they hold for data of which some labels are hidden, too.
        num_labels=recipe["training"]["num_labels"] if "num_labels" in given else None,
        augment=augment,
        mixed_precision=mixed_precision,
        distribute=distribute,
        checkpoint_every=checkpoint_every,
        overwrite=overwrite,
        data_dir=data_dir,
        manual_dir=manual_dir,
        cache=cache,
        workers=workers,
        console=options.console(),
        **shown,
        **read,
    )
    context.exit(result.exit_code)


def _continue(folder: pathlib.Path, **settings: Any) -> int:
    """Go on with a run from its newest checkpoint, or from its start if it has none; the exit code."""
    context = click.get_current_context()
    for parameter in context.command.params:
        given = context.get_parameter_source(parameter.name or "") == click.core.ParameterSource.COMMANDLINE
        if given and parameter.name not in WITH_RESUME:
            raise InputError(f"{parameter.opts[0]} must not come with --resume: the run has its own.")
    options.load_keras()
    from keras_vaegan import training

    result = training.resume(folder, console=options.console(), **settings)
    return result.exit_code


@click.command(cls=GroupedCommand)
def models():
    """List the models and the names of their presets."""
    for key, summary in MODEL_KEYS.items():
        names = [name for name, recipe in RECIPES.items() if recipe["model"]["key"] == key]
        options.echo(f"{key:16} {summary}\n{'':16} presets: {', '.join(names)}")


def _as_before(metadata: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """How to read the images that a preset was trained on: as then, unless it is given."""
    from keras_vaegan.data.checks import check_value_range

    before = dict(metadata.get("preprocessing") or {})
    before["random_crop"] = before.get("crop")
    before.setdefault("value_range", check_value_range(metadata.get("value_range")))
    return {name: before.get(name) if value is None else value for name, value in given.items()}


def _recipe(
    key: str | None, preset: str | None, dataset: str | None, config: pathlib.Path | None
) -> tuple[dict[str, Any], "RecipeChoice | None", list[tuple[str, Any]]]:
    """The recipe that the command starts from, and the configuration file's changes to it.

    If the images are to choose the recipe, also that choice; the recipe then is one to check the changes by.
    """
    from keras_vaegan import presets
    from keras_vaegan.presets.configure import is_named

    choice = None

    changes = {} if config is None else _read_config(config)
    if preset is not None:
        found = presets.find(preset)
        if found.recipe is None:
            raise InputError(f"--preset must have a recipe; {preset} has weights alone.")
        recipe = found.recipe
        if key not in (None, recipe["model"]["key"]):
            raise InputError(f"--model must be that of --preset, {recipe['model']['key']}; received {key}.")
        if dataset is not None:
            recipe["training"]["dataset"] = dataset
    else:
        key = key or changes.get("model", {}).get("key")
        if key is None:
            raise InputError(f"--model must be given, one of {', '.join(MODEL_KEYS)}, or --preset.")
        dataset = dataset or changes.get("training", {}).get("dataset")
        check_kind("--config training.dataset", dataset, str | None)
        if is_named(key, dataset):
            recipe = presets.recipe_for(key, dataset)
        else:
            choice = presets.RecipeChoice(key, dataset)
            recipe = choice.before_images()
    changes = {
        section: dict(parts) for section, parts in changes.items() if section not in ("source", "expect")
    }
    changes.get("model", {}).pop("key", None)
    changes.get("training", {}).pop("dataset", None)
    return recipe, choice, list(_leaves(changes))


def _read_config(path: pathlib.Path) -> dict[str, Any]:
    """A recipe, or part of one, from JSON or TOML; a run's `metadata.json` will do as well."""
    if not path.is_file():
        raise InputError(f"--config must be a file of JSON or TOML; there is none at {path}.")
    text = read_text(path, "--config")
    with reading(path, "--config"):
        try:
            config = tomllib.loads(text) if path.suffix == ".toml" else parse_json(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"{reason_of(error)}; the name of a TOML file must end in .toml") from error
    config = config.get("recipe", config) if isinstance(config, dict) else config
    known = ("model", "networks", "optimizer", "training", "source", "expect")
    if not isinstance(config, dict) or not set(config) <= set(known):
        raise InputError(f"--config {path} must have the sections {', '.join(known)}.")
    for section, value in config.items():
        if section not in ("source", "expect"):
            check_kind(f"--config {path}: section {section}", value, dict)
    return config


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Full names and values of a nested dictionary."""
    for name, value in tree.items():
        if isinstance(value, dict) and name != "learning_rate":  # there it is a schedule, of one piece
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
