"""Many images: a folder of parts that is written as they come, and gone on with where it stopped."""

import pathlib
import zipfile
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from numpy.lib.format import read_array_header_1_0, read_magic

from keras_vaegan.cli.options import echo
from keras_vaegan.errors import InputError, shown
from keras_vaegan.files import MOST_FACTS, atomic_path, check_links, holds_files, read_json, sweep, write_json
from keras_vaegan.locks import LOCK, FolderLock

if TYPE_CHECKING:
    from keras_vaegan.models.latent import LatentVariableModel

PART = 10_000  # images in a file
FACTS = "generation.json"


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

    facts = {"weights": digest(model), "seed": seed, "labels": labels, "images_in_a_part": PART}
    _check(folder, facts)  # before the lock's file is in a folder of something else
    with FolderLock(folder, "--output"):
        _check(folder, facts)
        sweep(folder, all=True)
        if not (folder / FACTS).is_file():
            write_json(folder / FACTS, facts)
        _write_parts(model, folder, num_images, labels, seed, batch_size, class_names)


def _write_parts(
    model: "LatentVariableModel",
    folder: pathlib.Path,
    num_images: int,
    labels: list[int] | None,
    seed: int,
    batch_size: int,
    class_names: Sequence[str] | None,
) -> None:
    count = -(-num_images // PART)
    with click.progressbar(range(count), label="parts") as parts:
        for part in parts:
            start = part * PART
            size = min(PART, num_images - start)
            path = folder / f"part-{part:05d}.npz"
            if path.is_file() and _size_of(path) >= size:
                continue
            arrays: dict[str, Any] = {
                "images": model.generate(size, labels, seed=seed, start=start, batch_size=batch_size)
            }
            shown = model.labels_in_turn(size, labels, start)
            if shown is not None:
                arrays |= labels_and_names(shown, class_names)
            with atomic_path(path) as temporary:
                np.savez_compressed(temporary, **arrays)
    echo(f"wrote {count} parts, {num_images:,} images, into {folder}")


def labels_and_names(labels: np.ndarray, class_names: Sequence[str] | None) -> dict[str, np.ndarray]:
    """Arrays that say of which classes images are: positions alone could be taken for those of other data."""
    return {"labels": labels} | ({"class_names": np.array(class_names, str)} if class_names else {})


def _check(folder: pathlib.Path, facts: dict[str, Any]) -> None:
    """Raise unless the folder is new or empty, or what is in it goes on as it began."""
    if (folder / FACTS).is_file():
        check_links("--output", folder, (FACTS, LOCK, *(path.name for path in folder.glob("part-*.npz"))))
        there = read_json(folder / FACTS, "--output", dict, MOST_FACTS)
        other = [name for name in facts if there.get(name) != facts[name]]
        if other:
            raise InputError(
                f"--output must be a new folder, or one of the same images; in {folder} "
                f"{', '.join(other)} differ: {', '.join(shown(there.get(name)) for name in other)}."
            )
        return
    if folder.exists() and (not folder.is_dir() or holds_files(folder, LOCK)):
        raise InputError(
            f"--output must be a .png or .npz file, or a folder that is new, empty or has {FACTS}; "
            f"received {str(folder)!r}."
        )


def _size_of(path: pathlib.Path) -> int:
    """How many images a part has, by the head of the array alone; none if it cannot be read."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open("images.npy") as stream:
            read_magic(stream)
            return int(read_array_header_1_0(stream)[0][0])
    except Exception:  # however it is damaged, it is made again
        return 0
