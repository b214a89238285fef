"""`doctor`: what the numbers of a training show, in plain words."""

import click

from keras_vaegan.cli.options import Count, GroupedCommand, echo, option
from keras_vaegan.errors import InputError
from keras_vaegan.runs import diagnose_run, read_run


@click.command(cls=GroupedCommand, arguments={"run_folder": "RUN"})
@click.argument("run")
@option("--patience", type=Count(1), default=3, help="Report states that last this many epochs.")
def doctor(run, patience):
    """Tell what went wrong in the training of the run folder RUN, and what to try.

    Exits with code 1 where the trained model is of no use, else with 0.
    """
    history = read_run(run).history
    epochs = len(history.get("epoch", ()))
    if not epochs:
        raise InputError(f"RUN must have a history.csv with an epoch at least; that of {run} has none.")
    findings = diagnose_run(run, history, patience)
    for finding in findings:
        echo(f"{finding.severity}: {finding.message}")
    if not findings:
        echo(f"nothing found in {epochs} epochs")
    if any(finding.severity == "severe" for finding in findings):
        raise SystemExit(1)
