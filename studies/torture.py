"""Does a study that is killed and resumed many times give the same results as an undisturbed study?"""

from __future__ import annotations

import sys

from studies.framework.main import main
from studies.reliability.torture import STUDY

if __name__ == "__main__":
    sys.exit(main(STUDY))
