"""The grids of Chen, Fang and Ju 2016: digits by label, completed halves, styles carried over.

    python examples/paper_grids.py --output grids/
    python examples/paper_grids.py --output grids/ --cvae runs/cvae_mnist --cvae-gan runs/cvae_gan_mnist
    python examples/paper_grids.py --output grids/ --quick

draws them with the trained presets; with models of your own (run folders, presets or .keras files); or with
small models that it trains on the embedded digits, in a minute or two.
"""

import numpy as np
from common import parsed, trained

from keras_vaegan import plots, presets
from keras_vaegan.data import named_mask
from keras_vaegan.files import atomic_path

ROWS, COMPLETED = 10, 8
GAP, SCALE = 12, 1.5
SOURCES = {"cvae": "cvae_mnist", "cvae_gan": "cvae_gan_mnist", "completion": "completion_cvae_mnist"}


def main():
    """Draw the three grids."""
    options, data = parsed(__doc__, SOURCES)
    if options.quick:
        cvae, cvae_gan, completer = (trained(key, data) for key in ("cvae", "cvae_gan", "completion_cvae"))
    else:
        sources = (options.cvae, options.cvae_gan, options.completion)
        cvae, cvae_gan, completer = (presets.load_source(source)[0] for source in sources)

    images, labels = data.test
    classes = np.arange(data.num_classes)
    chosen = [np.flatnonzero(labels == k)[0] for k in classes]  # one of each

    by_label = [
        plots.grid(model.generate(ROWS * len(classes), seed=options.seed), len(classes))
        for model in (cvae, cvae_gan)
    ]
    beside(by_label, options.output / "by_label.png")

    styles = []
    for model in (cvae, cvae_gan):
        styled = model.transfer_style(images[chosen], classes, labels[chosen])
        rows = np.concatenate([images[chosen][:, None], styled], axis=1)
        styles.append(plots.grid(rows.reshape(-1, *data.image_shape), len(classes) + 1))
    beside(styles, options.output / "styles.png")

    mask = named_mask("left", data.image_shape)
    completions = completer.complete(images[chosen], mask, COMPLETED, seed=options.seed)
    plots.save_completions(images[chosen], mask, completions, options.output / "halves.png")
    print(f"look at by_label.png, styles.png and halves.png in {options.output}")


def beside(sheets, path):
    """Write two grids side by side."""
    gap = np.ones((sheets[0].shape[0], GAP, sheets[0].shape[2]))
    picture = plots.as_picture(np.concatenate([sheets[0], gap, sheets[1]], axis=1))
    with atomic_path(path) as temporary:
        picture.resize((round(picture.width * SCALE), round(picture.height * SCALE))).save(temporary)


if __name__ == "__main__":
    main()
