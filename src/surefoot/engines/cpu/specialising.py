"""`specialise` gives the compiled copy of a driver for a rule, kept on disk. Numba is loaded only to compile it."""

import functools
import inspect
import pathlib
import re
import types
from collections.abc import Callable

from surefoot import ops
from surefoot.engines import around, losses
from surefoot.engines.cpu.kind import Kind
from surefoot.engines.numerics import BLOCK, RUNNING_SUMS
from surefoot.native import Kernel, digest
from surefoot.rules import Rule, RuleError

SOURCES = ("compiling", "kernels", "lanes", "layout", "memory", "numba_ops")
"""The modules beside this one that kernels are made of."""


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
