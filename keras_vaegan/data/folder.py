"""Images and labels from a folder of image files."""

import concurrent.futures
import functools
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import keras
import numpy as np

from keras_vaegan.data.images import VARYING_SIZE, fit, read_image, read_size, set_channels
from keras_vaegan.data.names import check_folders, in_order, is_unlabelled, normalize
from keras_vaegan.data.splits import SPLITS, Pair, Splits, places, split_by_place
from keras_vaegan.errors import InputError

EXTENSIONS = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
SPLIT_FOLDERS = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}
PROGRESS_FROM = 2000  # files; fewer are read in a few seconds
NAMES_IN_WARNING = 5

ImageFile: TypeAlias = tuple[Path, str, str | None]  # path, split, class name


def read_folder(
    folder: str | os.PathLike[str], size: tuple[int, int] | None, channels: int | None, seed: int
) -> tuple[Splits, list[str] | None]:
    """Return the splits, images uint8 `(B, H, W, C)`, and class names of a folder; see `load` for its layout.

    Raises `InputError` where no file is an image that can be read, or none of `train` is, where images are
    too few to be split, and where some are loose and others in class folders.
    """
    files = _list_splits(folder)  # of (path, split, class name or None)
    if not files:
        raise InputError(
            f"source must hold images ({', '.join(sorted(EXTENSIONS))}); the folder {folder} has none."
        )
    files = _in_random_order(files, folder, seed)
    paths = [path for path, _, _ in files]
    images, readable = _read_images(paths, size or _common_size(paths), channels)
    files = [file for file, is_readable in zip(files, readable, strict=True) if is_readable]
    if not files:
        raise InputError(f"source must hold images; none of the {len(paths)} files in {folder} can be read.")

    class_names = in_order(name for _, _, name in files if name and not is_unlabelled(name)) or None
    files = _split(files, folder, class_names, seed)
    train, validation, test = (_select(images, files, split, class_names) for split in SPLITS)
    if train is None or validation is None or test is None:
        raise InputError(f"source must hold images to train on; {Path(folder) / 'train'} has none to read.")
    return [train, validation, test], class_names


def read_pictures(
    path: str | os.PathLike[str], image_shape: Sequence[int]
) -> tuple[np.ndarray, list[str] | None, list[str]]:
    """Every picture of a folder, or the one of a file, in the size and channels of `image_shape` `(H, W, C)`.

    Returns:
        `(images uint8 (N, H, W, C), their classes' names, their files' names)`, the files' within the
        folder; no classes without class folders.

    Raises:
        InputError: no picture that can be read, or loose ones beside class folders.
    """
    listed = _list_classes(path) if Path(path).is_dir() else [(Path(path), None)]
    height, width, channels = image_shape
    images, readable = _read_images([file for file, _ in listed], (height, width), channels)
    if not len(images):
        raise InputError(f"images must be pictures ({', '.join(sorted(EXTENSIONS))}); none in {path} is.")
    read = [entry for entry, is_readable in zip(listed, readable, strict=True) if is_readable]
    folder = path if Path(path).is_dir() else Path(path).parent
    files = [file.relative_to(folder).as_posix() for file, _ in read]
    return images, [name for _, name in read if name] or None, files


def _list_splits(folder: str | os.PathLike[str]) -> list[ImageFile]:
    """Return `(path, split, class name or None)` for every image file."""
    subfolders = {entry.name: entry for entry in _visible(folder) if entry.is_dir()}
    splits = {name: SPLIT_FOLDERS[name] for name in subfolders if name in SPLIT_FOLDERS}
    # A lone "train" beside other folders is a class (there are pictures of trains).
    if "train" not in splits or (len(splits) == 1 and len(subfolders) > 1):
        return [(path, "train", name) for path, name in _list_classes(folder)]
    return [
        (path, split, name)
        for subfolder, split in sorted(splits.items())
        for path, name in _list_classes(subfolders[subfolder])
    ]


def _list_classes(folder: str | os.PathLike[str]) -> Sequence[tuple[Path, str | None]]:
    """Return `(path, class name)` by sub-folder, or `(path, None)` in a flat folder."""
    entries = _visible(folder)
    loose = [(entry, None) for entry in entries if _is_image(entry)]
    classes = [(path, entry.name) for entry in entries if entry.is_dir() for path in _walk(entry)]
    if loose and classes:
        raise InputError(
            f"source must hold images either loose or in class folders; {folder} has {len(loose)} loose "
            f"and {len(classes)} in folders."
        )
    return loose or classes


def _walk(folder: Path) -> Iterator[Path]:
    for entry in _visible(folder):
        if entry.is_dir():
            yield from _walk(entry)
        elif _is_image(entry):
            yield entry


def _visible(folder: str | os.PathLike[str]) -> list[Path]:
    return sorted(entry for entry in Path(folder).iterdir() if not entry.name.startswith("."))


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in EXTENSIONS and path.is_file()


def _common_size(paths: Sequence[Path]) -> tuple[int, int]:
    """Return the one `(h, w)` of all images, or `VARYING_SIZE` where they differ."""
    common = None
    for path in paths:
        try:
            size = read_size(path)
        except Exception:  # reported when the file is read
            continue
        if common not in (None, size):
            return VARYING_SIZE
        common = size
    return common or VARYING_SIZE


def _read_images(
    paths: list[Path], size: tuple[int, int], channels: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the readable images, uint8 `(n, H, W, C)`, and which of `paths` they are, bool `(N,)`."""
    images = np.empty((len(paths), *size, channels or 3), np.uint8)
    readable = np.ones(len(paths), bool)
    all_grey = channels is None
    progress = keras.utils.Progbar(len(paths), unit_name="image") if len(paths) > PROGRESS_FROM else None
    read = functools.partial(_try_read, size=size, channels=channels)
    with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
        for i, image in enumerate(pool.map(read, paths)):  # in the order of paths
            if image is None:
                readable[i] = False
            else:
                images[i] = image
                all_grey = all_grey and bool((image == image[..., :1]).all())
            if progress:
                progress.update(i + 1)
    if readable.any():  # else there is an error to come
        _warn_of_unreadable([paths[i] for i in np.flatnonzero(~readable)])
    if all_grey:
        images = images[..., :1]
    return (images if readable.all() else images[readable]), readable


def _try_read(path: Path, size: tuple[int, int], channels: int | None) -> np.ndarray | None:
    try:
        return fit(set_channels(read_image(path), channels), size)
    except Exception:  # what a broken file raises differs from codec to codec
        return None


def _warn_of_unreadable(paths: Sequence[Path]) -> None:
    if paths:
        names = ", ".join(str(path) for path in sorted(paths)[:NAMES_IN_WARNING])
        more = ", ..." if len(paths) > NAMES_IN_WARNING else ""
        warnings.warn(f"{len(paths)} files cannot be read and are skipped: {names}{more}", stacklevel=2)


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
