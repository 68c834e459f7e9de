"""What a published result is: the text that prints it, what is claimed, and the function that measures it.

A row says `published` only for what a text prints, word or figure, and `texts` names each text that prints it. What no
text prints, a number that was computed for this table or an independent computation that ours has to equal, is `ours`:

    @row("gd-scalar", SECTION, "what is claimed, in which setting", "x_t = (1 − ηλ)^t x₀",
         texts={"D2L": "Preconditioning"}, ours="|x₂₀| = 0.121577 for λ = 19", note="the text says …; docs/errata.md")

`surefoot reproduce` prints `published` with its texts, `ours` and `note` under their own names, and a legend of TEXTS.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

clock = time.perf_counter if sys.platform == "win32" else time.thread_time
"""Seconds this thread has computed: other work on the machine does not lengthen them (Windows counts too coarsely)."""

TEXTS = {
    "D2L": "A. Zhang, Z. C. Lipton, M. Li & A. J. Smola, Dive into Deep Learning, chapter Adagrad, PyTorch edition",
    "D2L-MXNet": "the same chapter of Dive into Deep Learning, MXNet edition",
    "CME 216": "E. Darve, CME 216 / ME 343 (Stanford, spring 2020), lecture on AdaGrad",
    "notebook": "lecture notebook on stochastic gradient methods, from SGD to Yogi, after Dive into Deep Learning, "
    "chapter Optimization Algorithms",
    "guide": "guide to AdaGrad in PyTorch",
}
"""The texts whose results are reproduced, by the names that rows use."""

NOTEBOOK = {"notebook": ""}
"""What is printed in the notebook alone, whose sections are not public."""


class Skipped(Exception):
    """A row that cannot be measured here; the message is the reason."""


@dataclass(frozen=True)
class Finding:
    """What was measured.

    Args:
        measured: in words and numbers, to be compared with the published ones.
        passed: whether it agrees with what was published.
        numbers: the numbers alone, for programs.
    """

    measured: str
    passed: bool
    numbers: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """One published result.

    Args:
        id: what it is called on the command line.
        section: of the checklist: "2 schedules", "3 traces", "4 airfoil", "5 theory" or "6 figures".
        claim: what is claimed, and in which setting.
        published: the number or word that the texts print; empty if they print none.
        measure: measures it; it raises Skipped where it cannot.
        texts: where that is printed: names of TEXTS, each with the section ("" where the text has none that is known).
        ours: what the row is also held against and no text prints.
        note: what a reader has to know to judge the row, such as an error of the text.

    Raises:
        ValueError: a name that is not in TEXTS, what is published without a text, or nothing to be held against.

    >>> Row("x", "5 theory", "a claim", "0.5", lambda: Finding("0.5", True), {"D2": "Preconditioning"})
    Traceback (most recent call last):
    ValueError: x: there is no text 'D2'; expected one of D2L, D2L-MXNet, CME 216, notebook, guide
    """

    id: str
    section: str
    claim: str
    published: str
    measure: Callable[[], Finding]
    texts: Mapping[str, str] = field(default_factory=dict)
    ours: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        for name in self.texts.keys() - TEXTS.keys():
            raise ValueError(f"{self.id}: there is no text {name!r}; expected one of {', '.join(TEXTS)}")
        if bool(self.published) != bool(self.texts):
            printed = ", ".join(self.texts) or "no text"
            raise ValueError(f"{self.id}: published is {self.published!r} in {printed}; expected both or neither")
        if not (self.published or self.ours):
            raise ValueError(f"{self.id}: there is nothing to hold it against; expected what is published, or ours")


ROWS: dict[str, Row] = {}
"""All rows by id, as the modules that measure them are loaded."""


def row(
    id: str,
    section: str,
    claim: str,
    published: str = "",
    *,
    texts: Mapping[str, str] | None = None,
    ours: str = "",
    note: str = "",
):
    """Decorates the function that measures a row; every argument of it has a default, the published setting."""

    def attach(measure: Callable[..., Finding]) -> Callable[..., Finding]:
        ROWS[id] = Row(id, section, claim, published, measure, texts or {}, ours, note)
        return measure

    return attach


def cited(texts: Mapping[str, str]) -> str:
    """The texts, with the places in them.

    >>> cited({"D2L": "Preconditioning", "guide": ""})
    'D2L, Preconditioning; guide'
    """
    return "; ".join(f"{text}, {place}" if place else text for text, place in texts.items())


def signed(value: float, digits: int = 6) -> str:
    """A number with a true minus sign; what rounds to zero has none.

    >>> signed(-0.5, 2), signed(-0.001, 2)
    ('−0.50', '0.00')
    """
    text = f"{value:.{digits}f}"
    return text.replace("-", "−" if float(text) else "")
