"""`groups`: a model's parameters divided into groups by what matches them first, each group with its rule."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn

from surefoot.optim.kinds import Kind, kind_of

Pattern = str | type[nn.Module] | Callable[[Tensor], bool]
NAMED = 3
"""Parameters of a pattern that are named in the table and in messages, at most."""


class Owned(NamedTuple):
    """One parameter of a model.

    Attributes:
        parameter: the parameter.
        names: all its names; it may be shared.
        modules: those that it belongs to, from the model itself to the innermost.
    """

    parameter: Tensor
    names: list[str]
    modules: list[nn.Module]

    def matches(self, pattern: Pattern) -> bool:
        if isinstance(pattern, str):
            return any(fnmatch.fnmatchcase(name, pattern) for name in self.names)
        if isinstance(pattern, type):
            return any(isinstance(module, pattern) for module in self.modules)
        return bool(pattern(self.parameter))


class Entry:
    """A pattern with what it asks for, and what becomes of the parameters that match it.

    Attributes:
        won: the parameters of its group.
        matched: how many match it.
        unfit: those that match, and that its rule does not take, with the reason.
    """

    def __init__(self, pattern: Pattern, wanted: Any):
        if isinstance(pattern, nn.Module) or not (isinstance(pattern, str) or callable(pattern)):
            raise TypeError(f"found the pattern {pattern!r}; expected a name, a class of modules, or a function")
        self.pattern = pattern
        self.settings = dict(wanted) if isinstance(wanted, Mapping) else {"rule": wanted}
        if "rule" not in self.settings:
            raise ValueError(f'{self}: has no rule, only {", ".join(self.settings)}; expected {{"rule": "adagrad", …}}')
        self.rule = self.settings.pop("rule")
        self.kind: Kind = kind_of(self.rule)
        try:
            self.kind.check_settings(self.settings)
        except TypeError as error:
            raise TypeError(f"{self}: {error}") from None
        self.won: list[Owned] = []
        self.matched = 0
        self.unfit: dict[str, str] = {}
        self._known: dict[tuple, str | None] = {}

    def __str__(self) -> str:
        """The pattern as messages and the table have it."""
        if isinstance(self.pattern, str):
            return repr(self.pattern)
        return getattr(self.pattern, "__name__", type(self.pattern).__name__)

    def offer(self, owned: Owned, taken: bool) -> bool:
        """Takes a parameter that matches, unless it is `taken` or the rule does not take it; whether it is taken."""
        if not owned.matches(self.pattern):
            return taken
        self.matched += 1
        if taken:
            return True
        if (reason := self.obstacle(owned.parameter)) is not None:
            self.unfit[owned.names[0]] = reason
            return False
        self.won.append(owned)
        return True

    def obstacle(self, parameter: Tensor) -> str | None:
        """Why the rule does not take a parameter, which is asked once for each shape and type."""
        key = (parameter.shape, parameter.dtype, parameter.device, parameter.layout)
        if key not in self._known:
            self._known[key] = self.kind.obstacle(parameter, self.settings)
        return self._known[key]

    def group(self) -> dict[str, Any]:
        named = [(owned.names[0], owned.parameter) for owned in self.won]
        return {"params": named, "rule": self.rule, **self.settings}


class Groups(list):
    """Parameter groups for `Grouped`; printed, the table of what matched."""

    def __init__(self, entries: list[Entry]):
        super().__init__(entry.group() for entry in entries if entry.won)
        self.table = table(entries)

    def __repr__(self) -> str:
        return self.table


def groups(model: nn.Module, rules: Mapping[Pattern, Mapping[str, Any] | str | type]) -> Groups:
    """Divides a model's parameters into groups for `Grouped`: each goes to the first pattern that matches it.

    Where the rule of a pattern does not take a parameter's shape (Muon takes matrices), the next pattern that matches
    has it. A shared parameter is matched by all its names and is in one group. Frozen parameters are in their groups
    as well, and are stepped once they are unfrozen.

    Args:
        model: its named parameters are divided.
        rules: for each pattern its rule and settings, as groups of `Grouped` have them, or the rule alone. A pattern is
            a name, in which * and ? stand for other letters, as in a shell; a class of modules, which matches the
            parameters in them; or a function of a parameter, such as `lambda p: p.ndim < 2`.

    Returns:
        The groups. Printed, they are a table of what matched.

    Raises:
        ValueError: for a pattern that matches nothing, or only what earlier ones have, and for parameters that no
            pattern matches.
        RuleError, TypeError: for rules and settings that there are not.

    >>> import torch
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Embedding(10, 4), nn.LayerNorm(4), nn.Linear(4, 1))
    >>> groups(model, {
    ...     nn.Embedding: {"rule": "adagrad", "granularity": "row", "lr": 0.05},
    ...     "*.weight": {"rule": torch.optim.Muon, "lr": 0.02},
    ...     "*": "adamw",
    ... })
    pattern     rule     settings                  parameters  numbers  names
    Embedding   adagrad  granularity=row, lr=0.05           1       40  0.weight
    '*.weight'  muon     lr=0.02                            1        4  2.weight
    '*'         adamw                                       3        9  1.weight, 1.bias, 2.bias
    1.weight matches '*.weight', but muon does not take it: Muon only supports 2D parameters whereas we found a ...
    """
    owned, entries = parameters_of(model), [Entry(pattern, wanted) for pattern, wanted in rules.items()]
    homeless = []
    for one in owned:
        taken = False
        for entry in entries:
            taken = entry.offer(one, taken)
        if not taken:
            homeless.append(one.names[0])
    for entry in entries:
        check_use(entry, owned)
    if homeless:
        raise ValueError(
            f"no pattern takes {listed(homeless)}; expected one for each parameter, such as '*' as the last"
        )
    return Groups(entries)


def parameters_of(model: nn.Module) -> list[Owned]:
    """The parameters of a model, each once."""
    modules, found = dict(model.named_modules(remove_duplicate=False)), {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if nn.parameter.is_lazy(parameter):
            raise ValueError(f"{name}: has no shape yet; expected a model that has seen a batch")
        one = found.setdefault(id(parameter), Owned(parameter, [], []))
        one.names.append(name)
        path = name.split(".")[:-1]
        one.modules.extend(modules[".".join(path[:depth])] for depth in range(len(path) + 1))
    return list(found.values())


def check_use(entry: Entry, owned: list[Owned]) -> None:
    """Raises ValueError for a pattern that is of no use; '*' may come last for what may be left."""
    if not entry.matched:
        raise ValueError(f"the pattern {entry} matches no parameter{near(entry.pattern, owned)}")
    if entry.won:
        return
    if entry.unfit:
        name, reason = next(iter(entry.unfit.items()))
        raise ValueError(f"{entry.kind.name} takes no parameter that {entry} matches; {name}: {reason}")
    if entry.pattern != "*":
        raise ValueError(
            f"the pattern {entry} matches only parameters that earlier patterns have; expected it before them"
        )


def near(pattern: Pattern, owned: list[Owned]) -> str:
    """What a pattern that matches nothing may have meant."""
    if isinstance(pattern, str):
        names = [name for one in owned for name in one.names]
        parts = sorted({part for name in names for part in name.split(".")})
        core = pattern.replace("*", "").replace("?", "").strip(".")
        alike = [part for word in core.split(".") for part in difflib.get_close_matches(word, parts, 3, 0.5)]
        found = [name for part in alike for name in names if part in name.split(".")]
        return f"; near are {listed(list(dict.fromkeys(found)))}" if found else f"; there are {listed(names)}"
    if isinstance(pattern, type):
        kinds = sorted({type(module).__name__ for one in owned for module in one.modules})
        return f"; there are modules {', '.join(kinds)}"
    return ""


def listed(names: list[str]) -> str:
    """Some of many names.

    >>> listed(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def table(entries: list[Entry]) -> str:
    """What matched, a line for each pattern, and below it what a rule did not take."""
    rows = [("pattern", "rule", "settings", "parameters", "numbers", "names")]
    for entry in entries:
        settings = ", ".join(f"{key}={value}" for key, value in entry.settings.items())
        names = [one.names[0] + ("" if one.parameter.requires_grad else " (frozen)") for one in entry.won]
        size = sum(one.parameter.numel() for one in entry.won)
        rows.append((str(entry), entry.kind.name, settings, f"{len(names):,}", f"{size:,}", listed(names)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    right = (False, False, False, True, True, False)
    lines = []
    for row in rows:
        cells = zip(row, widths, right, strict=True)
        lines.append("  ".join(text.rjust(width) if r else text.ljust(width) for text, width, r in cells).rstrip())
    for entry in entries:
        for name, reason in entry.unfit.items():
            lines.append(f"{name} matches {entry}, but {entry.kind.name} does not take it: {reason}")
    return "\n".join(lines)
