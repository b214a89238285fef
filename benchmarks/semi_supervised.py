"""Semi-supervised MNIST: test error with few labels, of M2, M1+M2, and M2 with a GAN.

    python benchmarks/semi_supervised.py --output runs/semi_supervised --seeds 0 1 2

Trains every row at 600 and at 1,000 labels with each of the seeds, which draw the labels too, and scores
the test images once; the rows named with `--wide` are trained at 100 and 3,000 labels with the first seed as
well. A recipe's epochs are fixed; nothing is stopped early. Scores are kept in
`benchmarks/results/semi_supervised.json`: what is there already, of the recipe as it is, is not made again;
rows can be added in turn. Writes `benchmarks/results/semi_supervised.md`, of all rows that are there.
"""

import argparse
import datetime
import json
import pathlib

import numpy as np
from command import add_data_options, command, data_arguments, train

from keras_vaegan import presets
from keras_vaegan.files import atomic_path, read_json, write_json

RESULTS = pathlib.Path(__file__).parent / "results"
MAIN, WIDE = (600, 1000), (100, 3000)
# Row -> preset and settings; the rows of a hybrid are those of its three classifiers.
ROWS = {
    "M2, the paper's fully connected networks": ("paper_ssl_vae_mnist", {}),
    "M2, the paper's convolutional networks": ("paper_convolutional_ssl_vae_mnist", {}),
    "M2, our convolutional networks": ("ssl_vae_mnist", {"consistency": 0, "alpha": 10}),
    "M2 with virtual adversarial training": ("ssl_vae_mnist", {}),
    "M1+M2": ("stacked_ssl_vae_mnist", {}),
    "M2+GAN": ("ssl_vae_gan_mnist", {}),
    "M2+GAN, beta_1 of 0.5 in Adam": ("ssl_vae_gan_mnist", {"generator.beta_1": 0.5}),
    "M2+GAN, feature matching": ("ssl_vae_gan_mnist", {"game": "feature_matching", "three_players": False}),
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

    kept = (RESULTS if options.split == "test" else options.output) / "semi_supervised.json"
    for row in options.rows:
        recipe = {"recipe": recipe_of(row)}
        for labels in (*MAIN, *(WIDE if row in options.wide else ())):
            for seed in options.seeds if labels in MAIN else options.seeds[:1]:
                which = {"row": row, "labels": labels, "seed": seed}
                if not any((which | recipe).items() <= run.items() for run in runs_in(kept)):
                    run = which | recipe | scored(row, labels, seed, options)
                    others = runs_in(kept)  # read anew: another process may have added to it
                    write_json(kept, [*(one for one in others if not which.items() <= one.items()), run])
    found = runs_in(kept)
    text = "\n".join(table(found, options)) + "\n"
    if options.split == "test":
        with atomic_path(RESULTS / "semi_supervised.md") as temporary:
            temporary.write_text(text, encoding="utf-8")
    print(text)


def runs_in(path):
    """The runs that were scored before."""
    return read_json(path) if path.is_file() else []


def recipe_of(row):
    """What the row's models are and how they are trained, as one line."""
    preset, settings = ROWS[row]
    recipe = presets.recipe(preset)
    for option, value in settings.items():
        presets.override(recipe, option, value)
    told = {part: recipe[part] for part in ("model", "networks", "optimizer", "training")}
    return f"`{' '.join([preset, *arguments(settings)])}` {json.dumps(told)}"


def arguments(settings):
    """Changes to a recipe as the command line takes them."""
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in settings.items()}
    return [f"--set={name}={text}" for name, text in texts.items()]


def scored(row, labels, seed, options):
    """Train a run and score it: what it got, how long it took, when and by what."""
    preset, settings = ROWS[row]
    changes = (str(part) for change in settings.items() for part in change)
    name = "_".join([preset, *changes, str(labels), str(seed)])
    folder, where = options.output / name, data_arguments(options)
    chosen = ["--num-labels", labels, "--seed", seed, *arguments(settings)]
    train(folder, "--preset", preset, *chosen, data=where)
    path = folder / ("evaluate.json" if options.split == "test" else f"{options.split}.json")
    if not path.is_file():
        command("evaluate", folder, "--split", options.split, *SCORED, "--output", path, *where)
    metadata = read_json(folder / "metadata.json")
    return {
        "scores": {one["name"]: one["value"] for one in read_json(path)["scores"]},
        "seconds": metadata["seconds"],
        "epochs": metadata["epochs_done"],
        "backend": metadata["backend"],
        "date": str(datetime.date.today()),
    }


def table(found, options):
    """Lines of Markdown."""
    dates = sorted({run["date"] for run in found})
    yield from (
        "# Semi-supervised MNIST",
        "",
        f"Error on the {options.split} images in per cent, by number of labels, class-balanced, of the "
        f"55,000 training images; seeds {', '.join(map(str, options.seeds))} draw labels and weights; a "
        "number alone is of the first. Images are not augmented. Epochs are the recipe's, fixed on a draw of "
        "labels that is not here; nothing is stopped early. On "
        f"{', '.join(sorted({run['backend'] for run in found}))}, 2 cores, two or three runs at a time, "
        f"{' to '.join(sorted({dates[0], dates[-1]}))}; seconds are the median of the runs.",
        "",
        f"    python benchmarks/semi_supervised.py --seeds {' '.join(map(str, options.seeds))} "
        "--output runs/semi_supervised",
        "",
        "| | 100 | 600 | 1,000 | 3,000 | calibration error at 1,000, before | after | seconds | epochs |",
        "|---|---|---|---|---|---|---|---|---|",
    )
    for row in ROWS:
        of_row = [run for run in found if run["row"] == row]
        yield from lines_of(row, sorted(of_row, key=lambda run: run["seed"]))
    for name, values in PUBLISHED.items():
        yield f"| {name} | | {values[0]:.2f} | {values[1]:.2f} | | | | | |"
    yield ""
    for row in ROWS:
        recipes = {run["recipe"] for run in found if run["row"] == row}
        yield from (f"- {row}: {recipe}" for recipe in sorted(recipes))


def lines_of(row, runs):
    """The row, or those of its classifiers."""
    if not runs:
        return
    hybrid = any("ensemble_error" in run["scores"] for run in runs)
    for classifier in CLASSIFIERS if hybrid else (None,):
        score = "classification_error" if classifier is None else f"{classifier}_error"
        cells = []
        for labels in sorted((*MAIN, *WIDE)):
            cells.append(shown([100 * run["scores"][score] for run in runs if run["labels"] == labels]))
        chosen = classifier in (None, presets.RECIPES[ROWS[row][0]]["model"].get("classifier"))
        for name in ("calibration_error_before", "calibration_error"):
            values = [run["scores"][name] for run in runs if run["labels"] == 1000]
            cells.append(f"{np.mean(values):.4f}" if chosen and values else "")
        seconds = [run["seconds"] for run in runs if run["seconds"]]  # null: not known in full
        cells += [f"{np.median(seconds):.0f}", str(runs[0]["epochs"])]
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
