"""Does an autoencoder that was trained to restore images do so better than filters that were not trained at all?"""

from __future__ import annotations

import sys

from studies.applications.denoising.study import STUDY
from studies.framework.main import main

if __name__ == "__main__":
    sys.exit(main(STUDY))
