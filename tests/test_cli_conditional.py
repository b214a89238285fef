"""Conditional models at the command line: classes, completions, styles, pictures of one's own."""

import csv
import json

import keras
import numpy as np
import pytest
from PIL import Image
from scipy import stats
from test_cli import TINY, TINY_NETWORKS, refused, run

from keras_vaegan import evaluation, metrics
from keras_vaegan.data import load
from keras_vaegan.plots import HIDDEN, PADDING

pytestmark = pytest.mark.core_on("one")


@pytest.fixture(scope="module")
def cvae_run(tmp_path_factory):
    """A CVAE of digits of 8 x 8."""
    folder = tmp_path_factory.mktemp("runs") / "cvae"
    assert run("train", "--model", "cvae", *TINY, *TINY_NETWORKS, "--epochs", 2, "--output", folder) == 0
    return folder


@pytest.fixture(scope="module")
def completion_run(tmp_path_factory):
    """A CVAE that completes digits of 8 x 8."""
    folder = tmp_path_factory.mktemp("runs") / "completion"
    networks = [f"--set={network}.units=[6]" for network in ("encoder", "decoder", "prior")]
    arguments = ["--model", "completion_cvae", *TINY, *networks, "--epochs", 2]
    assert run("train", *arguments, "--output", folder) == 0
    return folder


@pytest.fixture
def pets(tmp_path):
    """Pictures of two classes in folders, in colour and of different sizes."""
    generator = np.random.default_rng(0)
    for name, shade in (("cat", 60), ("dog", 180)):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for i in range(20):
            pixels = generator.integers(shade - 50, shade + 50, (9 + i % 2, 12, 3), dtype="uint8")
            Image.fromarray(pixels).save(tmp_path / "pets" / name / f"{i:02d}.png")
    return tmp_path / "pets"


def arrays(path):
    with np.load(path) as content:
        return dict(content)


def test_runs_of_conditional_models_have_pictures_of_their_own(cvae_run, completion_run):
    for folder, name in ((cvae_run, "styles.png"), (completion_run, "completions.png")):
        assert np.asarray(Image.open(folder / name)).std() > 1.0
        assert json.loads((folder / "metadata.json").read_text())["num_classes"] == 10
    assert not (cvae_run / "completions.png").exists() and not (completion_run / "styles.png").exists()


def test_classes_are_generated_in_turn(cvae_run, tmp_path):
    generate = ["generate", cvae_run, "--num-images"]
    assert run(*generate, 7, "--labels", "0-2,5", "--output", tmp_path / "a.npz") == 0
    found = arrays(tmp_path / "a.npz")
    np.testing.assert_array_equal(found["labels"], [0, 1, 2, 5, 0, 1, 2])
    model = keras.saving.load_model(cvae_run / "model.keras")
    np.testing.assert_allclose(found["images"], model.generate(7, [0, 1, 2, 5], seed=0), atol=1e-5)
    assert run(*generate, 12, "--output", tmp_path / "b.npz") == 0
    np.testing.assert_array_equal(arrays(tmp_path / "b.npz")["labels"], [*range(10), 0, 1])
    assert run(*generate, 20, "--output", tmp_path / "b.png") == 0
    with Image.open(tmp_path / "b.png") as picture:  # a column for each class
        assert picture.width / picture.height == pytest.approx((10 * 10 + PADDING) / (2 * 10 + PADDING))


def test_completions_keep_what_is_given(completion_run, tmp_path):
    complete = ["complete", completion_run, "--num-images", 3, "--num-samples", 2, "--mask", "quadrants:1"]
    assert run(*complete, "--output", tmp_path / "c.npz") == 0
    found = arrays(tmp_path / "c.npz")
    assert found["completions"].shape == (3, 2, 8, 8, 1)
    visible = found["mask"]
    assert visible.sum() == 16 and visible[4:, :4].all()
    for sample in range(2):
        kept = found["completions"][:, sample][:, visible]
        np.testing.assert_array_equal(kept, found["images"][:, visible])
    assert np.abs(found["completions"][:, 0] - found["completions"][:, 1]).max() > 1e-4

    assert run(*complete, "--output", tmp_path / "c.png") == 0
    picture = np.asarray(Image.open(tmp_path / "c.png"), "float32") / 255
    scale = picture.shape[0] // (3 * 10 + PADDING)
    small = picture[::scale, ::scale]
    assert small.shape == (3 * 10 + PADDING, 4 * 10 + PADDING)  # given, two completions, original
    given, original = small[2:10, 2:10], small[2:10, 32:40]
    np.testing.assert_allclose(given[~visible], HIDDEN, atol=1 / 255)
    np.testing.assert_allclose(given[visible], found["images"][0, ..., 0][visible], atol=1 / 255)
    np.testing.assert_allclose(original, found["images"][0, ..., 0], atol=1 / 255)


def test_a_mask_and_the_images_may_be_pictures(completion_run, tmp_path):
    mask = np.zeros((8, 8), "uint8")
    mask[2:5, 1:7] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    digit = load("digits", 8, dtype="uint8").test[0][0, ..., 0]
    Image.fromarray(digit).save(tmp_path / "digit.png")
    arguments = ["--images", tmp_path / "digit.png", "--mask", tmp_path / "mask.png", "--output"]
    assert run("complete", completion_run, *arguments, tmp_path / "c.npz") == 0
    found = arrays(tmp_path / "c.npz")
    assert found["completions"].shape == (1, 8, 8, 8, 1)
    np.testing.assert_array_equal(found["mask"], mask > 0)
    np.testing.assert_allclose(found["images"][0, ..., 0], digit / 255, atol=1e-6)


def test_styles_are_codes_decoded_as_other_classes(cvae_run, tmp_path):
    transfer = ["transfer-style", cvae_run, "--num-images", 3, "--labels", "7,4"]
    assert run(*transfer, "--output", tmp_path / "s.npz") == 0
    found = arrays(tmp_path / "s.npz")
    assert found["styled"].shape == (3, 2, 8, 8, 1)
    x, y = load("digits", 8).test
    rows = [int(np.flatnonzero((x == image).all(axis=(1, 2, 3)))[0]) for image in found["images"]]
    model = keras.saving.load_model(cvae_run / "model.keras")
    codes = model.encode(x[rows], y[rows])
    for column, label in enumerate((7, 4)):
        expected = model.decode(codes, np.full(3, label))
        np.testing.assert_allclose(found["styled"][:, column], expected, atol=1e-5)
    assert run(*transfer, "--output", tmp_path / "s.png") == 0


def test_a_conditional_model_of_a_folder_knows_the_names_of_its_classes(pets, tmp_path, capsys):
    folder = tmp_path / "run"
    networks = [f"--set=networks.{part}.filters=[3]" for part in ("encoder", "decoder", "discriminator")]
    arguments = ["--dataset", pets, "--image-size", "8x6", "--latent-dim", 2, "--batch-size", 16, *networks]
    train = ["train", "--preset", "cvae_gan_cifar10", *arguments, "--epochs", 1, "--output", folder]
    assert run(*train) == 0
    metadata = json.loads((folder / "metadata.json").read_text())
    assert metadata["augment"] == "flip"  # the recipe's
    assert metadata["class_names"] == ["cat", "dog"] and metadata["image_shape"] == [8, 6, 3]
    generate = ["generate", folder, "--num-images", 3, "--output", tmp_path / "g.npz", "--labels"]
    assert run(*generate, "dog,cat") == 0
    np.testing.assert_array_equal(arrays(tmp_path / "g.npz")["labels"], [1, 0, 1])
    assert "Did you mean 'dog'" in refused(capsys, *generate, "dgo")
    reconstruct = ["reconstruct", folder, "--output", tmp_path / "r.npz", "--images"]
    assert run(*reconstruct, pets / "cat") == 0
    assert arrays(tmp_path / "r.npz")["reconstructions"].shape == (20, 8, 6, 3)
    assert run(*train, "--augment", "none", "--output", tmp_path / "plain") == 0
    assert json.loads((tmp_path / "plain" / "metadata.json").read_text())["augment"] is None
    (pets / "dog").rename(pets / "cow")
    assert "must be one of cat, dog; received 'cow'" in refused(capsys, *reconstruct, pets)


@pytest.mark.slow
def test_faces_of_64_pixels_are_a_recipe(tmp_path):
    generator = np.random.default_rng(0)
    (tmp_path / "faces").mkdir()
    for i in range(20):  # stand-ins of the size and shape that celeb_a has
        pixels = generator.integers(0, 255, (218, 178, 3), dtype="uint8")
        Image.fromarray(pixels).save(tmp_path / "faces" / f"{i:02d}.jpg")
    small = [f"--set=networks.{part}.filters=[4,4]" for part in ("encoder", "decoder", "discriminator")]
    small += [f"--set=networks.{part}.units=[4]" for part in ("encoder", "discriminator")]
    small += ["--set=full_size_filters=4"]
    train = ["train", "--preset", "vae_gan_celeb_a", "--dataset", tmp_path / "faces", *small]
    assert run(*train, "--epochs", 1, "--output", tmp_path / "run") == 0
    model = keras.saving.load_model(tmp_path / "run" / "model.keras")
    assert model.image_shape == (64, 64, 3) and model.game.three_players
    with Image.open(tmp_path / "run" / "samples.png") as samples:
        assert samples.mode == "RGB"


def test_a_conditional_model_is_scored_by_its_classes(cvae_run):
    arguments = ["--metrics", "labels,latent,style", "--features", "mnist_plain", "--no-cache"]
    assert run("evaluate", cvae_run, *arguments) == 0
    scores = {one["name"]: one for one in json.loads((cvae_run / "evaluate.json").read_text())["scores"]}
    assert set(scores["label_agreement"]["details"]) == {str(k) for k in range(10)}
    assert {"spread_within_classes", "coverage_within_classes", "kl"} < set(scores)

    # Every image as another class: what `transfer_style` makes of it, seen by the same classifier.
    model = keras.saving.load_model(cvae_run / "model.keras")
    images, labels = load("digits", 8).test
    asked = (labels + np.random.default_rng(0).integers(1, 10, len(labels))) % 10
    styled = np.zeros_like(images)
    for k in range(10):
        styled[asked == k] = model.transfer_style(images[asked == k], k, labels[asked == k])[:, 0]
    seen = metrics.extractor("mnist_plain").extract(styled).probabilities.argmax(axis=1)
    assert scores["style_agreement"]["value"] == pytest.approx(np.mean(seen == asked), abs=0.011)
    slants = [metrics.slant(pictures) for pictures in (images, styled)]
    for k in range(10):
        of_class = stats.pearsonr(*(slant[asked == k] for slant in slants)).statistic
        assert scores["style_slant_kept"]["details"][str(k)] == pytest.approx(of_class, abs=1e-3)
    assert -1 <= scores["style_stroke_width_kept"]["value"] <= 1


def test_a_model_that_completes_is_scored_by_what_is_hidden(completion_run):
    few = ["--likelihood-images", 20, "--likelihood-samples", 5, "--no-cache"]
    assert run("evaluate", completion_run, "--metrics", "completion", *few) == 0
    result = json.loads((completion_run / "evaluate.json").read_text())
    scores = {one["name"]: one["value"] for one in result["scores"]}
    assert list(scores) == [f"completion_quadrants_{number}" for number in (1, 2, 3)]
    model = keras.saving.load_model(completion_run / "model.keras")
    images = load("digits", 8).test[0]
    images = images[np.sort(np.random.default_rng(0).permutation(len(images))[:20])]
    expected = -model.log_likelihood(images, mask="left", num_samples=5, seed=0).mean()
    assert scores["completion_quadrants_2"] == pytest.approx(expected, rel=1e-4)
    assert list(scores.values()) == sorted(scores.values(), reverse=True)
    model.condition.masks = ("left", "quadrants:3")  # of the three those that it was trained on
    only = evaluation.score(
        model, load("digits", 8), ["completion"], likelihood_images=5, likelihood_samples=2
    )
    assert [one["name"] for one in only["scores"]] == ["completion_quadrants_3"]


BAD = {
    "complete cvae": ["must be a model that can complete, as completion_cvae can; it is a CVAE"],
    "transfer-style completion": ["must be a model that can transfer style, as cvae can; it is a CVAE"],
    "complete completion --mask middle": ["mask must be one of left", "there is no file middle"],
    "complete completion --mask {empty}": ["empty"],
    "complete completion --mask {wide}": ["(8, 8)", "(8, 9)"],
    "complete completion --mask {text}": ["cannot be read"],
    "complete completion --num-samples 0": ["--num-samples"],
    "complete completion --images nowhere.png": ["there is none at nowhere.png"],
    "complete completion --images {text}": ["images must be image files"],
    "complete completion --images {wide} --dataset digits": ["must not come with --dataset"],
    "interpolate completion --images {wide}": ["must hold pairs"],
    "generate cvae --labels 3-11": ["--labels must lie in 0..9; received 3-11"],
    "generate cvae --labels 5-3": ["--labels must have ranges that rise, as 3-5; received 5-3"],
    "generate cvae --labels 1.5": ["--labels must be one of", "'1.5'"],
    "generate completion --labels 1": ["not conditioned on classes"],
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(case, cvae_run, completion_run, tmp_path, capsys):
    Image.fromarray(np.zeros((8, 8), "uint8")).save(tmp_path / "empty.png")
    Image.fromarray(np.eye(8, 9, dtype="uint8") * 255).save(tmp_path / "wide.png")
    (tmp_path / "text.png").write_text("no picture")
    files = {name: tmp_path / f"{name}.png" for name in ("empty", "wide", "text")}
    runs = {"cvae": cvae_run, "completion": completion_run}
    words = [str(runs.get(word, word)) for word in case.format(**files).split()]
    said = refused(capsys, *words, "--output", tmp_path / "out.png")
    assert all(part in said for part in BAD[case]), said
    assert not (tmp_path / "out.png").exists()


def test_labels_are_needed_where_the_model_is_conditioned_on_them(tmp_path, capsys):
    path = tmp_path / "unlabelled.npz"
    np.savez(path, x=np.random.default_rng(0).random((40, 8, 8, 1), dtype="float32"))
    train = ["train", "--model", "cvae", "--dataset", path, "--output", tmp_path / "run"]
    assert "--dataset must have labels for cvae" in refused(capsys, *train)


# ---- semi-supervised ----


@pytest.fixture(scope="module")
def ssl_run(tmp_path_factory):
    """A semi-supervised VAE of digits of 8 x 8, of which 30 have a label."""
    folder = tmp_path_factory.mktemp("runs") / "ssl"
    networks = [f"--set={network}.units=[6]" for network in ("trunk", "class_head", "encoder", "decoder")]
    arguments = ["--model", "ssl_vae", *TINY, *networks, "--epochs", 2, "--num-labels", 30, "--seed", 3]
    assert run("train", *arguments, "--output", folder) == 0
    return folder


def test_few_labels_are_kept_and_the_temperature_is_fitted(ssl_run, tmp_path):
    metadata = json.loads((ssl_run / "metadata.json").read_text())
    assert metadata["recipe"]["training"]["num_labels"] == 30
    model = keras.saving.load_model(ssl_run / "model.keras")
    x, y = load("digits", 8).validation
    temperature = model.temperature
    assert temperature == pytest.approx(metrics.fit_temperature(model.class_logits(x), y), rel=1e-4)
    assert temperature != 1.0
    assert "error" in (ssl_run / "history.csv").read_text().splitlines()[0].split(",")
    assert run("train", "--resume", ssl_run, "--epochs", 3) == 0
    assert len((ssl_run / "history.csv").read_text().splitlines()) == 4


def test_images_of_ones_own_that_have_labels_in_part_train_as_they_are(tmp_path, capsys):
    """All splits have images without a label; the pictures and the other commands take what is told."""
    generator = np.random.default_rng(0)
    y = np.where(np.arange(90) % 3 == 0, np.arange(90) // 3 % 3, -1)
    x = generator.random((90, 8, 8, 1), dtype="float32") / 2 + np.maximum(y, 0)[:, None, None, None] / 4
    np.savez(tmp_path / "own.npz", x=x, y=y)
    networks = [f"--set={network}.units=[6]" for network in ("trunk", "class_head", "encoder", "decoder")]
    source = ["--model", "ssl_vae", "--dataset", tmp_path / "own.npz", "--latent-dim", 2, *networks]
    folder = tmp_path / "run"
    assert run("train", *source, "--epochs", 2, "--batch-size", 8, "--output", folder) == 0
    known = int((np.load(tmp_path / "own.npz")["y"] >= 0).sum())
    said = capsys.readouterr().out
    kept = int(said.split(" of them with a label")[0].split()[-1])
    assert 0 < kept < known  # the others are in the other splits
    assert json.loads((folder / "metadata.json").read_text())["recipe"]["training"]["num_labels"] is None
    pictures = ("reconstructions", "interpolation", "styles", "latent_means", "latent_grid", "curves")
    assert all((folder / f"{name}.png").is_file() for name in pictures)
    assert run("train", "--resume", folder, "--epochs", 3) == 0
    for command, count in (("reconstruct", "images"), ("transfer-style", "images"), ("interpolate", "pairs")):
        assert run(command, folder, "--output", tmp_path / f"{command}.png", f"--num-{count}", 4) == 0
    fewer = ["--num-labels", 3, "--epochs", 1, "--output", tmp_path / "fewer"]
    capsys.readouterr()
    assert run("train", *source, *fewer) == 0
    assert "3 of them with a label" in capsys.readouterr().out


def test_classes_are_told_as_csv(ssl_run, cvae_run, tmp_path, capsys):
    for folder in (ssl_run, cvae_run):
        output = tmp_path / "classes.csv"
        assert run("classify", folder, "--num-images", 12, "--seed", 1, "--output", output) == 0
        rows = list(csv.reader(output.read_text().splitlines()))
        assert rows[0] == ["image", "class", *"0123456789"]
        model = keras.saving.load_model(folder / "model.keras")
        x, _ = load("digits", 8).test
        probabilities = model.classify(x[[int(row[0]) for row in rows[1:]]])
        np.testing.assert_allclose(
            [[float(cell) for cell in row[2:]] for row in rows[1:]], probabilities, atol=1e-5
        )
        assert [int(row[1]) for row in rows[1:]] == list(probabilities.argmax(axis=1))
        assert len(rows) == 13
    capsys.readouterr()
    (tmp_path / "mine" / "cats").mkdir(parents=True)  # no class of the model, and none is asked for
    Image.fromarray(np.rint(x[0, ..., 0] * 255).astype("uint8")).save(tmp_path / "mine" / "cats" / "a.png")
    assert run("classify", ssl_run, "--images", tmp_path / "mine") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and lines[1].startswith("cats/a.png,")


def test_error_and_calibration_are_in_the_table(ssl_run, tmp_path, capsys):
    output = tmp_path / "scores.json"
    assert run("evaluate", ssl_run, "--metrics", "classification", "--output", output) == 0
    table = capsys.readouterr().out
    assert "classification error" in table and "calibration error before" in table
    found = {one["name"]: one["value"] for one in json.loads(output.read_text())["scores"]}
    model = keras.saving.load_model(ssl_run / "model.keras")
    x, y = load("digits", 8).test
    assert found["classification_error"] == pytest.approx(np.mean(model.classify(x).argmax(axis=1) != y))


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--model", "cvae", "--num-labels", 30], ["--num-labels", "cvae", "ssl_vae"]),
        (["--model", "ssl_vae", "--num-labels", 9], ["--num-labels", "10", "9"]),
        (["--model", "ssl_vae", "--num-labels", 99999], ["--num-labels", "1437", "99999"]),
        (["--model", "ssl_vae", "--num-labels", 0], ["--num-labels"]),
        (["--model", "ssl_vae", "--set", "labelled_share=2"], ["labelled_share", "2"]),
    ],
)
def test_labels_that_cannot_be_kept_are_refused(arguments, words, tmp_path, capsys):
    said = refused(capsys, "train", *arguments, *TINY, "--output", tmp_path / "x")
    assert all(word in said for word in words), said


def test_a_model_without_classes_cannot_classify(completion_run, capsys):
    said = refused(capsys, "classify", completion_run)
    assert "can classify" in said and "ssl_vae" in said


# ---- drawing step by step ----


def test_a_drawing_is_animated(tmp_path, capsys):
    folder = tmp_path / "draw"
    tiny = ["--dataset", "digits", "--image-size", 8, "--latent-dim", 2, "--batch-size", 256]
    tiny += ["--set", "steps=3"]
    tiny += [
        f"--set={network}.{setting}"
        for network in ("encoder", "decoder")
        for setting in ("units=6", "glimpse=3")
    ]
    assert run("train", "--model", "conditional_draw", *tiny, "--epochs", 1, "--output", folder) == 0
    for name in ("samples", "reconstructions", "latent_grid", "latent_means", "styles"):
        assert (folder / f"{name}.png").is_file()
    animate = ["animate", folder, "--num-images", 6, "--labels", "3,5", "--seed", 2, "--output"]
    assert run(*animate, tmp_path / "a.npz") == 0
    found = arrays(tmp_path / "a.npz")
    model = keras.saving.load_model(folder / "model.keras")
    for name, expected in model.canvases(6, [3, 5], seed=2).items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-4, atol=1e-5)
    assert run(*animate, tmp_path / "a.gif") == 0
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == 4
    assert "--output must end in .gif" in refused(capsys, *animate, tmp_path / "a.png")


def test_a_model_that_does_not_draw_cannot_be_animated(cvae_run, tmp_path, capsys):
    said = refused(capsys, "animate", cvae_run, "--output", tmp_path / "a.gif")
    assert "can draw step by step, as draw can" in said
