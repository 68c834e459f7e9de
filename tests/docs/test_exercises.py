"""docs/exercises answers all exercises of the source texts, each with code that can fail; the index lists them."""

import re

import pytest
from support.documentation import doc_blocks

FOLDER = doc_blocks.DOCS / "exercises"
PAGES = {
    "sgd.md": 5,
    "minibatch.md": 4,
    "momentum.md": 4,
    "adagrad.md": 6,
    "rmsprop.md": 4,
    "adadelta.md": 4,
    "adam.md": 4,
    "adagrad-older-edition.md": 2,
}
"""How many exercises each chapter sets."""

ANSWERS = [s for page in PAGES for s in doc_blocks.sections(FOLDER / page) if re.match(r"\d+\. ", s.heading)]


def anchor(heading: str) -> str:
    """What the heading is called in links."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_there_are_33():
    assert len(ANSWERS) == sum(PAGES.values()) == 33
    for page, count in PAGES.items():
        numbers = [int(answer.heading.partition(".")[0]) for answer in ANSWERS if answer.page.name == page]
        assert numbers == list(range(1, count + 1)), page


@pytest.mark.parametrize("answer", ANSWERS, ids=str)
def test_every_answer_has_code_that_can_fail(answer):
    assert any(block.printed or re.search(r"\bassert", block.text) for block in answer.python)


def test_figures_where_the_text_asks_for_a_plot():
    asked = re.compile(r"^\*[^*]*\bplot\b", re.MULTILINE)
    plots = []
    for answer in ANSWERS:
        _, _, text = answer.page.read_text(encoding="utf-8").partition(f"## {answer.heading}\n")
        if asked.match(text.strip()):
            plots.append(answer)
            assert answer.figures, answer
    assert len(plots) >= 2


def test_the_index_links_to_all_of_them():
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^(\d+)\. \[(.*)\]\(([\w-]+\.md)#(.*)\)$", text, re.MULTILINE)
    assert [int(number) for number, *_ in listed] == list(range(1, 34))
    expected = [(a.heading.partition(". ")[2], a.page.name, anchor(a.heading)) for a in ANSWERS]
    assert [tuple(link) for _, *link in listed] == expected


def test_links_to_exercises_name_headings():
    anchors = {(answer.page.name, anchor(answer.heading)) for answer in ANSWERS}
    for page in FOLDER.glob("*.md"):
        for name, heading in re.findall(r"\]\(([\w-]*(?:\.md)?)#([^)]+)\)", page.read_text(encoding="utf-8")):
            assert (name or page.name, heading) in anchors, f"{page.name}: {name}#{heading}"
