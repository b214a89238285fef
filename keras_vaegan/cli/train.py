"""`train` and `models`."""

import contextlib
import json
import math
import os
import pathlib
import re
import shutil
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from keras_vaegan.cli import options
from keras_vaegan.cli.options import DATA, MODEL, TRAINING, GroupedCommand, option
from keras_vaegan.errors import InputError
from keras_vaegan.files import PARTIAL, atomic_path, write_json
from keras_vaegan.presets.recipes import MODEL_KEYS, RECIPES
from keras_vaegan.typing import DISTRIBUTIONS

if TYPE_CHECKING:
    from keras_vaegan.data import Batches, ImageData
    from keras_vaegan.models.latent import LatentVariableModel

NUM_VIEWED = 2000  # images whose codes are drawn
NUM_WALKS = 8  # rows of interpolations
NUM_SHOWN = 8  # images that are completed, or shown as other classes
FEW_STEPS, ENOUGH_STEPS = 500, 2000  # of a whole training
# Options that may stand together with --resume.
WITH_RESUME = {"resume", "epochs", "data_dir", "manual_dir", "backend", "import"}
PRECISIONS = ("none", "bfloat16", "float16")


def _resumed_run(context, parameter, value):
    """Look at the run to go on with before anything is loaded: it says on which backend it runs."""
    if value is None:
        return None
    from keras_vaegan.files import read_json

    if not (value / "metadata.json").is_file():
        raise InputError(f"--resume must be a run folder; {value} has no metadata.json.")
    metadata = read_json(value / "metadata.json")
    if not isinstance(metadata, dict) or not {"backend", "recipe", "seed", "dataset"} <= set(metadata):
        raise InputError(f"--resume must be a folder that `train` made; {value} is not.")
    os.environ.setdefault("KERAS_BACKEND", metadata["backend"])
    return value


@click.command(cls=GroupedCommand)
@option("--model", "key", type=options.Name("--model", MODEL_KEYS), group=MODEL, help="Which model.")
@option("--preset", default=None, group=MODEL, help="Repeat the recipe of a preset: a name or a folder.")
@options.data_options("the recipe's", "Images: digits, a TensorFlow Datasets name, a folder or an .npz file.")
@option(
    "--num-labels",
    type=click.IntRange(1),
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
@option("--latent-dim", type=click.IntRange(1), default=None, group=MODEL, help="Dimension of the code.")
@option(
    "--init",
    default=None,
    show_default="the recipe's, or none",
    group=TRAINING,
    help="Begin with the weights of a trained model, a run, preset or file, where they have the same place.",
)
@option("--epochs", type=click.IntRange(1), default=None, group=TRAINING, help="Passes over the images.")
@option("--batch-size", type=click.IntRange(1), default=None, group=TRAINING, help="Images in a step.")
@option(
    "--learning-rate",
    type=click.FloatRange(0, min_open=True),
    default=None,
    group=TRAINING,
    help="Of every player; for one, --set generator.learning_rate=3e-4.",
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
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Any option of the recipe, as gamma=0.5."
)
@options.seed
@option("--output", default=None, show_default="runs/MODEL_DATASET", help="Run folder to make.")
@option("--overwrite", is_flag=True, help="Replace an older run in that folder.")
@option(
    "--checkpoint-every",
    type=click.IntRange(1),
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

    The recipe is that of --preset, or of --model and its data set; options come after it, then
    --config, then --set.
    """
    if resume is not None:
        _continue(resume, epochs, data_dir, manual_dir)
        return
    options.load_keras()
    devices = _devices(distribute)  # before anything is computed: processes must find each other first
    import keras

    from keras_vaegan import presets

    recipe, changes = _recipe(key, preset, dataset, config)
    asked = {
        "networks.latent_dim": latent_dim,
        "training.num_labels": num_labels,
        "training.init": init,
        "training.epochs": epochs,
        "training.batch_size": batch_size,
        **{f"optimizer.{player}.learning_rate": learning_rate for player in recipe["optimizer"]},
    }
    if num_labels is not None and "training.num_labels" not in presets.options(recipe):
        raise InputError(
            f"--num-labels must not be given: {recipe['model']['key']} is not semi-supervised; ssl_vae is."
        )
    changes += [(name, value) for name, value in asked.items() if value is not None]
    changes += [_key_and_value(setting) for setting in settings]
    # These decide which other options there are.
    changes.sort(key=lambda change: change[0].split(".")[-1] not in ("family", "class", "three_players"))
    for name, value in changes:
        presets.override(recipe, name, value)

    training = recipe["training"]
    name = f"{recipe['model']['key']}_{pathlib.Path(training['dataset']).stem}"
    if pathlib.Path(training["dataset"]).exists():
        training["dataset"] = str(pathlib.Path(training["dataset"]).resolve())  # found from elsewhere too
    for part, field in (("networks", "base"), ("training", "init")):
        source = recipe[part].get(field)
        if isinstance(source, str) and pathlib.Path(source).exists():
            recipe[part][field] = str(pathlib.Path(source).resolve())
    with devices, _run_folder(lambda: _claim_folder(output, name, overwrite)) as folder:
        image_size = image_size or training.get("image_size")
        data = options.load_images(training["dataset"], image_size, data_dir=data_dir, manual_dir=manual_dir)
        metadata = {
            "model": recipe["model"]["key"],
            "dataset": training["dataset"],
            "image_shape": list(data.image_shape),
            "class_names": data.class_names,
            "num_classes": data.num_classes,
            "seed": seed,
            "backend": keras.backend.backend(),
            "mixed_precision": mixed_precision,
            "distribute": distribute,
            "augment": None if augment == "none" else augment or training.get("augment"),
            "checkpoint_every": checkpoint_every,
            "recipe": recipe,
        }
        _run(data, folder, metadata, new=True)


def _continue(folder: pathlib.Path, epochs: int | None, data_dir: str | None, manual_dir: str | None) -> None:
    """Go on with a run from its newest checkpoint, or from its start where it has none."""
    context = click.get_current_context()
    for parameter in context.command.params:
        given = context.get_parameter_source(parameter.name or "") == click.core.ParameterSource.COMMANDLINE
        if given and parameter.name not in WITH_RESUME:
            raise InputError(f"{parameter.opts[0]} must not come with --resume: the run has its own.")
    options.load_keras()
    import keras

    from keras_vaegan.presets.folder import load_metadata

    metadata = load_metadata(folder)
    if keras.backend.backend() != metadata["backend"]:
        raise InputError(
            f"--backend must be {metadata['backend']}, that of the run; received {keras.backend.backend()}."
        )
    training = metadata["recipe"]["training"]
    if (epochs or training["epochs"]) <= metadata.get("epochs_done", 0) and not metadata.get("interrupted"):
        raise InputError(
            f"--epochs must be more than the {metadata['epochs_done']} that {folder} has; "
            f"received {epochs or training['epochs']}."
        )
    training["epochs"] = epochs or training["epochs"]
    size = tuple(metadata["image_shape"][:2])
    with _devices(metadata.get("distribute", "none")), _run_folder(lambda: folder) as own:
        if own != folder:
            shutil.copytree(folder, own, dirs_exist_ok=True, ignore=shutil.ignore_patterns(f"{PARTIAL}*"))
        data = options.load_images(metadata["dataset"], size, data_dir=data_dir, manual_dir=manual_dir)
        _run(data, own, metadata, new=False)


def _devices(choice: str) -> contextlib.AbstractContextManager[Any]:
    """What the model is built and trained in, so that devices share its batches."""
    from keras_vaegan import training

    try:
        return training.distribution(choice)
    except InputError as error:
        raise InputError(f"--{error}") from error


@contextlib.contextmanager
def _run_folder(find: Callable[[], pathlib.Path]) -> Iterator[pathlib.Path]:
    """The folder of the run; for a process among several that is not the first, a passing one of its own.

    All of them do the same work, as devices that share a computation must, and the first one is heard.
    """
    from keras_vaegan import training

    worker = training.worker()
    if worker.rank == 0:
        yield find()
        return
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as nothing:
        with contextlib.redirect_stdout(nothing):
            yield pathlib.Path(folder)


def _run(data: "ImageData", folder: pathlib.Path, metadata: dict[str, Any], new: bool) -> None:
    """Build the model of a run and train it, from its start or from its newest checkpoint."""
    import keras

    from keras_vaegan import presets, training
    from keras_vaegan.data import Batches

    if metadata["mixed_precision"] != "none":
        keras.config.set_dtype_policy(f"mixed_{metadata['mixed_precision']}")
    recipe, seed = metadata["recipe"], metadata["seed"]
    keras.utils.set_random_seed(seed)
    training.be_deterministic()
    if "labels" in recipe["networks"].get("condition", ()) and data.train[1] is None:
        raise InputError(
            f"--dataset must have labels for {metadata['model']}, which is conditioned on them; "
            f"{metadata['dataset']} has none."
        )
    x, y = data.train
    settings = recipe["training"]
    if settings.get("num_labels") is not None:
        x, y = _hide_labels(x, y, settings["num_labels"], seed, metadata["dataset"])
    all_known = y is None or bool((y >= 0).all())
    devices = training.shares()
    if settings["batch_size"] % devices:
        raise InputError(
            f"--batch-size must be a multiple of {devices}, the devices that share it (or --distribute "
            f"none); received {settings['batch_size']}."
        )
    batches = Batches(
        x,
        y,
        batch_size=settings["batch_size"],
        seed=seed,
        augment=metadata["augment"],
        labelled_share=None if all_known else settings.get("labelled_share"),
        multiple=devices,
        part=training.part(),
    )
    steps = settings["epochs"] * len(batches)
    metadata["recipe"] = recipe = presets.plan(recipe, steps)
    model = presets.build(recipe, data.image_shape, seed, data.num_classes)
    if settings.get("init") and (new or not any((folder / "checkpoints").glob("*.keras"))):
        _begin_with(model, settings["init"])
    name = f"{metadata['model']}_{pathlib.Path(metadata['dataset']).stem}"
    labels = "" if all_known or y is None else f", {int((y >= 0).sum()):,} of them with a label,"
    click.echo(
        f"{name}: {len(batches.x):,} images of {data.image_shape}{labels} on {metadata['backend']}, "
        f"into {folder}"
    )
    if steps < FEW_STEPS:  # as with a small folder and the recipe of a large set
        click.echo(
            f"warning: {steps:,} steps teach little; "
            f"--epochs {-(-ENOUGH_STEPS // len(batches))} makes {ENOUGH_STEPS:,} of them"
        )
    _fit(model, batches, data, folder, metadata, new)


def _begin_with(model: "LatentVariableModel", source: str) -> None:
    """Take over the weights of a trained model that have the same place and shape in this one."""
    from keras_vaegan import presets

    try:
        taken = presets.take_over(model, presets.load_source(source)[0])
    except InputError as error:
        raise InputError(re.sub(r"^source\b", "--init", str(error))) from error
    if not taken:
        raise InputError(f"--init must be a model that this one has networks of; {source} shares none.")
    click.echo(f"begins with {taken} of {len(model.weights)} arrays of {source}")


def _validation(model: "LatentVariableModel", batches: "Batches", data: "ImageData") -> Any:
    """The images held out as `fit` takes them; in batches where devices share them."""
    from keras_vaegan.data import Batches

    x, y = data.validation
    if batches.multiple == 1:
        return (x, y) if model.num_classes else (x,)
    y = y if model.num_classes else None
    return Batches(x, y, batches.batch_size, shuffle=False, multiple=batches.multiple, part=batches.part)


def _hide_labels(
    x: np.ndarray, y: np.ndarray | None, num_labels: int, seed: int, dataset: str
) -> tuple[np.ndarray, np.ndarray]:
    """The images with the labels of `num_labels` of them, drawn by the run's seed."""
    from keras_vaegan.data import semi_supervised_split

    if y is None:
        raise InputError(f"--dataset must have labels for --num-labels; {dataset} has none.")
    try:
        return semi_supervised_split(x, y, num_labels, seed)
    except InputError as error:
        raise InputError(str(error).replace("num_labels", "--num-labels")) from error


@click.command(cls=GroupedCommand)
def models():
    """List the models and the names of their presets."""
    for key, summary in MODEL_KEYS.items():
        names = [name for name, recipe in RECIPES.items() if recipe["model"]["key"] == key]
        click.echo(f"{key:16} {summary}\n{'':16} presets: {', '.join(names)}")


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
    try:
        text = path.read_text(encoding="utf-8")
        config = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except ValueError as error:
        raise InputError(f"--config {path} cannot be read: {error}.") from error
    config = config.get("recipe", config) if isinstance(config, dict) else config
    known = ("model", "networks", "optimizer", "training", "source", "expect")
    if not isinstance(config, dict) or not set(config) <= set(known):
        raise InputError(f"--config {path} must have the sections {', '.join(known)}.")
    for section, value in config.items():
        if section not in ("source", "expect") and not isinstance(value, dict):
            raise InputError(f"--config {path}: section {section} must have options; received {value!r}.")
    return config


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Full names and values of a nested dictionary."""
    for name, value in tree.items():
        if isinstance(value, dict) and name != "learning_rate":  # there it is a schedule, of one piece
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _key_and_value(setting: str) -> tuple[str, Any]:
    """`gamma=0.5` as a name and a value: JSON where it is JSON, text otherwise."""
    name, equals, text = setting.partition("=")
    if not equals or not name:
        raise InputError(f"--set must be KEY=VALUE; received {setting!r}.")
    try:
        return name.strip(), json.loads(text)
    except json.JSONDecodeError:
        return name.strip(), text


def _claim_folder(output: str | None, name: str, overwrite: bool) -> pathlib.Path:
    """A folder for the run that can be written to; an older run in it is left as it is."""
    from keras_vaegan.presets.folder import is_run

    folder, number = pathlib.Path(output or pathlib.Path("runs", name)), 2
    while output is None and not overwrite and folder.is_dir() and any(folder.iterdir()):
        folder, number = pathlib.Path("runs", f"{name}-{number}"), number + 1
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--output must be a run folder; {folder} is a file.")
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        if not is_run(folder):
            raise InputError(f"--output must be a new or a run folder; {folder} exists and is neither.")
        if not overwrite:
            raise InputError(f"--output {folder} holds a run already; add --overwrite to replace it.")
    tempfile.TemporaryFile(dir=folder).close()  # fails here, before the work, if nothing can be written
    return folder


def _fit(
    model: "LatentVariableModel",
    batches: "Batches",
    data: "ImageData",
    folder: pathlib.Path,
    metadata: dict[str, Any],
    new: bool,
) -> None:
    """Train into the folder; whatever ends the training, what was learnt is saved."""
    from keras_vaegan import callbacks, training
    from keras_vaegan.diagnosis import FINDINGS
    from keras_vaegan.presets.folder import METADATA, clear_run

    if new:
        clear_run(folder)
    write_json(folder / METADATA, metadata)  # marks the folder as a run from the start
    checkpoints = callbacks.Checkpoints(folder / "checkpoints", every=metadata.get("checkpoint_every"))
    first = 0 if new else checkpoints.resume(model, batches)
    history = callbacks.HistoryFile(folder / "history.csv")
    worker = training.worker()
    stop = callbacks.StopOnInterrupt()
    orderly = [stop] if worker.size == 1 else []  # several would not all stop after the same batch

    def report(line: str) -> None:
        if worker.rank == 0:
            click.echo(line, err=True)

    monitor = callbacks.Monitor(data.validation[0], folder / FINDINGS, report=report)
    started = time.monotonic()
    model.fit(
        batches,
        epochs=metadata["recipe"]["training"]["epochs"],
        initial_epoch=first,
        validation_data=_validation(model, batches, data),
        validation_batch_size=None if batches.multiple > 1 else batches.batch_size,
        verbose=1 if sys.stdout.isatty() else 2,
        callbacks=[
            monitor,
            callbacks.SampleGrids(folder / "samples"),
            history,
            checkpoints,
            *orderly,
        ],
    )
    metadata["seconds"] = round(metadata.get("seconds", 0.0) + time.monotonic() - started, 1)
    metadata["epochs_done"] = len(history.rows)
    metadata["interrupted"] = stop.interrupted
    last = history.rows[-1] if history.rows else {}
    metadata["results"] = {name: value if math.isfinite(value) else None for name, value in last.items()}
    _finish(model, data, history.columns, folder, metadata)
    if stop.interrupted:
        click.echo(
            f"stopped by Ctrl-C after {len(history.rows)} epochs; the model is saved in {folder}; "
            f"keras-vaegan train --resume {folder} goes on",
            err=True,
        )
        raise SystemExit(130)
    if monitor.stopped:
        click.echo(f"the model, of the last good step, is in {folder}")
        raise SystemExit(1)
    click.echo(f"the model is in {folder}; look at {folder / 'samples.png'}")


def _finish(
    model: "LatentVariableModel",
    data: "ImageData",
    history: Mapping[str, Sequence[float]],
    folder: pathlib.Path,
    metadata: dict[str, Any],
) -> None:
    """Save the model and draw the pictures of a run."""
    from keras_vaegan import plots
    from keras_vaegan.presets import save_folder

    x, y = data.validation
    if hasattr(model, "calibrate") and y is not None and np.any(y >= 0):
        model.calibrate(x[y >= 0], y[y >= 0])
    with atomic_path(folder / "model.keras") as temporary:
        model.save(temporary)
    save_folder(model, folder, metadata)
    _draw(model, data, folder)
    if history:
        plots.save_curves(history, folder / "curves.png")


def _draw(model: "LatentVariableModel", data: "ImageData", folder: pathlib.Path) -> None:
    """Draw what the model makes, from the prior and of images that it was not trained on."""
    from keras_vaegan import plots
    from keras_vaegan.data import named_mask

    columns = plots.class_columns(model.num_classes) or 10
    plots.save_grid(model.generate(10 * columns, seed=0), folder / "samples.png", columns)

    def first(count: int, skipped: int = 0) -> tuple[np.ndarray, np.ndarray | None]:
        rows, (x, y) = slice(skipped, skipped + count), data.validation
        return x[rows], None if y is None else model.labels_of(y[rows])

    x, y = first(64)
    plots.save_reconstructions(x, model.reconstruct(x, y), folder / "reconstructions.png")
    half = min(len(data.validation[0]) // 2, NUM_WALKS)
    if half:
        (a, of_a), (b, of_b) = first(half), first(half, half)
        pair = None if of_a is None or of_b is None else (of_a, of_b)
        walks = model.interpolate(a, b, steps=10, labels=pair)
        plots.save_grid(walks.reshape(-1, *data.image_shape), folder / "interpolation.png", columns=10)
    x, y = first(NUM_SHOWN)
    if model.completes:
        mask = named_mask("left", model.image_shape)
        completions = model.complete(x, mask, num_samples=8, labels=y, seed=0)
        plots.save_completions(x, mask, completions, folder / "completions.png")
    elif plots.class_columns(model.num_classes):
        styled = np.concatenate([x[:, None], model.transfer_style(x, np.arange(columns), y)], axis=1)
        plots.save_grid(styled.reshape(-1, *data.image_shape), folder / "styles.png", columns + 1)

    images, labels = data.train[0][:NUM_VIEWED], data.train[1]
    labels = None if labels is None else labels[:NUM_VIEWED]
    codes = model.encode(images, model.labels_of(labels)).reshape(len(images), -1)
    plots.save_latent_means(codes, folder / "latent_means.png", labels, data.class_names)

    def decode(z: np.ndarray) -> np.ndarray:
        z = z.reshape(-1, *model.code_shape)
        return model.decode(z, model.labels_of(np.zeros(len(z), int)))  # of the first class

    plots.save_latent_grid(decode, codes, folder / "latent_grid.png")
