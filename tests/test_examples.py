"""The examples print sensible results. Each runs once as a user would run it; what else it can do, in this process."""

import gzip
import http.server
import importlib.util
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import sha256
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

torch = pytest.importorskip("torch")

EXAMPLES = Path(__file__).parents[1] / "examples"
FASHION = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")


def run(name: str, *arguments: str) -> str:
    """What an example prints, run as a user would; torch gets one thread, as several wait long on busy cores."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error"}
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr
    return done.stdout


def example(name: str) -> ModuleType:
    """The example of that name as a module."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def call(capsys, monkeypatch) -> Iterator[Callable[..., str]]:
    """What an example prints, run in this process."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)

    def called(name: str, *arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        example(name).main()
        return capsys.readouterr().out

    yield called
    torch.set_num_threads(threads)


def numbers(pattern: str, printed: str) -> list[float]:
    """The numbers in the groups of the first match; percent as they are, thousands without commas."""
    found = re.search(pattern, printed)
    assert found, f"expected {pattern} in:\n{printed}"
    return [float(group.replace(",", "")) for group in found.groups()]


SCORES = r"{}: log loss ([\d.]+), AUC ([\d.]+)"


def check_recommender(printed: str) -> float:
    """The number of accumulators; the recommender is better than popularity alone, and not better than the truth."""
    popular, ours, best = (numbers(SCORES.format(who), printed) for who in ("popularity", "recommender", "possible"))
    assert best[0] < ours[0] < popular[0] - 0.08
    assert best[1] > ours[1] > popular[1] + 0.1
    accumulators, parameters = numbers(r"([\d,]+) for ([\d,]+) parameters", printed)
    assert parameters == 9 * (3000 + 2000) + 1
    return accumulators


@pytest.mark.slow
def test_recommender_beats_popularity():
    assert check_recommender(run("recommender")) == 9 * (3000 + 2000) + 1


@pytest.mark.slow
def test_recommender_with_a_rate_per_row(call):
    assert check_recommender(call("recommender", "--granularity", "row")) == 2 * (3000 + 2000) + 1


def test_recommender_prints_the_same_again(call):
    arguments = ("recommender", "--likes", "5000", "--epochs", "1", "--seed", "3")
    assert call(*arguments) == call(*arguments)


def test_click_model(call):
    """Every parameter goes to a rule, and tables that begin again keep the model from learning clicks by heart."""
    arguments = ("click_model", "--clicks", "8000", "--epochs", "2")
    printed = call(*arguments)
    assert re.findall(r"^'.*?'  +(\w+)", printed, re.MULTILINE) == ["adagrad", "muon", "adamw"]
    begun, kept = (re.findall(r"log loss ([\d.]+)", text) for text in (printed, call(*arguments, "--keep")))
    assert len(begun) == len(kept) == 2
    assert float(begun[1]) < float(kept[1]) - 0.005


def test_recommender_reads_movielens(call, tmp_path):
    rng = np.random.default_rng(0)
    user, film = rng.integers(1, 200, 4000), rng.integers(1, 50, 4000)
    rating = np.clip(3 + (user + film) % 2 + rng.integers(-1, 2, 4000), 1, 5)
    np.savetxt(tmp_path / "u.data", np.stack([user, film, rating, 8 * 10**8 + user], axis=1), "%d", delimiter="\t")
    printed = call("recommender", "--movielens", str(tmp_path))
    assert "3,200 likes and dislikes of 200 users and 50 films, 800 held out" in printed
    assert numbers(SCORES.format("recommender"), printed)[1] > numbers(SCORES.format("popularity"), printed)[1] + 0.02
    with pytest.raises(SystemExit, match="there is no such file"):
        call("recommender", "--movielens", str(tmp_path / "u"))


@pytest.mark.slow
def test_both_text_classifiers_are_one():
    printed = run("text", "--size", "16")
    (constant,) = numbers(r"always function: accuracy ([\d.]+)%", printed)
    (theirs,) = numbers(r"torch.optim: accuracy ([\d.]+)%", printed)
    (ours,) = numbers(r"surefoot.optim: accuracy ([\d.]+)%", printed)
    (difference,) = numbers(r"between their parameters: (\S+)", printed)
    assert ours > constant + 2
    assert abs(ours - theirs) < 0.5
    assert difference < 1e-3


@pytest.mark.slow
def test_lenet_reads_digits():
    assert numbers(r"Adam, 0.002:(?: \d+%){4} (\d+)%; loss", run("lenet", "--epochs", "5"))[0] > 90


def test_lenet_compares_optimizers_and_schedules(call):
    printed = call("lenet", "--optimizer", "RMSprop", "Yogi", "--lr", "0.002", "warmup:9:0.004", "--epochs", "2")
    for name in ("RMSprop", "Yogi"):
        assert numbers(rf"{name}, 0.002: \d+% (\d+)%; loss", printed)[0] > 40
        assert numbers(rf"{name}, warmup:9:0.004: \d+% (\d+)%; loss", printed)[0] > 40


def test_lenet_has_a_rate_for_each_optimizer():
    lenet = example("lenet")
    for name, lr in lenet.RATES.items():
        getattr(lenet.surefoot.optim, name)([torch.nn.Parameter(torch.ones(1))], lr=float(lr))
    assert len(set(lenet.RATES.values())) > 3


def write_idx(path: Path, array: np.ndarray) -> None:
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    path.write_bytes(gzip.compress(b"\0\0\x08" + bytes([array.ndim]) + sizes + array.tobytes()))


@pytest.fixture
def clothing(tmp_path):
    """Files like Fashion-MNIST's: 10 kinds of bars."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 1000), ("t10k", 100)):
        labels = np.arange(count, dtype=np.uint8) % 10
        images = rng.integers(0, 60, (count, 28, 28), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[2 * label + 4 : 2 * label + 6] += 180
        write_idx(tmp_path / f"{part}-images-idx3-ubyte.gz", images)
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte.gz", labels)
    return tmp_path


def test_lenet_reads_fashion_mnist(call, clothing):
    printed = call("lenet", "--fashion-mnist", str(clothing), "--epochs", "2")
    assert printed.startswith("1,000 images, 100 held out")
    assert numbers(r"Adam, 0.002: \d+% (\d+)%; loss", printed)[0] > 80


def test_lenet_says_what_is_missing_or_damaged(call, clothing):
    (clothing / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(b"\0\0\x08\x01\0\0\3\xe8" + bytes(999)))
    with pytest.raises(SystemExit, match="is not an idx file"):
        call("lenet", "--fashion-mnist", str(clothing))
    with pytest.raises(SystemExit, match="add --download"):
        call("lenet", "--fashion-mnist", str(clothing / "none"))


def test_lenet_downloads_data_with_the_right_checksum(clothing, tmp_path, monkeypatch):
    pytest.importorskip("pooch")
    lenet = example("lenet")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(clothing)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(lenet, "FASHION_MNIST", f"http://127.0.0.1:{server.server_port}/")
    sums = {name: sha256((clothing / name).read_bytes()).hexdigest() for name in lenet.SHA256}
    monkeypatch.setattr(lenet, "SHA256", sums)
    known, held_out = lenet.fashion_mnist(tmp_path / "here", download=True)
    assert known[0].shape == (1000, 1, 28, 28)
    assert held_out[1][:3].tolist() == [0, 1, 2]
    monkeypatch.setitem(sums, "t10k-labels-idx1-ubyte.gz", "0" * 64)
    with pytest.raises(ValueError, match="does not match the known hash"):
        lenet.fashion_mnist(tmp_path / "there", download=True)
    server.shutdown()
    server.server_close()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format, *args):
        """Nothing on the screen."""


@pytest.mark.slow
def test_own_rule_learns_and_is_compiled():
    printed = run("own_rule")
    # Two coordinates, 20 steps: the rule by hand.
    x = np.array([-5.0, -2.0])
    largest = np.zeros(2)
    for _ in range(20):
        gradient = np.array([0.2, 4.0]) * x
        largest = np.maximum(largest, gradient**2)
        x -= 0.5 * gradient / (np.sqrt(largest) + 1e-8)
    assert f"peak, η = 0.5: x = ({x[0]:.6f}, {x[1]:.6f})" in printed
    for name in ("peak", "adagrad"):
        assert numbers(rf"{name}: explains ([\d.]+)%", printed)[0] > 90
    compiled, eager = numbers(r"compiled ([\d.]+) ms, .* ([\d.]+) ms", printed)
    assert compiled < eager


def test_own_rule_is_known_to_the_command_line(tmp_path):
    surefoot = Path(sys.executable).with_name("surefoot")
    command = [str(surefoot), "trace", str(EXAMPLES / "own_rule.py"), "adagrad", "--lr", "0.5"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "trace.png")], capture_output=True, encoding="utf-8", timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "peak, η = 0.5" in done.stdout
