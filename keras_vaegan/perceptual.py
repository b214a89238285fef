"""How far two images lie apart in the features of a frozen network, layer by layer.

    d(x, y) = sum_l w_l mean_{h, w} |f_l(x) / |f_l(x)| - f_l(y) / |f_l(y)||^2

f_l(x) are the channels of layer l at one position, the means are over its positions. It is the distance of
Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric" (eq. 1), with
one weight for each layer in place of the learned weights of each channel, so it is not LPIPS. Johnson et
al. 2016, "Perceptual Losses for Real-Time Style Transfer and Super-Resolution" (eq. 2), compare features
without the unit length.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from keras_vaegan.errors import InputError, at_least, choose, must_be
from keras_vaegan.networks import efficientnet_lite
from keras_vaegan.typing import Tensor

IMAGENET = "imagenet"
# Each of the five resolutions counts alike. A warp of two pixels is nearer than a blur of the same squared
# error, as people see it, for 98 % of CIFAR-10's images and all fruits.
LAYERS = dict.fromkeys(efficientnet_lite.MAPS.values(), 1 / len(efficientnet_lite.MAPS))
TINY = 1e-10  # added to squared lengths


class FeatureDistance:
    """d(x, y) of the module, of images `(B, H, W, C)` in [0, 1].

    Gray images are repeated where the network takes color, and alpha is laid on white. Images are resized
    where the network takes one size; for EfficientNet-Lite0 those with fewer than 32 pixels a side are
    enlarged. Larger ones are taken as they are: in CIFAR-10's images twice their size costs three times as
    much, and neither the order of warp and blur nor the classes of nearest neighbors get better.

    Args:
        network: `imagenet`, EfficientNet-Lite0 with the weights that come with the package, or a Keras
            model of images in [0, 1] whose outputs, or layers, are feature maps `(B, h, w, c)`. It is
            called as in inference, and its weights get no gradient.
        layers: weight of each feature map by its name: that of an output, or of a layer. None for all outputs
            of the network with equal weights that sum to 1.
        image_shape: `(H, W, C)` of the images; H and W may be None.

    Attributes:
        layers: the weights that are used, by name.

    Raises:
        InputError: no such network, or one that is not built from a `keras.Input`; an unknown layer, or one
            that gives no feature map; a weight below 0, or none above; images of channels that the network
            does not take.
    """

    def __init__(
        self, network: Any, layers: Mapping[str, float] | None, image_shape: tuple[Any, ...]
    ) -> None:
        check_network(network)
        if isinstance(network, str):
            self.layers = check_layers(LAYERS if layers is None else layers)
            for name in self.layers:
                choose("layers", name, LAYERS)
            self.network = efficientnet_lite.features(tuple(self.layers))
            self.smallest = efficientnet_lite.SMALLEST
        else:
            self.network, self.layers = _maps(network, layers)
            self.smallest = 1
        *self.size, self.channels = self.network.input.shape[1:]
        channels = image_shape[-1]
        if channels != self.channels and not (self.channels == 3 and channels in (1, 4)):
            raise InputError(
                f"images must have {'1, 3 or 4' if self.channels == 3 else self.channels} channels for the "
                f"perceptual network {self.network.name}; received {channels}. Give Perceptual a network of "
                f"{channels} channels."
            )

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """d(x, y) `(B,)`; only y gets a gradient."""
        x, y = (ops.convert_to_tensor(images, "float32") for images in (x, y))
        real = {name: ops.stop_gradient(f) for name, f in self.features(ops.stop_gradient(x)).items()}
        fake = self.features(y)
        return sum(
            weight * ops.mean(ops.sum(ops.square(real[name] - fake[name]), axis=-1), axis=(1, 2))
            for name, weight in self.layers.items()
        )

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """The feature maps `(B, h, w, c)` by name, float32, with channels of unit length."""
        outputs = self.network(self._fit(images), training=False)
        return {name: _of_unit_length(ops.cast(outputs[name], "float32")) for name in self.layers}

    def _fit(self, images: Tensor) -> Tensor:
        """Images with the channels and the size that the network takes."""
        channels = images.shape[-1]
        if channels != self.channels:
            images = with_channels(images, self.channels)
        height, width = ops.shape(images)[1:3]
        size = tuple(side or own for side, own in zip(self.size, (height, width), strict=True))
        if size == (height, width) and self.smallest > 1 and None not in images.shape[1:3]:
            size = enlarged(size, self.smallest)
        return images if size == (height, width) else resized(images, size)


def with_channels(images: Tensor, channels: int) -> Tensor:
    """Images in [0, 1] with that many channels: alpha is laid on white, and gray repeated."""
    if images.shape[-1] != 4:
        return ops.repeat(images, channels, axis=-1)
    cover = images[..., 3:]
    return images[..., :3] * cover + (1.0 - cover)


def enlarged(size: Sequence[int], smallest: int) -> tuple[int, ...]:
    """Height and width, enlarged alike if the shorter one has fewer pixels than `smallest`."""
    scale = smallest / min(size)
    return tuple(max(smallest, round(side * scale)) for side in size) if scale > 1 else tuple(size)


def resized(images: Tensor, size: Sequence[Any]) -> Tensor:
    """Images `(B, H, W, C)` of another height and width, bilinear, blurred first if they get smaller."""
    return ops.image.resize(
        images, tuple(size), interpolation="bilinear", antialias=True, data_format="channels_last"
    )


def check_network(network: Any) -> None:
    """Raise `InputError` unless a network is `imagenet` or a Keras model of images with a known input."""
    if not isinstance(network, keras.Model):
        choose("network", network, (IMAGENET,))
        return
    inputs = getattr(network, "inputs", None)
    if not inputs or len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].shape[-1] is None:
        raise InputError(
            f"network must be built from one keras.Input of images (H, W, C); {network.name} takes "
            f"{[tuple(one.shape) for one in inputs] if inputs else 'no keras.Input'}."
        )


def check_layers(layers: Any) -> dict[str, float]:
    """Weights of layers by name, those above 0; raise `InputError` for other things, or if none is."""
    if not isinstance(layers, Mapping):
        raise must_be("layers", "a dictionary of weights by name, or None", layers)
    weights = {str(name): at_least(f"layers[{name!r}]", weight, 0.0) for name, weight in layers.items()}
    if not any(weights.values()):
        raise must_be("layers", "weights of which one at least is above 0", layers)
    return {name: float(weight) for name, weight in weights.items() if weight}


def _maps(network: keras.Model, layers: Mapping[str, float] | None) -> tuple[keras.Model, dict[str, float]]:
    """The network that gives the named feature maps of another, and their weights."""
    given = network.outputs if isinstance(network, keras.Sequential) else network.output
    if isinstance(given, Mapping):
        outputs = dict(given)
    else:
        outputs = dict(zip(network.output_names, network.outputs, strict=True))
    if layers is None:
        layers = dict.fromkeys(outputs, 1 / len(outputs))
    weights = check_layers(layers)
    known = outputs | {layer.name: layer.output for layer in network.layers if layer.name not in outputs}
    for name in weights:
        shape: tuple[Any, ...] = getattr(known[choose("layers", name, known)], "shape", ())
        if len(shape) != 4 or shape[-1] is None:
            raise must_be("layers", "names of feature maps (B, h, w, c)", {name: tuple(shape)})
    return keras.Model(network.inputs[0], {name: known[name] for name in weights}, name=network.name), weights


def _of_unit_length(features: Tensor) -> Tensor:
    """Feature maps `(B, h, w, c)`, at each position divided by the length of their channels."""
    return features * ops.rsqrt(ops.sum(ops.square(features), axis=-1, keepdims=True) + TINY)
