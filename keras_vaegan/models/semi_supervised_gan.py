"""The semi-supervised VAE with a discriminator over K + 1 classes (Chen, Fang and Ju 2016)."""

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import keras
import numpy as np
from keras import ops
from numpy.typing import ArrayLike
from scipy import special

from keras_vaegan import losses
from keras_vaegan.errors import at_least, choose
from keras_vaegan.models.cvae_gan import CVAEGAN
from keras_vaegan.models.semi_supervised import SemiSupervisedVAE, Terms, expected
from keras_vaegan.training.multi_player import Losses
from keras_vaegan.typing import Tensor

GAMES = ("classes", "feature_matching")
EXPECTATIONS = ("enumerated", "sampled")
CLASSIFIERS = ("encoder", "discriminator", "ensemble")


class Round(NamedTuple):
    """What a game comes to for each image, `(B,)`: what D says of fakes, and everybody's costs."""

    matching: Tensor
    fooling: Tensor
    real_cost: Tensor
    fake_cost: Tensor
    prior_cost: Tensor
    d_fake: Tensor


@keras.saving.register_keras_serializable("keras_vaegan")
class SemiSupervisedVAEGAN(CVAEGAN, SemiSupervisedVAE):
    """M2 and a discriminator that knows K classes and the fakes.

    In the paper's game, `classes`, both players' losses are those of the CVAE-GAN where y is known, and
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

    M2's classification and its other options stand beside either; with `discriminator_consistency` the
    classes that D sees are held to what M2's `consistency` asks of q(y|x). `pixel_weight` is that of M2's
    reconstruction in pixels: with 1 it stays, with 0, which is the default, it is left out.

    Args:
        trunk, encoder, class_head, decoder: as for `SemiSupervisedVAE`.
        discriminator: functional model, images -> `{"logits": (B, K + 1), "features"}`.
        game: `classes` or `feature_matching`.
        expectation: in the game of classes, the sum over y `enumerated`, as in the paper, or `sampled` with
            one y of q(y|x) for each image: K times less work, and q(y|x) learns nothing from the game.
        classifier: who tells classes in `classify`: the `encoder`'s q(y|x), the `discriminator` among the
            classes of real images, or the `ensemble`, the mean of their probabilities.
        discriminator_consistency: weight in L_D of the virtual adversarial loss (Miyato et al. 2018) of D's
            P(y|x, real), for all real images; 0 is none. Its step has the length `radius`.
        **kwargs: the other arguments of `SemiSupervisedVAE`, `Adversarial` and `CVAEGAN`.

    Logs: those of `SemiSupervisedVAE` (`error` is the encoder's) and of `Adversarial`, and `d_error`, the
    share of labelled images to which D gives another class; with `discriminator_consistency`,
    `d_consistency`.

    Raises:
        InputError: a game, an expectation or a classifier that is none of these, a weight below 0; as of both
            parents.

    Examples:
        >>> import keras_vaegan as kvg
        >>> (x, y), *_ = kvg.data.load("digits")
        >>> x, y = kvg.data.semi_supervised_split(x, y, num_labels=100)
        >>> model = kvg.SemiSupervisedVAEGAN.from_preset("ssl_vae_gan_digits", load_weights=False)
        >>> history = model.fit(x, y, epochs=1, verbose=0)
        >>> model.classify(x[:4]).shape
        (4, 10)
    """

    def __init__(
        self,
        trunk: keras.Model,
        encoder: keras.Model,
        class_head: keras.Model,
        decoder: keras.Model,
        discriminator: keras.Model,
        game: Literal["classes", "feature_matching"] = "classes",
        expectation: Literal["enumerated", "sampled"] = "enumerated",
        classifier: Literal["encoder", "discriminator", "ensemble"] = "encoder",
        discriminator_consistency: float = 0.0,
        **kwargs: Any,
    ) -> None:
        networks = {"trunk": trunk, "encoder": encoder, "class_head": class_head, "decoder": decoder}
        super().__init__(**networks, discriminator=discriminator, **kwargs)
        self.game = choose("game", game, GAMES)
        self.expectation = choose("expectation", expectation, EXPECTATIONS)
        self.classifier = choose("classifier", classifier, CLASSIFIERS)
        self.discriminator_consistency = at_least("discriminator_consistency", discriminator_consistency, 0.0)

    @property
    def log_names(self) -> tuple[str, ...]:
        own = ("d_error", *(["d_consistency"] if self.discriminator_consistency else []))
        return (*super().log_names, *own)

    def pixel_share(self) -> float:
        return self.pixel_weight

    # ---- the game ----

    def compute_losses(self, x: Tensor, y: Tensor | None = None, training: bool = False) -> Losses:
        x = self.as_images(x)
        seen = self.as_observed(x)
        terms = self.terms(seen, y, training)
        cost, logs, weights = self.semi_supervised(seen, terms, training)
        real, penalty = self._judge_real(x, training)
        play = self._classes if self.game == "classes" else self._feature_matching
        result = play(x, terms, real, training)

        if self.three_players:
            pixels = self.pixel_weight * expected(terms.shares, terms.reconstruction)
            players = {
                "encoder": cost + result.matching,
                "generator": self.gamma * result.matching + pixels + result.fooling,
            }
        else:
            players = {"generator": cost + self.gamma * result.matching + result.fooling}
        players["discriminator"] = result.real_cost + result.fake_cost + self.r1 * penalty
        classes = of_real(real["logits"])
        if self.discriminator_consistency:
            logs["d_consistency"] = self.virtual_adversarial(x, classes, self.judged_class, training)
            weighed = self.discriminator_consistency * logs["d_consistency"]
            players["discriminator"] = players["discriminator"] + weighed

        verdict = ops.argmax(classes, axis=-1)
        logs |= players | {
            "feature_matching": result.matching,
            "d_real": losses.probability_real(real["logits"]),
            "d_fake": result.d_fake,
            "d_error": ops.cast(verdict != ops.argmax(terms.labels, axis=-1), "float32"),
        }
        active = self._active(result.real_cost, result.prior_cost) if training else {}
        return Losses(players, logs, active, weights | {"d_error": terms.known})

    def _classes(self, x: Tensor, terms: Terms, real: dict[str, Tensor], training: bool) -> Round:
        """The paper's game, averaged over q(y|x) where y is not known."""
        noise = self.prior_sample(ops.shape(x)[0])  # the same for each class
        totals = [ops.zeros_like(terms.known) for _ in Round._fields]
        for share, labels, x_tilde in self._reconstructions(terms):
            recon = self.judge_fakes([x_tilde], labels, training)
            drawn = self.judge_fakes([self._prior_images(noise, labels, training)], labels, training)
            values = Round(
                losses.feature_matching(recon.features, real["features"]),
                recon.fooling + drawn.fooling,
                losses.judged_real(real["logits"], 1.0 - self.label_smoothing, labels),
                recon.cost + drawn.cost,
                drawn.cost,
                0.5 * (recon.probability + drawn.probability),
            )
            totals = [total + share * value for total, value in zip(totals, values, strict=True)]
        return Round(*totals)

    def _reconstructions(self, terms: Terms) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Reconstructions `(B, H, W, C)`, the one-hot labels they have, and their shares `(B,)`."""
        images = terms.decoded.mean
        if self.expectation == "enumerated":
            for k in range(self.num_classes or 0):
                labels = ops.zeros_like(terms.labels) + ops.eye(self.num_classes)[k]
                yield terms.shares[:, k], labels, images[k]
            return
        labels = self._drawn_labels(terms)
        chosen = ops.transpose(labels)[..., None, None, None] * images
        yield ops.ones_like(terms.known), labels, ops.sum(chosen, axis=0)

    def _drawn_labels(self, terms: Terms) -> Tensor:
        """The labels where they are known, draws of q(y|x) where not: one-hot `(B, K)`, no gradient."""
        drawn = ops.stop_gradient(terms.class_posterior.sample(self.seed_generator))
        return ops.where(terms.known[:, None] > 0.5, terms.labels, drawn)

    def _prior_images(self, noise: Tensor, labels: Tensor, training: bool) -> Tensor:
        """Images of prior samples of these classes, from standard normal noise `(B, Z)`."""
        condition = {"labels": labels}
        return self.likelihood(self.placed_noise(noise, condition, training), condition, training).mean

    def _feature_matching(self, x: Tensor, terms: Terms, real: dict[str, Tensor], training: bool) -> Round:
        """The game of Salimans et al.: D's classes are of labelled images, the generator's aim is a mean."""
        labels = self._drawn_labels(terms)
        noise = self.prior_sample(ops.shape(x)[0])
        judged = self.discriminator(self._prior_images(noise, labels, training), training=training)
        means = [
            ops.mean(ops.cast(verdict["features"], "float32"), axis=0, keepdims=True)
            for verdict in (judged, real)
        ]
        nothing = ops.zeros_like(terms.known)
        target = 1.0 - self.label_smoothing
        of_class = losses.judged_real(real["logits"], target, terms.labels)
        of_any = losses.real_of_any_class(real["logits"], target)
        fake = losses.judged_fake(judged["logits"])
        return Round(
            nothing + losses.feature_matching(*means),
            nothing,
            ops.where(terms.known > 0.5, of_class, of_any),
            fake,
            fake,
            losses.probability_real(judged["logits"]),
        )

    def judged_class(self, x: Tensor, training: bool = False) -> Tensor:
        """Logits `(B, K)` of D's P(y|x, real), of images `(B, H, W, C)`."""
        return of_real(self.discriminator(x, training=training)["logits"])

    # ---- on arrays ----

    @property
    def classifiers(self) -> tuple[str, ...]:
        """What `classifier` may be."""
        return CLASSIFIERS

    def class_logits(
        self, images: ArrayLike, batch_size: int = 128, classifier: str | None = None
    ) -> np.ndarray:
        chosen = choose("classifier", self.classifier if classifier is None else classifier, CLASSIFIERS)
        logits = []
        if chosen in ("encoder", "ensemble"):
            logits.append(super().class_logits(images, batch_size))
        if chosen in ("discriminator", "ensemble"):
            verdict = self._in_batches(self.discriminator, self._array(images, "images"), batch_size)
            logits.append(of_real(verdict["logits"]).astype("float64"))
        if len(logits) == 1:
            return logits[0]
        return np.logaddexp(*(special.log_softmax(one, axis=1) for one in logits)) - np.log(2.0)

    def class_probabilities(self, x: Tensor) -> Tensor:
        logits = []
        if self.classifier in ("encoder", "ensemble"):
            logits.append(self.class_network(x))
        if self.classifier in ("discriminator", "ensemble"):
            logits.append(ops.cast(self.judged_class(x), "float32"))
        if len(logits) == 2:  # up to a constant, the logarithm of the mean of their probabilities
            logits = [ops.logsumexp([ops.log_softmax(one, axis=-1) for one in logits], axis=0)]
        return ops.softmax(logits[0] / self.temperature, axis=-1)

    # ---- configuration ----

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "game": self.game,
            "expectation": self.expectation,
            "classifier": self.classifier,
            "discriminator_consistency": self.discriminator_consistency,
        }


def of_real(logits: Tensor) -> Tensor:
    """Of D's logits `(B, K + 1)` those of the classes of real images `(B, K)`."""
    return logits[:, :-1]
