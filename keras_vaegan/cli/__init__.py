"""The command line, `keras-vaegan`. Keras is imported by a command, after it has read `--backend`."""

import contextlib
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from keras_vaegan import __version__
from keras_vaegan.cli.doctor import doctor
from keras_vaegan.cli.ending import Ended, ending_on_signals
from keras_vaegan.cli.evaluate import evaluate
from keras_vaegan.cli.export import export
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
from keras_vaegan.errors import InputError, unknown_name

PROGRAM = "keras-vaegan"


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
def cli():
    """Variational auto-encoders joined with generative adversarial networks."""


for command in (
    train,
    generate,
    reconstruct,
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
    cli.add_command(command)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line; bad input is one line on standard error and exit code 2."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.showwarning = _show_warning
    try:
        with ending_on_signals():
            code = cli.main(args=arguments, prog_name=PROGRAM, standalone_mode=False) or 0
        sys.exit(code)
    except click.ClickException as error:
        _fail(error.format_message())
    except InputError as error:
        _fail(error)
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        _fail(f"{error.strerror or error}{where}")
    except (click.Abort, KeyboardInterrupt):
        click.echo(f"{PROGRAM}: interrupted", err=True)
        sys.exit(130)
    except Ended as signal:
        with contextlib.suppress(OSError):  # a terminal that was closed
            click.echo(f"{PROGRAM}: ended by {signal.name}", err=True)
        sys.exit(signal.code)


def _fail(message: object) -> NoReturn:
    click.echo(f"{PROGRAM}: error: {' '.join(str(message).split())}", err=True)
    # A closed pipe must not turn the exit code into a traceback.
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    sys.exit(2)


def _show_warning(
    message: Warning | str, category: Any, filename: str, lineno: int, file: Any = None, line: Any = None
) -> None:
    if "keras_vaegan" in filename:
        click.echo(f"{PROGRAM}: warning: {' '.join(str(message).split())}", err=True)
