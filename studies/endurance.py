"""Do memory, open files and run time stay constant in a process that trains many runs one after the other?"""

from __future__ import annotations

import sys

from studies.framework.main import main
from studies.reliability.endurance import STUDY

if __name__ == "__main__":
    sys.exit(main(STUDY))
