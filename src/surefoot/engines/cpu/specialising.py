"""`specialise` gives the compiled copy of a driver for a rule, kept on disk. Numba is loaded only to compile it.

And what drivers take besides parameters and memory.
"""

import functools
import inspect
import pathlib
import re
import types
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from surefoot import ops
from surefoot.engines import around, losses
from surefoot.engines.reference import BLOCK, RUNNING_SUMS
from surefoot.engines.step import ARITHMETIC, Around, Step, rounding_key
from surefoot.native import Kernel, digest
from surefoot.rules import Rule, RuleError

APART = 32
"""Numbers between what two threads write, so that they share no line of a cache."""
SOURCES = ("compiling", "kernels", "lanes", "memory", "merging", "numba_ops")
"""The modules beside this one that kernels are made of."""


@dataclass(frozen=True)
class Kind:
    """What a driver is compiled for, besides the rule.

    Attributes:
        dtype: the type of the arithmetic, "float32" or "float64".
        shared: coordinates share a rate.
        adjusts: the gradient is changed before the rule sees it.
        decays: parameters are shrunk before the rule.
        shrinks: a proximal step follows the rule.
        catches_up: rows that were left out make up for it.
        propagate: values that are not finite go through.
        sweeps: a linear model steps all weights in every mini-batch.
        loss: the loss of a linear model.
        lanes: how many linear models learn at once, where that is known when compiling.
        normalizes: features are divided by their root mean square.
        averages: averages of the iterates are kept.
    """

    dtype: str
    shared: bool = False
    adjusts: bool = False
    decays: bool = False
    shrinks: bool = False
    catches_up: bool = False
    propagate: bool = False
    sweeps: bool = False
    loss: str = ""
    lanes: int = 0
    normalizes: bool = False
    averages: bool = False

    def __str__(self) -> str:
        flags = [name for name, value in vars(self).items() if value is True]
        lanes = f"{self.lanes}_lanes" if self.lanes else ""
        return "_".join(part for part in (self.dtype, *flags, self.loss, lanes) if part)

    @property
    def plain(self) -> bool:
        """Nothing is done around the rule."""
        return not (self.adjusts or self.decays or self.shrinks)


def kind_of(step: Step, storage: str, **more) -> Kind:
    """What drivers are compiled for that step parameters of a storage type."""
    return Kind(
        ARITHMETIC[storage],
        step.shared,
        step.adjusts,
        step.decays,
        step.shrinks,
        propagate=step.nonfinite == "propagate",
        **more,
    )


def numbers(kind: Kind, coefficients: tuple, around: Around) -> tuple[tuple, tuple]:
    """The coefficients and the numbers around the rule in the type of the arithmetic."""
    f = np.dtype(kind.dtype).type
    return tuple(map(f, coefficients)), () if kind.plain else tuple(map(f, around))


def numbers_of_steps(kind: Kind, step: Step, steps: np.ndarray) -> tuple[tuple, np.ndarray]:
    """Tables of the coefficients, of the numbers around the rule and of the keys of rounding, with a row for each of
    the different steps; and which row acts on each parameter, of which (k,) `steps` has the number of its step.
    """
    if (steps == steps[0]).all():
        different, acting = steps[:1], np.zeros(len(steps), np.int64)
    else:
        different, acting = np.unique(steps, return_inverse=True)
    moments = list(map(int, different))
    coefficients = np.array([tuple(map(float, step.coefficients(t))) for t in moments], kind.dtype)
    arounds = np.array([tuple(map(float, step.around(t))) for t in moments])
    keys = np.array([rounding_key(step.stochastic_rounding, t) for t in moments], np.uint32)
    return (coefficients, arounds, keys), acting


def workspaces(count: int, width: int, dtype: str) -> np.ndarray:
    """A row for each part."""
    return np.empty((count, width + APART), dtype)


def fingerprint(function: Callable) -> tuple:
    """What of a function's source decides what it computes."""
    code = function.__code__
    constants = tuple((type(c).__name__, c) for c in code.co_consts if not isinstance(c, (str, types.CodeType)))
    return code.co_code.hex(), constants, code.co_names, code.co_varnames


@functools.cache
def engine_fingerprint() -> str:
    """Stands for the files that kernels are compiled from, besides the rule's."""
    files = [pathlib.Path(module.__file__ or "") for module in (ops, around, losses)]
    files += [pathlib.Path(__file__).with_name(f"{name}.py") for name in SOURCES]
    return digest(BLOCK, RUNNING_SUMS, *(file.read_bytes() for file in files))


def has_file(function: Callable) -> bool:
    """Whether the function comes from a source file, and not from a notebook cell or a prompt."""
    try:
        return pathlib.Path(inspect.getsourcefile(function) or "").is_file()
    except TypeError:
        return False


@functools.cache
def specialise(driver: str, rule: Rule, kind: Kind) -> Kernel:
    """The compiled copy of a driver of `kernels` or `lanes` for a rule.

    It carries the rule's name and the fingerprint of all it is made of in its own name, by which it is kept on disk. A
    rule that no file backs is compiled for this process only.
    """
    idle = fingerprint(rule.idle) if callable(rule.idle) else rule.idle
    made_of = digest(fingerprint(rule.function), idle, rule.steady, rule.from_origin, kind, engine_fingerprint())
    name = f"{driver}__{re.sub(r'[^0-9a-zA-Z]+', '_', rule.name)}__{kind}__{made_of}"

    def compiled(arguments):
        from numba.core.errors import NumbaError

        from surefoot.engines.cpu.compiling import copy_of
        from surefoot.native.emitting import emit

        try:
            return emit(copy_of(driver, rule, kind, name), arguments)
        except NumbaError as error:
            reason = str(error).strip().splitlines()
            raise RuleError(f"{rule.name}: the rule does not compile: {reason[0]} … {reason[-1]}") from error

    return Kernel(name, compiled, kept=has_file(rule.function))
