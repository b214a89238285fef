"""Training: the step of several players, and what a training on several devices needs."""

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

__all__ = [
    "Losses",
    "MultiPlayerModel",
    "Worker",
    "be_deterministic",
    "distribution",
    "part",
    "random_states",
    "set_random_states",
    "shares",
    "worker",
]
