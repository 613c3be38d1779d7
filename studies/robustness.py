"""How robust is the package to damaged files, small files with large cost, invalid answers of a server, and kills?"""

from __future__ import annotations

import sys

from studies.framework.main import main
from studies.reliability.robustness.study import STUDY

if __name__ == "__main__":
    sys.exit(main(STUDY))
