"""Names of classes, the splits that have images of each, and the data that a run began with."""

import csv
import hashlib
import json
import os
import warnings

import keras
import numpy as np
import pytest
from PIL import Image
from test_cli import refused, run

from keras_vaegan import evaluation, plots, presets
from keras_vaegan.data import ImageData, load, load_pictures
from keras_vaegan.data.content import change, change_since_training, describe
from keras_vaegan.data.names import in_order, parse_classes
from keras_vaegan.data.splits import places, split_by_place, split_indices
from keras_vaegan.errors import InputError
from keras_vaegan.evaluation.scores import Score, findings
from keras_vaegan.training import runner

pytestmark = pytest.mark.core_on("one")

COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"
LATIN = os.fsdecode(b"caf\xe9")  # a name that is no UTF-8


def parse(text, names, count=None):
    return parse_classes(text, count or len(names), names, "--labels")


def write(folder, names, count=10, first=0):
    """Grey images of 8 x 8: of the k-th class of the names a level of its own, each with its own corner."""
    for k, name in enumerate(names):
        os.makedirs(folder / name, exist_ok=True)
        for i in range(first, first + count):
            pixels = np.full((8, 8), 250 - 20 * k, np.uint8)
            pixels[0, 0] = i
            Image.fromarray(pixels).save(folder / name / f"{i:03d}.png")


def levels(x):
    """The class of each image, by its level."""
    return (250 - np.rint(x[:, 4, 4, 0] * 255).astype(int)) // 20


# ---- the order of names, and what --labels means ----


def test_names_are_in_natural_order():
    numbers = [str(k) for k in range(1, 12)]
    assert in_order(reversed(numbers)) == numbers
    mixed = ["a1", "a2", "a10", "b", "7", "07", "8", "10", "9" * 6000, "\u00b2", "1.5", "1"]
    expected = ["1", "1.5", "07", "7", "8", "10", "9" * 6000, "a1", "a2", "a10", "b", "\u00b2"]
    assert in_order(mixed) == expected
    assert in_order(["Cat", "cat", "Ape"]) == sorted(["Cat", "cat", "Ape"])


@pytest.mark.parametrize(
    "text, names, expected",
    [
        ("3", ["1", "2", "3"], [2]),  # names, for classes named by numbers
        ("1-3", [str(k) for k in range(1, 12)], [0, 1, 2]),
        ("1-3", ["1", "10", "11", "2", "3"], [0, 3, 4]),  # a run whose order is that of text
        ("9-11", ["7", "9", "10", "11"], [1, 2, 3]),
        ("0-2000,-1", ["0", "1000", "2000", "-1"], [0, 1, 2, 3]),
        ("7,07,8", ["07", "7", "08"], [1, 0, 2]),
        ("7", ["07", "08"], [0]),
        ("0.5-1.5", ["0.25", "0.5", "1", "1.5", "x"], [1, 2, 3]),
        ("2,0-1", ["a", "b", "c"], [2, 0, 1]),  # positions, for other classes
        ("b,2,b", ["a", "b", "c"], [1, 2, 1]),
        ("0-4,5-9", ["0-4", "5-9", "x"], [0, 1]),  # a name wins over a range
        (" a , c", ["a", "b", "c"], [0, 2]),
        ("x,y,z", ["x", "x,y", "z"], [1, 2]),  # the longest name first
        ("x,y,z", ["x", "x,y", "y,z"], [0, 2]),  # unless what follows is no class then
        ("x, y", ["x", "x,y", "y"], [0, 2]),
        (DECOMPOSED, ["a", COMPOSED], [1]),
        (COMPOSED, ["a", DECOMPOSED], [1]),  # stored by a run of old
        (LATIN, ["a", LATIN], [1]),
        ("_a,$b$,c d", ["_a", "$b$", "c d"], [0, 1, 2]),
    ],
)
def test_labels_are_names_before_numbers(text, names, expected):
    assert parse(text, names) == expected


def test_numbers_are_positions_of_classes_without_names():
    assert parse("0-2,4", None, 5) == [0, 1, 2, 4]


@pytest.mark.parametrize(
    "text, names, words",
    [
        ("cat,,dog", ["cat", "dog"], "with commas between; received 'cat,,dog'"),
        ("", ["cat"], "with commas between"),
        ("cat,", ["cat"], "with commas between"),
        ("\u00b2", ["cat", "dog", "cow"], "received '\u00b2'"),
        ("\u0663", ["0", "1", "2", "3"], "received '\u0663'"),  # an Arabic 3
        ("0", ["1", "2", "3"], "must be one of 1, 2, 3; numbers and ranges mean the names"),
        ("0-2", ["1", "2", "3"], "must be one of 1, 2, 3"),
        ("0", ["cat", "dog", "7"], "must be one of cat, dog, 7"),
        ("3-1", ["1", "2", "3"], "must have ranges that rise, as 1-3; received 3-1"),
        ("9-0", ["a", "b"], "must have ranges that rise, as 0-9"),
        ("cow", ["1", "2", "3"], "must be one of 1, 2, 3; received 'cow'."),
        ("3", ["a", "b", "c"], "must lie in 0..2; received 3"),
        ("0-99999999999999999999", ["a", "b"], "must lie in 0..1"),
        ("9" * 6000, ["a", "b"], "must lie in 0..1"),
        ("-1", ["a", "b"], "received '-1'"),
        ("x,y,dgo", ["x,y", "dog"], "received 'dgo'. Did you mean 'dog'?"),
        ("a\nb", ["ab"], r"received 'a\\nb'"),
    ],
)
def test_other_labels_are_refused(text, names, words):
    with pytest.raises(InputError) as error:
        parse(text, names)
    assert words.replace("\\\\", "\\") in str(error.value) and len(str(error.value)) < 400


def test_many_classes_make_no_long_error():
    with pytest.raises(InputError) as error:
        parse("zebra", [f"class {k}" for k in range(1000)])
    assert "and 992 more" in str(error.value) and len(str(error.value)) < 300


# ---- class folders ----


def test_class_folders_are_numbered_in_natural_order(tmp_path):
    names = [str(k) for k in range(1, 12)]
    write(tmp_path, names)
    data = load(tmp_path)
    assert data.class_names == names
    for x, y in data:
        np.testing.assert_array_equal(y, levels(x))


def test_a_run_keeps_the_order_of_its_classes(tmp_path):
    names = [str(k) for k in range(1, 12)]
    write(tmp_path, names)
    stored = sorted(names)  # 1, 10, 11, 2, ...
    data = load(tmp_path, class_names=stored)
    assert data.class_names == stored and data.num_classes == 11
    for x, y in data:
        np.testing.assert_array_equal(np.array(stored)[y].astype(int) - 1, levels(x))
    x, y, _ = load_pictures(tmp_path, (8, 8, 1), stored)
    np.testing.assert_array_equal(np.array(stored)[y].astype(int) - 1, levels(x))
    with pytest.raises(InputError, match="must be images of the classes 1, 2, 3; received 4, 5"):
        load(tmp_path, class_names=["1", "2", "3"])


def test_accents_are_composed(tmp_path):
    write(tmp_path / "train", [DECOMPOSED, "tea"])
    write(tmp_path / "test", [COMPOSED, "tea"], 3, first=50)
    data = load(tmp_path)
    assert data.class_names == [COMPOSED, "tea"]
    for x, y in data:
        np.testing.assert_array_equal(y, levels(x))
    x, y, _ = load_pictures(tmp_path / "train", (8, 8, 1), [COMPOSED, "tea"])
    np.testing.assert_array_equal(y, levels(x))
    _, y, _ = load_pictures(tmp_path / "train", (8, 8, 1), [DECOMPOSED, "tea"])
    assert set(y) == {0, 1}


def test_two_folders_of_one_name_are_refused(tmp_path):
    write(tmp_path, [COMPOSED, DECOMPOSED])
    with pytest.raises(InputError) as error:
        load(tmp_path)
    assert r"'cafe\u0301'" in str(error.value) and r"'caf\xe9'" in str(error.value)


def test_unlabelled_in_any_case_is_no_class(tmp_path):
    write(tmp_path, ["cat", "Unlabelled", "UNLABELED"])
    data = load(tmp_path)
    assert data.class_names == ["cat"]
    np.testing.assert_array_equal(data.train[1], np.where(levels(data.train[0]) == 0, 0, -1))
    x, y, _ = load_pictures(tmp_path, (8, 8, 1), ["cat"])
    np.testing.assert_array_equal(y, np.where(levels(x) == 0, 0, -1))


@pytest.mark.draws
def test_a_legend_shows_any_name(tmp_path, monkeypatch):
    drawn = []
    save = plots._save
    monkeypatch.setattr(plots, "_save", lambda figure, path: (drawn.append(figure), save(figure, path)))
    names = [
        "_hidden",
        "$\\frac{1}$",
        "$",
        LATIN,
        "a\nb\tc",
        "long " * 50,
        "x,y",
        "-",
        "\u202ereversed",
        "\u732b\U0001f408",
    ]
    codes = np.random.default_rng(0).normal(size=(90, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        plots.save_latent_means(codes, tmp_path / "a.png", np.arange(90) % 10, names)
    shown = [text.get_text() for text in drawn[0].axes[0].get_legend().get_texts()]
    assert shown[:3] == names[:3] and shown[3] == "caf\\udce9" and shown[4] == "a b c"
    assert len(shown[5]) == 30 and shown[6:8] == names[6:8] and shown[8] == "\\u202ereversed"
    assert shown[9] == "\\u732b\\U0001f408"  # the font has neither
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.width > 300
    plots.save_latent_means(codes, tmp_path / "many.png", np.arange(90) % 45)
    assert drawn[1].axes[0].get_legend() is None  # it would be longer than the picture


def test_findings_name_classes_in_one_printable_line():
    score = Score("class_entropy", 0.1, reference=1.0, details={f"a\nb{LATIN}": 0.1, "c": 0.9})
    (finding,) = findings([score])
    assert finding.endswith("rarest is a bcaf\\udce9 with 0.10")


# ---- every class in training ----


def test_every_class_is_trained_on():
    for seed in range(20):
        labels = np.random.default_rng(seed).permutation([0] * 20 + [1, 2, 3, -1, -1] + [4] * 2)
        for held_out in (1, 2):
            parts = split_indices(len(labels), labels, held_out, seed)
            assert sorted(np.concatenate(parts)) == list(range(len(labels)))
            assert set(labels[parts[0]]) >= {0, 1, 2, 3, 4} and all(len(part) for part in parts)


@pytest.mark.parametrize("labels", [None, [-1] * 5, [0, 0, 0, 1, 2], [0, 1, 2, -1, -1], [0] * 5])
def test_small_folders_have_an_image_in_each_split(labels):
    labels = None if labels is None else np.array(labels)
    for seed in range(200):
        place = np.random.default_rng(seed).random(5) * (0.25 if seed % 2 else 1)
        for missing in ([1, 2], [1], [2]):
            split = split_by_place(place, labels, missing)
            assert set(split) == {0, *missing}
            if labels is not None:
                assert set(labels[split == 0]) >= set(labels[labels >= 0])


def test_hardly_more_images_than_classes_are_split_all_the_same(tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (20, 4, 4), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", x=images, y=np.arange(20))
    with pytest.warns(UserWarning) as told:
        data = load(tmp_path / "a.npz")
    assert [str(one.message).split(":")[0] for one in told] == [
        "Classes with images to validate or test with, but none to train on",
        "Classes with one image alone, which is trained on",
    ]
    assert [len(x) for x, _ in data] == [16, 2, 2] and len(data.untrained_classes) == 4
    assert set(split_by_place(np.zeros(4), np.arange(4), [1, 2])) == {0, 1, 2}
    with pytest.raises(InputError, match="at least 3 images"):
        split_by_place(np.zeros(2), np.arange(2), [1, 2])


def test_a_class_with_one_image_is_trained_on_and_told(tmp_path):
    write(tmp_path, ["cat", "dog"], 20)
    write(tmp_path, ["cat", "dog", "eel"], 1, first=50)
    with pytest.warns(UserWarning, match="one image alone, which is trained on: eel"):
        data = load(tmp_path)
    assert 2 in data.train[1]


def test_a_class_that_is_not_trained_on_is_told_and_refused_by_what_is_conditioned_on_it(tmp_path, capsys):
    write(tmp_path / "set" / "train", ["cat", "dog"], 20)
    write(tmp_path / "set" / "test", ["cat", "dog", "eel"], 4, first=50)
    with pytest.warns(UserWarning, match="none to train on: eel"):
        data = load(tmp_path / "set")
    assert data.untrained_classes == ["eel"]
    train = ["train", "--dataset", tmp_path / "set", "--output", tmp_path / "run", "--model"]
    told = refused(capsys, *train, "cvae")
    assert "every class to train on" in told and "none of eel" in told
    assert not (tmp_path / "run").exists()
    assert ImageData(*data, name="a").untrained_classes == ["2"]


@pytest.mark.parametrize("found", [[0, 1000, 2000], [1, 2, 3], [0, 1, 3], [5, 7, 10**9]])
def test_labels_of_any_numbers_become_positions(found, tmp_path):
    images = np.zeros((33, 4, 4), np.uint8)
    images[:, 0, 0] = np.arange(33) % 3 + 200
    labels = np.array(found)[np.arange(33) % 3]
    labels[-3:] = -1
    np.savez(tmp_path / "a.npz", x=images, y=labels)
    names = [str(label) for label in found]
    with pytest.warns(UserWarning, match=f"become the 3 classes named {', '.join(names)}"):
        data = load(tmp_path / "a.npz", dtype="uint8")
    assert data.class_names == names and data.num_classes == 3
    assert sum((y == -1).sum() for _, y in data) == 3
    for x, y in data:
        np.testing.assert_array_equal(y[y >= 0], x[y >= 0, 0, 0, 0] - 200)
    assert parse(names[1], data.class_names) == [1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Fewer of them, to a model that knows all: the numbers are names.
        np.savez(tmp_path / "b.npz", x=images[:20], y=np.full(20, found[2]))
        assert set(load(tmp_path / "b.npz", class_names=names).train[1]) == {2}
        assert set(load_pictures(tmp_path / "b.npz", (4, 4, 1), names)[1]) == {2}
        with pytest.raises(InputError, match="must be labels of the classes 0, 1; received"):
            load(tmp_path / "b.npz", class_names=["0", "1"])


def test_labels_without_a_gap_stay_as_they_are(tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (30, 4, 4), dtype=np.uint8)
    for labels in (np.arange(30) % 3, np.arange(30) % 3 - 1, np.full(30, -1)):
        np.savez(tmp_path / "a.npz", x=images, y=labels)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            data = load(tmp_path / "a.npz")
        assert data.class_names is None and data.num_classes == labels.max() + 1
    # To a model of cats and dogs, numbers are positions.
    np.savez(tmp_path / "a.npz", x=images, y=np.ones(30, int))
    assert set(load(tmp_path / "a.npz", class_names=["cat", "dog"]).train[1]) == {1}


def test_of_classes_without_names_labels_are_positions(tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (30, 4, 4), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", x=images, y=np.arange(30) % 2 * 2)
    data = load(tmp_path / "a.npz", class_names=3)  # of a model that was trained on 0, 1 and 2
    assert set(data.train[1]) == {0, 2} and data.class_names is None
    with pytest.raises(InputError, match="source: labels must lie in 0..1"):
        load(tmp_path / "a.npz", class_names=2)
    write(tmp_path / "set", ["cat", "dog"])
    data = load(tmp_path / "set", class_names=2)  # of a .keras file, which has no names
    assert data.class_names == ["cat", "dog"]
    np.testing.assert_array_equal(data.train[1], levels(data.train[0]))
    with pytest.raises(InputError, match="must lie in 0..0"):
        load(tmp_path / "set", class_names=1)


def test_an_archive_may_name_its_classes(tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (30, 4, 4), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", x=images, y=np.arange(30) % 2 * 2, class_names=["a", "b", "c"])
    data = load(tmp_path / "a.npz")
    assert data.class_names == ["a", "b", "c"] and set(data.train[1]) == {0, 2}
    assert set(load(tmp_path / "a.npz", class_names=["c", "a"]).train[1]) == {0, 1}
    x, y, _ = load_pictures(tmp_path / "a.npz", (4, 4, 1), ["c", "a"])
    np.testing.assert_array_equal(y, 1 - np.arange(30) % 2)
    np.savez(tmp_path / "a.npz", x=images, y=np.arange(30) % 2, class_names=["a", "a"])
    with pytest.raises(InputError, match="class_names must hold a different text"):
        load(tmp_path / "a.npz")


# ---- the split of a file ----


def splits_of(folder, **settings):
    """The split of each image, by its content."""
    return {
        image.tobytes(): name
        for name, (x, _) in zip(("train", "validation", "test"), load(folder, **settings), strict=True)
        for image in x
    }


def test_the_split_of_a_file_is_its_own(tmp_path):
    write(tmp_path, ["cat", "dog"], 60)
    before = splits_of(tmp_path)
    assert len(before) == 120
    counts = [list(before.values()).count(name) for name in ("train", "validation", "test")]
    assert 80 <= counts[0] <= 112 and min(counts[1:]) >= 4  # four standard deviations about 96 and 12
    write(tmp_path, ["cat"], 3, first=60)
    (tmp_path / "dog" / "000.png").unlink()
    write(tmp_path, ["cat", "dog", "eel"], 1, first=70)
    with pytest.warns(UserWarning, match="eel"):
        after = splits_of(tmp_path)
    common = set(before) & set(after)
    assert len(common) == 119 and all(before[image] == after[image] for image in common)
    with pytest.warns(UserWarning, match="eel"):
        other = splits_of(tmp_path, seed=1)
    assert 0.1 < np.mean([other[image] != after[image] for image in after]) < 0.6
    assert places(["b/\u00e9.png"], 0) == places(["b/e\u0301.png"], 0) != places(["b/e.png"], 0)


def test_the_place_of_a_file_is_a_hash_of_seed_and_path():
    digest = hashlib.blake2b(b"3/cat/01.png", digest_size=8).digest()
    assert places(["cat/01.png"], 3)[0] == pytest.approx(int.from_bytes(digest, "big") / 2**64, abs=1e-15)
    place = places((f"a/{i}.png" for i in range(4000)), 0)
    assert abs(np.mean(place < 0.1) - 0.1) < 0.02 and abs(np.mean(place) - 0.5) < 0.02


def test_data_are_described_by_their_content():
    rng = np.random.default_rng(0)
    pairs = [(rng.random((n, 4, 4, 1), "float32"), np.arange(n) % 2) for n in (8, 2, 2)]
    first = describe(ImageData(*pairs, name="a"))
    assert first["num_images"] == {"train": 8, "validation": 2, "test": 2} and len(first["content"]) == 16
    assert change(first, describe(ImageData(*pairs, name="b"))) is None
    labels = [pairs[0], pairs[1], (pairs[2][0], 1 - pairs[2][1])]
    assert "as before, but other" in change(first, describe(ImageData(*labels, name="a")))
    more = [pairs[0], pairs[1], tuple(np.concatenate([part, part]) for part in pairs[2])]
    told = change(first, describe(ImageData(*more, name="a")))
    assert told == "14 images, 2 more than the 12 before (train 8 -> 8, validation 2 -> 2, test 2 -> 4)"
    moved = [pairs[2], pairs[1], pairs[0]]
    assert "in other splits" in change(first, describe(ImageData(*moved, name="a")))
    for damaged in ({}, [], "x", {"num_images": 3}, {"content": 1, "num_images": {"train": "x"}}):
        assert change(damaged, first) == "other images or labels"


# ---- at the command line ----

NAMES = ["1", "2", "10", "_a,b", "$x", COMPOSED, LATIN, "image"]
SMALL = ["--latent-dim", 2, "--batch-size", 32, "--epochs", 1]


@pytest.fixture(scope="module")
def named_run(tmp_path_factory):
    """A conditional run of a folder whose classes have names of many kinds."""
    folder = tmp_path_factory.mktemp("named")
    write(folder / "set", NAMES, 12)
    os.rename(folder / "set" / COMPOSED, folder / "set" / DECOMPOSED)
    os.rename(folder / "set" / "1" / "000.png", os.fsencode(folder / "set" / "1") + b"/\xff.png")
    networks = [f"--set=networks.{part}.filters=[4]" for part in ("encoder", "decoder")]
    train = ["train", "--model", "cvae", "--dataset", folder / "set", *SMALL, *networks]
    assert run(*train, "--output", folder / "run") == 0
    return folder


def test_classes_of_any_name_are_usable_to_the_end(named_run, tmp_path, capsys):
    folder = named_run / "run"
    metadata = json.loads((folder / "metadata.json").read_text())
    names = metadata["class_names"]
    assert names == in_order(NAMES) and (folder / "latent_means.png").is_file()
    generate = ["generate", folder, "--num-images", 5, "--output", tmp_path / "g.npz", "--labels"]
    assert run(*generate, f"_a,b,{DECOMPOSED},1-10,$x,{LATIN}") == 0
    with np.load(tmp_path / "g.npz") as found:
        asked = [str(found["class_names"][k]) for k in found["labels"]]
    assert asked == ["_a,b", COMPOSED, "1", "2", "10"]
    assert "numbers and ranges mean the names" in refused(capsys, *generate, "0")
    images = ["--images", named_run / "set", "--output", tmp_path / "c.csv"]
    assert run("classify", folder, *images) == 0
    with open(tmp_path / "c.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12 * len(NAMES) and "1/\\udcff.png" in {row["image"] for row in rows}
    columns = ["p(image)" if name == "image" else name.replace("\udce9", "\\udce9") for name in names]
    assert list(rows[0]) == ["image", "class", *columns]
    for row in rows:
        assert sum(float(row[name]) for name in columns) == pytest.approx(1, abs=1e-4)
    capsys.readouterr()
    assert run("classify", folder, "--images", named_run / "set") == 0
    assert len(capsys.readouterr().out.splitlines()) == 12 * len(NAMES) + 1
    assert run("report", folder) == 0
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "caf\\udce9" in page and "$x" in page
    reconstruct = ["reconstruct", folder, "--output", tmp_path / "r.npz", "--images"]
    assert run(*reconstruct, named_run / "set") == 0


def test_samples_are_scored_by_the_names_of_their_classes(named_run, tmp_path, monkeypatch):
    seen = {}

    def score(subject, data, *args, labels=None, **settings):
        seen.update(labels=labels, names=data.class_names, y=data.test[1], x=data.test[0])
        raise InputError("enough")

    monkeypatch.setattr(evaluation, "score", score)
    assert run("generate", named_run / "run", "--num-images", 8, "--output", tmp_path / "g.npz") == 0
    arrays = dict(np.load(tmp_path / "g.npz"))
    np.savez(tmp_path / "g.npz", **{**arrays, "class_names": arrays["class_names"][::-1]})
    assert run("evaluate", tmp_path / "g.npz", "--dataset", named_run / "set") == 2
    assert seen["names"] == list(arrays["class_names"][::-1])
    expected = [NAMES[level] for level in levels(seen["x"])]
    assert [seen["names"][k] for k in seen["y"]] == expected


def test_a_run_goes_on_with_the_data_that_it_began_with(named_run, capsys, tmp_path, monkeypatch):
    folder, data = named_run / "run", named_run / "set"
    metadata = json.loads((folder / "metadata.json").read_text())
    assert metadata["data"] == describe(load(data))
    began = []
    monkeypatch.setattr(runner, "_train", lambda data, *rest: began.append(data) or runner.Result(tmp_path))
    resume = ["train", "--resume", folder, "--epochs", 2]
    assert run(*resume) == 0 and began[0].class_names == metadata["class_names"]
    write(data, NAMES[:1], 1, first=90)
    told = refused(capsys, *resume)
    assert f"{data} has changed: 97 images, 1 more than the 96 before (train " in told
    assert f"--init {folder}" in told
    scores = tmp_path / "scores.json"
    evaluate = ["evaluate", folder, "--metrics", "reconstruction", "--no-cache", "--output", scores]
    assert run(*evaluate) == 0
    warned = (
        "test images may have been trained on; the data have changed since the training: 97 images, 1 more"
    )
    assert f"warning: {warned}" in capsys.readouterr().out
    found = json.loads(scores.read_text())
    assert found["data"]["changed_since_training"].startswith("97 images, 1 more")
    assert len(found["findings"]) == 1 and found["findings"][0].startswith(warned)
    write(data, ["zebra"], 2)
    assert "received zebra" in refused(capsys, *resume)
    assert "received zebra" in refused(capsys, *evaluate)


def test_a_run_of_old_goes_on_in_the_order_of_its_classes(tmp_path, capsys, monkeypatch):
    names = [str(k) for k in range(1, 12)]
    write(tmp_path / "set", names, 4)
    recipe = presets.recipe("vae_mnist_small")
    recipe["training"] = {"epochs": 1, "dataset": str(tmp_path / "set"), "batch_size": 64}
    metadata = {
        "dataset": str(tmp_path / "set"),
        "class_names": sorted(names),
        "num_classes": 11,
        "image_shape": [8, 8, 1],
        "backend": keras.backend.backend(),
        "seed": 0,
        "model": "vae",
        "mixed_precision": "none",
        "recipe": recipe,
    }
    (tmp_path / "metadata.json").write_text(json.dumps(metadata))
    began = []
    monkeypatch.setattr(runner, "_train", lambda data, *rest: began.append(data) or runner.Result(tmp_path))
    assert run("train", "--resume", tmp_path) == 0
    assert "warning: validation images may have been trained on; the run is older" in capsys.readouterr().err
    for x, y in began[0]:
        np.testing.assert_array_equal(np.array(sorted(names))[y].astype(int) - 1, levels(x))


def test_other_data_that_are_asked_for_are_no_change(tmp_path):
    write(tmp_path / "set", ["cat", "dog"])
    data = load(tmp_path / "set")
    metadata = {"dataset": str(tmp_path / "set"), "data": describe(data)}
    write(tmp_path / "set", ["cat"], 1, first=50)
    other = load(tmp_path / "set")
    change_of = change_since_training
    assert change_of(metadata, None, None, data) is None
    assert change_of(metadata, None, None, other).startswith("21 images, 1 more")
    assert change_of(metadata, str(tmp_path / "set" / "cat" / ".."), None, other).startswith("21 images")
    assert change_of(metadata, "digits", None, other) is None
    assert change_of(metadata, None, (4, 4), other) is None
    assert change_of({"dataset": "mnist"}, None, None, other) is None  # a shipped preset
    assert change_of({}, "digits", None, other) is None


@pytest.mark.parametrize("names", [[], "cat", ["a", "a"], [1, 2], {"a": 1}, [None], 0, True, 1.5])
def test_names_that_are_none_are_refused(names):
    with pytest.raises(InputError, match="class_names must be"):
        load("digits", class_names=names)
