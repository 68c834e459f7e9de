"""The step that a parameter would make next along a gradient, as it is and with one thing changed: nothing is written.

Of a parameter with more than `SAMPLE` coordinates, evenly spaced rows are looked at.
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from surefoot.engines import driver, reference
from surefoot.engines.cpu import merge
from surefoot.engines.numerics import ARITHMETIC, decode, encode
from surefoot.engines.settings import Settings
from surefoot.engines.state import State
from surefoot.optim.conversion import weight_of
from surefoot.optim.memory import Memory, array, is_aligned, local, own_gradient, rows_of, storage

SAMPLE = 1 << 20
"""Coordinates of a parameter that are looked at; of more, evenly spaced rows are sampled."""

BLOCK = 1 << 18
"""Coordinates whose next step is computed at a time."""

NEARLY_ZERO = 0.01
"""The share of 1/√inputs below which weights are as good as zero."""

FADED = 1e-3
"""The share of the largest velocity of all rows below which that of a row has come to rest: after 65 steps at 0.9."""

DERIVED = [name for name, value in vars(Settings).items() if isinstance(value, functools.cached_property)]
"""What Settings have computed from what they were given."""

DECAYS = ("weight_decay", "decoupled_weight_decay", "l1", "l2")
"""The settings that pull parameters to zero."""


def altered(step: Settings, options: Mapping[str, Any] | None = None, **hyper: Any) -> Settings:
    """The same settings but for some hyperparameters of the rule, and some options of what is done around it."""
    other = copy.copy(step)
    for name in DERIVED:
        other.__dict__.pop(name, None)
    known = {key: value for key, value in hyper.items() if key in step.hyper}
    other.hyper, other.options = dict(step.hyper) | known, dict(step.options) | dict(options or {})
    return other


class Motion(NamedTuple):
    """What a step does to the coordinates that have a gradient; norms are Euclidean.

    Attributes:
        having: how many coordinates have a gradient.
        frozen: share of these whose update rounds to nothing where the parameter is stored.
        lost: share of these whose update is something in the type of the arithmetic, and nothing when stored.
        saturated: share of these whose square no longer changes the memory.
        skipped: share of all coordinates of the gradient that are skipped, as something is not finite.
        gradient, update, parameter: norms over the coordinates with a gradient.
        resting: the norm of the gradient over those of them whose update is nothing in the type of the arithmetic.
        update_norm: over all coordinates of the gradient: velocities also move those whose gradient is zero.
        shrinkage: the share of itself by which the update shortens the parameter; negative if it grows.
        uphill: gradient · parameter, by which the loss would fall if the parameter were shortened to nothing, to first
            order; at least this much, if the loss is convex.
        downhill: −gradient · update, by which the loss falls in a step, to first order.
        natural: the norm that coordinates of 1/√inputs have, which weights are made with.
        length: with what the update is compared: the norm of the parameter, or of a matrix of 1/√inputs, where that is
            100 times as long, as after a start from zeros.
    """

    having: float
    frozen: float | None
    lost: float | None
    saturated: float | None
    skipped: float
    gradient: float
    update: float
    parameter: float
    resting: float
    update_norm: float
    shrinkage: float
    uphill: float
    downhill: float
    natural: float
    length: float

    @property
    def pace(self) -> float | None:
        """‖update‖/‖parameter‖; None without a gradient or if a vector is zero."""
        return self.update / self.length if self.having and self.length > 0 else None

    @property
    def reach(self) -> float:
        """The longer of the two that an update may be compared with: steps away from zero are no divergence."""
        return max(self.length, self.natural)


class View:
    """A parameter, its memory and its gradient, or evenly spaced rows of them, as NumPy arrays.

    Args:
        parameter: the parameter.
        known: what is known of its state.
        step: the settings of its next step.
        given: the statistics of its group.
    """

    def __init__(self, parameter: Tensor, known: Memory, step: Settings, given: Mapping[str, Any]):
        self.step = altered(step, lr=float(step.hyper["lr"])) if isinstance(step.hyper["lr"], Tensor) else step
        # What is maximized is seen as minus it, which is minimized.
        self.is_turned = bool(step.options.get("maximize"))
        if self.is_turned:
            self.step = altered(self.step, {"maximize": False})
        self.parameter, self.known, self.t, self.given = parameter, known, known.count(), dict(given)
        self.size = local(parameter).numel() * (2 if parameter.is_complex() else 1)
        # What several rows have in common is known where all of them are at hand.
        self.at_once = bool(step.program.statistics) or step.granularity == "tensor"
        self.every = self._stride(self.size)
        self.x = self._rows_of(parameter)
        self.memory = [self._rows_of(known.tensors[key]) for key in known.keys]

    def _stride(self, size: int) -> int:
        """Of how many rows one is looked at."""
        return 1 if self.at_once else max(1, -(-size // SAMPLE))

    def _rows_of(self, tensor: Tensor, ids: np.ndarray | None = None) -> np.ndarray:
        """The rows that are looked at, or those named; all of what several rows have in common."""
        part = local(tensor).detach()
        if part.ndim and len(part) > 1 and (ids is not None or self.every > 1):
            part = part[:: self.every] if ids is None else part[torch.from_numpy(ids).to(part.device)]
        return np.atleast_1d(array(part.cpu()))

    # Memory

    @property
    def remembers(self) -> bool:
        """Whether the memory tells which coordinates were ever visited: what starts from the parameter does not."""
        return any(slot.initial != "x" for slot in self.step.rule.slots.values())

    def unvisited(self) -> np.ndarray:
        """Where all of the memory is what it was before the first step."""
        same: Any = np.True_
        for slot, kept in zip(self.step.rule.slots.values(), self.memory, strict=True):
            if slot.initial != "x":
                values = decode(kept)
                same = same & (values == values.dtype.type(self.step.initial(slot)))
        return np.broadcast_to(same, self.x.shape)

    @functools.cached_property
    def state(self) -> State:
        return State(dict(zip(self.step.rule.slots, self.memory, strict=True)), self.t)

    def rates(self) -> np.ndarray:
        """The effective rate of each coordinate at the next step, if its gradient were zero."""
        return driver.rates(self.step, self.x, self.state)

    def silent(self) -> np.ndarray:
        """The rows that have no gradient and whose velocity has come to rest; none of a sparse gradient's."""
        none = np.zeros(len(self.x), bool)
        ids, g = self.gradient
        if ids is not None or "velocity" not in self.step.rule.slots:
            return none
        velocity = decode(self.memory[list(self.step.rule.slots).index("velocity")])
        size = np.abs(velocity).reshape(len(velocity), -1).max(1, initial=0.0)
        return ~(decode(g) != 0).reshape(len(g), -1).any(1) & (size < FADED * size.max(initial=0.0))

    # Motion

    @functools.cached_property
    def gradient(self) -> tuple[np.ndarray | None, np.ndarray]:
        """The rows that the gradient names (None: those that are looked at), and the gradient of each."""
        taken = gradient_of(self.parameter, self.every)
        ids, g = taken if isinstance(taken, tuple) else (None, taken)
        if ids is not None:
            every = self._stride(g.size)
            ids, g = ids[::every], g[::every]
        return ids, encode(-decode(g), g) if self.is_turned else g

    def motion(
        self,
        step: Settings | None = None,
        fresh: bool = False,
        exact: bool = False,
        steady: bool = False,
        moving: bool = False,
    ) -> Motion:
        """The next step, or what it would be.

        Args:
            step: with other settings.
            fresh: if it were the first step.
            exact: in float64, where updates are not lost however small they are.
            steady: if all gradients so far had been the present one.
            moving: the same for the velocity alone: what a gradient moves in this and all later steps.
        """
        step, t = step or self.step, 0 if fresh else self.t
        ids, g = self.gradient
        x = self.x if ids is None else self._rows_of(self.parameter, ids)
        slots = self.memory if ids is None else [self._rows_of(self.known.tensors[key], ids) for key in self.known.keys]
        if fresh:
            slots = fresh_memory(step, x, slots)
        if steady or moving:
            slots = steady_memory(step, g, slots, t, squares=steady)
        if exact:
            x, g, *slots = (decode(each).astype(np.float64) for each in (x, g, *slots))
        acting = driver.coefficients(step, State(dict(zip(step.rule.slots, slots, strict=True)), t), t + 1)
        by_row = step.granularity == "row" and not any(each.stage == "gradient" for each in step.modifiers)
        f = np.float64 if exact else np.dtype(ARITHMETIC[storage(self.parameter)]).type
        rows = max(1, len(g) if self.at_once else BLOCK * len(g) // max(g.size, 1))
        sums = np.zeros(len(Sums._fields))
        for b in range(0, len(g), rows):
            part, some = x[b : b + rows], g[b : b + rows]
            parts = [slot if common(slot, x) else slot[b : b + rows] for slot in slots]
            with np.errstate(all="ignore"):
                mean = row_squares(decode(some), f) if by_row else None  # all rows at a time, which is faster
                size = None if ids is None else self.size
                after = reference.preview(step, part, some, parts, t + 1, acting, size=size, g2=mean, given=self.given)
                sums += np.array(counted(step, part, decode(some), parts, after))
        scale = math.sqrt(max(1.0, gradient_size(self.parameter) / max(g.size, 1)))
        motion = Sums._make(sums.tolist()).motion(scale)
        natural = scale * math.sqrt(motion.having / inputs_of(self.parameter.shape))
        is_as_zero = self.parameter.ndim > 1 and motion.parameter < NEARLY_ZERO * natural
        return motion._replace(natural=natural, length=natural if is_as_zero else motion.length)


def inputs_of(shape: Sequence[int]) -> int:
    """How many coordinates add up to one output of a layer: those of a row; of a vector, all.

    >>> inputs_of((16, 6)), inputs_of((8, 3, 5, 5)), inputs_of((20,)), inputs_of(())
    (6, 75, 20, 1)
    """
    return max(math.prod(shape[1:] if len(shape) > 1 else shape), 1)


class Sums(NamedTuple):
    """What is added up over blocks of coordinates."""

    having: float
    frozen: float
    lost: float
    saturated: float
    skipped: float
    all: float
    gradient: float
    update: float
    parameter: float
    resting: float
    whole_update: float
    along: float
    uphill: float
    downhill: float

    def motion(self, scale: float) -> Motion:
        def share(count: float) -> float | None:
            return count / self.having if self.having else None

        squares = (self.gradient, self.update, self.parameter, self.resting, self.whole_update)
        norms = (scale * math.sqrt(each) for each in squares)
        shares = (share(self.frozen), share(self.lost), share(self.saturated), self.skipped / max(self.all, 1))
        shrinkage = -self.along / self.parameter if self.parameter > 0 else 0.0
        slopes = (scale**2 * self.uphill, scale**2 * self.downhill)
        return Motion._make((self.having, *shares, *norms, shrinkage, *slopes, 0.0, scale * math.sqrt(self.parameter)))


def counted(step: Settings, part, raw, slots, after) -> Sums:
    """What one block adds: the parameter's rows, their gradient, their memory, and what `reference.preview` makes."""
    stored, new, kept, ok = after
    before, moving = decode(part), (raw != 0) & ok
    update = np.where(ok, new.astype(np.float64) - before, 0.0)
    moved = update[moving]
    at_rest = moving & (new == before)
    # Stochastic rounding loses nothing on average.
    frozen = at_rest if step.rounding_seed is not None else moving & (decode(stored) == before)
    held = before.astype(np.float64)[moving]
    return Sums(
        moving.sum(),
        frozen.sum(),
        (frozen & ~at_rest).sum(),
        (moving & stuck(step, slots, kept)).sum(),
        ok.size - ok.sum(),
        ok.size,
        np.sum(np.where(ok, raw, 0).astype(np.float64) ** 2),
        np.sum(moved**2),
        np.sum(held**2),
        np.sum(raw[at_rest].astype(np.float64) ** 2),
        np.sum(update**2),
        np.sum(moved * held),
        np.sum(raw[moving].astype(np.float64) * held),
        -np.sum(raw[moving].astype(np.float64) * moved),
    )


def stuck(step: Settings, slots: list[np.ndarray], after: list[np.ndarray]) -> np.ndarray:
    """Where a memory of squares does not change with a gradient, or is as large as its type can hold."""
    result: Any = np.False_
    for slot, before, new in zip(step.rule.slots.values(), slots, after, strict=True):
        if slot.kind == "scale":
            values = decode(before)
            largest = 1e38 if before.dtype == np.uint16 else np.finfo(before.dtype).max / 2
            low = before.dtype.itemsize == 2
            result = result | (values >= largest)
            if step.rule.lazy_exact or low:
                result = result | (decode(new) == values)
    return np.asarray(result)


def common(slot: np.ndarray, x: np.ndarray) -> bool:
    """Whether a slot is one number for all of several rows."""
    return len(slot) == 1 and len(x) != 1


def fresh_memory(step: Settings, x: np.ndarray, slots: list[np.ndarray]) -> list[np.ndarray]:
    """The memory as it was before the first step."""
    made = []
    for slot, kept in zip(step.rule.slots.values(), slots, strict=True):
        value = decode(x) if slot.initial == "x" else step.initial(slot)
        made.append(encode(np.full(kept.shape, value, decode(kept).dtype), kept))
    return made


def steady_memory(step: Settings, g: np.ndarray, slots: list[np.ndarray], t: int, squares: bool) -> list[np.ndarray]:
    """The memory of velocities, and of squares, as it were if all gradients so far had been g; the rest as it is."""
    made, raw = [], decode(g).astype(np.float64)
    for name, kept in zip(step.rule.slots, slots, strict=True):
        square, velocity = squares and weight_of(step, name, "squares", t), weight_of(step, name, "gradients", t)
        value = square * raw**2 if square else velocity * raw if velocity else None
        if value is not None:
            shared = tuple(k for k in range(raw.ndim) if kept.shape[k] == 1)
            kept = encode(np.mean(value, axis=shared, keepdims=True).astype(decode(kept).dtype), kept)
        made.append(kept)
    return made


def row_squares(raw: np.ndarray, f: Any) -> np.ndarray:
    """The mean square of each row."""
    return np.mean(raw.astype(np.float64) ** 2, axis=tuple(range(1, raw.ndim)), keepdims=True).astype(f)


def norm_of(parameter: Tensor) -> float:
    """The Euclidean norm of this process's part, in float64."""
    part = local(parameter).detach().reshape(-1)
    dtype = torch.complex128 if part.is_complex() else torch.float64
    # A conversion of all of it at once would take twice its memory.
    return math.hypot(*(float(torch.linalg.vector_norm(some, dtype=dtype)) for some in part.split(BLOCK)))


def has_gradient(parameter: Tensor) -> bool:
    """Whether there is one here: to gather parts that are split otherwise would be to wait for all processes."""
    return parameter.grad is not None and is_aligned(parameter)


def gradient_of(parameter: Tensor, every: int = 1) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
    """The gradient of this process; of a sparse one, its distinct rows and the sum of each one's values.

    Args:
        parameter: the parameter.
        every: of a dense gradient, one row out of this many is taken.
    """
    gradient = own_gradient(parameter)
    if not gradient.is_sparse:
        return np.atleast_1d(array((gradient[::every] if every > 1 else gradient).cpu()))
    rows = rows_of(gradient.cpu())
    return merge(rows.ids.numpy(), array(rows.values), gradient.shape[0])


def gradient_size(parameter: Tensor) -> int:
    """The number of coordinates of a dense gradient; of a sparse one, of its distinct rows."""
    gradient = own_gradient(parameter)
    if not gradient.is_sparse:
        return gradient.numel() * (2 if gradient.is_complex() else 1)
    rows = torch.unique(gradient._indices()[0]).numel()
    return rows * (gradient.numel() // max(len(gradient), 1)) * (2 if gradient.is_complex() else 1)


def statistics_of_groups(memories: list[tuple[Tensor, Memory, Settings]]) -> dict[int, dict[str, np.ndarray]]:
    """What the next step of each parameter needs to know of its group, by the id of the parameter."""
    groups: dict[int, list[tuple[Tensor, Memory, Settings]]] = {}
    for parameter, known, step in memories:
        if step.is_of_group and has_gradient(parameter):
            groups.setdefault(id(step), []).append((parameter, known, step))
    found = {}
    for group in groups.values():
        views = [View(parameter, known, step, {}) for parameter, known, step in group]
        parts = [(view.x, gradient_of(view.parameter), view.state) for view in views]
        driver.measure_group(group[0][2], parts)
        found |= {id(view.parameter): view.state.given for view in views}
    return found
