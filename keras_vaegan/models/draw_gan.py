"""DRAW with a discriminator, on its last canvas or on all of them (Chen, Fang and Ju 2016)."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import keras
import numpy as np

from keras_vaegan.errors import InputError, at_least
from keras_vaegan.models.adversarial import Adversarial
from keras_vaegan.models.draw import CLIPNORM, DRAW
from keras_vaegan.registry import register
from keras_vaegan.typing import Tensor


@register("draw_gan", "conditional_draw_gan")
@keras.saving.register_keras_serializable("keras_vaegan")
class DRAWGAN(Adversarial, DRAW):
    """DRAW-GAN. The generator is a DRAW, plain or on labels; the discriminator judges what it draws.

    With c_t the canvases of the reconstruction and c'_t those of a sample from the prior, in pixels, and
    `real` and `fake` the cross-entropies of D's verdict, to real or fake, or to y or the class of fakes:

        L_G = beta KL - w log p(x|z) + gamma |f(x) - f(c_T)|^2 / 2
              + sum_t w_t (real(c_t) + real(c'_t))
        L_D = real(x) + sum_t w_t (fake(c_t) + fake(c'_t))

    The paper judges the last canvas, w_T = 1, and finds that the pixels have to stay: w is the weight of
    pixels in `reconstruction`. It proposes to judge the sequence of canvases, which `time_weights` does.

    Args:
        encoder, decoder: as for `DRAW`.
        discriminator: as for the other hybrids.
        time_weights: w_t: `last` for the last canvas alone, `linear` for t, `equal`, or T numbers; they are
            scaled to a sum of 1, and canvases of weight 0 are not judged.
        **kwargs: the other arguments of `Adversarial` and of `DRAW`, whose logs it has. By default fakes are
            from the prior, beta is 0.2, and reconstructions are compared in pixels alone, of weight 0.2.

    Raises:
        InputError: `time_weights` that are none of these, or leave the last canvas out; as of both parents.

    Examples:
        >>> import keras_vaegan as kvg
        >>> (x, y), *_ = kvg.data.load("digits")
        >>> model = kvg.DRAWGAN.from_preset("draw_gan_mnist_small", load_weights=False)
        >>> history = model.fit(x, epochs=1, verbose=0)
        >>> model.generate(4, seed=0).shape
        (4, 28, 28, 1)
    """

    # The bound of a hundred nats against a game of a few: with less, all samples become one stroke.
    default_reconstruction = {"features": 0.0, "pixels": 0.2}
    default_beta = 0.2
    fakes = ("prior", "none")  # another draw of z_t would need its own path

    def __init__(
        self,
        encoder: keras.Model,
        decoder: keras.Model,
        discriminator: keras.Model,
        time_weights: Literal["last", "linear", "equal"] | Sequence[float] = "last",
        **kwargs: Any,
    ) -> None:
        super().__init__(encoder=encoder, decoder=decoder, discriminator=discriminator, **kwargs)
        self._weights = _scaled(time_weights, self.steps)
        self.time_weights = time_weights if isinstance(time_weights, str) else tuple(time_weights)
        self._judged = [t for t, weight in enumerate(self._weights) if weight]

    def default_optimizers(self) -> dict[str, keras.optimizers.Optimizer]:
        optimizers = super().default_optimizers()
        for player, optimizer in optimizers.items():
            if player != "discriminator":
                optimizer.global_clipnorm = CLIPNORM
        return optimizers

    def decoding_networks(self) -> list[Any]:
        return [self.cell.decoder, self.cell.first_drawing, *self.likelihood_networks()]

    def finished_steps(self, made: Mapping[str, Tensor]) -> list[Any]:
        return [self.observation(made["canvases"][:, t]) for t in self._judged]

    @property
    def step_weights(self) -> Sequence[float]:
        return [self._weights[t] for t in self._judged]

    def get_config(self) -> dict[str, Any]:
        weights = self.time_weights
        return super().get_config() | {"time_weights": weights if isinstance(weights, str) else list(weights)}


def _scaled(weights: str | Sequence[float], steps: int) -> list[float]:
    """The weights of T canvases, scaled to a sum of 1."""
    named: dict[str, list[float]] = {
        "last": [0.0] * (steps - 1) + [1.0],
        "linear": list(range(1, steps + 1)),
        "equal": [1.0] * steps,
    }
    values: Any = named.get(weights) if isinstance(weights, str) else weights
    try:
        values = [at_least("time_weights", value, 0.0) for value in values]
        total = sum(values)
        if len(values) != steps or not 0 < values[-1] <= total < np.inf:
            raise ValueError
    except (TypeError, ValueError) as error:  # InputError is a ValueError
        raise InputError(
            f"time_weights must be one of {', '.join(named)}, or {steps} numbers of at least 0, one for each "
            f"step, the last above 0; received {weights!r}."
        ) from error
    return [value / total for value in values]
