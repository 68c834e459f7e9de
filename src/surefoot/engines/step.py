"""What one step of a rule does to memory, whatever the engine: the settings around a rule, its state, and the checks.

`Step` holds the rule and everything around it; `State` holds what the rule remembers. The engines (`reference.py`,
`cpu/`) only differ in how fast they do what is described here.
"""

from __future__ import annotations

import functools
import importlib
import math
import numbers
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from surefoot import pages, rules
from surefoot.rules import Rule, Slot

ENGINES = {"cpu": "surefoot.engines.cpu", "reference": "surefoot.engines.reference"}
GRANULARITIES = ("coordinate", "row", "tensor")
ARITHMETIC = {"float64": "float64", "float32": "float32", "float16": "float32", "bfloat16": "float32"}
"""The type in which each storage type is computed. bfloat16 arrays are uint16 to NumPy."""


class NonFiniteError(ArithmeticError):
    """Gradients that were not finite, or whose square overflows: those coordinates were left as they were."""


class Around(NamedTuple):
    """The numbers around the rule at one step, in the order in which they act.

    g ← clip(scale · g, ±clip) + weight_decay · x;  x ← keep · x;  the rule;
    x ← sgn(x) max(|x| − rate · l1, 0) / (1 + rate · l2).
    """

    scale: float = 1.0
    clip: float = math.inf
    weight_decay: float = 0.0
    keep: float = 1.0
    l1: float = 0.0
    l2: float = 0.0


@dataclass
class State:
    """What a rule remembers about one array of parameters.

    Attributes:
        slots: the rule's memory by name. A slot that takes the granularity has the parameters' shape, (n, 1, …) with
            one number per row, or (1, 1, …) with one for the tensor.
        t: the number of steps taken.
        last: per row, the last step in which it took part; only where rows catch up when next touched.
        history: (step, coefficients, around) from that step on, for rows that have yet to catch up; only appended to.
        average: the average of the iterates, weighted by their learning rates, where it is asked for.
        average_seen: per row, the weight of the average up to the row's last touch.
        weight: the sum of the learning rates so far.
        skipped: coordinates that were left as they were because something was not finite, in all steps.
        columns: the history as arrays, which an engine keeps here.
    """

    slots: dict[str, np.ndarray]
    t: int = 0
    last: np.ndarray | None = None
    history: list[tuple[int, tuple, Around]] = field(default_factory=list)
    average: np.ndarray | None = None
    average_seen: np.ndarray | None = None
    weight: float = 0.0
    skipped: int = 0
    columns: Columns | None = field(default=None, repr=False, compare=False)


class Columns:
    """A state's history as arrays. It may get an entry at every step, so they grow with it and are not made anew.

    Args:
        history: the list that the arrays follow.
        dtype: the type of the coefficients and of the numbers around the rule.
    """

    def __init__(self, history: list, dtype: str):
        self.history, self.dtype, self.count = history, dtype, 0
        coefficients, around = (len(numbers) for numbers in history[0][1:])
        self.arrays = np.empty(0, np.int64), np.empty((0, coefficients), dtype), np.empty((0, around), dtype)

    def upto_now(self) -> tuple[np.ndarray, ...]:
        """The first step of each entry, its coefficients, and its numbers around the rule."""
        size = len(self.history)
        if size > len(self.arrays[0]):
            self.arrays = tuple(np.resize(array, (2 * size, *array.shape[1:])) for array in self.arrays)
        for column, array in enumerate(self.arrays):
            if self.count < size:
                array[self.count : size] = [entry[column] for entry in self.history[self.count :]]
        self.count = size
        return tuple(array[:size] for array in self.arrays)


class Step:
    """One optimizer step: a rule, its hyperparameters, and everything that is done around it.

    Args:
        rule: a Rule or the name of one.
        engine: "cpu" (Numba) or "reference" (NumPy; slow, obvious, the same bits).
        granularity: "coordinate", "row" (one rate per row of the parameters) or "tensor" (one rate).
        convention: take the defaults of that library ("pytorch", "keras", …), see Rule.conventions.
        weight_decay: coupled L2: this times the parameter is added to the gradient.
        decoupled_weight_decay: the parameter is first multiplied by 1 − lr · this.
        l1, l2: penalties, applied by a proximal step in the metric of the rule (exact zeros under l1).
        clip_value, clip_norm: bounds for each gradient coordinate, and for the gradient's Euclidean norm.
        maximize: step uphill.
        nonfinite: "raise" (leave such coordinates as they are, then raise), "skip" (and only count), "propagate".
        stochastic_rounding: a seed; bfloat16 parameters are then rounded up or down at random, right on average.
        lazy: for sparse gradients. "exact": rows that take no part catch up when next touched, as if they had been
            stepped with zero gradients; "touched": rows that take no part are left alone.
        average: keep the average of the iterates, weighted by their learning rates, in state.average.
        state_dtype: the type of the memory; by default float64 for float64 parameters and float32 for all others.
        threads: how many threads to use; by default all that engines.set_threads allows.
        name: what errors call the parameters.
        **hyper: the rule's hyperparameters; `lr` may be a schedule, a function of t.

    Raises:
        RuleError, ValueError: for settings that the rule cannot honour; nothing is ignored.

    >>> import numpy as np
    >>> step = Step("adagrad", lr=0.5, engine="reference")
    >>> x = np.array([1.0, 2.0])
    >>> state = step.init(x)
    >>> step.dense(x, np.array([3.0, 0.0]), state)
    >>> x
    array([0.50000003, 2.        ])
    """

    def __init__(
        self,
        rule: str | Rule,
        *,
        engine: str = "cpu",
        granularity: str = "coordinate",
        convention: str | None = None,
        weight_decay: float = 0.0,
        decoupled_weight_decay: float | None = None,
        l1: float = 0.0,
        l2: float = 0.0,
        clip_value: float = math.inf,
        clip_norm: float = math.inf,
        maximize: bool = False,
        nonfinite: str = "raise",
        stochastic_rounding: int | None = None,
        lazy: str = "exact",
        average: bool = False,
        state_dtype: str | None = None,
        threads: int | None = None,
        name: str = "parameters",
        **hyper,
    ):
        base = rules.get(rule)
        # A rule with penalties of its own takes them; otherwise they are a proximal step around it.
        own = {key: value for key, value in (("l1", l1), ("l2", l2)) if key in base.hyper and value}
        self.hyper = base.settings(convention, **hyper, **own)
        self.rule = base.resolve(self.hyper)
        self.l1, self.l2 = (0.0 if "l1" in base.hyper else l1), (0.0 if "l2" in base.hyper else l2)
        self.name = name
        self.granularity, self.lazy, self.nonfinite, self.engine_name = granularity, lazy, nonfinite, engine
        self._one_of("engine", engine, ENGINES)
        self._one_of("granularity", granularity, GRANULARITIES)
        self._one_of("lazy", lazy, ("exact", "touched"))
        self._one_of("nonfinite", nonfinite, ("raise", "skip", "propagate"))
        self.weight_decay = weight_decay
        if decoupled_weight_decay is None:
            decoupled_weight_decay = base.options.get("decoupled_weight_decay", 0.0)
        self.decoupled_weight_decay = decoupled_weight_decay
        self.clip_value, self.clip_norm, self.maximize = clip_value, clip_norm, maximize
        for key in ("weight_decay", "decoupled_weight_decay", "l1", "l2"):
            value = getattr(self, key)
            if not (is_number(value) and math.isfinite(value) and value >= 0):
                raise ValueError(f"{name}: {key} must be a finite number of at least 0, got {value!r}")
        for key in ("clip_value", "clip_norm"):
            if not (is_number(getattr(self, key)) and getattr(self, key) > 0):
                raise ValueError(f"{name}: {key} must be above 0, got {getattr(self, key)!r}")
        if granularity != "coordinate" and not any(slot.kind == "scale" for slot in self.rule.slots.values()):
            raise ValueError(
                f"{name}: granularity {granularity!r} would change nothing: {self.rule.name} has no memory of squared "
                "gradients to share; leave it at 'coordinate'"
            )
        if self.rule.from_origin and (self.l1 or self.l2 or self.decoupled_weight_decay):
            raise ValueError(
                f"{name}: {self.rule.name} recomputes the parameters from the origin at each step, so l1, l2 or "
                f"decoupled_weight_decay cannot act on them afterwards; use the rule's own {self._own_penalties(base)}"
            )
        if state_dtype is not None:
            self._one_of("state_dtype", state_dtype, ARITHMETIC)
        if threads is not None and not (isinstance(threads, int) and threads >= 1):
            raise ValueError(f"{name}: threads must be a whole number of at least 1, got {threads!r}")
        if stochastic_rounding is not None and not isinstance(stochastic_rounding, int):
            raise ValueError(f"{name}: stochastic_rounding must be a seed, a whole number, got {stochastic_rounding!r}")
        self.stochastic_rounding, self.average, self.state_dtype = stochastic_rounding, average, state_dtype
        self.threads = threads
        self.engine = importlib.import_module(ENGINES[engine])

    def __getstate__(self) -> dict:
        return {key: value for key, value in vars(self).items() if key != "engine"}

    def __setstate__(self, state: dict) -> None:
        vars(self).update(state)
        self.engine = importlib.import_module(ENGINES[self.engine_name])

    def __repr__(self) -> str:
        settings = ", ".join(f"{key}={value!r}" for key, value in self.hyper.items())
        return f"Step({self.rule.name!r}, engine={self.engine_name!r}, granularity={self.granularity!r}, {settings})"

    @staticmethod
    def _own_penalties(rule: Rule) -> str:
        return ", ".join(key for key in ("l1", "l2") if key in rule.hyper) or "settings"

    def _one_of(self, key: str, value: Any, allowed) -> None:
        if value not in allowed:
            raise ValueError(f"{self.name}: {key} must be one of {', '.join(allowed)}, got {value!r}")

    # What acts at step t

    def coefficients(self, t) -> tuple:
        """The rule's coefficients at step t, in float64."""
        return self.rule.evaluate(t, self.hyper)

    def spared_coefficients(self, t) -> tuple:
        """The same for a bias, which the rule's own penalties spare."""
        return self.rule.evaluate(t, self.hyper | {key: 0.0 for key in ("l1", "l2") if key in self.hyper})

    def lr(self, t) -> float:
        """The learning rate at step t."""
        return self.rule.lr(t, self.hyper)

    def around(self, t, norm: float | None = None) -> Around:
        """The numbers around the rule at step t; `norm` is the gradient's norm, for clip_norm."""
        scale = -1.0 if self.maximize else 1.0
        if norm is not None and norm > self.clip_norm:
            scale *= self.clip_norm / norm
        keep = 1.0 - self.lr(t) * self.decoupled_weight_decay if self.decoupled_weight_decay else 1.0
        return Around(scale, self.clip_value, self.weight_decay, keep, self.l1, self.l2)

    def change_lr(self, lr) -> None:
        """Takes another learning rate, or a schedule, from the next step on.

        Raises:
            RuleError: if it lies out of its bounds.
        """
        if lr is not self.hyper["lr"] and lr != self.hyper["lr"]:
            self.hyper["lr"] = self.rule.settings(lr=lr)["lr"]

    @functools.cached_property
    def adjusts(self) -> bool:
        """Whether the gradient is changed before the rule sees it."""
        bounded = math.isfinite(self.clip_norm) or math.isfinite(self.clip_value)
        return bounded or self.maximize or self.weight_decay > 0

    @functools.cached_property
    def decays(self) -> bool:
        """Whether parameters are shrunk before the rule."""
        return self.decoupled_weight_decay > 0

    @functools.cached_property
    def shrinks(self) -> bool:
        """Whether a proximal step follows the rule."""
        return bool(self.l1 or self.l2)

    @functools.cached_property
    def regularized(self) -> bool:
        """Whether a coordinate with zero gradient still shrinks."""
        return self.decays or self.shrinks

    @functools.cached_property
    def shared(self) -> bool:
        """Whether several coordinates share one rate."""
        return self.granularity != "coordinate"

    @functools.cached_property
    def shares(self) -> tuple[bool, ...]:
        """Whether each slot holds one number for several coordinates, in the order of the rule's slots."""
        return tuple(self.shared and slot.kind == "scale" for slot in self.rule.slots.values())

    @functools.cached_property
    def in_common(self) -> tuple[bool, ...]:
        """Whether each slot holds one number for the whole tensor."""
        return tuple(self.granularity == "tensor" and shares for shares in self.shares)

    # Memory

    def init(self, x: np.ndarray) -> State:
        """The state before the first step of the parameters x.

        Args:
            x: parameters of any shape: float64, float32, float16, or uint16 holding bfloat16.
        """
        x = np.asarray(x)
        storage = storage_of(x, self.name)
        if self.stochastic_rounding is not None and storage != "bfloat16":
            raise ValueError(f"{self.name}: stochastic_rounding is for bfloat16 parameters; these are {storage}")
        slot_type = self.state_dtype or ARITHMETIC[storage]
        numpy_type = np.uint16 if slot_type == "bfloat16" else np.dtype(slot_type)
        slots = {}
        for key, slot in self.rule.slots.items():
            shape, initial = self.slot_shape(x.shape, slot.kind), self.initial(slot)
            value = to_bfloat16(np.float32(initial)) if slot_type == "bfloat16" else initial
            slots[key] = pages.empty(shape, numpy_type)
            slots[key][...] = value
        state = State(slots)
        if self.average:
            state.average = decode(x).astype(np.float64)
        return state

    @property
    def layout(self) -> tuple:
        """What decides how the memory is laid out."""
        return self.rule, self.granularity, self.state_dtype

    def initial(self, slot: Slot) -> float:
        """What a slot holds before the first step."""
        return self.hyper[slot.initial] if isinstance(slot.initial, str) else slot.initial

    def slot_shape(self, shape: tuple[int, ...], kind: str) -> tuple[int, ...]:
        """The shape of a slot for parameters of that shape."""
        if kind == "direction" or self.granularity == "coordinate":
            return shape
        if self.granularity == "row":
            return (*shape[:1], *(1 for _ in shape[1:]))
        return tuple(1 for _ in shape)

    # The drivers

    def dense(self, x: np.ndarray, g: np.ndarray, state: State) -> None:
        """Steps x in place along a dense gradient of the same shape and type.

        Raises:
            ValueError: if shapes, types or memory do not fit; nothing is changed then.
            NonFiniteError: after the step, if nonfinite="raise" and some coordinate had to be left as it was.
        """
        self._check_parameters(x, state)
        self._arrays(gradient=g)
        if g.shape != x.shape or g.dtype != x.dtype:
            raise ValueError(
                f"{self.name}: the gradient has shape {g.shape} and type {g.dtype}; expected {x.shape} and {x.dtype}"
            )
        t = state.t + 1
        self.settle(x, state)
        norm = self.engine.norm(self, g) if math.isfinite(self.clip_norm) else None
        skipped = self.engine.dense(self, x, g, state, t, self.coefficients(t), self.around(t, norm))
        self._finish(x, state, t, skipped)

    def rows(self, x: np.ndarray, ids: np.ndarray, values: np.ndarray, state: State) -> None:
        """Steps the rows of x that a sparse gradient names; equal ids are summed first, in order of occurrence.

        Args:
            x: parameters, (n, …).
            ids: rows, (k,) int32 or int64, in any order, with duplicates.
            values: the gradient of each, (k, …) of x's type.
            state: from init(x).

        Raises:
            ValueError: if an id lies outside 0 … n − 1, shapes or types do not fit, or the rule or its regularization
                has no closed form for the rows left out and lazy="touched" was not asked for; nothing is changed then.
            NonFiniteError: as in dense.
        """
        self._check_parameters(x, state)
        gradient = self.group(x, ids, values)
        if state.t == 0 and x.flags.c_contiguous:
            pages.move_to_large_pages(x.ctypes.data, x.nbytes)
        self.grouped_rows(x, gradient, state)

    def group(self, x: np.ndarray, ids: np.ndarray, values: np.ndarray) -> tuple:
        """A sparse gradient as the engine takes it, equal ids side by side.

        Raises:
            ValueError: as in rows.
        """
        ids = np.asarray(ids)
        self._arrays(values=values)
        if x.ndim == 0:
            raise ValueError(f"{self.name}: a sparse gradient needs parameters with rows, got a single number")
        if ids.ndim != 1 or ids.dtype not in (np.int32, np.int64):
            raise ValueError(f"{self.name}: ids must be 1-D int32 or int64, got {ids.ndim}-D {ids.dtype}")
        if values.shape != (len(ids), *x.shape[1:]) or values.dtype != x.dtype:
            raise ValueError(
                f"{self.name}: values have shape {values.shape} and type {values.dtype}; "
                f"expected {(len(ids), *x.shape[1:])} and {x.dtype}"
            )
        self.check_left_out()
        try:
            return self.engine.grouped(ids, values, x.shape[0])
        except IndexError as wrong:
            raise ValueError(f"{self.name}: {wrong}") from None

    def grouped_rows(self, x: np.ndarray, gradient: tuple, state: State) -> None:
        """The same as rows, along what group made of a gradient; the memory must fit."""
        t = state.t + 1
        coefficients = self.coefficients(t)
        self._remember(x, state, t)
        norm = self.engine.rows_norm(x, gradient) if math.isfinite(self.clip_norm) else None
        skipped = self.engine.rows(self, x, gradient, state, t, coefficients, self.around(t, norm))
        if state.last is not None and self.rule.from_origin:
            self._note(state, t)
        self._finish(x, state, t, skipped, rows=True)

    def settle(self, x: np.ndarray, state: State) -> None:
        """Lets every row that sparse gradients left out catch up, so that x is what dense steps would have made it."""
        if state.last is not None:
            self.engine.settle(self, x, state)
            state.last[:] = state.t
            state.history = state.history[-1:]
        if state.average_seen is not None:
            self.engine.settle_average(x, state)

    def linear(
        self,
        examples,
        y: np.ndarray,
        order: np.ndarray,
        x: np.ndarray,
        state: State,
        *,
        loss: str = "squared",
        batch_size: int = 1,
    ) -> None:
        """Steps the weights of a linear model through the examples, in the given order, a mini-batch at a time.

        The loss is averaged over each mini-batch; the last one may be smaller. Penalties spare the bias.

        Args:
            examples: (m, d), a dense array or a SciPy CSR matrix, of x's type (float32 where x is stored in 16 bits).
            y: targets, (m,), of the same type; 0 or 1 for the logistic loss.
            order: numbers of the examples, int64, in the order of the steps; see engines.order.
            x: (d + 1,): the weights, then the bias.
            state: from init(x).
            loss: "squared", ½(ŷ − y)², or "logistic", log(1 + e^ŷ) − y ŷ.

        Raises:
            ValueError: if something does not fit; nothing is changed then.
            NonFiniteError: as in dense.
        """
        self._check_parameters(x, state)
        examples, y, order = self._check_examples(examples, y, order, x, loss, batch_size)
        if len(order) == 0:
            return
        self.settle(x, state)
        skipped = self.engine.linear(self, examples, y, order, x, state, loss, batch_size)
        self._finish(x, state, state.t, skipped, counted=True)

    def rates(self, x: np.ndarray, state: State) -> np.ndarray:
        """The effective learning rate of every coordinate: what the rule's next step would multiply a direction by."""
        from surefoot.engines import reference

        return reference.rates(self, x, state)

    # Checks and bookkeeping

    @functools.cached_property
    def catches_up(self) -> bool:
        """Whether rows that a sparse gradient leaves out have something to make up for."""
        if self.lazy == "touched":
            return False
        return self.regularized or callable(self.rule.idle) or self.rule.from_origin

    @functools.cached_property
    def no_closed_form(self) -> str | None:
        """Why rows left out cannot catch up exactly; None if they can."""
        rule = self.rule
        if self.weight_decay:
            return "weight_decay adds to every gradient (decoupled_weight_decay or l2 have a closed form)"
        if not rule.steady and rule.idle is None:
            return f"{rule.name} has no closed form for steps with zero gradient"
        if self.regularized and not rule.steady:
            return f"the rate of {rule.name} changes while a row is left out"
        if (self.regularized or rule.from_origin) and self.granularity == "tensor":
            return "the tensor's common rate changes while a row is left out"
        if self.average and self.catches_up:
            return "the average needs rows that stand still while they are left out"
        return None

    def check_left_out(self) -> None:
        """Raises ValueError where rows that a sparse gradient leaves out have to catch up exactly and cannot."""
        if self.lazy == "exact" and (reason := self.no_closed_form) is not None:
            raise ValueError(
                f"{self.name}: rows that a sparse gradient leaves out cannot catch up exactly: {reason}; "
                "ask for lazy='touched' to leave them alone"
            )

    def _remember(self, x: np.ndarray, state: State, t: int) -> None:
        """Prepares the state for rows that are left out from now on."""
        if self.average and state.average_seen is None:
            state.average_seen = np.full(x.shape[0], state.weight)
        if not self.catches_up:
            if state.last is not None:  # of steps with other settings
                self.settle(x, state)
                state.last, state.history = None, []
            return
        if state.last is None:
            state.last = np.full(x.shape[0], state.t, np.int64)
        if not state.history or not self.rule.from_origin:
            self._note(state, t)

    def _note(self, state: State, t: int) -> None:
        """Notes the numbers that act at step t, for rows that it leaves out."""
        now = (self.coefficients(t), self.around(t)._replace(scale=1.0))
        if self.rule.from_origin:
            # The parameters are a function of the memory and of the last step's coefficients alone.
            state.history = [(1, *now)]
        elif not state.history or state.history[-1][1:] != now:
            state.history.append((t, *now))

    def _finish(self, x, state: State, t: int, skipped: int, rows: bool = False, counted: bool = False) -> None:
        state.t = t
        if not counted:
            lr = float(self.lr(t))
            state.weight += lr
            if state.average is not None and not rows and state.weight > 0:
                self.engine.blend(state.average, x, lr / state.weight)
        if not rows:
            # All rows took part.
            if state.last is not None:
                state.last[:] = t
            if state.average_seen is not None:
                state.average_seen[:] = state.weight
        if skipped:
            state.skipped += skipped
            if self.nonfinite == "raise":
                raise NonFiniteError(
                    f"{self.name}: {skipped:,} of {x.size:,} coordinates had a gradient, square or step that is not "
                    f"finite at step {t}; they were left as they were, all others were stepped "
                    "(nonfinite='skip' only counts them)"
                )

    def _arrays(self, **arrays) -> None:
        for what, array in arrays.items():
            if not isinstance(array, np.ndarray):
                raise ValueError(f"{self.name}: {what} must be a NumPy array, got a {type(array).__name__}")

    def _check_parameters(self, x: np.ndarray, state: State) -> None:
        self._arrays(parameters=x)
        storage_of(x, self.name)
        if not x.flags.writeable:
            raise ValueError(f"{self.name}: the parameters are read-only; expected an array that can be written")
        for key, slot in self.rule.slots.items():
            if key not in state.slots:
                raise ValueError(
                    f"{self.name}: the memory has no slot {key!r}, it has {', '.join(state.slots) or 'none'}; "
                    "expected the state that init(x) made"
                )
            shape = self.slot_shape(x.shape, slot.kind)
            if state.slots[key].shape != shape:
                raise ValueError(f"{self.name}: slot {key!r} has shape {state.slots[key].shape}; expected {shape}")
            storage_of(state.slots[key], f"{self.name}: slot {key!r}")
            if not state.slots[key].flags.writeable:
                raise ValueError(f"{self.name}: slot {key!r} is read-only; expected an array that can be written")

    def _check_examples(self, examples, y, order, x, loss, batch_size):
        self._one_of("loss", loss, ("squared", "logistic"))
        self._arrays(targets=y)
        if not hasattr(examples, "shape") or not hasattr(examples, "dtype"):
            raise ValueError(
                f"{self.name}: examples must be a NumPy array or a SciPy CSR matrix, got a {type(examples).__name__}"
            )
        if x.ndim != 1:
            raise ValueError(f"{self.name}: the weights must be 1-D, (features + 1,), got shape {x.shape}")
        if self.granularity == "row":
            raise ValueError(f"{self.name}: the weights of a linear model are one row; use granularity='tensor'")
        if not (isinstance(batch_size, (int, np.integer)) and batch_size >= 1):
            raise ValueError(f"{self.name}: batch_size must be a whole number of at least 1, got {batch_size!r}")
        if len(examples.shape) != 2 or examples.shape[1] + 1 != len(x):
            raise ValueError(
                f"{self.name}: examples have shape {examples.shape} and weights {x.shape}; "
                "expected (m, d) and (d + 1,), the bias last"
            )
        kind = ARITHMETIC[storage_of(x, self.name)]
        if examples.dtype != kind or y.dtype != kind or y.shape != (examples.shape[0],):
            raise ValueError(
                f"{self.name}: examples are {examples.dtype} and targets {y.dtype} {y.shape}; expected "
                f"{kind} and {kind} ({examples.shape[0]},)"
            )
        order = np.asarray(order)
        if order.ndim != 1 or not np.issubdtype(order.dtype, np.integer):
            raise ValueError(f"{self.name}: order must be 1-D whole numbers, got {order.ndim}-D {order.dtype}")
        order = np.ascontiguousarray(order, np.int64)
        if len(order) and (order.min() < 0 or order.max() >= examples.shape[0]):
            raise ValueError(f"{self.name}: order names examples outside 0 … {examples.shape[0] - 1}")
        if isinstance(examples, np.ndarray):
            return np.ascontiguousarray(examples), np.ascontiguousarray(y), order
        if getattr(examples, "format", None) != "csr":
            raise ValueError(f"{self.name}: examples must be a NumPy array or a SciPy CSR matrix, got {examples!r}")
        indices = examples.indices
        if len(indices) and (indices.min() < 0 or indices.max() >= examples.shape[1]):
            raise ValueError(f"{self.name}: the examples name features outside 0 … {examples.shape[1] - 1}")
        return (examples.indptr, indices, examples.data), np.ascontiguousarray(y), order

    @functools.cached_property
    def sweeps(self) -> bool:
        """Whether a linear model's every weight is stepped in every mini-batch: none can be left out exactly."""
        if self.lazy == "touched":
            return False
        # What a tensor shares moves on in every mini-batch, so a weight cannot take it back to its own last one.
        shared_memory_moves = self.shared and callable(self.rule.idle)
        return self.average or shared_memory_moves or self.no_closed_form is not None


def is_number(value) -> bool:
    return isinstance(value, numbers.Real)


STORAGE = {np.dtype("uint16" if name == "bfloat16" else name): name for name in ARITHMETIC}


def storage_of(x: np.ndarray, name: str = "parameters") -> str:
    """The storage type of parameters: float64, float32, float16, or bfloat16 for uint16."""
    try:
        return STORAGE[x.dtype]
    except KeyError:
        expected = ", ".join(ARITHMETIC)
        raise ValueError(f"{name}: type {x.dtype} is not supported; expected {expected} (as uint16)") from None


def to_bfloat16(values) -> np.ndarray:
    """float32 to the nearest bfloat16, ties to even, as uint16.

    >>> to_bfloat16(np.float32([1.0, 1.00390625])).tolist()
    [16256, 16256]
    """
    values = np.asarray(values, np.float32)
    bits = values.view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    return np.where(np.isnan(values), (bits >> np.uint32(16)) | np.uint32(0x40), rounded).astype(np.uint16)


def from_bfloat16(bits) -> np.ndarray:
    """bfloat16, as uint16, to float32: exact.

    >>> float(from_bfloat16(np.uint16(16256)))
    1.0
    """
    return (np.asarray(bits, np.uint16).astype(np.uint32) << np.uint32(16)).view(np.float32)


def decode(x: np.ndarray) -> np.ndarray:
    """The values of an array in the type they are computed in."""
    if x.dtype == np.uint16:
        return from_bfloat16(x)
    return x.astype(ARITHMETIC[x.dtype.name], copy=False)


def encode(values: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Computed values in the storage type of `like`, rounded to nearest."""
    with np.errstate(over="ignore"):
        return to_bfloat16(values) if like.dtype == np.uint16 else values.astype(like.dtype, copy=False)


def rounding_key(seed: int | None, t: int) -> int:
    """A 32-bit number, never 0, that makes the random bits of step t; 0 where nothing is rounded at random."""
    if seed is None:
        return 0
    mixed = (seed * 0x9E3779B97F4A7C15 + t * 0xD1B54A32D192ED03) & 0xFFFFFFFFFFFFFFFF
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    return ((mixed ^ (mixed >> 31)) & 0xFFFFFFFF) or 1


def order(examples: int, rng: np.random.Generator, replacement: bool = False) -> np.ndarray:
    """The order of one epoch: every example once, or as many draws with replacement.

    >>> sorted(order(3, np.random.default_rng(0)).tolist())
    [0, 1, 2]
    """
    return rng.integers(examples, size=examples) if replacement else rng.permutation(examples)


class Table(NamedTuple):
    """What acts in each of many steps, in float64: a row a step, or a single row where nothing depends on t."""

    coefficients: np.ndarray
    spared: np.ndarray
    around: np.ndarray
    lr: np.ndarray


def table(step: Step, first: int, steps: int) -> Table:
    """The coefficients (of weights, and of the bias, which penalties spare), the numbers around the rule, and the rate.

    Computed for all steps at once where the rule's `coefficients` and the schedule take arrays, else step by step.
    """
    ts = np.arange(first, first + steps)
    parts = (step.coefficients, step.spared_coefficients, step.around, lambda t: (step.lr(t),))
    try:
        columns = [stack(part(ts), steps) for part in parts]
    except (TypeError, ValueError):
        columns = [np.array([part(int(t)) for t in ts], float).reshape(steps, -1) for part in parts]
    coefficients, spared, around, lr = columns
    return Table(coefficients, spared, around, lr[:, 0])


def stack(columns: tuple, steps: int) -> np.ndarray:
    """Numbers and arrays of numbers as the columns of one array, of a single row where all are numbers."""
    stacked = np.empty((steps if any(np.ndim(column) for column in columns) else 1, len(columns)))
    for k, column in enumerate(columns):
        stacked[:, k] = column
    return stacked
