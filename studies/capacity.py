"""At which width does an autoencoder cease to learn and begin to copy, and what keeps it from that?"""

from __future__ import annotations

import sys

from studies.applications.capacity.study import STUDY
from studies.framework.main import main

if __name__ == "__main__":
    sys.exit(main(STUDY))
