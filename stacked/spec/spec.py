"""Run specs: immutable descriptions of what a run does.

They can be compared, hashed and stored as JSON. They are validated on construction, so that a spec is consistent in itself;
`stacked.runs.check` compares it with the data before training. How a run executes (device, threads, folders, caching of codes)
is not part of its spec; device, threads and versions of libraries change only the rounding of its numbers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from stacked import data
from stacked.components.probe_labels import PROBE_NAMES
from stacked.data.image_files.image import WHITE
from stacked.spec.architecture import StackSpec as StackSpec
from stacked.spec.architecture import StageSpec as StageSpec
from stacked.spec.blocks import Blocks, block_lengths, in_blocks
from stacked.spec.classification import Classification as Classification
from stacked.spec.growth import LONGEST as LONGEST
from stacked.spec.growth import POLICIES, Phase, Updates, spending
from stacked.spec.optimisation import Optimisation as Optimisation
from stacked.spec.optimisation import as_tuple, of_stage
from stacked.util.checks import choice, finite, need, positive, share, utf8, whole
from stacked.util.errors import InputError
from stacked.util.serialization import from_dict, omit_if_default, parsed, take_python_values, to_json

#: what probes may read, see `Evaluation`
PROBE_DEPTHS = ("code", "ends", "all")


@dataclass(frozen=True)
class DataSpec:
    """The dataset and how its images are read.

    limit: size of a stratified subset of the training images (None: all). valid: fraction of the official training set that is
    held out for validation. For image folders only: image_size (side in pixels), grey, white_level (the value of white in
    16-bit grey files; None: 65,535) and max_megapixels (of the largest image that is read; None: Pillow's limit of 89) and
    most_unreadable (share of unreadable images, 0 to 1, that are left out; None: 0, and 0.01 of shards). For tables only:
    target (the column with the labels; None: no labels) and missing (how missing values are filled in, "mean", "median" or
    "most_frequent"; None: they are refused).

    A folder of images is named "folder:PATH", a table "csv:PATH" or "parquet:PATH" and a file of arrays "npz:PATH", with a PATH
    relative to the data directory, which is not part of a spec because it depends on the machine.
    """

    name: str = "mnist"
    limit: int | None = None
    valid: float = 1 / 12
    image_size: int = 224
    grey: bool = False
    white_level: int | None = omit_if_default(None)
    max_megapixels: float | None = omit_if_default(None)
    target: str | None = omit_if_default(None)
    missing: str | None = omit_if_default(None)
    most_unreadable: float | None = omit_if_default(None)

    def __post_init__(self) -> None:
        take_python_values(self)
        need(isinstance(self.name, str), f"name {self.name!r} of the data is not allowed: give a text, such as 'mnist'")
        data.check_name(self.name)
        utf8(self.name, "name")
        object.__setattr__(self, "name", data.recorded_name(self.name))
        data.check_table_options(self.name, self.target, self.missing)
        if self.limit is not None:
            whole(self.limit, "limit")
        whole(self.image_size, "image_size")
        if self.white_level is not None:
            whole(self.white_level, "white_level", most=WHITE)
        if self.max_megapixels is not None:
            positive(self.max_megapixels, "max_megapixels")
        if self.most_unreadable is not None:
            share(self.most_unreadable, "most_unreadable")
            need(
                data.can_be_mapped(self.name),
                f"most_unreadable does not apply to {self.name!r}, which is no folder or shards of images: leave it out",
            )
        need(isinstance(self.grey, bool), f"grey {self.grey!r} is not allowed: give True or False")
        need(
            finite(self.valid) and 0 < self.valid < 1,
            f"valid {self.valid!r} is not allowed: give a fraction between 0 and 1, exclusive",
        )


@dataclass(frozen=True)
class Budget:
    """The length of training, in `unit` "epochs" or "updates".

    stages: budget of each stage alone, or of each block where the spec has `blocks` (one number for all, or one for each).
    end_to_end: budget for training all stages at once. None where the policy has no such part. An epoch is as many images as the
    training set has, in batches of the phase that the budget is for.
    """

    stages: tuple[float, ...] | None = (1.0,)
    end_to_end: float | None = 1.0
    unit: str = "epochs"

    def __post_init__(self) -> None:
        take_python_values(self)
        choice(self.unit, ("epochs", "updates"), "budget unit")
        for value in [*(self.stages or ()), *([] if self.end_to_end is None else [self.end_to_end])]:
            positive(value, "budget")
            need(value <= LONGEST, f"budget {value!r} is not allowed: give at most {LONGEST:,}")
            need(
                self.unit == "epochs" or value == int(value),
                f"budget {value} is not a whole number of updates",
            )

    def in_updates(self, depth: int, updates_per_epoch: int | Sequence[int], of: str = "stages") -> Updates:
        """Return the budget in updates for a stack of this depth, at least 1 for each part.

        updates_per_epoch: one number for all parts, or one for each stage and one for the end-to-end part. of: what the depth
        is counted in, for messages.
        """
        given = [updates_per_epoch] * (depth + 1) if isinstance(updates_per_epoch, int) else updates_per_epoch
        factors = given if self.unit == "epochs" else [1] * (depth + 1)
        stages = self.stages
        if stages is not None:
            stages = stages * depth if len(stages) == 1 else stages
            need(
                len(stages) == depth,
                f"{len(stages)} stage budgets do not fit {depth} {of}: give one, or one for each",
            )
        return Updates(
            None
            if stages is None
            else tuple(max(1, round(value * factor)) for value, factor in zip(stages, factors, strict=False)),
            None if self.end_to_end is None else max(1, round(self.end_to_end * factors[-1])),
        )


@dataclass(frozen=True)
class Evaluation:
    """Measurements during training, on validation images, and the protocol of the linear probe.

    every: updates between two evaluations, the same for all compared arms. images: validation images of an evaluation.
    probe_every: number of evaluations between two quick probes, ridge regressions on the codes of `probe_images` training
    images, scored on the same number of validation images. probe_labels: most training labels of the final probes. until: the
    update up to which the constant curve of an arm without training is drawn.
    probes: names of the final probes, of PROBE_NAMES; the docstrings of `evaluation.probes` state their protocols. "logistic" is
        the linear probe. Empty: no probes, in the curve either.
    probe_depths: what the probes read. "logistic" always reads the pixels and every code, and "dec", which trains the encoder,
        always reads the bottleneck. The others read the bottleneck ("code"), the pixels and the bottleneck ("ends"), or the
        pixels and every code ("all").
    gradients: whether the curve has the norm of the gradient of each encoder and decoder, wherever all stages learn to
        reconstruct the examples and before the first update of such a phase (see `evaluation.gradients`).
    fresh_decoder: whether the final metrics have the error on test examples of a linear decoder fitted to the code of each depth,
        which tells what codes keep even where no decoder was trained (see `evaluation.fresh_decoder`).
    """

    every: int = 40
    images: int = 128
    probe_every: int = 12
    probe_images: int = 1000
    probe_labels: int = 3000
    until: int = 0
    probes: tuple[str, ...] = omit_if_default(("logistic",))
    probe_depths: str = omit_if_default("code")
    gradients: bool = omit_if_default(False)
    fresh_decoder: bool = omit_if_default(False)

    def __post_init__(self) -> None:
        take_python_values(self)
        choice(self.probe_depths, PROBE_DEPTHS, "probe_depths")
        for name in ("gradients", "fresh_decoder"):
            given = getattr(self, name)
            need(isinstance(given, bool), f"{name} {given!r} is not allowed: give True or False")
        for name in self.probes:
            choice(name, PROBE_NAMES, "probe")
            need(self.probes.count(name) == 1, f"probe {name!r} is not allowed twice: give it once")
        whole(self.until, "until", 0, LONGEST)
        for name in ("every", "images", "probe_every", "probe_images", "probe_labels"):
            whole(getattr(self, name), name, most=LONGEST)


@dataclass(frozen=True)
class RunSpec:
    """One arm with one seed: all settings of a run. Its `id` is a hash of its content.

    blocks: what the policy trains as it would train stages (None: stages): blocks of so many stages, the last one of fewer
    where the number does not divide the depth, or blocks with the given numbers of stages, from the bottom. Blocks of one stage
    each are stored as None. Settings of stages keep their meaning; `budget.stages` is the budget of each block.
    """

    policy: str = "greedy+finetune"
    seed: int = 0
    data: DataSpec = field(default_factory=DataSpec)
    stack: StackSpec = field(default_factory=StackSpec)
    budget: Budget = field(default_factory=Budget)
    optimisation: Optimisation = field(default_factory=Optimisation)
    evaluation: Evaluation = field(default_factory=Evaluation)
    classification: Classification = field(default_factory=Classification)
    blocks: Blocks = omit_if_default(None)

    def __post_init__(self) -> None:
        from stacked.spec.beginnings import check_beginnings
        from stacked.spec.compatibility import check_classification, check_fit, check_staleness, check_use

        take_python_values(self)
        choice(self.policy, POLICIES, "policy")
        whole(self.seed, "seed", 0)
        how = self.optimisation
        for what, values in (
            ("corruption levels", how.corruption_level),
            ("end_corruption levels", how.end_corruption_level),
            ("losses", how.loss),
            ("dropouts", how.dropout),
            ("end_dropouts", how.end_dropout),
            ("learning rates", how.lr),
            ("end_lr", how.end_lr),
            ("batch sizes", how.batch_size),
            ("sparsity targets", how.sparsity_target),
            *((f"weights of penalty {name!r}", weight) for name, weight in how.penalties),
            *((f"weights of objective {name!r}", weight) for name, weight in how.objectives),
        ):
            given = len(as_tuple(values))
            need(
                given in (1, self.stack.depth),
                f"{given} {what} do not fit {self.stack.depth} stages: give one, or one for each",
            )
        phases = self.phases()  # which checks that blocks and budget fit the stack
        if set(self.block_lengths) == {1}:
            object.__setattr__(self, "blocks", None)  # the same run has the same id
        for phase in phases:
            check_fit(self.stack, self.optimisation, phase)
        check_beginnings(self.stack, phases)
        check_use(self.optimisation, phases)
        check_staleness(self.stack, self.optimisation, phases)
        check_classification(self.stack, self.classification)
        if self.budget.unit == "epochs":
            self.updates_per_epoch(1)  # which checks that epochs can be counted

    def updates_per_epoch(self, images: int, policy: str | None = None) -> list[int]:
        """Return the updates of an epoch of so many training images, for each stage or block, and for training all at once.

        Each is counted in batches of the phases in which `policy` (None: that of the spec) spends this part of the budget. Raises
        InputError if these have several batch sizes.
        """
        need(images > 0, "there are no images to train on: give at least one")
        how, name, found = self.optimisation, policy or self.policy, []
        every = {*as_tuple(how.batch_size)} | ({how.end_batch_size} if how.end_batch_size else set())
        if len(every) == 1:  # which takes no time in a deep stack
            return [images // min(*every, images)] * (len(self.block_lengths) + 1)
        steps = len(self.block_lengths)
        for step, phases in enumerate(spending(in_blocks(POLICIES[name], self.block_lengths), steps), start=1):
            # a part that the policy does not use has any size
            sizes = {how.batch_size_of(phase) for phase in phases} or {of_stage(how.batch_size, 1)}
            what = "stage" if self.blocks is None else "block"
            part = f"the budget of {what} {step}" if step <= steps else "the end_to_end budget"
            listed = ", ".join(map(str, sorted(sizes)))
            need(
                len(sizes) == 1,
                f"policy {name!r} spends {part} in phases of different batch sizes ({listed}), which have epochs of different "
                "lengths: give the budget in updates, or one batch size",
            )
            found.append(images // min(*sizes, images))
        return found

    def phases(self, updates_per_epoch: int | Sequence[int] = 1_000_000) -> list[Phase]:
        """Return the phases of this run, whose lengths depend on `updates_per_epoch` (see `Budget.in_updates`).

        The default number is large enough that no share rounds to 0.
        """
        return self.phases_of(self.updates(updates_per_epoch))

    def updates(self, updates_per_epoch: int | Sequence[int]) -> Updates:
        """Return the budget in updates, for each stage or block (see `Budget.in_updates`)."""
        of = "stages" if self.blocks is None else "blocks"
        return self.budget.in_updates(len(self.block_lengths), updates_per_epoch, of)

    def phases_of(self, updates: Updates, policy: str | None = None) -> list[Phase]:
        """Return the phases of `policy` (None: that of the spec) for a budget in updates, in blocks where the spec has them."""
        lengths = self.block_lengths
        return in_blocks(POLICIES[policy or self.policy], lengths)(len(lengths), updates)

    @property
    def block_lengths(self) -> tuple[int, ...]:
        """The number of stages of each block, from the bottom; 1 for each stage without `blocks`."""
        return block_lengths(self.blocks, self.stack.depth)

    @property
    def id(self) -> str:
        """The first 16 hex digits of the SHA-256 of the spec's canonical JSON."""
        return hashlib.sha256(to_json(self).encode()).hexdigest()[:16]


def from_json(written: str) -> RunSpec:
    """Return the run spec stored as JSON by `to_json`; InputError if the text is not a valid spec."""
    try:
        values = parsed(written)
    except ValueError as error:
        raise InputError(
            f"{written!r} is not the JSON of a run spec ({error}): give a spec as it was recorded"
        ) from error
    return from_dict(RunSpec, values)
