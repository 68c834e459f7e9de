"""Traces: where a rule goes, step by step, on a function of two numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from surefoot import schedules
from surefoot.engines import ORACLE, Step
from surefoot.lab import problems
from surefoot.lab.notebook import html_table
from surefoot.lab.paths import Path
from surefoot.lab.problems import Problem
from surefoot.rules import Rule, by_name, resolve
from surefoot.schedules import Rate

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

Rates = Rate | Sequence[Rate]

AROUND = (
    "granularity",
    "weight_decay",
    "decoupled_weight_decay",
    "l1",
    "l2",
    "clip_value",
    "clip_norm",
    "maximize",
    "cautious",
)
"""The settings around a rule that a trace passes on to `Step`."""

ENDS = ("rule", "x₁", "x₂", "f(x)", "steps")
"""What `Trace.ends` lists."""

FAR = 1e12
"""A path that gets this far from the minimizer ends: the squares of its gradients would soon overflow."""


@dataclass(frozen=True, eq=False)
class Trace:
    """The paths of one or several rules from the same start over the same problem, with the same noise.

    Attributes:
        problem: what they walk on.
        paths: one for each rule and learning rate, in the order requested.
        noise: the standard deviation of the noise in each coordinate of the gradient.
        seed: what the noise was drawn from.
    """

    problem: Problem
    paths: tuple[Path, ...]
    noise: float = 0.0
    seed: int = 0

    def __iter__(self) -> Iterator[Path]:
        return iter(self.paths)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, key: int | str) -> Path:
        """A path by its place, or the first of the rule of that name."""
        if isinstance(key, str):
            for path in self.paths:
                if path.rule == key:
                    return path
            raise KeyError(f"there is no path of {key!r}; there are {', '.join(path.rule for path in self.paths)}")
        return self.paths[key]

    def __repr__(self) -> str:
        lines = [f"<Trace on {self.problem.name}, f = {self.problem.formula}"]
        for path in self.paths:
            x1, x2 = path.positions[-1]
            end = "diverged" if path.diverged else f"x = ({x1:.6f}, {x2:.6f}), f = {path.values[-1]:.6f}"
            lines.append(f"  {path.label}: {end} after {len(path.rates)} steps")
        return "\n".join(lines) + ">"

    def ends(self) -> list[list[str]]:
        """Where every path ends: its label, x₁, x₂, f and the number of steps."""
        rows = []
        for path in self.paths:
            (x1, x2), value = path.positions[-1], path.values[-1]
            end = ["diverged", "", ""] if path.diverged else [f"{x1:.6f}", f"{x2:.6f}", f"{value:.6f}"]
            rows.append([path.label, *end, str(len(path.rates))])
        return rows

    def _repr_html_(self) -> str:
        return html_table(f"f(x) = {self.problem.formula}", ENDS, self.ends())

    def frame(self) -> DataFrame:
        """A pandas data frame with a row for every step: rule, lr, step, x1, x2, value, rate1, rate2, diverged.

        `lr` is the learning rate at that step; it and the effective rates are missing at step 0.
        """
        from pandas import DataFrame, concat

        parts = []
        for path in self.paths:
            steps = np.arange(len(path.values))
            rates = np.vstack([np.full((1, 2), np.nan), path.rates])
            lr = [np.nan, *(float(path.lr(t) if callable(path.lr) else path.lr) for t in steps[1:])]
            columns = {
                "rule": path.rule,
                "lr": lr,
                "step": steps,
                "x1": path.positions[:, 0],
                "x2": path.positions[:, 1],
                "value": path.values,
                "rate1": rates[:, 0],
                "rate2": rates[:, 1],
                "diverged": path.diverged,
            }
            parts.append(DataFrame(columns))
        return concat(parts, ignore_index=True)

    def figure(self) -> Figure:
        """A Matplotlib figure: every path over the contours of the problem, a panel each."""
        from surefoot.lab.trace_figures import trace_figure

        return trace_figure(self.problem, self.paths)

    def gif(self, path: str | PathLike[str], frames_per_second: int = 8) -> None:
        """Writes an animated GIF of the same panels, a frame for every step (at most about 120 frames)."""
        from surefoot.lab.trace_figures import trace_gif

        trace_gif(self.problem, self.paths, path, frames_per_second)

    def record(self) -> dict[str, Any]:
        """Everything as plain lists, numbers and words."""
        return {
            "problem": self.problem.name,
            "formula": self.problem.formula,
            "seed": self.seed,
            "paths": [path.record() for path in self.paths],
        }


def trace(
    rules: str | Rule | Sequence[str | Rule],
    problem: str | Problem = "elongated",
    lr: Rates | Mapping[str, Rates] | None = None,
    steps: int = 20,
    start: Sequence[float] | None = None,
    noise: float = 0.0,
    seed: int = 0,
    convention: str | None = None,
    **hyper: Any,
) -> Trace:
    """Follows rules over a function of two numbers.

    Rules that step from the origin (dual averaging, FTRL) take the start as their origin.

    Args:
        rules: a name, a Rule of your own, `path/to/file.py:name`, or several of them.
        problem: a name in `problems.PROBLEMS`, or a Problem of your own.
        lr: the learning rate: a number or a schedule (a function, or text as in schedules.FORMS) for all rules; a
            sequence of them, each of which every rule is then traced at; or a dict of either by rule. By default each
            rule's own.
        steps: how many steps, at least 1.
        start: (x₁, x₂); by default the problem's.
        noise: the standard deviation of normal noise that is added to each coordinate of the gradient.
        seed: of the noise, which is the same for all rules.
        convention: take the defaults of that library, see Rule.conventions.
        **hyper: hyperparameters, for all rules that have them; and settings around the rule, such as `clip_norm`.

    Returns:
        A Trace: paths as arrays, `.frame()`, `.figure()`, `.gif(path)`.

    Raises:
        RuleError, ValueError: for a rule, problem or value that does not exist or fit, in one sentence.

    >>> trace("adagrad", lr=0.4)["adagrad"].positions[-1].round(6)
    array([-2.382563, -0.158591])
    """
    where = problems.get(problem)
    begin = _start(where.start if start is None else start)
    if isinstance(steps, bool) or int(steps) != steps or steps < 1:
        raise ValueError(f"steps must be a whole number of at least 1, got {steps!r}")
    if not (np.isfinite(noise) and noise >= 0):
        raise ValueError(f"noise must be a finite number of at least 0, got {noise!r}")
    chosen = [rules] if isinstance(rules, (str, Rule)) else list(rules)
    if not chosen:
        raise ValueError("there is no rule to trace; name at least one, such as adagrad")
    resolved = [resolve(rule, matrices=True) for rule in chosen]
    lr = by_name(lr, resolved) if isinstance(lr, Mapping) else lr
    _check_taken(resolved, lr, hyper)
    paths = [
        follow(rule, where, rate, int(steps), begin, noise, seed, convention, hyper)
        for rule in resolved
        for rate in _rates(lr, rule.name)
    ]
    return Trace(where, tuple(paths), float(noise), seed)


def follow(rule, problem, lr, steps, start, noise, seed, convention, hyper) -> Path:
    """The path of one rule at one learning rate."""
    own = {key: value for key, value in hyper.items() if key in AROUND or key in rule.hyper}
    rate = {} if lr is None else {"lr": lr}
    step = Step(rule, engine=ORACLE, convention=convention, nonfinite="skip", name=rule.name, **rate, **own)
    origin = start if rule.from_origin else np.zeros(2)
    positions, rates, finished = walk(step, problem, start, steps, noise, np.random.default_rng(seed), origin)
    values = problem.at(positions)
    diverged = not finished or bool(values[-1] > 10 * _highest(problem, start))
    given = own if convention is None else {"convention": convention, **own}
    return Path(rule.name, step.hyper["lr"], positions, values, rates, diverged, given, noise)


def walk(step, problem: Problem, start, steps: int, noise: float = 0.0, rng=None, origin: Any = 0.0):
    """Steps from start, (…, 2) points at once.

    Returns:
        positions (steps + 1, …, 2), effective rates (steps, …, 2), and whether all steps could be taken.
    """
    rng = np.random.default_rng(0) if rng is None else rng
    start = np.asarray(start, np.float64)
    x = start - origin
    state = step.init(x)
    positions, rates = np.empty((steps + 1, *x.shape)), np.empty((steps, *x.shape))
    positions[0] = start
    with np.errstate(over="ignore", invalid="ignore"):
        for t in range(steps):
            g = problem.slope(x + origin)
            if noise:
                g = g + noise * rng.standard_normal(x.shape)
            before = x.copy()
            step.dense(x, g, state)
            far = np.abs(x + origin - np.asarray(problem.minimizer)).max() > FAR
            if state.skipped or far:
                positions[t + 1 :], rates[t:] = before + origin, rates[max(t - 1, 0)] if t else 0.0
                return positions, rates, False
            positions[t + 1], rates[t] = x + origin, step.rates(x, state)
    return positions, rates, True


def _highest(problem: Problem, start: np.ndarray) -> float:
    """The highest value at the corners of the problem's window and at the start."""
    left, right, low, high = problem.window
    return float(problem.at(np.array([start, [left, low], [left, high], [right, low], [right, high]])).max())


def _check_taken(rules: Sequence[Rule], lr, hyper: Mapping[str, Any]) -> None:
    """Every setting must reach a rule."""
    for key, value in hyper.items():
        if key not in AROUND and not any(key in rule.hyper for rule in rules):
            rules[0].settings(**{key: value})
    if isinstance(lr, Mapping):
        names = [rule.name for rule in rules]
        for name in lr:
            if name not in names:
                raise ValueError(f"lr names the rule {name!r}, which is not traced; there are {', '.join(names)}")


def _rates(lr, name: str) -> list:
    if isinstance(lr, Mapping):
        lr = lr.get(name)
    if isinstance(lr, (Sequence, np.ndarray)) and not isinstance(lr, str):
        if len(lr) == 0:
            raise ValueError("lr is an empty sequence; give at least one learning rate")
        return list(map(schedules.resolve, lr))
    return [None if lr is None else schedules.resolve(lr)]


def _start(start: Sequence[float]) -> np.ndarray:
    try:
        begin = np.asarray(start, np.float64)
    except (TypeError, ValueError):
        begin = np.empty(0)
    if begin.shape != (2,) or not np.isfinite(begin).all() or np.abs(begin).max() > FAR:
        raise ValueError(f"start must be two finite numbers, got {start!r}")
    return begin
