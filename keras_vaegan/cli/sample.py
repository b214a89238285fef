"""What a trained model makes of codes and images: `generate`, `complete`, `classify` and their like."""

import csv
import io
import pathlib
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from keras_vaegan.cli import options
from keras_vaegan.cli.options import MODEL, GroupedCommand, option
from keras_vaegan.cli.parts import generate_parts, labels_and_names
from keras_vaegan.errors import InputError, csv_cell
from keras_vaegan.files import atomic_path

if TYPE_CHECKING:
    from keras_vaegan.models.latent import LatentVariableModel

SOURCE = click.argument("source")
ARGUMENTS = {"preset": "SOURCE"}  # of the package, for what has another name here
VERBS = {"transfer_style": "transfer style", "canvases": "draw step by step"}  # in words
DATA_OPTIONS = options.data_options(
    "the one SOURCE was trained on", "Read images: a name, a folder or an .npz file."
)


@click.command(cls=GroupedCommand, arguments=ARGUMENTS)
@SOURCE
@option("--num-images", type=options.Count(1), default=64, help="Make this many images.")
@options.labels
@options.seed
@options.picture_or_folder
@options.batch_size
@options.backend
def generate(source, num_images, labels, seed, output, batch_size):
    """Draw images from the prior of SOURCE: a run folder, a preset or a .keras file.

    The same seed gives the same images. Image i is of class LABELS[i modulo their number], of all classes
    in turn without --labels. .npz has `images` (N, H, W, C) float32 in [0, 1], and `labels` (N,), which are
    positions in `class_names` (K,) if the classes have names. A folder gets part-00000.npz and so on, of
    10,000 images each, as they come; parts that are there are not made again.
    """
    from keras_vaegan import plots

    model, metadata = load_model(source)
    chosen = options.parse_labels(labels, model.num_classes, metadata.get("class_names"))
    if not output.suffix:
        generate_parts(model, output, num_images, chosen, seed, batch_size, metadata.get("class_names"))
        return
    arrays = {"images": model.generate(num_images, chosen, seed=seed, batch_size=batch_size)}
    shown = model.labels_in_turn(num_images, chosen)
    columns = None
    if shown is not None:
        arrays |= labels_and_names(shown, metadata.get("class_names"))
        columns = plots.class_columns(model.num_classes if chosen is None else len(chosen), num_images)
    write_output(output, arrays, lambda path: plots.save_grid(arrays["images"], path, columns))


@click.command(cls=GroupedCommand, arguments=ARGUMENTS)
@SOURCE
@DATA_OPTIONS
@options.images
@option("--num-images", type=options.Count(1), default=64, help="Use this many images of the test split.")
@options.tile
@options.seed
@options.picture
@options.batch_size
@options.backend
def reconstruct(source, num_images, tile, seed, output, batch_size, **where):
    """Encode and decode images with SOURCE: a run folder, a preset or a .keras file.

    A picture shows rows of images, each above its reconstructions; .npz has `images` and
    `reconstructions`, (N, H, W, C) float32 in [0, 1]. Models with spatial latent codes take images of any
    --image-size, in tiles if they are large.
    """
    from keras_vaegan import plots

    model, metadata = load_model(source)
    if tile is not None:  # checked before data are read
        model.check_tile(tile)
    images, labels, _ = _images(model, metadata, num_images, seed, **where)
    made = model.reconstruct(images, labels, batch_size=batch_size, tile=tile)
    arrays = {"images": images, "reconstructions": made}
    write_output(
        output, arrays, lambda path: plots.save_reconstructions(images, arrays["reconstructions"], path)
    )


@click.command(cls=GroupedCommand, arguments=ARGUMENTS)
@SOURCE
@DATA_OPTIONS
@options.images
@option("--num-pairs", type=options.Count(1), default=8, help="Use this many pairs of the test split.")
@option(
    "--steps", type=options.Count(2), default=10, help="Make this many images on each way, ends included."
)
@option(
    "--path",
    type=options.Name("--path", ("linear", "spherical", "noise")),
    default=None,
    show_default="noise for a flow, else linear",
    help="Walk this way. noise walks through that of the prior.",
)
@options.seed
@options.picture
@options.backend
def interpolate(source, num_pairs, steps, path, seed, output, **where):
    """Walk from one image to another in the latent space of SOURCE: a run folder, a preset or a .keras file.

    A picture has a row for each pair; .npz has `images` (N, steps, H, W, C) float32 in [0, 1].
    """
    from keras_vaegan import plots

    model, metadata = load_model(source)
    path = model.check_path(path)
    ends, labels, _ = _images(model, metadata, 2 * num_pairs, seed, **where)
    if len(ends) % 2:
        raise InputError(f"--images must hold pairs; received {len(ends)} pictures.")
    pairs = None if labels is None else (labels[::2], labels[1::2])
    images = model.interpolate(ends[::2], ends[1::2], steps=steps, path=path, labels=pairs)
    flat = images.reshape(-1, *images.shape[2:])
    write_output(output, {"images": images}, lambda target: plots.save_grid(flat, target, columns=steps))


@click.command(cls=GroupedCommand, arguments=ARGUMENTS)
@SOURCE
@DATA_OPTIONS
@options.images
@option("--num-images", type=options.Count(1), default=8, help="Use this many images of the test split.")
@option(
    "--mask",
    default="left",
    group=MODEL,
    help="Show this part of an image. left, right, top, bottom, quadrants:1 to 3, or an image, white where "
    "visible.",
)
@option("--num-samples", type=options.Count(1), default=8, help="Make this many completions of each image.")
@options.seed
@options.picture
@options.batch_size
@options.backend
def complete(source, num_images, mask, num_samples, seed, output, batch_size, **where):
    """Complete images of which SOURCE, a run folder, a preset or a .keras file, sees a part.

    A picture has a row for each image: what is given, on grey; the completions; the original. .npz has
    `images` (N, H, W, C), `mask` (H, W) and `completions` (N, samples, H, W, C), float32 in [0, 1].
    """
    from keras_vaegan import plots
    from keras_vaegan.data import named_mask, read_mask
    from keras_vaegan.data.masks import NAMED

    model, metadata = load_model(source)
    _able(model, "complete", "completes", "completion_cvae")
    visible = (named_mask if mask in NAMED else read_mask)(mask, model.image_shape)
    images, labels, _ = _images(model, metadata, num_images, seed, **where)
    completions = model.complete(images, visible, num_samples, labels, seed, batch_size)
    arrays = {"images": images, "mask": visible, "completions": completions}
    write_output(output, arrays, lambda path: plots.save_completions(images, visible, completions, path))


@click.command("transfer-style", cls=GroupedCommand, arguments=ARGUMENTS)
@SOURCE
@DATA_OPTIONS
@options.images
@option("--num-images", type=options.Count(1), default=10, help="Use this many images of the test split.")
@options.labels
@options.seed
@options.picture
@options.batch_size
@options.backend
def transfer_style(source, num_images, labels, seed, output, batch_size, **where):
    """Show images as other classes in the style of each, by SOURCE: a run folder, a preset or a .keras file.

    A picture has a row for each image: itself, then one of each class. .npz has `images` (N, H, W, C),
    `labels` (L,), positions in `class_names` (K,) if the classes have names, and `styled`
    (N, L, H, W, C), float32 in [0, 1].
    """
    from keras_vaegan import plots

    model, metadata = load_model(source)
    _able(model, "transfer_style", "num_classes", "cvae")
    chosen = options.parse_labels(labels, model.num_classes, metadata.get("class_names"))
    shown = np.arange(model.num_classes or 0) if chosen is None else np.asarray(chosen)
    images, own, _ = _images(model, metadata, num_images, seed, **where)
    styled = model.transfer_style(images, shown, own, batch_size)
    arrays = {"images": images, "styled": styled, **labels_and_names(shown, metadata.get("class_names"))}
    rows = np.concatenate([images[:, None], styled], axis=1)
    flat = rows.reshape(-1, *rows.shape[2:])
    write_output(output, arrays, lambda path: plots.save_grid(flat, path, columns=len(shown) + 1))


@click.command(cls=GroupedCommand, arguments=ARGUMENTS)
@SOURCE
@DATA_OPTIONS
@options.images
@option("--num-images", type=options.Count(1), default=8, help="Use this many images of the test split.")
@options.seed
@option(
    "--output",
    type=options.Output(),
    default=None,
    show_default="standard output",
    help="Write this CSV file.",
)
@options.batch_size
@options.backend
def classify(source, num_images, seed, output, batch_size, **where):
    """Tell the classes of images by SOURCE, a run folder, a preset or a .keras file, as CSV.

    A line for each image: its file's name or its number in the split, the likeliest class, and the
    probability of each class. A class named "image" or "class" has the column p(image) or p(class). Of a
    semi-supervised model by its classifier, q(y|x) unless it was told otherwise in training; of another one
    that is conditioned on classes by its bounds on p(x|y).
    """
    model, metadata = load_model(source)
    _able(model, "classify", "num_classes", "ssl_vae")
    images, _, names = _images(model, metadata, num_images, seed, classes=False, **where)
    probabilities = model.classify(images, batch_size=batch_size)
    classes = metadata.get("class_names") or [str(k) for k in range(model.num_classes or 0)]
    first = ("image", "class")  # a class of such a name must not have a column of the same name
    classes = [csv_cell(name) for name in classes]
    rows = [[*first, *(f"p({name})" if name in first else name for name in classes)]]
    for name, row in zip(names, probabilities, strict=True):
        rows.append([csv_cell(name), classes[int(row.argmax())], *(f"{value:.6f}" for value in row)])
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows(rows)
    encoding = (getattr(sys.stdout, "encoding", None) if output is None else None) or "utf-8"
    # A file's name may be no text; one that cannot be written must not cost the predictions.
    text = table.getvalue().encode(encoding, "backslashreplace").decode(encoding)
    if output is None:
        options.echo(text, nl=False)
        return
    with atomic_path(output) as temporary:
        temporary.write_text(text, encoding="utf-8")
    options.echo(f"wrote {output}")


@click.command(cls=GroupedCommand, arguments=ARGUMENTS)
@SOURCE
@option("--num-images", type=options.Count(1), default=16, help="Make this many images.")
@options.labels
@options.seed
@option(
    "--output",
    type=options.Output(),
    required=True,
    help="Write this .gif or .npz file.",
)
@options.batch_size
@options.backend
def animate(source, num_images, labels, seed, output, batch_size):
    """Show how SOURCE, a run folder, a preset or a .keras file of a DRAW, draws images step by step.

    A GIF has a box around each glimpse. .npz has `canvases` (N, T, H, W, C) float32 in [0, 1], `centres`
    (N, T, 2), height first, and `sizes` (N, T) of the glimpses in pixels.
    """
    from keras_vaegan import plots

    if output.suffix not in (".gif", ".npz"):
        raise InputError(f"--output must end in .gif (a picture) or .npz (arrays); received {str(output)!r}.")
    model, metadata = load_model(source)
    _able(model, "canvases", "steps", "draw")
    chosen = options.parse_labels(labels, model.num_classes, metadata.get("class_names"))
    made = model.canvases(num_images, chosen, seed=seed, batch_size=batch_size)
    columns = plots.class_columns(model.num_classes if chosen is None else len(chosen), num_images)
    frames = made["canvases"], made["centres"], made["sizes"]
    write_output(output, made, lambda path: plots.save_animation(*frames, path, columns))


def load_model(source: str) -> "tuple[LatentVariableModel, dict[str, Any]]":
    options.load_keras()
    from keras_vaegan.presets import load_source

    model, metadata = load_source(source)
    return model, options.with_range_of(model, metadata)


def _able(model: "LatentVariableModel", verb: str, condition: str, able: str) -> None:
    """Raise unless the model has a verb, and the condition that the verb needs."""
    if not hasattr(model, verb) or not getattr(model, condition, None):
        raise InputError(
            f"source must be a model that can {VERBS.get(verb, verb)}, as {able} can; "
            f"it is a {type(model).__name__}."
        )


def _images(
    model: "LatentVariableModel",
    metadata: dict[str, Any],
    count: int,
    seed: int,
    images: pathlib.Path | None,
    dataset: str | None,
    data_dir: str | None,
    manual_dir: str | None,
    image_size: tuple[int, int] | None,
    value_range: tuple[float, float] | None,
    classes: bool = True,
) -> tuple[np.ndarray, np.ndarray | None, list[str]]:
    """Pictures of the user's own, or images of the test split, drawn by the seed; their classes; their names.

    Of the size and channels that the model takes. A model that is conditioned on classes tells them
    itself where they are not known; another one gets none, nor does a caller that wants no `classes`.
    The names of test images are their numbers.
    """
    from keras_vaegan.data import load_pictures

    size = options.free_size(model, image_size, images is not None)
    if images is not None:
        options.check_one_source(images, dataset)
        x, y, names = load_pictures(
            images,
            options.preprocessing_for(model.image_shape, metadata, size),
            metadata.get("class_names") if classes and model.num_classes else None,
            value_range,
        )
    else:
        data = options.load_data_for(
            model.image_shape,
            metadata,
            dataset,
            image_size,
            value_range,
            model.num_classes if classes else None,
            data_dir=data_dir,
            manual_dir=manual_dir,
        )
        x, y = options.as_seen(data, model.image_shape, metadata, size).test
        if len(x) < count:
            raise InputError(
                f"--dataset must have {count} test images for this; {data.name} has {len(x)}.",
                argument="--dataset",
                allowed=count,
                received=len(x),
            )
        rows = np.random.default_rng(seed).permutation(len(x))[:count]
        x, y, names = x[rows], None if y is None else y[rows], [str(row) for row in rows]
    return x, model.labels_of(y, x) if classes else None, names


def write_output(
    output: pathlib.Path, arrays: dict[str, Any], save_picture: Callable[[pathlib.Path], None]
) -> None:
    """Write the arrays as `.npz`, or their picture."""
    if output.suffix == ".npz":
        with atomic_path(output) as temporary:
            np.savez_compressed(temporary, **arrays)
    else:
        save_picture(output)
    options.echo(f"wrote {output}")
