"""Training on several devices against training on one."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
from test_examples import EXAMPLES, example

from keras_vaegan import backend
from keras_vaegan.errors import InputError

SCRIPT = pathlib.Path(__file__).with_name("distributed.py")
WORKERS = EXAMPLES / "workers.py"
TINY = ["--model", "cvae_gan", "--image-size", "8", "--latent-dim", "3", "--batch-size", "128"]
BACKEND = keras.backend.backend()
# Adversarial with spectral normalisation and R1; others in the full matrix.
ADVERSARIAL = "vae_gan_r1_spectral"
MODELS = [
    pytest.param(
        name, devices, marks=() if (name, devices) == (ADVERSARIAL, "processes") else pytest.mark.slow
    )
    for name in ("vae", ADVERSARIAL, "vae_gan_three_players", "cvae_gan", "ssl_vae_gan", "draw_gan")
    for devices in (2, 4, "processes")
]
several = pytest.mark.skipif(BACKEND == "torch", reason="Keras has no distribution on PyTorch")


def trained(name, devices, noise, tmp_path):
    """Weights, images that the model makes, metrics and what each device drew."""
    path = tmp_path / f"{devices}.npz"
    command = [sys.executable, SCRIPT, name, str(devices), noise, path]
    environments = [None]
    if devices == "processes":
        workers = example("workers")
        hosts = [f"127.0.0.1:{port}" for port in workers.free_ports(2)]
        environments = [workers.environment(hosts, i) for i in range(2)]
    running = [
        subprocess.Popen(command, env=given, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for given in environments
    ]
    said = [process.communicate() for process in running]
    assert not any(process.returncode for process in running), [errors[-3000:] for _, errors in said]
    with np.load(path) as file:
        return [file[key] for key in sorted(file)], json.loads(said[0][0].splitlines()[-1])


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
    for arguments in (
        ["train", *TINY, "--epochs", "1", "--distribute", "data", "--output", tmp_path / "run"],
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
        [sys.executable, SCRIPT.with_name("several_devices.py"), "train", *TINY[:-1], "127"]
        + ["--distribute", "data", "--output", tmp_path / "no"],
        capture_output=True,
        text=True,
    )
    assert refused.returncode == 2 and "--batch-size must be a multiple of 2" in refused.stderr


@several
@pytest.mark.slow
def test_processes_that_lost_one_go_on_from_the_last_checkpoint(tmp_path):
    together = [sys.executable, WORKERS, "--workers", "2", "train"]
    run = [*together, *TINY, "--epochs", "3", "--checkpoint-every", "4", "--output"]
    done = subprocess.run([*run, tmp_path / "whole"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("the model is in") == 1  # one of them speaks

    broken = tmp_path / "broken"
    running = subprocess.Popen([*run, broken], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not any((broken / "checkpoints").glob("epoch_0001*.keras")):
        assert running.poll() is None, running.communicate()
        time.sleep(0.05)
    children = subprocess.run(["pgrep", "-P", str(running.pid)], capture_output=True, text=True).stdout
    os.kill(int(children.split()[1]), signal.SIGKILL)
    _, errors = running.communicate(timeout=120)
    assert running.returncode == 128 + signal.SIGKILL, errors[-3000:]
    assert "worker 1 of 2 ended with signal 9; the others were stopped." in errors
    assert not (broken / "model.keras").exists()

    done = subprocess.run([*together, "--resume", broken], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    models = [keras.saving.load_model(tmp_path / run / "model.keras") for run in ("whole", "broken")]
    for one, other in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_array_equal(one, other)


def test_one_device_cannot_share():
    with pytest.raises(InputError, match="distribute must be auto or none: .*one device"):
        backend.distribution("data")
    with pytest.raises(InputError, match="distribute must be one of auto, none, data"):
        backend.distribution("mirrored")
    for choice in ("auto", "none"):
        with backend.distribution(choice):
            pass


def test_the_noise_of_one_device_is_what_keras_gives():
    ours, theirs = backend.Seeds(3), keras.random.SeedGenerator(3)
    for _ in range(2):
        draws = [keras.ops.convert_to_numpy(keras.random.normal((5,), seed=seed)) for seed in (ours, theirs)]
        np.testing.assert_array_equal(*draws)
