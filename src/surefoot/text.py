"""Text from elsewhere, made fit to be shown and kept: no characters that a terminal obeys, no secrets of URLs."""

from __future__ import annotations

import re

CONTROL = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069]")
"""Control characters of ASCII and Latin-1, line separators, and those that reorder what is written around them."""
SCHEME = "[a-z][a-z0-9+.-]+:/{1,2}"
"""How a URL begins; as a path, it has lost a slash."""
END = r"\S*?(?=[\"':,;.)]*(?:\s|$))"
"""The rest of a URL, as far as it does not belong to the sentence around it."""
USER = re.compile(rf"({SCHEME})[^\s/?#\"]*@", re.IGNORECASE)
"""A user and a password of a URL."""
QUERY = re.compile(rf"(https?:/{{1,2}}[^\s?#\"']*)[?#]{END}", re.IGNORECASE)
"""What follows the path of a URL: signatures and tokens are written there."""
PARAMETERS = re.compile(rf"({SCHEME}[^\s?#\"']*)\?[^\s=/]*={END}", re.IGNORECASE)
"""The same of other URLs, in which a question mark that NAME=VALUE does not follow is one of a pattern."""


def printable(text: str, keep: str = "") -> str:
    r"""Text whose control characters, which a terminal would obey, are escaped, except for those in `keep`.

    >>> printable("naïve \x1b[31m\n", keep="\n")
    'naïve \\x1b[31m\n'
    """
    return CONTROL.sub(lambda found: found[0] if found[0] in keep else repr(found[0])[1:-1], text)


def without_secrets(text: str) -> str:
    """Text whose URLs lack user, password and query.

    >>> without_secrets("https://bob:secret@host/a.csv?signature=secret: not found")
    'https://host/a.csv: not found'
    >>> without_secrets("s3://bucket/part-?.csv")
    's3://bucket/part-?.csv'
    """
    return PARAMETERS.sub(r"\1", QUERY.sub(r"\1", USER.sub(r"\1", text)))
