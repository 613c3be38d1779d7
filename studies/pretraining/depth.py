"""Why were deep networks pretrained, and why is it no longer needed?

Claim: plain gradient descent from small random weights does not train deep networks of logistic units, because the gradient
shrinks from layer to layer; layer-wise pretraining starts where it does not (Hinton & Salakhutdinov 2006; Bengio et al. 2007;
Glorot & Bengio 2010; Erhan et al. 2010, figure 1: from random weights, no convergence at five layers). Rectifiers with He's
initialisation (Glorot et al. 2011; He et al. 2015), batch norm (Ioffe & Szegedy 2015) and residual connections (He et al. 2016)
train without it.

Protocol: 1, 2, 3, 5 and 10 layers of 128 units on 10,000 images of MNIST; a classifier of each kind and depth, and an
autoencoder with as many layers in its encoder and in its decoder, of which the curve has the norm of the gradient of each layer.
Everything is trained by the same gradient descent without momentum and for the same number of updates; pretraining comes in
addition to these, and an arm without pretraining gets as many FLOPs as pretraining and fine-tuning together, or more.

Deviations from the papers: our own widths, depths and number of images; one layer in a residual block; a constant learning rate,
which validation images select from three values for classifiers, and which is fixed for autoencoders unless --tune is used.

Command: python -m studies.depth --tune 4 --out results/depth
         python -m studies.depth --out results/depth
         python -m studies.depth --lesson
Expected and cost: results/depth/README.md, generated from the rows, once it has been run. Estimated: --scale quick takes
minutes, default half an hour of tuning and three quarters of an hour of runs on two cores, paper (all images, ten seeds) a day or
more, --lesson under five minutes.
"""

from __future__ import annotations

from typing import Any

from studies.design.claims import Claim
from studies.design.drawing import Drawing
from studies.framework.training_study import TrainingStudy
from studies.pretraining.depth_answer import MEASURED, answer
from studies.pretraining.depth_arms import LONGER, MORE, PLAIN, PRETRAINED, arms, autoencoder, classifier, stages
from studies.pretraining.depth_figure import CAPTION, draw_depth
from studies.statistics.measures import measure

DEPTHS = (1, 2, 3, 5, 10)
UNITS = 128
#: epochs of pretraining for each layer, and of all that is trained end to end
EPOCHS = 20.0

PROTOCOL = """\
- **Arms**: networks of equal layers; with the same seed, all arms have the same order of training images and, where they draw
  from the same distribution, the same initial weights. `logistic`: logistic units, initial weights uniform within
  ±1/sqrt(fan-in). `logistic, longer`: the same, trained longer. `logistic, pretrained`: each layer first learns to reconstruct
  the code of the frozen layers below it, for {stage_epochs}. `ReLU`: rectifiers and He's initialisation. `batch norm`:
  after each linear layer. `residual`: each layer but the first adds what it reads to that, before the
  rectifier; with one layer there is none.
- **Classifiers** are all layers with a linear head. **Autoencoders** have as many layers in the decoder as in the encoder, and a
  code as wide as the layers, whatever the depth. These are separate runs: no classifier begins from an autoencoder that was
  trained end to end, and the reconstruction error of an arm of classifiers is that before it learns classes.
- **What is equal**: optimiser, batches of {batch}, and the number of updates after pretraining: {epochs} of a classifier,
  {finetune_epochs} of an autoencoder. **What is not equal**: pretraining adds {stage_epochs} for each layer. So
  `logistic, longer` has no pretraining, but LONGER epochs in a classifier, which are at least as many FLOPs as those of
  pretraining and fine-tuning at one learning rate, and as many FLOPs in an autoencoder as with pretraining. Deeper networks have
  more FLOPs in an update.
- **Optimisation**: gradient descent without momentum at a {schedule} learning rate; cross-entropy. The learning rate of a
  classifier ({lrs}) and the number of updates are selected on {checked}, at the same rates for all arms. That of pretraining and
  of autoencoders is 10 for logistic units and 1 for rectifiers, or tuned by the reconstruction error on validation images with as
  many trials for every arm (see Tuning).
- **Gradients**: the norm of the gradient of the mean loss over validation images with respect to the parameters of a layer, in
  training mode.
- **Splits**: {train} training images; {valid} images of the official training set are held out for validation, stratified by
  class. The test set is read once, after training.
"""


def protocol(epochs: float) -> str:
    """Return the methods section for classifiers that are trained for so many epochs."""
    return PROTOCOL.replace("LONGER", f"{MORE * epochs:g}")


def defaults(width: int, deepest: int, epochs: float) -> dict[str, Any]:
    """Return the options that all arms share: plain gradient descent for as many epochs in every part."""
    return {
        "stack": {"init": "uniform", "stages": stages(width, deepest)},
        "loss": ["bce"],
        "optimiser": "sgd",
        "lr": 10.0,
        "schedule": "constant",
        "batch_size": 32,
        "optimisation": {"momentum": 0.0},
        "epochs": [epochs],
        "finetune": epochs,
        "labels": ["all"],
        "classification": {
            "optimiser": "sgd",
            "momentum": 0.0,
            "batch_size": 32,
            "lrs": [0.05, 0.2, 1.0],
            "epochs": epochs,
            "updates": 10,
            "checks": 10,
            "images": 2000,
        },
        "evaluation": {"probes": [], "gradients": True},
    }


#: options of the smoke run: a classifier and an autoencoder of two layers, with and without pretraining
SMOKE: dict[str, Any] = {
    "labels": ["all"],
    "arms": [name_of(method, 2) for method in (PLAIN, PRETRAINED) for name_of in (classifier, autoencoder)],
    "classification": {"lrs": [0.2], "epochs": 1.0},
}


def names(depths: tuple[int, ...]) -> list[str]:
    """Return the names of the arms of these depths."""
    return [arm.name for arm in arms(UNITS, depths, EPOCHS)]


def comparisons() -> tuple[Claim, ...]:
    """Return the comparisons of pretraining with no pretraining at every depth, for classifiers and autoencoders."""
    return tuple(
        Claim(
            f"pretraining with {depth} layer{'s' * (depth > 1)}, {what}",
            name_of(PRETRAINED, depth),
            metric,
            against=name_of(other, depth),
            higher=measure(metric).better == "higher",
        )
        for metric, name_of in MEASURED.items()
        for other, what in ((PLAIN, "equal updates of fine-tuning"), (LONGER, "as many FLOPs or more"))
        for depth in DEPTHS
    )


STUDY = TrainingStudy(
    name="depth",
    title="Depth: why deep networks were pretrained",
    question="How do accuracy and reconstruction change with depth, with and without layer-wise pretraining, and why?",
    protocol=protocol(EPOCHS),
    arms=arms(UNITS, DEPTHS, EPOCHS),
    reference=classifier(PLAIN, 1),
    budget_arm=autoencoder(PRETRAINED, DEPTHS[-1]),
    search={},
    search_split={},
    defaults={**defaults(UNITS, DEPTHS[-1], EPOCHS), "limit": 10_000, "seeds": 3},
    smoke=SMOKE,
    scales={
        "default": {},
        "quick": {"limit": 2000, "seeds": 1, "arms": names((1, 3, 10))},
        "paper": {"limit": None, "seeds": 10},
    },
    comparisons=comparisons(),
    quote=answer,
    drawings={"depth": Drawing(CAPTION, draw_depth)},
    figures=(),
)
