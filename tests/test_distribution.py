"""Training on several devices against training on one."""

import json
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_vaegan import training
from keras_vaegan.errors import InputError

SCRIPT = pathlib.Path(__file__).with_name("distributed.py")
BACKEND = keras.backend.backend()
# Adversarial with spectral normalisation and R1; others in the full matrix.
CORE = ("vae_gan_r1_spectral", 2)
MODELS = [
    pytest.param(name, devices, marks=() if (name, devices) == CORE else pytest.mark.slow)
    for name in ("vae", CORE[0], "vae_gan_three_players", "cvae_gan", "ssl_vae_gan", "draw_gan")
    for devices in (2, 4)
]
several = pytest.mark.skipif(BACKEND == "torch", reason="Keras has no distribution on PyTorch")


def trained(name, devices, noise, tmp_path):
    """Weights, metrics and what each device drew."""
    path = tmp_path / f"{devices}.npz"
    command = [sys.executable, SCRIPT, name, str(devices), noise, path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(path) as file:
        return [file[key] for key in sorted(file)], json.loads(done.stdout.splitlines()[-1])


@several
@pytest.mark.parametrize(("name", "devices"), MODELS)
def test_devices_that_share_a_batch_learn_as_one(name, devices, tmp_path):
    alone, said = trained(name, 1, "zero", tmp_path)
    shared, also_said = trained(name, devices, "zero", tmp_path)
    for one, other in zip(alone, shared, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-5)
    assert also_said["metrics"] == pytest.approx(said["metrics"], rel=1e-4, abs=1e-5)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="on JAX an array of noise spans all devices")
def test_every_device_draws_noise_of_its_own(tmp_path):
    _, said = trained("vae", 2, "own", tmp_path)
    first, second = said["drawn"]
    assert np.abs(np.subtract(first, second)).min() > 1e-3
    assert np.isfinite(list(said["metrics"].values())).all()


@several
@pytest.mark.slow
@pytest.mark.parametrize("name", ["ssl_vae", "vae_gan_convolutional"])
def test_a_rest_that_devices_cannot_share_is_left_out(name, tmp_path):
    weights, said = trained(name, 2, "rest", tmp_path)
    assert all(np.isfinite(value).all() for value in weights)
    assert np.isfinite(list(said["metrics"].values())).all()


@several
@pytest.mark.slow
def test_the_command_trains_and_goes_on_on_several_devices(tmp_path):
    tiny = ["--model", "cvae_gan", "--image-size", "8", "--latent-dim", "3", "--batch-size", "128"]
    for arguments in (
        ["train", *tiny, "--epochs", "1", "--distribute", "data", "--output", tmp_path / "run"],
        ["train", "--resume", tmp_path / "run", "--epochs", "2"],
    ):
        command = [sys.executable, SCRIPT.with_name("several_devices.py"), *arguments]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
    rows = (tmp_path / "run" / "history.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["epoch", "1", "2"]
    values = np.array([row.split(",")[1:] for row in rows[1:]], float)
    assert np.isfinite(values).all()
    refused = subprocess.run(
        [sys.executable, SCRIPT.with_name("several_devices.py"), "train", *tiny[:-1], "127"]
        + ["--distribute", "data", "--output", tmp_path / "no"],
        capture_output=True,
        text=True,
    )
    assert refused.returncode == 2 and "--batch-size must be a multiple of 2" in refused.stderr


def test_one_device_cannot_share():
    with pytest.raises(InputError, match="distribute must be auto or none: .*one device"):
        training.distribution("data")
    with pytest.raises(InputError, match="distribute must be one of auto, none, data"):
        training.distribution("mirrored")
    for choice in ("auto", "none"):
        with training.distribution(choice):
            pass


def test_the_noise_of_one_device_is_what_keras_gives():
    ours, theirs = training.Seeds(3), keras.random.SeedGenerator(3)
    for _ in range(2):
        draws = [keras.ops.convert_to_numpy(keras.random.normal((5,), seed=seed)) for seed in (ours, theirs)]
        np.testing.assert_array_equal(*draws)
