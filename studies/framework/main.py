"""`main` of all studies: parses the arguments, locks the folder of the record, measures and writes the report.

The chain of calls of a study of training runs: main -> TrainingStudy.session -> TrainingDesign.given; run_session ->
TrainingSession.begin -> prepare -> run: plan -> run_jobs -> run_job -> Job.run -> stacked.runs.run.run -> train_phases ->
prepare_phase -> Training.train -> PhaseLoss; then studies.record.runs.add -> report -> update_index -> end.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import closing

from stacked.runtime.interruption import GRACE, Interruption
from stacked.runtime.progress import Bar, say_warnings
from stacked.util.errors import Interrupted
from studies.cli.exit_codes import exit_code_of
from studies.cli.reader_command import reader_command
from studies.design.study import Session, Study

#: what is said after an interruption before results are recorded
NOTHING_RECORDED = "nothing was recorded yet: the same command begins again"


def main(study: Study, argv: list[str] | None = None) -> int:
    """Run the command of a study with the arguments `argv` (None: those of the process) and return its exit code.

    The exit code is 0 on success; 1 if a run failed, or a model could not be registered; 2 for invalid input and for a folder
    that cannot be written; 128 plus the number of the signal after an interruption.
    """
    say_warnings()
    argv = sys.argv[1:] if argv is None else argv
    opened = list[Session]()

    def is_recording() -> bool:
        return any(session.is_recording for session in opened)

    # before results are recorded, nothing is lost by ending at once, also a --dry-run
    stop = Interruption(grace=lambda: GRACE if is_recording() else 0.0)

    def run() -> int:
        with closing(study.session(argv)) as session, stop:
            opened.append(session)
            return run_session(session, reader_command(study.prog, argv), stop)

    def after_interruption() -> str:
        return study.after_interruption if is_recording() else NOTHING_RECORDED

    return exit_code_of(study.prog, stop, run, after_interruption)


def run_session(session: Session, command: str, stop: Callable[[], bool] = lambda: False) -> int:
    """Measure what the record of a session lacks, write its report, and return the exit code.

    stop: returns True once the session is to end. Raises InputError for invalid input, Interrupted if `stop` returned True, and
    RecordRemoved if the folder of the record was removed.
    """
    from studies.record.index import update_index
    from studies.record.lock import locked_record

    code = session.begin()
    if code is not None:
        return code
    with locked_record(session.out) as backup:
        session.is_recording = True
        session.prepare()
        # copies the files to memory, from which they are written again if the folder is removed meanwhile
        backup.update()
        with closing(session.run(stop)) as steps:
            for _ in steps:
                backup.update()
        if stop():
            raise Interrupted("stopped as asked")
        with Bar("figures and page", None):
            is_reported = session.report(command)
    if is_reported:
        update_index(session.out, session.section)
    return session.end()
