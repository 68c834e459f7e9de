"""Made runs, each with one fault or none, and the verdict on each: what is wrong, why, and that the remedy cures it."""

import copy
import functools
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

import surefoot
from surefoot import optim

BATCH = 64


@pytest.fixture(autouse=True)
def one_thread():
    """The models are so small that several threads would wait for each other most of the time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@dataclass
class Run:
    """A model in training.

    Attributes:
        model: the model.
        optimizer: its optimizer.
        loss: of batch k, with gradients to be had.
        k: the number of batches seen.
    """

    model: torch.nn.Module
    optimizer: Any
    loss: Callable[[torch.nn.Module, int], torch.Tensor]
    k: int = 0

    def train(self, steps: int, schedule=None) -> list[float]:
        losses = []
        for _ in range(steps):
            self.optimizer.zero_grad()
            loss = self.loss(self.model, self.k)
            loss.backward()
            self.optimizer.step()
            if schedule is not None:
                schedule.step()
            losses.append(loss.item())
            self.k += 1
        return losses


def generator(k):
    return torch.Generator().manual_seed(k)


def regression(model, k, scale=1.0):
    """A noisy linear target of six features."""
    g = generator(k)
    x = torch.randn(BATCH, 6, generator=g)
    y = x.sum(1, keepdim=True) + 0.3 * torch.randn(BATCH, 1, generator=g)
    dtype = next(model.parameters()).dtype
    return scale * (model(x.to(dtype)) - y.to(dtype)).square().mean()


def made(kind, dtype=torch.float32, loss=regression, model=None, **settings):
    """A small network or a given model, and its optimizer."""
    torch.manual_seed(0)
    if model is None:
        model = torch.nn.Sequential(torch.nn.Linear(6, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))
    elif callable(model) and not isinstance(model, torch.nn.Module):
        model = model()
    model = model.to(dtype)
    theirs = kind.__module__.startswith("torch.")
    return Run(model, kind(model.parameters() if theirs else model.named_parameters(), **settings), loss)


def line():
    return torch.nn.Linear(6, 1)


class Words(torch.nn.Module):
    """The sum of the vectors of some words, of which a number is made."""

    def __init__(self, rows=500, **settings):
        super().__init__()
        self.table = torch.nn.EmbeddingBag(rows, 8, mode="sum", sparse=True, **settings)
        self.head = torch.nn.Linear(8, 1)

    def forward(self, ids):
        return self.head(self.table(ids)).squeeze(1)


def words(model, k, most=500):
    """Whether the words that occur, the first ones more often, weigh more than nothing."""
    g, weights = generator(k), torch.randn(500, generator=generator(12345))
    ids = (torch.rand(BATCH, 5, generator=g) ** 3 * most).long()
    return torch.nn.functional.binary_cross_entropy_with_logits(model(ids), (weights[ids].sum(1) > 0).float())


def trained(steps=100, **kwargs):
    run = made(**kwargs)
    run.train(steps)
    return run


def huge_first_gradient(kind, model=None, loss=regression, **settings):
    run = made(kind, model=model, **settings, loss=lambda m, k: loss(m, k) * (1e8 if k == 0 else 1.0))
    run.train(200)
    return run


def one_of_200(kind, lr=0.01, slow=1e-7):
    """200 parameters, of which one has a much smaller learning rate."""
    torch.manual_seed(0)
    model = torch.nn.Module()
    model.weights = torch.nn.ParameterList([torch.nn.Parameter(torch.randn(3)) for _ in range(200)])
    named = list(model.named_parameters())
    groups = [{"params": named[:100] + named[101:]}, {"params": [named[100]], "lr": slow}]
    goal = torch.ones(3)
    run = Run(model, kind(groups, lr=lr), lambda m, k: sum((w - goal).square().sum() for w in m.weights))
    run.train(50)
    return run


def started_at_zero(kind, **settings):
    model = line()
    torch.nn.init.zeros_(model.weight)
    torch.nn.init.zeros_(model.bias)
    return trained(kind=kind, model=model, **settings)


def not_a_number(bad=float("nan")):
    def loss(model, k):
        return regression(model, k) * (bad if k % 2 else 1.0)

    run = made(optim.Adagrad, lr=0.1, nonfinite="skip", loss=loss)
    run.train(20)
    return run


def scheduled(kind, schedule, steps=100, **settings):
    run = made(kind, **settings)
    run.train(steps, schedule(run.optimizer))
    return run


def converged(kind, **settings):
    """Full batches and a target that is reached."""

    def loss(model, k):
        x = torch.randn(32, 6, generator=generator(0))
        return (model(x) - x.sum(1, keepdim=True)).square().mean()

    return trained(kind=kind, loss=loss, model=line, steps=600, **settings)


exponential = functools.partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.5)


def warming_up(optimizer):
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: min((k + 1) / 1000, 1.0))


def to_zero(optimizer):
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 103)


bf16 = torch.bfloat16
HEALTHY = ("healthy", None)

RUNS: dict[str, tuple[Callable[[], Run], tuple[str, str | None]]] = {
    # In order, at several rates, by several rules
    "adagrad": (lambda: trained(kind=optim.Adagrad, lr=0.1), HEALTHY),
    "adagrad-small": (lambda: trained(kind=optim.Adagrad, lr=0.01), HEALTHY),
    "adagrad-large": (lambda: trained(kind=optim.Adagrad, lr=1.0, model=line), HEALTHY),
    "adagrad-long": (lambda: trained(kind=optim.Adagrad, lr=0.1, model=line, steps=2000), HEALTHY),
    "adam": (lambda: trained(kind=optim.Adam, lr=1e-3), HEALTHY),
    "adam-large": (lambda: trained(kind=optim.Adam, lr=1e-2), HEALTHY),
    "adamw": (lambda: trained(kind=optim.AdamW, lr=1e-3, weight_decay=0.1), HEALTHY),
    "nadam": (lambda: trained(kind=optim.NAdam, lr=2e-3), HEALTHY),
    "yogi": (lambda: trained(kind=optim.Yogi, lr=1e-2), HEALTHY),
    "rmsprop": (lambda: trained(kind=optim.RMSprop, lr=1e-3), HEALTHY),
    "adadelta": (lambda: trained(kind=optim.Adadelta), HEALTHY),
    "ftrl": (lambda: trained(kind=optim.FTRL, lr=0.1, model=line), HEALTHY),
    "sgd": (lambda: trained(kind=optim.SGD, lr=0.1), HEALTHY),
    "sgd-decay": (lambda: trained(kind=optim.SGD, lr=0.1, momentum=0.9, weight_decay=5e-4), HEALTHY),
    "ridge": (lambda: trained(kind=optim.Adagrad, lr=0.5, model=line, l2=0.1), HEALTHY),
    "float64": (lambda: trained(kind=optim.Adagrad, lr=0.1, dtype=torch.float64), HEALTHY),
    "bf16-stochastic": (
        lambda: trained(kind=optim.Adam, lr=1e-3, dtype=bf16, stochastic_rounding=0),
        HEALTHY,
    ),
    "first-step": (lambda: trained(kind=optim.Adagrad, lr=0.1, steps=1), HEALTHY),
    "zeros": (lambda: started_at_zero(optim.Adagrad, lr=0.1), HEALTHY),
    "zeros-first-step": (lambda: started_at_zero(optim.Adam, lr=0.01, steps=1), HEALTHY),
    "zeros-sgd": (lambda: started_at_zero(optim.SGD, lr=0.05), HEALTHY),
    "words": (lambda: trained(kind=optim.Adagrad, lr=0.1, model=Words, loss=words), HEALTHY),
    "words-rows": (
        lambda: trained(kind=optim.Adagrad, lr=0.1, model=Words, loss=words, granularity="row"),
        HEALTHY,
    ),
    "words-waiting": (
        lambda: trained(kind=optim.Adagrad, lr=0.1, model=Words, loss=words, decoupled_weight_decay=1e-3),
        HEALTHY,
    ),
    "words-ftrl": (lambda: trained(kind=optim.FTRL, lr=0.1, model=Words, loss=words), HEALTHY),
    "warming-up": (lambda: scheduled(optim.Adam, warming_up, steps=12, lr=1e-3), HEALTHY),
    "ending": (lambda: scheduled(optim.Adagrad, to_zero, lr=0.1), HEALTHY),
    "converged-sgd": (lambda: converged(optim.SGD, lr=0.1), HEALTHY),
    "converged-adagrad": (lambda: converged(optim.Adagrad, lr=1.0), HEALTHY),
    "converged-adam": (lambda: converged(optim.Adam, lr=0.05), HEALTHY),
    # The rate
    "slow-adagrad": (lambda: trained(kind=optim.Adagrad, lr=1e-5, steps=200), ("stands still", "rate")),
    "slow-adam": (lambda: trained(kind=optim.Adam, lr=1e-7), ("stands still", "rate")),
    "slow-sgd": (lambda: trained(kind=optim.SGD, lr=1e-5), ("stands still", "rate")),
    "slow-words": (
        lambda: trained(kind=optim.Adagrad, lr=1e-5, model=Words, loss=words),
        ("stands still", "rate"),
    ),
    "slow-bf16": (lambda: trained(kind=optim.Adagrad, lr=1e-6, dtype=bf16), ("stands still", "rate")),
    "slow-one-of-200": (lambda: one_of_200(optim.Adagrad), ("stands still", "rate")),
    "slow-scheduled": (lambda: scheduled(optim.Adagrad, warming_up, lr=1e-6), ("stands still", "rate")),
    "fast-sgd": (lambda: trained(kind=optim.SGD, lr=2.0, model=line, steps=15), ("diverges", "rate")),
    "fast-adam": (lambda: trained(kind=optim.Adam, lr=10.0), ("diverges", "rate")),
    "fast-adagrad": (lambda: trained(kind=optim.Adagrad, lr=1000.0), ("diverges", "rate")),
    "exploded": (
        lambda: trained(kind=optim.SGD, lr=1e4, model=line, nonfinite="propagate"),
        ("not finite", "rate"),
    ),
    # Decay, of weights and of the rate
    "eaten-adamw": (lambda: trained(kind=optim.AdamW, lr=1e-2, weight_decay=10.0), ("shrinks", "decay")),
    "eaten-adagrad": (
        lambda: trained(kind=optim.Adagrad, lr=0.1, decoupled_weight_decay=1.0),
        ("shrinks", "decay"),
    ),
    "eaten-sgd": (lambda: trained(kind=optim.SGD, lr=0.1, weight_decay=2.0), ("shrinks", "decay")),
    "eaten-words": (
        lambda: trained(kind=optim.Adagrad, lr=0.1, decoupled_weight_decay=1.0, model=Words, loss=words),
        ("shrinks", "decay"),
    ),
    "decayed-scheduler": (lambda: scheduled(optim.Adagrad, exponential, lr=0.1), ("stands still", "decay")),
    "decayed-by-rule": (
        lambda: trained(kind=optim.Adagrad, lr=0.1, lr_decay=1e4),
        ("stands still", "decay"),
    ),
    "decayed-written": (lambda: trained(kind=optim.Adagrad, lr="exponential:0.1:0.2"), ("stands still", "decay")),
    # Memory
    "huge-adagrad": (lambda: huge_first_gradient(optim.Adagrad, lr=0.1), ("stands still", "memory")),
    "huge-adam": (lambda: huge_first_gradient(optim.Adam, lr=0.01), ("stands still", "memory")),
    "huge-words": (
        lambda: huge_first_gradient(optim.Adagrad, Words, words, lr=0.1),
        ("stands still", "memory"),
    ),
    # Storage
    "bf16": (lambda: trained(kind=optim.Adam, lr=1e-4, dtype=bf16), ("frozen", "storage")),
    "bf16-adagrad": (lambda: trained(kind=optim.Adagrad, lr=0.005, dtype=bf16, steps=300), ("frozen", "storage")),
    "fp16": (lambda: trained(kind=optim.Adam, lr=2e-5, dtype=torch.float16), ("frozen", "storage")),
    "bf16-state": (
        lambda: trained(kind=optim.Adagrad, lr=0.03, state_dtype=bf16, steps=600),
        ("saturated", "storage"),
    ),
    # Data
    "never-visited": (
        lambda: trained(kind=optim.Adagrad, lr=0.1, model=lambda: Words(5000), loss=words),
        ("never visited", "data"),
    ),
    "nan": (not_a_number, ("not finite", "gradient")),
    "exploded-skipped": (
        lambda: trained(kind=optim.SGD, lr=1e4, model=line, nonfinite="skip"),
        ("not finite", "rate"),
    ),
}


@functools.cache
def run_of(name):
    return RUNS[name][0]()


@functools.cache
def diagnosis_of(name):
    return surefoot.diagnose(run_of(name).optimizer)


@pytest.mark.parametrize("name", RUNS)
def test_the_verdict_on_a_run(name):
    verdict = diagnosis_of(name).verdict
    assert (verdict.symptom, verdict.cause) == RUNS[name][1], str(verdict)
    assert (verdict.remedy is None) == (verdict.symptom == "healthy")
    assert ("Nothing to do" in verdict.what) == (verdict.symptom == "healthy")
    assert "\n" not in str(verdict)


# Remedies


def held_out(run):
    """The mean loss of batches that were not trained on."""
    with torch.no_grad():
        return float(np.mean([run.loss(run.model, 100_000 + k).item() for k in range(40)]))


NEEDS_MORE = {
    "exploded": "a diverged run has to be started again",
    "exploded-skipped": "a diverged run has to be started again",
    "fast-adam": "its weights stay large until it is started again",
    "fast-adagrad": "its weights stay large until it is started again",
    "slow-bf16": "behind the rate, there is bfloat16",
    "fp16": "the model is replaced",
    "never-visited": "the model is replaced",
    "nan": "the loss has to be found",
}


@pytest.mark.parametrize("name", [name for name in RUNS if RUNS[name][1] != HEALTHY and name not in NEEDS_MORE])
def test_the_remedy_cures_and_the_loss_does_not_rise(name):
    run, remedy = copy.deepcopy(run_of(name)), diagnosis_of(name).verdict.remedy
    before = held_out(run)
    exec(remedy.call, {"optimizer": run.optimizer, "torch": torch})
    for steps in (1, 4, 25, 70, 300):
        run.train(steps)
        assert held_out(run) <= 1.1 * before, steps
    assert surefoot.diagnose(run.optimizer).verdict.symptom == "healthy"


@pytest.mark.parametrize("name", NEEDS_MORE)
def test_other_remedies_name_what_to_change(name):
    assert diagnosis_of(name).verdict.remedy.call


@pytest.mark.parametrize("name, key", [("slow-scheduled", "lr_factor"), ("decayed-scheduler", "lr")])
def test_after_a_remedy_the_scheduler_is_in_control(name, key):
    kind = {"slow-scheduled": warming_up, "decayed-scheduler": exponential}[name]
    run = made(optim.Adagrad, lr={"slow-scheduled": 1e-6, "decayed-scheduler": 0.1}[name])
    schedule = kind(run.optimizer)
    run.train(100, schedule)
    group = run.optimizer.param_groups[0]
    exec(surefoot.diagnose(run.optimizer).verdict.remedy.call, {"optimizer": run.optimizer})
    before = group["lr"]
    run.train(1, schedule)
    assert group["lr"] == pytest.approx(before * {"lr_factor": 102 / 101, "lr": 0.5}[key])


# Other optimizers


THEIRS = [
    *("adagrad", "adam", "adam-large", "nadam", "rmsprop", "adadelta", "sgd", "sgd-decay", "adamw", "first-step"),
    *("zeros", "words", "warming-up", "converged-sgd", "slow-adagrad", "slow-adam", "slow-sgd", "slow-words"),
    *("slow-one-of-200", "fast-sgd", "fast-adam", "eaten-adamw", "eaten-sgd", "decayed-by-rule"),
    *("decayed-scheduler", "huge-adagrad", "huge-adam", "bf16"),
]


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
@pytest.mark.parametrize("name", THEIRS)
def test_optimizers_of_torch_have_the_same_verdict(name, monkeypatch):
    ours = diagnosis_of(name).verdict  # which is kept, so that it has to be of ours
    monkeypatch.setitem(globals(), "optim", torch.optim)
    run = RUNS[name][0]()
    verdict = surefoot.diagnose(run.optimizer, run.model).verdict
    assert (verdict.symptom, verdict.cause) == RUNS[name][1], str(verdict)
    assert set(verdict.names) == set(ours.names)
    if verdict.remedy is not None:
        assert "change(" not in verdict.remedy.call
        assert "to_rule" not in verdict.remedy.call
        compile(verdict.remedy.call.partition(": {")[0] if "of its own" in verdict.remedy.call else "0", "", "exec")


def test_the_remedy_for_an_optimizer_of_torch_can_be_run():
    run = trained(kind=torch.optim.Adam, lr=1e-7)
    exec(surefoot.diagnose(run.optimizer).verdict.remedy.call, {"optimizer": run.optimizer})
    assert run.optimizer.param_groups[0]["lr"] == pytest.approx(3e-4)
    run.train(100)
    assert surefoot.diagnose(run.optimizer).verdict.symptom == "healthy"


def test_nothing_of_an_optimizer_of_torch_is_changed():
    run = trained(kind=torch.optim.Adagrad, lr=0.1)
    before = copy.deepcopy(run.optimizer.state_dict())
    values = [parameter.detach().clone() for parameter in run.model.parameters()]
    surefoot.diagnose(run.optimizer)
    after = run.optimizer.state_dict()
    assert str(after) == str(before)
    assert all(map(torch.equal, run.model.parameters(), values))


def test_sparse_adam():
    run = trained(kind=torch.optim.SparseAdam, lr=1e-7, model=Tables, loss=words)
    verdict = surefoot.diagnose(run.optimizer, run.model).verdict
    assert (verdict.symptom, verdict.cause) == ("stands still", "rate")


class Tables(torch.nn.Module):
    """A weight for each word."""

    def __init__(self):
        super().__init__()
        self.table = torch.nn.EmbeddingBag(500, 1, mode="sum", sparse=True)

    def forward(self, ids):
        return self.table(ids).squeeze(1)


def accelerated(optimizer):
    """A wrapper of the shape of Accelerate's: an optimizer of its own class, with another inside."""

    class Wrapper(torch.optim.Optimizer):
        def __init__(self, inner):
            self.optimizer = inner

        state = property(lambda self: self.optimizer.state)
        param_groups = property(lambda self: self.optimizer.param_groups)
        defaults = property(lambda self: self.optimizer.defaults)

        def step(self, closure=None):
            return self.optimizer.step(closure)

    return Wrapper(optimizer)


def lightning(optimizer):
    """A wrapper of the shape of Lightning's: a subclass of the class of what is inside."""

    class Wrapper:
        def __init__(self, inner):
            self.__dict__.update({key: value for key, value in vars(inner).items() if key != "step"})
            self._optimizer = inner
            self.__class__ = type(f"Lightning{type(inner).__name__}", (Wrapper, type(inner)), {})

        @property
        def optimizer(self):
            return self._optimizer

    return Wrapper(optimizer)


@pytest.mark.parametrize("wrapper", [accelerated, lightning])
@pytest.mark.parametrize("kind", [torch.optim.Adam, optim.Adam])
def test_wrapped_optimizers(wrapper, kind):
    run = trained(kind=kind, lr=1e-7)
    wrapped, expected = wrapper(run.optimizer), surefoot.diagnose(run.optimizer, run.model).verdict
    verdict = surefoot.diagnose(wrapped, run.model).verdict
    assert (verdict.symptom, verdict.cause, verdict.names) == (expected.symptom, expected.cause, expected.names)
    exec(verdict.remedy.call, {"optimizer": wrapped})
    assert run.optimizer.param_groups[0]["lr"] == pytest.approx(3e-4)


@pytest.mark.parametrize("call", [surefoot.diagnose, surefoot.Monitor])
def test_an_optimizer_that_no_rule_follows(call):
    theirs = torch.optim.Rprop([torch.nn.Parameter(torch.ones(1))])
    with pytest.raises(TypeError, match=r"SGD, Adagrad, .* got a Rprop"):
        call(theirs)


def test_a_monitor_of_an_optimizer_of_torch():
    run = made(torch.optim.Adam, lr=1e-7)
    with surefoot.Monitor(accelerated(run.optimizer), every=10, model=run.model) as monitor:
        run.train(20)
    assert monitor.latest.verdict.cause == "rate"
    assert monitor.latest["0.weight"].steps == 20


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
