"""`specialize` makes the copy of a generic driver for one rule, which Triton compiles when it is first launched.

A rule is taken from its own source, with three words changed: `/` is division rounded as IEEE 754 says (Triton's is
approximate), `-x` has the other sign than x (Triton's −0 is 0), and a number has the type of the arithmetic (0.1 would
be float32 to Triton).
"""

import ast
import functools
import inspect
import itertools
import linecache
import textwrap
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import triton
import triton.language as tl
from triton import knobs

from surefoot.engines.gpu import kernels, row_kernels, triton_ops
from surefoot.engines.program import Program, advance_from_origin
from surefoot.modifiers import closed_form
from surefoot.modifiers.record import SHRINKAGE
from surefoot.rules import REGISTRY, RuleError

TYPES = {"float64": tl.float64, "float32": tl.float32, "float16": tl.float16, "bfloat16": tl.uint16}

OPTIONS: dict[str, Any] = {"enable_fp_fusion": False}
"""a · b + c is rounded twice, as in the reference: no fused multiply-add. (Triton's default is to fuse.)"""

TRANSLATIONS = itertools.count()
"""Numbers the functions that were translated."""

SEED_FACTOR = 0x9E3779B97F4A7C15


NO_RULE = Program(REGISTRY["sgd"])
"""For drivers that call no rule."""


@dataclass(frozen=True)
class Kind:
    """What a driver is compiled for, besides the rule.

    Attributes:
        dtype: the type of the arithmetic, "float32" or "float64".
        x, slots: the types in which parameters and memory are stored.
        program: the rule and what is done around it; its granularity says which coordinates share a rate.
        statistic: what is summed of the gradient, "g2" for its square.
        propagate: values that are not finite go through.
        catches_up: rows without a gradient catch up later.
        amp: gradients are divided by GradScaler's scale, and nothing is stepped where it found one not finite.
        seed: of stochastic rounding, or None.
        aligned: addresses and rows are multiples of 16, so that threads load 16 bytes at once.
        width: columns of a tile, where it has rows.
    """

    dtype: str
    x: str
    slots: tuple[str, ...]
    program: Program = NO_RULE
    statistic: str = "g2"
    propagate: bool = False
    catches_up: bool = False
    amp: bool = False
    seed: int | None = None
    aligned: bool = True
    width: int = 32

    @property
    def granularity(self) -> str:
        return self.program.granularity


MODULES = (kernels, row_kernels)
"""The modules that drivers and their helpers stand in."""

BLOCK = 1024
"""Coordinates that one program steps."""

WARPS = 4
"""Groups of 32 threads that share a block: each thread has 8 coordinates, two loads of 16 bytes from every array."""

AHEAD = 64
"""Coordinates of a row's duplicates that a thread asks for at once."""

RUN = 64
"""Equal ids that lie at two multiples of this, by position, are summed before; see `row_kernels.long_runs`."""

UNSPECIALISED = ("stride", "count", "height", "stretches", "now", "place", "outside")
"""Numbers that change often: Triton would compile again where one is 1, or a multiple of 16."""


def warps_of(width: int) -> int:
    """Groups of 32 threads for a row: four coordinates for each thread, a load of 16 bytes.

    >>> warps_of(64), warps_of(1024)
    (1, 8)
    """
    return min(16, max(1, width // 128))


class Exact(ast.NodeTransformer):
    """Division and signs as IEEE 754 says, and numbers of the type of the arithmetic."""

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        return called("ops.divide", node.left, node.right) if isinstance(node.op, ast.Div) else node

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        self.generic_visit(node)
        return called("ops.negative", node.operand) if isinstance(node.op, ast.USub) else node

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if not isinstance(node.value, (int, float)) or isinstance(node.value, bool):
            return node
        shape = ast.Tuple([], ast.Load())
        return called("tl.full", shape, ast.Constant(float(node.value)), ast.Name("F", ast.Load()))


def called(name: str, *arguments: ast.expr) -> ast.Call:
    module, attribute = name.split(".")
    return ast.Call(ast.Attribute(ast.Name(module, ast.Load()), attribute, ast.Load()), list(arguments), [])


def source_of(function: Callable) -> ast.FunctionDef:
    """The definition of a rule's function, without decorators.

    Raises:
        RuleError: where no file or notebook cell has it.
    """
    name = getattr(function, "__name__", repr(function))
    try:
        definition = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    except (OSError, TypeError, SyntaxError) as error:
        raise RuleError(
            f"{name}: its source cannot be read ({error}), and Triton compiles from the source; "
            "define it with def, in a file or in a notebook cell"
        ) from error
    if not isinstance(definition, ast.FunctionDef):
        raise RuleError(f"{name}: Triton compiles functions made by def; this one is not")
    definition.decorator_list = []
    if meaning(function.__code__) not in map(meaning, compiled_codes(definition)):
        raise RuleError(
            f"{name}: {function.__code__.co_filename} has changed since the rule was defined, and Triton compiles from "
            "the source; define the rule again"
        )
    return definition


def compiled_codes(definition: ast.FunctionDef) -> Iterator[types.CodeType]:
    """The code that Python makes of a definition: after an import of `ops` in the same text, and without one."""
    for before in (ast.parse("from surefoot import ops").body, []):
        module = compile(ast.Module([*before, definition], []), "<a rule>", "exec")
        yield next(constant for constant in module.co_consts if isinstance(constant, types.CodeType))


def meaning(code: types.CodeType) -> tuple:
    """What a function computes: its code without places in the source and without its docstring."""
    return code.co_code, code.co_names, code.co_varnames, [c for c in code.co_consts if not isinstance(c, str)]


@functools.cache
def translated(function: Callable, dtype: str) -> Callable:
    """The function for Triton, in arithmetic of that type; its names are yet to be filled in."""
    definition = Exact().visit(source_of(function))
    text = ast.unparse(ast.fix_missing_locations(definition)) + "\n"
    names: dict[str, Any] = {"tl": tl, "F": tl.constexpr(TYPES[dtype])}
    return defined(text, definition.name, f"{function.__module__}.{function.__qualname__}, {dtype}", names)


def defined(text: str, name: str, what: str, names: dict[str, Any]) -> Callable:
    """The function of that name that a text defines, whose globals these names become."""
    # Triton reads a function's source again: here it is found. Another function may have the same name, as when a
    # notebook's cell runs again, and Triton may ask for the source of the first one after the second was defined.
    place = f"<{what} for Triton, {next(TRANSLATIONS)}>"
    linecache.cache[place] = len(text), None, text.splitlines(keepends=True), place
    exec(compile(text, place, "exec"), names)
    names[name].__module__ = __name__  # Triton asks for it
    return names[name]


def is_interpreted() -> bool:
    """Whether kernels are interpreted, on CPU tensors, and not compiled: where TRITON_INTERPRET=1 is set."""
    return bool(knobs.runtime.interpret)


@functools.cache
def ops_module(interpret: bool) -> types.ModuleType:
    """`ops`, as a module that Triton's functions may use."""
    module = types.ModuleType("ops")
    for name, function in vars(triton_ops).items():
        if isinstance(function, types.FunctionType):
            setattr(module, name, triton.jit(function))
    return module


def specialize(driver: str, kind: Kind) -> Any:
    """The copy of a driver for a rule, to be launched as kernel[grid](…)."""
    return made(driver, kind, is_interpreted())


@functools.cache
def made(driver: str, kind: Kind, interpret: bool) -> Any:
    return namespace(kind, interpret)[driver]


def constants(kind: Kind) -> dict[str, Any]:
    """The names in capitals that are numbers, types and flags."""
    rule = kind.program.rule
    shares = tuple(kind.granularity != "coordinate" and slot.kind == "scale" for slot in rule.slots.values())
    return {
        "F": TYPES[kind.dtype],
        "X": TYPES[kind.x],
        "SLOTS": tuple(TYPES[name] for name in kind.slots),
        "SHARES": shares,
        "SHARED": kind.granularity != "coordinate",
        "BY_ROW": kind.granularity == "row",
        "COUNT": len(rule.coefficient_names),
        "MODIFIERS": len(kind.program.numbers._fields),
        "HISTORY": 1 + len(rule.coefficient_names) + len(SHRINKAGE),
        "COLUMNS": 6 + len(kind.slots),
        "ADJUSTS": any(modifier.stage == "gradient" for modifier in kind.program.modifiers),
        "PROPAGATE": kind.propagate,
        "CATCHES_UP": kind.catches_up,
        "AMP": kind.amp,
        "ALIGNED": kind.aligned,
        "RANDOM": kind.seed is not None,
        "SEED": (kind.seed or 0) * SEED_FACTOR % 2**64,
        "BLOCK": BLOCK,
        "ROWS": max(1, BLOCK // kind.width),
        "WIDTH": kind.width,
        "RUN": RUN,
        "IN_RUN": RUN if kind.dtype == "float32" else RUN // 2,  # as many as there are registers for
        "AHEAD": max(1, AHEAD // max(1, kind.width // (32 * warps_of(kind.width)))),
    }


@functools.cache
def helpers() -> dict[str, types.FunctionType]:
    """The functions of MODULES: drivers, and helpers of theirs."""
    found = {name: value for module in MODULES for name, value in vars(module).items()}
    return {name: value for name, value in found.items() if isinstance(value, types.FunctionType)}


@functools.cache
def namespace(kind: Kind, interpret: bool) -> dict[str, Any]:
    """The globals of a driver's copy: every helper, for Triton, and the names in capitals."""
    names: dict[str, Any] = {"tl": tl}
    ops, program, rule = ops_module(interpret), kind.program, kind.program.rule

    def compiled(function: Callable, dtype: str = kind.dtype) -> Any:
        copy = translated(function, dtype)
        bound = types.FunctionType(
            copy.__code__, dict(copy.__globals__) | {"ops": ops}, copy.__name__, copy.__defaults__
        )
        bound.__module__ = function.__module__
        return triton.jit(bound)

    def written(statistic: str | None) -> Any:
        source = program.source(statistic, field="modifiers[{place}]")
        return triton.jit(defined(source, "PROGRAM", f"{rule.name}: {statistic or 'step'}", {"tl": tl} | functions))

    names |= {key: value if interpret else tl.constexpr(value) for key, value in constants(kind).items()}
    functions = {each.name: compiled(each.function) for each in program.operations}
    names |= {
        "RULE": functions["RULE"],
        "PROGRAM": written(None),
        "EXPRESSION": written(kind.statistic),
        "RULE_ZERO_GRAD": compiled(rule.zero_grad_steps) if callable(rule.zero_grad_steps) else None,
        "ADVANCE_FROM_ORIGIN": compiled(advance_from_origin),
        "ZERO_GRAD_CLOSED_FORM": compiled(closed_form.zero_grad_steps, "float64"),
        "DIVIDE": ops.divide,
    }
    for helper, function in helpers().items():
        copy = types.FunctionType(function.__code__, names, helper, function.__defaults__)
        copy.__module__, copy.__annotations__ = function.__module__, function.__annotations__
        changing = [name for name in UNSPECIALISED if name in inspect.signature(copy).parameters]
        names[helper] = triton.jit(do_not_specialize=changing)(copy)
    steps = (
        "zero_grad_from_origin"
        if rule.from_origin
        else "zero_grad_lazy_exact"
        if rule.lazy_exact
        else "zero_grad_by_rule"
    )
    names["ZERO_GRAD_STRETCH"] = names[steps]
    if interpret:
        names["add"] = tl.standard._sum_combine  # of this one the interpreter knows that it is a sum
    return names
