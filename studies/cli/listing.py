"""Lists for `--data list` and the like: each name that an option takes, and what it is in a sentence."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any


def show_list(argv: Sequence[str], arms: Mapping[str, str] | None = None) -> None:
    """Print the names that an option takes, one a line, and exit with code 0 if its only value in `argv` is the word list.

    arms: the policies of the arms of a study by their names, for --arms, --kind and --corruption (None: the command has only
    --data).
    """
    for word, after in pairwise([*argv, ""]):
        option, given, value = word.partition("=")
        if (value if given else after) == "list" and option in (("--data",) if arms is None else LISTED):
            for name, text in LISTED[option](arms or {}).items():
                print(f"{name}  {text}".rstrip())
            sys.stdout.flush()
            sys.exit(0)


def datasets(arms: Mapping[str, str]) -> dict[str, str]:
    """Return the sentences of the datasets by name."""
    from stacked import data

    return {name: data.sentence(name) for name in data.names()}


def all_arms(arms: Mapping[str, str]) -> dict[str, str]:
    """Return the sentences of the arms of a study by name, and of the policies that are none of them."""
    from stacked.spec.growth import POLICIES

    known = {**arms, **{name: name for name in POLICIES if name not in arms}}
    return {name: of_policy(policy) for name, policy in known.items()}


def of_policy(name: str) -> str:
    """Return the sentence of a policy; for growth and what follows it, the name of the growth and the sentence of the rest."""
    from stacked.spec.growth import ENDS, POLICIES

    growth, _, end = name.partition("+")
    if end not in ENDS:
        return sentence(POLICIES[name])
    after = sentence(ENDS[end])
    return f"{growth}, then {after[:1].lower()}{after[1:]}"


def stage_kinds(arms: Mapping[str, str]) -> dict[str, str]:
    """Return the sentences of the kinds of stages by name."""
    from stacked.stages import kinds

    return {name: sentence(kind) for name, kind in sorted(kinds().items())}


def corruptions(arms: Mapping[str, str]) -> dict[str, str]:
    """Return the sentences of the corruptions by name."""
    from stacked.components.corruption import CORRUPTIONS

    return {name: sentence(kind.of) for name, kind in CORRUPTIONS.items()}


def sentence(documented: Any) -> str:
    """Return the first line of the docstring of a class or function; "" if it has none."""
    return (inspect.getdoc(documented) or "").partition("\n")[0]


#: options that can be listed, and the function that returns what they take
LISTED = {"--data": datasets, "--arms": all_arms, "--kind": stage_kinds, "--corruption": corruptions}
