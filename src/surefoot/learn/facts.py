"""How a model was learned, and with what success, as its file holds it: numbers and text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from surefoot.records.restored import Count, restored


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
    batch_size: Count
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

    kept: Count
    collisions: Count
    left_out: Count


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
    passes: Count
    examples: Count
    progressive_loss: float
    history: tuple[tuple[Count, float], ...]
    learning_rate: float | str
    implicit: bool
    rates: tuple[RateFacts, ...]
    skipped: Mapping[str, Count]
    diverged: str | None
    names: NameFacts | None = None

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Facts:
        """The facts that JSON gives back.

        Raises:
            ValueError: something is missing, or is of another type.
        """
        facts = restored(cls, {"names": None, **record} if isinstance(record, dict) else record, "facts")
        seen = [0, *(examples for examples, _ in facts.history), facts.examples]
        if seen != sorted(seen):
            raise ValueError(f"facts.history: found {seen[1:-1]}, expected numbers of examples that rise to {seen[-1]}")
        return facts

    def record(self) -> dict[str, Any]:
        """The facts as JSON holds them; without names where features have none."""
        return {name: value for name, value in asdict(self).items() if name != "names" or value is not None}
