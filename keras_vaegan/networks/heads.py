"""What stands on the features of a trunk, the same in every family: heads for q(y|x) and q(z|x, y).

A trunk is a functional model, images `(B, H, W, C)` -> features `(B, F)`; models that sum over classes
run it once for an image, and its heads once for each class.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import layers, ops

from keras_vaegan.networks import blocks
from keras_vaegan.typing import Tensor


def class_head(
    features: int,
    num_classes: int,
    units: int | Sequence[int] = (),
    activation: str = "relu",
    dropout: float = 0.0,
    name: str = "class_head",
) -> keras.Model:
    """q(y|x): features `(B, F)` -> logits `(B, K)` float32.

    Args:
        features: F.
        num_classes: K.
        units: widths of the hidden layers.
        activation: Keras name of the hidden layers' activation.
        dropout: share of the features, and of each hidden layer, that is left out in training.
        name: of the model; prefix of its layers' names.

    Raises:
        InputError: `features`, `num_classes` or `units` that are no positive integers; `dropout` that is no
            share of at least 0 and below 1.
    """
    inputs = keras.Input(blocks.check_positive("features", features), name="features")
    x = blocks.dense_stack(blocks.drop(inputs, dropout, f"{name}_dropout"), units, activation, name, dropout)
    (num_classes,) = blocks.check_positive("num_classes", num_classes)
    return keras.Model(
        inputs, layers.Dense(num_classes, dtype="float32", name=f"{name}_logits")(x), name=name
    )


def encoder_head(
    features: int,
    latent_dim: int,
    num_classes: int,
    units: int | Sequence[int] = (),
    activation: str = "relu",
    variance_of_features: bool = False,
    name: str = "encoder",
) -> keras.Model:
    """q(z|x, y): dictionary of `features` `(B, F)` and `labels` `(B, K)` -> `{"mean", "log_variance"}`.

    Args:
        features: F.
        latent_dim: Z.
        num_classes: K.
        units: widths of the hidden layers, which see both.
        activation: Keras name of the hidden layers' activation.
        variance_of_features: whether the variance is computed from the features alone, as in Chen, Fang
            and Ju 2016.
        name: of the model; prefix of its layers' names.

    Raises:
        InputError: `features`, `latent_dim`, `num_classes` or `units` that are no positive integers.
    """
    inputs = {
        "features": keras.Input(blocks.check_positive("features", features), name="features"),
        "labels": keras.Input(blocks.check_positive("num_classes", num_classes), name="labels"),
    }
    x = blocks.joined([inputs["features"], inputs["labels"]], f"{name}_joined")
    x = blocks.dense_stack(x, units, activation, name)
    (latent_dim,) = blocks.check_positive("latent_dim", latent_dim)
    outputs = blocks.posterior_head(x, latent_dim, name, inputs["features"] if variance_of_features else None)
    return keras.Model(inputs, outputs, name=name)


def code_trunk(
    codes: int,
    units: int | Sequence[int] = (256,),
    activation: str = "relu",
    dropout: float = 0.0,
    name: str = "trunk",
) -> keras.Model:
    """A trunk on the codes of another model: `(B, Z1)` -> features `(B, F)`.

    Args:
        codes: Z1.
        units: widths of the layers.
        activation: Keras name of their activation.
        dropout: share of each layer that is left out in training.
        name: of the model; prefix of its layers' names.

    Raises:
        InputError: `codes` or `units` that are no positive integers; `dropout` that is no share of at least 0
            and below 1.
    """
    inputs = keras.Input(blocks.check_positive("codes", codes), name=f"{name}_codes")
    units = blocks.check_positive("units", units)
    return keras.Model(inputs, blocks.dense_stack(inputs, units, activation, name, dropout), name=name)


def code_decoder(
    codes: int,
    latent_dim: int,
    num_classes: int,
    units: int | Sequence[int] = (256,),
    activation: str = "relu",
    name: str = "decoder",
) -> keras.Model:
    """p(z1|z2, y): dictionary of `codes` `(B, Z)` and `labels` -> `{"mean", "log_variance"}` `(B, Z1)`.

    Args:
        codes: Z1.
        latent_dim: Z.
        num_classes: K.
        units: widths of the hidden layers.
        activation: Keras name of their activation.
        name: of the model; prefix of its layers' names.

    Raises:
        InputError: `codes`, `latent_dim`, `num_classes` or `units` that are no positive integers.
    """
    inputs = {
        "codes": keras.Input(blocks.check_positive("latent_dim", latent_dim), name="codes"),
        "labels": keras.Input(blocks.check_positive("num_classes", num_classes), name="labels"),
    }
    x = blocks.joined([inputs["codes"], inputs["labels"]], f"{name}_joined")
    x = blocks.dense_stack(x, units, activation, name)
    (codes,) = blocks.check_positive("codes", codes)
    return keras.Model(inputs, blocks.posterior_head(x, codes, name), name=name)


def each_label(classes: int, count: Any) -> Tensor:
    """Labels `(K B, K)`: of all B images the first class, then of all the second."""
    return ops.repeat(ops.eye(classes), count, axis=0)


def for_each_class(head: keras.Model) -> Callable[[Tensor, bool], dict[str, Tensor]]:
    """A head of features and labels, as a function of features alone: what it gives with each of the labels.

    What the first layer makes of the features is computed once, where that layer is a `Dense` of both joined
    and nothing else sees them; otherwise the features are repeated.

    Args:
        head: functional model, dictionary of `features` and `labels` -> dictionary of `(B, ...)`.

    Returns:
        A function of features `(B, F)` and whether it is training; its outputs are `(K B, ...)`, those of all
        images with the first label, then of all with the second.
    """
    split, classes = _split(head), head.input["labels"].shape[-1]

    def repeated(features: Tensor, training: bool) -> dict[str, Tensor]:
        labels = each_label(classes, ops.shape(features)[0])
        return head({"features": ops.tile(features, (classes, 1)), "labels": labels}, training=training)

    if split is None:
        return repeated
    first, rest = split

    def shared(features: Tensor, training: bool) -> dict[str, Tensor]:
        kernel, bias = (ops.cast(variable, first.compute_dtype) for variable in (first.kernel, first.bias))
        x = ops.cast(features, first.compute_dtype) @ kernel[:-classes] + bias
        each = x[None] + kernel[-classes:][:, None]
        return rest(ops.reshape(each, (-1, each.shape[-1])), training=training)

    return shared


def _split(head: keras.Model) -> tuple[layers.Dense, keras.Model] | None:
    """The first layer of a head and a model of the others; None if there is no first layer of all inputs."""
    inputs = [head.input["features"], head.input["labels"]]
    joins = [layer for layer in head.layers if isinstance(layer, layers.Concatenate)]
    if len(joins) != 1 or not isinstance(joins[0].input, list):
        return None
    if [id(tensor) for tensor in joins[0].input] != [id(tensor) for tensor in inputs]:
        return None
    for layer in head.layers:
        if type(layer) is layers.Dense and layer.use_bias and layer.input is joins[0].output:
            linear = layer.activation is keras.activations.linear
            try:  # all that is left must come from what this layer gives
                return (layer, keras.Model(layer.output, head.output)) if linear else None
            except ValueError:
                return None
    return None
