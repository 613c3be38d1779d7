"""Larochelle, Bengio, Louradour & Lamblin 2009, "Exploring strategies for training deep neural networks", JMLR 10:1.

Claim (the table of depths): from random weights the test error does not fall beyond two layers; after pretraining as stacked
autoencoders it falls up to about three, and is lower at every depth, on mnist-basic and mnist-rot.

Results of the paper: test error in % with 1, 2, 3 and 4 layers of 500 units. On mnist-basic, random 4.14, 4.03, 4.24, 4.47 and
pretrained 3.87, 3.38, 3.37, 3.39 (each ± 0.16 to 0.18); on mnist-rot, random 15.22, 10.63, 11.98, 11.73 and pretrained 11.43,
9.88, 9.22, 9.20 (± 0.25 to 0.31).

Protocol: 10,000 training, 2,000 validation and 50,000 test images; logistic units with tied weights, cross-entropy, gradient
descent with learning rate lr0 / (1 + t decay). Validation images stop fine-tuning early. The rates of pretraining and of
fine-tuning are chosen by the accuracy of the fine-tuned classifier on validation images, each arm with the same number of trials.

Deviations: our own draw of the variations of MNIST, with linear interpolation; batches of 20, not single images; the decay is
fixed.

Command: python -m studies.papers.larochelle2009 --data mnist-rot --tune 5 --out results/larochelle2009/mnist-rot
         python -m studies.papers.larochelle2009 --data mnist-rot --seeds 3 --out results/larochelle2009/mnist-rot
         and the same with mnist-basic
Expected and cost: on mnist-rot, mean ± standard deviation over 3 seeds with 1, 2, 3 and 4 layers, random 16.85 ± 0.22,
15.49 ± 0.29, 20.79 ± 1.10, 69.35 ± 33.48 and pretrained 13.17 ± 0.30, 11.59 ± 0.17, 11.25 ± 0.13, 11.10 ± 0.26; 0.9 hours of
tuning and 0.7 hours of runs with one thread. mnist-basic is as large, and has not been run. Estimated: --scale quick takes
minutes, paper a day.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

from studies.design.arms import Arm
from studies.design.claims import Claim
from studies.design.drawing import Drawing
from studies.framework.main import main
from studies.framework.training_study import TrainingStudy
from studies.papers.shared.error_by_depth import CAPTION, Series, draw_error_by_depth
from studies.papers.shared.period import DEFAULTS, JUDGED_BY, QUICK, RATES, classification, layers

ERROR = "final/classifier_error_all"
DEPTHS = (1, 2, 3, 4)
UNITS = 500
#: dataset -> test errors and their ± of random and of pretrained networks, by depth
TABLE = {
    "mnist-basic": (
        (("4.14", "0.17"), ("4.03", "0.17"), ("4.24", "0.18"), ("4.47", "0.18")),
        (("3.87", "0.17"), ("3.38", "0.16"), ("3.37", "0.16"), ("3.39", "0.16")),
    ),
    "mnist-rot": (
        (("15.22", "0.31"), ("10.63", "0.27"), ("11.98", "0.28"), ("11.73", "0.29")),
        (("11.43", "0.28"), ("9.88", "0.26"), ("9.22", "0.25"), ("9.20", "0.25")),
    ),
}
OURS = "our own draw of the data; batches of 20; few epochs, see the protocol"


def arm(kind: str, depth: int) -> str:
    """Return the name of an arm: "random, 2 layers"."""
    return f"{kind}, {depth} layer{'s' * (depth > 1)}"


def claims(data: str) -> list[Claim]:
    """Return the claims on a dataset: the numbers of the table, and what the text says of them."""
    random, pretrained = TABLE[data]
    shared: dict[str, Any] = {"differs": OURS, "data": data, "images": 50_000}
    numbers = [
        Claim(f"table of depths, {arm(kind, depth)}", arm(kind, depth), ERROR, error, plus_minus=margin, **shared)
        for kind, column in (("random", random), ("pretrained", pretrained))
        for depth, (error, margin) in zip(DEPTHS, column, strict=True)
    ]
    effects = [
        Claim(
            f"pretraining helps with depth {depth}",
            arm("pretrained", depth),
            ERROR,
            against=arm("random", depth),
            **shared,
        )
        for depth in DEPTHS
    ]
    three, one = arm("pretrained", 3), arm("pretrained", 1)
    deeper = Claim("three pretrained layers are better than one", three, ERROR, against=one, **shared)
    return [*numbers, *effects, deeper]


CLAIMS = tuple(claim for data in TABLE for claim in claims(data))
#: random and pretrained networks in the figure; colours of Okabe and Ito 2008
SERIES = tuple(
    Series(kind, colour, marker, {depth: arm(kind, depth) for depth in DEPTHS})
    for kind, colour, marker in (("random", "#D55E00", "o"), ("pretrained", "#0072B2", "s"))
)
PROTOCOL = """\
- **Arms**: 1 to 4 layers of 500 logistic units, `random` or `pretrained`: each layer learns to reconstruct the code of the frozen
  layers below it.
- **Fine-tuning**: all layers with a linear layer on top learn the classes of all {train} training images. Its learning rate
  and the number of epochs are selected on the {valid} validation images; training with each learning rate stops early.
- **Tuning**: `--tune` chooses the rates of pretraining and of fine-tuning by the accuracy of the fine-tuned classifier on the
  validation images. Every arm has the same number of trials, with or without pretraining.
- **Optimisation**: gradient descent without momentum in batches of {batch}, with a learning rate lr0 / (1 + t decay); initial
  weights uniform within ±1/sqrt(fan-in); cross-entropy at every depth, and tied weights.
- **Budgets**: each layer is pretrained for {stage_epochs}, whatever the depth.
- **Deviations** from the paper: our own draw of the variations of MNIST; batches of {batch}, not single images; a fixed decay.
"""

STUDY = TrainingStudy(
    name="larochelle2009",
    module="papers.larochelle2009",
    title="Larochelle et al. 2009: exploring strategies for training deep neural networks",
    question="Does a deeper network have a lower error, from random weights and after pretraining?",
    protocol=PROTOCOL,
    arms=tuple(
        Arm(arm(kind, depth), policy, {"stack.stages": layers(*[UNITS] * depth)}, own_budget=True)
        for kind, policy in (("random", "random"), ("pretrained", "greedy"))
        for depth in DEPTHS
    ),
    reference=arm("random", 1),
    budget_arm=arm("pretrained", DEPTHS[-1]),
    search=RATES,
    search_split={},
    tuning_measure=JUDGED_BY,
    defaults={
        **DEFAULTS,
        "data": "mnist-basic",
        "stack": {"init": "uniform", "stages": layers(*[UNITS] * DEPTHS[-1])},
        "epochs": [20.0],
        "seeds": 5,
        "classification": classification(30, (0.03, 0.1), patience=5),
    },
    scales={
        "default": {},
        "quick": QUICK,
        "paper": {
            "epochs": [100.0],
            "seeds": 10,
            "classification": classification(200, (0.01, 0.03, 0.1), patience=20),
        },
    },
    claims=CLAIMS,
    drawings={
        "error_by_depth": Drawing(CAPTION, partial(draw_error_by_depth, metric=ERROR, series=SERIES, claims=CLAIMS))
    },
    figures=("probe_by_depth",),
)

if __name__ == "__main__":
    sys.exit(main(STUDY))
