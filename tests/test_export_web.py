"""The page that runs a model in a browser: what it shows against the verbs of the model."""

import json
import os
import shutil
import time

import keras
import numpy as np
import pytest
import registry
from browser import Browser
from test_export import built

import keras_vaegan as kvg
from keras_vaegan.data import named_mask
from keras_vaegan.errors import InputError
from keras_vaegan.export import web

pytestmark = pytest.mark.core_on("one")

PATIENCE = 20  # seconds until a picture must have come
TOLERANCE = 1e-4
NAMES = registry.core(["cvae_both"], ["cvae_both", "vae_gan", "draw_conditional", "cvae_gan_spatial"])


@pytest.fixture(scope="session")
def runtime():
    """ONNX Runtime Web, which npm fetches; a skip where there is no npm, but on the build server."""
    if shutil.which("npm") is None and os.environ.get("CI") != "true":
        pytest.skip("no npm on this machine")
    return web.runtime_folder(None)


@pytest.fixture(scope="module")
def browser():
    with Browser() as browser:
        yield browser


@pytest.fixture(scope="module", params=NAMES)
def exported(request, runtime, tmp_path_factory):
    """A model and the page of it."""
    model = built(request.param)
    folder = tmp_path_factory.mktemp("web") / "page"
    model.export(folder, "web", verbose=False, runtime=runtime, facts={"name": "<mine> & yours"})
    return model, folder / "index.html"


@pytest.fixture(scope="module")
def page(browser, exported):
    shown = browser.open(exported[1])
    assert shown.evaluate("ready.then(() => document.title)") == "<mine> & yours"
    return shown


def js(array):
    """An array as JavaScript has it."""
    return f"Float32Array.from({json.dumps(np.asarray(array, 'float64').ravel().tolist())})"


def pixels(page, id, shape):
    """The numbers that a canvas shows."""
    return np.array(page.evaluate(f"Array.from(document.querySelector('{id}').pixels)")).reshape(shape)


def assert_soon(page, id, expected):
    """A canvas comes to show these pixels."""
    deadline = time.monotonic() + PATIENCE
    while np.abs(pixels(page, id, expected.shape) - expected).max() > TOLERANCE:
        assert time.monotonic() < deadline, f"{id} does not show what the model gives"
        time.sleep(0.05)


def labels_for(model, label, count=1):
    return {} if model.num_classes is None else {"labels": np.full(count, label)}


def picture_of(model, noise, label=0):
    """What the model makes of noise `(N, ...)`: its prior placed, then decoded."""
    condition = model.conditioned(len(noise), **labels_for(model, label, len(noise)))
    codes = keras.ops.convert_to_numpy(model.prior.given(condition).place(np.float32(noise)))
    return model.decode(codes, **labels_for(model, label, len(noise)))


def choose(page, id, value):
    """Choose of a list, or set a slider, and tell the page as a hand would."""
    event = "change" if page.evaluate(f"document.querySelector('{id}').localName") == "select" else "input"
    page.evaluate(
        f"(() => {{ const it = document.querySelector('{id}'); it.value = {json.dumps(value)};"
        f" it.dispatchEvent(new Event('{event}')); }})()"
    )


def press(page, key, code=None):
    """Press a key, where the focus is."""
    keys = {"ArrowRight": 39, "ArrowDown": 40, " ": 32}
    for kind in ("keyDown", "keyUp"):
        page.call(
            "Input.dispatchKeyEvent",
            {"type": kind, "key": key, "code": code or key, "windowsVirtualKeyCode": keys[key]},
        )


def test_sliders_classes_and_ends_show_what_the_model_makes(page, exported):
    model, _ = exported
    noise = np.random.default_rng(0).standard_normal((2, *model.code_shape)).round(2)
    page.evaluate(f"set_code({js(noise[0])})")
    assert_soon(page, "#picture", picture_of(model, noise[:1])[0])

    slider = "document.querySelector('#sliders input')"
    page.evaluate(f"{slider}.focus()")
    before = float(page.evaluate(f"{slider}.value"))
    press(page, "ArrowRight")
    moved = noise[:1].copy()
    moved.reshape(-1)[0] = float(page.evaluate(f"{slider}.value"))
    assert moved.reshape(-1)[0] > before
    assert_soon(page, "#picture", picture_of(model, moved)[0])
    assert np.abs(picture_of(model, moved) - picture_of(model, noise[:1])).max() > 10 * TOLERANCE

    page.evaluate(f"set_code({js(noise[0])})")
    page.evaluate("document.querySelector('#set-first').click()")
    page.evaluate(f"set_code({js(noise[1])})")
    page.evaluate("document.querySelector('#set-second').click()")
    choose(page, "#way", "0.25")
    ways = np.stack([noise[0], 0.75 * noise[0] + 0.25 * noise[1], noise[1]])
    for id, expected in zip(("#first", "#between", "#second"), picture_of(model, ways), strict=True):
        assert_soon(page, id, expected)
    if model.num_classes is not None:
        choose(page, "#label", "2")
        assert_soon(page, "#picture", picture_of(model, noise[1:], 2)[0])
        assert_soon(page, "#between", picture_of(model, ways, 2)[1])
        choose(page, "#label", "0")


def test_a_drawing_is_shown_step_by_step(page, exported):
    model, _ = exported
    if not isinstance(model, kvg.DRAW):
        assert page.evaluate("document.querySelector('#steps').hidden")
        pytest.skip("no DRAW")
    page.evaluate("set_code(new Float32Array(LENGTH))")
    zero = np.zeros((1, *model.code_shape), "float32")
    assert_soon(page, "#picture", picture_of(model, zero)[0])
    condition = model.conditioned(1, **labels_for(model, 0))
    made = keras.ops.convert_to_numpy(model.drawing({"codes": zero, **condition})["canvases"])[0]
    expected = 1.0 / (1.0 + np.exp(-made))
    for t in range(model.steps):
        assert_soon(page, f"#steps canvas:nth-child({t + 1})", expected[t])


def test_what_is_drawn_is_completed(page, exported):
    model, _ = exported
    if not model.completes:
        assert page.evaluate("document.querySelector('#complete').hidden")
        pytest.skip("the model completes nothing")
    name = page.evaluate("document.querySelector('#mask').value")
    mask = named_mask(name, model.image_shape)

    def completed():
        given = np.array(page.evaluate("Array.from(given)")).reshape(1, *model.image_shape)
        noise = np.array(page.evaluate("Array.from(variants)")).reshape(-1, *model.code_shape)
        count = len(noise)
        images = np.tile(given.astype("float32"), (count, 1, 1, 1))
        condition = model.conditioned(count, images=images, mask=mask, **labels_for(model, 0, count))
        codes = keras.ops.convert_to_numpy(model.prior.given(condition).place(np.float32(noise)))
        return given[0], model.decode(codes, images=images, mask=mask, **labels_for(model, 0, count))

    for id in ("#example", "#clear"):
        page.evaluate(f"document.querySelector('{id}').click()")
        given, expected = completed()
        for i, one in enumerate(expected):
            assert_soon(page, f"#completions canvas:nth-child({i + 1})", one)
            np.testing.assert_array_equal(one[mask], given[mask].astype("float32"))
    assert not given.any()

    # A stroke across all of it leaves a trace where the part is that one draws, and there alone.
    page.evaluate("document.querySelector('#given').scrollIntoView({block: 'center'})")
    box = page.evaluate(
        "(({x, y, width, height}) => [x, y, width, height])($('given').getBoundingClientRect())"
    )
    ends = [(box[0] + 2 + share * (box[2] - 4), box[1] + 2 + share * (box[3] - 4)) for share in (0.0, 1.0)]
    for kind, (x, y) in zip(("mousePressed", "mouseMoved", "mouseReleased"), (*ends, ends[1]), strict=True):
        event = {"type": kind, "x": x, "y": y, "button": "left", "buttons": 1, "clickCount": 1}
        page.call("Input.dispatchMouseEvent", event)
    given, expected = completed()
    assert given[mask].any() and not given[~mask].any()
    for i, one in enumerate(expected):
        assert_soon(page, f"#completions canvas:nth-child({i + 1})", one)
    before = page.evaluate("variants[0]")
    page.evaluate("document.querySelector('#others').click()")
    assert page.evaluate("variants[0]") != before
    assert_soon(page, "#completions canvas", completed()[1][0])

    page.evaluate("document.querySelector('#clear').click(); document.querySelector('#given').focus()")
    painted = []
    for key in ("ArrowRight", "ArrowDown", " "):
        press(page, key, "Space" if key == " " else None)
        painted.append(page.evaluate("$('status').textContent"))
        if mask[tuple(page.evaluate("cursor"))]:
            press(page, " ", "Space")
    assert all(text.startswith("Row ") for text in painted)
    page.evaluate("cursor = [0, 0]")
    for row, column in np.argwhere(mask)[:1]:
        page.evaluate(f"cursor = [{row}, {column}]")
        press(page, " ", "Space")
        assert np.array(page.evaluate("Array.from(given)")).reshape(model.image_shape)[row, column, 0] == 1.0


def test_everything_that_one_can_use_has_a_name(page):
    page.call("Accessibility.enable")
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    useful = ("button", "slider", "combobox", "checkbox", "application", "img", "image", "canvas")
    used = [node for node in nodes if not node.get("ignored") and node["role"]["value"] in useful]
    assert len(used) > 8
    assert not [node["role"]["value"] for node in used if not node.get("name", {}).get("value")]


@pytest.mark.parametrize(("width", "dark"), [(360, False), (1200, True)])
def test_it_fits_any_window_and_asks_nobody(browser, exported, width, dark):
    _, path = exported
    shown = browser.open(path, width=width, dark=dark)
    assert shown.evaluate("ready.then(() => $('status').textContent)").startswith("Ready")
    assert shown.overflow() == 0 and shown.low_contrast() == [] and shown.messages == []
    folder = path.parent.as_uri()
    assert all(address.startswith((folder, "blob:null/")) for address in shown.requests)
    assert sorted(p.name for p in path.parent.iterdir()) == ["index.html", "model.js", "runtime.js"]


# ---- the runtime ----


def test_the_runtime_may_lie_anywhere_and_is_looked_at(runtime, tmp_path, monkeypatch):
    shutil.copytree(runtime, tmp_path / "package" / "dist")
    assert web.runtime_folder(tmp_path) == tmp_path / "package" / "dist"
    (tmp_path / "package" / "dist" / web.BINARY).unlink()
    with pytest.raises(InputError, match="runtime must be a folder with"):
        web.runtime_folder(tmp_path)

    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "empty"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="npm, which would fetch onnxruntime-web@.*, is not installed"):
        web.runtime_folder(None)
    for script, message in (
        ("echo no network >&2; exit 1", "npm cannot fetch .*: no network"),
        ('echo no > "$5/a.tgz"', "what npm fetched is not onnxruntime-web"),
    ):
        (tmp_path / "npm").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "npm").chmod(0o755)
        with pytest.raises(InputError, match=message):
            web.runtime_folder(None)
    assert not (tmp_path / "empty" / "keras_vaegan").exists() or not list(
        (tmp_path / "empty" / "keras_vaegan").iterdir()
    )
