"""Random command lines, damaged files and random arguments: `python -m tests.fuzz --seconds 600`.

Each example must succeed with an output of the documented kind, or be refused in one line: by `InputError`,
or by exit code 2 of the command line. Any other error, a hang, and the acceptance of what the docs forbid
are failures. All that is written lies in a temporary folder, and nothing is fetched from a network.
"""

import argparse
import collections
import contextlib
import copy
import csv
import dataclasses
import faulthandler
import importlib
import inspect
import io
import json
import logging
import os
import pathlib
import shutil
import signal
import socket
import sys
import tempfile
import time
import traceback
import warnings
import zipfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).parent))  # as pytest has it

import click
import hypothesis
import keras
import numpy as np
import registry
from hypothesis import strategies as st

from keras_vaegan import cli, data, diagnosis, evaluation, memory, metrics, presets
from keras_vaegan.cli import parts
from keras_vaegan.data.npz import read_arrays
from keras_vaegan.errors import InputError
from keras_vaegan.report import write_report
from keras_vaegan.runs import diagnose_run, read_run, write_findings

PARTS = ("command", "file", "argument")
EXAMPLES = {"command": 6, "file": 30, "argument": 30}  # of a part before the next one's turn
DEADLINE = 120  # seconds of an example, after which it counts as hanging
MEMORY = 2_000_000_000  # bytes that are said to be free: what needs more must be refused
IMAGE_SHAPE = (8, 8, 1)
CLASSES = ["a", "b", "c"]
SUBJECTS = ("vae_mixture", "vae_gan", "cvae", "cvae_completion", "ssl_vae", "draw_conditional", "cvae_gan")
IMAGE_VERBS = ("generate", "reconstruct", "decode", "complete", "interpolate", "transfer_style", "predict")
TRAIN = importlib.import_module("keras_vaegan.cli.train")  # the command of that name hides the module
NAN, INFINITY = float("nan"), float("inf")


class Hang(BaseException):
    """An example took longer than `DEADLINE`."""


@dataclasses.dataclass(frozen=True)
class Example:
    """What is tried: a target, and items that are left out one by one to find which are needed."""

    part: str
    target: str
    items: tuple

    def __str__(self):
        return f"{self.part} {self.target}: {', '.join(map(repr, self.items))}"


@dataclasses.dataclass
class Failure:
    """A failure of one kind at one place."""

    example: Example
    message: str
    count: int = 1


class Wrong(Exception):
    """An output that is not as documented, or input that should have been refused."""


# ---- what there is to try things on ----


class World:
    """Tiny runs, models and files in a temporary folder, made once."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        generator = np.random.default_rng(0)
        self.images = generator.random((30, *IMAGE_SHAPE)).astype("float32")
        self.labels = np.arange(30) % 3
        np.savez(self.folder / "data.npz", images=self.images, labels=self.labels)
        for name, k in zip(CLASSES, range(3), strict=True):
            (self.folder / "photos" / name).mkdir(parents=True)
            for i in range(4):
                self.picture(self.folder / "photos" / name / f"{i}.png", 4 * k + i)
        self.picture(self.folder / "mask.png", 0, mask=True)
        (self.folder / "config.json").write_text('{"model": {"key": "vae", "beta": 0.5}}')
        (self.folder / "config.toml").write_text('[model]\nkey = "vae"\nbeta = 0.5\n')
        (self.folder / "text.txt").write_text("no picture")
        self.models = {name: registry.MODELS[name](IMAGE_SHAPE) for name in SUBJECTS}
        for name, model in self.models.items():
            self.run(name, model)

    def picture(self, path, i, mask=False):
        from PIL import Image

        pixels = np.rint(255 * self.images[i, ..., 0]).astype("uint8")
        if mask:
            pixels = np.where(np.arange(8) < 4, 255, 0).astype("uint8") * np.ones((8, 1), "uint8")
        Image.fromarray(pixels).save(path)

    def run(self, name, model):
        """The folder of a run of a model that was never trained."""
        folder, key = self.folder / "runs" / name, name.split("_mixture")[0]
        key = {"draw_conditional": "conditional_draw", "cvae_completion": "completion_cvae"}.get(key, key)
        names = CLASSES if model.num_classes else None
        recipe = presets.recipe_for(key, str(self.folder / "data.npz"))
        metadata = {
            "model": key,
            "dataset": str(self.folder / "data.npz"),
            "image_shape": list(IMAGE_SHAPE),
            "class_names": names,
            "num_classes": model.num_classes,
            "seed": 0,
            "backend": keras.backend.backend(),
            "mixed_precision": "none",
            "distribute": "none",
            "augment": None,
            "checkpoint_every": None,
            "recipe": recipe,
            "epochs_done": 3,
            "interrupted": False,
            "seconds": 1.0,
        }
        presets.save_folder(model, folder, metadata)
        model.save(folder / "model.keras")
        with open(folder / "history.csv", "w", newline="") as file:
            csv.writer(file).writerows(
                [["epoch", "loss", "kl", "val_loss"], *([i, 5 - i, 1, 6 - i] for i in (1, 2, 3))]
            )
        finding = diagnosis.Finding("collapse", "warning", 2, "epochs 2 to 3: alike")
        write_findings(folder / "findings.json", [finding])
        self.picture(folder / "samples.png", 0)
        one = dataclasses.asdict(evaluation.Score("sharpness", 0.5))
        scores = {
            "format_version": 1,
            "scores": [one],
            "findings": [],
            "skipped": {},
            "data": {"dataset": "data", "split": "test", "num_images": 3, "content": "0"},
            "samples": {"num_images": 3, "seed": 0, "floor_images": 3},
            "features": [],
            "backend": "none",
            "versions": {},
            "date": "2026-01-01",
        }
        evaluation.save_scores(scores, folder / "evaluate.json")


# ---- command lines ----

NUMBERS = (
    "1",
    "2",
    "3",
    "0",
    "-1",
    "2**63",
    "9223372036854775808",
    "99999999999999999999",
    "2²",
    "1e3",
    "nan",
    "",
    "x",
)
SOURCES = tuple(f"runs/{name}" for name in SUBJECTS) * 3 + (
    "runs/vae_gan/model.keras",
    "runs/cvae/model.keras",
    "runs",
    "nothing",
    "data.npz",
    "text.txt",
    "vae_mnist_smull",
    "vae_mnist_small",
    "hf://a/b",
    "hf://..",
    "",
    "~nouser/x",
    "\x1b[31m",
    "\udcff",
    "a" * 300,
)
DATASETS = (
    "data.npz",
    "photos",
    "text.txt",
    "mask.png",
    "nothing.npz",
    ".",
    "",
    "~nouser/x",
    "\udcff/x",
    "\x1b[2J/x",
)
OUTPUTS = (
    "out.png",
    "out.npz",
    "new/out.npz",
    "out.gif",
    "out.csv",
    "out.json",
    "out.html",
    "out",
    "out.onnx",
    "photos",
    "text.txt/out.npz",
    "/dev/null/out.npz",
    "",
    "\udcff.npz",
    "\x1b[31m.png",
    "a" * 300 + ".npz",
    "~nouser.npz",
)
KEYS = (
    "beta",
    "family",
    "latent_dim",
    "generator.class",
    "learning_rate",
    "encoder.units",
    "binarize",
    "gama",
    "x",
    "",
)
VALUES = (
    "0.5",
    "[]",
    "{}",
    "null",
    "true",
    "NaN",
    "Infinity",
    "-1",
    "99999999999999",
    "[1e9]",
    "mlp",
    '{"class": "CosineDecay", "initial_learning_rate": "x"}',
    '{"class": []}',
    '{"a": 1, "a": 2}',
    "[" * 5000,
    "=1",
    '"\\u0000"',
    "text",
)
POOLS = {
    "--dataset": DATASETS,
    "--images": DATASETS,
    "--output": OUTPUTS,
    "--labels": (
        "0",
        "a",
        "0-2",
        "²",
        "b,a",
        "",
        ",",
        "-",
        "0-",
        "3",
        "99999999999999999999",
        "\x1b[31m",
        "\udcff",
    ),
    "--image-size": ("8", "8x8", "2²", "99999999999x1", "0", "8x", "x8", "8x8x8", "-8", "８", ""),
    "--mask": ("left", "mask.png", "text.txt", "photos", "nothing", "", "quadrants:9", "\udcff"),
    "--metrics": ("sharpness", "reconstruction", "latent", "none", "", ",", "sharpnes"),
    "--features": ("mnist_plain", "text.txt", "x.keras", "runs/vae_gan/model.keras", ""),
    "--signature": ("generate", "encode", "x", ""),
    "--name": ("m", "", "a b", "../x", "\x1b"),
    "--runtime-dir": ("photos", "nothing", ""),
    "--data-dir": (".", "nothing", "~nouser/x"),
    "--manual-dir": (".", "nothing", "~nouser/x"),
    "--import": ("no_such_module", "", "..", "a b", "\udcff"),
    "--config": (
        "config.json",
        "config.toml",
        "text.txt",
        "photos",
        "nothing",
        "data.npz",
        "runs/vae_gan/metadata.json",
    ),
    "--preset": ("vae_mnist_small", "vae_mnist_smull", "runs/vae_gan", "nothing", ""),
    "--init": ("runs/vae_gan", "nothing", "vae_mnist_small", ""),
    "--augment": ("none", "flip", "x", ""),
    "--set": tuple(f"{key}={value}" for key in KEYS for value in VALUES) + ("x", "=", ""),
    "--resume": ("runs/vae_gan", "runs/nothing", "photos", ""),
    "--learning-rate": ("0.001", "0", "-1", "nan", "inf", "x"),
}
COMMANDS = [name for name in cli.cli.commands if name not in ("train", "evaluate")] * 2 + [
    "train",
    "evaluate",
]
FIXED = {  # options that keep a command small
    "train": ["--dataset", "data.npz", "--epochs", "1", "--batch-size", "8", "--distribute", "none"],
    "evaluate": ["--metrics", "sharpness", "--no-cache", "--likelihood-images", "2"],
}


def option_values(parameter):
    """Values for an option, by its own definition."""
    name = parameter.opts[-1]
    if name in POOLS:
        return POOLS[name]
    if hasattr(parameter.type, "allowed"):
        return (*parameter.type.allowed, "x", "")
    return NUMBERS


def mostly_valid(values):
    """The first value, which is valid, in half of the draws, so that one bad value is met alone."""
    return st.sampled_from([*values[:1]] * len(values) + list(values))


@st.composite
def command_lines(draw):
    """A command, and its options as pairs."""
    name = draw(st.sampled_from(COMMANDS))
    command = cli.cli.commands[name]
    options = [
        p
        for p in command.params
        if isinstance(p, click.Option) and p.opts[-1] not in ("--debug", "--backend")
    ]
    items = []
    if any(isinstance(p, click.Argument) for p in command.params):
        items.append((draw(st.sampled_from(SOURCES[: len(SUBJECTS)] * 4 + SOURCES)),))
    needed = [p for p in options if p.required]
    chosen = draw(st.lists(st.sampled_from(options), max_size=3, unique=True)) if options else []
    for parameter in [*needed, *(p for p in chosen if p not in needed)]:
        flag = () if parameter.is_flag else (draw(mostly_valid(option_values(parameter))),)
        items.append((parameter.opts[-1], *flag))
    return Example("command", name, tuple(items))


def try_command(world, example, scratch):
    """Run a command line in the process; raise unless it succeeds, or is refused in one line."""
    words = [example.target, *(word for item in example.items for word in item)]
    fixed = FIXED.get(example.target, [])
    for name in ("data.npz", "config.json", "config.toml", "text.txt", "mask.png"):
        shutil.copy(world.folder / name, scratch / name)
    for name in ("runs",):
        shutil.copytree(world.folder / name, scratch / name, symlinks=True)
    words = [words[0], *fixed, *words[1:]] if example.target == "evaluate" else [*words, *fixed]
    code, out, err = run_command(words)
    keras.config.set_dtype_policy("float32")
    lines = [line for line in err.splitlines() if line.strip()]
    told = [line for line in lines if line.startswith("keras-vaegan: error:")]
    if "unexpected:" in err:
        os.environ["KERAS_VAEGAN_DEBUG"] = "1"
        try:
            raise Wrong(run_command(words)[2])
        finally:
            del os.environ["KERAS_VAEGAN_DEBUG"]
    if "Traceback" in err or "Traceback" in out:
        raise Wrong(f"traceback: {err[-1000:]}")
    if any(ord(letter) < 32 and letter not in "\n\r\t\b" for letter in out + err):
        raise Wrong(f"control characters reach the terminal: {(out + err)!r}")
    if code == 2 and len(told) == 1 and lines[-1] == told[0]:
        return "refused"
    if code == 1 and example.target in ("doctor", "train") and not told:
        return "succeeded"
    if code != 0 or told:
        raise Wrong(f"exit code {code} with {err[-500:]!r}")
    for path in scratch.glob("out*.npz"):
        for name, array in read_arrays(path).items():
            check_array(array, name in ("images", "reconstructions", "completions", "styled", "canvases"))
    return "succeeded"


def run_command(words):
    """Exit code, standard output and standard error of a command line."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.main(words)
        except SystemExit as end:
            code = end.code or 0
    return code, *(stream.buffer.getvalue().decode("utf-8", "replace") for stream in (out, err))


# ---- damaged files ----

JSON_VALUES = (
    None,
    True,
    -1,
    0,
    3,
    10**30,
    0.5,
    NAN,
    "",
    "text",
    "\0",
    "\x1b[31m",
    [],
    {},
    [[]],
    [None],
    {"a": 1},
    "a" * 5000,
)


def read_preset(folder):
    model, _ = presets.load_folder(folder)
    check_array(model.generate(2, seed=0), True)


def read_model(folder):
    model, _ = presets.load_source(folder / "model.keras")
    check_array(model.generate(2, seed=0), True)


def read_report(folder):
    page = write_report(
        folder,
        folder / "page.html",
        [f.message for f in diagnose_run(folder, read_run(folder).history)],
    )
    if "<script>" in page.read_text("utf-8"):
        raise Wrong("a script in the page")


def read_data(path):
    loaded = data.load(path)
    for images, _ in (loaded.train, loaded.validation, loaded.test):
        check_array(images, True)


def read_pictures(path):
    check_array(data.load_pictures(path, IMAGE_SHAPE)[0], True)


def read_configuration(path):
    changes = TRAIN._read_config(path)
    recipe = presets.recipe("vae_mnist_small")
    for name, value in TRAIN._leaves({k: v for k, v in changes.items() if k not in ("source", "expect")}):
        if name not in ("model.key", "training.dataset"):
            presets.override(recipe, name, value)
    presets.build(recipe, IMAGE_SHAPE)


def read_parts(world):
    def read(folder):
        parts.generate_parts(world.models["vae_gan"], folder, 2, None, 0, 8)
        check_array(read_arrays(folder / "part-00000.npz")["images"], True)

    return read


def read_checkpoint(world):
    def read(folder):
        from keras_vaegan.checkpoints import Checkpoints

        model = world.models["vae_gan"]
        Checkpoints(folder / "checkpoints").resume(model, None)

    return read


# What is read: name -> (what is copied, the file in it that is damaged, what reads it).
def file_kinds(world):
    """The kinds of files, by name: the folder that is copied, the file that is damaged, the reader."""
    run = world.folder / "runs" / "cvae"
    free = prepared(world, "free", run)  # weights whose hash the metadata do not say
    facts = json.loads((free / "metadata.json").read_text())
    del facts["weights_sha256"]
    (free / "metadata.json").write_text(json.dumps(facts))
    made = prepared(world, "parts", None)
    parts.generate_parts(world.models["vae_gan"], made / "x", 2, None, 0, 8)
    kinds = {
        ".keras": (run, "model.keras", read_model),
        ".weights.h5": (free, "model.weights.h5", read_preset),
        "config.json": (run, "config.json", read_preset),
        "metadata.json": (free, "metadata.json", read_preset),
        "metadata.json of a report": (run, "metadata.json", read_report),
        "evaluate.json": (run, "evaluate.json", read_report),
        "history.csv": (run, "history.csv", read_report),
        "findings.json": (run, "findings.json", read_report),
        "samples.png": (run, "samples.png", read_report),
        "generation.json": (made / "x", "generation.json", read_parts(world)),
        "a part": (made / "x", "part-00000.npz", read_parts(world)),
        ".npz": (single(world, "data.npz"), "data.npz", lambda folder: read_data(folder / "data.npz")),
        ".npz of pictures": (
            single(world, "data.npz"),
            "data.npz",
            lambda folder: read_pictures(folder / "data.npz"),
        ),
        "config": (
            single(world, "config.json"),
            "config.json",
            lambda folder: read_configuration(folder / "config.json"),
        ),
        "toml": (
            single(world, "config.toml"),
            "config.toml",
            lambda folder: read_configuration(folder / "config.toml"),
        ),
        "mask": (
            single(world, "mask.png"),
            "mask.png",
            lambda folder: data.read_mask(folder / "mask.png", IMAGE_SHAPE),
        ),
    }
    compiled = world.models["vae_gan"]
    compiled.compile()
    kept = prepared(world, "checkpoint", None)
    from keras_vaegan.checkpoints import Checkpoints

    saver = Checkpoints(kept / "checkpoints")
    saver.set_model(compiled)
    saver.on_epoch_end(0)
    [checkpoint] = (kept / "checkpoints").glob("*.keras")
    kinds["checkpoint"] = (kept, f"checkpoints/{checkpoint.name}", read_checkpoint(world))
    from PIL import Image

    for ending in ("png", "jpg", "gif", "bmp", "tiff", "webp", "ppm", "tga", "ico"):
        folder = prepared(world, f"image_{ending}", None)
        Image.fromarray(np.rint(255 * world.images[0, ..., 0]).astype("uint8")).convert("RGB").save(
            folder / f"a.{ending}"
        )
        kinds[f"image.{ending}"] = (
            folder,
            f"a.{ending}",
            lambda folder, e=ending: read_pictures(folder / f"a.{e}"),
        )
    return kinds


def prepared(world, name, source):
    folder = world.folder / "kinds" / name
    if source is None:
        folder.mkdir(parents=True)
    else:
        shutil.copytree(source, folder)
    return folder


def single(world, name):
    folder = world.folder / "kinds" / f"single_{name}"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(world.folder / name, folder / name)
    return folder


def damages(kinds):
    """A kind of file, and what is done to its bytes."""
    place = st.integers(0, 999)
    one = st.one_of(
        st.tuples(st.just("flip"), place, st.integers(1, 255)),
        st.tuples(st.just("cut"), place, st.just(0)),
        st.tuples(
            st.just("insert"),
            place,
            st.sampled_from((b"\0" * 8, b"\xff" * 4, b"[", b'"', b"1e999", b"\n,\n")),
        ),
        st.tuples(st.just("swap"), place, place),
        st.tuples(st.just("zero"), place, st.integers(1, 64)),
        st.tuples(st.just("repeat"), place, st.integers(1, 300)),
        st.tuples(st.just("json"), place, st.sampled_from(range(len(JSON_VALUES)))),
        st.tuples(st.just("json"), place, st.sampled_from(range(len(JSON_VALUES)))),
        st.tuples(st.just("nest"), st.just(0), st.just(100_000)),
        st.tuples(st.just("empty"), st.just(0), st.just(0)),
        st.tuples(st.just("zip"), st.just(0), st.sampled_from(("nested", "bomb", "bz2", "text"))),
    )
    return st.builds(
        lambda kind, items: Example("file", kind, tuple(items)),
        st.sampled_from(sorted(kinds)),
        st.lists(one, min_size=1, max_size=3),
    )


def damage(content, item):
    """The bytes of a file after one damage."""
    how, place, value = item
    at = place * len(content) // 1000
    if how == "flip":
        return content[:at] + bytes([content[at] ^ value]) + content[at + 1 :] if content else content
    if how == "cut":
        return content[:at]
    if how == "insert":
        return content[:at] + value + content[at:]
    if how == "swap":
        other = value * len(content) // 1000
        low, high = sorted((at, other))
        return content[high:] + content[low:high] + content[:low]
    if how == "zero":
        return content[:at] + bytes(len(content[at : at + value])) + content[at + value :]
    if how == "repeat":
        return content[:at] + content[at : at + value] * 2 + content[at + value :]
    if how == "nest":
        return b"[" * value + content + b"]" * value
    if how == "empty":
        return b""
    if how == "zip":
        return odd_zip(content, value)
    return changed_json(content, place, JSON_VALUES[value])


def changed_json(content, place, value):
    """JSON with another value at one of its places; other content as it is."""
    try:
        tree = json.loads(content)
    except (ValueError, RecursionError):
        return content
    spots = []

    def visit(node):
        for key in node if isinstance(node, dict) else range(len(node)):
            spots.append((node, key))
            if isinstance(node[key], (dict, list)) and len(spots) < 2000:
                visit(node[key])

    if isinstance(tree, (dict, list)):
        visit(tree)
    if not spots:
        return json.dumps(value).encode()
    node, key = spots[place % len(spots)]
    node[key] = value
    return json.dumps(tree).encode()


def odd_zip(content, how):
    """An archive of the same ending that no writer of ours would make."""
    made = io.BytesIO()
    method = {"bz2": zipfile.ZIP_BZIP2, "bomb": zipfile.ZIP_DEFLATED}.get(how, zipfile.ZIP_STORED)
    with zipfile.ZipFile(made, "w", method) as archive:
        if how == "nested":
            archive.writestr("images.npy", content)
        elif how == "bomb":
            head = np.lib.format.magic(1, 0) + b"\x76\x00"
            said = b"{'descr': '<f8', 'fortran_order': False, 'shape': (99999999, 99999), }"
            archive.writestr("images.npy", head + said.ljust(0x75) + b"\n" + bytes(1000))
            archive.writestr("config.json", b"[" * 5_000_000)
        elif how == "text":
            archive.writestr("images.txt", b"no array")
        elif zipfile.is_zipfile(io.BytesIO(content)):
            with contextlib.suppress(Exception), zipfile.ZipFile(io.BytesIO(content)) as old:
                for name in old.namelist():
                    archive.writestr(name, old.read(name))
    return made.getvalue()


def try_file(kinds, example, scratch):
    """Damage a file and read it; raise unless it is read or refused with `InputError`."""
    source, name, read = kinds[example.target]
    folder = scratch / "copy"
    shutil.copytree(source, folder)
    content = (folder / name).read_bytes()
    for item in example.items:
        content = damage(content, item)
    (folder / name).write_bytes(content)
    read(folder)
    return "succeeded"


# ---- arguments ----


def check_array(array, images):
    """Raise unless an array is finite, and in [0, 1] if it is of images."""
    array = np.asarray(array)
    if array.dtype.kind in "fc" and not np.isfinite(array).all():
        raise Wrong(f"numbers that are not finite, in an array of the shape {array.shape}")
    if (
        images
        and array.size
        and (array.min() < 0 or array.max() > 1 if array.dtype.kind == "f" else array.dtype.kind not in "u")
    ):
        raise Wrong(f"images of {array.dtype} outside [0, 1]: {array.min()} to {array.max()}")


def pools(world):
    """Values by the name of a parameter: name -> label -> (value, whether the docs forbid it)."""
    x = world.images[:4]
    bad = {
        "NaN": np.where(x > 0.9, NAN, x),
        "infinity": np.where(x > 0.9, INFINITY, x),
        "2 * x": x * 2 + 1,
        "-x": -x - 0.1,
        "x[0]": x[0],
        "x[..., :7, :]": x[:, :, :7],
        "empty": x[:0],
        "text": "abc",
        "objects": np.array([object()] * 4),
        "complex": x.astype("complex64"),
        "texts": np.array(["a"] * 4),
        "dict": {},
        "0-d": np.float32(0.5),
        "5-d": x[None],
    }
    images = {
        "x": (x, False),
        "uint8": ((255 * x).astype("uint8"), False),
        "float64": (x.astype("float64"), False),
    }
    images |= {label: (value, True) for label, value in bad.items()}
    labels = {
        "[0, 1, 2, 0]": (np.array([0, 1, 2, 0]), False),
        "list": ([0, 1, 2, 0], False),
        "None": (None, False),
        "[9, 9, 9, 9]": (np.full(4, 9), None),
        "[-5, 0, 0, 0]": (np.array([-5, 0, 0, 0]), None),
        "fractions": (np.array([0.5, 1, 2, 0]), None),
        "NaN": (np.full(4, NAN), None),
        "too few": (np.array([0]), None),
        "text": ("abc", None),
        "texts": (np.array(["a"] * 4), None),
        "2-d": (np.zeros((4, 2)), None),
        "object": (object(), None),
    }
    whole = {
        "1": (1, False),
        "2": (2, False),
        "numpy 3": (np.int64(3), False),
        "0": (0, None),
        "-1": (-1, None),
        "2**40": (2**40, None),
        "2**70": (2**70, None),
        "1.5": (1.5, True),
        "NaN": (NAN, True),
        "text": ("x", True),
        "list": ([1], True),
        "None": (None, None),
        "True": (True, None),
    }
    codes = {
        "zeros": (np.zeros((4, registry.LATENT_DIM), "float32"), None),
        "NaN": (np.full((4, registry.LATENT_DIM), NAN), True),
        "infinity": (np.full((4, registry.LATENT_DIM), INFINITY), True),
        "complex": (np.zeros((4, registry.LATENT_DIM), "complex64"), True),
        "text": ("abc", True),
        "flat": (np.zeros(3), True),
        "wide": (np.zeros((4, 99), "float32"), True),
    }
    masks = {
        "left": ("left", None),
        "array": (np.arange(8) < 4 * np.ones((8, 1)), None),
        "None": (None, None),
        "unknown": ("lft", True),
        "NaN": (np.full((8, 8), NAN), True),
        "full": (np.ones((8, 8)), True),
        "shape": (np.zeros((3, 3)), True),
    }
    anything = {
        "None": (None, None),
        "-1": (-1, None),
        "2.5": (2.5, None),
        "NaN": (NAN, None),
        "text": ("x", None),
        "list": ([], None),
        "dict": ({}, None),
        "matrix": (np.arange(12.0).reshape(4, 3) / 12, None),
        "NaN matrix": (np.full((4, 3), NAN), None),
        "shares": (np.full((4, 3), 1 / 3), None),
        "labels": (np.array([0, 1, 2, 0]), None),
        "images": (x, None),
        "2**70": (2**70, None),
        "object": (object(), None),
    }
    paths = {
        text: (text, None)
        for text in ("data.npz", "photos", "mask.png", "nothing", "", "\udcff", "a\0b", "~nouser/x")
    }
    paths |= {"None": (None, None), "5": (5, None), "pathlib": (pathlib.Path("photos"), None)}
    shapes = {
        "shape": (IMAGE_SHAPE, None),
        "2-d": ((8, 8), None),
        "negative": ((-8, 8, 1), None),
        "huge": ((10**9, 10**9, 3), None),
        "text": ("8x8", None),
        "None": (None, None),
        "fraction": ((8.5, 8, 1), None),
    }
    counts = dict.fromkeys(
        ("num_images", "num_samples", "steps", "batch_size", "seed", "start", "num_labels", "bins"), whole
    )
    counts |= dict.fromkeys(("image_size", "channels", "multiple", "num_classes", "likelihood_images"), whole)
    pictures = dict.fromkeys(
        ("x", "images", "a", "b", "reconstructions", "real", "fake", "sources", "results"), images
    )
    classes = dict.fromkeys(("labels", "y", "source_labels", "real_labels", "fake_labels"), labels)
    places = dict.fromkeys(("source", "path", "folder", "preset", "data_dir", "manual_dir"), paths)
    return {
        **counts,
        **pictures,
        **classes,
        **places,
        "z": codes,
        "codes": codes,
        "mask": masks,
        "image_shape": shapes,
        "recipe": {
            "vae": (presets.recipe("vae_mnist_small"), None),
            "empty": ({}, None),
            "text": ("vae", None),
            "no class": ({**presets.recipe("vae_mnist_small"), "optimizer": {"generator": {}}}, None),
            "null": (dict.fromkeys(presets.recipe("vae_mnist_small")), None),
        },
        **training(world, x),
        "name": {
            "vae_mnist_small": ("vae_mnist_small", None),
            "left": ("left", None),
            "x": ("x", None),
            "list": ([], None),
        },
        None: anything,
    }


def training(world, x):
    """Values of what `learn`, `batches` and `kept` take."""
    weights = {
        "None": (None, False),
        "ones": (np.ones(4), False),
        "list": ([1, 0, 2, 1], False),
        "negative": (np.array([-1.0, 1, 1, 1]), True),
        "NaN": (np.array([NAN, 1, 1, 1]), True),
        "infinity": (np.array([INFINITY, 1, 1, 1]), True),
        "too few": (np.ones(3), True),
        "2-d": (np.ones((4, 2)), True),
        "text": ("abc", True),
    }
    classes = {
        "[0, 1, 2, 0]": (np.array([0, 1, 2, 0]), False),
        "column": (np.array([[0], [1], [2], [0]]), False),
        "None": (None, False),
        "one-hot": (np.eye(3)[[0, 1, 2, 0]], True),
        "[1, 2, 3, 1]": (np.array([1, 2, 3, 1]), True),
        "[-5, 0, 0, 0]": (np.array([-5, 0, 0, 0]), True),
        "[-1, 0, 1, 2]": (np.array([-1, 0, 1, 2]), True),
        "infinity": (np.full(4, INFINITY), True),
        "2**63": (np.full(4, 2**63, "uint64"), True),
        "fractions": (np.array([0.5, 1, 2, 0]), True),
        "NaN": (np.full(4, NAN), True),
        "too few": (np.array([0]), True),
        "texts": (np.array(["a"] * 4), True),
        "text": ("abc", True),
        "other images": (1 - x, True),
    }
    deep = {}
    for _ in range(5000):
        deep = {"a": deep}
    values = ({"a": 1}, {}, None, {"a": NAN}, {"a": object()}, {1: 2}, deep, {"a": b"x"}, {"a": {1}}, "text")
    values += ([], {"model": 5}, {"image_shape": "x"}, {"recipe": []}, {"class_names": 3}, {"a": "\udcff"})
    parsed = []
    for value in VALUES:
        with contextlib.suppress(ValueError, RecursionError):
            parsed.append(json.loads(value))
    return {
        "model": {name: (name, False) for name in trained(world)},
        "verb": {name: (name, False) for name in ("fit", "evaluate", "train_on_batch", "predict")},
        "container": {name: (name, False) for name in CONTAINERS},
        "sample_weight": weights,
        "classes": classes,
        "metadata": {shorter(value): (value, None) for value in values},
        "key": {key: (key, None) for key in (*KEYS, "model.beta", "generator.learning_rate")},
        "value": {shorter(value): (value, None) for value in (0.5, 3, *parsed)},
        "shuffle": {"True": (True, False), "False": (False, False), "text": ("no", None), "array": (x, None)},
        "augment": {
            "None": (None, False),
            "": ("", None),
            "x": ("x", True),
            "5": (5, True),
            "x[0]": (x, True),
        },
        "labelled_share": {
            "None": (None, False),
            "0.5": (0.5, None),
            "0": (0, True),
            "1": (1.0, True),
            "NaN": (NAN, True),
            "text": ("x", True),
        },
        "part": {
            "(0, 1)": ((0, 1), False),
            "(1, 1)": ((1, 1), True),
            "(0, 0)": ((0, 0), True),
            "0": (0, True),
            "text": ("ab", True),
            "three": ((0, 1, 2), True),
            "fraction": ((0.5, 1), True),
        },
        "value_range": {
            "None": (None, None),
            "(0, 4095)": ((0, 4095), None),
            "(1, 0)": ((1, 0), True),
            "(0, 0)": ((0, 0), True),
            "fraction": ((0, 1.5), True),
            "three": ((0, 1, 2), True),
            "text": ("0:9", True),
            "huge": ((-(2**70), 2**70), None),
        },
    }


def shorter(value):
    """A label of a value."""
    return (
        f"{type(value).__name__} {value!r}"[:60]
        if not isinstance(value, dict) or len(value) > 1
        else (f"dict of {next(iter(value), None)!r}: {type(next(iter(value.values()), None)).__name__}")
    )


class Source(keras.utils.PyDataset):
    """One batch."""

    def __init__(self, batch):
        super().__init__()
        self.batch = batch

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return self.batch


def tf_data(batch):
    import tensorflow as tf

    return tf.data.Dataset.from_tensors(batch)


def loader(batch):
    import torch

    return torch.utils.data.DataLoader([0], batch_size=None, collate_fn=lambda _: batch)


# How x, y and sample_weight of a batch reach Keras' verbs.
CONTAINERS = {
    "array": None,
    "list": None,
    "tensor": None,
    "generator": lambda batch: (one for one in [batch]),
    "list of batches": lambda batch: iter([list(batch)]),
    "PyDataset": Source,
    "dict": lambda batch: {"images": batch[0]},
    "text": lambda batch: "abc",
    "number": lambda batch: 5,
    "None": lambda batch: None,
    "generator of dictionaries": lambda batch: (one for one in [{"image": batch[0], "label": 0}]),
}
if keras.backend.backend() == "tensorflow":
    CONTAINERS["tf.data"] = tf_data
if keras.backend.backend() == "torch":
    CONTAINERS["DataLoader"] = loader
NOT_IMAGES = ("dict", "text", "number", "None", "generator of dictionaries")


def trained(world):
    """Names of the models that `learn` tries."""
    return [name for name in ("vae_mixture", "cvae", "ssl_vae", "vae_gan") if name in world.models]


def learner(world):
    """Keras' verbs on compiled models."""
    for name in trained(world):
        world.models[name].compile(run_eagerly=True)

    def learn(model, verb, container, x, classes, sample_weight):
        name, model = model, world.models[model]
        plain = CONTAINERS[container] is None
        with contextlib.suppress(Exception):
            x = (
                list(x)
                if container == "list"
                else keras.ops.convert_to_tensor(x)
                if container == "tensor"
                else x
            )
        if plain or verb == "train_on_batch":
            arguments = {"x": x if plain else CONTAINERS[container]((x,))}
            if verb == "predict":
                arguments |= (
                    {"labels": classes} if name in ("cvae", "ssl_vae") and classes is not None else {}
                )
            else:
                arguments |= {"y": classes, "sample_weight": sample_weight}
        else:
            batch = (x,) if classes is None else (x, classes)
            batch = batch if sample_weight is None or classes is None else (*batch, sample_weight)
            arguments = {"x": CONTAINERS[container](batch)}
        if verb in ("fit", "evaluate", "predict"):
            arguments["verbose"] = 0
        weights = [np.array(keras.ops.convert_to_numpy(v)) for v in model.variables]
        result = getattr(model, verb)(**arguments)
        for variable in model.variables:
            if not np.isfinite(keras.ops.convert_to_numpy(variable)).all():
                for other, value in zip(model.variables, weights, strict=True):
                    other.assign(value)
                raise Wrong(f"{variable.path} is not finite")
        if verb == "predict":
            check_array(result, True)
        return None

    return learn


def batches(x, y=None, batch_size=2, shuffle=True, seed=0, augment=None, labelled_share=None, part=(0, 1)):
    """The first batch of `Batches`."""
    made = data.Batches(x, y, batch_size, shuffle, seed, augment, labelled_share=labelled_share, part=part)
    if augment is None:
        check_array(made[0][0], True)


def keeper(world):
    def kept(metadata=None):
        """A preset that was accepted must be one that can be read."""
        world.models["vae_gan"].save_to_preset("preset", metadata)
        try:
            presets.load_folder("preset")
        except InputError as error:
            raise Wrong(f"a preset was saved that is not read: {error}") from error

    return kept


# What only the verbs call, and what needs other arguments, would fetch, or would compute for long.
NOT_TRIED = {"check_targets", "check_training_labels"}
NOT_TRIED |= {
    "recognizer",
    "extractor",
    "accuracy_of_classifier_trained_on",
    "chunked",
    "gather",
    "save_folder",
}
NOT_TRIED |= {
    "reference_statistics",
    "style_kept",
    "compute",
    "score",
    "save_scores",
    "take_over",
    "findings",
}


def targets(world):
    """What is called, by name: every public function, and the verbs of each model that take arrays."""
    found = {}
    for module in (data, metrics, evaluation, presets):
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.isfunction(value) and name not in NOT_TRIED:
                found[f"{module.__name__}.{name}"] = value
    found |= {"Model.learn": learner(world), "data.Batches": batches, "Model.save_to_preset": keeper(world)}
    for key, model in world.models.items():
        for name in dir(type(model)):
            method = getattr(type(model), name)
            if name.startswith("_") or not inspect.isfunction(method) or name in NOT_TRIED:
                continue
            known = list(inspect.signature(method).parameters.values())[1:]
            takes_arrays = any("_SupportsArray" in str(parameter.annotation) for parameter in known)
            if method.__module__.startswith("keras_vaegan") and takes_arrays and name != "fit":
                found[f"{key}.{name}"] = getattr(model, name)
    return found


# Functions with many arguments, which are tried more often.
OFTEN = {"Model.learn": 30, "data.Batches": 6, "Model.save_to_preset": 2, "keras_vaegan.presets.override": 5}


@st.composite
def calls(draw, functions, values):
    """A function, and the labels of its arguments."""
    often = [name for name, times in OFTEN.items() for _ in range(times if name in functions else 0)]
    name = draw(st.sampled_from(sorted(functions) + often))
    items = []
    for parameter in inspect.signature(functions[name]).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if parameter.default is parameter.empty or draw(st.integers(0, 3)) == 0:
            pool = list(values.get(parameter.name, values[None]))
            # The first ones are valid: half of the draws, so that one bad argument is met alone.
            label = draw(st.sampled_from(pool[:1] * len(pool) + pool))
            items.append((parameter.name, label))
    return Example("argument", name, tuple(items))


def forbidden_of(labels, forbidden):
    """What `learn` should have refused, of what it may have to refuse."""
    model, verb, container = labels["model"], labels["verb"], labels["container"]
    looks = model in ("cvae", "ssl_vae")  # at labels
    wrong = [one for one in forbidden if one.startswith("x=")]
    wrong += [f"container={container}"] * (container in NOT_IMAGES)
    for one in forbidden:
        label = one.partition("=")[2]
        if one.startswith("classes="):
            hidden = label == "[-1, 0, 1, 2]" and (model == "ssl_vae" or not looks)
            known = looks or label in ("one-hot", "other images")
            wrong += [one] * (known and not hidden and (verb != "predict" or looks))
        if one.startswith("sample_weight="):
            reaches = CONTAINERS[container] is None or (
                verb != "train_on_batch" and labels["classes"] != "None"
            )
            wrong += [one] * (verb != "predict" and reaches)
    return wrong


def try_call(functions, values, example, scratch):
    """Call a function; raise unless it returns what is documented, or refuses with `InputError`."""
    chosen = {name: values.get(name, values[None])[label] for name, label in example.items}
    arguments = {
        name: copy.deepcopy(value) if name == "recipe" else value for name, (value, _) in chosen.items()
    }
    function = functions[example.target]
    lacking = [
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
        and name not in arguments
    ]
    if lacking:  # left out by the search for a smaller example
        raise InputError("lacking")
    result = function(**arguments)
    forbidden = [f"{name}={label}" for name, label in example.items if chosen[name][1]]
    if example.target == "Model.learn":
        forbidden = forbidden_of(dict(example.items), forbidden)
        if forbidden:
            raise Wrong(f"accepted {', '.join(forbidden)} by {arguments['verb']} of {arguments['model']}")
    if example.target == "data.Batches" and set(forbidden) - {"x=x[..., :7, :]"}:  # of any shape
        raise Wrong(f"accepted {', '.join(forbidden)}")
    if example.target.endswith(".interpolate") and {"a=x[0]", "b=x[0]"} == set(forbidden):
        forbidden = []  # one image at each end
    of_model = example.target.split(".")[0] in SUBJECTS
    if forbidden and of_model and example.target.split(".")[1] not in ("labels_of", "labels_in_turn"):
        raise Wrong(f"accepted {', '.join(forbidden)}")
    if of_model:
        made = result.values() if isinstance(result, dict) else [result]
        for array in made:
            if isinstance(array, np.ndarray):
                check_array(array, example.target.split(".")[1] in IMAGE_VERBS)
    return "succeeded"


# ---- the run ----


class Fuzz:
    """Examples of each part, until the time is over, and what became of them."""

    def __init__(self, folder, log=None, deadline=DEADLINE, trace=None):
        self.world = World(folder)
        self.kinds = file_kinds(self.world)
        self.functions, self.values = targets(self.world), pools(self.world)
        self.log, self.trace, self.deadline = log, trace, deadline
        self.counts, self.targets = collections.Counter(), collections.Counter()
        self.failures = {}
        self.strategies = {
            "command": command_lines(),
            "file": damages(self.kinds),
            "argument": calls(self.functions, self.values),
        }

    def run(self, seconds, seed, chosen=PARTS, rounds=None):
        """Try examples of the chosen parts in turn."""
        end = time.monotonic() + seconds
        number = 0
        while time.monotonic() < end and (rounds is None or number < rounds):
            for part in chosen:
                self._round(part, seed + number, end)
            number += 1

    def _round(self, part, seed, end):
        settings = hypothesis.settings(
            max_examples=EXAMPLES[part],
            database=None,
            deadline=None,
            phases=[hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
            print_blob=False,
        )

        @hypothesis.seed(seed)
        @settings
        @hypothesis.given(self.strategies[part])
        def test(example):
            if time.monotonic() < end:
                self._try(example)

        test()

    def _try(self, example):
        if self.trace is not None:
            self._write(self.trace, str(example))
        key, message = self.outcome(example)
        outcome = key if isinstance(key, str) else "failed"
        self.counts[example.part, outcome] += 1
        self.targets[example.part, example.target, outcome] += 1
        if isinstance(key, str):
            return
        if key in self.failures:
            self.failures[key].count += 1
            return
        smaller = self._reduced(example, key)
        self.failures[key] = Failure(smaller, message)
        self._say(f"FAILED {smaller}\n{message[-3000:]}")

    def _reduced(self, example, key):
        """The example with the items left out that its failure does not need."""
        for item in example.items:
            fewer = dataclasses.replace(example, items=tuple(one for one in example.items if one is not item))
            if self.outcome(fewer)[0] == key:
                example = fewer
        return example

    def outcome(self, example):
        """`succeeded` or `refused`, or the key of a failure; and its message."""
        with self._watched() as scratch:
            try:
                if example.part == "command":
                    return try_command(self.world, example, scratch), ""
                if example.part == "file":
                    return try_file(self.kinds, example, scratch), ""
                return try_call(self.functions, self.values, example, scratch), ""
            except InputError as error:
                if "\n" in str(error):
                    return ("InputError of several lines", example.target), str(error)
                return "refused", ""
            except Wrong as error:
                text = str(error)
                places = [line.strip() for line in text.splitlines() if "keras_vaegan/" in line]
                kind = text.strip().splitlines()[-1][:60] if places else text[:60]
                return ("wrong", example.target, places[-1] if places else kind), text
            except (Exception, Hang) as error:
                frames = traceback.extract_tb(error.__traceback__)
                ours = [
                    f for f in frames if "keras_vaegan" in f.filename and "tests" not in f.filename
                ] or frames
                place = f"{pathlib.Path(ours[-1].filename).name}:{ours[-1].name}"
                lines = "".join(traceback.format_exception(error)[-12:])
                return (type(error).__name__, place), lines

    @contextlib.contextmanager
    def _watched(self):
        """An own working folder, and an alarm for what hangs."""

        def ring(*_):
            raise Hang(f"longer than {self.deadline} seconds")

        before = os.getcwd(), warnings.showwarning, list(sys.path), dict(os.environ)
        old = signal.signal(signal.SIGALRM, ring)
        signal.alarm(self.deadline)
        faulthandler.dump_traceback_later(10 * self.deadline, exit=True)  # in code that no signal reaches
        try:
            nothing, folder = io.StringIO(), tempfile.TemporaryDirectory(dir=self.world.folder)
            with folder as scratch, warnings.catch_warnings(), contextlib.redirect_stdout(nothing):
                warnings.simplefilter("ignore")
                os.chdir(scratch)
                for name in ("data.npz", "mask.png"):
                    shutil.copy(self.world.folder / name, name)
                shutil.copytree(self.world.folder / "photos", "photos")
                try:
                    yield pathlib.Path(scratch)
                finally:
                    signal.alarm(0)
                    os.chdir(before[0])
        finally:
            faulthandler.cancel_dump_traceback_later()
            signal.signal(signal.SIGALRM, old)
            warnings.showwarning, sys.path[:] = before[1], before[2]
            os.environ.clear()
            os.environ.update(before[3])

    def _say(self, text):
        for file in (self.log, sys.stdout):
            if file is not None:
                self._write(file, text)

    @staticmethod
    def _write(file, text):
        print(text.encode("utf-8", "backslashreplace").decode(), file=file, flush=True)

    def by_target(self):
        """Lines on each command, kind of file and function: how many succeeded, were refused and failed."""
        for part, target in sorted({key[:2] for key in self.targets}):
            tried = [self.targets[part, target, what] for what in ("succeeded", "refused", "failed")]
            yield f"{part:8} {target:60} " + " ".join(f"{n:6}" for n in tried)

    def summary(self):
        """Lines on what was tried."""
        for part in PARTS:
            tried = {what: self.counts[part, what] for what in ("succeeded", "refused", "failed")}
            yield f"{part}: {sum(tried.values())} examples: " + ", ".join(
                f"{n} {what}" for what, n in tried.items()
            )
        for key, failure in self.failures.items():
            yield f"{failure.count} times {' '.join(map(str, key))}: {failure.example}"
        yield f"{len(self.failures)} failures"


@contextlib.contextmanager
def alone():
    """A temporary folder as home, no network, no other programs, little memory: nothing else is touched."""

    def refuse(*_, **__):
        raise OSError("there is no network here")

    kept = {name: getattr(socket, name) for name in ("getaddrinfo", "create_connection")}
    environment, connect, available = dict(os.environ), socket.socket.connect, memory.available
    with tempfile.TemporaryDirectory(prefix="keras-vaegan-fuzz-") as folder:
        home = pathlib.Path(folder, "home")
        home.mkdir()
        os.environ |= {
            "HOME": str(home),
            "KERAS_HOME": str(home / "keras"),
            "HF_HUB_OFFLINE": "1",
            "PATH": "",
        }
        os.environ |= {"TFDS_DATA_DIR": str(home / "tfds")}
        for name in kept:
            setattr(socket, name, refuse)
        socket.socket.connect = refuse
        memory.available = lambda: MEMORY
        try:
            yield pathlib.Path(folder)
        finally:
            memory.available, socket.socket.connect = available, connect
            for name, value in kept.items():
                setattr(socket, name, value)
            os.environ.clear()
            os.environ.update(environment)


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="how long to try")
    parser.add_argument("--seed", type=int, default=0, help="of the examples")
    parser.add_argument("--log", default=None, help="file for the failures and the counts")
    parser.add_argument("--trace", default=None, help="file for every example, as it begins")
    parser.add_argument("--parts", default=",".join(PARTS), help="which parts, with commas between")
    settings = parser.parse_args()
    faulthandler.enable()
    logging.getLogger("tensorflow").setLevel("ERROR")
    log, trace = (
        open(path, "w", encoding="utf-8") if path else None for path in (settings.log, settings.trace)
    )
    with alone() as folder, log or contextlib.nullcontext(), trace or contextlib.nullcontext():
        fuzz = Fuzz(folder, log, trace=trace)
        fuzz.run(settings.seconds, settings.seed, settings.parts.split(","))
        lines = [
            f"seed {settings.seed}, {settings.seconds:g} seconds, {keras.backend.backend()}",
            *fuzz.summary(),
        ]
        for line in lines:
            fuzz._say(line)
        for line in ("", f"{'part':8} {'target':60} succeeded, refused, failed", *fuzz.by_target()):
            if log is not None:
                fuzz._write(log, line)
    sys.exit(bool(fuzz.failures))


if __name__ == "__main__":
    main()
