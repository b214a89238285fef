"""Reading the curves of a GAN: one that trains well, one whose discriminator is far too fast.

python examples/curves.py --output curves/ [--quick]
"""

from common import parsed, recipe

from keras_vaegan import callbacks, plots, presets

TOO_FAST = 50  # times the rate of the discriminator


def main():
    """Train both, draw their curves, and say what the doctor finds."""
    options, data = parsed(__doc__)
    for name, factor in (("sound", 1), ("too_fast", TOO_FAST)):
        chosen = recipe("vae_gan", options)
        rate = chosen["optimizer"]["discriminator"]["learning_rate"]
        rate = rate["initial_learning_rate"] if isinstance(rate, dict) else rate
        chosen["optimizer"]["discriminator"]["learning_rate"] = factor * rate
        model = presets.build(chosen, data.image_shape, seed=options.seed)
        said = []
        monitor = callbacks.Monitor(data.validation[0], report=said.append)
        history = model.fit(
            data.train[0],
            epochs=chosen["training"]["epochs"],
            batch_size=64,
            validation_data=(data.validation[0],),
            callbacks=[monitor],
            verbose=0,
        ).history
        plots.save_curves(history, options.output / f"{name}.png")
        verdict = "; ".join(said) or "nothing to remark"
        print(f"{name}: d_real {history['d_real'][-1]:.2f}, d_fake {history['d_fake'][-1]:.2f}; {verdict}")
    print(f"look at sound.png and too_fast.png in {options.output}")


if __name__ == "__main__":
    main()
