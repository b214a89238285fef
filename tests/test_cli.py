"""The command line: what it writes, and what it says to bad input."""

import csv
import errno
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
from PIL import Image

from keras_vaegan import cli, presets
from keras_vaegan.errors import InputError

pytestmark = pytest.mark.core_on("one")

BACKEND = keras.backend.backend()
TINY = ["--dataset", "digits", "--image-size", "8", "--batch-size", "256", "--latent-dim", "3"]
TINY_NETWORKS = ["--set", "encoder.filters=[4]", "--set", "decoder.filters=[4]"]
TINY_GAN = [*TINY, *TINY_NETWORKS, "--set", "networks.discriminator.filters=[4]"]


def run(*arguments):
    """Run the command line in this process; return its exit code."""
    with pytest.raises(SystemExit) as stop:
        cli.main([str(argument) for argument in arguments])
    return stop.value.code


def refused(capsys, *arguments):
    """The one line with which the command line refuses these arguments."""
    capsys.readouterr()
    assert run(*arguments) == 2
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 1, error
    assert error[0].startswith("keras-vaegan: error: ")
    return error[0]


@pytest.fixture(scope="session")
def vae_gan_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "vae_gan"
    settings = ["--set", "features=0.5", "--set", "prior=standard_normal"]
    settings += ["--set", "generator.learning_rate=0.002", "--set", "discriminator.learning_rate=0.0005"]
    assert run("train", "--model", "vae_gan", *TINY_GAN, *settings, "--epochs", 2, "--output", folder) == 0
    return folder


@pytest.fixture(scope="session")
def vae_run(tmp_path_factory):
    """A VAE with two latent dimensions, trained on a .npz without labels, in two colours."""
    folder = tmp_path_factory.mktemp("runs")
    np.savez(folder / "noise.npz", x=np.random.default_rng(0).random((100, 6, 9, 3), dtype="float32"))
    train = ["train", "--model", "vae", "--dataset", folder / "noise.npz", "--latent-dim", 2, *TINY_NETWORKS]
    assert run(*train, "--epochs", 1, "--output", folder / "vae") == 0
    return folder / "vae"


def test_a_training_of_few_steps_says_so(tmp_path, capsys):
    np.savez(tmp_path / "few.npz", x=np.random.default_rng(0).random((50, 8, 8, 1), dtype="float32"))
    train = ["train", "--model", "vae", "--dataset", tmp_path / "few.npz", "--latent-dim", 2, *TINY_NETWORKS]
    train += ["--output", tmp_path / "run"]
    assert run(*train, "--batch-size", 8, "--epochs", 2) == 0  # 40 of the 50 are trained on
    assert "warning: only 10 training steps; --epochs 400 makes 2,000" in capsys.readouterr().out


@pytest.mark.core_on("all")
def test_a_run_folder_has_what_the_design_names(vae_gan_run):
    files = {str(path.relative_to(vae_gan_run)) for path in vae_gan_run.rglob("*") if path.is_file()}
    assert files == {
        "config.json",
        "model.weights.h5",
        "metadata.json",
        "model.keras",
        "checkpoints/epoch_0001.keras",
        "checkpoints/epoch_0002.keras",
        "history.csv",
        "samples/epoch_0001.png",
        "samples/epoch_0002.png",
        "samples.png",
        "reconstructions.png",
        "interpolation.png",
        "curves.png",
        "latent_means.png",
        "latent_grid.png",
    }


def test_pictures_are_not_blank(vae_gan_run, vae_run):
    for path in [*vae_gan_run.rglob("*.png"), *vae_run.rglob("*.png")]:
        assert np.asarray(Image.open(path).convert("L")).std() > 1.0, path


def test_history_has_a_row_for_each_epoch(vae_gan_run):
    with open(vae_gan_run / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    names = {
        "loss",
        "kl",
        "reconstruction",
        "generator",
        "discriminator",
        "d_real",
        "d_fake",
        "feature_matching",
    }
    assert set(rows[0]) == {"epoch", "sample_diversity"} | names | {f"val_{name}" for name in names}
    assert float(rows[1]["loss"]) == pytest.approx(
        float(rows[1]["kl"]) + float(rows[1]["reconstruction"]), rel=1e-4
    )


@pytest.mark.core_on("all")
def test_settings_reach_the_model_and_its_optimizers(vae_gan_run):
    model = keras.saving.load_model(vae_gan_run / "model.keras")
    assert (model.reconstruction[0].weight, model.latent_dim, model.image_shape) == (0.5, 3, (8, 8, 1))
    assert float(model.player_optimizer("generator").learning_rate) == pytest.approx(0.002)
    assert float(model.player_optimizer("discriminator").learning_rate) == pytest.approx(0.0005)
    assert model.discriminator.get_layer("discriminator_conv_0").filters == 4


def test_metadata_repeats_the_training_as_a_configuration(vae_gan_run, tmp_path):
    again = tmp_path / "again"
    arguments = ["--config", vae_gan_run / "metadata.json", "--image-size", 8, "--epochs", 1]
    assert run("train", *arguments, "--output", again) == 0
    recipes = [json.loads((run / "metadata.json").read_text())["recipe"] for run in (vae_gan_run, again)]
    assert recipes[1]["training"].pop("epochs") == 1
    assert recipes[0]["training"].pop("epochs") == 2
    assert recipes[0] == recipes[1]


@pytest.mark.core_on("all")
def test_the_weights_file_holds_the_networks_alone(vae_gan_run):
    import h5py

    sizes = {}
    with h5py.File(vae_gan_run / "model.weights.h5") as file:
        file.visititems(
            lambda name, item: sizes.update({name: item.size}) if isinstance(item, h5py.Dataset) else None
        )
    assert sizes.pop("vars/seed_state") == 2
    assert {name.split("/")[0] for name in sizes} == {"encoder", "decoder", "discriminator"}
    model = keras.saving.load_model(vae_gan_run / "model.keras")
    assert sum(sizes.values()) == model.count_params()


@pytest.mark.core_on("all")
def test_generate_writes_arrays_that_depend_on_the_seed_alone(vae_gan_run, tmp_path):
    def images(name, *arguments):
        assert run("generate", vae_gan_run, *arguments, "--output", tmp_path / name) == 0
        return np.load(tmp_path / name)["images"]

    first = images("a.npz", "--num-images", 20, "--seed", 3)
    assert first.shape == (20, 8, 8, 1)
    assert first.dtype == "float32"
    assert 0.0 <= first.min() < first.max() <= 1.0
    more = images("b.npz", "--num-images", 300, "--seed", 3, "--batch-size", 7)
    np.testing.assert_allclose(first, more[:20], atol=1e-5)
    assert np.abs(first - images("c.npz", "--num-images", 20, "--seed", 4)).max() > 1e-3


def test_many_images_come_in_parts_that_are_gone_on_with(vae_gan_run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("keras_vaegan.cli.parts.PART", 7)
    model = presets.load_source(vae_gan_run)[0]
    whole, out = model.generate(18, seed=3), tmp_path / "out"
    most = []
    made = type(model).generate

    def generate(self, num_images, *arguments, **settings):
        most.append(num_images)
        return made(self, num_images, *arguments, **settings)

    monkeypatch.setattr(type(model), "generate", generate)
    asked = ["generate", vae_gan_run, "--seed", 3, "--output", out]
    assert run(*asked, "--num-images", 16) == 0
    assert most == [7, 7, 2]  # never more in memory

    def parts():
        return [np.load(path)["images"] for path in sorted(out.glob("part-*.npz"))]

    np.testing.assert_allclose(np.concatenate(parts()), whole[:16], atol=1e-6)
    (out / "part-00000.npz").unlink()
    (out / "part-00001.npz").write_bytes(b"half a file")
    assert run(*asked, "--num-images", 18) == 0  # a lost one, a broken one, and one that was too short
    assert most[3:] == [7, 7, 4]
    np.testing.assert_allclose(np.concatenate(parts()), whole, atol=1e-6)
    assert run(*asked, "--num-images", 18) == 0 and len(most) == 6
    assert "wrote 3 parts, 18 images" in capsys.readouterr().out

    error = refused(capsys, *asked[:2], "--seed", 4, "--output", out, "--num-images", 18)
    assert "seed differ: 3" in error
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious").write_text("of others")
    assert "new, empty" in refused(capsys, *asked[:4], "--output", tmp_path / "full")


def test_the_generated_picture_shows_the_arrays(vae_gan_run, tmp_path):
    for name in ("g.png", "g.npz"):
        assert run("generate", vae_gan_run, "--num-images", 4, "--output", tmp_path / name) == 0
    picture = np.asarray(Image.open(tmp_path / "g.png"), "float32") / 255.0
    images = np.load(tmp_path / "g.npz")["images"]
    scale = picture.shape[0] // 22  # two images of 8 and three lines of 2 pixels
    small = picture[::scale, ::scale]
    assert small.shape == (22, 22)
    np.testing.assert_allclose(small[2:10, 12:20], images[1, :, :, 0], atol=1 / 255)
    np.testing.assert_allclose(small[12:20, 2:10], images[2, :, :, 0], atol=1 / 255)


def test_reconstruct_and_interpolate_use_the_test_images_of_the_run(vae_gan_run, tmp_path):
    from keras_vaegan.data import load

    assert run("reconstruct", vae_gan_run, "--num-images", 5, "--output", tmp_path / "r.npz") == 0
    arrays = np.load(tmp_path / "r.npz")
    known = load("digits", 8).test[0]
    assert all(any(np.array_equal(image, other) for other in known) for image in arrays["images"])
    model = keras.saving.load_model(vae_gan_run / "model.keras")
    expected = model.predict(arrays["images"], verbose=0)
    np.testing.assert_allclose(arrays["reconstructions"], expected, atol=1e-5)

    assert (
        run("interpolate", vae_gan_run, "--num-pairs", 2, "--steps", 3, "--output", tmp_path / "i.npz") == 0
    )
    assert np.load(tmp_path / "i.npz")["images"].shape == (2, 3, 8, 8, 1)
    for command in ("reconstruct", "interpolate"):
        assert run(command, vae_gan_run, "--output", tmp_path / f"{command}.png") == 0
        with Image.open(tmp_path / f"{command}.png") as picture:
            assert picture.width > 100


def test_colour_and_non_square_images_work_from_a_file(vae_run, tmp_path):
    assert run("generate", vae_run / "model.keras", "--num-images", 3, "--output", tmp_path / "g.npz") == 0
    assert np.load(tmp_path / "g.npz")["images"].shape == (3, 6, 9, 3)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["trian"], "Did you mean 'train'"),
        (["train", "--model", "vea_gan"], "Did you mean 'vae_gan'"),
        (["train", "--modle", "vae"], "Did you mean '--model'"),
        (["train"], "--model must be given"),
        (["train", "--model", "vae", "--backend", "tensorfow"], "Did you mean 'tensorflow'"),
        (["train", "--model", "vae", "--epochs", "0"], "--epochs"),
        (["train", "--model", "vae", "--epochs", "many"], "--epochs"),
        (["train", "--model", "vae", "--mixed-precision", "float32"], "bfloat16"),
        (["train", "--model", "vae", "--image-size", "8x"], "--image-size"),
        (["train", "--model", "vae", "--augment", "cutuot"], "Did you mean 'cutout'"),
        (["train", "--model", "vae_gan", "--set", "featurs=1"], "Did you mean 'features'"),
        (["train", "--model", "vae_gan", "--set", "features"], "KEY=VALUE"),
        (["train", "--model", "vae_gan", "--set", "features=-1"], "features"),
        (["train", "--model", "vae_gan", "--set", "features=much"], "features"),
        (["train", "--model", "vae_gan", "--set", "likelihood=binomial"], "likelihood"),
        (["train", "--model", "vae_gan", "--set", "encoder.filters=[0]"], "filters"),
        (["train", "--model", "vae_gan", "--set", "encoder.filters=many"], "filters"),
        (
            ["train", "--model", "vae_gan", "--set", "learning_rate=1"],
            "--set learning_rate is ambiguous: write discriminator.learning_rate or generator.learning_rate.",
        ),
        (["train", "--model", "vae_gan", "--set", "generator.class=RMSPorp"], "Did you mean 'RMSprop'"),
        (["train", "--model", "vae", "--set", "epochs=1.5"], "epochs"),
        (["train", "--model", "vae", "--set", "dataset=5"], "dataset"),
        (["train", "--model", "vae", "--dataset", "digitss"], "--dataset must be one of mnist_small"),
        (["train", "--model", "vae", "--dataset", "no/such/folder"], "no/such/folder"),
        (["train", "--model", "vae", "--config", "no.json"], "--config"),
        (["generate", "no-run", "--output", "x.png"], "no-run"),
        (["generate", "no-run", "--output", "x.jpg"], ".png"),
        (["generate", "no-run"], "--output"),
        (["generate", "no-run", "--num-images", "0", "--output", "x.png"], "--num-images"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(capsys, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    assert said in refused(capsys, *arguments)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_an_output_that_is_no_run_folder_is_refused_and_kept(capsys, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    train = ["train", "--model", "vae", "--output"]
    assert "exists and is neither" in refused(capsys, *train, tmp_path)
    assert "exists and is neither" in refused(capsys, *train, tmp_path, "--overwrite")
    assert "is a file" in refused(capsys, *train, tmp_path / "thesis.tex")
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_a_folder_with_metadata_of_another_kind_is_no_run(capsys, tmp_path):
    (tmp_path / "metadata.json").write_text('{"title": "my project"}')
    (tmp_path / "notes.txt").write_text("kept")
    assert "neither" in refused(capsys, "train", "--model", "vae", "--output", tmp_path, "--overwrite")
    assert len(list(tmp_path.iterdir())) == 2


def test_replacing_a_run_keeps_what_else_lies_beside_it(tmp_path):
    train = ["train", "--model", "vae", *TINY, *TINY_NETWORKS, "--output", tmp_path / "run"]
    assert run(*train, "--epochs", 2) == 0
    (tmp_path / "run" / "notes.txt").write_text("kept")
    assert run(*train, "--epochs", 1, "--overwrite") == 0
    assert (tmp_path / "run" / "notes.txt").read_text() == "kept"
    assert len(list((tmp_path / "run" / "checkpoints").iterdir())) == 1


def test_options_may_come_in_any_order(tmp_path, brief_fits):
    settings = ["encoder.units=[5]", "encoder.learning_rate=0.01", "three_players=true", "family=mlp"]
    settings += ["generator.learning_rate=0.0005", "discriminator.learning_rate=0.0005"]
    arguments = [word for setting in settings for word in ("--set", setting)]
    folder = tmp_path / "run"
    assert run("train", "--model", "vae_gan", *TINY, *arguments, "--epochs", 1, "--output", folder) == 0
    model = keras.saving.load_model(folder / "model.keras")
    assert model.encoder.get_layer("encoder_dense_0").units == 5
    rates = [float(model.player_optimizer(player).learning_rate) for player in model.players]
    assert rates == pytest.approx([0.01, 0.0005, 0.0005])


def test_four_channels_are_reconstructed_too(tmp_path):
    np.savez(tmp_path / "rgba.npz", x=np.random.default_rng(0).random((80, 8, 8, 4), dtype="float32"))
    train = ["train", "--model", "vae", "--dataset", tmp_path / "rgba.npz", *TINY_NETWORKS, "--epochs", 1]
    assert run(*train, "--output", tmp_path / "run") == 0
    assert run("reconstruct", tmp_path / "run", "--num-images", 4, "--output", tmp_path / "r.npz") == 0
    assert np.load(tmp_path / "r.npz")["reconstructions"].shape == (4, 8, 8, 4)


@pytest.mark.parametrize("config", ['{"model": "vae_gan"}', '{"networks": 5}', "[1]", "{", '{"modle": {}}'])
def test_a_configuration_of_another_form_is_refused(capsys, tmp_path, config):
    (tmp_path / "config.json").write_text(config)
    assert "--config" in refused(capsys, "train", "--model", "vae", "--config", tmp_path / "config.json")


@pytest.mark.core_on("all")
def test_a_run_is_replaced_only_when_asked(capsys, vae_gan_run):
    before = (vae_gan_run / "history.csv").read_bytes()
    assert "--overwrite" in refused(capsys, "train", "--model", "vae", "--output", vae_gan_run)
    assert (vae_gan_run / "history.csv").read_bytes() == before


def test_data_are_read_before_an_old_run_is_replaced(capsys, vae_run):
    arguments = ["--dataset", "no/such/folder", "--output", vae_run, "--overwrite"]
    assert "no/such/folder" in refused(capsys, "train", "--model", "vae", *arguments)
    assert (vae_run / "model.keras").is_file()


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"x": np.full((30, 8, 8, 1), 255.0)}, "all of their values are 255"),
        ({"x": np.full((30, 8, 8, 1), np.nan)}, "NaN"),
        ({"x": np.zeros((30, 8))}, "x"),
        ({"x": np.zeros((30, 8, 8, 1)), "y": np.zeros(29, "int64")}, "29"),
        ({"pictures": np.zeros((30, 8, 8, 1))}, "pictures"),
    ],
)
def test_bad_images_are_refused_with_their_fault(capsys, tmp_path, arrays, said):
    np.savez(tmp_path / "bad.npz", **arrays)
    arguments = ["--dataset", tmp_path / "bad.npz", "--output", tmp_path / "run"]
    assert said in refused(capsys, "train", "--model", "vae", *arguments)


@pytest.mark.skipif(not pathlib.Path("/proc/self").exists(), reason="needs a file system that takes no files")
def test_an_output_that_cannot_be_made_is_refused(capsys, tmp_path):
    assert "/proc/run" in refused(capsys, "train", "--model", "vae", "--output", "/proc/run")
    (tmp_path / "file").touch()
    message = refused(capsys, "train", "--model", "vae", "--output", tmp_path / "file" / "run")
    assert "file/run" in message


def test_a_full_disk_is_one_line_and_leaves_no_partial_file(capsys, tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "epoch_0001.keras")

    monkeypatch.setattr(os, "replace", full)
    message = refused(capsys, "train", "--model", "vae", *TINY, *TINY_NETWORKS, "--output", tmp_path / "run")
    assert os.strerror(errno.ENOSPC) in message
    assert not list(tmp_path.rglob(".partial*"))


def test_a_damaged_run_folder_is_refused(capsys, vae_run, tmp_path):
    import shutil

    broken = shutil.copytree(vae_run, tmp_path / "broken")
    (broken / "config.json").write_text("{")
    assert "broken" in refused(capsys, "generate", broken, "--output", tmp_path / "g.png")
    (broken / "config.json").unlink()
    assert "has no config.json" in refused(capsys, "generate", broken, "--output", tmp_path / "g.png")
    (tmp_path / "model.keras").write_bytes(b"not a model")
    assert "model.keras" in refused(
        capsys, "generate", tmp_path / "model.keras", "--output", tmp_path / "g.png"
    )


def test_too_few_test_images_are_refused(capsys, vae_run, tmp_path):
    message = refused(capsys, "reconstruct", vae_run, "--num-images", 64, "--output", tmp_path / "r.png")
    assert "64" in message


def command(*arguments, **settings):
    """A process of the command line of its own."""
    environment = os.environ | {"KERAS_BACKEND": BACKEND}
    words = [sys.executable, "-m", "keras_vaegan", *map(str, arguments)]
    return subprocess.Popen(
        words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **settings
    )


def test_ctrl_c_ends_with_the_model_saved(tmp_path):
    train = [
        "train",
        "--model",
        "vae",
        *TINY,
        *TINY_NETWORKS,
        "--set",
        "prior=mixture",
        "--set",
        "components=4",
    ]
    process = command(*train, "--epochs", 10000, "--output", tmp_path / "run")
    history = tmp_path / "run" / "history.csv"
    end = time.monotonic() + 120
    while not history.exists() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    output, error = process.communicate(timeout=120)
    assert process.returncode == 130, error
    assert "the model is saved" in error
    assert "Traceback" not in error
    done = len(history.read_text().splitlines()) - 1
    assert json.loads((tmp_path / "run" / "metadata.json").read_text())["epochs_done"] == done >= 1
    model = keras.saving.load_model(tmp_path / "run" / "model.keras")
    assert model.generate(2, seed=0).shape == (2, 8, 8, 1)
    assert "the prior stays N(0, I)" in output
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(model.prior.means), 0.0)


def test_help_loads_no_backend_and_a_wrong_word_is_one_line():
    code = "from keras_vaegan import cli\n"
    code += "try: cli.main(['train', '--help'])\nexcept SystemExit: print('keras' in sys.modules)"
    environment = os.environ | {"PYTHONSAFEPATH": ""}
    program = "import sys; sys.argv = ['keras-vaegan']\n" + code
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "False", done
    process = command("generate", "nothing", "--output", "x.png")
    _, error = process.communicate(timeout=120)
    assert process.returncode == 2
    assert re.fullmatch(r"keras-vaegan: error: .*nothing.*\n", error), error


def test_the_backend_option_loads_that_backend_alone(tmp_path):
    process = command(
        "train", "--model", "vae", *TINY, *TINY_NETWORKS, "--epochs", 1, "--backend", BACKEND, cwd=tmp_path
    )
    output, error = process.communicate(timeout=180)
    assert process.returncode == 0, error
    assert f"on {BACKEND}" in output
    assert "look at runs/vae_digits/samples.png" in output
    assert (tmp_path / "runs/vae_digits/samples.png").is_file()


def test_models_lists_each_model_and_its_presets(capsys):
    assert run("models") == 0
    listed = capsys.readouterr().out
    for name in ("vae", "vae_gan", "vae_mnist_small", "vae_mnist", "vae_gan_mnist_small", "vae_gan_mnist"):
        assert name in listed.replace(":", " ").replace(",", " ").split()


def test_presets_are_listed_and_shown(vae_gan_run, capsys):
    assert run("presets") == 0
    assert {"vae_mnist_small", "vae_gan_mnist"} <= set(capsys.readouterr().out.split())
    assert run("presets", "vae_gan_mnist") == 0
    assert json.loads(capsys.readouterr().out)["recipe"]["training"]["dataset"] == "mnist"
    assert run("presets", vae_gan_run) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["recipe"]["model"]["reconstruction"]["features"] == 0.5 and shown["seed"] == 0
    assert "Did you mean 'vae_mnist_small'" in refused(capsys, "presets", "vae_mnist_smal")


def test_a_run_begins_with_the_weights_of_another(vae_gan_run, tmp_path, capsys):
    begun = tmp_path / "begun"
    settings = [*TINY_GAN, "--set", "prior=standard_normal", "--learning-rate", "1e-12", "--epochs", "1"]
    assert run("train", "--model", "vae_gan", "--init", vae_gan_run, "--output", begun, *settings) == 0
    said = capsys.readouterr().out
    first, second = (presets.load_source(folder)[0] for folder in (vae_gan_run, begun))
    assert f"begins with {len(first.weights)} of {len(first.weights)} arrays of {vae_gan_run}" in said
    images = np.random.default_rng(0).random((4, 8, 8, 1), dtype="float32")
    np.testing.assert_allclose(first.encode(images), second.encode(images), atol=1e-5)
    metadata = json.loads((begun / "metadata.json").read_text())
    assert metadata["recipe"]["training"]["init"] == str(vae_gan_run)
    error = refused(
        capsys, "train", "--model", "vae", "--init", "cvae_mnist_small", "--output", tmp_path / "no"
    )
    assert "--init must be a trained model; cvae_mnist_small is a recipe" in error
    assert not (tmp_path / "no").exists()


def test_a_learning_rate_is_where_a_schedule_begins(tmp_path, brief_fits):
    settings = [*TINY_GAN, "--set", "components=2", "--learning-rate", 1e-5, "--output", tmp_path / "run"]
    assert run("train", "--preset", "vae_gan_mnist", "--dataset", "digits", *settings) == 0
    recipe = json.loads((tmp_path / "run" / "metadata.json").read_text())["recipe"]
    rates = [recipe["optimizer"][player]["learning_rate"] for player in ("generator", "discriminator")]
    assert [(rate["class"], rate["initial_learning_rate"]) for rate in rates] == [("CosineDecay", 1e-5)] * 2


def test_a_preset_repeats_its_recipe(vae_gan_run, tmp_path, capsys):
    again = tmp_path / "again"
    arguments = ["--preset", vae_gan_run, "--image-size", "8", "--epochs", 1, "--output", again]
    assert run("train", *arguments) == 0
    recipes = [json.loads((f / "metadata.json").read_text())["recipe"] for f in (vae_gan_run, again)]
    assert recipes[1].pop("training") == recipes[0].pop("training") | {"epochs": 1}
    assert recipes[0] == recipes[1]
    conflict = refused(capsys, "train", "--preset", vae_gan_run, "--model", "vae", "--output", tmp_path / "x")
    assert "--model must be that of --preset, vae_gan" in conflict
    assert "preset must be the name of a preset" in refused(capsys, "train", "--preset", "vae_gam")
    (tmp_path / "empty").mkdir()
    assert "error: --preset must be a preset or run folder" in refused(
        capsys, "train", "--preset", tmp_path / "empty"
    )
    shutil.copytree(vae_gan_run, tmp_path / "broken")
    (tmp_path / "broken" / "metadata.json").write_text('{"epochs_done": "many"}')
    assert "error: --preset " in refused(capsys, "train", "--preset", tmp_path / "broken")
    with pytest.raises(InputError, match="^preset must be a preset or run folder"):
        presets.from_preset(tmp_path / "empty")
    with pytest.raises(InputError, match="^source must be a preset or run folder"):
        presets.load_source(tmp_path / "empty")
    assert "is a recipe" in refused(capsys, "generate", "vae_mnist_small", "--output", tmp_path / "x.png")


@pytest.mark.core_on("one")
def test_help_starts_with_a_verb_and_is_short():
    """The first sentence of an option's help stands alone, in at most 60 characters."""
    nouns = (
        "Which",
        "What",
        "Where",
        "How",
        "Images",
        "Folder",
        "File",
        "The",
        "Of",
        "Under",
        "Any",
        "Seed of",
    )
    for command in cli.cli.commands.values():
        assert re.split(r"\.(?:\s|$)", command.help)[0].split()[0].isalpha()
        for option in command.params:
            text = getattr(option, "help", None)
            if text is None:
                continue
            first = re.split(r"\.\s", text)[0]
            assert len(first) <= 60 and text[0].isupper() and text.endswith("."), (command.name, text)
            assert not text.startswith(nouns), (command.name, text)
