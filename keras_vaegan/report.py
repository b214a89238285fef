"""A run folder as one web page that needs nothing but itself.

Nothing here imports a backend: what a run wrote is only read.
"""

import base64
import contextlib
import io
import itertools
import json
import math
import os
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from keras_vaegan.errors import InputError, one_line
from keras_vaegan.files import atomic_path
from keras_vaegan.kinds import check_kind
from keras_vaegan.memory import require
from keras_vaegan.plots import MIN_SIDE, PADDING
from keras_vaegan.presets.recipes import MODEL_KEYS
from keras_vaegan.runs import HISTORY, METADATA, PAGE, SCORES, Run, read_run, reading_part
from keras_vaegan.svg import escaped, line_chart, number, swatch

if TYPE_CHECKING:
    import PIL.Image

SCORES_FORMAT = 1
NUM_STRIPS, STRIP_ROWS = 6, 2  # epochs whose samples are shown, and rows of each
MOST_ROWS = 100  # epochs in the table of values
MOST_CHARTS = 60  # quantities that are drawn, and columns of the table of values
MOST_POINTS = 2000  # epochs in a chart
MOST_SCORES, MOST_DETAILS, MOST_LISTED = 200, 1000, 100  # scores, values of one, other things in a list
LONGEST_TEXT, LONGEST_JSON = 2000, 50_000  # characters
MOST_PIXELS = 80_000_000  # of a picture
LARGE = 16_000_000  # pixels from which it is made smaller at once
PIXEL_BYTES = 16  # of memory for each of them
PICTURE_BYTES, STRIP_BYTES, MOST_WIDTH = 300_000, 60_000, 1200  # a larger picture becomes a JPEG
NAME_LENGTH = 60  # characters of a class name
LONG = 16  # characters of a fact that takes two columns

# What is known of a log: its unit and what it is. The order is that of the page.
LOGS: dict[str, tuple[str, str]] = {
    "loss": ("nats", "negative evidence lower bound"),
    "kl": ("nats", "divergence of the codes from the prior"),
    "reconstruction": ("nats", "cost of the pixels given the code"),
    "encoder": ("", "what the encoder descends"),
    "generator": ("", "what the generator descends"),
    "discriminator": ("", "what the discriminator descends"),
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
    "log_likelihood": "importance-weighted bound of real images",
    "active_units": "dimensions of the code that carry something",
}


def write_report(
    run_folder: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    findings: Sequence[str] = (),
) -> pathlib.Path:
    """Write one HTML page on a run: its samples, curves and scores, with all pictures inside.

    What the run lacks is named on the page, with the command that makes it.

    Args:
        run_folder: a folder that a training made.
        output: the page, an `.html` file; `report.html` in the run folder if None.
        findings: plain sentences on the training, which the page shows at its top.

    Returns:
        The path of the page.

    Raises:
        InputError: `output` that is a folder or no `.html` file; a run folder as of `read_run`; a picture in
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


# ---- the page ----


def text(value: object) -> str:
    """`svg.escaped`, of at most `LONGEST_TEXT` characters."""
    whole = str(value)
    return escaped(whole if len(whole) <= LONGEST_TEXT else f"{whole[:LONGEST_TEXT]} ...")


def _command(run: Run, *arguments: str) -> str:
    """`Run.command` as HTML."""
    return f"<code>{text(run.command(*arguments))}</code>"


def _as_json(value: Any) -> str:
    """A value as readable JSON, safe inside HTML, of at most `LONGEST_JSON` characters."""
    written, length = [], 0
    for part in json.JSONEncoder(indent=2, ensure_ascii=False).iterencode(value):
        written.append(part[: LONGEST_JSON - length])
        length += len(part)
        if length > LONGEST_JSON:
            written.append(" ...")
            break
    return escaped("".join(written))


def _page(run: Run) -> str:
    with reading_part(run.folder / METADATA):
        title, head, recipe = _title(run), _facts(_run_facts(run.metadata)), _recipe(run.metadata)
    with reading_part(run.folder / SCORES):
        found = (run.scores or {}).get("findings") or []
        check_kind("findings", found, list[str])
        findings = [*run.findings, *found]
        scores = _scores(run)
    sections = {
        "samples": ("Samples", _samples(run)),
        "reconstructions": ("Reconstructions", _reconstructions(run)),
        "interpolation": ("Interpolation", _interpolation(run)),
        "latent": ("Latent space", _latent(run)),
        "curves": ("Curves", _curves(run)),
        "scores": ("Scores", scores),
    }
    links = "".join(f'<li><a href="#{key}">{name}</a></li>' for key, (name, _) in sections.items())
    body = "\n".join(
        f'<section id="{key}" aria-labelledby="{key}-heading">\n'
        f'<h2 id="{key}-heading">{name}</h2>\n{content}\n</section>'
        for key, (name, content) in sections.items()
    )
    style = pathlib.Path(__file__).with_name("report.css").read_text(encoding="utf-8")
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'"/>
<meta name="color-scheme" content="light dark"/>
<meta name="generator" content="keras-vaegan"/>
<title>{text(run.name)}: {title}</title>
<link rel="icon" href="data:,"/>
<style>
{style}</style>
</head>
<body>
<header>
<h1>{text(run.name)}</h1>
<p class="lead">{title}</p>
{head}
{recipe}
<nav aria-label="Sections"><ul>{links}</ul></nav>
</header>
<main>
{_findings(findings)}
{body}
</main>
<footer>Made by {_command(run, "report")}.</footer>
</body>
</html>
"""


def _title(run: Run) -> str:
    dataset = str(run.metadata["dataset"])
    return f"{text(run.metadata['model'])} on {text(pathlib.PurePath(dataset).name or dataset)}"


def _run_facts(metadata: Mapping[str, Any]) -> dict[str, str]:
    """What is known of the run, `{name: HTML}`."""
    recipe = metadata["recipe"]
    model = str(metadata["model"])
    facts = {
        "Model": f"{text(model)}<br/> <small>{text(MODEL_KEYS.get(model, ''))}</small>",
        "Data set": text(metadata["dataset"]),
    }
    if metadata.get("image_shape"):
        facts["Images"] = text(" × ".join(map(str, metadata["image_shape"])))
    if metadata.get("class_names"):
        facts["Classes"] = text(_listed(metadata["class_names"]))
    if recipe.get("networks"):
        networks = recipe["networks"]
        facts["Networks"] = text(f"{networks.get('family')}, code of {networks.get('latent_dim')}")
    facts["Epochs"] = text(_epochs(metadata))
    if metadata.get("seconds") is not None:
        facts["Time"] = text(_duration(metadata["seconds"]))
    facts["Seed"] = text(metadata.get("seed", "unknown"))
    facts["Backend"] = text(metadata.get("backend", "unknown"))
    if metadata.get("mixed_precision") not in (None, "none"):
        facts["Mixed precision"] = text(metadata["mixed_precision"])
    if metadata.get("augment"):
        facts["Augmentation"] = text(metadata["augment"])
    versions = {"keras-vaegan": metadata.get("keras_vaegan"), "Keras": metadata.get("keras")}
    if any(versions.values()):
        facts["Versions"] = text(_named(versions))
    return facts


def _epochs(metadata: Mapping[str, Any]) -> str:
    planned = metadata["recipe"].get("training", {}).get("epochs")
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


def _facts(facts: Mapping[str, str]) -> str:
    """A list of terms; a long one takes two columns."""
    rows = (
        f'<div class="{"wide" if len(value) > LONG else "narrow"}"><dt>{name}</dt><dd>{value}</dd></div>'
        for name, value in facts.items()
    )
    return f'<dl class="facts">{"".join(rows)}</dl>'


def _recipe(metadata: Mapping[str, Any]) -> str:
    recipe = _as_json(metadata["recipe"])
    return f'<details><summary>Recipe</summary><pre tabindex="0">{recipe}</pre></details>'


def _findings(findings: Sequence[Any]) -> str:
    if not findings:
        return ""
    items = "".join(f"<li>{text(finding)}</li>" for finding in findings[:MOST_LISTED])
    return (
        '<section id="findings" class="notice" aria-labelledby="findings-heading">'
        f'<h2 id="findings-heading">Findings</h2><ul>{items}</ul></section>'
    )


def _missing(what: str, remedy: str) -> str:
    """A line in place of what the run lacks; `remedy` is HTML."""
    return f'<p class="missing">There is no <code>{text(what)}</code> in the run folder; {remedy}.</p>'


# ---- sections with pictures ----


def _samples(run: Run) -> str:
    remedy = f"{_command(run, 'generate', 'samples.png')} makes it"
    caption = "Images drawn from the prior, at the end of the training."
    last = _figure(run, "samples.png", caption, "Grid of generated images", remedy)
    expected = run.metadata["recipe"].get("expect")
    if expected:
        last += f"<p>What the recipe expects: {text(expected)}.</p>"
    return f'<div class="pair">\n<div>{last}</div>\n<div>{_growth(run)}</div>\n</div>'


def _growth(run: Run) -> str:
    """The first rows of the samples of a few epochs, the first and the last among them."""
    found = {}
    for path in (run.folder / "samples").glob("epoch_*.png"):
        match = re.fullmatch(r"epoch_(\d+)\.png", path.name)
        if match and path.is_file():  # opening a pipe would wait for a writer
            found[int(match[1])] = path
    if not found:
        return _missing("samples/epoch_0001.png", "<code>keras-vaegan train</code> draws one each epoch")
    shown = spread(sorted(found), NUM_STRIPS)
    strips = "".join(f"<li>{_strip(run, epoch, found[epoch])}</li>" for epoch in shown)
    return f'<h3>The same noise, epoch by epoch</h3>\n<ul class="strips">{strips}</ul>'


def _strip(run: Run, epoch: int, path: pathlib.Path) -> str:
    with _open(path) as picture:
        # Whole rows of the grid, as `plots.save_grid` lays it out.
        height, width = run.metadata.get("image_shape", (picture.height // 4, picture.width))[:2]
        height, width = max(1, height), max(1, width)
        scale = max(1, math.ceil(MIN_SIDE / max(height, width)))
        bottom = (STRIP_ROWS * (height + PADDING) + PADDING) * scale
        source, size = _encoded(picture.crop((0, 0, picture.width, min(bottom, picture.height))), STRIP_BYTES)
    return (
        f"<figure><figcaption>Epoch {epoch:,}</figcaption>"
        f"{_image(source, size, f'Images drawn after epoch {epoch}')}</figure>"
    )


def _reconstructions(run: Run) -> str:
    caption = "Rows of images that were not trained on, each above its reconstructions."
    alternative = "Rows of images, in turn originals and reconstructions that resemble them"
    remedy = f"{_command(run, 'reconstruct', 'reconstructions.png')} makes it"
    return _figure(run, "reconstructions.png", caption, alternative, remedy)


def _interpolation(run: Run) -> str:
    caption = "Each row walks through the latent space from one image to another."
    alternative = "Rows of images that change step by step"
    remedy = f"{_command(run, 'interpolate', 'interpolation.png')} makes it"
    return _figure(run, "interpolation.png", caption, alternative, remedy)


def _latent(run: Run) -> str:
    remedy = "<code>keras-vaegan train</code> draws it at its end"
    decoded = _figure(
        run,
        "latent_grid.png",
        "A plane of the latent space, decoded.",
        "Grid of images that change gradually across and down",
        remedy,
    )
    means = _figure(
        run,
        "latent_means.png",
        "Codes of training images, in the same plane.",
        "Scatter plot of codes, coloured by class where classes are known",
        remedy,
    )
    return f'<div class="pair">\n<div>{decoded}</div>\n<div>{means}</div>\n</div>'


def _figure(run: Run, name: str, caption: str, alternative: str, remedy: str) -> str:
    path = run.folder / name
    if not path.is_file():
        return _missing(name, remedy)
    with _open(path) as picture:
        source, size = _encoded(picture, PICTURE_BYTES)
    return f"<figure>{_image(source, size, alternative)}<figcaption>{text(caption)}</figcaption></figure>"


def _image(source: str, size: tuple[int, int], alternative: str) -> str:
    return f'<img src="{source}" width="{size[0]}" height="{size[1]}" alt="{text(alternative)}"/>'


@contextlib.contextmanager
def _open(path: pathlib.Path) -> "Iterator[PIL.Image.Image]":
    from PIL import Image

    with reading_part(path), Image.open(path, formats=("PNG",)) as picture:
        pixels = picture.width * picture.height
        if pixels > MOST_PIXELS:
            raise ValueError(f"it has {pixels:,} pixels, more than {MOST_PIXELS:,}")
        if pixels > LARGE:
            require(f"run_folder {path}", pixels * PIXEL_BYTES, "Delete the picture.")
        picture.load()
        yield picture


def _encoded(picture: "PIL.Image.Image", most_bytes: int) -> tuple[str, tuple[int, int]]:
    """A picture as a `data:` address, and its size: PNG, or a JPEG where that would be large."""
    from PIL import Image

    whole = picture.size
    if picture.width * picture.height > LARGE:  # it would become a JPEG in any case, and that takes long
        picture = picture.copy()
        picture.thumbnail((MOST_WIDTH, MOST_WIDTH))
    if picture.mode not in ("L", "RGB"):
        opaque = picture.convert("RGBA")
        white = Image.new("RGBA", opaque.size, "white")
        picture = Image.alpha_composite(white, opaque).convert("RGB")
    content, kind = io.BytesIO(), "png"
    picture.save(content, "PNG")
    if len(content.getvalue()) > most_bytes or picture.size != whole:
        content, kind = io.BytesIO(), "jpeg"
        picture.thumbnail((MOST_WIDTH, MOST_WIDTH))
        picture.save(content, "JPEG", quality=82)
    encoded = base64.b64encode(content.getvalue()).decode("ascii")
    return f"data:image/{kind};base64,{encoded}", picture.size


def spread(items: Sequence[Any], most: int) -> list[Any]:
    """At most `most` of the items (2 or more), evenly spread, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


# ---- curves ----


def _curves(run: Run) -> str:
    quantities = dict.fromkeys(name.removeprefix("val_") for name in run.history if name != "epoch")
    if not run.epochs or not quantities:
        return _missing(HISTORY, "<code>keras-vaegan train</code> writes it after each epoch")
    names = sorted(quantities, key=lambda name: list(LOGS).index(name) if name in LOGS else len(LOGS))
    charts = "\n".join(_chart(run, name, i) for i, name in enumerate(names[:MOST_CHARTS]))
    if len(names) > MOST_CHARTS:
        charts += f"\n<p>{len(names) - MOST_CHARTS:,} more quantities are not shown.</p>"
    legend = "".join(f"<span>{swatch(name)}{name}</span>" for name in ("training", "validation"))
    return f'<p class="legend">{legend}</p>\n<div class="charts">\n{charts}\n</div>\n{_values(run)}'


def _chart(run: Run, name: str, i: int) -> str:
    columns = {"training": name, "validation": f"val_{name}"}
    lines = {kind: run.history[column] for kind, column in columns.items() if column in run.history}
    unit, meaning = LOGS.get(name, ("", ""))
    title = f"{name} ({unit})" if unit else name
    last = ", ".join(f"{number(values[-1])} {kind}" for kind, values in lines.items())
    explained = f"{text(meaning)}<br/> " if meaning else ""
    with reading_part(run.folder / HISTORY):
        rows = spread(range(len(run.epochs)), MOST_POINTS)
        shown = {kind: [values[row] for row in rows] for kind, values in lines.items()}
        chart = line_chart(title, [run.epochs[row] for row in rows], shown, f"chart-{i}")
    return (
        f"<figure>{chart}<figcaption><strong>{text(name)}</strong>{f' {unit}' if unit else ''}<br/> "
        f"{explained}last {text(last)}</figcaption></figure>"
    )


def _values(run: Run) -> str:
    """The history as a table, for reading exact values and for screen readers."""
    names = [name for name in run.history if name != "epoch"][:MOST_CHARTS]
    rows = spread(range(len(run.epochs)), MOST_ROWS)
    head = "".join(f'<th scope="col" class="number">{text(name)}</th>' for name in ["epoch", *names])
    body = "".join(
        f'<tr><th scope="row" class="number">{run.epochs[i]:g}</th>'
        + "".join(f'<td class="number">{number(run.history[name][i])}</td>' for name in names)
        + "</tr>\n"
        for i in rows
    )
    some = "" if len(rows) == len(run.epochs) else f", {len(rows)} of {len(run.epochs):,} epochs"
    return (
        f"<details><summary>Values of the curves</summary>"
        f'<div class="scroll" tabindex="0" role="region" aria-label="Values of the curves">'
        f'<table class="values"><caption>From <code>{HISTORY}</code>{some}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table></div></details>"
    )


# ---- scores ----


def _scores(run: Run) -> str:
    scores = run.scores
    if scores is None:
        return _missing(SCORES, f"{_command(run, 'evaluate')} scores the model")
    if scores["format_version"] > SCORES_FORMAT:
        raise ValueError(f"format version {scores['format_version']}, newer than {SCORES_FORMAT}")
    skipped = "".join(
        f"<li>{text(name)}: {text(reason)}</li>"
        for name, reason in _first(scores.get("skipped") or {}, MOST_LISTED).items()
    )
    listed = scores["scores"]
    check_kind("scores", listed, list[dict])
    more = f"<p>{len(listed) - MOST_SCORES:,} more scores are not shown.</p>" * (len(listed) > MOST_SCORES)
    return (
        _score_table(listed[:MOST_SCORES])
        + more
        + "".join(_score_details(score) for score in listed[:MOST_SCORES] if score.get("details"))
        + (f"\n<h3>Not computed</h3>\n<ul>{skipped}</ul>" if skipped else "")
        + f"\n<h3>How they were computed</h3>\n{_facts(_provenance(scores))}"
    )


def _score_table(scores: Sequence[Mapping[str, Any]]) -> str:
    """All scores, those in the same features together."""
    groups: dict[str | None, list[str]] = {}
    for score in scores:
        groups.setdefault(score.get("features"), []).append(_score(score))
    body = ""
    for features, rows in groups.items():
        heading = f"In the features of {features}" if features else "Without features"
        if len(groups) > 1 or features:
            rows.insert(0, f'<tr><th scope="rowgroup" colspan="4">{text(heading)}</th></tr>')
        body += "<tbody>\n" + "\n".join(rows) + "\n</tbody>\n"
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Scores">'
        '<table class="scores"><caption>The reference is the number of real images, or of as many real '
        "training images against the real images here; where there is no such number, the best or largest "
        "that there can be. Near means near the reference.</caption>\n"
        '<thead><tr><th scope="col">Score</th><th scope="col" class="number">Value</th>'
        '<th scope="col" class="number">Reference</th><th scope="col">Better</th></tr></thead>\n'
        f"{body}</table></div>\n"
    )


def _score(score: Mapping[str, Any]) -> str:
    unit = f" <small>{text(score['unit'])}</small>" if score.get("unit") else ""
    error = score.get("error")
    margin = "" if error is None else f" <small>± {_datum(error)}</small>"
    note = f" <small>{text(score['note'])}</small>" if score.get("note") else ""
    meaning = MEANINGS.get(score["name"])
    explained = f' <span class="meaning">{text(meaning)}</span>' if meaning else ""
    return (
        f'<tr><th scope="row">{_label(score["name"])}{unit}{explained}</th>'
        f'<td class="number">{_datum(score["value"])}{margin}{note}</td>'
        f'<td class="number">{_datum(score.get("reference"))}</td>'
        f"<td>{text(score.get('better') or '')}</td></tr>"
    )


def _label(name: str) -> str:
    label = str(name).replace("_", " ").replace("frechet", "Fréchet")
    return text(label[:1].upper() + label[1:])


def _datum(value: float | None) -> str:
    """A number as it is read, with the exact one for machines."""
    return (
        "none" if value is None else f'<data value="{text(json.dumps(value))}">{text(number(value))}</data>'
    )


def _score_details(score: Mapping[str, Any]) -> str:
    """The same number by class, dimension, ...: bars, or JSON where it is something else."""
    found, label = score["details"], _label(score["name"])
    pairs = dict(enumerate(found)) if isinstance(found, list) else found
    more = ""
    if isinstance(pairs, dict) and len(pairs) > MOST_DETAILS:
        more = f"<p>The first {MOST_DETAILS:,} of {len(pairs):,}.</p>"
        pairs = _first(pairs, MOST_DETAILS)
    if score.get("features"):
        label += f", {text(score['features'])}"
    plain = isinstance(pairs, dict) and all(
        value is None or isinstance(value, (int, float)) for value in pairs.values()
    )
    if not plain:
        content = f'<pre tabindex="0">{_as_json(found)}</pre>'
    else:
        longest = max((abs(value) for value in pairs.values() if _drawable(value)), default=0) or 1
        rows = "".join(_bar(name, value, longest) for name, value in pairs.items())
        content = f'<div class="scroll"><table><caption>{label}</caption><tbody>{rows}</tbody></table></div>'
        content += more
    return f"<details><summary>{label}, in detail</summary>{content}</details>\n"


def _first(pairs: Mapping[Any, Any], most: int) -> dict[Any, Any]:
    return dict(itertools.islice(pairs.items(), most))


def _bar(name: object, value: float | None, longest: float) -> str:
    share = abs(value) / longest if value is not None and _drawable(value) else 0.0
    return (
        f'<tr><th scope="row">{text(one_line(name, NAME_LENGTH))}</th><td class="number">{_datum(value)}</td>'
        f'<td><span class="bar" style="--share: {share:.4f}"></span></td></tr>'
    )


def _drawable(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _provenance(scores: Mapping[str, Any]) -> dict[str, str]:
    """With what the scores were computed, `{name: HTML}`."""
    data, samples = scores.get("data") or {}, scores.get("samples") or {}
    facts = {}
    if scores.get("source"):
        facts["Source"] = text(scores["source"])
    if data:
        images = f"{number(data['num_images'])} {data.get('split')} images of {data.get('dataset')}"
        shape = " × ".join(map(str, data.get("image_shape") or []))
        known = [shape, f"content {data['content']}" if data.get("content") else ""]
        facts["Real images"] = f"{text(images)}<br/> <small>{text(', '.join(filter(None, known)))}</small>"
    if samples:
        seed = "" if samples.get("seed") is None else f", seed {samples['seed']}"
        hashes = ", ".join(
            f"{what} {found}" for what, found in (scores.get("subject") or {}).items() if found
        )
        facts["Scored images"] = text(number(samples["num_images"]) + seed)
        if hashes:
            facts["Scored images"] += f"<br/> <small>{text(hashes)}</small>"
    if scores.get("features"):
        facts["Features"] = "<br/> ".join(
            _extractor(features) for features in scores["features"][:MOST_LISTED]
        )
    if scores.get("backend"):
        facts["Backend"] = text(scores["backend"])
    if scores.get("versions"):
        facts["Versions"] = text(_named(scores["versions"]))
    if scores.get("date"):
        facts["Date"] = text(scores["date"])
    return facts


def _extractor(features: Mapping[str, Any]) -> str:
    digest = f"digest {features['digest']}" if features.get("digest") else ""
    resized = f"images resized {features['resized']}" if features.get("resized") else ""
    known = ", ".join(filter(None, (digest, resized)))
    return f"{text(features['extractor'])} <small>{text(known)}</small>"
