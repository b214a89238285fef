"""Recipes chosen by the images, trainings whose length is in steps, and the plan that a run tells."""

import json
import signal

import keras
import numpy as np
import pytest
from PIL import Image
from test_cli import refused, run
from test_training_runs import Quiet

from keras_vaegan import InputError, data, plots, presets, priors, training
from keras_vaegan.data.preprocessing import Preprocessing
from keras_vaegan.kinds import check_recipe
from keras_vaegan.models.latent import LatentVariableModel
from keras_vaegan.presets import configure
from keras_vaegan.presets.choice import ALL_RATES, change
from keras_vaegan.presets.own_images import recipe_by_images, widths
from keras_vaegan.report import _epochs
from keras_vaegan.runs import BEGUN, METADATA
from keras_vaegan.training.plan import (
    Length,
    TellTime,
    length_of,
    memory_of,
    parameters_of,
    roughly,
    step_memory,
)

pytestmark = pytest.mark.core_on("one")

MOST_PARAMETERS = 13_000_000
SHAPES = [(28, 28, 1), (32, 32, 3), (5, 3, 2), (64, 64, 3), (256, 256, 16)]
BASED = "stacked_ssl_vae"  # on a model that the user names


def count(model):
    """Numbers in all weights of a model, by Keras' own count of its networks."""
    networks = {id(one): one for networks in model.player_networks().values() for one in networks}
    return sum(one.count_params() for one in networks.values())


@pytest.mark.parametrize("shape", SHAPES)
def test_every_model_has_a_recipe_for_images_of_every_size(shape):
    for key in presets.MODEL_KEYS:
        recipe = recipe_by_images(key, shape, 3000)
        recipe["training"]["dataset"] = "mine"
        configure.check(recipe)
        assert recipe["model"]["key"] == key and "epochs" not in recipe["training"]
        assert 4000 <= recipe["training"]["steps"] <= 10_000
        assert 8 <= recipe["training"]["batch_size"] <= 128
        if key != BASED:
            model = presets.build(recipe, shape, seed=0, num_classes=3)
            found = parameters_of(model)
            assert sum(found.values()) == count(model) < MOST_PARAMETERS, (key, found)
            assert model.image_shape == shape


@pytest.mark.core_on("all")
@pytest.mark.parametrize("key", ["vae_gan", "ssl_vae", "draw"])
def test_a_model_by_its_images_can_be_trained(key):
    shape = (12, 10, 5)
    changes = [("model.steps", 2)] if key == "draw" else []
    recipe = presets.RecipeChoice(key, None, changes).for_images(shape, 20)
    model = presets.build(recipe, shape, seed=0, num_classes=2)
    x = np.random.default_rng(0).random((8, *shape), dtype="float32")
    history = model.fit(x, np.arange(8) % 2 if model.num_classes else None, batch_size=4, verbose=0).history
    assert all(np.isfinite(values).all() for values in history.values())
    assert model.generate(2, seed=0).shape == (2, *shape)


def test_a_model_on_another_takes_the_one_that_is_named(tmp_path):
    shape = (6, 6, 3)
    base = presets.build(presets.RecipeChoice("vae").for_images(shape, 40), shape, seed=0)
    presets.save_folder(base, tmp_path / "base", {})
    choice = presets.RecipeChoice(BASED, None, [("base", str(tmp_path / "base"))])
    assert presets.build(choice.for_images(shape, 40), shape, 0, 3).image_shape == shape


def test_what_the_images_decide():
    of = recipe_by_images
    assert of("vae", (32, 32, 1))["networks"] == presets.recipe("vae_mnist")["networks"]
    assert of("vae", (33, 32, 1))["networks"] != presets.recipe("vae_mnist")["networks"]
    vectors = [of("vae_gan", (side, side, 3), spatial=False) for side in (32, 64, 128, 256)]
    assert [recipe["networks"]["latent_dim"] for recipe in vectors] == [64, 128, 128, 128]
    assert [recipe["training"]["batch_size"] for recipe in vectors] == [64, 32, 16, 16]
    # Halved as often as leaves a map of about 4x4.
    assert [len(widths(side)) for side in (8, 32, 64, 128, 256, 1024)] == [2, 3, 4, 5, 6, 6]
    few, many = (of("vae_gan", (64, 64, 3), number, spatial=False) for number in (20, 200_000))
    assert few["training"]["batch_size"] == 16 and few["model"]["prior"]["components"] == 2
    assert many["training"]["steps"] == 2 * few["training"]["steps"]
    assert many["model"]["prior"]["components"] == 40
    for key in presets.MODEL_KEYS:
        recipe = of(key, (28, 28, 1))
        assert recipe["training"].get("num_labels") is recipe["training"].get("init") is None
        assert "likelihood" not in recipe["model"]  # images of one's own are no bits


def test_a_vae_gan_of_large_images_has_spatial_codes():
    for key, side, factor in (("vae_gan", 64, 4), ("cvae_gan", 128, 4), ("vae_gan", 256, 8)):
        recipe = recipe_by_images(key, (side, side - 3, 3), 500)
        assert recipe["source"].startswith(f"{key}_images: ")
        recipe["training"]["dataset"] = "mine"
        model = presets.build(recipe, (side, side - 3, 3), 0, num_classes=2)
        assert model.any_size and model.code_shape == (side // factor, side // factor, 4)
        assert model.game.adaptive and not model.has_x_p and not model.generates
        assert [term.name for term in model.reconstruction if term.weight] == ["l1", "perceptual"]
    recipe = recipe_by_images("vae_gan", (64, 64, 8), 500)  # which the perceptual network does not take
    assert "perceptual" not in recipe["model"]["reconstruction"]
    assert recipe_by_images("vae_gan", (63, 63, 3), 500)["networks"]["family"] == "dcgan"


@pytest.mark.parametrize(
    ("changes", "steps", "start"),
    [
        ([], 8000, 1600),
        ([("training.steps", 500)], 500, 100),
        ([("training.epochs", 10)], 320, 64),
        ([("training.steps", 500), ("game.start", 7)], 500, 7),
    ],
)
def test_the_discriminator_starts_after_a_fifth_of_the_training(changes, steps, start):
    recipe = presets.RecipeChoice("vae_gan", None, changes).for_images((64, 64, 3), 500)
    assert recipe["model"]["game"]["start"] == start
    if len(changes) < 2:
        assert recipe["model"]["game"]["warm_up"] == steps // 50


def test_another_family_of_large_images_has_vectors_as_codes():
    choice = presets.RecipeChoice("vae_gan", None, [("family", "dcgan"), ("encoder.units", [9])])
    recipe = choice.for_images((64, 64, 3), 500)
    assert recipe["networks"]["latent_dim"] == 128 and recipe["networks"]["encoder"]["units"] == [9]
    assert recipe["model"]["beta"] > 0.01  # it generates
    small = presets.RecipeChoice("vae_gan", None, [("family", "resnet")]).for_images((32, 32, 3), 500)
    assert small["networks"] == recipe_by_images("vae_gan", (64, 64, 3))["networks"]
    # Before the images are known, options of each of the recipes that they may choose are right.
    for option in ("encoder.units", "encoder.blocks"):
        assert presets.RecipeChoice("vae_gan", None, [(option, 2)]).before_images()
    with pytest.raises(InputError, match="encoder.unit"):
        presets.RecipeChoice("vae_gan", None, [("encoder.unit", 2)]).before_images()


def test_a_recipe_is_found_by_name_before_it_is_chosen():
    assert presets.recipe_for("cvae_gan", "cifar10") == presets.recipe("cvae_gan_cifar10")
    by_known_shape = presets.recipe_for("vae_gan", "cifar10")
    assert by_known_shape["training"]["dataset"] == "cifar10"
    assert by_known_shape["networks"] == recipe_by_images("vae_gan", (32, 32, 3), 9000)["networks"]
    given = presets.recipe_for("vae_gan", "mine", (64, 48, 3), 500)
    assert given["training"]["dataset"] == "mine" and given["training"]["steps"] == 8000
    with pytest.raises(InputError, match="image_shape"):
        presets.recipe_for("vae_gan", "mine", (64, 48))
    with pytest.raises(InputError, match="17"):
        presets.recipe_for("vae_gan", "mine", (64, 48, 17))


def test_changes_come_in_an_order_that_suits_them():
    made = presets.RecipeChoice(
        "vae_gan",
        "mine",
        [("encoder.units", [5]), ("family", "mlp"), (ALL_RATES, 0.01), ("training.epochs", 3)],
    )
    again = presets.RecipeChoice.from_config(json.loads(json.dumps(made.get_config())))
    for recipe in (made.for_images((8, 8, 3), 50), again.for_images((8, 8, 3), 50)):
        assert recipe["networks"]["family"] == "mlp" and recipe["networks"]["encoder"] == {"units": [5]}
        assert recipe["training"]["epochs"] == 3 and "steps" not in recipe["training"]
        rates = [recipe["optimizer"][player]["learning_rate"] for player in ("generator", "discriminator")]
        assert [rate["initial_learning_rate"] for rate in rates] == [0.01, 0.01]
    plain = presets.recipe("paper_cvae_mnist")
    change(plain, [(ALL_RATES, 0.5)])
    assert plain["optimizer"]["generator"]["learning_rate"] == 0.5
    with pytest.raises(InputError, match="Did you mean 'beta'"):
        presets.RecipeChoice("vae", changes=[("bta", 1)]).before_images()
    with pytest.raises(InputError, match="changes must be pairs"):
        presets.RecipeChoice.from_config({"key": "vae", "changes": [1]})


# ---- length in steps ----


@pytest.mark.parametrize("steps", [1, 3, 24, 60, 100, 250, 999, 2000, 5000, 8000, 10_007, 123_457])
def test_steps_are_divided_into_epochs(steps):
    epochs, each = length_of({"steps": steps})
    assert 0 <= epochs * each - steps < max(2, epochs // 5)
    assert epochs <= 50 and (epochs == 1 or each >= 25)
    assert steps < 250 or 10 <= epochs
    assert length_of({"steps": 3 * epochs * each}, each) == (3 * epochs, each)  # a run that goes on


def test_a_length_is_in_epochs_or_in_steps():
    assert length_of({"epochs": 7}) == Length(7, None)
    recipe = presets.recipe("draw_mnist")
    presets.override(recipe, "steps", 4)
    assert recipe["model"]["steps"] == 4 and "steps" not in recipe["training"]
    presets.override(recipe, "training.steps", 70)
    assert recipe["training"]["steps"] == 70 and "epochs" not in recipe["training"]
    check_recipe(recipe)
    assert presets.plan(recipe)["training"]["steps"] == 70
    presets.override(recipe, "epochs", 2)
    assert recipe["training"]["epochs"] == 2 and "steps" not in recipe["training"]
    recipe["training"]["steps"] = 5
    with pytest.raises(InputError, match="epochs or steps; received both"):
        check_recipe(recipe)
    del recipe["training"]["steps"], recipe["training"]["epochs"]
    with pytest.raises(InputError, match="epochs or steps; received neither"):
        check_recipe(recipe)
    with pytest.raises(InputError, match="training.steps must be an integer of at least 1"):
        presets.override(presets.recipe("vae_mnist_small"), "training.steps", 0)


def test_epochs_of_steps_pass_over_all_images_in_turn():
    x = np.linspace(0, 1, 10, dtype="float32").reshape(10, 1, 1, 1)
    batches = data.Batches(x, batch_size=4, seed=3, steps_per_epoch=5)
    assert (len(batches), batches.steps_per_pass) == (5, 3)
    drawn = []
    for batches.epoch in range(2):
        drawn += [batch[0] for batch in batches]
    assert all(len(batch) == 4 for batch in drawn)
    passes = np.concatenate(drawn).reshape(4, 10)
    np.testing.assert_array_equal(np.sort(passes), np.tile(x.reshape(1, 10), (4, 1)))
    assert not np.array_equal(passes[0], passes[1])


# ---- runs ----


@pytest.fixture(scope="module")
def colors(tmp_path_factory):
    """A folder of 60 small images in color of two classes, of two sizes."""
    folder = tmp_path_factory.mktemp("images") / "mine"
    draw = np.random.default_rng(0)
    for name, hue in (("blue", 2), ("red", 0)):
        (folder / name).mkdir(parents=True)
        for i in range(30):
            pixels = draw.integers(0, 60, (12, 12 + i % 2, 3)).astype("uint8")
            pixels[..., hue] += 150
            Image.fromarray(pixels).save(folder / name / f"{i:02d}.png")
    return folder


SMALL = ["--image-size", 12, "--latent-dim", 2, "--batch-size", 8]
SMALL += ["--set", "encoder.filters=[3]", "--set", "decoder.filters=[3]", "--set", "components=2"]


@pytest.fixture(scope="module")
def steps_run(tmp_path_factory, colors):
    """A run of the command line of 60 steps, in two epochs."""
    folder = tmp_path_factory.mktemp("runs") / "steps"
    keras.utils.clear_session()
    assert run("train", "--model", "vae", "--dataset", colors, *SMALL, "--steps", 60, "--output", folder) == 0
    return folder


class Stop(keras.callbacks.Callback):
    """Send SIGTERM before a batch of the first epoch."""

    def on_train_batch_begin(self, batch, logs=None):
        if batch == 7:
            signal.raise_signal(signal.SIGTERM)


def test_a_run_in_steps_goes_on_exactly(tmp_path, colors, steps_run, capsys):
    metadata = json.loads((steps_run / METADATA).read_text())
    assert (metadata["epochs_done"], metadata["steps_per_epoch"], metadata["finished"]) == (2, 30, True)
    assert metadata["recipe"]["training"]["steps"] == 60
    assert len(list((steps_run / "samples").iterdir())) == 2
    made = [
        ("latent_dim", 2), ("batch_size", 8), ("encoder.filters", [3]), ("decoder.filters", [3]),
        ("components", 2), ("training.steps", 60),
    ]  # fmt: skip
    choice = presets.RecipeChoice("vae", str(colors), made)
    keras.utils.clear_session()
    settings = {"console": Quiet(), "verbose": 0}
    stopped = training.run(choice, None, tmp_path / "run", image_size=12, callbacks=[Stop()], **settings)
    assert stopped.interrupted_by == "SIGTERM"
    assert training.resume(tmp_path / "run", **settings).finished
    for mine, theirs in zip(*(weights(folder) for folder in (tmp_path / "run", steps_run)), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert run("train", "--resume", steps_run, "--steps", 60) == 0
    assert "all steps asked for (60); more with --steps 120" in capsys.readouterr().out
    assert "--epochs must not be given: the length of" in refused(
        capsys, "train", "--resume", steps_run, "--epochs", 5
    )
    assert "--steps must be more than the 60" in refused(
        capsys, "train", "--resume", steps_run, "--steps", 30
    )
    assert training.resume(tmp_path / "run", steps=80, **settings).finished  # whole epochs of 30
    assert json.loads((tmp_path / "run" / METADATA).read_text())["epochs_done"] == 3


def weights(folder):
    return keras.saving.load_model(folder / "model.keras").get_weights()


def test_a_run_tells_its_plan_and_does_not_warn_of_itself(tmp_path, colors, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("train", "--model", "vae", "--dataset", colors, *SMALL, "--steps", 3) == 0
    said = capsys.readouterr()
    assert "warning" not in said.out
    lines = {line.split()[0]: line for line in said.out.splitlines() if line.startswith("  ")}
    assert "44 to train on, 8 to validate, 8 to test; 12x12, color (RGB); 2 classes" in lines["images"]
    assert "networks for small images; latent code of 2 numbers; batches of 8" in lines["recipe"]
    model = keras.saving.load_model("runs/vae_mine/model.keras")
    assert (
        f"encoder {model.encoder.count_params():,}, decoder {model.decoder.count_params():,}"
        in (lines["networks"])
    )
    assert "3 steps in 1 epoch of 3" in lines["training"]
    assert "(images 1 MB, weights 1 MB, a step 1 MB)" in lines["memory"]  # each less than that
    assert run("train", "--model", "vae", "--dataset", colors, *SMALL, "--epochs", 1) == 0
    assert "warning: only 6 training steps; --epochs 334 makes 2,000" in capsys.readouterr().out
    both = refused(capsys, "train", "--model", "vae", "--epochs", 1, "--steps", 1)
    assert "--steps must not come with --epochs" in both


def test_options_are_those_of_the_recipe_that_the_images_choose(tmp_path, colors, capsys):
    train = ["train", "--model", "vae", "--dataset", colors, "--output", tmp_path / "run"]
    assert "Did you mean 'beta'" in refused(capsys, *train, "--set", "bta=1")
    assert "encoder.filters" in refused(capsys, *train, "--set", "encoder.filters=[0]")
    assert "--resize must be one of" in refused(capsys, *train, "--resize", "fit")
    assert "--background must be" in refused(capsys, *train, "--background", "blau")
    assert "--random-crop must be" in refused(capsys, *train, "--image-size", 8, "--random-crop", 9)
    assert "--channels" in refused(capsys, *train, "--channels", 17)
    assert not (tmp_path / "run").exists()


def test_images_are_read_later_as_they_were_in_training(tmp_path, colors, capsys):
    wide = tmp_path / "wide"
    wide.mkdir()
    for path in sorted((colors / "red").iterdir())[:12]:
        image = Image.open(path).convert("RGBA").resize((24, 12))
        image.putalpha(Image.fromarray(np.tile(np.uint8([255, 0]), (12, 12))))
        image.save(wide / path.name)
    folder = tmp_path / "run"
    how = [
        "--resize",
        "pad",
        "--background",
        "black",
        "--channels",
        1,
        "--random-crop",
        "8x8",
        "--cache",
        "none",
    ]
    assert (
        run("train", "--model", "vae", "--dataset", wide, *SMALL, *how, "--steps", 2, "--output", folder) == 0
    )
    metadata = json.loads((folder / METADATA).read_text())
    kept = metadata["preprocessing"]
    assert metadata["image_shape"] == [8, 8, 1] and kept["crop"] == [8, 8]
    assert (kept["resize"], kept["background"], kept["channels"]) == ("pad", [0, 0, 0], 1)
    assert "images are read from disk" in capsys.readouterr().out
    image = sorted(wide.iterdir())[0]
    assert run("reconstruct", folder, "--images", image, "--output", tmp_path / "r.npz") == 0
    expected = Preprocessing((12, 12), 1, "pad", (0, 0, 0), crop=(8, 8))(np.asarray(Image.open(image)))
    seen = np.load(tmp_path / "r.npz")["images"]
    np.testing.assert_allclose(seen[0], expected / np.float32(255), atol=1e-6)
    assert seen[0, 0].max() == 0.0  # of the black border
    assert run("reconstruct", folder, "--num-images", 1, "--output", tmp_path / "t.npz") == 0
    assert np.load(tmp_path / "t.npz")["images"].shape == (1, 8, 8, 1)
    assert run("train", "--resume", folder, "--steps", 4) == 0
    assert run("train", "--preset", folder, "--output", tmp_path / "again") == 0
    assert json.loads((tmp_path / "again" / METADATA).read_text())["preprocessing"] == kept


def test_a_run_that_was_killed_as_it_read_its_images_chooses_its_recipe_when_resumed(tmp_path, colors):
    choice = presets.RecipeChoice("vae", str(colors), [("latent_dim", 2), ("training.steps", 2)])
    monkey = pytest.MonkeyPatch()
    folder = tmp_path / "run"

    def fail(*arguments, **settings):
        (tmp_path / "kept.json").write_text((folder / BEGUN).read_text())
        raise RuntimeError("killed")

    with monkey.context() as patch:
        patch.setattr(data, "load", fail)
        with pytest.raises(RuntimeError):
            training.run(choice, None, folder, image_size=12, console=Quiet())
    folder.mkdir(exist_ok=True)
    (folder / BEGUN).write_text((tmp_path / "kept.json").read_text())
    assert training.resume(folder, steps=3, console=Quiet(), verbose=0).finished
    recipe = json.loads((folder / METADATA).read_text())["recipe"]
    assert recipe["networks"]["latent_dim"] == 2 and recipe["training"]["steps"] == 3
    assert recipe["networks"]["encoder"]["filters"] == widths(12)


@pytest.mark.parametrize("cache", ["memory", "none"])
def test_an_epoch_ends_with_some_of_many_validation_images(tmp_path, monkeypatch, colors, cache):
    for module in ("plan", "runner"):
        monkeypatch.setattr(f"keras_vaegan.training.{module}.MOST_VALIDATED", 3)
    monkeypatch.setattr(priors.Mixture, "most_numbers", 41)  # 20 codes of 2 numbers
    seen, fit, fit_prior = {}, LatentVariableModel.fit, LatentVariableModel.fit_prior

    def look_at_fit(model, *arguments, **settings):
        seen["validation"] = settings["validation_data"][0]
        return fit(model, *arguments, **settings)

    def look_at_fit_prior(model, x, *arguments, **settings):
        seen["prior"] = x
        fit_prior(model, x, *arguments, **settings)

    monkeypatch.setattr(LatentVariableModel, "fit", look_at_fit)
    monkeypatch.setattr(LatentVariableModel, "fit_prior", look_at_fit_prior)
    changes = [("latent_dim", 2), ("training.steps", 2), ("encoder.filters", [2]), ("decoder.filters", [2])]
    choice, told = presets.RecipeChoice("vae_gan", str(colors), changes), Quiet()
    training.run(choice, folder=tmp_path / "run", image_size=8, cache=cache, console=told, verbose=0)
    whole = data.load(colors, image_size=8)
    held_out = len(whole.validation[0])
    assert held_out > 3 and len(whole.train[0]) > 20
    assert any(f"losses of 3 of the {held_out} validation images" in line for line, _ in told.lines)
    assert len(seen["prior"]) == 20
    np.testing.assert_allclose(seen["validation"][:3], whole.validation[0][:3], atol=1e-6)
    assert len(seen["validation"]) == 3


# ---- the plan's numbers ----


def test_memory_counts_what_is_there(tmp_path):
    mapped = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", "uint8", (10, 4, 4, 1))
    assert memory_of([np.zeros((10, 4, 4, 1), "float32"), mapped]) == 640
    recipe = presets.recipe("vae_mnist_small")
    model = presets.build(recipe, (8, 8, 1))
    needed = [step_memory(model, size) for size in (1, 10)]
    assert needed[1] == 10 * needed[0] > 4 * 10 * 2 * 64
    gan = presets.build(presets.recipe("vae_gan_mnist_small"), (8, 8, 1))
    assert step_memory(gan, 1) > needed[0]


def test_the_time_that_is_left_is_told_once(monkeypatch):
    class Model:
        stop_training = False

        def synchronize(self):
            pass

    now = [0.0]
    monkeypatch.setattr("keras_vaegan.training.plan.time.monotonic", lambda: now[0])
    lines = []
    tell = TellTime(lines.append, total=1000)
    tell.set_model(Model())
    tell.set_params({"steps": 100})
    for epoch in range(3):
        tell.on_epoch_begin(epoch)
        for batch in range(100):
            tell.on_train_batch_begin(batch)
            now[0] += 30.0 if (epoch, batch) == (0, 0) else 1.0  # the first one compiles
        tell.on_epoch_end(epoch)
    assert lines == ["  time      1 s a step: about 16 min left, validation not counted"]
    assert [roughly(s) for s in (59.6, 119, 5400, 3 * 86400)] == ["60 s", "2 min", "90 min", "72.0 h"]


@pytest.mark.parametrize(("channels", "mode"), [(5, "RGB"), (16, "RGB")])
def test_more_than_four_channels_are_shown_by_their_first_three(channels, mode):
    image = np.random.default_rng(0).random((6, 7, channels))
    picture = plots.as_picture(image)
    assert picture.mode == mode
    np.testing.assert_allclose(np.asarray(picture) / 255.0, image[..., :3], atol=0.5 / 255 + 1e-9)


def test_hidden_colors_are_not_seen_where_there_is_no_alpha(tmp_path):
    clear = np.zeros((1, 2, 60, 60, 4), "float32")
    clear[..., 0] = 1.0  # red, and transparent
    frames = np.full((1, 2, 2), 30.0), np.full((1, 2), 1.0)
    plots.save_animation(clear, *frames, tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as last:
        last.seek(last.n_frames - 1)
        assert last.convert("RGB").getpixel((30, 30)) == (255, 255, 255)
    images = np.ones((1, 60, 60, 4), "float32")
    plots.save_completions(images, np.zeros((60, 60), bool), images[:, None], tmp_path / "c.png")
    with Image.open(tmp_path / "c.png") as picture:
        assert picture.getpixel((30, 30)) == (128, 128, 128, 255)


def test_a_report_counts_the_epochs_of_steps(steps_run):
    metadata = json.loads((steps_run / METADATA).read_text())
    assert _epochs(metadata) == "2"
    assert _epochs(metadata | {"epochs_done": 1}) == "1 of 2"
