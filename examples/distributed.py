"""Several processes train one recommender: an embedding table with sparse gradients and a dense head, in one optimizer.

Each process sees its share of every batch, and DistributedDataParallel averages the gradients: the losses are the same
however many processes there are.

    python examples/distributed.py
    torchrun --nproc-per-node=2 examples/distributed.py
"""

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from surefoot.optim import Adagrad

FILMS = 5_000
BATCH = 512


def made_up(count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """The eight films that each person saw last, a few films popular with all, and whether the next one is liked."""
    popularity = 1 / np.arange(10, FILMS + 10)
    seen = rng.choice(FILMS, (count, 8), p=popularity / popularity.sum())
    chance = 1 / (1 + np.exp(-rng.normal(size=FILMS)[seen].sum(1)))
    return torch.from_numpy(seen), torch.from_numpy((rng.random(count) < chance).astype(np.float32))


class Recommender(nn.Module):
    """The chance of a like, from the mean vector of the films seen."""

    def __init__(self):
        super().__init__()
        self.films = nn.EmbeddingBag(FILMS, 16, mode="mean", sparse=True)
        self.head = nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 1))

    def forward(self, seen: Tensor) -> Tensor:
        return self.head(self.films(seen)).squeeze(1)


@contextmanager
def processes() -> Iterator[tuple[int, int]]:
    """The number of this process, and how many there are; torchrun says so in the environment."""
    if "WORLD_SIZE" not in os.environ:
        yield 0, 1
        return
    dist.init_process_group("gloo")
    try:
        yield dist.get_rank(), dist.get_world_size()
        dist.barrier()  # no process exits while another still waits for the last message
    finally:
        dist.destroy_process_group()


def mean(loss: Tensor) -> float:
    """The mean of all processes' losses."""
    if dist.is_initialized():
        dist.all_reduce(loss)
        loss = loss / dist.get_world_size()
    return loss.item()


def main() -> None:
    parser = argparse.ArgumentParser(description="A recommender trained by one process or several.")
    parser.add_argument("--people", type=int, default=60 * BATCH)
    parser.add_argument("--epochs", type=int, default=3)
    arguments = parser.parse_args()

    seen, liked = made_up(arguments.people // BATCH * BATCH, np.random.default_rng(0))
    batches = len(liked) // BATCH
    torch.manual_seed(0)  # the same weights to begin with, and the same batches, in every process
    model: nn.Module = Recommender()
    with processes() as (rank, count):
        if count > 1:
            model = DistributedDataParallel(model)
        optimizer = Adagrad(model.parameters(), lr=0.1)
        for epoch in range(arguments.epochs):
            total = torch.zeros(())
            for batch in torch.randperm(len(liked)).view(batches, BATCH):
                share = batch[rank::count]
                loss = F.binary_cross_entropy_with_logits(model(seen[share]), liked[share])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += loss.detach()
            average = mean(total / batches)
            if rank == 0:
                print(f"epoch {epoch + 1}: log loss {average:.4f}")


if __name__ == "__main__":
    main()
