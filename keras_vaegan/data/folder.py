"""Images and labels from a folder of image files."""

import collections
import concurrent.futures
import dataclasses
import functools
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_vaegan.data.images import NAMES_SHOWN, VARYING_SIZE, require_for
from keras_vaegan.data.listing import EXTENSIONS, ImageFile, list_classes, list_splits
from keras_vaegan.data.names import check_folders, in_order, is_unlabelled, normalize
from keras_vaegan.data.pictures import READERS, read_image, why_unreadable
from keras_vaegan.data.preprocessing import Preprocessing, probe
from keras_vaegan.data.splits import SPLITS, Pair, Splits, places, split_by_place
from keras_vaegan.errors import InputError, one_line

PROGRESS_FROM = 2000  # files; fewer are read in a few seconds
MOST_UNREADABLE = 2  # files that cannot be read to each that can
DEEP_BYTES = 9  # of memory for each number of images that are read as floats, selected and split


def read_folder(
    folder: str | os.PathLike[str],
    preprocessing: Preprocessing,
    seed: int,
    bytes_per_value: int = 3,
    deep: bool = True,
) -> tuple[Splits, list[str] | None, list[str], Preprocessing]:
    """Return the splits, class names, notes and completed preprocessing of a folder; see `load`.

    Images are `(B, H, W, C)`, uint8, or float32 in [0, 1] if files have more than 8 bits.

    Args:
        folder: see `load` for its layout.
        preprocessing: of the images; the files decide what it leaves open.
        seed: of the splits.
        bytes_per_value: memory that is needed for each number of an image of 8 bits.
        deep: whether more than 8 bits are kept.

    Raises `InputError` as `list_splits` and `probe` do, for most files of a class that cannot be read, for
    images of another range than that of their type, or more than fit into memory, or too few to be split.
    """
    listing = list_splits(folder)
    files = listing.files  # of (path, split, class name or None)
    if not files:
        more = f" {listing.notes[-1][0].upper()}{listing.notes[-1][1:]}." if listing.notes else ""
        raise InputError(
            f"source must hold images ({', '.join(sorted(EXTENSIONS))}); "
            f"the folder {one_line(folder)} has none.{more}"
        )
    for text in listing.warnings:
        warnings.warn(text, stacklevel=2)
    files = _in_random_order(files, folder, seed)
    paths = [path for path, _, _ in files]
    facts, preprocessing = probe(paths, preprocessing)
    if not deep:
        preprocessing = dataclasses.replace(preprocessing, deep=False)
    images, reasons = _read_images(paths, preprocessing, bytes_per_value)
    if not len(images):
        _raise_for_none(folder, reasons)
    _tell_unreadable(folder, files, reasons, refuse=True)
    facts.levels.check("source")
    files = [file for file, reason in zip(files, reasons, strict=True) if reason is None]

    class_names = in_order(name for _, _, name in files if name and not is_unlabelled(name)) or None
    files = _split(files, folder, class_names, seed)
    train, validation, test = (_select(images, files, split, class_names) for split in SPLITS)
    if train is None or validation is None or test is None:
        raise InputError(f"source must hold images to train on; {Path(folder) / 'train'} has none to read.")
    return [train, validation, test], class_names, [*listing.notes, *facts.notes], preprocessing


def read_pictures(
    path: str | os.PathLike[str],
    preprocessing: Preprocessing,
    with_classes: bool = True,
) -> tuple[np.ndarray, list[str] | None, list[str]]:
    """Every image of a folder, or the one of a file, in the form of a preprocessing.

    Args:
        path: of the folder or file.
        preprocessing: with the size and channels that the images get.
        with_classes: whether one file in two class folders is an error.

    Returns:
        `(images (N, H, W, C), their classes' names, their files' names)`, the images uint8 or float32, the
        files' names within the folder; no classes without class folders.

    Raises:
        InputError: no image that can be read, or loose ones beside class folders; images with integers
            outside of `value_range`, or more than fit into memory.
    """
    listed: list[ImageFile] = [(Path(path), "images", None)]
    if Path(path).is_dir():
        listing = list_classes(path, with_classes)
        listed = listing.files
        for text in listing.warnings:
            warnings.warn(text, stacklevel=2)
    paths = [file for file, _, _ in listed]
    facts, preprocessing = probe(paths, preprocessing, measure=False)
    images, reasons = _read_images(paths, preprocessing, 5)
    if not len(images):
        _raise_for_none(path, reasons, "images")
    _tell_unreadable(path, listed, reasons, refuse=False)
    facts.levels.check("images", refuse=False)
    read = [file for file, reason in zip(listed, reasons, strict=True) if reason is None]
    folder = path if Path(path).is_dir() else Path(path).parent
    files = [file.relative_to(folder).as_posix() for file, _, _ in read]
    return images, [name for _, _, name in read if name] or None, files


def _raise_for_none(
    path: str | os.PathLike[str],
    reasons: Sequence[str | None],
    argument: str = "source",
    wanted: str = "images",
) -> None:
    """Raise the error for files of which none can be read."""
    counts = collections.Counter(reason for reason in reasons if reason)
    why = "; ".join(
        f"{count} {reason}" if len(reasons) > 1 else reason for reason, count in counts.most_common()
    )
    place = one_line(path)
    if not reasons:
        raise InputError(
            f"{argument} must be {wanted} ({', '.join(sorted(EXTENSIONS))}); none in {place} is."
        )
    if not Path(path).is_dir():
        raise InputError(f"{argument} must be {wanted}; {place} cannot be read: {why}.")
    raise InputError(
        f"{argument} must hold {wanted}; none of the {len(reasons)} files in {place} can be read: {why}."
    )


def _read_images(
    paths: list[Path], preprocessing: Preprocessing, bytes_per_value: int
) -> tuple[np.ndarray, list[str | None]]:
    """Return the readable images `(n, H, W, C)`, and for each of `paths` why it is none, or None."""
    shape = preprocessing.image_shape or (*VARYING_SIZE, preprocessing.channels or 3)  # if none can be read
    require_for((len(paths), *shape), DEEP_BYTES if preprocessing.deep else bytes_per_value, "source")
    images = np.empty((len(paths), *shape), np.float32 if preprocessing.deep else np.uint8)
    reasons: list[str | None] = []
    progress = keras.utils.Progbar(len(paths), unit_name="image") if len(paths) > PROGRESS_FROM else None
    read = functools.partial(_try_read, preprocessing=preprocessing)
    with concurrent.futures.ThreadPoolExecutor(max_workers=READERS) as pool:
        for i, image in enumerate(pool.map(read, paths)):  # in the order of paths
            if isinstance(image, str):
                reasons.append(image)
            else:
                reasons.append(None)
                images[i] = image
            if progress:
                progress.update(i + 1)
    readable = np.array([reason is None for reason in reasons], bool)
    return (images if readable.all() else images[readable]), reasons


def _try_read(path: Path, preprocessing: Preprocessing) -> np.ndarray | str:
    """Return an image, or the reason why it cannot be read."""
    try:
        return read_image(path, preprocessing)
    except (InputError, MemoryError):  # about more than this file
        raise
    except Exception as error:  # what a broken file raises differs from codec to codec
        return why_unreadable(error, path)


def _tell_unreadable(
    folder: str | os.PathLike[str], files: Sequence[ImageFile], reasons: Sequence[str | None], refuse: bool
) -> None:
    """Warn of files that cannot be read; raise if they are most of a class or of a split without classes."""
    unreadable = sorted(
        (os.path.relpath(path, folder), reason)
        for (path, _, _), reason in zip(files, reasons, strict=True)
        if reason is not None
    )
    if not unreadable:
        return
    by_reason: dict[str, list[str]] = {}
    for i, (name, reason) in enumerate(unreadable):
        names = by_reason.setdefault(reason, [])
        names.append(name if i < NAMES_SHOWN or not names else "")  # of each reason one file at least
    told = "; ".join(
        f"{f'{len(names)} ' if len(by_reason) > 1 else ''}{reason} ({_first_names(names)})"
        for reason, names in by_reason.items()
    )
    if refuse:
        of_place = collections.Counter((split, name) for _, split, name in files)
        lost = collections.Counter(
            (split, name) for (_, split, name), reason in zip(files, reasons, strict=True) if reason
        )
        for place, number in lost.items():
            if number > MOST_UNREADABLE * (of_place[place] - number):
                where = one_line(place[0] if place[1] is None else f"class {place[1]} ({place[0]})")
                raise InputError(
                    f"source must hold images that can be read; {number} of the {of_place[place]} files of "
                    f"{where} cannot be. {told}. Convert, mend or remove such files."
                )
    count = len(unreadable)
    files_are = "file cannot be read and is" if count == 1 else "files cannot be read and are"
    warnings.warn(f"{count} {files_are} skipped: {told}", stacklevel=2)


def _first_names(names: Sequence[str]) -> str:
    first = [one_line(name) for name in names if name]
    return ", ".join(first) + (", ..." if len(first) < len(names) else "")


def _in_random_order(
    files: Sequence[ImageFile], folder: str | os.PathLike[str], seed: int
) -> list[ImageFile]:
    """The files in the order of their places, with class names in composed form."""
    for split in {split for _, split, _ in files}:
        names = [name for _, of, name in files if of == split and name is not None]
        check_folders(names, folder)
    place = places((path.relative_to(folder).as_posix() for path, _, _ in files), seed)
    named = [(path, split, name and normalize(name)) for path, split, name in files]
    return [named[i] for i in np.argsort(place, kind="stable")]


def _split(
    files: Sequence[ImageFile], folder: str | os.PathLike[str], class_names: Sequence[str] | None, seed: int
) -> list[ImageFile]:
    """The files with the splits that the folder does not give taken out of those to train on."""
    given = {split for _, split, _ in files}
    missing = [number for number, name in enumerate(SPLITS) if number and name not in given]
    rows = [i for i, (_, split, _) in enumerate(files) if split == "train"]
    if not missing or not rows:
        return list(files)
    chosen = [files[i] for i in rows]
    place = places((path.relative_to(folder).as_posix() for path, _, _ in chosen), seed)
    numbers = split_by_place(place, _labels(chosen, class_names), missing)
    made = list(files)
    for i, number in zip(rows, numbers, strict=True):
        made[i] = (files[i][0], SPLITS[number], files[i][2])
    return made


def _select(images: np.ndarray, files: Sequence[ImageFile], split: str, class_names: Any) -> Pair | None:
    """Return `(x, y)` of a split, or None where it has no files; y is None without class folders."""
    index = [i for i, file in enumerate(files) if file[1] == split]
    if not index:
        return None
    return images[index], _labels([files[i] for i in index], class_names)


def _labels(files: Sequence[ImageFile], class_names: Sequence[str] | None) -> np.ndarray | None:
    """Labels of the files of a split, -1 for those of a folder for images without; None without classes."""
    # A split is either flat or in class folders, so one name tells for all.
    if class_names is None or files[0][2] is None:
        return None
    known = {name: k for k, name in enumerate(class_names)}
    return np.array([known.get(name or "", -1) for _, _, name in files])
