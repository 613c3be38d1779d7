"""At which width does an autoencoder cease to learn and begin to copy, and what keeps it from that?

Claims: none of a paper's is held beside the rows. A code as wide as the input can copy it, and corruption (Vincent et al.
2010), sparsity (Ng 2011) or contraction (Rifai et al. 2011) are said to keep it from that.

Command: python -m studies.capacity --out results/capacity/mnist
Expected and cost: results/capacity/*/README.md, generated from the rows.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from stacked.checks import wholes
from studies.report.capacity import answer, draw_filters, draw_widths
from studies.report.uses import Drawing, Measure
from studies.samples import keep
from studies.uses.study import Found, Setting, Use, main

if TYPE_CHECKING:
    from torch import Tensor

    from stacked.spec import RunSpec
    from stacked.stack import StackedAutoencoder

WIDTHS = (1, 4, 16, 64, 256, 784, 1568)
#: standard deviation of the noise that is to be removed
NOISE = 0.25
#: images that are measured, and whose codes are probed
IMAGES, PROBED = 2000, 5000
#: what keeps from copying: fields of the optimisation
CURES: Mapping[str, Mapping[str, Any]] = {
    "plain": {},
    "masking": {"corruption": "masking", "corruption_level": (0.05,)},
    "noise": {"corruption": "gaussian", "corruption_level": (NOISE,)},
    "sparsity": {"penalties": {"l1": 0.1}},
    "contraction": {"penalties": {"contractive": 0.001}},
}
#: units whose weights are shown, and of which width
UNITS, SHOWN_WIDTH = 10, 784
PROTOCOL = f"""\
- **Arms**: one dense stage from the pixels to a code of hyperbolic tangents, and linearly back, Adam, learning rate 0.003
  with a cosine schedule, batches of 128, {{updates:,}} updates, on {{limit:,}} training images. `plain` has nothing else.
  `masking`: 5 % of the pixels are masked. `noise`: Gaussian noise of a standard deviation of {NOISE}. `sparsity`: the mean
  absolute value of the code, weight 0.1. `contraction`: the squared norm of the Jacobian, weight 0.001. Arms see as many
  images; what a penalty costs besides is in the seconds.
- **FVU**, squared error over the variance, of: training images; test images; test images with Gaussian noise of a standard
  deviation of {NOISE}, on which `noise` alone was trained, against the clean ones. Of {IMAGES:,} images each.
- **Copied**: the share of that noise which the reconstruction still has: 1 of what copies, and of a linear autoencoder the trace
  of its matrix over the number of pixels.
- **Probe**: accuracy on test images of ridge regression on standardised codes of {PROBED:,} training images.
- Activations and the learning rate were chosen so that codes of 4 and 16 come near on validation images to what as many
  principal components do; with logistic or rectified codes they did not, in 1,500 updates. Levels and weights were chosen by
  the FVU of noisy validation images at a width of 784, in 1,500 updates, with another seed: of masking of 3, 5, 10, 30, 50
  and 70 %, of weights of 0.001 to 10 for sparsity and 0.000001 to 0.01 for contraction, by steps of ten, and 0.003. None for
  sparsity restores noisy images better than `plain`, nor do winner-take-all codes of 5, 30 and 70 %; shown is 0.1, which
  copies less and costs little. On test images was chosen how copying is measured: a first record, of logistic codes, was
  stopped after one seed, in which codes of 1 to 16 had learnt nothing, and none restored images whose pixels were shuffled.
"""


def spec_of(cure: str, width: int, seed: int, updates: int) -> RunSpec:
    """One stage of that width, trained with a cure."""
    from stacked.spec import Budget, Optimisation, RunSpec, StackSpec

    return RunSpec(
        policy="joint",
        seed=seed,
        stack=StackSpec.of("dense", width, activation="tanh", output="linear"),
        budget=Budget(None, updates, "updates"),
        optimisation=replace(Optimisation(batch_size=128, lr=3e-3, schedule="cosine"), **CURES[cure]),
    )


def fvu(stack: StackedAutoencoder, read: Tensor, images: Tensor) -> float:
    """Squared error of the reconstruction of floats `read` against `images`, over the variance of these."""
    import torch

    with torch.no_grad():
        error = (stack.reconstruct(read) - images).square().sum(dtype=torch.float64)
    return float(error / (images - images.mean(0)).square().sum(dtype=torch.float64))


def copied(stack: StackedAutoencoder, noisy: Tensor, images: Tensor) -> float:
    """The share of the noise that the reconstruction still has: 1 of one that copies, 0 of one that does not see it.

    The mean of what the reconstruction gains along the noise, over its square: of a linear autoencoder the trace of its matrix
    over the number of pixels (what Efron 1986 calls degrees of freedom, a value).
    """
    import torch

    noise = noisy - images
    with torch.no_grad():
        gained = stack.reconstruct(noisy) - stack.reconstruct(images)
    return float((gained * noise).sum(dtype=torch.float64) / noise.square().sum(dtype=torch.float64))


def arm(cure: str) -> Callable[[Setting, int], Iterator[Found]]:
    """Autoencoders of every width, with a cure."""

    def found(setting: Setting, seed: int) -> Iterator[Found]:
        from stacked.codes import Images
        from stacked.corruption import gaussian
        from stacked.evaluate import codes, quick_probe, spread
        from stacked.pretrain import pretrain
        from stacked.rng import generator
        from studies.uses.training import gflop_of

        splits, spent = setting.splits, 0.0
        clean = {
            name: part.images[spread(len(part), IMAGES)].float().div(255)
            for name, part in (("train", splits.train), ("test", splits.test))
        }
        test = clean["test"]
        noisy = gaussian(test, NOISE, generator(seed, "denoising")).x
        labelled, judged = splits.train.take(spread(len(splits.train), PROBED)), splits.test
        for width in widths(setting):
            spec = spec_of(cure, width, seed, setting.given.updates)
            stack = pretrain(spec, Images(splits.train.images), splits.image_shape, device=setting.given.device).cpu()
            spent += gflop_of(spec, splits, len(splits.train))
            name = str(width)
            for measure, read, against in (
                ("train_fvu", clean["train"], clean["train"]),
                ("test_fvu", test, test),
                ("denoised_fvu", noisy, test),
            ):
                yield Found(cure, name, measure, fvu(stack, read, against))
            yield Found(cure, name, "copied", copied(stack, noisy, test))
            if splits.classes:
                both = [codes(stack, part.images, 1).double() for part in (labelled, judged)]
                yield Found(cure, name, "probe", 100 * quick_probe(both[0], labelled.labels, both[1], judged.labels))
            if seed == 0 and width == min(widths(setting), key=lambda w: abs(w - SHOWN_WIDTH)):
                weight = next(iter(stack.stages[0].encoder.parameters())).detach()
                few = weight[:: max(1, width // UNITS)][:UNITS]
                keep(setting.out, cure, {"filters": few.view(-1, *splits.image_shape), "width": width})
        yield Found(cure, "", "gflop", spent)

    return found


def widths(setting: Setting) -> list[int]:
    """The widths asked for, each once."""
    return wholes(setting.given.widths, "widths")


def more(command: argparse.ArgumentParser) -> None:
    """Options of this study."""
    command.set_defaults(limit=10_000)
    command.add_argument("--updates", type=int, default=1500, metavar="N", help="of each autoencoder (1500)")
    command.add_argument(
        "--widths",
        type=int,
        nargs="+",
        default=list(WIDTHS),
        metavar="N",
        help=f"of the code ({' '.join(map(str, WIDTHS))})",
    )


USE = Use(
    name="capacity",
    title="How wide a code may be before it copies",
    question=__doc__.splitlines()[0],
    protocol=PROTOCOL,
    methods={cure: arm(cure) for cure in CURES},
    arms=tuple(CURES),
    measures={
        "denoised_fvu": Measure("FVU of noisy images", 4, more=False),
        "test_fvu": Measure("FVU of test images", 4, more=False),
        "train_fvu": Measure("FVU of training images", 4, more=False),
        "copied": Measure("share of the noise that is copied", 4, more=False),
        "probe": Measure("probe accuracy (%)", 2),
    },
    conditions="width",
    drawings={
        "widths": Drawing(
            "What autoencoders of growing width restore and what they can be used for, means over seeds with 95 % intervals. The "
            "dotted line is the number of pixels.",
            draw_widths,
        ),
        "filters": Drawing("Weights from the pixels to some units of the code, each scaled for itself.", draw_filters),
    },
    answer=answer,
    options=more,
    smoke={"updates": 20, "widths": [1, 16, 80], "limit": 1000},
)

if __name__ == "__main__":
    sys.exit(main(USE))
