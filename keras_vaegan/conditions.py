"""What a model is conditioned on: class labels, the visible part of the image, both, or nothing.

A model has one condition object. It knows the condition in its four forms: drawn in training, from the
arguments of the verbs, from the named tensors of an exported function, and as the dictionary of tensors that
networks take: `labels`, one-hot `(B, K)`, and `given`, the visible part beside its mask `(B, H, W, C + 1)`.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import ArrayLike

from keras_vaegan.data.checks import check_labels, numbers
from keras_vaegan.data.masks import NAMED, check_mask, named_mask
from keras_vaegan.errors import InputError, choose, whole_number
from keras_vaegan.functions import Port, image_port
from keras_vaegan.typing import Condition, Tensor

CELLS = 4  # cells along each side of a mask of blocks
# Masks that training may draw: the named ones, nothing given, cells at random.
TRAINING_MASKS = (*NAMED, "none", "blocks")
KNOWN = ("labels", "given")


def inputs_of(network: keras.Model, own: Sequence[str]) -> dict[str, Tensor]:
    """The symbolic inputs of a network beside its `own`, by name."""
    inputs = network.input
    return {k: v for k, v in inputs.items() if k not in own} if isinstance(inputs, dict) else {}


def require_labels_alone(inputs: Mapping[str, Tensor], model: str) -> None:
    """Raise `InputError` unless labels are all of the condition that a decoder takes, by name."""
    if set(inputs) != {"labels"}:
        raise InputError(f"decoder must take `codes` and `labels`, and nothing else, in a {model}.")


class Conditioning:
    """What a model is conditioned on.

    Args:
        inputs: symbolic inputs of the decoder for the condition, by name; empty for an unconditional model.
        image_shape: `(H, W, C)`.
        model: the model's name in errors.
        unlabelled: whether training takes the label -1 for an unknown class.

    Attributes:
        num_classes: K; None without labels.
        completes: whether the visible part of the image is given.
        masks: what training draws of the visible part; see `choose_masks`.
    """

    def __init__(
        self,
        inputs: Mapping[str, Tensor],
        image_shape: Sequence[int],
        model: str,
        unlabelled: bool = False,
    ) -> None:
        self.inputs, self.image_shape, self.model = dict(inputs), tuple(image_shape), model
        self.unlabelled = unlabelled
        self.completes = "given" in inputs
        self.num_classes: int | None = inputs["labels"].shape[-1] if "labels" in inputs else None
        self.masks = TRAINING_MASKS
        whole = (*self.image_shape[:2], self.image_shape[2] + 1)
        if self.completes and tuple(inputs["given"].shape[1:]) != whole:
            raise InputError(
                f"given must be the image and its mask, (H, W, C + 1); received {inputs['given'].shape[1:]}."
            )

    def choose_masks(self, masks: str | Sequence[str] | None) -> None:
        """Take the masks that training draws for each image, of `TRAINING_MASKS`; None for all.

        Raises `InputError` for another name, for none, and if the model completes no images.
        """
        masks = TRAINING_MASKS if masks is None else [masks] if isinstance(masks, str) else masks
        self.masks = tuple(choose("masks", name, TRAINING_MASKS) for name in masks)
        if not self.masks:
            raise InputError(f"masks must name at least one of {', '.join(TRAINING_MASKS)}.")
        if not self.completes and self.masks != TRAINING_MASKS:
            raise InputError(
                f"masks must be left out: the model completes no images; received {', '.join(self.masks)}."
            )

    def __bool__(self) -> bool:
        """Whether there is a condition."""
        return bool(self.inputs)

    def check_network(self, name: str, network: keras.Model, own: Sequence[str]) -> None:
        """Raise `InputError` unless what a network takes beside its `own` inputs is of this condition."""
        for part, tensor in inputs_of(network, own).items():
            expected = self.inputs.get(part)
            if expected is None or tuple(tensor.shape) != tuple(expected.shape):
                raise InputError(
                    f"{name} must be conditioned on what the decoder is; its {part!r} {tuple(tensor.shape)} "
                    "is not."
                )

    # ---- of a likelihood and its images ----

    def hidden(self, condition: Condition) -> Tensor | None:
        """`(B, H, W, 1)`, 0 where a pixel was given, else 1; None if the model is given no pixels."""
        return 1.0 - ops.convert_to_tensor(condition["given"])[..., -1:] if self.completes else None

    def with_visible(self, images: Tensor, condition: Condition) -> Tensor:
        """Images `(B, H, W, C)` with the given pixels copied into them."""
        if not self.completes:
            return images
        given = ops.convert_to_tensor(condition["given"])
        return ops.where(given[..., -1:] > 0.5, given[..., :-1], images)

    # ---- in training ----

    def draw(self, x: Tensor, y: Tensor | None, seed: Any) -> Condition:
        """The condition of a batch of images `(B, H, W, C)`: its labels `(B,)` and a mask for each image.

        Raises `InputError` without labels, if the model is conditioned on them.
        """
        condition = {}
        if self.num_classes is not None:
            if y is None:
                raise InputError("y must be the labels of the images: the model is conditioned on them.")
            # Labels out of range are refused when the batch is done (`check_seen`): a step cannot.
            labels = ops.clip(ops.reshape(ops.cast(y, "int32"), (-1,)), 0, self.num_classes - 1)
            condition["labels"] = ops.one_hot(labels, self.num_classes, dtype="float32")
        if self.completes:
            mask = self._draw_masks(ops.shape(x)[0], seed)
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

    def _draw_masks(self, batch_size: int, seed: Any) -> Tensor:
        """A mask for each image of a batch, `(B, H, W, 1)` float32, each of the kinds equally likely."""
        fixed = self._fixed_masks
        if len(self.masks) == 1 and self.masks[0] != "blocks":
            return ops.tile(ops.convert_to_tensor(fixed), (batch_size, 1, 1, 1))

        def uniform(*shape: int) -> Tensor:
            return keras.random.uniform((batch_size, *shape), dtype="float32", seed=seed)

        kind = ops.cast(ops.floor(uniform() * len(self.masks)), "int32")
        masks = ops.take(ops.convert_to_tensor(fixed), kind, axis=0)
        if "blocks" not in self.masks:
            return masks
        cells = ops.cast(uniform(CELLS, CELLS, 1) < uniform(1, 1, 1), "float32")
        for axis, size in enumerate(self.image_shape[:2], start=1):
            cells = ops.take(cells, np.arange(size) * CELLS // size, axis=axis)
        drawn = ops.equal(kind, self.masks.index("blocks"))
        return ops.where(ops.reshape(drawn, (-1, 1, 1, 1)), cells, masks)

    @property
    def label_range(self) -> tuple[int, int] | None:
        """The smallest and the largest label of a training; None for a model that takes no labels."""
        return None if self.num_classes is None else (-1 if self.unlabelled else 0, self.num_classes - 1)

    # ---- from the arguments of the verbs ----

    def arrays(
        self,
        count: int,
        labels: ArrayLike | None,
        images: ArrayLike | None,
        mask: str | ArrayLike | None,
        check: Callable[[ArrayLike, str], np.ndarray],
    ) -> dict[str, np.ndarray]:
        """The condition of `count` images as arrays; without a mask nothing is given.

        Args:
            count: B.
            labels: classes `(B,)`.
            images: `(B, H, W, C)`, of which the visible part is given.
            mask: which part that is, see `encode`.
            check: images and their argument's name -> images as float in [0, 1].

        Raises:
            InputError: what the model does not take, or does not get: labels, a mask, the mask's images.
        """
        condition = {}
        count = whole_number("count", count, 1)
        if self.num_classes is None:
            self._refuse("labels", labels)
        elif labels is None:
            raise InputError(f"labels must be given, classes of 0 to {self.num_classes - 1} for each image.")
        else:
            labels = check_labels(labels, count, self.num_classes, "labels", unlabelled=False)
            condition["labels"] = np.eye(self.num_classes, dtype="float32")[labels]
        if not self.completes:
            self._refuse("mask", mask)
            return condition
        given = np.zeros((count, *self.image_shape[:2], self.image_shape[2] + 1), "float32")
        if mask is not None:
            if images is None:
                raise InputError("images must be given with a mask: it says which part of them is seen.")
            images = check(images, "images")
            if len(images) != count:
                raise InputError(f"images must be {count}, as many as the codes; received {len(images)}.")
            visible = check_mask(mask, count, self.image_shape)[..., None]
            given[..., :-1], given[..., -1:] = images * visible, visible
        return condition | {"given": given}

    def _refuse(self, name: str, value: Any) -> None:
        if value is not None:
            raise InputError(f"{name} must be None: {self.model} is not conditioned on any.")

    def checked(self, given: Mapping[str, Any], count: int) -> dict[str, np.ndarray]:
        """The parts of the dictionary that networks take, of `count` images, as finite float32 arrays."""
        checked = {}
        for name, tensor in self.inputs.items():
            value = numbers(given[name], name, "biuf", "numbers").astype("float32")
            shape = (count, *tensor.shape[1:])
            if value.shape != shape or not np.isfinite(value).all():
                raise InputError(f"{name} must be finite numbers {shape}; received the shape {value.shape}.")
            checked[name] = value
        return checked

    # ---- from the named tensors of an exported function ----

    def ports(self) -> tuple[dict[str, Port], dict[str, Port]]:
        """The ports of the labels; and of all of the condition, with the images that are visible in part."""
        labels = {}
        if self.num_classes is not None:
            labels["labels"] = Port((), "int32", f"classes of 0 to {self.num_classes - 1}")
        if not self.completes:
            return labels, labels
        part = image_port(self.image_shape, "pixels in [0, 1]; hidden pixels are ignored")
        mask = Port(self.image_shape[:2], "float32", "1 where visible, 0 where hidden")
        return labels, {**labels, "images": part, "mask": mask}

    def of_ports(self, inputs: Mapping[str, Tensor]) -> Condition:
        """The condition that the tensors of these ports make."""
        condition = {}
        if "labels" in inputs:
            # A row of the identity, and no `one_hot`: in eight bits LiteRT gives the 1 of that operator
            # the largest number of what it is joined to.
            rows = ops.convert_to_tensor(np.eye(self.num_classes or 0, dtype="float32"))
            condition["labels"] = ops.take(rows, inputs["labels"], axis=0)
        if self.completes:
            if "mask" in inputs:
                visible = ops.cast(inputs["mask"][..., None] > 0.5, "float32")
                condition["given"] = ops.concatenate([inputs["images"] * visible, visible], axis=-1)
            else:  # nothing is given
                height, width, channels = self.image_shape
                blank = ops.zeros((1, height, width, channels + 1))
                each = ops.reshape(ops.zeros_like(inputs["noise"][:, :1]), (-1, 1, 1, 1))
                condition["given"] = blank + each
        return condition
