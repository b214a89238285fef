"""Images that are read batch by batch: the same batches, weights and numbers as from memory."""

import concurrent.futures
import copy
import gc
import os
import pickle
import shutil
import threading
import time
import types

import h5py
import keras
import numpy as np
import pytest
import registry
import stops
from PIL import Image
from test_resume import KillAt, Killed, assert_same, compiled
from test_training_runs import Once, Quiet, tiny

from keras_vaegan import InputError, callbacks, evaluation, training
from keras_vaegan.data import Batches, ImageData, load, views
from keras_vaegan.data import survey as survey_module
from keras_vaegan.data.ahead import Ahead
from keras_vaegan.data.content import change, change_since_training, describe
from keras_vaegan.data.pictures import look
from keras_vaegan.data.stored import StoredImages
from keras_vaegan.data.survey import in_threads, survey
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
    for _ in range(5):
        batches = Batches(Counted(images(20)), batch_size=4, workers=3)
        list(batches)
    del batches
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.05)
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


# ---- folders ----


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def fill(folder, count=24, size=(12, 10), seed=0):
    """A folder of color images in two classes, and a few without a class."""
    rng = np.random.default_rng(seed)
    for i in range(count):
        name = ("cat", "dog", "unlabelled")[i % 3 if i < 9 else i % 2]
        pixels = rng.integers(0, 256, (*size, 3)).astype(np.uint8)
        save(folder / name / f"{i:02d}.{('png', 'jpg')[i % 2]}", pixels)
    return folder


def spoil(folder):
    """Files that cannot be read, each for its own reason; return their names."""
    whole = (folder / "cat" / "00.png").read_bytes()
    (folder / "cat" / "cut.png").write_bytes(whole[:-40])
    (folder / "cat" / "cut.jpg").write_bytes((folder / "dog" / "01.jpg").read_bytes()[:-100])
    (folder / "dog" / "empty.png").write_bytes(b"")
    (folder / "dog" / "page.jpg").write_bytes(b"<html>not found</html>")
    return ("cut.png", "cut.jpg", "empty.png", "page.jpg")


def assert_same_data(mine, theirs):
    for (x, y), (expected, labels) in zip(mine, theirs, strict=True):
        assert x.shape == expected.shape and x.dtype == expected.dtype
        np.testing.assert_array_equal(np.asarray(x), np.asarray(expected))
        np.testing.assert_array_equal(y, labels)
    names = ("name", "class_names", "notes", "source", "preprocessing", "content", "image_shape")
    assert all(getattr(mine, name) == getattr(theirs, name) for name in names)


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_VAEGAN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@core_on_one
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_a_folder_gives_the_same_images_wherever_they_are(tmp_path, dtype):
    folder = fill(tmp_path / "data")
    spoiled, texts = spoil(folder), []

    def loaded(cache):
        with pytest.warns(UserWarning, match="4 files cannot be read and are skipped") as caught:
            data = load(folder, dtype=dtype, cache=cache)
        texts.append(str(caught[0].message))
        return data

    memory = loaded("memory")
    assert all(isinstance(x, np.ndarray) for x, _ in memory) and memory.num_classes == 2
    for cache in ("none", "disk", "disk"):
        data = loaded(cache)
        assert all(isinstance(x, StoredImages) for x, _ in data)
        assert_same_data(data, memory)
        assert describe(data) == describe(memory)
    assert len(set(texts)) == 1 and all(name in texts[0] for name in spoiled)
    assert "truncated" in texts[0] and "empty" in texts[0] and "HTML" in texts[0]


@core_on_one
def test_images_on_disk_are_decoded_once_and_anew_if_a_file_changes(tmp_path, cache_folder, monkeypatch):
    folder = fill(tmp_path / "data", 12)
    first = load(folder, 6, cache="disk")
    assert len(list(cache_folder.iterdir())) == 2  # images and facts, and nothing half written

    class Decoded(BaseException):
        pass

    def decoded(*_):
        raise Decoded

    with monkeypatch.context() as patch:
        for module in ("folder", "folder_images"):
            patch.setattr(f"keras_vaegan.data.{module}.read_image", decoded)
        assert_same_data(load(folder, 6, cache="disk"), first)
        other = load(folder, 6, cache="disk", seed=5)  # other splits of the same images
        assert not np.array_equal(np.asarray(other.train[0])[:5], np.asarray(first.train[0])[:5])
        for settings in ({"resize": "pad"}, {"channels": 1}, {"image_size": 5}):
            with pytest.raises(Decoded):
                load(folder, **{"image_size": 6, "cache": "disk", **settings})
    path = folder / "cat" / "00.png"
    save(path, np.full((12, 10, 3), 7, np.uint8))
    changed = load(folder, 6, cache="disk")
    assert_same_data(changed, load(folder, 6, cache="memory"))
    assert changed.content != first.content and change(describe(first), describe(changed)) is not None


@core_on_one
def test_a_damaged_or_missing_cache_is_made_anew_and_one_that_cannot_be_is_left_out(
    tmp_path, cache_folder, monkeypatch
):
    folder = fill(tmp_path / "data", 12)
    expected = load(folder, cache="memory")
    load(folder, cache="disk")
    for spoiled in (b"", b"{}", b"[1]"):
        (about,) = cache_folder.glob("*.json")
        about.write_bytes(spoiled)
        assert_same_data(load(folder, cache="disk"), expected)
    (kept,) = cache_folder.glob("*.npy")
    kept.write_bytes(kept.read_bytes()[:-1])
    assert_same_data(load(folder, cache="disk"), expected)
    kept.unlink()
    assert_same_data(load(folder, cache="disk"), expected)
    monkeypatch.setenv("KERAS_VAEGAN_CACHE", str(kept / "below_a_file"))
    with pytest.warns(UserWarning, match="goes on without decoded images on disk.*KERAS_VAEGAN_CACHE"):
        data = load(folder, cache="disk")
    assert isinstance(data.train[0], StoredImages)
    assert_same_data(data, expected)
    monkeypatch.setenv("KERAS_VAEGAN_CACHE", str(tmp_path / "full"))
    monkeypatch.setattr("shutil.disk_usage", lambda path: types.SimpleNamespace(free=5))
    with pytest.warns(UserWarning, match="GB are needed and"):
        assert_same_data(load(folder, cache="disk"), expected)


@core_on_one
def test_deep_images_stay_floats_wherever_they_are(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(12):
        save(tmp_path / "data" / f"{i}.png", rng.integers(0, 65536, (5, 4)).astype(np.uint16))
    memory = load(tmp_path / "data", cache="memory")
    assert memory.train[0].dtype == np.float32 and len(np.unique(memory.train[0])) > 150
    for cache in ("none", "disk", "disk"):
        assert_same_data(load(tmp_path / "data", cache=cache), memory)


@core_on_one
def test_images_that_do_not_fit_comfortably_stay_in_their_files(tmp_path, monkeypatch):
    folder = fill(tmp_path / "data")
    needed = 24 * 12 * 10 * 3 * 5
    for free, kind in ((4 * needed, np.ndarray), (4 * needed - 4, StoredImages)):
        monkeypatch.setattr("keras_vaegan.memory.available", lambda free=free: free)
        assert isinstance(load(folder).train[0], kind)
    with pytest.raises(InputError, match="cache"):
        load(folder, cache="ram")


@core_on_one
def test_a_file_that_breaks_later_has_a_stand_in_of_its_class(tmp_path):
    folder = fill(tmp_path / "data")
    data = load(folder, dtype="uint8", cache="none")
    files = data.train[0].images
    before = np.asarray(data.train[0])
    row = int(np.flatnonzero([files.names[i].startswith("cat") for i in data.train[0].indices])[3])
    name = files.names[data.train[0].indices[row]]
    (folder / name).write_bytes(b"nothing")
    with pytest.warns(UserWarning, match=f"{name} cannot be read: .* takes its place"):
        first = data.train[0][row]
    after = np.asarray(data.train[0])  # without another warning
    np.testing.assert_array_equal(after[row], first)
    assert any(np.array_equal(first, files[i]) for i, name in enumerate(files.names) if name[:3] == "cat")
    np.testing.assert_array_equal(np.delete(after, row, 0), np.delete(before, row, 0))


@core_on_one
def test_a_survey_tells_what_a_closer_look_tells(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    color, grey = (rng.integers(0, 256, shape).astype(np.uint8) for shape in ((7, 9, 3), (8, 8)))
    turned = Image.Exif()
    turned[0x0112] = 6
    for name, pixels, options in (
        ("a.jpg", color, {}),
        ("grey.jpg", grey, {}),
        ("progressive.jpg", color, {"progressive": True}),
        ("turned.jpg", color, {"exif": turned}),
        ("a.png", color, {}),
        ("alpha.png", np.dstack([color, color[..., :1]]), {}),
        ("deep.png", grey.astype(np.uint16) * 257, {}),
        ("a.gif", grey, {}),
        ("a.bmp", color, {}),
        ("a.webp", color, {}),
        ("a.tif", color, {}),
    ):
        save(tmp_path / name, pixels, **options)
    np.save(tmp_path / "a.npy", color)
    paths = sorted(tmp_path.iterdir())
    names = [path.name for path in paths]
    found = survey(paths, names)
    assert found.headers == [look(path) for path in paths]
    assert [names[i] for i in found.doubtful] == ["a.tif"]
    for path in paths:
        whole = path.read_bytes()
        path.write_bytes(whole[:-40])
        again = survey(paths, names)
        place = paths.index(path)
        assert again.headers[place] is None or place in again.doubtful, path
        assert again.content != found.content
        path.write_bytes(whole)
    shuffled = [paths[i] for i in np.random.default_rng(1).permutation(len(paths))]
    assert survey(shuffled, [path.name for path in shuffled]).content == found.content
    assert survey(paths, [name.upper() for name in names]).content != found.content
    pools = []
    pool = concurrent.futures.ThreadPoolExecutor
    monkeypatch.setattr(concurrent.futures, "ThreadPoolExecutor", lambda n: pools.append(n) or pool(n))
    monkeypatch.setattr(survey_module, "READERS", 2)
    for slow, threads in ((1e9, 2), (-1.0, 8)):  # of files in memory, and of files on a slow disk
        monkeypatch.setattr(survey_module, "SLOW", slow)
        assert survey(paths, names) == found
        assert pools[-1] == threads
    large = tmp_path / "large.bmp"
    save(large, rng.integers(0, 256, (200, 200, 3)).astype(np.uint8))
    before = survey([large], ["large.bmp"]).content
    with open(large, "r+b") as file:
        file.seek(100_000)
        file.write(bytes(8))
    os.utime(large, ns=(1, 1))
    assert survey([large], ["large.bmp"]).content != before


@core_on_one
def test_values_in_threads_come_in_order_and_not_far_ahead():
    begun = []

    def square(i):
        begun.append(i)
        return i * i

    found = in_threads(square, 1000)
    assert [next(found) for _ in range(10)] == [i * i for i in range(10)]
    time.sleep(0.1)
    assert len(begun) < 300
    found.close()
    assert list(in_threads(square, 21)) == [i * i for i in range(21)] and list(in_threads(square, 0)) == []
    with pytest.raises(ZeroDivisionError):
        list(in_threads(lambda i: 1 // (5 - i), 20))


@core_on_one
def test_a_change_of_data_is_told_wherever_the_images_are(tmp_path, monkeypatch):
    folder = fill(tmp_path / "data")
    then = {cache: describe(load(folder, cache=cache)) for cache in ("memory", "none", "disk")}
    monkeypatch.setattr("keras_vaegan.data.content.READ_UNASKED", 0)
    unread = describe(load(folder, cache="none"))
    assert unread["content"] is None and unread["stamp"] == then["memory"]["stamp"]
    older = {name: value for name, value in then["memory"].items() if name != "stamp"}
    metadata = {"dataset": str(folder)}
    for before in (*then.values(), unread, older):
        for cache in ("memory", "none", "disk"):
            data = load(folder, cache=cache)
            assert change_since_training({**metadata, "data": before}, None, None, data) is None
    copied = tmp_path / "copied" / "data"
    shutil.copytree(folder, copied, copy_function=shutil.copyfile)
    assert describe(load(copied, cache="none")) == unread
    save(folder / "cat" / "00.png", np.full((12, 10, 3), 7, np.uint8))
    for before in (*then.values(), unread, older):
        for cache in ("memory", "none", "disk"):
            data = load(folder, cache=cache)
            told = change_since_training({**metadata, "data": before}, None, None, data)
            assert told == "24 images as before, but other pixels, labels or names"
    (folder / "cat" / "00.png").unlink()
    told = change_since_training({**metadata, "data": unread}, None, None, load(folder, cache="none"))
    assert told.startswith("23 images, 1 fewer than the 24 before")


@core_on_one
def test_array_files_are_kept_where_asked(tmp_path, cache_folder):
    x = images(40, (5, 4, 3))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", data=x, compression="gzip", chunks=(7, 5, 4, 3))
    memory = load(tmp_path / "a.h5", cache="memory")
    assert isinstance(memory.train[0], np.ndarray)
    assert isinstance(load(tmp_path / "a.h5").train[0], np.ndarray)
    for cache in ("none", "disk", "disk"):
        data = load(tmp_path / "a.h5", cache=cache)
        assert isinstance(data.train[0], StoredImages)
        assert_same_data(data, memory)
    assert len(list(cache_folder.glob("*.npy"))) == 3


# ---- runs ----


def recipe(epochs=2):
    return tiny(epochs) | {"training": tiny(epochs)["training"] | {"batch_size": 4}}


@core_on_one
@pytest.mark.parametrize(
    "workers", [*(pytest.param(n, marks=pytest.mark.slow) for n in WORKERS[:-1]), WORKERS[-1]]
)
def test_a_run_on_a_folder_that_is_killed_ends_as_one_in_memory(workers, tmp_path):
    folder = fill(tmp_path / "data", 30, (8, 8))
    settings = {"image_size": 8, "console": Quiet(), "verbose": 0}

    def fail(model):
        raise Killed

    keras.utils.clear_session()  # names count up within a process
    training.run(recipe(), folder, tmp_path / "whole", cache="memory", **settings)
    keras.utils.clear_session()
    kept = {"cache": "none", "workers": workers}
    with pytest.raises(Killed):
        training.run(
            recipe(), folder, tmp_path / "run", callbacks=[Once(fail)], checkpoint_every=1, **settings, **kept
        )
    del settings["image_size"]
    assert training.resume(tmp_path / "run", **settings, **kept).finished
    mine, theirs = stops.contents(tmp_path / "run"), stops.contents(tmp_path / "whole")
    assert mine.keys() == theirs.keys()
    # The first has how often checkpoints were written; the others number names within a process.
    apart = ("metadata.json", "config.json")
    assert [name for name in mine if mine[name] != theirs[name] and not name.endswith(apart)] == []


@core_on_one
def test_batches_that_were_trained_on_are_not_read_again(tmp_path):
    with pytest.raises(Killed):
        fit(Counted, tmp_path, (1, 4))
    stored = []

    def store(x):
        stored.append(Counted(x))
        return stored[-1]

    fit(store, tmp_path, epochs=2)
    assert [len(indices) for _, indices in stored[0].reads[1:]] == [2]  # the last batch of five
    whole, _ = fit(lambda x: x, tmp_path / "whole", epochs=2)
    resumed, _ = fit(Counted, tmp_path, epochs=2)
    assert_same(resumed, whole)


@core_on_one
def test_scores_of_stored_images_are_those_of_arrays(tmp_path):
    x, y = images(120, (12, 12, 1)), np.arange(120) % registry.NUM_CLASSES
    x = (x // 8 + 25 * y[:, None, None, None]).astype(np.uint8)
    y = np.where(np.arange(120) % 5 == 0, -1, y)
    model = registry.MODELS["ssl_vae"](image_shape=(12, 12, 1), seed=3)
    groups = ("sharpness", "reconstruction", "latent", "likelihood", "classification")
    settings = {"groups": groups, "likelihood_images": 5, "likelihood_samples": 2, "num_images": 30}
    results = []
    for store in (lambda x: x, Counted):
        splits = [(store(x[rows]), y[rows]) for rows in (slice(0, 80), slice(80, 100), slice(100, 120))]
        results.append(evaluation.score(model, ImageData(*splits, name="noise"), **settings))
    for one, other in zip(results[0]["scores"], results[1]["scores"], strict=True):
        assert one["name"] == other["name"]
        assert one["value"] == pytest.approx(other["value"], rel=1e-5), one["name"]
    assert results[0]["skipped"] == results[1]["skipped"]
    assert results[0]["data"] == results[1]["data"]
