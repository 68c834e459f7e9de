"""Feeds readers of lines with mutated lines, many at once, and checks what must hold of any text.

`PYTHONPATH=tests python tests/data/stream/fuzz.py [FORMAT …] [--inputs N] [--seed K] [--keep]`

Every input is a line that was mutated; some thousand of them make a text. For every text: nothing crashes, each line
is a row, a fault that can be put into words, or blank; rows are canonical and finite; names are those of the rows. For
some of the inputs, rows are those of a slow reader in plain Python too. With `--keep`, inputs whose fault is of a new
kind go to the corpus, from which mutations begin and which tests replay.
"""

import argparse
import random
import re
import time
from pathlib import Path

from support import slow_readers

from surefoot.data.stream.sources import limits

CORPUS = Path(__file__).with_name("corpus")
AT_ONCE, COMPARED, KEPT = 5_000, 100, 100
"""Inputs of a text, those that are compared with the slow reader, and lines of a corpus at most."""
TOKENS = [
    *(bytes([byte]) for byte in range(256) if byte != 10),
    *b": | ' # \" , \t \r \x00 \xff - + . e nan inf -0 00 1e400 1e-400 1e40 1e38 3.4028235677973366e38 0x1 1_0".split(
        b" "
    ),
    *b"123456789012345678 1234567890123456789 4294967296 8796093022208 1048576 0.1234567890123456789".split(),
    *b'qid:1 cost:2 1:1 2:3:4 |a a:1 \'tag NA "" "a" ,, label'.split(),
    "²é".encode(),
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b" " * 20,
    b"x" * 120,
    b" 7:1" * 40,
    b" a b:2" * 40,
]


def mutated(rng: random.Random, good: list[bytes], corpus: list[bytes]) -> bytes:
    """A line, mostly a good one, after some mutations, most often one or two."""
    line = rng.choice(corpus if rng.random() < 0.2 else good)
    for _ in range(int(rng.expovariate(0.7))):
        place = rng.randrange(len(line) + 1)
        match rng.randrange(6):
            case 0:
                line = line[:place] + line[place + rng.randrange(1, 4) :]
            case 1 | 2:
                line = line[:place] + rng.choice(TOKENS) + line[place:]
            case 3:
                line = line[:place] + rng.choice(TOKENS) + line[place + 1 :]
            case 4:
                line = line[:place] + line[rng.randrange(len(line) + 1) :]
            case 5:
                other = rng.choice(corpus)
                line = line[:place] + other[rng.randrange(len(other) + 1) :]
    return line.replace(b"\n", b"")


def kind(said: str) -> str:
    """A fault without the particulars of its line: of its token, only what it begins with."""
    return re.sub(r"[A-Za-z]", "a", re.sub(r"\d", "0", re.sub(r"'(..?).*'", r"\1", said.partition("expected")[0])))


def fuzz(format: str, inputs: int, seed: int, keep: bool) -> str:
    """Feeds a reader; returns what was found, as a line."""
    rng, path = random.Random(seed), CORPUS / f"{format}.txt"
    corpus = path.read_bytes().split(b"\n")
    kinds, good, done, faults, begin = set(), [], 0, 0, time.monotonic()
    for line in corpus:
        found = {kind(fault.said) for fault in slow_readers.check(line, format)}
        kinds |= found
        good += [] if found else [line]
    while done < inputs:
        lines = [mutated(rng, good, corpus) for _ in range(min(AT_ONCE, inputs - done))]
        limits.PIECE = rng.choice([1 << 10, 1 << 14, 4 << 20])
        found = slow_readers.check(b"\n".join(lines), format, compare=False, threads=rng.choice([1, 2]))
        slow_readers.check(b"\n".join(rng.sample(lines, min(COMPARED, len(lines)))), format)
        done, faults = done + len(lines), faults + len(found)
        for fault in found:
            line = lines[fault.line - 1 - (format == "csv")]
            if (new := kind(fault.said)) not in kinds and len(corpus) < KEPT and len(line) < 300:
                corpus.append(line)
            kinds.add(new)
    if keep:
        path.write_bytes(b"\n".join(corpus))
    seconds = time.monotonic() - begin
    return f"{format}: {done:,} inputs, {faults:,} faults of {len(kinds)} kinds, no failure, {seconds:.0f} s"


def fuzz_parquet(inputs: int, seed: int) -> str:
    """Feeds damaged Parquet files: PyArrow reads them, so there is no corpus and nothing to compare with."""
    rng, begin = random.Random(seed), time.monotonic()
    said = [slow_readers.check_parquet(slow_readers.damaged(rng, slow_readers.PARQUET)) for _ in range(inputs)]
    rejected, seconds = sum(map(bool, said)), time.monotonic() - begin
    return f"parquet: {inputs:,} inputs, {rejected:,} rejected, no failure, {seconds:.0f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description="Feeds readers of lines with mutated lines.")
    parser.add_argument("formats", nargs="*", default=[*slow_readers.FORMATS, "parquet"], help="some; all by default")
    parser.add_argument("--inputs", type=int, default=1_000_000, help="for each format")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", action="store_true", help="add inputs with new faults to the corpus")
    arguments = parser.parse_args()
    for format in arguments.formats:
        if format == "parquet":
            print(fuzz_parquet(arguments.inputs, arguments.seed), flush=True)  # noqa: T201
        else:
            print(fuzz(format, arguments.inputs, arguments.seed, arguments.keep), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
