"""How the command line of a study ends, whatever ends it: a sentence and an exit code, never a traceback for a user's mistake."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable

from stacked.atomic import REFUSED, unwritable
from stacked.errors import Diverged, InputError
from stacked.interruption import Interruption

GOES_ON = "what is done is kept, and the same command goes on from there"


def ended(prog: str, stop: Interruption, do: Callable[[], int], kept: str = GOES_ON) -> int:
    """The exit code of `do`; 1 where training diverged; 2 for bad input, and for a place that takes no files; 128 and the
    signal's number when interrupted.

    `kept` says what an interruption leaves.
    """
    try:
        return do()
    except InputError as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return 2
    except Diverged as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        if error.errno not in REFUSED:
            raise
        print(f"{prog}: {unwritable(error.filename or 'a file', error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\n{prog}: interrupted; {kept}", file=sys.stderr)
        return 128 + (stop.number or signal.SIGINT)
