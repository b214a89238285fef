"""Network families: shapes, names, spectral norm, and the convolutions against loops in NumPy."""

import math

import keras
import numpy as np
import pytest
from keras import ops

import keras_vaegan as kvg
from keras_vaegan.networks import FAMILIES, SpectralConv2D, SpectralDense, dcgan, mlp

SMALL = {"mlp": {"units": (4,)}, "dcgan": {"filters": (2, 3)}}
SHAPES = [(28, 28, 1), (32, 32, 3), (20, 28, 2), (9, 7, 4)]
Z = 3


def build(family, image_shape, **arguments):
    """Encoder, decoder and discriminator."""
    networks, arguments = FAMILIES[family], SMALL[family] | arguments
    return (
        networks.encoder(image_shape, Z, **arguments),
        networks.decoder(image_shape, Z, **arguments),
        networks.discriminator(image_shape, **arguments),
    )


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def array(tensor):
    return ops.convert_to_numpy(tensor)


# ---- shapes and names ----


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("image_shape", [*SHAPES, (64, 64, 3), (1, 1, 1)], ids=str)
def test_networks_fit_the_image_shape(family, image_shape):
    encoder, decoder, discriminator = build(family, image_shape)
    assert encoder.input_shape == (None, *image_shape)
    assert {name: output.shape for name, output in encoder.output.items()} == {
        "mean": (None, Z),
        "log_variance": (None, Z),
    }
    assert decoder.input_shape == (None, Z)
    assert decoder.output_shape == (None, *image_shape)
    assert discriminator.output["logits"].shape == (None, 1)
    assert discriminator.output["features"].shape[-1] in (4, 3)


@pytest.mark.parametrize(
    "family, image_shape",
    [("mlp", SHAPES[2]), ("mlp", SHAPES[3]), *(("dcgan", image_shape) for image_shape in SHAPES)],
    ids=str,
)
def test_a_model_of_any_image_shape_trains_a_step(family, image_shape):
    model = kvg.VAEGAN(*build(family, image_shape))
    model.compile()
    networks = model.encoder, model.decoder, model.discriminator
    before = [network.get_weights() for network in networks]
    x = np.random.default_rng(0).random((2, *image_shape), "float32")
    logs = model.train_on_batch(x, return_dict=True)
    assert all(np.isfinite(value) for value in logs.values())
    for network, old in zip(networks, before, strict=True):
        new = network.get_weights()
        assert all(np.all(np.isfinite(value)) for value in new)
        assert any(np.any(a != b) for a, b in zip(new, old, strict=True)), network.name


@pytest.mark.parametrize("family", FAMILIES)
def test_every_layer_is_named_after_its_network_and_no_path_is_shared(family):
    networks = build(family, (9, 7, 2))
    paths = [variable.path for network in networks for variable in network.variables]
    assert len(paths) == len(set(paths))
    for network in networks:
        for layer in network.layers:
            assert layer.name.startswith(f"{network.name}_")


@pytest.mark.parametrize("normalization", ["batch", "layer", "instance"])
def test_normalizations_are_layers_of_the_convolutional_networks(normalization):
    kinds = {
        "batch": keras.layers.BatchNormalization,
        "layer": keras.layers.LayerNormalization,
        "instance": keras.layers.GroupNormalization,
    }
    for network in build("dcgan", (8, 8, 1), normalization=normalization):
        assert any(isinstance(layer, kinds[normalization]) for layer in network.layers)


def test_features_are_taken_where_the_argument_says_before_the_activation():
    x = np.random.default_rng(0).random((2, 2, 3, 1), "float32")
    discriminator = mlp.discriminator((2, 3, 1), units=(5, 4), feature_layer=0)
    first = discriminator.get_layer("discriminator_dense_0")
    expected = x.reshape(2, -1) @ array(first.kernel) + array(first.bias)
    np.testing.assert_allclose(array(discriminator(x)["features"]), expected, rtol=1e-4, atol=1e-5)


def test_features_of_a_convolutional_discriminator_may_be_those_of_a_dense_layer():
    x = np.random.default_rng(0).random((2, 6, 5, 1), "float32")
    settings = {"filters": (3, 4), "units": (5, 7)}
    shapes = {
        index: dcgan.discriminator((6, 5, 1), feature_layer=index, **settings) for index in (0, 2, -1, None)
    }
    found = {index: tuple(network(x)["features"].shape[1:]) for index, network in shapes.items()}
    assert found == {0: (3, 3, 3), 2: (5,), -1: (7,), None: (2, 2, 4)}
    network = shapes[-1]
    first, second = (network.get_layer(f"discriminator_dense_{i}") for i in (0, 1))
    flat = keras.Model(network.inputs, network.get_layer("discriminator_flatten").output)(x)
    h = array(flat) @ array(first.kernel) + array(first.bias)
    expected = np.where(h > 0, h, 0.2 * h) @ array(second.kernel) + array(second.bias)
    np.testing.assert_allclose(array(network(x)["features"]), expected, rtol=1e-4, atol=1e-5)


# ---- conditional networks ----

CONDITIONS = [{"num_classes": 3}, {"given": True}, {"num_classes": 3, "given": True}]


@pytest.mark.parametrize("condition", CONDITIONS, ids=lambda condition: " ".join(condition))
@pytest.mark.parametrize("shape", [(5, 7, 1), (8, 6, 4)], ids=str)
@pytest.mark.parametrize("family", FAMILIES)
def test_conditional_networks_take_their_parts_and_every_part_counts(family, shape, condition):
    module, draw = FAMILIES[family], np.random.default_rng(0).random
    arguments = SMALL[family] | condition | {"activation": "tanh"}  # which no unit is dead in
    parts = {"labels": np.eye(3, dtype="float32")[[0, 2]]} if "num_classes" in condition else {}
    if "given" in condition:
        parts["given"] = draw((2, *shape[:2], shape[2] + 1), "float32")
    own = {
        "encoder": {"images": draw((2, *shape), "float32")},
        "decoder": {"codes": draw((2, 2), "float32")},
        "prior": {},
    }
    for name, inputs in own.items():
        network = getattr(module, name)(shape, 2, **arguments)
        inputs = inputs | parts
        assert set(network.input) == set(inputs)
        outputs = network(inputs)
        outputs = {"logits": outputs} if name == "decoder" else outputs
        for key, value in outputs.items():
            assert tuple(value.shape) == ((2, *shape) if key == "logits" else (2, 2))
        for part in inputs:
            changed = network(inputs | {part: inputs[part][::-1].copy()})
            changed = {"logits": changed} if name == "decoder" else changed
            assert any(np.abs(array(changed[key]) - array(outputs[key])).max() > 1e-6 for key in outputs), (
                part
            )


@pytest.mark.parametrize("family", FAMILIES)
def test_a_prior_needs_a_condition(family):
    with pytest.raises(kvg.InputError, match="num_classes or given must be set"):
        FAMILIES[family].prior((8, 8, 1), 2)


def test_a_full_size_map_comes_before_the_last_convolution():
    network = dcgan.decoder((6, 5, 1), 2, filters=(4, 3), full_size_filters=2)
    assert tuple(network.get_layer("decoder_deconv_1_activation").output.shape[1:]) == (6, 5, 2)
    assert tuple(network.get_layer("decoder_logits").kernel.shape) == (4, 4, 2, 1)
    with pytest.raises(kvg.InputError, match="full_size_filters"):
        dcgan.decoder((6, 5, 1), 2, full_size_filters=0)


# ---- bad arguments ----

BAD = [
    ("encoder", "image_shape", (28, 28)),
    ("encoder", "image_shape", (0, 3, 1)),
    ("decoder", "image_shape", (8, 8, 5)),
    ("discriminator", "image_shape", (8, 8, 5)),
    ("encoder", "latent_dim", 0),
    ("encoder", "latent_dim", 2.5),
    ("decoder", "latent_dim", 0),
    ("discriminator", "feature_layer", 7),
    ("discriminator", "feature_layer", -3),
]


def assert_refused(family, network, argument, value):
    arguments = {"image_shape": (8, 8, 1)} | ({} if network == "discriminator" else {"latent_dim": 2})
    with pytest.raises(kvg.InputError, match=argument) as error:
        getattr(FAMILIES[family], network)(**arguments | SMALL[family] | {argument: value})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("network, argument, value", BAD, ids=str)
def test_bad_arguments_are_named(family, network, argument, value):
    assert_refused(family, network, argument, value)


@pytest.mark.parametrize("network", ["encoder", "decoder", "discriminator"])
@pytest.mark.parametrize(
    "family, argument, value",
    [
        ("mlp", "units", ()),
        ("mlp", "units", (4, 0)),
        ("dcgan", "filters", ()),
        ("dcgan", "filters", (4, -1)),
        ("dcgan", "normalization", "bach"),
        ("dcgan", "units", (0,)),
    ],
)
def test_bad_sizes_and_names_are_named(family, network, argument, value):
    assert_refused(family, network, argument, value)


def test_the_nearest_name_is_suggested():
    with pytest.raises(kvg.InputError, match="Did you mean 'batch'"):
        dcgan.encoder((8, 8, 1), 2, normalization="bach")


# ---- spectral norm ----


def unit(kernel):
    """The kernel over its largest singular value, as (inputs, outputs)."""
    kernel = np.float64(kernel)
    return kernel / np.linalg.svd(kernel.reshape(-1, kernel.shape[-1]))[1][0]


KERNELS = {
    "wide": draw(4, 7),
    "tall": draw(9, 2),
    "column": draw(5, 1),
    "large": 1e3 * draw(4, 3),
    "small": 1e-3 * draw(4, 3),
    "antisymmetric": np.outer([1.0, 2.0, -0.5], [1.0, -1.0]).astype("float32"),
}


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS.keys())
def test_a_spectral_dense_layer_multiplies_by_a_matrix_of_norm_one(kernel):
    layer, x = SpectralDense(kernel.shape[1]), draw(3, kernel.shape[0], seed=1)
    layer.build(x.shape)
    layer.kernel.assign(kernel)
    layer.bias.assign(draw(kernel.shape[1], seed=2))
    expected = x @ unit(kernel) + array(layer.bias)
    np.testing.assert_allclose(array(layer(x)), expected, rtol=1e-3, atol=1e-3)


def test_a_spectral_convolution_convolves_with_a_kernel_of_norm_one():
    layer, x = SpectralConv2D(3, 4, strides=2, padding="same"), draw(2, 9, 7, 2, seed=1)
    layer.build(x.shape)
    layer.kernel.assign(draw(4, 4, 2, 3))
    expected = convolve(x, unit(array(layer.kernel)), np.zeros(3))
    np.testing.assert_allclose(array(layer(x)), expected, rtol=1e-3, atol=1e-3)


def test_a_spectral_kernel_of_zeros_stays_finite():
    layer = SpectralDense(3, kernel_initializer="zeros")
    np.testing.assert_array_equal(array(layer(draw(2, 4))), np.zeros((2, 3)))


# ---- the convolutional networks by loops ----


def padding_before(size, kernel_size):
    """Padding in front of the first pixel: strided by 2, `same`."""
    total = max((math.ceil(size / 2) - 1) * 2 + kernel_size - size, 0)
    return total // 2


def convolve(x, kernel, bias):
    """Convolution strided by 2, `same`: images `(B, H, W, C)`, kernel `(k, k, C, F)`."""
    batch, height, width, _ = x.shape
    k = len(kernel)
    top, left = padding_before(height, k), padding_before(width, k)
    out = np.zeros((batch, math.ceil(height / 2), math.ceil(width / 2), kernel.shape[3]))
    for i, j in np.ndindex(out.shape[1:3]):
        for p, q in np.ndindex(k, k):
            row, column = 2 * i + p - top, 2 * j + q - left
            if 0 <= row < height and 0 <= column < width:
                out[:, i, j] += x[:, row, column] @ kernel[p, q]
    return out + bias


def deconvolve(x, kernel, bias):
    """Transposed convolution that doubles height and width, `same`: kernel `(k, k, F, C)`."""
    batch, height, width, _ = x.shape
    k = len(kernel)
    top, left = padding_before(2 * height, k), padding_before(2 * width, k)
    out = np.zeros((batch, 2 * height, 2 * width, kernel.shape[2]))
    for i, j in np.ndindex(height, width):
        for p, q in np.ndindex(k, k):
            row, column = 2 * i + p - top, 2 * j + q - left
            if 0 <= row < 2 * height and 0 <= column < 2 * width:
                out[:, row, column] += x[:, i, j] @ kernel[p, q].T
    return out + bias


class Weights:
    """Reads a network's kernels and biases by the layer's name."""

    def __init__(self, network):
        self.network = network

    def __call__(self, name):
        layer = self.network.get_layer(f"{self.network.name}_{name}")
        return np.float64(array(layer.kernel)), np.float64(array(layer.bias))


def leaky(x):
    return np.where(x > 0, x, 0.2 * x)


def dense(x, kernel, bias):
    return x @ kernel + bias


def randomize(network):
    for i, variable in enumerate(network.trainable_variables):
        variable.assign(0.4 * draw(*variable.shape, seed=i))
    return Weights(network)


@pytest.mark.parametrize("kernel_size", [3, 4])
def test_the_convolutional_networks_are_the_loops(kernel_size):
    encoder, decoder, discriminator = build("dcgan", (9, 7, 2), kernel_size=kernel_size)
    x, z = np.random.default_rng(0).random((2, 9, 7, 2), "float32"), draw(2, Z, seed=1)
    close = {"rtol": 1e-4, "atol": 1e-4}

    weights = randomize(encoder)
    h = leaky(convolve(leaky(convolve(x, *weights("conv_0"))), *weights("conv_1"))).reshape(2, -1)
    for part in ("mean", "log_variance"):
        np.testing.assert_allclose(array(encoder(x)[part]), dense(h, *weights(part)), **close)

    weights = randomize(decoder)
    h = np.maximum(dense(z, *weights("project")).reshape(2, 3, 2, 2), 0)
    h = np.maximum(deconvolve(h, *weights("deconv_0"))[:, :5, :4], 0)
    h = deconvolve(h, *weights("logits"))[:, :9, :7]
    np.testing.assert_allclose(array(decoder(z)), h, **close)

    weights = randomize(discriminator)
    features = convolve(leaky(convolve(x, *weights("conv_0"))), *weights("conv_1"))
    logits = dense(leaky(features).reshape(2, -1), *weights("logits"))
    verdict = discriminator(x)
    np.testing.assert_allclose(array(verdict["features"]), features, **close)
    np.testing.assert_allclose(array(verdict["logits"]), logits, **close)
