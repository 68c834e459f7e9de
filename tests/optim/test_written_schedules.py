"""Schedules that are written as text, or named by their file, as the learning rate of optimizers."""

import copy
import io
import pickle

import pytest
from support.optimizers import CLASSES, assert_tensors_identical, clones, optim, parameters, stepped, torch

from surefoot import rules, schedules

OWN = "def harmonic(t):\n    return 0.5 / t\n"
SHAPE = (4, 3)
WRITTEN = {
    "polynomial:0.5:1": schedules.polynomial(0.5, 1.0),
    "piecewise:0.5:3:0.05": schedules.piecewise_constant([3], [0.5, 0.05]),
    "exponential:0.5:0.1": schedules.exponential(0.5, 0.1),
    "horizon:1:2:100": schedules.known_horizon(1.0, 2.0, 100),
    "warmup:3:polynomial:0.5": schedules.warmup(schedules.polynomial(0.5), 3),
    "own.py:harmonic": lambda t: 0.5 / t,
}
TEXT = pytest.mark.parametrize("text", WRITTEN)
MAKERS = {name: getattr(optim, name) for name in CLASSES} | {
    "RuleOptimizer": lambda params, **settings: optim.RuleOptimizer(params, "adagrad", **settings),
}
EACH = pytest.mark.parametrize("name", MAKERS)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    (tmp_path / "own.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def gradients(count: int = 5):
    return [gradient.detach() for gradient in parameters(*count * [SHAPE], seed=1)]


def run(make, lr) -> torch.Tensor:
    """What five steps of an optimizer make of a parameter."""
    (mine,) = clones(parameters(SHAPE))
    return stepped(make([mine], lr), mine, gradients())


@EACH
@TEXT
def test_every_optimizer_steps_as_with_the_function(name, text):
    found = run(lambda params, lr: MAKERS[name](params, lr=lr), text)
    assert_tensors_identical(found, run(lambda params, lr: MAKERS[name](params, lr=lr), WRITTEN[text]))


def in_a_group(params, lr):
    return optim.Adagrad([{"params": params, "lr": lr}], lr=1.0)


def added(params, lr):
    optimizer = optim.Adagrad(parameters((2,)), lr=1.0)
    optimizer.add_param_group({"params": params, "lr": lr})
    return optimizer


def changed(params, lr):
    optimizer = optim.Adagrad(params, lr=1.0)
    optimizer.change(lr=lr)
    return optimizer


def assigned(params, lr):
    optimizer = optim.Adagrad(params, lr=1.0)
    optimizer.param_groups[0]["lr"] = lr
    return optimizer


def with_another_rule(params, lr):
    return optim.SGD(params, lr=lr).to_rule("adagrad", eps=1e-10, eps_root=0.0)


@pytest.mark.parametrize("make", [in_a_group, added, changed, assigned, with_another_rule])
@TEXT
def test_wherever_a_group_gets_its_rate(make, text):
    assert_tensors_identical(run(make, text), run(make, WRITTEN[text]))


@pytest.mark.parametrize("engine", ["cpu", "reference", "torch"])
def test_every_engine(engine):
    def make(params, lr):
        return optim.Adagrad(params, lr=lr, engine=engine)

    assert_tensors_identical(run(make, "polynomial:0.5:1"), run(make, WRITTEN["polynomial:0.5:1"]))


def test_the_state_dict_has_the_text_and_goes_on_with_it():
    """It loads where only tensors and plain values may, which functions are not."""
    gs, (whole, first, second) = gradients(6), clones(3 * parameters(SHAPE))
    expected = stepped(optim.Adagrad([whole], lr="polynomial:0.5:1"), whole, gs)
    optimizer, file = optim.Adagrad([first], lr="polynomial:0.5:1"), io.BytesIO()
    stepped(optimizer, first, gs[:3])
    assert optimizer.state_dict()["param_groups"][0]["lr"] == "polynomial:0.5:1"
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    resumed = optim.Adagrad([second], lr=0.1)
    second.data.copy_(first.data)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    assert_tensors_identical(stepped(resumed, second, gs[3:]), expected)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))], ids=["deepcopy", "pickle"])
@pytest.mark.parametrize("text", ["warmup:3:polynomial:0.5", "own.py:harmonic"])
def test_copies_go_on(copied, text, tmp_path, monkeypatch):
    """Also in another folder than that in which a file was named."""
    gs, (whole, mine) = gradients(6), clones(2 * parameters(SHAPE))
    expected = stepped(optim.Adagrad([whole], lr=WRITTEN[text]), whole, gs)
    optimizer = optim.Adagrad([mine], lr=text)
    stepped(optimizer, mine, gs[:3])
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    other = copied(optimizer)
    other.param_groups[0]["maximize"] = False
    theirs = other.param_groups[0]["params"][0]
    assert_tensors_identical(stepped(other, theirs, gs[3:]), expected)


def test_a_state_dict_cannot_have_a_file_run(folder):
    (folder / "harmful.py").write_text(f"open({str(folder / 'harm')!r}, 'w')\ndef rate(t):\n    return 0.1\n")
    optimizer = optim.Adagrad(parameters((2,)), lr=0.1)
    crafted = copy.deepcopy(optimizer.state_dict())
    crafted["param_groups"][0]["lr"] = "harmful.py:rate"
    with pytest.raises(ValueError, match=r"group 0: lr is 'harmful.py:rate', a file, which is not run because a state"):
        optimizer.load_state_dict(crafted)
    assert optimizer.param_groups[0]["lr"] == 0.1
    assert not (folder / "harm").exists()


@pytest.mark.parametrize(
    "text, message",
    [
        ("polynomal:0.1", "the learning rate 'polynomal:0.1' is neither a number nor a schedule: constant:RATE"),
        ("piecewise:0.1:5", "the schedule 'piecewise:0.1:5' is not written as piecewise:RATE:STEP:RATE"),
        ("own.py:harmonics", r"own.py: there is no schedule 'harmonics'; did you mean 'harmonic'\?"),
        ("0.2", r"Invalid learning rate: 0.2; expected a number in \[0, inf\)"),
    ],
)
def test_mistakes_change_nothing(text, message):
    optimizer = optim.Adagrad(parameters((2,)), lr=0.1)
    for make in (
        lambda: optim.Adagrad(parameters((2,)), lr=text),
        lambda: optim.RuleOptimizer(parameters((2,)), rules.adagrad, lr=text),
        lambda: optim.Adagrad([{"params": parameters((2,)), "lr": text}]),
        lambda: optimizer.add_param_group({"params": parameters((2,)), "lr": text}),
        lambda: optimizer.change(lr=text),
    ):
        with pytest.raises(ValueError, match=message) as raised:
            make()
        assert "\n" not in str(raised.value)
    assert [group["lr"] for group in optimizer.param_groups] == [0.1]
