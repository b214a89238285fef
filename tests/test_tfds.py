"""TFDS sets: tiny ones are built here in each format of files, and compared with their originals."""

import pickle

import numpy as np
import pytest

from keras_vaegan import memory
from keras_vaegan.data import cache
from keras_vaegan.data import tfds as source
from keras_vaegan.data.preprocessing import Preprocessing
from keras_vaegan.data.records import Shard, TFRecords
from keras_vaegan.data.stored import StoredImages
from keras_vaegan.errors import InputError

pytestmark = pytest.mark.core_on("tensorflow")

SHARDS = 3  # so that the order of the files counts
FORMATS = ("tfrecord", "array_record")


def pictures(number, dtype=np.uint8, channels=3, size=(6, 5), seed=0):
    """Images, whose first pixel tells their number."""
    rng = np.random.default_rng(seed)
    if dtype == np.float32:
        images = rng.random((number, *size, channels), dtype=np.float32)
        images[:, 0, 0] = np.arange(number)[:, None] / np.float32(number)
    else:
        images = rng.integers(0, np.iinfo(dtype).max, (number, *size, channels), dtype, endpoint=True)
        images[:, 0, 0] = np.arange(number)[:, None]
    return images


@pytest.fixture
def build(tmp_path, monkeypatch):
    """Write a set to disk: `build(splits, image feature, ...)` returns the arguments to read it by."""
    tfds = pytest.importorskip("tensorflow_datasets")
    registered = tfds.core.registered._DATASET_REGISTRY
    before = dict(registered)

    def builder(splits, feature, file_format="tfrecord", labels=True):
        """`splits`: for each name the images, arrays `(h, w, C)` that may differ in size."""
        if file_format == "array_record":
            pytest.importorskip("array_record")

        class Tiny(tfds.core.GeneratorBasedBuilder):
            """A set with features that nobody can batch beside its images."""

            VERSION = tfds.core.Version("1.0.0")

            def _info(self):
                features = {
                    "image": feature,
                    "pieces": tfds.features.Sequence(np.int64),
                    "name": tfds.features.Text(),
                }
                if labels:
                    features["label"] = tfds.features.ClassLabel(names=["even", "odd"])
                return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

            def _split_generators(self, dl_manager):
                return {name: self._generate_examples(images) for name, images in splits.items()}

            def _generate_examples(self, images):
                for i, image in enumerate(images):
                    example = {"image": image, "pieces": list(range(i % 4)), "name": "x" * i}
                    yield i, {**example, **({"label": i % 2} if labels else {})}

        Tiny(data_dir=tmp_path, file_format=file_format).download_and_prepare(
            download_config=tfds.download.DownloadConfig(num_shards=SHARDS)
        )
        return {"name": "tiny", "data_dir": tmp_path, "manual_dir": None}

    yield builder
    registered.clear()
    registered.update(before)


def features(**arguments):
    return pytest.importorskip("tensorflow_datasets").features.Image(**arguments)


def error_of(function, *args, **kwargs):
    with pytest.raises(InputError) as caught:
        function(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("way", [*FORMATS, "pipeline"])
def test_images_and_labels_are_those_that_were_written(build, way, monkeypatch):
    file_format = "tfrecord" if way == "pipeline" else way
    if way == "pipeline":  # of TensorFlow, as large sets take
        monkeypatch.setattr(source, "PIPELINE_FROM", 0)
    train, test = pictures(41), pictures(12, seed=1)
    arguments = build({"train": train, "test": test}, features(shape=(6, 5, 3)), file_format)
    stored, names, notes, made = source.read_tfds(asked=Preprocessing(), cache="none", **arguments)
    assert names == ["even", "odd"] and notes == [] and made == Preprocessing((6, 5), 3)
    loaded, *_ = source.read_tfds(asked=Preprocessing(), cache="memory", **arguments)
    by_default, *_ = source.read_tfds(asked=Preprocessing(), **arguments)
    assert all(type(x) is np.ndarray and x.dtype == np.uint8 for x, _ in (*loaded, *by_default))
    assert [len(x) for x, _ in stored] == [37, 4, 12]
    seen = []
    for (x, y), (x_loaded, y_loaded), (x_default, _), whole in zip(
        stored, loaded, by_default, (train, train, test), strict=True
    ):
        assert isinstance(x, StoredImages) and x.shape == x_loaded.shape
        numbers = x_loaded[:, 0, 0, 0]
        np.testing.assert_array_equal(x_loaded, whole[numbers])
        np.testing.assert_array_equal(y_loaded, numbers % 2)
        np.testing.assert_array_equal(x[:], x_loaded)  # in the same order
        np.testing.assert_array_equal(x_default, x_loaded)
        np.testing.assert_array_equal(y, y_loaded)
        backwards = np.arange(len(x))[::-2]
        np.testing.assert_array_equal(x[backwards], x_loaded[backwards])
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(x))[[2, 0, 2]], x_loaded[[2, 0, 2]])
        seen += numbers.tolist()
    assert sorted(seen) == sorted([*range(41), *range(12)])
    assert stored[0][0].fingerprint() != stored[1][0].fingerprint() is not None


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("cache", ["memory", "none"])
def test_deep_images_keep_their_levels(build, file_format, cache):
    images = pictures(40, np.uint16, 1)
    arguments = build(
        {"train": images}, features(shape=(6, 5, 1), dtype=np.uint16), file_format, labels=False
    )
    splits, names, _, made = source.read_tfds(asked=Preprocessing(), cache=cache, **arguments)
    assert names is None and made == Preprocessing((6, 5), 1, deep=True)
    for x, y in splits:
        assert y is None and x.dtype == np.float32
        numbers = np.rint(x[:][:, 0, 0, 0] * 65535).astype(int)
        np.testing.assert_allclose(x[:], images[numbers] / 65535, atol=1e-7)
    splits, *_ = source.read_tfds(asked=Preprocessing(), cache=cache, deep=False, **arguments)
    assert splits[0][0].dtype == np.uint8
    assert {image.tobytes() for image in splits[0][0][:]} <= {
        np.rint(image / 257).astype(np.uint8).tobytes() for image in images
    }
    assert "value_range" in error_of(
        lambda: source.read_tfds(asked=Preprocessing(value_range=(0, 4095)), cache=cache, **arguments)
    )


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("cache", ["memory", "none"])
def test_float_images_get_their_range(build, file_format, cache):
    images = pictures(40, np.float32, 1) * 4 - 2
    arguments = build({"train": images}, features(shape=(6, 5, 1), dtype=np.float32), file_format)
    low, high = float(images.min()), float(images.max())
    splits, _, notes, made = source.read_tfds(asked=Preprocessing(), cache=cache, **arguments)
    assert made.value_range == (low, high) and made.deep and "measured" in notes[0]
    wanted = np.sort((images.astype(float) - low) / (high - low), axis=None)
    found = np.sort(np.concatenate([x[:] for x, _ in splits]), axis=None)
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    asked = Preprocessing(value_range=(-2, 2))
    splits, *_ = source.read_tfds(asked=asked, cache=cache, **arguments)
    found = np.sort(np.concatenate([x[:] for x, _ in splits]), axis=None)
    np.testing.assert_allclose(found, np.sort((images + 2) / 4, axis=None), atol=1e-6)


@pytest.mark.parametrize("way", [*FORMATS, "pipeline"])
def test_images_of_many_sizes(build, way, monkeypatch):
    file_format = "tfrecord" if way == "pipeline" else way
    if way == "pipeline":
        monkeypatch.setattr(source, "PIPELINE_FROM", 0)
    images = [pictures(1, size=(3 + i % 5, 4 + i % 3), seed=i)[0] for i in range(40)]
    for i, image in enumerate(images):
        image[:] = image // 8 + 5 * i  # dim shades that tell which image it is
    arguments = build({"train": images}, features(), file_format)
    asked = Preprocessing((8, 8), 1, "pad", (0, 0, 0))
    stored, *_ = source.read_tfds(asked=asked, cache="none", **arguments)
    loaded, *_ = source.read_tfds(asked=asked, cache="memory", **arguments)
    wanted = {asked(image).tobytes(): i % 2 for i, image in enumerate(images)}
    for (x, y), (x_loaded, y_loaded) in zip(stored, loaded, strict=True):
        np.testing.assert_array_equal(x[:], x_loaded)
        assert [wanted[image.tobytes()] for image in x_loaded] == y.tolist() == y_loaded.tolist()
    (x, _), *_ = source.read_tfds(asked=Preprocessing(), **arguments)[0]
    assert x.shape == (32, 64, 64, 3)


def test_jpegs_are_decoded_alike_in_memory_and_on_disk(build, monkeypatch):
    monkeypatch.setattr(source, "PIPELINE_FROM", 0)
    images = np.repeat(np.repeat(pictures(40, size=(4, 4)), 4, 1), 4, 2)
    arguments = build({"train": images}, features(shape=(16, 16, 3), encoding_format="jpeg"))
    stored, *_ = source.read_tfds(asked=Preprocessing(), cache="none", **arguments)
    loaded, *_ = source.read_tfds(asked=Preprocessing(), cache="memory", **arguments)
    for (x, _), (x_loaded, _) in zip(stored, loaded, strict=True):
        np.testing.assert_array_equal(x[:], x_loaded)


@pytest.mark.parametrize("file_format", FORMATS)
def test_large_sets_are_not_read_at_once(build, file_format, monkeypatch):
    images = pictures(60)
    arguments = build({"train": images}, features(shape=(6, 5, 3)), file_format)
    for comfortable, kind in {3 * images.nbytes - 1: StoredImages, 3 * images.nbytes: np.ndarray}.items():
        monkeypatch.setattr(cache, "COMFORTABLE", comfortable)
        splits, *_ = source.read_tfds(asked=Preprocessing(), **arguments)
        assert all(isinstance(x, kind) for x, _ in splits)
    monkeypatch.setattr(memory, "available", lambda: images.nbytes)
    message = error_of(lambda: source.read_tfds(asked=Preprocessing(), cache="memory", **arguments))
    assert "source tiny (60 images of 6x5x3) must fit into memory" in message


def test_a_format_without_random_access_is_read_at_once(build, monkeypatch):
    arguments = build({"train": pictures(40)}, features(shape=(6, 5, 3)))
    wanted, *_ = source.read_tfds(asked=Preprocessing(), **arguments)
    monkeypatch.setattr(source, "RECORDS", {})
    monkeypatch.setattr(cache, "COMFORTABLE", 0)
    found, *_ = source.read_tfds(asked=Preprocessing(), **arguments)
    for (x, _), (x_wanted, _) in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(x, x_wanted)


def test_records_of_a_file_that_tensorflow_wrote(tmp_path):
    tf = pytest.importorskip("tensorflow")
    rng = np.random.default_rng(0)
    wanted = [rng.bytes(n) for n in (0, 5, 100_000, 1, 2_000_000, 17)]
    path = str(tmp_path / "a.tfrecord")
    with tf.io.TFRecordWriter(path) as writer:
        for record in wanted:
            writer.write(record)
    looked = []
    records = TFRecords([Shard(path, 4, 2), Shard(path, 0, 3)], looked.append)
    assert looked == records.read(np.arange(5)) == [*wanted[4:], *wanted[:3]]
    assert records.read(np.array([3, 0, 3])) == [wanted[0 + 1], wanted[4], wanted[1]]
    assert pickle.loads(pickle.dumps(records)).read(np.array([4])) == [wanted[2]]
    assert "within record 6" in error_of(TFRecords, [Shard(path, 0, 7)])
    content = (tmp_path / "a.tfrecord").read_bytes()
    with open(path, "wb") as file:
        file.write(content[:-30])
    assert "a.tfrecord must be readable: it ends within record 5 of 6" in error_of(
        TFRecords, [Shard(path, 0, 6)]
    )
    with open(path, "wb") as file:
        file.write(content[: len(content) // 2])
    assert "must be readable" in error_of(records.read, np.array([0]))
    (tmp_path / "a.tfrecord").unlink()
    assert "must be readable" in error_of(records.read, np.array([0]))


@pytest.mark.parametrize("file_format", FORMATS)
def test_damaged_records_are_refused(build, file_format, tmp_path):
    arguments = build({"train": pictures(40)}, features(shape=(6, 5, 3)), file_format, labels=False)
    stored, *_ = source.read_tfds(asked=Preprocessing(), cache="none", **arguments)
    x = pickle.loads(pickle.dumps(stored[0][0]))
    for path in tmp_path.rglob(f"*.{file_format}*"):
        path.write_bytes(bytes(path.stat().st_size))
    assert "must be readable" in error_of(x.__getitem__, [0])


def test_sets_that_cannot_be_used(build):
    arguments = build({"train": pictures(4)}, features(shape=(6, 5, 3)))
    assert "enough images" in error_of(lambda: source.read_tfds(asked=Preprocessing(), **arguments))


def test_a_download_is_told_in_one_line(build, tmp_path, capfd):
    import logging

    arguments = build({"train": pictures(40)}, features(shape=(6, 5, 3)))
    (elsewhere := tmp_path / "elsewhere").mkdir()
    levels = [logging.getLogger(name).level for name in source.TALKATIVE]
    capfd.readouterr()
    source.read_tfds(asked=Preprocessing(), **arguments)
    assert capfd.readouterr() == ("", "")  # it is there already
    source.read_tfds(asked=Preprocessing(), **arguments | {"data_dir": elsewhere})
    out, err = capfd.readouterr()
    assert not out and err.startswith("downloads ") and len(err.splitlines()) == 1
    assert levels == [logging.getLogger(name).level for name in source.TALKATIVE]
