"""`make lint` finds a name of a kernel that is misspelled, missing or not needed; see tools/kernel_names.py."""

import importlib.util
import inspect
import sys
import types
from pathlib import Path

import pytest

from surefoot.engines.cpu import compiling
from surefoot.engines.cpu.drivers import coordinate
from surefoot.engines.cpu.kind import Kind
from surefoot.engines.program import Program
from surefoot.rules import REGISTRY

TOOL = Path(__file__).parents[2] / "tools" / "kernel_names.py"
NAMES = compiling.namespace(Kind("float32", Program(REGISTRY["adagrad"])))


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("kernel_names", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def changed(before: str, after: str) -> list[types.ModuleType]:
    """The modules of the CPU engine, with a change in the source of one."""
    source = inspect.getsource(coordinate)
    assert before in source
    module = types.ModuleType(coordinate.__name__)
    exec(compile(source.replace(before, after), coordinate.__file__, "exec"), vars(module))
    return [module if each is coordinate else each for each in compiling.MODULES]


def test_all_names_are_filled_in_and_read(tool, capfd):
    assert tool.main() == 0, capfd.readouterr().err


@pytest.mark.parametrize(
    "before, after, fault",
    [
        ("PROGRAM(", "PROGAM(", "step_row: the name PROGAM is not filled in"),
        ("MODIFIERS_IN(", "MODIFERS_IN(", "MODIFIERS_IN is filled in, but no kernel reads it"),
        ("return Acting(", "return Actin(", "acting_in: the name Actin is not filled in"),
    ],
)
def test_a_misspelled_name_is_found(tool, before, after, fault):
    assert any(fault in found for found in tool.faults(changed(before, after), NAMES))


def test_a_name_that_no_kernel_reads_is_found(tool):
    assert tool.faults(compiling.MODULES, [*NAMES, "UNREAD"]) == ["UNREAD is filled in, but no kernel reads it"]


def test_two_meanings_of_one_name_are_found(tool):
    module = types.ModuleType("another")
    module.HIGH = 1
    (fault,) = tool.clashes([*compiling.MODULES, module])
    assert fault == "HIGH means one thing in surefoot.engines.cpu.drivers.sort and another in another"


def test_kernels_are_compiled_again_where_any_of_their_modules_changes():
    from surefoot.engines.cpu.bank import compiling as bank

    specialize = sys.modules["surefoot.engines.cpu.bank.specialize"]
    assert {module.__name__.rpartition(".")[2] for module in bank.MODULES} <= set(specialize.SOURCES)
