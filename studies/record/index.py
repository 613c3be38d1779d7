"""The index of the records that the project keeps, results/README.md: a generated block for each, between markers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from stacked.util.atomic import sweep, write_atomically
from stacked.util.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
#: Holds a generated block for every committed record.
INDEX = ROOT / "results" / "README.md"


def committed_as(out: Path, root: Path) -> str | None:
    """The name of a record that the project keeps: its path below results/; None for any other folder."""
    results = (root / "results").resolve()
    return out.resolve().relative_to(results).as_posix() if out.resolve().is_relative_to(results) else None


def update_readme(readme: Path, name: str, block: str) -> None:
    """Put `block` between the markers <!-- begin: name --> and <!-- end: name -->, all else as it was.

    Raises InputError when the file does not hold each marker exactly once, in order.
    """
    text = _read(readme)
    start, end = _between(text, readme, name)
    sweep(readme.parent)
    write_atomically(readme, f"{text[:start]}\n{block.strip()}\n{text[end:]}")


def has_block(readme: Path, name: str) -> bool:
    """Whether the file has a place for the block of this name."""
    return readme.exists() and f"<!-- begin: {name} -->" in _read(readme)


def readme_block(readme: Path, name: str) -> str:
    """What stands between the markers, as given to `update_readme`; errors as there."""
    text = _read(readme)
    start, end = _between(text, readme, name)
    return text[start:end].strip()


def _between(text: str, readme: Path, name: str) -> tuple[int, int]:
    begin, end = f"<!-- begin: {name} -->", f"<!-- end: {name} -->"
    once = text.count(begin) == text.count(end) == 1
    if not once or text.index(begin) > text.index(end):
        raise InputError(f"{readme} must hold the lines {begin!r} and {end!r} once each, in this order: add them")
    return text.index(begin) + len(begin), text.index(end)


def _read(readme: Path) -> str:
    try:
        return readme.read_bytes().decode("utf-8")
    except FileNotFoundError as error:
        raise InputError(f"{readme} does not exist: name the project's README") from error


def update_index(out: Path, block: Callable[[Path], str]) -> None:
    """Put the block of a record, made by `block` for the index's folder, into the index, where that has a place for it."""
    name = committed_as(out, ROOT)
    if name and has_block(INDEX, name):
        update_readme(INDEX, name, block(INDEX.parent))
