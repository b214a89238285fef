"""What conditional models do: show classes, complete images, transfer styles, classify; what they refuse."""

import keras
import numpy as np
import pytest
import reference
import registry
from keras import ops
from registry import IMAGE_SHAPE, LATENT_DIM, NUM_CLASSES, Chunks

import keras_vaegan as kvg
from keras_vaegan.data import Batches, named_mask

CLOSE = {"rtol": 1e-4, "atol": 1e-5}
X, LABELS = registry.images(6), registry.labels(6)
FLAT = np.float64(X).reshape(6, -1)
# A mask of its own for each image, with pixels of both kinds in each.
MASKS = np.random.default_rng(0).random((6, *IMAGE_SHAPE[:2])) < 0.5
MASKS[:, 0, 0], MASKS[:, 1, 2] = True, False
SEEN = np.broadcast_to(MASKS[..., None], X.shape)
QUIET = {"verbose": 0, "shuffle": False, "batch_size": registry.BATCH}

# Name -> builder and arguments, which `reference` takes too.
LABELLED = {
    "labels": (registry.cvae, {"num_classes": NUM_CLASSES}),
    "labels, gaussian": (
        registry.cvae,
        {"num_classes": NUM_CLASSES, "prior": True, "likelihood": "gaussian", "noise_scale": 0.4},
    ),
    "labels, game": (registry.cvae_gan, {"num_classes": NUM_CLASSES, "prior": True}),
}
COMPLETING = {
    "given": (registry.cvae, {"given": True}),
    "given, prior": (registry.cvae, {"given": True, "prior": True}),
    "both": (registry.cvae, {"num_classes": NUM_CLASSES, "given": True, "prior": True}),
}
ALL = LABELLED | COMPLETING


def made(name):
    """The model of that name in `ALL`, with fixed weights."""
    build, arguments = ALL[name]
    return registry.set_weights(build(**arguments))


@pytest.fixture(scope="module", params=LABELLED)
def labelled(request):
    """Name and model; the latter takes labels alone."""
    return request.param, made(request.param)


@pytest.fixture(scope="module", params=COMPLETING)
def completing(request):
    """A model that completes images."""
    return made(request.param)


@pytest.fixture(scope="module", params=ALL)
def model(request):
    return made(request.param)


@pytest.fixture(scope="module")
def cvae():
    return made("labels")


@pytest.fixture(scope="module")
def both():
    return made("both")


# ---- in NumPy ----


def parts_of(model, labels=LABELS, x=X, mask=None):
    """What the networks of a model are conditioned on, flat; nothing is given without a mask."""
    parts = []
    if model.num_classes is not None:
        parts.append(reference.one_hot(labels, NUM_CLASSES))
    if model.completes:
        mask = np.zeros(x.shape[:3]) if mask is None else mask
        parts.append(reference.joined(reference.given_part(np.float64(x), mask)))
    return parts


def drawn_codes(weights, parts, noise):
    """Codes of p(z|c) by their noise, `(B, Z)`."""
    center, log_spread = reference.prior(weights, parts, noise.shape)
    return center + np.exp(log_spread / 2) * noise


def noise_of(seed, start, count):
    """The noise of images `start`, ... in blocks of 256: `(count, Z)`."""
    blocks = [
        np.random.default_rng([seed, block]).standard_normal((256, LATENT_DIM), dtype="float32")
        for block in range(2)
    ]
    return np.float64(np.concatenate(blocks)[start : start + count])


def pictures(flat):
    return flat.reshape(-1, *IMAGE_SHAPE)


def bounds(model, name):
    """log p(x|mean of q, y) - KL(q(z|x, y) || p(z|y)) for every class y: `(B, K)`."""
    weights, columns = reference.weights_of(model), []
    for k in range(NUM_CLASSES):
        parts = parts_of(model, np.full(len(X), k))
        q = reference.encode(weights, X, parts)
        kl = reference.normal_kl(*q, *reference.prior(weights, parts, q[0].shape)).sum(axis=1)
        pixels = reference.log_density(FLAT, reference.decode(weights, q[0], parts), **ALL[name][1])
        columns.append(pixels.sum(axis=1) - kl)
    return np.stack(columns, axis=1)


# ---- codes ----


def test_codes_are_those_of_the_networks(model):
    parts = parts_of(model, mask=MASKS)
    condition = {"labels": model.labels_of(LABELS), "mask": MASKS if model.completes else None}
    q = model.posterior_parameters(X, **condition, batch_size=4)
    expected = reference.encode(reference.weights_of(model), X, parts)
    for part, value in zip(("mean", "log_variance"), expected, strict=True):
        np.testing.assert_allclose(q[part], value, **CLOSE)
    np.testing.assert_array_equal(model.encode(X, **condition, batch_size=4), q["mean"])


def test_the_condition_changes_codes_and_images(both):
    codes = both.encode(X, LABELS, MASKS)
    z = np.ones((6, LATENT_DIM))
    decoded = both.decode(z, LABELS, X, MASKS)
    other_labels, other_masks = (LABELS + 1) % NUM_CLASSES, ~MASKS
    assert np.all(np.any(both.encode(X, other_labels, MASKS) != codes, axis=1))
    assert np.all(np.any(both.encode(X, LABELS, other_masks) != codes, axis=1))
    assert np.all(both.decode(z, other_labels, X, MASKS)[~SEEN] != decoded[~SEEN])
    assert np.any(both.decode(z, LABELS, 1 - X, MASKS)[~SEEN] != decoded[~SEEN])


def test_decoded_images_are_those_of_the_networks(model):
    z = np.random.default_rng(3).standard_normal((6, LATENT_DIM), dtype="float32")
    condition = {"labels": model.labels_of(LABELS)}
    condition |= {"images": X, "mask": MASKS} if model.completes else {}
    parts = parts_of(model, mask=MASKS)
    expected = pictures(reference.decode(reference.weights_of(model), np.float64(z), parts))
    if model.completes:
        expected = np.where(SEEN, X, expected)
    np.testing.assert_allclose(model.decode(z, **condition, batch_size=4), expected, **CLOSE)


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_predict_is_reconstruct(model, dtype):
    x = np.rint(X * 255).astype("uint8") if dtype == "uint8" else X
    condition = {"labels": model.labels_of(LABELS), "mask": MASKS if model.completes else None}
    predicted = model.predict(x, verbose=0, batch_size=4, **condition)
    np.testing.assert_allclose(predicted, model.reconstruct(x, **condition), **CLOSE)


def test_a_call_takes_a_dictionary_of_images_and_labels(cvae):
    one_hot = reference.one_hot(LABELS, NUM_CLASSES).astype("float32")
    called = ops.convert_to_numpy(cvae({"images": X, "labels": one_hot}))
    np.testing.assert_allclose(called, cvae.reconstruct(X, LABELS), **CLOSE)


# ---- generate ----


def expected_images(model, labels, start):
    """Images `start`, ... of seed 7 of these classes."""
    weights, nothing = reference.weights_of(model), np.zeros((len(labels), *IMAGE_SHAPE))
    parts = parts_of(model, np.asarray(labels), nothing)
    return pictures(
        reference.decode(weights, drawn_codes(weights, parts, noise_of(7, start, len(labels))), parts)
    )


def test_image_i_shows_label_i_modulo_their_number(labelled):
    _, model = labelled
    shown = model.generate(5, labels=[2, 0], seed=7)
    np.testing.assert_allclose(shown, expected_images(model, [2, 0, 2, 0, 2], 0), **CLOSE)
    later = model.generate(4, labels=[2, 0, 1], seed=7, start=254, batch_size=3)
    np.testing.assert_allclose(later, expected_images(model, [1, 2, 0, 1], 254), **CLOSE)


def test_an_image_of_a_class_depends_on_the_seed_and_its_index_alone(cvae):
    many = cvae.generate(300, labels=[1, 1, 0], seed=7)
    np.testing.assert_allclose(cvae.generate(5, labels=[1, 1, 0], seed=7, batch_size=2), many[:5], **CLOSE)
    few = cvae.generate(4, labels=[1, 1, 0], seed=7, start=255)
    np.testing.assert_allclose(few, many[255:259], **CLOSE)


def test_one_class_may_be_a_number(cvae):
    np.testing.assert_array_equal(cvae.generate(3, labels=1, seed=7), cvae.generate(3, [1, 1, 1], seed=7))


def test_without_labels_all_classes_come_in_turn(labelled):
    _, model = labelled
    np.testing.assert_allclose(
        model.generate(5, seed=7, start=4), expected_images(model, [1, 2, 0, 1, 2], 4), **CLOSE
    )
    np.testing.assert_array_equal(model.labels_in_turn(5, start=4), [1, 2, 0, 1, 2])


def test_completing_models_generate_without_a_given_part(completing):
    labels = np.arange(5) % NUM_CLASSES
    np.testing.assert_allclose(
        completing.generate(5, seed=7), expected_images(completing, labels, 0), **CLOSE
    )


# ---- interpolate ----


def test_labels_are_interpolated_linearly(cvae):
    weights, t = reference.weights_of(cvae), np.linspace(0, 1, 5)[:, None]
    ends = np.array([1, 0])
    a, b = reference.encode(weights, X[:2], [reference.one_hot(ends, NUM_CLASSES)])[0]
    y_a, y_b = reference.one_hot(ends, NUM_CLASSES)
    expected = reference.decode(weights, (1 - t) * a + t * b, [(1 - t) * y_a + t * y_b])
    way = cvae.interpolate(X[0], X[1], steps=5, labels=(1, 0))
    np.testing.assert_allclose(way, pictures(expected), **CLOSE)
    both_ways = cvae.interpolate(X[:2], X[1::-1], steps=5, labels=([1, 0], [0, 1]))
    np.testing.assert_allclose(both_ways[0], way, **CLOSE)
    np.testing.assert_allclose(both_ways[1], way[::-1], **CLOSE)


# ---- complete ----


def complete(model, images=X, mask=MASKS, num_samples=4, seed=7, labels=LABELS, **arguments):
    return model.complete(images, mask, num_samples, labels=model.labels_of(labels), seed=seed, **arguments)


def of_samples(values, num_samples=4):
    """Values of images, repeated for their completions: `(B, num_samples, ...)`."""
    return np.repeat(values[:, None], num_samples, axis=1)


def test_completions_are_decoded_draws_of_the_prior_given_what_is_seen(completing):
    weights = reference.weights_of(completing)
    parts = [np.repeat(part, 4, axis=0) for part in parts_of(completing, mask=MASKS)]
    codes = drawn_codes(weights, parts, noise_of(7, 0, 24))
    expected = reference.decode(weights, codes, parts).reshape(6, 4, *IMAGE_SHAPE)
    completed = complete(completing)
    assert completed.dtype == np.float32
    np.testing.assert_allclose(completed, np.where(of_samples(SEEN), of_samples(X), expected), **CLOSE)
    np.testing.assert_allclose(complete(completing, batch_size=5), completed, **CLOSE)


def test_visible_pixels_come_back_untouched(completing):
    visible, labels = of_samples(SEEN), completing.labels_of(LABELS)
    np.testing.assert_array_equal(complete(completing)[visible], of_samples(X)[visible])
    eight_bits = np.random.default_rng(1).integers(0, 256, X.shape, "uint8")
    scaled = eight_bits / np.float32(255)
    np.testing.assert_array_equal(complete(completing, eight_bits)[visible], of_samples(scaled)[visible])
    condition = {"labels": labels, "mask": MASKS}
    for shown in (
        completing.reconstruct(eight_bits, **condition),
        completing.predict(eight_bits, verbose=0, **condition),
        completing.decode(np.zeros((6, LATENT_DIM)), images=eight_bits, **condition),
    ):
        np.testing.assert_array_equal(shown[SEEN], scaled[SEEN])
        assert np.all(shown[~SEEN] != scaled[~SEEN])


def test_hidden_pixels_are_not_looked_at(completing):
    other = np.where(SEEN, X, registry.images(6, seed=9))
    assert np.all(other[~SEEN] != X[~SEEN])
    np.testing.assert_array_equal(complete(completing, other), complete(completing))
    extreme = np.where(SEEN, X, np.float32(1.0))
    np.testing.assert_array_equal(complete(completing, extreme), complete(completing))


def test_visible_pixels_are_looked_at(completing):
    other = np.where(SEEN, 1 - X, X)
    changed = complete(completing, other) != complete(completing)
    assert np.all(changed[of_samples(~SEEN)])


def test_completions_of_an_image_differ_and_depend_on_the_seed(completing):
    once = complete(completing)
    hidden = of_samples(~SEEN)
    np.testing.assert_array_equal(complete(completing), once)
    for shift in (1, 2, 3):
        assert np.all((np.roll(once, shift, axis=1) != once)[hidden])
    assert np.all((complete(completing, seed=8) != once)[hidden])
    assert np.all((complete(completing, seed=None) != complete(completing, seed=None))[hidden])


def test_equal_images_have_completions_of_their_own(both):
    equal = both.complete(np.repeat(X[:1], 3, axis=0), "left", 2, np.zeros(3, int), seed=7)
    hidden = equal[:, :, :, 1:].reshape(6, -1)
    assert len(np.unique(hidden, axis=0)) == 6


def test_a_mask_may_have_a_name_or_be_one_for_all(completing):
    named = complete(completing, mask="quadrants:3")
    mask = reference.visible("quadrants:3", *IMAGE_SHAPE[:2])
    for same in (mask, mask > 0, np.uint8(255 * mask), np.repeat(mask[None], 6, axis=0)):
        np.testing.assert_array_equal(complete(completing, mask=same), named)
    assert np.any(complete(completing, mask="left") != named)


def test_completions_of_other_labels_are_others(both):
    other = complete(both, labels=(LABELS + 1) % NUM_CLASSES)
    assert np.all((other != complete(both))[of_samples(~SEEN)])


# ---- transfer of style, classes by the model itself ----


def styled(model, sources, targets):
    """Codes under the source classes, decoded as each of the targets: `(B, L, H, W, C)`."""
    weights = reference.weights_of(model)
    codes, _ = reference.encode(weights, X, parts_of(model, sources))
    shown = [reference.decode(weights, codes, parts_of(model, np.full(6, y))) for y in targets]
    return np.stack([pictures(images) for images in shown], axis=1)


def test_a_transferred_style_is_the_code_decoded_with_other_labels(labelled):
    _, model = labelled
    shown = model.transfer_style(X, [2, 0], LABELS, batch_size=4)
    assert shown.shape == (6, 2, *IMAGE_SHAPE) and shown.dtype == np.float32
    np.testing.assert_allclose(shown, styled(model, LABELS, [2, 0]), **CLOSE)
    np.testing.assert_allclose(model.transfer_style(X, 1, LABELS), styled(model, LABELS, [1]), **CLOSE)


def test_the_source_class_is_that_of_the_highest_bound(labelled):
    name, model = labelled
    sources = bounds(model, name).argmax(axis=1)
    shown = model.transfer_style(X, [2, 0, 1])
    np.testing.assert_allclose(shown, styled(model, sources, [2, 0, 1]), **CLOSE)
    assert np.any(np.abs(shown - styled(model, (sources + 1) % NUM_CLASSES, [2, 0, 1])) > 1e-3)


def test_classes_by_the_model_itself_are_shares_of_the_bounds(labelled):
    name, model = labelled
    shares = model.classify(X, batch_size=4)
    assert shares.shape == (6, NUM_CLASSES) and shares.dtype == np.float32
    expected = np.exp(bounds(model, name))
    np.testing.assert_allclose(shares, expected / expected.sum(axis=1, keepdims=True), rtol=1e-3, atol=1e-5)


def test_bounds_differ_enough_to_tell_classes_apart():
    found = {name: bounds(made(name), name) for name in LABELLED}
    chosen = np.concatenate([bound.argmax(axis=1) for bound in found.values()])
    assert set(chosen) == set(range(NUM_CLASSES))
    for bound in found.values():
        best, second = np.sort(bound, axis=1)[:, [-1, -2]].T
        assert np.min(best - second) > 1e-3


def test_a_model_of_labels_and_a_given_part_classifies_with_nothing_given(both):
    expected = np.exp(bounds(both, "both"))
    np.testing.assert_allclose(
        both.classify(X), expected / expected.sum(axis=1, keepdims=True), rtol=1e-3, atol=1e-5
    )


# ---- saving ----


def test_a_saved_model_keeps_its_masks_and_its_prior(tmp_path):
    build, arguments = ALL["both"]
    model = registry.set_weights(build(**arguments, masks=("top", "blocks"), seed=3))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded) is kvg.CVAE and loaded.masks == ("top", "blocks")
    assert (loaded.num_classes, loaded.completes) == (NUM_CLASSES, True)
    np.testing.assert_array_equal(complete(loaded), complete(model))
    condition = loaded.conditioned(6, LABELS, X, MASKS)
    found = loaded.prior.network.predict(condition, verbose=0)
    expected = reference.prior(reference.weights_of(model), parts_of(model, mask=MASKS), (6, LATENT_DIM))
    np.testing.assert_allclose(found["mean"], expected[0], **CLOSE)
    np.testing.assert_allclose(found["log_variance"], expected[1], **CLOSE)
    # The masks that training will draw next are the same, too.
    x = ops.convert_to_tensor(X)
    given = [
        ops.convert_to_numpy(of.condition.draw(x, LABELS, of.seed_generator)["given"])
        for of in (model, loaded)
    ]
    np.testing.assert_array_equal(*given)


# ---- what fit takes ----


@pytest.mark.core_on("one")
def test_all_forms_of_the_same_labels_train_alike(inject_noise):
    inject_noise()
    x, y = registry.images(8), registry.labels(8)
    forms = {
        "whole numbers": (x, y),
        "of eight bits": (x, y.astype("uint8")),
        "floats": (x, y.astype("float32")),
        "a column": (x, y[:, None]),
        "batches": (Batches(x, y, registry.BATCH, shuffle=False),),
        "dataset": (Chunks(x, y),),
        "dataset of columns": (Chunks(x, y[:, None].astype("int32")),),
        "other labels": (x, (y + 1) % NUM_CLASSES),
    }
    histories = {}
    for form, data in forms.items():
        fixed = {} if isinstance(data[0], keras.utils.PyDataset) else {"batch_size": registry.BATCH}
        model = registry.set_weights(registry.MODELS["cvae"]())
        model.compile(keras.optimizers.SGD(0.05))
        history = model.fit(*data, validation_data=(x, y), verbose=0, shuffle=False, **fixed).history
        histories[form] = history["loss"] + history["val_loss"]
    other = histories.pop("other labels")
    for form, losses in histories.items():
        assert losses == pytest.approx(histories["whole numbers"], rel=1e-5), form
    assert other != pytest.approx(histories["whole numbers"], rel=1e-2)


@pytest.mark.core_on("one")
def test_a_model_that_takes_no_labels_may_be_fitted_with_them(inject_noise):
    inject_noise()
    losses = []
    for data in ((X,), (X, LABELS), (X, np.full(6, -1))):
        model = registry.set_weights(registry.MODELS["cvae_completion"]())
        model.compile(keras.optimizers.SGD(0.0))
        losses += model.fit(*data, **QUIET).history["loss"]
    assert losses == [pytest.approx(losses[0], rel=1e-6)] * 3


# ---- what is refused ----

BAD_LABELS = {
    "too high": np.array([0, 1, 2, 3, 0, 1]),
    "without a label": np.array([0, 1, 2, -1, 0, 1]),
    "fractions": np.full(6, 1.5),
    "not a number": np.full(6, np.nan),
    "too few": np.zeros(5, int),
    "one": 1,
    "one-hot": np.eye(3)[LABELS],
    "text": np.full(6, "a"),
    "none": None,
}
CODES = np.zeros((6, LATENT_DIM))
TAKES_LABELS = {
    "encode": lambda model, y: model.encode(X, y),
    "posterior_parameters": lambda model, y: model.posterior_parameters(X, y),
    "decode": lambda model, y: model.decode(CODES, y),
    "reconstruct": lambda model, y: model.reconstruct(X, y),
    "predict": lambda model, y: model.predict(X, labels=y, verbose=0),
    "log_likelihood": lambda model, y: model.log_likelihood(X, y),
    "interpolate": lambda model, y: model.interpolate(X, X, labels=None if y is None else (LABELS, y)),
}


def assert_refused(call, argument, said=""):
    """The call raises an `InputError` of one line that begins with the argument and has what was said."""
    with pytest.raises(kvg.InputError) as error:
        call()
    assert str(error.value).startswith(argument) and said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.core_on("one")
@pytest.mark.parametrize("case", BAD_LABELS)
@pytest.mark.parametrize("verb", TAKES_LABELS)
def test_bad_labels_are_named_by_every_verb(verb, case, cvae):
    assert_refused(lambda: TAKES_LABELS[verb](cvae, BAD_LABELS[case]), "labels must ")


@pytest.mark.core_on("one")
@pytest.mark.parametrize("case", BAD_LABELS)
def test_bad_labels_are_named_when_completing(case, both):
    assert_refused(lambda: both.complete(X, MASKS, labels=BAD_LABELS[case]), "labels must ")


BAD_TARGETS = {name: value for name, value in BAD_LABELS.items() if name != "one"}


@pytest.mark.core_on("one")
@pytest.mark.parametrize("case", BAD_TARGETS)
@pytest.mark.parametrize("place", ["fit", "validation_data", "evaluate"])
@pytest.mark.parametrize("name", ["cvae", "cvae_gan"])
def test_bad_labels_of_a_training_are_named(name, place, case):
    model, y = registry.MODELS[name](), BAD_TARGETS[case]
    model.compile()
    calls = {
        "fit": lambda: model.fit(X, y, **QUIET),
        "validation_data": lambda: model.fit(X, LABELS, validation_data=(X, y), **QUIET),
        "evaluate": lambda: model.evaluate(X, y, verbose=0),
    }
    assert_refused(calls[place], "validation_data: y must " if place == "validation_data" else "y must ")


@pytest.mark.core_on("one")
def test_batches_and_datasets_must_have_labels():
    def compiled():
        model = registry.MODELS["cvae"]()
        model.compile(keras.optimizers.Adam(use_ema=True))
        return model

    good, bad = Batches(X, LABELS), [Batches(X), Batches(X, LABELS + 1), Batches(X, LABELS - 1)]
    for batches in bad:
        assert_refused(lambda: compiled().fit(batches, verbose=0), "y must ")  # noqa: B023
        assert_refused(
            lambda: compiled().fit(good, validation_data=batches, verbose=0),  # noqa: B023
            "validation_data: y must ",
        )
        assert_refused(lambda: compiled().evaluate(batches, verbose=0), "y must ")  # noqa: B023
    assert_refused(lambda: compiled().fit(good, validation_data=(X,), verbose=0), "validation_data: y must ")
    assert_refused(lambda: compiled().fit(Chunks(X), verbose=0), "y of the first batch must be given")


UNCONDITIONAL = {
    "labels of encode": lambda model: model.encode(X, LABELS),
    "labels of decode": lambda model: model.decode(CODES, LABELS),
    "labels of reconstruct": lambda model: model.reconstruct(X, LABELS),
    "labels of predict": lambda model: model.predict(X, labels=LABELS, verbose=0),
    "labels of generate": lambda model: model.generate(2, labels=[1]),
    "labels of log_likelihood": lambda model: model.log_likelihood(X, LABELS),
    "labels of interpolate": lambda model: model.interpolate(X, X, labels=(LABELS, LABELS)),
    "mask of encode": lambda model: model.encode(X, mask="left"),
    "mask of decode": lambda model: model.decode(CODES, images=X, mask="left"),
    "mask of reconstruct": lambda model: model.reconstruct(X, mask=MASKS),
    "mask of predict": lambda model: model.predict(X, mask="left", verbose=0),
    "mask of log_likelihood": lambda model: model.log_likelihood(X, mask="left"),
}


@pytest.mark.core_on("one")
@pytest.mark.parametrize("case", UNCONDITIONAL)
def test_a_model_names_the_condition_that_it_does_not_take(case):
    argument = case.split(" of ")[0]
    assert_refused(lambda: UNCONDITIONAL[case](registry.vae()), f"{argument} must be None: VAE ")


@pytest.mark.core_on("one")
def test_a_conditional_model_names_the_condition_that_it_does_not_take(cvae):
    assert_refused(lambda: cvae.reconstruct(X, LABELS, "left"), "mask must be None: CVAE ")
    completion = made("given")
    assert_refused(lambda: completion.reconstruct(X, LABELS, "left"), "labels must be None: CVAE ")
    assert_refused(lambda: completion.generate(3, labels=[1]), "labels must be None: CVAE ")


HALF = named_mask("left", IMAGE_SHAPE)
BAD_MASKS = {
    "of another shape": (HALF.T, "(3, 2)"),
    "of other images": (np.repeat(HALF[None], 5, axis=0), "(5, 2, 3)"),
    "empty": (np.zeros_like(HALF), "empty"),
    "full": (np.ones_like(HALF), "full"),
    "empty for one image": (MASKS & (np.arange(6) != 3)[:, None, None], "empty"),
    "grey": (0.5 * HALF, "0.5"),
    "misspelt": ("lefd", "Did you mean 'left'"),
    "of training alone": ("blocks", "must be one of left"),
}
TAKES_MASK = {
    "complete": lambda model, mask: model.complete(X, mask),
    "encode": lambda model, mask: model.encode(X, mask=mask),
    "decode": lambda model, mask: model.decode(CODES, images=X, mask=mask),
    "reconstruct": lambda model, mask: model.reconstruct(X, mask=mask),
    "predict": lambda model, mask: model.predict(X, mask=mask, verbose=0),
    "log_likelihood": lambda model, mask: model.log_likelihood(X, mask=mask),
}


@pytest.mark.core_on("one")
@pytest.mark.parametrize("case", BAD_MASKS)
def test_bad_masks_are_named_by_every_verb(case):
    (mask, said), model = BAD_MASKS[case], made("given")
    for call in TAKES_MASK.values():
        assert_refused(lambda: call(model, mask), "mask must ", said)  # noqa: B023


REFUSED = {
    "images must ": lambda: made("given").decode(CODES, mask="left"),
    "num_samples must ": lambda: made("given").complete(X, "left", num_samples=0),
    "seed must ": lambda: made("given").complete(X, "left", seed=-1),
    "images must have": lambda: made("given").complete(X[0], "left"),
    "labels must hold at least one": lambda: made("labels").generate(2, labels=[]),
    "labels must lie in 0..2": lambda: made("labels").generate(2, labels=[1, 3]),
    "labels must hold whole": lambda: made("labels").generate(2, labels=[1.5]),
    "labels must lie in": lambda: made("labels").transfer_style(X, [-1]),
    "labels must hold one": lambda: made("labels").transfer_style(X, [[1, 2]]),
}


@pytest.mark.core_on("one")
@pytest.mark.parametrize("said", REFUSED)
def test_other_bad_arguments_are_named(said):
    assert_refused(REFUSED[said], said)


@pytest.mark.core_on("one")
@pytest.mark.parametrize("case", ["too high", "without a label", "fractions", "too few", "text"])
def test_bad_classes_of_the_sources_of_a_style_are_named(case, cvae):
    assert_refused(lambda: cvae.transfer_style(X, [1], BAD_LABELS[case]), "labels must ")


@pytest.mark.core_on("one")
@pytest.mark.parametrize("name", ["labels", "labels, game"])
def test_a_model_that_cannot_complete_says_which_can(name):
    assert_refused(lambda: made(name).complete(X, "left"), "", "a completion_cvae is")


@pytest.mark.core_on("one")
@pytest.mark.parametrize("verb", ["transfer_style", "classify"])
def test_a_model_without_classes_says_which_has_them(verb):
    call = {
        "transfer_style": lambda model: model.transfer_style(X, [1]),
        "classify": lambda model: model.classify(X),
    }
    assert_refused(lambda: call[verb](made("given, prior")), "", "knows no classes")


LATE = {
    "images must be 4, as many as the codes; received 3": lambda both: both.decode(
        np.zeros((4, LATENT_DIM)), LABELS[:4], images=X[:3], mask="left"
    ),
    "labels must be a pair": lambda both: both.interpolate(X[0], X[1], labels=3),
    "labels must hold at least one class": lambda both: both.transfer_style(X, [], LABELS),
    "x must": lambda both: both.predict([[1, 2], [3]], labels=LABELS),
    "masks must be one of": lambda both: registry.cvae(given=True, masks="middle"),
}


@pytest.mark.core_on("one")
@pytest.mark.parametrize("said", LATE)
def test_what_does_not_fit_together_is_named(said, both):
    with pytest.raises(kvg.InputError, match=said):
        LATE[said](both)


@pytest.mark.core_on("one")
def test_one_mask_may_be_a_name_alone_and_a_prior_must_be_conditioned():
    assert registry.cvae(given=True, masks="left").masks == ("left",)
    images = keras.Input((3,))
    parts = {part: keras.layers.Dense(LATENT_DIM)(images) for part in ("mean", "log_variance")}
    networks = registry.smooth_networks(IMAGE_SHAPE, False, num_classes=3)
    with pytest.raises(kvg.InputError, match="prior must take a dictionary"):
        kvg.CVAE(*networks, prior=keras.Model(images, parts))


@pytest.mark.core_on("one")
def test_lists_are_reconstructed_as_arrays_are(cvae):
    np.testing.assert_array_equal(
        cvae.predict(X.tolist(), labels=LABELS, verbose=0), cvae.predict(X, labels=LABELS, verbose=0)
    )
