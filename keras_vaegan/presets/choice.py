"""A recipe that is chosen when the images are known."""

import contextlib
import copy
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from keras_vaegan.errors import InputError, choose
from keras_vaegan.kinds import check_kind
from keras_vaegan.networks.blocks import check_image_shape
from keras_vaegan.presets import configure
from keras_vaegan.presets.own_images import recipe_by_images, start_late
from keras_vaegan.presets.recipes import MODEL_KEYS

EVERY_PLAYER = "optimizer.*."  # how a change of an option of each player's optimizer begins
ALL_RATES = f"{EVERY_PLAYER}learning_rate"  # of which a schedule keeps its form, and begins there
ALL_ACCUMULATIONS = f"{EVERY_PLAYER}gradient_accumulation_steps"
# Options that decide which others there are.
FIRST = ("family", "class", "three_players", "game", "prior", "likelihood")


@dataclasses.dataclass(frozen=True)
class RecipeChoice:
    """A model, and changes to the recipe that its images will get.

    Attributes:
        key: of `MODEL_KEYS`.
        dataset: a source for `data.load`; None for data that are given as `ImageData`.
        changes: `(option, value)` for `configure.override`, of which the later ones win.
    """

    key: str
    dataset: str | None = None
    changes: Sequence[tuple[str, Any]] = ()

    def __post_init__(self) -> None:
        choose("model", self.key, MODEL_KEYS)

    def before_images(self) -> dict[str, Any]:
        """A recipe for images of any shape, to check the changes by before the images are read.

        Raises:
            InputError: a change that no recipe of this model takes.
        """
        try:
            return self.for_images((64, 64, 3), None)
        except InputError:
            with contextlib.suppress(InputError):  # smaller images have networks with other options
                return self.for_images((32, 32, 3), None)
            raise

    def for_images(self, image_shape: Sequence[int], num_images: int | None) -> dict[str, Any]:
        """The recipe for images of the shape `(H, W, C)` and that number of them, changed.

        Raises:
            InputError: a change that the recipe does not take.
        """
        families = [value for name, value in self.changes if name in ("family", "networks.family")]
        spatial = families[-1] == "resnet" if families else None
        recipe = recipe_by_images(self.key, check_image_shape(image_shape), num_images, spatial)
        recipe["training"]["dataset"] = self.dataset or ""
        change(recipe, self.changes)
        if not {"start", "warm_up"} & {name.split(".")[-1] for name, _ in self.changes}:
            start_late(recipe, num_images)
        return recipe

    def get_config(self) -> dict[str, Any]:
        """The choice as JSON has it."""
        return {"key": self.key, "dataset": self.dataset, "changes": [list(one) for one in self.changes]}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "RecipeChoice":
        """The choice that `get_config` described; `InputError` if it is none."""
        check_kind("choice.key", config.get("key"), str)
        check_kind("choice.dataset", config.get("dataset"), str | None)
        changes = config.get("changes")
        if not isinstance(changes, list) or any(
            not isinstance(one, list) or len(one) != 2 for one in changes
        ):
            raise InputError("changes must be pairs of an option and its value.")
        return cls(config["key"], config.get("dataset"), [(name, value) for name, value in changes])


def change(recipe: dict[str, Any], changes: Iterable[tuple[str, Any]]) -> None:
    """Set options of a recipe, in place; those that decide which others there are come first.

    Raises `InputError` as `configure.override` does.
    """
    for name, value in sorted(changes, key=lambda one: str(one[0]).split(".")[-1] not in FIRST):
        if name.startswith(EVERY_PLAYER):
            option = name.removeprefix(EVERY_PLAYER)
            for player, settings in recipe["optimizer"].items():
                own = _begun_at(value, settings) if name == ALL_RATES else value
                configure.override(recipe, f"optimizer.{player}.{option}", own)
        else:
            configure.override(recipe, name, copy.deepcopy(value))


def _begun_at(rate: float, settings: Mapping[str, Any]) -> Any:
    """A learning rate for an optimizer with these settings: a schedule begins there."""
    schedule = settings.get("learning_rate")
    if isinstance(schedule, dict) and "initial_learning_rate" in schedule:
        return {**schedule, "initial_learning_rate": rate}
    return rate
