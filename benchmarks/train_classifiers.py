"""Train the MNIST classifiers of `keras_vaegan.metrics`; run once, then frozen.

    python benchmarks/train_classifiers.py mnist_plain --output FOLDER [--manual-dir DIR]

55,000 training images, random shifts and small rotations and zooms, Adam with a cosine schedule;
the number of epochs was fixed beforehand. Validation accuracy is watched; the test images are
looked at once, at the end. A checkpoint is written every epoch: run the command again to go on.

For `mnist_reject` an eighth of every batch are images that are no digits, made of others.
"""

import argparse
import json
import pathlib

import keras
import numpy as np

from keras_vaegan.data import load
from keras_vaegan.files import atomic_path, write_json
from keras_vaegan.metrics.classifiers import ARCHITECTURES, NUM_CLASSES, REJECTING
from keras_vaegan.metrics.features import extractor
from keras_vaegan.metrics.recognition import recognized_share

NETWORKS = ARCHITECTURES | REJECTING
EPOCHS, BATCH, SEED = 15, 128, 0
CHANGED = 0.6  # of the squares of an image, by what is called broken


def main():
    """Train one classifier and write its weights in float16 with what it scored."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("name", choices=NETWORKS)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--data-dir")
    parser.add_argument("--manual-dir")
    options = parser.parse_args()

    keras.utils.set_random_seed(SEED)
    data = load("mnist", data_dir=options.data_dir, manual_dir=options.manual_dir)
    _, (x_val, y_val), (x_test, y_test) = data
    classifier = NETWORKS[options.name]()
    rejecting = options.name in REJECTING
    fit(classifier, data, options.output / f"{options.name}_backup", rejecting)
    classifier.set_weights([np.float32(np.float16(weights)) for weights in classifier.get_weights()])

    def accuracy(images, labels):
        return float(np.mean(classifier.predict(images, verbose=0)["logits"].argmax(-1) == labels))

    scores = {"validation_accuracy": accuracy(x_val, y_val), "test_accuracy": accuracy(x_test, y_test)}
    if rejecting:
        generator = np.random.default_rng(SEED)
        for what, images in (("digits", x_test), ("no digits", no_digits(x_test, generator))):
            scores[f"recognized of {what}"] = recognized_share(
                extractor(classifier).extract(images).probabilities
            )
    with atomic_path(options.output / f"{options.name}.npz") as temporary:
        halves = {weights.path: np.float16(weights.numpy()) for weights in classifier.weights}
        np.savez_compressed(temporary, **halves)
    write_json(options.output / f"{options.name}.json", scores | {"epochs": EPOCHS, "seed": SEED})
    print(json.dumps(scores))


def fit(classifier, data, backup, rejecting=False):
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
    settings = {"epochs": EPOCHS, "validation_data": validation, "verbose": 2, "callbacks": [backup]}
    if rejecting:
        model.fit(WithNoDigits(x, y), **settings)
    else:
        model.fit(x, y, batch_size=BATCH, **settings)


class WithNoDigits(keras.utils.PyDataset):
    """Batches of which an eighth are no digits, made of images anew each time."""

    def __init__(self, x, y):
        super().__init__()
        self.x, self.y = x, y
        self.generator = np.random.default_rng(SEED)

    def __len__(self):
        return len(self.x) // BATCH

    def __getitem__(self, index):
        chosen = self.generator.choice(len(self.x), BATCH, replace=False)
        broken, kept = np.split(chosen, [BATCH // 8])
        images = np.concatenate([self.x[kept], no_digits(self.x[broken], self.generator)])
        return images, np.concatenate([self.y[kept], np.full(len(broken), NUM_CLASSES)])


def no_digits(images, generator):
    """Each image `(B, 28, 28, 1)` in [0, 1] made into one that is no digit, in one of `BREAKAGES`."""
    made = []
    for image in images:
        broken, others = image, [image]
        while any(np.square(broken - x).sum() < CHANGED * np.square(x).sum() for x in others):
            breakage = BREAKAGES[generator.integers(len(BREAKAGES))]
            other = images[generator.integers(len(images))]
            broken, others = breakage(image, other, generator), [image, other]
        made.append(broken)
    return np.stack(made).astype("float32")


def shuffled_patches(image, _, generator):
    """Its patches in another order."""
    side = generator.choice([14, 7, 4])
    number = 28 // side
    patches = image.reshape(number, side, number, side).swapaxes(1, 2).reshape(-1, side, side)
    order = generator.permutation(len(patches))
    return patches[order].reshape(number, number, side, side).swapaxes(1, 2).reshape(28, 28, 1)


def part(image, _, generator):
    """What lies on one side of a line near the middle."""
    angle, offset = generator.uniform(0.0, 2.0 * np.pi), generator.uniform(-3.0, 3.0)
    rows, columns = np.mgrid[:28, :28] - 13.5
    kept = rows * np.sin(angle) + columns * np.cos(angle) > offset
    return image * kept[..., None]


def two_in_one(image, other, generator):
    """Two digits, one upon the other, or each at half its brightness."""
    other = np.roll(other, generator.integers(-5, 6, size=2), axis=(0, 1))
    return np.maximum(image, other) if generator.random() < 0.5 else (image + other) / 2


def strokes(image, _, generator):
    """Two to five bent strokes anywhere, as thick as a pen's."""
    t = np.linspace(0.0, 1.0, 24)[:, None]
    drawn = np.zeros((28, 28))
    grid = np.mgrid[:28, :28]
    for _ in range(generator.integers(2, 6)):
        a, b, c = generator.uniform(4.0, 24.0, (3, 1, 2))
        points = (1 - t) ** 2 * a + 2 * t * (1 - t) * b + t**2 * c
        squares = ((grid[..., None] - points.T[:, None, None]) ** 2).sum(axis=0).min(axis=-1)
        drawn = np.maximum(drawn, np.exp(-squares / (2 * generator.uniform(0.6, 1.6) ** 2)))
    return np.clip(1.5 * drawn, 0.0, 1.0)[..., None]


def holes(image, other, generator):
    """Squares of another digit in its place, and of nothing."""
    image, other = image.copy(), np.roll(other, generator.integers(-4, 5, size=2), axis=(0, 1))
    for with_what in (other, np.zeros_like(other), other):
        row, column = generator.integers(2, 16, size=2)
        height, width = generator.integers(8, 13, size=2)
        place = slice(row, row + height), slice(column, column + width)
        image[place] = with_what[place]
    return image


def noise(image, _, generator):
    """Grey noise, coarse or fine, or nothing at all."""
    side = generator.choice([28, 14, 7])
    grey = generator.random((side, side, 1)) ** generator.uniform(0.5, 6.0)
    grey = np.where(generator.random() < 0.1, 0.0, grey)
    return np.repeat(np.repeat(grey, 28 // side, axis=0), 28 // side, axis=1)


BREAKAGES = (shuffled_patches, part, two_in_one, strokes, holes, noise)


if __name__ == "__main__":
    main()
