"""Callbacks that fill a run folder, used from Python."""

import csv

import keras
import pytest
import registry

from keras_vaegan import InputError, callbacks, metrics
from keras_vaegan.data import ImageData, load


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
