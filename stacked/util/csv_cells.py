"""Text from outside in the cells of a CSV file: a spreadsheet takes what begins with one of a few characters for a formula."""

from __future__ import annotations

import re

#: OWASP's list, with the full-width signs; quotes before them count, so that `original` undoes `as_text`.
_FORMULA = re.compile("'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")


def as_text(text: str) -> str:
    """The cell that shows this text, and is no formula: with a single quote before what would be one."""
    return f"'{text}" if _FORMULA.match(text) else text


def original(cell: str) -> str:
    """The text of which `as_text` made this cell."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
