"""Images in arrays on disk: memory maps, HDF5, Zarr, compared with the NumPy arrays they were made from."""

import concurrent.futures
import multiprocessing
import os
import pickle
import sys

import keras
import numpy as np
import pytest

import keras_vaegan as kvg
from keras_vaegan import memory
from keras_vaegan.data import load, load_pictures
from keras_vaegan.data.arrays import kind_of
from keras_vaegan.data.preprocessing import Preprocessing
from keras_vaegan.data.stored import Mapped, StoredImages, as_stored, is_stored, read_batch
from keras_vaegan.errors import InputError

pytestmark = pytest.mark.core_on("one")

ON_DISK = ("npy", "hdf5", "zarr")


def noise(*shape, seed=0, high=256, dtype=np.uint8):
    return np.random.default_rng(seed).integers(0, high, shape).astype(dtype)


def error_of(function, *args, **kwargs):
    """Return the text of the InputError that a call raises; it must be one line."""
    with pytest.raises(InputError) as caught:
        function(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def write(path, **arrays):
    """Write arrays by the library of the path's ending, in chunks of several images; return the path."""
    if path.suffix == ".npy":
        np.save(path, arrays["x"])
    elif path.suffix == ".npz":
        np.savez(path, **arrays)
    elif path.suffix == ".zarr":
        zarr = pytest.importorskip("zarr")
        group = zarr.open_group(path, mode="w")
        for name, array in arrays.items():
            group.create_array(name, data=array, chunks=(min(7, len(array)), *array.shape[1:]))
    else:
        h5py = pytest.importorskip("h5py")
        path.unlink(missing_ok=True)  # HDF5 does not write over a file that this process has still open
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                chunks = (min(7, len(array)), *array.shape[1:])
                file.create_dataset(name, data=array, chunks=chunks, compression="gzip")
    return path


def opened(path):
    """The array `x` of a file as its own library gives it."""
    if path.suffix == ".npy":
        return np.load(path, mmap_mode="r")
    if path.suffix == ".zarr":
        return pytest.importorskip("zarr").open(path, mode="r")["x"]
    return pytest.importorskip("h5py").File(path)["x"]


@pytest.fixture(scope="module")
def images():
    return noise(300, 6, 5, 3)


@pytest.fixture(scope="module")
def files(images, tmp_path_factory):
    """The same images in a file of each kind."""
    folder = tmp_path_factory.mktemp("arrays")
    return {kind: write(folder / f"set.{kind}", x=images) for kind in ON_DISK}


# Stored images


def test_what_is_stored(images, files):
    for path in files.values():
        assert is_stored(opened(path)) and is_stored(as_stored(opened(path)))
    for x in (images, images.tolist(), None, "x", 3, images[0], opened(files["npy"])[0], np.memmap):
        assert not is_stored(x)
    assert not is_stored(opened(files["hdf5"]).parent)


@pytest.mark.core_on("all")
def test_tensors_and_variables_are_not_stored(images):
    assert not is_stored(keras.ops.convert_to_tensor(images))
    assert not is_stored(keras.Variable(np.float32(images)))


def selections():
    rng = np.random.default_rng(0)
    yield from (5, -1, np.int64(299), slice(None), slice(2, 50), slice(90, 3, -4), slice(10, 10), [3], [])
    yield from ([7, 7, 2, -300], rng.integers(0, 300, 128), rng.permutation(300), np.arange(20, 60))
    yield rng.random(300) < 0.3


@pytest.mark.parametrize("kind", ON_DISK)
def test_indexing_is_that_of_numpy(files, images, kind):
    x = as_stored(opened(files[kind]))
    assert (x.shape, x.dtype, x.ndim, len(x)) == (images.shape, images.dtype, 4, 300)
    assert (x.size, x.nbytes) == (images.size, images.nbytes)
    for index in selections():
        found = x[index]
        assert type(found) is np.ndarray
        wanted = np.asarray(index, int) if isinstance(index, list) else index  # NumPy takes [] for floats
        np.testing.assert_array_equal(found, images[wanted])
    np.testing.assert_array_equal(np.stack(list(x)), images)
    np.testing.assert_array_equal(np.asarray(x, np.float32), images)
    for wrong in (300, [300], [-301], [0.5], "x", None, (0, 0), np.ones(299, bool), [[1]]):
        with pytest.raises(IndexError):
            x[wrong]
    with pytest.raises(ValueError, match="copy"):
        np.asarray(x, copy=False)


@pytest.mark.parametrize("kind", ON_DISK)
def test_subsets_are_views(files, images, kind):
    order = np.random.default_rng(1).permutation(300)
    x = as_stored(opened(files[kind])).subset(order[:100]).subset(slice(10, 60))
    assert x.shape == (50, 6, 5, 3)
    np.testing.assert_array_equal(x[[4, 4, -1]], images[order[10:60]][[4, 4, -1]])
    np.testing.assert_array_equal(read_batch(x, np.array([3, 1])), images[order[[13, 11]]])
    np.testing.assert_array_equal(read_batch(images, np.array([3, 1])), images[[3, 1]])
    np.testing.assert_array_equal(read_batch(opened(files[kind]), np.array([3, 1])), images[[3, 1]])


@pytest.mark.parametrize("kind", ON_DISK)
def test_pickles_have_the_place_and_not_the_images(files, images, kind):
    x = as_stored(opened(files[kind])).subset([7, 100, 3])
    assert x[0].shape == (6, 5, 3)  # opened
    content = pickle.dumps(x)
    assert len(content) < 2000 < images.nbytes
    np.testing.assert_array_equal(pickle.loads(content)[:], images[[7, 100, 3]])


def test_views_of_memory_maps_are_pickled_by_their_place(tmp_path, images):
    whole = write(tmp_path / "a.npy", x=images)
    np.save(tmp_path / "fortran.npy", np.asfortranarray(images))
    fortran = np.load(tmp_path / "fortran.npy", mmap_mode="r")
    for view in (opened(whole)[200:10:-3], opened(whole)[:, ::2, 1:], fortran, fortran[5:]):
        x = as_stored(view)
        content = pickle.dumps(x)
        assert len(content) < 2000
        np.testing.assert_array_equal(pickle.loads(content)[:], np.array(view))
    changed = np.load(whole, mmap_mode="c")  # whose changes are not in the file
    changed[3] = 9
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(as_stored(changed)))[3], np.full((6, 5, 3), 9))


@pytest.mark.parametrize("kind", ON_DISK)
def test_threads_read_at_once(files, images, kind):
    x = as_stored(opened(files[kind]))
    batches = np.random.default_rng(2).integers(0, 300, (60, 16))
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for batch, found in zip(batches, pool.map(x.__getitem__, batches), strict=True):
            np.testing.assert_array_equal(found, images[batch])


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning", "ignore:.*fork:RuntimeWarning")
@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
def test_hdf5_is_opened_anew_in_a_forked_process(files, images):
    x = as_stored(opened(files["hdf5"]))
    x = pickle.loads(pickle.dumps(x))  # which has a file of its own
    np.testing.assert_array_equal(x[:3], images[:3])
    receive, send = multiprocessing.Pipe(duplex=False)

    def child():
        send.send([x[[i, 2 * i]] for i in range(100)])

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    for i in range(100):
        np.testing.assert_array_equal(x[[3 * i // 2, i]], images[[3 * i // 2, i]])
    for i, found in enumerate(receive.recv()):
        np.testing.assert_array_equal(found, images[[i, 2 * i]])
    process.join()
    assert process.exitcode == 0


def test_fingerprints_change_with_the_file(tmp_path, images):
    for kind in ON_DISK:
        path = write(tmp_path / f"a.{kind}", x=images)
        x = as_stored(opened(path))
        first, part = x.fingerprint(), x.subset([1, 2]).fingerprint()
        assert first != part != x.subset([2, 1]).fingerprint() and first == x.fingerprint()
        cropped = as_stored(x, Preprocessing(crop=(2, 2)))
        assert cropped.fingerprint() not in (first, as_stored(x, Preprocessing(crop=(3, 2))).fingerprint())
        del x
        changed = path / "x" / "c" / "3" / "0" / "0" / "0" if kind == "zarr" else path
        status = os.stat(changed)
        os.utime(changed, ns=(status.st_atime_ns, status.st_mtime_ns + 10**9))
        assert as_stored(opened(path)).fingerprint() != first
    assert as_stored(images).fingerprint() is None
    with pytest.importorskip("h5py").File("memory", "w", driver="core", backing_store=False) as file:
        file["x"] = images
        x = as_stored(file["x"])
        assert x.fingerprint() is None
        np.testing.assert_array_equal(x[[5, 2]], images[[5, 2]])


def test_preprocessing_by_image(files, images):
    x = as_stored(opened(files["hdf5"]), Preprocessing((3, 3), 1, "stretch"))
    assert (x.shape, x.dtype) == ((300, 3, 3, 1), np.uint8)
    wanted = [Preprocessing((3, 3), 1, "stretch")(image) for image in images[[8, 2]]]
    np.testing.assert_array_equal(x[[8, 2]], wanted)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(x))[[8, 2]], wanted)
    assert x[[]].shape == (0, 3, 3, 1)
    same = as_stored(opened(files["hdf5"]), Preprocessing())
    assert not isinstance(same, Mapped)  # what changes nothing costs nothing


def test_arrays_of_other_libraries_and_types(images):
    class Lazy:
        """As arrays of xarray or dask are: no numbers before they are asked for."""

        def __init__(self, array):
            self.array, self.shape, self.dtype = array, array.shape, array.dtype

        def __getitem__(self, index):
            if not isinstance(index, slice):
                assert list(index) == sorted(set(index))
            return Lazy(self.array[index])

        def __array__(self, dtype=None, copy=None):
            return self.array

    assert is_stored(Lazy(images))
    np.testing.assert_array_equal(as_stored(Lazy(images))[[9, 2, 9]], images[[9, 2, 9]])
    assert as_stored(images[..., 0]).shape == (300, 6, 5, 1)
    assert as_stored(images > 3).dtype == as_stored(images / 255).dtype == np.float32
    assert as_stored(images.astype(np.int64)).dtype == np.int64
    for wrong in (images[0, 0], np.zeros((0, 2, 2, 1)), np.full((1, 2, 2, 1), "a"), [1], None):
        assert "x must be images" in error_of(as_stored, wrong)


def test_all_at_once_needs_the_memory(files, monkeypatch):
    x = as_stored(opened(files["npy"]))
    monkeypatch.setattr(memory, "available", lambda: 1000)
    assert "300 images of 6x5x3) must fit into memory" in error_of(np.asarray, x)
    assert x[:2].shape == (2, 6, 5, 3)


# Files


@pytest.mark.parametrize("kind", ["hdf5", "zarr"])
@pytest.mark.parametrize("names", [("x", "y"), ("images", "labels")])
def test_files_give_the_splits_of_an_archive(tmp_path, images, kind, names):
    labels = np.arange(300) % 5
    pairs = dict(zip(names, (images, labels), strict=True))
    wanted = load(write(tmp_path / "a.npz", **pairs), dtype="uint8", seed=3)
    found = load(write(tmp_path / f"a.{kind}", **pairs), dtype="uint8", seed=3)
    assert found.num_classes == 5 and found.image_shape == (6, 5, 3) and found.name == "a"
    assert found.preprocessing == wanted.preprocessing
    for (x, y), (x_wanted, y_wanted) in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(x, x_wanted)
        np.testing.assert_array_equal(y, y_wanted)


def test_npy_gives_the_splits_of_an_archive(tmp_path, images):
    wanted = load(write(tmp_path / "a.npz", x=images))
    found = load(write(tmp_path / "a.npy", x=images))
    for (x, y), (x_wanted, _) in zip(found, wanted, strict=True):
        assert y is None and x.dtype == np.float32
        np.testing.assert_array_equal(x, x_wanted)


@pytest.mark.parametrize("kind", ["hdf5", "zarr"])
def test_splits_and_class_names_of_a_file(tmp_path, kind):
    train, test = noise(20, 4, 4), noise(8, 4, 4, seed=1)
    arrays = {"x_train": train, "y_train": np.arange(20) % 2, "x_test": test, "y_test": np.arange(8) % 2}
    path = write(tmp_path / f"a.{kind}", **arrays)
    if kind == "zarr":
        pytest.importorskip("zarr").open(path, mode="a").attrs["class_names"] = ["cat", "dög"]
    else:
        h5py = pytest.importorskip("h5py")
        with h5py.File(path, "a") as file:
            file["class_names"] = ["cat", "dög"]
    data = load(path, dtype="uint8")
    assert data.class_names == ["cat", "dög"] and [len(x) for x, _ in data] == [18, 2, 8]
    np.testing.assert_array_equal(np.asarray(data.test[0])[..., 0], test)
    seen = np.concatenate([data.train[0], data.validation[0]])[..., 0]
    assert sorted(map(bytes, seen)) == sorted(map(bytes, train))
    assert set(load(path, class_names=["dög", "cat"]).test[1][::2]) == {1}
    del data
    if kind == "hdf5":
        with h5py.File(path, "a") as file:
            del file["class_names"]
            file["y_train"].attrs["class_names"] = np.array([b"a", b"b"])
        assert load(path).class_names == ["a", "b"]
        with h5py.File(path, "a") as file:
            file["y_train"].attrs["class_names"] = ["a", "a"]
        assert "different text" in error_of(load, path)


def test_a_zarr_array_alone_and_a_zarr_folder_of_another_name(tmp_path, images):
    zarr = pytest.importorskip("zarr")
    for version in (2, 3):
        folder = tmp_path / f"zarr{version}"
        zarr.create_array(folder, data=images, chunks=(50, 6, 5, 3), zarr_format=version)
        data = load(folder, dtype="uint8")
        assert sum(len(x) for x, _ in data) == 300 and data.image_shape == (6, 5, 3)
    (tmp_path / "photos").mkdir()
    assert kind_of(tmp_path / "photos") is kind_of(tmp_path / "a.jpg") is None


@pytest.mark.parametrize("kind", ["npz", *ON_DISK])
def test_deep_images_keep_their_levels(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    deep = noise(40, 4, 4, 2, high=65536, dtype=np.uint16)
    shades = np.sort(deep.reshape(-1))

    def values(**arguments):
        return np.sort(np.concatenate([np.asarray(x).reshape(-1) for x, _ in load(path, **arguments)]))

    write(path, x=deep)
    np.testing.assert_allclose(values(), shades / 65535, atol=1e-7)
    np.testing.assert_array_equal(values(dtype="uint8"), np.rint(shades / 257))
    assert load(path).preprocessing == Preprocessing((4, 4), 2, deep=True)
    write(path, x=deep // 16)  # 12 bits
    np.testing.assert_allclose(values(value_range=(0, 4095)), shades // 16 / 4095, atol=1e-7)
    assert "(0, 4095)" in error_of(load, path)  # almost black in 16
    assert "value_range" in error_of(load, path, value_range=(0, 2000))
    write(path, x=deep.astype(np.float64) / 65535)
    np.testing.assert_allclose(values(), shades / 65535, atol=1e-7)
    assert load(path).preprocessing.value_range is None
    floats = (deep / np.float32(32768) - 1).astype(np.float16)
    write(path, x=floats)
    low, high = float(floats.min()), float(floats.max())
    wanted = np.sort((floats.astype(float).reshape(-1) - low) / (high - low))
    np.testing.assert_allclose(values(), wanted, atol=1e-6)
    data = load(path)
    assert data.preprocessing.value_range == pytest.approx((low, high)) and "measured" in data.notes[0]
    wanted = np.sort((floats.astype(float).reshape(-1) + 2) / 4)
    np.testing.assert_allclose(values(value_range=(-2, 2)), wanted, atol=1e-6)


@pytest.mark.parametrize("kind", ["npz", "npy"])
def test_integers_of_other_types(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    images = noise(30, 4, 4, 1)
    for dtype in (np.uint16, np.int16, np.int64):  # bytes in a larger type
        x = load(write(path, x=images.astype(dtype)), dtype="uint8").train[0]
        assert x.dtype == np.uint8 and set(map(bytes, x)) <= set(map(bytes, images))
    write(path, x=images.astype(np.int16) - 100)
    assert "-100" in error_of(load, path) and "value_range" in error_of(load, path)
    shifted = load(path, value_range=(-100, 155), dtype="uint8").train[0]
    assert set(map(bytes, shifted)) <= set(map(bytes, images))
    write(path, x=images > 100)
    np.testing.assert_array_equal(np.unique(load(path).train[0]), [0, 1])
    write(path, x=images % 2)
    assert "value_range=(0, 1)" in error_of(load, path)
    np.testing.assert_array_equal(np.unique(load(path, value_range=(0, 1)).train[0]), [0, 1])


def test_channels_first_are_turned(tmp_path, images):
    turned = np.moveaxis(noise(30, 20, 24, 3), -1, 1)
    data = load(write(tmp_path / "a.hdf5", x=turned), dtype="uint8")
    assert data.image_shape == (20, 24, 3) and "channels first" in data.notes[0]
    wanted = {np.moveaxis(image, 0, -1).tobytes() for image in turned}
    assert {image.tobytes() for image in data.train[0]} <= wanted
    assert "16 channels" in error_of(load, write(tmp_path / "b.npy", x=noise(9, 20, 20, 17)))


def test_size_channels_and_crop(tmp_path, images):
    path = write(tmp_path / "a.hdf5", x=images, y=np.arange(300) % 3)
    data = load(path, image_size=(3, 5), channels=1, resize="pad", background="black", dtype="uint8")
    wanted = load(
        write(tmp_path / "a.npz", x=images, y=np.arange(300) % 3),
        image_size=(3, 5),
        channels=1,
        resize="pad",
        background="black",
        dtype="uint8",
    )
    assert data.image_shape == (3, 5, 1)
    np.testing.assert_array_equal(data.validation[0], wanted.validation[0])


def test_what_cannot_be_used_is_refused(tmp_path, images):
    h5py = pytest.importorskip("h5py")
    for kind in ("hdf5", "zarr"):
        path = write(tmp_path / f"a.{kind}", pictures=images)
        assert "x_train" in error_of(load, path) and "received pictures" in error_of(load, path)
        path = write(tmp_path / f"a.{kind}", x=images, y=np.arange(7))
        assert "y must have one label for each of the 300" in error_of(load, path)
        write(path, x=images, y=np.eye(300)[:, :40])
        assert "y must hold one whole number per image" in error_of(load, path)
        write(path, x=images[0, 0])
        assert "(B, H, W)" in error_of(load, path)
    for name, bad in {"nan": np.nan, "inf": np.inf}.items():
        x = np.zeros((9, 4, 4, 1), np.float32)
        x[8, 0, 0] = bad
        assert "NaN or infinite" in error_of(load, write(tmp_path / f"{name}.npy", x=x))
    assert "all of their values are 300" in error_of(
        load, write(tmp_path / "c.npy", x=np.full((9, 4, 4), 300.0))
    )
    assert "at least 3" in error_of(load, write(tmp_path / "few.npy", x=images[:2]))
    with h5py.File(tmp_path / "text.h5", "w") as file:
        file["x"] = ["a", "b"]
    assert "as numbers" in error_of(load, tmp_path / "text.h5")
    with h5py.File(tmp_path / "empty.h5", "w") as file:
        file["x"] = h5py.Empty("f")
    assert "x must" in error_of(load, tmp_path / "empty.h5")
    assert "exists" in error_of(load, tmp_path / "absent.h5")


def test_damaged_files_are_refused(tmp_path, images):
    for kind in ("npy", "hdf5"):
        path = write(tmp_path / f"a.{kind}", x=images)
        content = path.read_bytes()
        for damaged in (b"", b"text", content[: len(content) // 2]):
            path.write_bytes(damaged)
            assert f"a.{kind}" in error_of(load, path)
    path = tmp_path / "objects.npy"
    np.save(path, np.array([{}, {}], object), allow_pickle=True)
    assert "objects.npy" in error_of(load, path)
    path = write(tmp_path / "a.zarr", x=images)
    (path / "x" / "zarr.json").write_text("{")
    assert "a.zarr" in error_of(load, path)
    (path / "zarr.json").unlink()
    assert "a.zarr" in error_of(load, path)


def test_damage_that_shows_as_a_batch_is_read(tmp_path, images):
    path = write(tmp_path / "a.hdf5", x=images)
    x = as_stored(opened(path))
    with pytest.importorskip("h5py").File(path) as file:
        place = file["x"].id.get_chunk_info(20)
    del file
    with open(path, "r+b") as raw:
        raw.seek(place.byte_offset)
        raw.write(bytes(place.size))
    x = pickle.loads(pickle.dumps(x))
    assert x[:100].shape == (100, 6, 5, 3)
    assert "a.hdf5 must be readable" in error_of(x.__getitem__, [145])
    path = write(tmp_path / "a.zarr", x=images)
    x = as_stored(opened(path))
    chunk = path / "x" / "c" / "20" / "0" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:20])
    assert x[:100].shape == (100, 6, 5, 3)
    assert "must be readable" in error_of(x.__getitem__, [145])


def test_without_the_package_zarr(tmp_path, images, monkeypatch):
    path = write(tmp_path / "a.zarr", x=images)
    monkeypatch.setitem(sys.modules, "zarr", None)
    assert "pip install zarr" in error_of(load, path)


def test_more_images_than_memory_holds(tmp_path, monkeypatch):
    path = tmp_path / "large.npy"
    number = 100_000  # 5 GB, of which the file system keeps the two pages that are written
    images = np.lib.format.open_memmap(path, "w+", np.uint8, (number, 128, 128, 3))
    images[0], images[-1] = 200, 100
    del images
    monkeypatch.setattr(memory, "available", lambda: 10**8)
    data = load(path, seed=1)
    assert [len(x) for x, _ in data] == [80_000, 10_000, 10_000]
    assert data.image_shape == (128, 128, 3)
    order = np.concatenate([whole_indices(x) for x, _ in data])
    np.testing.assert_array_equal(np.sort(order), np.arange(number))
    part = next(x for x, _ in data if number - 1 in whole_indices(x))
    assert isinstance(part, StoredImages) and part.dtype == np.float32
    place = np.flatnonzero(whole_indices(part) == number - 1)
    np.testing.assert_allclose(part[place], np.full((1, 128, 128, 3), 100 / 255), rtol=1e-6)
    assert "must fit into memory" in error_of(np.asarray, data.train[0])


def whole_indices(x):
    while isinstance(x, Mapped):
        x = x.images
    return x.indices


@pytest.mark.core_on("all")
def test_batches_of_stored_images_are_those_of_arrays(files, images):
    labels = np.arange(300) % 4
    wanted = kvg.data.Batches(images, labels, batch_size=32, seed=5)
    for path in files.values():
        found = kvg.data.Batches(opened(path), labels, batch_size=32, seed=5)
        for i in (0, 4, 9):
            for left, right in zip(found[i], wanted[i], strict=True):
                np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("kind", ["npz", *ON_DISK])
def test_images_for_a_trained_model(tmp_path, images, kind):
    path = write(tmp_path / f"a.{kind}", x=images, y=np.arange(300) % 2)
    x, y, names = load_pictures(path, (3, 5, 1), ["a", "b"])
    wanted = [Preprocessing((3, 5), 1)(image) / np.float32(255) for image in images]
    np.testing.assert_allclose(x, wanted, rtol=1e-6)
    assert x.dtype == np.float32 and names == [str(i) for i in range(300)]
    assert y is None if kind == "npy" else np.array_equal(y, np.arange(300) % 2)
    floats = images.astype(np.float32) / 127.5 - 1
    write(path, x=floats)
    trained = Preprocessing((6, 5), 3, value_range=(-1, 1), deep=True)
    np.testing.assert_allclose(load_pictures(path, trained)[0], images / 255, atol=1e-6)
    message = error_of(
        load_pictures, path, (6, 5, 3)
    )  # measured, it would be another range than that of training
    assert "[0, 1]" in message and "value_range" in message


def test_a_npy_file_of_one_image_is_an_image(tmp_path, images):
    np.save(tmp_path / "one.npy", images[0])
    x, y, names = load_pictures(tmp_path / "one.npy", (6, 5, 3))
    np.testing.assert_allclose(x, images[:1] / 255, rtol=1e-6)
    assert y is None and names == ["one.npy"]


def test_the_cache_decides_where_images_are(tmp_path, images, monkeypatch):
    monkeypatch.setenv("KERAS_VAEGAN_CACHE", str(tmp_path / "cache"))
    path = write(tmp_path / "a.hdf5", x=images)
    found = {cache: load(path, cache=cache).train[0] for cache in ("memory", "disk", "none")}
    assert type(found["memory"]) is type(load(path).train[0]) is np.ndarray
    assert isinstance(found["disk"], StoredImages) and isinstance(found["none"], StoredImages)
    assert list((tmp_path / "cache").glob("a-*.npy"))
    for x in found.values():
        np.testing.assert_array_equal(x, found["memory"])
