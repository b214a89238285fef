"""What the network families share: shapes, heads, normalisation, spectrally normalised layers."""

import functools
from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any, Literal, TypeAlias

import keras
from keras import layers, ops

from keras_vaegan.data import checks
from keras_vaegan.errors import InputError, choose, must_be
from keras_vaegan.typing import Tensor

MOST_CHANNELS = 16  # of an image; more are no image but a volume
LAST = "channels_last"  # of all images here, whatever Keras' configuration says
Normalization: TypeAlias = Literal["none", "batch", "layer", "instance", "group", "rms"]
NORMALIZATIONS = ("none", "batch", "layer", "instance", "group", "rms")
GROUPS, GROUP_WIDTH = 32, 4  # the most groups of channels, and the fewest channels in a group
RMS_EPSILON = 1e-5  # Keras' own, 1e-7, lets gradients grow 3,000 times where all channels are near zero


# Keras' own layers: a saved network names nothing of the package. A model speeds them up (`quicken_layers`).
Conv2D = functools.partial(layers.Conv2D, data_format=LAST)
Conv2DTranspose = functools.partial(layers.Conv2DTranspose, data_format=LAST)
MaxPooling2D = functools.partial(layers.MaxPooling2D, data_format=LAST)


def check_image_shape(image_shape: Sequence[int]) -> tuple[int, ...]:
    """Return `image_shape` as a tuple `(H, W, C)` of positive integers, C from 1 to 16.

    Anything else raises `InputError`.
    """
    return checks.check_image_shape(image_shape, most_channels=MOST_CHANNELS)


def check_positive(argument: str, values: int | Sequence[int]) -> tuple[int, ...]:
    """Return `values` (a positive integer, or a list of some) as a tuple, or raise."""
    given: Sequence[Any] = values if isinstance(values, (list, tuple)) else [values]
    if not given or any(isinstance(v, bool) or not isinstance(v, Integral) or v < 1 for v in given):
        raise InputError(f"{argument} must be positive integers; received {values!r}.")
    return tuple(int(value) for value in given)


def check_open_shape(image_shape: Sequence[int | None]) -> tuple[int | None, ...]:
    """Return `image_shape` as a tuple `(H, W, C)`, in which H and W may be None, for images of any size.

    Anything else raises `InputError`.
    """
    shape = tuple(image_shape) if isinstance(image_shape, (tuple, list)) else ()
    if None not in shape[:2]:
        return check_image_shape(image_shape)  # type: ignore[arg-type]
    try:
        closed: list[Any] = [1 if n is None else n for n in shape[:2]]
        checked = check_image_shape([*closed, *shape[2:]])
    except InputError:
        allowed = f"(height, width, channels) with 1 to {MOST_CHANNELS} channels, None for sides of any size"
        raise must_be("image_shape", allowed, image_shape) from None
    return (*(None if n is None else int(n) for n in shape[:2]), checked[2])


def normalization(kind: Normalization, name: str, channels: int) -> keras.Layer | None:
    """The normalization layer of that kind for maps of so many channels, or None.

    All are Keras' own layers. `instance`, `group` and `rms` compute in float32, whatever the dtype policy.

    Args:
        kind: `none`; `batch`, over batch and positions; `layer`, over the channels of a position; `instance`,
            over the positions of a channel; `group`, over positions and a group of channels (Wu and He 2018);
            `rms`, by the root mean square of the channels of a position (Zhang and Sennrich 2019).
        name: of the layer.
        channels: of the maps. They make at most 32 groups, of at least 4 channels if there are as many.

    Raises:
        InputError: any other kind.
    """
    choose("normalization", kind, NORMALIZATIONS)
    return {
        "none": lambda: None,
        "batch": lambda: layers.BatchNormalization(name=name),
        "layer": lambda: layers.LayerNormalization(name=name),
        "instance": lambda: layers.GroupNormalization(groups=-1, name=name),
        "group": lambda: layers.GroupNormalization(groups=num_groups(channels), name=name),
        "rms": lambda: layers.RMSNormalization(epsilon=RMS_EPSILON, name=name),
    }[kind]()


def num_groups(channels: int) -> int:
    """The largest number of equal groups of channels: at most 32, and of at least 4 channels if possible."""
    most = max(min(GROUPS, channels // GROUP_WIDTH), 1)
    return max(groups for groups in range(1, most + 1) if channels % groups == 0)


def normalize_and_activate(x: Tensor, kind: Normalization, activation: str, name: str) -> Tensor:
    """Apply the normalisation of that kind (if any), then the activation."""
    layer = normalization(kind, f"{name}_norm", x.shape[-1])
    if layer is not None:
        x = layer(x)
    return activate(x, activation, f"{name}_activation")


def activate(x: Tensor, activation: str, name: str) -> Tensor:
    """Apply an activation by its Keras name; leaky ReLU has slope 0.2, as in DCGAN."""
    if activation == "leaky_relu":
        return layers.LeakyReLU(negative_slope=0.2, name=name)(x)
    return layers.Activation(activation, name=name)(x)


def conditional_inputs(
    own: str,
    shape: Sequence[int | None],
    image_shape: Sequence[Any],
    num_classes: int | None,
    given: bool,
    name: str,
) -> tuple[Any, Tensor, dict[str, Tensor]]:
    """Inputs of a network that may be conditioned.

    Args:
        own: name of what it computes on, `images` or `codes`, of the `shape` without B.
        image_shape: `(H, W, C)`; H and W may be None.
        num_classes: K, of a network that is conditioned on labels, or None.
        given: whether it is conditioned on part of the images.
        name: of the network.

    Returns:
        `(inputs of the functional model, the own one, the condition)`; the inputs are a dictionary
        where there is a condition, which is as `condition_inputs` gives it.
    """
    condition = condition_inputs(image_shape, num_classes, given)
    tensor = keras.Input(shape, name=own if condition else f"{name}_{own}")
    return ({own: tensor, **condition} if condition else tensor), tensor, condition


def condition_inputs(image_shape: Sequence[Any], num_classes: int | None, given: bool) -> dict[str, Tensor]:
    """Inputs for a condition: none, or both, of `labels` `(B, K)`, one-hot, and `given`
    `(B, H, W, C + 1)`, the visible part of the images and the mask.

    Raises `InputError` where `num_classes` is no positive integer.
    """
    inputs = {}
    if num_classes is not None:
        inputs["labels"] = keras.Input(check_positive("num_classes", num_classes), name="labels")
    if given:
        inputs["given"] = keras.Input((*image_shape[:2], image_shape[2] + 1), name="given")
    return inputs


def joined(parts: Sequence[Tensor], name: str) -> Tensor:
    """The parts side by side along their last axis."""
    return layers.Concatenate(name=name)(list(parts)) if len(parts) > 1 else parts[0]


def drop(x: Tensor, rate: float, name: str) -> Tensor:
    """Leave out a share of the elements in training; none where the rate is 0.

    Raises `InputError` where the rate is no number of at least 0 and below 1.
    """
    if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0.0 <= rate < 1.0:
        raise InputError(f"dropout must be a share of at least 0 and below 1; received {rate!r}.")
    return layers.Dropout(rate, name=name)(x) if rate else x


def flatten(x: Tensor, name: str) -> Tensor:
    """Maps as one row for each image, `(B, F)`, channels side by side."""
    return layers.Flatten(data_format=LAST, name=name)(x)


def flat(x: Tensor, dropout: float, name: str) -> Tensor:
    """Maps as one row for each image, `(B, F)`, a share of them left out in training as of `drop`."""
    return drop(flatten(x, f"{name}_flatten"), dropout, f"{name}_dropout")


def dense_stack(
    x: Tensor,
    units: int | Sequence[int],
    activation: str,
    name: str,
    dropout: float = 0.0,
    dense: type[layers.Dense] = layers.Dense,
    outputs: list[Tensor] | None = None,
) -> Tensor:
    """Dense layers of these widths, which may be none, each with its activation and dropout.

    `outputs` gets what they give before the activation. Raises `InputError` where a width is no positive
    integer, or the dropout no share as of `drop`.
    """
    for i, width in enumerate(check_positive("units", units) if units else ()):
        x = dense(width, name=f"{name}_dense_{i}")(x)
        if outputs is not None:
            outputs.append(x)
        x = activate(x, activation, f"{name}_dense_{i}_activation")
        x = drop(x, dropout, f"{name}_dense_{i}_dropout")
    return x


def posterior_head(
    x: Tensor, latent_dim: int, name: str, variance_of: Tensor | None = None
) -> dict[str, Tensor]:
    """Parameters of q(z|x) from features `(B, F)`: `{"mean", "log_variance"}`, each `(B, Z)` float32.

    The variance is computed from features of its own where `variance_of` gives some.
    """
    sources = {"mean": x, "log_variance": x if variance_of is None else variance_of}
    return {
        part: layers.Dense(latent_dim, dtype="float32", name=f"{name}_{part}")(source)
        for part, source in sources.items()
    }


def verdict(
    images: Tensor,
    x: Tensor,
    outputs: Sequence[Tensor],
    feature_layer: int,
    num_outputs: int,
    dense: type[layers.Dense],
    name: str,
) -> keras.Model:
    """D of its input, of what comes out of its last hidden layer and of what the hidden layers give.

    Raises `InputError` where `feature_layer` is no index into `outputs`.
    """
    logits = dense(num_outputs, dtype="float32", name=f"{name}_logits")(x)
    features = feature_output(outputs, feature_layer, name)
    return keras.Model(images, {"logits": logits, "features": features}, name=name)


def feature_output(outputs: Sequence[Tensor], feature_layer: int, name: str) -> Tensor:
    """The one of D's hidden `outputs` that serves as features, named and in float32.

    Raises `InputError` where `feature_layer` is no index into them.
    """
    if not -len(outputs) <= feature_layer < len(outputs):
        raise InputError(
            f"feature_layer must be from {-len(outputs)} to {len(outputs) - 1} for {len(outputs)} layers; "
            f"received {feature_layer}."
        )
    return layers.Activation("linear", dtype="float32", name=f"{name}_features")(outputs[feature_layer])


def spectral_norm(kernel: Tensor, squarings: int = 5) -> Tensor:
    """Largest singular value of `kernel`, reshaped to (inputs, outputs); a scalar.

    Power iteration on the Gram matrix, 2**squarings steps at once by repeated squaring,
    without state: the same on every backend, however often D is called in a step. The
    gradient is that of u' W v at fixed u and v (Miyato et al. 2018, eq. 12).
    """
    matrix = ops.reshape(ops.cast(kernel, "float32"), (-1, kernel.shape[-1]))
    power = ops.matmul(ops.transpose(matrix), matrix)
    for _ in range(squarings):
        power = power / (ops.max(ops.abs(power)) + 1e-12)
        power = ops.matmul(power, power)
    # The column of the largest diagonal entry is never orthogonal to the leading eigenvector.
    v = ops.take(power, ops.argmax(ops.diagonal(power)), axis=1)
    v = v / (ops.norm(v) + 1e-12)
    u = ops.matmul(matrix, v)
    u = u / (ops.norm(u) + 1e-12)
    v, u = ops.stop_gradient(v), ops.stop_gradient(u)
    return ops.sum(u * ops.matmul(matrix, v))


def spectrally_normalized(kernel: Tensor) -> Tensor:
    """`kernel` divided by its largest singular value."""
    return ops.divide(kernel, ops.cast(spectral_norm(kernel) + 1e-12, kernel.dtype))


@keras.saving.register_keras_serializable("keras_vaegan")
class SpectralConv2D(layers.Conv2D):
    """A 2-D convolution whose kernel has spectral norm 1 (Miyato et al. 2018)."""

    def __init__(self, *arguments: Any, data_format: str = LAST, **settings: Any) -> None:
        super().__init__(*arguments, data_format=data_format, **settings)

    def call(self, inputs: Tensor) -> Tensor:
        # Not within `convolution_op`, which a backend replaces by its fast form.
        x = self.convolution_op(inputs, spectrally_normalized(ops.convert_to_tensor(self.kernel)))
        if self.bias is not None:
            x = ops.add(x, ops.reshape(self.bias, (1, 1, 1, -1) if self.data_format == LAST else (-1, 1, 1)))
        return x if self.activation is None else self.activation(x)


@keras.saving.register_keras_serializable("keras_vaegan")
class SpectralDense(layers.Dense):
    """A dense layer whose kernel has spectral norm 1 (Miyato et al. 2018)."""

    def call(self, inputs: Tensor) -> Tensor:
        x = ops.matmul(inputs, spectrally_normalized(ops.convert_to_tensor(self.kernel)))
        if self.bias is not None:
            x = ops.add(x, self.bias)
        return x if self.activation is None else self.activation(x)


def convolution(spectral: bool) -> Callable[..., layers.Conv2D]:
    """What makes a 2-D convolution, spectrally normalised or not."""
    return SpectralConv2D if spectral else Conv2D


def dense(spectral: bool) -> type[layers.Dense]:
    """The dense class, spectrally normalised or not."""
    return SpectralDense if spectral else layers.Dense
