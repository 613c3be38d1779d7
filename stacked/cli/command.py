"""What all command lines share: program name, exit codes, and hints at misspelt words.

Importing this module does not load torch.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NoReturn

from stacked.cli.help_text import help_text, without_types
from stacked.runtime.progress import say, shown
from stacked.util.checks import meant
from stacked.util.errors import InputError

#: The name of the program that runs the command, set by `studies.__main__`; "" for `python -m`.
program = ""
#: The exit code that a shell reports for a process whose pipe was closed by its reader (128 + SIGPIPE).
UNREAD = 128 + 13


def called(module: str) -> str:
    """Return how a module's command is called: "python -m studies.layerwise", or "stacked layerwise"."""
    return f"{program} {module.rpartition('.')[2]}" if program else f"python -m {module}"


class Command(argparse.ArgumentParser):
    """An argument parser that suggests the nearest known word for a misspelt one, and takes no abbreviated options."""

    def __init__(self, *words: Any, **options: Any) -> None:
        super().__init__(*words, **{"allow_abbrev": False, "add_help": False, **options})
        # whoever reads the help knows this option
        self.add_argument("--help", "-h", action="help", help=argparse.SUPPRESS)

    def format_help(self) -> str:
        """Return the help in the style of all commands."""
        return help_text(self)

    def error(self, message: str) -> NoReturn:
        """Raise InputError with the message and a suggestion."""
        raise InputError(explained(message, self))


def explained(message: str, parser: argparse.ArgumentParser) -> str:
    """Return a parser's message about invalid arguments in one sentence, with a suggestion for a misspelt word."""
    text = without_types(message)
    return f"{text[:1].lower()}{text[1:]}{misspelt(message, options_of(parser))} (--help shows what is allowed)"


def options_of(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Yield the options and commands of a parser, and the options of its commands."""
    for action in parser._actions:
        yield from action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices
            for inner in action.choices.values():
                yield from options_of(inner)


def misspelt(message: str, known: Iterable[str]) -> str:
    """Return a suggestion for the unknown word in a parser's message; "" if no `known` word is similar."""
    found = re.search(r"(?:unrecognized arguments: |invalid choice: '|Option ')(-*)([\w-]+)", message)
    return meant(found[2], (word.lstrip("-") for word in known), found[1]) if found else ""


def carried_out(prog: str, do: Callable[[], int], *, tells_interruptions: bool = True) -> int:
    """Run `do`, whose progress is shown, and return its exit code; for an InputError print its message and return 2.

    tells_interruptions: whether Ctrl-C prints a line and returns 130; otherwise KeyboardInterrupt is raised.
    """
    open_streams()
    try:
        with shown():
            code = do()
        sys.stdout.flush()
    except InputError as error:
        say(f"{prog}: {error}")
        return 2
    except KeyboardInterrupt:
        if not tells_interruptions:
            raise
        say(f"\n{prog}: interrupted")
        return 128 + signal.SIGINT
    except BrokenPipeError:
        if not is_unread():
            raise
        return UNREAD
    return code


def is_unread() -> bool:
    """Whether the reader of stdout is gone, as after `| head`; if so, further output is discarded."""
    try:
        print(flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes the rest when it exits
        return True
    return False


def open_streams() -> None:
    """Open closed standard streams on the null device, let stdout escape characters that its encoding lacks, unbuffer stderr.

    A newly opened file takes the lowest free descriptor. If that were the number of a closed stream, other code and child
    processes would write into the file.
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
    if sys.stderr is sys.__stderr__ and isinstance(sys.stderr, io.TextIOWrapper):
        # without a buffer, because what a full disk has not taken would be written again at the exit, with another exit code
        raw = open(sys.stderr.fileno(), "wb", buffering=0, closefd=False)  # noqa: SIM115
        sys.stderr = io.TextIOWrapper(raw, sys.stderr.encoding, sys.stderr.errors, write_through=True)
