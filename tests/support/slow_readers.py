"""Readers of single lines in plain Python, slow and obvious: what the kernels are compared with."""

import io
import math
import re
from fractions import Fraction

import numpy as np
import pyarrow
from pyarrow import parquet

from surefoot.data import DataError
from surefoot.data.stream import Hashing, Libffm, Stream, Svmlight, Table, Vw, read
from surefoot.data.stream.faults import Fault, Policy
from surefoot.data.stream.opening import open_files
from surefoot.data.stream.table import MISSING

HASHING = Hashing()

NUMBER = re.compile(rb"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
BLANKS = b" \t\r\v\f"
BEYOND_FLOAT32 = Fraction(2) ** 128 - Fraction(2) ** 103
LARGEST = float(np.finfo(np.float32).max)

COLUMNS = {
    "y": pyarrow.array([1.0, 0.0, None, 1.0]),
    "x": pyarrow.array([0.1, None, math.nan, -3e-5], pyarrow.float32()),
    "k": pyarrow.array([2**62, 1, 2, 3]),
    "s": pyarrow.array(["red", 'a "b", c', None, "line\nend"]),
    "d": pyarrow.array(["u", "v", "u", None]).dictionary_encode(),
    "b": pyarrow.array([True, False, None, True]),
}


def parquet_file(compression: str) -> bytes:
    target = io.BytesIO()
    parquet.write_table(pyarrow.table(COLUMNS), target, compression=compression, row_group_size=3)
    return target.getvalue()


PARQUET = [parquet_file(compression) for compression in ("none", "snappy", "zstd")]


class Rejected(Exception):
    """The line is a fault."""


def nearest_float32(text: str) -> float:
    """By comparing exact fractions; `float32(float(text))` would round twice."""
    double = abs(float(text))
    sign = -1 if text.startswith("-") else 1
    if double == 0.0 or math.isinf(double):
        return sign * double
    exact = abs(Fraction(text))
    if exact >= BEYOND_FLOAT32:
        return sign * math.inf
    with np.errstate(over="ignore"):
        guess = np.float32(double)
    near = (np.nextafter(guess, np.float32(0)), guess, np.nextafter(guess, np.float32(np.inf)))
    finite = [float32 for float32 in near if np.isfinite(float32)]
    best = min(finite, key=lambda value: (abs(Fraction(float(value)) - exact), int(value.view(np.uint32)) & 1))
    return float(np.copysign(best, sign))


def number(text: bytes, single: bool = True) -> float:
    """The number that is all of the text."""
    if not NUMBER.fullmatch(text):
        raise Rejected(text)
    value = nearest_float32(text.decode()) if single else float(text)
    if not math.isfinite(value):
        raise Rejected(text)
    return value


def weight(text: bytes) -> float:
    if (value := number(text)) < 0:
        raise Rejected(text)
    return value


def whole(text: bytes, digits: int = 18) -> int:
    if not re.fullmatch(rb"\+?\d+", text) or len(text.lstrip(b"+").lstrip(b"0")) > digits:
        raise Rejected(text)
    return int(text)


def summed(entries: list[tuple[int, float]]) -> dict[int, float]:
    """Values of the same index added up, in order of occurrence, and rounded once."""
    sums: dict[int, float] = {}
    for index, value in entries:
        sums[index] = sums[index] + value if index in sums else value
    with np.errstate(over="ignore"):
        rounded = {index: float(np.float32(sums[index])) for index in sorted(sums)}
    if not all(map(math.isfinite, rounded.values())):
        raise Rejected(entries)
    return rounded


def svmlight(line: bytes, fielded: bool = False, weighted: bool = False):
    """(label, weight, base, entries) of a line; None for a blank one.

    With fields, the keys of entries are (index, field).
    """
    tokens = re.split(rb"[ \t\r\v\f]+", line.partition(b"#")[0].strip(BLANKS))
    if tokens == [b""]:
        return None
    label, colon, importance = tokens.pop(0).partition(b":")
    if colon and not weighted:
        raise Rejected(line)
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
                raise Rejected(token)
            index = whole(places[-1])
            key = (index, whole(places[0])) if fielded else index
            if fielded and (index >= 1 << 43 or key[1] >= 1 << 20):
                raise Rejected(token)
            entries.append((key, number(value)))
    return row_label, row_weight, 0.0, summed(entries)


def weighted(line: bytes):
    return svmlight(line, weighted=True)


def libffm(line: bytes):
    return svmlight(line, fielded=True)


WORD = re.compile(rb"[A-Za-z_\x80-\xff][^:|\s]*")
WORDS_OF_NUMBERS = re.compile(rb"nan|inf|infinity", re.IGNORECASE)


def vw(line: bytes, hashing: Hashing = HASHING):
    """(label, weight, base, entries) of a line; None for a blank one."""
    if not line.strip(BLANKS):
        return None
    if any(byte < 32 and byte not in BLANKS for byte in line):
        raise Rejected(line)
    head, *spaces = line.split(b"|")
    if not spaces:
        raise Rejected(line)
    words = re.split(rb"[ \t\r\v\f]+", head.strip(BLANKS)) if head.strip(BLANKS) else []
    quoted = [k for k, word in enumerate(words) if word.startswith(b"'")]
    touching = bool(head) and head[-1] not in BLANKS
    if quoted and quoted[0] != len(words) - 1:
        raise Rejected(head)
    if quoted:
        words.pop()
    elif touching:
        if len(words) == 1 and is_number(words[0]):
            raise Rejected(head)
        words.pop()
    if len(words) > 3:
        raise Rejected(head)
    label = number(words[0]) if words else math.nan
    importance = weight(words[1]) if len(words) > 1 else 1.0
    base = number(words[2]) if len(words) > 2 else 0.0
    entries = []
    for space in spaces:
        named = space[:1] not in [bytes([blank]) for blank in BLANKS] and space != b""
        tokens = re.split(rb"[ \t\r\v\f]+", space.strip(BLANKS)) if space.strip(BLANKS) else []
        name, colon, scale_text = tokens.pop(0).partition(b":") if named and tokens else (b"", b"", b"")
        scale = number(scale_text, single=False) if colon else 1.0
        unnamed = 0
        for token in tokens:
            feature, colon, value_text = token.partition(b":")
            if feature and WORD.fullmatch(value_text) and not WORDS_OF_NUMBERS.fullmatch(value_text):
                feature, colon = token, b""
            if not feature:
                if not colon or unnamed == 1 << 14:
                    raise Rejected(token)
                feature, unnamed = b"%d" % unnamed, unnamed + 1
            value = scale * (number(value_text, single=scale == 1.0) if colon else 1.0)
            if not abs(value) <= LARGEST:
                raise Rejected(token)
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
                raise Rejected(line)
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
        raise Rejected(line)
    values = values_of(line)
    if len(values) != len(kinds):
        raise Rejected(line)
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


ORACLES = {"csv": csv, "svmlight": svmlight, "weighted": weighted, "libffm": libffm, "vw": vw}


def rows(content: bytes, format: str) -> tuple[list, int]:
    """What the oracle makes of all lines, and how many of them are faults."""
    found, faults = [], 0
    for line in content.split(b"\n"):
        try:
            row = ORACLES[format](line)
        except Rejected:
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
    except Rejected:
        return False
    return True


FORMATS = {
    "svmlight": Svmlight(),
    "weighted": Svmlight(label_weights=True),
    "libffm": Libffm(),
    "vw": Vw(),
    "csv": Table("label", "w", numeric=["n*"], categorical=["c*"], word_labels=False),
}


class Collected(Policy):
    """Leaves faulty lines out, and keeps what is said about all of them."""

    def __init__(self):
        super().__init__("skip")
        self.faults: list[Fault] = []

    @property
    def needs(self):
        return None

    def take(self, name, first_line, counts, faults):
        super().take(name, first_line, counts, faults)
        self.faults += [fault._replace(line=first_line + fault.line) for fault in faults]


def is_nothing(line: bytes, format: str) -> bool:
    """Whether a line is blank or a comment."""
    rest = line.strip(BLANKS)
    return not rest or (format in ("svmlight", "weighted", "libffm") and rest.startswith(b"#"))


def check(content: bytes, format: str, compare: bool = True, threads: int = 1) -> list[Fault]:
    """Reads a text and checks what must hold of any; with `compare`, every row is the slow reader's.

    Returns:
        What is said about lines that cannot be used, each with its number in the text.
    """
    text = (HEADER + b"\n" if format == "csv" else b"") + content
    policy = Collected()
    stream = Stream(open_files([io.BytesIO(text)], FORMATS[format]), policy, threads)
    try:
        blocks = list(stream)
    except DataError:
        assert stream.rows == 0
        blocks = []
    text = text.removeprefix(b"\xef\xbb\xbf")
    lines = text.removesuffix(b"\n").split(b"\n") if text else []
    nothing = sum(is_nothing(line, format) for line in lines)
    assert stream.lines == len(lines)
    assert stream.rows + policy.counts.total() + nothing + (format == "csv") == len(lines)
    assert len(policy.faults) == policy.counts.total()
    for fault in policy.faults:
        assert 1 <= fault.column <= len(lines[fault.line - 1]) + 1
        assert "\n" not in fault.said
        assert "expected" in fault.said or "touching" in fault.said
    for block in blocks:
        check_block(block)
    if stream.names is not None:
        indices = {index for block in blocks for index in block.indices.tolist()}
        assert indices == set(stream.names)
    if compare:
        rows_expected, faults = rows(b"\n".join(lines[format == "csv" :]), format)
        for row, expected in zip((row for block in blocks for row in rows_of(block)), rows_expected, strict=True):
            assert repr(row) == repr(expected)
        assert policy.counts.total() == faults
    return policy.faults


def check_block(block) -> None:
    """Whether it is a block: CSR, sorted, finite."""
    assert block.indptr[0] == 0
    assert block.indptr[-1] == len(block.indices) == len(block.values)
    assert (np.diff(block.indptr) >= 0).all()
    assert np.isfinite(block.values).all()
    assert np.isfinite(block.weights).all()
    assert (block.weights >= 0).all()
    assert not np.isinf(block.labels).any()
    assert (block.indices >= 0).all()
    keys = block.indices if block.fields is None else block.indices << 20 | block.fields
    inside = np.ones(len(keys), bool)
    inside[block.indptr[:-1][block.indptr[:-1] < len(keys)]] = False
    assert (np.diff(keys, prepend=-1)[inside] > 0).all()


def damaged(rng, good: list[bytes]) -> bytes:
    """A Parquet file with some bytes that are wrong, missing or too many."""
    content = bytearray(rng.choice(good))
    for _ in range(rng.randrange(1, 4)):
        # Half of them near the end, where Parquet describes itself.
        place = len(content) - rng.randrange(1, rng.choice([300, len(content)]))
        content[place : place + rng.randrange(3)] = rng.randbytes(rng.randrange(3))
    return bytes(content)


def check_parquet(content: bytes) -> str:
    """Whatever the bytes are: rows of finite numbers, or one sentence, which is returned."""
    try:
        for block in read(io.BytesIO(content), Table(target="y", categorical=["b"]), on_error="skip", threads=1):
            check_block(block)
    except DataError as error:
        return str(error)
    return ""
