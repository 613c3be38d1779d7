"""Does greedy layer-wise pretraining help against joint training, at equal compute?

Claim: a stack grown greedily and then fine-tuned reconstructs better, and gives better features for few labels, than the
same stack trained jointly from the start (Hinton & Salakhutdinov 2006; Bengio et al. 2007); Zhou et al. 2014 claim the
opposite for joint training.
Command: python -m studies.layerwise
"""

from __future__ import annotations

from studies.design.arms import Arm
from studies.framework.training_study import TrainingStudy

PROTOCOL = """\
- **Arms**: with the same seed, all arms have the same initial weights, label subsets and permutation of images in each epoch,
  and the same batches and corruption where the batch size is equal. `greedy` trains each stage on the clean codes of the frozen
  stages below it. `greedy+finetune` then trains all stages together on the pixels. `joint` trains all stages together on the
  pixels from the start. `random` is not trained.
- **Equal budgets**: every trained arm gets the same number of training FLOPs as `greedy+finetune` (forward and backward passes
  and the encoding by frozen stages, counted by torch), unless `--equal` says otherwise. The table lists updates and seconds.
- **Optimisation**: {optimiser}. Learning rate, batch size and schedule of every trained arm, and the split of the budget
  between growth and fine-tuning, are tuned with the same number of trials for each arm (see Tuning).
- **Splits**: {valid} images of the official training set are held out for validation, stratified by class. Curves and all
  selection use validation images only. The test set is read once, after training.
- **Linear probe**: logistic regression (scikit-learn, L2, C = 0.1, lbfgs, at most 200 iterations) on standardised codes of
  {probe_labels} labelled training images{averaged}; no hyperparameter is selected. The probe of the curves is a ridge regression
  on {probe_images} images.
- **Classifier**: a linear head on the bottleneck. Head and encoder are trained with Adam for {updates} updates or {epochs},
  whichever is more; label subsets are stratified and nested. Learning rate ({lrs}) and number of updates are selected
  on {checked}. `random` is the same network with random initial weights.
"""

STUDY = TrainingStudy(
    name="layerwise",
    title="Layer-wise against joint training",
    question="Does greedy layer-wise pretraining help against joint training of the same autoencoder, at equal compute?",
    protocol=PROTOCOL,
    arms=(Arm("greedy"), Arm("greedy+finetune"), Arm("joint"), Arm("random")),
    chosen={  # the values in results/layerwise/choices.json
        "greedy": {
            "optimisation.lr": 0.078,
            "optimisation.batch_size": 64,
            "optimisation.schedule": "onecycle",
        },
        "greedy+finetune": {
            "optimisation.lr": 0.0373,
            "optimisation.batch_size": 16,
            "optimisation.schedule": "onecycle",
            "budget.end_to_end": 7.45,
        },
        "joint": {
            "optimisation.lr": 0.0373,
            "optimisation.batch_size": 16,
            "optimisation.schedule": "onecycle",
        },
    },
)
