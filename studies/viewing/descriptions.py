"""Descriptions in MLflow of experiments and runs: what was measured, on which images, and where results are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from studies.statistics.words import Words

if TYPE_CHECKING:
    from stacked.spec import RunSpec

#: The tag of a run or an experiment that MLflow shows as its description, in Markdown.
NOTE = "mlflow.note.content"
#: How a description of an experiment begins. Descriptions that start otherwise were written by the user and are not overwritten.
BEGINNING = "Autoencoders trained layer by layer or jointly"


def of_run(spec: RunSpec, words: Words) -> str:
    """Return the description of a run: what its metrics are measured on."""
    config, share = spec.evaluation, f"{100 * spec.data.valid:.3g} %"
    scale = ", pixels in [0, 1]" if words == Words() else ""
    described = "\n".join(
        [
            f"- `eval/*`: while training, on at most {config.images:,} images of the validation split, {share} of the official "
            "training images, on which nothing is trained. `eval/recon_mse` is the mean squared error per pixel of their "
            f"reconstructions by all stages so far{scale}, and `eval/full_depth_mse` the same once all stages are "
            "grown; `eval/fvu` is the fraction of variance unexplained; "
            f"`eval/probe_acc` the accuracy of a ridge regression that is fitted to the codes of at most {config.probe_images:,} "
            "training images, on as many validation images.",
            "- `final/*`: after training, on all test images; those named `valid` on validation images.",
            "- `train/*`: the loss that the current phase minimises, which differs between phases.",
            "- The step is the number of updates over all phases; `final/*` are at step 0.",
        ]
    )
    return words.said(described)


def of_experiment(
    base: RunSpec, reports: Mapping[str, str], views: Sequence[tuple[str, str, str]], words: Words
) -> str:
    """Return the description of an experiment. reports: address by study. views: (study, what the view shows, its address).

    The most important facts are in the first line, because MLflow shows only this line by default.
    """
    stages = ", ".join(f"{stage.kind} {stage.width}" for stage in base.stack.stages)
    links: dict[str, list[str]] = {}
    for study, title, address in views:
        links.setdefault(study, []).append(f"[{title}]({address})")
    return "\n".join(
        [
            f"{BEGINNING}, on {base.data.name}; stages: {stages}. "
            + words.said("Curves (`eval/*`) are of validation images, `final/*` of test images. ")
            + f"Tables and figures: {', '.join(f'[{study}]({address})' for study, address in reports.items())}.",
            "",
            *(f"- **{study}**: {', '.join(found)}" for study, found in links.items()),
            "",
            of_run(base, words),
            "- Runs tagged `kind = arm` are arms with a seed; each has child runs, one per phase.",
        ]
    )
