"""The wall of pictures in the README: a row of samples from each trained preset.

    python examples/gallery.py --output docs/images/wall.png

Presets come with the package, noise is drawn in NumPy from the seed: the same picture on every backend, but
for rounding. `--presets` shows others, `--quick` fewer pictures.
"""

import argparse
import pathlib

import numpy as np

from keras_vaegan import plots, presets
from keras_vaegan.files import atomic_path

COLUMNS, QUICK_COLUMNS = 16, 4
SIZE = 48  # side of a picture in the wall, in pixels
WALL = (
    "vae_mnist",
    "vae_gan_mnist",
    "cvae_mnist",
    "cvae_gan_mnist",
    "draw_mnist",
    "draw_gan_mnist",
    "conditional_draw_mnist",
    "conditional_draw_gan_mnist",
    "ssl_vae_mnist",
    "ssl_vae_gan_mnist",
    "completion_cvae_mnist",
    "cvae_gan_cifar10",
)


def main():
    """Draw the wall."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--output", type=pathlib.Path, required=True, help="picture to write")
    parser.add_argument("--presets", nargs="+", default=WALL)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="fewer pictures")
    options = parser.parse_args()

    columns = QUICK_COLUMNS if options.quick else COLUMNS
    rows = {name: row_of(name, columns, options.seed) for name in options.presets}
    save_wall(rows, options.output)
    print(f"look at {options.output}")


def row_of(name, columns, seed):
    """Samples of a preset `(columns, H, W, C)`; of a drawing model the last column is the drawing, the
    others its steps; of one that completes, halves of another model's samples and what became of them."""
    model = presets.load_source(name)[0]
    if model.completes:
        half = columns // 2
        images = presets.load_source("vae_gan_mnist")[0].generate(half, seed=seed)
        done = model.complete(images, "left", num_samples=1, seed=seed)[:, 0]
        seen = images.copy()
        seen[:, :, images.shape[2] // 2 :] = plots.HIDDEN
        return np.stack([seen, done], axis=1).reshape(-1, *images.shape[1:])
    if hasattr(model, "canvases"):
        canvases = model.canvases(1, seed=seed)["canvases"][0]
        return canvases[np.linspace(0, len(canvases) - 1, columns).round().astype(int)]
    return model.generate(columns, seed=seed)


def save_wall(rows, path):
    """Draw rows of pictures `{name: (N, H, W, C)}`, each under its name."""
    import matplotlib.figure

    columns = max(map(len, rows.values()))
    width, height = columns * SIZE + 8, len(rows) * (SIZE + 26)
    figure = matplotlib.figure.Figure(figsize=(width / 100, height / 100), dpi=100, facecolor="white")
    for i, (name, images) in enumerate(rows.items()):
        axes = figure.add_axes((0, 1 - ((i + 1) * (SIZE + 26) - 4) / height, 1, (SIZE + 4) / height))
        sheet = plots.grid(images, len(images))
        axes.imshow(sheet.squeeze(), cmap="gray", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
        axes.set_axis_off()
        axes.set_title(name, loc="left", fontsize=8, pad=2, family="monospace")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})


if __name__ == "__main__":
    main()
