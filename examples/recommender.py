"""A recommender: who likes what, from embedding tables with sparse gradients, stepped by surefoot.optim.Adagrad.

The data are generated: people and films, a few of them very popular (Zipf's law), and a planted taste of a few
numbers each. Or they are real: MovieLens-100K, if you have it; a rating of 4 or 5 is a like.

    python examples/recommender.py
    python examples/recommender.py --granularity row       # one rate, and one number of memory, for each row
    python examples/recommender.py --movielens ml-100k/u.data
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import log_loss, roc_auc_score
from torch import nn
from torch.nn import functional as F

from surefoot.optim import Adagrad

Likes = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Users, films, and 1 where the user likes the film."""


def made_up(count: int, users: int, films: int, rng: np.random.Generator) -> tuple[Likes, np.ndarray]:
    """That many likes and dislikes, and the chance of each like: the best that anybody could know."""
    user = zipf(count, users, rng)
    film = zipf(count, films, rng)
    taste, kind = rng.normal(size=(users, 4)), rng.normal(size=(films, 4))
    mood, quality = 0.5 * rng.normal(size=users), rng.normal(size=films)
    chance = 1 / (1 + np.exp(-(taste[user] * kind[film]).sum(1) - mood[user] - quality[film]))
    return tensors(user, film, rng.random(count) < chance), chance


def zipf(count: int, size: int, rng: np.random.Generator) -> np.ndarray:
    share = 1 / np.arange(10, size + 10)
    return rng.choice(size, count, p=share / share.sum())


def movielens(path: Path) -> Likes:
    """MovieLens-100K's u.data, or the folder that it is in: user, film, rating, time, with tabs between them."""
    if path.is_dir():
        path = path / "u.data"
    if not path.is_file():
        raise SystemExit(f"{path}: there is no such file; get it from https://grouplens.org/datasets/movielens/100k")
    user, film, rating = np.loadtxt(path, dtype=np.int64, delimiter="\t", usecols=(0, 1, 2), unpack=True)
    return tensors(user, film, rating >= 4)


def some(likes: Likes, chosen: torch.Tensor) -> Likes:
    user, film, like = likes
    return user[chosen], film[chosen], like[chosen]


def tensors(user: np.ndarray, film: np.ndarray, like: np.ndarray) -> Likes:
    return torch.from_numpy(user), torch.from_numpy(film), torch.from_numpy(like.astype(np.float32))


class Recommender(nn.Module):
    """The chance of a like, from a vector and a bias for each user and each film."""

    def __init__(self, users: int, films: int, size: int):
        super().__init__()
        self.taste, self.kind = (nn.Embedding(count, size, sparse=True) for count in (users, films))
        self.mood, self.quality = (nn.Embedding(count, 1, sparse=True) for count in (users, films))
        self.bias = nn.Parameter(torch.zeros(1))
        for table in (self.taste, self.kind):
            nn.init.normal_(table.weight, std=0.1)
        for table in (self.mood, self.quality):
            nn.init.zeros_(table.weight)

    def forward(self, user: torch.Tensor, film: torch.Tensor) -> torch.Tensor:
        agreement = (self.taste(user) * self.kind(film)).sum(1)
        return agreement + self.mood(user).squeeze(1) + self.quality(film).squeeze(1) + self.bias


def report(what: str, likes: torch.Tensor, chance: np.ndarray) -> None:
    truth = likes.numpy()
    print(f"{what}: log loss {log_loss(truth, chance):.4f}, AUC {roc_auc_score(truth, chance):.4f}")


def popularity(train: Likes, test: Likes) -> np.ndarray:
    """The baseline: the share of likes of each film, a little towards the share of all."""
    films, mean = int(max(train[1].max(), test[1].max())) + 1, float(train[2].mean())
    likes = torch.bincount(train[1], train[2], minlength=films) + 5 * mean
    return (likes / (torch.bincount(train[1], minlength=films) + 5))[test[1]].numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description="A recommender with sparse embedding tables.")
    parser.add_argument("--granularity", choices=["coordinate", "row"], default="coordinate")
    parser.add_argument("--movielens", type=Path, metavar="PATH", help="MovieLens-100K's u.data, or its folder")
    parser.add_argument("--likes", type=int, default=150_000, help="number of likes and dislikes to generate")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--weight-decay", type=float, default=0.01, help="decoupled: parameters × (1 − lr · this)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    torch.manual_seed(arguments.seed)

    if arguments.movielens:
        data, chance = movielens(arguments.movielens), None
    else:
        data, chance = made_up(arguments.likes, users=3_000, films=2_000, rng=rng)
    order = torch.from_numpy(rng.permutation(len(data[2])))
    held_out, known = order[: len(order) // 5], order[len(order) // 5 :]
    train, test = some(data, known), some(data, held_out)
    users, films = (int(part.max()) + 1 for part in data[:2])
    print(f"{len(known):,} likes and dislikes of {users:,} users and {films:,} films, {len(held_out):,} held out")

    model = Recommender(users, films, size=8)
    # With weight decay every row moves at every step. Rows without a gradient catch up when they are next touched.
    optimizer = Adagrad(
        model.parameters(),
        lr=0.2,
        granularity=arguments.granularity,
        decoupled_weight_decay=arguments.weight_decay,
    )
    for _ in range(arguments.epochs):
        for batch in torch.from_numpy(rng.permutation(len(known))).split(1024):
            user, film, like = some(train, batch)
            optimizer.zero_grad()
            F.binary_cross_entropy_with_logits(model(user, film), like).backward()
            optimizer.step()
    optimizer.settle()  # before the model is used, rows that are still behind catch up

    report("popularity", test[2], popularity(train, test))
    with torch.no_grad():
        report("recommender", test[2], torch.sigmoid(model(*test[:2])).double().numpy())
    if chance is not None:
        report("best possible", test[2], chance[held_out])
    memory = sum(state["sum"].numel() for state in optimizer.state.values())
    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(f"accumulators, one per {arguments.granularity}: {memory:,} for {parameters:,} parameters")


if __name__ == "__main__":
    main()
