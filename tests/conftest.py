"""Fixtures of the whole suite, which runs on the one backend that KERAS_BACKEND names."""

import atexit
import importlib.metadata
import os
import shutil
import tempfile

if os.environ.get("KERAS_BACKEND") == "jax":
    # Compiling takes most of the time there: do not optimise, and compile equal programs once.
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:  # workers share that of the process that starts them
        _cache = tempfile.mkdtemp(prefix="keras-vaegan-tests-")
        atexit.register(shutil.rmtree, _cache, ignore_errors=True)
        os.environ["JAX_COMPILATION_CACHE_DIR"] = _cache
    _flags = ["--xla_backend_optimization_level=0", "--xla_llvm_disable_expensive_passes=true"]
    if tuple(int(part) for part in importlib.metadata.version("jaxlib").split(".")[:2]) >= (0, 7):
        # The older emitters, and all of a program at once, halve the time again; a flag unknown is fatal.
        _flags += ["--xla_cpu_use_fusion_emitters=false", "--xla_cpu_parallel_codegen_split_count=1"]
    os.environ.setdefault("XLA_FLAGS", " ".join(_flags))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

import functools

import keras
import numpy as np
import pytest
from keras import ops

if keras.backend.backend() == "tensorflow":
    # Graphs of a few steps run as they are: to optimize them takes a tenth of the suite's time.
    import tensorflow as tf

    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})

# `core_on(which)` -> the backends whose core suite has the test. What does not depend on the backend is
# tested on PyTorch alone, which is the fastest to import and compiles nothing.
BACKENDS = ("tensorflow", "jax", "torch")
CORE_ON = {"one": ("torch",), "all": BACKENDS} | {backend: (backend,) for backend in BACKENDS}


@pytest.hookimpl(tryfirst=True)  # before `-m` selects
def pytest_collection_modifyitems(items):
    """A test that is in the core suite of other backends alone is slow on this one."""
    for item in items:
        mark = item.get_closest_marker("core_on")
        which = mark.args[0] if mark else "all"
        if which not in CORE_ON:
            raise pytest.UsageError(
                f"core_on must name one of {', '.join(CORE_ON)}; {item.nodeid} has {which!r}"
            )
        if keras.backend.backend() not in CORE_ON[which]:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def fixed_seed():
    """Every test starts from the same seed."""
    keras.utils.set_random_seed(0)


@pytest.fixture(autouse=True)
def blank_figures(request, monkeypatch):
    """Write white figures in place of what matplotlib draws, which takes half of the time of a tiny run.

    Tests with the mark `draws` have real ones; so have runs that fixtures of a module make.
    """
    if request.node.get_closest_marker("draws"):
        return
    from PIL import Image

    from keras_vaegan import plots
    from keras_vaegan.files import atomic_path

    def save_blank(figure, path):
        with atomic_path(path) as temporary:
            Image.new("RGB", [int(20 * side) for side in figure.get_size_inches()], "white").save(temporary)

    monkeypatch.setattr(plots, "_save", save_blank)


@pytest.fixture
def inject_noise(monkeypatch):
    """Replace the models' normal noise by given arrays: `inject_noise(first, second, ...)`.

    Each call of `compute_losses`, and so each trace of it, gets the arrays in this order, cut to
    its batch. Without arrays all noise is zero. Masks are drawn as ever.
    """
    from keras_vaegan.registry import MODELS

    def inject(*draws):
        state = {"next": 0, "depth": 0}

        def draw(shape, *args, **kwargs):
            if not draws:
                return ops.zeros(shape, dtype="float32")
            state["next"] += 1
            return ops.convert_to_tensor(np.float32(draws[state["next"] - 1]))[: shape[0]]

        def from_the_first_draw(compute_losses):
            @functools.wraps(compute_losses)
            def wrapped(*args, **kwargs):
                if state["depth"] == 0:
                    state["next"] = 0
                state["depth"] += 1
                try:
                    return compute_losses(*args, **kwargs)
                finally:
                    state["depth"] -= 1

            return wrapped

        monkeypatch.setattr(keras.random, "normal", draw)
        classes = {base for model in MODELS.values() for base in model.__mro__}
        for base in classes:
            if "compute_losses" in vars(base):
                monkeypatch.setattr(base, "compute_losses", from_the_first_draw(vars(base)["compute_losses"]))

    return inject


@pytest.fixture
def dtype_policy():
    """A function that sets Keras' dtype policy, undone afterwards."""
    before = keras.config.dtype_policy()
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy(before)


@pytest.fixture
def brief_fits(monkeypatch):
    """Let each `fit` of a model be of two steps, for tests that look at what comes after it."""
    from keras_vaegan.models.latent import LatentVariableModel

    fit = LatentVariableModel.fit

    def fit_briefly(model, *arguments, **settings):
        first = settings.get("initial_epoch", 0)
        brief = {"epochs": first + 1, "steps_per_epoch": 2, "validation_steps": 1, "verbose": 0}
        return fit(model, *arguments, **(settings | brief))

    monkeypatch.setattr(LatentVariableModel, "fit", fit_briefly)
