"""The GPU engine beside a device copy and torch's optimizers: `python -m benchmarks.gpu [TOPIC …] [--quick]`.

It compiles every kernel, checks each against the CPU engine, and times it by device events: every figure is the median
over rounds in which the contenders take turns, on random data that rotate through more memory than the cache holds.
Without a GPU, `--quick` runs all of it in Triton's interpreter, for the sake of the script.
"""

import argparse
import dataclasses
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
ROTATE = 200 << 20
"""Bytes that inputs rotate through; the caches of today's GPUs hold 40 to 130 MB."""


class Sizes(NamedTuple):
    """How large the problems are."""

    dense: int
    checked: int
    beside: tuple[int, ...]
    small: tuple[int, int]
    table: tuple[int, int, int]
    rounds: int
    seconds: float


FULL = Sizes(
    dense=256 << 20,
    checked=1_000_003,
    beside=(1_000, 32_000, 1_000_000, 32_000_000, 256_000_000, 1_000_000_000),
    small=(1_000, 1_000),
    table=(10_000_000, 128, 81_920),
    rounds=11,
    seconds=0.02,
)
QUICK = Sizes(dense=100, checked=103, beside=(100,), small=(2, 10), table=(10, 4, 6), rounds=1, seconds=0.0)


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


def beside(what: str, times: Mapping[str, Times], bar: float | None) -> Row:
    """Ours, the first, beside the fastest of the others."""
    ours, *others = times
    best = min(others, key=lambda name: times[name].median)
    return Row(what, str(times[ours]), f"{best}: {times[best]}", times_as_fast(times[ours], times[best]), bar=bar)


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
    turn = itertools.cycle(optimizers)
    return lambda: next(turn).step()


def ours(**settings: Any) -> dict[str, Any]:
    return settings | ({} if device().type == "cuda" else {"engine": "gpu"})


# The topics


def checks(sizes: Sizes) -> Iterator[Row]:
    """Every rule steps as it does on the CPU; a rule that does not is named with the largest difference."""
    for name, rule in rules.REGISTRY.items():
        data, slope = random(sizes.checked), random(sizes.checked)
        pair = [torch.nn.Parameter(data.clone()), torch.nn.Parameter(data.cpu().clone())]
        optimizers = [
            optim.RuleOptimizer([pair[0]], rule, **ours()),
            optim.RuleOptimizer([pair[1]], rule, engine="reference" if device().type == "cpu" else "cpu"),
        ]
        for parameter, optimizer in zip(pair, optimizers, strict=True):
            for _ in range(3):
                parameter.grad = slope.to(parameter.device)
                optimizer.step()
        differs = int((pair[0].cpu() != pair[1]).sum())
        share = differs / sizes.checked
        yield Row(
            f"{name}: coordinates that differ from the CPU engine's",
            f"{differs:,} of {sizes.checked:,}",
            "three steps, bit for bit",
            Figure(100 * share, 100 * share, 100 * share),
            "%",
            bar=0.0,
            at_most=True,
        )


def bandwidth(sizes: Sizes) -> Iterator[Row]:
    """Each rule's bytes per second beside a copy's, which reads and writes 4 bytes a number."""
    source, target = random(sizes.dense), random(sizes.dense)
    for name, rule in rules.REGISTRY.items():
        step = stepper(lambda p, rule=rule: optim.RuleOptimizer(p, rule, **ours()), [(sizes.dense,)], 1)
        times = race({"ours": step, "copy_": lambda: target.copy_(source)}, sizes)
        words = 3 + 2 * len(Step(rule, engine="reference").rule.slots)
        speed = 4 * words * sizes.dense / times["ours"].median / 1e9
        copied = 8 * sizes.dense / times["copy_"].median / 1e9
        figure = times_as_fast(times["ours"], times["copy_"], words / 2)
        yield Row(
            f"{name}, {sizes.dense:,} float32", f"{speed:,.0f} GB/s", f"copy_: {copied:,.0f} GB/s", figure, bar=COPY_BAR
        )
        del step


def optimizers(sizes: Sizes) -> Iterator[Row]:
    """Beside torch's fused and foreach optimizers, from small to large."""
    pairs = (
        ("Adagrad", {"fused": True}, FUSED_BAR),
        ("Adam", {"fused": True}, FUSED_BAR),
        ("RMSprop", {"foreach": True}, FOREACH_BAR),
        ("Adadelta", {"foreach": True}, FOREACH_BAR),
    )
    for (name, hint, bar), size in itertools.product(pairs, sizes.beside):
        copies = max(1, min(16, ROTATE // (16 * size)))
        hint = hint if device().type == "cuda" or "fused" not in hint else {}
        contenders = {
            "ours": stepper(getattr(optim, name), [(size,)], copies, lr=0.01, **ours()),
            f"torch.{name}({described(hint)})": stepper(getattr(torch.optim, name), [(size,)], copies, lr=0.01, **hint),
        }
        yield beside(f"{name}, {size:,} float32", race(contenders, sizes), bar)
        del contenders


def described(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in settings.items())


def small_tensors(sizes: Sizes) -> Iterator[Row]:
    """A thousand small tensors: called, and replayed as a CUDA graph."""
    count, size = sizes.small
    shapes, what = [(size,)] * count, f"Adam, {count:,} tensors of {size:,}"
    on_gpu = device().type == "cuda"
    hint = {"fused": True} if on_gpu else {}
    contenders = {
        "ours": stepper(optim.Adam, shapes, 4, **ours()),
        "torch.Adam(fused)": stepper(torch.optim.Adam, shapes, 4, **hint),
    }
    yield beside(what, race(contenders, sizes), FUSED_BAR)
    if not on_gpu:
        yield Row(f"{what}, as a CUDA graph", "", "needs a CUDA GPU", bar=FUSED_BAR)
        return
    contenders = {
        "ours": replayed(stepper(optim.Adam, shapes, 1, capturable=True)),
        "torch.Adam(fused)": replayed(stepper(torch.optim.Adam, shapes, 1, capturable=True, fused=True)),
    }
    yield beside(f"{what}, as a CUDA graph", race(contenders, sizes), FUSED_BAR)


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
    return graph.replay


def sparse(sizes: Sizes) -> Iterator[Row]:
    """AdaGrad of an embedding table, its ids by Zipf's law with duplicates, beside torch's sparse AdaGrad."""
    rows, width, count = sizes.table
    gradients = [zipf_gradient(rows, width, count, seed) for seed in range(8)]
    for name, settings in (("per coordinate", {}), ("per row", {"granularity": "row"})):
        contenders = {
            "ours": sparse_stepper(optim.Adagrad, rows, width, gradients, **ours(), **settings),
            "torch.Adagrad": sparse_stepper(torch.optim.Adagrad, rows, width, gradients),
        }
        what = f"sparse Adagrad {name}, {rows:,} × {width}, {count:,} ids"
        yield beside(what, race(contenders, sizes), SPARSE_BAR)
        del contenders


def zipf_gradient(rows: int, width: int, count: int, seed: int) -> Any:
    """The k-th most frequent row has a share in proportion to k^−1.1; frequent rows are scattered over the table."""
    source = torch.Generator().manual_seed(seed)
    share = torch.cumsum(torch.arange(1, rows + 1, dtype=torch.float64) ** -1.1, 0)
    place = torch.searchsorted(share, torch.rand(count, dtype=torch.float64, generator=source) * share[-1])
    ids = torch.randperm(rows, generator=torch.Generator().manual_seed(0))[place].to(device())
    return torch.sparse_coo_tensor(ids[None], random(count, width), (rows, width), check_invariants=False)


def sparse_stepper(kind: Any, rows: int, width: int, gradients: list[Any], **settings: Any) -> Callable[[], object]:
    parameter, turn = torch.nn.Parameter(random(rows, width)), itertools.cycle(gradients)
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


def main() -> int:
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
    torch.sparse.check_sparse_tensor_invariants.disable()
    console, sizes, sections = Console(width=200), QUICK if arguments.quick else FULL, []
    for topic in arguments.topics or TOPICS:
        section = report.Section(topic, f"{TITLE}: {str(TOPICS[topic].__doc__).rstrip('.')}")
        for row in TOPICS[topic](sizes):
            section.rows.append(dataclasses.replace(row, bar=None) if arguments.quick else row)
        console.print(report.table(section))
        sections.append(section)
    about = facts()
    for key, value in about.items():
        console.print(f"{key}: {value}", highlight=False, markup=False)
    console.print(report.summary(sections), highlight=False, markup=False)
    if arguments.json:
        data = report.as_data(about, sections)
        arguments.json.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
