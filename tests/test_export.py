"""What is exported, run in a process without Keras, against the verbs of the model."""

import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
import registry
from click.testing import CliRunner

import keras_vaegan as kvg
from keras_vaegan import functions
from keras_vaegan.cli import cli
from keras_vaegan.data import named_mask
from keras_vaegan.errors import InputError
from keras_vaegan.export import FORMATS, serving
from keras_vaegan.noise import prior_noise

BARE = pathlib.Path(__file__).with_name("bare.py")
SHAPE, COUNT = (6, 5, 1), 5  # no batch that anything was traced with
BACKEND = keras.backend.backend()
# The representative: labels, a learned prior, two networks that tell classes, a discriminator.
CORE = "ssl_vae_gan"
TRAINED_ALONE = ("_three_players", "_sampled", "_consistent", "_spectral")  # options of the training alone
NAMES = registry.core([CORE], [name for name in registry.MODELS if not name.endswith(TRAINED_ALONE)])


def built(name, image_shape=SHAPE):
    """A model of the registry whose weights are no accident."""
    model = registry.set_weights(registry.MODELS[name](image_shape))
    if isinstance(model, kvg.SemiSupervisedVAE):
        model.classification.temperature = 1.7
    return model


def by_verbs(model):
    """Inputs of every function of a model, and what the verbs make of them: `{function/tensor: array}`."""
    images = registry.images(COUNT, model.image_shape, seed=5)
    labels = None if model.num_classes is None else registry.labels(COUNT).astype("int32")
    mask = named_mask("left", model.image_shape) if model.completes else None
    noise = prior_noise(COUNT, model.code_shape, 3)
    codes = np.random.default_rng(4).standard_normal(noise.shape, dtype="float32")
    given = {} if labels is None else {"labels": labels}
    seen = given if mask is None else given | {"mask": np.tile(mask, (COUNT, 1, 1)).astype("float32")}
    pictured = {"images": images} if mask is not None else {}
    inputs = {
        "generate": {"noise": noise, **given},
        "encode": {"images": images, **seen},
        "decode": {"codes": codes, **seen, **pictured},
        "reconstruct": {"images": images, **seen},
    }
    q = model.posterior_parameters(images, labels, mask)
    shown = None if mask is None else images
    outputs = {
        "generate": {"pixels": model.generate(COUNT, labels, seed=3)},
        "encode": q,
        "decode": {"pixels": model.decode(codes, labels, shown, mask)},
        "reconstruct": {"pixels": model.reconstruct(images, labels, mask)},
    }
    if model.completes:
        inputs["complete"] = {"images": images, "noise": noise, **seen}
        outputs["complete"] = {"pixels": model.complete(images, mask, 1, labels, seed=3)[:, 0]}
    elif labels is not None:
        new = np.roll(labels, 1)
        styled = model.transfer_style(images, range(model.num_classes), labels)
        inputs["transfer_style"] = {"images": images, **given, "new_labels": new}
        outputs["transfer_style"] = {"pixels": styled[np.arange(COUNT), new]}
    if isinstance(model, kvg.SemiSupervisedVAE):
        inputs["classify"] = {"images": images}
        outputs["classify"] = {"probabilities": model.classify(images)}
    if isinstance(model, kvg.DRAW):
        inputs["canvases"] = inputs["generate"]
        outputs["canvases"] = model.canvases(COUNT, labels, seed=3)
    return flat(inputs), flat(outputs)


def flat(nested):
    """`{function/tensor: array}` of `{function: {tensor: array}}`."""
    return {f"{name}/{key}": value for name, values in nested.items() for key, value in values.items()}


def run_bare(format, path, inputs, tmp_path):
    """What a process without Keras makes of inputs, and what it printed."""
    np.savez(tmp_path / "inputs.npz", **inputs)
    environment = {key: value for key, value in os.environ.items() if key != "KERAS_BACKEND"}
    done = subprocess.run(
        [sys.executable, BARE, format, path, tmp_path / "inputs.npz", tmp_path / "outputs.npz"],
        capture_output=True,
        text=True,
        env=environment | {"TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(tmp_path / "outputs.npz") as file:
        return dict(file), done.stdout


def assert_same(made, expected, name):
    """The same tensors with the same values, and pixels within what was promised."""
    assert set(made) == set(expected)
    tolerance = 1e-4 if "draw" in name else 1e-5
    for key, value in expected.items():
        assert made[key].shape == value.shape, key
        scale = 1.0 if key.endswith(("pixels", "probabilities")) else 10.0  # codes and sizes in pixels
        np.testing.assert_allclose(made[key], value, atol=scale * tolerance, err_msg=key)


# TensorFlow writes each format. On the other backends it does so in a process of its own, which is the same
# for all formats: the core suite exports one format on JAX, two on PyTorch and two on TensorFlow.
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "format",
    [
        "saved_model",
        pytest.param("tflite", marks=pytest.mark.core_on("one")),
        pytest.param("onnx", marks=pytest.mark.core_on("tensorflow")),
    ],
)
def test_what_is_exported_equals_the_model(name, format, tmp_path):
    model = built(name)
    inputs, outputs = by_verbs(model)
    model.export(tmp_path / "exported", format, verbose=False)
    made, _ = run_bare(format, tmp_path / "exported", inputs, tmp_path)
    assert_same(made, outputs, name)
    described = functions.described(model.functions())
    assert {key.split("/")[0] for key in inputs} == set(described)
    place = "assets.extra/functions.json" if format == "saved_model" else "functions.json"
    assert json.loads((tmp_path / "exported" / place).read_text()) == described
    assert (
        sum(f.stat().st_size for f in tmp_path.rglob("variables.data*")) < 4.1 * generator_size(model) + 1e4
    )


def generator_size(model):
    """How many numbers a model is made of but for its discriminator, and what trains it."""
    networks = [n for key, of in model.player_networks().items() if key != "discriminator" for n in of]
    judges = [model.discriminator] if getattr(model, "classifier", "encoder") != "encoder" else []
    base = [model.base] if isinstance(model, kvg.StackedSemiSupervisedVAE) else []
    return sum(network.count_params() for network in {id(n): n for n in networks + judges + base}.values())


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The folder that the command line writes for TensorFlow Serving, and its model."""
    folder = tmp_path_factory.mktemp("served")
    model = built(CORE)
    model.save(folder / "my-model.keras")
    command = ["export", str(folder / "my-model.keras"), "--output", str(folder / "out")]
    done = CliRunner().invoke(cli, command, catch_exceptions=False)
    assert done.exit_code == 0 and done.output == f"wrote {folder / 'out' / '1'}\n"
    return model, folder / "out"


@pytest.mark.core_on("one")
def test_a_server_answers_as_the_model_does(served, tmp_path):
    model, folder = served
    inputs, outputs = by_verbs(model)
    made, printed = run_bare("serving", folder / "1", inputs, tmp_path)
    assert_same(made, outputs, CORE)
    found = json.loads(printed)
    assert found["warmed"] == list(model.functions())
    assert found["curl"] == {"pixels": [1, *SHAPE]}


@pytest.mark.core_on("one")
def test_the_page_beside_it_says_what_the_signatures_are(served):
    model, folder = served
    text = (folder / "README.md").read_text()
    found = serving.signatures_in(folder / "1")
    assert set(found) == {*model.functions(), "serving_default"}
    assert found["serving_default"] == found["generate"]
    for name, function in model.functions().items():
        for side, ports in (("inputs", function.inputs), ("outputs", function.outputs)):
            assert set(found[name][side]) == set(ports)
            for key, port in ports.items():
                assert found[name][side][key] == (port.dtype, [-1, *port.shape])
                assert f"| `{key}` | {port.dtype} | {list(port.shape)} | {port.values} |" in text
    assert "\n".join(serving.recipe("my-model")) in text
    assert 'base_path: "/models/my-model"' in (folder / "models.config").read_text()


@pytest.mark.core_on("one")
def test_the_documentation_has_the_commands_that_are_written():
    text = (pathlib.Path(__file__).parents[1] / "docs" / "export.md").read_text()
    assert textwrap.dedent("\n".join(serving.recipe("cvae_gan_mnist"))) in text
    for model in ("cvae_both", "ssl_vae", "draw_conditional"):
        for name, function in built(model).functions().items():
            row = next(line for line in text.splitlines() if line.startswith(f"| `{name}` |"))
            inputs, outputs = ({part.strip(" `") for part in cell.split(",")} for cell in row.split("|")[2:4])
            assert set(function.inputs) <= inputs and set(function.outputs) == outputs


@pytest.mark.slow
def test_versions_follow_each_other_and_one_is_replaced_when_asked(served, tmp_path):
    model, folder = served
    shutil.copytree(folder, tmp_path / "out")
    source = str(folder.parent / "my-model.keras")
    for extra, version in (([], "2"), (["--overwrite"], "2"), ([], "3")):
        command = ["export", source, "--output", str(tmp_path / "out"), *extra]
        done = CliRunner().invoke(cli, command, catch_exceptions=False)
        assert done.output == f"wrote {tmp_path / 'out' / version}\n"
    assert sorted(p.name for p in (tmp_path / "out").iterdir() if p.is_dir()) == ["1", "2", "3"]


@pytest.mark.skipif(BACKEND != "tensorflow", reason="a program of TensorFlow's, on its files")
def test_tensorflows_own_command_shows_and_runs_it(served, tmp_path):
    model, folder = served
    inputs, outputs = by_verbs(model)
    program = pathlib.Path(sys.executable).with_name("saved_model_cli")
    arguments = []
    for key in ("noise", "labels"):
        np.save(tmp_path / f"{key}.npy", inputs[f"generate/{key}"])
        arguments.append(f"{key}={tmp_path / key}.npy")
    asked = ["--dir", folder / "1", "--tag_set", "serve", "--signature_def", "generate"]
    command = [program, "run", *asked, "--inputs", ";".join(arguments), "--outdir", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    np.testing.assert_allclose(np.load(tmp_path / "pixels.npy"), outputs["generate/pixels"], atol=1e-5)


@pytest.mark.parametrize(("precision", "most"), [("float16", 1e-3), ("int8", 0.02)])
@pytest.mark.skipif(BACKEND != "tensorflow", reason="the converter is TensorFlow's whatever the backend")
def test_smaller_numbers_give_nearly_the_same_pictures(precision, most, tmp_path):
    model = kvg.CVAE.from_preset("cvae_mnist")
    images = model.generate(100, seed=1)
    labels = model.labels_in_turn(100)
    for chosen in ("float32", precision):
        made = tmp_path / f"{chosen}.tflite"
        model.export(made, "tflite", verbose=False, precision=chosen, data=(images, labels))
    sizes = [(tmp_path / f"{chosen}.tflite").stat().st_size for chosen in ("float32", precision)]
    assert sizes[1] < 0.6 * sizes[0]
    (tmp_path / "generate").mkdir()
    shutil.move(tmp_path / f"{precision}.tflite", tmp_path / "generate.tflite")
    inputs = {
        "generate/noise": prior_noise(50, (model.latent_dim,), 3),
        "generate/labels": np.arange(50) % 10,
    }
    inputs["generate/labels"] = inputs["generate/labels"].astype("int32")
    made, _ = run_bare("tflite", tmp_path, inputs, tmp_path)
    expected = model.generate(50, np.arange(50) % 10, seed=3)
    assert 0.0 < np.abs(made["generate/pixels"] - expected).mean() < most


@pytest.mark.slow
@pytest.mark.skipif(BACKEND != "tensorflow", reason="the converter is TensorFlow's whatever the backend")
@pytest.mark.parametrize("name", [CORE, "cvae_both", "draw_conditional"])
def test_every_function_runs_in_eight_bits(name, tmp_path):
    model = built(name)
    inputs, outputs = by_verbs(model)
    data = (registry.images(60, SHAPE), registry.labels(60))
    model.export(tmp_path / "exported", "tflite", verbose=False, precision="int8", data=data)
    made, _ = run_bare("tflite", tmp_path / "exported", inputs, tmp_path)
    assert set(made) == set(outputs)
    for key, value in outputs.items():
        assert made[key].shape == value.shape
        # Of its range, an eighth: these networks have weights at random, and codes that no image has.
        assert np.abs(made[key] - value).mean() <= np.ptp(value) / 8, key


@pytest.mark.skipif(BACKEND != "tensorflow", reason="the copy is made where TensorFlow runs")
def test_a_model_in_half_precision_is_exported_in_float32(tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = built("cvae")
    finally:
        keras.config.set_dtype_policy("float32")
    whole = built("cvae")
    whole.set_weights(model.get_weights())
    inputs, outputs = by_verbs(whole)
    networks = [type(part).from_config(part.get_config()) for part in (model.encoder, model.decoder)]
    for wrapped in (model, kvg.CVAE(*networks)):  # of which one says so itself, the other in its layers alone
        wrapped.set_weights(model.get_weights())
        model.export(tmp_path / wrapped.name, "onnx", verbose=False)
        made, _ = run_bare("onnx", tmp_path / wrapped.name, inputs, tmp_path)
        assert_same(made, outputs, "cvae")


LAYERS = """
import keras

@keras.saving.register_keras_serializable("mine")
class Doubled(keras.layers.Layer):
    def call(self, x):
        return 2.0 * x
"""


@pytest.fixture
def own_layers(tmp_path, monkeypatch):
    """A model with a layer of one's own, whose module lies in the current folder."""
    (tmp_path / "my_layers.py").write_text(LAYERS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    import my_layers

    codes = keras.Input((2,), name="codes")
    doubled = keras.layers.Dense(30)(my_layers.Doubled()(codes))
    decoder = keras.Model(codes, keras.layers.Reshape(SHAPE)(doubled))
    return kvg.VAE(registry.vae(SHAPE).encoder, decoder)


@pytest.mark.core_on("one")
def test_layers_of_ones_own_are_found_where_they_can_be_imported(own_layers, tmp_path):
    inputs, outputs = by_verbs(own_layers)
    own_layers.export(tmp_path / "exported", "onnx", verbose=False)
    made, _ = run_bare("onnx", tmp_path / "exported", inputs, tmp_path)
    assert_same(made, outputs, "vae")


THREE_COMMANDS = """
from keras_vaegan import cli

def code(*extra):
    try:
        cli.main(["generate", "mine.keras", "--output", "a.npz", *extra])
    except SystemExit as stopped:
        return stopped.code

print([code(), code("--import", "no_such_module"), code("--import", "my_layers")])
"""


@pytest.mark.core_on("one")
def test_the_command_imports_what_it_is_told_to(own_layers, tmp_path):
    own_layers.save(tmp_path / "mine.keras")
    done = subprocess.run(
        [sys.executable, "-c", THREE_COMMANDS], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.stdout.splitlines()[-1] == "[2, 2, 0]", done.stderr
    without, unknown = done.stderr.strip().splitlines()
    assert "no part of Keras, Doubled: import its module first" in without
    assert "--import no_such_module cannot be imported" in unknown
    assert (tmp_path / "a.npz").is_file()


# ---- bad input ----


@pytest.mark.core_on("one")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"format": "tf_savedmodel"}, "format must be one of .*Did you mean 'tf_saved_model'"),
        ({"signature": "complete"}, "signature must be one of generate, encode, .*; received 'complete'"),
        ({"format": "tflite", "precision": "int4"}, "precision must be one of"),
        ({"format": "onnx", "precision": "float16"}, "precision must be float32 for onnx"),
        ({"format": "tflite", "precision": "int8"}, "data must be given for the precision int8"),
        ({"format": "litert", "filepath": "m.onnx"}, "filepath must end in .tflite"),
        ({"format": "onnx", "signature": "decode", "filepath": "m"}, "filepath must end in .onnx"),
        ({"format": "onnx", "serving": "m"}, "serving must be None for the format onnx"),
        ({"serving": "a/b"}, "name must be letters"),
        ({"input_signature": [1]}, "input_signature must be None"),
        ({"format": "web", "runtime": "."}, "runtime must be a folder with ort.wasm.min.js"),
        ({"format": "tflite", "precision": "int8", "data": np.zeros((3, 4, 4, 1))}, "data must"),
        ({"format": "tflite", "data": (np.zeros((3, *SHAPE)), [0, 1])}, "data: labels must"),
        ({"format": "tflite", "data": (np.zeros((3, *SHAPE)), [0, 1, -1])}, "data: labels must"),
        ({"format": "tflite", "data": np.zeros((3, *SHAPE))}, "data must be images and their labels"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_written(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = built("cvae")
    with pytest.raises(InputError, match=message):
        model.export(**{"filepath": "out", "verbose": False, **arguments})
    assert not list(tmp_path.iterdir())


@pytest.mark.core_on("one")
@pytest.mark.parametrize("format", [format for format in FORMATS if format != "web"])
def test_what_is_there_stays_unless_it_is_to_be_replaced(format, tmp_path, monkeypatch):
    model = built("vae")
    target = tmp_path / "out"
    target.mkdir()
    (target / "precious").write_text("of others")
    with pytest.raises(InputError, match="filepath must not exist unless overwrite .* is given"):
        model.export(target, format)
    with pytest.raises(InputError, match="filepath must be new, empty or a folder of versions"):
        model.export(target, serving="mine")

    def fail(model, job, *others):  # after half of it was written
        pathlib.Path(job.path, "half").write_text("half")
        raise RuntimeError("the disk is full")

    monkeypatch.setattr("keras_vaegan.export.perform", fail)
    monkeypatch.setattr("keras_vaegan.export._perform_elsewhere", fail)
    with pytest.raises(RuntimeError, match="full"):
        model.export(target, format, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (target / "precious").read_text() == "of others"

    replace, moved = os.replace, []

    def refuse(source, aim):  # the second move, of what was made
        moved.append(aim)
        if len(moved) == 2:
            raise OSError("no more")
        replace(source, aim)

    monkeypatch.setattr("keras_vaegan.export.perform", lambda *others: None)
    monkeypatch.setattr("keras_vaegan.export._perform_elsewhere", lambda *others: None)
    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(OSError, match="no more"):
        model.export(target, format, overwrite=True)
    assert (target / "precious").read_text() == "of others"


@pytest.mark.core_on("one")
@pytest.mark.parametrize(("format", "package"), [("onnx", "onnx"), ("saved_model", "tensorflow-serving-api")])
def test_a_missing_package_is_named_with_the_extra(format, package, tmp_path, monkeypatch):
    found = importlib.util.find_spec
    hidden = ("onnx", "tf2onnx", "tensorflow_serving")
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *others: None if name in hidden else found(name, *others)
    )
    with pytest.raises(InputError, match=rf"{package}: pip install 'keras-vaegan\[export\]'"):
        built("vae").export(tmp_path / "out", format, serving="m" if format == "saved_model" else None)
    assert not list(tmp_path.iterdir())


@pytest.mark.core_on("one")
def test_the_command_names_options_not_arguments(tmp_path):
    source = ["export", "cvae_gan_mnist", "--output", str(tmp_path / "x.tflite"), "--format", "tflite"]
    (tmp_path / "x.tflite").write_text("there")
    for extra, message in (
        ([], "--output must not exist unless overwrite (--overwrite) is given"),
        (["--signature", "complete"], "--signature must be one of generate"),
    ):
        done = CliRunner().invoke(cli, [*source, *extra])
        assert isinstance(done.exception, InputError) and message in str(done.exception)
