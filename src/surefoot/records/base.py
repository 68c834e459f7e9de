"""What a rule and a loss have in common: engines know a record by its identity, people by its name."""

import importlib
import inspect
import sys
from collections.abc import Callable
from typing import Any


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

    def __reduce_ex__(self, protocol):
        """By name, if its module has it: it is pickled as functions are, and comes back as the same record."""
        module = self.main.__module__
        for name in (self.name, self.main.__name__):
            if getattr(sys.modules.get(module), name, None) is self:
                return named, (module, name)
        return super().__reduce_ex__(protocol)

    def __deepcopy__(self, memo):
        return self  # it never changes, and engines know it by its identity


def named(module: str, name: str) -> Any:
    """The record of that name in a module.

    >>> named("surefoot.rules.sgd", "sgd")
    <rule sgd: x ← x − η g>
    """
    return getattr(importlib.import_module(module), name)
