"""How fast is it, against a hand-written loop, against others, and against what the machine can do?"""

from __future__ import annotations

import sys

from studies.benchmark.study import STUDY
from studies.framework.main import main

if __name__ == "__main__":
    sys.exit(main(STUDY))
