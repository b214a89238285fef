"""Models of images of any size: latent codes that are maps, tiles, statistics, and no samples."""

from fractions import Fraction

import keras
import numpy as np
import pytest
import registry
from test_training_runs import Quiet

import keras_vaegan as kvg
from keras_vaegan import InputError, data, evaluation, training
from keras_vaegan.callbacks import SampleGrids
from keras_vaegan.networks import PadToMultiple, patch, resnet
from keras_vaegan.tiling import in_tiles, tile_and_overlap

SHAPE = (10, 13, 1)  # no multiple of the factor
Z = 2


def spatial(shape=SHAPE, **arguments):
    style = {"factor": 4, "filters": 4, "blocks": 1, "normalization": "none"}
    networks = [build(shape, Z, **style) for build in (resnet.encoder, resnet.decoder)]
    judge = patch.discriminator((None, None, shape[-1]), filters=(4,), kernel_size=2)
    return kvg.VAEGAN(*networks, judge, fakes_from="none", seed=0, **arguments)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return spatial()


def images(count, *shape, seed=0):
    return np.random.default_rng(seed).random((count, *shape), dtype="float32")


# ---- tiles ----


@pytest.mark.core_on("one")
@pytest.mark.parametrize("sides", [(8, 8), (4, 24), (24, 40), (60, 24)], ids=str)
def test_tiles_of_what_looks_at_no_neighbor_are_the_whole(sides):
    tile, overlap = tile_and_overlap(16, 4)
    assert (tile, overlap) == (16, 4)
    x = images(2, *sides, 3)

    def halves(x):  # means of 4x4 pixels, and their squares
        small = x.reshape(len(x), x.shape[1] // 4, 4, x.shape[2] // 4, 4, 3).mean(axis=(2, 4))
        return np.concatenate([small, small**2], axis=-1)

    def doubled(x):
        return np.repeat(np.repeat(x, 2, axis=1), 2, axis=2) ** 2

    np.testing.assert_allclose(in_tiles(halves, x, tile, overlap, Fraction(1, 4)), halves(x), atol=1e-6)
    np.testing.assert_allclose(in_tiles(doubled, x, tile, overlap, Fraction(2)), doubled(x), atol=1e-6)


@pytest.mark.core_on("one")
def test_tiles_that_differ_are_blended_without_a_step():
    """Two tiles of constants: between them the values go up over the overlap, as half a wave of a cosine."""
    calls = iter([0.0, 1.0])
    blended = in_tiles(lambda x: np.full_like(x, next(calls)), np.zeros((1, 12, 20, 1)), 12, 4, Fraction(1))
    row = blended[0, 0, :, 0]
    rising = 0.5 - 0.5 * np.cos(np.pi * np.array([0.125, 0.375, 0.625, 0.875]))
    np.testing.assert_allclose(row, [0.0] * 8 + [*rising] + [1.0] * 8, atol=1e-6)
    assert np.all(blended == blended[:, :1])


@pytest.mark.parametrize("tile", [0, 6, 8, 30, "16"])
def test_tiles_of_no_use_are_refused(model, tile):
    with pytest.raises(InputError, match="tile must be"):
        model.encode(images(1, 40, 40, 1), tile=tile)
    with pytest.raises(InputError, match="tile must be None: the networks of this VAE take"):
        registry.vae().encode(registry.images(), tile=16)


def test_images_larger_than_those_of_the_training_go_through(model):
    assert model.any_size and model.factor == 4 and model.image_shape == SHAPE
    assert model.code_shape == (3, 4, Z) and model.encode(images(2, *SHAPE)).shape == (2, 3, 4, Z)
    assert model.decode(images(2, 3, 4, Z)).shape == (2, *SHAPE)  # without what was padded
    x = images(2, 33, 46, 1)
    codes = model.encode(x)
    assert codes.shape == (2, 9, 12, Z)
    assert model.decode(codes).shape == (2, 36, 48, 1)
    whole = model.reconstruct(x)
    assert whole.shape == x.shape
    np.testing.assert_allclose(model.predict(x, verbose=0), whole, atol=1e-5)
    np.testing.assert_array_equal(model.reconstruct(x, tile=64), whole)  # in one tile
    # Images whose codes are as large as those of the training, but which are not: nothing of them is lost.
    x = images(2, 12, 16, 1)
    assert model.encode(x).shape == (2, 3, 4, Z)
    whole = model.reconstruct(x)
    assert whole.shape == x.shape
    np.testing.assert_allclose(model.predict(x, verbose=0), whole, atol=1e-5)
    np.testing.assert_allclose(model.reconstruct(x, tile=64), whole, atol=1e-5)
    # By now TensorFlow has traced the decoder for open sides.
    np.testing.assert_allclose(model.decode(model.encode(x)), whole[:, :10, :13], atol=1e-5)
    # In several: alike far from their edges, where none of the convolutions sees them.
    x = images(1, 64, 128, 1, seed=1)
    whole, tiled = model.encode(x), model.encode(x, tile=64)
    assert tiled.shape == whole.shape
    np.testing.assert_allclose(tiled[:, :, :6], whole[:, :, :6], atol=1e-5)
    np.testing.assert_allclose(tiled[:, :, -4:], whole[:, :, -4:], atol=1e-5)
    assert not np.allclose(tiled, whole, atol=1e-7)
    assert np.abs(tiled - whole).max() < np.abs(whole - whole.mean()).max()


@pytest.mark.core_on("one")
def test_images_of_other_channels_or_axes_are_refused(model):
    for x in (images(2, 20, 20, 3), images(2, 20, 20)):
        with pytest.raises(InputError, match="x must"):
            model.encode(x)
    with pytest.raises(InputError, match=r"z must be codes of shape \(B, any, any, 2\)"):
        model.decode(images(1, 3, 4, 5))
    model.compile()
    with pytest.raises(InputError, match="x must hold images of the shape"):
        model.fit(images(4, 20, 20, 1), verbose=0)


@pytest.mark.core_on("one")
def test_a_network_of_any_size_must_say_which_size_is_trained():
    encoder = resnet.encoder((None, None, 1), Z, factor=2, filters=4, blocks=1)
    decoder = resnet.decoder((None, None, 1), Z, factor=2, filters=4, blocks=1)
    with pytest.raises(InputError, match="encoder must say which size"):
        kvg.VAE(encoder, decoder)
    x = keras.Input((None, None, 1))
    y = keras.layers.Conv2D(2 * Z, 2, strides=2)(PadToMultiple(2, image_size=(6, 8))(x))
    own = keras.Model(x, {"mean": y[..., :Z], "log_variance": y[..., Z:]}, name="encoder")
    model = kvg.VAE(own, decoder)
    assert model.image_shape == (6, 8, 1) and model.code_shape == (3, 4, Z)


@pytest.mark.core_on("one")
@pytest.mark.parametrize("shape", [SHAPE, (16, 16, 1)], ids=str)
def test_encoder_and_decoder_must_have_the_same_factor(shape):
    style = {"filters": 4, "blocks": 1}
    encoder, decoder = (
        resnet.encoder(shape, Z, factor=4, **style),
        resnet.decoder(shape, Z, factor=8, **style),
    )
    with pytest.raises(InputError, match="encoder and decoder must agree on the image"):
        kvg.VAE(encoder, decoder)


# ---- statistics of codes ----


def test_codes_are_scaled_by_what_was_measured(tmp_path):
    keras.utils.set_random_seed(1)
    model = spatial()
    x = images(12, *SHAPE)
    with pytest.raises(InputError, match="scaled must be False before measure_codes"):
        model.encode(x, scaled=True)
    model.measure_codes(x, seed=3)
    drawn = model.encode(x, sample=True, seed=3)
    scaled = model.encode(x, sample=True, seed=3, scaled=True)
    expected = (drawn - drawn.mean(axis=(0, 1, 2))) / drawn.std(axis=(0, 1, 2))
    np.testing.assert_allclose(scaled, expected, atol=1e-5)
    np.testing.assert_allclose(model.decode(scaled, scaled=True), model.decode(drawn), atol=1e-5)
    model.compile()
    model.save(tmp_path / "model.keras")
    model.save_to_preset(tmp_path / "preset")
    for again in (
        keras.saving.load_model(tmp_path / "model.keras"),
        kvg.VAEGAN.from_preset(tmp_path / "preset"),
    ):
        assert again.image_shape == SHAPE and again.factor == 4
        np.testing.assert_allclose(again.encode(x, sample=True, seed=3, scaled=True), expected, atol=1e-5)
    with pytest.raises(InputError, match="scaled must be False: this VAE has no spatial codes"):
        registry.vae().encode(registry.images(), scaled=True)


# ---- autoencoders, whose codes follow no prior ----


def test_an_autoencoder_draws_no_samples(tmp_path):
    model = spatial(beta=1e-6)
    with pytest.raises(InputError, match="beta must be at least 0.001 for samples.*1e-06"):
        model.generate(4)
    assert "generate" not in model.functions() and list(model.functions()) == [
        "encode",
        "decode",
        "reconstruct",
    ]
    assert spatial(beta=0.01).generate(2).shape == (2, *SHAPE)
    x = images(40, *SHAPE)
    splits = {"train": (x[:20], None), "validation": (x[20:30], None), "test": (x[30:], None)}
    whole = data.ImageData(**splits, name="mine")
    scores = evaluation.score(model, whole, num_images=10)
    names = {one["name"] for one in scores["scores"]}
    assert "peak_signal_to_noise_ratio" in names and "frechet_distance" not in names
    model.compile()
    model.fit(x, epochs=1, callbacks=[SampleGrids(tmp_path, num_images=8, images=x)], verbose=0)
    assert (tmp_path / "epoch_0001.png").is_file()


@pytest.mark.core_on("one")
def test_a_run_of_an_autoencoder_shows_reconstructions(tmp_path):
    recipe = kvg.presets.recipe_for("vae_gan", "digits")
    recipe["networks"] = {
        "family": "resnet",
        "latent_dim": 2,
        "encoder": {"factor": 4, "filters": 4, "blocks": 1},
        "decoder": {"factor": 4, "filters": 4, "blocks": 1},
        "discriminator": {"family": "patch", "filters": [4]},
    }
    model = {"key": "vae_gan", "beta": 1e-6, "fakes_from": "none", "reconstruction": {"l1": 1.0}}
    model["game"] = {"class": "hinge", "adaptive": True, "weight": 0.5, "start": 1}
    recipe["model"] = model
    recipe["training"] = {"dataset": "digits", "batch_size": 256, "epochs": 1}
    told = Quiet()
    result = training.run(recipe, folder=tmp_path / "run", console=told, verbose=0)
    assert result.finished
    made = {path.name for path in (tmp_path / "run").iterdir()}
    assert "reconstructions.png" in made and "samples.png" not in made
    assert any("look at" in line and "reconstructions.png" in line for line, _ in told.lines)
    trained = result.model
    x = data.load("digits").test[0][:50]
    codes = trained.encode(x, scaled=True)
    assert codes.shape == (50, 7, 7, 2) and np.all(np.abs(codes.mean(axis=(0, 1, 2))) < 1.0)
