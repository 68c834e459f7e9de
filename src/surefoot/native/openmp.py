"""A call of a kernel in machine code: by one thread, or for all of its parts by the threads of a `loader.Team`."""

from typing import Any

from llvmlite import ir
from numba import types

from surefoot.native.loader import ENTRY, NONE

WORD, STATUS, SECONDS = ir.IntType(64), ir.IntType(32), ir.DoubleType()
TEAM = ir.LiteralStructType([WORD, WORD, WORD, WORD, SECONDS, SECONDS, SECONDS])
PARALLEL, CLOCK, THREADS, PARTS, BEGUN, DONE, ENDED = range(7)
"""`loader.Team`, and its fields."""
NEXT, TOTAL, FAILED, RAISED, OF = range(5)
"""What a team's threads share, before the arguments: the next part, the sum of the results, the status of a call that
failed and the record of what it raised, and the team."""


def call(builder: ir.IRBuilder, kernel: Any, called: ir.Function, arguments: list) -> tuple[ir.Value, ir.Value]:
    """The status, 0 where all is well, and the result or else the record of what was raised, as a word."""
    returned, raised = (at_entry(builder, pointer.pointee) for pointer in called.function_type.args[:2])
    builder.store(ir.Constant(raised.type.pointee, None), raised)
    status = builder.call(called, [returned, raised, *arguments])
    good = builder.or_(*(builder.icmp_signed("==", status, STATUS(code)) for code in (0, NONE)))
    nothing = isinstance(kernel.restype, types.NoneType)
    value = WORD(0) if nothing else widened(builder, builder.load(returned), kernel.restype)
    record = builder.ptrtoint(builder.load(raised), WORD)
    return builder.select(good, STATUS(0), status), builder.select(good, value, record)


def at_entry(builder: ir.IRBuilder, type_: ir.Type) -> ir.Value:
    """Memory for as long as the function runs: elsewhere, a loop would take more and more."""
    with builder.goto_entry_block():
        return builder.alloca(type_)


def shared(builder: ir.IRBuilder, kernel: Any, called: ir.Function, arguments: list, result: ir.Value, team: ir.Value):
    """Has a team call the kernel for all parts; returns the status, and leaves the sum of the results.

    All that its threads share is in a frame, which lives as long as this call.
    """
    contents = [WORD(0), WORD(0), STATUS(0), WORD(0), team, *arguments]
    frame_type = ir.LiteralStructType([value.type for value in contents])
    frame = at_entry(builder, frame_type)
    for k, value in enumerate(contents):
        builder.store(value, field(builder, frame, k))
    worker = worker_of(kernel, called, frame_type)
    builder.store(clock(builder, team), field(builder, team, BEGUN))
    builder.store(SECONDS(0.0), field(builder, team, DONE))
    byte = ir.IntType(8).as_pointer()
    parallel_type = ir.FunctionType(ir.VoidType(), [worker.type, byte, STATUS, STATUS])
    parallel = builder.inttoptr(builder.load(field(builder, team, PARALLEL)), parallel_type.as_pointer())
    count = builder.trunc(builder.load(field(builder, team, THREADS)), STATUS)
    builder.call(parallel, [worker, builder.bitcast(frame, byte), count, STATUS(0)])
    builder.store(clock(builder, team), field(builder, team, ENDED))
    total, failed, raised = (builder.load(field(builder, frame, k)) for k in (TOTAL, FAILED, RAISED))
    builder.store(builder.select(builder.icmp_signed("==", failed, STATUS(0)), total, raised), result)
    return failed


def worker_of(kernel: Any, called: ir.Function, frame_type: ir.Type) -> ir.Function:
    """What each thread of a team does: it takes parts as long as there are any."""
    byte = ir.IntType(8).as_pointer()
    worker = ir.Function(called.module, ir.FunctionType(ir.VoidType(), [byte]), f"{ENTRY}_worker")
    worker.linkage = "internal"
    builder = ir.IRBuilder(worker.append_basic_block())
    frame = builder.bitcast(worker.args[0], frame_type.as_pointer())
    team = builder.load(field(builder, frame, OF))
    parts = builder.load(field(builder, team, PARTS))
    arguments = [builder.load(field(builder, frame, k)) for k in range(OF + 1, len(frame_type.elements) - 1)]
    take, work, leave = (worker.append_basic_block(name) for name in ("take", "work", "leave"))
    builder.branch(take)
    builder.position_at_end(take)
    part = builder.atomic_rmw("add", field(builder, frame, NEXT), WORD(1), "monotonic")
    builder.cbranch(builder.icmp_unsigned("<", part, parts), work, leave)
    builder.position_at_end(work)
    status, value = call(builder, kernel, called, [*arguments, part])
    with builder.if_else(builder.icmp_signed("==", status, STATUS(0))) as (then, otherwise):
        with then:
            builder.atomic_rmw("add", field(builder, frame, TOTAL), value, "monotonic")
        with otherwise:
            builder.atomic_rmw("xchg", field(builder, frame, RAISED), value, "monotonic")
            builder.atomic_rmw("xchg", field(builder, frame, FAILED), status, "monotonic")
    builder.branch(take)
    builder.position_at_end(leave)
    done = builder.bitcast(field(builder, team, DONE), WORD.as_pointer())
    builder.cmpxchg(done, WORD(0), builder.bitcast(clock(builder, team), WORD), "monotonic", "monotonic")
    builder.ret_void()
    return worker


def clock(builder: ir.IRBuilder, team: ir.Value) -> ir.Value:
    """The time, in seconds."""
    pointer = ir.FunctionType(SECONDS, []).as_pointer()
    return builder.call(builder.inttoptr(builder.load(field(builder, team, CLOCK)), pointer), [])


def field(builder: ir.IRBuilder, record: ir.Value, k: int) -> ir.Value:
    return builder.gep(record, [STATUS(0), STATUS(k)])


def widened(builder: ir.IRBuilder, value: ir.Value, type_: types.Type) -> ir.Value:
    """A result as a word."""
    if isinstance(type_, types.Float):
        wide = value if type_ == types.float64 else builder.fpext(value, ir.DoubleType())
        return builder.bitcast(wide, WORD)
    if value.type == WORD:
        return value
    signed = isinstance(type_, types.Integer) and type_.signed
    return builder.sext(value, WORD) if signed else builder.zext(value, WORD)
