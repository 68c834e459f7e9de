"""The GPU engine compared with a device copy and torch's optimizers: `python -m benchmarks.gpu [TOPIC …] [--quick]`.

It compiles every kernel, checks each against the CPU engine, and times it by device events: every figure is the median
over rounds in which the contenders take turns, on random data that rotate through more memory than the cache holds. A
row that fails says why, and the others are measured; so are those that are due before the time is over.
Without a GPU, `--quick` runs all of it in Triton's interpreter, for the sake of the script.
"""

import argparse
import dataclasses
import functools
import gc
import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from benchmarks import machine, report
from benchmarks.harness import Figure, Row, Times, installed, times_as_fast
from surefoot import optim, rules
from surefoot.engines import Step

torch = installed("torch")
triton = installed("triton")

TITLE = "GPU"
COPY_BAR, FUSED_BAR, FOREACH_BAR, SPARSE_BAR = 0.85, 1.0, 2.0, 5.0
ROTATE, COPIES = 200 << 20, 400
"""Bytes that inputs rotate through (the caches of today's GPUs hold 40 to 130 MB), but no more copies than these."""
MINUTES = 7.5
"""When the last row is begun."""


class Sizes(NamedTuple):
    """How large the problems are."""

    dense: int
    checked: int
    compared: tuple[int, ...]
    small: tuple[int, int]
    table: tuple[int, int, int]
    rounds: int
    seconds: float


FULL = Sizes(
    dense=256 << 20,
    checked=1_000_003,
    compared=(1_000, 32_000, 1_000_000, 32_000_000, 256_000_000, 1_000_000_000),
    small=(1_000, 1_000),
    table=(10_000_000, 128, 81_920),
    rounds=11,
    seconds=0.02,
)
QUICK = Sizes(dense=100, checked=103, compared=(100,), small=(2, 10), table=(10, 4, 6), rounds=1, seconds=0.0)


def device() -> Any:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def reading(call: Callable[[], object], calls: int) -> float:
    """Seconds per call, between two events on the device: of the host's time, what it takes longer than the device."""
    if device().type == "cpu":
        begin = time.perf_counter()
        for _ in range(calls):
            call()
        return (time.perf_counter() - begin) / calls
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    begin.record()
    for _ in range(calls):
        call()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1e3 / calls


def race(contenders: Mapping[str, Callable[[], object]], sizes: Sizes) -> dict[str, Times]:
    """Times the contenders in turn, round after round; compilation and first touches come before."""
    names, calls = list(contenders), {}
    for name, call in contenders.items():
        reading(call, 3 if sizes.seconds else 1)
        calls[name] = max(1, min(2_000, round(sizes.seconds / reading(call, 1)))) if sizes.seconds else 1
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(sizes.rounds):
        start = turn % len(names)
        for name in names[start:] + names[:start]:
            seconds[name].append(reading(contenders[name], calls[name]))
    return {name: Times(tuple(values)) for name, values in seconds.items()}


def compared(what: str, times: Mapping[str, Times], bar: float | None) -> Row:
    """Ours, the first, compared with the fastest of the others."""
    ours, *others = times
    best = min(others, key=lambda name: times[name].median)
    return Row(what, str(times[ours]), f"{best}: {times[best]}", times_as_fast(times[ours], times[best]), bar=bar)


class Case(NamedTuple):
    """A row to be measured."""

    what: str
    measure: Callable[[], Row]


def random(*shape: int) -> Any:
    return torch.randn(shape, device=device())


def stepper(kind: Any, shapes: list[tuple[int, ...]], copies: int, **settings: Any) -> Callable[[], object]:
    """Steps sets of parameters in turn."""
    optimizers = []
    for _ in range(copies):
        parameters = [torch.nn.Parameter(random(*shape)) for shape in shapes]
        for parameter in parameters:
            parameter.grad = random(*parameter.shape)
        optimizers.append(kind(parameters, **settings))
        optimizers[-1].step()  # memory is made, and kernels are compiled
    turn = itertools.cycle(optimizers)
    return lambda: next(turn).step()


def ours(**settings: Any) -> dict[str, Any]:
    return settings | ({} if device().type == "cuda" else {"engine": "gpu"})


# The topics


def checks(sizes: Sizes) -> Iterator[Case]:
    """Every rule steps as it does on the CPU, bit for bit, along dense gradients; AdaGrad along sparse ones too."""
    for name in rules.REGISTRY:
        make = functools.partial(optim.RuleOptimizer, rule=name)
        gradient = functools.partial(random, sizes.checked)
        yield Case(f"{name}, dense", functools.partial(difference, f"{name}, dense", make, gradient))
    gradient = functools.partial(zipf_gradient, sizes.checked // 1000 + 9, 33, sizes.checked // 50 + 9)
    for settings in ({}, {"granularity": "row"}, {"l1": 1e-3}):
        what = f"adagrad, sparse, {described(settings) or 'per coordinate'}"
        make = functools.partial(optim.RuleOptimizer, rule="adagrad", **settings)
        yield Case(what, functools.partial(difference, what, make, gradient))


def difference(what: str, make: Callable[..., Any], new_gradient: Callable[[], Any]) -> Row:
    """Steps here and on the CPU; the share of coordinates that differ."""
    gradients = [new_gradient() for _ in range(3)]
    data = random(*gradients[0].shape)
    pair = [torch.nn.Parameter(data.clone()), torch.nn.Parameter(data.cpu().clone())]
    cpu = {"engine": "reference" if device().type == "cpu" else "cpu"}
    for parameter, settings in zip(pair, (ours(), cpu), strict=True):
        optimizer = make([parameter], **settings)
        for gradient in gradients:
            parameter.grad = gradient.to(parameter.device)
            optimizer.step()
        optimizer.settle()
        optimizer.synchronize()
    differs, size = int((pair[0].cpu() != pair[1]).sum()), data.numel()
    share = 100 * differs / size
    told = f"{differs:,} of {size:,} coordinates differ"
    return Row(what, told, "the CPU engine, three steps", Figure(share, share, share), "%", bar=0.0, at_most=True)


def bandwidth(sizes: Sizes) -> Iterator[Case]:
    """Each rule's bytes per second compared with a copy's, which reads and writes 4 bytes a number."""
    for name, rule in rules.REGISTRY.items():
        what = f"{name}, {sizes.dense:,} float32"
        yield Case(what, functools.partial(beside_copy, what, rule, sizes))


def beside_copy(what: str, rule: rules.Rule, sizes: Sizes) -> Row:
    source, target = random(sizes.dense), random(sizes.dense)
    step = stepper(functools.partial(optim.RuleOptimizer, rule=rule), [(sizes.dense,)], 1, **ours())
    times = race({"ours": step, "copy_": lambda: target.copy_(source)}, sizes)
    words = 3 + 2 * len(Step(rule, engine="reference").rule.slots)
    speed = 4 * words * sizes.dense / times["ours"].median / 1e9
    copied = 8 * sizes.dense / times["copy_"].median / 1e9
    figure = times_as_fast(times["ours"], times["copy_"], words / 2)
    return Row(what, f"{speed:,.0f} GB/s", f"copy_: {copied:,.0f} GB/s", figure, bar=COPY_BAR)


PEERS = (
    ("Adagrad", {"fused": True}, FUSED_BAR),
    ("Adagrad", {"foreach": True}, None),
    ("Adam", {"fused": True}, FUSED_BAR),
    ("Adam", {"foreach": True}, None),
    ("RMSprop", {"foreach": True}, FOREACH_BAR),
    ("Adadelta", {"foreach": True}, FOREACH_BAR),
)
"""Optimizers of torch, how they are computed (it has no fused RMSprop and Adadelta), and what is asked of us."""


def optimizers(sizes: Sizes) -> Iterator[Case]:
    """Compared with torch's fused and foreach optimizers, from small to large."""
    for (name, hint, bar), size in itertools.product(PEERS, sizes.compared):
        what = f"{name}, {size:,} float32, compared with torch's {described(hint)}"
        yield Case(what, functools.partial(beside_torch, name, hint, bar, size, sizes))


def beside_torch(name: str, hint: dict[str, bool], bar: float | None, size: int, sizes: Sizes) -> Row:
    size, wanted = fitting(size), size
    copies = max(1, min(COPIES, ROTATE // (16 * size)))
    contenders = {
        "ours": stepper(getattr(optim, name), [(size,)], copies, lr=0.01, **ours()),
        f"torch.{name}({described(hint)})": stepper(getattr(torch.optim, name), [(size,)], copies, lr=0.01, **hint),
    }
    note = "" if size == wanted else f" ({wanted:,} would not fit in this GPU's memory)"
    return compared(f"{name}, {size:,} float32{note}", race(contenders, sizes), bar)


def fitting(size: int) -> int:
    """The size, or so much of it that two optimizers of four numbers a coordinate, and what torch computes in between,
    another four, fit in memory."""
    if device().type == "cpu":
        return size
    torch.cuda.empty_cache()
    return min(size, torch.cuda.mem_get_info()[0] // (4 * 12))


def described(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in settings.items())


def small_tensors(sizes: Sizes) -> Iterator[Case]:
    """Many small tensors: called, and replayed as a CUDA graph."""
    count, size = sizes.small
    shapes, what, on_gpu = [(size,)] * count, f"{count:,} tensors of {size:,}", device().type == "cuda"
    for name, hint, bar in PEERS:
        whole = f"{name}, {what}, compared with torch's {described(hint)}"
        settings = ours(), hint
        yield Case(whole, functools.partial(beside_small, whole, name, settings, shapes, bar, stepper, sizes))
    whole = f"Adam, {what}, as a CUDA graph"
    if not on_gpu:
        yield Case(whole, lambda: Row(whole, "", "needs a CUDA GPU", bar=FUSED_BAR))
        return
    settings = {"capturable": True}, {"capturable": True, "fused": True}
    yield Case(whole, functools.partial(beside_small, whole, "Adam", settings, shapes, FUSED_BAR, replayer, sizes))


def beside_small(what: str, name: str, settings: tuple, shapes: list, bar: float | None, make, sizes: Sizes) -> Row:
    contenders = {
        "ours": make(getattr(optim, name), shapes, 4, lr=0.01, **settings[0]),
        f"torch.{name}({described(settings[1])})": make(getattr(torch.optim, name), shapes, 4, lr=0.01, **settings[1]),
    }
    return compared(what, race(contenders, sizes), bar)


def replayer(kind: Any, shapes: list[tuple[int, ...]], copies: int, **settings: Any) -> Callable[[], object]:
    """Replays graphs of steps of sets of parameters in turn."""
    graphs = itertools.cycle([replayed(stepper(kind, shapes, 1, **settings)) for _ in range(copies)])
    return lambda: next(graphs)()


def replayed(step: Callable[[], object]) -> Callable[[], object]:
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()

    def replay(step=step) -> None:  # the graph steps what `step` keeps
        graph.replay()

    return replay


def sparse(sizes: Sizes) -> Iterator[Case]:
    """AdaGrad of an embedding table, its ids by Zipf's law with duplicates, compared with torch's sparse AdaGrad."""
    rows, width, count = sizes.table
    for name, settings in (("per coordinate", {}), ("per row", {"granularity": "row"})):
        what = f"sparse Adagrad {name}, {rows:,} × {width}, {count:,} ids"
        yield Case(what, functools.partial(beside_sparse, what, settings, sizes))


def beside_sparse(what: str, settings: dict[str, str], sizes: Sizes) -> Row:
    gradients = [zipf_gradient(*sizes.table, seed) for seed in range(8)]
    contenders = {
        "ours": sparse_stepper(optim.Adagrad, sizes.table, gradients, **ours(), **settings),
        "torch.Adagrad": sparse_stepper(torch.optim.Adagrad, sizes.table, gradients),
    }
    return compared(what, race(contenders, sizes), SPARSE_BAR)


def zipf_gradient(rows: int, width: int, count: int, seed: int = 0) -> Any:
    """The k-th most frequent row has a share in proportion to k^−1.1; frequent rows are scattered over the table."""
    source = torch.Generator().manual_seed(seed)
    share, places = zipf(rows)
    place = torch.searchsorted(share, torch.rand(count, dtype=torch.float64, generator=source) * share[-1])
    ids = places[place].to(device())
    return torch.sparse_coo_tensor(ids[None], random(count, width), (rows, width), check_invariants=False)


@functools.cache
def zipf(rows: int) -> tuple[Any, Any]:
    """(running sum of the shares of rows, in order of frequency; the row of each)."""
    share = torch.cumsum(torch.arange(1, rows + 1, dtype=torch.float64) ** -1.1, 0)
    return share, torch.randperm(rows, generator=torch.Generator().manual_seed(0))


def sparse_stepper(kind: Any, table: tuple[int, int, int], gradients: list[Any], **settings: Any) -> Callable:
    parameter, turn = torch.nn.Parameter(random(*table[:2])), itertools.cycle(gradients)
    optimizer = kind([parameter], lr=0.01, **settings)

    def step() -> None:
        parameter.grad = next(turn)
        optimizer.step()

    return step


TOPICS = {"checks": checks, "bandwidth": bandwidth, "optimizers": optimizers, "small": small_tensors, "sparse": sparse}


def facts() -> dict[str, str]:
    found = machine.facts() | {"triton": machine.version("triton")}
    if device().type == "cuda":
        properties = torch.cuda.get_device_properties(0)
        memory, cache = properties.total_memory / 2**30, properties.L2_cache_size / 2**20
        found["gpu"] = f"{properties.name}, {memory:.0f} GiB, cache {cache:.0f} MiB, CUDA {torch.version.cuda}"
    return found


def measured(case: Case, deadline: float) -> Row:
    """Its row, or one that says why there is none."""
    if time.monotonic() > deadline:
        return Row(case.what, "", f"not measured: {MINUTES:g} minutes were over; name its topic to measure it alone")
    gc.collect()  # the memory of the row before is needed
    try:
        return case.measure()
    except Exception as error:
        lines = str(error).strip().splitlines()
        return Row(case.what, "", f"failed: {type(error).__name__}: {lines[0] if lines else ''}")


def main() -> int:
    """Measures; returns 1 where a row failed, or a check."""
    arguments = parse()
    begin = time.monotonic()
    torch.sparse.check_sparse_tensor_invariants.disable()
    console, sizes, sections = Console(width=200), QUICK if arguments.quick else FULL, []
    about = facts()
    for topic in arguments.topics or TOPICS:
        section = report.Section(topic, f"{TITLE}: {str(TOPICS[topic].__doc__).partition(chr(10))[0].rstrip('.')}")
        sections.append(section)
        for case in TOPICS[topic](sizes):
            row = measured(case, begin + 60 * MINUTES)
            section.rows.append(dataclasses.replace(row, bar=None) if arguments.quick and topic != "checks" else row)
            if arguments.json:  # after every row: what is measured is kept, whatever comes
                data = report.as_data(about, sections)
                arguments.json.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        console.print(report.table(section))
    for key, value in (about | {"minutes": f"{(time.monotonic() - begin) / 60:.1f}"}).items():
        console.print(f"{key}: {value}", highlight=False, markup=False)
    console.print(report.summary(sections), highlight=False, markup=False)
    rows = [(section.topic, row) for section in sections for row in section.rows]
    return int(any(row.peer.startswith("failed") or (at == "checks" and row.verdict == "short") for at, row in rows))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks.gpu", description=str(__doc__).partition("\n")[0])
    parser.add_argument("topics", nargs="*", metavar="TOPIC", help=f"some of {', '.join(TOPICS)}; all by default")
    parser.add_argument("--quick", action="store_true", help="tiny sizes; without a GPU, in Triton's interpreter")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.topics) - set(TOPICS)):
        parser.error(f"there is no topic {', '.join(unknown)}; there are {', '.join(TOPICS)}")
    if not torch or not triton:
        parser.error("torch and triton are needed: pip install torch triton")
    if device().type == "cpu" and not arguments.quick:
        parser.error("there is no CUDA GPU here; expected one, or --quick for Triton's interpreter")
    if device().type == "cpu":
        os.environ["TRITON_INTERPRET"] = "1"
    return arguments


if __name__ == "__main__":
    sys.exit(main())
