"""The command that a page shows: what its reader types."""

from __future__ import annotations

from collections.abc import Sequence

from stacked.util.paths import command_without_folders

#: options that name places on the machine of the record, on which no result depends
PLACES = ("--store", "--data-dir")


def reader_command(prog: str, argv: Sequence[str]) -> str:
    """Return the command of a page as one shell line: without PLACES, and with paths out of the current folder shortened."""
    words, rest = prog.split(), iter(argv)
    for word in rest:
        if word in PLACES:
            next(rest, None)
        elif word.partition("=")[0] not in PLACES:
            words.append(word)
    return command_without_folders(words)
