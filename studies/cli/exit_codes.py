"""The exit code and the error message of the command of a study; a user's mistake never prints a traceback."""

from __future__ import annotations

import signal
from collections.abc import Callable

from stacked.cli.command import carried_out
from stacked.runtime.interruption import Interruption
from stacked.runtime.progress import say
from stacked.util.atomic import REFUSED, unwritable
from stacked.util.errors import Diverged
from studies.record.backup import RecordRemoved


def exit_code_of(prog: str, stop: Interruption, run: Callable[[], int], after_interruption: Callable[[], str]) -> int:
    """Call `run` and return the exit code of the command `prog`; print one line for an expected error.

    The code is that of `run`; 1 if training diverged or the folder of the record was removed; 2 for invalid input and for a
    file that cannot be written; 128 plus the number of the signal after an interruption. after_interruption: returns the
    sentence, printed after an interruption, that says what is saved.
    """
    try:
        return carried_out(prog, run, tells_interruptions=False)
    except (Diverged, RecordRemoved) as error:
        say(f"{prog}: {error}")
        return 1
    except OSError as error:
        if error.errno not in REFUSED:
            raise
        say(f"{prog}: {unwritable(error.filename or 'a file', error)}")
        return 2
    except KeyboardInterrupt:
        say(f"\n{prog}: interrupted; {after_interruption()}")
        return 128 + (stop.number or signal.SIGINT)
