"""Line charts as inline SVG, which the style sheet of their page colors."""

import math
from collections.abc import Mapping, Sequence

from markupsafe import Markup

from keras_vaegan.pages import render

WIDTH, HEIGHT = 340, 196  # units of the view box, about one pixel each
LEFT, RIGHT, TOP, BOTTOM = 50, 10, 8, 36
MARGIN = 0.05  # of the range of the values, above and below the lines
LARGEST = 1e300  # beyond it a value counts as infinite, so that differences are finite

Points = list[tuple[float, float]]


def number(value: float) -> str:
    """A number for readers: four digits, or all of a whole number; words for NaN and infinity."""
    if math.isnan(value):
        return "not a number"
    if math.isinf(value):
        return "infinite" if value > 0 else "-infinite"
    if value == 0 or isinstance(value, int):
        return f"{value:,}" if isinstance(value, int) else "0"
    magnitude = math.floor(math.log10(abs(value)))
    if not -4 <= magnitude < 9:
        return f"{value:.4g}"
    decimals = 3 - magnitude
    return f"{value:,.{decimals}f}".rstrip("0").rstrip(".") if decimals > 0 else f"{value:,.0f}"


def ticks(low: float, high: float, most: int = 5, whole: bool = False) -> list[float]:
    """Round numbers of a range, evenly spaced: at most `most` of them, or one more.

    Args:
        low, high: the range; low < high.
        most: how many there may be.
        whole: whether only integers will do.
    """
    least_step = (high - low) / most
    power = 10.0 ** math.floor(math.log10(least_step))
    step = next(factor * power for factor in (1, 2, 5, 10, 20) if factor * power >= least_step)
    if whole:
        step = max(1.0, round(step))
    return [i * step for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def line_chart(
    title: str, x: Sequence[float], lines: Mapping[str, Sequence[float]], key: str, x_label: str = "epoch"
) -> Markup:
    """An `<svg>` with one line for each entry of `lines`, broken where a value is not finite.

    Args:
        title: of the chart; with a description of the lines it is what a screen reader says.
        x: place of each value; increasing whole numbers.
        lines: `{name: values}`; the name is the CSS class of the line, too.
        key: prefix of the element's ids, unique in the page.
        x_label: what `x` is.
    """
    shown = [value for values in lines.values() for value in values if _finite(value)]
    low, high = _padded(min(shown), max(shown)) if shown else (0.0, 1.0)
    first, last = (x[0], x[-1]) if x[-1] > x[0] else (x[0] - 1, x[0] + 1)

    def across(value: float) -> float:
        return LEFT + (value - first) / (last - first) * (WIDTH - LEFT - RIGHT)

    def down(value: float) -> float:
        return TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM)

    places = [place for place in ticks(first, last, most=6, whole=True) if x[0] <= place <= x[-1]]
    rules = ticks(low, high)
    return render(
        "line_chart.svg.jinja",
        key=key,
        title=title,
        description=" ".join(_described(name, x, values, x_label) for name, values in lines.items()),
        width=WIDTH,
        height=HEIGHT,
        left=LEFT,
        right=WIDTH - RIGHT,
        bottom=HEIGHT - BOTTOM,
        y_ticks=[(f"{down(rule):.2f}", label) for rule, label in zip(rules, _labels(rules), strict=True)],
        x_ticks=[(f"{across(place):.2f}", f"{place:,.0f}") for place in places],
        x_label=x_label,
        stretches=[
            (name, *_placed([(across(a), down(b)) for a, b in stretch]))
            for name, values in lines.items()
            for stretch in _unbroken(x, values)
        ],
    )


def _finite(value: float) -> bool:
    return abs(value) < LARGEST  # false for NaN, too


def _padded(low: float, high: float) -> tuple[float, float]:
    """The range with a margin; a single value gets some room of its own size."""
    room = high - low
    if room <= max(1e-9 * max(abs(low), abs(high)), 1e-200):
        room = max(abs(low), 1e-6) if low or high else 1.0
    return low - MARGIN * room, high + MARGIN * room


def _unbroken(x: Sequence[float], values: Sequence[float]) -> list[Points]:
    """The stretches of finite values."""
    runs: list[Points] = [[]]
    for a, b in zip(x, values, strict=True):
        if _finite(b):
            runs[-1].append((a, b))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _placed(points: Points) -> tuple[tuple[str, str] | None, Markup]:
    """Return the place of a point that stands alone, else None; and the places of all points."""
    places = [(f"{a:.2f}", f"{b:.2f}") for a, b in points]
    return places[0] if len(places) == 1 else None, Markup(" ".join(map(",".join, places)))


def _labels(values: Sequence[float]) -> list[str]:
    """Ticks with as many decimals as their step needs."""
    if len(values) < 2 or max(abs(value) for value in values) >= 1e6:
        return [f"{value:.4g}" for value in values]
    decimals = max(0, -math.floor(math.log10(values[1] - values[0]) + 1e-9))
    if decimals > 4:
        return [f"{value:.3g}" for value in values]
    return [f"{value + 0.0:,.{decimals}f}" for value in values]


def _described(name: str, x: Sequence[float], values: Sequence[float], x_label: str) -> str:
    finite = [(a, b) for a, b in zip(x, values, strict=True) if _finite(b)]
    if not finite:
        return f"{name}: no finite value."
    (start, first), (end, last) = finite[0], finite[-1]
    lowest, highest = (number(f([b for _, b in finite])) for f in (min, max))
    missing = len(values) - len(finite)
    return (
        f"{name}: {number(first)} at {x_label} {start:g}, {number(last)} at {x_label} {end:g}, "
        f"between {lowest} and {highest}" + (f"; {missing} not finite." if missing else ".")
    )
