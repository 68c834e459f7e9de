"""The table of a race as people read it, the same in the terminal and in the report."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from surefoot.lab.race import EXPLODED, FROZEN, VALIDATION_SHARE, Entry
from surefoot.rules import adagrad, sgd

Row = dict[str, Any]
SUBJECT, PLAIN = adagrad.name, sgd.name
"""The rule that headlines are about, where it takes part; and the one with a single rate, which it is compared with."""


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
    optional = ("accuracy", "frozen", "rare_loss", "frequent_loss")
    silent = {key for key in optional if all(row[key] is None for row in rows)}
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
    Column(
        "rare_loss",
        "rare",
        "training loss of the quarter of the examples whose rarest feature occurs least often",
        spread("rare_loss"),
        -1,
    ),
    Column(
        "frequent_loss",
        "frequent",
        "training loss of the quarter whose rarest feature occurs most often",
        spread("frequent_loss"),
        -1,
    ),
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


MOST = 0.75
FLAT = 4
"""If this share of the values needs less than one in FLAT parts of a scale, the scale is theirs."""


def zoomed(low: float, tops: Sequence[float]) -> float:
    """The upper end of a scale from `low` on which most values are told apart; the highest value where all fit.

    >>> zoomed(1.0, [1.0, 1.1, 1.2, 1.3]), round(zoomed(1.0, [1.0, 1.1, 1.2, 1.3, 9.0]), 2)
    (1.3, 1.33)
    """
    ordered = sorted(tops)
    most = ordered[math.ceil(MOST * len(ordered)) - 1]
    if most <= low or ordered[-1] - low <= FLAT * (most - low):
        return ordered[-1]
    return most + 0.1 * (most - low)


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
    """What was measured: the lowest loss, which rules cannot be told from the one that has it, where the subject is."""
    finished = [row for row in rows if not row["diverged"]]
    if not finished:
        return "Every rule diverged." if len(rows) > 1 else f"{rows[0]['rule']} diverged."
    return " ".join(filter(None, (on_the_lowest(finished), on_the_subject(rows, finished))))


def on_the_lowest(finished: Sequence[Row]) -> str:
    """Which rules had the lowest held-out loss."""
    best, seeds = finished[0], over(finished[0]["seeds"])
    ties = equals(finished)
    if len(ties) > 1:
        names, losses = listed([row["rule"] for row in ties]), [number(row["test_loss"]) for row in ties]
        lowest = f"losses, {losses[0]} to {losses[-1]}" if losses[0] != losses[-1] else f"loss, {losses[0]}"
        return f"{names} had the lowest held-out {lowest}; {seeds[5:]} do not tell them apart."
    place = "had the lowest held-out loss," if len(finished) > 1 else "had a held-out loss of"
    return f"{best['rule']} {place} {spread('test_loss')(best)} {seeds}, at η = {rate(best)}."


def on_the_subject(rows: Sequence[Row], finished: Sequence[Row]) -> str:
    """What the subject's rates do for rare features, against a single rate; or else where it came in."""
    mine = next((row for row in rows if row["rule"] == SUBJECT), None)
    if mine is None or len(rows) < 2:
        return ""
    if mine["diverged"]:
        return f"{SUBJECT} diverged."
    if (other := rival(mine, finished)) is not None:
        rare, often = ([number(row[key]) for row in (mine, other)] for key in ("rare_loss", "frequent_loss"))
        return (
            f"On examples with rare features {SUBJECT}'s training loss was {rare[0]}, {other['rule']}'s {rare[1]}; on "
            f"those with frequent features only, {often[0]} and {often[1]}."
        )
    if mine in equals(finished):
        return ""
    return f"{SUBJECT} came {ordinal(finished.index(mine) + 1)} of {len(finished)}, {lag(mine)} behind."


def ordinal(place: int) -> str:
    """A place in words.

    >>> [ordinal(place) for place in (1, 2, 3, 4, 11, 12, 13, 21, 22, 23, 30)]
    ['1st', '2nd', '3rd', '4th', '11th', '12th', '13th', '21st', '22nd', '23rd', '30th']
    """
    return f"{place}{'th' if 10 < place < 20 else {1: 'st', 2: 'nd', 3: 'rd'}.get(place % 10, 'th')}"


def rival(mine: Row, finished: Sequence[Row]) -> Row | None:
    """What the subject is compared with on rare features, the plain rule or the first; None if all are equally rare."""
    others = [row for row in finished if row is not mine]
    other = next((row for row in others if row["rule"] == PLAIN), others[0] if others else None)
    return None if other is None or None in (mine["rare_loss"], other["rare_loss"]) else other


def over(seeds: int) -> str:
    """What a mean is over.

    >>> over(1), over(3)
    ('with one seed', 'over 3 seeds')
    """
    return f"over {seeds} seeds" if seeds > 1 else "with one seed"


def equals(finished: Sequence[Row]) -> list[Row]:
    """The first rule and those that follow it at a distance that is not significant at 5 % (Student's t, paired).

    Every seed is an order of the examples that all rules see, so differences are taken seed by seed.
    """
    from scipy.special import stdtrit

    best, rest = finished[0], []
    if best["seeds"] > 1:
        limit = float(stdtrit(best["seeds"] - 1, 0.975))
        rest = itertools.takewhile(lambda row: row["behind"] <= limit * row["behind_error"], finished[1:])
    return [best, *rest]


def runners_up(rows: Sequence[Row]) -> str:
    """Who came next, how far the last one was, which rules learn rare features best, and which others diverged."""
    finished = [row for row in rows if not row["diverged"]]
    said, behind = [], finished[len(equals(finished)) :] if finished else []
    # Where features are equally rare, the headline has told how far behind the subject was.
    if behind and behind[0]["rule"] == SUBJECT and rival(behind[0], finished) is None:
        behind = behind[1:]
    if behind:
        said.append(f"Next came {behind[0]['rule']}, {lag(behind[0])} behind")
        if len(behind) > 1:
            said[-1] += f"; last was {behind[-1]['rule']} with {number(behind[-1]['test_loss'])}"
        said[-1] += "."
    if len(finished) > 1:
        said.append(
            "A single seed does not say what another order of the examples would change."
            if finished[0]["seeds"] == 1
            else "Seeds are orders of the examples: the held-out part is the same for all."
        )
        said.append(on_rare_features(finished))
    # The headline names the subject.
    if finished and (lost := [str(row["rule"]) for row in rows if row["diverged"] and row["rule"] != SUBJECT]):
        said.append(f"{listed(lost)} diverged.")
    return " ".join(filter(None, said))


def lag(row: Row) -> str:
    """How far a rule is behind the first one: mean and standard error of the differences, seed by seed."""
    error = row["behind_error"]
    return number(row["behind"]) + (f" ± {number(error, row['behind'])} (standard error)" if error is not None else "")


def on_rare_features(finished: Sequence[Row]) -> str:
    """Which rules fit examples with rare features best, and which those with frequent ones only."""
    if len(finished) < 2 or any(row["rare_loss"] is None for row in finished):
        return ""
    rare, frequent = (min(finished, key=lambda row: row[key]) for key in ("rare_loss", "frequent_loss"))
    return (
        f"Of the training loss on examples with rare features, {rare['rule']} had the lowest, "
        f"{spread('rare_loss')(rare)}; on examples with frequent features only, {frequent['rule']} with "
        f"{spread('frequent_loss')(frequent)}."
    )


def listed(names: Sequence[str]) -> str:
    """Names as a sentence takes them.

    >>> listed(["sgd", "adam", "ftrl"])
    'sgd, adam and ftrl'
    """
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
