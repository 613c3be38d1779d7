"""The help of all command lines (description and groups of options, no usage block), and what they say of a wrong type."""

from __future__ import annotations

import argparse
import re

#: Columns of the help, and of its options.
WIDE, OPTIONS_WIDE = 118, 34
#: what a type wants, in messages
WANTED = {"int": "an integer", "float": "a number", "str": "a text", "dict": "a mapping, as {field: value}"}
_ARGPARSE = re.compile(r"argument (?P<option>--[\w-]+): invalid (?P<type>\w+) value: (?P<value>.+)")
_JSONARGPARSE = re.compile(
    r"Parser key \"(?P<option>\w+)\"(?: element \d+)?: "
    r"(?:Expected a|Does not validate against any of the Union subtypes Subtypes: \[)\s?<class '(?P<type>\w+)'>"
    r".*?(?:Got|Given) value: (?P<value>.+)"
)


def help_text(parser: argparse.ArgumentParser) -> str:
    """Return the help of a parser; options that are in no group of their own come last."""
    formatter = argparse.RawDescriptionHelpFormatter(parser.prog, max_help_position=OPTIONS_WIDE, width=WIDE)
    formatter.add_text(parser.description)
    for group in sorted(parser._action_groups, key=lambda group: group is parser._optionals):
        actions = [action for action in group._group_actions if action.help != argparse.SUPPRESS]
        if actions:
            formatter.start_section(group.title)
            formatter.add_arguments(actions)
            formatter.end_section()
    formatter.add_text(parser.epilog)
    # groups begin at the left edge, and need no empty line before them
    first, *others = formatter.format_help().split("\n\n")
    return "\n\n".join([first, "\n".join(others)])


def without_types(message: str) -> str:
    """Return a parser's message about a value of the wrong type as option, value and what is allowed; others unchanged."""
    found = _ARGPARSE.fullmatch(message) or _JSONARGPARSE.fullmatch(message)
    if not found or found["type"] not in WANTED:
        return message
    option, value = found["option"].lstrip("-").replace("_", "-"), found["value"].strip("'\"")
    return f"--{option} {value!r} is not allowed: give {WANTED[found['type']]}"
