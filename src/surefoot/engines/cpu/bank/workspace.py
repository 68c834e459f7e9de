"""What compiled drivers work in: room for an example and for a mini-batch, kept from call to call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from surefoot import losses
from surefoot.engines.cpu.bank.arguments import VECTOR, Batch, Common, Entries, Gathered
from surefoot.engines.cpu.bank.kind import BankKind
from surefoot.engines.cpu.bank.specialize import specialize
from surefoot.engines.cpu.kind import Kind
from surefoot.engines.cpu.kind import kind_of as kind_of_step
from surefoot.native import Kernel

if TYPE_CHECKING:
    from surefoot.engines.bank import ModelBank
    from surefoot.engines.cpu.bank.single import Single
    from surefoot.engines.examples import Examples
    from surefoot.engines.part_steps import PartTable

COMPILED_LANES = (1, 2, 4, 8)
"""Numbers of lanes with kernels of their own; other numbers share one, which is a little slower."""


@dataclass
class Workspace:
    """Room for examples of some size, and the kernels that work in it.

    Attributes:
        longest: the most entries that an example may have.
        widest: the most features that a mini-batch may have.
        features: how many the bank had room for.
        entries, parts: room for an example.
        batch: room for a mini-batch; None where there are none.
        single: the call for one example; None before it is needed.
    """

    longest: int
    widest: int
    features: int
    entries: Entries
    parts: tuple[Gathered, ...]
    batch: Batch | None
    single: Single | None = None
    _kernels: dict[tuple, Kernel] = field(default_factory=dict)

    @classmethod
    def of(cls, bank: ModelBank, longest: int, widest: int) -> Workspace:
        """The bank's workspace, or a larger one."""
        space: Workspace | None = bank.workspace
        if space is None or longest > space.longest or widest > space.widest or bank.features != space.features:
            bank.workspace = space = cls._made(bank, longest, widest)
        return space

    @classmethod
    def _made(cls, bank: ModelBank, longest: int, widest: int) -> Workspace:
        batch = batch_of(bank, widest) if in_batches(bank) else None
        return cls(longest, widest, bank.features, entries_of(bank, longest), gathered(bank, longest), batch)

    def kernel(self, driver: str, bank: ModelBank, examples: Examples) -> Kernel:
        """The copy of a driver for the bank and such examples."""
        key = driver, examples.fields is None, examples.bases is None
        if key not in self._kernels:
            self._kernels[key] = specialize(driver, *kind_of(bank, examples))
        return self._kernels[key]


def in_batches(bank: ModelBank) -> bool:
    """Whether gradients are added up before a step."""
    return bank.batch_size > 1 or bank.repeats


def at(acting: Mapping[str, PartTable], parts: tuple[Gathered, ...]) -> tuple[Gathered, ...]:
    """Room for parts, with what acts in the steps of a call."""
    return tuple(map(with_table, parts, acting.values()))


def with_table(room: Gathered, acting: PartTable) -> Gathered:
    """Room for a part, with its coefficients at each step; those of a single step are there once for each number."""
    if room.table is acting.coefficients:
        return room
    if len(acting.coefficients) == 1:
        for column, of_lanes in zip(room.coefficients, acting.coefficients[0], strict=True):
            column[:] = np.resize(of_lanes, column.size)
    return room._replace(table=acting.coefficients, keep=acting.keep)


def kind_of(bank: ModelBank, examples: Examples | None = None) -> tuple:
    """What drivers are compiled for."""
    rules = tuple(steps[0].rule for steps in bank.steps.values())
    kinds = tuple(kind_of_part(bank, part) for part in bank.steps)
    lanes = bank.lanes if bank.lanes in COMPILED_LANES else 0
    fields, bases = (False, False) if examples is None else (examples.fields is not None, examples.bases is not None)
    own = None if bank.loss in losses.CODES else bank.loss
    kind = BankKind(
        bank.dtype.name, lanes, bank.normalize, bank.averages, kinds, fields, bases, bank.penalizes_scaled, own
    )
    return bank.architecture, rules, kind


def kind_of_part(bank: ModelBank, part: str) -> Kind:
    steps = bank.steps[part]
    return replace(kind_of_step(steps[0], bank.dtype.name), catches_up=steps.catches_up, propagate=False)


def entries_of(bank: ModelBank, longest: int) -> Entries:
    f = bank.dtype
    of_lanes = np.empty(bank.lanes, f), np.empty(bank.lanes), np.empty(bank.lanes, f)
    room = longest + VECTOR
    values, counts, means, deviations, scales, limits, repeated, packed = np.zeros((8, room))
    of_features = np.zeros(room, f), counts, means, deviations, scales, limits, repeated, packed, packed.view(f)
    return Entries(values, *of_features, *of_lanes, first=np.zeros(1, np.int64))


def batch_of(bank: ModelBank, widest: int) -> Batch:
    places = np.full(bank.features, -1, np.int64)
    return Batch(np.empty(widest, np.int64), np.empty(widest), places, gathered(bank, widest), bank.batch_size > 1)


def gathered(bank: ModelBank, entries: int) -> tuple[Gathered, ...]:
    """Room for this number of entries of every part."""
    return tuple(
        room_of(bank, part, (entries if layout.of == "feature" else 1) * layout.width)
        for part, layout in bank.table.parts.items()
    )


def room_of(bank: ModelBank, part: str, numbers: int) -> Gathered:
    f, flat, step, acting = (
        bank.dtype,
        numbers * bank.lanes + VECTOR,
        bank.steps[part][0],
        bank.steps[part].acting(1, 1),
    )
    return Gathered(
        np.zeros(flat, f),
        np.zeros(flat, f),
        tuple(np.zeros(flat, f) for _ in bank.table.parts[part].slots),
        tuple(np.resize(of_lanes, flat) for of_lanes in acting.coefficients[0]),
        np.zeros(flat, f),
        np.zeros((3, flat), f),
        acting.coefficients,
        acting.keep,
        f.type(step.options["l1"]),
        f.type(step.options["l2"]),
        common_of(bank, part),
    )


def common_of(bank: ModelBank, part: str) -> Common | tuple[()]:
    if part not in bank.common:
        return ()
    slots = bank.common[part]
    return Common(slots, np.empty_like(slots), np.empty(bank.lanes, bank.dtype), max(bank.numbers_of(part), 1))
