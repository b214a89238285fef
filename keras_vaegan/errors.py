"""The error for bad input, text made safe for one line, and the suggestion of a nearest name."""

import difflib
import math
from collections.abc import Collection, Iterable
from numbers import Integral, Real
from typing import Any, TypeVar

T = TypeVar("T")


class InputError(ValueError):
    """Input from outside that cannot be used.

    The message is one line that names the argument, what is allowed and what
    was received. The command line prints it and exits with code 2.
    """


def one_line(text: object, limit: int | None = None) -> str:
    """`text` in one printable line: blanks joined, control characters and bad bytes escaped.

    A terminal acts on control characters of a file's name, and cannot print a name that is no UTF-8.

    Args:
        text: anything; its `str` is taken.
        limit: the number of characters after which it is cut; None for no limit.
    """
    words = " ".join(str(text).split())[:limit]
    printable = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in words)
    return printable.encode("utf-8", "backslashreplace").decode("utf-8")


def unknown_name(argument: str, received: object, allowed: Iterable[Any]) -> InputError:
    """Return an `InputError` for a name outside `allowed`, with the nearest right one.

    Args:
        argument: what the name stands for, as the user wrote it.
        received: the name that came.
        allowed: iterable of the names that would do.
    """
    allowed = [str(name) for name in allowed]
    folded = {name.lower(): name for name in reversed(allowed)}
    close = difflib.get_close_matches(str(received).lower(), folded, n=1, cutoff=0.4)
    hint = f" Did you mean {folded[close[0]]!r}?" if close else ""
    return InputError(f"{argument} must be one of {', '.join(allowed)}; received {received!r}.{hint}")


def choose(argument: str, received: T, allowed: Collection[Any]) -> T:
    """Return `received` if it is one of `allowed`, else raise the error of `unknown_name`."""
    if received not in allowed:
        raise unknown_name(argument, received, allowed)
    return received


def whole_number(argument: str, received: Any, least: int) -> int:
    """Return `received` as an int if it is a whole number of at least `least`, else raise."""
    if isinstance(received, bool) or not isinstance(received, Integral) or received < least:
        raise InputError(f"{argument} must be an integer of at least {least}; received {received!r}.")
    return int(received)


def at_least(argument: str, received: Any, least: float) -> Any:
    """Return `received`, as a number of Python's, if it is finite and at least `least`, else raise."""
    number = isinstance(received, Real) and not isinstance(received, bool)
    if not number or not math.isfinite(received) or received < least:
        raise InputError(f"{argument} must be a number of at least {least}; received {received!r}.")
    return received.item() if hasattr(received, "item") else received
