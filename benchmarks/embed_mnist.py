"""Make `mnist_small`, the 12,000 MNIST digits that come with the package, from the four original files.

    python -m benchmarks.embed_mnist FOLDER keras_vaegan/data/embedded

FOLDER has `train-images-idx3-ubyte.gz` and the other three files of MNIST. Of each class, the training split
gets the first 1,000 images of MNIST's training set in their order, the validation split the next 100, and the
test split the first 100 of MNIST's test set. The name of the file has the first 12 hexadecimal digits of the
SHA-256 of all bytes of the arrays.
"""

import argparse
import gzip
import hashlib
import io
import pathlib
import zipfile

import numpy as np

SPLITS = (("train", "train", 0, 1000), ("val", "train", 1000, 1100), ("test", "t10k", 0, 100))


def read(folder, which):
    """Images `(N, 28, 28)` and labels `(N,)` uint8 of the original files."""
    with gzip.open(folder / f"{which}-images-idx3-ubyte.gz") as images:
        x = np.frombuffer(images.read(), "uint8", offset=16).reshape(-1, 28, 28)
    with gzip.open(folder / f"{which}-labels-idx1-ubyte.gz") as labels:
        return x, np.frombuffer(labels.read(), "uint8", offset=8)


def chosen(folder):
    """The arrays of the file: `x_train`, `y_train`, `x_val`, `y_val`, `x_test`, `y_test`."""
    arrays = {}
    for split, which, first, last in SPLITS:
        x, y = read(folder, which)
        rows = np.sort(np.concatenate([np.flatnonzero(y == k)[first:last] for k in range(10)]))
        arrays |= {f"x_{split}": x[rows], f"y_{split}": y[rows]}
    return arrays


def digest(arrays):
    """The SHA-256 of all bytes of the arrays, in their order."""
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays.values())).hexdigest()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", type=pathlib.Path, help="with the original files")
    parser.add_argument("output", type=pathlib.Path, help="folder to write into")
    options = parser.parse_args()
    arrays = chosen(options.folder)
    path = options.output / f"mnist_small_{digest(arrays)[:12]}.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.save(content, array)
            # A fixed date: the same arrays give the same file.
            entry = zipfile.ZipInfo(f"{name}.npy", (1998, 1, 1, 0, 0, 0))
            archive.writestr(entry, content.getvalue(), zipfile.ZIP_LZMA)
    print(path, path.stat().st_size)


if __name__ == "__main__":
    main()
