"""What a paper reports, and what a study compares beyond it, to be held beside the rows."""

from __future__ import annotations

from dataclasses import dataclass

from stacked.util.checks import need


@dataclass(frozen=True)
class Claim:
    """One statement on an arm's metric: its number, or how it compares with another arm, or what it stays at.

    text: the claim, with its table or figure. metric: the column of the rows. Exactly one of these three is given. paper: the
    number as printed there, in the metric's shown unit. against: the arm, "pca" or "mean image" than which `arm` is claimed to
    have a lower (or, with `higher`, a higher) value. stays_at: the arm or reference from whose value `arm` is claimed to stay
    within a part `margin`.

    plus_minus: the paper's own ± of its number, in the same unit. images: of the paper's test set, from which the margin of an
    accuracy without a ± follows. differs: what differs here. data: that of the paper; runs on other data, or on a part of it,
    test nothing.
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
    plus_minus: str = ""
    images: int = 10_000

    def __post_init__(self) -> None:
        given = [bool(self.paper), self.against is not None, self.stays_at is not None]
        need(sum(given) == 1, f"claim {self.text!r} needs one of paper, against and stays_at: give exactly one")
