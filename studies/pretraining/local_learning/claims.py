"""What papers on local learning claim, and the study's own comparisons."""

from __future__ import annotations

from studies.design.claims import Claim
from studies.pretraining.local_learning.arms import (
    BOTH,
    COPY,
    DELAYED,
    GREEDY,
    IMAGE,
    INFONCE,
    JOINT,
    LABELS,
    LOCKING,
    PAIRED,
    PAIRS,
    PROGRESSIVE,
    RULES,
    SIMULTANEOUS,
    TWINS,
    arm_name,
    yardstick,
)

PROBE, MSE = "final/probe_acc", "final/recon_mse"
#: the error of a fresh decoder of the code of the first stage, and of the deepest code
EARLY, KEPT = "final/fresh_decoder_mse_depth1", "final/fresh_decoder_mse"
#: the datasets on which the claims are tested
DATA = ("mnist", "fashion-mnist")
_OURS = "our data, network and budget; a linear probe"


def claims(has_growth: bool) -> tuple[Claim, ...]:
    """Return the directional claims of the papers, on each dataset. has_growth: as in `arms`.

    An arm that is claimed to be near another one may differ from it by 2 % of its accuracy.
    """
    return tuple(claim for data in DATA for claim in _claims(data, has_growth))


def _claims(data: str, has_growth: bool) -> list[Claim]:
    labels, image, both = (arm_name(SIMULTANEOUS, rule) for rule in (LABELS, IMAGE, BOTH))
    found = [
        Claim(
            "Siddiqui et al. 2023: blocks with Barlow Twins are near end to end (ImageNet 70.48 and 71.57 %)",
            arm_name(SIMULTANEOUS, TWINS),
            PROBE,
            stays_at=yardstick(TWINS),
            differs=f"{_OURS}; views are masked codes of each block instead of crops of images",
            data=data,
        ),
        Claim(
            "Löwe et al. 2019: blocks with InfoNCE are near end to end",
            arm_name(SIMULTANEOUS, INFONCE),
            PROBE,
            stays_at=yardstick(INFONCE),
            differs=f"{_OURS}; whole images instead of overlapping crops",
            data=data,
        ),
        Claim(
            "Belilovsky et al. 2020: blocks that read delayed codes are near blocks that wait for each other",
            DELAYED,
            PROBE,
            stays_at=labels,
            differs=f"{_OURS}; every block makes an update in each step",
            data=data,
        ),
        Claim(
            "Wang et al. 2021: labels alone lose what an early block could pass on",
            labels,
            EARLY,
            against=yardstick(LABELS),
            higher=True,
            differs="our data, network and budget; the error of a linear decoder instead of mutual information",
            data=data,
        ),
        Claim(
            "Wang et al. 2021: reconstruction of the image beside labels cures this loss",
            image,
            EARLY,
            against=labels,
            differs="our data, network and budget; the error of a linear decoder instead of mutual information",
            data=data,
        ),
        Claim(
            "Wang et al. 2021: with it, blocks classify better than by labels alone",
            image,
            PROBE,
            against=labels,
            higher=True,
            differs=f"{_OURS} instead of the last head",
            data=data,
        ),
        Claim(
            "Nøkland & Eidnes 2019: labels and similarity are better than labels alone",
            both,
            PROBE,
            against=labels,
            higher=True,
            differs=f"{_OURS} instead of the last head",
            data=data,
        ),
        Claim(
            "Nøkland & Eidnes 2019: labels and similarity are better than training end to end (perceptron on MNIST)",
            both,
            PROBE,
            against=yardstick(LABELS),
            higher=True,
            differs=f"{_OURS} instead of the last head",
            data=data,
        ),
        Claim(
            "Erdogan et al. 2025: stages that lock from the bottom save FLOPs at the same quality",
            LOCKING,
            PROBE,
            stays_at=JOINT,
            differs=f"{_OURS}; images instead of videos, pixels as the target of all phases",
            data=data,
        ),
    ]
    if has_growth:
        found.append(
            Claim(
                "Du et al. 2024: growth by copying has a lower loss than training all from the start, at equal compute",
                COPY,
                MSE,
                against=JOINT,
                differs="our data, network and budget; images instead of language",
                data=data,
            )
        )
    return found


def comparisons(has_growth: bool) -> tuple[Claim, ...]:
    """Return the study's own comparisons, on any data: of ways of training by the same rule, and of copied growth.

    They are of blocks at once with training end to end and with one block after another, and of pairs of stages with stages.
    """

    def compared(text: str, ours: str, against: str, metric: str = PROBE) -> Claim:
        return Claim(text, ours, metric, against=against, higher=metric == PROBE, data="")

    at_once = {rule: arm_name(SIMULTANEOUS, rule) for rule in RULES}
    found = [compared(f"blocks at once or end to end, {rule}", at_once[rule], yardstick(rule)) for rule in RULES]
    found += [
        compared(f"blocks at once or one by one, {rule}", at_once[rule], arm_name(GREEDY, rule)) for rule in RULES
    ]
    found += [compared(f"pairs of stages or stages, {rule}", arm_name(PAIRS, rule), at_once[rule]) for rule in PAIRED]
    if has_growth:
        found.append(compared("copies or new weights in growth", COPY, PROGRESSIVE, MSE))
    return tuple(found)
