"""What a paper reports, to be held beside the rows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Claim:
    """A number that a paper reports for an arm, or that one arm is better than another, or both.

    text: the claim, with its table or figure. metric: the column of the rows. paper: the number as printed there, in the
    metric's shown unit, "" where only an effect is claimed. against: the arm, "pca" or "mean image" than which `arm` is
    claimed to have a lower (or, with `higher`, a higher) value. differs: what differs here.
    """

    text: str
    arm: str
    metric: str
    paper: str = ""
    against: str | None = None
    higher: bool = False
    differs: str = ""
