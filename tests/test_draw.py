"""DRAW's filterbanks, reading and writing, against the paper's equations in NumPy."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_vaegan import InputError
from keras_vaegan.networks import draw

HEIGHT, WIDTH, N = 7, 10, 4


def parameters(count=5, seed=0, scale=0.4):
    return (scale * np.random.default_rng(seed).standard_normal((count, 5))).astype("float32")


def banks(values, size_of_glimpse=N, height=HEIGHT, width=WIDTH):
    """F_X, F_Y, gamma, g_X, g_Y, delta, by the paper's equations 19 to 26, with pixels from 1."""
    a, b = width, height
    made = []
    for g_x, g_y, log_variance, log_stride, log_intensity in np.float64(values):
        g_x, g_y = (a + 1) / 2 * (g_x + 1), (b + 1) / 2 * (g_y + 1)
        delta = (max(a, b) - 1) / (size_of_glimpse - 1) * np.exp(log_stride)
        filters = []
        for g, size in ((g_x, a), (g_y, b)):
            bank = np.zeros((size_of_glimpse, size))
            for i in range(1, size_of_glimpse + 1):
                mean = g + (i - size_of_glimpse / 2 - 0.5) * delta
                for place in range(1, size + 1):
                    bank[i - 1, place - 1] = np.exp(-((place - mean) ** 2) / (2 * np.exp(log_variance)))
                bank[i - 1] /= bank[i - 1].sum()
            filters.append(bank)
        made.append((*filters, np.exp(log_intensity), g_x, g_y, delta))
    return made


def glimpse_of(values, size=N, height=HEIGHT, width=WIDTH):
    made = draw.filterbanks(ops.convert_to_tensor(values), size, height, width)
    return made, draw.Glimpse(*(ops.convert_to_numpy(part) for part in made))


def test_filterbanks_are_those_of_the_equations():
    values = parameters()
    _, found = glimpse_of(values)
    for i, (f_x, f_y, gamma, g_x, g_y, delta) in enumerate(banks(values)):
        np.testing.assert_allclose(found.columns[i], f_x, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(found.rows[i], f_y, rtol=1e-4, atol=1e-6)
        assert found.intensity[i] == pytest.approx(gamma, rel=1e-5)
        assert found.centre[i] == pytest.approx((g_y - 1, g_x - 1), rel=1e-5)
        assert found.size[i] == pytest.approx((N - 1) * delta, rel=1e-5)


def test_at_zero_the_filters_span_the_image_and_stand_about_its_middle():
    values = np.zeros((1, 5), "float32")
    values[0, 2] = -8.0  # narrow filters: one pixel each
    _, found = glimpse_of(values, 5, 9, 9)
    np.testing.assert_allclose(found.centre[0], (4.0, 4.0), atol=1e-5)
    assert found.size[0] == pytest.approx(8.0)
    np.testing.assert_array_equal(found.rows[0].argmax(axis=1), [0, 2, 4, 6, 8])
    np.testing.assert_allclose(found.rows[0].max(axis=1), 1.0, atol=1e-5)


@pytest.mark.parametrize("scale", [0.4, 5.0, 40.0])
def test_every_filter_sums_to_one_wherever_it_is(scale):
    values = parameters(50, seed=1, scale=scale)
    values[:, 2:] = np.clip(values[:, 2:], -20, 20)
    _, found = glimpse_of(values)
    for bank in (found.rows, found.columns):
        assert np.isfinite(bank).all() and np.all(bank >= 0)
        np.testing.assert_allclose(bank.sum(axis=2), 1.0, rtol=1e-5)


def test_reading_and_writing_are_the_equations():
    values, generator = parameters(seed=2), np.random.default_rng(3)
    images = generator.random((5, HEIGHT, WIDTH, 3)).astype("float32")
    patches = generator.standard_normal((5, N, N, 3)).astype("float32")
    made, _ = glimpse_of(values)
    seen, drawn = (
        ops.convert_to_numpy(function(ops.convert_to_tensor(array), made))
        for function, array in ((draw.look, images), (draw.draw, patches))
    )
    for i, (f_x, f_y, gamma, *_) in enumerate(banks(values)):
        for channel in range(3):
            expected = gamma * f_y @ np.float64(images[i, ..., channel]) @ f_x.T
            np.testing.assert_allclose(seen[i, ..., channel], expected, rtol=1e-4, atol=1e-5)
            expected = f_y.T @ np.float64(patches[i, ..., channel]) @ f_x / gamma
            np.testing.assert_allclose(drawn[i, ..., channel], expected, rtol=1e-4, atol=1e-5)


def test_writing_is_the_adjoint_of_reading_at_intensity_one():
    """<read(x), w> = <x, write(w)>."""
    values, generator = parameters(seed=4), np.random.default_rng(5)
    values[:, 4] = 0.0
    made, _ = glimpse_of(values)
    x = generator.standard_normal((5, HEIGHT, WIDTH, 2)).astype("float32")
    w = generator.standard_normal((5, N, N, 2)).astype("float32")
    seen = ops.convert_to_numpy(draw.look(ops.convert_to_tensor(x), made))
    drawn = ops.convert_to_numpy(draw.draw(ops.convert_to_tensor(w), made))
    np.testing.assert_allclose((seen * w).sum(axis=(1, 2, 3)), (x * drawn).sum(axis=(1, 2, 3)), rtol=1e-4)


# ---- layers ----


def weights_of(layer):
    return {
        "/".join(variable.path.split("/")[-2:]): np.float64(ops.convert_to_numpy(variable))
        for variable in layer.weights
    }


@pytest.mark.parametrize("glimpse", [None, N])
def test_layers_read_and_write_by_the_decoders_state(glimpse):
    shape, generator = (HEIGHT, WIDTH, 2), np.random.default_rng(6)
    images, errors = (generator.random((3, *shape)).astype("float32") for _ in range(2))
    h = (0.2 * generator.standard_normal((3, 6))).astype("float32")  # glimpses near the image
    read, write = draw.Read(shape, glimpse), draw.Write(shape, glimpse)
    seen = ops.convert_to_numpy(read(images, errors, h))
    drawn = ops.convert_to_numpy(write(h))
    assert seen.shape == (3, read.size) and drawn.shape == (3, *shape)

    both = np.concatenate([images, errors], axis=-1)
    kernels = weights_of(write)
    patch = h @ kernels["patch/kernel"] + kernels["patch/bias"]
    if glimpse is None:
        np.testing.assert_allclose(seen, both.reshape(3, -1), rtol=1e-6)
        np.testing.assert_allclose(drawn, patch.reshape(3, *shape), rtol=1e-4, atol=1e-5)
        assert not read.weights
        return
    of_read = weights_of(read)
    for layer, result in ((of_read, seen), (kernels, drawn)):
        made = banks(h @ layer["attention/kernel"] + layer["attention/bias"])
        for i, (f_x, f_y, gamma, *_) in enumerate(made):
            if result is seen:
                expected = gamma * np.einsum("nh,hwc,mw->nmc", f_y, both[i], f_x)
            else:
                expected = np.einsum("nh,nmc,mw->hwc", f_y, patch[i].reshape(N, N, 2), f_x) / gamma
            np.testing.assert_allclose(result[i].reshape(expected.shape), expected, rtol=1e-3, atol=1e-5)


def test_layers_come_back_from_their_configuration():
    for layer in (draw.Read((5, 6, 3), 4), draw.Write((5, 6, 3)), draw.Write((5, 6, 3), 2)):
        config = keras.saving.serialize_keras_object(layer)
        assert keras.saving.deserialize_keras_object(config).get_config() == layer.get_config()


@pytest.mark.parametrize(
    "glimpse, said", [(1, "at least 2"), (8, "at most the shorter side of the image, 7"), (2.5, "2.5")]
)
def test_glimpses_that_cannot_be_are_refused(glimpse, said):
    with pytest.raises(InputError, match=f"glimpse must.*{said}"):
        draw.Read((HEIGHT, WIDTH, 1), glimpse)
    with pytest.raises(InputError, match="no attention"):
        draw.Write((HEIGHT, WIDTH, 1)).glimpse_at(ops.zeros((1, 3)))
