"""Less of a test for `make test`, all of it for `make test-all`: of its cases, and of Hypothesis's examples."""

import zlib
from collections import defaultdict
from collections.abc import Hashable, Iterable

import pytest
from hypothesis import settings

from support.covering import covering


def up_to(count: int) -> int:
    """How many examples Hypothesis makes: of these a quarter, but all of them in the profile "thorough"."""
    return count * settings.default.max_examples // settings.get_profile("thorough").max_examples


def mark_the_rest(items: Iterable[pytest.Item]) -> None:
    """Of the cases of a test that is marked as `sampled(n)`, marks all but n as slow."""
    tests = defaultdict(list)
    for item in items:
        if item.get_closest_marker("sampled") and not item.get_closest_marker("slow"):
            tests[item.nodeid.partition("[")[0]].append(item)
    for name, cases in tests.items():
        (most,) = cases[0].get_closest_marker("sampled").args
        kept = sample(name, [values(case) for case in cases], most)
        for k in set(range(len(cases))) - kept:
            cases[k].add_marker(pytest.mark.slow)


def sample(name: str, cases: list[tuple], most: int) -> set[int]:
    """The places of at most this many cases, with as many different pairs of values as these can have.

    Of those that serve equally the first is taken, in an order that the test's name decides: of several tests with the
    same table, each has others.
    """
    order = sorted(range(len(cases)), key=lambda k: zlib.crc32(f"{name} {k}".encode()))
    # The last value is the same for all: a single parameter, too, has pairs of values.
    places = {(*cases[k], ""): k for k in order}
    return {places[case] for case in covering(list(places), most=most)}


def values(item: pytest.Item) -> tuple[Hashable, ...]:
    """The values of a case's parameters; those that cannot be hashed by what they print."""
    return tuple(hashable(value) for _, value in sorted(item.callspec.params.items()))


def hashable(value: object) -> Hashable:
    try:
        hash(value)
    except TypeError:
        return repr(value)
    return value
