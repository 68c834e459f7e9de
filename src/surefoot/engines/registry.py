"""The engines by name, and where the parts of each are: the only place that knows which there are."""

from __future__ import annotations

import functools
import importlib
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Parts:
    """What an engine computes. Each part is "module" or "module:name", imported when it is first needed, or the object
    itself; None where the engine does not have it.

    Attributes:
        arrays: steps of NumPy arrays, for `Step`; see `driver.Engine`.
        banks: models that learn from examples, for `ModelBank`; see `bank.Engine`.
        tensors: steps of torch's tensors, for `RuleOptimizer`; a subclass of `optim.backends.base.Backend`.
    """

    arrays: Any = None
    banks: Any = None
    tensors: Any = None


REGISTRY = {
    "cpu": Parts("surefoot.engines.cpu", "surefoot.engines.cpu.bank", "surefoot.optim.backends.cpu:CPUBackend"),
    "gpu": Parts(tensors="surefoot.optim.backends.gpu:GPUBackend"),
    "reference": Parts(
        "surefoot.engines.reference", "surefoot.engines.reference_bank", "surefoot.optim.backends.arrays:ArrayBackend"
    ),
    "torch": Parts(tensors="surefoot.optim.backends.eager:EagerBackend"),
}
"""Those that come first are tried first where none is named."""

MATRICES = "surefoot.engines.matrices"
"""What steps NumPy arrays by rules of whole arrays, whichever engine is named: there are no kernels of them."""

DEFAULT = "cpu"
"""The engine of arrays and of banks unless another is named."""

ORACLE = "reference"
"""The engine to which all others are compared: slow and obvious."""


def names(part: str) -> list[str]:
    """The engines that have a part.

    >>> names("banks")
    ['cpu', 'reference']
    """
    return [name for name, parts in REGISTRY.items() if getattr(parts, part) is not None]


def load(name: str, part: str) -> Any:
    """A part of the engine with a name."""
    found = getattr(REGISTRY[name], part)
    return imported(found) if isinstance(found, str) else found


@functools.cache
def imported(place: str) -> Any:
    """The module, or the object in it, that "module" or "module:name" stands for."""
    module, _, name = place.partition(":")
    found = importlib.import_module(module)
    return getattr(found, name) if name else found
