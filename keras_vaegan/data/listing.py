"""Files of an image folder: their splits and classes, and what is left out."""

import collections
import dataclasses
import os
import re
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeAlias

from keras_vaegan.data.images import NAMES_SHOWN
from keras_vaegan.data.names import is_unlabelled
from keras_vaegan.data.pictures import is_image, is_other_array
from keras_vaegan.errors import InputError, one_line
from keras_vaegan.runs import is_run

EXTENSIONS = {".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".npy"}
# Endings of images as well. Reading them may fail, and then says why; without them nobody would be told.
OTHER_EXTENSIONS = set(
    ".avif .heic .heif .hif .jxl .jp2 .j2k .jpf .jpx .jpe .jif .dib .ppm .pgm .pbm .pnm .qoi .tga .psd .exr "
    ".hdr .dng .nef .nrw .cr2 .cr3 .arw .sr2 .orf .rw2 .pef .raf .srw .3fr .x3f .dcm .dicom .svs .ndpi "
    ".czi .nd2 .lif .nii .mha .fits".split()
)
SPLIT_NAMES = {
    "train": ("train", "training", "trn"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "tst"),
    "eval": ("eval", "evaluation"),  # of the two held-out splits the one that is not there otherwise
}
SYSTEM_FOLDERS = {
    "__macosx",
    "__pycache__",
    "@eadir",
    "@recycle",
    "@recently-snapshot",
    "#recycle",
    "#snapshot",
    "$recycle.bin",
    "recycler",
    "lost+found",
    "system volume information",
}
DEEPEST = 100  # folders in folders
CLASSES_SHOWN = 10

ImageFile: TypeAlias = tuple[Path, str, str | None]  # path, split, class name
Identity: TypeAlias = tuple[int | str, ...]  # of a file or folder, whatever path leads to it


@dataclasses.dataclass
class Listing:
    """Image files of a folder, and what there is to say about them.

    Attributes:
        files: `(path, split, class name or None)` of each.
        notes: what was taken for what, and what was ignored, for people.
        warnings: what a user may not have meant.
    """

    files: list[ImageFile]
    notes: list[str]
    warnings: list[str]


def list_splits(folder: str | os.PathLike[str]) -> Listing:
    """List the image files of a folder by split and class; see `load` for the layout.

    Raises `InputError` for two folders of one split, a file or folder in two classes or splits, splits inside
    of classes, a run folder, loose images beside class folders, and a folder that cannot be opened.
    """
    look = _Look(folder)
    _, folders = look.scan(look.root)
    found = {path: split for path in folders if (split := _split_of(path.name)) is not None}
    _settle_eval(found)
    others = [path for path in folders if path not in found]
    trained = "train" in found.values()
    # A lone "train" beside other folders of images is a class (there are pictures of trains).
    classes_beside = trained and len(found) == 1 and any(map(look.holds_images, others))
    if not trained or classes_beside:
        return _list_without_splits(look, classes_beside)
    return _list_with_splits(look, found, others)


def list_classes(folder: str | os.PathLike[str], with_classes: bool = True) -> Listing:
    """List the image files of a folder by class, all in the split `train`; see `list_splits`.

    Args:
        folder: its sub-folders are the classes.
        with_classes: whether a file in two classes is an error; else it counts once.
    """
    look = _Look(folder, with_classes)
    look.add_split(look.root, "train")
    return look.listing([])


class _Look:
    """A look through one folder. Each file and folder counts once, however many links lead to it."""

    def __init__(self, folder: str | os.PathLike[str], with_classes: bool = True) -> None:
        self.root = Path(folder)
        self.with_classes = with_classes
        self.files: dict[Identity, ImageFile] = {}
        self.entered: dict[Identity, tuple[Path, str, str | None]] = {}
        self.left_out: dict[str, list[str]] = collections.defaultdict(list)  # reason: names; a warning each
        self.ignored: dict[str, list[str]] = collections.defaultdict(list)  # the same, for the notes
        self.kinds: collections.Counter[str] = collections.Counter()  # endings of files that are no images
        self.warnings: list[str] = []
        self.flat: dict[str, bool] = {}  # by split: whether its images are loose
        resolved = self.root.resolve()
        self.roots = {_identity(path) for path in (resolved, *resolved.parents)}
        self.above = self.roots  # folders to which a link leads back up
        if is_run(self.root):
            raise InputError(f"source must be a folder of images; {self.name(self.root)} is a run folder.")

    def name(self, path: Path) -> str:
        """A path within the folder, for people."""
        return one_line(path if path == self.root else path.relative_to(self.root))

    def scan(self, folder: Path, quiet: bool = False) -> tuple[list[tuple[Path, os.stat_result]], list[Path]]:
        """Return the regular files of a folder and its folders, both by name; hidden ones are left out."""
        try:
            with os.scandir(folder) as entries:
                names = sorted(entry.name for entry in entries)
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise InputError(
                f"source must have folders that can be opened; {one_line(folder)}: {why}."
            ) from error
        files, folders = [], []
        for path in (folder / name for name in names if not name.startswith(".")):
            reason: str | None = None
            try:
                found = os.stat(path)
            except OSError:
                reason = "links that lead nowhere" if path.is_symlink() else "files that cannot be opened"
            else:
                if stat.S_ISDIR(found.st_mode):
                    if path.name.casefold() in SYSTEM_FOLDERS:
                        reason = "folders of the system"
                    elif is_run(path):
                        reason = "folders of a run"
                    else:
                        folders.append(path)
                elif stat.S_ISREG(found.st_mode):
                    files.append((path, found))
                else:
                    reason = "no files (pipes, sockets, devices)"
            if reason is not None and not quiet:
                harmless = reason.startswith("folders of")
                (self.ignored if harmless else self.left_out)[reason].append(self.name(path))
        return files, folders

    def holds_images(self, folder: Path) -> bool:
        """Whether there is an image file anywhere in a folder."""
        return any(True for _ in self._images_in(folder, set()))

    def _images_in(self, folder: Path, entered: set[Identity]) -> Iterable[Identity]:
        """Identities of the image files in a folder that is not listed."""
        pending = [folder]
        while pending:
            folder = pending.pop()
            identity = _identity(folder)
            if identity in entered or identity in self.roots:
                continue
            entered.add(identity)
            files, folders = self.scan(folder, quiet=True)
            yield from (_identity(path, found) for path, found in files if _kind(path, found) != "other")
            pending += folders

    def add_split(self, folder: Path, split: str) -> None:
        """Add the images of a split: loose ones, or those of its class folders."""
        self.above = self.roots | {_identity(folder)}
        files, folders = self.scan(folder)
        loose = [(path, found) for path, found in files if _kind(path, found) == "image"]
        before = len(self.files)
        for path in folders:
            held = len(self.files)
            self._add_class(path, split, path.name)
            if len(self.files) == held and not self._is_listed(path):
                self.ignored["folders without images"].append(self.name(path))
        in_classes = len(self.files) - before
        if loose and in_classes:
            raise InputError(
                f"source must hold images either loose or in class folders; {one_line(folder)} has "
                f"{len(loose)} loose, as {one_line(loose[0][0].name)}, and {in_classes} in folders."
            )
        self._add_files(files, split, None, odd_kinds=not in_classes)
        if len(self.files) > before:
            self.flat[split] = not in_classes

    def _is_listed(self, folder: Path) -> bool:
        """Whether what a folder holds counts elsewhere."""
        return any(identity in self.files for identity in self._images_in(folder, set()))

    def _add_class(self, folder: Path, split: str, name: str, depth: int = 0) -> None:
        identity = _identity(folder)
        if identity in self.above:
            self.left_out["links to a folder that they are in"].append(self.name(folder))
            return
        if identity in self.entered:
            first, *place = self.entered[identity]
            self._check_place(folder, split, name, first, *place, what="folder")
            self.left_out["links to folders that count already"].append(self.name(folder))
            return
        if depth > DEEPEST:
            raise InputError(
                f"source must have at most {DEEPEST} folders in each other; received {folder.parts[-1]!r} "
                f"{depth} folders below {one_line(name)}."
            )
        self.entered[identity] = (folder, split, name)
        files, folders = self.scan(folder)
        inner = {_split_of(path.name) for path in folders} - {None}
        if depth == 0 and self.with_classes and "train" in inner and len(inner) > 1:
            raise InputError(
                f"source must have its splits outside of the classes, as train/{one_line(name)}; "
                f"{one_line(folder)} has {shown([path.name for path in folders])} inside. If it is the whole "
                "dataset, give that folder."
            )
        self._add_files(files, split, name)
        for path in folders:
            self._add_class(path, split, name, depth + 1)

    def _add_files(
        self,
        files: Iterable[tuple[Path, os.stat_result]],
        split: str,
        name: str | None,
        odd_kinds: bool = True,
    ) -> None:
        for path, found in files:
            kind = _kind(path, found)
            if kind == "other" or (kind == "odd" and not odd_kinds):
                self.kinds[path.suffix.lower() or "no ending"] += 1
                continue
            identity = _identity(path, found)
            if identity not in self.files:
                self.files[identity] = (path, split, name)
                continue
            first, *place = self.files[identity]
            apart = [unlabelled(place[1]), unlabelled(name)]
            if place[0] == split and any(apart) and place[1] != name:
                if apart[0]:  # its label is known: that counts
                    self.files[identity] = (path, split, name)
            else:
                self._check_place(path, split, name, first, *place, what="image")
            self.left_out["links to images that count already"].append(self.name(path))

    def _check_place(
        self, path: Path, split: str, name: str | None, first: Path, *place: str | None, what: str
    ) -> None:
        """Raise if one file or folder is in two splits or classes."""
        if place[0] != split:
            where = "two splits"
        elif place[1] != name and self.with_classes:
            where = "two classes"
        else:
            return
        raise InputError(
            f"source must hold each {what} in one class and split; {self.name(first)} and {self.name(path)} "
            f"are the same {what}, in {where}. Remove one of the two links."
        )

    def count_beside(self, folder: Path) -> int:
        """How many image files of a folder are listed nowhere."""
        return len(set(self._images_in(folder, set())) - set(self.files))

    def listing(self, notes: Sequence[str]) -> Listing:
        """The files in the order of their paths' names, with what was found on the way."""
        for reason, names in self.left_out.items():
            self.warnings.append(f"source has {len(names)} {reason}, which are left out: {shown(names)}")
        ignored = [
            f"{shown([f'{name}/' for name in names])} ({reason})" for reason, names in self.ignored.items()
        ]
        if self.kinds:
            number, kinds = sum(self.kinds.values()), shown([kind for kind, _ in self.kinds.most_common()])
            ignored.append(
                f"{number:,} {'file' if number == 1 else 'files'} of other kinds ({one_line(kinds)})"
            )
        if ignored:
            notes = [*notes, f"ignored: {', '.join(ignored)}"]
        # A file that was first in an unlabelled folder has the place of that in the dictionary.
        return Listing(list(self.files.values()), list(notes), self.warnings)


def unlabelled(name: str | None) -> bool:
    """Whether this is the name of a folder whose images have no label."""
    return name is not None and is_unlabelled(name)


def _list_without_splits(look: _Look, lone_train: bool) -> Listing:
    look.add_split(look.root, "train")
    names = _class_names(look.files.values())
    if lone_train:
        look.warnings.append(
            f"source has train/ beside other folders of images and no other split, so train is a class: "
            f"{shown(names, CLASSES_SHOWN)}. Add a test/ or validation/ folder if train/ is a split."
        )
    elif len(names) > 1 and all(_like_split(name) for name in names):
        look.warnings.append(
            f"source has folders named as splits that are taken for classes: {shown(names, CLASSES_SHOWN)}. "
            "Name them train, validation and test if they are splits."
        )
    if len(names) == 1:
        _, inner = look.scan(look.root / names[0], quiet=True)
        inner = [path for path in inner if look.holds_images(path)]
        if len(inner) > 1 or any(_split_of(path.name) for path in inner):
            look.warnings.append(
                f"source has one class, {one_line(names[0])}, with images in its folders "
                f"{shown([path.name for path in inner])}. Give {one_line(look.root / names[0])} if those are "
                "the classes or splits."
            )
    return look.listing([_told(names)] if look.files else [])


def _list_with_splits(look: _Look, found: dict[Path, str], others: Sequence[Path]) -> Listing:
    filled = {path: split for path, split in found.items() if look.holds_images(path)}
    look.ignored["folders without images"] += [look.name(path) for path in found if path not in filled]
    for split in ("train", "validation", "test"):
        folders = [path for path, of in filled.items() if of == split]
        if len(folders) > 1:
            raise InputError(
                f"source must have one folder for each split; {one_line(look.root)} has "
                f"{' and '.join(f'{one_line(path.name)}/' for path in folders)} for {split}."
            )
    for path, split in filled.items():
        look.entered[_identity(path)] = (path, split, None)
    if len({_identity(path) for path in filled}) < len(filled):
        raise InputError(
            f"source must have a folder of its own for each split; {shown([p.name for p in filled])} of "
            f"{one_line(look.root)} are links to one folder."
        )
    if filled and "train" not in filled.values():
        train = next(path for path, split in found.items() if split == "train")
        raise InputError(f"source must hold images to train on; {one_line(train)} has none.")
    for path, split in filled.items():
        look.add_split(path, split)
    loose = [path for path, found in look.scan(look.root, quiet=True)[0] if _kind(path, found) == "image"]
    if loose:
        look.warnings.append(
            f"source has {len(loose)} images beside its split folders, which are left out: "
            f"{shown([path.name for path in loose])}"
        )
    for path in others:
        count = look.count_beside(path)
        if count:
            look.warnings.append(
                f"source has a folder that is no split, {look.name(path)}/: its {count:,} images are left out"
            )
        elif not look.holds_images(path):
            look.ignored["folders without images"].append(look.name(path))
    if not look.ignored["folders without images"]:
        del look.ignored["folders without images"]
    if len(set(look.flat.values())) > 1:
        flat = [split for split, is_flat in look.flat.items() if is_flat]
        classed = [split for split, is_flat in look.flat.items() if not is_flat]
        look.warnings.append(
            f"source has no class folders in {' and '.join(flat)}, unlike {' and '.join(classed)}: "
            f"images of {' and '.join(flat)} have no labels."
        )
    folder_of = {split: path for path, split in filled.items()}
    told = [
        f"{split} ({one_line(folder_of[split].name)}/)" if split in folder_of else f"{split} (10 % of train)"
        for split in ("train", "validation", "test")
    ]
    return look.listing([f"splits: {', '.join(told)}", _told(_class_names(look.files.values()))])


def _settle_eval(found: dict[Path, str]) -> None:
    """Let an `eval` folder be the test split, or the validation split beside a test folder alone."""
    taken = set(found.values())
    for path, split in found.items():
        if split == "eval":
            found[path] = "validation" if "test" in taken and "validation" not in taken else "test"


def _split_of(name: str) -> str | None:
    """The split that a folder is named after, as `Training` or `test_set`."""
    bare = re.sub(r"[ _-]?(set|data|images|imgs)$", "", name.casefold())
    return next((split for split, names in SPLIT_NAMES.items() if bare in names), None)


def _like_split(name: str) -> bool:
    """Whether a folder's name begins as that of a split, as `train2017` or `val_1`."""
    names = "|".join(name for names in SPLIT_NAMES.values() for name in names)
    return re.match(rf"({names})([^a-z]|$)", name.casefold()) is not None or _split_of(name) is not None


def _kind(path: Path, found: os.stat_result) -> str:
    """`image`, `odd` for an image that may well not be read, or `other`."""
    ending = path.suffix.lower()
    if ending == ".npy" and is_other_array(path):
        return "other"
    if ending in EXTENSIONS:
        return "image"
    if ending in OTHER_EXTENSIONS:
        return "odd"
    return "image" if found.st_size and is_image(path) else "other"


def _identity(path: Path, found: os.stat_result | None = None) -> Identity:
    """What is the same for all paths to a file or folder, links and hard links among them."""
    found = os.stat(path) if found is None else found
    if not found.st_ino:  # a file system without such numbers
        return (os.path.realpath(path),)
    size = 0 if stat.S_ISDIR(found.st_mode) else found.st_size
    return (found.st_dev, found.st_ino, size)


def _class_names(files: Iterable[ImageFile]) -> list[str]:
    return sorted({name for _, _, name in files if name is not None})


def _told(names: Sequence[str]) -> str:
    if not names:
        return "no class folders, so no labels"
    number = f" ({len(names)})" if len(names) > CLASSES_SHOWN else ""
    return f"classes{number}: {shown(names, CLASSES_SHOWN)}"


def shown(names: Sequence[object], most: int = NAMES_SHOWN) -> str:
    """The first few of some names, for people."""
    return ", ".join(one_line(name) for name in names[:most]) + (", ..." if len(names) > most else "")
