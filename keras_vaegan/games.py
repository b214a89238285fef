"""Adversarial games: what the discriminator D and the generator minimize.

D scores each image, or each patch of it, by s(x), its log-odds that it is real. With K classes D gives K + 1
logits, the last of the fakes, and s = log sum exp(classes) - fake (Salimans et al. 2016). Every game then
adds -log P(y|x, real) to the losses of D on real images and of the generator on fakes. So the standard
game on K + 1 logits is the cross-entropy to K + 1 classes of Chen, Fang and Ju 2016.

The games are siblings of one shape. Each has three functions of scores, and these make all losses:

    L_D = real_loss(x) + sum over fakes of fake_loss(x_f)      L_G = sum over fakes of generator_loss(x_f)
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Self

import keras
from keras import ops

from keras_vaegan import losses
from keras_vaegan.backend import input_gradient
from keras_vaegan.errors import InputError, at_least, flag, whole_number
from keras_vaegan.parts import Part
from keras_vaegan.typing import Tensor

LEAST_PULL = 1e-6  # added to the length of a gradient that is divided by
MOST_BALANCE = 1e4


class Verdict(NamedTuple):
    """What D says of images. Games read its scores, which are made once, however many losses there are.

    Attributes:
        logits: D's logits `(B, ..., 1)` or `(B, ..., K + 1)`.
        features: D's features `(B, ...)`.
        scores: s, `(B, ...)` float32.
        log_classes: log P(y|x, real) of each class, `(B, ..., K)` float32; None for one logit.
    """

    logits: Tensor
    features: Tensor
    scores: Tensor
    log_classes: Tensor | None

    @classmethod
    def of(cls, outputs: Mapping[str, Tensor]) -> Self:
        """The verdict that D's outputs, a dictionary of `logits` and `features`, make."""
        logits, features = outputs["logits"], outputs["features"]
        classes = None if logits.shape[-1] == 1 else losses.log_classes(logits)
        return cls(logits, features, losses.log_odds_real(logits), classes)


class Game(Part):
    """Base class of games.

    A subclass gives `of_real(s)`, `of_fake(s, real)`, `of_generator(s, real)` and `probability(s, other)`,
    each elementwise on scores s `(B, ...)`.

    Args:
        r1: weight in L_D of the gradient penalty |ds/dx|^2 / 2 on real images (Mescheder et al. 2018, eq. 9).
        r2: weight of the same penalty on fakes; it costs one more pass of D.
        label_weight: weight of -log P(y|x, real) in L_G, for models with classes; 1 is the paper's. The term
            asks for images of a plain class, and so for less variety in a class (Gong et al. 2019).
        three_players: whether encoder and decoder minimize losses of their own (Larsen et al. 2015,
            algorithm 1): the encoder the KL and the reconstruction, the decoder (the player `generator`) the
            reconstruction and L_G.
        margin: None, or `(equilibrium, margin)`, as Larsen's released code has (0.68, 0.35). D stands still
            while its loss on real images or on prior samples is below equilibrium - margin, the player
            `generator` while one is above equilibrium + margin; both move if both would stand still.
        weight: of the game in L_G, of all fakes alike.
        adaptive: whether that weight is multiplied, anew in each step, by the factor under which the
            generator's loss on reconstructions x~ pulls x~ as strongly as the reconstruction losses do:
            |dL_rec/dx~| / (|dL_game/dx~| + 1e-6), at most 1e4 (Esser et al. 2021, eq. 7, who take the
            gradients at the last layer). D's features do not count as a reconstruction loss there.
        start: training step from which D is trained, counted from 0.
        warm_up: steps from `start` in which D is trained alone. Before `start + warm_up` the generator's loss
            has no part of D: neither the game nor D's features count.

    Raises:
        InputError: a weight or a number of steps below 0; a margin that is no pair.
    """

    target = 1.0  # probability of real that D is to give to real images
    matches_means = False  # whether the generator matches mean features in place of minimizing L_G

    def __init__(
        self,
        r1: float = 0.0,
        r2: float = 0.0,
        label_weight: float = 1.0,
        three_players: bool = False,
        margin: tuple[float, float] | None = None,
        weight: float = 1.0,
        adaptive: bool = False,
        start: int = 0,
        warm_up: int = 0,
    ) -> None:
        self.r1, self.r2 = at_least("r1", r1, 0.0), at_least("r2", r2, 0.0)
        self.label_weight = at_least("label_weight", label_weight, 0.0)
        self.three_players = flag("three_players", three_players)
        self.margin = None if margin is None else _pair("margin", margin)
        self.weight, self.adaptive = at_least("weight", weight, 0.0), flag("adaptive", adaptive)
        self.start, self.warm_up = whole_number("start", start, 0), whole_number("warm_up", warm_up, 0)

    # ---- of scores s, elementwise ----

    def of_real(self, s: Tensor) -> Tensor:
        """D's loss on real images."""
        raise NotImplementedError

    def of_fake(self, s: Tensor, real: Tensor) -> Tensor:
        """D's loss on fakes, beside the scores of the batch's real images."""
        raise NotImplementedError

    def of_generator(self, s: Tensor, real: Tensor) -> Tensor:
        """The generator's loss on fakes, beside the scores of the batch's real images."""
        raise NotImplementedError

    def probability(self, s: Tensor, other: Tensor) -> Tensor:
        """What D says of an image as a probability of real, beside the scores of the other kind."""
        raise NotImplementedError

    # ---- of D's verdicts, `(B,)` each ----

    def real_loss(self, real: Verdict, labels: Tensor | None = None) -> Tensor:
        """D's loss on real images; `labels` are one-hot `(B, K)`, and without them any class will do."""
        loss = losses.mean_of_patches(self.of_real(real.scores))
        return loss if labels is None else loss + self.target * losses.wrong_class(real.log_classes, labels)

    def fake_loss(self, fake: Verdict, real: Verdict) -> Tensor:
        """D's loss on fakes, beside the real images of the batch."""
        return losses.mean_of_patches(self.of_fake(fake.scores, real.scores))

    def generator_loss(self, fake: Verdict, real: Verdict, labels: Tensor | None = None) -> Tensor:
        """The generator's loss on fakes; `labels` are the classes that they are to show."""
        loss = losses.mean_of_patches(self.of_generator(fake.scores, real.scores))
        if labels is None or not self.label_weight:
            return loss
        return loss + self.label_weight * losses.wrong_class(fake.log_classes, labels)

    def probability_real(self, verdict: Verdict, other: Verdict) -> Tensor:
        """P(real) as D sees it, `(B,)`, the mean over patches, beside its verdict on the other kind."""
        return losses.mean_of_patches(self.probability(verdict.scores, other.scores))

    # ---- when and how much the game counts ----

    def balance(self, reconstruction: Tensor, pull: Tensor) -> Tensor:
        """The factor of an adaptive weight, a float32 scalar without a gradient.

        Args:
            reconstruction, pull: gradients of the reconstruction losses and of the generator's loss at x~,
                `(B, H, W, C)`, each of the sum over the batch.
        """
        lengths = [
            ops.sqrt(ops.sum(ops.square(ops.cast(ops.stop_gradient(gradient), "float32"))))
            for gradient in (reconstruction, pull)
        ]
        return ops.clip(lengths[0] / (lengths[1] + LEAST_PULL), 0.0, MOST_BALANCE)

    @property
    def starts_late(self) -> bool:
        """Whether there are steps in which the generator does not play yet."""
        return self.start + self.warm_up > 0

    def counts(self, step: Tensor) -> Tensor:
        """1.0 from the training step on in which the generator plays, 0.0 before it: a float32 scalar."""
        return ops.cast(step >= self.start + self.warm_up, "float32")

    # ---- penalties ----

    def penalized(
        self, discriminator: Callable[..., Any], x: Tensor, training: bool
    ) -> tuple[Verdict, Tensor]:
        """D's verdict on images `(B, H, W, C)` and |ds/dx|^2 / 2, `(B,)`, s the mean over patches."""

        def score(x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            outputs = discriminator(x, training=training)
            return losses.mean_of_patches(losses.log_odds_real(outputs["logits"])), outputs

        gradient, outputs = input_gradient(score, x)
        return Verdict.of(outputs), losses.gradient_penalty(gradient)

    def penalty_of_fakes(
        self, discriminator: Callable[..., Any], fakes: Sequence[Tensor], training: bool
    ) -> Any:
        """r2 times the penalty on fakes, `(B,)`; their gradient goes to D alone."""
        if not (self.r2 and training):
            return 0.0
        penalties = [self.penalized(discriminator, ops.stop_gradient(x), training)[1] for x in fakes]
        return self.r2 * sum(penalties)


@keras.saving.register_keras_serializable("keras_vaegan")
class Standard(Game):
    """The non-saturating game (Goodfellow et al. 2014): -log D(x), -log(1 - D(x_f)) and -log D(x_f).

    Args:
        label_smoothing: real images count as real with probability 1 minus this, less than 1 (one-sided).
        **kwargs: of `Game`.
    """

    def __init__(self, label_smoothing: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.label_smoothing = at_least("label_smoothing", label_smoothing, 0.0)
        if label_smoothing >= 1.0:
            raise InputError(f"label_smoothing must be less than 1; received {label_smoothing!r}.")
        self.target = 1.0 - self.label_smoothing

    def of_real(self, s: Tensor) -> Tensor:
        return losses.binary_cross_entropy(s, self.target)

    def of_fake(self, s: Tensor, real: Tensor) -> Tensor:
        return losses.binary_cross_entropy(s, 0.0)

    def of_generator(self, s: Tensor, real: Tensor) -> Tensor:
        return losses.binary_cross_entropy(s, 1.0)

    def probability(self, s: Tensor, other: Tensor) -> Tensor:
        return ops.sigmoid(s)


@keras.saving.register_keras_serializable("keras_vaegan")
class Hinge(Game):
    """The hinge game (Lim and Ye 2017): max(0, 1 - s(x)), max(0, 1 + s(x_f)) and -s(x_f)."""

    def of_real(self, s: Tensor) -> Tensor:
        return ops.relu(1.0 - s)

    def of_fake(self, s: Tensor, real: Tensor) -> Tensor:
        return ops.relu(1.0 + s)

    def of_generator(self, s: Tensor, real: Tensor) -> Tensor:
        return -s

    def probability(self, s: Tensor, other: Tensor) -> Tensor:
        """Where s lies between its aims -1 and 1."""
        return ops.clip(0.5 * (s + 1.0), 0.0, 1.0)


@keras.saving.register_keras_serializable("keras_vaegan")
class LeastSquares(Game):
    """Least squares: (s(x) - 1)^2 / 2, s(x_f)^2 / 2 and (s(x_f) - 1)^2 / 2.

    Mao et al. 2017, eq. 9, with a = 0 and b = c = 1.
    """

    def of_real(self, s: Tensor) -> Tensor:
        return 0.5 * ops.square(s - 1.0)

    def of_fake(self, s: Tensor, real: Tensor) -> Tensor:
        return 0.5 * ops.square(s)

    def of_generator(self, s: Tensor, real: Tensor) -> Tensor:
        return 0.5 * ops.square(s - 1.0)

    def probability(self, s: Tensor, other: Tensor) -> Tensor:
        """Where s lies between its aims 0 and 1."""
        return ops.clip(s, 0.0, 1.0)


@keras.saving.register_keras_serializable("keras_vaegan")
class Relativistic(Game):
    """Relativistic pairs: -log sigmoid(s(x) - s(x_f)) for D, and reversed for the generator.

    Jolicoeur-Martineau 2019; with r1 and r2, Huang et al. 2024. Image i of the batch is paired with fake i.
    L_D has nothing of real images alone, so there is no margin. Use `r1` and `r2`.

    Args:
        **kwargs: of `Game`.

    Raises:
        InputError: a margin; as of `Game`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if self.margin is not None:
            raise InputError(f"margin must be None in a relativistic game; received {self.margin!r}.")

    def of_real(self, s: Tensor) -> Tensor:
        return ops.zeros_like(s)

    def of_fake(self, s: Tensor, real: Tensor) -> Tensor:
        return losses.binary_cross_entropy(real - s, 1.0)

    def of_generator(self, s: Tensor, real: Tensor) -> Tensor:
        return losses.binary_cross_entropy(s - real, 1.0)

    def probability(self, s: Tensor, other: Tensor) -> Tensor:
        """The probability that the image is the real one of its pair."""
        return ops.sigmoid(s - other)


@keras.saving.register_keras_serializable("keras_vaegan")
class FeatureMatching(Standard):
    """The standard game of D on K + 1 logits, and a generator that matches mean features.

    Salimans et al. 2016, section 3.1. For the semi-supervised VAE/GAN, whose docstring has the losses.
    """

    matches_means = True


GAMES: dict[str, type[Game]] = {
    "standard": Standard,
    "hinge": Hinge,
    "least_squares": LeastSquares,
    "relativistic": Relativistic,
    "feature_matching": FeatureMatching,
}


def _pair(argument: str, values: Any) -> tuple[float, ...]:
    """Two numbers of at least 0, as a tuple, or raise."""
    if not isinstance(values, (tuple, list)) or len(values) != 2:
        raise InputError(f"{argument} must be (equilibrium, margin); received {values!r}.")
    return tuple(at_least(argument, value, 0.0) for value in values)
