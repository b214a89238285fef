"""Memory that a task will need, compared with what there is before the task begins."""

import functools
import gc
import pathlib
from typing import Any

from keras_vaegan.errors import InputError

SHARE = 0.9  # of the memory that is free, which one array may take
# Where Linux keeps the memory limit of a container, in the second and the first version of control groups.
LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def available() -> int:
    """Bytes of memory that this process may still take, of the machine and of its container."""
    import psutil

    free = psutil.virtual_memory().available
    for path in LIMITS:
        try:
            limit = int(pathlib.Path(path).read_text())
        except (OSError, ValueError):  # no such group, or the limit "max"
            continue
        free = min(free, limit - _process().memory_info().rss)
    return max(free, 0)


@functools.cache
def _process() -> Any:
    import psutil

    return psutil.Process()


class Cycles:
    """Frees objects in reference cycles when much memory has piled up, however few the objects are.

    Python looks for such cycles when there are many new objects. It does not know that a few of them hold
    gigabytes, as tensors do.

    Args:
        most: bytes by which the memory of the process may grow before cycles are looked for.
        every: calls of `look` of which one asks for the memory, which takes a tenth of a millisecond.
    """

    def __init__(self, most: int = 2**30, every: int = 16) -> None:
        self.most, self.every = most, every
        self.calls = 0
        self.before: int | None = None

    def look(self) -> bool:
        """Free the cycles if memory has grown by `most` since the last time; whether it did."""
        self.calls += 1
        if self.calls % self.every:
            return False
        held = _process().memory_info().rss
        if self.before is None or held < self.before:
            self.before = held
        if held - self.before < self.most:
            return False
        gc.collect()
        self.before = _process().memory_info().rss
        return True


def require(argument: str, needed: int, advice: str) -> None:
    """Raise `InputError` if a task needs more memory than there is.

    Args:
        argument: what asks for it, with its value, as `num_images=10000000`.
        needed: bytes, which the error has as `received`, with those that may be taken as `allowed`.
        advice: a sentence on what to do instead.
    """
    free = available()
    if needed > SHARE * free:
        raise InputError(
            f"{argument} must fit into memory: it needs {_readable(needed)}; {_readable(free)} are free. "
            f"{advice}",
            argument=argument,
            allowed=int(SHARE * free),
            received=needed,
        )


def _readable(number: float) -> str:
    """A number of bytes for people."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if number >= size:
            return f"{number / size:,.1f} {unit}"
    return f"{number:,.0f} bytes"
