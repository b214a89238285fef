"""The conditional VAE/GAN with a discriminator over K + 1 classes (Chen, Fang and Ju 2016)."""

from collections.abc import Mapping

import keras

from keras_vaegan.conditions import require_labels_alone
from keras_vaegan.models.adversarial import Adversarial
from keras_vaegan.models.cvae import CVAE
from keras_vaegan.models.vae_gan import VAEGAN
from keras_vaegan.registry import register
from keras_vaegan.typing import Tensor


@register("cvae_gan")
@keras.saving.register_keras_serializable("keras_vaegan")
class CVAEGAN(Adversarial, CVAE):
    """CVAE-GAN. The generator is a CVAE on labels; the discriminator knows K classes and the fakes.

    With CE(x, c) the cross-entropy of D's verdict on x to class c:

        L_G = beta KL + gamma |f(x) - f(x~)|^2 / 2 + CE(x~, y) + CE(x_p, y)
        L_D = CE(x, y) + CE(x~, fake) + CE(x_p, fake)

    Both fakes are decoded with the label y of the real image.

    Arguments, logs and notation are those of `Adversarial` and of `CVAE`. The defaults are those of `VAEGAN`,
    with a `label_weight` of 0.55.

    Examples:
        >>> import keras_vaegan as kvg
        >>> model = kvg.CVAEGAN.from_preset("cvae_gan_mnist")
        >>> images = model.generate(4, labels=[3, 7], seed=0)  # 3, 7, 3, 7
        >>> model.transfer_style(images, labels=range(10)).shape
        (4, 10, 28, 28, 1)
    """

    takes = ("labels",)
    default_reconstruction = VAEGAN.default_reconstruction
    default_beta = VAEGAN.default_beta
    default_game = {**VAEGAN.default_game, "label_weight": 0.55}
    fakes = VAEGAN.fakes

    def _check_condition(self, inputs: Mapping[str, Tensor]) -> None:
        super()._check_condition(inputs)
        require_labels_alone(inputs, type(self).__name__)
