"""What the numbers of a training say, in plain words: functions of epoch means alone.

Nothing here imports a backend. All rules on a history are in this file.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from keras_vaegan.errors import InputError, whole_number

SAMPLE_DIVERSITY = "sample_diversity"  # its name in the logs
VERDICTS = {"d_real", "d_fake"}  # of D on real images and on fakes: NaN in the epochs before it starts

# Larsen's game has its equilibrium at 1/3 and healthy trainings stay within 0.4 to 0.82 on real
# images and 0.13 to 0.3 on fakes; beyond these, next to nothing is left for the generator to learn from.
STRONG_REAL, STRONG_FAKE = 0.95, 0.05
# A discriminator that learns tells 0.1 and more apart from the first epoch or two.
BLIND = 0.01
# Healthy samples come to 0.8 to 1.0 of the distances of real images and pass 0.25 in the first three
# epochs; copies of one image have 0, with noise of 0.02 a pixel 0.08 (MNIST) to 0.15 (digits).
COLLAPSED = 0.25
FALLEN = 1 / 3  # of the best so far
RISE = 1.1  # a new best by this factor is a training under way, as in its first epochs
# Nats for the whole code. Trainings that went well had 0.1 at least in their first epoch, and soon 1.
DEAD_KL = 0.05
# Epochs since the best validation, and by how much it must be worse: less is noise.
LONG, WORSE = 10, 0.02

CLIP = "--set {player}.global_clipnorm=1"

LARGEST_EPOCH = 2**31
MOST_NAMED = 10  # columns in a message

History = Mapping[str, Sequence[float]]


@dataclasses.dataclass(frozen=True)
class Finding:
    """Something worth saying about a training.

    Attributes:
        kind: `not_finite`, `discriminator_strong`, `discriminator_blind`, `collapse`, `dead_kl` or
            `overfitting`.
        severity: `severe` where the model at the end is of no use, else `warning`.
        epoch: the first that is concerned, from 1.
        message: one line in plain words: when, what, and what to try.
    """

    kind: str
    severity: Literal["severe", "warning"]
    epoch: int
    message: str


@dataclasses.dataclass(frozen=True)
class _Run:
    """A history as the rules read it."""

    columns: dict[str, list[float]]
    epochs: list[int]
    patience: int

    def __getitem__(self, name: str) -> list[float]:
        """A column; NaN, which no comparison holds for, where there is none."""
        return self.columns.get(name, [math.nan] * len(self.epochs))

    def streak(self, flags: Sequence[bool]) -> tuple[int, int] | None:
        """First and last index of the latest `patience` or more true flags in a row."""
        found, length = None, 0
        for i, flag in enumerate(flags):
            length = length + 1 if flag else 0
            if length >= self.patience:
                found = (i - length + 1, i)
        return found

    def when(self, first: int, last: int) -> str:
        return f"epochs {self.epochs[first]} to {self.epochs[last]}" if first < last else self.at(first)

    def at(self, index: int) -> str:
        return f"epoch {self.epochs[index]}"

    def severity(self, last: int) -> Literal["severe", "warning"]:
        """Severe where it lasted to the end."""
        return "severe" if last == len(self.epochs) - 1 else "warning"


def diagnose(history: History, patience: int = 3) -> list[Finding]:
    """What a history shows, at most one finding of each kind, by epoch.

    Args:
        history: `{log name: [mean of each epoch]}` with `val_` names beside theirs; `epoch`, if it is
            there and rises, numbers the epochs. NaN in a `val_` column, in `sample_diversity`, or in a
            column that begins with it while `loss` does not, as scores of every few epochs do, stands for an
            epoch without that value (D's verdicts before it starts, too); elsewhere it is a number gone bad.
        patience: epochs in a row that a state must last to be told. Of several stretches the latest
            is told.

    Raises:
        InputError: columns of different lengths, or a patience below 1.
    """
    whole_number("patience", patience, 1)
    columns = {name: [float(value) for value in values] for name, values in history.items()}
    if len({len(values) for values in columns.values()}) > 1:
        raise InputError("history must have columns of equal lengths.")
    count = max(map(len, columns.values()), default=0)
    run = _Run(columns, numbers_of_epochs(columns.pop("epoch", ()), count), patience)
    findings = [finding for rule in RULES if (finding := rule(run)) is not None]
    return sorted(findings, key=lambda finding: finding.epoch)


def numbers_of_epochs(told: Sequence[float], count: int) -> list[int]:
    """The number of each epoch as a history tells it; they are counted if those do not rise."""
    right = all(math.isfinite(number) and abs(number) < LARGEST_EPOCH for number in told)
    numbers = [int(number) for number in told] if right else []
    if len(numbers) == count and all(a < b for a, b in itertools.pairwise(numbers)):
        return numbers
    return list(range(1, count + 1))


def _not_finite(run: _Run) -> Finding | None:
    judged = {
        name: values
        for name, values in run.columns.items()
        if not name.startswith("val_") and name != SAMPLE_DIVERSITY and not _begins_blank(values, run)
    }
    for i in range(len(run.epochs)):
        bad = [name for name, values in judged.items() if not math.isfinite(values[i])]
        if bad:
            names = ", ".join(bad[:MOST_NAMED])
            names += f" and {len(bad) - MOST_NAMED} more" if len(bad) > MOST_NAMED else ""
            message = (
                f"{run.at(i)}: {names} {'is' if len(bad) == 1 else 'are'} not finite. "
                f"{lower_rates(players_of(run.columns))}"
            )
            return Finding("not_finite", "severe", run.epochs[i], message)
    return None


def _begins_blank(values: Sequence[float], run: _Run) -> bool:
    """Whether a column is one that not every epoch has."""
    return bool(values) and math.isnan(values[0]) and math.isfinite(run["loss"][0])


def _discriminator_strong(run: _Run) -> Finding | None:
    real, fake = run["d_real"], run["d_fake"]
    found = run.streak([r > STRONG_REAL and f < STRONG_FAKE for r, f in zip(real, fake, strict=True)])
    if found is None:
        return None
    message = (
        f"{run.when(*found)}: the discriminator is too strong: it gives {real[found[1]]:.2f} to real images "
        f"and {fake[found[1]]:.2f} to fakes, so that the generator learns little from it. Try a lower "
        "--set discriminator.learning_rate, --set r1=1, --set label_smoothing=0.1, "
        "--set discriminator.spectral_normalization=true, or --augment translation,cutout."
    )
    return Finding("discriminator_strong", "warning", run.epochs[found[0]], message)


def _discriminator_blind(run: _Run) -> Finding | None:
    verdicts = enumerate(zip(run["d_real"], run["d_fake"], strict=True))
    apart = {i: abs(real - fake) for i, (real, fake) in verdicts if math.isfinite(real)}  # once D has begun
    # One that told them apart once and no longer does may have been brought to its equilibrium.
    if len(apart) < run.patience or not all(difference < BLIND for difference in apart.values()):
        return None
    message = (
        f"{run.when(min(apart), max(apart))}: the discriminator never told real images from fakes: it gives "
        f"{run['d_real'][-1]:.2f} to the former and {run['d_fake'][-1]:.2f} to the latter. Try a higher "
        "--set discriminator.learning_rate, a larger discriminator, or a lower r1."
    )
    return Finding("discriminator_blind", "warning", run.epochs[min(apart)], message)


def _collapse(run: _Run) -> Finding | None:
    diversity, flags, best = run[SAMPLE_DIVERSITY], [], -1.0
    for value in diversity:
        rising = best < 0.0 or value > RISE * best
        flags.append(value < max(COLLAPSED, FALLEN * best) and not rising)
        best = max(best, value)
    found = run.streak(flags)
    if found is None:
        return None
    message = (
        f"{run.when(*found)}: the samples are nearly alike: the mean distance from a sample to the nearest "
        f"other one is {diversity[found[1]]:.2f} times that of real images (at best {best:.2f}). Try lower "
        f"learning rates{_for_player('discriminator', ', --set r1=1, a larger --batch-size', run)}, or "
        "weights of an earlier epoch."
    )
    return Finding("collapse", run.severity(found[1]), run.epochs[found[0]], message)


def _dead_kl(run: _Run) -> Finding | None:
    kl = run["kl"]
    found = run.streak([-math.inf < value < DEAD_KL for value in kl])
    if found is None:
        return None
    message = (
        f"{run.when(*found)}: the code carries nothing: its divergence from the prior is "
        f"{kl[found[1]]:.3f} nats, so that reconstructions do not depend on the image. Try a lower "
        "--set beta, --set annealing_steps=5000, or --set free_bits=0.1."
    )
    return Finding("dead_kl", run.severity(found[1]), run.epochs[found[0]], message)


def _overfitting(run: _Run) -> Finding | None:
    validated = [i for i, value in enumerate(run["val_loss"]) if math.isfinite(value)]
    if not validated:
        return None
    best, last = min(validated, key=run["val_loss"].__getitem__), validated[-1]
    at_best, at_last = run["val_loss"][best], run["val_loss"][last]
    rose = at_last - at_best > WORSE * abs(at_best)
    if last - best < max(LONG, run.patience) or not rose or not run["loss"][last] < run["loss"][best]:
        return None
    message = (
        f"since epoch {run.epochs[best]}: the loss of training images still falls, but that of validation "
        f"images rose from {at_best:.4g} to {at_last:.4g}. Train for fewer epochs, on more images, with "
        "--augment translation, or use a smaller network."
    )
    return Finding("overfitting", "warning", run.epochs[best], message)


RULES: tuple[Callable[[_Run], Finding | None], ...] = (
    _not_finite,
    _discriminator_strong,
    _discriminator_blind,
    _collapse,
    _dead_kl,
    _overfitting,
)


def lower_rates(players: Sequence[str]) -> str:
    """What to try against numbers that grow without bound."""
    rates = " or ".join(f"--set {player}.learning_rate" for player in players)
    return f"Try a lower {rates}, or clipped gradients: {CLIP.format(player=players[0])}."


def players_of(columns: Mapping[str, object]) -> list[str]:
    """The players that a history names; a VAE, which names none, has a generator alone."""
    return [name for name in ("encoder", "generator", "discriminator") if name in columns] or ["generator"]


def _for_player(player: str, words: str, run: _Run) -> str:
    return words if player in run.columns else ""


def merged(noted: Sequence[Finding], found: Sequence[Finding]) -> list[Finding]:
    """Both by epoch; of one kind, what was noted during the training."""
    kinds = {finding.kind for finding in noted}
    kept = [finding for finding in found if finding.kind not in kinds]
    return sorted([*noted, *kept], key=lambda finding: finding.epoch)
