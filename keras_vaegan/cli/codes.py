"""`encode` and `decode`: the latent codes of many images as files, for a second model, and back."""

import dataclasses
import pathlib
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import numpy as np

from keras_vaegan import memory
from keras_vaegan.cli import options
from keras_vaegan.cli.options import DATA, MODEL, GroupedCommand, option
from keras_vaegan.cli.parts import PART, Form, labels_and_names, write_parts
from keras_vaegan.cli.sample import ARGUMENTS, SOURCE, load_model, write_output
from keras_vaegan.errors import InputError, one_line

if TYPE_CHECKING:
    from keras_vaegan.data import Codes
    from keras_vaegan.models.latent import LatentVariableModel

SPLITS = ("train", "validation", "test")
FORMATS = ("npz", "npy")
SHOWN = 64  # images of a grid, unless more are asked for
PART_BYTES = 1_000_000_000  # of decoded images in a file, at most
DECODED = Form("decoding.json")


class Images(NamedTuple):
    """The images to encode.

    Attributes:
        images: `StoredImages`, or an array, `(N, H, W, C)` in [0, 1].
        labels: int64 `(N,)`, -1 where unlabelled, or None.
        class_names: of the labels, or None.
        preprocessing: of the images, or None.
        origin: where they come from, for people.
    """

    images: Any
    labels: np.ndarray | None
    class_names: list[str] | None
    preprocessing: dict[str, Any] | None
    origin: dict[str, Any]

    def names(self, start: int, size: int) -> np.ndarray:
        """Names of images: of their files, or their numbers."""
        rows = np.arange(start, start + size)
        found = self.images.file_names(rows) if hasattr(self.images, "file_names") else None
        return np.array(rows.astype(str) if found is None else found, str)


@click.command(cls=GroupedCommand, arguments=ARGUMENTS | {"x": "--images"})
@SOURCE
@options.data_options("the one SOURCE was trained on", "Read images: a name, a folder or an .npz file.")
@options.images_option("those of --dataset")
@option(
    "--split",
    type=options.Name("--split", SPLITS),
    default="train",
    group=DATA,
    help="Encode this split of a dataset.",
)
@option("--sample/--no-sample", default=False, group=MODEL, help="Draw from q(z|x) instead of its mean.")
@option(
    "--scaled/--no-scaled",
    default=None,
    show_default="scaled if SOURCE has measured its codes",
    group=MODEL,
    help="Bring each channel to mean 0 and variance 1.",
)
@options.tile
@option("--format", type=options.Name("--format", FORMATS), default="npz", help="Write shards of this kind.")
@option("--shard-size", type=options.Count(1), default=10_000, help="Write this many codes into each shard.")
@options.seed
@option("--output", type=options.Output(folder=True), required=True, help="Write this folder.")
@options.batch_size
@options.backend
def encode(
    source, split, sample, scaled, tile, format, shard_size, seed, output, batch_size, images, **where
):
    """Write the latent codes of images by SOURCE, a run folder, a preset or a .keras file, as shards.

    The folder gets codes-00000.npz and so on, and codes.json, which says what they are. Each shard has
    `codes` (N, ...) float32, `names` (N,), and `labels` (N,) if they are known; --format npy writes a file
    for each, which can be memory-mapped. A model that is conditioned on classes tells those that are not
    known. The same command resumes: it does not make shards again that are there.
    """
    if output.suffix in (".npz", ".npy", ".png"):
        raise InputError(f"--output must be a folder, which gets the shards; received {str(output)!r}.")
    model, metadata = load_model(source)
    from keras_vaegan.data.codes import FACTS, VERSION
    from keras_vaegan.metrics.features import digest
    from keras_vaegan.registry import key_of

    if tile is not None:
        model.check_tile(tile)
    found = _images(model, metadata, images=images, split=split, **where)
    scaled = _measured(model) if scaled is None else scaled
    settings = {"sample": sample, "seed": seed, "batch_size": batch_size, "tile": tile, "scaled": scaled}
    # What cannot be encoded is refused before a file is made.
    first, _ = _encoded(model, found, slice(0, 1), settings)
    shape, count = first.shape[1:], len(found.images)
    needed = 3 * 4 * min(shard_size, count) * first[0].size
    memory.require(f"--shard-size={shard_size}", needed, "Use a smaller one.")

    def make(start: int, size: int, advance: Callable[[int], None]) -> dict[str, np.ndarray]:
        parts = []
        for rows in _steps(found.images, start, size, batch_size):
            parts.append(_encoded(model, found, rows, settings))
            advance(rows.stop - rows.start)
        codes = np.concatenate([part[0] for part in parts])
        arrays = {"codes": codes, "names": found.names(start, size)}
        labels = [part[1] for part in parts if part[1] is not None]
        return arrays | {"labels": np.concatenate(labels)} if labels else arrays

    facts = {
        "format_version": VERSION,
        "model": key_of(model),
        "weights": digest(model),
        "image_shape": list(found.images.shape[1:]),
        "code_shape": list(shape),
        "num_images": count,
        "content": _content(found),
        "format": format,
        "shard_size": shard_size,
        "scaled": scaled,
        "sampled": sample,
        "seed": seed if sample else None,
        "tile": tile,
        "statistics": _statistics(model),
        "class_names": found.class_names,
        "preprocessing": found.preprocessing,
    }
    told = {"source": source, **found.origin}
    form = Form(FACTS, "codes", "codes", f".{format}", packed=False, or_file="")
    shards = write_parts(output, form, facts, count, shard_size, make, told)
    how = f"{'draws of q(z|x)' if sample else 'means of q(z|x)'}, {'scaled' if scaled else 'not scaled'}"
    options.echo(f"wrote {shards} shards, {count:,} codes of {shape} ({how}), into {output}")


@click.command(cls=GroupedCommand, arguments=ARGUMENTS | {"z": "--codes"})
@SOURCE
@option(
    "--codes",
    type=click.Path(path_type=pathlib.Path),
    required=True,
    group=DATA,
    help="Read these: a folder of `encode`, a .npz or .npy file.",
)
@option(
    "--num-images",
    type=options.Count(1),
    default=None,
    show_default=f"all; {SHOWN} in a picture",
    group=DATA,
    help="Decode this many, from the first on.",
)
@options.labels
@option(
    "--scaled/--no-scaled",
    default=None,
    show_default="what codes.json says",
    group=MODEL,
    help="Take channels back from mean 0 and variance 1.",
)
@options.tile
@options.picture_or_folder
@options.batch_size
@options.backend
def decode(source, codes, num_images, labels, scaled, tile, output, batch_size):
    """Decode latent codes into images by SOURCE: a run folder, a preset or a .keras file.

    The codes are those of `encode`, or an array (N, ...) of another program: a .npy file, or `codes` in a
    .npz file, with `labels` for a model that is conditioned on classes. .npz has `images` (N, H, W, C)
    float32 in [0, 1], and `names` and `labels` if there are any. A folder gets part-00000.npz and so on,
    as they come; the same command resumes.
    """
    model, metadata = load_model(source)
    from keras_vaegan import plots
    from keras_vaegan.data import Codes
    from keras_vaegan.metrics.features import digest

    found = Codes(codes)
    class_names = metadata.get("class_names")
    chosen = options.parse_labels(labels, model.num_classes, class_names)
    decoder = _Decoder(model, found, _scaled(model, found, scaled), chosen, tile, batch_size)
    weights = digest(model)
    if found.facts and found.facts.get("weights") != weights:
        warnings.warn(f"{codes} has the codes of a model with other weights than {source}.", stacklevel=1)
    model.check_codes(found.shape)
    first = decoder(0, 1)
    count = len(found) if num_images is None else num_images
    if count > len(found):
        raise InputError(f"--num-images must be at most {len(found)}, the number of codes; received {count}.")

    def make(start: int, size: int, advance: Callable[[int], None]) -> dict[str, np.ndarray]:
        arrays = {"images": np.empty((size, *first.shape[1:]), "float32")}
        for rows in _steps(first, start, size, batch_size):
            arrays["images"][rows.start - start : rows.stop - start] = decoder(rows.start, rows.stop)
            advance(rows.stop - rows.start)
        return arrays | _beside(found, decoder.labels(start, start + size), class_names, start, size)

    if not output.suffix:
        size = max(1, min(PART, PART_BYTES // first[0].nbytes))
        facts = {
            "weights": weights,
            "codes": found.fingerprint(),
            "scaled": decoder.scaled,
            "labels": chosen,
            "tile": tile,
            "images_in_a_part": size,
        }
        parts = write_parts(output, DECODED, facts, count, size, make)
        options.echo(f"wrote {parts} parts, {count:,} images, into {output}")
        return
    if output.suffix == ".png" and num_images is None:
        count = min(count, SHOWN)
    memory.require(f"--num-images={count}", 2 * count * first[0].nbytes, "Use fewer, or write a folder.")
    with click.progressbar(length=count, label="images") as bar:
        arrays = make(0, count, bar.update)
    write_output(output, arrays, lambda path: plots.save_grid(arrays["images"], path))


class _Decoder:
    """Images of some of the codes, with their labels."""

    def __init__(
        self,
        model: "LatentVariableModel",
        codes: "Codes",
        scaled: bool,
        chosen: list[int] | None,
        tile: int | None,
        batch_size: int,
    ) -> None:
        self.model, self.codes, self.scaled, self.chosen = model, codes, scaled, chosen
        self.settings: dict[str, Any] = {"tile": tile, "batch_size": batch_size, "scaled": scaled}
        if model.num_classes is not None and chosen is None and codes.labels is None:
            raise InputError(
                "--labels must be given: SOURCE is conditioned on classes, and codes have no labels."
            )

    def labels(self, start: int, stop: int) -> np.ndarray | None:
        """Labels of codes: those that were asked for, in turn, or their own."""
        if self.chosen is not None:
            return self.model.labels_in_turn(stop - start, self.chosen, start)
        return None if self.codes.labels is None else self.codes.labels[start:stop]

    def __call__(self, start: int, stop: int) -> np.ndarray:
        """The images `(n, H, W, C)` of codes, without what the encoder has padded."""
        labels = None if self.model.num_classes is None else self.labels(start, stop)
        images = self.model.decode(self.codes[start:stop], labels, **self.settings)
        if self.model.any_size and self.codes.image_shape is not None:
            height, width, _ = self.codes.image_shape
            images = images[:, :height, :width]
        return images


def _beside(
    codes: "Codes", labels: np.ndarray | None, class_names: list[str] | None, start: int, size: int
) -> dict[str, np.ndarray]:
    """What is written beside decoded images: names and labels."""
    arrays = {} if codes.names is None else {"names": codes.names[start : start + size]}
    return arrays if labels is None else arrays | labels_and_names(labels, codes.class_names or class_names)


def _encoded(
    model: "LatentVariableModel", found: Images, rows: slice, settings: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray | None]:
    """Codes of some images, and their labels: those that the model is conditioned on, or those known."""
    x = found.images[rows]
    labels = None if found.labels is None else found.labels[rows]
    given = model.labels_of(labels, x)
    codes = model.encode(x, given, start=rows.start, **settings)
    if not np.isfinite(codes).all():
        bad = int(np.argmin(np.isfinite(codes.reshape(len(codes), -1)).all(axis=1)))
        name = one_line(found.names(rows.start + bad, 1)[0])
        raise InputError(
            f"SOURCE must give finite codes; those of the image {name} have NaN or infinite values."
        )
    return codes, labels if given is None else given


def _steps(like: Any, start: int, size: int, batch_size: int) -> Iterator[slice]:
    """Slices of `size` images from `start` on, of whole batches and of little memory."""
    from keras_vaegan.data.views import parts_of

    rows = next(parts_of(like, batch_size)).stop
    return (slice(i, min(i + rows, start + size)) for i in range(start, start + size, rows))


def _images(
    model: "LatentVariableModel",
    metadata: dict[str, Any],
    images: pathlib.Path | None,
    split: str,
    dataset: str | None,
    data_dir: str | None,
    manual_dir: str | None,
    image_size: tuple[int, int] | None,
    value_range: tuple[float, float] | None,
) -> Images:
    """The images to encode, which stay in their files where they can."""
    from keras_vaegan.data.sources import open_pictures

    options.check_one_source(images, dataset)
    names = metadata.get("class_names")
    size = options.free_size(model, image_size, images is not None)
    how = options.preprocessing_for(model.image_shape, metadata, size)
    if images is not None:
        how = how if value_range is None else dataclasses.replace(how, value_range=value_range)
        found = open_pictures(images, how, names if model.num_classes else None)
        own = None if found.labels is None else found.class_names
        origin = {"images": str(images.resolve()), "split": None}
        return Images(
            found.images, found.labels, names if model.num_classes else own, how.get_config(), origin
        )
    data = options.load_data_for(
        model.image_shape,
        metadata,
        dataset,
        image_size,
        value_range,
        model.num_classes,
        data_dir=data_dir,
        manual_dir=manual_dir,
        cache="none",
    )
    data = options.as_seen(data, model.image_shape, metadata, size)
    if tuple(data.image_shape) != (*(size or model.image_shape[:2]), model.image_shape[2]):
        raise InputError(
            f"--dataset must have images of the shape (H, W, C) = {model.image_shape}; received "
            f"{tuple(data.image_shape)}."
        )
    x, y = data[SPLITS.index(split)]
    known = None if data.preprocessing is None else data.preprocessing.get_config()
    own = None if y is None else data.class_names
    origin = {"images": data.source or data.name, "split": split}
    return Images(x, y, names if model.num_classes else own, known, origin)


def _content(found: Images) -> str | None:
    """A text that changes if the images or labels do; None if nothing tells without reading all of them."""
    from keras_vaegan.data.cache import key_of
    from keras_vaegan.data.content import READ_UNASKED, content_hash

    x = found.images
    stamp = x.fingerprint() if hasattr(x, "fingerprint") else None
    if stamp is None and x.nbytes <= READ_UNASKED:
        stamp = content_hash(x)
    labels = None if found.labels is None else content_hash(found.labels)
    return None if stamp is None else key_of(stamp, labels)


def _measured(model: "LatentVariableModel") -> bool:
    """Whether the codes of a model can be scaled."""
    return model.code_statistics is not None and model.code_statistics.measured


def _statistics(model: "LatentVariableModel") -> dict[str, list[float]] | None:
    """Mean and standard deviation of each channel of the codes, if they were measured."""
    if not _measured(model):
        return None
    assert model.code_statistics is not None
    mean, scale = model.code_statistics.numbers()
    return {"mean": mean.tolist(), "scale": scale.tolist()}


def _scaled(model: "LatentVariableModel", codes: "Codes", scaled: bool | None) -> bool:
    """Whether codes are scaled, as their folder or the user says."""
    if codes.scaled is None:
        if scaled is None and _measured(model):
            raise InputError(
                f"--scaled or --no-scaled must be given: {one_line(codes.path)} does not say which its codes "
                "are, and SOURCE has measured its own."
            )
        return bool(scaled)
    if scaled not in (None, codes.scaled):
        is_not = "" if codes.scaled else "not "
        raise InputError(f"--scaled must be left out: codes.json says that the codes are {is_not}scaled.")
    return codes.scaled
