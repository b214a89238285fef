"""Image completion on MNIST: negative conditional log-likelihood with 1, 2 or 3 quadrants given.

    python benchmarks/completion.py --output runs/completion --seeds 0 1 2

Trains the recipe `completion_cvae_mnist` once for each row, on that row's mask alone (the row of two
quadrants with each of the seeds, the others with the first), and scores the test images, with 100 importance
samples; so it does the shipped model, which is trained on all masks. What is there already is not made again.
Writes `benchmarks/results/completion.md`.
"""

import argparse
import datetime
import json
import pathlib

import numpy as np
from command import add_data_options, command, data_arguments, train

from keras_vaegan.files import atomic_path, read_json

ROOT = pathlib.Path(__file__).parents[1]
PRESET = "completion_cvae_mnist"
ROWS = {1: "quadrants:1", 2: "quadrants:2", 3: "quadrants:3"}
SEVERAL = 2  # the row with all the seeds
# Negative conditional log-likelihood in nats, grey targets; 100 importance samples.
GOALS = {1: 62.0, 2: 43.0, 3: 19.5}
PUBLISHED = {"CVAE, negative bound (Pyro's tutorial)": (71.8, 51.0, 24.2)}


def main():
    """Train, score and tabulate."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--split", choices=("validation", "test"), default="test")
    parser.add_argument(
        "--num-images", type=int, default=10_000, help="images that are scored, drawn from all"
    )
    add_data_options(parser)
    options = parser.parse_args()

    found = {}
    for row, mask in ROWS.items():
        for seed in options.seeds if row == SEVERAL else options.seeds[:1]:
            settings = [f"--set=masks={json.dumps([mask])}"]
            folder = options.output / f"{mask.replace(':', '_')}_{seed}"
            train(folder, "--preset", PRESET, *settings, "--seed", seed, data=data_arguments(options))
            found[row, seed] = nats(folder, folder, options)[row]
    shipped = nats(PRESET, options.output, options)
    metadata = read_json(
        options.output / f"{ROWS[SEVERAL].replace(':', '_')}_{options.seeds[0]}/metadata.json"
    )
    text = "\n".join(table(found, shipped, metadata, options)) + "\n"
    if options.split == "test":
        with atomic_path(ROOT / "benchmarks" / "results" / "completion.md") as temporary:
            temporary.write_text(text, encoding="utf-8")
    print(text)


def nats(source, folder, options):
    """Score a model: `{quadrants given: (nats, standard error)}`; the file of it goes into the folder."""
    split, where = options.split, data_arguments(options)
    path = folder / ("evaluate.json" if split == "test" else f"{split}.json")
    if not path.is_file():
        evaluate = ["evaluate", source, "--metrics", "completion", "--split", split]
        evaluate += ["--likelihood-images", options.num_images, "--likelihood-samples", 100, "--output", path]
        command(*evaluate, *where)
    scores = {one["name"]: (one["value"], one["error"]) for one in read_json(path)["scores"]}
    names = {row: f"completion_{mask.replace(':', '_')}" for row, mask in ROWS.items()}
    return {row: scores[name] for row, name in names.items() if name in scores}


def table(found, shipped, metadata, options):
    """Lines of Markdown."""
    training = metadata["recipe"]["training"]
    yield from (
        "# Image completion on MNIST",
        "",
        f"Negative conditional log-likelihood in nats (grey targets under Bernoulli cross-entropy, hidden "
        f"pixels alone), {options.num_images:,} {options.split} images, 100 importance samples; standard "
        f"error in brackets; on {metadata['backend']}, 2 "
        f"cores, {datetime.date.today()}. {training['epochs']} epochs, batch {training['batch_size']}, no "
        f"early stopping; {metadata['seconds']:.0f} s for one model, beside other work.",
        "",
        f"    python benchmarks/completion.py --output runs/completion --num-images {options.num_images} "
        f"--seeds {' '.join(map(str, options.seeds))}",
        "",
        f"Recipe `{PRESET}`: {json.dumps(metadata['recipe']['networks'])}",
        "",
        "| | 1 quadrant given | 2 | 3 |",
        "|---|---|---|---|",
    )
    for seed in options.seeds:
        cells = [shown(found[row, seed]) if (row, seed) in found else "" for row in ROWS]
        yield f"| one model for each row, seed {seed} | {' | '.join(cells)} |"
    values = [found[SEVERAL, seed][0] for seed in options.seeds]
    if len(values) > 1:
        yield f"| mean ± sd over seeds | | {np.mean(values):.2f} ± {np.std(values, ddof=1):.2f} | |"
    cells = [shown(shipped[row]) for row in ROWS]
    yield f"| the shipped model, trained on all masks | {' | '.join(cells)} |"
    yield f"| asked for, at most | {' | '.join(f'{GOALS[row]:.1f}' for row in ROWS)} |"
    for name, values in PUBLISHED.items():
        yield f"| {name} | {' | '.join(map(str, values))} |"


def shown(score):
    """Value and standard error."""
    return f"{score[0]:.2f} ({score[1]:.2f})"


if __name__ == "__main__":
    main()
