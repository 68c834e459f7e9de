"""`adaptive_decay`: tables that do not learn their rare rows by heart in many epochs."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from surefoot import ops
from surefoot.engines.namespaces.torch import TORCH
from surefoot.engines.settings import Settings
from surefoot.modifiers import adaptive_decay
from surefoot.optim.clipping import check_no_norm
from surefoot.optim.epochs import Clock
from surefoot.optim.mapped import copied_next_to, file_of
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
FEW = 4
"""Ids by which most gradients with duplicates are told from those without."""
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


@dataclass
class Table:
    """A parameter with a sparse gradient whose group has adaptive decay, during a step.

    Args:
        parameter: the parameter.
        setting: of its group.
        tensors: its state.
        initial: its values before its first step, as long as these are not in the state.
    """

    parameter: Tensor
    setting: Any
    tensors: dict[str, Any]
    initial: Tensor | None = None

    def __post_init__(self):
        self.gradient: Any = self.parameter.grad
        self.clock = Clock.of(self.tensors) if "decay_clock" in self.tensors else Clock()

    @functools.cached_property
    def ids(self) -> Tensor:
        return self.gradient._indices()[0]

    @functools.cached_property
    def is_merged(self) -> bool:
        """Whether the gradient has each row once, as far as can be seen without waiting for a device."""
        if self.gradient.is_coalesced() or not on_host(self.ids):
            return self.gradient.is_coalesced()
        first = self.ids[:FEW].tolist()
        return all(map(operator.lt, first, first[1:])) and bool((self.ids[1:] > self.ids[:-1]).all())

    def batch(self) -> float:
        """How many ids the batch had; the most of one, where a gradient was merged and others are not."""
        merged = self.clock.steps and not self.clock.distinct and self.is_merged
        return self.clock.most if merged else self.gradient._nnz()

    def strength(self) -> Any:
        """The number of examples that the others of an epoch weigh against; a tensor for "auto"."""
        return AUTO * self.clock.steps / self.tensors["decay_evenness"] if self.setting == "auto" else self.setting

    def count(self) -> None:
        """Counts the rows of the gradient, and notes whether one is new, and how even its sizes are."""
        visits, size = self.tensors["decay_visits"], len(self.ids)
        are_known = visits.index_select(0, self.ids).all()
        self.tensors["decay_newest"].masked_fill_(are_known.logical_not_(), self.clock.seen)
        visits.index_add_(0, self.ids, visits.new_ones(size))
        if size:
            some = self.gradient._values()[:: max(1, size // SAMPLE)]
            sizes = torch.linalg.vector_norm(some.reshape(len(some), -1), dim=1).float()
            found = evenness(sizes.mean(), sizes.square().mean())
            self.tensors["decay_evenness"].add_(found.nan_to_num_(nan=1.0))

    def length(self) -> float:
        """The steps of the first epoch, if the gradients so far tell that it has ended; else 0."""
        return self.clock.without_new_rows(self.tensors["decay_visits"], self.tensors["decay_newest"])

    def repeats(self) -> bool | None:
        """Whether the examples of the first epoch come again, if that can be told by now."""
        visits = self.tensors["decay_visits"]
        ids = self.ids[(self.ids >= 0) & (self.ids < len(visits))]  # the step raises an error for others
        return self.clock.repeats(self.tensors["decay_newest"], ids, visits)

    def keep(self) -> None:
        """Writes the clock into the state."""
        self.clock.keep(self.tensors)

    def decay(self, step: Settings, keys: tuple[str, ...]) -> None:
        """Moves the rows, and their memory, towards where they began."""
        pairs, clock = [(self.parameter, self.tensors["decay_initial"]), *self.memory(step, keys)], self.clock
        strength = self.strength()
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
def before_step(optimizer: Any) -> list[Table]:
    """Lets rows decay if an epoch has ended and its examples come again.

    Returns:
        What `after_step` takes.
    """
    found = tables(optimizer)
    known = [table for table in found if "decay_clock" in table.tensors]
    if any(table.clock.due for table in known):
        optimizer._check_gradients()  # before anything is changed
        repeats = [table.repeats() for table in known]
        if False in repeats:
            for table in known:
                table.clock.go_on()
                table.keep()
        elif None not in repeats:
            decay(optimizer, [table for table in known if table.clock.due])
    for table in found:
        if "decay_clock" not in table.tensors:
            table.initial = values_of(table.parameter)
    return found


def values_of(parameter: Tensor) -> Tensor:
    """A copy of a table, in a file if the table is in one."""
    path = file_of(parameter)
    return copied_next_to(path, parameter.detach()) if path else copied(parameter.detach())


def decay(optimizer: Any, due: list[Table]) -> None:
    """Lets the rows of tables decay."""
    optimizer.flush([table.parameter for table in due])
    memories = {id(parameter): memory for parameter, memory, _ in optimizer.memories()}
    for table in due:
        memory = memories[id(table.parameter)]
        table.tensors = memory.tensors
        table.decay(memory.step, memory.keys)
        table.clock.due = 0.0
        table.keep()


@torch.no_grad()
def after_step(optimizer: Any, found: list[Table]) -> None:
    """Counts the rows of the gradients, and sees whether the epoch ends.

    Args:
        optimizer: the optimizer.
        found: from `before_step`.
    """
    begin(optimizer, [table for table in found if table.initial is not None])
    for table in found:
        table.tensors = optimizer.state[table.parameter]
    counts = [table.batch() for table in found]
    last = [table.clock.is_last(count) for table, count in zip(found, counts, strict=True)]
    ended = True in last and False not in last
    for table, count in zip(found, counts, strict=True):
        table.clock.take(count, table.is_merged, ended)
        table.count()
    lengths = [table.clock.seen if ended else table.length() for table in found]
    # The epoch of a table that did not notice ended at the same share of what it has seen.
    share = max((x / table.clock.seen for x, table in zip(lengths, found, strict=True) if x), default=0.0)
    for table, length in zip(found, lengths, strict=True):
        if share and not table.clock.due:
            table.clock.end(table.tensors["decay_visits"], length or share * table.clock.seen)
            table.tensors["decay_newest"].zero_()
        table.keep()


def begin(optimizer: Any, new: list[Table]) -> None:
    """Gives tables that had their first step what `STATE` names."""
    memories = {id(parameter): memory for parameter, memory in optimizer.known()} if new else {}
    for parameter, values in ((table.parameter, table.initial) for table in new):
        assert values is not None
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
