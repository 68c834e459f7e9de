"""A bank of models in NumPy: slow and obvious. The compiled drivers are held to its bits; in float64, exp and
log of a loss may differ in the last digit.

It knows nothing of how they gather, wait or vectorize: a feature's numbers are read from the table and written back,
one example after the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from surefoot import ops
from surefoot.engines import reference, scaling
from surefoot.engines.program import advance, advance_from_origin
from surefoot.engines.step import Step
from surefoot.models import STATISTICS
from surefoot.modifiers import closed_form, proximal

if TYPE_CHECKING:
    from surefoot.engines.bank import ModelBank
    from surefoot.engines.examples import Examples

EVALUATIONS, ENOUGH = 60, 1e-3


def learn(bank: ModelBank, examples: Examples, rows, edges, totals, predictions) -> int:
    """Learns from examples, whose entries are in these rows of the table; returns how many numbers were skipped."""
    skipped, steps = 0, len(edges) - 1
    acting = {part: own.acting(bank.t + 1, steps) for part, own in bank.steps.items()}
    begin = int(examples.indptr[0])
    for b in range(steps):
        t, gradients, weight, example = bank.t + 1 + b, {}, 0.0, None
        for i in range(edges[b], edges[b + 1]):
            entries = slice(examples.indptr[i] - begin, examples.indptr[i + 1] - begin)
            example = Example.of(bank, examples, i, rows[entries], t, totals[min(b, len(totals) - 1)])
            predictions[i] = example.predict(bank)
            weight += float(examples.weights[i])
            for key, value in example.gradients(bank, predictions[i]):
                gradients[key] = gradients[key] + value if key in gradients else bank.dtype.type(0) + value
        if bank.batch_size > 1:
            total = bank.dtype.type(weight)
            gradients = {k: g / total if weight > 0 else np.zeros_like(g) for k, g in gradients.items()}
        blend(bank, gradients, totals[min(b, len(totals) - 1)])
        if example is not None and bank.batch_size == 1 and any(bank.damped):
            skipped += example.implicit_step(bank, gradients, predictions[edges[b]], acting, b)
        else:
            means = {part: mean_squares(bank, part, gradients) for part in bank.common}
            after = {part: common_after(bank, part, means[part], acting[part], b) for part in bank.common}
            for (part, row), g in gradients.items():
                skipped += step(bank, part, row, g, acting[part], b, mean=means.get(part))
            for part, slots in after.items():
                bank.common[part][...] = np.where(np.isfinite(slots), slots, bank.common[part])
    return skipped


class Example:
    """An example as the model sees it: the rows of its features, and values centred and scaled."""

    def __init__(self, rows, scaled, fields, base, target, weight):
        self.rows, self.scaled, self.fields = rows, scaled, fields
        self.base, self.target, self.weight = base, target, weight

    @classmethod
    def of(cls, bank: ModelBank, examples: Examples, i: int, rows, t: int, total: float) -> Example:
        entries = slice(examples.indptr[i], examples.indptr[i + 1])
        values = examples.values[entries].astype(np.float64)
        f = bank.dtype.type
        scaled = np.empty(len(values), f)
        for row in rows if bank.waits else ():
            catch_up(bank, row, t - 1, total)
            bank.last[row] = t
        bank.table.seen[0] += bank.table.seen[1]
        for e, (row, x) in enumerate(zip(rows, values, strict=True)):
            x, limit = count_in(bank, row, x)
            scaled[e] = np.clip(f((x - center_of(bank, row)) * scale_of(bank, row)), -f(limit), f(limit))
        fields = np.empty(0, np.int64) if examples.fields is None else examples.fields[entries]
        base = f(0) if examples.bases is None else f(examples.bases[i])
        return cls(rows, scaled, fields, base, float(examples.targets[i]), float(examples.weights[i]))

    def gathered(self, bank: ModelBank, read) -> np.ndarray:
        """The named tuple of what `read(part, row)` gives, side by side."""
        parts = {
            part: [read(part, row) for row in (self.rows if layout.of == "feature" else [0])]
            for part, layout in bank.table.parts.items()
        }
        none = np.empty(0, bank.dtype)
        return bank.architecture.numbers(**{p: np.concatenate(a) if a else none for p, a in parts.items()})

    def predict(self, bank: ModelBank, numbers=None, base=None) -> np.ndarray:
        """The prediction of every lane."""
        found = np.empty(bank.lanes, bank.dtype)
        numbers = self.gathered(bank, lambda part, row: cells(bank, part, row)) if numbers is None else numbers
        base = self.base if base is None else base
        with np.errstate(all="ignore"):
            bank.architecture.predict(self.scaled, self.fields, numbers, base, found, bank.lanes)
        return found

    def slopes(self, bank: ModelBank, predicted) -> np.ndarray:
        """The derivative of the loss by every lane's prediction, in float64."""
        shifted = self.shifted(bank, predicted)
        return np.array([slope(bank, shifted[k], self.wanted(bank, k)) for k in range(bank.lanes)])

    def wanted(self, bank: ModelBank, k: int) -> float:
        return self.target if bank.outputs == 1 else float(k // bank.rates == self.target)

    def shifted(self, bank: ModelBank, predicted) -> np.ndarray:
        """Of joint losses, every prediction less the log-sum-exp of the other outputs' in the same rate."""
        p = predicted.astype(np.float64)
        if not bank.loss.joint or bank.outputs == 1:
            return p
        found = np.empty(bank.lanes)
        for k in range(bank.lanes):
            others = [o for o in range(k % bank.rates, bank.lanes, bank.rates) if o != k]
            largest, total = max(p[o] for o in others), 0.0
            for o in others:
                total += np.exp(p[o] - largest)
            found[k] = p[k] - largest - np.log(total)
        return found

    def gradients(self, bank: ModelBank, predicted) -> list:
        """The gradient by every number of each entry, after its part and row."""
        f = bank.dtype.type
        with np.errstate(all="ignore"):
            slopes = (self.slopes(bank, predicted) * self.weight).astype(f)
            numbers = self.gathered(bank, lambda part, row: cells(bank, part, row))
            found = bank.architecture.numbers(*(np.empty_like(part) for part in numbers))
            bank.architecture.gradient(self.scaled, self.fields, numbers, slopes, found, bank.lanes)
        return [
            ((part, int(row)), getattr(found, part)[e * layout.span : (e + 1) * layout.span])
            for part, layout in bank.table.parts.items()
            for e, row in enumerate(self.rows if layout.of == "feature" else [0])
        ]

    def implicit_step(self, bank: ModelBank, gradients, predicted, acting, b: int) -> int:
        """A step of which damped lanes take the share that makes it implicit; memories get the whole gradient."""
        skipped = 0
        with np.errstate(all="ignore"):
            found = {(part, row): trial(bank, part, row, g, acting[part], b) for (part, row), g in gradients.items()}
            moves = {key: move for key, (move, _, _) in found.items()}
            shift = self.predict(bank, self.gathered(bank, lambda part, row: moves[part, int(row)]), bank.dtype.type(0))
            shares = self.shares(bank, predicted, shift)
            for (part, row), (move, rate, count) in found.items():
                factors = np.tile(shares, len(move) // bank.lanes)
                skipped += count + take_off(bank, part, row, move * factors, rate)
        return skipped

    def shares(self, bank: ModelBank, predicted, shift) -> np.ndarray:
        """What every lane takes of a step that would move its prediction this far."""
        shifted = self.shifted(bank, predicted)
        damped = np.tile(bank.damped, bank.outputs)
        return np.array(
            [
                share_of(bank, shifted[k], self.wanted(bank, k), float(shift[k])) if damped[k] else 1.0
                for k in range(bank.lanes)
            ],
            bank.dtype,
        )


def slope(bank: ModelBank, prediction: float, target: float) -> float:
    bound = ops.bind(bank.loss.slope, ops.ARRAY_OPS, np.float64)
    return float(bound(np.float64(prediction), target, *bank.loss.own(bank.parameter)))


def share_of(bank: ModelBank, prediction: float, target: float, move: float) -> float:
    """The root of slope(p − share · move) = share · slope(p), by the Illinois variant of false position."""
    here = slope(bank, prediction, target)
    if not here * move > 0.0 or not np.isfinite(move):
        return 1.0

    def excess(share: float) -> float:
        return slope(bank, prediction - share * move, target) / here - share

    (low, below), (high, above), side = (0.0, 1.0), (1.0, slope(bank, prediction - move, target) / here - 1.0), 0
    if above >= 0.0:
        return 1.0
    share = 1.0
    for _ in range(EVALUATIONS):
        share = (low * above - high * below) / (above - below)
        value = excess(share)
        if abs(value) <= ENOUGH * share or high - low <= 1e-7 * high:
            break
        if value > 0.0:
            low, below, above, side = share, value, above / 2.0 if side > 0 else above, 1
        else:
            high, above, below, side = share, value, below / 2.0 if side < 0 else below, -1
    return share


# A part of a row


def cells(bank: ModelBank, part: str, row: int, slot: str | None = None) -> np.ndarray:
    """A view of a part's numbers, or of a slot, in the table."""
    layout = bank.table.parts[part]
    home = bank.table.cells if layout.of == "feature" else bank.table.shared
    begin = layout.place(slot)
    return home[row, begin : begin + layout.span]


def memory(bank: ModelBank, part: str, row: int) -> list[np.ndarray]:
    """The rule's slots; copies of those that are in common."""
    common = dict(zip(bank.steps[part].slots_in_common, bank.common.get(part, ()), strict=True))
    return [
        per_number(bank, part, common[slot]) if slot in common else cells(bank, part, row, slot)
        for slot in bank.steps[part][0].rule.slots
    ]


def per_number(bank: ModelBank, part: str, of_lanes) -> np.ndarray:
    """Numbers of lanes, once for each number of the part."""
    return np.tile(of_lanes, bank.table.parts[part].width)


def trial(bank: ModelBank, part: str, row: int, g, acting, b: int) -> tuple:
    """What a step takes off the numbers, its rates, and how many numbers are skipped: these do not move.

    The rule's memory becomes what it is after the step.
    """
    rate, direction, *after = rule_at(bank, part, row, cells(bank, part, row), g, acting, b)
    move = -np.asarray(bound(bank, advance_from_origin)(rate, direction), bank.dtype)
    ok = np.isfinite(g * g) & np.isfinite(move)
    for slot in after:
        ok = ok & np.isfinite(slot)
    for slot, value in zip(memory(bank, part, row), after, strict=True):
        slot[...] = np.where(ok, value, slot)
    rate = np.broadcast_to(np.asarray(rate, bank.dtype), move.shape)
    return np.where(ok, move, 0), np.where(ok, rate, 0), int(ok.size - np.count_nonzero(ok))


def take_off(bank: ModelBank, part: str, row: int, moves, rate) -> int:
    """Takes moves off a part of a row, whose steps had these rates; returns how many numbers were skipped."""
    x = cells(bank, part, row)
    new = after_step(bank, part, row, x - moves, rate)
    ok = np.isfinite(new)
    x[...] = np.where(ok, new, x)
    return int(x.size - np.count_nonzero(ok))


def mean_squares(bank: ModelBank, part: str, gradients) -> np.ndarray:
    """The mean square of a part's gradient in every lane: that of features that take no part is 0."""
    total = np.zeros(bank.lanes)
    with np.errstate(all="ignore"):
        for numbers in (g for (of, _), each in gradients.items() if of == part for g in each.reshape(-1, bank.lanes)):
            square = numbers * numbers
            total = total + np.where(np.isfinite(square), square, 0).astype(np.float64)
        return (total / max(bank.numbers_of(part), 1)).astype(bank.dtype)


def common_after(bank: ModelBank, part: str, mean, acting, b: int) -> np.ndarray:
    """What the slots in common are after step b of a table, (slots in common, lanes)."""
    step_, zero = bank.steps[part][0], np.zeros(bank.lanes, bank.dtype)
    own = iter(bank.common[part])
    slots = [next(own) if common else zero for common in step_.in_common]
    with np.errstate(all="ignore"):
        c = acting.coefficients[min(b, len(acting.coefficients) - 1)]
        _, _, *after = step_.rule.bound(dtype=bank.dtype.type)(zero, zero, mean, *slots, *c)
    return np.array([slot for slot, common in zip(after, step_.in_common, strict=True) if common], bank.dtype)


def rule_at(bank: ModelBank, part: str, row: int, x, g, acting, b: int, mean=None):
    """(rate, direction, *slots) of the part's rule at step b of a table; `mean` is the mean square that numbers
    share."""
    c = [per_number(bank, part, column) for column in acting.coefficients[min(b, len(acting.coefficients) - 1)]]
    with np.errstate(all="ignore"):
        square = g * g if mean is None else per_number(bank, part, mean)
        return bank.steps[part][0].rule.bound(dtype=bank.dtype.type)(x, g, square, *memory(bank, part, row), *c)


def step(bank: ModelBank, part: str, row: int, g, acting, b: int, mean=None) -> int:
    """Steps a part of a row; returns how many numbers were skipped."""
    rule = bank.steps[part][0].rule
    x, slots = cells(bank, part, row), memory(bank, part, row)
    with np.errstate(all="ignore"):
        keep = per_number(bank, part, acting.keep[min(b, len(acting.keep) - 1)])
        start = keep * x if bank.steps[part].decays else x
        rate, direction, *after = rule_at(bank, part, row, start, g, acting, b, mean)
        if rule.from_origin:
            new = bound(bank, advance_from_origin)(rate, direction)
        else:
            new = bound(bank, advance)(start, rate, direction)
        new = np.broadcast_to(np.asarray(after_step(bank, part, row, new, rate), bank.dtype), x.shape)
        ok = np.isfinite(g * g) & np.isfinite(new)
        for slot in after:
            ok = ok & np.isfinite(slot)
    for slot, value in zip(slots, after, strict=True):
        slot[...] = np.where(ok, value, slot)
    x[...] = np.where(ok, new, x)
    return int(x.size - np.count_nonzero(ok))


def after_step(bank: ModelBank, part: str, row: int, new, rate):
    """The numbers after a step of this rate, once they are penalized."""
    step_, f = bank.steps[part][0], bank.dtype.type
    if proximal not in step_.modifiers:
        return new
    scale = penalty_scale(bank, row) if bank.table.parts[part].of == "feature" else f(1)
    l1, l2 = f(step_.options["l1"]), f(step_.options["l2"])
    return bound(bank, proximal.function)(new, rate, l1 * scale, l2 * (scale * scale))


@np.errstate(under="ignore")
def count_in(bank: ModelBank, row: int, x: np.float64) -> tuple[np.float64, float]:
    """Counts a value in; returns what it counts as, which is less if it is too far away, and what the model may see."""
    limit = np.inf
    count, mean, deviations = (bank.table.statistic(name)[row : row + 1] for name in STATISTICS)
    if bank.normalize and count >= scaling.FEWEST:
        is_centred = scaling.centred(bank.table.seen[0] - 1.0, count, mean, deviations)[0]
        center = mean[0] if is_centred else 0.0
        squares = deviations[0] if is_centred else deviations[0] + count[0] * mean[0] * mean[0]
        way, most = x - center, squares * max(scaling.FAR * scaling.FAR, count[0]) / count[0]
        if way * way > most > 0.0:
            x, limit = center + np.copysign(np.sqrt(most), way), scaling.FAR
    way = x - mean[0]
    count += 1.0
    mean += way / count
    deviations += way * (x - mean)
    return x, limit


def center_of(bank: ModelBank, row: int) -> float:
    """What is taken off a feature's values."""
    return float(bank.table.centers(slice(row, row + 1))[0]) if bank.normalize else 0.0


def scale_of(bank: ModelBank, row: int) -> float:
    """What a feature's values are multiplied by."""
    if not (bank.normalize and bank.table.statistic("count")[row] > 0):
        return 1.0
    return float(bank.table.scales(slice(row, row + 1))[0]) or 1.0 / np.sqrt(scaling.LEAST_SQUARE)


def penalty_scale(bank: ModelBank, row: int):
    """By how much a feature's weight as it is in the data exceeds the one that is penalized by l1."""
    return bank.dtype.type(1.0 if bank.penalizes_scaled else min(scale_of(bank, row), scaling.PENALIZED))


# Rows that wait, and averages


def catch_up(bank: ModelBank, row: int, until: int, total: float) -> None:
    """Makes a feature's row what it would be after the steps up to this one in which it did not occur.

    Args:
        total: the sum of learning rates of all steps so far, by which iterates are averaged.
    """
    waited, gap = bank.last[row] < until, total - bank.upto[row] if bank.averages else 0.0
    if bank.averages and waited and gap > 0.0:
        blend(bank, [(part, row) for part in bank.means if stands_still(bank, part)], total)
        bank.upto[row] = total
    for part in (part for part, steps in bank.steps.items() if steps.catches_up):
        for k in range(bank.lanes):
            step_ = bank.steps[part][k % bank.rates]
            places = slice(k, None, bank.lanes)
            x = cells(bank, part, row)[places]
            slots = [slot[places] for slot in memory(bank, part, row)]  # what is in common is not written back
            copies = [slot.copy() for slot in slots]
            runs = stretches(bank, step_, row, int(bank.last[row]), until)
            if bank.averages and waited:
                average_waiting(bank, part, row, places, x.copy(), copies, runs, (gap, total))
            after, kept = reference.zero_grad_steps(step_, x.copy(), copies, runs, bank.dtype.type)
            x[...] = after
            for slot, value in zip(slots, kept, strict=True):
                slot[...] = value


def stands_still(bank: ModelBank, part: str) -> bool:
    return bank.table.parts[part].of == "feature" and not bank.steps[part].catches_up


def average_waiting(bank: ModelBank, part: str, row: int, places, x, slots, runs, shares) -> None:
    """Gives a lane's averages the iterates of runs of steps without a gradient, and of those before, by their rates."""
    f, (gap, total), step_ = bank.dtype.type, shares, bank.steps[part][places.start % bank.rates]
    first = int(bank.last[row]) + 1
    rates = bank.averaging_rates(first + np.cumsum([0, *(count for count, *_ in runs)])[:-1])
    total = total if total > 0.0 else 1.0
    still = gap
    for (count, *_), rate in zip(runs, rates, strict=True):
        still -= rate * count
    mean = bank.means[part][row][places]
    mean[...] = f(1.0 - gap / total) * mean + f(max(still, 0.0) / total) * x
    for run, rate in zip(runs, rates, strict=True):
        after, slots = reference.zero_grad_steps(step_, x.copy(), slots, [run], f)
        for n in range(len(x)):
            summed = float(after[n]) * run[0]
            if step_.rule.lazy_exact:
                with np.errstate(all="ignore"):
                    summed = sum_of_run(step_, x[n : n + 1], [slot[n : n + 1] for slot in slots], run, f)
            mean[n] += f(rate / total * summed)
        x = after


def sum_of_run(step_: Step, x, slots, run, f) -> float:
    """The sum of a number after each step of a run: of those before it is zero, which are found by halving."""
    count, coefficients, shrinkage = run
    rate = np.float64(step_.rule.bound(dtype=f)(x, f(0), f(0), *slots, *map(f, coefficients))[0])
    numbers = [float(f(number)) for number in shrinkage]
    few, many = 0, count
    while few < many:
        middle = (few + many + 1) // 2
        left = ops.bind(closed_form.zero_grad_steps, ops.ARRAY_OPS, np.float64)(x.astype(float), middle, rate, *numbers)
        few, many = (middle, many) if left[0] != 0.0 else (few, middle - 1)
    if few == 0:
        return 0.0
    return ops.bind(closed_form.zero_grad_sum, ops.ARRAY_OPS, np.float64)(x.astype(float), few, rate, *numbers)[0]


def stretches(bank: ModelBank, step_: Step, row: int, last: int, until: int) -> list:
    """(steps, coefficients, shrinkage) of runs of steps last + 1 … until: one run where nothing depends on the step."""
    f = bank.dtype.type
    scale = penalty_scale(bank, row)
    l1, l2 = f(step_.options["l1"]) * scale, f(step_.options["l2"]) * (scale * scale)
    constant = all(np.ndim(c) == 0 for c in step_.coefficients(np.arange(1, 3)))
    first = [last + 1] if constant and until > last else range(last + 1, until + 1)
    k = until - last if constant else 1
    return [(k, step_.coefficients(t), (step_.shrinkage(t)[0], float(l1), float(l2))) for t in first]


def bound(bank: ModelBank, function):
    """A function of scalars, for arrays of the bank's type."""
    return ops.bind(function, ops.ARRAY_OPS, bank.dtype.type)


def settle(bank: ModelBank) -> None:
    """Lets features and averages catch up."""
    for row in range(bank.features if bank.waits else 0):
        catch_up(bank, row, bank.t, bank.total)
    if bank.averages:
        every = {(part, row): None for part, a in bank.means.items() for row in range(len(a))}
        blend(bank, every, bank.total)


def blend(bank: ModelBank, rows, total: float) -> None:
    """Gives averages of what is about to be stepped the weight of the steps since they were last blended."""
    if not bank.averages:
        return
    f, seen = bank.dtype.type, {}
    for part, row in rows:
        upto = bank.upto if bank.table.parts[part].of == "feature" else bank.upto_shared
        gap = total - upto[row]
        if gap > 0.0:
            means = bank.means[part][row]
            means += f(gap / total) * (cells(bank, part, row) - means)
            seen[id(upto), row] = upto
    for (_, row), upto in seen.items():
        upto[row] = total
