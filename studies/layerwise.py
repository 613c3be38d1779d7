"""Does greedy layer-wise pretraining help against joint training, at equal compute?

Claim: a stack grown greedily and then fine-tuned reconstructs better, and gives better features for few labels, than the
same stack trained jointly from the start (Hinton & Salakhutdinov 2006; Bengio et al. 2007); Zhou et al. 2014 claim the
opposite for joint training.
Command: python -m studies.layerwise
"""

from __future__ import annotations

import sys

from studies.arms import Arm
from studies.study import Study, main

PROTOCOL = """\
- **Arms** share, for a seed, the initial weights, the data order, the corruption and the label subsets. `greedy` trains
  each stage on the clean codes of the frozen stages below it; `greedy+finetune` then trains all stages together on the
  pixels; `joint` does that from the start; `random` is not trained.
- **Equal budgets**: every trained arm gets as many training FLOPs as `greedy+finetune` (forward and backward passes and the
  encoding of frozen stages, counted by torch), unless `--equal` says otherwise. Updates and seconds stand in the table.
- **Optimisation** is the same for every arm: learning rate {lr}, {schedule} schedule in every phase. (The default was
  chosen on validation error, one seed, an earlier revision, among 0.001, 0.003 and 0.01, each constant and with cosine:
  0.01 with cosine gave `greedy+finetune` 0.00654, its lowest, and `joint` 0.00656, its lowest too, which it also reached
  with 0.003 constant. `greedy` had no choice of its own.)
- **Splits**: {valid} images of the official training set are held out, stratified, for validation; curves and all
  selection read them alone. The test set is read once, after training.
- **Linear probe**: logistic regression (scikit-learn, L2, C = 0.1, lbfgs, at most 200 iterations) on standardised codes of
  {probe_labels} labelled training images{averaged}; nothing is selected. The probe on the curves is a ridge regression on
  {probe_images} images.
- **Classifier**: a linear head on the bottleneck, encoder trained on with Adam for {updates} updates or {epochs} epochs,
  whichever is more; label subsets stratified and nested. Learning rate ({lrs}) and number of updates are picked on
  {checked} labelled validation images, also for small label budgets.
  `random` is the same network from random initialisation.
"""

STUDY = Study(
    name="layerwise",
    title="Layer-wise against joint training",
    question="Does greedy layer-wise pretraining help against joint training of the same autoencoder, at equal compute?",
    protocol=PROTOCOL,
    arms=(Arm("greedy"), Arm("greedy+finetune"), Arm("joint"), Arm("random")),
)

if __name__ == "__main__":
    sys.exit(main(STUDY))
