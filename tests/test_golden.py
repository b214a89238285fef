"""Files that an earlier version or another backend wrote load, go on training, and give the same."""

import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import registry
from golden.make import FOLDER, outputs

FILES = sorted(FOLDER.glob("*.keras"))
IN_REPOSITORY = (pathlib.Path(__file__).parents[1] / ".git").exists()

pytestmark = pytest.mark.skipif(
    not FILES and not IN_REPOSITORY, reason="the golden files are in the repository, not in the sdist"
)


def test_there_is_a_file_of_every_model_from_every_backend():
    expected = {
        f"{name}.{backend}.keras" for name in registry.MODELS for backend in ("tensorflow", "jax", "torch")
    }
    assert {path.name for path in FILES} == expected


@pytest.mark.core_on("one")
def test_importing_the_package_is_enough_to_load_layers_of_its_own():
    path = FOLDER / "vae_gan_r1_spectral.jax.keras"
    code = f"import keras, keras_vaegan; print(type(keras.saving.load_model({str(path)!r})).__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "VAEGAN", done.stderr


# The core suite of each backend reads the representatives from the next one, and so the three read all.
BACKENDS = ("tensorflow", "jax", "torch")
OWN = keras.backend.backend()
OTHER = BACKENDS[(BACKENDS.index(OWN) + 1) % len(BACKENDS)]


def files(models):
    """The names of all files; those of these models from the next backend are in the core suite."""
    return registry.core({f"{model}.{OTHER}.keras" for model in models}, [path.name for path in FILES])


@pytest.mark.parametrize("file", files(registry.REPRESENTATIVES))
def test_a_golden_file_gives_its_outputs(file):
    path = FOLDER / file
    model = keras.saving.load_model(path)
    with np.load(path.with_suffix(".npz")) as expected:
        for name, value in outputs(model).items():
            np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("file", files(("vae_gan_three_players", "stacked_ssl_vae")))
def test_a_golden_file_goes_on(file):
    model = keras.saving.load_model(FOLDER / file)
    steps = {player: int(model.player_optimizer(player).iterations) for player in model.players}
    late = model.game.start if hasattr(model, "game") else 0  # steps in which D does not move
    assert steps == {player: 2 - (late if player == "discriminator" else 0) for player in model.players}
    for player in model.players:
        optimizer = model.player_optimizer(player)
        assert optimizer.use_ema
        assert float(optimizer.learning_rate) == pytest.approx(1e-3 * 0.9 ** (steps[player] / 10), rel=1e-5)
        moments = [v for v in optimizer.variables if "momentum" in v.path or "velocity" in v.path]
        assert moments and any(np.any(keras.ops.convert_to_numpy(v) != 0) for v in moments)
    logs = model.fit(*registry.data(model, 8), batch_size=4, verbose=0).history
    assert all(np.isfinite(values).all() for values in logs.values())
