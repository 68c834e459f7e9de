"""`specialize` gives the compiled copy of a driver for a rule, kept on disk. Numba is loaded only to compile it."""

import functools
import pathlib

from surefoot import ops
from surefoot.engines import program
from surefoot.engines.cpu.kind import Kind
from surefoot.engines.numerics import BLOCK, RUNNING_SUMS
from surefoot.engines.program import Program
from surefoot.modifiers import closed_form
from surefoot.native import Kernel, digest
from surefoot.records.functions import fingerprint, has_file, plain_name
from surefoot.rules import RuleError

SOURCES = (
    "addresses",
    "arguments",
    "codecs",
    "compiling",
    "layout",
    "numba_ops",
    "prefetch",
    "slots",
    "unrolling",
    "vectors",
)
"""The modules here that kernels are made of, besides all drivers."""


@functools.cache
def engine_fingerprint() -> str:
    """Stands for the files that kernels are compiled from, besides the rule's."""
    return digest(BLOCK, RUNNING_SUMS, *(file.read_bytes() for file in sources()))


def sources() -> list[pathlib.Path]:
    """The files that kernels are compiled from."""
    folder = pathlib.Path(__file__).parent
    files = [pathlib.Path(module.__file__ or "") for module in (ops, program, closed_form)]
    return files + [folder / f"{name}.py" for name in SOURCES] + sorted(folder.glob("drivers/*.py"))


@functools.cache
def specialize(driver: str, kind: Kind) -> Kernel:
    """The compiled copy of a driver for a rule and what is done around it.

    It carries the rule's name and the fingerprint of all it is made of in its own name, by which it is kept on disk. A
    rule, or a modifier, that no file backs is compiled for this process only.
    """
    rule = kind.program.rule
    name = (
        f"{driver}__{plain_name(rule.name)}__{kind}__{digest(made_of(kind.program), str(kind), engine_fingerprint())}"
    )
    kept = is_backed(kind.program)

    def compiled(arguments):
        from numba.core.errors import NumbaError

        from surefoot.engines.cpu.compiling import copy_of
        from surefoot.native.codegen import emit

        try:
            return emit(copy_of(driver, kind, name), arguments, name, kept)
        except NumbaError as error:
            reason = str(error).strip().splitlines()
            raise RuleError(f"{rule.name}: the rule does not compile: {reason[0]} … {reason[-1]}") from error

    return Kernel(name, compiled, kept)


@functools.cache
def made_of(program: Program) -> tuple:
    """Everything of a program that decides what is compiled."""
    rule = program.rule
    steps = fingerprint(rule.zero_grad_steps) if callable(rule.zero_grad_steps) else rule.zero_grad_steps
    operations = [
        (
            each.name,
            fingerprint(each.function),
            each.takes,
            each.statistic and (each.statistic.over, each.statistic.reduction),
        )
        for each in program.operations
    ]
    return steps, rule.lazy_exact, rule.from_origin, program.granularity, program.numbers._fields, tuple(operations)


def is_backed(program: Program) -> bool:
    """Whether files back all functions of a program."""
    return all(has_file(each.function) for each in program.operations)
