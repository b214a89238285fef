"""Values that threads make before they are asked for."""

import concurrent.futures
import os
import threading
from collections.abc import Callable, Hashable, Iterable
from typing import Any


class Ahead:
    """A function whose next values worker threads compute while the caller uses the last one.

    The values must be a function of their keys alone. Then it makes no difference how many threads there are,
    how far ahead they are, or whether what they made is ever asked for.

    The threads end when the object is forgotten. A forked process starts its own.

    Args:
        function: takes the elements of a key, in any thread.
        workers: threads, at least 1.
    """

    def __init__(self, function: Callable[..., Any], workers: int) -> None:
        self._function, self._workers = function, workers
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._futures: dict[Hashable, concurrent.futures.Future[Any]] = {}
        self._pool = concurrent.futures.ThreadPoolExecutor(self._workers, "keras_vaegan_data")

    def __call__(self, key: tuple[Hashable, ...], following: Iterable[tuple[Hashable, ...]]) -> Any:
        """Return the value of a key, and let the threads begin with those that will be asked for next.

        An error of the function is raised here, when its value is asked for.
        """
        if self._process != os.getpid():
            self._begin()
        wanted = list(dict.fromkeys([key, *following]))
        with self._lock:  # TensorFlow asks in a thread of its own, and of an older pass at the same time
            for old in [one for one in self._futures if one not in wanted]:
                self._futures.pop(old).cancel()
            for one in wanted:
                if one not in self._futures:
                    self._futures[one] = self._pool.submit(self._function, *one)
            future = self._futures.pop(key)
        return future.result()

    def forget(self) -> None:
        """Drop what was made and not asked for."""
        with self._lock:
            for future in self._futures.values():
                future.cancel()
            self._futures.clear()

    def __getstate__(self) -> dict[str, Any]:
        """Return the state to copy or pickle: no threads, and nothing that they made."""
        return {"_function": self._function, "_workers": self._workers}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the state, with threads of its own."""
        self.__dict__.update(state)
        self._begin()
