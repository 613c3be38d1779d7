"""Bengio, Lamblin, Popovici & Larochelle 2007, "Greedy layer-wise training of deep networks", NIPS 19.

Claim: greedy layer-wise pretraining without labels lowers the test error of a deep network, and more than pretraining that is
greedy with labels, also if the top layer has only 20 units.

Results of the paper, experiments 2 and 3: test error on MNIST in %, and with 20 units in the top layer. Pretraining of
autoencoders 1.41 and 1.65, supervised greedy pretraining 2.04 and 1.89, none 2.40 and 2.20, shallow network 1.93 and 5.00;
deep belief network 1.20 and 1.5, all layers trained at once with their local gradients ("continuous") 1.5.

Protocol: MNIST with 50,000 training, 10,000 validation and 10,000 test images; three hidden layers of logistic units with tied
weights, 500-500-2000 as Larochelle et al. 2009 fix it; cross-entropy; gradient descent with learning rate lr0 / (1 + t decay).
Validation images stop fine-tuning early. The rates of pretraining and of fine-tuning are chosen by the accuracy of the fine-tuned
classifier on validation images, each arm with the same number of trials. All pretrained arms have the same training FLOPs before
fine-tuning; fine-tuning is the same for all arms.

Deviations: no restricted Boltzmann machines; batches of 20, not single images; validation images drawn by class, not the last
10,000; the decay is fixed.

Command: python -m studies.papers.bengio2007 --tune 4 --out results/bengio2007
         python -m studies.papers.bengio2007 --out results/bengio2007
Expected and cost: results/bengio2007/README.md, generated from the rows, once it has been run. Estimated: --scale quick
takes minutes, default 35 minutes of tuning and half an hour of runs on two cores, paper several days.
"""

from __future__ import annotations

import sys

from studies.design.arms import Arm
from studies.design.claims import Claim
from studies.framework.main import main
from studies.framework.training_study import TrainingStudy
from studies.papers.shared.period import (
    DEFAULTS,
    JUDGED_BY,
    MODERN_FINE_TUNING,
    MODERN_RATES,
    QUICK,
    RATES,
    classification,
    layers,
)

ERROR = "final/classifier_error_all"
AUTO, CONTINUOUS, SUPERVISED, NONE = "autoencoders", "continuous", "supervised greedy", "no pretraining"
SHALLOW, MODERN, DBN = "shallow", "modern, no pretraining", "deep belief network"


def small(arm: str) -> str:
    """Return the name of an arm whose top layer has 20 units."""
    return f"{arm}, 20 units"


SMALL = {"stack.stages": layers(500, 500, 20)}
ARMS = (
    Arm(AUTO, "greedy"),
    Arm(CONTINUOUS, "simultaneous"),
    Arm(SUPERVISED, "supervised"),
    Arm(NONE, "random"),
    Arm(SHALLOW, "random", {"stack.stages": layers(500)}),
    Arm(
        MODERN,
        "random",
        {"stack.stages": layers(500, 500, 2000, activation="relu"), "stack.init": "he", **MODERN_FINE_TUNING},
        search=MODERN_RATES,
    ),
    Arm(small(AUTO), "greedy", SMALL),
    Arm(small(SUPERVISED), "supervised", SMALL),
    Arm(small(NONE), "random", SMALL),
    Arm(small(SHALLOW), "random", {"stack.stages": layers(20)}),
)
SETTING = "batches of 20; few epochs, see the protocol; other validation images"
CLAIMS = (
    Claim("experiment 2, deep belief network", DBN, ERROR, "1.20", differs="no RBMs here"),
    Claim("experiment 2, pretrained autoencoders", AUTO, ERROR, "1.41", differs=SETTING),
    Claim("experiment 2, supervised greedy pretraining", SUPERVISED, ERROR, "2.04", differs=SETTING),
    Claim("experiment 2, deep network without pretraining", NONE, ERROR, "2.40", differs=SETTING),
    Claim("experiment 2, shallow network", SHALLOW, ERROR, "1.93", differs=f"{SETTING}; 500 units"),
    Claim("continuous training of all layers", CONTINUOUS, ERROR, "1.5", differs=f"{SETTING}; autoencoders, not RBMs"),
    Claim("experiment 3, deep belief network", small(DBN), ERROR, "1.5", differs="no RBMs here"),
    Claim("experiment 3, pretrained autoencoders", small(AUTO), ERROR, "1.65", differs=SETTING),
    Claim("experiment 3, supervised greedy pretraining", small(SUPERVISED), ERROR, "1.89", differs=SETTING),
    Claim("experiment 3, deep network without pretraining", small(NONE), ERROR, "2.20", differs=SETTING),
    Claim("experiment 3, shallow network", small(SHALLOW), ERROR, "5.00", differs=SETTING),
    Claim("pretraining helps a deep network", AUTO, ERROR, against=NONE, differs=SETTING),
    Claim("without labels it helps more than with labels", AUTO, ERROR, against=SUPERVISED, differs=SETTING),
    Claim("with 20 units, pretraining helps", small(AUTO), ERROR, against=small(NONE), differs=SETTING),
    Claim("with 20 units, depth helps", small(NONE), ERROR, against=small(SHALLOW), differs=SETTING),
)
COMPARISONS = (
    Claim("pretrained logistic units against rectifiers without pretraining", AUTO, ERROR, against=MODERN),
    Claim("layer by layer against all layers at once", AUTO, ERROR, against=CONTINUOUS),
)
PROTOCOL = """\
- **Arms**: `autoencoders`: each layer learns to reconstruct the code of the frozen layers below. `continuous`: all layers do so
  at once, without gradients between them. `supervised greedy`: each layer learns the classes through a linear layer of its own.
  `no pretraining`: the same initial weights, fine-tuned without pretraining. `shallow`: one hidden layer of 500 units.
  `modern, no pretraining`: rectifiers, He's initialisation, AdamW with a cosine schedule. “20 units”: 500-500-20 (shallow: 20).
- **Fine-tuning**: of every arm, all layers with a linear layer on top learn the classes of all {train} training images. Its
  learning rate and the number of epochs are selected on the {valid} validation images; training with each learning rate stops
  early.
- **Tuning**: `--tune` chooses the rates of pretraining and of fine-tuning, and for `modern` the weight decay, by the accuracy of
  the fine-tuned classifier on the validation images. Every arm has the same number of trials, with or without pretraining.
- **Optimisation**: except of `modern`, gradient descent without momentum in batches of {batch}, with a learning rate
  lr0 / (1 + t decay); initial weights uniform within ±1/sqrt(fan-in); cross-entropy at every depth, and tied weights.
- **Equal budgets**: `autoencoders` is pretrained for {stage_epochs} for each layer; other pretrained arms have as many training
  FLOPs before fine-tuning. An arm without pretraining
  has fewer in total.
- **Splits**: {valid} of MNIST's training images are held out for validation, stratified by class. The test set is read once.
- **Deviations** from the paper: no restricted Boltzmann machines; batches of {batch}, not single images; other validation images;
  the decay is fixed.
"""
STUDY = TrainingStudy(
    name="bengio2007",
    module="papers.bengio2007",
    title="Bengio et al. 2007: greedy layer-wise training of deep networks",
    question="Does greedy pretraining without labels help a deep network more than pretraining with labels, or none?",
    protocol=PROTOCOL,
    arms=ARMS,
    reference=NONE,
    budget_arm=AUTO,
    search=RATES,
    search_split={},
    tuning_measure=JUDGED_BY,
    valid={"mnist": 1 / 6},
    defaults={
        **DEFAULTS,
        "stack": {"init": "uniform", "stages": layers(500, 500, 2000)},
        "epochs": [4.0],
        "seeds": 3,
        "classification": classification(10, (0.03, 0.1), patience=3),
    },
    scales={
        "default": {},
        "quick": QUICK,
        "paper": {
            "epochs": [50.0],
            "seeds": 10,
            "classification": classification(100, (0.01, 0.03, 0.1), patience=10),
        },
    },
    claims=CLAIMS,
    comparisons=COMPARISONS,
    figures=("headline", "probe_by_depth", "filters"),
)

if __name__ == "__main__":
    sys.exit(main(STUDY))
