"""The scripts of `examples/`, run as a reader would, on small models."""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from keras_vaegan.data import ImageData, load
from keras_vaegan.plots import HIDDEN, PADDING

pytestmark = pytest.mark.core_on("one")

EXAMPLES = pathlib.Path(__file__).parents[1] / "examples"


@pytest.fixture(autouse=True)
def beside_each_other(monkeypatch):
    """Scripts import one another."""
    monkeypatch.syspath_prepend(EXAMPLES)


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


def test_the_papers_grids_are_drawn(tmp_path, monkeypatch, capsys, brief_fits):
    script = example("paper_grids")
    monkeypatch.setattr("common.QUICK_EPOCHS", 1)
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


@pytest.mark.slow
def test_the_figures_of_draw_are_drawn(tmp_path, monkeypatch, capsys):
    script, helper = example("draw_figures"), importlib.import_module("paper_grids")
    monkeypatch.setattr("common.QUICK_EPOCHS", 1)
    monkeypatch.setattr(helper, "SCALE", 1)
    monkeypatch.setattr(sys, "argv", ["draw_figures.py", "--quick", "--output", str(tmp_path)])
    script.main()
    assert "look at draw_by_class.png, draw_gan.gif, draw_reconstructions.png" in capsys.readouterr().out

    images = load("digits").test[0][: script.ROWS // 2 * script.COLUMNS, ..., 0]
    rebuilt, rest = cells(tmp_path / "draw_reconstructions.png", script.COLUMNS)
    np.testing.assert_allclose(rebuilt[::2].reshape(images.shape), images, atol=0.003)
    assert rest.shape[1] == helper.GAP + script.COLUMNS * 30 + PADDING
    steps = 8  # of the recipes for the digits
    for name in ("draw_sequences", "draw_by_class"):
        drawn, _ = cells(tmp_path / f"{name}.png", steps)
        assert drawn.shape[0] == 10
        assert (np.abs(np.diff(drawn, axis=1)).max(axis=(2, 3)) > 0).mean() > 0.5  # a canvas goes on changing
    with Image.open(tmp_path / "draw_gan.gif") as film:
        assert film.n_frames == steps + 1


GUIDES = {
    "own_images": "three, one, three, one",
    "own_networks": "samples.png",
    "second_model": "samples.png",
    "few_labels": "ensemble: ",
    "resume": "largest difference of a weight: 0.0",
    "half_precision": "mixed_bfloat16: negative bound",
    "curves": "too_fast: d_real",
    "ship": "drawn by ONNX Runtime",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", GUIDES)
def test_the_script_of_a_guide_runs(name, tmp_path, monkeypatch, capsys):
    script = example(name)
    monkeypatch.setattr("common.QUICK_EPOCHS", 2)
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--quick", "--output", str(tmp_path)])
    script.main()
    said = capsys.readouterr().out
    assert GUIDES[name] in said
    for picture in tmp_path.glob("*.png"):
        assert np.asarray(Image.open(picture)).std() > 0
    differences = [float(line.split()[-1]) for line in said.splitlines() if "from Keras" in line]
    assert len(differences) == (3 if name == "ship" else 0) and max(differences, default=0.0) < 1e-5


def test_every_script_is_run_by_a_test():
    run = {*GUIDES, "common", "paper_grids", "draw_figures", "gallery", "workers"}
    assert run == {path.stem for path in EXAMPLES.glob("*.py")}


def test_the_lesson_is_learnt(monkeypatch):
    import matplotlib

    def few(name):
        return ImageData(*((x[:64], y[:64]) for x, y in load(name)), name=name)

    monkeypatch.setattr("matplotlib.pyplot.show", lambda: None)
    monkeypatch.setattr("keras_vaegan.data.load", few)
    matplotlib.use("Agg")
    cells = json.loads((EXAMPLES / "from_vae_to_draw_gan.ipynb").read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert "EPOCHS = 8" in code[0]
    defined = {}
    for text in code:
        exec(text.replace("EPOCHS = 8", "EPOCHS = 1"), defined)
    assert defined["draw_gan"].generate(2, seed=0).shape == (2, 28, 28, 1)
    pictures = [output for cell in cells for output in cell.get("outputs", []) if "data" in output]
    assert len(pictures) >= 6  # of a real run, for those who read it on the web


def test_the_wall_of_pictures_is_what_the_presets_make(tmp_path, monkeypatch):
    script, path = example("gallery"), tmp_path / "wall.png"
    monkeypatch.setattr(sys, "argv", ["gallery.py", "--output", str(path)])
    script.main()
    made, kept = (
        np.asarray(Image.open(one).convert("RGB"), "float32") / 255.0
        for one in (path, EXAMPLES.parent / "docs" / "images" / "wall.png")
    )
    assert made.shape == kept.shape
    rows = len(script.WALL)
    for one, other in zip(np.split(made, rows), np.split(kept, rows), strict=True):
        assert np.abs(one - other).mean() < 0.01  # rounding, and letters drawn by another Matplotlib
    others = np.roll(kept, kept.shape[0] // rows, axis=0)
    assert np.abs(made - others).mean() > 0.1


def test_a_process_of_a_cluster_is_told_who_the_others_are(monkeypatch):
    def become(*arguments):
        called.append(arguments)
        raise SystemExit

    script, called = example("workers"), []
    monkeypatch.setattr(os, "execve", become)
    line = ["workers.py", "--hosts", "a:1,b:2", "--index", "1", "train", "--model", "vae"]
    monkeypatch.setattr(sys, "argv", line)
    with pytest.raises(SystemExit):
        script.main()
    program, arguments, environment = called[0]
    assert [program, *arguments[1:]] == [sys.executable, "-m", "keras_vaegan", "train", "--model", "vae"]
    assert json.loads(environment["TF_CONFIG"]) == {
        "cluster": {"worker": ["a:1", "b:2"]},
        "task": {"type": "worker", "index": 1},
    }
    assert environment["KERAS_DISTRIBUTION_JOB_ADDRESSES"] == "a:1,b:2"
    assert environment["KERAS_DISTRIBUTION_NUM_PROCESSES"] == "2"
    assert environment["KERAS_DISTRIBUTION_PROCESS_ID"] == "1"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["--workers", "1", "models"], "--workers must be at least 2; received 1"),
        (["--hosts", "a:1,b:2", "--index", "2", "models"], "--index must be one of 0 to 1; received 2"),
        (["--hosts", "a:1,b:2", "models"], "--index must be one of 0 to 1; received None"),
        (["--workers", "2"], "a command must be given"),
    ],
)
def test_workers_that_cannot_be_are_refused(line, said, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["workers.py", *line])
    with pytest.raises(SystemExit) as stopped:
        example("workers").main()
    assert stopped.value.code == 2 and said in capsys.readouterr().err


def test_processes_end_together(capfd):
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    fail = [sys.executable, "-c", "import sys; sys.exit(3)"]
    together = example("workers").together
    assert together([(sleep, None), (fail, None)]) == 3
    assert "worker 1 of 2 ended with exit code 3; the others were stopped." in capfd.readouterr().err
    assert together([([sys.executable, "-c", "pass"], None)] * 2) == 0


def test_the_script_for_slurm_starts_a_process_on_each_machine(tmp_path):
    stubs = {
        "scontrol": 'printf "node1\\nnode2\\n"',
        "srun": 'shift; SLURM_PROCID=0 "$@"; SLURM_PROCID=1 "$@"',
        "python": 'echo "$@"',
    }
    for name, text in stubs.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_NODELIST": "node[1-2]"}
    command = ["bash", EXAMPLES / "cluster.sh", "train", "--output", "runs/a b"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"examples/workers.py --hosts node1:4000,node2:4000 --index {i} train --output runs/a b"
        for i in range(2)
    ]
