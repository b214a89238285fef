"""Plots: grids of images, curves of a training, views of the latent space.

Images are `(N, H, W, C)` in [0, 1]. Nothing here imports a backend.
"""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from keras_vaegan.errors import InputError, one_line
from keras_vaegan.files import atomic_path

if TYPE_CHECKING:
    import matplotlib.figure
    import PIL.Image

PADDING = 2  # pixels between the images of a grid
BOX = (220, 50, 32)  # of a glimpse
LAST_FRAME = 1500  # milliseconds for which a finished drawing stands
MOST_COLUMNS = 20  # of a grid with a column for each class
HIDDEN = 0.5  # grey of a pixel that is not given
MOST_NAMED = 40  # classes in a legend; more would be wider or longer than the plot
NAME_LENGTH = 30  # characters of a class name in a legend
MIN_SIDE = 56  # images smaller than this are enlarged by a whole factor, so that they can be seen


def grid(images: ArrayLike, columns: int | None = None) -> np.ndarray:
    """One image of many: `(N, H, W, C)` -> `(rows, columns)` on white, `(H', W', C)` float32.

    Args:
        images: `(N, H, W, C)` in [0, 1].
        columns: images in a row; about square when not given.

    Raises:
        InputError: images that are not `(N, H, W, C)` with N > 0.
    """
    images = np.asarray(images, "float32")
    if images.ndim != 4 or not len(images):
        raise InputError(f"images must be (N, H, W, C) with N > 0; received {images.shape}.")
    columns = columns or math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    _, height, width, channels = images.shape
    sheet = np.ones((rows * (height + PADDING) + PADDING, columns * (width + PADDING) + PADDING, channels))
    for i, image in enumerate(images):
        top = PADDING + i // columns * (height + PADDING)
        left = PADDING + i % columns * (width + PADDING)
        sheet[top : top + height, left : left + width] = image
    return sheet.astype("float32")


def class_columns(num_classes: int | None, num_images: int = 0) -> int | None:
    """Columns of a grid whose images are of all classes in turn, so that a column is of one class.

    One for each class, or as many times that as make the grid of `num_images` about square; None where
    that is too wide.
    """
    if num_classes is None or not 1 < num_classes <= MOST_COLUMNS:
        return None
    return num_classes * max(1, round(math.sqrt(num_images) / num_classes))


def as_picture(image: ArrayLike) -> "PIL.Image.Image":
    """A PIL image of one image `(H, W, C)` in [0, 1].

    One channel is gray, three are RGB, four RGBA; two are shown as red and green, and of more than four
    the first three as RGB.
    """
    from PIL import Image

    pixels = (np.clip(image, 0.0, 1.0) * 255.0).round().astype("uint8")
    if pixels.shape[-1] == 1:
        return Image.fromarray(pixels[..., 0])
    if pixels.shape[-1] == 2:
        pixels = np.concatenate([pixels, np.zeros_like(pixels[..., :1])], axis=-1)
    return Image.fromarray(np.ascontiguousarray(pixels[..., :3]) if pixels.shape[-1] > 4 else pixels)


def opaque(picture: "PIL.Image.Image") -> "PIL.Image.Image":
    """A PIL image in RGB; one with alpha is laid on white, as its hidden colors are not to be seen."""
    from PIL import Image

    if picture.mode != "RGBA":
        return picture.convert("RGB")
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")


def save_grid(images: ArrayLike, path: str | os.PathLike[str], columns: int | None = None) -> None:
    """Write a grid of images `(N, H, W, C)` as a PNG; small images are enlarged."""
    from PIL import Image

    images = np.asarray(images)
    scale = max(1, math.ceil(MIN_SIDE / max(images.shape[1:3])))
    picture = as_picture(grid(images, columns))
    picture = picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)
    with atomic_path(path) as temporary:
        picture.save(temporary)


def save_animation(
    canvases: np.ndarray,
    centres: np.ndarray,
    sizes: np.ndarray,
    path: str | os.PathLike[str],
    columns: int | None = None,
    frame: int = 120,
) -> None:
    """Write how images come about as a GIF: a grid, step by step, with a box around each glimpse.

    Args:
        canvases: `(N, T, H, W, C)` in [0, 1].
        centres: `(N, T, 2)` of the glimpses, height first, in pixels.
        sizes: `(N, T)`, the sides of the glimpses in pixels.
        path: of the GIF; a finished drawing stands for a while, without boxes, before it begins again.
        columns: images in a row; about square when not given.
        frame: milliseconds of a step.
    """
    from PIL import Image, ImageDraw

    count, steps, height, width = canvases.shape[:4]
    scale = max(1, math.ceil(MIN_SIDE / max(height, width)))
    columns = columns or math.ceil(math.sqrt(count))
    frames = []
    for t in range(steps):
        picture = opaque(as_picture(grid(canvases[:, t], columns)))
        picture = picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)
        frames.append(picture.copy())
        pen = ImageDraw.Draw(frames[-1])
        for i in range(count):
            # Pixel p covers p to p + 1; the box of a glimpse reaches from middle to middle of its filters.
            corner = np.array([i // columns * (height + PADDING), i % columns * (width + PADDING)]) + PADDING
            ends = [centres[i, t] + 0.5 + side * 0.5 * sizes[i, t] for side in (-1.0, 1.0)]
            top, left, bottom, right = np.concatenate(
                [np.clip(corner + end, corner, corner + (height, width)) * scale for end in ends]
            )
            if bottom > top and right > left:  # none around a glimpse outside of the image
                pen.rectangle((left, top, right - 1, bottom - 1), outline=BOX, width=max(1, scale // 2))
    with atomic_path(path) as temporary:
        frames[0].save(
            temporary,
            format="GIF",
            save_all=True,
            append_images=[*frames[1:], picture],
            duration=[frame] * steps + [LAST_FRAME],
            loop=0,
        )


def save_reconstructions(
    images: np.ndarray, reconstructions: np.ndarray, path: str | os.PathLike[str], columns: int = 16
) -> None:
    """Write rows of images, each above its reconstructions; both `(N, H, W, C)`."""
    rows = []
    for i in range(0, len(images), columns):
        rows += [
            _filled(images[i : i + columns], columns),
            _filled(reconstructions[i : i + columns], columns),
        ]
    save_grid(np.concatenate(rows), path, columns)


def save_completions(
    images: np.ndarray, mask: np.ndarray, completions: np.ndarray, path: str | os.PathLike[str]
) -> None:
    """Write a row for each image: the given part on grey, its completions, the original.

    Args:
        images: `(N, H, W, C)`.
        mask: `(H, W)` or `(N, H, W)`, True where visible.
        completions: `(N, samples, H, W, C)`.
        path: of the PNG.
    """
    hidden = np.full(images.shape[-1], HIDDEN)
    hidden[3:4] = 1.0  # of four channels the last is alpha
    given = np.where(np.broadcast_to(mask, images.shape[:3])[..., None], images, hidden)
    rows = np.concatenate([given[:, None], completions, images[:, None]], axis=1)
    save_grid(rows.reshape(-1, *images.shape[1:]), path, columns=rows.shape[1])


def _filled(images: np.ndarray, columns: int) -> np.ndarray:
    missing = columns - len(images)
    return (
        np.concatenate([images, np.ones((missing, *images.shape[1:]), images.dtype)]) if missing else images
    )


def save_curves(history: Mapping[str, Sequence[float]], path: str | os.PathLike[str]) -> None:
    """Write the curves of a training, one panel for each quantity, with its validation.

    Args:
        history: `{log name: [value of each epoch]}`, with `val_` names beside theirs.
        path: of the PNG.
    """
    names = [name for name in history if not name.startswith("val_") and name != "epoch"]
    columns = min(3, len(names))
    figure, axes = _figure(columns, math.ceil(len(names) / columns), (4.0, 2.8))
    for axis, name in zip(axes, names, strict=False):
        epochs = np.arange(1, len(history[name]) + 1)
        axis.plot(epochs, history[name], label="training")
        if f"val_{name}" in history:
            axis.plot(epochs, history[f"val_{name}"], label="validation")
            axis.legend(frameon=False)
        axis.set_title(name)
        axis.set_xlabel("epoch")
        axis.grid(alpha=0.3)
    _save(figure, path)


def latent_plane(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The plane to look at: for Z = 2 the plane itself, else that of the two principal axes.

    Args:
        codes: posterior means `(N, Z)`.

    Returns:
        `(origin (Z,), axes (2, Z))` with orthonormal axes.
    """
    if codes.shape[1] == 2:
        return np.zeros(2, "float32"), np.eye(2, dtype="float32")
    origin = codes.mean(axis=0)
    _, _, directions = np.linalg.svd(codes - origin, full_matrices=False)
    axes = np.zeros((2, codes.shape[1]), "float32")
    axes[: len(directions[:2])] = directions[:2]
    return origin, axes


def save_latent_grid(
    decode: Callable[[np.ndarray], np.ndarray],
    codes: np.ndarray,
    path: str | os.PathLike[str],
    steps: int = 20,
) -> None:
    """Write a grid of images decoded from a plane of the latent space.

    The steps are the quantiles of the normal distribution that the codes have on each axis.

    Args:
        decode: function, codes `(N, Z)` -> images `(N, H, W, C)`.
        codes: posterior means `(N, Z)`, which say which plane and how wide.
        path: of the PNG.
        steps: images a side.
    """
    from statistics import NormalDist

    origin, axes = latent_plane(codes)
    spread = ((codes - origin) @ axes.T).std(axis=0) if codes.shape[1] > 2 else np.ones(2)
    quantiles = [NormalDist().inv_cdf((i + 0.5) / steps) for i in range(steps)]
    points = [(a * spread[0], b * spread[1]) for b in reversed(quantiles) for a in quantiles]
    save_grid(decode(origin + np.asarray(points, "float32") @ axes), path, columns=steps)


def save_latent_means(
    codes: np.ndarray,
    path: str | os.PathLike[str],
    labels: np.ndarray | None = None,
    class_names: Sequence[str] | None = None,
) -> None:
    """Write a scatter plot of posterior means `(N, Z)` in their plane, coloured by class `(N,)`."""
    origin, axes = latent_plane(codes)
    points = (codes - origin) @ axes.T
    figure, (axis,) = _figure(1, 1, (6.5, 5.5))
    if labels is None:
        axis.scatter(*points.T, s=6, alpha=0.6)
    else:
        present = np.unique(labels)
        drawn = [axis.scatter(*points[labels == label].T, s=6, alpha=0.6) for label in present]
        if len(present) <= MOST_NAMED:
            names = [class_names[k] if class_names is not None and k >= 0 else str(k) for k in present]
            legend = axis.legend(
                drawn,
                [""] * len(drawn),
                markerscale=3,
                frameon=False,
                loc="center left",
                bbox_to_anchor=(1.0, 0.5),
            )
            # Set afterwards: a legend leaves out a label that begins with "_", and takes "$" for mathematics.
            for label, name in zip(legend.get_texts(), names, strict=True):
                label.set_parse_math(False)
                label.set_text(_drawable(one_line(name, NAME_LENGTH)))
    kind = "z" if codes.shape[1] == 2 else "principal axis"
    axis.set_xlabel(f"{kind} 1")
    axis.set_ylabel(f"{kind} 2")
    axis.set_title("posterior means")
    _save(figure, path)


def _drawable(name: str) -> str:
    """A name with the letters escaped that the font does not have, which would all be the same box."""
    from matplotlib import font_manager

    font = font_manager.get_font(font_manager.findfont(font_manager.FontProperties()))
    return "".join(letter if font.get_char_index(ord(letter)) else ascii(letter)[1:-1] for letter in name)


def _figure(
    columns: int, rows: int, size: tuple[float, float]
) -> tuple["matplotlib.figure.Figure", np.ndarray]:
    """A figure of its own, without pyplot's global state or a display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    return figure, axes


def _save(figure: "matplotlib.figure.Figure", path: str | os.PathLike[str]) -> None:
    for axis in figure.axes:
        if not axis.has_data():
            axis.remove()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)
