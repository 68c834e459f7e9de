"""Remedies: that they cure, that schedulers stay in control, and that nothing that was set is lost."""

import copy

import numpy as np
import pytest
import torch
from support import runs
from support.runs import (
    HEALTHY,
    RUNS,
    Words,
    diagnosis_of,
    exponential,
    held_out,
    line,
    made,
    run_of,
    trained,
    warming_up,
    words,
)

import surefoot
from surefoot import optim

pytestmark = pytest.mark.usefixtures("one_thread")

# Remedies


NEEDS_MORE = {
    "exploded": "a diverged run has to be started again",
    "exploded-skipped": "a diverged run has to be started again",
    "fast-adam": "its weights stay large until it is started again",
    "fast-adagrad": "its weights stay large until it is started again",
    "slow-bf16": "behind the rate, there is bfloat16",
    "fp16": "the model is replaced",
    "never-visited": "the model is replaced",
    "nan": "the loss has to be found",
    "nan-fast": "the loss has to be found",
    "fp16-overflow": "the loss overflows in float16",
    "exploded-decay": "a diverged run has to be started again",
    "exploded-fp16": "a diverged run has to be started again",
    "overshoots": "a diverged run has to be started again",
    "eaten-fast": "its weights stay small until it is started again",
}


@pytest.mark.parametrize("name", [name for name in RUNS if RUNS[name][1] != HEALTHY and name not in NEEDS_MORE])
def test_the_remedy_cures_and_the_loss_does_not_rise(name):
    check_cure(copy.deepcopy(run_of(name)), diagnosis_of(name).verdict.remedy)


def check_cure(run, remedy, enough=True):
    """Applies a remedy; if it is enough, the loss does not rise by more than 10 %, and the run becomes healthy."""
    before = held_out(run)
    exec(remedy.call, {"optimizer": run.optimizer, "torch": torch, "surefoot": surefoot})
    for steps in (1, 4, 25, 70, 300) if enough else ():
        run.train(steps)
        assert held_out(run) <= 1.1 * before, steps
    assert not enough or surefoot.diagnose(run.optimizer, run.model).verdict.symptom == "healthy"


@pytest.mark.parametrize("name", ["exploded", "exploded-skipped", "fast-adam", "fast-adagrad"])
def test_a_run_that_diverged_is_cured_by_a_new_start(name):
    run, remedy = copy.deepcopy(run_of(name)), diagnosis_of(name).verdict.remedy
    assert "initial parameters again" in remedy.what
    model = {"model": line} if isinstance(run.model, torch.nn.Linear) else {}
    run.model.load_state_dict(made(optim.SGD, **model).model.state_dict())
    run.optimizer.restart()
    before = held_out(run)
    exec(remedy.call, {"optimizer": run.optimizer})
    run.train(300)
    assert held_out(run) < 0.5 * before
    assert surefoot.diagnose(run.optimizer, run.model).verdict.symptom == "healthy"


@pytest.mark.parametrize("name", ["slow-bf16", "fp16"])
def test_a_remedy_of_many_moves_a_run_of_16_bits(name):
    """A larger rate where updates round to nothing as well; or other parameters, in place."""
    run = copy.deepcopy(run_of(name))
    before, remedy = held_out(run), diagnosis_of(name).verdict.remedy
    for _ in range(3):
        if remedy is not None:
            exec(remedy.call, {"optimizer": run.optimizer, "model": run.model, "torch": torch})
            run.train(200)
            remedy = surefoot.diagnose(run.optimizer).verdict.remedy
    assert held_out(run) < 0.99 * before
    assert surefoot.diagnose(run.optimizer).verdict.symptom == "healthy"


def test_a_smaller_table_is_as_good():
    run, verdict = run_of("never-visited"), diagnosis_of("never-visited").verdict
    rows = int(verdict.remedy.what.partition(" rows that occur")[0].split()[-1])
    smaller = trained(kind=optim.Adagrad, lr=0.1, model=lambda: Words(rows), loss=words)
    assert verdict.remedy.call == ""
    assert held_out(smaller) < 1.1 * held_out(run)
    assert surefoot.diagnose(smaller.optimizer).verdict.symptom == "healthy"


def test_the_operation_that_makes_a_nan_is_named():
    run, remedy = copy.deepcopy(run_of("nan")), diagnosis_of("nan").verdict.remedy
    try:
        exec(remedy.call, {"torch": torch})
        with (
            pytest.raises(RuntimeError, match="Backward0' returned nan values"),
            pytest.warns(UserWarning, match="Error detected"),
        ):
            run.train(2)
    finally:
        torch.autograd.set_detect_anomaly(False)


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
    *("fast-sgd", "fast-adam", "eaten-adamw", "eaten-sgd", "decayed-by-rule"),
    *("decayed-scheduler", "huge-adagrad", "huge-adam", "bf16"),
    pytest.param("slow-one-of-200", marks=pytest.mark.slow),
]


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
@pytest.mark.parametrize("name", THEIRS)
def test_optimizers_of_torch_have_the_same_verdict(name, monkeypatch):
    ours = diagnosis_of(name).verdict  # which is kept, so that it has to be of ours
    monkeypatch.setattr(runs, "optim", torch.optim)
    run = RUNS[name][0]()
    verdict = surefoot.diagnose(run.optimizer, run.model).verdict
    assert (verdict.symptom, verdict.cause) == RUNS[name][1], str(verdict)
    assert set(verdict.names) == set(ours.names)
    if verdict.remedy is not None:
        check_cure(run, verdict.remedy, name not in NEEDS_MORE)


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


# What was set stays set

EVERYTHING = {
    torch.optim.SGD: {"momentum": 0.8, "weight_decay": 1e-3, "nesterov": True},
    torch.optim.Adagrad: {"weight_decay": 1e-3, "eps": 1e-8},
    torch.optim.RMSprop: {"alpha": 0.95, "momentum": 0.5, "centered": True},
    torch.optim.Adadelta: {"rho": 0.95, "weight_decay": 1e-3},
    torch.optim.Adam: {"betas": (0.8, 0.95), "amsgrad": True},
    torch.optim.AdamW: {"betas": (0.8, 0.95), "weight_decay": 1e-3},
    torch.optim.NAdam: {"betas": (0.8, 0.95), "momentum_decay": 1e-3},
}


def of_two_groups(kind, dtype=torch.float32):
    """An optimizer of torch with two groups, all of its settings and a scheduler."""
    run = made(kind, lr=1e-2, dtype=dtype, **EVERYTHING[kind])
    run.optimizer = kind(
        [{"params": [run.model[0].weight]}, {"params": [*run.model[0:][0].parameters()][1:], "lr": 5e-3, "mine": 7}],
        lr=1e-2,
        **EVERYTHING[kind],
    )
    return run, torch.optim.lr_scheduler.CosineAnnealingLR(run.optimizer, 60)


@pytest.mark.parametrize("before", [0, 1, 20])
@pytest.mark.parametrize("kind", EVERYTHING)
def test_from_torch_goes_on_alike(kind, before):
    """With the state, the settings of each group, what users put there, the hooks and the scheduler."""
    (run, schedule), (other, other_schedule) = of_two_groups(kind), of_two_groups(kind)
    called = []
    other.optimizer.register_step_post_hook(lambda *args: called.append(1))
    run.train(40, schedule)
    other.train(before, other_schedule)
    theirs = other.optimizer
    assert optim.from_torch(theirs, nonfinite="skip") is theirs
    other.train(40 - before, other_schedule)
    assert isinstance(theirs, optim.RuleOptimizer)
    assert len(called) == 40
    for group, expected in zip(theirs.param_groups, run.optimizer.param_groups, strict=True):
        assert {key: group[key] for key in expected if key != "params"} == {
            key: value for key, value in expected.items() if key != "params"
        }
        assert group["nonfinite"] == "skip"
    for parameter, expected in zip(other.model.parameters(), run.model.parameters(), strict=True):
        torch.testing.assert_close(parameter, expected, rtol=1e-5, atol=1e-6)


def test_from_torch_changes_nothing_where_it_cannot():
    run = made(torch.optim.Adam, lr=1e-3)
    before = str(run.optimizer.state_dict())
    with pytest.raises(TypeError, match="nonsense"):
        optim.from_torch(run.optimizer, nonsense=1)
    with pytest.raises(TypeError, match=r"SGD, Adagrad, .* got a Rprop"):
        optim.from_torch(torch.optim.Rprop(run.model.parameters()))
    with pytest.raises(TypeError, match=r"SGD, Adagrad, .* got a Adagrad"):
        optim.from_torch(optim.Adagrad(run.model.parameters()))
    assert type(run.optimizer) is torch.optim.Adam
    assert str(run.optimizer.state_dict()) == before


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("kind", EVERYTHING)
def test_a_remedy_for_a_scheduled_optimizer_of_torch_keeps_what_was_set(kind, wrapped):
    """Also under a schedule that computes the rate from the initial one, and would undo what is written to it."""
    run = made(kind, lr=1e-9, **EVERYTHING[kind])
    schedule = torch.optim.lr_scheduler.LambdaLR(run.optimizer, lambda k: 1 / (1 + 0.01 * k))
    run.train(30, schedule)
    before, group = held_out(run), run.optimizer.param_groups[0]
    verdict = surefoot.diagnose(run.optimizer, run.model).verdict
    assert (verdict.symptom, verdict.cause) == ("stands still", "rate")
    given = accelerated(run.optimizer) if wrapped else run.optimizer
    remedy = surefoot.diagnose(given, run.model).verdict.remedy
    exec(remedy.call, {"optimizer": given, "surefoot": surefoot})
    run.train(100, schedule)
    assert group["lr"] == pytest.approx(1e-9 / 2.3)
    assert {key: group[key] for key in EVERYTHING[kind]} == EVERYTHING[kind]
    assert held_out(run) < before
    assert surefoot.diagnose(given, run.model).verdict.symptom == "healthy"


def test_what_has_no_counterpart_is_named():
    run = runs.huge_first_gradient(torch.optim.Adagrad, lr=0.1, lr_decay=1e-9)
    remedy = surefoot.diagnose(run.optimizer, run.model).verdict.remedy
    assert "lr_decay of adagrad have no counterpart" in remedy.what
    assert remedy.call == 'surefoot.optim.from_torch(optimizer).to_rule("rmsprop")'


# Schedules

ENDING = {
    "cosine": lambda optimizer, steps: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps),
    "cosine-above-zero": lambda optimizer, steps: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, 1e-7),
    "linear": lambda optimizer, steps: torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps),
    "polynomial": lambda optimizer, steps: torch.optim.lr_scheduler.PolynomialLR(optimizer, steps, 2.0),
    "one-cycle": lambda optimizer, steps: torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.02, steps + 1, cycle_momentum=False
    ),
    "lambda": lambda optimizer, steps: torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: 1 - k / steps),
}


@pytest.mark.parametrize("left", [0, 1])
@pytest.mark.parametrize("schedule", ENDING)
@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.SGD, optim.Adagrad])
def test_the_end_of_a_schedule_is_in_order(kind, schedule, left):
    run = made(kind, lr=0.02)
    run.train(120 - left, ENDING[schedule](run.optimizer, 120))
    verdict = surefoot.diagnose(run.optimizer, run.model).verdict
    assert verdict.symptom == "healthy", str(verdict)


def test_the_end_of_a_schedule_of_ones_own_is_in_order():
    run = made(optim.Adam, lr=lambda t: 0.02 * np.cos(np.pi / 2 * min((t - 1) / 120, 1.0)) ** 2)
    run.train(119)
    verdict = surefoot.diagnose(run.optimizer).verdict
    assert verdict.symptom == "healthy"
    assert "below the band" in verdict.what
    run.train(300)
    assert surefoot.diagnose(run.optimizer).verdict.cause == "decay"


def test_in_bfloat16_the_end_of_a_schedule_is_in_order():
    run = made(torch.optim.SGD, lr=0.3, dtype=torch.bfloat16)
    run.train(119, ENDING["cosine"](run.optimizer, 120))
    assert surefoot.diagnose(run.optimizer, run.model).verdict.symptom == "healthy"
