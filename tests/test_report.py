"""The page on a run: what stands in it, read back as XML, as HTML, and by a browser."""

import base64
import csv
import html
import html.parser
import io
import json
import math
import os
import pathlib
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from browser import Browser
from jinja2 import UndefinedError, nodes
from markupsafe import Markup
from PIL import Image

from keras_vaegan import InputError, cli, pages, plots, svg
from keras_vaegan.report import spread, write_report
from keras_vaegan.runs import RUN_FILES, diagnose_run, read_run

pytestmark = pytest.mark.core_on("one")

HOSTILE = "<script>alert('x')</script>&amp;\"\0"
SECTIONS = ["samples", "reconstructions", "interpolation", "latent", "curves", "scores"]
SHAPE = (5, 4, 3)
METADATA = {
    "format_version": 1,
    "keras_vaegan": "0.9.1",
    "keras": "3.99.0",
    "model": "vae_gan",
    "dataset": "digits",
    "image_shape": list(SHAPE),
    "class_names": ["nought", "one"],
    "seed": 17,
    "backend": "jax",
    "mixed_precision": "none",
    "augment": None,
    "recipe": {
        "model": {"key": "vae_gan"},
        "networks": {"family": "mlp", "latent_dim": 23},
        "training": {"dataset": "digits", "epochs": 9},
        "expect": "two kinds of figures",
    },
    "seconds": 3723.0,
    "epochs_done": 9,
}
HISTORY = {
    "epoch": [1, 2, 3, 4, 5, 6, 7, 8, 9],
    "kl": [1.0, 4.5, 2.25, 3.0, 2.0, 1.5, 1.25, 1.0, 0.75],
    "loss": [310.5, 200.0, math.nan, 150.0, 140.0, math.inf, 120.0, 110.0, 105.25],
    "val_loss": [300.0, 210.0, 190.0, 180.0, 170.0, 165.0, 160.0, 158.0, 157.0],
    "d_real": [0.001, 0.0012, 0.0011, 0.0013, 0.0012, 0.001, 0.0014, 0.0012, 0.0011],
    "steady": [7.0] * 9,
    "unlucky": [math.nan] * 9,
}
SCORES = {
    "format_version": 1,
    "source": "runs/figures",
    "model": "vae_gan",
    "data": {
        "dataset": "digits",
        "split": "test",
        "num_images": 12345,
        "image_shape": list(SHAPE),
        "content": "3f2a",
    },
    "samples": {"num_images": 6789, "seed": 31, "floor_images": 6789},
    "subject": {"weights": "77aa00bb11cc"},
    "features": [
        {"extractor": "mnist_plain", "digest": "0e9c490b1cce", "resized": "from (5, 4, 3) to (28, 28, 3)"}
    ],
    "backend": "torch",
    "versions": {"keras_vaegan": "0.9.2", "keras": "3.98.0", "numpy": "9.8.7"},
    "date": "2031-02-03",
    "scores": [
        {
            "name": "frechet_distance",
            "value": 8.123456789,
            "error": None,
            "reference": 1.4,
            "unit": None,
            "features": "mnist_plain",
            "better": "lower",
            "details": None,
        },
        {
            "name": "log_likelihood",
            "value": -98.75,
            "error": 0.625,
            "reference": None,
            "unit": "nats",
            "features": None,
            "better": "higher",
            "details": None,
            "note": "of 321 images",
        },
        {
            "name": "class_share",
            "value": 0.98,
            "error": None,
            "reference": 1,
            "features": "mnist_plain",
            "better": "near",
            "details": {"nought": 0.25, "one": 0.5, "two": None},
        },
        {"name": "odd", "value": 12345678, "details": [{"a": [1, 2]}]},
    ],
    "findings": ["Class one is made too often."],
    "skipped": {"labels": "the model takes no labels"},
}


def write_history(path, history):
    rows = zip(*history.values(), strict=True)
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([list(history), *rows])


def make_run(folder, metadata=METADATA, history=HISTORY, scores=SCORES, epochs=range(1, 12)):
    """A run folder as a training and an evaluation leave it, but for the model."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    (folder / "metadata.json").write_text(json.dumps(metadata))
    write_history(folder / "history.csv", history)
    (folder / "evaluate.json").write_text(json.dumps(scores))
    for name in ("samples", "reconstructions", "interpolation", "latent_grid"):
        plots.save_grid(random.random((100, *SHAPE)), folder / f"{name}.png", columns=10)
    Image.fromarray(random.integers(0, 255, (90, 120, 4), dtype="uint8")).save(folder / "latent_means.png")
    (folder / "samples").mkdir(exist_ok=True)
    for epoch in epochs:
        images = np.full((64, *SHAPE), epoch / 100.0) + np.linspace(0.0, 0.5, 64)[:, None, None, None]
        plots.save_grid(images, folder / "samples" / f"epoch_{epoch:04d}.png")
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "figures")


@pytest.fixture(scope="module")
def page(run):
    return write_report(run).read_text(encoding="utf-8")


def tree(page):
    """The page as XML."""
    return ElementTree.fromstring(page.removeprefix("<!DOCTYPE html>").strip())


def section(page, key):
    (found,) = (element for element in tree(page).iter("section") if element.get("id") == key)
    return found


def words(element):
    return " ".join("".join(element.itertext()).split())


def picture(image):
    """The pixels of an `<img>`."""
    kind, _, content = image.get("src").partition(";base64,")
    assert kind in ("data:image/png", "data:image/jpeg")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))


class Tags(html.parser.HTMLParser):
    """Start tags with their attributes, and what was opened and never closed."""

    def __init__(self, page):
        super().__init__()
        self.found, self.open, self.data, self.comments = [], [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.data.append(data)

    def handle_comment(self, data):
        self.comments.append(data)

    def kinds(self):
        """The elements, each with the names of its attributes."""
        return {(tag, *sorted(attributes)) for tag, attributes in self.found}


# ---- what stands in the page ----


def test_the_sections_stand_in_order_under_headings_in_order(page):
    assert page.startswith("<!DOCTYPE html>")
    assert tree(page).get("lang") == "en"
    assert [element.get("id") for element in tree(page).iter("section")] == ["findings", *SECTIONS]
    tags = Tags(page)
    assert tags.open == []
    levels = [int(tag[1]) for tag, _ in tags.found if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))
    assert "There is no" not in words(tree(page).find("body"))


def test_the_head_tells_the_run(page):
    header = tree(page).find("body/header")
    assert words(header.find("h1")) == "figures"
    told = {words(row.find("dt")): words(row.find("dd")) for row in header.findall("dl/div")}
    assert told.pop("Model").startswith("vae_gan VAE with a discriminator")
    assert told == {
        "Data set": "digits",
        "Images": "5 × 4 × 3",
        "Classes": "nought, one",
        "Networks": "mlp, code of 23",
        "Epochs": "9",
        "Time": "1 h 2 min",
        "Seed": "17",
        "Backend": "jax",
        "Versions": "keras-vaegan 0.9.1, Keras 3.99.0",
    }
    assert json.loads("".join(header.find("details/pre").itertext())) == METADATA["recipe"]
    targets = {link.get("href") for link in header.iter("a")}
    assert targets == {f"#{key}" for key in SECTIONS}


def test_nothing_is_asked_for_from_elsewhere(page):
    for tag, attributes in Tags(page).found:
        assert tag not in ("script", "iframe", "object", "embed", "base", "form")
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("src", "href", "srcset", "action", "data", "poster", "background"):
                assert value.startswith(("data:", "#")), value
    assert not re.search(r"@import|url\(", page)


def test_every_picture_has_its_words_and_its_size(page):
    ids = [element.get("id") for element in tree(page).iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    images = list(tree(page).iter("img"))
    assert len(images) == 5 + 6
    for image in images:
        assert len(image.get("alt")) > 10
        height, width = picture(image).shape[:2]
        assert (int(image.get("width")), int(image.get("height"))) == (width, height)
    for chart in (element for element in tree(page).iter("svg") if element.get("role") == "img"):
        title, description = chart.get("aria-labelledby").split()
        assert chart.find("title").get("id") == title and words(chart.find("title"))
        assert chart.find("desc").get("id") == description and words(chart.find("desc"))


def test_pictures_are_those_of_the_run(run, page):
    for key, names in {"samples": ["samples"], "latent": ["latent_grid", "latent_means"]}.items():
        images = [i for i in section(page, key).iter("img") if "epoch" not in i.get("alt")]
        for image, name in zip(images, names, strict=True):
            original = Image.open(run / f"{name}.png")
            if original.mode == "RGBA":
                pixels = np.asarray(original, float)
                share = pixels[..., 3:] / 255.0
                expected = pixels[..., :3] * share + 255.0 * (1.0 - share)
            else:
                expected = np.asarray(original, float)
            np.testing.assert_allclose(picture(image), expected, atol=1.0)


def test_the_strip_has_the_first_rows_of_epochs_evenly_spread(run, page):
    figures = section(page, "samples").findall(".//li/figure")
    assert [words(figure) for figure in figures] == [f"Epoch {n}" for n in (1, 3, 5, 7, 9, 11)]
    for figure, epoch in zip(figures, (1, 3, 5, 7, 9, 11), strict=True):
        original = np.asarray(Image.open(run / "samples" / f"epoch_{epoch:04d}.png"))
        shown = picture(figure.find("img"))
        # 8 columns of images of 5 x 4, enlarged 12 times, with 2 pixels between them
        assert shown.shape[:2] == (12 * (2 * 7 + 2), 12 * (8 * 6 + 2))
        np.testing.assert_array_equal(shown, original[: len(shown)])


@pytest.mark.parametrize("count", [1, 5, 6, 7, 100, 1001])
def test_a_spread_keeps_the_ends(count):
    shown = spread(range(count), 6)
    assert (shown[0], shown[-1], len(shown)) == (0, count - 1, min(count, 6))
    steps = np.diff(shown)
    assert len(steps) == 0 or (steps.min() > 0 and steps.max() - steps.min() <= 1)


def test_large_pictures_are_made_small(tmp_path):
    folder = make_run(tmp_path / "large")
    noise = np.random.default_rng(0).integers(0, 255, (1800, 2000, 3), dtype="uint8")
    for name in ("samples", "latent_grid"):
        Image.fromarray(noise).save(folder / f"{name}.png")
    page = write_report(folder).read_text()
    assert len(page) < 4_000_000  # of noise; pictures are far smaller
    image = next(section(page, "latent").iter("img"))
    assert picture(image).shape == (1080, 1200, 3)


# ---- curves ----


def charts(page):
    """`{name: svg}`."""
    figures = section(page, "curves").iter("figure")
    return {words(figure.find("figcaption/strong")): figure.find("svg") for figure in figures}


def scale(chart, axis):
    """The function from a coordinate to the value that the labels of an axis give it."""
    labels = [(float(t.get(axis)), t.text) for t in chart.iter("text") if t.get("class") == axis]
    ticks = [(place, float(label.replace(",", ""))) for place, label in labels if label != "epoch"]
    (a, first), (b, last) = ticks[0], ticks[-1]
    return lambda place: first + (place - a) / (b - a) * (last - first)


@pytest.mark.parametrize("name", ["loss", "kl", "d_real", "steady"])
def test_lines_run_where_the_labels_of_the_axes_say(page, name):
    chart = charts(page)[name]
    across, down = scale(chart, "x"), scale(chart, "y")
    assert across(200) > across(100) and down(100) > down(200)  # to the right and upwards
    for kind, column in {"training": name, "validation": f"val_{name}"}.items():
        drawn = []
        for line in (element for element in chart if element.get("class") == kind):
            if line.tag == "circle":
                points = [(float(line.get("cx")), float(line.get("cy")))]
            else:
                points = [tuple(map(float, pair.split(","))) for pair in line.get("points").split()]
            drawn += [(across(x), down(y)) for x, y in points]
        expected = [
            pair
            for pair in zip(HISTORY["epoch"], HISTORY.get(column, []), strict=False)
            if math.isfinite(pair[1])
        ]
        assert len(drawn) == len(expected)
        room = np.ptp([value for _, value in expected]) if expected else 1.0
        for (epoch, value), (x, y) in zip(expected, drawn, strict=True):
            assert x == pytest.approx(epoch, abs=0.01)
            assert y == pytest.approx(value, abs=0.01 * (room or 7.0))


def test_a_value_that_is_not_finite_breaks_the_line(page):
    shown = charts(page)
    assert list(shown) == ["loss", "kl", "d_real", "steady", "unlucky"]  # known ones first
    parts = [(part.tag, part.get("class")) for part in shown["loss"] if part.tag in ("polyline", "circle")]
    training = ("polyline", "training")
    assert parts == [training, training, training, ("polyline", "validation")]
    assert "2 not finite" in words(shown["loss"].find("desc"))
    assert not [part for part in shown["unlucky"] if part.tag in ("polyline", "circle")]
    assert words(shown["unlucky"].find("desc")) == "training: no finite value."
    for points in re.findall(r'points="([^"]*)"', page):
        assert re.fullmatch(r"[-\d., ]+", points)


def test_a_single_epoch_is_a_dot():
    chart = ElementTree.fromstring(svg.line_chart("t", [1], {"training": [2.5]}, "k"))
    assert [part.get("class") for part in chart.iter("circle")] == ["training"]
    assert [t.text for t in chart.iter("text") if t.get("class") == "x"] == ["1", "epoch"]


def test_ticks_are_round_and_even():
    random = np.random.default_rng(0)
    for _ in range(500):
        low = random.normal() * 10.0 ** random.integers(-6, 9)
        high = low + 10.0 ** random.uniform(-4, 4) * max(abs(low), 1e-6)
        found = svg.ticks(low, high)
        assert 2 <= len(found) <= 6
        assert low <= found[0] + 1e-9 * abs(low) and found[-1] <= high + 1e-9 * abs(high)
        steps = np.diff(found)
        np.testing.assert_allclose(steps, steps[0], rtol=1e-6)
        assert round(steps[0] / 10.0 ** math.floor(math.log10(steps[0] * 1.0001)), 6) in (1, 2, 5)


@pytest.mark.parametrize(
    "values",
    [[1e308, -1e308], [0.0, 5e-324], [1.0, 1.0 + 2e-16], [-1e-12, 1e-12], [0.0, 0.0], [1e12, 1.1e12]],
)
def test_extreme_values_stay_inside_the_chart(values):
    chart = ElementTree.fromstring(svg.line_chart("t", [1, 2], {"training": values}, "k"))
    for line in chart.iter("polyline"):
        for pair in line.get("points").split():
            x, y = map(float, pair.split(","))
            assert 0.0 <= x <= svg.WIDTH and 0.0 <= y <= svg.HEIGHT


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0"),
        (12345, "12,345"),
        (8.123456, "8.123"),
        (-98.75, "-98.75"),
        (0.5, "0.5"),
        (1234.5678, "1,235"),
        (1200.0, "1,200"),
        (123456.0, "123,456"),
        (1.5e-7, "1.5e-07"),
        (2.0e12, "2e+12"),
        (math.nan, "not a number"),
        (-math.inf, "-infinite"),
    ],
)
def test_numbers_are_short(value, shown):
    assert svg.number(value) == shown


def test_the_history_stands_in_a_table_too(page):
    table = section(page, "curves").find(".//table")
    assert [words(cell) for cell in table.findall("thead/tr/th")] == list(HISTORY)
    for i, row in enumerate(table.findall("tbody/tr")):
        assert words(row.find("th")) == str(HISTORY["epoch"][i])
        shown = [words(cell) for cell in row.findall("td")]
        names = [name for name in HISTORY if name != "epoch"]
        assert shown == [svg.number(float(HISTORY[name][i])) for name in names]


# ---- scores ----


def test_scores_are_those_of_the_evaluation(page):
    table = section(page, "scores").find("div/table")
    assert table.find("caption") is not None
    assert [cell.get("scope") for cell in table.findall("thead/tr/th")] == ["col"] * 4
    shown = {}
    for row in table.findall("tbody/tr"):
        if row.find("th").get("scope") == "row":
            numbers = [[float(d.get("value")) for d in cell.iter("data")] for cell in row.findall("td")[:2]]
            shown[words(row.find("th")).split(" nats")[0].split(" between")[0]] = (
                *numbers,
                words(row.findall("td")[2]),
            )
    assert shown == {
        "Fréchet distance": ([8.123456789], [1.4], "lower"),
        "Class share": ([0.98], [1.0], "near"),
        "Log likelihood": ([-98.75, 0.625], [], "higher"),
        "Odd": ([12345678.0], [], ""),
    }
    assert "-98.75 ± 0.625 of 321 images" in words(table)
    for datum in tree(page).iter("data"):
        exact = float(datum.get("value"))
        assert float(datum.text.replace(",", "")) == pytest.approx(exact, rel=6e-4)


def test_details_findings_and_provenance_stand_by_the_scores(page):
    scores = section(page, "scores")
    bars, other = scores.findall("details")
    assert [words(cell) for cell in bars.iter("th")] == ["nought", "one", "two"]
    assert [float(datum.get("value")) for datum in bars.iter("data")] == [0.25, 0.5]
    shares = [re.search(r"--share: ([\d.]+)", bar.get("style"))[1] for bar in bars.iter("span")]
    assert list(map(float, shares)) == [0.5, 1.0, 0.0]
    assert json.loads("".join(other.find("pre").itertext())) == [{"a": [1, 2]}]
    said = words(scores)
    for part in (
        *("labels: the model takes no labels", "runs/figures", "12,345 test images of digits", "3f2a"),
        *(
            "6,789, seed 31 weights 77aa00bb11cc",
            "mnist_plain digest 0e9c490b1cce, images resized from (5, 4, 3) to (28, 28, 3)",
            "torch",
        ),
        *("keras_vaegan 0.9.2, keras 3.98.0, numpy 9.8.7", "2031-02-03"),
    ):
        assert part in said
    assert "Class one is made too often." in words(section(page, "findings"))


def test_findings_on_the_training_come_first(run, tmp_path):
    page = write_report(run, tmp_path / "p.html", findings=["The <training> fell apart."]).read_text()
    items = [words(item) for item in section(page, "findings").iter("li")]
    assert items == ["The <training> fell apart.", "Class one is made too often."]


# ---- what is missing, foreign or damaged ----


def test_what_a_run_lacks_is_named_with_its_remedy(tmp_path):
    folder = tmp_path / "young run"
    folder.mkdir()
    unfinished = {key: value for key, value in METADATA.items() if key not in ("seconds", "epochs_done")}
    (folder / "metadata.json").write_text(json.dumps(unfinished))
    page = write_report(folder).read_text()
    assert "9 planned; the training has not ended" in page
    assert "findings" not in [element.get("id") for element in tree(page).iter("section")]
    quoted = f"'{folder}'"
    for key, parts in {
        "samples": ["samples.png", "samples/epoch_0001.png", f"keras-vaegan generate {quoted} --output"],
        "reconstructions": [f"keras-vaegan reconstruct {quoted} --output '{folder}/reconstructions.png'"],
        "interpolation": [f"keras-vaegan interpolate {quoted} --output '{folder}/interpolation.png'"],
        "latent": ["latent_grid.png", "latent_means.png", "keras-vaegan train"],
        "curves": ["history.csv", "keras-vaegan train"],
        "scores": ["evaluate.json", f"keras-vaegan evaluate {quoted}"],
    }.items():
        said = words(section(page, key))
        assert all(part in said for part in ["There is no", *parts]), said


def test_what_comes_from_files_is_only_text(tmp_path):
    metadata = METADATA | {"model": HOSTILE, "dataset": HOSTILE, "class_names": [HOSTILE, "\ud800"]}
    metadata["recipe"] = METADATA["recipe"] | {"expect": HOSTILE, HOSTILE: HOSTILE}
    scores = SCORES | {
        "scores": [
            {"name": HOSTILE, "value": math.nan, "unit": HOSTILE, "better": HOSTILE, "features": HOSTILE},
            {"name": "a", "value": 1.0, "features": HOSTILE, "details": {HOSTILE: 1.0}},
            {"name": "b", "value": 1.0, "details": [HOSTILE]},
        ],
        "findings": [HOSTILE],
        "skipped": {HOSTILE: HOSTILE},
        "versions": {HOSTILE: HOSTILE},
        "source": HOSTILE,
        "date": HOSTILE,
    }
    history = HISTORY | {"<img src='x' onerror='1'/>": [1.0] * 9}
    folder = make_run(tmp_path / "<b onclick='x'>run", metadata, history, scores)
    page = write_report(folder).read_text(encoding="utf-8")
    test_nothing_is_asked_for_from_elsewhere(page)
    test_every_picture_has_its_words_and_its_size(page)
    assert words(tree(page).find("body/header/h1")) == "<b onclick='x'>run"
    assert words(tree(page).find("body")).count("<script>alert('x')</script>&amp;\"\ufffd") > 12


ATTACKS = '<script>zq_()</script>" onload="zq_()" x=\' javascript:zq_() {{ 7*7 }} {% raw %} <!-- ]]>'


def hostile(field):
    """Text that would be elements, attributes and expressions of a template, after the name of its field."""
    return f"zq_{field}{ATTACKS}"


# Each text of a run that the page shows.
OF_METADATA = ("model", "dataset", "backend", "mixed_precision", "augment", "keras_vaegan", "keras")
OF_SCORES = ("source", "backend", "date")
FIELDS = (
    *("folder", "class", "family", "expect", "recipe_key", "recipe_value", "column", "given", "found"),
    *(f"metadata_{name}" for name in OF_METADATA),
    *(f"scores_{name}" for name in OF_SCORES),
    *("name", "unit", "better", "features", "note", "bar", "json_key", "json_value", "skipped", "reason"),
    *("data_split", "data_dataset", "data_content", "subject", "weights", "extractor", "digest", "resized"),
    *("library", "version"),
)


@pytest.fixture(scope="module")
def hostile_run(tmp_path_factory):
    """A run folder in which every text is hostile."""
    metadata = METADATA | {name: hostile(f"metadata_{name}") for name in OF_METADATA}
    metadata["class_names"] = [hostile("class")]
    metadata["recipe"] = METADATA["recipe"] | {
        "networks": {"family": hostile("family"), "latent_dim": 3},
        "expect": hostile("expect"),
        hostile("recipe_key"): hostile("recipe_value"),
    }
    score = {name: hostile(name) for name in ("name", "unit", "better", "features", "note")}
    scores = SCORES | {name: hostile(f"scores_{name}") for name in OF_SCORES}
    scores |= {
        "scores": [
            score | {"value": 1.0, "error": 0.5, "details": {hostile("bar"): 1.0}},
            {
                "name": "accuracy_on_real",
                "value": 2.0,
                "details": {hostile("json_key"): hostile("json_value")},
            },
        ],
        "findings": [hostile("found")],
        "skipped": {hostile("skipped"): hostile("reason")},
        "data": SCORES["data"] | {name: hostile(f"data_{name}") for name in ("split", "dataset", "content")},
        "subject": {hostile("subject"): hostile("weights")},
        "features": [{name: hostile(name) for name in ("extractor", "digest", "resized")}],
        "versions": {hostile("library"): hostile("version")},
    }
    name = hostile("folder").replace("/", "\N{FRACTION SLASH}")
    history = HISTORY | {hostile("column"): [2.0] * 9}
    return make_run(tmp_path_factory.mktemp("runs") / name, metadata, history, scores)


def check_only_text(page, plain):
    """Assert that hostile texts are all shown, and change nothing of the elements that a plain page has."""
    tags = Tags(page)
    assert tags.open == [] and tags.comments == []
    assert tags.kinds() == Tags(plain).kinds()
    for _, attributes in tags.found:
        assert not any("zq_" in value or "7*7" in value for value in attributes.values())
    shown = "".join(tags.data)
    said = shown.lower().replace(" ", "_")  # the name of a score is shown as words
    assert [field for field in FIELDS if f"zq_{field}" not in said] == []
    for attack in ("<script>zq_(", "{{ 7*7 }}", "javascript:zq_()"):
        assert shown.count(attack) > len(FIELDS)


def test_hostile_texts_are_shown_and_are_nothing_but_text(hostile_run, page):
    check_only_text(write_report(hostile_run, findings=[hostile("given")]).read_text("utf-8"), page)


@pytest.mark.parametrize(
    "name", [name for name in pages.ENVIRONMENT.list_templates(["jinja"]) if not name.startswith("web/")]
)
def test_a_template_without_autoescape_would_be_noticed(hostile_run, page, name, monkeypatch):
    weak = pages.ENVIRONMENT.overlay(autoescape=lambda one: one != name)
    monkeypatch.setattr(pages, "ENVIRONMENT", weak)
    written = write_report(hostile_run, findings=[hostile("given")]).read_text("utf-8")
    with pytest.raises(AssertionError):
        check_only_text(written, page)


def test_no_template_goes_round_autoescape():
    assert pages.ENVIRONMENT.autoescape is True
    names = pages.ENVIRONMENT.list_templates()
    assert {"report/page.html.jinja", "web/page.html.jinja", "line_chart.svg.jinja"} <= set(names)
    for name in names:
        source = pages.ENVIRONMENT.loader.get_source(pages.ENVIRONMENT, name)[0]
        parsed = pages.ENVIRONMENT.parse(source)
        assert {node.name for node in parsed.find_all(nodes.Filter)} <= {"length"}, name
        assert not list(parsed.find_all((nodes.MarkSafe, nodes.MarkSafeIfAutoescape))), name
        assert not list(parsed.find_all(nodes.EvalContextModifier)), name  # {% autoescape %}
        assert not re.search(r"=\s*\{\{", source), name  # an attribute without quotation marks
    package = pathlib.Path(pages.__file__).parent
    marked = {path.name for path in package.rglob("*.py") if "Markup(" in path.read_text("utf-8")}
    assert marked == {"pages.py", "svg.py", "embedded.py"}  # of templates, of numbers, of base64


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("<b>", "&lt;b&gt;"),
        ("a" * 2001, f"{'a' * 2000} ..."),
        ("\0\x1b\ud800", "\ufffd" * 3),
        (None, "None"),
        (1.5, "1.5"),
        (Markup("<b>"), "<b>"),
    ],
)
def test_a_template_shows_a_value_as_bounded_text(value, shown):
    assert pages.ENVIRONMENT.from_string("{{ value }}").render(value=value) == shown


def test_a_name_that_a_template_lacks_is_an_error():
    with pytest.raises(UndefinedError):
        pages.render("report/page.html.jinja")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("metadata.json", "{", "metadata.json"),
        ("metadata.json", "[1]", "an object was expected"),
        ("metadata.json", "{}", "the folder of a training"),
        ("metadata.json", b"\xff\xfe", "metadata.json"),
        ("metadata.json", json.dumps(METADATA | {"recipe": 3}), "metadata.json"),
        ("metadata.json", json.dumps(METADATA | {"seconds": "long"}), "metadata.json"),
        ("metadata.json", json.dumps(METADATA | {"image_shape": 3}), "metadata.json"),
        ("history.csv", "", "the file is empty"),
        ("history.csv", "epoch,loss\n1,2\n2\n", "line 3 has 1 cells"),
        ("history.csv", "epoch,loss\n1,much\n", "much"),
        ("history.csv", b"\xff\xfe", "history.csv"),
        ("evaluate.json", "nonsense", "evaluate.json"),
        ("evaluate.json", "{}", "format_version"),
        ("evaluate.json", json.dumps(SCORES | {"format_version": 2}), "format version 2, newer than 1"),
        ("evaluate.json", json.dumps(SCORES | {"scores": 3}), "evaluate.json"),
        ("evaluate.json", json.dumps(SCORES | {"scores": [{"name": "a"}]}), "value"),
        ("evaluate.json", json.dumps(SCORES | {"scores": [{"name": "a", "value": "b"}]}), "evaluate.json"),
        ("evaluate.json", json.dumps(SCORES | {"findings": 3}), "evaluate.json"),
        ("samples.png", b"no picture", "samples.png"),
        ("samples/epoch_0001.png", b"\x89PNG\r\n\x1a\n", "epoch_0001.png"),
    ],
)
def test_damaged_files_are_told_in_a_line(tmp_path, name, content, message):
    folder = make_run(tmp_path / "run", epochs=[1])
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=r"run_folder must (hold|be)") as error:
        write_report(folder)
    assert message in str(error.value) and "\n" not in str(error.value)
    assert not (folder / "report.html").exists()


@pytest.mark.parametrize("content", ["epoch,loss\n", "epoch\n1\n"])
def test_a_history_without_values_has_no_curves(tmp_path, content):
    folder = make_run(tmp_path / "run")
    (folder / "history.csv").write_text(content)
    assert "There is no history.csv" in words(section(write_report(folder).read_text(), "curves"))


@pytest.mark.parametrize("numbers", [None, ["", "", ""], [3, 2, 2], [1, math.inf, 3]])
def test_epochs_without_right_numbers_are_counted(tmp_path, numbers):
    folder = make_run(tmp_path / "run")
    epochs = {} if numbers is None else {"epoch": numbers}
    write_history(folder / "history.csv", epochs | {"loss": [3.0, 2.0, 1.0]})
    page = write_report(folder).read_text()
    rows = section(page, "curves").findall(".//table/tbody/tr")
    assert [words(row.find("th")) for row in rows] == ["1", "2", "3"]
    (line,) = charts(page)["loss"].iter("polyline")
    assert len(line.get("points").split()) == 3


# ---- the command ----


def command(capsys, *arguments):
    """Exit code of `keras-vaegan report`, and what it says."""
    with pytest.raises(SystemExit) as stop:
        cli.main(["report", *map(str, arguments)])
    said = capsys.readouterr()
    return stop.value.code, said.out + said.err


def test_the_command_writes_the_same_page_with_what_the_doctor_sees(run, capsys, tmp_path):
    found = diagnose_run(run, read_run(run).history)
    assert found
    page = write_report(run, tmp_path / "page.html", [one.message for one in found]).read_text()
    assert html.escape(found[0].message, quote=False) in page
    assert command(capsys, run) == (0, f"wrote {run / 'report.html'}\n")
    assert (run / "report.html").read_text() == page
    assert command(capsys, run, "--output", tmp_path / "new" / "it.html")[0] == 0
    assert (tmp_path / "new" / "it.html").read_text() == page
    assert "report.html" in RUN_FILES


def test_the_command_refuses_in_a_line(run, capsys, tmp_path):
    (tmp_path / "file").write_text("")
    for arguments, message in {
        (tmp_path / "nowhere",): "RUN must be the folder of a training",
        (tmp_path,): "has no metadata.json",
        (tmp_path / "file",): "is not a folder",
        (run, "--output", tmp_path): "--output must be an .html file; ",
        (run, "--output", run / "history.csv"): "--output must be an .html file; received",
        (run, "--output", tmp_path / "file" / "it.html"): "file",
    }.items():
        code, said = command(capsys, *arguments)
        assert code == 2 and message in said and len(said.splitlines()) == 1, said


def test_the_command_imports_no_backend(run, tmp_path):
    code = """
import sys
sys.argv = ["keras-vaegan", "report", *sys.argv[1:]]
from keras_vaegan import cli
try:
    cli.main()
finally:
    print(sorted({"keras", "tensorflow", "jax", "torch", "matplotlib"} & set(sys.modules)))
"""
    finished = subprocess.run(
        [sys.executable, "-c", code, str(run), "--output", str(tmp_path / "it.html")],
        env=os.environ,
        capture_output=True,
        text=True,
    )
    assert finished.stderr == "" and finished.returncode == 0
    assert finished.stdout.splitlines()[-1] == "[]"


# ---- in a browser ----


@pytest.fixture(scope="module")
def browser():
    with Browser() as browser:
        yield browser


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
def test_a_browser_shows_the_page(browser, run, tmp_path, width, dark):
    path = write_report(run, tmp_path / "page.html", findings=["A-very-long-word" * 20])
    shown = browser.open(path, width=width, dark=dark)
    shown.evaluate("document.querySelectorAll('details').forEach((details) => { details.open = true; })")
    assert shown.overflow() == 0
    assert shown.broken_images() == []
    assert shown.low_contrast() == []
    shown.screenshot(tmp_path / "page.png")
    pixels = np.asarray(Image.open(tmp_path / "page.png").convert("L"))
    assert pixels.shape[1] == width
    assert (pixels[:, :4].mean() < 60) if dark else (pixels[:, :4].mean() > 200)
    assert shown.messages == []
    assert shown.requests == [path.as_uri()]


def test_the_browser_would_tell(browser, tmp_path):
    """The checks above find what they look for."""
    path = tmp_path / "bad.html"
    path.write_text(
        "<body><script>console.error('told')</script><img alt='broken' src='none.png'>"
        "<p style='width: 2000px; color: #999; background: #fff'>wide</p></body>"
    )
    shown = browser.open(path)
    assert any("told" in message for message in shown.messages)
    assert shown.requests[1:] == [(tmp_path / "none.png").as_uri()]
    assert shown.broken_images() == ["broken"]
    assert shown.overflow() > 500
    assert shown.low_contrast() == ["p: 2.85"]
