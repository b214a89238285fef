"""The error for bad input, text made safe for one line, and the suggestion of a nearest name."""

import difflib
import math
import reprlib
from collections.abc import Collection, Iterable
from numbers import Integral, Real
from typing import Any, TypeVar

T = TypeVar("T")
SHOWN = 200  # characters of a received value in a message
FORMULAS = ("=", "+", "-", "@", "\t", "\r")  # the beginnings of a spreadsheet's formulas


class InputError(ValueError):
    """Input from outside that cannot be used.

    The message is one line that names the argument, what is allowed and what
    was received. The command line prints it and exits with code 2.

    Args:
        message: its line breaks and control characters, as of a received array or name, are escaped.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(one_line(message))


def one_line(text: object, limit: int | None = None) -> str:
    """`text` in one printable line: blanks joined, control characters and bad bytes escaped.

    A terminal acts on control characters of a file's name, and cannot print a name that is no UTF-8.

    Args:
        text: anything; its `str` is taken.
        limit: the number of characters after which it is cut; None for no limit.
    """
    return printable(" ".join(str(text).split())[:limit])


def printable(text: str) -> str:
    """`text` with its control characters and bad bytes escaped; blanks stay, line breaks do not."""
    safe = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
    return safe.encode("utf-8", "backslashreplace").decode("utf-8")


def shown(value: object) -> str:
    """`value` as a message shows it: its `repr` in one line, shortened if it is long or deep."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = short.maxlong = SHOWN
    short.maxlist = short.maxtuple = short.maxdict = short.maxset = 10
    return one_line(short.repr(value))


def csv_cell(text: object) -> str:
    """`text` as one cell of a CSV file, printable, with its blanks, that no spreadsheet takes for a formula.

    A spreadsheet evaluates a cell that begins with `=`, `+`, `-` or `@`, so an apostrophe comes before it.
    Numbers stay as they are.
    """
    raw = str(text)
    cell = printable(raw)
    if isinstance(text, Real) or not raw.startswith(FORMULAS) and not raw.lstrip().startswith(FORMULAS):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell


def unknown_name(argument: str, received: object, allowed: Iterable[Any]) -> InputError:
    """Return an `InputError` for a name outside `allowed`, with the nearest right one.

    Args:
        argument: what the name stands for, as the user wrote it.
        received: the name that came.
        allowed: iterable of the names that would do.
    """
    allowed = [str(name) for name in allowed]
    folded = {name.lower(): name for name in reversed(allowed)}
    close = difflib.get_close_matches(str(received)[:SHOWN].lower(), folded, n=1, cutoff=0.4)
    hint = f" Did you mean {folded[close[0]]!r}?" if close else ""
    return InputError(f"{argument} must be one of {', '.join(allowed)}; received {shown(received)}.{hint}")


def choose(argument: str, received: T, allowed: Collection[Any]) -> T:
    """Return `received` if it is one of `allowed`, else raise the error of `unknown_name`."""
    try:
        known = bool(received in allowed)
    except (TypeError, ValueError):  # a value without a hash, or an array
        known = False
    if not known:
        raise unknown_name(argument, received, allowed)
    return received


def whole_number(argument: str, received: Any, least: int) -> int:
    """Return `received` as an int if it is a whole number of at least `least`, else raise."""
    if isinstance(received, bool) or not isinstance(received, Integral) or received < least:
        raise InputError(f"{argument} must be an integer of at least {least}; received {shown(received)}.")
    return int(received)


def flag(argument: str, received: Any) -> bool:
    """Return `received` as a bool if it is True or False, else raise."""
    if type(received).__name__ not in ("bool", "bool_"):
        raise InputError(f"{argument} must be True or False; received {shown(received)}.")
    return bool(received)


def at_least(argument: str, received: Any, least: float) -> Any:
    """Return `received`, as a number of Python's, if it is finite and at least `least`, else raise."""
    number = isinstance(received, Real) and not isinstance(received, bool)
    if not number or not math.isfinite(received) or received < least:
        raise InputError(f"{argument} must be a number of at least {least}; received {shown(received)}.")
    return received.item() if hasattr(received, "item") else received
