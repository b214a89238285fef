"""`score`: how good a model, or a set of images, is: numbers with all that is needed to repeat them."""

import dataclasses
import datetime
import importlib
import math
import os
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from numpy.typing import ArrayLike

import keras_vaegan
from keras_vaegan.data import ImageData
from keras_vaegan.data.content import content_hash
from keras_vaegan.errors import InputError, choose, shown
from keras_vaegan.evaluation.groups import GROUPS, KEEPING_FEATURES, SYNONYMS
from keras_vaegan.evaluation.scores import Score, findings
from keras_vaegan.evaluation.subject import Evaluation, NotApplicable
from keras_vaegan.files import write_json
from keras_vaegan.metrics.features import digest

if TYPE_CHECKING:
    from keras_vaegan.models.latent import LatentVariableModel

__all__ = [
    "GROUPS",
    "Evaluation",
    "NotApplicable",
    "Score",
    "check_groups",
    "compute",
    "findings",
    "save_scores",
    "score",
]

FORMAT_VERSION = 1
TRAINED_IN = "the model was trained in these features"


def score(
    subject: "LatentVariableModel | ArrayLike",
    data: ImageData,
    groups: Sequence[str] | None = None,
    progress: Callable[[str], None] | None = None,
    finished: Callable[[Score], None] | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Score a model, or images that one made, against real images.

    Args:
        subject: a model of the package, or images `(N, H, W, C)`.
        data: what `keras_vaegan.data.load` gives.
        groups: which of `GROUPS`; all that can be computed if None, the others with the reason.
        progress: called with the name of each group before its work.
        finished: called with each score when it is there: a later one may fail.
        **settings: the other arguments of `Evaluation`.

    Returns:
        A dictionary that `json.dump` takes: `scores` (a list of `Score` as dictionaries),
        `findings` (what is wrong, in words), `skipped` (`{group: reason}`), and the provenance:
        `data`, `samples`, `subject` (hash of the weights or images scored), `features`, `backend`,
        `versions`, `date`.

    Raises:
        InputError: images that do not fit each other, features that were asked for and cannot be had; a
            group that was asked for and cannot be computed, as of too few images.

    Examples:
        >>> import keras_vaegan as kvg
        >>> from keras_vaegan import evaluation
        >>> data = kvg.data.load("digits")
        >>> model = kvg.VAE.from_preset("vae_mnist")
        >>> result = evaluation.score(model, data, ["reconstruction"])
        >>> [one["name"] for one in result["scores"]]
        ['mean_squared_error', 'peak_signal_to_noise_ratio', 'structural_similarity']
    """
    of = Evaluation(subject, data, **settings)
    scores, skipped = compute(of, groups, progress, finished)
    return {
        "format_version": FORMAT_VERSION,
        **_provenance(of),
        "scores": [dataclasses.asdict(one) for one in scores],
        "findings": [*findings(scores), *_flattery(scores)],
        "skipped": skipped,
    }


def compute(
    of: Evaluation,
    groups: Sequence[str] | None = None,
    progress: Callable[[str], None] | None = None,
    finished: Callable[[Score], None] | None = None,
) -> tuple[list[Score], dict[str, str]]:
    """The scores and the skipped groups of `score`, of an `Evaluation` that is kept."""
    check_groups("metrics", groups)
    if groups is None and of.asked_features is not None:
        _ = of.extractors  # before the groups, of which one may be skipped: what was asked for must be had
    chosen = list(GROUPS) if groups is None else list(dict.fromkeys(groups))
    of.keep_features = bool(KEEPING_FEATURES & set(chosen))
    scores: list[Score] = []
    skipped: dict[str, str] = {}
    for name in chosen:
        if progress is not None:
            progress(name)
        try:
            for one in GROUPS[name](of):
                if of.trained_in(one.features):
                    one.note = ", ".join(filter(None, (one.note, TRAINED_IN)))
                scores.append(one)
                if finished is not None:
                    finished(one)
        except NotApplicable as reason:
            if groups is not None:
                message = f"metrics {name} cannot be computed: {reason}."
                raise InputError(message, argument="metrics", received=name) from reason
            skipped[name] = str(reason)
        except InputError as error:
            if groups is not None:
                raise
            skipped[name] = str(error).rstrip(".")
    return scores, skipped | of.left_out


def check_groups(argument: str, groups: Sequence[str] | None) -> None:
    """Raise `InputError` unless groups of scores are names of `GROUPS`, one at least, or None."""
    if groups is None:
        return
    if isinstance(groups, str) or not isinstance(groups, Collection):
        raise InputError(f"{argument} must be a list of names; received {shown(groups)}.")
    if not len(groups):
        raise InputError(f"{argument} must be one at least of {', '.join(GROUPS)}; received none.")
    for name in groups:
        choose(argument, name, GROUPS, synonyms=SYNONYMS)


def save_scores(result: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Write what `score` returned as JSON; numbers that are not finite become null."""
    write_json(path, _finite(result))


def _flattery(scores: Sequence[Score]) -> list[str]:
    """A warning of features that the model was trained in."""
    flattered = dict.fromkeys(one.features for one in scores if TRAINED_IN in (one.note or ""))
    return [
        f"{features} flatters the model, which was trained with the perceptual loss of that network; compare "
        "it in other features, too"
        for features in flattered
    ]


def _provenance(of: Evaluation) -> dict[str, Any]:
    return {
        "data": {
            "dataset": of.data.name,
            "split": of.split,
            "num_images": len(of.real),
            "image_shape": list(of.image_shape),
            "content": content_hash(of.real),
        },
        "samples": {
            "num_images": of.num_images,
            "seed": of.seed,
            "floor_images": len(of.training_images[0]),
        },
        "subject": _subject(of),
        "likelihood": {
            "num_images": min(of.likelihood_images, len(of.real)),
            "num_samples": of.likelihood_samples,
        },
        "features": list(of.used.values()),
        "backend": keras.backend.backend(),
        "versions": {
            keras.backend.backend(): importlib.import_module(keras.backend.backend()).__version__,
            "keras_vaegan": keras_vaegan.__version__,
            "keras": keras.__version__,
            "numpy": np.__version__,
        },
        "date": datetime.date.today().isoformat(),
    }


def _subject(of: Evaluation) -> dict[str, Any]:
    """What was scored, by the hash of its weights, or of all images that were given and their labels."""
    if of.images_given is None:
        return {"weights": digest(of.with_model())}
    labels = None if of.labels_given is None else content_hash(of.labels_given)
    return {"content": content_hash(of.images_given), "labels": labels}


def _finite(value: Any) -> Any:
    """The same with None in place of NaN and infinities, which JSON does not have."""
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
