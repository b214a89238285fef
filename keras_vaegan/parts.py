"""Objects that a model has, as its game and its prior: chosen by name, by settings, or given."""

import inspect
from collections.abc import Mapping
from typing import Any, Self, TypeVar

from keras_vaegan.errors import InputError, choose, did_you_mean, nearest, shown

P = TypeVar("P")
KIND = "class"  # the name of the class among the settings


class Part:
    """An object that is its settings: the arguments of its constructor, which are its attributes, too.

    `get_config` and `from_config` are what Keras saves it by.
    """

    def get_config(self) -> dict[str, Any]:
        """The settings by name."""
        return {name: getattr(self, name) for name in settings_of(type(self))}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """A new object from its settings."""
        return cls(**config)

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in self.get_config().items())
        return f"{type(self).__name__}({settings})"


def settings_of(kind: type) -> dict[str, inspect.Parameter]:
    """The settings of a class, its own first.

    They are what its constructor names and, if it has `**kwargs`, what the constructors above it name. The
    arguments of Keras' layers are no settings.
    """
    found: dict[str, inspect.Parameter] = {}
    several = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    for one in kind.__mro__:
        if one.__module__.partition(".")[0] == "keras":
            break
        if "__init__" not in vars(one):
            continue
        # Of the function: `inspect.signature` of a Keras class sees its `__new__` alone.
        _, *parameters = inspect.signature(vars(one)["__init__"]).parameters.values()
        found |= {of.name: of for of in parameters if of.kind not in several and of.name not in found}
        if not any(of.kind is inspect.Parameter.VAR_KEYWORD for of in parameters):
            break
    return found


def choose_part(argument: str, given: Any, kinds: Mapping[str, type[P]], base: type[P], default: str) -> P:
    """The object that an argument asks for.

    Args:
        argument: its name in errors.
        given: an object of `base`; a name of `kinds`; a dictionary of its settings, with the name under
            `class`; None for the default.
        kinds: the classes by their names.
        base: their base class, of which the user's own may be one.
        default: the name where none is given.

    Raises:
        InputError: anything else, an unknown name, a setting that the class does not take or accept.
    """
    if isinstance(given, base):
        return given
    if given is None or isinstance(given, str):
        return kinds[choose(argument, default if given is None else given, kinds)]()
    if not isinstance(given, Mapping):
        raise InputError(
            f"{argument} must be one of {', '.join(kinds)}, a dictionary of settings or a {base.__name__}; "
            f"received a {type(given).__name__}."
        )
    settings = dict(given)
    kind = kinds[choose(argument, settings.pop(KIND, default), kinds)]
    known = settings_of(kind)
    for name in settings:
        if name not in known:
            raise _unknown_setting(argument, name, kind, kinds)
    return kind(**settings)


def _unknown_setting(argument: str, name: Any, kind: type, kinds: Mapping[str, type]) -> InputError:
    """The error for a setting that a class does not have: which it has, and which class has it."""
    keys = {of: key for key, of in kinds.items()}
    known = settings_of(kind)
    others = [key for key, of in kinds.items() if name in settings_of(of)]
    elsewhere = (
        f" The {argument} {' or '.join(others)} has it." if others else did_you_mean(nearest(name, known))
    )
    setting = name if isinstance(name, str) and name.isidentifier() else shown(name)
    return InputError(
        f"{setting} is no setting of the {argument} {keys[kind]}, which has {', '.join(known) or 'none'}."
        f"{elsewhere}",
        argument=setting if setting == name else argument,
        allowed=tuple(known),
        received=name,
    )
