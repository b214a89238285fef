"""Write the golden files of the chosen backend: a saved model of each kind, with its outputs.

    KERAS_BACKEND=torch python tests/golden/make.py

To be run when a model is new, into its own files; files that are there are those of users, and stay.
"""

import pathlib
import sys

import keras
import numpy as np

FOLDER = pathlib.Path(__file__).parent
sys.path.insert(0, str(FOLDER.parent))

import registry  # noqa: E402

SHAPE = (4, 3, 1)


def outputs(model):
    """What a model gives for fixed inputs."""
    x, given = registry.images(3, SHAPE, seed=11), registry.condition(model, 3)
    return {
        "mean": model.encode(x, **given),
        "reconstruction": model.reconstruct(x, **given),
        "generated": model.generate(3, seed=4),
        "log_likelihood": model.log_likelihood(x, num_samples=5, seed=6, **given),
    }


def main():
    """Train each model for two steps, fit its prior and save it, where there is no file yet."""
    backend = keras.backend.backend()
    for name, build in registry.MODELS.items():
        path = FOLDER / f"{name}.{backend}.keras"
        if path.exists():
            continue
        model = registry.set_weights(build(image_shape=SHAPE, seed=3))
        rate = keras.optimizers.schedules.ExponentialDecay(1e-3, 10, 0.9)
        model.compile({player: keras.optimizers.Adam(rate, use_ema=True) for player in model.players})
        model.fit(*registry.data(model, 8), batch_size=4, shuffle=False, verbose=0)
        if model.prior.fitted_to_codes:
            labels = None if model.num_classes is None else registry.labels(40)
            model.fit_prior(registry.images(40, SHAPE, seed=12), labels, verbose=0)
        model.save(path)
        np.savez_compressed(path.with_suffix(".npz"), **outputs(model))
        print(path)


if __name__ == "__main__":
    main()
