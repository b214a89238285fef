"""What `fit`, `evaluate` and `predict` take, from every source of data alike, and what they refuse."""

import keras
import numpy as np
import pytest
import registry
from keras import ops
from registry import BATCH, IMAGE_SHAPE, NUM_CLASSES

import keras_vaegan as kvg
from keras_vaegan.errors import InputError

COUNT = 2 * BATCH
LABELS = np.arange(COUNT) % NUM_CLASSES
QUIET = {"verbose": 0, "batch_size": BATCH, "shuffle": False}


def images(seed=0, count=COUNT):
    return np.random.default_rng(seed).random((count, *IMAGE_SHAPE), dtype="float32")


def compiled(model, rate=0.1):
    model = registry.set_weights(model)
    model.compile(keras.optimizers.SGD(rate))
    return model


def weights(model):
    return [ops.convert_to_numpy(weight).copy() for weight in model.weights]


def assert_equal(left, right, **tolerance):
    for a, b in zip(left, right, strict=True):
        np.testing.assert_allclose(a, b, **tolerance)


def dataset(*arrays):
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices(arrays).batch(BATCH)


def loader(*arrays):
    import torch

    tensors = [torch.from_numpy(np.asarray(array)) for array in arrays]
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*tensors), batch_size=BATCH)


def generator(*arrays):
    def batches():
        while True:
            for start in range(0, COUNT, BATCH):
                yield tuple(array[start : start + BATCH] for array in arrays)

    return batches()


class Sequence(keras.utils.PyDataset):
    """Batches of arrays, the first of which is clean where `clean` says so."""

    def __init__(self, *arrays, clean=None):
        super().__init__()
        self.arrays, self.clean = arrays, clean

    def __len__(self):
        return COUNT // BATCH

    def __getitem__(self, index):
        rows = slice(index * BATCH, (index + 1) * BATCH)
        x, *rest = (array[rows] for array in self.arrays)
        return (self.clean[rows] if self.clean is not None and index == 0 else x, *rest)


SOURCES = {"dataset": dataset, "loader": loader, "generator": generator, "sequence": Sequence}
RANGES = {
    "bytes as floats": (images() * 255, r"x( of the first batch)? must lie in \[0, 1\].*Divide by 255"),
    "minus one to one": (images() * 2 - 1, r"x( of the first batch)? must lie in \[0, 1\].*\(x \+ 1\) / 2"),
    "bits": ((images() > 0.5).astype("uint8"), r"received 0 and 1 alone, .*value_range=\(0, 1\)"),
}


def steps_of(source):
    return {"steps_per_epoch": COUNT // BATCH} if source == "generator" else {}


@pytest.fixture(scope="module")
def vae():
    return compiled(registry.vae(seed=0))


@pytest.mark.parametrize("source", SOURCES)
def test_values_out_of_range_are_refused_from_every_source(vae, source):
    for x, error in RANGES.values():
        before = weights(vae)
        with pytest.raises(InputError, match=error):
            vae.fit(SOURCES[source](x), verbose=0, **steps_of(source))
        assert_equal(weights(vae), before, rtol=0)  # not one step is left of it
        with pytest.raises(InputError, match=error):
            steps = {"steps": 2} if source == "generator" else {}
            vae.evaluate(SOURCES[source](x), verbose=0, **steps)
    vae.fit(SOURCES[source](images()), verbose=0, **steps_of(source))


def test_values_out_of_range_after_the_first_batch_are_refused(vae):
    with pytest.raises(InputError, match=r"received values from .*The model has been trained on them\."):
        vae.fit(Sequence(images() * 255, clean=images()), verbose=0)


@pytest.mark.core_on("one")
def test_a_verb_warns_of_integers_of_zero_and_one(vae):
    bits = (images() > 0.5).astype("uint8")
    with pytest.warns(UserWarning, match="integers of 0 and 1 alone"):
        vae.encode(bits)


@pytest.mark.parametrize("verb", ["train_on_batch", "test_on_batch", "predict_on_batch"])
def test_single_batches_are_checked_before_they_are_used(vae, verb):
    before = weights(vae)
    for name, (x, error) in RANGES.items():
        for given in (x, ops.convert_to_tensor(x)) if name != "bits" else ():
            with pytest.raises(InputError, match=error):
                getattr(vae, verb)(given)
    with pytest.raises(InputError, match="one number for each of the 8 images"):
        vae.train_on_batch(images(), sample_weight=np.ones(3))
    assert_equal(weights(vae), before, rtol=0)
    getattr(vae, verb)(images())


@pytest.mark.core_on("one")
def test_validation_data_are_checked_from_every_source(vae):
    for validation in (dataset(images() * 255), (images() * 255,), Sequence(images() * 255)):
        with pytest.raises(InputError, match=r"must lie in \[0, 1\]"):
            vae.fit(images(), validation_data=validation, **QUIET)
    with pytest.raises(InputError, match=r"validation_data must be \(x,\) or \(x, y\)"):
        vae.fit(images(), validation_data=images(), **QUIET)


def test_nan_in_a_dataset_is_refused_without_a_monitor(vae):
    bad = images()
    bad[1, 0, 0, 0] = np.nan
    with pytest.raises(InputError, match="NaN or infinite"):
        vae.fit(dataset(bad), verbose=0)


BAD_LABELS = {
    "from one": (LABELS + 1, r"y must lie in 0\.\.2; received labels from [01] to 3\..*y - 1"),
    "below": (LABELS - 1, r"y must lie in 0\.\.2; received labels from -1"),
    "parts": (LABELS + 0.5, "y must hold whole numbers"),
    "one-hot": (np.eye(NUM_CLASSES)[LABELS], r"y must hold one whole number.*labels\.argmax\(-1\)"),
    "images": (
        images(),
        r"y must hold one whole number per image, shape \(B,\); received \([^)]*\)\.(?! One-hot)",
    ),
}


@pytest.mark.core_on("one")
@pytest.mark.parametrize("kind", BAD_LABELS)
def test_labels_that_will_not_do_are_refused_from_datasets(kind):
    model = compiled(registry.cvae(num_classes=NUM_CLASSES, seed=0))
    labels, error = BAD_LABELS[kind]
    before = weights(model)
    with pytest.raises(InputError, match=error):
        model.fit(dataset(images(), labels), verbose=0)
    assert_equal(weights(model), before, rtol=0)
    model.fit(dataset(images(), LABELS), verbose=0)  # the model still works


def test_few_labels_from_a_dataset():
    model = compiled(registry.ssl_vae(seed=0))
    some = np.where(np.arange(COUNT) % 2, LABELS, -1)
    model.fit(dataset(images(), some), verbose=0)
    with pytest.raises(
        InputError, match=r"y must lie in 0\.\.2 or be -1 \(unlabelled\); received .* from -2"
    ):
        model.fit(dataset(images(), some - 1), verbose=0)


@pytest.mark.core_on("one")
def test_dictionaries_and_unbatched_datasets_are_refused_with_what_to_do():
    model = compiled(registry.vae(seed=0))
    import tensorflow as tf

    rows = tf.data.Dataset.from_tensor_slices({"image": images(), "label": LABELS}).batch(BATCH)
    for verb in (model.fit, model.evaluate, model.predict):
        with pytest.raises(InputError, match=r"x must be images; .*row\['image'\], row\['label'\]"):
            verb(rows, verbose=0)
    with pytest.raises(InputError, match="x must be images; received a dictionary of 'image'"):
        model.fit({"image": images()}, verbose=0)
    with pytest.raises(InputError, match=r"Batch the dataset first\."):
        compiled(registry.vae(seed=0)).fit(tf.data.Dataset.from_tensor_slices((images(),)), verbose=0)
    other = np.zeros((COUNT, 3, 3, 1), "float32")
    with pytest.raises(InputError, match=r"x must be batches of images .*2, 3, 1"):
        compiled(registry.vae(seed=0)).fit(dataset(other), verbose=0)


# ---- one meaning of what is given ----


@pytest.mark.core_on("one")
def test_a_list_of_images_means_images_everywhere(inject_noise):
    inject_noise()
    x = images()
    listed, stacked = compiled(registry.vae()), compiled(registry.vae())
    left = listed.fit(list(x), validation_data=(list(x),), epochs=2, **QUIET).history
    right = stacked.fit(x, validation_data=(x,), epochs=2, **QUIET).history
    assert left == right
    assert_equal(weights(listed), weights(stacked), rtol=0)
    assert_equal([listed.encode(list(x))], [stacked.encode(x)], rtol=0)
    assert_equal([listed.predict(list(x), verbose=0)], [stacked.predict(x, verbose=0)], rtol=0)
    assert listed.evaluate(list(x), verbose=0) == stacked.evaluate(x, verbose=0)
    tensors = [ops.convert_to_tensor(image) for image in x]
    assert listed.evaluate(tensors, verbose=0) == stacked.evaluate(x, verbose=0)
    for verb in (listed.fit, listed.evaluate, listed.encode):
        with pytest.raises(InputError, match=r"must have the shape \(B, H, W, C\); received \(1, 8"):
            verb([x])
    with pytest.raises(InputError, match="rows of unequal length"):
        listed.fit([x[0], x[1, :1]])


@pytest.mark.core_on("one")
def test_the_images_themselves_may_stand_for_targets(inject_noise):
    inject_noise()
    x = images()
    alone, twice = compiled(registry.vae()), compiled(registry.vae())
    alone.fit(x, **QUIET)
    twice.fit(x, x, **QUIET)
    assert_equal(weights(alone), weights(twice), rtol=0)
    history = twice.fit(dataset(x, x), verbose=0).history
    np.testing.assert_allclose(history["loss"], alone.fit(dataset(x), verbose=0).history["loss"], rtol=1e-6)
    for given in ((x, 1 - x), (dataset(x, 1 - x),)):
        with pytest.raises(InputError, match="the model reconstructs x; received other images"):
            twice.fit(*given, verbose=0)
    twice.fit(x, LABELS, **QUIET)  # a model that takes no labels does not look at them
    one_hot = np.eye(NUM_CLASSES)[LABELS]
    for given in ((x, one_hot), (dataset(x, one_hot),)):
        with pytest.raises(InputError, match="y must be left out, or be .*: VAE takes no labels; received"):
            twice.fit(*given, verbose=0)


def test_predict_of_a_dataset_takes_its_labels():
    model, x = registry.set_weights(registry.cvae(num_classes=NUM_CLASSES)), images()
    expected = model.predict(x, labels=LABELS, verbose=0)
    for source in (dataset, loader, Sequence):
        found = model.predict(source(x, LABELS), verbose=0)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(InputError, match="labels must be given"):
        model.predict(dataset(x), verbose=0)
    with pytest.raises(InputError, match="labels and mask must be None"):
        model.predict(dataset(x, LABELS), labels=LABELS, verbose=0)
    np.testing.assert_allclose(model.predict_on_batch(x, labels=LABELS), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.core_on("one")
def test_integers_of_a_range_of_their_own(tmp_path):
    x = np.random.default_rng(0).integers(0, 4096, (COUNT, *IMAGE_SHAPE)).astype("uint16")
    scaled = (x / 4095).astype("float32")
    model = compiled(registry.vae(seed=0, value_range=(0, 4095)))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.value_range == (0, 4095)
    plain = registry.set_weights(registry.vae(seed=0))
    for verb in ("encode", "reconstruct"):
        expected = getattr(plain, verb)(scaled)
        np.testing.assert_allclose(getattr(loaded, verb)(x), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(loaded.predict(x, verbose=0), plain.reconstruct(scaled), rtol=1e-5, atol=1e-6)
    loaded.fit(dataset(x), verbose=0)
    batches = kvg.data.Batches(x, batch_size=BATCH, shuffle=False, value_range=(0, 4095))
    np.testing.assert_allclose(batches[0][0], scaled[:BATCH], rtol=1e-6)
    for verb in (plain.encode, compiled(registry.vae()).fit):
        with pytest.raises(InputError, match=r"must lie in 0\.\.255 when integer; .*value_range="):
            verb(x)
    with pytest.raises(InputError, match=r"must lie in value_range, \(0, 4095\); received 0 to 4096"):
        loaded.encode(np.stack([np.zeros(IMAGE_SHAPE, "uint16"), np.full(IMAGE_SHAPE, 4096, "uint16")]))
    for bad in ((5, 5), (0,), (0.0, 1.0), "0:1", 4095):
        with pytest.raises(InputError, match="value_range must be two integers"):
            registry.vae(value_range=bad)


@pytest.mark.core_on("one")
def test_almost_black_images_are_warned_of():
    x = np.random.default_rng(0).integers(0, 17, (COUNT, *IMAGE_SHAPE)).astype("uint8")
    x[0, 0, 0] = 16
    model = compiled(registry.vae(seed=0))
    for given in (x, dataset(x)):
        with pytest.warns(UserWarning, match=r"x holds integers up to 16, .*value_range=\(0, 16\)"):
            model.fit(given, verbose=0)
    with pytest.warns(UserWarning, match=r"value_range=\(0, 16\)"):
        kvg.data.Batches(x)
    for given in (images() / 255, dataset(images() / 255)):
        with pytest.warns(UserWarning, match="divided by 255 twice"):
            model.fit(given, verbose=0)


# ---- sample weights ----


def test_sample_weights_count_in_losses_logs_and_scores(inject_noise):
    inject_noise()
    x, weight = images(), np.float32([1, 0, 2, 0, 0.5, 3, 0, 1])
    model = compiled(registry.vae(), rate=0.0)
    each = [model.evaluate(x[i : i + 1], verbose=0, return_dict=True) for i in range(COUNT)]
    averages = {log: np.average([one[log] for one in each], weights=weight) for log in model.log_names}
    y = np.zeros(COUNT)
    found = {
        "evaluate": model.evaluate(x, sample_weight=weight, verbose=0, batch_size=BATCH, return_dict=True),
        "test_on_batch": model.test_on_batch(x, sample_weight=weight, return_dict=True),
        "dataset": model.evaluate(dataset(x, y, weight), verbose=0, return_dict=True),
    }
    for validation in ((x, None, weight), (x, y, weight), dataset(x, y, weight)):
        history = model.fit(x, sample_weight=weight, validation_data=validation, **QUIET).history
        found[f"fit {type(validation)}"] = {log: history[log][0] for log in averages}
        found[f"validation {type(validation)}"] = {log: history[f"val_{log}"][0] for log in averages}
    for where, logs in found.items():
        for log, average in averages.items():
            assert logs[log] == pytest.approx(average, rel=1e-4), (where, log)


def test_images_of_weight_zero_do_not_train(inject_noise):
    inject_noise()
    x, weight = images(count=BATCH), np.float32([1, 1, 0, 0])
    half, without = compiled(registry.vae(), rate=0.1), compiled(registry.vae(), rate=0.05)
    half.fit(x, sample_weight=weight, **QUIET)
    without.fit(x[:2], **QUIET)  # the mean is over two, not four
    assert_equal(weights(half), weights(without), rtol=1e-5, atol=1e-6)
    for bad in (np.ones(3), -weight, np.full(BATCH, np.nan), np.ones((BATCH, 2))):
        with pytest.raises(InputError, match="sample_weight must"):
            half.fit(x, sample_weight=bad, **QUIET)


def test_sample_weights_with_few_labels(inject_noise):
    inject_noise()
    x, y = images(), np.where(np.arange(COUNT) % 2, LABELS, -1)
    model = compiled(registry.ssl_vae(), rate=0.0)
    weight = np.float32([1, 2, 0, 0, 1, 1, 0, 3])
    found = model.evaluate(x, y, sample_weight=weight, batch_size=COUNT, verbose=0, return_dict=True)
    each = [model.evaluate(x[i : i + 1], [LABELS[i]], verbose=0, return_dict=True) for i in range(COUNT)]
    expected = np.average([one["classification"] for one in each], weights=weight * (y >= 0))
    assert found["classification"] == pytest.approx(expected, rel=1e-4)


# ---- what a user's own networks add to the losses ----


@keras.saving.register_keras_serializable("test_sources")
class Added(keras.layers.Layer):
    """Adds three times its weight to the losses, each time that it is called."""

    def build(self, shape):
        self.own = self.add_weight(shape=(), initializer="ones", name="own")

    def call(self, x):
        self.add_loss(3.0 * self.own)
        return x


def own_networks(regularizer=None, added=False):
    def hidden(x, name):
        x = keras.layers.Dense(4, kernel_regularizer=regularizer, name=name)(keras.layers.Flatten()(x))
        return Added(name=f"{name}_added")(x) if added else x

    x = keras.Input(IMAGE_SHAPE)
    h = hidden(x, "look")
    heads = {name: keras.layers.Dense(2, name=name)(h) for name in ("mean", "log_variance")}
    encoder = keras.Model(x, heads, name="encoder")
    decoder = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(6, name="paint"), keras.layers.Reshape(IMAGE_SHAPE)],
        name="decoder",
    )
    x = keras.Input(IMAGE_SHAPE)
    h = hidden(x, "judge")
    outputs = {"logits": keras.layers.Dense(1, name="logits")(h), "features": h}
    return encoder, decoder, keras.Model(x, outputs, name="discriminator")


def kernels(model):
    networks = {"look": model.encoder, "judge": model.discriminator}
    return {name: ops.convert_to_numpy(net.get_layer(name).kernel) for name, net in networks.items()}


def test_regularizers_reach_the_player_that_owns_the_network(inject_noise):
    inject_noise()
    rate, factor, x = 0.01, 2.0, images(count=BATCH)
    plain, regularized = (
        compiled(kvg.VAEGAN(*own_networks(of)), rate) for of in (None, keras.regularizers.L2(factor))
    )
    before = kernels(plain)
    expected = factor * sum(np.square(kernel).sum() for kernel in before.values())
    evaluated = regularized.evaluate(x, verbose=0, return_dict=True)
    plain_logs, logs = (model.fit(x, **QUIET).history for model in (plain, regularized))
    assert logs["regularization"] == [pytest.approx(expected, rel=1e-5)]
    assert evaluated["regularization"] == pytest.approx(expected, rel=1e-5)
    assert "regularization" not in plain_logs
    for player, name in (("generator", "look"), ("discriminator", "judge")):
        penalty = factor * np.square(before[name]).sum()
        assert logs[player][0] - plain_logs[player][0] == pytest.approx(penalty, rel=1e-3)
        moved = kernels(regularized)[name] - kernels(plain)[name]
        np.testing.assert_allclose(moved, -rate * 2 * factor * before[name], rtol=1e-3, atol=1e-6)
    assert logs["loss"] == [pytest.approx(plain_logs["loss"][0], rel=1e-5)]  # always the bound


@pytest.mark.parametrize("r1", [0.0, 1.0])
def test_add_loss_counts_once_for_each_call_of_a_network(r1, inject_noise):
    inject_noise()
    rate = 0.01
    model = compiled(kvg.VAEGAN(*own_networks(added=True), game={"r1": r1}), rate)
    for network in (model.encoder, model.discriminator):
        for weight in network.weights:
            if weight.path.endswith("own"):
                weight.assign(1.0)
    history = model.fit(images(count=BATCH), **QUIET).history
    # The encoder sees the images; D sees them, the reconstructions and the samples.
    assert history["regularization"] == [pytest.approx(3.0 * 1 + 3.0 * 3, rel=1e-5)]
    for network, layer, calls in ((model.encoder, "look", 1), (model.discriminator, "judge", 3)):
        own = ops.convert_to_numpy(network.get_layer(f"{layer}_added").own)
        np.testing.assert_allclose(own, 1.0 - rate * 3.0 * calls, rtol=1e-5)


def test_activity_regularizers_are_among_them(inject_noise):
    inject_noise()
    x = keras.Input(IMAGE_SHAPE)
    h = keras.layers.ActivityRegularization(l2=1.0)(keras.layers.Dense(4)(keras.layers.Flatten()(x)))
    heads = {name: keras.layers.Dense(2, name=name)(h) for name in ("mean", "log_variance")}
    encoder = keras.Model(x, heads, name="encoder")
    decoder = keras.Sequential([keras.Input((2,)), keras.layers.Dense(6), keras.layers.Reshape(IMAGE_SHAPE)])
    model = compiled(kvg.VAE(encoder, decoder), rate=0.0)
    history = model.fit(images(count=BATCH), **QUIET).history
    hidden = keras.Model(encoder.input, encoder.layers[2].output)(images(count=BATCH))
    expected = np.square(ops.convert_to_numpy(hidden)).sum() / BATCH  # Keras' mean over the batch
    assert history["regularization"] == [pytest.approx(expected, rel=1e-4)]


# ---- networks and their state ----


@pytest.mark.core_on("one")
def test_sequential_networks_work_and_others_are_refused(tmp_path, inject_noise):
    inject_noise()
    model = compiled(kvg.VAE(*own_networks()[:2]))
    model.fit(images(), **QUIET)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.generate(3, seed=1), model.generate(3, seed=1), rtol=1e-5)
    model.save_to_preset(tmp_path / "preset")
    again = kvg.VAE.from_preset(tmp_path / "preset")
    np.testing.assert_allclose(again.generate(3, seed=1), model.generate(3, seed=1), rtol=1e-5)

    class Own(keras.Model):
        def call(self, x):
            return x

    encoder, decoder, _ = own_networks()
    for bad, error in (
        (Own(), "decoder must be a functional or Sequential model; received a Own"),
        (keras.Sequential([keras.layers.Dense(6)]), r"decoder must know its input: .*keras\.Input"),
        (keras.layers.Dense(6), "decoder must be a Keras model; received a Dense"),
        (None, "decoder must be a Keras model; received a NoneType"),
    ):
        with pytest.raises(InputError, match=error):
            kvg.VAE(encoder, bad)
    with pytest.raises(InputError, match="encoder must be a functional or Sequential model"):
        kvg.VAE(Own(), decoder)
    with pytest.raises(InputError, match="discriminator must be a functional or Sequential model"):
        kvg.VAEGAN(encoder, decoder, Own())


def test_trainable_changed_after_compile_asks_for_another_compile():
    model = compiled(registry.vae_gan(seed=0))
    model.fit(images(), **QUIET)
    layer = next(layer for layer in model.encoder.layers if layer.weights)
    frozen = [ops.convert_to_numpy(weight) for weight in layer.weights]
    layer.trainable = False
    for step in (model.fit, model.train_on_batch):
        with pytest.raises(InputError, match=r"compile\(\) must be called again"):
            step(images())
    model.compile()
    frozen = [ops.convert_to_numpy(weight).copy() for weight in layer.weights]
    model.fit(images(), **QUIET)
    assert_equal([ops.convert_to_numpy(weight) for weight in layer.weights], frozen, rtol=0)


def test_a_step_that_fails_leaves_the_model_as_it_was():
    model = compiled(registry.vae(seed=0))
    before = weights(model)
    for bad in (dataset(np.zeros((4, 5, 5, 1), "float32")), {"image": images()}):
        with pytest.raises(InputError):
            model.fit(bad, verbose=0)
    assert_equal(weights(model), before, rtol=0)
    assert np.isfinite(model.evaluate(images(), verbose=0)).all()


# ---- codes, seeds and counts ----


@pytest.mark.core_on("one")
def test_codes_seeds_and_counts_that_will_not_do():
    model, x = registry.set_weights(registry.vae()), images()
    for z, error in (
        (np.full((1, 2), np.nan), "z must be finite"),
        (np.full((1, 2), np.inf), "z must be finite"),
        (np.full((1, 2), 1j), "z must be codes, as numbers; received dtype complex128"),
        (np.array([["a", "b"]]), "z must be codes, as numbers"),
        ([[1.0], [1.0, 2.0]], "rows of unequal length"),
    ):
        with pytest.raises(InputError, match=error):
            model.decode(z)
    for seed in (2**40, -1, 1.5, True, "1"):
        with pytest.raises(InputError, match="seed must be an integer"):
            registry.vae(seed=seed)
    assert registry.vae(seed=np.int64(3)).seed == 3
    np.testing.assert_array_equal(model.generate(2, seed=np.int64(2**40)), model.generate(2, seed=2**40))
    for call in (
        lambda: model.generate(10**13),
        lambda: model.interpolate(x[0], x[1], steps=10**13),
        lambda: model.log_likelihood(x, num_samples=10**13),
        lambda: registry.cvae(given=True).complete(x, "left", num_samples=10**13),
    ):
        with pytest.raises(InputError, match="must fit into memory: it needs .* TB"):
            call()
    assert registry.cvae(num_classes=NUM_CLASSES).generate(2, start=2**70).shape == (2, *IMAGE_SHAPE)
    assert model.encode(x, batch_size=10**15).shape == (COUNT, 2)


@pytest.mark.core_on("one")
@pytest.mark.parametrize("weight", [-1.0, np.nan, np.inf])
@pytest.mark.parametrize("verb", ["fit", "evaluate"])
def test_sample_weights_of_datasets_are_checked_as_those_of_arrays(verb, weight):
    model = compiled(registry.MODELS["vae"](IMAGE_SHAPE))
    before = weights(model)
    batch = (images(), LABELS, np.where(np.arange(COUNT) == 1, weight, 1.0).astype("float32"))
    sources = [dataset(*batch), (one for one in [batch]), iter([list(batch)])]
    for source in sources:
        with pytest.raises(InputError, match="sample_weight.* must hold finite numbers of at least 0"):
            getattr(model, verb)(source, verbose=0)
    assert_equal(before, weights(model))


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_generators_are_looked_at_before_the_first_step_and_lose_no_batch():
    model = compiled(registry.MODELS["vae"](IMAGE_SHAPE))
    with pytest.raises(InputError, match="must give a batch at least"):
        model.fit(iter([]), verbose=0)
    with pytest.raises(InputError, match=r"must give batches \(x,\), \(x, y\)"):
        model.fit(iter([{"image": images()}]), verbose=0)
    x = images()
    whole = model.evaluate(x, verbose=0, batch_size=BATCH)
    halves = (list(one) for one in [(x[:BATCH],), (x[BATCH:],)])
    np.testing.assert_allclose(whole, model.evaluate(halves, verbose=0), rtol=0.1)
    with pytest.raises(InputError, match="must lie in"):
        model.fit((one for one in [(2 * x + 1,)]), verbose=0)
