"""Floating-point operations of a training step, against the arithmetic that it cannot do without.

    python -m benchmarks.flops [--output benchmarks/results/flops.md]

PyTorch counts the operations of convolutions and matrix products as they run, of `fit` and of the step
written by hand (`benchmarks/rivals`). The least is counted on paper: a pass forward of each network on each
of its inputs, the gradients of the weights that the player descends, and those of the layers' inputs on the
way to them. On the other backends the same `compute_losses` is compiled, with one pass forward for all
players.
"""

import argparse
import datetime
import math
import pathlib

import numpy as np

from benchmarks import rivals
from benchmarks.step_time import IMAGE_SHAPE, MODELS, ours

BATCH = 128


def counted(run):
    """Operations of convolutions and matrix products that `run()` makes."""
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with counter:
        run()
    return counter.get_total_flops()


def products(layers):
    """Operations of a pass forward for one image, and those of the first layer."""
    forward = [2 * math.prod(layer) for layer in layers]
    return sum(forward), forward[0]


def least(kind, batch_size):
    """Operations that a step cannot do without, or None where they are not counted on paper."""
    labels = rivals.CLASSES if kind == "cvae_gan" else 0
    classes = labels + 1
    # (output positions, inputs of each, channels): convolutions of stride 2 on 28x28, dense layers.
    maps = [(14 * 14, 16, 32), (7 * 7, 16 * 32, 64)]
    encoder = products([*maps, (1, 3136 + labels, 2 * rivals.LATENT_DIM)])
    decoder = products([(1, rivals.LATENT_DIM + labels, 3136), (7 * 7, 64, 16 * 32), (14 * 14, 32, 16)])
    discriminator = products([*maps, (1, 3136, classes)])

    def cost(network, forward=0, weights=0, through=0, to_input=0):
        """Passes forward; gradients of weights; of inputs of all layers but the first; of the first's."""
        whole, first = network
        return (forward + weights + through) * whole + (to_input - through) * first

    if kind == "vae":
        total = cost(encoder, 1, 1, 1) + cost(decoder, 1, 1, 1, 1)
    elif kind in ("vae_gan", "cvae_gan"):
        # The decoder makes a reconstruction, whose gradient goes on to the encoder, and a prior sample;
        # D sees both and the real image; the generator's gradient goes through D without touching it.
        total = cost(encoder, 1, 1, 1) + cost(decoder, 2, 2, 2, 1)
        total += cost(discriminator, 3, 3, 3) + cost(discriminator, 0, 0, 2, 2)
    else:
        return None
    return batch_size * total


def main():
    """Count, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--output", type=pathlib.Path, help="Markdown file to write")
    options = parser.parse_args()
    from benchmarks.rivals import torch_step

    lines = [
        "# Arithmetic of a training step",
        "",
        "`python -m benchmarks.flops`: millions of floating-point operations of convolutions and matrix "
        f"products for an image, batch {BATCH} of 28x28, counted by PyTorch, {datetime.date.today()}. The "
        "least is what cannot be done without.",
        "",
        "| model | `fit` | by hand | least | `fit` / by hand | `fit` / least |",
        "|---|---|---|---|---|---|",
    ]
    images = np.random.default_rng(0).random((BATCH, *IMAGE_SHAPE), dtype="float32")
    for kind in MODELS:
        labels = rivals.some_labels(kind, BATCH)
        train = ours(kind, BATCH)
        train(images, labels)  # builds
        mine = counted(lambda: train(images, labels))  # noqa: B023
        rival = torch_step.make(kind, BATCH, 0)
        theirs = counted(lambda: rival.run_epoch(images, labels))  # noqa: B023
        bound = least(kind, BATCH)
        shown = [f"{count / BATCH / 1e6:.2f}" if count else "" for count in (mine, theirs, bound)]
        over = f"{mine / bound:.3f}" if bound else ""
        lines.append(f"| {kind} | {' | '.join(shown)} | {mine / theirs:.3f} | {over} |")
    text = "\n".join(lines) + "\n"
    print(text)
    if options.output:
        options.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
