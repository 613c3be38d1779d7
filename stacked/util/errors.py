"""What goes wrong by the user's hand, told in one sentence."""

import zipfile
import zlib

#: What numpy, zipfile and zlib raise of an archive that is not whole; RuntimeError is of one that claims to be encrypted.
UNREADABLE = (ValueError, OSError, EOFError, MemoryError, RuntimeError, zipfile.BadZipFile, zlib.error)
#: Characters of an InputError's message: the middle of a longer one, some huge value, is left out.
LONGEST = 1000


def printable(text: str) -> str:
    """The text with everything escaped that is not to be seen: a line, which tells a terminal to do nothing."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class InputError(ValueError):
    """Bad input: the message names the value, what is allowed and what to do. Command lines exit with code 2.

    The message is one line of printable text, whatever the names and values in it are: other characters are escaped.
    """

    def __init__(self, message: str) -> None:
        line, half = printable(message), LONGEST // 2
        super().__init__(line if len(line) <= LONGEST else f"{line[:half]} ... {line[-half:]}")


class Unwritable(InputError):
    """A place cannot be written, for want of space or of permission: what was kept there is whole, and is gone on from."""


class Interrupted(KeyboardInterrupt):
    """A run ended because it was asked to; the message says whether its place was kept."""


class Diverged(RuntimeError):
    """The loss became non-finite: the message names the phase and the update; what was measured so far is kept."""
