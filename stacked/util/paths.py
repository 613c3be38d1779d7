"""What is recorded names files, and does not tell where on this machine, hence whose, they are."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from functools import partial
from pathlib import Path, PurePosixPath

_ADDRESS = r"\b[A-Za-z][\w+.-]*://[^\s'\"<>()]+"
#: A quoted path, an address, or a path up to the first character that may as well be punctuation.
_FOUND = re.compile(
    r"(?P<quote>['\"])(?P<quoted>/[^'\"\n]*)(?P=quote)"
    rf"|(?P<address>{_ADDRESS})"
    r"|(?<![\w.~/)\]-])(?P<path>/[^\s'\":;,<>()\[\]{}|]+)"
)
#: An option's value that is a path which leads elsewhere than below the current folder, whatever characters are in it.
_WORD = re.compile(r"(?P<option>--[\w-]+=)?(?P<kind>folder:)?(?P<path>[/~].*|(?:.*/)?\.\./.*)", re.DOTALL)


def without_folders(text: str, *known: str | os.PathLike[str]) -> str:
    """`text` with absolute paths reduced to their last part, and without the name and password in an address.

    `known` are folders that it may name; like the home and the current folder they are found also where they have spaces
    in their names.
    """
    folders = [Path(os.path.abspath(folder)) for folder in (Path.home(), Path.cwd(), *known)]
    above = {each for folder in folders for each in (folder, *folder.parents) if each != Path("/")}
    for folder in sorted(above, reverse=True):
        if not _FOUND.fullmatch(str(folder)):  # the expression would stop short
            text = re.sub(re.escape(str(folder)) + r"(?P<more>/(?=\S))?", partial(_shortened, folder.name), text)
    return _FOUND.sub(_reduced, text)


def command_without_folders(words: Sequence[str]) -> str:
    """The words of a command line as one line for a shell, without what tells of this machine."""
    return shlex.join(_word(word) for word in words)


def without_login(address: str) -> str:
    """The address of a server or database without name and password, and without what follows its path, which may hold some."""
    scheme, sign, rest = address.partition("://")
    host, slash, path = re.split(r"[?#]", rest)[0].partition("/")
    return f"{scheme}{sign}{host.rpartition('@')[2]}{slash}{path}" if sign else address


def without_logins(text: str) -> str:
    """`text` with the addresses in it as `without_login` gives them."""
    return re.sub(_ADDRESS, lambda found: without_login(found[0]), text)


def _word(word: str) -> str:
    found = _WORD.fullmatch(word)
    if not found:
        return without_folders(word)
    return (found["option"] or "") + (found["kind"] or "") + PurePosixPath(found["path"]).name


def _shortened(name: str, found: re.Match[str]) -> str:
    return "/" if found["more"] else name


def _reduced(found: re.Match[str]) -> str:
    if found["quote"]:
        return f"{found['quote']}{PurePosixPath(found['quoted']).name}{found['quote']}"
    if found["path"]:
        return PurePosixPath(found["path"]).name
    address = without_login(found["address"])
    scheme, _, rest = address.partition("://")
    return f"{scheme}:///{PurePosixPath(rest).name}" if rest.startswith("/") else address  # a file's, or a server's
