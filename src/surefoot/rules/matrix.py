"""Rules of whole arrays, for methods that multiply a gradient by matrices or decompose it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from surefoot.rules.checks import check_hyper, check_signature, check_slots, trial_coefficients
from surefoot.rules.record import Rule
from surefoot.rules.slots import RuleError, Slot


def matrix(shape: Callable[[tuple[int, ...]], tuple[int, ...]], initial: float | str = 0.0) -> Slot:
    """A slot of a matrix rule: an array of the shape that a function computes from the parameter's.

    >>> matrix(lambda shape: (shape[0], shape[0])).shape((2, 3))
    (2, 2)
    """
    return Slot("matrix", initial, "tensor", shape)


@dataclass(frozen=True, eq=False, repr=False)
class MatrixRule(Rule):
    """An update rule of whole arrays: x ← x − update. Arguments that are not listed here are those of Rule.

    NumPy runs the function as it is, so it may loop and call other functions; a step takes place as a whole or not at
    all, for dense gradients.

    Args:
        function: (x, g, *slots, *coefficients) -> (update, *slots after the step). It may use operators, `@` among
            them, methods that arrays of all libraries have, and `surefoot.ops`, with `ops.eigh` and `ops.svd`; it does
            not change its arguments.
        slots: also `matrix(shape)`.
        dimensions: the least number of dimensions of a parameter.
        rates: takes by name x, slots and coefficients; -> the effective learning rate of each coordinate.

    Raises:
        RuleError: naming the rule and what is wrong with it.

    >>> from surefoot.rules import positive
    >>> def spectral(x, g, lr):
    ...     U, _, V = ops.svd(g, full_matrices=False)
    ...     return (lr * U @ V,)
    >>> from surefoot import ops
    >>> MatrixRule(spectral, hyper={"lr": positive(0.1)}, dimensions=2)
    <rule spectral>
    """

    whole: ClassVar[bool] = True
    dimensions: int = 1  # pyright: ignore[reportIncompatibleVariableOverride]
    rates: Callable[..., Any] | None = None

    @property
    def leading(self) -> tuple[str, ...]:
        return "x", "g", *self.slots

    @property
    def results(self) -> tuple[str, ...]:
        return ("direction",)

    def _check(self) -> None:
        check_slots(self)
        check_hyper(self)
        for name in ("statistics", "rescale", "lazy_exact", "zero_grad_steps", "from_origin"):
            if getattr(self, name):
                raise RuleError(f"{self.name}: {name} is for rules of coordinates; leave it out")
        if found := [name for name in self.scalars if self.slots[name].shape is not None]:
            raise RuleError(f"{self.name}: coefficients take {found[0]!r}, a matrix; expected scalar() slots")
        check_signature(self)
        self._check_trial()

    def _check_trial(self) -> None:
        """One step, of float32: counts, shapes and dtypes of what the functions return."""
        shape = (2,) * (self.dimensions - 1) + (3,)
        x = np.linspace(0.5, 1, int(np.prod(shape)), dtype=np.float32).reshape(shape)
        values = map(np.float32, trial_coefficients(self))
        shapes = {name: shape if s.kind == "direction" else () for name, s in self.slots.items()}
        shapes |= {name: s.shape(shape) for name, s in self.slots.items() if s.shape is not None}
        slots = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
        try:
            with np.errstate(all="ignore"):
                result = self(x, x, *slots.values(), *values)
        except Exception as error:
            raise RuleError(f"{self.name}: a trial step of a parameter of shape {shape} failed: {error}") from error
        expected = {"update": shape} | shapes
        if not isinstance(result, tuple) or len(result) != len(expected):
            found = f"{len(result)} values" if isinstance(result, tuple) else "one value"
            raise RuleError(f"{self.name}: the function returns {found}; expected a tuple of {', '.join(expected)}")
        for (name, shape), value in zip(expected.items(), result, strict=True):
            if np.shape(value) != shape or np.asarray(value).dtype != np.float32:
                raise RuleError(
                    f"{self.name}: {name} after the step is {np.asarray(value).dtype} of shape {np.shape(value)}; "
                    f"expected float32 of shape {shape}, as all arguments are float32"
                )


def matrix_rule(**description) -> Callable[[Callable[..., tuple]], MatrixRule]:
    """Decorator that makes a MatrixRule of a function; the arguments are those of MatrixRule."""
    return lambda function: MatrixRule(function, **description)
