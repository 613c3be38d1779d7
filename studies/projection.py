"""What of images does a code of few values keep: as a map of them, for their nearest neighbours, and for restoring them?"""

from __future__ import annotations

import sys

from studies.applications.projection.study import STUDY
from studies.framework.main import main

if __name__ == "__main__":
    sys.exit(main(STUDY))
