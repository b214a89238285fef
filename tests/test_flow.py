"""The flow that is learned from codes as a prior: its equation, its fit, and what a model makes of it."""

import json
import signal

import keras
import numpy as np
import pytest
import registry
from keras import ops
from scipy import integrate, stats
from test_cli import TINY, TINY_NETWORKS, refused, run
from test_export import assert_same, by_verbs, run_bare

from keras_vaegan import data, evaluation
from keras_vaegan.errors import InputError
from keras_vaegan.presets import load_source
from keras_vaegan.priors import Drawn, Draws, Flow, velocity
from keras_vaegan.priors import flow as flows
from keras_vaegan.priors.base import Fitting

QUICK = {"width": 16, "depth": 1, "heads": 2, "fit_steps": 40, "fit_batch_size": 32}
FORMS = {"vector": (3,), "sequence": (2, 3), "map": (2, 3, 2), "large map": (10, 8, 1)}


def begun(code_shape, num_classes=None, **settings):
    """A flow over codes, with weights that are not zero."""
    made = Flow(**{**QUICK, **settings})
    labels = {} if num_classes is None else {"labels": keras.Input((num_classes,))}
    made.begin(code_shape, labels)
    generator = np.random.default_rng(5)
    for weight in made.network.weights:
        weight.assign(generator.normal(0.0, 0.18, weight.shape).astype("float32"))
    made.mean.assign(generator.normal(size=made.mean.shape))
    made.scale.assign(generator.uniform(0.5, 2.0, made.scale.shape))
    return made


def noise(shape, count=5, seed=1):
    """Standard normal noise `(count, *shape)`."""
    return np.random.default_rng(seed).standard_normal((count, *shape)).astype("float32")


def velocity_of(flow, z, time, labels=None):
    """The network's velocity, as an array."""
    inputs = {"codes": z.astype("float32"), "time": np.full(len(z), time, "float32")}
    if labels is not None:
        inputs["labels"] = labels
    return ops.convert_to_numpy(flow.network(inputs)).astype("float64")


@pytest.mark.parametrize("form", FORMS)
def test_codes_are_those_of_the_midpoint_rule(form):
    """By hand in NumPy, then scaled."""
    shape = FORMS[form]
    flow = begun(shape, solver_steps=3)
    z = e = noise(shape)
    for i in range(3):
        middle = z + velocity_of(flow, z, i / 3) / 6
        z = z + velocity_of(flow, middle, i / 3 + 1 / 6) / 3
    expected = ops.convert_to_numpy(flow.mean) + ops.convert_to_numpy(flow.scale) * z
    np.testing.assert_allclose(ops.convert_to_numpy(flow.given().place(e)), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.core_on("one")
def test_many_steps_solve_the_differential_equation():
    """SciPy's solver with an adaptive step; a half of the step leaves a quarter of the error."""
    e = noise((3,))

    def change(time, z):
        return velocity_of(begun((3,)), z.reshape(e.shape), time).ravel()

    flows = {steps: begun((3,), solver_steps=steps) for steps in (32, 64, 256)}
    exact = integrate.solve_ivp(change, (0.0, 1.0), e.ravel(), rtol=1e-5, atol=1e-6).y[:, -1].reshape(e.shape)
    exact = ops.convert_to_numpy(flows[32].mean) + ops.convert_to_numpy(flows[32].scale) * exact
    errors = [np.abs(ops.convert_to_numpy(flow.given().place(e)) - exact).max() for flow in flows.values()]
    assert errors[2] < 2e-3
    assert errors[1] < 0.45 * errors[0]


def test_noise_comes_back():
    """`noise_of` is the inverse of `place`."""
    flow, e = begun((2, 3), solver_steps=64), noise((2, 3))
    z = flow.given().place(e)
    np.testing.assert_allclose(ops.convert_to_numpy(flow.given().noise_of(z)), e, atol=0.03)


def test_guidance_goes_beyond_the_class():
    """v(z) + g (v(z, y) - v(z)), with labels of zeros for any class."""
    labels = np.eye(3, dtype="float32")[[0, 2, 1, 1, 0]]
    flow, e = begun((3,), num_classes=3, solver_steps=1, guidance=2.5), noise((3,))

    def guided(z, time):
        of_any = velocity_of(flow, z, time, 0.0 * labels)
        return of_any + 2.5 * (velocity_of(flow, z, time, labels) - of_any)

    z = e + guided(e + 0.5 * guided(e, 0.0), 0.5)
    expected = ops.convert_to_numpy(flow.mean) + ops.convert_to_numpy(flow.scale) * z
    found = flow.given({"labels": ops.convert_to_tensor(labels)}).place(e)
    np.testing.assert_allclose(ops.convert_to_numpy(found), expected, rtol=1e-4, atol=1e-4)


def test_patches_are_tokens_and_come_back():
    """Tokens of a map are its patches, row by row."""
    codes = keras.Input((10, 8, 3))
    tokens = velocity._tokens(codes)
    assert tokens.shape[1:] == (20, 12)
    both = keras.Model(codes, [tokens, velocity._untokened(tokens, codes)])
    x = noise((10, 8, 3), 2)
    found, back = (ops.convert_to_numpy(y) for y in both(x))
    np.testing.assert_array_equal(back, x)
    np.testing.assert_array_equal(found[0, 5], x[0, 2:4, 2:4].reshape(-1))


@pytest.mark.parametrize("form", FORMS)
def test_before_it_is_fitted_it_is_standard_normal(form):
    flow = Flow(**QUICK)
    flow.begin(FORMS[form], {})
    e = noise(FORMS[form])
    np.testing.assert_allclose(ops.convert_to_numpy(flow.given().place(e)), e, atol=1e-6)
    assert not flow.fitted


# ---- the fit ----

MODES = np.array([[3.0, 0.0], [-3.0, 1.0], [0.0, -4.0]])


def codes(count=3000, seed=3):
    """Codes of three classes about points that lie apart, and their classes."""
    generator = np.random.default_rng(seed)
    classes = generator.integers(0, 3, count)
    return (MODES[classes] + 0.3 * generator.standard_normal((count, 2))).astype("float32"), classes


@pytest.mark.core_on("torch")
def test_it_learns_where_codes_lie():
    """Codes of three modes, of the asked class: means, spread and shares."""
    z, classes = codes()
    flow = Flow(width=32, depth=2, fit_steps=1200, fit_batch_size=128, fit_rate=3e-3, solver_steps=16)
    flow.begin((2,), {"labels": keras.Input((3,))})
    flow.fit(Drawn([z]), classes, seed=0)
    assert flow.fitted
    for k in range(3):
        labels = ops.convert_to_tensor(np.eye(3, dtype="float32")[np.full(1000, k)])
        made = ops.convert_to_numpy(flow.given({"labels": labels}).place(noise((2,), 1000, seed=k)))
        np.testing.assert_allclose(made.mean(axis=0), MODES[k], atol=0.15)
        np.testing.assert_allclose(made.std(axis=0), 0.3, atol=0.12)
    any_class = ops.zeros((3000, 3))
    made = ops.convert_to_numpy(flow.given({"labels": any_class}).place(noise((2,), 3000, seed=9)))
    nearest = np.argmin(np.square(made[:, None] - MODES).sum(axis=2), axis=1)
    np.testing.assert_allclose(np.bincount(nearest) / 3000, 1 / 3, atol=0.06)


def fitted(folder=None, callbacks=(), seed=4, **settings):
    """What a flow gives after a quick fit."""
    flow = Flow(**{**QUICK, "fit_steps": 30, **settings})
    flow.begin((2,), {})
    flow.fit(Drawn([codes(200)[0]]), None, seed, Fitting(folder=folder, own=callbacks))
    return ops.convert_to_numpy(flow.given().place(noise((2,))))


class Stop(keras.callbacks.Callback):
    """Ends a fit as Ctrl-C does, in the middle of its second epoch."""

    def on_train_batch_end(self, batch, logs=None):
        self.seen = getattr(self, "seen", 0) + 1
        if self.seen == 15:
            raise KeyboardInterrupt


def test_a_fit_that_was_stopped_goes_on(tmp_path, monkeypatch):
    """The same codes as without the stop; other settings and damaged files begin anew."""
    monkeypatch.setattr(flows, "EPOCH", 10)
    kept, expected = tmp_path / "kept", fitted()

    def stop():
        with pytest.raises(KeyboardInterrupt):
            fitted(kept, [Stop()])
        assert json.loads((kept / "flow.json").read_text())["epochs"] == 1

    stop()
    (kept / "mine.txt").write_text("stays")
    for _ in range(2):  # the second is complete at once
        np.testing.assert_allclose(fitted(kept), expected, atol=1e-5)
    assert (kept / "mine.txt").is_file() and len(list(kept.glob("*.keras"))) == 1
    np.testing.assert_allclose(fitted(kept, seed=5), fitted(seed=5), atol=1e-5)
    for file in kept.glob("*.keras"):
        file.write_bytes(b"damaged")
    np.testing.assert_allclose(fitted(kept), expected, atol=1e-5)


@pytest.mark.core_on("one")
def test_no_setting_is_silent():
    """Each changes the codes that a flow on classes gives after its fit."""
    z, classes = codes(200)
    labels = {"labels": ops.convert_to_tensor(np.eye(3, dtype="float32")[[0, 1, 2, 0, 1]])}
    others = {
        "solver_steps": 3,
        "guidance": 2.0,
        "width": 12,
        "depth": 2,
        "fit_steps": 30,
        "fit_batch_size": 9,
        "fit_rate": 0.01,
    }

    def made(form, **settings):
        flow = Flow(**{**QUICK, **settings})
        flow.begin(z.shape[1:] if form is None else form, {"labels": keras.Input((3,))})
        flow.fit(Drawn([z.reshape(-1, *flow.code_shape)]), classes)
        return ops.convert_to_numpy(flow.given(labels).place(noise(flow.code_shape)))

    for form, changes in ((None, others), ((2, 1), {"heads": 4})):
        before = made(form)
        for name, value in changes.items():
            assert np.abs(made(form, **{name: value}) - before).max() > 1e-4, name


def test_draws_are_of_q():
    """Mean and variance of many draws of some rows; the first is that of `encode(sample=True)`."""
    model = registry.set_weights(registry.vae(seed=0))
    x = registry.images(6)
    draws = model.draws(x, None, 7, 128)
    np.testing.assert_array_equal(draws.first, model.encode(x, sample=True, seed=7))
    rows = np.repeat([4, 1], 20_000)
    made = draws.of(rows, np.random.default_rng(0)).reshape(2, 20_000, -1)
    q = model.posterior_parameters(x[[4, 1]])
    np.testing.assert_allclose(made.mean(axis=1), q["mean"], atol=0.04)
    np.testing.assert_allclose(np.log(made.var(axis=1)), q["log_variance"], atol=0.05)
    assert isinstance(draws, Draws)


# ---- in a model ----


def spatial():
    """An autoencoder with spatial codes, whose KL counts for nothing."""
    model = registry.set_weights(registry.spatial_vae_gan((4, 6, 1), beta=1e-6, pixel_weight=1.0, seed=1))
    return model, registry.images(40, (4, 6, 1))


@pytest.mark.parametrize("kind", ["vector", "spatial", "draw", "classes"])
def test_a_model_takes_a_flow_in_place_of_its_prior(kind, tmp_path):
    """It generates with it, image by image alike, saved and loaded; training again forgets it."""
    if kind == "spatial":
        model, x = spatial()
        with pytest.raises(InputError, match="keras-vaegan fit-prior RUN"):
            model.generate(1)
    else:
        build = {"vector": "vae", "draw": "draw", "classes": "cvae"}[kind]
        model, x = registry.set_weights(registry.MODELS[build](seed=1)), registry.images(40)
    labels = None if model.num_classes is None else registry.labels(40)
    before = None if kind == "spatial" else model.generate(6, seed=3)
    model.fit_prior(x, labels, prior={"class": "flow", **QUICK}, verbose=0)
    made = model.generate(6, seed=3)
    assert before is None or np.abs(made - before).max() > 1e-3
    np.testing.assert_allclose(model.generate(2, seed=3, start=3, batch_size=1), made[3:5], atol=1e-5)
    model.save(tmp_path / "model.keras")
    model.save_to_preset(tmp_path / "preset")
    for name in ("model.keras", "preset"):
        again = load_source(tmp_path / name)[0]
        np.testing.assert_allclose(again.generate(6, seed=3), made, atol=1e-5)
        assert "StandardNormal" not in [type(layer).__name__ for layer in again.layers]
    model.compile()
    weights = len(model.weights)
    model.fit(*registry.data(model, 8), batch_size=4, verbose=0)
    assert not model.prior.fitted and len(model.weights) == weights


def test_ways_go_through_the_noise():
    """Both ends are reconstructions, and what lies between is generated from noise on an arc."""
    model, x = spatial()
    model.fit_prior(x, prior={"class": "flow", **QUICK, "solver_steps": 32}, verbose=0)
    way = model.interpolate(x[0], x[1], steps=3)
    np.testing.assert_allclose(way[[0, 2]], model.reconstruct(x[:2]), atol=0.02)
    assert np.abs(way - model.interpolate(x[0], x[1], 3, "linear")).max() > 1e-4
    with pytest.raises(InputError, match="a and b must be images of"):
        model.interpolate(*registry.images(2, (8, 8, 1)))


def test_a_bound_takes_the_prior_of_the_training():
    """A flow has no density."""
    model = registry.set_weights(registry.MODELS["vae"](seed=1))
    x = registry.images(3)
    expected = model.log_likelihood(x, num_samples=3)
    model.fit_prior(registry.images(40), prior={"class": "flow", **QUICK}, verbose=0)
    np.testing.assert_allclose(model.log_likelihood(x, num_samples=3), expected, rtol=1e-6)


def test_standard_normal_noise_is_its_own_code():
    """And a learned prior's is taken back by its mean and variance."""
    model = registry.set_weights(registry.MODELS["cvae_gan_three_players"](seed=1))
    x, y = registry.images(2), registry.labels(2)
    way = model.interpolate(x[0], x[1], 3, "noise", labels=(y[0], y[1]))
    np.testing.assert_allclose(way[[0, 2]], model.reconstruct(x, y), atol=1e-5)
    look_back = registry.set_weights(registry.MODELS["draw_look_back"](seed=1))
    for weight in look_back.prior.trainable_variables:
        weight.assign(0.3 * ops.convert_to_tensor(weight))
    way = look_back.interpolate(x[0], x[1], 3, "noise")
    np.testing.assert_allclose(way[[0, 2]], look_back.reconstruct(x), atol=1e-4)


@pytest.mark.core_on("one")
def test_a_fit_that_fails_leaves_the_model_as_it_was():
    """Its old prior, fitted, and the same samples."""
    model = registry.set_weights(registry.MODELS["vae"](seed=1))
    x = registry.images(40)
    model.fit_prior(x, prior={"class": "flow", **QUICK}, verbose=0)
    expected = model.generate(4, seed=0)
    for prior, images, said in (
        ({"class": "mixture", "components": 9}, x[:3], "components must be at most 3"),
        ({"class": "flow", **QUICK, "fit_rate": 1e30}, x, "fit_rate must be lower"),
        ({"class": "flow", **QUICK}, x[:1], "x must hold at least 2 images"),
        ({"class": "flow", **QUICK}, registry.images(4, (8, 8, 1)), "x must"),
    ):
        with np.errstate(all="ignore"), pytest.raises(InputError, match=said):
            model.fit_prior(images, prior=prior, verbose=0)
        np.testing.assert_allclose(model.generate(4, seed=0), expected, atol=1e-6)
    model.trainable = True  # of the whole model
    assert not model.prior.trainable_variables
    model.compile()
    assert all("flow" not in variable.path for variable in model.player_variables()["generator"])
    other = registry.vae(seed=2)
    with pytest.raises(InputError, match="prior must be a new object"):
        other.fit_prior(x, prior=model.prior)


@pytest.mark.core_on("one")
def test_bad_input_is_refused():
    x = registry.images(5)
    for arguments, said in (
        ({"labels": [0] * 5}, "labels must be None"),
        ({"verbose": 7}, "verbose must be one of"),
        ({"prior": {"class": "flow", "guidance": 3.0}}, "guidance must be 1"),
    ):
        with pytest.raises(InputError, match=said):
            registry.vae(prior={"class": "flow", **QUICK}).fit_prior(x, **arguments)
    frozen = registry.MODELS["draw_look_back"]()
    frozen.trainable = False
    with pytest.raises(InputError, match="was trained with it"):
        frozen.fit_prior(x, prior="flow")
    mixed = registry.MODELS["vae_mixture"]()
    with pytest.raises(InputError, match="path must be linear or spherical"):
        mixed.interpolate(x[0], x[1], path="noise")
    with pytest.raises(InputError, match="prior must be None.*was trained with it"):
        registry.MODELS["draw_look_back"]().fit_prior(x, prior="flow")
    with pytest.raises(InputError, match="prior must not be a flow in a model that is conditioned on images"):
        registry.cvae(given=True).fit_prior(x, prior="flow")
    with pytest.raises(InputError, match="prior must be one that is fitted to codes"):
        registry.vae().fit_prior(x, prior="standard_normal")
    with pytest.raises(InputError, match="prior must be one that is fitted to codes"):
        registry.vae().fit_prior(x)
    for settings, said in (
        ({"guidance": 0.5}, "guidance must be"),
        ({"solver_steps": 0}, "solver_steps must be"),
        ({"fit_rate": -1.0}, "fit_rate must be"),
        ({"width": 10, "heads": 4}, "heads must divide"),
    ):
        with pytest.raises(InputError, match=said):
            registry.draw_model(prior={"class": "flow", **settings})
    with pytest.raises(InputError, match="folder must be a folder"):
        registry.vae(prior={"class": "flow", **QUICK}).fit_prior(x, folder=__file__)
    used = registry.vae(prior={"class": "flow", **QUICK}).prior
    with pytest.raises(InputError, match="prior must be a new object"):
        registry.draw_model(prior=used)


@pytest.mark.core_on("tensorflow")
@pytest.mark.parametrize("name, format", [("cvae", "onnx"), ("draw", "tflite"), ("vae", "saved_model")])
def test_exported_functions_have_the_flow(name, format, tmp_path):
    """A process without Keras makes the same images of the same noise."""
    model = registry.set_weights(registry.MODELS[name]((6, 5, 1), seed=1))
    labels = None if model.num_classes is None else registry.labels(40)
    model.fit_prior(registry.images(40, (6, 5, 1)), labels, {"class": "flow", **QUICK}, verbose=0)
    inputs, outputs = by_verbs(model)
    model.export(tmp_path / "exported", format, verbose=False)
    made, _ = run_bare(format, tmp_path / "exported", inputs, tmp_path)
    assert_same(made, outputs, name)


@pytest.mark.core_on("one")
def test_evaluation_says_that_there_is_no_density():
    """The note of the bound names the prior that it is of."""
    model = registry.set_weights(registry.MODELS["vae"](seed=1))
    images = registry.images(40)
    model.fit_prior(images, prior={"class": "flow", **QUICK}, verbose=0)
    splits = [(images[part], None) for part in (slice(0, 20), slice(20, 30), slice(30, 40))]
    scores = evaluation.score(model, data.ImageData(*splits, name="random"), ["likelihood"])["scores"]
    assert all("p(z) is N(0, I), since a flow" in score["note"] for score in scores)


# ---- on the command line ----


@pytest.mark.core_on("one")
def test_fit_prior_of_a_run(tmp_path, capsys, monkeypatch):
    """A run of an autoencoder cannot generate until it has a prior; a stopped fit resumes."""
    folder = tmp_path / "run"
    train = ["train", "--model", "vae", *TINY, *TINY_NETWORKS, "--epochs", 1, "--set", "beta=0.0001"]
    train += ["--set", "prior=standard_normal"]
    assert run(*train, "--output", folder) == 0
    generate = ["generate", folder, "--output", tmp_path / "made.npz"]
    assert "keras-vaegan fit-prior RUN" in refused(capsys, *generate)
    settings = [word for name, value in QUICK.items() for word in ("--set", f"{name}={value}")]
    fit = ["fit-prior", folder, "--prior", "flow", *settings]
    assert run(*fit) == 0
    said = capsys.readouterr().out
    assert "fits the prior, a flow of 8 steps, to the codes of" in said and "samples.png" in said
    assert (folder / "samples.png").is_file() and not list((folder / "checkpoints").glob("prior*"))
    assert json.loads((folder / "metadata.json").read_text())["prior"]["class"] == "flow"
    assert run(*generate) == 0
    capsys.readouterr()
    assert "--set nothing is no setting of the prior flow, which has solver_steps" in refused(
        capsys, *fit, "--set", "nothing=1"
    )
    other = ["fit-prior", folder, "--prior", "mixture", "--set"]
    assert "which has components. The prior flow has it." in refused(capsys, *other, "fit_steps=9")
    assert "--set components must be an integer of at least 1" in refused(capsys, *other, "components=0")
    assert "--output must be a new or empty folder" in refused(capsys, *fit, "--output", folder)
    assert (
        run("fit-prior", folder, "--prior", "mixture", "--set", "components=3", "--output", tmp_path / "m")
        == 0
    )
    assert load_source(tmp_path / "m")[0].prior.summary == "a mixture of 3 components"
    assert load_source(folder)[0].prior.summary == "a flow of 8 steps"
    assert keras.saving.load_model(folder / "model.keras").compiled
    capsys.readouterr()
    assert run("train", "--resume", folder, "--epochs", 2) == 0  # the training has its own prior
    assert "goes back to that of the recipe" in capsys.readouterr().out
    assert "prior" not in json.loads((folder / "metadata.json").read_text())


@pytest.mark.core_on("one")
def test_train_fits_a_flow_at_its_end_and_resumes_it(tmp_path, capsys):
    """Ctrl-C within the fit of the flow: `--resume` goes on with it."""
    folder = tmp_path / "run"
    settings = [word for name, value in QUICK.items() for word in ("--set", f"prior.{name}={value}")]
    train = [
        "train",
        "--model",
        "vae",
        *TINY,
        *TINY_NETWORKS,
        "--epochs",
        1,
        "--set",
        "prior=flow",
        *settings,
    ]
    fit = Flow.fit

    def stopped(self, *arguments, **named):
        signal.raise_signal(signal.SIGINT)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Flow, "fit", stopped)
        assert run(*train, "--output", folder) == 130
    assert Flow.fit is fit
    assert run("train", "--resume", folder) == 0
    assert "fits the prior, a flow" in capsys.readouterr().out
    assert load_source(folder)[0].prior.fitted


def test_normality_of_the_reference():
    """The noise of these tests is standard normal."""
    assert stats.kstest(noise((3,), 2000).ravel(), "norm").pvalue > 0.01
