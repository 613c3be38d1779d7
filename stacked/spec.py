"""Run specs: frozen values that say everything a run's numbers depend on.

They compare, hash and round-trip through JSON, and are validated where they are constructed: a spec that exists can run.
Where and how a run executes (device, threads, folders, caching of codes) is not part of it.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field
from typing import Any

from stacked import data
from stacked.checks import choice, need, positive, whole
from stacked.growth import POLICIES, Phase, Updates
from stacked.plain import from_dict, to_json

Options = tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class DataSpec:
    """Which images: `limit` takes a stratified subset of the training images, `valid` is the fraction of the official
    training set held out for selection; `image_size` (pixels) and `grey` concern image folders alone."""

    name: str = "mnist"
    limit: int | None = None
    valid: float = 1 / 12
    image_size: int = 224
    grey: bool = False

    def __post_init__(self) -> None:
        data.check_name(self.name)
        if self.limit is not None:
            whole(self.limit, "limit")
        whole(self.image_size, "image_size")
        need(
            0 < self.valid < 1,
            f"valid {self.valid!r} is not allowed: give a fraction between 0 and 1, exclusive",
        )


@dataclass(frozen=True)
class StageSpec:
    """One stage: its kind, its width (channels or units), its code's activation, and options of that kind alone."""

    kind: str = "conv"
    width: int = 16
    activation: str = "relu"
    options: Options = ()

    def __post_init__(self) -> None:
        # torch is imported only when a spec is made, so that a command line can show its help at once
        import inspect

        from stacked.stages import kinds
        from stacked.stages.activations import ACTIVATIONS

        options = self.options.items() if isinstance(self.options, dict) else self.options
        object.__setattr__(self, "options", tuple(sorted((str(k), v) for k, v in options)))
        choice(self.kind, kinds(), "stage kind")
        choice(self.activation, ACTIVATIONS, "activation")
        whole(self.width, f"width of a {self.kind} stage")
        known = set(inspect.signature(kinds()[self.kind]).parameters) - {
            "in_shape",
            "width",
            "activation",
            "output",
            "pixels",
        }
        for name, _ in self.options:
            choice(name, sorted(known), f"option of a {self.kind} stage")


@dataclass(frozen=True)
class StackSpec:
    """The stages from the pixels up; `output` is the activation of the reconstructed pixels."""

    stages: tuple[StageSpec, ...] = field(default_factory=lambda: tuple(StageSpec("conv", n) for n in (16, 32, 64, 16)))
    output: str = "sigmoid"

    def __post_init__(self) -> None:
        from stacked.stages.activations import ACTIVATIONS

        object.__setattr__(self, "stages", tuple(self.stages))
        need(
            len(self.stages) > 0,
            "a stack of no stages is not allowed: give at least one width, for instance 16",
        )
        choice(self.output, ACTIVATIONS, "output activation")

    @classmethod
    def of(
        cls, kind: str, *widths: int, activation: str = "relu", output: str = "sigmoid", **options: Any
    ) -> StackSpec:
        """A stack of one kind of stage: `StackSpec.of("conv", 16, 32)`, `StackSpec.of("dense", 500, 30, tied=True)`."""
        return cls(tuple(StageSpec(kind, width, activation, tuple(options.items())) for width in widths), output)

    @property
    def depth(self) -> int:
        return len(self.stages)

    def read_activation(self, stage: int) -> str:
        """The activation of what stage `stage` (from 1) reads, hence of what it reconstructs."""
        return self.output if stage == 1 else self.stages[stage - 2].activation


@dataclass(frozen=True)
class Budget:
    """How long to train, in `unit` "epochs" or "updates": `stages` for each stage alone (one number for all, or one
    each), `end_to_end` for all stages together; None where the policy has no such part."""

    stages: tuple[float, ...] | None = (1.0,)
    end_to_end: float | None = 1.0
    unit: str = "epochs"

    def __post_init__(self) -> None:
        if isinstance(self.stages, (int, float)):
            object.__setattr__(self, "stages", (self.stages,))
        if self.stages is not None:
            object.__setattr__(self, "stages", tuple(self.stages))
        choice(self.unit, ("epochs", "updates"), "budget unit")
        for value in [*(self.stages or ()), *([] if self.end_to_end is None else [self.end_to_end])]:
            positive(value, "budget")
            need(
                self.unit == "epochs" or value == int(value),
                f"budget {value} is not a whole number of updates",
            )

    def in_updates(self, depth: int, updates_per_epoch: int) -> Updates:
        """The same budget in updates for a stack of `depth`; at least 1 each."""
        factor = updates_per_epoch if self.unit == "epochs" else 1
        stages = self.stages
        if stages is not None:
            stages = stages * depth if len(stages) == 1 else stages
            need(
                len(stages) == depth,
                f"{len(stages)} stage budgets do not fit {depth} stages: give one, or one for each",
            )
        return Updates(
            None if stages is None else tuple(max(1, round(value * factor)) for value in stages),
            None if self.end_to_end is None else max(1, round(self.end_to_end * factor)),
        )


@dataclass(frozen=True)
class Optimisation:
    """How a phase is trained. `corruption_level` and `loss` hold one value for all depths, or one for each depth read.

    lr: peak learning rate. schedule: its course over a phase, after `warmup` updates of linear rise. clip: largest global
    gradient norm (None: no clipping). patience: end a phase when its validation loss, taken every epoch, has not improved
    for so many epochs, and restore the best weights (None: never).
    """

    optimiser: str = "adam"
    lr: float = 1e-3
    schedule: str = "constant"
    warmup: int = 0
    weight_decay: float = 0.0
    momentum: float = 0.9
    clip: float | None = None
    batch_size: int = 256
    corruption: str = "masking"
    corruption_level: tuple[float, ...] = (0.0,)
    loss: tuple[str, ...] = ("mse",)
    patience: int | None = None

    def __post_init__(self) -> None:
        from stacked.corruption import CORRUPTIONS
        from stacked.objectives import LOSSES
        from stacked.optim import OPTIMISERS, SCHEDULES

        if isinstance(self.corruption_level, (int, float)):
            object.__setattr__(self, "corruption_level", (float(self.corruption_level),))
        if isinstance(self.loss, str):
            object.__setattr__(self, "loss", (self.loss,))
        choice(self.optimiser, OPTIMISERS, "optimiser")
        choice(self.schedule, SCHEDULES, "schedule")
        choice(self.corruption, CORRUPTIONS, "corruption")
        for name in self.loss:
            choice(name, LOSSES, "loss")
        most = CORRUPTIONS[self.corruption][1]
        for level in self.corruption_level:
            upper = "or more" if math.isinf(most) else f"to {most:g}"
            need(
                0 <= level <= most and math.isfinite(level),
                f"corruption level {level} of {self.corruption} is not allowed: give 0 {upper}",
            )
        positive(self.lr, "learning rate")
        whole(self.batch_size, "batch_size")
        whole(self.warmup, "warmup", 0)
        need(0 <= self.weight_decay < math.inf, f"weight_decay {self.weight_decay} is not allowed: give 0 or more")
        need(0 <= self.momentum < 1, f"momentum {self.momentum} is not allowed: give 0 or more, below 1")
        if self.clip is not None:
            positive(self.clip, "clip")
        if self.patience is not None:
            whole(self.patience, "patience")

    def level_at(self, depth: int) -> float:
        """The corruption level of what is read at `depth` (0: pixels)."""
        return self.corruption_level[depth if len(self.corruption_level) > 1 else 0]

    def loss_at(self, depth: int) -> str:
        """The loss of reconstructing what is read at `depth` (0: pixels)."""
        return self.loss[depth if len(self.loss) > 1 else 0]


@dataclass(frozen=True)
class Evaluation:
    """What is measured while training, on images of the validation split, and the linear probe's protocol.

    every: updates between two points of the curves, the same for all arms that are compared. images: validation images of
    a point. probe_every: every so many points, a quick probe: ridge regression on the codes of `probe_images` training
    images, accuracy on as many validation images. probe_labels: training labels of the final probes (fewer where there are
    fewer). until: the update up to which the constant of an arm that is not trained is drawn.
    """

    every: int = 20
    images: int = 256
    probe_every: int = 10
    probe_images: int = 1000
    probe_labels: int = 3000
    until: int = 0

    def __post_init__(self) -> None:
        whole(self.until, "until", 0)
        for name in ("every", "images", "probe_every", "probe_images", "probe_labels"):
            whole(getattr(self, name), name)


@dataclass(frozen=True)
class Classification:
    """The fine-tuned classifier: label budgets (None: all labels) and the grid that is searched on the validation split.

    Each learning rate of `lrs` is trained with Adam on batches of at most `batch_size`, for `updates` updates or `epochs`
    epochs, whichever is more; accuracy on `images` validation images is taken `checks` times on the way, and the best
    point of all is kept.
    """

    labels: tuple[int | None, ...] = (100, 1000, None)
    lrs: tuple[float, ...] = (1e-3, 3e-3)
    updates: int = 150
    epochs: float = 1.0
    batch_size: int = 128
    checks: int = 5
    images: int = 1000

    def __post_init__(self) -> None:
        for budget in self.labels:
            if budget is not None:
                whole(budget, "label budget")
        need(len(self.lrs) > 0, "no learning rates to pick from: give at least one")
        for lr in self.lrs:
            positive(lr, "learning rate")
        positive(self.epochs, "epochs")
        for name in ("updates", "batch_size", "checks", "images"):
            whole(getattr(self, name), name)
        need(
            self.checks <= self.updates,
            f"{self.checks} checks do not fit {self.updates} updates: give fewer checks",
        )


@dataclass(frozen=True)
class RunSpec:
    """One arm with one seed: all that a run's numbers depend on. `id` names it by its content."""

    policy: str = "greedy+finetune"
    seed: int = 0
    data: DataSpec = field(default_factory=DataSpec)
    stack: StackSpec = field(default_factory=StackSpec)
    budget: Budget = field(default_factory=Budget)
    optimisation: Optimisation = field(default_factory=Optimisation)
    evaluation: Evaluation = field(default_factory=Evaluation)
    classification: Classification = field(default_factory=Classification)

    def __post_init__(self) -> None:
        from stacked.objectives import LOSSES

        choice(self.policy, POLICIES, "policy")
        whole(self.seed, "seed", 0)
        for what, values in (
            ("corruption levels", self.optimisation.corruption_level),
            ("losses", self.optimisation.loss),
        ):
            fits = len(values) in (1, self.stack.depth)
            need(fits, f"{len(values)} {what} do not fit {self.stack.depth} stages: give one, or one for each")
        for phase in self.phases(updates_per_epoch=1):
            name, read = self.optimisation.loss_at(phase.reads), self.stack.read_activation(phase.reads + 1)
            allowed = LOSSES[name][1]
            need(
                allowed is None or read in allowed,
                f"loss {name!r} cannot be used in phase {phase.name!r}, which reconstructs values of a {read} activation: "
                f"use 'mse' there, or the activation {' or '.join(sorted(allowed or ()))}",
            )

    def phases(self, updates_per_epoch: int) -> list[Phase]:
        """The phases of this run."""
        budget = self.budget.in_updates(self.stack.depth, updates_per_epoch)
        return POLICIES[self.policy](self.stack.depth, budget)

    @property
    def id(self) -> str:
        """The first 16 hex digits of the SHA-256 of the spec's canonical JSON."""
        return hashlib.sha256(to_json(self).encode()).hexdigest()[:16]


def from_json(text: str) -> RunSpec:
    """The run spec that `to_json` wrote."""
    return from_dict(RunSpec, json.loads(text))
