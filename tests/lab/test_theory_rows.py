"""Schedules, traces and theory: a row fails in another setting, with another rule, and when its rule is broken."""

from dataclasses import replace

import numpy as np
import pytest
from support.mutants import MUTANTS

from surefoot.lab.published import (
    ROWS,
    conditioning,
    rule_traces,
    sampling,
    schedules,
    sparsity,
    speed,
    theory,
    traces,
    unbalanced,
)
from surefoot.lab.published.lockstep import DisagreementError, Lockstep
from surefoot.lab.reproduction import measure
from surefoot.rules import MATRIX_RULES, REGISTRY

SETTINGS = {
    "schedule-piecewise": lambda: schedules.piecewise(values=(0.5, 0.1, 0.03)),
    "schedule-exponential": lambda: schedules.exponential(decay=0.11),
    "schedule-polynomial": lambda: schedules.polynomial(power=0.51),
    "schedule-horizon": lambda: schedules.horizon(steps=101),
    "trace-adagrad-0.4": lambda: traces.adagrad_slow(lr=0.4000001),
    "trace-adagrad-2": lambda: traces.adagrad_fast(lr=2.0001),
    "trace-gd-0.4": lambda: traces.descent_slow(lr=0.401),
    "trace-gd-0.5": lambda: traces.descent_between(lr=0.499),
    "trace-gd-0.6": lambda: traces.descent_divergent(lr=0.601),
    "trace-momentum-0.5": lambda: traces.momentum_half(beta=0.49),
    "trace-momentum-0.25": lambda: traces.momentum_quarter(beta=0.26),
    "trace-rmsprop": lambda: traces.rmsprop(gamma=0.91),
    "trace-gd": lambda: traces.descent_smooth(noise=0.01),
    "trace-sgd-constant": lambda: traces.constant(lr=0.101),
    "trace-sgd-exponential": lambda: traces.exponential(decay=0.099),
    "trace-sgd-polynomial": lambda: traces.polynomial(power=0.49),
    "rotated": lambda: traces.rotated(problem="elongated"),
    "condition-number": lambda: conditioning.condition_number(scaling=lambda Q: Q),
    "perturbation": lambda: conditioning.perturbation(power=0.5),
    "whitening": lambda: conditioning.whitening(power=1.0),
    "unbalanced-hessian": lambda: unbalanced.unbalanced_hessian(betas=(0.9, 0.8)),
    "spectral-radii": lambda: unbalanced.spectral_radii(powers=(2, 2)),
    "speed-up-0.1": lambda: unbalanced.speed_up_tenth(beta=0.11),
    "speed-up-0.9": lambda: unbalanced.speed_up_hundred(beta=0.91, seeds=1),
    "limit-balanced": lambda: unbalanced.limit_balanced(lr=1.0),
    "limit-turned": lambda: unbalanced.limit_turned(turn=False),
    "gd-scalar": lambda: theory.descent(lr=0.101),
    "momentum-region": lambda: theory.momentum_region(bound=lambda beta: 2 + beta),
    "effective-weight": lambda: theory.effective_weight(betas=(0.95, 0.9, 0.6, 0.1)),
    "eigenvectors": lambda: theory.eigenvectors(beta=0.89),
    "momentum-step": lambda: theory.momentum_step(betas=(0.95, 0.89, 0.6, 0.0)),
    "convex-bound": lambda: theory.convex_bound(horizon_factor=100.0),
    "strongly-convex": lambda: theory.strongly_convex(powers=(0.75, 0.5), seeds=100),
    "adam-diverges": lambda: theory.adam_diverges(rules=("yogi", "adam"), rounds=600),
    "adagrad-rate": lambda: theory.adagrad_rate(rule="rmsprop", steps=500),
    "adagrad-regret": lambda: theory.adagrad_regret(rule="sgd"),
    "sampling": lambda: sampling.sampling(replacement=False, repeats=50),
    "unbiased": lambda: sampling.unbiased(examples=39),
    "minibatch-variance": lambda: sampling.minibatch_variance(power=1.0),
    "gradient-variance": lambda: sampling.gradient_variance(at=0.1),
    "noise-floor": lambda: sampling.noise_floor(rates=(0.05, 0.1, 0.2, 0.5)),
    "local-minima": lambda: sampling.local_minima(noise=0.1),
    "sparse-features": lambda: sparsity.sparse_features(rules=("sgd", "adagrad"), seeds=2),
    "visits-fail": lambda: sparsity.visits_fail(rules=("adagrad", "visits")),
    "initial-accumulator": lambda: sparsity.initial_accumulator(value=0.11),
    "inverse-gradient": lambda: sparsity.inverse(rule="adagrad"),
    "yogi-first-batch": lambda: rule_traces.first_batch(batch=50),
    "sparse-equals-dense": lambda: sparsity.sparse_equals_dense(rule="momentum", steps=5),
    "vectorization": lambda: speed.vectorization(ways=speed.WAYS | {"blocks": speed.by_column}),
}
"""What changes one setting of a row, the rule, or what is expected."""

ROWS_OF_RULE = {
    "sgd": (
        "trace-gd-0.4",
        "trace-gd-0.5",
        "trace-gd-0.6",
        "trace-gd",
        "trace-sgd-constant",
        "trace-sgd-exponential",
        "trace-sgd-polynomial",
        "gd-scalar",
        "eigenvectors",
        "whitening",
        "convex-bound",
        "strongly-convex",
        "noise-floor",
        "local-minima",
        "sparse-features",
    ),
    "momentum": (
        "trace-momentum-0.5",
        "trace-momentum-0.25",
        "momentum-region",
        "effective-weight",
        "eigenvectors",
        "momentum-step",
        "perturbation",
    ),
    "visits": ("visits-fail",),
    "adagrad": (
        "trace-adagrad-0.4",
        "trace-adagrad-2",
        "trace-rmsprop",
        "rotated",
        "unbalanced-hessian",
        "spectral-radii",
        "speed-up-0.1",
        "speed-up-0.9",
        "limit-balanced",
        "limit-turned",
        "adagrad-rate",
        "adagrad-regret",
        "sparse-features",
        "gradient-variance",
        "visits-fail",
        "initial-accumulator",
        "inverse-gradient",
        "sparse-equals-dense",
    ),
    "rmsprop": ("trace-rmsprop", "rotated", "effective-weight"),
    "adam": ("adam-diverges",),
    "yogi": ("adam-diverges",),
    "full_matrix": ("rotated",),
}
"""The rows that are about a rule, which all its mutants have to fail."""

NO_EPS = {
    "unbalanced-hessian",
    "spectral-radii",
    "speed-up-0.9",
    "limit-turned",
    "adagrad-regret",
    "initial-accumulator",
}
"""Rows of AdaGrad in which ε is 0, or outside of the root."""

UNSEEN = {
    "momentum: steps along g": {"effective-weight"},
    "visits: counts steps": {"visits-fail"},
    "visits: c is ignored": {"visits-fail"},
    "adagrad: forgets a hundredth": {"spectral-radii"},
    "adagrad: no ε": NO_EPS,
    "adagrad: ε outside the root": NO_EPS | {"trace-adagrad-2"},
    "adagrad: starts from 0": set(ROWS_OF_RULE["adagrad"]) - {"initial-accumulator"},
    "rmsprop: no root": {"effective-weight"},
    "rmsprop: ε outside the root": {"effective-weight"},
    "adam: v is not corrected": {"adam-diverges"},
    "adam: steps along g": {"adam-diverges"},
    # There β₂ is 0.08: from step 25 on nothing is left to correct.
    "adam: s is corrected as at step 25 from then on": {"adam-diverges"},
    "yogi: s is corrected as at step 25 from then on": {"adam-diverges"},
    "adam: v is not averaged": {"adam-diverges"},
    "yogi: steps along g": {"adam-diverges"},
    "yogi: starts from 0": {"adam-diverges"},
}
"""What a row does not have, so that it cannot see it broken: a second step, an ε, zero gradients, a velocity."""

SLOW = {"speed-up-0.1", "speed-up-0.9"}
SLOW_TO_BREAK = SLOW | {"sparse-features", "adam-diverges", "local-minima", "visits-fail", "sparse-equals-dense"}
"""Also those whose kernels are compiled for each mutant."""

SAMPLE = {next(one.id for one in MUTANTS if one.rule == rule) for rule in ROWS_OF_RULE}
"""A mutant of each rule, the rest of which are slow."""


def cases():
    for one in MUTANTS:
        for id in ROWS_OF_RULE.get(one.rule, ()):
            if id not in UNSEEN.get(one.id, ()):
                slow = one.id not in SAMPLE or id in SLOW_TO_BREAK
                yield pytest.param(one, id, marks=pytest.mark.slow if slow else (), id=f"{one.id}, {id}")


@pytest.mark.parametrize("id", [pytest.param(id, marks=pytest.mark.slow if id in SLOW else ()) for id in SETTINGS])
def test_a_row_fails_in_another_setting(id):
    assert id in ROWS
    result = measure(replace(ROWS[id], measure=SETTINGS[id]))
    assert result.verdict == "fail"
    assert not result.reason or result.reason.startswith("DisagreementError")


@pytest.mark.parametrize("mutant, id", list(cases()))
def test_a_row_fails_when_its_rule_is_broken(mutant, id, monkeypatch):
    table = MATRIX_RULES if mutant.rule in MATRIX_RULES else REGISTRY
    monkeypatch.setitem(table, mutant.rule, mutant.built())
    result = measure(ROWS[id])
    assert result.verdict == "fail", result.measured


def test_every_row_has_a_mutant():
    sections = ("2 schedules", "3 traces", "5 theory")
    elsewhere = ("trace-rule-", "optim-")  # tests/lab/test_mutants.py
    own = {id for id, row in ROWS.items() if row.section in sections and not id.startswith(elsewhere)}
    assert own <= set(SETTINGS)


IN_NO_TEXT = {"rotated", "adagrad-regret"}


@pytest.mark.parametrize("id", SETTINGS)
def test_what_is_published_names_its_text(id):
    assert bool(ROWS[id].texts) == bool(ROWS[id].published) == (id not in IN_NO_TEXT)


class TestLockstep:
    def test_a_copy_that_is_not_finite_is_an_error(self):
        run = Lockstep("sgd", np.zeros(2), lr=0.1)
        run(np.ones(2))
        run.copy[0] = np.nan
        with pytest.raises(DisagreementError, match="sgd: step 2 ends nan away"):
            run(np.ones(2))

    def test_a_schedule_that_differs_from_the_printed_one_is_an_error(self):
        run = Lockstep("sgd", np.zeros(2), lambda t: 0.1 / t, lambda t: 0.1 / (t + 1e-6))
        with pytest.raises(DisagreementError, match="sgd: step 1 ends 1e-07 away"):
            run(np.ones(2))


class TestCounting:
    """What the speed-up rows are based on."""

    def test_the_driver_counts_like_a_plain_loop(self):
        Q = unbalanced.unbalanced(3, 4, 0.5)
        x, total, steps = np.ones(4), np.zeros(4), 0
        while np.linalg.norm(x) > 0.01 * 2:
            g = Q @ x
            total += g * g
            x -= 0.1 * g / (np.sqrt(total) + 1e-7)
            steps += 1
        assert unbalanced.count("adagrad", Q[None], 0.1, **unbalanced.OUTSIDE) == [steps]

    def test_the_closed_form_counts_like_the_driver(self):
        Q = unbalanced.unbalanced(1, 3, 0.2)
        (steps,) = unbalanced.count("sgd", Q[None], 1 / float(np.linalg.eigvalsh(Q)[-1]))
        assert abs(steps - unbalanced.descent_steps(Q)) <= 1

    def test_the_matrix_is_near_the_identity(self):
        values = np.linalg.eigvalsh(unbalanced.near_identity(0, 6))
        assert values.min() >= 0.8
        assert values.max() <= 1.2
