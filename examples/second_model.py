"""A second model: a small denoising diffusion model that learns the latent codes of a first model.

    python examples/second_model.py --output second/ --quick
    keras-vaegan encode runs/mine --images my_images/ --output codes/
    python examples/second_model.py --source runs/mine --codes codes/ --output second/

It samples new codes, which the first model decodes. The codes are maps (h, w, c). Diffusion: Ho et al. 2020;
prediction of v, with an angle as time: Salimans and Ho 2022; sampler: Song et al. 2021. `--quick` trains a
first model, too, on embedded digits.
"""

import argparse
import pathlib
import shutil

import common
import keras
import numpy as np
from keras import layers, ops

import keras_vaegan as kvg
from keras_vaegan import cli, plots, presets
from keras_vaegan.networks import resnet


class Noisy(kvg.data.Batches):
    """Noisy codes cos(t) z + sin(t) e at angles t of 0 to pi/2, and their v = cos(t) e - sin(t) z."""

    def __getitem__(self, index):
        (z,) = super().__getitem__(index)
        noise = np.random.default_rng((self.seed, self.epoch, index))
        t = noise.uniform(0.0, np.pi / 2, (len(z), 1, 1, 1)).astype("float32")
        e = noise.standard_normal(z.shape, "float32")
        return (np.cos(t) * z + np.sin(t) * e, t[:, 0, 0, 0]), np.cos(t) * e - np.sin(t) * z


def block(x, time, width):
    """A residual block, told the time."""
    if x.shape[-1] != width:
        x = layers.Conv2D(width, 1)(x)
    y = layers.Conv2D(width, 3, padding="same")(ops.silu(layers.GroupNormalization(8)(x)))
    y = y + layers.Dense(width)(time)[:, None, None]
    y = layers.Conv2D(width, 3, padding="same", kernel_initializer="zeros")(
        ops.silu(layers.GroupNormalization(8)(y))
    )
    return x + y


def denoiser(shape, width, depth):
    """A U-Net: noisy codes `(B, h, w, c)` and angles `(B,)` -> v `(B, h, w, c)`."""
    codes, time = keras.Input(shape), keras.Input(())
    angles = time[:, None] * np.exp2(np.arange(8, dtype="float32"))
    told = layers.Dense(4 * width, "silu")(ops.concatenate([ops.sin(angles), ops.cos(angles)], axis=-1))
    x, skips = layers.Conv2D(width, 3, padding="same")(codes), []
    while min(x.shape[1:3]) > 8 and x.shape[1] % 2 == x.shape[2] % 2 == 0:
        x = block(x, told, width)
        skips.append(x)
        x = layers.Conv2D(width, 3, strides=2, padding="same")(x)
    for _ in range(depth):
        x = block(x, told, 2 * width)
        rows = layers.Reshape((-1, 2 * width))(layers.LayerNormalization()(x))
        x = x + layers.Reshape(x.shape[1:])(layers.MultiHeadAttention(4, width // 2)(rows, rows))
    for skip in reversed(skips):
        x = layers.concatenate([layers.UpSampling2D()(x), skip])
        x = block(x, told, width)
    x = ops.silu(layers.GroupNormalization(8)(x))
    return keras.Model([codes, time], layers.Conv2D(shape[-1], 3, padding="same")(x), name="denoiser")


def sample(model, count, steps, seed, batch_size=64):
    """New codes `(count, h, w, c)`: from noise, in steps from t = pi/2 to 0."""
    z = np.random.default_rng(seed).standard_normal((count, *model.inputs[0].shape[1:]), "float32")
    times = np.linspace(np.pi / 2, 0.0, steps + 1, dtype="float32")
    for t, following in zip(times, times[1:], strict=False):
        v = model.predict([z, np.full(count, t)], batch_size, verbose=0)
        clean, noise = np.cos(t) * z - np.sin(t) * v, np.sin(t) * z + np.cos(t) * v
        z = np.cos(following) * clean + np.sin(following) * noise
    return z


def quick_start(output):
    """A small autoencoder of the digits, and the codes of its training images."""
    (x, _), *_ = kvg.data.load("digits")
    style = {"factor": 4, "filters": [8, 16, 16], "blocks": 1, "normalization": "rms"}
    networks = [build((28, 28, 1), 4, **style) for build in (resnet.encoder, resnet.decoder)]
    model = kvg.VAE(*networks, beta=0.01, seed=0)
    model.compile()
    model.fit(x, epochs=common.QUICK_EPOCHS, batch_size=64, verbose=2)
    model.measure_codes(x)
    model.save_to_preset(output / "first")
    shutil.rmtree(output / "codes", ignore_errors=True)  # those of an earlier first model
    words = ["encode", output / "first", "--dataset", "digits", "--output", output / "codes"]
    cli.cli.main([str(word) for word in words], standalone_mode=False)  # as `keras-vaegan encode ...`
    return output / "first", output / "codes"


def main():
    """Train the second model on codes, make new codes and decode them into a grid."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--output", type=pathlib.Path, required=True, help="folder for what is made")
    parser.add_argument("--source", help="the first model: a run, a preset or a .keras file")
    parser.add_argument("--codes", help="folder that `keras-vaegan encode` wrote")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a first model and its codes are made here")
    sizes = {"epochs": (200, 6 * common.QUICK_EPOCHS), "width": (64, 32), "depth": (3, 1), "steps": (50, 25)}
    for name, (value, quick) in sizes.items():
        parser.add_argument(f"--{name}", type=int, help=f"default: {value}, or {quick} with --quick")
    options = parser.parse_args()
    epochs, width, depth, steps = (
        getattr(options, name) or values[options.quick] for name, values in sizes.items()
    )
    source, place = quick_start(options.output) if options.quick else (options.source, options.codes)
    codes = kvg.data.Codes(place)
    print(f"{len(codes):,} codes of {codes.shape[1:]}, {'scaled' if codes.scaled else 'not scaled'}")

    keras.utils.set_random_seed(options.seed)
    model = denoiser(codes.shape[1:], width, depth)
    batches = Noisy(codes, batch_size=options.batch_size, seed=options.seed)
    rate = keras.optimizers.schedules.CosineDecay(5e-4, epochs * len(batches))
    model.compile(keras.optimizers.Adam(rate, clipnorm=1.0), loss="mse")
    model.fit(batches, epochs=epochs, shuffle=False, verbose=2)
    model.save(options.output / "second.keras")

    made = sample(model, 64, steps, options.seed)
    np.savez(options.output / "made.npz", codes=made)  # `keras-vaegan decode` takes it, too
    first, _ = presets.load_source(source)
    plots.save_grid(first.decode(made, scaled=codes.scaled), options.output / "samples.png")
    print(f"look at {options.output / 'samples.png'}")


if __name__ == "__main__":
    main()
