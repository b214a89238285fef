"""The README, every page of the documentation and every example of a docstring, run in a world that is small.

Data sets are scikit-learn's digits, a training is two steps long, scores are of a few images, and what a
reader has at hand (pictures of their own, networks, codes) is there. Nothing else is changed.
"""

import doctest
import importlib
import pkgutil
import re
import shlex

import h5py
import keras
import numpy as np
import pytest
import zarr
from PIL import Image
from test_docs import PAGES, blocks, is_python

import keras_vaegan as kvg
from keras_vaegan.cli import cli
from keras_vaegan.models.latent import LatentVariableModel
from keras_vaegan.networks import dcgan

pytestmark = pytest.mark.core_on("one")

# Core: the Python of most pages, where compilation takes no time. The commands are in the full matrix, and
# the pages that export much, or read what their commands wrote.
IN_FULL_ONLY = {"codes.md", "export.md", "index.md", "one_page.md"}
FEW = {"evaluate": {"num_images": 150, "likelihood_images": 4}}
SHAPE = (28, 28, 1)


@pytest.fixture
def small_world(tmp_path, monkeypatch, brief_fits):
    """The folder of a reader with little data and little time; returns what Python blocks find defined."""
    monkeypatch.chdir(tmp_path)
    load = kvg.data.load

    def load_small(source, *arguments, **settings):
        return load("digits" if source == "mnist" else source, *arguments, **settings)

    monkeypatch.setattr(kvg.data, "load", load_small)
    bound = LatentVariableModel.log_likelihood

    def bound_briefly(model, *arguments, **settings):
        return bound(model, *arguments, **(settings | {"num_samples": 2}))

    monkeypatch.setattr(LatentVariableModel, "log_likelihood", bound_briefly)

    (x, y), (x_val, y_val), _ = data = load("digits")
    pictures = (255 * x[..., 0]).astype("uint8")
    for path, picture in {
        "mine.png": pictures[0],
        "mask.png": np.where(np.arange(28) < 14, 255, 0).astype("uint8") * np.ones((28, 1), "uint8"),
        **{f"two_digits/{i}.png": pictures[i] for i in range(2)},
        **{f"mine/{i}.png": pictures[i] for i in range(4)},
        **{f"my_images/{name}/{i}.png": pictures[i] for name in ("cat", "dog") for i in range(40)},
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(tmp_path / path)
    np.savez(tmp_path / "samples.npz", images=x_val)
    np.save(tmp_path / "images.npy", pictures[:60])
    with h5py.File(tmp_path / "images.h5", "w") as images, h5py.File(tmp_path / "scans.h5", "w") as scans:
        images["x"], images["y"] = pictures[:60], y[:60] % 2
        scans["x"] = 16 * pictures[:60, ..., None].astype("uint16")
    zarr.save_array(tmp_path / "scans.zarr", 16 * pictures[:60].astype("uint16"))
    rng = np.random.default_rng(0)
    return {
        "keras": keras,
        "kvg": kvg,
        "data": data,
        **{"x": x, "y": y, "x_val": x_val[:32], "y_val": y_val[:32], "images": x[:8]},
        **{"a": x[:2], "b": x[2:4], "z": rng.normal(size=(4, 16)).astype("float32")},
        **{"features_a": rng.normal(size=(64, 8)), "features_b": rng.normal(size=(64, 8))},
        "noise": rng.normal(size=(2, 32)).astype("float32"),
        "labels": np.array([3, 7], "int32"),
        "model": kvg.VAEGAN.from_preset("vae_gan_mnist"),
        "conditional": kvg.CVAEGAN.from_preset("cvae_gan_mnist", load_weights=False),
        "encoder": dcgan.encoder(SHAPE, 32),
        "decoder": dcgan.decoder(SHAPE, 32),
        "discriminator": dcgan.discriminator(SHAPE),
    }


def parts_of(text):
    """A block of Python as a whole; of a block that has equations or commands too, what blank lines part."""
    try:
        compile(text, "block", "exec")
    except SyntaxError:
        return text.split("\n\n")
    return [text]


def run_page(page, defined, commands):
    """Run the Python of a page, and its commands if they are asked for, in order; return what was run."""
    ran = []
    for number, text in blocks(page):
        for part in parts_of(text):
            if is_python(part):
                exec(compile(part, f"{page.name}:{number}", "exec"), defined)
                ran.append(part)
        if commands and not is_python(text):
            for line in re.sub(r"\\\n\s*", " ", text).splitlines():
                if line.startswith("keras-vaegan "):
                    run_command(line)
                    ran.append(line)
    return ran


def run_command(line):
    """Run a line as the command line would, with fewer images where the line asks for very many."""
    _, *words = shlex.split(line.replace("1000000", "12000"), comments=True)
    try:
        code = cli.main(words, standalone_mode=False, default_map=FEW)
    except SystemExit as stopped:
        code = stopped.code
    assert not code, line


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name not in IN_FULL_ONLY], ids=lambda page: page.name
)
def test_the_python_of_a_page_runs(page, small_world):
    run_page(page, small_world, commands=False)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_runs_from_top_to_bottom(page, small_world):
    run_page(page, small_world, commands=True)


def test_most_pages_have_something_to_run():
    assert sum(any(is_python(text) for _, text in blocks(page)) for page in PAGES) > 10


def docstring_examples():
    """The examples of every docstring of the package, as `doctest` finds them."""
    backends = {"tensorflow", "jax", "torch"} - {keras.backend.backend()}
    modules = [
        importlib.import_module(module.name)
        for module in pkgutil.walk_packages(kvg.__path__, "keras_vaegan.")
        if module.name.rpartition(".")[2] not in backends | {"__main__"}
    ]
    finder = doctest.DocTestFinder(exclude_empty=True)
    return [test for module in modules for test in finder.find(module, globs={}) if test.examples]


EXAMPLES = {test.name.rpartition(".")[2]: test for test in docstring_examples()}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_of_a_docstring_gives_what_it_says(name, brief_fits):
    said = []
    tried = doctest.DocTestRunner(verbose=False).run(EXAMPLES[name], out=said.append)
    assert tried.failed == 0, "".join(said)


def test_every_model_has_an_example():
    models = {name for name in dir(kvg) if isinstance(getattr(kvg, name), type)}
    models = {name for name in models if issubclass(getattr(kvg, name), LatentVariableModel)}
    assert models and models <= EXAMPLES.keys()
