"""Hinton & Salakhutdinov 2006, "Reducing the dimensionality of data with neural networks": the curves.

Claim: a deep autoencoder 784-400-200-100-50-25-6 of logistic units with a linear code, pretrained layer by layer and then
fine-tuned, reconstructs images of curves from six numbers, as many as determine such an image, better than PCA and logistic PCA
do from 18; without pretraining it "always reconstructs the average of the training data".

Results of the paper (figure 2), as the squared error summed over the 784 pixels in [0, 1] of an image, mean over the 10,000 test
images: deep autoencoder 1.44, logistic PCA 7.64 with 6 values and 2.45 with 18, PCA 5.90 with 18.

Protocol: 20,000 training and 10,000 test images. Each stage is pretrained as an autoencoder of the codes of the stage below, then
all stages are fine-tuned on the pixels, by cross-entropy throughout. At the default scale, all arms except logistic PCA get the
FLOPs of 8 epochs for each stage and 32 epochs of fine-tuning. All arms are tuned with the same number of trials on validation
images.

Deviations: our own draw of the curves from a short description (see `stacked.data.sources.generated.curves`), so that no number
can be compared, and the verdict on an effect is "direction only" at best; stacked autoencoders instead of restricted Boltzmann
machines trained by contrastive divergence; AdamW and a cosine schedule instead of conjugate gradients; logistic PCA with an
encoder instead of optimised codes; 2,000 more images, for validation.

Command: python -m studies.papers.hinton2006_curves --tune 6 --out results/hinton2006_curves
         python -m studies.papers.hinton2006_curves --out results/hinton2006_curves
Expected and cost: results/hinton2006_curves/README.md, generated from the rows, once it has been run. Estimated: --scale quick
takes minutes, default 25 minutes of tuning and 35 of runs on two cores, paper a day.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from studies.design.arms import Arm
from studies.design.claims import Claim
from studies.design.drawing import Drawing
from studies.design.search import Among, LogRange, Times
from studies.figures.pictures import Line, depths_of, draw_lines
from studies.figures.scales import reference_label
from studies.framework.main import main
from studies.framework.training_study import TrainingStudy
from studies.papers.hinton2006 import JOINT, JOINT_RELU, PRETRAINED, RATE, SGD, SGD_2006, SGD_PRETRAINED, SSE, stages
from studies.record.reference import pca
from studies.statistics.measures import measure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from studies.figures.figures import Record

WIDTHS = (400, 200, 100, 50, 25, 6)
LOGISTIC_6, LOGISTIC_18 = "logistic PCA, 6 components", "logistic PCA, 18 components"
PCA_18 = "PCA, 18 components"
#: range of the learning rate of gradient descent without momentum (the loss is a mean over 784 pixels)
SGD_RATE = LogRange(1.0, 100.0)

PROTOCOL = """\
- **Arms**: with the same seed, all arms have the same order of training images and, if their layers have the same shape, the
  same initial weights. `pretrained`: each stage is trained to reconstruct the code of the frozen stages below it, then all
  stages are fine-tuned on the pixels; logistic units. `joint`: the same network trained end to end from Glorot's initialisation
  times a gain, without pretraining. `joint ReLU`: the same widths with ReLU units and He's initialisation, without pretraining.
  `sgd-2006`: logistic units, initial weights uniform within ±1/sqrt(fan-in), gradient descent without momentum, no pretraining.
  `sgd-2006 pretrained`: the same with pretraining. `logistic PCA`: one stage of 6 or 18 linear units with a logistic decoder.
- **Equal budgets**: every arm gets the training FLOPs of {stage_epochs} for each stage and {finetune_epochs} of fine-tuning,
  except logistic PCA, which is trained for {finetune_epochs} (its epochs need so few FLOPs that equal FLOPs would be many). The
  table lists updates and seconds.
- **Optimisation**: binary cross-entropy at every depth; {schedule} schedule in every phase; {optimiser}, except for the
  `sgd-2006` arms. The other settings are tuned, each arm with the same number of trials (see Tuning).
- **Splits**: {train} training images, {valid} for validation, drawn as the test images are. The test set is read once, after
  training.
- **Deviations** from the paper: our own draw of the curves; stacked autoencoders, not restricted Boltzmann machines; {optimiser},
  not conjugate gradients; logistic PCA with an encoder instead of optimised codes.
"""

OURS = "our own draw of the data"
RBM = f"{OURS}; autoencoders, not RBMs; AdamW, not CG"


def claim(text: str, arm: str, paper: str = "", differs: str = OURS, **what: Any) -> Claim:
    """Return a claim on the squared error of an arm on these data."""
    return Claim(text, arm, SSE, paper, differs=differs, data="curves", own_draw=True, **what)


CLAIMS = (
    claim("deep autoencoder with a code of 6, figure 2", PRETRAINED, "1.44", RBM),
    claim("logistic PCA with 6 components, figure 2", LOGISTIC_6, "7.64", f"{OURS}; codes by an encoder"),
    claim("logistic PCA with 18 components, figure 2", LOGISTIC_18, "2.45", f"{OURS}; codes by an encoder"),
    claim("PCA with 18 components, figure 2", PCA_18, "5.90"),
    claim("the deep autoencoder is better than PCA with 18", PRETRAINED, differs=RBM, against=PCA_18),
    claim("the deep autoencoder is better than logistic PCA with 6", PRETRAINED, differs=RBM, against=LOGISTIC_6),
    claim("the deep autoencoder is better than logistic PCA with 18", PRETRAINED, differs=RBM, against=LOGISTIC_18),
    claim(
        "without pretraining it stays at the average image, page 505",
        SGD,
        differs=f"{OURS}; plain gradient descent; within 2 % counts as equal",
        stays_at="mean image",
    ),
    claim(
        "with pretraining it does not, page 505",
        SGD_PRETRAINED,
        differs=f"{OURS}; autoencoders, not RBMs",
        against=SGD,
    ),
)
COMPARISONS = (
    Claim("pretrained against PCA with as many components", PRETRAINED, SSE, against="pca", data="curves"),
    Claim("pretrained against joint training of the same network", PRETRAINED, SSE, against=JOINT, data="curves"),
    Claim("pretrained against joint training with rectifiers", PRETRAINED, SSE, against=JOINT_RELU, data="curves"),
    Claim("joint training with rectifiers against logistic units", JOINT_RELU, SSE, against=JOINT, data="curves"),
)
#: what the figure shows, from top to bottom as in the paper, and PCA with as many values as the code has
SHOWN = (PRETRAINED, LOGISTIC_6, LOGISTIC_18, PCA_18, "pca")


def comparison(study: Record) -> Figure | None:
    """Return figure 2 A of the paper: test images and their reconstructions by each method; None without data."""
    errors = {PCA_18: f"{PCA_18}/{SSE}", "pca": "pca_sse"}
    lines: list[Line] = []
    for name in SHOWN:
        if name not in study.samples:
            continue
        arrays, label = study.samples[name], reference_label("pca_mse", study.reference) if name == "pca" else name
        known = study.reference.get(errors[name], np.nan) if name in errors else float(study.values(name, SSE).mean())
        lines.append((label, arrays[f"depth{max(depths_of(arrays))}"], known))
    if not lines:
        return None
    originals = next(iter(study.samples.values()))["originals"]
    groups = {"test images": [("", originals, np.nan)], "reconstructions": lines}
    return draw_lines(groups, study.colours, "sq. error", measure(SSE).number)


STUDY = TrainingStudy(
    name="hinton2006_curves",
    module="papers.hinton2006_curves",
    paper="hinton2006",
    title="Hinton & Salakhutdinov 2006: curves that six numbers determine",
    question="Does a deep autoencoder need layer-wise pretraining to find six numbers that determine an image of a curve?",
    protocol=PROTOCOL,
    arms=(
        Arm(PRETRAINED, "greedy+finetune", search={"optimisation.end_lr": RATE}),
        Arm(JOINT, search={"stack.gain": LogRange(1.0, 8.0)}),
        Arm(JOINT_RELU, "joint", {"stack.init": "he", "stack.stages": stages(*WIDTHS, activation="relu")}),
        Arm(SGD, "joint", SGD_2006, search={"optimisation.lr": SGD_RATE}),
        Arm(
            SGD_PRETRAINED,
            "greedy+finetune",
            SGD_2006,
            search={"optimisation.lr": SGD_RATE, "optimisation.end_lr": SGD_RATE},
        ),
        Arm(LOGISTIC_6, "joint", {"stack.stages": stages(6)}, own_budget=True),
        Arm(LOGISTIC_18, "joint", {"stack.stages": stages(18)}, own_budget=True),
    ),
    reference=JOINT,
    budget_arm=PRETRAINED,
    search={
        "optimisation.lr": RATE,
        "optimisation.batch_size": Among((32, 64, 128)),
        "optimisation.weight_decay": LogRange(1e-4, 1e-1),
    },
    search_split={"budget.end_to_end": Times(0.25, 4.0)},
    defaults={
        "data": "curves",
        "stack": {"init": "xavier", "stages": stages(*WIDTHS)},
        "loss": ["bce"],
        "optimiser": "adamw",
        "lr": 2e-3,
        "optimisation": {"weight_decay": 0.01, "end_lr": 2e-3},
        "batch_size": 32,
        "epochs": [8.0],
        "finetune": 32.0,
        "seeds": 5,
        "labels": [],
    },
    scales={
        "default": {},
        "quick": {"limit": 2000, "epochs": [5.0], "finetune": 20.0, "seeds": 2},
        "paper": {"epochs": [50.0], "finetune": 200.0},
    },
    claims=CLAIMS,
    comparisons=COMPARISONS,
    references={PCA_18: pca(18)},
    figures=("headline", "curves", "filters"),
    drawings={
        "comparison": Drawing(
            "The paper's figure 2 A: test images and their reconstructions by each method, for one seed, and by PCA with as many "
            "values as the code has. At the right: the squared error summed over the pixels of an image (lower is better), mean "
            "over test images and seeds.",
            comparison,
        ),
    },
)

if __name__ == "__main__":
    sys.exit(main(STUDY))
