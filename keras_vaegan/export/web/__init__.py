"""A page that runs a model in the browser: no server behind it, and no request leaves its folder."""

import base64
import contextlib
import hashlib
import json
import pathlib
import shutil
import subprocess
import tarfile
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_vaegan.errors import InputError, one_line
from keras_vaegan.export.converters import write_onnx
from keras_vaegan.files import atomic_folder, cache_folder, kept_or_passing, scratch_folder
from keras_vaegan.pages import render

if TYPE_CHECKING:
    from keras_vaegan.export.job import Job
    from keras_vaegan.models.latent import LatentVariableModel

PACKAGE, VERSION = "onnxruntime-web", "1.22.0"
INTEGRITY = "sha512-Ud/+EBo6mhuaQWt/OjaOk0iNWjXqJoeeMFr6xQEERZdIZH2OWpGzuujz7lfuOBjUa6TEE/sc4nb7Da5dNL34fg=="
SCRIPT, GLUE, BINARY = "ort.wasm.min.js", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"
NUM_EXAMPLES = 8


def runtime_folder(folder: pathlib.Path | None) -> pathlib.Path:
    """Folder with the three files of ONNX Runtime Web: the one given, or the cache, filled by npm.

    Raises:
        InputError: a folder without the files, no npm, no network, or a package that is not the pinned one.
    """
    if folder is not None:
        for place in (folder, folder / "dist", folder / "package" / "dist"):
            if all((place / name).is_file() for name in (SCRIPT, GLUE, BINARY)):
                return place
        raise InputError(
            f"runtime must be a folder with {SCRIPT}, {GLUE} and {BINARY} of {PACKAGE}; received {folder}."
        )
    name = f"{PACKAGE}-{VERSION}"
    with contextlib.suppress(InputError):  # no home folder
        if (cache_folder() / name).is_dir():
            return cache_folder() / name
    cache = kept_or_passing(name)
    _fetch(cache)
    return cache


def write_page(model: "LatentVariableModel", job: "Job", examples: dict[str, np.ndarray]) -> None:
    """Write `index.html`, `model.js` and `runtime.js` into the folder of a job."""
    functions = model.functions(job.image_size)
    shown = ["canvases" if "canvases" in functions else "generate"]
    shown += ["complete"] if model.completes else []
    networks = {}
    with scratch_folder() as scratch:
        for name in shown:
            path = scratch / f"{name}.onnx"
            write_onnx(model, name, functions[name], path)
            networks[name] = _text(path.read_bytes())
    facts: dict[str, Any] = {
        "image_shape": functions["generate"].outputs["pixels"].shape,
        "code_shape": functions["generate"].inputs["noise"].shape,
        "num_classes": model.num_classes or 0,
        "class_names": job.facts.get("class_names"),
        "networks": networks,
    }
    if model.completes:
        facts |= _for_completion(model, examples)
    folder, runtime = pathlib.Path(job.path), pathlib.Path(job.runtime or "")
    (folder / "model.js").write_text(f"const MODEL = {json.dumps(facts)};\n", encoding="utf-8")
    parts = {name: _text((runtime / file).read_bytes()) for name, file in (("glue", GLUE), ("wasm", BINARY))}
    script = (runtime / SCRIPT).read_text(encoding="utf-8")
    (folder / "runtime.js").write_text(f"{script}\nconst RUNTIME = {json.dumps(parts)};\n", encoding="utf-8")
    page = render("web/page.html.jinja", title=job.facts.get("name") or type(model).__name__, version=VERSION)
    (folder / "index.html").write_text(page, encoding="utf-8")


def _for_completion(model: Any, examples: dict[str, np.ndarray]) -> dict[str, Any]:
    """The masks that the model knows by name, and images to begin with."""
    from keras_vaegan.data import named_mask
    from keras_vaegan.data.masks import NAMED

    names = [name for name in model.masks if name in NAMED] or list(NAMED)
    masks = {name: named_mask(name, model.image_shape).astype(int).ravel().tolist() for name in names}
    pictures = np.round(examples["images"][:NUM_EXAMPLES] * 255).astype("uint8")
    return {"masks": masks, "examples": [_text(picture.tobytes()) for picture in pictures]}


def _fetch(cache: pathlib.Path) -> None:
    """Fill the cache with the files of the pinned package."""
    npm = shutil.which("npm")
    if npm is None:
        raise InputError(
            f"runtime must be given: npm, which would fetch {PACKAGE}@{VERSION}, is not installed."
        )
    with scratch_folder() as scratch:
        asked = [npm, "pack", f"{PACKAGE}@{VERSION}", "--silent", "--pack-destination", str(scratch)]
        done = subprocess.run(asked, capture_output=True, text=True, cwd=scratch)
        packed = list(scratch.glob("*.tgz"))
        if done.returncode or len(packed) != 1:
            message = one_line(done.stderr or done.stdout)[-300:]
            raise InputError(f"runtime must be given: npm cannot fetch {PACKAGE}@{VERSION}: {message}")
        content = packed[0].read_bytes()
        if f"sha512-{_text(hashlib.sha512(content).digest())}" != INTEGRITY:
            raise InputError(f"runtime must be given: what npm fetched is not {PACKAGE}@{VERSION}.")
        with tarfile.open(packed[0]) as archive, atomic_folder(cache) as folder:
            for name in (SCRIPT, GLUE, BINARY):
                member = archive.extractfile(f"package/dist/{name}")
                assert member is not None
                (folder / name).write_bytes(member.read())


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
