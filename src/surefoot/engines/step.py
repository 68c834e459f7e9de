"""`Step`: settings and an engine, with which parameters are stepped."""

from typing import Any

import numpy as np

from surefoot import losses
from surefoot.engines import driver
from surefoot.engines.driver import ENGINES, Engine
from surefoot.engines.numerics import ARITHMETIC, storage_of
from surefoot.engines.settings import Settings
from surefoot.engines.state import State
from surefoot.losses import Loss
from surefoot.rules import Rule


class Step(Settings):
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
        nonfinite: "raise" (skip such coordinates, then raise), "skip" (and only count), "propagate".
        stochastic_rounding: a seed; bfloat16 parameters are then rounded up or down at random, right on average.
        lazy: for sparse gradients. "exact": rows without a gradient catch up when next touched, as if they had been
            stepped with zero gradients; "touched": rows without a gradient are skipped.
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

    def __init__(self, rule: str | Rule, *, engine: str = "cpu", **settings):
        super().__init__(rule, **settings)
        self._one_of("engine", engine, ENGINES)
        self.engine = engine

    def __repr__(self) -> str:
        settings = ", ".join(f"{key}={value!r}" for key, value in self.hyper.items())
        return f"Step({self.rule.name!r}, engine={self.engine!r}, granularity={self.granularity!r}, {settings})"

    @property
    def _engine(self) -> Engine:
        return driver.engine(self.engine)

    def init(self, x: np.ndarray) -> State:
        """The state before the first step of the parameters x.

        Args:
            x: parameters of any shape: float64, float32, float16, or uint16 holding bfloat16.
        """
        return driver.init(self, x)

    def dense(self, x: np.ndarray, g: np.ndarray, state: State) -> None:
        """Steps x in place along a dense gradient of the same shape and type.

        Raises:
            ValueError: if shapes, types or memory do not fit; nothing is changed then.
            NonFiniteError: after the step, if nonfinite="raise" and some coordinate was skipped.
        """
        driver.dense(self, self._engine, x, g, state)

    def rows(self, x: np.ndarray, ids: np.ndarray, values: np.ndarray, state: State) -> None:
        """Steps the rows of x that a sparse gradient names; equal ids are summed first, in order of occurrence.

        Args:
            x: parameters, (n, …).
            ids: rows, (k,) int32 or int64, in any order, with duplicates.
            values: the gradient of each, (k, …) of x's type.
            state: from init(x).

        Raises:
            ValueError: if an id lies outside 0 … n − 1, shapes or types do not fit, or the rule or its regularization
                has no closed form for rows without a gradient and lazy="touched" is not set; nothing is changed then.
            NonFiniteError: as in dense.
        """
        driver.rows(self, self._engine, x, ids, values, state)

    def group(self, x: np.ndarray, ids: np.ndarray, values: np.ndarray) -> tuple:
        """A sparse gradient as the engine takes it, equal ids side by side.

        Raises:
            ValueError: as in rows.
        """
        return driver.group(self, self._engine, x, ids, values)

    def grouped_rows(self, x: np.ndarray, gradient: tuple, state: State) -> None:
        """The same as rows, along what group made of a gradient; the memory must fit."""
        driver.grouped_rows(self, self._engine, x, gradient, state)

    def flush(self, x: np.ndarray, state: State) -> None:
        """Lets every row catch up on steps without a gradient, so that x is what dense steps would have made it."""
        driver.flush(self, self._engine, x, state)

    def settle(self, x: np.ndarray, state: State) -> None:
        """The name that version 0.1 gave to `flush`."""
        self.flush(x, state)

    def rates(self, x: np.ndarray, state: State) -> np.ndarray:
        """The effective learning rate of every coordinate: what the rule's next step would multiply a direction by."""
        return driver.rates(self, x, state)

    def linear(
        self,
        examples,
        y: np.ndarray,
        order: np.ndarray,
        x: np.ndarray,
        state: State,
        *,
        loss: str | Loss = losses.FOR_NUMBERS,
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
            loss: a Loss or the name of one, with one output, and its own number at its default.

        Raises:
            ValueError: if something does not fit; nothing is changed then.
            NonFiniteError: as in dense.
        """
        driver.check_parameters(self, x, state)
        examples, y, order = self._check_examples(examples, y, order, x, loss, batch_size)
        if len(order) == 0:
            return
        self.flush(x, state)
        engine: Any = self._engine
        skipped = engine.linear(self, examples, y, order, x, state, loss, batch_size)
        driver.all_took_part(state, state.t)
        driver.report(self, x, state, state.t, skipped)

    def _check_examples(self, examples, y, order, x, loss, batch_size):
        if losses.get(loss).joint:
            raise ValueError(f"{self.name}: loss must be one with a single output, got {losses.get(loss).name!r}")
        driver.check_arrays(self, targets=y)
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
