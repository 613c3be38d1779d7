"""YAML as users write it: read as jsonargparse reads it, after a look at what it would become."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml
from jsonargparse import get_loader, set_loader

from stacked.plain import DEEPEST, check_plain

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
    except ValueError as error:
        raise yaml.YAMLError(str(error)) from error
    return values


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
