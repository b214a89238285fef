"""`presets`: what there is to train and to load."""

import json

import click

from keras_vaegan.cli import options
from keras_vaegan.cli.options import GroupedCommand


@click.command(cls=GroupedCommand)
@click.argument("name", required=False)
@options.backend
def presets(name):
    """List the presets, or show one: its recipe, and what its trained weights gave.

    NAME may also be a folder or hf://user/name. `train --preset NAME` repeats the recipe; commands
    that take a SOURCE take the name of a preset with weights.
    """
    options.load_keras()
    from keras_vaegan.presets import RECIPES, find, trained_presets

    if name is None:
        trained = trained_presets()
        for preset, recipe in RECIPES.items():
            weights = "with weights" if preset in trained else "recipe"
            options.echo(f"{preset:23} {weights:13} {recipe['expect']}")
        return
    found = find(name)
    known = {key: value for key, value in found.metadata.items() if key != "recipe"}
    options.echo(json.dumps({"preset": found.name, "recipe": found.recipe, **known}, indent=2))
