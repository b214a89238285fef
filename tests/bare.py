"""Runs what was exported where neither Keras nor this package can be imported.

    python bare.py saved_model|serving|tflite|onnx PATH INPUTS.npz OUTPUTS.npz

The arrays' names are `function/tensor`, or `function@case/tensor` for several calls of one function.
"""

import collections
import functools
import json
import pathlib
import sys

for name in ("keras", "keras_vaegan", "tf_keras"):
    sys.modules[name] = None  # what `import` takes for a package that cannot be had

import numpy as np  # noqa: E402


def saved_model(path):
    """A call of each signature, by `tf.saved_model.load`."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))

    def call(name, inputs):
        return loaded.signatures[name](**{key: tf.constant(value) for key, value in inputs.items()})

    return call


def serving(path):
    """A call of each signature by way of a PredictRequest and the signature map, as a server does it."""
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2

    session = tf.compat.v1.Session(graph=tf.Graph())
    graph = tf.compat.v1.saved_model.load(session, ["serve"], str(path))

    def answer(request):
        signature = graph.signature_def[request.model_spec.signature_name or "serving_default"]
        assert set(request.inputs) == set(signature.inputs), (set(request.inputs), set(signature.inputs))
        feed = {signature.inputs[key].name: tf.make_ndarray(of) for key, of in request.inputs.items()}
        fetch = {key: info.name for key, info in signature.outputs.items()}
        return session.run(fetch, feed)

    def call(name, inputs):
        request = predict_pb2.PredictRequest()
        request.model_spec.signature_name = name
        for key, value in inputs.items():
            request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
        return answer(predict_pb2.PredictRequest.FromString(request.SerializeToString()))

    # The requests to warm up, and the body for curl: rows of named values, one for each image.
    from tensorflow_serving.apis import prediction_log_pb2

    records = tf.compat.v1.io.tf_record_iterator(str(path / "assets.extra" / "tf_serving_warmup_requests"))
    warmed = []
    for record in records:
        log = prediction_log_pb2.PredictionLog.FromString(record)
        assert all(len(value) == 2 for value in answer(log.predict_log.request).values())
        warmed.append(log.predict_log.request.model_spec.signature_name)
    body = json.loads((path.parent / "request.json").read_text())
    info = graph.signature_def[body["signature_name"]].inputs
    columns = {
        key: np.asarray([row[key] for row in body["instances"]], tf.as_dtype(info[key].dtype).as_numpy_dtype)
        for key in info
    }
    predicted = call(body["signature_name"], columns)
    print(json.dumps({"warmed": warmed, "curl": {key: list(of.shape) for key, of in predicted.items()}}))
    return call


def tflite(path):
    """A call of each file of a folder; it says which operators are no built-in ones."""
    from ai_edge_litert.interpreter import Interpreter

    @functools.cache  # further calls resize what the first has allocated
    def runner(name):
        interpreter = Interpreter(model_path=str(path / f"{name}.tflite"))
        for detail in interpreter._get_ops_details():
            assert not detail["op_name"].startswith("Flex") and detail["op_name"] != "CUSTOM", detail
        return interpreter.get_signature_runner("serving_default")

    return lambda name, inputs: runner(name)(**inputs)


def onnx(path):
    """A call of each file of a folder, by ONNX Runtime."""
    import onnx
    import onnxruntime

    def call(name, inputs):
        onnx.checker.check_model(str(path / f"{name}.onnx"), full_check=True)
        session = onnxruntime.InferenceSession(str(path / f"{name}.onnx"))
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(names, inputs), strict=True))

    return call


def main(format, path, given, made):
    """Call every function that there are inputs for."""
    inputs = collections.defaultdict(dict)
    with np.load(given) as file:
        for key in file:
            function, tensor = key.split("/")
            inputs[function][tensor] = file[key]
    call = globals()[format](pathlib.Path(path))
    outputs = {}
    for function, values in inputs.items():
        for tensor, value in call(function.partition("@")[0], values).items():
            outputs[f"{function}/{tensor}"] = np.asarray(value)
    np.savez(made, **outputs)


if __name__ == "__main__":
    main(*sys.argv[1:])
