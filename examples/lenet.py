"""LeNet by surefoot.optim: on scikit-learn's digits, which need no download, or on the real Fashion-MNIST.

python examples/lenet.py
python examples/lenet.py --optimizer SGD Adagrad Adam --seeds 3
python examples/lenet.py --optimizer RMSprop --lr 0.001 polynomial:0.004:0.05
python examples/lenet.py --fashion-mnist fashion --download    # 30 MB, once; checked against their sums
"""

import argparse
import gzip
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

import surefoot.optim
from surefoot import schedules

FASHION_MNIST = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
SHA256 = {
    "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
}
RATES = {
    "SGD": "0.2",
    "Adagrad": "0.02",
    "RMSprop": "0.001",
    "Adadelta": "1",
    "Adam": "0.002",
    "NAdam": "0.002",
    "Yogi": "0.01",
}
"""A learning rate for each optimizer: a number that suits one is far too small or too large for another."""
Images = tuple[Tensor, Tensor]
"""Images of 28 × 28 between 0 and 1, (n, 1, 28, 28), and the class of each, 0 to 9."""


def digits(rng: np.random.Generator) -> tuple[Images, Images]:
    """1,497 digits to learn from and 300 held out, enlarged from 8 × 8: so one network serves both data sets."""
    pixels, labels = load_digits(return_X_y=True)
    small = torch.from_numpy(pixels).float().view(-1, 1, 8, 8) / 16
    images, classes = F.interpolate(small, size=(28, 28), mode="bilinear"), torch.from_numpy(labels)
    order = torch.from_numpy(rng.permutation(len(labels)))
    held_out, known = order[:300], order[300:]
    return (images[known], classes[known]), (images[held_out], classes[held_out])


def fashion_mnist(folder: Path, download: bool) -> tuple[Images, Images]:
    """60,000 pieces of clothing to learn from and 10,000 held out, from the four files of the data set."""
    for name, sha256 in SHA256.items():
        if download and not (folder / name).exists():
            import pooch

            pooch.retrieve(FASHION_MNIST + name, f"sha256:{sha256}", name, folder)
        if not (folder / name).exists():
            raise SystemExit(f"{folder / name}: there is no such file; add --download, or name another folder")
    known, held_out = (
        (
            torch.from_numpy(read_idx(folder / f"{part}-images-idx3-ubyte.gz")).unsqueeze(1) / 255,
            torch.from_numpy(read_idx(folder / f"{part}-labels-idx1-ubyte.gz")).long(),
        )
        for part in ("train", "t10k")
    )
    return known, held_out


def read_idx(path: Path) -> np.ndarray:
    """The bytes of a compressed idx file: two zeros, the type 8, how many dimensions, their sizes, then the data."""
    data = gzip.decompress(path.read_bytes())
    shape = np.frombuffer(data, ">u4", data[3], offset=4).tolist() if data[:3] == b"\0\0\x08" else []
    if not shape or len(data) != 4 + 4 * len(shape) + math.prod(shape):
        raise SystemExit(f"{path}: is not an idx file of bytes; delete it and add --download")
    return np.frombuffer(bytearray(data), np.uint8, offset=4 + 4 * len(shape)).reshape(shape)


def lenet() -> nn.Module:
    """LeCun, Bottou, Bengio & Haffner (1998), Gradient-based learning applied to document recognition; with ReLUs."""
    return nn.Sequential(
        *(nn.Conv2d(1, 6, kernel_size=5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 16, kernel_size=5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(16 * 5 * 5, 120), nn.ReLU()),
        *(nn.Linear(120, 84), nn.ReLU()),
        nn.Linear(84, 10),
    )


def accuracy(network: nn.Module, data: Images) -> float:
    network.eval()
    with torch.no_grad():
        right = [(network(x).argmax(1) == y).sum() for x, y in zip(*(part.split(1000) for part in data), strict=True)]
    network.train()
    return float(sum(right)) / len(data[1])


def train(name: str, lr: str, known: Images, held_out: Images, epochs: int, seed: int) -> Iterator[tuple[float, float]]:
    """The mean training loss of each epoch, and the accuracy on held-out images after it."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    network = lenet()
    optimizer = getattr(surefoot.optim, name)(network.parameters(), lr=schedules.resolve(lr))
    for _ in range(epochs):
        total = 0.0
        for batch in torch.from_numpy(rng.permutation(len(known[1]))).split(64):
            optimizer.zero_grad()
            loss = F.cross_entropy(network(known[0][batch]), known[1][batch])
            loss.backward()
            optimizer.step()
            total += loss.item() * len(batch)
        yield total / len(known[1]), accuracy(network, held_out)


def main() -> None:
    parser = argparse.ArgumentParser(description="LeNet on digits or on Fashion-MNIST.")
    parser.add_argument(
        "--optimizer", nargs="+", choices=RATES, default=["Adam"], metavar="NAME", help=", ".join(RATES)
    )
    parser.add_argument("--lr", nargs="+", help=f"numbers, or {', '.join(schedules.FORMS.values())}")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--fashion-mnist", type=Path, metavar="DIR", help="the folder of its four .gz files")
    parser.add_argument("--download", action="store_true", help="download those that are missing there")
    parser.add_argument("--seeds", type=int, default=1, help="of how many runs results are the mean")
    arguments = parser.parse_args()

    if arguments.fashion_mnist:
        known, held_out = fashion_mnist(arguments.fashion_mnist, arguments.download)
    else:
        known, held_out = digits(np.random.default_rng(0))
    print(f"{len(known[1]):,} images, {len(held_out[1]):,} held out; accuracy on these after each epoch")
    for name in arguments.optimizer:
        for lr in arguments.lr or [RATES[name]]:
            print(f"{name}, {lr}:", end="", flush=True)
            runs = [train(name, lr, known, held_out, arguments.epochs, seed) for seed in range(arguments.seeds)]
            loss = math.nan
            for results in zip(*runs, strict=True):
                loss, share = np.mean(results, axis=0)
                print(f" {share:.0%}", end="", flush=True)
            print(f"; loss {loss:.3f}")


if __name__ == "__main__":
    main()
