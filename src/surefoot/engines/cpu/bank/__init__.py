"""The calls of compiled drivers for a bank of models."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from surefoot import losses
from surefoot.engines.cpu.bank.arguments import (
    VECTOR,
    Averages,
    Batch,
    Cells,
    Common,
    Entries,
    Gathered,
    Loss,
    Rows,
    Waiting,
    WaitingPart,
)
from surefoot.engines.cpu.bank.kind import BankKind
from surefoot.engines.cpu.bank.specialize import specialize
from surefoot.engines.cpu.kind import Kind

if TYPE_CHECKING:
    from surefoot.engines.bank import ModelBank, PartTable
    from surefoot.engines.examples import Examples

COMPILED_LANES = (1, 2, 4, 8)
"""Numbers of lanes with kernels of their own; other numbers share one, which is a little slower."""
NOTHING, NO_FIELDS = np.empty(0), np.empty(0, np.int64)


def learn(bank: ModelBank, examples: Examples, rows, edges, totals, predictions) -> int:
    """Learns from examples, whose entries are in these rows of the table; returns how many numbers were skipped."""
    steps = len(edges) - 1
    acting = {part: bank.acting(part, bank.t + 1, steps) for part in bank.steps}
    arguments = rows_of(examples, rows)
    longest = int(np.diff(arguments.indptr).max())
    code = losses.CODES.get(bank.loss, 0)
    batches = bank.batch_size > 1 or bank.repeats
    damped = np.tile(bank.damped, bank.outputs) if any(bank.damped) and not batches else np.empty(0, bool)
    loss = Loss(code, float(bank.parameter), bank.outputs, damped)
    table = cells_of(bank)
    room, parts = entries_of(bank, longest), gathered(bank, longest, acting)
    after = waiting_of(bank, acting, bank.t + 1, bank.t + 1), averages_of(bank, totals)
    run = specialize("learn_batches" if batches else "learn", *kind_of(bank, examples))
    if not batches:
        return run(arguments, 0, len(examples), table, loss, predictions, room, parts, *after)
    widest = min(int(np.diff(arguments.indptr[edges]).max()), bank.features)
    places = np.full(bank.features, -1, np.int64)
    room_of_batch = gathered(bank, widest, acting)
    batch = Batch(np.empty(widest, np.int64), np.empty(widest), places, room_of_batch, bank.batch_size > 1)
    return run(arguments, edges, table, loss, predictions, room, parts, batch, *after)


def settle(bank: ModelBank) -> None:
    """Lets features and averages catch up."""
    first, steps = bank.settled + 1, max(bank.t - bank.settled, 1)
    acting = {part: bank.acting(part, first, steps) for part in bank.steps}
    table = cells_of(bank)
    waiting = waiting_of(bank, acting, first, bank.t + 1)
    averages = averages_of(bank, np.array([bank.total]))
    specialize("settle_rows", *kind_of(bank))(table, waiting, averages, np.arange(bank.features), bank.lanes)


def cells_of(bank: ModelBank) -> Cells:
    table = bank.table
    return Cells(table.cells, table.sums, table.shared, table.row.statistics)


def kind_of(bank: ModelBank, examples: Examples | None = None) -> tuple:
    """What drivers are compiled for."""
    rules = tuple(steps[0].rule for steps in bank.steps.values())
    kinds = tuple(kind_of_part(bank, part) for part in bank.steps)
    lanes = bank.lanes if bank.lanes in COMPILED_LANES else 0
    fields, bases = (False, False) if examples is None else (examples.fields is not None, examples.bases is not None)
    own = None if bank.loss in losses.CODES else bank.loss
    kind = BankKind(bank.dtype.name, lanes, bank.normalize, bank.averages, kinds, fields, bases, own)
    return bank.architecture, rules, kind


def kind_of_part(bank: ModelBank, part: str) -> Kind:
    step = bank.steps[part][0]
    return Kind(
        bank.dtype.name, step.shared, decays=step.decays, shrinks=step.shrinks, catches_up=bank.catches_up(part)
    )


def rows_of(examples: Examples, rows: np.ndarray) -> Rows:
    """One type for each array and so one set of kernels, whatever the caller has."""
    first, stop = examples.indptr[0], examples.indptr[-1]
    bases = NOTHING if examples.bases is None else np.require(examples.bases, np.float64, ["C", "W"])
    fields = NO_FIELDS if examples.fields is None else np.require(examples.fields[first:stop], np.int64, ["C", "W"])
    return Rows(
        np.require(examples.indptr - first, np.int64, ["C", "W"]),
        np.require(rows, np.int64, ["C", "W"]),
        np.require(examples.values[first:stop], np.float64, ["C", "W"]),
        fields,
        bases,
        np.require(examples.targets, np.float64, ["C", "W"]),
        np.require(examples.weights, np.float64, ["C", "W"]),
    )


def entries_of(bank: ModelBank, longest: int) -> Entries:
    f = bank.dtype
    of_lanes = np.empty(bank.lanes, f), np.empty(bank.lanes), np.empty(bank.lanes, f)
    room = longest + VECTOR
    values, counts, totals, squares, scales, packed = np.zeros((6, room))
    of_features = np.zeros(room, f), counts, totals, squares, scales, packed, packed.view(f)
    return Entries(values, *of_features, *of_lanes, first=np.zeros(1, np.int64))


def gathered(bank: ModelBank, entries: int, acting: dict[str, PartTable]) -> tuple[Gathered, ...]:
    """Room for this number of entries of every part."""
    return tuple(
        room_of(bank, part, (entries if layout.of == "feature" else 1) * layout.width, acting[part])
        for part, layout in bank.table.parts.items()
    )


def room_of(bank: ModelBank, part: str, numbers: int, acting: PartTable) -> Gathered:
    f, flat, step = bank.dtype, numbers * bank.lanes + VECTOR, bank.steps[part][0]
    return Gathered(
        np.zeros(flat, f),
        np.zeros(flat, f),
        tuple(np.zeros(flat, f) for _ in bank.table.parts[part].slots),
        tuple(np.resize(np.tile(row, numbers), flat) for row in acting.coefficients[0]),
        np.zeros(flat, f),
        np.zeros((3, flat), f),
        acting.coefficients,
        acting.keep,
        f.type(step.l1),
        f.type(step.l2),
        common_of(bank, part),
    )


def common_of(bank: ModelBank, part: str) -> Common | tuple[()]:
    if part not in bank.common:
        return ()
    slots = bank.common[part]
    return Common(slots, np.empty_like(slots), np.empty(bank.lanes, bank.dtype), max(bank.numbers_of(part), 1))


def waiting_of(bank: ModelBank, acting: dict[str, PartTable], first: int, now: int) -> tuple:
    """What kernels need to let features that have not occurred catch up; nothing where they need not."""
    if not bank.waits:
        return ()
    waiting = {part: acting[part].coefficients for part in bank.steps if bank.catches_up(part)}
    most = max(map(len, waiting.values()))
    starts = np.arange(first, first + most) if most > 1 else np.array([min(bank.settled + 1, first)])
    parts = tuple(
        WaitingPart(
            np.ascontiguousarray(np.broadcast_to(table := acting[part].coefficients, (most, *table.shape[1:])))
            if part in waiting
            else acting[part].coefficients,
            acting[part].keep,
            bank.dtype.type(steps[0].l1),
            bank.dtype.type(steps[0].l2),
            bank.common.get(part, ()),
        )
        for part, steps in bank.steps.items()
    )
    return Waiting(bank.last, np.array([now]), starts, parts)


def averages_of(bank: ModelBank, totals: np.ndarray) -> tuple:
    if not bank.averages:
        return ()
    return Averages(tuple(bank.means[part] for part in bank.steps), bank.upto, bank.upto_shared, totals)
