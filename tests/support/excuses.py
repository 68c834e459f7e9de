"""Excuses of a diagnosis, conditions under which a finding is taken back: each is left out, and a run shows that."""

from __future__ import annotations

import functools
import importlib
import inspect
import textwrap
from typing import NamedTuple


class Excuse(NamedTuple):
    """A condition of the laboratory's code, and a run that would be judged otherwise without it.

    Attributes:
        place: the function: its module in `surefoot.lab`, and its name there.
        text: of the condition, as it is written.
        without: what stands there without it.
        run: the name of the run.
    """

    place: str
    text: str
    without: str
    run: str

    def leave_out(self, monkeypatch) -> None:
        """Compiles the function again without the condition."""
        name, *path = self.place.split(".")
        module = importlib.import_module(f"surefoot.lab.{name}")
        owner = functools.reduce(getattr, path[:-1], module)
        found = inspect.getattr_static(owner, path[-1])
        function = next((getattr(found, key) for key in ("fget", "func", "__func__") if hasattr(found, key)), found)
        source = textwrap.dedent(inspect.getsource(function))
        assert source.count(self.text) == 1, f"{self.place} has {source.count(self.text)} times {self.text!r}"
        made: dict[str, object] = {}
        exec("from __future__ import annotations\n" + source.replace(self.text, self.without), vars(module), made)
        monkeypatch.setattr(owner, path[-1], made[path[-1]])
        if hasattr(made[path[-1]], "__set_name__"):
            made[path[-1]].__set_name__(owner, path[-1])  # pyright: ignore[reportAttributeAccessIssue]


def named(excuse: Excuse) -> str:
    """The name of its test."""
    return f"{excuse.place}-{' '.join(excuse.text.split())}-{excuse.run}"
