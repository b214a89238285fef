"""`presets`: what there is to train and to load."""

import json
from typing import Any

import click

from keras_vaegan.cli import options
from keras_vaegan.cli.options import GroupedCommand
from keras_vaegan.errors import InputError
from keras_vaegan.files import MOST_FACTS, read_json, user_path
from keras_vaegan.presets.recipes import RECIPES
from keras_vaegan.presets.shipped import shipped, trained_presets
from keras_vaegan.runs import METADATA


@click.command(cls=GroupedCommand, arguments={"preset": "NAME", "source": "NAME"})
@click.argument("name", required=False)
@options.option("--options", "listed", is_flag=True, help="List its options, as --set takes them.")
@options.backend
def presets(name, listed):
    """List the presets, or show one: its recipe, and what its trained weights gave.

    NAME may also be a folder, hf://user/name or hf://user/name@revision. `train --preset NAME` repeats the
    recipe; commands that take a SOURCE take the name of a preset with weights.
    """
    if listed:
        _list_options(name)
        return
    if name is None:
        trained = trained_presets()
        for preset, recipe in RECIPES.items():
            weights = "with weights" if preset in trained else "recipe"
            options.echo(f"{preset:23} {weights:13} {recipe['expect']}")
        return
    name, found, metadata = _found(name)
    known = {key: value for key, value in metadata.items() if key != "recipe"}
    written, length = [], 0
    shown = {"preset": name, "recipe": found, **known}
    for part in json.JSONEncoder(indent=2).iterencode(shown):
        written.append(part)
        length += len(part)
        if length > MOST_FACTS:
            raise InputError(f"name must be a preset of which less than {MOST_FACTS:,} characters are known.")
    options.echo("".join(written))


def _list_options(name: str | None) -> None:
    """Print the name of every option of a preset, with its value if the recipe has one."""
    if name is None:
        raise InputError("name must be given with --options, as in keras-vaegan presets vae_mnist --options.")
    options.load_keras()
    from keras_vaegan.presets import find
    from keras_vaegan.presets import options as options_of

    recipe = find(name).recipe
    if recipe is None:
        raise InputError(f"name must be a preset with a recipe; {name} has weights alone.")
    for option in options_of(recipe):
        value: Any = recipe
        for part in option.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        options.echo(option if value is None else f"{option:44} {json.dumps(value)}")


def _found(name: str) -> tuple[str, dict[str, Any] | None, dict[str, Any]]:
    """Name, recipe and metadata of a preset; those of the package are read without Keras."""
    if name in RECIPES and not user_path("preset", name).exists():
        folder = shipped(name)
        return name, RECIPES[name], {} if folder is None else read_json(folder / METADATA, "preset", dict)
    options.load_keras()
    from keras_vaegan.presets import find

    found = find(name)
    return found.name, found.recipe, found.metadata
