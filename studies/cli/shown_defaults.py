"""Help texts with the defaults of a study, where they differ from the general ones."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from typing import Any


def show_defaults(command: argparse.ArgumentParser, values: Mapping[str, Any]) -> None:
    """Replace the default in brackets at the end of the help text of each option that `values` names."""
    for action in command._actions:
        if action.dest in values and action.help:
            shown = shown_default(values[action.dest]).replace("%", "%%").replace("\\", r"\\")
            action.help = re.sub(r"\([^()]*\)$", f"({shown})", action.help)


def shown_default(value: Any) -> str:
    """Return a default as it is typed on the command line; "none" if there is none."""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return " ".join(map(shown_default, value)) or "none"
    return "none" if value is None else str(value)
