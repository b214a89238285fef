"""The figures of DRAW in Chen, Fang and Ju 2016: drawing step by step, reconstructions, samples; and a film.

    python examples/draw_figures.py --output figures/
    python examples/draw_figures.py --output figures/ --draw runs/draw_mnist --draw-gan runs/draw_gan_mnist
    python examples/draw_figures.py --output figures/ --quick

draws them with the trained presets; with models of your own (run folders, presets or .keras files); or with
small models that it trains on the embedded digits, in a minute or two.
"""

import numpy as np
from common import parsed, trained
from paper_grids import beside

from keras_vaegan import plots, presets

ROWS, COLUMNS = 10, 10
FILMED = 16
SOURCES = {"draw": "draw_mnist", "conditional_draw": "conditional_draw_mnist", "draw_gan": "draw_gan_mnist"}


def main():
    """Draw the figures."""
    options, data = parsed(__doc__, SOURCES)
    if options.quick:
        models = {key: trained(key, data) for key in SOURCES}
    else:
        models = {key: presets.load_source(getattr(options, key))[0] for key in SOURCES}

    # Drawing step by step: a row for each picture, a column for each step; DRAW and DRAW-GAN.
    made = {key: model.canvases(FILMED, seed=options.seed) for key, model in models.items()}
    rows = [made[key]["canvases"][:ROWS] for key in ("draw", "draw_gan")]
    sheets = [plots.grid(row.reshape(-1, *data.image_shape), row.shape[1]) for row in rows]
    beside(sheets, options.output / "draw_sequences.png")
    # By class: of the conditional one, the digits from 0 to 9.
    classes = np.arange(data.num_classes)
    steps = models["conditional_draw"].canvases(len(classes), classes, seed=options.seed)["canvases"]
    by_class = plots.grid(steps.reshape(-1, *data.image_shape), steps.shape[1])
    samples = models["conditional_draw"].generate(ROWS * COLUMNS, seed=options.seed)
    beside([by_class, plots.grid(samples, COLUMNS)], options.output / "draw_by_class.png")
    # Reconstructions, each below its image, and samples.
    images = data.test[0][: ROWS // 2 * COLUMNS]
    both = [models[key] for key in ("draw", "draw_gan")]
    rebuilt = [
        np.concatenate([images.reshape(-1, COLUMNS, *data.image_shape), pictures], axis=1)
        for pictures in (model.reconstruct(images).reshape(-1, COLUMNS, *data.image_shape) for model in both)
    ]
    sheets = [plots.grid(sheet.reshape(-1, *data.image_shape), COLUMNS) for sheet in rebuilt]
    beside(sheets, options.output / "draw_reconstructions.png")
    sheets = [plots.grid(model.generate(ROWS * COLUMNS, seed=options.seed), COLUMNS) for model in both]
    beside(sheets, options.output / "draw_samples.png")

    film = made["draw_gan"]
    plots.save_animation(
        film["canvases"], film["centres"], film["sizes"], options.output / "draw_gan.gif", columns=8
    )
    names = ", ".join(sorted(path.name for path in options.output.glob("draw_*")))
    print(f"look at {names} in {options.output}")


if __name__ == "__main__":
    main()
