"""What rules say that their slots hold of the gradients is what the slots hold after steady gradients."""

import numpy as np
import pytest

from surefoot.engines import Step
from surefoot.rules import RuleError, everything, rule
from surefoot.rules.slots import average_of, direction

STEPS, G = 400, 2.0
SETTINGS = [
    *((name, {}) for name, each in everything().items() if any(slot.moment for slot in each.slots.values())),
    ("adam", {"amsgrad": True}),
    *((name, {"clock": "row"}) for name, each in everything().items() if any("clock" in on for on in each.variants)),
    ("momentum", {"dampening": 0.5}),
    ("rmsprop", {"momentum": 0.5}),
    ("rmsprop", {"centered": True}),
    ("sm3", {"momentum": 0.5}),
]


@pytest.mark.parametrize(
    "name, given", SETTINGS, ids=lambda value: value if isinstance(value, str) else "-".join(value)
)
def test_slots_hold_what_the_rule_says(name, given):
    hyper = everything()[name].defaults
    # Averages that are not corrected for starting at 0 are to have settled.
    shares = {share: value for share, value in (("beta1", 0.9), ("beta2", 0.95)) if share in hyper}
    step, x = Step(name, engine="reference", **shares | given), np.zeros(1)
    state = step.init(x)
    for _ in range(STEPS):
        x[:] = 0
        step.dense(x, np.full(1, G), state)
    # The gradient is scaled by the root of its square, by SM3 of the sum of them.
    size = {"gradients": G, "squares": G**2, "updates": STEPS**-0.5 if name == "sm3" else 1.0, "ones": 1.0}
    moments = {slot: each.moment for slot, each in step.rule.slots.items() if each.moment is not None}
    assert moments
    for slot, moment in moments.items():
        expected = moment.weight(STEPS, step.hyper) * size[moment.of]
        assert held(state, slot) == pytest.approx(expected, rel=5e-3), slot
    # Neither AMSGrad's largest average nor Yogi's falls where a gradient is 0.
    falling = [slot for slot in moments if slot != "largest" and name != "yogi" and moments[slot].of != "ones"]
    before = {slot: held(state, slot) for slot in falling}
    x[:] = 0
    step.dense(x, np.zeros(1), state)
    for slot, value in before.items():
        kept = 1.0 if moments[slot].share is None else step.hyper[moments[slot].share]
        assert held(state, slot) == pytest.approx(kept * value, rel=1e-3), slot


def held(state, slot):
    return float(np.ravel(state.slots[slot])[0])


def test_shares_are_hyperparameters():
    with pytest.raises(RuleError, match="slot 'v' keeps 'beta1', which is not a hyperparameter"):

        @rule(slots={"v": direction(moment=average_of("gradients", "beta1"))}, hyper=everything()["sgd"].hyper)
        def mine(x, g, g2, v, lr):
            return lr, g, v + g
