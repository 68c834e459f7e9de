"""lr="auto" in any order: its regret beside the bound, and its progressive loss beside Vowpal Wabbit's best rate."""

from collections.abc import Iterator

from benchmarks import corpora, streams
from benchmarks.harness import Figure, Row, installed
from benchmarks.learner import best_of_vowpal_wabbit
from surefoot.engines.examples import Examples
from surefoot.learn.learner import Learner
from surefoot.learn.settings import Settings

TITLE = 'Learning rate "auto": regret in nats, and progressive loss compared with Vowpal Wabbit, in four orders'


def measure(quick: bool) -> Iterator[Row]:
    """Every stream and every real set, in every order."""
    for name, make in streams.STREAMS.items():
        yield from in_orders(name, make(600 if quick else streams.ROWS))
    for name, load in ({} if quick else corpora.NAMED | corpora.OTHERS).items():
        try:
            yield from in_orders(name, load())
        except FileNotFoundError:
            yield Row(name, "", "SUREFOOT_DATA does not name the folder with this set")


def in_orders(name: str, data: Examples) -> Iterator[Row]:
    for order, arranged in streams.ORDERS.items():
        rows = arranged(data)
        learner = Learner(Settings())
        learner.learn(rows)
        regret, bound = learner.mixture.total - learner.mixture.losses.min(), learner.mixture.bound()
        what = f"{name}, {order} ({len(rows):,} examples)"
        ours = f"{learner.loss:.4f}; regret {regret:.2f} of {bound:.2f}{'' if regret <= bound + 1e-6 else ': VIOLATED'}"
        if not installed("vowpalwabbit"):
            yield Row(what, ours, "vowpalwabbit is not installed", bar=1.05, at_most=True)
            continue
        best, power = best_of_vowpal_wabbit(rows)
        ratio = learner.loss / best
        yield Row(what, ours, f"2^{power}: {best:.4f}", Figure(ratio, ratio, ratio), bar=1.05, at_most=True)
