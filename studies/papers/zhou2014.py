"""Zhou, Arpit, Nwogu & Govindaraju 2014, "Is joint training better for deep auto-encoders?", arXiv 1405.1380.

Claim: a stack of autoencoders that is trained jointly, on one reconstruction of the data with the objective of each layer as a
local regulariser, is a better model of the data than one trained layer by layer, and its deepest code is a better feature;
regularisation is crucial for that; as initial weights of a classifier, it is better for deeper networks.

Results of the paper: only its abstract was read, which has no numbers. So the claims below are orders of arms.

Protocol: mnist-rot, 10,000 training, 2,000 validation and 50,000 test images; shallow and deep stacks, two and four layers of 500
logistic units with tied weights and cross-entropy. The regulariser is that of denoising autoencoders: masking of what a layer
reads. Arms of the same depth have the same training FLOPs before fine-tuning, those of layer-wise training. The learning rate,
the gain of the initial weights, the share of masked values and the weight of the local losses are chosen by a linear probe on
validation images, each arm with the same number of trials.

Deviations: data, widths, optimiser (Adam) and budget are ours; the model of the data is judged by the reconstruction error of
test images, not by a likelihood; local losses and masking are the only regularisers that are tested.

Command: python -m studies.papers.zhou2014 --tune 6 --out results/zhou2014
         python -m studies.papers.zhou2014 --out results/zhou2014
Expected and cost: results/zhou2014/README.md, generated from the rows, once it has been run. Estimated: --scale quick takes
minutes, default 25 minutes of tuning and 35 of runs on two cores, paper half a day of runs.
"""

from __future__ import annotations

import sys
from typing import Any

from studies.design.arms import Arm
from studies.design.claims import Claim
from studies.design.search import Among, LogRange, Search
from studies.framework.main import main
from studies.framework.training_study import TrainingStudy
from studies.papers.shared.period import JUDGED_BY, layers

DATA = "mnist-rot"
UNITS = 500
SHALLOW, DEEP = DEPTHS = (2, 4)
LAYER_WISE, JOINT, UNREGULARISED, RANDOM = "layer-wise", "joint", "joint without local losses", "random"
#: the metrics of the claims: the model of the data, its deepest code as a feature, and the classifier
MSE, FEATURE, ERROR = "final/recon_mse", "final/svm_error", "final/classifier_error_all"


def arm(how: str, depth: int, denoising: bool = False) -> str:
    """Return the name of an arm: "2 layers, joint, denoising"."""
    return f"{depth} layers, {how}" + (", denoising" if denoising else "")


DENOISING: dict[str, Any] = {"optimisation.corruption": "masking", "optimisation.corruption_level": [0.25]}
LEVELS: Search = {"optimisation.corruption_level": Among((0.1, 0.25, 0.4))}
#: the weight of the sum of local losses, which are cross-entropies as the loss of the pixels is
WEIGHTS: Search = {"optimisation.local_weight": LogRange(0.01, 1.0)}


def arms(depth: int) -> tuple[Arm, ...]:
    """Return the arms of a depth; all that learn have the training FLOPs of layer-wise training."""
    stack: dict[str, Any] = {"stack.stages": layers(*[UNITS] * depth)}
    local, same = stack | {"optimisation.local_weight": 0.1}, arm(LAYER_WISE, depth)
    return (
        Arm(same, "greedy", stack, own_budget=True),
        Arm(arm(LAYER_WISE, depth, True), "greedy", stack | DENOISING, cost_of=same, search=LEVELS),
        Arm(arm(JOINT, depth), "joint-local", local, cost_of=same, search=WEIGHTS),
        Arm(arm(JOINT, depth, True), "joint-local", local | DENOISING, cost_of=same, search={**LEVELS, **WEIGHTS}),
        Arm(arm(UNREGULARISED, depth), "joint", stack, cost_of=same),
        Arm(arm(RANDOM, depth), "random", stack, tuning_measure=JUDGED_BY),
    )


OURS = "our data, widths, optimiser and budget; regularised by local losses and masking"
BY_ERROR = f"{OURS}; reconstruction error, not likelihood; settings chosen by a probe"


def compared(text: str, ours: str, metric: str, against: str, differs: str = "") -> Claim:
    """Return the claim that an arm has a lower value than another."""
    return Claim(text, ours, metric, against=against, differs=differs, data=DATA, images=50_000)


CLAIMS = (
    *(
        compared(
            f"abstract, joint training gives a better {what}, {depth} layers",
            arm(JOINT, depth, True),
            metric,
            arm(LAYER_WISE, depth, True),
            differs,
        )
        for what, metric, differs in (
            ("model of the data", MSE, BY_ERROR),
            ("feature of the deepest layer", FEATURE, OURS),
        )
        for depth in DEPTHS
    ),
    *(
        compared(
            f"abstract, regularisation is crucial, {depth} layers",
            arm(JOINT, depth, True),
            FEATURE,
            arm(UNREGULARISED, depth),
            OURS,
        )
        for depth in DEPTHS
    ),
    compared(
        f"abstract, joint training gives better initial weights of deeper networks, {DEEP} layers",
        arm(JOINT, DEEP, True),
        ERROR,
        arm(LAYER_WISE, DEEP, True),
        f"{OURS}; settings chosen by a probe",
    ),
)
COMPARISONS = (
    *(
        compared(
            f"joint against layer-wise training without denoising, {depth} layers",
            arm(JOINT, depth),
            metric,
            arm(LAYER_WISE, depth),
        )
        for metric in (MSE, FEATURE, ERROR)
        for depth in DEPTHS
    ),
    compared(
        f"joint against layer-wise training as initial weights, {SHALLOW} layers",
        arm(JOINT, SHALLOW, True),
        ERROR,
        arm(LAYER_WISE, SHALLOW, True),
    ),
    *(
        compared(f"denoising in {how} training, {depth} layers", arm(how, depth, True), FEATURE, arm(how, depth))
        for how in (LAYER_WISE, JOINT)
        for depth in DEPTHS
    ),
    *(
        compared(
            f"joint training against random initial weights, {depth} layers",
            arm(JOINT, depth, True),
            ERROR,
            arm(RANDOM, depth),
        )
        for depth in DEPTHS
    ),
)
PROTOCOL = """\
- **Arms**: 2 and 4 layers of 500 logistic units with tied weights; with the same seed, all arms have the same order of training
  images and, up to the gain, the same initial weights. `layer-wise`: each layer learns to reconstruct the code of the frozen
  layers below it. `joint`: all layers learn together to reconstruct the pixels, and the reconstruction error of what each layer
  reads is added as a local regulariser. `joint without local losses`: the reconstruction of the pixels alone. `denoising`: what
  a layer reads is corrupted by masking, and its target is clean; in joint training the pixels are reconstructed from corrupted
  pixels, and the local losses have the codes of these as targets. `random`: not pretrained.
- **Equal FLOPs**: `layer-wise` has {stage_epochs} for each layer; every other pretrained arm of the same depth has as many
  training FLOPs before fine-tuning.
- **Optimisation**: {optimiser} with a {schedule} schedule in batches of {batch}; cross-entropy at every depth; Glorot's initial
  weights times a gain.
- **Tuning**: `--tune` chooses the learning rate, the gain, the level of masking and the weight of the local losses by a linear
  probe of the deepest code on validation images, and the gain of `random` by the accuracy of the classifier. Every arm has the
  same number of trials.
- **Layers without fine-tuning**: a linear support vector machine on standardised codes of {probe_labels} training images, with a
  fixed C.
- **Fine-tuning**: all layers with a linear layer on top learn the classes of all {train} training images by
  {tuned_optimiser}. Its learning rate ({lrs}) and the number of updates are selected on {checked}.
- **Deviations** from the paper, of which only the abstract was read: data, widths, optimiser and budget are ours; the model of
  the data is judged by its reconstruction error on test images, not by a likelihood; local losses and masking are the only
  regularisers.
"""


def recipe(epochs: int, patience: int) -> dict[str, Any]:
    """Return the recipe of fine-tuning: `epochs`, with a check after each, and early stopping after `patience` checks."""
    return {
        "lrs": [3e-4, 1e-3],
        "batch_size": 64,
        "images": 2000,
        "epochs": float(epochs),
        "checks": epochs,
        "updates": 20 * epochs,
        "patience": patience,
    }


STUDY = TrainingStudy(
    name="zhou2014",
    module="papers.zhou2014",
    title="Zhou et al. 2014: is joint training better for deep autoencoders?",
    question="At equal FLOPs, is a stack that is trained jointly better than one that is trained layer by layer?",
    protocol=PROTOCOL,
    arms=tuple(one for depth in DEPTHS for one in arms(depth)),
    reference=arm(LAYER_WISE, DEEP, True),
    budget_arm=arm(LAYER_WISE, DEEP),
    search={"optimisation.lr": LogRange(2e-4, 5e-3), "stack.gain": LogRange(1.0, 8.0)},
    search_split={},
    tuning_measure="probe_acc",
    defaults={
        "data": DATA,
        "stack": {"init": "xavier", "stages": layers(*[UNITS] * DEEP)},
        "loss": ["bce"],
        "lr": 1e-3,
        "batch_size": 32,
        "epochs": [20.0],
        "seeds": 5,
        "labels": ["all"],
        "evaluation": {"probes": ["logistic", "svm"], "probe_labels": 5000},
        "classification": recipe(15, patience=4),
    },
    scales={
        "default": {},
        "quick": {
            "limit": 2000,
            "epochs": [2.0],
            "seeds": 2,
            "evaluation": {"probe_labels": 1000},
            "classification": recipe(4, patience=3),
        },
        "paper": {
            "epochs": [100.0],
            "seeds": 10,
            "evaluation": {"probe_labels": 10_000},
            "classification": recipe(100, patience=20),
        },
    },
    claims=CLAIMS,
    comparisons=COMPARISONS,
    figures=("headline", "probe_by_depth"),
)

if __name__ == "__main__":
    sys.exit(main(STUDY))
