"""Claims of a paper, and further comparisons, that a study tests with its rows."""

from __future__ import annotations

from dataclasses import dataclass

from stacked.util.checks import need


@dataclass(frozen=True)
class Claim:
    """A claim on a metric of an arm: its value, or its order or equality relative to another arm.

    text: the claim, with its table or figure. arm: the arm. metric: a column of the rows. Exactly one of `paper`, `against` and
    `stays_at` is given. paper: the value as the paper prints it. against: an arm, "pca", "mean image" or another reference of the
    study; `arm` is claimed lower than `against`, or higher if `higher` is True. against_metric: the column of `against` ("":
    `metric`), so that two results of one arm can be compared, as of two of its layers. stays_at: the arm or reference from whose
    value `arm` differs by less than the fraction `margin`.

    plus_minus: the ± of the paper, in the same unit. images: number of test images of the paper, which determines the margin of
    an accuracy or error rate without ±. The margin is thus stated with the claim, before any run. differs: differences between
    the paper's setting and ours. data: dataset of the paper; runs on other data, or on a part of it, do not test the claim (""
    for a study's own comparisons: any data).
    own_draw: whether these data are our own draw of data that the paper describes in part only, so that no number can be
    compared and the verdict on an effect is "direction only" at best.
    """

    text: str
    arm: str
    metric: str
    paper: str = ""
    against: str | None = None
    against_metric: str = ""
    higher: bool = False
    differs: str = ""
    stays_at: str | None = None
    margin: float = 0.02
    data: str = "mnist"
    plus_minus: str = ""
    images: int = 10_000
    own_draw: bool = False

    def __post_init__(self) -> None:
        given = [bool(self.paper), self.against is not None, self.stays_at is not None]
        need(sum(given) == 1, f"claim {self.text!r} needs one of paper, against and stays_at: give exactly one")
        need(
            not self.against_metric or self.against is not None,
            f"claim {self.text!r} has against_metric {self.against_metric!r} and no arm to compare with: give against, too",
        )

    @property
    def metric_of_other(self) -> str:
        """The column of the arm or reference that the claim compares with."""
        return self.against_metric or self.metric
