"""SECURITY.md names the tests of what it promises."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
PROMISED = TEXT.partition("## What is promised")[2].partition("\n## ")[0]
PROMISES = re.findall(r"^- \*\*(.+?)\*\*(.*?)(?=^- |\Z)", PROMISED, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("promise, text", PROMISES, ids=[promise for promise, _ in PROMISES])
def test_each_promise_names_tests_that_exist(promise, text):
    named = re.findall(r"`(tests/[\w/]+\.py)`", text)
    assert named
    assert all((ROOT / name).is_file() for name in named)


def test_there_are_promises():
    assert len(PROMISES) >= 8
