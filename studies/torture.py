"""Does a study that is killed again and again end as if nothing had happened?"""

from __future__ import annotations

import sys

from studies.framework.main import main
from studies.reliability.torture import STUDY

if __name__ == "__main__":
    sys.exit(main(STUDY))
