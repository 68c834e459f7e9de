"""Draws docs/architecture.svg: the packages of src/surefoot, layer by layer, and where a line of a file passes.

    python docs/figures/architecture.py [FILE]

The layers are those of the import contract in pyproject.toml, so a package that moves there moves in the picture.
"""

import re
import sys
import tomllib
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

ROOT = Path(__file__).parents[2]

PACKAGES = {
    "cli": "one file per command",
    "callbacks": "the optimizers\nin trainers",
    "lab": "traces, races, published results, figures, reports",
    "learn": "the learner; scikit-learn's\ninterface; model files",
    "optim": "torch optimizers",
    "nn": "embedding bags\nfor torch",
    "optax": "optax transforms\nfor JAX",
    "engines": "how these meet arrays: reference (NumPy,\nthe oracle), cpu (Numba), gpu (Triton), eager (torch, JAX)",
    "data": "text and columns → blocks;\nformats, built-in sets",
    "schedules": "learning rates\nη(t)",
    "rules": "rate and\ndirection",
    "losses": "value and\nslope",
    "models": "prediction and\nderivative",
    "modifiers": "around the\nrule",
    "records": "what these share: plain functions that are checked, hyperparameters, registries",
    "ops": "the operations\nof a rule",
    "hugepages": "huge pages",
    "system": "memory of\nthe machine",
    "threads": "thread pool, or\ntorch's OpenMP team",
    "native": "machine code: compiled once, cached, loaded without Numba",
    "atomic_write": "files that are replaced in one step",
    "locks": "locks that end with their process",
    "text": "without control characters and secrets",
}
"""What each package holds, in a few words."""

TRAIL = ("cli", "data", "learn", "engines", "models", "losses", "rules", "learn")
"""The packages through which a line of a file passes on its way to a weight, as the numbered list of the page."""

GROUPS = {
    "cli": ("what you run", "#dce9f7"),
    "learn": ("what trains", "#e2f0d9"),
    "engines": ("what computes,\nwhat reads", "#fdeecf"),
    "rules": ("the mathematics", "#f8dfd6"),
    "ops": ("foundations", "#ececec"),
}
"""Layers that belong together: the layer with this package and those below it."""

WIDTH, HEIGHT, GAP, MARGIN, GUTTER = 13.0, 0.74, 0.16, 0.1, 1.6


def layers() -> list[list[str]]:
    """The packages of each layer, from the top, as the contract has them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = {contract["id"]: contract for contract in project["tool"]["importlinter"]["contracts"]}
    return [re.findall(r"\w+", layer) for layer in contracts["house"]["layers"]]


def draw() -> Figure:
    """The picture."""
    rows = layers()
    height = len(rows) * (HEIGHT + GAP) + 0.5
    figure = Figure(figsize=(WIDTH * 0.8, height * 0.8), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, WIDTH), ylim=(-0.5, height - 0.5))
    axes.axis("off")
    fill = "white"
    for k, names in enumerate(rows):
        bottom = (len(rows) - 1 - k) * (HEIGHT + GAP)
        for name in names:
            if name in GROUPS:
                label, fill = GROUPS[name]
                axes.text(MARGIN, bottom + HEIGHT / 2, label, va="center", fontsize=9, style="italic", color="#444444")
        # A package is as wide as its words need.
        needs = [max(map(len, (*PACKAGES[name].split("\n"), name))) + 6 for name in names]
        unit = (WIDTH - GUTTER - MARGIN - GAP * (len(names) - 1)) / sum(needs)
        left = GUTTER
        for name, need in zip(names, needs, strict=True):
            box(axes, name, left, bottom, need * unit, fill)
            left += need * unit + GAP
    caption = (
        "A package imports only from layers below its own.  "
        "Numbers: the life of one line of a file, from the command to the weight."
    )
    axes.text((WIDTH + GUTTER) / 2, -0.3, caption, ha="center", va="center", fontsize=9, color="#444444")
    return figure


def box(axes, name: str, left: float, bottom: float, width: float, fill: str) -> None:
    """A package: its name, what it holds, and its numbers on the trail."""
    shape = FancyBboxPatch(
        (left, bottom),
        width,
        HEIGHT,
        boxstyle="round,pad=0,rounding_size=0.08",
        facecolor=fill,
        edgecolor="#555555",
        linewidth=0.8,
    )
    axes.add_patch(shape)
    axes.text(left + width / 2, bottom + HEIGHT - 0.18, name, ha="center", va="center", fontsize=10.5, weight="bold")
    axes.text(left + width / 2, bottom + 0.25, PACKAGES[name], ha="center", va="center", fontsize=8, linespacing=1.2)
    for k, number in enumerate(n for n, passed in enumerate(TRAIL, 1) if passed == name):
        axes.text(
            left + 0.2 + 0.33 * k,
            bottom + HEIGHT - 0.2,
            str(number),
            ha="center",
            va="center",
            fontsize=8,
            color="white",
            weight="bold",
            bbox={"boxstyle": "circle,pad=0.25", "facecolor": "#8a2d3b", "edgecolor": "none"},
        )


def main() -> None:
    file = sys.argv[1] if len(sys.argv) > 1 else ROOT / "docs" / "architecture.svg"
    # The same bytes from the same versions: no date, and ids of shapes that are not random. Text stays text.
    with rc_context({"svg.hashsalt": "surefoot", "svg.fonttype": "none", "font.family": "DejaVu Sans"}):
        draw().savefig(file, metadata={"Date": None} if str(file).endswith(".svg") else None, dpi=100)


if __name__ == "__main__":
    main()
