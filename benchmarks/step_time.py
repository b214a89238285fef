"""Images per second of `fit` against the same training step written by hand, as a ratio.

    python -m benchmarks.step_time [--backend tensorflow] [--model vae_gan] [--output FILE]

For each backend, in a process of its own, `fit` and its rivals (`benchmarks/rivals`: the same
networks, losses, optimizers and logs, without Keras) train whole epochs in turn on the same
images. The figure is the median over the rounds of the ratio within a round, ours / theirs,
against the fastest rival: above 1 we are faster. Absolute speeds depend on the machine.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time

RIVALS = {
    "tensorflow": {"TensorFlow": {"xla": False}, "TensorFlow with XLA": {"xla": True}},
    "jax": {"JAX": {}},
    "torch": {"PyTorch": {}},
}
MODELS = ("vae", "vae_gan", "draw")
LATENT_DIM = 64
IMAGE_SHAPE = (28, 28, 1)


def ours(kind, batch_size):
    """A function that trains our model for an epoch on images, under stock `fit`."""
    import keras

    from benchmarks import rivals
    from keras_vaegan import DRAW, VAE, VAEGAN
    from keras_vaegan.networks import dcgan, draw

    rate, beta_1 = rivals.ADAM[kind]
    if kind == "draw":
        settings = {"units": rivals.UNITS, "glimpse": rivals.GLIMPSE}
        networks = [build(IMAGE_SHAPE, rivals.CODES, **settings) for build in (draw.encoder, draw.decoder)]
        model = DRAW(*networks, steps=rivals.STEPS, seed=0)
    else:
        networks = [dcgan.encoder(IMAGE_SHAPE, LATENT_DIM), dcgan.decoder(IMAGE_SHAPE, LATENT_DIM)]
        judge = [dcgan.discriminator(IMAGE_SHAPE)] if kind == "vae_gan" else []
        model = (VAEGAN if judge else VAE)(*networks, *judge, seed=0)
    model.compile({player: keras.optimizers.Adam(rate, beta_1) for player in model.players})
    return lambda images: model.fit(images, batch_size=batch_size, verbose=0)


def measure(backend, kind, batch_size, num_images, rounds):
    """Seconds of each round: `{"ours": [...], rival: [...]}`, after a first epoch that is not counted."""
    import importlib

    import numpy as np

    rival = importlib.import_module(f"benchmarks.rivals.{backend}_step")
    contestants = {"ours": ours(kind, batch_size)}
    for name, options in RIVALS[backend].items():
        contestants[name] = rival.make(kind, batch_size, seed=0, **options).run_epoch
    images = np.random.default_rng(0).random((num_images, *IMAGE_SHAPE), dtype="float32")
    seconds = {name: [] for name in contestants}
    for train in contestants.values():
        train(images)
    for _ in range(rounds):
        for name, train in contestants.items():
            start = time.perf_counter()
            train(images)
            seconds[name].append(time.perf_counter() - start)
    return seconds


def table(results, num_images):
    """The results as rows of Markdown."""
    lines = [
        "| model | backend | fit, images/s | rival | rival, images/s | ratio: median (least to most) |",
        "|---|---|---|---|---|---|",
    ]
    for (kind, backend), seconds in results.items():
        mine = seconds.pop("ours")
        fastest = min(seconds, key=lambda name: statistics.median(seconds[name]))
        for name, theirs in seconds.items():
            ratios = sorted(their / my for my, their in zip(mine, theirs, strict=True))
            mark = " (fastest)" if name == fastest and len(seconds) > 1 else ""
            lines.append(
                f"| {kind} | {backend} | {num_images / statistics.median(mine):.0f} | {name}{mark} "
                f"| {num_images / statistics.median(theirs):.0f} "
                f"| {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) |"
            )
    return lines


def main():
    """Measure what was asked for, each backend in a process of its own, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--backend", choices=RIVALS, nargs="+", default=list(RIVALS))
    parser.add_argument("--model", choices=MODELS, nargs="+", default=list(MODELS))
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--num-images", type=int, default=4096, help="images in an epoch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=pathlib.Path, help="Markdown file to write")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    settings = (options.batch_size, options.num_images, options.rounds)

    if options.child:
        print(json.dumps(measure(options.backend[0], options.model[0], *settings)))
        return
    results = {}
    for kind in options.model:
        for backend in options.backend:
            words = ["--child", "--backend", backend, "--model", kind, "--batch-size", str(settings[0])]
            words += ["--num-images", str(settings[1]), "--rounds", str(settings[2])]
            environment = os.environ | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
            command = [sys.executable, "-m", "benchmarks.step_time", *words]
            done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
            results[kind, backend] = json.loads(done.stdout.splitlines()[-1])
            print(f"{kind} on {backend}: measured", file=sys.stderr, flush=True)
    text = "\n".join(
        [
            "# Time of a training step",
            "",
            f"`python -m benchmarks.step_time`: batch {settings[0]}, {settings[1]} images of 28x28 an epoch, "
            f"{settings[2]} rounds, {os.cpu_count()} cores ({platform.machine()}), {datetime.date.today()}.",
            "",
            *table(results, options.num_images),
            "",
        ]
    )
    print(text)
    if options.output:
        options.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
