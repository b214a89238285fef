"""Pages that are made of something else when the site is built: commands, results, presets, changes."""

import json
import logging
import os
import pathlib
import re
import shutil
import subprocess
import sys
from html import unescape as html_of

import click
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

log = logging.getLogger("mkdocs.hooks")
ROOT = pathlib.Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
serving = {"now": False}
# What a user calls, of the models that have it.
VERBS = (
    *("from_preset", "compile", "fit", "evaluate", "predict", "train_on_batch", "fit_prior", "measure_codes"),
    *("encode", "decode", "reconstruct", "generate", "interpolate", "complete", "transfer_style", "classify"),
    *("calibrate", "canvases", "log_likelihood", "kl_per_dimension", "posterior_parameters"),
    *("save_to_preset", "export", "functions", "compute_losses", "code_shape", "num_classes"),
)
# Public classes, each with the module that has it.
CLASSES = {
    "VAE": "vae",
    "CVAE": "cvae",
    "VAEGAN": "vae_gan",
    "CVAEGAN": "cvae_gan",
    "SemiSupervisedVAE": "semi_supervised",
    "StackedSemiSupervisedVAE": "stacked_semi_supervised",
    "SemiSupervisedVAEGAN": "semi_supervised_gan",
    "DRAW": "draw",
    "DRAWGAN": "draw_gan",
}
LIVE = "completion_cvae_mnist"
WEIGHTS = ROOT / "keras_vaegan" / "presets" / "weights"
# Data that shipped weights are of, and what may be done with it.
DATA = {
    "mnist": "MNIST (LeCun, Cortes and Burges): 55,000 handwritten digits of its training set; CC BY-SA 3.0",
    "cifar10": "CIFAR-10 (Krizhevsky 2009): 9,000 images of things of ten classes, collected from "
    "the web; published for research, without a licence",
    "fruits": "Fruits-360, the 3-body problem (© 2017- Mihai Oltean): 7,018 photographs of apples, cherries "
    "and tomatoes on white, scaled to 64x64; CC BY-SA 4.0",
    "emoji": "Noto Emoji (Google): 3,000 emoji with alpha, scaled to 64x64; Apache-2.0",
}


def on_files(files, config):
    """Add the pages that no file in `docs/` has."""
    pages = {
        "cli.md": commands(),
        "presets.md": cards(),
        "changelog.md": (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"),
    }
    for path in sorted(RESULTS.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        pages[f"results/{path.name}"] = text.replace("../../docs/images/", "../images/")
    pages |= {f"api/{name}.md": class_page(name, module) for name, module in CLASSES.items()}
    overview = RESULTS.with_name("RESULTS.md").read_text(encoding="utf-8")
    pages["results/index.md"] = overview.replace("](results/", "](")
    for place, text in pages.items():
        files.append(File.generated(config, place, content=text))
    return files


def on_startup(command, dirty):
    """Note whether the site is built or served."""
    serving.update(now=command == "serve")


def on_post_build(config):
    """Export the model that runs in the page `live.md`; not each time that `mkdocs serve` builds anew."""
    if serving["now"] or (shutil.which("npm") is None and os.environ.get("CI") != "true"):
        log.info("the live page is left out: it is made where the site is built, and needs npm")
        return
    folder = pathlib.Path(config.site_dir, "live", "page")
    arguments = ["export", LIVE, "--format", "web", "--output", folder, "--overwrite"]
    done = subprocess.run([sys.executable, "-m", "keras_vaegan", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise PluginError(f"the live page cannot be made: {done.stderr.strip().splitlines()[-1]}")


def on_page_markdown(markdown, page, config, files):
    """Links to the results, as they are right in the repository, made right in the site."""
    here = "" if page.file.src_uri.startswith("results/") else "results/"
    return re.sub(r"\]\((?:\.\./)+benchmarks/results/", f"]({here}", markdown)


def on_page_content(html, page, config, files):
    """Equations as MathML, which browsers show without a script."""
    from latex2mathml.converter import convert

    def shown(found):
        block = found[1] == "div"
        latex = html_of(found[2]).strip().removeprefix(r"\[" if block else r"\(")
        made = convert(latex.removesuffix(r"\]" if block else r"\)"), display="block" if block else "inline")
        return f'<div class="equation">{made}</div>' if block else made

    return re.sub(r'<(div|span) class="arithmatex">(.*?)</\1>', shown, html, flags=re.DOTALL)


def class_page(name, module):
    """The page of a class under its public name, with what a user calls, own and inherited."""
    options = {
        "inherited_members": "true",
        "show_root_heading": "false",
        "show_root_toc_entry": "false",
        "members": f"[{', '.join(VERBS)}]",
    }
    lines = [f"# kvg.{name}", "", f"::: keras_vaegan.models.{module}.{name}", "    options:"]
    return "\n".join([*lines, *(f"      {key}: {value}" for key, value in options.items()), ""])


def commands():
    """The help of every command."""
    from keras_vaegan.cli import PROGRAM, cli

    lines = ["# Command line", "", "What `--help` says of each command.", ""]
    for name, command in cli.commands.items():
        context = click.Context(command, info_name=f"{PROGRAM} {name}", max_content_width=100)
        lines += [f"## {name}", "", "```text", command.get_help(context), "```", ""]
    return "\n".join(lines)


def cards():
    """A model card for each preset whose weights come with the package."""
    from keras_vaegan.presets.recipes import MODEL_KEYS, RECIPES

    lines = [
        "# Trained presets",
        "",
        "These weights come with the package, stored in float16. The scores are of test images, on which no",
        "choice was based. `keras-vaegan presets NAME` prints the recipe. `train --preset NAME --seed SEED`",
        "repeats the training; if the dataset cannot be downloaded by name, give images as `--dataset`.",
        "",
    ]
    for path in sorted(WEIGHTS.glob("*/metadata.json")):
        name, card = path.parent.name, json.loads(path.read_text(encoding="utf-8"))
        recipe, measured = RECIPES[name], card["measured"]
        size = (path.parent / "model.weights.h5").stat().st_size / 1e6
        images = measured["data"]
        lines += [
            f"## {name}",
            "",
            f"A {MODEL_KEYS[card['model']]}. Expect {recipe['expect']}.",
            "",
            f"- Recipe: {recipe['source']}; {card['epochs_done']} epochs, seed {card['seed']}, on "
            f"{card['backend']}, Keras {card['keras']}.",
            f"- Data: {DATA[card['dataset']]}.",
            f"- Images: {' x '.join(map(str, card['image_shape']))}, in [0, 1]. Not for documents, "
            "faces or any decision about people: it has seen nothing but these data.",
            f"- Weights: {size:.1f} MB, {card['licence']}, sha256 `{card['weights_sha256'][:16]}...`.",
            f"- Measured {measured['date']} on {images['num_images']:,} {images['split']} images (content "
            f"`{images['content']}`):",
            "",
            *scores(card["results"]),
            "",
        ]
    return "\n".join(lines)


def scores(values):
    """A table of scores; those in the features of several classifiers have a column for each."""
    rows = {}
    for name, value in values.items():
        score, _, features = name.removesuffix(")").partition(" (")
        rows.setdefault(score, {})[features] = f"{value:.4g}"
    columns = list(dict.fromkeys(features for row in rows.values() for features in row))
    titles = [f"features of `{features}`" if features else "" for features in columns]
    return [
        f"| score | {' | '.join(titles)} |",
        "|---" * (len(columns) + 1) + "|",
        *(f"| {score} | {' | '.join(row.get(one, '') for one in columns)} |" for score, row in rows.items()),
    ]
