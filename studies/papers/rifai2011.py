"""Rifai, Vincent, Muller, Glorot & Bengio 2011, "Contractive auto-encoders: explicit invariance during feature extraction", ICML.

Claim: a penalty on the squared Frobenius norm of the Jacobian of the code with respect to the input gives a better initialisation
of a classifier than a plain autoencoder, as good as that of a denoising autoencoder or better.

Results of the paper, as another text states them: test error on MNIST in % with one hidden layer, after fine-tuning: contractive
autoencoder (CAE) 1.14, denoising autoencoder (DAE) 1.18, plain autoencoder (AE) 1.78.

Protocol: one layer of 1,000 logistic units, tied weights, cross-entropy; the penalty is
lambda sum_i (h_i (1 - h_i))^2 sum_j W_ij^2. Gradient descent; validation images stop fine-tuning early. The rates of pretraining
and of fine-tuning, lambda and the level of the noise are chosen by the accuracy of the fine-tuned classifier on validation
images, each arm with the same number of trials.

Deviations: 1,000 units and the kinds of noise are our choice; a fixed number of epochs of pretraining, batches of 20; our
cross-entropy is the mean over the 784 pixels, so that our weight of the penalty is lambda / 784; 50,000 training images.

Command: python -m studies.papers.rifai2011 --tune 5 --out results/rifai2011
         python -m studies.papers.rifai2011 --out results/rifai2011
Expected and cost: results/rifai2011/README.md, generated from the rows, once it has been run. Estimated: --scale quick
takes minutes, default half an hour of tuning and as much of runs on two cores, paper a week.
"""

from __future__ import annotations

import sys

from studies.design.arms import Arm
from studies.design.claims import Claim
from studies.design.search import Among, LogRange
from studies.framework.main import main
from studies.framework.training_study import TrainingStudy
from studies.papers.shared.period import DEFAULTS, JUDGED_BY, QUICK, RATES, classification, layers

ERROR = "final/classifier_error_all"
AE, DAE, CAE, MASKING, RANDOM = "AE", "DAE", "CAE", "DAE, masking", "random"
#: number of pixels, over which our cross-entropy is the mean and that of the paper the sum
PIXELS = 784

PROTOCOL = """\
- **Arms**: one layer of 1,000 logistic units with tied weights. `AE`: it learns to reconstruct the images. `CAE`: the squared
  Frobenius norm of the Jacobian of the code with respect to the image is added to the loss, with a weight. `DAE`: the layer reads
  images with Gaussian noise and reconstructs clean ones. `DAE, masking`: the same with some pixels set to 0. `random`: the same
  initial weights, not pretrained.
- **Fine-tuning**: of every arm, the layer with a linear layer on top learns the classes of all {train} training images. Its
  learning rate and the number of epochs are selected on the {valid} validation images; training with each learning rate stops
  early.
- **Tuning**: `--tune` chooses the rates of pretraining and of fine-tuning, the weight of the penalty and the level of the noise,
  by the accuracy of the fine-tuned classifier on the validation images. Every arm has the same number of trials; those of
  `random` are of its fine-tuning.
- **Optimisation**: gradient descent without momentum in batches of {batch}, with a learning rate lr0 / (1 + t decay); initial
  weights uniform within ±1/sqrt(fan-in); cross-entropy, the mean over pixels. All pretrained arms have the FLOPs of
  {stage_epochs}; the penalty itself is not counted.
- **Splits**: {valid} of MNIST's training images are held out for validation, stratified by class. The test set is read once.
- **Deviations** from the paper: a fixed number of epochs of pretraining; batches of {batch}; the kinds of noise and the number of
  units are our choice. The errors of the paper are quoted as another text states them.
"""

OURS = "batches of 20; few epochs, see the protocol"
STATED = "(as stated in another text)"
CLAIMS = (
    Claim(f"plain autoencoder {STATED}", AE, ERROR, "1.78", differs=OURS),
    Claim(f"denoising autoencoder {STATED}", DAE, ERROR, "1.18", differs=f"{OURS}; Gaussian noise"),
    Claim(f"contractive autoencoder {STATED}", CAE, ERROR, "1.14", differs=OURS),
    Claim("contraction helps", CAE, ERROR, against=AE, differs=OURS),
    Claim("denoising helps", DAE, ERROR, against=AE, differs=f"{OURS}; Gaussian noise"),
)
COMPARISONS = (
    Claim("contraction against Gaussian noise", CAE, ERROR, against=DAE),
    Claim("contraction against masking", CAE, ERROR, against=MASKING),
    Claim("contraction against no pretraining", CAE, ERROR, against=RANDOM),
    Claim("a plain autoencoder against no pretraining", AE, ERROR, against=RANDOM),
)

STUDY = TrainingStudy(
    name="rifai2011",
    module="papers.rifai2011",
    title="Rifai et al. 2011: contractive autoencoders",
    question="Is a layer whose code changes little with the image a better initialisation of a classifier?",
    protocol=PROTOCOL,
    arms=(
        Arm(AE, "greedy"),
        Arm(
            CAE,
            "greedy",
            {"optimisation.penalties": {"contractive": 0.1 / PIXELS}},
            search={"optimisation.penalties.contractive": LogRange(0.01 / PIXELS, 1.0 / PIXELS)},
        ),
        Arm(
            DAE,
            "greedy",
            {"optimisation.corruption": "gaussian", "optimisation.corruption_level": [0.3]},
            search={"optimisation.corruption_level": LogRange(0.05, 0.5)},
        ),
        Arm(
            MASKING,
            "greedy",
            {"optimisation.corruption": "masking", "optimisation.corruption_level": [0.25]},
            search={"optimisation.corruption_level": Among((0.1, 0.25, 0.4))},
        ),
        Arm(RANDOM),
    ),
    reference=AE,
    budget_arm=AE,
    search=RATES,
    search_split={},
    tuning_measure=JUDGED_BY,
    valid={"mnist": 1 / 6},
    defaults={
        **DEFAULTS,
        "stack": {"init": "uniform", "stages": layers(1000)},
        "epochs": [8.0],
        "seeds": 5,
        "classification": classification(15, (0.03, 0.1), patience=3),
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
    comparisons=COMPARISONS,
    figures=("headline", "filters"),
)

if __name__ == "__main__":
    sys.exit(main(STUDY))
