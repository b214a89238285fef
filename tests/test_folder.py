"""Own folders of images: splits and classes, links, files of all kinds, the range of pixels, memory."""

import json
import os
import socket
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from keras_vaegan import cli, memory
from keras_vaegan.data import load, load_pictures
from keras_vaegan.data.listing import list_classes, list_splits
from keras_vaegan.errors import InputError

pytestmark = pytest.mark.core_on("one")


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(path, **options)


def fill(folder, count=1, level=100, size=(2, 2)):
    """Write grey images of one level."""
    for i in range(count):
        save(folder / f"{i}.png", np.full(size, level, np.uint8))


def refused(function, *args, **kwargs):
    """The text of the InputError that a call raises; it must be one line."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(InputError) as caught:
            function(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def warned(function, *args, **kwargs):
    """What a call returns, and the texts of its warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = function(*args, **kwargs)
    return result, [str(warning.message) for warning in caught if warning.category is UserWarning]


def places(listing):
    """The splits and classes of a listing, with how many files they have."""
    found = {}
    for _, split, name in listing.files:
        found[split, name] = found.get((split, name), 0) + 1
    return found


# Splits


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (["train", "valid"], ["train", "validation"]),
        (["Train", "Test"], ["train", "test"]),
        (["TRAINING", "testing", "val"], ["train", "test", "validation"]),
        (["train", "eval"], ["train", "test"]),
        (["train", "eval", "test"], ["train", "validation", "test"]),
        (["train", "eval", "val"], ["train", "test", "validation"]),
        (["train", "dev", "evaluation"], ["train", "validation", "test"]),
        (["training_set", "test_set"], ["train", "test"]),
        (["Train Images", "Validation-Images"], ["train", "validation"]),
    ],
)
def test_folders_with_the_usual_names_are_the_splits(tmp_path, names, splits):
    for i, name in enumerate(names):
        fill(tmp_path / name / "cat", i + 1)
        fill(tmp_path / name / "dog", 4)
    listing = list_splits(tmp_path)
    wanted = {(split, "cat"): i + 1 for i, split in enumerate(splits)}
    assert places(listing) == wanted | {(split, "dog"): 4 for split in splits}
    assert not listing.warnings
    for name, split in zip(names, splits, strict=True):
        assert f"{split} ({name}/)" in listing.notes[0]
    assert listing.notes[1] == "classes: cat, dog"


def test_folders_without_images_and_of_the_system_are_ignored_and_named(tmp_path):
    fill(tmp_path / "train", 20)
    (tmp_path / "logs" / "day").mkdir(parents=True)
    (tmp_path / "logs" / "log.txt").write_text("text")
    for name in ("__MACOSX", "@eaDir", "lost+found", "$RECYCLE.BIN", "System Volume Information"):
        fill(tmp_path / name)
        fill(tmp_path / "train" / name)
    fill(tmp_path / ".thumbnails")
    (tmp_path / "train" / "._0.png").write_bytes(b"AppleDouble")
    data, texts = warned(load, tmp_path)
    assert [len(x) for x, _ in data] == [13, 3, 4] and data.class_names is None
    assert not texts
    notes = "; ".join(data.notes)
    assert "train (train/), validation (10 % of train), test (10 % of train)" in notes
    assert "no class folders, so no labels" in notes
    assert "logs/ (folders without images)" in notes and "__MACOSX/" in notes


def test_a_lone_train_beside_folders_of_images_is_a_class_and_this_is_said(tmp_path):
    for name in ("train", "truck", "cat"):
        fill(tmp_path / name, 10)
    data, texts = warned(load, tmp_path)
    assert data.class_names == ["cat", "train", "truck"]
    assert len(texts) == 1 and "train is a class" in texts[0]
    assert data.notes == ["classes: cat, train, truck"]


def test_classes_with_the_names_of_splits_are_warned_of(tmp_path):
    fill(tmp_path / "train2017", 2)
    fill(tmp_path / "val2017", 2)
    assert "train2017, val2017" in list_splits(tmp_path).warnings[0]
    fill(tmp_path / "cat", 2)
    assert not list_splits(tmp_path).warnings


def test_two_folders_for_one_split_are_refused(tmp_path):
    for name in ("train", "val", "Valid"):
        fill(tmp_path / name)
    assert "Valid/ and val/ for validation" in refused(list_splits, tmp_path)
    for path in (tmp_path / "val").iterdir():
        path.unlink()
    listing = list_splits(tmp_path)
    assert places(listing) == {("train", None): 1, ("validation", None): 1}
    assert "val/ (folders without images)" in listing.notes[-1]


def test_what_lies_beside_the_splits_is_told(tmp_path):
    fill(tmp_path / "train" / "cat", 3)
    fill(tmp_path / "test" / "cat", 2)
    fill(tmp_path / "extra" / "cat", 7)
    fill(tmp_path, 1)
    listing = list_splits(tmp_path)
    assert places(listing) == {("train", "cat"): 3, ("test", "cat"): 2}
    assert any("1 images beside its split folders" in text for text in listing.warnings)
    assert any("extra/" in text and "7 images" in text for text in listing.warnings)


def test_a_split_without_class_folders_is_told(tmp_path):
    for name in ("cat", "dog"):
        fill(tmp_path / "train" / name, 5)
    fill(tmp_path / "test", 3)
    data, texts = warned(load, tmp_path)
    assert data.train[1] is not None and data.test[1] is None
    assert len(texts) == 1 and "images of test have no labels" in texts[0]


def test_splits_inside_of_classes_or_of_one_more_folder_are_refused(tmp_path):
    for split in ("train", "test"):
        fill(tmp_path / "set" / split / "cat", 2)
    message = refused(list_splits, tmp_path)
    assert "outside of the classes" in message and "give that folder" in message
    for name in ("cat", "dog"):
        fill(tmp_path / "zip" / "images" / name, 2)
    listing = list_splits(tmp_path / "zip")
    assert "one class, images" in listing.warnings[0] and "cat, dog" in listing.warnings[0]


def test_a_train_folder_without_images_is_refused(tmp_path):
    (tmp_path / "train").mkdir()
    fill(tmp_path / "test")
    assert "to train on" in refused(list_splits, tmp_path)


# Run folders


def run_folder(path):
    fill(path / "samples", 4)
    fill(path, 2)
    (path / "metadata.json").write_text(json.dumps({"model": "vae", "dataset": "x", "recipe": {}}))


def test_run_folders_are_no_classes(tmp_path):
    for name in ("cat", "dog"):
        fill(tmp_path / name, 10)
    run_folder(tmp_path / "runs" / "vae_pets")
    run_folder(tmp_path / "cat" / "run")
    data, texts = warned(load, tmp_path)
    assert data.class_names == ["cat", "dog"] and sum(len(x) for x, _ in data) == 20 and not texts
    assert "runs/vae_pets/" in data.notes[-1] and "folders of a run" in data.notes[-1]
    assert "is a run folder" in refused(load, tmp_path / "runs" / "vae_pets")
    # Metadata of others are no run's, and large ones are not read.
    (tmp_path / "dog" / "metadata.json").write_text('{"author": "me"}')
    assert (
        list_splits(tmp_path).files == list_splits(tmp_path).files and len(list_splits(tmp_path).files) == 20
    )


def run_cli(capsys, *arguments):
    """The exit code of the command line, and what it wrote to standard output and error."""
    with pytest.raises(SystemExit) as caught:
        cli.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return caught.value.code or 0, captured.out, captured.err


TRAIN = ("train", "--model", "vae", "--dataset", "digits", "--latent-dim", 2, "--epochs", 1)
TINY = (
    "--set",
    "family=mlp",
    "--set",
    "encoder.units=[4]",
    "--set",
    "decoder.units=[4]",
    "--set",
    "prior=standard_normal",
)


def test_train_refuses_an_output_inside_of_the_data_and_the_reverse(tmp_path, capsys, monkeypatch):
    data = tmp_path / "data"
    fill(data / "cat", 10)
    monkeypatch.chdir(data)
    for arguments in (
        ("--dataset", "."),
        ("--dataset", data, "--output", data / "new" / "run"),
        ("--dataset", data, "--output", data),
    ):
        code, _, error = run_cli(capsys, *TRAIN, *arguments)
        assert code == 2 and "--output must lie outside of --dataset" in error
        assert sorted(os.listdir(data)) == ["cat"]
    (tmp_path / "link").symlink_to(data)
    code, _, error = run_cli(capsys, *TRAIN, "--dataset", data, "--output", tmp_path / "link" / "run")
    assert code == 2 and "must lie outside" in error
    run_folder(tmp_path / "run")
    fill(tmp_path / "run" / "checkpoints" / "cat", 10)
    arguments = ("--dataset", tmp_path / "run" / "checkpoints", "--output", tmp_path / "run", "--overwrite")
    code, _, error = run_cli(capsys, *TRAIN, *arguments)
    assert code == 2 and "--output must not hold --dataset" in error
    assert len(os.listdir(tmp_path / "run" / "checkpoints" / "cat")) == 10


# Links and special files


def test_links_to_folders_above_count_nothing(tmp_path):
    for name in ("cat", "dog"):
        fill(tmp_path / "data" / name, 5)
    fill(tmp_path / "other", 5)
    cat = tmp_path / "data" / "cat"
    (cat / "self").symlink_to(cat)
    (cat / "up").symlink_to(tmp_path / "data")
    (cat / "higher").symlink_to(tmp_path)
    (cat / "root").symlink_to("/")
    (tmp_path / "data" / "dog" / "again").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "whole").symlink_to(".")
    listing = list_splits(tmp_path / "data")
    assert places(listing) == {("train", "cat"): 5, ("train", "dog"): 5}
    assert any("5 links to a folder that they are in" in text for text in listing.warnings)
    assert any("cat/self" in text for text in listing.warnings)


def test_loops_between_folders_end(tmp_path):
    fill(tmp_path / "cat" / "a", 3)
    fill(tmp_path / "cat" / "b", 4)
    (tmp_path / "cat" / "a" / "to_b").symlink_to(tmp_path / "cat" / "b")
    (tmp_path / "cat" / "b" / "to_a").symlink_to(tmp_path / "cat" / "a")
    assert len(list_splits(tmp_path).files) == 7
    (tmp_path / "cat" / "loop").symlink_to(tmp_path / "cat" / "loop")
    (tmp_path / "cat" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    listing = list_splits(tmp_path)
    assert len(listing.files) == 7
    assert any("2 links that lead nowhere" in text and "cat/gone.png" in text for text in listing.warnings)


@pytest.mark.parametrize("what", ["image", "hard link", "folder", "class"])
@pytest.mark.parametrize("across", ["classes", "splits"])
def test_one_image_in_two_classes_or_splits_is_refused(tmp_path, what, across):
    first, second = ("train/cat", "train/dog") if across == "classes" else ("test/cat", "train/cat")
    for name in ("train/cat", "train/dog", "test/cat"):
        fill(tmp_path / name, 2)
    first, second = tmp_path / first, tmp_path / second
    if what == "image":
        (second / "link.png").symlink_to(first / "0.png")
    elif what == "hard link":
        os.link(first / "0.png", second / "link.png")
    elif what == "folder":
        (second / "link").symlink_to(first)
    else:
        (second.parent / "ape").symlink_to(first)
    message = refused(list_splits, tmp_path)
    assert "in one class and split" in message and f"two {across}" in message
    assert "link" in message or "ape" in message


def test_links_within_a_class_and_to_elsewhere(tmp_path):
    """Classes may be made of links into a pool of images, with the pool beside them."""
    data = tmp_path / "data"
    fill(data / "all", 12)
    for split, start in (("train", 0), ("test", 6)):
        for i in range(start, start + 6):
            folder = data / split / ("cat" if i % 2 else "dog")
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"no_ending_{i}").symlink_to(data / "all" / f"{i}.png")
    listing = list_splits(data)
    assert not listing.warnings and len(listing.files) == 12
    (data / "train" / "cat" / "twice.png").symlink_to(data / "all" / "1.png")
    listing = list_splits(data)
    assert len(listing.files) == 12
    assert "1 links to images that count already" in listing.warnings[0]
    fill(data / "all", 13)  # of which one is linked from nowhere
    assert any("all/: its 1 images" in text for text in list_splits(data).warnings)


def test_a_label_counts_more_than_unlabelled(tmp_path):
    fill(tmp_path / "unlabelled", 6)
    (tmp_path / "cat").mkdir()
    (tmp_path / "zebra").mkdir()
    for i, name in enumerate(("cat", "zebra", "zebra")):
        (tmp_path / name / f"{i}.png").symlink_to(tmp_path / "unlabelled" / f"{i}.png")
    assert places(list_splits(tmp_path)) == {
        ("train", "cat"): 1,
        ("train", "zebra"): 2,
        ("train", "unlabelled"): 3,
    }


def test_files_of_no_kind_are_left_out(tmp_path):
    fill(tmp_path / "cat", 3)
    os.mkfifo(tmp_path / "cat" / "pipe.png")
    (tmp_path / "cat" / "null.png").symlink_to("/dev/null")
    with socket.socket(socket.AF_UNIX) as listening:
        monkeypatched = os.getcwd()
        os.chdir(tmp_path / "cat")  # a socket's name is short
        try:
            listening.bind("socket.png")
        finally:
            os.chdir(monkeypatched)
    listing = list_splits(tmp_path)
    assert len(listing.files) == 3
    assert "3 no files (pipes, sockets, devices)" in listing.warnings[0]
    assert "is none" in refused(load_pictures, tmp_path / "cat" / "pipe.png", (2, 2, 1))
    os.mkfifo(tmp_path / "pipe.npz")
    assert "is none" in refused(load_pictures, tmp_path / "pipe.npz", (2, 2, 1))
    assert "pipe.npz" in refused(load, tmp_path / "pipe.npz")


def test_very_deep_folders_are_refused(tmp_path):
    path = tmp_path / "data" / "cat"
    for _ in range(120):
        path = path / "d"
    fill(path)
    assert "at most 100 folders" in refused(list_splits, tmp_path / "data")


# Files of all kinds


def test_images_are_known_by_their_content(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3)).astype(np.uint8)
    for name, kind in (
        ("a.jfif", "PNG"),
        ("no_ending", "PNG"),
        ("wrong.txt", "PNG"),
        ("jpeg.png", "BMP"),
        ("b.dat", "TIFF"),
        ("c.JPG_large", "PNG"),
        ("d.ppm", "PPM"),
        ("e", "GIF"),
    ):
        save(tmp_path / name, Image.fromarray(pixels).quantize() if kind == "GIF" else pixels, format=kind)
    (tmp_path / "notes.txt").write_text("text")
    (tmp_path / "table.csv").write_text("a,b")
    data, texts = warned(load, tmp_path, dtype="uint8")
    x = np.concatenate([x for x, _ in data])
    assert len(x) == 8 and sum(np.array_equal(image, pixels) for image in x) >= 7
    assert not texts
    assert data.notes[-1] == "ignored: 2 files of other kinds (.txt, .csv)"


def heic(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack(">I", 24) + b"ftypheic\0\0\0\0mif1heic" + bytes(40))


def png_header(width, height):
    """The start of a PNG file, which says how large it is and holds no pixels."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part))
        for part in (chunk, data)
    )


def test_a_folder_that_can_hardly_be_read_is_refused(tmp_path):
    fill(tmp_path / "a", 4)
    for i in range(20):
        heic(tmp_path / "a" / f"IMG_{i}.HEIC")
    message = refused(load, tmp_path)
    assert "20 of the 24 files" in message and "pillow-heif" in message and "IMG_0.HEIC" in message
    # A class that is lost alone is enough.
    fill(tmp_path / "b", 90)
    assert "class a (train)" in refused(load, tmp_path)
    for i in range(13, 20):
        (tmp_path / "a" / f"IMG_{i}.HEIC").unlink()
    for i in range(6, 13):
        (tmp_path / "a" / f"IMG_{i}.HEIC").unlink()
    data, texts = warned(load, tmp_path)
    assert data.class_names == ["a", "b"] and len(texts) == 1 and "6 files cannot be read" in texts[0]
    (x, _, names), texts = warned(load_pictures, tmp_path / "a", (2, 2, 1))
    assert len(x) == 4 and "pillow-heif" in texts[0]


def test_the_reason_why_a_file_cannot_be_read_is_told(tmp_path):
    fill(tmp_path, 20)
    save(tmp_path / "float.tif", np.full((2, 2), 7, np.float32))
    save(tmp_path / "long.tif", np.full((2, 2), 70000, np.int32))
    save(tmp_path / "cut.bmp", np.zeros((60, 60), np.uint8))
    (tmp_path / "cut.bmp").write_bytes((tmp_path / "cut.bmp").read_bytes()[:1500])
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "huge.png").write_bytes(png_header(20000, 10000))
    (tmp_path / "page.jpg").write_text("<!DOCTYPE html><html>404</html>")
    (tmp_path / "pointer.png").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0")
    save(tmp_path / "camera.nef", np.zeros((2, 2), np.uint8), format="TIFF")
    data, texts = warned(load, tmp_path)
    assert sum(len(x) for x, _ in data) == 20 and len(texts) == 1
    text = texts[0]
    assert text.startswith("8 files cannot be read and are skipped: ")
    for name, reason in (
        ("float.tif", "float pixels from 7 to 7, outside of [0, 1]"),
        ("long.tif", "32-bit integer pixels"),
        ("cut.bmp", "truncated"),
        ("empty.png", "empty"),
        ("huge.png", "more than 179 megapixels"),
        ("page.jpg", "HTML or XML"),
        ("pointer.png", "git lfs pull"),
        ("camera.nef", "RAW"),
    ):
        part = next(part for part in text.split("; ") if name in part)
        assert reason in part, text
    for name in ("float.tif", "empty.png", "page.jpg"):
        message = refused(load_pictures, tmp_path / name, (2, 2, 1))
        assert name in message and ("float" in message or "empty" in message or "HTML" in message)


def test_reasons_are_counted_and_names_escaped(tmp_path):
    fill(tmp_path, 9)
    for i in range(7):
        (tmp_path / f"{i}\x1b[31m.png").write_bytes(b"nothing")
    (tmp_path / "z.png").write_bytes(b"")
    _, texts = warned(load, tmp_path)
    assert "8 files" in texts[0] and "7 text, no image" in texts[0] and "1 empty (z.png)" in texts[0]
    assert "\x1b" not in texts[0] and "0\\x1b[31m.png" in texts[0] and "5\\x1b" not in texts[0]


def test_no_program_is_run_for_an_image(tmp_path):
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\n")
    assert "no image" in refused(load_pictures, tmp_path / "a.png", (2, 2, 1))


def test_files_of_several_frames_are_told(tmp_path):
    fill(tmp_path, 4)
    pages = [Image.new("L", (2, 2), level) for level in (50, 100, 150)]
    for name in ("stack.tif", "film.gif", "film.png"):
        pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:])
    save(tmp_path / "one.tif", pages[0])
    data, texts = warned(load, tmp_path, dtype="uint8")
    assert len(texts) == 1 and "3 files of several frames or pages" in texts[0] and "stack.tif" in texts[0]
    assert sorted(np.concatenate([x[:, 0, 0, 0] for x, _ in data])) == [50] * 4 + [100] * 4


# The range of pixels


def ramp(top, dtype=np.uint16):
    return np.linspace(0, top, 64).round().astype(dtype).reshape(8, 8)


@pytest.mark.parametrize("ending", ["png", "tif"])
@pytest.mark.parametrize("bits", [1, 8, 10, 12])
def test_integers_that_use_an_eighth_of_16_bits_are_refused(tmp_path, ending, bits):
    top = 2**bits - 1
    for i in range(10):
        save(tmp_path / f"{i}.{ending}", ramp(top))
    message = refused(load, tmp_path)
    assert f"value_range=(0, {top})" in message and f"--value-range 0:{top}" in message
    data, texts = warned(load, tmp_path, value_range=(0, top))
    np.testing.assert_allclose(data.train[0][0, ..., 0], ramp(top) / top, atol=0.5 / 255 + 1e-6)
    assert not texts and data.image_shape == (8, 8, 1)
    dark, texts = warned(load, tmp_path, value_range=(0, 65535))  # as they are, and asked for
    assert dark.train[0].max() <= top / 65535 + 1 / 255 and not texts
    pictures, texts = warned(load_pictures, tmp_path, (8, 8, 1))
    assert len(texts) == 1 and f"(0, {top})" in texts[0]
    pictures, _, _ = load_pictures(tmp_path, (8, 8, 1), value_range=(0, top))
    np.testing.assert_allclose(pictures[0, ..., 0], ramp(top) / top, atol=0.5 / 255 + 1e-6)


def test_integers_that_use_their_range_are_taken_as_they_are(tmp_path):
    save(tmp_path / "bright.png", ramp(40000))
    for i in range(9):  # of which most are dark: the largest of all counts
        save(tmp_path / f"{i}.png", ramp(100))
    data, texts = warned(load, tmp_path)
    assert not texts and max(x.max() for x, _ in data) == pytest.approx(40000 / 65535, abs=1 / 255)
    save(tmp_path / "bright.png", ramp(16383))
    _, texts = warned(load, tmp_path)
    assert len(texts) == 1 and "(0, 16383)" in texts[0]


def test_colours_of_16_bits(tmp_path):
    """They keep 16 bits, although PIL alone reads them with 8."""
    values = np.repeat(ramp(4095)[..., None], 3, axis=-1).astype(">u2")
    lines = b"".join(b"\0" + row.tobytes() for row in values)
    parts = b"IHDR" + struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0), b"IDAT" + zlib.compress(lines), b"IEND"
    for i in range(4):
        (tmp_path / f"{i}.png").write_bytes(
            b"\x89PNG\r\n\x1a\n"
            + b"".join(struct.pack(">I", len(p) - 4) + p + struct.pack(">I", zlib.crc32(p)) for p in parts)
        )
    assert "(0, 4095)" in refused(load, tmp_path)
    x, _ = load(tmp_path, value_range=(0, 4095)).train
    np.testing.assert_allclose(x[0], np.stack([ramp(4095)], axis=-1) / 4095, atol=1e-6)


def test_signed_and_long_integers_take_a_range(tmp_path):
    values = np.linspace(-1024, 3071, 64).round().astype(np.int32).reshape(8, 8)
    for i in range(4):
        save(tmp_path / f"{i}.tif", values)
    assert "pass value_range" in refused(load, tmp_path)
    x, _ = load(tmp_path, value_range=(-1024, 3071)).train
    np.testing.assert_allclose(x[0, ..., 0], (values + 1024) / 4095, atol=0.5 / 255 + 1e-6)
    message = refused(load, tmp_path, value_range=(0, 3071))
    assert "value_range, (0, 3071)" in message and "-1024 to 3071" in message and ".tif" in message


def test_8_bits_of_0_and_1_are_refused_and_of_few_levels_warned_of(tmp_path):
    bits = (np.arange(16).reshape(4, 4) % 2).astype(np.uint8)
    for i in range(4):
        save(tmp_path / "bits" / f"{i}.png", bits)
        save(tmp_path / "levels" / f"{i}.png", np.arange(16, dtype=np.uint8).reshape(4, 4))
        save(tmp_path / "alpha" / f"{i}.png", np.dstack([bits, bits, bits, np.full_like(bits, 255)]))
        save(tmp_path / "one_bit" / f"{i}.png", Image.fromarray(bits > 0))
        palette = Image.fromarray(bits)
        palette.putpalette([0, 0, 0, 200, 0, 0])
        save(tmp_path / "palette" / f"{i}.png", palette)
    for name in ("bits", "alpha"):
        assert "value_range=(0, 1)" in refused(load, tmp_path / name)
        x, _ = load(tmp_path / name, value_range=(0, 1)).train
        np.testing.assert_array_equal(x[0, ..., 0], bits)
    _, texts = warned(load, tmp_path / "levels")
    assert len(texts) == 1 and "value_range=(0, 15)" in texts[0]
    x, _ = load(tmp_path / "levels", value_range=(0, 15)).train
    np.testing.assert_allclose(x[0, ..., 0], np.arange(16).reshape(4, 4) / 15, atol=1e-6)
    for value_range in (None, (0, 1), (0, 4095)):  # colours have no range
        data, texts = warned(load, tmp_path / "palette", dtype="uint8", value_range=value_range)
        np.testing.assert_array_equal(data.train[0][0], bits[..., None] * np.array([200, 0, 0], np.uint8))
        data, more = warned(load, tmp_path / "one_bit", value_range=value_range)
        np.testing.assert_array_equal(data.train[0][0, ..., 0], bits)
        assert not texts and not more
    assert "0 to 15" in refused(load, tmp_path / "levels", value_range=(0, 7))


def test_8_bits_keep_their_range_beside_deeper_files(tmp_path):
    for i in range(4):
        save(tmp_path / f"{i}.png", ramp(255, np.uint8))
        save(tmp_path / f"deep{i}.png", ramp(4095))
    data = load(tmp_path, value_range=(0, 4095))
    for x, _ in data:
        np.testing.assert_allclose(x, np.broadcast_to(ramp(255)[..., None] / 255, x.shape), atol=1 / 255)


def test_black_images_alone_are_warned_of(tmp_path):
    fill(tmp_path, 4, level=0)
    _, texts = warned(load, tmp_path)
    assert "black images alone" in texts[0]


@pytest.mark.parametrize("value_range", [(4095,), (5, 5), (1, 0), "0:4095", (0, float("nan")), 4095])
def test_a_value_range_that_is_none_is_refused(tmp_path, value_range):
    fill(tmp_path, 4)
    for function, *more in ((load,), (load_pictures, (2, 2, 1))):
        assert "value_range must be two numbers" in refused(
            function, tmp_path, *more, value_range=value_range
        )


@pytest.mark.filterwarnings("ignore:Classes with")
def test_archives_take_a_range(tmp_path):
    images = np.random.default_rng(0).integers(0, 4096, (12, 4, 4)).astype(np.uint16)
    np.savez(tmp_path / "deep.npz", x=images, y=np.arange(12))
    assert "value_range=" in refused(load, tmp_path / "deep.npz")
    x, y = load(tmp_path / "deep.npz", value_range=(0, 4095)).train
    np.testing.assert_allclose(x[..., 0], images[y] / 4095, atol=0.5 / 255 + 1e-6)
    x, y, _ = load_pictures(tmp_path / "deep.npz", (4, 4, 1), value_range=(0, 4095))
    np.testing.assert_allclose(x[..., 0], images[y] / 4095, atol=0.5 / 255 + 1e-6)
    assert "value_range" in refused(load, tmp_path / "deep.npz", value_range=(0, 1023))
    np.savez(tmp_path / "bytes.npz", x=np.minimum(images, 255).astype(np.uint8))
    data = load(tmp_path / "bytes.npz", value_range=(0, 4095), dtype="uint8")
    assert max(x.max() for x, _ in data) == 255
    np.savez(tmp_path / "levels.npz", x=images % 16)
    _, texts = warned(load, tmp_path / "levels.npz")
    assert "(0, 15)" in texts[0]
    np.savez(tmp_path / "bits.npz", x=images % 2)
    assert "value_range=(0, 1)" in refused(load, tmp_path / "bits.npz")
    assert load(tmp_path / "bits.npz", value_range=(0, 1)).train[0].max() == 1


# Memory


@pytest.fixture
def little_memory(monkeypatch):
    """Let this many bytes be free, and fail if more than them are asked for at once."""

    def free(number):
        monkeypatch.setattr(memory, "available", lambda: number)

    return free


def test_memory_is_computed_before_images_are_read(tmp_path, monkeypatch, little_memory):
    from keras_vaegan.data import folder

    fill(tmp_path / "images", 20, size=(40, 50))
    np.savez_compressed(tmp_path / "a.npz", x=np.full((20, 40, 50), 100, np.uint8))
    least = 20 * 40 * 50 * 5  # of grey images, which become floats

    def no_reading(*_):
        raise AssertionError("images are read")

    little_memory(least)  # all of it is more than may be taken
    monkeypatch.setattr(folder, "read_image", no_reading)
    monkeypatch.setattr("keras_vaegan.data.npz.read_arrays", no_reading)
    for name in ("images", "a.npz"):
        message = refused(load, tmp_path / name, cache="memory")
        assert "must fit into memory" in message and "image_size" in message, message
    assert "images (20 images of 40x50x1) must fit" in refused(
        load_pictures, tmp_path / "images", (40, 50, 1)
    )
    assert "must fit into memory" in refused(load, "digits", image_size=100)
    monkeypatch.undo()
    little_memory(4 * least)
    for name, number in (("images", 14), ("a.npz", 16)):  # splits of files follow from their names
        assert len(load(tmp_path / name).train[0]) == number


def test_one_large_image_is_refused_before_it_is_decoded(tmp_path, monkeypatch, little_memory):
    fill(tmp_path, 4)
    (tmp_path / "large.png").write_bytes(png_header(6000, 5000))
    little_memory(10**9)
    message = refused(load, tmp_path, image_size=4)
    assert "large.png (6000x5000 pixels) must fit into memory" in message


def test_running_out_of_memory_is_one_line(tmp_path, monkeypatch, capsys):
    fill(tmp_path / "data", 4)

    def fail(*_, **__):
        raise MemoryError

    monkeypatch.setattr("keras_vaegan.data.folder.read_image", fail)
    assert "must fit into memory" in refused(load, tmp_path / "data")
    assert "images must fit into memory" in refused(load_pictures, tmp_path / "data", (2, 2, 1))
    code, _, error = run_cli(capsys, *TRAIN, "--dataset", tmp_path / "data", "--output", tmp_path / "run")
    assert code == 2 and "--dataset must fit into memory" in error and error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_large_photographs_are_decoded_at_a_fraction_of_their_size(tmp_path):
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3)).astype(np.uint8))
    photo = coarse.resize((3200, 2400), Image.Resampling.BICUBIC)
    for i in range(3):
        save(tmp_path / f"{i}.jpg", photo, quality=95)
    x, _ = load(tmp_path, image_size=(24, 32), dtype="uint8").train
    with Image.open(tmp_path / "0.jpg") as image:
        whole = np.asarray(image.resize((32, 24), Image.Resampling.BICUBIC), float)
    difference = np.abs(x[0] - whole)
    assert difference.mean() < 1 and difference.max() <= 8


# The command line


def test_the_range_is_stored_with_the_run_and_used_by_every_command(tmp_path, capsys, monkeypatch):
    # Drawing takes most of the time.
    monkeypatch.setattr("keras_vaegan.training.runner.draw_images", lambda *_: None)
    rng = np.random.default_rng(0)
    for i in range(60):
        save(tmp_path / "data" / "ab"[i % 2] / f"{i}.png", rng.integers(0, 4096, (8, 8)).astype(np.uint16))
    data, run = tmp_path / "data", tmp_path / "run"
    train = (*TRAIN, *TINY, "--dataset", data, "--output", run)
    code, _, error = run_cli(capsys, *train)
    assert code == 2 and "--value-range 0:4095" in error and not run.exists()
    for wrong in ("4095", "0:4095:1", "5:5", "a:b", "0:²"):
        code, _, error = run_cli(capsys, *train, "--value-range", wrong)
        assert code == 2 and "--value-range must be LOW:HIGH" in error and not run.exists()
    code, said, error = run_cli(capsys, *train, "--value-range", "0:4095")
    assert code == 0, error
    assert "data: classes: a, b" in said
    assert json.loads((run / "metadata.json").read_text())["value_range"] == [0, 4095]
    assert run_cli(capsys, "train", "--resume", run, "--epochs", 2)[0] == 0
    again = (
        "train",
        "--preset",
        run,
        "--output",
        tmp_path / "again",
        "--set",
        "prior=mixture",
        "--set",
        "components=99",
    )
    assert "components must be at most 45" in run_cli(capsys, *again)[2]  # after the images are read
    output = tmp_path / "r.npz"
    code, _, error = run_cli(capsys, "reconstruct", run, "--images", data, "--output", output)
    assert code == 0 and "warning" not in error
    with np.load(output) as arrays:
        images = arrays["images"]
    _, _, names = load_pictures(data, (8, 8, 1), value_range=(0, 4095))
    for image, name in zip(images, names, strict=True):
        with Image.open(data / name) as pixels:
            np.testing.assert_allclose(image[..., 0], np.asarray(pixels) / 4095, atol=0.5 / 255 + 1e-6)
    arguments = ("reconstruct", run, "--num-images", 1, "--output", output)
    code, _, error = run_cli(capsys, *arguments)
    assert code == 0, error
    assert run_cli(capsys, *arguments, "--value-range", "0:65535")[0] == 0
    arguments = ("--metrics", "reconstruction", "--output", tmp_path / "e.json")
    code, _, error = run_cli(capsys, "evaluate", run, *arguments)
    assert code == 0, error
    # An 8-bit picture keeps its own range.
    save(tmp_path / "one.png", ramp(255, np.uint8))
    assert run_cli(capsys, "reconstruct", run, "--images", tmp_path / "one.png", "--output", output)[0] == 0
    with np.load(output) as arrays:
        np.testing.assert_allclose(arrays["images"][0, ..., 0], ramp(255) / 255, atol=1e-6)


def test_reading_a_folder_keeps_what_it_was_told(tmp_path):
    import copy
    import pickle

    fill(tmp_path / "cat", 4)
    data = load(tmp_path)
    assert data.notes == ["classes: cat"]
    assert copy.copy(data).notes == pickle.loads(pickle.dumps(data)).notes == data.notes
    assert load("digits").notes == []


def test_pictures_in_two_folders_count_once_where_classes_do_not_matter(tmp_path):
    fill(tmp_path / "cat", 2)
    (tmp_path / "dog").symlink_to(tmp_path / "cat")
    assert len(list_classes(tmp_path, with_classes=False).files) == 2
    assert "two classes" in refused(list_classes, tmp_path)
    assert refused(load_pictures, tmp_path, (2, 2, 1), ["cat", "dog"]).startswith("images must")
    (x, y, names), _ = warned(load_pictures, tmp_path, (2, 2, 1))
    assert len(x) == 2 and y is None and names == ["cat/0.png", "cat/1.png"]
