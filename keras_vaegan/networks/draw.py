"""The pieces of DRAW (Gregor et al. 2015): two Gaussian filterbanks, reading, writing, one step.

Equations are those of the paper, sections 2 and 3; N is the glimpse's side, images are `(B, H, W, C)`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import keras
from keras import layers, ops

from keras_vaegan.distributions import DiagonalNormal
from keras_vaegan.errors import InputError, whole_number
from keras_vaegan.networks import blocks, dcgan
from keras_vaegan.networks.blocks import check_image_shape
from keras_vaegan.typing import Condition, Tensor

discriminator = dcgan.discriminator  # of the last canvas

PARAMETERS = 5  # of an attention: two for the centre, variance, stride, intensity
TINY = 1e-8


class Glimpse(NamedTuple):
    """Where a network looks, or draws: the two filterbanks and what they were made from.

    Attributes:
        rows: F_Y, `(B, N, H)`; each of the N filters sums to 1.
        columns: F_X, `(B, N, W)`.
        intensity: gamma, `(B, 1)`.
        centre: `(B, 2)`, height first, in pixels from the upper left corner (the paper's g less one).
        size: `(B,)`, the side of the square of filter centres in pixels, (N - 1) delta.
    """

    rows: Tensor
    columns: Tensor
    intensity: Tensor
    centre: Tensor
    size: Tensor


def filterbanks(parameters: Tensor, glimpse: int, height: int, width: int) -> Glimpse:
    """Two filterbanks of Gaussian filters (eq. 19 to 26).

    The paper counts pixels from 1; a centre at 0 of the parameters is that of the image:

        g_X = (W + 1) / 2 (g~_X + 1),  g_Y = (H + 1) / 2 (g~_Y + 1),  delta = (max(W, H) - 1) / (N - 1) delta~
        mu_i = g + (i - N / 2 - 0.5) delta,  F[i, a] = exp(-(a - mu_i)^2 / 2 sigma^2) / sum over a

    Args:
        parameters: `(B, 5)`: g~_X, g~_Y, log sigma^2, log delta~, log gamma.
        glimpse: N.
        height, width: H and W.
    """
    # In float32: a filter that lies outside of the image is a quotient of tiny numbers.
    g_x, g_y, log_variance, log_stride, log_intensity = ops.split(
        ops.cast(parameters, "float32"), PARAMETERS, axis=-1
    )
    centre_x = 0.5 * (width + 1) * (g_x + 1.0)
    centre_y = 0.5 * (height + 1) * (g_y + 1.0)
    stride = (max(height, width) - 1) / (glimpse - 1) * ops.exp(log_stride)
    steps = ops.arange(1, glimpse + 1, dtype="float32") - glimpse / 2 - 0.5

    def bank(centre: Tensor, size: int) -> Tensor:
        means = (centre + steps * stride)[..., None]
        places = ops.arange(1, size + 1, dtype="float32")
        exponent = -ops.square(places - means) * 0.5 * ops.exp(-log_variance)[..., None]
        # The largest is taken off first: far outside all would round to nothing, and to 0 / 0.
        return ops.softmax(exponent, axis=-1)

    return Glimpse(
        bank(centre_y, height),
        bank(centre_x, width),
        ops.exp(log_intensity),
        ops.concatenate([centre_y, centre_x], axis=-1) - 1.0,
        ops.squeeze((glimpse - 1) * stride, axis=-1),
    )


def look(images: Tensor, glimpse: Glimpse) -> Tensor:
    """The patches `(B, N, N, C)` that are seen: gamma F_Y x F_X^T (eq. 27), channel by channel."""
    height, width, channels = images.shape[1:]
    side = glimpse.rows.shape[1]
    # Rows first, of whole lines, and columns of the little that is left: no large array is turned.
    seen = ops.matmul(glimpse.rows, ops.reshape(ops.cast(images, "float32"), (-1, height, width * channels)))
    seen = _along_width(seen, (side, width, channels), ops.swapaxes(glimpse.columns, 1, 2))
    return glimpse.intensity[..., None, None] * seen


def draw(patches: Tensor, glimpse: Glimpse) -> Tensor:
    """The images `(B, H, W, C)` that patches `(B, N, N, C)` make: 1 / gamma F_Y^T w F_X (eq. 29)."""
    side, channels = patches.shape[1], patches.shape[3]
    height, width = glimpse.rows.shape[2], glimpse.columns.shape[2]
    drawn = _along_width(ops.cast(patches, "float32"), (side, side, channels), glimpse.columns)
    drawn = drawn / (glimpse.intensity[..., None, None] + TINY)  # while they are few
    drawn = ops.matmul(ops.swapaxes(glimpse.rows, 1, 2), ops.reshape(drawn, (-1, side, width * channels)))
    return ops.reshape(drawn, (-1, height, width, channels))


def _along_width(x: Tensor, shape: tuple[int, ...], matrix: Tensor) -> Tensor:
    """Images of that shape `(h, w, C)`, of any layout, times matrices `(B, w, v)`: `(B, h, v, C)`."""
    height, width, channels = shape
    lines = ops.reshape(ops.swapaxes(ops.reshape(x, (-1, *shape)), 2, 3), (-1, height * channels, width))
    lines = ops.reshape(ops.matmul(lines, matrix), (-1, height, channels, matrix.shape[2]))
    return ops.swapaxes(lines, 2, 3)


def check_glimpse(argument: str, glimpse: int | None, image_shape: tuple[int, ...]) -> int | None:
    """Return `glimpse`, None or a whole number from 2 to the shorter side of the image, or raise."""
    if glimpse is None:
        return None
    whole_number(argument, glimpse, 2)  # with one filter there is no stride
    if glimpse > min(image_shape[:2]):
        raise InputError(
            f"{argument} must be at most the shorter side of the image, {min(image_shape[:2])}; "
            f"received {glimpse}."
        )
    return glimpse


class _Attention(layers.Layer):
    """What reading and writing share: the image's shape, N, and the layer that gives the parameters."""

    def __init__(
        self, image_shape: tuple[int, ...] | list[int], glimpse: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.image_shape = check_image_shape(image_shape)
        self.glimpse = check_glimpse("glimpse", glimpse, self.image_shape)
        self.attend = None
        if self.glimpse is not None:
            self.attend = layers.Dense(PARAMETERS, dtype="float32", name="attention")

    def glimpse_at(self, h: Tensor) -> Glimpse:
        """The filterbanks for a decoder state `(B, R)`."""
        if self.attend is None or self.glimpse is None:
            raise InputError(f"{self.name} has no attention: glimpse is None.")
        return filterbanks(self.attend(h), self.glimpse, *self.image_shape[:2])

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"image_shape": list(self.image_shape), "glimpse": self.glimpse}


@keras.saving.register_keras_serializable("keras_vaegan")
class Read(_Attention):
    """What the encoder sees of an image and of what is still missing (eq. 27); all of both without attention.

    Args:
        image_shape: `(H, W, C)`.
        glimpse: N, or None for no attention.
    """

    def build(self, images_shape: Any, errors_shape: Any, h_shape: Any) -> None:
        if self.attend is not None:
            self.attend.build(h_shape)
        self.built = True

    def call(self, images: Tensor, errors: Tensor, h: Tensor) -> Tensor:
        """Patches of images and of errors, both `(B, H, W, C)`, by a decoder state `(B, R)`: `(B, F)`."""
        both = [ops.cast(images, "float32"), ops.cast(errors, "float32")]
        if self.glimpse is not None:
            at = self.glimpse_at(h)
            both = [look(one, at) for one in both]
        return ops.reshape(ops.concatenate(both, axis=-1), (-1, self.size))

    @property
    def size(self) -> int:
        """F, the numbers that are read."""
        height, width, channels = self.image_shape
        return 2 * channels * (height * width if self.glimpse is None else self.glimpse**2)


@keras.saving.register_keras_serializable("keras_vaegan")
class Write(_Attention):
    """What a decoder state adds to the canvas (eq. 28 and 29); the whole image without attention.

    Args:
        image_shape: `(H, W, C)`.
        glimpse: N, or None for no attention.
    """

    def __init__(
        self, image_shape: tuple[int, ...] | list[int], glimpse: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(image_shape, glimpse, **kwargs)
        height, width, channels = self.image_shape
        self.patch_shape = (
            (height, width, channels) if self.glimpse is None else (self.glimpse, self.glimpse, channels)
        )
        units = self.patch_shape[0] * self.patch_shape[1] * channels
        self.patch = layers.Dense(units, dtype="float32", name="patch")

    def build(self, h_shape: Any) -> None:
        for layer in (self.patch, self.attend):
            if layer is not None:
                layer.build(h_shape)
        self.built = True

    def call(self, h: Tensor) -> dict[str, Tensor]:
        """Of decoder states `(B, R)`.

        Returns:
            `drawn` `(B, H, W, C)`, to be added to the canvas, and where: `centre` `(B, 2)` and `size` `(B,)`
            of the glimpse in pixels, of the whole image without attention.
        """
        patch = ops.reshape(self.patch(h), (ops.shape(h)[0], *self.patch_shape))
        if self.glimpse is not None:
            at = self.glimpse_at(h)
            return {"drawn": draw(patch, at), "centre": at.centre, "size": at.size}
        ones = ops.ones((ops.shape(h)[0], 1))
        height, width = self.image_shape[:2]
        middle = ops.concatenate([0.5 * (height - 1) * ones, 0.5 * (width - 1) * ones], axis=-1)
        return {"drawn": patch, "centre": middle, "size": (max(height, width) - 1.0) * ones[:, 0]}


def encoder(
    image_shape: Sequence[int],
    latent_dim: int,
    units: int = 256,
    glimpse: int | None = None,
    num_classes: int | None = None,
    name: str = "encoder",
) -> keras.Model:
    """One step of the recognition network: what is read, and the state -> q(z_t) (eq. 3 to 5, 1 and 2).

    Args:
        image_shape: `(H, W, C)`.
        latent_dim: Z.
        units: of the LSTM, and of the decoder's.
        glimpse: N of what is read, or None to read all of the image.
        num_classes: K, of a network that is conditioned on labels.
        name: of the model; prefix of its layers' names.

    Returns:
        Functional model, dictionary of `images` and `errors` `(B, H, W, C)`, the decoder's state `seen_by`
        `(B, R)`, the own state `h` and `c` `(B, R)`, and `labels` -> `mean` and `log_variance` `(B, Z)`, and
        `h` and `c` for the next step.

    Raises:
        InputError: `image_shape` that is not `(H, W, C)` with C from 1 to 16; `latent_dim`, `units` or
            `num_classes` that is no positive integer; `glimpse` that is no whole number from 2 to the shorter
            side of the image.
    """
    image_shape = check_image_shape(image_shape)
    (units,) = blocks.check_positive("units", units)
    (latent_dim,) = blocks.check_positive("latent_dim", latent_dim)
    inputs = {part: keras.Input(image_shape, name=part) for part in ("images", "errors")}
    inputs |= {part: keras.Input((units,), name=part) for part in ("seen_by", "h", "c")}
    condition = blocks.condition_inputs(image_shape, num_classes, given=False)
    seen = Read(image_shape, glimpse, name=f"{name}_read")(
        inputs["images"], inputs["errors"], inputs["seen_by"]
    )
    x = blocks.joined([seen, inputs["seen_by"], *condition.values()], f"{name}_joined")
    h, state = layers.LSTMCell(units, name=f"{name}_lstm")(x, states=[inputs["h"], inputs["c"]])
    outputs = {**blocks.posterior_head(h, latent_dim, name), "h": h, "c": state[1]}
    return keras.Model({**inputs, **condition}, outputs, name=name)


def decoder(
    image_shape: Sequence[int],
    latent_dim: int,
    units: int = 256,
    glimpse: int | None = None,
    num_classes: int | None = None,
    name: str = "decoder",
) -> keras.Model:
    """One step of the generative network: a draw of z_t, and the state -> what is added (eq. 7 and 8).

    Args:
        glimpse: N of what is written, or None to write all of the image.
        image_shape, latent_dim, units, num_classes, name: as for `encoder`.

    Returns:
        Functional model, dictionary of `codes` `(B, Z)`, the state `h` and `c` `(B, R)`, and `labels` -> what
        `Write` gives, and `h` and `c` for the next step.

    Raises:
        InputError: as of `encoder`.
    """
    image_shape = check_image_shape(image_shape)
    (units,) = blocks.check_positive("units", units)
    inputs = {"codes": keras.Input(blocks.check_positive("latent_dim", latent_dim), name="codes")}
    inputs |= {part: keras.Input((units,), name=part) for part in ("h", "c")}
    condition = blocks.condition_inputs(image_shape, num_classes, given=False)
    x = blocks.joined([inputs["codes"], *condition.values()], f"{name}_joined")
    h, state = layers.LSTMCell(units, name=f"{name}_lstm")(x, states=[inputs["h"], inputs["c"]])
    written = Write(image_shape, glimpse, name=f"{name}_write")(h)
    return keras.Model({**inputs, **condition}, {**written, "h": h, "c": state[1]}, name=name)


@keras.saving.register_keras_serializable("keras_vaegan")
class FirstState(layers.Layer):
    """Where a recurrence starts, learned from zeros.

    Args:
        shapes: name of each part of the state -> its shape, without the batch.
    """

    def __init__(self, shapes: Mapping[str, Sequence[int]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.shapes = {part: tuple(shape) for part, shape in shapes.items()}
        self.first = {
            part: self.add_weight(shape, initializer="zeros", dtype="float32", name=part)
            for part, shape in self.shapes.items()
        }
        self.built = True

    def start(self, count: Any) -> dict[str, Tensor]:
        """`{part: (count, ...)}`, the same for all."""
        return {
            part: ops.broadcast_to(ops.convert_to_tensor(value)[None], (count, *value.shape))
            for part, value in self.first.items()
        }

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"shapes": {part: list(shape) for part, shape in self.shapes.items()}}


@keras.saving.register_keras_serializable("keras_vaegan")
class DRAWCell(layers.Layer):
    """One step of DRAW: networks that look and draw, and the state that goes from step to step.

    The state is a dictionary: the `canvas` `(B, H, W, C)`, in logits, and the two LSTMs' `h` and `c` (of the
    decoder) and `h_encoder` and `c_encoder`, `(B, R)` each. The first one is learned, as in the paper.

    Args:
        encoder, decoder: as the functions of that name give them.
    """

    def __init__(self, encoder: keras.Model, decoder: keras.Model, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.encoder, self.decoder = encoder, decoder
        self.image_shape = tuple(encoder.input["images"].shape[1:])
        own, others = decoder.input, encoder.input
        self.first_drawing = FirstState(
            {"canvas": self.image_shape, "h": own["h"].shape[1:], "c": own["c"].shape[1:]},
            name="first_drawing",
        )
        self.first_looking = FirstState(
            {"h_encoder": others["h"].shape[1:], "c_encoder": others["c"].shape[1:]}, name="first_looking"
        )
        self.built = True

    def start(self, count: Any) -> dict[str, Tensor]:
        """The first state, `count` times."""
        return {**self.first_drawing.start(count), **self.first_looking.start(count)}

    def look(
        self, state: Mapping[str, Tensor], x: Tensor, condition: Condition, training: bool = False
    ) -> tuple[dict[str, Tensor], DiagonalNormal]:
        """Look at images and at what is missing on the canvas: the state, and q(z_t)."""
        parts = self.encoder(
            {
                "images": x,
                "errors": x - ops.sigmoid(state["canvas"]),
                "seen_by": state["h"],
                "h": state["h_encoder"],
                "c": state["c_encoder"],
                **condition,
            },
            training=training,
        )
        state = {**state, "h_encoder": as_float(parts["h"]), "c_encoder": as_float(parts["c"])}
        return state, DiagonalNormal(parts["mean"], parts["log_variance"])

    def draw(
        self, state: Mapping[str, Tensor], z: Tensor, condition: Condition, training: bool = False
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Draw by codes `(B, Z)`: the state, and `centre` and `size` of where."""
        parts = self.decoder({"codes": z, "h": state["h"], "c": state["c"], **condition}, training=training)
        state = {
            **state,
            "canvas": state["canvas"] + parts["drawn"],
            "h": as_float(parts["h"]),
            "c": as_float(parts["c"]),
        }
        return state, {"centre": parts["centre"], "size": parts["size"]}

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "encoder": keras.saving.serialize_keras_object(self.encoder),
            "decoder": keras.saving.serialize_keras_object(self.decoder),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        networks = {
            name: keras.saving.deserialize_keras_object(config.pop(name)) for name in ("encoder", "decoder")
        }
        return cls(**networks, **config)


def as_float(x: Tensor) -> Tensor:
    """In float32, whatever a network computes in: a state keeps its type from step to step."""
    return ops.cast(x, "float32")
