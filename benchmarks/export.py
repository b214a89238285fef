"""Exported presets: size, how far their numbers are from Keras', and how long one image takes.

    python benchmarks/export.py --manual-dir MNIST
    python benchmarks/export.py --presets cvae_gan_mnist draw_mnist --manual-dir MNIST

Every function of LiteRT in three precisions, and of ONNX, on the CPU, one thread, one image at a time. Times
are ratios to Keras' `predict_on_batch` of the same function in the same process, in turns, so that a busy
machine slows both. Int8 takes its ranges from 200 training images; errors are on 200 test images.
Writes `benchmarks/results/export.md`.
"""

import argparse
import datetime
import pathlib
import platform
import tempfile
import time

import numpy as np
import tensorflow as tf
from command import add_data_options

import keras_vaegan as kvg
from keras_vaegan import presets
from keras_vaegan.export import formats
from keras_vaegan.files import atomic_path
from keras_vaegan.functions import Served
from keras_vaegan.metrics.features import shipped

RESULTS = pathlib.Path(__file__).parent / "results"
FORMATS = (("tflite", "float32"), ("tflite", "float16"), ("tflite", "int8"), ("onnx", "float32"))
COUNT, CALLS, ROUNDS = 200, 20, 5
SHOWN = ("generate", "encode", "classify", "complete", "canvases")


def main():
    """Export, run and tabulate."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--presets", nargs="+", default=presets.trained_presets())
    add_data_options(parser)
    options = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    rows = []
    for name in options.presets:
        model, metadata = presets.load_source(name)
        data = None
        if metadata["dataset"] == "mnist":
            data = kvg.data.load("mnist", data_dir=options.data_dir, manual_dir=options.manual_dir)
        for row in rows_of(name, model, data):
            print(row, flush=True)
            rows.append(row)
    lines = [
        "# Exported presets",
        "",
        f"`python benchmarks/export.py --presets {' '.join(options.presets)}`, {platform.machine()}, "
        f"one thread, {datetime.date.today()}. Error: "
        "mean absolute difference to Keras in float32 (pixels in [0, 1], probabilities, codes in their own "
        "unit). Agreement: the share of images of the class that was asked for, by the classifier "
        "`mnist_plain`, in Keras and exported; of `classify`, the share with Keras' class. Time: that of one "
        "image, as a ratio to Keras on TensorFlow, median (least to most) of five rounds.",
        "",
        "| preset | function | format | KiB | error | agreement, Keras | exported | time, ratio |",
        "|---|---|---|---|---|---|---|---|",
        *rows,
    ]
    with atomic_path(RESULTS / "export.md") as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def rows_of(name, model, data):
    """The table's rows of a preset."""
    if data is None:
        images, labels = model.generate(2 * COUNT, seed=0), model.labels_in_turn(2 * COUNT)
        training, test = (images[:COUNT], labels), (images[COUNT:], labels)
    else:
        training, test = data.train, data.test
    examples = {"images": test[0][:COUNT]}
    if model.num_classes is not None:
        examples["labels"] = np.asarray(test[1][:COUNT], "int32")
        training = (training[0][:COUNT], training[1][:COUNT])
    else:
        training = training[0][:COUNT]
    for key, function in model.functions().items():
        if key not in SHOWN:
            continue
        inputs = formats.arguments(model, function, examples)
        served = Served(model, function.call, key)
        expected = served.predict(inputs, batch_size=50, verbose=0)
        for format, precision in FORMATS:
            with tempfile.TemporaryDirectory() as scratch:
                suffix = ".tflite" if format == "tflite" else ".onnx"
                path = pathlib.Path(scratch, f"m{suffix}")
                settings = {"precision": precision, "signature": key}
                model.export(path, format, verbose=False, data=training, **settings)
                call = runner(format, path)
                made = call(inputs)
                ratios = timed(call, served.predict_on_batch, {k: v[:1] for k, v in inputs.items()})
                size = path.stat().st_size / 1024
            error = max(np.abs(made[out] - expected[out]).mean() for out in expected)
            agreement = agreements(key, data, expected, made, examples)
            yield (
                f"| `{name}` | `{key}` | {format} {precision} | {size:.0f} | {error:.1e} | {agreement} | "
                f"{np.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) |"
            )


def runner(format, path):
    """A function of named arrays that runs a file on one thread."""
    if format == "tflite":
        from ai_edge_litert.interpreter import Interpreter

        run = Interpreter(model_path=str(path), num_threads=1).get_signature_runner("serving_default")
        return lambda inputs: run(**inputs)
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), settings)
    names = [output.name for output in session.get_outputs()]
    return lambda inputs: dict(zip(names, session.run(names, inputs), strict=True))


def timed(call, keras_call, inputs):
    """Ratios of the time of one call to that of Keras, round by round."""
    ratios = []
    for _ in range(ROUNDS):
        seconds = []
        for one in (call, keras_call):
            one(inputs)
            start = time.perf_counter()
            for _ in range(CALLS):
                one(inputs)
            seconds.append(time.perf_counter() - start)
        ratios.append(seconds[0] / seconds[1])
    return ratios


def agreements(key, data, expected, made, examples):
    """Two cells: how often pictures are of the class asked for; or classes are the same."""
    if key == "classify":
        same = made["probabilities"].argmax(axis=1) == expected["probabilities"].argmax(axis=1)
        return f" | {same.mean():.3f}"
    if data is None or "labels" not in examples or "pixels" not in expected:
        return " | "
    classifier = shipped("mnist_plain")
    shares = [
        (classifier.extract(one["pixels"]).probabilities.argmax(axis=1) == examples["labels"]).mean()
        for one in (expected, made)
    ]
    return f"{shares[0]:.3f} | {shares[1]:.3f}"


if __name__ == "__main__":
    main()
