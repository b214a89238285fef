"""Options and parameter types that the commands share."""

import dataclasses
import importlib
import importlib.util
import json
import math
import os
import pathlib
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from keras_vaegan.errors import InputError, choose, must_be, printable, renaming, shown, unknown_name
from keras_vaegan.files import holding_stderr, parse_json, reason_of
from keras_vaegan.kinds import LARGEST, LARGEST_SIDE
from keras_vaegan.presets.recipes import HUB
from keras_vaegan.signals import held_back

if TYPE_CHECKING:
    from keras_vaegan.data import ImageData
    from keras_vaegan.data.preprocessing import Preprocessing
    from keras_vaegan.training import Console

BACKENDS = ("tensorflow", "jax", "torch")
IMPORTS = "keras_vaegan.imports"  # where the names of modules are kept in click's context
LONGEST_NAME = 230  # bytes of a file's name: file systems allow 255, and the name of a partial file is longer
NUMBER = r"-?[0-9]{1,10}(?:\.[0-9]{1,10})?(?:e-?[0-9]{1,2})?"  # of a range of values
DATA, MODEL, TRAINING, RUN = "Data", "Model", "Training", "Run"


class GroupedOption(click.Option):
    """An option that stands under a heading of its own in `--help`."""

    def __init__(self, *args: Any, group: str = RUN, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.group = group


class GroupedCommand(click.Command):
    """A command whose help lists its options by group, and that names the nearest right option.

    An `InputError` of the package names an argument of a function. The command replaces that name by the
    option or positional argument of the same name, or as `arguments` says.

    Args:
        arguments: names of arguments in the package, each with what stands for it on the command line.
    """

    def __init__(self, *args: Any, arguments: Mapping[str, str] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.arguments = dict(arguments or {})

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except InputError as error:
            name = None if error.argument is None else self.name_of(error.argument, context)
            if name is None:
                raise
            raise _as_option(error.renamed(name), name) from error

    def name_of(self, argument: str, context: click.Context) -> str | None:
        """The name on the command line of an argument in the package; None if it has none there."""
        found = self.parameter_for(argument)
        return self.arguments.get(argument, None if found is None else shown_name(found))

    def parameter_for(self, argument: str) -> click.Parameter | None:
        """The parameter of the command that has an argument's name, or whose option has it."""
        for parameter in self.params:
            option = shown_name(parameter).removeprefix("--").replace("-", "_")
            if argument in (parameter.name, option):
                return parameter
        return None

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(context):
            record = parameter.get_help_record(context)
            if record is not None:
                groups.setdefault(getattr(parameter, "group", RUN), []).append(record)
        for group in (DATA, MODEL, TRAINING, RUN):
            if group in groups:
                with formatter.section(f"{group} options"):
                    formatter.write_dl(groups[group])

    def parse_args(self, context: click.Context, arguments: list[str]) -> list[str]:
        try:
            return super().parse_args(context, arguments)
        except click.NoSuchOption as error:
            names = [name for parameter in self.params for name in parameter.opts if name.startswith("--")]
            raise unknown_name("option", error.option_name, names) from error


def _as_option(error: InputError, name: str) -> InputError:
    """An error with its option in the words of the command line, where nobody writes None."""
    message = re.sub(rf"^{re.escape(name)} must be None(?! or)", f"{name} must not be given", str(error))
    error.args = (message,)
    return error


def shown_name(parameter: click.Parameter) -> str:
    """The name of a parameter in `--help`: `--num-images`, or `SOURCE`."""
    if isinstance(parameter, click.Argument):
        return parameter.human_readable_name
    return max(parameter.opts, key=len)


class Name(click.ParamType):
    """One of a few names; an unknown one is answered with the nearest."""

    name = "name"

    def __init__(self, argument: str, allowed: Iterable[str]) -> None:
        self.argument, self.allowed = argument, tuple(allowed)

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> str:
        return choose(self.argument, value, self.allowed)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return "[" + "|".join(self.allowed) + "]"


class Whole(click.IntRange):
    """An integer of at least `min` and at most `max`, which may be None; its error says so."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> int:
        try:
            return int(super().convert(value, parameter, context))
        except click.BadParameter:
            limit = f"of at least {self.min}" if self.max is None else f"from {self.min} to {self.max}"
            raise must_be(_called(parameter), f"an integer {limit}", value) from None


class Count(Whole):
    """A number of things: an integer of at least `min`, and no larger than any array can have."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> int:
        count = super().convert(value, parameter, context)
        if count > LARGEST:
            raise must_be(_called(parameter), f"an integer of at most {LARGEST}", value)
        return count


class Positive(click.FloatRange):
    """A finite number above 0; its error says so."""

    def __init__(self) -> None:
        super().__init__(0, min_open=True)

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> float:
        try:
            number = float(super().convert(value, parameter, context))
        except click.BadParameter:
            number = math.nan
        if not math.isfinite(number):
            raise must_be(_called(parameter), "a number above 0", value)
        return number


def _called(parameter: click.Parameter | None) -> str:
    return "value" if parameter is None else shown_name(parameter)


def echo(text: object, **settings: Any) -> None:
    """`click.echo`, with what a terminal would act on escaped: a file's name may hold it."""
    click.echo("\n".join(map(printable, str(text).split("\n"))), **settings)


def console() -> "Console":
    """How a run speaks on the command line."""
    from keras_vaegan.training import Console

    context = click.get_current_context()
    command: Any = context.command

    class CommandLine(Console):
        def show(self, line: str, warning: bool = False) -> None:
            echo(line, err=warning)

        def named(self, argument: str, value: Any = None) -> str:
            name = command.name_of(argument, context) or argument
            return name if value in (None, True) else f"{name} {value}"

        def suggest(self, folder: pathlib.Path, generates: bool, unit: str, length: int) -> None:
            first = "generate" if generates else "fit-prior"
            words = [
                [first, folder, *(["--output", folder / "more.png"] if generates else [])],
                ["report", folder],
                ["train", "--resume", folder, f"--{unit}", length],
            ]
            for number, line in enumerate(words):
                start = "next:" if not number else "     "
                echo(f"{start} keras-vaegan {shlex.join(map(str, line))}")

    return CommandLine()


def key_and_value(setting: str) -> tuple[str, Any]:
    """`features=0.5` as a name and a value: JSON where it is JSON, text otherwise."""
    name, equals, text = setting.partition("=")
    if not equals or not name:
        raise InputError(f"--set must be KEY=VALUE; received {setting!r}.")
    try:
        value = parse_json(text)
    except json.JSONDecodeError:
        return name.strip(), text
    except (ValueError, RecursionError) as error:
        raise InputError(f"--set {name.strip()} cannot be read: {reason_of(error)}") from error
    return name.strip(), value


class ImageSize(click.ParamType):
    """`28` or `28x20`, height first."""

    name = "HxW"

    def __init__(self, argument: str = "--image-size") -> None:
        self.argument = argument

    def convert(
        self, value: Any, parameter: click.Parameter | None, context: click.Context | None
    ) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        # As many digits as LARGEST_SIDE has, of ASCII: `isdigit` is true of a superscript, too.
        found = re.fullmatch(r"([1-9][0-9]{0,4})(?:x([1-9][0-9]{0,4}))?", str(value).lower())
        sizes = [int(size) for size in found.groups() if size] if found else []
        if not sizes or max(sizes) > LARGEST_SIDE:
            raise InputError(
                f"{self.argument} must be SIZE or HEIGHTxWIDTH, each of 1 to {LARGEST_SIDE} pixels; "
                f"received {shown(value)}."
            )
        return (sizes[0], sizes[-1])


def check_output(value: Any) -> str:
    """Return the path of a file to write if every library can write to it, or raise `InputError`."""
    text = os.fspath(value)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(f"--output must be a name in UTF-8; received {shown(text)}.") from None
    if text.startswith(HUB):
        raise InputError(f"--output must be a path of this machine; received {shown(text)}.")
    if not text or "\0" in text:
        raise InputError(f"--output must be a path; received {shown(text)}.")
    long = [part for part in pathlib.Path(text).parts if len(part.encode()) > LONGEST_NAME]
    if long:
        raise InputError(
            f"--output must have names of at most {LONGEST_NAME} bytes; received {shown(long[0])}."
        )
    return text


class Output(click.ParamType):
    """A file or a folder to write."""

    name = "path"

    def convert(
        self, value: Any, parameter: click.Parameter | None, context: click.Context | None
    ) -> pathlib.Path:
        path = pathlib.Path(check_output(value))
        if path.is_dir() and not self.folder:
            raise InputError(f"--output must be a file; {shown(str(path))} is a folder.")
        return path

    def __init__(self, folder: bool = False) -> None:
        self.folder = folder


class ValueRange(click.ParamType):
    """`0:4095`, the values that become 0 and 1: integers, or floats of float files."""

    name = "low:high"

    def convert(
        self, value: Any, parameter: click.Parameter | None, context: click.Context | None
    ) -> tuple[float, float]:
        if isinstance(value, tuple):
            return value
        ends = re.fullmatch(rf"({NUMBER}):({NUMBER})", str(value), re.ASCII)
        low, high = (0.0, 0.0) if ends is None else (float(ends[1]), float(ends[2]))
        if not low < high:
            raise InputError(
                "--value-range must be LOW:HIGH, two numbers of which the second is larger, as 0:4095 for "
                f"12 bits; received {value!r}."
            )
        return _whole(low), _whole(high)


def _whole(number: float) -> float:
    """An integer if it is one: a range of integers stays one."""
    return int(number) if number.is_integer() else number


class Picture(click.ParamType):
    """A file to write: `.png` or `.npz`; or a folder, a path without an ending, if that may be."""

    def __init__(self, or_folder: bool = False) -> None:
        self.or_folder = or_folder
        self.name = "path" if or_folder else "file"

    def convert(
        self, value: Any, parameter: click.Parameter | None, context: click.Context | None
    ) -> pathlib.Path:
        path = pathlib.Path(check_output(value))
        if self.or_folder and not path.suffix:
            return path
        if path.suffix not in (".png", ".npz"):
            raise InputError(
                f"--output must end in .png (a picture) or .npz (arrays); received {shown(value)}."
            )
        if path.is_dir():
            raise InputError(f"--output must be a file; {shown(value)} is a folder.")
        return path


def plain_name(source: str) -> str:
    """A name for what comes of SOURCE: that of the folder or preset, `user_name` of a model on the Hub."""
    if source.startswith(HUB):
        return re.sub(r"[^\w.-]+", "_", source.removeprefix(HUB), flags=re.ASCII)
    path = pathlib.Path(source)
    if path.suffix == ".keras":
        return path.stem
    return path.resolve().name if path.name in ("", "..") else path.name


def option(*names: str, **settings: Any) -> Callable[[Any], Any]:
    """`click.option` with a group and its default shown."""
    return click.option(
        *names, cls=GroupedOption, show_default=settings.pop("show_default", True), **settings
    )


def _choose_backend(context, parameter, value):
    """Set the backend for the import of Keras that comes, and check that it is there."""
    if value is None:
        return None
    if importlib.util.find_spec(value) is None:
        raise InputError(f"--backend {value} needs the package {value}: pip install 'keras-vaegan[{value}]'.")
    loaded = sys.modules.get("keras")
    if loaded is not None and loaded.backend.backend() != value:
        raise InputError(f"--backend must be {loaded.backend.backend()}, which is loaded; received {value}.")
    os.environ["KERAS_BACKEND"] = value
    return value


def _import_modules(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> None:
    """Keep the names for `load_keras`: these modules may import Keras, whose backend is chosen first."""
    context.meta[IMPORTS] = value


def load_keras() -> None:
    """Import Keras and its backend, and then what `--import` names.

    TensorFlow writes lines about the processor on standard error whatever its log level.
    """
    if "keras" not in sys.modules:
        asked = os.environ.get("KERAS_BACKEND")
        if asked:
            choose("KERAS_BACKEND", asked, BACKENDS)
        with held_back(), holding_stderr():
            try:
                keras = importlib.import_module("keras")
                choose("KERAS_BACKEND", keras.backend.backend(), BACKENDS)
                if keras.backend.backend() == "tensorflow":  # a warning for each network that predicts
                    importlib.import_module("tensorflow").get_logger().setLevel("ERROR")
            except InputError:
                raise
            except (ValueError, ImportError) as error:  # a damaged keras.json, a backend that is not there
                raise InputError(
                    f"Keras cannot be imported: {reason_of(error)}. KERAS_BACKEND must be one of "
                    f"{', '.join(BACKENDS)} that is installed.",
                    argument="KERAS_BACKEND",
                    allowed=BACKENDS,
                ) from error
    with held_back():
        importlib.import_module("keras_vaegan.models")  # which fills the registry of models
    context = click.get_current_context(silent=True)
    for name in context.meta.get(IMPORTS, ()) if context else ():
        if os.getcwd() not in sys.path:
            sys.path.insert(0, os.getcwd())
        try:
            importlib.import_module(name)
        except Exception as error:  # whatever a module of the user's does
            raise InputError(f"--import {name} cannot be imported: {reason_of(error)}") from error


_backend = option(
    "--backend",
    type=Name("--backend", BACKENDS),
    callback=_choose_backend,
    is_eager=True,
    expose_value=False,
    show_default="KERAS_BACKEND, or Keras' own configuration",
    help="Run Keras on this backend.",
)
_imports = option(
    "--import",
    multiple=True,
    metavar="MODULE",
    callback=_import_modules,
    expose_value=False,
    help="Import this module first. It defines layers of SOURCE.",
)


def backend(function: Any) -> Any:
    """The options of every command that loads a model: `--backend` and `--import`."""
    return _backend(_imports(function))


seed = option("--seed", type=Whole(0, 2**31 - 1), default=0, help="Seed all randomness.")
batch_size = option("--batch-size", type=Count(1), default=128, help="Compute this many images at a time.")
picture = option("--output", type=Picture(), required=True, help="Write this .png or .npz file.")
picture_or_folder = option(
    "--output",
    type=Picture(or_folder=True),
    required=True,
    help="Write a .png or .npz file, or a folder for many images.",
)


def load_images(dataset: str, *arguments: Any, told: bool = False, **settings: Any) -> "ImageData":
    """`keras_vaegan.data.load`, whose errors are about `dataset`.

    What was taken for what in a folder is said if that is to be `told`.
    """
    from keras_vaegan import training
    from keras_vaegan.data import load

    with renaming(source="dataset"):
        data = load(dataset, *arguments, **settings)
    if told and data.notes and training.worker().rank == 0:
        echo(f"{data.name}: {'; '.join(data.notes)}")
    return data


def load_data_for(
    image_shape: tuple[int, ...],
    metadata: Mapping[str, Any],
    dataset: str | None,
    image_size: tuple[int, int] | None,
    value_range: tuple[float, float] | None = None,
    num_classes: int | None = None,
    **settings: Any,
) -> "ImageData":
    """The data asked for, or those a model was trained on, read as in its training.

    The images of a model that was trained on random crops are whole; see `as_seen`. If the model is
    conditioned on `num_classes` classes, labels are those of the model, by their names.
    """
    told = dataset is not None
    dataset = dataset or metadata.get("dataset")
    if dataset is None:
        raise InputError("--dataset must be given: SOURCE does not say what it was trained on.")
    how = preprocessing_for(image_shape, metadata)
    settings["value_range"] = value_range or how.value_range
    settings |= {"resize": how.resize, "background": how.background}
    if num_classes:
        settings["class_names"] = metadata.get("class_names") or num_classes
    stored = metadata.get("preprocessing") is not None
    channels = how.channels if stored or how.channels in (1, 3) else None  # others come as arrays
    return load_images(dataset, image_size or how.image_size, channels, told=told, **settings)


def preprocessing_for(
    image_shape: Sequence[int], metadata: Mapping[str, Any], image_size: tuple[int, int] | None = None
) -> "Preprocessing":
    """How images become what a model takes, from its metadata; what they do not say, from its shape.

    A model that takes images of any size may get them whole, in another `image_size` than in its training.
    """
    from keras_vaegan.data.preprocessing import Preprocessing

    known = dict(metadata.get("preprocessing") or {"value_range": metadata.get("value_range")})
    height, width, channels = image_shape
    how = Preprocessing.from_config(known | {"channels": channels})
    if image_size is not None:
        return dataclasses.replace(how, image_size=image_size, crop=None)
    fits = (how.crop or how.image_size) == (height, width)
    # Metadata of another model, beside which this one was put, say nothing of its size.
    return how if fits else dataclasses.replace(how, image_size=(height, width), crop=None)


def as_seen(
    data: "ImageData",
    image_shape: Sequence[int],
    metadata: Mapping[str, Any],
    image_size: tuple[int, int] | None = None,
) -> "ImageData":
    """The data as a model sees them: the centers of the images, if it was trained on random crops.

    In an `image_size` of their own they are whole; see `preprocessing_for`.
    """
    return data.center_cropped(preprocessing_for(image_shape, metadata, image_size).crop)


def free_size(model: Any, image_size: tuple[int, int] | None, own_files: bool) -> tuple[int, int] | None:
    """`--image-size` for a model that takes images of any size; None for others.

    Raises `InputError` if the images of one's own are asked for in a size that the model does not take.
    """
    if model.any_size:
        return image_size
    if own_files and image_size not in (None, tuple(model.image_shape[:2])):
        height, width = model.image_shape[:2]
        raise InputError(
            f"--image-size must be left out, as SOURCE takes images of {height}x{width} alone; "
            f"received {'x'.join(map(str, image_size or ()))}."
        )
    return None


def with_range_of(model: Any, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata with the range of integers that a model was trained on, which a `.keras` file has alone."""
    return {"value_range": getattr(model, "value_range", None), **metadata}


def images_option(default: str) -> Callable[[Any], Any]:
    """`--images`, in place of which the images are those of a dataset."""
    return option(
        "--images",
        type=click.Path(path_type=pathlib.Path),
        default=None,
        show_default=default,
        group=DATA,
        help="Use your own images: a file, a folder or an .npz file.",
    )


def check_one_source(images: pathlib.Path | None, dataset: str | None) -> None:
    """Raise if images come from two places."""
    if images is not None and dataset is not None:
        raise InputError("--images must not come with --dataset: the images are those of one of them.")


images = images_option("some of the test split")
tile = option(
    "--tile",
    type=Count(1),
    default=None,
    show_default="whole images",
    group=MODEL,
    help="Work in overlapping tiles of this many pixels.",
)
labels = option(
    "--labels",
    default=None,
    group=MODEL,
    help="Show these classes, as cat,dog or 0-4,7. Numbers are positions from 0, unless classes are named by "
    "numbers.",
)


def parse_labels(
    text: str | None, num_classes: int | None, class_names: Sequence[str] | None
) -> list[int] | None:
    """Classes from `0,1,2`, `0-9`, `cat,dog` or a mixture, as `names.parse_classes`; None for none."""
    if text is None:
        return None
    if num_classes is None:
        raise InputError("--labels must not be given: the model is not conditioned on classes.")
    from keras_vaegan.data.names import parse_classes

    return parse_classes(text, num_classes, class_names, "--labels")


def data_options(
    default: str, help: str, size_help: str = "Resize images to this, as 64 or 64x48."
) -> Callable[[Any], Any]:
    """The options that say which images: `--dataset`, its folders, `--image-size`, `--value-range`."""
    added = (
        option("--dataset", "dataset", default=None, show_default=default, group=DATA, help=help),
        option(
            "--data-dir", default=None, group=DATA, help="Keep files of TensorFlow Datasets in this folder."
        ),
        option(
            "--manual-dir", default=None, group=DATA, help="Find a dataset's original files in this folder."
        ),
        option("--image-size", type=ImageSize(), default=None, group=DATA, help=size_help),
        option(
            "--value-range",
            type=ValueRange(),
            default=None,
            show_default=f"{default}, else all of the type's",
            group=DATA,
            help="Map these values to black and white, as 0:4095.",
        ),
    )

    def decorate(function: Any) -> Any:
        for decorator in reversed(added):
            function = decorator(function)
        return function

    return decorate
