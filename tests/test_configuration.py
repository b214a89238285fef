"""What Keras' global configuration changes: nothing, or the model is refused in one line."""

import importlib
import json
import os
import subprocess
import sys
import types

import keras
import numpy as np
import pytest
import registry
from keras import layers, ops

import keras_vaegan as kvg
from keras_vaegan import backend_choice
from keras_vaegan.metrics import classifiers, synthetic
from keras_vaegan.networks import dcgan, lenet, mlp

SHAPE = (5, 6, 2)


@pytest.fixture
def configure():
    """A function that sets one of Keras' global settings, undone afterwards."""
    before = {
        name: getattr(keras.config, name)()
        for name in ("image_data_format", "floatx", "epsilon", "dtype_policy")
    }
    yield lambda name, value: getattr(keras.config, f"set_{name}")(value)
    for name, value in before.items():
        getattr(keras.config, f"set_{name}")(value)


def given(network, seed=0):
    """Weights and inputs that are the same for each copy of a network, and its outputs."""
    generator = np.random.default_rng(seed)
    for variable in network.weights:
        value = generator.normal(0.5, 0.2, variable.shape)
        variable.assign(np.abs(value).astype("float32"))
    inputs = network.input if isinstance(network.input, dict) else {"": network.input}
    fed = {name: generator.random((3, *x.shape[1:])).astype("float32") for name, x in inputs.items()}
    outputs = network(fed if isinstance(network.input, dict) else fed[""], training=False)
    return [ops.convert_to_numpy(output) for output in keras.tree.flatten(outputs)]


CONDITION = {"num_classes": 3, "given": True}
NETWORKS = {
    "dcgan encoder": lambda: dcgan.encoder(SHAPE, 2, filters=(3, 4), normalization="batch", **CONDITION),
    "dcgan decoder": lambda: dcgan.decoder(SHAPE, 2, filters=(4, 3), normalization="instance", **CONDITION),
    "dcgan discriminator": lambda: dcgan.discriminator(SHAPE, filters=(3, 4), spectral_normalization=True),
    "lenet trunk": lambda: lenet.trunk(SHAPE, filters=(3, 4), units=(5,), normalization="layer"),
    "lenet decoder": lambda: lenet.decoder(
        SHAPE, 2, filters=(4, 3), units=(5,), label_units=(6,), **CONDITION
    ),
    "mlp encoder": lambda: mlp.encoder(SHAPE, 2, units=(5,), **CONDITION),
    "mlp discriminator": lambda: mlp.discriminator(SHAPE, units=(5,)),
    "features plain": classifiers.mnist_plain,
    "features residual": classifiers.mnist_residual,
    "synthetic": lambda: synthetic._classifier(SHAPE, 3, 0),
}


@pytest.mark.core_on("one")
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_are_the_same_where_keras_has_channels_first(name, configure):
    usual = NETWORKS[name]()
    expected = given(usual)
    configure("image_data_format", "channels_first")
    network = NETWORKS[name]()
    assert {getattr(layer, "data_format", "channels_last") for layer in network.layers} == {"channels_last"}
    for one, other in zip(given(network), expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.core_on("one")
@pytest.mark.parametrize("name", ["features plain", "features residual", "synthetic"])
def test_scores_are_computed_in_full_precision(name, dtype_policy):
    expected = given(NETWORKS[name]())
    dtype_policy("mixed_bfloat16")
    for one, other in zip(given(NETWORKS[name]()), expected, strict=True):
        assert one.dtype == np.float32
        np.testing.assert_array_equal(one, other)


@pytest.mark.core_on("tensorflow")
def test_a_model_trains_where_keras_has_channels_first(configure, inject_noise):
    trained = []
    for order in ("channels_last", "channels_first"):
        configure("image_data_format", order)
        inject_noise()
        model = registry.set_weights(registry.MODELS["vae_gan_convolutional"]())
        model.compile("sgd", run_eagerly=True)
        model.fit(registry.images(8), batch_size=4, shuffle=False, verbose=0)
        trained.append(model.get_weights())
    for one, other in zip(*trained, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)


def own_encoder(nested=False, **settings):
    """An encoder of a user's own, with one convolution, which may be within a network within."""
    images = keras.Input(registry.IMAGE_SHAPE)
    convolve = layers.Conv2D(3, 3, padding="same", name="mine", **settings)
    if nested:
        convolve = keras.Sequential([keras.Input(registry.IMAGE_SHAPE), convolve], name="inner")
    x = layers.Flatten()(convolve(images))
    parts = {name: layers.Dense(registry.LATENT_DIM)(x) for name in ("mean", "log_variance")}
    return keras.Model(images, parts, name="own")


@pytest.mark.core_on("one")
@pytest.mark.parametrize("nested", [False, True])
def test_layers_that_take_channels_first_are_refused(nested, configure):
    decoder = mlp.decoder(registry.IMAGE_SHAPE, registry.LATENT_DIM, units=(5,))
    kvg.VAE(own_encoder(nested), decoder)
    first = own_encoder(nested, data_format="channels_first")
    with pytest.raises(kvg.InputError, match="encoder .*layer 'mine' .*channels_first") as caught:
        kvg.VAE(first, decoder)
    assert "\n" not in str(caught.value)
    configure("image_data_format", "channels_first")  # whose Flatten alone is harmless
    kvg.VAE(own_encoder(nested, data_format="channels_last"), decoder)
    with pytest.raises(kvg.InputError, match="mine"):
        kvg.VAE(own_encoder(nested), decoder)


@pytest.mark.core_on("one")
def test_features_of_a_network_that_takes_channels_first_are_refused():
    images = keras.Input((6, 6, 3))
    x = layers.Conv2D(3, 3, data_format="channels_first", name="mine")(images)
    network = keras.Model(images, layers.Flatten()(x))
    with pytest.raises(kvg.InputError, match="features .*layer 'mine' .*channels_first"):
        kvg.metrics.extractor(network)


@pytest.mark.core_on("one")
@pytest.mark.parametrize("floatx", ["float16", "bfloat16", "float64"])
def test_another_floatx_is_refused(floatx, configure):
    configure("floatx", floatx)
    with pytest.raises(kvg.InputError, match=f"floatx must be 'float32'; received '{floatx}'"):
        registry.MODELS["vae"]()


@pytest.mark.core_on("one")
@pytest.mark.parametrize("policy", ["float16", "bfloat16", "float64"])
def test_weights_of_another_type_are_refused(policy, dtype_policy):
    dtype_policy(policy)
    with pytest.raises(kvg.InputError, match=f"encoder must keep its weights in float32.*are {policy}"):
        registry.MODELS["vae"]()


@pytest.mark.core_on("one")
def test_epsilon_changes_no_loss(configure, inject_noise):
    inject_noise()
    losses = []
    for epsilon in (1e-7, 1e-2):
        configure("epsilon", epsilon)
        model = registry.set_weights(registry.MODELS["vae_gan"]())
        model.compile("sgd")
        losses.append(model.evaluate(registry.images(), verbose=0, return_dict=True))
    assert losses[0] == losses[1]


# ---- the backend ----


@pytest.fixture
def importing(monkeypatch):
    """A function that lets Keras have a backend, or fail to import it."""

    def pretend(name, error=None):
        def import_module(module):
            if error is not None:
                raise error
            return importlib.import_module(module)

        monkeypatch.setattr(backend_choice, "importlib", types.SimpleNamespace(import_module=import_module))
        monkeypatch.setattr(backend_choice, "_configured", lambda: name)

    return pretend


MISSING = ModuleNotFoundError("No module named 'jax'", name="jax")


@pytest.mark.core_on("one")
@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("numpy", None, "backend is 'numpy': set KERAS_BACKEND to tensorflow, jax or torch"),
        ("openvino", ModuleNotFoundError("openvino", name="openvino"), "backend is 'openvino'"),
        ("theano\n", ValueError("Unable to import backend"), r"backend is 'theano'"),
        ("jax", MISSING, r"'jax' must be installed: pip install 'keras-vaegan\[jax\]'"),
        ("torch", ImportError("libtorch.so:\nno such file"), "'torch' cannot be imported: libtorch.so: no"),
    ],
)
def test_a_backend_that_will_not_do_is_one_line(importing, name, error, message):
    importing(name, error)
    with pytest.raises(ImportError, match=message) as caught:
        backend_choice.require()
    assert isinstance(caught.value, kvg.InputError) and "\n" not in str(caught.value)


@pytest.mark.core_on("one")
def test_a_missing_keras_is_told_by_python(importing):
    importing(None, ModuleNotFoundError("No module named 'keras'", name="keras"))
    with pytest.raises(ModuleNotFoundError, match="No module named 'keras'") as caught:
        backend_choice.require()
    assert not isinstance(caught.value, kvg.InputError)


def test_the_backend_of_the_tests_will_do():
    backend_choice.require()


@pytest.mark.slow
@pytest.mark.parametrize("place", ["environment", "keras.json"])
def test_the_package_names_a_backend_that_it_cannot_use(place, tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    if place == "environment":
        environment["KERAS_BACKEND"] = "numpy"
    else:
        (tmp_path / "keras.json").write_text(json.dumps({"backend": "numpy"}))
        environment["KERAS_HOME"] = str(tmp_path)
    finished = subprocess.run(
        [sys.executable, "-c", "import keras_vaegan"], env=environment, capture_output=True, text=True
    )
    last = finished.stderr.splitlines()[-1]
    assert finished.returncode == 1 and "Keras' backend is 'numpy'" in last, finished.stderr
