"""The one command line of all studies: read its words, hold the folder of the record, measure, and report."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import closing

from stacked.runtime.interruption import Interruption
from stacked.runtime.progress import Bar, say_warnings
from stacked.util.errors import Interrupted
from stacked.util.paths import command_without_folders
from studies.cli.exit_codes import ended
from studies.design.study import Session, Study


def main(study: Study, words: list[str] | None = None) -> int:
    """Do what the words ask of a study; returns the exit code.

    0; 1 where something failed; 2 for bad input, and for places that take no files; 128 and the signal's number when interrupted.
    """
    say_warnings()
    words = sys.argv[1:] if words is None else words
    stop, opened = Interruption(), list[Session]()

    def do() -> int:
        with closing(study.session(words)) as session, stop:
            opened.append(session)
            return conduct(session, command_without_folders([*study.prog.split(), *words]), stop)

    def kept() -> str:
        return study.after_interruption if any(session.is_recording for session in opened) else ""

    return ended(study.prog, stop, do, kept)


def conduct(session: Session, command: str, stop: Callable[[], bool] = lambda: False) -> int:
    """Make the record that a session is for, or finish one; returns the exit code.

    Raises InputError for what cannot be made, Interrupted when `stop` says so, and Removed where the folder was removed.
    """
    from studies.record.index import update_index
    from studies.record.lock import alone

    code = session.begin()
    if code is not None:
        return code
    with alone(session.out) as files:
        session.is_recording = True
        session.prepare()
        files.look()
        with closing(session.run(stop)) as steps:
            for _ in steps:
                files.look()
        if stop():
            raise Interrupted("stopped as asked")
        with Bar("figures and page", None):
            is_reported = session.report(command)
    if is_reported:
        update_index(session.out, session.block)
    return session.end()
