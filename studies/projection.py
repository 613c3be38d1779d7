"""How much of an image does a code of few values preserve: as a map, for nearest neighbours, and for reconstruction?"""

from __future__ import annotations

import sys

from studies.applications.projection.study import STUDY
from studies.framework.main import main

if __name__ == "__main__":
    sys.exit(main(STUDY))
