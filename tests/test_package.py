"""What is shipped: the wheel and the sdist, and what they say of themselves."""

import importlib.metadata
import pathlib
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile

import pytest
from packaging.specifiers import SpecifierSet

import keras_vaegan

pytestmark = pytest.mark.core_on("one")

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    """The built wheel and sdist."""
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(folder.glob("*.whl")), next(folder.glob("*.tar.gz"))


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
    templates = [path for path in (ROOT / "keras_vaegan/templates").rglob("*") if path.is_file()]
    assert templates and {str(path.relative_to(ROOT)) for path in templates} <= names
    network = list((ROOT / "keras_vaegan/networks/weights").iterdir())
    assert {path.suffix for path in network} == {".npz", ".md", ""}  # weights, origin, license
    assert {str(path.relative_to(ROOT)) for path in network} <= names
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
    assert {"pyproject.toml", "README.md", "SECURITY.md", "LICENSE", "tests/test_package.py"} <= names
    assert not any(name.endswith(".keras") for name in names)
    assert distributions[1].stat().st_size < 70e6  # the weights that are shipped, most of it


def test_keras_is_capped_at_the_newest_version_that_was_tested():
    requirements = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    (keras_versions,) = (line.removeprefix("keras") for line in requirements if re.match(r"keras[<>=]", line))
    installed = importlib.metadata.version("keras")
    assert SpecifierSet(keras_versions).contains(installed)
    major, minor = installed.split(".")[:2]
    assert not SpecifierSet(keras_versions).contains(f"{major}.{int(minor) + 1}.0")


def test_actions_are_pinned_to_commits():
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        used = re.findall(r"uses: (\S+)", path.read_text())
        assert used and all(re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action) for action in used), path


@pytest.mark.slow
def test_the_wheel_alone_trains_in_a_fresh_environment(distributions, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "env"], check=True)
    binaries = tmp_path / "env" / "bin"
    subprocess.run([binaries / "pip", "install", "--quiet", distributions[0]], check=True)
    train = [binaries / "keras-vaegan", "train", "--model", "draw_gan", "--epochs", "1"]
    subprocess.run(train, check=True, cwd=tmp_path)
    assert (tmp_path / "runs" / "draw_gan_mnist_small" / "samples.png").is_file()
