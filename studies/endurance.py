"""Does a process that trains one run after the other stay as large as it was?"""

from __future__ import annotations

import sys

from studies.framework.main import main
from studies.reliability.endurance import STUDY

if __name__ == "__main__":
    sys.exit(main(STUDY))
