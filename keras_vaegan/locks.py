"""A lock on a folder, so that one process at a time writes what belongs together."""

import contextlib
import datetime
import errno
import json
import os
import pathlib
import platform
import stat
from typing import Any

from keras_vaegan.errors import SHOWN, InputError, one_line
from keras_vaegan.files import leads_out, read_json

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"
LARGEST = 10_000  # bytes of its file
UNSUPPORTED = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK}
TRIES = 100  # while other processes take it, release it and remove the folder
FAR = 2**30  # the byte that is locked on Windows, where a locked one cannot be read
SAME_START = 5.0  # seconds by which two readings of a process's start may differ


class InUse(InputError):
    """A folder in which another process works."""


class FolderLock:
    """The lock of a folder: a file `.lock` that names the process, and that the system frees when it ends.

        with FolderLock("runs/vae", "--output"):
            ...

    The operating system holds the lock, so that one of a killed process never stays, in containers and after
    a restart as well. On a file system that has no locks the file alone is the lock: it is broken if its
    process on this machine is gone.

    Args:
        folder: made if missing.
        argument: whose value it is, for the message.

    Raises:
        InUse: another process, or this one, holds it; raised by `acquire`.
    """

    def __init__(self, folder: str | os.PathLike[str], argument: str) -> None:
        self.folder, self.argument = pathlib.Path(folder), argument
        self.path = self.folder / LOCK
        self._handle: int | None = None
        self._process: int | None = None

    def __enter__(self) -> "FolderLock":
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def acquire(self) -> None:
        """Take the lock, or raise `InUse`."""
        for _ in range(TRIES):
            self.folder.mkdir(parents=True, exist_ok=True)
            opened = self._open()
            if opened is not None:
                self._take(*opened)
            if self._process is not None:
                return
        raise self._in_use()

    def _open(self) -> tuple[int, bool] | None:
        """The lock's file, and whether it is new; None if it has changed meanwhile."""
        if self.path.is_symlink():  # what is at its end would be emptied
            raise leads_out(self.argument, self.folder, self.path)
        for flags in (os.O_CREAT | os.O_EXCL, getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)):
            with contextlib.suppress(FileExistsError, FileNotFoundError):
                return os.open(self.path, os.O_RDWR | flags, 0o666), bool(flags & os.O_CREAT)
        return None

    def _take(self, handle: int, new: bool) -> None:
        """Lock the open file, unless it has changed meanwhile."""
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise InputError(
                    f"{self.argument} must be a folder to write; {one_line(self.path)} is no file.",
                    argument=self.argument,
                    received=self.folder,
                )
            try:
                if not _lock(handle):
                    raise self._in_use()
            except OSError as error:
                if error.errno not in UNSUPPORTED:
                    raise
                if not new:  # the file itself is the lock
                    if not _gone(self._holder()):
                        raise self._in_use(f"; delete {self.path} if that process is gone") from None
                    self.path.unlink(missing_ok=True)
                    return
            if self._is_still(handle):  # not released, and deleted, by the one before
                os.ftruncate(handle, 0)
                os.write(handle, _this_process())
                self._handle, self._process = handle, os.getpid()
        finally:
            if self._handle != handle:
                os.close(handle)

    def release(self) -> None:
        """Give the lock back and delete its file; nothing happens in a process that does not hold it."""
        if self._process != os.getpid():  # a child of the holder has a copy of this object
            return
        handle, self._handle, self._process = self._handle, None, None
        assert handle is not None
        if fcntl is None:  # Windows deletes no open file
            os.close(handle)
        with contextlib.suppress(OSError):
            self.path.unlink()
        if fcntl is not None:
            os.close(handle)

    def _is_still(self, handle: int) -> bool:
        """Whether the open file is the one at the path."""
        try:
            return os.path.samestat(os.fstat(handle), os.stat(self.path))
        except FileNotFoundError:
            return False

    def _holder(self) -> dict[str, Any]:
        """What the lock's file says of its process; nothing if it cannot be read."""
        try:
            holder = read_json(self.path, most=LARGEST)
        except InputError:
            return {}
        return holder if isinstance(holder, dict) else {}

    def _in_use(self, hint: str = "") -> InUse:
        holder = self._holder()
        who = "another process"
        if {"pid", "host", "since"} <= set(holder):
            who = f"process {holder['pid']} on {holder['host']}, since {holder['since']}"
        return InUse(
            f"{self.argument} must be a folder that no other process writes; "
            f"{one_line(self.folder)} is in use by {one_line(who, SHOWN)}{hint}.",
            argument=self.argument,
            received=self.folder,
        )


def _lock(handle: int) -> bool:
    """Lock an open file unless another has; raise OSError if the file system has no locks."""
    try:
        if fcntl is not None:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            import msvcrt

            os.lseek(handle, FAR, os.SEEK_SET)
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
            os.lseek(handle, 0, os.SEEK_SET)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK):
            return False
        raise
    return True


def _this_process() -> bytes:
    import psutil

    known = {
        "pid": os.getpid(),
        "host": platform.node(),
        "started": psutil.Process().create_time(),
        "since": datetime.datetime.now().isoformat(sep=" ", timespec="seconds"),
    }
    return (json.dumps(known) + "\n").encode()


def _gone(holder: dict[str, Any]) -> bool:
    """Whether the process that a lock names ran on this machine and has ended."""
    import psutil

    if holder.get("host") != platform.node():
        return False
    try:
        process = psutil.Process(int(holder["pid"]))
        return bool(process.create_time() - float(holder["started"]) > SAME_START)
    except psutil.NoSuchProcess:
        return True
    except (psutil.Error, KeyError, TypeError, ValueError):
        return False
