"""What is shipped: the wheel and the sdist, and what they say of themselves."""

import pathlib
import subprocess
import sys
import tarfile
import zipfile

import pytest

import keras_vaegan

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    """The built wheel and sdist."""
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(folder.glob("*.whl")), next(folder.glob("*.tar.gz"))


@pytest.mark.core_on("tensorflow")
def test_both_distributions_pass_the_index_check(distributions):
    check = [sys.executable, "-m", "twine", "check", "--strict", *distributions]
    done = subprocess.run(check, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("PASSED") == 2


def test_the_wheel_has_every_module_the_type_marker_and_one_version(distributions):
    with zipfile.ZipFile(distributions[0]) as wheel:
        names = set(wheel.namelist())
        metadata = wheel.read(next(name for name in names if name.endswith("METADATA"))).decode()
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "keras_vaegan").rglob("*.py")}
    assert modules <= names
    presets = [path for path in (ROOT / "keras_vaegan/presets/weights").rglob("*") if path.is_file()]
    assert presets and {str(path.relative_to(ROOT)) for path in presets} <= names
    assert {"keras_vaegan/py.typed", "keras_vaegan/metrics/weights/mnist_plain.npz"} <= names
    assert {name.split("/")[0] for name in names} == {
        "keras_vaegan",
        f"keras_vaegan-{keras_vaegan.__version__}.dist-info",
    }
    assert f"Version: {keras_vaegan.__version__}\n" in metadata
    assert "License-Expression: Apache-2.0" in metadata


def test_the_sdist_can_be_tested(distributions):
    with tarfile.open(distributions[1]) as sdist:
        names = {name.split("/", 1)[1] for name in sdist.getnames() if "/" in name}
    assert {"pyproject.toml", "README.md", "LICENSE", "tests/test_package.py"} <= names


@pytest.mark.slow
def test_the_wheel_alone_trains_in_a_fresh_environment(distributions, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "env"], check=True)
    binaries = tmp_path / "env" / "bin"
    subprocess.run([binaries / "pip", "install", "--quiet", distributions[0]], check=True)
    train = [binaries / "keras-vaegan", "train", "--model", "draw_gan", "--epochs", "1"]
    subprocess.run(train, check=True, cwd=tmp_path)
    assert (tmp_path / "runs" / "draw_gan_digits" / "samples.png").is_file()
