"""The conditional VAE: on labels, on part of the image, or on both.

Sohn et al. 2015, "Learning structured output representation using deep conditional generative
models", and Chen, Fang and Ju 2016, sections on image completion and style transfer.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from keras_vaegan.conditions import KNOWN
from keras_vaegan.errors import InputError
from keras_vaegan.models.vae import VAE
from keras_vaegan.priors import Prior
from keras_vaegan.registry import register
from keras_vaegan.typing import Tensor


@register("cvae", "completion_cvae")
@keras.saving.register_keras_serializable("keras_vaegan")
class CVAE(VAE):
    """Conditional VAE: p(x, z|c) and q(z|x, c), trained on the negative conditional ELBO in nats.

        L = KL(q(z|x, c) || p(z|c)) - log p(x|z, c),  z ~ q(z|x, c)

    The condition c is what the decoder takes beside the codes: `labels`, one-hot `(B, K)`; `given`,
    the visible part of the image beside its mask `(B, H, W, C + 1)`; or both. If part of an image is
    given, visible pixels are excluded from the likelihood and copied to the output.

    Args:
        encoder: functional model, dictionary of `images` and any of the condition ->
            `{"mean", "log_variance"}` `(B, Z)`.
        decoder: functional model, dictionary of `codes` and the condition -> logits `(B, H, W, C)`.
        prior: as for `VAE`, or `priors.Conditional(network)`, or that network: functional model,
            dictionary of the condition -> `{"mean", "log_variance"}` of p(z|c).
        masks: what is given in training, drawn anew for each image: of `left`, `right`, `top`,
            `bottom`, `quadrants:1` to `quadrants:3`, `none` (nothing) and `blocks` (cells of a 4x4 grid
            at random); all of these if None. For models that complete images only.
        **kwargs: the other arguments of `VAE`.

    Logs: those of `VAE`, for the conditional ELBO.

    Raises:
        InputError: a decoder that takes no condition, networks that are not conditioned on the same, a mask
            that is none of these, masks for a model that completes nothing; as of `VAE`.

    Examples:
        >>> import keras_vaegan as kvg
        >>> (x, y), *_ = kvg.data.load("digits")
        >>> model = kvg.CVAE.from_preset("completion_cvae_mnist")
        >>> model.complete(x[:8], mask="left", num_samples=5, seed=0).shape
        (8, 5, 28, 28, 1)
    """

    takes: tuple[str, ...] = KNOWN

    def __init__(
        self,
        encoder: keras.Model,
        decoder: keras.Model,
        prior: str | dict | Prior | keras.Model | None = None,
        masks: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(encoder=encoder, decoder=decoder, prior=prior, **kwargs)
        self.condition.choose_masks(masks)

    @property
    def masks(self) -> tuple[str, ...]:
        """What is given in training."""
        return self.condition.masks

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"masks": self.masks}

    def _check_condition(self, inputs: Mapping[str, Tensor]) -> None:
        if not inputs or not set(inputs) <= set(KNOWN):
            raise InputError(
                "decoder must take a dictionary of `codes` and `labels`, `given` or both; "
                f"received {sorted(inputs) or 'codes alone'}."
            )
