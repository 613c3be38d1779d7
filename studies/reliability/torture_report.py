"""The report of a torture test."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from studies.reliability.kills import PROMPT, Ended, Kill
from studies.report.tables import markdown


def findings(kills: Sequence[Kill], ended: Sequence[Ended]) -> list[str]:
    """Return the parts of the page: the answer, a table by signal, and a table by study."""
    same = sum(each.kills for each in ended if not each.differs)
    graceful = [kill.ended_in for kill in kills if kill.way != "SIGKILL"]
    lines = []
    for (way, to), number in sorted(Counter((kill.way, kill.to) for kill in kills).items()):
        those = [kill for kill in kills if (kill.way, kill.to) == (way, to)]
        inside = sum(any(not each.endswith(":0") for each in kill.kept.split()) for kill in those)
        lines.append([way, to, str(number), str(inside), f"{max(kill.ended_in for kill in those):.1f}"])
    return [
        f"Studies of 2 runs were killed {len(kills)} times and resumed each time; {len(ended)} studies ended. "
        f"**{same} of {len(kills)}** kills had no effect on the results: weights, rows, curves, images and figures are identical "
        "to those of an undisturbed study, except for times; MLflow has every point, parameter, tag, image, file and model "
        "exactly once; no run is left RUNNING, no model PENDING, and no file incomplete.",
        markdown(
            ["signal", "to", "kills", "with a checkpoint inside a phase", "slowest end (s), lower is better"], lines
        ),
        *(
            [f"After SIGTERM and SIGINT, processes ended within {max(graceful):.1f} s; {PROMPT:.0f} s are allowed."]
            if graceful
            else []
        ),
        markdown(["study", "kills", "differs in"], [[str(e.study), str(e.kills), e.differs or "–"] for e in ended]),
    ]
