"""Rules and schedules from what a person types: a name, a file of their own, numbers after a colon; and back."""

import difflib
import functools
import importlib.util
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from surefoot import rules, schedules
from surefoot.rules import Rule, RuleError

Rate: TypeAlias = float | Callable[..., float]
"""A learning rate: a number, or a schedule."""


def resolve_rule(text: str | Rule) -> Rule:
    """The rule that `text` names: one of the family, or `path/to/file.py:name` for one of your own.

    `:name` may be left out where the file defines a single rule. A Rule is returned as it is.

    Raises:
        RuleError: in one sentence, if there is no such rule or file, or the file cannot be run.

    >>> resolve_rule("adagrad").name
    'adagrad'
    """
    if isinstance(text, Rule):
        return text
    path, colon, name = text.rpartition(":")
    if not (colon and path.endswith(".py")):
        path, name = text, ""
    if not path.endswith(".py"):
        return rules.get(text)
    found = {key: value for key, value in load(Path(path)).items() if isinstance(value, Rule)}
    # What a file imports from the family is not a rule of its own.
    own = {key: value for key, value in found.items() if value not in rules.REGISTRY.values()}
    if name:
        if name not in found:
            near = difflib.get_close_matches(name, own, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"it defines {', '.join(own) or 'none'}"
            raise RuleError(f"{path}: there is no rule {name!r}; {hint}")
        return found[name]
    if len(own) != 1:
        raise RuleError(
            f"{path}: it defines {', '.join(own) or 'no rule'}; say which one: {path}:{next(iter(own), 'name')}"
        )
    return next(iter(own.values()))


def load(path: Path) -> dict:
    """The global names of a Python file, after it has run."""
    if not path.is_file():
        raise RuleError(f"{path}: there is no such file")
    # Two files of the same name are two modules, and a file that was edited is a new one.
    mark = zlib.crc32(f"{path.resolve()} {path.stat().st_mtime_ns}".encode())
    name = f"surefoot_user_{path.stem}_{mark:08x}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise RuleError(f"{path}: cannot be run as Python")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except RuleError:
            del sys.modules[name]
            raise
        except Exception as error:
            del sys.modules[name]
            reason = str(error).splitlines()[0] if str(error) else "no message"
            raise RuleError(f"{path}: running it failed with {type(error).__name__}: {reason}") from error
    return vars(sys.modules[name])


SCHEDULES: dict[str, tuple[str, int, Callable[..., schedules.Schedule]]] = {
    "constant": ("constant", 0, schedules.constant),
    "exponential": ("exponential:DECAY", 1, schedules.exponential),
    "polynomial": ("polynomial:DECAY[:POWER]", 1, schedules.polynomial),
    "warmup": ("warmup:STEPS", 1, lambda lr, steps: schedules.warmup(lr, int(steps))),
}
"""By name: how it is written, how many numbers it needs, and the schedule for a learning rate and these numbers."""


def resolve_schedule(text: str, lr: float) -> schedules.Schedule:
    """The schedule that `text` names, starting from lr: "exponential:0.1", "polynomial:0.1", "polynomial:0.1:0.5".

    Raises:
        ValueError: in one sentence, for an unknown name or numbers that do not fit.

    >>> float(resolve_schedule("polynomial:1", 0.1)(3))
    0.05
    """
    name, *parts = text.split(":")
    ways = ", ".join(way for way, *_ in SCHEDULES.values())
    if name not in SCHEDULES:
        raise ValueError(f"there is no schedule {name!r}; there are {ways}")
    way, needed, make = SCHEDULES[name]
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        raise ValueError(f"the schedule {text!r} is not written as {way}") from None
    if not needed <= len(numbers) <= way.count(":"):
        raise ValueError(f"the schedule {text!r} is not written as {way}")
    schedule = make(lr, *numbers)
    schedule.__name__ = f"{text} from {lr:g}"  # type: ignore[attr-defined]
    return schedule


def first_rate(lr: Rate) -> float:
    """The learning rate of the first step."""
    return float(lr(1)) if callable(lr) else float(lr)


def schedule_name(lr: Rate) -> str | None:
    """What a schedule is called, by its own `__name__` or the function that made it; None for a number.

    >>> schedule_name(schedules.polynomial(0.1)), schedule_name(0.1)
    ('polynomial', None)
    >>> schedule_name(resolve_schedule("polynomial:1", 0.1))
    'polynomial:1 from 0.1'
    """
    if not callable(lr):
        return None
    if isinstance(lr, functools.partial):
        return getattr(lr, "__name__", schedule_name(lr.func))
    return getattr(lr, "__qualname__", type(lr).__name__).partition(".")[0].lstrip("_")
