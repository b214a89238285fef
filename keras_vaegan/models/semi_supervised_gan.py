"""The semi-supervised VAE with a discriminator over K + 1 classes (Chen, Fang and Ju 2016)."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops
from numpy.typing import ArrayLike
from scipy import special

from keras_vaegan import losses
from keras_vaegan.classification import CLASSIFIERS
from keras_vaegan.errors import InputError, choose
from keras_vaegan.games import Verdict
from keras_vaegan.models.adversarial import Adversarial
from keras_vaegan.models.intake import by_parts
from keras_vaegan.models.semi_supervised import SemiSupervisedVAE, Terms, check_pixels, expected
from keras_vaegan.parts import settings_of
from keras_vaegan.reconstructions import Features, weighed
from keras_vaegan.registry import register
from keras_vaegan.training.multi_player import Losses
from keras_vaegan.typing import Tensor


class Round(NamedTuple):
    """What a game comes to for each image, `(B,)`: what D says of fakes, and everybody's costs."""

    matching: Tensor
    rest: Tensor
    fooling: Tensor
    real_cost: Tensor
    fake_cost: Tensor
    prior_cost: Tensor
    d_real: Tensor
    d_fake: Tensor


@register("ssl_vae_gan")
@keras.saving.register_keras_serializable("keras_vaegan")
class SemiSupervisedVAEGAN(Adversarial, SemiSupervisedVAE):
    """M2 and a discriminator that knows K classes and the fakes.

    In the paper's game, `standard`, both players' losses are those of the CVAE-GAN where y is known, and
    where it is not their average over q(y|x), with its entropy (CE(x, c) is the cross-entropy of D's
    verdict on x to class c, x~ the reconstruction and x_p a prior sample, both decoded with y):

        L_G(x, y) = beta KL + gamma |f(x) - f(x~)|^2 / 2 + CE(x~, y) + CE(x_p, y)
        L_D(x, y) = CE(x, y) + CE(x~, fake) + CE(x_p, fake)
        L_G(x)    = sum_y q(y|x) L_G(x, y) - H(q(y|x)),  L_D(x) = sum_y q(y|x) L_D(x, y)

    In the game of `feature_matching` (Salimans et al. 2016, section 3.1 and 5) D learns from an unlabelled
    image only that it is real, of whatever class, and the generator gives prior samples whose mean features
    are those of real images; it has no cross-entropies to fight for:

        L_G = M2's objective + gamma |mean f(x) - mean f(x_p)|^2 / 2
        L_D = CE(x, y) where y is known, -log P(real) where not, + CE(x_p, fake)

    The other games of `keras_vaegan.games` stand in the place of the cross-entropies. M2's classification and
    its other options stand beside each; with `discriminator_consistency` the classes that D sees are held to
    what M2's `consistency` asks of q(y|x). The weight of pixels in `reconstruction` is that of M2's
    reconstruction: with 1 it stays, with 0, which is the default, it is left out. Other losses, as `l1`, are
    averaged over q(y|x) as feature matching is.

    Args:
        trunk, encoder, class_head, decoder: as for `SemiSupervisedVAE`.
        discriminator: functional model, images -> `{"logits": (B, K + 1), "features"}`.
        game: of `keras_vaegan.games`; `feature_matching` is for this model alone.
        classification: as for `SemiSupervisedVAE`, with the settings of the discriminator as well.
        **kwargs: the other arguments of `SemiSupervisedVAE` and `Adversarial`; fakes are from the prior.

    Logs: those of `SemiSupervisedVAE` (`error` is the encoder's) and of `Adversarial`, and `d_error`, the
    share of labelled images to which D gives another class; with `discriminator_consistency`,
    `d_consistency`.

    Raises:
        InputError: in the game of `feature_matching`, losses of reconstructions other than features and
            pixels, a `label_weight` or an `expectation`; a loss of pixels of your own; as of both parents.

    Examples:
        >>> import keras_vaegan as kvg
        >>> (x, y), *_ = kvg.data.load("digits")
        >>> x, y = kvg.data.semi_supervised_split(x, y, num_labels=100)
        >>> model = kvg.SemiSupervisedVAEGAN.from_preset("ssl_vae_gan_mnist_small", load_weights=False)
        >>> history = model.fit(x, y, epochs=1, verbose=0)
        >>> model.classify(x[:4]).shape
        (4, 10)
    """

    in_batches = (*SemiSupervisedVAE.in_batches, "logits_of_discriminator")
    classifiers = CLASSIFIERS
    """Who can tell classes; what `classifier` may be."""
    fakes = ("prior",)

    def __init__(
        self,
        trunk: keras.Model,
        encoder: keras.Model,
        class_head: keras.Model,
        decoder: keras.Model,
        discriminator: keras.Model,
        **kwargs: Any,
    ) -> None:
        networks = {"trunk": trunk, "encoder": encoder, "class_head": class_head, "decoder": decoder}
        super().__init__(**networks, discriminator=discriminator, **kwargs)

    @property
    def log_names(self) -> tuple[str, ...]:
        own = ("d_error", *(["d_consistency"] if self.classification.discriminator_consistency else []))
        return (*super().log_names, *own)

    # ---- the game ----

    def compute_losses(self, x: Tensor, y: Tensor | None = None, training: bool = False) -> Losses:
        x = self.as_images(x)
        seen = self.as_observed(x)
        terms = self.terms(seen, y, training)
        cost, logs, weights = self.semi_supervised(seen, terms, training)
        real, penalty = self.judge_real(x, training)
        play = self._feature_matching if self.game.matches_means else self._averaged
        result = play(seen, terms, real, training)

        players = self.generators(cost, result.matching, result.rest, result.fooling, training)
        if self.game.three_players:  # M2's objective, which has the pixels, is the encoder's
            pixels = self.pixel_share() * expected(terms.shares, terms.reconstruction)
            players["generator"] = players["generator"] + pixels
        players["discriminator"] = result.real_cost + result.fake_cost + penalty
        classes, weight = of_real(real.logits), self.classification.discriminator_consistency
        if weight:
            logs["d_consistency"] = self.virtual_adversarial(x, classes, self.judged_class, training)
            players["discriminator"] = players["discriminator"] + weight * logs["d_consistency"]

        verdict = ops.argmax(classes, axis=-1)
        logs |= players | {
            "feature_matching": result.matching,
            "d_real": result.d_real,
            "d_fake": result.d_fake,
            "d_error": ops.cast(verdict != ops.argmax(terms.labels, axis=-1), "float32"),
        }
        active = self.active(result.real_cost, result.prior_cost) if training else {}
        return Losses(players, logs, active, weights | {"d_error": terms.known})

    def _averaged(self, x: Tensor, terms: Terms, real: Verdict, training: bool) -> Round:
        """The game of each class, averaged over q(y|x) where y is not known."""
        noise = self.noise(ops.shape(x)[0])  # the same for each class
        totals = [ops.zeros_like(terms.known) for _ in Round._fields]
        game = self.game
        for share, labels, p in self._reconstructions(terms):
            x_tilde, x_p = p.mean, self._prior_images(noise, labels, training)
            recon, drawn = self.judge((x_tilde, x_p), training)
            costs = [game.fake_loss(fake, real) for fake in (recon, drawn)]
            penalty = game.penalty_of_fakes(self.discriminator, (x_tilde, x_p), training)
            compared = (x, p, None, real.features, recon.features)
            matching, _, *others = self.reconstruction  # M2's objective has the pixels
            values = Round(
                matching.loss(*compared),
                weighed(others, *compared),
                sum(game.generator_loss(fake, real, labels) for fake in (recon, drawn)),
                game.real_loss(real, labels),
                sum(costs) + penalty,
                costs[1],
                game.probability_real(real, recon),
                0.5 * sum(game.probability_real(fake, real) for fake in (recon, drawn)),
            )
            totals = [total + share * value for total, value in zip(totals, values, strict=True)]
        return Round(*totals)

    def _reconstructions(self, terms: Terms) -> Iterator[tuple[Tensor, Tensor, Any]]:
        """Shares `(B,)`, one-hot labels, and p(x|z, y) of the reconstructions with these labels."""
        if self.classification.expectation == "enumerated":
            for k in range(self.num_classes or 0):
                labels = ops.zeros_like(terms.labels) + ops.eye(self.num_classes)[k]
                yield terms.shares[:, k], labels, self.observation(terms.decoded[k])
            return
        labels = self._drawn_labels(terms)
        chosen = ops.transpose(labels)[..., None, None, None] * terms.decoded
        yield ops.ones_like(terms.known), labels, self.observation(ops.sum(chosen, axis=0))

    def _drawn_labels(self, terms: Terms) -> Tensor:
        """The labels where they are known, draws of q(y|x) where not: one-hot `(B, K)`, no gradient."""
        drawn = ops.stop_gradient(terms.class_posterior.sample(self.seed_generator))
        return ops.where(terms.known[:, None] > 0.5, terms.labels, drawn)

    def _prior_images(self, noise: Tensor, labels: Tensor, training: bool) -> Tensor:
        """Images of prior samples of these classes, from standard normal noise `(B, Z)`."""
        condition = {"labels": labels}
        codes = self.prior.given(condition, training).place(noise)
        return self.likelihood(codes, condition, training).mean

    def _feature_matching(self, x: Tensor, terms: Terms, real: Verdict, training: bool) -> Round:
        """The game of Salimans et al.: D's classes are of labelled images, the generator's aim is a mean."""
        labels = self._drawn_labels(terms)
        x_p = self._prior_images(self.noise(ops.shape(x)[0]), labels, training)
        (judged,) = self.judge([x_p], training)
        means = [
            ops.mean(ops.cast(verdict.features, "float32"), axis=0, keepdims=True)
            for verdict in (judged, real)
        ]
        nothing, known = ops.zeros_like(terms.known), terms.known > 0.5
        fake = self.game.fake_loss(judged, real)
        penalty = self.game.penalty_of_fakes(self.discriminator, (x_p,), training)
        return Round(
            nothing + losses.feature_matching(*means),
            nothing,
            nothing,
            ops.where(known, self.game.real_loss(real, terms.labels), self.game.real_loss(real)),
            fake + penalty,
            fake,
            self.game.probability_real(real, judged),
            self.game.probability_real(judged, real),
        )

    def judged_class(self, x: Tensor, training: bool = False) -> Tensor:
        """Logits `(B, K)` of D's P(y|x, real), of images `(B, H, W, C)`."""
        return of_real(self.discriminator(x, training=training)["logits"])

    # ---- on arrays ----

    @by_parts
    def class_logits(
        self, images: ArrayLike, batch_size: int = 128, classifier: str | None = None
    ) -> np.ndarray:
        own = self.classification.classifier
        chosen = choose("classifier", own if classifier is None else classifier, CLASSIFIERS)
        logits = []
        if chosen in ("encoder", "ensemble"):
            logits.append(super().class_logits(images, batch_size))
        if chosen in ("discriminator", "ensemble"):
            inputs = {"images": self.intake.images(images, "images")}
            found = self.batched("logits_of_discriminator", inputs, batch_size)
            logits.append(found.astype("float64"))
        if len(logits) == 1:
            return logits[0]
        return np.logaddexp(*(special.log_softmax(one, axis=1) for one in logits)) - np.log(2.0)

    def logits_of_discriminator(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Logits `(B, K)` of D's P(y|x, real), of `images`."""
        return self.judged_class(inputs["images"])

    def class_probabilities(self, x: Tensor) -> Tensor:
        logits = []
        if self.classification.classifier in ("encoder", "ensemble"):
            logits.append(self.class_network(x))
        if self.classification.classifier in ("discriminator", "ensemble"):
            logits.append(ops.cast(self.judged_class(x), "float32"))
        if len(logits) == 2:  # up to a constant, the logarithm of the mean of their probabilities
            logits = [ops.logsumexp([ops.log_softmax(one, axis=-1) for one in logits], axis=0)]
        return ops.softmax(logits[0] / self.temperature, axis=-1)

    # ---- configuration ----

    def _check_reconstruction(self) -> None:
        check_pixels(self.reconstruction)

    def _check_game(self) -> None:
        self._check_discriminator()
        matching, _, *others = self.reconstruction
        if self.game.adaptive:
            raise InputError(
                "adaptive must be False in a SemiSupervisedVAEGAN: each class has a reconstruction of its "
                "own. Set the game's weight."
            )
        if not self.game.matches_means:
            return
        if type(matching) is not Features or any(term.weight for term in others):
            raise InputError(
                "reconstruction must have features and pixels alone in the game of feature_matching, where D "
                f"judges no reconstruction; received {self.reconstruction}."
            )
        for argument, part in (
            ("label_weight", self.game),
            ("weight", self.game),
            ("expectation", self.classification),
        ):
            value, plain = getattr(part, argument), settings_of(type(part))[argument].default
            if value != plain:
                raise InputError(
                    f"{argument} must be left out in the game of feature_matching, which draws the classes "
                    f"of its samples and has neither L_G nor a cross-entropy; received {value!r}."
                )

    def _check_classification(self) -> None:
        """Every setting has its use here."""


def of_real(logits: Tensor) -> Tensor:
    """D's logits `(B, K)` of the classes of real images, from `(B, ..., K + 1)`: the mean over patches."""
    logits = logits[..., :-1]
    return ops.mean(logits, axis=tuple(range(1, len(logits.shape) - 1))) if len(logits.shape) > 2 else logits
