"""What a training step costs as the work grows, and whether generating more needs more memory.

    python -m benchmarks.scaling [--backend tensorflow] [--axes "image size" ...]

Every point is measured in a process of its own, on one core, in processor time: the time for an image,
median of some calls of `fit`, and the most memory that the process had. The exponent is the slope of the line
through the logarithms: 1 is proportional, 0 does not depend. Writes `benchmarks/results/scaling.md` and
`docs/images/scaling.png`.
"""

import argparse
import datetime
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

import numpy as np

from benchmarks.step_time import ONE_THREAD

ROOT = pathlib.Path(__file__).parents[1]
LATENT_DIM, BATCH = 16, 64
AXES = {
    "image size": (28, 32, 64, 128),
    "batch": (32, 64, 128, 256, 512, 1024),
    "latent size": (8, 32, 128, 512),
    "steps of DRAW": (4, 8, 16, 32, 64),
    "classes of M2": (2, 5, 10, 20, 50),
}
GENERATED = (10_000, 30_000, 100_000)
CALLS, LEAST_SECONDS = 3, 1.0


def make(axis, value):
    """A compiled model, its batch size, and images and labels for one batch."""
    import keras_vaegan as kvg
    from keras_vaegan.networks import dcgan, draw, heads, mlp

    size = value if axis == "image size" else 28
    batch = value if axis == "batch" else BATCH
    latent_dim = value if axis == "latent size" else LATENT_DIM
    shape, rng = (size, size, 1), np.random.default_rng(0)
    data = [rng.random((batch, *shape), dtype="float32")]
    if axis == "steps of DRAW":
        settings = {"units": 128, "glimpse": 5}
        parts = [build(shape, 10, **settings) for build in (draw.encoder, draw.decoder)]
        model = kvg.DRAW(*parts, steps=value, seed=0)
    elif axis == "classes of M2":
        trunk = dcgan.trunk(shape)
        features = trunk.output_shape[1]
        model = kvg.SemiSupervisedVAE(
            trunk,
            heads.encoder_head(features, latent_dim, value),
            heads.class_head(features, value),
            mlp.decoder(shape, latent_dim, num_classes=value),
            seed=0,
        )
        data.append(np.where(np.arange(batch) < value, np.arange(batch), -1))
    else:
        parts = [dcgan.encoder(shape, latent_dim), dcgan.decoder(shape, latent_dim)]
        model = kvg.VAEGAN(*parts, dcgan.discriminator(shape), seed=0)
    model.compile()
    return model, batch, data


def measure(axis, value):
    """Seconds of processor time for an image, and the most memory in MB."""
    import resource
    import time

    import keras

    if keras.backend.backend() == "torch":
        import torch

        torch.set_num_threads(1)
    model, batch, data = make(axis, value)

    def train(steps):
        repeated = [np.concatenate([array] * steps) for array in data]
        start = time.process_time()
        model.fit(*repeated, batch_size=batch, shuffle=False, verbose=0)
        return time.process_time() - start

    train(2)  # compiles
    steps = max(2, round(2 * LEAST_SECONDS / max(train(2), 1e-3)))
    seconds = statistics.median(train(steps) for _ in range(CALLS)) / (steps * batch)
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def generated(count, environment):
    """Seconds of processor time for an image, and the most memory in MB, of `generate` in parts."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["generate", "vae_gan_mnist", "--num-images", str(count), "--output", f"{folder}/parts/"]
        process = subprocess.Popen(
            [sys.executable, "-m", "keras_vaegan", *words],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        _, code, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(code)
        if process.returncode:
            raise SystemExit(f"generate ended with exit code {process.returncode}")
    return (used.ru_utime + used.ru_stime) / count, used.ru_maxrss / 1024


def exponent(values, costs):
    """Slope of the line through the logarithms."""
    return float(np.polyfit(np.log(values), np.log(costs), 1)[0])


def main():
    """Measure each point in a process of its own; write the table and the plot."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--backend", choices=("tensorflow", "jax", "torch"), default="tensorflow")
    names = [*AXES, "images generated"]
    parser.add_argument("--axes", nargs="+", choices=names, default=names)
    parser.add_argument("--output", type=pathlib.Path, default=ROOT / "benchmarks/results/scaling.md")
    parser.add_argument("--picture", type=pathlib.Path, default=ROOT / "docs/images/scaling.png")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        axis, value = options.child
        print(json.dumps(measure(axis, int(value))))
        return

    environment = os.environ | ONE_THREAD | {"KERAS_BACKEND": options.backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    results = {}
    for axis in options.axes:
        points = []
        for value in AXES.get(axis, GENERATED):
            if axis == "images generated":
                points.append((value, *generated(value, environment)))
            else:
                command = [sys.executable, "-m", "benchmarks.scaling", "--child", axis, str(value)]
                done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
                points.append((value, *json.loads(done.stdout.splitlines()[-1])))
            print(f"{axis} {value}: {1000 * points[-1][1]:.3f} ms, {points[-1][2]:.0f} MB", flush=True)
        results[axis] = points
    options.output.write_text("\n".join(table(results, options.backend)) + "\n", encoding="utf-8")
    draw_plot(results, options.picture)
    print(f"look at {options.output} and {options.picture}")


def table(results, backend):
    """Lines of Markdown."""
    yield from (
        "# Cost as work grows",
        "",
        "Processor time for an image of a training step, and the most memory of the process, on one core, "
        f"{backend}, {datetime.date.today()}. VAE/GAN of DCGAN networks at 28x28, batch {BATCH}, "
        f"{LATENT_DIM} codes, where nothing else is said; DRAW with attention, 128 units; M2 with a "
        "convolutional trunk. The exponent is the slope in logarithms of the time for an image; for the "
        "batch, of that for a step, and for images generated, of that for all.",
        "",
        "    python -m benchmarks.scaling",
        "",
        "![cost](../../docs/images/scaling.png)",
        "",
        "| as this grows | ms for an image | MB | exponent of time | of memory |",
        "|---|---|---|---|---|",
    )
    for axis, points in results.items():
        values, seconds, memory = map(np.array, zip(*points, strict=True))
        work = seconds * values if axis in ("batch", "images generated") else seconds
        yield (
            f"| {axis}: {', '.join(f'{value:,}' for value in values)} "
            f"| {', '.join(f'{1000 * second:.3g}' for second in seconds)} "
            f"| {', '.join(f'{one:.0f}' for one in memory)} "
            f"| {exponent(values, work):.2f} | {exponent(values, memory):.2f} |"
        )


def draw_plot(results, path):
    """Time for an image, and memory, against each axis."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator

    figure = Figure(figsize=(3 * len(results), 5), layout="constrained")
    axes = figure.subplots(2, len(results), squeeze=False)
    for column, (axis, points) in enumerate(results.items()):
        values, seconds, memory = map(np.array, zip(*points, strict=True))
        axes[0, column].loglog(values, 1000 * seconds, "o-")
        axes[1, column].semilogx(values, memory, "o-", color="tab:orange")
        axes[1, column].set_ylim(0, 1.1 * memory.max())
        axes[1, column].set_xlabel(axis)
        axes[0, column].yaxis.set_major_formatter("{x:g}")
        axes[0, column].yaxis.set_minor_formatter("{x:g}")
        for row in (0, 1):
            axes[row, column].set_xticks(values, [f"{value:,}" for value in values], fontsize=8)
            axes[row, column].xaxis.set_minor_locator(NullLocator())
    axes[0, 0].set_ylabel("ms for an image")
    axes[1, 0].set_ylabel("most memory, MB")
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main()
