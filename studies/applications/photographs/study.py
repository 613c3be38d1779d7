"""How well, and at which cost, does AutoEncoder224 restore colour photographs, grown layer-wise or trained jointly?

Claims: none of a paper's is held beside the rows; they are compared with photographs that are made smaller, to as many values
as a code has, and larger again.

Command: python -m studies.photographs --out results/photographs/crops
On images of one's own: python -m studies.photographs --data folder:PATH
Expected and cost: results/photographs/*/README.md, generated from the rows.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from studies.applications.photographs.figures import SMALLER, answer, draw_costs, draw_depths, draw_images
from studies.applications.quality import quality
from studies.applications.training import WAYS, equal
from studies.design.drawing import Drawing
from studies.design.measurements import Context, Measurement
from studies.measuring.study import MeasurementStudy
from studies.record.samples import save_arrays
from studies.statistics.measures import Measure

if TYPE_CHECKING:
    from torch import Tensor

    from stacked.model.stack import StackedAutoencoder
    from stacked.spec import RunSpec
    from stacked.spec.growth import Phase

#: channels of the stages of AutoEncoder224
WIDTHS = (32, 64, 128, 256, 512)
BATCH = 16
#: test images that are measured, and that are shown
IMAGES, SHOWN = 120, 6
PROTOCOL = f"""\
- **Arms**: the stages of `AutoEncoder224` (channels {"-".join(map(str, WIDTHS))}, each halving the sides), grown `layer-wise`,
  {{updates}} updates a stage and twice as many end to end, or trained `joint`ly with as many FLOPs; Adam, learning rate 0.001
  with a cosine schedule, batches of {BATCH}. Nothing was tuned.
- **Measured**: PSNR and SSIM (Wang et al. 2004) of {IMAGES} test images at most, evenly spread, the mean over images, from the
  code of every depth through the decoders below it, when all is trained: a jointly trained stack was never asked to restore
  from a shallower code, and fine-tuning does not ask for it either.
- **Images**: `photographs` are 770 training crops of seven photographs, among them galaxies, a retina and stained tissue, and
  120 test crops of three others: a cat, a rocket, a flower. Crops of one photograph overlap. Intervals are over seeds, and say
  nothing of other photographs.
- **{SMALLER}**: resized by torch's antialiased bicubic filter to at most as many values as the code of that depth has (where
  that is fewer than the image has), and back.
- **Memory**: the most bytes alive in an update of a phase, counted (`stacked.cost`), and besides those of the codes that a
  stage reads, where they are kept for it (`stacked.training.codes`). **Seconds**: of a phase, with the encoding of what it reads.
"""


def base_spec(seed: int, given: argparse.Namespace) -> RunSpec:
    """The reference stack, with the updates asked for."""
    from stacked.spec import Budget, Optimisation, RunSpec, StackSpec

    return RunSpec(
        seed=seed,
        stack=StackSpec.of("conv", *WIDTHS),
        budget=Budget((given.updates,), 2 * given.updates, "updates"),
        optimisation=Optimisation(batch_size=BATCH, schedule="cosine"),
    )


def tested(context: Context) -> Tensor:
    """The test images that are measured."""
    from stacked.evaluation.evaluate import spread

    images = context.splits.test.images
    return images[spread(len(images), IMAGES)]


def network(way: str) -> Callable[[Context, int], Iterator[Measurement]]:
    """The reference stack, trained in a way."""

    def found(context: Context, seed: int) -> Iterator[Measurement]:
        from stacked.cost.phase_cost import phase_cost
        from stacked.evaluation.evaluate import reconstructed
        from stacked.training.codes import Images
        from stacked.training.pretrain import pretrain

        splits = context.splits
        spec, gflop = equal(base_spec(seed, context.given), way, splits, len(splits.train))
        costs: dict[str, dict[str, float]] = {}
        began = time.perf_counter()

        def note(phase: Phase, stack: StackedAutoencoder) -> None:
            nonlocal began
            seconds = time.perf_counter() - began
            cost = phase_cost(spec, splits.image_shape, phase, len(splits.train))
            memory = {"phase_mb": cost.peak_bytes / 1e6, "phase_codes_mb": cost.cache.bytes / 1e6}
            costs[phase.name] = {"phase_seconds": seconds} | memory
            began = time.perf_counter()

        stack = pretrain(
            spec, Images(splits.train.images), splits.image_shape, device=context.given.device, after=note
        ).cpu()
        for phase, cost in costs.items():
            for measure, value in cost.items():
                yield Measurement(way, phase, measure, value)
        yield Measurement(way, "", "train_seconds", sum(cost["phase_seconds"] for cost in costs.values()))
        yield Measurement(way, "", "peak_mb", max(cost["phase_mb"] for cost in costs.values()))
        yield Measurement(way, "", "codes_mb", max(cost["phase_codes_mb"] for cost in costs.values()))
        yield Measurement(way, "", "gflop", gflop)
        images = tested(context)
        shapes = stack.shapes(stack.input_shape)
        for depth in range(1, stack.depth + 1):
            restored = reconstructed(stack, images, depth)
            for measure, value in quality(restored, images).items():
                yield Measurement(way, str(depth), measure, value)
            yield Measurement(way, str(depth), "compression", math.prod(shapes[0]) / math.prod(shapes[depth]))
        for measure, value in quality(reconstructed(stack, images, stack.depth), images).items():
            yield Measurement(way, "", f"whole_{measure}", value)
        if seed == 0:
            few = images[:: max(1, len(images) // SHOWN)][:SHOWN]
            save_arrays(context.out, way, {str(k): reconstructed(stack, few, k) for k in (1, 3, stack.depth)})
            save_arrays(context.out, "original", {"images": few})

    return found


def resized(context: Context, seed: int) -> Iterator[Measurement]:
    """Images made smaller, to as many values as codes have, and larger again."""
    import torch

    from stacked.model.stack import build

    images = tested(context)
    with torch.device("meta"):
        stack = build(base_spec(seed, context.given).stack, context.splits.image_shape)
    shapes = stack.shapes(stack.input_shape)
    height, width = shapes[0][1:]
    for depth, shape in enumerate(shapes[1:], start=1):
        share = math.prod(shape) / math.prod(shapes[0])
        if share >= 1:
            continue
        small = [max(1, int(side * math.sqrt(share))) for side in (height, width)]
        floats = images.float().div(255)
        few = torch.nn.functional.interpolate(floats, small, mode="bicubic", antialias=True).clamp(0, 1)
        back = torch.nn.functional.interpolate(few, (height, width), mode="bicubic").clamp(0, 1)
        for measure, value in quality(back, images).items():
            yield Measurement(SMALLER, str(depth), measure, value)
            if depth == stack.depth:
                yield Measurement(SMALLER, "", f"whole_{measure}", value)
        if depth == stack.depth and seed == 0:
            shown = back[:: max(1, len(images) // SHOWN)][:SHOWN]
            save_arrays(context.out, SMALLER, {str(depth): shown.mul(255).round().to(torch.uint8)})


def more(command: argparse.ArgumentParser) -> None:
    """Options of this study."""
    command.set_defaults(data="photographs", image_size=224)
    command.add_argument(
        "--updates", type=int, default=300, metavar="N", help="of each stage; twice as many end to end (300)"
    )


STUDY = MeasurementStudy(
    name="photographs",
    title="AutoEncoder224 on colour photographs",
    question=__doc__.splitlines()[0],
    protocol=PROTOCOL,
    methods={**{way: network(way) for way in WAYS}, "resized": resized},
    arms=(*WAYS, SMALLER),
    measures={
        "whole_psnr": Measure("PSNR of the whole stack (dB)", "higher", decimals=2),
        "whole_ssim": Measure("SSIM of the whole stack", "higher", decimals=3),
        "psnr": Measure("PSNR (dB)", "higher", decimals=2),
        "ssim": Measure("SSIM", "higher", decimals=3),
        "train_seconds": Measure("training seconds", "lower", decimals=0),
        "peak_mb": Measure("peak memory of an update (MB)", "lower", decimals=0),
        "codes_mb": Measure("codes kept besides (MB)", "lower", decimals=0),
    },
    conditions="depth",
    drawings={
        "images": Drawing(
            "Test images, restored from the code of one, three and all stages, by networks of one seed, and made smaller to as "
            "many values as the code of all has. A jointly trained stack was never asked to restore from fewer stages.",
            draw_images,
        ),
        "depths": Drawing(
            "PSNR and SSIM of test images restored from the code of every depth, means over seeds with 95 % intervals; below, "
            "how many values of the image there are to one of the code.",
            draw_depths,
        ),
        "costs": Drawing(
            "Seconds of every phase (bars: means over seeds; dots: every seed), and memory: the peak of an update, and hatched "
            "the codes that are kept for the phase besides.",
            draw_costs,
        ),
    },
    varies="initial weights and data order",
    answer=answer,
    options=more,
    smoke={"data": "photographs", "updates": 3, "image_size": 64, "limit": 64},
)
