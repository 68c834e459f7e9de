"""A click model in one optimizer: tables by row-wise AdaGrad, matrices by Muon, all else by AdamW.

The clicks are made up: each user and each advertisement has a taste, and most of them are rare (Zipf's law). Tables of
many ids are initialized again after each epoch, with their state, as clicks of rare ids are learned by heart otherwise.

    python examples/click_model.py
    python examples/click_model.py --keep       # tables are never initialized again
"""

import argparse

import torch
from torch import nn
from torch.nn import functional as F

from surefoot import optim

Clicks = tuple[torch.Tensor, torch.Tensor]
"""The ids of a user, an advertisement and a place, and 1 where there was a click."""
SIZES = {"user": 5_000, "advertisement": 3_000, "place": 20}
MANY = 1_000
"""Tables of more ids begin again after each epoch."""


def made_up(count: int) -> Clicks:
    """Clicks, of which two thirds follow from the parity of coarse groups of users and advertisements."""
    shares = [1 / torch.arange(5.0, size + 5) for size in SIZES.values()]
    ids = torch.stack([torch.multinomial(share, count, replacement=True) for share in shares], 1)
    liked = (ids[:, 0] % 4 + ids[:, 1] % 4 + ids[:, 2] % 2) % 3 == 0
    return ids, (torch.rand(count) < 0.1 + 0.6 * liked).float()


class ClickModel(nn.Module):
    """A table of vectors for each kind of id, and a network on the vectors of an example."""

    def __init__(self, size: int = 8):
        super().__init__()
        self.embedding = nn.ModuleDict({name: nn.Embedding(rows, size, sparse=True) for name, rows in SIZES.items()})
        width = size * len(SIZES)
        self.tower = nn.Sequential(nn.Linear(width, 32), nn.LayerNorm(32), nn.ReLU(), nn.Linear(32, 1))
        for table in self.embedding.parameters():
            initialize(table)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        vectors = [table(column) for table, column in zip(self.embedding.values(), ids.T, strict=True)]
        return self.tower(torch.cat(vectors, 1)).squeeze(1)


def initialize(table: torch.Tensor) -> None:
    nn.init.normal_(table, std=0.05)


def loss_of(model: nn.Module, clicks: Clicks) -> torch.Tensor:
    return F.binary_cross_entropy_with_logits(model(clicks[0]), clicks[1])


def main() -> None:
    parser = argparse.ArgumentParser(description="A click model with a rule for each of its parts.")
    parser.add_argument("--clicks", type=int, default=60_000, help="number of examples to generate")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--keep", action="store_true", help="keep the tables from epoch to epoch")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    ids, clicks = made_up(arguments.clicks)
    split = len(ids) * 4 // 5
    held_out = ids[split:], clicks[split:]

    model = ClickModel()
    groups = optim.groups(
        model,
        {
            "embedding.*": {"rule": "adagrad", "granularity": "row", "lr": 0.1},
            "*.weight": {"rule": "muon", "lr": 0.01},
            "*": {"rule": "adamw", "lr": 1e-3},
        },
    )
    print(groups)
    optimizer = optim.Grouped(groups, max_grad_norm=1.0)
    schedule = optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.7)
    for epoch in range(arguments.epochs):
        for batch in torch.randperm(split).split(256):
            optimizer.zero_grad()
            loss_of(model, (ids[batch], clicks[batch])).backward()
            optimizer.step()
        schedule.step()
        with torch.no_grad():
            print(f"epoch {epoch + 1}: held-out log loss {loss_of(model, held_out):.4f}")
        if not arguments.keep:
            for table in model.embedding.parameters():
                if len(table) > MANY:
                    optimizer.reset(table, initialize)


if __name__ == "__main__":
    main()
