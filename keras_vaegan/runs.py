"""The layout of a run folder: names of its files, reading them, and clearing up.

Nothing here imports a backend.
"""

import contextlib
import dataclasses
import functools
import math
import os
import pathlib
import shlex
import shutil
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from keras_vaegan.diagnosis import LARGEST_EPOCH, Finding, History, diagnose, merged
from keras_vaegan.errors import InputError, whole_number
from keras_vaegan.files import (
    MOST_FACTS,
    NEXT,
    check_links,
    member,
    read_json,
    read_table,
    reading,
    settle,
    sweep,
    user_path,
    write_json,
)
from keras_vaegan.kinds import LARGEST_SIDE, Kind, check_facts, check_kind
from keras_vaegan.locks import LOCK

CONFIG, WEIGHTS, METADATA = "config.json", "model.weights.h5", "metadata.json"
MODEL, HISTORY, FINDINGS = "model.keras", "history.csv", "findings.json"
SCORES, PAGE = "evaluate.json", "report.html"
BEGUN = "begun.json"  # what a run begins with, until it has metadata
CHECKPOINTS, SAMPLES = "checkpoints", "samples"
PRIOR = "prior"  # in the checkpoints: that of a flow
PICTURES = (
    "samples",
    "reconstructions",
    "completions",
    "styles",
    "interpolation",
    "curves",
    "latent_means",
    "latent_grid",
)
RUN_FILES = (
    CONFIG,
    WEIGHTS,
    METADATA,
    BEGUN,
    MODEL,
    HISTORY,
    FINDINGS,
    SCORES,
    PAGE,
    *(f"{name}.png" for name in PICTURES),
)
TENSORBOARD = "tensorboard"  # logs of Keras' callback, if they were asked for
RUN_FOLDERS = (CHECKPOINTS, SAMPLES, TENSORBOARD)
OF_RUNS = {"model", "dataset", "recipe"}  # what the metadata of a run have, beside what a preset's have
MOST_FINDINGS = 1000  # in a file; there is at most one of a kind
LONGEST_MESSAGE = 2000  # characters of a finding in a file
FIELDS = {field.name: field.type for field in dataclasses.fields(Finding)}


def check_own(argument: str, folder: str | os.PathLike[str]) -> None:
    """Raise `InputError`, which names the link, if what a run writes or reads lies outside of its folder.

    The folder itself may be a link, and may be missing.
    """
    check_links(argument, folder, (*RUN_FILES, LOCK), (*RUN_FOLDERS, NEXT))


def is_run(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder's metadata are those that a training wrote."""
    try:
        metadata = read_json(member(folder, METADATA), kind=dict, most=MOST_FACTS)
    except InputError:
        return False
    return OF_RUNS <= set(metadata)


def is_unfinished(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder is that of a training which still runs, or was stopped before its end."""
    folder = pathlib.Path(folder)
    if (folder / BEGUN).is_file():
        return True
    saved = any(member(folder, name).is_file() for name in (CONFIG, WEIGHTS))
    return not saved and is_run(folder) and not read_json(member(folder, METADATA)).get("finished")


def clear_run(folder: pathlib.Path) -> None:
    """Delete what a training makes, except its metadata, and nothing else that may lie in its folder.

    The metadata mark the folder as a run, which a command that is killed here can be repeated on. What a run
    begins with stays, too, so that such a run can be resumed.
    """
    settle(folder)
    for name in RUN_FILES:  # the configuration first: without it there is no model to load
        if name not in (METADATA, BEGUN):
            (folder / name).unlink(missing_ok=True)
    for name in RUN_FOLDERS:
        shutil.rmtree(folder / name, ignore_errors=True)


def tidy_run(folder: pathlib.Path) -> None:
    """Finish and delete what a killed training left half done; the caller holds the folder's lock."""
    settle(folder)
    sweep(folder, tuple(name for name in RUN_FILES if name not in (SCORES, PAGE)), all=True)  # others' files
    sweep(folder)
    for name in RUN_FOLDERS:
        sweep(folder / name, all=True)


# ---- what a run goes on with ----

PRECISION, BACKEND = Literal["none", "bfloat16", "float16"], Literal["tensorflow", "jax", "torch"]
# What `metadata.json` must have for a run to go on; other facts may be missing.
TO_GO_ON: dict[str, Kind] = {
    "model": str,
    "dataset": str,
    "image_shape": tuple[int, int, int],
    "seed": int,
    "backend": BACKEND,
    "mixed_precision": PRECISION,
    "recipe": dict,
}
# What `begun.json` has.
TO_BEGIN: dict[str, Kind] = {
    "model": str,
    "dataset": str,
    "image_size": tuple[int, int] | None,
    "preprocessing": dict,
    "num_labels": int | None,
    "seed": int,
    "backend": BACKEND,
    "mixed_precision": PRECISION,
    "distribute": str,
    "augment": str | None,
    "checkpoint_every": int | None,
    "recipe": dict,
    "choice": dict | None,
}


def check_resumable(folder: pathlib.Path) -> str:
    """Raise `InputError`, in one line, unless a run can go on from what is in its folder.

    Returns:
        The name of the backend that the run needs.
    """
    begun = (folder / BEGUN).is_file()
    path = folder / BEGUN if begun else member(folder, METADATA)
    if not path.is_file():
        raise InputError(
            f"folder must be a run folder; {folder} has no {METADATA}. If its training was killed before "
            "its first step, repeat the command that began it."
        )
    check_own("folder", folder)
    facts = read_json(path, "folder", most=MOST_FACTS)
    if not isinstance(facts, dict) or not {"backend", "recipe", "seed", "dataset"} <= set(facts):
        raise InputError(f"folder must be a folder that `train` made; {folder} is not.")
    name = folder / path.name
    for fact, kind in (TO_BEGIN if begun else TO_GO_ON).items():
        check_kind(f"folder {name}: {fact}", facts.get(fact), kind)
    whole_number(f"folder {name}: seed", facts["seed"], 0)
    for side in facts["image_size"] or () if begun else facts["image_shape"]:
        if not 0 < side <= LARGEST_SIDE:
            raise InputError(
                f"folder {name}: {'image_size' if begun else 'image_shape'} must have sides of 1 to "
                f"{LARGEST_SIDE}; received {side}.",
                argument="folder",
            )
    return str(facts["backend"])


def read_begun(folder: pathlib.Path) -> dict[str, Any] | None:
    """What a run begins with; None if it has begun, and has metadata."""
    path = folder / BEGUN
    return read_json(path, "folder", dict, MOST_FACTS) if path.is_file() else None


# ---- a run, read ----


@dataclasses.dataclass(frozen=True)
class Run:
    """What a run folder holds, read.

    Attributes:
        folder: as it was given.
        metadata: of `metadata.json`.
        history: `{log name: [value of each epoch]}`, NaN if an epoch has none; may be empty.
        scores: of `evaluate.json`; None if there is none.
        findings: plain sentences on the training.
    """

    folder: pathlib.Path
    metadata: dict[str, Any]
    history: dict[str, list[float]]
    scores: dict[str, Any] | None
    findings: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The last part of the folder's path."""
        return self.folder.resolve().name

    @functools.cached_property
    def epochs(self) -> list[float]:
        """Number of each epoch in the history; they are counted if it has no right numbers."""
        count = max(map(len, self.history.values()), default=0)
        told = self.history.get("epoch") or []
        if told and all(abs(number) < LARGEST_EPOCH for number in told) and sorted(set(told)) == told:
            return told
        return [float(i + 1) for i in range(count)]

    def command(self, verb: str, output: str | None = None) -> str:
        """The command line that makes something of this run."""
        words = ["keras-vaegan", verb, str(self.folder)]
        words += ["--output", str(self.folder / output)] if output else []
        return shlex.join(words)


def read_run(run_folder: str | os.PathLike[str], findings: Sequence[str] = ()) -> Run:
    """Read what a training, and perhaps an evaluation, left in a folder.

    Args:
        run_folder: a folder that a training made.
        findings: plain sentences on the training, for `Run.findings`.

    Raises:
        InputError: the folder is not that of a training, or a file in it is damaged.
    """
    folder = user_path("run_folder", run_folder)
    path = member(folder, METADATA)
    if not path.is_file():
        what = f"has no {METADATA}" if folder.is_dir() else "is not a folder of this machine"
        raise InputError(f"run_folder must be the folder of a training; {folder} {what}.")
    check_own("run_folder", folder)
    metadata = _read_facts(path)
    with reading_part(path):
        check_facts(metadata, f"{folder / METADATA}:")
    if not OF_RUNS <= set(metadata):
        raise InputError(f"run_folder must be the folder of a training; {folder / METADATA} is of none.")
    scores = _read_facts(folder / SCORES) if (folder / SCORES).is_file() else None
    return Run(folder, metadata, read_columns(folder / HISTORY), scores, tuple(findings))


def _read_facts(path: pathlib.Path) -> dict[str, Any]:
    with reading_part(path):
        return read_json(path, kind=dict, most=MOST_FACTS)


@contextlib.contextmanager
def reading_part(path: pathlib.Path) -> Iterator[None]:
    """`files.reading`, which names the run's folder as the argument."""
    try:
        with reading(path):
            yield
    except InputError as error:
        if error.argument == "run_folder":
            raise
        raise InputError(f"run_folder must hold a readable {path.name}; {error}") from error


# ---- the history ----


def read_columns(path: pathlib.Path) -> dict[str, list[float]]:
    """`{log name: [value of each epoch]}` of a `history.csv`, NaN if an epoch has none; `{}` without a file.

    Raises `InputError`, in one line, if the file is damaged.
    """
    if not path.is_file():
        return {}
    with reading_part(path):
        names, rows = _read_history(path)
        columns = zip(*rows, strict=True)
        return {
            name: [float(cell) if cell else math.nan for cell in column]
            for name, column in zip(names, columns, strict=False)
        }


def read_rows(path: str | os.PathLike[str], done: int) -> list[dict[str, float]]:
    """Rows of a `history.csv` by log name, of the first `done` epochs; none if there is no file.

    Raises `InputError`, in one line, if the file is damaged.
    """
    if not done or not pathlib.Path(path).is_file():
        return []
    names, rows = _read_history(path)
    with reading(path):
        filled = [{k: v for k, v in zip(names, row, strict=True) if v} for row in rows]
        return [
            {name: int(value) if name == "epoch" else float(value) for name, value in row.items()}
            for row in filled
            if int(row["epoch"]) <= done
        ]


def _read_history(path: str | os.PathLike[str]) -> tuple[list[str], list[list[str]]]:
    """Names of the logs and rows of a `history.csv`; `csv_cell` put an apostrophe before some names."""
    names, rows = read_table(path)
    return [name.removeprefix("'") for name in names], rows


# ---- findings ----


def write_findings(path: str | os.PathLike[str], findings: Sequence[Finding]) -> None:
    """Write findings as JSON; without any, no file is left at `path`."""
    if findings:
        write_json(path, [dataclasses.asdict(finding) for finding in findings])
    else:
        pathlib.Path(path).unlink(missing_ok=True)


def read_findings(path: str | os.PathLike[str]) -> list[Finding]:
    """What `write_findings` wrote at `path`; none if there is no file.

    Raises `InputError`, in one line, if the file is damaged or its entries are no findings.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        return []
    entries = read_json(path, kind=list, most=MOST_FACTS)
    with reading(path):
        if len(entries) > MOST_FINDINGS:
            raise ValueError(f"it has {len(entries):,} entries, more than {MOST_FINDINGS}")
        for number, entry in enumerate(entries, 1):
            if not isinstance(entry, dict) or entry.keys() != FIELDS.keys():
                raise ValueError(f"entry {number} must have {', '.join(FIELDS)}")
            for name, kind in FIELDS.items():
                check_kind(f"{path}: {name}", entry[name], kind)
            if len(entry["message"]) > LONGEST_MESSAGE:
                raise ValueError(f"the message of entry {number} is longer than {LONGEST_MESSAGE} characters")
        return [Finding(**entry) for entry in entries]


def diagnose_run(folder: str | os.PathLike[str], history: History, patience: int = 3) -> list[Finding]:
    """`diagnosis.diagnose`, with the tensor that first went bad if the training noted it.

    Args:
        folder: of the run, which may hold `findings.json`.
        history, patience: as for `diagnose`.
    """
    noted = [found for found in read_findings(pathlib.Path(folder, FINDINGS)) if found.kind == "not_finite"]
    return merged(noted, diagnose(history, patience))
