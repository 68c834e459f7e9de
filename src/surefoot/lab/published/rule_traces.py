"""Section 3: a trace of every rule of the registry, which its formula, computed without the library, has to equal.

The problem is 0.1x₁² + 2x₂² and ten more coordinates, with curvatures down to 10⁻⁶ and to 0. Most of them have a
gradient at some steps only, x₂ at every third one, as the weight of a rare feature has: so it also counts what a rule
does when a gradient is zero. All coordinates are compared, after every step. Each rule takes its defaults and every
other setting it has.

What goes wrong late is looked for in two ways. A step depends on those before by its number and the state alone, so
both sides are also told that it is step 1,000 and step 10,000; and 10,000 steps are taken while the minimum moves, so
that gradients and what a rule keeps of them stay alive. Rules by which rows without a gradient catch up are traced in
rows, too, and rules with numbers of a whole group on two parameters. What goes wrong in float32, in rows of sparse
gradients, or on another engine is looked for in `float32`.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from surefoot import schedules
from surefoot.engines import ORACLE, Step, driver
from surefoot.lab.problems import PROBLEMS
from surefoot.lab.published import float32, formulas
from surefoot.lab.published.rows import NOTEBOOK, ROWS, Finding, Row, row, signed
from surefoot.rules import STATISTIC_RULES, everything

SECTION = "3 traces"
NEAR = 2.0**-30
START = np.array([[-5.0, -2.0, -2.0], [-2.0 - NEAR, 1.0 - NEAR, 1.0], [1.0, 2.0, -3.0], [1.0, -1.0, 2.0]])
"""The first gradients of x₃, x₄ and x₅ are −½, a little more and a little less: where s starts at ¼, Yogi's sgn(g² − s)
is 0, 1 and −1."""

CURVATURE = np.array([[0.2, 4.0, 0.25], [0.25, 0.5, 2.0], [0.01, 0.03, 0.1], [1e-6, 1e-5, 0.0]])
EVERY = np.array([[1, 3, 1], [2, 5, 7], [1, 4, 1], [1, 3, 1]])
"""Of how many steps one has a gradient, the first of them."""

STEPS = 100
LATE = (*range(1, STEPS + 1), *range(1_000, 1_010), *range(10_000, 10_010))
"""The numbers of the steps of a trace."""

LONG, PART = 10_000, 500
ROUNDING = 1e-9

Gradient = Callable[[int, np.ndarray], np.ndarray]

SETTINGS: dict[str, tuple[dict[str, Any], ...]] = {
    "sgd": ({"lr": 0.1}, {"lr": 0.2}),
    "momentum": (
        {"lr": 0.1},
        {"lr": 0.1, "momentum": 0.5},
        {"lr": 0.1, "dampening": 0.3},
        {"lr": 0.1, "nesterov": True},
    ),
    "visits": ({"lr": 0.4}, {"lr": 0.4, "c": 3.0}),
    "adagrad": (
        {"lr": 0.4},
        {"lr": 0.4, "eps": 0.01, "eps_root": 0.0},
        {"lr": 0.4, "initial_accumulator_value": 0.1},
        {"lr": 0.4, "lr_decay": 0.1},
    ),
    "mean_adagrad": ({"lr": 0.1}, {"lr": 0.1, "eps": 0.01, "eps_root": 0.0}),
    "dual_averaging": (
        {"lr": 0.4},
        {"lr": 0.4, "l1": 0.1},
        {"lr": 0.4, "initial_accumulator_value": 0.1},
        {"lr": 0.4, "eps": 0.01, "eps_root": 0.0},
    ),
    "ftrl": (
        {"lr": 0.4},
        {"lr": 0.4, "beta": 0.1},
        {"lr": 0.4, "l1": 0.1},
        {"lr": 0.4, "l2": 0.1},
        {"lr": 0.4, "initial_accumulator_value": 0.1},
    ),
    "rmsprop": (
        {"lr": 0.1},
        {"lr": 0.1, "gamma": 0.99},
        {"lr": 0.1, "centered": True, "eps_root": 0.01},
        {"lr": 0.1, "momentum": 0.5},
        {"lr": 0.1, "eps": 0.01, "eps_root": 0.0},
    ),
    "adadelta": ({}, {"lr": 0.5}, {"rho": 0.5}, {"eps": 0.01, "eps_root": 0.0}),
    "adam": (
        {"lr": 0.1},
        {"lr": 0.1, "beta1": 0.5},
        {"lr": 0.1, "beta2": 0.5},
        {"lr": 0.1, "beta2": 0.5, "amsgrad": True},
        {"lr": 0.1, "eps": 0.01, "eps_root": 0.01},
    ),
    "adamw": (
        {"lr": 0.1},
        {"lr": 0.1, "decoupled_weight_decay": 0.1},
        {"lr": 0.1, "beta1": 0.5, "beta2": 0.5, "amsgrad": True},
        {"lr": 0.1, "eps": 0.01, "eps_root": 0.01},
    ),
    "nadam": (
        {"lr": 0.1},
        {"lr": 0.1, "beta1": 0.5, "beta2": 0.5},
        {"lr": 0.1, "momentum_decay": 1.0},
        {"lr": 0.1, "eps": 0.01, "eps_root": 0.01},
    ),
    "yogi": (
        {"lr": 0.1},
        {"lr": 0.1, "beta1": 0.5, "beta2": 0.5},
        {"lr": 0.1, "initial_accumulator_value": 0.25},
        {"lr": 0.1, "eps": 0.01, "eps_root": 0.01},
    ),
    "lion": (
        {"lr": 0.1},
        {"lr": 0.1, "beta1": 0.5},
        {"lr": 0.1, "beta2": 0.5},
        {"lr": 0.1, "decoupled_weight_decay": 0.1},
    ),
    "adamax": ({"lr": 0.1}, {"lr": 0.1, "beta1": 0.5}, {"lr": 0.1, "beta2": 0.5}, {"lr": 0.1, "eps": 0.1}),
    "radam": (
        {"lr": 0.1},
        {"lr": 0.1, "beta1": 0.5, "beta2": 0.9},
        {"lr": 0.1, "threshold": 6.0},
        {"lr": 0.1, "eps": 0.01, "eps_root": 0.01},
        {"lr": 0.1, "eps": 0.01, "uncorrected_eps": True},
    ),
    "adabelief": (
        {"lr": 0.1},
        {"lr": 0.1, "beta1": 0.5, "beta2": 0.5},
        {"lr": 0.1, "eps": 0.01, "eps_root": 0.01},
    ),
    "adopt": (
        {"lr": 0.1},
        {"lr": 0.1, "beta1": 0.5, "beta2": 0.9},
        {"lr": 0.1, "clips": False},
        {"lr": 0.1, "eps": 0.1},
    ),
    "madgrad": ({"lr": 0.1}, {"lr": 0.01, "momentum": 0.0}, {"lr": 0.01, "momentum": 0.5, "eps": 0.1}),
    "lamb": (
        {"lr": 0.1},
        {"lr": 0.002, "beta1": 0.5, "beta2": 0.5},
        {"lr": 0.1, "decay": 0.1},
        {"lr": 0.1, "eps": 0.01, "eps_root": 0.01},
    ),
    "novograd": (
        {"lr": 0.1},
        {"lr": 0.1, "beta1": 0.5, "beta2": 0.5},
        {"lr": 0.1, "decay": 0.1},
        {"lr": 0.1, "eps": 0.01, "eps_root": 0.01},
    ),
    "sm3": ({"lr": 0.4}, {"lr": 0.4, "momentum": 0.5}, {"lr": 0.4, "eps": 0.01, "eps_root": 0.01}),
    "adafactor": (
        {"lr": 0.005},
        {"lr": 0.2, "forgetting": 0.5},
        {"lr": 0.005, "threshold": 0.5, "eps_scale": 10.0},
        {"lr": 0.005, "eps_root": 0.01},
    ),
    "cocob": ({}, {"lr": 0.5}, {"alpha": 10.0}, {"eps": 1.0}),
    "schedule_free_sgd": ({"lr": 0.2}, {"lr": 0.2, "momentum": 0.5}),
    "schedule_free_adamw": (
        {"lr": 0.1},
        {"lr": 0.1, "momentum": 0.5},
        {"lr": 0.1, "beta2": 0.5},
        {"lr": 0.1, "decay": 0.1},
        {"lr": 0.1, "eps": 0.1},
    ),
    "schedule_free_adagrad": (
        {"lr": 0.4},
        {"lr": 0.4, "momentum": 0.5},
        {"lr": 0.4, "decay": 0.1},
        {"lr": 0.4, "eps": 0.1},
    ),
    "dog": ({}, {"lr": 0.5}, {"first": 0.01}, {"eps": 1.0}, {"layerwise": True}),
    "dadapt_adagrad": (
        {},
        {"lr": 0.5},
        {"a0": 0.1},
        {"d0": 0.01},
        {"eps": 0.1},
    ),
    "prodigy": (
        {},
        {"lr": 0.5},
        {"beta1": 0.5, "beta2": 0.9},
        {"d0": 0.01, "coef": 0.5},
        {"d0": 0.01, "bias_correction": True},
        {"d0": 0.01, "eps": 0.1},
    ),
    "shampoo": ({"lr": 0.4}, {"lr": 0.4, "eps": 0.1}),
    "full_matrix": ({"lr": 0.4}, {"lr": 0.4, "eps": 0.1}),
}
"""What each rule is traced with."""

CATCH_UP = ("momentum", "mean_adagrad", "ftrl", "rmsprop", "adadelta", "madgrad")
"""Rules that move, or keep something else, after a step with zero gradient, and know a closed form of many."""

PACES = ((34, 0.4), (45, 0.0), (STEPS, 0.2))
"""Learning rates of FTRL, and the last step of each: its z depends on the rate, and at 0 nothing moves."""

SET = 67
"""The step before which x is set from outside, to where the other rules start."""

OF_GROUPS = ("dog", "dadapt_adagrad", "prodigy")
"""Rules with numbers that all parameters of a group have in common."""

WITH_CLOCK = ("adam", "adamw", "nadam", "radam", "adamax", "adabelief", "adopt", "yogi")
"""Rules that can count the steps of each row."""

PRINTED: dict[str, dict[str, str]] = {
    "visits": {"D2L": "Sparse Features and Learning Rates", "notebook": ""},
    "adagrad": {"D2L": "The Algorithm", "D2L-MXNet": "The Algorithm", "CME 216": "", "notebook": "", "guide": ""},
    **dict.fromkeys(("sgd", "momentum", "mean_adagrad", "rmsprop", "adadelta", "adam", "yogi"), NOTEBOOK),
}
"""Where texts print the formulas; those of the other rules stand in the papers that formulas.py names."""

GUIDE = "; guide: η g/(√s + ε), initial accumulator 0.1"
"""What one of AdaGrad's texts has otherwise."""


@functools.cache
def curvature(t: int) -> np.ndarray:
    """Of the coordinates that have a gradient at step t; 0 of the others."""
    return CURVATURE * (t % EVERY == 1 % EVERY)


@functools.cache
def wave(t: int) -> np.ndarray:
    """What is added to gradients as the minimum moves; in the last row as little as they are."""
    moving = np.cos(np.arange(12).reshape(START.shape) + t) * (t % EVERY == 1 % EVERY)
    moving[-1] *= CURVATURE[-1]
    return moving


def gradient(t: int, x) -> np.ndarray:
    """Of the problem at step t, for the formula."""
    return curvature(t) * x


def slope(t: int, x) -> np.ndarray:
    """The same for the library, whose table of problems has that of x₁ and x₂."""
    g = curvature(t) * x
    x1, x2 = PROBLEMS["elongated"].slope(x[0, :2])
    g[0, 0], g[0, 1] = x1, x2 if t % 3 == 1 else 0.0
    return g


def all_at_once(name: str) -> dict[str, Any]:
    """Every setting of a rule in one, but for dampening, which excludes Nesterov's momentum."""
    merged = {key: value for setting in SETTINGS[name] for key, value in setting.items()}
    return {key: value for key, value in merged.items() if key != "dampening"}


def measure(name: str, settings: tuple[Mapping[str, Any], ...] | None = None) -> Finding:
    """The rule against its formula with each of the settings; in float32 and over many steps, if that agrees."""
    if name not in formulas.FORMULAS or name not in SETTINGS:
        raise LookupError(f"{name}: the rule has no formula to be held against; expected one in formulas.FORMULAS")
    tried = settings or SETTINGS[name]
    found = [short(name, tried)]
    special = ((waiting, name in CATCH_UP), (grouped, name in OF_GROUPS), (paced, name == "ftrl"))
    for part, concerned in (*special, (single, True), (long, True)):
        if found[-1].passed and concerned:
            found.append(part(name, tried))
    numbers = {key: value for one in found for key, value in one.numbers.items()}
    return Finding(", ".join(one.measured for one in found), found[-1].passed, numbers)


def short(name: str, settings: tuple[Mapping[str, Any], ...]) -> Finding:
    """With each of the settings, and late numbers of steps."""
    ends, apart = [], 0.0
    for setting in settings:
        ours, expected = walk(name, setting, LATE, slope), walk_formula(name, setting, LATE, gradient)
        apart = max(apart, largest(ours - expected))
        ends.append(ours[STEPS - 1, 0, :2])
    shown = "; ".join(f"({signed(x1)}, {signed(x2)})" for x1, x2 in ends)
    numbers = {"largest_difference": apart, "x1": float(ends[0][0]), "x2": float(ends[0][1])}
    return Finding(f"{shown}: within {apart:.0e} of the formula at every step", apart <= ROUNDING, numbers)


def waiting(name: str, settings: tuple[Mapping[str, Any], ...]) -> Finding:
    """In rows of sparse gradients, where those without one catch up on what steps with zero gradient do."""
    apart, (start, _) = 0.0, moved(name)
    for setting in settings:
        if name == "rmsprop" and setting.get("momentum"):
            continue  # which has no closed form
        step, x, given = Step(name, engine=ORACLE, **setting), start.copy(), float32.gradients(STEPS)
        state = step.init(x)
        path = list(formulas.walk(name, start, lambda t, x, given=given: float32.whole(given[t - 1]), STEPS, setting))
        for (ids, values), expected in zip(given, path, strict=True):
            step.rows(x, ids, values, state)
            apart = max(apart, largest(x[ids] - expected[ids]))
        step.flush(x, state)
        apart = max(apart, largest(x - path[-1]))
    return Finding(f"within {apart:.0e} in rows that catch up", apart <= ROUNDING, {"rows": apart})


def paced(name: str, settings: tuple[Mapping[str, Any], ...]) -> Finding:
    """FTRL while the learning rate changes and is 0, and x is set from outside: then z is what belongs to x."""
    apart, (last, rates) = 0.0, zip(*PACES, strict=True)
    # Under the larger λ₁, x₇ is still 0 in the pause, and z alone tells of its gradients.
    for setting in (*settings, {"l1": 0.5}):
        given = {"l1": 0.0, "l2": 0.0} | dict(setting)
        schedule = schedules.piecewise_constant([t + 1 for t in last[:-1]], rates)
        step, x, expected = Step(name, engine=ORACLE, **given | {"lr": schedule}), np.zeros(START.shape), 0.0
        state, (s, z, inverse) = (
            step.init(x),
            formulas.states_of(formulas.ftrl, given.pop("initial_accumulator_value", 0.0)),
        )
        for t in range(1, STEPS + 1):
            if t == SET:
                x[...] = expected = START
                z = -formulas.sign(START) * given["l1"] - (inverse + given["l2"]) * START
            g, rate = gradient(t, expected + START), next(rate for end, rate in PACES if t <= end)
            if rate:
                expected, s, z, inverse = formulas.ftrl(t, expected, g, s, z, inverse, **given | {"lr": rate})
            else:
                s = s + g * g
            step.dense(x, slope(t, x + START), state)
            apart = max(apart, largest(x - expected))
    return Finding(f"within {apart:.0e} at learning rates that change", apart <= ROUNDING, {"paced": apart})


def grouped(name: str, settings: tuple[Mapping[str, Any], ...]) -> Finding:
    """A matrix and a vector of one group: they step as one array does, and layerwise each as if it were alone."""
    apart, halves = 0.0, (np.s_[:2], np.s_[2:])
    for setting in settings:
        step, arrays = Step(name, engine=ORACLE, **setting), [START[:2].copy(), START[2:].flatten()]
        states = [step.init(x) for x in arrays]
        alone = halves if setting.get("layerwise") else [np.s_[:]]
        walks = [
            formulas.walk(name, START[part], lambda t, x, part=part: curvature(t)[part] * x, STEPS, setting)
            for part in alone
        ]
        for t, expected in enumerate(zip(*walks, strict=True), 1):
            slopes = [curvature(t)[half].reshape(x.shape) * x for half, x in zip(halves, arrays, strict=True)]
            driver.measure_group(step, list(zip(arrays, slopes, states, strict=True)))
            for x, g, state in zip(arrays, slopes, states, strict=True):
                step.dense(x, g, state)
            apart = max(apart, largest(np.concatenate([*map(np.ravel, arrays)]) - np.concatenate(expected).ravel()))
    return Finding(f"within {apart:.0e} as two parameters of a group", apart <= ROUNDING, {"group": apart})


def long(name: str, settings: tuple[Mapping[str, Any], ...]) -> Finding:
    """With all settings at once, while the minimum moves, until they differ."""
    once, steps, apart, taken = all_at_once(name), range(1, LONG + 1), 0.0, 0
    ours = positions(name, once, steps, lambda t, x: slope(t, x) + wave(t))
    expected = positions_of_formula(name, once, steps, lambda t, x: gradient(t, x) + wave(t))
    while apart <= ROUNDING and taken < LONG:
        apart = max(apart, largest(first(ours, PART) - first(expected, PART)))
        taken += PART
    return Finding(f"within {apart:.0e} at each of {taken:,}", apart <= ROUNDING, {"long": apart})


def single(name: str, settings: tuple[Mapping[str, Any], ...]) -> Finding:
    """In float32, along given gradients.

    Of Shampoo each row is a matrix, as large rows would hide small ones in a sum that both are in. Rules with numbers
    of whole rows or arrays have a vector.
    """
    rule, (start, _) = everything()[name], moved(name)
    start = start[:, None] if name == "shampoo" else start.ravel() if name in STATISTIC_RULES else start
    return float32.measure(rule, start, settings, all_at_once(name), LATE)


def largest(differences: np.ndarray) -> float:
    return float(np.nan_to_num(np.abs(differences), nan=np.inf).max())


def moved(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Where a rule starts, and where its origin is: rules that step from the origin take the start as theirs."""
    nowhere = np.zeros(START.shape)
    return (nowhere, START) if everything()[name].from_origin else (START, nowhere)


def first(some: Iterator[np.ndarray], count: int) -> np.ndarray:
    return np.array(list(itertools.islice(some, count)))


def walk(name: str, setting: Mapping[str, Any], steps: Iterable[int], of: Gradient) -> np.ndarray:
    """Where the library's rule is after each of these steps."""
    return np.array(list(positions(name, setting, steps, of)))


def walk_formula(name: str, setting: Mapping[str, Any], steps: Iterable[int], of: Gradient) -> np.ndarray:
    """Where the formula is after each of these steps."""
    return np.array(list(positions_of_formula(name, setting, steps, of)))


def positions(name: str, setting: Mapping[str, Any], steps: Iterable[int], of: Gradient) -> Iterator[np.ndarray]:
    start, origin = moved(name)
    step, x = Step(name, engine=ORACLE, **setting), start.copy()
    state = step.init(x)
    for t in steps:
        if t in (1_000, 10_000):
            state.t = t - 1
        step.dense(x, of(t, x + origin), state)
        yield x + origin


def positions_of_formula(
    name: str, setting: Mapping[str, Any], steps: Iterable[int], of: Gradient
) -> Iterator[np.ndarray]:
    start, origin = moved(name)
    for x in formulas.walk(name, start, lambda t, x: of(t, x + origin), steps, setting):
        yield x + origin


@row(
    "trace-cautious",
    SECTION,
    f"cautious steps of momentum, adam and lion, {STEPS} of each: coordinates move that the gradient agrees with",
    "",
    ours="d ← n/(m + 1) [d g > 0] d of n coordinates, m of which agree (Liang, Chen, Liu & Liu 2024, algorithm 1)",
)
def cautious(rules=("momentum", "adam", "lion"), cautious=True) -> Finding:
    apart, steps = 0.0, range(1, STEPS + 1)
    for name in rules:
        ours = walk(name, SETTINGS[name][0] | {"cautious": cautious}, steps, slope)
        apart = max(apart, largest(ours - walk_cautious(name, SETTINGS[name][0], steps)))
    return Finding(f"within {apart:.0e} of the formula at every step", apart <= ROUNDING, {"largest_difference": apart})


def walk_cautious(name: str, setting: Mapping[str, Any], steps: Iterable[int]) -> np.ndarray:
    """Where the formula is after each of these steps, if it moves by what agrees with the gradient alone."""
    formula, x, seen = formulas.FORMULAS[name], START, []
    states = formulas.states_of(formula)
    for t in steps:
        g = gradient(t, x)
        after, *states = formula(t, x, g, *states, **setting)
        agrees = (x - after) * g > 0
        x = x + agrees * (after - x) * (x.size / (agrees.sum() + 1))
        seen.append(x)
    return np.array(seen)


@row(
    "trace-clock",
    SECTION,
    f'{", ".join(WITH_CLOCK)} with clock="row", {STEPS} steps: each row steps as if those without its gradient were '
    "not there",
    "",
    ours="the formula, for each row by itself, t the number of its gradients; also with amsgrad",
)
def row_clock(rules=WITH_CLOCK, clock="row") -> Finding:
    apart = 0.0
    for name in rules:
        also = {"amsgrad": True} if name in ("adam", "adamw") else {}
        for setting in ({"lr": 0.1}, {"lr": 0.1, "beta2": 0.5} | also):
            step, x, given = Step(name, engine=ORACLE, lazy="touched", clock=clock, **setting), START.copy(), {}
            state = step.init(x)
            for ids, values in float32.gradients(STEPS):
                step.rows(x, ids, values, state)
                for one in np.unique(ids):
                    given.setdefault(one, []).append(values[ids == one].sum(0))
            for one, own in given.items():
                *_, last = formulas.walk(name, START[one], lambda t, x, own=own: own[t - 1], len(own), setting)
                apart = max(apart, largest(x[one] - last))
    return Finding(f"within {apart:.0e} of the formula", apart <= ROUNDING, {"largest_difference": apart})


def claim_of(name: str) -> str:
    """The problem and the settings, of which all but the first show what differs from it."""
    first, *others = SETTINGS[name]
    shown = [given(first), *(given(dict(setting.items() - first.items())) for setting in others)]
    where = "0.1x₁² + 2x₂² from (−5, −2), x₂ with a gradient at every third step, and ten more coordinates"
    return f"{name}: {where}, {STEPS} steps; {'; '.join(filter(None, shown))}"


def given(setting: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} = {value:g}" for key, value in sorted(setting.items()))


def ours_of(name: str) -> str:
    """What a rule is held against."""
    also = "; rows without a gradient catch up on what zero gradients do" if name in CATCH_UP else ""
    if name == "ftrl":
        also += f"; also at learning rates {', '.join(f'{rate:g}' for _, rate in PACES)}, and with x set from outside"
    if name in OF_GROUPS:
        also = "; two parameters of a group step as one" + ", and by L-DoG (layerwise) each by itself" * (name == "dog")
    return (
        f"the formula, computed without the library, also at steps 1,000 and 10,000, and for 10,000 steps with all "
        f"settings at once while the minimum moves{also}; in float32, also in rows of sparse gradients, but for its "
        "rounding, and with the same bits on both engines"
    )


for one in everything():
    printed = formulas.printed(one) + GUIDE * (one == "adagrad") if one in PRINTED else ""
    ROWS[f"trace-rule-{one}"] = Row(
        f"trace-rule-{one}",
        SECTION,
        claim_of(one) if one in SETTINGS else one,
        printed,
        functools.partial(measure, one),
        PRINTED.get(one, {}),
        ours=ours_of(one),
    )
