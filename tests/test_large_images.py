"""Half precision of the networks for large images, and the seams of tiles."""

import functools

import keras
import numpy as np
import pytest
import registry
from keras import ops

import keras_vaegan as kvg
from keras_vaegan import games
from keras_vaegan.networks import patch, resnet
from keras_vaegan.reconstructions import L1, Perceptual

SHAPE = (32, 32, 3)
Z = 2


def vae_gan(remat=False):
    """A tiny VAE/GAN of the kind that is trained on photographs, with weights of a seed."""
    style = {"factor": 4, "filters": 8, "blocks": 1, "remat": remat}
    keras.utils.set_random_seed(0)
    return kvg.VAEGAN(
        resnet.encoder(SHAPE, Z, **style),
        resnet.decoder(SHAPE, Z, **style),
        patch.discriminator((None, None, 3), filters=(4, 8)),
        game=games.Hinge(adaptive=True, weight=0.5),
        reconstruction=[L1(1.0), Perceptual(0.3, layers={"stride_4": 1.0})],
        beta=1e-3,
        fakes_from="none",
        seed=0,
    )


def photographs(count=2):
    """Smooth images in [0, 1], which are no noise: half precision is asked for the gradients of images."""
    small = np.random.default_rng(0).random((count, 4, 4, 3), dtype="float32")
    return ops.convert_to_numpy(ops.image.resize(small, SHAPE[:2], data_format="channels_last"))


def weights_of(model):
    return {v.path: ops.convert_to_numpy(ops.cast(v, "float32")) for v in model.trainable_variables}


def run_of(model, steps):
    """What is logged in each of so many steps on the same images, and by how much each player has moved."""
    before = weights_of(model)
    model.compile({player: keras.optimizers.SGD(1e-6) for player in model.players})
    if isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer):
        model.optimizer.dynamic_scale.assign(16.0)  # at which no gradient overflows in the first step
    logs = []
    for _ in range(steps):
        model.reset_metrics()
        logs.append({k: float(v) for k, v in model.train_on_batch(photographs(), return_dict=True).items()})
    after, moved = weights_of(model), {}
    for player, variables in model.player_variables().items():
        moved[player] = np.concatenate([np.ravel(after[v.path] - before[v.path]) for v in variables])
    return logs, moved


@functools.cache
def run_in_float32():
    assert keras.config.dtype_policy().name == "float32"
    return run_of(vae_gan(), 3)


@pytest.mark.parametrize("policy, remat", [("mixed_bfloat16", True), ("mixed_float16", False)])
def test_spatial_networks_train_alike_in_half_precision(
    policy, remat, dtype_policy, inject_noise, monkeypatch
):
    inject_noise()
    logs, moved = run_in_float32()
    weights = []

    def balance(game, reconstruction, pull, balance=games.Game.balance):
        weights.append(balance(game, reconstruction, pull))
        return weights[-1]

    monkeypatch.setattr(games.Game, "balance", balance)
    dtype_policy(policy)
    model = vae_gan(remat)
    assert model.encoder.get_layer("encoder_stem").compute_dtype == policy.removeprefix("mixed_")
    outputs = [model.encoder.output, model.decoder.output, model.discriminator.output]
    assert {one.dtype for one in keras.tree.flatten(outputs)} == {"float32"}
    half_logs, half_moved = run_of(model, 3)
    assert weights and {keras.backend.standardize_dtype(one.dtype) for one in weights} == {"float32"}
    for exact, half in zip(logs, half_logs, strict=True):
        assert half == pytest.approx(exact, rel=0.03, abs=0.02)
    for player, exact in moved.items():
        half = half_moved[player]
        lengths = np.linalg.norm(exact), np.linalg.norm(half)
        assert exact @ half / np.prod(lengths) > 0.98 and lengths[1] == pytest.approx(lengths[0], rel=0.05)


@pytest.mark.core_on("one")
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_trainings_in_half_precision_stay_finite(policy, dtype_policy):
    """From Keras' own first scale, at which gradients overflow; a step that does so moves nothing."""
    dtype_policy(policy)
    model = vae_gan()
    begun = weights_of(model)
    model.compile()
    history = model.fit(np.repeat(photographs(), 12, axis=0), batch_size=2, epochs=2, verbose=0).history
    assert np.all(np.isfinite([history[name] for name in history]))
    assert history["reconstruction"][1] < history["reconstruction"][0]
    for path, value in weights_of(model).items():
        assert np.all(np.isfinite(value)), path
        assert np.any(value != begun[path]) or "bias" in path, path  # D's last is in balance in a hinge game
