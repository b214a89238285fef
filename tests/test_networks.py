"""Network families: shapes, names, spectral norm, and the convolutions against loops in NumPy."""

import json
import math
import zipfile

import keras
import numpy as np
import pytest
from keras import ops

import keras_vaegan as kvg
from keras_vaegan import backend
from keras_vaegan.backend import input_gradient
from keras_vaegan.networks import FAMILIES as ALL_FAMILIES
from keras_vaegan.networks import SpectralConv2D, SpectralDense, dcgan, mlp

FAMILIES = {name: family for name, family in ALL_FAMILIES.items() if name not in ("draw", "patch", "resnet")}
# DRAW's are of steps, of patches there is a discriminator alone, and the codes of `resnet` are maps.
SMALL = {
    "mlp": {"units": (4,)},
    "dcgan": {"filters": (2, 3), "units": (), "normalization": "none"},
    "lenet": {"filters": (3,), "units": (4,)},
}
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


@pytest.mark.core_on("one")
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
    [
        ("mlp", SHAPES[3]),
        ("dcgan", SHAPES[1]),
        ("dcgan", SHAPES[3]),
        pytest.param("mlp", SHAPES[2], marks=pytest.mark.core_on("one")),
        pytest.param("dcgan", SHAPES[0], marks=pytest.mark.core_on("one")),
        pytest.param("dcgan", SHAPES[2], marks=pytest.mark.core_on("one")),
    ],
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


@pytest.mark.core_on("one")
@pytest.mark.parametrize("family", FAMILIES)
def test_every_layer_is_named_after_its_network_and_no_path_is_shared(family):
    networks = build(family, (9, 7, 2))
    paths = [variable.path for network in networks for variable in network.variables]
    assert len(paths) == len(set(paths))
    for network in networks:
        for layer in network.layers:
            assert layer.name.startswith(f"{network.name}_")


@pytest.mark.core_on("one")
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


# ---- conditional networks ----

OWN = ("encoder", "decoder", "prior")
CONDITIONS = [{"num_classes": 3}, {"given": True}, {"num_classes": 3, "given": True}]


@pytest.mark.core_on("one")
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


@pytest.mark.core_on("one")
@pytest.mark.parametrize("family", FAMILIES)
def test_a_prior_needs_a_condition(family):
    with pytest.raises(kvg.InputError, match="num_classes or given must be set"):
        FAMILIES[family].prior((8, 8, 1), 2)


@pytest.mark.core_on("one")
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
    ("decoder", "image_shape", (8, 8, 17)),
    ("discriminator", "image_shape", (8, 8, 17)),
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


@pytest.mark.core_on("one")
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("network, argument, value", BAD, ids=str)
def test_bad_arguments_are_named(family, network, argument, value):
    assert_refused(family, network, argument, value)


@pytest.mark.core_on("one")
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


@pytest.mark.core_on("one")
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


def convolve(x, kernel, bias, strides=2):
    """Convolution, `same`: images `(B, H, W, C)`, kernel `(k, k, C, F)`."""
    batch, height, width, _ = x.shape
    k = len(kernel)
    top, left = padding_before(height, k), padding_before(width, k)
    if strides == 1:
        top = left = (k - 1) // 2
    out = np.zeros((batch, math.ceil(height / strides), math.ceil(width / strides), kernel.shape[3]))
    for i, j in np.ndindex(out.shape[1:3]):
        for p, q in np.ndindex(k, k):
            row, column = strides * i + p - top, strides * j + q - left
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


def joined(*arrays):
    """Side by side along the last axis; all are flattened where one is flat."""
    flat = min(array.ndim for array in arrays) == 2
    return np.concatenate([a.reshape(len(a), -1) if flat else a for a in arrays], axis=-1)


@pytest.mark.parametrize("condition", CONDITIONS, ids=lambda condition: " ".join(condition))
def test_the_conditional_convolutional_networks_are_the_loops(condition):
    """The given part stands beside the images, and on the decoder's way up; labels beside flat maps."""
    shape, arguments = (9, 7, 2), SMALL["dcgan"] | {"units": (5,)} | condition
    x, z = np.random.default_rng(0).random((2, *shape), "float32"), draw(2, Z, seed=1)
    parts = {"labels": np.eye(3, dtype="float32")[[0, 2]], "given": draw(2, 9, 7, 3, seed=2)}
    parts = {
        name: part for name, part in parts.items() if name == "labels" and "num_classes" in condition
    } | {name: part for name, part in parts.items() if name == "given" and "given" in condition}
    labels, given = ([parts[name]] if name in parts else [] for name in ("labels", "given"))
    close = {"rtol": 1e-4, "atol": 1e-4}

    def down(weights, image, prefix="conv", activate=leaky):
        maps = []
        for i in range(2):
            image = activate(convolve(image, *weights(f"{prefix}_{i}")))
            maps.append(image)
        return maps

    def assert_head(network, inputs, maps):
        h = leaky(dense(joined(*maps, *labels), *weights("dense_0")))
        for part in ("mean", "log_variance"):
            np.testing.assert_allclose(array(network(inputs)[part]), dense(h, *weights(part)), **close)

    encoder = dcgan.encoder(shape, Z, **arguments)
    weights = randomize(encoder)
    flat = [map_.reshape(2, -1) for map_ in down(weights, joined(x, *given))[-1:]]
    assert_head(encoder, {"images": x, **parts}, flat)

    prior = dcgan.prior(shape, Z, **arguments)
    weights = randomize(prior)
    flat = [down(weights, part)[-1].reshape(2, -1) for part in given]
    assert_head(prior, parts, flat)

    decoder = dcgan.decoder(shape, Z, **arguments)
    weights, relu = randomize(decoder), lambda h: np.maximum(h, 0)
    seen = [[], []]  # beside the smallest map and the one above it
    if given:
        larger, smallest = down(weights, given[0], "given_conv", relu)
        seen = [[smallest], [larger]]
    flat = joined(z, *(map_.reshape(2, -1) for map_ in seen[0]), *labels)
    h = relu(dense(flat, *weights("dense_0")))
    h = relu(dense(h, *weights("project")).reshape(2, 3, 2, 2))
    h = relu(deconvolve(joined(h, *seen[0]), *weights("deconv_0"))[:, :5, :4])
    if given:  # one more map, in full size, from which a convolution makes the image
        h = relu(deconvolve(joined(h, *seen[1]), *weights("deconv_1"))[:, :9, :7])
        h = convolve(joined(h, *given), *weights("logits"), strides=1)
    else:
        h = deconvolve(h, *weights("logits"))[:, :9, :7]
    np.testing.assert_allclose(array(decoder({"codes": z, **parts})), h, **close)


def largest(x):
    """The largest of every 2x2, what lies beyond the edge left out: `(B, H, W, C)`."""
    _, height, width, _ = x.shape
    rows = [
        x[:, i : i + 2, j : j + 2].max(axis=(1, 2)) for i in range(0, height, 2) for j in range(0, width, 2)
    ]
    return np.stack(rows, axis=1).reshape(len(x), -(-height // 2), -(-width // 2), -1)


# What stands behind a convolution and behind a dense layer; the layer whose features are the default.
DISCRIMINATORS = {
    "dcgan": (2, leaky, leaky, 1),
    "lenet": (1, lambda h: largest(np.maximum(h, 0)), lambda h: np.maximum(h, 0), -1),
}


@pytest.mark.parametrize("family", DISCRIMINATORS)
@pytest.mark.parametrize("spectral", [False, True], ids=["plain", "spectral"])
def test_every_layer_of_a_convolutional_discriminator_may_give_the_features(family, spectral):
    strides, behind_maps, behind_units, default = DISCRIMINATORS[family]
    arguments = {"filters": (2, 3), "units": (5, 4), "num_outputs": 4, "spectral_normalization": spectral}
    x, outputs = np.random.default_rng(0).random((2, 9, 7, 2), "float32"), None
    for index in (0, 1, 2, 3, -1, -4, None):
        given = {} if index is None else {"feature_layer": index}
        network = FAMILIES[family].discriminator((9, 7, 2), **given, **arguments)
        weights = randomize(network)

        def weight(name):
            kernel, bias = weights(name)  # noqa: B023
            return (unit(kernel) if spectral else kernel), bias

        h, outputs = x, []
        for i in range(2):
            outputs.append(convolve(h, *weight(f"conv_{i}"), strides=strides))
            h = behind_maps(outputs[-1])
        h = h.reshape(2, -1)
        for i in range(2):
            outputs.append(dense(h, *weight(f"dense_{i}")))
            h = behind_units(outputs[-1])
        verdict = network(x)
        expected = outputs[default if index is None else index]
        np.testing.assert_allclose(array(verdict["features"]), expected, rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(
            array(verdict["logits"]), dense(h, *weight("logits")), rtol=1e-3, atol=1e-3
        )
    for index in (4, -5):
        with pytest.raises(kvg.InputError, match="feature_layer must be from -4 to 3"):
            FAMILIES[family].discriminator((9, 7, 2), feature_layer=index, **arguments)


@pytest.mark.parametrize(
    "family, image_shape",
    [
        ("mlp", SHAPES[2]),
        pytest.param("dcgan", SHAPES[0], marks=pytest.mark.slow),
        pytest.param("dcgan", SHAPES[1], marks=pytest.mark.core_on("one")),
        pytest.param("dcgan", SHAPES[3], marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_conditional_models_of_any_image_shape_train_a_step(family, image_shape):
    module, labels = FAMILIES[family], {"num_classes": 3}
    arguments, x = SMALL[family], np.random.default_rng(0).random((2, *image_shape), "float32")

    def networks(names, **condition):
        return [getattr(module, name)(image_shape, Z, **arguments, **condition) for name in names]

    judge = module.discriminator(image_shape, num_outputs=4, **arguments)
    *pair, prior = networks(("encoder", "decoder", "prior"), given=True, **labels)
    models = [
        kvg.CVAEGAN(*networks(("encoder", "decoder"), **labels), judge),
        kvg.CVAE(*pair, prior=prior, masks=("blocks", "left")),
    ]
    for model in models:
        model.compile()
        before = [array(variable).copy() for variable in model.trainable_variables]
        logs = model.train_on_batch(x, np.array([0, 2]), return_dict=True)
        assert all(np.isfinite(value) for value in logs.values())
        after = [array(variable) for variable in model.trainable_variables]
        assert all(np.all(np.isfinite(value)) for value in after)
        moved = [np.any(a != b) for a, b in zip(after, before, strict=True)]
        assert np.mean(moved) > 0.8
    completed = models[1].complete(x, "quadrants:2", 2, labels=[0, 2], seed=1)
    assert completed.shape == (2, 2, *image_shape)
    np.testing.assert_array_equal(completed[:, 0, :, : image_shape[1] // 2], x[:, :, : image_shape[1] // 2])


@pytest.mark.core_on("one")
@pytest.mark.parametrize("family", FAMILIES)
def test_no_path_is_shared_by_conditional_networks(family):
    module, condition = FAMILIES[family], {"num_classes": 3, "given": True}
    networks = [getattr(module, name)((9, 7, 2), Z, **SMALL[family], **condition) for name in OWN]
    networks.append(module.discriminator((9, 7, 2), num_outputs=4, **SMALL[family]))
    paths = [variable.path for network in networks for variable in network.variables]
    assert len(paths) == len(set(paths))
    for network in networks:
        for variable in network.variables:
            assert variable.path.startswith(f"{network.name}_")


@pytest.mark.core_on("one")
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("value", [0, -1, 2.5, True])
def test_a_number_of_classes_that_is_none_is_refused(family, name, value):
    with pytest.raises(kvg.InputError, match="num_classes must be positive integers") as error:
        getattr(FAMILIES[family], name)((8, 8, 1), Z, **SMALL[family], num_classes=value)
    assert "\n" not in str(error.value)


# ---- the fast forms of Keras' own layers ----

# By backend, the methods that a fast form replaces.
REPLACED = {
    "tensorflow": {"UpSampling2D": "call"},
    "jax": {"Conv2DTranspose": "call", "MaxPooling2D": "call"},
    "torch": {
        "Conv2D": "convolution_op",
        "Conv2DTranspose": "call",
        "DepthwiseConv2D": "call",
        "MaxPooling2D": "call",
        "GroupNormalization": "call",
    },
}[keras.backend.backend()]


def replaced(layer):
    """The methods of a layer that are not its class's: Keras wraps `build` alone."""
    return {name for name in ("call", "convolution_op") if name in vars(layer)}


def value_and_gradients(layer, inputs):
    """The outputs of a layer, and the gradients of their weighted sum for inputs and weights."""
    tensors = [ops.convert_to_tensor(value) for value in (inputs, *layer.get_weights())]
    outputs = layer(inputs)
    weights = ops.convert_to_tensor(draw(*outputs.shape, seed=1))

    def gradient(place):
        def weighted(value):
            x, *variables = [*tensors[:place], value, *tensors[place + 1 :]]
            return layer.stateless_call(variables, [], x)[0] * weights, None

        return input_gradient(weighted, tensors[place])[0]

    return [array(value) for value in (outputs, *(gradient(place) for place in range(len(tensors))))]


@pytest.mark.parametrize("kernel_size", [(4, 4), (5, 5), (3, 4), (2, 2), (1, 3)])
@pytest.mark.parametrize("strides", [(2, 2), (1, 1), (2, 1)])
@pytest.mark.parametrize("kind", ["Conv2D", "Conv2DTranspose"])
def test_a_fast_convolution_has_the_values_and_gradients_of_keras(kernel_size, strides, kind):
    settings = {"strides": strides, "padding": "same", "activation": "tanh"}
    theirs, ours = (getattr(keras.layers, kind)(4, kernel_size, **settings) for _ in range(2))
    images = draw(2, 5, 6, 3)
    for layer in (theirs, ours):
        layer.build(images.shape)
        layer.set_weights([draw(*weight.shape, seed=i) for i, weight in enumerate(layer.weights)])
    backend.quicken_layers(ours)
    assert replaced(theirs) == set() and replaced(ours) == {REPLACED.get(kind)} - {None}
    for one, other in zip(
        value_and_gradients(ours, images), value_and_gradients(theirs, images), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kernel_size", [(3, 3), (5, 5), (4, 2)])
@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("bias", [True, False])
def test_a_fast_depthwise_convolution_has_the_values_and_gradients_of_keras(kernel_size, strides, bias):
    settings = {"strides": strides, "padding": "same", "depth_multiplier": 2, "use_bias": bias}
    theirs, ours = (keras.layers.DepthwiseConv2D(kernel_size, **settings) for _ in range(2))
    images = draw(2, 5, 6, 3)
    for layer in (theirs, ours):
        layer.build(images.shape)
        layer.set_weights([draw(*weight.shape, seed=i) for i, weight in enumerate(layer.weights)])
    backend.quicken_layers(ours)
    assert replaced(theirs) == set() and replaced(ours) == {REPLACED.get("DepthwiseConv2D")} - {None}
    for one, other in zip(
        value_and_gradients(ours, images), value_and_gradients(theirs, images), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [(6, 8), (7, 6), (5, 7)])
def test_pooling_and_its_gradient_are_those_of_the_largest_of_each_square(size):
    x = draw(2, *size, 3)
    weights = draw(2, (size[0] + 1) // 2, (size[1] + 1) // 2, 3, seed=1)
    expected, gradient = np.empty_like(weights), np.zeros_like(x)
    for b, i, j, c in np.ndindex(weights.shape):
        square = x[b, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2, c]
        expected[b, i, j, c] = square.max()
        row, column = np.unravel_index(square.argmax(), square.shape)
        gradient[b, 2 * i + row, 2 * j + column, c] = weights[b, i, j, c]

    layer = keras.layers.MaxPooling2D(2, padding="same")
    backend.quicken_layers(layer)
    assert replaced(layer) == {REPLACED.get("MaxPooling2D")} - {None}
    for one, other in zip(value_and_gradients(layer, x), (expected, gradient), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


@pytest.mark.parametrize(
    "settings", [{"groups": 3}, {"groups": -1, "scale": False, "center": False}], ids=str
)
def test_fast_group_normalization_has_the_values_and_gradients_of_keras(settings):
    theirs, ours = (keras.layers.GroupNormalization(**settings) for _ in range(2))
    x = draw(2, 5, 4, 6)
    for layer in (theirs, ours):
        layer.build(x.shape)
        layer.set_weights([draw(*weight.shape, seed=i) for i, weight in enumerate(layer.weights)])
    backend.quicken_layers(ours)
    assert replaced(theirs) == set() and replaced(ours) == {REPLACED.get("GroupNormalization")} - {None}
    for one, other in zip(value_and_gradients(ours, x), value_and_gradients(theirs, x), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [(3, 5), (1, 2)], ids=str)
def test_doubling_repeats_each_pixel_and_its_gradient_is_a_sum(size):
    layer, x, weights = (
        keras.layers.UpSampling2D(2),
        draw(2, *size, 3),
        draw(2, 2 * size[0], 2 * size[1], 3, seed=1),
    )
    backend.quicken_layers(layer)
    assert replaced(layer) == {REPLACED.get("UpSampling2D")} - {None}
    expected = x.repeat(2, axis=1).repeat(2, axis=2)
    gradient = sum(weights[:, i::2, j::2] for i in (0, 1) for j in (0, 1))
    for one, other in zip(value_and_gradients(layer, x), (expected, gradient), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


class Doubled(keras.layers.Conv2D):
    """A layer of a user's that overrides what a fast form replaces."""

    def convolution_op(self, inputs, kernel):
        return 2.0 * super().convolution_op(inputs, kernel)


LEFT_ALONE = {
    "valid": lambda: keras.layers.Conv2D(2, 3),
    "dilated": lambda: keras.layers.Conv2D(2, 3, padding="same", dilation_rate=2),
    "grouped": lambda: keras.layers.Conv2D(2, 3, padding="same", groups=2),
    "channels first": lambda: keras.layers.Conv2D(2, 3, padding="same", data_format="channels_first"),
    "overridden": lambda: Doubled(2, 3, padding="same"),
    "one axis": lambda: keras.layers.Conv1D(2, 3, padding="same"),
    "depthwise, dilated": lambda: keras.layers.DepthwiseConv2D(3, padding="same", dilation_rate=2),
    "depthwise, valid": lambda: keras.layers.DepthwiseConv2D(3),
    "transposed, dilated": lambda: keras.layers.Conv2DTranspose(2, 3, padding="same", dilation_rate=2),
    "transposed, valid": lambda: keras.layers.Conv2DTranspose(2, 3),
    "transposed, padded": lambda: keras.layers.Conv2DTranspose(2, 3, padding="same", output_padding=0),
    "pooling of 3x3": lambda: keras.layers.MaxPooling2D(3, 2, padding="same"),
    "pooling by 1": lambda: keras.layers.MaxPooling2D(2, 1, padding="same"),
    "valid pooling": lambda: keras.layers.MaxPooling2D(2),
    "pooling to means": lambda: keras.layers.AveragePooling2D(2, padding="same"),
    "tripled": lambda: keras.layers.UpSampling2D(3),
    "doubled by lines": lambda: keras.layers.UpSampling2D(2, interpolation="bilinear"),
    "normalized along a row": lambda: keras.layers.GroupNormalization(2, axis=1),
}


@pytest.mark.parametrize("make", LEFT_ALONE.values(), ids=LEFT_ALONE.keys())
def test_layers_that_a_fast_form_does_not_cover_stay_as_they_are(make):
    layer = make()
    if isinstance(layer, keras.layers.GroupNormalization):
        layer.build((1, 2, 2, 3))
    backend.quicken_layers(layer)
    assert replaced(layer) == set()


def convolutional_models():
    """A VAE/GAN of the package's own networks, and one of a user's, with wrapped and nested layers."""
    shape, layers = (8, 6, 1), keras.layers
    same = {"strides": 2, "padding": "same"}
    images = keras.Input(shape)
    x = keras.Sequential([keras.Input(shape), layers.Conv2D(2, 3, **same)], name="nested")(images)
    x = layers.Flatten()(layers.MaxPooling2D(2, padding="same")(x))
    heads = {part: layers.Dense(2, name=f"own_{part}")(x) for part in ("mean", "log_variance")}
    codes = keras.Input((2,))
    y = layers.Reshape((4, 3, 2))(layers.Dense(24)(codes))
    y = layers.Conv2DTranspose(1, 4, **same, name="own_image")(y)
    judged = keras.Input(shape)
    z = layers.SpectralNormalization(layers.Conv2D(2, 3, **same), name="wrapped")(judged)
    z = layers.Flatten()(z)
    verdict = {"logits": layers.Dense(1, name="own_logits")(z), "features": z}
    own = [keras.Model(images, heads), keras.Model(codes, y), keras.Model(judged, verdict)]
    lenet_judge = ALL_FAMILIES["lenet"].discriminator(shape, **SMALL["lenet"])
    of_package = [*build("dcgan", shape)[:2], lenet_judge]
    return {"the package's": kvg.VAEGAN(*of_package), "a user's": kvg.VAEGAN(*own)}


@pytest.mark.parametrize("whose", ["the package's", "a user's"])
def test_a_file_names_keras_own_layers_and_loads_with_the_fast_forms(whose, tmp_path):
    model = convolutional_models()[whose]
    model.save(tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as file:
        config = json.loads(file.read("config.json"))
    found = {}

    def look(node):
        if isinstance(node, dict):
            if {"module", "class_name", "registered_name"} <= set(node):
                found.setdefault(node["class_name"], set()).add((node["module"], node["registered_name"]))
            node = list(node.values())
        for child in node if isinstance(node, list) else ():
            look(child)

    look(config)
    kinds = {"Conv2D", "Conv2DTranspose", "MaxPooling2D"}
    assert kinds <= set(found)
    assert all(found[kind] == {("keras.layers", None)} for kind in kinds)
    of_the_package = {name for name, places in found.items() if "keras_vaegan" in str(places)}
    of_objects = {"StandardNormal", "Bernoulli", "Standard", "Features", "Pixels"}
    assert of_the_package == {"VAEGAN", *of_objects}

    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.generate(3, seed=1), model.generate(3, seed=1))
    for each in (model, loaded):
        layers = [layer for layer in backend.layers_of(each) if type(layer).__name__ in kinds]
        assert {type(layer).__name__ for layer in layers} == kinds
        for layer in layers:
            assert type(layer) is getattr(keras.layers, type(layer).__name__)
            assert replaced(layer) == {REPLACED.get(type(layer).__name__)} - {None}


def test_a_spectral_convolution_takes_the_fast_form_and_keeps_its_norm():
    layer, x = SpectralConv2D(3, 4, strides=2, padding="same", activation="relu"), draw(2, 9, 7, 2, seed=1)
    layer.build(x.shape)
    layer.set_weights([draw(4, 4, 2, 3), draw(3, seed=2)])
    backend.quicken_layers(layer)
    assert replaced(layer) == {REPLACED.get("Conv2D")} - {None}
    expected = np.maximum(convolve(x, unit(array(layer.kernel)), array(layer.bias)), 0.0)
    np.testing.assert_allclose(array(layer(x)), expected, rtol=1e-3, atol=1e-3)
