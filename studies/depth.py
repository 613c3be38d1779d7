"""How do accuracy and reconstruction change with depth, with and without pretraining, and why? (--lesson: in five minutes)"""

from __future__ import annotations

import sys

from studies.framework.main import main as run
from studies.pretraining.depth import STUDY
from studies.pretraining.depth_lesson import LESSON, OPTION


def main(argv: list[str]) -> int:
    """Run the study, or with --lesson its lesson; return the exit code, as `studies.framework.main.main`."""
    if OPTION in argv:
        return run(LESSON, [word for word in argv if word != OPTION])
    return run(STUDY, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
