"""Which way of growing a stack is best at equal compute?"""

from __future__ import annotations

import sys

from studies.framework.main import main
from studies.pretraining.policies import STUDY

if __name__ == "__main__":
    sys.exit(main(STUDY))
