"""How a model was learned, and with what success, as its file holds it: numbers and text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from surefoot.engines import restoring


@dataclass(frozen=True)
class MethodFacts:
    """A `Method` in numbers and text: rules by name, user-defined ones with file and fingerprint; schedules as written.

    Attributes:
        parameter: the loss's own number as it was given; None: its default.
        others: see `Method`.
    """

    optimizer: str | Mapping[str, str]
    lr: float | str
    implicit: bool
    l1: float
    l2: float
    batch_size: int
    average: bool
    normalize: bool
    scale_targets: bool
    model: str
    convention: str | None
    granularity: str
    dtype: str
    engine: str
    hyper: Mapping[str, float | bool]
    parameter: float | None


@dataclass(frozen=True)
class RateFacts:
    """A learning rate of a mixture, a number or a written schedule, and its weight in the end."""

    lr: float | str
    implicit: bool
    weight: float


@dataclass(frozen=True)
class NameFacts:
    """How many names of hashed features are kept, how many share a number, and how many there was no room for."""

    kept: int
    collisions: int
    left_out: int


@dataclass(frozen=True)
class Facts:
    """How a model was learned, and with what success.

    Attributes:
        version: of Surefoot.
        files: the names of what it was learned from.
        settings: the method.
        passes: through the files.
        examples: learned from, of all passes.
        progressive_loss: the mean progressive loss of the first pass.
        history: (examples, mean progressive loss since the last entry) at doubling numbers of examples.
        learning_rate, implicit: the rate with the largest weight, and whether its steps are implicit.
        rates: all of the mixture.
        skipped: lines that could not be used, by reason.
        diverged: why the training stopped early; None where it did not.
        names: of hashed features; None where features are numbered.
    """

    version: str
    files: tuple[str, ...]
    settings: MethodFacts
    passes: int
    examples: int
    progressive_loss: float
    history: tuple[tuple[int, float], ...]
    learning_rate: float | str
    implicit: bool
    rates: tuple[RateFacts, ...]
    skipped: Mapping[str, int]
    diverged: str | None
    names: NameFacts | None = None

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Facts:
        """The facts that JSON gives back.

        Raises:
            KeyError, TypeError, ValueError: something is missing, or is of another type.
        """
        names = record.get("names")
        return cls(
            version=text(record["version"]),
            files=tuple(map(text, record["files"])),
            settings=MethodFacts(**record["settings"]),
            passes=restoring.whole(record, "passes"),
            examples=restoring.whole(record, "examples"),
            progressive_loss=float(record["progressive_loss"]),
            history=tuple((int(examples), float(loss)) for examples, loss in record["history"]),
            learning_rate=rate(record["learning_rate"]),
            implicit=bool(record["implicit"]),
            rates=tuple(RateFacts(rate(r["lr"]), bool(r["implicit"]), float(r["weight"])) for r in record["rates"]),
            skipped={reason: int(lines) for reason, lines in record["skipped"].items()},
            diverged=None if record["diverged"] is None else text(record["diverged"]),
            names=None if names is None else NameFacts(**{name: restoring.whole(names, name) for name in names}),
        )

    def record(self) -> dict[str, Any]:
        """The facts as JSON holds them; without names where features have none."""
        return {name: value for name, value in asdict(self).items() if name != "names" or value is not None}


def text(value: Any) -> str:
    """A string, and nothing else.

    Raises:
        TypeError: it is something else.
    """
    if not isinstance(value, str):
        raise TypeError(f"found {value!r}, expected text")
    return value


def rate(value: Any) -> float | str:
    """A learning rate: a number, or a schedule as it is written."""
    return value if isinstance(value, str) else float(value)
