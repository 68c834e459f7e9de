"""PyTorch optimizers compared with torch's own, FBGEMM's and pytorch_optimizer's, in training steps as users take them.

An embedding bag over a million rows whose ids follow Zipf's law; a thousand small tensors; one large dense tensor.
"""

import contextlib
import ctypes
import itertools
import multiprocessing
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.harness import Row, Times, installed, race, times_as_fast
from benchmarks.rows import BAG, bags, gradient, zipf_batches
from surefoot.engines import get_threads, set_threads

torch = installed("torch")

TITLE = "PyTorch optimizers"
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""glibc's names for settings of mallopt."""
KEPT, SENT_BACK = 1 << 30, 1 << 25
"""Bytes: all that is freed is kept; and the most that glibc keeps by itself."""
EXACT, ROW_WISE = {}, {"granularity": "row"}


def measure(quick: bool) -> Iterator[Row]:
    if not torch:
        yield Row("optimizers", "", "torch is not installed")
        return
    torch.sparse.check_sparse_tensor_invariants.disable()  # as by default, but without a warning
    torch.set_num_threads(get_threads())
    yield from embedding_steps(*((1_000, 4, 400, 2) if quick else (1_000_000, 64, 81_920, 21)))
    yield from embedding_training(*((1_000, 4, 400, 2) if quick else (1_000_000, 64, 81_920, 21)))
    yield from several_tables(*((3, 1_000, 4, 100, 2) if quick else (26, 100_000, 16, 2_048, 21)))
    yield from features_training(*((3, 1_000, 4, 100, 2) if quick else (50, 100_000, 64, 256, 21)))
    yield from large_tensor(*((10_000, 2) if quick else (100_000_000, 11)))
    medium, rounds = (10_000, 2) if quick else (20_000_000, 11)
    with multiprocessing.get_context("spawn").Pool(1) as new_process:
        yield from new_process.apply(without_fused, (medium, rounds))
    yield from small_tensors(*((10, 10, 2) if quick else (1_000, 1_000, 21)))
    with memory_kept():
        yield from without_fused(medium, rounds, ", freed memory kept")


def compared(what: str, ours: Times, peers: dict[str, Times], bar: float | None) -> Row:
    """Our time compared with that of the fastest peer."""
    name = min(peers, key=lambda peer: peers[peer].median)
    return Row(what, str(ours), f"{name}: {peers[name]}", times_as_fast(ours, peers[name]), bar=bar)


# Embeddings


def embedding_steps(table: int, width: int, count: int, rounds: int) -> Iterator[Row]:
    """The step alone, along gradients that were made before: exact and row-wise, on one thread and on all.

    The gradients are those of torch's EmbeddingBag, and once those of ours, which sums equal ids in its backward pass.
    """
    batches = zipf_batches(table, count)
    gradients = {home: [gradient(table, width, ids, home) for ids in batches] for home in ("torch.nn", "surefoot.nn")}
    what = f"step of an embedding table, {table:,} × {width}, {count:,} ids"

    def step(kind: str, threads: int, home: str = "torch.nn", **settings) -> Callable[[], object]:
        parameter, turn = torch.nn.Parameter(torch.randn(table, width)), itertools.cycle(gradients[home])
        optimizer = optimizer_of(kind, [parameter], lr=0.01, **settings)

        def run():
            torch.set_num_threads(threads)
            set_threads(threads)
            parameter.grad = next(turn)
            optimizer.step()

        return run

    most = get_threads()
    contenders = {
        "exact": step("surefoot.Adagrad", most),
        "row-wise": step("surefoot.Adagrad", most, **ROW_WISE),
        "our bag": step("surefoot.Adagrad", most, "surefoot.nn"),
        "one thread": step("surefoot.Adagrad", 1),
        "torch.Adagrad": step("torch.Adagrad", most),
        "torch.Adagrad on one thread": step("torch.Adagrad", 1),
    }
    times = race(contenders, rounds)
    set_threads(None)
    torch.set_num_threads(most)
    torchs = {name: time for name, time in times.items() if name.startswith("torch")}
    yield compared(what, times["exact"], torchs, bar=8)
    yield compared(f"{what}, after surefoot.nn.EmbeddingBag", times["our bag"], torchs, bar=8)
    yield compared(f"{what}, row-wise", times["row-wise"], torchs, bar=8)
    yield compared(f"{what}, row-wise compared with exact", times["row-wise"], {"exact": times["exact"]}, bar=1)
    if most > 1:
        yield compared(
            f"{what}, {most} threads compared with one", times["exact"], {"one": times["one thread"]}, bar=1.2
        )


def several_tables(tables: int, rows: int, width: int, count: int, rounds: int) -> Iterator[Row]:
    """The step of a recommender's tables, one for each categorical feature."""
    batches = zipf_batches(rows, count)
    gradients = [[gradient(rows, width, ids) for ids in batches] for _ in range(tables)]

    def step(kind: str, **settings) -> Callable[[], object]:
        parameters = [torch.nn.Parameter(torch.randn(rows, width)) for _ in range(tables)]
        optimizer, turn = optimizer_of(kind, parameters, lr=0.01, **settings), itertools.cycle(range(len(batches)))

        def run():
            batch = next(turn)
            for table, parameter in enumerate(parameters):
                parameter.grad = gradients[table][(table + batch) % len(batches)]
            optimizer.step()

        return run

    contenders = {"exact": step("surefoot.Adagrad"), "row-wise": step("surefoot.Adagrad", **ROW_WISE)}
    times = race(contenders | {"torch.Adagrad": step("torch.Adagrad")}, rounds)
    for name in contenders:
        what = f"step of {tables} embedding tables, {rows:,} × {width}, {count:,} ids each, {name}"
        yield compared(what, times[name], {"torch.Adagrad": times["torch.Adagrad"]}, bar=8)


def features_training(tables: int, largest: int, width: int, batch: int, rounds: int) -> Iterator[Row]:
    """Forward, backward and step of the tables of many features, of 50 rows and more: in one call, or one by one."""
    from surefoot.nn import EmbeddingBagConfig, EmbeddingTables

    sizes = [round(50 * (largest / 50) ** (k / (tables - 1))) for k in range(tables)]
    batches = [[torch.from_numpy(ids).view(batch, BAG) for ids in zipf_batches(n, batch * BAG)] for n in sizes]
    slope = torch.randn(batch, width * tables)

    def step(forward: Callable[[list], Any], parameters, kind: str) -> Callable[[], object]:
        optimizer, turn = optimizer_of(kind, parameters, lr=0.01), itertools.cycle(zip(*batches, strict=True))

        def run():
            optimizer.zero_grad()
            forward(list(next(turn))).backward(slope)
            optimizer.step()

        return run

    def in_one_call() -> Callable[[], object]:
        module = EmbeddingTables([EmbeddingBagConfig(n, width, f"table_{k}") for k, n in enumerate(sizes)])
        names = [f"table_{k}" for k in range(tables)]
        together = lambda ids: module(dict(zip(names, ids, strict=True))).values()  # noqa: E731
        return step(together, module.parameters(), "surefoot.Adagrad")

    def one_by_one(kind: str) -> Callable[[], object]:
        bags = torch.nn.ModuleList(torch.nn.EmbeddingBag(n, width, mode="sum", sparse=True) for n in sizes)
        return step(
            lambda ids: torch.cat([bag(own) for bag, own in zip(bags, ids, strict=True)], 1), bags.parameters(), kind
        )

    times = race(
        {"ours": in_one_call(), "bags": one_by_one("surefoot.Adagrad"), "torch": one_by_one("torch.Adagrad")}, rounds
    )
    what = f"training {tables} tables of 50 to {largest:,} × {width}, {batch} × {BAG} ids each, nn.EmbeddingTables"
    yield compared(what, times["ours"], {"torch.nn.EmbeddingBag, torch.Adagrad": times["torch"]}, bar=None)
    yield compared(what, times["ours"], {"torch.nn.EmbeddingBag, surefoot.Adagrad": times["bags"]}, bar=None)


def embedding_training(table: int, width: int, count: int, rounds: int) -> Iterator[Row]:
    """Forward, backward and step, with torch's bag and with ours. FBGEMM steps within its backward pass."""
    batches = zipf_batches(table, count)
    fbgemm = installed("fbgemm_gpu.split_table_batched_embeddings_ops_training")
    for name, settings, theirs in (("exact", EXACT, "EXACT_ADAGRAD"), ("row-wise", ROW_WISE, "EXACT_ROWWISE_ADAGRAD")):
        what = f"training an embedding bag, {table:,} × {width}, {count:,} ids, {name}"
        contenders = {
            "surefoot.nn": bag_training("surefoot.nn", "surefoot.Adagrad", table, width, batches, **settings),
            "torch.nn": bag_training("torch.nn", "surefoot.Adagrad", table, width, batches, **settings),
            "torch.Adagrad": bag_training("torch.nn", "torch.Adagrad", table, width, batches),
        }
        if fbgemm:
            contenders["FBGEMM"] = fbgemm_training(fbgemm, table, width, batches, theirs)
        times = race(contenders, rounds)
        for bag, bars in (("surefoot.nn", (4, 2.5)), ("torch.nn", (None, None))):
            row = f"{what}, {bag}.EmbeddingBag"
            yield compared(row, times[bag], {"torch.Adagrad": times["torch.Adagrad"]}, bar=bars[0])
            if fbgemm:
                yield compared(row, times[bag], {f"FBGEMM {theirs}": times["FBGEMM"]}, bar=bars[1])
            else:
                yield Row(row, "", "FBGEMM is not installed (pip install 'surefoot[bench]')", bar=bars[1])


def bag_training(home: str, kind: str, table: int, width: int, batches, **settings) -> Callable[[], object]:
    bag = installed(home).EmbeddingBag(table, width, mode="sum", sparse=True)
    optimizer = optimizer_of(kind, bag.parameters(), lr=0.01, **settings)
    turn, slope = itertools.cycle([bags(ids) for ids in batches]), torch.randn(len(batches[0]) // BAG, width)

    def run():
        optimizer.zero_grad()
        bag(*next(turn)).backward(slope)
        optimizer.step()

    return run


def fbgemm_training(fbgemm, table: int, width: int, batches, optimizer: str) -> Callable[[], object]:
    place = (table, width, fbgemm.EmbeddingLocation.HOST, fbgemm.ComputeDevice.CPU)
    kind = getattr(installed("fbgemm_gpu.split_embedding_configs").EmbOptimType, optimizer)
    embedding = fbgemm.SplitTableBatchedEmbeddingBagsCodegen([place], optimizer=kind, learning_rate=0.01, eps=1e-8)
    # FBGEMM's offsets name the end of the last bag too.
    turn = itertools.cycle([(torch.from_numpy(ids), torch.arange(0, len(ids) + 1, BAG)) for ids in batches])
    slope = torch.randn(len(batches[0]) // BAG, width)
    return lambda: embedding(*next(turn)).backward(slope)


# Dense parameters


def small_tensors(count: int, size: int, rounds: int) -> Iterator[Row]:
    for name, bar in (("Adagrad", 3), ("Adam", None), ("SGD", None)):
        contenders = {
            "ours": dense_step(f"surefoot.{name}", count, size),
            f"torch.{name}(fused=True)": dense_step(f"torch.{name}", count, size, fused=True),
        }
        times = race(contenders, rounds)
        yield compared(f"{name}, {count:,} tensors of {size:,}", times.pop("ours"), times, bar=bar)


def large_tensor(large: int, rounds: int) -> Iterator[Row]:
    what = f"Adagrad, {large:,} float32"
    times = race(
        {
            "ours": dense_step("surefoot.Adagrad", 1, large),
            "torch.Adagrad(fused=True)": dense_step("torch.Adagrad", 1, large, fused=True),
            "torch.Adagrad()": dense_step("torch.Adagrad", 1, large),
        },
        rounds,
    )
    ours = times.pop("ours")
    yield compared(what, ours, {"torch.Adagrad(fused=True)": times["torch.Adagrad(fused=True)"]}, bar=0.95)
    yield compared(what, ours, {"torch.Adagrad()": times["torch.Adagrad()"]}, bar=3)


def without_fused(size: int, rounds: int, where: str = ", in a new process") -> list[Row]:
    """Optimizers of which torch has no fused implementation. Others' make temporaries as large as the parameter."""
    rows = []
    for name in ("RMSprop", "Adadelta", "Yogi"):
        what = f"{name}, {size:,} float32{where}"
        contenders = {"ours": dense_step(f"surefoot.{name}", 1, size)}
        if name == "Yogi":
            if not installed("pytorch_optimizer"):
                rows.append(Row(what, "", "pytorch_optimizer is not installed (pip install 'surefoot[bench]')", bar=3))
                continue
            contenders["pytorch_optimizer.Yogi()"] = dense_step("pytorch_optimizer.Yogi", 1, size)
        else:
            contenders[f"torch.{name}()"] = dense_step(f"torch.{name}", 1, size)
            contenders[f"torch.{name}(foreach=True)"] = dense_step(f"torch.{name}", 1, size, foreach=True)
        times = race(contenders, rounds)
        rows.append(compared(what, times.pop("ours"), times, bar=3))
    return rows


@contextlib.contextmanager
def memory_kept() -> Iterator[None]:
    """Has glibc keep what is freed, as other allocators do, and not ask the system for memory at each large request."""

    def keep(most: int) -> None:
        with contextlib.suppress(OSError, AttributeError):  # another C library
            for option in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD):
                ctypes.CDLL(None).mallopt(option, most)

    keep(KEPT)
    try:
        yield
    finally:
        keep(SENT_BACK)


def dense_step(kind: str, count: int, size: int, **settings) -> Callable[[], object]:
    parameters = [torch.nn.Parameter(torch.randn(size)) for _ in range(count)]
    for parameter in parameters:
        parameter.grad = torch.randn(size)
    return optimizer_of(kind, parameters, lr=1e-3, **settings).step


def optimizer_of(kind: str, parameters, **settings) -> Any:
    """An optimizer by the name of its library and class."""
    library, name = kind.split(".")
    home = {"surefoot": "surefoot.optim", "torch": "torch.optim"}.get(library, library)
    return getattr(installed(home), name)(parameters, **settings)
