"""Random stops of trainings: `python -m tests.stops --backend torch --stops 50 --seconds 600 --log FILE`.

A stop is a signal at a random place of `keras-vaegan train`. The tool resumes each stopped run, perhaps stops
it again, and compares the finished run with one that was never stopped, bit for bit. The log has a line of
JSON for each run. If it exists, the tool appends to it and continues to count.

One process imports Keras and its backend, computes nothing, and forks a child for each command.
"""

import argparse
import collections
import datetime
import functools
import importlib
import importlib.metadata
import importlib.util
import io
import json
import math
import os
import pathlib
import random
import re
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
import zipfile

import numpy as np

SIGNALS = ("KILL", "TERM", "HUP", "INT")
CODES = {"KILL": -signal.SIGKILL, "TERM": 143, "HUP": 129, "INT": 130}
# Those of TIMED come at a random time, the others at a random event of the kind.
TIMED = {"before the first step": "begun", "any time": "first step"}
PLACES = (*TIMED, "in steps", "in validation", "at epoch ends", "drawing images", "writing files")
EPOCHS, IMAGE_SIZE, MOST_STOPS = 3, 8, 8  # the last one of a run
DEADLINE = 300  # seconds of a command, after which it counts as hanging

COMMON = ["--epochs", EPOCHS, "--batch-size", 8, "--checkpoint-every", 2, "--latent-dim", 2]
NETWORKS = ("encoder", "decoder")
MODELS = {
    "vae_gan": [f"--set=networks.{net}.filters=[3]" for net in (*NETWORKS, "discriminator")],
    "draw": [
        "--set=steps=2",
        *(f"--set={net}.{size}=2" for net in NETWORKS for size in ("units", "glimpse")),
    ],
    "ssl_vae": [f"--set={net}.units=[8]" for net in ("trunk", "class_head", *NETWORKS)],
}
MODELS["draw"] += ["--set=steps=2"]
MODELS["vae_gan"] += ["--set=prior=mixture", "--set=components=3", "--augment", "translation"]
MODELS["ssl_vae"] += ["--num-labels", 12, "--augment", "cutout"]
# What a child needs. The flags of JAX stand in `conftest`, which comes before Keras.
IMPORTED = ("tests.conftest", "keras_vaegan.cli", "keras_vaegan.callbacks", "keras_vaegan.data", "h5py")
IMPORTED += (
    "keras_vaegan.plots",
    "keras_vaegan.presets",
    "keras_vaegan.diagnosis",
    "matplotlib.pyplot",
    "PIL.Image",
)
OLDER = re.compile(
    rf"checkpoints/epoch_(?!{EPOCHS:04d}[.]).*[.]keras"
)  # which of them stay depends on the stops
# Keras numbers names that come again, as after a checkpoint was loaded, and objects by their addresses.
NUMBERS = re.compile(rb'_[0-9]+(?=")|(?<="shared_object_id": )[0-9]+')
IGNORED = 10  # seconds for which a command goes on after a signal that comes as it ends
WRITING = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.truncate"}  # of Python's audit


def dataset(path):
    """Write 60 images of three classes."""
    labels = np.arange(60) % 3
    noise = np.random.default_rng(0).random((60, IMAGE_SIZE, IMAGE_SIZE, 1), dtype="float32")
    np.savez(path, x=noise * (labels + 1)[:, None, None, None] / 3, y=labels)
    return path


def command(model, images, folder):
    arguments = [
        "--preset",
        f"{model}_mnist_small",
        "--dataset",
        images,
        *COMMON,
        *MODELS[model],
        "--output",
        folder,
    ]
    return ["train", *map(str, arguments)]


# ---- in the child ----


class Events:
    """Events of a command by their place; the n-th of a place sends a signal to the own process.

    Args:
        folder: of the run, whose files count.
        tell: called with the name of what begins, once for each name.
        place, number, name: of the event, counted from 1, and the signal's name; None for no signal.
    """

    def __init__(self, folder, tell, place=None, number=None, name=None):
        self.folder, self.tell, self.stop = os.path.join(folder, ""), tell, (place, number)
        self.name, self.counts, self.told = name, collections.Counter(), set()

    def note(self, place):
        self.counts[place] += 1
        if (place, self.counts[place]) == self.stop:
            self.begin("sent")
            os.kill(os.getpid(), getattr(signal, f"SIG{self.name}"))

    def begin(self, what):
        if what not in self.told:
            self.told.add(what)
            self.tell(what)

    def around(self, owner, name, place):
        """Note an event before and after each call of a function."""
        call = getattr(owner, name)

        @functools.wraps(call)
        def noting(*arguments, **settings):
            self.note(place)
            result = call(*arguments, **settings)
            self.note(place)
            return result

        setattr(owner, name, noting)

    def audit(self, event, arguments):
        """Note what is about to change files of the run."""
        writes = event in WRITING or (event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR))
        if writes and isinstance(arguments[0], (str, os.PathLike)):
            if os.path.join(os.fspath(arguments[0]), "").startswith(self.folder):
                self.note("writing files")

    def watch(self):
        """Patch what the places are; in a child alone, for nothing undoes it."""
        import keras

        from keras_vaegan import callbacks, cli, plots

        begin_batch, run = keras.callbacks.CallbackList.on_train_batch_begin, cli.cli.main

        def on_train_batch_begin(*arguments, **settings):
            self.begin("first step")
            return begin_batch(*arguments, **settings)

        def main(*arguments, **settings):
            self.begin("begun")
            return run(*arguments, **settings)

        keras.callbacks.CallbackList.on_train_batch_begin = on_train_batch_begin
        cli.cli.main = main
        self.around(keras.callbacks.CallbackList, "on_train_batch_begin", "in steps")
        for hook in ("on_test_begin", "on_test_batch_begin", "on_test_end"):
            self.around(keras.callbacks.CallbackList, hook, "in validation")
        for owner in (callbacks.Monitor, callbacks.SampleGrids, callbacks.HistoryFile, callbacks.Checkpoints):
            self.around(owner, "on_epoch_end", "at epoch ends")
        for name in [name for name in vars(plots) if name.startswith("save_")]:
            self.around(plots, name, "drawing images")
        sys.addaudithook(self.audit)


def _child(arguments, folder, output, pipe, stop):
    """Run a command in this forked process, and end it."""
    code = 1

    def tell(what):
        os.write(pipe, (json.dumps(what) + "\n").encode())

    try:
        for name, handler in (("INT", signal.default_int_handler), ("TERM", 0), ("HUP", 0)):
            signal.signal(getattr(signal, f"SIG{name}"), handler)
        handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for stream in (1, 2):
            os.dup2(handle, stream)
        print("$", *arguments, *stop, flush=True)
        events = Events(folder, tell, *stop)
        events.watch()
        from keras_vaegan import cli

        try:
            cli.main(arguments)
        except SystemExit as end:
            code = end.code or 0
        tell(events.counts)
    except BaseException:
        traceback.print_exc()
        code = 99
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


# ---- in the process that forks ----


class Command:
    """A forked process that ran a command.

    Attributes:
        code: as `subprocess` gives it, -9 for SIGKILL.
        times: seconds from the start to what began, to the signal (`sent`) and to the end.
        counts: events of each place, if the process was not stopped.
    """

    def __init__(self, arguments, folder, output, place=None, at=None, name=None):
        """Run a command, and stop it.

        Args:
            arguments: of the command line.
            folder: of the run.
            output: file to which standard output and error are appended.
            place: one of PLACES; None for no stop.
            at: number of the event from 1, or seconds for a place of TIMED.
            name: of the signal.
        """
        self.times, self.counts, self.started = {}, {}, time.monotonic()
        reading, writing = os.pipe()
        stop = () if place is None or place in TIMED else (place, at, name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that threads may hold locks; here none has computed
            self.child = os.fork()
        if not self.child:
            os.close(reading)
            _child(arguments, folder, output, writing, stop)
        os.close(writing)
        try:
            self._follow(reading, TIMED.get(place), at, name)
        finally:
            os.close(reading)
            self.code = os.waitstatus_to_exitcode(os.waitpid(self.child, 0)[1])
            self.times["end"] = self._passed()

    def _passed(self):
        return time.monotonic() - self.started

    def _follow(self, pipe, begin, at, name):
        """Read what the child tells until it ends; send it the signal so many seconds after what begins."""
        text, due = b"", math.inf
        while True:
            ready = select.select([pipe], [], [], max(min(due, DEADLINE) - self._passed(), 0))[0]
            if ready:
                more = os.read(pipe, 65536)
                if not more:
                    return
                *lines, text = (text + more).split(b"\n")
                for line in lines:
                    value = json.loads(line)
                    if isinstance(value, dict):
                        self.counts = value
                    else:
                        self.times[value] = self._passed()
                        due = self._passed() + at if value == begin else due
            elif self._passed() >= due:
                os.kill(self.child, getattr(signal, f"SIG{name}"))
                due, self.times["sent"] = math.inf, self._passed()
            else:
                os.kill(self.child, signal.SIGKILL)
                return


def _json(text, *besides):
    value = json.loads(text)
    for name in besides:
        value.pop(name, None)
    return value


def _arrays(name, file):
    """The arrays of a weights' file by their paths."""
    import h5py

    found = {}

    def add(path, item):
        if isinstance(item, h5py.Dataset):
            found[f"{name}/{path}"] = (item.shape, str(item.dtype), item[()].tobytes())

    with h5py.File(file) as content:
        content.visititems(add)
    return found


def _archive(name, path):
    """What a `.keras` file holds, by name."""
    found = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            content, inner = io.BytesIO(archive.read(member)), f"{name}/{member}"
            if member.endswith(".h5"):
                found |= _arrays(inner, content)
            elif member.endswith(".npz"):
                with np.load(content) as arrays:
                    found |= {f"{inner}/{key}": arrays[key].tobytes() for key in arrays.files}
            else:
                found[inner] = _json(NUMBERS.sub(b"0", content.read()), "date_saved")
    return found


def contents(folder):
    """Everything in a finished run that must not depend on stops, by name: arrays, pixels, texts."""
    from PIL import Image

    found = {}
    for path in sorted(pathlib.Path(folder).rglob("*")):
        name = str(path.relative_to(folder))
        if OLDER.fullmatch(name):
            continue
        found[name] = b""
        if path.name.startswith("."):  # a lock, or a file half written: there must be none
            continue
        if path.suffix == ".h5":
            found |= _arrays(name, path)
        elif path.suffix == ".keras":
            found |= _archive(name, path)
        elif path.suffix == ".png":
            with Image.open(path) as image:
                found[name] = (image.size, image.tobytes())
        elif path.name == "metadata.json":
            found[name] = _json(path.read_bytes(), "seconds")
        elif path.is_file():
            found[name] = path.read_bytes()
    return found


class Stops:
    """Stops of one model, and what they showed.

    Args:
        model: one of MODELS.
        folder: in which it works.
        seed: of places and times.
        done: stops of this model that earlier calls made.
        log: called with the record of each run.

    Attributes:
        done: stops so far.
        wrong: runs that did not end as they should.
    """

    def __init__(self, model, folder, seed, done, log):
        self.model, self.folder, self.log = model, pathlib.Path(folder, model), log
        self.folder.mkdir(parents=True)
        self.images = dataset(self.folder / "images.npz")
        self.random = random.Random(f"{os.environ['KERAS_BACKEND']} {model} {seed} {done}")
        self.done, self.wrong, self.runs, self.pairs = done, 0, 0, []
        folder, output = self.folder / "whole", self.folder / "whole.txt"
        self.reference = Command(command(model, self.images, folder), folder, output)
        if self.reference.code:
            raise RuntimeError(f"the training that is not stopped fails:\n{output.read_text()}")
        self.whole = contents(folder)
        assert self.whole["metadata.json"]["finished"] is True

    def _next(self):
        """Place and signal of the next stop: each pair comes as often as any other."""
        size = len(PLACES) * len(SIGNALS)
        if not self.pairs:
            self.pairs = [(place, name) for place in PLACES for name in SIGNALS]
            random.Random(f"{self.model} {self.done // size}").shuffle(self.pairs)
            del self.pairs[: self.done % size]
        return self.pairs[0]

    def _at(self, folder, place):
        """A random event, or time, of what is left of a run."""
        from keras_vaegan.checkpoints import found

        times, checkpoints = self.reference.times, found(folder / "checkpoints")
        if place == "before the first step":
            return self.random.uniform(0, times["first step"] - times["begun"])
        done = int(checkpoints[-1].stem.split("_")[1]) / EPOCHS if checkpoints else 0
        left = max(1 - done, 0.3)
        if place == "any time":
            return self.random.uniform(0, left * (times["end"] - times["first step"]))
        return self.random.randint(1, math.ceil(left * self.reference.counts[place]))

    def one_run(self, most):
        """Stop a run at most so many times, resume it to its end and log what came of it."""
        from keras_vaegan.files import member
        from keras_vaegan.runs import BEGUN, METADATA

        self.runs += 1
        folder, output = self.folder / f"run{self.runs}", self.folder / f"run{self.runs}.txt"
        resume, stops, wrong = ["train", "--resume", str(folder)], [], []
        planned = self.random.randint(1, min(most, MOST_STOPS))
        while not wrong:
            # A process that is stopped before it locks the folder has left nothing to go on with.
            begun = (folder / BEGUN).exists() or member(folder, METADATA).exists()
            arguments = resume if begun else command(self.model, self.images, folder)
            stop = ()
            if len(stops) < planned:
                place, name = self._next()
                stop = (place, self._at(folder, place), name)
            ended = Command(arguments, folder, output, *stop)
            if not ended.code:
                if "sent" in ended.times and ended.times["end"] - ended.times["sent"] > IGNORED:
                    wrong.append(f"SIG{name} is ignored {place} {stop[1]}")
                break
            if "sent" not in ended.times:
                wrong.append(f"exit code {ended.code} without a signal")
                break
            self.pairs.pop(0)
            self.done += 1
            stops.append({"place": place, "at": round(stop[1], 3), "signal": name, "code": ended.code})
            if ended.code != CODES[name]:
                wrong.append(f"exit code {ended.code} after SIG{name} {place} {stop[1]}")
        if not wrong:
            own = contents(folder)
            wrong = sorted(
                key for key in own.keys() | self.whole.keys() if own.get(key) != self.whole.get(key)
            )
            again = Command(resume, folder, output)  # as a scheduler does
            if again.code or contents(folder) != own:
                wrong.append(f"exit code {again.code} of --resume of the finished run, or it has changed")
        self.wrong += bool(wrong)
        self.log({"model": self.model, "stops": stops, "wrong": wrong})
        if wrong:
            print(f"{self.model}: {folder} is wrong: {wrong[:9]}; see {output}", flush=True)
        else:
            shutil.rmtree(folder)
            output.unlink()


def read_log(path):
    """The records of a log; none if it is missing."""
    if path is None or not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def table(records):
    """Lines of a table: stops whose run ended as it should, by backend, model, signal and place."""
    stops, good = collections.Counter(), collections.Counter()
    for record in records:
        for stop in record["stops"]:
            for place in (stop["place"], "all"):
                for cell in ((record["backend"], record["model"], stop["signal"]), ("all", "", "")):
                    stops[(*cell, place)] += 1
                    good[(*cell, place)] += not record["wrong"]
    columns = (*PLACES, "all")
    yield f"| backend | model | signal | {' | '.join(columns)} |"
    yield "|" + " --- |" * (3 + len(columns))
    for row in [*sorted({key[:3] for key in stops} - {("all", "", "")}), ("all", "", "")]:
        counts = [(good[(*row, place)], stops[(*row, place)]) for place in columns]
        cells = (f"{right} of {made}" if made else "" for right, made in counts)
        yield f"| {' | '.join((*row, *cells))} |"


def stop_models(models, stops, seed, seconds, log):
    """Stop runs of the models in turn until each was stopped so often, or the time is over.

    Returns:
        The number of runs that did not end as they should.
    """
    backend, end = os.environ["KERAS_BACKEND"], time.monotonic() + seconds
    before = [record for record in read_log(log) if record["backend"] == backend and record["seed"] == seed]
    versions = {name: importlib.metadata.version(name) for name in ("keras", "numpy", backend)}

    def write(record):
        today = datetime.date.today().isoformat()
        record = {"backend": backend, "seed": seed, "date": today, "versions": versions} | record
        before.append(record)
        if log is not None:
            with open(log, "a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")

    folder = tempfile.mkdtemp(prefix="keras-vaegan-stops-")
    tried, wrong = [], 0
    for model in models:
        done = sum(len(record["stops"]) for record in before if record["model"] == model)
        if done < stops and time.monotonic() < end:
            tried.append(Stops(model, folder, seed, done, write))
    while open_ := [one for one in tried if one.done < stops]:
        if time.monotonic() >= end:
            break
        first = min(open_, key=lambda one: one.done)
        first.one_run(stops - first.done)
    for line in table(before):
        print(line)
    wrong = sum(one.wrong for one in tried)
    if not wrong:
        shutil.rmtree(folder)
    return wrong


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.stops", description=__doc__)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS), help="which models")
    parser.add_argument("--stops", type=int, default=50, help="of each model, those of the log included")
    parser.add_argument("--backend", choices=("tensorflow", "jax", "torch"), default="tensorflow")
    parser.add_argument("--seed", type=int, default=0, help="of places and times")
    parser.add_argument("--seconds", type=float, default=math.inf, help="no run begins after this time")
    parser.add_argument("--log", default=None, help="file of one line for each run, which is continued")
    parser.add_argument("--table", nargs="+", metavar="LOG", help="print the table of these logs alone")
    settings = parser.parse_args()
    if settings.table:
        print("\n".join(table([record for log in settings.table for record in read_log(log)])))
        return
    os.environ |= {"KERAS_BACKEND": settings.backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    for name in IMPORTED:  # once, for all children
        importlib.import_module(name)
    arguments = (settings.models, settings.stops, settings.seed, settings.seconds, settings.log)
    sys.exit(bool(stop_models(*arguments)))


if __name__ == "__main__":
    main()
