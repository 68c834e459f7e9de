"""The verdict on made runs: what is wrong, why, and how it is said."""

import io

import pytest
import torch
from support.runs import RUNS, Run, diagnosis_of, run_of, trained

import surefoot
from surefoot import optim

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("name", RUNS)
def test_the_verdict_on_a_run(name):
    verdict = diagnosis_of(name).verdict
    assert (verdict.symptom, verdict.cause) == RUNS[name][1], str(verdict)
    assert (verdict.remedy is None) == (verdict.symptom == "healthy")
    assert ("Nothing to do" in verdict.what) == (verdict.symptom == "healthy")
    assert "\n" not in str(verdict)


# What is said


def test_without_gradients_the_verdict_says_what_to_call():
    run = trained(kind=optim.Adagrad, lr=0.1, steps=5)
    run.optimizer.zero_grad()
    verdict = surefoot.diagnose(run.optimizer).verdict
    assert (verdict.symptom, verdict.cause, verdict.remedy) == ("unknown", None, None)
    assert "between backward() and zero_grad()" in verdict.what
    assert "surefoot.Monitor" in verdict.what


def test_an_optimizer_that_was_just_loaded():
    run = trained(kind=optim.Adam, lr=1e-7)
    fresh = optim.Adam(run.model.named_parameters(), lr=1e-7)
    fresh.load_state_dict(run.optimizer.state_dict())
    assert surefoot.diagnose(fresh).verdict == diagnosis_of("slow-adam").verdict


def test_the_next_step_knows_a_rate_that_was_changed():
    run = trained(kind=optim.Adam, lr=1e-7)
    run.optimizer.param_groups[0]["lr"] = 1e-3
    assert surefoot.diagnose(run.optimizer).verdict.symptom == "healthy"


def test_many_parameters_with_one_cause_have_one_line():
    torch.manual_seed(0)
    weights = [torch.nn.Parameter(torch.randn(3)) for _ in range(200)]
    optimizer = optim.Adagrad(weights, lr=1e-7)
    run = Run(torch.nn.ParameterList(weights), optimizer, lambda m, k: sum((w - 1).square().sum() for w in m))
    run.train(20)
    found = surefoot.diagnose(optimizer)
    assert len(found.verdict.names) == 200
    assert str(found.verdict).startswith("Verdict: stands still, cause: rate. 200 parameters (parameter 0 of group 0, ")
    assert len(str(found.verdict)) < 400
    assert "and 160 more parameters" in str(found)


def test_the_bad_one_of_many_is_printed():
    found = diagnosis_of("slow-one-of-200")
    assert found.verdict.names == ["weights.100"]
    assert "weights.100" in str(found).partition("Verdict")[0]


def test_a_verdict_as_a_dict():
    verdict = diagnosis_of("slow-adam").verdict.to_dict()
    assert verdict["cause"] == "rate"
    assert verdict["remedy"] == {"what": "a larger learning rate", "call": "optimizer.change(lr=0.0003)"}


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_a_string_fits_the_terminal_and_has_no_codes(columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("FORCE_COLOR", "1")
    text = str(diagnosis_of("slow-adam"))
    assert max(map(len, text.splitlines())) <= columns
    assert "\x1b" not in text
    assert "Verdict: stands still" in text


def test_a_string_shows_nothing_in_a_notebook(monkeypatch, capsys):
    shown = []
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    monkeypatch.setattr("rich.jupyter.display", lambda *args: shown.append(args))
    text = str(diagnosis_of("slow-adam"))
    assert "Verdict" in text
    assert shown == []
    assert capsys.readouterr() == ("", "")


def test_notebooks_have_a_table_of_their_own():
    run = trained(kind=optim.Adam, lr=1e-7)
    optimizer = optim.Adam([("<b>&", next(run.model.parameters()))], lr=1e-7)
    text = surefoot.diagnose(optimizer)._repr_html_()
    assert text.startswith("<p><strong>Verdict: stands still")
    assert "&lt;b&gt;&amp;" in text
    assert "<b>" not in text
    assert text.count("<tr>") == 2
    assert "Verdict: stands still" in repr(surefoot.diagnose(optimizer))


def test_a_sample_of_a_large_parameter_is_enough(monkeypatch):
    whole = {name: surefoot.diagnose(run_of(name).optimizer) for name in ("words", "slow-words", "adam")}
    monkeypatch.setattr("surefoot.lab.motion.SAMPLE", 64)
    for name, expected in whole.items():
        found = surefoot.diagnose(run_of(name).optimizer)
        assert found.verdict.symptom == expected.verdict.symptom
        for some, every in zip(found, expected, strict=True):
            assert some.update_norm == pytest.approx(every.update_norm, rel=0.5)
            assert some.parameter_norm == every.parameter_norm


def test_printing_is_to_where_it_is_printed():
    from rich.console import Console

    stream = io.StringIO()
    Console(file=stream, width=60).print(diagnosis_of("slow-adam"))
    assert "Verdict: stands still" in stream.getvalue()
