"""Parses the arguments of a study's command; an error is reported in one sentence."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from jsonargparse import ArgumentError, Namespace

from stacked.cli.command import explained
from stacked.util.checks import choice
from stacked.util.errors import InputError
from studies.cli import yaml_validation
from studies.cli.command_line import LISTS, MAPPINGS, SMOKE, Parser, check_flags, to_plain
from studies.cli.shown_defaults import show_defaults


def parse(
    command_line: Parser,
    argv: list[str],
    defaults: Mapping[str, Any],
    smoke: Mapping[str, Any] = MappingProxyType({}),
    scales: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> Namespace:
    """Return the parsed arguments `argv`; raise InputError for arguments that are not allowed.

    defaults: values of the study that differ from the general defaults. smoke: values of its smoke run. scales: for each name
    that --scale takes, the values that differ from those defaults.
    """
    check_lists(argv)
    yaml_validation.check_arguments(argv)
    yaml_validation.check_config_files(argv, LISTS)
    needed = [name for name, value in vars(command_line.get_defaults()).items() if value is not None]
    try:
        command_line.set_defaults(dict(defaults))
        show_defaults(command_line, shown_values(defaults))
        given = command_line.parse_args(argv)
        check_flags(given)
        if scales:
            choice(given.scale, scales, "scale")
            defaults = scaled(defaults, scales[given.scale])
            command_line.set_defaults(dict(defaults))
            given = command_line.parse_args(argv)
        if given.smoke:
            command_line.set_defaults(SMOKE | dict(smoke))
            given = command_line.parse_args(argv)
    except (ArgumentError, OverflowError) as error:
        reason = yaml_validation.yaml_error(argv) or " ".join(str(error).split())
        raise InputError(explained(reason, command_line)) from error
    except UnicodeDecodeError as error:
        raise InputError(f"the file of --config is not UTF-8 text ({error}): save it as UTF-8") from error
    for name in needed:
        if given[name] is None:  # YAML can set any option to null
            raise InputError(f"{name} null is not allowed: give a value, or leave it out")
    widths = [name for name in ("kind", "channels", "activation") if given[name] != command_line.get_default(name)]
    if widths and "stages" in defaults.get("stack", {}):
        raise InputError(
            f"--{widths[0]} has no effect here, because the stack is given stage by stage: use --stack '{{stages: [...]}}'"
        )
    for name in {"every", "until"} & set(to_plain(given["evaluation"])):
        raise InputError(
            f"evaluation {name!r} is not allowed: leave it out, because it follows from the budgets of the arms"
        )
    for part in MAPPINGS:  # fields that the user does not give keep the study's values
        given[part] = {**defaults.get(part, {}), **to_plain(given[part])}
    return given


def shown_values(defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return the defaults of a study that its help shows; options that its stack makes ineffective refer to --stack."""
    by_stack = ("kind", "channels", "activation") if "stages" in defaults.get("stack", {}) else ()
    return {name: value for name, value in defaults.items() if name not in MAPPINGS} | dict.fromkeys(
        by_stack, "see --stack"
    )


def scaled(defaults: Mapping[str, Any], scale: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a study at a scale; of a mapping, only the fields that the scale names differ."""
    parts = {name: {**defaults.get(name, {}), **scale[name]} for name in MAPPINGS if name in scale}
    return {**defaults, **scale, **parts}


def check_lists(argv: list[str]) -> None:
    """Raise InputError if the values of a list are separated by commas instead of spaces."""
    option = ""
    for word in argv:
        if word.startswith("--"):
            option = word
        elif option.removeprefix("--") in LISTS and re.fullmatch(r"[^\s,{}\[\]]+(,[^\s,{}\[\]]+)+", word):
            raise InputError(
                f"{option} {word!r} is one value: separate values by spaces, as in {option} {word.replace(',', ' ')}"
            )
