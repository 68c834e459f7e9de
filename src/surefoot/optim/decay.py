"""`adaptive_decay`: tables that do not learn their rare rows by heart in many epochs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from surefoot import ops
from surefoot.engines.namespaces.torch import TORCH
from surefoot.engines.settings import Settings
from surefoot.modifiers import adaptive_decay
from surefoot.optim.clipping import check_no_norm
from surefoot.optim.epochs import Clock
from surefoot.optim.mapped import copied_beside, file_of
from surefoot.optim.memory import copied, on_host
from surefoot.rules import Rule

KEY = "adaptive_decay"
STATE = ("decay_initial", "decay_visits", "decay_newest", "decay_evenness", "decay_clock")
"""What a table's state has for it: the values before the first step, how often each row occurred, the steps
of the epoch up to the last with a new row, the sum over steps of how even gradients were, and a `Clock`."""
AUTO = 50.0
"""The strength of "auto" where all gradients of examples are of the same size."""
SAMPLE = 1024
"""Gradients of a step, about, whose sizes are compared."""
ROWS = 1 << 16
"""Rows that decay at once: so much more memory is needed for a moment."""

occurrences, evenness, kept, decayed = (
    ops.bind(function, TORCH.ops)
    for function in (
        adaptive_decay.occurrences,
        adaptive_decay.evenness,
        adaptive_decay.kept,
        adaptive_decay.decayed,
    )
)


@dataclass(frozen=True)
class Table:
    """A parameter with a sparse gradient whose group has adaptive decay, with its setting and its state."""

    parameter: Tensor
    setting: Any
    tensors: dict[str, Any]

    @property
    def gradient(self) -> Any:
        return self.parameter.grad

    @property
    def is_merged(self) -> bool:
        """Whether the gradient has each row once, as far as can be seen without waiting for a device."""
        ids = self.gradient._indices()[0]
        return self.gradient.is_coalesced() or (on_host(ids) and bool((ids[1:] > ids[:-1]).all()))

    def ids(self, clock: Clock) -> float:
        """How many ids the batch had; the most of one, where a gradient was merged and others are not."""
        return clock.most if clock.steps and not clock.distinct and self.is_merged else self.gradient._nnz()

    def strength(self, clock: Clock) -> Any:
        """The number of examples that the others of an epoch weigh against; a tensor for "auto"."""
        return AUTO * clock.steps / self.tensors["decay_evenness"] if self.setting == "auto" else self.setting

    def count(self, clock: Clock) -> None:
        """Counts the rows of the gradient, and notes whether one is new, and how even its sizes are."""
        ids, visits = self.gradient._indices()[0], self.tensors["decay_visits"]
        is_new, newest = (visits[ids] == 0).any(), self.tensors["decay_newest"]
        newest.copy_(torch.where(is_new, torch.full_like(newest, clock.seen), newest))
        visits.index_add_(0, ids, visits.new_ones(1).expand(len(ids)))
        if len(ids):
            some = self.gradient._values()[:: max(1, len(ids) // SAMPLE)]
            sizes = torch.linalg.vector_norm(some.reshape(len(some), -1), dim=1).float()
            found = evenness(sizes.mean(), sizes.square().mean())
            self.tensors["decay_evenness"].add_(found.nan_to_num(nan=1.0))

    def length(self, clock: Clock) -> float:
        """The steps of the first epoch, if the gradients so far tell that it has ended; else 0."""
        return clock.without_new_rows(self.tensors["decay_visits"], self.tensors["decay_newest"])

    def repeats(self, clock: Clock) -> bool | None:
        """Whether the examples of the first epoch come again, if that can be told by now."""
        ids, visits = self.gradient._indices()[0], self.tensors["decay_visits"]
        ids = ids[(ids >= 0) & (ids < len(visits))]  # the step raises an error for others
        return clock.repeats(self.tensors["decay_newest"], ids, visits)

    def decay(self, clock: Clock, step: Settings, keys: tuple[str, ...]) -> None:
        """Moves the rows, and their memory, towards where they began."""
        pairs = [(self.parameter, self.tensors["decay_initial"]), *self.memory(step, keys)]
        strength = self.strength(clock)
        for first in range(0, len(self.parameter), ROWS):
            rows = slice(first, first + ROWS)
            n = self.tensors["decay_visits"][rows] / clock.epochs
            n = occurrences(n, clock.steps / clock.epochs) if clock.distinct else n
            share = kept(n, strength).reshape(-1, *(1 for _ in self.parameter.shape[1:]))
            for tensor, start in pairs:
                part, start = tensor[rows], start[rows] if isinstance(start, Tensor) else start
                wide = part.float() if part.dtype in (torch.bfloat16, torch.float16) else part
                part.copy_(decayed(wide, start, share.to(wide.real.dtype)))

    def memory(self, step: Settings, keys: tuple[str, ...]) -> Iterator[tuple[Tensor, Any]]:
        """What of the memory decays, with its values at the beginning: directions, and sums of squares.

        Squares of rules without exact lazy steps are averages, of few examples as of many.
        """
        for key, slot, extent in zip(keys, step.rule.slots.values(), step.extents, strict=True):
            if extent in ("coordinate", "row") and (slot.kind == "direction" or step.rule.lazy_exact):
                yield self.tensors[key], self.tensors["decay_initial"] if slot.initial == "x" else step.initial(slot)


def setting(group: Mapping[str, Any]) -> Any:
    """What a group has: "auto", a number, or None.

    Raises:
        ValueError: for anything else.

    >>> setting({}), setting({"adaptive_decay": "auto"}), setting({"adaptive_decay": 20})
    (None, 'auto', 20)
    """
    value = group.get(KEY)
    known = value is None or (isinstance(value, str) and value == "auto")
    if not known and (
        isinstance(value, (bool, str)) or not isinstance(value, (int, float)) or not 0 < value < math.inf
    ):
        raise ValueError(f'Invalid {KEY} value: {value!r}; expected "auto", a finite number above 0, or None')
    return value


def check(group: Mapping[str, Any], rule: Rule) -> None:
    """Raises ValueError where a group's rule cannot honour adaptive decay."""
    if setting(group) is None:
        return
    if group.get("differentiable"):
        raise ValueError(f"{KEY}: autograd does not see it; expected differentiable=False")
    if group.get("capturable"):
        raise ValueError(f"{KEY}: no graph replays the end of an epoch; expected capturable=False")
    if rule.follows_rate:
        raise ValueError(
            f"{KEY}: {rule.name} recomputes the parameters from the origin at each step, so they cannot decay; "
            "expected another rule, such as ftrl"
        )


def check_alone(groups: list[dict[str, Any]]) -> None:
    """Raises ValueError where a parameter cannot be stepped without the others."""
    check_no_norm(groups)
    if any(setting(group) is not None for group in groups):
        raise ValueError(
            f"{KEY} needs the gradients of all tables at once, to see where an epoch ends, and here each is freed once "
            f"its parameter is stepped; expected {KEY}=None"
        )


def is_on(optimizer: Any) -> bool:
    """Whether any group has adaptive decay."""
    return any(group.get(KEY) is not None for group in optimizer.param_groups)


def tables(optimizer: Any) -> list[Table]:
    """The parameters with a sparse gradient of groups that have adaptive decay."""
    found = []
    for group in optimizer.param_groups:
        wanted = setting(group)
        for parameter in group["params"] if wanted is not None else ():
            if parameter.grad is not None and parameter.grad.is_sparse:
                found.append(Table(parameter, wanted, optimizer.state.get(parameter) or {}))
    return found


@torch.no_grad()
def before_step(optimizer: Any) -> dict[Tensor, Tensor]:
    """Lets rows decay if an epoch has ended and its examples come again.

    Returns:
        The values of tables that have their first gradient.
    """
    found = tables(optimizer)
    due = [(table, Clock.of(table.tensors)) for table in found if "decay_clock" in table.tensors]
    if any(clock.due for _, clock in due):
        repeats = [table.repeats(clock) for table, clock in due]
        if False in repeats:
            for table, clock in due:
                clock.go_on()
                clock.keep(table.tensors)
        elif None not in repeats:
            decay(optimizer, [(table, clock) for table, clock in due if clock.due])
    return {t.parameter: values_of(t.parameter) for t in found if "decay_clock" not in t.tensors}


def values_of(parameter: Tensor) -> Tensor:
    """A copy of a table, in a file if the table is in one."""
    path = file_of(parameter)
    return copied_beside(path, parameter.detach()) if path else copied(parameter.detach())


def decay(optimizer: Any, due: list[tuple[Table, Clock]]) -> None:
    """Lets the rows of tables decay."""
    optimizer.flush([table.parameter for table, _ in due])
    memories = {id(parameter): memory for parameter, memory, _ in optimizer.memories()}
    for table, clock in due:
        memory = memories[id(table.parameter)]
        replace(table, tensors=memory.tensors).decay(clock, memory.step, memory.keys)
        clock.due = 0.0
        clock.keep(table.tensors)


@torch.no_grad()
def after_step(optimizer: Any, initial: dict[Tensor, Tensor]) -> None:
    """Counts the rows of the gradients, and sees whether the epoch ends.

    Args:
        optimizer: the optimizer.
        initial: from `before_step`.
    """
    begin(optimizer, initial)
    clocks = [(table, Clock.of(table.tensors)) for table in tables(optimizer)]
    found = [(table, clock, table.ids(clock)) for table, clock in clocks]
    last = [clock.is_last(count) for _, clock, count in found]
    ended = True in last and False not in last
    for table, clock, count in found:
        clock.take(count, table.is_merged, ended)
        table.count(clock)
    lengths = [clock.seen if ended else table.length(clock) for table, clock, _ in found]
    # The epoch of a table that did not notice ended at the same share of what it has seen.
    share = max((x / clock.seen for x, (_, clock, _) in zip(lengths, found, strict=True) if x), default=0.0)
    for (table, clock, _), length in zip(found, lengths, strict=True):
        if share and not clock.due:
            clock.end(table.tensors["decay_visits"], length or share * clock.seen)
            table.tensors["decay_newest"].zero_()
        clock.keep(table.tensors)


def begin(optimizer: Any, initial: dict[Tensor, Tensor]) -> None:
    """Gives tables that had their first step what `STATE` names."""
    memories = {id(parameter): memory for parameter, memory in optimizer.known()} if initial else {}
    for parameter, values in initial.items():
        tensors = memories[id(parameter)].tensors
        tensors["decay_initial"] = values
        tensors["decay_visits"] = torch.zeros(len(values), dtype=torch.float32, device=values.device)
        tensors["decay_newest"] = torch.zeros((), dtype=torch.float32, device=values.device)
        tensors["decay_evenness"] = torch.zeros((), dtype=torch.float32, device=values.device)
        tensors["decay_clock"] = torch.zeros(len(fields(Clock)), dtype=torch.float64, device="cpu")
        Clock().keep(tensors)
        optimizer.state[parameter] = tensors


# The state, where it changes otherwise


def expected(parameter: Tensor, tensors: Mapping[str, Any]) -> dict[str, Tensor]:
    """The types and shapes of what a state has for adaptive decay, if it has any."""
    if not any(key in tensors for key in STATE):
        return {}
    rows = parameter.shape[:1]
    return {
        "decay_initial": torch.empty_like(parameter, device="meta"),
        "decay_visits": torch.empty(rows, device="meta", dtype=torch.float32),
        "decay_newest": torch.empty((), device="meta", dtype=torch.float32),
        "decay_evenness": torch.empty((), device="meta", dtype=torch.float32),
        "decay_clock": torch.empty(len(fields(Clock)), device="meta", dtype=torch.float64),
    }


def of_new_rows(tensors: Mapping[str, Any], rows: Tensor) -> dict[str, Tensor]:
    """What a state has for the rows that a table gets."""
    if "decay_visits" not in tensors:
        return {}
    return {"decay_initial": rows, "decay_visits": tensors["decay_visits"].new_zeros(len(rows))}
