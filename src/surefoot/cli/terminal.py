"""Rich's console, on which text from files cannot act: control characters are shown and not obeyed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.segment import Segment

from surefoot.text import printable, without_secrets


class Terminal(Console):
    """A console for results and progress; what Rich itself writes, such as colours, passes."""

    def __init__(self, **settings: Any):
        super().__init__(highlight=False, markup=False, emoji=False, **settings)

    def render(self, renderable: Any, options: Any = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=shown(segment.text))

    def on_broken_pipe(self) -> None:
        """A pipe without a reader is handled by `main`; Rich would exit with 1, as for a result that fails."""
        raise


def shown(text: str) -> str:
    """Text as people may see it; Rich divides it into lines."""
    return printable(without_secrets(text), keep="\n")
