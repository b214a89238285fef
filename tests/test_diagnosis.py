"""The rules on a history, on histories made by hand, and `doctor`, which applies them to a run folder."""

import csv
import json
import math
import re
import subprocess
import sys

import pytest
from test_cli import refused, run

from keras_vaegan import InputError, presets
from keras_vaegan.diagnosis import Finding, diagnose
from keras_vaegan.runs import FINDINGS, clear_run, diagnose_run, read_findings, write_findings

pytestmark = pytest.mark.core_on("one")

NAN = math.nan


def healthy(epochs=12):
    """A history like that of a VAE/GAN that went well, with its validation."""
    fall = [0.8**i for i in range(epochs)]
    history = {
        "loss": [100 + 80 * f for f in fall],
        "kl": [15 - 14 * f for f in fall],
        "reconstruction": [85 + 94 * f for f in fall],
        "generator": [40 + 10 * f for f in fall],
        "discriminator": [1.4 + 0.2 * f for f in fall],
        "d_real": [0.5 + 0.1 * f for f in fall],
        "d_fake": [0.25 - 0.1 * f for f in fall],
        "sample_diversity": [1.0 - 0.95 * f for f in fall],
    }
    return history | {f"val_{name}": [1.01 * v for v in history[name]] for name in ("loss", "kl")}


def kinds(history, **arguments):
    return [finding.kind for finding in diagnose(history, **arguments)]


def only(history, **arguments):
    (finding,) = diagnose(history, **arguments)
    return finding


def test_a_healthy_training_has_no_findings_after_any_epoch():
    for epochs in range(13):
        assert diagnose(healthy(epochs)) == []
    assert diagnose({}) == []


# What two recipes on the digits measured, from the untrained model's epoch on.
MEASURED = {
    "vae": [0.126, 0.205, 0.423, 0.701, 0.824, 0.903, 0.929, 0.943, 0.962, 0.977, 0.987, 0.993, 1.004],
    "vae_gan": [0.133, 0.323, 0.501, 0.627, 0.74, 0.814, 0.864, 0.894, 0.914, 0.92, 0.912, 0.912, 0.913],
    "slow": [0.01, 0.02, 0.03, 0.05, 0.07, 0.09, 0.12, 0.14, 0.17, 0.2, 0.24, 0.27, 0.31],
    "a bad epoch or two": [0.3, 0.6, 0.1, 0.1, 0.6, 0.7, 0.2, 0.1, 0.7, 0.8, 0.8, 0.8, 0.2],
}


@pytest.mark.parametrize("name", MEASURED)
def test_samples_that_become_diverse_are_no_collapse(name):
    for epochs in range(1, 14):
        assert kinds({"loss": [1.0] * epochs, "sample_diversity": MEASURED[name][:epochs]}) == []


@pytest.mark.parametrize(
    "name, diversity, first, severity",
    [
        ("from the start", [0.01, 0.01, 0.0102, 0.0], 2, "severe"),
        ("all the same", [0.0, 0.0, 0.0, 0.0], 2, "severe"),
        ("absolute", [0.3, 0.25, 0.24, 0.24, 0.2], 3, "severe"),
        ("fallen", [0.9, 1.2, 0.39, 0.38, 0.37], 3, "severe"),
        ("recovered", [0.9, 0.1, 0.1, 0.1, 0.9], 2, "warning"),
        ("twice", [0.1, 0.1, 0.1, 0.1, 0.9, 0.1, 0.1, 0.1, 0.1], 6, "severe"),
    ],
)
def test_samples_that_are_alike_are_a_collapse(name, diversity, first, severity):
    finding = only({"sample_diversity": diversity})
    assert (finding.kind, finding.epoch, finding.severity) == ("collapse", first, severity)
    assert f"epochs {first} to " in finding.message


def test_a_collapse_lasts_as_long_as_the_patience():
    diversity = [1.0, 0.1, 0.1, 0.1]
    assert kinds({"sample_diversity": diversity[:3]}) == []
    assert kinds({"sample_diversity": diversity[:3]}, patience=2) == ["collapse"]
    assert kinds({"sample_diversity": diversity}, patience=4) == []


@pytest.mark.parametrize(
    "real, fake, found",
    [
        ([0.5, 0.96, 0.97, 0.98], [0.3, 0.04, 0.03, 0.02], True),
        ([0.5, 0.96, 0.97], [0.3, 0.04, 0.03], False),
        ([0.5, 0.94, 0.97, 0.98], [0.3, 0.04, 0.03, 0.02], False),
        ([0.5, 0.96, 0.97, 0.98], [0.3, 0.04, 0.06, 0.02], False),
        ([0.99, 0.9, 0.99, 0.99, 0.8, 0.99, 0.99], [0.01] * 7, False),
    ],
)
def test_a_discriminator_that_is_too_strong(real, fake, found):
    findings = diagnose({"loss": [1.0] * len(real), "d_real": real, "d_fake": fake})
    assert [finding.kind for finding in findings] == ["discriminator_strong"] * found
    if found:
        message = findings[0].message
        assert message.startswith("epochs 2 to 4:")
        assert "0.98" in message
        assert "0.02" in message


@pytest.mark.parametrize(
    "real, fake, found",
    [
        ([0.5, 0.501, 0.5], [0.5, 0.5, 0.505], True),
        ([0.5, 0.501], [0.5, 0.5], False),
        ([0.6, 0.5, 0.5, 0.5, 0.5], [0.4, 0.5, 0.5, 0.5, 0.5], False),  # it was brought to equilibrium
        ([0.34, 0.34, 0.34], [0.32, 0.32, 0.32], False),
        ([NAN, NAN, 0.5, 0.5], [NAN, NAN, 0.5, 0.5], False),  # it has trained for two epochs
        ([NAN, 0.5, 0.5, 0.5], [NAN, 0.5, 0.5, 0.5], True),
    ],
)
def test_a_discriminator_that_never_told_anything_apart(real, fake, found):
    found_in = {"loss": [1.0] * len(real), "d_real": real, "d_fake": fake}
    assert kinds(found_in) == ["discriminator_blind"] * found


@pytest.mark.parametrize(
    "kl, found",
    [
        ([3.0, 0.04, 0.02, 0.01], "severe"),
        ([0.04, 0.02, 0.01, 0.5], "warning"),
        ([0.04, 0.02, 0.1, 0.01], None),
        ([0.1, 0.4, 2.1], None),
    ],
)
def test_a_code_that_carries_nothing(kl, found):
    findings = diagnose({"loss": [1.0] * len(kl), "kl": kl})
    assert [(finding.kind, finding.severity) for finding in findings] == [("dead_kl", found)] * bool(found)


@pytest.mark.parametrize(
    "change, found",
    [
        (lambda loss, val: (loss, val), True),
        (lambda loss, val: (loss[:11], val[:11]), False),  # not for long
        (lambda loss, val: (loss, [v if v < 51 else 51 for v in val]), False),  # not by much
        (lambda loss, val: ([90.0] * 15, val), False),  # training does not get better either
        (lambda loss, val: (loss, [50.0] * 15), False),
        (lambda loss, val: (loss, val[:-1] + [49.0]), False),
    ],
    ids=["yes", "short", "little", "no progress", "flat", "a new best"],
)
def test_validation_that_gets_worse_while_training_gets_better(change, found):
    loss, val = change([90.0 - i for i in range(15)], [52.0, 51.0, 50.0] + [50.5 + i for i in range(12)])
    assert kinds({"loss": loss, "val_loss": val}) == ["overfitting"] * found


def test_validation_of_some_epochs_only_is_no_trouble():
    history = healthy()
    history["val_loss"] = [v if i % 3 == 2 else NAN for i, v in enumerate(history["val_loss"])]
    history["sample_diversity"][0] = NAN
    assert diagnose(history) == []


def test_scores_of_some_epochs_only_are_no_trouble():
    history = healthy()
    history["frechet_distance"] = [9.0 - i if i % 5 == 4 else NAN for i in range(12)]
    assert diagnose(history) == []
    history["loss"] = [NAN] * 12  # bad from the first epoch on, and so is what begins with it
    assert only(history).epoch == 1


@pytest.mark.parametrize("bad", [NAN, math.inf, -math.inf])
def test_numbers_that_are_not_finite(bad):
    history = healthy()
    history["kl"][7:] = history["generator"][7:] = [bad] * 5
    finding = only(history)
    assert (finding.kind, finding.severity, finding.epoch) == ("not_finite", "severe", 8)
    assert finding.message.startswith("epoch 8: kl, generator are not finite.")


def test_findings_are_by_epoch_as_the_history_numbers_them():
    history = {
        "epoch": [11, 12, 13, 14],
        "kl": [1.0, 0.0, 0.0, 0.0],
        "d_real": [1.0] * 4,
        "d_fake": [0.0] * 4,
    }
    found = diagnose(history)
    assert [(finding.kind, finding.epoch) for finding in found] == [
        ("discriminator_strong", 11),
        ("dead_kl", 12),
    ]


def test_what_cannot_be_diagnosed_is_refused():
    with pytest.raises(InputError, match="patience"):
        diagnose({}, patience=0)
    with pytest.raises(InputError, match="history"):
        diagnose({"loss": [1.0], "kl": [1.0, 2.0]})


def troubled():
    """A history that breaks every rule but one."""
    history = healthy(15)
    history |= {
        "d_real": [0.99] * 15,
        "d_fake": [0.01] * 15,
        "kl": [0.0] * 15,
        "sample_diversity": [0.1] * 15,
    }
    history["val_loss"] = [50.0 + i for i in range(15)]
    history["loss"][14] = NAN
    history["val_loss"][14] = NAN
    return history


def test_every_option_that_is_named_is_one():
    blind = {"d_real": [0.5] * 3, "d_fake": [0.5] * 3, "discriminator": [1.0] * 3}
    messages = [finding.message for finding in diagnose(troubled()) + diagnose(blind)]
    assert len(messages) == 6
    named = {option for message in messages for option in re.findall(r"--set ([\w.]+)", message)}
    assert {"r1", "beta", "free_bits", "label_smoothing", "discriminator.spectral_normalization"} <= named
    for name in named:
        value = True if name.endswith("normalization") else 2 if name.endswith("steps") else 0.5
        presets.override(presets.recipe("vae_gan_mnist"), name, value)
    assert not [message for message in messages if "\n" in message]


def test_a_vae_is_not_told_of_a_discriminator():
    history = {"loss": [1.0] * 3 + [NAN], "kl": [0.0] * 4, "sample_diversity": [0.1] * 4}
    assert len(diagnose(history)) == 3
    assert not [finding for finding in diagnose(history) if "discriminator" in finding.message]


def test_findings_are_kept_in_a_file(tmp_path):
    path = tmp_path / FINDINGS
    assert read_findings(path) == []
    noted = Finding("not_finite", "severe", 15, "step 431 (epoch 15): the gradient")
    write_findings(path, [noted, Finding("collapse", "severe", 1, "stale")])
    found = diagnose_run(tmp_path, troubled())
    assert found[-1] == noted
    assert [finding.kind for finding in found].count("not_finite") == 1
    assert "stale" not in [finding.message for finding in found]
    write_findings(path, [])
    assert not path.exists()
    write_findings(path, [noted])
    clear_run(tmp_path)
    assert not path.exists()
    path.write_text("[{}]")
    with pytest.raises(InputError, match=FINDINGS):
        read_findings(path)


# ---- doctor ----


@pytest.fixture
def folder(tmp_path):
    """A function that makes a run folder with this history."""

    def make(history):
        (tmp_path / "metadata.json").write_text(
            json.dumps({"model": "vae", "dataset": "digits", "recipe": {}})
        )
        with open(tmp_path / "history.csv", "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["epoch", *history])
            writer.writerows([i + 1, *row] for i, row in enumerate(zip(*history.values(), strict=True)))
        return tmp_path

    return make


def test_doctor_finds_nothing_in_a_healthy_run(folder, capsys):
    assert run("doctor", folder(healthy())) == 0
    assert capsys.readouterr().out == "nothing found in 12 epochs\n"


def test_doctor_says_what_the_rules_say(folder, capsys):
    assert run("doctor", folder(troubled())) == 1
    said = capsys.readouterr().out.splitlines()
    assert said == [f"{finding.severity}: {finding.message}" for finding in diagnose(troubled())]


def test_warnings_are_no_failure(folder, capsys):
    strong = {"loss": [1.0] * 3, "d_real": [0.99] * 3, "d_fake": [0.0] * 3}
    assert run("doctor", folder(strong)) == 0
    assert capsys.readouterr().out.startswith("warning: epochs 1 to 3: the discriminator is too strong")
    assert run("doctor", folder(strong), "--patience", 4) == 0
    assert "nothing found" in capsys.readouterr().out


def test_doctor_refuses_what_is_no_run(folder, tmp_path, capsys):
    assert "RUN must" in refused(capsys, "doctor", tmp_path / "none")
    assert "RUN must" in refused(capsys, "doctor", tmp_path)
    assert "history.csv" in refused(capsys, "doctor", folder({"loss": []}))
    (tmp_path / "history.csv").write_text("epoch,loss\n1,much\n")
    assert "RUN must" in refused(capsys, "doctor", tmp_path)
    assert "--patience" in refused(capsys, "doctor", tmp_path, "--patience", 0)


def test_doctor_imports_no_backend(folder):
    code = (
        "import sys; sys.argv[0] = 'keras-vaegan'\n"
        "from keras_vaegan import cli\n"
        "try: cli.main(['doctor', sys.argv[1]])\n"
        "except SystemExit as stop: assert not stop.code\n"
        "assert not {'keras', 'tensorflow', 'jax', 'torch'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder(healthy()))], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "nothing found in 12 epochs" in done.stdout
