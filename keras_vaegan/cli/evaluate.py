"""`evaluate`: scores of a trained model, or of images that one made."""

import contextlib
import dataclasses
import pathlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click

from keras_vaegan.cli import options
from keras_vaegan.cli.options import DATA, GroupedCommand, option
from keras_vaegan.errors import InputError, choose, one_line, renaming
from keras_vaegan.files import cache_folder, user_path, warn_of_cache
from keras_vaegan.presets.recipes import HUB
from keras_vaegan.runs import SCORES, check_own


@click.command(
    cls=GroupedCommand,
    arguments={"preset": "SOURCE", "subject": "SOURCE", "data": "--dataset", "groups": "--metrics"},
)
@click.argument("source")
@options.data_options(
    "the one SOURCE was trained on", "Compare with images: a name, a folder or an .npz file."
)
@option(
    "--split",
    type=options.Name("--split", ("test", "validation")),
    default="test",
    group=DATA,
    help="Compare with this split.",
)
@option(
    "--metrics",
    default=None,
    show_default="all that apply",
    help="Compute these groups of scores, as frechet,kernel.",
)
@option(
    "--features",
    default=None,
    show_default="mnist_plain,mnist_residual; in color imagenet",
    help="Measure distances in these, inception_v3 or own .keras.",
)
@option(
    "--num-images",
    type=options.Count(2),
    default=None,
    show_default="as many as the split has, up to 10,000",
    help="Score this many samples.",
)
@option(
    "--likelihood-images",
    type=options.Count(1),
    default=500,
    help="Bound the likelihood of this many images.",
)
@option(
    "--likelihood-samples", type=options.Count(1), default=100, help="Draw this many codes for each of them."
)
@options.seed
@option(
    "--output",
    type=options.Output(),
    default=None,
    show_default="evaluate.json in a run folder, evaluate_USER_NAME.json of hf://, else SOURCE.evaluate.json",
    help="Write this JSON file.",
)
@option("--no-cache", is_flag=True, help="Do not cache the statistics of real images.")
@options.batch_size
@options.backend
def evaluate(
    source,
    dataset,
    data_dir,
    manual_dir,
    image_size,
    value_range,
    split,
    metrics,
    features,
    num_images,
    likelihood_images,
    likelihood_samples,
    seed,
    output,
    no_cache,
    batch_size,
):
    """Score SOURCE, a run folder, a .keras file or an .npz file of images, against real images.

    Writes one JSON file with the numbers and all that is needed to repeat them, and prints a table.
    Groups of scores: frechet, kernel, neighbours (precision, recall, density, coverage), diversity,
    sharpness, reconstruction, latent, likelihood; for models that are conditioned on classes, and for
    images with those that were asked for (an .npz file with `images` and `labels`), also labels and
    synthetic; for such models style (what is kept of images that are shown as another class); completion
    (negative log-likelihood of what is hidden when 1, 2 or 3 quadrants are given, of these the ones that
    the model was trained on if there are any) for models that complete images; classification (error of
    the model's own classifier, and how far its confidence is to be believed, before and after the
    temperature that was fitted to the validation images) for semi-supervised models; recognition (the
    share of samples that are digits, to a classifier that may say that they are none) for mnist; modes
    for stacked_mnist.

    The reference in the table is the floor, real training images against the real images, or the
    value of the real images.
    """
    options.load_keras()
    from keras_vaegan import evaluation
    from keras_vaegan.data import content

    groups = None if metrics is None else _names("--metrics", metrics)
    evaluation.check_groups("--metrics", groups)
    asked = None if features is None else _names("--features", features)
    asked = asked and [_features(name) for name in asked]
    subject, labels, metadata = _subject(source)
    image_shape = tuple(getattr(subject, "image_shape", None) or subject.shape[1:])
    data = options.load_data_for(
        image_shape,
        metadata,
        dataset,
        image_size,
        value_range,
        getattr(subject, "num_classes", len(metadata.get("class_names", ())) if labels is not None else None),
        data_dir=data_dir,
        manual_dir=manual_dir,
    )
    changed = content.change_since_training(metadata, dataset, image_size, data)
    data = options.as_seen(data, image_shape, metadata)
    path = output or _default_output(source)
    cache = None if no_cache else _cache()
    with _shown_if_it_fails() as finished, _progress(groups or list(evaluation.GROUPS)) as advance:
        result = evaluation.score(
            subject,
            data,
            groups,
            advance,
            finished,
            split=split,
            num_images=num_images,
            seed=seed,
            features=asked,
            labels=labels,
            likelihood_images=likelihood_images,
            likelihood_samples=likelihood_samples,
            batch_size=batch_size,
            cache=cache,
        )
    if changed is not None:
        result["data"]["changed_since_training"] = changed
        why = changed if changed == content.OLDER else f"the data have changed since the training: {changed}"
        result["findings"].insert(0, f"{split} images may have been trained on; {why}")
    for line in _table(result):  # first: they are not to be lost if the file cannot be written
        options.echo(line)
    evaluation.save_scores({"source": source, "model": metadata.get("model"), **result}, path)
    options.echo(f"wrote {path}")


def _subject(source: str) -> tuple[Any, Any, dict[str, Any]]:
    """The model, or the images, that SOURCE names, with their labels and what is known of it."""
    from keras_vaegan.data.arrays import class_names_in
    from keras_vaegan.data.npz import read_arrays, require_for_archive
    from keras_vaegan.presets import load_source

    if pathlib.Path(source).suffix != ".npz":
        model, metadata = load_source(source)
        return model, None, options.with_range_of(model, metadata)
    require_for_archive(source)
    arrays = read_arrays(source)
    if "images" not in arrays:
        raise InputError(
            f"source {source} must hold `images`; received {', '.join(arrays) or 'nothing'}.",
            argument="source",
            received=tuple(arrays),
        )
    images = arrays["images"]
    names = class_names_in(arrays)
    return (
        images[..., None] if images.ndim == 3 else images,
        arrays.get("labels"),
        {} if names is None else {"class_names": names},
    )


def _default_output(source: str) -> pathlib.Path:
    """Where the scores go; of a model on the Hugging Face Hub, into the current folder."""
    path = user_path("source", source)
    if path.is_dir():
        check_own("source", path)
        return path / SCORES
    if source.startswith(HUB):
        return pathlib.Path(f"evaluate_{options.plain_name(source)}.json")
    return path.with_name(path.name + ".evaluate.json")


def _cache() -> pathlib.Path | None:
    """The folder of the statistics of real images; None, with a warning, if there is no home for it."""
    try:
        return cache_folder()
    except InputError as error:
        warn_of_cache(error)
        return None


def _names(argument: str, text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise InputError(f"{argument} must be names, with commas between; received {text!r}.")
    return names


def _features(name: str) -> Any:
    """The name of an extractor, or the Keras model in a file; `InputError` for another name."""
    if not name.endswith(".keras"):
        from keras_vaegan.metrics.features import NAMES

        return choose("--features", name, NAMES)
    from keras_vaegan.presets.folder import load_keras_file

    with renaming(source="features"):
        return load_keras_file(name)


@contextlib.contextmanager
def _progress(groups: Sequence[str]) -> Iterator[Callable[[str], None]]:
    """A bar over the groups on standard error, where that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda name: None
        return
    shown: dict[str, str | None] = {"now": None}
    bar: Any = click.progressbar(
        length=len(groups), file=sys.stderr, show_eta=False, item_show_func=lambda _: shown["now"]
    )
    with bar:

        def advance(name: str) -> None:
            bar.update(1 if shown["now"] else 0)
            shown["now"] = name
            bar.render_progress()

        yield advance
        bar.update(1)


@contextlib.contextmanager
def _shown_if_it_fails() -> Iterator[Callable[[Any], None]]:
    """What takes each score; if a later one fails, or is stopped, those so far are printed."""
    scores: list[Any] = []
    try:
        yield scores.append
    except BaseException:
        for line in _rows([dataclasses.asdict(one) for one in scores]) if scores else ():
            options.echo(line)
        raise


def _rows(scores: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Lines of a table of scores."""
    rows = [("score", "value", "reference", "features")]
    for one in scores:
        error = "" if one["error"] is None else f" +- {one['error']:.2g}"
        unit = f" {one['unit']}" if one["unit"] else ""
        reference = "" if one["reference"] is None else f"{one['reference']:.4g}"
        note = f", {one['note']}" if one["note"] else ""
        value = f"{one['value']:.4g}{error}{unit}{note}"
        rows.append((one["name"].replace("_", " "), value, reference, one["features"] or ""))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _table(result: dict[str, Any]) -> Iterator[str]:
    """Lines of a table for people, with what the scores were computed from."""
    yield from _rows(result["scores"])
    data, samples = result["data"], result["samples"]
    dataset = one_line(data["dataset"])
    yield (
        f"{samples['num_images']:,} samples against the {data['num_images']:,} images of {dataset} "
        f"({data['split']}); floor of {samples['floor_images']:,} training images"
    )
    for features in result["features"]:
        resized = f", images resized {features['resized']}" if features["resized"] else ""
        yield f"features {features['extractor']}: weights {features['digest']}{resized}"
    for group, reason in result["skipped"].items():
        yield f"{group} left out: {reason}"
    for finding in result["findings"]:
        yield f"warning: {finding}"
