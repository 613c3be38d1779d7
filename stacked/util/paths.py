"""Text for records: file names stay, folders and logins, which tell of the machine and its user, are removed."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from functools import partial
from pathlib import Path, PurePosixPath

_ADDRESS = r"\b[A-Za-z][\w+.-]*://[^\s'\"<>()]+"
#: A quoted path, an address, or an unquoted path up to the first character that may be punctuation.
_FOUND = re.compile(
    r"(?P<quote>['\"])(?P<quoted>/[^'\"\n]*)(?P=quote)"
    rf"|(?P<address>{_ADDRESS})"
    r"|(?<![\w.~/)\]-])(?P<path>/[^\s'\":;,<>()\[\]{}|]+)"
)
#: User name and password after the scheme of an address, as SQLAlchemy reads them: a password may have /, ? and #.
_LOGIN = re.compile(r"^[^:/?#]*:[^@]*@")
#: A command-line word that is a path out of the current folder, alone or as the value of an option.
_WORD = re.compile(r"(?P<option>--[\w-]+=)?(?P<kind>[a-z]+:(?!//))?(?P<path>[/~].*|(?:.*/)?\.\./.*)", re.DOTALL)

#: A command-line word that is an address, alone or as the value of an option.
_ADDRESS_WORD = re.compile(r"(?P<option>--[\w-]+=)?(?P<address>[A-Za-z][\w+.-]*://.*)", re.DOTALL)


def without_folders(text: str, *known: str | os.PathLike[str]) -> str:
    """Return `text` with absolute paths reduced to their last part and addresses without user name and password.

    `known` are folders that the text may name. They, the home folder and the current folder are found even if their names
    contain spaces.
    """
    folders = [Path(os.path.abspath(folder)) for folder in (Path.home(), Path.cwd(), *known)]
    above = {each for folder in folders for each in (folder, *folder.parents) if each != Path("/")}
    for folder in sorted(above, reverse=True):
        if not _FOUND.fullmatch(str(folder)):  # the expression would end at the first space
            text = re.sub(re.escape(str(folder)) + r"(?P<more>/(?=\S))?", partial(_shortened, folder.name), text)
    return _FOUND.sub(_reduced, text)


def command_without_folders(words: Sequence[str]) -> str:
    """Return a command line as one shell line in which paths out of the current folder are reduced to their last part."""
    return shlex.join(_word(word) for word in words)


def without_login(address: str) -> str:
    """Return the address of a server or database without user name, password and query, which may hold credentials."""
    scheme, sign, rest = address.partition("://")
    host, slash, path = re.split(r"[?#]", _LOGIN.sub("", rest))[0].partition("/")
    return f"{scheme}{sign}{host.rpartition('@')[2]}{slash}{path}" if sign else address


def without_logins(text: str) -> str:
    """Return `text` with every address in it passed through `without_login`."""
    return re.sub(_ADDRESS, lambda found: without_login(found[0]), text)


def _word(word: str) -> str:
    if found := _ADDRESS_WORD.fullmatch(
        word
    ):  # whose login may have characters at which an address in a text would end
        word = (found["option"] or "") + without_login(found["address"])
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
    return f"{scheme}:///{PurePosixPath(rest).name}" if rest.startswith("/") else address  # file:///... or a server
