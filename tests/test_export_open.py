"""Exports of models of images of any size: open height and width, run without Keras, against the model."""

import base64
import json

import keras
import numpy as np
import pytest
import registry
from click.testing import CliRunner
from test_export import assert_same, flat, run_bare

import keras_vaegan as kvg
from keras_vaegan import functions
from keras_vaegan.cli import cli
from keras_vaegan.errors import InputError
from keras_vaegan.export import serving, web
from keras_vaegan.networks import resnet
from keras_vaegan.noise import prior_noise

BACKEND = keras.backend.backend()
SHAPE, FACTOR, Z, CLASSES = (5, 7, 3), 2, 2, 3  # no multiples of the factor
SAME_CODES, LARGE = (6, 8), (17, 22)  # images whose codes are as large as those of the training; others
COUNT = 3


def built(num_classes=CLASSES, attention=0, **arguments):
    """A model with group normalization whose weights are no accident."""
    style = {"factor": FACTOR, "filters": 8, "blocks": 1, "attention": attention, "num_classes": num_classes}
    networks = [build(SHAPE, Z, **style) for build in (resnet.encoder, resnet.decoder)]
    model = registry.set_weights((kvg.CVAE if num_classes else kvg.VAE)(*networks, **arguments))
    model.set_weights([0.4 * weight for weight in model.get_weights()])  # logits around 0
    return model


@pytest.fixture(scope="module")
def model():
    return built(attention=2)


def codes_of(size):
    """The shape of the codes of images of a size."""
    return (*(-(-side // FACTOR) for side in size), Z)


def by_verbs(model, size):
    """Inputs of every function, for images of a size, and what the verbs make of them."""
    images, labels = registry.images(COUNT, (*size, 3), seed=5), registry.labels(COUNT).astype("int32")
    noise = prior_noise(COUNT, codes_of(size), 3)
    codes = np.random.default_rng(4).standard_normal(noise.shape, dtype="float32")
    new = np.roll(labels, 1)
    q = model.posterior_parameters(images, labels)
    if size == SHAPE[:2]:
        sampled = model.generate(COUNT, labels, seed=3)
        every = model.transfer_style(images, range(CLASSES), labels)
        styled = every[np.arange(COUNT), new]
    else:  # the verbs know one size alone
        sampled = model.decode(noise, labels)
        shown = {"codes": q["mean"], "labels": np.eye(CLASSES, dtype="float32")[new]}
        styled = model.batched("decoded_whole", shown, COUNT)[:, : size[0], : size[1]]
    inputs = {
        "generate": {"noise": noise, "labels": labels},
        "encode": {"images": images, "labels": labels},
        "decode": {"codes": codes, "labels": labels},
        "reconstruct": {"images": images, "labels": labels},
        "transfer_style": {"images": images, "labels": labels, "new_labels": new},
    }
    outputs = {
        "generate": {"pixels": sampled},
        "encode": q,
        "decode": {"pixels": model.decode(codes, labels)},
        "reconstruct": {"pixels": model.reconstruct(images, labels)},
        "transfer_style": {"pixels": styled},
    }
    return inputs, outputs


def at_sizes(model, sizes):
    """Inputs and outputs of all functions at several sizes: `{function@HxW/tensor: array}`."""
    both = {}, {}
    for height, width in sizes:
        for part, of in zip(both, by_verbs(model, (height, width)), strict=True):
            part.update({f"{name}@{height}x{width}": tensors for name, tensors in of.items()})
    return tuple(map(flat, both))


# The marks are those of `test_export`: each backend exports, and every format is run somewhere. Converters
# take long over attention.
@pytest.mark.parametrize(
    ("format", "attention"),
    [
        ("saved_model", 2),
        pytest.param("tflite", 0, marks=pytest.mark.core_on("one")),
        pytest.param("onnx", 0, marks=pytest.mark.core_on("tensorflow")),
        pytest.param("tflite", 2, marks=pytest.mark.slow),
        pytest.param("onnx", 2, marks=pytest.mark.slow),
    ],
)
def test_what_is_exported_takes_any_size(format, attention, tmp_path):
    model = built(attention=attention)
    inputs, outputs = at_sizes(model, [SHAPE[:2], SAME_CODES, LARGE])
    model.export(tmp_path / "exported", format, verbose=False)
    made, _ = run_bare(format, tmp_path / "exported", inputs, tmp_path)
    assert_same(made, outputs, "cvae")
    place = "assets.extra/functions.json" if format == "saved_model" else "functions.json"
    described = json.loads((tmp_path / "exported" / place).read_text())
    assert described == functions.described(model.functions())
    if format == "onnx":
        import onnx

        for name, ports in described.items():
            graph = onnx.load(tmp_path / "exported" / f"{name}.onnx").graph
            found = {
                tensor.name: [d.dim_param or d.dim_value for d in tensor.type.tensor_type.shape.dim]
                for tensor in (*graph.input, *graph.output)
            }
            assert found == {key: of["shape"] for key, of in (ports["inputs"] | ports["outputs"]).items()}


@pytest.mark.core_on("one")
def test_a_description_names_the_open_sides(model):
    described = functions.described(model.functions())
    image, code = ["batch", "height", "width", 3], ["batch", "code_height", "code_width", Z]
    for name, ports in described.items():
        for side in ("inputs", "outputs"):
            for key, port in ports[side].items():
                labels = key in ("labels", "new_labels")
                expected = image if key in ("images", "pixels") else ["batch"] if labels else code
                assert port["shape"] == expected, (name, key)
    assert "one position for 2x2 pixels" in described["encode"]["outputs"]["mean"]["values"]
    fixed = functions.described(model.functions((9, 12)))
    assert fixed["encode"]["inputs"]["images"]["shape"] == ["batch", 9, 12, 3]
    assert fixed["decode"]["inputs"]["codes"]["shape"] == ["batch", 5, 6, Z]


@pytest.mark.parametrize("size", [SHAPE[:2], SAME_CODES, LARGE], ids=str)
def test_a_size_fixes_every_function(model, size):
    """Without a converter: the functions themselves, on any backend."""
    inputs, outputs = by_verbs(model, size)
    for name, function in model.functions(size).items():
        for key, port in function.inputs.items():
            assert inputs[name][key].shape == (COUNT, *port.shape)
        tensors = {key: keras.ops.convert_to_tensor(value) for key, value in inputs[name].items()}
        made = function.call(tensors)
        for key, port in function.outputs.items():
            assert made[key].shape == (COUNT, *port.shape)
            # Verbs cut codes as large as those of the training to its images, and no others.
            sides = [min(pair) for pair in zip(made[key].shape, outputs[name][key].shape, strict=True)][1:3]
            found, expected = (
                np.asarray(value)[:, : sides[0], : sides[1]]
                for value in (keras.ops.convert_to_numpy(made[key]), outputs[name][key])
            )
            np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.core_on("one")
def test_the_command_writes_one_size_when_asked(tmp_path):
    model = built()
    model.save(tmp_path / "model.keras")
    made = tmp_path / "encode.tflite"
    command = ["export", str(tmp_path / "model.keras"), "--format", "tflite", "--signature", "reconstruct"]
    done = CliRunner().invoke(cli, [*command, "--output", str(made), "--image-size", "6x8"])
    assert done.exit_code == 0, done.output
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(made))
    runner = interpreter.get_signature_runner("serving_default")
    assert runner.get_input_details()["images"]["shape_signature"].tolist() == [-1, 6, 8, 3]
    assert runner.get_output_details()["pixels"]["shape_signature"].tolist() == [-1, 6, 8, 3]
    inputs, outputs = by_verbs(model, SAME_CODES)
    pixels = runner(**inputs["reconstruct"])["pixels"]
    np.testing.assert_allclose(pixels, outputs["reconstruct"]["pixels"], atol=1e-5)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="the converter is TensorFlow's whatever the backend")
@pytest.mark.parametrize(("precision", "most"), [("float16", 0.002), ("int8", 0.12)])
def test_smaller_numbers_take_any_size(precision, most, tmp_path):
    """The share of the codes' standard deviation by which they are wrong, in the mean."""
    model = built(num_classes=None)
    model.export(
        tmp_path / "encode.tflite",
        "tflite",
        signature="encode",
        verbose=False,
        precision=precision,
        data=registry.images(40, (*LARGE, 3), seed=1),
    )
    images = {f"encode@{size}/images": registry.images(COUNT, (*size, 3)) for size in (LARGE, (16, 24))}
    made, _ = run_bare("tflite", tmp_path, images, tmp_path)
    for key, x in images.items():
        for part, expected in model.posterior_parameters(x).items():
            error = np.abs(made[key.replace("images", part)] - expected).mean()
            assert 0.0 < error < most * expected.std()


@pytest.mark.core_on("one")
def test_a_server_takes_any_size(tmp_path):
    """An autoencoder, whose first function takes images."""
    model = built(num_classes=None, beta=1e-6)
    model.export(tmp_path / "out", verbose=False, serving="mine", image_size=None)
    x = registry.images(COUNT, (*LARGE, 3))
    inputs = {"reconstruct@large/images": x, "reconstruct@own/images": x[:, :5, :7]}
    made, printed = run_bare("serving", tmp_path / "out" / "1", inputs, tmp_path)
    for key, images in inputs.items():
        pixels = made[key.replace("images", "pixels")]
        np.testing.assert_allclose(pixels, model.reconstruct(images), atol=1e-5)
    found = json.loads(printed)
    assert found["warmed"] == list(model.functions()) == ["encode", "decode", "reconstruct"]
    assert found["curl"] == {part: [1, *codes_of(SHAPE[:2])] for part in ("log_variance", "mean")}
    text = (tmp_path / "out" / "README.md").read_text()
    assert "| `encode` | in | `images` | float32 | [height, width, 3] | pixels in [0, 1] |" in text
    assert f"| `decode` | in | `codes` | float32 | [code_height, code_width, {Z}] |" in text
    assert "A name in a shape stands for a side of any size." in text
    shapes = serving.signatures_in(tmp_path / "out" / "1")["encode"]
    assert shapes["inputs"] == {"images": ("float32", [-1, -1, -1, 3])}
    assert shapes["outputs"]["mean"] == ("float32", [-1, -1, -1, Z])


@pytest.mark.core_on("one")
def test_a_page_has_one_size(tmp_path):
    """What the page is given, run without a browser; `test_export_web` has one."""
    import onnxruntime

    for name in (web.SCRIPT, web.GLUE, web.BINARY):
        (tmp_path / name).write_text("of the browser")
    model = built()
    model.export(tmp_path / "page", "web", verbose=False, runtime=tmp_path)
    text = (tmp_path / "page" / "model.js").read_text()
    page = json.loads(text.removeprefix("const MODEL = ").removesuffix(";\n"))
    assert page["image_shape"] == list(SHAPE) and page["code_shape"] == list(codes_of(SHAPE[:2]))
    session = onnxruntime.InferenceSession(base64.b64decode(page["networks"]["generate"]))
    assert [port.shape for port in session.get_outputs()] == [["batch", *SHAPE]]
    inputs, outputs = by_verbs(model, SHAPE[:2])
    (pixels,) = session.run(["pixels"], inputs["generate"])
    np.testing.assert_allclose(pixels, outputs["generate"]["pixels"], atol=1e-5)
    with pytest.raises(InputError, match="beta must be at least"):
        built(beta=1e-6).export(tmp_path / "other", "web", runtime=tmp_path)


@pytest.mark.core_on("one")
def test_a_learned_prior_generates_the_size_of_the_training():
    labels = keras.Input((CLASSES,), name="labels")
    shape = codes_of(SHAPE[:2])
    flat_codes = {part: keras.layers.Dense(int(np.prod(shape)))(labels) for part in ("mean", "log_variance")}
    outputs = {part: keras.layers.Reshape(shape)(value) for part, value in flat_codes.items()}
    model = built(prior=keras.Model({"labels": labels}, outputs))
    for size in (None, LARGE):
        found = model.functions(size)
        generate = found["generate"]
        assert generate.inputs["noise"].shape == shape and generate.outputs["pixels"].shape == SHAPE
        assert found["decode"].inputs["codes"].shape != shape
        noise, y = prior_noise(COUNT, shape, 3), registry.labels(COUNT).astype("int32")
        made = generate.call({"noise": keras.ops.convert_to_tensor(noise), "labels": y})["pixels"]
        expected = model.generate(COUNT, y, seed=3)
        np.testing.assert_allclose(keras.ops.convert_to_numpy(made), expected, atol=1e-5)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="the converter is TensorFlow's whatever the backend")
def test_the_command_scales_the_images_for_int8_to_the_size(tmp_path):
    style = {"factor": 2, "filters": 4, "blocks": 1, "num_classes": 10}
    networks = [build((8, 8, 1), Z, **style) for build in (resnet.encoder, resnet.decoder)]
    kvg.CVAE(*networks).save(tmp_path / "model.keras")
    command = ["export", str(tmp_path / "model.keras"), "--format", "tflite", "--signature", "encode"]
    command += ["--precision", "int8", "--dataset", "digits", "--num-images", "20", "--image-size", "12x10"]
    done = CliRunner().invoke(cli, [*command, "--output", str(tmp_path / "encode.tflite")])
    assert done.exit_code == 0, done.output
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(tmp_path / "encode.tflite"))
    runner = interpreter.get_signature_runner("serving_default")
    assert runner.get_input_details()["images"]["shape_signature"].tolist() == [-1, 12, 10, 1]
    assert any(detail["dtype"] is np.int8 for detail in interpreter.get_tensor_details())


# ---- bad input ----


@pytest.mark.core_on("one")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_size": 0}, "image_size must be a positive int or a pair"),
        ({"image_size": (8, 8, 3)}, "image_size must be a positive int or a pair"),
        (
            {"image_size": 8, "precision": "int8", "data": np.zeros((2, 6, 8, 3), "float32")},
            r"data must hold images of the shape \(H, W, C\) = \(8, 8, 3\); received \(6, 8, 3\)",
        ),
        ({"precision": "int8", "data": np.zeros((2, 6, 8, 1), "float32")}, r"\(any, any, 3\)"),
    ],
)
def test_bad_sizes_are_refused(model, arguments, message, tmp_path):
    with pytest.raises(InputError, match=message):
        model.export(tmp_path / "out", "tflite", verbose=False, **arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.core_on("one")
def test_a_model_of_one_size_keeps_it(tmp_path):
    model = registry.vae()
    assert functions.described(model.functions((2, 3))) == functions.described(model.functions())
    with pytest.raises(InputError, match=r"image_size must be None or \(2, 3\), the one size"):
        model.export(tmp_path / "out", "onnx", image_size=8)
    model.save(tmp_path / "model.keras")
    command = ["export", str(tmp_path / "model.keras"), "--output", str(tmp_path / "out")]
    done = CliRunner().invoke(cli, [*command, "--image-size", "8"])
    assert isinstance(done.exception, InputError)
    assert str(done.exception).startswith("--image-size must be None or (2, 3)")


@pytest.mark.core_on("one")
def test_a_model_that_completes_images_has_one_size():
    images, codes = keras.Input((None, None, 1), name="images"), keras.Input((None, None, Z), name="codes")
    given = keras.Input((6, 8, 2), name="given")
    x = keras.layers.Conv2D(2 * Z, 2, strides=2)(kvg.networks.PadToMultiple(2, (6, 8))(images))
    y = keras.layers.Conv2DTranspose(1, 2, strides=2)(codes)
    seen = keras.layers.GlobalAveragePooling2D(keepdims=True)(given)
    decoder = keras.Model({"codes": codes, "given": given}, y + seen[..., :1])
    encoder = keras.Model(images, {"mean": x[..., :Z], "log_variance": x[..., Z:]})
    with pytest.raises(InputError, match="encoder must take images of one size"):
        kvg.CVAE(encoder, decoder)
