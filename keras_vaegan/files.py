"""Files that are there whole or not at all."""

import atexit
import contextlib
import csv
import errno
import hashlib
import io
import json
import os
import pathlib
import platform
import re
import shutil
import stat
import sys
import tempfile
import time
import tomllib
import warnings
import zipfile
from collections.abc import Iterable, Iterator
from typing import Any

from keras_vaegan import memory
from keras_vaegan.errors import InputError, must_be, one_line, shown

REASON_LENGTH = 300  # characters of a foreign error's text
MOST_TEXT = 64_000_000  # bytes of a configuration
MOST_FACTS = 4_000_000  # bytes of metadata, of scores or of findings
MOST_DEPTH = 200  # levels of a JSON file; a model within a model within a model has fewer than 100
MOST_COLUMNS, MOST_ROWS, MOST_CELLS = 500, 200_000, 2_000_000  # of a table, as `history.csv`
LONGEST_COLUMN = 200  # characters of a column's name
PARTIAL = ".partial-"  # how the names of files begin that are being written
NEXT = ".next"  # folder of files that have replaced those beside it, and are not moved there yet
LONGEST_NAME = 150  # bytes of a file's name that a partial file repeats; most systems take 255 in all
A_DAY = 86400.0  # seconds after which a partial file of another machine is taken to be abandoned
CLOCK_ERROR = 2.0  # seconds by which the clocks of files and of processes may differ
SCRATCH = "-keras-vaegan"  # how the names of passing folders end
# Of file systems that cannot wait for the disk, and of folders that may be written to, but not read.
NO_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EACCES}
OWNER = re.compile(rf"{re.escape(PARTIAL)}(\d+)-([0-9a-f]{{8}})-")


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """Yield a temporary path beside `path`, of the same suffixes; rename it to `path` at the end.

    If the body raises, nothing is left and what was at `path` stays as it was. The content is on the disk
    before the rename, so that a power cut leaves the older file or the new one.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    suffix = _partial_suffix(path)
    sweep(path.parent, suffix)
    handle, temporary = tempfile.mkstemp(prefix=_partial_prefix(), suffix=suffix, dir=path.parent)
    try:
        os.close(handle)
        yield pathlib.Path(temporary)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        _to_disk(temporary)
        os.replace(temporary, path)
        _to_disk(path.parent)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """Yield a new folder beside `path`; it takes the place of `path`, and of what is there, at the end.

    If the body raises, nothing is left and what was at `path` stays as it was. A process that is killed
    between the two moves loses nothing: the next write to `path` first puts the new folder in place.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    suffix = _partial_suffix(path)
    _finish_replacing(path, suffix)
    sweep(path.parent, suffix)
    with tempfile.TemporaryDirectory(prefix=_partial_prefix(), suffix=suffix, dir=path.parent) as scratch:
        made, older = pathlib.Path(scratch, "made"), pathlib.Path(scratch, "older")
        made.mkdir()
        yield made
        _tree_to_disk(made)
        if not os.path.lexists(path):
            os.replace(made, path)
        else:
            os.replace(path, older)
            try:
                os.replace(made, path)
            except BaseException:
                if not os.path.lexists(path):
                    os.replace(older, path)
                raise
        _to_disk(path.parent)


@contextlib.contextmanager
def atomic_files(folder: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """Yield a scratch folder whose files take their places in `folder` all at once at the end.

    Read them by `member`. Several files cannot be renamed in one step, but the scratch folder can: it becomes
    `.next`, whose files stand for those beside it, and then they are moved one by one. A reader finds all the
    older files or all the new ones, whenever a process is killed. If the body raises, nothing has changed.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    sweep(folder, NEXT)
    with tempfile.TemporaryDirectory(prefix=_partial_prefix(), suffix=NEXT, dir=folder) as scratch:
        made = pathlib.Path(scratch, "made")
        made.mkdir()
        yield made
        _tree_to_disk(made)
        settle(folder)
        os.replace(made, folder / NEXT)
        _to_disk(folder)
        settle(folder)


def settle(folder: str | os.PathLike[str]) -> None:
    """Move the files to their places that a process which was killed in `atomic_files` did not move.

    Raises `InputError` if a link leads there: the files of another folder are not to be moved.
    """
    waiting = pathlib.Path(folder, NEXT)
    if waiting.is_symlink():
        raise leads_out("folder", pathlib.Path(folder), waiting)
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for name in sorted(os.listdir(waiting)):
            with contextlib.suppress(FileNotFoundError):  # another process moves them, too
                os.replace(waiting / name, waiting.parent / name)
        with contextlib.suppress(OSError):  # if another process has begun anew
            waiting.rmdir()
        _to_disk(folder)


def member(folder: str | os.PathLike[str], name: str) -> pathlib.Path:
    """The path at which to read a file that `atomic_files` writes."""
    waiting = pathlib.Path(folder, NEXT, name)
    return waiting if waiting.is_file() else pathlib.Path(folder, name)


def _tree_to_disk(folder: pathlib.Path) -> None:
    for place, _, names in os.walk(folder):
        for name in names:
            _to_disk(os.path.join(place, name))
        _to_disk(place)


def _to_disk(path: str | os.PathLike[str]) -> None:
    """Wait until a file, or the list of names in a folder, is on the disk, where the system can tell."""
    if os.name == "nt":  # which has no such call for folders, and wants files open for writing
        return
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno not in NO_SYNC:
            raise


@contextlib.contextmanager
def scratch_folder() -> Iterator[pathlib.Path]:
    """Yield a passing folder of the system; those that killed processes have left there are deleted."""
    sweep(tempfile.gettempdir(), SCRATCH)
    with tempfile.TemporaryDirectory(prefix=_partial_prefix(), suffix=SCRATCH) as folder:
        yield pathlib.Path(folder)


def check_inside(argument: str, folder: str | os.PathLike[str], path: str | os.PathLike[str]) -> None:
    """Raise `InputError`, which names the link, if a path in a folder leads out of it.

    The folder itself may be a link, and what is in it may be missing.

    Args:
        argument: whose value the folder is, for the message.
        folder: with files of its own.
        path: in it.
    """
    try:
        inside = pathlib.Path(path).resolve().is_relative_to(pathlib.Path(folder).resolve())
    except (OSError, RuntimeError):  # a link that leads to itself
        inside = False
    if not inside:
        raise leads_out(argument, pathlib.Path(folder), pathlib.Path(path))


def leads_out(argument: str, folder: pathlib.Path, path: pathlib.Path) -> InputError:
    """The error for a link that leads out of the folder that it stands in."""
    try:
        place = os.fspath(path.resolve())
    except (OSError, RuntimeError):
        place = "itself"
    name = path.relative_to(folder) if path.is_relative_to(folder) else path
    return InputError(
        one_line(
            f"{argument} {folder} must hold its own files; {name} leads out of it, to {place}. "
            "Put the file or folder itself there."
        ),
        argument=argument,
        received=path,
    )


def check_links(
    argument: str, folder: str | os.PathLike[str], files: Iterable[str], folders: Iterable[str] = ()
) -> None:
    """Raise `InputError` if one of a folder's own files is a link that leads out of it.

    Args:
        argument: whose value the folder is, for the message.
        folder: it may be missing, and may be a link itself.
        files: names in it that are looked at.
        folders: the same, of folders of which each file is looked at.
    """
    folder = pathlib.Path(folder)
    for name in (*files, *folders):
        check_inside(argument, folder, folder / name)
    for name in folders:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder / name) as entries:
            for entry in entries:
                if entry.is_symlink():
                    check_inside(argument, folder, folder / name / entry.name)


def holds_files(folder: str | os.PathLike[str], *besides: str) -> bool:
    """Whether a folder holds anything besides files that are being written, and the names given."""
    with os.scandir(folder) as entries:
        return any(not entry.name.startswith(PARTIAL) and entry.name not in besides for entry in entries)


def sweep(folder: str | os.PathLike[str], ending: str | tuple[str, ...] = "", all: bool = False) -> None:
    """Delete what processes that were killed left in a folder as they wrote files or folders.

    Args:
        folder: it may be missing.
        ending: of the names, one or several.
        all: whether to delete also what may be of a living process. The caller knows that there is none.
    """
    try:
        with os.scandir(folder) as entries:
            left = [pathlib.Path(entry) for entry in entries if entry.name.startswith(PARTIAL)]
    except OSError:
        return
    for path in left:
        if not path.is_symlink() and (path / "older").exists() and (path / "made").exists():
            continue  # killed between the two moves of `atomic_folder`, which finishes them
        if path.name.endswith(ending) and (all or _abandoned(path)):
            with contextlib.suppress(OSError):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()


def _abandoned(path: pathlib.Path) -> bool:
    """Whether the process that writes a partial file is gone."""
    import psutil

    try:
        written = path.stat().st_mtime
    except OSError:
        return False
    owner = OWNER.match(path.name)
    if owner is None or owner[2] != _machine():
        return time.time() - written > A_DAY
    try:
        # A younger process of the same number is another one.
        return bool(psutil.Process(int(owner[1])).create_time() > written + CLOCK_ERROR)
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return False


def _partial_prefix() -> str:
    return f"{PARTIAL}{os.getpid()}-{_machine()}-"


def _partial_suffix(path: pathlib.Path) -> str:
    """What the name of a partial file ends in: the name that it will have, or its suffix if that is long."""
    return path.name if len(os.fsencode(path.name)) <= LONGEST_NAME else path.suffix[-LONGEST_NAME:]


def _machine() -> str:
    return hashlib.sha256(platform.node().encode("utf-8", "replace")).hexdigest()[:8]


def _finish_replacing(path: pathlib.Path, suffix: str) -> None:
    """Put the folder in place that a killed process had made, if it had moved the older one away."""
    if os.path.lexists(path) or path.name != suffix:
        return
    for scratch in path.parent.glob(f"{PARTIAL}*"):
        made = scratch / "made"
        if scratch.is_symlink():
            continue
        if scratch.name.endswith(suffix) and (scratch / "older").exists() and made.exists():
            if _abandoned(scratch):
                os.replace(made, path)
                return


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write `value` as readable JSON."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def user_path(argument: str, path: Any) -> pathlib.Path:
    """`path` with `~` as the home folder; raise `InputError` unless it is a path that can be.

    Args:
        argument: whose value it is, for the message.
        path: text, or what `os.fspath` takes.
    """
    if not isinstance(path, (str, os.PathLike)) or "\0" in (text := os.fsdecode(path)):
        raise must_be(argument, "a path", path)
    try:
        return pathlib.Path(text).expanduser()
    except RuntimeError:
        message = f"{argument} must be a path; there is no home folder for {shown(text)}."
        raise InputError(message, argument=argument, received=path) from None


def check_json(value: Any, argument: str) -> None:
    """Raise `InputError`, which names the place, unless JSON can hold `value`.

    Args:
        value: what is to be written.
        argument: how the user calls it.
    """
    try:
        json.dumps(value)
        return
    except (TypeError, ValueError, RecursionError) as error:
        reason = one_line(error, REASON_LENGTH)
    parts: list[tuple[str, Any]] = []
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, (str, int, float)) and key is not None:
                message = f"{argument} must have text as keys; received {one_line(repr(key), 80)}."
                raise InputError(message, argument=argument, received=key)
        parts = [(f"{argument}[{one_line(repr(key), 80)}]", part) for key, part in value.items()]
    elif isinstance(value, (list, tuple)):
        parts = [(f"{argument}[{i}]", part) for i, part in enumerate(value)]
    if parts and "recursion" not in reason and "ircular" not in reason:
        for name, part in parts:
            check_json(part, name)
    raise InputError(
        f"{argument} must be what JSON holds: text, numbers, true, false, null, lists and dictionaries; "
        f"received {type(value).__name__} ({reason}). Convert it, as with float(), str() or .tolist().",
        argument=argument,
        received=value,
    )


@contextlib.contextmanager
def reading(path: str | os.PathLike[str], argument: str = "") -> Iterator[None]:
    """Turn every failure to read a file into an `InputError` of one line that names it.

    Damaged files make libraries raise errors of many kinds, running out of memory or stack among them.

    Args:
        path: of the file, for the message.
        argument: whose value the file is, for the message.
    """
    try:
        yield
    except InputError:  # which says all there is to say
        raise
    except Exception as error:
        name = one_line(f"{argument} {os.fsdecode(path)}")
        message = f"{name} cannot be read: {reason_of(error)}"
        raise InputError(message, argument=argument, received=path) from error


def reason_of(error: BaseException) -> str:
    """Why a library failed, in one line of at most `REASON_LENGTH` characters."""
    text: object = error
    if isinstance(error, OSError) and error.strerror:  # the name of the file is said already
        text = error.strerror
    elif isinstance(error, json.JSONDecodeError):
        text = f"it is no JSON ({error})"
    elif isinstance(error, tomllib.TOMLDecodeError):
        text = f"it is no TOML ({error})"
    elif isinstance(error, UnicodeDecodeError):
        text = f"it is no text in UTF-8 ({error})"
    elif isinstance(error, KeyError):
        text = f"it lacks {error}"
    elif isinstance(error, RecursionError):
        text = "it is nested too deeply"
    elif isinstance(error, MemoryError):
        text = f"the memory does not suffice. {error}"
    return one_line(text, REASON_LENGTH) or type(error).__name__


def read_text(path: str | os.PathLike[str], argument: str = "", most: int = MOST_TEXT) -> str:
    """Text of a UTF-8 file; raises `InputError`, in one line, unless it is a file of at most `most` bytes."""
    with reading(path, argument):
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode):  # opening a pipe would wait for a writer
            raise ValueError("it is a folder" if stat.S_ISDIR(found.st_mode) else "it is no file")
        check_text_size(found.st_size, most)
        return pathlib.Path(path).read_text(encoding="utf-8")


def check_text_size(size: int, most: int | None = None) -> None:
    """Raise `ValueError` if a text is too large to be read: the package writes none of that size."""
    most = MOST_TEXT if most is None else most
    if size > most:
        raise ValueError(f"it is larger than {most / 1e6:.0f} MB")


def check_zip(archive: zipfile.ZipFile, argument: str) -> None:
    """Raise unless an archive is whole and what is in it fits into memory, whatever it unpacks to.

    Args:
        archive: a `.keras` file.
        argument: what it is, for the message.
    """
    needed = 0
    for member in archive.infolist():
        needed += member.file_size
        if member.filename.endswith(".json"):
            check_text_size(member.file_size)
    memory.require(argument, needed, "Is it the right file?")
    if damaged := archive.testzip():
        raise ValueError(f"its {damaged} is damaged")


def read_table(path: str | os.PathLike[str], argument: str = "") -> tuple[list[str], list[list[str]]]:
    """The names of the columns and the rows of a CSV file, which has a cell for each column in each row.

    Raises `InputError`, in one line, where it is damaged, two columns have one name, or it has more than
    `MOST_COLUMNS` columns, `MOST_ROWS` rows or `MOST_CELLS` cells.
    """
    text = read_text(path, argument)
    with reading(path, argument):
        lines = csv.reader(io.StringIO(text, newline=""))
        names = next(lines, [])
        if not names:
            raise ValueError("the file is empty" if not text else "it has no columns")
        if len(names) > MOST_COLUMNS:
            raise ValueError(f"it has {len(names):,} columns, more than {MOST_COLUMNS}")
        if longest := max(names, key=len)[LONGEST_COLUMN:]:
            raise ValueError(f"a column's name has {LONGEST_COLUMN + len(longest):,} characters")
        if len(set(names)) < len(names):
            raise ValueError("two columns have one name")
        most = min(MOST_ROWS, MOST_CELLS // len(names))
        rows: list[list[str]] = []
        for row in lines:
            if len(row) != len(names):
                raise ValueError(f"line {len(rows) + 2} has {len(row)} cells, the first {len(names)}")
            if len(rows) == most:
                raise ValueError(f"it has more than {most:,} rows of {len(names)} columns")
            rows.append(row)
        return names, rows


def parse_json(text: str) -> Any:
    """Value of a JSON text; raises `ValueError` for a name that comes twice in one object."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            seen: set[str] = set()
            twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
            raise ValueError(f"{twice!r} comes twice in one object")
        return found

    value = json.loads(text, object_pairs_hook=unique)
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(MOST_DEPTH):
        parts = [part.values() if isinstance(part, dict) else part for part in level]
        level = [inner for part in parts for inner in part if isinstance(inner, (dict, list))]
        if not level:
            return value
    raise ValueError("it is nested too deeply")


def read_json(
    path: str | os.PathLike[str], argument: str = "", kind: type | None = None, most: int = MOST_TEXT
) -> Any:
    """Value of a JSON file; raises `InputError`, in one line, if the file is missing or damaged.

    Args:
        path: of the file.
        argument: whose value the file is, for the message.
        kind: what the value must be, `dict` or `list`; None for anything.
        most: bytes that it may have.
    """
    text = read_text(path, argument, most)
    with reading(path, argument):
        value = parse_json(text)
        if kind is not None and not isinstance(value, kind):
            expected = "an object" if kind is dict else "a list"
            raise ValueError(f"{expected} was expected, not {type(value).__name__}")
        return value


def cache_folder() -> pathlib.Path:
    """Where the package keeps what can be made again: in Keras' own folder (`KERAS_HOME`, or `~/.keras`)."""
    return user_path("KERAS_HOME", os.environ.get("KERAS_HOME") or "~/.keras") / "keras_vaegan"


def warn_of_cache(error: BaseException) -> None:
    """Say in one line that nothing can be kept, and why."""
    reason = str(error) if isinstance(error, InputError) else reason_of(error)
    where = getattr(error, "filename", None)
    at = f" {one_line(os.fsdecode(where))}" if isinstance(where, (str, bytes)) else ""
    warnings.warn(
        f"goes on without a cache, which cannot be written{at}: {reason.rstrip('.')}. Set KERAS_HOME to a "
        "folder that can be.",
        stacklevel=2,
    )


def kept_or_passing(name: str) -> pathlib.Path:
    """A folder of the cache to write to; one that this process deletes at its end if nothing can be kept."""
    try:
        folder = cache_folder() / name
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder if folder.is_dir() else folder.parent):
            return folder
    except (InputError, OSError) as error:
        warn_of_cache(error)
    sweep(tempfile.gettempdir(), SCRATCH)
    passing = tempfile.mkdtemp(prefix=_partial_prefix(), suffix=SCRATCH)
    atexit.register(shutil.rmtree, passing, ignore_errors=True)
    return pathlib.Path(passing, name)


@contextlib.contextmanager
def holding_stderr() -> Iterator[None]:
    """Hold back what is written to standard error, by libraries too; show it only if the body fails.

    Some libraries write lines there whatever their log level.
    """
    with tempfile.TemporaryFile() as held, contextlib.ExitStack() as stack:
        sys.stderr.flush()
        error_stream = os.dup(2)
        stack.callback(os.close, error_stream)
        stack.callback(os.dup2, error_stream, 2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        except InputError:  # which says all there is to say
            raise
        except Exception:  # and no signal that ends the process
            held.seek(0)
            os.write(error_stream, held.read())
            raise
