"""How well does AutoEncoder224 restore colour photographs, and at which cost, if it is trained layer-wise or jointly?

Claims: no claim of a paper is tested. The baseline is to resize photographs to as many values as the code has, and back.

Command: python -m studies.photographs --out results/photographs/crops
On your own images: python -m studies.photographs --data folder:PATH
Expected and cost: results/photographs/*/README.md, generated from the rows.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from stacked.runtime.progress import each
from studies.applications.photographs.figures import SMALLER, answer, draw_costs, draw_depths, draw_images
from studies.applications.quality import quality
from studies.applications.training import WAYS, equal_flops_spec
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
#: largest number of test images that are measured, and number of images in the figure
IMAGES, SHOWN = 120, 6
PROTOCOL = f"""\
- **Arms**: the stages of `AutoEncoder224` (channels {"-".join(map(str, WIDTHS))}; each stage halves height and width).
  `layer-wise` is grown with {{updates}} updates for each stage and then trained end to end with twice as many; `joint` is trained
  jointly with as many FLOPs. Adam, learning rate 0.001 with a cosine schedule, batches of {BATCH}. Nothing was tuned.
- **Measures**: mean PSNR and SSIM (Wang et al. 2004) of at most {IMAGES} evenly spaced test images, restored after training from
  the code of every depth by the decoders below it. Neither joint training nor fine-tuning trains a stack to restore images from
  a code before the last.
- **Images**: `photographs` are 770 training crops of seven photographs, among them galaxies, a retina and stained tissue, and
  120 test crops of three other photographs: a cat, a rocket and a flower. Crops of one photograph overlap. Intervals are over
  seeds and do not cover other photographs.
- **{SMALLER}**: images resized with torch's antialiased bicubic filter to at most as many values as the code of that depth has,
  and back; only for depths whose code has fewer values than the image.
- **Memory**: the peak of bytes in an update of a phase, counted (`stacked.cost`), and the bytes of cached codes that a stage
  reads (`stacked.training.codes`). **Seconds**: those of a phase, including the encoding of its inputs.
"""


def base_spec(seed: int, given: argparse.Namespace) -> RunSpec:
    """Return the spec of AutoEncoder224 with the seed and the number of updates."""
    from stacked.spec import Budget, Optimisation, RunSpec, StackSpec

    return RunSpec(
        seed=seed,
        stack=StackSpec.of("conv", *WIDTHS),
        budget=Budget((given.updates,), 2 * given.updates, "updates"),
        optimisation=Optimisation(batch_size=BATCH, schedule="cosine"),
    )


def measured_images(context: Context) -> Tensor:
    """Return the test images that are measured."""
    from stacked.evaluation.evaluate import spread

    images = context.splits.test.inputs
    return images[spread(len(images), IMAGES)]


def network(way: str) -> Callable[[Context, int], Iterator[Measurement]]:
    """Return the method that measures AutoEncoder224, trained in a `way`."""

    def found(context: Context, seed: int) -> Iterator[Measurement]:
        from stacked.cost.phase_cost import phase_cost
        from stacked.evaluation.evaluate import reconstructed
        from stacked.training.codes import StoredInputs
        from stacked.training.pretrain import pretrain

        splits = context.splits
        spec, gflop = equal_flops_spec(base_spec(seed, context.given), way, splits, len(splits.train))
        costs: dict[str, dict[str, float]] = {}
        started = time.perf_counter()

        def record_costs(phase: Phase, stack: StackedAutoencoder) -> None:
            nonlocal started
            seconds = time.perf_counter() - started
            cost = phase_cost(spec, splits.input_shape, phase, len(splits.train))
            memory = {"phase_mb": cost.peak_bytes / 1e6, "phase_codes_mb": cost.cache.bytes / 1e6}
            costs[phase.name] = {"phase_seconds": seconds} | memory
            started = time.perf_counter()

        stack = pretrain(
            spec, StoredInputs(splits.train.inputs), splits.input_shape, device=context.given.device, after=record_costs
        ).cpu()
        for phase, cost in costs.items():
            for measure, value in cost.items():
                yield Measurement(way, phase, measure, value)
        yield Measurement(way, "", "train_seconds", sum(cost["phase_seconds"] for cost in costs.values()))
        yield Measurement(way, "", "peak_mb", max(cost["phase_mb"] for cost in costs.values()))
        yield Measurement(way, "", "codes_mb", max(cost["phase_codes_mb"] for cost in costs.values()))
        yield Measurement(way, "", "gflop", gflop)
        images = measured_images(context)
        shapes = stack.shapes(stack.input_shape)
        for depth in each(range(1, stack.depth + 1), "restored from depth"):
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
    """Measure images that are resized to as many values as the code of each depth has, and back."""
    import torch

    from stacked.model.stack import build

    images = measured_images(context)
    with torch.device("meta"):
        stack = build(base_spec(seed, context.given).stack, context.splits.input_shape)
    shapes = stack.shapes(stack.input_shape)
    height, width = shapes[0][1:]
    for depth, shape in enumerate(each(shapes[1:], "sizes"), start=1):
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


def add_options(command: argparse.ArgumentParser) -> None:
    """Add the options of this study."""
    command.set_defaults(data="photographs", image_size=224)
    command.add_argument(
        "--updates",
        type=int,
        default=300,
        metavar="N",
        help="updates of each stage, and twice as many end to end (300)",
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
        "codes_mb": Measure("cached codes (MB)", "lower", decimals=0),
    },
    conditions="depth",
    drawings={
        "images": Drawing(
            "Test images restored from the code of one, three and all stages, for one seed, and images resized to as many values "
            "as the last code has, and back. Joint training does not train a stack to restore images from fewer stages.",
            draw_images,
        ),
        "depths": Drawing(
            "PSNR and SSIM (higher is better) of test images restored from the code of every depth, means over seeds with 95 % "
            "intervals. Below the depth: number of values of the image for each value of the code.",
            draw_depths,
        ),
        "costs": Drawing(
            "Seconds of every phase (bars: means over seeds; dots: single seeds) and its memory: peak of an update (solid) plus "
            "cached codes (hatched). Lower is better.",
            draw_costs,
        ),
    },
    varies="the initial weights and the data order",
    answer=answer,
    options=add_options,
    smoke={"data": "photographs", "updates": 3, "image_size": 64, "limit": 64},
)
