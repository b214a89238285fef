"""What the scripts beside this one share: their options, their data, and a small model trained on it."""

import argparse
import pathlib

import keras_vaegan as kvg
from keras_vaegan import presets

QUICK_EPOCHS = 10


def parsed(doc, sources=(), more=()):
    """The options given and the data; the folder for what is made is there.

    Args:
        doc: of the script, whose first paragraph is its help.
        sources: `{key: source}`, an option for each model that the script takes.
        more: `{flag: settings}`, options of its own.
    """
    parser = argparse.ArgumentParser(description=doc.split("\n\n")[0])
    parser.add_argument("--output", type=pathlib.Path, required=True, help="folder for what is made")
    for key, source in dict(sources).items():
        parser.add_argument(f"--{key.replace('_', '-')}", default=source, help="a run, preset or .keras file")
    for flag, settings in dict(more).items():
        parser.add_argument(flag, **settings)
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--data-dir")
    parser.add_argument("--manual-dir")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="small models, trained here on embedded digits")
    options = parser.parse_args()
    dataset = "digits" if options.quick else options.dataset
    data = kvg.data.load(dataset, data_dir=options.data_dir, manual_dir=options.manual_dir)
    options.output.mkdir(parents=True, exist_ok=True)
    return options, data


def recipe(key, options, **training):
    """The recipe of a model for the data of a script, with changes to its training."""
    found = presets.recipe_for(key, "digits" if options.quick else "mnist")
    if options.quick:
        presets.override(found, "training.epochs", QUICK_EPOCHS)
    found["training"] |= training
    return found


def trained(key, data):
    """A small model of that kind, trained on the data."""
    name = f"{key}_mnist_small"
    print(f"{name}: {QUICK_EPOCHS} epochs")
    model = presets.build(presets.recipe(name), data.image_shape, seed=0, num_classes=data.num_classes)
    x, y = data.train
    model.fit(x, model.labels_of(y), batch_size=32, epochs=QUICK_EPOCHS, verbose=0)
    return model
