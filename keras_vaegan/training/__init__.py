"""Training of several players: the model's part, and one leaf per backend.

Nothing outside the leaves `tensorflow.py`, `jax.py` and `torch.py` names a backend.
"""

import importlib

import keras

_leaf = importlib.import_module(f"keras_vaegan.training.{keras.backend.backend()}")

Steps = _leaf.Steps
input_gradient = _leaf.input_gradient

__all__ = ["Steps", "input_gradient"]
