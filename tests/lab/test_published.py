"""Published results: every row passes, and fails when the setting or what is expected is another."""

import dataclasses
import os

import numpy as np
import pytest

import surefoot
from surefoot.lab.published import ROWS, Finding, Skipped, airfoil, formulas
from surefoot.lab.reproduction import reproduce
from surefoot.rules import everything

NEEDS_AIRFOIL = {id for id in ROWS if id.startswith("airfoil")} | {"figure-epochs", "figure-time"}
RUNS = {run.id: run for run in airfoil.RUNS}


SLOW = {"speed-up-0.1", "speed-up-0.9", "unbiased", "unbalanced-hessian", "adam-diverges", "sparse-features"}
SLOW |= {"figure-epochs", "figure-unbalanced", "figure-time", "figure-schedule-distances", "figure-traces-noise"}
SLOW |= {run.id for run in RUNS.values() if run.rule != "sgd" or run.concise or run.batch_size == 1}
SLOW |= {id for id in ROWS if id.startswith("optim-")} - {"optim-adagrad"}
SLOW |= {f"trace-rule-{rule}" for rule in everything()} - {f"trace-rule-{rule}" for rule in ("sgd", "adagrad", "adam")}
"""Those that take long, and those whose kernels no fast test uses."""


def each(ids):
    return [pytest.param(id, marks=pytest.mark.slow if id in SLOW else ()) for id in ids]


def needs(id):
    """Skips without the data: a test does not download."""
    if id in NEEDS_AIRFOIL and "SUREFOOT_DATA" not in os.environ:
        pytest.skip("SUREFOOT_DATA does not name a folder with airfoil_self_noise.dat")


@pytest.mark.parametrize("id", each(ROWS))
def test_every_row_passes(id):
    needs(id)
    (result,) = reproduce(only=[id]) if id == "figure-traces" else [r for r in reproduce(only=id) if r.id == id]
    assert result.verdict == "pass", f"{result.measured} {result.reason}"
    assert result.measured
    assert all(np.isfinite(number) for number in result.numbers.values())


class TestReproduce:
    def test_results_come_in_the_order_of_the_checklist(self):
        results = reproduce(only=["trace-adagrad", "schedule"])
        assert [result.section for result in results] == ["2 schedules"] * 4 + ["3 traces"] * 2

    def test_progress_is_reported_before_and_after_every_row(self):
        seen = []
        reproduce("trace-adagrad", progress=lambda row, result, done, total: seen.append((row.id, bool(result), done)))
        assert seen == [
            ("trace-adagrad-0.4", False, 0),
            ("trace-adagrad-0.4", True, 1),
            ("trace-adagrad-2", False, 1),
            ("trace-adagrad-2", True, 2),
        ]

    @pytest.mark.parametrize(
        "only, hint",
        [
            ("trace-adagrad-3", "did you mean 'trace-adagrad-2'"),
            ("sampling-", "did you mean 'sampling'"),
            ("airfoils", "did you mean 'airfoil'"),
            ("nosuch", "most ids begin with schedule, trace"),
            ("", "most ids begin with schedule, trace"),
        ],
    )
    def test_an_unknown_id_suggests_what_is_near(self, only, hint):
        with pytest.raises(ValueError, match=f"no published result '{only}'; {hint}"):
            reproduce(only=only)

    def test_without_data_rows_are_skipped_with_the_reason_and_asked_for_once(self, monkeypatch):
        from surefoot.data import DataError

        asked = []

        def offline():
            asked.append(1)
            raise DataError("airfoil: could not be downloaded; go online once")

        monkeypatch.setattr(airfoil, "airfoil_textbook", offline)
        results = reproduce(only=["airfoil-adagrad", "airfoil-gd", "figure-time"])
        airfoil.loaded.cache_clear()
        assert {result.verdict for result in results} == {"skip"}
        assert {result.reason for result in results} == {"airfoil: could not be downloaded; go online once"}
        assert len(asked) == 1

    @pytest.mark.parametrize(
        "measure, verdict, reason",
        [
            (lambda: Finding("0.5", False), "fail", ""),
            (lambda: 1 / 0, "fail", "ZeroDivisionError: division by zero"),
        ],
    )
    def test_a_row_that_fails_or_breaks_does_not_end_the_others(self, monkeypatch, measure, verdict, reason):
        broken = dataclasses.replace(ROWS["trace-adagrad-0.4"], measure=measure)
        monkeypatch.setitem(ROWS, "trace-adagrad-0.4", broken)
        first, second = reproduce(only="trace-adagrad")
        assert (first.verdict, first.reason) == (verdict, reason)
        assert second.verdict == "pass"

    def test_without_torch_the_ratio_is_missing_and_the_row_passes(self, monkeypatch):
        needs("airfoil-sgd-10")
        monkeypatch.setitem(__import__("sys").modules, "torch", None)
        finding = airfoil.measure(RUNS["airfoil-sgd-10"])
        assert finding.passed
        assert "torch not installed" in finding.measured

    def test_figures_are_written_as_png_and_svg(self, tmp_path):
        reproduce(only="figure-scalar", figures=tmp_path / "new")
        assert sorted(file.name for file in (tmp_path / "new").iterdir()) == ["figure-scalar.png", "figure-scalar.svg"]

    def test_a_folder_that_cannot_be_created_is_rejected_first(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(ValueError, match="cannot be made a folder"):
            reproduce(only="figure-scalar", figures=tmp_path / "file")

    def test_the_public_function_is_not_hidden_by_its_module(self):
        import surefoot.lab.reproduction
        import surefoot.lab.tracing

        assert callable(surefoot.trace)
        assert callable(surefoot.lab.reproduce)
        assert surefoot.lab.problems.PROBLEMS


def test_the_texts_loop_learns_what_ours_learns():
    """The loop that times are compared with is the same method: without noise it ends where our engine ends."""
    torch = pytest.importorskip("torch")
    from surefoot.lab.published import eager

    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 3)).astype(np.float32)
    y = (X @ [1, 2, 3] + 0.5).astype(np.float32)
    A = np.column_stack([X, np.ones(40, np.float32)])
    for rule, hyper in {
        "sgd": {"lr": 0.1},
        "momentum": {"lr": 0.05, "momentum": 0.5},
        "adagrad": {"lr": 0.5},
        "rmsprop": {"lr": 0.05, "gamma": 0.9},
        "adadelta": {"rho": 0.9},
        "adam": {"lr": 0.05},
        "yogi": {"lr": 0.05},
    }.items():
        w, b = torch.zeros(3, 1, requires_grad=True), torch.zeros(1, requires_grad=True)
        update = eager.from_scratch(rule, hyper, [w, b])
        step, x = surefoot.Step(rule, engine="reference", **hyper), np.zeros(4, np.float32)
        state = step.init(x)
        for _ in range(20):
            # Full batches, so that the order of examples does not matter.
            eager.epoch(torch.from_numpy(X), torch.from_numpy(y).reshape(-1, 1), w, b, update, 40)
            step.dense(x, A.T @ (A @ x - y) / np.float32(40), state)
        ours = np.append(w.detach().numpy(), b.detach().numpy())
        np.testing.assert_allclose(ours, x, rtol=2e-4, atol=2e-5, err_msg=rule)


@pytest.mark.parametrize("rule", formulas.FRAMEWORK)
def test_the_framework_steps_as_the_formulas_say(rule):
    """Where PyTorch's optimizers put ε, and how much of it, as concise runs are held against it."""
    torch = pytest.importorskip("torch")
    from surefoot.lab.published import eager

    hyper = {"rho": 0.9} if rule == "adadelta" else {"lr": 0.1}
    hyper |= {"gamma": 0.9} if rule == "rmsprop" else {}
    gradients = np.random.default_rng(0).standard_normal((20, 3)) * [1e-5, 1e-2, 1.0]
    p = torch.ones(3, dtype=torch.float64, requires_grad=True)
    update = eager.framework(rule, hyper, [p])
    setting = hyper | formulas.FRAMEWORK[rule]
    path = formulas.walk(rule, np.ones(3), lambda t, x: gradients[t - 1], 20, setting)
    for gradient, expected in zip(gradients, path, strict=True):
        p.grad = torch.from_numpy(gradient)
        update()
        np.testing.assert_allclose(p.detach().numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"texts": {"D2": ""}}, "there is no text 'D2'"),
        ({"texts": {}}, "published is 'x₁ = −2.382563, x₂ = −0.158591' in no text"),
        ({"published": ""}, "published is '' in D2L, D2L-MXNet; expected both or neither"),
        ({"published": "", "texts": {}, "ours": ""}, "nothing to hold it against"),
    ],
)
def test_a_row_is_published_only_where_a_text_prints_it(wrong, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(ROWS["trace-adagrad-0.4"], **wrong)


def test_skipped_rows_are_not_a_failure():
    assert not issubclass(Skipped, (ValueError, ArithmeticError))
