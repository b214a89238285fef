"""Damaged files, values of the wrong kind, hostile names: each is refused in one line, or made harmless."""

import csv
import errno
import io
import json
import os
import pathlib
import sys
import zipfile

import fuzz
import h5py
import keras
import numpy as np
import pytest
import registry

from keras_vaegan import cli, data, evaluation, files, memory, metrics, presets
from keras_vaegan.callbacks import HistoryFile
from keras_vaegan.cli import options, parts
from keras_vaegan.data import load, read_mask
from keras_vaegan.data.checks import check_labels
from keras_vaegan.data.masks import check_mask
from keras_vaegan.data.names import class_numbers
from keras_vaegan.data.npz import read_arrays
from keras_vaegan.errors import InputError, choose, csv_cell, one_line, printable, shown
from keras_vaegan.files import read_json
from keras_vaegan.presets.configure import MODELS
from keras_vaegan.presets.folder import load_folder, load_keras_file, save_folder
from keras_vaegan.runs import read_findings, read_run

pytestmark = pytest.mark.core_on("one")
ESCAPE = "\x1b[31mred\x1b[0m\x07"


def refused(function, *arguments, **named):
    """The message of the `InputError`, which is one printable line."""
    with pytest.raises(InputError) as error:
        function(*arguments, **named)
    message = str(error.value)
    assert message.strip() and "\n" not in message
    return message


def run(capsys, *words):
    """Exit code and both outputs of a command line."""
    with pytest.raises(SystemExit) as end:
        cli.main([str(word) for word in words])
    captured = capsys.readouterr()
    return end.value.code or 0, captured.out, captured.err


# ---- text ----


def test_text_for_a_terminal_has_no_control_characters():
    assert one_line(f"a\n{ESCAPE}\tb") == "a \\x1b[31mred\\x1b[0m\\x07 b"
    assert printable("a  b\u202e\udcff") == "a  b\\u202e\\udcff"
    assert shown([list(range(50))] * 50).count("...") >= 1 and len(shown("x" * 10**6)) < 300


@pytest.mark.parametrize("text", ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", " =1"])
def test_a_csv_cell_is_no_formula(text):
    row = io.StringIO()
    csv.writer(row).writerow([csv_cell(text), csv_cell(-0.5), csv_cell("-0.5"), csv_cell("café")])
    [cells] = csv.reader(io.StringIO(row.getvalue()))
    assert cells[0].startswith("'") and cells[1:] == ["-0.5", "-0.5", "café"]
    assert csv_cell("a  b.png") == "a  b.png"  # and not the name of another file


def test_the_head_of_a_history_is_no_formula(tmp_path):
    history = HistoryFile(tmp_path / "history.csv")
    history.on_epoch_end(0, {"=cmd": 1.5})
    assert (tmp_path / "history.csv").read_text().splitlines() == ["epoch,'=cmd", "1,1.5"]


def test_a_value_without_a_hash_is_no_name():
    assert "must be one of a" in refused(choose, "name", [], ["a"])
    assert "must be one of a" in refused(choose, "name", {}, {"a": 1})
    assert "must be one of a" in refused(choose, "name", np.zeros(2), ["a"])


# ---- JSON ----


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"[" * 100_000 + b"]" * 100_000, "nested too deeply"),
        (b'{"a": 1, "a": 2}', "'a' comes twice"),
        (b"\xff\xfe{}", "utf-8"),
        (b'{"a"', "delimiter"),
        (b"[]", "an object was expected, not list"),
        (b"1" * 5000, "digits"),
    ],
)
def test_json_that_cannot_be_read_is_told_with_its_file(tmp_path, content, reason):
    path = tmp_path / f"{ESCAPE[:6]}.json"
    path.write_bytes(content)
    message = refused(read_json, path, "source", dict)
    assert message.startswith("source ") and ".json cannot be read: " in message and reason in message
    assert message.isprintable()


def test_large_json_is_refused_before_it_is_read(tmp_path, monkeypatch):
    with open(tmp_path / "a.json", "wb") as file:  # a sparse file, of which no block is written
        file.truncate(files.MOST_TEXT + 1)
    monkeypatch.setattr(pathlib.Path, "read_text", None)
    assert "larger than 64 MB" in refused(read_json, tmp_path / "a.json")


def test_a_folder_and_a_pipe_are_no_json(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    assert "it is no file" in refused(read_json, tmp_path / "pipe.json")
    assert "it is a folder" in refused(read_json, tmp_path)
    assert "No such file" in refused(read_json, tmp_path / "none.json")


def test_findings_of_wrong_kinds_are_refused(tmp_path):
    good = {"kind": "collapse", "severity": "severe", "epoch": 1, "message": "m"}
    wrong = [{}, [3], [{}], [good | {"epoch": "1"}], [good | {"severity": "mild"}], [good | {"more": 1}]]
    for value in wrong:
        (tmp_path / "findings.json").write_text(json.dumps(value))
        assert "findings.json" in refused(read_findings, tmp_path / "findings.json")


@pytest.mark.parametrize("content", ["[]", "3", '"x"', "null", "{"])
def test_generation_json_that_is_no_object_is_refused(tmp_path, content):
    (tmp_path / parts.FACTS).write_text(content)
    assert parts.FACTS in refused(parts.check, tmp_path, {"seed": 0})


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("history.csv", "epoch,epoch\n1,2\n"),
        ("history.csv", 'epoch,loss\n1,"' + "x" * 200_000),
        ("history.csv", "epoch,loss\n1,\0\n"),
        ("metadata.json", '{"model": 3, "dataset": "a", "recipe": {}}'),
        ("metadata.json", '{"model": "a", "dataset": [], "recipe": {}}'),
        ("metadata.json", '{"model": "a", "dataset": "a", "recipe": [1]}'),
        ("metadata.json", '{"model": "a", "dataset": "a", "recipe": {"optimizer": 3}}'),
        ("evaluate.json", "[" * 100_000),
    ],
)
def test_files_of_a_run_of_wrong_kinds_are_refused(tmp_path, name, content):
    (tmp_path / "metadata.json").write_text('{"model": "vae", "dataset": "digits", "recipe": {}}')
    (tmp_path / name).write_text(content)
    assert name in refused(read_run, tmp_path)


# ---- .npz ----


def npz(path, **members):
    """An archive of these members, bytes as they are."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def array_bytes(array, **claimed):
    """The bytes of a `.npy` file, whose head may claim something else."""
    stream = io.BytesIO()
    head = np.lib.format.header_data_from_array_1_0(array) | claimed
    np.lib.format.write_array_header_1_0(stream, head)
    return stream.getvalue() + array.tobytes()


def patched(path, offset, value):
    """Change two bytes of the head of each member, at both places where an archive has it."""
    content = bytearray(path.read_bytes())
    for mark, shift in ((b"PK\x03\x04", 0), (b"PK\x01\x02", 2)):
        at = content.find(mark) + offset + shift
        content[at : at + 2] = value.to_bytes(2, "little")
    path.write_bytes(content)
    return path


def test_npz_of_every_kind_of_damage_is_refused(tmp_path):
    x = np.zeros((2, 8, 8), "float32")
    good = array_bytes(x)
    objects = io.BytesIO()
    np.save(objects, np.array([{}], object), allow_pickle=True)
    nested = npz(tmp_path / "inner.npz", **{"x.npy": good}).read_bytes()
    cases = {
        "encrypted": patched(npz(tmp_path / "a.npz", **{"x.npy": good}), 6, 1),
        "compression": patched(npz(tmp_path / "b.npz", **{"x.npy": good}), 8, 9),  # deflate64
        "'x.txt' is no array": npz(tmp_path / "c.npz", **{"x.npy": good, "x.txt": b"text"}),
        "magic": npz(tmp_path / "d.npz", **{"x.npy": nested}),
        "holds objects": npz(tmp_path / "e.npz", **{"x.npy": objects.getvalue()}),
        "(99999999, 99999999)": npz(
            tmp_path / "f.npz", **{"x.npy": array_bytes(x, shape=(99999999, 99999999))}
        ),
        "(-2, 8, 8)": npz(tmp_path / "g.npz", **{"x.npy": array_bytes(x, shape=(-2, 8, 8))}),
        "claims |V0": npz(tmp_path / "h.npz", **{"x.npy": array_bytes(x, descr="|V0")}),
        "eader": npz(tmp_path / "i.npz", **{"x.npy": array_bytes(x, shape=(1,) * 20_000)}),
    }
    for reason, path in cases.items():
        message = refused(read_arrays, path)
        assert reason in message and path.name in message
        assert path.name in refused(load, path)


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", array_bytes(np.zeros((100, 64, 64), "float32")))
    monkeypatch.setattr(memory, "available", lambda: 1_000_000)
    monkeypatch.setattr(zipfile.ZipFile, "open", None)
    assert "must fit into memory" in refused(read_arrays, tmp_path / "a.npz")


def test_other_compressions_are_read(tmp_path):
    x = np.random.default_rng(0).random((3, 4, 4)).astype("float32")
    for name, method in (("a", zipfile.ZIP_BZIP2), ("b", zipfile.ZIP_LZMA), ("c", zipfile.ZIP_STORED)):
        with zipfile.ZipFile(tmp_path / f"{name}.npz", "w", method) as archive:
            archive.writestr("x.npy", array_bytes(x))
        np.testing.assert_array_equal(read_arrays(tmp_path / f"{name}.npz")["x"], x)


# ---- models ----


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    """A folder with a tiny model, whose weights' hash the metadata do not say."""
    folder = tmp_path_factory.mktemp("preset")
    model = registry.MODELS["cvae"]()
    save_folder(model, folder, {})
    model.save(folder / "model.keras")
    edit(folder, weights_sha256=None)
    return folder


def edit(folder, **facts):
    """Change facts of the metadata; None deletes one."""
    path = folder / "metadata.json"
    found = json.loads(path.read_text()) | facts
    path.write_text(json.dumps({name: value for name, value in found.items() if value is not None}))


@pytest.fixture
def copy(preset, tmp_path):
    """A copy of `preset` that may be damaged."""
    for path in preset.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def test_a_damaged_weights_file_is_read_or_refused(copy):
    content = (copy / "model.weights.h5").read_bytes()
    for at in range(8, len(content), len(content) // 12):
        damaged = content[:at] + b"\xff" * 16 + content[at + 16 :]
        (copy / "model.weights.h5").write_bytes(damaged)
        try:
            model, _ = load_folder(copy)
        except InputError as error:
            assert "\n" not in str(error) and copy.name in str(error)
        else:
            assert all(np.isfinite(weights).all() for weights in model.get_weights())


def test_weights_that_claim_terabytes_are_refused_before_they_are_read(copy):
    with h5py.File(copy / "model.weights.h5", "a") as file:
        file.create_dataset("bomb", (10**6, 10**6), "float32", chunks=(1000, 1000))
    assert "must fit into memory" in refused(load_folder, copy)


def test_weights_that_are_no_numbers_are_refused(copy):
    with h5py.File(copy / "model.weights.h5", "a") as file:
        found = []
        file.visititems(lambda name, item: found.append(item) if isinstance(item, h5py.Dataset) else None)
        floats = [item for item in found if item.dtype.kind == "f"]
        floats[0][...] = np.nan
    assert "NaN or infinity" in refused(load_folder, copy)


@pytest.mark.parametrize("facts", [{"class_names": ["one"]}, {"class_names": 3}, {"image_shape": [1]}])
def test_metadata_of_wrong_kinds_are_refused(copy, facts):
    edit(copy, **facts)
    assert next(iter(facts)) in refused(load_folder, copy)


@pytest.mark.parametrize("recipe", [[], {"model": {}}, {"model": 3}, {"model": {"key": []}}])
def test_a_recipe_of_a_preset_without_its_sections_is_refused(copy, recipe):
    edit(copy, recipe=recipe)
    assert "recipe" in refused(presets.find, copy)


def test_a_keras_file_is_checked_before_it_is_unpacked(copy, monkeypatch):
    path = copy / "model.keras"
    content = path.read_bytes()
    for damaged in (b"", content[: len(content) // 2], b"PK\x03\x04" + bytes(200), b"text"):
        path.write_bytes(damaged)
        assert "model.keras" in refused(load_keras_file, path)
    path.write_bytes(content)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("other.json", bytes(200_000))
    monkeypatch.setattr(files, "MOST_TEXT", 100_000)
    assert "larger than" in refused(load_keras_file, path)
    monkeypatch.undo()
    monkeypatch.setattr(memory, "available", lambda: 1000)
    assert "must fit into memory" in refused(load_keras_file, path)


def test_a_mask_that_is_no_picture_of_the_size_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    assert "it is no file" in refused(read_mask, tmp_path / "pipe.png", (8, 8, 1))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    assert "a.png cannot be read" in refused(read_mask, tmp_path / "a.png", (8, 8, 1))


def test_sizes_and_names_that_cannot_be_are_refused():
    assert "num_images=" in refused(check_mask, "left", 2**70, (4, 4, 1))
    assert "class_names must" in refused(class_numbers, object())
    assert InputError("bad", argument=2.5).argument is None


@pytest.mark.parametrize("path", ["~nouser/x", "a\0b", 5, None, b"a"])
def test_a_path_that_cannot_be_is_refused(path):
    for function in (load, load_folder, presets.find, presets.load_source, read_run, read_arrays):
        refused(function, path)


# ---- options of a recipe ----

WRONG = ([[]], {}, float("nan"), float("inf"), [1e9], [None], {"class": []}, "\0", 10**400)
CHOSEN = ("vae_gan_celeb_a", "completion_cvae_mnist", "draw_gan_mnist", "ssl_vae_gan_mnist")


@pytest.mark.parametrize("name", CHOSEN)
def test_every_option_refuses_values_of_other_kinds(name):
    recipe = presets.recipe(name)
    before = json.dumps(recipe)
    for option in presets.options(recipe):
        for value in WRONG:
            if value == [1e9] and option == "model.time_weights":
                continue  # numbers as any others
            message = refused(presets.override, recipe, option, value)
            assert option.split(".")[-1] in message or "image_size" in message
    assert json.dumps(recipe) == before
    assert recipe["model"]["key"] in MODELS


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("family", []),
        ("generator.class", {}),
        ("latent_dim", 99999999999999),
        ("encoder.filters", [1e9]),
        ("encoder.filters", [True]),
        ("binarize", 1),
        ("binarize", "no"),
        ("generator.learning_rate", -0.1),
        ("generator.learning_rate", None),
        ("generator.beta_1", 1.5),
        ("generator.global_clipnorm", -1),
        ("generator.learning_rate", {"class": "CosineDecay", "initial_learning_rate": "fast"}),
        (
            "generator.learning_rate",
            {"class": "CosineDecay", "initial_learning_rate": 0.1, "decay_steps": "x"},
        ),
        ("generator.learning_rate", {"class": "CosineDecay", "initial_learning_rate": 0.1, "decay_steps": 0}),
        ("generator.learning_rate", {"class": "ExponentialDecay", "initial_learning_rate": 0.1}),
        ("generator.learning_rate", {"class": []}),
        ("training.image_size", 99999999999),
        ("training.labelled_share", 2),
    ],
)
def test_a_value_that_an_option_cannot_have_is_refused(option, value):
    refused(presets.override, presets.recipe("ssl_vae_mnist"), option, value)


def test_a_recipe_of_the_users_own_is_checked_before_it_is_built():
    recipe = presets.recipe("vae_mnist_small")
    recipe["networks"]["encoder"]["filters"] = ["many"]
    assert "networks.encoder.filters" in refused(presets.build, recipe, (8, 8, 1))
    for wrong in ({}, None, "vae", {**recipe, "networks": []}, {**recipe, "optimizer": {"generator": 3}}):
        assert "recipe" in refused(presets.build, wrong, (8, 8, 1))


@pytest.mark.parametrize(
    "setting", [{"latent_dim": 2_000_000_000}, {"units": [2_000_000, 2_000_000]}, {"filters": [500_000] * 2}]
)
def test_a_network_that_cannot_fit_is_refused_before_it_is_built(setting, monkeypatch):
    recipe = presets.recipe("vae_mnist_small")
    recipe["networks"] |= {k: v for k, v in setting.items() if k == "latent_dim"}
    recipe["networks"]["encoder"] = {k: v for k, v in setting.items() if k != "latent_dim"}
    monkeypatch.setattr(memory, "available", lambda: 8_000_000_000)
    assert "must fit into memory" in refused(presets.build, recipe, (28, 28, 1))


# ---- the command line ----


@pytest.mark.parametrize(
    "size", ["2²", "８", "99999999999x1", "8x", "x8", "8x8x8", "0", "-8", "8.5", "", "8 8", "1x99999"]
)
def test_an_image_size_is_one_or_two_plain_numbers(size):
    assert "--image-size must be SIZE" in refused(options.ImageSize().convert, size, None, None)
    assert options.ImageSize().convert("28X20", None, None) == (28, 20)


@pytest.mark.parametrize("count", ["2²", str(2**63), str(2**31), "1e3", "nan", "0", ""])
def test_a_count_is_a_whole_number_that_an_array_can_have(count):
    assert "must be an integer of at " in refused(options.Count(1).convert, count, None, None)


@pytest.mark.parametrize("output", ["\udcff.npz", "a\0.npz", "", "a" * 300 + ".npz"])
def test_an_output_is_a_name_that_every_library_can_write(output):
    assert "--output must" in refused(options.Output().convert, output, None, None)


def test_a_backend_that_is_none_of_ours_is_refused(monkeypatch):
    for name in ("numpy", "openvino", "nonsense"):
        monkeypatch.setenv("KERAS_BACKEND", name)
        monkeypatch.delitem(sys.modules, "keras")
        assert "KERAS_BACKEND must be one of tensorflow, jax, torch" in refused(options.load_keras)
        monkeypatch.undo()


class Exhausted(RuntimeError):
    """As the backends raise it."""


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (KeyError("x"), 1, "unexpected: KeyError; run with --debug"),
        (RecursionError("deep"), 1, "unexpected: RecursionError"),
        (MemoryError(), 2, "the memory does not suffice"),
        (Exhausted("RESOURCE_EXHAUSTED: Out of memory while trying to allocate"), 2, "--batch-size"),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried"), 2, "--batch-size"),
        (OSError(errno.ENOSPC, "No space left on device", "a\x1b.npz"), 2, "No space left on device: a\\x1b"),
        (ValueError("embedded null byte"), 2, "null character"),
        (ValueError("ZIP does not support timestamps before 1980"), 2, "the clock of this machine"),
        (Exhausted("RESOURCE_EXHAUSTED: a/b.data; No space left on device"), 2, "No space left on device"),
        (InputError(f"x must be y; received {ESCAPE}"), 2, "\\x1b[31mred"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_every_error_of_a_command_is_one_line(monkeypatch, capsys, error, code, words):
    def fail():
        raise error

    monkeypatch.setattr(cli.cli.commands["models"], "callback", fail)
    assert run(capsys, "models")[0] == code
    found, out, err = run(capsys, "models")
    assert (found, out) == (code, "")
    [line] = err.strip().splitlines()
    assert line.startswith("keras-vaegan: ") and words in line and line.isprintable()
    for asked in (["models", "--debug"], ["--debug", "models"]):
        found, _, err = run(capsys, *asked)
        assert found == code and ("Traceback" in err) == (code != 130) and words in err.splitlines()[-1]
    monkeypatch.setenv("KERAS_VAEGAN_DEBUG", "1")
    assert ("Traceback" in run(capsys, "models")[2]) == (code != 130)


def test_a_reader_that_goes_away_is_no_error(monkeypatch, capsys):
    def fail():
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr(cli.cli.commands["models"], "callback", fail)
    monkeypatch.setattr(sys.modules["keras_vaegan.cli"], "_leave_closed_pipe", lambda: sys.exit(1))
    assert run(capsys, "models") == (1, "", "")


def test_names_are_printed_escaped(capsys):
    options.echo(f"a  {ESCAPE}\nb")
    assert capsys.readouterr().out == "a  \\x1b[31mred\\x1b[0m\\x07\nb\n"
    code, _, err = run(capsys, "presets", ESCAPE)
    assert code == 2 and "\x1b" not in err and len(err.splitlines()) == 1
    code, _, err = run(capsys, ESCAPE)
    assert code == 2 and "\x1b" not in err


@pytest.mark.parametrize("content", [b"\xff", b"{", b"[1]", b'{"model": 3}', b"[" * 100_000, b'{"a": {}}'])
def test_a_configuration_that_cannot_be_read_is_refused(tmp_path, capsys, content):
    for name in ("a.json", "a.toml"):
        (tmp_path / name).write_bytes(content)
        code, _, err = run(capsys, "train", "--model", "vae", "--config", tmp_path / name)
        assert code == 2 and len(err.splitlines()) == 1 and name in err


@pytest.mark.parametrize("setting", ["beta=NaN", 'beta={"a": 1, "a": 2}', "beta=" + "[" * 5000, "family=[]"])
def test_a_setting_that_cannot_be_read_is_refused(capsys, setting):
    code, _, err = run(capsys, "train", "--model", "vae", "--set", setting)
    assert code == 2 and len(err.splitlines()) == 1 and len(err) < 600


# ---- the fuzz itself ----


def test_a_little_of_the_fuzz_finds_nothing(monkeypatch):
    monkeypatch.setattr(fuzz, "SUBJECTS", ("vae_gan", "cvae"))
    monkeypatch.setattr(fuzz, "EXAMPLES", {"command": 3, "file": 6, "argument": 6})
    keras.utils.set_random_seed(0)
    with fuzz.alone() as folder:
        tried = fuzz.Fuzz(folder)
        tried.run(60, seed=1, chosen=("file", "command"), rounds=1)
    assert list(tried.failures.values()) == []
    assert sum(tried.counts.values()) >= 6


@pytest.mark.parametrize("k", [None, 0, 1.5, "x"])
def test_the_neighbour_of_a_score_is_a_whole_number(k):
    x = np.random.default_rng(0).random((9, 2))
    assert "k must be" in refused(metrics.precision_recall_density_coverage, x, x, k)
    if k is not None:
        assert "block must be" in refused(metrics.kernel_distance, x, x, k)


# ---- arguments of public functions that are none ----

X = np.random.default_rng(0).random((4, 8, 8, 1)).astype("float32")
NONE = (None, object(), "abc", {}, np.full((4, 3), np.nan), np.array([["a"] * 3] * 4), 1j * np.ones((4, 3)))


@pytest.fixture(scope="module")
def conditional():
    return registry.MODELS["cvae"]((8, 8, 1))


def test_a_message_is_one_line_whatever_it_holds():
    error = InputError(f"x is {np.zeros((2, 2))!r} \x1b[31m \udcff")
    assert "\n" not in str(error) and str(error).isprintable()
    assert str(InputError(str(error))) == str(error)  # escaped once


@pytest.mark.parametrize("value", NONE, ids=lambda value: type(value).__name__)
def test_metrics_refuse_what_are_no_numbers(value):
    labels = [0, 1, 2, 0]
    for function, arguments in (
        (metrics.expected_calibration_error, (value, labels)),
        (metrics.fit_temperature, (value, labels)),
        (metrics.kl_per_dimension, (value, value)),
        (metrics.kl_per_dimension, (np.zeros((4, 3)), value)),
        (metrics.modes_covered, (value,)),
        (metrics.frechet_distance, (value, value)),
        (metrics.mean_pairwise_distance, (value,)),
        (metrics.label_agreement, (value, labels)),
        (metrics.slant, (value,)),
        (metrics.laplacian_variance, (value,)),
        (metrics.mean_squared_error, (value, value)),
        (metrics.style_kept, (value, value, labels)),
    ):
        refused(function, *arguments)


def test_measures_of_pixels_refuse_images_out_of_range():
    assert "must lie in" in refused(metrics.mean_squared_error, X, 255 * X)
    assert "must be finite" in refused(metrics.laplacian_variance, np.where(X > 0.5, np.nan, X))
    assert "must lie in" in refused(metrics.slant, X - 1)


def test_probabilities_and_settings_of_scores_are_checked():
    shares = np.full((4, 3), 1 / 3)
    assert "probabilities must" in refused(metrics.expected_calibration_error, 2 * shares + 1, [0, 1, 2, 0])
    for bins in (0, 1.5, None, 2**50):
        assert "bins" in refused(metrics.expected_calibration_error, shares, [0, 1, 2, 0], bins)
    assert "labels must" in refused(metrics.expected_calibration_error, shares, [9, 1, 2, 0])
    assert "received -1 only" in refused(metrics.label_agreement, shares, [-1] * 4)
    assert "sure must" in refused(metrics.recognized_share, shares, 1.5)
    assert "image_shape must" in refused(metrics.bits_per_dimension, 1.0, "8x8")
    assert "nats must" in refused(metrics.bits_per_dimension, object(), (8, 8, 1))
    np.testing.assert_allclose(metrics.bits_per_dimension(64 * np.log(2), (8, 8, 1)), 1.0)
    zeros = np.zeros((4, 3))
    np.testing.assert_allclose(metrics.kl_per_dimension(zeros, zeros, 1.0), [0.5] * 3)
    np.testing.assert_allclose(metrics.kl_per_dimension(zeros, zeros, np.ones(3), zeros), [0.5] * 3)


@pytest.mark.parametrize("shape", ["8x8", None, (8.5, 8, 1), (-8, 8, 1), (8, 8), (True, 8, 1)])
def test_a_shape_that_is_none_is_refused(shape, tmp_path):
    np.savez(tmp_path / "x.npz", x=X)
    assert "image_shape must" in refused(data.named_mask, "left", shape)
    assert "image_shape must" in refused(data.check_mask, "left", 4, shape)
    assert "image_shape must" in refused(data.load_pictures, tmp_path / "x.npz", shape)
    assert "image_shape must" in refused(presets.build, presets.recipe("vae_mnist_small"), shape)


def test_masks_and_their_counts():
    assert "must fit into memory" in refused(data.named_mask, "left", (10**9, 10**9, 3))
    for count in (0, 1.5, None):
        assert "num_images must" in refused(data.check_mask, "left", count, (8, 8, 1))
    rows, columns = np.indices((5, 7))
    wanted = {"top": rows < 2, "left": columns < 3, "quadrants:3": (rows < 2) | (columns < 3)}
    for name, mask in wanted.items():
        np.testing.assert_array_equal(data.named_mask(name, (5, 7, 1)), mask)


@pytest.mark.parametrize(
    "labels", [[np.inf, 0], [2.0**63, 0], np.array([2**63, 0], "uint64"), [-2, 0], [1e300, 0]]
)
def test_labels_that_no_integer_holds_are_refused(labels):
    assert "y must" in refused(check_labels, labels, 2)


def test_classes_in_turn_are_checked(conditional):
    np.testing.assert_array_equal(conditional.labels_in_turn(4, [2, 0], start=1), [0, 2, 0, 2])
    for count in (None, 1.5, np.nan, 0, 2**40, 2**70):
        assert "num_images" in refused(conditional.labels_in_turn, count)
    assert "start must" in refused(conditional.labels_in_turn, 1, start="x")
    for labels in (np.nan, "abc", [9], [0.5], np.zeros((2, 2)), [[0], [0, 1]], object()):
        assert "labels must" in refused(conditional.labels_in_turn, 1, labels)


def test_verbs_refuse_what_they_would_not_look_at(conditional):
    z, labels = np.zeros((4, conditional.latent_dim), "float32"), [0, 1, 2, 0]
    assert "images must" in refused(conditional.decode, z, labels, images="abc")
    assert "images must be 4" in refused(conditional.decode, z, labels, images=X[:2])
    assert "at least one code" in refused(conditional.decode, z[:0], labels)
    assert "seed must" in refused(conditional.encode, X, labels, seed=[1])
    assert "sample must" in refused(conditional.encode, X, labels, sample=X)
    assert "a must be" in refused(conditional.interpolate, np.float32(0.5), np.float32(0.5))
    assert "b must be" in refused(conditional.interpolate, X, X[0])
    assert "labels must be a pair" in refused(conditional.interpolate, X, X, labels=np.zeros((4, 2)))
    assert "labels must" in refused(conditional.labels_of, [np.nan] * 4)
    assert "x must" in refused(conditional.labels_of, labels, np.float32(0.5))
    assert "count must" in refused(conditional.conditioned, 1.5, labels)


@pytest.mark.parametrize("verb", ["fit", "evaluate", "predict"])
@pytest.mark.parametrize("source", ["abc", 5, None, {}, {"image": X}, {1, 2}])
def test_sources_that_hold_no_images_are_refused(conditional, verb, source):
    conditional.compile(run_eagerly=True)
    assert refused(getattr(conditional, verb), source).startswith("x must")


def test_dictionaries_of_what_the_network_takes_are_checked(conditional):
    rows = np.eye(3, dtype="float32")[[0, 1, 2, 0]]
    made = conditional.predict_on_batch({"images": X, "labels": rows})
    np.testing.assert_allclose(made, conditional.reconstruct(X, [0, 1, 2, 0]), atol=1e-5)
    for verb in (conditional.predict, conditional.predict_on_batch):
        assert "images must" in refused(verb, {"images": 3 * X, "labels": rows})
        assert "labels must" in refused(verb, {"images": X, "labels": rows[:2]})
        assert "labels must" in refused(verb, {"images": X, "labels": np.nan * rows})


@pytest.mark.parametrize("recipe", [{}, "vae", None, {"model": None}])
def test_a_recipe_that_is_none_is_refused(recipe):
    assert "recipe" in refused(presets.options, recipe)
    assert "recipe" in refused(presets.plan, recipe)
    assert "optimizer.generator.class" in refused(
        presets.options, {**presets.recipe("vae_mnist_small"), "optimizer": {"generator": {}}}
    )


def test_groups_of_scores_and_batches_are_checked():
    for groups in ("sharpness", 5, X, []):
        assert "metrics must" in refused(evaluation.check_groups, "metrics", groups)
    for part in (0, "ab", (0, 1, 2), (0, 0), (0.5, 1), None):
        assert "part" in refused(data.Batches, X, part=part)
    assert "augment must" in refused(data.Batches, X, augment=5)
    assert "augment must" in refused(data.Batches, X, augment=X[0])
    assert "shuffle must" in refused(data.Batches, X, shuffle="no")
    assert "x must" in refused(data.semi_supervised_split, np.float32(0.5), [0, 1], 1)


@pytest.mark.parametrize("fact", [{"model": 5}, {"image_shape": "x"}, {"recipe": []}, {"class_names": 3}])
def test_metadata_that_no_preset_is_read_with_are_not_written(conditional, tmp_path, fact):
    assert "metadata: " in refused(conditional.save_to_preset, tmp_path / "made", fact)
    assert not (tmp_path / "made").exists()
