"""Ways to train the deep autoencoder of Hinton & Salakhutdinov 2006 end to end, without pretraining.

The network of logistic units 784-1000-500-250-30, the data, the loss, the budget and the metric are those of
`studies.papers.hinton2006`, whose claim is about gradient descent from small random weights. Later work trains such networks
without pretraining:

- Martens 2010, "Deep learning via Hessian-free optimization", ICML: second-order optimisation on large batches, from sparse
  random weights. Here L-BFGS takes the place of the Hessian-free method.
- Sutskever, Martens, Dahl & Hinton 2013, "On the importance of initialization and momentum in deep learning", ICML: gradient
  descent with Nesterov's momentum of 0.9 to 0.99, from sparse random weights.
- Ioffe & Szegedy 2015, "Batch normalization", ICML.

Claims: none of a paper; these are comparisons of ours.

Protocol: all arms have the same FLOPs and are tuned with the same number of trials on validation images.

Deviations: the same budget for all, of 2 epochs for each stage and 8 of fine-tuning, where these papers train for hundreds of
epochs; a constant momentum, which is tuned, where Sutskever et al. increase it during training; L-BFGS, which starts anew on
every batch, where Martens 2010 uses the Hessian-free method.

Command: python -m studies.papers.without_pretraining --tune 5 --out results/without_pretraining
         python -m studies.papers.without_pretraining --out results/without_pretraining
Expected and cost: results/without_pretraining/README.md, generated from the rows, once it was run. Estimated before from the
runs of hinton2006, of three to six minutes with one thread: 45 minutes of tuning and half an hour of runs on two cores.
"""

from __future__ import annotations

import sys

from studies.design.arms import Arm
from studies.design.claims import Claim
from studies.design.search import Among, LogRange
from studies.framework.main import main
from studies.framework.training_study import TrainingStudy
from studies.papers.hinton2006 import JOINT, PRETRAINED, SSE
from studies.papers.hinton2006 import STUDY as HINTON2006

BATCH_NORM, NESTEROV, LBFGS = "joint, batch norm", "joint, Nesterov", "joint, L-BFGS"
#: range of the learning rate of gradient descent with momentum (the loss is a mean over 784 pixels); in 600 updates of a smaller
#: network, logistic units saturated with rates of 30 at momentum 0.9, and of 3 at momentum 0.99
NESTEROV_RATE = LogRange(0.1, 10.0)

PROTOCOL = """\
- **Arms**: the same network of logistic units with a linear code. `pretrained`: each stage is trained to reconstruct the code of
  the frozen stages below it, then all stages are fine-tuned on the pixels. The others are trained end to end. `joint`: from
  Glorot's initialisation times a gain. `joint, batch norm`: the same without a gain, with batch normalisation before every
  activation but that of the pixels. `joint, Nesterov`: gradient descent with Nesterov's momentum from sparse initial weights,
  which connect each unit to 15 random units of the layer below by weights from N(0, 1), with biases of 0 (Sutskever et al.
  2013). `joint, L-BFGS`: L-BFGS with a line search on large batches, from such weights times a gain, as in Martens 2010 but for
  the gain and the method.
- **Equal budgets**: every arm gets the training FLOPs of 2 epochs for each stage and 8 epochs of fine-tuning. Those of
  `joint, L-BFGS` are the most that its line searches can need; the table lists those that they needed.
- **Optimisation**: binary cross-entropy at every depth. {optimiser} with a {schedule} schedule for the first three arms,
  the same schedule for `joint, Nesterov`, and a constant first step length of 1 for `joint, L-BFGS`. The other settings are
  tuned, each arm with the same number of trials (see Tuning).
- **Splits**: {valid} images of the official training set are held out for validation, stratified by class. The test set is read
  once, after training. The test errors of `pretrained` and `joint` in the record of hinton2006, 3.34 and 4.61, were known when
  this study was designed.
- **Deviations** from the papers: a budget of a few epochs, not hundreds; a constant momentum, which is tuned; L-BFGS, not the
  Hessian-free method; {train} training images, not 60,000.
- **Linear probe**: logistic regression on standardised codes of {probe_labels} labelled training images{averaged}.
"""

STUDY = TrainingStudy(
    name="without_pretraining",
    module="papers.without_pretraining",
    title="A deep autoencoder of logistic units without pretraining",
    question="Which ways of training a deep autoencoder of logistic units end to end are as good as pretraining it?",
    protocol=PROTOCOL,
    arms=(
        HINTON2006.arm(PRETRAINED),
        HINTON2006.arm(JOINT),
        Arm(BATCH_NORM, "joint", {"stack.norm": "batch"}),
        Arm(
            NESTEROV,
            "joint",
            {
                "stack.init": "sparse",
                "optimisation.optimiser": "sgd",
                "optimisation.nesterov": True,
                "optimisation.weight_decay": 0.0,
            },
            search={"optimisation.lr": NESTEROV_RATE, "optimisation.momentum": Among((0.9, 0.95, 0.98, 0.99))},
        ),
        Arm(
            LBFGS,
            "joint",
            {
                "stack.init": "sparse",
                "optimisation.optimiser": "lbfgs",
                "optimisation.lr": 1.0,
                "optimisation.schedule": "constant",
                "optimisation.weight_decay": 0.0,
            },
            search={
                "optimisation.batch_size": Among((256, 512, 1024, 2048)),
                "optimisation.lbfgs_iterations": Among((3, 6, 12, 24)),
                "stack.gain": LogRange(0.5, 2.0),
            },
        ),
    ),
    reference=JOINT,
    budget_arm=PRETRAINED,
    search=HINTON2006.search,
    search_split=HINTON2006.search_split,
    defaults={**HINTON2006.defaults, "seeds": 3},
    scales=HINTON2006.scales,
    comparisons=(
        Claim("pretrained against joint training by AdamW", PRETRAINED, SSE, against=JOINT),
        Claim("pretrained against joint training with batch norm", PRETRAINED, SSE, against=BATCH_NORM),
        Claim("pretrained against joint training by Nesterov's momentum", PRETRAINED, SSE, against=NESTEROV),
        Claim("pretrained against joint training by L-BFGS", PRETRAINED, SSE, against=LBFGS),
    ),
    figures=("headline", "curves", "filters", "probe_by_depth"),
)

if __name__ == "__main__":
    sys.exit(main(STUDY))
