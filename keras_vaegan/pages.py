"""HTML and SVG from the package's Jinja2 templates, in which autoescape covers every value.

Nothing here imports a backend.
"""

import re
from typing import Any

import jinja2
from markupsafe import Markup

LONGEST_TEXT = 2000  # characters of a value on a page
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _readable(value: object) -> str:
    """Return a template's value as text that HTML and XML can hold, cut at `LONGEST_TEXT` characters."""
    if isinstance(value, Markup):
        return value
    text = str(value)
    if len(text) > LONGEST_TEXT:
        text = f"{text[:LONGEST_TEXT]} ..."
    return _UNPRINTABLE.sub("\ufffd", text)


ENVIRONMENT = jinja2.Environment(
    loader=jinja2.PackageLoader("keras_vaegan"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    finalize=_readable,  # runs on each value before autoescape
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


def render(template: str, **values: Any) -> Markup:
    """Fill in a template of `keras_vaegan/templates`.

    Args:
        template: path of its file in that folder.
        values: shown as text, unless they are `Markup`.

    Returns:
        The result as `Markup`, which another template shows as it is.
    """
    return Markup(ENVIRONMENT.get_template(template).render(values))
