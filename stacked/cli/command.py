"""What command lines share: how they are called, how they end, and what was meant by a misspelt word.

Importing this module loads no torch.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import NoReturn

from stacked.runtime.progress import say
from stacked.util.checks import meant
from stacked.util.errors import InputError

#: The program that runs a command, where that is not Python: `studies.__main__` sets it.
program = ""
#: What a shell says of a process that wrote to a pipe which nobody reads any more.
UNREAD = 128 + 13


def called(module: str) -> str:
    """How the command of a module is called: "python -m studies.layerwise", or "stacked layerwise"."""
    return f"{program} {module.rpartition('.')[2]}" if program else f"python -m {module}"


class Command(argparse.ArgumentParser):
    """A parser that says which option may have been meant."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the words, and exit with 2."""
        super().error(message + misspelt(message, options_of(self)))


def options_of(parser: argparse.ArgumentParser) -> Iterator[str]:
    """The words that a parser knows: its options, its commands, and the options of these."""
    for action in parser._actions:
        yield from action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices
            for inner in action.choices.values():
                yield from options_of(inner)


def misspelt(message: str, known: Iterable[str]) -> str:
    """What to add to a parser's message of a word that it does not know; "" where none of the `known` is near."""
    found = re.search(r"(?:unrecognized arguments: |invalid choice: '|Option ')(-*)([\w-]+)", message)
    return meant(found[2], (word.lstrip("-") for word in known), found[1]) if found else ""


def carried_out(prog: str, do: Callable[[], int]) -> int:
    """The exit code of `do`; 2, and a sentence, for bad input."""
    open_streams()
    try:
        code = do()
        sys.stdout.flush()
    except InputError as error:
        say(f"{prog}: {error}")
        return 2
    except BrokenPipeError:
        if not is_unread():
            raise
        return UNREAD
    return code


def is_unread() -> bool:
    """Whether nobody reads what this process prints any more, as after `| head`; what is printed then leads nowhere."""
    try:
        print(flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python writes the rest when it ends
        return True
    return False


def open_streams() -> None:
    """Let this process have all its standard streams, and print any text: a closed one leads nowhere, what it lacks is escaped.

    A file that is opened takes the lowest free number: that of a closed stream, to which others, and child processes, write.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
