"""The calls of compiled drivers for a bank of models."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from surefoot import losses
from surefoot.engines.cpu.bank.arguments import Averages, Cells, Loss, Rows, Waiting, WaitingPart
from surefoot.engines.cpu.bank.single import Single
from surefoot.engines.cpu.bank.specialize import specialize
from surefoot.engines.cpu.bank.workspace import Workspace, at, in_batches, kind_of
from surefoot.engines.examples import Examples
from surefoot.native import Kernel

if TYPE_CHECKING:
    from surefoot.engines.bank import ModelBank
    from surefoot.engines.part_steps import PartTable

NOTHING, NO_FIELDS, NONE_DAMPED = np.empty(0), np.empty(0, np.int64), np.empty(0, bool)
ONE_STEP = np.array([0, 1])


def learn(bank: ModelBank, examples: Examples, rows, edges, totals, predictions) -> int:
    """Learns from examples, whose entries are in these rows of the table; returns how many numbers were skipped."""
    run, arguments = call(bank, examples, rows, edges, totals, predictions)
    return run(*arguments)


def learn_one(bank: ModelBank, rows, values, target: float, weight: float, totals, predictions) -> int:
    """The same for a single example; what most calls have in common is kept in the bank's workspace."""
    space: Workspace | None = bank.workspace
    single = None if space is None else space.single
    if single is None or not single.fits(bank, len(rows)):
        if in_batches(bank) or not all(own.same_at_all_steps for own in bank.steps.values()):
            return learn(bank, Examples.one(rows, values, target, weight), rows, ONE_STEP, totals, predictions)
        single = Single(bank, len(rows), totals, call)
        bank.workspace.single = single
    skipped = single.learn(rows, values, target, weight, totals)
    predictions[...] = single.predictions
    return skipped


def call(bank: ModelBank, examples: Examples, rows, edges, totals, predictions) -> tuple[Kernel, tuple]:
    """The driver that learns from examples, and its arguments, of which the first are the examples."""
    steps = len(edges) - 1
    acting = {part: own.acting(bank.t + 1, steps) for part, own in bank.steps.items()}
    arguments, table = rows_of(examples, rows), cells_of(bank)
    batches = in_batches(bank)
    longest = int(np.diff(arguments.indptr).max())
    widest = min(int(np.diff(arguments.indptr[edges]).max()), bank.features) if batches else 0
    space = Workspace.of(bank, longest, widest)
    damped = np.tile(bank.damped, bank.outputs) if any(bank.damped) and not batches else NONE_DAMPED
    loss = Loss(losses.CODES.get(bank.loss, 0), float(bank.parameter), bank.outputs, damped)
    averages = averages_of(bank, totals)
    after = waiting_of(bank, acting, bank.t + 1, bank.t + 1, averages), averages
    run = space.kernel("learn_batches" if batches else "learn", bank, examples)
    if space.batch is None:
        parts = at(acting, space.parts)
        return run, (arguments, 0, len(examples), table, loss, predictions, space.entries, parts, *after)
    batch = space.batch._replace(parts=at(acting, space.batch.parts))
    return run, (arguments, edges, table, loss, predictions, space.entries, space.parts, batch, *after)


def settle(bank: ModelBank) -> None:
    """Lets features and averages catch up."""
    first, steps = bank.settled + 1, max(bank.t - bank.settled, 1)
    acting = {part: own.acting(first, steps) for part, own in bank.steps.items()}
    averages = averages_of(bank, np.array([bank.total]))
    waiting = waiting_of(bank, acting, first, bank.t + 1, averages)
    run = specialize("settle_rows", *kind_of(bank))
    run(cells_of(bank), waiting, averages, np.arange(bank.features), bank.lanes)


def cells_of(bank: ModelBank) -> Cells:
    table = bank.table
    return Cells(table.cells, table.sums, table.shared, table.seen, table.row.statistics)


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


def waiting_of(bank: ModelBank, acting: dict[str, PartTable], first: int, now: int, averages: tuple) -> tuple:
    """What kernels need to let features that have not occurred catch up; nothing where they need not."""
    if not bank.waits:
        return ()
    waiting = {part: acting[part].coefficients for part in bank.steps if bank.steps[part].catches_up}
    most = max(map(len, waiting.values()))
    starts = np.arange(first, first + most) if most > 1 else np.array([min(bank.settled + 1, first)])
    parts = tuple(
        WaitingPart(
            np.ascontiguousarray(np.broadcast_to(table := acting[part].coefficients, (most, *table.shape[1:])))
            if part in waiting
            else acting[part].coefficients,
            acting[part].keep,
            bank.dtype.type(steps[0].options["l1"]),
            bank.dtype.type(steps[0].options["l2"]),
            bank.common.get(part, ()),
        )
        for part, steps in bank.steps.items()
    )
    return Waiting(bank.last, np.array([now]), starts, parts, now, bank.averaging_rates(starts), averages)


def averages_of(bank: ModelBank, totals: np.ndarray) -> tuple:
    if not bank.averages:
        return ()
    return Averages(tuple(bank.means[part] for part in bank.steps), bank.upto, bank.upto_shared, totals)
