"""The names of what a run folder holds, and the check that they are its own.

Nothing here imports a backend.
"""

import os

from keras_vaegan.diagnosis import FINDINGS
from keras_vaegan.files import NEXT, check_links
from keras_vaegan.locks import LOCK

CONFIG, WEIGHTS, METADATA = "config.json", "model.weights.h5", "metadata.json"
HISTORY, SCORES, PAGE = "history.csv", "evaluate.json", "report.html"
PICTURES = (
    "samples",
    "reconstructions",
    "completions",
    "styles",
    "interpolation",
    "curves",
    "latent_means",
    "latent_grid",
)
RUN_FILES = (
    CONFIG,
    WEIGHTS,
    METADATA,
    "model.keras",
    HISTORY,
    FINDINGS,
    SCORES,
    PAGE,
    *(f"{name}.png" for name in PICTURES),
)
RUN_FOLDERS = ("checkpoints", "samples")


def check_own(argument: str, folder: str | os.PathLike[str]) -> None:
    """Raise `InputError`, which names the link, if what a run writes or reads lies outside of its folder.

    The folder itself may be a link, and may be missing.
    """
    check_links(argument, folder, (*RUN_FILES, LOCK), (*RUN_FOLDERS, NEXT))
