"""A lesson of two minutes: how layer-wise pretraining helps gradient descent as of 2006.

The two arms are those of `studies.papers.hinton2006` with gradient descent: logistic units, small uniform weights, no momentum,
no normalisation. The network is smaller, 784-256-128-64-16, and is trained on 5,000 images of MNIST. Neither arm is tuned; both
have the same learning rate. The full study tunes its arms: there gradient descent without pretraining leaves the mean image at
a higher rate; its error stays far above that with pretraining.

Command: python -m studies.papers.lesson
Expected: the test error of `sgd-2006` stays at that of the mean image, 0.0675; that of `sgd-2006 pretrained` is 0.0320 (seed 0).
Cost: about two minutes of processor time.
"""

from __future__ import annotations

import sys

from studies.design.arms import Arm
from studies.framework.main import main
from studies.framework.training_study import TrainingStudy
from studies.papers.hinton2006 import SGD, SGD_2006, SGD_PRETRAINED, stages

PROTOCOL = """\
- **Arms**: the same network with logistic units and a linear code of 16 values, the same seed, and hence the same initial
  weights, uniform within ±1/sqrt(fan-in), and order of images. `sgd-2006` trains all layers at once. `sgd-2006 pretrained` first
  trains each stage to reconstruct the code of the frozen stages below it, then all layers at once. Gradient descent without
  momentum, learning rate {lr} with a {schedule} schedule in every phase, batches of {batch}; not tuned.
- **Equal budgets**: both arms have the training FLOPs of `sgd-2006 pretrained`.
- **Splits**: {train} training images; {valid} validation images; the test set is read once, after training.
- **Linear probe**: logistic regression on standardised codes of {probe_labels} labelled training images{averaged}.
"""

STUDY = TrainingStudy(
    name="lesson",
    module="papers.lesson",
    title="A lesson: why deep networks were pretrained",
    question="Does gradient descent as of 2006 train a deep autoencoder, with and without layer-wise pretraining?",
    protocol=PROTOCOL,
    arms=(Arm(SGD, "joint", SGD_2006), Arm(SGD_PRETRAINED, "greedy+finetune", SGD_2006)),
    reference=SGD,
    budget_arm=SGD_PRETRAINED,
    defaults={
        "limit": 5000,
        "stack": {"stages": stages(256, 128, 64, 16)},
        "loss": ["bce"],
        "lr": 10.0,
        "batch_size": 64,
        "epochs": [25.0],
        "finetune": 50.0,
        "seeds": 1,
        "labels": [],
        "evaluation": {"probe_labels": 1000},
    },
    figures=("curves", "probe_by_depth"),
)

if __name__ == "__main__":
    sys.exit(main(STUDY))
