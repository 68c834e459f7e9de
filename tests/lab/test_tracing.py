"""Traces: published numbers, every rule, divergence, noise, settings, and what is rejected."""

import numpy as np
import pytest

import surefoot
from surefoot import ops, schedules
from surefoot.engines import Step
from surefoot.lab.problems import PROBLEMS, Problem
from surefoot.lab.race import Entry, Run, Score
from surefoot.rules import REGISTRY, RuleError, everything, nonnegative, rule, scale
from surefoot.schedules import parse


@rule(slots={"total": scale()}, hyper={"lr": nonnegative(1.0), "eps": nonnegative(1e-6)}, lazy_exact=True)
def harmonic(x, g, g2, total, lr, eps):
    total = total + ops.sqrt(g2)
    return lr / (total + eps), g, total


class TestPublished:
    @pytest.mark.parametrize(
        "name, lr, hyper, end",
        [
            ("adagrad", 0.4, {}, (-2.382563, -0.158591)),
            ("adagrad", 2.0, {}, (-0.002295, -0.000000)),
            ("sgd", 0.4, {}, (-5 * 0.92**20, -2 * 0.6**20)),
            ("momentum", 0.6, {"momentum": 0.5}, (0.007188, 0.002553)),
            ("momentum", 0.6, {"momentum": 0.25}, (-0.126340, -0.186632)),
            ("rmsprop", 0.4, {"gamma": 0.9}, (-0.010599, 0.000000)),
        ],
    )
    def test_six_decimals(self, name, lr, hyper, end):
        path = surefoot.trace(name, lr=lr, **hyper)[0]
        np.testing.assert_allclose(path.positions[-1], end, rtol=0, atol=5e-7)
        assert not path.diverged

    def test_gradient_descent_diverges_at_0_6(self):
        path = surefoot.trace("sgd", lr=0.6)[0]
        assert path.diverged
        assert abs(path.positions[-1, 1]) == pytest.approx(2 * 1.4**20)


class TestEveryRule:
    @pytest.mark.parametrize("name", everything())
    def test_shapes_start_and_finite_numbers(self, name):
        result = surefoot.trace(name, "bowl", steps=7, noise=0.5)
        path = result[name]
        assert path.positions.shape == (8, 2)
        assert path.values.shape == (8,)
        assert path.rates.shape == (7, 2)
        np.testing.assert_array_equal(path.positions[0], (-5, -2))
        np.testing.assert_allclose(path.values, PROBLEMS["bowl"].at(path.positions))
        first = 2 if name == "adopt" else 1  # whose first gradient gives no step
        assert (path.positions[first] != path.positions[0]).all()
        assert np.isfinite(path.rates).all()

    @pytest.mark.parametrize("name", ["sgd", "momentum", "full_matrix", "ftrl"])
    @pytest.mark.parametrize("lr", [1e3, 1e200])
    def test_a_path_that_leaves_stays_finite_and_is_marked_diverged(self, name, lr):
        path = surefoot.trace(name, lr=lr, steps=300)[0]
        assert np.isfinite(path.positions).all()
        assert np.isfinite(path.values).all()
        # FTRL and full-matrix AdaGrad divide by the gradients they have seen: they come back, or leave at once.
        assert path.diverged or np.abs(path.positions).max() < 1e12

    def test_a_custom_rule(self):
        path = surefoot.trace(harmonic, lr=0.4)["harmonic"]
        assert path.values[-1] < path.values[0]

    def test_rules_that_step_from_the_origin_begin_at_the_given_start(self):
        traced = surefoot.trace(["dual_averaging", "ftrl"], lr=1.0, steps=200)
        for path in traced:
            np.testing.assert_array_equal(path.positions[0], (-5, -2))
            assert path.values[-1] < 0.2 * path.values[0]


class TestSettings:
    def test_learning_rates_by_rule_several_and_scheduled(self):
        falling = schedules.exponential(0.1, 0.1)
        traced = surefoot.trace(["sgd", "adagrad"], lr={"sgd": [0.1, falling]}, steps=3)
        assert [path.rule for path in traced] == ["sgd", "sgd", "adagrad"]
        assert traced[0].lr == 0.1
        assert traced["adagrad"].lr == REGISTRY["adagrad"].hyper["lr"].default
        # Every effective rate is the one of the step to come.
        np.testing.assert_allclose(traced[1].rates[:, 0], falling(np.array([2, 3, 4])))

    @pytest.mark.parametrize(
        "lr, name",
        [
            (0.1, None),
            (schedules.polynomial(0.1), "polynomial:0.1:1:0.5"),
            (schedules.warmup(schedules.exponential(0.1, 0.1), 3), "warmup:3:exponential:0.1:0.1"),
            (parse("exponential:0.5", 0.2), "exponential:0.2:0.5"),
        ],
    )
    def test_a_schedule_is_called_the_same_in_traces_and_races(self, lr, name):
        (path,) = surefoot.trace("sgd", lr=lr, steps=1)
        entry = Entry(REGISTRY["sgd"], lr, 0.0, None, [Run(0, [Score(1.0, 1.0)], [1.0])])
        assert path.record()["schedule"] == entry.row()["schedule"] == name

    def test_the_formula_of_a_schedule_has_four_digits(self):
        (path,) = surefoot.trace("sgd", lr=f"polynomial:{1 / 15}:1", steps=1)
        assert path.label == "sgd, η(t) = 0.06667 (1 + 1t)^(−0.5)"

    def test_a_hyperparameter_reaches_the_rules_that_have_it(self):
        traced = surefoot.trace(["adagrad", "rmsprop"], gamma=0.5, lr=0.1)
        alone = surefoot.trace("rmsprop", gamma=0.5, lr=0.1)
        np.testing.assert_array_equal(traced["rmsprop"].positions, alone[0].positions)
        assert "gamma" not in traced["adagrad"].settings
        assert "gamma = 0.5" in traced["rmsprop"].label

    def test_conventions_and_modifiers(self):
        plain, torch = surefoot.trace("adagrad", lr=1.0)[0], surefoot.trace("adagrad", lr=1.0, convention="pytorch")[0]
        assert (plain.positions[1] != torch.positions[1]).any()
        one_rate = surefoot.trace("adagrad", granularity="tensor")[0]
        assert (one_rate.rates[:, 0] == one_rate.rates[:, 1]).all()

    def test_noise_is_the_same_for_all_rules_and_follows_the_seed(self):
        first, again, other = (surefoot.trace("sgd", noise=1.0, seed=seed)[0].positions for seed in (1, 1, 2))
        np.testing.assert_array_equal(first, again)
        assert (first[1:] != other[1:]).all()
        both = surefoot.trace(["adagrad", "sgd"], noise=1.0, seed=1)
        np.testing.assert_array_equal(both["sgd"].positions, first)

    def test_custom_problem_and_start(self):
        own = Problem("slope", "x₁ + x₂", lambda a, b: a + b, lambda a, b: (1 + 0 * a, 1 + 0 * b))
        path = surefoot.trace("sgd", own, lr=0.5, steps=2, start=(1, 2))[0]
        np.testing.assert_allclose(path.positions, [[1, 2], [0.5, 1.5], [0, 1]])


class TestResult:
    def test_the_frame_has_a_row_for_every_step(self):
        frame = surefoot.trace(["sgd", "adagrad"], steps=4).frame()
        assert list(frame.columns) == ["rule", "lr", "step", "x1", "x2", "value", "rate1", "rate2", "diverged"]
        assert frame.groupby("rule").size().to_dict() == {"adagrad": 5, "sgd": 5}
        assert frame[frame.step > 0].notna().all().all()

    def test_record_is_plain(self):
        record = surefoot.trace("adagrad", steps=2).record()
        assert record["paths"][0]["positions"][0] == [-5.0, -2.0]
        assert type(record["paths"][0]["value"]) is float

    def test_repr_says_where_paths_end(self):
        text = repr(surefoot.trace(["adagrad", "sgd"], lr={"adagrad": 0.4, "sgd": 0.6}))
        assert "x = (-2.382563, -0.158591)" in text
        assert "sgd, η = 0.6: diverged" in text

    def test_a_path_is_found_by_index_and_name(self):
        traced = surefoot.trace(["sgd", "adagrad"], steps=1)
        assert traced[1] is traced["adagrad"]
        assert len(traced) == 2
        with pytest.raises(KeyError, match="no path of 'adam'"):
            traced["adam"]


class TestRejected:
    @pytest.mark.parametrize(
        "arguments, message",
        [
            ({"rules": "adagrd"}, "did you mean 'adagrad'"),
            ({"rules": []}, "no rule to trace"),
            ({"rules": "adagrad", "problem": "rotate"}, "did you mean 'rotated'"),
            ({"rules": "adagrad", "gama": 1}, "no hyperparameter 'gama'"),
            ({"rules": "full_matrix", "gamma": 0.9}, "full_matrix: there is no hyperparameter 'gamma'"),
            ({"rules": "full_matrix", "convention": "pytorch"}, "full_matrix: there is no convention"),
            ({"rules": "full_matrix", "eps": 0.0}, "full_matrix: eps must lie in"),
            ({"rules": "full_matrix", "l1": 0.1}, "full_matrix: proximal acts on each coordinate"),
            ({"rules": "adagrad", "lr": -1}, "lr must lie in"),
            ({"rules": "adagrad", "lr": "fast"}, "neither a number nor a schedule"),
            ({"rules": "adagrad", "lr": {"adam": 1}}, "lr names the rule 'adam', which is not traced"),
            ({"rules": "adagrad", "lr": []}, "empty sequence"),
            ({"rules": "adagrad", "steps": 0}, "steps must be a whole number"),
            ({"rules": "adagrad", "steps": 1.5}, "steps must be a whole number"),
            ({"rules": "adagrad", "noise": -1}, "noise must be"),
            ({"rules": "adagrad", "start": (1,)}, "start must be two finite numbers"),
            ({"rules": "adagrad", "start": (1, float("nan"))}, "start must be two finite numbers"),
            ({"rules": "adagrad", "convention": "caffe"}, "no convention 'caffe'"),
        ],
    )
    def test_errors_are_one_sentence(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            surefoot.trace(**arguments)

    def test_settings_that_a_rule_cannot_honour(self):
        with pytest.raises(ValueError, match="granularity"):
            surefoot.trace("sgd", granularity="tensor")
        with pytest.raises(RuleError):
            surefoot.trace("adam", beta1=1.0)


class TestFullMatrix:
    def test_steps_by_the_inverse_root_of_the_sum_of_outer_products(self):
        from scipy.linalg import inv, sqrtm

        rng = np.random.default_rng(0)
        step, x, total = Step("full_matrix", lr=0.3, eps=1e-4), np.zeros(3), 1e-4 * np.eye(3)
        memory = step.init(x)
        for _ in range(5):
            g, before = rng.normal(size=3), x.copy()
            total += np.outer(g, g)
            step.dense(x, g, memory)
            np.testing.assert_allclose(before - x, 0.3 * inv(sqrtm(total)) @ g, rtol=1e-9)
            np.testing.assert_allclose(step.rates(x, memory), 0.3 * np.diag(inv(sqrtm(total))), rtol=1e-9)

    def test_is_invariant_to_rotations(self):
        turn = np.linalg.qr(np.random.default_rng(1).normal(size=(2, 2)))[0]
        gradients = np.random.default_rng(2).normal(size=(30, 2))
        ends = []
        for change in (np.eye(2), turn):
            step, x = Step("full_matrix", lr=0.5), np.zeros(2)
            memory = step.init(x)
            for g in gradients:
                step.dense(x, change @ g, memory)
            ends.append(change.T @ x)
        np.testing.assert_allclose(*ends, rtol=1e-8)

    def test_is_adagrad_in_one_dimension(self):
        step, x = Step("full_matrix", lr=0.5, eps=1e-6), np.zeros((1, 1))
        memory, total, expected = step.init(x), 0.0, 0.0
        for g in (3.0, -1.0, 0.5):
            total += g * g
            expected -= 0.5 * g / np.sqrt(total + 1e-6)
            step.dense(x, np.array([[g]]), memory)
        assert x[0, 0] == pytest.approx(expected)
