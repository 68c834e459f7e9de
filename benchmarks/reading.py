"""Reading text into blocks: megabytes a second, compared with readers that hold the whole file in memory.

The text is a file of 200,000 bags of words with 142 distinct ones each, as svmlight and as Vowpal Wabbit's text, and a
table of clicks with 13 numbers and 26 categories in each row. It is read from the system's cache, by kernels compiled
before. Names of hashed features are kept, too; each reading begins with an empty table of them.
"""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import Figure, Row, installed, race, size, times_as_fast
from benchmarks.zipf import Zipf
from surefoot.data.stream import Table, read

TITLE = "Reading files"
BAR, TIMES_BAR = 800, 30
FORMATS = {"svmlight": "svmlight", "vw": "vw", "csv": Table(target="click")}
sklearn_datasets, pandas = installed("sklearn.datasets"), installed("pandas")
PEERS = {
    "svmlight": ("scikit-learn's load_svmlight_file", lambda path: sklearn_datasets.load_svmlight_file(path)),
    "csv": ("pandas.read_csv, without hashing", lambda path: pandas.read_csv(path)),
}
"""Readers of the same text, into memory."""


def measure(quick: bool) -> Iterator[Row]:
    """Each format with one thread and with two, then compared with a peer."""
    rows, rounds = (2_000, 1) if quick else (200_000, 5)
    with tempfile.TemporaryDirectory() as folder:
        for name, format in FORMATS.items():
            path = Path(folder) / f"file.{name}"
            write(path, name, rows)
            yield from of_format(path, name, format, rounds)
            path.unlink()


def write(path: Path, name: str, rows: int) -> None:
    """A file of that many rows."""
    if name != "csv":
        Zipf(rows).write(path, name)
        return
    rng = np.random.default_rng(0)
    numbers = np.floor(rng.lognormal(2, 2, (rows, 13))).astype(int)
    categories = np.minimum(rng.zipf(1.3, (rows, 26)), 1_000_000) * 2_654_435_761 % (1 << 32)
    columns = ["click", *(f"I{k}" for k in range(1, 14)), *(f"C{k}" for k in range(1, 27))]
    with path.open("w") as file:
        file.write(",".join(columns) + "\n")
        for row, click in enumerate(rng.random(rows) < 0.25):
            values = [*map(str, numbers[row].tolist()), *(f"{value:08x}" for value in categories[row].tolist())]
            file.write(f"{click:d},{','.join(values)}\n")


def of_format(path: Path, name: str, format: Any, rounds: int) -> Iterator[Row]:
    """Megabytes a second, and how many times as fast as the peer."""
    stored, title = path.stat().st_size, ""
    contenders: dict[Any, Callable[[], object]] = {
        threads: lambda threads=threads: sum(map(len, read(path, format, threads=threads))) for threads in (1, 2)
    }
    if name in PEERS:
        title, call = PEERS[name]
        contenders[title] = lambda: call(str(path))
    times = race(contenders, rounds)
    for threads in (1, 2):
        speed = Figure.of([stored / seconds / 1e6 for seconds in times[threads].seconds])
        bar = BAR if name == "svmlight" and threads == 2 else None
        what = f"{name}, {size(stored)}, {threads} thread{'s' * (threads > 1)}"
        yield Row(what, str(times[threads]), "", speed, unit="MB/s", bar=bar)
    if title:
        ratio, bar = times_as_fast(times[2], times[title]), TIMES_BAR if name == "svmlight" else None
        yield Row(f"{name}, 2 threads", str(times[2]), f"{title}: {times[title]}", ratio, bar=bar)
