"""What kills and the studies that went on from them say, as parts of a page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from studies.reliability.kills import PROMPT, Ended, Kill
from studies.report.tables import markdown


def findings(kills: Sequence[Kill], ended: Sequence[Ended]) -> list[str]:
    """What came of it: the answer, a table by signal, and one by study."""
    same = sum(each.kills for each in ended if not each.differs)
    asked = [kill.ended_in for kill in kills if kill.way != "SIGKILL"]
    lines = []
    for (way, to), number in sorted(Counter((kill.way, kill.to) for kill in kills).items()):
        those = [kill for kill in kills if (kill.way, kill.to) == (way, to)]
        inside = sum(any(not each.endswith(":0") for each in kill.kept.split()) for kill in those)
        lines.append([way, to, str(number), str(inside), f"{max(kill.ended_in for kill in those):.1f}"])
    return [
        f"{len(kills)} kills of a study of 2 runs, resumed each time; {len(ended)} studies were brought to their end so. "
        f"**{same} of {len(kills)}** kills left no trace: weights, rows, curves, pictures and figures equal those of a study "
        "that nobody killed, bit for bit but for times; every point, parameter, tag, picture, file and model is in MLflow once, "
        "no run is left RUNNING, no model PENDING, and no file half written.",
        markdown(["signal", "to", "kills", "with a place inside a phase", "slowest end (s)"], lines),
        *([f"Asked to end, it ended within {max(asked):.1f} s; {PROMPT:.0f} s are allowed."] if asked else []),
        markdown(["study", "kills", "differs in"], [[str(e.study), str(e.kills), e.differs or "–"] for e in ended]),
    ]
