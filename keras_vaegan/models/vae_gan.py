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

    Arguments, logs and notation are those of `Adversarial`, where the other games stand. The defaults are the
    weights that were best on MNIST: beta 0.0625, features 0.05, pixels 0.025, the standard game with R1 of
    0.03, and fakes from the posterior, for a mixture that `fit_prior` fits to the codes. The losses of the
    papers are `beta=1, reconstruction={"features": 1.0, "pixels": 0.0}, game="standard", fakes_from="prior"`.

    Examples:
        >>> import keras_vaegan as kvg
        >>> from keras_vaegan.networks import dcgan
        >>> (x, y), *_ = kvg.data.load("digits")
        >>> shape, latent_dim = (28, 28, 1), 8
        >>> model = kvg.VAEGAN(
        ...     dcgan.encoder(shape, latent_dim),
        ...     dcgan.decoder(shape, latent_dim),
        ...     dcgan.discriminator(shape),
        ... )
        >>> model.compile()  # Adam at 1e-3 for each player; or {"generator": ..., "discriminator": ...}
        >>> history = model.fit(x, epochs=1, verbose=0)
        >>> model.fit_prior(x, prior="mixture")
        >>> model.generate(16, seed=0).shape
        (16, 28, 28, 1)
        >>> sorted(history.history)  # the players' losses beside the parts of the ELBO
        ['d_fake', 'd_real', 'discriminator', 'feature_matching', 'generator', 'kl', 'loss', 'reconstruction']
    """

    default_reconstruction = {"features": 0.05, "pixels": 0.025}
    default_beta = 0.0625
    default_game = {"class": "standard", "r1": 0.03}
    fakes = ("posterior", "prior", "none")
