"""Networks that a flow learns: the velocity of latent codes on their way from noise.

Codes `(Z,)` get a residual network of dense layers, sequences `(T, Z)` and maps `(h, w, c)` a transformer.
Both are told the time, and the class, by the scale and shift of their normalizations (Peebles and Xie 2023).
All layers are Keras' own, in float32.
"""

import functools
from collections.abc import Sequence

import keras
import numpy as np
from keras import layers, ops

from keras_vaegan.typing import Tensor

FREQUENCIES = np.exp2(np.arange(5, dtype="float32")) * np.pi  # of the time from 0 to 1
TOLD = 64  # numbers that tell the time and the class: more would outweigh the blocks that are told
MANY_POSITIONS = 64  # of a map, beyond which a token is a patch of 2x2 positions

Dense = functools.partial(layers.Dense, dtype="float32")
Zeros = functools.partial(Dense, kernel_initializer="zeros")
Normalization = functools.partial(layers.LayerNormalization, center=False, scale=False, dtype="float32")


def network(
    code_shape: Sequence[int], width: int, depth: int, heads: int, num_classes: int | None
) -> keras.Model:
    """Dictionary of `codes` `(B, ...)`, `time` `(B,)` and `labels` `(B, K)` -> velocity `(B, ...)`.

    Its last layer is zero, so the velocity is, too, until it is trained.

    Args:
        code_shape: of one code.
        width: of the hidden layers.
        depth: number of residual blocks.
        heads: of the attention between positions.
        num_classes: K, or None. Labels of zeros stand for any class.
    """
    codes, time = keras.Input(tuple(code_shape), name="codes"), keras.Input((), name="time")
    inputs = {"codes": codes, "time": time}
    angles = time[:, None] * FREQUENCIES
    told = ops.concatenate([time[:, None], ops.sin(angles), ops.cos(angles)], axis=-1)
    told = Dense(TOLD, name="of_time")(told)
    if num_classes is not None:
        inputs["labels"] = keras.Input((num_classes,), name="labels")
        told = told + Dense(TOLD, use_bias=False, name="of_class")(inputs["labels"])
    told = Dense(TOLD, "silu", name="told")(ops.silu(told))
    made = (
        _dense(codes, told, width, depth)
        if len(code_shape) == 1
        else _attending(codes, told, width, depth, heads)
    )
    return keras.Model(inputs, made, name="velocity")


def _changed(x: Tensor, told: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """`x` normalized, then scaled and shifted as is told; and the gate of what is made of it."""
    shift, scale, gate = ops.split(Zeros(3 * x.shape[-1], name=f"{name}_told")(told), 3, axis=-1)
    if len(x.shape) == 3:
        shift, scale, gate = shift[:, None], scale[:, None], gate[:, None]
    return Normalization(name=f"{name}_norm")(x) * (1.0 + scale) + shift, gate


def _dense(codes: Tensor, told: Tensor, width: int, depth: int) -> Tensor:
    x = Dense(width, name="enter")(codes)
    for i in range(depth):
        y, gate = _changed(x, told, f"block_{i}")
        y = Dense(2 * width, "silu", name=f"block_{i}_wide")(y)
        x = x + gate * Dense(width, name=f"block_{i}_narrow")(y)
    y, _ = _changed(x, told, "leave")
    return Zeros(codes.shape[-1], name="velocity")(y)


def _attending(codes: Tensor, told: Tensor, width: int, depth: int, heads: int) -> Tensor:
    tokens = _tokens(codes)
    count, size = tokens.shape[1:]
    # The bias of each position is its embedding.
    x = layers.EinsumDense("bts,sw->btw", (count, width), bias_axes="tw", dtype="float32", name="enter")(
        tokens
    )
    for i in range(depth):
        y, gate = _changed(x, told, f"attention_{i}")
        attention = layers.MultiHeadAttention(heads, width // heads, dtype="float32", name=f"attention_{i}")
        x = x + gate * attention(y, y)
        y, gate = _changed(x, told, f"block_{i}")
        y = Dense(3 * width, "gelu", name=f"block_{i}_wide")(y)
        x = x + gate * Dense(width, name=f"block_{i}_narrow")(y)
    y, _ = _changed(x, told, "leave")
    return _untokened(Zeros(size, name="velocity")(y), codes)


def patch_of(code_shape: Sequence[int]) -> int:
    """The height and width of the patches of a map that are tokens."""
    height, width = code_shape[:2]
    return 2 if height * width > MANY_POSITIONS and height % 2 == width % 2 == 0 else 1


def _tokens(codes: Tensor) -> Tensor:
    """Sequences as they are; maps `(B, h, w, c)` as patches `(B, N, p p c)`."""
    if len(codes.shape) == 3:
        return codes
    height, width, channels = codes.shape[1:]
    patch = patch_of((height, width))
    x = ops.reshape(codes, (-1, height // patch, patch, width // patch, patch, channels))
    x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
    return ops.reshape(x, (-1, height * width // patch**2, patch**2 * channels))


def _untokened(tokens: Tensor, codes: Tensor) -> Tensor:
    """The reverse of `_tokens`, of the shape of the codes."""
    if len(codes.shape) == 3:
        return tokens
    height, width, channels = codes.shape[1:]
    patch = patch_of((height, width))
    x = ops.reshape(tokens, (-1, height // patch, width // patch, patch, patch, channels))
    return ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, height, width, channels))


def begin(network: keras.Model, seed: int) -> None:
    """Give a network first weights that depend on the seed alone (Glorot and Bengio 2010); zeros stay."""
    generator = np.random.default_rng(seed)
    for weight in network.trainable_weights:
        shape = tuple(weight.shape)
        if not np.any(ops.convert_to_numpy(weight)):
            continue
        # Of attention, the widths on both sides are equal.
        fans = sum(shape) if len(shape) == 2 else 2.0 * np.sqrt(np.prod(shape))
        reach = np.sqrt(6.0 / fans)
        weight.assign(generator.uniform(-reach, reach, shape).astype("float32"))
