"""`score`: how good a model, or a set of images, is: numbers with all that is needed to repeat them."""

import dataclasses
import datetime
import functools
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike

import keras_vaegan
from keras_vaegan import metrics
from keras_vaegan.data import ImageData
from keras_vaegan.data.checks import check_images, check_labels
from keras_vaegan.errors import InputError, choose, whole_number
from keras_vaegan.files import write_json
from keras_vaegan.metrics.statistics import CHUNK, Statistics, content_hash
from keras_vaegan.models.latent import LatentVariableModel

FORMAT_VERSION = 1
MOST_IMAGES = 10_000  # samples, where no other number is asked for
DEFAULT_FEATURES = {1: ("mnist_plain", "mnist_residual"), 3: ("inception_v3",)}  # by channels


@dataclasses.dataclass
class Score:
    """One number.

    Attributes:
        name: of the number, the same in every result.
        value: the number.
        error: its standard error, where it is an estimate that tells one.
        reference: what to compare it with: of a distance between sets the floor, that of real
            training images to the real images; else the value of the real images.
        unit: `nats`, `decibels`, ...; None for a pure number.
        better: `lower`, `higher` or `near` the reference; None where neither is.
        features: name of the extractor, where the number depends on one.
        details: the same by class, dimension, ..., `{name: number}`.
    """

    name: str
    value: float
    error: float | None = None
    reference: float | None = None
    unit: str | None = None
    better: str | None = None
    features: str | None = None
    details: Mapping[str, float | None] | None = None


class NotApplicable(Exception):
    """Why a group of scores cannot be computed for this subject."""


class Evaluation:
    """Everything that scores are computed from, each part made when it is first asked for.

    Args:
        subject: a model, or images `(N, H, W, C)` that one made.
        data: the real images; its `split` is the reference.
        split: `test` or `validation`.
        num_images: samples that are scored; as many as the reference has, up to 10,000, if None.
        seed: of the samples, and of what is drawn from the training images.
        features: names or Keras models for `metrics.extractor`; the package's two classifiers
            for grey images and Inception for colour if None.
        labels: classes that the images were asked to show, `(N,)`.
        likelihood_images, likelihood_samples: real images whose likelihood is estimated, and
            codes drawn for each.
        batch_size: images computed at a time.
        cache: folder for the statistics of real images; None for none.
    """

    def __init__(
        self,
        subject: LatentVariableModel | ArrayLike,
        data: ImageData,
        split: str = "test",
        num_images: int | None = None,
        seed: int = 0,
        features: Sequence[str | keras.Model] | None = None,
        labels: ArrayLike | None = None,
        likelihood_images: int = 500,
        likelihood_samples: int = 100,
        batch_size: int = 256,
        cache: str | os.PathLike[str] | None = None,
    ) -> None:
        self.data, self.split = data, choose("split", split, ("test", "validation"))
        self.real, self.real_labels = getattr(data, split)
        self.model = subject if isinstance(subject, LatentVariableModel) else None
        image_shape = tuple(data.image_shape)
        if self.model is None:
            self.images: np.ndarray | None = check_images(subject, image_shape, "subject")
        else:
            self.images = None
            if tuple(self.model.image_shape) != image_shape:
                raise InputError(
                    f"data must hold images of the model's shape {self.model.image_shape}; "
                    f"received {image_shape}."
                )
        self.image_shape = image_shape
        self.labels = None
        if labels is not None and self.images is not None:
            self.labels = check_labels(labels, len(self.images), argument="labels")
        most = len(self.images) if self.images is not None else max(MOST_IMAGES, num_images or 0)
        count = min(most, len(self.real)) if num_images is None else num_images
        self.num_images = whole_number("num_images", count, 2)
        if self.num_images > most:
            raise InputError(f"num_images must be at most {most}, the images given; received {num_images}.")
        self.seed, self.batch_size = whole_number("seed", seed, 0), whole_number("batch_size", batch_size, 1)
        self.likelihood_images = whole_number("likelihood_images", likelihood_images, 1)
        self.likelihood_samples = whole_number("likelihood_samples", likelihood_samples, 1)
        self.asked_features, self.cache = features, cache
        self.keep_features = True

    # ---- sets of images ----

    def samples(self) -> Iterator[np.ndarray]:
        """The images that are scored, in chunks `(n, H, W, C)`, the same each time."""
        for start in range(0, self.num_images, CHUNK):
            number = min(CHUNK, self.num_images - start)
            if self.images is not None:
                yield self.images[start : start + number]
            elif self.model is not None:
                yield self.model.generate(number, seed=self.seed, start=start, batch_size=self.batch_size)

    @functools.cached_property
    def training_images(self) -> tuple[np.ndarray, np.ndarray | None]:
        """As many real training images, with their labels, for the floor."""
        x, y = self.data.train
        rows = np.random.default_rng(self.seed).permutation(len(x))[: self.num_images]
        return x[rows], None if y is None else y[rows]

    @functools.cached_property
    def reconstructed(self) -> tuple[np.ndarray, np.ndarray]:
        """Real images and their reconstructions."""
        images = self.real[: self.num_images]
        return images, self.with_model().reconstruct(images, batch_size=self.batch_size)

    def with_model(self) -> LatentVariableModel:
        """The model, or the reason why there is none."""
        if self.model is None:
            raise NotApplicable("images alone are scored, without their model")
        return self.model

    # ---- features ----

    @functools.cached_property
    def extractors(self) -> list[metrics.Extractor]:
        """The feature extractors; what was asked for must be had, what was not may be missing."""
        if self.asked_features is not None:
            return [metrics.extractor(source) for source in self.asked_features]
        try:
            return [metrics.extractor(name) for name in DEFAULT_FEATURES.get(self.image_shape[-1], ())]
        except InputError as error:
            raise NotApplicable(str(error)) from error

    def need_extractors(self) -> list[metrics.Extractor]:
        """The extractors, or the reason why there is none."""
        if not self.extractors:
            raise NotApplicable("no features were asked for")
        return self.extractors

    @functools.cached_property
    def fake_statistics(self) -> list[Statistics]:
        """Of the samples, for each extractor."""
        return self._gathered(lambda: self.samples())

    @functools.cached_property
    def floor_statistics(self) -> list[Statistics]:
        """Of the training images that make the floor."""
        return self._gathered(lambda: metrics.chunked(self.training_images[0]))

    @functools.cached_property
    def real_statistics(self) -> list[Statistics]:
        """Of the reference, from the cache where they are there."""
        return [
            metrics.reference_statistics(extractor, self.real, self.keep_features, self.cache)
            for extractor in self.need_extractors()
        ]

    def _gathered(self, chunks: Callable[[], Iterator[np.ndarray]]) -> list[Statistics]:
        return [
            metrics.gather(extractor, chunks(), self.keep_features) for extractor in self.need_extractors()
        ]

    def by_extractor(self) -> Iterator[tuple[str, Statistics, Statistics, Statistics]]:
        """`(name, real, samples, floor)` for each extractor."""
        names = [extractor.name for extractor in self.need_extractors()]
        yield from zip(names, self.real_statistics, self.fake_statistics, self.floor_statistics, strict=True)

    def by_classifier(self) -> list[tuple[str, Statistics, Statistics, Statistics]]:
        """The same for the extractors that tell classes."""
        found = [row for row in self.by_extractor() if row[2].probabilities is not None]
        if not found:
            raise NotApplicable("no extractor among the features tells classes")
        return found


# ---- groups of scores, by name ----


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
        yield Score("kernel_distance", value, error, reference, better="lower", features=name)


def _neighbours(of: Evaluation) -> Iterator[Score]:
    for name, real, fake, floor in of.by_extractor():
        found, reference = (
            metrics.precision_recall_density_coverage(real.features, x.features) for x in (fake, floor)
        )
        for part, value in found.items():
            yield Score(part, value, reference=reference[part], better="higher", features=name)


def _sharpness(of: Evaluation) -> Iterator[Score]:
    total = sum(metrics.laplacian_variance(chunk) * len(chunk) for chunk in of.samples())
    yield Score(
        "sharpness", total / of.num_images, reference=metrics.laplacian_variance(of.real), better="near"
    )


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
    labels, real_labels = _asked_labels(of), of.real_labels
    if real_labels is None:
        raise NotApplicable("the data have no labels")
    for name, real, fake, floor in of.by_classifier():
        found = metrics.label_agreement(fake.probabilities, labels)
        yield Score(
            "label_agreement",
            found["agreement"],
            reference=metrics.label_agreement(real.probabilities, real_labels)["agreement"],
            better="higher",
            features=name,
            details=_by_class(of, found["per_class"]),
        )
        within = metrics.diversity_within_classes(real.features, real_labels, fake.features, labels)
        among_real = metrics.diversity_within_classes(
            real.features, real_labels, floor.features, of.training_images[1]
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
    if of.real_labels is None or training_labels is None:
        raise NotApplicable("the data have no labels")
    accuracies = [
        metrics.accuracy_of_classifier_trained_on(x, y, of.real, of.real_labels, seed=of.seed)
        for x, y in ((np.concatenate(list(of.samples())), labels), (training, training_labels))
    ]
    yield Score("accuracy_on_real", accuracies[0], reference=accuracies[1], better="higher")


def _modes(of: Evaluation) -> Iterator[Score]:
    if of.data.name != "stacked_mnist":
        raise NotApplicable("the data are not stacked_mnist")
    classifier = metrics.extractor("mnist_plain")
    found, reference = (
        metrics.modes_covered(_stacked_digits(classifier, x))
        for x in (of.samples(), metrics.chunked(of.training_images[0]))
    )
    for part, better in (("modes", "higher"), ("kl", "lower")):
        name, unit = ("modes", None) if part == "modes" else ("modes_kl", "nats")
        yield Score(name, found[part], None, reference[part], unit, better, classifier.name)


def _reconstruction(of: Evaluation) -> Iterator[Score]:
    pairs = of.reconstructed
    yield Score("mean_squared_error", float(metrics.mean_squared_error(*pairs).mean()), better="lower")
    ratio = metrics.peak_signal_to_noise_ratio(*pairs).mean()
    yield Score("peak_signal_to_noise_ratio", float(ratio), unit="decibels", better="higher")
    if min(of.image_shape[:2]) > 10:
        yield Score(
            "structural_similarity", float(metrics.structural_similarity(*pairs).mean()), better="higher"
        )


def _latent(of: Evaluation) -> Iterator[Score]:
    model = of.with_model()
    q = model.posterior_parameters(of.real[: of.num_images], batch_size=of.batch_size)
    kl = metrics.kl_per_dimension(q["mean"], q["log_variance"])
    details = {str(i): float(value) for i, value in enumerate(kl)}
    yield Score("kl", float(kl.sum()), unit="nats", details=details)
    yield Score("active_units", metrics.active_units(q["mean"]), reference=model.latent_dim)


def _likelihood(of: Evaluation) -> Iterator[Score]:
    model, images = of.with_model(), of.real[: of.likelihood_images]
    for name, samples in (("evidence_lower_bound", 1), ("log_likelihood", of.likelihood_samples)):
        nats = model.log_likelihood(images, samples, seed=of.seed, batch_size=of.batch_size)
        error = float(nats.std(ddof=1) / np.sqrt(len(nats))) if len(nats) > 1 else None
        yield Score(name, float(nats.mean()), error, unit="nats", better="higher")
    bits = -metrics.bits_per_dimension(float(nats.mean()), of.image_shape)
    yield Score("bits_per_dimension", float(bits), unit="bits", better="lower")


GROUPS: dict[str, Callable[[Evaluation], Iterator[Score]]] = {
    "frechet": _frechet,
    "kernel": _kernel,
    "neighbours": _neighbours,
    "diversity": _diversity,
    "modes": _modes,
    "labels": _labels,
    "synthetic": _synthetic,
    "sharpness": _sharpness,
    "reconstruction": _reconstruction,
    "latent": _latent,
    "likelihood": _likelihood,
}
KEEPING_FEATURES = {"kernel", "neighbours", "labels"}  # for the others memory is constant


def score(
    subject: LatentVariableModel | ArrayLike,
    data: ImageData,
    groups: Sequence[str] | None = None,
    progress: Callable[[str], None] | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Score a model, or images that one made, against real images.

    Args:
        subject: a model of the package, or images `(N, H, W, C)`.
        data: what `keras_vaegan.data.load` gives.
        groups: which of `GROUPS`; all that apply if None.
        progress: called with the name of each group before its work.
        **settings: the other arguments of `Evaluation`.

    Returns:
        A dictionary that `json.dump` takes: `scores` (a list of `Score` as dictionaries),
        `findings` (what is wrong, in words), `skipped` (`{group: reason}`), and the provenance:
        `data`, `samples`, `features`, `backend`, `versions`, `date`.

    Raises:
        InputError: images that do not fit each other, too few of them, features that cannot be had.
    """
    for name in groups or ():
        choose("metrics", name, GROUPS)
    of = Evaluation(subject, data, **settings)
    chosen = list(GROUPS) if groups is None else list(dict.fromkeys(groups))
    of.keep_features = bool(KEEPING_FEATURES & set(chosen))
    scores: list[Score] = []
    skipped: dict[str, str] = {}
    for name in chosen:
        if progress is not None:
            progress(name)
        try:
            scores += GROUPS[name](of)
        except NotApplicable as reason:
            if groups is not None:
                raise InputError(f"metrics {name} cannot be computed: {reason}.") from reason
            skipped[name] = str(reason)
    return {
        "format_version": FORMAT_VERSION,
        **_provenance(of),
        "scores": [dataclasses.asdict(one) for one in scores],
        "findings": findings(scores),
        "skipped": skipped,
    }


def save_scores(result: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Write what `score` returned as JSON; numbers that are not finite become null."""
    write_json(path, _finite(result))


def findings(scores: Sequence[Score]) -> list[str]:
    """What is wrong with the scored images, in plain words."""
    found = []
    for one in scores:
        say, at_fault = RULES.get(one.name, ("", None))
        if at_fault is not None and at_fault(one):
            where = f" (in the features of {one.features})" if one.features else ""
            found.append(say.format(one, worst=_worst(one)) + where)
    return found


# Score name -> what to say, and when.
RULES: dict[str, tuple[str, Callable[[Score], bool]]] = {
    "coverage": (
        "collapse: the samples come near only {0.value:.1%} of the real images",
        lambda one: one.value < 0.2,
    ),
    "class_entropy": (
        "classes are out of balance: their entropy is {0.value:.2f} of the largest; rarest is {worst}",
        lambda one: one.value < 0.9 * (one.reference or 1.0),
    ),
    "sharpness": (
        "the samples are not as sharp as the real images: {0.value:.4f} against {0.reference:.4f}",
        lambda one: not 0.6 < one.value / max(one.reference or 0.0, 1e-12) < 1.5,
    ),
    "label_agreement": (
        "a classifier sees the asked label in {0.value:.1%} of the samples only; worst is {worst}",
        lambda one: one.value < 0.8,
    ),
    "spread_within_classes": (
        "samples of one class look alike: they spread {0.value:.2f} times as wide as real ones; "
        "worst is {worst}",
        lambda one: min(_numbers(one), default=1.0) < 0.5,
    ),
    "active_units": ("no dimension of the code is used", lambda one: one.value == 0),
}


def _numbers(one: Score) -> list[float]:
    return [value for value in (one.details or {}).values() if value is not None and np.isfinite(value)]


def _worst(one: Score) -> str:
    """The part of a score with the lowest number, and it."""
    parts = {name: value for name, value in (one.details or {}).items() if value is not None}
    if not parts:
        return "unknown"
    name = min(parts, key=lambda part: parts[part])
    return f"{name} with {parts[name]:.2f}"


def _provenance(of: Evaluation) -> dict[str, Any]:
    try:
        features = [extractor.provenance(of.image_shape) for extractor in of.extractors]
    except NotApplicable:
        features = []
    return {
        "data": {
            "dataset": of.data.name,
            "split": of.split,
            "num_images": len(of.real),
            "image_shape": list(of.image_shape),
            "content": content_hash(of.real),
        },
        "samples": {
            "num_images": of.num_images,
            "seed": None if of.model is None else of.seed,
            "floor_images": len(of.training_images[0]),
        },
        "likelihood": {"num_images": of.likelihood_images, "num_samples": of.likelihood_samples},
        "features": features,
        "backend": keras.backend.backend(),
        "versions": {
            "keras_vaegan": keras_vaegan.__version__,
            "keras": keras.__version__,
            "numpy": np.__version__,
        },
        "date": datetime.date.today().isoformat(),
    }


def _asked_labels(of: Evaluation) -> np.ndarray:
    if of.labels is None:
        raise NotApplicable("the samples have no labels that were asked for")
    return of.labels[: of.num_images]


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


def _finite(value: Any) -> Any:
    """The same with None in place of NaN and infinities, which JSON does not have."""
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
