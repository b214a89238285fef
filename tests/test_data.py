"""Sources of images, their checks, and batches."""

import copy
import gzip
import itertools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from keras_vaegan import evaluation
from keras_vaegan.data import Batches, check_images, load, load_pictures, sources
from keras_vaegan.data.checks import check_labels
from keras_vaegan.data.preprocessing import Preprocessing
from keras_vaegan.errors import InputError

pytestmark = pytest.mark.core_on("one")

REPOSITORY = Path(__file__).parents[1]
MNIST = REPOSITORY / ".." / "shared" / "data" / "mnist"
BACKEND = keras.backend.backend()

needs_tensorflow = pytest.mark.core_on("tensorflow")


def error_of(function, *args, **kwargs):
    """Return the text of the InputError that a call raises; it must be one line."""
    with pytest.raises(InputError) as caught:
        function(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def rows(images):
    """Return images as a sorted list of bytes, to compare as multisets."""
    return sorted(image.tobytes() for image in np.asarray(images))


# Checks


@pytest.mark.core_on("all")
def test_check_images_returns_good_images():
    eight_bit = noise(2, 4, 5, 1)
    assert check_images(eight_bit) is eight_bit
    floats = np.linspace(0, 1, 40, dtype=np.float32).reshape(2, 4, 5, 1)
    assert check_images(floats, (4, 5, 1)) is floats
    assert check_images(floats.astype(np.float64)).dtype == np.float32
    assert check_images(floats > 0.5).dtype == np.float32
    integers = eight_bit.astype(np.int64)
    assert check_images(integers) is integers
    np.testing.assert_array_equal(check_images(keras.ops.convert_to_tensor(floats)), floats)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (np.zeros((2, 4, 4)), ["(B, H, W, C)", "(2, 4, 4)"]),
        (np.zeros((0, 4, 4, 1)), ["at least one image"]),
        (np.full((1, 4, 4, 1), 200.0), ["[0, 1]", "200", "uint8"]),
        (np.full((1, 4, 4, 1), -0.5), ["[0, 1]", "-0.5"]),
        (np.full((1, 4, 4, 1), 256), ["0..255", "256"]),
        (np.full((1, 4, 4, 1), np.nan), ["NaN"]),
        (np.full((1, 4, 4, 1), np.inf), ["infinite"]),
        (np.full((1, 4, 4, 1), "a"), ["numbers", "dtype"]),
        ([[1, 2], [3]], ["unequal length"]),
    ],
)
def test_check_images_refuses(images, words):
    message = error_of(check_images, images, argument="pictures")
    assert message.startswith("pictures ")
    assert all(word in message for word in words), message


def test_check_images_refuses_another_shape():
    message = error_of(check_images, noise(2, 4, 5, 1), (5, 4, 1))
    assert "(5, 4, 1)" in message and "(4, 5, 1)" in message


def test_check_labels():
    labels = check_labels(np.array([[0.0], [2.0], [-1.0]]), 3, 3)
    assert labels.dtype == np.int64 and labels.tolist() == [0, 2, -1]
    assert "one-hot" in error_of(check_labels, np.eye(3), 3).lower()
    assert "3 images" in error_of(check_labels, [0, 1], 3)
    assert "0..1" in error_of(check_labels, [0, 2], 2, 2)
    assert "-2" in error_of(check_labels, [0, -2], 2)
    assert "whole numbers" in error_of(check_labels, [0.5, 1], 2)
    assert "whole numbers" in error_of(check_labels, [np.nan, 1], 2)
    assert "whole numbers" in error_of(check_labels, ["a", "b"], 2)


# Digits


def test_digits_are_scikit_learns():
    from sklearn.datasets import load_digits

    digits = load_digits()
    data = load("digits", image_size=8)
    x, y = (np.concatenate(parts) for parts in zip(*data, strict=True))
    originals = (digits.images / 16).astype(np.float32)
    assert rows(x) == rows(originals)  # all of them, once: the splits are disjoint
    label_of = {image.tobytes(): label for image, label in zip(originals, digits.target, strict=True)}
    assert all(label_of[image.tobytes()] == label for image, label in zip(x, y, strict=True))

    large = load("digits")
    assert large.image_shape == (28, 28, 1) and large.num_classes == 10
    for (x_large, y_large), (x_small, y_small) in zip(large, data, strict=True):
        np.testing.assert_array_equal(y_large, y_small)
        assert x_large.dtype == np.float32 and 0 <= x_large.min() and x_large.max() <= 1
        # 28 pixels hold 8 of 3.5: the mean of each is near the original pixel.
        doubled = x_large[..., 0].repeat(2, 1).repeat(2, 2)
        back = doubled.reshape(len(doubled), 8, 7, 8, 7).mean((2, 4))
        assert np.corrcoef(back.ravel(), x_small.ravel())[0, 1] > 0.98


def test_the_small_mnist_is_lossless_and_balanced():
    """12,000 images, apart from each other, whose labels the nearest training image tells."""
    from sklearn.neighbors import KNeighborsClassifier

    data = load("mnist_small", dtype="uint8")
    (x, y), (x_val, y_val), (x_test, y_test) = data
    assert data.class_names is None and data.num_classes == 10
    for images, labels, each in ((x, y, 1000), (x_val, y_val, 100), (x_test, y_test, 100)):
        assert images.shape == (10 * each, 28, 28, 1) and images.max() == 255
        np.testing.assert_array_equal(np.bincount(labels), np.full(10, each))
    assert len({image.tobytes() for part in (x, x_val, x_test) for image in part}) == 12_000
    assert y_val[:20].tolist() == 2 * list(range(10))  # sample grids show the first
    nearest = KNeighborsClassifier(1).fit(x.reshape(len(x), -1) / 255.0, y)
    assert nearest.score(x_test.reshape(1000, -1) / 255.0, y_test) > 0.9
    assert load("mnist_small", image_size=14, channels=3).image_shape == (14, 14, 3)
    path = Path(sources.__file__).parent / "embedded"
    assert sum(file.stat().st_size for file in path.iterdir()) < 2.5e6
    assert "Share Alike 3.0" in (path / "README.md").read_text(encoding="utf-8")


def test_digits_splits_and_options():
    data = load("digits", image_size=(12, 10), channels=3, dtype="uint8")
    (x, y), (x_val, y_val), (x_test, y_test) = data
    assert (x.shape[1:], x.dtype, y.dtype) == ((12, 10, 3), np.uint8, np.int64)
    assert x.max() == 255
    total = np.bincount(np.concatenate([y, y_val, y_test]))
    for labels in (y_val, y_test):
        assert abs(len(labels) - 180) <= 2
        assert np.abs(np.bincount(labels) - total / 10).max() < 1.5  # in proportion
    assert [str(c) for c in range(10)] == data.class_names
    assert data.train[0] is x and data.validation[1] is y_val and data.test[1] is y_test
    np.testing.assert_array_equal(load("digits", 12).train[1], load("digits", 12).train[1])
    assert not np.array_equal(load("digits", 12, seed=1).train[1], y)
    assert len(repr(data)) < 200 and copy.copy(data).name == "digits"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"image_size": 0}, ["image_size", "0"]),
        ({"image_size": (8, 8, 1)}, ["image_size"]),
        ({"image_size": "large"}, ["image_size", "large"]),
        ({"channels": 2}, ["channels", "2"]),
        ({"dtype": "float16"}, ["dtype", "float32", "float16"]),
        ({"seed": -1}, ["seed", "-1"]),
    ],
)
def test_load_refuses(arguments, words):
    message = error_of(load, "digits", **arguments)
    assert all(word in message for word in words), message


# Folders


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(path, **options)


def test_folder_with_classes(tmp_path):
    for name, level, count in (("cat", 40, 20), ("ape", 200, 30)):
        for i in range(count):
            save(tmp_path / name / f"{i}.png", np.full((6, 8), level + i, np.uint8))
    save(tmp_path / ".hidden" / "0.png", noise(6, 8))
    save(tmp_path / "cat" / ".0.png", noise(6, 8))
    (tmp_path / "cat" / "notes.txt").write_text("not an image")
    data = load(tmp_path, dtype="uint8")
    assert data.class_names == ["ape", "cat"] and data.num_classes == 2
    assert data.image_shape == (6, 8, 1)  # all equal, all grey
    assert [np.bincount(y).tolist() for _, y in data] == [[25, 17], [4, 1], [1, 2]]  # by the names
    levels = np.concatenate([x[:, 0, 0, 0] for x, _ in data])
    assert sorted(levels) == [*range(40, 60), *range(200, 230)]
    for x, y in data:
        np.testing.assert_array_equal(y, (x[:, 0, 0, 0] < 100).astype(int))
    again = load(str(tmp_path), dtype="uint8")
    np.testing.assert_array_equal(again.train[0], data.train[0])
    assert not np.array_equal(load(tmp_path, dtype="uint8", seed=1).train[0], data.train[0])


def test_a_folder_named_unlabelled_is_no_class(tmp_path):
    for name, value in (("cat", 80), ("dog", 160), ("unlabelled", 240)):
        for i in range(20):
            save(tmp_path / name / f"{i}.png", np.full((4, 4), value, np.uint8))
    data = load(tmp_path, dtype="uint8")
    assert data.class_names == ["cat", "dog"] and data.num_classes == 2
    for x, y in data:
        np.testing.assert_array_equal(y, np.array([0, 1, -1])[x[:, 0, 0, 0] // 80 - 1])
    _, labels, names = load_pictures(tmp_path, (4, 4, 1), ["cat", "dog"])
    expected = {"cat": 0, "dog": 1, "unlabelled": -1}
    assert list(labels) == [expected[name.split("/")[0]] for name in names]
    for name in ("cat", "dog"):
        shutil.rmtree(tmp_path / name)
    assert load(tmp_path).train[1] is None


def test_folder_flat_of_varying_sizes(tmp_path):
    # Thirds of red, green and blue: the centre crop to a square keeps the green third.
    bands = np.zeros((10, 30, 3), np.uint8)
    for k in range(3):
        bands[:, 10 * k : 10 * (k + 1), k] = 255
    for i in range(4):
        save(tmp_path / f"{i}.png", bands)
        save(tmp_path / f"tall{i}.bmp", bands.transpose(1, 0, 2))
    data = load(tmp_path)
    assert data.image_shape == (64, 64, 3) and data.num_classes is None
    for x, y in data:
        assert y is None
        inner = x[:, 8:-8, 8:-8]  # interpolation mixes the borders of the bands
        np.testing.assert_array_equal(inner, np.broadcast_to(np.float32([0, 1, 0]), inner.shape))
    grey = load(tmp_path, image_size=64, channels=1).train[0]
    np.testing.assert_allclose(grey[:, 8:-8, 8:-8], 0.587, atol=2 / 255)  # the luma of pure green
    wide = load(tmp_path, image_size=(4, 12), dtype="uint8").train[0]
    assert wide.shape[1:] == (4, 12, 3)


def test_folder_with_splits(tmp_path):
    for split, count in (("train", 6), ("val", 2), ("test", 3)):
        for name, level in (("a", 100), ("b", 200)):
            if (split, name) == ("val", "a"):
                continue
            for i in range(count):
                save(tmp_path / split / name / f"{i}.png", np.full((4, 4, 3), [level, i, 0], np.uint8))
    data = load(tmp_path, dtype="uint8")
    assert [len(x) for x, _ in data] == [12, 2, 6]
    for x, y in data:
        np.testing.assert_array_equal(x[:, 0, 0, 0], np.array([100, 200])[y])
    assert data.validation[1].tolist() == [1, 1]  # the classes' numbers are those of all splits


def test_folder_with_train_and_test_only(tmp_path):
    for i in range(20):
        save(tmp_path / "train" / f"{i}.png", np.full((4, 4), i, np.uint8))
    for i in range(3):
        save(tmp_path / "test" / f"{i}.png", np.full((4, 4), 100 + i, np.uint8))
    (x, _), (x_val, _), (x_test, _) = load(tmp_path, dtype="uint8")
    assert (len(x), len(x_val), len(x_test)) == (17, 3, 3)
    assert sorted(np.concatenate([x, x_val])[:, 0, 0, 0]) == list(range(20))
    assert x_test.min() == 100


def test_folder_reads_every_kind_of_pixel(tmp_path):
    ramp = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
    colour = noise(8, 8, 3)
    palette = Image.fromarray(ramp).convert("P")
    alpha = np.dstack([colour, np.where(ramp < 128, 0, 255).astype(np.uint8)])
    kinds = {
        "colour.png": (colour, colour),
        "grey.png": (ramp, ramp[..., None].repeat(3, -1)),
        "sixteen.png": (ramp.astype(np.uint16) * 257, ramp[..., None].repeat(3, -1)),
        "bit.png": (Image.fromarray(ramp > 100), np.where(ramp > 100, 255, 0)[..., None].repeat(3, -1)),
        "palette.gif": (palette, np.asarray(palette.convert("RGB"))),
        "alpha.png": (alpha, np.where(ramp[..., None] < 128, 255, colour)),
        "cmyk.tif": (Image.new("CMYK", (8, 8), (255, 0, 0, 0)), np.full((8, 8, 3), [0, 255, 255])),
        "photo.webp": (colour, colour),
    }
    for name, (pixels, _) in kinds.items():
        save(tmp_path / name, pixels, **({"lossless": True} if name.endswith("webp") else {}))
    data = load(tmp_path, dtype="uint8")
    assert data.image_shape == (8, 8, 3)
    expected = [np.asarray(wanted, np.uint8) for _, wanted in kinds.values()]
    assert rows(np.concatenate([x for x, _ in data])) == rows(expected)


def test_folder_applies_exif_orientation(tmp_path):
    upright = np.zeros((8, 16), np.uint8)
    upright[:4] = 255
    for i in range(4):
        exif = Image.Exif()
        exif[0x0112] = 6  # stored turned by 90 degrees: a quarter turn clockwise shows it
        save(tmp_path / f"{i}.jpg", np.rot90(upright), exif=exif, quality=95)
    x, _ = load(tmp_path).train
    assert x.shape[1:] == (8, 16, 1)
    np.testing.assert_allclose(x[0, ..., 0], upright / 255, atol=0.05)


def test_folder_skips_broken_files_with_a_warning(tmp_path):
    for i in range(6):
        save(tmp_path / f"good{i}.png", noise(16, 16, seed=i))
    whole = (tmp_path / "good0.png").read_bytes()
    for i in range(7):
        (tmp_path / f"bad{i}.png").write_bytes(whole[: len(whole) // 2] if i % 2 else b"text")
    with pytest.warns(UserWarning, match="7 files") as caught:
        data = load(tmp_path, dtype="uint8")
    assert len(caught) == 1 and "bad0.png" in str(caught[0].message)
    assert "bad4.png" in str(caught[0].message) and "bad5.png" not in str(caught[0].message)
    wanted = [noise(16, 16, 1, seed=i) for i in range(6)]
    assert rows(np.concatenate([x for x, _ in data])) == rows(wanted)


@pytest.mark.filterwarnings("ignore:.*files? cannot be read")
def test_folder_errors(tmp_path):
    assert "has none" in error_of(load, tmp_path)
    (tmp_path / "bad.png").write_bytes(b"text")
    assert "can be read" in error_of(load, tmp_path)
    save(tmp_path / "one.png", noise(4, 4))
    assert "at least 3 images" in error_of(load, tmp_path)
    save(tmp_path / "class" / "one.png", noise(4, 4))
    assert "loose" in error_of(load, tmp_path)
    (tmp_path / "pictures.tar").write_bytes(b"")
    assert "pictures.tar" in error_of(load, tmp_path / "pictures.tar")
    assert "exists" in error_of(load, tmp_path / "absent")
    assert "exists" in error_of(load, "absent.npz")
    assert "source" in error_of(load, None)


def test_folder_shows_progress_on_long_reads(tmp_path, monkeypatch, capsys):
    from keras_vaegan.data import survey

    for i in range(12):
        save(tmp_path / f"{i}.png", noise(4, 4, seed=i))
    load(tmp_path)
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(survey, "PROGRESS_FROM", 10)
    load(tmp_path)
    assert "12/12" in capsys.readouterr().out


# Archives


@pytest.mark.filterwarnings("ignore:Classes with images to validate or test with, but none to train on")
def test_npz_with_keras_names(tmp_path):
    x, y = noise(10, 6, 6), np.arange(10) % 2
    x_test, y_test = noise(4, 6, 6, seed=1), np.array([0, 1, 2, 0])
    np.savez(tmp_path / "set.npz", x_train=x, y_train=y, x_test=x_test, y_test=y_test)
    data = load(tmp_path / "set.npz", dtype="uint8")
    assert (data.name, data.image_shape, data.num_classes, data.class_names) == ("set", (6, 6, 1), 3, None)
    np.testing.assert_array_equal(data.test[0][..., 0], x_test)
    np.testing.assert_array_equal(data.test[1], y_test)
    assert rows(np.concatenate([data.train[0], data.validation[0]])) == rows(x)
    assert len(data.validation[0]) == 1
    as_float = load(tmp_path / "set.npz").test[0]
    np.testing.assert_allclose(as_float[..., 0], x_test / 255, rtol=1e-6)


def test_npz_of_one_array(tmp_path):
    images = np.random.default_rng(0).random((20, 4, 6, 3))
    np.savez(tmp_path / "a.npz", images=images, labels=np.arange(20) % 4)
    data = load(tmp_path / "a.npz")
    assert [len(x) for x, _ in data] == [16, 2, 2] and data.num_classes == 4
    index = {image.tobytes(): i for i, image in enumerate(images.astype(np.float32))}
    assert all(
        index[image.tobytes()] % 4 == label for x, y in data for image, label in zip(x, y, strict=True)
    )
    np.savez(tmp_path / "b.npz", x=images)
    assert load(tmp_path / "b.npz", image_size=(2, 3), channels=1).image_shape == (2, 3, 1)
    assert load(tmp_path / "b.npz").train[1] is None


def test_npz_lays_alpha_on_white(tmp_path):
    images = np.zeros((5, 2, 2, 4), np.uint8)
    images[..., 0] = 200
    images[..., 3] = 51  # one fifth
    np.savez(tmp_path / "a.npz", x=images)
    x, _ = load(tmp_path / "a.npz", channels=3, dtype="uint8").train
    np.testing.assert_array_equal(x[0, 0, 0], [244, 204, 204])


def test_npz_errors(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, pictures=noise(4, 4, 4))
    assert "x_train" in error_of(load, path) and "pictures" in error_of(load, path)
    np.savez(path, x=noise(4, 4, 4), y=[0, 1])
    assert error_of(load, path).startswith("y ")
    np.savez(path, x=np.full((4, 4, 4), 300.0))
    assert "300" in error_of(load, path)
    np.savez(path, x=np.array([{}, {}], object))
    assert "plain arrays" in error_of(load, path)
    np.savez_compressed(path, x=noise(40, 40, 40))
    path.write_bytes(path.read_bytes()[:2000])
    assert "whole .npz" in error_of(load, path)
    path.write_bytes(b"text")
    assert "whole .npz" in error_of(load, path)
    path.write_bytes(b"")
    assert "whole .npz" in error_of(load, path)
    with path.open("wb") as file:
        np.save(file, noise(4, 4, 4))
    assert "whole .npz" in error_of(load, path)
    np.savez(path, x_train=noise(8, 4, 4), x_test=noise(2, 5, 5))
    assert "(4, 4) and (5, 5)" in error_of(load, path)
    assert load(path, image_size=4).test[0].shape == (2, 4, 4, 1)


# TFDS


def parse_idx(path):
    content = gzip.decompress(path.read_bytes())
    rank = content[3]
    shape = np.frombuffer(content, ">i4", rank, 4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)


@pytest.fixture(scope="session")
def mnist_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tfds")


@pytest.fixture(scope="session")
def mnist(mnist_folder):
    return load("mnist", data_dir=mnist_folder, manual_dir=MNIST, dtype="uint8")


@needs_tensorflow
@pytest.mark.skipif(not MNIST.is_dir(), reason="needs the original MNIST files")
def test_tfds_mnist_is_the_original(mnist):
    (x, y), (x_val, y_val), (x_test, y_test) = mnist
    assert [len(y), len(y_val), len(y_test)] == [55000, 5000, 10000]
    assert mnist.image_shape == (28, 28, 1) and mnist.num_classes == 10
    loaded = {"train": (np.concatenate([x, x_val]), np.concatenate([y, y_val])), "t10k": (x_test, y_test)}
    for prefix, (images, labels) in loaded.items():
        # TFDS writes a set in an order of its own, so they are compared as sets of image and label.
        received = np.column_stack([images.reshape(len(images), -1), labels]).astype(np.uint8)
        original = np.column_stack(
            [
                parse_idx(MNIST / f"{prefix}-images-idx3-ubyte.gz").reshape(len(images), -1),
                parse_idx(MNIST / f"{prefix}-labels-idx1-ubyte.gz"),
            ]
        )
        assert rows(received) == rows(original)


@needs_tensorflow
@pytest.mark.skipif(not MNIST.is_dir(), reason="needs the original MNIST files")
def test_stacked_mnist_is_three_digits_with_their_class(mnist, mnist_folder):
    stacked = load("stacked_mnist", data_dir=mnist_folder, dtype="uint8")
    assert stacked.image_shape == (28, 28, 3) and stacked.num_classes == 1000
    x, y = stacked.test
    label_of = {image.tobytes(): label for image, label in zip(*mnist.test, strict=True)}
    digits = np.array([[label_of[image[..., c, None].tobytes()] for c in range(3)] for image in x[:500]])
    np.testing.assert_array_equal(digits @ [100, 10, 1], y[:500])
    assert stacked.class_names[7] == "007" and len(set(map(tuple, digits))) > 300
    again = load("stacked_mnist", data_dir=mnist_folder, dtype="uint8", seed=1)
    assert not np.array_equal(again.test[0], x)
    found = evaluation.score(x[:4000], stacked, ["modes"])["scores"]
    modes = {one["name"]: one for one in found}
    assert (
        modes["modes"]["value"] == pytest.approx(len(set(y[:4000])), abs=10) and modes["modes"]["value"] > 950
    )
    one_of_ten = x[np.isin(y, np.arange(10) * 111)][:100]
    found = {one["name"]: one["value"] for one in evaluation.score(one_of_ten, stacked, ["modes"])["scores"]}
    assert found["modes"] <= 13
    assert found["modes_kl"] == pytest.approx(np.log(100), abs=0.4)


@needs_tensorflow
def test_tfds_without_network(tmp_path, monkeypatch):
    import requests

    def unreachable(*args, **kwargs):
        raise requests.exceptions.ConnectionError("no route to host")

    monkeypatch.setattr(requests.Session, "get", unreachable)
    message = error_of(load, "fashion_mnist", data_dir=tmp_path)
    assert all(word in message for word in ("network", "--data-dir", "--manual-dir")), message


@needs_tensorflow
def test_tfds_names():
    assert "'mnist'" in error_of(load, "mnits").split("?")[0].rsplit("Did you mean", 1)[1]
    assert "'digits'" in error_of(load, "digitz").rsplit("Did you mean", 1)[1]
    assert "'stl10'" in error_of(load, "stl1O").rsplit("Did you mean", 1)[1]
    assert "manual_dir" in error_of(load, "mnist", manual_dir="/no/such/folder")


@needs_tensorflow
def test_tfds_splits_and_sizes(tmp_path):
    tfds = pytest.importorskip("tensorflow_datasets")
    from keras_vaegan.data import tfds as module

    raced = []

    class Shapes(tfds.core.GeneratorBasedBuilder):
        """Images of two sizes, with a train split only."""

        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {"image": tfds.features.Image(), "label": tfds.features.ClassLabel(names=["a", "b"])}
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            if not raced:  # another process prepares the same set, and is done first
                raced.append(True)
                tfds.builder("shapes", data_dir=tmp_path).download_and_prepare()
            for i in range(40):
                level, shape = i % 2, (6, 9, 3) if i % 3 else (12, 4, 3)
                yield i, {"image": np.full(shape, 100 * level, np.uint8), "label": level}

    try:
        splits, names, _, _ = module.read_tfds("shapes", Preprocessing((5, 5)), tmp_path, None)
        train, validation, test = splits
        assert names == ["a", "b"] and [len(x) for x, _ in (train, validation, test)] == [32, 4, 4]
        for x, y in (train, validation, test):
            assert x.shape[1:] == (5, 5, 3)
            np.testing.assert_array_equal(x[:, 0, 0, 0], 100 * y)
    finally:
        tfds.core.registered._DATASET_REGISTRY.pop("shapes", None)


# Batches


def counted(num_images):
    """Return images whose every pixel tells the image's number, and the numbers as labels."""
    numbers = np.arange(num_images)
    return np.broadcast_to(numbers[:, None, None, None], (num_images, 4, 4, 1)).astype(np.uint8), numbers


def test_batches_hold_every_image_once():
    x, y = counted(50)
    batches = Batches(x, y, batch_size=16)
    assert len(batches) == 4
    drawn = list(batches)
    assert [len(labels) for _, labels in drawn] == [16, 16, 16, 2]
    for images, labels in drawn:
        assert images.dtype == np.float32 and labels.dtype == np.int64
        np.testing.assert_allclose(images[:, 0, 0, 0] * 255, labels, rtol=1e-5)
    labels = np.concatenate([labels for _, labels in drawn])
    assert sorted(labels) == list(range(50)) and labels.tolist() != list(range(50))
    assert len(Batches(x, batch_size=50)[0]) == 1
    in_order = np.concatenate([labels for _, labels in Batches(x, y, 16, shuffle=False)])
    np.testing.assert_array_equal(in_order, y)


def test_batches_order_is_of_seed_and_epoch():
    x, y = counted(40)

    def order(seed, epoch):
        batches = Batches(x, y, 8, seed=seed)
        batches.epoch = epoch
        return np.concatenate([batches[k][1] for k in (4, 0, 2, 1, 3)]).tolist()

    orders = {(seed, epoch): order(seed, epoch) for seed in (0, 1) for epoch in (0, 1, 2)}
    for a, b in itertools.combinations(orders, 2):
        assert orders[a] != orders[b]
    batches = Batches(x, y, 8)
    list(batches)  # what was drawn before does not matter
    batches.epoch = 2
    assert np.concatenate([batches[k][1] for k in (4, 0, 2, 1, 3)]).tolist() == orders[0, 2]


def linear_model():
    model = keras.Sequential(
        [keras.layers.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(40, use_bias=False)]
    )
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


class Recorded(Batches):
    """Batches that remember what `fit` asked for."""

    asked = ()

    def __getitem__(self, index):
        self.asked = (*self.asked, (self.epoch, index))
        return super().__getitem__(index)


@pytest.mark.core_on("all")
def test_fit_counts_epochs():
    x, y = counted(40)
    batches = Recorded(x, y, 10)
    model = linear_model()
    model.fit(batches, epochs=3, shuffle=False, verbose=0)
    # Keras looks at a batch or two before it trains.
    assert batches.asked[-12:] == tuple((epoch, k) for epoch in range(3) for k in range(4))
    assert batches.epoch == 3

    resumed = Recorded(x, y, 10)
    resumed.epoch = 5
    model.fit(resumed, initial_epoch=5, epochs=6, shuffle=False, verbose=0)
    assert resumed.asked[-4:] == tuple((5, k) for k in range(4))


AUGMENT = "translation, cutout,rotation,zoom,flip,brightness"


def test_augmentation_is_of_seed_epoch_and_batch():
    x = noise(24, 12, 12, 1)
    batches = Batches(x, batch_size=8, augment=AUGMENT, shuffle=False)
    drawn = [batch[0] for batch in batches]
    other_order = Batches(x, batch_size=8, augment=AUGMENT.split(","), shuffle=False)
    for k in (2, 0, 1, 0):
        np.testing.assert_array_equal(other_order[k][0], drawn[k])
    other_order.epoch = 1
    assert not np.allclose(other_order[0][0], drawn[0])
    assert not np.allclose(Batches(x, batch_size=8, augment=AUGMENT, shuffle=False, seed=1)[0][0], drawn[0])
    for images in drawn:
        assert images.dtype == np.float32 and images.min() >= 0 and images.max() <= 1


@pytest.mark.core_on("all")
def test_augmentation_is_the_same_on_every_backend():
    ramp = np.linspace(0, 1, 4 * 12 * 12, dtype=np.float32).reshape(4, 12, 12, 1)
    images = Batches(ramp, augment=AUGMENT, shuffle=False)[0][0]
    # Drawn with the TensorFlow backend, to be met by the others.
    np.testing.assert_allclose(images.mean((1, 2, 3)), [0.00410, 0.51082, 0.39759, 0.87603], atol=1e-4)


@pytest.mark.parametrize("name", ["translation", "cutout", "rotation", "zoom", "flip", "brightness"])
def test_each_augmentation_does_what_its_name_says(name):
    ramp = np.linspace(0.2, 0.8, 16 * 16, dtype=np.float32).reshape(1, 16, 16, 1).repeat(32, 0)
    images = Batches(ramp, augment=[name], shuffle=False)[0][0]
    assert images.shape == ramp.shape and np.abs(images - ramp).max(axis=(1, 2, 3)).astype(bool).sum() > 8
    if name == "flip":
        mirrored = ramp[:, :, ::-1]
        same = np.abs(images - ramp).max(axis=(1, 2, 3)) < 1e-6
        np.testing.assert_allclose(images, np.where(same[:, None, None, None], ramp, mirrored), atol=1e-6)
    if name == "translation":  # whole pixels: no new values
        assert np.isin(images, ramp).all()
    if name == "cutout":
        cut = images == 0
        assert np.array_equal(images[~cut], ramp[~cut])
        assert 0 < cut.mean() < 0.25
    if name == "brightness":
        shift = images - ramp
        np.testing.assert_allclose(shift, np.broadcast_to(shift[:, :1, :1], shift.shape), atol=1e-6)
        assert np.abs(shift).max() <= 0.2 + 1e-6


@pytest.mark.core_on("all")
def test_augmented_fit_draws_what_indexing_draws():
    x, y = noise(12, 4, 4, 1), np.arange(12)
    batches = Batches(x, y, 4, augment="cutout,flip", seed=3)
    wanted = []
    for batches.epoch in (0, 1):
        wanted += [images.sum() for images, _ in batches]

    seen = []

    class Sums(Batches):
        def __getitem__(self, index):
            batch = super().__getitem__(index)
            seen.append(batch[0].sum())
            return batch

    linear_model().fit(Sums(x, y, 4, augment="cutout,flip", seed=3), epochs=2, shuffle=False, verbose=0)
    np.testing.assert_array_equal(seen[-6:], wanted)


def test_batches_refuse():
    x, y = noise(8, 4, 4, 1), np.arange(8)
    assert "'cutout'" in error_of(Batches, x, augment="cutuot").rsplit("Did you mean", 1)[1]
    assert "batch_size" in error_of(Batches, x, batch_size=0)
    assert "seed" in error_of(Batches, x, seed=-1)
    assert error_of(Batches, x, y[:3]).startswith("y ")
    assert error_of(Batches, x[..., 0]).startswith("x ")
    with pytest.raises(IndexError):
        Batches(x)[1]


# Imports

WITHOUT_TENSORFLOW = """
import sys, tempfile, pathlib
import numpy as np
from PIL import Image
from keras_vaegan.data import Batches, load

assert not {"tensorflow", "tensorflow_datasets", "keras_cv"} & set(sys.modules)
with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    for i in range(4):
        Image.new("L", (8, 8), i).save(folder / f"{i}.png")
    load(folder)
    np.savez(folder / "a.npz", x=np.zeros((4, 8, 8)))
    load(folder / "a.npz")
(x, y), _, _ = load("digits")
for batch in Batches(x, y):
    pass
assert not {"tensorflow", "tifffile", "zarr"} & set(sys.modules)
"""


@pytest.mark.skipif(BACKEND == "tensorflow", reason="the backend itself is TensorFlow")
def test_no_tensorflow_under_other_backends():
    environment = {**os.environ, "KERAS_BACKEND": BACKEND, "PYTHONPATH": str(REPOSITORY)}
    subprocess.run([sys.executable, "-c", WITHOUT_TENSORFLOW], env=environment, check=True, cwd=REPOSITORY)


@pytest.mark.parametrize(
    ("count", "share", "sizes"), [(22, None, [8, 8, 4]), (18, None, [8, 8]), (17, 0.25, [8, 8, 4])]
)
def test_sizes_of_batches_are_multiples_where_devices_share_them(count, share, sizes):
    y = np.where(np.arange(count) < 2, np.arange(count), -1) if share else np.zeros(count, int)
    x = np.random.default_rng(0).random((count, 2, 2, 1), dtype="float32")
    batches = Batches(x, y, 8, labelled_share=share, multiple=4)
    assert [len(batches[i][0]) for i in range(len(batches))] == sizes
    alone = Batches(x, y, 8, labelled_share=share)
    for i, size in enumerate(sizes):
        np.testing.assert_array_equal(batches[i][0], alone[i][0][:size])
    with pytest.raises(InputError, match="batch_size must be a multiple of 3"):
        Batches(x, y, 8, multiple=3)


def test_processes_give_a_part_of_each_batch():
    x, y = np.random.default_rng(0).random((22, 4, 4, 1), "float32"), np.arange(22) % 10
    whole = Batches(x, y, 8, augment="translation", multiple=2)
    parts = [Batches(x, y, 8, augment="translation", multiple=2, part=(i, 2)) for i in range(2)]
    assert len(whole) == len(parts[0]) == 3
    for k in range(3):
        for one, of_parts in zip(whole[k], zip(*(part[k] for part in parts), strict=True), strict=True):
            assert len(of_parts[0]) == len(of_parts[1])
            np.testing.assert_array_equal(one, np.concatenate(of_parts))
    for wrong in ((2, 2), (0, 3)):
        with pytest.raises(InputError, match="part must be an index below the number of parts"):
            Batches(x, y, 8, multiple=2, part=wrong)
