"""Files that are there whole or not at all."""

import contextlib
import hashlib
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
from collections.abc import Iterator
from typing import Any

from keras_vaegan.errors import InputError, one_line, shown

REASON_LENGTH = 300  # characters of a foreign error's text
MOST_TEXT = 64_000_000  # bytes of a configuration, of metadata or of scores
PARTIAL = ".partial-"  # how the names of files begin that are being written
NEXT = ".next"  # folder of files that have replaced those beside it, and are not moved there yet
LONGEST_NAME = 150  # bytes of a file's name that a partial file repeats; most systems take 255 in all
A_DAY = 86400.0  # seconds after which a partial file of another machine is taken to be abandoned
CLOCK_ERROR = 2.0  # seconds by which the clocks of files and of processes may differ
OWNER = re.compile(rf"{re.escape(PARTIAL)}(\d+)-([0-9a-f]{{8}})-")


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """Yield a temporary path beside `path`, of the same suffixes; rename it to `path` at the end.

    If the body raises, nothing is left and what was at `path` stays as it was.
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
        os.replace(temporary, path)
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
        settle(folder)
        os.replace(made, folder / NEXT)
        settle(folder)


def settle(folder: str | os.PathLike[str]) -> None:
    """Move the files to their places that a process which was killed in `atomic_files` did not move."""
    waiting = pathlib.Path(folder, NEXT)
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for name in sorted(os.listdir(waiting)):
            with contextlib.suppress(FileNotFoundError):  # another process moves them, too
                os.replace(waiting / name, waiting.parent / name)
        with contextlib.suppress(OSError):  # if another process has begun anew
            waiting.rmdir()


def member(folder: str | os.PathLike[str], name: str) -> pathlib.Path:
    """The path at which to read a file that `atomic_files` writes."""
    waiting = pathlib.Path(folder, NEXT, name)
    return waiting if waiting.is_file() else pathlib.Path(folder, name)


def holds_files(folder: str | os.PathLike[str], *besides: str) -> bool:
    """Whether a folder holds anything besides files that are being written, and the names given."""
    return any(
        not entry.name.startswith(PARTIAL) and entry.name not in besides for entry in os.scandir(folder)
    )


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
        if (path / "older").exists() and (path / "made").exists():
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
        raise InputError(f"{argument} must be a path; received {shown(path)}.")
    try:
        return pathlib.Path(text).expanduser()
    except RuntimeError:
        raise InputError(f"{argument} must be a path; there is no home folder for {shown(text)}.") from None


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
                raise InputError(f"{argument} must have text as keys; received {one_line(repr(key), 80)}.")
        parts = [(f"{argument}[{one_line(repr(key), 80)}]", part) for key, part in value.items()]
    elif isinstance(value, (list, tuple)):
        parts = [(f"{argument}[{i}]", part) for i, part in enumerate(value)]
    if parts and "recursion" not in reason and "ircular" not in reason:
        for name, part in parts:
            check_json(part, name)
    raise InputError(
        f"{argument} must be what JSON holds: text, numbers, true, false, null, lists and dictionaries; "
        f"received {type(value).__name__} ({reason}). Convert it, as with float(), str() or .tolist()."
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
        raise InputError(f"{name} cannot be read: {reason_of(error)}") from error


def reason_of(error: BaseException) -> str:
    """Why a library failed, in one line of at most `REASON_LENGTH` characters."""
    text: object = error
    if isinstance(error, OSError) and error.strerror:  # the name of the file is said already
        text = error.strerror
    elif isinstance(error, KeyError):
        text = f"it lacks {error}"
    elif isinstance(error, RecursionError):
        text = "it is nested too deeply"
    elif isinstance(error, MemoryError):
        text = f"the memory does not suffice. {error}"
    return one_line(text, REASON_LENGTH) or type(error).__name__


def read_text(path: str | os.PathLike[str], argument: str = "") -> str:
    """Text of a UTF-8 file; raises `InputError`, in one line, unless it is a file of at most `MOST_TEXT`."""
    with reading(path, argument):
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode):  # opening a pipe would wait for a writer
            raise ValueError("it is a folder" if stat.S_ISDIR(found.st_mode) else "it is no file")
        check_text_size(found.st_size)
        return pathlib.Path(path).read_text(encoding="utf-8")


def check_text_size(size: int) -> None:
    """Raise `ValueError` if a text is too large to be read: the package writes none of that size."""
    if size > MOST_TEXT:
        raise ValueError(f"it is larger than {MOST_TEXT / 1e6:.0f} MB")


def parse_json(text: str) -> Any:
    """Value of a JSON text; raises `ValueError` for a name that comes twice in one object."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"{twice!r} comes twice in one object")
        return found

    return json.loads(text, object_pairs_hook=unique)


def read_json(path: str | os.PathLike[str], argument: str = "", kind: type | None = None) -> Any:
    """Value of a JSON file; raises `InputError`, in one line, if the file is missing or damaged.

    Args:
        path: of the file.
        argument: whose value the file is, for the message.
        kind: what the value must be, `dict` or `list`; None for anything.
    """
    text = read_text(path, argument)
    with reading(path, argument):
        value = parse_json(text)
        if kind is not None and not isinstance(value, kind):
            expected = "an object" if kind is dict else "a list"
            raise ValueError(f"{expected} was expected, not {type(value).__name__}")
        return value


def cache_folder() -> pathlib.Path:
    """Where the package keeps what can be made again: in Keras' own folder (`KERAS_HOME`, or `~/.keras`)."""
    return user_path("KERAS_HOME", os.environ.get("KERAS_HOME") or "~/.keras") / "keras_vaegan"


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
