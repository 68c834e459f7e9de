"""The memory of a rule: what each of its numbers belongs to, and what it starts from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from surefoot.records.files import RecordError
from surefoot.records.statistic import Extent


class RuleError(RecordError):
    """A rule that cannot be run, found before any memory is touched; the message names the rule and the fault."""


@dataclass(frozen=True)
class Slot:
    """One number of memory that a rule keeps.

    Args:
        kind: "scale" for a slot fed by the squared gradient or by statistics, which coordinates may have in common;
            "direction" for a slot that moves like the gradient and is always kept per coordinate.
        initial: its value before the first step, the name of the hyperparameter that holds it, or "x": the parameter.
        over: what has one number of a scale: "coordinate", "row", "column", "tensor" or "group"; None: what the
            granularity says.
        shape: of the kind "matrix", for rules of whole arrays: from the parameter's shape to the slot's.
    """

    kind: Literal["scale", "direction", "matrix"]
    initial: float | str = 0.0
    over: Extent | None = None
    shape: Callable[[tuple[int, ...]], tuple[int, ...]] | None = field(default=None, repr=False)


def scale(initial: float | str = 0.0, over: Extent | None = None) -> Slot:
    """A slot fed by the squared gradient or by statistics: it takes the granularity, unless `over` says otherwise.

    >>> scale("initial_accumulator_value").initial
    'initial_accumulator_value'
    """
    return Slot("scale", initial, over)


def scalar(initial: float | str = 0.0, over: Literal["tensor", "group"] = "tensor") -> Slot:
    """One number of a tensor, or of all tensors of a parameter group. `coefficients` may take it, by its name.

    >>> scalar().over
    'tensor'
    """
    return Slot("scale", initial, over)


def origin() -> Slot:
    """The parameter before the first step.

    >>> origin().initial
    'x'
    """
    return Slot("direction", "x")


def with_shares(slots: Mapping[str, Slot], *names: str) -> dict[str, Slot]:
    """And what a rule needs of each row where it counts the row's own steps, by default the shares 1 − β₁ᵏ and 1 − β₂ᵏ
    that a row has, in its k-th step, of what it averages.

    >>> list(with_shares({"velocity": direction()}))
    ['velocity', 'seen1', 'seen2']
    """
    return {**slots, **{name: scale(over="row") for name in names or ("seen1", "seen2")}}


def direction(initial: float | str = 0.0) -> Slot:
    """A slot that moves like the gradient: always one number per coordinate.

    >>> direction().kind
    'direction'
    """
    return Slot("direction", initial)
