"""The trainings that `keras-vaegan train --model KEY` does without a data set: time, and what comes of them.

    python -m benchmarks.short_trainings --work WORK --output benchmarks/results/short_trainings.md

Each command runs as a user would type it, from random weights, on `mnist_small`. The script notes the seconds
from the start of the process to its end, and to the first line about a step, and the processor time. Then it
scores samples: the share that `mnist_reject` recognizes as a digit, the share of the class asked for, and the
Fréchet distance to the 1,000 test images of the data set, in features of `mnist_residual`. Classifiers of
digits give their error on the test images. Commands that WORK has a result of are not repeated.
"""

import argparse
import datetime
import pathlib
import resource
import subprocess
import sys
import time

import numpy as np

from benchmarks import command
from keras_vaegan.files import atomic_path
from keras_vaegan.presets.recipes import MODEL_KEYS

SAMPLES = 2000
SEEDS = (0, 1, 2)
COLUMNS = {
    "seconds": "seconds",
    "first_line": "to the first step's line",
    "processor": "processor seconds",
    "recognized": "recognized",
    "agreement": "of the class asked for",
    "frechet": "Fréchet distance",
    "error": "test error",
}


def trained(key, seed, folder):
    """Run the command; seconds in all and to the first line about a step, and processor seconds."""
    begun, before, first = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN), None
    words = [
        "train",
        "--model",
        key,
        "--seed",
        str(seed),
        "--output",
        folder,
        "--overwrite",
        "--verbose",
        "2",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "keras_vaegan", *map(str, words)], stdout=subprocess.PIPE, text=True
    )
    for line in process.stdout:
        if first is None and " a step" in line:
            first = time.monotonic() - begun
    if process.wait():
        raise SystemExit(f"{key}: exit code {process.returncode}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = sum(getattr(after, name) - getattr(before, name) for name in ("ru_utime", "ru_stime"))
    return {"seconds": time.monotonic() - begun, "first_line": first, "processor": processor}


def scored(folder, seed):
    """What the model of a run gives."""
    from keras_vaegan import data, metrics
    from keras_vaegan.presets import load_source

    model, _ = load_source(folder)
    *_, (x, y) = data.load("mnist_small")
    found, labels = {}, None
    if model.num_classes is not None:
        labels = np.arange(SAMPLES) % model.num_classes
    if model.classifiers:
        found["error"] = float(np.mean(model.classify(x).argmax(axis=-1) != y))
    if model.completes:
        return found
    samples = model.generate(SAMPLES, labels=labels, seed=seed)
    features = metrics.extractor("mnist_residual")
    of_samples, of_images = features.extract(samples), features.extract(x)
    recognizer = metrics.recognizer()
    found["recognized"] = metrics.recognized_share(recognizer.extract(samples).probabilities)
    found["frechet"] = float(metrics.frechet_distance(of_images.features, of_samples.features))
    if labels is not None:
        found["agreement"] = float(np.mean(of_samples.probabilities.argmax(axis=-1) == labels))
    return found


def page(runs):
    """The table, as lines of Markdown."""
    lines = [
        "# What the trainings on `mnist_small` give",
        "",
        "`keras-vaegan train --model MODEL`, from random weights, on TensorFlow and two processor cores; "
        f"{SAMPLES:,} samples; {datetime.date.today()}. Times depend on the machine.",
        "",
        "    python -m benchmarks.short_trainings --work WORK --output PAGE",
        "",
        f"| model | seed | {' | '.join(COLUMNS.values())} |",
        "|---" * (2 + len(COLUMNS)) + "|",
    ]
    for run in runs:
        cells = [f"{run[name]:.3g}" if run.get(name) is not None else "" for name in COLUMNS]
        lines.append(f"| `{run['model']}` | {run['seed']} | {' | '.join(cells)} |")
    return [*lines, ""]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--models", nargs="+", choices=MODEL_KEYS, default=list(MODEL_KEYS))
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--work", type=pathlib.Path, required=True, help="folder of the runs and results")
    parser.add_argument("--output", type=pathlib.Path, required=True, help="Markdown file to write")
    options = parser.parse_args()
    lines = options.work / "results.jsonl"
    for seed in options.seeds:
        for key in options.models:
            run = {"model": key, "seed": seed}
            if not any(run.items() <= done.items() for done in command.read_lines(lines)):
                folder = options.work / f"{key}_{seed}"
                run |= trained(key, seed, folder)
                run |= scored(folder, seed)
                command.add_line(lines, run)
                print(run, flush=True)
            with atomic_path(options.output) as temporary:
                temporary.write_text("\n".join(page(command.read_lines(lines))), encoding="utf-8")


if __name__ == "__main__":
    main()
