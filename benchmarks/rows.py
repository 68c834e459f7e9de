"""Sparse gradients: a step on a table of a million rows of which a batch names few, many of them often.

The ids follow Zipf's law, as words and users do: the k-th most frequent of a million rows has a share in proportion
to k^−1.1. The gradient is what torch's EmbeddingBag(sparse=True) makes of them, duplicates and all. Each call takes the
next of eight such gradients, as training would; our time includes getting NumPy's view of it.
"""

import itertools
from collections.abc import Callable, Iterator

import numpy as np

from benchmarks.harness import Row, installed, race, times_as_fast
from surefoot.engines import Step, get_threads

torch = installed("torch")

TITLE = "Sparse gradients: an embedding table, its ids by Zipf's law"
BAR = 8
EXPONENT = 1.1
BAG = 20
BATCHES = 8


def measure(quick: bool) -> Iterator[Row]:
    """AdaGrad per coordinate and per row compared with torch's sparse AdaGrad."""
    table, width, count, rounds = (1_000, 4, 400, 2) if quick else (1_000_000, 64, 81_920, 21)
    batches = zipf_batches(table, count)
    distinct = int(np.median([len(np.unique(ids)) for ids in batches]))
    what = f"{table:,} × {width}, {count:,} ids, {distinct:,} of them distinct"
    if not torch:
        yield Row(what, "", "torch is not installed", bar=BAR)
        return
    torch.sparse.check_sparse_tensor_invariants.disable()  # as by default, but without a warning
    gradients = [gradient(table, width, ids) for ids in batches]
    contenders = {granularity: our_step(table, width, gradients, granularity) for granularity in ("coordinate", "row")}
    contenders |= {threads: their_step(table, width, gradients, threads) for threads in {1, get_threads()}}
    times = race(contenders, rounds)
    best = min({1, get_threads()}, key=lambda threads: times[threads].median)
    for granularity in ("coordinate", "row"):
        ours, theirs = times[granularity], times[best]
        peer = f"torch Adagrad() on the sparse gradient, {best} thread{'s' * (best > 1)}: {theirs}"
        yield Row(f"AdaGrad per {granularity}: {what}", str(ours), peer, times_as_fast(ours, theirs), bar=BAR)


def zipf_batches(table: int, count: int) -> list[np.ndarray]:
    """Ids by Zipf's law; which row is how frequent is random, so that frequent rows do not lie together."""
    rng = np.random.default_rng(0)
    share = np.cumsum(np.arange(1, table + 1, dtype=float) ** -EXPONENT)
    row_of_rank = rng.permutation(table)
    return [row_of_rank[np.searchsorted(share, rng.random(count) * share[-1])] for _ in range(BATCHES)]


def bags(ids: np.ndarray):
    return torch.from_numpy(ids), torch.arange(0, len(ids), BAG)


def gradient(table: int, width: int, ids: np.ndarray, home: str = "torch.nn"):
    """The gradient that an EmbeddingBag makes; torch's is uncoalesced."""
    embedding = installed(home).EmbeddingBag(table, width, mode="sum", sparse=True)
    sums = embedding(*bags(ids))
    sums.backward(torch.randn_like(sums))
    return embedding.weight.grad


def their_step(table: int, width: int, gradients, threads: int) -> Callable[[], object]:
    """Torch's step, which gains little from a second thread and loses much where a core is busy."""
    parameter = torch.nn.Parameter(torch.randn(table, width))
    optimizer, turn = torch.optim.Adagrad([parameter], lr=0.01), itertools.cycle(gradients)

    def run():
        torch.set_num_threads(threads)
        parameter.grad = next(turn)
        optimizer.step()

    return run


def our_step(table: int, width: int, gradients, granularity: str) -> Callable[[], object]:
    x = torch.randn(table, width).numpy()
    step, turn = Step("adagrad", granularity=granularity, convention="pytorch"), itertools.cycle(gradients)
    state = step.init(x)
    return lambda: step.rows(x, *arrays(next(turn)), state)


def arrays(gradient) -> tuple[np.ndarray, np.ndarray]:
    """The ids and the values of a sparse gradient, as it is."""
    return gradient._indices()[0].numpy(), gradient._values().numpy()
