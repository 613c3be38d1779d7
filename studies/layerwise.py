"""Does greedy layer-wise pretraining help against joint training, at equal compute?

Claim: a stack grown greedily and then fine-tuned reconstructs better, and gives better features for few labels, than the
same stack trained jointly from the start (Hinton & Salakhutdinov 2006; Bengio et al. 2007); Zhou et al. 2014 claim the
opposite for joint training.
Command: python -m studies.layerwise
"""

from __future__ import annotations

import sys

from studies.study import Study, main

PROTOCOL = """\
- **Arms** share, for a seed, the initial weights, the data order, the corruption and the label subsets. `greedy` trains
  each stage on the clean codes of the frozen stages below it; `greedy+finetune` then trains all stages together on the
  pixels; `joint` does that from the start; `random` is not trained.
- **Equal budgets**: every trained arm gets as many training FLOPs as `greedy+finetune` (forward and backward passes and the
  encoding of frozen stages, counted by torch), unless `--equal` says otherwise. Updates and seconds stand in the table.
- **Splits**: a stratified twelfth of the official training set is held out for validation; curves and all selection read
  it alone. The test set is read once, after training.
- **Linear probe**: logistic regression (scikit-learn, L2, C = 0.1, lbfgs, at most 200 iterations) on standardised codes of
  3,000 labelled training images; nothing is selected. The probe on the curves is a ridge regression on 1,000 images.
- **Classifier**: a linear head on the bottleneck, encoder trained on with Adam for 150 updates or one epoch, whichever is
  more; label subsets stratified and nested. Learning rate (0.001 or 0.003) and number of updates are picked on 1,000
  labelled validation images, also for small label budgets.
  `random` is the same network from random initialisation.
"""

STUDY = Study(
    name="layerwise",
    title="Layer-wise against joint training",
    question="Does greedy layer-wise pretraining help against joint training of the same autoencoder, at equal compute?",
    protocol=PROTOCOL,
    arms=("greedy", "greedy+finetune", "joint", "random"),
)

if __name__ == "__main__":
    sys.exit(main(STUDY))
