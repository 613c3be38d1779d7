"""The index of the committed records, results/README.md: it has a generated section for each record, between markers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from stacked.util.atomic import sweep, write_atomically
from stacked.util.errors import InputError
from stacked.util.reading import text_of

ROOT = Path(__file__).resolve().parents[2]
#: The index of the committed records.
INDEX = ROOT / "results" / "README.md"


def committed_as(out: Path, root: Path) -> str | None:
    """Return the name of a record in the project's results/, its path below that folder; None for any other folder."""
    results = (root / "results").resolve()
    return out.resolve().relative_to(results).as_posix() if out.resolve().is_relative_to(results) else None


def update_readme(readme: Path, name: str, section: str) -> None:
    """Replace the text between the markers <!-- begin: name --> and <!-- end: name --> by `section`.

    Raises InputError if the file does not hold each marker exactly once, in this order.
    """
    text = _read(readme)
    start, end = _between(text, readme, name)
    sweep(readme.parent)
    write_atomically(readme, f"{text[:start]}\n{section.strip()}\n{text[end:]}")


def has_section(readme: Path, name: str) -> bool:
    """Return whether the file has markers for the section `name`."""
    return readme.exists() and f"<!-- begin: {name} -->" in _read(readme)


def readme_section(readme: Path, name: str) -> str:
    """Return the text between the markers; raises as `update_readme`."""
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
        return text_of(readme)
    except FileNotFoundError as error:
        raise InputError(f"{readme} does not exist: name the project's README") from error
    except OSError as error:
        raise InputError(f"{readme} cannot be read ({error.strerror}): make it readable") from error


def update_index(out: Path, section: Callable[[Path], str]) -> None:
    """Update the section of a record in the index, if the index has markers for it.

    section: function of the folder of the index that returns the text.
    """
    name = committed_as(out, ROOT)
    if name and has_section(INDEX, name):
        update_readme(INDEX, name, section(INDEX.parent))
