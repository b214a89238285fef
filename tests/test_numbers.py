"""Numbers on the pages: each is a rounding of one in the results page or the preset that stands beside it.

A number is compared if it has decimals or a unit, and is neither code nor a formula. Its sources are the
results pages that its paragraph, list item or table row links to, and the trained presets that it names; if
there are none, those of its section. Settings that stand as code beside a recipe's name are compared, too.
"""

import functools
import json
import pathlib
import re
from decimal import Decimal

import pytest

from keras_vaegan.presets.recipes import RECIPES

pytestmark = pytest.mark.core_on("one")

ROOT = pathlib.Path(__file__).parents[1]
OVERVIEW = ROOT / "benchmarks" / "RESULTS.md"
RESULTS = OVERVIEW.with_name("results")
WEIGHTS = ROOT / "keras_vaegan" / "presets" / "weights"
NAMES = ("index", "vae", "vae_gan", "conditional", "semi_supervised", "draw", "priors", "autoencoder")
PAGES = [ROOT / "README.md", OVERVIEW, *(ROOT / "docs" / f"{name}.md" for name in NAMES)]

# Phrases whose numbers are no results of this library, and where they are from.
CITED = {
    "Python 3.11 to 3.13": "versions, of pyproject.toml",
    "CC BY-SA 4.0": "a license",
    "(0.68, 0.35)": "the equilibrium and margin of Larsen et al. 2015, in their released code",
    "alpha of 0.1 N": "Kingma et al. 2014",
    "is 0.1 here": "the same, of a mean in place of a sum",
    "w is 0.5": "Rombach et al. 2022, in the configurations of their autoencoders",
    "(0.97), recognized": "what was asked for of conditional DRAW, which its results page does not repeat",
}

NUMERAL = r"-?\d+(?:\.\d+)?"
# A numeral, and the unit behind it or behind the list that it begins, as in "1.5, 1.6 and 1.7 %".
NUMBER = re.compile(
    rf"(?<![\w.,^-])({NUMERAL})(?![,.]?\w)(?=(?:,? (?:and |or |to |/ |± )?{NUMERAL})* ?(%|nats|dB|points)|)"
)
CODE = re.compile(r"`([^`\n]+)`")
SETTING = re.compile(r"(\w+)[\"']?[=:] ?(-?\d+(?:\.\d+)?(?:e-?\d+)?)")


def blocks(text):
    """The paragraphs, list items and table rows of a page without code blocks, each with its section."""
    text = re.sub(r"^```.*?^```|^    .*?$|\$\$.*?\$\$|\$[^$\n]*\$", "", text, flags=re.DOTALL | re.MULTILINE)
    for section in re.split(r"^#+ .*$", text, flags=re.MULTILINE):
        for block in re.split(r"\n\s*\n|\n(?=\||- )", section):
            yield block, section


def numbers(text):
    """The numbers in prose that have decimals or a unit, and their units."""
    text = re.sub(r"`[^`]*`|\]\([^)]*\)|\{.*\}", " ", text)
    found = [(Decimal(numeral), unit) for numeral, unit in NUMBER.findall(text)]
    return [(value, unit) for value, unit in found if unit or value.as_tuple().exponent < 0]


@functools.cache
def results(path):
    """The numbers of a results page, or of a preset's results, and their units."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        return [(Decimal(one), "") for one in json.loads(text, parse_float=Decimal)["results"].values()]
    unit_of_cells = "%" if "per cent" in text else ""
    return [(one, unit or unit_of_cells) for block, _ in blocks(text) for one, unit in numbers(block)]


def sources(text, folder):
    """The numbers of the results pages that a text links to, and of the trained presets that it names."""
    paths = [(folder / target).resolve() for target in re.findall(r"\]\(([^)#]+)", text)]
    paths = [path for path in paths if path == OVERVIEW or path.parent == RESULTS]
    paths += [WEIGHTS / name / "metadata.json" for name in CODE.findall(text) if name in RECIPES]
    return [pair for path in paths if path.exists() for pair in results(path)]


def is_one_of(value, unit, found):
    """Whether a number is one of those found as rounded, where a share may stand in per cent.

    A minus may be left out: a bound of -87 nats is a negative ELBO of 87, a change of -52 % is 52 % less.
    """
    if unit == "%":
        shares = [one.scaleb(2) for one, _ in found if abs(one) <= 1]
        found = shares + [one for one, its_unit in found if its_unit == "%"]
    else:
        found = [one for one, _ in found]
    if value > 0:
        found = [abs(one) for one in found]
    last = value.as_tuple().exponent
    half = Decimal(5).scaleb(last - 1)
    return any(abs(one - value) <= half and one.as_tuple().exponent <= last for one in found)


def wrong_numbers(text, folder):
    """The numbers of a page that no source beside them has."""
    for phrase in CITED:
        text = text.replace(phrase, "")
    found = []
    for block, section in blocks(text):
        known = sources(block, folder) or sources(section, folder)
        found += [
            f"{value} {unit}: {'not in the' if known else 'no'} source; {' '.join(block.split())[:90]}"
            for value, unit in numbers(block)
            if not is_one_of(value, unit, known)
        ]
    return found


def settings(node, name=""):
    """The numbers of a recipe, each with its name, as a set of pairs."""
    if isinstance(node, dict):
        return {pair for key, value in node.items() for pair in settings(value, key)}
    return {(name, float(node))} if isinstance(node, (int, float)) else set()


def wrong_settings(text):
    """The settings, as `beta=0.5`, beside names of recipes of which none has them."""
    found = []
    for block, _ in blocks(text):
        codes = CODE.findall(block)
        known = [settings(RECIPES[name]) for name in codes if name in RECIPES]
        said = [(name, float(value)) for code in codes for name, value in SETTING.findall(code)]
        found += [pair for pair in said if known and not any(pair in one for one in known)]
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_numbers_are_those_of_their_sources(page):
    text = page.read_text(encoding="utf-8")
    assert wrong_numbers(text, page.parent) == []
    assert wrong_settings(text) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_number_is_compared(page):
    """If other digits stand before each number that has decimals, all of these are found."""
    text = page.read_text(encoding="utf-8")
    for phrase in CITED:
        text = text.replace(phrase, "")
    decimals = [value for block, _ in blocks(text) for value, _ in numbers(block) if "." in str(value)]
    changed = re.sub(r"(?<![\w.])(\d+\.\d)", r"77\1", text)
    assert len(wrong_numbers(changed, page.parent)) == len(decimals)


@pytest.mark.parametrize(
    ("page", "right", "wrong"),
    [
        ("README.md", "Fréchet distance 0.65", "Fréchet distance 0.66"),
        ("docs/draw.md", "98.5 %", "98.6 %"),
        ("docs/semi_supervised.md", "1.41 %", "1.43 %"),
        ("docs/conditional.md", "results/completion.md", "completion.md"),
    ],
)
def test_a_wrong_digit_and_a_missing_link_are_found(page, right, wrong):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert right in text
    assert wrong_numbers(text.replace(right, wrong), (ROOT / page).parent)


def test_a_wrong_setting_is_found():
    text = (ROOT / "docs" / "vae_gan.md").read_text(encoding="utf-8")
    assert wrong_settings(text.replace("r1=0.03", "r1=0.3")) == [("r1", 0.3)]
