"""State dicts of version 0.1 load, and training ends with the same bits as in version 0.1."""

from pathlib import Path
from typing import Any

import pytest
from support.optimizers import OWN, optim, torch

FOLDER = Path(__file__).parent / "checkpoints"
FILES = sorted(FOLDER.glob("*.pt"))


def optimizer_of(case: dict[str, Any], parameters) -> Any:
    groups = [{"params": parameters[:1]}, {"params": parameters[1:], "lr": 0.02}]
    return getattr(optim, case["class"])(groups[: len(parameters)], **case["settings"])


def resumed(case: dict[str, Any]) -> list:
    """The parameters after the steps that follow the checkpoint."""
    parameters = [torch.nn.Parameter(x.clone()) for x in case["parameters"]]
    optimizer = optimizer_of(case, parameters)
    optimizer.load_state_dict(case["state_dict"])
    for gradients in case["gradients"]:
        for parameter, gradient in zip(parameters, gradients, strict=True):
            if isinstance(gradient, tuple):
                gradient = torch.sparse_coo_tensor(*gradient, parameter.shape, check_invariants=True)
            parameter.grad = gradient
        optimizer.step()
    optimizer.settle()
    return [parameter.detach() for parameter in parameters]


@pytest.mark.sampled(5)
@pytest.mark.parametrize("file", [file for file in FILES if file.stem != "ftrl-bfloat16"], ids=lambda file: file.stem)
def test_a_state_dict_of_version_0_1_is_resumed_to_the_same_bits(file):
    case = torch.load(file, weights_only=True)
    for k, (found, expected) in enumerate(zip(resumed(case), case["expected"], strict=True)):
        assert torch.equal(found, expected), f"parameter {k}: {found} is not {expected}"


def test_ftrl_continues_from_parameters_as_they_are_stored():
    """Version 0.1 stepped bfloat16 parameters from their float32 memory: each step rounds to 8 bits otherwise."""
    case = torch.load(FOLDER / "ftrl-bfloat16.pt", weights_only=True)
    steps = 1 + len(case["gradients"])
    for found, start, expected in zip(resumed(case), case["parameters"], case["expected"], strict=True):
        tolerance = steps * 2**-8 * torch.maximum(start.abs(), expected.abs())
        assert (found - expected).abs().le(tolerance).all()


def test_there_is_a_checkpoint_of_every_class_of_version_0_1():
    later = {"Grouped", "Adamax", "RAdam"}
    assert {torch.load(file, weights_only=True)["class"] for file in FILES} == OWN - later
