"""Score runs of several seeds on the test images, once, and write one table.

    python benchmarks/score_mnist.py --title "VAE and VAE/GAN on MNIST" --output benchmarks/results/FILE.md \
        "VAE=runs/vae_mnist_0,runs/vae_mnist_1" "VAE/GAN=runs/vae_gan_mnist_0,runs/vae_gan_mnist_1"

What `keras-vaegan evaluate RUN` wrote is read where it is there and made where it is not. The first model
is what the others are compared with.
"""

import argparse
import datetime
import json
import pathlib
import shlex
import sys

import numpy as np
from command import add_data_options, command, data_arguments

from keras_vaegan.files import atomic_path, read_json

GROUPS = "frechet,kernel,neighbours,diversity,sharpness,reconstruction,latent,likelihood"
CONDITIONAL = ",labels,synthetic,style"
NEAR = ("sharpness",)  # shown as a ratio to the real images
COLUMNS = {
    "frechet_distance": "Fréchet distance",
    "kernel_distance": "kernel distance x 1000",
    "precision": "precision",
    "recall": "recall",
    "coverage": "coverage",
    "sharpness": "sharpness, ratio to real",
    "log_likelihood": "log p(x) bound, nats",
    "label_agreement": "label agreement",
    "spread_within_classes": "spread within classes",
    "coverage_within_classes": "coverage within classes",
    "accuracy_on_real": "accuracy on real images of a classifier of the samples",
    "style_agreement": "style transfer: label agreement",
    "style_slant_kept": "style transfer: correlation of slants",
    "style_stroke_width_kept": "style transfer: correlation of stroke widths",
}
BY_CLASS = (
    "label_agreement",
    "spread_within_classes",
    "coverage_within_classes",
    "style_agreement",
    "style_slant_kept",
    "style_stroke_width_kept",
)


def main():
    """Score all runs and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("models", nargs="+", metavar="NAME=RUN,RUN")
    parser.add_argument("--title", required=True)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    add_data_options(parser)
    options = parser.parse_args()

    where = data_arguments(options)
    models = {}
    for given in options.models:
        name, _, folders = given.partition("=")
        models[name] = [scored(pathlib.Path(folder), where) for folder in folders.split(",")]
    with atomic_path(options.output) as temporary:
        temporary.write_text("\n".join(table(options.title, models)) + "\n", encoding="utf-8")
    print(options.output.read_text(encoding="utf-8"))


def scored(folder, where):
    """The scores of a run, its metadata beside them."""
    metadata, path = read_json(folder / "metadata.json"), folder / "evaluate.json"
    if not path.is_file():
        groups = GROUPS
        if "labels" in metadata["recipe"]["networks"].get("condition", ()):
            groups += CONDITIONAL
        command("evaluate", folder, "--metrics", groups, *where)
    return metadata, read_json(path)


def value_of(one):
    """The number that a table shows of a score; NaN where it is none."""
    if one["value"] is None:
        return np.nan
    if one["name"] in NEAR:
        return one["value"] / one["reference"]
    return one["value"] * (1000 if one["name"] == "kernel_distance" else 1)


def table(title, models):
    """Lines of Markdown."""
    metadata, first = next(iter(models.values()))[0]
    extractors = [features["extractor"] for features in first["features"]]
    digests = ", ".join(f"`{f['extractor']}` {f['digest']}" for f in first["features"])
    training, samples = metadata["recipe"]["training"], first["samples"]
    yield from (
        f"# {title}",
        "",
        f"{training['epochs']} epochs of {training['dataset']}, batch {training['batch_size']}; "
        f"{samples['num_images']:,} samples (seed {samples['seed']}) against the "
        f"{first['data']['num_images']:,} test images, which no choice was made by; on "
        f"{metadata['backend']}, 2 cores, {datetime.date.today()}. Features: {digests}. The floor is that "
        f"of {samples['floor_images']:,} real training images; of sharpness and the like, real images. The "
        f"bound on log p(x) is of {first['likelihood']['num_images']:,} test images, "
        f"{first['likelihood']['num_samples']} codes each.",
        "",
        f"    python {shlex.join(sys.argv)}",
        "",
    )
    for name, runs in models.items():
        recipe = runs[0][0]["recipe"]
        yield f"- {name}: {json.dumps({part: recipe[part] for part in ('model', 'networks', 'optimizer')})}"
    means = {}
    for extractor in extractors:
        names = [
            column
            for column in COLUMNS
            if any(
                one["name"] == column and one["features"] in (None, extractor)
                for runs in models.values()
                for one in runs[0][1]["scores"]
            )
        ]
        yield from ("", f"## In the features of `{extractor}`", "")
        yield "| model | seed | " + " | ".join(COLUMNS[name] for name in names) + " |"
        yield "|---" * (len(names) + 2) + "|"
        references = {}
        for model, runs in models.items():
            rows = []
            for about, result in runs:
                found = {one["name"]: one for one in result["scores"] if one["features"] in (None, extractor)}
                rows.append([value_of(found[name]) if name in found else np.nan for name in names])
                cells = [
                    shown(value) + worst(found.get(name)) for name, value in zip(names, rows[-1], strict=True)
                ]
                yield f"| {model} | {about['seed']} | " + " | ".join(cells) + " |"
                references |= {name: one for name, one in found.items() if one["reference"] is not None}
            means[model, extractor] = dict(zip(names, np.mean(rows, axis=0), strict=True))
            if len(rows) > 1:
                spread = np.std(rows, axis=0, ddof=1)
                cells = [
                    f"{shown(m)} ± {shown(s)}" for m, s in zip(np.mean(rows, axis=0), spread, strict=True)
                ]
                yield f"| {model} | mean ± sd | " + " | ".join(cells) + " |"
        cells = [
            "1"
            if name in NEAR
            else shown(value_of(references[name] | {"value": references[name]["reference"]}))
            if name in references
            else ""
            for name in names
        ]
        yield "| floor, or real images | | " + " | ".join(cells) + " |"
    yield ""
    baseline, *others = models
    for model in others:
        ratios = [
            f"{means[model, e]['frechet_distance'] / means[baseline, e]['frechet_distance']:.2f} (`{e}`)"
            for e in extractors
        ]
        yield f"Fréchet distance of {model} over that of {baseline}, means: {', '.join(ratios)}."
    if any(one["name"] in BY_CLASS for one in first["scores"]):
        yield "In brackets the worst class."


def shown(value):
    """A number with three or four digits."""
    return "" if not np.isfinite(value) else f"{value:.4g}" if abs(value) < 1 else f"{value:.1f}"


def worst(one):
    """The worst class of a score that has classes."""
    if one is None or one["name"] not in BY_CLASS:
        return ""
    known = {name: value for name, value in one["details"].items() if value is not None}
    if not known:
        return ""
    name = min(known, key=known.__getitem__)
    return f" [{name}: {known[name]:.3f}]"


if __name__ == "__main__":
    main()
