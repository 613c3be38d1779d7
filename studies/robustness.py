"""What becomes of damaged files, small files of large cost, odd answers of a server, and killed processes?"""

from __future__ import annotations

import sys

from studies.framework.main import main
from studies.reliability.robustness.study import STUDY

if __name__ == "__main__":
    sys.exit(main(STUDY))
