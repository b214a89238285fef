"""Reconstruction losses: how far a reconstruction x~ lies from its image x.

Siblings of one shape: `loss(x, p, hidden, real, fake)` gives `(B,)`, and `weight` is its weight in the
generator's loss.
"""

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
from keras import ops

from keras_vaegan import losses
from keras_vaegan.backend import linearized
from keras_vaegan.distributions import sum_event
from keras_vaegan.errors import InputError, at_least, choose, one_line
from keras_vaegan.networks.efficientnet_lite import DIGEST
from keras_vaegan.parts import Part
from keras_vaegan.perceptual import IMAGENET, FeatureDistance, check_layers, check_network
from keras_vaegan.typing import Tensor
from keras_vaegan.weights import digest

SHIPPED = {"name": IMAGENET, "digest": DIGEST}


class Reconstruction(Part):
    """Base class of reconstruction losses.

    Args:
        weight: in the generator's loss, at least 0.
    """

    name = ""

    def __init__(self, weight: float = 1.0) -> None:
        self.weight = at_least(self.name or "weight", weight, 0.0)

    def begin(self, image_shape: Sequence[Any]) -> None:
        """Take the form of the model that has this loss, for images `(H, W, C)`.

        The model calls it when it is made, so that no weights are made within a training step.

        Raises:
            InputError: a loss that has no meaning for such images.
        """

    def loss(self, x: Tensor, p: Any, hidden: Tensor | None, real: Any, fake: Any) -> Tensor:
        """The loss of each image, `(B,)`.

        Args:
            x: images `(B, H, W, C)`, or the bits drawn from them.
            p: p(x|z), a distribution over images; x~ is its mean.
            hidden: `(B, H, W, 1)`, 0 for pixels that the model was given; None if it was given none.
            real, fake: D's features of x and x~, `(B, ...)`; None in a model without D.
        """
        raise NotImplementedError


@keras.saving.register_keras_serializable("keras_vaegan")
class Pixels(Reconstruction):
    """-log p(x|z) in nats, as in the ELBO."""

    name = "pixels"

    def loss(self, x: Tensor, p: Any, hidden: Tensor | None, real: Any, fake: Any) -> Tensor:
        return -p.log_prob(x, hidden)


@keras.saving.register_keras_serializable("keras_vaegan")
class Features(Reconstruction):
    """|f(x) - f(x~)|^2 / 2 in the features f of the discriminator (Larsen et al. 2015, eq. 7)."""

    name = "features"

    def loss(self, x: Tensor, p: Any, hidden: Tensor | None, real: Any, fake: Any) -> Tensor:
        return losses.feature_matching(fake, real)


@keras.saving.register_keras_serializable("keras_vaegan")
class L1(Reconstruction):
    """|x - x~| summed over pixels and channels, of pixels in [0, 1]."""

    name = "l1"

    def loss(self, x: Tensor, p: Any, hidden: Tensor | None, real: Any, fake: Any) -> Tensor:
        return sum_event(ops.abs(x - p.mean), hidden)


@keras.saving.register_keras_serializable("keras_vaegan")
class L2(Reconstruction):
    """(x - x~)^2 summed over pixels and channels, of pixels in [0, 1]."""

    name = "l2"

    def loss(self, x: Tensor, p: Any, hidden: Tensor | None, real: Any, fake: Any) -> Tensor:
        return sum_event(ops.square(x - p.mean), hidden)


@keras.saving.register_keras_serializable("keras_vaegan")
class Perceptual(Reconstruction):
    """H W C d(x, x~), with d the distance in a frozen network's features (`keras_vaegan.perceptual`).

    d is a mean over positions, and the other losses are sums over pixels and channels. The factor H W C
    lets a weight mean the same beside them for images of any size, as in Esser et al. 2021, who add the
    perceptual loss to the error of each pixel. Pixels that the model was given count as reconstructed
    without error.

    Only x~ gets a gradient. The network is no part of the model: it neither trains nor is saved. A
    configuration has its name and the digest of its weights; the package makes `imagenet` anew. Give a
    network of your own anew, by `give`, to train on with a model that was loaded; all else works without
    it.

    Args:
        weight: in the generator's loss, at least 0.
        network: `imagenet`, EfficientNet-Lite0 with the weights that come with the package; a Keras model of
            images in [0, 1] with feature maps `(B, h, w, c)` as outputs or layers; or `name` and `digest` of
            one that will be given, as a configuration has it.
        layers: weights of the feature maps by the name of an output or layer; for `imagenet` of `stride_2`,
            `stride_4`, `stride_8`, `stride_16` and `stride_32`. None for all outputs, with equal weights that
            sum to 1.

    Raises:
        InputError: a network or layers that are none; others as of `perceptual.FeatureDistance`, when a model
            is made with this loss.
    """

    name = "perceptual"

    def __init__(
        self,
        weight: float = 1.0,
        network: str | keras.Model | Mapping[str, str] = IMAGENET,
        layers: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(weight)
        if isinstance(network, Mapping) and dict(network) == SHIPPED:
            network = IMAGENET
        if not (isinstance(network, Mapping) and set(network) == set(SHIPPED)):
            check_network(network)
        self.network: Any = network
        self.layers = None if layers is None else check_layers(layers)
        self.distance: FeatureDistance | None = None
        self._image_shape: tuple[Any, ...] | None = None

    @property
    def named(self) -> dict[str, str]:
        """Name of the network, and digest of its weights."""
        if isinstance(self.network, keras.Model):
            return {"name": self.network.name, "digest": digest(self.network.get_weights())}
        return dict(SHIPPED if self.network == IMAGENET else self.network)

    def begin(self, image_shape: Sequence[Any]) -> None:
        self._image_shape = tuple(image_shape)
        if not isinstance(self.network, Mapping):
            self.distance = FeatureDistance(self.network, self.layers, self._image_shape)

    def give(self, network: keras.Model) -> None:
        """Give the network that a loaded loss was saved with; raise `InputError` if it is another."""
        check_network(network)
        found, wanted = digest(network.get_weights()), self.named["digest"]
        if found != wanted:
            raise InputError(
                f"network must have the weights {wanted} that the loss was saved with; received {found}."
            )
        self.network = network
        if self._image_shape is not None:
            self.begin(self._image_shape)

    def loss(self, x: Tensor, p: Any, hidden: Tensor | None, real: Any, fake: Any) -> Tensor:
        if self._image_shape is None:
            raise InputError("image_shape must be given by Perceptual.begin before the first loss.")
        if self.distance is None:
            raise InputError(
                "network must be given anew, by Perceptual.give, to train on: "
                f"{one_line(self.named['name'])} is not saved with the model."
            )
        made = p.mean if hidden is None else hidden * p.mean + (1.0 - hidden) * x
        height, width, channels = ops.shape(x)[1:]
        distance = linearized(functools.partial(self.distance, x), made)
        return distance * ops.cast(height * width * channels, "float32")

    def get_config(self) -> dict[str, Any]:
        """The settings by name; of the network its name and the digest of its weights."""
        return super().get_config() | {"network": self.named}


RECONSTRUCTIONS: dict[str, type[Reconstruction]] = {
    kind.name: kind for kind in (Features, Pixels, L1, L2, Perceptual)
}


def weighed(terms: Iterable[Reconstruction], *compared: Any) -> Any:
    """The weighted sum `(B,)` of reconstruction losses of what `Reconstruction.loss` takes; 0 of none."""
    return sum(term.weight * term.loss(*compared) for term in terms if term.weight)


def choose_reconstruction(given: Any, default: Mapping[str, float]) -> list[Reconstruction]:
    """The reconstruction losses that an argument asks for; features and pixels always, perhaps of weight 0.

    Args:
        given: dictionary of weights by name, where what is left out has the default's weight; a list of
            `Reconstruction` objects, where what is left out has none; None for the default.
        default: weights by name.

    Raises:
        InputError: another name, a weight below 0, one loss twice.
    """
    if given is None or isinstance(given, Mapping):
        for name in given or {}:
            choose("reconstruction", name, RECONSTRUCTIONS)
        weights = {**default, **(given or {})}
        asked = [RECONSTRUCTIONS[name](weight) for name, weight in weights.items()]
    elif isinstance(given, Sequence) and all(isinstance(one, Reconstruction) for one in given):
        asked = list(given)
    else:
        raise InputError(
            f"reconstruction must be a dictionary of weights of {', '.join(RECONSTRUCTIONS)}, or a list of "
            f"Reconstruction objects; received a {type(given).__name__}."
        )
    by_name = {one.name: one for one in asked}
    if len(by_name) < len(asked):
        raise InputError("reconstruction must have each loss once; received one twice.")
    known = {"features": by_name.pop("features", Features(0.0)), "pixels": by_name.pop("pixels", Pixels(0.0))}
    return [*known.values(), *by_name.values()]
