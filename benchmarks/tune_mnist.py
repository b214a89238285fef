"""Tune the model that a hybrid is compared with: beta and learning rate, on the validation images.

    python benchmarks/selection_classifier.py runs/selection.keras
    python benchmarks/tune_mnist.py vae runs/selection.keras --output runs/tuning

Every run trains the networks, epochs and batch of the recipe `vae_mnist` (or `cvae_mnist`); each is scored
by its Fréchet distance to the validation images in the features of the selection classifier. What is trained
already is not trained again. Writes `benchmarks/results/tuning_vae_mnist.md`.
"""

import argparse
import datetime
import itertools
import json
import os
import pathlib
from concurrent.futures import ThreadPoolExecutor

from command import add_data_options, command, data_arguments, train

from keras_vaegan.files import atomic_path
from keras_vaegan.presets.recipes import RECIPES

ROOT = pathlib.Path(__file__).parents[1]
BETAS, RATES = (1.0, 2.0, 4.0), (1e-3, 2e-3)
GROUPS = {"vae": "frechet,neighbours,sharpness", "cvae": "frechet,neighbours,sharpness,labels"}


def main():
    """Train, score and tabulate."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("model", choices=GROUPS)
    parser.add_argument("classifier", type=pathlib.Path)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, each on one core")
    add_data_options(parser)
    options = parser.parse_args()

    where = data_arguments(options)

    def scored(settings):
        beta, rate = settings
        folder = options.output / f"{options.model}_beta_{beta:g}_rate_{rate:g}"
        chosen = ["--set", f"beta={beta}", "--learning-rate", rate]
        train(folder, "--model", options.model, "--dataset", "mnist", *chosen, data=where, run=on_one_core)
        if not (folder / "validation.json").is_file():
            on_one_core(
                "evaluate",
                folder,
                "--split",
                "validation",
                "--features",
                options.classifier,
                "--metrics",
                GROUPS[options.model],
                "--output",
                folder / "validation.json",
                *where,
            )
        result = json.loads((folder / "validation.json").read_text(encoding="utf-8"))
        return beta, rate, {one["name"]: one for one in result["scores"]}

    with ThreadPoolExecutor(options.jobs) as pool:
        rows = sorted(
            pool.map(scored, itertools.product(BETAS, RATES)),
            key=lambda row: row[2]["frechet_distance"]["value"],
        )
    write(options.model, rows)


def on_one_core(*arguments):
    """Run a command of keras-vaegan on one core."""
    threads = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
    command(*arguments, env=os.environ | threads)


def write(model, rows):
    """Write the table, the best run first."""
    training = RECIPES[f"{model}_mnist"]["training"]
    floor = rows[0][2]["frechet_distance"]["reference"]
    lines = [
        f"# Tuning of the {model.upper()} on MNIST",
        "",
        f"Networks, epochs ({training['epochs']}) and batch ({training['batch_size']}) of the recipe "
        f"`{model}_mnist`, seed 0; {datetime.date.today()}.",
        "",
        "    python benchmarks/selection_classifier.py runs/selection.keras",
        f"    python benchmarks/tune_mnist.py {model} runs/selection.keras --output runs/tuning",
        "",
        "5,000 samples against the 5,000 validation images, in the features of the selection classifier, "
        f"which takes part in nothing else; floor of the Fréchet distance {floor:.2f}.",
        "",
        "| beta | learning rate | Fréchet distance | precision | coverage | sharpness, ratio to real |"
        + (" label agreement |" if model == "cvae" else ""),
        "|---" * (7 if model == "cvae" else 6) + "|",
    ]
    for beta, rate, scores in rows:
        sharpness = scores["sharpness"]["value"] / scores["sharpness"]["reference"]
        distance, precision, coverage = (
            scores[name]["value"] for name in ("frechet_distance", "precision", "coverage")
        )
        lines.append(
            f"| {beta:g} | {rate:g} | {distance:.1f} | {precision:.3f} | {coverage:.3f} | {sharpness:.2f} |"
            + (f" {scores['label_agreement']['value']:.4f} |" if model == "cvae" else "")
        )
    with atomic_path(ROOT / "benchmarks" / "results" / f"tuning_{model}_mnist.md") as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
