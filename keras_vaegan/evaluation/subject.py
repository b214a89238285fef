"""What is scored, what it is compared with, and what both are seen through."""

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from numpy.typing import ArrayLike

from keras_vaegan import metrics
from keras_vaegan.data import ImageData
from keras_vaegan.data.checks import check_images, check_labels
from keras_vaegan.data.views import in_floats, parts_of, some_of
from keras_vaegan.errors import InputError, choose, whole_number
from keras_vaegan.metrics.statistics import CHUNK, Statistics
from keras_vaegan.networks import efficientnet_lite
from keras_vaegan.perceptual import IMAGENET, FeatureDistance
from keras_vaegan.reconstructions import Perceptual
from keras_vaegan.training.multi_player import MultiPlayerModel

if TYPE_CHECKING:
    from keras_vaegan.models.latent import LatentVariableModel

MOST_IMAGES = 10_000  # samples, where no other number is asked for
DIGITS = [str(digit) for digit in range(10)]
# By channels; of four the last is alpha.
DEFAULT_FEATURES = {1: ("mnist_plain", "mnist_residual"), 3: (IMAGENET,), 4: (IMAGENET,)}
MAPS = "imagenet_maps"  # the features of the distance of reconstructions, all layers of that network


class NotApplicable(Exception):
    """Why a group of scores cannot be computed for this subject."""


class Evaluation:
    """Everything that scores are computed from, each part made when it is first asked for.

    Args:
        subject: a model, or images `(N, H, W, C)` that one made, float in [0, 1] or uint8.
        data: the real images; its `split` is the reference.
        split: `test` or `validation`.
        num_images: samples that are scored; as many as the reference has, up to 10,000, if None. Of more
            given images so many are drawn.
        seed: of the samples, and of what is drawn from given, real and training images.
        features: names or Keras models for `metrics.extractor`; if None the package's two classifiers for
            gray images, and `imagenet` for color.
        labels: classes that the images were asked to show, `(N,)`.
        likelihood_images, likelihood_samples: real images whose likelihood is estimated, and
            codes drawn for each.
        batch_size: images computed at a time.
        cache: folder for the statistics of real images; None for none.

    Raises:
        InputError: another split, or no images in it or to train on; images that are out of range, or images
            or a model of another shape than the data; labels that are not one for each image; fewer than two
            images to score, or more than were given; a seed below 0, or another count below 1. Features that
            cannot be had raise it when they are first needed.
    """

    def __init__(
        self,
        subject: "LatentVariableModel | ArrayLike",
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
        for name, images in ((split, self.real), ("train", data.train[0])):
            if not len(images):
                raise InputError(f"data must hold images in its {name} split; received none.")
        self.model: LatentVariableModel | None = subject if isinstance(subject, MultiPlayerModel) else None
        image_shape = tuple(data.image_shape)
        self.images: np.ndarray | None = None
        if self.model is None:
            self.images = check_images(subject, image_shape, "subject")
        elif tuple(self.model.image_shape) != image_shape:
            raise InputError(
                f"data must hold images of the model's shape {self.model.image_shape}; "
                f"received {image_shape}."
            )
        self.image_shape = image_shape
        self.labels = None
        if labels is not None and self.images is not None:
            self.labels = check_labels(labels, len(self.images), argument="labels")
        # What was given, all of it; fewer may be drawn below.
        self.images_given, self.labels_given = self.images, self.labels
        most = len(self.images) if self.images is not None else max(MOST_IMAGES, num_images or 0)
        count = min(most, len(self.real)) if num_images is None else num_images
        if num_images is None and count < 2:  # an error about `num_images` would be about nothing given
            if most < 2:
                raise InputError(f"subject must hold at least 2 images to score; received {most}.")
            raise InputError(
                f"data must hold at least 2 images in its {split} split; received {count}. Take more images."
            )
        self.num_images = whole_number("num_images", count, 2)
        if self.num_images > most:
            raise InputError(f"num_images must be at most {most}, the images given; received {num_images}.")
        self.seed, self.batch_size = whole_number("seed", seed, 0), whole_number("batch_size", batch_size, 1)
        if self.model is not None:  # of a model that is conditioned on classes, all of them in turn
            self.labels = self.model.labels_in_turn(self.num_images)
        elif self.images is not None and self.num_images < len(self.images):
            rows = self._drawn(len(self.images), self.num_images)
            self.images = self.images[rows]
            self.labels = None if self.labels is None else self.labels[rows]
        self.likelihood_images = whole_number("likelihood_images", likelihood_images, 1)
        self.likelihood_samples = whole_number("likelihood_samples", likelihood_samples, 1)
        self.asked_features, self.cache = features, cache
        self.keep_features = True
        self.used: dict[Any, dict[str, Any]] = {}
        self._computed: dict[str, Any] = {}
        self.left_out: dict[str, str] = {}  # of a group whose other scores are there

    # ---- sets of images ----

    def samples(self) -> Iterator[np.ndarray]:
        """The images that are scored, in chunks `(n, H, W, C)`, the same each time."""
        if self.model is not None and not self.model.generates:
            raise NotApplicable("the model draws no samples: its codes do not follow the prior")
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
        return some_of(x, rows), None if y is None else y[rows]

    @functools.cached_property
    def reconstructed(self) -> dict[str, np.ndarray]:
        """How near the reconstructions of real images are to them, `(N,)` for each measure."""
        images, labels = self.real_of_model(self.num_images)
        found: dict[str, list[np.ndarray]] = {}
        for rows in parts_of(images, self.batch_size):
            some, known = images[rows], None if labels is None else labels[rows]
            made = self.with_model().reconstruct(some, known, batch_size=self.batch_size)
            found.setdefault("squared_error", []).append(metrics.mean_squared_error(some, made))
            found.setdefault("signal_to_noise", []).append(metrics.peak_signal_to_noise_ratio(some, made))
            if min(self.image_shape[:2]) > 10:
                found.setdefault("similarity", []).append(metrics.structural_similarity(some, made))
            if self.feature_distance is not None:
                away = metrics.reconstruction_distance(some, made, self.feature_distance)
                found.setdefault("distance", []).append(away)
        return {name: np.concatenate(values) for name, values in found.items()}

    def real_of_model(self, count: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Real images in [0, 1], drawn, and their classes where the model is conditioned on them.

        Where it is, of the images with a label.
        """
        model = self.with_model()
        if model.num_classes is None:
            return in_floats(some_of(self.real, self._drawn(len(self.real), count))), None
        real, labels = self.labelled(self.real_labels, self.real)
        rows = self._drawn(len(real), count)
        return in_floats(some_of(real, rows)), labels[rows]

    def labelled(self, labels: np.ndarray | None, images: Any) -> tuple[Any, np.ndarray]:
        """The images `(N, ...)`, or their features, that have a label, and the labels."""
        known = None if labels is None else labels >= 0
        if labels is None or not np.any(known):
            raise NotApplicable("the data have no labels")
        return (images, labels) if np.all(known) else (some_of(images, known), labels[known])

    def _drawn(self, number: int, count: int) -> np.ndarray:
        """Rows of `count` of so many images, drawn by the seed without repeats, in their order.

        The first ones would not do: folders are read class by class, and the first half of MNIST's test
        images is the easier one.
        """
        return np.sort(np.random.default_rng(self.seed).permutation(number)[:count])

    def once(self, name: str, compute: Callable[[], Any]) -> Any:
        """What does not depend on the subject, computed when it is first asked for."""
        if name not in self._computed:
            self._computed[name] = compute()
        return self._computed[name]

    def forget_subject(self) -> None:
        """Compute anew what depends on the model, whose weights have changed."""
        for name in ("fake_statistics", "reconstructed"):
            self.__dict__.pop(name, None)

    def with_model(self) -> "LatentVariableModel":
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
        return [self.use(extractor) for extractor in self.extractors]

    def use(self, extractor: metrics.Extractor, channels: int | None = None) -> metrics.Extractor:
        """The extractor; noted is its provenance, as scores use it, of so many channels at a time."""
        shape = (*self.image_shape[:2], channels or self.image_shape[2])
        key = extractor.name, extractor.digest, extractor.architecture
        self.used[key] = extractor.provenance(shape)
        return extractor

    @functools.cached_property
    def feature_distance(self) -> FeatureDistance | None:
        """The distance of a reconstruction in the layers of `imagenet`, for color images."""
        if self.image_shape[-1] not in (3, 4):
            return None
        found = FeatureDistance(IMAGENET, None, self.image_shape)
        self.used[MAPS] = {"extractor": MAPS, "digest": efficientnet_lite.DIGEST, "resized": None}
        return found

    def trained_in(self, features: str | None) -> bool:
        """Whether the model was trained to reconstruct in these features, which flatters it."""
        terms = getattr(self.model, "reconstruction", ())
        trained = {term.named["digest"] for term in terms if isinstance(term, Perceptual) and term.weight}
        return any(one["extractor"] == features and one["digest"] in trained for one in self.used.values())

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

    def classifiers(self) -> list[metrics.Extractor]:
        """The extractors that tell the data's classes, or the reason why there is none."""
        telling = [extractor for extractor in self.extractors if extractor.num_classes is not None]
        if not telling:
            raise NotApplicable("no extractor among the features tells classes")
        found = [extractor for extractor in telling if self._tells_classes(extractor)]
        if not found:
            names = " and ".join(extractor.name for extractor in telling)
            raise NotApplicable(f"the classes that {names} can tell are not known to be those of the data")
        return [self.use(extractor) for extractor in found]

    def _tells_classes(self, extractor: metrics.Extractor) -> bool:
        """Whether a classifier's classes are the data's: as many, and of the package's own the digits."""
        data = self.data
        if extractor.tells_digits:
            if data.num_classes is None:
                return data.name == "binarized_mnist"  # which comes without its labels
            if data.class_names is not None and list(data.class_names) != DIGITS:
                return False
        return data.num_classes == extractor.num_classes

    def by_classifier(self) -> list[tuple[str, Statistics, Statistics, Statistics]]:
        """`by_extractor` for those that tell the data's classes."""
        telling = self.classifiers()
        rows = zip(self.extractors, self.by_extractor(), strict=True)
        return [row for extractor, row in rows if extractor in telling]
