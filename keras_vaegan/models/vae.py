"""The variational auto-encoder (Kingma and Welling 2014)."""

import math
from collections.abc import Sequence
from typing import Any, Literal, Self

import keras
import numpy as np
from keras import ops
from numpy.typing import ArrayLike

from keras_vaegan import losses
from keras_vaegan.distributions import Bernoulli, DiagonalNormal, sum_event
from keras_vaegan.errors import InputError, at_least, choose, whole_number
from keras_vaegan.models.latent import LatentVariableModel, as_functional, as_seed, feed, input_of
from keras_vaegan.networks.mixture import MixturePrior
from keras_vaegan.training.multi_player import Losses
from keras_vaegan.typing import UNCONDITIONAL, Condition, Tensor

LIKELIHOODS = ("bernoulli", "gaussian")


@keras.saving.register_keras_serializable("keras_vaegan")
class VAE(LatentVariableModel):
    """Variational auto-encoder, trained on the negative evidence lower bound in nats.

        L = KL(q(z|x) || N(0, I)) - log p(x|z),  z ~ q(z|x)

    Args:
        encoder: functional model, images `(B, H, W, C)` -> `{"mean", "log_variance"}` `(B, Z)`.
        decoder: functional model, codes `(B, Z)` -> logits `(B, H, W, C)`.
        likelihood: `bernoulli` (grey pixels allowed) or `gaussian`, around sigmoid(logits).
        binarize: whether pixels are probabilities of bits, which are drawn anew each time that the bound or a
            likelihood is computed ("dynamic binarisation", Burda et al. 2016); for `bernoulli`.
        noise_scale: standard deviation of the Gaussian likelihood, in pixels of [0, 1]; at least 1e-4.
        beta: weight of the KL in what is descended (Higgins et al. 2017); 1 is the bound.
        free_bits: nats per latent dimension that cost nothing (Kingma et al. 2016); 0 is none.
        annealing_steps: steps over which beta rises linearly from 0 (Bowman et al. 2016).
        prior_components: normal distributions in the mixture that `fit_prior` puts in the place of N(0, I)
            after the training (Ghosh et al. 2020); 0 for none. For a model that is conditioned on nothing.
        seed: of the model's own randomness; None for another one each time.
        value_range: `(low, high)`, the range of integer pixels, as (0, 4095) for 12 bits; None for
            (0, 255). Floats are in [0, 1] always.

    Logs: `kl` and `reconstruction` (-log p(x|z)) in nats and `loss`, their sum: always the
    negative bound, whatever beta.

    Raises:
        InputError: networks that do not agree on the code or the image, a setting that is out of its range,
            `binarize` with the Gaussian likelihood.

    Examples:
        >>> import keras_vaegan as kvg
        >>> from keras_vaegan.networks import dcgan
        >>> (x, y), *_ = kvg.data.load("digits")
        >>> shape, latent_dim = (28, 28, 1), 8
        >>> model = kvg.VAE(dcgan.encoder(shape, latent_dim), dcgan.decoder(shape, latent_dim))
        >>> model.compile()  # Adam at 1e-3; or any optimizer of Keras
        >>> history = model.fit(x, epochs=1, verbose=0)
        >>> model.encode(x[:4]).shape, model.generate(16, seed=0).shape
        ((4, 8), (16, 28, 28, 1))
    """

    def __init__(
        self,
        encoder: keras.Model,
        decoder: keras.Model,
        likelihood: Literal["bernoulli", "gaussian"] = "bernoulli",
        binarize: bool = False,
        noise_scale: float = 0.1,
        beta: float = 1.0,
        free_bits: float = 0.0,
        annealing_steps: int = 0,
        prior_components: int = 0,
        seed: int | None = None,
        value_range: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> None:
        encoder, decoder = as_functional("encoder", encoder), as_functional("decoder", decoder)
        super().__init__(seed=seed, value_range=value_range, **kwargs)
        self.encoder, self.decoder = encoder, decoder
        self.observation = choose("likelihood", likelihood, LIKELIHOODS)
        self.binarize = bool(binarize)
        if self.binarize and likelihood != "bernoulli":
            raise InputError(
                f"binarize must be False with the likelihood {likelihood}: its pixels are no bits."
            )
        self.noise_scale = at_least("noise_scale", noise_scale, 1e-4)
        self.beta = at_least("beta", beta, 0.0)
        self.free_bits = at_least("free_bits", free_bits, 0.0)
        self.annealing_steps = at_least("annealing_steps", annealing_steps, 0)
        self._check_networks()
        components = whole_number("prior_components", prior_components, 0)
        if components:
            self._check_for_mixture(components)
        self.mixture = MixturePrior(components, self.latent_dim, name="mixture") if components else None

    @property
    def image_shape(self) -> tuple[int, ...]:
        """`(H, W, C)`."""
        return tuple(input_of(self.encoder, "images").shape[1:])

    @property
    def latent_dim(self) -> int:
        """Z, the dimension of a code."""
        return input_of(self.decoder, "codes").shape[-1]

    # ---- p and q ----

    def posterior(
        self, x: Tensor, condition: Condition = UNCONDITIONAL, training: bool = False
    ) -> DiagonalNormal:
        """q(z|x, c) of images `(B, H, W, C)` in [0, 1]: a `DiagonalNormal` `(B, Z)`."""
        parameters = self.encoder(feed(self.encoder, "images", x, condition), training=training)
        return DiagonalNormal(parameters["mean"], parameters["log_variance"])

    def likelihood(
        self, z: Tensor, condition: Condition = UNCONDITIONAL, training: bool = False
    ) -> Bernoulli | DiagonalNormal:
        """p(x|z, c) of codes `(B, Z)`: a distribution over images `(B, H, W, C)`."""
        return self.observed(self.decoder(feed(self.decoder, "codes", z, condition), training=training))

    def observed(self, logits: Tensor) -> Bernoulli | DiagonalNormal:
        """p(x|z) from the decoder's logits `(B, H, W, C)`."""
        if self.observation == "bernoulli":
            return Bernoulli(logits)
        mean = ops.sigmoid(ops.cast(logits, "float32"))
        return DiagonalNormal(mean, ops.full_like(mean, 2.0 * math.log(self.noise_scale)))

    def placed_noise(
        self, noise: Tensor, condition: Condition = UNCONDITIONAL, training: bool = False
    ) -> Tensor:
        if self.mixture is not None:
            return self.mixture(noise)
        return super().placed_noise(noise, condition, training)

    # ---- the prior that is fitted afterwards, on arrays ----

    def fit_prior(self, x: ArrayLike, seed: int | None = 0, batch_size: int = 128) -> None:
        """Fit the mixture that `generate` draws from to the codes of images (Ghosh et al. 2020, section 4).

        The codes are one draw of q(z|x) for each image. `generate`, `export` and `log_likelihood` have
        the mixture as p(z) from then on; the bound that is trained and evaluated, and its KL, stay those
        of N(0, I). `fit` begins anew: it takes the mixture back to N(0, I).

        Args:
            x: images `(B, H, W, C)`, float in [0, 1] or uint8, those of the training.
            seed: of the codes' noise and of where the mixture begins; None for another one each time.
            batch_size: images encoded at a time.

        Raises:
            InputError: a model without `prior_components`, fewer images than `prior_components`; as of
                `encode`.
        """
        if self.mixture is None:
            raise InputError("prior_components must be at least 1 for fit_prior; the model has none.")
        seed, count = as_seed(seed), self.mixture.components
        codes = self.encode(x, sample=True, seed=seed, batch_size=batch_size)
        if len(codes) < count:
            raise InputError(
                f"x must hold at least {count} images, one for each component; received {len(codes)}."
            )
        self.mixture.fit_to(codes, seed)

    def fit(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        if self.mixture is not None:
            self.mixture.reset()
        return super().fit(x, y, *args, **kwargs)

    def placed_in_prior(self, noise: np.ndarray, condition: Condition, batch_size: int) -> np.ndarray:
        if self.mixture is not None:
            return self._in_batches(self.mixture, noise, batch_size)
        return super().placed_in_prior(noise, condition, batch_size)

    def log_prior(self, z: np.ndarray, normal: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        return super().log_prior(z, normal) if self.mixture is None else self.mixture.log_prob(z)

    # ---- training ----

    def player_networks(self) -> dict[str, list[keras.Model]]:
        return {"generator": [self.encoder, self.decoder]}

    @property
    def log_names(self) -> tuple[str, ...]:
        return ("loss", "kl", "reconstruction")

    def default_optimizers(self) -> dict[str, keras.optimizers.Optimizer]:
        return {"generator": keras.optimizers.Adam(1e-3)}

    def compute_losses(self, x: Tensor, y: Tensor | None = None, training: bool = False) -> Losses:
        x = self.as_observed(self.as_images(x))
        condition = self.draw_condition(x, y)
        kl, weighted_kl, p = self.infer(x, condition, training)
        logs = self.bound(x, kl, p, condition)
        return Losses({"generator": weighted_kl + logs["reconstruction"]}, logs)

    def infer(
        self, x: Tensor, condition: Condition, training: bool
    ) -> tuple[Tensor, Tensor, Bernoulli | DiagonalNormal]:
        """The KL of q(z|x, c) `(B,)`, the same as it is descended, and p(x|z, c) at a draw of z."""
        return self.compare(
            self.posterior(x, condition, training), self.prior(condition, training), condition, training
        )

    def compare(
        self, q: DiagonalNormal, prior: DiagonalNormal, condition: Condition, training: bool
    ) -> tuple[Tensor, Tensor, Bernoulli | DiagonalNormal]:
        """What `infer` gives, of a posterior and a prior."""
        p = self.likelihood(q.sample(self.seed_generator), condition, training)
        return q.kl(prior), self.weighted_kl(q.kl_per_dimension(prior), training), p

    def bound(
        self, x: Tensor, kl: Tensor, p: Bernoulli | DiagonalNormal, condition: Condition
    ) -> dict[str, Tensor]:
        """The negative bound and its two parts, `{name: (B,)}` in nats."""
        reconstruction = -self.log_prob(p, x, condition)
        return {"loss": kl + reconstruction, "kl": kl, "reconstruction": reconstruction}

    def weighted_kl(self, kl_per_dimension: Tensor, training: bool, shares: Tensor | None = None) -> Tensor:
        """The KL `(B, ...)` as it is descended: with free bits, times beta, which rises at first. `(B,)`

        `shares` are the weights of the rows in the mean that free bits are compared with, as for `free_bits`.
        """
        kl = (
            losses.free_bits(kl_per_dimension, self.free_bits, shares)
            if self.free_bits
            else sum_event(kl_per_dimension)
        )
        beta = self.beta
        if self.annealing_steps and training:
            done = ops.cast(self.optimizer.iterations, "float32") / self.annealing_steps
            beta = beta * ops.minimum(done, 1.0)
        return beta * kl

    # ---- configuration ----

    def get_config(self) -> dict[str, Any]:
        return {
            "encoder": keras.saving.serialize_keras_object(self.encoder),
            "decoder": keras.saving.serialize_keras_object(self.decoder),
            "likelihood": self.observation,
            "binarize": self.binarize,
            "noise_scale": self.noise_scale,
            "beta": self.beta,
            "free_bits": self.free_bits,
            "annealing_steps": self.annealing_steps,
            "prior_components": 0 if self.mixture is None else self.mixture.components,
            "seed": self.seed,
            "value_range": self.value_range,
            "name": self.name,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        restored = {
            key: keras.saving.deserialize_keras_object(value) if isinstance(value, dict) else value
            for key, value in config.items()
        }
        return cls(**restored)

    def _check_networks(self) -> None:
        outputs = self.encoder.output
        if not isinstance(outputs, dict) or not {"mean", "log_variance"} <= set(outputs):
            raise InputError("encoder must give a dictionary with 'mean' and 'log_variance'.")
        if outputs["mean"].shape[1:] != (self.latent_dim,):
            raise InputError(
                f"encoder and decoder must agree on the code; "
                f"received {outputs['mean'].shape[1:]} and {(self.latent_dim,)}."
            )
        if tuple(self.decoder.output_shape[1:]) != self.image_shape:
            raise InputError(
                f"encoder and decoder must agree on the image; "
                f"received {self.image_shape} and {tuple(self.decoder.output_shape[1:])}."
            )

    def _check_for_mixture(self, components: int) -> None:
        """Raise unless the codes are vectors of a prior that is the same for all images."""
        if self.num_classes is not None or self.completes or len(self.code_shape) > 1:
            raise InputError(
                f"prior_components must be 0 in a {type(self).__name__} that is conditioned or draws in "
                f"steps; received {components}."
            )
        if self.latent_dim < 2:
            raise InputError(f"prior_components must be 0 for codes of one dimension; received {components}.")
