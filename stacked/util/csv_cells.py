"""Untrusted text in CSV cells: spreadsheets run text that begins with certain characters as a formula."""

from __future__ import annotations

import re

#: The characters of OWASP's list and their full-width forms, after any quotes, so that `original` inverts `as_text`.
_FORMULA = re.compile("'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")


def as_text(text: str) -> str:
    """Return the text as a cell that spreadsheets show as it is: text that looks like a formula gets a leading quote."""
    return f"'{text}" if _FORMULA.match(text) else text


def original(cell: str) -> str:
    """Return the text that `as_text` turned into this cell."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
