"""The classification part of a spec: how classifiers are fine-tuned from a pretrained encoder, and selected."""

from __future__ import annotations

from dataclasses import dataclass

from stacked.spec.growth import LONGEST, Phase
from stacked.spec.optimisation import Optimisation
from stacked.util.checks import choice, finite, need, positive, whole
from stacked.util.serialization import Options, omit_if_default, take_python_values

#: kinds of heads
HEADS = ("linear", "mlp")
#: the label budgets of a classification that names none
LABELS = (100, 1000, None)
#: the most hidden units of a head
MOST_UNITS = 2**20


def fitting_budgets(budgets: tuple[int | None, ...], labelled: int, classes: int) -> tuple[int | None, ...]:
    """Return the label budgets that fit data with this number of labelled training examples.

    classes: number of classes (0: numbers to predict).
    """
    return tuple(budget for budget in budgets if budget is None or classes <= budget <= labelled)


@dataclass(frozen=True)
class Classification:
    """The recipe of fine-tuned classifiers: label budgets (None: all labels), training, and selection on the validation split.

    On data with numbers to predict it is that of regressors, for which R² takes the place of accuracy.

    Each learning rate in `lrs` trains a classifier on batches of at most `batch_size`, for `updates` updates or `epochs` epochs,
    whichever is more. Accuracy on labelled validation images is measured `checks` times, and the best result is kept.

    labels: the label budgets. Of the default, a run leaves out those that the data do not have, and says so; a budget that is
    named otherwise is refused if there are too few labels.
    images: the most validation images used for this. selection: "budget": a budget of n labels uses at most n validation
    images too; "images": every budget uses as many as there are (the protocol of specs that were recorded without this field).
    optimiser, lbfgs_iterations, schedule, schedule_options, warmup, weight_decay, momentum, clip: as in `Optimisation`.
    corruption, corruption_level: of what is read: the images, or with a frozen encoder the code. A level is a number, or one for
        each part of the corruption.
    patience: stop a learning rate when its accuracy has not improved for this many checks (None: never).
    encoder: "learning", or "frozen": only the head is trained.
    rate_decay: factor by which the learning rate decreases at each stage downwards (Howard & Ruder 2018, section 3.2).
    head: "linear", or "mlp": a layer of `head_width` rectified units and a linear one.
    dropout: fraction of the values of the code that are set to 0 before the head while training; the others are scaled up.
    """

    labels: tuple[int | None, ...] = LABELS
    lrs: tuple[float, ...] = (1e-3, 3e-3)
    updates: int = 150
    epochs: float = 1.0
    batch_size: int = 128
    checks: int = 5
    images: int = 1000
    selection: str = omit_if_default("budget", if_absent=lambda config: "images")
    optimiser: str = omit_if_default("adam")
    schedule: str = omit_if_default("constant")
    warmup: int = omit_if_default(0)
    weight_decay: float = omit_if_default(0.0)
    momentum: float = omit_if_default(0.9)
    clip: float | None = omit_if_default(None)
    corruption: str = omit_if_default("masking")
    corruption_level: float | tuple[float, ...] = omit_if_default(0.0)
    patience: int | None = omit_if_default(None)
    encoder: str = omit_if_default("learning")
    rate_decay: float = omit_if_default(1.0)
    head: str = omit_if_default("linear")
    head_width: int = omit_if_default(256)
    dropout: float = omit_if_default(0.0)
    schedule_options: Options = omit_if_default(())
    lbfgs_iterations: int = omit_if_default(20)

    def __post_init__(self) -> None:
        take_python_values(self)
        for budget in self.labels:
            if budget is not None:
                whole(budget, "label budget")
        need(len(self.lrs) > 0, "lrs is empty: give at least one learning rate")
        for lr in self.lrs:
            positive(lr, "learning rate")
        positive(self.epochs, "epochs")
        need(self.epochs <= LONGEST, f"epochs {self.epochs!r} is not allowed: give at most {LONGEST:,}")
        for name in ("updates", "batch_size", "checks", "images"):
            whole(getattr(self, name), name, most=LONGEST)
        need(
            self.checks <= self.updates,
            f"{self.checks} checks do not fit {self.updates} updates: give fewer checks",
        )
        choice(self.selection, ("budget", "images"), "selection")
        if self.patience is not None:
            whole(self.patience, "patience of the classifier")
        choice(self.encoder, ("learning", "frozen"), "encoder")
        choice(self.head, HEADS, "head")
        whole(self.head_width, "head_width", most=MOST_UNITS)
        need(
            finite(self.dropout) and 0 <= self.dropout < 1,
            f"dropout {self.dropout!r} is not allowed: give a fraction from 0 to below 1",
        )
        self.optimisation(self.lrs[0])  # which checks the other values
        need(
            not (self.optimiser == "lbfgs" and self.rate_decay != 1),
            f"rate_decay {self.rate_decay:g} does not fit optimiser 'lbfgs', which has one step length for all weights: leave it "
            "out",
        )
        need(
            not (self.encoder == "frozen" and self.rate_decay != 1),
            f"rate_decay {self.rate_decay:g} does not fit a frozen encoder, whose stages have no learning rate: leave it out",
        )

    def optimisation(self, lr: float) -> Optimisation:
        """The settings of the training loop at a learning rate."""
        return Optimisation(
            optimiser=self.optimiser,
            lr=lr,
            schedule=self.schedule,
            schedule_options=self.schedule_options,
            warmup=self.warmup,
            weight_decay=self.weight_decay,
            momentum=self.momentum,
            clip=self.clip,
            batch_size=self.batch_size,
            corruption=self.corruption,
            corruption_level=(self.corruption_level,),
            rate_decay=self.rate_decay,
            lbfgs_iterations=self.lbfgs_iterations,
        )

    def phase(self, depth: int, updates: int) -> Phase:
        """The phase in which a classifier is fine-tuned: all stages, or none of them, learn the labels with a head."""
        if self.encoder == "frozen":
            return Phase("classifier", (depth + 1, depth), depth, updates, target="labels")
        return Phase("classifier", (1, depth), 0, updates, target="labels", layerwise_lr_decay=self.rate_decay != 1)

    def budgets(self, labelled: int, classes: int) -> tuple[int | None, ...]:
        """Return the label budgets of a run; arguments as of `fitting_budgets`."""
        return self.labels if self.labels != LABELS else fitting_budgets(LABELS, labelled, classes)

    def checked(self, budget: int | None) -> int:
        """The most validation images used to select for this label budget."""
        return self.images if budget is None or self.selection == "images" else min(budget, self.images)
