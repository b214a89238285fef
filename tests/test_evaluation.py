"""Scores of models and images: known answers, provenance, and what is said to bad input."""

import dataclasses
import functools
import importlib
import importlib.metadata
import json
import pathlib
import shutil
import tracemalloc

import keras
import numpy as np
import pytest
import registry
from scipy import ndimage
from test_cli import refused, run

from keras_vaegan import InputError, evaluation, metrics
from keras_vaegan.data import ImageData, load
from keras_vaegan.metrics import features
from keras_vaegan.metrics.statistics import content_hash

pytestmark = pytest.mark.core_on("one")

DISTANCES = ["frechet", "kernel", "neighbours", "diversity"]


@pytest.fixture(scope="module")
def digits():
    """The embedded digits in two halves: to compare with, and to make samples of."""
    whole = load("digits")
    x, y = (np.concatenate(parts) for parts in zip(*whole, strict=True))
    order = np.random.default_rng(0).permutation(len(x))
    x, y = x[order], y[order]
    parts = [(x[:600], y[:600]), (x[600:1200], y[600:1200]), (x[1200:], y[1200:])]
    return ImageData(parts[0], parts[2], parts[1], name="digits", class_names=whole.class_names)


def values(result, features="mnist_plain"):
    """`{name: value}` of the scores in one extractor's features, or in none."""
    return {one["name"]: one["value"] for one in result["scores"] if one["features"] in (features, None)}


def score(images, data, groups=None, **settings):
    return evaluation.score(images, data, groups, features=["mnist_plain"], **settings)


@pytest.fixture
def brief_lessons(monkeypatch):
    """Classifiers that learn from samples have few steps for it."""
    lesson = functools.partial(metrics.accuracy_of_classifier_trained_on, steps=60)
    monkeypatch.setattr(evaluation.groups.metrics, "accuracy_of_classifier_trained_on", lesson)


@pytest.fixture
def hardly_a_lesson(monkeypatch):
    """Classifiers that learn from samples have two steps, where nobody asks what they learned."""
    lesson = functools.partial(metrics.accuracy_of_classifier_trained_on, steps=2)
    monkeypatch.setattr(evaluation.groups.metrics, "accuracy_of_classifier_trained_on", lesson)


# ---- known answers ----


def test_real_images_score_as_their_floor(digits):
    result = score(digits.train[0], digits, [*DISTANCES, "sharpness"])
    for one in result["scores"]:
        if one["name"] != "sharpness" and one["name"] != "class_entropy":
            assert one["value"] == pytest.approx(one["reference"], rel=1e-6), one["name"]
    assert values(result)["coverage"] > 0.9
    assert result["findings"] == []


@pytest.mark.parametrize("different, most", [(1, 0.03), (10, 0.15)])
def test_copies_are_a_collapse_with_noise_or_without(digits, different, most):
    copies = np.repeat(digits.validation[0][:different], 300 // different, axis=0)
    noisy = np.clip(copies + 0.02 * np.random.default_rng(0).standard_normal(copies.shape), 0, 1)
    for images in (copies, noisy):
        result = score(images, digits, DISTANCES)
        assert values(result)["coverage"] < most
        assert any(finding.startswith("collapse") for finding in result["findings"])


def test_blurred_images_are_ranked_below_real_ones_and_those_below_none(digits):
    groups = ["frechet", "kernel", "neighbours", "sharpness"]
    held_out = digits.validation[0]
    scores = [
        values(score(np.float32(ndimage.gaussian_filter(held_out, (0, sigma, sigma, 0))), digits, groups))
        for sigma in (0.0, 1.5, 3.0)
    ]
    for name in ("frechet_distance", "kernel_distance"):
        assert scores[0][name] < scores[1][name] < scores[2][name]
    for name in ("sharpness", "recall", "coverage"):
        assert scores[0][name] > scores[1][name] > scores[2][name]
    blurred = score(np.float32(ndimage.gaussian_filter(held_out, (0, 1.5, 1.5, 0))), digits, ["sharpness"])
    assert any("less sharp than" in finding for finding in blurred["findings"])
    noisy = np.clip(held_out + 0.2 * np.random.default_rng(0).standard_normal(held_out.shape), 0, 1)
    assert any("noisier, than" in finding for finding in score(noisy, digits, ["sharpness"])["findings"])


def test_few_samples_that_are_good_are_no_collapse(digits):
    few = score(digits.validation[0][:30], digits, ["neighbours"])
    assert values(few)["coverage"] < 0.5  # of 597 images
    assert few["findings"] == []
    alike = score(np.repeat(digits.validation[0][:1], 30, axis=0), digits, ["neighbours"])
    assert any(finding.startswith("collapse") for finding in alike["findings"])


def test_agreement_is_high_with_true_labels_and_chance_with_shuffled_ones(digits):
    x, y = digits.validation
    agreement = values(score(x, digits, ["labels"], labels=y))
    assert agreement["label_agreement"] > 0.8
    assert agreement["spread_within_classes"] == pytest.approx(1.0, abs=0.1)
    shuffled = score(x, digits, ["labels"], labels=np.random.default_rng(0).permutation(y))
    assert values(shuffled)["label_agreement"] == pytest.approx(0.1, abs=0.05)
    assert any("asked label" in finding for finding in shuffled["findings"])


def test_one_image_of_each_class_with_noise_is_no_diversity(digits):
    x, y = digits.validation
    first = [np.flatnonzero(y == k)[0] for k in range(10)]
    labels = np.arange(600) % 10
    alike = x[first][labels] + 0.05 * np.random.default_rng(0).standard_normal((600, 28, 28, 1))
    result = score(np.clip(alike, 0, 1), digits, ["labels"], labels=labels)
    assert values(result)["spread_within_classes"] < 0.5
    assert values(result)["coverage_within_classes"] < 0.35
    assert any("look alike" in finding for finding in result["findings"])


def test_a_missing_class_is_found(digits):
    x, y = digits.validation
    result = score(x[np.isin(y, (1, 2, 3))], digits, ["diversity"])
    entropy = next(one for one in result["scores"] if one["name"] == "class_entropy")
    assert entropy["value"] < 0.7 < 0.95 < entropy["reference"]
    assert sum(entropy["details"].values()) == pytest.approx(1.0)
    assert any("out of balance" in finding for finding in result["findings"])


def test_a_classifier_learns_from_images_that_show_their_labels(digits):
    x, y = digits.validation
    real = digits.test

    def accuracy(x, y, steps):
        return metrics.accuracy_of_classifier_trained_on(x, y, *real, steps=steps, batch_size=32)

    assert accuracy(x, y, 3) == pytest.approx(accuracy(x, y, 3), abs=0.02)
    learned = accuracy(x, y, 110)
    assert learned > 0.85
    shuffled = np.random.default_rng(0).permutation(y)
    assert accuracy(x, shuffled, 30) < 0.3
    first = [np.flatnonzero(y == k)[0] for k in range(10)]
    labels = np.arange(600) % 10
    assert accuracy(x[first][labels], labels, 30) < learned - 0.1


@pytest.mark.slow
def test_what_samples_teach_stands_beside_what_real_images_teach(digits, brief_lessons):
    x, y = digits.validation
    (found,) = score(x, digits, ["synthetic"], labels=y)["scores"]
    assert found["name"] == "accuracy_on_real" and found["better"] == "higher"
    assert found["value"] == pytest.approx(found["reference"], abs=0.15) and found["reference"] > 0.5
    shuffled = np.random.default_rng(0).permutation(y)
    assert score(x, digits, ["synthetic"], labels=shuffled)["scores"][0]["value"] < 0.4


def test_real_images_without_a_label_are_left_out_where_labels_count(digits, hardly_a_lesson):
    """As if they were not there; by the data's own order, which the draw of a model's images keeps."""
    (x, y), validation, (real, labels) = digits
    hidden = np.where(np.arange(len(labels)) % 2, labels, -1)
    fewer = real[hidden >= 0], hidden[hidden >= 0]
    some, none = (
        ImageData((x, y), validation, test, name="digits", class_names=digits.class_names)
        for test in ((real, hidden), fewer)
    )
    model = registry.ssl_vae((28, 28, 1), 10, seed=0)
    groups = ["classification", "reconstruction", "latent", "likelihood", "style", "labels"]
    settings = {"features": ["mnist_plain"], "likelihood_images": 20, "likelihood_samples": 2}
    found, expected = (
        evaluation.score(model, data, groups, num_images=100, **settings)["scores"] for data in (some, none)
    )
    assert len(found) == len(expected) > 15
    for one, other in zip(found, expected, strict=True):
        assert one["value"] == pytest.approx(other["value"], rel=1e-5, nan_ok=True), one["name"]
        if other["reference"] is not None:
            assert one["reference"] == pytest.approx(other["reference"], rel=1e-5), one["name"]
    taught = [score(x, data, ["synthetic"], labels=y, num_images=300)["scores"][0] for data in (some, none)]
    assert taught[0]["value"] == taught[1]["value"]
    unknown = ImageData((x, y), validation, (real, np.full(len(real), -1)), name="digits")
    with pytest.raises(InputError, match="the data have no labels"):
        evaluation.score(model, unknown, ["likelihood"])


def test_unlabelled_images_do_not_teach(digits):
    with pytest.raises(InputError, match="labels of images"):
        metrics.accuracy_of_classifier_trained_on(digits.test[0][:5], [-1] * 5, *digits.test)


def in_eight_bits(data):
    parts = [(np.rint(255 * x).astype("uint8"), y) for x, y in data]
    return ImageData(*parts, name=data.name, class_names=data.class_names)


def test_images_in_eight_bits_score_as_the_same_floats(digits):
    eight = in_eight_bits(digits)
    floats = ImageData(
        *((np.float32(x / 255.0), y) for x, y in eight), name="digits", class_names=digits.class_names
    )
    groups = [*DISTANCES, "sharpness"]
    expected = values(score(floats.validation[0][:300], floats, groups))
    for images, data in ((eight, eight), (floats, eight), (eight, floats)):
        found = values(score(images.validation[0][:300], data, groups))
        assert found == pytest.approx(expected, rel=1e-4)
    model = registry.vae((28, 28, 1))
    few = {"likelihood_images": 5, "likelihood_samples": 2, "num_images": 20}
    groups = ["reconstruction", "latent", "likelihood"]
    expected = values(evaluation.score(model, floats, groups, **few))
    assert expected["mean_squared_error"] < 1.0
    assert values(evaluation.score(model, eight, groups, **few)) == pytest.approx(expected, rel=1e-4)


def test_fewer_of_the_given_images_are_drawn_with_their_labels(digits):
    order = np.argsort(digits.validation[1], kind="stable")
    x, y = digits.validation[0][order], digits.validation[1][order]  # class by class, as a folder is read
    of = evaluation.Evaluation(x, digits, num_images=100, labels=y, seed=1)
    assert set(of.labels) == set(range(10))
    for image, label in zip(np.concatenate(list(of.samples())), of.labels, strict=True):
        assert label in y[(x == image).all(axis=(1, 2, 3))]
    np.testing.assert_array_equal(*(np.concatenate(list(of.samples())) for _ in range(2)))
    other = evaluation.Evaluation(x, digits, num_images=100, labels=y, seed=2)
    assert not np.array_equal(other.images, of.images)
    whole = evaluation.Evaluation(x, digits, num_images=len(x), labels=y)
    np.testing.assert_array_equal(whole.images, x)


def renamed(data, class_names, classes=10):
    """The same images under other names, or merged into fewer classes."""
    parts = [(x, None if class_names == "unlabelled" else y % classes) for x, y in data]
    return ImageData(*parts, name="grey", class_names=None if class_names == "unlabelled" else class_names)


FASHION = ["T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Boot"]


@pytest.mark.parametrize(
    "class_names, classes",
    [(FASHION, 10), (None, 7), ([*"abcdefghijklmnopqrstuvwxyz"], 10), ("unlabelled", 10)],
)
def test_digits_are_told_in_data_of_digits_alone(digits, class_names, classes, hardly_a_lesson):
    data = renamed(digits, class_names, classes)
    x, y = digits.validation
    result = score(x, data, labels=y % classes, num_images=150)
    assert {"frechet_distance", "coverage"} <= {one["name"] for one in result["scores"]}
    assert not {"class_entropy", "label_agreement"} & {one["name"] for one in result["scores"]}
    for group in ("diversity", "labels"):
        if class_names != "unlabelled" or group == "diversity":
            assert (
                "classes that mnist_plain can tell are not known to be those of the data"
                in (result["skipped"][group])
            )
    with pytest.raises(InputError, match="diversity cannot be computed: the classes that mnist_plain"):
        score(x, data, ["diversity"])


@pytest.mark.parametrize("class_names", [None, [str(k) for k in range(10)]])
def test_digits_are_told_in_data_that_may_be_digits(digits, class_names):
    found = score(digits.validation[0], renamed(digits, class_names), ["diversity"])
    assert [one["name"] for one in found["scores"]] == ["class_entropy"]
    unlabelled = ImageData(*((x, None) for x, _ in digits), name="binarized_mnist")
    assert score(digits.validation[0], unlabelled, ["diversity"])["scores"][0]["value"] > 0.9


def test_a_users_classifier_tells_as_many_classes_as_the_data(digits):
    inputs = keras.Input((28, 28, 1))
    flat = keras.layers.Flatten()(inputs)
    outputs = {"features": flat, "logits": keras.layers.Dense(7)(flat)}
    users = keras.Model(inputs, outputs, name="users")
    x = digits.validation[0]
    evaluation.score(x, renamed(digits, None, 7), ["diversity"], features=[users])
    with pytest.raises(InputError, match="the classes that users can tell"):
        evaluation.score(x, digits, ["diversity"], features=[users])


def test_style_of_other_things_than_digits_has_no_agreement(digits):
    model = registry.cvae((28, 28, 1), num_classes=10)
    of_digits, of_fashion = (
        score(model, data, ["style"], num_images=40) for data in (digits, renamed(digits, FASHION))
    )
    names = [{one["name"] for one in result["scores"]} for result in (of_digits, of_fashion)]
    assert names[0] - names[1] == {"style_agreement"}
    assert "mnist_plain" in of_fashion["skipped"]["style_agreement"] and not of_digits["skipped"]


def test_what_one_group_refuses_is_no_loss_of_the_others(digits):
    few = score(digits.validation[0][:50], digits)
    assert "at least 129 images" in few["skipped"]["frechet"]
    found = {one["name"]: one for one in few["scores"]}
    assert {"coverage", "kernel_distance", "sharpness"} <= set(found)
    assert 0 < found["kernel_distance"]["error"] < np.inf
    (of_three,) = score(digits.validation[0][:3], digits, ["kernel"])["scores"]
    assert of_three["error"] is None
    with pytest.raises(InputError, match="at least 129 images"):
        score(digits.validation[0][:50], digits, ["sharpness", "frechet"])


# ---- the same on every backend ----

# Digits halves of the fixture, as computed on TensorFlow.
EXPECTED = {
    "frechet_distance": 3.39737,
    "kernel_distance": -0.0800872,
    "precision": 0.97,
    "recall": 0.968333,
    "density": 0.9765,
    "coverage": 0.923333,
    "class_entropy": 0.987274,
    "sharpness": 0.00897439,
}
SHARES = ("precision", "recall", "density", "coverage")  # an image at a ball's edge may fall either way


@pytest.mark.core_on("all")
def test_scores_are_the_same_on_every_backend(digits):
    found = values(score(digits.validation[0][:400], digits, [*DISTANCES, "sharpness"]))
    assert found.keys() == EXPECTED.keys()
    for name, value in EXPECTED.items():
        assert found[name] == pytest.approx(value, rel=1e-3, abs=6e-3 if name in SHARES else 1e-4), name


# ---- statistics and their cache ----


def test_statistics_are_those_of_numpy(digits):
    extractor = metrics.extractor("mnist_plain")
    x = digits.test[0]
    whole = extractor.extract(x)
    kept = metrics.gather(extractor, metrics.chunked(x, 130))
    np.testing.assert_allclose(kept.moments.mean, whole.features.mean(axis=0), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(kept.moments.covariance, np.cov(whole.features.T), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(kept.features, whole.features, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(kept.probabilities, whole.probabilities, atol=1e-5)


def test_memory_is_constant_without_features():
    inputs = keras.Input((20, 20, 1))
    extractor = metrics.extractor(keras.Model(inputs, keras.layers.Flatten()(inputs)))
    images = registry.images(50, (20, 20, 1))

    def peak(chunks, keep_features):
        tracemalloc.start()
        found = metrics.gather(extractor, (images for _ in range(chunks)), keep_features)
        reached = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert found.moments.count == 50 * chunks and (found.features is not None) == keep_features
        return reached

    peak(2, keep_features=False)  # what is made once
    kept = 80 * images.nbytes
    assert peak(82, keep_features=False) - peak(2, keep_features=False) < 0.25 * kept
    assert peak(82, keep_features=True) - peak(2, keep_features=True) > 0.9 * kept


def test_reference_statistics_are_computed_once_for_the_same_images(digits, tmp_path, monkeypatch):
    extractor, x = metrics.extractor("mnist_plain"), digits.test[0]
    first = metrics.reference_statistics(extractor, x, cache=tmp_path)
    (file,) = tmp_path.iterdir()
    assert content_hash(x) in file.name and extractor.digest in file.name
    with monkeypatch.context() as patch:
        patch.setattr(type(extractor), "extract", None)
        again = metrics.reference_statistics(extractor, x.copy(), cache=tmp_path)
    np.testing.assert_array_equal(again.features, first.features)
    np.testing.assert_array_equal(again.moments.covariance, first.moments.covariance)
    changed = x.copy()
    changed[0, 0, 0, 0] += 0.5
    metrics.reference_statistics(extractor, changed, cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    file.write_bytes(b"half a file")
    mended = metrics.reference_statistics(extractor, x, cache=tmp_path)
    np.testing.assert_allclose(mended.features, first.features)


def pooling(kind, name="own"):
    inputs = keras.Input((28, 28, 1))
    return keras.Model(inputs, keras.layers.Flatten()(kind(7)(inputs)), name=name)


def test_networks_of_other_layers_or_scales_share_no_statistics(digits, tmp_path):
    x = digits.test[0][:50]
    kinds = keras.layers.AveragePooling2D, keras.layers.MaxPooling2D
    extractors = [metrics.extractor(pooling(kind)) for kind in kinds]
    extractors.append(dataclasses.replace(extractors[0], scale=2.0, offset=-1.0))
    found = [metrics.reference_statistics(extractor, x, cache=tmp_path) for extractor in extractors]
    assert len(list(tmp_path.iterdir())) == 3
    for extractor, statistics in zip(extractors, found, strict=True):
        np.testing.assert_allclose(statistics.features, extractor.extract(x).features, rtol=1e-5)
    again = metrics.extractor(pooling(kinds[0]))  # whatever Keras calls its layers by now
    metrics.reference_statistics(again, x, cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 3
    both = evaluation.score(x, digits, ["kernel"], features=[extractors[0].model, extractors[1].model])
    assert len(both["features"]) == 2


def test_the_hash_is_of_type_shape_and_values():
    x = np.arange(24, dtype="uint8").reshape(2, 3, 4, 1)
    assert content_hash(x) == content_hash(x.copy()) != content_hash(x[::-1])
    assert len({content_hash(x), content_hash(x.astype("float32")), content_hash(x.reshape(2, 4, 3, 1))}) == 3


# ---- Keras metrics ----


@pytest.mark.core_on("all")
def test_keras_metrics_are_the_functions_batch_by_batch(digits):
    real, fake = (
        digits.test[0][:384],
        np.float32(ndimage.gaussian_filter(digits.validation[0][:384], (0, 1, 1, 0))),
    )
    extractor = metrics.extractor("mnist_plain")
    features = [extractor.extract(x).features for x in (real, fake)]
    frechet, kernel = metrics.FrechetDistance(extractor), metrics.KernelDistance(extractor)
    estimates = []
    for start in range(0, 384, 96):
        rows = slice(start, start + 96)
        for metric in (frechet, kernel):
            metric.update_state(real[rows], fake[rows])
        estimates.append(metrics.kernel_distance(features[0][rows], features[1][rows], block=96)[0])
    assert float(frechet.result()) == pytest.approx(metrics.frechet_distance(*features), rel=1e-2)
    assert float(kernel.result()) == pytest.approx(np.mean(estimates), rel=1e-3)
    eight = metrics.KernelDistance(extractor)
    eight.update_state(*(np.rint(255 * x[:96]).astype("uint8") for x in (real, fake)))
    assert float(eight.result()) == pytest.approx(estimates[0], rel=2e-2)
    frechet.reset_state()
    frechet.update_state(real, real)
    assert float(frechet.result()) == pytest.approx(0.0, abs=0.05 * float(np.var(features[0], axis=0).sum()))
    with pytest.raises(InputError, match="sample_weight"):
        frechet.update_state(real, fake, np.ones(384))


def test_metrics_are_made_again_from_their_configuration():
    named = metrics.FrechetDistance("mnist_residual", name="own")
    again = metrics.FrechetDistance.from_config(named.get_config())
    assert (again.name, again.extractor.digest) == ("own", named.extractor.digest)
    inputs = keras.Input((4, 4, 1))
    users = keras.Model(inputs, keras.layers.Flatten()(inputs))
    restored = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(metrics.KernelDistance(users))
    )
    real, fake = registry.images(6, (4, 4, 1)), registry.images(6, (4, 4, 1), seed=1)
    restored.update_state(real, fake)
    flat = [x.reshape(6, 16) for x in (real, fake)]
    assert float(restored.result()) == pytest.approx(metrics.kernel_distance(*flat, block=6)[0], rel=1e-4)
    halved = dataclasses.replace(metrics.extractor(users), scale=0.5)
    scaled = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(metrics.KernelDistance(halved))
    )
    scaled.update_state(real, fake)
    halves = [x / 2 for x in flat]
    assert float(scaled.result()) == pytest.approx(metrics.kernel_distance(*halves, block=6)[0], rel=1e-4)
    taken = keras.Model(inputs, keras.layers.Flatten()(inputs), name="inception_v3")  # another's name
    assert isinstance(metrics.KernelDistance(taken).get_config()["features"], dict)
    shipped = metrics.FrechetDistance(metrics.extractor("mnist_plain")).get_config()
    assert shipped["features"] == "mnist_plain"
    weighed = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(inputs)), name="weighed")
    with pytest.raises(InputError, match="a configuration has no weights of weighed"):
        metrics.FrechetDistance.from_config(metrics.FrechetDistance(weighed).get_config())


# ---- models ----


def small_data(image_shape=(12, 12, 1)):
    x = registry.images(30, image_shape)
    return ImageData((x, None), (x[:9], None), (x[:20], None), name="noise")


def test_a_model_is_scored_with_all_that_applies_and_says_what_does_not():
    model = registry.vae((12, 12, 1))
    seen = []
    result = evaluation.score(
        model, small_data(), progress=seen.append, features=[], likelihood_images=5, likelihood_samples=3
    )
    assert seen == list(evaluation.GROUPS)
    found = {one["name"]: one for one in result["scores"]}
    assert set(result["skipped"]) == {
        "frechet",
        "kernel",
        "neighbours",
        "diversity",
        "modes",
        "labels",
        "recognition",
        "synthetic",
        "style",
        "completion",
        "classification",
    }
    x, reconstructions = small_data().test[0], model.reconstruct(small_data().test[0])
    assert found["mean_squared_error"]["value"] == pytest.approx(
        np.mean((x - reconstructions) ** 2), rel=1e-5
    )
    q = model.encoder.predict(x, verbose=0)
    kl = 0.5 * (q["mean"] ** 2 + np.exp(q["log_variance"]) - 1 - q["log_variance"]).sum(axis=1).mean()
    assert found["kl"]["value"] == pytest.approx(kl, rel=1e-4)
    assert sum(found["kl"]["details"].values()) == pytest.approx(kl, rel=1e-4)
    assert found["sharpness"]["value"] == pytest.approx(
        metrics.laplacian_variance(model.generate(20, seed=0))
    )
    drawn = np.sort(np.random.default_rng(0).permutation(20)[:5])
    nats = model.log_likelihood(x[drawn], num_samples=3, seed=0)
    assert found["log_likelihood"]["value"] == pytest.approx(nats.mean(), rel=1e-6)
    noted = {name for name, one in found.items() if one["note"] == "of 5 images"}
    assert noted == {"evidence_lower_bound", "log_likelihood", "bits_per_dimension"}
    assert found["bits_per_dimension"]["value"] == pytest.approx(-nats.mean() / np.log(2) / 144, rel=1e-6)
    json.dumps(result, allow_nan=False)


def test_the_divergence_is_from_the_prior_that_was_learned():
    x = registry.images(20, (4, 4, 1))
    y = np.arange(20) % registry.NUM_CLASSES
    data = ImageData((x, y), (x, y), (x, y), name="noise")
    model = registry.cvae((4, 4, 1), num_classes=registry.NUM_CLASSES, prior=True)
    condition = model.conditioned(20, y)
    q = model.posterior(x, condition)
    nats, from_standard = (
        float(keras.ops.convert_to_numpy(q.kl(p)).mean()) for p in (model.prior.given(condition).normal, None)
    )
    found = values(evaluation.score(model, data, ["latent"], num_images=20))
    assert found["kl"] == pytest.approx(nats, rel=1e-4)
    assert found["kl"] != pytest.approx(from_standard, rel=1e-2)


def test_samples_depend_on_the_seed_and_not_on_the_chunks(monkeypatch):
    model, data = registry.vae((12, 12, 1)), small_data()

    def sharpness(**settings):
        return values(evaluation.score(model, data, ["sharpness"], num_images=25, **settings))["sharpness"]

    first = sharpness(seed=3)
    assert sharpness(seed=4) != first
    monkeypatch.setattr(evaluation.subject, "CHUNK", 7)
    assert sharpness(seed=3) == pytest.approx(first, rel=1e-6)


def test_provenance_states_all_that_a_number_depends_on():
    images = small_data((8, 8, 1)).train[0]
    inputs = keras.Input((16, 16, 1))
    pooled = keras.layers.Flatten()(keras.layers.AveragePooling2D(8)(inputs))
    users = keras.Model(inputs, pooled, name="users")
    result = evaluation.score(images, small_data((8, 8, 1)), ["frechet"], features=[users], seed=5)
    assert result["features"] == [
        {
            "extractor": "users",
            "digest": metrics.extractor(users).digest,
            "resized": "from (8, 8, 1) to (16, 16, 1)",
        }
    ]
    unused = evaluation.score(registry.vae((12, 12, 1)), small_data(), ["reconstruction"])
    assert unused["features"] == []
    assert result["data"]["content"] == content_hash(small_data((8, 8, 1)).test[0])
    assert result["data"]["num_images"] == 20 and result["samples"]["num_images"] == 20
    assert result["backend"] == keras.backend.backend()
    backend = keras.backend.backend()
    assert set(result["versions"]) == {"keras_vaegan", "keras", "numpy", backend}
    assert result["versions"][backend] == importlib.metadata.version(backend)
    assert result["samples"]["seed"] == 5


def test_provenance_tells_what_was_scored():
    def subject(scored, **settings):
        return evaluation.score(scored, small_data(), ["sharpness"], **settings)["subject"]

    models = [registry.vae((12, 12, 1)) for _ in range(2)]
    weights = [features.digest(model) for model in models]
    assert [subject(model) for model in models] == [{"weights": one} for one in weights]
    assert weights[0] != weights[1]
    x = registry.images(30, (12, 12, 1))
    given = {"content": content_hash(x), "labels": None}
    assert subject(x) == subject(x, num_images=7) == given
    assert subject(x[::-1]) != given
    labelled = [subject(x, labels=labels)["labels"] for labels in (np.zeros(30, int), np.ones(30, int))]
    assert None not in labelled and labelled[0] != labelled[1]


def test_two_networks_of_one_name_are_two_extractors():
    def network(seed):
        inputs = keras.Input((8, 8, 1))
        pooled = keras.layers.Flatten()(keras.layers.AveragePooling2D(4)(inputs))
        dense = keras.layers.Dense(3, kernel_initializer=keras.initializers.GlorotNormal(seed))
        return keras.Model(inputs, dense(pooled), name="own")

    data = small_data((8, 8, 1))
    one, other = network(1), network(2)
    both = evaluation.score(data.train[0], data, ["frechet"], features=[one, other])
    assert [used["digest"] for used in both["features"]] == [
        metrics.extractor(m).digest for m in (one, other)
    ]
    alone = [
        evaluation.score(data.train[0], data, ["frechet"], features=[m])["scores"][0] for m in (one, other)
    ]
    assert [score["value"] for score in both["scores"]] == [score["value"] for score in alone]
    assert alone[0]["value"] != alone[1]["value"]


# ---- bad input ----


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"groups": ["frechte"]}, "metrics must be one of.*Did you mean 'frechet'"),
        ({"groups": ["labels"]}, "metrics labels cannot be computed"),
        ({"split": "training"}, "split must be one of"),
        ({"num_images": 31}, "num_images must be at most 30"),
        ({"num_images": 1}, "num_images must be an integer of at least 2"),
        ({"features": ["inception"]}, "features must be one of"),
        ({"labels": [1, 2]}, "labels must have one label"),
        ({"groups": ["frechet"], "features": ["mnist_plain"]}, "at least 129 images"),
        ({"groups": []}, "metrics must be one at least of frechet, .*; received none"),
    ],
)
def test_bad_input_is_named(arguments, message):
    groups = arguments.pop("groups", None)
    with pytest.raises(InputError, match=message):
        evaluation.score(registry.images(30, (12, 12, 1)), small_data(), groups, **arguments)


@pytest.mark.parametrize("shape", [(30, 12, 12, 3), (30, 11, 12, 1), (0, 12, 12, 1), (30, 12, 12)])
def test_images_of_another_shape_are_refused(shape):
    with pytest.raises(InputError, match="subject must"):
        evaluation.score(np.zeros(shape, "float32"), small_data())


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_a_split_without_images_is_named(split):
    full = small_data()
    none = (np.zeros((0, 12, 12, 1), "float32"), None)
    parts = [none if name == split else getattr(full, name) for name in ("train", "validation", "test")]
    data = ImageData(*parts, name="none")
    with pytest.raises(InputError, match=f"data must hold images in its {split} split; received none"):
        judged = "test" if split == "train" else split
        evaluation.score(registry.images(30, (12, 12, 1)), data, ["sharpness"], split=judged)


def test_a_model_of_another_shape_is_refused():
    with pytest.raises(InputError, match="data must hold images of the model's shape"):
        evaluation.score(registry.vae((8, 8, 1)), small_data())


# ---- the command ----


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "vae"
    networks = ["--set", "encoder.filters=[4]", "--set", "decoder.filters=[4]", "--latent-dim", 3]
    train = ["train", "--model", "vae", "--dataset", "digits", *networks, "--epochs", 1]
    assert run(*train, "--batch-size", 512, "--output", folder) == 0
    return folder


def test_scores_go_when_the_training_goes_on(run_folder, tmp_path):
    folder = shutil.copytree(run_folder, tmp_path / "run")
    (folder / "evaluate.json").write_text("{}")
    assert run("train", "--resume", folder, "--epochs", 2) == 0
    assert not (folder / "evaluate.json").exists()


def test_the_table_of_results_takes_scores_without_a_number(monkeypatch):
    monkeypatch.syspath_prepend(pathlib.Path(__file__).parents[1] / "benchmarks")
    score_mnist = importlib.import_module("score_mnist")
    known = {"name": "label_agreement", "value": 0.9, "details": {"0": 0.8, "1": None, "2": 0.7}}
    assert score_mnist.worst(known) == " [2: 0.700]"
    assert score_mnist.worst(known | {"details": {"0": None}}) == ""
    assert np.isnan(score_mnist.value_of({"name": "kernel_distance", "value": None}))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    return tmp_path / "keras" / "keras_vaegan"


def test_the_command_writes_json_and_prints_a_table(run_folder, cache, capsys):
    few = ["--likelihood-images", 4, "--likelihood-samples", 2]
    assert run("evaluate", run_folder, "--num-images", 150, "--seed", 1, *few) == 0
    printed = capsys.readouterr().out
    written = json.loads((run_folder / "evaluate.json").read_text())
    assert written["model"] == "vae" and written["data"]["dataset"] == "digits"
    assert written["samples"] == {"num_images": 150, "seed": 1, "floor_images": 150}
    assert written["likelihood"] == {"num_images": 4, "num_samples": 2}
    bound = next(line for line in printed.splitlines() if line.startswith("log likelihood"))
    assert " nats, of 4 images" in bound and "nan" not in printed
    assert [one["extractor"] for one in written["features"]] == ["mnist_plain", "mnist_residual"]
    frechet = next(one for one in written["scores"] if one["name"] == "frechet_distance")
    line = next(line for line in printed.splitlines() if line.startswith("frechet distance"))
    assert f"{frechet['value']:.4g}" in line and f"{frechet['reference']:.4g}" in line
    assert "labels left out" in printed
    assert len(list(cache.iterdir())) == 2


def test_the_command_scores_a_file_of_images_with_labels(digits, cache, tmp_path, capsys):
    x, y = load("digits").train
    np.savez(tmp_path / "samples.npz", images=x[:200], labels=y[:200])
    groups = ["--metrics", "labels,frechet", "--features", "mnist_plain", "--no-cache"]
    assert run("evaluate", tmp_path / "samples.npz", "--dataset", "digits", *groups) == 0
    written = json.loads((tmp_path / "samples.npz.evaluate.json").read_text())
    assert values(written)["label_agreement"] > 0.8
    assert not cache.exists()


def test_the_command_takes_a_keras_model_as_features(cache, tmp_path):
    images = keras.Input((28, 28, 1))
    pooled = keras.layers.Flatten()(keras.layers.AveragePooling2D(7)(images))
    keras.Model(images, pooled, name="users").save(tmp_path / "users.keras")
    np.savez(tmp_path / "samples.npz", images=load("digits").train[0][:100])
    asked = [
        "--metrics",
        "frechet",
        "--features",
        tmp_path / "users.keras",
        "--output",
        tmp_path / "out.json",
    ]
    assert run("evaluate", tmp_path / "samples.npz", "--dataset", "digits", *asked) == 0
    assert json.loads((tmp_path / "out.json").read_text())["features"][0]["extractor"] == "users"


def test_the_command_refuses_what_it_cannot_score(run_folder, cache, tmp_path, capsys):
    np.savez(tmp_path / "empty.npz", images=np.zeros((0, 28, 28, 1), "float32"))
    np.savez(tmp_path / "other.npz", x=np.zeros((3, 28, 28, 1), "float32"))
    np.savez(tmp_path / "colour.npz", images=np.zeros((30, 28, 28, 4), "float32"))
    images = keras.Input((28, 28, 1))
    keras.Model(images, images).save(tmp_path / "plain.keras")
    digits = ["--dataset", "digits"]
    few = ["--num-images", 50, "--metrics", "frechet"]
    assert "at least 129" in refused(capsys, "evaluate", run_folder, *few)
    assert "--dataset must be given" in refused(capsys, "evaluate", tmp_path / "colour.npz")
    assert "(H, W, C)" in refused(capsys, "evaluate", tmp_path / "colour.npz", *digits)
    assert "at least one image" in refused(capsys, "evaluate", tmp_path / "empty.npz", *digits)
    assert "must hold `images`" in refused(capsys, "evaluate", tmp_path / "other.npz", *digits)
    assert "must hold a model of keras-vaegan" in refused(
        capsys, "evaluate", tmp_path / "plain.keras", *digits
    )
    no_data = ["--dataset", tmp_path / "none"]  # names are checked before data are read
    said = refused(capsys, "evaluate", run_folder, *no_data, "--metrics", "fid")
    assert "--metrics must be one of" in said and "Did you mean 'frechet'" in said
    assert "--features must be one of" in refused(
        capsys, "evaluate", run_folder, *no_data, "--features", "nothing"
    )
    for option in ("--metrics", "--features"):
        assert f"{option} must be names" in refused(capsys, "evaluate", run_folder, option, ",")
    assert "there is none" in refused(capsys, "evaluate", run_folder, "--features", "none.keras")
    assert "features must be one of" in refused(capsys, "evaluate", run_folder, "--features", "none")
