"""Training: the step of several players, what a training on several devices needs, and whole runs.

`run` and `resume` stand above models and presets, and are imported on use.
"""

import importlib
from typing import TYPE_CHECKING

from keras_vaegan.backend import (
    Worker,
    be_deterministic,
    distribution,
    part,
    random_states,
    set_random_states,
    shares,
    worker,
)
from keras_vaegan.training.multi_player import Losses, MultiPlayerModel

if TYPE_CHECKING:
    from keras_vaegan.training.runner import Console, Result, resume, run

OF_RUNNER = ("Console", "Result", "resume", "run")

__all__ = [
    "Console",
    "Losses",
    "MultiPlayerModel",
    "Result",
    "Worker",
    "be_deterministic",
    "distribution",
    "part",
    "random_states",
    "resume",
    "run",
    "set_random_states",
    "shares",
    "worker",
]


def __getattr__(name: str) -> object:
    if name not in OF_RUNNER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.runner"), name)
