"""A classifier that takes no part in the training of an autoencoder, in whose features its images are judged.

Whoever trains with a perceptual loss must not be judged in the same network. This one learns the classes of
the dataset itself: those of its folders, or finer ones that the names of its files tell. It is trained once,
into a `.keras` file that later calls read.
"""

import pathlib

import keras
import numpy as np
from keras import layers

from keras_vaegan.data import load
from keras_vaegan.data.views import in_floats
from keras_vaegan.files import atomic_folder, atomic_path, read_json, write_json
from keras_vaegan.metrics import frechet_distance
from keras_vaegan.perceptual import FeatureDistance

WIDTHS = (32, 64, 128)
BATCH, SEED = 64, 0


def classifier(image_shape, num_classes):
    """Residual classifier: images in [0, 1] -> logits; `map_0` to `map_2` are the maps of its resolutions."""
    inputs = keras.Input(image_shape)
    x = layers.Conv2D(WIDTHS[0], 3, padding="same", use_bias=False)(inputs)
    for i, width in enumerate(WIDTHS):
        y = _normalized(x)
        short = y if x.shape[-1] == width and not i else None
        y = layers.Conv2D(width, 3, strides=2 if i else 1, padding="same", use_bias=False)(y)
        y = layers.Conv2D(width, 3, padding="same", use_bias=False)(_normalized(y))
        if short is None:
            short = layers.Conv2D(width, 1, strides=2 if i else 1, use_bias=False)(x)
        x = layers.Add(name=f"map_{i}")([short, y])
    x = layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(_normalized(x)))
    return keras.Model(inputs, layers.Dense(num_classes)(x), name="judge")


def epochs_of(image_shape):
    """12 for images of 32x32, fewer for larger ones, and at least 4."""
    return max(4, 12 * 32**2 // (image_shape[0] * image_shape[1]))


def _normalized(x):
    return layers.Activation("relu")(layers.BatchNormalization(momentum=0.9)(x))


def trained(path, image_shape, train, validation):
    """The classifier in a file, and what is known of it: `accuracy` is its share of validation images.

    It is trained into the file if that is not there.

    Args:
        path: a `.keras` file.
        image_shape: `(H, W, C)`.
        train, validation: images in [0, 1] and their classes, whole numbers from 0.
    """
    path = pathlib.Path(path)
    about = path.with_suffix(".json")
    if not about.is_file():
        keras.utils.set_random_seed(SEED)
        epochs = epochs_of(image_shape)
        model = classifier(image_shape, int(max(train[1].max(), validation[1].max())) + 1)
        steps = epochs * -(-len(train[0]) // BATCH)
        model.compile(
            keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(2e-3, steps)),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
        model.fit(*train, batch_size=BATCH, epochs=epochs, validation_data=validation, verbose=2)
        known = float(np.mean(model.predict(validation[0], verbose=0).argmax(-1) == validation[1]))
        with atomic_path(path) as temporary:
            model.save(temporary)
        write_json(about, {"accuracy": known, "classes": model.output_shape[-1], "epochs": epochs})
    return keras.saving.load_model(path, compile=False), read_json(about)


def of_dataset(dataset, data, work, name, finer):
    """As `trained`, for loaded data: in the classes of its folders, or those that its files' names tell.

    Args:
        dataset: folder of the data.
        data: what `keras_vaegan.data.load` made of it.
        work: folder for the classifier.
        name: of the dataset.
        finer: whether the names of files tell the classes.
    """
    shape = data.image_shape
    if finer:
        data = load(by_finer_classes(dataset, work / f"{name}_finer"))
    labelled = ((in_floats(x[:]), y) for x, y in (data.train, data.validation))
    return trained(work / f"{name}_judge.keras", shape, *labelled)


def distance(model):
    """Distance of images in the maps of the classifier, each resolution with the same weight."""
    names = [f"map_{i}" for i in range(len(WIDTHS))]
    return FeatureDistance(model, dict.fromkeys(names, 1 / len(names)), model.input_shape[1:])


def pooled(model):
    """The classifier's last features, means over all positions: images -> `(B, d)`."""
    last = next(layer for layer in model.layers if isinstance(layer, layers.GlobalAveragePooling2D))
    return keras.Model(model.inputs, last.output)


def frechet(model, x, made):
    """Fréchet distance of images that were made to real ones, in the classifier's last features."""
    features = pooled(model)
    found = [features.predict(images, batch_size=256, verbose=0) for images in (made, x)]
    return frechet_distance(*found)


def by_finer_classes(dataset, folder):
    """A folder of links to a dataset's training files, in classes that their names begin with, up to `__`.

    Args:
        dataset: folder with `train/CLASS/NAME__REST.jpg`.
        folder: to make; one that is there is left as it is.
    """
    folder = pathlib.Path(folder)
    if not folder.exists():
        with atomic_folder(folder) as made:
            for path in sorted(pathlib.Path(dataset, "train").rglob("*__*")):
                kind = made / path.name.split("__")[0]
                kind.mkdir(parents=True, exist_ok=True)
                (kind / path.name).symlink_to(path.resolve())
    return folder
