"""M1+M2: the semi-supervised VAE on the codes of a trained VAE (Kingma et al. 2014, section 2.3)."""

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_vaegan.distributions import DiagonalNormal
from keras_vaegan.errors import InputError
from keras_vaegan.models.semi_supervised import SemiSupervisedVAE
from keras_vaegan.models.vae import VAE
from keras_vaegan.registry import register
from keras_vaegan.typing import Condition, Tensor

OF_BASE = {"likelihood": "observation", "value_range": "value_range"}  # what x and p(x|z1) are: no choice


@register("stacked_ssl_vae")
@keras.saving.register_keras_serializable("keras_vaegan")
class StackedSemiSupervisedVAE(SemiSupervisedVAE):
    """M1+M2: M2 whose data are the codes z1 of a trained VAE, which stays as it is.

        p(x, z1, z2, y) = p(x|z1) p(z1|z2, y) p(z2) p(y)

    The objective is that of `SemiSupervisedVAE` with z1 in the place of x: a draw from q(z1|x) in training,
    its mean otherwise. `loss` and its parts are ELBOs of log p(z1), not on that of the pixels; the verbs are
    on images as ever, decoded by way of the mean of p(z1|z2, y).

    Args:
        base: the trained VAE, of which a copy is kept.
        trunk: functional model, codes `(B, Z1)` -> features `(B, F)`.
        encoder, class_head: as for `SemiSupervisedVAE`.
        decoder: functional model, dictionary of `codes` `(B, Z)` and `labels` -> `{"mean", "log_variance"}`
            `(B, Z1)` of p(z1|z2, y).
        **kwargs: the other arguments of `SemiSupervisedVAE`; the likelihood of pixels is that of the base.

    Raises:
        InputError: a base that is no VAE or has a condition, networks that are not of its codes, a
            likelihood; as of `SemiSupervisedVAE`.

    Examples:
        >>> import keras_vaegan as kvg
        >>> from keras_vaegan.networks import heads
        >>> (x, y), *_ = kvg.data.load("digits")
        >>> x, y = kvg.data.semi_supervised_split(x, y, num_labels=100)
        >>> base = kvg.VAE.from_preset("vae_mnist")
        >>> model = kvg.StackedSemiSupervisedVAE(
        ...     base,
        ...     heads.code_trunk(base.latent_dim, units=128),
        ...     heads.encoder_head(128, latent_dim=8, num_classes=10),
        ...     heads.class_head(128, num_classes=10),
        ...     heads.code_decoder(base.latent_dim, latent_dim=8, num_classes=10),
        ... )
        >>> model.compile()
        >>> history = model.fit(x, y, epochs=1, verbose=0)
        >>> model.classify(x[:4]).shape
        (4, 10)
    """

    def __init__(
        self,
        base: VAE,
        trunk: keras.Model,
        encoder: keras.Model,
        class_head: keras.Model,
        decoder: keras.Model,
        **kwargs: Any,
    ) -> None:
        _check_base(base, trunk, decoder)
        config = base.get_config()
        for name in ("encoder", "decoder"):  # the networks above it have these names
            config[name]["config"]["name"] = f"base_{name}"
        copy: VAE = type(base).from_config(config)
        copy.set_weights(base.get_weights())
        copy.trainable = False
        for name in OF_BASE:
            if name in kwargs:
                raise InputError(
                    f"{name} must be left out: it is that of the base; received {kwargs[name]!r}."
                )
            kwargs[name] = getattr(copy, OF_BASE[name])
        super().__init__(
            trunk=_seen_through(copy, trunk),
            encoder=encoder,
            class_head=class_head,
            decoder=_drawn_by(copy, decoder),
            **kwargs,
        )
        self.base, self.code_trunk, self.code_decoder = copy, trunk, decoder

    def look(self, x: Tensor, training: bool) -> tuple[Tensor, Tensor]:
        """Features of codes z1 `(B, F)`, and what the ELBO is of: those codes."""
        q = self.base.posterior(x)
        z = ops.stop_gradient(q.sample(self.seed_generator) if training else q.mean)
        return self.code_trunk(z, training=training), z

    def virtual_adversarial(
        self, x: Tensor, logits: Tensor, classify: Callable[..., Tensor], training: bool
    ) -> Tensor:
        # What is given is of a draw of z1 in training; the step is seen at its mean, both before and after.
        return super().virtual_adversarial(x, classify(x, training=training), classify, training)

    def decoded_by_class(self, z: Tensor, condition: Condition, training: bool) -> Any:
        """Mean and log-variance `(K, B, Z1)` of z1 for each class, from codes z2 `(K B, Z)`."""
        parts = self.code_decoder({"codes": z, **condition}, training=training)
        return {
            part: ops.reshape(parts[part], (self.num_classes, -1, self.base.latent_dim))
            for part in ("mean", "log_variance")
        }

    def given_by_class(self, decoded: Any) -> Any:
        """p(z1|z2, y) `(K, B, Z1)` for each class."""
        return DiagonalNormal(**decoded)

    # ---- the importance-weighted bound, over both layers of codes ----

    @property
    def noise_dim(self) -> int:
        return self.base.latent_dim + self.latent_dim

    def proposals(self, x: np.ndarray, condition: Condition, batch_size: int) -> dict[str, np.ndarray]:
        return self.base.batched("encoded", {"images": x}, batch_size)

    def log_weights(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """log p(x|z1) p(z1|z2, y) p(z2) / q(z1|x) q(z2|z1, y) of draws, `(B,)` in nats."""
        condition = dict(inputs)
        x, noise, *parts = (condition.pop(name) for name in ("images", "noise", "mean", "log_variance"))

        def given(network: keras.Model, **own: Tensor) -> DiagonalNormal:
            parts = network({**own, **condition})
            return DiagonalNormal(parts["mean"], parts["log_variance"])

        q1 = DiagonalNormal(*parts)
        z1 = q1.place(noise[:, : self.base.latent_dim])
        q2 = given(self.encoder_head, features=self.code_trunk(z1))
        z2 = q2.place(noise[:, self.base.latent_dim :])
        log_p = self.observation(self.base.decoder(z1)).log_prob(x)
        log_p = log_p + given(self.code_decoder, codes=z2).log_prob(z1)
        log_p = log_p + self.density(condition).log_prob(z2)
        return log_p - q1.log_prob(z1) - q2.log_prob(z2)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        return {name: value for name, value in config.items() if name not in OF_BASE} | {
            "base": keras.saving.serialize_keras_object(self.base),
            "trunk": keras.saving.serialize_keras_object(self.code_trunk),
            "decoder": keras.saving.serialize_keras_object(self.code_decoder),
        }


def _seen_through(base: VAE, trunk: keras.Model) -> keras.Model:
    """Images -> features, by way of the mean of q(z1|x)."""
    images = keras.Input(base.image_shape, name="images")
    return keras.Model(images, trunk(base.encoder(images)["mean"]), name="trunk_of_images")


def _drawn_by(base: VAE, decoder: keras.Model) -> keras.Model:
    """Codes z2 and labels -> logits of images, by way of the mean of p(z1|z2, y)."""
    inputs = {name: keras.Input(tensor.shape[1:], name=name) for name, tensor in decoder.input.items()}
    return keras.Model(inputs, base.decoder(decoder(inputs)["mean"]), name="decoder_of_images")


def _check_base(base: VAE, trunk: keras.Model, decoder: keras.Model) -> None:
    """Raise unless the base is a VAE without a condition and the networks are of its codes."""
    if not isinstance(base, VAE) or isinstance(base.encoder.input, dict):
        raise InputError(
            f"base must be a VAE that is conditioned on nothing; received a {type(base).__name__}."
        )
    codes = (base.latent_dim,)
    if tuple(trunk.input_shape[1:]) != codes:
        raise InputError(f"trunk must take codes of the base, {codes}; received {trunk.input_shape[1:]}.")
    outputs = decoder.output
    if not isinstance(outputs, dict) or not {"mean", "log_variance"} <= set(outputs):
        raise InputError("decoder must give a dictionary with 'mean' and 'log_variance'.")
    if tuple(outputs["mean"].shape[1:]) != codes:
        raise InputError(
            f"decoder must give codes of the base, {codes}; received {tuple(outputs['mean'].shape[1:])}."
        )
    if not isinstance(decoder.input, dict):
        raise InputError("decoder must take a dictionary of `codes` and `labels`; received codes alone.")
