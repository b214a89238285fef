"""Each term of the objectives against its formula in NumPy."""

import numpy as np
import pytest
from keras import ops
from scipy import special

from keras_vaegan import losses
from keras_vaegan.training import input_gradient

CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def array(tensor):
    return ops.convert_to_numpy(tensor)


LOGITS = draw(4, 1)
FEATURES, TARGET = draw(4, 2, 3, 2), draw(4, 2, 3, 2, seed=1)
D = special.expit(np.float64(LOGITS[:, 0]))

FORMULAS = {
    "judged_real": (losses.judged_real(LOGITS), -np.log(D)),
    "judged_real smoothed": (losses.judged_real(LOGITS, 0.9), -0.9 * np.log(D) - 0.1 * np.log(1 - D)),
    "judged_fake": (losses.judged_fake(LOGITS), -np.log(1 - D)),
    "cross entropy": (losses.binary_cross_entropy(LOGITS, 0.3), -0.3 * np.log(D) - 0.7 * np.log(1 - D)),
    "probability_real": (losses.probability_real(LOGITS), D),
    "feature_matching": (
        losses.feature_matching(FEATURES, TARGET),
        0.5 * ((FEATURES - TARGET) ** 2).sum((1, 2, 3)),
    ),
    "gradient_penalty": (losses.gradient_penalty(FEATURES), 0.5 * (FEATURES**2).sum((1, 2, 3))),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_each_loss_is_its_formula_per_example(name):
    value, expected = FORMULAS[name]
    assert tuple(value.shape) == (4,)
    np.testing.assert_allclose(array(value), expected, **CLOSE)


@pytest.mark.parametrize("logit", [-200.0, 200.0])
def test_cross_entropies_are_finite_at_extreme_logits(logit):
    logits = np.full((2, 1), logit, "float32")
    np.testing.assert_allclose(array(losses.judged_real(logits)), max(-logit, 0.0), **CLOSE)
    np.testing.assert_allclose(array(losses.judged_fake(logits)), max(logit, 0.0), **CLOSE)


KL = np.array([[0.1, 2.0, 0.4], [0.3, 1.0, 0.8]], "float32")  # batch means 0.2, 1.5, 0.6


def test_free_bits_charge_the_minimum_where_the_batch_mean_is_below_it():
    expected = [0.5 + 2.0 + 0.4, 0.5 + 1.0 + 0.8]
    np.testing.assert_allclose(array(losses.free_bits(KL, 0.5)), expected, **CLOSE)


def test_free_bits_of_zero_are_the_kl():
    np.testing.assert_allclose(array(losses.free_bits(KL, 0.0)), KL.sum(1), **CLOSE)


def test_free_bits_give_no_gradient_below_the_minimum():
    gradient, _ = input_gradient(lambda kl: (losses.free_bits(kl, 0.5), None), ops.convert_to_tensor(KL))
    np.testing.assert_allclose(array(gradient), [[0, 1, 1], [0, 1, 1]], **CLOSE)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_losses_are_float32_from_half_precision(dtype):
    logits, features = ops.cast(LOGITS, dtype), ops.cast(FEATURES, dtype)
    values = [
        losses.judged_real(logits),
        losses.judged_fake(logits),
        losses.probability_real(logits),
        losses.feature_matching(features, features),
        losses.gradient_penalty(features),
    ]
    for value in values:
        assert array(value).dtype == np.float32


def test_the_gradient_with_respect_to_an_input_can_be_differentiated_again():
    x = draw(3, 2)

    def half_squared_slope(x):
        slope, _ = input_gradient(lambda x: (ops.sum(x**3, axis=1), None), x)  # 3 x^2
        return losses.gradient_penalty(slope), None

    gradient, _ = input_gradient(half_squared_slope, ops.convert_to_tensor(x))
    np.testing.assert_allclose(array(gradient), 18 * x**3, rtol=1e-4)
