"""docs/optim.md leaves out no keyword and no class."""

import re
from pathlib import Path

import pytest

pytest.importorskip("torch")

from surefoot import optim

PAGE = Path(__file__).parents[2] / "docs" / "optim.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_every_keyword_beyond_torch_is_explained():
    section = TEXT.split("## Beyond torch\n")[1].split("\n## ")[0]
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    assert sorted(re.findall(r"`(\w+)`", "".join(cells))) == sorted(optim.Beyond.__annotations__)


def test_every_public_name_is_mentioned():
    for name in set(optim.__all__) - {"Beyond"}:
        assert re.search(rf"\b{name}\b", TEXT), name
