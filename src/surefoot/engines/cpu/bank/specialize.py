"""`specialize` gives the compiled copy of a driver for an architecture and the rules of its parts."""

import functools
import inspect
import pathlib
from collections.abc import Callable

from surefoot import losses
from surefoot.engines import feature_table, scaling
from surefoot.engines.cpu.bank.kind import BankKind
from surefoot.engines.cpu.specialize import engine_fingerprint, is_backed
from surefoot.engines.cpu.specialize import made_of as parts_made_of
from surefoot.models import Architecture
from surefoot.native import Kernel, digest
from surefoot.records.functions import fingerprint, has_file, plain_name
from surefoot.rules import Rule, RuleError

SOURCES = ("arguments", "compiling", "drivers", "parts", "shared", "slopes", "statistics", "waiting")
"""The other modules here that kernels of banks are made of, besides those of all kernels."""


@functools.cache
def bank_fingerprint() -> str:
    """Stands for the files that kernels of banks are compiled from, besides the records'."""
    files = [pathlib.Path(str(module.__file__)) for module in (feature_table, scaling)]
    files += [pathlib.Path(__file__).with_name(f"{name}.py") for name in SOURCES]
    slopes = [(fingerprint(loss.slope), loss.joint) for loss in losses.CODES]
    return digest(engine_fingerprint(), slopes, *(file.read_bytes() for file in files))


@functools.cache
def specialize(driver: str, architecture: Architecture, rules: tuple[Rule, ...], kind: BankKind) -> Kernel:
    """The compiled copy of a driver; see `engines.cpu.specialize`.

    It is compiled for this process only where no file backs one of the functions it is made of.
    """
    functions: list[Callable] = [
        architecture.predict,
        architecture.predict_one or architecture.predict,
        architecture.gradient,
    ]
    made_of: list = [(name, part.of, part.width) for name, part in architecture.parts.items()]
    made_of += map(constants, functions)
    for rule in rules:
        made_of.append([slot.kind for slot in rule.slots.values()])
        functions.append(rule.function)
    if kind.loss is not None:
        made_of.append(kind.loss.joint)
        functions.append(kind.loss.slope)
    made_of += [(str(part), parts_made_of(part.program)) for part in kind.parts]
    of = "_".join(dict.fromkeys(plain_name(rule.name) for rule in rules))
    mark = digest(*map(fingerprint, functions), made_of, bank_fingerprint())
    name = f"{driver}__{plain_name(architecture.name)}__{of}__{kind}__{mark}"
    kept = all(map(has_file, functions)) and all(is_backed(part.program) for part in kind.parts)

    def compiled(arguments):
        from numba.core.errors import NumbaError

        from surefoot.engines.cpu.bank.compiling import copy_of
        from surefoot.native.codegen import emit

        try:
            return emit(copy_of(driver, architecture, rules, kind, name), arguments, name, kept)
        except NumbaError as error:
            reason = str(error).strip().splitlines()
            raise RuleError(f"{architecture.name}: the model does not compile: {reason[0]} … {reason[-1]}") from error

    return Kernel(name, compiled, kept)


def constants(function: Callable) -> list[tuple[str, str]]:
    """Numbers that a model's function takes from around it, such as the width of a part: kernels have them built in."""
    outside = inspect.getclosurevars(function)
    known = {**outside.globals, **outside.nonlocals}
    return sorted((name, repr(value)) for name, value in known.items() if isinstance(value, (int, float, tuple)))
