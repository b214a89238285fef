"""Quality under half precision: the same trainings in float32, bfloat16 and float16, over seeds.

    KERAS_BACKEND=torch python benchmarks/half_precision.py --models vae vae_gan draw cvae_gan --epochs 20

trains each model's recipe for the embedded digits with each precision and seed, and scores it on the images
held out: the bound in nats and the Fréchet distance of as many samples, in the features of `mnist_plain`.
Writes `benchmarks/results/half_precision.md`. Processors without half precision compute it slowly.
"""

import argparse
import datetime
import pathlib

import keras
import numpy as np

import keras_vaegan as kvg
from keras_vaegan import metrics, presets
from keras_vaegan.files import atomic_path

RESULTS = pathlib.Path(__file__).parent / "results"
PRECISIONS = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}


def main():
    """Train, score and tabulate."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--models", nargs="+", default=["vae", "vae_gan", "draw", "cvae_gan"])
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()

    data = kvg.data.load("digits")
    features = metrics.extractor("mnist_plain")
    real = features.extract(data.validation[0]).features
    rows = []
    for key in options.models:
        for precision in options.precisions:
            policy = PRECISIONS[precision]
            scores = [
                scored(key, policy, seed, options.epochs, data, features, real) for seed in options.seeds
            ]
            columns = zip(np.mean(scores, axis=0), np.std(scores, axis=0, ddof=1), strict=True)
            cells = [f"{mean:.2f} ± {spread:.2f}" for mean, spread in columns]
            rows.append(f"| {key} | {precision} | {' | '.join(cells)} |")
            print(rows[-1], flush=True)
    backend, seeds = keras.backend.backend(), ", ".join(map(str, options.seeds))
    text = "\n".join(
        [
            "# Quality under half precision",
            "",
            f"Recipes for the embedded digits, {options.epochs} epochs, seeds {seeds}, on {backend}, "
            f"{datetime.date.today()}; mean and standard deviation over the seeds, on the {len(real)} images "
            "held out. Negative bound in nats; Fréchet distance of as many samples (`mnist_plain`).",
            "",
            f"    KERAS_BACKEND={backend} python benchmarks/half_precision.py "
            f"--models {' '.join(options.models)} --precisions {' '.join(options.precisions)} "
            f"--epochs {options.epochs}",
            "",
            "| model | precision | negative bound | Fréchet distance |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )
    with atomic_path(RESULTS / "half_precision.md") as temporary:
        temporary.write_text(text, encoding="utf-8")


def scored(key, policy, seed, epochs, data, features, real):
    """Negative bound and Fréchet distance of one training."""
    keras.utils.set_random_seed(seed)
    keras.config.set_dtype_policy(policy)
    model = presets.build(presets.recipe(f"{key}_mnist_small"), data.image_shape, seed, data.num_classes)
    keras.config.set_dtype_policy("float32")
    x, y = data.train
    model.fit(x, model.labels_of(y), batch_size=32, epochs=epochs, verbose=0)
    x, y = data.validation
    bound = model.evaluate(x, model.labels_of(y), verbose=0, return_dict=True)["loss"]
    samples = features.extract(model.generate(len(x), seed=0)).features
    return bound, metrics.frechet_distance(real, samples)


if __name__ == "__main__":
    main()
