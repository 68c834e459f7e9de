"""A text classifier trained twice, by torch's Adagrad and by ours: one import differs, and the time.

The texts are the docstrings of Python's standard library; the question is whether words document a class or a
function. Word vectors are summed by an EmbeddingBag whose gradient is sparse.

    python examples/text.py
"""

import argparse
import time

import numpy as np
import torch
import torch.optim
from torch import nn
from torch.nn import functional as F

import surefoot.optim
from surefoot import data


class Classifier(nn.Module):
    """How much more a text sounds like a class than like a function: a linear function of the sum of its words."""

    def __init__(self, words: int, size: int):
        super().__init__()
        self.words = nn.EmbeddingBag(words, size, mode="sum", sparse=True)
        self.score = nn.Linear(size, 1)
        nn.init.normal_(self.words.weight, std=0.1)

    def forward(self, indices, offsets, weights):
        return self.score(self.words(indices, offsets, per_sample_weights=weights)).squeeze(1)


def bags(rows) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rows of a SciPy CSR matrix as EmbeddingBag takes them: word numbers, where each text begins, weights."""
    return torch.from_numpy(rows.indices), torch.from_numpy(rows.indptr[:-1]), torch.from_numpy(rows.data)


def train(module, examples: data.Dataset, size: int, epochs: int, seed: int) -> tuple[Classifier, float, float]:
    """Trains with a module's Adagrad; returns the model, the seconds spent in its steps, and in everything."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = Classifier(examples.n_features, size)
    optimizer = module.Adagrad(model.parameters(), lr=0.1)  # <- surefoot.optim or torch.optim; all else is the same
    begin, stepping = time.perf_counter(), 0.0
    for _ in range(epochs):
        for batch in np.array_split(rng.permutation(examples.train), len(examples.train) // 200):
            rows, labels = examples.part(batch)
            optimizer.zero_grad()
            F.binary_cross_entropy_with_logits(model(*bags(rows)), torch.from_numpy(labels)).backward()
            start = time.perf_counter()
            optimizer.step()
            stepping += time.perf_counter() - start
    return model, stepping, time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description="One text classifier, two Adagrads.")
    parser.add_argument("--size", type=int, default=128, help="numbers per word")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.sparse.check_sparse_tensor_invariants.disable()  # or torch's Adagrad warns

    examples = data.load("docstrings")
    rows, labels = examples.part(examples.test)
    print(examples.describe())
    print(f"always function: accuracy {1 - labels.mean():.1%}")
    train(surefoot.optim, examples, arguments.size, 1, arguments.seed)  # compiles, once on each machine
    models = {}
    for module in (torch.optim, surefoot.optim):
        model, stepping, total = train(module, examples, arguments.size, arguments.epochs, arguments.seed)
        with torch.no_grad():
            right = (model(*bags(rows)) > 0).numpy() == labels
        print(f"{module.__name__}: accuracy {right.mean():.1%}, steps {stepping:.2f} s of {total:.2f} s")
        models[module] = model.state_dict()
    ours, theirs = models[surefoot.optim], models[torch.optim]
    difference = max(float((ours[key] - theirs[key]).abs().max()) for key in ours)
    print(f"largest difference between their parameters: {difference:.1e}")


if __name__ == "__main__":
    main()
