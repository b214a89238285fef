"""The name that annotations have for backend tensors; their shapes are in the docstrings."""

from typing import Any, TypeAlias

Tensor: TypeAlias = Any
