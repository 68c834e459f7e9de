"""What the reports share: a page from a template, and figures in it as inline SVG in the page's colours."""

from __future__ import annotations

import io
import re
from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple

from surefoot.lab.figures import CONTOUR, style

if TYPE_CHECKING:
    from jinja2 import Template
    from matplotlib.figure import Figure

NEEDED = {"matplotlib": "Matplotlib", "jinja2": "Jinja2"}

THEMED = {"#000000": "ink", "#666666": "muted", CONTOUR: "contour", "#dddddd": "grid", "#ffffff": "paper"}
"""Colours of figures that stand for the page's own, which differ between light and dark. The palette serves both."""


class Picture(NamedTuple):
    """A figure on the page: inline SVG, its title, and what there is to see in it."""

    name: str
    title: str
    svg: str
    caption: str


def check_installed() -> None:
    """Raises ValueError, which says what to install, if the report cannot be made here."""
    missing = [name for module, name in NEEDED.items() if find_spec(module) is None]
    if missing:
        raise ValueError(f'report.html needs {" and ".join(missing)}; run pip install "surefoot[lab]"')


def template(name: str) -> Template:
    """A page to be filled in.

    Raises:
        ValueError: Matplotlib or Jinja2 is not installed.
    """
    check_installed()
    import jinja2

    loader = jinja2.PackageLoader("surefoot.lab")
    return jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True).get_template(name)


def svg(figure: Figure, name: str, alt: str) -> str:
    """A figure as inline SVG whose colours and font are the page's; `name` keeps its ids apart from other figures'."""
    from markupsafe import Markup, escape

    buffer = io.StringIO()
    with style():
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = re.sub(r"<(metadata|style).*?</\1>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r"font-family: [^;]*; ?", "", text)
    text = re.sub(r'id="series-(\d+)-[^"]*"', r'class="series s\1"', text)
    text = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{name}-", text)
    text = re.sub(r"#[0-9a-f]{6}\b", lambda color: themed(color[0]), text)
    box = re.search(r'viewBox="[^"]*"', text)
    assert box is not None
    start = f'<svg {box[0]} role="img" aria-label="{escape(alt)}">'
    # HTML has no namespaces: xlink:href works as it stands.
    return Markup(start + text[text.index(">") + 1 :].replace("\n", " "))


def themed(color: str) -> str:
    """A colour of a figure as the page has it.

    >>> themed("#000000"), themed("#cc1111")
    ('var(--ink)', '#cc1111')
    """
    return f"var(--{THEMED[color]})" if color in THEMED else color
