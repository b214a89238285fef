"""The verbs on arrays: generate, encode, decode, reconstruct, interpolate."""

import keras
import numpy as np
import pytest
import reference
import registry
from registry import EVERY_MODEL, LATENT_DIM, MODELS

import keras_vaegan as kvg


@pytest.fixture(scope="module", params=EVERY_MODEL)
def model(request):
    """Each registered model, untrained."""
    return registry.set_weights(MODELS[request.param]())


@pytest.fixture(scope="module")
def vae():
    return registry.set_weights(registry.vae())


CLOSE = {"rtol": 1e-5, "atol": 1e-6}
X = registry.images(6)


# ---- generate ----


def test_an_image_depends_on_the_seed_and_its_index_alone(model):
    five, many = model.generate(5, seed=7), model.generate(300, seed=7)
    np.testing.assert_allclose(five, many[:5], **CLOSE)
    np.testing.assert_allclose(model.generate(5, seed=7, batch_size=2), five, **CLOSE)
    np.testing.assert_allclose(model.generate(6, seed=7, start=253), many[253:259], **CLOSE)
    np.testing.assert_allclose(model.generate(2, seed=7, start=257), many[257:259], **CLOSE)
    assert len(np.unique(many.reshape(300, -1), axis=0)) == 300


def test_generated_images_are_float32_pixels(model):
    images = model.generate(5, seed=7)
    assert images.shape == (5, *registry.IMAGE_SHAPE)
    assert images.dtype == np.float32
    assert images.min() >= 0 and images.max() <= 1


def test_other_seeds_give_other_images(vae):
    assert np.all(vae.generate(5, seed=7) != vae.generate(5, seed=8))
    assert np.all(vae.generate(5) != vae.generate(5))


@pytest.mark.core_on("tensorflow")
def test_the_graphs_of_the_verbs_are_not_warned_of_as_retracing(vae, caplog):
    import logging

    logger = logging.getLogger("tensorflow")
    logger.addHandler(caplog.handler)
    try:
        x = registry.images(5)
        for count in range(1, 6):
            vae.generate(count), vae.encode(x[:count]), vae.reconstruct(x[:count]), vae.decode(vae.encode(x))
    finally:
        logger.removeHandler(caplog.handler)
    assert "retracing" not in caplog.text


def test_generated_images_are_decoded_standard_normals(vae):
    z = np.random.default_rng([7, 0]).standard_normal((256, LATENT_DIM), dtype="float32")
    expected = reference.decode(reference.weights_of(vae), np.float64(z))
    np.testing.assert_allclose(vae.generate(256, seed=7).reshape(256, -1), expected, **CLOSE)


# ---- encode, decode, reconstruct ----


def test_reconstruct_is_predict_and_decode_of_encode(model):
    given = registry.condition(model, len(X))
    images = {"images": X} if "mask" in given else {}
    reconstructed = model.reconstruct(X, **given)
    np.testing.assert_allclose(reconstructed, model.predict(X, verbose=0, **given), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        reconstructed, model.decode(model.encode(X, **given), **given, **images), **CLOSE
    )
    np.testing.assert_allclose(reconstructed, model.reconstruct(X, batch_size=4, **given), **CLOSE)
    assert reconstructed.shape == X.shape
    assert reconstructed.dtype == np.float32


def test_codes_and_images_are_those_of_the_networks(vae):
    weights = reference.weights_of(vae)
    mean, _ = reference.encode(weights, np.float64(X))
    np.testing.assert_allclose(vae.encode(X), mean, **CLOSE)
    assert vae.encode(X).dtype == np.float32
    np.testing.assert_allclose(vae.decode(mean).reshape(6, -1), reference.decode(weights, mean), **CLOSE)


def test_sampled_codes_have_the_posteriors_moments(vae):
    mean, log_variance = reference.encode(reference.weights_of(vae), np.float64(X[:1]))
    draws = vae.encode(np.repeat(X[:1], 4000, axis=0), sample=True, seed=1, batch_size=4000)
    error = 5 * np.exp(log_variance / 2) / np.sqrt(4000)
    assert np.all(np.abs(draws.mean(0) - mean) < error)
    assert draws.std(0) == pytest.approx(np.exp(log_variance / 2)[0], rel=0.08)


def test_sampled_codes_depend_on_their_seed(vae):
    once = vae.encode(X, sample=True, seed=1)
    np.testing.assert_array_equal(vae.encode(X, sample=True, seed=1), once)
    np.testing.assert_allclose(vae.encode(X, sample=True, seed=1, batch_size=4), once, **CLOSE)
    assert np.all(vae.encode(X, sample=True, seed=2) != once)
    assert np.all(vae.encode(X, sample=True) != vae.encode(X, sample=True))


def test_eight_bits_are_the_floats_they_stand_for(vae):
    eight_bits = np.rint(X * 255).astype("uint8")
    np.testing.assert_allclose(vae.encode(eight_bits), vae.encode(eight_bits / np.float32(255)), **CLOSE)
    np.testing.assert_allclose(
        vae.interpolate(eight_bits[0], eight_bits[1]),
        vae.interpolate(*(eight_bits[:2] / np.float32(255))),
        **CLOSE,
    )


# ---- interpolate ----


def slerp(a, b, t):
    """The great arc between two directions, lengths interpolated linearly."""
    length = (1 - t) * np.linalg.norm(a) + t * np.linalg.norm(b)
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    across = b - (a @ b) * a
    angle = np.arccos(a @ b)
    return length * (np.cos(t * angle) * a + np.sin(t * angle) * across / np.linalg.norm(across))


PATHS = {"linear": lambda a, b, t: (1 - t) * a + t * b, "spherical": slerp}


@pytest.mark.parametrize("path", PATHS)
def test_the_ends_of_an_interpolation_are_reconstructions(model, path):
    labels = model.labels_of(registry.labels(6))
    ends = (None, None) if labels is None else (labels[:3], labels[3:])
    pair = None if labels is None else ends
    ways = model.interpolate(X[:3], X[3:], steps=5, path=path, labels=pair)
    assert ways.shape == (3, 5, *registry.IMAGE_SHAPE)
    np.testing.assert_allclose(ways[:, 0], model.reconstruct(X[:3], ends[0]), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ways[:, -1], model.reconstruct(X[3:], ends[1]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("path", PATHS)
def test_interpolations_follow_their_path(vae, path):
    weights = reference.weights_of(vae)
    a, b = reference.encode(weights, np.float64(X[:2]))[0]
    codes = np.stack([PATHS[path](a, b, t) for t in np.linspace(0, 1, 4)])
    way = vae.interpolate(X[0], X[1], steps=4, path=path)
    assert way.shape == (4, *registry.IMAGE_SHAPE)
    np.testing.assert_allclose(way.reshape(4, -1), reference.decode(weights, codes), rtol=1e-4, atol=1e-5)


def test_an_arc_between_equal_images_stays_there(vae):
    way = vae.interpolate(X[0], X[0], steps=3, path="spherical")
    np.testing.assert_allclose(way, np.repeat(vae.reconstruct(X[:1]), 3, axis=0), rtol=1e-4, atol=1e-5)


# ---- bad arguments ----

BAD = {
    "num_images": lambda model: model.generate(0),
    "num_images of 2.5": lambda model: model.generate(2.5),
    "num_images of text": lambda model: model.generate("many"),
    "seed": lambda model: model.generate(1, seed=-1),
    "seed of 0.5": lambda model: model.generate(1, seed=0.5),
    "seed of a code": lambda model: model.encode(X, sample=True, seed=-1),
    "start": lambda model: model.generate(1, seed=1, start=-1),
    "batch_size": lambda model: model.generate(1, seed=1, batch_size=0),
    "z of one axis": lambda model: model.decode(np.zeros(LATENT_DIM)),
    "z of another size": lambda model: model.decode(np.zeros((2, LATENT_DIM + 1))),
    "x of three axes": lambda model: model.encode(X[0]),
    "x above one": lambda model: model.reconstruct(255 * X),
    "steps": lambda model: model.interpolate(X[0], X[1], steps=1),
    "path": lambda model: model.interpolate(X[0], X[1], path="sferical"),
    "a and b": lambda model: model.interpolate(X[:2], X[2:5]),
    "labels": lambda model: model.generate(2, labels=[1]),
    "labels of an image": lambda model: model.encode(X, labels=np.zeros(6, int)),
    "mask": lambda model: model.reconstruct(X, mask="left"),
}


@pytest.mark.core_on("one")
@pytest.mark.parametrize("case", BAD)
def test_bad_arguments_are_named_in_one_line(vae, case):
    with pytest.raises(kvg.InputError) as error:
        BAD[case](vae)
    assert str(error.value).startswith(case.split(" of ")[0].split(" above ")[0])
    assert "\n" not in str(error.value)


# ---- within fit ----


def test_verbs_within_fit_see_the_weights_of_the_moment(inject_noise, tmp_path):
    inject_noise()
    model = registry.set_weights(registry.vae_gan())
    model.compile("sgd")
    start, seen = model.generate(3, seed=1), []

    class Look(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            # By the closure: `self.model` would synchronise by itself.
            verbs = (lambda: model.generate(3, seed=1), lambda: model.reconstruct(X), lambda: model.encode(X))
            seen.append(verbs[batch]())
            model.save(tmp_path / f"{batch}.keras")

    model.fit(registry.images(12), batch_size=4, verbose=0, callbacks=[Look()])
    first, second, third = (keras.saving.load_model(tmp_path / f"{batch}.keras") for batch in range(3))
    np.testing.assert_allclose(seen[0], first.generate(3, seed=1), **CLOSE)
    np.testing.assert_allclose(seen[1], second.reconstruct(X), **CLOSE)
    np.testing.assert_allclose(seen[2], third.encode(X), **CLOSE)
    np.testing.assert_allclose(seen[2], model.encode(X), **CLOSE)
    assert np.any(np.abs(seen[0] - start) > 1e-5)
    assert np.any(np.abs(first.encode(X) - third.encode(X)) > 1e-5)
