"""Escapes text from outside, such as file names and class names, so that Markdown shows it literally."""

from __future__ import annotations

import re

from stacked.util.errors import printable

#: characters with a meaning in Markdown or HTML
_SPECIAL = re.compile(r"[\\`*_\[\]<>|$~&#]")


def verbatim(text: str) -> str:
    """Return text escaped for a line of Markdown or a cell of a table."""
    return _SPECIAL.sub(r"\\\g<0>", printable(text))


def code_block(text: str) -> str:
    """Return text as a fenced code block; the fence is longer than any run of backticks in the text."""
    fence = _fence(text, 3)
    return f"{fence}\n{text}\n{fence}"


def code(text: str) -> str:
    """Return text as inline code."""
    text = printable(text)  # an empty line would end the code
    fence = _fence(text, 1)
    space = " " if "`" in (text[:1], text[-1:]) else ""
    return f"{fence}{space}{text}{space}{fence}"


def _fence(text: str, least: int) -> str:
    return "`" * max(least, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
