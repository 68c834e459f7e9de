"""Many epochs: the held-out loss of a click model after each, with regularized tables, compared with AdagradAR."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.harness import Figure, Row
from surefoot import optim

TITLE = (
    "Many epochs: held-out log loss of a DeepFM on made sets, compared with AdagradAR at its best of three strengths"
)
EPOCHS, SEEDS = 10, 3
BATCH, LR = 512, 0.05
STRENGTHS = 0.01, 0.03, 0.1
"""Of AdagradAR, and of decoupled weight decay."""
PENALTIES = 1e-4, 4e-4, 1e-3
LEVEL, LATER = 1.002, 1.005
"""Bars: the best epoch compared with AdagradAR's best, and a later epoch compared with the best before it."""

Make = Callable[[Sequence[Tensor]], torch.optim.Optimizer]


class Clicks(NamedTuple):
    """Examples of categorical columns: rows of one table of `rows` rows, (examples, columns), and labels of 0 or 1."""

    ids: Tensor
    labels: Tensor
    test_ids: Tensor
    test_labels: Tensor
    rows: int


def clicks(sizes: list[int], examples: int, exponent: float, own: float, pairs: float, seed: int) -> Clicks:
    """Columns with that many categories, drawn by Zipf's law; the log odds add numbers of each and of each pair.

    Args:
        exponent: of Zipf's law.
        own, pairs: standard deviations of what single categories, and pairs of them, add to the log odds.
    """
    rng, draws = np.random.default_rng(seed), examples * 5 // 4
    ids, factors, score = [], [], np.full(draws, -1.0)
    for size in sizes:
        chance = np.arange(1, size + 1) ** -exponent
        found = rng.permutation(size)[rng.choice(size, draws, p=chance / chance.sum())]
        score += rng.normal(0, own / len(sizes) ** 0.5, size)[found]
        factors.append(rng.normal(size=(size, 4))[found] / 2)
        ids.append(found + sum(sizes[: len(ids)]))
    all_factors = np.stack(factors)
    together = (all_factors.sum(0) ** 2 - (all_factors**2).sum(0)).sum(1)  # twice the sum over pairs
    score += pairs * together / (len(sizes) * (len(sizes) - 1)) ** 0.5
    labels = (rng.random(draws) < 1 / (1 + np.exp(-score))).astype(np.float32)
    table, known = torch.from_numpy(np.stack(ids, 1)), torch.from_numpy(labels)
    return Clicks(table[:examples], known[:examples], table[examples:], known[examples:], sum(sizes))


SETS = {
    "two columns, 80,000 ratings": lambda: clicks([900, 1_700], 80_000, 0.7, 1.0, 1.0, seed=1),
    "five columns, 100,000 clicks": lambda: clicks([20_000, 3_000, 300, 50, 7], 100_000, 1.1, 1.0, 0.5, seed=2),
}


class DeepFM(nn.Module):
    """A factorization machine and a perceptron over the same embeddings (Guo et al. 2017)."""

    def __init__(self, rows: int, columns: int, dimensions: int = 16):
        super().__init__()
        self.factors = nn.Embedding(rows, dimensions, sparse=True)
        self.weights = nn.Embedding(rows, 1, sparse=True)
        nn.init.normal_(self.factors.weight, 0, 0.01)
        nn.init.zeros_(self.weights.weight)
        sizes = [columns * dimensions, 64, 32, 1]
        layers = [layer for size, next_size in pairwise(sizes) for layer in (nn.Linear(size, next_size), nn.ReLU())]
        self.deep = nn.Sequential(*layers[:-1])

    def forward(self, ids: Tensor) -> Tensor:
        factors = self.factors(ids)
        pairs = 0.5 * (factors.sum(1).square() - factors.square().sum(1)).sum(1)
        return self.weights(ids).sum((1, 2)) + pairs + self.deep(factors.flatten(1)).squeeze(1)


class AdagradAR(torch.optim.Adagrad):
    """Li & Lyu (2026): a row is first multiplied by 1 − min(1, η · strength · the steps since its last gradient)."""

    def __init__(self, params: Sequence[Tensor], strength: float):
        super().__init__(params, lr=LR)
        self.strength, self.steps = strength, 0
        self.last = {p: torch.zeros(len(p)) for p in params}

    @torch.no_grad()
    def step(self, closure=None):
        self.steps += 1
        for parameter, last in self.last.items():
            assert parameter.grad is not None
            rows = parameter.grad.coalesce().indices()[0]
            parameter[rows] *= 1 - (LR * self.strength * (self.steps - last[rows])).clamp(max=1)[:, None]
            last[rows] = float(self.steps)
        return super().step(closure)


CONTENDERS: dict[str, Make] = {
    "torch.optim.Adagrad": lambda p: torch.optim.Adagrad(p, lr=LR),
    **{f"AdagradAR, {s}": lambda p, s=s: AdagradAR(p, s) for s in STRENGTHS},
    **{f"decoupled_weight_decay={s}": lambda p, s=s: optim.Adagrad(p, LR, decoupled_weight_decay=s) for s in STRENGTHS},
    'adaptive_decay="auto"': lambda p: optim.Adagrad(p, LR, adaptive_decay="auto"),
    **{f"l2={s}": lambda p, s=s: optim.Adagrad(p, LR, l2=s) for s in PENALTIES},
}


def measure(quick: bool) -> Iterator[Row]:
    """Every contender's best epoch, and how much worse a later one is than the best before it."""
    torch.set_num_threads(1)
    for name, make in SETS.items():
        data = make()
        if quick:
            data = data._replace(ids=data.ids[: 4 * BATCH], labels=data.labels[: 4 * BATCH])
        losses = {
            who: held_out(data, each, 2 if quick else EPOCHS, 1 if quick else SEEDS) for who, each in CONTENDERS.items()
        }
        level = min(each.min(axis=1).mean() for who, each in losses.items() if who.startswith("AdagradAR"))
        for who, each in losses.items():
            ours = not who.startswith(("torch", "AdagradAR"))
            best, later = each.min(axis=1), (each[:, 1:] / np.minimum.accumulate(each, axis=1)[:, :-1]).max(axis=1)
            said = " ".join(f"{loss:.4f}" for loss in each.mean(axis=0))
            yield row(
                f"{name}: {who}, best epoch", said, f"AdagradAR {level:.4f}", best / level, LEVEL if ours else None
            )
            yield row(f"{name}: {who}, later epochs", said, "the best before", later, LATER if ours else None)


def row(what: str, ours: str, peer: str, ratios: np.ndarray, bar: float | None) -> Row:
    return Row(what, ours, peer, Figure.of(ratios.tolist()), bar=bar, at_most=True)


def held_out(data: Clicks, make: Make, epochs: int, seeds: int) -> np.ndarray:
    """The loss after each epoch, (seeds, epochs); all but the tables is trained by AdamW."""
    return np.array([trained(data, make, epochs, seed) for seed in range(seeds)])


def trained(data: Clicks, make: Make, epochs: int, seed: int) -> list[float]:
    torch.manual_seed(seed)
    model = DeepFM(data.rows, data.ids.shape[1])
    tables = [model.factors.weight, model.weights.weight]
    optimizers = make(tables), torch.optim.AdamW(model.deep.parameters(), lr=1e-3)
    losses, order = [], torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        for batch in torch.randperm(len(data.ids), generator=order).split(BATCH):
            for optimizer in optimizers:
                optimizer.zero_grad()
            F.binary_cross_entropy_with_logits(model(data.ids[batch]), data.labels[batch]).backward()
            for optimizer in optimizers:
                optimizer.step()
        if isinstance(optimizers[0], optim.Adagrad):
            optimizers[0].flush()
        with torch.no_grad():
            losses.append(F.binary_cross_entropy_with_logits(model(data.test_ids), data.test_labels).item())
    return losses
