"""Which way of growing a stack is best at equal compute?

Claims: greedy layer-wise pretraining with fine-tuning is better than training all layers together from the start (Hinton &
Salakhutdinov 2006; Bengio et al. 2007). Joint training is better if the reconstruction errors of the stages are added as local
regularisers, `joint-local` (Zhou et al. 2014, arXiv 1405.1380). All stages can be trained at once without gradients between
them, `simultaneous` (Belilovsky et al. 2020, arXiv 1901.08164), and with labels as targets, `supervised` (Bengio et al. 2007;
Belilovsky et al. 2019, arXiv 1812.11446). `greedy-pixels` is the pretraining of Paine et al. 2014 (arXiv 1412.6597),
`progressive` the growth of a GAN by Karras et al. 2018, and `+unfreeze` the fine-tuning of Howard & Ruder 2018.

Command: python -m studies.policies --out results/policies/mnist
         python -m studies.policies --data fashion-mnist --out results/policies/fashion-mnist
Expected and cost: results/policies/*/README.md, generated from the rows.
"""

from __future__ import annotations

from studies.design.arms import Arm
from studies.design.drawing import Drawing
from studies.design.search import LogRange
from studies.framework.training_study import TrainingStudy
from studies.pretraining.growth_figures import draw_growth
from studies.pretraining.policies_chosen import CHOSEN
from studies.pretraining.policies_figures import draw_policies, draw_restored
from studies.report.answer import quote

PROTOCOL = """\
- **Arms**: with the same seed, all arms have the same initial weights, label subsets and permutation of images in each epoch,
  and the same batches and corruption where the batch size is equal. They differ in which stages are trained when, and on what
  target. `greedy`: each stage is trained to reconstruct the clean code of the frozen stages below it. `greedy-pixels`: each
  stage is trained to reconstruct the pixels, through the frozen decoders below. `progressive`: stages are added one by one, and
  all stages so far are trained to reconstruct the pixels. `simultaneous`: all stages are trained at once, each to reconstruct
  its own input, without gradients between them. `supervised`: each stage is trained to classify, with a linear head that is
  dropped afterwards. `converge`: as `greedy`, but a stage ends when its validation loss stops falling. `joint`: all stages are
  trained together on the pixels from the start. `joint-local`: the same, with the reconstruction error of each stage as a
  regulariser. `random`: not trained. `+finetune`: followed by `joint` training. `+unfreeze`: followed by training on the pixels
  in which stages are unfrozen from the top down, lower stages with a lower learning rate.
- **Equal FLOPs**: every trained arm gets the same number of training FLOPs as `greedy+finetune`: forward and backward passes of
  its updates and the encoding by frozen stages, counted by torch, without validation and without the arithmetic of the optimiser.
  A policy with cheaper updates makes more of them. An arm keeps the ratio between growth and what follows.
- **`converge`** computes the loss on the whole validation split every 20 updates. A stage ends at the third check in a row
  without improvement and keeps its best weights. Its unused FLOPs go to the next phase; those of the last phase are not spent,
  as the cost table shows. Its learning rate is constant during growth, while that of other arms falls: a stage cannot show that
  it has converged while a schedule still lowers its learning rate. Its fine-tuning has a cosine schedule.
- **`supervised`** uses the labels of all training images. Its classifier is therefore reported only if the label budget is all
  labels. Its linear probe profits from these labels as well. Neither can be compared fairly with arms that use no labels. Before
  fine-tuning, its reconstructions are those of untrained decoders.
- **Memory** is counted, not sampled. Peak: the largest number of bytes of tensors during an update of any phase (weights,
  gradients, optimiser state, activations and the batch), without the workspace of kernels. Cached codes: the largest set of codes
  of frozen stages that a phase stores for all training images instead of computing them again.
- **Optimisation**: {optimiser}. Learning rate, batch size and schedule of every arm, the split of the budget between growth
  and what follows it, and the weight of the local losses of `joint-local`, are tuned with the same number of trials for each arm
  (see Tuning). Trials of `supervised` are compared by a linear probe on validation images, those of all other arms by
  reconstruction error. The local losses of `joint-local` do not affect the running statistics of batch norm.
- **Splits**: {valid} images of the official training set are held out for validation, stratified by class. Curves and all
  selection use validation images only. The test set is read once, after training.
- **Linear probe**: logistic regression (scikit-learn, L2, C = 0.1, lbfgs, at most 200 iterations) on standardised codes of
  {probe_labels} labelled training images{averaged}; no hyperparameter is selected.
- **Classifier**: a linear head on the bottleneck. Head and encoder are trained with Adam for {updates} updates or {epochs},
  whichever is more; learning rate ({lrs}) and number of updates are selected on {checked}.
"""

#: a stage ends at the third check in a row without improvement
CONVERGES = {"optimisation.patience": 3, "optimisation.check_every": 20, "optimisation.schedule": "constant"}
CONVERGES |= {"optimisation.end_schedule": "cosine"}

STUDY = TrainingStudy(
    name="policies",
    title="Growth policies at equal compute",
    question="Which way of growing a stack is best at equal compute?",
    protocol=PROTOCOL,
    arms=(
        Arm("greedy"),
        Arm("greedy+finetune"),
        Arm("greedy+unfreeze"),
        Arm("greedy-pixels"),
        Arm("greedy-pixels+finetune"),
        Arm("progressive"),
        Arm("progressive+finetune"),
        Arm("simultaneous"),
        Arm("simultaneous+finetune"),
        Arm("supervised", tuning_measure="probe_acc"),
        Arm("supervised+finetune"),
        Arm("converge", changes=CONVERGES),
        Arm("converge+finetune", changes=CONVERGES),
        Arm("joint"),
        Arm(
            "joint-local",
            changes={"optimisation.local_weight": 0.03},
            search={"optimisation.local_weight": LogRange(0.003, 0.3)},
        ),
        Arm("random"),
    ),
    reference="joint",
    budget_arm="greedy+finetune",
    defaults={
        "limit": 10_000,
        "epochs": [3.0],
        "finetune": 3.0,
        "seeds": 5,
        "labels": ["1000"],
        "evaluation": {"probe_labels": 2000},
    },
    smoke={"limit": None, "labels": ["100"], "evaluation": {"probe_every": 50}},
    quote=quote,
    drawings={
        "policies": Drawing(
            "One line for each arm, lowest test MSE first. Left: reconstruction error on the test set at full depth (lower is "
            "better); dashed: PCA. Middle: test accuracy of a linear probe on the bottleneck (higher is better), on a "
            "logarithmic scale of the error if errors differ much. Right: peak memory of an update (mark), and that plus "
            "the cached codes of a phase (pale bar). Small dots are single seeds; bars are the 95 % t interval of the mean over "
            "seeds; the black line is the mean of joint.",
            draw_policies,
        ),
        "growth": Drawing(
            "Reconstruction error on validation images (lower is better) against training compute, with a panel for each family; "
            "joint is black in every panel. Pale lines: before the last stage is added; errors of fewer stages are lower, and "
            "the axis does not show the lowest. Bands are the 95 % t interval of the mean (of log MSE) over seeds. converge: "
            "single seeds, because their phases end at different updates.",
            draw_growth,
        ),
        "reconstructions": Drawing(
            "Test images and their reconstructions by each arm from its bottleneck, for one seed. At the right: the mean test "
            "MSE over seeds (lower is better).",
            draw_restored,
        ),
    },
    figures=(),
    chosen=CHOSEN,
)
