"""Schedules, traces and theory: a row fails in another setting, with another rule, and when its rule is broken."""

import inspect
import os
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from support.mutants import MUTANTS

from surefoot.engines import reference
from surefoot.lab.published import ROWS, sparsity, speed, unbalanced
from surefoot.lab.published.lockstep import DisagreementError, Lockstep, Printed
from surefoot.lab.reproduction import measure

SETTINGS: dict[str, dict[str, Any]] = {
    "schedule-piecewise": {"values": (0.5, 0.1, 0.03)},
    "schedule-exponential": {"decay": 0.11},
    "schedule-polynomial": {"power": 0.51},
    "schedule-horizon": {"steps": 101},
    "trace-adagrad-0.4": {"lr": 0.4000001},
    "trace-adagrad-2": {"lr": 2.0001},
    "trace-gd-0.4": {"lr": 0.401},
    "trace-gd-0.5": {"lr": 0.499},
    "trace-gd-0.6": {"lr": 0.601},
    "trace-momentum-0.5": {"beta": 0.49},
    "trace-momentum-0.25": {"beta": 0.26},
    "trace-rmsprop": {"gamma": 0.91},
    "trace-gd": {"lr": 0.101, "noise": 0.01},
    "trace-sgd-constant": {"lr": 0.101},
    "trace-sgd-exponential": {"decay": 0.099},
    "trace-sgd-polynomial": {"power": 0.49},
    "rotated": {"problem": "elongated", "rates": (2.0, 0.4, 2.1)},
    "condition-number": {"scaling": lambda Q: Q},
    "perturbation": {"power": 0.5},
    "whitening": {"power": 1.0},
    "unbalanced-hessian": {"betas": (0.9, 0.8, 0.7), "n": 3, "rates": (0.3, 1.1)},
    "spectral-radii": {"beta": 0.11, "n": 3, "powers": (2, 2)},
    "speed-up-0.1": {"beta": 0.11, "rates": (0.1, 1.1)},
    "speed-up-0.9": {"beta": 0.91, "n": 90, "rates": (0.11, 0.3, 1.0, 3.0)},
    "limit-balanced": {"lr": 1.0},
    "limit-turned": {"beta": 0.31, "lr": 1.1, "turn": False},
    "gd-scalar": {"lr": 0.101, "curvatures": (0.1, 1.0, 10.0, 19.0, 21.1)},
    "momentum-region": {"bound": lambda beta: 2 + beta},
    "effective-weight": {"betas": (0.95, 0.9, 0.6, 0.1), "gammas": (0.95, 0.9, 0.8, 0.71)},
    "eigenvectors": {"lr": 0.11, "beta": 0.89, "steps": 31},
    "momentum-step": {"betas": (0.95, 0.89, 0.6, 0.0)},
    "convex-bound": {"steps": 401, "power": 0.51},
    "strongly-convex": {"powers": (0.75, 0.5)},
    "adam-diverges": {"rules": ("yogi", "adam"), "rares": (4.0, 10.0, 21.0), "scale": 0.4},
    "adagrad-rate": {"rule": "visits"},
    "adagrad-regret": {"rule": "sgd", "rates": (0.05, 0.2, 1.0, 4.0)},
    "sampling": {"replacement": False},
    "unbiased": {"examples": 39},
    "minibatch-variance": {"sizes": (1, 4, 16, 64, 128), "power": 1.0},
    "gradient-variance": {"at": 0.1},
    "noise-floor": {"rates": (0.05, 0.1, 0.2, 0.41)},
    "local-minima": {"lr": 0.081, "noise": 0.1},
    "sparse-features": {"rules": ("sgd", "adagrad"), "rates": (0.1, 0.2, 0.4, 0.81)},
    "visits-fail": {"rules": ("adagrad", "visits"), "lr": 0.21},
    "initial-accumulator": {"value": 0.11, "lr": 0.11},
    "inverse-gradient": {"rule": "adagrad", "alpha": 0.31},
    "yogi-first-batch": {"batch": 50, "first_rate": 0.01},
    "sparse-equals-dense": {"rule": "momentum", "lr": 0.11},
    "vectorization": {"ways": speed.WAYS | {"blocks": speed.by_column}},
    "airfoil-optimum": {"published": 0.2417},
    "airfoil-gd-diverges": {"lr": 0.9, "epochs": 59},
}
"""Another value of each argument of a row: of a setting, the rule, or what is expected."""

HOW_MANY = {"seeds", "draws", "repeats", "rounds", "size"} | {"n of sampling", "steps of adagrad-rate"}
HOW_MANY |= {"steps of gradient-variance", "steps of sparse-equals-dense"}
"""Arguments that say how much is drawn or followed, for which a claim holds whatever they are."""

FEWER = {
    "strongly-convex": {"seeds": 100},
    "sampling": {"repeats": 50},
    "sparse-features": {"seeds": 2},
    "speed-up-0.9": {"seeds": 1},
}

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
    "yogi: sgn(0) is 1": {"adam-diverges"},
    "yogi: sgn(0) is −1": {"adam-diverges"},
}
UNSEEN |= {
    one.id: {*ROWS_OF_RULE[one.rule], *UNSEEN.get(one.id, ())}
    for one in MUTANTS
    if one.rule in ("momentum", "rmsprop") and "rows" in one.what
}
"""What a row does not have, so that it cannot see it broken: a second step, an ε, zero gradients, a velocity, rows that
catch up."""

SLOW = {"speed-up-0.1", "speed-up-0.9", "airfoil-gd-diverges", "unbiased"}
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


def changes():
    for id, others in SETTINGS.items():
        for name in others:
            yield pytest.param(id, name, marks=pytest.mark.slow if id in SLOW else (), id=f"{id}, {name}")


@pytest.mark.sampled(24)
@pytest.mark.parametrize("id, name", list(changes()))
def test_a_row_fails_in_another_setting(id, name):
    if id.startswith("airfoil") and "SUREFOOT_DATA" not in os.environ:
        pytest.skip("SUREFOOT_DATA does not name a folder with airfoil_self_noise.dat")
    changed = partial(ROWS[id].measure, **FEWER.get(id, {}), **{name: SETTINGS[id][name]})
    result = measure(replace(ROWS[id], measure=changed))
    assert result.verdict == "fail", result.measured
    assert not result.reason or result.reason.startswith("DisagreementError")


def test_every_argument_of_a_row_has_another_value():
    for id, others in SETTINGS.items():
        names = inspect.signature(ROWS[id].measure).parameters
        settings = {name for name in names if not HOW_MANY & {name, f"{name} of {id}"}}
        assert set(others) == ({"power"} if id == "schedule-polynomial" else settings), id


@pytest.mark.parametrize("mutant, id", list(cases()))
def test_a_row_fails_when_its_rule_is_broken(mutant, id, monkeypatch):
    monkeypatch.setitem(mutant.table, mutant.rule, mutant.built())
    result = measure(ROWS[id])
    assert result.verdict == "fail", result.measured


def test_every_row_has_a_mutant():
    sections = ("2 schedules", "3 traces", "5 theory")
    elsewhere = ("trace-rule-", "trace-cautious", "trace-clock", "optim-")  # tests/lab/test_mutants.py
    own = {id for id, row in ROWS.items() if row.section in sections and not id.startswith(elsewhere)}
    assert own == {id for id in SETTINGS if not id.startswith("airfoil")}


IN_NO_TEXT = {"rotated", "adagrad-regret", "airfoil-optimum"}


@pytest.mark.parametrize("id", SETTINGS)
def test_what_is_published_names_its_text(id):
    assert bool(ROWS[id].texts) == bool(ROWS[id].published) == (id not in IN_NO_TEXT)


class TestLockstep:
    def test_a_copy_that_is_not_finite_is_an_error(self):
        run = Lockstep("sgd", np.zeros(2), Printed("sgd", 0.1), lr=0.1)
        run(np.ones(2))
        run.copy[0] = np.nan
        with pytest.raises(DisagreementError, match="sgd: step 2 ends nan away"):
            run(np.ones(2))

    def test_a_schedule_that_differs_from_the_printed_one_is_an_error(self):
        run = Lockstep("sgd", np.zeros(2), Printed("sgd", lambda t: 0.1 / (t + 1e-6)), lr=lambda t: 0.1 / t)
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
        assert unbalanced.count("adagrad", Q[None], unbalanced.outside(0.1), 0.1, **unbalanced.OUTSIDE) == [steps]

    def test_the_closed_form_counts_like_the_driver(self):
        Q = unbalanced.unbalanced(1, 3, 0.2)
        lr = 1 / float(np.linalg.eigvalsh(Q)[-1])
        (steps,) = unbalanced.count("sgd", Q[None], Printed("sgd", lr), lr)
        assert abs(steps - unbalanced.descent_steps(Q)) <= 1

    def test_the_matrix_is_near_the_identity(self):
        values = np.linalg.eigvalsh(unbalanced.near_identity(0, 6))
        assert values.min() >= 0.8
        assert values.max() <= 1.2


def first_only(ids, values):
    unique, first = np.unique(ids, return_index=True)
    return unique, values[first]


def halved(ids, values):
    unique = np.unique(ids)
    totals = np.zeros((len(unique), *values.shape[1:]), values.dtype)
    np.add.at(totals, np.searchsorted(unique, ids), values)
    return unique, totals / 2


@pytest.mark.parametrize("broken", [first_only, halved])
def test_a_row_of_sparse_gradients_fails_with_a_broken_reference(broken, monkeypatch):
    assert sparsity.sparse_equals_dense(steps=3).passed
    monkeypatch.setattr(reference, "merge", broken)
    assert not sparsity.sparse_equals_dense(steps=3).passed
