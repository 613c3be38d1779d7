"""Descriptions in MLflow of experiments and runs: what was measured, on which images, and where results are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stacked.spec import RunSpec

#: The tag of a run or an experiment that MLflow shows as its description, in Markdown.
NOTE = "mlflow.note.content"
#: How a description of an experiment begins; one that does not is the user's own, and is kept.
BEGINNING = "Autoencoders trained layer by layer or jointly"


def of_run(spec: RunSpec) -> str:
    """What the metrics of a run are measured on."""
    config, share = spec.evaluation, f"{100 * spec.data.valid:.3g} %"
    return "\n".join(
        [
            f"- `eval/*`: while training, on at most {config.images:,} images of the validation split, {share} of the official "
            "training images, on which nothing is trained. `eval/recon_mse` is the mean squared error per pixel of their "
            "reconstructions by all stages so far, pixels in [0, 1]; `eval/fvu` the fraction of variance unexplained; "
            f"`eval/probe_acc` the accuracy of a ridge regression that is fitted to the codes of at most {config.probe_images:,} "
            "training images, on as many validation images.",
            "- `final/*`: after training, on all test images; those named `valid` on validation images.",
            "- `train/*`: the loss that the current phase minimises, which differs between phases.",
            "- The step is the number of updates over all phases; `final/*` are at step 0.",
        ]
    )


def of_experiment(base: RunSpec, reports: Mapping[str, str], views: Sequence[tuple[str, str, str]]) -> str:
    """What an experiment holds; reports: address by study; views: (study, what the view shows, its address).

    The first line says most, because MLflow shows no other until its reader asks for more.
    """
    stages = ", ".join(f"{stage.kind} {stage.width}" for stage in base.stack.stages)
    places: dict[str, list[str]] = {}
    for study, what, address in views:
        places.setdefault(study, []).append(f"[{what}]({address})")
    return "\n".join(
        [
            f"{BEGINNING}, on {base.data.name}; stages: {stages}. Curves (`eval/*`) are of validation images, `final/*` of test "
            f"images. Tables and figures: {', '.join(f'[{study}]({address})' for study, address in reports.items())}.",
            "",
            *(f"- **{study}**: {', '.join(found)}" for study, found in places.items()),
            "",
            of_run(base),
            "- Runs tagged `kind = arm` are arms with a seed; each has a run for every phase of its training below it.",
        ]
    )
