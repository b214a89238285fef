"""A folder of pictures with a sub-folder for each class: trained on, and asked for by name.

    python examples/own_images.py --output pictures/ [--quick]

The folder is written here, of digits under the names of numbers, so that the script runs without data of
yours; everything after that is what one does with a folder of one's own.
"""

import numpy as np
from common import parsed, recipe
from PIL import Image

import keras_vaegan as kvg
from keras_vaegan import plots, presets

NAMES = ("zero", "one", "two", "three")
PER_CLASS, EPOCHS = 140, 80  # a thousand steps


def main():
    """Write a folder, train on it, and draw what was asked for by name."""
    options, data = parsed(__doc__)
    folder = options.output / "pictures"
    write_folder(folder, *data.train)

    own = kvg.data.load(folder)  # grey or colour, of any size; image_size=(64, 48) makes them all of one
    print(f"{len(own.train[0])} pictures of {own.image_shape}, classes {', '.join(own.class_names)}")
    chosen = recipe("cvae_gan", options, epochs=EPOCHS)
    model = presets.build(chosen, own.image_shape, seed=options.seed, num_classes=own.num_classes)
    batches = kvg.data.Batches(*own.train, batch_size=32, seed=options.seed, augment="translation")
    model.fit(batches, epochs=chosen["training"]["epochs"], validation_data=own.validation, verbose=2)

    asked = [own.class_names.index(name) for name in ("three", "one")]
    plots.save_grid(model.generate(20, labels=asked, seed=0), options.output / "asked.png", columns=10)
    print(f"look at {options.output / 'asked.png'}: three, one, three, one, ...")


def write_folder(folder, images, labels):
    """Write pictures of the first classes, each class in a folder of its name."""
    for k, name in enumerate(NAMES):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i, image in enumerate(images[labels == k][:PER_CLASS]):
            Image.fromarray(np.uint8(255 * image[..., 0] + 0.5)).save(folder / name / f"{i}.png")


if __name__ == "__main__":
    main()
