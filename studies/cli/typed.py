"""Which options a user typed, as opposed to values by default."""

from __future__ import annotations


def typed_options(argv: list[str]) -> frozenset[str]:
    """Return the options among the arguments `argv`, as "--epochs"."""
    words = (word.partition("=")[0].partition(".")[0] for word in argv if word.startswith("--"))
    return frozenset(word.replace("_", "-") for word in words)
