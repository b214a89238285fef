"""A run folder as one web page that needs nothing but itself.

Nothing here imports a backend: what a run wrote is only read.
"""

import itertools
import json
import math
import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from keras_vaegan.embedded import Embedded, embed, opened
from keras_vaegan.errors import InputError, one_line
from keras_vaegan.files import atomic_path
from keras_vaegan.kinds import check_kind
from keras_vaegan.pages import render
from keras_vaegan.plots import MIN_SIDE, PADDING
from keras_vaegan.presets.recipes import MODEL_KEYS
from keras_vaegan.runs import HISTORY, METADATA, PAGE, SCORES, Run, read_run, reading_part
from keras_vaegan.svg import line_chart, number

SCORES_FORMAT = 1
SHOWN_IMAGES = ("samples", "reconstructions", "interpolation", "latent_grid", "latent_means")
NUM_STRIPS, STRIP_ROWS = 6, 2  # epochs whose samples are shown, and rows of each
MOST_ROWS = 100  # epochs in the table of values
MOST_CHARTS = 60  # quantities that are drawn, and columns of the table of values
MOST_POINTS = 2000  # epochs in a chart
MOST_SCORES, MOST_DETAILS, MOST_LISTED = 200, 1000, 100  # scores, values of one, other things in a list
LONGEST_JSON = 50_000  # characters
IMAGE_BYTES, STRIP_BYTES = 300_000, 60_000  # a larger PNG becomes a JPEG
NAME_LENGTH = 60  # characters of a class name
LONG = 16  # characters of a fact that takes two columns

# What is known of a log: its unit and what it is. The order is that of the page.
LOGS: dict[str, tuple[str, str]] = {
    "loss": ("nats", "negative evidence lower bound"),
    "kl": ("nats", "divergence of the codes from the prior"),
    "reconstruction": ("nats", "cost of the pixels given the code"),
    "encoder": ("", "what the encoder minimizes"),
    "generator": ("", "what the generator minimizes"),
    "discriminator": ("", "what the discriminator minimizes"),
    "feature_matching": ("", "distance in the discriminator's features"),
    "d_real": ("", "mean of the discriminator on real images"),
    "d_fake": ("", "mean of the discriminator on fakes"),
}

# What a score says, where its name does not.
MEANINGS = {
    "frechet_distance": "between the features of the images and of real ones, each taken as a Gaussian",
    "kernel_distance": "between the features of the images and of real ones, by a polynomial kernel",
    "precision": "share of the images that lie among real ones",
    "recall": "share of real images that lie among those of the model",
    "density": "how closely the images lie among real ones",
    "coverage": "share of real images with an image of the model near",
    "sharpness": "variance of the Laplacian",
    "class_entropy": "how evenly the images spread over the classes",
    "recognized": "share of the images that are plainly some digit",
    "label_agreement": "share of the images that show the class they were asked for",
    "accuracy_on_real": "of a classifier trained on the model's images alone",
    "structural_similarity": "of reconstructions and their originals",
    "mean_squared_error": "of reconstructions and their originals",
    "peak_signal_to_noise_ratio": "of reconstructions and their originals",
    "reconstruction_distance": "of reconstructions and their originals, in the features of a network",
    "log_likelihood": "importance-weighted bound of real images",
    "active_units": "dimensions of the code that carry something",
}


def write_report(
    run_folder: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    findings: Sequence[str] = (),
) -> pathlib.Path:
    """Write one HTML page on a run: its samples, curves and scores, with all images inside.

    What the run lacks is named on the page, with the command that makes it.

    Args:
        run_folder: a folder that a training made.
        output: the page, an `.html` file; `report.html` in the run folder if None.
        findings: plain sentences on the training, which the page shows at its top.

    Returns:
        The path of the page.

    Raises:
        InputError: `output` that is a folder or no `.html` file; a run folder as of `read_run`; an image in
            it that is damaged, or scores of a later format.
    """
    path = pathlib.Path(run_folder, PAGE) if output is None else pathlib.Path(output)
    if path.is_dir():
        raise InputError(f"output must be an .html file; {str(output or path)!r} is a folder.")
    if path.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"output must be an .html file; received {str(output)!r}.")
    page = _page(read_run(run_folder, findings))
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


# ---- what the page shows ----


class _Line(NamedTuple):
    """A line of a fact: a text, and words in small print after it; either may be empty."""

    text: object
    small: str = ""


class _Fact(NamedTuple):
    """A term and the lines that explain it."""

    term: str
    lines: list[_Line]

    @property
    def wide(self) -> bool:
        """Whether it takes two columns."""
        return len(self.lines) > 1 or any(line.small or len(str(line.text)) > LONG for line in self.lines)


class _Datum(NamedTuple):
    """A number for readers, and the exact one for machines."""

    shown: str
    exact: str


class _Curve(NamedTuple):
    """A quantity over the epochs: its chart, and the words around it."""

    name: str
    unit: str
    meaning: str
    last: str
    chart: Markup


class _Score(NamedTuple):
    """A row of the table of scores."""

    label: str
    unit: object
    meaning: str | None
    value: _Datum | None
    error: _Datum | None
    note: object
    reference: _Datum | None
    better: object


class _Bar(NamedTuple):
    """A row of a score's details: the length of its bar is a share of the longest one."""

    name: str
    value: _Datum | None
    share: str


class _Details(NamedTuple):
    """A score by class, dimension, ...: as bars, or as lines of JSON if it is something else."""

    label: str
    bars: list[_Bar] | None
    lines: list[str]
    total: int


def _page(run: Run) -> str:
    with reading_part(run.folder / METADATA):
        metadata = run.metadata
        dataset = str(metadata["dataset"])
        facts, recipe = _run_facts(metadata), _json_lines(metadata["recipe"])
        expected = metadata["recipe"].get("expect")
    with reading_part(run.folder / SCORES):
        found = (run.scores or {}).get("findings") or []
        check_kind("findings", found, list[str])
        scores = None if run.scores is None else _scores(run.scores)
    return render(
        "report/page.html.jinja",
        name=run.name,
        model=metadata["model"],
        dataset=pathlib.PurePath(dataset).name or dataset,
        facts=facts,
        recipe=recipe,
        expected=expected,
        findings=[*run.findings, *found][:MOST_LISTED],
        images={name: _image(run, f"{name}.png") for name in SHOWN_IMAGES},
        strips=_strips(run),
        curves=_curves(run),
        scores=scores,
        history_file=HISTORY,
        scores_file=SCORES,
        commands={
            "generate": run.command("generate", "samples.png"),
            "reconstruct": run.command("reconstruct", "reconstructions.png"),
            "interpolate": run.command("interpolate", "interpolation.png"),
            "evaluate": run.command("evaluate"),
            "report": run.command("report"),
        },
    )


def _json_lines(value: Any) -> list[str]:
    """The lines of a value as readable JSON, of at most `LONGEST_JSON` characters."""
    written, length = [], 0
    for part in json.JSONEncoder(indent=2, ensure_ascii=False).iterencode(value):
        written.append(part[: LONGEST_JSON - length])
        length += len(part)
        if length > LONGEST_JSON:
            written.append(" ...")
            break
    return "".join(written).split("\n")


def _run_facts(metadata: Mapping[str, Any]) -> list[_Fact]:
    """What is known of the run."""
    recipe, model = metadata["recipe"], str(metadata["model"])
    facts: dict[str, object] = {"Data set": metadata["dataset"]}
    if metadata.get("image_shape"):
        facts["Images"] = " × ".join(map(str, metadata["image_shape"]))
    if metadata.get("class_names"):
        facts["Classes"] = _listed(metadata["class_names"])
    if recipe.get("networks"):
        networks = recipe["networks"]
        facts["Networks"] = f"{networks.get('family')}, code of {networks.get('latent_dim')}"
    facts["Epochs"] = _epochs(metadata)
    if metadata.get("seconds") is not None:
        facts["Time"] = _duration(metadata["seconds"])
    facts["Seed"] = metadata.get("seed", "unknown")
    facts["Backend"] = metadata.get("backend", "unknown")
    if metadata.get("mixed_precision") not in (None, "none"):
        facts["Mixed precision"] = metadata["mixed_precision"]
    if metadata.get("augment"):
        facts["Augmentation"] = metadata["augment"]
    versions = {"keras-vaegan": metadata.get("keras_vaegan"), "Keras": metadata.get("keras")}
    if any(versions.values()):
        facts["Versions"] = _named(versions)
    described = _Fact("Model", [_Line(model), _Line("", MODEL_KEYS.get(model, ""))])
    return [described, *(_Fact(term, [_Line(value)]) for term, value in facts.items())]


def _epochs(metadata: Mapping[str, Any]) -> str:
    planned = metadata["recipe"].get("training", {}).get("epochs")
    steps, each = metadata["recipe"].get("training", {}).get("steps"), metadata.get("steps_per_epoch")
    if steps and each:  # a training whose length is in steps has epochs of that many
        planned = -(-steps // each)
    done = metadata.get("epochs_done")
    if done is None:
        return f"{planned} planned; the training has not ended"
    return str(done) if done == planned or planned is None else f"{done} of {planned}"


def _duration(seconds: float) -> str:
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {left} s" if minutes else f"{seconds:.1f} s"


def _listed(names: Sequence[Any], most: int = 10) -> str:
    shown = ", ".join(one_line(name, NAME_LENGTH) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _named(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items() if value is not None)


# ---- images ----


def _image(run: Run, name: str) -> Embedded | None:
    """An image of the run's folder; None if it has none of this name."""
    path = run.folder / name
    if not path.is_file():
        return None
    with reading_part(path), opened(path, "run_folder") as image:
        return embed(image, IMAGE_BYTES)


def _strips(run: Run) -> list[tuple[int, Embedded]]:
    """The first rows of the samples of a few epochs, the first and the last among them."""
    found = {}
    for path in (run.folder / "samples").glob("epoch_*.png"):
        match = re.fullmatch(r"epoch_(\d+)\.png", path.name)
        if match and path.is_file():  # opening a pipe would wait for a writer
            found[int(match[1])] = path
    return [(epoch, _strip(run, found[epoch])) for epoch in spread(sorted(found), NUM_STRIPS)]


def _strip(run: Run, path: pathlib.Path) -> Embedded:
    with reading_part(path), opened(path, "run_folder") as image:
        # Whole rows of the grid, as `plots.save_grid` lays it out.
        height, width = run.metadata.get("image_shape", (image.height // 4, image.width))[:2]
        height, width = max(1, height), max(1, width)
        scale = max(1, math.ceil(MIN_SIDE / max(height, width)))
        bottom = (STRIP_ROWS * (height + PADDING) + PADDING) * scale
        return embed(image.crop((0, 0, image.width, min(bottom, image.height))), STRIP_BYTES)


def spread(items: Sequence[Any], most: int) -> list[Any]:
    """At most `most` of the items (2 or more), evenly spread, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


# ---- curves ----


def _curves(run: Run) -> dict[str, Any] | None:
    """The charts and the table of the history; None if it has no values."""
    names = [name for name in run.history if name != "epoch"]
    quantities = list(dict.fromkeys(name.removeprefix("val_") for name in names))
    if not run.epochs or not quantities:
        return None
    quantities.sort(key=lambda name: list(LOGS).index(name) if name in LOGS else len(LOGS))
    names, rows = names[:MOST_CHARTS], spread(range(len(run.epochs)), MOST_ROWS)
    return {
        "charts": [_curve(run, name, i) for i, name in enumerate(quantities[:MOST_CHARTS])],
        "hidden": max(0, len(quantities) - MOST_CHARTS),
        "names": names,
        "rows": [(f"{run.epochs[i]:g}", [number(run.history[name][i]) for name in names]) for i in rows],
        "num_epochs": len(run.epochs),
    }


def _curve(run: Run, name: str, i: int) -> _Curve:
    columns = {"training": name, "validation": f"val_{name}"}
    lines = {kind: run.history[column] for kind, column in columns.items() if column in run.history}
    unit, meaning = LOGS.get(name, ("", ""))
    title = f"{name} ({unit})" if unit else name
    last = ", ".join(f"{number(values[-1])} {kind}" for kind, values in lines.items())
    with reading_part(run.folder / HISTORY):
        rows = spread(range(len(run.epochs)), MOST_POINTS)
        shown = {kind: [values[row] for row in rows] for kind, values in lines.items()}
        chart = line_chart(title, [run.epochs[row] for row in rows], shown, f"chart-{i}")
    return _Curve(name, unit, meaning, last, chart)


# ---- scores ----


def _scores(scores: Mapping[str, Any]) -> dict[str, Any]:
    """The table of scores, their details, and how they were computed."""
    if scores["format_version"] > SCORES_FORMAT:
        raise ValueError(f"format version {scores['format_version']}, newer than {SCORES_FORMAT}")
    listed = scores["scores"]
    check_kind("scores", listed, list[dict])
    shown = listed[:MOST_SCORES]
    groups: dict[str | None, list[_Score]] = {}
    for score in shown:
        groups.setdefault(score.get("features"), []).append(_score(score))
    return {
        "groups": list(groups.items()),
        "hidden": max(0, len(listed) - MOST_SCORES),
        "details": [_score_details(score) for score in shown if score.get("details")],
        "skipped": list(_first(scores.get("skipped") or {}, MOST_LISTED).items()),
        "provenance": _provenance(scores),
    }


def _score(score: Mapping[str, Any]) -> _Score:
    error = score.get("error")
    return _Score(
        label=_label(score["name"]),
        unit=score.get("unit"),
        meaning=MEANINGS.get(score["name"]),
        value=_datum(score["value"]),
        error=_datum(error),
        note=score.get("note"),
        reference=_datum(score.get("reference")),
        better=score.get("better") or "",
    )


def _label(name: str) -> str:
    label = str(name).replace("_", " ").replace("frechet", "Fréchet")
    return label[:1].upper() + label[1:]


def _datum(value: float | None) -> _Datum | None:
    return None if value is None else _Datum(number(value), json.dumps(value))


def _score_details(score: Mapping[str, Any]) -> _Details:
    found, label = score["details"], _label(score["name"])
    if score.get("features"):
        label += f", {score['features']}"
    pairs = dict(enumerate(found)) if isinstance(found, list) else found
    if not isinstance(pairs, dict):
        return _Details(label, None, _json_lines(found), 1)
    shown = _first(pairs, MOST_DETAILS)
    if not all(value is None or isinstance(value, (int, float)) for value in shown.values()):
        return _Details(label, None, _json_lines(found), len(pairs))
    longest = max((abs(value) for value in shown.values() if _drawable(value)), default=0) or 1
    return _Details(label, [_bar(name, value, longest) for name, value in shown.items()], [], len(pairs))


def _first(pairs: Mapping[Any, Any], most: int) -> dict[Any, Any]:
    return dict(itertools.islice(pairs.items(), most))


def _bar(name: object, value: float | None, longest: float) -> _Bar:
    share = abs(value) / longest if value is not None and _drawable(value) else 0.0
    return _Bar(one_line(name, NAME_LENGTH), _datum(value), f"{share:.4f}")


def _drawable(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _provenance(scores: Mapping[str, Any]) -> list[_Fact]:
    """What the scores were computed with."""
    data, samples = scores.get("data") or {}, scores.get("samples") or {}
    facts: dict[str, list[_Line]] = {}
    if scores.get("source"):
        facts["Source"] = [_Line(scores["source"])]
    if data:
        images = f"{number(data['num_images'])} {data.get('split')} images of {data.get('dataset')}"
        shape = " × ".join(map(str, data.get("image_shape") or []))
        known = [shape, f"content {data['content']}" if data.get("content") else ""]
        facts["Real images"] = [_Line(images), _Line("", ", ".join(filter(None, known)))]
    if samples:
        seed = "" if samples.get("seed") is None else f", seed {samples['seed']}"
        facts["Scored images"] = [_Line(number(samples["num_images"]) + seed)]
        subject = {what: found for what, found in (scores.get("subject") or {}).items() if found}
        if subject:
            facts["Scored images"].append(_Line("", _named(subject)))
    if scores.get("features"):
        facts["Features"] = [_extractor(features) for features in scores["features"][:MOST_LISTED]]
    if scores.get("backend"):
        facts["Backend"] = [_Line(scores["backend"])]
    if scores.get("versions"):
        facts["Versions"] = [_Line(_named(scores["versions"]))]
    if scores.get("date"):
        facts["Date"] = [_Line(scores["date"])]
    return [_Fact(term, lines) for term, lines in facts.items()]


def _extractor(features: Mapping[str, Any]) -> _Line:
    digest = f"digest {features['digest']}" if features.get("digest") else ""
    resized = f"images resized {features['resized']}" if features.get("resized") else ""
    return _Line(features["extractor"], ", ".join(filter(None, (digest, resized))))
