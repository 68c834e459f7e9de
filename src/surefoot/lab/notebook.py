"""What notebooks show of results: tables, without Matplotlib or Jinja2."""

from collections.abc import Sequence
from html import escape


def html_table(caption: str, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table with a caption above it.

    >>> html_table("a < b", ["rule"], [["sgd"]])[:49]
    '<table><caption style="text-align: left">a &lt; b'
    """
    head = "".join(f"<th>{escape(title)}</th>" for title in titles)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    top = f'<caption style="text-align: left">{escape(caption)}</caption>'
    return f"<table>{top}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
