"""Reconstruction losses: how far a reconstruction x~ lies from its image x.

Siblings of one shape: `loss(x, p, hidden, real, fake)` gives `(B,)`, and `weight` is its weight in the
generator's loss.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from keras_vaegan import losses
from keras_vaegan.distributions import sum_event
from keras_vaegan.errors import InputError, at_least, choose
from keras_vaegan.parts import Part
from keras_vaegan.typing import Tensor


class Reconstruction(Part):
    """Base class of reconstruction losses.

    Args:
        weight: in the generator's loss, at least 0.
    """

    name = ""

    def __init__(self, weight: float = 1.0) -> None:
        self.weight = at_least(self.name or "weight", weight, 0.0)

    def loss(self, x: Tensor, p: Any, hidden: Tensor | None, real: Tensor, fake: Tensor) -> Tensor:
        """The loss of each image, `(B,)`.

        Args:
            x: images `(B, H, W, C)`, or the bits drawn from them.
            p: p(x|z), a distribution over images; x~ is its mean.
            hidden: `(B, H, W, 1)`, 0 for pixels that the model was given; None if it was given none.
            real, fake: D's features of x and x~, `(B, ...)`.
        """
        raise NotImplementedError


@keras.saving.register_keras_serializable("keras_vaegan")
class Pixels(Reconstruction):
    """-log p(x|z) in nats, as in the ELBO."""

    name = "pixels"

    def loss(self, x: Tensor, p: Any, hidden: Tensor | None, real: Tensor, fake: Tensor) -> Tensor:
        return -p.log_prob(x, hidden)


@keras.saving.register_keras_serializable("keras_vaegan")
class Features(Reconstruction):
    """|f(x) - f(x~)|^2 / 2 in the features f of the discriminator (Larsen et al. 2015, eq. 7)."""

    name = "features"

    def loss(self, x: Tensor, p: Any, hidden: Tensor | None, real: Tensor, fake: Tensor) -> Tensor:
        return losses.feature_matching(fake, real)


@keras.saving.register_keras_serializable("keras_vaegan")
class L1(Reconstruction):
    """|x - x~| summed over pixels and channels, of pixels in [0, 1]."""

    name = "l1"

    def loss(self, x: Tensor, p: Any, hidden: Tensor | None, real: Tensor, fake: Tensor) -> Tensor:
        return sum_event(ops.abs(x - p.mean), hidden)


RECONSTRUCTIONS: dict[str, type[Reconstruction]] = {kind.name: kind for kind in (Features, Pixels, L1)}


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
