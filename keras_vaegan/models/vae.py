"""The variational auto-encoder (Kingma and Welling 2014)."""

import functools
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Self

import keras
from keras import ops

from keras_vaegan import losses
from keras_vaegan.code_statistics import CodeStatistics
from keras_vaegan.conditions import Conditioning, inputs_of
from keras_vaegan.distributions import DiagonalNormal, sum_event
from keras_vaegan.errors import InputError, at_least
from keras_vaegan.likelihoods import LIKELIHOODS, Likelihood
from keras_vaegan.models.latent import LatentVariableModel
from keras_vaegan.networks.functional import (
    as_functional,
    factor_of,
    feed,
    input_of,
    output_of,
    size_built_for,
)
from keras_vaegan.parts import choose_part
from keras_vaegan.priors import PRIORS, Conditional, Prior
from keras_vaegan.reconstructions import Reconstruction, choose_reconstruction, weighed
from keras_vaegan.registry import register
from keras_vaegan.training.multi_player import Losses
from keras_vaegan.typing import UNCONDITIONAL, Condition, Tensor

LEAST_BETA = 1e-3  # weight of the KL below which the codes are those of an autoencoder


@register("vae")
@keras.saving.register_keras_serializable("keras_vaegan")
class VAE(LatentVariableModel):
    """Variational auto-encoder, trained on the negative ELBO in nats.

        L = KL(q(z|x) || p(z)) - log p(x|z),  z ~ q(z|x)

    Args:
        encoder: functional model, images `(B, H, W, C)` -> `{"mean", "log_variance"}` `(B, Z)`.
        decoder: functional model, codes `(B, Z)` -> logits `(B, H, W, C)`. Both may be of images of any size
            (`networks.resnet`); latent codes then are maps `(B, h, w, Z)`.
        likelihood: p(x|z), of `keras_vaegan.likelihoods`: `bernoulli` (gray pixels allowed), `gaussian`,
            `learned_gaussian`, an object as `Bernoulli(binarize=True)`, or a dictionary of settings.
        beta: weight of the KL in the training loss (Higgins et al. 2017); 1 is the ELBO. Below 0.001 the
            model is an autoencoder: its codes do not follow N(0, I), so `generate` refuses until `fit_prior`
            has fitted a prior to them.
        free_bits: nats per latent dimension that cost nothing (Kingma et al. 2016); 0 is none.
        annealing_steps: steps over which beta rises linearly from 0 (Bowman et al. 2016).
        prior: p(z), of `keras_vaegan.priors`: `standard_normal`, `mixture`, `flow`, an object as
            `Mixture(40)`, or a dictionary of settings. `fit_prior` fits a mixture or a flow to the codes
            after the training.
        reconstruction: weights of the reconstruction losses of `keras_vaegan.reconstructions` that are
            minimized in place of -log p(x|z), as `{"pixels": 0.0, "l1": 1.0, "perceptual": 1.0}`, or a list
            of objects. `pixels` is -log p(x|z), with the weight 1 if the dictionary leaves it out.
        seed: of the model's own randomness; None for another one each time.
        value_range: `(low, high)`, the range of integer pixels, as (0, 4095) for 12 bits; None for
            (0, 255). Floats are in [0, 1] always.

    Logs: `kl` and `reconstruction` (-log p(x|z)) in nats and `loss`, their sum: always the
    negative ELBO, whatever `beta` and `reconstruction`.

    Raises:
        InputError: networks that do not agree on the code or the image, or take a condition; a setting that
            is out of its range; a mixture for codes of one dimension.

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

    own_inputs: tuple[str, ...] = ("codes",)  # what the decoder takes beside the condition
    takes: tuple[str, ...] = ()  # what it may be conditioned on
    unlabelled = False  # whether training takes the label -1
    default_reconstruction: Mapping[str, float] = {"pixels": 1.0}
    in_batches: tuple[str, ...] = (*LatentVariableModel.in_batches, "decoded_whole")

    def __init__(
        self,
        encoder: keras.Model,
        decoder: keras.Model,
        likelihood: str | dict | Likelihood = "bernoulli",
        beta: float = 1.0,
        free_bits: float = 0.0,
        annealing_steps: int = 0,
        prior: str | dict | Prior | keras.Model | None = None,
        reconstruction: dict | Sequence[Reconstruction] | None = None,
        seed: int | None = None,
        value_range: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> None:
        encoder, decoder = as_functional("encoder", encoder), as_functional("decoder", decoder)
        super().__init__(seed=seed, value_range=value_range, **kwargs)
        self.encoder, self.decoder = encoder, decoder
        self.observation = choose_part("likelihood", likelihood, LIKELIHOODS, Likelihood, "bernoulli")
        self.beta = at_least("beta", beta, 0.0)
        self.free_bits = at_least("free_bits", free_bits, 0.0)
        self.annealing_steps = at_least("annealing_steps", annealing_steps, 0)
        self._check_networks()
        inputs = inputs_of(decoder, self.own_inputs)
        self._check_condition(inputs)
        self.condition = Conditioning(inputs, self.image_shape, type(self).__name__, self.unlabelled)
        self._check_encoder()
        if isinstance(prior, keras.Model):
            prior = Conditional(as_functional("prior", prior))
        self.prior = choose_part("prior", prior, PRIORS, Prior, "standard_normal")
        self.prior.begin(self.code_shape, self.seen_by_prior())
        if self.any_size:
            if self.completes:  # the visible part has one size
                raise InputError("encoder must take images of one size in a model that completes images.")
            self.code_statistics = CodeStatistics(self.latent_dim)
        self.reconstruction = choose_reconstruction(reconstruction, self.default_reconstruction)
        for term in self.reconstruction:
            term.begin(self.image_shape)
        self._check_reconstruction()

    @functools.cached_property
    def image_shape(self) -> tuple[int, ...]:
        """`(H, W, C)`: of the encoder's input, or of the images for which a network of any size was built."""
        *size, channels = input_of(self.encoder, "images").shape[1:]
        return (*(size_built_for(self.encoder) if None in size else size), channels)

    @property
    def any_size(self) -> bool:
        """Whether the networks take images of any size."""
        return None in input_of(self.encoder, "images").shape[1:]

    @functools.cached_property
    def factor(self) -> int:
        return factor_of(self.encoder) if self.any_size else 1

    @property
    def latent_dim(self) -> int:
        """Z, the dimension of a code, or the channels of a map of codes."""
        return input_of(self.decoder, "codes").shape[-1]

    @functools.cached_property
    def code_shape(self) -> tuple[int, ...]:
        """Shape of the code of one image: `(Z,)`, or `(h, w, Z)`."""
        shape = tuple(input_of(self.decoder, "codes").shape[1:])
        if None not in shape:
            return shape
        return tuple(output_of(self.encoder, "images", self.image_shape)["mean"].shape[1:])

    @property
    def generates(self) -> bool:
        return self.beta >= LEAST_BETA or self.prior.fitted

    @property
    def awaits_prior(self) -> bool:
        """Whether codes follow a prior only when `fit_prior` has fitted one."""
        return self.prior.fitted_to_codes and not self.prior.fitted

    def must_generate(self) -> None:
        if not self.generates:
            raise InputError(
                f"beta must be at least {LEAST_BETA} for samples: with less, latent codes do not follow the "
                f"prior N(0, I); received {self.beta}. Fit a prior to them: keras-vaegan fit-prior RUN, or "
                "fit_prior(x, prior='flow')."
            )
        if self.awaits_prior and not self.in_training:
            kind = "mixture" if len(self.code_shape) == 1 else "flow"
            warnings.warn(
                "samples come from N(0, I), which the latent codes do not follow yet. Fit a prior to them: "
                f"fit_prior(x, prior={kind!r}), or keras-vaegan fit-prior RUN --prior {kind}.",
                stacklevel=3,
            )

    # ---- p and q ----

    def posterior(
        self, x: Tensor, condition: Condition = UNCONDITIONAL, training: bool = False
    ) -> DiagonalNormal:
        """q(z|x, c) of images `(B, H, W, C)` in [0, 1]: a `DiagonalNormal` `(B, Z)`."""
        parameters = self.encoder(feed(self.encoder, "images", x, condition), training=training)
        return DiagonalNormal(parameters["mean"], parameters["log_variance"])

    def likelihood(self, z: Tensor, condition: Condition = UNCONDITIONAL, training: bool = False) -> Any:
        """p(x|z, c) of codes `(B, Z)`: a distribution over images `(B, H, W, C)`."""
        logits = self.logits(z, condition, training)
        if self.any_size:
            logits = self.unpadded(logits, ops.shape(z)[1:3])
        return self.observation(logits)

    def logits(self, z: Tensor, condition: Condition = UNCONDITIONAL, training: bool = False) -> Tensor:
        """The decoder's logits `(B, H, W, C)` of codes `(B, Z)`; of maps of codes `(B, f h, f w, C)`."""
        return self.decoder(feed(self.decoder, "codes", z, condition), training=training)

    def decoded_whole(self, inputs: Mapping[str, Tensor], training: bool = False) -> Tensor:
        if not self.any_size:
            return super().decoded_whole(inputs, training)
        condition = dict(inputs)
        return self.observation(self.logits(condition.pop("codes"), condition, training)).mean

    def infer(
        self, x: Tensor, condition: Condition, training: bool
    ) -> tuple[DiagonalNormal, Any, Tensor, list[Any]]:
        """q(z|x, c), p(z|c), a draw z of q, and a list of p(x|z, c), the last that of the finished image."""
        q = self.posterior(x, condition, training)
        z = q.sample(self.seed_generator)
        return q, self.prior.given(condition, training), z, self.paint(z, condition, training)

    def paint(self, z: Tensor, condition: Condition, training: bool) -> list[Any]:
        """p(x|z, c) of codes, as a list of which the last is the finished image's."""
        return [self.likelihood(z, condition, training)]

    def imagine(self, noise: Tensor, condition: Condition, training: bool) -> list[Any]:
        """p(x|z, c) of codes that the prior makes of standard normal noise, a list like that of `paint`."""
        return self.paint(self.prior.given(condition, training).place(noise), condition, training)

    # ---- training ----

    def player_networks(self) -> dict[str, list[keras.Model]]:
        learned = self.prior.trainable_variables and not self.prior.fitted_to_codes
        prior = [self.prior] if learned else []
        return {"generator": [*self.coding_networks(), *prior, *self.likelihood_networks()]}

    def coding_networks(self) -> list[Any]:
        """What makes codes of images, and images of codes."""
        return [self.encoder, self.decoder]

    def likelihood_networks(self) -> list[Any]:
        """The likelihood, if it has weights."""
        return [self.observation] if getattr(self.observation, "trainable_variables", ()) else []

    @property
    def log_names(self) -> tuple[str, ...]:
        return ("loss", "kl", "reconstruction")

    def default_optimizers(self) -> dict[str, keras.optimizers.Optimizer]:
        return {"generator": keras.optimizers.Adam(1e-3)}

    def compute_losses(self, x: Tensor, y: Tensor | None = None, training: bool = False) -> Losses:
        x = self.as_observed(self.as_images(x))
        c = self.condition.draw(x, y, self.seed_generator)
        q, prior, _, (*_, p) = self.infer(x, c, training)  # q(z|x, c), p(z|c), z ~ q, p(x|z, c)

        kl = prior.kl(q)  # KL(q(z|x, c) || p(z|c)) of each dimension
        compared = (x, p, self.condition.hidden(c), None, None)
        _, of_pixels, *others = self.reconstruction
        pixels = of_pixels.loss(*compared)  # -log p(x|z, c)
        # By default -log p(x|z, c) alone.
        distance = of_pixels.weight * pixels + weighed(others, *compared)

        loss = self.weighted_kl(kl, training) + distance
        return Losses({"generator": loss}, self.elbo(kl, pixels))

    def elbo(self, kl: Tensor, reconstruction: Tensor) -> dict[str, Tensor]:
        """The negative ELBO and its two parts as they are logged, `{name: (B,)}` in nats."""
        kl = sum_event(kl)
        return {"loss": kl + reconstruction, "kl": kl, "reconstruction": reconstruction}

    def weighted_kl(self, kl_per_dimension: Tensor, training: bool, shares: Tensor | None = None) -> Tensor:
        """KL as trained: free bits, then beta (annealed). `(B,)` nats.

        `shares` are the weights of the rows in the mean that free bits are compared with, as for
        `losses.free_bits`.
        """
        kl = (
            losses.free_bits(kl_per_dimension, self.free_bits, shares)
            if self.free_bits
            else sum_event(kl_per_dimension)
        )
        beta = self.beta
        if self.annealing_steps and training:
            done = ops.cast(self.steps_done, "float32") / self.annealing_steps
            beta = beta * ops.minimum(done, 1.0)
        return beta * kl

    # ---- configuration ----

    def get_config(self) -> dict[str, Any]:
        return {
            "encoder": keras.saving.serialize_keras_object(self.encoder),
            "decoder": keras.saving.serialize_keras_object(self.decoder),
            "likelihood": keras.saving.serialize_keras_object(self.observation),
            "beta": self.beta,
            "free_bits": self.free_bits,
            "annealing_steps": self.annealing_steps,
            "prior": keras.saving.serialize_keras_object(self.prior),
            "reconstruction": [keras.saving.serialize_keras_object(term) for term in self.reconstruction],
            "seed": self.seed,
            "value_range": self.value_range,
            "name": self.name,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(**{name: _restored(value) for name, value in config.items()})

    def _check_networks(self) -> None:
        outputs = self.encoder.output
        if not isinstance(outputs, dict) or not {"mean", "log_variance"} <= set(outputs):
            raise InputError("encoder must give a dictionary with 'mean' and 'log_variance'.")
        codes = tuple(input_of(self.decoder, "codes").shape[1:])
        if tuple(outputs["mean"].shape[1:]) != codes:
            raise InputError(
                f"encoder and decoder must agree on the code; "
                f"received {tuple(outputs['mean'].shape[1:])} and {codes}."
            )
        taken = tuple(input_of(self.encoder, "images").shape[1:])
        made = tuple(self.decoder.output_shape[1:])
        if self.any_size and made == taken:  # are the images as large as the encoder has padded them?
            height, width, channels = self.image_shape
            taken = (*(-(-side // self.factor) * self.factor for side in (height, width)), channels)
            made = tuple(output_of(self.decoder, "codes", self.code_shape).shape[1:])
        if made != taken:
            raise InputError(f"encoder and decoder must agree on the image; received {taken} and {made}.")

    def _check_condition(self, inputs: Mapping[str, Tensor]) -> None:
        """Raise unless the model takes the condition that the decoder has, by name."""
        if inputs:
            raise InputError(
                f"decoder must take codes alone in a {type(self).__name__}; received {', '.join(inputs)} "
                "beside them. A CVAE takes a condition."
            )

    def _check_reconstruction(self) -> None:
        """Raise unless the model computes every reconstruction loss that it has, and minimizes one."""
        features, *others = self.reconstruction
        if features.weight:
            raise InputError(
                f"reconstruction must have no features in a {type(self).__name__}, which has no "
                f"discriminator; received the weight {features.weight}. A VAE/GAN has one."
            )
        if not any(term.weight for term in others):
            raise InputError(
                "reconstruction must have a loss of a weight above 0, as {'pixels': 1.0}; "
                f"received {self.reconstruction}."
            )

    def _check_encoder(self) -> None:
        """Raise unless the encoder is conditioned on what the decoder is, or on less."""
        self.condition.check_network("encoder", self.encoder, ("images",))


def _restored(value: Any) -> Any:
    """A value of a configuration, or a list of some, with its Keras objects made again."""
    if isinstance(value, dict) and "class_name" in value:
        return keras.saving.deserialize_keras_object(value)
    return [_restored(one) for one in value] if isinstance(value, list) else value
