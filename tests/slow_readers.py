"""Readers of single lines in plain Python, slow and obvious: what the kernels are compared with."""

import math
import re

import numpy as np

from surefoot.data.stream import Hashing
from surefoot.data.stream.table import MISSING

HASHING = Hashing()

NUMBER = re.compile(rb"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
BLANKS = b" \t\r\v\f"
LARGEST = float(np.finfo(np.float32).max)


class Refused(Exception):
    """The line is a fault."""


def number(text: bytes, single: bool = True) -> float:
    """The number that is all of the text."""
    if not NUMBER.fullmatch(text):
        raise Refused(text)
    with np.errstate(over="ignore"):
        value = float(np.float32(float(text))) if single else float(text)
    if not math.isfinite(value):
        raise Refused(text)
    return value


def weight(text: bytes) -> float:
    if (value := number(text)) < 0:
        raise Refused(text)
    return value


def whole(text: bytes, digits: int = 18) -> int:
    if not re.fullmatch(rb"\+?\d+", text) or len(text.lstrip(b"+").lstrip(b"0")) > digits:
        raise Refused(text)
    return int(text)


def summed(entries: list[tuple[int, float]]) -> dict[int, float]:
    """Values of the same index added up, in order of occurrence, and rounded once."""
    sums: dict[int, float] = {}
    for index, value in entries:
        sums[index] = sums[index] + value if index in sums else value
    with np.errstate(over="ignore"):
        rounded = {index: float(np.float32(sums[index])) for index in sorted(sums)}
    if not all(map(math.isfinite, rounded.values())):
        raise Refused(entries)
    return rounded


def svmlight(line: bytes, fielded: bool = False):
    """(label, weight, base, entries) of a line; None for a blank one.

    With fields, the keys of entries are (index, field).
    """
    tokens = re.split(rb"[ \t\r\v\f]+", line.partition(b"#")[0].strip(BLANKS))
    if tokens == [b""]:
        return None
    label, colon, importance = tokens.pop(0).partition(b":")
    row_label, row_weight, entries = number(label), weight(importance) if colon else 1.0, []
    for token in tokens:
        if token.startswith(b"qid:") and not entries:
            if token[4:5] == b"+":
                token = b"qid:" + token[5:]
            whole(token[4:])
        elif token.startswith(b"cost:") and not entries:
            row_weight = weight(token[5:])
        else:
            *places, value = token.split(b":")
            if len(places) != 1 + fielded:
                raise Refused(token)
            index = whole(places[-1])
            key = (index, whole(places[0])) if fielded else index
            if fielded and (index >= 1 << 43 or key[1] >= 1 << 20):
                raise Refused(token)
            entries.append((key, number(value)))
    return row_label, row_weight, 0.0, summed(entries)


def libffm(line: bytes):
    return svmlight(line, fielded=True)


def vw(line: bytes, hashing: Hashing = HASHING):
    """(label, weight, base, entries) of a line; None for a blank one."""
    if not line.strip(BLANKS):
        return None
    if any(byte < 32 and byte not in BLANKS for byte in line):
        raise Refused(line)
    head, *spaces = line.split(b"|")
    if not spaces:
        raise Refused(line)
    words = re.split(rb"[ \t\r\v\f]+", head.strip(BLANKS)) if head.strip(BLANKS) else []
    quoted = [k for k, word in enumerate(words) if word.startswith(b"'")]
    touching = bool(head) and head[-1] not in BLANKS
    if quoted and quoted[0] != len(words) - 1:
        raise Refused(head)
    if quoted:
        words.pop()
    elif touching:
        if len(words) == 1 and is_number(words[0]):
            raise Refused(head)
        words.pop()
    if len(words) > 3:
        raise Refused(head)
    label = number(words[0]) if words else math.nan
    importance = weight(words[1]) if len(words) > 1 else 1.0
    base = number(words[2]) if len(words) > 2 else 0.0
    entries = []
    for space in spaces:
        named = space[:1] not in [bytes([blank]) for blank in BLANKS] and space != b""
        tokens = re.split(rb"[ \t\r\v\f]+", space.strip(BLANKS)) if space.strip(BLANKS) else []
        name, colon, scale_text = tokens.pop(0).partition(b":") if named and tokens else (b"", b"", b"")
        scale = number(scale_text, single=False) if colon else 1.0
        for token in tokens:
            feature, colon, value_text = token.partition(b":")
            if not feature:
                raise Refused(token)
            value = scale * (number(value_text, single=scale == 1.0) if colon else 1.0)
            if not abs(value) <= LARGEST:
                raise Refused(token)
            key = hashing.index(feature, name)
            entries.append((key, float(np.float32(value))))
    return label, importance, base, summed(entries)


def values_of(line: bytes, delimiter: bytes = b",") -> list[tuple[bytes, bool]]:
    """The values of a line of a table, and whether each was quoted."""
    found, i = [], 0
    blanks = BLANKS.replace(delimiter, b"")
    while True:
        while line[i : i + 1] and line[i : i + 1] in [bytes([blank]) for blank in blanks]:
            i += 1
        if line[i : i + 1] == b'"':
            quoted = re.compile(rb'"((?:[^"]|"")*)"[%b]*(?=%b|$)' % (blanks, re.escape(delimiter))).match(line, i)
            if not quoted or b"\n" in quoted.group():
                raise Refused(line)
            found.append((quoted.group(1).replace(b'""', b'"'), True))
            i = quoted.end()
        else:
            end = line.find(delimiter, i) % (len(line) + 1)
            found.append((line[i:end].rstrip(blanks), False))
            i = end
        if i >= len(line):
            return found
        i += 1


def table(line: bytes, kinds: str, names: list[str], hashing: Hashing = HASHING):
    """As `vw`; kinds: a letter for each column, of target, weight, numeric, categorical, dropped."""
    if not line.strip(BLANKS):
        return None
    if any(byte < 32 and byte not in BLANKS for byte in line):
        raise Refused(line)
    values = values_of(line)
    if len(values) != len(kinds):
        raise Refused(line)
    label, importance, entries = math.nan, 1.0, []
    for (value, _), kind, name in zip(values, kinds, names, strict=True):
        missing = value.decode("latin-1") in MISSING
        if kind == "t" and not missing:
            label = number(value)
        elif kind == "w":
            importance = weight(value)
        elif kind in "nc" and missing:
            entries.append((hashing.index("missing", name), 1.0))
        elif kind == "n":
            entries.append((hashing.index(name), number(value)))
        elif kind == "c":
            entries.append((hashing.index(value, name), 1.0))
    return label, importance, 0.0, summed(entries)


NAMES = ["label", "w", "n1", "n2", "c1", "c2"]
KINDS = "twnncc"
HEADER = ",".join(NAMES).encode()


def csv(line: bytes):
    """Lines of the table that tests and fuzzing use."""
    return table(line, KINDS, NAMES)


ORACLES = {"csv": csv, "svmlight": svmlight, "libffm": libffm, "vw": vw}


def rows(content: bytes, format: str) -> tuple[list, int]:
    """What the oracle makes of all lines, and how many of them are faults."""
    found, faults = [], 0
    for line in content.split(b"\n"):
        try:
            row = ORACLES[format](line)
        except Refused:
            faults += 1
        else:
            found += [row] if row is not None else []
    return found, faults


def rows_of(block) -> list:
    """The rows of a block, as the oracles write them."""
    found = []
    for k in range(len(block)):
        begin, end = block.indptr[k], block.indptr[k + 1]
        keys = block.indices[begin:end].tolist()
        if block.fields is not None:
            keys = list(zip(keys, block.fields[begin:end].tolist(), strict=True))
        base = 0.0 if block.bases is None else float(block.bases[k])
        entries = dict(zip(keys, block.values[begin:end].tolist(), strict=True))
        found.append((float(block.labels[k]), float(block.weights[k]), base, entries))
    return found


def is_number(text: bytes) -> bool:
    try:
        number(text)
    except Refused:
        return False
    return True
