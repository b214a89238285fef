"""What training on images that stay in their files costs, against images in memory.

    python -m benchmarks.stored_images [--backend torch] [--images 200000] [--steps 144] [--folder FOLDER]

Makes a folder of synthetic 64x64 color JPEGs and measures, each in a process of its own, for the `vae_gan`
that `keras-vaegan train` builds for these images:

- seconds from the end of the listing to the end of the first training step of a run; once more without the
  system's copies of the files in memory, if it can be told to forget them (as root on Linux);
- the most memory that a whole run of a few steps had, with all images and with 2,000;
- images per second, read from the files by two worker threads and from memory; blocks of steps of the two
  alternate in one process, and the median counts;
- whether a small run that is killed in the middle of an epoch and resumed ends bit for bit as one in memory
  that was not, with 0, 1 and 3 workers.

Writes `benchmarks/results/stored_images.md`. Make it small for a trial, as `--images 4000 --steps 6`.
"""

import argparse
import datetime
import hashlib
import io
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

ROOT = pathlib.Path(__file__).parents[1]
MODEL, SIZE = "vae_gan", 64
FEW, WORKERS, BLOCK = 2000, (0, 1, 3), 12
MOST_SECONDS, MOST_MB, LEAST_SPEED = 20.0, 300.0, 0.95  # what is asked for


def make_images(folder, count):
    """Write color JPEGs in ten classes: 2,000 images of noise, with a comment of its own in each file."""
    from PIL import Image

    for label in range(10):
        (folder / f"class_{label}").mkdir(parents=True, exist_ok=True)
    kinds = []
    for i in range(min(FEW, count)):
        small = np.random.default_rng(i).integers(0, 256, (6, 6, 3)).astype(np.uint8)
        image, content = Image.fromarray(small), io.BytesIO()
        image.resize((SIZE, SIZE), Image.Resampling.BICUBIC).save(content, "JPEG", quality=85)
        kinds.append(content.getvalue())
    for i in range(count):
        path = folder / f"class_{i % 10}" / f"{i:06d}.jpg"
        if not path.exists():
            kind, comment = kinds[i % len(kinds)], b"%08d" % i
            segment = b"\xff\xfe" + (2 + len(comment)).to_bytes(2, "big") + comment
            path.write_bytes(kind[:2] + segment + kind[2:])
    return folder


def forget_files():
    """Let the system forget its copies of files in memory; whether it could be told to."""
    os.sync()
    try:
        pathlib.Path("/proc/sys/vm/drop_caches").write_text("3")
    except OSError:
        return False
    return True


# ---- measured in a process of its own ----


def most_memory():
    """The most memory of this process so far, in MB."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def begin(folder, steps):
    """Seconds of the listing and from there to the first step of a run, and the most memory of the run."""
    import keras

    from keras_vaegan import presets, training
    from keras_vaegan.data import folder as module

    listed = {}
    before = module.list_splits

    def list_splits(*arguments):
        begun = time.monotonic()
        found = before(*arguments)
        listed["seconds"], listed["end"] = time.monotonic() - begun, time.monotonic()
        return found

    module.list_splits = list_splits
    begun, done = [], []

    class First(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            begun.append(time.monotonic())

        def on_train_batch_end(self, batch, logs=None):
            done.append(time.monotonic())

    recipe = presets.RecipeChoice(MODEL, os.fspath(folder), [("steps", steps)])
    with tempfile.TemporaryDirectory() as runs:
        settings = {"cache": "none", "workers": 2, "callbacks": [First()], "verbose": 0}
        training.run(recipe, folder=f"{runs}/run", **settings)
    return {
        "listing": listed["seconds"],
        "begun": begun[0] - listed["end"],
        "done": done[0] - listed["end"],
        "memory": most_memory(),
    }


def speed(folder, steps):
    """Images per second from files and from memory, in alternating blocks of steps."""
    from keras_vaegan import data, presets

    stored = data.load(folder, cache="none").train[0]
    images = np.asarray(stored[np.arange(min(FEW, len(stored)))])
    recipe = presets.RecipeChoice(MODEL).for_images(stored.shape[1:], len(stored))
    batch_size = recipe["training"]["batch_size"]
    model = presets.build(presets.plan(recipe, 1000), stored.shape[1:], seed=0)
    sources = {
        "files": data.Batches(stored, batch_size=batch_size, workers=2, steps_per_epoch=BLOCK),
        "memory": data.Batches(images, batch_size=batch_size, steps_per_epoch=BLOCK),
    }
    seconds = {name: [] for name in sources}
    for block in range(1 + max(1, steps // BLOCK)):
        for name, batches in sources.items():
            begun = time.monotonic()
            model.fit(batches, epochs=block + 1, initial_epoch=block, verbose=0)
            if block:  # the first one compiles and warms up
                seconds[name].append((time.monotonic() - begun) / BLOCK)
    speeds = {name: batch_size / statistics.median(found) for name, found in seconds.items()}
    return {**speeds, "blocks": len(seconds["files"]), "batch_size": batch_size}


def small_run(folder, output, cache, workers, kill):
    """Train a small model on the folder, or go on; `kill` ends the process in the middle of an epoch."""
    import keras

    from keras_vaegan import presets, training

    class Kill(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.epoch = epoch

        def on_train_batch_begin(self, batch, logs=None):
            if kill and (self.epoch, batch) == (1, 5):
                os.kill(os.getpid(), signal.SIGKILL)

    settings = {"cache": cache, "workers": workers, "callbacks": [Kill()], "verbose": 0}
    if (pathlib.Path(output) / "metadata.json").exists():
        result = training.resume(output, **settings)
    else:
        recipe = presets.recipe_for("vae", "digits")
        changes = {"batch_size": 64, "latent_dim": 4, "encoder.filters": [4, 8], "decoder.filters": [8, 4]}
        for name, value in {**changes, "epochs": 2}.items():
            presets.override(recipe, name, value)
        result = training.run(recipe, folder, output, image_size=16, seed=0, checkpoint_every=2, **settings)
    state = hashlib.sha256()
    for variable in (*result.model.variables, *result.model.optimizer.variables):
        state.update(np.ascontiguousarray(keras.ops.convert_to_numpy(variable)).tobytes())
    return {"state": state.hexdigest(), "history": result.history}


def in_process(backend, name, *arguments, killed=False):
    """What a function above returns in a new process; None of one that is to be killed."""
    program = (
        "import json, sys; from benchmarks import stored_images as here; "
        "print('\\nRESULT' + json.dumps(getattr(here, sys.argv[1])(*json.loads(sys.argv[2]))))"
    )
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", program, name, json.dumps([*map(_plain, arguments)])]
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    if killed:
        assert done.returncode == -signal.SIGKILL, "the run was to be killed"
        return None
    assert done.returncode == 0, done.stdout
    return json.loads(done.stdout.rsplit("RESULT", 1)[1])


def _plain(value):
    return os.fspath(value) if isinstance(value, pathlib.Path) else value


def measure(backend, folder, count, steps):
    """All measures, as a dictionary."""
    few = make_images(folder / f"images_{FEW}", FEW)
    many = make_images(folder / f"images_{count}", count)
    found = {"begin": {}, "resumed": {}}
    for name, images in (("few", few), ("all", many), ("forgotten", many)):
        if name == "forgotten" and not forget_files():
            continue
        found["begin"][name] = in_process(backend, "begin", images, BLOCK)
        print(name, found["begin"][name], flush=True)
    found["speed"] = in_process(backend, "speed", many, steps)
    print(found["speed"], flush=True)
    with tempfile.TemporaryDirectory() as runs:
        whole = in_process(backend, "small_run", few, f"{runs}/whole", "memory", 0, False)
        for workers in WORKERS:
            output = f"{runs}/{workers}"
            in_process(backend, "small_run", few, output, "none", workers, True, killed=True)
            again = in_process(backend, "small_run", few, output, "none", workers, False)
            found["resumed"][workers] = again == whole
            print("resumed with", workers, "workers:", again == whole, flush=True)
    return found


def report(found, backend, count, steps):
    """The page of results, as Markdown."""
    few, many, speeds = found["begin"]["few"], found["begin"]["all"], found["speed"]
    share, grown = speeds["files"] / speeds["memory"], many["memory"] - few["memory"]
    same = all(found["resumed"].values())
    forgotten = found["begin"].get("forgotten")
    slow = []
    if forgotten:
        slow = [("the same, none of the files in memory, seconds", f"{forgotten['done']:.1f}", "")]
    rows = [
        ("listing of the folder, seconds", f"{many['listing']:.1f}", ""),
        ("from there until the first step begins, seconds", f"{many['begun']:.1f}", ""),
        ("from there until the first step is done, seconds", f"{many['done']:.1f}", f"{MOST_SECONDS:g}"),
        *slow,
        ("most memory with 2,000 images, MB", f"{few['memory']:,.0f}", ""),
        (f"most memory with {count:,} images, MB more", f"{grown:,.0f}", f"{MOST_MB:g}"),
        ("images per second from memory", f"{speeds['memory']:.1f}", ""),
        ("images per second from files, two workers", f"{speeds['files']:.1f}", ""),
        ("share of the speed", f"{share:.3f}", f"{LEAST_SPEED:g}"),
        ("killed and resumed with 0, 1 and 3 workers, bit for bit", "yes" if same else "**no**", "yes"),
    ]
    table = "\n".join(f"| {name} | {value} | {asked} |" for name, value, asked in rows)
    return (
        f"# Images that stay in their files\n\n"
        f"{count:,} synthetic {SIZE}x{SIZE} color JPEGs; the `{MODEL}` that `train` chooses for them, "
        f"batch {speeds['batch_size']}; {speeds['blocks']} blocks of {BLOCK} steps of each kind, in turn; "
        f"{backend}, {os.cpu_count()} cores, {datetime.date.today().isoformat()}.\n\n"
        f"    python -m benchmarks.stored_images --backend {backend} --images {count} --steps {steps}\n\n"
        f"| measure | found | asked for |\n|---|---|---|\n{table}\n"
    )


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", default="torch", choices=("tensorflow", "torch", "jax"))
    parser.add_argument("--images", type=int, default=200_000)
    parser.add_argument("--steps", type=int, default=144)
    parser.add_argument("--folder", type=pathlib.Path, help="where images are made, and kept")
    parser.add_argument("--output", type=pathlib.Path, default=ROOT / "benchmarks/results/stored_images.md")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as passing:
        folder = options.folder or pathlib.Path(passing)
        found = measure(options.backend, folder, options.images, options.steps)
    options.output.write_text(report(found, options.backend, options.images, options.steps))
    print(options.output.read_text())


if __name__ == "__main__":
    main()
