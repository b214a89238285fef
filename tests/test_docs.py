"""The documentation: it builds, every block of Python in it is sound, and a browser shows it."""

import ast
import functools
import http.server
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import threading

import pytest
from browser import Browser

ROOT = pathlib.Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# The site is the same whatever the backend: the core suite builds it where no backend slows it down.
pytestmark = pytest.mark.core_on("one")


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The folder of the built site, in which no link and no anchor is broken."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def address(site):
    """Where a server of this machine offers the site."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=site)
    handler.log_message = lambda *arguments: None
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def browser():
    with Browser() as browser:
        yield browser


def test_every_page_is_led_to_and_every_result_is_there(site):
    pages = {str(path.parent.relative_to(site)) for path in site.rglob("index.html")}
    written = {path.stem for path in (ROOT / "docs").glob("*.md")} - {"index"}
    assert written | {"cli", "presets", "changelog", "results"} <= pages
    overview = (ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
    for path in (ROOT / "benchmarks" / "results").glob("*.md"):
        assert f"results/{path.stem}" in pages
        assert f"](results/{path.name})" in overview
    home = (site / "index.html").read_text()
    for page in ("own_images", "export", "results", "vae_gan", "cli"):
        assert f'href="{page}/"' in home


def test_equations_are_shown_without_a_script(site):
    """Each is MathML in the page, with nothing of LaTeX left outside of code."""
    for page in ("vae", "vae_gan", "conditional", "semi_supervised", "draw", "priors"):
        text = (site / page / "index.html").read_text()
        assert (
            '<div class="equation"><math xmlns="http://www.w3.org/1998/Math/MathML" display="block">' in text
        )
        without = re.sub(r"<(pre|code|math).*?</\1>", "", text, flags=re.DOTALL)
        assert "$$" not in without and "arithmatex" not in without and "\\mathrm" not in without


@pytest.mark.parametrize(
    ("words", "page"),
    [
        ("mode collapse", "troubleshooting"),
        ("overfit", "troubleshooting"),
        ("fine-tune", "troubleshooting"),
        ("hyperparameter", "hyperparameters"),
        ("out of memory", "troubleshooting"),
        ("custom loss", "extending"),
        ("class label", "conditional"),
        ("transparent", "own_images"),
    ],
)
def test_a_search_for_a_term_of_the_field_leads_to_the_page_about_it(site, words, page):
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))["docs"]
    found = {
        entry["location"].split("/")[0]
        for entry in index
        if words in f"{entry['title']} {re.sub('<.*?>', '', entry['text'])}".lower()
    }
    assert page in found


def test_each_model_has_a_page_of_all_its_methods(site):
    """Own and inherited ones, under the public name."""
    import keras_vaegan as kvg

    for name in ("VAE", "CVAE", "VAEGAN", "CVAEGAN", "SemiSupervisedVAEGAN", "DRAW", "DRAWGAN"):
        text = (site / "api" / name / "index.html").read_text()
        place = f"{getattr(kvg, name).__module__}.{name}"
        assert f"kvg.{name}" in text
        for verb in ("fit", "fit_prior", "encode", "generate", "export", "save_to_preset", "log_likelihood"):
            assert f'id="{place}.{verb}"' in text, (name, verb)
        assert (f'id="{place}.canvases"' in text) == name.startswith("DRAW")


def test_the_page_of_commands_is_what_help_says(site):
    from keras_vaegan.cli import cli

    text = (site / "cli" / "index.html").read_text()
    for name, command in cli.commands.items():
        section = text.split(f'<h2 id="{name}">')[1].split("<h2 ")[0]
        for option in command.params:
            assert all(flag in section for flag in option.opts if flag.startswith("--"))


@pytest.mark.parametrize(
    ("page", "width", "dark"),
    [("", 1200, False), ("", 360, True), ("export/", 360, False), ("api/", 1200, True), ("live/", 360, True)],
)
def test_a_browser_shows_it(browser, address, page, width, dark):
    shown = browser.open(f"{address}/{page}", width=width, dark=dark)
    assert shown.messages == [] and shown.broken_images() == [] and shown.overflow() == 0
    assert all(request.startswith((address, "blob:")) for request in shown.requests)


def test_the_page_that_runs_a_model_is_in_the_site(browser, address):
    if shutil.which("npm") is None and os.environ.get("CI") != "true":
        pytest.skip("no npm on this machine")
    shown = browser.open(f"{address}/live/page/")
    shown.evaluate("ready.then(() => true)")
    grey = "one.getContext('2d').getImageData(0, 0, one.width, one.height).data.some(v => 0 < v && v < 255)"
    drawn = f"[...document.querySelectorAll('canvas')].some(one => one.width > 0 && {grey})"
    assert shown.evaluate(drawn) is True and shown.messages == []


def blocks(page):
    """The fenced and the indented blocks of a page, each with its first line's number."""
    lines, found, start, fence = page.read_text(encoding="utf-8").splitlines(), [], None, None
    for number, line in enumerate([*lines, "."]):
        if line.startswith("```") and fence is not None:
            found.append((fence + 2, "\n".join(lines[fence + 1 : number]).strip()))
            fence = None
            continue
        if fence is not None:
            continue
        if line.startswith("```"):
            fence = number
        inside = line.startswith("    ") or (start is not None and not line.strip())
        if inside and start is None:
            start = number
        elif not inside and start is not None:
            text = "\n".join(line[4:] for line in lines[start:number]).strip()
            found.append((start + 1, text))
            start = None
    return found


def is_python(text):
    """Whether a block, or a part of one, is Python; formulas and commands may stand beside it."""
    begins = r"^(import|from) |^\w+ = kvg\.|^(model|conditional|kvg)\.|^with training"
    return bool(re.search(begins, text, re.M))


PYTHON = [
    pytest.param(part, id=f"{page.name}:{line}.{number}")
    for page in PAGES
    for line, text in blocks(page)
    for number, part in enumerate(text.split("\n\n"))
    if is_python(part)
]


@pytest.mark.parametrize("text", PYTHON)
def test_names_in_a_block_of_python_are_there(text):
    import keras_vaegan as kvg

    tree = ast.parse(text.replace("...", "None"))
    verbs = {
        name for key in dir(kvg) if isinstance(getattr(kvg, key), type) for name in dir(getattr(kvg, key))
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("keras_vaegan"):
            module = __import__(node.module, fromlist=["_"])
            for alias in node.names:
                assert hasattr(module, alias.name) or alias.name in dir(module)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id == "kvg":
                assert node.attr in dir(kvg)
            elif node.value.id in ("model", "trained", "completer", "conditional"):
                assert node.attr in verbs, node.attr


COMMANDS = sorted(
    {
        line.strip()
        for page in PAGES
        for _, text in blocks(page)
        for line in text.splitlines()
        if line.startswith("keras-vaegan ")
    }
)


@pytest.mark.parametrize("line", COMMANDS)
def test_options_of_a_command_are_there(line):
    from keras_vaegan.cli import cli

    words = line.split("#")[0].split()[1:]
    command = cli.commands[words[0]]
    known = {flag for parameter in command.params for flag in parameter.opts} | {"--help"}
    assert {word for word in words if word.startswith("--")} <= known


def test_pictures_and_files_that_pages_show_are_there():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            made = target.startswith(("results/", "api/")) or target in (
                "cli.md",
                "presets.md",
                "changelog.md",
            )
            assert made or (page.parent / target).exists(), (page.name, target)
