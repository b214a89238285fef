"""What the hybrids share: a discriminator beside the VAE, the game between them, feature matching.

Larsen et al. 2015, "Autoencoding beyond pixels using a learned similarity metric", and Chen,
Fang and Ju 2016, "When Variational Auto-encoders meet Generative Adversarial Networks".
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
from keras import ops

from keras_vaegan import losses
from keras_vaegan.backend import input_gradient
from keras_vaegan.distributions import Bernoulli, DiagonalNormal
from keras_vaegan.errors import InputError, at_least
from keras_vaegan.models.latent import as_functional
from keras_vaegan.models.vae import VAE
from keras_vaegan.training.multi_player import Losses
from keras_vaegan.typing import Condition, Tensor


class Painted(NamedTuple):
    """What the generator makes of a batch.

    Attributes:
        kl: of q(z|x) `(B,)` in nats, and `weighted_kl` the same as it is descended.
        p: p(x|z) at a draw of z from q(z|x).
        reconstructions, samples: fakes that D is to judge, each a list of images `(B, H, W, C)` in [0, 1],
            the last of which is the finished one.
    """

    kl: Tensor
    weighted_kl: Tensor
    p: Bernoulli | DiagonalNormal
    reconstructions: list[Tensor]
    samples: list[Tensor]


class Verdict(NamedTuple):
    """What D says of fakes, `(B,)` each: the generator's cost, D's, P(real); and of the last the features."""

    fooling: Tensor
    cost: Tensor
    probability: Tensor
    features: Tensor


class Adversarial(VAE):
    """A VAE whose pictures a discriminator D judges; a hybrid is this class and a kind of VAE.

    With x~ the reconstruction, x_p the decoded prior sample, f a layer of D, and `real` and `fake`
    the cross-entropies of its verdict, to real or fake or, with labels y, to y or the class of fakes:

        L_G = beta KL + gamma |f(x) - f(x~)|^2 / 2 + real(x~) + real(x_p)
        L_D = real(x) + fake(x~) + fake(x_p)

    and `pixel_weight` times -log p(x|z) beside gamma's term, and `r1` times its penalty in L_D. With
    `three_players` the generator is split as in Larsen et al. (algorithm 1): the encoder descends
    beta KL + |f(x) - f(x~)|^2 / 2, and the decoder, named `generator`,
    gamma |f(x) - f(x~)|^2 / 2 + real(x~) + real(x_p), each with the pixels' term.

    With `prior_components`, where samples will be of a mixture that is fitted to the codes, x_p is decoded
    from such codes in training, too: from another draw of q(z|x) of the batch's images. (Samples of
    N(0, I), which will not be drawn, would teach the decoder what lies between the codes.)

    Args:
        encoder, decoder: as for the VAE.
        discriminator: functional model, images `(B, H, W, C)` -> `{"logits", "features"}`, with one logit,
            or K + 1 (the last of fakes) where there are K classes.
        gamma: weight of the feature reconstruction against the game.
        pixel_weight: weight of the reconstruction in pixels (nats) in the generator's loss.
        three_players: split encoder and decoder.
        label_smoothing: real images count as real with probability 1 minus this (one-sided).
        r1: weight of the penalty |dD/dx|^2 / 2 on real images (Mescheder et al. 2018), of the log-odds
            that they are real.
        label_weight: where there are classes, w in the generator's cost of a verdict,
            -log P(real) - w log P(y|real); 1 is the paper's L_G. The second part asks for images of which the
            class is plain, more plain than that of real ones, and so for less variety in a class (Gong et al.
            2019, "Twin auxiliary classifiers GAN").
        margin: None, or `(equilibrium, margin)` in nats, as Larsen's released code has
            (0.68, 0.35): D stands still while its cost on real images or on prior samples is
            below equilibrium - margin, the player `generator` while one is above
            equilibrium + margin; both move when both would stand still.
        **kwargs: the other arguments of the VAE.

    Logs, beside `loss`, `kl` and `reconstruction` of `VAE` (the bound in pixels, for
    comparison; it is not what is descended): each player's loss, `feature_matching`, and
    `d_real` and `d_fake`, the mean of D on real images and on the two kinds of fakes.

    Raises:
        InputError: a discriminator without `logits` and `features`, of other images or another number of
            logits; a weight below 0; `label_smoothing` of 1 or more; `label_weight` without classes; a margin
            that is no pair.
    """

    def __init__(
        self,
        encoder: keras.Model,
        decoder: keras.Model,
        discriminator: keras.Model,
        gamma: float = 1.0,
        pixel_weight: float = 0.0,
        three_players: bool = False,
        label_smoothing: float = 0.0,
        r1: float = 0.0,
        label_weight: float = 1.0,
        margin: tuple[float, float] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(encoder=encoder, decoder=decoder, **kwargs)
        self.discriminator = as_functional("discriminator", discriminator)
        self.gamma = at_least("gamma", gamma, 0.0)
        self.pixel_weight = at_least("pixel_weight", pixel_weight, 0.0)
        self.three_players = bool(three_players)
        self.label_smoothing = at_least("label_smoothing", label_smoothing, 0.0)
        if label_smoothing >= 1.0:
            raise InputError(f"label_smoothing must be less than 1; received {label_smoothing!r}.")
        self.r1 = at_least("r1", r1, 0.0)
        self.label_weight = at_least("label_weight", label_weight, 0.0)
        if self.num_classes is None and label_weight != 1.0:
            raise InputError(f"label_weight must be 1 without classes; received {label_weight!r}.")
        self.margin = None if margin is None else _pair("margin", margin)
        self._check_discriminator()

    # ---- players ----

    def player_networks(self) -> dict[str, list[keras.Model]]:
        players = super().player_networks()
        if self.three_players:
            decoding = self.decoding_networks()
            encoding = [network for network in players["generator"] if network not in decoding]
            players = {"encoder": encoding, "generator": decoding}
        return {**players, "discriminator": [self.discriminator]}

    def decoding_networks(self) -> list[Any]:
        """What belongs to the player `generator` where the encoder plays for itself."""
        return [self.decoder]

    @property
    def log_names(self) -> tuple[str, ...]:
        return (*super().log_names, *self.players, "feature_matching", "d_real", "d_fake")

    def default_optimizers(self) -> dict[str, keras.optimizers.Optimizer]:
        return {player: keras.optimizers.Adam(1e-4, beta_1=0.5) for player in self.players}

    # ---- the game ----

    def compute_losses(self, x: Tensor, y: Tensor | None = None, training: bool = False) -> Losses:
        x = self.as_images(x)
        seen = self.as_observed(x)  # D judges the images themselves, since what is drawn is grey, too
        condition = self.draw_condition(seen, y)
        labels = condition.get("labels")
        painted = self.paint(seen, condition, training)
        real, penalty = self._judge_real(x, training)
        recon = self.judge_fakes(painted.reconstructions, labels, training)
        drawn = self.judge_fakes(painted.samples, labels, training)

        features = losses.feature_matching(recon.features, real["features"])
        fooling = recon.fooling + drawn.fooling
        real_cost = losses.judged_real(real["logits"], 1.0 - self.label_smoothing, labels)
        logs = self.bound(seen, painted.kl, painted.p, condition)

        kl, pixels = painted.weighted_kl, self.pixel_weight * logs["reconstruction"]
        if self.three_players:
            players = {
                "encoder": kl + features + pixels,
                "generator": self.gamma * features + pixels + fooling,
            }
        else:
            players = {"generator": kl + self.gamma * features + pixels + fooling}
        players["discriminator"] = real_cost + recon.cost + drawn.cost + self.r1 * penalty

        logs |= players | {
            "feature_matching": features,
            "d_real": losses.probability_real(real["logits"]),
            "d_fake": 0.5 * (recon.probability + drawn.probability),
        }
        return Losses(players, logs, self._active(real_cost, drawn.cost) if training else {})

    def paint(self, x: Tensor, condition: Condition, training: bool) -> Painted:
        """Reconstruct images `(B, H, W, C)`, and draw as many samples, as `generate` will draw them."""
        q, prior = self.posterior(x, condition, training), self.prior(condition, training)
        kl, weighted_kl, p = self.compare(q, prior, condition, training)
        if self.mixture is None:
            z = self.prior_sample(ops.shape(x)[0], prior)
        else:  # which will stand for the codes of images
            z = q.sample(self.seed_generator)
        drawn = self.likelihood(z, condition, training)
        return Painted(kl, weighted_kl, p, [p.mean], [drawn.mean])

    @property
    def fake_weights(self) -> Sequence[float]:
        """How much D's verdict on each of the fakes of `paint` counts; they sum to 1."""
        return (1.0,)

    def judge_fakes(self, fakes: list[Tensor], labels: Tensor | None, training: bool) -> Verdict:
        """D's verdict on fakes, weighed."""
        fooling = cost = probability = 0.0
        for weight, images in zip(self.fake_weights, fakes, strict=True):
            judged = self.discriminator(images, training=training)
            fooling = fooling + weight * self.fooling(judged["logits"], labels)
            cost = cost + weight * losses.judged_fake(judged["logits"])
            probability = probability + weight * losses.probability_real(judged["logits"])
        return Verdict(fooling, cost, probability, judged["features"])

    def fooling(self, logits: Tensor, labels: Tensor | None) -> Tensor:
        """The generator's cost of D's verdict on its images: `(B, outputs)` logits -> `(B,)` nats."""
        cost = losses.judged_real(logits, labels=labels)
        if labels is None:
            return cost
        return cost - (1.0 - self.label_weight) * losses.wrong_class(logits, labels)

    def _judge_real(self, x: Tensor, training: bool) -> tuple[dict[str, Tensor], Tensor]:
        """D's verdict on real images, and the R1 penalty `(B,)` (0 where it is off)."""
        if not (self.r1 and training):
            return self.discriminator(x, training=training), 0.0

        def log_odds(x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            verdict = self.discriminator(x, training=training)
            return losses.log_odds_real(verdict["logits"]), verdict

        gradient, verdict = input_gradient(log_odds, x)
        return verdict, losses.gradient_penalty(gradient)

    def _active(self, real_cost: Tensor, prior_cost: Tensor) -> dict[str, Tensor]:
        """Who moves in this step, `{player: boolean scalar}`; nobody is named without margins."""
        if self.margin is None:
            return {}
        equilibrium, margin = self.margin
        costs = self.replica_mean(ops.stop_gradient(ops.stack([ops.mean(real_cost), ops.mean(prior_cost)])))
        discriminator = ops.all(costs >= equilibrium - margin)
        generator = ops.all(costs <= equilibrium + margin)
        neither = ops.logical_not(ops.logical_or(discriminator, generator))
        return {
            "discriminator": ops.logical_or(discriminator, neither),
            "generator": ops.logical_or(generator, neither),
        }

    # ---- configuration ----

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "discriminator": keras.saving.serialize_keras_object(self.discriminator),
            "gamma": self.gamma,
            "pixel_weight": self.pixel_weight,
            "three_players": self.three_players,
            "label_smoothing": self.label_smoothing,
            "r1": self.r1,
            "label_weight": self.label_weight,
            "margin": self.margin,
        }

    def _check_discriminator(self) -> None:
        outputs = self.discriminator.output
        if not isinstance(outputs, dict) or not {"logits", "features"} <= set(outputs):
            raise InputError("discriminator must give a dictionary with 'logits' and 'features'.")
        if tuple(self.discriminator.input_shape[1:]) != self.image_shape:
            raise InputError(
                f"discriminator must take the images of the encoder, {self.image_shape}; "
                f"received {tuple(self.discriminator.input_shape[1:])}."
            )
        number = 1 if self.num_classes is None else self.num_classes + 1
        if outputs["logits"].shape[1:] != (number,):
            wanted = "one logit" if number == 1 else f"{number} logits, of the classes and of fakes"
            raise InputError(f"discriminator must give {wanted}; received {outputs['logits'].shape[1:]}.")


def _pair(argument: str, values: Any) -> tuple[float, ...]:
    """Two numbers of at least 0, as a tuple, or raise."""
    if not isinstance(values, (tuple, list)) or len(values) != 2:
        raise InputError(f"{argument} must be (equilibrium, margin); received {values!r}.")
    return tuple(at_least(argument, value, 0.0) for value in values)
