"""The semi-supervised VAE, M2 (Kingma et al. 2014), with the networks of Chen, Fang and Ju 2016."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops
from numpy.typing import ArrayLike

from keras_vaegan import losses
from keras_vaegan.backend import input_gradient
from keras_vaegan.classification import CLASSIFICATIONS, Classification
from keras_vaegan.conditions import require_labels_alone
from keras_vaegan.data.checks import check_labels
from keras_vaegan.data.stored import is_stored
from keras_vaegan.distributions import Categorical, DiagonalNormal, sum_event
from keras_vaegan.errors import InputError, choose
from keras_vaegan.functions import Function, Port
from keras_vaegan.metrics.calibration import fit_temperature
from keras_vaegan.models.intake import by_parts, is_array
from keras_vaegan.models.latent import WORKERS
from keras_vaegan.models.vae import VAE
from keras_vaegan.networks.functional import as_functional
from keras_vaegan.networks.heads import each_label, for_each_class
from keras_vaegan.parts import choose_part
from keras_vaegan.reconstructions import Pixels, Reconstruction
from keras_vaegan.registry import register
from keras_vaegan.training.multi_player import Losses
from keras_vaegan.typing import Condition, Tensor

# Length of the step at whose end the adversarial direction is taken, in the norm of an image; and in half
# precision, where smaller steps are lost in rounding, for each pixel.
PROBE, HALF_PROBE = 1e-2, 0.03


class Terms(NamedTuple):
    """What M2 computes of a batch, from which each of its objectives is made.

    Attributes:
        labels: one-hot `(B, K)`; zeros for an image without a label.
        known: `(B,)`, 1 where the label is known.
        shares: the label where it is known, q(y|x) where not, `(B, K)`.
        class_posterior: q(y|x).
        kl, reconstruction, cost: `(B, K)` in nats, of each class: the two parts of the negative ELBO, and
            what is minimized in place of their sum, -log p(y) included.
        decoded: what the decoder gives at the draw of z, `(K, B, ...)`, for each class.
    """

    labels: Tensor
    known: Tensor
    shares: Tensor
    class_posterior: Categorical
    kl: Tensor
    reconstruction: Tensor
    cost: Tensor
    decoded: Any


@register("ssl_vae")
@keras.saving.register_keras_serializable("keras_vaegan")
class SemiSupervisedVAE(VAE):
    """M2: a CVAE on labels of which most are not known, and the classifier q(y|x) that stands in for them.

        L(x, y) = KL(q(z|x, y) || p(z)) - log p(x|z, y) - log p(y),  z ~ q(z|x, y)
        U(x)    = sum_y q(y|x) L(x, y) - H(q(y|x))
        J       = mean of L where y is known and of U where not
                  + alpha * mean of -log q(y|x) where y is known

    (Kingma et al. 2014, eq. 6 to 9; their alpha of 0.1 N on a sum over N images is 0.1 here.) All classes
    are equally likely before, p(y) = 1/K. The sum over classes runs the trunk once, and shares the noise.

    With a weight of `consistency`, q(y|x) is asked not to change by a small step in the direction in which it
    changes most (virtual adversarial training, Miyato et al. 2018, eq. 5 to 8), for all images.

    Labels are whole numbers `(B,)`, -1 where unknown. Verbs on images take the likeliest class by `classify`
    where the label is unknown, or where no labels are given.

    Args:
        trunk: functional model, images `(B, H, W, C)` -> features `(B, F)`.
        encoder: functional model, dictionary of `features` and `labels` -> `{"mean", "log_variance"}`
            `(B, Z)` of q(z|x, y).
        class_head: functional model, features `(B, F)` -> logits `(B, K)` of q(y|x).
        decoder: functional model, dictionary of `codes` and `labels` -> logits `(B, H, W, C)`.
        classification: settings of the classifier: a `keras_vaegan.classification.Classification`, or a
            dictionary as `{"alpha": 10.0, "consistency": 100.0}`.
        **kwargs: the other arguments of `VAE`.

    Logs: `loss`, L where y is known and U where not, and its parts `kl` and `reconstruction`, averaged over
    q(y|x) where y is not known; `labelled`, the mean of L where y is known; `unlabelled`, of U for all
    images; `error`, the share of labelled images to which q(y|x) gives another class; `classification`,
    -log q(y|x); with a weight of `consistency`, `consistency`.

    Raises:
        InputError: heads that do not take the trunk's features or know other classes, a decoder that takes
            something other than codes and labels, settings of a discriminator; as of `VAE`.

    Examples:
        >>> import keras_vaegan as kvg
        >>> (x, y), *_ = kvg.data.load("digits")
        >>> x, y = kvg.data.semi_supervised_split(x, y, num_labels=100)  # the others become -1
        >>> model = kvg.SemiSupervisedVAE.from_preset("ssl_vae_mnist_small", load_weights=False)
        >>> history = model.fit(x, y, epochs=1, verbose=0)
        >>> model.classify(x[:4]).shape  # probabilities
        (4, 10)
    """

    in_batches = (*VAE.in_batches, "logits_of_encoder")
    takes = ("labels",)
    unlabelled = True
    classifiers: tuple[str, ...] = ("encoder",)
    """Who can tell classes: the `encoder`, by q(y|x)."""

    def __init__(
        self,
        trunk: keras.Model,
        encoder: keras.Model,
        class_head: keras.Model,
        decoder: keras.Model,
        classification: dict | Classification | None = None,
        **kwargs: Any,
    ) -> None:
        trunk, encoder = as_functional("trunk", trunk), as_functional("encoder", encoder)
        class_head = as_functional("class_head", class_head)
        _check_parts(trunk, encoder, class_head)
        super().__init__(encoder=_recognition(trunk, encoder), decoder=decoder, **kwargs)
        self.trunk, self.encoder_head, self.class_head = trunk, encoder, class_head
        self.class_network = keras.Model(trunk.input, class_head(trunk.output), name="recognition_of_class")
        self.encoder_by_class = for_each_class(encoder)
        self.classification = choose_part(
            "classification", classification, CLASSIFICATIONS, Classification, "classification"
        )
        choose("classifier", self.classification.classifier, self.classifiers)
        self._check_classification()

    def player_networks(self) -> dict[str, list[keras.Model]]:
        players = super().player_networks()
        return {**players, "generator": [*players["generator"], self.class_head]}

    @property
    def log_names(self) -> tuple[str, ...]:
        own = ("labelled", "unlabelled", "error", "classification")
        return (*super().log_names, *own, *(["consistency"] if self.classification.consistency else []))

    # ---- training ----

    def compute_losses(self, x: Tensor, y: Tensor | None = None, training: bool = False) -> Losses:
        x = self.as_observed(self.as_images(x))
        terms = self.terms(x, y, training)
        cost, logs, weights = self.semi_supervised(x, terms, training)
        return Losses({"generator": cost}, logs, {}, weights)

    def semi_supervised(
        self, x: Tensor, terms: Terms, training: bool
    ) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        """J for each image `(B,)`, what is logged, and where what is logged of labelled images counts."""
        q, known = terms.class_posterior, terms.known
        uncertainty = q.entropy()
        negative_elbo = terms.kl + terms.reconstruction + self._log_classes
        labelled = expected(terms.labels, negative_elbo)
        unlabelled = expected(q.mean, negative_elbo) - uncertainty
        classification = -q.log_prob(terms.labels)
        minimized = expected(terms.shares, terms.cost) - (1.0 - known) * uncertainty
        # The mean over the labelled images, in a mean over all: zero where there are none.
        share = self.replica_mean(ops.mean(known))
        minimized = minimized + self.classification.alpha * classification / ops.maximum(share, 1e-6)

        wrong = ops.argmax(q.logits, axis=-1) != ops.argmax(terms.labels, axis=-1)
        logs = {
            "loss": ops.where(known > 0.5, labelled, unlabelled),
            "kl": expected(terms.shares, terms.kl),
            "reconstruction": expected(terms.shares, terms.reconstruction),
            "labelled": labelled,
            "unlabelled": unlabelled,
            "error": ops.cast(wrong, "float32"),
            "classification": classification,
        }
        if self.classification.consistency:
            logs["consistency"] = self.virtual_adversarial(x, q.logits, self.class_network, training)
            minimized = minimized + self.classification.consistency * logs["consistency"]
        return minimized, logs, dict.fromkeys(("labelled", "error", "classification"), known)

    def terms(self, x: Tensor, y: Tensor | None, training: bool) -> Terms:
        """The terms of a batch of images `(B, H, W, C)` and labels `(B,)`, -1 where unknown, or None."""
        count, classes = ops.shape(x)[0], self.num_classes or 0
        labels, known = self._one_hot(y, count)
        features, target = self.look(x, training)
        class_posterior = Categorical(self.class_head(features, training=training))

        # All images as of the first class, then all as of the second: `(K B, ...)`.
        condition = {"labels": each_label(classes, count)}
        parts = self.encoder_by_class(features, training)
        q = DiagonalNormal(parts["mean"], parts["log_variance"])
        noise = self.noise(count)
        z = q.place(ops.tile(noise, (classes, 1)))
        decoded = self.decoded_by_class(z, condition, training)
        p = self.given_by_class(decoded)

        def by_class(values: Tensor) -> Tensor:
            return ops.transpose(ops.reshape(values, (classes, -1)))

        reconstruction = by_class(-p.log_prob(target, batch_axes=2))

        shares = ops.where(known[:, None] > 0.5, labels, class_posterior.mean)
        counted = ops.reshape(ops.transpose(ops.stop_gradient(shares)), (-1, 1))
        kl = self.prior.given(condition, training).kl(q)
        weighted = by_class(self.weighted_kl(kl, training, counted))
        cost = weighted + self.pixel_share() * reconstruction + self._log_classes
        return Terms(
            labels, known, shares, class_posterior, by_class(sum_event(kl)), reconstruction, cost, decoded
        )

    def noise(self, count: int) -> Tensor:
        """Standard normal noise `(count, Z)`, which all classes of an image share."""
        return keras.random.normal((count, *self.code_shape), dtype="float32", seed=self.seed_generator)

    def look(self, x: Tensor, training: bool) -> tuple[Tensor, Tensor]:
        """Features of images `(B, F)`, and what the ELBO is of: the images themselves."""
        return self.trunk(x, training=training), x

    def decoded_by_class(self, z: Tensor, condition: Condition, training: bool) -> Any:
        """Logits `(K, B, H, W, C)` for each class, from codes `(K B, Z)`, class by class."""
        logits = self.decoder({"codes": z, **condition}, training=training)
        return ops.reshape(logits, (self.num_classes, -1, *self.image_shape))

    def given_by_class(self, decoded: Any) -> Any:
        """p(x|z, y) `(K, B, ...)` for each class, of what `decoded_by_class` gives."""
        return self.observation(decoded)

    def pixel_share(self) -> float:
        """Weight of -log p(x|z, y) in what is minimized."""
        return self.reconstruction[1].weight

    @property
    def _log_classes(self) -> float:
        """-log p(y) in nats."""
        return float(np.log(self.num_classes or 1))

    def _one_hot(self, y: Tensor | None, count: Any) -> tuple[Tensor, Tensor]:
        """Labels one-hot `(B, K)` and where they are known `(B,)`; nowhere if y is None."""
        classes = self.num_classes or 0
        if y is None:
            return ops.zeros((count, classes)), ops.zeros((count,))
        y = ops.reshape(ops.cast(y, "int32"), (-1,))
        known = ops.cast(y >= 0, "float32")
        return ops.one_hot(ops.clip(y, 0, classes - 1), classes, dtype="float32") * known[:, None], known

    def virtual_adversarial(
        self, x: Tensor, logits: Tensor, classify: Callable[..., Tensor], training: bool
    ) -> Tensor:
        """KL between p(y|x) and p(y|x + r), r the direction in which it grows most: `(B,)` in nats.

        Args:
            x: images `(B, H, W, C)`.
            logits: of p(y|x), `(B, K)`.
            classify: images, `training=` -> such logits.
            training: as for Keras' layers.
        """
        fixed = Categorical(ops.stop_gradient(logits))

        def divergence(x: Tensor) -> Tensor:
            return fixed.kl(Categorical(classify(x, training=training)))

        whole = self.compute_dtype == "float32"
        probe = PROBE if whole else HALF_PROBE * math.sqrt(math.prod(self.image_shape))
        noise = keras.random.normal(ops.shape(x), dtype="float32", seed=self.seed_generator)
        probed, _ = input_gradient(lambda x: (divergence(x), None), x + losses.of_length(noise, probe))
        return divergence(x + ops.stop_gradient(losses.of_length(probed, self.classification.radius)))

    # ---- on arrays ----

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        *args: Any,
        labelled_share: float | None = None,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """Train, as `keras.Model.fit`, on images of which some have labels and the others -1.

        Args:
            x, y, batch_size, *args, **kwargs: as Keras has them.
            labelled_share: for arrays, the share of labelled images in every batch (`Batches`, which says
                what an epoch then is); otherwise it is what chance makes of their share among all.

        Raises:
            InputError: no label of some class, labels out of range; `labelled_share` for data that are no
                arrays, or that all have labels.
        """
        if labelled_share is not None:
            if not (is_array(x) or is_stored(x)):
                raise InputError(f"labelled_share must be None: x is no array; received {labelled_share!r}.")
            stored = is_stored(x)
            if not stored:
                known = self.intake.checked(x, y, None)
                x, y = self.intake.images(known["x"]), known["y"]
            given = {**kwargs, "x": x, "y": y, "batch_size": batch_size}
            shuffle, workers = kwargs.get("shuffle", True), WORKERS if stored else 0
            x = self.as_batches(given, shuffle, workers, labelled_share=labelled_share)["x"]
            y = batch_size = None
        return super().fit(x, y, batch_size, *args, **kwargs)

    def conditioned(
        self,
        count: int,
        labels: ArrayLike | None = None,
        images: ArrayLike | None = None,
        mask: str | ArrayLike | None = None,
    ) -> dict[str, np.ndarray]:
        if images is not None:
            labels = self.labels_of(labels, images)
        return super().conditioned(count, labels, images, mask)

    def functions(self, image_size: int | Sequence[int] | None = None) -> dict[str, Function]:
        found = super().functions(image_size)
        shares = Port((self.num_classes or 0,), "float32", "in [0, 1]; they sum to 1")
        summary = "The probability of each class, at the temperature that was fitted."

        def classify(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {"probabilities": self.class_probabilities(inputs["images"])}

        images = {"images": found["encode"].inputs["images"]}
        return found | {"classify": Function(summary, images, {"probabilities": shares}, classify)}

    @property
    def temperature(self) -> float:
        """Divides the logits in `classify`."""
        return self.classification.temperature

    @by_parts
    def classify(self, images: ArrayLike, batch_size: int = 128) -> np.ndarray:
        """Probabilities of the classes, at the temperature that `calibrate` fitted (Guo et al. 2017).

        Args:
            images: `(B, H, W, C)`, float in [0, 1] or uint8.
            batch_size: images classified at a time.

        Returns:
            q(y|x), `(B, K)` float32; of a model with a discriminator what its `classifier` says.
        """
        logits = self.class_logits(images, batch_size) / self.temperature
        return np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)).astype("float32")

    @by_parts
    def class_logits(
        self, images: ArrayLike, batch_size: int = 128, classifier: str | None = None
    ) -> np.ndarray:
        """Logits `(B, K)` float64 before the temperature: of what `classify` gives, or of one classifier.

        Args:
            images, batch_size: as for `classify`.
            classifier: one of `classifiers`; None for the one by which the model classifies.

        Raises:
            InputError: a classifier that the model does not have; images that will not do.
        """
        choose("classifier", "encoder" if classifier is None else classifier, self.classifiers)
        inputs = {"images": self.intake.images(images, "images")}
        return self.batched("logits_of_encoder", inputs, batch_size).astype("float64")

    def logits_of_encoder(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Logits `(B, K)` of q(y|x), of `images`."""
        return self.class_network(inputs["images"])

    def class_probabilities(self, x: Tensor) -> Tensor:
        """What `classify` gives, `(B, K)`, of a tensor of images `(B, H, W, C)`."""
        return ops.softmax(self.class_network(x) / self.temperature, axis=-1)

    def calibrate(self, x: ArrayLike, y: ArrayLike, batch_size: int = 128) -> float:
        """Fit the temperature to labelled images that were not trained on (Guo et al. 2017), and return it.

        It changes how sure `classify` is, never the class.

        Args:
            x: images `(B, H, W, C)`, float in [0, 1] or uint8.
            y: their classes, `(B,)`, all known.
            batch_size: images classified at a time.

        Raises:
            InputError: a label that is missing or out of range; images that will not do.
        """
        images: Any = x if is_stored(x) else self.intake.images(x)
        labels = check_labels(y, len(images), self.num_classes, unlabelled=False)
        self.classification.temperature = fit_temperature(self.class_logits(images, batch_size), labels)
        return self.temperature

    # ---- configuration ----

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "trunk": keras.saving.serialize_keras_object(self.trunk),
            "encoder": keras.saving.serialize_keras_object(self.encoder_head),
            "class_head": keras.saving.serialize_keras_object(self.class_head),
            "classification": keras.saving.serialize_keras_object(self.classification),
        }

    def _check_condition(self, inputs: Mapping[str, Tensor]) -> None:
        require_labels_alone(inputs, type(self).__name__)

    def _check_reconstruction(self) -> None:
        super()._check_reconstruction()
        check_pixels(self.reconstruction)
        if any(term.weight for term in self.reconstruction[2:]):
            raise InputError(
                f"reconstruction must have pixels alone in a {type(self).__name__}, whose objective is the "
                f"ELBO of each class; received {self.reconstruction}."
            )

    def _check_classification(self) -> None:
        """Raise if there are settings of a discriminator, which this model does not have."""
        for name, plain in (("discriminator_consistency", 0.0), ("expectation", "enumerated")):
            if (found := getattr(self.classification, name)) != plain:
                raise InputError(f"{name} must be {plain!r} without a discriminator; received {found!r}.")


def check_pixels(reconstruction: Sequence[Reconstruction]) -> None:
    """Raise `InputError` unless the loss of pixels is that of M2's objective."""
    pixels = reconstruction[1]
    if type(pixels) is not Pixels:
        raise InputError(
            "reconstruction must have reconstructions.Pixels as its loss of pixels, that of M2's "
            f"objective; received a {type(pixels).__name__}."
        )


def expected(shares: Tensor, values: Tensor) -> Tensor:
    """Sum over classes of values weighed by shares, both `(B, K)` -> `(B,)`."""
    return ops.sum(shares * values, axis=-1)


def _recognition(trunk: keras.Model, head: keras.Model) -> keras.Model:
    """q(z|x, y) in one: dictionary of `images` and `labels` -> `{"mean", "log_variance"}`."""
    inputs = {
        "images": keras.Input(trunk.input_shape[1:], name="images"),
        "labels": keras.Input(head.input["labels"].shape[1:], name="labels"),
    }
    outputs = head({"features": trunk(inputs["images"]), "labels": inputs["labels"]})
    return keras.Model(inputs, outputs, name="recognition")


def _check_parts(trunk: keras.Model, encoder: keras.Model, class_head: keras.Model) -> None:
    """Raise unless the heads fit the trunk, and all know the same classes."""
    features = tuple(trunk.output.shape[1:]) if not isinstance(trunk.output, dict) else None
    if features is None or len(features) != 1:
        raise InputError(f"trunk must give features (B, F); received {trunk.output_shape}.")
    if not isinstance(encoder.input, dict) or set(encoder.input) != {"features", "labels"}:
        raise InputError("encoder must take a dictionary of `features` and `labels`.")
    for name, tensor in (("encoder", encoder.input["features"]), ("class_head", class_head.input)):
        shape = getattr(tensor, "shape", None)
        if shape is None or tuple(shape[1:]) != features:
            raise InputError(f"{name} must take the features of the trunk, {features}; received {shape}.")
    classes = tuple(encoder.input["labels"].shape[1:])
    if tuple(class_head.output_shape[1:]) != classes:
        raise InputError(
            f"class_head must give logits of the classes, {classes}; received {class_head.output_shape[1:]}."
        )
