"""The conditional VAE/GAN with a discriminator over K + 1 classes (Chen, Fang and Ju 2016)."""

from typing import Any

import keras

from keras_vaegan import losses
from keras_vaegan.errors import InputError
from keras_vaegan.models.adversarial import Adversarial
from keras_vaegan.models.cvae import CVAE
from keras_vaegan.models.vae import at_least
from keras_vaegan.typing import Tensor


@keras.saving.register_keras_serializable("keras_vaegan")
class CVAEGAN(Adversarial, CVAE):
    """CVAE-GAN. The generator is a CVAE on labels; the discriminator knows K classes and the fakes.

    With CE(x, c) the cross-entropy of D's verdict on x to class c:

        L_G = beta KL + gamma |f(x) - f(x~)|^2 / 2 + CE(x~, y) + CE(x_p, y)
        L_D = CE(x, y) + CE(x~, fake) + CE(x_p, fake)

    Both fakes are decoded with the label y of the real image.

    The generator's cross-entropy is -log P(real) - log P(y|real). Its second part asks for images of which
    the class is plain, more plain than that of real ones, and so for less variety in a class (Gong et al.
    2019, "Twin auxiliary classifiers GAN"); `label_weight` takes less of it.

    Args:
        label_weight: w in -log P(real) - w log P(y|real); 1 is the paper's L_G.
        *args, **kwargs: the arguments of `Adversarial` and of `CVAE`, whose logs and notation it has.
    """

    def __init__(self, *args: Any, label_weight: float = 1.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.label_weight = at_least("label_weight", label_weight, 0.0)

    def fooling(self, logits: Tensor, labels: Tensor | None) -> Tensor:
        cost = super().fooling(logits, labels)
        return cost - (1.0 - self.label_weight) * losses.wrong_class(logits, labels)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"label_weight": self.label_weight}

    def _check_condition(self) -> None:
        super()._check_condition()
        if self.num_classes is None or self.completes:
            raise InputError("decoder must take `codes` and `labels`, and nothing else, in a CVAEGAN.")
