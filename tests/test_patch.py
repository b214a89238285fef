"""The discriminator of patches: sizes, what a logit sees, scales that count the same, files."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_vaegan as kvg
from keras_vaegan import games, losses
from keras_vaegan.backend import input_gradient
from keras_vaegan.networks import patch

C = 2
OPEN = (None, None, C)
SIZES = [(5, 7), (16, 16), (33, 65)]


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def array(tensor):
    return ops.convert_to_numpy(ops.cast(tensor, "float32"))


def randomized(network):
    for i, variable in enumerate(sorted(network.trainable_variables, key=lambda variable: variable.path)):
        variable.assign(0.4 * draw(*variable.shape, seed=i))
    return network


def built(shape=OPEN, **settings):
    return randomized(patch.discriminator(shape, **{"filters": (3, 4)} | settings))


# ---- sizes ----


@pytest.mark.parametrize("outputs", [1, pytest.param(4, marks=pytest.mark.core_on("one"))])
def test_one_network_judges_images_of_every_size(outputs):
    network = built(num_outputs=outputs)
    assert network.input_shape == (None, *OPEN)
    assert network.output["logits"].shape == (None, None, None, outputs)
    for height, width in SIZES:
        found = network(draw(2, height, width, C))
        side = -(-height // 4), -(-width // 4)
        assert tuple(found["logits"].shape) == (2, *side, outputs)
        assert tuple(found["features"].shape) == (2, *side, 4)
        assert {keras.backend.standardize_dtype(value.dtype) for value in found.values()} == {"float32"}


@pytest.mark.core_on("one")
def test_a_network_of_known_size_is_that_of_open_size():
    x = draw(2, 9, 6, C)
    known, open_ = built((9, 6, C)), built()
    assert known.input_shape == (None, 9, 6, C)
    assert known.output["logits"].shape == (None, 3, 2, 1)
    assert [v.path for v in known.variables] == [v.path for v in open_.variables]
    for name, value in known(x).items():
        np.testing.assert_array_equal(array(value), array(open_(x)[name]))


@pytest.mark.core_on("one")
def test_the_default_has_three_layers_and_logits():
    network = patch.discriminator((64, 64, 3))
    kernels = [tuple(v.shape) for v in network.trainable_variables if "kernel" in v.path]
    assert kernels == [(4, 4, 3, 32), (4, 4, 32, 64), (4, 4, 64, 128), (4, 4, 128, 1)]
    assert network.output["logits"].shape == (None, 8, 8, 1)


@pytest.mark.core_on("one")
def test_logits_are_float32_in_half_precision(dtype_policy):
    dtype_policy("mixed_float16")
    network = built(scales=2, spectral_normalization=True, normalization="group")
    for value in network(draw(1, 8, 8, C)).values():
        assert keras.backend.standardize_dtype(value.dtype) == "float32" and np.all(np.isfinite(array(value)))
    assert network.get_layer("discriminator_logits").compute_dtype == "float32"


# ---- what one logit sees ----


def sides_seen(network, size):
    """Height and width of the box of pixels that move the logit in the middle."""
    x = ops.convert_to_tensor(draw(1, size, size, 1))

    def middle(x):
        logits = network(x)["logits"]
        return logits[0, logits.shape[1] // 2, logits.shape[2] // 2, 0], None

    moved = array(input_gradient(middle, x)[0])[0, ..., 0] != 0.0
    rows, columns = np.flatnonzero(moved.any(1)), np.flatnonzero(moved.any(0))
    assert 0 < rows[0] and rows[-1] < size - 1 and 0 < columns[0] and columns[-1] < size - 1
    return rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1


@pytest.mark.parametrize(
    "settings, side",
    [
        ({"receptive_field": 34}, 34),
        *(
            pytest.param(settings, side, marks=pytest.mark.core_on("one"))
            for settings, side in (
                ({"receptive_field": 10}, 10),
                ({"receptive_field": 16}, 16),
                ({"receptive_field": 70}, 70),
                ({"receptive_field": 142}, 142),
                ({"receptive_field": 23, "kernel_size": 3}, 23),
                ({"filters": (2, 2, 2)}, 46),  # three halvings and the logits
                ({"filters": (2, 2)}, 22),
            )
        ),
    ],
    ids=str,
)
def test_a_logit_sees_so_many_pixels(settings, side):
    network = randomized(patch.discriminator((None, None, 1), **{"filters": 2} | settings))
    assert sides_seen(network, 2 * side + 40) == (side, side)


@pytest.mark.core_on("one")
def test_seventy_pixels_are_the_network_of_the_paper():
    network = patch.discriminator((None, None, 3), receptive_field=70, filters=64)
    convolutions = [layer for layer in network.layers if isinstance(layer, keras.layers.Conv2D)]
    assert [layer.filters for layer in convolutions] == [64, 128, 256, 512, 1]
    assert [layer.strides[0] for layer in convolutions] == [2, 2, 2, 1, 1]


@pytest.mark.core_on("one")
@pytest.mark.parametrize(
    "filters, widths",
    [(None, [32, 64, 128, 256, 256]), (8, [8, 16, 32, 64, 64]), ((5, 4, 3, 2, 1), [5, 4, 3, 2, 1])],
)
def test_widths_beside_a_receptive_field(filters, widths):
    network = patch.discriminator((None, None, 3), receptive_field=142, filters=filters)
    hidden = [
        layer.filters for layer in network.layers if "_conv_" in layer.name and hasattr(layer, "filters")
    ]
    assert hidden == widths


# ---- several scales ----


def pooled(x):
    """The mean of each 2x2, and of what is there at an odd edge."""
    x = np.pad(x, [(0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0)], mode="edge")
    return (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 4


@pytest.mark.parametrize(
    "size", [(16, 32), pytest.param((13, 10), marks=pytest.mark.core_on("one"))], ids=str
)
def test_scales_are_networks_of_smaller_images_side_by_side(size):
    """Each alone on its image, repeated and cut in NumPy."""
    network = built(scales=3)
    x = draw(2, *size, C)
    found, seen, alone = network(x), x, []
    for scale in range(3):
        single = patch.discriminator(OPEN, filters=(3, 4))
        prefix = f"discriminator_scale_{scale}_" if scale else "discriminator_"
        for variable in single.variables:
            place = variable.path.removeprefix("discriminator_")
            (other,) = [v for v in network.variables if v.path == prefix + place]
            variable.assign(other.value)
        alone.append({name: array(value) for name, value in single(seen).items()})
        seen = pooled(seen)
    height, width = alone[0]["logits"].shape[1:3]
    logits = [
        alone[i]["logits"].repeat(2**i, axis=1).repeat(2**i, axis=2)[:, :height, :width] for i in range(3)
    ]
    np.testing.assert_allclose(array(found["logits"]), np.concatenate(logits, axis=1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(array(found["features"]), alone[0]["features"], rtol=1e-4, atol=1e-5)


@pytest.mark.core_on("one")
def test_each_scale_counts_the_same_in_every_game():
    network = built(scales=2, num_outputs=4)
    x, labels = draw(3, 16, 16, C), np.eye(3, dtype="float32")[[0, 2, 1]]
    maps = keras.Model(
        network.input, [network.get_layer(f"discriminator{part}_logits").output for part in ("", "_scale_1")]
    )(x)
    assert [tuple(logits.shape) for logits in maps] == [(3, 4, 4, 4), (3, 2, 2, 4)]
    whole = games.Verdict.of(network(x))
    parts = [games.Verdict.of({"logits": logits, "features": logits}) for logits in maps]
    for game in (
        games.Standard(label_smoothing=0.1),
        games.Hinge(),
        games.LeastSquares(),
        games.Relativistic(),
    ):
        for loss in (
            lambda verdict, game=game: game.real_loss(verdict, ops.convert_to_tensor(labels)),
            lambda verdict, game=game: game.fake_loss(verdict, verdict),
            lambda verdict, game=game: game.generator_loss(verdict, verdict, ops.convert_to_tensor(labels)),
        ):
            means = [array(loss(part)) for part in parts]
            assert means[0].shape == (3,)
            np.testing.assert_allclose(array(loss(whole)), sum(means) / 2, rtol=1e-4, atol=1e-6)
    unequal = [array(losses.mean_of_patches(part.scores)) for part in parts]
    assert np.abs(unequal[0] - unequal[1]).max() > 1e-3


@pytest.mark.core_on("one")
def test_a_map_that_does_not_fit_is_cut():
    maps = [draw(1, 3, 5, 2), draw(1, 2, 3, 2, seed=1)]
    joined = array(patch.MapsOfScales()(maps))
    assert joined.shape == (1, 6, 5, 2) == patch.MapsOfScales().compute_output_shape([m.shape for m in maps])
    np.testing.assert_array_equal(joined[:, :3], maps[0])
    for row, column in np.ndindex(3, 5):
        np.testing.assert_array_equal(joined[:, 3 + row, column], maps[1][:, row // 2, column // 2])


# ---- normalization, training, files ----


@pytest.mark.core_on("one")
@pytest.mark.parametrize("normalization", ["batch", "layer", "instance", "group", "rms"])
def test_all_layers_but_the_first_are_normalized(normalization):
    network = built(filters=(4, 8), normalization=normalization, scales=2)
    normalized = sorted(layer.name for layer in network.layers if layer.name.endswith("_norm"))
    assert normalized == ["discriminator_conv_1_norm", "discriminator_scale_1_conv_1_norm"]


@pytest.mark.core_on("one")
def test_spectral_normalization_is_of_every_kernel():
    network = patch.discriminator(OPEN, filters=2, receptive_field=16, scales=2, spectral_normalization=True)
    kinds = {type(layer).__name__ for layer in network.layers if isinstance(layer, keras.layers.Conv2D)}
    assert kinds == {"SpectralConv2D"}


def test_a_penalty_of_gradients_reaches_the_kernels_of_every_scale():
    network = built(filters=(2,), scales=2, activation="softplus")
    x = ops.convert_to_tensor(draw(2, 4, 6, C))
    kernels = [v for v in network.trainable_variables if "kernel" in v.path]
    assert len(kernels) == 4
    for kernel in kernels:

        def penalty(value, kernel=kernel):
            with keras.StatelessScope(state_mapping=[(kernel, value)]):
                return games.Hinge().penalized(network, x, training=True)[1], None

        assert np.abs(array(input_gradient(penalty, kernel.value)[0])).max() > 1e-6, kernel.path


def test_a_saved_network_is_loaded(tmp_path):
    network = built(scales=2, receptive_field=16, filters=3, normalization="group", num_outputs=3)
    network.save(tmp_path / "network.keras")
    loaded = keras.saving.load_model(tmp_path / "network.keras")
    x = draw(2, 9, 12, C)
    for name, value in network(x).items():
        np.testing.assert_allclose(array(loaded(x)[name]), array(value), rtol=1e-5, atol=1e-6)


@pytest.mark.core_on("one")
def test_layers_are_named_after_their_network_and_no_path_is_shared():
    network = patch.discriminator(OPEN, scales=3, receptive_field=16, filters=2, name="critic")
    assert all(layer.name.startswith("critic_") for layer in network.layers)
    paths = [variable.path for variable in network.variables]
    assert len(paths) == len(set(paths)) == 3 * 2 * 3


BAD = [
    ("image_shape", (None, None)),
    ("image_shape", (None, None, 17)),
    ("filters", ()),
    ("filters", (2, 0)),
    ("num_outputs", 0),
    ("feature_layer", 2),
    ("feature_layer", -3),
    ("scales", 0),
    ("scales", 1.5),
    ("receptive_field", 64),
    ("receptive_field", True),
    ("normalization", "bach"),
]


@pytest.mark.core_on("one")
@pytest.mark.parametrize("argument, value", BAD, ids=str)
def test_bad_arguments_are_named(argument, value):
    settings = {"image_shape": OPEN, "filters": (2, 2), argument: value}
    with pytest.raises(kvg.InputError, match=f"^{argument} must") as caught:
        patch.discriminator(**settings)
    assert caught.value.argument == argument and "\n" not in str(caught.value)


@pytest.mark.core_on("one")
@pytest.mark.parametrize(
    "settings, message",
    [
        ({"receptive_field": 70, "filters": (2, 2)}, r"^filters must be 4 integers for receptive_field 70"),
        ({"receptive_field": 70, "kernel_size": (4, 4)}, "^kernel_size must be one integer"),
        (
            {"receptive_field": 64},
            "must be one of 10, 16, 22, 34, 46, 70, 94, 142, .* kernel_size 4; received 64",
        ),
    ],
)
def test_a_receptive_field_says_what_it_needs(settings, message):
    with pytest.raises(kvg.InputError, match=message):
        patch.discriminator(OPEN, **settings)
