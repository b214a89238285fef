"""Put the weights of a run into the package, in half precision, as the preset of its recipe.

    python benchmarks/ship_preset.py runs/vae_gan_mnist_0 vae_gan_mnist
    python benchmarks/ship_preset.py runs/colour cvae_gan_cifar10 --images "9,000 of its images, as JPEG"
    python benchmarks/ship_preset.py runs/fruits vae_gan_fruits --images "all" --licence "CC BY-SA 4.0"

The run must be of the recipe as it stands now, but for where its images were read from; what they were is
said with `--images`. Its scores (`keras-vaegan evaluate RUN`) go along.
"""

import argparse
import json
import pathlib

from keras_vaegan import presets
from keras_vaegan.files import read_json
from keras_vaegan.presets import RECIPES, load_folder

WEIGHTS = pathlib.Path(__file__).parents[1] / "keras_vaegan" / "presets" / "weights"
MOST_BYTES = 6_000_000
KEPT = ("image_shape", "num_classes", "class_names", "augment", "seed", "backend", "epochs_done")
KEPT += ("steps_per_epoch", "value_range", "preprocessing")


def main():
    """Write the preset."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("run", type=pathlib.Path)
    parser.add_argument("name", choices=RECIPES)
    parser.add_argument("--images", help="what the training images were, if not all of the recipe's data set")
    parser.add_argument("--licence", default="Apache-2.0", help="of the weights")
    options = parser.parse_args()

    model, metadata = load_folder(options.run)
    recipe = json.loads(json.dumps(presets.plan(presets.recipe(options.name))))
    dataset, trained = recipe["training"]["dataset"], metadata["recipe"]
    if options.images:
        trained["training"]["dataset"] = dataset
    trained["expect"] = recipe["expect"]  # words about it, which may have been written afterwards
    assert recipe == trained, "the run is of another recipe"
    scores = read_json(options.run / "evaluate.json")
    results = {
        one["name"] + (f" ({one['features']})" if one["features"] else ""): one["value"]
        for one in scores["scores"]
    }
    about = {name: metadata[name] for name in KEPT if metadata.get(name) is not None}
    if options.images:
        about["images"] = options.images
    about |= {
        "dataset": dataset,
        "recipe": recipe,
        "licence": options.licence,
        "measured": {
            "data": scores["data"] | {"dataset": dataset},
            "samples": scores["samples"],
            "date": scores["date"],
        },
        "results": results,
    }
    model.save_to_preset(WEIGHTS / options.name, about, half=True)
    size = (WEIGHTS / options.name / "model.weights.h5").stat().st_size
    assert size <= MOST_BYTES, f"{size} bytes are too many"
    print(f"{WEIGHTS / options.name}: {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
