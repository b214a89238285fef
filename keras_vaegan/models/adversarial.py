"""Base of the hybrids: a discriminator beside the VAE, their game, reconstruction in its features.

Larsen et al. 2015, "Autoencoding beyond pixels using a learned similarity metric", and Chen,
Fang and Ju 2016, "When Variational Auto-encoders meet Generative Adversarial Networks".
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import keras
from keras import ops

from keras_vaegan.backend import input_gradient
from keras_vaegan.distributions import DiagonalNormal
from keras_vaegan.errors import InputError, choose
from keras_vaegan.games import GAMES, Game, Verdict
from keras_vaegan.models.vae import VAE
from keras_vaegan.networks.functional import as_functional
from keras_vaegan.parts import choose_part
from keras_vaegan.priors import StandardNormal
from keras_vaegan.reconstructions import weighed
from keras_vaegan.training.multi_player import Losses
from keras_vaegan.typing import Condition, Tensor

FAKES_FROM = ("prior", "posterior", "none")


class Adversarial(VAE):
    """A VAE and a discriminator D that judges its images; a hybrid is this class and a kind of VAE.

    With x~ the reconstruction, x_p a decoded sample and f a layer of D:

        L_G = beta KL + sum_i w_i reconstruction_i(x, x~)
              + w (game.generator_loss(x~) + game.generator_loss(x_p))
        L_D = game.real_loss(x) + game.fake_loss(x~) + game.fake_loss(x_p) + r1 |ds/dx|^2 / 2

    With the standard game, beta 1 and reconstruction losses of features alone these are the losses of the
    papers; w_features is their gamma. The weight w of the game is 1 unless it is set, adapted or starts late.
    A game of three players splits the generator as Larsen et al. do (algorithm 1): the encoder minimizes
    beta KL + |f(x) - f(x~)|^2 / 2, and the decoder, named `generator`, the rest of L_G. Each has the other
    reconstruction losses.

    Args:
        encoder, decoder: as for the VAE.
        discriminator: functional model, images `(B, H, W, C)` -> `{"logits", "features"}`, with one logit, or
            K + 1 (the last of fakes) if there are K classes; or a map of patches, `(B, h, w, 1)` or
            `(B, h, w, K + 1)`, over which losses are averaged (Isola et al. 2017).
        game: what D and the generator minimize, of `keras_vaegan.games`: `standard`, `hinge`,
            `least_squares`, `relativistic`, an object as `Standard(label_smoothing=0.1, r1=0.03)`, or a
            dictionary of settings. None for the model's own, the standard game.
        reconstruction: weights of the reconstruction losses of `keras_vaegan.reconstructions`, as
            `{"features": 1.0, "pixels": 0.1, "perceptual": 0.0}`, or a list of objects. Weights that the
            dictionary leaves out are the model's own.
        beta: weight of the KL in the training loss; None for the model's own.
        fakes_from: codes of x_p in training: of the `prior`, or another draw of the `posterior` q(z|x). Use
            `posterior` with a mixture that is fitted to codes afterwards. Samples of N(0, I), which nobody
            will draw, would teach the decoder what lies between the codes. `none`: there is no x_p, as for an
            autoencoder whose codes a second model learns to generate. None for the model's own, the first
            that it can have.
        **kwargs: the other arguments of the VAE.

    Logs, beside `loss`, `kl` and `reconstruction` of `VAE` (the ELBO in pixels, for comparison; it is not the
    training loss): each player's loss, `feature_matching`, and `d_real` and `d_fake`, the mean probability of
    real that D gives to real images and to the two kinds of fakes.

    Raises:
        InputError: a discriminator without `logits` and `features`, of other images or another number of
            logits; a game or reconstruction that is none; `label_weight` without classes.
    """

    # The model's own settings, for arguments that are None or leave something out: the losses of the papers.
    default_reconstruction: Mapping[str, float] = {"features": 1.0, "pixels": 0.0}
    default_beta = 1.0
    default_game: Mapping[str, Any] = {"class": "standard"}
    fakes: tuple[str, ...] = FAKES_FROM  # what `fakes_from` may be, the default first

    def __init__(
        self,
        encoder: keras.Model,
        decoder: keras.Model,
        discriminator: keras.Model,
        game: str | dict | Game | None = None,
        fakes_from: str | None = None,
        beta: float | None = None,
        **kwargs: Any,
    ) -> None:
        beta = self.default_beta if beta is None else beta
        super().__init__(encoder=encoder, decoder=decoder, beta=beta, **kwargs)
        self.discriminator = as_functional("discriminator", discriminator)
        game = dict(self.default_game) if game is None else game
        self.game = choose_part("game", game, GAMES, Game, "standard")
        fakes_from = self.fakes[0] if fakes_from is None else fakes_from
        self.fakes_from = choose("fakes_from", fakes_from, self.fakes)
        self._check_game()

    # ---- players ----

    def player_networks(self) -> dict[str, list[keras.Model]]:
        players = super().player_networks()
        if self.game.three_players:
            decoding = self.decoding_networks()
            encoding = [network for network in players["generator"] if network not in decoding]
            players = {"encoder": encoding, "generator": decoding}
        return {**players, "discriminator": [self.discriminator]}

    def decoding_networks(self) -> list[Any]:
        """The networks of the player `generator` if the encoder plays for itself."""
        return [self.decoder, *self.likelihood_networks()]

    @property
    def log_names(self) -> tuple[str, ...]:
        return (*super().log_names, *self.players, "feature_matching", "d_real", "d_fake")

    def default_optimizers(self) -> dict[str, keras.optimizers.Optimizer]:
        averaged = {"use_ema": True, "ema_momentum": 0.99}  # of those that make images
        return {
            player: keras.optimizers.Adam(1e-3, beta_1=0.5, **({} if player == "discriminator" else averaged))
            for player in self.players
        }

    # ---- training ----

    def compute_losses(self, x: Tensor, y: Tensor | None = None, training: bool = False) -> Losses:
        x = self.as_images(x)
        seen = self.as_observed(x)  # D judges the images themselves, since what is drawn is gray, too
        c = self.condition.draw(seen, y, self.seed_generator)
        y, game = c.get("labels"), self.game

        q, prior, _, steps = self.infer(seen, c, training)  # q(z|x, c), p(z|c), z ~ q, p(x|z, c)
        x_tilde = [p.mean for p in steps]
        x_p = [p.mean for p in self.fakes_beside(q, c, training)] if self.has_x_p else []
        real, penalty = self.judge_real(x, training)  # D(x), and R1
        recon, pull = self.judge_reconstructions(x_tilde, real, y, training)
        fakes = [recon, self.judge(x_p, training)] if x_p else [recon]
        last = [images[-1] for images in (x_tilde, x_p) if images]
        penalty = penalty + game.penalty_of_fakes(self.discriminator, last, training)

        kl = prior.kl(q)  # KL(q(z|x, c) || p(z|c)) of each dimension
        features, pixels, rest, toward = self.reconstruct_losses(
            seen, steps[-1], c, real, recon[-1], training
        )
        fooling = sum(self.weighed(lambda d: game.generator_loss(d, real, y), one) for one in fakes)
        if pull is not None:
            fooling = game.balance(toward, pull) * fooling
        real_cost = game.real_loss(real, y)
        costs = [self.weighed(lambda d: game.fake_loss(d, real), one) for one in fakes]

        players = self.generators(self.weighted_kl(kl, training), features, rest, fooling, training)
        players["discriminator"] = real_cost + sum(costs) + penalty

        logs = self.elbo(kl, pixels) | players | {"feature_matching": features}
        logs |= self.verdicts(real, fakes)
        return Losses(players, logs, self.active(real_cost, costs[-1]) if training else {})

    @property
    def awaits_prior(self) -> bool:
        # D has judged reconstructions alone, and beta is small: decoded noise is nobody's aim.
        unfitted = self.fakes_from == "posterior" and isinstance(self.prior, StandardNormal)
        return unfitted or super().awaits_prior

    @property
    def has_x_p(self) -> bool:
        """Whether there are decoded samples in training."""
        return self.fakes_from != "none"

    def fakes_beside(self, q: DiagonalNormal, c: Condition, training: bool) -> list[Any]:
        """p(x|z, c) of x_p, as a list like that of `infer`."""
        if self.fakes_from == "posterior":
            return self.paint(q.sample(self.seed_generator), c, training)
        noise = keras.random.normal(ops.shape(q.mean), dtype="float32", seed=self.seed_generator)
        return self.imagine(noise, c, training)

    def generators(
        self, kl: Tensor, features: Tensor, rest: Tensor, fooling: Tensor, training: bool
    ) -> dict[str, Tensor]:
        """The losses of the players that make images, from the parts of L_G, `(B,)` each."""
        gamma, weight = self.reconstruction[0].weight, self.game.weight
        if training and self.game.starts_late:
            counts = self.game.counts(self.steps_done)
            features, fooling = counts * features, counts * fooling
        fooling = fooling if weight == 1.0 else weight * fooling
        if self.game.three_players:
            return {"encoder": kl + features + rest, "generator": gamma * features + rest + fooling}
        return {"generator": kl + gamma * features + rest + fooling}

    def reconstruct_losses(
        self, x: Tensor, p: Any, condition: Condition, real: Verdict, fake: Verdict, training: bool
    ) -> tuple[Tensor, Tensor, Any, Tensor | None]:
        """Feature matching, -log p(x|z), and the weighed sum of all but the first, `(B,)` each.

        And, for an adaptive weight of the game, the gradient of that sum at x~.
        """
        hidden, (first, second, *others) = self.condition.hidden(condition), self.reconstruction

        def compared(p: Any) -> tuple[Any, ...]:
            return x, p, hidden, real.features, fake.features

        features, pixels = (term.loss(*compared(p)) for term in (first, second))
        if not (self.game.adaptive and training):
            return features, pixels, second.weight * pixels + weighed(others, *compared(p)), None

        def at(x_tilde: Tensor) -> tuple[Tensor, Any]:
            p = self.observation.around(x_tilde)
            loss = weighed(others, *compared(p))
            return loss + weighed([second], *compared(p)), loss

        toward, loss = input_gradient(at, p.mean)
        return features, pixels, second.weight * pixels + loss, toward

    # ---- D's verdicts ----

    @property
    def step_weights(self) -> Sequence[float]:
        """Weights of D's verdicts on the images that `infer` and `paint` give; they sum to 1."""
        return (1.0,)

    def judge(self, images: Iterable[Tensor], training: bool) -> list[Verdict]:
        """D's verdicts on fakes, each `(B, H, W, C)`."""
        return [Verdict.of(self.discriminator(x, training=training)) for x in images]

    def judge_reconstructions(
        self, images: Sequence[Tensor], real: Verdict, labels: Tensor | None, training: bool
    ) -> tuple[list[Verdict], Tensor | None]:
        """D's verdicts on x~, and for an adaptive weight the gradient of the generator's loss at the last."""
        if not (self.game.adaptive and training):
            return self.judge(images, training), None

        def fooling(x: Tensor) -> tuple[Tensor, Verdict]:
            verdict = Verdict.of(self.discriminator(x, training=training))
            return self.game.generator_loss(verdict, real, labels), verdict

        pull, verdict = input_gradient(fooling, images[-1])
        return [*self.judge(images[:-1], training), verdict], pull

    def judge_real(self, x: Tensor, training: bool) -> tuple[Verdict, Any]:
        """D's verdict on real images `(B, H, W, C)`, and r1 times their gradient penalty `(B,)`."""
        if not (self.game.r1 and training):
            return Verdict.of(self.discriminator(x, training=training)), 0.0
        verdict, penalty = self.game.penalized(self.discriminator, x, training)
        return verdict, self.game.r1 * penalty

    def weighed(self, loss: Callable[[Verdict], Tensor], verdicts: Sequence[Verdict]) -> Any:
        """The mean of a loss over D's verdicts on the steps of an image, `(B,)`."""
        return sum(
            weight * loss(verdict) for weight, verdict in zip(self.step_weights, verdicts, strict=True)
        )

    def verdicts(self, real: Verdict, fakes: Sequence[Sequence[Verdict]]) -> dict[str, Tensor]:
        """`d_real` and `d_fake`, `(B,)` each; `fakes` are the verdicts on x~ and, if there are any, x_p."""
        p = self.game.probability_real
        of_fakes = [self.weighed(lambda d: p(d, real), verdicts) for verdicts in fakes]
        return {"d_real": p(real, fakes[0][-1]), "d_fake": sum(of_fakes) / len(of_fakes)}

    def active(self, real_cost: Tensor, fake_cost: Tensor) -> dict[str, Tensor]:
        """Who moves in this step, `{player: boolean scalar}`; empty if all always do."""
        moves: dict[str, Tensor] = {}
        if self.game.margin is not None:
            equilibrium, margin = self.game.margin
            costs = ops.stop_gradient(ops.stack([ops.mean(real_cost), ops.mean(fake_cost)]))
            costs = self.replica_mean(costs)
            discriminator = ops.all(costs >= equilibrium - margin)
            generator = ops.all(costs <= equilibrium + margin)
            neither = ops.logical_not(ops.logical_or(discriminator, generator))
            moves["discriminator"] = ops.logical_or(discriminator, neither)
            moves["generator"] = ops.logical_or(generator, neither)
        if self.game.start:
            begun = self.steps_done >= self.game.start
            moves["discriminator"] = ops.logical_and(moves.get("discriminator", True), begun)
        return moves

    # ---- configuration ----

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "discriminator": keras.saving.serialize_keras_object(self.discriminator),
            "game": keras.saving.serialize_keras_object(self.game),
            "fakes_from": self.fakes_from,
        }

    def _check_reconstruction(self) -> None:
        """D gives the features, and the game is a loss by itself."""

    def _check_game(self) -> None:
        if self.game.matches_means:
            raise InputError(
                f"game must not be feature_matching in a {type(self).__name__}: it is that of the "
                "semi-supervised VAE/GAN."
            )
        if self.game.adaptive and not any(term.weight for term in self.reconstruction[1:]):
            raise InputError(
                "adaptive must be False without a reconstruction loss beside D's features, as "
                f"{{'l1': 1.0}}; received {self.reconstruction}."
            )
        self._check_discriminator()

    def _check_discriminator(self) -> None:
        outputs = self.discriminator.output
        if not isinstance(outputs, dict) or not {"logits", "features"} <= set(outputs):
            raise InputError("discriminator must give a dictionary with 'logits' and 'features'.")
        taken = tuple(self.discriminator.input_shape[1:])
        if taken not in (self.image_shape, (None, None, self.image_shape[-1])):
            raise InputError(
                f"discriminator must take the images of the encoder, {self.image_shape}; received {taken}."
            )
        number = 1 if self.num_classes is None else self.num_classes + 1
        shape = tuple(outputs["logits"].shape[1:])
        if len(shape) not in (1, 3) or shape[-1] != number:
            wanted = "one logit" if number == 1 else f"{number} logits, of the classes and of fakes"
            raise InputError(f"discriminator must give {wanted}, for each image or patch; received {shape}.")
        if self.num_classes is None and self.game.label_weight != 1.0:
            raise InputError(f"label_weight must be 1 without classes; received {self.game.label_weight!r}.")
