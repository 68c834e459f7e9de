"""Plain functions that every engine can run: arithmetic, comparisons and the names of `ops`, and nothing else."""

import dis
import inspect
import itertools
import re
import types
from collections.abc import Callable
from pathlib import Path

from surefoot import ops

REFUSED = ("FOR_ITER", "IMPORT_NAME", "MAKE_FUNCTION", "STORE_GLOBAL", "RAISE_VARARGS")


def check_operations(function: Callable, name: str, kind: str, error: type[ValueError]) -> None:
    """Raises `error` for a function that some engine could not run.

    Args:
        function: the function.
        name: of the record that it belongs to, which messages begin with.
        kind: of the record: "rule" or "loss".
        error: what is raised.
    """
    allowed = f"a {kind} may use arithmetic, comparisons and ops.{', ops.'.join(ops.NAMES)}"
    if not isinstance(function, types.FunctionType):
        raise error(f"{name}: expected a plain Python function, got {function!r}")
    if function.__code__.co_freevars:
        outside = ", ".join(function.__code__.co_freevars)
        raise error(f"{name}: uses {outside} of an enclosing function; make it a hyperparameter")
    instructions = list(dis.get_instructions(function))
    for here, after in itertools.pairwise(instructions):
        if here.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            if here.argval != "ops":
                used = here.argval
                if after.opname in ("LOAD_ATTR", "LOAD_METHOD"):
                    used += f".{after.argval}"
                raise error(f"{name}: uses {used}; {allowed}")
            if after.argval not in ops.NAMES:
                raise error(f"{name}: uses ops.{after.argval}; {allowed}")
        elif here.opname == "BINARY_OP" and "**" in here.argrepr:
            raise error(f"{name}: uses **, which engines round differently; multiply, or take ops.sqrt")
        elif here.opname in REFUSED or "BACKWARD" in here.opname:  # a jump back is a loop, of `while` too
            raise error(f"{name}: loops, imports, inner functions and raise are not possible; {allowed}")


def check_coefficients(function: Callable, name: str, kind: str, error: type[ValueError]) -> None:
    """The same for a function that is called once a step, with numbers or arrays of them.

    It may also use `**`, ops.lookup, constants of its module and functions of its module that do no more; and what
    functools.lru_cache decorates, which makes a table for ops.lookup.
    """
    allowed = f"{kind} may use arithmetic, comparisons, ops.{', ops.'.join(ops.NAMES)} and ops.lookup"
    if not isinstance(function, types.FunctionType):
        raise error(f"{name}: expected a plain Python function as {kind}, got {function!r}")
    instructions = list(dis.get_instructions(function))
    for here, after in itertools.pairwise(instructions):
        if here.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            found = function.__globals__.get(here.argval)
            if found is ops:
                if after.argval not in (*ops.NAMES, "lookup"):
                    raise error(f"{name}: uses ops.{after.argval}; {allowed}")
            elif isinstance(found, types.FunctionType):
                if found is not function:
                    check_coefficients(found, name, kind, error)
            elif not isinstance(found, (int, float)) and not hasattr(found, "cache_info"):
                used = f"{here.argval}.{after.argval}" if after.opname in ("LOAD_ATTR", "LOAD_METHOD") else here.argval
                raise error(f"{name}: uses {used}; {allowed}")
        elif here.opname in REFUSED or "BACKWARD" in here.opname:
            raise error(f"{name}: loops, imports, inner functions and raise are not possible; {allowed}")


def fingerprint(function: Callable) -> tuple:
    """What of a function's source decides what it computes."""
    code = function.__code__
    constants = tuple((type(c).__name__, c) for c in code.co_consts if not isinstance(c, (str, types.CodeType)))
    return code.co_code.hex(), constants, code.co_names, code.co_varnames


def has_file(function: Callable) -> bool:
    """Whether the function comes from a source file, and not from a notebook cell or a prompt."""
    try:
        return Path(inspect.getsourcefile(function) or "").is_file()
    except TypeError:
        return False


def plain_name(name: str) -> str:
    """A name in letters and digits.

    >>> plain_name("adagrad[l1]")
    'adagrad_l1_'
    """
    return re.sub(r"[^0-9a-zA-Z]+", "_", name)
