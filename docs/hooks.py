"""Pages that are made of something else when the site is built: the commands, the results, the changes."""

import pathlib
import re

import click
from mkdocs.structure.files import File

ROOT = pathlib.Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def on_files(files, config):
    """Add the pages that no file in `docs/` has."""
    pages = {"cli.md": commands(), "changelog.md": (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")}
    titles = {}
    for path in sorted(RESULTS.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        titles[path.name] = text.splitlines()[0].removeprefix("# ")
        pages[f"results/{path.name}"] = text.replace("../../docs/images/", "../images/")
    pages["results/index.md"] = results(titles)
    for place, text in pages.items():
        files.append(File.generated(config, place, content=text))
    return files


def on_page_markdown(markdown, page, config, files):
    """Links to the results, as they are right in the repository, made right in the site."""
    here = "" if page.file.src_uri.startswith("results/") else "results/"
    return re.sub(r"\]\((?:\.\./)+benchmarks/results/", f"]({here}", markdown)


def commands():
    """The help of every command."""
    from keras_vaegan.cli import PROGRAM, cli

    lines = ["# Command line", "", "What `--help` says of each command.", ""]
    for name, command in cli.commands.items():
        context = click.Context(command, info_name=f"{PROGRAM} {name}", max_content_width=100)
        lines += [f"## {name}", "", "```text", command.get_help(context), "```", ""]
    return "\n".join(lines)


def results(titles):
    """A page that leads to the tables."""
    tuning = {name: title for name, title in titles.items() if name.startswith("tuning_")}
    lines = [
        "# Results",
        "",
        "Every number comes from a run whose command, seeds and date stand beside it. A recipe is fixed on",
        "images that are held out; test images are looked at once.",
        "",
        *(f"- [{title}]({name})" for name, title in titles.items() if name not in tuning),
        "",
        "What was tried on the way:",
        "",
        *(f"- [{title}]({name})" for name, title in tuning.items()),
    ]
    return "\n".join(lines) + "\n"
