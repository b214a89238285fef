"""`generate`, `reconstruct` and `interpolate`: pictures or arrays from a trained model."""

import pathlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from keras_vaegan.cli import options
from keras_vaegan.cli.options import GroupedCommand, option
from keras_vaegan.errors import InputError
from keras_vaegan.files import atomic_path

if TYPE_CHECKING:
    from keras_vaegan.models.latent import LatentVariableModel

SOURCE = click.argument("source")


@click.command(cls=GroupedCommand)
@SOURCE
@option("--num-images", type=click.IntRange(1), default=64, help="How many images.")
@options.seed
@options.picture
@options.batch_size
@options.backend
def generate(source, num_images, seed, output, batch_size):
    """Draw images from the prior of SOURCE, a run folder or a .keras file.

    The same seed gives the same images; .npz has `images` (N, H, W, C) float32 in [0, 1].
    """
    model, _ = _load(source)
    _write(output, {"images": model.generate(num_images, seed=seed, batch_size=batch_size)})


@click.command(cls=GroupedCommand)
@SOURCE
@options.data_options("the one SOURCE was trained on", "Images: a name, a folder or an .npz file.")
@option("--num-images", type=click.IntRange(1), default=64, help="How many images of the test split.")
@options.seed
@options.picture
@options.batch_size
@options.backend
def reconstruct(source, dataset, data_dir, manual_dir, image_size, num_images, seed, output, batch_size):
    """Encode and decode images with SOURCE, a run folder or a .keras file.

    A picture shows rows of images, each above its reconstructions; .npz has `images` and
    `reconstructions`, (N, H, W, C) float32 in [0, 1].
    """
    from keras_vaegan import plots

    model, metadata = _load(source)
    images = _test_images(model, metadata, dataset, data_dir, manual_dir, image_size, num_images, seed)
    arrays = {"images": images, "reconstructions": model.reconstruct(images, batch_size=batch_size)}
    _write(output, arrays, lambda path: plots.save_reconstructions(images, arrays["reconstructions"], path))


@click.command(cls=GroupedCommand)
@SOURCE
@options.data_options("the one SOURCE was trained on", "Images: a name, a folder or an .npz file.")
@option("--num-pairs", type=click.IntRange(1), default=8, help="How many pairs of the test split.")
@option("--steps", type=click.IntRange(2), default=10, help="Images on each way, both ends included.")
@option("--path", type=options.Name("--path", ("linear", "spherical")), default="linear", help="The way.")
@options.seed
@options.picture
@options.backend
def interpolate(source, dataset, data_dir, manual_dir, image_size, num_pairs, steps, path, seed, output):
    """Walk from one image to another in the latent space of SOURCE, a run folder or a .keras file.

    A picture has a row for each pair; .npz has `images` (N, steps, H, W, C) float32 in [0, 1].
    """
    from keras_vaegan import plots

    model, metadata = _load(source)
    ends = _test_images(model, metadata, dataset, data_dir, manual_dir, image_size, 2 * num_pairs, seed)
    images = model.interpolate(ends[::2], ends[1::2], steps=steps, path=path)
    flat = images.reshape(-1, *images.shape[2:])
    _write(output, {"images": images}, lambda target: plots.save_grid(flat, target, columns=steps))


def _load(source: str) -> "tuple[LatentVariableModel, dict[str, Any]]":
    options.load_keras()
    from keras_vaegan.presets import load_source

    return load_source(source)


def _test_images(
    model: "LatentVariableModel",
    metadata: Mapping[str, Any],
    dataset: str | None,
    data_dir: str | None,
    manual_dir: str | None,
    image_size: tuple[int, int] | None,
    count: int,
    seed: int,
) -> np.ndarray:
    """Images of the test split, drawn by the seed, of the size and channels that the model takes."""
    data = options.load_data_for(
        model.image_shape, metadata, dataset, image_size, data_dir=data_dir, manual_dir=manual_dir
    )
    images = data.test[0]
    if len(images) < count:
        raise InputError(f"{data.name} must have {count} test images for this; it has {len(images)}.")
    return images[np.random.default_rng(seed).permutation(len(images))[:count]]


def _write(
    output: pathlib.Path,
    arrays: dict[str, Any],
    save_picture: Callable[[pathlib.Path], None] | None = None,
) -> None:
    """Write the arrays as `.npz`, or their picture: a grid of `images` where no other is given."""
    from keras_vaegan import plots

    if output.suffix == ".npz":
        with atomic_path(output) as temporary:
            np.savez_compressed(temporary, **arrays)
    elif save_picture is not None:
        save_picture(output)
    else:
        plots.save_grid(arrays["images"], output)
    click.echo(f"wrote {output}")
