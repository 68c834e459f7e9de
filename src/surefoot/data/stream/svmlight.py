"""svmlight text, as libsvm and many others write it: LABEL [qid:GROUP] [cost:WEIGHT] INDEX:VALUE … # comment;
and libffm's text, in which every entry has a field: LABEL FIELD:INDEX:VALUE ….

A line without a label, `1:0.25 2:0.3`, cannot be told from one of XGBoost's, whose label 1 has the weight 0.25. So a
weight after the label is read only on request (`label_weights`); otherwise such a line is a fault.

Blanks are spaces and tabs; lines end with or without a carriage return. Blank lines and comments count as lines only.
Indices stay as they are written, and need not rise: rows are sorted, and values of the same index summed in order of
occurrence (in float64, rounded once), which is what they mean for a linear model. With `bits`, an index is taken modulo
2^bits, for data whose indices are hashes of more bits.

T. Joachims, SVMlight, svmlight.joachims.org; C.-C. Chang, C.-J. Lin, LIBSVM; weights after a label as XGBoost has them;
Y. Juan, Y. Zhuang, W.-S. Chin, C.-J. Lin, "Field-aware factorization machines for CTR prediction", 2016, for fields.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from surefoot.data.stream.faults import FINITE, shown, unreadable
from surefoot.data.stream.hashing import MOST_BITS
from surefoot.data.stream.kernels import compiled
from surefoot.data.stream.kernels.layout import FIELD_BITS, LARGEST_INDEX
from surefoot.data.stream.lines import Lines
from surefoot.data.stream.record import Format
from surefoot.data.stream.workspace import Workspace
from surefoot.native import Kernel

DESCRIBED = "svmlight lines LABEL INDEX:VALUE …"
FIELDS_DESCRIBED = "libffm lines LABEL FIELD:INDEX:VALUE …"
LARGEST_FIELD, LARGEST_INDEX_OF_A_FIELD = (1 << FIELD_BITS) - 1, (1 << 63 - FIELD_BITS) - 1
"""A row is sorted by index and field in one int64."""
REASONS = (
    "label is not a number",
    "label is not finite",
    "weight is not a number",
    "weight is negative or not finite",
    "group is not a whole number",
    "index is not a whole number",
    "index is too large",
    "value is not a number",
    "value is not finite",
    "indices do not rise",
    "binary data",
    "field is not a whole number",
    "no label",
)
"""What can be wrong with a line, in the order of the kernel's codes."""
_TOKEN = re.compile(rb"[^\s#]*")


@dataclass(frozen=True)
class Svmlight(Lines):
    """How svmlight lines are read.

    Args:
        bits: indices are taken modulo 2^bits; as they are written unless given.
        rising: indices that do not rise from left to right, each at most once, are a fault.
        largest: the largest index there may be.
        described: what messages call the format.
        label_weights: labels may be followed by the weight of their line, as in 1:0.25.
    """

    bits: int | None = None
    rising: bool = False
    largest: int = LARGEST_INDEX
    described: str = DESCRIBED
    label_weights: bool = False

    reasons: ClassVar[dict[int, str]] = dict(enumerate(REASONS, start=1))
    fielded: ClassVar[bool] = False
    entry: ClassVar[str] = "INDEX:VALUE"

    def __post_init__(self) -> None:
        if self.bits is not None and not 1 <= self.bits <= MOST_BITS:
            raise ValueError(f"bits: found {self.bits}, expected 1 to {MOST_BITS}, or None for indices as written")

    @property
    def hashing(self) -> None:
        return None

    def call(self, space: Workspace) -> tuple[Kernel, tuple]:
        mask = -1 if self.bits is None else (1 << self.bits) - 1
        return compiled("svmlight", "lines"), (
            (self.rising, self.largest, mask, self.fielded, self.label_weights),
            space.state,
            space.labels,
            space.weights,
            space.groups,
            space.indptr,
            space.indices,
            space.values,
            space.fields,
            space.faults,
            space.scratch,
        )

    def said(self, code: int, line: bytes, offset: int) -> str:
        found = _TOKEN.match(line, offset)
        token = found.group() if found else b""
        # A label, a weight and a value are what follows a colon; the index is what precedes it.
        before = line[:offset].rpartition(b" ")[2].rpartition(b"\t")[2]
        index = before.rstrip(b":").rpartition(b":")[2].decode("utf-8", "replace")
        match self.reasons[code]:
            case "label is not a number":
                return f"found label {shown(token)}, expected a number, in {self.described}"
            case "label is not finite":
                return f"found label {shown(token)}, {FINITE}"
            case "no label":
                return (
                    f"found {shown(token)} in place of the label, expected a number, in {self.described}; if it is "
                    "LABEL:WEIGHT, request that by label_weights (--label-weights)"
                )
            case "weight is not a number" | "weight is negative or not finite":
                return f"found weight {shown(token)}, expected a finite number of 0 or more"
            case "group is not a whole number":
                return f"found qid {shown(token)}, expected a whole number from 0 to {LARGEST_INDEX}"
            case "index is not a whole number" | "index is too large":
                return (
                    f"found {shown(token)}, expected {self.entry} with a whole number from 0 to {self.largest} as index"
                )
            case "field is not a whole number":
                return f"found {shown(token)}, expected {self.entry} with a whole number up to {LARGEST_FIELD} as field"
            case "value is not a number":
                return f"found feature {index} with value {shown(token)}, expected a number"
            case "value is not finite":
                if offset == 0:
                    return f"found a feature whose values, summed, are not finite, {FINITE}"
                return f"found feature {index} with value {shown(token)}, {FINITE}"
            case "indices do not rise":
                # A weight looks like an entry, so the label is left out.
                earlier = re.findall(rb"\s\+?(\d+):", line[:offset])
                entry = int(token.partition(b":")[0])
                return f"found feature {entry} after {int(earlier[-1])}, expected rising indices, each at most once"
        return unreadable(line, self.described, f"{self.described} in ASCII or UTF-8")


@dataclass(frozen=True)
class Libffm(Svmlight):
    """How libffm lines are read.

    Args:
        keep_fields: a row may then have an index several times, each with another field. Otherwise, values of the same
            index are summed, as in svmlight.
    """

    largest: int = LARGEST_INDEX_OF_A_FIELD
    described: str = FIELDS_DESCRIBED
    keep_fields: bool = True

    fielded: ClassVar[bool] = True
    entry: ClassVar[str] = "FIELD:INDEX:VALUE"

    @property
    def fields(self) -> bool:
        return self.keep_fields


_NUMBER = rb"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_HEAD = rb"\s*" + _NUMBER + rb"(?::" + _NUMBER + rb")?"
FORMATS = (
    Format(
        "libffm",
        Libffm,
        (".libffm", ".ffm"),
        line=re.compile(_HEAD + rb"(?:\s+\d+:\d+:[^\s:]+)+\s*(?:#.*)?"),
        options=("bits", "label_weights"),
    ),
    Format(
        "svmlight",
        Svmlight,
        (".svmlight", ".svm", ".libsvm"),
        line=re.compile(_HEAD + rb"(?:\s+(?:qid|cost):[^\s:]+)*(?:\s+\d+:[^\s:]+)*\s*(?:#.*)?"),
        options=("bits", "label_weights"),
    ),
)
