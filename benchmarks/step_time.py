"""Images per second of `fit` against the same training step written by hand, as a ratio.

    python -m benchmarks.step_time [--backend tensorflow] [--model vae_gan] [--output FILE]

For each backend, in a process of its own, `fit` and its rivals (`benchmarks/rivals`: the same
networks, losses, optimizers and logs, without Keras) train whole epochs in turn on the same
images. The figure is the median over the rounds of the ratio within a round, ours / theirs,
against the fastest rival: above 1 we are faster. Absolute speeds depend on the machine.

A second table has the time that each needs to compile: that of the first call on one batch, less that of
a later call on the same batch.

A third has the most memory that a process needs which trains with one of them alone, framework and images
included.

With `--processor-time`, for a machine that does other work beside, the time is that of the processor which
the process has used, on one thread and, where the system can pin it, one core.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import resource
import statistics
import subprocess
import sys
import time

RIVALS = {
    "tensorflow": {"TensorFlow": {"xla": False}, "TensorFlow with XLA": {"xla": True}},
    "jax": {"JAX": {}},
    "torch": {"PyTorch": {}},
}
MODELS = ("vae", "vae_gan", "cvae_gan", "draw", "ssl_vae")
IMAGE_SHAPE = (28, 28, 1)

#: One thread for each framework.
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
}


def ours(kind, batch_size):
    """A function that trains our model for an epoch on images and labels, under stock `fit`."""
    import keras

    from benchmarks import rivals

    rate, beta_1 = rivals.ADAM[kind]
    model = build_model(kind)
    model.compile({player: keras.optimizers.Adam(rate, beta_1) for player in model.players})
    return lambda images, labels: model.fit(images, labels, batch_size=batch_size, verbose=0)


def build_model(kind):
    """Our model of that kind, with the networks of the rivals."""
    import keras_vaegan
    from benchmarks import rivals
    from keras_vaegan.networks import dcgan, draw, heads, lenet, mlp
    from keras_vaegan.presets.recipes import LOSSES_OF_THE_PAPERS

    if kind == "draw":
        settings = {"units": rivals.UNITS, "glimpse": rivals.GLIMPSE}
        networks = [build(IMAGE_SHAPE, rivals.CODES, **settings) for build in (draw.encoder, draw.decoder)]
        return keras_vaegan.DRAW(*networks, steps=rivals.STEPS, seed=0)
    if kind == "ssl_vae":
        features, codes, classes = rivals.M2_FEATURES, rivals.M2_CODES, rivals.CLASSES
        return keras_vaegan.SemiSupervisedVAE(
            lenet.trunk(IMAGE_SHAPE, rivals.M2_FILTERS, units=features),
            heads.encoder_head(features, codes, classes, rivals.M2_ENCODER),
            heads.class_head(features, classes),
            mlp.decoder(IMAGE_SHAPE, codes, rivals.M2_DECODER, num_classes=classes),
            classification={"alpha": rivals.ALPHA},
            seed=0,
        )
    classes = {"num_classes": rivals.CLASSES} if kind == "cvae_gan" else {}
    builders, settings = (dcgan.encoder, dcgan.decoder), {**rivals.NETWORK, **classes}
    networks = [build(IMAGE_SHAPE, rivals.LATENT_DIM, **settings) for build in builders]
    if kind == "vae":
        return keras_vaegan.VAE(*networks, seed=0)
    outputs = rivals.CLASSES + 1 if classes else 1
    judge = dcgan.discriminator(IMAGE_SHAPE, **rivals.JUDGE, num_outputs=outputs)
    hybrid = keras_vaegan.CVAEGAN if classes else keras_vaegan.VAEGAN
    return hybrid(*networks, judge, **LOSSES_OF_THE_PAPERS, seed=0)


def measure(backend, kind, batch_size, num_images, rounds, processor_time, alone=None):
    """Seconds of each round and of compiling, `{"rounds": {name: [...]}, "compiling": {name: ...}}`.

    The names are `ours` and the rivals', or that of the one which is `alone`. The rounds come after a first
    epoch that is not counted. `memory` is the most that the process has had, in MB.
    """
    if processor_time and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # before there are threads
    import importlib

    import numpy as np

    from benchmarks import rivals

    if processor_time and backend == "torch":
        import torch

        torch.set_num_threads(1)
    rival = importlib.import_module(f"benchmarks.rivals.{backend}_step")
    made = {"ours": lambda: ours(kind, batch_size)}
    for name, options in RIVALS[backend].items():
        made[name] = lambda options=options: rival.make(kind, batch_size, seed=0, **options).run_epoch
    contestants = {name: make() for name, make in made.items() if alone in (None, name)}
    images = np.random.default_rng(0).random((num_images, *IMAGE_SHAPE), dtype="float32")
    labels = rivals.some_labels(kind, num_images)
    batch = images[:batch_size], None if labels is None else labels[:batch_size]
    clock = time.process_time if processor_time else time.perf_counter

    def seconds(train, *data):
        start = clock()
        train(*data)
        return clock() - start

    compiling = {}
    for name, train in contestants.items():
        first, *_, later = (seconds(train, *batch) for _ in range(3))
        compiling[name] = first - later
        train(images, labels)
    times = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, train in contestants.items():
            times[name].append(seconds(train, images, labels))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000  # Linux counts in KB
    return {"rounds": times, "compiling": compiling, "memory": memory}


def output_of(command, environment):
    """What a process of this file prints last, read as JSON."""
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def speed_table(results, num_images):
    """The times of the rounds as rows of Markdown."""
    lines = [
        "| model | backend | fit, images/s | rival | rival, images/s | ratio: median (least to most) |",
        "|---|---|---|---|---|---|",
    ]
    for (kind, backend), result in results.items():
        seconds = dict(result["rounds"])
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


def compiling_table(results):
    """The times of compiling as rows of Markdown."""
    lines = ["| model | backend | fit, s | rival | rival, s |", "|---|---|---|---|---|"]
    for (kind, backend), result in results.items():
        seconds = dict(result["compiling"])
        mine = seconds.pop("ours")
        for name, theirs in seconds.items():
            lines.append(f"| {kind} | {backend} | {mine:z.1f} | {name} | {theirs:z.1f} |")
    return lines


def memory_table(results):
    """The memory of a process as rows of Markdown."""
    lines = ["| model | backend | fit, MB | rival | rival, MB |", "|---|---|---|---|---|"]
    for (kind, backend), result in results.items():
        most = dict(result["memory"])
        mine = most.pop("ours")
        lines += [
            f"| {kind} | {backend} | {mine:.0f} | {name} | {theirs:.0f} |" for name, theirs in most.items()
        ]
    return lines


def main():
    """Measure what was asked for, each backend in a process of its own, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--backend", choices=RIVALS, nargs="+", default=list(RIVALS))
    parser.add_argument("--model", choices=MODELS, nargs="+", default=list(MODELS))
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--num-images", type=int, default=4096, help="images in an epoch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--processor-time", action="store_true", help="time of the processor, on one thread and core"
    )
    parser.add_argument("--output", type=pathlib.Path, help="Markdown file to write")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    options = parser.parse_args()
    settings = (options.batch_size, options.num_images, options.rounds)

    if options.child:
        where = options.backend[0], options.model[0]
        result = measure(*where, *settings, options.processor_time, options.alone)
        print(json.dumps(result))
        return
    results = {}
    for kind in options.model:
        for backend in options.backend:
            words = ["--child", "--backend", backend, "--model", kind, "--batch-size", str(settings[0])]
            words += ["--num-images", str(settings[1]), "--rounds", str(settings[2])]
            environment = os.environ | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
            if options.processor_time:
                words.append("--processor-time")
                environment |= ONE_THREAD
            command = [sys.executable, "-m", "benchmarks.step_time", *words]
            results[kind, backend] = output_of(command, environment)
            results[kind, backend]["memory"] = {
                name: output_of([*command, "--rounds", "1", "--alone", name], environment)["memory"]
                for name in ("ours", *RIVALS[backend])
            }
            print(f"{kind} on {backend}: measured", file=sys.stderr, flush=True)
    if options.processor_time:
        pinned = ", pinned to one core" if hasattr(os, "sched_setaffinity") else ""
        call, clock = "python -m benchmarks.step_time --processor-time", "seconds of processor time"
        clock += f", one thread{pinned}"
    else:
        call, clock = "python -m benchmarks.step_time", f"wall time, {os.cpu_count()} cores"
    text = "\n".join(
        [
            "# Time of a training step",
            "",
            f"`{call}`: {clock} ({platform.machine()}); batch {settings[0]}, {settings[1]} images of 28x28 "
            f"an epoch, {settings[2]} rounds, {datetime.date.today()}.",
            "",
            *speed_table(results, options.num_images),
            "",
            "To compile, in the same seconds: the first call on one batch, less a later one on that batch.",
            "",
            *compiling_table(results),
            "",
            "The most memory of a process that trains with one alone, framework and images included:",
            "",
            *memory_table(results),
            "",
        ]
    )
    print(text)
    if options.output:
        options.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
