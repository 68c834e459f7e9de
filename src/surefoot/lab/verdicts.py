"""The verdict of a diagnosis, and the words that it is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from surefoot.lab.findings import Case
from surefoot.lab.remedies import Remedy


@dataclass
class Verdict:
    """What is wrong with a run, if anything.

    Attributes:
        symptom: "not finite", "diverges", "shrinks", "stands still", "frozen", "saturated", "dead units",
            "never visited", "healthy" or "unknown".
        cause: "rate", "decay", "memory", "storage", "gradient", "initial values", "activation" or "data"; None where
            nothing is wrong.
        names: the parameters concerned.
        what: a sentence about them.
        remedy: what cures it; None where there is nothing to do.
    """

    symptom: str
    cause: str | None
    names: list[str]
    what: str
    remedy: Remedy | None = None

    def __str__(self) -> str:
        head = self.symptom if self.cause is None else f"{self.symptom}, cause: {self.cause}"
        text = f"Verdict: {head}. {self.what}"
        return text if self.remedy is None else f"{text} Remedy: {': '.join(filter(None, self.remedy))}"

    def to_dict(self) -> dict[str, Any]:
        """As plain strings and lists."""
        return asdict(self) | {"remedy": None if self.remedy is None else self.remedy._asdict()}


def percent(share: float | None) -> str:
    """A share in percent, never rounded to nothing or to all.

    >>> percent(0.00001), percent(0.5), percent(0.99999), percent(0.0)
    ('<0.1 %', '50 %', '>99.9 %', '0 %')
    """
    if share is None:
        return "–"
    if 0 < share < 0.001:
        return "<0.1 %"
    if 0.999 < share < 1:
        return ">99.9 %"
    return f"{100 * share:.3g} %"


def below(value: float, bound: float) -> str:
    """In as few digits as show that it is below a bound.

    >>> below(2.34e-6, 1e-5), below(9.999e-6, 1e-5)
    ('2.3e-06', '9.999e-06')
    """
    return next((text for digits in range(2, 16) if float(text := f"{value:.{digits}g}") < bound), f"{value:.2g}")


def named(cases: Sequence[Case]) -> list[str]:
    """The names of some parameters."""
    return [case.finding.name for case in cases]


def listed(names: Sequence[str]) -> str:
    """One line, however many names.

    >>> listed(["a"]), listed(["a", "b", "c", "d", "e"])
    ('a', '5 parameters (a, b, c, …)')
    """
    if len(names) == 1:
        return names[0]
    return f"{len(names)} parameters ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
