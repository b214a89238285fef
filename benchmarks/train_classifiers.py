"""Train the MNIST classifiers of `keras_vaegan.metrics`; run once, then frozen.

    python benchmarks/train_classifiers.py mnist_plain --output FOLDER [--manual-dir DIR]

55,000 training images, random shifts and small rotations and zooms, Adam with a cosine schedule;
the number of epochs was fixed beforehand. Validation accuracy is watched; the test images are
looked at once, at the end. A checkpoint is written every epoch: run the command again to go on.
"""

import argparse
import json
import pathlib

import keras
import numpy as np

from keras_vaegan.data import load
from keras_vaegan.files import atomic_path, write_json
from keras_vaegan.metrics.classifiers import ARCHITECTURES

EPOCHS, BATCH, SEED = 15, 128, 0


def main():
    """Train one classifier and write its weights in float16 with what it scored."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("name", choices=ARCHITECTURES)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--data-dir")
    parser.add_argument("--manual-dir")
    options = parser.parse_args()

    keras.utils.set_random_seed(SEED)
    data = load("mnist", data_dir=options.data_dir, manual_dir=options.manual_dir)
    _, (x_val, y_val), (x_test, y_test) = data
    classifier = ARCHITECTURES[options.name]()
    fit(classifier, data, options.output / f"{options.name}_backup")
    classifier.set_weights([np.float32(np.float16(weights)) for weights in classifier.get_weights()])

    def accuracy(images, labels):
        return float(np.mean(classifier.predict(images, verbose=0)["logits"].argmax(-1) == labels))

    scores = {"validation_accuracy": accuracy(x_val, y_val), "test_accuracy": accuracy(x_test, y_test)}
    with atomic_path(options.output / f"{options.name}.npz") as temporary:
        halves = {weights.path: np.float16(weights.numpy()) for weights in classifier.weights}
        np.savez_compressed(temporary, **halves)
    write_json(options.output / f"{options.name}.json", scores | {"epochs": EPOCHS, "seed": SEED})
    print(json.dumps(scores))


def fit(classifier, data, backup):
    """Train on images that are changed at random; what an interrupted run had done is kept in `backup`."""
    (x, y), validation, _ = data
    changed = keras.Sequential(
        [
            keras.Input(x.shape[1:]),
            keras.layers.RandomTranslation(0.08, 0.08, fill_mode="constant"),
            keras.layers.RandomRotation(0.03, fill_mode="constant"),
            keras.layers.RandomZoom((-0.1, 0.1), fill_mode="constant"),
        ]
    )
    model = keras.Model(changed.inputs, classifier(changed.outputs[0])["logits"])
    rate = keras.optimizers.schedules.CosineDecay(1e-3, EPOCHS * -(-len(x) // BATCH))
    model.compile(
        keras.optimizers.Adam(rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    backup = keras.callbacks.BackupAndRestore(backup)
    model.fit(
        x, y, batch_size=BATCH, epochs=EPOCHS, validation_data=validation, verbose=2, callbacks=[backup]
    )


if __name__ == "__main__":
    main()
