"""Signals that ask a process to end, as preemption and `docker stop` do, turned into a tidy end."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

# SIGHUP, which a closed terminal sends, does not exist on Windows.
SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))


class Ended(SystemExit):
    """Raised when a signal came; no `except Exception` of a library holds it up.

    If nothing catches it, the process ends with the exit code by which a shell tells the signal: 143 for
    SIGTERM, 129 for SIGHUP.

    Attributes:
        number: of the signal.
        name: of the signal, as "SIGTERM".
        code: the exit code.
    """

    def __init__(self, number: int) -> None:
        super().__init__(exit_code(number))
        self.number, self.name = number, signal.Signals(number).name


def exit_code(number: int) -> int:
    """The exit code by which a shell tells that a signal ended a process."""
    return 128 + number


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Hold Ctrl-C and the other signals back until the body is done, as while TensorFlow is imported.

    An exception that comes as a library of C++ is initialized ends the process with SIGABRT, or is swallowed.
    A second signal acts at once. Outside of the main thread, which alone gets signals, nothing is held back.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous: dict[int, Any] = {}
    came: list[int] = []

    def hold(number: int, frame: Any) -> None:
        if came:
            came.clear()
            previous[number](number, frame)
        came.append(number)

    for number in (signal.SIGINT, *SIGNALS):
        handler = signal.getsignal(number)
        if callable(handler):  # others end the process without an exception, or do nothing
            previous[number] = handler
            signal.signal(number, hold)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        if came:
            previous[came[0]](came[0], None)


@contextlib.contextmanager
def ending_on_signals() -> Iterator[None]:
    """Raise `Ended` in the body if such a signal comes, so that files and locks are tidied up.

    Ctrl-C raises `KeyboardInterrupt`, as usual. If a library swallows either exception, or raises an error
    in place of it, the body ends with it all the same. A signal that the process ignores, as SIGHUP under
    `nohup`, stays ignored.
    """
    previous: dict[int, Any] = {}
    came: list[int] = []

    def end(number: int, frame: Any) -> None:
        came.append(number)
        raise ending(number)

    def ending(number: int) -> BaseException:
        return KeyboardInterrupt() if number == signal.SIGINT else Ended(number)

    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            # None is a handler that was not set from Python, and could not be put back.
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                previous[number] = signal.signal(number, end)
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            previous[signal.SIGINT] = signal.signal(signal.SIGINT, end)
    try:
        yield
        if came:  # a library has swallowed it
            raise ending(came[-1])
    except Exception as error:
        if came:  # as a lock that is released though the signal came before it was taken
            raise ending(came[-1]) from error
        raise
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
