"""The names that annotations have for backend tensors; their shapes are in the docstrings."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

Tensor: TypeAlias = Any

# What a model is conditioned on: none, or both, of `labels`, one-hot `(B, K)`, and `given`, the visible
# part of the images beside the mask that says which it is, `(B, H, W, C + 1)`.
Condition: TypeAlias = Mapping[str, Tensor]
UNCONDITIONAL: Condition = MappingProxyType({})

DISTRIBUTIONS = ("auto", "none", "data")  # how devices may share the batches of a training
PRECISIONS = ("none", "bfloat16", "float16")  # half precision of a training
EXPORT_PRECISIONS = ("float32", "float16", "int8")  # of the numbers in a LiteRT file
RESIZES = ("crop", "pad", "stretch")  # how an image of another aspect ratio gets a size
CACHES = ("memory", "disk", "none")  # where decoded images are kept
