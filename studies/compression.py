"""How well do quantised codes of an autoencoder compress images, compared with JPEG, WebP, PNG and PCA?"""

from __future__ import annotations

import sys

from studies.applications.compression.study import STUDY
from studies.framework.main import main

if __name__ == "__main__":
    sys.exit(main(STUDY))
