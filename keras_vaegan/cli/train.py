"""`train` and `models`."""

import contextlib
import functools
import json
import os
import pathlib
import shutil
import tomllib
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import click

from keras_vaegan.cli import options
from keras_vaegan.cli.options import DATA, MODEL, TRAINING, GroupedCommand, option, shown_name
from keras_vaegan.cli.run import claim_folder, run, run_folder
from keras_vaegan.errors import InputError, one_line, whole_number
from keras_vaegan.files import (
    MOST_FACTS,
    PARTIAL,
    member,
    parse_json,
    read_json,
    read_text,
    reading,
    reason_of,
    user_path,
)
from keras_vaegan.kinds import LARGEST_SIDE, Kind, check_kind
from keras_vaegan.locks import LOCK, FolderLock
from keras_vaegan.presets.recipes import MODEL_KEYS, RECIPES
from keras_vaegan.runs import METADATA, check_own
from keras_vaegan.typing import DISTRIBUTIONS

if TYPE_CHECKING:
    from keras_vaegan.data import ImageData

# Options that may stand together with --resume.
# Options that decide which others there are.
FIRST = ("family", "class", "three_players", "game", "prior", "likelihood")
WITH_RESUME = {"resume", "epochs", "data_dir", "manual_dir", "backend", "import"}
PRECISIONS = ("none", "bfloat16", "float16")
SECTIONS = ("model", "networks", "optimizer", "training")  # of a recipe
# What `metadata.json` must have for a run to go on; other facts may be missing.
NEEDED_TO_RESUME: dict[str, Kind] = {
    "model": str,
    "dataset": str,
    "image_shape": tuple[int, int, int],
    "seed": int,
    "backend": Literal["tensorflow", "jax", "torch"],
    "mixed_precision": Literal["none", "bfloat16", "float16"],
    "recipe": dict,
}


def _resumed_run(context, parameter, value):
    """Look at the run to go on with before anything is loaded: it says on which backend it runs."""
    if value is None:
        return None
    path = member(value, METADATA)
    if not path.is_file():
        raise InputError(
            f"--resume must be a run folder; {value} has no {METADATA}. If its training was killed before "
            "its first step, repeat the command that began it."
        )
    check_own("--resume", value)
    metadata = read_json(path, "--resume", most=MOST_FACTS)
    if not isinstance(metadata, dict) or not {"backend", "recipe", "seed", "dataset"} <= set(metadata):
        raise InputError(f"--resume must be a folder that `train` made; {value} is not.")
    for name, kind in NEEDED_TO_RESUME.items():
        check_kind(f"--resume {value / METADATA}: {name}", metadata.get(name), kind)
    whole_number(f"--resume {value / METADATA}: seed", metadata["seed"], 0)
    for side in metadata["image_shape"]:
        if not 0 < side <= LARGEST_SIDE:
            raise InputError(
                f"--resume {value / METADATA}: image_shape must have sides of 1 to {LARGEST_SIDE}; "
                f"received {side}."
            )
    os.environ.setdefault("KERAS_BACKEND", metadata["backend"])
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
        if not of_recipe:
            return super().name_of(argument, context)
        own = self.parameter_for(name.split(".")[-1])
        if own is not None and _is_given(context, own):
            return shown_name(own)
        if context.params.get("resume") is not None:  # the recipe is that of the run
            return None
        return f"--config {name}" if context.params.get("config") is not None else f"--set {name}"


def _is_given(context: click.Context, parameter: click.Parameter) -> bool:
    """Whether a parameter stands on the command line."""
    return context.get_parameter_source(parameter.name or "") == click.core.ParameterSource.COMMANDLINE


@click.command(cls=TrainCommand)
@option("--model", "key", type=options.Name("--model", MODEL_KEYS), group=MODEL, help="Which model.")
@option("--preset", default=None, group=MODEL, help="Repeat the recipe of a preset: a name or a folder.")
@options.data_options("the recipe's", "Images: digits, a TensorFlow Datasets name, a folder or an .npz file.")
@option(
    "--num-labels",
    type=options.Count(1),
    default=None,
    show_default="the recipe's",
    group=DATA,
    help="Labels that a semi-supervised model keeps, as many of each class; the others are hidden.",
)
@option(
    "--augment",
    default=None,
    show_default="the recipe's, or none",
    group=DATA,
    help="Random changes, as translation,cutout; none for no change.",
)
@option("--latent-dim", type=options.Count(1), default=None, group=MODEL, help="Dimension of the code.")
@option(
    "--init",
    default=None,
    show_default="the recipe's, or none",
    group=TRAINING,
    help="Begin with the weights of a trained model, a run, preset or file, where they have the same place.",
)
@option("--epochs", type=options.Count(1), default=None, group=TRAINING, help="Passes over the images.")
@option("--batch-size", type=options.Count(1), default=None, group=TRAINING, help="Images in a step.")
@option(
    "--learning-rate",
    type=click.FloatRange(0, min_open=True),
    default=None,
    group=TRAINING,
    help="Of every player, at first where it falls; for one, --set generator.learning_rate=3e-4.",
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
    help="Let devices share each batch: all accelerators (auto), all devices (data), one (none).",
)
@option("--config", type=click.Path(path_type=pathlib.Path), default=None, help="JSON or TOML of a recipe.")
@option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Any option of the recipe, as features=0.5."
)
@options.seed
@option(
    "--output",
    type=options.Output(folder=True),
    default=None,
    show_default="runs/MODEL_DATASET",
    help="Run folder to make.",
)
@option("--overwrite", is_flag=True, help="Replace an older run in that folder.")
@option(
    "--checkpoint-every",
    type=options.Count(1),
    default=None,
    show_default="the end of an epoch",
    help="Batches from one checkpoint to the next.",
)
@option(
    "--resume",
    type=click.Path(path_type=pathlib.Path),
    default=None,
    callback=_resumed_run,
    is_eager=True,
    help="Go on with the run in this folder, with --epochs for more of them.",
)
@options.backend
def train(
    key,
    preset,
    dataset,
    data_dir,
    manual_dir,
    image_size,
    value_range,
    num_labels,
    augment,
    latent_dim,
    init,
    epochs,
    batch_size,
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
):
    """Train a model and write a run folder: weights, history, pictures.

    The recipe is that of --preset, or of --model and its data set; --config comes after it, then options,
    then --set.
    """
    if resume is not None:
        _continue(resume, epochs, data_dir, manual_dir)
        return
    options.load_keras()
    devices = _devices(distribute)  # before anything is computed: processes must find each other first
    import keras

    from keras_vaegan import presets
    from keras_vaegan.data.checks import check_value_range
    from keras_vaegan.data.content import describe

    recipe, changes = _recipe(key, preset, dataset, config)
    if preset is not None and dataset is None and value_range is None:  # the same images once more
        value_range = check_value_range(presets.find(preset).metadata.get("value_range"))
    rates = [f"optimizer.{player}.learning_rate" for player in recipe["optimizer"]]
    asked = {
        "networks.latent_dim": latent_dim,
        "training.num_labels": num_labels,
        "training.init": init,
        "training.epochs": epochs,
        "training.batch_size": batch_size,
        **dict.fromkeys(
            rates, None if learning_rate is None else functools.partial(_begun_at, learning_rate)
        ),
    }
    if num_labels is not None and "training.num_labels" not in presets.options(recipe):
        raise InputError(
            f"--num-labels must not be given: {recipe['model']['key']} is not semi-supervised; ssl_vae is."
        )
    changes += [(name, value) for name, value in asked.items() if value is not None]
    changes += [_key_and_value(setting) for setting in settings]
    # These decide which other options there are.
    changes.sort(key=lambda change: change[0].split(".")[-1] not in FIRST)
    for name, value in changes:
        presets.override(recipe, name, value(recipe, name) if callable(value) else value)

    training = recipe["training"]
    name = one_line(f"{recipe['model']['key']}_{pathlib.Path(training['dataset']).stem}")
    if pathlib.Path(training["dataset"]).exists():
        training["dataset"] = str(pathlib.Path(training["dataset"]).resolve())  # found from elsewhere too
    for part, field in (("networks", "base"), ("training", "init")):
        source = recipe[part].get(field)
        if isinstance(source, str) and pathlib.Path(source).exists():
            recipe[part][field] = str(pathlib.Path(source).resolve())
    _check_apart(training["dataset"], output or pathlib.Path("runs", name))
    with devices, run_folder(lambda: claim_folder(output, name, overwrite)) as folder:
        image_size = image_size or training.get("image_size")
        data = _training_data(
            recipe, image_size, data_dir=data_dir, manual_dir=manual_dir, value_range=value_range, told=True
        )
        labels, chosen = data.train[1], any(name.endswith("num_labels") for name, _ in changes)
        if "num_labels" in training and not chosen and labels is not None and (labels < 0).any():
            training["num_labels"] = None  # the recipe's number is for data that have all labels
        metadata = {
            "model": recipe["model"]["key"],
            "dataset": training["dataset"],
            "image_shape": list(data.image_shape),
            "class_names": data.class_names,
            "num_classes": data.num_classes,
            "value_range": value_range,
            "data": describe(data),
            "seed": seed,
            "backend": keras.backend.backend(),
            "mixed_precision": mixed_precision,
            "distribute": distribute,
            "augment": None if augment == "none" else augment or training.get("augment"),
            "checkpoint_every": checkpoint_every,
            "recipe": recipe,
        }
        run(data, folder, metadata, new=True)


def _continue(folder: pathlib.Path, epochs: int | None, data_dir: str | None, manual_dir: str | None) -> None:
    """Go on with a run from its newest checkpoint, or from its start where it has none."""
    context = click.get_current_context()
    for parameter in context.command.params:
        given = context.get_parameter_source(parameter.name or "") == click.core.ParameterSource.COMMANDLINE
        if given and parameter.name not in WITH_RESUME:
            raise InputError(f"{parameter.opts[0]} must not come with --resume: the run has its own.")
    options.load_keras()
    import keras

    metadata = _metadata_to_go_on_with(folder, epochs)
    if keras.backend.backend() != metadata["backend"]:
        raise InputError(
            f"--backend must be {metadata['backend']}, that of the run; received {keras.backend.backend()}."
        )
    size = tuple(metadata["image_shape"][:2])

    def find() -> tuple[FolderLock, bool]:
        lock = FolderLock(folder, "--resume")
        lock.acquire()
        try:
            metadata.update(_metadata_to_go_on_with(folder, epochs))  # another may have gone on meanwhile
        except BaseException:
            lock.release()
            raise
        return lock, False

    with _devices(metadata.get("distribute", "none")), run_folder(find) as own:
        if own != folder:
            left = shutil.ignore_patterns(f"{PARTIAL}*", LOCK)
            shutil.copytree(folder, own, dirs_exist_ok=True, ignore=left)
        data = _unchanged_data(
            folder,
            metadata,
            size,
            data_dir=data_dir,
            manual_dir=manual_dir,
            value_range=metadata.get("value_range"),
            told=True,
        )
        run(data, own, metadata, new=False)


def _check_apart(dataset: str, output: str | os.PathLike[str]) -> None:
    """Raise if a run folder would lie in the folder of its images, or they in it, where runs are deleted."""
    images, run_folder = user_path("--dataset", dataset).resolve(), pathlib.Path(output).resolve()
    if not images.exists():
        return
    if run_folder.is_relative_to(images):
        raise InputError(
            f"--output must lie outside of --dataset {dataset}, or its pictures would become data; received "
            f"{os.fspath(output)}."
        )
    if images.is_relative_to(run_folder):
        raise InputError(
            f"--output must not hold --dataset {dataset}, which --overwrite might delete; received "
            f"{os.fspath(output)}."
        )


def _training_data(recipe: dict[str, Any], image_size: tuple[int, int] | None, **where: Any) -> "ImageData":
    """The images of a recipe; raise if its model is conditioned on classes and one has none to train on."""
    from keras_vaegan.data.names import listed
    from keras_vaegan.data.sources import UNTRAINED

    training = recipe["training"]
    conditioned = "labels" in recipe["networks"].get("condition", ()) or "num_labels" in training
    with warnings.catch_warnings():
        if conditioned:  # an error follows, which says the same
            warnings.filterwarnings("ignore", message=UNTRAINED)
        data = options.load_images(training["dataset"], image_size, **where)
    if conditioned and data.untrained_classes:
        raise InputError(
            f"--dataset must have images of every class to train on, for {recipe['model']['key']} is "
            f"conditioned on classes; it has none of {listed(data.untrained_classes)}. Move an image of each "
            "to those to train on, or remove the class."
        )
    return data


def _unchanged_data(
    folder: pathlib.Path, metadata: dict[str, Any], size: tuple[int, ...], **where: Any
) -> "ImageData":
    """The data of a run, with the classes as they stand in it; raise if they are not those it began with."""
    where["class_names"] = metadata.get("class_names") or metadata.get("num_classes") or None
    data = options.load_images(metadata["dataset"], size, **where)
    change = options.change_since_training(metadata, None, None, data)
    if change == options.OLDER:
        options.echo(f"warning: validation images may have been trained on; {change}", err=True)
    elif change is not None:
        raise InputError(
            f"--resume {folder} must have the data that it began with; {one_line(metadata['dataset'])} has "
            f"changed: {change}. Restore the data, or begin a new run with its weights: --init {folder}."
        )
    return data


def _metadata_to_go_on_with(folder: pathlib.Path, epochs: int | None) -> dict[str, Any]:
    """The metadata of a run, with the epochs asked for; end with exit code 0 if there is nothing left to do.

    Whoever starts a run again until it is done, as a scheduler does, is not to see an error then.
    """
    from keras_vaegan.presets.configure import check
    from keras_vaegan.presets.folder import load_metadata

    metadata = load_metadata(folder)
    check(metadata["recipe"])
    training = metadata["recipe"]["training"]
    training["epochs"] = epochs or training["epochs"]
    done = max(metadata.get("epochs_done", 0), 0)
    if training["epochs"] < done:
        raise InputError(
            f"--epochs must be more than the {done} that {folder} has; received {training['epochs']}."
        )
    if training["epochs"] == done and metadata.get("finished"):
        options.echo(
            f"{folder} is finished, with all epochs asked for ({done}); more with --epochs {2 * done}"
        )
        raise SystemExit(0)
    return metadata


def _devices(choice: str) -> contextlib.AbstractContextManager[Any]:
    """What the model is built and trained in, so that devices share its batches."""
    from keras_vaegan import training

    return training.distribution(choice)


@click.command(cls=GroupedCommand)
def models():
    """List the models and the names of their presets."""
    for key, summary in MODEL_KEYS.items():
        names = [name for name, recipe in RECIPES.items() if recipe["model"]["key"] == key]
        options.echo(f"{key:16} {summary}\n{'':16} presets: {', '.join(names)}")


def _begun_at(rate: float, recipe: dict[str, Any], name: str) -> Any:
    """A learning rate for the option of that name: where the recipe has a schedule, it begins there."""
    schedule = recipe["optimizer"][name.split(".")[1]].get("learning_rate")
    if isinstance(schedule, dict) and "initial_learning_rate" in schedule:
        return {**schedule, "initial_learning_rate": rate}
    return rate


def _recipe(
    key: str | None, preset: str | None, dataset: str | None, config: pathlib.Path | None
) -> tuple[dict[str, Any], list[tuple[str, Any]]]:
    """The recipe that the command starts from, and the configuration file's changes to it."""
    from keras_vaegan import presets

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
        recipe = presets.recipe_for(key, dataset or changes.get("training", {}).get("dataset"))
    changes = {
        section: dict(parts) for section, parts in changes.items() if section not in ("source", "expect")
    }
    changes.get("model", {}).pop("key", None)
    changes.get("training", {}).pop("dataset", None)
    return recipe, list(_leaves(changes))


def _read_config(path: pathlib.Path) -> dict[str, Any]:
    """A recipe, or part of one, from JSON or TOML; a run's `metadata.json` will do as well."""
    if not path.is_file():
        raise InputError(f"--config must be a file of JSON or TOML; there is none at {path}.")
    text = read_text(path, "--config")
    with reading(path, "--config"):
        config = tomllib.loads(text) if path.suffix == ".toml" else parse_json(text)
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


def _key_and_value(setting: str) -> tuple[str, Any]:
    """`features=0.5` as a name and a value: JSON where it is JSON, text otherwise."""
    name, equals, text = setting.partition("=")
    if not equals or not name:
        raise InputError(f"--set must be KEY=VALUE; received {setting!r}.")
    try:
        value = parse_json(text)
    except json.JSONDecodeError:
        return name.strip(), text
    except (ValueError, RecursionError) as error:
        raise InputError(f"--set {name.strip()} cannot be read: {reason_of(error)}") from error
    return name.strip(), value
