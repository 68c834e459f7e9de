"""constraints.txt pins what pyproject.toml asks for, at versions that it admits."""

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    exact = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in exact}


def requirements() -> list[str]:
    """What `.[all,dev]` asks for, extras of this package left out."""
    asked = PROJECT["dependencies"] + [
        text for extra in ("jax", "torch", "lab", "table", "dev") for text in EXTRAS[extra]
    ]
    return sorted(set(asked))


@pytest.mark.parametrize("text", requirements())
def test_pinned_within_bounds(text):
    requirement = Requirement(text)
    pinned = pins().get(canonicalize_name(requirement.name))
    assert pinned is not None, f"constraints.txt does not pin {requirement.name}"
    assert requirement.specifier.contains(pinned)


def test_all_is_every_extra_that_users_need():
    (combined,) = (Requirement(text) for text in EXTRAS["all"])
    assert combined.extras == set(EXTRAS) - {"all", "bench", "dev"}
