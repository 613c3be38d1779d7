"""How well does AutoEncoder224 restore colour photographs, and at which cost, if it is trained layer-wise or jointly?"""

from __future__ import annotations

import sys

from studies.applications.photographs.study import STUDY
from studies.framework.main import main

if __name__ == "__main__":
    sys.exit(main(STUDY))
