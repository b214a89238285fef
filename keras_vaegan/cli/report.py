"""`report`: a run folder as one web page."""

import click

from keras_vaegan.cli.options import GroupedCommand, Output, echo, option
from keras_vaegan.runs import diagnose_run, read_run


@click.command(cls=GroupedCommand, arguments={"run_folder": "RUN"})
@click.argument("run")
@option(
    "--output",
    type=Output(folder=True),
    default=None,
    show_default="RUN/report.html",
    help="Write this .html file.",
)
def report(run, output):
    """Write one web page on the run folder RUN.

    It shows samples, reconstructions, curves and scores, and needs no other file.
    """
    from keras_vaegan.report import write_report

    seen = diagnose_run(run, read_run(run).history)
    path = write_report(run, output, [finding.message for finding in seen])
    echo(f"wrote {path}")
