"""What the scripts beside this one share: the options that say where MNIST is, and calls of the command."""

import json
import subprocess

from keras_vaegan.files import read_json


def add_data_options(parser):
    """Add `--manual-dir` and `--data-dir`, as the command line has them."""
    parser.add_argument("--manual-dir")
    parser.add_argument("--data-dir")


def data_arguments(options):
    """The same options for a call of the command."""
    given = {"--manual-dir": options.manual_dir, "--data-dir": options.data_dir}
    return [f"{name}={path}" for name, path in given.items() if path]


def command(*arguments, **settings):
    """Run `keras-vaegan` with these arguments; it must succeed."""
    subprocess.run(["keras-vaegan", *map(str, arguments)], check=True, **settings)


def read_lines(path):
    """The results in a file of JSON lines; none if there is no file yet."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def add_line(path, result):
    """Add a result to a file of JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as file:
        file.write(json.dumps(result) + "\n")


def train(folder, *arguments, data=(), run=command):
    """Train a run into the folder; one that was broken off goes on, one that is done is left as it is."""
    about = folder / "metadata.json"
    if not about.is_file():
        run("train", *arguments, "--output", folder, *data)
        return
    metadata = read_json(about)
    done = metadata.get("epochs_done", 0) >= metadata["recipe"]["training"]["epochs"]
    if not done or metadata.get("interrupted"):
        run("train", "--resume", folder, *data)
