"""A study of what autoencoders are used for: a question, the methods that answer it, what they measure, and its figures."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from stacked.cli.command import called

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

    from stacked.data import Splits

#: paints a figure from the rows of a record and its folder; None: there is nothing to paint
Paint: TypeAlias = "Callable[[DataFrame, Path], Figure | None]"


@dataclass(frozen=True)
class Measure:
    """A measure's name in tables, with its unit, its decimals, and whether more is better."""

    label: str
    decimals: int
    more: bool = True


@dataclass(frozen=True)
class Drawing:
    """A figure of a study: what it shows, in a sentence or two, and what paints it."""

    caption: str
    paint: Paint


class Found(NamedTuple):
    """One measurement: of an `arm`, under a `condition` ("": there is only one), in the unit of its measure."""

    arm: str
    condition: str
    measure: str
    value: float


@dataclass(frozen=True)
class Setting:
    """What a method is measured on: the data, the command line's values, and the folder of the record."""

    splits: Splits
    given: argparse.Namespace
    out: Path


#: what measures itself with a seed; where it cannot, it raises InputError before it has measured anything
Method = Callable[[Setting, int], Iterable[Found]]


@dataclass(frozen=True)
class Use:
    """A question, the methods that answer it, and how the answer is drawn.

    methods: by name; each gives measurements of one arm or more. arms: in the order of tables; the first is that which others
    are compared with. measures: of which tables are made, the main one first. conditions: what they are, for the head of a
    table. protocol: Markdown for the page, with options' values in braces. drawings: the most telling first. varies: what
    differs between seeds. files: further ones beside the page, by name: what makes them of rows and folder, None where there is
    nothing to make. answer: what the rows say, in a sentence or two. options: adds those of its own. smoke: values of a smoke
    run. own: does something else instead, where the command or the data ask for it, and returns the exit code of that. check:
    raises InputError, before anything is measured, for data or values with which one of the methods that are named cannot be.
    extras: packages that methods need and this one does not; without its package a method is left out.
    """

    name: str
    title: str
    question: str
    protocol: str
    methods: Mapping[str, Method]
    arms: tuple[str, ...]
    measures: Mapping[str, Measure]
    conditions: str
    drawings: Mapping[str, Drawing]
    varies: str = "initial weights, data order, corruption, and what of the images is drawn"
    files: Mapping[str, Callable[[DataFrame, Path], str | None]] = field(default_factory=dict)
    answer: Callable[[DataFrame], str] = lambda rows: ""
    options: Callable[[argparse.ArgumentParser], None] = lambda command: None
    smoke: Mapping[str, Any] = field(default_factory=dict)
    own: Callable[[Setting], int | None] = lambda setting: None
    check: Callable[[Setting, Sequence[str]], None] = lambda setting, methods: None
    extras: Mapping[str, str] = field(default_factory=dict)

    @property
    def prog(self) -> str:
        """How it is called."""
        return called(f"studies.{self.name}")
