"""The VAE/GAN: a VAE whose reconstruction loss is in the features of a discriminator.

Larsen et al. 2015, "Autoencoding beyond pixels using a learned similarity metric", and Chen,
Fang and Ju 2016, "When Variational Auto-encoders meet Generative Adversarial Networks".
"""

import keras

from keras_vaegan.models.adversarial import Adversarial
from keras_vaegan.models.vae import VAE
from keras_vaegan.registry import register


@register("vae_gan")
@keras.saving.register_keras_serializable("keras_vaegan")
class VAEGAN(Adversarial, VAE):
    """VAE/GAN. The generator is a VAE; a discriminator tells its images from real ones.

        L_G = beta KL + gamma |f(x) - f(x~)|^2 / 2 - log D(x~) - log D(x_p)
        L_D = -log D(x) - log(1 - D(x~)) - log(1 - D(x_p))

    Arguments, logs and notation are those of `Adversarial`, where the other games stand.

    Examples:
        >>> import keras
        >>> import keras_vaegan as kvg
        >>> from keras_vaegan.networks import dcgan
        >>> (x, y), *_ = kvg.data.load("digits")
        >>> shape, latent_dim = (28, 28, 1), 8
        >>> model = kvg.VAEGAN(
        ...     dcgan.encoder(shape, latent_dim),
        ...     dcgan.decoder(shape, latent_dim),
        ...     dcgan.discriminator(shape),
        ...     game="standard",  # or hinge, least_squares, relativistic
        ...     reconstruction={"features": 0.1},
        ... )
        >>> model.compile({player: keras.optimizers.Adam(5e-4, beta_1=0.5) for player in model.players})
        >>> history = model.fit(x, epochs=1, verbose=0)
        >>> sorted(history.history)  # the players' losses beside the parts of the ELBO
        ['d_fake', 'd_real', 'discriminator', 'feature_matching', 'generator', 'kl', 'loss', 'reconstruction']
    """
