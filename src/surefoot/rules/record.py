"""What a rule is: a function of scalars, its memory, its hyperparameters with bounds, and where it was published."""

import difflib
import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import numpy as np

from surefoot import ops
from surefoot.records.base import Record
from surefoot.records.hyper import Hyper
from surefoot.records.statistic import Statistic
from surefoot.rules.checks import check
from surefoot.rules.slots import RuleError, Slot


@dataclass(frozen=True, eq=False, repr=False)
class Rule(Record):
    """An update rule: x ← x − rate · direction, with the rate and the direction given by one function of scalars.

    Args:
        function: (x, g, g2, *slots, *statistics, *coefficients) -> (rate, direction, *slots after the step). g is the
            gradient of the coordinate, g2 its square, or the mean square over the row or tensor where the granularity
            says so.
        slots: the memory, by name, in the order in which the function takes it.
        hyper: the hyperparameters, by name; `lr` must be among them.
        coefficients: (t, lr, **hyper) -> the numbers the function takes after its slots, computed once per step in
            float64; t = 1, 2, … is the number of the step, an int or an array of them. It may also take slots over
            "tensor" or "group", as the step before left them. Without it the function takes the hyperparameters
            themselves, by name.
        statistics: sums, means and maxima over a row, a column, the tensor or the group, by name: see
            `surefoot.records.statistic`. The function takes them after its slots; those of its own rate or direction,
            which are computed after it, `rescale` takes.
        rescale: takes by name what the function takes, and its results: rate, direction, the slots after the step, and
            statistics of them; -> (rate, direction) of the step.
        conventions: the hyperparameters, and the settings in `options`, that other libraries set differently, by
            library.
        lazy_exact: a zero gradient changes neither the memory nor the rate. Rows without a gradient may
            then be skipped; their regularization is applied in closed form when they are next touched.
        zero_grad_steps: (x, k, *slots, *coefficients) -> (x, *slots): what k steps with zero gradient do, for a rule
            that is not lazy_exact but has a closed form; "still" where they leave x unchanged and only change the rate.
        from_origin: x ← 0 − rate · direction: the step starts from the origin (dual averaging, FTRL).
        dense: sparse gradients are rejected, as the statistics need every row.
        evaluation: takes by name slots and hyperparameters; -> what is to be added to the parameter for evaluation, for
            a rule whose parameter is not what it is to be evaluated at.
        options: settings around the rule that belong to the method (AdamW: its decoupled weight decay).

    Raises:
        RuleError: naming the rule and what is wrong with it.

    >>> from surefoot.rules import positive
    >>> def halving(x, g, g2, lr):
    ...     return lr / 2, g
    >>> Rule(halving, hyper={"lr": positive(0.1)})(1.0, 3.0, 9.0, 0.1)
    (0.05, 3.0)
    """

    function: Callable[..., tuple]
    slots: Mapping[str, Slot] = field(default_factory=dict)
    hyper: Mapping[str, Hyper] = field(default_factory=dict)
    coefficients: Callable[..., tuple] | None = None
    statistics: Mapping[str, Statistic] = field(default_factory=dict)
    rescale: Callable[..., tuple] | None = None
    name: str = ""
    formula: str = ""
    source: str = ""
    conventions: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    lazy_exact: bool = False
    zero_grad_steps: Callable[..., tuple] | Literal["still"] | None = None
    from_origin: bool = False
    dense: bool = False
    evaluation: Callable[..., Any] | None = None
    options: Mapping[str, float] = field(default_factory=dict)
    variants: dict[frozenset[str], "Rule"] = field(default_factory=dict, repr=False)
    whole: ClassVar[bool] = False
    """Whether the function takes whole arrays; see `matrix.MatrixRule`."""
    dimensions: ClassVar[int] = 0
    """The least number of dimensions of a parameter."""

    def __post_init__(self):
        if not self.name:
            object.__setattr__(self, "name", getattr(self.function, "__name__", "rule"))
        object.__setattr__(self, "__doc__", self.function.__doc__)
        self._check()

    def _check(self) -> None:
        check(self)

    def __call__(self, *args):
        """(rate, direction, *slots) for plain floats."""
        return self.function(*args)

    def __repr__(self) -> str:
        return f"<rule {self.name}: {self.formula}>" if self.formula else f"<rule {self.name}>"

    @property
    def main(self) -> Callable[..., tuple]:
        return self.function

    @property
    def follows_rate(self) -> bool:
        """Whether a coordinate moves with its rate in steps with zero gradient, as each starts from the origin."""
        return self.from_origin and self.zero_grad_steps != "still"

    @functools.cached_property
    def drifts(self) -> bool:
        """Whether the closed form for steps with zero gradient moves a coordinate at a rate that it may share."""
        if not callable(self.zero_grad_steps) or all(slot.kind == "direction" for slot in self.slots.values()):
            return False
        return self.zero_grad_steps(0.5, 1, *(1.0 for _ in self.slots), *self.evaluate(1, self.defaults))[0] != 0.5

    @property
    def defaults(self) -> dict[str, float]:
        """Every hyperparameter's default."""
        return {name: hyper.default for name, hyper in self.hyper.items()}  # type: ignore[misc]

    def when(self, *options: str, slots: Mapping[str, Slot] | None = None, coefficients=None, **changes):
        """Decorates the function that this rule becomes when the named options are on, with the slots it then keeps."""

        def attach(function):
            variant = replace(
                self,
                function=function,
                name=f"{self.name}[{', '.join(options)}]",
                slots=self.slots if slots is None else slots,
                coefficients=coefficients or self.coefficients,
                variants={},
                **changes,
            )
            self.variants[frozenset(options)] = variant
            return variant

        return attach

    def resolve(self, settings: Mapping[str, Any]) -> "Rule":
        """The variant that these hyperparameters ask for; the rule itself where none of its options is on.

        "clock" is the option that bias corrections count the steps of each row.
        """
        named = frozenset().union(*self.variants)
        defaults = self.defaults
        on = frozenset(name for name in named if settings.get(name, defaults.get(name, False)))
        return self.variants[on] if on else self

    def settings(self, convention: str | None = None, **given) -> dict[str, float]:
        """All hyperparameters: the defaults, changed by a convention's and then by the given values.

        Raises:
            RuleError: for an unknown convention or hyperparameter, or a value out of its bounds.

        >>> from surefoot.rules import adagrad
        >>> adagrad.settings("pytorch", lr=0.5)["eps"]
        1e-10
        """
        known = ", ".join(self.conventions)
        if convention is not None and convention not in self.conventions:
            raise RuleError(f"{self.name}: there is no convention {convention!r}; there are: {known or 'none'}")
        for name in given:
            if name not in self.hyper:
                near = difflib.get_close_matches(name, self.hyper, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(self.hyper)}"
                raise RuleError(f"{self.name}: there is no hyperparameter {name!r}; {hint}")
        theirs = {name: value for name, value in self._conventional(convention).items() if name not in self.options}
        values = self.defaults | theirs | given
        for name, value in values.items():
            if name == "lr" and callable(value):
                continue
            if isinstance(value, (str, bytes, type(None))) or not np.isscalar(value):
                raise RuleError(f"{self.name}: {name} must be a number, got {value!r}")
            if not self.hyper[name].admits(value):
                raise RuleError(f"{self.name}: {name} must lie in {self.hyper[name].interval()}, got {value!r}")
        return values

    def options_of(self, convention: str | None = None) -> dict[str, float]:
        """The settings around the rule that belong to the method, with the values of a convention.

        >>> from surefoot.rules import adamw
        >>> adamw.options_of(), adamw.options_of("optax")
        ({'decoupled_weight_decay': 0.01}, {'decoupled_weight_decay': 0.0001})
        """
        theirs = self._conventional(convention)
        return {name: theirs.get(name, value) for name, value in self.options.items()}

    def _conventional(self, convention: str | None) -> Mapping[str, float]:
        return self.conventions.get(convention or "", {})

    def evaluate(self, t, settings: Mapping[str, Any], scalars: Mapping[str, Any] | None = None) -> tuple:
        """The coefficients at step t (an int, or an array of ints) in float64; a schedule in `lr` is called with t.

        Args:
            t: the number of the step.
            settings: all hyperparameters.
            scalars: the slots that `coefficients` takes, as the step before left them; their initial values unless
                given.
        """
        values = dict(settings) | {"lr": self.lr(t, settings)}
        if self.coefficients is not None:
            known = scalars or {}
            for name in self.scalars:
                initial = self.slots[name].initial
                values[name] = known.get(name, settings[initial] if isinstance(initial, str) else initial)
            return tuple(self.coefficients(t, **values))
        return tuple(values[name] for name in self.coefficient_names)

    def lr(self, t, settings: Mapping[str, Any]) -> Any:
        """The learning rate at step t, from a number or a schedule.

        Raises:
            RuleError: if a schedule gives a rate that is not finite or out of bounds.
        """
        lr: Any = settings["lr"]
        if not callable(lr):
            return lr
        rate: Any = lr(t)
        for value in (np.min(rate), np.max(rate)):
            if not self.hyper["lr"].admits(value):
                interval = self.hyper["lr"].interval()
                raise RuleError(f"{self.name}: the schedule gives lr = {value} at step {t}; expected one in {interval}")
        return rate

    @functools.cached_property
    def coefficient_names(self) -> tuple[str, ...]:
        return self._takes[len(self.leading) :]

    @property
    def leading(self) -> tuple[str, ...]:
        """What the function takes before the coefficients."""
        return "x", "g", "g2", *self.slots, *self.taken

    @property
    def results(self) -> tuple[str, ...]:
        """What the function returns before the slots after the step."""
        return "rate", "direction"

    @functools.cached_property
    def _takes(self) -> tuple[str, ...]:
        return tuple(inspect.signature(self.function).parameters)

    @functools.cached_property
    def after(self) -> tuple[str, ...]:
        """The statistics of the function's results."""
        found = {"rate": "", "direction": ""}
        for name, statistic in self.statistics.items():
            if found.keys() & set(statistic.takes):
                found[name] = name
        return tuple(filter(None, found.values()))

    @functools.cached_property
    def taken(self) -> tuple[str, ...]:
        """The statistics that the function takes."""
        return tuple(name for name in self.statistics if name in self._takes and name not in self.after)

    @functools.cached_property
    def scalars(self) -> tuple[str, ...]:
        """The slots that the coefficients take."""
        if self.coefficients is None:
            return ()
        taken = inspect.signature(self.coefficients).parameters
        return tuple(name for name, slot in self.slots.items() if slot.over in ("tensor", "group") and name in taken)

    def bound(self, namespace=ops.ARRAY_OPS, dtype=None) -> Callable[..., tuple]:
        """The function with `ops` meaning `namespace` and its literals of type `dtype`."""
        if namespace is not ops.ARRAY_OPS:
            return ops.bind(self.function, namespace, dtype)
        if dtype not in self._bound:
            self._bound[dtype] = ops.bind(self.function, namespace, dtype)
        return self._bound[dtype]

    @functools.cached_property
    def _bound(self) -> dict[Any, Callable[..., tuple]]:
        return {}


def rule(**description) -> Callable[[Callable[..., tuple]], Rule]:
    """Decorator that makes a Rule of a function; the arguments are those of Rule.

    >>> from surefoot.rules import positive, scale
    >>> @rule(slots={"total": scale()}, hyper={"lr": positive(0.1), "eps": positive(1e-8)})
    ... def mine(x, g, g2, total, lr, eps):
    ...     total = total + g2
    ...     return lr / (ops.sqrt(total) + eps), g, total
    >>> mine.defaults
    {'lr': 0.1, 'eps': 1e-08}
    """
    return lambda function: Rule(function, **description)
