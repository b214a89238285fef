"""The names of Keras' inside that the package uses: all listed, all there, also in the newest Keras."""

import ast
import collections
import functools
import importlib.util
import inspect
import json
import os
import pathlib
import re
import subprocess
import sys
import sysconfig
import textwrap

import keras
import pytest

PACKAGE = pathlib.Path(__file__).parents[1] / "keras_vaegan"
TABLE = PACKAGE / "backend/private_keras.py"
PRIVATE_NAME = re.compile(r"_[a-zA-Z]\w*")
OWN_ON_KERAS_OBJECTS = {"left_as"}  # attributes of the package that it puts on Keras' objects
OF_TUPLES = set(dir(collections.namedtuple("Any", ())))


def load_table():
    """The table alone: a new Keras may break the package itself."""
    spec = importlib.util.spec_from_file_location("private_keras_alone", TABLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def table():
    return load_table()


def sources():
    """`(path below the package, syntax tree)` of every module but the table."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if path != TABLE:
            yield path.relative_to(PACKAGE).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def is_own(node):
    """Whether an attribute is of `self`, `cls` or `super()`."""
    if isinstance(node.value, ast.Call):
        return getattr(node.value.func, "id", None) == "super"
    return isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")


def defined_in(tree):
    """Names that a module gives to functions, classes, variables and attributes of its own objects."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_own(node):
            names.add(node.attr)
    return names


def occurring_in(tree):
    """All names and strings of a module."""
    names = set()
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(attr=name) | ast.FunctionDef(name=name) | ast.Name(id=name):
                names.add(name)
            case ast.Constant(value=str(name)):
                names.add(name)
    return names


# ---- the table is true ----


def test_keras_has_every_private_name_that_the_package_uses(table):
    missing = table.missing()
    assert not missing, "\n".join(missing)


def test_a_private_name_that_is_missing_is_told_in_a_sentence(table, monkeypatch):
    monkeypatch.delattr(keras.Layer, "_flatten_layers")
    (sentence,) = [found for found in table.missing() if "_flatten_layers of keras.Layer" in found]
    assert sentence.startswith(
        f"Keras {keras.__version__} on {keras.backend.backend()} breaks backend/layers.py"
    )
    assert "to find the layers in a network at any depth" in sentence and "\n" not in sentence
    assert "AttributeError" in sentence


def test_a_private_name_that_does_something_else_is_told_in_a_sentence(table, monkeypatch):
    monkeypatch.setattr(keras.Layer, "_flatten_layers", lambda layer: [layer])
    assert any("it no longer does what is needed" in found for found in table.missing())


# ---- the table is complete ----


def test_every_private_name_that_the_package_takes_from_elsewhere_is_in_the_table(table):
    trees = list(sources())
    own = set().union(*(defined_in(tree) for _, tree in trees)) | OF_TUPLES
    listed = {(private.name, file) for private in table.PRIVATE for file in private.files}
    everywhere = {name for name, _ in listed}
    missing = []
    for file, tree in trees:
        names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        for node in ast.walk(tree):
            match node:
                case ast.Call(
                    func=ast.Name(id="getattr" | "hasattr" | "setattr"), args=[_, ast.Constant(name), *_]
                ):
                    names.add(name)
                case ast.Constant(value=str(name)) if name in everywhere:  # as in a tuple of names
                    names.add(name)
        missing += [
            f"{file} uses {name}, which backend/private_keras.py does not list for it."
            for name in sorted(names)
            if PRIVATE_NAME.fullmatch(name) and name not in own and (name, file) not in listed
        ]
    assert not missing, "\n".join(missing)


def test_no_module_of_keras_inside_is_used_but_those_in_the_table(table):
    listed = {(private.name, file) for private in table.PRIVATE for file in private.files}
    missing = []
    for file, tree in sources():
        modules = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                modules.add(node.module)
            elif isinstance(node, ast.Import):
                modules |= {alias.name for alias in node.names}
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                modules |= {node.value} if re.fullmatch(r"keras\.src[\w.]*", node.value) else set()
            elif isinstance(node, ast.Attribute) and ast.unparse(node) == "keras.src":
                modules.add("keras.src")
        missing += [
            f"{file} uses {module}, which backend/private_keras.py does not list for it."
            for module in sorted(modules)
            if module.startswith("keras.src") and (module, file) not in listed
        ]
    assert not missing, "\n".join(missing)


def test_every_attribute_that_is_put_on_objects_of_keras_is_in_the_table(table):
    listed = {private.name for private in table.PRIVATE} | OWN_ON_KERAS_OBJECTS
    missing = [
        f"{file} sets {node.attr} of another object, which backend/private_keras.py does not list."
        for file, tree in sources()
        if file.startswith(("backend/", "training/")) and file != "training/runner.py"  # which is above Keras
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
        if not is_own(node) and node.attr not in listed
    ]
    assert not missing, "\n".join(missing)


def test_every_name_in_the_table_is_used_where_the_table_says(table):
    occurring = {file: occurring_in(tree) for file, tree in sources()}
    stale = [
        f"{file} does not use {private.name} any more."
        for private in table.PRIVATE
        for file in private.files
        if private.name not in occurring[file]
    ]
    assert not stale, "\n".join(stale)


def classes_of_the_package():
    """All classes of the package below one of Keras'."""
    found, bases = set(), [keras.Layer, keras.Metric, keras.Optimizer, keras.callbacks.Callback]
    while bases:
        for kind in bases.pop().__subclasses__():
            bases.append(kind)
            if kind.__module__.split(".")[0] == "keras_vaegan":
                found.add(kind)
    return sorted(found, key=lambda kind: kind.__qualname__)


@functools.cache
def private_names_of(kind):
    """Private names that the source of a class defines."""
    names = defined_in(ast.parse(textwrap.dedent(inspect.getsource(kind))))
    return {name for name in names if PRIVATE_NAME.fullmatch(name)}


def test_no_private_name_of_ours_replaces_one_of_keras_unless_the_table_says_so(table):
    import keras_vaegan.cli.train  # noqa: F401  all modules with callbacks
    import keras_vaegan.models

    kinds = classes_of_the_package()
    assert set(keras_vaegan.registry.MODELS.values()) <= set(kinds)
    listed = {private.name for private in table.PRIVATE}
    clashes = set()
    for kind in kinds:
        ours, theirs = set(), set()
        for base in kind.__mro__:
            root = base.__module__.split(".")[0]
            if root in ("keras", "keras_vaegan"):
                (ours if root == "keras_vaegan" else theirs).update(private_names_of(base))
        clashes |= {
            f"{kind.__name__} defines {name}, which Keras has, and backend/private_keras.py does not list it."
            for name in ours & theirs - listed
        }
    assert not clashes, "\n".join(sorted(clashes))


# ---- the newest Keras of the index ----

LOOK = f"""
import importlib.util, json
spec = importlib.util.spec_from_file_location("private_keras_alone", {str(TABLE)!r})
table = importlib.util.module_from_spec(spec)
spec.loader.exec_module(table)
import keras
print(json.dumps({{"version": keras.__version__, "file": keras.__file__, "missing": table.missing()}}))
"""

FIT = """
import json
import numpy as np
import keras
import keras_vaegan as kvg
from keras_vaegan.networks import dcgan
shape, small = (8, 8, 1), {"filters": (2, 3)}
pair = dcgan.encoder(shape, 2, **small), dcgan.decoder(shape, 2, **small)
model = kvg.VAEGAN(*pair, dcgan.discriminator(shape, **small))
model.compile()
x = np.random.default_rng(0).random((4, *shape), "float32")
logs = model.fit(x, batch_size=2, epochs=2, verbose=0).history
print(json.dumps({"version": keras.__version__, "finite": bool(np.isfinite(list(logs.values())).all())}))
"""


@pytest.fixture(scope="module")
def newest(tmp_path_factory):
    """The Python of a new environment: the newest Keras of the index above all that is installed here."""
    folder = tmp_path_factory.mktemp("newest")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin/python"
    where = [str(python), "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"]
    own = pathlib.Path(subprocess.run(where, check=True, capture_output=True, text=True).stdout.strip())
    (own / "installed_here.pth").write_text(sysconfig.get_paths()["purelib"] + "\n", encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    # The newest even if the installed one is; then what it needs and is not there yet.
    for arguments in (["--force-reinstall", "--no-deps", "keras"], ["keras"]):
        done = subprocess.run([*pip, *arguments], capture_output=True, text=True)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
            pytest.skip(f"no index to install the newest Keras from: {reason}")
    return python


def answer(python, code, backend):
    """The JSON on the last line that code prints on that Python."""
    environment = os.environ | {"KERAS_BACKEND": backend, "PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run([str(python), "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"The newest Keras on {backend}:\n{done.stderr[-3000:]}"
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_the_newest_keras_has_the_private_names_and_trains(newest, backend, record_property):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    looked = answer(newest, LOOK, backend)
    assert pathlib.Path(looked["file"]).is_relative_to(newest.parents[1])
    record_property("newest_keras", looked["version"])
    print(f"Keras {looked['version']} on {backend}; the tests run on {keras.__version__}")
    assert not looked["missing"], "\n".join(looked["missing"])
    assert answer(newest, FIT, backend) == {"version": looked["version"], "finite": True}
