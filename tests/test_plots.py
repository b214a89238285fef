"""Pictures: what stands where, read back with PIL."""

import numpy as np
import pytest
from PIL import Image

from keras_vaegan import InputError, plots

pytestmark = [pytest.mark.core_on("one"), pytest.mark.draws]


def test_a_grid_has_each_image_in_its_place():
    images = np.random.default_rng(0).random((5, 3, 4, 1), dtype="float32")
    sheet = plots.grid(images, columns=2)
    assert sheet.shape == (3 * 5 + 2, 2 * 6 + 2, 1)
    np.testing.assert_array_equal(sheet[2:5, 2:6], images[0])
    np.testing.assert_array_equal(sheet[2:5, 8:12], images[1])
    np.testing.assert_array_equal(sheet[12:15, 2:6], images[4])
    assert np.all(sheet[12:15, 8:12] == 1.0)


def test_a_column_is_of_one_class_and_the_grid_about_square():
    assert [plots.class_columns(classes, 64) for classes in (2, 3, 10)] == [8, 9, 10]
    assert [plots.class_columns(classes) for classes in (None, 1, 2, 10, 1000)] == [None, None, 2, 10, None]


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (2, "RGB"), (3, "RGB"), (4, "RGBA")])
def test_channels_become_colours(tmp_path, channels, mode):
    image = np.random.default_rng(0).random((60, 70, channels))
    plots.save_grid(image[None], tmp_path / "grid.png")
    picture = Image.open(tmp_path / "grid.png")
    assert (picture.mode, picture.size) == (mode, (74, 64))
    pixels = np.asarray(picture).reshape(64, 74, -1)[2:62, 2:72, :channels]
    np.testing.assert_allclose(pixels / 255.0, image, atol=0.5 / 255 + 1e-9)


def test_reconstructions_stand_below_their_images(tmp_path):
    images, others = np.full((3, 60, 60, 1), 0.2), np.full((3, 60, 60, 1), 0.8)
    plots.save_reconstructions(images, others, tmp_path / "r.png", columns=2)
    pixels = np.asarray(Image.open(tmp_path / "r.png"))
    assert [int(pixels[top + 30, 30]) for top in (2, 64, 126, 188)] == [51, 204, 51, 204]
    assert int(pixels[126 + 30, 62 + 30]) == 255  # nothing beside the third


@pytest.mark.parametrize("latent_dim", [1, 2, 5])
def test_the_latent_plane_is_that_of_the_principal_axes(tmp_path, latent_dim):
    codes = np.random.default_rng(0).standard_normal((200, latent_dim)).astype("float32")
    codes[:, 0] *= 3.0
    origin, axes = plots.latent_plane(codes)
    if latent_dim > 2:
        values, vectors = np.linalg.eigh(np.cov(codes.T))
        np.testing.assert_allclose(np.abs(axes @ vectors[:, ::-1][:, :2]), np.eye(2), atol=1e-3)
        np.testing.assert_allclose(axes @ axes.T, np.eye(2), atol=1e-5)

    seen = []

    def decode(z):
        seen.append(z)
        return np.clip(np.tile(z[:, :1, None, None], (1, 4, 4, 1)), 0, 1)

    plots.save_latent_grid(decode, codes, tmp_path / "grid.png", steps=5)
    (points,) = seen
    assert points.shape == (25, latent_dim)
    np.testing.assert_allclose(points.mean(axis=0), origin, atol=1e-5)
    plots.save_latent_means(codes, tmp_path / "means.png", labels=np.arange(200) % 3, class_names=list("abc"))
    plots.save_latent_means(codes, tmp_path / "plain.png")
    with Image.open(tmp_path / "means.png") as means:
        assert means.width > 300


def test_curves_are_drawn_with_their_validation(tmp_path):
    history = {"epoch": [1, 2], "loss": [3.0, 2.0], "val_loss": [3.5, 2.5], "kl": [1.0, 2.0]}
    plots.save_curves(history, tmp_path / "curves.png")
    assert np.asarray(Image.open(tmp_path / "curves.png").convert("L")).std() > 5


def test_no_images_are_refused():
    with pytest.raises(InputError, match="images must be"):
        plots.grid(np.zeros((0, 4, 4, 1)))


def test_an_animation_shows_every_canvas_and_the_box_of_its_glimpse(tmp_path):
    canvases = np.zeros((2, 3, 60, 60, 1), "float32")
    canvases[:, 1:] = 0.5
    canvases[:, 2, 0, 0] = 1.0  # equal frames would be written as one
    centres, sizes = np.full((2, 3, 2), 29.5, "float32"), np.full((2, 3), 20.0, "float32")
    centres[1, :, 0] = -100.0  # outside of the image
    plots.save_animation(canvases, centres, sizes, tmp_path / "a.gif", columns=2)
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == 4 and gif.info["loop"] == 0
        frames, durations = [], []
        for t in range(4):
            gif.seek(t)
            frames.append(np.asarray(gif.convert("RGB")).astype(int))
            durations.append(gif.info["duration"])
    assert durations == [120, 120, 120, 1500]
    for t, frame in enumerate(frames):
        assert frame.shape == (64, 126, 3)
        level = 0 if t == 0 else 127
        assert np.all(np.abs(frame[2 + 30, 2 + 30] - level) <= 3)  # within the box
        red = (frame[..., 0] > 150) & (frame[..., 1] < 120)
        assert red.any() == (t < 3)
        if t < 3:  # the square about the middle of the first image, nothing inside of it
            rows, columns = np.nonzero(red[:, :62])
            assert (rows.min(), rows.max(), columns.min(), columns.max()) == (22, 41, 22, 41)
            assert not red[24:40, 24:40].any()
