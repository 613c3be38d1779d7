"""Does greedy layer-wise pretraining help against joint training, at equal compute?"""

from __future__ import annotations

import sys

from studies.framework.main import main
from studies.pretraining.layerwise import STUDY

if __name__ == "__main__":
    sys.exit(main(STUDY))
