"""The residual family: sizes, a transcription in NumPy, translation, half precision, rematerialization."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_vaegan as kvg
from keras_vaegan import backend, presets
from keras_vaegan.networks import blocks, patch, resnet
from keras_vaegan.presets import configure

C, Z, K = 2, 3, 3
SMALL = {"filters": 4, "blocks": 1}
SIZES = [(5, 7), (16, 16), (33, 65)]


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def array(tensor):
    return ops.convert_to_numpy(ops.cast(tensor, "float32"))


def pair(encoder=(), decoder=(), **settings):
    """Encoder and decoder of the same settings, and of their own."""
    return (
        resnet.encoder((None, None, C), Z, **SMALL | settings | dict(encoder)),
        resnet.decoder((None, None, C), Z, **SMALL | settings | dict(decoder)),
    )


def randomized(network, scale=0.3):
    """Give every weight a value that is the same on each backend; return the network."""
    for i, variable in enumerate(sorted(network.trainable_variables, key=lambda variable: variable.path)):
        variable.assign(scale * draw(*variable.shape, seed=i) + (0.5 if "gamma" in variable.path else 0.0))
    return network


def weights_of(network):
    return {variable.path: np.float64(array(variable)) for variable in network.trainable_variables}


# ---- shapes and names ----


@pytest.mark.parametrize(
    "factor", [4, *(pytest.param(factor, marks=pytest.mark.core_on("one")) for factor in (2, 8, 16))]
)
def test_codes_and_images_of_every_size(factor):
    encoder, decoder = pair(factor=factor)
    assert encoder.input_shape == decoder.output_shape[:3] + (C,) == (None, None, None, C)
    assert decoder.input_shape == (None, None, None, Z)
    for height, width in SIZES:
        q = encoder(draw(2, height, width, C))
        h, w = -(-height // factor), -(-width // factor)
        assert {name: tuple(value.shape) for name, value in q.items()} == {
            "mean": (2, h, w, Z),
            "log_variance": (2, h, w, Z),
        }
        assert tuple(decoder(q["mean"]).shape) == (2, factor * h, factor * w, C)


@pytest.mark.core_on("one")
def test_outputs_are_float32_under_every_policy(dtype_policy):
    dtype_policy("mixed_bfloat16")
    encoder, decoder = pair(attention=1)
    outputs = [*encoder(draw(1, 8, 8, C)).values(), decoder(draw(1, 2, 2, Z))]
    assert {keras.backend.standardize_dtype(value.dtype) for value in outputs} == {"float32"}


EVERY_PART = {"attention": 2, "num_classes": K, "blocks": 2}


@pytest.mark.core_on("one")
@pytest.mark.parametrize("remat", [False, True])
def test_every_layer_is_named_after_its_network_and_is_of_keras_but_for_two(remat):
    networks = pair(**EVERY_PART, remat=remat)
    paths = [variable.path for network in networks for variable in network.variables]
    assert len(paths) == len(set(paths))
    for network in networks:
        assert all(
            layer.name.startswith((f"{network.name}_", "labels", "images", "codes"))
            for layer in network.layers
        )
        assert all(path.startswith(f"{network.name}_") for path in weights_of(network))
        own = {
            type(layer) for layer in backend.layers_of(network) if "keras_vaegan" in type(layer).__module__
        }
        expected = {resnet.Rematerialized} if remat else set()
        assert own == expected | ({resnet.PadToMultiple} if network is networks[0] else set())


@pytest.mark.core_on("one")
def test_weights_are_those_of_the_seed_with_and_without_rematerialization():
    def built(seed, **settings):
        keras.utils.set_random_seed(seed)
        return [weights_of(network) for network in pair(**EVERY_PART, **settings)]

    first, again, rematerialized, other = built(1), built(1), built(1, remat=True), built(2)
    for one, two, three, four in zip(first, again, rematerialized, other, strict=True):
        assert one.keys() == two.keys() == three.keys()
        for path in one:
            np.testing.assert_array_equal(one[path], two[path])
            np.testing.assert_array_equal(one[path], three[path])
        assert any(np.any(one[path] != four[path]) for path in one)


# Millions of weights of encoder and decoder for images of three channels and codes of four.
MILLIONS = {
    ("small", 4): (1.0, 2.0),
    ("small", 8): (1.0, 2.5),
    ("base", 4): (10.0, 20.0),
    ("base", 8): (10.0, 20.0),
    ("large", 4): (55.0, 60.0),
    ("large", 8): (80.0, 86.0),
}


@pytest.mark.core_on("one")
@pytest.mark.parametrize(
    "size, factor",
    [pytest.param(*key, marks=pytest.mark.slow if key[0] == "large" else ()) for key in MILLIONS],
)
def test_sizes_have_so_many_weights(size, factor):
    networks = [
        function((None, None, 3), 4, size=size, factor=factor)
        for function in (resnet.encoder, resnet.decoder)
    ]
    least, most = MILLIONS[size, factor]
    assert least <= sum(network.count_params() for network in networks) / 1e6 <= most


# ---- padding ----


@pytest.mark.parametrize("size, factor", [((5, 7), 4), ((1, 1), 8), ((8, 3), 4), ((8, 4), 4)], ids=str)
def test_images_are_padded_by_their_edges(size, factor):
    x = draw(2, *size, C)
    margins = [(0, -side % factor) for side in size]
    expected = np.pad(x, [(0, 0), *margins, (0, 0)], mode="edge")
    layer = resnet.PadToMultiple(factor)
    np.testing.assert_array_equal(array(layer(x)), expected)
    assert layer.compute_output_shape(x.shape) == expected.shape
    assert layer.compute_output_shape((None, None, size[1], C)) == (None, None, expected.shape[2], C)


@pytest.mark.core_on("tensorflow")
def test_a_graph_of_open_sizes_takes_every_size():
    import tensorflow as tf

    encoder, decoder = (randomized(network) for network in pair(attention=1))
    traced = []

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, C), "float32")])
    def through(x):
        doubled = decoder.get_layer("decoder_level_0_up_repeat")(x)
        assert tuple(doubled.shape) == (None, None, None, C)  # LiteRT has to know the channels
        traced.append(x.shape)
        return decoder(encoder(x)["mean"])

    for height, width in ((5, 7), (8, 4)):
        x = draw(1, height, width, C)
        expected = decoder(encoder(x)["mean"])
        np.testing.assert_allclose(array(through(x)), array(expected), rtol=1e-4, atol=1e-4)
    assert [tuple(shape) for shape in traced] == [(None, None, None, C)]


# ---- the networks in NumPy ----


def silu(x):
    return x / (1.0 + np.exp(-x))


def convolve(x, weights, strides=1):
    """Convolution, `same`: images `(B, H, W, C)` of even height and width, kernel `(k, k, C, F)`."""
    kernel, bias = weights
    k = len(kernel)
    total = k - strides if strides > 1 else k - 1
    before = max(total, 0) // 2
    margin = (before, max(total, 0) - before)
    x = np.pad(x, [(0, 0), margin, margin, (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(x, (k, k), axis=(1, 2))[:, ::strides, ::strides]
    return np.einsum("bhwcij,ijcf->bhwf", windows, kernel) + bias


def spread(x, weights):
    """The 2x2 positions that each position makes: kernel `(2, 2, F, C)`."""
    kernel, bias = weights
    batch, height, width, _ = x.shape
    squares = np.einsum("bhwc,ijfc->bhiwjf", x, kernel)
    return squares.reshape(batch, 2 * height, 2 * width, -1) + bias


def group_normalize(x, gamma, beta, epsilon=1e-3):
    groups = blocks.num_groups(x.shape[-1])
    grouped = x.reshape(*x.shape[:3], groups, -1)
    mean = grouped.mean((1, 2, 4), keepdims=True)
    variance = grouped.var((1, 2, 4), keepdims=True)
    return ((grouped - mean) / np.sqrt(variance + epsilon)).reshape(x.shape) * gamma + beta


def rms_normalize(x, scale):
    return x / np.sqrt(np.square(x).mean(-1, keepdims=True) + 1e-5) * scale


def attend(x, weights, name):
    """Self-attention over the positions: softmax(q k' / sqrt(d)) v, head by head."""

    def projected(part):
        kernel, bias = weights[f"{name}/{part}/kernel"], weights[f"{name}/{part}/bias"]
        return np.einsum("bhwc,cnd->bhwnd", x, kernel) + bias

    q, k, v = (projected(part) for part in ("query", "key", "value"))
    batch, height, width, heads, depth = q.shape
    q, k, v = (part.reshape(batch, height * width, heads, depth) for part in (q, k, v))
    mixed = np.empty_like(v)
    for n in range(heads):
        scores = q[:, :, n] @ k[:, :, n].transpose(0, 2, 1) / np.sqrt(depth)
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        mixed[:, :, n] = shares / shares.sum(-1, keepdims=True) @ v[:, :, n]
    mixed = mixed.reshape(batch, height, width, heads, depth)
    kernel, bias = weights[f"{name}/attention_output/kernel"], weights[f"{name}/attention_output/bias"]
    return np.einsum("bhwnd,ndc->bhwc", mixed, kernel) + bias


class Transcription:
    """A network of the family in NumPy, from its weights by their paths."""

    def __init__(self, network, normalization, labels=None):
        self.weights, self.name = weights_of(network), network.name
        self.normalization, self.labels = normalization, labels

    def layer(self, name):
        return self.weights[f"{self.name}_{name}/kernel"], self.weights[f"{self.name}_{name}/bias"]

    def normalized(self, x, name, labels=None):
        place = f"{self.name}_{name}_norm"
        if self.normalization == "group":
            x = group_normalize(x, self.weights[f"{place}/gamma"], self.weights[f"{place}/beta"])
        elif self.normalization == "rms":
            x = rms_normalize(x, self.weights[f"{place}/scale"])
        if labels is not None:
            scale, shift = (
                labels @ kernel + bias for kernel, bias in map(self.layer, (f"{name}_scale", f"{name}_shift"))
            )
            x = x * scale[:, None, None] + shift[:, None, None]
        return x

    def block(self, x, name):
        y = convolve(silu(self.normalized(x, f"{name}_0")), self.layer(f"{name}_conv_0"))
        y = convolve(silu(self.normalized(y, f"{name}_1", self.labels)), self.layer(f"{name}_conv_1"))
        if x.shape[-1] != y.shape[-1]:
            x = convolve(x, self.layer(f"{name}_shortcut"))
        return x + y

    def attention(self, x, name):
        return x + attend(self.normalized(x, name), self.weights, f"{self.name}_{name}_heads")

    def head(self, x, part):
        return convolve(silu(self.normalized(x, "last")), self.layer(part))


SETTINGS = {
    "strided": ({"down": "strided"}, {"up": "nearest"}),
    "space to depth": ({"down": "space_to_depth"}, {"up": "depth_to_space"}),
}


@pytest.mark.parametrize(
    "steps, normalization, conditional",
    [
        ("strided", "group", True),
        ("space to depth", "rms", False),
        pytest.param("strided", "none", False, marks=pytest.mark.core_on("one")),
    ],
)
def test_the_networks_are_those_of_the_transcription(steps, normalization, conditional):
    encoder_settings, decoder_settings = SETTINGS[steps]
    common = {
        "attention": 2,
        "normalization": normalization,
        "num_classes": K if conditional else None,
        "factor": 2,
    }
    encoder = resnet.encoder((5, 7, C), Z, **common, **encoder_settings, filters=(4, 8), blocks=(1, 2))
    decoder = resnet.decoder((5, 7, C), Z, **common, **decoder_settings, filters=(8, 4), blocks=(2, 1))
    labels = np.eye(K)[[0, 2]] if conditional else None
    x, codes = draw(2, 5, 7, C), draw(2, 3, 4, Z, seed=1)

    n = Transcription(randomized(encoder), normalization, labels)
    y = convolve(np.pad(np.float64(x), [(0, 0), (0, 1), (0, 1), (0, 0)], mode="edge"), n.layer("stem"))
    y = convolve(n.block(y, "level_0_block_0"), n.layer("level_0_down"), strides=2)
    y = n.block(n.attention(n.block(y, "level_1_block_0"), "level_1_attention"), "level_1_block_1")
    q = encoder({"images": x, "labels": np.float32(labels)} if conditional else x)
    for part in ("mean", "log_variance"):
        np.testing.assert_allclose(array(q[part]), n.head(y, part), rtol=1e-3, atol=1e-3)

    n = Transcription(randomized(decoder), normalization, labels)
    y = convolve(np.float64(codes), n.layer("stem"))
    y = n.block(n.attention(n.block(y, "level_0_block_0"), "level_0_attention"), "level_0_block_1")
    if steps == "strided":
        y = convolve(y.repeat(2, axis=1).repeat(2, axis=2), n.layer("level_0_up"))
    else:
        y = spread(y, n.layer("level_0_up"))
    y = n.block(y, "level_1_block_0")
    logits = decoder({"codes": codes, "labels": np.float32(labels)} if conditional else codes)
    np.testing.assert_allclose(array(logits), n.head(y, "logits"), rtol=1e-3, atol=1e-3)


@pytest.mark.core_on("one")
@pytest.mark.parametrize(
    "channels, groups", [(128, 32), (256, 32), (48, 12), (16, 4), (8, 2), (7, 1), (3, 1), (1, 1), (100, 25)]
)
def test_groups_have_four_channels_where_they_can(channels, groups):
    assert blocks.num_groups(channels) == groups


# ---- translation ----


@pytest.mark.core_on("one")
@pytest.mark.parametrize("normalization", ["none", "rms"])
@pytest.mark.parametrize("steps", SETTINGS)
def test_a_shifted_image_has_a_shifted_code_and_a_shifted_code_a_shifted_image(steps, normalization):
    encoder, decoder = pair(*SETTINGS[steps], factor=4, normalization=normalization)
    long = draw(1, 68, 64, C)
    here, there = (array(randomized(encoder)(x)["mean"]) for x in (long[:, :64], long[:, 4:]))
    inside = slice(7, -7)  # codes that see nothing beyond the edge: 24 pixels, and one code more
    np.testing.assert_allclose(
        here[:, 1:, inside][:, inside], there[:, :-1, inside][:, inside], rtol=1e-4, atol=1e-5
    )
    assert np.abs(here[:, 1:] - there[:, :-1]).max() > 1e-3  # those at the edge do
    codes = draw(1, 17, 16, Z)
    here, there = (array(randomized(decoder)(z)) for z in (codes[:, :16], codes[:, 1:]))
    inside = slice(28, -28)
    np.testing.assert_allclose(
        here[:, 4:, inside][:, inside], there[:, :-4, inside][:, inside], rtol=1e-4, atol=1e-5
    )
    assert np.abs(here[:, 4:] - there[:, :-4]).max() > 1e-3


# ---- half precision ----


@pytest.mark.parametrize("normalization", ["group", "rms"])
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_large_activations_stay_finite_in_half_precision(policy, normalization, dtype_policy):
    x, codes = draw(2, 8, 8, C), draw(2, 4, 4, Z)
    outputs = []
    for name in ("float32", policy):
        dtype_policy(name)
        encoder, decoder = (
            randomized(network) for network in pair(factor=2, attention=1, normalization=normalization)
        )
        for network in (encoder, decoder):
            network.get_layer(f"{network.name}_stem").kernel.assign(
                500.0 * draw(*network.get_layer(f"{network.name}_stem").kernel.shape)
            )
        stem = keras.Model(encoder.input, encoder.get_layer("encoder_stem").output)(x)
        assert 2e3 < np.abs(array(stem)).max() < 2e4  # float16 ends at 65,504, so it does not hold the square
        outputs.append([array(value) for value in (*encoder(x).values(), decoder(codes))])
    for exact, half in zip(*outputs, strict=True):
        assert np.all(np.isfinite(half))
        assert np.abs(half - exact).mean() < 0.1 * np.abs(exact).mean()


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_flat_maps_are_normalized_to_finite_values(policy, dtype_policy):
    dtype_policy(policy)
    encoder = resnet.encoder((None, None, 1), Z, **SMALL, factor=2)
    layer = encoder.get_layer("encoder_level_0_block_0_0_norm")
    flat = 100.0 + 0.01 * draw(1, 8, 8, 4)
    flat = array(ops.cast(flat, layer.compute_dtype))
    expected = group_normalize(np.float64(flat), np.ones(4), np.zeros(4))
    np.testing.assert_allclose(array(layer(ops.cast(flat, layer.compute_dtype))), expected, atol=0.1)


# ---- labels ----


def step(network, inputs, targets):
    """The weights by which one step of SGD on a sum of squares changes a network, `{path: array}`."""
    before = weights_of(network)
    network.compile(optimizer=keras.optimizers.SGD(1.0), loss="mean_squared_error")
    network.train_on_batch(inputs, targets)
    return {path: before[path] - after for path, after in weights_of(network).items()}


def test_labels_change_the_outputs_and_gradients_reach_every_block():
    encoder, decoder = pair(num_classes=K, factor=2)
    labels, others = np.eye(K, dtype="float32")[[0, 2]], np.eye(K, dtype="float32")[[1, 2]]
    images, codes = draw(2, 6, 6, C), draw(2, 3, 3, Z)
    for network, own, value in ((encoder, "images", images), (decoder, "codes", codes)):
        assert {name: tuple(tensor.shape) for name, tensor in network.input.items()}["labels"] == (None, K)

        def outputs(labels):
            found = network({own: value, "labels": labels})  # noqa: B023
            return array(found["mean"] if isinstance(found, dict) else found)

        difference = np.abs(outputs(labels) - outputs(others)).max(axis=(1, 2, 3))
        assert difference[0] > 1e-3 and difference[1] < 1e-6  # the second image has the same label
        targets = {"mean": codes, "log_variance": codes} if network is encoder else images
        moved = step(network, {own: value, "labels": labels}, targets)
        kernels = [path for path in moved if path.endswith(("_scale/kernel", "_shift/kernel"))]
        assert len(kernels) == 2 * sum(path.endswith("conv_0/kernel") for path in moved) == 4
        for path in kernels:
            assert np.all(np.abs(moved[path][[0, 2]]).max(axis=1) > 1e-7), path
            assert np.all(moved[path][1] == 0.0)  # of the class that no image has


# ---- rematerialization ----


@pytest.mark.parametrize("conditional", [True, pytest.param(False, marks=pytest.mark.core_on("one"))])
def test_gradients_are_equal_with_rematerialization(conditional):
    settings = {"factor": 2, "attention": 1, "num_classes": K if conditional else None}
    plain, rematerialized = (
        randomized(resnet.decoder((None, None, C), Z, **SMALL | settings, remat=remat))
        for remat in (False, True)
    )
    codes, labels = draw(2, 2, 3, Z), np.eye(K, dtype="float32")[[0, 2]]
    inputs = {"codes": codes, "labels": labels} if conditional else codes
    np.testing.assert_allclose(array(plain(inputs)), array(rematerialized(inputs)), rtol=1e-5, atol=1e-6)
    one, other = (step(network, inputs, draw(2, 4, 6, C)) for network in (plain, rematerialized))
    assert one.keys() == other.keys() and any(np.abs(value).max() > 1e-2 for value in one.values())
    for path in one:
        np.testing.assert_allclose(other[path], one[path], rtol=1e-3, atol=1e-5, err_msg=path)


def activations_computed(remat):
    """How often an activation is computed, or traced, for the gradients of one encoder in training."""
    calls = []

    def counting(x):
        calls.append(x.shape)
        return keras.activations.silu(x)

    encoder = resnet.encoder((None, None, C), Z, **SMALL, factor=2, activation=counting, remat=remat)
    x, (weight, *_) = ops.convert_to_tensor(draw(1, 4, 4, C)), encoder.trainable_variables
    calls.clear()

    def loss(value=None):
        mapping = [] if value is None else [(weight, value)]
        with keras.StatelessScope(state_mapping=mapping):
            return ops.sum(encoder(x, training=True)["mean"])

    if keras.backend.backend() == "jax":
        import jax

        return str(jax.make_jaxpr(loss)(weight.value)).count("remat")
    if keras.backend.backend() == "torch":
        ops.sum(encoder(x, training=True)["mean"]).backward()
    else:
        import tensorflow as tf

        with tf.GradientTape() as tape:
            value = ops.sum(encoder(x, training=True)["mean"])
        assert tape.gradient(value, weight.value) is not None
    return len(calls)


def test_gradients_compute_the_blocks_once_more():
    plain, rematerialized = activations_computed(False), activations_computed(True)
    if keras.backend.backend() == "jax":
        assert plain == 0 and rematerialized >= 2  # a block at each of two resolutions
    else:
        assert plain == 5 and rematerialized == 9  # of two blocks with two activations each, and the last


def model_of_known_size(remat):
    """A VAE/GAN of images (8, 8, 1) and codes (4,), whose networks have those of the family in them."""
    settings = SMALL | {"factor": 4, "remat": remat}
    images, codes = keras.Input((8, 8, 1)), keras.Input((4,))
    q = resnet.encoder((8, 8, 1), 1, **settings, name="maps")(images)
    flat = {part: keras.layers.Flatten(name=f"flat_{part}")(value) for part, value in q.items()}
    logits = resnet.decoder((8, 8, 1), 1, **settings, name="images")(keras.layers.Reshape((2, 2, 1))(codes))
    judge = patch.discriminator((8, 8, 1), filters=(3,), activation="softplus")
    game = {"class": "hinge", "r1": 0.5}
    model = kvg.VAEGAN(keras.Model(images, flat), keras.Model(codes, logits), judge, game=game)
    model.compile({player: keras.optimizers.SGD(0.01) for player in model.players})
    return randomized(model)


def test_a_game_is_played_alike_with_rematerialization(inject_noise):
    """Each player takes its gradient of the same pass, so blocks are computed once more for each."""
    inject_noise(*np.random.default_rng(1).standard_normal((2, 3, 4)))
    x, moved = np.random.default_rng(0).random((3, 8, 8, 1), "float32"), []
    for remat in (False, True):
        model = model_of_known_size(remat)
        before = weights_of(model)
        model.train_on_batch(x)
        moved.append({path: before[path] - after for path, after in weights_of(model).items()})
    one, other = moved
    assert one.keys() == other.keys()
    for path in one:
        assert np.all(np.isfinite(one[path]))
        scale = np.abs(one[path]).max()
        np.testing.assert_allclose(other[path], one[path], rtol=1e-3, atol=1e-3 * scale + 1e-6, err_msg=path)
    for network in ("maps", "images", "discriminator"):
        assert max(np.abs(one[path]).max() for path in one if path.startswith(network)) > 1e-4


# ---- files ----


@pytest.mark.parametrize("remat", [True, pytest.param(False, marks=pytest.mark.core_on("one"))])
def test_a_saved_network_is_loaded_with_all_its_parts(remat, tmp_path):
    for network in pair(factor=2, attention=2, num_classes=K, remat=remat):
        randomized(network).save(tmp_path / "network.keras")
        loaded = keras.saving.load_model(tmp_path / "network.keras")
        own = "images" if "images" in network.input else "codes"
        inputs = {
            own: draw(2, 3, 4, network.input[own].shape[-1]),
            "labels": np.eye(K, dtype="float32")[[0, 2]],
        }
        outputs, again = (
            {"": found} if not isinstance(found, dict) else found
            for found in (network(inputs), loaded(inputs))
        )
        for name in outputs:
            np.testing.assert_allclose(array(again[name]), array(outputs[name]), rtol=1e-5, atol=1e-6)
        ours, theirs = weights_of(network), weights_of(loaded)
        assert ours.keys() == theirs.keys()
        kinds = [type(layer).__name__ for layer in backend.layers_of(loaded)]
        assert kinds.count("Rematerialized") == (3 if remat else 0)


# ---- bad arguments, and recipes ----

BAD = [
    ("encoder", "image_shape", (28, 28)),
    ("encoder", "image_shape", (None, None, 17)),
    ("decoder", "image_shape", (None, 0, 1)),
    ("encoder", "latent_dim", 0),
    ("decoder", "latent_dim", 2.5),
    ("encoder", "size", "huge"),
    ("encoder", "factor", 3),
    ("decoder", "factor", 32),
    ("encoder", "filters", (4, 8)),
    ("encoder", "filters", (4, 8, 0)),
    ("decoder", "filters", ()),
    ("encoder", "blocks", (1, 1)),
    ("decoder", "blocks", 0),
    ("encoder", "down", "nearest"),
    ("decoder", "up", "strided"),
    ("encoder", "attention", -1),
    ("decoder", "attention", True),
    ("encoder", "normalization", "batch"),
    ("decoder", "num_classes", 0),
    ("encoder", "remat", 1),
]


@pytest.mark.core_on("one")
@pytest.mark.parametrize("network, argument, value", BAD, ids=str)
def test_bad_arguments_are_named(network, argument, value):
    settings = {"image_shape": (8, 8, 1), "latent_dim": 2} | SMALL | {argument: value}
    with pytest.raises(kvg.InputError, match=f"^{argument} must") as caught:
        getattr(resnet, network)(**settings)
    assert caught.value.argument == argument and "\n" not in str(caught.value)


@pytest.mark.core_on("one")
def test_a_list_says_how_many_it_must_have():
    with pytest.raises(kvg.InputError, match=r"one integer or 4 for factor 8; received \(4, 8\)"):
        resnet.encoder((8, 8, 1), 2, factor=8, filters=(4, 8))


@pytest.mark.core_on("one")
def test_a_recipe_may_name_the_family():
    recipe = presets.recipe("vae_gan_mnist")
    presets.override(recipe, "networks.family", "resnet")
    presets.override(recipe, "discriminator.family", "patch")
    for option, value in {
        "encoder.factor": 8,
        "decoder.factor": 8,
        "encoder.size": "base",
        "encoder.down": "space_to_depth",
        "decoder.up": "depth_to_space",
        "decoder.attention": 2,
        "decoder.remat": True,
        "encoder.filters": [8, 16, 16, 16],
        "encoder.blocks": 2,
        "discriminator.receptive_field": 70,
        "discriminator.scales": 2,
    }.items():
        presets.override(recipe, option, value)
    configure.check(recipe)
    assert recipe["networks"]["encoder"]["down"] == "space_to_depth"
    for option, value in {"encoder.factor": 3, "decoder.up": "strided", "encoder.remat": 1}.items():
        with pytest.raises(kvg.InputError, match=option):
            presets.override(recipe, option, value)
