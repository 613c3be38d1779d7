"""Does a linear autoencoder learn the principal subspace, also if it is grown stage by stage?"""

from __future__ import annotations

import sys

from studies.applications.linear.study import STUDY
from studies.framework.main import main

if __name__ == "__main__":
    sys.exit(main(STUDY))
