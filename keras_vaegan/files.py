"""Files that are there whole or not at all."""

import contextlib
import json
import os
import pathlib
import stat
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

from keras_vaegan.errors import InputError, one_line, shown

REASON_LENGTH = 300  # characters of a foreign error's text
MOST_TEXT = 64_000_000  # bytes of a configuration, of metadata or of scores
PARTIAL = ".partial-"  # how the names of files begin that are being written


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """Yield a temporary path beside `path`, of the same suffixes; rename it to `path` at the end.

    If the body raises, nothing is left and what was at `path` stays as it was.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=PARTIAL, suffix=path.name, dir=path.parent)
    os.close(handle)
    try:
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

    If the body raises, nothing is left and what was at `path` stays as it was.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=PARTIAL, dir=path.parent) as scratch:
        made, older = pathlib.Path(scratch, "made"), pathlib.Path(scratch, "older")
        made.mkdir()
        yield made
        if path.exists():
            os.replace(path, older)
        try:
            os.replace(made, path)
        except OSError:
            if older.exists():
                os.replace(older, path)
            raise


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
        except BaseException:
            held.seek(0)
            os.write(error_stream, held.read())
            raise
