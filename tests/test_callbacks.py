"""Callbacks that fill a run folder, used from Python."""

import csv

import keras
import pytest
import registry

from keras_vaegan import InputError, callbacks, evaluation, metrics
from keras_vaegan.data import ImageData, load

pytestmark = pytest.mark.core_on("one")


def fit(*used, epochs=3, **arguments):
    model = registry.vae()
    model.compile()
    model.fit(registry.images(), epochs=epochs, callbacks=list(used), verbose=0, **arguments)
    return model


def test_the_last_checkpoints_stay_and_those_of_others_too(tmp_path):
    for name in ("epoch_0079.keras", "epoch_best.keras"):
        (tmp_path / name).touch()
    fit(callbacks.Checkpoints(tmp_path, keep=2))
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"epoch_0002.keras", "epoch_0003.keras", "epoch_0079.keras", "epoch_best.keras"}
    assert keras.saving.load_model(tmp_path / "epoch_0003.keras").optimizer.iterations == 3


def test_no_checkpoints_to_keep_are_refused(tmp_path):
    with pytest.raises(InputError, match="keep"):
        callbacks.Checkpoints(tmp_path, keep=0)


def test_the_history_has_validation_of_the_epochs_that_have_it(tmp_path):
    history = callbacks.HistoryFile(tmp_path / "history.csv")
    for _ in range(2):  # a second training starts anew
        fit(history, validation_data=(registry.images(),), validation_freq=2)
    with open(tmp_path / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert [row["val_loss"] != "" for row in rows] == [False, True, False]
    assert history.columns["val_loss"][1] == float(rows[1]["val_loss"])
    assert history.columns["val_loss"][0] != history.columns["val_loss"][0]  # NaN


def small_data():
    x = registry.images(20, (9, 9, 1))
    return ImageData((x, None), (x[:8], None), (x, None), name="noise")


@pytest.mark.core_on("all")
def test_samples_are_scored_every_few_epochs_and_at_the_end(tmp_path):
    history = callbacks.HistoryFile(tmp_path / "history.csv")
    scored = callbacks.ScoreSamples(small_data(), ["sharpness", "latent"], every=2, num_images=6)
    model = registry.vae((9, 9, 1))
    model.compile()
    model.fit(small_data().train[0], epochs=5, callbacks=[scored, history], verbose=0)
    assert [value == value for value in history.columns["sharpness"]] == [False, True, False, True, True]
    expected = metrics.laplacian_variance(model.generate(6, seed=0))
    assert history.columns["sharpness"][-1] == pytest.approx(expected, rel=1e-5)
    assert "active_units" in history.columns and "loss" in history.columns


def test_the_epoch_that_ends_a_training_early_is_scored():
    scored = callbacks.ScoreSamples(small_data(), ["sharpness"], every=10, num_images=6)
    model = registry.vae((9, 9, 1))
    model.compile()
    stop = keras.callbacks.EarlyStopping("loss", min_delta=1e9, patience=1)  # after the second epoch
    logs = model.fit(small_data().train[0], epochs=5, callbacks=[stop, scored], verbose=0).history
    assert len(logs["loss"]) == 2 and len(logs["sharpness"]) == 1


def test_what_is_computed_of_real_images_is_kept_between_epochs(monkeypatch):
    x = registry.images(40, (9, 9, 1))
    data = ImageData((x, None), (x, None), (x, None), name="noise")
    inputs = keras.Input((9, 9, 1))
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(3, 3)(inputs))
    users, seen = keras.Model(inputs, pooled), []
    extract = metrics.Extractor.extract
    monkeypatch.setattr(
        metrics.Extractor, "extract", lambda self, x, *rest: seen.append(len(x)) or extract(self, x, *rest)
    )
    scored = callbacks.ScoreSamples(data, ["frechet", "sharpness"], num_images=10, features=[users])
    for model in (registry.vae((9, 9, 1)), registry.vae((9, 9, 1))):  # another model, another time
        model.compile()
        seen.clear()
        logs = model.fit(x, epochs=3, callbacks=[scored], verbose=0).history
        assert sorted(seen) == [10, 10, 10, 10, 40]  # samples thrice, floor and real images once
        alone = evaluation.score(
            model, data, ["frechet", "sharpness"], split="validation", num_images=10, features=[users]
        )
        for one in alone["scores"]:
            assert logs[one["name"]][-1] == pytest.approx(one["value"], rel=1e-5)
        assert len(set(logs["frechet_distance"])) == 3


def test_scores_in_two_features_have_two_names():
    data = load("digits")
    scored = callbacks.ScoreSamples(data, ["frechet"], features=["mnist_plain", "mnist_residual"])
    model = registry.vae((28, 28, 1))
    model.compile()
    logs = model.fit(data.train[0][:64], callbacks=[scored], verbose=0).history
    assert {"frechet_distance_mnist_plain", "frechet_distance_mnist_residual"} <= set(logs)


def test_unknown_scores_are_refused_before_the_training():
    with pytest.raises(InputError, match="groups must be one of"):
        callbacks.ScoreSamples(small_data(), ["fid"])
    with pytest.raises(InputError, match="groups must be one at least"):
        callbacks.ScoreSamples(small_data(), [])
