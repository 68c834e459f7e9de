"""What one step does to a coordinate: plain functions of named values, in their order.

The modifiers of the gradient, those before the rule, the rule, those of its direction, the step itself, and those after
it; and in between, statistics: numbers that coordinates have in common. `evaluate` runs the operations on arrays; for
engines that compile, `source` writes them out as one function.
"""

from __future__ import annotations

import functools
import inspect
from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from surefoot import ops
from surefoot.modifiers import Modifier, ModifierError
from surefoot.records.statistic import Statistic
from surefoot.rules import Rule


def square(g):
    return g * g


def advance(x, rate, direction):
    """x ← x − rate · direction. A zero direction is not a step, even where the rate is infinite."""
    return x - ops.where(direction == 0.0, 0.0, rate * direction)


def subtract(x, direction):
    """x ← x − update."""
    return x - direction


def advance_from_origin(rate, direction):
    """x ← 0 − rate · direction."""
    return 0.0 - ops.where(direction == 0.0, 0.0, rate * direction)


def statistic_of(modifier: Modifier, name: str) -> str:
    """The name of a modifier's statistic among those of a program, where a rule's have names without a dot."""
    return f"{modifier.name}.{name}"


class Operation(NamedTuple):
    """A function, or a statistic, of named values.

    Attributes:
        name: by which compiled engines know the function.
        function: of scalars.
        takes: for each argument, where it is found (value, slot, after, statistic, coefficient, field) and its name.
        gives: the names of the values that it gives; of a statistic, its own name.
        statistic: what is made of what the function gives; None: it is given as it is.
        modifier: to which it belongs.
        whole: the function is one of whole arrays.
    """

    name: str
    function: Callable
    takes: tuple[tuple[str, str], ...]
    gives: tuple[str, ...]
    statistic: Statistic | None = None
    modifier: Modifier | None = None
    whole: bool = False


@functools.cache
def numbers_type(fields: tuple[str, ...]) -> type:
    """The named tuple of the numbers of modifiers, one type for the same fields."""
    return namedtuple("Numbers", fields)


@dataclass(frozen=True)
class Program:
    """The operations of a rule and of what is done around it.

    Args:
        rule: the rule.
        modifiers: those that act, in their order, without those of storage and averages.
        granularity: what shares the mean square of the gradient.

    Raises:
        ModifierError: two of the modifiers have numbers of the same name.
    """

    rule: Rule
    modifiers: tuple[Modifier, ...] = ()
    granularity: str = "coordinate"

    def __post_init__(self) -> None:
        fields = [name for each in self.modifiers for name in each.fields]
        if twice := {name for name in fields if fields.count(name) > 1}:
            raise ModifierError(f"found two modifiers with a number {min(twice)!r}; rename one of them")

    def __reduce__(self):
        return program_of, (
            self.rule,
            self.modifiers,
            self.granularity,
        )  # records are pickled by name, functions are not

    @functools.cached_property
    def numbers(self) -> type:
        """The named tuple of the modifiers' numbers."""
        return numbers_type(tuple(name for each in self.modifiers for name in each.fields))

    @functools.cached_property
    def operations(self) -> tuple[Operation, ...]:
        return (
            *self._modifiers("gradient"),
            *self._modifiers("before"),
            Operation("SQUARE", square, (("value", "g"),), ("square",)),
            *self._statistics_of_rule(after=False),
            self._rule(),
            *self._modifiers("direction"),
            *self._statistics_of_rule(after=True),
            *self._rescaled(),
            self._advance(),
            *self._modifiers("after"),
        )

    # Parts

    def _modifiers(self, stage: str) -> list[Operation]:
        found = []
        for each in self.modifiers:
            if each.stage == stage:
                own = {name: statistic_of(each, name) for name in each.statistics}
                for name, statistic in each.statistics.items():
                    takes = tuple(self._of_modifier(each, taken, own) for taken in statistic.takes)
                    found.append(
                        Operation(
                            f"EXPRESSION_{len(each.name)}_{each.name}_{name}",  # no two of which are the same
                            statistic.of,
                            takes,
                            (own[name],),
                            statistic,
                            each,
                        )
                    )
                takes = tuple(self._of_modifier(each, taken, own) for taken in each.takes)
                found.append(Operation(f"MODIFIER_{each.name}", each.function, takes, each.takes[:1], None, each))
        return found

    def _of_modifier(self, each: Modifier, name: str, own: Mapping[str, str]) -> tuple[str, str]:
        if name in own:
            return "statistic", own[name]
        return ("field", name) if name in each.fields else ("value", name)

    def _statistics_of_rule(self, after: bool) -> list[Operation]:
        return [
            Operation(f"EXPRESSION_{name}", s.of, self._of_rule(s.takes, after), (name,), s)
            for name, s in self.rule.statistics.items()
            if (name in self.rule.after) == after
        ]

    def _rule(self) -> Operation:
        rule = self.rule
        takes = self._of_rule(tuple(inspect.signature(rule.function).parameters), False)
        return Operation("RULE", rule.function, takes, (*rule.results, *rule.slots), whole=rule.whole)

    def _rescaled(self) -> list[Operation]:
        if self.rule.rescale is None:
            return []
        takes = self._of_rule(tuple(inspect.signature(self.rule.rescale).parameters), True)
        return [Operation("RESCALE", self.rule.rescale, takes, ("rate", "direction"))]

    def _advance(self) -> Operation:
        function = advance_from_origin if self.rule.from_origin else subtract if self.rule.whole else advance
        takes = tuple(("value", name) for name in inspect.signature(function).parameters)
        return Operation("ADVANCE", function, takes, ("x",))

    def _of_rule(self, names: Sequence[str], after: bool) -> tuple[tuple[str, str], ...]:
        rule = self.rule

        def place(name: str) -> tuple[str, str]:
            if name in rule.slots:
                return ("after" if after else "slot"), name
            if name in rule.statistics:
                return "statistic", name
            return ("coefficient", name) if name in rule.coefficient_names else ("value", name)

        return tuple(map(place, names))

    # What engines ask

    @functools.cached_property
    def statistics(self) -> dict[str, Statistic]:
        """All statistics in their order, by name."""
        return {each.gives[0]: each.statistic for each in self.operations if each.statistic is not None}

    @functools.cached_property
    def statistics_of_gradient(self) -> frozenset[str]:
        """Those that the rule has no part in."""
        return frozenset(each.gives[0] for each in self.upto("g2") if each.statistic is not None)

    def upto(self, statistic: str | None) -> tuple[Operation, ...]:
        """The operations before a statistic, and its expression; all of them for None, up to the square for "g2"."""
        names = [each.gives[0] for each in self.operations]
        if statistic is None:
            return self.operations
        return self.operations[: names.index("square" if statistic == "g2" else statistic) + 1]

    def _call(self, operation: Operation, field: str) -> str:
        """The call of an operation's function in `source`."""
        slots, coefficients = list(self.rule.slots), list(self.rule.coefficient_names)
        common, fields = list(self.statistics), list(self.numbers._fields)

        def written(space: str, key: str) -> str:
            match space:
                case "slot":
                    return f"slots[{slots.index(key)}]"
                case "after":
                    return f"new[{2 + slots.index(key)}]"
                case "statistic":
                    return f"statistics[{common.index(key)}]"
                case "coefficient":
                    return f"coefficients[{coefficients.index(key)}]"
                case "field":
                    return field.format(name=key, place=fields.index(key))
            return ("square" if self.granularity == "coordinate" else "mean") if key == "g2" else key

        return f"{operation.name}({', '.join(written(*taken) for taken in operation.takes)})"

    def source_after(self, field: str = "modifiers.{name}") -> str:
        """What is done after the step, as a function `AFTER(x, rate, modifiers)`; see `source`."""
        lines = [f"    x = {self._call(each, field)}" for each in self._modifiers("after")]
        return "\n".join(["def AFTER(x, rate, modifiers):", *lines, "    return x"]) + "\n"

    def source(self, statistic: str | None = None, name: str = "PROGRAM", field: str = "modifiers.{name}") -> str:
        """The operations as a function `(raw, x, slots, statistics, mean, coefficients, modifiers)` of numbers and
        tuples of numbers, in Python, which calls each operation's function by its name.

        It returns the expression of a statistic; or for None (x, the square of the gradient, *slots).

        Args:
            statistic: its name; "g2" is the square of the gradient.
            name: of the function.
            field: how a number of the modifiers is read, by {name} or by its {place}.
        """
        slots = list(self.rule.slots)
        lines = [f"def {name}(raw, x, slots, statistics, mean, coefficients, modifiers):", "    g = raw"]
        operations = self.upto(statistic)
        for each in operations:
            call = self._call(each, field)
            if each.statistic is not None:
                lines += [f"    return {call}"] if each is operations[-1] else []
            elif len(each.gives) == 1:
                lines.append(f"    {each.gives[0]} = {call}")
            else:
                lines.append(f"    {'new' if each.name == 'RULE' else 'scaled'} = {call}")
                lines += [
                    f"    {key} = {'new' if each.name == 'RULE' else 'scaled'}[{k}]"
                    for k, key in enumerate(each.gives[:2])
                ]
        if statistic is None:
            kept = "".join(f", new[{2 + k}]" for k in range(len(slots)))
            lines.append(f"    return x, square{kept}")
        elif statistic == "g2":
            lines.append("    return square")
        return "\n".join(lines) + "\n"


@functools.lru_cache(maxsize=1024)
def program_of(rule: Rule, modifiers: tuple[Modifier, ...] = (), granularity: str = "coordinate") -> Program:
    """The program, one object for the same arguments: it knows its operations."""
    return Program(rule, modifiers, granularity)


class Evaluated(NamedTuple):
    """What a program gave for arrays.

    Attributes:
        values: x, g, square, g2, rate and direction, after all operations.
        slots: the memory after the step, by name.
        statistics: by name.
    """

    values: dict[str, Any]
    slots: dict[str, Any]
    statistics: dict[str, Any]


class Arrays(Protocol):
    """What a program is evaluated with: an array library, and the settings of a step."""

    def bind(self, function: Callable) -> Callable:
        """A function of scalars, for arrays."""
        ...

    def cast(self, value: Any) -> Any:
        """A number or a statistic, in the type of the arithmetic."""
        ...

    def reduce(self, statistic: Statistic, values: Any) -> Any:
        """The number of each row or column, or of the tensor, in float64, shaped so that it goes with the values."""
        ...

    def mean_square(self, squares: Any) -> Any:
        """What coordinates that share a rate have in common of the squares of the gradient."""
        ...

    def numbers(self, modifier: Modifier, statistics: Mapping[str, Any]) -> tuple:
        """The numbers of a modifier, given its statistics by its own names for them."""
        ...


def evaluate(
    program: Program,
    arrays: Arrays,
    x: Any,
    g: Any,
    slots: Mapping[str, Any],
    coefficients: Sequence[Any],
    given: Mapping[str, Any] | None = None,
    until: str | None = None,
) -> Evaluated:
    """Runs the operations on arrays.

    Args:
        program: what is run.
        arrays: with what.
        x, g: the parameter and its gradient.
        slots: the memory, by name.
        coefficients: the rule's, in their order.
        given: statistics that are known, such as those of a group.
        until: a statistic, at which this stops: it is its expression, for each coordinate.
    """
    values: dict[str, Any] = {"x": x, "g": g}
    spaces: dict[str, dict[str, Any]] = {
        "value": values,
        "slot": dict(slots),
        "after": {},
        "statistic": dict(given or {}),
        "coefficient": dict(zip(program.rule.coefficient_names, map(arrays.cast, coefficients), strict=True)),
        "field": {},
    }
    for each in program.operations:
        if each.modifier is not None and each.statistic is None:
            own = {name: spaces["statistic"][statistic_of(each.modifier, name)] for name in each.modifier.statistics}
            numbers = map(arrays.cast, arrays.numbers(each.modifier, own))
            spaces["field"] |= zip(each.modifier.fields, numbers, strict=True)
        if each.statistic is not None and each.gives[0] in (given or {}):
            continue
        taken = [spaces[space][name] for space, name in each.takes]
        taken = [arrays.cast(v) if s == "statistic" else v for v, (s, _) in zip(taken, each.takes, strict=True)]
        found = (each.function if each.whole else arrays.bind(each.function))(*taken)
        if each.statistic is not None:
            name = each.gives[0]
            spaces["statistic"][name] = found if name == until else arrays.reduce(each.statistic, found)
            if name == until:
                break
            continue
        found = found if isinstance(found, tuple) else (found,)
        apart = len(found) - len(program.rule.slots) if each.name == "RULE" else len(found)
        values |= zip(each.gives[:apart], found[:apart], strict=True)
        spaces["after"] |= zip(each.gives[apart:], found[apart:], strict=True)
        if each.name == "SQUARE":
            values["g2"] = values["square"] if program.granularity == "coordinate" else arrays.mean_square(found[0])
    return Evaluated(values, spaces["after"], spaces["statistic"])
