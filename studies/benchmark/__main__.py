"""How fast is training, compared with a hand-written loop, with ClustPy and JAX, and with the peak rate of the machine?"""

from __future__ import annotations

import sys

from studies.benchmark.study import STUDY
from studies.framework.main import main

if __name__ == "__main__":
    sys.exit(main(STUDY))
