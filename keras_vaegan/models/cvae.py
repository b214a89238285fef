"""The conditional VAE: on labels, on part of the image, or on both.

Sohn et al. 2015, "Learning structured output representation using deep conditional generative
models", and Chen, Fang and Ju 2016, sections on image completion and style transfer.
"""

import functools
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import ArrayLike

from keras_vaegan.data.checks import check_images, check_labels
from keras_vaegan.data.masks import NAMED, check_mask, named_mask
from keras_vaegan.distributions import DiagonalNormal
from keras_vaegan.errors import InputError, choose, whole_number
from keras_vaegan.models.latent import as_functional, as_seed, placed, prior_noise, some_classes
from keras_vaegan.models.vae import VAE
from keras_vaegan.typing import UNCONDITIONAL, Condition, Tensor

CELLS = 4  # cells along each side of a mask of blocks
# Masks that training may draw: the named ones, nothing given, cells at random.
TRAINING_MASKS = (*NAMED, "none", "blocks")


@keras.saving.register_keras_serializable("keras_vaegan")
class CVAE(VAE):
    """Conditional VAE: p(x, z|c) and q(z|x, c), trained on the negative conditional bound in nats.

        L = KL(q(z|x, c) || p(z|c)) - log p(x|z, c),  z ~ q(z|x, c)

    The condition c is what the decoder takes beside the codes: `labels`, one-hot `(B, K)`; `given`,
    the visible part of the image beside its mask `(B, H, W, C + 1)`; or both. Of an image in part
    given, the likelihood is that of the other pixels, and what comes out has the given ones untouched.

    Args:
        encoder: functional model, dictionary of `images` and any of the condition ->
            `{"mean", "log_variance"}` `(B, Z)`.
        decoder: functional model, dictionary of `codes` and the condition -> logits `(B, H, W, C)`.
        prior: functional model, dictionary of the condition -> `{"mean", "log_variance"}` of p(z|c);
            None for N(0, I).
        masks: what is given in training, drawn anew for each image: of `left`, `right`, `top`,
            `bottom`, `quadrants:1` to `quadrants:3`, `none` (nothing) and `blocks` (cells of a 4x4 grid
            at random). For models that complete images only.
        **kwargs: the other arguments of `VAE`.

    Logs: those of `VAE`, for the conditional bound.

    Raises:
        InputError: a decoder that takes no condition, networks that are not conditioned on the same, a mask
            that is none of these, masks where nothing is completed; as of `VAE`.

    Examples:
        >>> import keras_vaegan as kvg
        >>> (x, y), *_ = kvg.data.load("digits")
        >>> model = kvg.CVAE.from_preset("completion_cvae_mnist")
        >>> model.complete(x[:8], mask="left", num_samples=5, seed=0).shape
        (8, 5, 28, 28, 1)
    """

    own_inputs: tuple[str, ...] = ("codes",)  # what the decoder takes beside the condition

    def __init__(
        self,
        encoder: keras.Model,
        decoder: keras.Model,
        prior: keras.Model | None = None,
        masks: Sequence[str] = TRAINING_MASKS,
        **kwargs: Any,
    ) -> None:
        prior = None if prior is None else as_functional("prior", prior)
        super().__init__(encoder, decoder, **kwargs)
        self.prior_network = prior
        masks = [masks] if isinstance(masks, str) else masks
        self.masks = tuple(choose("masks", name, TRAINING_MASKS) for name in masks)
        if not self.masks:
            raise InputError(f"masks must name at least one of {', '.join(TRAINING_MASKS)}.")
        self._check_condition()
        if not self.completes and self.masks != TRAINING_MASKS:
            raise InputError(
                f"masks must be left out: the model completes no images; received {', '.join(self.masks)}."
            )

    @property
    def num_classes(self) -> int | None:
        """K, the classes that the model is conditioned on; None where it takes no labels."""
        labels = self._condition_inputs.get("labels")
        return None if labels is None else labels.shape[-1]

    @property
    def completes(self) -> bool:
        """Whether the model is conditioned on part of the image."""
        return "given" in self._condition_inputs

    @property
    def _condition_inputs(self) -> dict[str, Tensor]:
        inputs = self.decoder.input
        known = isinstance(inputs, dict)
        return {k: v for k, v in inputs.items() if k not in self.own_inputs} if known else {}

    def player_networks(self) -> dict[str, list[keras.Model]]:
        networks = super().player_networks()
        if self.prior_network is not None:
            networks["generator"] = [*networks["generator"], self.prior_network]
        return networks

    # ---- p and q ----

    def prior(self, condition: Condition = UNCONDITIONAL, training: bool = False) -> DiagonalNormal | None:
        """p(z|c), a `DiagonalNormal` `(B, Z)`, or None for N(0, I)."""
        if self.prior_network is None:
            return None
        parameters = self.prior_network(self._prior_inputs(condition), training=training)
        return DiagonalNormal(parameters["mean"], parameters["log_variance"])

    def prior_parameters(
        self, condition: Condition, count: int, batch_size: int = 128
    ) -> dict[str, np.ndarray]:
        """Mean and log-variance of p(z|c), `{"mean", "log_variance"}`, each `(count, Z)` float32."""
        if self.prior_network is None:
            return super().prior_parameters(condition, count, batch_size)
        return self._in_batches(self.prior_network, self._prior_inputs(condition), batch_size)

    def _prior_inputs(self, condition: Condition) -> dict[str, Tensor]:
        """What the network of p(z|c) takes of the condition."""
        inputs = {} if self.prior_network is None else self.prior_network.input
        return {name: condition[name] for name in inputs}

    def log_prob(self, p: Any, x: Tensor, condition: Condition) -> Tensor:
        """log p(x|z, c) in nats, `(B,)`, of the pixels that are not given."""
        if not self.completes:
            return p.log_prob(x)
        return p.log_prob(x, 1.0 - ops.convert_to_tensor(condition["given"])[..., -1:])

    def with_visible(self, images: Tensor, condition: Condition) -> Tensor:
        """Images with the pixels that were given put back, untouched."""
        if not self.completes:
            return images
        given = ops.convert_to_tensor(condition["given"])
        return ops.where(given[..., -1:] > 0.5, given[..., :-1], images)

    # ---- the condition ----

    def draw_condition(self, x: Tensor, y: Tensor | None) -> Condition:
        """The condition of a batch: its labels, one-hot, and a mask drawn for each image.

        Raises `InputError` without labels, where the model is conditioned on them.
        """
        condition = {}
        if self.num_classes is not None:
            if y is None:
                raise InputError("y must be the labels of the images: the model is conditioned on them.")
            # Labels out of range are refused when the batch is done (`check_seen`): a step cannot.
            labels = ops.clip(ops.reshape(ops.cast(y, "int32"), (-1,)), 0, self.num_classes - 1)
            condition["labels"] = ops.one_hot(labels, self.num_classes, dtype="float32")
        if self.completes:
            mask = self._draw_masks(ops.shape(x)[0])
            condition["given"] = ops.concatenate([x * mask, mask], axis=-1)
        return condition

    @functools.cached_property
    def _fixed_masks(self) -> np.ndarray:
        """The masks that training draws from, `(kinds, H, W, 1)` float32; zeros for `none` and `blocks`."""
        fixed = np.zeros((len(self.masks), *self.image_shape[:2], 1), "float32")
        for i, name in enumerate(self.masks):
            if name in NAMED:
                fixed[i, ..., 0] = named_mask(name, self.image_shape)
        return fixed

    def _draw_masks(self, batch_size: int) -> Tensor:
        """A mask for each image of a batch, `(B, H, W, 1)` float32, each of the kinds equally likely."""
        fixed = self._fixed_masks
        if len(self.masks) == 1 and self.masks[0] != "blocks":
            return ops.tile(ops.convert_to_tensor(fixed), (batch_size, 1, 1, 1))

        def uniform(*shape: int) -> Tensor:
            return keras.random.uniform((batch_size, *shape), dtype="float32", seed=self.seed_generator)

        kind = ops.cast(ops.floor(uniform() * len(self.masks)), "int32")
        masks = ops.take(ops.convert_to_tensor(fixed), kind, axis=0)
        if "blocks" not in self.masks:
            return masks
        cells = ops.cast(uniform(CELLS, CELLS, 1) < uniform(1, 1, 1), "float32")
        for axis, size in enumerate(self.image_shape[:2], start=1):
            cells = ops.take(cells, np.arange(size) * CELLS // size, axis=axis)
        drawn = ops.equal(kind, self.masks.index("blocks"))
        return ops.where(ops.reshape(drawn, (-1, 1, 1, 1)), cells, masks)

    def condition(
        self,
        count: int,
        labels: ArrayLike | None = None,
        images: ArrayLike | None = None,
        mask: str | ArrayLike | None = None,
    ) -> dict[str, np.ndarray]:
        """The condition of `count` images as the networks take it, from the verbs' arguments.

        Without a mask nothing is given. Raises `InputError` for what the model does not take, or does not
        get: labels, a mask, the images that go with it.
        """
        condition = {}
        count = whole_number("count", count, 1)
        if self.num_classes is None:
            super().condition(count, labels=labels)
        elif labels is None:
            raise InputError(f"labels must be given, classes of 0 to {self.num_classes - 1} for each image.")
        else:
            labels = check_labels(labels, count, self.num_classes, "labels", unlabelled=False)
            condition["labels"] = np.eye(self.num_classes, dtype="float32")[labels]
        if not self.completes:
            super().condition(count, mask=mask)
        else:
            given = np.zeros((count, *self.image_shape[:2], self.image_shape[2] + 1), "float32")
            if mask is not None:
                if images is None:
                    raise InputError("images must be given with a mask: it says which part of them is seen.")
                images = self._array(images, "images")
                if len(images) != count:
                    raise InputError(f"images must be {count}, as many as the codes; received {len(images)}.")
                visible = check_mask(mask, count, self.image_shape)[..., None]
                given[..., :-1], given[..., -1:] = images * visible, visible
            condition["given"] = given
        return condition

    def labels_of(self, y: ArrayLike | None, x: ArrayLike | None = None) -> np.ndarray | None:
        if self.num_classes is None:
            return None
        if x is None:
            return None if y is None else check_labels(y, np.size(y), self.num_classes, "labels")
        x = check_images(x, self.image_shape, "x", self.value_range)
        count = len(x)
        labels = np.full(count, -1) if y is None else check_labels(y, count, self.num_classes, "labels")
        unknown = labels < 0
        if unknown.any():
            labels[unknown] = self.classify(x[unknown]).argmax(axis=1)
        return labels

    @property
    def label_range(self) -> tuple[int, int] | None:
        return None if self.num_classes is None else (0, self.num_classes - 1)

    def check_targets(self, y: Any, count: int, argument: str, images: np.ndarray | None = None) -> None:
        """Raise unless there is a label for each image, where the model is conditioned on them."""
        if self.num_classes is None:
            super().check_targets(y, count, argument, images)
        elif y is None:
            raise InputError(f"{argument} must be given: classes of 0 to {self.num_classes - 1}.")
        else:
            check_labels(y, count, self.num_classes, argument, unlabelled=False)

    # ---- verbs of its own ----

    def complete(
        self,
        images: ArrayLike,
        mask: str | ArrayLike,
        num_samples: int = 8,
        labels: ArrayLike | None = None,
        seed: int | None = None,
        batch_size: int = 128,
    ) -> np.ndarray:
        """Several completions of images of which a part is given; the given pixels come back untouched.

        Args:
            images: `(B, H, W, C)`, float in [0, 1] or uint8; what is not visible is not looked at.
            mask: what is visible: `left`, `right`, `top`, `bottom`, `quadrants:1` to `quadrants:3`, or an
                array `(H, W)` or `(B, H, W)`, True where visible.
            num_samples: completions of each image.
            labels: classes `(B,)`, for a model that is conditioned on them too.
            seed: of the draws; the same seed gives the same completions.
            batch_size: images decoded at a time.

        Returns:
            `(B, num_samples, H, W, C)` float32 in [0, 1].

        Raises:
            InputError: a model that does not complete images; images, a mask or labels that will not do.
        """
        self._must_complete()
        images = self._array(images, "images")
        num_samples = whole_number("num_samples", num_samples, 1)
        self._require_memory("num_samples", num_samples, "Ask for fewer.", images=len(images))
        condition = self.condition(len(images), labels, images, mask)
        prior = self.prior_parameters(condition, len(images), batch_size)
        noise = prior_noise(len(images) * num_samples, self.code_shape, as_seed(seed))
        normal = (
            np.repeat(prior["mean"], num_samples, axis=0),
            np.repeat(prior["log_variance"], num_samples, axis=0),
        )
        repeated = {name: np.repeat(value, num_samples, axis=0) for name, value in condition.items()}
        completed = self._decoded(placed(normal, noise), repeated, batch_size)
        return completed.reshape(len(images), num_samples, *self.image_shape)

    def transfer_style(
        self,
        images: ArrayLike,
        labels: ArrayLike,
        source_labels: ArrayLike | None = None,
        batch_size: int = 128,
    ) -> np.ndarray:
        """Images of other classes in the style of these: their codes, decoded with other labels.

        Args:
            images: `(B, H, W, C)`, float in [0, 1] or uint8.
            labels: the classes to show each of them as, `(L,)`.
            source_labels: the classes of the images, `(B,)`; those under which the bound is highest,
                by `classify`, if None.
            batch_size: images decoded at a time.

        Returns:
            `(B, L, H, W, C)` float32 in [0, 1].

        Raises:
            InputError: a model that knows no classes; images or labels that will not do.
        """
        self._must_have_labels()
        images = self._array(images, "images")
        labels = some_classes(labels)
        labels = check_labels(labels, len(labels), self.num_classes, "labels", unlabelled=False)
        if source_labels is None:
            source_labels = self.classify(images, batch_size).argmax(axis=1)
        codes = self.encode(images, source_labels, batch_size=batch_size)
        shown = np.tile(labels, len(images))
        styled = self.decode(np.repeat(codes, len(labels), axis=0), shown, batch_size=batch_size)
        return styled.reshape(len(images), len(labels), *self.image_shape)

    def classify(self, images: ArrayLike, batch_size: int = 128) -> np.ndarray:
        """p(y|x) by the model itself: proportional to the bound on p(x|y), each class equally likely before.

        The bound is taken at the mean of q(z|x, y). A by-product of the conditional model, without
        a classifier of its own.

        Args:
            images: `(B, H, W, C)`, float in [0, 1] or uint8.
            batch_size: images classified at a time.

        Returns:
            Probabilities, `(B, K)` float32.

        Raises:
            InputError: a model that knows no classes; images that will not do.
        """
        self._must_have_labels()
        x = self._array(images, "images")
        bounds = []
        for k in range(self.num_classes or 0):
            condition = self.condition(len(x), np.full(len(x), k))
            q = self._encoded(x, condition, batch_size)
            prior = self.prior_parameters(condition, len(x), batch_size)
            logits = self._logits(q["mean"], condition, batch_size)
            log_p = self.log_prob(self.observed(logits), x, condition)
            kl = DiagonalNormal(q["mean"], q["log_variance"]).kl(
                DiagonalNormal(prior["mean"], prior["log_variance"])
            )
            bounds.append(ops.convert_to_numpy(log_p - kl))
        log_shares = np.stack(bounds, axis=1) - np.logaddexp.reduce(bounds, axis=0)[:, None]
        return np.exp(log_shares).astype("float32")

    def _must_complete(self) -> None:
        if not self.completes:
            raise InputError(
                f"this {type(self).__name__} cannot complete images: it is not conditioned on part of them; "
                "a completion_cvae is."
            )

    def _must_have_labels(self) -> None:
        if self.num_classes is None:
            raise InputError(
                f"this {type(self).__name__} knows no classes: it is not conditioned on labels; a cvae is."
            )

    # ---- configuration ----

    def get_config(self) -> dict[str, Any]:
        prior = self.prior_network
        return super().get_config() | {
            "prior": None if prior is None else keras.saving.serialize_keras_object(prior),
            "masks": self.masks,
        }

    def _check_condition(self) -> None:
        known = {"labels", "given"}
        if not self._condition_inputs or not set(self._condition_inputs) <= known:
            raise InputError(
                "decoder must take a dictionary of `codes` and `labels`, `given` or both; "
                f"received {sorted(self._condition_inputs) or 'codes alone'}."
            )
        networks = {"encoder": self.encoder, "prior": self.prior_network}
        for name, network in networks.items():
            inputs = getattr(network, "input", None)
            for part, tensor in inputs.items() if isinstance(inputs, dict) else ():
                expected = self._condition_inputs.get(part)
                if part == "images" and name == "encoder":
                    continue
                if expected is None or tuple(tensor.shape) != tuple(expected.shape):
                    raise InputError(
                        f"{name} must be conditioned on what the decoder is; its {part!r} "
                        f"{tuple(tensor.shape)} is not."
                    )
        if self.completes and self._condition_inputs["given"].shape[1:] != (
            *self.image_shape[:2],
            self.image_shape[2] + 1,
        ):
            raise InputError(
                "given must be the image and its mask, (H, W, C + 1); "
                f"received {self._condition_inputs['given'].shape[1:]}."
            )
        if self.prior_network is not None:
            if not isinstance(self.prior_network.input, dict):
                raise InputError("prior must take a dictionary of `labels`, `given` or both.")
            shape = self.prior_network.output["mean"].shape[1:]
            if shape != (self.latent_dim,):
                raise InputError(f"prior must be of codes {(self.latent_dim,)}; received {tuple(shape)}.")
