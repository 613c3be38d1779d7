"""Can an autoencoder that was trained on one class of images detect images of other classes?"""

from __future__ import annotations

import sys

from studies.applications.anomaly.study import STUDY
from studies.framework.main import main

if __name__ == "__main__":
    sys.exit(main(STUDY))
