"""The same autoencoder with spatial latent codes, trained with L1 alone and with perceptual loss and game.

    python -m benchmarks.worth_of_gan train FOLDER --name fruits --finer --steps 3000 --work WORK
    python -m benchmarks.worth_of_gan page WORK --shown fruits \\
        --output benchmarks/results/worth_of_gan.md --picture docs/images/worth_of_gan.png

Both variants have the networks, the optimizer, the steps and the first weights of the recipe for large images
(`presets.RecipeChoice("vae_gan")`). `alone` is a VAE that minimizes L1 and the KL with the weight of the
recipe. `game` is the VAE/GAN of the recipe. Scores are those of the reconstructions of validation images,
held out at random, and of test images: PSNR, SSIM, and distances in two networks. The `judge` took no part
in the training (`benchmarks.judge`): `judge` is the distance between each image and its reconstruction, and
`frechet` that of all reconstructions to all images, as "rFID" has it with another network. `imagenet` is the
network of the perceptual loss itself.

Each run adds a line to WORK/results.jsonl as it ends; runs that are there are not repeated. Each run measures
the PSNR of 128 validation images every 50 steps, which shows what the discriminator's start does.
"""

import argparse
import copy
import json
import pathlib

import numpy as np

from benchmarks import command

SEEDS = (0, 1, 2)
VARIANTS = ("alone", "game")
WATCHED, EVERY = 128, 50  # images and steps of the curve
SHOWN, ZOOM = 6, 4
SPLITS = ("validation", "test")
SCORES = {"psnr": "PSNR", "ssim": "SSIM", "judge": "judge", "frechet": "frechet", "imagenet": "imagenet"}


def recipe_of(variant, recipe):
    """The recipe of a variant; both begin with the same encoder and decoder."""
    if variant == "game":
        return recipe
    alone = copy.deepcopy(recipe)
    losses = {"pixels": 0.0, "l1": recipe["model"]["reconstruction"]["l1"]}
    alone["model"] = {"key": "vae", "beta": recipe["model"]["beta"], "reconstruction": losses}
    alone["networks"].pop("discriminator")
    alone["optimizer"].pop("discriminator")
    return alone


def train(options):
    """Train the variants that WORK has no result of."""
    import keras

    import keras_vaegan as kvg
    from benchmarks import judge
    from keras_vaegan import presets
    from keras_vaegan.data.views import in_floats

    data = kvg.data.load(options.dataset)
    image_shape = data.image_shape
    network, known = judge.of_dataset(options.dataset, data, options.work, options.name, options.finer)
    own = [(name, json.loads(value)) for name, value in (one.split("=", 1) for one in options.set)]
    changes = [("family", "resnet"), ("training.steps", options.steps), *own]
    recipe = presets.RecipeChoice("vae_gan", str(options.dataset), changes).for_images(
        image_shape, len(data.train[0])
    )
    for seed in options.seeds:
        for variant in VARIANTS:
            run = {"data": options.name, "steps": options.steps, "seed": seed, "variant": variant}
            if any(run.items() <= done.items() for done in results(options.work)):
                continue
            keras.utils.set_random_seed(seed)
            model = presets.build(recipe_of(variant, recipe), image_shape, seed=seed)
            curve, seconds = fit(model, data, recipe["training"], seed)
            found = {"judge": known, "recipe": recipe, "curve": curve, "seconds": seconds}
            for split in SPLITS:
                found[split] = scores(model, in_floats(getattr(data, split)[0][:]), network)
            model.save_weights(options.work / weights_of(run))
            command.add_line(options.work / "results.jsonl", run | found)
            print(run, found["validation"], found["test"], f"{seconds:.0f} s", flush=True)


def fit(model, data, training, seed):
    """Train a model; the PSNR of some validation images along the way, and the seconds that it took."""
    import time

    import keras

    from keras_vaegan.data.batches import Batches
    from keras_vaegan.data.views import in_floats
    from keras_vaegan.metrics import peak_signal_to_noise_ratio

    x = in_floats(data.validation[0][:WATCHED])
    curve = []

    class Watch(keras.callbacks.Callback):
        done = 0

        def on_train_batch_end(self, batch, logs=None):
            self.done += 1
            if self.done % EVERY == 0:
                psnr = np.mean(peak_signal_to_noise_ratio(x, model.reconstruct(x)))
                curve.append((self.done, float(psnr)))

    batches = Batches(
        data.train[0], None, training["batch_size"], seed=seed, steps_per_epoch=training["steps"]
    )
    begun = time.process_time()
    history = model.fit(batches, shuffle=False, verbose=0, callbacks=[Watch()]).history
    assert all(np.isfinite(values).all() for values in history.values())
    return curve, time.process_time() - begun


def scores(model, x, network):
    """Means over images of PSNR, SSIM and the distances in the judge and in the perceptual network."""
    from benchmarks import judge
    from keras_vaegan import metrics
    from keras_vaegan.metrics.reconstruction import reconstruction_distance
    from keras_vaegan.perceptual import IMAGENET, FeatureDistance

    made = model.reconstruct(x)
    of_imagenet = FeatureDistance(IMAGENET, None, x.shape[1:])
    return {
        "psnr": float(np.mean(metrics.peak_signal_to_noise_ratio(x, made))),
        "ssim": float(np.mean(metrics.structural_similarity(x, made))),
        "judge": float(np.mean(reconstruction_distance(x, made, judge.distance(network)))),
        "frechet": float(judge.frechet(network, x, made)),
        "imagenet": float(np.mean(reconstruction_distance(x, made, of_imagenet))),
    }


def results(work):
    """The runs that have ended."""
    return command.read_lines(work / "results.jsonl")


# ---- the page ----


def page(options):
    """Write the table, the picture and the curve."""
    runs = [rescored(options, run) for run in results(options.work)]
    text = "\n".join([*table(runs), "", *starts(runs), ""])
    options.output.write_text(text, encoding="utf-8")
    print(text)
    picture(options).save(options.picture, quality=88)
    plot([run for run in runs if run["variant"] == "game"], options.curve)


def rescored(options, run):
    """A run with all scores; those that a run of an older script lacks are computed from its weights."""
    import keras

    import keras_vaegan as kvg
    from keras_vaegan import presets
    from keras_vaegan.data.views import in_floats

    if all(set(SCORES) <= set(run[split]) for split in SPLITS):
        return run
    data = kvg.data.load(run["recipe"]["training"]["dataset"])
    model = presets.build(recipe_of(run["variant"], run["recipe"]), data.image_shape, seed=run["seed"])
    model.load_weights(options.work / weights_of(run))
    network = keras.saving.load_model(options.work / f"{run['data']}_judge.keras", compile=False)
    found = {split: scores(model, in_floats(getattr(data, split)[0][:]), network) for split in SPLITS}
    print(run["data"], run["seed"], run["variant"], found, flush=True)
    return run | found


def starts(runs):
    """Rows of Markdown: the PSNR around the discriminator's start, of each run with a game."""
    lines = [
        "| data | seed | the generator plays from step | PSNR before | least in 1,000 steps | at the end |",
        "|---" * 6 + "|",
    ]
    for run in (run for run in runs if run["variant"] == "game"):
        game, curve = run["recipe"]["model"]["game"], run["curve"]
        start = game["start"] + game["warm_up"]
        before = [psnr for step, psnr in curve if step <= start][-1]
        after = min(psnr for step, psnr in curve if start < step <= start + 1000)
        row = [run["data"], run["seed"], start, f"{before:.2f}", f"{after:.2f}", f"{curve[-1][1]:.2f}"]
        lines.append(f"| {' | '.join(map(str, row))} |")
    return lines


def plot(runs, path):
    """The PSNR of validation images along each training, and where the game begins."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    sets = list(dict.fromkeys(run["data"] for run in runs))
    figure, axes = pyplot.subplots(1, len(sets), figsize=(5 * len(sets), 3.2), squeeze=False)
    for axis, name in zip(axes[0], sets, strict=True):
        for run in (run for run in runs if run["data"] == name):
            axis.plot(*zip(*run["curve"], strict=True), label=f"seed {run['seed']}")
            game = run["recipe"]["model"]["game"]
        axis.axvspan(game["start"], game["start"] + game["warm_up"], alpha=0.3, label="D alone")
        axis.set(title=name, xlabel="step", ylabel="PSNR in dB")
        axis.grid(alpha=0.3)
        axis.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def picture(options):
    """Rows of test images and of the reconstructions of both variants, each pixel as ZOOM x ZOOM."""
    import keras_vaegan as kvg
    from benchmarks import own_images
    from keras_vaegan import presets

    rows = []
    for run in results(options.work):
        if run["data"] not in options.shown or run["seed"] != min(SEEDS):
            continue
        dataset = run["recipe"]["training"]["dataset"]
        x = own_images.a_few(kvg.data.load(dataset).test[0], SHOWN)
        model = presets.build(recipe_of(run["variant"], run["recipe"]), x.shape[1:], seed=run["seed"])
        model.load_weights(options.work / weights_of(run))
        rows += [model.reconstruct(x)] if rows else [x, model.reconstruct(x)]
    return own_images.picture(rows, ZOOM * rows[0].shape[1])


def weights_of(run):
    """Name of the file with the weights of a run."""
    return f"{run['data']}_{run['steps']}_{run['seed']}_{run['variant']}.weights.h5"


def table(runs):
    """Rows of Markdown: each run, and the change that the game makes in the mean over seeds."""
    names = list(SCORES)
    heads = " | ".join(SCORES.values())
    lines = [
        f"| data | variant | seed | {heads} | test: {heads} |",
        "|---" * (3 + 2 * len(names)) + "|",
    ]

    def cells(values):
        return [f"{values['psnr']:.2f}", *(f"{values[one]:.3g}" for one in names[1:])]

    for run in runs:
        row = [run["data"], run["variant"], str(run["seed"]), *cells(run["validation"]), *cells(run["test"])]
        lines.append(f"| {' | '.join(row)} |")
    for data in dict.fromkeys(run["data"] for run in runs):
        row = [data, "change", "mean"]
        for split in SPLITS:
            means = [
                {
                    name: np.mean([run[split][name] for run in runs if (run["data"], run["variant"]) == key])
                    for name in names
                }
                for key in ((data, variant) for variant in VARIANTS)
            ]
            difference = {name: means[1][name] - means[0][name] for name in names}
            row += [f"{difference['psnr']:+.2f}", f"{difference['ssim']:+.3f}"]
            row += [f"{100 * difference[name] / means[0][name]:+.0f} %" for name in names[2:]]
        lines.append(f"| {' | '.join(row)} |")
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("train")
    one.add_argument("dataset", type=pathlib.Path)
    one.add_argument("--name", required=True, help="of the dataset, in results")
    one.add_argument("--finer", action="store_true", help="let the judge learn what the files' names tell")
    one.add_argument("--steps", type=int, default=3000)
    one.add_argument("--seeds", type=int, nargs="*", default=SEEDS)
    one.add_argument("--work", type=pathlib.Path, required=True, help="folder of the results")
    one.add_argument("--set", nargs="*", default=[], help="KEY=VALUE, changes of the recipe")
    one.set_defaults(run=train)
    two = commands.add_parser("page")
    two.add_argument("work", type=pathlib.Path)
    two.add_argument("--shown", nargs="*", default=[], help="datasets whose images may be published")
    two.add_argument("--output", type=pathlib.Path, required=True, help="Markdown file to write")
    two.add_argument("--picture", type=pathlib.Path, required=True, help="picture to write")
    two.add_argument("--curve", type=pathlib.Path, required=True, help="picture of the curves to write")
    two.set_defaults(run=page)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
