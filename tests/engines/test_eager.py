"""The eager engine on every library of arrays comes to what the reference does."""

import numpy as np
import pytest
from support.arrays import LIBRARIES, SHAPES, tree
from support.covering import covering, unpacked
from support.numerics import assert_close, assert_identical
from support.table import CONCRETE, Concrete, gradients, granularities, parameters, touches

from surefoot import ops
from surefoot.engines import Step, eager
from surefoot.rules import direction, nonnegative, rule

EACH = pytest.mark.parametrize("library", LIBRARIES.values(), ids=LIBRARIES)
SETTINGS = {
    "plain": {},
    "around": {"weight_decay": 0.05, "decoupled_weight_decay": 0.1, "l1": 0.01, "l2": 0.1, "clip_value": 2.0},
    "uphill": {"maximize": True, "weight_decay": 0.1},
}
STEPS = 6
CASES = [(name, granularity) for name, c in CONCRETE.items() for granularity in granularities(c, "row", "tensor")]
TABLE = [(library, *case, around) for library in LIBRARIES for case in CASES for around in SETTINGS]
FAST = covering(TABLE)


def settings_for(c: Concrete, name: str) -> dict:
    """What is set around a rule; from-origin rules have their own penalties."""
    settings = SETTINGS[name]
    if c.rule.from_origin:
        settings = {key: value for key, value in settings.items() if key in ("weight_decay", "clip_value", "maximize")}
    return settings


def run(library, step, x, slots, moves):
    """Parameters and slots after these moves, (engine's function, its arguments), as NumPy arrays; and the skipped."""
    xp, skipped = library.namespace(), 0
    with library.float64(), np.errstate(all="ignore"):
        x, slots = library.array(x), list(map(library.array, slots))
        for t, (move, *arguments) in enumerate(moves, 1):
            given = [library.array(argument) for argument in arguments]
            (x, *slots), ok = move(xp, step, x, *given, slots, t)
            skipped += int((~ok).sum())
        return np.asarray(x), [np.asarray(slot) for slot in slots], skipped


def both(library, c: Concrete, x, moves, tolerance="float64", **settings):
    """Fails unless the engine and the reference come to the same parameters and slots."""
    step, expected = c.step(engine="reference", lazy="touched", **settings), x.copy()
    state = step.init(expected)
    slots = [state.slots[name].copy() for name in step.rule.slots]
    found, after, skipped = run(library, step, x, slots, moves)
    for move, *arguments in moves:
        (step.dense if move is eager.dense else step.rows)(expected, *arguments, state)
    assert_close(found, expected, tolerance, "parameters")
    assert found.dtype == expected.dtype
    assert skipped == state.skipped
    for slot, (name, theirs) in zip(after, state.slots.items(), strict=True):
        assert (slot.shape, slot.dtype) == (theirs.shape, theirs.dtype)
        assert_close(slot, theirs, tolerance, name)
    return found, expected


@pytest.mark.sampled(8)
@pytest.mark.parametrize("library, name, granularity, around", unpacked(TABLE, FAST))
def test_dense(library, name, granularity, around):
    c = CONCRETE[name]
    for shape in SHAPES.values():
        moves = [(eager.dense, g) for g in gradients(shape, "float64", STEPS)]
        settings = settings_for(c, around) | {"granularity": granularity}
        both(LIBRARIES[library], c, parameters(shape, "float64"), moves, **settings)


@pytest.mark.sampled(8)
@pytest.mark.parametrize("library, name, granularity, around", unpacked(TABLE, FAST))
def test_rows(library, name, granularity, around):
    """With duplicates, and a gradient without rows."""
    c, x = CONCRETE[name], parameters((7, 5), "float64")
    moves = [(eager.rows, *part) for part in touches((7, 5), "float64", STEPS)]
    moves.append((eager.rows, np.empty(0, np.int64), np.empty((0, 5))))
    both(LIBRARIES[library], c, x, moves, granularity=granularity, **settings_for(c, around))


@pytest.mark.parametrize("c", CONCRETE.values(), ids=str)
@EACH
def test_float32(library, c):
    moves = [(eager.dense, g) for g in gradients((7, 5), "float32", STEPS)]
    both(library, c, parameters((7, 5), "float32"), moves, "torch float32")


@pytest.mark.parametrize("c", CONCRETE.values(), ids=str)
def test_bits_on_numpy(c):
    """Where nothing is summed, the engine rounds as the reference does."""
    moves = [(eager.dense, g) for g in gradients((7, 5), "float64", STEPS)]
    found, expected = both(LIBRARIES["numpy"], c, parameters((7, 5), "float64"), moves, **settings_for(c, "around"))
    assert_identical(found, expected)


@pytest.mark.parametrize("granularity", ["coordinate", "row", "tensor"])
@EACH
def test_what_is_not_finite_is_skipped_and_counted(library, granularity):
    """A gradient, a square that overflows, an infinite gradient in rows."""
    grads = [np.array([[1.0, g, -2.0], [3.0, 1.0, 0.5]]) for g in (1.0, np.nan, 1e200, -np.inf, 2.0)]
    moves = [(eager.dense, g) for g in grads] + [(eager.rows, np.array([1, 0]), g) for g in grads]
    both(library, CONCRETE["adam"], np.ones((2, 3)), moves, granularity=granularity, nonfinite="skip")


@rule(slots={"last": direction(), "one_before": direction()}, hyper={"lr": nonnegative(0.1)})
def shifting(x, g, g2, last, one_before, lr):
    """Steps along the gradient before the last."""
    return lr * ops.sqrt(lr), one_before, g, last


@pytest.mark.parametrize("nonfinite", ["skip", "propagate"])
@EACH
def test_slots_that_are_handed_on(library, nonfinite):
    """And operations on coefficients alone."""
    c = Concrete("shifting", shifting)
    moves = [(eager.dense, g) for g in gradients((4, 3), "float64", STEPS)]
    both(library, c, parameters((4, 3), "float64"), moves, nonfinite=nonfinite)
    if library is LIBRARIES["torch"]:
        in_place(shifting, moves, nonfinite)


def in_place(rule, moves, nonfinite):
    """The same by the functions that overwrite tensors."""
    torch, engine = pytest.importorskip("torch"), pytest.importorskip("surefoot.engines.namespaces.torch")
    step, expected = Step(rule, engine="reference", nonfinite=nonfinite), parameters((4, 3), "float64")
    x, slots, state = torch.from_numpy(expected.copy()), list(torch.zeros(2, 4, 3).double()), step.init(expected)
    for t, (_, g) in enumerate(moves, 1):
        assert engine.dense(step, x, torch.from_numpy(g), slots, t) == 0
        step.dense(expected, g, state)
    assert_close(x, expected, "float64")
    assert_close(slots[1], state.slots["one_before"], "float64")


@pytest.mark.parametrize("name, granularity", CASES)
def test_no_device_is_waited_for(name, granularity):
    """Tensors on torch's device "meta" have no numbers: reading one, or asking whether it is true, raises an error."""
    torch, engine = pytest.importorskip("torch"), pytest.importorskip("surefoot.engines.namespaces.torch")
    c = CONCRETE[name]
    step = c.step(granularity=granularity, **settings_for(c, "around"))
    for shape in SHAPES.values():
        x, g = torch.empty(shape, device="meta"), torch.empty(shape, device="meta")
        slots = [torch.empty(step.slot_shape(shape, slot), device="meta") for slot in step.rule.slots.values()]
        skipped = engine.dense(step, x, g, slots, 1)
        assert (skipped.device.type, skipped.shape) == ("meta", ())
        with pytest.raises(RuntimeError, match="meta"):
            skipped.item()


def test_sums_on_devices_without_float64():
    """Apple's GPUs have no float64; their sums are float32."""
    engine = pytest.importorskip("surefoot.engines.namespaces.torch")

    class OnMps:
        device = type("Device", (), {"type": "mps"})

        def sum(self, axis, dtype):
            return axis, dtype

    assert engine.total(OnMps(), 1) == (1, engine.torch.float32)


def test_a_tree_has_an_array_of_each_shape():
    assert {name: x.shape for name, x in tree(np.zeros).items()} == SHAPES
