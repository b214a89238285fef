"""A decoder as a SavedModel, as LiteRT and as ONNX, each run without the Keras model, and compared with it.

    python examples/ship.py --output shipped/ [--source cvae_gan_mnist] [--quick]

Needs `pip install "keras-vaegan[export]"`.
"""

import numpy as np
from common import parsed, trained

from keras_vaegan import plots, presets

COUNT = 10


def main():
    """Export, run and compare."""
    options, data = parsed(__doc__, {"source": "cvae_gan_mnist"})
    model = trained("cvae_gan", data) if options.quick else presets.load_source(options.source)[0]
    noise = np.random.default_rng(options.seed).normal(size=(COUNT, *model.code_shape)).astype("float32")
    labels = np.arange(COUNT, dtype="int32") % (model.num_classes or 1)
    inputs = {"noise": noise, **({"labels": labels} if model.num_classes else {})}
    expected = model.decode(noise, *([labels] if model.num_classes else []))

    saved, lite, onnx = (options.output / name for name in ("saved", "generate.tflite", "generate.onnx"))
    model.export(saved, overwrite=True, verbose=False)
    model.export(lite, "litert", signature="generate", overwrite=True, verbose=False)
    model.export(onnx, "onnx", signature="generate", overwrite=True, verbose=False)
    for name, run in (("SavedModel", run_saved), ("LiteRT", run_lite), ("ONNX", run_onnx)):
        path = {"SavedModel": saved, "LiteRT": lite, "ONNX": onnx}[name]
        pixels = run(path, inputs)
        print(f"{name}: largest difference from Keras {np.abs(pixels - expected).max():.1e}")
    plots.save_grid(pixels, options.output / "shipped.png", columns=COUNT)
    print(f"look at {options.output / 'shipped.png'}, drawn by ONNX Runtime")


def run_saved(path, inputs):
    """Pixels from a SavedModel, as TensorFlow Serving would answer."""
    import tensorflow as tf

    signature = tf.saved_model.load(path).signatures["generate"]
    return signature(**{name: tf.constant(value) for name, value in inputs.items()})["pixels"].numpy()


def run_lite(path, inputs):
    """Pixels from a LiteRT file, as a phone would compute them."""
    from ai_edge_litert.interpreter import Interpreter

    return Interpreter(str(path)).get_signature_runner("serving_default")(**inputs)["pixels"]


def run_onnx(path, inputs):
    """Pixels from an ONNX file."""
    import onnxruntime

    return onnxruntime.InferenceSession(path).run(["pixels"], inputs)[0]


if __name__ == "__main__":
    main()
