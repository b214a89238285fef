"""Latent codes in shards: `encode` and `decode` at the command line, and `Codes`, which reads them."""

import json
import pickle
import shutil

import keras
import numpy as np
import pytest
import registry
from PIL import Image
from test_cli import refused, run

from keras_vaegan import InputError, data, presets
from keras_vaegan.cli import parts
from keras_vaegan.data import Batches, Codes, load_pictures
from keras_vaegan.data.npz import length_of, mapped

SHAPE = (5, 6, 1)  # no multiple of the factor of spatial codes, 2
CLASSES = ["cat", "dog", "owl"]
COUNT = 11
ENCODE = ["--shard-size", 4, "--batch-size", 3]
one = pytest.mark.core_on("one")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images of two classes, larger than the models take, and some without a class."""
    place, pixels = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for i in range(COUNT):
        name = ("cat", "owl", "unlabelled")[i % 3]
        (place / name).mkdir(exist_ok=True)
        Image.fromarray(pixels.integers(0, 256, (15, 18), dtype="uint8")).save(place / name / f"{i}.png")
    return place


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A function that gives the folder of a tiny model by its name in the registry, and the model of it."""
    made, place = {}, tmp_path_factory.mktemp("models")

    def save(name):
        if name not in made:
            keras.utils.set_random_seed(1)
            model = registry.set_weights(registry.MODELS[name](image_shape=SHAPE))
            if model.code_statistics is not None:
                x = registry.images(9, SHAPE)
                model.code_statistics.measure(model.encode(x, model.labels_of(registry.labels(9))))
            facts = {"class_names": CLASSES} if model.num_classes else {}
            model.save_to_preset(place / name, metadata=facts)
            made[name] = presets.load_source(place / name)[0]
        return place / name, made[name]

    return save


def arrays(path):
    with np.load(path) as content:
        return dict(content)


def told(place):
    return json.loads((place / "codes.json").read_text())


# ---- encode ----


@pytest.mark.core_on("all")
@pytest.mark.parametrize(
    ("name", "ending"),
    [("vae", "npz"), ("vae_gan_spatial", "npy"), ("cvae_gan_spatial", "npz"), ("draw", "npy")],
)
def test_shards_have_the_bits_of_encode(saved, folder, tmp_path, name, ending):
    source, model = saved(name)
    out = tmp_path / "codes"
    spatial = model.code_statistics is not None
    asked = ["encode", source, "--images", folder, *ENCODE, "--format", ending, "--output", out]
    assert run(*asked, *(["--no-scaled"] if spatial else [])) == 0
    x, y, names = load_pictures(folder, SHAPE, CLASSES)
    given = model.labels_of(y, x)
    known = y if model.num_classes else np.array([1 if label == 2 else label for label in y])
    assert sorted(path.name for path in out.glob("codes-*")) == [f"codes-0000{i}.{ending}" for i in range(3)]
    for i in range(3):
        rows = slice(4 * i, 4 * i + 4)
        expected = model.encode(x[rows], None if given is None else given[rows], batch_size=3)
        if ending == "npz":
            found = arrays(out / f"codes-0000{i}.npz")
        else:
            found = {
                array: np.load(out / f"{array}-0000{i}.npy", mmap_mode="r")
                for array in ("codes", "names", "labels")
            }
        assert found["codes"].dtype == np.float32
        np.testing.assert_array_equal(found["codes"], expected)
        assert found["names"].tolist() == names[rows]
        np.testing.assert_array_equal(found["labels"], known[rows] if given is None else given[rows])
    facts = told(out)
    assert facts["code_shape"] == list(model.code_shape) and facts["image_shape"] == list(SHAPE)
    assert facts["num_images"] == COUNT and facts["format"] == ending and facts["scaled"] is False
    assert facts["class_names"] == (CLASSES if model.num_classes else ["cat", "owl"])
    assert facts["source"] == str(source) and facts["preprocessing"]["image_size"] == list(SHAPE[:2])
    assert facts["model"] == {"vae": "vae", "draw": "draw"}.get(name, name.removesuffix("_spatial"))
    assert (facts["statistics"] is not None) is spatial


@one
@pytest.mark.parametrize("name", ["vae", "draw", "vae_gan_spatial"])
def test_draws_depend_on_the_seed_and_the_image_alone(saved, folder, tmp_path, name):
    source, model = saved(name)
    asked = ["encode", source, "--images", folder, "--sample", "--seed", 5, *ENCODE]
    assert run(*asked, "--output", tmp_path / "codes") == 0
    x, _, _ = load_pictures(folder, SHAPE)
    scaled = name == "vae_gan_spatial"
    expected = model.encode(x, sample=True, seed=5, scaled=scaled)
    found = np.asarray(Codes(tmp_path / "codes"))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(found - model.encode(x, scaled=scaled)).max() > 1e-2
    facts = told(tmp_path / "codes")
    assert facts["sampled"] is True and facts["seed"] == 5 and facts["scaled"] is scaled


@one
@pytest.mark.parametrize("ending", ["npz", "npy"])
def test_a_stopped_run_is_resumed(saved, folder, tmp_path, capsys, monkeypatch, ending):
    source, model = saved("vae_gan_spatial")
    asked = ["encode", source, "--images", folder, *ENCODE, "--format", ending, "--output"]
    assert run(*asked, tmp_path / "whole") == 0
    written, encoded = parts._write_part, []

    def killed(folder, form, number, arrays):
        if number == 1:
            raise KeyboardInterrupt
        written(folder, form, number, arrays)

    monkeypatch.setattr(parts, "_write_part", killed)
    assert run(*asked, tmp_path / "codes") == 130
    assert [path.name for path in (tmp_path / "codes").glob("codes-*")] == [f"codes-00000.{ending}"]
    with pytest.raises(
        InputError, match=f"codes must have all of their 3 shards; .* lacks codes-00001.{ending}"
    ):
        Codes(tmp_path / "codes")
    monkeypatch.setattr(parts, "_write_part", written)
    encode = type(model).encode

    def counted(self, x, *arguments, start=0, **settings):
        encoded.extend(range(start, start + len(x)))
        return encode(self, x, *arguments, start=start, **settings)

    monkeypatch.setattr(type(model), "encode", counted)
    assert run(*asked, tmp_path / "codes") == 0
    assert encoded == [0, *range(4, COUNT)]  # the first image is looked at before anything is written
    assert "wrote 3 shards, 11 codes of (3, 3, 2) (means of q(z|x), scaled)" in capsys.readouterr().out
    files = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "codes").iterdir())
    for name in files:
        same(tmp_path / "whole" / name, tmp_path / "codes" / name)
    encoded.clear()
    (tmp_path / "codes" / f"codes-00002.{ending}").write_bytes(b"half a file")
    assert run(*asked, tmp_path / "codes") == 0 and encoded == [0, *range(8, COUNT)]


def same(path, other):
    """Check that two files hold the same; archives note when they were written."""
    if path.suffix != ".npz":
        assert path.read_bytes() == other.read_bytes()
        return
    mine, theirs = arrays(path), arrays(other)
    assert mine.keys() == theirs.keys() and all(np.array_equal(mine[name], theirs[name]) for name in mine)


@one
def test_a_folder_of_other_codes_is_refused(saved, folder, tmp_path, capsys):
    source, _ = saved("vae_gan_spatial")
    out = ["--output", tmp_path / "codes"]
    asked = ["encode", source, "--images", folder]
    assert run(*asked, *ENCODE, *out) == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "codes").iterdir()}
    for change, said in {
        ("--no-scaled",): "scaled differ: True",
        ("--sample",): "sampled, seed differ: False, None",
        ("--tile", 8): "tile differ: None",
        ("--shard-size", 5): "shard_size differ: 4",
        ("--format", "npy"): "format differ: 'npz'",
        ("--image-size", "8x8"): "image_shape, code_shape, content, preprocessing differ: [5, 6, 1]",
    }.items():
        message = refused(capsys, *asked, *ENCODE, *change, *out)
        assert "--output must be a new folder, or one of the same codes; in" in message and said in message
    more = shutil.copytree(folder, tmp_path / "more")
    shutil.copy(more / "cat" / "0.png", more / "owl" / "again.png")
    assert "num_images, content differ: 11" in refused(capsys, *asked[:3], more, *ENCODE, *out)
    assert "content differ" in refused(
        capsys, *asked[:3], rewritten(tmp_path / "other", folder), *ENCODE, *out
    )
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "codes").iterdir()}
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious").write_text("of others")
    message = refused(capsys, *asked, "--output", tmp_path / "full")
    assert "--output must be a folder that is new, empty or has codes.json" in message
    assert "--output must be a folder, which gets" in refused(capsys, *asked, "--output", tmp_path / "x.npz")


def rewritten(place, folder):
    """The folder with one other image."""
    shutil.copytree(folder, place)
    Image.fromarray(np.full((15, 18), 200, "uint8")).save(place / "cat" / "0.png")
    return place


@one
def test_what_cannot_be_encoded_is_refused_before_a_folder_is_made(saved, folder, tmp_path, capsys):
    vector, _ = saved("vae")
    spatial, _ = saved("vae_gan_spatial")
    out = ["--output", tmp_path / "codes"]
    for source, arguments, said in (
        (vector, ["--images", folder, "--scaled"], "--scaled must be False: this VAE has no spatial codes"),
        (vector, ["--images", folder, "--tile", 8], "--tile must not be given"),
        (vector, ["--images", folder, "--image-size", 9], "--image-size must be left out, as SOURCE takes"),
        (vector, ["--images", folder, "--dataset", "digits"], "must not come with --dataset"),
        (vector, [], "--dataset must be given"),
        (vector, ["--images", tmp_path / "none"], "--images must be an image, a folder"),
        (vector, ["--dataset", folder, "--split", "tset"], "Did you mean 'test'"),
        (spatial, ["--images", folder, "--tile", 3], "--tile must be a multiple of 2"),
    ):
        assert said in refused(capsys, "encode", source, *arguments, *out)
        assert not (tmp_path / "codes").exists()


@one
@pytest.mark.filterwarnings("ignore:Classes with one image alone")
def test_a_split_of_a_dataset_is_encoded(saved, folder, tmp_path, capsys):
    source, model = saved("vae")
    asked = ["encode", source, "--dataset", folder, "--image-size", "5x6", "--split", "validation"]
    assert run(*asked, "--output", tmp_path / "codes") == 0
    loaded = data.load(folder, image_size=SHAPE[:2])
    x, y = loaded.validation
    codes = Codes(tmp_path / "codes")
    np.testing.assert_allclose(codes, model.encode(x), atol=1e-5)
    np.testing.assert_array_equal(codes.labels, y)
    assert codes.class_names == ["cat", "owl"] and codes.facts["split"] == "validation"
    for name, image in zip(codes.names, x, strict=True):  # names of files, within the folder
        np.testing.assert_array_equal(load_pictures(folder / name, SHAPE)[0][0], image)
    np.savez(tmp_path / "x.npz", x=registry.images(30, SHAPE))
    assert run(*asked[:2], "--images", tmp_path / "x.npz", "--output", tmp_path / "others") == 0
    others = Codes(tmp_path / "others")
    assert others.names.tolist() == [str(i) for i in range(30)] and others.labels is None
    np.savez(tmp_path / "x.npz", x=registry.images(30, SHAPE, seed=1))
    again = ["encode", source, "--images", tmp_path / "x.npz", "--output", tmp_path / "others"]
    assert "content differ" in refused(capsys, *again)


# ---- decode and reconstruct ----


@pytest.mark.core_on("all")
@pytest.mark.parametrize("name", ["vae", "vae_gan_spatial", "cvae_gan_spatial", "draw_conditional"])
def test_decoded_codes_are_the_reconstructions(saved, folder, tmp_path, name):
    source, model = saved(name)
    assert run("encode", source, "--images", folder, *ENCODE, "--output", tmp_path / "codes") == 0
    decode = ["decode", source, "--codes", tmp_path / "codes"]
    assert run(*decode, "--output", tmp_path / "decoded.npz") == 0
    out = ["--images", folder, "--output", tmp_path / "reconstructed.npz"]
    assert run("reconstruct", source, *out) == 0
    decoded, expected = arrays(tmp_path / "decoded.npz"), arrays(tmp_path / "reconstructed.npz")
    assert decoded["images"].shape == (COUNT, *SHAPE)
    np.testing.assert_allclose(decoded["images"], expected["reconstructions"], atol=1e-5)
    assert decoded["names"].tolist() == load_pictures(folder, SHAPE)[2]
    assert decoded["class_names"].tolist() == (CLASSES if model.num_classes else ["cat", "owl"])
    assert run(*decode, "--num-images", 4, "--output", tmp_path / "grid.png") == 0
    assert np.asarray(Image.open(tmp_path / "grid.png")).std() > 0


@one
def test_a_folder_of_decoded_images_is_resumed(saved, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("keras_vaegan.cli.codes.PART", 4)
    source, _ = saved("vae_gan_spatial")
    assert run("encode", source, "--images", folder, "--output", tmp_path / "codes") == 0
    asked = ["decode", source, "--codes", tmp_path / "codes", "--output", tmp_path / "images"]
    assert run(*asked, "--num-images", 7) == 0 and run(*asked) == 0
    found = [arrays(path) for path in sorted((tmp_path / "images").glob("part-*.npz"))]
    assert [len(part["images"]) for part in found] == [4, 4, 3]
    assert run(*asked[:-1], tmp_path / "all.npz") == 0
    whole = arrays(tmp_path / "all.npz")
    together = {
        name: np.concatenate([part[name] for part in found]) for name in ("images", "names", "labels")
    }
    np.testing.assert_allclose(together["images"], whole["images"], atol=1e-6)
    assert together["names"].tolist() == whole["names"].tolist()
    assert together["labels"].tolist() == whole["labels"].tolist()
    assert "tile differ: None" in refused(capsys, *asked, "--tile", 8)


@pytest.mark.core_on("all")
@pytest.mark.parametrize("scaled", [True, False])
def test_large_images_in_tiles(saved, folder, tmp_path, scaled):
    source, model = saved("vae_gan_spatial")
    size, tiles = ["--image-size", "21x34"], ["--tile", 16]
    how = "--scaled" if scaled else "--no-scaled"
    asked = ["encode", source, "--images", folder, *size, *tiles, how, "--output", tmp_path / "codes"]
    assert run(*asked) == 0
    x, _, _ = load_pictures(folder, (21, 34, 1))
    codes = Codes(tmp_path / "codes")
    assert codes.shape == (COUNT, 11, 17, 2) and codes.image_shape == (21, 34, 1) and codes.scaled is scaled
    np.testing.assert_allclose(codes, model.encode(x, tile=16, scaled=scaled), atol=1e-5)
    assert np.abs(np.asarray(codes) - model.encode(x, scaled=scaled)).max() > 1e-6
    decode = ["decode", source, "--codes", tmp_path / "codes", *tiles, "--output", tmp_path / "d.npz"]
    assert run(*decode) == 0
    reconstruct = ["reconstruct", source, "--images", folder, *size, *tiles]
    assert run(*reconstruct, "--output", tmp_path / "r.npz") == 0
    expected = model.reconstruct(x, tile=16)
    np.testing.assert_allclose(arrays(tmp_path / "r.npz")["reconstructions"], expected, atol=1e-5)
    np.testing.assert_allclose(arrays(tmp_path / "d.npz")["images"], expected, atol=1e-5)


@one
def test_codes_of_another_program_are_decoded(saved, tmp_path, capsys):
    source, model = saved("vae_gan_spatial")
    z = np.random.default_rng(0).normal(size=(5, *model.code_shape)).astype("float32")
    np.save(tmp_path / "z.npy", z.astype("float64"))
    np.savez_compressed(tmp_path / "z.npz", codes=z)
    out = ["--output", tmp_path / "d.npz"]
    for name in ("z.npy", "z.npz"):
        asked = ["decode", source, "--codes", tmp_path / name, *out]
        assert "--scaled or --no-scaled must be given" in refused(capsys, *asked)
        for how, scaled in (("--scaled", True), ("--no-scaled", False)):
            assert run(*asked, how) == 0
            found = arrays(tmp_path / "d.npz")
            assert list(found) == ["images"]
            np.testing.assert_allclose(found["images"], model.decode(z, scaled=scaled), atol=1e-5)
    source, model = saved("cvae")
    z = z.reshape(5, -1)[:, :2]
    np.savez(tmp_path / "z.npz", codes=z, labels=[2, 0, 1, 1, 0])
    np.save(tmp_path / "z.npy", z)
    assert run("decode", source, "--codes", tmp_path / "z.npz", *out) == 0
    found = arrays(tmp_path / "d.npz")
    np.testing.assert_allclose(found["images"], model.decode(z, [2, 0, 1, 1, 0]), atol=1e-5)
    assert found["labels"].tolist() == [2, 0, 1, 1, 0] and found["class_names"].tolist() == CLASSES
    asked = ["decode", source, "--codes", tmp_path / "z.npy", *out]
    assert "--labels must be given: SOURCE is conditioned" in refused(capsys, *asked)
    assert run(*asked, "--labels", "owl,cat") == 0
    found = arrays(tmp_path / "d.npz")
    np.testing.assert_allclose(found["images"], model.decode(z, [2, 0, 2, 0, 2]), atol=1e-5)


@one
@pytest.mark.filterwarnings("default:.*other weights")
def test_codes_that_cannot_be_decoded_are_refused(saved, folder, tmp_path, capsys):
    source, model = saved("vae")
    spatial, _ = saved("vae_gan_spatial")
    place = tmp_path / "codes"
    assert run("encode", spatial, "--images", folder, *ENCODE, "--output", place) == 0
    decode = ["--output", tmp_path / "d.npz", "--codes"]
    assert run("decode", source, *decode, place) == 2
    warning, error = capsys.readouterr().err.splitlines()
    assert "has the codes of a model with other weights than" in warning
    assert "--codes must be codes of shape (B, 2); received (11, " in error
    np.save(tmp_path / "z.npy", np.zeros((3, 5), "float32"))
    message = refused(capsys, "decode", source, *decode, tmp_path / "z.npy")
    assert "--codes must be codes of shape (B, 2); received (3, 5)" in message
    assert "--scaled must be left out" in refused(capsys, "decode", spatial, "--no-scaled", *decode, place)
    assert "--num-images must be at most 11" in refused(
        capsys, "decode", spatial, "--num-images", 12, *decode, place
    )
    z = np.zeros((3, 2), "float32")
    np.save(tmp_path / "nan.npy", np.where(np.arange(3)[:, None] == 0, np.nan, z))
    assert "--codes must be finite codes" in refused(capsys, "decode", source, *decode, tmp_path / "nan.npy")
    np.save(tmp_path / "text.npy", np.array([["a"]]))
    assert "--codes must be numbers" in refused(capsys, "decode", source, *decode, tmp_path / "text.npy")
    np.savez(tmp_path / "other.npz", images=z)
    assert "it holds no codes" in refused(capsys, "decode", source, *decode, tmp_path / "other.npz")
    for missing in (tmp_path / "none", tmp_path / "codes.json", folder):
        assert "--codes must be a folder that" in refused(capsys, "decode", source, *decode, missing)
    shard = place / "codes-00001.npz"
    shard.write_bytes(shard.read_bytes()[:-40])
    assert "codes-00001.npz" in refused(capsys, "decode", spatial, *decode, place)
    np.savez(shard, codes=np.zeros((4, 3, 3, 5), "float32"))
    assert "--codes must be float32 (4, 3, 3, 2) in codes-00001.npz" in refused(
        capsys, "decode", spatial, *decode, place
    )
    shard.unlink()
    assert "lacks codes-00001.npz" in refused(capsys, "decode", spatial, *decode, place)
    assert not (tmp_path / "d.npz").exists()


@one
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("format_version", 2),
        ("num_images", -1),
        ("shard_size", 0),
        ("format", "../x"),
        ("code_shape", [3, "3"]),
        ("code_shape", []),
        ("image_shape", [1]),
        ("scaled", "yes"),
        ("statistics", {"mean": [1.0]}),
        ("class_names", [1]),
    ],
)
def test_a_damaged_codes_json_is_refused(saved, folder, tmp_path, name, value):
    source, _ = saved("vae")
    assert run("encode", source, "--images", folder, "--output", tmp_path) == 0
    facts = told(tmp_path) | {name: value}
    (tmp_path / "codes.json").write_text(json.dumps(facts))
    with pytest.raises(InputError, match="^codes"):
        Codes(tmp_path)


# ---- Codes ----


@one
@pytest.mark.parametrize("ending", ["npz", "npy"])
def test_codes_are_read_as_an_array(saved, folder, tmp_path, ending):
    source, model = saved("vae_gan_spatial")
    asked = ["encode", source, "--images", folder, *ENCODE, "--format", ending, "--output", tmp_path]
    assert run(*asked) == 0
    codes = Codes(tmp_path)
    if ending == "npz":
        whole = np.concatenate([arrays(path)["codes"] for path in sorted(tmp_path.glob("codes-*.npz"))])
    else:
        whole = np.concatenate([np.load(path) for path in sorted(tmp_path.glob("codes-*.npy"))])
    assert codes.shape == whole.shape == (COUNT, 3, 3, 2) and len(codes) == COUNT and codes.ndim == 4
    rows = np.random.default_rng(0).permutation(COUNT)
    for index in (3, -1, slice(None), slice(9, 2, -3), rows, rows % 2 == 0):
        np.testing.assert_array_equal(codes[index], whole[index])
    for again in (codes, pickle.loads(pickle.dumps(codes))):
        np.testing.assert_array_equal(np.asarray(again), whole)
    assert isinstance(mapped(tmp_path / f"codes-00000.{ending}", "codes"), np.memmap)
    np.testing.assert_array_equal(codes.mean, model.code_statistics.numbers()[0])
    np.testing.assert_array_equal(codes.scale, model.code_statistics.numbers()[1])
    shard = Codes(tmp_path / f"codes-00002.{ending}")  # alone, it is told what it is
    assert shard.scaled is True and shard.shape == (3, 3, 3, 2)
    assert shard.names.tolist() == codes.names[8:].tolist() and len(shard.labels) == 3


@one
def test_lost_or_wrong_labels_are_refused(saved, folder, tmp_path):
    source, _ = saved("vae")
    asked = ["encode", source, "--images", folder, *ENCODE, "--format", "npy", "--output", tmp_path]
    assert run(*asked) == 0
    np.save(tmp_path / "labels-00000.npy", np.zeros(3, int))
    with pytest.raises(InputError, match="codes must have one of the labels for each of the 11 codes"):
        _ = Codes(tmp_path).labels
    (tmp_path / "labels-00001.npy").unlink()
    with pytest.raises(InputError, match="codes must have labels in all shards or in none; codes-00001.npy"):
        _ = Codes(tmp_path).labels
    for i in (0, 1):
        (tmp_path / f"codes-0000{i}.npy").unlink()
    assert run(*asked) == 0 and len(Codes(tmp_path).labels) == COUNT


@one
def test_few_files_are_open_at_a_time(saved, folder, tmp_path, monkeypatch):
    monkeypatch.setattr("keras_vaegan.data.codes.MOST_MAPPED", 2)
    source, model = saved("vae")
    assert run("encode", source, "--images", folder, "--shard-size", 1, "--output", tmp_path) == 0
    codes = Codes(tmp_path)
    np.testing.assert_allclose(codes, model.encode(load_pictures(folder, SHAPE)[0]), atol=1e-5)
    assert len(codes._maps) <= 2


@pytest.mark.core_on("all")
def test_a_second_model_is_fitted_to_codes(saved, folder, tmp_path):
    source, model = saved("vae_gan_spatial")
    assert run("encode", source, "--images", folder, "--output", tmp_path) == 0
    codes = Codes(tmp_path)
    mine, theirs = (
        [batch for batches.epoch in range(2) for batch in batches]
        for batches in (
            Batches(codes, codes.labels, batch_size=4, seed=3, workers=2),
            Batches(np.zeros((COUNT, 1, 1, 1), "float32"), np.arange(COUNT), batch_size=4, seed=3),
        )
    )
    for (z, y), (_, rows) in zip(mine, theirs, strict=True):
        np.testing.assert_array_equal(z, codes[rows])
        np.testing.assert_array_equal(y, codes.labels[rows])
    for name, value in {"augment": "flip", "random_crop": 2}.items():
        with pytest.raises(InputError, match=f"{name} must be None for latent codes"):
            Batches(codes, **{name: value})
    second = keras.Sequential([keras.Input(codes.shape[1:]), keras.layers.Flatten(), keras.layers.Dense(1)])
    second.compile("adam", "mse")
    second.fit(Batches(codes, np.abs(codes.labels), batch_size=4), epochs=1, verbose=0)
    np.save(tmp_path / "z.npy", np.random.default_rng(0).normal(size=(9, 3)))
    vectors = Codes(tmp_path / "z.npy")
    assert vectors.scaled is None and vectors.names is None and vectors.image_shape is None
    assert Batches(vectors, batch_size=4)[0][0].shape == (4, 3)
    assert Batches(vectors.subset([1, 2]), batch_size=4)[0][0].shape == (2, 3)


@one
def test_an_array_of_an_archive_is_mapped_or_refused(tmp_path):
    path = tmp_path / "x.npz"
    for array in (np.arange(12.0).reshape(3, 4), np.asfortranarray(np.arange(12.0).reshape(3, 4))):
        for save in (np.savez, np.savez_compressed):
            save(path, codes=array, other=np.zeros(2))
            np.testing.assert_array_equal(mapped(path, "codes"), array)
            assert length_of(path, "codes") == 3 and length_of(path, "none") == 0
    np.savez(path, codes=np.arange(4))
    whole = path.read_bytes()
    damaged = whole.replace(b"(4,)", b"(9,)")
    assert damaged != whole
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match="claims"):
        mapped(path, "codes")
    path.write_bytes(whole[:50])
    assert length_of(path, "codes") == 0


# ---- what the commands stand on ----


@one
def test_codes_made_in_parts_are_those_of_one_call(saved):
    for name in ("vae", "draw"):
        _, model = saved(name)
        x = registry.images(6, SHAPE)
        whole = model.encode(x, sample=True, seed=2)
        np.testing.assert_allclose(model.encode(x[4:], sample=True, seed=2, start=4), whole[4:], atol=1e-6)
        with pytest.raises(InputError, match="start must be"):
            model.encode(x, start=-1)


@one
def test_a_way_between_large_images(saved):
    _, model = saved("vae_gan_spatial")
    a, b = registry.images(2, (9, 12, 1)), registry.images(2, (9, 12, 1), seed=1)
    way = model.interpolate(a, b, steps=3)
    assert way.shape == (2, 3, 9, 12, 1)
    np.testing.assert_allclose(way[:, 0], model.reconstruct(a), atol=1e-5)
    with pytest.raises(InputError, match="a and b must be of one size"):
        model.interpolate(a, b[:, :8], steps=3)


@one
def test_classes_of_large_images_must_be_known(saved):
    _, model = saved("cvae_gan_spatial")
    x = registry.images(3, (9, 12, 1))
    assert model.labels_of([0, 2, 1], x).tolist() == [0, 2, 1]
    assert model.encode(x, [0, 2, 1]).shape == (3, 5, 6, 2)
    with pytest.raises(InputError, match=r"labels must be known for images of \(9, 12, 1\)"):
        model.labels_of([0, -1, 1], x)
