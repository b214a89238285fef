"""Files that are there whole or not at all."""

import contextlib
import json
import os
import pathlib
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

from keras_vaegan.errors import InputError, one_line

REASON_LENGTH = 300  # characters of a foreign error's text
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
        reason = one_line(error, REASON_LENGTH) or type(error).__name__
        name = one_line(f"{argument} {os.fsdecode(path)}")
        raise InputError(f"{name} cannot be read: {reason}") from error


def read_json(path: str | os.PathLike[str]) -> Any:
    """Value of a JSON file; raises `InputError`, in one line, if the file is missing or damaged."""
    with reading(path):
        return json.loads(pathlib.Path(path).read_text(encoding="utf-8"))


def cache_folder() -> pathlib.Path:
    """Where the package keeps what can be made again: in Keras' own folder (`KERAS_HOME`, or `~/.keras`)."""
    return pathlib.Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser() / "keras_vaegan"


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
