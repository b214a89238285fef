"""Semi-supervised MNIST: test error with few labels, of M2, M1+M2, and M2 with a GAN.

    python benchmarks/semi_supervised.py --output runs/semi_supervised --seeds 0 1 2

Trains every row at 600 and at 1,000 labels with each of the seeds, which draw the labels too, and scores
the test images once; the rows named with `--wide` are trained at 100 and 3,000 labels with the first seed as
well. A recipe's epochs are fixed; nothing is stopped early. What is there already is not made again. Writes
`benchmarks/results/semi_supervised.md`.
"""

import argparse
import datetime
import json
import pathlib

import numpy as np
from command import add_data_options, command, data_arguments

from keras_vaegan.files import atomic_path, read_json
from keras_vaegan.presets.recipes import RECIPES

ROOT = pathlib.Path(__file__).parents[1]
MAIN, WIDE = (600, 1000), (100, 3000)
# Row -> preset and settings; the rows of a hybrid are those of its three classifiers.
ROWS = {
    "M2, the paper's fully connected networks": ("paper_ssl_vae_mnist", []),
    "M2, the paper's convolutional networks": ("paper_convolutional_ssl_vae_mnist", []),
    "M2, our convolutional networks": ("ssl_vae_mnist", ["consistency=0"]),
    "M2 with virtual adversarial training": ("ssl_vae_mnist", []),
    "M1+M2": ("stacked_ssl_vae_mnist", []),
    "M2+GAN": ("ssl_vae_gan_mnist", []),
}
CLASSIFIERS = ("encoder", "discriminator", "ensemble")
# Test error in per cent at 600 and 1,000 labels.
PUBLISHED = {
    "Chen, Fang and Ju 2016, fully connected M2": (12.0, 5.1),
    "Chen, Fang and Ju 2016, convolutional M2": (6.2, 4.8),
    "Chen, Fang and Ju 2016, convolutional M2 + GAN": (9.2, 8.1),
    "Kingma et al. 2014, M2": (4.94, 3.60),
    "Kingma et al. 2014, M1+M2": (2.59, 2.40),
}
SCORED = ["--metrics", "classification", "--likelihood-images", 100]


def main():
    """Train, score and tabulate."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument(
        "--wide", nargs="*", choices=ROWS, default=[], help="rows at 100 and 3,000 labels too"
    )
    parser.add_argument("--split", choices=("validation", "test"), default="test")
    add_data_options(parser)
    options = parser.parse_args()

    found = {}
    for row in options.rows:
        for labels in (*MAIN, *(WIDE if row in options.wide else ())):
            for seed in options.seeds if labels in MAIN else options.seeds[:1]:
                found[row, labels, seed] = errors(row, labels, seed, options)
    text = "\n".join(table(found, options)) + "\n"
    if options.split == "test":
        with atomic_path(ROOT / "benchmarks" / "results" / "semi_supervised.md") as temporary:
            temporary.write_text(text, encoding="utf-8")
    print(text)


def folder_of(row, labels, seed, options):
    """Where a run is."""
    preset, settings = ROWS[row]
    name = "_".join([preset, *(setting.replace("=", "_") for setting in settings)])
    return options.output / f"{name}_{labels}_{seed}"


def errors(row, labels, seed, options):
    """Train a run and score it: `{classifier: error}` and the calibration, as shares of one."""
    preset, settings = ROWS[row]
    folder, where = folder_of(row, labels, seed, options), data_arguments(options)
    if not (folder / "samples.png").is_file():
        train = ["train", "--preset", preset, "--num-labels", labels, "--seed", seed, "--overwrite"]
        train += [f"--set={setting}" for setting in settings]
        command(*train, "--output", folder, *where)
    path = folder / ("evaluate.json" if options.split == "test" else f"{options.split}.json")
    if not path.is_file():
        command("evaluate", folder, "--split", options.split, *SCORED, "--output", path, *where)
    return {one["name"]: one["value"] for one in read_json(path)["scores"]}


def table(found, options):
    """Lines of Markdown."""
    yield from (
        "# Semi-supervised MNIST",
        "",
        f"Error on the {options.split} images in per cent, by number of labels, class-balanced, of the "
        f"55,000 training images; seeds {', '.join(map(str, options.seeds))} draw labels and weights. Images "
        "are not augmented. Epochs are the recipe's, fixed on a draw of labels that is not here; nothing is "
        f"stopped early. 2 cores, {datetime.date.today()}.",
        "",
        f"    python benchmarks/semi_supervised.py --seeds {' '.join(map(str, options.seeds))} "
        "--output runs/semi_supervised",
        "",
        "| | 100 | 600 | 1,000 | 3,000 | calibration error at 1,000, before | after | seconds | epochs |",
        "|---|---|---|---|---|---|---|---|---|",
    )
    for row in options.rows:
        yield from lines_of(row, found, options)
    for name, values in PUBLISHED.items():
        yield f"| {name} | | {values[0]:.2f} | {values[1]:.2f} | | | | | |"
    yield ""
    for row in options.rows:
        preset, settings = ROWS[row]
        recipe = RECIPES[preset]
        shown = {part: recipe[part] for part in ("model", "networks", "optimizer")}
        yield f"- {row}: `{preset}` {' '.join(settings)} {json.dumps(shown)}"


def lines_of(row, found, options):
    """The row, or those of its classifiers."""
    hybrid = any("ensemble_error" in scores for (name, *_), scores in found.items() if name == row)
    for classifier in CLASSIFIERS if hybrid else (None,):
        score = "classification_error" if classifier is None else f"{classifier}_error"
        cells = []
        for labels in sorted((*MAIN, *WIDE)):
            values = [
                100 * v[score] for (name, count, _), v in found.items() if (name, count) == (row, labels)
            ]
            cells.append(shown(values))
        of_run = [v for (name, count, _), v in found.items() if (name, count) == (row, 1000)]
        for name in ("calibration_error_before", "calibration_error"):
            chosen = classifier in (None, RECIPES[ROWS[row][0]]["model"].get("classifier"))
            cells.append(f"{np.mean([v[name] for v in of_run]):.4f}" if chosen else "")
        metadata = read_json(folder_of(row, 1000, options.seeds[0], options) / "metadata.json")
        cells += [f"{metadata['seconds']:.0f}", str(metadata["epochs_done"])]
        yield f"| {row if classifier is None else f'{row}, {classifier}'} | {' | '.join(cells)} |"


def shown(values):
    """Mean and standard deviation over the draws, and each of them."""
    if not values:
        return ""
    each = ", ".join(f"{value:.2f}" for value in values)
    if len(values) == 1:
        return each
    return f"{np.mean(values):.2f} ± {np.std(values, ddof=1):.2f} ({each})"


if __name__ == "__main__":
    main()
