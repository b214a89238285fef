"""Scores and a picture of runs that `keras-vaegan train` made of one's own images.

    keras-vaegan train --model vae_gan --dataset fruits/train --output runs/fruits
    python -m benchmarks.own_images runs/fruits runs/emoji --hidden runs/cifar --tests fruits emoji cifar \\
        --output table.md --picture docs/images/own_images.jpg

PSNR and SSIM are those of the reconstructions, at the mean of the code, of the validation images (held out
at random) and of the test images: those of the run's dataset, or of the datasets of `--tests`, one for each
run. The picture has for each run a row of test images, a row of their reconstructions and, if the model
draws them, a row of samples; runs whose images may not be shown are `--hidden`.
"""

import argparse
import pathlib

import numpy as np
from PIL import Image

SHOWN = 12
NAMES = {"peak_signal_to_noise_ratio": "PSNR", "structural_similarity": "SSIM"}


def measured(run, tests=None):
    """What the page says of a run, and its three rows of images."""
    import keras_vaegan as kvg
    from keras_vaegan import evaluation, presets
    from keras_vaegan.cli import options

    model, metadata = presets.load_source(run)
    own, other = (
        options.as_seen(
            options.load_data_for(model.image_shape, metadata, dataset, None), model.image_shape, metadata
        )
        for dataset in (None, tests)
    )
    scores = {}
    for split, images in (("validation", own), ("test", other)):
        found = evaluation.score(model, images, ["reconstruction"], split=split)["scores"]
        values = {NAMES[one["name"]]: one["value"] for one in found if one["name"] in NAMES}
        scores[f"{split}, PSNR / SSIM"] = f"{values['PSNR']:.2f} / {values['SSIM']:.3f}"
    x = a_few(other.test[0], SHOWN)
    shown = [x, model.reconstruct(x)]
    if model.generates:
        shown.append(model.generate(SHOWN, seed=0))
    training = metadata["recipe"]["training"]
    parameters = sum(int(np.prod(weight.shape)) for weight in model.weights)
    facts = {
        "run": run.name,
        "images": f"{len(own.train[0]):,}",
        "size": "x".join(map(str, metadata["image_shape"])),
        "code": str(model.code_shape[0] if len(model.code_shape) == 1 else model.code_shape),
        "parameters": f"{parameters / 1e6:.1f} million",
        "steps": f"{training['steps']:,} of {training['batch_size']}",
        **scores,
    }
    return facts, shown, kvg.__version__, metadata["backend"]


def a_few(images, number):
    """The same few of some images, float in [0, 1], whenever they are asked for."""
    from keras_vaegan.data.views import in_floats

    return in_floats(images[np.sort(np.random.default_rng(0).permutation(len(images))[:number])])


def picture(rows, side=64):
    """Rows of images as one picture, on white, each image `side` pixels wide."""
    from keras_vaegan import plots

    made = Image.new("RGB", (len(rows[0]) * side, len(rows) * side), "white")
    for i, images in enumerate(rows):
        for j, image in enumerate(images):
            one = plots.opaque(plots.as_picture(image)).resize((side, side), Image.Resampling.NEAREST)
            made.paste(one, (j * side, i * side))
    return made


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=pathlib.Path)
    parser.add_argument("--hidden", nargs="*", default=[], type=pathlib.Path, help="runs not to be shown")
    parser.add_argument("--tests", nargs="*", help="datasets with the test images of each run")
    parser.add_argument("--output", type=pathlib.Path, required=True, help="Markdown file to write")
    parser.add_argument("--picture", type=pathlib.Path, required=True, help="picture to write")
    options = parser.parse_args()
    table, rows = [], []
    runs = [*options.runs, *options.hidden]
    for run, tests in zip(runs, options.tests or [None] * len(runs), strict=True):
        facts, shown, version, backend = measured(run, tests)
        table.append(facts)
        if run in options.runs:
            rows += shown
    picture(rows).save(options.picture, quality=88)
    names = list(table[0])
    lines = [
        f"| {' | '.join(names)} |",
        "|---" * len(names) + "|",
        *(f"| {' | '.join(facts[name] for name in names)} |" for facts in table),
    ]
    text = "\n".join([f"keras-vaegan {version}, {backend}, seed 0.", "", *lines, ""])
    options.output.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
