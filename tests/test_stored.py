"""Images that are read batch by batch: the same batches, weights and numbers as from memory."""

import copy
import gc
import os
import pickle
import threading
import time

import h5py
import keras
import numpy as np
import pytest
import registry
from test_resume import KillAt, Killed, assert_same, compiled

from keras_vaegan import InputError, callbacks
from keras_vaegan.data import Batches, views
from keras_vaegan.data.ahead import Ahead
from keras_vaegan.data.stored import StoredImages
from keras_vaegan.data.views import centre_crop, in_bytes, in_floats, parts_of, some_of

core_on_one = pytest.mark.core_on("one")
SHAPE = (6, 5, 1)
WORKERS = (0, 1, 3)


class Counted(StoredImages):
    """Images of an array that count what is read, and may be slow."""

    def __init__(self, x, seconds=0.0):
        super().__init__(x.shape, x.dtype)
        self.x, self.seconds, self.reads = x, seconds, []

    def read(self, indices):
        time.sleep(self.seconds)
        self.reads.append((threading.current_thread().name, np.array(indices)))
        return self.x[indices]

    @property
    def most_at_once(self):
        return max(len(indices) for _, indices in self.reads)


def images(count, shape=SHAPE, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape)).astype(np.uint8)


def drawn(batches, epochs=2):
    """All batches of some epochs, as lists of arrays."""
    found = []
    for batches.epoch in range(epochs):
        found.append([batches[k] for k in range(len(batches))])
    return found


def assert_equal_batches(mine, theirs):
    for one, other in zip(mine, theirs, strict=True):
        for batch, expected in zip(one, other, strict=True):
            for array, wanted in zip(batch, expected, strict=True):
                assert array.dtype == wanted.dtype
                np.testing.assert_array_equal(array, wanted)


# ---- Batches ----


def stored_in_file(kind, x, folder):
    if kind == "npy":
        np.save(folder / "x.npy", x)
        return np.load(folder / "x.npy", mmap_mode="r")
    if kind == "hdf5":
        with h5py.File(folder / "x.h5", "w") as file:
            file["x"] = x
        return h5py.File(folder / "x.h5")["x"]
    return Counted(x)


@core_on_one
@pytest.mark.parametrize("kind", ["npy", "hdf5", "counted"])
@pytest.mark.parametrize("workers", WORKERS)
def test_batches_of_stored_images_are_those_of_arrays(kind, workers, tmp_path):
    x, y = images(22), np.arange(22)
    stored = stored_in_file(kind, x, tmp_path)
    for settings in ({}, {"shuffle": False}, {"steps_per_epoch": 9}, {"multiple": 2}):
        expected = drawn(Batches(x, y, 4, seed=3, **settings), 3)
        made = Batches(stored, y, 4, seed=3, workers=workers, **settings)
        assert_equal_batches(drawn(made, 3), expected)
    if kind == "hdf5":
        stored.file.close()


@core_on_one
def test_batches_of_labelled_and_unlabelled_images_are_those_of_arrays():
    x, y = images(30), np.where(np.arange(30) < 7, np.arange(30) % 3, -1)
    expected = drawn(Batches(x, y, 5, labelled_share=0.4), 3)
    assert_equal_batches(drawn(Batches(Counted(x), y, 5, labelled_share=0.4, workers=2), 3), expected)


@core_on_one
@pytest.mark.parametrize("workers", WORKERS)
def test_crops_and_augmentation_are_of_seed_epoch_and_batch(workers):
    x = images(18, (9, 8, 3))
    settings = {"random_crop": (5, 4), "augment": "flip", "seed": 4}
    batches = Batches(Counted(x), None, 4, workers=workers, **settings)
    assert batches.image_shape == (5, 4, 3)
    expected = drawn(Batches(x, None, 4, **settings))
    assert_equal_batches(drawn(batches), expected)
    batches.epoch = 1
    for k in (3, 0, 4, 1):  # in another order
        np.testing.assert_array_equal(batches[k][0], expected[1][k][0])


@core_on_one
def test_a_random_crop_is_a_part_of_its_image_from_anywhere():
    rows, columns = np.mgrid[:7, :9]
    x = np.stack([np.stack([rows, columns, np.full_like(rows, i)], axis=-1) for i in range(60)])
    batches = Batches(x.astype(np.uint8), np.arange(60), 60, random_crop=(4, 6))
    corners = set()
    for batches.epoch in range(4):
        ((parts, labels),) = batches
        parts = np.rint(parts * 255).astype(int)
        for part, label in zip(parts, labels, strict=True):
            top, left = part[0, 0, :2]
            np.testing.assert_array_equal(part, x[label, top : top + 4, left : left + 6])
            corners.add((top, left))
    assert corners == {(top, left) for top in range(4) for left in range(4)}
    whole = Batches(x.astype(np.uint8), None, 8, random_crop=(7, 9))[0][0]
    np.testing.assert_array_equal(whole, Batches(x.astype(np.uint8), None, 8)[0][0])


@core_on_one
def test_processes_read_their_own_part_alone():
    x, y = images(24), np.arange(24)
    settings = {"multiple": 2, "random_crop": 3}
    whole, parts = Batches(x, y, 8, **settings), []
    for i in range(2):
        stored = Counted(x)
        parts.append(Batches(stored, y, 8, part=(i, 2), **settings))
        stored.reads.clear()
        list(parts[-1])
        assert [len(indices) for _, indices in stored.reads] == [4, 4, 4]
    for k in range(3):
        for one, of_parts in zip(whole[k], zip(*(part[k] for part in parts), strict=True), strict=True):
            np.testing.assert_array_equal(one, np.concatenate(of_parts))


@core_on_one
def test_workers_make_the_next_batches_and_no_more():
    stored = Counted(images(400), seconds=0.01)
    batches = Batches(stored, batch_size=4, workers=2)
    stored.reads.clear()
    for k in range(10):
        _ = batches[k]
    time.sleep(0.2)
    asked = {int(i) for k in range(14) for i in batches._chosen(0, k)}
    read = [int(i) for _, indices in stored.reads for i in indices]
    assert len(read) == len(set(read)) and set(read) <= asked  # each once; four batches ahead at most
    assert len(read) > 40
    assert all(name.startswith("keras_vaegan_data") for name, _ in stored.reads)
    assert len({name for name, _ in stored.reads}) == 2


@core_on_one
def test_threads_end_with_their_batches():
    gc.collect()
    before = threading.active_count()
    for _ in range(20):
        batches = Batches(Counted(images(20)), batch_size=4, workers=3)
        list(batches)
    del batches
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
        gc.collect()
    assert threading.active_count() <= before


@core_on_one
def test_batches_with_threads_are_copied_and_pickled():
    x = images(20)
    batches = Batches(Counted(x), batch_size=4, workers=2)
    expected = drawn(Batches(x, batch_size=4))
    list(batches)
    assert_equal_batches(drawn(copy.deepcopy(batches)), expected)
    assert_equal_batches(drawn(pickle.loads(pickle.dumps(batches))), expected)


@core_on_one
@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning", "ignore:.*fork:RuntimeWarning")
def test_a_forked_process_has_threads_of_its_own():
    ahead = Ahead(lambda k: 2 * k, 2)
    assert ahead((1,), [(2,), (3,)]) == 2
    child = os.fork()
    if child == 0:
        os._exit(0 if [ahead((k,), [(k + 1,)]) for k in range(3)] == [0, 2, 4] else 1)
    for _ in range(500):
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            break
        time.sleep(0.01)
    else:
        os.kill(child, 9)
    assert pid == child and os.waitstatus_to_exitcode(status) == 0


@core_on_one
@pytest.mark.parametrize("workers", [0, 2])
def test_values_of_stored_images_are_checked_as_they_are_read(workers):
    x = np.random.default_rng(0).random((400, 2, 2, 1), "float32")
    x[17] = 3.0
    batches = Batches(Counted(x), batch_size=10, shuffle=False, workers=workers)
    _ = batches[0]
    for _ in range(2):
        with pytest.raises(InputError, match="must lie in"):
            _ = batches[1]
    with pytest.raises(InputError, match="must lie in"):
        Batches(Counted(x + 1.0))
    with pytest.raises(InputError, match="0 and 1 alone"):
        Batches(Counted((images(9) > 128).astype(np.uint8)))


@core_on_one
def test_batches_refuse_workers_and_crops_that_cannot_be():
    x = images(8)
    for argument, value in (("workers", -1), ("workers", 1.5), ("random_crop", 0), ("random_crop", (7, 5))):
        with pytest.raises(InputError, match=argument):
            Batches(x, **{argument: value})
    with pytest.raises(InputError, match="steps_per_epoch"):
        Batches(x, steps_per_epoch=0)


# ---- views ----


@core_on_one
def test_views_of_stored_images_are_those_of_arrays():
    x = images(30, (7, 6, 3))
    rows = np.array([3, 29, 3, 0])
    stored = Counted(x)
    for view in (
        lambda x: centre_crop(x, (4, 3)),
        lambda x: some_of(x, rows),
        in_floats,
        lambda x: in_bytes(in_floats(x)),
        lambda x: in_floats(centre_crop(some_of(x, np.arange(30) % 3 == 0), (3, 6))),
    ):
        mine, theirs = view(stored), view(x)
        assert isinstance(mine, StoredImages) and mine.shape == theirs.shape and mine.dtype == theirs.dtype
        assert not stored.reads  # nothing is read before it is indexed
        np.testing.assert_array_equal(np.asarray(mine), theirs)
        np.testing.assert_array_equal(mine[1:3], theirs[1:3])
        stored.reads.clear()
    np.testing.assert_array_equal(centre_crop(x, (3, 4)), x[:, 2:5, 1:5])
    parts = [x[part] for part in parts_of(x, 4, most=10)]
    assert [len(part) for part in parts] == [8, 8, 8, 6]
    np.testing.assert_array_equal(np.concatenate(parts), x)


# ---- training ----


def fit(source, folder, kill=None, workers=0, name="vae", epochs=3):
    """Train from the newest checkpoint in the folder; return the model and its history."""
    model = compiled(name)
    x, *y = registry.data(model, 18)
    x = (x * 255).round().astype(np.uint8)
    batches = Batches(source(x), *y, batch_size=4, seed=5, workers=workers)
    checkpoints = callbacks.Checkpoints(folder, every=2)
    history = callbacks.HistoryFile(folder / "history.csv")
    first = checkpoints.resume(model, batches)
    used = [history, checkpoints, *([KillAt(*kill)] if kill else [])]
    model.fit(batches, epochs=epochs, initial_epoch=first, callbacks=used, verbose=0)
    return model, (folder / "history.csv").read_text()


@pytest.mark.core_on("all")
@pytest.mark.parametrize("workers", WORKERS)
def test_a_training_on_stored_images_goes_on_bit_for_bit(workers, tmp_path):
    whole, history = fit(lambda x: x, tmp_path / "whole")
    for kill in [(0, 3), (1, 1), (2, 4)]:
        with pytest.raises(Killed):
            fit(Counted, tmp_path / "killed", kill, workers)
    resumed, resumed_history = fit(Counted, tmp_path / "killed", workers=workers)
    assert_same(resumed, whole)
    assert resumed_history == history


def checks_of(model, y):
    """Functions of images, each of which runs a verb on them."""
    labels = y if model.num_classes else None
    given = {"batch_size": 5, **({"mask": "left"} if model.completes else {})}
    yield lambda x: model.encode(x, labels, **given)
    yield lambda x: model.encode(x, labels, sample=True, seed=3, **given)
    yield lambda x: model.reconstruct(x, labels, **given)
    yield lambda x: model.kl_per_dimension(x, labels, batch_size=5)
    yield lambda x: model.predict(x, labels=labels, verbose=0, **given)
    if model.num_classes:
        yield lambda x: model.classify(x, batch_size=5)
        yield lambda x: model.labels_of(np.where(y > 0, -1, y), x)
    if model.classifiers:
        yield lambda x: model.class_logits(x, batch_size=5)
        yield lambda x: np.array(model.calibrate(x, y, batch_size=5))


@core_on_one
@pytest.mark.parametrize("name", ["vae", "cvae_both", "ssl_vae_gan", "draw"])
def test_stored_images_go_into_every_verb_as_arrays_do(name, monkeypatch):
    monkeypatch.setattr(views, "PART_BYTES", 4 * 30 * 10)  # ten images at a time
    model = registry.MODELS[name](image_shape=SHAPE, seed=3)
    x = images(40)
    for number, check in enumerate(checks_of(model, np.arange(40) % (model.num_classes or 2))):
        stored = Counted(x)
        mine = check(stored)
        assert stored.most_at_once <= 10, number
        for one, other in zip(keras.tree.flatten(mine), keras.tree.flatten(check(x)), strict=True):
            np.testing.assert_array_equal(one, other)


@core_on_one
def test_fit_and_evaluate_take_stored_images(tmp_path):
    x, y = images(40), np.arange(40) % 3

    def trained(of, **kwargs):
        model = compiled("cvae")
        history = model.fit(of(x), y, batch_size=8, epochs=2, verbose=0, **kwargs)
        return model, history.history

    stored = []

    def store(x):
        stored.append(Counted(x))
        return stored[-1]

    mine, history = trained(store, validation_data=(store(x[:20]), y[:20]))
    batches = Batches(x, y, 8, seed=3)
    theirs = compiled("cvae")
    expected = theirs.fit(
        batches, epochs=2, verbose=0, validation_data=(x[:20], y[:20]), validation_batch_size=8
    )
    assert_same(mine, theirs)
    assert history == expected.history
    assert max(one.most_at_once for one in stored) <= 40  # the first ones are looked at
    stored.clear()
    assert mine.evaluate(store(x), y, batch_size=8, verbose=0) == theirs.evaluate(
        x, y, batch_size=8, verbose=0
    )
    with pytest.raises(InputError, match="validation_split"):
        trained(store, validation_split=0.2)
    with pytest.raises(InputError, match="sample_weight"):
        trained(store, sample_weight=np.ones(40))
    with pytest.raises(InputError, match="x must hold images of the shape"):
        compiled("cvae").fit(store(images(8, (4, 4, 1))), np.zeros(8, int), verbose=0)


@core_on_one
def test_labelled_share_takes_stored_images():
    x, y = images(30), np.where(np.arange(30) < 9, np.arange(30) % 3, -1)
    settings = {"batch_size": 6, "labelled_share": 0.5, "epochs": 2, "verbose": 0}
    mine, theirs = compiled("ssl_vae"), compiled("ssl_vae")
    mine.fit(Counted(x), y, **settings)
    theirs.fit(x, y, **settings)
    assert_same(mine, theirs)


@core_on_one
def test_a_monitor_and_a_fitted_prior_read_what_they_need():
    x = images(300)
    stored = Counted(x)
    mine, theirs = callbacks.Monitor(stored), callbacks.Monitor(x)
    assert mine._reference.distance == theirs._reference.distance
    assert sum(len(indices) for _, indices in stored.reads) == 256
    model = registry.MODELS["vae_mixture"](image_shape=SHAPE, seed=3)
    made = []
    for of in (stored, x):
        model.fit_prior(of, seed=1)
        made.append(model.generate(5, seed=0))
    np.testing.assert_array_equal(*made)
