"""What a paper reports, to be held beside the rows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Claim:
    """A number that a paper reports for an arm, or that one arm is better than another, or both; or that one is as another.

    text: the claim, with its table or figure. metric: the column of the rows. paper: the number as printed there, in the
    metric's shown unit, "" where only an effect is claimed. against: the arm, "pca" or "mean image" than which `arm` is
    claimed to have a lower (or, with `higher`, a higher) value. stays_at: instead of both, what `arm` is claimed to come no
    further than; a part `margin` of that value counts as nothing. differs: what differs here. data: that of the paper;
    runs on other data, or on a part of it, test nothing.
    """

    text: str
    arm: str
    metric: str
    paper: str = ""
    against: str | None = None
    higher: bool = False
    differs: str = ""
    stays_at: str | None = None
    margin: float = 0.02
    data: str = "mnist"
