"""Image files of every kind, by several writers: each row of the table in `docs/own_images.md`."""

import itertools
import re
import struct
import warnings
import zlib
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest
import tifffile
from PIL import Image

from keras_vaegan.data import load, load_pictures
from keras_vaegan.data.pictures import decode, look, read_image
from keras_vaegan.data.preprocessing import Preprocessing, probe
from keras_vaegan.errors import InputError

pytestmark = pytest.mark.core_on("one")

DOCS = Path(__file__).parents[1] / "docs" / "own_images.md"
SHAPE = (9, 7)
TOP = {8: 255, 16: 65535, 32: 2**32 - 1}
ROWS = {}


def row(name):
    """Take a function of a folder for the test of the row that begins with `name`."""

    def note(function):
        ROWS[name] = function
        return function

    return note


def pixels(*channels, bits=8, seed=0, shape=SHAPE):
    """Integers that use the whole range of their type."""
    values = np.random.default_rng(seed).integers(0, TOP[bits] + 1, (*shape, *channels))
    return values.astype(f"uint{bits}")


def read(path, **settings):
    """An image file as a dataset of this file alone would give it, float64."""
    _, preprocessing = probe([path], Preprocessing(**settings))
    image = read_image(path, preprocessing)
    assert image.shape == preprocessing.image_shape
    assert look(path).size == decode(path).values.shape[:2]
    return image.astype(float) if preprocessing.deep else image / 255


def check(path, expected, atol=1e-6, **settings):
    """Compare a file with `(h, w)` or `(h, w, c)` in [0, 1]."""
    expected = np.asarray(expected, float)
    found = read(path, **settings)
    assert found.shape[:2] == expected.shape[:2], path
    np.testing.assert_allclose(found, expected.reshape(found.shape), atol=atol, err_msg=str(path))


def png(path, values, kind, depth=16, hidden=None, interlaced=False):
    """Write a PNG of any type, its lines by the five filters in turn; `hidden` is the transparent color."""
    values = values[..., None] if values.ndim == 2 else values
    parts = [values]
    if interlaced:  # Adam7
        places = [
            (0, 0, 8, 8),
            (0, 4, 8, 8),
            (4, 0, 8, 4),
            (0, 2, 4, 4),
            (2, 0, 4, 2),
            (0, 1, 2, 2),
            (1, 0, 2, 1),
        ]
        parts = [values[top::down, left::right] for top, left, down, right in places]
    lines = b"".join(filtered(part, depth) for part in parts if part.size)
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], depth, kind, 0, 0, int(interlaced))
    chunks = [b"IHDR" + header, b"IDAT" + zlib.compress(lines), b"IEND"]
    if hidden is not None:
        chunks.insert(1, b"tRNS" + np.asarray(hidden, ">u2").tobytes())
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks)
    )
    return path


def filtered(values, depth):
    """The lines of an image, each with its filter: none, left, up, mean of the two, Paeth."""
    step = values.shape[-1] * depth // 8
    raw = np.ascontiguousarray(values, f">u{depth // 8}").view(np.uint8).reshape(len(values), -1).astype(int)
    up = np.vstack([np.zeros_like(raw[:1]), raw[:-1]])
    left, corner = (np.hstack([np.zeros_like(rows[:, :step]), rows[:, :-step]]) for rows in (raw, up))
    guess = left + up - corner
    distances = np.stack([abs(guess - one) for one in (left, up, corner)])
    paeth = np.choose(distances.argmin(axis=0), [left, up, corner])
    predictions = [0 * raw, left, up, (left + up) // 2, paeth]
    return b"".join(
        bytes([i % 5]) + ((raw[i] - predictions[i % 5][i]) % 256).astype(np.uint8).tobytes()
        for i in range(len(raw))
    )


# What is read


@row("Gray, 8 bits")
def gray_of_8_bits(folder):
    values = pixels()
    Image.fromarray(values).save(folder / "pillow.png")
    Image.fromarray(values).save(folder / "pillow.bmp")
    imageio.imwrite(folder / "imageio.png", values)
    tifffile.imwrite(folder / "tifffile.tif", values)
    tifffile.imwrite(folder / "white.tif", 255 - values, photometric="miniswhite")
    np.save(folder / "numpy.npy", values)
    png(folder / "own.png", values, 0, depth=8)
    png(folder / "laced.png", values, 0, depth=8, interlaced=True)
    for path in folder.iterdir():
        check(path, values / 255)
        assert read(path).shape == (*SHAPE, 1)


@row("Color, 8 bits")
def color_of_8_bits(folder):
    values = pixels(3)
    Image.fromarray(values).save(folder / "pillow.png")
    Image.fromarray(values).save(folder / "lossless.webp", lossless=True)
    Image.fromarray(values).save(folder / "pillow.tif", compression="tiff_lzw")
    Image.fromarray(values).save(folder / "pillow.ppm")
    imageio.imwrite(folder / "imageio.bmp", values)
    tifffile.imwrite(folder / "tifffile.tif", values, photometric="rgb", compression="zlib")
    tifffile.imwrite(
        folder / "planes.tif", np.moveaxis(values, -1, 0), photometric="rgb", planarconfig="separate"
    )
    np.save(folder / "numpy.npy", values)
    png(folder / "own.png", values, 2, depth=8)
    for path in folder.iterdir():
        check(path, values / 255)
    for path in (folder / "tifffile.tif", folder / "planes.tif"):
        check(path, imageio.imread(path, plugin="pillow") / 255)
    Image.fromarray(values).save(folder / "photo.jpg")
    check(folder / "photo.jpg", imageio.imread(folder / "photo.jpg") / 255)


@row("Gray, 16 bits")
def gray_of_16_bits(folder):
    values = pixels(bits=16)
    Image.fromarray(values).save(folder / "pillow.png")
    Image.fromarray(values).save(folder / "pillow.tif")
    imageio.imwrite(folder / "imageio.png", values)
    for order in "<>":
        tifffile.imwrite(folder / f"tifffile_{ord(order)}.tif", values, byteorder=order)
    tifffile.imwrite(folder / "zlib.tif", values, compression="zlib", bigtiff=True)
    tifffile.imwrite(folder / "white.tif", 65535 - values, photometric="miniswhite")
    np.save(folder / "numpy.npy", values)
    np.save(folder / "other_order.npy", values.astype(">u2"))
    png(folder / "own.png", values, 0)
    png(folder / "laced.png", values, 0, interlaced=True)
    for path in folder.iterdir():
        check(path, values / 65535)
    for path in folder.glob("tifffile*"):
        check(path, imageio.imread(path, plugin="pillow") / 65535)
    small = values // 16  # 12 bits
    tifffile.imwrite(folder / "twelve.tif", small)
    check(folder / "twelve.tif", small / 4095, value_range=(0, 4095))
    with pytest.raises(InputError, match=r"value_range, \(0, 1023\)"):
        read(folder / "twelve.tif", value_range=(0, 1023))


@row("Color, 16 bits (PNG, TIFF)")
def color_of_16_bits(folder):
    values = pixels(3, bits=16)
    png(folder / "own.png", values, 2)
    png(folder / "laced.png", values, 2, interlaced=True)
    for order in "<>":
        tifffile.imwrite(folder / f"tifffile_{ord(order)}.tif", values, photometric="rgb", byteorder=order)
    tifffile.imwrite(folder / "zlib.tif", values, photometric="rgb", compression="zlib", predictor=True)
    planes = np.moveaxis(values, -1, 0)
    tifffile.imwrite(folder / "planes.tif", planes, photometric="rgb", planarconfig="separate")
    imageio.imwrite(folder / "imageio.tif", values, photometric="rgb")
    np.save(folder / "numpy.npy", values)
    for path in folder.iterdir():
        check(path, values / 65535)
    for path in folder.glob("*.tif"):
        check(path, tifffile.imread(path).reshape(values.shape if path.stem != "planes" else planes.shape)
              .transpose((1, 2, 0) if path.stem == "planes" else (0, 1, 2)) / 65535)  # fmt: skip
    covered = pixels(4, bits=16)
    png(folder / "alpha.png", covered, 6)
    png(folder / "gray_alpha.png", covered[..., :2], 4)
    tifffile.imwrite(folder / "alpha.tif", covered, photometric="rgb", extrasamples=["unassalpha"])
    for name in ("alpha.png", "alpha.tif"):
        check(folder / name, covered / 65535, channels=4)
    share = covered[..., 1:2] / 65535
    check(folder / "gray_alpha.png", covered[..., :1] / 65535 * share + 1 - share)


@row("Color, 16 bits (PPM, JPEG 2000)")
def color_of_16_bits_that_pil_makes_8(folder):
    values = pixels(3, bits=16)
    (folder / "a.ppm").write_bytes(b"P6 7 9 65535\n" + values.astype(">u2").tobytes())
    check(folder / "a.ppm", values / 65535, atol=1 / 255)
    assert look(folder / "a.ppm").bits == 8


@row("32-bit integers (TIFF, `.npy`)")
def long_integers(folder):
    values = pixels(bits=16).astype(np.int32) - 1024
    values[0, 0] = 80000
    tifffile.imwrite(folder / "tifffile.tif", values)
    Image.fromarray(values).save(folder / "pillow.tif")
    np.save(folder / "numpy.npy", values.astype(np.int64))
    for path in folder.iterdir():
        check(path, (values + 1024) / 131071, value_range=(-1024, 130047))
        with pytest.raises(ValueError, match="pass value_range"):
            read(path)


@row("Floats (TIFF, `.npy`)")
def floats(folder):
    unit = np.random.default_rng(0).random(SHAPE)
    unit[0, 0], unit[0, 1] = 0, 1
    for dtype in ("float16", "float32", "float64"):
        tifffile.imwrite(folder / f"{dtype}.tif", unit.astype(dtype))
        np.save(folder / f"{dtype}.npy", unit.astype(dtype))
    Image.fromarray(unit.astype("float32")).save(folder / "pillow.tif")
    imageio.imwrite(folder / "imageio.tif", unit.astype("float32"))
    for path in folder.iterdir():
        check(path, unit, atol=5e-4 if "16" in path.stem else 1e-6)
    tifffile.imwrite(folder / "wide.tif", (unit * 40 - 10).astype("float32"))
    check(folder / "wide.tif", unit)  # measured
    check(folder / "wide.tif", (unit * 40 - 10 + 50) / 100, value_range=(-50, 50))
    colour = np.random.default_rng(1).random((*SHAPE, 3))
    tifffile.imwrite(folder / "color.tif", colour.astype("float32"), photometric="rgb")
    check(folder / "color.tif", colour)


@row("2 to 16 channels (TIFF, `.npy`)")
def many_channels(folder):
    for channels, bits in itertools.product((2, 4, 5, 6, 8, 16), (8, 16)):
        values = pixels(channels, bits=bits)
        stem = f"{channels}_{bits}"
        plane = np.moveaxis(values, -1, 0)
        gray = {"photometric": "minisblack"}
        tifffile.imwrite(folder / f"pixels_{stem}.tif", values, planarconfig="contig", **gray)
        tifffile.imwrite(folder / f"planes_{stem}.tif", plane, planarconfig="separate", **gray)
        np.save(folder / f"{stem}.npy", values)
        for path in folder.glob(f"*{stem}.*"):
            check(path, values / TOP[bits])
    values = pixels(6)  # red, green, blue, and three more
    tifffile.imwrite(folder / "more.tif", values, photometric="rgb", planarconfig="contig")
    check(folder / "more.tif", values / 255)
    for number in (3, 17):
        with pytest.raises(ValueError, match="6 channels|17"):
            path = folder / f"{number}.npy"
            np.save(path, pixels(6 if number == 3 else 17))
            read(path, channels=3)


@row("One bit; palette")
def no_plain_numbers(folder):
    bits = pixels() > 100
    Image.fromarray(bits).save(folder / "pillow.png")
    Image.fromarray(bits).save(folder / "pillow.tif", compression="group4")
    tifffile.imwrite(folder / "tifffile.tif", bits, photometric="minisblack")
    np.save(folder / "numpy.npy", bits)
    for path in folder.iterdir():
        check(path, bits)
        check(path, bits, value_range=(0, 100))
    colours, index = pixels(3)[0], pixels(shape=SHAPE) % 7
    paletted = Image.fromarray(index)
    paletted.putpalette(colours.tobytes())
    for name in ("palette.png", "palette.gif", "palette.tif", "palette.bmp"):
        paletted.save(folder / name)
        check(folder / name, colours[index] / 255)
        check(folder / name, colours[index] / 255, value_range=(0, 7))


@row("CMYK (JPEG, TIFF)")
def cmyk(folder):
    Image.fromarray(pixels(4, shape=(16, 16)), "CMYK").save(folder / "a.jpg", quality=95)
    Image.fromarray(pixels(4, shape=(16, 16)), "CMYK").save(folder / "a.tif")
    for path in folder.iterdir():
        inks = imageio.imread(path, plugin="pillow", mode="CMYK") / 255
        if path.suffix == ".tif":
            np.testing.assert_array_equal(inks * 255, tifffile.imread(path))
        check(path, (1 - inks[..., :3]) * (1 - inks[..., 3:]), atol=1.01 / 255)


@row("Alpha")
def alpha(folder):
    colour, gray = pixels(4), pixels(2)
    Image.fromarray(colour).save(folder / "pillow.png")
    Image.fromarray(colour).save(folder / "pillow.webp", lossless=True, exact=True)
    imageio.imwrite(folder / "imageio.png", colour)
    tifffile.imwrite(folder / "tifffile.tif", colour, photometric="rgb", extrasamples=["unassalpha"])
    share = colour[..., 3:] / 255
    for path in folder.iterdir():
        for background in ((255, 255, 255), (10, 200, 30)):
            expected = colour[..., :3] / 255 * share + np.array(background) / 255 * (1 - share)
            check(path, expected, atol=0.51 / 255, background=background)
        check(path, colour / 255, channels=4)
    multiplied = np.rint(colour[..., :3] * share)
    stored = np.concatenate([multiplied, colour[..., 3:]], axis=-1).astype(np.uint16) * 257
    tifffile.imwrite(folder / "associated.tif", stored, photometric="rgb", extrasamples=["assocalpha"])
    check(folder / "associated.tif", multiplied / 255 + 1 - share, atol=1e-4)
    Image.fromarray(gray, "LA").save(folder / "gray.png")
    share = gray[..., 1:] / 255
    check(folder / "gray.png", gray[..., :1] / 255 * share + 1 - share, atol=0.51 / 255)
    red = gray[..., :1] / 255 * share + np.array([1, 0, 0]) * (1 - share)
    check(folder / "gray.png", red, atol=0.51 / 255, background="#ff0000")
    for bits, values in ((8, pixels(3)), (16, pixels(3, bits=16))):  # one color that is transparent
        png(folder / f"hidden{bits}.png", values, 2, depth=bits, hidden=values[2, 3])
        expected = values / TOP[bits]
        expected[2, 3] = 0
        check(folder / f"hidden{bits}.png", expected, background="black")
    level = pixels(bits=16)
    png(folder / "hidden_gray.png", level, 0, hidden=level[2, 3])
    expected = np.where(level == level[2, 3], 1, level / 65535)
    check(folder / "hidden_gray.png", expected)


def warned(function, *args, **kwargs):
    """What a call returns, and the texts of its warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = function(*args, **kwargs)
    return result, [str(warning.message) for warning in caught if warning.category is UserWarning]


@row("Animation (GIF, WebP, APNG); TIFF of several pages")
def several_frames(folder):
    frames = [pixels(3, seed=seed) for seed in range(3)]
    images = [Image.fromarray(frame) for frame in frames]
    for name in ("film.webp", "film.png", "stack.tif"):
        images[0].save(folder / name, save_all=True, append_images=images[1:], **{"lossless": True})
    levels = [np.full(SHAPE, level, np.uint8) for level in (60, 120, 180)]
    imageio.imwrite(folder / "film.gif", np.stack(levels))
    tifffile.imwrite(folder / "stack16.tif", pixels(8, bits=16).transpose(2, 0, 1), photometric="minisblack")
    tifffile.imwrite(folder / "deep.tif", np.stack([pixels(3, bits=16)] * 2), photometric="rgb")
    for name in ("film.webp", "film.png", "stack.tif"):
        check(folder / name, frames[0] / 255)
    check(folder / "film.gif", levels[0] / 255)
    check(folder / "stack16.tif", pixels(8, bits=16)[..., 0] / 65535)
    check(folder / "deep.tif", pixels(3, bits=16) / 65535)
    _, texts = warned(load, folder, channels=3)
    assert len(texts) == 1 and "6 files of several frames or pages" in texts[0] and "deep.tif" in texts[0]


@row("EXIF orientation")
def orientation(folder):
    upright = pixels(3)
    stored = {  # what the eight orientations do to an image when it is shown, undone
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }
    for number, values in stored.items():
        exif = Image.Exif()
        exif[0x0112] = number
        turned = Image.fromarray(np.ascontiguousarray(values))
        turned.save(folder / f"{number}.png", exif=exif)
        turned.save(folder / f"{number}.webp", exif=exif, lossless=True)
        tags = {"photometric": "rgb", "extratags": [(0x0112, "H", 1, number, True)]}
        tifffile.imwrite(folder / f"{number}.tif", values, **tags)
        tifffile.imwrite(folder / f"{number}_deep.tif", values * np.uint16(257), **tags)
        turned.save(folder / f"{number}.jpg", exif=exif, quality=100, subsampling=0)
    for path in folder.iterdir():
        check(path, upright / 255, atol=0.02 if path.suffix == ".jpg" else 1e-6)


@row("Gray among color")
def gray_among_color(folder):
    for i in range(4):
        Image.fromarray(pixels(seed=i)).save(folder / f"gray{i}.png")
    Image.fromarray(pixels(2), "LA").save(folder / "alpha.png")
    tifffile.imwrite(folder / "deep.tif", pixels(bits=16))
    tifffile.imwrite(folder / "color.tif", pixels(3), photometric="rgb")
    data = load(folder)
    assert data.image_shape == (*SHAPE, 3)
    images = np.concatenate([x for x, _ in data])
    gray = (images == images[..., :1]).all(axis=(1, 2, 3))
    assert gray.sum() == 6
    np.testing.assert_allclose(images[~gray][0], pixels(3) / 255, atol=1e-6)
    found = sorted(images[gray][:, 0, 0, 0])
    expected = [pixels(seed=i)[0, 0] / 255 for i in range(4)] + [pixels(bits=16)[0, 0] / 65535]
    level, share = pixels(2)[0, 0] / 255
    np.testing.assert_allclose(found, sorted([*expected, level * share + 1 - share]), atol=1e-6)


@row("Gray stored as color")
def gray_as_color(folder):
    for i in range(4):
        Image.fromarray(pixels(seed=i)).convert("RGB").save(folder / f"{i}.png")
        paletted = Image.fromarray(pixels(seed=i))
        paletted.putpalette(np.arange(256, dtype=np.uint8).repeat(3).tobytes())
        paletted.save(folder / f"{i}.gif")
    data = load(folder, dtype="uint8")
    images = np.concatenate([x for x, _ in data])
    assert images.shape == (8, *SHAPE, 1)
    expected = sorted(pixels(seed=i).tobytes() for i in range(4) for _ in range(2))
    assert sorted(image.tobytes() for image in images) == expected


@row("Tiny")
def tiny(folder):
    Image.new("RGB", (1, 1), (200, 100, 30)).save(folder / "pillow.png")
    tifffile.imwrite(folder / "tifffile.tif", np.uint8([[[200, 100, 30]]]), photometric="rgb")
    np.save(folder / "numpy.npy", np.uint8([[[200, 100, 30]]]))
    np.save(folder / "row.npy", np.uint8([[[200, 100, 30]] * 5]))
    for path, resize in itertools.product(list(folder.iterdir()), ("crop", "stretch")):
        check(path, np.broadcast_to(np.array([200, 100, 30]) / 255, (8, 8, 3)), image_size=8, resize=resize)
    assert load(folder).image_shape == (64, 64, 3)


# What is skipped, with a count and the first few names


def skipped(folder, count, **words):
    """Load a folder with good images besides; each file's name must be near its reason in the warning."""
    for i in range(2 * count + 2):
        Image.fromarray(pixels(seed=i)).save(folder / f"good{i}.png")
    data, texts = warned(load, folder)
    assert sum(len(x) for x, _ in data) == 2 * count + 2
    assert len(texts) == 1 and "\n" not in texts[0]
    are = "file cannot be read and is" if count == 1 else "files cannot be read and are"
    assert texts[0].startswith(f"{count} {are} skipped: "), texts
    for name, reason in words.items():
        part = next((part for part in texts[0].split("; ") if f"{name}." in part), "")
        assert reason in part, (name, texts[0])


@row("More than 179 megapixels")
def huge(folder):
    chunks = b"IHDR" + struct.pack(">IIBBBBB", 20000, 10000, 8, 0, 0, 0, 0), b"IDAT" + zlib.compress(b"")
    (folder / "header.png").write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks)
    )
    # The header alone claims so many, and the file is sparse.
    with open(folder / "array.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "|u1", "fortran_order": False, "shape": (20000, 10000)}
        )
        file.truncate(file.tell() + 20000 * 10000)
    tifffile.imwrite(folder / "tiff.tif", shape=(20000, 10000, 5), dtype="uint8", photometric="minisblack",
                     planarconfig="contig")  # fmt: skip
    skipped(folder, 3, header="179 megapixels", array="179 megapixels", tiff="179 megapixels")
    with pytest.raises(InputError, match="array.npy cannot be read: more than 179 megapixels"):
        load_pictures(folder / "array.npy", (8, 8, 1))


@row("Truncated or damaged")
def truncated(folder):
    big = pixels(3, shape=(60, 60))
    Image.fromarray(big).save(folder / "png.png")
    Image.fromarray(big).save(folder / "jpg.jpg")
    Image.fromarray(big).save(folder / "bmp.bmp")
    Image.fromarray(big).save(folder / "webp.webp")
    tifffile.imwrite(folder / "tif.tif", big.astype(np.uint16), photometric="rgb")
    tifffile.imwrite(folder / "lzw.tif", big, photometric="rgb", compression="zlib")
    np.save(folder / "npy.npy", big)
    count = len(list(folder.iterdir()))
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    skipped(folder, count, png="truncated", jpg="truncated", bmp="truncated")
    for path in folder.iterdir():
        if not path.name.startswith("good"):
            with pytest.raises(InputError, match="truncated|damaged"):
                load_pictures(path, (8, 8, 1))


@row("Empty; HTML; text; a pointer of Git LFS")
def no_images(folder):
    (folder / "empty.png").write_bytes(b"")
    (folder / "array.npy").write_bytes(b"")
    (folder / "page.jpg").write_text("<!DOCTYPE html><html>404</html>")
    (folder / "text.tif").write_text("not found")
    (folder / "pointer.webp").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0")
    skipped(
        folder, 5, empty="empty", array="empty", page="HTML", text="text, no image", pointer="git lfs pull"
    )


@row("NaN or infinite values")
def not_finite(folder):
    values = np.zeros(SHAPE, np.float32)
    values[2, 3] = np.nan
    np.save(folder / "nan.npy", values)
    tifffile.imwrite(folder / "inf.tif", np.full(SHAPE, np.inf, np.float32))
    skipped(folder, 2, nan="NaN or infinite values", inf="NaN or infinite values")


@row("Another number of channels than most")
def other_channels(folder):
    np.save(folder / "two.npy", pixels(2))
    tifffile.imwrite(folder / "five.tif", pixels(5), photometric="minisblack", planarconfig="contig")
    skipped(folder, 2, two="has 2 channels, and 2 cannot become 1", five="has 5 channels")
    for path in folder.glob("good*"):
        path.unlink()
    for i in range(8):
        np.save(folder / f"many{i}.npy", pixels(5, seed=i))
    data, texts = warned(load, folder)
    assert data.image_shape == (*SHAPE, 5) and "two.npy" in texts[0] and len(texts) == 1


@row("TIFF with a compression that needs `imagecodecs`; RAW; HEIC without `pillow-heif`")
def other_packages(folder):
    tifffile.imwrite(folder / "codec.tif", pixels(5), photometric="minisblack", planarconfig="contig")
    data = bytearray((folder / "codec.tif").read_bytes())
    with tifffile.TiffFile(folder / "codec.tif") as file:
        place = file.pages[0].tags["Compression"].valueoffset
    data[place : place + 2] = struct.pack("<H", 34925)  # LZMA2 is there, 34926 (zstd) may be
    data[place : place + 2] = struct.pack("<H", 33003)  # JPEG 2000
    (folder / "codec.tif").write_bytes(data)
    Image.fromarray(pixels()).save(folder / "camera.nef", format="TIFF")
    (folder / "phone.heic").write_bytes(struct.pack(">I", 24) + b"ftypheic\0\0\0\0mif1heic" + bytes(40))
    skipped(folder, 3, codec="pip install imagecodecs", camera="RAW", phone="pillow-heif")


@row("Arrays of another shape; files of other kinds")
def ignored(folder):
    np.save(folder / "labels.npy", np.arange(9))
    np.save(folder / "all.npy", pixels(3, 3))
    np.save(folder / "names.npy", np.array([["a", "b"]]))
    (folder / "notes.txt").write_text("text")
    for i in range(4):
        Image.fromarray(pixels(seed=i)).save(folder / f"{i}.png")
    data, texts = warned(load, folder)
    assert not texts and data.notes[-1] == "ignored: 4 files of other kinds (.npy, .txt)"
    with pytest.raises(
        InputError, match=r"labels.npy cannot be read: an array of int64 \(9,\), not \(h, w\)"
    ):
        load_pictures(folder / "labels.npy", (8, 8, 1))


@pytest.mark.parametrize("name", ROWS)
def test_row(name, tmp_path):
    ROWS[name](tmp_path)


def test_the_table_has_these_rows():
    section = DOCS.read_text(encoding="utf-8").split("## Which files are read")[1].split("\n## ")[0]
    cells = re.findall(r"^\| (.+?) \|", section, re.MULTILINE)
    assert [cell for cell in cells if cell != "File"] == list(ROWS)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_compressed_tiff_of_16_bit_colors_is_read_in_full(tmp_path, compression):
    """PIL decodes LZW, of which it keeps 8 bits at a time; tifffile does not."""
    values = pixels(3, bits=16)
    # PIL writes no 16-bit colors: a gray image of three times the width has the same bytes in its strip.
    Image.fromarray(values.reshape(SHAPE[0], -1)).save(tmp_path / "gray.tif", compression=compression)
    with tifffile.TiffFile(tmp_path / "gray.tif") as file:
        (offset,), (count,) = file.pages[0].dataoffsets, file.pages[0].databytecounts
        number = int(file.pages[0].compression)
    strip = (tmp_path / "gray.tif").read_bytes()[offset : offset + count]
    height, width = SHAPE
    tags = {
        256: width,
        257: height,
        258: 8,
        259: number,
        262: 2,
        273: 14,
        277: 3,
        278: height,
        279: len(strip),
    }
    entries = b"".join(
        struct.pack("<HHII", tag, 3 if tag == 258 else 4, 3 if tag == 258 else 1, value)
        for tag, value in tags.items()
    )
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    head = b"II*\0" + struct.pack("<I", 14 + len(strip)) + struct.pack("<HHH", 16, 16, 16)
    (tmp_path / "a.tif").write_bytes(head + strip + directory)
    check(tmp_path / "a.tif", values / 65535)


@pytest.mark.core_on("tensorflow")
def test_16_bit_colors_of_another_png_library(tmp_path):
    import tensorflow as tf

    for channels, kind in ((3, 2), (4, 6), (1, 0)):
        values = pixels(channels, bits=16)
        own = png(tmp_path / "own.png", values, kind)
        np.testing.assert_array_equal(tf.io.decode_png(own.read_bytes(), dtype=tf.uint16), values)
        (tmp_path / "tf.png").write_bytes(tf.io.encode_png(values).numpy())
        for path in (own, tmp_path / "tf.png"):
            check(path, values / 65535, channels=channels)


def test_headers_tell_what_decoding_finds(tmp_path):
    """The quick look at PNG and JPEG against PIL's."""
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK"):
        image = Image.fromarray(pixels(4)).convert("RGB").convert("L" if mode == "I;16" else mode)
        if mode == "I;16":
            image = Image.fromarray(pixels(bits=16))
        for ending in ("png", "jpg"):
            if (mode == "CMYK") == (ending == "png") or (
                ending == "jpg" and mode not in ("L", "RGB", "CMYK")
            ):
                continue
            path = tmp_path / f"{mode.replace(';', '')}.{ending}"
            image.save(path)
            header, found = look(path), decode(path)
            assert header.size == SHAPE
            assert header.channels + header.alpha == found.values.shape[-1] and header.alpha == found.alpha
            assert header.plain == found.plain and header.bits == 8 * found.values.dtype.itemsize
            for progressive in (True, False):
                if ending == "jpg":
                    image.save(path, progressive=progressive, comment=b"x" * 5000)
                    assert look(path) == header
