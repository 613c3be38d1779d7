"""How the command line of a study ends, whatever ends it: a sentence and an exit code, never a traceback for a user's mistake."""

from __future__ import annotations

import signal
from collections.abc import Callable

from stacked.cli.command import carried_out
from stacked.runtime.interruption import Interruption
from stacked.runtime.progress import say
from stacked.util.atomic import REFUSED, unwritable
from stacked.util.errors import Diverged
from studies.record.kept import Removed


def ended(prog: str, stop: Interruption, do: Callable[[], int], kept: Callable[[], str]) -> int:
    """The exit code of `do`; 1 where training diverged, or the record was removed; 2 for bad input, and for a place that takes
    no files; 128 and the signal's number when interrupted.

    `kept` says what an interruption leaves: "" where it leaves nothing.
    """
    try:
        return carried_out(prog, do)
    except (Diverged, Removed) as error:
        say(f"{prog}: {error}")
        return 1
    except OSError as error:
        if error.errno not in REFUSED:
            raise
        say(f"{prog}: {unwritable(error.filename or 'a file', error)}")
        return 2
    except KeyboardInterrupt:
        say(f"\n{prog}: interrupted{'; ' * bool(kept())}{kept()}")
        return 128 + (stop.number or signal.SIGINT)
