"""What is done around a rule, whichever it is: one small function each, with its settings and where it acts."""

from __future__ import annotations

import functools
import inspect
import numbers
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from surefoot import ops
from surefoot.records.base import Record
from surefoot.records.files import RecordError
from surefoot.records.functions import check_coefficients, check_operations
from surefoot.records.hyper import Hyper
from surefoot.records.statistic import Statistic, fault_of

SHRINKAGE = ("keep", "l1", "l2")
"""The numbers that shrink parameters in a step with zero gradient, see `modifiers.closed_form`."""

Stage = Literal["gradient", "before", "direction", "after", "storage", "average"]

TAKES: dict[str, tuple[str, ...]] = {
    "gradient": ("g", "x"),
    "before": ("x",),
    "direction": ("direction", "rate", "g", "x"),
    "after": ("x", "rate"),
    "storage": ("bits", "noise"),
    "average": ("average", "x"),
}
"""The stages in their order, and what a function may take there; it returns the first.

The gradient is changed before the rule sees it, the parameter before and after the rule's step, and the direction in
between; then the parameter is stored, and goes into the average of the iterates.
"""


class ModifierError(RecordError):
    """A modifier that cannot be used; the message names it and the fault."""


@dataclass(frozen=True, eq=False, repr=False)
class Modifier(Record):
    """A change of the gradient, the direction or the parameter around any rule's step.

    Args:
        function: of scalars; takes by name what its stage has (see `TAKES`), its statistics and its numbers.
        stage: where it acts.
        settings: the options of optimizers that it has, with the values at which it does nothing.
        numbers: (t, lr, settings and statistics over "tensor" by name) -> what the function takes by name besides,
            computed once a step in float64. Without it, the function takes the settings themselves.
        statistics: by name. Those over "tensor" may be taken by `numbers`, all others by the function.
        zero_grad: what it does in a step with zero gradient: "nothing"; "shrinks" the parameter, by the numbers keep,
            l1 and l2 of `modifiers.closed_form`; or None: unknown, so that lazy updates are not exact.

    Raises:
        ModifierError: naming the modifier and what is wrong with it.

    >>> from surefoot.records.hyper import nonnegative
    >>> def noisy(g, x, factor):
    ...     return g + factor * x
    >>> Modifier(noisy, "gradient", {"factor": nonnegative(0.0)}).fields
    ('factor',)
    """

    function: Callable[..., Any]
    stage: Stage
    settings: Mapping[str, Hyper]
    numbers: Callable[..., tuple] | None = None
    statistics: Mapping[str, Statistic] = field(default_factory=dict)
    zero_grad: Literal["nothing", "shrinks"] | None = None
    name: str = ""
    formula: str = ""
    source: str = ""

    def __post_init__(self):
        if not self.name:
            object.__setattr__(self, "name", self.function.__name__)
        object.__setattr__(self, "__doc__", self.function.__doc__)
        check(self)

    def __repr__(self) -> str:
        return f"<modifier {self.name}: {self.formula}>" if self.formula else f"<modifier {self.name}>"

    @property
    def main(self) -> Callable[..., Any]:
        return self.function

    @functools.cached_property
    def takes(self) -> tuple[str, ...]:
        """The names of what the function takes."""
        return tuple(inspect.signature(self.function).parameters)

    @functools.cached_property
    def fields(self) -> tuple[str, ...]:
        """Those of its own numbers."""
        return tuple(name for name in self.takes if name not in TAKES[self.stage] and name not in self.statistics)

    @functools.cached_property
    def on_host(self) -> dict[str, Statistic]:
        """The statistics that its numbers are computed from."""
        wanted = () if self.numbers is None else inspect.signature(self.numbers).parameters
        return {name: statistic for name, statistic in self.statistics.items() if name in wanted}

    def acts(self, settings: Mapping[str, Any]) -> bool:
        """Whether it does anything with these settings."""
        return any(settings[name] != hyper.default for name, hyper in self.settings.items())

    def at(
        self, t, lr, settings: Mapping[str, Any], statistics: Mapping[str, Any], numbers: Callable | None = None
    ) -> tuple:
        """Its own numbers at step t.

        Args:
            t, lr: the step and its learning rate.
            settings: its own, among others.
            statistics: those that the numbers are computed from.
            numbers: `self.numbers` for arrays of another library.
        """
        own = {name: settings[name] for name in self.settings}
        if self.numbers is None:
            return tuple(own[name] for name in self.fields)
        return tuple((numbers or self.numbers)(t, lr, **own, **{name: statistics[name] for name in self.on_host}))


def modifier(**description) -> Callable[[Callable[..., Any]], Modifier]:
    """Decorator that makes a Modifier of a function; the arguments are those of Modifier."""
    return lambda function: Modifier(function, **description)


def fault(name: str, hyper: Hyper, value: Any) -> str | None:
    """What is wrong with the value of a setting; None if nothing is.

    >>> from surefoot.records.hyper import nonnegative
    >>> fault("l1", nonnegative(0.0), -1)
    'l1 must be a finite number of at least 0, got -1'
    """
    if value is hyper.default or (hyper.is_flag and hyper.admits(value)):
        return None
    if not hyper.is_flag and isinstance(value, numbers.Real) and (value == hyper.default or hyper.admits(value)):
        return None
    return f"{name} must be {hyper.wanted()}, got {value!r}"


OF_STEPS = frozenset(
    (
        "rule",
        "name",
        "params",
        "lr",
        "engine",
        "granularity",
        "convention",
        "nonfinite",
        "lazy",
        "state_dtype",
        "threads",
    )
)
"""Settings that every step has."""


def check(modifier: Modifier) -> None:
    """Raises ModifierError unless every engine can run the modifier."""
    check_names(modifier)
    check_statistics(modifier)
    if modifier.stage != "storage":  # whose bits are the engines' business
        check_operations(modifier.function, modifier.name, "modifier", ModifierError)
    if modifier.numbers is not None:
        check_coefficients(modifier.numbers, modifier.name, "numbers", ModifierError)
    if modifier.stage not in ("storage", "average"):
        check_trial(modifier)


def check_names(modifier: Modifier) -> None:
    name, stage = modifier.name, modifier.stage
    if stage not in TAKES:
        raise ModifierError(f"{name}: stage must be one of {', '.join(TAKES)}, got {stage!r}")
    if not modifier.settings:
        raise ModifierError(f"{name}: it has no settings, so nothing could turn it on; expected one")
    for key in (name, *modifier.settings, *modifier.statistics, *modifier.fields):
        if not key.isidentifier() or key.startswith("_") or key in OF_STEPS:
            raise ModifierError(f"{name}: the name {key!r} is one of every step's settings, or not a name; rename it")
    for key in (*modifier.settings, *modifier.statistics):
        if key in ("g", "x", "rate", "direction"):
            raise ModifierError(f"{name}: the name {key!r} stands for a value of the step; rename it")
    for setting, hyper in modifier.settings.items():
        if not isinstance(hyper, Hyper):
            raise ModifierError(f"{name}: setting {setting!r} is {hyper!r}; expected a default with bounds")
    first = TAKES[stage][0]
    if modifier.takes[:1] != (first,):
        raise ModifierError(f"{name}: the function must take {first} first, got ({', '.join(modifier.takes)})")
    computed = modifier.numbers is not None or stage in ("storage", "average")
    for needed in () if computed else modifier.fields:
        if needed not in modifier.settings:
            raise ModifierError(
                f"{name}: the function takes {needed!r}, which is neither a setting nor a statistic of it, nor "
                f"among {', '.join(TAKES[stage])}"
            )
    if modifier.zero_grad not in (None, "nothing", "shrinks"):
        raise ModifierError(f"{name}: zero_grad must be 'nothing', 'shrinks' or None, got {modifier.zero_grad!r}")
    if modifier.zero_grad == "shrinks" and not set(modifier.fields) <= set(SHRINKAGE):
        raise ModifierError(
            f"{name}: the closed form of zero_grad='shrinks' is of {', '.join(SHRINKAGE)}; leave zero_grad out"
        )


def check_statistics(modifier: Modifier) -> None:
    known = {*TAKES[modifier.stage], *modifier.fields}
    for name, statistic in modifier.statistics.items():
        if (wrong := fault_of(statistic)) is not None:
            raise ModifierError(f"{modifier.name}: statistic {name!r} {wrong}")
        check_operations(statistic.of, modifier.name, "modifier", ModifierError)
        for taken in statistic.takes:
            if taken not in known:
                raise ModifierError(
                    f"{modifier.name}: statistic {name!r} takes {taken!r}; it may take {', '.join(sorted(known))}"
                )
        known.add(name)
    for name, statistic in modifier.on_host.items():
        if statistic.over not in ("tensor", "group"):
            raise ModifierError(
                f"{modifier.name}: numbers takes the statistic {name!r}, which is over a {statistic.over}; expected "
                "one over a tensor or group, or let the function take it"
            )


def check_trial(modifier: Modifier) -> None:
    """One call with an array of 2 × 3: what it takes, and the shape and type of what it returns."""
    f, shapes = np.float32, {"row": (2, 1), "column": (1, 3)}
    settings = {name: hyper.default for name, hyper in modifier.settings.items()}
    try:
        numbers = modifier.at(1, 0.1, settings, dict.fromkeys(modifier.on_host, 1.0))
        values = dict(zip(modifier.fields, map(f, numbers), strict=True))
        values |= {name: np.ones(shapes.get(s.over, (1, 1)), f) for name, s in modifier.statistics.items()}
        values |= {name: np.full((2, 3), f(0.5)) for name in TAKES[modifier.stage]}
        with np.errstate(all="ignore"):
            bound = ops.bind(modifier.function, ops.ARRAY_OPS, f)
            found = bound(*(values[name] for name in modifier.takes))
    except Exception as error:
        reason = "branches on a value; use ops.where" if "truth value" in str(error) else str(error)
        raise ModifierError(f"{modifier.name}: a trial failed: {reason}") from error
    if not isinstance(found, (np.ndarray, np.generic)) or found.shape not in ((), (2, 3)) or found.dtype != f:
        what = getattr(found, "dtype", type(found).__name__)
        raise ModifierError(
            f"{modifier.name}: the function gives {what} of shape {np.shape(found)} for float32 of shape (2, 3); "
            f"expected {modifier.takes[0]} after the change"
        )
