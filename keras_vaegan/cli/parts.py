"""Many images or codes: a folder of parts that are written as they come; the same command resumes it."""

import dataclasses
import pathlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from keras_vaegan.cli.options import echo
from keras_vaegan.errors import InputError, shown
from keras_vaegan.files import MOST_FACTS, atomic_path, check_links, holds_files, read_json, sweep, write_json
from keras_vaegan.locks import LOCK, FolderLock

if TYPE_CHECKING:
    from keras_vaegan.models.latent import LatentVariableModel

PART = 10_000  # images in a file
FACTS = "generation.json"


@dataclasses.dataclass(frozen=True)
class Form:
    """How the files of a folder of parts are named, and what is in them.

    Attributes:
        facts: name of the JSON file that says what the parts are of.
        stem: of the names of the parts, before their number.
        array: in each part, whose length tells whether the part is whole.
        ending: `.npz`, or `.npy` for a file of each array, named after it.
        packed: whether an archive is compressed.
        or_file: the files that `--output` may be in place of a folder, for errors.
    """

    facts: str = FACTS
    stem: str = "part"
    array: str = "images"
    ending: str = ".npz"
    packed: bool = True
    or_file: str = "a .png or .npz file, or "

    def path(self, folder: pathlib.Path, number: int, array: str | None = None) -> pathlib.Path:
        """The file of a part; with the ending `.npy`, that of one of its arrays."""
        other = array is not None and array != self.array and self.ending == ".npy"
        return folder / f"{array if other else self.stem}-{number:05d}{self.ending}"


GENERATED = Form()
Make = Callable[[int, int, Callable[[int], None]], dict[str, np.ndarray]]


def generate_parts(
    model: "LatentVariableModel",
    folder: pathlib.Path,
    num_images: int,
    labels: list[int] | None,
    seed: int,
    batch_size: int,
    class_names: Sequence[str] | None = None,
) -> None:
    """Write `part-00000.npz`, ... of `PART` images each, those that are not there yet.

    Image i is the one that `generate` makes as its i-th. What the parts are of stands in `generation.json`.

    Raises:
        InputError: the folder holds parts of another model, seed or labels, or other files; or another
            process writes it.
    """
    from keras_vaegan.metrics.features import digest

    def make(start: int, size: int, advance: Callable[[int], None]) -> dict[str, np.ndarray]:
        arrays = {"images": model.generate(size, labels, seed=seed, start=start, batch_size=batch_size)}
        classes = model.labels_in_turn(size, labels, start)
        advance(size)
        return arrays if classes is None else arrays | labels_and_names(classes, class_names)

    facts = {"weights": digest(model), "seed": seed, "labels": labels, "images_in_a_part": PART}
    count = write_parts(folder, GENERATED, facts, num_images, PART, make)
    echo(f"wrote {count} parts, {num_images:,} images, into {folder}")


def write_parts(
    folder: pathlib.Path,
    form: Form,
    facts: dict[str, Any],
    count: int,
    size: int,
    make: Make,
    told: dict[str, Any] | None = None,
) -> int:
    """Write the parts of a folder that are not there yet, and return the number of all.

    Args:
        folder: `--output`.
        form: of its files.
        facts: what the parts are of, as JSON has it; those of the folder must be the same.
        count: images in all parts.
        size: images in a part.
        make: function of the first image of a part and of their number, which gives its arrays; it calls its
            third argument with the number of images whenever some are done.
        told: facts that may differ from those of the folder.

    Raises:
        InputError: the folder holds parts of something else, or other files; or another process writes it.
    """
    from keras_vaegan.data.npz import length_of

    check(folder, facts, form)  # before the lock's file is in a folder of something else
    with FolderLock(folder, "--output"):
        check(folder, facts, form)
        sweep(folder, all=True)
        if not (folder / form.facts).is_file():
            write_json(folder / form.facts, {**facts, **(told or {})})
        with click.progressbar(length=count, label=form.array) as bar:
            for number, start in enumerate(range(0, count, size)):
                here = min(size, count - start)
                path = form.path(folder, number)
                if path.is_file() and length_of(path, form.array) >= here:
                    bar.update(here)
                else:
                    _write_part(folder, form, number, make(start, here, bar.update))
    return -(-count // size)


def _write_part(folder: pathlib.Path, form: Form, number: int, arrays: dict[str, np.ndarray]) -> None:
    """Write one part; of several files that with `form.array` last, as it tells that the part is there."""
    if form.ending == ".npy":
        for name in sorted(arrays, key=lambda name: name == form.array):
            with atomic_path(form.path(folder, number, name)) as temporary:
                np.save(temporary, arrays[name])
        return
    with atomic_path(form.path(folder, number)) as temporary:
        (np.savez_compressed if form.packed else np.savez)(temporary, **arrays)  # type: ignore[arg-type]


def labels_and_names(labels: np.ndarray, class_names: Sequence[str] | None) -> dict[str, np.ndarray]:
    """Arrays that say of which classes images are: positions alone could be taken for those of other data."""
    return {"labels": labels} | ({"class_names": np.array(class_names, str)} if class_names else {})


def check(folder: pathlib.Path, facts: dict[str, Any], form: Form = GENERATED) -> None:
    """Raise unless the folder is new or empty, or what is in it goes on as it began."""
    if (folder / form.facts).is_file():
        parts = (path.name for path in folder.glob(f"*-*{form.ending}"))
        check_links("--output", folder, (form.facts, LOCK, *parts))
        there = read_json(folder / form.facts, "--output", dict, MOST_FACTS)
        other = [name for name in facts if there.get(name) != facts[name]]
        if other:
            raise InputError(
                f"--output must be a new folder, or one of the same {form.array}; in {folder} "
                f"{', '.join(other)} differ: {', '.join(shown(there.get(name)) for name in other)}."
            )
        return
    if folder.exists() and (not folder.is_dir() or holds_files(folder, LOCK)):
        raise InputError(
            f"--output must be {form.or_file}a folder that is new, empty or has {form.facts}; "
            f"received {str(folder)!r}."
        )
