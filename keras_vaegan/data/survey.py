"""One quick look at each of many image files: its header, its content as a number, whether it is cut off."""

import collections
import concurrent.futures
import dataclasses
import hashlib
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import keras

from keras_vaegan.data.pictures import HEAD, NPY, READERS, Header, header_of, look

T = TypeVar("T")

PROGRESS_FROM = 2000  # files; fewer are read in a few seconds
READ = 65536  # bytes of a file that are read
TAIL = 64  # bytes at the end of a file, which tell that it is whole
MASK = (1 << 128) - 1
SAMPLE = 32  # files that are looked at first, to see how long each takes
SLOW = 1e-4  # seconds for a file that the system has to fetch, from a disk or over a network
WAITING_THREADS = 8  # that look at such files, as most of them wait


@dataclasses.dataclass
class Survey:
    """What a look at files has found, in their order.

    Attributes:
        headers: of each file; None if it cannot be opened.
        content: of all files, whatever their order: names, sizes and bytes. Of a file larger than 64 kB,
            the first 64 kB and the time of its last change stand for its bytes.
        doubtful: positions of the files that may be cut off, as their end does not tell that they are whole.
    """

    headers: list[Header | None]
    content: str
    doubtful: list[int]


def survey(paths: Sequence[str | os.PathLike[str]], names: Sequence[str]) -> Survey:
    """Look at files, each of which is opened once; of 200,000 small ones in a few seconds.

    Args:
        paths: of the files.
        names: of the files, which belong to their content.
    """
    known: dict[Header, Header] = {}  # most files have equal ones, which are kept once
    headers: list[Header | None] = []
    doubtful, total = [], 0

    def look_at(i: int) -> tuple[Header | None, int, bool]:
        return _look(os.fspath(paths[i]), names[i])

    threads = _threads_for(look_at, len(paths))
    looked = in_threads(look_at, len(paths), "file", 256, threads)
    for i, (header, number, is_whole) in enumerate(looked):
        headers.append(None if header is None else known.setdefault(header, header))
        total = (total + number) & MASK
        if header is not None and not is_whole:
            doubtful.append(i)
    return Survey(headers, f"{total:032x}", doubtful)


def in_threads(
    function: Callable[[int], T],
    count: int,
    unit: str | None = None,
    at_once: int = 8,
    threads: int = READERS,
) -> Iterator[T]:
    """Yield a function of 0, 1, ..., count - 1 in this order, computed in threads.

    No more is computed or kept than a few steps ahead of what is used.

    Args:
        function: called in any thread.
        count: of the values.
        unit: what they are called in a progress bar, which many get; None for no bar.
        at_once: values that a thread computes at a time.
        threads: their number.
    """
    many = unit is not None and count > PROGRESS_FROM
    progress: Any = keras.utils.Progbar(count, unit_name=unit, interval=1.0) if many else None

    def some(start: int) -> list[T]:
        return [function(i) for i in range(start, min(start + at_once, count))]

    waiting: collections.deque[concurrent.futures.Future[list[T]]] = collections.deque()
    starts = iter(range(0, count, at_once))
    done = 0
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        try:
            while True:
                while len(waiting) < 2 * threads and (start := next(starts, None)) is not None:
                    waiting.append(pool.submit(some, start))
                if not waiting:
                    return
                found = waiting.popleft().result()
                done += len(found)
                yield from found
                if progress:
                    progress.update(done)
        finally:
            for future in waiting:
                future.cancel()


def _threads_for(look_at: Callable[[int], Any], count: int) -> int:
    """The number of threads that looks at all files in the least time.

    More threads than processors help if they wait for a disk, and cost time if all files are in memory.
    """
    seconds = []
    for i in range(0, count, max(1, count // SAMPLE)):
        start = time.perf_counter()
        look_at(i)
        seconds.append(time.perf_counter() - start)
    return max(READERS, WAITING_THREADS) if seconds and statistics.median(seconds) > SLOW else READERS


def _look(path: str, name: str) -> tuple[Header | None, int, bool]:
    """The header of a file, a number for its content, and whether it ends as its format does."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        try:
            status = os.fstat(descriptor)
            start = os.read(descriptor, READ)
            end = start[-TAIL:]
            if status.st_size > len(start):
                os.lseek(descriptor, -TAIL, os.SEEK_END)
                end = os.read(descriptor, TAIL)
        finally:
            os.close(descriptor)
    except OSError:  # reported when the file is read
        return None, _number(name, b""), False
    facts = b"" if status.st_size == len(start) else b"%d %d" % (status.st_size, status.st_mtime_ns)
    number = _number(name, start, facts)
    try:
        header = header_of(start[:HEAD]) or look(path)
    except Exception:  # reported when the file is read
        return None, number, False
    return header, number, _is_whole(start, end, status.st_size)


def _number(name: str, *content: bytes) -> int:
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16)
    for part in content:
        digest.update(b"\0" + part)
    return int.from_bytes(digest.digest(), "big")


def _is_whole(start: bytes, end: bytes, size: int) -> bool:
    """Whether a file that begins as an image does has the end that its format says."""
    if start.startswith(b"\xff\xd8"):
        return b"\xff\xd9" in end
    if start.startswith(b"\x89PNG"):
        return b"IEND\xaeB`\x82" in end
    if start.startswith(b"GIF8"):
        return end.rstrip(b"\0").endswith(b";")
    if start.startswith(b"RIFF"):
        return int.from_bytes(start[4:8], "little") + 8 <= size
    if start.startswith(b"BM"):
        return 0 < int.from_bytes(start[2:6], "little") <= size
    return start.startswith(NPY)  # which is mapped, and thus has all of its bytes
