"""Published results, measured: the rows of `published`, one after the other, each with its verdict."""

from __future__ import annotations

import contextlib
import difflib
import functools
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from surefoot.lab.published import ROWS, Row, Skipped, airfoil, pictures

Verdict = Literal["pass", "fail", "skip"]


@dataclass(frozen=True)
class Result:
    """What became of a row.

    Attributes:
        id, section, claim, published, texts, ours, note: of the row.
        measured: in words and numbers; empty where it was skipped.
        verdict: "pass", "fail" or "skip".
        reason: why it was skipped, or what went wrong; else empty.
        seconds: how long it took.
        numbers: the measured numbers alone.
    """

    id: str
    section: str
    claim: str
    published: str
    texts: dict[str, str]
    ours: str
    note: str
    measured: str
    verdict: Verdict
    reason: str
    seconds: float
    numbers: dict[str, float] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """As plain words and numbers."""
        return asdict(self)


Progress = Callable[[Row, Result | None, int, int], None]
"""Called with a row, its result (None before it is measured), how many rows are done, and how many there are."""


def reproduce(
    only: str | Iterable[str] | None = None,
    figures: str | PathLike[str] | None = None,
    progress: Progress | None = None,
) -> list[Result]:
    """Measures published results.

    Args:
        only: ids of rows; the beginning of an id, up to a hyphen, stands for all rows that begin so ("trace",
            "airfoil-adagrad"). By default all rows.
        figures: a folder to write the figures to, as PNG and SVG.
        progress: called before and after every row.

    Returns:
        A Result for every row, in the order of the checklist.

    Raises:
        ValueError: for an id that does not exist, naming one that is like it, or a folder that cannot be written.

    >>> [result.verdict for result in reproduce(only="trace-adagrad")]
    ['pass', 'pass']
    """
    rows = select(only)
    folder = None if figures is None else Path(figures)
    if folder is not None:
        make(folder)
    # A failed attempt to get the data counts for one call, not for the rest of the session.
    airfoil.loaded.cache_clear()
    results = []
    for row in rows:
        if progress is not None:
            progress(row, None, len(results), len(rows))
        results.append(measure(row, folder))
        if progress is not None:
            progress(row, results[-1], len(results), len(rows))
    return results


def select(only: str | Iterable[str] | None) -> list[Row]:
    """The rows that `only` names."""
    if only is None:
        return list(ROWS.values())
    wanted: set[str] = set()
    for name in [only] if isinstance(only, str) else only:
        found = [id for id in ROWS if id == name] or [id for id in ROWS if id.startswith(f"{name}-")]
        if not found:
            raise ValueError(f"there is no published result {name!r}; {nearest(name)}")
        wanted.update(found)
    return [row for row in ROWS.values() if row.id in wanted]


def nearest(name: str) -> str:
    """What is like an id that does not exist, or else how many ids begin.

    >>> nearest("airfoils"), nearest("nosuch")
    ("did you mean 'airfoil'?", 'most ids begin with schedule, trace, optim, airfoil, figure')
    """
    begins = Counter(id.partition("-")[0] for id in ROWS)
    near = difflib.get_close_matches(name, [*begins, *ROWS], 1)
    many = (begin for begin, count in begins.items() if count > 3)
    return f"did you mean {near[0]!r}?" if near else f"most ids begin with {', '.join(many)}"


def measure(row: Row, folder: Path | None = None) -> Result:
    """One row. What goes wrong inside it makes it fail; it does not end the others."""
    begin, finding, reason = time.perf_counter(), None, ""
    take = functools.partial(row.measure, folder=folder) if row.section == pictures.SECTION else row.measure  # type: ignore[call-arg]
    verdict: Verdict = "skip"
    try:
        with one_thread():
            finding = take()
        verdict = "pass" if finding.passed else "fail"
    except Skipped as error:
        reason = str(error)
    except Exception as error:
        verdict, reason = "fail", f"{type(error).__name__}: {error}"
    return Result(
        row.id,
        row.section,
        row.claim,
        row.published,
        dict(row.texts),
        row.ours,
        row.note,
        finding.measured if finding else "",
        verdict,
        reason,
        time.perf_counter() - begin,
        finding.numbers if finding else {},
    )


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Keeps NumPy's linear algebra on one thread: on matrices this small, threads only wait for one another."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"):
        yield


def make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{folder}: cannot be made a folder for figures: {error.strerror or error}") from None
