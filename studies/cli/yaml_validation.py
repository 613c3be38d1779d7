"""YAML as users write it: read as jsonargparse reads it, after a look at what it would become."""

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

#: Words, lists and mappings of a text, everything counted that an alias stands for.
MOST = 10_000


def install() -> None:
    """Have every parser of jsonargparse read its YAML by `load`."""
    set_loader("yaml", load, (yaml.YAMLError,))


_as_it_stands = get_loader("yaml")


def load(text: str) -> Any:
    """The plain values that a YAML text says.

    Raises yaml.YAMLError for a text that is not YAML, gives a name twice, has tags, refers to itself, or would become too much.
    """
    try:
        check(text)
        values = _as_it_stands(text)
        check_plain(values)
    except (ValueError, OverflowError) as error:  # of 1:00:00... too, which is a number to base 60 there
        raise yaml.YAMLError(str(error)) from error
    except TypeError as error:  # jsonargparse's, of `5:` and `?`
        raise yaml.YAMLError("a name that is not a word") from error
    return values


def check_words(words: Sequence[str]) -> None:
    """Raise InputError for a word that jsonargparse would stumble over: YAML whose only name is a number, or none."""
    for word in words:
        text = word.partition("=")[2] if word.startswith("--") else word
        try:
            _as_it_stands(text)
        except TypeError as error:
            raise InputError(f"{word!r} is not allowed: give names that are words, as in {{lr: 0.1}}") from error
        except (yaml.YAMLError, ValueError, OverflowError, RecursionError):
            continue  # the parser tells of them


def configs(words: list[str]) -> Iterator[str]:
    """What follows --config, also where its name is cut short, as argparse allows: files, or YAML itself."""
    for word, after in pairwise([*words, ""]):
        option, given, path = word.partition("=")
        if option.startswith("--con") and "--config".startswith(option):
            yield path if given else after


def check_files(words: list[str], lists: Sequence[str]) -> None:
    """Raise InputError for a file of --config that gives no list where one of `lists` takes one, or names another file.

    jsonargparse would tell of its own insides, iterate over a mapping while it changes it, or read a file within itself for ever.
    """
    for path in configs(words):
        try:
            values = load(Path(path).read_text(encoding="utf-8") if os.path.isfile(path) else path)
        except (yaml.YAMLError, UnicodeDecodeError, OSError):
            continue  # the parser tells of them
        if not isinstance(values, dict):
            continue
        need("config" not in values, f"{path} names another file with config: give each of them with --config")
        for name in lists:
            given = values.get(name, [])
            need(
                isinstance(given, list),
                f"{name} {given!r} of {path} is not allowed: give a list, as in [1, 2] or [joint]",
            )


def fault(words: list[str]) -> str:
    """Why the first word in braces that is no such YAML is none, which jsonargparse does not say; "" where all are."""
    for word in words:
        text = "".join(word.partition("{")[1:]) if word.startswith(("{", "--")) else ""
        try:
            load(text)
        except yaml.YAMLError as error:
            return f"{text!r} cannot be read as YAML: {' '.join(str(error).split())}"
    return ""


@dataclass
class Collection:
    """A list or a mapping that has begun: how much is in it by now, and a mapping's names."""

    anchor: str | None
    mapping: bool
    size: int = 1
    children: int = 0
    names: set[str] = field(default_factory=set)

    def add(self, size: int, word: str | None) -> None:
        """Note a child of so much; `word` where it is one."""
        if self.mapping and self.children % 2 == 0 and word is not None:
            if word in self.names:
                raise ValueError(f"{word!r} is given twice")
            self.names.add(word)
        self.children += 1
        self.size += size
        if self.size > MOST:
            raise ValueError(f"more than {MOST:,} values")


def check(text: str) -> None:
    """Raise ValueError for what YAML allows and nobody means; yaml.YAMLError for what is not YAML."""
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
            ended = around.pop()
            if ended.anchor:
                sizes[ended.anchor] = ended.size
            around[-1].add(ended.size, None)
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor in [each.anchor for each in around]:
                raise ValueError(f"{event.anchor!r} is part of itself")
            around[-1].add(sizes.get(event.anchor, 1), None)
        elif isinstance(event, yaml.ScalarEvent):
            around[-1].add(1, event.value)


def _events(text: str) -> Iterator[Any]:
    return yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
