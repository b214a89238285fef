"""The scripts of `examples/`, run as a reader would, on small models."""

import importlib.util
import pathlib
import sys

import keras
import numpy as np
import pytest
from PIL import Image

from keras_vaegan.data import load
from keras_vaegan.plots import HIDDEN, PADDING

# Several models are compiled and trained: the core suite does it where compilation takes no time.
pytestmark = [] if keras.backend.backend() == "torch" else [pytest.mark.slow]

EXAMPLES = pathlib.Path(__file__).parents[1] / "examples"


def example(name):
    """A script as a module."""
    specification = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def cells(path, columns, size=28, enlarged=1):
    """The images of a grid `(rows, columns, size, size)`, and its rest at the right."""
    picture = np.asarray(Image.open(path), "float32")[::enlarged, ::enlarged] / 255.0
    side = size + PADDING
    rows = (picture.shape[0] - PADDING) // side
    inner = picture[PADDING : PADDING + rows * side, PADDING : PADDING + columns * side]
    inner = inner.reshape(rows, side, columns, side).transpose(0, 2, 1, 3)
    return inner[:, :, :size, :size], picture[:, PADDING + columns * side :]


def test_the_papers_grids_are_drawn(tmp_path, monkeypatch, capsys):
    script = example("paper_grids")
    monkeypatch.setattr(script, "QUICK_EPOCHS", 1)
    monkeypatch.setattr(script, "SCALE", 1)
    monkeypatch.setattr(sys, "argv", ["paper_grids.py", "--quick", "--output", str(tmp_path / "grids")])
    script.main()
    assert "look at by_label.png, styles.png and halves.png" in capsys.readouterr().out

    images, labels = load("digits").test
    shown = np.stack([images[labels == k][0] for k in range(10)])[..., 0]
    styles, rest = cells(tmp_path / "grids" / "styles.png", 11)
    np.testing.assert_allclose(styles[:, 0], shown, atol=0.003)
    assert rest.shape[1] == script.GAP + 11 * 30 + PADDING  # the other model's
    assert styles[:, 1:].std(axis=(2, 3)).min() > 0

    halves, _ = cells(tmp_path / "grids" / "halves.png", script.COMPLETED + 2, enlarged=2)
    np.testing.assert_allclose(halves[:, 0, :, 14:], HIDDEN, atol=0.003)
    np.testing.assert_allclose(halves[:, 0, :, :14], shown[:, :, :14], atol=0.003)
    np.testing.assert_allclose(halves[:, 1, :, :14], shown[:, :, :14], atol=0.003)
    np.testing.assert_allclose(halves[:, -1], shown, atol=0.003)
    assert np.abs(halves[:, 1] - halves[:, 2])[..., 14:].max() > 0.01
    by_label, _ = cells(tmp_path / "grids" / "by_label.png", 10)
    assert by_label.shape[0] == script.ROWS
