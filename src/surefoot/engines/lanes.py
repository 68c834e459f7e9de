"""Several linear models that learn from the same examples at once: their memory, and the calls of the kernels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from surefoot import hugepages, losses
from surefoot.engines.cpu.kind import Kind
from surefoot.engines.cpu.sorting import copy_columns
from surefoot.engines.cpu.specialize import specialize
from surefoot.engines.step import Step
from surefoot.engines.tables import stack
from surefoot.losses import Loss

COMPILED_WIDTHS = (1, 2, 4, 8)
"""Numbers of lanes with kernels of their own; other numbers share one, which is a little slower."""


@dataclass(frozen=True, eq=False)
class Examples:
    """Rows in CSR form, each with every feature at most once, their targets and weights.

    Attributes:
        indptr: (n + 1,), int32 or int64.
        indices: features from 0 on, int32 or int64.
        values: float32.
        targets: (n,), float64; 0 or 1, the number of the class, or what is to be predicted.
        weights: (n,), float64, at least 0.
        features: more than the largest index; None where that has to be looked for.
    """

    indptr: np.ndarray
    indices: np.ndarray
    values: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    features: int | None = None

    @property
    def features_needed(self) -> int:
        """The features that a model needs to have."""
        return int(self.indices.max(initial=-1)) + 1 if self.features is None else self.features

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def part(self, first: int, last: int) -> Examples:
        """The rows first … last − 1."""
        rows = slice(first, last)
        return Examples(
            self.indptr[first : last + 1], self.indices, self.values, self.targets[rows], self.weights[rows]
        )


class Lanes:
    """Linear models that differ in their steps only, and learn from the same examples.

    A lane is a rate and an output: lane k has rate k mod R of R and output k div R.

    Args:
        steps: one for each rate; the rule must be the same.
        loss: a Loss or the name of one.
        parameter: the loss's own number.
        outputs: numbers predicted for each example: 1, or the number of classes.
        damped: for each rate, whether it takes the slope that the loss has where the step leads (an implicit step).
        normalize: divide each feature by its root mean square so far.
        features: how many there are to begin with; more are added when they occur.
        batch_size: examples for each step.
    """

    def __init__(
        self,
        steps: Sequence[Step],
        *,
        loss: str | Loss = losses.FOR_TWO_CLASSES,
        parameter: float = 0.0,
        outputs: int = 1,
        damped: Sequence[bool] = (),
        normalize: bool = True,
        features: int = 0,
        batch_size: int = 1,
    ):
        self.steps, self.damped = list(steps), [bool(d) for d in damped] or [False] * len(steps)
        self.loss, self.parameter, self.outputs = losses.get(loss), parameter, outputs
        self.normalize, self.batch_size = normalize, batch_size
        self.t = self.skipped = 0
        self.memory = hugepages.zeros((0, self.width), np.float32)
        self.means = np.empty((0, self.lanes), np.float32) if self.averages else None
        self.upto = np.empty(0)
        self._spare: dict[str, np.ndarray] = {}
        self.total = 0.0
        self.last, self.settled = np.empty(0, np.int64), 0
        self.grow(features)

    @property
    def rule(self):
        return self.steps[0].rule

    @property
    def rates(self) -> int:
        return len(self.steps)

    @property
    def lanes(self) -> int:
        return self.rates * self.outputs

    @property
    def width(self) -> int:
        """Numbers in a feature's row: its weight and the slots in every lane, its root mean square, its count."""
        return (1 + len(self.rule.slots)) * self.lanes + 2

    @property
    def features(self) -> int:
        return max(len(self.memory) - 1, 0)

    @property
    def averages(self) -> bool:
        return self.steps[0].average

    @property
    def constant(self) -> bool:
        """Whether the coefficients are the same at every step."""
        return all(np.ndim(c) == 0 for step in self.steps for c in step.coefficients(np.arange(1, 3)))

    @property
    def catches_up(self) -> bool:
        """Whether features that do not occur have something to make up for when they next do."""
        step = self.steps[0]
        if step.rule.from_origin and self.constant:
            return False
        return step.catches_up and step.no_closed_form is None

    def grow(self, features: int) -> None:
        """Adds features until there are so many. Room is made for half as many again, so that this is seldom slow."""
        rows, before = features + 1, len(self.memory)
        if before and rows <= before:
            return
        if rows > len(self._spare.get("memory", ())):
            room = max(rows, before + before // 2)
            self._spare = {"memory": self._blank(room), "last": np.empty(room, np.int64), "upto": np.zeros(room)}
            if self.means is not None:
                self._spare["means"] = np.zeros((room, self.lanes), np.float32)
            for name, array in self._spare.items():
                array[:before] = getattr(self, name)[:before]
        for name, array in self._spare.items():
            setattr(self, name, array[:rows])
        self.last[before:] = self.t

    def _blank(self, rows: int) -> np.ndarray:
        """The memory of so many features that have not occurred."""
        memory = hugepages.zeros((rows, self.width), np.float32)
        for s, slot in enumerate(self.rule.slots.values(), start=1):
            for k in range(self.lanes):
                if initial := self.steps[k % self.rates].initial(slot):
                    memory[:, s * self.lanes + k] = initial
        return memory

    def learn(self, examples: Examples) -> np.ndarray:
        """Learns from the examples in their order; returns what each lane predicted before, (n, outputs, rates)."""
        n = len(examples)
        predictions = np.empty((n, self.lanes), np.float32)
        if n == 0:
            return predictions.reshape(0, self.outputs, self.rates)
        edges = np.minimum(np.arange(-(-n // self.batch_size) + 1) * self.batch_size, n)
        steps = len(edges) - 1
        # One type of index and so one set of kernels, whatever the caller has.
        first, stop = examples.indptr[0], examples.indptr[-1]
        indptr = examples.indptr.astype(np.int64) - first
        indices = examples.indices[first:stop].astype(np.int64, copy=False)
        tables = self._table(self.t + 1, steps), self._table(self.t + 1, steps, spared=True)
        widest = int(np.diff(indptr[edges] if self.batch_size > 1 else indptr).max()) + 1
        widest = min(widest, len(self.memory)) if self.batch_size > 1 else widest
        longest = int(np.diff(indptr).max()) + 1
        room = max(widest, longest)
        f = np.float32
        gathered, scratch = self._scratch(room, longest, tables)
        damped = np.tile(self.damped, self.outputs) if any(self.damped) and self.batch_size == 1 else np.empty(0, bool)
        keep = self._keep(self.t + 1, steps)
        penalties = (f(self.steps[0].l1), f(self.steps[0].l2), keep)
        settings = (losses.CODES.get(self.loss, 0), float(self.parameter), self.outputs, damped, tables, penalties)
        average = self._average(steps)
        kind = self._kind()
        arrays = ((indptr, indices, examples.values[first:stop]), examples.targets, examples.weights)
        rest = (self.memory, settings, predictions, gathered, scratch, self._idle(tables[0], keep), average)
        if self.batch_size == 1:
            skipped = specialize("learn", self.rule, kind)(*arrays, 0, n, *rest)
        else:
            batch = (np.empty(room, np.int64), np.full(len(self.memory), -1), np.empty(room, f))
            skipped = specialize("learn_batches", self.rule, kind)(*arrays, edges, *rest, batch)
        self.t += steps
        self.skipped += skipped
        if self.averages:
            self.total = float(average[2][-1])
        if self.catches_up and not self.constant:
            self.settle()
        return predictions.reshape(n, self.outputs, self.rates)

    def _scratch(self, room: int, longest: int, tables: tuple[np.ndarray, np.ndarray]) -> tuple[tuple, tuple]:
        """What kernels gather so many features into, and so many entries of an example."""
        flat, f = room * self.lanes, np.float32
        slots = tuple(np.empty(flat, f) for _ in self.rule.slots)
        coefficients = tuple(np.tile(row, room) for row in tables[0][0])
        moves, penalties = np.empty(flat, f), np.empty((3, flat), f)
        gathered = (np.empty(flat, f), np.empty(flat, f), slots, coefficients, moves, penalties)
        of_lanes = np.empty(self.lanes, f), np.empty(self.lanes), np.empty(self.lanes, f)
        return gathered, (np.empty(longest, np.int64), *np.empty((3, longest), f), *of_lanes)

    def settle(self) -> None:
        """Lets features that have not occurred for a while catch up, and the averages."""
        if not (self.catches_up or self.averages):
            return
        first = self.settled + 1
        steps = max(self.t - self.settled, 1)
        idle = self._idle(self._table(first, steps), self._keep(first, steps), first, self.t + 1)
        means = (self.means, self.upto, np.array([self.total])) if self.averages else ()
        rows = np.arange(len(self.memory))
        specialize("settle_lanes", self.rule, self._kind())(self.memory, idle, means, rows, self.lanes)
        self.last[:] = self.t
        self.settled = self.t

    def weights(self, averaged: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """The weights of the features as they are, (features, outputs, rates), and the biases, (outputs, rates)."""
        self.settle()
        table = self.means if averaged and self.means is not None else self.memory[:, : self.lanes]
        roots = self.memory[1:, -2:-1] if self.normalize else np.ones((self.features, 1), np.float32)
        weights = np.divide(table[1:], roots, out=np.zeros((self.features, self.lanes), np.float32), where=roots > 0)
        return weights.reshape(-1, self.outputs, self.rates), table[0].reshape(self.outputs, self.rates).copy()

    def choose(self, rates: Sequence[int], steps: Sequence[Step], damped: Sequence[bool]) -> None:
        """Goes on with these of the present rates, which may be named twice, and steps for them."""
        self.settle()
        lanes = np.concatenate([c * self.rates + np.asarray(rates) for c in range(self.outputs)])
        columns = [s * self.lanes + lanes for s in range(1 + len(self.rule.slots))]
        columns.append(np.array([self.width - 2, self.width - 1]))
        before, self._spare = self.memory, {}
        if self.means is not None:
            self.means = np.ascontiguousarray(self.means[:, lanes])
        self.steps, self.damped = list(steps), list(damped)
        self.memory = self._blank(len(before))
        copy_columns(before, np.concatenate(columns), self.memory, self.normalize)

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, float]]:
        """All there is to the memory: arrays, which are not copies, and numbers."""
        arrays = {"memory": self.memory, "last": self.last, "upto": self.upto}
        if self.means is not None:
            arrays["means"] = self.means
        return arrays, {"t": self.t, "skipped": self.skipped, "settled": self.settled, "total": self.total}

    def restore(self, arrays: Mapping[str, np.ndarray], numbers: Mapping[str, Any]) -> None:
        """Goes on from a state of lanes of the same kind."""
        memory = hugepages.zeros(arrays["memory"].shape, np.float32)
        memory[:] = arrays["memory"]
        self.memory, self.last, self.upto = memory, arrays["last"].copy(), arrays["upto"].copy()
        self.means = arrays["means"].copy() if self.averages else None
        self._spare = {}
        self.t, self.skipped, self.settled = (int(numbers[name]) for name in ("t", "skipped", "settled"))
        self.total = float(numbers["total"])

    def _kind(self) -> Kind:
        return Kind(
            "float32",
            decays=self.steps[0].decays,
            shrinks=self.steps[0].shrinks,
            catches_up=self.catches_up,
            lanes=self.lanes if self.lanes in COMPILED_WIDTHS else 0,
            normalizes=self.normalize,
            averages=self.averages,
            loss=None if self.loss in losses.CODES else self.loss,
        )

    def _table(self, first: int, steps: int, spared: bool = False) -> np.ndarray:
        """The coefficients of every lane, (steps or 1, coefficients, lanes); spared: without penalties."""
        ts = np.arange(first, first + steps)
        columns = [stack(s.spared_coefficients(ts) if spared else s.coefficients(ts), steps) for s in self.steps]
        rows = max(map(len, columns))
        table = np.stack([np.broadcast_to(column, (rows, column.shape[1])) for column in columns], axis=2)
        return np.ascontiguousarray(np.tile(table, (1, 1, self.outputs)), np.float32)

    def _keep(self, first: int, steps: int) -> np.ndarray:
        """What every lane keeps of a weight before each step, for rules that decay them, (steps or 1, lanes)."""
        if not self.steps[0].decays:
            return np.ones((1, self.lanes), np.float32)
        ts = np.arange(first, first + steps)
        keep = [np.broadcast_to(s.modifiers(ts).keep, steps) for s in self.steps]
        return np.tile(np.stack(keep, axis=1), (1, self.outputs)).astype(np.float32)

    def _idle(self, table: np.ndarray, keep: np.ndarray, first: int | None = None, now: int | None = None) -> tuple:
        """What kernels need to let features that have not occurred catch up; nothing where they need not."""
        if not self.catches_up:
            return ()
        first = self.t + 1 if first is None else first
        starts = np.arange(first, first + len(table)) if len(table) > 1 else np.array([min(self.settled + 1, first)])
        # The bits of float32, in which they act on features that occur.
        penalties = (float(np.float32(self.steps[0].l1)), float(np.float32(self.steps[0].l2)))
        return self.last, np.array([self.t + 1 if now is None else now]), starts, table, keep, penalties

    def _average(self, steps: int) -> tuple:
        """The averages, up to where each feature's has come, and the sum of learning rates before each step."""
        if not self.averages:
            return ()
        lr = np.broadcast_to(np.asarray(self.steps[0].lr(np.arange(self.t + 1, self.t + 1 + steps)), float), steps)
        return self.means, self.upto, np.cumsum(np.append(self.total, lr))
