"""A bank whose parts have one rate for all of their numbers (granularity "tensor"), as AdaGrad-Norm has."""

import itertools

import numpy as np
import pytest
from support.covering import unpacked
from support.numerics import assert_close, assert_identical

import surefoot
from surefoot import losses
from surefoot.data import Dataset
from surefoot.engines import Step
from surefoot.engines.bank import ModelBank
from surefoot.engines.examples import Examples
from surefoot.engines.joining import Learned

SIZE, FEATURES = 40, 9
RATES = (0.1, 0.03, 0.5)


def examples() -> Examples:
    """Rows of a few features each, some empty."""
    rng = np.random.default_rng(0)
    rows = [np.sort(rng.choice(FEATURES, rng.integers(0, 5), replace=False)) for _ in range(SIZE)]
    indptr = np.cumsum([0, *map(len, rows)])
    targets, values = rng.integers(2, size=SIZE).astype(float), rng.normal(size=indptr[-1]) * 3.0
    return Examples(indptr, np.concatenate(rows), values, targets, np.ones(SIZE))


def dense_examples() -> tuple[np.ndarray, Examples]:
    """A matrix without zeros, and its rows."""
    X = np.random.default_rng(1).normal(size=(SIZE, FEATURES))
    indices = np.tile(np.arange(FEATURES), SIZE)
    return X, Examples(np.arange(SIZE + 1) * FEATURES, indices, X.ravel(), X @ np.arange(FEATURES), np.ones(SIZE))


def bank(rule: str = "adagrad", rates=RATES, granularity: str = "tensor", **settings) -> ModelBank:
    steps = [Step(rule, lr=lr, granularity=granularity) for lr in rates]
    return ModelBank("linear", steps, **{"features": FEATURES} | settings)


def assert_same(found: ModelBank, expected: ModelBank) -> None:
    (arrays, numbers), (others, their_numbers) = found.state(), expected.state()
    assert numbers == their_numbers
    for name in ("shared", "last", *(f"common.{part}" for part in found.common)):
        assert_identical(arrays[name], others[name], name)
    for part, layout in found.table.parts.items():
        for slot in (None, *layout.slots):
            assert_identical(found.table.numbers(part, slot), expected.table.numbers(part, slot), f"{part} {slot}")


CASES = list(itertools.product(["float32", "float64"], ["adagrad", "rmsprop", "adam"], [1, 7]))
FAST = [("float32", "adagrad", 1), ("float32", "rmsprop", 7)]
"""With and without mini-batches: float64 without them is compared further below."""


@pytest.mark.sampled(1)
@pytest.mark.parametrize("dtype, rule, batch_size", unpacked(CASES, FAST))
def test_the_compiled_engine_has_the_bits_of_the_reference(dtype, rule, batch_size):
    rows, banks, predicted = examples(), [], []
    for engine in ("cpu", "reference"):
        banks.append(bank(rule, loss="huber", dtype=dtype, batch_size=batch_size, engine=engine))
        predicted.append(np.concatenate([banks[-1].learn(rows.part(*part)) for part in ((0, 21), (21, SIZE))]))
        banks[-1].settle()
    assert_identical(*predicted)
    assert_same(*banks)


@pytest.mark.parametrize("rule", ["adagrad", pytest.param("adam", marks=pytest.mark.slow)])
def test_the_bits_of_the_reference_in_a_single_lane(rule):
    rows, banks = examples(), [bank(rule, rates=[0.1], engine=engine) for engine in ("cpu", "reference")]
    assert_identical(*(each.learn(rows) for each in banks))
    assert_same(*banks)


@pytest.mark.parametrize("dtype, large", [("float64", 1e153), pytest.param("float32", 1e30, marks=pytest.mark.slow)])
def test_a_gradient_that_is_not_finite_does_not_enter_the_mean_in_both_engines(dtype, large):
    rows = examples()
    rows.values[np.flatnonzero(rows.indices == 2)] = large
    rows.weights[:] = 100.0
    settings = {"loss": "hinge", "normalize": False, "dtype": dtype}
    found, expected = (bank(**settings, engine=engine) for engine in ("cpu", "reference"))
    assert_identical(found.learn(rows), expected.learn(rows))
    assert found.skipped > 0
    assert np.isfinite(found.common["weight"]).all()
    assert_same(found, expected)


def test_it_is_the_loop_of_adagrad_norm():
    """The rate of weights is η over the root of the sum of their gradients' mean squares, as is that of the bias."""
    X, rows = dense_examples()
    found, rates = bank(dtype="float64", loss="squared", normalize=False), np.array(RATES)
    w, total, of_bias, bias = (np.zeros(size) for size in ((FEATURES, 3), 3, 3, 3))
    slope, expected = losses.get("squared").slope, []
    for x, y in zip(X, rows.targets, strict=True):
        expected.append(x @ w + bias)
        s = slope(expected[-1], y)
        total, of_bias = total + np.mean(np.outer(x, s) ** 2, axis=0), of_bias + s**2
        w -= rates / np.sqrt(total + 1e-6) * np.outer(x, s)
        bias -= rates / np.sqrt(of_bias + 1e-6) * s
    assert_close(found.learn(rows)[:, 0], expected, "float64")
    assert_close(found.numbers("weight")[:, 0, 0], w, "float64")
    for k, rate in enumerate(rates / np.sqrt(total + 1e-6)):
        assert_close(found.effective_rates("weight", k)[:, 0, 0], np.full(FEATURES, rate), "float64")


def test_features_that_do_not_occur_count_in_the_mean():
    """One feature of four occurs: its square is divided by four."""
    rows = Examples(np.array([0, 1]), np.array([2]), np.array([3.0]), np.array([1.0]), np.ones(1))
    found = bank(loss="squared", normalize=False, features=4, dtype="float64")
    found.learn(rows)
    gradient = losses.get("squared").slope(0.0, 1.0) * 3.0
    assert_close(found.common["weight"], [3 * [gradient**2 / 4]], "float64")


def test_memory_is_one_number_for_each_part():
    assert bank().bytes_of_memory == 2 * 4 / (FEATURES + 1)
    assert bank(granularity="coordinate").bytes_of_memory == 4


@pytest.mark.parametrize("rule", ["adagrad", pytest.param("adam", marks=pytest.mark.slow)])
def test_a_bank_continues_from_its_state(rule):
    rows = examples()
    found, resumed = bank(rule), bank(rule, features=0)
    found.learn(rows.part(0, 21))
    arrays, numbers = found.state()
    resumed.restore({name: array.copy() for name, array in arrays.items()}, numbers)
    assert_identical(found.learn(rows.part(21, SIZE)), resumed.learn(rows.part(21, SIZE)))
    assert_same(resumed, found)


def test_a_rate_in_common_does_not_depend_on_the_room_of_the_table():
    found, roomy = bank(), bank()
    roomy.grow(10 * FEATURES)
    for first, last in ((0, 21), (21, SIZE)):
        assert_identical(found.learn(examples().part(first, last)), roomy.learn(examples().part(first, last)))
    assert_identical(roomy.numbers("weight")[:FEATURES], found.numbers("weight"))


def test_a_state_without_what_is_in_common_is_rejected():
    arrays, numbers = bank().state()
    with pytest.raises(ValueError, match=r"common.weight: found nothing, expected float32 of shape \(1, 3\)"):
        bank().restore({name: array for name, array in arrays.items() if name != "common.weight"}, numbers)


@pytest.mark.parametrize("kept", [[1, 3, 4], pytest.param([1, 3], marks=pytest.mark.slow)], ids=str)
def test_chosen_rates_continue_unchanged(kept):
    rows, rates = examples(), (0.2, 0.1, 0.3, 0.03, 0.5)
    chosen = [rates[k] for k in kept]
    found, alone = bank(rates=rates), bank(rates=chosen)
    found.learn(rows.part(0, 21))
    alone.learn(rows.part(0, 21))
    steps = [Step("adagrad", lr=lr, granularity="tensor") for lr in chosen]
    found.choose(kept, steps, len(kept) * [False])
    assert_identical(found.learn(rows.part(21, SIZE)), alone.learn(rows.part(21, SIZE)))
    assert_same(found, alone)


def test_joined_numbers_count_by_their_features_examples():
    found = bank()
    found.learn(examples())
    counts = np.broadcast_to(found.table.statistic("count")[:, None, None, None], (FEATURES, 1, 1, len(RATES)))
    assert_identical(Learned.of(found).weights["weight"], counts)


@pytest.mark.parametrize(
    "granularity, settings, message",
    [
        ("row", {}, "found granularity row for the part 'bias', expected coordinate or tensor at every rate"),
        ("tensor", {"damped": [True, False, False]}, "cannot be implicit, because its numbers share a rate"),
    ],
)
def test_what_cannot_be_honoured_is_rejected(granularity, settings, message):
    with pytest.raises(ValueError, match=message):
        bank(granularity=granularity, **settings)


def test_rates_of_different_granularity_are_rejected():
    steps = [Step("adagrad", granularity=granularity) for granularity in ("coordinate", "tensor")]
    with pytest.raises(ValueError, match="found granularity coordinate, tensor for the part"):
        ModelBank("linear", steps)


def test_a_comparison_honours_the_granularity():
    X, rows = dense_examples()
    data = Dataset("numbers", X.astype(np.float32), rows.targets.astype(np.float32), "regression")
    found = [
        surefoot.compare(data, "adagrad", lr=0.1, epochs=1, seeds=[0], granularity=granularity).table()[0]
        for granularity in ("coordinate", "tensor")
    ]
    assert all(np.isfinite(row["train_loss"]) for row in found)
    assert found[0]["train_loss"] != found[1]["train_loss"]
    assert [row["bytes_per_coordinate"] for row in found] == [4.0, 2 * 4 / (FEATURES + 1)]
