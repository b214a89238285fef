"""The command line, `keras-vaegan`. Keras is imported by a command, after it has read `--backend`."""

import contextlib
import errno
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from keras_vaegan import __version__
from keras_vaegan.cli.codes import decode, encode
from keras_vaegan.cli.doctor import doctor
from keras_vaegan.cli.evaluate import evaluate
from keras_vaegan.cli.export import export
from keras_vaegan.cli.fit_prior import fit_prior
from keras_vaegan.cli.options import GroupedOption
from keras_vaegan.cli.presets import presets
from keras_vaegan.cli.report import report
from keras_vaegan.cli.sample import (
    animate,
    classify,
    complete,
    generate,
    interpolate,
    reconstruct,
    transfer_style,
)
from keras_vaegan.cli.train import models, train
from keras_vaegan.errors import InputError, one_line, unknown_name
from keras_vaegan.files import reason_of
from keras_vaegan.signals import Ended, ending_on_signals

PROGRAM = "keras-vaegan"
DEBUG, DEBUG_VARIABLE = "--debug", "KERAS_VAEGAN_DEBUG"
BAD_INPUT, INTERNAL, INTERRUPTED = 2, 1, 130  # exit codes; 1 is also that of a training or doctor that warns
LONGEST_MESSAGE = 2000  # characters of an error, which may repeat what a foreign file holds
# How the backends say that the memory does not suffice; none of them raises `MemoryError`.
OUT_OF_MEMORY_TYPES = ("ResourceExhaustedError", "OutOfMemoryError")
OUT_OF_MEMORY = ("resource_exhausted", "resource exhausted", "not enough memory", "out of memory", "oom when")


class Commands(click.Group):
    """A group that tells the nearest right name of an unknown command."""

    def resolve_command(
        self, context: click.Context, arguments: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if arguments and not arguments[0].startswith("-") and arguments[0] not in self.commands:
            raise unknown_name("command", arguments[0], self.commands)
        return super().resolve_command(context, arguments)


@click.group(PROGRAM, cls=Commands, context_settings={"max_content_width": 100})
@click.version_option(__version__, prog_name=PROGRAM)
@click.option(DEBUG, is_flag=True, expose_value=False, help="Show the traceback of an error.")
def cli():
    """Variational auto-encoders joined with generative adversarial networks."""


for command in (
    train,
    fit_prior,
    generate,
    reconstruct,
    encode,
    decode,
    interpolate,
    complete,
    transfer_style,
    classify,
    animate,
    export,
    evaluate,
    report,
    doctor,
    presets,
    models,
):
    command.params.append(
        GroupedOption([DEBUG], is_flag=True, expose_value=False, help="Show the traceback of an error.")
    )
    cli.add_command(command)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line: every error is one line on standard error.

    Exits with 0 after success, with 2 for input that cannot be used and for too little memory, with 1 for
    an error of the package itself, and with 130 after Ctrl-C. `--debug`, or the environment variable
    `KERAS_VAEGAN_DEBUG=1`, shows the traceback as well.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.showwarning = _show_warning
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = DEBUG in words or os.environ.get(DEBUG_VARIABLE, "0") not in ("", "0")
    try:
        with ending_on_signals():
            code = cli.main(args=words, prog_name=PROGRAM, standalone_mode=False) or 0
        _flush()  # a full disk or a closed pipe shows here, not when Python ends
        sys.exit(code)
    except (click.Abort, KeyboardInterrupt):
        _say("interrupted")
        sys.exit(INTERRUPTED)
    except Ended as signal:
        with contextlib.suppress(OSError):  # a terminal that was closed
            _say(f"ended by {signal.name}")
        sys.exit(signal.code)
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.EPIPE:  # as of `| head`
            _leave_closed_pipe()
        if debug:
            traceback.print_exc()
        code, message = _explained(error)
        _say(f"error: {message}")
        with contextlib.suppress(OSError):
            _flush()
        sys.exit(code)


def _explained(error: Exception) -> tuple[int, str]:
    """The exit code and the message of an error, of whatever kind."""
    if isinstance(error, click.ClickException):
        return BAD_INPUT, error.format_message()
    if isinstance(error, InputError):
        return BAD_INPUT, str(error)
    text = str(error).lower()
    if "no space left" in text and not isinstance(error, OSError):  # as TensorFlow and h5py say it
        return BAD_INPUT, f"No space left on device. ({reason_of(error)})"
    if "before 1980" in text:
        return (
            BAD_INPUT,
            "the clock of this machine must be set: a .npz or .keras file has no date before 1980.",
        )
    if _is_out_of_memory(error):
        advice = "use a smaller --batch-size, fewer or smaller images, or a smaller network"
        return BAD_INPUT, f"the memory does not suffice; {advice}. ({reason_of(error)})"
    if type(error).__module__ == "builtins" and isinstance(error, OSError):
        where = f": {os.fsdecode(error.filename)}" if isinstance(error.filename, (str, bytes)) else ""
        return BAD_INPUT, f"{error.strerror or error}{where}"
    if isinstance(error, ValueError) and "null byte" in text:
        return BAD_INPUT, "a path must not hold a null character."
    kind = type(error).__name__
    return INTERNAL, f"{reason_of(error)} (unexpected: {kind}; run with {DEBUG} for the traceback)"


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, MemoryError) or type(error).__name__ in OUT_OF_MEMORY_TYPES:
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in text for words in OUT_OF_MEMORY)


def _say(message: object) -> None:
    with contextlib.suppress(OSError):
        click.echo(f"{PROGRAM}: {one_line(message, LONGEST_MESSAGE)}", err=True)


def _flush() -> None:
    if sys.stdout is not None:  # closed by `>&-`
        sys.stdout.flush()


def _leave_closed_pipe() -> NoReturn:
    """Exit when nobody reads the output any more; Python must not fail at its last flush, either."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, sys.stdout.fileno())
        os.close(nothing)
    sys.exit(INTERNAL)


def _show_warning(
    message: Warning | str, category: Any, filename: str, lineno: int, file: Any = None, line: Any = None
) -> None:
    if "keras_vaegan" in filename:
        _say(f"warning: {message}")
