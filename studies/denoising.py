"""Does an autoencoder that was trained to restore images denoise better than filters?"""

from __future__ import annotations

import sys

from studies.applications.denoising.study import STUDY
from studies.framework.main import main

if __name__ == "__main__":
    sys.exit(main(STUDY))
