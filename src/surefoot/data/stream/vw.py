"""Vowpal Wabbit's text: [LABEL [IMPORTANCE [BASE]]] ['TAG]|NAMESPACE[:WEIGHT] NAME[:VALUE] NAME[:VALUE] … |NAMESPACE …

A label is a number, mostly −1 or 1, and may be missing. The importance is the weight of the row, the base its initial
prediction. A tag touches the bar or begins with a quote; it is read over. A feature without a value has the value 1; a
namespace's weight multiplies the values of all its features. Names are hashed with their namespace, those that are
numbers like any other; values of names that share an index are summed. A value that is a word makes a feature of its
own, of the value 1: its name is NAME:WORD. Features without a name are called by their place among those of their
namespace, from 0.

Stricter than Vowpal Wabbit, which trains on what is left of a faulty line: a line without a bar, a
value that is neither a finite number nor begins with a letter, and a label that touches the bar (a tag, to Vowpal
Wabbit) are faults.

https://github.com/VowpalWabbit/vowpal_wabbit/wiki/Input-format
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from surefoot.data.stream.faults import FINITE, shown, unreadable
from surefoot.data.stream.hashing import Hashing
from surefoot.data.stream.kernels import compiled, layout
from surefoot.data.stream.lines import Lines
from surefoot.data.stream.record import Format
from surefoot.data.stream.workspace import Workspace
from surefoot.native import Kernel

DESCRIBED = "Vowpal Wabbit lines LABEL |NAMESPACE NAME:VALUE …"
REASONS = (
    "label is not a number",
    "label is not finite",
    "importance is not a number of 0 or more",
    "base is not a number",
    "more than three numbers",
    "label touches the bar",
    "no bar",
    "namespace's weight is not a number",
    "name is empty",
    "value is not a number",
    "value is not finite",
    "binary data",
)
"""What can be wrong with a line, in the order of the kernel's codes."""
_TOKEN = re.compile(rb"[^\s|]*")


UNNAMED = 1 << 14
"""Features of a namespace that may be without a name."""


@functools.cache
def ordinals() -> np.ndarray:
    """The names of features that have none, as the kernel takes them."""
    names = b"".join(b"%-8d" % number for number in range(UNNAMED))
    return np.frombuffer(names + b" " * layout.PADDING, np.uint8)[: 8 * UNNAMED + 8]


@dataclass(frozen=True)
class Vw(Lines):
    """How lines of Vowpal Wabbit's text are read.

    Args:
        hashing: of names.
    """

    hashing: Hashing = field(default_factory=Hashing)

    reasons: ClassVar[dict[int, str]] = dict(enumerate(REASONS, start=1))

    def call(self, space: Workspace) -> tuple[Kernel, tuple]:
        return compiled("vw", "lines"), (
            self.hashing.settings,
            space.state,
            space.labels,
            space.weights,
            space.bases,
            space.indptr,
            space.indices,
            space.values,
            space.known,
            space.recent,
            space.found,
            space.arena,
            space.faults,
            ordinals(),
            space.scratch,
            space.counts,
        )

    def said(self, code: int, line: bytes, offset: int) -> str:
        token = _TOKEN.match(line, offset)
        found = shown(token.group() if token else b"")
        name = re.split(rb"[\s|]", line[:offset])[-1].rstrip(b":").decode("utf-8", "replace")
        match self.reasons[code]:
            case "label is not a number":
                return f"found label {found}, expected a number, in {DESCRIBED}"
            case "label is not finite":
                return f"found {found} before the bar, {FINITE}"
            case "importance is not a number of 0 or more":
                return f"found importance {found}, expected a finite number of 0 or more"
            case "base is not a number":
                return f"found initial prediction {found}, expected a finite number"
            case "more than three numbers":
                return f"found {found} after label, importance and initial prediction, expected a tag or |"
            case "label touches the bar":
                return f"found {found} touching the bar, which makes it a tag; put a blank before | or ' before the tag"
            case "no bar":
                return f"found no | before the end of the line, expected {DESCRIBED}"
            case "namespace's weight is not a number":
                return f"found namespace {name} with weight {found}, expected a finite number"
            case "name is empty":
                return f"found {found}, expected NAME:VALUE or NAME"
            case "value is not a number":
                return f"found feature {name} with value {found}, expected a number"
            case "value is not finite":
                if offset == 0:
                    return f"found features whose values, summed, are not finite, {FINITE}"
                return f"found feature {name} with value {found}, {FINITE}"
        return unreadable(line, DESCRIBED, f"{DESCRIBED} in UTF-8")


_NUMBER = rb"\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
FORMATS = (
    Format(
        "vw",
        Vw,
        (".vw",),
        line=re.compile(rb"(?:" + _NUMBER + rb"){0,3}\s*(?:'[^\s|]*)?\s*[^\s|]*\|.*"),
        hashed=True,
    ),
)
