"""Results come in order, whatever the threads do."""

import itertools
import random
import time

import pytest

from surefoot.data.stream.ordered import AHEAD, in_order


def slow_square(k: int) -> int:
    time.sleep(random.random() * 1e-3)
    return k * k


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
@pytest.mark.parametrize("count", [0, 1, 2, 13, 200])
def test_every_result_in_order(threads, count):
    for _ in range(5):
        assert list(in_order(iter(range(count)), slow_square, threads)) == [k * k for k in range(count)]


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("place", [0, 1, 10])
def test_errors_are_raised_in_order(threads, place):
    def items():
        yield from range(place)
        raise OSError("the source")

    def work(k):
        if k == place:
            raise ValueError("the work")
        return slow_square(k)

    for results, error in (
        (in_order(items(), slow_square, threads), OSError),
        (in_order(iter(range(99)), work, threads), ValueError),
    ):
        assert list(itertools.islice(results, place)) == [k * k for k in range(place)]
        with pytest.raises(error):
            next(results)


def test_reading_ahead_is_bounded():
    taken = []
    results = in_order(map(taken.append, itertools.count()), lambda _: len(taken), threads=2)
    for k in range(20):
        next(results)
        time.sleep(0.01)
        assert len(taken) <= k + 1 + 2 * AHEAD
    results.close()
