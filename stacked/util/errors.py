"""Errors that a user can cause, each reported in one sentence."""

import zipfile
import zlib

#: What NumPy, zipfile and zlib raise for a damaged archive (RuntimeError: for one that claims to be encrypted).
UNREADABLE = (ValueError, OSError, EOFError, MemoryError, RuntimeError, zipfile.BadZipFile, zlib.error)
#: The most characters of an InputError's message; the middle of a longer message is cut.
LONGEST = 1000


def printable(text: str) -> str:
    """Return the text with all unprintable characters escaped, so that it stays one line and cannot control a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class InputError(ValueError):
    """Invalid input. The message names the value, what is allowed and what to do; commands exit with code 2.

    The message is one line of printable text: other characters in names and values are escaped.
    """

    def __init__(self, message: str) -> None:
        line, half = printable(message), LONGEST // 2
        super().__init__(line if len(line) <= LONGEST else f"{line[:half]} ... {line[-half:]}")


class Unwritable(InputError):
    """A file or folder cannot be written, for lack of space or permission; files written before are complete."""


class Interrupted(KeyboardInterrupt):
    """A run ended on request (Ctrl-C or SIGTERM); the message says whether its state was saved."""


class Diverged(RuntimeError):
    """The loss or a gradient became NaN or infinite; the message names the phase and the update, earlier results are kept."""
