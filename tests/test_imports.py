"""What importing and training load, in fresh processes."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

BACKEND = keras.backend.backend()

TRAIN_AND_SAVE = """
import json, sys

def loaded():
    return sorted({"tensorflow", "jax", "torch"} & set(sys.modules))

import keras
alone = loaded()
import keras_vaegan as kvg
report = {"keras": alone, "package": loaded(), "backend": keras.backend.backend()}

import numpy as np
from keras_vaegan.networks import mlp
x = np.random.default_rng(0).random((4, 2, 3, 1), dtype="float32")
small = {"units": (3,)}
model = kvg.VAE(mlp.encoder((2, 3, 1), 2, **small), mlp.decoder((2, 3, 1), 2, **small))
model.compile()
model.fit(x, epochs=1, verbose=0)
report["trained"] = loaded()
model.save(sys.argv[1])  # here Keras itself loads TensorFlow, if it is installed
report["images"] = model.generate(3, seed=1).tolist()
print(json.dumps(report))
"""

LOAD = """
import json, sys
import keras
import keras_vaegan
model = keras.saving.load_model(sys.argv[1])
images = model.generate(3, seed=1).tolist()
print(json.dumps({"images": images, "iterations": int(model.optimizer.iterations)}))
"""


def run(code, *arguments):
    """The JSON on the last line that a fresh process prints."""
    finished = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=os.environ | {"KERAS_BACKEND": BACKEND},
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """What a process that trained and saved a model reports, and the file."""
    path = tmp_path_factory.mktemp("imports") / "model.keras"
    return run(TRAIN_AND_SAVE, path), path


def test_the_package_loads_the_backend_that_keras_loads(saved):
    report, _ = saved
    assert report["backend"] == BACKEND
    assert report["package"] == report["keras"]
    assert BACKEND in report["keras"]


def test_training_loads_no_other_backend(saved):
    report, _ = saved
    assert report["trained"] == report["keras"]
    assert BACKEND == "tensorflow" or "tensorflow" not in report["trained"]


def test_a_saved_model_loads_in_a_fresh_process_that_imports_the_package(saved):
    report, path = saved
    loaded = run(LOAD, path)
    np.testing.assert_allclose(loaded["images"], report["images"], rtol=1e-5)
    assert loaded["iterations"] == 1
