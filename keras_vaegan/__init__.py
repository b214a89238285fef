"""keras-vaegan: variational auto-encoders joined with generative adversarial networks, for Keras 3.

Importing the package imports Keras, with the backend that `KERAS_BACKEND` names, and no other.
The command line alone waits: it imports the models after it has read `--backend`.
"""

import importlib
import pathlib
import sys
from typing import TYPE_CHECKING

__version__ = "0.1.0.dev0"

if TYPE_CHECKING:
    from keras_vaegan import (
        callbacks,
        data,
        diagnosis,
        distributions,
        evaluation,
        losses,
        metrics,
        networks,
        plots,
        presets,
        report,
        runs,
        training,
    )
    from keras_vaegan.errors import InputError
    from keras_vaegan.models import (
        CVAE,
        CVAEGAN,
        DRAW,
        DRAWGAN,
        VAE,
        VAEGAN,
        SemiSupervisedVAE,
        SemiSupervisedVAEGAN,
        StackedSemiSupervisedVAE,
    )

# Public name -> module that has it; None for the modules themselves.
_PUBLIC: dict[str, str | None] = {
    "CVAE": "models",
    "CVAEGAN": "models",
    "DRAW": "models",
    "DRAWGAN": "models",
    "VAE": "models",
    "VAEGAN": "models",
    "InputError": "errors",
    "SemiSupervisedVAE": "models",
    "SemiSupervisedVAEGAN": "models",
    "StackedSemiSupervisedVAE": "models",
    "callbacks": None,
    "data": None,
    "diagnosis": None,
    "distributions": None,
    "evaluation": None,
    "losses": None,
    "metrics": None,
    "networks": None,
    "plots": None,
    "presets": None,
    "report": None,
    "runs": None,
    "training": None,
}

__all__ = [
    "CVAE",
    "CVAEGAN",
    "DRAW",
    "DRAWGAN",
    "VAE",
    "VAEGAN",
    "InputError",
    "SemiSupervisedVAE",
    "SemiSupervisedVAEGAN",
    "StackedSemiSupervisedVAE",
    "__version__",
    "callbacks",
    "data",
    "diagnosis",
    "distributions",
    "evaluation",
    "losses",
    "metrics",
    "networks",
    "plots",
    "presets",
    "report",
    "runs",
    "training",
]


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if _PUBLIC[name] is None:
        return importlib.import_module(f"{__name__}.{name}")
    return getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)


def _is_command_line() -> bool:
    program = (getattr(sys, "argv", None) or [""])[0]
    # While `python -m` imports the package of its module, the program is called "-m".
    module = program == "-m" and __name__ in sys.orig_argv
    return module or pathlib.PurePath(program).stem == "keras-vaegan"


if not _is_command_line():
    importlib.import_module(f"{__name__}.backend_choice").require()
    # Keras finds the classes in a saved model by their registration, which importing them makes.
    importlib.import_module(f"{__name__}.models")
