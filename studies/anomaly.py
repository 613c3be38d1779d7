"""Does an autoencoder that has only seen one class of images tell the others from it?"""

from __future__ import annotations

import sys

from studies.applications.anomaly.study import STUDY
from studies.framework.main import main

if __name__ == "__main__":
    sys.exit(main(STUDY))
