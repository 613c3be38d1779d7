"""What does each local rule cost in quality, and what does it save in memory, FLOPs and time?

Claims: blocks of a residual network that learn alone, by Barlow Twins (Siddiqui et al. 2023) or InfoNCE (Löwe et al. 2019), are
near training end to end. Labels alone lose in early blocks what later ones need, and reconstruction of the image beside them
cures it, at under 40 % of the memory (InfoPro, Wang et al. 2021). Labels and similarity are better than labels alone (Nøkland &
Eidnes 2019). Growth by copying saves compute (Du et al. 2024), and so do stages that lock from the bottom (Erdogan et al.
2025).

Protocol: a residual network of four stages with 8 to 64 channels, or a transformer of four stages, on all images of MNIST or
Fashion-MNIST. Every arm has the FLOPs of `joint`; with --equal span it has its FLOPs one after another instead, so that blocks at
once learn longer, as they would with a worker each.

Deviations from the papers: our own data, networks and budget; a linear probe of the deepest code instead of the last head; views
are masked inputs of each block instead of crops of images. Growth by copying needs stages with the same shape, which only the
transformer has.

Command: python -m studies.local_learning --tune 8 --out results/local_learning/mnist
         python -m studies.local_learning --out results/local_learning/mnist
         python -m studies.local_learning --net transformer --data fashion-mnist
         python -m studies.local_learning --equal span
Expected and cost: the pages of the records, generated from the rows, once they have been run. Estimated by --dry-run, for MNIST
on two cores: the runs take two and a half hours on either network; --tune 8 takes about as long.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from studies.design.drawing import Drawing
from studies.design.search import Among, LogRange, Search
from studies.framework.training_study import TrainingStudy
from studies.pretraining.local_learning.answer import answer
from studies.pretraining.local_learning.arms import (
    JOINT,
    LABELS,
    LOCKING,
    SIMULTANEOUS,
    arm_name,
    arms,
)
from studies.pretraining.local_learning.claims import claims, comparisons
from studies.pretraining.local_learning.figure import CAPTION, FIGURE, draw_local_learning

OPTION = "--net"
NAME = "local_learning"

PROTOCOL = """\
- **Network** (unless --stack gives another): NETWORK. With the same seed, all arms have the same initial weights, order of
  images and label subsets.
- **Arms** are named by how they are trained and what is learned. `end-to-end`: all stages by one loss of the deepest code;
  `joint` is reconstruction of the image end to end. `greedy`: one stage after another, on the frozen stages below.
  `simultaneous`: all stages at once, without gradients between them. `pairs`: two blocks of two stages at once.
  `reconstruction`: of what a block reads. `labels`: the classes of all training images, by an auxiliary classifier with one
  hidden layer (Belilovsky et al. 2019). `labels+image`: in all blocks but the last also the image, by a small decoder of its
  own (Wang et al. 2021), with a weight of the labels that is tuned. `similarity`: of examples as that of their labels;
  `labels+similarity`: both, with weights 0.01 and 0.99 (Nøkland & Eidnes 2019). `barlow-twins`: of two masked versions of what
  a block reads (Zbontar et al. 2021). `infonce`: between rows of the map (Löwe et al. 2019). `simultaneous, labels, delayed`: a
  block reads one of the last five codes of the one below, as it was then (Belilovsky et al. 2020). `joint, locking`: `joint`,
  whose stages freeze one after another from the bottom (Erdogan et al. 2025). GROWTH`random`: not trained.
- **Equal cost**: `joint` has {finetune_epochs}. Every other trained arm has as many training FLOPs, counted by torch, or with
  --equal span as many of those that are computed one after another if each block that learns alone has a worker of its own: of
  blocks at once only those of the block with most count, passing its code on included. Codes of frozen stages and running
  statistics are computed by one worker. `joint, locking` has as many updates as `joint` instead, and fewer FLOPs, which is what
  is claimed of it.
- **Which arms can be compared**: arms with labels or similarity use the labels of all training images. Their linear probe
  profits from these, so they are compared with `end-to-end, labels`, and their classifiers are reported for all labels only.
- **Memory** is counted: the largest number of bytes of tensors during an update of any phase (weights, gradients, optimiser
  state, activations and the batch), without the workspace of kernels. All arms have batches of {batch}, so that it can be
  compared.
- **Information**: the test error of a fresh linear decoder, ridge regression from the frozen code of each stage to the pixels,
  the same for all arms. It is that to compare, because the own decoders of most arms are not trained, whose test MSE says
  nothing.
- **Optimisation**: {optimiser}. Learning rate and schedule of every arm, the weight of labels beside the image and the share of
  masked values of `barlow-twins` are tuned with the same number of trials for each arm, by a linear probe on validation images
  (see Tuning).
- **Splits**: {train} training images; {valid} images of the official training set are held out for validation, stratified by
  class. Curves and all selection use validation images only. The test set is read once, after training.
- **Linear probe**: logistic regression (scikit-learn, L2, C = 0.1, lbfgs, at most 200 iterations) on standardised codes of
  {probe_labels} labelled training images{averaged}; no hyperparameter is selected.
- **Classifier**: a linear head on the bottleneck. Head and encoder are trained with Adam for {updates} updates or {epochs},
  whichever is more; learning rate ({lrs}) and number of updates are selected on {checked}.
- **Not compared here**: Forward-Forward and SoftHebb, which have no loss of a code, are measured by `python -m
  studies.local_baselines`, whose cost is not equal to that of these arms.
"""
GROWTH = (
    "`progressive`: stages are added one by one, and all so far learn to reconstruct the image; `progressive-copy`: each stage "
    "from the third on begins as a copy of the one below (Du et al. 2024). "
)
SEARCH: Search = {
    "optimisation.lr": LogRange(5e-4, 3e-2),
    "optimisation.schedule": Among(("cosine", "onecycle")),
}
#: arms of the smoke run
SMOKE_ARMS = [JOINT, LOCKING, arm_name(SIMULTANEOUS, LABELS)]


@dataclass(frozen=True)
class Network:
    """A network of the study: its stages, those of its smoke run, and both in words.

    has_growth: whether stages from the third on can begin as copies of those below. image: options of the objective that
    reconstructs the image, whose decoder fits the size of the network.
    """

    name: str
    words: str
    stages: Sequence[dict[str, Any]]
    smoke: Sequence[dict[str, Any]]
    has_growth: bool
    image: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class NetworkStudy(TrainingStudy):
    """The study on one network. net: what stands after --net in its command ("": the default)."""

    net: str = ""

    @property
    def prog(self) -> str:
        return f"{super().prog} {OPTION} {self.net}" if self.net else super().prog


def residual(width: int, stride: int = 2) -> dict[str, Any]:
    """Return a residual stage; with stride 2 it halves height and width."""
    return {"kind": "residual", "width": width, "options": {"stride": stride}}


def transformer(width: int, patch: int) -> dict[str, Any]:
    """Return a stage of one transformer block on patches, or with patch 1 one that adds to the tokens of the stage below."""
    options = {"patch": patch} if patch > 1 else {"patch": 1, "residual": True}
    return {"kind": "transformer", "width": width, "activation": "linear", "options": options}


NETWORKS = (
    Network(
        "residual",
        "four residual stages with 8, 16, 32 and 64 channels, each of which halves height and width, with a deepest code of 64 "
        "maps of 2 x 2",
        [residual(width) for width in (8, 16, 32, 64)],
        [residual(4), residual(8), residual(8, 1), residual(8, 1)],
        has_growth=False,
        image={"image.width": 4},
    ),
    Network(
        "transformer",
        "four transformer stages of one block each on 4 x 4 patches of 7 x 7 pixels, with 32 features; those above the first "
        "add to the tokens that they read",
        [transformer(32, 7), *[transformer(32, 1)] * 3],
        [transformer(8, 2), *[transformer(8, 1)] * 3],
        has_growth=True,
        image={"image.width": 16, "image.blocks": 1},
    ),
)


def study_of(network: Network, net: str = "") -> TrainingStudy:
    """Return the study on a network. net: as in `NetworkStudy`."""
    protocol = PROTOCOL.replace("NETWORK", network.words).replace("GROWTH", GROWTH if network.has_growth else "")
    return NetworkStudy(
        name=f"{NAME}-{net}" if net else NAME,
        module=NAME,
        net=net,
        title=f"Local learning: what blocks that learn alone cost and save ({network.name})",
        question=__doc__.splitlines()[0],
        protocol=protocol,
        arms=arms(network.has_growth, network.image),
        reference=JOINT,
        budget_arm=JOINT,
        search=SEARCH,
        search_split={},
        tuning_measure="probe_acc",
        defaults={
            "stack": {"stages": list(network.stages)},
            "epochs": [2.0],
            "finetune": 2.0,
            "lr": 3e-3,
            "batch_size": 64,
            "seeds": 5,
            "evaluation": {"fresh_decoder": True},
        },
        smoke={
            "stack": {"stages": list(network.smoke)},
            "arms": SMOKE_ARMS,
            "labels": ["100", "all"],
            "evaluation": {"probe_every": 50},
        },
        claims=claims(network.has_growth),
        comparisons=comparisons(network.has_growth),
        quote=answer,
        drawings={FIGURE: Drawing(CAPTION, draw_local_learning)},
        figures=("curves", "probe_by_depth", "label_budget"),
    )


#: the study on each network, by its name; the first is the default
STUDIES = {network.name: study_of(network, network.name if k else "") for k, network in enumerate(NETWORKS)}
