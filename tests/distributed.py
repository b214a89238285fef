"""Trains a model of the registry on several devices that this process makes of one CPU, or in processes.

    python distributed.py MODEL DEVICES NOISE WEIGHTS.npz

DEVICES is `processes` where the environment names those that train together.

NOISE is `zero`, which is the same on any number of devices, `own`, or `rest`, with images whose last batch
the devices cannot share. SGD, whose steps show the scale of a gradient. Writes the weights after 20 steps;
prints the metrics, and noise that each device drew.
"""

import json
import os
import sys

name, devices, noise, path = sys.argv[1:]
count = 1 if devices == "processes" else int(devices)
flags = os.environ.get("XLA_FLAGS", "")  # those of `conftest`, with which JAX compiles faster
os.environ["XLA_FLAGS"] = f"{flags} --xla_force_host_platform_device_count={count}"

import keras  # noqa: E402
import numpy as np  # noqa: E402
import registry  # noqa: E402

from keras_vaegan import backend  # noqa: E402
from keras_vaegan.data import Batches  # noqa: E402

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf
if keras.backend.backend() == "tensorflow" and count > 1:
    processor = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * count)
if noise == "zero":
    keras.random.normal = lambda shape, *arguments, **settings: keras.ops.zeros(shape, "float32")
keras.utils.set_random_seed(0)  # processes that train together must begin alike

drawn = []
with backend.distribution("none" if devices == "1" else "data"):
    worker, sharing = backend.worker(), {"multiple": backend.shares(), "part": backend.part()}
    model = registry.set_weights(registry.MODELS[name]())
    model.compile({player: keras.optimizers.SGD(0.05, momentum=0.9) for player in model.players})
    if noise == "own" and keras.backend.backend() == "tensorflow":
        draw = tf.function(lambda: keras.random.normal((3,), seed=model.seed_generator))
        strategy = tf.distribute.get_strategy()
        drawn = [value.numpy().tolist() for value in strategy.experimental_local_results(strategy.run(draw))]
x, *y = registry.data(model, 32)
if y and (y[0] < 0).any():  # as many labels on each device
    y = [np.where(np.arange(32) % 2, registry.labels(32), -1)]
if noise == "rest":
    batches = Batches(x[:25], *(labels[:25] for labels in y), batch_size=8, **sharing)
    assert len(batches) == 3
    history = model.fit(batches, epochs=2, verbose=0).history
else:
    batches = Batches(x, *y, batch_size=8, shuffle=False, **sharing)
    history = model.fit(batches, epochs=5, verbose=0).history
images = model.generate(3, seed=0)
weights = {f"{i:03d}": value for i, value in enumerate(model.get_weights())}
if worker.rank == 0:
    np.savez(path, images=images, **weights)
print(json.dumps({"metrics": {key: values[-1] for key, values in history.items()}, "drawn": drawn}))
