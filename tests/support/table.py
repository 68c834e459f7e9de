"""The one table of what the engines must agree on: rule × type × layout × granularity, and how a case is run.

The table is made from the registry: a new rule is tested the day it is written. Compiling one kernel takes one to
three seconds, so `make test` runs cases in which every pair of values occurs (`support.covering`), and the others are
marked as slow. Of a rule that shares, either of a row's rate and the tensor's stands for both: its kernel is the same.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from support.covering import covering
from support.numerics import assert_identical, assert_same_memory
from surefoot import rules
from surefoot.engines import Step, to_bfloat16
from surefoot.rules import Hyper

DTYPES = ("float32", "float64")
LENGTHS = (1, *range(31, 38))


@dataclass(frozen=True)
class Concrete:
    """A rule with certain options on: one function."""

    name: str
    base: str
    options: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name

    @property
    def rule(self) -> rules.Rule:
        """The rule that is run."""
        return rules.get(self.base).resolve(self.options)

    @property
    def shares(self) -> bool:
        """Whether it keeps something that rows or the tensor can share."""
        return any(slot.kind == "scale" for slot in self.rule.slots.values())

    def step(self, **settings) -> Step:
        return Step(self.base, **(self.options | settings))

    def other_settings(self) -> dict[str, float]:
        """Every hyperparameter away from its default, and none at 0; but the options that make the variants stay."""
        base = rules.get(self.base)
        named = frozenset().union(*base.variants)
        return {name: other_than(hyper) for name, hyper in base.hyper.items() if name not in named}


def other_than(hyper: Hyper) -> float:
    """Another value than the default."""
    if hyper.is_flag:
        return not hyper.default
    return hyper.default / 2 if hyper.default else 0.05


def concrete() -> Iterator[Concrete]:
    """Every function of the registry, but for those of another clock, which tests/conformance/test_clock.py has."""
    for rule in rules.REGISTRY.values():
        yield Concrete(rule.name, rule.name)
        for options, variant in rule.variants.items():
            if "clock" in options:
                continue
            on = {name: True if rule.hyper[name].is_flag else 0.5 for name in sorted(options)}
            yield Concrete(variant.name, rule.name, on)


CONCRETE = {c.name: c for c in concrete()}


@dataclass(frozen=True)
class Case:
    """One kernel: what it is compiled for."""

    concrete: Concrete
    layout: str
    dtype: str
    granularity: str = "coordinate"

    def __str__(self) -> str:
        return "-".join(self)

    def __iter__(self) -> Iterator[str]:
        return iter((self.concrete.name, self.layout, self.dtype, self.granularity))


def granularities(c: Concrete, *which: str) -> tuple[str, ...]:
    return ("coordinate", *which) if c.shares else ("coordinate",)


def product(*layouts: str) -> Iterator[Case]:
    """Every rule × layout × type × granularity."""
    for c, layout, dtype in itertools.product(CONCRETE.values(), layouts, DTYPES):
        for granularity in granularities(c, "row", "tensor"):
            yield Case(c, layout, dtype, granularity)


TABLE = list(product("dense", "rows"))
pairwise = covering([(*case, case.granularity == "coordinate") for case in TABLE], apart=[(0, 3)])
FAST = [case for case in TABLE if (*case, case.granularity == "coordinate") in pairwise]


# Numbers to step on


def parameters(shape, dtype: str, seed: int = 0):
    """Parameters of all sizes and both signs, with zeros of both signs among them."""
    return numbers(shape, dtype, np.random.default_rng([seed, 1]), (-6, 2))


def gradients(shape, dtype: str, count: int, seed: int = 0):
    """That number of gradients, of all sizes, some coordinates exactly zero."""
    rng = np.random.default_rng([seed, 2])
    return [numbers(shape, dtype, rng, (-6, 2)) for _ in range(count)]


def numbers(shape, dtype: str, rng, decades):
    values = rng.normal(size=shape) * 10.0 ** rng.uniform(*decades, size=shape)
    values = np.where(rng.random(shape) < 0.1, np.copysign(0.0, values), values)
    return stored(values, dtype)


def stored(values, dtype: str):
    """The numbers in a storage type; bfloat16 is uint16 to NumPy."""
    if dtype == "bfloat16":
        return to_bfloat16(np.asarray(values, np.float32))
    return np.asarray(values).astype(dtype)


def touches(shape, dtype: str, count: int, seed: int = 0):
    """That number of sparse gradients (ids, values), with duplicates."""
    rng = np.random.default_rng([seed, 3])
    result = []
    for k in range(count):
        size = int(rng.integers(1, 2 * shape[0] + 1))
        ids = rng.integers(0, shape[0], size).astype((np.int32, np.int64)[k % 2])
        result.append((ids, numbers((size, *shape[1:]), dtype, rng, (-6, 2))))
    return result


# Running a case in both engines


def both(c: Concrete, x, run: Callable, what: object = "", /, memory: str = "contiguous", **settings):
    """Runs `run(step, x, state)` in either engine on copies of x; parameters and memory must agree bit for bit.

    Returns the CPU engine's parameters and state.
    """
    results = {}
    for engine in ("reference", "cpu"):
        step, mine = c.step(engine=engine, **settings), MEMORY[memory](x)
        state = step.init(mine)
        run(step, mine, state)
        results[engine] = mine, state
    assert_identical(results["cpu"][0], results["reference"][0], f"{c.name} {what} parameters")
    assert_same_memory(results["cpu"][1], results["reference"][1], f"{c.name} {what}")
    return results["cpu"]


def with_gaps(x):
    """Every other element along each axis of a larger array."""
    return fill(np.zeros([2 * n for n in x.shape], x.dtype)[tuple(slice(None, None, 2) for _ in x.shape)], x)


def backwards(x):
    """From the end of its memory to the beginning."""
    return fill(np.zeros_like(x)[tuple(slice(None, None, -1) for _ in x.shape)], x)


def fill(place, x):
    place[...] = x
    return place


MEMORY: dict[str, Callable] = {
    "contiguous": lambda x: x.copy("C"),
    "columns first": lambda x: x.copy("F"),
    "with gaps": with_gaps,
    "backwards": backwards,
}
"""Copies of an array, each laid out differently in memory."""


def dense_run(grads) -> Callable:
    def run(step, x, state):
        for g in grads:
            step.dense(x, g, state)

    return run


def rows_run(parts, settle: bool = True) -> Callable:
    def run(step, x, state):
        for ids, values in parts:
            step.rows(x, ids, values, state)
        if settle:
            step.settle(x, state)

    return run


def laziness(c: Concrete, /, **settings) -> str:
    """ "exact" where rows without a gradient can catch up, else "touched"."""
    return "exact" if c.step(engine="reference", **settings).no_closed_form is None else "touched"
