"""Half precision of the networks for large images, and the seams of tiles."""

import functools
import importlib.util
import pathlib

import keras
import numpy as np
import pytest
from keras import ops

import keras_vaegan as kvg
from keras_vaegan import games
from keras_vaegan.networks import patch, resnet
from keras_vaegan.reconstructions import L1, Perceptual
from keras_vaegan.tiling import borders, tile_and_overlap

SCRIPT = pathlib.Path(__file__).parents[1] / "benchmarks" / "large_images.py"
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


# By how much steps may differ: bfloat16 has 8 bits for a number, float16 has 11.
@pytest.mark.parametrize(
    "policy, remat, tolerance", [("mixed_bfloat16", True, 0.15), ("mixed_float16", False, 0.03)]
)
def test_spatial_networks_train_alike_in_half_precision(
    policy, remat, tolerance, dtype_policy, inject_noise, monkeypatch
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
        assert exact @ half / np.prod(lengths) > 1.0 - tolerance
        assert lengths[1] == pytest.approx(lengths[0], rel=tolerance)


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


# ---- seams ----


@pytest.fixture(scope="module")
def script():
    """The benchmark of large images, which has the measure."""
    spec = importlib.util.spec_from_file_location("large_images", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def zigzag(steps):
    """An image `(1, 512, 512, 1)` whose neighbors differ, along both axes, by these numbers."""
    line = np.cumsum(steps * (-1.0) ** np.arange(512))
    return (line[:, None] + line)[None, :, :, None]


@pytest.mark.core_on("one")
@pytest.mark.parametrize("height", [1.0, 1.3])
def test_the_seam_error_is_the_height_of_artificial_seams(height, script):
    tile, overlap = tile_and_overlap(128, 8)
    lines = borders(512, tile, overlap)
    assert lines == [96, 128, 192, 224, 288, 320, 384, 416]  # a step of 96 pixels, where tiles begin and end
    steps = np.where(np.isin(np.arange(512), lines), height, 1.0)
    assert script.seam_error(zigzag(steps), tile, overlap) == pytest.approx(height)
    # A pattern that repeats from code to code is no seam beside its own lines.
    steps = np.where(np.arange(512) % 8, 1.0, 3.0 * steps)
    assert script.seam_error(zigzag(steps), tile, overlap) > 2.0
    assert script.seam_error(zigzag(steps), tile, overlap, every=8) == pytest.approx(height)


@pytest.mark.core_on("one")
def test_tiles_leave_no_seam_in_512_pixels(script):
    """Of a network that normalizes each position by itself; tiles differ from the whole at edges."""
    style = {"factor": 4, "filters": 4, "blocks": 1, "normalization": "rms"}
    shape = (64, 64, 3)
    model = kvg.VAE(resnet.encoder(shape, Z, **style), resnet.decoder(shape, Z, **style))
    rows, columns = np.mgrid[:512, :512] / 512
    x = np.stack([rows, columns, rows * columns], axis=-1)[None].astype("float32")
    x = np.clip(x + np.random.default_rng(0).normal(0, 0.02, x.shape), 0, 1).astype("float32")
    found = script.seams_of(model, x, 128)
    assert found["tiled against whole, of 255"] > 0.0
    ratio = found["tiled, beside the grid of codes"] / found["whole, beside the grid of codes"]
    assert ratio == pytest.approx(1.0, abs=0.05), found
