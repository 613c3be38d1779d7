"""Does a process that trains one run after the other stay as large as it was?"""

from __future__ import annotations

import sys

from studies.reliability.endurance import main

if __name__ == "__main__":
    sys.exit(main())
