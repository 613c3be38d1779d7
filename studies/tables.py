"""Are codes of a pretrained autoencoder worth having on tables and signals, compared with what one would use there anyway?"""

from __future__ import annotations

import sys

from studies.applications.tables.study import STUDY
from studies.framework.main import main

if __name__ == "__main__":
    sys.exit(main(STUDY))
