"""The memory of a rule: what each of its numbers belongs to, and what it starts from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from surefoot.records.files import RecordError
from surefoot.records.statistic import Extent

Of = Literal["gradients", "squares", "updates", "ones"]
"""What moments are of."""


class RuleError(RecordError):
    """A rule that cannot be run, found before any memory is touched; the message names the rule and the fault."""


@dataclass(frozen=True)
class Moment:
    """What a slot holds of the gradients so far, so that another rule can go on from it.

    Args:
        of: "gradients", or their "squares"; "updates", which are gradients that have been scaled; "ones", for a slot
            that counts.
        weight: (t, hyper) -> what the slot holds after t steps, as a multiple of their mean.
        share: the hyperparameter that says what share of the slot is kept in a step; None: all of it.

    >>> average_of("squares", "beta2").weight(2, {"beta2": 0.9})
    0.1899...
    """

    of: Of
    weight: Callable[[float, Mapping[str, Any]], float] = field(repr=False, compare=False)
    share: str | None = None


def sum_of(of: Of) -> Moment:
    """Their sum: s ← s + g².

    >>> sum_of("squares").weight(9, {})
    9.0
    """
    return Moment(of, lambda t, hyper: float(t))


def average_of(of: Of, share: str, corrected: bool = True) -> Moment:
    """A leaky average: s ← β s + (1 − β) g².

    Args:
        of: of what.
        share: the hyperparameter that is β.
        corrected: the rule divides by 1 − βᵗ, as the average starts at 0; otherwise it is taken to have settled.

    >>> average_of("squares", "gamma", corrected=False).weight(2, {"gamma": 0.9})
    1.0
    """
    return Moment(of, lambda t, hyper: 1 - hyper[share] ** t if corrected else 1.0, share)


def leaky_sum_of(of: Of, share: str) -> Moment:
    """A leaky sum that has settled: v ← β v + g.

    Args:
        of: of what.
        share: the hyperparameter that is β.

    >>> leaky_sum_of("gradients", "momentum").weight(2, {"momentum": 0.75})
    4.0
    """
    return Moment(of, lambda t, hyper: 1 / (1 - hyper[share]), share)


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
        moment: what it holds of the gradients so far; None where another rule cannot go on from it.
    """

    kind: Literal["scale", "direction", "matrix"]
    initial: float | str = 0.0
    over: Extent | None = None
    shape: Callable[[tuple[int, ...]], tuple[int, ...]] | None = field(default=None, repr=False)
    moment: Moment | None = None


def scale(initial: float | str = 0.0, over: Extent | None = None, moment: Moment | None = None) -> Slot:
    """A slot fed by the squared gradient or by statistics: it takes the granularity, unless `over` says otherwise.

    >>> scale("initial_accumulator_value").initial
    'initial_accumulator_value'
    """
    return Slot("scale", initial, over, moment=moment)


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


OF_ROWS = {
    "seen1": average_of("ones", "beta1"),
    "seen2": average_of("ones", "beta2"),
    "visits": sum_of("ones"),
}
"""What rules know of a row whose steps they count."""


def with_shares(slots: Mapping[str, Slot], *names: str) -> dict[str, Slot]:
    """And what a rule needs of each row where it counts the row's own steps, by default the shares 1 − β₁ᵏ and 1 − β₂ᵏ
    that a row has, in its k-th step, of what it averages.

    >>> list(with_shares({"velocity": direction()}))
    ['velocity', 'seen1', 'seen2']
    """
    return {**slots, **{name: scale(over="row", moment=OF_ROWS[name]) for name in names or ("seen1", "seen2")}}


def direction(initial: float | str = 0.0, moment: Moment | None = None) -> Slot:
    """A slot that moves like the gradient: always one number per coordinate.

    >>> direction().kind
    'direction'
    """
    return Slot("direction", initial, moment=moment)
