"""The process that runs TensorFlow for an export from another backend; see `keras_vaegan.export`."""

import importlib
import json
import os
import pathlib
import sys

import numpy as np

from keras_vaegan.errors import InputError


def main(folder: pathlib.Path) -> int:
    """Do the job of a folder: `job.json`, `examples.npz` and the `model`."""
    settings = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    import keras_vaegan.models  # noqa: F401 - registers the classes that the configuration names
    from keras_vaegan.export import FAILED, perform
    from keras_vaegan.export.job import Job
    from keras_vaegan.presets.folder import load_folder

    try:
        for module in settings["imports"]:
            importlib.import_module(module)
        model, _ = load_folder(folder / "model")
        with np.load(folder / "examples.npz") as file:
            examples = dict(file)
        perform(model, Job(**settings["job"]), examples)
    except InputError as error:
        print(error, file=sys.stderr)
        return FAILED
    return 0


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.exit(main(pathlib.Path(sys.argv[1])))
