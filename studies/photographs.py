"""How well, and at which cost, does AutoEncoder224 restore colour photographs, grown layer-wise or trained jointly?"""

from __future__ import annotations

import sys

from studies.applications.photographs.study import STUDY
from studies.framework.main import main

if __name__ == "__main__":
    sys.exit(main(STUDY))
