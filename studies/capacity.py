"""At which width of the code does an autoencoder begin to copy its input, and which regularisers prevent it?"""

from __future__ import annotations

import sys

from studies.applications.capacity.study import STUDY
from studies.framework.main import main

if __name__ == "__main__":
    sys.exit(main(STUDY))
