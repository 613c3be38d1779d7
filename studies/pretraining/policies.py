"""Which way of growing a stack is best at equal compute?

Claims: greedy layer-wise pretraining and fine-tuning beats training all layers together from the start (Hinton &
Salakhutdinov 2006; Bengio et al. 2007). It is the other way round when one reconstruction objective is optimised jointly with
the stages' own as local regularisers, `joint-local` (Zhou et al. 2014, arXiv 1405.1380). Stages may all learn at once without
gradients between them, `simultaneous` (Belilovsky et al. 2020, arXiv 1901.08164), and from classes instead of images,
`supervised` (Bengio et al. 2007; Belilovsky et al. 2019, arXiv 1812.11446). `greedy-pixels` is how Paine et al. 2014 (arXiv
1412.6597) pretrain, `progressive` how Karras et al. 2018 grow a GAN, `+unfreeze` how Howard & Ruder 2018 fine-tune.

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
from studies.pretraining.policies_figures import draw_policies, draw_restored
from studies.report.answer import quote

PROTOCOL = """\
- **Arms** share, for a seed, the initial weights, the data order, the corruption and the label subsets; they differ in what
  learns when, from what. `greedy`: each stage learns to reconstruct the clean code of the frozen stages below it;
  `greedy-pixels`: the pixels, through the frozen decoders below; `progressive`: stage k is added and all so far learn the
  pixels; `simultaneous`: all stages at once, each its own input, no gradient between them; `supervised`: the classes, by a
  linear head on each stage that is dropped afterwards; `converge`: as `greedy`, but a stage ends when its validation loss
  stops falling; `joint`: all stages together on the pixels from the start; `joint-local`: the same with every stage's own
  reconstruction as a regulariser; `random`: not trained. `+finetune`: followed by `joint` training; `+unfreeze`: by training
  on the pixels from the top stage down, lower stages at a lower rate.
- **Equal FLOPs**: every trained arm gets as many training FLOPs as `greedy+finetune`: forward and backward passes of its
  updates and the encoding of frozen stages, counted by torch; not validation, nor the optimiser's own arithmetic. A policy
  with cheaper updates makes more of them. An arm keeps the proportion between growth and what follows.
- **`converge`** checks the whole validation split every 20 updates and ends a stage at the third check in a row without
  improvement, with the best weights so far; what it leaves of its FLOPs goes to the next phase, and what the last stage
  leaves is not spent where nothing follows: that stands in the cost table. Its learning rate is constant while it grows,
  where the others' falls: a stage cannot show that it has converged while a schedule still lowers its rate. Its
  fine-tuning follows a cosine.
- **`supervised`** reads the labels of all training images. Its classifier is reported only for label budgets that are not
  smaller; its linear probe, too, profits from more labels than the probe's own, so neither is a fair rival of arms that read
  none. Its reconstructions before fine-tuning are those of decoders that never learnt.
- **Memory** is counted, not sampled. Peak: the most bytes of tensors alive in an update of any phase: weights, gradients,
  optimiser state, activations and the batch, not what a kernel takes for itself. Codes kept: the largest set of codes of
  frozen stages that a phase keeps for all training images instead of computing them anew.
- **Optimisation**: {optimiser}. Learning rate, batch size and schedule of every arm, the division of the budget between growth
  and what follows it, and the weight of the local losses of `joint-local`, are tuned with the same number of trials for each arm
  (see Tuning). `supervised` is judged by a linear probe on validation images, all others by their reconstruction error. The
  local losses of `joint-local` do not enter the running statistics of batch norms.
- **Splits**: {valid} images of the official training set are held out, stratified, for validation; curves and all
  selection read them alone. The test set is read once, after training.
- **Linear probe**: logistic regression (scikit-learn, L2, C = 0.1, lbfgs, at most 200 iterations) on standardised codes of
  {probe_labels} labelled training images{averaged}; nothing is selected.
- **Classifier**: a linear head on the bottleneck, encoder trained on with Adam for {updates} updates or {epochs} epochs,
  whichever is more; learning rate ({lrs}) and number of updates are picked on {checked}.
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
        Arm("supervised", tuned_by="probe_acc"),
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
    measure_of="greedy+finetune",
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
            "One line an arm, lowest test MSE first. Left: reconstruction error of the test set at full depth, and PCA's as a "
            "dashed line. Middle: test accuracy of a linear probe on the bottleneck, spaced by the logarithm of the error where "
            "errors differ much. Right: the most memory that an update takes (mark), and with the codes kept for a phase (pale "
            "bar). Small dots are single seeds; bars are the 95 % t interval of the mean over seeds; the black line is the "
            "mean of joint.",
            draw_policies,
        ),
        "growth": Drawing(
            "Reconstruction error of validation images against training compute, a panel a family, joint in black in each. Pale "
            "lines: not all stages are there yet, and fewer are easier to invert; the axis is cut below. Bands are the 95 % t "
            "interval of the mean (of log MSE) over seeds. converge: single seeds, where their phases end at different updates.",
            draw_growth,
        ),
        "reconstructions": Drawing(
            "Test images and what each arm restores from its bottleneck, of one seed; at the right the arm's test MSE, mean "
            "over seeds.",
            draw_restored,
        ),
    },
    figures=(),
)
