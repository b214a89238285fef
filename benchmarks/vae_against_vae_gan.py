"""A VAE and a VAE/GAN trained alike, compared: their grids side by side, and sharpness as a number.

    keras-vaegan train --model vae --dataset mnist --output runs/vae_mnist
    keras-vaegan train --model vae_gan --dataset mnist --output runs/vae_gan_mnist
    python benchmarks/vae_against_vae_gan.py runs/vae_mnist runs/vae_gan_mnist

Writes `docs/images/vae_against_vae_gan.png` and `benchmarks/results/vae_against_vae_gan.md`.
The classes of samples are told by the nearest real training images (k = 5, in pixels).
"""

import argparse
import datetime
import json
import pathlib

import numpy as np
from sklearn.neighbors import KNeighborsClassifier

from keras_vaegan.data import load
from keras_vaegan.files import atomic_path
from keras_vaegan.metrics import laplacian_variance
from keras_vaegan.plots import as_picture, grid
from keras_vaegan.presets import load_folder

ROOT = pathlib.Path(__file__).parents[1]
NUM_IMAGES, NUM_SHOWN, SEED = 10_000, 100, 0


def main():
    """Compare two run folders."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("vae", type=pathlib.Path)
    parser.add_argument("vae_gan", type=pathlib.Path)
    parser.add_argument("--manual-dir")
    parser.add_argument("--data-dir")
    options = parser.parse_args()

    runs = {
        name: load_folder(folder) for name, folder in (("VAE", options.vae), ("VAE/GAN", options.vae_gan))
    }
    recipes = {name: metadata["recipe"] for name, (_, metadata) in runs.items()}
    assert recipes["VAE"]["training"] == recipes["VAE/GAN"]["training"], "the trainings differ"
    for network in ("family", "latent_dim", "encoder", "decoder"):
        assert recipes["VAE"]["networks"][network] == recipes["VAE/GAN"]["networks"][network]
    assert runs["VAE"][1]["seed"] == runs["VAE/GAN"][1]["seed"]

    metadata = runs["VAE/GAN"][1]
    data = load(metadata["dataset"], data_dir=options.data_dir, manual_dir=options.manual_dir)
    real = laplacian_variance(data.test[0])
    classifier = KNeighborsClassifier(5).fit(
        data.train[0][:20_000].reshape(20_000, -1), data.train[1][:20_000]
    )
    rows, sheets = [], []
    for name, (model, about) in runs.items():
        images = model.generate(NUM_IMAGES, seed=SEED)
        sharpness = laplacian_variance(images)
        classes = np.bincount(classifier.predict(images[:1000].reshape(1000, -1)), minlength=10)
        rows.append(
            f"| {name} | {sharpness:.4f} | {sharpness / real:.2f} | {about['results']['val_loss']:.1f} "
            f"| {' '.join(map(str, classes))} | {about['seconds']:.0f} |"
        )
        sheets.append(grid(images[:NUM_SHOWN]))
    gap = np.ones((sheets[0].shape[0], 12, sheets[0].shape[2]))
    picture = as_picture(np.concatenate([sheets[0], gap, sheets[1]], axis=1))
    with atomic_path(ROOT / "docs" / "images" / "vae_against_vae_gan.png") as temporary:
        picture.resize((picture.width * 3 // 2, picture.height * 3 // 2)).save(temporary)

    training = metadata["recipe"]["training"]
    text = "\n".join(
        [
            "# VAE against VAE/GAN: the same networks, epochs and seed",
            "",
            f"{metadata['dataset']}: {len(data.train[0]):,} training images, {training['epochs']} epochs, "
            f"batch {training['batch_size']}, seed {metadata['seed']}, on {metadata['backend']}, 2 cores, "
            f"{datetime.date.today()}.",
            "",
            "    keras-vaegan train --model vae --dataset mnist --output runs/vae_mnist",
            "    keras-vaegan train --model vae_gan --dataset mnist --output runs/vae_gan_mnist",
            "    python benchmarks/vae_against_vae_gan.py runs/vae_mnist runs/vae_gan_mnist",
            "",
            f"Sharpness is the mean variance of the Laplacian over {NUM_IMAGES:,} samples from the prior "
            f"(noise of seed {SEED}); of the {len(data.test[0]):,} real test images it is {real:.4f}. "
            "Classes are those of 1,000 samples by the five nearest real training images.",
            "",
            *(f"- {name}: {json.dumps(recipe['optimizer'])}" for name, recipe in recipes.items()),
            "",
            "| | sharpness | ratio to real | negative bound on validation images, nats | samples of 0 to 9 "
            "| training, s |",
            "|---|---|---|---|---|---|",
            *rows,
            "",
            "![grids](../../docs/images/vae_against_vae_gan.png)",
            "",
        ]
    )
    with atomic_path(ROOT / "benchmarks" / "results" / "vae_against_vae_gan.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
