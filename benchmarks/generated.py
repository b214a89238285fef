"""Generated images of a run against its reconstructions, and beside the training images that are nearest.

    keras-vaegan fit-prior runs/vae_gan_fruits --prior flow
    python -m benchmarks.generated runs/vae_gan_fruits --judge WORK/fruits_judge.keras \\
        --output benchmarks/results/generated_fruits.md --picture docs/images/generated_fruits.jpg

Distances are Fréchet distances to the test images: of the reconstructions of the test images, and of as many
samples. A model whose prior is perfect has a ratio near 1. They are taken in `imagenet` features and in those
of a classifier that took part in nothing else (`benchmarks.judge`). The floor is the distance of as many
training images.

The nearest training image of each sample is found in `imagenet` features. The page says how far samples lie
from it, as a share of the distance at which test images lie from theirs: copies would have 0.
"""

import argparse
import pathlib

import keras
import numpy as np

from benchmarks import judge, own_images

SHOWN, COLUMNS = 50, 10


def features_of(source):
    """A function that gives the features of images: `imagenet`, or those of a judge in a `.keras` file."""
    if source == "imagenet":
        from keras_vaegan.metrics import extractor

        network = extractor("imagenet")
        return lambda images: network.extract(images).features
    model = keras.saving.load_model(source, compile=False)
    return lambda images: judge.pooled(model).predict(images, batch_size=256, verbose=0)


def nearest(of, among):
    """Index of the nearest row of `among` for each row of `of`, and its distance."""
    from keras_vaegan.metrics.distances import squared_distances

    squared = np.concatenate(
        [squared_distances(of[i : i + 500].astype("float64"), among) for i in range(0, len(of), 500)]
    )
    found = squared.argmin(axis=1)
    return found, np.sqrt(squared[np.arange(len(of)), found])


def measured(run, sources, seed):
    """Rows of the page by the name of the features, and samples with their nearest training images."""
    from keras_vaegan import metrics, presets
    from keras_vaegan.cli import options
    from keras_vaegan.data.views import in_floats

    model, metadata = presets.load_source(run)
    data = options.as_seen(
        options.load_data_for(model.image_shape, metadata, None, None), model.image_shape, metadata
    )
    (x_train, _), _, (x_test, y_test) = data
    x_train, x_test = in_floats(x_train[:]), in_floats(x_test[:])
    count = len(x_test)
    labels = None if model.num_classes is None else model.labels_of(y_test, x_test)
    made = model.reconstruct(x_test, labels)
    samples = model.generate(count, labels, seed=seed)
    others = x_train[np.random.default_rng(seed).permutation(len(x_train))[:count]]
    rows, shown = {}, None
    for name, source in sources.items():
        features = features_of(source)
        real, *found = (features(images) for images in (x_test, made, samples, others))
        distances = [float(metrics.frechet_distance(one, real)) for one in found]
        rows[name] = [*distances, distances[1] / distances[0]]
        if shown is None:
            train = features(x_train).astype("float64")
            index, far = nearest(found[1], train)
            _, far_of_real = nearest(real, train)
            shown = samples[:SHOWN], x_train[index[:SHOWN]]
            rows["nearest"] = [float(np.median(far) / np.median(far_of_real)), float(np.min(far))]
    return rows, shown, count, metadata


def page(run, rows, count, metadata):
    """The page as Markdown."""
    near, least = rows.pop("nearest")
    lines = [
        f"# Generated images of {run.name}",
        "",
        f"{count:,} test images, their reconstructions, and as many samples of the prior "
        f"`{metadata.get('prior')}`.",
        "",
        "| features | reconstructions | samples | training images (floor) | samples / reconstructions |",
        "|---|---|---|---|---|",
        *(f"| {name} | {' | '.join(f'{value:.3g}' for value in values)} |" for name, values in rows.items()),
        "",
        f"Samples lie {near:.2f} times as far from their nearest training image as test images do "
        f"(medians, `imagenet` features; the least distance of a sample is {least:.2f}).",
        "",
    ]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=pathlib.Path)
    parser.add_argument("--judge", type=pathlib.Path, help="classifier of benchmarks.judge")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=pathlib.Path, help="Markdown file to write")
    parser.add_argument("--picture", type=pathlib.Path, help="samples above their nearest training images")
    options = parser.parse_args()
    sources = {"imagenet": "imagenet"} | ({"judge": options.judge} if options.judge else {})
    rows, (samples, near), count, metadata = measured(options.run, sources, options.seed)
    text = page(options.run, rows, count, metadata)
    print(text)
    if options.output:
        options.output.write_text(text, encoding="utf-8")
    if options.picture:
        strips = [
            row[i : i + COLUMNS] for i in range(0, SHOWN, COLUMNS) for row in (samples, near) if len(row) > i
        ]
        own_images.picture(strips, 64).save(options.picture, quality=90)


if __name__ == "__main__":
    main()
