"""Checks YAML of the command line before jsonargparse uses it: no tags, duplicate names, cycles or huge expansions."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import get_loader, set_loader

from stacked.util.checks import need
from stacked.util.errors import InputError
from stacked.util.serialization import DEEPEST, check_plain

#: The largest number of values in a YAML text, counted after aliases are expanded.
MAX_VALUES = 10_000


def install() -> None:
    """Make every parser of jsonargparse read YAML with `load`."""
    set_loader("yaml", load, (yaml.YAMLError,))


_load_unchecked = get_loader("yaml")


def load(text: str) -> Any:
    """Return the plain values of a YAML text.

    Raises yaml.YAMLError for a text that is not YAML, has a duplicate name or a tag, contains itself, or has more than
    `MAX_VALUES` values.
    """
    try:
        check(text)
        values = _load_unchecked(text)
        check_plain(values)
    except (ValueError, OverflowError) as error:  # also for 1:00:00..., which YAML 1.1 reads as a number in base 60
        raise yaml.YAMLError(str(error)) from error
    except TypeError as error:  # raised by jsonargparse for `5:` and `?`
        raise yaml.YAMLError("a name that is not a string") from error
    return values


def check_arguments(argv: Sequence[str]) -> None:
    """Raise InputError for an argument with a YAML mapping whose name is a number or empty; jsonargparse would crash."""
    for word in argv:
        text = word.partition("=")[2] if word.startswith("--") else word
        try:
            _load_unchecked(text)
        except TypeError as error:
            raise InputError(f"{word!r} is not allowed: give names that are strings, as in {{lr: 0.1}}") from error
        except (yaml.YAMLError, ValueError, OverflowError, RecursionError):
            continue  # the parser reports them


def config_values(argv: list[str]) -> Iterator[str]:
    """Yield the values of --config (also abbreviated, as argparse allows): paths of files, or YAML texts."""
    for word, after in pairwise([*argv, ""]):
        option, given, path = word.partition("=")
        if option.startswith("--con") and "--config".startswith(option):
            yield path if given else after


def config_files(argv: list[str]) -> list[str]:
    """Return the paths of the files that are given with --config."""
    return [path for path in config_values(argv) if os.path.isfile(path)]


def check_config_files(argv: list[str], lists: Sequence[str]) -> None:
    """Raise InputError if a file of --config does not exist, is not YAML, names another file, or misses a list.

    lists: options whose values have to be lists.

    jsonargparse would print internal errors for these, or read a file that names itself for ever.
    """
    for path in config_values(argv):
        is_file = os.path.isfile(path)
        try:
            values = load(Path(path).read_text(encoding="utf-8") if is_file else path)
        except yaml.YAMLError as error:
            need(not is_file, f"the file {path} of --config cannot be read as YAML: {reason_of(error)}")
            continue  # the parser reports other texts
        except (UnicodeDecodeError, OSError):
            continue  # the parser reports them
        is_path = isinstance(values, str) and not is_file
        need(not is_path or os.path.exists(path), f"the file {path} of --config does not exist: give a YAML file")
        need(not is_path or not os.path.isdir(path), f"{path} of --config is a folder: give a YAML file")
        if not isinstance(values, dict):
            continue
        need("config" not in values, f"{path} names another file with config: give each file with --config")
        for name in lists:
            given = values.get(name, [])
            need(
                isinstance(given, list),
                f"{name} {given!r} in {path} is not allowed: give a list, as in [1, 2] or [joint]",
            )


def yaml_error(argv: list[str]) -> str:
    """Return what is wrong with the first argument in braces that is not valid YAML; "" if all are valid."""
    for word in argv:
        text = "".join(word.partition("{")[1:]) if word.startswith(("{", "--")) else ""
        try:
            load(text)
        except yaml.YAMLError as error:
            return f"{text!r} cannot be read as YAML: {reason_of(error)}"
    return ""


def reason_of(error: yaml.YAMLError) -> str:
    """Return the message of an error in one line, with places but without the parser's name of the text."""
    return " ".join(str(error).split()).replace('in "<unicode string>", line', "in line")


@dataclass
class Collection:
    """A list or mapping that is being read.

    size: number of values so far. children: number of direct children (names and values). names: names of a mapping.
    """

    anchor: str | None
    mapping: bool
    size: int = 1
    children: int = 0
    names: set[str] = field(default_factory=set)

    def add(self, size: int, word: str | None) -> None:
        """Add a child of `size` values; `word`: its text if it is a scalar."""
        if self.mapping and self.children % 2 == 0 and word is not None:
            if word in self.names:
                raise ValueError(f"{word!r} is given twice")
            self.names.add(word)
        self.children += 1
        self.size += size
        if self.size > MAX_VALUES:
            raise ValueError(f"more than {MAX_VALUES:,} values")


def check(text: str) -> None:
    """Raise ValueError for a tag, a duplicate name, a cycle, deep nesting or too many values; yaml.YAMLError for no YAML."""
    sizes: dict[str, int] = {}
    around = [Collection(None, False)]
    for event in _events(text):
        if getattr(event, "tag", None) not in (None, "!"):
            raise ValueError(f"the tag {event.tag!r} is not allowed: write the value without it")
        if isinstance(event, yaml.CollectionStartEvent):
            around.append(Collection(event.anchor, isinstance(event, yaml.MappingStartEvent)))
            if len(around) > DEEPEST:
                raise ValueError(f"nested deeper than {DEEPEST} levels")
        elif isinstance(event, yaml.CollectionEndEvent):
            closed = around.pop()
            if closed.anchor:
                sizes[closed.anchor] = closed.size
            around[-1].add(closed.size, None)
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor in [each.anchor for each in around]:
                raise ValueError(f"{event.anchor!r} is part of itself")
            around[-1].add(sizes.get(event.anchor, 1), None)
        elif isinstance(event, yaml.ScalarEvent):
            around[-1].add(1, event.value)


def _events(text: str) -> Iterator[Any]:
    return yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
