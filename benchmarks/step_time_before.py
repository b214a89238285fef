"""Time of a training step of this version against that of an earlier commit, as a ratio.

    python -m benchmarks.step_time_before 9337a4f [--backend tensorflow] [--model vae_gan] [--output FILE]

Checks the earlier commit out to a temporary folder and starts a process for each version. The two train
epochs in turn, the same model of `benchmarks.step_time` on the same images, pinned to one core, on one
thread. The figure is the median over the rounds of the ratio within a round, earlier / present: above 1 the
present version is faster.
"""

import argparse
import contextlib
import datetime
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from benchmarks.step_time import IMAGE_SHAPE, MODELS, ONE_THREAD, RIVALS

ROOT = pathlib.Path(__file__).parents[1]

#: Run in the folder of each version: trains an epoch for each line of its input and prints the seconds.
CHILD = """
import os, sys, time
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
sys.path.insert(0, os.getcwd())
import numpy as np
from benchmarks import rivals, step_time
kind, batch_size, num_images = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
if os.environ["KERAS_BACKEND"] == "torch":
    import torch
    torch.set_num_threads(1)
train = step_time.ours(kind, batch_size)
images = np.random.default_rng(0).random((num_images, *step_time.IMAGE_SHAPE), dtype="float32")
labels = rivals.some_labels(kind, num_images)
for _ in sys.stdin:
    start = time.process_time()
    train(images, labels)
    print("SECONDS", time.process_time() - start, flush=True)
"""


class Version:
    """A process that trains with the code of a folder."""

    def __init__(self, folder, backend, kind, batch_size, num_images):
        environment = os.environ | ONE_THREAD | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
        command = [sys.executable, "-c", CHILD, kind, str(batch_size), str(num_images)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, cwd=folder, env=environment, **pipes)

    def epoch(self):
        """Seconds of processor time of an epoch."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith("SECONDS"):
                return float(line.split()[1])
        raise RuntimeError(f"the process ended with status {self.process.wait()}")

    def close(self):
        self.process.stdin.close()
        self.process.wait()


@contextlib.contextmanager
def checked_out(commit):
    """A folder with the files of that commit."""
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(["git", "archive", commit], cwd=ROOT, check=True, stdout=subprocess.PIPE)
        subprocess.run(["tar", "x", "-C", folder], input=archive.stdout, check=True)
        yield pathlib.Path(folder)


def measure(earlier, backend, kind, batch_size, num_images, rounds):
    """Seconds of each epoch of the two versions, those of the first epoch left out."""
    versions = [Version(folder, backend, kind, batch_size, num_images) for folder in (earlier, ROOT)]
    seconds = {"earlier": [], "present": []}
    for i in range(rounds + 1):
        order = [*zip(seconds, versions, strict=True)]
        for name, version in order if i % 2 else order[::-1]:
            spent = version.epoch()
            if i:  # the first epoch compiles
                seconds[name].append(spent)
    for version in versions:
        version.close()
    return seconds


def table(results, num_images):
    """The times as rows of Markdown."""
    lines = [
        "| model | backend | earlier, images/s | present, images/s | ratio: median (least to most) |",
        "|---|---|---|---|---|",
    ]
    for (kind, backend), seconds in results.items():
        pairs = zip(seconds["earlier"], seconds["present"], strict=True)
        ratios = sorted(before / now for before, now in pairs)
        speeds = [f"{num_images / statistics.median(seconds[name]):.0f}" for name in seconds]
        span = f"{statistics.median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})"
        lines.append(f"| {kind} | {backend} | {' | '.join(speeds)} | {span} |")
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("commit", help="the earlier version")
    parser.add_argument("--backend", choices=RIVALS, nargs="+", default=list(RIVALS))
    parser.add_argument("--model", choices=MODELS, nargs="+", default=list(MODELS))
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--num-images", type=int, default=1024, help="images in an epoch")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--output", type=pathlib.Path, help="Markdown file to write")
    options = parser.parse_args()
    results, begun = {}, time.monotonic()
    with checked_out(options.commit) as earlier:
        for backend in options.backend:
            for kind in options.model:
                settings = options.batch_size, options.num_images, options.rounds
                results[kind, backend] = measure(earlier, backend, kind, *settings)
                print(*table({(kind, backend): results[kind, backend]}, options.num_images)[2:], flush=True)
                print(f"{time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
    height, width, channels = IMAGE_SHAPE
    text = "\n".join(
        [
            "# Time of a training step, against an earlier version",
            "",
            f"`python -m benchmarks.step_time_before {options.commit}`: seconds of processor time, one "
            f"thread pinned to one core; batch {options.batch_size}, {options.num_images} images of "
            f"{height}x{width}x{channels} an epoch, {options.rounds} epochs of each version in turn, "
            f"{datetime.date.today()}.",
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
