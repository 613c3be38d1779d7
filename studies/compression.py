"""How small do the codes of an autoencoder make images, at which quality, beside JPEG, WebP and PNG?"""

from __future__ import annotations

import sys

from studies.applications.compression.study import STUDY
from studies.framework.main import main

if __name__ == "__main__":
    sys.exit(main(STUDY))
