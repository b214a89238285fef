"""What a GPU does with this library: images a second, memory, the ratio to a step by hand, half precision.

    python -m benchmarks.gpu --output gpu.json
    python -m benchmarks.gpu --output gpu.json --quality

One command writes one file, which anyone with a GPU can send us. It runs on the backend that KERAS_BACKEND
names, each measurement in a process of its own, and keeps what is done: start it again if it was stopped.

- Images a second of `fit` against the batch size: `vae_gan`, 28x28, and `vae_gan_images`, the autoencoder for
  64x64 images with its perceptual loss; in float32 and in bfloat16. With each, how busy the GPU was and how
  much of its memory was used, if `nvidia-smi` is there.
- The ratio to the same step written by hand (`benchmarks.step_time`), at batch 128.
- With `--quality`: seconds of training and the scores of `train --preset vae_gan_mnist` and, with `--fruits
  FOLDER`, of `train --preset vae_gan_fruits`.
"""

import argparse
import concurrent.futures
import datetime
import importlib.metadata
import json
import multiprocessing
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from benchmarks import command
from keras_vaegan.files import atomic_path, read_json, reason_of

MODELS = ("vae_gan", "vae_gan_images")
BATCHES = {"vae_gan": (64, 128, 256, 512, 1024), "vae_gan_images": (8, 16, 32, 64, 128)}
PRECISIONS = ("float32", "mixed_bfloat16")
STEPS, ROUNDS = 30, 3  # of a round, and rounds that count
FRUITS_SHAPE = (64, 64, 3)


def watched(work):
    """What `work()` gives, and the mean share of time and the most memory (MB) of the first GPU meanwhile."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return work(), {}
    asked = ["--query-gpu=utilization.gpu,memory.used", "--format=csv,noheader,nounits", "--id=0"]
    readings = []
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        result = pool.submit(work)
        while not result.done():
            line = subprocess.run([program, *asked], capture_output=True, text=True, check=True).stdout
            readings.append([float(number) for number in line.split(",")])
            time.sleep(0.2)
    busy, memory = zip(*readings, strict=True)
    return result.result(), {"busy_percent": round(statistics.mean(busy)), "memory_mb": max(memory)}


def build(kind):
    """The model of that kind, compiled; the game of the autoencoder is on from the first step."""
    from keras_vaegan import presets

    if kind == "vae_gan_images":
        recipe = presets.recipe("vae_gan_fruits")
        recipe["model"]["game"] |= {"start": 0, "warm_up": 0}
        return presets.build(recipe, FRUITS_SHAPE, seed=0)
    from benchmarks.step_time import build_model

    model = build_model(kind)
    model.compile()
    return model


def speed(kind, batch_size, precision, steps=STEPS, rounds=ROUNDS):
    """Images a second of `fit`, and what the GPU did; in a process of its own."""
    import keras
    import numpy as np

    if precision != "float32":
        keras.config.set_dtype_policy(precision)
    model = build(kind)
    x = np.random.default_rng(0).random((steps * batch_size, *model.image_shape), dtype="float32")

    def train():
        begun = time.perf_counter()
        model.fit(x, batch_size=batch_size, verbose=0)
        return time.perf_counter() - begun

    first = train()  # it compiles
    seconds, seen = watched(lambda: [train() for _ in range(rounds)])
    return {
        "images_per_second": len(x) / statistics.median(seconds),
        "first_round_seconds": first,
        **seen,
    }


def in_process(function, *arguments):
    """Call a function in a new process; an error, as too little memory, is kept as text."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        try:
            return pool.apply(function, arguments)
        except Exception as error:  # noqa: BLE001
            return {"error": reason_of(error)}


def by_hand(backend, kind="vae_gan", batch_size=128, images=8192, rounds=5):
    """Median of theirs / ours over the rounds, for each rival."""
    from benchmarks.step_time import measure

    rounds_of = measure(backend, kind, batch_size, images, rounds, False)["rounds"]
    mine = rounds_of.pop("ours")
    return {
        name: statistics.median(their / my for my, their in zip(mine, theirs, strict=True))
        for name, theirs in rounds_of.items()
    }


def quality(preset, arguments):
    """Seconds of a whole training by the command line, and its scores on the test images."""
    with tempfile.TemporaryDirectory() as folder:
        run, begun = pathlib.Path(folder) / "run", time.perf_counter()
        command.command("train", "--preset", preset, "--output", run, "--verbose", "2", *arguments)
        seconds = time.perf_counter() - begun
        command.command("evaluate", run)
        scores = read_json(run / "evaluate.json")["scores"]
    named = {f"{one['name']} {one['features'] or ''}".strip(): one["value"] for one in scores}
    return {"seconds": seconds, "scores": named}


def machine(backend):
    """The GPU, its driver and the versions."""
    found = {"platform": platform.platform(), "backend": backend}
    if program := shutil.which("nvidia-smi"):
        asked = [program, "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
        found["gpus"] = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.splitlines()
    packages = ("keras-vaegan", "keras", {"torch": "torch", "jax": "jax"}.get(backend, "tensorflow"))
    return found | {name: importlib.metadata.version(name) for name in packages}


def main():
    """Measure what the file does not have yet, and write it after each measurement."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--output", type=pathlib.Path, required=True, help="JSON file to write")
    parser.add_argument("--quality", action="store_true", help="train vae_gan_mnist, too, and score it")
    parser.add_argument("--fruits", help="folder of Fruits-360 images, to train vae_gan_fruits as well")
    command.add_data_options(parser)
    parser.add_argument("--batches", type=int, nargs="+", help="other batch sizes")
    parser.add_argument("--steps", type=int, default=STEPS, help="of a round")
    options = parser.parse_args()

    import keras

    backend = keras.backend.backend()
    os.environ["KERAS_BACKEND"] = backend
    found = json.loads(options.output.read_text()) if options.output.is_file() else {}
    found["machine"], found["date"] = machine(backend), str(datetime.date.today())

    def keep(name, function, *arguments):
        if name in found and "error" not in found[name]:
            return
        found[name] = in_process(function, *arguments)
        print(f"{name}: {found[name]}", file=sys.stderr, flush=True)
        with atomic_path(options.output) as temporary:
            temporary.write_text(json.dumps(found, indent=1), encoding="utf-8")

    for kind in MODELS:
        for precision in PRECISIONS:
            for batch_size in options.batches or BATCHES[kind]:
                case = (kind, batch_size, precision)
                keep(f"{kind}, batch {batch_size}, {precision}", speed, *case, options.steps)
    keep("by hand, vae_gan, batch 128", by_hand, backend, "vae_gan", 128, 128 * options.steps)
    if options.quality:
        keep("quality, vae_gan_mnist", quality, "vae_gan_mnist", command.data_arguments(options))
    if options.fruits:
        keep("quality, vae_gan_fruits", quality, "vae_gan_fruits", ["--dataset", options.fruits])


if __name__ == "__main__":
    main()
