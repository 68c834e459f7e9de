"""What a rule and a loss have in common: engines know a record by its identity, people by its name."""

import importlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from surefoot.records.files import PREFIX, load


class Record:
    """The base of records: a name, and one plain function that they are made of."""

    name: str

    @property
    def main(self) -> Callable:
        """The function that the record is made of."""
        raise NotImplementedError

    @property
    def summary(self) -> str:
        """The first paragraph of the function's docstring, in one line."""
        text = inspect.getdoc(self.main) or ""
        return text.split("\n\n")[0].replace("\n", " ")

    @property
    def variable(self) -> str | None:
        """The name by which its module has it; None where that does not have it."""
        module = sys.modules.get(self.main.__module__)
        names = (self.name, self.main.__name__, *getattr(module, "__dict__", {}))
        return next((name for name in names if getattr(module, name, None) is self), None)

    def __reduce_ex__(self, protocol):
        """By name, if its module has it: it is pickled as functions are, and comes back as the same record."""
        name, module = self.variable, self.main.__module__
        if name is None:
            return super().__reduce_ex__(protocol)
        if module.startswith(PREFIX):
            return in_file, (sys.modules[module].__file__, name)
        return named, (module, name)

    def __deepcopy__(self, memo):
        return self  # it never changes, and engines know it by its identity


def named(module: str, name: str) -> Any:
    """The record of that name in a module.

    >>> named("surefoot.rules.sgd", "sgd")
    <rule sgd: x ← x − η g>
    """
    return getattr(importlib.import_module(module), name)


def in_file(path: str, name: str) -> Any:
    """The record of that name in a file, which is run."""
    return getattr(load(Path(path)), name)
