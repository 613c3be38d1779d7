"""Reads the words of a command line, and says in one sentence what is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from jsonargparse import ArgumentError, Namespace

from stacked.cli.command import misspelt, options_of
from stacked.util.errors import InputError
from studies.cli import yaml_validation
from studies.cli.command_line import LISTS, MAPPINGS, SMOKE, Parser, check_flags, plainly


def parse(
    command_line: Parser, words: list[str], defaults: Mapping[str, Any], smoke: Mapping[str, Any] = MappingProxyType({})
) -> Namespace:
    """What the words say; InputError in one line for those that the command line does not take.

    defaults: a study's own, where they differ from those of all; smoke: those of its smoke run.
    """
    check_lists(words)
    yaml_validation.check_words(words)
    yaml_validation.check_files(words, LISTS)
    needed = [name for name, value in vars(command_line.get_defaults()).items() if value is not None]
    try:
        command_line.set_defaults(dict(defaults))
        given = command_line.parse_args(words)
        check_flags(given)
        if given.smoke:
            command_line.set_defaults(SMOKE | dict(smoke))
            given = command_line.parse_args(words)
    except (ArgumentError, OverflowError) as error:
        reason = yaml_validation.fault(words) or " ".join(str(error).split())
        near = misspelt(reason, options_of(command_line))
        raise InputError(f"{reason}{near} (--help shows what is allowed)") from error
    except UnicodeDecodeError as error:
        raise InputError(f"the file of --config is not UTF-8 text ({error}): save it as such") from error
    for name in needed:
        if given[name] is None:  # which YAML can say of any option
            raise InputError(f"{name} null is not allowed: give a value, or leave it out")
    widths = [name for name in ("kind", "channels", "activation") if given[name] != command_line.get_default(name)]
    if widths and "stages" in defaults.get("stack", {}):
        raise InputError(
            f"--{widths[0]} has no effect here, where the stack is given stage by stage: use --stack '{{stages: [...]}}'"
        )
    for name in {"every", "until"} & set(plainly(given["evaluation"])):
        raise InputError(
            f"evaluation {name!r} is not allowed: leave it out, it follows from the budgets of a study's arms"
        )
    for part in MAPPINGS:  # what a user says of a part leaves the rest of the study's own as it is
        given[part] = {**defaults.get(part, {}), **plainly(given[part])}
    return given


def check_lists(words: list[str]) -> None:
    """Raise InputError for several values that commas join into one word."""
    option = ""
    for word in words:
        if word.startswith("--"):
            option = word
        elif option.removeprefix("--") in LISTS and re.fullmatch(r"[^\s,{}\[\]]+(,[^\s,{}\[\]]+)+", word):
            raise InputError(
                f"{option} {word!r} is one value: separate values by spaces, as in {option} {word.replace(',', ' ')}"
            )
