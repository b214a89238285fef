"""MNIST classifiers to choose recipes by, so that the shipped ones stay out of every choice.

    python benchmarks/selection_classifier.py runs/selection.keras
    python benchmarks/selection_classifier.py runs/selection_plain.keras --architecture mnist_plain
    python benchmarks/selection_classifier.py runs/trained_alike.keras --architecture mnist_plain --alike

A small network of its own, or an architecture of the shipped ones; the seed differs from theirs, the training
too unless it is to be alike, and the 5,000 validation images, on which recipes are compared, are not
trained on. Used as `--features runs/selection.keras`.
"""

import argparse
import pathlib

import keras
from keras import layers
from train_classifiers import fit

from keras_vaegan.data import load
from keras_vaegan.files import atomic_path
from keras_vaegan.metrics.classifiers import ARCHITECTURES


def small():
    """Two strided convolutions; 64 features; images `(B, 28, 28, 1)` in [0, 1]."""
    images = keras.Input((28, 28, 1))
    x = layers.Conv2D(16, 5, strides=2, activation="relu", padding="same")(images)
    x = layers.Conv2D(32, 3, strides=2, activation="relu", padding="same")(x)
    features = layers.Dense(64, activation="relu")(layers.Flatten()(x))
    return keras.Model(images, {"features": features, "logits": layers.Dense(10)(features)}, name="selection")


NETWORKS = {"small": small, **ARCHITECTURES}


def main():
    """Train it and save it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("output", type=pathlib.Path)
    parser.add_argument("--architecture", choices=NETWORKS, default="small")
    alike = "change the images and go on for as many epochs as the shipped ones; else three epochs"
    parser.add_argument("--alike", action="store_true", help=alike)
    parser.add_argument("--manual-dir")
    parser.add_argument("--data-dir")
    options = parser.parse_args()

    data = load("mnist", data_dir=options.data_dir, manual_dir=options.manual_dir)
    keras.utils.set_random_seed(123)
    model = NETWORKS[options.architecture]()
    if options.alike:
        fit(model, data, options.output.with_suffix(".backup"))
    else:
        classifier = keras.Model(model.inputs, model.output["logits"])
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        classifier.compile("adam", loss, metrics=["accuracy"])
        classifier.fit(*data.train, batch_size=128, epochs=3, verbose=2, validation_data=data.validation)
    model.name = options.output.stem
    with atomic_path(options.output) as temporary:
        model.save(temporary)


if __name__ == "__main__":
    main()
