"""The groups of scores, by name: a new one is a function and a line in `GROUPS`."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from keras import ops
from scipy import special

from keras_vaegan import metrics
from keras_vaegan.errors import InputError
from keras_vaegan.evaluation.scores import Score
from keras_vaegan.evaluation.subject import MAPS, Evaluation, NotApplicable

if TYPE_CHECKING:
    from keras_vaegan.models.latent import LatentVariableModel


def _frechet(of: Evaluation) -> Iterator[Score]:
    for name, real, fake, floor in of.by_extractor():
        least = len(real.moments.mean) + 1
        for number, which in (
            (fake.moments.count, "num_images"),
            (real.moments.count, f"the {of.split} split"),
        ):
            if number < least:
                raise InputError(
                    f"{which} must be at least {least} images for a covariance of the {least - 1} "
                    f"features of {name}; received {number}."
                )
        value, reference = (metrics.frechet_distance(x.moments, real.moments) for x in (fake, floor))
        yield Score("frechet_distance", value, reference=reference, better="lower", features=name)


def _kernel(of: Evaluation) -> Iterator[Score]:
    for name, real, fake, floor in of.by_extractor():
        (value, error), (reference, _) = (
            metrics.kernel_distance(x.features, real.features, seed=of.seed) for x in (fake, floor)
        )
        known = error if np.isfinite(error) else None
        yield Score("kernel_distance", value, known, reference, better="lower", features=name)


def _neighbours(of: Evaluation) -> Iterator[Score]:
    for name, real, fake, floor in of.by_extractor():
        found, reference = (
            metrics.precision_recall_density_coverage(real.features, x.features) for x in (fake, floor)
        )
        for part, value in found.items():
            yield Score(part, value, reference=reference[part], better="higher", features=name)


def _sharpness(of: Evaluation) -> Iterator[Score]:
    total = sum(metrics.laplacian_variance(chunk) * len(chunk) for chunk in of.samples())
    reference = of.once("sharpness", lambda: metrics.laplacian_variance(of.real))
    yield Score("sharpness", total / of.num_images, reference=reference, better="near")


def _diversity(of: Evaluation) -> Iterator[Score]:
    for name, real, fake, _ in of.by_classifier():
        found, reference = (metrics.class_balance(x.probabilities) for x in (fake, real))
        yield Score(
            "class_entropy",
            found["entropy"],
            reference=reference["entropy"],
            better="near",
            features=name,
            details=_by_class(of, found["histogram"]),
        )


def _labels(of: Evaluation) -> Iterator[Score]:
    labels = _asked_labels(of)
    for name, real, fake, floor in of.by_classifier():
        found = metrics.label_agreement(fake.probabilities, labels)
        seen, real_labels = of.labelled(of.real_labels, real.probabilities)
        real_features, _ = of.labelled(of.real_labels, real.features)
        yield Score(
            "label_agreement",
            found["agreement"],
            reference=metrics.label_agreement(seen, real_labels)["agreement"],
            better="higher",
            features=name,
            details=_by_class(of, found["per_class"]),
        )
        within = metrics.diversity_within_classes(real_features, real_labels, fake.features, labels)
        among_real = metrics.diversity_within_classes(
            real_features, real_labels, *of.labelled(of.training_images[1], floor.features)
        )
        for part, better in (("spread", "near"), ("coverage", "higher")):
            values, reference = (list(x[part].values()) for x in (within, among_real))
            yield Score(
                f"{part}_within_classes",
                float(np.mean(values)),
                reference=float(np.mean(reference)),
                better=better,
                features=name,
                details={_class_name(of, k): value for k, value in within[part].items()},
            )


def _synthetic(of: Evaluation) -> Iterator[Score]:
    labels, (training, training_labels) = _asked_labels(of), of.training_images
    real = of.labelled(of.real_labels, of.real)
    accuracies = [
        metrics.accuracy_of_classifier_trained_on(x, y, *real, seed=of.seed)
        for x, y in (
            (np.concatenate(list(of.samples())), labels),
            of.labelled(training_labels, training),
        )
    ]
    yield Score("accuracy_on_real", accuracies[0], reference=accuracies[1], better="higher")


def _style(of: Evaluation) -> Iterator[Score]:
    model = of.with_model()
    classes = model.num_classes or 0
    if classes < 2:
        raise NotApplicable("the model is not conditioned on classes, of which there must be two")
    if of.image_shape[-1] != 1:
        raise NotApplicable("slant and stroke width are measured in grey images")
    images, labels = of.real_of_model(of.num_images)
    assert labels is not None  # the model has classes
    # Each image as one other class, drawn.
    others = np.random.default_rng(of.seed).integers(1, classes, len(images))
    asked = (labels + others) % classes
    codes = model.encode(images, labels, batch_size=of.batch_size)
    styled = model.decode(codes, asked, batch_size=of.batch_size)
    try:
        telling = of.classifiers()
    except NotApplicable as reason:
        telling, of.left_out["style_agreement"] = [], str(reason)
    for extractor in telling:
        probabilities = extractor.extract(styled, of.batch_size).probabilities
        found = metrics.label_agreement(probabilities, asked)
        details = _by_class(of, found["per_class"])
        yield Score("style_agreement", found["agreement"], None, 1.0, None, "higher", extractor.name, details)
    for measure, values in metrics.style_kept(images, styled, asked).items():
        details = {_class_name(of, k): value for k, value in values.items()}
        mean = float(np.mean(list(values.values())))
        yield Score(f"style_{measure}_kept", mean, None, 1.0, better="higher", details=details)


def _modes(of: Evaluation) -> Iterator[Score]:
    if of.data.name != "stacked_mnist":
        raise NotApplicable("the data are not stacked_mnist")
    classifier = of.use(metrics.extractor("mnist_plain"), channels=1)
    found = metrics.modes_covered(_stacked_digits(classifier, of.samples()))
    reference = of.once(
        "modes",
        lambda: metrics.modes_covered(_stacked_digits(classifier, metrics.chunked(of.training_images[0]))),
    )
    for part, better in (("modes", "higher"), ("kl", "lower")):
        name, unit = ("modes", None) if part == "modes" else ("modes_kl", "nats")
        yield Score(name, found[part], None, reference[part], unit, better, classifier.name)


def _recognition(of: Evaluation) -> Iterator[Score]:
    if of.data.name != "mnist":
        raise NotApplicable("the data are not mnist")
    recognizer = of.use(metrics.recognizer())
    fake = metrics.gather(recognizer, of.samples(), keep_features=False)
    real = of.once(
        "recognition",
        lambda: metrics.reference_statistics(recognizer, of.real, keep_features=False, cache=of.cache),
    )
    value, reference = (metrics.recognized_share(x.probabilities) for x in (fake, real))
    yield Score("recognized", value, reference=reference, better="higher", features=recognizer.name)


def _reconstruction(of: Evaluation) -> Iterator[Score]:
    found = of.reconstructed
    yield Score("mean_squared_error", float(found["squared_error"].mean()), better="lower")
    ratio = float(found["signal_to_noise"].mean())
    yield Score("peak_signal_to_noise_ratio", ratio, unit="decibels", better="higher")
    if "similarity" in found:
        yield Score("structural_similarity", float(found["similarity"].mean()), better="higher")
    if "distance" in found:
        away = found["distance"]
        yield Score(
            "reconstruction_distance", float(away.mean()), _error(away), better="lower", features=MAPS
        )


def _latent(of: Evaluation) -> Iterator[Score]:
    model = of.with_model()
    images, labels = of.real_of_model(of.num_images)
    # Of all dimensions of all steps.
    kl = model.kl_per_dimension(images, labels, of.batch_size).reshape(len(images), -1).mean(axis=0)
    means = model.encode(images, labels, batch_size=of.batch_size).reshape(len(images), -1)
    details = {str(i): float(value) for i, value in enumerate(kl)}
    yield Score("kl", float(kl.sum()), unit="nats", details=details)
    yield Score("active_units", metrics.active_units(means), reference=means.shape[1])


def _likelihood(of: Evaluation) -> Iterator[Score]:
    model, (images, labels) = of.with_model(), of.real_of_model(of.likelihood_images)
    note = _of(images)
    if not model.prior.has_density:
        note = f"{note}; p(z) is N(0, I), since {model.prior.summary} has no density"
    for name, samples in (("evidence_lower_bound", 1), ("log_likelihood", of.likelihood_samples)):
        nats = model.log_likelihood(
            images, labels, num_samples=samples, seed=of.seed, batch_size=of.batch_size
        )
        yield Score(name, float(nats.mean()), _error(nats), unit="nats", better="higher", note=note)
    bits = -metrics.bits_per_dimension(float(nats.mean()), of.image_shape)
    yield Score("bits_per_dimension", float(bits), unit="bits", better="lower", note=note)


QUADRANTS = ("quadrants:1", "quadrants:2", "quadrants:3")  # the rows of Sohn et al. 2015


def _completion(of: Evaluation) -> Iterator[Score]:
    model = of.with_model()
    if not model.completes:
        raise NotApplicable("the model does not complete images")
    images, labels = of.real_of_model(of.likelihood_images)
    for mask in [mask for mask in QUADRANTS if mask in model.masks] or QUADRANTS:
        nats = -model.log_likelihood(images, labels, mask, of.likelihood_samples, of.seed, of.batch_size)
        name = f"completion_{mask.replace(':', '_')}"
        yield Score(name, float(nats.mean()), _error(nats), unit="nats", better="lower", note=_of(images))


def _classification(of: Evaluation) -> Iterator[Score]:
    model, labels = of.with_model(), of.real_labels
    if not model.classifiers:
        raise NotApplicable("the model has no classifier of its own")
    of_split = of.labelled(labels, of.real)
    calibrated = model.classify(of_split[0], of.batch_size)
    found = metrics.label_agreement(calibrated, of_split[1])
    wrong = _by_class(of, [1.0 - share for share in found["per_class"]])
    yield Score("classification_error", 1.0 - found["agreement"], better="lower", details=wrong)
    for classifier in model.classifiers if len(model.classifiers) > 1 else ():
        told = model.class_logits(of_split[0], of.batch_size, classifier).argmax(axis=1)
        yield Score(f"{classifier}_error", float(np.mean(told != of_split[1])), better="lower")
    bare = special.softmax(model.class_logits(of_split[0], of.batch_size), axis=1)
    for name, probabilities in (("calibration_error_before", bare), ("calibration_error", calibrated)):
        value = metrics.expected_calibration_error(probabilities, of_split[1])
        yield Score(name, value, reference=0.0, better="lower")
    yield Score("temperature", model.temperature)
    images, classes = of.real_of_model(of.likelihood_images)
    bounds: dict[str, list[np.ndarray]] = {"labelled": [], "unlabelled": []}
    with _noise_of(model, of.seed):
        for start in range(0, len(images), of.batch_size):
            rows = slice(start, start + of.batch_size)
            logs = model.compute_losses(images[rows], None if classes is None else classes[rows]).logs
            for name, values in bounds.items():
                values.append(ops.convert_to_numpy(logs[name]))
    for name, values in bounds.items():
        nats = np.concatenate(values)
        yield Score(f"{name}_bound", float(nats.mean()), unit="nats", better="lower", note=_of(images))


@contextlib.contextmanager
def _noise_of(model: "LatentVariableModel", seed: int) -> Iterator[None]:
    """Let a model draw the noise of a seed, and go on with its own afterwards."""
    state = model.seed_generator.state
    before = ops.convert_to_numpy(state)
    state.assign(np.array([seed, 0], before.dtype))
    try:
        yield
    finally:
        state.assign(before)


GROUPS: dict[str, Callable[[Evaluation], Iterator[Score]]] = {
    "frechet": _frechet,
    "kernel": _kernel,
    "neighbours": _neighbours,
    "diversity": _diversity,
    "modes": _modes,
    "labels": _labels,
    "recognition": _recognition,
    "synthetic": _synthetic,
    "style": _style,
    "sharpness": _sharpness,
    "reconstruction": _reconstruction,
    "latent": _latent,
    "likelihood": _likelihood,
    "completion": _completion,
    "classification": _classification,
}
# Other names of scores, with the groups that have them.
SYNONYMS = {
    **{"fid": "frechet", "frechet_distance": "frechet", "kid": "kernel", "mmd": "kernel"},
    **dict.fromkeys(("precision", "recall", "density", "coverage"), "neighbours"),
    **dict.fromkeys(("mse", "psnr", "ssim", "lpips"), "reconstruction"),
    **dict.fromkeys(("kl", "active_units"), "latent"),
    **dict.fromkeys(("elbo", "nll", "log_likelihood", "bits_per_dimension"), "likelihood"),
    **dict.fromkeys(("accuracy", "error", "ece"), "classification"),
}
KEEPING_FEATURES = {"kernel", "neighbours", "labels"}  # the others need moments and probabilities alone


def _asked_labels(of: Evaluation) -> np.ndarray:
    if of.labels is None:
        raise NotApplicable("the samples have no labels that were asked for")
    return of.labels


def _error(nats: np.ndarray) -> float | None:
    """The standard error of the mean over images; None for a single one."""
    return float(nats.std(ddof=1) / np.sqrt(len(nats))) if len(nats) > 1 else None


def _of(images: np.ndarray) -> str:
    return f"of {len(images):,} images"


def _class_name(of: Evaluation, label: int) -> str:
    names = of.data.class_names
    return str(label) if names is None or label >= len(names) else names[label]


def _by_class(of: Evaluation, values: Sequence[float]) -> dict[str, float | None]:
    """Numbers by the class's name; None for a class that was not asked for."""
    return {_class_name(of, k): float(v) if np.isfinite(v) else None for k, v in enumerate(values)}


def _stacked_digits(classifier: metrics.Extractor, chunks: Iterable[np.ndarray]) -> np.ndarray:
    """The digits that a classifier sees in each of three channels, `(N, 3)`."""
    digits = []
    for chunk in chunks:
        seen = [classifier.extract(chunk[..., channel, None]).probabilities for channel in range(3)]
        digits.append(np.stack([probabilities.argmax(axis=1) for probabilities in seen], axis=1))
    return np.concatenate(digits)
