"""Several models that learn from the same examples at once: their memory, rules and rates, and the calls of engines."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from surefoot import losses, models
from surefoot.engines import registry, restoring
from surefoot.engines.examples import Examples
from surefoot.engines.feature_table import ALL, FeatureTable, Identity, RowMap
from surefoot.engines.growing import Growing
from surefoot.engines.part_steps import PartSteps
from surefoot.engines.state import State
from surefoot.engines.step import Step
from surefoot.losses import Loss
from surefoot.models import Architecture

OF_STEPS = ("rates", "averages", "waits", "settles_at_once")
"""What of a bank depends on its steps alone."""
NO_TOTALS = np.zeros(1)
"""The sums of learning rates of banks that do not average."""


class Engine(Protocol):
    """What an engine does with banks; see `registry`."""

    def learn(
        self,
        bank: ModelBank,
        examples: Examples,
        rows: np.ndarray,
        edges: np.ndarray,
        totals: np.ndarray,
        predictions: np.ndarray,
    ) -> int:
        """Learns from examples in mini-batches, a step for each; returns how many numbers were skipped.

        Args:
            bank: of models.
            examples: in their order.
            rows: of the table, of each entry.
            edges: where each mini-batch begins, and where the last one ends.
            totals: the sum of learning rates before each step and after the last; a single one where nothing is
                averaged.
            predictions: (n, lanes), for what every lane predicts before it learns from an example.
        """
        ...

    def settle(self, bank: ModelBank) -> None:
        """Lets features and averages catch up."""
        ...


class ModelBank:
    """Models of one architecture that differ in their steps only, and learn from the same examples.

    A lane is a rate and an output: lane k has rate k mod R of R and output k div R.

    Args:
        architecture: of all models, or its name.
        steps: for each part of the architecture, a step for each rate; the rules of one part must be the same. A
            sequence serves all parts.
        loss: a loss or its name.
        parameter: the loss's own number; its default unless given.
        outputs: numbers predicted for each example: 1, or the number of classes.
        damped: for each rate, whether it takes the slope that the loss has where the step leads (an implicit step).
        normalize: scale each feature, and centre it in linear models with a bias, see `engines.scaling`.
        missing: an absent number is missing, as in tables, rather than 0.
        penalizes_scaled: penalties are of the weights of scaled values, not of values as they are in the data.
        features: how many there are to begin with; more are added when they occur. A rate in common is that of all
            these, whether they occur or not, but not of those that there is only room for.
        batch_size: examples for each step.
        dtype: of the numbers, float32 or float64.
        row_map: from ids to rows of the table; unless given, ids are rows.
        engine: "cpu" (Numba) or "reference" (NumPy; slow, obvious, the same bits; in float64, losses that
            call exp or log may differ in the last digit).

    Attributes:
        last, upto: the step that each row has caught up with, and what its averages sum; empty where it need not.
        workspace: what an engine keeps from call to call, as long as steps and memory are the same.

    Raises:
        ValueError: settings that the architecture or its rules cannot honour.
    """

    def __init__(
        self,
        architecture: str | Architecture,
        steps: Mapping[str, Sequence[Step]] | Sequence[Step],
        *,
        loss: str | Loss = "logistic",
        parameter: float | None = None,
        outputs: int = 1,
        damped: Sequence[bool] = (),
        normalize: bool = True,
        missing: bool = False,
        penalizes_scaled: bool = False,
        features: int = 0,
        batch_size: int = 1,
        dtype: str = "float32",
        row_map: RowMap | None = None,
        engine: str = registry.DEFAULT,
    ):
        self.architecture = models.get(architecture)
        self.loss = losses.get(loss)
        self.parameter, self.outputs = self.loss.settings(parameter), outputs
        self.normalize, self.batch_size, self.dtype = normalize, batch_size, np.dtype(dtype)
        self.penalizes_scaled = normalize and penalizes_scaled
        self.engine_name = engine
        self._check(engine)
        self.steps, self.damped = self._by_part(steps), [bool(d) for d in damped]
        self.damped = self.damped or [False] * self.rates
        self._check_damped()
        self.t = self.skipped = 0
        self.row_map = Identity() if row_map is None else row_map
        self.table, self.common = self._table(), self._common()
        if self.centers:
            self.table.seen[:] = 0.0, 0.0 if missing else 1.0
        self.means = self._means(0) if self.averages else {}
        self.total, self.upto_shared = 0.0, np.zeros(1)
        self._followed: dict[str, Growing] = {}
        self.workspace: Any = None
        self.sharing = features
        self.last, self.upto, self.settled = np.empty(0, np.int64), np.empty(0), 0
        self.grow(features)

    def _by_part(self, steps: Mapping[str, Sequence[Step]] | Sequence[Step]) -> dict[str, PartSteps]:
        names = list(self.architecture.parts)
        given = dict.fromkeys(names, steps) if not isinstance(steps, Mapping) else steps
        if set(given) != set(names):
            raise ValueError(
                f"{self.architecture.name}: found steps for the parts {', '.join(given)}, expected {', '.join(names)}"
            )
        counts = {name: len(given[name]) for name in names}
        if len(set(counts.values())) != 1 or not min(counts.values()):
            raise ValueError(
                f"{self.architecture.name}: found {counts} steps, expected one for each rate in every part"
            )
        return {
            name: PartSteps(self.architecture.name, name, part, tuple(given[name]), self.outputs, self.dtype)
            for name, part in self.architecture.parts.items()
        }

    def _check(self, engine: str) -> None:
        if engine not in (known := registry.names("banks")):
            raise ValueError(f"engine: found {engine!r}, expected one of {', '.join(known)}")
        if self.dtype.name not in ("float32", "float64"):
            raise ValueError(f"dtype: found {self.dtype}, expected float32 or float64")
        if not (isinstance(self.batch_size, (int, np.integer)) and self.batch_size >= 1):
            raise ValueError(f"batch_size: found {self.batch_size!r}, expected a whole number of at least 1")

    def _check_damped(self) -> None:
        name = self.architecture.name
        if len(self.damped) != self.rates:
            raise ValueError(f"damped: found {len(self.damped)} values, expected one for each of {self.rates} rates")
        if not any(self.damped):
            return
        if not self.architecture.linear:
            raise ValueError(f"{name}: steps cannot be implicit, because its predictions are not linear in its numbers")
        if self.repeats:
            raise ValueError(f"{name}: steps cannot be implicit, because a feature may occur in several fields")
        for part, steps in self.steps.items():
            if steps[0].granularity == "tensor":
                raise ValueError(
                    f"{name}: steps of the part {part!r} cannot be implicit, because its numbers share a rate; "
                    "expected granularity coordinate"
                )

    @property
    def engine(self) -> Engine:
        return registry.load(self.engine_name, "banks")

    @functools.cached_property
    def rates(self) -> int:
        return len(next(iter(self.steps.values())))

    @property
    def lanes(self) -> int:
        return self.rates * self.outputs

    @property
    def features(self) -> int:
        """Features that the table has room for, and that may have occurred."""
        return self.table.rows

    @property
    def repeats(self) -> bool:
        """Whether a feature may occur several times in an example, in different fields."""
        return not self.architecture.merges_fields

    @functools.cached_property
    def centers(self) -> bool:
        """Whether features are centred: a bias takes up what that takes off predictions."""
        is_linear = self.architecture.linear and "bias" in self.architecture.parts
        return self.normalize and is_linear and not self.repeats

    @functools.cached_property
    def averages(self) -> bool:
        return any(steps[0].average for steps in self.steps.values())

    @functools.cached_property
    def waits(self) -> bool:
        """Whether features that do not occur have steps to catch up on when they next do."""
        return any(steps.catches_up for steps in self.steps.values())

    def _forget(self) -> None:
        """Computes again what depends on the steps alone."""
        for name in OF_STEPS:
            vars(self).pop(name, None)

    # Memory

    def _table(self) -> FeatureTable:
        slots = {part: steps.own_slots for part, steps in self.steps.items()}
        return FeatureTable(self.architecture, slots, self.lanes, self.dtype, self.row_map)

    def __getstate__(self) -> dict[str, Any]:
        """Copies make a workspace of their own."""
        return self.__dict__ | {"workspace": None}

    def numbers_of(self, part: str) -> int:
        """How many numbers a part has in a lane, so far."""
        layout = self.table.parts[part]
        return layout.width * (self.sharing if layout.of == "feature" else 1)

    def _common(self) -> dict[str, np.ndarray]:
        """What the numbers of a part share, (slots in common, lanes), of the parts that share anything."""
        slots = {part: list(steps.slots_in_common.values()) for part, steps in self.steps.items()}
        return {part: np.array(values, self.dtype) for part, values in slots.items() if values}

    def _means(self, rows: int) -> dict[str, np.ndarray]:
        """Averages of each part, (rows or 1, width · lanes)."""
        return {
            name: np.zeros((rows if layout.of == "feature" else 1, layout.span), self.dtype)
            for name, layout in self.table.parts.items()
        }

    def grow(self, features: int) -> None:
        """Makes room for features up to this number, before they occur."""
        if isinstance(self.row_map, Identity):
            self.row_map.reserve(features)
        self._follow(features)

    def _follow(self, rows: int) -> None:
        """Lets the table and what goes along with it have this number of rows."""
        before = self.table.rows
        if rows <= before:
            return
        self.table.grow(rows)
        arrays = {n: a for n, a in self.means.items() if self.table.parts[n].of == "feature"} | self._of_waiting()
        self._followed = self._followed or {name: Growing.of(array) for name, array in arrays.items()}
        for name, array in arrays.items():
            self._followed[name].resize(rows * math.prod(array.shape[1:]))
        views = {name: self._followed[name].array.reshape(rows, *a.shape[1:]) for name, a in arrays.items()}
        self.last, self.upto = views.pop("last", self.last), views.pop("upto", self.upto)
        self.means |= views
        if self.t:  # else it is 0, and takes no memory yet
            self.last[before:] = self.t

    def _of_waiting(self) -> dict[str, np.ndarray]:
        return ({"last": self.last} if self.waits else {}) | ({"upto": self.upto} if self.averages else {})

    def _share(self, rows: np.ndarray) -> None:
        """Lets features that occur, and those before them, be among those that share a rate, where any do."""
        if self.common and (most := int(rows.max(initial=-1)) + 1) > self.sharing:
            self.sharing, self.workspace = most, None

    def start(self, part: str, numbers) -> None:
        """Sets a part's numbers before the first step, in every lane at a rate alike.

        Args:
            part: its name.
            numbers: (features or 1, width, outputs), or what broadcasts to it.
        """
        view = self.table.numbers(part)
        self.table.started |= self.table.parts[part].of == "feature"
        outputs = np.broadcast_to(np.asarray(numbers), (*view.shape[:2], self.outputs))
        view[...] = np.repeat(outputs, self.rates, axis=2)

    def change(self, steps: Mapping[str, Sequence[Step]] | Sequence[Step], parameter: float) -> None:
        """Goes on with other settings of the same rules, and another number of the loss's own."""
        self.steps, self.parameter, self.workspace = self._by_part(steps), parameter, None
        self._forget()

    # Learning

    def learn(self, examples: Examples) -> np.ndarray:
        """Learns from the examples in their order; returns what each lane predicted before, (n, outputs, rates)."""
        n = len(examples)
        predictions = np.empty((n, self.lanes), self.dtype)
        if n:
            first, stop = examples.indptr[0], examples.indptr[-1]
            rows = self.rows_of(examples.indices[first:stop])
            self._share(rows)
            edges = np.minimum(np.arange(-(-n // self.batch_size) + 1) * self.batch_size, n)
            steps = len(edges) - 1
            totals = self._totals(steps)
            self.stepped(steps, totals, self.engine.learn(self, examples, rows, edges, totals, predictions))
        return predictions.reshape(n, self.outputs, self.rates)

    def learn_one(self, rows: np.ndarray, values: np.ndarray, target: float, weight: float) -> np.ndarray:
        """`learn` for a single example, with the same bits; engines may be quicker at it.

        Args:
            rows: of its features, as `rows_of` gives them.
            values: of these, float64.
            target, weight: of the example.

        Returns:
            What each lane predicted before, (outputs, rates), until the next call.
        """
        self._share(rows)
        learn, totals = getattr(self.engine, "learn_one", None), self._totals(1) if self.averages else NO_TOTALS
        predictions = np.empty((1, self.lanes), self.dtype)
        if learn is None:
            example, edges = Examples.one(rows, values, target, weight), np.array([0, 1])
            skipped = self.engine.learn(self, example, rows, edges, totals, predictions)
        else:
            skipped = learn(self, rows, values, target, weight, totals, predictions)
        self.stepped(1, totals, skipped)
        return predictions.reshape(self.outputs, self.rates)

    def rows_of(self, ids: np.ndarray) -> np.ndarray:
        """The rows of features that are about to be learned from; those that are new get one."""
        rows = self.row_map.rows(ids)
        self._follow(len(self.row_map))
        return rows

    @functools.cached_property
    def settles_at_once(self) -> bool:
        """Whether all features catch up after every call, since steps differ."""
        return any(steps.catches_up and not steps.constant for steps in self.steps.values())

    def stepped(self, steps: int, totals: np.ndarray, skipped: int) -> None:
        """Counts steps that were taken."""
        self.skipped += skipped
        self.t += steps
        if self.averages:
            self.total = float(totals[-1])
        if self.settles_at_once:
            self.settle()

    def _totals(self, steps: int) -> np.ndarray:
        """The sum of learning rates before each step and after the last, by which iterates are averaged."""
        if not self.averages:
            return np.array([self.total])
        return np.cumsum(np.append(self.total, self.averaging_rates(np.arange(self.t + 1, self.t + 1 + steps))))

    def averaging_rates(self, t: np.ndarray) -> np.ndarray:
        """The learning rates of steps t, by which iterates are averaged; 0 where none are."""
        for step in (steps[0] for steps in self.steps.values() if steps[0].average):
            return np.broadcast_to(np.asarray(step.lr(t), float), len(t)).copy()
        return np.zeros(len(t))

    def settle(self) -> None:
        """Lets features that have not occurred for a while catch up, and the averages."""
        if self.settled < self.t and (self.waits or self.averages):
            if not all(
                array.flags.writeable for array in self._of_waiting().values()
            ):  # of a pickle that is mapped into memory
                self.__dict__ |= copy.deepcopy(self.__getstate__())
            self.engine.settle(self)
            self.last[:] = self.t
            self.settled = self.t

    def excerpt(self, rows: np.ndarray) -> ModelBank:
        """A bank that has only these rows: it can be asked what they will be, and this one does not change.

        Args:
            rows: of features, in any order.
        """
        found = copy.copy(self)
        found.row_map, found.table, found.workspace = Identity(), self.table.excerpt(rows), None
        waiting = {name: array[rows] for name, array in self._of_waiting().items()}
        vars(found).update(waiting, upto_shared=self.upto_shared.copy())
        found.means = {
            name: array[rows] if self.table.parts[name].of == "feature" else array.copy()
            for name, array in self.means.items()
        }
        found.common = {part: slots.copy() for part, slots in self.common.items()}
        return found

    # Results

    def numbers(self, part: str, averaged: bool = False, rows: slice | np.ndarray = ALL) -> np.ndarray:
        """A part's numbers for features as they are in the data, (features or 1, width, outputs, rates), float64; or
        those of some rows alone.

        Features that are centred are so still: a bias is that of an example in which each has its mean.
        """
        self.settle()
        layout = self.table.parts[part]
        found = self.means[part] if averaged and self.means else self.table.numbers(part).reshape(-1, layout.span)
        own = found[rows].astype(np.float64)
        if layout.of == "feature" and self.normalize:
            own *= self.table.scales(rows)[:, None]
        return own.reshape(-1, layout.width, self.outputs, self.rates)

    def effective_rates(self, part: str, rate: int, rows: slice | np.ndarray = ALL) -> np.ndarray:
        """The rates of a part's next step at one of the learning rates, (features or 1, width, outputs); or those of
        some rows alone."""
        self.settle()
        step, lanes = self.steps[part][rate], slice(rate, None, self.rates)
        x = np.ascontiguousarray(self.table.numbers(part)[rows, :, lanes])
        common = dict(zip(self.steps[part].slots_in_common, self.common.get(part, ()), strict=True))
        slots = {
            name: np.ascontiguousarray(
                common[name][lanes] if name in common else self.table.numbers(part, name)[rows, :, lanes]
            )
            for name in step.rule.slots
        }
        return step.rates(x, State(slots, t=self.t)).astype(self.dtype)

    @property
    def bytes_of_memory(self) -> float:
        """What the rules remember of a weight, in bytes: the numbers of their slots."""
        slots = [self.table.numbers(part, slot) for part, at in self.table.parts.items() for slot in at.slots]
        weights = sum(self.table.numbers(part).size for part in self.table.parts)
        return sum(array.nbytes for array in (*slots, *self.common.values())) / weights

    def choose(
        self, rates: Sequence[int], steps: Mapping[str, Sequence[Step]] | Sequence[Step], damped: Sequence[bool]
    ) -> None:
        """Goes on with these of the present rates, which may be named twice, and steps for them."""
        self.settle()
        lanes = np.concatenate([c * self.rates + np.asarray(rates, np.int64) for c in range(self.outputs)])
        after = self._by_part(steps)
        self._check_beginnings(after, lanes)
        for name, layout in self.table.parts.items():
            if name in self.means:
                wide = self.means[name].reshape(-1, layout.width, layout.lanes)
                self.means[name] = np.ascontiguousarray(wide[..., lanes]).reshape(len(wide), -1)
        self.common = {part: np.ascontiguousarray(slots[:, lanes]) for part, slots in self.common.items()}
        self.steps, self.damped = after, [bool(d) for d in damped]
        self._forget()
        self._followed, self.workspace = {}, None
        self.table.choose(lanes, {part: own.own_slots for part, own in self.steps.items()})

    def _check_beginnings(self, after: Mapping[str, PartSteps], lanes: np.ndarray) -> None:
        """Raises ValueError for steps by which features would begin elsewhere than in the lanes that are copied."""
        for part, steps in after.items():
            for name, initial in steps.own_slots.items():
                before = self.table.parts[part].slots[name][lanes]
                if not np.array_equal(before, initial):
                    raise ValueError(
                        f"{self.architecture.name}: {name} of the part {part!r} begins at {initial.tolist()} by the "
                        f"new steps and at {before.tolist()} by those they go on from; expected the same"
                    )

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, float]]:
        """All there is to the memory: arrays, which are not copies, and numbers."""
        arrays = self.table.state() | {"last": self.last, "upto": self.upto, "upto_shared": self.upto_shared}
        arrays |= {f"means.{name}": array for name, array in self.means.items()}
        if not isinstance(self.row_map, Identity):
            arrays["ids"] = self.row_map.ids(0, self.features)
        arrays |= {f"common.{name}": array for name, array in self.common.items()}
        numbers: dict[str, float] = {n: getattr(self, n) for n in ("t", "skipped", "settled", "total", "sharing")}
        if self.centers:
            numbers["seen"] = int(self.table.seen[0])
        return arrays, numbers | {"started": int(self.table.started)}

    def restore(self, arrays: Mapping[str, np.ndarray], numbers: Mapping[str, Any]) -> None:
        """Goes on from a state of a bank of the same kind.

        Raises:
            ValueError: arrays are of another kind, or do not fit together.
        """
        self.table.restore(arrays)
        rows, self.t = self.features, restoring.whole(numbers, "t")
        self.settled, self.skipped = restoring.whole(numbers, "settled", self.t), restoring.whole(numbers, "skipped")
        self.total, self.sharing = restoring.real(numbers, "total"), restoring.whole(numbers, "sharing", rows)
        if self.centers:
            self.table.seen[0] = restoring.whole(numbers, "seen")
        self.table.started = bool(restoring.whole(numbers, "started", 1))
        self.last = restoring.array(arrays, "last", np.int64, (rows if self.waits else 0,)).copy()
        if len(self.last) and not 0 <= self.last.min() <= self.last.max() <= self.t:
            raise ValueError(f"last: found steps {self.last.min()} … {self.last.max()}, expected 0 … {self.t}")
        restoring.between("total", np.array([self.total]), 0.0, math.inf if self.averages else 0.0)
        for name, size in (("upto", rows if self.averages else 0), ("upto_shared", 1)):
            setattr(self, name, restoring.array(arrays, name, np.float64, (size,)).copy())
            restoring.between(name, getattr(self, name), 0.0, self.total)
        for of, own in (("means", self._means(rows) if self.averages else {}), ("common", self.common)):
            vars(self)[of] = {n: restoring.numbers(arrays, f"{of}.{n}", self.dtype, a.shape) for n, a in own.items()}
        self._followed, self.workspace = {}, None
        self._restore_ids(arrays)

    def _restore_ids(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Gives the ids of a state the rows that they had there."""
        if isinstance(self.row_map, Identity):
            self.row_map.reserve(self.features)
            return
        ids = restoring.array(arrays, "ids", np.int64, (self.features,))
        if not np.array_equal(self.row_map.rows(ids), np.arange(len(ids))) or len(self.row_map) != len(ids):
            raise ValueError("ids: found ids that do not get the rows 0, 1, …; expected each once, and a new row map")
