"""Are generated images of use? A classifier learns from them alone and is tried on real ones."""

from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import ArrayLike

from keras_vaegan import memory
from keras_vaegan.data.batches import Batches
from keras_vaegan.data.checks import check_images, check_labels
from keras_vaegan.data.images import as_float32
from keras_vaegan.data.stored import as_stored, is_stored
from keras_vaegan.data.views import parts_of, some_of
from keras_vaegan.errors import InputError, whole_number
from keras_vaegan.metrics.classifiers import EXACT, OF_IMAGES

STEPS = 1500  # enough for 97 % on MNIST from 10,000 real images


def accuracy_of_classifier_trained_on(
    images: ArrayLike,
    labels: ArrayLike,
    real: ArrayLike,
    real_labels: ArrayLike,
    batch_size: int = 64,
    steps: int = STEPS,
    seed: int = 0,
) -> float:
    """Accuracy on real images of a classifier trained on others (Ravuri and Vinyals 2019).

    A small convolutional network, new each time, with Adam at 1e-3. It is high only if the images
    show their labels in all the variety of the real ones; compare it with that of a classifier
    trained on as many real images.

    Args:
        images: to train on, `(N, H, W, C)`, float in [0, 1] or uint8.
        labels: their classes `(N,)`; images with -1 are left out.
        real: to be tried on, `(M, H, W, C)`.
        real_labels: their classes `(M,)`; images with -1 are left out.
        batch_size, steps: of the training.
        seed: of the initial weights and the order of the images.

    Returns:
        Share of real images that are classified right, in [0, 1].

    Raises:
        InputError: no images, or images out of range or of two shapes; labels that are not one whole number
            for each image, or all -1; `batch_size` or `steps` below 1, or `seed` below 0.
    """
    x, y = _labelled("images", images, labels)
    real_x, real_y = _labelled("real", real, real_labels)
    if x.shape[1:] != real_x.shape[1:]:
        raise InputError(f"real must be images of the shape {x.shape[1:]}; received {real_x.shape[1:]}.")
    classes = int(max(y.max(), real_y.max())) + 1
    memory.require(f"labels of 0 to {classes - 1}", 4 * 4 * 128 * classes, "Use labels of 0 to K - 1.")
    steps, seed = whole_number("steps", steps, 1), whole_number("seed", seed, 0)
    model = _classifier(x.shape[1:], classes, seed)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    batches = Batches(x, y, batch_size=batch_size, seed=seed)
    passes = -(-steps // len(batches))
    model.fit(batches, epochs=passes, shuffle=False, verbose=0)
    predicted = [
        model.predict(as_float32(real_x[rows]), batch_size=256, verbose=0).argmax(axis=1)
        for rows in parts_of(real_x, 256)
    ]
    return float(np.mean(np.concatenate(predicted) == real_y))


def _labelled(argument: str, images: Any, labels: ArrayLike) -> tuple[Any, np.ndarray]:
    x = as_stored(images) if is_stored(images) else check_images(images, argument=argument)
    y = check_labels(labels, len(x), argument=f"labels of {argument}")
    if not np.any(y >= 0):
        raise InputError(f"labels of {argument} must name the class of an image at least; received -1 only.")
    return some_of(x, y >= 0), y[y >= 0]


def _classifier(image_shape: tuple[int, ...], classes: int, seed: int) -> keras.Model:
    """Two strided convolutions and a dense layer; its initial weights depend on the seed alone."""

    def initial(number: int) -> keras.initializers.Initializer:
        return keras.initializers.GlorotUniform(seed=(1000 * seed + number) % 2**31)

    images = keras.Input(image_shape)
    x = images
    for i, filters in enumerate((32, 64)):
        x = layers.Conv2D(
            filters,
            3,
            strides=2,
            padding="same",
            activation="relu",
            kernel_initializer=initial(i),
            **OF_IMAGES,
        )(x)
    x = layers.Flatten(**OF_IMAGES)(x)
    x = layers.Dense(128, activation="relu", kernel_initializer=initial(2), **EXACT)(x)
    return keras.Model(images, layers.Dense(classes, kernel_initializer=initial(3), **EXACT)(x))
