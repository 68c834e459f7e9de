"""Groups stepped by classes of other libraries, and by rules without a class."""

import numpy as np
import pytest
from support.optimizers import optim, torch

from surefoot import rules


class Counting(torch.optim.Optimizer):
    """An optimizer of another library, which keeps numbers in its groups and an argument of all to itself."""

    def __init__(self, params, lr=0.1, scale=1.0):
        self.scale = scale
        super().__init__(params, {"lr": lr, "steps": 0})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            group["steps"] += 1
            for parameter in group["params"]:
                parameter.sub_(self.scale * group["lr"] * parameter.grad)


def ones(count=1):
    found = [torch.nn.Parameter(torch.ones(2)) for _ in range(count)]
    for parameter in found:
        parameter.grad = torch.ones(2)
    return found


def test_what_another_class_keeps_in_its_groups_outlasts_a_change():
    optimizer = optim.Grouped([{"params": ones(), "rule": Counting}])
    for _ in range(3):
        optimizer.step()
    optimizer.change(lr=0.5)
    assert [optimizer.param_groups[0][key] for key in ("steps", "lr")] == [3, 0.5]


def test_an_argument_that_another_class_keeps_for_all_groups_is_given_once():
    first, second = ones(2)
    optimizer = optim.Grouped([{"params": [first], "rule": Counting, "scale": 5.0}])
    with pytest.raises(ValueError, match="keeps 'scale' for all its groups, not in each"):
        optimizer.add_param_group({"params": [second], "rule": Counting, "scale": 2.0})
    optimizer.step()
    assert first.tolist() == [0.5, 0.5]


def test_groups_are_used_twice():
    groups = [{"params": ones(), "rule": Counting}]
    optim.Grouped(groups)
    assert optim.Grouped(groups).param_groups[0]["lr"] == 0.1
    assert groups[0]["rule"] is Counting


def test_no_rule_has_stepped_where_another_class_finds_fault():
    first, second = ones(2)
    second.grad = torch.ones(2).to_sparse()
    groups = [{"params": [first], "rule": "sgd", "lr": 1.0}, {"params": [second], "rule": torch.optim.Adam}]
    optimizer = optim.Grouped(groups)
    with pytest.raises(RuntimeError, match="sparse"):
        optimizer.step()
    assert first.tolist() == [1.0, 1.0]


def test_conventions_are_rejected():
    with pytest.raises(TypeError, match="unexpected setting 'convention'"):
        optim.Grouped([{"params": ones(), "rule": "adagrad", "convention": "keras"}])


@pytest.mark.sampled(3)
@pytest.mark.parametrize("rule", sorted(rules.STATISTIC_RULES))
def test_rules_with_statistics_have_names(rule):
    parameters, others = ones(), ones()
    optim.Grouped([{"params": parameters, "rule": rule, "lr": 0.1}], max_grad_norm=np.float32(1e9)).step()
    optim.RuleOptimizer(others, rule, lr=0.1).step()
    assert torch.equal(parameters[0], others[0])


class Counted(torch.optim.SGD):
    made = 0

    def __init__(self, params, **settings):
        type(self).made += 1
        super().__init__(params, **settings)


def test_classes_without_a_first_state_are_made_once():
    optimizer = optim.Grouped([{"params": ones(), "rule": Counted, "lr": 0.1}])
    optimizer.step()
    made = Counted.made
    for _ in range(3):
        optimizer.step()
    assert Counted.made == made


def two_rules():
    optimizer = optim.Grouped(
        [{"params": ones(), "rule": "adagrad", "engine": "reference"}, {"params": ones(), "rule": torch.optim.AdamW}]
    )
    optimizer.step()
    return optimizer


def test_a_part_has_the_state_dict_of_its_own_groups():
    optimizer = two_rules()
    for number, part in enumerate(optimizer.parts.values()):
        state = part.state_dict()
        assert [list(state["state"]), state["param_groups"][0]["params"]] == [[0], [0]]
        own = optimizer.state[optimizer.param_groups[number]["params"][0]]
        assert state["state"][0].keys() == own.keys()
        assert part.state is optimizer.state


@pytest.mark.parametrize(
    "change",
    [lambda part: part.load_state_dict(part.state_dict()), lambda part: part.add_param_group({"params": ones()})],
)
def test_what_a_part_would_lose_is_rejected(change):
    for part in two_rules().parts.values():
        with pytest.raises(ValueError, match="is a part of a Grouped, whose groups and state it has"):
            change(part)


def test_a_rule_that_is_set_by_hand_to_one_with_other_settings():
    optimizer = two_rules()
    optimizer.param_groups[0]["rule"] = "torch.optim.AdamW"
    with pytest.raises(ValueError, match=r"group 0: the rule was set to .*, whose 'amsgrad' the group"):
        optimizer.step()


@pytest.mark.parametrize("kind", ["one rule", "Grouped"])
def test_a_first_step_of_a_warm_up_is_counted(kind):
    """At a rate of 0, along gradients of 0."""
    found, expected = ones(), ones()
    groups = [{"params": found, "rule": "adam", "lr": 0.0}]
    ours = optim.Grouped(groups) if kind == "Grouped" else optim.Adam(found, lr=0.0)
    for optimizer, (parameter,) in ((ours, found), (torch.optim.Adam(expected, lr=0.0), expected)):
        parameter.grad = torch.zeros(2)
        optimizer.step()
        optimizer.param_groups[0]["lr"], parameter.grad = 0.1, torch.ones(2)
        optimizer.step()
        assert optimizer.state[parameter]["step"] == 2
    torch.testing.assert_close(found, expected)
