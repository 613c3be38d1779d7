"""Text from outside, such as the names of files and classes, as Markdown that shows it as it is."""

from __future__ import annotations

import re

from stacked.util.errors import printable

#: what Markdown, or HTML within it, takes for something else than itself
_SPECIAL = re.compile(r"[\\`*_\[\]<>|$~&#]")


def verbatim(text: str) -> str:
    """Text in a line of Markdown, or in a cell of a table."""
    return _SPECIAL.sub(r"\\\g<0>", printable(text))


def code_block(text: str) -> str:
    """Text as a block of code, whatever backticks are in it."""
    fence = _fence(text, 3)
    return f"{fence}\n{text}\n{fence}"


def code(text: str) -> str:
    """Text as code within a line."""
    text = printable(text)  # an empty line would end the code
    fence = _fence(text, 1)
    space = " " if "`" in (text[:1], text[-1:]) else ""
    return f"{fence}{space}{text}{space}{fence}"


def _fence(text: str, least: int) -> str:
    return "`" * max(least, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
