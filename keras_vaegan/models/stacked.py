"""M1+M2: the semi-supervised VAE on the codes of a trained VAE (Kingma et al. 2014, section 2.3)."""

from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import ArrayLike

from keras_vaegan.distributions import LOG_2PI, Bernoulli, DiagonalNormal
from keras_vaegan.errors import InputError, whole_number
from keras_vaegan.models.latent import NUM_WEIGHED, as_seed
from keras_vaegan.models.semi_supervised import SemiSupervisedVAE
from keras_vaegan.models.vae import VAE
from keras_vaegan.typing import Condition, Tensor


@keras.saving.register_keras_serializable("keras_vaegan")
class StackedSemiSupervisedVAE(SemiSupervisedVAE):
    """M1+M2: M2 whose data are the codes z1 of a trained VAE, which stays as it is.

        p(x, z1, z2, y) = p(x|z1) p(z1|z2, y) p(z2) p(y)

    The objective is that of `SemiSupervisedVAE` with z1 in the place of x: a draw from q(z1|x) in training,
    its mean otherwise. `loss` and its parts are bounds on log p(z1), not on that of the pixels; the verbs are
    on images as ever, decoded by way of the mean of p(z1|z2, y).

    Args:
        base: the trained VAE, of which a copy is kept.
        trunk: functional model, codes `(B, Z1)` -> features `(B, F)`.
        encoder, class_head: as for `SemiSupervisedVAE`.
        decoder: functional model, dictionary of `codes` `(B, Z)` and `labels` -> `{"mean", "log_variance"}`
            `(B, Z1)` of p(z1|z2, y).
        **kwargs: the other arguments of `SemiSupervisedVAE`; the likelihood of pixels is that of the base.
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
        kwargs |= {"likelihood": copy.observation, "noise_scale": copy.noise_scale}
        super().__init__(
            trunk=_seen_through(copy, trunk),
            encoder=encoder,
            class_head=class_head,
            decoder=_drawn_by(copy, decoder),
            **kwargs,
        )
        self.base, self.code_trunk, self.code_decoder = copy, trunk, decoder

    def look(self, x: Tensor, training: bool) -> tuple[Tensor, Tensor]:
        """Features of codes z1 `(B, F)`, and what the bound is of: those codes."""
        q = self.base.posterior(x)
        z = ops.stop_gradient(q.sample(self.seed_generator) if training else q.mean)
        return self.code_trunk(z, training=training), z

    def decoded_by_class(
        self, z: Tensor, condition: Condition, training: bool
    ) -> tuple[Bernoulli | DiagonalNormal, ...]:
        """p(z1|z2, y) for each class, from codes z2 `(K B, Z)`, class by class."""
        parts = self.code_decoder({"codes": z, **condition}, training=training)
        mean, log_variance = (
            ops.reshape(parts[part], (self.num_classes, -1, self.base.latent_dim))
            for part in ("mean", "log_variance")
        )
        return tuple(DiagonalNormal(mean[k], log_variance[k]) for k in range(self.num_classes or 0))

    def log_likelihood(
        self,
        x: ArrayLike,
        labels: ArrayLike | None = None,
        mask: str | ArrayLike | None = None,
        num_samples: int = 100,
        seed: int | None = 0,
        batch_size: int = 128,
    ) -> np.ndarray:
        """Importance-weighted bound on log p(x|y) (Burda et al. 2016, eq. 8), over both layers of codes.

            log 1/k sum_i p(x|z1_i) p(z1_i|z2_i, y) p(z2_i) / q(z1_i|x) q(z2_i|z1_i, y)

        Arguments and result are those of every model's `log_likelihood`.
        """
        x, k = self._array(x), whole_number("num_samples", num_samples, 1)
        condition, seed = self.condition(len(x), labels, x, mask), as_seed(seed)
        q1 = self._in_batches(self.base.encoder, x, batch_size)
        prior = self.prior_parameters(condition, len(x), batch_size)
        rows, result = max(1, NUM_WEIGHED // k), np.empty(len(x))
        for start in range(0, len(x), rows):
            chunk = slice(start, start + rows)
            images = np.repeat(x[chunk], k, axis=0)
            repeated = {name: np.repeat(value[chunk], k, axis=0) for name, value in condition.items()}
            of_base, of_prior = (
                {name: np.repeat(v[chunk], k, axis=0) for name, v in p.items()} for p in (q1, prior)
            )
            noise = np.concatenate(
                [
                    np.random.default_rng([seed, image]).standard_normal(
                        (k, self.base.latent_dim + self.latent_dim)
                    )
                    for image in range(start, start + len(x[chunk]))
                ]
            )
            z1 = _placed(of_base, noise[:, : self.base.latent_dim])
            features = self._in_batches(self.code_trunk, z1, batch_size)
            q2 = self._in_batches(self.encoder_head, {"features": features, **repeated}, batch_size)
            z2 = _placed(q2, noise[:, self.base.latent_dim :])
            p1 = self._in_batches(self.code_decoder, {"codes": z2, **repeated}, batch_size)
            logits = self._in_batches(self.base.decoder, z1, batch_size)
            weights = ops.convert_to_numpy(self.observed(logits).log_prob(images)).astype("float64")
            weights += _log_density(z1, p1) - _log_density(z1, of_base)
            weights += _log_density(z2, of_prior) - _log_density(z2, q2)
            result[chunk] = np.logaddexp.reduce(weights.reshape(-1, k), axis=1) - np.log(k)
        return result

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["likelihood"], config["noise_scale"]
        return config | {
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


def _placed(parameters: dict[str, np.ndarray], noise: np.ndarray) -> np.ndarray:
    """Draws from normal distributions, float32."""
    mean, log_variance = (parameters[part].astype("float64") for part in ("mean", "log_variance"))
    return (mean + np.exp(0.5 * log_variance) * noise).astype("float32")


def _log_density(z: np.ndarray, parameters: dict[str, np.ndarray]) -> np.ndarray:
    """log N(z) in nats, `(N,)` float64."""
    mean, log_variance = (parameters[part].astype("float64") for part in ("mean", "log_variance"))
    return -0.5 * ((z - mean) ** 2 * np.exp(-log_variance) + log_variance + LOG_2PI).sum(axis=1)


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
