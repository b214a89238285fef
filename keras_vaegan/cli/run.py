"""A run of `train`: its folder, the model that is built for it, its training, what is saved and drawn."""

import contextlib
import math
import os
import pathlib
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_vaegan.cli.ending import SIGNALS, Ended
from keras_vaegan.cli.options import echo
from keras_vaegan.errors import InputError, one_line
from keras_vaegan.files import atomic_path, holds_files, scratch_folder, write_json
from keras_vaegan.locks import LOCK, FolderLock, InUse
from keras_vaegan.runs import METADATA, check_own

if TYPE_CHECKING:
    from keras_vaegan.data import Batches, ImageData
    from keras_vaegan.models.latent import LatentVariableModel

NUM_VIEWED = 2000  # images whose codes are drawn
NUM_WALKS = 8  # rows of interpolations
NUM_SHOWN = 8  # images that are completed, or shown as other classes
AT_THE_END = ("finished", "interrupted")  # of the metadata, what does not hold while a run goes on
FEW_STEPS, ENOUGH_STEPS = 500, 2000  # of a whole training


def claim_folder(output: str | None, name: str, overwrite: bool) -> tuple[FolderLock, bool]:
    """The lock of a folder for the run, and whether the folder is new; an older run is left as it is."""
    number = 1
    while True:
        folder = pathlib.Path(output or pathlib.Path("runs", name if number == 1 else f"{name}-{number}"))
        number += 1
        try:
            _check_folder(folder, overwrite)
            made = not folder.exists()
            lock = FolderLock(folder, "--output")
            lock.acquire()  # fails here, before the work, if nothing can be written
            try:
                _check_folder(folder, overwrite)  # again: a training may have ended there meanwhile
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


def _check_folder(folder: pathlib.Path, overwrite: bool) -> None:
    """Raise unless the folder is missing, empty, or a run that is to be replaced."""
    from keras_vaegan.runs import is_run

    if folder.exists() and not folder.is_dir():
        raise InputError(f"--output must be a run folder; {folder} is a file.")
    if folder.exists() and holds_files(folder, LOCK):
        if not is_run(folder):
            raise _Taken(f"--output must be a new or a run folder; {folder} exists and is neither.")
        if not overwrite:
            raise _Taken(f"--output {folder} holds a run already; add --overwrite to replace it.")
        check_own("--output", folder)


@contextlib.contextmanager
def run_folder(find: Callable[[], tuple[FolderLock, bool]]) -> Iterator[pathlib.Path]:
    """The folder of the run, locked; for a process among several that is not the first, a passing one.

    All of them do the same work, as devices that share a computation must, and the first one is heard.
    """
    from keras_vaegan import training
    from keras_vaegan.runs import tidy_run

    worker = training.worker()
    if worker.rank == 0:
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


def run(data: "ImageData", folder: pathlib.Path, metadata: dict[str, Any], new: bool) -> None:
    """Build the model of a run and train it, from its start or from its newest checkpoint."""
    import keras

    from keras_vaegan import presets, training
    from keras_vaegan.data import Batches
    from keras_vaegan.data.checks import check_value_range

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
        augment=metadata.get("augment"),
        labelled_share=None if all_known else settings.get("labelled_share"),
        multiple=devices,
        part=training.part(),
    )
    steps = settings["epochs"] * len(batches)
    metadata["recipe"] = recipe = presets.plan(recipe, steps)
    model = presets.build(recipe, data.image_shape, seed, data.num_classes)
    model.value_range = check_value_range(metadata.get("value_range"))
    components = recipe["model"].get("prior_components", 0)
    if components > len(x):  # said before the training, at whose end they are fitted
        raise InputError(
            f"--set prior_components must be at most {len(x)}, the images; received {components}."
        )
    if settings.get("init") and (new or not any((folder / "checkpoints").glob("*.keras"))):
        _begin_with(model, settings["init"])
    name = one_line(f"{metadata['model']}_{pathlib.Path(metadata['dataset']).stem}")
    labels = "" if all_known or y is None else f", {int((y >= 0).sum()):,} of them with a label,"
    echo(
        f"{name}: {len(batches.x):,} images of {data.image_shape}{labels} on {metadata['backend']}, "
        f"into {folder}"
    )
    if steps < FEW_STEPS:  # as with a small folder and the recipe of a large set
        echo(
            f"warning: {steps:,} steps teach little; "
            f"--epochs {-(-ENOUGH_STEPS // len(batches))} makes {ENOUGH_STEPS:,} of them"
        )
    _fit(model, batches, data, folder, metadata, new)


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


def _begin_with(model: "LatentVariableModel", source: str) -> None:
    """Take over the weights of a trained model that have the same place and shape in this one."""
    from keras_vaegan import presets

    try:
        taken = presets.take_over(model, presets.load_source(source)[0])
    except InputError as error:
        raise InputError(re.sub(r"^source\b", "--init", str(error))) from error
    if not taken:
        raise InputError(f"--init must be a model that this one has networks of; {source} shares none.")
    echo(f"begins with {taken} of {len(model.weights)} arrays of {source}")


def _fit(
    model: "LatentVariableModel",
    batches: "Batches",
    data: "ImageData",
    folder: pathlib.Path,
    metadata: dict[str, Any],
    new: bool,
) -> None:
    """Train into the folder; whatever ends the training, what was learnt is saved."""
    import keras

    from keras_vaegan import callbacks, training
    from keras_vaegan.runs import FINDINGS, clear_run

    epochs = metadata["recipe"]["training"]["epochs"]
    checkpoints = callbacks.Checkpoints(folder / "checkpoints", every=metadata.get("checkpoint_every"))
    first = 0
    if not new:
        first = checkpoints.resume(model, batches)
        _check_position(checkpoints.position, epochs, folder, metadata)
    if not any(checkpoints.position):  # from the start, over what a killed or an older run has left
        clear_run(folder)
    for name in AT_THE_END:
        metadata.pop(name, None)
    write_json(folder / METADATA, metadata)  # marks the folder as a run from the start
    (folder / "evaluate.json").unlink(missing_ok=True)  # scores of weights that will be no more
    history = callbacks.HistoryFile(folder / "history.csv")
    worker = training.worker()
    stop = callbacks.StopOnInterrupt((signal.SIGINT, *SIGNALS))

    def leave(*_: Any) -> None:
        if stop.received in SIGNALS and checkpoints.stopped:
            raise _Left

    def leave_epoch(*_: Any) -> None:
        if stop.received in SIGNALS:  # the checkpoint is written, or an older one stands
            raise _Left

    at_once = keras.callbacks.LambdaCallback(on_epoch_end=leave_epoch, on_test_begin=leave, on_test_end=leave)
    # Several processes would not all stop after the same batch.
    orderly = [stop, at_once] if worker.size == 1 else []

    def report(line: str) -> None:
        if worker.rank == 0:
            echo(line, err=True)

    monitor = callbacks.Monitor(
        data.validation[0], folder / FINDINGS, report=report, history=folder / "history.csv"
    )
    started, spent_before = time.monotonic(), metadata.get("seconds", 0.0)

    def note_time(*_: Any) -> None:
        metadata["seconds"] = round(spent_before + time.monotonic() - started, 1)
        write_json(folder / METADATA, metadata)  # at each epoch: a run that is killed has its time, too

    try:
        with contextlib.suppress(_Left):
            model.fit(
                batches,
                epochs=epochs,
                initial_epoch=first,
                validation_data=_validation(model, batches, data),
                validation_batch_size=None if batches.multiple > 1 else batches.batch_size,
                verbose=1 if sys.stdout.isatty() else 2,
                callbacks=[
                    monitor,
                    callbacks.SampleGrids(folder / "samples"),
                    history,
                    checkpoints,
                    keras.callbacks.LambdaCallback(on_epoch_end=note_time),
                    *orderly,
                ],
            )
    finally:
        stop.restore()
    note_time()
    metadata["epochs_done"] = checkpoints.position.epoch
    metadata["interrupted"] = stop.interrupted
    last = history.rows[-1] if history.rows else {}
    metadata["results"] = {name: value if math.isfinite(value) else None for name, value in last.items()}
    done = _in_words(checkpoints.position)
    if stop.received is not None and stop.received in SIGNALS:  # little time is left: nothing is drawn
        write_json(folder / METADATA, metadata)
        ended = Ended(stop.received)
        echo(
            f"stopped by {ended.name} after {done}; the last checkpoint is in {folder / 'checkpoints'}; "
            f"keras-vaegan train --resume {folder} goes on",
            err=True,
        )
        raise SystemExit(ended.code)
    saved = _finish(model, data, history.columns, folder, metadata)
    if stop.interrupted:
        echo(
            f"stopped by Ctrl-C after {done}; the model is saved in {folder}; "
            f"keras-vaegan train --resume {folder} goes on",
            err=True,
        )
        raise SystemExit(130)
    write_json(folder / METADATA, saved | {"finished": True})  # the last step: a killed one is repeated
    if monitor.stopped:
        echo(f"the model, of the last good step, is in {folder}")
        raise SystemExit(1)
    echo(f"the model is in {folder}; look at {folder / 'samples.png'}")


class _Left(BaseException):
    """Raised to leave `fit` at once."""


def _check_position(position: Any, epochs: int, folder: pathlib.Path, metadata: dict[str, Any]) -> None:
    """Raise unless a run can go on from its newest checkpoint to that many epochs."""
    if metadata.get("epochs_done") and not any(position):
        raise InputError(
            f"--resume must be a run with a checkpoint; {folder / 'checkpoints'} has none that can be read. "
            "Train anew with --overwrite, or with --init from its weights into another folder."
        )
    if position > (epochs, 0):
        raise InputError(f"--epochs must be more than {position.epoch}, as {folder} has; received {epochs}.")


def _in_words(position: Any) -> str:
    """`3 epochs and 20 batches`."""
    within = f" and {position.batch} batches" if position.batch else ""
    return f"{position.epoch} epochs{within}"


def _validation(model: "LatentVariableModel", batches: "Batches", data: "ImageData") -> Any:
    """The images held out as `fit` takes them; in batches where devices share them."""
    from keras_vaegan.data import Batches

    x, y = data.validation
    if batches.multiple == 1:
        return (x, y) if model.num_classes else (x,)
    y = y if model.num_classes else None
    return Batches(x, y, batches.batch_size, shuffle=False, multiple=batches.multiple, part=batches.part)


def _finish(
    model: "LatentVariableModel",
    data: "ImageData",
    history: Mapping[str, Sequence[float]],
    folder: pathlib.Path,
    metadata: dict[str, Any],
) -> dict[str, Any]:
    """Save the model and draw the pictures of a run; return its metadata as they are saved."""
    from keras_vaegan import plots
    from keras_vaegan.presets import save_folder

    x, y = data.validation
    if hasattr(model, "calibrate") and y is not None and np.any(y >= 0):
        model.calibrate(x[y >= 0], y[y >= 0])
    if getattr(model, "mixture", None) is not None:
        if metadata["interrupted"]:
            echo("the prior stays N(0, I); it is fitted to the codes when the training has ended")
        else:
            echo(f"fits the prior, of {model.mixture.components} components, to the codes")
            model.fit_prior(data.train[0])
    with atomic_path(folder / "model.keras") as temporary:
        model.save(temporary)
    saved = save_folder(model, folder, metadata)
    _draw(model, data, folder)
    if history:
        plots.save_curves(history, folder / "curves.png")
    return saved


def _draw(model: "LatentVariableModel", data: "ImageData", folder: pathlib.Path) -> None:
    """Draw what the model makes, from the prior and of images that it was not trained on."""
    from keras_vaegan import plots
    from keras_vaegan.data import named_mask

    columns = plots.class_columns(model.num_classes) or 10
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

    images, labels = data.train[0][:NUM_VIEWED], data.train[1]
    labels = None if labels is None else labels[:NUM_VIEWED]
    codes = model.encode(images, model.labels_of(labels, images)).reshape(len(images), -1)
    plots.save_latent_means(codes, folder / "latent_means.png", labels, data.class_names)

    def decode(z: np.ndarray) -> np.ndarray:
        z = z.reshape(-1, *model.code_shape)
        return model.decode(z, model.labels_of(np.zeros(len(z), int)))  # of the first class

    plots.save_latent_grid(decode, codes, folder / "latent_grid.png")
