"""The package's own MNIST classifiers, whose features the scores are computed in.

Two architectures: `mnist_plain` gives the published numbers, `mnist_residual` confirms them; a third network,
`mnist_reject`, tells digits from what is none. They are frozen: none takes part in training a generative
model or in choosing a recipe.
"""

import keras
from keras import layers

IMAGE_SHAPE, NUM_CLASSES = (28, 28, 1), 10
# Whatever Keras' configuration says, so that the features of an image are always the same numbers.
EXACT = {"dtype": "float32"}
OF_IMAGES = {**EXACT, "data_format": "channels_last"}


def mnist_plain():
    """Two pairs of convolutions with pooling, one dense layer of 128 features; 0.47 M parameters.

    Returns:
        Functional model, images `(B, 28, 28, 1)` in [0, 1] -> `{"logits": (B, 10), "features": (B, 128)}`.
    """
    images = keras.Input(IMAGE_SHAPE, name="images")
    x = images
    for i, filters in enumerate((32, 64)):
        for j in range(2):
            x = layers.Conv2D(
                filters, 3, padding="same", activation="relu", name=f"conv_{i}_{j}", **OF_IMAGES
            )(x)
        x = layers.MaxPooling2D(name=f"pool_{i}", **OF_IMAGES)(x)
        x = layers.Dropout(0.25, name=f"dropout_{i}", **EXACT)(x)
    x = layers.Flatten(name="flatten", **OF_IMAGES)(x)
    features = layers.Dense(128, activation="relu", name="features", **EXACT)(x)
    x = layers.Dropout(0.5, name="dropout", **EXACT)(features)
    logits = layers.Dense(NUM_CLASSES, name="logits", **EXACT)(x)
    return keras.Model(images, {"logits": logits, "features": features}, name="mnist_plain")


def mnist_residual(num_classes=NUM_CLASSES, name="mnist_residual"):
    """Strided residual blocks with batch normalisation, averaged to 96 features; 0.27 M parameters.

    Returns:
        Functional model, images `(B, 28, 28, 1)` in [0, 1] -> `{"logits": (B, num_classes), "features":
        (B, 96)}`.
    """
    images = keras.Input(IMAGE_SHAPE, name="images")
    x = layers.Conv2D(24, 3, strides=2, padding="same", use_bias=False, name="stem", **OF_IMAGES)(images)
    x = layers.BatchNormalization(name="stem_norm", **EXACT)(x)
    for i, filters in enumerate((48, 96)):
        shortcut = layers.Conv2D(filters, 1, strides=2, name=f"shortcut_{i}", **OF_IMAGES)(x)
        x = layers.Activation("relu", name=f"enter_{i}", **EXACT)(x)
        x = layers.Conv2D(
            filters, 3, strides=2, padding="same", use_bias=False, name=f"conv_{i}_0", **OF_IMAGES
        )(x)
        x = layers.BatchNormalization(name=f"norm_{i}_0", **EXACT)(x)
        x = layers.Activation("relu", name=f"between_{i}", **EXACT)(x)
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"conv_{i}_1", **OF_IMAGES)(x)
        x = layers.BatchNormalization(name=f"norm_{i}_1", **EXACT)(x)
        x = layers.Add(name=f"add_{i}", **EXACT)([x, shortcut])
    x = layers.Activation("relu", name="last", **EXACT)(x)
    features = layers.GlobalAveragePooling2D(name="features", **OF_IMAGES)(x)
    x = layers.Dropout(0.3, name="dropout", **EXACT)(features)
    logits = layers.Dense(num_classes, name="logits", **EXACT)(x)
    return keras.Model(images, {"logits": logits, "features": features}, name=name)


def mnist_reject():
    """The network of `mnist_residual` with an eleventh class, of images that are no digit.

    Returns:
        Functional model, images `(B, 28, 28, 1)` in [0, 1] -> `{"logits": (B, 11), "features": (B, 96)}`.
    """
    return mnist_residual(NUM_CLASSES + 1, "mnist_reject")


ARCHITECTURES = {"mnist_plain": mnist_plain, "mnist_residual": mnist_residual}
REJECTING = {"mnist_reject": mnist_reject}
