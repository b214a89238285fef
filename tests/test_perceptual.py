"""The distance in a frozen network's features, as a reconstruction loss, beside transcriptions in NumPy."""

import json
import types

import keras
import numpy as np
import pytest
import reference
import registry
from keras import ops
from PIL import Image

import keras_vaegan as kvg
from keras_vaegan import InputError
from keras_vaegan.backend import input_gradient
from keras_vaegan.networks import efficientnet_lite, mlp
from keras_vaegan.perceptual import FeatureDistance
from keras_vaegan.reconstructions import L2, Perceptual

SHAPE = (6, 5, 3)


def images(shape, seed=0):
    return np.random.default_rng(seed).uniform(0.1, 0.9, shape).astype("float32")


def own_network(channels=3, seed=1):
    """A network of two feature maps that is smooth everywhere."""
    inputs = x = keras.Input((None, None, channels))
    maps = {}
    for name, filters, stride in (("low", 4, 1), ("high", 6, 2)):
        layer = keras.layers.Conv2D(
            filters, 3, stride, "same", "channels_last", activation="tanh", name=f"to_{name}"
        )
        maps[name] = x = layer(x)
    network = keras.Model(inputs, maps, name="own")
    rng = np.random.default_rng(seed)
    network.set_weights([rng.normal(0.1, 0.5, array.shape) for array in network.get_weights()])
    return network


def numpy_distance(features, weights):
    """The formula, of the features of x and of those of y by name."""
    total = 0.0
    for name, weight in weights.items():
        units = [np.float64(f[name]) / np.linalg.norm(f[name], axis=-1, keepdims=True) for f in features]
        total = total + weight * np.square(units[0] - units[1]).sum(axis=-1).mean(axis=(1, 2))
    return total


def begun(*arguments, shape=SHAPE, **settings):
    """A perceptual loss as a model of such images has it."""
    term = Perceptual(*arguments, **settings)
    term.begin(shape)
    return term


def loss_of(term, x, y, hidden=None):
    """A loss of images x and reconstructions y, `(B,)` as a tensor."""
    x, y = (ops.convert_to_tensor(images) for images in (x, y))
    hidden = None if hidden is None else ops.convert_to_tensor(hidden)
    return term.loss(x, types.SimpleNamespace(mean=y), hidden, None, None)


def array(tensor):
    return ops.convert_to_numpy(tensor)


def test_the_distance_is_the_formula_in_the_features_of_the_network():
    x, y = (images((2, 33, 40, 3), seed) for seed in (0, 1))
    weights = {"stride_2": 0.5, "stride_8": 0.0, "stride_16": 2.0}
    distance = FeatureDistance("imagenet", weights, (33, 40, 3))
    network = efficientnet_lite.features(("stride_2", "stride_16"))
    expected = numpy_distance(
        [network.predict_on_batch(z) for z in (x, y)], {"stride_2": 0.5, "stride_16": 2.0}
    )
    np.testing.assert_allclose(array(distance(x, y)), expected, rtol=1e-4)
    np.testing.assert_array_equal(array(distance(x, x)), 0.0)
    loss = loss_of(begun(layers=weights, shape=(33, 40, 3)), x, y)
    np.testing.assert_allclose(array(loss), 33 * 40 * 3 * expected, rtol=1e-4)


@pytest.mark.parametrize("network", ["imagenet", "own"])
def test_only_the_reconstruction_gets_a_gradient_that_of_finite_differences(network):
    x, y = (images((1, 32, 32, 3), seed) for seed in (0, 1))
    settings = {"layers": {"stride_4": 1.0}} if network == "imagenet" else {"network": own_network()}
    term = begun(**settings)
    start = ops.convert_to_tensor(x)
    # PyTorch has no gradient at all with respect to what is not used: so x is.
    of_x, _ = input_gradient(lambda z: (loss_of(term, z, y) + 3.0 * ops.sum(z), None), start)
    np.testing.assert_array_equal(array(of_x), 3.0)
    gradient, _ = input_gradient(lambda z: (loss_of(term, x, z), None), ops.convert_to_tensor(y))
    gradient = array(gradient)
    direction, step = gradient / np.linalg.norm(gradient), 3e-3  # where the kinks of ReLU6 show least
    if network == "own":  # which has none: in any direction
        direction = direction + images(direction.shape, seed=2)
    ends = [array(loss_of(term, x, y + sign * step * direction))[0] for sign in (1, -1)]
    slope = (ends[0] - ends[1]) / (2 * step)
    assert np.vdot(gradient, direction) == pytest.approx(slope, rel=0.02)


def vae_gan(*terms, shape=SHAPE, **arguments):
    settings = {"units": (5,), "activation": "tanh"}
    networks = mlp.encoder(shape, 2, **settings), mlp.decoder(shape, 2, **settings)
    judge = mlp.discriminator(shape, units=(4,), activation="softplus")
    return registry.set_weights(kvg.VAEGAN(*networks, judge, reconstruction=list(terms), **arguments))


def test_the_generator_follows_it_and_nobody_else_moves(inject_noise):
    inject_noise(*registry.noise())
    network, x = own_network(), images((registry.BATCH, *SHAPE))
    frozen, updates = network.get_weights(), {}
    for weight in (0.0, 0.05):
        model = vae_gan(Perceptual(weight, network))
        model.compile({player: keras.optimizers.SGD(1.0) for player in model.players})
        before = reference.weights_of(model)
        model.train_on_batch(x)
        updates[weight] = {path: before[path] - after for path, after in reference.weights_of(model).items()}
    judge = {variable.path for variable in model.discriminator.trainable_variables}
    for path, update in updates[0.05].items():
        if path in judge:
            np.testing.assert_allclose(update, updates[0.0][path], atol=1e-7)
        else:
            assert np.abs(update - updates[0.0][path]).max() > 1e-6, path
    for now, was in zip(network.get_weights(), frozen, strict=True):
        np.testing.assert_array_equal(now, was)

    update = {path: value for path, value in updates[0.05].items() if path not in judge}
    square = sum(np.square(value).sum() for value in update.values())
    step, ends = 1e-2 / np.sqrt(square), []
    for sign in (1, -1):
        moved = vae_gan(Perceptual(0.05, network))
        for variable in moved.trainable_variables:
            if variable.path in update:
                variable.assign(before[variable.path] + sign * step * update[variable.path])
        ends.append(array(moved.compute_losses(ops.convert_to_tensor(x)).players["generator"]).mean())
    assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(square, rel=0.02)


def test_it_is_differentiated_once_for_the_adaptive_weight_and_the_generator(inject_noise, monkeypatch):
    """A step moves all weights as one that differentiates it as often as it is asked to."""
    inject_noise(*registry.noise())
    x, settings = images((registry.BATCH, *SHAPE)), {"game": {"class": "hinge", "adaptive": True}}
    after = []
    for plain in (False, True):
        if plain:
            monkeypatch.setattr("keras_vaegan.reconstructions.linearized", lambda function, x: function(x))
        model = vae_gan(L2(0.2), Perceptual(0.05, own_network()), fakes_from="none", **settings)
        model.compile({player: keras.optimizers.SGD(0.5) for player in model.players})
        before = reference.weights_of(model)
        model.train_on_batch(x)
        after.append(reference.weights_of(model))
    for path, value in after[0].items():
        assert np.abs(value - before[path]).max() > 0.0, path
        np.testing.assert_allclose(value, after[1][path], rtol=1e-4, atol=1e-7)


def test_a_step_under_half_precision_is_finite_and_the_distance_float32(dtype_policy):
    dtype_policy("mixed_float16")
    x = images((2, 32, 32, 3))
    model = vae_gan(Perceptual(0.1, layers={"stride_4": 1.0}), shape=(32, 32, 3))
    model.compile()
    losses = model.compute_losses(ops.convert_to_tensor(x))
    assert keras.backend.standardize_dtype(losses.players["generator"].dtype) == "float32"
    assert np.isfinite(model.train_on_batch(x, return_dict=True)["generator"])
    half = loss_of(begun(), x.astype("float16"), x[::-1])
    assert keras.backend.standardize_dtype(half.dtype) == "float32"


@pytest.mark.core_on("one")
def test_gray_is_repeated_and_alpha_is_laid_on_white():
    x, y = (images((2, 32, 32, 4), seed) for seed in (0, 1))
    distance = FeatureDistance("imagenet", {"stride_4": 1.0}, (32, 32, 3))
    gray = FeatureDistance("imagenet", {"stride_4": 1.0}, (32, 32, 1))
    expected = distance(*(np.repeat(z[..., :1], 3, axis=-1) for z in (x, y)))
    np.testing.assert_allclose(array(gray(x[..., :1], y[..., :1])), array(expected), rtol=1e-5)
    alpha = FeatureDistance("imagenet", {"stride_4": 1.0}, (32, 32, 4))
    expected = distance(*(z[..., :3] * z[..., 3:] + 1 - z[..., 3:] for z in (x, y)))
    np.testing.assert_allclose(array(alpha(x, y)), array(expected), rtol=1e-5)


@pytest.mark.core_on("one")
def test_images_of_other_channels_need_a_network_of_their_own():
    for channels in (2, 5):
        shape = (4, 4, channels)
        with pytest.raises(
            InputError, match=f"must have 1, 3 or 4 channels .* received {channels}"
        ) as refused:
            vae_gan(Perceptual(), shape=shape)
        assert refused.value.argument == "images"
        x, y = (images((2, *shape), seed) for seed in (0, 1))
        network = own_network(channels)
        found = FeatureDistance(network, {"high": 2.0}, shape)(x, y)
        expected = numpy_distance([network.predict_on_batch(z) for z in (x, y)], {"high": 2.0})
        np.testing.assert_allclose(array(found), expected, rtol=1e-4)


@pytest.mark.core_on("one")
def test_small_images_are_enlarged():
    x, y = (images((1, 8, 12, 3), seed) for seed in (0, 1))

    def enlarged(image):
        channels = [
            Image.fromarray(image[0, ..., c]).resize((48, 32), Image.Resampling.BILINEAR) for c in range(3)
        ]
        return np.stack([np.asarray(channel) for channel in channels], axis=-1)[None]

    distance = FeatureDistance("imagenet", None, (8, 12, 3))
    np.testing.assert_allclose(array(distance(x, y)), array(distance(enlarged(x), enlarged(y))), rtol=1e-3)


@pytest.mark.core_on("one")
def test_pixels_that_were_given_count_as_reconstructed():
    x, y = (images((2, *SHAPE), seed) for seed in (0, 1))
    hidden = np.zeros((2, *SHAPE[:2], 1), "float32")
    hidden[1, :3] = 1.0
    term = begun(network=own_network())
    found = array(loss_of(term, x, y, hidden))
    assert found[0] == 0.0
    np.testing.assert_allclose(found[1], array(loss_of(term, x, hidden * y + (1 - hidden) * x))[1], rtol=1e-5)
    squared = np.square(x - y) * hidden
    np.testing.assert_allclose(array(loss_of(L2(), x, y, hidden)), squared.sum(axis=(1, 2, 3)), rtol=1e-5)


@pytest.mark.core_on("one")
def test_layers_of_a_network_may_be_named_and_it_may_give_a_list():
    x, y = (images((2, *SHAPE), seed) for seed in (0, 1))
    network = own_network()
    listed = keras.Model(network.input, list(network.output.values()))
    expected = numpy_distance([network.predict_on_batch(z) for z in (x, y)], {"low": 0.5, "high": 0.5})
    by_layer = {"to_low": 0.5, "to_high": 0.5}
    for given, layers in ((network, None), (listed, None), (network, by_layer), (listed, by_layer)):
        found = FeatureDistance(given, layers, SHAPE)(x, y)
        np.testing.assert_allclose(array(found), expected, rtol=1e-4)


@pytest.mark.core_on("one")
@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        ("network must be one of imagenet; received 'vgg'", {"network": "vgg"}),
        ("network must be built from one keras.Input", {"network": keras.Sequential([])}),
        ("layers must be a dictionary", {"layers": ["stride_2"]}),
        ("layers must be weights of which one", {"layers": {"stride_2": 0.0}}),
        (r"layers\['stride_2'\] must be a number of at least 0", {"layers": {"stride_2": -1.0}}),
        ("layers must be one of .* Did you mean 'stride_2'", {"layers": {"stride2": 1.0}}),
        ("perceptual must be a number of at least 0", {"weight": -1.0}),
    ],
)
def test_what_is_no_network_or_layer_is_refused(message, arguments):
    with pytest.raises(InputError, match=message):
        Perceptual(**arguments).begin(SHAPE)


@pytest.mark.core_on("one")
def test_layers_without_feature_maps_are_refused():
    inputs = keras.Input((4, 4, 3))
    network = keras.Model(inputs, {"flat": keras.layers.Flatten()(inputs)})
    with pytest.raises(InputError, match="layers must be names of feature maps"):
        Perceptual(network=network).begin((4, 4, 3))


@pytest.mark.core_on("one")
def test_a_dictionary_of_weights_names_it():
    model = registry.vae_gan(image_shape=(4, 4, 3), reconstruction={"l1": 1.0, "l2": 0.5, "perceptual": 0.3})
    found = {term.name: term.weight for term in model.reconstruction}
    assert found == {"features": 0.05, "pixels": 0.025, "l1": 1.0, "l2": 0.5, "perceptual": 0.3}


@pytest.mark.core_on("one")
def test_a_saved_model_names_the_network_and_does_not_hold_it(tmp_path):
    plain, model = vae_gan(), vae_gan(Perceptual(0.3, layers={"stride_4": 2.0}))
    assert [v.path for v in model.variables] == [v.path for v in plain.variables]
    model.save(tmp_path / "model.keras")
    assert (tmp_path / "model.keras").stat().st_size < 1e6
    found = keras.saving.load_model(tmp_path / "model.keras").reconstruction[-1]
    assert found.get_config() == {
        "weight": 0.3,
        "network": {"name": "imagenet", "digest": efficientnet_lite.DIGEST},
        "layers": {"stride_4": 2.0},
    }
    assert found.distance is not None
    json.dumps(model.get_config()["reconstruction"])


@pytest.mark.core_on("one")
def test_an_own_network_is_given_anew_to_train_on(tmp_path):
    network, x = own_network(), images((2, *SHAPE))
    model = vae_gan(Perceptual(0.3, network))
    model.save_to_preset(tmp_path / "preset")
    loaded = kvg.VAEGAN.from_preset(tmp_path / "preset")
    np.testing.assert_allclose(loaded.reconstruct(x), model.reconstruct(x), atol=1e-6)
    (*_, term) = loaded.reconstruction
    with pytest.raises(InputError, match="network must be given anew, by Perceptual.give"):
        loaded.train_on_batch(x)
    with pytest.raises(InputError, match="network must have the weights"):
        term.give(own_network(seed=2))
    term.give(network)
    assert np.isfinite(loaded.train_on_batch(x, return_dict=True)["generator"])


@pytest.mark.core_on("one")
def test_a_model_of_older_weights_of_the_network_still_loads():
    older = {"name": "imagenet", "digest": "0123456789ab"}
    term = Perceptual.from_config({"weight": 1.0, "network": older, "layers": None})
    term.begin((32, 32, 3))
    assert term.get_config()["network"] == older
    with pytest.raises(InputError, match="given anew"):
        loss_of(term, images((1, 32, 32, 3)), images((1, 32, 32, 3)))
