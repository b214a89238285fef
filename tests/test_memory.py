"""Memory that is freed before the system has none left."""

import gc
import weakref

import keras
import numpy as np
import psutil
import pytest

from keras_vaegan import memory, presets

pytestmark = pytest.mark.core_on("one")


class Cycle:
    def __init__(self, megabytes):
        self.array, self.self = np.ones((megabytes, 2**20), "uint8"), self


@pytest.fixture
def no_collection():
    """Python's own search for cycles is off, so that it cannot be what frees them."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize(("megabytes", "freed"), [(96, True), (4, False)])
def test_large_cycles_are_freed_and_small_ones_are_left_to_python(no_collection, megabytes, freed):
    cycles = memory.Cycles(most=2**25, every=1)
    assert not cycles.look()  # which is where the memory stands
    known = weakref.ref(Cycle(megabytes))
    assert known() is not None
    assert cycles.look() is freed
    assert (known() is None) is freed
    assert not cycles.look()


def test_it_asks_for_the_memory_now_and_then(monkeypatch):
    asked = []
    monkeypatch.setattr(memory, "_process", lambda: asked.append(1) or psutil.Process())
    cycles = memory.Cycles(every=3)
    for _ in range(7):
        cycles.look()
    assert len(asked) == 2


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="the graph of a step is PyTorch's")
def test_a_step_on_pytorch_keeps_no_graph(no_collection):
    """Tensors that are left in cycles hold no more than themselves: a step leaves little behind."""
    recipe = presets.RecipeChoice(
        "vae_gan", None, [("encoder.filters", 8), ("decoder.filters", 8), ("training.steps", 9)]
    ).for_images((64, 64, 3), 100)
    model = presets.build(recipe, (64, 64, 3), seed=0)
    x = np.random.default_rng(0).random((16, 64, 64, 3), "float32")
    for _ in range(2):
        model.train_on_batch(x)
    before = psutil.Process().memory_info().rss
    for _ in range(4):
        model.train_on_batch(x)
    assert psutil.Process().memory_info().rss - before < 4 * 60e6
