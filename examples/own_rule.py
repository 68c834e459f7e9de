"""A rule of your own, three lines long: traced, then compiled into a torch optimizer for dense and sparse parameters.

The rule's rate is the learning rate over the largest gradient so far, coordinate by coordinate. Like AdaGrad it needs
no scale for the gradients; unlike AdaGrad's, its rate stops falling once gradients stop growing.

    python examples/own_rule.py
    surefoot trace examples/own_rule.py adagrad --lr 0.5    # the same rule on the command line, with a figure
"""

import argparse
import time

import torch
from torch import nn
from torch.nn import functional as F

import surefoot
from surefoot import ops
from surefoot.optim import RuleOptimizer
from surefoot.rules import Rule, adagrad, positive, rule, scale


# `lazy_exact`: a zero gradient changes neither memory nor rate, so rows without a gradient may be skipped.
@rule(slots={"largest": scale()}, hyper={"lr": positive(0.1), "eps": positive(1e-8)}, lazy_exact=True)
def peak(x, g, g2, largest, lr, eps):
    largest = ops.maximum(largest, g2)
    return lr / (ops.sqrt(largest) + eps), g, largest


class Model(nn.Module):
    """A number from ten words of a vocabulary, whose gradient is sparse, and four measurements, whose is dense."""

    def __init__(self, words: int):
        super().__init__()
        self.words = nn.EmbeddingBag(words, 1, mode="sum", sparse=True)
        self.measured = nn.Linear(4, 1)
        nn.init.zeros_(self.words.weight)

    def forward(self, words, measured):
        return (self.words(words) + self.measured(measured)).squeeze(1)


def examples(count: int, words: int, generator: torch.Generator):
    """Words by Zipf's law and normal measurements; the target is linear in both, with a little noise."""
    often = 1 / torch.arange(1, words + 1)
    some = torch.multinomial(often, 10 * count, replacement=True, generator=generator).view(count, 10)
    measured = torch.randn(count, 4, generator=generator)
    of_words = torch.randn(words, generator=torch.Generator().manual_seed(1))
    noise = 0.5 * torch.randn(count, generator=generator)
    return some, measured, of_words[some].sum(1) + measured @ torch.tensor([1.0, -1.0, 1.0, -1.0]) + noise


def train(which: Rule, lr: float, epochs: int, seed: int) -> float:
    """Trains with a rule; returns the share of the held-out variance that the model explains."""
    generator = torch.Generator().manual_seed(seed)
    words, measured, target = examples(20_000, 5_000, generator)
    held_out = examples(2_000, 5_000, generator)
    torch.manual_seed(seed)
    model = Model(words=5_000)
    optimizer = RuleOptimizer(model.parameters(), which, lr=lr)
    for _ in range(epochs):
        for batch in torch.randperm(len(target), generator=generator).split(200):
            optimizer.zero_grad()
            F.mse_loss(model(words[batch], measured[batch]), target[batch]).backward()
            optimizer.step()
    with torch.no_grad():
        left = F.mse_loss(model(*held_out[:2]), held_out[2])
    return float(1 - left / held_out[2].var(correction=0))


def milliseconds(engine: str | None, size: int) -> float:
    """The time of a step of the rule with that many parameters: the best of five."""
    x = nn.Parameter(torch.randn(size, generator=torch.Generator().manual_seed(0)))
    x.grad = torch.ones(size)
    optimizer = RuleOptimizer([x], peak, engine=engine)
    times = []
    for _ in range(6):  # the first compiles
        start = time.perf_counter()
        optimizer.step()
        times.append(time.perf_counter() - start)
    return 1000 * min(times[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description="A rule of your own as a torch optimizer.")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    print(surefoot.trace([peak, adagrad], lr=0.5))
    for which, lr in ((peak, 0.3), (adagrad, 0.5)):
        explained = train(which, lr, arguments.epochs, arguments.seed)
        print(f"{which.name}: explains {explained:.1%} of the held-out variance")
    compiled, eager = milliseconds(None, 4_000_000), milliseconds("torch", 4_000_000)
    print(f"a step of 4,000,000 parameters: compiled {compiled:.1f} ms, as torch operations {eager:.1f} ms")


if __name__ == "__main__":
    main()
