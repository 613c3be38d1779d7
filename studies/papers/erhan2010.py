"""Erhan, Bengio, Courville, Manzagol, Vincent & Bengio 2010, JMLR 11:625: why does unsupervised pre-training help deep learning?

With what the same authors reported first: Erhan, Manzagol, Bengio, Bengio & Vincent 2009, "The difficulty of training deep
architectures and the effect of unsupervised pre-training", AISTATS.

Claim: pretraining acts as a regulariser. It lowers the test error at every depth, keeps its variance over seeds small where that
of networks without it grows with depth, and hurts narrow networks while it helps wide ones. The scale of the weights that it
leaves does not explain this: weights drawn from their marginal distributions are worse. Pretraining the first of two layers
gives nearly the whole gain, pretraining the second alone gives none.

Results of the paper: test error on MNIST in %, mean ± standard deviation over 400 seeds, with 1 and 2 layers: uniform initial
weights 1.81 ± 0.07 and 1.77 ± 0.10, weights from the marginals of pretrained ones 1.94 ± 0.09 and 1.69 ± 0.11, pretrained
1.41 ± 0.07 and 1.37 ± 0.09. Medians read off a figure: 1.83 and 2.16 with 3 and 4 layers and no convergence with 5; pretrained
1.33, 1.31 and 1.37 with 3, 4 and 5. Read off a figure of widths, without and with pretraining: 1 layer of 25, 100 and 800 units
3.6 and 5.7, 2.05 and 2.75, 1.82 and 1.43; 3 layers of 25 and 800 units 4.25 and 5.25, 1.85 and 1.33.

Protocol: MNIST with 50,000 training, 10,000 validation and 10,000 test images at --scale paper, else mnist-basic with 10,000,
2,000 and 50,000; logistic units, initial weights uniform within ±1/sqrt(fan-in); stacked denoising autoencoders with tied
weights, masking and cross-entropy; gradient descent. The rates of pretraining and of fine-tuning and the level of the noise are
chosen by the accuracy of the fine-tuned classifier on validation images, each arm with the same number of trials.

Deviations: 400 units a layer, where the authors chose 400, 800 or 1,200; 10 seeds; at the default scale a fifth of the training
images, fewer epochs, and not the widths of 50 and 200 units and 3 layers of 800; batches of 20; weights from marginals are values
of the pretrained weights, not draws from a histogram of them; widths with 1 and 3 layers alone; no deep belief networks, Shapeset
and InfiniteMNIST. Seeds are trained one by one, because runs stop early, each at another update; --trajectories, which does not
stop early, trains them together.

Command: python -m studies.papers.erhan2010 --tune 4 --out results/erhan2010/mnist-basic
         python -m studies.papers.erhan2010 --out results/erhan2010/mnist-basic
         python -m studies.papers.erhan2010 --trajectories --out results/erhan2010/mnist-basic
Expected and cost: results/erhan2010/*/README.md, generated from the rows, once it has been run. Estimated: --scale quick takes
minutes, default 20 minutes of tuning and an hour of runs on two cores, paper (400 seeds) thousands of hours.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from studies.design.arms import Arm
from studies.design.claims import Claim
from studies.design.drawing import Drawing
from studies.design.search import Among
from studies.figures.boxes import CAPTION as BOXES
from studies.figures.boxes import Group, Panel, draw_boxes
from studies.figures.trajectories import CAPTION as TRAJECTORIES
from studies.figures.trajectories import draw_trajectories
from studies.framework.main import main
from studies.papers.shared.period import DEFAULTS, JUDGED_BY, QUICK, RATES, classification, layers
from studies.papers.shared.trajectory_study import TrajectoryStudy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from studies.figures.figures import Record

ERROR, SPREAD = "final/classifier_error_all", "final/classifier_deviation_all"
RANDOM, MARGINALS, PRETRAINED = "random", "marginals", "pretrained"
FIRST, SECOND = "first pretrained", "second pretrained"
#: kind of initialisation -> its policy, and its colour in figures (Okabe and Ito 2008)
KINDS = {
    RANDOM: ("random", "#D55E00"),
    MARGINALS: ("resampled", "#E69F00"),
    SECOND: ("greedy-last", "#CC79A7"),
    FIRST: ("greedy-first", "#56B4E9"),
    PRETRAINED: ("greedy", "#0072B2"),
}
UNITS = 400
DEPTHS = (1, 2, 3, 4, 5)
WIDTHS = (25, 50, 100, 200, UNITS, 800)
#: the numbers of layers with which the width is varied
DEPTHS_OF_WIDTHS = (1, 3)
#: (layers, units) that are left to --scale paper
LEFT_OUT = {(depth, units) for depth in DEPTHS_OF_WIDTHS for units in (50, 200)} | {(3, 800)}


def name(kind: str, depth: int, units: int = UNITS) -> str:
    """Return the name of an arm: "random, 2 layers", or "random, 1 layer of 25" with other than 400 units."""
    return f"{kind}, {depth} layer{'s' * (depth > 1)}" + (f" of {units}" if units != UNITS else "")


def arm(kind: str, depth: int, units: int = UNITS) -> Arm:
    """Return an arm; pretrained layers are denoising autoencoders, whose level of noise is tuned too."""
    changes: dict[str, Any] = {"stack.stages": layers(*[units] * depth)}
    if kind == RANDOM:
        return Arm(name(kind, depth, units), "random", changes, own_budget=True)
    changes |= {"optimisation.corruption": "masking", "optimisation.corruption_level": [0.25]}
    levels = {"optimisation.corruption_level": Among((0.1, 0.25, 0.4))}
    return Arm(name(kind, depth, units), KINDS[kind][0], changes, own_budget=True, search=levels)


#: (kind, layers, units) -> error and its ±: the standard deviation over 400 seeds, or for medians that of reading the figure
NUMBERS = {
    (RANDOM, 1, UNITS): ("1.81", "0.07"),
    (RANDOM, 2, UNITS): ("1.77", "0.10"),
    (MARGINALS, 1, UNITS): ("1.94", "0.09"),
    (MARGINALS, 2, UNITS): ("1.69", "0.11"),
    (PRETRAINED, 1, UNITS): ("1.41", "0.07"),
    (PRETRAINED, 2, UNITS): ("1.37", "0.09"),
    (RANDOM, 3, UNITS): ("1.83", "0.05"),
    (RANDOM, 4, UNITS): ("2.16", "0.05"),
    (PRETRAINED, 3, UNITS): ("1.33", "0.05"),
    (PRETRAINED, 4, UNITS): ("1.31", "0.05"),
    (PRETRAINED, 5, UNITS): ("1.37", "0.05"),
    (RANDOM, 1, 25): ("3.6", ""),
    (PRETRAINED, 1, 25): ("5.7", ""),
    (RANDOM, 1, 100): ("2.05", ""),
    (PRETRAINED, 1, 100): ("2.75", ""),
    (RANDOM, 1, 800): ("1.82", ""),
    (PRETRAINED, 1, 800): ("1.43", ""),
    (RANDOM, 3, 25): ("4.25", ""),
    (PRETRAINED, 3, 25): ("5.25", ""),
    (RANDOM, 3, 800): ("1.85", ""),
    (PRETRAINED, 3, 800): ("1.33", ""),
}
BASIC = "mnist-basic"
OURS = "batches of 20; 10 seeds; few epochs, see the protocol"
#: dataset -> how our setting differs from that of the paper
DIFFERS = {BASIC: f"10,000 training images (our own draw), not 50,000; {OURS}", "mnist": OURS}
#: what the numbers are by their ±
SOURCES = {"0.05": "; a median, read off a figure", "": "; read off a figure"}


def numbers() -> list[Claim]:
    """Return the claims on numbers, which are errors on MNIST."""
    return [
        Claim(name(*of), name(*of), ERROR, error, plus_minus=within, differs=OURS + SOURCES.get(within, ""))
        for of, (error, within) in NUMBERS.items()
    ]


def effects(data: str) -> list[Claim]:
    """Return the claims on differences between arms, as they are tested on a dataset."""

    def effect(text: str, one: str, other: str, metric: str = ERROR, higher: bool = False) -> Claim:
        return Claim(text, one, metric, against=other, higher=higher, data=data, differs=DIFFERS[data])

    def equal(text: str, one: str, other: str, metric: str, margin: float) -> Claim:
        differs = f"{DIFFERS[data]}; the margin is ours"
        return Claim(text, one, metric, stays_at=other, margin=margin, data=data, differs=differs)

    random, pretrained = ([name(kind, depth) for depth in DEPTHS] for kind in (RANDOM, PRETRAINED))
    both = dict(zip(DEPTHS, zip(pretrained, random, strict=True), strict=True))
    by_width = [
        effect(
            f"pretraining {'hurts' if hurts else 'helps'} {depth} layer{'s' * (depth > 1)} of {units} units",
            name(PRETRAINED, depth, units),
            name(RANDOM, depth, units),
            higher=hurts,
        )
        for kind, depth, units in NUMBERS
        if kind == RANDOM and units != UNITS
        for hurts in [units <= 100]
    ]
    return [
        *(effect(f"pretraining helps with depth {depth}", *arms) for depth, arms in both.items()),
        effect("from random weights, four layers are worse than one", random[3], random[0], higher=True),
        effect("from random weights, five layers do not converge", random[4], random[3], higher=True),
        effect("from random weights, the variance grows with depth", random[3], random[0], SPREAD, higher=True),
        effect("with four layers, pretraining lowers the variance", pretrained[3], random[3], SPREAD),
        equal("after pretraining, the variance stays flat with depth", pretrained[3], pretrained[0], SPREAD, 0.5),
        *(effect(f"marginals are worse, depth {depth}", both[depth][0], name(MARGINALS, depth)) for depth in (1, 2)),
        *by_width,
        effect("pretraining the first of two layers helps", name(FIRST, 2), random[1]),
        effect("the first of two layers matters more than the second", name(FIRST, 2), name(SECOND, 2)),
        equal("pretraining the second of two layers alone gives no gain", name(SECOND, 2), random[1], ERROR, 0.1),
    ]


def comparison(text: str, one: str, other: str) -> Claim:
    """Return a comparison of ours, which is made at the default scale."""
    return Claim(text, one, ERROR, against=other, data=BASIC)


COMPARISONS = (
    comparison("1 layer: marginals against uniform weights", name(MARGINALS, 1), name(RANDOM, 1)),
    comparison("2 layers: marginals against uniform weights", name(MARGINALS, 2), name(RANDOM, 2)),
    comparison("2 layers: both pretrained against the first", name(PRETRAINED, 2), name(FIRST, 2)),
)
#: the arms whose functions during fine-tuning are drawn -> their colours
FUNCTIONS = {name(kind, 2): KINDS[kind][1] for kind in (RANDOM, PRETRAINED)}
PROTOCOL = """\
- **Arms**: networks of equal layers of logistic units, of 400 where no other number is named; with the same seed, all of one
  shape have the same initial weights and order of training images. `random`: fine-tuned from initial weights uniform within
  ±1/sqrt(fan-in). `pretrained`: each layer first learns to reconstruct the code of the frozen layers below it, of which some
  values are set to 0. `marginals`: pretrained, then each weight is replaced by one drawn from all weights of its layer, and so
  are biases. `first pretrained`, `second pretrained`: only that layer is pretrained, the second on codes of a random first layer.
  Networks of 50 and 200 units, and 3 layers of 800, are run with `--scale paper` only.
- **Fine-tuning**: all layers with a linear layer on top learn the classes of all {train} training images. The number of epochs
  is selected on the {valid} validation images; training stops early.
- **Tuning**: `--tune` chooses the rates of pretraining and of fine-tuning, and the level of the noise, by the accuracy of the
  fine-tuned classifier on the validation images. Every arm has the same number of trials; those of `random` are of its
  fine-tuning.
- **Variance over seeds**: compared by a t-test, paired by seed, on the distances of the errors of an arm from their median (Brown
  and Forsythe 1974).
- **Optimisation**: gradient descent without momentum in batches of {batch}, with a learning rate lr0 / (1 + t decay);
  cross-entropy at every depth, and tied weights. Each layer is pretrained for {stage_epochs}, whatever the depth.
- **Functions during fine-tuning** (`--trajectories`): networks that are trained for this figure alone classify 500 test images,
  whose labels are not used, before fine-tuning and after each of its epochs. They do not stop early.
- **Deviations** from the paper: 400 units where the authors chose 400, 800 or 1,200; fewer seeds and epochs, and at the default
  scale a fifth of the training images; batches of {batch}; no deep belief networks.
"""


def boxes(study: Record) -> Figure | None:
    """Return the figure of test errors by depth, by what is pretrained, and by width; None without runs."""

    def group(label: str, kinds: tuple[str, ...], depth: int, units: int = UNITS) -> Group:
        return Group(label, [(kind, name(kind, depth, units)) for kind in kinds])

    shown = (RANDOM, MARGINALS, PRETRAINED)
    panels = [
        Panel("By depth, 400 units", "layers", [group(str(depth), shown, depth) for depth in DEPTHS]),
        Panel("By what is pretrained, 2 layers", "", [group("", tuple(KINDS), 2)]),
        *(
            Panel(
                f"By width, {depth} layer{'s' * (depth > 1)}",
                "units of a layer",
                [group(str(units), (RANDOM, PRETRAINED), depth, units) for units in WIDTHS],
            )
            for depth in DEPTHS_OF_WIDTHS
        ),
    ]
    return draw_boxes(study, ERROR, panels, {kind: colour for kind, (_, colour) in KINDS.items()})


ARMS = (
    *(arm(kind, depth) for depth in DEPTHS for kind in (RANDOM, PRETRAINED)),
    *(arm(kind, depth) for kind, depth in ((MARGINALS, 1), (MARGINALS, 2), (FIRST, 2), (SECOND, 2))),
    *(
        arm(kind, depth, units)
        for depth in DEPTHS_OF_WIDTHS
        for units in WIDTHS
        for kind in (RANDOM, PRETRAINED)
        if units != UNITS  # which are among the depths
    ),
)
FOR_PAPER = {name(kind, *of) for kind in (RANDOM, PRETRAINED) for of in LEFT_OUT}

STUDY = TrajectoryStudy(
    name="erhan2010",
    module="papers.erhan2010",
    title="Erhan et al. 2010: why does unsupervised pretraining help deep learning?",
    question="How do the error of a network and its variance over seeds depend on pretraining, by depth and by width?",
    protocol=PROTOCOL,
    arms=ARMS,
    reference=name(RANDOM, 2),
    budget_arm=name(PRETRAINED, DEPTHS[-1]),
    search=RATES,
    search_split={},
    tuning_measure=JUDGED_BY,
    valid={"mnist": 1 / 6},
    defaults={
        **DEFAULTS,
        "data": BASIC,
        "stack": {"init": "uniform", "stages": layers(*[UNITS] * DEPTHS[-1])},
        "arms": [one.name for one in ARMS if one.name not in FOR_PAPER],
        "epochs": [10.0],
        "seeds": 10,
        "evaluation": {"probes": []},
        "classification": classification(15, (0.1,), patience=4),
    },
    smoke={
        "labels": ["all"],
        "arms": [name(kind, 2) for kind in (RANDOM, MARGINALS, PRETRAINED)],
        "classification": {"epochs": 1.0, "checks": 2, "updates": 20},
    },
    scales={
        "default": {},
        "quick": QUICK,
        "paper": {
            "data": "mnist",
            "arms": [one.name for one in ARMS],
            "epochs": [50.0],
            "seeds": 400,
            "classification": classification(50, (0.1,), patience=10),
        },
    },
    claims=(*effects(BASIC), *numbers(), *effects("mnist")),
    comparisons=COMPARISONS,
    trajectories=tuple(FUNCTIONS),
    drawings={
        "boxes": Drawing(BOXES, boxes),
        "trajectories": Drawing(TRAJECTORIES, partial(draw_trajectories, colours=FUNCTIONS)),
    },
    figures=(),
)

if __name__ == "__main__":
    sys.exit(main(STUDY))
