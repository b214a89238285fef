"""The backends that Keras may run on here, and the one line that says so where it runs on another."""

import importlib
import os
import sys

from keras_vaegan.errors import InputError, one_line

BACKENDS = ("tensorflow", "jax", "torch")


class BackendError(InputError, ImportError):
    """Keras runs on a backend that has no training here, or on one that is not installed."""


def require() -> None:
    """Import Keras with the backend that it is configured for, and raise `BackendError` unless it will do."""
    reason = None
    try:
        importlib.import_module("keras")
    except (ImportError, ValueError) as error:
        if getattr(error, "name", None) == "keras":
            raise  # Keras itself is missing, which the message of Python says
        reason = error
    name = _configured()
    if name is not None and name not in BACKENDS:
        raise BackendError(
            f"keras_vaegan runs on TensorFlow, JAX or PyTorch; Keras' backend is {one_line(name, 40)!r}: set "
            f"KERAS_BACKEND to {', '.join(BACKENDS[:-1])} or {BACKENDS[-1]}.",
            argument="KERAS_BACKEND",
            allowed=BACKENDS,
            received=name,
        ) from None
    if reason is None:
        return
    backend = "backend" if name is None else f"backend {name!r}"
    if isinstance(reason, ModuleNotFoundError) and reason.name == name:
        raise BackendError(
            f"Keras' {backend} must be installed: pip install 'keras-vaegan[{name}]', or set KERAS_BACKEND "
            f"to another of {', '.join(BACKENDS)}.",
            argument="KERAS_BACKEND",
            allowed=BACKENDS,
            received=name,
        ) from None
    message = f"Keras' {backend} cannot be imported: {one_line(reason, 300)}"
    raise BackendError(message, argument="KERAS_BACKEND", received=name) from reason


def _configured() -> str | None:
    """The backend that Keras chose, from the environment or its own file; it may be missing."""
    chosen = sys.modules.get("keras.src.backend.config")  # is there after an import that failed
    return chosen.backend() if chosen is not None else os.environ.get("KERAS_BACKEND")
