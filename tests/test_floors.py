"""The house: what imports what. No circle, and no import that runs upwards, hidden in a function or not."""

import ast
import graphlib
import pathlib

import pytest

import keras_vaegan

pytestmark = pytest.mark.core_on("one")

ROOT = pathlib.Path(keras_vaegan.__file__).parent
# From the ground up. A part imports from its own floor or from those below. A name with a dot is a module
# that stands on another floor than its package.
FLOORS = (
    ("errors", "typing", "registry", "signals", "training.epochs", "training.slots"),
    ("kinds", "memory", "noise", "interpolation", "tiling", "parts", "backend_choice", "distributions"),
    ("files", "locks", "pages", "svg", "embedded", "losses", "weights"),
    ("backend", "networks.efficientnet_lite"),
    ("perceptual",),
    ("likelihoods", "priors", "games", "reconstructions", "classification", "code_statistics")
    + ("functions", "diagnosis", "runs"),
    ("data", "training"),
    ("conditions", "networks", "metrics", "plots"),
    ("presets",),
    ("export",),
    ("models",),
    ("checkpoints", "monitor", "callbacks", "evaluation", "report", "progress"),
    ("training.plan", "training.runner"),
    ("cli",),
)
# Modules whose functions may import from the package: for the time of a start, and for optional packages.
LAZY = {
    "": "the public names, on use",
    "__main__": "the command line",
    "cli": "a command imports Keras after it has read --backend",
    "presets": "recipes are read without a backend",
    "training": "a run stands above the models",
    "export": "TensorFlow, which writes every format",
    "data.batches": "keras-cv",
}


def modules():
    """`{name: path}` of the package, names without its own."""
    found = {}
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(part for part in parts if part != "__init__")] = path
    return found


MODULES = modules()


def imports(name):
    """`(module, whether in a function)` of the package, for each import of a module that runs."""
    found = set()

    def note(target, lazy):
        own = target.removeprefix("keras_vaegan").removeprefix(".")
        if target.split(".")[0] == "keras_vaegan" and own in MODULES and own != name:
            found.add((own, lazy))

    def visit(node, lazy):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
                continue  # does not run
            if isinstance(child, ast.Import):
                for alias in child.names:
                    note(alias.name, lazy)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{name} must name the package in its imports"
                for alias in child.names:
                    whole = f"{child.module}.{alias.name}"
                    note(whole if whole.removeprefix("keras_vaegan.") in MODULES else child.module, lazy)
            visit(child, lazy or isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)))

    visit(ast.parse(MODULES[name].read_text(encoding="utf-8")), False)
    return found


def floor(name):
    """The floor of a module: its own, or that of its package."""
    for part in (name, name.split(".")[0]):
        for number, rooms in enumerate(FLOORS):
            if part in rooms:
                return number
    return None


def test_every_module_has_a_floor():
    without = [name for name in MODULES if floor(name) is None and name not in ("", "__main__")]
    assert not without
    rooms = [room for rooms in FLOORS for room in rooms]
    assert len(set(rooms)) == len(rooms) and not [room for room in rooms if room not in MODULES]


def test_no_import_runs_upwards():
    upwards = [
        (name, other)
        for name in MODULES
        if name not in ("", "__main__")
        for other, lazy in imports(name)
        if other and floor(other) > floor(name) and not (lazy and allowed(name))
    ]
    assert not upwards


def allowed(name):
    """Whether the functions of a module may import from the package."""
    return name in LAZY or name.split(".")[0] in ("cli", "export")


def test_there_is_no_circle():
    """Not in what is imported at once, nor in what functions import."""
    graph = {name: {other for other, _ in imports(name) if other} for name in MODULES if name}
    list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError


def test_functions_import_from_the_package_where_it_is_said_why():
    hidden = {name for name in MODULES if any(lazy for _, lazy in imports(name)) and not allowed(name)}
    assert not hidden


def test_presets_export_and_evaluation_import_no_model():
    found = [
        (name, other)
        for name in MODULES
        if name.split(".")[0] in ("presets", "export", "evaluation", "data", "metrics", "networks")
        for other, lazy in imports(name)
        if other.split(".")[0] == "models" and name != "export.__main__"  # a program of its own
    ]
    assert not found
