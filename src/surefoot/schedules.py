"""Learning rates that change with time: plain functions t → η, wherever a learning rate is taken.

t is the number of the step, 1 for the first; an int, a float or an array of them. A schedule is any function of t;
these make the usual ones, which can be pickled, and `warmup` and `chain` compose them. Most have a written form, which
`parse` reads and `written` gives back: the name and the arguments, with colons between them. One of your own is named
by its file: `resolve("path/to/file.py:name")`.

    surefoot.engines.Step(rules.sgd, lr=warmup(polynomial(0.1), steps=100))
    parse("warmup:100:polynomial:0.1")
"""

import itertools
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from surefoot import ops
from surefoot.records import registry
from surefoot.records.base import Record
from surefoot.records.files import load

Schedule = Callable[[Any], Any]
Rate: TypeAlias = float | Schedule
"""A learning rate: a number, or a schedule."""


def _nonnegative(**values: float) -> None:
    for name, value in values.items():
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{name} must be a finite number of at least 0, got {value!r}")


def constant(lr: float) -> Schedule:
    """η(t) = lr.

    >>> constant(0.1)(7)
    0.1
    """
    _nonnegative(lr=lr)
    return partial(_constant, lr)


def _constant(lr, t):
    return lr + 0.0 * t


def piecewise_constant(boundaries: Sequence[float], values: Sequence[float]) -> Schedule:
    """η(t) = values[i] for boundaries[i−1] ≤ t < boundaries[i].

    Args:
        boundaries: increasing step numbers at which the rate changes.
        values: the rates, one more than there are boundaries.

    Raises:
        ValueError: if the counts do not fit or the boundaries do not increase.

    >>> list(map(piecewise_constant([10, 20], [1.0, 0.1, 0.01]), (9, 10, 25)))
    [1.0, 0.1, 0.01]
    """
    edges, rates = list(map(float, boundaries)), list(map(float, values))
    if len(rates) != len(edges) + 1:
        raise ValueError(f"{len(edges)} boundaries need {len(edges) + 1} values, got {len(rates)}")
    if not all(before < after for before, after in itertools.pairwise(edges)):
        raise ValueError(f"boundaries must increase, got {list(boundaries)}")
    _nonnegative(**{f"values[{i}]": rate for i, rate in enumerate(rates)})
    return partial(_piecewise_constant, edges, rates)


def _piecewise_constant(edges, rates, t):
    rate = rates[0]
    for edge, after in zip(edges, rates[1:], strict=True):
        rate = ops.where(t >= edge, after, rate)
    return rate


def exponential(lr: float, decay: float) -> Schedule:
    """η(t) = lr · exp(−decay · t).

    >>> float(exponential(0.1, 0.0)(10))
    0.1
    """
    _nonnegative(lr=lr, decay=decay)
    return partial(_exponential, lr, decay)


def _exponential(lr, decay, t):
    return lr * ops.exp(-decay * t)


def polynomial(lr: float, decay: float = 1.0, power: float = 0.5) -> Schedule:
    """η(t) = lr · (decay · t + 1)^(−power); power ½ is the safe choice for convex problems.

    >>> polynomial(0.1, decay=0.1)(30)
    0.05
    """
    _nonnegative(lr=lr, decay=decay, power=power)
    return partial(_polynomial, lr, decay, power)


def _polynomial(lr, decay, power, t):
    return lr * (decay * t + 1) ** -power


def known_horizon(radius: float, lipschitz: float, steps: int) -> Schedule:
    """η = r/(L √T), constant: the rate that minimizes the convex bound when the number of steps is known.

    Args:
        radius: r, the distance from the start to the optimum, at most.
        lipschitz: L, the norm of a gradient, at most.
        steps: T, the number of steps that will be taken.

    >>> known_horizon(1.0, 2.0, 100)(1)
    0.05
    """
    if not (radius > 0 and lipschitz > 0 and steps > 0):
        raise ValueError(f"radius, lipschitz and steps must be above 0, got {radius}, {lipschitz}, {steps}")
    return constant(radius / (lipschitz * math.sqrt(steps)))


def warmup(schedule: Schedule | float, steps: int) -> Schedule:
    """The schedule, or number, times min(t/steps, 1): a linear rise over the first steps.

    >>> float(warmup(0.1, steps=10)(5))
    0.05
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps!r}")
    after = schedule if callable(schedule) else constant(schedule)
    return partial(_warmup, after, steps)


def _warmup(after, steps, t):
    return after(t) * ops.minimum(t / steps, 1.0)


def chain(*parts: tuple[Schedule, int] | Schedule) -> Schedule:
    """Schedules one after the other: (schedule, steps) pairs, then a last schedule; each starts again at t = 1.

    >>> list(map(chain((constant(1.0), 10), exponential(0.5, 0.0)), (10, 11)))
    [1.0, 0.5]
    """
    *timed, last = parts
    starts = [0, *itertools.accumulate(steps for _, steps in timed)]  # pyright: ignore[reportGeneralTypeIssues]
    schedules = [schedule for schedule, _ in timed] + [last]  # pyright: ignore[reportGeneralTypeIssues]
    return partial(_chain, starts, schedules)


def _chain(starts, schedules, t):
    rate = None
    for start, schedule in zip(starts, schedules, strict=True):
        own = schedule(ops.maximum(t - start, 1))
        rate = own if rate is None else ops.where(t > start, own, rate)
    return rate


# Written forms

FORMS = {
    "constant": "constant:RATE",
    "exponential": "exponential:RATE:DECAY",
    "polynomial": "polynomial:RATE[:DECAY[:POWER]]",
    "piecewise": "piecewise:RATE:STEP:RATE[:STEP:RATE…]",
    "horizon": "horizon:RADIUS:LIPSCHITZ:STEPS",
    "warmup": "warmup:STEPS:RATE or warmup:STEPS:SCHEDULE",
    "chain": "chain:SCHEDULE/STEPS/SCHEDULE[/STEPS/SCHEDULE…]",
}
"""How schedules are written, by name."""


def parse(text: str, lr: float | None = None) -> Schedule:
    """The schedule that is written so.

    Args:
        text: one of FORMS.
        lr: the rate, where it is given apart and so is not part of the text: the first RATE of each form, and of each
            part of a chain.

    Raises:
        ValueError: in one sentence, for an unknown name or numbers that do not fit.

    >>> float(parse("polynomial:0.1:1")(3)), float(parse("polynomial:1", lr=0.1)(3))
    (0.05, 0.05)
    >>> list(map(parse("piecewise:1:10:0.1:20:0.01"), (9, 10, 25)))
    [1.0, 0.1, 0.01]
    """
    name, *parts = text.split(":")
    if name not in FORMS:
        raise ValueError(f"there is no schedule {name!r}; there are {', '.join(FORMS.values())}")
    if name == "chain":
        return _parsed_chain(text, lr)
    if name == "warmup" and len(parts) >= 2 and parts[1] in FORMS:
        return warmup(parse(":".join(parts[1:]), lr), _whole(parts[0], text))
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        raise _misspelt(text, lr) from None
    if lr is not None and name != "horizon":
        numbers.insert(1 if name == "warmup" else 0, lr)
    match name, numbers:
        case "constant", [rate]:
            return constant(rate)
        case "exponential", [rate, decay]:
            return exponential(rate, decay)
        case "polynomial", [rate, *more] if len(more) <= 2:
            return polynomial(rate, *more)
        case "piecewise", [_, _, _, *_] if len(numbers) % 2:
            return piecewise_constant(numbers[1::2], numbers[::2])
        case "horizon", [radius, lipschitz, _]:
            return known_horizon(radius, lipschitz, _whole(parts[2], text))
        case "warmup", [_, rate]:
            return warmup(rate, _whole(parts[0], text))
    raise _misspelt(text, lr)


def _parsed_chain(text: str, lr: float | None) -> Schedule:
    parts = text.removeprefix("chain:").split("/")
    if len(parts) < 3 or len(parts) % 2 == 0:
        raise _misspelt(text, lr)
    parsed = [parse(part, lr) for part in parts[::2]]
    return chain(*zip(parsed, (_whole(part, text) for part in parts[1::2]), strict=False), parsed[-1])


def has_rate(text: str) -> bool:
    """Whether a written schedule has a RATE that can be given apart: all have one, except a known horizon.

    >>> has_rate("warmup:10:polynomial"), has_rate("warmup:10:horizon:1:2:100")
    (True, False)
    """
    name, _, rest = text.partition(":")
    if name == "chain":
        return any(map(has_rate, rest.split("/")[::2]))
    after = rest.partition(":")[2]
    if name == "warmup" and after.partition(":")[0] in FORMS:
        return has_rate(after)
    return name != "horizon"


def resolve(lr: str | Rate) -> Rate:
    """The learning rate that a user gives: a number or a schedule; of text, what is written there.

    Text is a number, one of FORMS, or `path/to/file.py:name`, whose file is run: it must come from the user, never from
    a data or model file.

    Raises:
        ValueError: in one sentence, for text that is none of these.

    >>> resolve("0.1"), written(resolve("polynomial:0.1"))
    (0.1, 'polynomial:0.1:1:0.5')
    """
    if not isinstance(lr, str):
        return lr
    if lr.partition(":")[0] in FORMS:
        return parse(lr)
    path, _, name = lr.rpartition(".py")
    if path and (not name or name.startswith(":")):
        return InFile.load(Path(f"{path}.py"), name[1:])
    try:
        return float(lr)
    except ValueError:
        forms = ", ".join([*FORMS.values(), "path/to/file.py:name"])
        raise ValueError(f"the learning rate {lr!r} is neither a number nor a schedule: {forms}") from None


class InFile:
    """A schedule of the user's own: a function of t in a Python file. It is pickled by its file and its name."""

    def __init__(self, path: Path, name: str, function: Schedule):
        self.path, self.name, self.function = path, name, function

    @classmethod
    def load(cls, path: Path, name: str) -> "InFile":
        """The function of that name; the file is run.

        Raises:
            ValueError: in one sentence, if there is no such file or function, or if it gives no learning rate.
        """
        module = load(path)
        known = vars(module)
        if name not in known:
            homes = (module.__name__, partial.__module__)  # what a file imports is not its own
            own = [key for key in known if is_schedule(known[key]) and getattr(known[key], "__module__", "") in homes]
            missing = f"there is no schedule {name!r}" if name else "no schedule is named"
            raise ValueError(
                f"{path}: {missing}; {registry.hint(name, own)}; expected path/to/file.py:name, of a function of the "
                "step t"
            )
        function = known[name]
        if not is_schedule(function):
            what = f"the {type(function).__name__} {function!r}"
            raise ValueError(f"{path}: {name} is {what}; expected a schedule, a function of the step t")
        try:
            rate = function(1)
        except Exception as fault:
            raise ValueError(
                f"{path}: {name}(1) failed with {type(fault).__name__}: {fault}; expected the learning rate of step 1"
            ) from fault
        try:
            first = float(rate)
        except (TypeError, ValueError):
            first = math.nan
        if not (math.isfinite(first) and first >= 0):
            raise ValueError(
                f"{path}: {name}(1) is {rate!r}; expected the learning rate of step 1, a finite number of at least 0"
            )
        return cls(path.resolve(), name, function)

    def __call__(self, t):
        return self.function(t)

    def __repr__(self) -> str:
        return f"{self.path.name}:{self.name}"

    def __reduce__(self):
        return InFile.load, (self.path, self.name)

    def __deepcopy__(self, memo):
        return self  # it never changes, and its file may


def is_schedule(value: Any) -> bool:
    """Whether a value in a user's file may be a schedule: what can be called, except classes and records.

    >>> is_schedule(constant(0.1)), is_schedule(float), is_schedule(0.1)
    (True, False, False)
    """
    return callable(value) and not isinstance(value, (type, Record))


def written(schedule: Schedule) -> str | None:
    """The written form of a schedule; None where it has none.

    >>> written(warmup(polynomial(0.1, decay=0.5), 100))
    'warmup:100:polynomial:0.1:0.5:0.5'
    >>> written(lambda t: 0.1 / t) is None
    True
    """
    if not isinstance(schedule, partial):
        return None
    numbers = schedule.args
    match schedule.func.__name__:
        case "_constant" | "_exponential" | "_polynomial" as function:
            return ":".join([function[1:], *map(_shown, numbers)])
        case "_piecewise_constant":
            edges, rates = (list(map(_shown, array)) for array in numbers)
            return ":".join(
                ["piecewise", rates[0], *(part for pair in zip(edges, rates[1:], strict=True) for part in pair)]
            )
        case "_warmup":
            after = written(numbers[0])
            return None if after is None else f"warmup:{_shown(numbers[1])}:{after}"
        case "_chain":
            starts, schedules = numbers
            # A chain in a chain has no written form: its slashes would be those of the outer one.
            parts = [text for text in map(written, schedules) if text is not None and "/" not in text]
            if len(parts) < len(schedules):
                return None
            steps = (after - before for before, after in itertools.pairwise(starts))
            return "chain:" + "/".join([*itertools.chain(*zip(parts, map(_shown, steps), strict=False)), parts[-1]])
    return None


def name_of(lr: Rate) -> str | None:
    """What a schedule is called: its written form, or the function that makes it; None for a number.

    >>> name_of(polynomial(0.1)), name_of(chain((constant(1.0), 10), constant(0.1))), name_of(0.1)
    ('polynomial:0.1:1:0.5', 'chain:constant:1/10/constant:0.1', None)
    """
    if not callable(lr):
        return None
    if (text := written(lr)) is not None:
        return text
    if isinstance(lr, InFile):
        return repr(lr)
    if isinstance(lr, partial):
        return name_of(lr.func)
    return getattr(lr, "__qualname__", type(lr).__name__).partition(".")[0].lstrip("_")


def first_rate(lr: Rate) -> float:
    """The learning rate of the first step.

    >>> first_rate(constant(0.1)), first_rate(0.5)
    (0.1, 0.5)
    """
    return float(lr(1)) if callable(lr) else float(lr)


def _shown(number: float) -> str:
    """In the fewest digits that identify it."""
    short = f"{number:g}"
    return short if float(short) == number else repr(float(number))


def _whole(part: str, text: str) -> int:
    try:
        return int(part)
    except ValueError:
        raise ValueError(f"the schedule {text!r} has {part} steps; expected an integer") from None


def _misspelt(text: str, lr: float | None) -> ValueError:
    name = text.partition(":")[0]
    form = FORMS[name]
    apart = "" if lr is None or name == "horizon" else ", without the first RATE, which is given apart"
    return ValueError(f"the schedule {text!r} is not written as {form}{apart}")
