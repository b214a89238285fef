"""DRAW's filterbanks, reading and writing, against the paper's equations in NumPy."""

import keras
import numpy as np
import pytest
import reference
import registry
from keras import ops
from registry import LATENT_DIM, NUM_CLASSES
from scipy import special
from test_gradient_routing import assert_same_direction_and_length, updates

import keras_vaegan as kvg
from keras_vaegan import InputError
from keras_vaegan.networks import draw, mlp
from keras_vaegan.noise import prior_noise

HEIGHT, WIDTH, N = 7, 10, 4


def parameters(count=5, seed=0, scale=0.4):
    return (scale * np.random.default_rng(seed).standard_normal((count, 5))).astype("float32")


def banks(values, size_of_glimpse=N, height=HEIGHT, width=WIDTH):
    """F_X, F_Y, gamma, g_X, g_Y, delta, by the paper's equations 19 to 26, with pixels from 1."""
    a, b = width, height
    made = []
    for g_x, g_y, log_variance, log_stride, log_intensity in np.float64(values):
        g_x, g_y = (a + 1) / 2 * (g_x + 1), (b + 1) / 2 * (g_y + 1)
        delta = (max(a, b) - 1) / (size_of_glimpse - 1) * np.exp(log_stride)
        filters = []
        for g, size in ((g_x, a), (g_y, b)):
            bank = np.zeros((size_of_glimpse, size))
            for i in range(1, size_of_glimpse + 1):
                mean = g + (i - size_of_glimpse / 2 - 0.5) * delta
                for place in range(1, size + 1):
                    bank[i - 1, place - 1] = np.exp(-((place - mean) ** 2) / (2 * np.exp(log_variance)))
                bank[i - 1] /= bank[i - 1].sum()
            filters.append(bank)
        made.append((*filters, np.exp(log_intensity), g_x, g_y, delta))
    return made


def glimpse_of(values, size=N, height=HEIGHT, width=WIDTH):
    made = draw.filterbanks(ops.convert_to_tensor(values), size, height, width)
    return made, draw.Glimpse(*(ops.convert_to_numpy(part) for part in made))


def test_filterbanks_are_those_of_the_equations():
    values = parameters()
    _, found = glimpse_of(values)
    for i, (f_x, f_y, gamma, g_x, g_y, delta) in enumerate(banks(values)):
        np.testing.assert_allclose(found.columns[i], f_x, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(found.rows[i], f_y, rtol=1e-4, atol=1e-6)
        assert found.intensity[i] == pytest.approx(gamma, rel=1e-5)
        assert found.centre[i] == pytest.approx((g_y - 1, g_x - 1), rel=1e-5)
        assert found.size[i] == pytest.approx((N - 1) * delta, rel=1e-5)


def test_at_zero_the_filters_span_the_image_and_stand_about_its_middle():
    values = np.zeros((1, 5), "float32")
    values[0, 2] = -8.0  # narrow filters: one pixel each
    _, found = glimpse_of(values, 5, 9, 9)
    np.testing.assert_allclose(found.centre[0], (4.0, 4.0), atol=1e-5)
    assert found.size[0] == pytest.approx(8.0)
    np.testing.assert_array_equal(found.rows[0].argmax(axis=1), [0, 2, 4, 6, 8])
    np.testing.assert_allclose(found.rows[0].max(axis=1), 1.0, atol=1e-5)


@pytest.mark.parametrize("scale", [0.4, 5.0, 40.0])
def test_every_filter_sums_to_one_wherever_it_is(scale):
    values = parameters(50, seed=1, scale=scale)
    values[:, 2:] = np.clip(values[:, 2:], -20, 20)
    _, found = glimpse_of(values)
    for bank in (found.rows, found.columns):
        assert np.isfinite(bank).all() and np.all(bank >= 0)
        np.testing.assert_allclose(bank.sum(axis=2), 1.0, rtol=1e-5)


def test_reading_and_writing_are_the_equations():
    values, generator = parameters(seed=2), np.random.default_rng(3)
    images = generator.random((5, HEIGHT, WIDTH, 3)).astype("float32")
    patches = generator.standard_normal((5, N, N, 3)).astype("float32")
    made, _ = glimpse_of(values)
    seen, drawn = (
        ops.convert_to_numpy(function(ops.convert_to_tensor(array), made))
        for function, array in ((draw.look, images), (draw.draw, patches))
    )
    for i, (f_x, f_y, gamma, *_) in enumerate(banks(values)):
        for channel in range(3):
            expected = gamma * f_y @ np.float64(images[i, ..., channel]) @ f_x.T
            np.testing.assert_allclose(seen[i, ..., channel], expected, rtol=1e-4, atol=1e-5)
            expected = f_y.T @ np.float64(patches[i, ..., channel]) @ f_x / gamma
            np.testing.assert_allclose(drawn[i, ..., channel], expected, rtol=1e-4, atol=1e-5)


def test_writing_is_the_adjoint_of_reading_at_intensity_one():
    """<read(x), w> = <x, write(w)>."""
    values, generator = parameters(seed=4), np.random.default_rng(5)
    values[:, 4] = 0.0
    made, _ = glimpse_of(values)
    x = generator.standard_normal((5, HEIGHT, WIDTH, 2)).astype("float32")
    w = generator.standard_normal((5, N, N, 2)).astype("float32")
    seen = ops.convert_to_numpy(draw.look(ops.convert_to_tensor(x), made))
    drawn = ops.convert_to_numpy(draw.draw(ops.convert_to_tensor(w), made))
    np.testing.assert_allclose((seen * w).sum(axis=(1, 2, 3)), (x * drawn).sum(axis=(1, 2, 3)), rtol=1e-4)


# ---- layers ----


def weights_of(layer):
    return {
        "/".join(variable.path.split("/")[-2:]): np.float64(ops.convert_to_numpy(variable))
        for variable in layer.weights
    }


@pytest.mark.parametrize("glimpse", [None, N])
def test_layers_read_and_write_by_the_decoders_state(glimpse):
    shape, generator = (HEIGHT, WIDTH, 2), np.random.default_rng(6)
    images, errors = (generator.random((3, *shape)).astype("float32") for _ in range(2))
    h = (0.2 * generator.standard_normal((3, 6))).astype("float32")  # glimpses near the image
    read, write = draw.Read(shape, glimpse), draw.Write(shape, glimpse)
    seen = ops.convert_to_numpy(read(images, errors, h))
    drawn = ops.convert_to_numpy(write(h)["drawn"])
    assert seen.shape == (3, read.size) and drawn.shape == (3, *shape)

    both = np.concatenate([images, errors], axis=-1)
    kernels = weights_of(write)
    patch = h @ kernels["patch/kernel"] + kernels["patch/bias"]
    if glimpse is None:
        np.testing.assert_allclose(seen, both.reshape(3, -1), rtol=1e-6)
        np.testing.assert_allclose(drawn, patch.reshape(3, *shape), rtol=1e-4, atol=1e-5)
        assert not read.weights
        return
    of_read = weights_of(read)
    for layer, result in ((of_read, seen), (kernels, drawn)):
        made = banks(h @ layer["attention/kernel"] + layer["attention/bias"])
        for i, (f_x, f_y, gamma, *_) in enumerate(made):
            if result is seen:
                expected = gamma * np.einsum("nh,hwc,mw->nmc", f_y, both[i], f_x)
            else:
                expected = np.einsum("nh,nmc,mw->hwc", f_y, patch[i].reshape(N, N, 2), f_x) / gamma
            np.testing.assert_allclose(result[i].reshape(expected.shape), expected, rtol=1e-3, atol=1e-5)


@pytest.mark.core_on("one")
def test_layers_come_back_from_their_configuration():
    for layer in (draw.Read((5, 6, 3), 4), draw.Write((5, 6, 3)), draw.Write((5, 6, 3), 2)):
        config = keras.saving.serialize_keras_object(layer)
        assert keras.saving.deserialize_keras_object(config).get_config() == layer.get_config()


@pytest.mark.core_on("one")
@pytest.mark.parametrize(
    "glimpse, said", [(1, "at least 2"), (8, "at most the shorter side of the image, 7"), (2.5, "2.5")]
)
def test_glimpses_that_cannot_be_are_refused(glimpse, said):
    with pytest.raises(InputError, match=f"glimpse must.*{said}"):
        draw.Read((HEIGHT, WIDTH, 1), glimpse)
    with pytest.raises(InputError, match="no attention"):
        draw.Write((HEIGHT, WIDTH, 1)).glimpse_at(ops.zeros((1, 3)))


# ---- the model ----

MODELS = {
    "attention": {"glimpse": 2},
    "attention in one": {"glimpse": 2, "steps": 1},
    "whole images": {"glimpse": None},
    "labels": {"glimpse": 2, "num_classes": NUM_CLASSES, "beta": 0.5},
    "looks back": {"glimpse": 2, "prior": {"class": "look_back", "units": [3]}},
    "looks back, labels": {"glimpse": None, "num_classes": NUM_CLASSES, "prior": "look_back", "beta": 0.5},
    "gaussian, free bits": {"glimpse": 2, "likelihood": "gaussian", "noise_scale": 0.4, "free_bits": 0.3},
}
LABELS = registry.labels()


def build(**arguments):
    model = registry.set_weights(registry.draw_model(**arguments), seed=9)
    for variable in model.prior.trainable_variables:  # or the variances of later steps explode
        variable.assign(0.3 * ops.convert_to_tensor(variable))
    return model


def noise_for(model, seed=1):
    shape = registry.BATCH, *model.code_shape
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def lstm(weights, name, x, h, c):
    """Gates in Keras' order: input, forget, cell, output."""
    kernels = (weights[f"{name}_lstm/{part}"] for part in ("kernel", "recurrent_kernel", "bias"))
    kernel, recurrent, bias = kernels
    i, f, g, o = np.split(x @ kernel + h @ recurrent + bias, 4, axis=1)
    c = reference.sigmoid(f) * c + reference.sigmoid(i) * np.tanh(g)
    return reference.sigmoid(o) * np.tanh(c), c


def affine(weights, name, x):
    return x @ weights[f"{name}/kernel"] + weights[f"{name}/bias"]


def elu(x):
    return np.where(x > 0, x, np.expm1(x))


def expected_code(weights, state, parts):
    """Mean and log-variance of p(z_t|state) of a prior that looks back; zeros where there is none."""
    if "prior_mean/bias" not in weights:
        return np.zeros(2)
    x = elu(affine(weights, "prior_hidden_0", reference.joined(state, *parts)))
    return [affine(weights, f"prior_{part}", x) for part in ("mean", "log_variance")]


def transcribed(
    weights,
    x,
    noise,
    labels=None,
    steps=3,
    num_classes=None,
    glimpse=2,
    beta=1.0,
    free_bits=0.0,
    prior=None,
    **kind,
):
    """DRAW by the paper's equations, in float64: logs, the generator's loss, canvases and glimpses.

    Args:
        noise: `(B, T, Z)`; None for the path of means; a pair of None and codes to draw by those, unseen; or
            of "prior" and noise, for a sample.
    """
    codes = noise[1] if isinstance(noise, tuple) else None
    x = np.float64(x)
    (count, height, width, channels), parts = x.shape, []
    if num_classes is not None:
        parts = [reference.one_hot(labels, num_classes)]
    first = {name: weights[f"first_drawing/{name}"] for name in ("canvas", "h", "c")}
    first |= {name: weights[f"first_looking/{name}"] for name in ("h_encoder", "c_encoder")}
    state = {name: np.repeat(value[None], count, axis=0) for name, value in first.items()}
    made = {"kl": [], "codes": [], "canvases": [], "centre": [], "size": []}
    for t in range(steps):
        p_mean, p_log_variance = expected_code(weights, state["h"], parts)
        if codes is None:
            error = x - reference.sigmoid(state["canvas"])
            seen = np.concatenate([x, error], axis=3)
            if glimpse is not None:
                bank = banks(affine(weights, "encoder_read/attention", state["h"]), glimpse, height, width)
                seen = np.stack(
                    [
                        g * np.einsum("nh,hwc,mw->nmc", f_y, s, f_x)
                        for (f_x, f_y, g, *_), s in zip(bank, seen, strict=True)
                    ]
                )
            joined = reference.joined(seen, state["h"], *parts)
            state["h_encoder"], state["c_encoder"] = lstm(
                weights, "encoder", joined, state["h_encoder"], state["c_encoder"]
            )
            mean, log_variance = (
                affine(weights, f"encoder_{part}", state["h_encoder"]) for part in ("mean", "log_variance")
            )
            z = mean if noise is None else mean + np.exp(log_variance / 2) * noise[:, t]
            made["kl"].append(reference.normal_kl(mean, log_variance, p_mean, p_log_variance))
        else:
            z = codes[:, t]
            if noise[0] == "prior":
                z = p_mean + np.exp(p_log_variance / 2) * z
        state["h"], state["c"] = lstm(weights, "decoder", reference.joined(z, *parts), state["h"], state["c"])
        patch = affine(weights, "decoder_write/patch", state["h"])
        if glimpse is None:
            drawn = patch.reshape(x.shape)
        else:
            bank = banks(affine(weights, "decoder_write/attention", state["h"]), glimpse, height, width)
            patch = patch.reshape(count, glimpse, glimpse, channels)
            drawn = np.stack(
                [
                    np.einsum("nh,nmc,mw->hwc", f_y, p, f_x) / g
                    for (f_x, f_y, g, *_), p in zip(bank, patch, strict=True)
                ]
            )
            made["centre"].append([[b[4] - 1, b[3] - 1] for b in bank])
            made["size"].append([(glimpse - 1) * b[5] for b in bank])
        state["canvas"] = state["canvas"] + drawn
        made["codes"].append(z)
        made["canvases"].append(reference.sigmoid(state["canvas"]))
    made = {name: np.stack(values, axis=1) for name, values in made.items() if values}
    if codes is not None:
        return made
    kl = made["kl"].reshape(count, -1)
    flat = reference.joined(made["canvases"][:, -1])
    logs, weighted, pixels = reference.bound(
        reference.joined(x), flat, kl, np.ones_like(flat), free_bits=free_bits, **kind
    )
    return made | logs | {"generator": beta * weighted + pixels}


@pytest.mark.parametrize("name", MODELS)
def test_the_bound_is_that_of_the_equations(name, inject_noise):
    arguments = MODELS[name]
    model = build(**arguments)
    noise = noise_for(model)
    inject_noise(noise)
    expected = transcribed(reference.weights_of(model), registry.images(), noise, LABELS, **arguments)
    made = model.compute_losses(ops.convert_to_tensor(registry.images()), ops.convert_to_tensor(LABELS))
    for log in ("loss", "kl", "reconstruction"):
        np.testing.assert_allclose(
            ops.convert_to_numpy(made.logs[log]), expected[log], rtol=1e-4, err_msg=log
        )
    np.testing.assert_allclose(
        ops.convert_to_numpy(made.players["generator"]), expected["generator"], rtol=1e-4
    )


@pytest.mark.parametrize("name", MODELS)
def test_a_step_is_down_the_gradient_of_the_transcription(name, inject_noise):
    arguments = MODELS[name]
    model = build(**arguments)
    noise, weights = noise_for(model), reference.weights_of(model)
    inject_noise(noise)
    applied = updates(model, {"generator": 1.0}, (registry.images(), LABELS))

    def objective(path):
        return transcribed(weights, registry.images(), noise, LABELS, **arguments)["generator"].mean()

    assert_same_direction_and_length(*some_of_both(applied, weights, objective, 6))


def some_of_both(applied, weights, objective, number):
    """Elements of gradients and of central differences, `{path: array}` each, `number` of each variable.

    Args:
        applied: gradients by path.
        weights: by path; they are moved and put back.
        objective: path -> the loss of its owner at the weights.
        number: all would take minutes.
    """
    generator, chosen, differences = np.random.default_rng(0), dict(applied), {}
    for path, value in weights.items():
        places = generator.permutation(value.size)[:number]
        differences[path] = np.empty(len(places))
        for i, place in enumerate(places):
            index = np.unravel_index(place, value.shape)
            kept, step = value[index], 1e-5
            value[index] = kept + step
            above = objective(path)
            value[index] = kept - step
            differences[path][i] = (above - objective(path)) / (2 * step)
            value[index] = kept
        chosen[path] = applied[path].ravel()[places]
    return chosen, differences


WEIGHTS = {"last": [0.0, 0.0, 1.0], "linear": [1 / 6, 2 / 6, 3 / 6]}


def played(weights, x, noise, labels, glimpse=2, time_weights="last", pixel_weight=1.0, **arguments):
    """The DRAW-GAN's losses and logs: those of DRAW, and what D says of each canvas."""
    num_classes = arguments.get("num_classes")
    seen = transcribed(weights, x, noise[0], labels, glimpse=glimpse, num_classes=num_classes)
    drawn = transcribed(weights, x, ("prior", noise[1]), labels, glimpse=glimpse, num_classes=num_classes)
    flat, nothing = reference.joined(np.float64(x)), {"kl": 0.0, "pixels": 0.0}
    of_game = arguments | {"three_players": False, "gamma": 0.0}
    rounds = [
        reference.play(
            weights,
            flat,
            *(reference.joined(made["canvases"][:, t]) for made in (seen, drawn)),
            **nothing,
            labels=labels,
            **of_game,
        )
        for t in range(3)
    ]
    weighted = {
        name: sum(w * one[name] for w, one in zip(WEIGHTS[time_weights], rounds, strict=True))
        for name in ("generator", "discriminator", "d_real", "d_fake")
    }
    features = rounds[-1]["feature_matching"]
    pixels = pixel_weight * seen["reconstruction"]
    players = {"generator": arguments.get("gamma", 1.0) * features + pixels + weighted["generator"]}
    kl = arguments.get("beta", 1.0) * seen["kl"]
    if arguments.get("three_players"):
        players["encoder"] = kl + features + pixels
    else:
        players["generator"] = players["generator"] + kl
    logs = {name: seen[name] for name in ("loss", "kl", "reconstruction")}
    return weighted | logs | {"feature_matching": features} | players


@pytest.mark.parametrize(
    "name", ["draw_gan", "draw_gan_conditional", "draw_gan_look_back", "draw_gan_mixture"]
)
def test_the_game_over_canvases_is_that_of_the_equations(name, inject_noise):
    model = registry.set_weights(registry.MODELS[name](seed=0))
    arguments = registry.ARGUMENTS[name][1]
    noise = np.random.default_rng(6).standard_normal((2, len(LABELS), *model.code_shape)).astype("float32")
    inject_noise(*noise)
    weights, x = reference.weights_of(model), registry.images()
    expected = played(weights, x, noise, LABELS, **arguments)
    made = model.compute_losses(ops.convert_to_tensor(x), ops.convert_to_tensor(LABELS), training=True)
    assert set(made.logs) == set(model.log_names)
    for log in model.log_names:
        found = ops.convert_to_numpy(made.logs[log])
        np.testing.assert_allclose(found, expected[log], rtol=1e-3, atol=1e-5, err_msg=log)

    applied = updates(model, dict.fromkeys(model.players, 1.0), (x, LABELS))
    owners = {
        variable.path: player
        for player, variables in model.player_variables().items()
        for variable in variables
    }
    assert set(owners) == set(applied)

    def objective(path):
        return played(weights, x, noise, LABELS, **arguments)[owners[path]].mean()

    assert_same_direction_and_length(*some_of_both(applied, weights, objective, 4))


def test_where_each_plays_for_itself_the_first_states_belong_to_whom_they_serve():
    model = registry.MODELS["draw_gan_conditional"]()
    owned = {player: {v.path for v in of} for player, of in model.player_variables().items()}
    assert {"first_looking/h_encoder", "encoder_lstm/kernel"} <= owned["encoder"]
    assert {"first_drawing/canvas", "decoder_lstm/kernel"} <= owned["generator"]


@pytest.mark.core_on("one")
@pytest.mark.parametrize("weights", ["first", [1.0, 2.0], [1.0, 1.0, 0.0], [1.0, -1.0, 1.0], [True, 1, 1], 3])
def test_weights_of_canvases_that_cannot_be_are_refused(weights):
    with pytest.raises(InputError, match="time_weights must be"):
        registry.draw_gan(time_weights=weights)


@pytest.mark.core_on("one")
def test_priors_that_cannot_look_back_are_refused():
    with pytest.raises(InputError, match="prior must not look back in a model that does not draw in steps"):
        registry.vae(prior="look_back")
    with pytest.raises(InputError, match="units must be"):
        registry.draw_model(prior={"class": "look_back", "units": [0]})
    used = registry.draw_model().prior.__class__, registry.draw_model(prior="look_back").prior
    with pytest.raises(InputError, match="prior must be a new object"):
        registry.draw_model(steps=4, prior=used[1])


def test_a_prior_that_looks_back_begins_as_standard_normal():
    """Before training, samples and KL are those of N(0, I), and its weights are the generator's."""
    model = registry.draw_model(prior="look_back", seed=0)
    other = registry.draw_model(seed=0)
    weights = {of.path: np.array(ops.convert_to_numpy(of)) for of in model.trainable_variables}
    for variable in other.trainable_variables:
        variable.assign(weights[variable.path])
    x = registry.images()
    np.testing.assert_allclose(model.generate(4, seed=0), other.generate(4, seed=0), atol=1e-6)
    np.testing.assert_allclose(model.kl_per_dimension(x), other.kl_per_dimension(x), rtol=1e-5, atol=1e-6)
    owned = {variable.path for variable in model.player_variables()["generator"]}
    assert {"prior_hidden_0/kernel", "prior_mean/bias", "prior_log_variance/kernel"} <= owned


def test_weights_of_canvases_are_scaled_and_kept():
    model = registry.draw_gan(time_weights=[0, 1, 3])
    assert list(model.step_weights) == [0.25, 0.75]
    again = type(model).from_config(model.get_config())
    assert list(again.step_weights) == [0.25, 0.75]
    assert {term.name: term.weight for term in again.reconstruction} == {"features": 1.0, "pixels": 1.0}


def test_every_step_has_noise_of_its_own(inject_noise):
    """A change of the noise of one step leaves the steps before it alone."""
    model = build()
    noise = noise_for(model)
    other = noise.copy()
    other[:, 1] += 1.0
    paths = [
        {
            name: ops.convert_to_numpy(value)
            for name, value in model.inference({"images": registry.images(), "noise": n}).items()
        }
        for n in (noise, other)
    ]
    same = [np.allclose(*(path["codes"][:, t] for path in paths)) for t in range(3)]
    assert same == [True, False, False]
    drawn = ops.convert_to_numpy(model.prior.given().sample(500, model.seed_generator))
    assert drawn.shape == (500, 3, LATENT_DIM)
    assert np.abs(np.corrcoef(drawn.reshape(500, -1), rowvar=False) - np.eye(6)).max() < 0.2


@pytest.mark.parametrize("name", ["attention", "looks back"])
def test_the_kl_is_that_of_monte_carlo(name):
    """The mean over draws of log q(z) - log p(z), of one image, against the mean of the analytic KL."""
    model = build(**MODELS[name])
    x = np.repeat(registry.images(1), 20_000, axis=0)
    noise = np.random.default_rng(2).standard_normal((len(x), *model.code_shape)).astype("float32")
    path = {
        name: np.float64(ops.convert_to_numpy(value))
        for name, value in model.inference({"images": x, "noise": noise}).items()
    }
    p = [path.get(f"prior_{part}", np.zeros(1)) for part in ("mean", "log_variance")]
    under_p = (path["codes"] - p[0]) ** 2 * np.exp(-p[1]) + p[1]
    drawn = 0.5 * (under_p - noise**2 - path["log_variance"]).sum(axis=(1, 2))
    analytic = reference.normal_kl(path["mean"], path["log_variance"], *p).sum(axis=(1, 2))
    error = (drawn - analytic).std() / np.sqrt(len(x))
    assert drawn.mean() == pytest.approx(analytic.mean(), abs=5 * error)
    assert error < 0.02 * analytic.mean()


@pytest.mark.parametrize("name", ["attention", "whole images", "labels", "looks back", "looks back, labels"])
def test_codes_and_canvases_are_those_of_the_equations(name):
    arguments = MODELS[name]
    model, x = build(**arguments), registry.images()
    weights, of = reference.weights_of(model), registry.condition(model)
    seen = transcribed(weights, x, None, LABELS, **arguments)
    np.testing.assert_allclose(model.encode(x, **of), seen["codes"], rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(model.reconstruct(x, **of), seen["canvases"][:, -1], rtol=1e-4, atol=1e-5)
    for images, codes in ((x, (None, seen["codes"])), (None, ("prior", prior_noise(4, model.code_shape, 7)))):
        made = model.canvases(4, of.get("labels"), images, seed=7)
        expected = transcribed(weights, x, codes, LABELS, **arguments)
        np.testing.assert_allclose(made["canvases"], expected["canvases"], rtol=1e-3, atol=1e-5)
        if "centre" in expected:
            np.testing.assert_allclose(made["centres"], expected["centre"], rtol=1e-3, atol=1e-4)
            np.testing.assert_allclose(made["sizes"], expected["size"], rtol=1e-3)
        else:
            np.testing.assert_allclose(made["centres"], np.broadcast_to((0.5, 1.0), made["centres"].shape))
    generated = model.generate(4, of.get("labels"), seed=7)
    np.testing.assert_allclose(generated, made["canvases"][:, -1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["attention", "looks back"])
def test_the_likelihood_is_that_of_draws_from_the_prior(name):
    model = build(steps=2, **MODELS[name])
    for variable in model.encoder.weights:  # draws from q are to reach all of the posterior
        wider = 1.0 if variable.path.endswith("log_variance/bias") else 0.0
        variable.assign(0.3 * ops.convert_to_tensor(variable) + wider)
    x = np.rint(registry.images(2))
    found = model.log_likelihood(x, num_samples=4000, seed=3)
    pixels = np.float64(model.generate(100_000, seed=1, batch_size=10_000)).reshape(100_000, -1)
    for i in range(2):
        nats = reference.log_density(x[i].reshape(1, -1), np.clip(pixels, 1e-9, 1 - 1e-9)).sum(axis=1)
        assert found[i] == pytest.approx(special.logsumexp(nats) - np.log(len(pixels)), abs=0.05)


def test_sampled_codes_follow_their_path():
    model = build()
    codes = model.encode(registry.images(), sample=True, seed=5)
    noise = prior_noise(4, model.code_shape, 5)
    expected = transcribed(reference.weights_of(model), registry.images(), noise)["codes"]
    np.testing.assert_allclose(codes, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.core_on("one")
def test_steps_and_networks_that_cannot_be_are_refused():
    shape = (2, 3, 1)
    networks = draw.encoder(shape, 2, 4), draw.decoder(shape, 2, 4)
    for steps in (0, 2.5, True):
        with pytest.raises(InputError, match="steps must be"):
            kvg.DRAW(*networks, steps=steps)
    cases = {
        "encoder must be one step of DRAW": (mlp.encoder(shape, 2), networks[1]),
        "decoder must be one step of DRAW": (networks[0], mlp.decoder(shape, 2)),
        "must agree on the decoder's state": (networks[0], draw.decoder(shape, 2, 5)),
        "must agree on the code": (networks[0], draw.decoder(shape, 3, 4)),
        "must agree on the image": (networks[0], draw.decoder((3, 3, 1), 2, 4)),
        "conditioned on the same labels": (networks[0], draw.decoder(shape, 2, 4, num_classes=3)),
    }
    for said, pair in cases.items():
        with pytest.raises(InputError, match=said):
            kvg.DRAW(*pair)
