"""How the tests compare numbers: bit for bit where that is promised, else within the tolerances listed here."""

import numpy as np

TOLERANCE = {
    # Against another implementation or a closed form in float64: roundings of some hundred operations, nothing more.
    "float64": {"rtol": 1e-11, "atol": 1e-13},
    # Against torch, which rounds in another order, over a hundred steps.
    "torch float64": {"rtol": 1e-10, "atol": 1e-12},
    # Against optax and between engines in float64, over a hundred steps, relative to numbers of about 1.
    "optax": {"rtol": 1e-12, "atol": 1e-12},
    "torch float32": {"rtol": 2e-4, "atol": 2e-5},
    # The same in float32, rounded to a type of half the width: now and then to the neighbour.
    "torch.bfloat16": {"rtol": 2**-7, "atol": 2e-5},
    "torch.float16": {"rtol": 2**-10, "atol": 2e-5},
    # A number printed with six decimals.
    "published": {"rtol": 0.0, "atol": 5e-7},
    # Skipped steps caught up on in closed form, against the same steps one by one, in float64.
    "lazy": {"rtol": 1e-9, "atol": 1e-12},
    # The minimizer that a general-purpose solver finds.
    "minimizer": {"rtol": 1e-6, "atol": 1e-7},
    # A minimizer that thousands of steps in float32 come to.
    "trained": {"rtol": 1e-3, "atol": 1e-3},
    # The mean of 2¹⁸ random roundings, as a share of the distance between two neighbours: nine standard errors.
    "rounding": {"rtol": 0.0, "atol": 9 * 0.5 / 2**9},
}


def assert_close(found, expected, tolerance: str, what: str = "values"):
    """Fails unless all numbers agree within the named tolerance; NaN agrees with nothing."""
    found, expected = np.asarray(found), np.asarray(expected)
    reject_nan(found, f"{what}, found")
    reject_nan(expected, f"{what}, expected")
    np.testing.assert_allclose(found, expected, **TOLERANCE[tolerance], err_msg=what)


def assert_identical(found, expected, what: str = "values"):
    """Fails unless shape, type and every bit agree (so −0 is not 0); NaN agrees with nothing."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape, f"{what}: shape {found.shape}, expected {expected.shape}"
    assert found.dtype == expected.dtype, f"{what}: type {found.dtype}, expected {expected.dtype}"
    reject_nan(found, f"{what}, found")
    reject_nan(expected, f"{what}, expected")
    differs = bits(found) != bits(expected)
    if differs.any():
        first = tuple(int(i) for i in np.argwhere(differs)[0])
        raise AssertionError(
            f"{what}: {np.count_nonzero(differs):,} of {differs.size:,} differ, the first at {first}: "
            f"{found[first]!r}, expected {expected[first]!r}"
        )


def reject_nan(values, what: str):
    """A comparison that lets NaN pass passes broken code."""
    if values.dtype.kind == "f" and np.isnan(values).any():
        raise AssertionError(f"{what}: holds {np.count_nonzero(np.isnan(values)):,} NaN, which equals nothing")


def bits(values):
    """The bits of numbers, as integers."""
    values = np.array(values, order="C")
    return values.view(f"u{values.dtype.itemsize}") if values.dtype.kind == "f" else values


def assert_same_memory(found, expected, what: str = "state"):
    """Fails unless two states agree bit for bit."""
    assert list(found.slots) == list(expected.slots), f"{what}: slots {list(found.slots)}"
    for name in expected.slots:
        assert_identical(found.slots[name], expected.slots[name], f"{what}, slot {name}")
    assert (found.t, found.skipped) == (expected.t, expected.skipped), f"{what}: steps and coordinates left out"
    pending = [state.pending and state.pending.last for state in (found, expected)]
    others = [[getattr(state, name) for state in (found, expected)] for name in ("weight", "average", "average_seen")]
    for name, (ours, theirs) in zip(("last", "weight", "average", "average_seen"), (pending, *others), strict=True):
        assert (ours is None) == (theirs is None), f"{what}: {name} is {ours}, expected {theirs}"
        if theirs is not None:
            assert_identical(ours, theirs, f"{what}, {name}")
