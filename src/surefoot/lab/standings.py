"""The table of a race as people read it, the same in the terminal and in the report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from surefoot.lab.race import EXPLODED, FROZEN, VALIDATION_SHARE, Entry

Row = dict[str, Any]


@dataclass(frozen=True)
class Column:
    """A column: its title, what it means, a cell's text, and whether low (−1) or high (1) values are better."""

    key: str
    title: str
    meaning: str
    text: Callable[[Row], str]
    better: int = 0

    def best(self, rows: Sequence[Row]) -> float | None:
        """The best value in the column; None where there is nothing to win."""
        values = [row[self.key] for row in rows if not row["diverged"] and row[self.key] is not None]
        return max(values, key=lambda value: self.better * value) if self.better and len(values) > 1 else None


def columns(rows: Sequence[Row]) -> list[Column]:
    """The columns that have something to say about these rows: accuracy for classes, zeros where there are any."""
    silent = {key for key in ("accuracy", "frozen") if all(row[key] is None for row in rows)}
    if not any(row["zeros"] for row in rows):
        silent.add("zeros")
    return [column for column in COLUMNS if column.key not in silent]


def rate(row: Row) -> str:
    """The learning rate, and the schedule that starts there.

    >>> rate({"lr": 0.1, "schedule": "polynomial"})
    '0.1 (polynomial)'
    """
    return f"{row['lr']:.4g}" + (f" ({row['schedule']})" if row["schedule"] else "")


def spread(key: str) -> Callable[[Row], str]:
    """Mean ± standard deviation of a measure, or in which epoch the rule diverged."""

    def text(row: Row) -> str:
        if row["diverged"]:
            return outcome(row) if key == "test_loss" else "–"
        value, deviation = row[key], row[f"{key}_std"]
        return number(value) + (f" ± {number(deviation, value)}" if deviation is not None else "")

    return text


def outcome(row: Row) -> str:
    """The note on a rule that diverged."""
    return f"diverged (epoch {row['diverged']})"


def number(value: float, like: float | None = None) -> str:
    """A loss with four decimals, fewer if it is large; a deviation with the same number as its mean.

    >>> number(0.24263), number(123.456), number(1.5e7)
    ('0.2426', '123.5', '1.5e+07')
    """
    size = abs(value if like is None else like)
    if size >= 1e5:
        return f"{value:.3g}"
    return f"{value:.{4 if size < 10 else 2 if size < 100 else 1}f}"


def percent(key: str, digits: int) -> Callable[[Row], str]:
    """A share in percent, with its standard deviation where there is one."""

    def text(row: Row) -> str:
        if row[key] is None:
            return "–"
        deviation = row.get(f"{key}_std")
        spread = f" ± {100 * deviation:.{digits}f}" if deviation is not None else ""
        return f"{100 * row[key]:.{digits}f}{spread}%"

    return text


def duration(seconds: float) -> str:
    """Seconds in a unit that fits, three digits of them.

    >>> duration(0.0012), duration(25.06)
    ('1.20 ms', '25.1 s')
    """
    unit, size = next(((unit, size) for unit, size in (("s", 1.0), ("ms", 1e-3)) if seconds >= size), ("µs", 1e-6))
    value = seconds / size
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f} {unit}"


COLUMNS = (
    Column("rule", "rule", "", lambda row: row["rule"]),
    Column("lr", "η", "learning rate", rate),
    Column("test_loss", "held-out loss", "mean ± standard deviation over the seeds", spread("test_loss"), -1),
    Column("train_loss", "training loss", "mean ± standard deviation over the seeds", spread("train_loss"), -1),
    Column("accuracy", "accuracy", "share of held-out examples put in the right class", percent("accuracy", 1), 1),
    Column(
        "seconds_per_epoch",
        "s/epoch",
        "median time of training; evaluation and compilation do not count",
        lambda row: duration(row["seconds_per_epoch"]),
        -1,
    ),
    Column(
        "bytes_per_coordinate",
        "B/coord.",
        "bytes of memory that the rule keeps for each coordinate",
        lambda row: f"{row['bytes_per_coordinate']:.3g}",
    ),
    Column(
        "frozen",
        "frozen",
        f"share of the features that occur in training whose weight the last epoch changed by at most {FROZEN:.0%} of "
        "itself",
        percent("frozen", 1),
    ),
    Column("zeros", "zero", "share of these weights that are exactly zero", percent("zeros", 1)),
)


def how_rates_were_found(entries: Sequence[Entry]) -> str:
    """Where the learning rates come from.

    >>> how_rates_were_found([])
    'as given.'
    """
    tried = [lr for entry in entries if entry.search is not None for lr in entry.search.tried]
    if not tried:
        return "as given."
    given = ", ".join(entry.rule.name for entry in entries if entry.search is None)
    return f"searched on {VALIDATION_SHARE:.0%} of the training part: tried {min(tried):g} … {max(tried):g}" + (
        f"; as given for {given}." if given else "."
    )


def how_the_search_goes(entries: Sequence[Entry]) -> str:
    """How a rate is searched, where one was."""
    if all(entry.search is None for entry in entries):
        return ""
    return (
        "Each rule tries rates 1 and 3 times powers of ten around its own default, and beyond as long as the best one "
        "lies at the edge; each for as many epochs as the race, with its first seed. The lowest loss on the part held "
        "back wins, and the rule then trains on the whole training part."
    )


def how_divergence_is_told() -> str:
    """When a run is called diverged."""
    return (
        f"A run has diverged when its training loss is not finite or more than {EXPLODED:,.0f} times what it was "
        "before training, or when a step was not finite."
    )


def headline(rows: Sequence[Row]) -> str:
    """The outcome in one sentence."""
    finished = [row for row in rows if not row["diverged"]]
    if not finished:
        return "Every rule diverged." if len(rows) > 1 else f"{rows[0]['rule']} diverged."
    best = finished[0]
    place = "reached the lowest held-out loss," if len(rows) > 1 else "reached the held-out loss"
    deviation = best["test_loss_std"]
    spread = f" ± {number(deviation, best['test_loss'])}" if deviation is not None else ""
    return f"{best['rule']} {place} {number(best['test_loss'])}{spread}, at η = {rate(best)}."


def runners_up(rows: Sequence[Row]) -> str:
    """Who came next, how far the last one was, and who diverged."""
    finished = [row for row in rows if not row["diverged"]]
    said = []
    if len(finished) > 1:
        second, last = finished[1], finished[-1]
        said.append(f"Next came {second['rule']} with {number(second['test_loss'])}")
        if len(finished) > 2:
            said[-1] += f"; last was {last['rule']} with {number(last['test_loss'])}"
        said[-1] += "."
        margin = second["test_loss"] - finished[0]["test_loss"]
        if second["test_loss_std"] is not None and margin < second["test_loss_std"] + finished[0]["test_loss_std"]:
            said.append("The first two are closer than their spread over the seeds.")
    if finished and len(finished) < len(rows):
        said.append(f"{listed([row['rule'] for row in rows if row['diverged']])} diverged.")
    return " ".join(said)


def listed(names: Sequence[str]) -> str:
    """Names as a sentence takes them.

    >>> listed(["sgd", "adam", "ftrl"])
    'sgd, adam and ftrl'
    """
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
