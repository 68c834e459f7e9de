"""`Step`: settings and an engine, with which parameters are stepped."""

import numpy as np

from surefoot.engines import driver, registry
from surefoot.engines.driver import Engine
from surefoot.engines.settings import Settings
from surefoot.engines.state import State
from surefoot.rules import Rule


class Step(Settings):
    """One optimizer step: a rule, its hyperparameters, and everything that is done around it.

    Args:
        rule: a Rule or the name of one.
        engine: "cpu" (Numba) or "reference" (NumPy; slow, obvious, the same bits).
        clock: "step", or "row": bias corrections count the steps in which a row had a gradient (adam and its kind).
        granularity: "coordinate", "row" (one rate per row of the parameters) or "tensor" (one rate).
        convention: take the defaults of that library ("pytorch", "keras", …), see Rule.conventions.
        weight_decay: coupled L2: this times the parameter is added to the gradient.
        decoupled_weight_decay: the parameter is first multiplied by 1 − lr · this.
        l1, l2: penalties, applied by a proximal step in the metric of the rule (exact zeros under l1).
        clip_value, clip_norm: bounds for each gradient coordinate, and for the gradient's Euclidean norm.
        maximize: step uphill.
        cautious: only coordinates move whose direction agrees in sign with the gradient.
        nonfinite: "raise" (skip such coordinates, then raise), "skip" (and only count), "propagate".
        stochastic_rounding: a seed; bfloat16 parameters are then rounded up or down at random, right on average.
        lazy: for sparse gradients. "exact": rows without a gradient catch up when next touched, as if they had been
            stepped with zero gradients; "touched": rows without a gradient are skipped.
        average: keep the average of the iterates, weighted by their learning rates, in state.average.
        state_dtype: the type of the memory; by default float64 for float64 parameters and float32 for all others.
        threads: how many threads to use; by default all that engines.set_threads allows.
        name: what errors call the parameters.
        **hyper: the rule's hyperparameters; `lr` may be a schedule: a function of t, a written one such as
            "polynomial:0.1:1" (see schedules.FORMS), or "path/to/file.py:name" for a function in a file, which is run.

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

    def __init__(self, rule: str | Rule, *, engine: str = registry.DEFAULT, **settings):
        super().__init__(rule, **settings)
        self._one_of("engine", engine, registry.names("arrays"))
        self.engine = engine

    def __repr__(self) -> str:
        settings = ", ".join(f"{key}={value!r}" for key, value in self.hyper.items())
        return f"Step({self.rule.name!r}, engine={self.engine!r}, granularity={self.granularity!r}, {settings})"

    @property
    def _engine(self) -> Engine:
        return registry.imported(registry.MATRICES) if self.rule.whole else registry.load(self.engine, "arrays")

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
