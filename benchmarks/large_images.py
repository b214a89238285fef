"""Memory and speed of large images, and the seams of images that are reconstructed in tiles.

    python -m benchmarks.large_images [--backend torch] [--sizes 64 128 256 512] [--factors 4 8 16]
    python -m benchmarks.large_images --seams SOURCE --images FOLDER [--size 512] [--tile 256]

The first command measures, each in a process of its own and with one image at a time:

- a training step of a VAE/GAN with residual networks of the size `small`, a discriminator of patches, L1 and
  the perceptual loss, with and without rematerialization;
- `reconstruct` of whole images and in tiles.

The memory is the most that the process had, above what it had after it imported the framework. On a GPU it is
the most that PyTorch allocated there. The time is that of the processor, of one thread: it says little of an
idle machine with more threads, so compare rows. Writes `benchmarks/results/large_images.md`. If it is broken
off, start it again: the rows so far are in a JSON file beside the page until all are done.

The second command reconstructs images in tiles by a trained model. It prints how much neighboring pixels
differ across the borders of tiles, over how much they do inside: of the images themselves, of whole
reconstructions and of those in tiles, at the same places. Tiles leave no seam if theirs is as that of the
whole, whose decoder may show the grid of the codes, on which the borders lie.
"""

import argparse
import datetime
import json
import multiprocessing
import os
import pathlib
import time

import numpy as np

from keras_vaegan.files import atomic_path
from keras_vaegan.tiling import borders, tile_and_overlap

ROOT = pathlib.Path(__file__).parents[1]
OUTPUT = ROOT / "benchmarks/results/large_images.md"
TILED = (512, 1024)  # sizes that are reconstructed whole and in tiles
MOST_STEPS, MOST_SIDES = 4, 512  # of a case: so many timed steps, and so many pixels of sides in all of them


def seam_error(images, tile, overlap, every=1):
    """Mean absolute difference of neighboring pixels across borders of tiles, over that inside them.

    Args:
        images: `(B, H, W, C)`.
        tile, overlap: of the tiles, in pixels, as `keras_vaegan.tiling.in_tiles` takes them.
        every: look inside at each such pixel alone. With the factor of the networks, whose multiples borders
            are, a pattern that a decoder repeats from code to code does not count as a seam.
    """
    across, inside = [], []
    for axis in (1, 2):
        side = images.shape[axis]
        steps = np.abs(np.diff(np.float64(images), axis=axis))  # step i - 1 leads to pixel i
        seams = borders(side, tile, overlap)
        others = sorted(set(range(every, side, every)) - set(seams))
        across.append(np.take(steps, np.array(seams, int) - 1, axis=axis).ravel())
        inside.append(np.take(steps, np.array(others, int) - 1, axis=axis).ravel())
    return np.concatenate(across).mean() / np.concatenate(inside).mean()


# ---- measured in a process of its own ----


class Memory:
    """The most memory of this process, in bytes, above what it has now; of a GPU if PyTorch sees one."""

    def __init__(self):
        import keras

        from keras_vaegan.networks import resnet

        # What a first step loads is the framework's, too.
        small = resnet.decoder((8, 8, 3), 1, factor=2, filters=4, blocks=1, remat=True)
        small.compile("adam", "mean_squared_error")
        small.train_on_batch(np.zeros((1, 4, 4, 1)), np.zeros((1, 8, 8, 3)))
        self.cuda = None
        if keras.backend.backend() == "torch":
            import torch

            self.cuda = torch.cuda if torch.cuda.is_available() else None
        if self.cuda:
            self.cuda.reset_peak_memory_stats()
            self.before = self.cuda.memory_allocated()
            return
        pathlib.Path("/proc/self/clear_refs").write_text("5")  # forgets what the imports had at most
        self.before = self._of_process("VmRSS")

    def most(self):
        now = self.cuda.max_memory_allocated() if self.cuda else self._of_process("VmHWM")
        return now - self.before

    @staticmethod
    def _of_process(name):
        lines = pathlib.Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))

    def clock(self):
        """Seconds: of the processor, or on a GPU those that pass."""
        if self.cuda:
            self.cuda.synchronize()
            return time.perf_counter()
        return time.process_time()


def vae_gan(size, factor, remat):
    """A VAE/GAN for photographs, compiled."""
    import keras_vaegan as kvg
    from keras_vaegan.networks import patch, resnet

    style = {"size": "small", "factor": factor, "remat": remat}
    model = kvg.VAEGAN(
        resnet.encoder((size, size, 3), 4, **style),
        resnet.decoder((size, size, 3), 4, **style),
        patch.discriminator((None, None, 3), receptive_field=70),
        game={"class": "hinge", "adaptive": True, "weight": 0.5},
        reconstruction={"features": 0.0, "pixels": 0.0, "l1": 1.0, "perceptual": 0.3},
        beta=1e-6,
        fakes_from="none",
        seed=0,
    )
    model.compile()
    return model


def measured(kind, size, factor, remat=False, tile=None):
    """Bytes and seconds for one image: of a training step, or of a reconstruction."""
    import keras

    if keras.backend.backend() == "torch":
        import torch

        torch.set_num_threads(1)
    x = np.random.default_rng(0).random((1, size, size, 3), dtype="float32")
    memory = Memory()
    model = vae_gan(size, factor, remat)
    if kind == "train":
        steps = max(1, min(MOST_STEPS, MOST_SIDES // size))
        model.train_on_batch(x)
        begun = memory.clock()
        for _ in range(steps):
            model.train_on_batch(x)
    else:
        steps = 1
        model.reconstruct(x[:, :64, :64])
        begun = memory.clock()
        model.reconstruct(x, tile=tile)
    return {"bytes": memory.most(), "seconds": (memory.clock() - begun) / steps, "gpu": bool(memory.cuda)}


# ---- all of them ----


def cases(options):
    """What is measured, as the arguments of `measured`; the fastest first."""
    for size in options.sizes:
        for factor in options.factors:
            for remat in (False, True):
                yield {"kind": "train", "size": size, "factor": factor, "remat": remat}
    for size in options.tiled:
        for tile in (None, options.tile):
            yield {"kind": "reconstruct", "size": size, "factor": 8, "tile": tile}


def in_process(case, backend):
    """`measured` in a process of its own, with one thread; all are forked from one that has the imports."""
    os.environ |= {"KERAS_BACKEND": backend, "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["keras_vaegan.models", "keras_vaegan.networks.patch"])
    with context.Pool(1) as process:
        return process.apply(measured, kwds=case)


def measure_all(options):
    """`[(case, what was measured)]`; those measured before are read from beside the page."""
    kept = options.output.with_suffix(".json")
    found = json.loads(kept.read_text()) if kept.exists() else {}
    rows = []
    for case in cases(options):
        key = json.dumps({"backend": options.backend, **case}, sort_keys=True)
        if key not in found:
            found[key] = in_process(case, options.backend)
            with atomic_path(kept) as temporary:
                temporary.write_text(json.dumps(found, indent=1))
            print(case, found[key], flush=True)
        rows.append((case, found[key]))
    return rows


def report(rows, options):
    """The page."""
    import importlib.metadata

    import keras_vaegan as kvg

    package = {"torch": "torch", "jax": "jax", "tensorflow": "tensorflow"}[options.backend]
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("keras", package))
    gpu = any(found["gpu"] for _, found in rows)
    machine = "one GPU" if gpu else "one thread of a machine of two processor cores"
    first = next(found["seconds"] / case["size"] ** 2 for case, found in rows if case["kind"] == "train")

    def row(case, found, *cells):
        speed = first * case["size"] ** 2 / found["seconds"]
        numbers = [f"{found['bytes'] / 2**20:,.0f}", f"{1 / found['seconds']:.2g}", f"{speed:.2f}"]
        return f"| {case['size']} | {' | '.join([*cells, *numbers])} |"

    training = [(case, found) for case, found in rows if case["kind"] == "train"]
    reconstructing = [(case, found) for case, found in rows if case["kind"] == "reconstruct"]
    lines = [
        "# Memory and speed of large images",
        "",
        f"One image at a time, on {machine}; keras-vaegan {kvg.__version__}, {versions}, "
        f"{datetime.date.today()}. Memory is the most of the process above that of the imported framework; "
        "time is that of the processor. Compare rows, since other machines are faster or slower. The last "
        "column has the pixels per second, over those of the first row.",
        "",
        f"    python -m benchmarks.large_images --backend {options.backend}",
        "",
        "## Training steps",
        "",
        "A VAE/GAN with `networks.resnet` of the size `small`, `networks.patch`, L1 and the perceptual loss, "
        f"and an adaptive game. Means of at most {MOST_STEPS} steps after the first, at 512 pixels of one.",
        "",
        "| image side | factor | remat | MB | images/s | speed |",
        "|---|---|---|---|---|---|",
        *(
            row(case, found, str(case["factor"]), "yes" if case["remat"] else "no")
            for case, found in training
        ),
        "",
        "## Reconstruction",
        "",
        "`reconstruct` with the same networks at factor 8.",
        "",
        "| image side | tile | MB | images/s | speed |",
        "|---|---|---|---|---|",
        *(row(case, found, str(case["tile"] or "whole")) for case, found in reconstructing),
        "",
    ]
    return "\n".join(lines)


# ---- seams ----


def seams(source, images, size, tile, few):
    """Seam errors of the first images, of their whole reconstructions and of those in tiles, and more.

    Returns:
        `{name: number}`: the three seam errors at the same places, beside all pixels inside and beside those
        of the grid of codes; and the mean absolute difference between reconstructions in tiles and whole
        ones, in levels of 255.
    """
    from keras_vaegan import data, presets

    model = presets.load_source(source)[0]
    x = data.load_pictures(images, (size, size, model.image_shape[-1]))[0][:few]
    return seams_of(model, x, tile)


def seams_of(model, x, tile):
    """As `seams`, of a model and images `(B, H, W, C)`."""
    whole, tiled = (model.reconstruct(x, batch_size=1, tile=one) for one in (None, tile))
    tile, overlap = tile_and_overlap(tile, model.factor)
    named = {"images": x, "whole": whole, "tiled": tiled}
    errors = {}
    for beside, every in (("beside all pixels", 1), ("beside the grid of codes", model.factor)):
        for name, shown in named.items():
            errors[f"{name}, {beside}"] = seam_error(shown, tile, overlap, every)
    return errors | {"tiled against whole, of 255": 255 * float(np.abs(tiled - whole).mean())}


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", choices=("torch", "jax", "tensorflow"), default="torch")
    parser.add_argument("--sizes", nargs="*", type=int, default=[64, 128, 256, 512])
    parser.add_argument("--factors", nargs="*", type=int, default=[4, 8, 16])
    parser.add_argument("--tiled", nargs="*", type=int, default=TILED, help="sizes to reconstruct in tiles")
    parser.add_argument("--tile", type=int, default=256, help="side of a tile in pixels")
    parser.add_argument("--output", type=pathlib.Path, default=OUTPUT, help="page to write")
    parser.add_argument("--seams", metavar="SOURCE", help="a trained model: measure seams instead")
    parser.add_argument("--images", type=pathlib.Path, help="images for --seams")
    parser.add_argument("--size", type=int, default=512, help="side that these are cropped and resized to")
    parser.add_argument("--number", type=int, default=8, help="how many of them")
    options = parser.parse_args(arguments)
    if options.seams:
        if options.images is None:
            parser.error("--images must come with --seams")
        for name, value in seams(
            options.seams, options.images, options.size, options.tile, options.number
        ).items():
            print(f"{name}: {value:.3f}")
        return
    text = report(measure_all(options), options)
    with atomic_path(options.output) as temporary:
        temporary.write_text(text, encoding="utf-8")
    options.output.with_suffix(".json").unlink(missing_ok=True)
    print(text)


if __name__ == "__main__":
    main()
