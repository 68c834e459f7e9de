"""Checks the free names of kernels, which no linter knows: they are filled in when a kernel is compiled.

Every global name that a driver or a helper reads must be a builtin, a name of its own module, or one that the namespace
of its engine fills in; and every name in capitals that a namespace fills in must be read.
"""

import builtins
import dis
import importlib.util
import sys
import types
from collections.abc import Iterable, Iterator, Mapping

from surefoot.rules import REGISTRY


def globals_of(function: types.FunctionType) -> set[str]:
    """The global names that a function reads, those of functions within it included."""
    codes, names = [function.__code__], set()
    while codes:
        code = codes.pop()
        names |= {step.argval for step in dis.get_instructions(code) if step.opname == "LOAD_GLOBAL"}
        codes += [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
    return names


def functions_of(modules: Iterable[types.ModuleType]) -> Iterator[tuple[str, types.FunctionType]]:
    """The functions that the modules define, with where they stand."""
    for module in modules:
        for name, value in vars(module).items():
            if isinstance(value, types.FunctionType) and value.__module__ == module.__name__:
                yield f"{module.__name__}.{name}", value


def faults(modules: Iterable[types.ModuleType], filled_in: Iterable[str]) -> list[str]:
    """What is wrong with the names of kernels, a sentence each.

    Args:
        modules: where drivers and their helpers stand.
        filled_in: the names that the engine's namespace has for them.
    """
    modules, filled_in = list(modules), set(filled_in)
    found, read = [], set()
    for place, function in functions_of(modules):
        names = globals_of(function)
        read |= names
        known = vars(builtins).keys() | function.__globals__.keys() | {name for name in filled_in if is_constant(name)}
        found += [f"{place}: the name {name} is not filled in" for name in sorted(names - known)]
    unread = {name for name in filled_in if is_constant(name)} - read - {n for m in modules for n in vars(m)}
    return found + [f"{name} is filled in, but no kernel reads it" for name in sorted(unread)] + clashes(modules)


def is_constant(name: str) -> bool:
    return name.isupper()


def clashes(modules: Iterable[types.ModuleType]) -> list[str]:
    """All modules of an engine share one namespace: names that mean different things in two of them."""
    meant: dict[str, tuple[str, object]] = {}
    found = []
    for module in modules:
        for name, value in vars(module).items():
            if name.startswith("__"):
                continue
            first, other = meant.setdefault(name, (module.__name__, value))
            if other is not value:
                found.append(f"{name} means one thing in {first} and another in {module.__name__}")
    return found


def engines() -> Iterator[tuple[list[types.ModuleType], Mapping[str, object]]]:
    """The modules and the namespace of each engine that can be imported here."""
    from surefoot.engines.cpu import compiling
    from surefoot.engines.cpu.bank import compiling as bank
    from surefoot.engines.cpu.bank.kind import BankKind
    from surefoot.engines.cpu.kind import Kind
    from surefoot.engines.program import Program
    from surefoot.models import linear

    rule = REGISTRY["adagrad"]
    part = Kind("float32", Program(rule))
    yield list(compiling.MODULES), compiling.namespace(part)
    kind = BankKind("float32", 1, True, True, (part,) * len(linear.parts))
    rules = (rule,) * len(linear.parts)
    of_part, general = bank.parts_of(linear, rules, kind)[0], compiling.namespace(part)
    # Of the general names, those of a part's rule, a bank reads some.
    read = {name for _, function in functions_of(bank.MODULES) for name in globals_of(function)}
    own = {name: value for name, value in of_part.items() if name in read or name not in general}
    yield list(bank.MODULES), bank.namespace(linear, rules, kind) | own
    if importlib.util.find_spec("triton"):
        from surefoot.engines.gpu import compiling as gpu

        yield list(gpu.MODULES), gpu.namespace(gpu.Kind("float32", "float32", ("float32",), Program(rule)), True)


def main() -> int:
    found = [fault for modules, namespace in engines() for fault in faults(modules, namespace)]
    for fault in found:
        sys.stderr.write(f"{fault}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
