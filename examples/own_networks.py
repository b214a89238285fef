"""Networks of your own in a VAE/GAN: functional Keras models, with a layer that is registered to be saved.

python examples/own_networks.py --output own/ [--quick]
"""

import keras
from common import parsed, recipe

import keras_vaegan as kvg
from keras_vaegan import plots
from keras_vaegan.networks import dcgan

LATENT_DIM = 16


@keras.saving.register_keras_serializable("own_networks")
class Residual(keras.layers.Layer):
    """Two convolutions whose result is added to what went in."""

    def __init__(self, filters, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.first, self.second = (
            keras.layers.Conv2D(filters, 3, padding="same", activation=activation, name=name)
            for name, activation in (("first", "relu"), ("second", None))
        )

    def build(self, shape):
        self.first.build(shape)
        self.second.build((*shape[:-1], self.filters))

    def call(self, x):
        return x + self.second(self.first(x))

    def get_config(self):
        return super().get_config() | {"filters": self.filters}


def encoder(shape):
    """Images `(B, H, W, C)` -> mean and log-variance of q(z|x), each `(B, Z)`."""
    images = keras.Input(shape, name="images")
    x = keras.layers.Conv2D(32, 4, strides=2, padding="same", activation="relu")(images)
    x = Residual(32)(x)
    x = keras.layers.Conv2D(64, 4, strides=2, padding="same", activation="relu")(x)
    x = keras.layers.Flatten()(x)
    parts = {name: keras.layers.Dense(LATENT_DIM, name=name)(x) for name in ("mean", "log_variance")}
    return keras.Model(images, parts, name="encoder")


def main():
    """Train a VAE/GAN with that encoder, save it, and load it again."""
    options, data = parsed(__doc__)
    shape = data.image_shape
    model = kvg.VAEGAN(
        encoder(shape),
        dcgan.decoder(shape, LATENT_DIM),
        dcgan.discriminator(shape),
        seed=options.seed,
    )
    model.compile()
    epochs = recipe("vae_gan", options)["training"]["epochs"]
    model.fit(data.train[0], epochs=epochs, batch_size=64, validation_data=(data.validation[0],), verbose=2)
    model.fit_prior(data.train[0], prior="mixture")
    model.save(options.output / "own.keras")
    again = keras.saving.load_model(options.output / "own.keras")  # in another process: after this module
    plots.save_grid(again.generate(64, seed=0), options.output / "samples.png")
    print(f"look at {options.output / 'samples.png'}")


if __name__ == "__main__":
    main()
