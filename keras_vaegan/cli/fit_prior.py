"""`fit-prior`: a prior for the latent codes of a trained model."""

import pathlib
from collections.abc import Sequence
from typing import Any

import click

from keras_vaegan.cli import options
from keras_vaegan.cli.options import MODEL, GroupedCommand, option
from keras_vaegan.cli.sample import ARGUMENTS, SOURCE, load_model
from keras_vaegan.errors import InputError
from keras_vaegan.files import atomic_path, holds_files, sweep, user_path
from keras_vaegan.locks import LOCK, FolderLock
from keras_vaegan.runs import CHECKPOINTS, PAGE, SCORES, check_own
from keras_vaegan.runs import MODEL as MODEL_FILE

KINDS = ("flow", "mixture")


class FitPriorCommand(GroupedCommand):
    """`fit-prior`, in which an argument may also be a setting of the prior, from `--set`."""

    def name_of(self, argument: str, context: click.Context) -> str | None:
        given = [setting.partition("=")[0].strip() for setting in context.params.get("settings") or ()]
        return f"--set {argument}" if argument in given else super().name_of(argument, context)


@click.command("fit-prior", cls=FitPriorCommand, arguments=ARGUMENTS | {"x": "--dataset", "folder": "SOURCE"})
@SOURCE
@option("--prior", type=options.Name("--prior", KINDS), default="flow", group=MODEL, help="Fit this prior.")
@option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    group=MODEL,
    help="Change a setting of the prior, as fit_steps=5000.",
)
@options.data_options("the one SOURCE was trained on", "Read images: a name, a folder or an .npz file.")
@options.seed
@option(
    "--output",
    type=options.Output(folder=True),
    default=None,
    show_default="the folder SOURCE",
    help="Write a new or empty folder.",
)
@options.batch_size
@options.backend
def fit_prior(source, prior, settings, seed, output, batch_size, image_size, value_range, **where):
    """Fit a prior to the latent codes of SOURCE: a run folder, a preset or a .keras file.

    A flow (--prior flow) is a network that learns the way from noise to the codes of the training images; a
    mixture of normal distributions (--prior mixture) is fitted to codes that are vectors. Then generate,
    interpolate, evaluate and export have this prior. If a flow is stopped, the same command resumes it.
    """
    folder = _folder(source, output)
    options.load_keras()
    with FolderLock(folder, "SOURCE" if output is None else "--output"):  # no training replaces it meanwhile
        _fit(source, folder, prior, settings, seed, batch_size, image_size, value_range, where)
    options.echo(f"the model is in {folder}; look at {folder / 'samples.png'}")


def _fit(
    source: str,
    folder: pathlib.Path,
    prior: str,
    settings: Sequence[str],
    seed: int,
    batch_size: int,
    image_size: Any,
    value_range: Any,
    where: dict[str, Any],
) -> None:
    """Fit the prior and write the model into a folder that is locked."""
    from keras_vaegan.data.content import change_since_training, describe
    from keras_vaegan.presets.folder import load_keras_file, save_folder
    from keras_vaegan.training import runner

    model, metadata = load_model(source)
    whole = user_path("source", source) / MODEL_FILE
    if whole.is_file():  # with the state of its optimizers
        model = load_keras_file(whole)
    chosen = {"class": prior, **dict(options.key_and_value(text) for text in settings)}
    new = model.new_prior(chosen)  # refused before data are read
    data = options.load_data_for(
        tuple(model.image_shape),
        metadata,
        image_size=image_size,
        value_range=value_range,
        num_classes=model.num_classes,
        **where,
    )
    data = options.as_seen(data, model.image_shape, metadata)
    sweep(folder, all=True)
    console = options.console()
    changed = change_since_training(metadata, where.get("dataset"), image_size, data)
    if changed is not None:
        console.show(f"warning: the data have changed since the training: {changed}", warning=True)
    how: dict[str, Any] = {"seed": seed, "batch_size": batch_size, "verbose": runner.verbosity()}
    count = runner.fit_prior(model, data, folder, console, new, **how)
    facts = {**chosen, "seed": seed, "num_images": count, "dataset": data.source or data.name}
    save_folder(model, folder, metadata | {"prior": {**facts, "data": describe(data)}})
    with atomic_path(folder / MODEL_FILE) as temporary:
        model.save(temporary)
    for name in (SCORES, PAGE):  # those of the prior before
        (folder / name).unlink(missing_ok=True)
    runner.clear_fit(folder)
    runner.draw_images(model, data, folder)


def _folder(source: str, output: pathlib.Path | None) -> pathlib.Path:
    """The folder to write: SOURCE itself, or one that holds nothing but a fit that was stopped."""
    path = user_path("source", source)
    if output is None:
        if not path.is_dir():
            raise InputError(f"--output must be given: {source} is no folder to write the prior into.")
        check_own("source", path)
        return path
    others = output.is_dir() and holds_files(output, LOCK, CHECKPOINTS)  # those of a fit that was stopped
    if others:
        raise InputError(f"--output must be a new or empty folder; received {str(output)!r}.")
    return output
