"""The grids of Chen, Fang and Ju 2016: digits by label, completed halves, styles carried over.

    python examples/paper_grids.py --output grids/
    python examples/paper_grids.py --output grids/ --cvae runs/cvae_mnist --cvae-gan runs/cvae_gan_mnist
    python examples/paper_grids.py --output grids/ --quick

draws them with the trained presets; with models of your own (run folders, presets or .keras files); or with
small models that it trains on the embedded digits, in a minute or two.
"""

import argparse
import pathlib

import numpy as np

import keras_vaegan as kvg
from keras_vaegan import plots, presets
from keras_vaegan.data import named_mask
from keras_vaegan.files import atomic_path

ROWS, COMPLETED = 10, 8
GAP, SCALE = 12, 1.5
QUICK_EPOCHS = 10


def main():
    """Draw the three grids."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--output", type=pathlib.Path, required=True, help="folder for the pictures")
    parser.add_argument("--cvae", default="cvae_mnist")
    parser.add_argument("--cvae-gan", default="cvae_gan_mnist")
    parser.add_argument("--completion", default="completion_cvae_mnist")
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--data-dir")
    parser.add_argument("--manual-dir")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="small models, trained here on the digits")
    options = parser.parse_args()

    dataset = "digits" if options.quick else options.dataset
    data = kvg.data.load(dataset, data_dir=options.data_dir, manual_dir=options.manual_dir)
    if options.quick:
        cvae, cvae_gan, completer = (trained(key, data) for key in ("cvae", "cvae_gan", "completion_cvae"))
    else:
        sources = (options.cvae, options.cvae_gan, options.completion)
        cvae, cvae_gan, completer = (presets.load_source(source)[0] for source in sources)

    options.output.mkdir(parents=True, exist_ok=True)
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


def trained(key, data):
    """A small model of that kind, trained on the data."""
    name = f"{key}_digits"
    print(f"{name}: {QUICK_EPOCHS} epochs")
    model = presets.build(presets.recipe(name), data.image_shape, seed=0, num_classes=data.num_classes)
    x, y = data.train
    model.fit(x, model.labels_of(y), batch_size=32, epochs=QUICK_EPOCHS, verbose=0)
    return model


def beside(sheets, path):
    """Write two grids side by side."""
    gap = np.ones((sheets[0].shape[0], GAP, sheets[0].shape[2]))
    picture = plots.as_picture(np.concatenate([sheets[0], gap, sheets[1]], axis=1))
    with atomic_path(path) as temporary:
        picture.resize((round(picture.width * SCALE), round(picture.height * SCALE))).save(temporary)


if __name__ == "__main__":
    main()
