"""How good are the codes of local rules without a loss of a code, Forward-Forward and SoftHebb?"""

from __future__ import annotations

import sys

from studies.framework.main import main
from studies.pretraining.local_learning.baselines_study import STUDY

if __name__ == "__main__":
    sys.exit(main(STUDY))
