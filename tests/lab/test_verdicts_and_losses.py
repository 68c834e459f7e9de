"""Every rule at rates from far too small to far too large: the verdict against what the loss of the run did."""

import functools
import math
from itertools import pairwise

import pytest
import torch
from sklearn.datasets import load_digits
from support.runs import Run, Words, held_out, line, regression, words

import surefoot
from surefoot import optim
from surefoot.rules import REGISTRY

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings("ignore:Sparse invariant checks")]


def small_net(activation):
    return lambda: torch.nn.Sequential(torch.nn.Linear(6, 24), activation(), torch.nn.Linear(24, 1))


PROBLEMS = {
    "line": (line, regression),
    "tanh": (small_net(torch.nn.Tanh), regression),
    "relu": (small_net(torch.nn.ReLU), regression),
    "words": (Words, words),
}
SMALL, LARGE = (1e-9, 1e-8), (30.0, 300.0)
SAMPLE = {("adam", "relu"), ("adagrad", "tanh"), ("rmsprop", "line"), ("momentum", "tanh"), ("sgd", "words")}


def cases(rates):
    for rule in sorted(REGISTRY):
        for problem in PROBLEMS:
            marks = [] if (rule, problem) in SAMPLE else [pytest.mark.slow]
            for lr in rates:
                yield pytest.param(rule, problem, lr, marks=marks, id=f"{rule}-{problem}-{lr:g}")


def start(rule, problem, lr):
    torch.manual_seed(0)
    make, loss = PROBLEMS[problem]
    model = make()
    optimizer = optim.RuleOptimizer(model.named_parameters(), rule, lr=lr, nonfinite="propagate", lazy="touched")
    return Run(model, optimizer, loss)


@functools.cache
def before_training(problem):
    return held_out(start("sgd", problem, 0.1))


@pytest.mark.parametrize("rule, problem, lr", list(cases(LARGE)))
def test_a_run_whose_loss_rose_is_not_called_healthy_and_its_remedy_cures_a_new_start(rule, problem, lr):
    run = start(rule, problem, lr)
    run.train(150)
    loss, verdict = held_out(run), surefoot.diagnose(run.optimizer).verdict
    if not loss < before_training(problem):
        assert verdict.cause == "rate", str(verdict)
    if verdict.cause == "rate" and verdict.symptom != "stands still":
        again = start(rule, problem, lr)
        exec(verdict.remedy.call, {"optimizer": again.optimizer})
        again.train(200)
        assert held_out(again) < 0.98 * before_training(problem), verdict.remedy
        after = surefoot.diagnose(again.optimizer).verdict
        assert after.symptom == "healthy", f"{verdict.remedy}: {after}"


@pytest.mark.parametrize("rule, problem, lr", list(cases(SMALL)))
def test_a_run_whose_loss_stood_is_said_to_be_too_slow(rule, problem, lr):
    """Rules that step from the origin begin there, where networks have no gradient: they have the line alone."""
    if REGISTRY[rule].from_origin and problem != "line":
        pytest.skip("at the origin, the gradients of a network vanish")
    lr = lr**1.5 if rule == "madgrad" else lr  # whose steps are as long as η to the power ⅔
    run = start(rule, problem, lr)
    run.train(60)
    loss, verdict = held_out(run), surefoot.diagnose(run.optimizer).verdict
    assert math.isfinite(loss)
    assert (verdict.symptom, verdict.cause) == ("stands still", "rate"), str(verdict)


@pytest.mark.parametrize("kind", [torch.optim.RMSprop, optim.RMSprop])
@pytest.mark.parametrize("lr", [3e-8, 3e-7, 1e-6])
def test_an_average_of_present_gradients_is_not_a_memory_of_larger_ones(kind, lr):
    """A first step of RMSProp is 1/√(1 − α) times as long as those that follow."""
    torch.manual_seed(0)
    model = line()
    run = Run(model, kind(model.parameters(), lr=lr), regression)
    run.train(100)
    assert surefoot.diagnose(run.optimizer, model).verdict.cause == "rate"


class Reverser(torch.nn.Module):
    """A transformer that writes a sequence backwards."""

    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(16, 32)
        self.place = torch.nn.Parameter(0.02 * torch.randn(8, 32))
        self.layer = torch.nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True)
        self.head = torch.nn.Linear(32, 16)

    def forward(self, ids):
        return self.head(self.layer(self.table(ids) + self.place))


def reversing(model, k):
    ids = torch.randint(0, 16, (16, 8), generator=torch.Generator().manual_seed(k))
    return torch.nn.functional.cross_entropy(model(ids).reshape(-1, 16), ids.flip(1).reshape(-1))


@pytest.mark.slow
@pytest.mark.parametrize(
    "lr, symptom", [(1e-8, "stands still"), (1e-3, "healthy"), (3e-3, "healthy"), (0.3, "diverges")]
)
@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.NAdam])
def test_transformers(kind, lr, symptom):
    torch.manual_seed(0)
    model = Reverser()
    run = Run(model, kind(model.parameters(), lr=lr), reversing)
    run.train(120)
    verdict = surefoot.diagnose(run.optimizer, model).verdict
    assert verdict.symptom == symptom, str(verdict)


@pytest.mark.parametrize("lr, symptom, cause", [(0.1, "dead units", "rate"), (0.003, "healthy", None)])
def test_losses_that_fell_do_not_excuse_units_that_died(lr, symptom, cause):
    """At a rate far too large a network learns with the few units left, and not as much as it could."""
    images, labels = load_digits(return_X_y=True)
    images, labels = torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels)
    torch.manual_seed(0)
    sizes, relu = (64, 64, 64, 10), torch.nn.ReLU()
    layers = [torch.nn.Linear(*each) for each in pairwise(sizes)]
    model = torch.nn.Sequential(layers[0], relu, layers[1], relu, layers[2])
    optimizer, losses = optim.Adam(model.named_parameters(), lr=lr), []
    for _ in range(300):
        optimizer.zero_grad()
        chosen = torch.randint(len(images), (64,))
        loss = torch.nn.functional.cross_entropy(model(images[chosen]), labels[chosen])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-30:]) < sum(losses[:30]) / 2
    for known in (None, losses):
        verdict = surefoot.diagnose(optimizer, model, losses=known).verdict
        assert (verdict.symptom, verdict.cause) == (symptom, cause), str(verdict)
