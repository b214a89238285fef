"""How an image gets the size, channels, background and range that a model takes."""

import itertools
import json
import warnings

import numpy as np
import pytest
from PIL import Image, ImageOps

from keras_vaegan.data import load, load_pictures
from keras_vaegan.data.pictures import read_image
from keras_vaegan.data.preprocessing import Preprocessing, parse_background, probe
from keras_vaegan.errors import InputError

pytestmark = pytest.mark.core_on("one")

LUMA = (0.299, 0.587, 0.114)


def noise(*shape, seed=0, top=256, dtype=np.uint8):
    return np.random.default_rng(seed).integers(0, top, shape).astype(dtype)


def refused(function, *args, **kwargs):
    """The text of the InputError that a call raises; it must be one line."""
    with pytest.raises(InputError) as caught:
        function(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Settings


def test_settings_survive_json():
    settings = {
        "image_size": (6, 8),
        "channels": 3,
        "resize": "pad",
        "background": "#0a141e",
        "value_range": (-1.5, 3),
        "crop": (4, 4),
        "deep": True,
    }
    one = Preprocessing(**settings)
    assert one.background == (10, 20, 30) and one.image_shape == (4, 4, 3)
    again = Preprocessing.from_config(json.loads(json.dumps(one.get_config())))
    assert again == one and hash(again) == hash(one)
    assert Preprocessing.from_config({}) == Preprocessing()
    assert Preprocessing(8, 1).image_shape == (8, 8, 1)
    assert Preprocessing(8).image_shape is Preprocessing(channels=3).image_shape is None


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"image_size": 0}, ["image_size", "0"]),
        ({"crop": "8"}, ["crop", "'8'"]),
        (
            {"image_size": 8, "crop": (9, 4)},
            ["crop must be at most the image_size, 8x8", "9x4", "--image-size"],
        ),
        ({"channels": 17}, ["channels", "1 to 16", "17"]),
        ({"channels": True}, ["channels", "True"]),
        ({"resize": "squeeze"}, ["resize must be one of crop, pad, stretch", "squeeze"]),
        ({"background": "#fff"}, ["background", "#rrggbb", "#fff"]),
        ({"value_range": (1, 1)}, ["value_range", "(1, 1)"]),
        ({"value_range": (0, np.inf)}, ["value_range", "inf"]),
        ({"deep": 1}, ["deep", "True or False"]),
    ],
)
def test_other_settings_are_refused(settings, words):
    for make in (lambda given: Preprocessing(**given), Preprocessing.from_config):
        message = refused(make, settings)
        assert all(word in message for word in words), message


def test_unknown_settings_are_refused():
    assert "'size'" in refused(Preprocessing.from_config, {"size": 8})
    assert "dictionary" in refused(Preprocessing.from_config, [1])


def test_backgrounds_have_many_forms():
    assert parse_background("White") == (255, 255, 255) and parse_background(" black") == (0, 0, 0)
    assert parse_background("grey") == parse_background("gray") == (128, 128, 128)
    for form in (
        "#0AfF01",
        "10,255,1",
        "10, 255, 1",
        (10, 255, 1),
        [10, 255, 1],
        np.array([10, 255, 1]).tolist(),
    ):
        assert parse_background(form) == (10, 255, 1)
    for wrong in ("", "red", "#12345", "#12345g", "1,2", "1,2,256", (1, 2), (1, 2, 3.0), (1, 2, -1), 5, None):
        assert "background must be" in refused(parse_background, wrong)


# Sizes


@pytest.mark.parametrize("size", [(6, 6), (4, 10), (10, 4), (30, 20)])
@pytest.mark.parametrize("shape", [(12, 20), (20, 12), (7, 7), (1, 1), (1, 9)])
def test_crop_is_the_fit_of_pil(size, shape):
    image = noise(*shape, 3)
    expected = ImageOps.fit(Image.fromarray(image), size[::-1], Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(Preprocessing(size, 3)(image), np.asarray(expected))


@pytest.mark.parametrize("size", [(6, 6), (4, 10), (30, 20)])
@pytest.mark.parametrize("shape", [(12, 20), (20, 12), (1, 1)])
def test_stretch_and_pad_are_those_of_pil(size, shape):
    image = noise(*shape, 3)
    whole = Image.fromarray(image).resize(size[::-1], Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(Preprocessing(size, 3, "stretch")(image), np.asarray(whole))
    made = Preprocessing(size, 3, "pad", (10, 20, 30))(image)
    inside = (made != np.array([10, 20, 30])).any(axis=-1)
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    found = made[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = found.shape[:2]
    # The whole image, as large as it can be, in the middle.
    assert height == size[0] or width == size[1]
    assert abs(height * shape[1] - width * shape[0]) <= max(shape)
    assert abs(rows[0] - (size[0] - 1 - rows[-1])) <= 1 and abs(columns[0] - (size[1] - 1 - columns[-1])) <= 1
    expected = Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(found, np.asarray(expected))


def test_bands_show_what_each_resize_does():
    bands = np.zeros((12, 36, 3), np.uint8)  # thirds of red, green and blue
    for k in range(3):
        bands[:, 12 * k : 12 * (k + 1), k] = 255
    crop, pad, stretch = (Preprocessing(36, 3, resize)(bands) for resize in ("crop", "pad", "stretch"))
    assert (crop[:, 6:-6] == [0, 255, 0]).all()
    np.testing.assert_array_equal(pad[12:24], bands)
    assert (pad[:12] == 255).all() and (pad[24:] == 255).all()
    for k, row in itertools.product(range(3), (0, 35)):
        assert (stretch[row, 12 * k + 3 : 12 * k + 9] == 255 * np.eye(3)[k]).all()


def test_the_border_of_other_channels_is_the_grey_of_the_background():
    for channels in (1, 5):
        made = Preprocessing((4, 2), channels, "pad", "#ff0000")(np.zeros((2, 2, channels), np.uint8))
        assert (made[[0, 3]] == round(255 * LUMA[0])).all() and not made[1:3].any()


def test_crop_leaves_the_center():
    image = noise(9, 12, 2)
    np.testing.assert_array_equal(Preprocessing(crop=(3, 4))(image), image[3:6, 4:8])
    resized = Preprocessing(12, 2, "stretch")(image)
    np.testing.assert_array_equal(Preprocessing(12, 2, "stretch", crop=(5, 12))(image), resized[3:8])
    assert "fewer than the crop" in refused(Preprocessing(crop=10), image)


# Values


def test_values_of_each_type():
    unit = np.linspace(0, 1, 64).reshape(8, 8, 1)
    cases = [
        ((unit * 255).round().astype(np.uint8), None, 255),
        ((unit * 65535).round().astype(np.uint16), None, 65535),
        ((unit * 4095).round().astype(np.uint16), (0, 4095), 4095),
        ((unit * 4095 - 1024).round().astype(np.int32), (-1024, 3071), 4095),
        ((unit * 4e9).round().astype(np.uint32), (0, 4_000_000_000), 1e8),
        (unit.astype(np.float32), None, 1e7),
        (unit * 20 - 3.5, (-3.5, 16.5), 1e7),
        ((unit * 20 - 3.5).astype(np.float16), (-3.5, 16.5), 500),
        ((unit * 12).round().astype(np.uint8), (0, 12), 12),
    ]
    for values, value_range, steps in cases:
        deep = Preprocessing(value_range=value_range, deep=True)(values)
        assert deep.dtype == np.float32 and deep.shape == (8, 8, 1)
        np.testing.assert_allclose(deep, unit, atol=0.5 / steps + 1e-6)
        flat = Preprocessing(value_range=value_range)(values)
        assert flat.dtype == np.uint8
        np.testing.assert_allclose(flat / 255, deep, atol=0.5 / 255 + 1e-6)
    bits = unit[..., 0] > 0.5
    np.testing.assert_array_equal(Preprocessing()(bits), 255 * bits[..., None])


def test_8_bits_take_a_range_that_can_be_meant_for_them():
    image = noise(4, 4, 1, top=13)
    for other in ((0, 4095), (-3.5, 12.5), None):
        np.testing.assert_array_equal(Preprocessing(value_range=other)(image), image)
    np.testing.assert_allclose(
        Preprocessing(value_range=(0.0, 12.0), deep=True)(image), image / 12, rtol=1e-6
    )


def test_values_outside_of_the_range():
    assert "value_range, (0, 100)" in refused(
        Preprocessing(value_range=(0, 100)), np.full((2, 2), 101, np.uint16)
    )
    assert "without a known range" in refused(Preprocessing(), np.zeros((2, 2), np.int64))
    assert "-1 to 2, outside of [0, 1]" in refused(Preprocessing(), np.array([[-1.0, 2.0]]))
    assert "NaN" in refused(Preprocessing(), np.array([[0, np.nan]]))
    assert "NaN" in refused(Preprocessing(value_range=(0, 5)), np.array([[0, np.inf]]))
    with pytest.warns(UserWarning, match="outside of value_range, .*clipped"):
        made = Preprocessing(value_range=(0, 2.5), deep=True)(np.array([[-1, 1.25, 9]]))
    np.testing.assert_array_equal(made[0, :, 0], [0, 0.5, 1])
    for wrong in (np.zeros(4), np.zeros((2, 2, 17)), np.zeros((0, 2)), np.full((2, 2), "a")):
        assert "image must be" in refused(Preprocessing(), wrong)


# Channels and alpha


def test_channels_change_between_grey_and_color_alone():
    colour, grey = noise(4, 4, 3), noise(4, 4, 1)
    np.testing.assert_allclose(Preprocessing(channels=1)(colour)[..., 0], colour @ LUMA, atol=0.5)
    np.testing.assert_array_equal(Preprocessing(channels=3)(grey), grey.repeat(3, axis=-1))
    for channels in range(1, 17):
        image = noise(4, 4, channels)
        np.testing.assert_array_equal(Preprocessing(channels=channels)(image), image)
    assert "has 5 channels, and 5 cannot become 3" in refused(Preprocessing(channels=3), noise(4, 4, 5))


@pytest.mark.parametrize("deep", [False, True])
def test_alpha_is_laid_on_the_background(deep):
    image = noise(5, 4, 4)
    share = image[..., 3:] / 255
    full = 1 if deep else 255
    for background in ((255, 255, 255), (10, 20, 30)):
        expected = image[..., :3] * share + np.array(background) * (1 - share)
        made = Preprocessing(channels=3, background=background, deep=deep)(image)
        np.testing.assert_allclose(made * 255.0 / full, expected, atol=1e-3 if deep else 0.501)
    over = Image.new("RGBA", (4, 5), "white")
    over.alpha_composite(Image.fromarray(image))
    made = Preprocessing(channels=3)(image).astype(int)
    assert np.abs(made - np.asarray(over.convert("RGB"))).max() <= 1


def test_alpha_is_kept_as_the_fourth_channel_and_hidden_colors_do_not_bleed(tmp_path):
    image = np.zeros((8, 8, 4), np.uint8)
    image[:, :4] = [200, 100, 50, 255]
    image[:, 4:] = [0, 255, 0, 0]  # a green that nobody sees
    save(tmp_path / "a.png", image)
    for form, name in (((8, 8, 3), "opaque"), ((8, 8), "grey")):
        save(tmp_path / f"{name}.png", noise(*form))

    def keep(name, *settings):
        return read_image(tmp_path / f"{name}.png", Preprocessing(*settings))

    np.testing.assert_array_equal(keep("a", None, 4), image)
    small = keep("a", 4, 4)
    visible = small[..., 3] > 0
    assert visible.any() and not visible.all()
    # Bicubic overshoots by a few levels at the edge; a trace of the green would be more.
    assert np.abs(small[visible][:, :3].astype(int) - [200, 100, 50]).max() <= 4
    expected = np.asarray(Image.fromarray(image).resize((4, 4), Image.Resampling.BICUBIC))
    np.testing.assert_allclose(small[..., 3], expected[..., 3], atol=1)
    wide = keep("a", (4, 8), 4, "pad")
    assert not wide[:, [0, 1, 6, 7], 3].any() and wide[:, 2:4, 3].all()
    full = np.full((8, 8), 255)
    np.testing.assert_array_equal(keep("opaque", None, 4), np.dstack([noise(8, 8, 3), full]))
    np.testing.assert_array_equal(keep("grey", None, 4), np.dstack([noise(8, 8)] * 3 + [full]))
    # Arrays do not say what their fourth channel is: it is a channel like the others.
    plain = Preprocessing(4, 4)(image)
    each = [Preprocessing(4, 1)(image[..., k]) for k in range(4)]
    np.testing.assert_array_equal(plain, np.concatenate(each, axis=-1))


# Loading


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def test_load_takes_and_gives_the_preprocessing(tmp_path):
    for i in range(6):
        save(tmp_path / "images" / f"{i}.png", noise(8, 16, 4, seed=i))
    data = load(tmp_path / "images", 8, resize="pad", background="10,20,30", dtype="uint8")
    wanted = Preprocessing((8, 8), 3, "pad", (10, 20, 30))
    assert data.preprocessing == wanted and data.image_shape == wanted.image_shape
    assert (data.train[0][:, 0] == [10, 20, 30]).all()
    expected = sorted(wanted(noise(8, 16, 4, seed=i)).tobytes() for i in range(6))
    assert sorted(image.tobytes() for x, _ in data for image in x) == expected
    x, _, _ = load_pictures(tmp_path / "images", data.preprocessing)
    assert sorted((image * 255).round().astype(np.uint8).tobytes() for image in x) == expected
    other, _, _ = load_pictures(tmp_path / "images", data.preprocessing, resize="stretch", background="white")
    assert not np.allclose(other, x)
    again, _, _ = load_pictures(tmp_path / "images", (8, 8, 3), resize="pad", background=(10, 20, 30))
    np.testing.assert_array_equal(again, x)
    assert "image_size and channels" in refused(load_pictures, tmp_path / "images", Preprocessing(8))
    assert load(tmp_path / "images", channels=4).image_shape == (8, 16, 4)


def test_archives_and_digits_take_the_same_settings(tmp_path):
    images = noise(12, 4, 8, 4)
    np.savez(tmp_path / "a.npz", x=images)
    data = load(tmp_path / "a.npz", 8, channels=3, resize="pad", background="black", dtype="uint8")
    assert data.preprocessing == Preprocessing((8, 8), 3, "pad", (0, 0, 0))
    expected = sorted(data.preprocessing(image).tobytes() for image in images)
    assert sorted(image.tobytes() for x, _ in data for image in x) == expected
    cropped, _, _ = load_pictures(tmp_path / "a.npz", Preprocessing((4, 8), 4, crop=(2, 4)))
    np.testing.assert_allclose(cropped, images[:, 1:3, 2:6] / 255, rtol=1e-6)
    assert load(tmp_path / "a.npz").preprocessing == Preprocessing((4, 8), 4)
    assert load("digits").preprocessing == Preprocessing((28, 28), 1, deep=True)
    assert load("digits", (8, 16), resize="stretch").image_shape == (8, 16, 1)
    np.savez(tmp_path / "floats.npz", x=images / 100 - 0.5)
    data = load(tmp_path / "floats.npz", value_range=(-0.5, 3))
    assert data.preprocessing == Preprocessing((4, 8), 4, value_range=(-0.5, 3), deep=True)
    expected = np.sort((images / 350).ravel())
    found = np.sort(np.concatenate([x.ravel() for x, _ in data]))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_floats_have_their_range_measured_once(tmp_path):
    images = noise(8, 6, 6, top=1000) / 50 - 3.5
    for i, image in enumerate(images):
        (tmp_path / "data").mkdir(exist_ok=True)
        np.save(tmp_path / "data" / f"{i}.npy", image)
    low, high = images.min(), images.max()
    data = load(tmp_path / "data")
    assert data.preprocessing.value_range == pytest.approx((low, high)) and data.preprocessing.deep
    assert data.value_range is None  # which is one of integers
    assert any("measured" in note for note in data.notes)
    found = np.concatenate([x[..., 0] for x, _ in data])
    expected = (images - low) / (high - low)
    found, expected = (array[np.argsort(array[:, 0, 0])] for array in (found, expected))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    # A trained model keeps its range; without one, other floats are no images of it.
    np.save(tmp_path / "one.npy", np.full((6, 6), low + (high - low) / 4))
    x, _, _ = load_pictures(tmp_path / "one.npy", data.preprocessing)
    np.testing.assert_allclose(x, 0.25, atol=1e-6)
    assert "outside of [0, 1]" in refused(load_pictures, tmp_path / "one.npy", (6, 6, 1))
    given = load(tmp_path / "data", value_range=(-10, 30)).preprocessing
    assert given.value_range == (-10, 30)


def test_floats_in_the_unit_interval_need_no_range(tmp_path):
    for i in range(5):
        np.save(tmp_path / f"{i}.npy", (noise(4, 4, 2, seed=i) / 510 + 0.2).astype(np.float32))
    data = load(tmp_path)
    assert data.preprocessing == Preprocessing((4, 4), 2, deep=True)
    assert 0.2 <= min(x.min() for x, _ in data) and max(x.max() for x, _ in data) <= 0.7 + 1e-6


def test_probe_tells_what_there_is(tmp_path):
    for i, (size, pixels) in enumerate([((4, 6), 3), ((8, 8), 1), ((20, 10), 4)]):
        save(tmp_path / f"{i}.png", noise(*size, pixels)[..., 0] if pixels == 1 else noise(*size, pixels))
    (tmp_path / "bad.png").write_bytes(b"none")
    paths = sorted(tmp_path.iterdir())
    facts, made = probe(paths, Preprocessing())
    assert (facts.num_images, facts.channels, facts.bits, facts.alpha) == (3, 3, 8, 1)
    assert facts.sizes == [(4, 6), (8, 8), (20, 10)] and facts.common_size is None
    assert made == Preprocessing((64, 64), 3)
    assert facts.notes == [
        "sizes 4x6 to 20x10 (median 8x8) become 64x64 (crop)",
        "alpha of 1 image is laid on the background",
    ]
    assert probe(paths, Preprocessing(crop=(96, 32)))[1].image_size == (96, 64)
    facts, made = probe(paths[:1], Preprocessing(crop=2))
    assert facts.common_size == (4, 6) and made.image_shape == (2, 2, 3)
    facts, made = probe([], Preprocessing(8, 1))
    assert (
        facts.num_images == 0 and facts.notes == [] and facts.sizes == [] and made == Preprocessing((8, 8), 1)
    )


def test_few_pixels_are_decoded_to_learn_what_there_is(tmp_path, monkeypatch):
    from keras_vaegan.data import preprocessing

    for i in range(40):
        save(tmp_path / f"{i:02}.png", noise(4, 4, 3, seed=i))
    decoded = []
    decode = preprocessing.decode
    monkeypatch.setattr(preprocessing, "decode", lambda *a: decoded.append(a[0]) or decode(*a))
    assert probe(sorted(tmp_path.iterdir()), Preprocessing())[1].channels == 3
    assert len(decoded) <= 4
    decoded.clear()
    for i in range(40):  # colors that are grey: only a look at all of them tells
        save(tmp_path / f"{i:02}.png", noise(4, 4, 1, seed=i).repeat(3, axis=-1))
    assert probe(sorted(tmp_path.iterdir()), Preprocessing())[1].channels == 1
    assert len(decoded) == 40
    decoded.clear()
    assert probe(sorted(tmp_path.iterdir()), Preprocessing(channels=3))[1].channels == 3
    assert len(decoded) <= 4


def test_nothing_is_warned_of_in_ordinary_folders(tmp_path):
    for i in range(4):
        save(tmp_path / f"{i}.png", noise(4, 4, 3, seed=i))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(tmp_path)
