"""M2: its bounds by enumeration, virtual adversarial training, the classifier, the data, bad input."""

import re

import keras
import numpy as np
import pytest
import reference
import registry
from keras import ops
from registry import NUM_CLASSES, Chunks
from scipy import special, stats

import keras_vaegan as kvg
from keras_vaegan import InputError, evaluation, losses, metrics
from keras_vaegan.data import Batches, ImageData, semi_supervised_split

X, Y = registry.images(6), registry.labels(6)
HIDDEN = np.where(np.arange(6) < 3, Y, -1)


def build(**arguments):
    model = registry.set_weights(registry.ssl_vae(**arguments))
    model.compile(keras.optimizers.SGD(0.0))
    return model


def refused(call, *words):
    with pytest.raises(InputError) as error:
        call()
    assert all(word in str(error.value) for word in words), error.value


# ---- the bounds ----


def logs_of(model, y, x=X):
    return {
        name: ops.convert_to_numpy(value)
        for name, value in model.compute_losses(
            ops.convert_to_tensor(x), ops.convert_to_tensor(y)
        ).logs.items()
    }


@pytest.mark.parametrize("arguments", [{}, {"prior": True, "likelihood": "gaussian", "noise_scale": 0.3}])
def test_each_image_has_the_bounds_of_the_transcription(arguments, inject_noise):
    noise = registry.noise(6)
    inject_noise(noise[0])
    model = build(**arguments)
    expected = reference.losses(reference.weights_of(model), X, noise, HIDDEN, **arguments)
    found, known = logs_of(model, HIDDEN), HIDDEN >= 0
    for name in ("loss", "kl", "reconstruction", "unlabelled"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-4, err_msg=name)
    for name in ("labelled", "error", "classification"):
        np.testing.assert_allclose(found[name][known], expected[name][known], rtol=1e-4, err_msg=name)


def test_the_unlabelled_bound_enumerates_the_labelled_ones(inject_noise):
    """U(x) from L(x, y) of the same model, asked for one class after the other."""
    inject_noise(registry.noise(6)[0])
    model = build()
    of_class = np.stack([logs_of(model, np.full(6, k))["labelled"] for k in range(NUM_CLASSES)], axis=1)
    shares = model.classify(X).astype(float)
    entropy = -np.sum(shares * np.log(shares), axis=1)
    by_hand = np.sum(shares * of_class, axis=1) - entropy
    np.testing.assert_allclose(logs_of(model, np.full(6, -1))["unlabelled"], by_hand, rtol=1e-5)
    # It is no less than the best that any q(y|x) can reach, -log sum exp(-L).
    assert np.all(by_hand >= -special.logsumexp(-of_class, axis=1) - 1e-5)


def test_with_all_labels_it_is_a_cvae_with_a_prior_on_labels_and_a_classifier(inject_noise):
    inject_noise(registry.noise(6)[0])
    model = build(alpha=0.7, beta=0.5)
    cvae = kvg.CVAE(model.encoder, model.decoder, beta=0.5)
    of_cvae = cvae.compute_losses(ops.convert_to_tensor(X), ops.convert_to_tensor(Y))
    own = model.compute_losses(ops.convert_to_tensor(X), ops.convert_to_tensor(Y))
    shares = model.classify(X)[np.arange(6), Y]
    expected = ops.convert_to_numpy(of_cvae.players["generator"]) + np.log(NUM_CLASSES) - 0.7 * np.log(shares)
    np.testing.assert_allclose(ops.convert_to_numpy(own.players["generator"]), expected, rtol=1e-5)


def test_a_batch_without_a_label_is_no_nan_and_has_no_classification(inject_noise):
    inject_noise()
    model = build(alpha=1e6)
    logs = model.train_on_batch(X, np.full(6, -1), return_dict=True)
    assert all(np.isfinite(value) for value in logs.values())
    assert logs["error"] == logs["labelled"] == logs["classification"] == 0.0
    assert logs["loss"] == pytest.approx(logs["unlabelled"], rel=1e-6)


def test_labels_that_are_not_known_do_not_matter_to_what_is_logged_of_those_that_are(inject_noise):
    inject_noise()
    model = build()
    all_images = model.evaluate(X, HIDDEN, verbose=0, return_dict=True)
    labelled = model.evaluate(X[:3], HIDDEN[:3], verbose=0, return_dict=True)
    for name in ("labelled", "error", "classification"):
        assert all_images[name] == pytest.approx(labelled[name], rel=1e-5)


def test_the_weight_of_the_classification_is_for_the_mean_over_labelled_images():
    """However rare labels are in a batch: the gradient at the classifier's bias, beta 0 and no images."""
    one, three = (
        build(alpha=2.0).compute_losses(ops.convert_to_tensor(X), ops.convert_to_tensor(y))
        for y in (np.where(np.arange(6) < 1, Y, -1), HIDDEN)
    )
    bare = build(alpha=0.0)
    for weighted, y in ((one, np.where(np.arange(6) < 1, Y, -1)), (three, HIDDEN)):
        logs = {name: ops.convert_to_numpy(value) for name, value in weighted.logs.items()}
        expected = 2.0 * logs["classification"][y >= 0].mean()
        # In the mean over all images; the rest of the objective is drawn with other noise.
        terms = bare.terms(ops.convert_to_tensor(X), ops.convert_to_tensor(y), False)
        with_, without = (
            ops.convert_to_numpy(model.semi_supervised(ops.convert_to_tensor(X), terms, False)[0]).mean()
            for model in (build(alpha=2.0), bare)
        )
        assert with_ - without == pytest.approx(expected, rel=1e-4)


# ---- virtual adversarial training ----


def of_encoder(weights, x):
    return reference.class_logits(weights, x)


def of_discriminator(weights, x):
    return reference.discriminate(weights, x)[0][:, :-1]


def divergence(logits, weights, x, moved):
    """KL(p(y|x) || p(y|moved)) in NumPy."""
    before, after = (
        special.log_softmax(logits(weights, reference.joined(np.float64(images))), axis=1)
        for images in (x, moved)
    )
    return np.sum(np.exp(before) * (before - after), axis=1)


@pytest.mark.parametrize(
    ("log", "logits", "arguments"),
    [
        ("consistency", of_encoder, {"consistency": 1.0}),
        ("d_consistency", of_discriminator, {"discriminator_consistency": 1.0}),
    ],
)
def test_the_adversarial_step_is_along_the_gradient_of_the_divergence(log, logits, arguments, inject_noise):
    noise = np.random.default_rng(4).standard_normal(X.shape).astype("float32")
    inject_noise(noise)
    model = registry.set_weights(registry.ssl_vae_gan(radius=0.3, **arguments))
    weights = reference.weights_of(model)
    x = ops.convert_to_tensor(X)
    classify = {"consistency": model.class_network, "d_consistency": model.judged_class}[log]
    found = ops.convert_to_numpy(model.virtual_adversarial(x, classify(x), classify, False))

    probe = X + 1e-2 * noise / np.linalg.norm(noise.reshape(6, -1), axis=1).reshape(6, 1, 1, 1)
    gradient, step = np.zeros(X.shape), 1e-6
    for index in np.ndindex(X.shape[1:]):
        moved = np.zeros(X.shape)
        moved[(slice(None), *index)] = step
        above, below = (divergence(logits, weights, X, np.float64(probe) + sign * moved) for sign in (1, -1))
        gradient[(slice(None), *index)] = (above - below) / (2 * step)
    length = np.linalg.norm(gradient.reshape(6, -1), axis=1).reshape(6, 1, 1, 1)
    expected = divergence(logits, weights, X, X + 0.3 * gradient / length)
    np.testing.assert_allclose(found, expected, rtol=2e-2)

    directions = np.random.default_rng(5).standard_normal((200, *X.shape))
    directions /= np.linalg.norm(directions.reshape(200, 6, -1), axis=2).reshape(200, 6, 1, 1, 1)
    others = np.mean([divergence(logits, weights, X, X + 0.3 * one) for one in directions], axis=0)
    assert found.mean() > 1.5 * others.mean()


def test_the_discriminators_consistency_is_in_its_own_loss_alone(inject_noise):
    inject_noise()
    x, y = ops.convert_to_tensor(X), ops.convert_to_tensor(HIDDEN)
    plain, held = (
        registry.set_weights(registry.ssl_vae_gan(**arguments)).compute_losses(x, y)
        for arguments in ({}, {"discriminator_consistency": 3.0})
    )
    for player, weight in (("generator", 0.0), ("discriminator", 3.0)):
        expected = plain.players[player] + weight * held.logs["d_consistency"]
        np.testing.assert_allclose(
            ops.convert_to_numpy(held.players[player]), ops.convert_to_numpy(expected), rtol=1e-5
        )


def test_the_adversarial_step_is_found_in_half_precision(dtype_policy):
    shape = (28, 28, 1)
    x = registry.images(64, shape)
    found = []
    for policy in ("float32", "mixed_bfloat16"):
        dtype_policy(policy)
        model = registry.set_weights(registry.ssl_vae(shape, consistency=1.0, radius=1.0, seed=0))
        for variable in model.trunk.trainable_variables:
            variable.assign(0.2 * ops.convert_to_tensor(variable))
        assert model.compute_dtype == policy.removeprefix("mixed_")
        images = ops.convert_to_tensor(x)
        held = model.virtual_adversarial(images, model.class_network(images), model.class_network, False)
        found.append(ops.convert_to_numpy(held).mean())
    assert found[1] == pytest.approx(found[0], rel=0.15)


def test_directions_get_their_length_and_tiny_ones_are_not_lost():
    directions = np.random.default_rng(0).standard_normal((3, 2, 2, 1)).astype("float32")
    scaled = directions * np.float32([1.0, 1e-25, 0.0]).reshape(3, 1, 1, 1)
    found = ops.convert_to_numpy(losses.of_length(ops.convert_to_tensor(scaled), 0.5))
    lengths = np.linalg.norm(directions.reshape(3, -1), axis=1).reshape(3, 1, 1, 1)
    np.testing.assert_allclose(found[:2], (0.5 * directions / lengths)[:2], rtol=1e-4)
    assert not np.any(found[2])


@pytest.mark.parametrize(
    ("log", "build", "weight"),
    [
        ("consistency", registry.ssl_vae, "consistency"),
        ("d_consistency", registry.ssl_vae_gan, "discriminator_consistency"),
    ],
)
def test_consistency_is_learned(log, build, weight):
    model = registry.set_weights(build(radius=0.5, seed=0, **{weight: 5.0}))
    model.compile({player: keras.optimizers.Adam(0.02) for player in model.players})
    before = model.evaluate(X, HIDDEN, verbose=0, return_dict=True)[log]
    model.fit(X, HIDDEN, epochs=40, verbose=0)
    assert model.evaluate(X, HIDDEN, verbose=0, return_dict=True)[log] < 0.5 * before


# ---- the game ----


@pytest.mark.core_on("one")
def test_what_is_drawn_is_on_average_what_is_enumerated(inject_noise):
    """The sampled game over many copies of each image against the sum over classes."""
    inject_noise()
    weights, copies = {}, 3000
    for expectation in ("enumerated", "sampled"):
        model = registry.set_weights(registry.ssl_vae_gan(expectation=expectation, seed=1))
        x = np.repeat(X, copies if expectation == "sampled" else 1, axis=0)
        made = model.compute_losses(ops.convert_to_tensor(x), ops.convert_to_tensor(np.full(len(x), -1)))
        values = {**made.logs, **made.players}
        weights[expectation] = {
            name: ops.convert_to_numpy(values[name]).reshape(6, -1).mean(axis=1)
            for name in ("feature_matching", "d_fake", "discriminator", "generator")
        }
    for name, expected in weights["enumerated"].items():
        np.testing.assert_allclose(weights["sampled"][name], expected, rtol=0.03, err_msg=name)


def test_a_labelled_image_plays_as_its_class_alone(inject_noise):
    inject_noise()
    for expectation in ("enumerated", "sampled"):
        model = registry.set_weights(registry.ssl_vae_gan(expectation=expectation, beta=0.0, alpha=0.0))
        losses = registry.hybrid_objects(beta=0.0)
        game = kvg.CVAEGAN(model.encoder, model.decoder, model.discriminator, **losses)
        own, other = (
            made.compute_losses(ops.convert_to_tensor(X), ops.convert_to_tensor(Y)) for made in (model, game)
        )
        for player, more in (("discriminator", 0.0), ("generator", np.log(NUM_CLASSES))):
            expected = ops.convert_to_numpy(other.players[player]) + more
            np.testing.assert_allclose(ops.convert_to_numpy(own.players[player]), expected, rtol=1e-4)


def test_an_unlabelled_image_is_real_of_any_class_in_feature_matching(inject_noise):
    inject_noise()
    model = registry.set_weights(registry.ssl_vae_gan(game="feature_matching"))
    made = model.compute_losses(ops.convert_to_tensor(X), ops.convert_to_tensor(HIDDEN))
    shares = reference.log_shares(
        reference.discriminate(reference.weights_of(model), reference.joined(np.float64(X)))[0]
    )
    of_any = np.log1p(-np.exp(shares[:, -1]))
    d = model.discriminator(model._prior_images(ops.zeros((1, 2)), ops.eye(3)[:1], False))["logits"]
    assert d.shape == (1, NUM_CLASSES + 1)
    real = np.where(HIDDEN >= 0, shares[np.arange(6), HIDDEN], of_any)
    # What is left is what D says of the fakes, by class alone: their noise is zero.
    rest = ops.convert_to_numpy(made.players["discriminator"]) + real
    drawn = reference.decode(reference.weights_of(model), np.zeros((3, 2)), [reference.one_hot(range(3), 3)])
    fakes = -reference.log_shares(reference.discriminate(reference.weights_of(model), drawn)[0])[:, -1]
    assert np.all(np.abs(rest[:, None] - fakes).min(axis=1) < 1e-4)
    np.testing.assert_allclose(rest[:3], fakes[HIDDEN[:3]], rtol=1e-4)


@pytest.mark.parametrize("classifier", ["encoder", "discriminator", "ensemble"])
def test_classes_are_told_by_whom_was_asked(classifier):
    model = registry.set_weights(registry.ssl_vae_gan(classifier=classifier))
    weights, x = reference.weights_of(model), reference.joined(np.float64(X))
    encoder = special.softmax(reference.class_logits(weights, x), axis=1)
    verdict = special.softmax(reference.discriminate(weights, x)[0][:, :-1], axis=1)
    mixed = {"encoder": encoder, "discriminator": verdict, "ensemble": (encoder + verdict) / 2}[classifier]
    np.testing.assert_allclose(model.classify(X), mixed, rtol=1e-4)
    temperature = model.calibrate(X, Y)
    calibrated = mixed ** (1 / temperature)
    np.testing.assert_allclose(
        model.classify(X), calibrated / calibrated.sum(axis=1, keepdims=True), rtol=1e-3, atol=1e-5
    )


@pytest.mark.core_on("one")
def test_choices_of_the_game_are_refused_by_name():
    refused(lambda: registry.ssl_vae_gan(game="hing"), "game must be one of", "Did you mean 'hinge'")
    refused(lambda: registry.ssl_vae_gan(expectation="exact"), "expectation must be one of", "enumerated")
    refused(lambda: registry.ssl_vae_gan(classifier="decoder"), "classifier must be one of", "ensemble")
    model = registry.ssl_vae_gan()
    model.classification.classifier = "both"
    refused(lambda: model.classify(X), "classifier must be one of")


# ---- the classifier ----


def test_probabilities_are_those_of_the_networks_at_the_temperature():
    model = build(temperature=2.5)
    logits = reference.class_logits(reference.weights_of(model), reference.joined(np.float64(X)))
    np.testing.assert_allclose(model.classify(X), special.softmax(logits / 2.5, axis=1), rtol=1e-4)
    assert model.classify(X).dtype == np.float32 and model.classify(X, batch_size=4).shape == (6, NUM_CLASSES)


def overconfident(count=4000, factor=3.0, seed=0):
    """Logits of a classifier, times a factor, and labels drawn from what it says without it."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0.0, 1.5, (count, NUM_CLASSES))
    labels = np.array([rng.choice(NUM_CLASSES, p=special.softmax(row)) for row in logits])
    return factor * logits, labels


@pytest.mark.core_on("one")
def test_the_temperature_is_the_factor_that_was_too_much():
    logits, labels = overconfident()
    temperature = metrics.fit_temperature(logits, labels)
    assert temperature == pytest.approx(3.0, rel=0.1)
    errors = [
        metrics.expected_calibration_error(special.softmax(logits / t, axis=1), labels)
        for t in (1.0, temperature)
    ]
    assert errors[0] > 0.1 and errors[1] < 0.03


@pytest.mark.core_on("one")
def test_the_calibration_error_is_that_of_the_definition():
    logits, labels = overconfident(300)
    probabilities = special.softmax(logits, axis=1)
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    expected = 0.0
    for k in range(10):
        inside = (confidence > k / 10) & (confidence <= (k + 1) / 10)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    found = metrics.expected_calibration_error(probabilities, labels, bins=10)
    assert found == pytest.approx(expected, abs=1e-12)
    assert metrics.expected_calibration_error(np.eye(3)[labels], labels) == 0.0


def test_calibration_changes_no_class_and_is_saved(tmp_path):
    model = build()
    before = model.classify(X)
    temperature = model.calibrate(X, Y)
    assert temperature == model.temperature != 1.0
    np.testing.assert_array_equal(model.classify(X).argmax(axis=1), before.argmax(axis=1))
    assert not np.allclose(model.classify(X), before)
    model.save(tmp_path / "model.keras")
    np.testing.assert_allclose(
        keras.saving.load_model(tmp_path / "model.keras").classify(X), model.classify(X), rtol=1e-5
    )
    model.save_to_preset(tmp_path / "preset")
    loaded = kvg.SemiSupervisedVAE.from_preset(tmp_path / "preset")
    np.testing.assert_allclose(loaded.classify(X), model.classify(X), rtol=1e-5)


def scores(model, data, **settings):
    result = evaluation.score(model, data, ["classification"], split="validation", **settings)
    return {one["name"]: one for one in result["scores"]}


@pytest.mark.core_on("one")
def test_the_error_and_the_calibration_are_scored():
    model = build(temperature=0.5)
    x, y = registry.images(40), registry.labels(40)
    data = ImageData((x, y), (x, y), (x, y), name="random", class_names=["a", "b", "c"])
    found = scores(model, data, likelihood_images=8)
    logits = reference.class_logits(reference.weights_of(model), reference.joined(np.float64(x)))
    wrong = logits.argmax(axis=1) != y
    assert found["classification_error"]["value"] == pytest.approx(wrong.mean())
    assert found["classification_error"]["details"] == {
        name: pytest.approx(wrong[y == k].mean()) for k, name in enumerate("abc")
    }
    for name, temperature in (("calibration_error_before", 1.0), ("calibration_error", 0.5)):
        expected = metrics.expected_calibration_error(special.softmax(logits / temperature, axis=1), y)
        assert found[name]["value"] == pytest.approx(expected, abs=1e-4)
    assert found["temperature"]["value"] == 0.5
    assert found["unlabelled_bound"]["value"] < found["labelled_bound"]["value"]

    before = ops.convert_to_numpy(model.seed_generator.state)
    again = scores(model, data, likelihood_images=8)
    np.testing.assert_array_equal(ops.convert_to_numpy(model.seed_generator.state), before)
    assert again["labelled_bound"]["value"] == pytest.approx(found["labelled_bound"]["value"], rel=1e-6)


@pytest.mark.core_on("one")
def test_each_classifier_of_a_hybrid_is_scored():
    model = registry.set_weights(registry.ssl_vae_gan(classifier="discriminator"))
    x, y = registry.images(40), registry.labels(40)
    data = ImageData((x, y), (x, y), (x, y), name="random", class_names=["a", "b", "c"])
    found = scores(model, data, likelihood_images=8)
    for name in ("encoder", "discriminator", "ensemble"):
        model.classification.classifier = name
        wrong = model.classify(x).argmax(axis=1) != y
        assert found[f"{name}_error"]["value"] == pytest.approx(wrong.mean())
    assert found["classification_error"]["value"] == found["discriminator_error"]["value"]


@pytest.mark.core_on("one")
def test_other_models_have_no_classifier_to_score():
    data = ImageData((X, Y), (X, Y), (X, Y), name="random", class_names=["a", "b", "c"])
    refused(lambda: scores(registry.cvae(num_classes=3), data), "no classifier of its own")


# ---- data ----


@pytest.mark.core_on("one")
def test_a_split_keeps_as_many_labels_of_each_class():
    y = np.random.default_rng(0).integers(0, 4, 400)
    x = np.arange(400)
    same_x, hidden = semi_supervised_split(x, y, 22, seed=1)
    assert same_x is x and hidden.dtype == np.int64
    kept = hidden >= 0
    np.testing.assert_array_equal(hidden[kept], y[kept])
    assert sorted(np.bincount(hidden[kept])) == [5, 5, 6, 6]
    np.testing.assert_array_equal(semi_supervised_split(x, y, 22, seed=1)[1], hidden)
    assert np.any(semi_supervised_split(x, y, 22, seed=2)[1] != hidden)
    assert np.all(y >= 0)  # the caller's labels are as they were


@pytest.mark.core_on("one")
def test_a_split_is_refused_where_labels_are_too_few():
    x, y = np.zeros(10), np.array([0] * 8 + [1] * 2)
    refused(lambda: semi_supervised_split(x, y, 11), "num_labels", "10", "11")
    refused(lambda: semi_supervised_split(x, y, 6), "num_labels", "class 1", "2")
    refused(lambda: semi_supervised_split(x, y, 1), "num_labels", "from 2")
    refused(lambda: semi_supervised_split(x, np.full(10, -1), 2), "y must have labels")
    refused(lambda: semi_supervised_split(x, y[:9], 4), "y must have one label for each of the 10")


def numbered(count, labelled):
    x = np.broadcast_to(np.arange(count)[:, None, None, None], (count, 2, 2, 1)).astype(np.uint8)
    return x, np.where(np.arange(count) < labelled, np.arange(count) % 3, -1)


def numbers_of(batch):
    return np.rint(batch[0][:, 0, 0, 0] * 255).astype(int)


@pytest.mark.core_on("one")
def test_every_batch_has_its_share_of_labels_and_an_epoch_all_of_the_rest():
    x, y = numbered(50, 7)
    batches = Batches(x, y, batch_size=10, seed=3, labelled_share=0.3)
    assert len(batches) == 7  # 43 of the rest, 7 at a time
    seen, labelled = [], []
    for epoch in range(3):
        batches.epoch = epoch
        for batch in batches:
            assert np.sum(batch[1] >= 0) == 3
            numbers = numbers_of(batch)
            np.testing.assert_array_equal(y[numbers], batch[1])
            labelled += list(numbers[:3])
            seen += list(numbers[3:])
        assert sorted(seen[43 * epoch :]) == list(range(7, 50))
    assert seen[:43] != seen[43:86]
    # Each labelled image as often as the others, up to the pass that is under way.
    counts = np.bincount(labelled, minlength=7)
    assert counts.sum() == 63 and counts.min() == counts.max() == 9


@pytest.mark.core_on("one")
def test_where_labels_fill_more_batches_an_epoch_is_a_pass_over_them():
    x, y = numbered(50, 43)
    batches = Batches(x, y, batch_size=10, seed=3, labelled_share=0.3)
    assert len(batches) == 15  # of 43 labels, 3 at a time
    labelled, rest = [], []
    for batches.epoch in range(2):
        for batch in batches:
            assert len(batch[1]) == 10 and np.sum(batch[1] >= 0) == 3
            numbers = numbers_of(batch)
            np.testing.assert_array_equal(y[numbers], batch[1])
            labelled += list(numbers[:3])
            rest += list(numbers[3:])
    assert sorted(labelled[:43]) == sorted(labelled[43:86]) == list(range(43))
    assert set(np.bincount(rest)[43:]) == {30}  # 210 places for 7 images
    batches.epoch = 1
    np.testing.assert_array_equal(numbers_of(batches[4])[3:], rest[7 * 19 : 7 * 20])


@pytest.mark.core_on("one")
def test_batches_with_a_share_are_a_function_of_the_seed_and_the_epoch():
    x, y = numbered(50, 7)
    arguments = {"batch_size": 10, "seed": 3, "labelled_share": 0.3}
    straight, resumed = Batches(x, y, **arguments), Batches(x, y, **arguments)
    for straight.epoch in range(3):
        expected = [numbers_of(batch) for batch in straight]
    resumed.epoch = 2
    np.testing.assert_array_equal(
        np.concatenate([numbers_of(resumed[k]) for k in (4, 1)]), np.concatenate([expected[4], expected[1]])
    )
    other = Batches(x, y, **arguments | {"seed": 4})
    assert any(np.any(numbers_of(other[k]) != numbers_of(Batches(x, y, **arguments)[k])) for k in range(3))


@pytest.mark.core_on("one")
@pytest.mark.filterwarnings("ignore:x holds integers up to 19, which are almost black")
def test_shares_that_are_no_use_are_refused():
    x, y = numbered(20, 5)
    for share in (0.0, 1.0, -0.1, True, "half"):
        refused(lambda share=share: Batches(x, y, labelled_share=share), "labelled_share", str(share))
    refused(lambda: Batches(x, np.abs(y), labelled_share=0.5), "labelled_share", "all")
    refused(lambda: Batches(x, labelled_share=0.5), "labelled_share", "none")
    refused(lambda: Batches(x, y, batch_size=1, labelled_share=0.5), "batch_size")


@pytest.mark.parametrize("shuffle", [True, False])
def test_fit_takes_a_share_of_labels(shuffle, monkeypatch):
    x, y = registry.images(20), np.where(np.arange(20) < 3, registry.labels(20), -1)
    model, drawn, draw = build(), {}, Batches.__getitem__

    def note(self, index):
        drawn[self.epoch, index] = draw(self, index)
        return drawn[self.epoch, index]

    monkeypatch.setattr(Batches, "__getitem__", note)
    model.fit(x, y, batch_size=6, epochs=2, labelled_share=0.5, shuffle=shuffle, verbose=0)
    assert int(model.optimizer.iterations) == 12
    assert [int(np.sum(drawn[0, k][1] >= 0)) for k in range(6)] == [3] * 6
    rest = [np.concatenate([drawn[epoch, k][0][3:] for k in range(6)]) for epoch in (0, 1)]
    assert np.array_equal(rest[0], x[3:]) != shuffle
    assert np.array_equal(rest[0], rest[1]) != shuffle


# ---- bad input ----


@pytest.mark.core_on("one")
def test_labels_that_cannot_be_learned_from_are_refused():
    model = build()
    refused(lambda: model.fit(X), "y must be given")
    refused(lambda: model.fit(X, np.full(6, -1)), "y must have labels", "-1")
    refused(lambda: model.fit(X, np.array([0, 1, 0, 1, -1, -1])), "every class", "none for 2")
    refused(lambda: model.fit(X, np.array([0, 1, 3, 1, -1, -1])), "0..2", "3")
    refused(lambda: model.fit(X, np.array([0, 1, 2, 1, -2, -1])), "-1 (unlabelled)", "-2")
    refused(lambda: model.fit(X, HIDDEN[:5]), "y must have one label", "5")
    refused(lambda: model.fit(Batches(X, HIDDEN * 0)), "every class", "1, 2")
    refused(lambda: model.fit(Batches(X, HIDDEN), labelled_share=0.2), "labelled_share")
    refused(lambda: model.calibrate(X, HIDDEN), "y must lie in 0..2")
    refused(lambda: model.generate(2, labels=[3]), "labels must lie in 0..2")
    refused(lambda: model.generate(2, labels=[-1]), "labels must lie in 0..2")
    # Of no label the error would be 0, as if all were told rightly.
    refused(lambda: model.evaluate(X, np.full(6, -1)), "y must have labels", "-1")
    none = (X, np.full(6, -1))
    refused(lambda: model.fit(X, HIDDEN, validation_data=none), "validation_data: y must have labels")


def test_the_first_batch_of_another_source_is_looked_at():
    model = build()
    refused(lambda: model.fit(Chunks(X, HIDDEN + 3)), "y of the first batch must lie in 0..2", "to 5")
    refused(lambda: model.fit(Chunks(X, HIDDEN - 7)), "y of the first batch", "-1 (unlabelled)")
    refused(lambda: model.fit(Chunks(X)), "y of the first batch must be given")
    refused(lambda: model.fit(Chunks(X[:, 1:], HIDDEN)), "x of the first batch must hold images")
    found = model.fit(Chunks(X, HIDDEN), epochs=1, verbose=0).history
    assert np.isfinite(found["loss"][0])
    refused(lambda: registry.cvae(num_classes=3).evaluate(Chunks(X, HIDDEN - 1)), "y of the first batch")


def test_images_without_a_label_are_of_the_class_that_is_told(inject_noise):
    inject_noise()
    model = build()
    told = np.where(HIDDEN >= 0, HIDDEN, model.classify(X).argmax(axis=1))
    for verb in (model.encode, model.reconstruct, model.log_likelihood, model.predict):
        for given in (HIDDEN, HIDDEN[:, None]):
            np.testing.assert_allclose(verb(X, labels=given), verb(X, labels=told), rtol=1e-5)
    np.testing.assert_array_equal(model.encode(X), model.encode(X, model.classify(X).argmax(axis=1)))
    ends = (X[:3], X[3:])
    np.testing.assert_array_equal(
        model.interpolate(*ends, labels=(HIDDEN[:3], HIDDEN[3:])),
        model.interpolate(*ends, labels=(told[:3], told[3:])),
    )
    np.testing.assert_array_equal(
        model.transfer_style(X, [0, 1], HIDDEN), model.transfer_style(X, [0, 1], told)
    )
    refused(lambda: model.decode(np.zeros((6, 2)), HIDDEN), "labels must lie in 0..2")


PARTS = {
    "trunk must give features": {"trunk": lambda: registry.mlp.decoder((2, 3, 1), 2)},
    "encoder must take a dictionary of `features`": {
        "encoder": lambda: registry.mlp.encoder((2, 3, 1), 2, num_classes=3)
    },
    "encoder must take the features of the trunk, (5,)": {
        "encoder": lambda: registry.heads.encoder_head(4, 2, 3)
    },
    "class_head must take the features of the trunk": {"class_head": lambda: registry.heads.class_head(6, 3)},
    "class_head must give logits of the classes, (3,)": {
        "class_head": lambda: registry.heads.class_head(5, 4)
    },
    "decoder must take `codes` and `labels`": {
        "decoder": lambda: registry.mlp.decoder((2, 3, 1), 2, num_classes=3, given=True)
    },
}


@pytest.mark.core_on("one")
@pytest.mark.parametrize("said", PARTS)
def test_networks_that_do_not_fit_each_other_are_refused(said):
    fitting = {
        "trunk": registry.mlp.trunk((2, 3, 1), units=(5,)),
        "encoder": registry.heads.encoder_head(5, 2, 3),
        "class_head": registry.heads.class_head(5, 3),
        "decoder": registry.mlp.decoder((2, 3, 1), 2, num_classes=3),
    }
    kvg.SemiSupervisedVAE(**fitting)
    wrong = {name: make() for name, make in PARTS[said].items()}
    with pytest.raises(InputError, match=re.escape(said)):
        kvg.SemiSupervisedVAE(**fitting | wrong)


@pytest.mark.core_on("one")
@pytest.mark.parametrize(
    "argument", ["alpha", "consistency", "radius", "temperature", "discriminator_consistency"]
)
def test_numbers_out_of_range_are_refused(argument):
    refused(lambda: registry.ssl_vae_gan(**{argument: -1.0}), argument, "-1.0")


# ---- M1+M2 ----


def stacked(**arguments):
    model = registry.set_weights(registry.stacked_ssl_vae(**arguments))
    generator = np.random.default_rng(8)
    for variable in model.base.weights:  # which do not train
        if "seed" not in variable.path:
            variable.assign(generator.normal(0.0, 0.6, variable.shape))
    model.compile(keras.optimizers.SGD(0.1))
    return model


def of_base(model):
    """The base's weights by path, as float64; `reference` knows networks by the names of their layers."""
    return {
        variable.path.removeprefix("base_"): ops.convert_to_numpy(variable).astype(float)
        for variable in model.base.weights
        if "seed" not in variable.path
    }


def test_the_bound_of_a_stack_is_that_of_codes(inject_noise):
    model = stacked()
    base, weights = of_base(model), reference.weights_of(model)
    z1, _ = reference.encode(base, reference.joined(np.float64(X)))
    noise = registry.noise(6)[0]
    inject_noise(noise)
    found, hidden = logs_of(model, Y), logs_of(model, np.full(6, -1))
    # By the networks alone, at the mean of q(z1|x).
    features = reference.features_of(weights, z1)
    each = []
    for k in range(3):
        of_class = reference.one_hot(np.full(6, k), 3)
        q = reference.normal(weights, "encoder", reference.joined(features, of_class), "tanh")
        kl = reference.normal_kl(*q, np.zeros_like(q[0]), np.zeros_like(q[0])).sum(axis=1)
        z2 = q[0] + np.exp(q[1] / 2) * noise
        mean, log_variance = reference.normal(weights, "decoder", reference.joined(z2, of_class), "tanh")
        nats = -stats.norm.logpdf(z1, mean, np.exp(log_variance / 2)).sum(axis=1)
        each.append((kl, nats, kl + nats + np.log(3)))
    each = np.transpose(each, (1, 2, 0))  # term, image, class
    for name, values in zip(("kl", "reconstruction", "labelled"), each, strict=True):
        np.testing.assert_allclose(found[name], values[np.arange(6), Y], rtol=1e-4, err_msg=name)
    logits = reference.affine(features, reference.layer(weights, "class_head_logits"))
    shares = special.softmax(logits, axis=1)
    np.testing.assert_allclose(model.classify(X), shares, rtol=1e-4)
    enumerated = np.sum(shares * (each[2] + np.log(shares)), axis=1)
    np.testing.assert_allclose(hidden["unlabelled"], enumerated, rtol=1e-4)


def test_a_stack_trains_on_draws_of_its_codes():
    model = stacked()
    base, x = of_base(model), ops.convert_to_tensor(np.repeat(X[:1], 4000, axis=0))
    mean, log_variance = reference.encode(base, reference.joined(np.float64(X[:1])))
    _, seen = model.look(x, training=True)
    _, fixed = model.look(x, training=False)
    np.testing.assert_allclose(ops.convert_to_numpy(fixed[:1]), mean, rtol=1e-4, atol=1e-6)
    drawn, spread = ops.convert_to_numpy(seen), np.exp(log_variance / 2)
    np.testing.assert_allclose(drawn.mean(axis=0), mean[0], atol=4 * spread.max() / np.sqrt(4000))
    np.testing.assert_allclose(drawn.std(axis=0), spread[0], rtol=0.05)


def test_a_stack_asks_the_same_of_an_image_and_of_itself_after_no_step():
    model = registry.set_weights(registry.stacked_ssl_vae(consistency=1.0, radius=0.0))
    made = model.compute_losses(ops.convert_to_tensor(X), ops.convert_to_tensor(HIDDEN), training=True)
    np.testing.assert_allclose(ops.convert_to_numpy(made.logs["consistency"]), 0.0, atol=1e-6)


def test_images_of_a_stack_are_decoded_through_its_base():
    model = stacked()
    base, weights = of_base(model), reference.weights_of(model)
    z2 = np.random.default_rng(0).standard_normal((6, 2))
    z1, _ = reference.normal(weights, "decoder", reference.joined(z2, reference.one_hot(Y, 3)), "tanh")
    expected = reference.decode(base, z1)
    np.testing.assert_allclose(model.decode(z2, Y).reshape(6, -1), expected, rtol=1e-4, atol=1e-6)
    assert model.transfer_style(X, [0, 2]).shape == (6, 2, *registry.IMAGE_SHAPE)


def test_the_base_stays_as_it_is():
    original = kvg.VAE(
        registry.mlp.encoder((2, 3, 1), 3, units=(5,)), registry.mlp.decoder((2, 3, 1), 3, units=(5,))
    )
    networks = (
        registry.heads.code_trunk(3, units=(5,)),
        registry.heads.encoder_head(5, 2, 3),
        registry.heads.class_head(5, 3),
        registry.heads.code_decoder(3, 2, 3, units=(5,)),
    )
    model = kvg.StackedSemiSupervisedVAE(original, *networks)
    model.compile(keras.optimizers.SGD(0.5))
    before = [np.array(ops.convert_to_numpy(v)) for v in original.trainable_variables]
    assert original.trainable_variables and not model.base.trainable_variables
    trained = [np.array(ops.convert_to_numpy(v)) for v in model.trainable_variables]
    model.fit(X, HIDDEN, epochs=2, verbose=0)
    kept = zip(
        before,
        original.trainable_variables,
        model.base.encoder.weights + model.base.decoder.weights,
        strict=True,
    )
    for value, own, copy in kept:
        np.testing.assert_array_equal(ops.convert_to_numpy(own), value)
        np.testing.assert_array_equal(ops.convert_to_numpy(copy), value)
    assert any(
        np.any(ops.convert_to_numpy(v) != old)
        for v, old in zip(model.trainable_variables, trained, strict=True)
    )


def test_the_likelihood_of_a_stack_is_that_of_its_two_layers():
    """Against plain Monte Carlo from the prior, on images of few pixels."""
    model = stacked(prior=True)
    # All layers but the base's decoder are made mild, so that draws from q reach all of the posterior.
    mild = [model.base.encoder, model.encoder_head, model.code_decoder, model.prior]
    for variable in [variable for network in mild for variable in network.weights]:
        variable.assign(0.3 * ops.convert_to_tensor(variable))
    base, weights = of_base(model), reference.weights_of(model)
    generator, count = np.random.default_rng(1), 100_000
    x, y = np.rint(X[:2]), Y[:2]
    found = model.log_likelihood(x, y, num_samples=5000, seed=3)
    for i in range(2):
        label = reference.one_hot([y[i]], 3)
        center, log_spread = reference.prior(weights, [label], (1, 2))
        z2 = center + np.exp(log_spread / 2) * generator.standard_normal((count, 2))
        labels = np.repeat(label, count, axis=0)
        mean, log_variance = reference.normal(weights, "decoder", reference.joined(z2, labels), "tanh")
        z1 = mean + np.exp(log_variance / 2) * generator.standard_normal(mean.shape)
        pixels = reference.decode(base, z1)
        nats = reference.log_density(x[i].reshape(1, -1), pixels).sum(axis=1)
        assert found[i] == pytest.approx(special.logsumexp(nats) - np.log(count), abs=0.05)
    once = np.mean([model.log_likelihood(x, y, num_samples=1, seed=s).mean() for s in range(8)])
    assert once < found.mean()


@pytest.mark.core_on("one")
def test_bases_that_cannot_carry_a_stack_are_refused():
    heads, mlp = registry.heads, registry.mlp
    fitting = {
        "base": registry.vae(),
        "trunk": heads.code_trunk(2, units=(5,)),
        "encoder": heads.encoder_head(5, 2, 3),
        "class_head": heads.class_head(5, 3),
        "decoder": heads.code_decoder(2, 2, 3),
    }
    kvg.StackedSemiSupervisedVAE(**fitting)
    for said, wrong in {
        "base must be a VAE": {"base": registry.cvae(num_classes=3)},
        "trunk must take codes of the base, (2,)": {"trunk": heads.code_trunk(3)},
        "decoder must give codes of the base, (2,)": {"decoder": heads.code_decoder(3, 2, 3)},
        "decoder must give a dictionary": {"decoder": mlp.decoder((2, 3, 1), 2, num_classes=3)},
        "likelihood must be left out": {"likelihood": "gaussian"},
    }.items():
        refused(lambda wrong=wrong: kvg.StackedSemiSupervisedVAE(**fitting | wrong), said)


def own_head():
    """A head that does not begin with one layer of both inputs."""
    inputs = {"features": keras.Input((5,), name="features"), "labels": keras.Input((3,), name="labels")}
    x = keras.layers.Dense(4)(inputs["features"]) * keras.layers.Dense(4)(inputs["labels"])
    return keras.Model(inputs, {name: keras.layers.Dense(2)(x) for name in ("mean", "log_variance")})


@pytest.mark.parametrize(
    "head, shared",
    [
        (lambda: registry.heads.encoder_head(5, 2, 3, units=(6,)), True),
        (lambda: registry.heads.encoder_head(5, 2, 3, units=(6, 4), activation="gelu"), True),
        (lambda: registry.heads.encoder_head(5, 2, 3), False),
        (lambda: registry.heads.encoder_head(5, 2, 3, units=(6,), variance_of_features=True), False),
        (own_head, False),
    ],
)
def test_a_head_sees_every_class_as_if_the_features_were_repeated(head, shared):
    head, features = head(), np.random.default_rng(0).normal(size=(4, 5)).astype("float32")
    by_class = registry.heads.for_each_class(head)
    assert (by_class.__name__ == "shared") == shared
    outputs = by_class(ops.convert_to_tensor(features), False)
    for k in range(3):
        one = head({"features": features, "labels": np.eye(3, dtype="float32")[[k] * 4]})
        for name in ("mean", "log_variance"):
            found, expected = (ops.convert_to_numpy(values[name]) for values in (outputs, one))
            np.testing.assert_allclose(found[4 * k : 4 * k + 4], expected, rtol=1e-5, atol=1e-6)
