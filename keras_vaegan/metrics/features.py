"""Feature extractors: frozen networks in whose features images are compared."""

import dataclasses
import functools
import hashlib
import importlib.resources
import json
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_vaegan import weights
from keras_vaegan.data.checks import check_images
from keras_vaegan.data.images import as_float32
from keras_vaegan.errors import InputError, choose
from keras_vaegan.files import reason_of
from keras_vaegan.metrics.classifiers import ARCHITECTURES, REJECTING
from keras_vaegan.networks import efficientnet_lite
from keras_vaegan.perceptual import IMAGENET, enlarged, resized, with_channels
from keras_vaegan.training.checks import check_channels

# Digests of the shipped weights: other weights are another extractor, and are refused.
DIGESTS = {
    "mnist_plain": "0e9c490b1cce",
    "mnist_residual": "75457cece0b8",
    "mnist_reject": "23553a94b792",
}
INCEPTION = "inception_v3"
INCEPTION_SHAPE = (299, 299, 3)
NAMES = (*ARCHITECTURES, IMAGENET, INCEPTION)  # what `extractor` knows
# Of EfficientNet-Lite0. At 128 pixels a side the pooled features tell 60 % of CIFAR-10's images by their
# nearest neighbors among 1,200; at 32 pixels 29 %, and at 224, for four times the work, 65 %.
IMAGENET_SMALLEST = 128
MOST_PIXELS = 2**22  # in a batch, at the size that the network takes


class Features(NamedTuple):
    """What an extractor sees in images.

    Attributes:
        features: `(N, d)` float32.
        probabilities: of the classes, `(N, K)`, or None where the network is no classifier.
    """

    features: np.ndarray
    probabilities: np.ndarray | None


@dataclasses.dataclass(frozen=True)
class Extractor:
    """A frozen network that gives features, and class probabilities where it is a classifier.

    Attributes:
        name: what it is called in results.
        digest: first 12 hexadecimal digits of the SHA-256 of its weights.
        model: images `(B, H, W, C)` -> `(B, d)`, or a dictionary with `features` and `logits`.
        scale: what images in [0, 1] are multiplied with, and
        offset: what is then added, before the model.
        smallest: pixels that a side must have, of a network of any size; smaller images are enlarged.
        named: whether it is what `extractor` makes of its name alone.

    Raises:
        InputError: a model that is not built, or that takes or gives something else.
    """

    name: str
    digest: str
    model: Any
    scale: float = 1.0
    offset: float = 0.0
    smallest: int = 0
    named: bool = False

    def __post_init__(self):
        inputs = getattr(self.model, "inputs", None)
        if not inputs:
            raise InputError(
                f"features must be a network that is built from a keras.Input; {self.name} has none yet."
            )
        taken, given = [x.shape for x in inputs], {k: x.shape for k, x in _outputs_of(self.model).items()}
        if [len(shape) for shape in taken] != [4]:
            raise InputError(
                f"features must be a network that takes images (B, H, W, C); {self.name} takes "
                f"{', '.join(map(str, taken))}."
            )
        check_channels("features", self.model)
        used = [shape for output, shape in given.items() if output in ("features", "logits")]
        if "features" not in given or any(len(shape) != 2 or shape[1] is None for shape in used):
            raise InputError(
                "features must be a network that gives (B, d), or `features` and `logits` of such a shape, "
                f"as GlobalAveragePooling2D or Flatten makes; {self.name} gives {given}."
            )

    @property
    def image_shape(self):
        """`(H, W, C)` that the network takes."""
        return tuple(self.model.inputs[0].shape[1:])

    @property
    def dimension(self):
        """d, the number of features."""
        return int(_outputs_of(self.model)["features"].shape[1])

    @property
    def num_classes(self):
        """K, or None where the network is no classifier."""
        logits = _outputs_of(self.model).get("logits")
        return None if logits is None else int(logits.shape[1])

    @property
    def tells_digits(self):
        """Whether it is one of the package's own, whose classes are the digits."""
        return self.named and self.name in ARCHITECTURES

    @functools.cached_property
    def architecture(self):
        """First 12 hexadecimal digits of the SHA-256 of the layers, but for their names, scale, offset, size.

        With the digest of the weights it says which numbers come out. None where a layer cannot be told.
        """
        try:
            config = keras.saving.serialize_keras_object(self.model)
        except (NotImplementedError, TypeError, ValueError):
            return None
        names: dict[str, str] = {}
        known = [_numbered(config, names), self.scale, self.offset]
        if self.smallest:
            known.append(self.smallest)
        return hashlib.sha256(json.dumps(known, sort_keys=True, default=str).encode()).hexdigest()[:12]

    def extract(self, images, batch_size=256):
        """Features of images, and class probabilities where the network is a classifier.

        Args:
            images: `(N, H, W, C)`, float in [0, 1] or uint8; resized where the network takes another size.
                If it takes color, gray ones are repeated and alpha is laid on white.
            batch_size: images in memory at a time, at most; fewer of large ones.

        Returns:
            `Features`.

        Raises:
            InputError: images of another number of channels, or out of range.
        """
        images = as_float32(check_images(images, argument="images"))
        height, width, _ = self._taken(images.shape[1:])
        batch_size = min(batch_size, max(1, MOST_PIXELS // (height * width)))
        chunks = (images[start : start + batch_size] for start in range(0, len(images), batch_size))
        outputs = [self._outputs(keras.ops.convert_to_numpy(self._fit(chunk))) for chunk in chunks]
        features = np.concatenate([output["features"] for output in outputs])
        if "logits" not in outputs[0]:
            return Features(features, None)
        logits = np.concatenate([output["logits"] for output in outputs])
        exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return Features(features, exponentials / exponentials.sum(axis=-1, keepdims=True))

    def features_of(self, images):
        """Features `(B, d)` as a tensor, of a tensor of images `(B, H, W, C)`, float in [0, 1]."""
        outputs = self.model(self._fit(images), training=False)
        return outputs["features"] if isinstance(outputs, dict) else outputs

    def provenance(self, image_shape):
        """What a result made with these features states, for images `(H, W, C)`."""
        taken = self._taken(image_shape)
        resized = tuple(image_shape) != taken
        return {
            "extractor": self.name,
            "digest": self.digest,
            "resized": f"from {tuple(image_shape)} to {taken}" if resized else None,
        }

    def _taken(self, image_shape):
        """The shape `(H, W, C)` in which the network takes images of that one: where it says None, any."""
        *size, channels = (own or side for own, side in zip(self.image_shape, image_shape, strict=True))
        if self.smallest and None not in size:
            size = [*enlarged(size, self.smallest)]
        return (*size, channels)

    def _outputs(self, images):
        outputs = self.model.predict_on_batch(images)
        return outputs if isinstance(outputs, dict) else {"features": outputs}

    def _fit(self, images):
        """Bring images to the network's size, channels and range."""
        *size, channels = self._taken(images.shape[1:])
        if images.shape[-1] != channels:
            if images.shape[-1] != 1 and (images.shape[-1], channels) != (4, 3):
                allowed = {1: "1 channel", 3: "1, 3 or 4 channels"}.get(channels, f"1 or {channels} channels")
                raise InputError(
                    f"images must have {allowed} for {self.name}; received {tuple(images.shape)}."
                )
            images = with_channels(images, channels)
        if tuple(images.shape[1:3]) != tuple(size):
            images = resized(images, size)
        return images * self.scale + self.offset


def extractor(source="mnist_plain"):
    """A feature extractor.

    Args:
        source: `mnist_plain` or `mnist_residual`, the package's own MNIST classifiers; `imagenet`, the 1,280
            pooled features of EfficientNet-Lite0, whose ImageNet weights come with the package;
            `inception_v3`, Keras' network with ImageNet weights, which it downloads (it is not the network
            of the original Fréchet Inception distance); or any Keras model from images, whose
            output `(B, d)`, or whose outputs named `features` and `logits`, are used.

    Returns:
        An `Extractor`.

    Raises:
        InputError: another name; `inception_v3` where it cannot be downloaded; a model that is not built,
            takes no images `(B, H, W, C)`, or gives something else.
    """
    if isinstance(source, keras.Model):
        return Extractor(source.name, digest(source), source)
    choose("features", source, NAMES)
    made = {INCEPTION: _inception, IMAGENET: _imagenet}.get(source, lambda: shipped(source))()
    return dataclasses.replace(made, named=True)


def shipped(name):
    """One of the package's own classifiers, as it was trained: an `Extractor`, or raise `InputError`."""
    file = importlib.resources.files("keras_vaegan.metrics") / "weights" / f"{name}.npz"
    model = (ARCHITECTURES | REJECTING)[name]()
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as halves:
        for variable in model.weights:
            variable.assign(halves[variable.path].astype("float32"))
    found = digest(model)
    if found != DIGESTS[name]:
        message = f"features {name} must have the weights {DIGESTS[name]}; received {found}."
        raise InputError(message, argument="features", received=found)
    model.trainable = False
    return Extractor(name, found, model)


def _imagenet():
    network = efficientnet_lite.features(("pooled",))
    model = keras.Model(network.input, network.output["pooled"], name=IMAGENET)
    return Extractor(IMAGENET, efficientnet_lite.DIGEST, model, smallest=IMAGENET_SMALLEST)


def _inception():
    try:
        model = keras.applications.InceptionV3(
            include_top=False, weights="imagenet", input_shape=INCEPTION_SHAPE, pooling="avg"
        )
    except Exception as error:  # each way of having no network fails in its own way
        raise InputError(
            f"features {INCEPTION} must be downloaded by Keras, which failed ({reason_of(error)}); "
            f"use one of {', '.join(NAMES[:-1])} without a network.",
            argument="features",
            allowed=NAMES[:-1],
            received=INCEPTION,
        ) from error
    return Extractor(INCEPTION, digest(model), model, scale=2.0, offset=-1.0)


def digest(model):
    """First 12 hexadecimal digits of the SHA-256 of the weights, in their order, as float32."""
    return weights.digest(model.get_weights())


def _outputs_of(model):
    """The symbolic outputs by name: `features`, or what the model calls them."""
    given = model.outputs if isinstance(model, keras.Sequential) else model.output
    if isinstance(given, (list, tuple)):
        given = given[0] if len(given) == 1 else dict(enumerate(given))
    return given if isinstance(given, dict) else {"features": given}


def _numbered(config, names):
    """A configuration with numbers for the names of layers, which Keras counts anew in each program."""
    if isinstance(config, dict):
        if "trainable" in config or "batch_shape" in config:  # a layer's, or an input's
            names.setdefault(config.get("name"), f"layer {len(names)}")
        return {key: _numbered(value, names) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return [_numbered(value, names) for value in config]
    return names.get(config, config) if isinstance(config, str) else config
