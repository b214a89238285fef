"""`report`: a run folder as one web page."""

import re

import click

from keras_vaegan.cli.options import GroupedCommand, option
from keras_vaegan.errors import InputError


@click.command(cls=GroupedCommand)
@click.argument("run")
@option("--output", default=None, show_default="RUN/report.html", help="File to write: .html.")
def report(run, output):
    """Write one web page on the run folder RUN.

    It shows samples, reconstructions, curves and scores, and needs no other file.
    """
    from keras_vaegan.report import write_report

    try:
        path = write_report(run, output)
    except InputError as error:
        message = re.sub(r"^output\b", "--output", re.sub(r"^run_folder\b", "RUN", str(error)))
        raise InputError(message) from error
    click.echo(f"wrote {path}")
