"""The distances as Keras metrics: batch by batch, in constant memory, on the backend's device."""

import dataclasses
from typing import Any, Self

import keras
from keras import ops

from keras_vaegan.errors import InputError
from keras_vaegan.metrics.features import Extractor, extractor
from keras_vaegan.typing import Tensor


class FeatureMetric(keras.metrics.Metric):
    """A distance of two sets of images in an extractor's features.

    `update_state(real, fake)` takes batches of images `(B, H, W, C)`, float in [0, 1] or uint8;
    `result()` is the distance of all that came since `reset_state()`.

    Args:
        features: as for `metrics.extractor`, or an `Extractor`.
        name: of the metric.

    Raises:
        InputError: features that are none; as of `metrics.extractor`.
    """

    def __init__(self, features: Any = "mnist_plain", name: str | None = None, **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.extractor = features if isinstance(features, Extractor) else extractor(features)

    def get_config(self) -> dict[str, Any]:
        """The name of the features, or the network they come from, without its weights."""
        used = self.extractor
        if used.named:
            return super().get_config() | {"features": used.name}
        network = keras.saving.serialize_keras_object(used.model)
        return super().get_config() | {"features": network, "scale": used.scale, "offset": used.offset}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """The metric of a configuration, before any batch.

        Raises `InputError` where its features are those of a network with weights, which are not in it.
        """
        config = dict(config)
        features = config.pop("features", "mnist_plain")
        scaling = {part: config.pop(part) for part in ("scale", "offset") if part in config}
        if isinstance(features, dict):
            features = keras.saving.deserialize_keras_object(features)
            if features.weights:
                raise InputError(
                    f"features must be given anew: a configuration has no weights of {features.name}."
                )
            features = dataclasses.replace(extractor(features), **scaling)
        return cls(features=features, **config)

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Any = None) -> None:
        """Add a batch of real images and one of generated images; `InputError` for weights."""
        if sample_weight is not None:
            raise InputError("sample_weight must be None: every image counts once.")
        self.update_features(self._features(y_true), self._features(y_pred))

    def update_features(self, real: Tensor, fake: Tensor) -> None:
        """Add features, `(B, d)` each."""
        raise NotImplementedError

    def _features(self, images: Tensor) -> Tensor:
        images = ops.convert_to_tensor(images)
        whole = "int" in keras.backend.standardize_dtype(images.dtype)
        features = self.extractor.features_of(ops.cast(images, "float32") / (255.0 if whole else 1.0))
        return ops.cast(features, "float32")


@keras.saving.register_keras_serializable("keras_vaegan")
class FrechetDistance(FeatureMetric):
    """Fréchet distance, as `metrics.frechet_distance`, in float32 and constant memory.

    `update_state(real, fake)` takes batches of images `(B, H, W, C)`, float in [0, 1] or uint8; `features` is
    what `metrics.extractor` takes.
    """

    def __init__(self, features: Any = "mnist_plain", name: str = "frechet_distance", **kwargs: Any) -> None:
        super().__init__(features, name, **kwargs)
        d = self.extractor.dimension
        for which in ("real", "fake"):
            for part, shape in (("count", ()), ("mean", (d,)), ("scatter", (d, d))):
                variable = self.add_variable(shape, initializer="zeros", name=f"{which}_{part}")
                setattr(self, f"{which}_{part}", variable)

    def update_features(self, real: Tensor, fake: Tensor) -> None:
        """Add features to the moments of each set, by the pairwise update of Chan et al. 1983."""
        for which, x in (("real", real), ("fake", fake)):
            count, mean, scatter = (getattr(self, f"{which}_{part}") for part in ("count", "mean", "scatter"))
            number = ops.cast(ops.shape(x)[0], "float32")
            batch_mean = ops.mean(x, axis=0)
            centred = x - batch_mean
            total, difference = count + number, batch_mean - mean
            shared = ops.outer(difference, difference) * count * number / total
            scatter.assign_add(ops.matmul(ops.transpose(centred), centred) + shared)
            mean.assign_add(difference * number / total)
            count.assign(total)

    def result(self) -> Tensor:
        """The distance, in squared units of the features; from two images of each set on."""
        a, b = (
            getattr(self, f"{which}_scatter") / ops.maximum(getattr(self, f"{which}_count") - 1.0, 1.0)
            for which in ("real", "fake")
        )
        values, vectors = ops.linalg.eigh(a)
        root = ops.matmul(vectors * ops.sqrt(ops.maximum(values, 0.0)), ops.transpose(vectors))
        eigenvalues, _ = ops.linalg.eigh(ops.matmul(ops.matmul(root, b), root))
        cross = ops.sum(ops.sqrt(ops.maximum(eigenvalues, 0.0)))
        means = ops.sum(ops.square(self.real_mean - self.fake_mean))
        return ops.maximum(means + ops.trace(a) + ops.trace(b) - 2.0 * cross, 0.0)


@keras.saving.register_keras_serializable("keras_vaegan")
class KernelDistance(FeatureMetric):
    """Kernel distance, as `metrics.kernel_distance`: the mean over batches of their unbiased estimates.

    Batches must have at least two images; of equal size, as `fit` makes them but for the last, they
    weigh the same.
    """

    def __init__(self, features: Any = "mnist_plain", name: str = "kernel_distance", **kwargs: Any) -> None:
        super().__init__(features, name, **kwargs)
        self.total = self.add_variable((), initializer="zeros", name="total")
        self.count = self.add_variable((), initializer="zeros", name="count")

    def update_features(self, real: Tensor, fake: Tensor) -> None:
        """Add the unbiased estimate of one batch."""
        d = float(self.extractor.dimension)

        def kernel(u: Tensor, v: Tensor) -> Tensor:
            return ops.power(ops.matmul(u, ops.transpose(v)) / d + 1.0, 3)

        def within(x: Tensor) -> Tensor:
            n, gram = ops.cast(ops.shape(x)[0], "float32"), kernel(x, x)
            return (ops.sum(gram) - ops.trace(gram)) / (n * (n - 1.0))

        self.total.assign_add(within(real) + within(fake) - 2.0 * ops.mean(kernel(real, fake)))
        self.count.assign_add(1.0)

    def result(self) -> Tensor:
        """The distance; 0 before the first batch."""
        return self.total / ops.maximum(self.count, 1.0)
