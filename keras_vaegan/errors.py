"""The error for bad input, text made safe for one line, and the suggestion of a nearest name."""

import contextlib
import copy
import difflib
import math
import pickle
import re
import reprlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from numbers import Integral, Real
from typing import Any, Self, TypeVar

T = TypeVar("T")
SHOWN = 200  # characters of a received value in a message
ALIKE = 0.7  # of 1: the likeness of a word to the name that it is a misspelling of
FORMULAS = ("=", "+", "-", "@", "\t", "\r")  # the beginnings of a spreadsheet's formulas

# An argument's name: `num_images`, `optimizer.generator.class`, `RUN`, or an option's, `--num-images`.
NAME = r"(?P<argument>(?P<option>--)?[a-z_]\w*(?:[.-]\w+)*|[A-Z][A-Z_]+)"
# A phrase that begins with a name: `images: labels`, `option model.gamma`, `num_images=5`, `source /a b`.
PHRASE = re.compile(rf"(?:option )?{NAME}(?=[ :=\[(]|$)")
# A message of the form `<argument> must ...` or `<argument> cannot ...`. Between the two may stand what
# makes the argument a longer phrase. A message that begins with an option is about that option.
MESSAGE = re.compile(
    rf"""(?:option\ )?{NAME}
    (?(option)(?=[ :])|
        (?:\[[^]]*\])*                                      # metadata['results']['loss']
        (?::(?:\ [\w.]+)+?)?                                # images: class folder
        (?:\ of(?:\ \w+){{1,4}}?)?                          # x of the first batch
        (?:\ (?:'[^']*'|"[^"]*"|\([^)]*\)|\S*[/\\]\S*))?   # a value: 'text', (a remark), /a/path
        \ (?:must|cannot)[ ]
    )""",
    re.VERBOSE,
)


class InputError(ValueError):
    """Input from outside that cannot be used.

    The message is one line: "<argument> must <what is allowed>; received <what came>." The command line
    prints it, with the option's name in place of the argument's, and exits with code 2.

    Args:
        message: its line breaks and control characters, as of a received array or name, are escaped.
        argument: the argument's name, or a phrase that begins with it, as "images: labels". If None, the
            name is taken from the message, if it begins with "<argument> must" or "<argument> cannot", or
            with an option.
        allowed: what the argument may be: a collection of names, or words.
        received: the value that came.

    Attributes:
        argument: the name alone, as `num_images` or `optimizer.generator.learning_rate`; None if unknown.
        allowed: as given; None if the message alone says it.
        received: as given; None if the message alone says it.
    """

    def __init__(
        self,
        message: object = "",
        *,
        argument: str | None = None,
        allowed: Any = None,
        received: Any = None,
    ) -> None:
        super().__init__(one_line(message))
        found = MESSAGE.match(str(self)) if argument is None else PHRASE.match(str(argument))
        self.argument: str | None = found["argument"] if found else None
        self.allowed, self.received = allowed, received

    def renamed(self, name: str) -> Self:
        """Return this error with another name for its argument, also at the beginning of the message."""
        error, message = copy.copy(self), str(self)
        begin = PHRASE.match(message)
        if begin and begin["argument"] == self.argument:
            error.args = (one_line(name + message[begin.end() :]),)
        error.argument = name
        return error

    def __copy__(self) -> Self:
        error = type(self)(*self.args)
        vars(error).update(vars(self))
        return error

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the fields; those that cannot be pickled become text."""
        fields = dict(vars(self))
        for name in ("allowed", "received"):
            try:
                pickle.dumps(fields[name])
            except Exception:  # each class refuses in its own way
                fields[name] = shown(fields[name])
        return type(self), self.args, fields


@contextlib.contextmanager
def renaming(**names: str) -> Iterator[None]:
    """Rename arguments in errors of the body, where a function passes its argument on by another name.

    Args:
        **names: for each name of an argument in the body, the caller's name for it.
    """
    try:
        yield
    except InputError as error:
        if error.argument not in names:
            raise
        raise error.renamed(names[error.argument]) from error


def must_be(argument: str, allowed: str, received: object) -> InputError:
    """Return the error "<argument> must be <allowed>; received <received>."."""
    message = f"{argument} must be {allowed}; received {shown(received)}."
    return InputError(message, argument=argument, allowed=allowed, received=received)


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


def nearest(received: object, allowed: Iterable[Any]) -> str | None:
    """Return the name of `allowed` that `received` misspells, in any case; None if there is none."""
    folded = {str(name).lower(): str(name) for name in reversed(list(allowed))}
    word = str(received)[:SHOWN].lower()
    cutoff = ALIKE if len(word) > 3 else 2 / 3  # `dgo` is `dog`
    close = difflib.get_close_matches(word, folded, n=1, cutoff=cutoff)
    return folded[close[0]] if close else None


def did_you_mean(name: str | None) -> str:
    """Return the end of a message that suggests a name; nothing for None."""
    return "" if name is None else f" Did you mean {name!r}?"


def unknown_name(
    argument: str,
    received: object,
    allowed: Iterable[Any],
    *,
    synonyms: Mapping[str, str] | None = None,
    kind: str | None = None,
    listing: str = "",
) -> InputError:
    """Return an `InputError` for a name outside `allowed`, with the nearest right one.

    Args:
        argument: what the name stands for, as the user wrote it.
        received: the name that came.
        allowed: iterable of the names that would do.
        synonyms: other words for some of them, in lower case, each with the name that is meant.
        kind: what the names are, in place of all of them if they are many.
        listing: a sentence that says what shows all of them.
    """
    allowed = tuple(str(name) for name in allowed)
    meant = (synonyms or {}).get(str(received).lower()) or nearest(received, allowed)
    what = kind or f"one of {', '.join(allowed)}"
    message = f"{argument} must be {what}; received {shown(received)}.{did_you_mean(meant)}"
    message += f" {listing}" if listing else ""
    return InputError(message, argument=argument, allowed=allowed, received=received)


def choose(argument: str, received: T, allowed: Collection[Any], **settings: Any) -> T:
    """Return `received` if it is one of `allowed`, else raise the error of `unknown_name`."""
    try:
        known = bool(received in allowed)
    except (TypeError, ValueError):  # a value without a hash, or an array
        known = False
    if not known:
        raise unknown_name(argument, received, allowed, **settings)
    return received


def whole_number(argument: str, received: Any, least: int) -> int:
    """Return `received` as an int if it is a whole number of at least `least`, else raise."""
    if isinstance(received, bool) or not isinstance(received, Integral) or received < least:
        raise must_be(argument, f"an integer of at least {least}", received)
    return int(received)


def flag(argument: str, received: Any) -> bool:
    """Return `received` as a bool if it is True or False, else raise."""
    if type(received).__name__ not in ("bool", "bool_"):
        raise must_be(argument, "True or False", received)
    return bool(received)


def at_least(argument: str, received: Any, least: float) -> Any:
    """Return `received`, as a number of Python's, if it is finite and at least `least`, else raise."""
    number = isinstance(received, Real) and not isinstance(received, bool)
    if not number or not math.isfinite(received) or received < least:
        raise must_be(argument, f"a number of at least {least}", received)
    return received.item() if hasattr(received, "item") else received
