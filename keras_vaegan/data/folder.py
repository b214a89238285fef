"""Images and labels from a folder of image files."""

import collections
import dataclasses
import math
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from keras_vaegan.data.cache import Kept, chosen, find, keep, key_of
from keras_vaegan.data.folder_images import FolderImages
from keras_vaegan.data.images import NAMES_SHOWN, VARYING_SIZE, Levels, require_for
from keras_vaegan.data.listing import EXTENSIONS, ImageFile, list_classes, list_splits
from keras_vaegan.data.names import check_folders, in_order, is_unlabelled, normalize
from keras_vaegan.data.pictures import Header, read_image, why_unreadable
from keras_vaegan.data.preprocessing import Preprocessing, probe
from keras_vaegan.data.splits import SPLITS, Pair, Splits, places, split_by_place
from keras_vaegan.data.survey import Survey, in_threads, survey
from keras_vaegan.data.views import some_of
from keras_vaegan.errors import InputError, one_line

MOST_UNREADABLE = 2  # files that cannot be read to each that can
DEEP_BYTES = 9  # of memory for each number of images that are read as floats, selected and split


class FolderSource(NamedTuple):
    """What a folder holds.

    Attributes:
        splits: pairs `(x, y)` of `SPLITS`; x is an array or `StoredImages`.
        class_names: of the labels, or None.
        notes: for people.
        preprocessing: completed by what the files are.
        content: text that changes if the files or the preprocessing do.
    """

    splits: Splits
    class_names: list[str] | None
    notes: list[str]
    preprocessing: Preprocessing
    content: str


def read_folder(
    folder: str | os.PathLike[str],
    preprocessing: Preprocessing,
    seed: int,
    bytes_per_value: int = 3,
    deep: bool = True,
    cache: str | None = "memory",
) -> FolderSource:
    """Return the images of a folder, in memory or to be decoded when they are used; see `load`.

    Images are `(B, H, W, C)`, uint8, or float32 in [0, 1] if files have more than 8 bits.

    Args:
        folder: see `load` for its layout.
        preprocessing: of the images; the files decide what it leaves open.
        seed: of the splits.
        bytes_per_value: memory that is needed for each number of an image of 8 bits.
        deep: whether more than 8 bits are kept.
        cache: where decoded images are, as for `load`.

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
    files, place = _in_random_order(files, folder, seed)
    found = _decoded(folder, [path for path, _, _ in files], preprocessing, bytes_per_value, deep, cache)
    if not len(found.images):
        _raise_for_none(folder, found.reasons)
    _tell_unreadable(folder, files, found.reasons, refuse=True)
    found.levels.check("source")
    files = [file for file, reason in zip(files, found.reasons, strict=True) if reason is None]
    place = place[[reason is None for reason in found.reasons]]

    class_names = in_order(name for _, _, name in files if name and not is_unlabelled(name)) or None
    files = _split(files, place, class_names)
    train, validation, test = (_select(found.images, files, split, class_names) for split in SPLITS)
    if train is None or validation is None or test is None:
        raise InputError(f"source must hold images to train on; {Path(folder) / 'train'} has none to read.")
    return FolderSource(
        [train, validation, test],
        class_names,
        [*listing.notes, *found.notes],
        found.preprocessing,
        key_of(found.content, found.preprocessing.get_config()),
    )


class _Decoded(NamedTuple):
    """The images of files, whether they are decoded or will be.

    Attributes:
        images: `(n, H, W, C)` of those that can be read.
        reasons: for each file why it cannot be read, or None.
        preprocessing, notes, levels: what the files are.
        content: text that changes if the files do.
    """

    images: Any
    reasons: list[str | None]
    preprocessing: Preprocessing
    notes: list[str]
    levels: Levels
    content: str


def _decoded(
    folder: str | os.PathLike[str],
    paths: list[Path],
    preprocessing: Preprocessing,
    bytes_per_value: int,
    deep: bool,
    cache: str | None,
    measure: bool = True,
) -> _Decoded:
    names = names_of(paths, folder)
    place, key = Path(folder).resolve().name, ""
    if cache == "disk":
        stamps = [(name, _stamp(path)) for name, path in zip(names, paths, strict=True)]
        key = key_of(sorted(stamps), preprocessing.get_config(), deep)
        kept = find(place, key)
        if kept is not None:
            return _of_cache(kept, names)
    looked = survey(paths, names)
    facts, preprocessing = probe(paths, preprocessing, measure, looked.headers)
    if not deep:
        preprocessing = dataclasses.replace(preprocessing, deep=False)
    of_files: dict[str, Any] = {
        "preprocessing": preprocessing,
        "notes": facts.notes,
        "levels": facts.levels,
        "content": looked.content,
    }
    shape = (len(paths), *_shape_of(preprocessing))
    per_value = DEEP_BYTES if preprocessing.deep else bytes_per_value
    if cache == "disk":
        kept = _keep(place, key, paths, names, shape, _Decoded([], [], **of_files))
        if kept is not None:
            return _of_cache(kept, names)
        cache = "none"
    if chosen(cache, math.prod(shape) * per_value) == "memory":
        require_for(shape, per_value, "source")
        images, reasons = _read_images(paths, preprocessing)
        return _Decoded(images, reasons, **of_files)
    reasons = _unreadable(paths, looked, preprocessing)
    readable = [name for name, reason in zip(names, reasons, strict=True) if reason is None]
    lazy = FolderImages(folder, readable, preprocessing, looked.content)
    return _Decoded(lazy, reasons, **of_files)


def _stamp(path: Path) -> list[int]:
    """The size of a file and the time of its last change."""
    try:
        status = os.stat(path)
    except OSError:  # reported when the file is read
        return [-1, -1]
    return [status.st_size, status.st_mtime_ns]


def _shape_of(preprocessing: Preprocessing) -> tuple[int, int, int]:
    """`(H, W, C)` of the images; any if no file can be read."""
    return preprocessing.image_shape or (*VARYING_SIZE, preprocessing.channels or 3)


def _unreadable(paths: list[Path], looked: Survey, preprocessing: Preprocessing) -> list[str | None]:
    """For each file why it cannot be read, or None; those of which a look does not tell are decoded."""
    reasons: list[str | None] = [None] * len(paths)
    tried = [i for i in range(len(paths)) if looked.headers[i] is None]
    tried += sorted({*looked.doubtful, *_other_kinds(looked.headers, preprocessing)})
    found = in_threads(lambda k: _try_read(paths[tried[k]], preprocessing), len(tried), "image")
    for i, image in zip(tried, found, strict=True):
        reasons[i] = image if isinstance(image, str) else None
    return reasons


def _other_kinds(headers: Sequence[Header | None], preprocessing: Preprocessing) -> list[int]:
    """Positions of files whose values or channels may be none that the preprocessing takes."""
    wanted = preprocessing.channels
    known = {1, 3} if wanted in (1, 3, 4) else {wanted}
    return [
        i
        for i, header in enumerate(headers)
        if header is not None and (header.bits not in (8, 16) or header.channels not in {*known, wanted})
    ]


def _keep(
    place: str,
    key: str,
    paths: list[Path],
    names: Sequence[str],
    shape: Sequence[int],
    of_files: _Decoded,
) -> Kept | None:
    """Decode files into the cache on disk, in the order of their names."""
    preprocessing, reasons = of_files.preprocessing, {}
    order = sorted(range(len(names)), key=names.__getitem__)
    blank = np.zeros(shape[1:], np.float32 if preprocessing.deep else np.uint8)

    def images() -> Iterator[np.ndarray]:
        read = in_threads(lambda k: _try_read(paths[order[k]], preprocessing), len(order), "image")
        for i, image in zip(order, read, strict=True):
            if isinstance(image, str):
                reasons[names[i]] = image
            yield blank if isinstance(image, str) else image

    def facts() -> dict[str, Any]:
        return {
            "preprocessing": preprocessing.get_config(),
            "notes": of_files.notes,
            "content": of_files.content,
            "unreadable": reasons,
            "largest": {str(bits): value for bits, value in of_files.levels.largest.items()},
            "cut": [os.fspath(path) for path in of_files.levels.cut],
        }

    return keep(place, key, shape, blank.dtype, images(), facts)


def _of_cache(kept: Kept, names: Sequence[str]) -> _Decoded:
    """The images of the cache in the order of the names."""
    facts, levels = kept.facts, Levels()
    levels.largest = {int(bits): value for bits, value in facts["largest"].items()}
    levels.cut = list(facts["cut"])
    rows = np.empty(len(names), np.int64)
    rows[sorted(range(len(names)), key=names.__getitem__)] = np.arange(len(names))
    reasons = [facts["unreadable"].get(name) for name in names]
    readable = np.array([reason is None for reason in reasons], bool)
    preprocessing = Preprocessing.from_config(facts["preprocessing"])
    images = kept.images.subset(rows[readable])
    return _Decoded(images, reasons, preprocessing, facts["notes"], levels, facts["content"])


def read_pictures(
    path: str | os.PathLike[str],
    preprocessing: Preprocessing,
    with_classes: bool = True,
    stored: bool = False,
) -> tuple[Any, list[str] | None, list[str]]:
    """Every image of a folder, or the one of a file, in the form of a preprocessing.

    Args:
        path: of the folder or file.
        preprocessing: with the size and channels that the images get.
        with_classes: whether one file in two class folders is an error.
        stored: whether the images stay in their files, and are decoded when they are indexed.

    Returns:
        `(images (N, H, W, C), their classes' names, their files' names)`, the images uint8 or float32, an
        array or `StoredImages`, the files' names within the folder; no classes without class folders.

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
    folder = path if Path(path).is_dir() else Path(path).parent
    images: Any
    if stored:
        found = _decoded(folder, paths, preprocessing, 0, True, "none", measure=False)
        images, reasons, levels = found.images, found.reasons, found.levels
    else:
        facts, preprocessing = probe(paths, preprocessing, measure=False)
        shape = (len(paths), *_shape_of(preprocessing))
        require_for(shape, DEEP_BYTES if preprocessing.deep else 5, "source")
        images, reasons = _read_images(paths, preprocessing)
        levels = facts.levels
    if not len(images):
        _raise_for_none(path, reasons, "images")
    _tell_unreadable(path, listed, reasons, refuse=False)
    levels.check("images", refuse=False)
    read = [file for file, reason in zip(listed, reasons, strict=True) if reason is None]
    files = [file.relative_to(folder).as_posix() for file, _, _ in read]
    return images, [name for _, _, name in read if name] or None, files


def _raise_for_none(
    path: str | os.PathLike[str],
    reasons: Sequence[str | None],
    argument: str = "source",
) -> None:
    """Raise the error for files of which none can be read."""
    counts = collections.Counter(reason for reason in reasons if reason)
    why = "; ".join(f"{count} {reason}" for reason, count in counts.most_common())
    if len(counts) == 1:  # the same of all files
        (why,) = counts
        why = f"each {why}" if why.startswith("has ") and len(reasons) > 1 else why
    place = one_line(path)
    if not reasons:
        raise InputError(
            f"{argument} must be image files ({', '.join(sorted(EXTENSIONS))}); none in {place} is."
        )
    if not Path(path).is_dir():
        raise InputError(f"{argument} must be image files; {place} cannot be read: {why}.")
    raise InputError(
        f"{argument} must hold images; none of the {len(reasons)} files in {place} can be read: {why}."
    )


def _read_images(paths: list[Path], preprocessing: Preprocessing) -> tuple[np.ndarray, list[str | None]]:
    """Return the readable images `(n, H, W, C)`, and for each of `paths` why it is none, or None."""
    shape = (len(paths), *_shape_of(preprocessing))
    images = np.empty(shape, np.float32 if preprocessing.deep else np.uint8)
    reasons: list[str | None] = []
    for i, image in enumerate(in_threads(lambda i: _try_read(paths[i], preprocessing), len(paths), "image")):
        reasons.append(image if isinstance(image, str) else None)
        if not isinstance(image, str):
            images[i] = image
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


def names_of(paths: Iterable[Path], folder: str | os.PathLike[str]) -> list[str]:
    """Return the names of files within a folder, with slashes; of many faster than `Path.relative_to`."""
    start = os.path.join(Path(folder), "")
    names = []
    for path in paths:
        text = os.fspath(path)
        inside = text[len(start) :] if text.startswith(start) else os.fspath(path.relative_to(folder))
        names.append(inside if os.sep == "/" else inside.replace(os.sep, "/"))
    return names


def _in_random_order(
    files: Sequence[ImageFile], folder: str | os.PathLike[str], seed: int
) -> tuple[list[ImageFile], np.ndarray]:
    """The files in the order of their places, with class names in composed form, and the places."""
    for split in {split for _, split, _ in files}:
        names = [name for _, of, name in files if of == split and name is not None]
        check_folders(names, folder)
    place = places(names_of((path for path, _, _ in files), folder), seed)
    named = [(path, split, name and normalize(name)) for path, split, name in files]
    order = np.argsort(place, kind="stable")
    return [named[i] for i in order], place[order]


def _split(
    files: Sequence[ImageFile], place: np.ndarray, class_names: Sequence[str] | None
) -> list[ImageFile]:
    """The files with the splits that the folder does not give taken out of those to train on.

    Args:
        files: in the order of their places.
        place: of each, as of `places`.
        class_names: of the labels.
    """
    given = {split for _, split, _ in files}
    missing = [number for number, name in enumerate(SPLITS) if number and name not in given]
    rows = [i for i, (_, split, _) in enumerate(files) if split == "train"]
    if not missing or not rows:
        return list(files)
    chosen = [files[i] for i in rows]
    numbers = split_by_place(place[rows], _labels(chosen, class_names), missing)
    made = list(files)
    for i, number in zip(rows, numbers, strict=True):
        made[i] = (files[i][0], SPLITS[number], files[i][2])
    return made


def _select(images: Any, files: Sequence[ImageFile], split: str, class_names: Any) -> Pair | None:
    """Return `(x, y)` of a split, or None where it has no files; y is None without class folders."""
    index = [i for i, file in enumerate(files) if file[1] == split]
    if not index:
        return None
    return some_of(images, index), _labels([files[i] for i in index], class_names)


def _labels(files: Sequence[ImageFile], class_names: Sequence[str] | None) -> np.ndarray | None:
    """Labels of the files of a split, -1 for those of a folder for images without; None without classes."""
    # A split is either flat or in class folders, so one name tells for all.
    if class_names is None or files[0][2] is None:
        return None
    known = {name: k for k, name in enumerate(class_names)}
    return np.array([known.get(name or "", -1) for _, _, name in files])
