"""A run: its folder, the model that is built for it, its training, what is saved and drawn.

`keras-vaegan train` is `run` and `resume` under the names of its options. This module stands above models and
presets, so `keras_vaegan.training` imports it on use.
"""

import contextlib
import copy
import dataclasses
import importlib.util
import math
import os
import pathlib
import shutil
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import keras
import numpy as np

import keras_vaegan.data
from keras_vaegan import backend, plots, presets
from keras_vaegan.callbacks import Checkpoints, HistoryFile, Monitor, SampleGrids, StopOnInterrupt
from keras_vaegan.checkpoints import Position, found
from keras_vaegan.data import Batches, ImageData, named_mask, semi_supervised_split
from keras_vaegan.data.batches import parse_augment
from keras_vaegan.data.cache import parse_cache
from keras_vaegan.data.checks import check_value_range
from keras_vaegan.data.content import OLDER, change_since_training, describe
from keras_vaegan.data.names import listed
from keras_vaegan.data.preprocessing import Preprocessing
from keras_vaegan.data.sources import UNTRAINED
from keras_vaegan.data.stored import is_stored
from keras_vaegan.data.tensorflow_side import quiet_import
from keras_vaegan.data.views import first_of, some_of
from keras_vaegan.diagnosis import Finding
from keras_vaegan.errors import InputError, choose, flag, one_line, printable, renaming, shown, whole_number
from keras_vaegan.files import PARTIAL, atomic_path, holds_files, scratch_folder, user_path, write_json
from keras_vaegan.locks import LOCK, FolderLock, InUse
from keras_vaegan.models.latent import WORKERS, LatentVariableModel
from keras_vaegan.presets import RecipeChoice, configure
from keras_vaegan.presets.folder import load_keras_file, load_metadata
from keras_vaegan.presets.sources import locate
from keras_vaegan.progress import EpochRows
from keras_vaegan.runs import (
    BEGUN,
    CHECKPOINTS,
    FINDINGS,
    HISTORY,
    METADATA,
    MODEL,
    PRIOR,
    SAMPLES,
    SCORES,
    TENSORBOARD,
    check_own,
    check_resumable,
    clear_run,
    is_run,
    read_begun,
    tidy_run,
)
from keras_vaegan.signals import SIGNALS, ending_on_signals, exit_code
from keras_vaegan.training.plan import (
    MOST_VALIDATED,
    Plan,
    TellTime,
    length_of,
    memory_of,
    parameters_of,
    step_memory,
)
from keras_vaegan.typing import PRECISIONS

NUM_VIEWED = 2000  # images whose codes are drawn
MOST_MEASURED = 2000  # images whose spatial codes are measured: each has many positions
NUM_WALKS = 8  # rows of interpolations
NUM_SHOWN = 8  # images that are completed, or shown as other classes
AT_THE_END = ("finished", "interrupted", "prior")  # of the metadata, what does not hold while a run goes on
FEW_STEPS, ENOUGH_STEPS = 500, 2000  # of a whole training
NAMED_SOURCES = (("training", "dataset"), ("networks", "base"), ("training", "init"))  # of a recipe
HOW_TO_READ = (
    "channels",
    "resize",
    "background",
    "value_range",
)  # of `Preprocessing`, as `data.load` takes them


class Console:
    """How a run speaks to its user. A subclass may send the lines elsewhere, as to a log."""

    def show(self, line: str, warning: bool = False) -> None:
        """Print a line; a warning goes to standard error."""
        print(printable(line), file=sys.stderr if warning else sys.stdout, flush=True)

    def named(self, argument: str, value: Any = None) -> str:
        """An argument as the user writes it, with a value if there is one."""
        return argument if value is None else f"{argument}={value!r}"

    def suggest(self, folder: pathlib.Path, generates: bool, unit: str, length: int) -> None:
        """Say what to do next with a run that has finished: nothing, but at the command line.

        Args:
            folder: of the run.
            generates: whether its model does.
            unit: of the length of a training, `epochs` or `steps`.
            length: a longer one.
        """


class _Silent(Console):
    """The console of a process that is not the first: all do the same work, and one is heard."""

    def __init__(self, console: Console) -> None:
        self._names = console

    def show(self, line: str, warning: bool = False) -> None:
        pass

    def named(self, argument: str, value: Any = None) -> str:
        return self._names.named(argument, value)


@dataclasses.dataclass
class Result:
    """What came of a run.

    Attributes:
        folder: the run folder. Of several processes that train together, the first alone has it.
        finished: whether all epochs asked for are done, and the model and images are in the folder.
        interrupted_by: name of the signal that stopped the training ("SIGINT" for Ctrl-C), or None. The
            folder holds the exact position, from which `resume` continues.
        finding: NaN or infinity that stopped the training, or None.
        history: `{log name: [value of each epoch]}`; empty if the run was finished before.
    """

    folder: pathlib.Path
    finished: bool = False
    interrupted_by: str | None = None
    finding: Finding | None = None
    history: dict[str, list[float]] = dataclasses.field(default_factory=dict, repr=False)
    _model: LatentVariableModel | None = dataclasses.field(default=None, repr=False)

    @property
    def model(self) -> LatentVariableModel:
        """The model, compiled; it is read from the folder if the run was finished before."""
        if self._model is None:
            self._model = load_keras_file(self.folder / MODEL)
        return self._model

    @property
    def exit_code(self) -> int:
        """That of `keras-vaegan train`: 0; 1 after NaN or infinity; 130, 143 or 129 after a signal."""
        if self.interrupted_by is not None:
            return exit_code(signal.Signals[self.interrupted_by])
        return 0 if self.finding is None else 1


@dataclasses.dataclass(frozen=True)
class _How:
    """What belongs to the process that trains, and not to the run.

    Attributes:
        where: `data_dir`, `manual_dir` and `cache` of `data.load`.
        workers, callbacks, verbose, tensorboard, console: as `run` takes them.
    """

    where: dict[str, Any]
    workers: int | None
    callbacks: Sequence[keras.callbacks.Callback]
    verbose: Literal[0, 1, 2] | None
    tensorboard: bool
    console: Console

    def of_worker(self) -> "_How":
        """The same, silent in a process that is not the first; to be called within `distribution`."""
        if backend.worker().rank == 0:
            return self
        return dataclasses.replace(self, console=_Silent(self.console), verbose=0)


def run(
    recipe: dict[str, Any] | str | RecipeChoice,
    data: ImageData | str | os.PathLike[str] | None = None,
    folder: str | os.PathLike[str] | None = None,
    *,
    seed: int = 0,
    num_labels: int | None = None,
    augment: str | None = None,
    mixed_precision: Literal["none", "bfloat16", "float16"] = "none",
    distribute: Literal["auto", "none", "data"] = "auto",
    checkpoint_every: int | None = None,
    overwrite: bool = False,
    image_size: int | Sequence[int] | None = None,
    value_range: Sequence[float] | None = None,
    channels: int | None = None,
    resize: Literal["crop", "pad", "stretch"] | None = None,
    background: str | Sequence[int] | None = None,
    random_crop: int | Sequence[int] | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    manual_dir: str | os.PathLike[str] | None = None,
    cache: Literal["memory", "disk", "none"] | None = None,
    workers: int | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: Literal[0, 1, 2] | None = None,
    tensorboard: bool = False,
    console: Console | None = None,
) -> Result:
    """Train a model into a run folder, as `keras-vaegan train` does: weights, history, checkpoints, images.

    One process at a time writes the folder. Ctrl-C, SIGTERM and SIGHUP stop the training after the batch that
    runs and save the exact position within the epoch. Ctrl-C also saves the model and draws the images; the
    other two leave them to `resume`. NaN or infinity stop the training, too, and the last good state is kept.
    Whatever else ends the training, as an error in a callback, leaves the last checkpoint for `resume`.

    The call sets the seeds of Python, NumPy and the backend, and asks the backend for deterministic
    operators, for the whole process.

    Args:
        recipe: how to build and train the model, as `presets.recipe` returns it; it is not changed. Or the
            key of a model, or a `presets.RecipeChoice`: the images then decide on the recipe.
        data: `ImageData` as `data.load` returns it, or a source for `data.load`; None for the recipe's
            dataset.
        folder: the run folder, new or empty; None for `runs/MODEL_DATASET`, or `runs/MODEL_DATASET-2` and so
            on if that is taken.
        seed: of weights, order of images and noise.
        num_labels: labels that a semi-supervised model keeps. None for the recipe's number if all images have
            a label, else for all labels.
        augment: random changes, as `"translation,cutout"`; `"none"` for no change, None for the recipe's.
        mixed_precision: half precision to compute in.
        distribute: which devices share each batch: all accelerators (`auto`), all devices (`data`), or one
            (`none`).
        checkpoint_every: batches between checkpoints; None for one at the end of each epoch.
        overwrite: whether to replace an older run in `folder`.
        image_size: int or `(H, W)` for a source; None for the recipe's.
        value_range, channels, resize, background, data_dir, manual_dir, cache: for a source, as `data.load`
            takes them.
        random_crop: int or `(H, W)` of the crops that the model is trained on, at random places of the
            images. Everywhere else it sees the centers of that size. None for whole images.
        workers: threads that read the next batches while the model is trained; None for 2 if images are
            decoded as they are used, else 0. The result is the same.
        callbacks: more Keras callbacks. They come before the one that writes `history.csv`, so that it has
            what they add to the epoch's logs.
        verbose: 1 for a bar with the time left and a row for each epoch, 2 for the rows alone, 0 for neither;
            None is 1 on a terminal, else 2.
        tensorboard: whether Keras' callback writes logs for TensorBoard into the run folder.
        console: what prints the lines and names the arguments in them.

    Returns:
        `Result`. A script that ends with `sys.exit(result.exit_code)` ends as the command line does.

    Raises:
        InputError: an argument that cannot be used; a folder that holds something else, or that another
            process writes; data that do not fit the model.
        KeyboardInterrupt: Ctrl-C outside of the epochs, or a second one.
        keras_vaegan.signals.Ended: SIGTERM or SIGHUP outside of the epochs; a `SystemExit` with the exit code
            of the signal.

    Examples:
        Train the digits for three epochs, draw images, and train two more epochs:

            from keras_vaegan import data, presets, training

            recipe = presets.recipe("vae_gan_mnist_small")
            presets.override(recipe, "epochs", 3)
            result = training.run(recipe, data.load("mnist_small"), "runs/mine", seed=0)
            images = result.model.generate(10, seed=0)
            training.resume("runs/mine", epochs=5)
    """
    console = console or Console()
    devices = backend.distribution(distribute)  # before anything is computed: processes find each other first
    choice = RecipeChoice(recipe) if isinstance(recipe, str) else recipe
    if isinstance(choice, RecipeChoice):
        chosen_later, recipe = choice.get_config(), choice.before_images()
    else:
        chosen_later, recipe = None, copy.deepcopy(choice)
    configure.check(recipe)
    training = recipe["training"]
    where = {"data_dir": data_dir, "manual_dir": manual_dir, "cache": parse_cache(cache)}
    workers = None if workers is None else whole_number("workers", workers, 0)
    how_to_read: dict[str, Any] = {
        "channels": channels,
        "resize": resize,
        "background": background,
        "value_range": value_range,
    }
    if isinstance(data, ImageData):
        of_source = {"image_size": image_size, **how_to_read, **where}
        for argument, value in of_source.items():
            if value is not None:
                raise InputError(f"{argument} must be None for loaded data; received {shown(value)}.")
        training["dataset"] = data.source or data.name
        how_to_read = dataclasses.asdict(_known_preprocessing(data))
    else:
        if data is not None:
            training["dataset"] = os.fspath(user_path("data", data))
        how_to_read["image_size"] = image_size or training.get("image_size")
    given = {name: value for name, value in how_to_read.items() if value is not None}
    with renaming(crop="random_crop"):
        preprocessing = Preprocessing(**(given | {"crop": random_crop}))
    name = one_line(f"{recipe['model']['key']}_{pathlib.Path(training['dataset']).stem}")
    for part, field in NAMED_SOURCES:
        source = recipe[part].get(field)
        if isinstance(source, str) and pathlib.Path(source).exists():
            recipe[part][field] = str(pathlib.Path(source).resolve())  # found from elsewhere too
        if source and field != "dataset":  # what can be checked without the images comes before them
            with renaming(source=f"{part}.{field}"):
                locate(source)
    if num_labels is not None:
        presets.override(recipe, "training.num_labels", num_labels)
    if checkpoint_every is not None:
        checkpoint_every = whole_number("checkpoint_every", checkpoint_every, 1)
    augment = None if augment == "none" else augment or training.get("augment")
    parse_augment(augment)
    begun = {
        "model": recipe["model"]["key"],
        "dataset": training["dataset"],
        "image_size": preprocessing.image_size,
        "preprocessing": preprocessing.get_config(),
        "num_labels": num_labels,
        "seed": whole_number("seed", seed, 0),
        "backend": keras.backend.backend(),
        "mixed_precision": choose("mixed_precision", mixed_precision, PRECISIONS),
        "distribute": distribute,
        "augment": augment,
        "checkpoint_every": checkpoint_every,
        "recipe": recipe,
        "choice": chosen_later,
    }
    output = None if folder is None else user_path("folder", folder)
    _check_apart(training["dataset"], output or pathlib.Path("runs", name), console)
    how = _How(where, workers, tuple(callbacks), verbose, _board(tensorboard), console)
    with (
        ending_on_signals(),
        devices,
        _run_folder(lambda: claim_folder(output, name, overwrite, console)) as own,
    ):
        try:
            return _begin(own, begun, data if isinstance(data, ImageData) else None, how.of_worker())
        except BaseException:
            (own / BEGUN).unlink(missing_ok=True)  # if it is still there, nothing was trained
            raise


def resume(
    folder: str | os.PathLike[str],
    data: ImageData | None = None,
    epochs: int | None = None,
    *,
    steps: int | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    manual_dir: str | os.PathLike[str] | None = None,
    cache: Literal["memory", "disk", "none"] | None = None,
    workers: int | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: Literal[0, 1, 2] | None = None,
    tensorboard: bool = False,
    console: Console | None = None,
) -> Result:
    """Continue a run from its newest checkpoint, or from its start if it has none.

    Weights, optimizers and history come out bit for bit as without the interruption, on the same machine with
    the same versions. A run that was killed before its first step begins.

    Args:
        folder: a run folder, of `run` or of `keras-vaegan train`.
        data: what the run was trained on; None loads it again. Data that `data.load` did not return must be
            given.
        epochs: of the whole run, if its length is in epochs; None for as many as were asked for before.
        steps: of the whole run, if its length is in steps.
        data_dir, manual_dir: where `data.load` looks.
        cache, workers, callbacks, verbose, tensorboard, console: as for `run`; other ones will do.

    Returns:
        `Result`, at once if the run is finished.

    Raises:
        InputError: a folder that is no run, that another process writes, or that has no readable checkpoint;
            another backend than the run's; fewer epochs or steps than are done, or `epochs` of a run whose
            length is in steps; data that have changed.
        KeyboardInterrupt, keras_vaegan.signals.Ended: as for `run`.
    """
    console = console or Console()
    folder = user_path("folder", folder)
    lengths = {"epochs": epochs, "steps": steps}
    asked = {name: whole_number(name, value, 1) for name, value in lengths.items() if value is not None}
    where = {"data_dir": data_dir, "manual_dir": manual_dir, "cache": parse_cache(cache)}
    workers = None if workers is None else whole_number("workers", workers, 0)
    how = _How(where, workers, tuple(callbacks), verbose, _board(tensorboard), console)
    if data is not None and not isinstance(data, ImageData):
        raise InputError(f"data must be ImageData, as data.load returns it, or None; received {shown(data)}.")

    facts: dict[str, Any] = {}
    begun = False

    def find() -> tuple[FolderLock, bool]:
        nonlocal facts, begun
        lock = FolderLock(folder, "folder")
        lock.acquire()
        try:
            facts, begun = _facts_to_go_on_with(folder, asked)  # another process may have gone on meanwhile
        except BaseException:
            lock.release()
            raise
        return lock, False

    try:
        facts, begun = _facts_to_go_on_with(folder, asked)
        if keras.backend.backend() != facts["backend"]:
            raise InputError(
                f"backend must be {facts['backend']}, that of the run; received {keras.backend.backend()}.",
                argument="backend",
            )
        distribution = backend.distribution(facts.get("distribute", "none"))
        with ending_on_signals(), distribution, _run_folder(find) as own:
            how = how.of_worker()
            if begun:
                return _begin(own, facts, data, how)
            if own != folder:
                left = shutil.ignore_patterns(f"{PARTIAL}*", LOCK)
                shutil.copytree(folder, own, dirs_exist_ok=True, ignore=left)
            data = _unchanged_data(folder, facts, data, how)
            return _train(data, own, facts, False, how)
    except _NothingLeft as end:
        console.show(
            f"{folder} is finished, with all {end.unit} asked for ({end.done:,}); "
            f"more with {console.named(end.unit, 2 * end.done)}"
        )
        return Result(folder, finished=True)


class _NothingLeft(Exception):
    """Raised if a run is as long as asked: whoever starts it again until it is done is to see no error."""

    def __init__(self, done: int, unit: str) -> None:
        super().__init__(done)
        self.done, self.unit = done, unit


def _facts_to_go_on_with(folder: pathlib.Path, asked: Mapping[str, int]) -> tuple[dict[str, Any], bool]:
    """The metadata of a run, or what it is to begin with, and which of the two; with the length asked for."""
    check_resumable(folder)
    facts = begun = read_begun(folder)
    if facts is None:
        with renaming(source="folder"):
            facts = load_metadata(folder)
    configure.check(facts["recipe"])
    training = facts["recipe"]["training"]
    unit = "epochs" if training.get("steps") is None else "steps"
    for name in asked.keys() - {unit}:
        raise InputError(
            f"{name} must not be given: the length of {folder} is in {unit}; received {asked[name]}.",
            argument=name,
            received=asked[name],
        )
    training |= asked
    if begun is not None and begun.get("choice") is not None:  # the recipe that the images will choose
        begun["choice"]["changes"] += [[f"training.{name}", value] for name, value in asked.items()]
    per_epoch = facts.get("steps_per_epoch")
    done = max(facts.get("epochs_done", 0), 0) * (per_epoch or 1)
    # Of steps, those that make the last epoch whole are no more than was asked for.
    wanted = length_of(training, per_epoch).epochs * per_epoch if per_epoch else training[unit]
    if wanted < done:
        raise InputError(
            f"{unit} must be more than the {done} that {folder} has; received {training[unit]}.",
            argument=unit,
            received=training[unit],
        )
    if wanted == done and facts.get("finished"):
        raise _NothingLeft(done, unit)
    return facts, begun is not None


# ---- the folder ----


def claim_folder(
    output: pathlib.Path | None, name: str, overwrite: bool, console: Console
) -> tuple[FolderLock, bool]:
    """The lock of a folder for the run, and whether the folder is new; an older run is left as it is."""
    number = 1
    while True:
        folder = output or pathlib.Path("runs", name if number == 1 else f"{name}-{number}")
        number += 1
        try:
            _check_folder(folder, overwrite, console)
            made = not folder.exists()
            lock = FolderLock(folder, "folder")
            lock.acquire()  # fails here, before the work, if nothing can be written
            try:
                _check_folder(folder, overwrite, console)  # again: a training may have ended there meanwhile
            except BaseException:
                lock.release()
                raise
        except (_Taken, InUse):
            if output is None and not overwrite:
                continue  # the next name
            raise
        return lock, made


class _Taken(InputError):
    """A folder that holds something already."""


def _check_folder(folder: pathlib.Path, overwrite: bool, console: Console) -> None:
    """Raise unless nothing was trained in the folder, or it is a run that is to be replaced."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"folder must be a run folder; {folder} is a file.")
    if not folder.exists():
        return
    if holds_files(folder, LOCK, BEGUN):
        if not is_run(folder):
            raise _Taken(f"folder must be a new or a run folder; {folder} exists and is neither.")
        if not overwrite:
            raise _Taken(
                f"folder {folder} holds a run already; add {console.named('overwrite', True)} to replace it.",
                argument="folder",
            )
    check_own("folder", folder)


@contextlib.contextmanager
def _run_folder(find: Callable[[], tuple[FolderLock, bool]]) -> Iterator[pathlib.Path]:
    """The folder of the run, locked; for a process among several that is not the first, a passing one.

    All of them do the same work, as devices that share a computation must, and the first one is heard.
    """
    if backend.worker().rank == 0:
        lock, made = find()
        try:
            try:
                tidy_run(lock.folder)
                yield lock.folder
            finally:
                lock.release()
        except BaseException:
            if made:
                with contextlib.suppress(OSError):
                    lock.folder.rmdir()  # if nothing was written to it
            raise
        return
    with scratch_folder() as folder, open(os.devnull, "w") as nothing:
        with contextlib.redirect_stdout(nothing):
            yield folder


def _check_apart(dataset: str, output: pathlib.Path, console: Console) -> None:
    """Raise if a run folder would lie in the folder of its images, or they in it, where runs are deleted."""
    images, folder = user_path("data", dataset).resolve(), output.resolve()
    if not images.exists():
        return
    named = f"{console.named('data')} {dataset}"
    if folder.is_relative_to(images):
        raise InputError(
            f"folder must lie outside of {named}, or its images would become data; received {output}."
        )
    if images.is_relative_to(folder):
        raise InputError(
            f"folder must not hold {named}, which {console.named('overwrite')} might delete; "
            f"received {output}."
        )


# ---- the data ----


def _load(
    recipe: Mapping[str, Any], dataset: str, how: _How, preprocessing: Preprocessing, **settings: Any
) -> ImageData:
    """The images of a recipe, whole; say what was taken for what in a folder."""
    settings |= {name: getattr(preprocessing, name) for name in HOW_TO_READ}
    with warnings.catch_warnings(), renaming(source="data"):
        if _needs_classes(recipe):  # an error follows, which says the same
            warnings.filterwarnings("ignore", message=UNTRAINED)
        data = keras_vaegan.data.load(dataset, preprocessing.image_size, **settings, **how.where)
    if data.notes:
        how.console.show(f"{data.name}: {'; '.join(data.notes)}")
    return data


def _needs_classes(recipe: Mapping[str, Any]) -> bool:
    return "labels" in recipe["networks"].get("condition", ()) or "num_labels" in recipe["training"]


def _check_classes(recipe: Mapping[str, Any], data: ImageData) -> None:
    """Raise if the model is conditioned on classes and one has no image to train on."""
    if _needs_classes(recipe) and data.untrained_classes:
        raise InputError(
            f"data must have images of every class to train on, for {recipe['model']['key']} is "
            f"conditioned on classes; it has none of {listed(data.untrained_classes)}. Move an image of each "
            "to those to train on, or remove the class."
        )


def _unchanged_data(
    folder: pathlib.Path, metadata: Mapping[str, Any], data: ImageData | None, how: _How
) -> ImageData:
    """The data of a run, with the classes as they stand in it; raise if they are not those it began with."""
    recipe, dataset = metadata["recipe"], metadata["dataset"]
    if data is None:
        names = metadata.get("class_names") or metadata.get("num_classes") or None
        data = _load(recipe, dataset, how, preprocessing_of(metadata), class_names=names)
    change = change_since_training(metadata, None, None, data)
    if change == OLDER:
        how.console.show(f"warning: validation images may have been trained on; {change}", warning=True)
    elif change is not None:
        raise InputError(
            f"folder {folder} must have the data that it began with; {one_line(dataset)} has changed: "
            f"{change}. Restore the data, or begin a new run with its weights: "
            f"{how.console.named('training.init', str(folder))}.",
            argument="folder",
        )
    return data


# ---- the model ----


def _begin(own: pathlib.Path, begun: dict[str, Any], data: ImageData | None, how: _How) -> Result:
    """Train a run from its start.

    The folder first has what the run begins with, so that `resume` can begin it if the process is killed
    before there are metadata.
    """
    write_json(own / BEGUN, begun)
    recipe, dataset = begun["recipe"], begun["dataset"]
    asked = Preprocessing.from_config(begun["preprocessing"])
    if data is None:
        data = _load(recipe, dataset, how, asked)
    _check_classes(recipe, data)
    with renaming(crop="random_crop"):
        preprocessing = dataclasses.replace(_known_preprocessing(data), crop=asked.crop)
    image_shape = (*(asked.crop or data.image_shape[:2]), data.image_shape[2])
    if begun["choice"] is not None:
        recipe = _chosen(begun["choice"], recipe, image_shape, len(data.train[0]))
    training, labels = recipe["training"], data.train[1]
    if "num_labels" in training and begun["num_labels"] is None and labels is not None and (labels < 0).any():
        training["num_labels"] = None  # the recipe's number is for data that have all labels
    metadata = {
        "model": begun["model"],
        "dataset": dataset,
        "image_shape": list(image_shape),
        "class_names": data.class_names,
        "num_classes": data.num_classes,
        "value_range": data.value_range,
        "preprocessing": preprocessing.get_config(),
        "data": describe(data),
        "seed": begun["seed"],
        "backend": begun["backend"],
        "mixed_precision": begun["mixed_precision"],
        "distribute": begun["distribute"],
        "augment": begun["augment"],
        "checkpoint_every": begun["checkpoint_every"],
        "recipe": recipe,
    }
    return _train(data, own, metadata, True, how)


def _known_preprocessing(data: ImageData) -> Preprocessing:
    """How data were read, or what can be told from the arrays themselves."""
    height, width, channels = data.image_shape
    return data.preprocessing or Preprocessing((height, width), channels, value_range=data.value_range)


def preprocessing_of(metadata: Mapping[str, Any]) -> Preprocessing:
    """How the images of a run become what its model takes; of an older run, as it was then."""
    if metadata.get("preprocessing") is not None:
        return Preprocessing.from_config(metadata["preprocessing"])
    return Preprocessing(tuple(metadata["image_shape"][:2]), value_range=metadata.get("value_range"))


def _chosen(
    choice: Mapping[str, Any], checked: Mapping[str, Any], image_shape: Sequence[int], num_images: int
) -> dict[str, Any]:
    """The recipe that the images choose; its sources are those of the recipe that was checked before."""
    recipe = RecipeChoice.from_config(choice).for_images(image_shape, num_images)
    for part, field in NAMED_SOURCES:
        if field in checked[part]:
            recipe[part][field] = checked[part][field]
    configure.check(recipe)
    return recipe


def _train(data: ImageData, folder: pathlib.Path, metadata: dict[str, Any], new: bool, how: _How) -> Result:
    """Build the model of a run and train it, from its start or from its newest checkpoint."""
    before = keras.config.dtype_policy()
    if metadata["mixed_precision"] != "none":
        keras.config.set_dtype_policy(f"mixed_{metadata['mixed_precision']}")
    try:
        seen = data.center_cropped(preprocessing_of(metadata).crop)
        model, batches = _built(data, seen, folder, metadata, new, how)
        return _fit(model, batches, seen, folder, metadata, new, how)
    finally:
        keras.config.set_dtype_policy(before)


def _built(
    data: ImageData,
    seen: ImageData,
    folder: pathlib.Path,
    metadata: dict[str, Any],
    new: bool,
    how: _How,
) -> tuple[LatentVariableModel, Batches]:
    """The model of a run and what it is trained on; the recipe gets the steps of its schedules.

    The model sees the images as `seen` has them, except in training, where it may see random crops.
    """
    console = how.console
    recipe, seed, dataset = metadata["recipe"], metadata["seed"], metadata["dataset"]
    with quiet_import():
        keras.utils.set_random_seed(seed)  # which imports TensorFlow, if it is there
    backend.be_deterministic()
    x, y = data.train
    if "labels" in recipe["networks"].get("condition", ()) and y is None:
        raise InputError(
            f"data must have labels for {metadata['model']}, which is conditioned on them; "
            f"{dataset} has none."
        )
    settings = recipe["training"]
    if settings.get("num_labels") is not None:
        if y is None:
            raise InputError(f"data must have labels for {console.named('num_labels')}; {dataset} has none.")
        x, y = semi_supervised_split(x, y, settings["num_labels"], seed)
    all_known = y is None or bool((y >= 0).all())
    devices = backend.shares()
    if settings["batch_size"] % devices:
        raise InputError(
            f"training.batch_size must be a multiple of {devices}, the devices that share it (or "
            f"{console.named('distribute', 'none')}); received {settings['batch_size']}."
        )
    length = length_of(settings, metadata.get("steps_per_epoch"))
    batches = Batches(
        x,
        y,
        batch_size=settings["batch_size"],
        seed=seed,
        augment=metadata.get("augment"),
        labelled_share=None if all_known else settings.get("labelled_share"),
        multiple=devices,
        part=backend.part(),
        steps_per_epoch=length.steps_per_epoch,
        random_crop=preprocessing_of(metadata).crop,
        workers=(WORKERS if is_stored(x) else 0) if how.workers is None else how.workers,
    )
    metadata["steps_per_epoch"] = length.steps_per_epoch
    steps = length.epochs * len(batches)
    metadata["recipe"] = recipe = presets.plan(recipe, steps)
    model = presets.build(recipe, seen.image_shape, seed, data.num_classes)
    model.value_range = check_value_range(metadata.get("value_range"))
    model.prior.require_codes(len(x), None if model.classifiers else y)  # it is fitted when all is trained
    if settings.get("init") and (new or not found(folder / CHECKPOINTS)):
        _begin_with(model, settings["init"], console)
    name = one_line(f"{metadata['model']}_{pathlib.Path(dataset).stem}")
    labels = "" if all_known or y is None else f", {int((y >= 0).sum()):,} of them with a label,"
    console.show(
        f"{name}: {len(batches.x):,} images of {seen.image_shape}{labels} on {metadata['backend']}, "
        f"into {folder}"
    )
    _show_plan(model, batches, data, metadata, new, console)
    if length.steps_per_epoch is None and steps < FEW_STEPS:  # as with the recipe of a larger dataset
        enough = console.named("epochs", -(-ENOUGH_STEPS // len(batches)))
        console.show(f"warning: only {steps:,} training steps; {enough} makes {ENOUGH_STEPS:,}")
    return model, batches


def _show_plan(
    model: LatentVariableModel,
    batches: Batches,
    data: ImageData,
    metadata: Mapping[str, Any],
    new: bool,
    console: Console,
) -> None:
    """Tell what was found and what will be done."""
    recipe, crop = metadata["recipe"], preprocessing_of(metadata).crop
    plan = Plan(
        recipe=recipe,
        num_images=[len(x) for x, _ in data],
        image_shape=metadata["image_shape"],
        code_shape=model.code_shape,
        num_classes=data.num_classes,
        parameters=parameters_of(model),
        length=length_of(recipe["training"], metadata["steps_per_epoch"]),
        steps=len(batches),
        done=0 if new else metadata.get("epochs_done", 0) * len(batches),
        in_memory=memory_of([batches.x, *(x for x, _ in data[1:])]),
        step_memory=step_memory(model, batches.batch_size),
        notes=[] if crop is None else ["random crops of larger images in training, their centers elsewhere"],
    )
    for line in plan.lines():
        console.show(line)


def _begin_with(model: LatentVariableModel, source: str, console: Console) -> None:
    """Take over the weights of a trained model that have the same place and shape in this one."""
    with renaming(source="training.init"):
        taken = presets.take_over(model, presets.load_source(source)[0])
    if not taken:
        raise InputError(
            f"training.init must be a model that this one has networks of; {source} shares none."
        )
    console.show(f"begins with {taken} of {len(model.weights)} arrays of {source}")


# ---- the training ----


def _fit(
    model: LatentVariableModel,
    batches: Batches,
    data: ImageData,
    folder: pathlib.Path,
    metadata: dict[str, Any],
    new: bool,
    how: _How,
) -> Result:
    """Train into the folder; whatever ends the training, what was learned is saved."""
    console, worker = how.console, backend.worker()
    verbose = verbosity() if how.verbose is None else how.verbose
    epochs = length_of(metadata["recipe"]["training"], metadata["steps_per_epoch"]).epochs
    checkpoints = Checkpoints(folder / CHECKPOINTS, every=metadata.get("checkpoint_every"))
    first = 0
    if not new:
        first = checkpoints.resume(model, batches)
        _check_position(checkpoints.position, epochs, folder, metadata, console)
    tell_time = TellTime(console.show, epochs * len(batches), checkpoints.position.batch)
    if not any(checkpoints.position):  # from the start, over what a killed or an older run has left
        clear_run(folder)
    if metadata.get("prior"):
        console.show("the prior that was fitted goes back to that of the recipe; fit it again at the end")
    for name in AT_THE_END:
        metadata.pop(name, None)
    write_json(folder / METADATA, metadata)  # marks the folder as a run from the start
    (folder / BEGUN).unlink(missing_ok=True)
    (folder / SCORES).unlink(missing_ok=True)  # scores of weights that will be no more
    history = HistoryFile(folder / HISTORY)
    stop = StopOnInterrupt((signal.SIGINT, *SIGNALS))

    def leave(*_: Any) -> None:
        if stop.received in SIGNALS and checkpoints.stopped:
            raise _Left

    def leave_epoch(*_: Any) -> None:
        if stop.received in SIGNALS:  # the checkpoint is written, or an older one stands
            raise _Left

    at_once = keras.callbacks.LambdaCallback(on_epoch_end=leave_epoch, on_test_begin=leave, on_test_end=leave)
    # Several processes would not all stop after the same batch.
    orderly = [stop, at_once] if worker.size == 1 else []
    monitor = Monitor(
        data.validation[0],
        folder / FINDINGS,
        report=lambda line: console.show(line, warning=True),
        history=folder / HISTORY,
    )
    started, spent_before = time.monotonic(), metadata.get("seconds", 0.0)

    def note_time(*_: Any) -> None:
        metadata["seconds"] = round(spent_before + time.monotonic() - started, 1)
        write_json(folder / METADATA, metadata)  # at each epoch: a run that is killed has its time, too

    rows = EpochRows(console.show, verbose == 1, epochs * len(batches))
    shown = [rows] if verbose else []
    board = [keras.callbacks.TensorBoard(str(folder / TENSORBOARD))] if how.tensorboard else []
    try:
        with contextlib.suppress(_Left):
            model.fit(
                batches,
                epochs=epochs,
                initial_epoch=first,
                validation_data=_validation(model, batches, data),
                validation_batch_size=None if batches.multiple > 1 else batches.batch_size,
                verbose=0,
                callbacks=[
                    monitor,
                    *how.callbacks,
                    SampleGrids(folder / SAMPLES, images=data.validation[0], labels=data.validation[1]),
                    history,
                    *shown,
                    *board,
                    checkpoints,
                    keras.callbacks.LambdaCallback(on_epoch_end=note_time),
                    tell_time,
                    *orderly,
                ],
            )
    finally:
        rows.close()
        stop.restore()
    note_time()
    metadata["epochs_done"] = checkpoints.position.epoch
    metadata["interrupted"] = stop.interrupted
    last = history.rows[-1] if history.rows else {}
    metadata["results"] = {name: value if math.isfinite(value) else None for name, value in last.items()}
    result = Result(folder, finding=monitor.stopped, history=history.columns, _model=model)
    if stop.received is not None and stop.received in SIGNALS:  # little time is left: nothing is drawn
        write_json(folder / METADATA, metadata)
        result.interrupted_by = signal.Signals(stop.received).name
        saved_in = f"the last checkpoint is in {folder / CHECKPOINTS}"
        _tell_of_stop(result.interrupted_by, checkpoints.position, saved_in, folder, console)
        return result
    saved = _finish(model, data, history.columns, folder, metadata, console, verbose)
    if stop.interrupted:
        result.interrupted_by = signal.Signals(signal.SIGINT).name
        _tell_of_stop("Ctrl-C", checkpoints.position, f"the model is saved in {folder}", folder, console)
        return result
    write_json(folder / METADATA, saved | {"finished": True})  # the last step: a killed one is repeated
    if monitor.stopped:
        console.show(f"the model, of the last good step, is in {folder}")
        return result
    result.finished = True
    picture = "samples.png" if model.generates else "reconstructions.png"
    console.show(f"the model is in {folder}; look at {folder / picture}")
    length = metadata["recipe"]["training"]
    unit = "epochs" if length.get("steps") is None else "steps"
    console.suggest(folder, model.generates, unit, 2 * length[unit])
    return result


def _board(tensorboard: bool) -> bool:
    """Whether logs for TensorBoard are asked for, or raise if it is not there."""
    lacking = [name for name in ("tensorboard", "tensorflow") if importlib.util.find_spec(name) is None]
    if flag("tensorboard", tensorboard) and lacking:
        raise InputError(f"tensorboard must be installed first: pip install {' '.join(lacking)}.")
    return tensorboard


class _Left(BaseException):
    """Raised to leave `fit` at once."""


def verbosity() -> Literal[0, 1, 2]:
    """A bar and rows on a terminal, else rows alone; nothing if standard output is closed."""
    if sys.stdout is None:
        return 0
    return 1 if sys.stdout.isatty() else 2


def _check_position(
    position: Position, epochs: int, folder: pathlib.Path, metadata: Mapping[str, Any], console: Console
) -> None:
    """Raise unless a run can go on from its newest checkpoint to that many epochs."""
    if metadata.get("epochs_done") and not any(position):
        raise InputError(
            f"folder must be a run with a checkpoint; {folder / CHECKPOINTS} has none that can be read. "
            f"Train anew with {console.named('overwrite', True)}, or with {console.named('training.init')} "
            "from its weights into another folder."
        )
    if position > (epochs, 0):
        raise InputError(f"epochs must be more than {position.epoch}, as {folder} has; received {epochs}.")


def _tell_of_stop(
    stopped_by: str, position: Position, saved_in: str, folder: pathlib.Path, console: Console
) -> None:
    """Say what stopped a run, where, what is saved, and how to go on."""
    within = f" and {position.batch} batches" if position.batch else ""
    console.show(
        f"stopped by {stopped_by} after {position.epoch} epochs{within}; {saved_in}; "
        f"keras-vaegan train --resume {folder} goes on",
        warning=True,
    )


def _validation(model: LatentVariableModel, batches: Batches, data: ImageData) -> Any:
    """The first held-out images as `fit` takes them; in batches if devices share them."""
    x, y = data.validation
    x, y = first_of(x, MOST_VALIDATED), None if y is None else y[:MOST_VALIDATED]
    if batches.multiple == 1:
        return (x, y) if model.num_classes else (x,)
    y = y if model.num_classes else None
    return Batches(x, y, batches.batch_size, shuffle=False, multiple=batches.multiple, part=batches.part)


def _finish(
    model: LatentVariableModel,
    data: ImageData,
    history: Mapping[str, Sequence[float]],
    folder: pathlib.Path,
    metadata: dict[str, Any],
    console: Console,
    verbose: Literal[0, 1, 2],
) -> dict[str, Any]:
    """Save the model and draw the images of a run; return its metadata as they are saved."""
    x, y = data.validation
    if model.classifiers and y is not None and np.any(y >= 0):
        model.calibrate(some_of(x, y >= 0), y[y >= 0])
    if model.prior.fitted_to_codes:
        if metadata["interrupted"]:
            console.show("the prior stays N(0, I); it is fitted to the codes when the training has ended")
        else:
            try:
                fit_prior(model, data, folder, console, verbose=verbose)
            except InputError as error:  # the training is not to be lost
                console.show(f"warning: the prior stays N(0, I): {error}", warning=True)
    if model.code_statistics is not None:
        model.measure_codes(first_of(data.train[0], MOST_MEASURED))
    with atomic_path(folder / MODEL) as temporary:
        model.save(temporary)
    saved = presets.save_folder(model, folder, metadata)
    clear_fit(folder)
    draw_images(model, data, folder)
    if history:
        plots.save_curves(history, folder / "curves.png")
    return saved


def fit_prior(
    model: LatentVariableModel,
    data: ImageData,
    folder: pathlib.Path,
    console: Console,
    prior: Any = None,
    seed: int = 0,
    batch_size: int = 128,
    verbose: Literal[0, 1, 2] = 0,
) -> int:
    """Fit a prior to the codes of the images that a model was trained on; the number of images that it saw.

    A flow keeps its checkpoints in the run folder, and continues from there if it was stopped. Whoever saves
    the model then calls `clear_fit`.
    """
    prior = model.prior if prior is None else model.new_prior(prior)
    (x, labels), most = data.train, max(1, prior.most_numbers // math.prod(model.code_shape))
    if len(x) > most:  # at random: images may be in the order of their classes
        rows = np.sort(np.random.default_rng(seed).permutation(len(x))[:most])
        x, labels = some_of(x, rows), None if labels is None else labels[rows]
    if model.num_classes is None or model.classifiers:
        labels = None  # those of a semi-supervised model may have been hidden
    console.show(f"fits the prior, {prior.summary}, to the codes of {len(x):,} images")
    how: dict[str, Any] = {"seed": seed, "batch_size": batch_size, "verbose": verbose}
    model.fit_prior(x, labels, prior, folder=folder / CHECKPOINTS / PRIOR, **how)
    return len(x)


def clear_fit(folder: pathlib.Path) -> None:
    """Delete the checkpoints of a flow in a run folder, now that the model is saved."""
    shutil.rmtree(folder / CHECKPOINTS / PRIOR, ignore_errors=True)


def draw_images(model: LatentVariableModel, data: ImageData, folder: pathlib.Path) -> None:
    """Draw what the model makes, from the prior and of images that it was not trained on."""
    columns = plots.class_columns(model.num_classes) or 10
    if model.generates:
        plots.save_grid(model.generate(10 * columns, seed=0), folder / "samples.png", columns)

    def first(count: int, skipped: int = 0) -> tuple[np.ndarray, np.ndarray | None]:
        rows, (x, y) = slice(skipped, skipped + count), data.validation
        return x[rows], model.labels_of(None if y is None else y[rows], x[rows])

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

    images = first_of(data.train[0], NUM_VIEWED)
    labels = data.train[1]
    labels = None if labels is None else labels[:NUM_VIEWED]
    codes = model.encode(images, model.labels_of(labels, images)).reshape(len(images), -1)
    plots.save_latent_means(codes, folder / "latent_means.png", labels, data.class_names)

    def decode(z: np.ndarray) -> np.ndarray:
        z = z.reshape(-1, *model.code_shape)
        return model.decode(z, model.labels_of(np.zeros(len(z), int)))  # of the first class

    plots.save_latent_grid(decode, codes, folder / "latent_grid.png")
