"""What does each local rule cost in quality, and what does it save? (--net transformer: on the other network)"""

from __future__ import annotations

import sys

from stacked.cli.command import carried_out
from stacked.util.checks import choice
from studies.framework.main import main as run
from studies.pretraining.local_learning.study import OPTION, STUDIES


def apart(argv: list[str]) -> tuple[str, list[str]]:
    """Return the name of the network, and the other arguments. Without --net it is the first network."""
    net, rest, words = next(iter(STUDIES)), list[str](), iter(argv)
    for word in words:
        option, has_value, value = word.partition("=")
        if option == OPTION:
            net = value if has_value else next(words, "")
        else:
            rest.append(word)
    return net, rest


def main(argv: list[str]) -> int:
    """Run the study on the network of --net; return the exit code, as `studies.framework.main.main`."""
    net, rest = apart(argv)

    def check() -> int:
        choice(net, STUDIES, "net")
        return 0

    return carried_out(next(iter(STUDIES.values())).prog, check) or run(STUDIES[net], rest)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
