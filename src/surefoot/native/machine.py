"""LLVM makes machine code for this processor."""

import re
from collections.abc import Iterator

import llvmlite.binding as llvm

DECLARED = re.compile(r'^(?:declare [^@]*@"?([^"(]+)"?\(|@"?([^"= ]+)"? = external )', re.MULTILINE)
MATHEMATICS = re.compile(r"llvm\.(exp|exp2|log|log2|log10|pow|sin|cos)\.f(32|64)$")
MEMORY = re.compile(r"llvm\.(memcpy|memmove|memset)\.")


def target_machine() -> llvm.TargetMachine:
    """For this processor, as Numba has it. A loader that is given it owns it from then on."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_triple(llvm.get_process_triple())
    return target.create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=3, jit=True
    )


def parsed(assembly: str, machine: llvm.TargetMachine) -> llvm.ModuleRef:
    """A module that was written for any processor, for this one.

    Raises:
        RuntimeError: a later LLVM wrote it.
    """
    module = llvm.parse_assembly(assembly)
    module.triple, module.data_layout = llvm.get_process_triple(), str(machine.target_data)
    return module


def optimize(module: llvm.ModuleRef, machine: llvm.TargetMachine) -> None:
    """Optimizes as Numba does where nothing counts references.

    Raises:
        AttributeError: this llvmlite has other means.
    """
    for level, vectorize in ((0, False), (3, True)):
        options = llvm.create_pipeline_tuning_options(level)
        options.loop_vectorization, options.slp_vectorization = vectorize, False
        builder = llvm.create_pass_builder(machine, options)
        passes = builder.getModulePassManager()
        if not vectorize:  # gives loops the form in which they are vectorized
            passes.add_loop_rotate_pass()
            passes.add_instruction_combine_pass()
            passes.add_jump_threading_pass()
        passes.run(module, builder)


def symbols(assembly: str) -> Iterator[str]:
    """What a module needs from elsewhere; of LLVM's own functions, those that become calls of the C library."""
    for name in sorted({function or variable for function, variable in DECLARED.findall(assembly)}):
        if found := MATHEMATICS.match(name):
            yield found[1] + ("f" if found[2] == "32" else "")
        elif found := MEMORY.match(name):
            yield found[1]
        elif not name.startswith("llvm."):
            yield name
