"""Folders, caches and addresses that are not ours: each ends in one line, or in a page of bounded size."""

import errno
import importlib
import json
import os
import pathlib
import stat
import sys
import tempfile
import types
import warnings
import zipfile

import numpy as np
import pytest
import registry
from PIL import Image

from keras_vaegan import (
    InputError,
    checkpoints,
    cli,
    diagnosis,
    evaluation,
    files,
    memory,
    metrics,
    plots,
    presets,
)
from keras_vaegan.callbacks import HistoryFile
from keras_vaegan.cli import options, parts
from keras_vaegan.data import tfds as tfds_source
from keras_vaegan.export import web
from keras_vaegan.locks import LOCK, FolderLock
from keras_vaegan.report import write_report
from keras_vaegan.runs import RUN_FILES, RUN_FOLDERS, read_findings, read_run

evaluate_command = importlib.import_module("keras_vaegan.cli.evaluate")  # the name is that of the command
pytestmark = pytest.mark.core_on("one")
GONE = 2**22 + 1  # no process has this number
SHAPE = (5, 4, 1)
METADATA = {
    "model": "vae",
    "dataset": "no such data",
    "image_shape": list(SHAPE),
    "seed": 1,
    "backend": "tensorflow",
    "mixed_precision": "none",
    "recipe": {
        "model": {"key": "vae"},
        "networks": {"family": "mlp", "latent_dim": 2},
        "optimizer": {"generator": {"class": "Adam"}},
        "training": {"dataset": "no such data", "epochs": 3, "batch_size": 4},
    },
    "epochs_done": 2,
}
HISTORY = "epoch,loss,val_loss\n1,3.0,3.5\n2,2.0,2.5\n"
SCORE = {"name": "sharpness", "value": 1.0, "details": None}
SCORES = {"format_version": 1, "scores": [SCORE]}
LONGEST_LINE = 3000  # characters of what a command says of one fault
LARGEST_PAGE = 4_000_000


def make_run(folder, metadata=METADATA, history=HISTORY, scores=SCORES):
    """A run folder, but for its model; values become JSON, texts stay as they are."""
    folder.mkdir(parents=True)
    for name, content in (("metadata.json", metadata), ("history.csv", history), ("evaluate.json", scores)):
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "samples").mkdir()
    for epoch in (1, 2):
        plots.save_grid(np.full((4, *SHAPE), 0.5), folder / "samples" / f"epoch_{epoch:04d}.png")
    plots.save_grid(np.full((4, *SHAPE), 0.5), folder / "samples.png")
    return folder


@pytest.fixture
def folder(tmp_path):
    return make_run(tmp_path / "run")


def refused(function, *arguments, **named):
    """The message of the `InputError`, which is one printable line."""
    with pytest.raises(InputError) as error:
        function(*arguments, **named)
    message = str(error.value)
    assert message.strip() and message.isprintable() and len(message) < LONGEST_LINE
    return message


def run(capsys, *words):
    """Exit code and both outputs of a command line."""
    with pytest.raises(SystemExit) as end:
        cli.main([str(word) for word in words])
    captured = capsys.readouterr()
    return end.value.code or 0, captured.out, captured.err


# ---- what is on the disk when ----


@pytest.fixture
def events(monkeypatch):
    """Names of files and folders as they are brought to the disk and renamed, in order."""
    noted, sync, replace = [], os.fsync, os.replace

    def fsync(handle):
        place = os.readlink(f"/proc/self/fd/{handle}") if os.path.isdir("/proc/self/fd") else "?"
        noted.append(("sync", os.path.basename(place), stat.S_ISDIR(os.fstat(handle).st_mode)))
        sync(handle)

    def rename(source, target):
        noted.append(("rename", os.path.basename(source), os.path.basename(target)))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", rename)
    return noted


@pytest.mark.skipif(sys.platform != "linux", reason="names of open files are read from /proc")
def test_a_file_is_on_the_disk_before_it_is_renamed(tmp_path, events):
    files.write_json(tmp_path / "a.json", {"a": 1})
    (kind, name, is_folder), renamed, last = events
    assert (kind, is_folder) == ("sync", False) and renamed == ("rename", name, "a.json")
    assert last == ("sync", tmp_path.name, True)


@pytest.mark.skipif(sys.platform != "linux", reason="names of open files are read from /proc")
@pytest.mark.parametrize("whole", [files.atomic_folder, files.atomic_files])
def test_all_files_of_a_folder_are_on_the_disk_before_it_is_renamed(tmp_path, events, whole):
    with whole(tmp_path / "made") as scratch:
        (scratch / "a").write_text("a")
        (scratch / "b").write_text("b")
    before = events[: [kind for kind, *_ in events].index("rename")]
    assert {name for _, name, _ in before} == {"a", "b", "made"}
    assert events[-1][0] == "sync" and events[-1][2]


def test_a_disk_that_fails_leaves_the_older_file(tmp_path, monkeypatch):
    files.write_json(tmp_path / "a.json", 1)

    def fail(number):
        def fsync(handle):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "fsync", fsync)

    fail(errno.EIO)
    with pytest.raises(OSError, match="error"):
        files.write_json(tmp_path / "a.json", 2)
    assert files.read_json(tmp_path / "a.json") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    fail(errno.EINVAL)  # a file system that cannot tell
    files.write_json(tmp_path / "a.json", 3)
    assert files.read_json(tmp_path / "a.json") == 3


def write_nothing(path):
    with files.atomic_folder(path):
        pass


WRITERS = {  # what a command writes, and by what
    "generate.png": lambda path: plots.save_grid(np.zeros((4, *SHAPE)), path),
    "animate.gif": lambda path: plots.save_animation(
        np.zeros((1, 2, *SHAPE)), np.ones((1, 2, 2)), np.ones((1, 2)), path
    ),
    "evaluate.json": lambda path: evaluation.save_scores({}, path),
    "report.html": lambda path: write_report(make_run(path.parent.parent / "run"), path),
    "export": write_nothing,
}


@pytest.mark.parametrize("name", WRITERS)
def test_the_next_command_deletes_what_a_killed_one_left(tmp_path, name):
    place = tmp_path / "place"
    place.mkdir()
    left = place / f"{files.PARTIAL}{GONE}-{files._machine()}-abcdefgh{name}"
    if "." in name:
        left.write_text("half")
    else:
        (left / "made").mkdir(parents=True)
    WRITERS[name](place / name)
    assert [path.name for path in place.iterdir()] == [name]


def test_passing_folders_of_killed_processes_are_deleted(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for process in (GONE, os.getpid()):
        (tmp_path / f"{files.PARTIAL}{process}-{files._machine()}-a{files.SCRATCH}" / "x").mkdir(parents=True)
    with files.scratch_folder() as scratch:
        assert scratch.parent == tmp_path
        assert len(list(tmp_path.iterdir())) == 2  # this one, and that of a living process
    assert len(list(tmp_path.iterdir())) == 1


# ---- a cache or a home that cannot be written ----


@pytest.fixture
def no_cache(tmp_path, monkeypatch):
    """A file in the place of Keras' folder."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "file"))
    return tmp_path / "file"


def images(count=12):
    return np.random.default_rng(0).random((count, 28, 28, 1)).astype("float32")


def test_statistics_that_cannot_be_kept_are_computed_all_the_same(no_cache):
    extractor, x = metrics.extractor("mnist_plain"), images()
    expected = metrics.reference_statistics(extractor, x)
    with pytest.warns(UserWarning, match="goes on without a cache, which cannot be written") as told:
        found = metrics.reference_statistics(extractor, x, cache=files.cache_folder())
    (message,) = {str(one.message) for one in told if one.category is UserWarning}
    assert "\n" not in message and str(no_cache) in message
    np.testing.assert_array_equal(found.features, expected.features)


def test_kept_statistics_of_other_shapes_are_computed_anew(tmp_path):
    extractor, x = metrics.extractor("mnist_plain"), images()
    expected = metrics.reference_statistics(extractor, x, cache=tmp_path)
    (path,) = tmp_path.iterdir()
    good = dict(np.load(path))
    harms = [
        good | {"mean": good["mean"][:3]},
        good | {"features": good["features"][:5]},
        good | {"scatter": good["scatter"].astype(str)},
        {name: array for name, array in good.items() if name != "probabilities"},
        good | {"count": np.array(["x"])},
    ]
    for harm in harms:
        np.savez(path, **harm)
        found = metrics.reference_statistics(extractor, x, cache=tmp_path)
        np.testing.assert_array_equal(found.moments.mean, expected.moments.mean)
        assert dict(np.load(path)).keys() == good.keys()


@pytest.fixture
def archive(tmp_path):
    np.savez(
        tmp_path / "images.npz", images=np.random.default_rng(0).random((150, 8, 8, 1)).astype("float32")
    )
    return tmp_path / "images.npz"


def test_evaluate_goes_on_without_a_cache(no_cache, archive, capsys):
    words = ("evaluate", archive, "--dataset", "digits", "--features", "mnist_plain", "--metrics", "frechet")
    with warnings.catch_warnings():
        warnings.simplefilter("default")  # as in a process of the command
        code, out, err = run(capsys, *words)
    assert code == 0 and "frechet distance" in out
    assert err.count("warning: goes on without a cache") == 1
    assert json.loads((archive.parent / "images.npz.evaluate.json").read_text())["scores"]


def test_evaluate_goes_on_without_a_home(archive, monkeypatch):
    def homeless():
        raise InputError("KERAS_HOME must be a path; there is no home folder for '~/.keras'.")

    monkeypatch.setattr(evaluate_command, "cache_folder", homeless)
    with pytest.warns(UserWarning, match="no home folder"):
        assert evaluate_command._cache() is None


def test_scores_are_printed_before_the_file_that_cannot_be_written(no_cache, archive, capsys):
    words = ("evaluate", archive, "--dataset", "digits", "--metrics", "sharpness", "--no-cache")
    code, out, err = run(capsys, *words, "--output", no_cache / "scores.json")
    assert code == 2 and out.startswith("score") and "\nsharpness" in out and "wrote" not in out
    assert err.startswith("keras-vaegan: error: ") and err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code"), [(MemoryError("no more"), 2), (RuntimeError("odd"), 1), (KeyboardInterrupt(), 130)]
)
def test_scores_are_printed_if_a_later_group_fails(archive, capsys, monkeypatch, error, code):
    def fail(of):
        raise error
        yield

    monkeypatch.setitem(evaluation.GROUPS, "frechet", fail)
    words = ("evaluate", archive, "--dataset", "digits", "--metrics", "sharpness,frechet", "--no-cache")
    found, out, err = run(capsys, *words)
    assert found == code and "\nsharpness" in out and err.strip().count("\n") == 0
    assert not (archive.parent / "images.npz.evaluate.json").exists()


def test_what_must_be_fetched_goes_to_a_passing_folder(no_cache, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    with pytest.warns(UserWarning, match="goes on without a cache"):
        place = files.kept_or_passing("hub/a")
    assert place.is_relative_to(tmp_path / "temporary")
    monkeypatch.setattr(web, "_fetch", lambda cache: cache.mkdir())
    with pytest.warns(UserWarning, match="goes on without a cache"):
        assert web.runtime_folder(None).is_dir()
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    assert files.kept_or_passing("hub/a") == tmp_path / "keras" / "keras_vaegan" / "hub" / "a"


def test_a_data_dir_that_cannot_be_written_is_named(tmp_path):
    def builder(name, data_dir):
        raise PermissionError(errno.EACCES, "Permission denied", data_dir)

    config = types.SimpleNamespace(DownloadConfig=lambda manual_dir: None)
    tfds = types.SimpleNamespace(builder=builder, download=config)
    message = refused(tfds_source._prepare, "mnist", str(tmp_path), None, tfds)
    assert message.startswith("data_dir must be a folder that TFDS can write")
    assert str(tmp_path) in message and "Permission denied" in message


# ---- run folders that are not ours ----


def nested(depth, value=1):
    for _ in range(depth):
        value = [value]
    return value


def with_recipe(**changes):
    return METADATA | {"recipe": METADATA["recipe"] | changes}


def with_score(**changes):
    return SCORES | {"scores": [SCORE | changes]}


HUGE = "1" * 4000  # a number of 4,000 digits, which JSON and Python take
COLUMNS = ",".join(f"c{i}" for i in range(5000))
HOSTILE = {
    "no recipe": {"metadata": {k: v for k, v in METADATA.items() if k != "recipe"}},
    "null recipe": {"metadata": METADATA | {"recipe": None}},
    "empty recipe": {"metadata": METADATA | {"recipe": {}}},
    "recipe of lists": {"metadata": with_recipe(training=[], networks=[])},
    "recipe without epochs": {"metadata": with_recipe(training={"dataset": "no such data"})},
    "no image_shape": {"metadata": {k: v for k, v in METADATA.items() if k != "image_shape"}},
    "no backend": {"metadata": {k: v for k, v in METADATA.items() if k != "backend"}},
    "no model": {"metadata": {k: v for k, v in METADATA.items() if k != "model"}},
    "no mixed_precision": {"metadata": {k: v for k, v in METADATA.items() if k != "mixed_precision"}},
    "another backend": {"metadata": METADATA | {"backend": "os; rm"}},
    "another precision": {"metadata": METADATA | {"mixed_precision": "float8"}},
    "another model": {"metadata": with_recipe(model={"key": "no such"})},
    "shape of nothing": {"metadata": METADATA | {"image_shape": [0, -4, 0]}},
    "huge shape": {"metadata": METADATA | {"image_shape": [2**30, 2**30, 1]}},
    "negative seed": {"metadata": METADATA | {"seed": -1}},
    "huge seed": {"metadata": json.dumps(METADATA).replace('"seed": 1', f'"seed": {HUGE}')},
    "infinite seconds": {"metadata": json.dumps(METADATA)[:-1] + ', "seconds": 1e999}'},
    "seconds that are no number": {"metadata": json.dumps(METADATA)[:-1] + ', "seconds": NaN}'},
    "many seconds": {"metadata": METADATA | {"seconds": 1e299}},
    "negative epochs": {"metadata": METADATA | {"epochs_done": -5}},
    "deep": {"metadata": METADATA | {"extra": nested(900)}},
    "wide and deep": {"metadata": with_recipe(more=nested(150, list(range(200_000))))},
    "long texts": {"metadata": METADATA | {"model": "m" * 10**6, "dataset": "d" * 10**6}},
    "too much": {"metadata": METADATA | {"extra": "x" * 5_000_000}},
    "many names twice": {"metadata": "{" + ",".join(f'"{i}":1' for i in range(30_000)) + ',"0":1}'},
    "a list": {"metadata": "[]"},
    "many columns": {"history": f"{COLUMNS}\n" + ",".join(["1"] * 5000)},
    "as many columns as may be": {
        "history": ",".join(f"c{i}" for i in range(500)) + "\n" + "\n".join([",".join(["1"] * 500)] * 1000)
    },
    "many rows": {"history": "epoch,loss\n" + "1,2\n" * 300_000},
    "as many rows as may be": {"history": "epoch,loss\n" + "".join(f"{i},{i}\n" for i in range(200_000))},
    "a long name": {"history": "epoch," + "x" * 100_000 + "\n1,2\n"},
    "a long cell": {"history": "epoch,loss\n1," + "2" * 200_000 + "\n"},
    "infinite epochs": {"history": "epoch,loss\n1e999,1\nNaN,2\n"},
    "huge epochs": {"history": "epoch,loss\n1e300,1\n2e300,2\n"},
    "huge values": {"history": "epoch,loss,kl\n1,1e308,-1e308\n2,1e999,NaN\n"},
    "text": {"history": "epoch,loss\n1,much\n"},
    "no epochs": {"history": "loss\n1\n"},
    "ragged": {"history": "epoch,loss\n1\n"},
    "empty": {"history": ""},
    "a blank line": {"history": "\n"},
    "zeros": {"history": "\0,\0\n1,1\n"},
    "no scores": {"scores": {"format_version": 1}},
    "scores of lists": {"scores": {"format_version": 1, "scores": [[1]]}},
    "a later format": {"scores": SCORES | {"format_version": 1e300}},
    "many scores": {"scores": SCORES | {"scores": [SCORE] * 900}},
    "too many scores": {"scores": SCORES | {"scores": [SCORE] * 20_000}},
    "a huge score": {"scores": json.dumps(SCORES).replace("1.0", HUGE)},
    "an infinite score": {"scores": json.dumps(SCORES).replace("1.0", "1e999")},
    "a score of text": {"scores": with_score(value="x")},
    "many details": {"scores": with_score(details={str(i): i for i in range(100_000)})},
    "deep details": {"scores": with_score(details=nested(150, list(range(200_000))))},
    "huge details": {"scores": json.dumps(with_score(details=[7])).replace("[7]", f"[{HUGE}, 1e999, NaN]")},
    "findings of numbers": {"scores": SCORES | {"findings": [1]}},
    "many findings": {"scores": SCORES | {"findings": ["x" * 1000] * 900}},
    "many skipped": {"scores": SCORES | {"skipped": {str(i): "x" for i in range(100_000)}}},
    "features of text": {"scores": SCORES | {"features": "abc"}},
    "data of text": {"scores": SCORES | {"data": "abc"}},
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_foreign_run_folder_makes_a_bounded_page_or_one_line(tmp_path, capsys, case):
    folder = make_run(tmp_path / "run", **HOSTILE[case])
    for words in (("report", folder), ("doctor", folder), ("presets", folder), ("train", "--resume", folder)):
        if words[0] == "train" and "metadata" not in HOSTILE[case]:
            continue  # it would train
        code, out, err = run(capsys, *words)
        assert code in (0, 1, 2) and "unexpected" not in err, (words, err)
        assert err.count("\n") <= 1 and len(err) < LONGEST_LINE and len(out) < LARGEST_PAGE
        assert code != 0 or not err
    page = folder / "report.html"
    assert not page.exists() or page.stat().st_size < LARGEST_PAGE


def test_findings_of_a_foreign_run_are_bounded(folder):
    good = {"kind": "collapse", "severity": "severe", "epoch": 1, "message": "m"}
    for entries in ([good] * 5000, [good | {"message": "m" * 10**5}]):
        (folder / "findings.json").write_text(json.dumps(entries))
        assert "findings.json" in refused(read_findings, folder / "findings.json")


def test_a_history_with_many_columns_gone_bad_is_told_in_a_short_line():
    history = {f"c{i}": [float("nan")] for i in range(400)}
    (finding,) = diagnosis.diagnose(history)
    assert "c0, c1" in finding.message and "and 390 more are not finite" in finding.message


@pytest.mark.parametrize("numbers", [[float("nan")] * 2, [1.0, float("inf")], [1e300, 2e300], [2, 2], [3, 1]])
def test_epochs_without_right_numbers_are_counted_by_the_doctor_too(numbers):
    (finding,) = diagnosis.diagnose({"epoch": numbers, "loss": [1.0, float("nan")]})
    assert finding.epoch == 2


def test_a_history_is_gone_on_with_within_the_same_limits(tmp_path):
    path = tmp_path / "history.csv"
    path.write_text(f"epoch,{COLUMNS}\n1," + ",".join(["1"] * 5000))
    assert "5,001 columns" in refused(HistoryFile(path)._read, 1)
    path.write_text("epoch,loss\n1,2\n2,3\n")
    history = HistoryFile(path)
    history._read(1)
    assert history.rows == [{"epoch": 1, "loss": 2.0}]


def test_thousands_of_pictures_make_a_page_of_a_few(folder):
    small = (folder / "samples" / "epoch_0001.png").read_bytes()
    for epoch in range(3, 3000):
        (folder / "samples" / f"epoch_{epoch:04d}.png").write_bytes(small)
    page = write_report(folder).read_text()
    assert page.count("<img ") == 7 and "Epoch 2,999" in page


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(folder, monkeypatch):
    Image.new("L", (10_000, 8_001)).save(folder / "samples.png")
    monkeypatch.setattr(Image.Image, "load", None)
    assert "80,010,000 pixels, more than 80,000,000" in refused(write_report, folder)


def test_a_picture_of_another_format_is_refused(folder):
    Image.new("L", (10, 10)).save(folder / "samples.png", "GIF")
    assert "samples.png" in refused(write_report, folder)


def test_pipes_in_a_run_are_not_waited_for(folder):
    (folder / "samples.png").unlink()
    (folder / "checkpoints").mkdir()
    for name in ("samples.png", "samples/epoch_0003.png", "checkpoints/epoch_0001.keras", LOCK):
        os.mkfifo(folder / name)
    assert "Epoch 3" not in write_report(folder).read_text()
    assert checkpoints.found(folder / "checkpoints") == []
    assert ".lock is no file" in refused(FolderLock(folder, "--output").acquire)


def test_a_checkpoint_is_checked_before_it_is_unpacked(tmp_path, monkeypatch):
    path = tmp_path / "epoch_0001.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("training_state.npz", b"0" * 30_000_000)
    monkeypatch.setattr(memory, "available", lambda: 20_000_000)
    monkeypatch.setattr(zipfile.ZipFile, "read", None)
    with pytest.warns(UserWarning, match="must fit into memory"):
        assert checkpoints.Checkpoints(tmp_path).resume(None) == 0


def test_a_missing_home_is_told_before_anything_is_downloaded(monkeypatch):
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)

    def expanduser(path):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(pathlib.Path, "expanduser", expanduser)
    assert "data_dir must be a path; there is no home" in refused(
        tfds_source._prepare, "mnist", None, None, None
    )


# ---- links that leave the folder ----


def outside(folder, name):
    """A file or folder elsewhere, like the one of that name in the run."""
    elsewhere = folder.parent / "elsewhere"
    elsewhere.mkdir()
    place, own = elsewhere / "target", folder / name
    if name in (*RUN_FOLDERS, files.NEXT):
        place.mkdir()
        (place / "precious").write_text("kept")
    else:
        place.write_text("kept")
    if own.is_dir():
        for path in own.iterdir():
            path.rename(place / path.name)
        own.rmdir()
    elif own.exists():
        place.write_bytes(own.read_bytes())
        own.unlink()
    own.symlink_to(place)
    return {path: path.read_bytes() for path in elsewhere.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", [*RUN_FILES, *RUN_FOLDERS, LOCK, files.NEXT])
def test_a_link_that_leaves_a_run_folder_is_refused(folder, capsys, name):
    before = outside(folder, name)
    commands = [
        ("report", folder),
        ("doctor", folder),
        ("train", "--resume", folder),
        ("train", "--model", "vae", "--epochs", 1, "--output", folder, "--overwrite"),
    ]
    for words in commands:
        code, out, err = run(capsys, *words)
        assert code == 2 and not out and err.count("\n") == 1, (words, err)
        assert f"{name} leads out of it" in err and "elsewhere" in err
    assert {path: path.read_bytes() for path in before} == before
    assert set(before) == {path for path in (folder.parent / "elsewhere").rglob("*") if path.is_file()}
    assert os.path.islink(folder / name)


def test_a_link_among_the_samples_is_refused(folder):
    (folder.parent / "secret.png").write_bytes((folder / "samples.png").read_bytes())
    (folder / "samples" / "epoch_0003.png").symlink_to(folder.parent / "secret.png")
    assert "samples/epoch_0003.png leads out of it" in refused(read_run, folder)


def test_links_within_a_run_and_to_a_run_are_fine(folder):
    (folder / "samples" / "epoch_0003.png").symlink_to("epoch_0002.png")
    (folder.parent / "link").symlink_to(folder)
    (folder / "dataset").symlink_to(folder.parent)  # none of ours
    assert write_report(folder.parent / "link").is_file()


def test_a_link_to_itself_is_refused(folder):
    (folder / "checkpoints").symlink_to("checkpoints")
    assert "checkpoints leads out of it, to itself" in refused(read_run, folder)


def test_scores_are_not_written_through_a_link(folder):
    outside(folder, "evaluate.json")
    assert "evaluate.json leads out of it" in refused(evaluate_command._default_output, str(folder))


def test_no_lock_empties_a_file_elsewhere(tmp_path):
    (tmp_path / "precious").write_text("kept")
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / LOCK).symlink_to(tmp_path / "precious")
    assert ".lock leads out of it" in refused(FolderLock(tmp_path / "made", "--output").acquire)
    assert (tmp_path / "precious").read_text() == "kept"


def test_files_of_another_folder_are_not_moved_into_a_preset(tmp_path):
    model = registry.vae()
    model.save_to_preset(tmp_path / "preset")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "precious").write_text("kept")
    (tmp_path / "preset" / files.NEXT).symlink_to(tmp_path / "elsewhere")
    assert "leads out of it" in refused(model.save_to_preset, tmp_path / "preset")
    assert (tmp_path / "elsewhere" / "precious").is_file()


def test_parts_are_not_gone_on_with_through_a_link(tmp_path):
    facts = {"seed": 0}
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / parts.FACTS).write_text(json.dumps(facts))
    parts.check(tmp_path / "parts", facts)
    (tmp_path / "parts" / "part-00000.npz").symlink_to(tmp_path / "other.npz")
    assert "part-00000.npz leads out of it" in refused(parts.check, tmp_path / "parts", facts)


# ---- codes and settings ----


class Ragged(list):
    """Rows of different lengths as TensorFlow has them."""

    row_splits = ()


@pytest.mark.parametrize(
    ("codes", "said"),
    [
        (np.zeros((0, registry.LATENT_DIM)), "at least one code"),
        ([], "shape"),
        ([[1.0], [1.0, 2.0]], "unequal length"),
        (Ragged([[1.0], [1.0, 2.0]]), "unequal length"),
        ("abc", "as numbers"),
        ([["1", "2"]], "as numbers"),
        (None, "as numbers"),
        ([[1e300, 0.0]], "finite"),
        (np.zeros((2, registry.LATENT_DIM), complex), "as numbers"),
    ],
)
def test_codes_that_are_none_are_refused(codes, said):
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        message = refused(registry.vae().decode, codes)
    assert message.startswith("z must") and said in message


@pytest.mark.parametrize("x", [None, "abc", 3, b"abc"])
def test_what_is_no_images_is_not_predicted(x):
    assert "x must" in refused(registry.vae().predict, x)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("clipnorm", -1),
        ("global_clipnorm", -0.5),
        ("clipvalue", -1),
        ("beta_1", 5),
        ("beta_2", 1.0),
        ("epsilon", -1e-8),
        ("learning_rate", -1),
        ("ema_momentum", 2),
        ("weight_decay", -1),
    ],
)
def test_an_optimizers_setting_out_of_its_range_is_refused(option, value):
    recipe = presets.recipe("vae_mnist_small")
    name = f"optimizer.generator.{option}"
    assert option in refused(presets.override, recipe, name, value)
    recipe["optimizer"]["generator"][option] = value
    assert option in refused(presets.build, recipe, (8, 8, 1))


# ---- the Hugging Face Hub ----


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub whose models are of a seed for each revision; the list of what it was asked for."""
    asked = []

    def snapshot_download(repository, local_dir, allow_patterns, **named):
        asked.append((repository, named))
        if named.get("revision") == "missing":
            raise ValueError("404: no\nsuch revision")
        model = registry.vae()
        scale = len(named.get("revision", ""))
        model.set_weights([np.full_like(value, scale) for value in model.get_weights()])
        model.save_to_preset(local_dir)

    module = types.SimpleNamespace(snapshot_download=snapshot_download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    return asked


@pytest.mark.parametrize("revision", ["main", "v1.0", "0123456789abcdef0123456789abcdef01234567", "a/b"])
def test_a_revision_is_asked_for_and_kept_by_itself(hub, tmp_path, revision):
    model, _ = presets.load_source(f"hf://someone/digits@{revision}")
    assert model.get_weights()[0].flat[0] == len(revision)
    model, _ = presets.load_source("hf://someone/digits")
    assert model.get_weights()[0].flat[0] == 0
    assert hub == [("someone/digits", {"revision": revision}), ("someone/digits", {})]
    kept = sorted(path.name for path in (tmp_path / "keras" / "keras_vaegan" / "hub").iterdir())
    assert kept == ["someone--digits", f"someone--digits@{revision.replace('/', '%2F')}"]


@pytest.mark.parametrize(
    "address",
    [
        "someone/digits@",
        "someone/digits@@main",
        "someone/digits@a@b",
        "someone/digits@../../x",
        "someone/digits@a//b",
        "someone/digits@/a",
        "someone/digits@a/",
        "someone/digits@-x",
        "someone/digits@a b",
        "someone/digits@a\nb",
        "someone/digits@" + "x" * 300,
        "someone@main/digits",
        "someone",
        "/digits",
        "someone/",
        "a/b/c",
        "../x",
        "someone/digits@é",
    ],
)
def test_an_address_that_cannot_be_is_refused_before_it_is_asked_for(hub, address):
    assert "hf://user/name@revision" in refused(presets.load_source, f"hf://{address}")
    assert not hub


def test_a_revision_that_there_is_not_is_one_line(hub):
    message = refused(presets.load_source, "hf://someone/digits@missing")
    assert "hf://someone/digits@missing cannot be downloaded: 404: no such revision" in message


def test_a_filled_cache_that_cannot_be_written_is_read(hub, monkeypatch):
    presets.load_source("hf://someone/digits")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    presets.load_source("hf://someone/digits")
    assert len(hub) == 1


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("hf://user/name", "evaluate_user_name.json"),
        ("hf://user/name@v1", "evaluate_user_name_v1.json"),
        ("hf://user/name@a/b", "evaluate_user_name_a_b.json"),
        ("vae_mnist", "vae_mnist.evaluate.json"),
        ("a/images.npz", "a/images.npz.evaluate.json"),
    ],
)
def test_scores_go_beside_the_caller(tmp_path, monkeypatch, source, name):
    monkeypatch.chdir(tmp_path)
    assert evaluate_command._default_output(source) == pathlib.Path(name)
    assert not list(tmp_path.iterdir())


def test_nothing_is_written_to_an_address(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert "one of this machine" in refused(registry.vae().save_to_preset, "hf://user/name")
    for words in (("train", "--output"), ("generate", "vae_mnist", "--output"), ("report", "x", "--output")):
        code, _, err = run(capsys, *words, "hf://user/name.png")
        assert code == 2 and "--output must be a path of this machine" in err
    assert not list(tmp_path.iterdir())


def test_an_export_is_named_by_what_it_is_of(tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    monkeypatch.chdir(tmp_path / "run")
    for source, name in (("hf://user/name@v1", "user_name_v1"), (".", "run"), ("a/b.keras", "b"), ("x", "x")):
        assert options.plain_name(source) == name


def test_a_report_is_of_a_folder_on_this_machine(capsys):
    code, _, err = run(capsys, "report", "hf://user/name")
    assert code == 2 and "not a folder of this machine" in err
