"""Each term of the objectives against its formula in NumPy."""

import numpy as np
import pytest
from keras import ops
from scipy import special

from keras_vaegan import games, losses
from keras_vaegan.backend import input_gradient

CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def array(tensor):
    return ops.convert_to_numpy(tensor)


LOGITS = draw(4, 1)
FEATURES, TARGET = draw(4, 2, 3, 2), draw(4, 2, 3, 2, seed=1)
D = special.expit(np.float64(LOGITS[:, 0]))

CLASSES, LABELS = draw(4, 4, seed=2), np.array([0, 2, 1, 2])  # of K = 3 classes, and of fakes
SHARES = special.softmax(np.float64(CLASSES), axis=1)
OWN, FAKE = SHARES[np.arange(4), LABELS], SHARES[:, 3]
ONE_HOT = np.eye(3, dtype="float32")[LABELS]


def verdict(logits):
    return games.Verdict.of({"logits": logits, "features": logits})


PLAIN, SMOOTHED = games.Standard(), games.Standard(label_smoothing=0.1)

FORMULAS = {
    "real_loss by class": (PLAIN.real_loss(verdict(CLASSES), ONE_HOT), -np.log(OWN)),
    "real_loss by class, smoothed": (
        SMOOTHED.real_loss(verdict(CLASSES), ONE_HOT),
        -0.9 * np.log(OWN) - 0.1 * np.log(FAKE),
    ),
    "generator_loss by class": (
        PLAIN.generator_loss(verdict(CLASSES), verdict(CLASSES), ONE_HOT),
        -np.log(OWN),
    ),
    "wrong_class": (losses.wrong_class(losses.log_classes(CLASSES), ONE_HOT), -np.log(OWN / (1.0 - FAKE))),
    "real_loss of any class": (PLAIN.real_loss(verdict(CLASSES)), -np.log(1.0 - FAKE)),
    "fake_loss by class": (PLAIN.fake_loss(verdict(CLASSES), verdict(CLASSES)), -np.log(FAKE)),
    "log_odds_real by class": (losses.log_odds_real(CLASSES), special.logit(1.0 - FAKE)),
    "probability_real by class": (PLAIN.probability_real(verdict(CLASSES), verdict(CLASSES)), 1.0 - FAKE),
    "log_odds_real": (losses.log_odds_real(LOGITS), LOGITS[:, 0]),
    "real_loss": (PLAIN.real_loss(verdict(LOGITS)), -np.log(D)),
    "real_loss smoothed": (SMOOTHED.real_loss(verdict(LOGITS)), -0.9 * np.log(D) - 0.1 * np.log(1 - D)),
    "fake_loss": (PLAIN.fake_loss(verdict(LOGITS), verdict(LOGITS)), -np.log(1 - D)),
    "generator_loss": (PLAIN.generator_loss(verdict(LOGITS), verdict(LOGITS)), -np.log(D)),
    "cross entropy": (
        losses.binary_cross_entropy(LOGITS[:, 0], 0.3),
        -0.3 * np.log(D) - 0.7 * np.log(1 - D),
    ),
    "probability_real": (PLAIN.probability_real(verdict(LOGITS), verdict(LOGITS)), D),
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
    np.testing.assert_allclose(array(PLAIN.real_loss(verdict(logits))), max(-logit, 0.0), **CLOSE)
    np.testing.assert_allclose(
        array(PLAIN.fake_loss(verdict(logits), verdict(logits))), max(logit, 0.0), **CLOSE
    )


@pytest.mark.parametrize("logit", [-200.0, 200.0])
def test_the_game_of_classes_is_finite_at_extreme_logits(logit):
    logits, one_hot = np.array([[logit, 0.0, 0.0]], "float32"), np.array([[1.0, 0.0]], "float32")
    expected = special.logsumexp([logit, 0.0, 0.0])
    np.testing.assert_allclose(array(PLAIN.real_loss(verdict(logits), one_hot)), expected - logit, **CLOSE)
    np.testing.assert_allclose(array(PLAIN.fake_loss(verdict(logits), verdict(logits))), expected, **CLOSE)
    odds = special.logsumexp([logit, 0.0])
    np.testing.assert_allclose(array(losses.log_odds_real(logits)), odds, **CLOSE)


def test_with_one_class_the_game_of_classes_is_that_of_real_and_fake():
    logits, all_real = np.concatenate([LOGITS, np.zeros_like(LOGITS)], axis=1), np.ones((4, 1), "float32")
    pairs = [
        (SMOOTHED.real_loss(verdict(logits), all_real), SMOOTHED.real_loss(verdict(LOGITS))),
        (
            PLAIN.fake_loss(verdict(logits), verdict(logits)),
            PLAIN.fake_loss(verdict(LOGITS), verdict(LOGITS)),
        ),
        (
            PLAIN.probability_real(verdict(logits), verdict(logits)),
            PLAIN.probability_real(verdict(LOGITS), verdict(LOGITS)),
        ),
    ]
    for of_classes, of_two in pairs:
        np.testing.assert_allclose(array(of_classes), array(of_two), **CLOSE)


KL = np.array([[0.1, 2.0, 0.4], [0.3, 1.0, 0.8]], "float32")  # batch means 0.2, 1.5, 0.6


def test_free_bits_charge_the_minimum_where_the_batch_mean_is_below_it():
    expected = [0.5 + 2.0 + 0.4, 0.5 + 1.0 + 0.8]
    np.testing.assert_allclose(array(losses.free_bits(KL, 0.5)), expected, **CLOSE)


def test_free_bits_are_of_the_mean_that_the_shares_make():
    shares = np.array([[0.5], [2.0]], "float32")  # 0.26, 1.2, 0.72 in the mean
    expected = [0.7 + 2.0 + 0.4, 0.7 + 1.0 + 0.8]
    np.testing.assert_allclose(array(losses.free_bits(KL, 0.7, shares)), expected, **CLOSE)


def test_free_bits_of_zero_are_the_kl():
    np.testing.assert_allclose(array(losses.free_bits(KL, 0.0)), KL.sum(1), **CLOSE)


def test_free_bits_give_no_gradient_below_the_minimum():
    gradient, _ = input_gradient(lambda kl: (losses.free_bits(kl, 0.5), None), ops.convert_to_tensor(KL))
    np.testing.assert_allclose(array(gradient), [[0, 1, 1], [0, 1, 1]], **CLOSE)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_losses_are_float32_from_half_precision(dtype):
    logits, features = ops.cast(LOGITS, dtype), ops.cast(FEATURES, dtype)
    of_classes, one_hot = ops.cast(CLASSES, dtype), ops.cast(ONE_HOT, dtype)
    values = [
        *(
            value
            for game in (kind() for kind in games.GAMES.values())
            for value in (
                game.real_loss(verdict(of_classes), one_hot),
                game.fake_loss(verdict(logits), verdict(logits)),
                game.generator_loss(verdict(of_classes), verdict(of_classes), one_hot),
                game.probability_real(verdict(logits), verdict(logits)),
            )
        ),
        losses.log_odds_real(of_classes),
        losses.log_classes(of_classes),
        losses.log_odds_real(logits),
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
