"""How a semi-supervised model learns classes from few labels and tells them."""

from typing import Literal

import keras

from keras_vaegan.errors import at_least, choose
from keras_vaegan.parts import Part

EXPECTATIONS = ("enumerated", "sampled")
CLASSIFIERS = ("encoder", "discriminator", "ensemble")


@keras.saving.register_keras_serializable("keras_vaegan")
class Classification(Part):
    """Settings of the classifiers q(y|x) and, with a discriminator, D's P(y|x, real).

    Args:
        alpha: weight of -log q(y|x) where y is known, in nats for each image of the training (Kingma et al.
            2014, eq. 9).
        consistency: weight of the virtual adversarial loss of q(y|x) (Miyato et al. 2018); 0 is none.
        discriminator_consistency: weight in L_D of the same loss of D's P(y|x, real); 0 is none.
        radius: length of the adversarial step, in the Euclidean norm of an image in [0, 1].
        expectation: how the game averages over unknown labels: `enumerated` sums over the classes, as in the
            paper; `sampled` takes one y of q(y|x) for each image, which is K times less work, and teaches
            q(y|x) nothing of the game.
        classifier: who tells classes in `classify`: the `encoder`'s q(y|x), the `discriminator` among the
            classes of real images, or the `ensemble`, the mean of their probabilities.
        temperature: divides the logits in `classify`; `calibrate` fits it.

    Raises:
        InputError: a weight below 0, a temperature below 0.001, an unknown expectation or classifier.
    """

    def __init__(
        self,
        alpha: float = 0.1,
        consistency: float = 0.0,
        discriminator_consistency: float = 0.0,
        radius: float = 2.0,
        expectation: Literal["enumerated", "sampled"] = "enumerated",
        classifier: Literal["encoder", "discriminator", "ensemble"] = "encoder",
        temperature: float = 1.0,
    ) -> None:
        self.alpha = at_least("alpha", alpha, 0.0)
        self.consistency = at_least("consistency", consistency, 0.0)
        self.discriminator_consistency = at_least("discriminator_consistency", discriminator_consistency, 0.0)
        self.radius = at_least("radius", radius, 0.0)
        self.expectation = choose("expectation", expectation, EXPECTATIONS)
        self.classifier = choose("classifier", classifier, CLASSIFIERS)
        self.temperature = at_least("temperature", temperature, 1e-3)


CLASSIFICATIONS = {"classification": Classification}
