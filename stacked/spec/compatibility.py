"""Checks that stack, optimisation and phases fit together; a combination that cannot be trained is refused with its spec."""

from __future__ import annotations

from collections.abc import Sequence

from stacked.components.corruption import CORRUPTIONS, parts
from stacked.components.losses import LOSSES
from stacked.components.penalties import PENALTIES
from stacked.components.winner_take_all import WINNER_TAKE_ALL
from stacked.objectives import objectives
from stacked.spec.architecture import StackSpec
from stacked.spec.classification import Classification
from stacked.spec.growth import Phase
from stacked.spec.objectives import decoded_ranges, learned, options_of
from stacked.spec.optimisation import Optimisation
from stacked.stages import kinds
from stacked.stages.activations import RANGES, covers
from stacked.util.checks import need


def check_fit(stack: StackSpec, config: Optimisation, phase: Phase) -> None:
    """Raise InputError, with what to change, unless a run with this stack and optimisation can train `phase`."""
    if phase.updates == 0:
        return
    need(
        not phase.inherits_unspent_flops or phase.is_finetuning or config.patience is not None,
        f"phase {phase.name!r} ends when it has converged, and the spec does not say when that is: give a patience, "
        "or use policy 'greedy'",
    )
    learning = range(phase.trainable[0], phase.trainable[1] + 1)
    need(
        config.optimiser != "lbfgs"
        or not (phase.layerwise_lr_decay or len({config.lr_of(phase, stage) for stage in learning}) > 1),
        f"optimiser 'lbfgs' has one step length for all weights, and phase {phase.name!r} has a learning rate for each stage: "
        "give one learning rate, and use '+finetune' instead of '+unfreeze'",
    )
    decoded = [first for first, _ in decoded_ranges(phase, config)]
    if decoded and phase.local_loss != "alone":
        check_loss(stack, config, phase, phase.target_depth + 1)
    for stage in decoded if phase.local_loss != "none" else ():
        check_loss(stack, config, phase, stage)
    if phase.target == "objectives":
        check_objectives(stack, config, phase)
    reading = [first for first, _ in phase.ranges] if phase.local_loss != "none" else [phase.input_depth + 1]
    for stage in reading:
        check_corruption(stack, config, phase, stage)
        restores = stage in decoded if phase.local_loss != "none" else bool(decoded)
        need(
            not restores
            or config.emphasis is None
            or config.emphasis[1] > 0
            or any(config.levels_at(stage - 1, phase)),
            f"emphasis {config.emphasis} leaves phase {phase.name!r} nothing to learn, because the input of stage {stage} is not "
            "corrupted there: give a corruption level above 0 at that depth, or a second weight above 0",
        )
    for stage in learning:
        spec = stack.stages[stage - 1]
        need(
            config.batch_size_of(phase) > 1 or stack.norm_of(stage) != "batch" or kinds()[spec.kind].maps,
            f"batch_size 1 cannot be used with norm 'batch' on stage {stage}, a {spec.kind} stage, because a batch norm needs "
            "more than one value per unit: give 2 or more, or another norm",
        )
        for name, _ in config.penalties_of(stage):
            why = PENALTIES[name].refuses(spec.kind, spec.activation, stack.norm_of(stage))
            need(not why, f"penalty {name!r} cannot be used on stage {stage}, a {spec.kind} stage: {why}")
    need(
        config.winner_take_all is None or config.patience_of(phase) is None,
        "patience watches the loss of the full code, which winner_take_all does not train: leave one of them out",
    )
    if config.winner_take_all and WINNER_TAKE_ALL[config.winner_take_all].maps:
        top = stack.stages[phase.depth - 1]
        need(
            kinds()[top.kind].maps,
            f"winner_take_all {config.winner_take_all!r} needs maps, and stage {phase.depth} is a {top.kind} stage: "
            "use 'lifetime'",
        )
    check_switches(stack, phase)


def check_objectives(stack: StackSpec, config: Optimisation, phase: Phase) -> None:
    """Raise InputError unless every block of a phase can have its objectives."""
    for first, last in phase.ranges:
        found, kind = config.objectives_of(last), kinds()[stack.stages[last - 1].kind]
        read = phase.input_depth + 1 if phase.local_loss == "none" else first
        need(
            bool(found),
            f"phase {phase.name!r} has no objective at stage {last}: give one of them a weight above 0 there",
        )
        for name, _ in found:
            objective, which = (
                objectives()[name],
                f"objective {name!r} cannot be used on stage {last}, a {kind.kind} stage",
            )
            options = options_of(name, config.objective_options)
            why = objective.refuses(kind, **options)
            need(not why, f"{which}: {why}")
            size, least = config.batch_size_of(phase), objective.least_batch
            need(
                size >= least,
                f"objective {name!r} compares the examples of a batch with each other, and batch_size {size} gives it nothing to "
                f"compare: give {least} or more",
            )
            if objective.takes_left_out(**options):
                need(
                    leaves_out(stack, last),
                    f"{which}, by the loss of hidden patches alone: it leaves none out; give it the option visible_only, or "
                    "leave hidden_only out",
                )
                need(
                    LOSSES[config.loss_at(0)].elementwise,
                    f"{which}, by the loss of hidden patches alone: loss {config.loss_at(0)!r} is not one of single values; use "
                    "'mse' for the images",
                )
            need(
                objective.views == 1 or any(config.levels_at(read - 1, phase)),
                f"objective {name!r} compares two corrupted versions of what stage {read} reads, which is not corrupted: give a "
                "corruption level above 0 at that depth",
            )
            need(
                objective.views == 1 or config.patience_of(phase) is None,
                f"patience watches the loss of clean codes, and objective {name!r} needs corrupted ones: leave one of them out",
            )
    if restores_images(phase, config):
        check_loss(stack, config, phase, 1, is_own=False)


def reconstructs_data(phase: Phase, config: Optimisation) -> bool:
    """Whether a phase reconstructs what stage 1 reads: at depth 0, by a local loss of stage 1, or as an objective."""
    if restores_images(phase, config):
        return True
    decoded = decoded_ranges(phase, config)
    if phase.local_loss != "none" and any(first == 1 for first, _ in decoded):
        return True
    return bool(decoded) and phase.local_loss != "alone" and phase.target_depth == 0


def restores_images(phase: Phase, config: Optimisation) -> bool:
    """Whether an objective of a phase reconstructs the images through its own layers, which end with the output of stage 1."""
    return any(objective.restores == "images" for objective in learned(phase, config))


def check_range(
    stack: StackSpec, config: Optimisation, phases: Sequence[Phase], low: float, high: float, scale: str
) -> None:
    """Raise InputError unless loss and output of stage 1 suit training examples with values from `low` to `high`.

    phases: those that reconstruct the data. scale: the kind of scaling by which the values were scaled.
    """
    name, output = config.loss_at(0), stack.decoder_activation(1)
    scaled = "" if scale == "none" else f" (as scaled by {scale!r})"
    values = f"the training examples hold values from {low:.4g} to {high:.4g}{scaled}"
    need(
        not LOSSES[name].unit_targets or (low >= 0 and high <= 1),
        f"loss {name!r} needs values from 0 to 1, and {values}: use loss 'mse' or 'l1', or scale 'minmax'",
    )
    least, most = RANGES[output]
    reached = (least <= low and high <= most) or all(
        config.linear_decoder and phase.is_alone(1) and not restores_images(phase, config) for phase in phases
    )
    need(
        reached,
        f"output {output!r} gives values from {least:.4g} to {most:.4g}, and {values}: use output 'linear'"
        + (", or scale 'minmax'" if least <= 0 and most >= 1 else ""),
    )


def check_classification(stack: StackSpec, recipe: Classification) -> None:
    """Raise InputError unless classifiers can be fine-tuned from a stack by this recipe."""
    config, phase = recipe.optimisation(recipe.lrs[0]), recipe.phase(stack.depth, 1)
    if recipe.labels:
        check_corruption(stack, config, phase, phase.input_depth + 1)


def check_use(config: Optimisation, phases: list[Phase]) -> None:
    """Raise InputError for an option that no phase of a run would use where only classes are learned.

    Objectives are not checked: other policies ignore them (see `Optimisation`).
    """
    if not phases or any(decoded_ranges(phase, config) for phase in phases if phase.updates):
        return
    for name, given in (
        ("emphasis", config.emphasis),
        ("winner_take_all", config.winner_take_all),
        ("linear_decoder", config.linear_decoder),
    ):
        need(
            not given,
            f"{name} {given!r} has no effect where only classes are learned: leave it out, or use a policy that reconstructs",
        )


def check_staleness(stack: StackSpec, config: Optimisation, phases: Sequence[Phase]) -> None:
    """Raise InputError for a staleness of a single block that learns alone, or of one that follows what is left out below."""
    given = f"staleness {config.staleness}"
    for phase in phases if config.staleness else ():
        if phase.local_loss != "alone":
            continue
        need(
            len(phase.ranges) > 1,
            f"{given} has no effect in phase {phase.name!r}, which trains a single block: leave it out, or use smaller blocks",
        )
        for first, _ in phase.ranges[1:]:
            need(
                not leaves_out(stack, first) or any(config.levels_at(first - 1, phase)),
                f"{given} cannot be used with stage {first}, which leaves out what was hidden from the stage below in the same "
                "update: leave out staleness, or visible_only",
            )


def check_loss(stack: StackSpec, config: Optimisation, phase: Phase, stage: int, is_own: bool = True) -> None:
    """Check the loss of reconstructing what stage `stage` reads against the ranges of its decoder and its target.

    is_own: whether the stage's own decoder reconstructs it, and not that of an objective with the same output activation.
    """
    name = config.loss_at(stage - 1)
    loss, output, read = LOSSES[name], stack.decoder_activation(stage), stack.read_activation(stage)
    prefix = f"loss {name!r} cannot be used in phase {phase.name!r}, which reconstructs"
    has_linear_decoder = is_own and config.linear_decoder and phase.is_alone(stage)
    if has_linear_decoder:
        spec = stack.stages[stage - 1]
        need(
            spec.kind == "dense",
            f"linear_decoder is for dense stages, and stage {stage} is a {spec.kind} stage: leave it out, "
            "or give that stage the decoder activation linear",
        )
        need(loss.outputs is None, f"{prefix} through a linear decoder: use 'mse' or 'l1' there")
        need(
            output in ("linear", "relu"),
            f"linear_decoder cannot leave out the activation {output} in phase {phase.name!r}: give that stage the decoder "
            "activation linear or relu",
        )
    need(
        not loss.unit_targets or read is None or RANGES[read] == (0, 1),
        f"{prefix} values of a {read} activation, which leave [0, 1]: use 'mse' there, or the activation sigmoid below",
    )
    allowed = " or ".join(sorted(loss.outputs or ()))
    need(
        loss.outputs is None or output in loss.outputs,
        f"{prefix} by a {output} decoder: use 'mse' there, or the decoder activation {allowed}",
    )
    need(
        has_linear_decoder or covers(output, read),
        f"a {output} decoder cannot restore what stage {stage} reads in phase {phase.name!r}, values of a {read} activation: "
        f"choose from {', '.join(name for name in RANGES if covers(name, read))}",
    )
    need(
        not loss.least_side or read is None,
        f"{prefix} codes: it is for pixels, use 'mse' there",
    )
    need(
        config.emphasis is None or loss.elementwise or not is_own,
        f"emphasis cannot weight loss {name!r} element by element: use 'mse'",
    )
    if config.emphasis is not None and phase.local_loss == "none" and is_own:
        need(
            phase.target_depth == phase.input_depth,
            f"emphasis cannot be used in phase {phase.name!r}, whose target is not the clean version of its corrupted input: "
            "leave it out, or use another policy",
        )


def check_corruption(stack: StackSpec, config: Optimisation, phase: Phase, stage: int) -> None:
    """Raise InputError if a corruption that needs maps acts on the vectors that stage `stage` reads."""
    below = stack.stages[stage - 2] if stage > 1 else None
    levels = config.levels_at(stage - 1, phase)
    for name, level in zip(parts(config.corruption), levels, strict=True):
        need(
            not level or not CORRUPTIONS[name].maps or below is None or kinds()[below.kind].maps,
            f"corruption {name!r} needs maps, and phase {phase.name!r} corrupts the code of a {below and below.kind} stage: "
            "give it level 0 at that depth",
        )
    check_left_out(stack, config, stage, levels, f"phase {phase.name!r}")


def check_left_out(stack: StackSpec, config: Optimisation, stage: int, levels: tuple[float, ...], what: str) -> None:
    """Raise InputError if `stage` leaves out hidden blocks and the corruption of its input does not hide its own patches.

    levels: those of the corruption of its input. what: what corrupts the input, at the beginning of the message.
    """
    if stage > stack.depth:  # the head of a classifier reads the code of the last stage
        return
    if not leaves_out(stack, stage) or not any(levels):
        return
    spec = stack.stages[stage - 1]
    option = kinds()[spec.kind].leaves_out
    options = kinds()[spec.kind].defaults() | dict(spec.options)
    acting = [name for name, level in zip(parts(config.corruption), levels, strict=True) if level]
    hiding = [name for name in acting if CORRUPTIONS[name].hides]
    names = " or ".join(repr(name) for name, each in CORRUPTIONS.items() if each.hides)
    need(
        len(hiding) == 1 and config.corruption_patch == options["patch"],
        f"{what} corrupts the input of stage {stage}, a {spec.kind} stage with {option}, by {'+'.join(acting)!r} with "
        f"corruption_patch {config.corruption_patch}: use corruption {names}, which hides the same number of blocks in every "
        f"image, once, with corruption_patch {options['patch']}"
        + (
            ", or level 0 at that depth, to leave out what the stage below leaves out" * (options["patch"] == 1 < stage)
        ),
    )


def leaves_out(stack: StackSpec, stage: int) -> bool:
    """Whether a stage (counted from 1) has the option to leave out what a corruption hides."""
    spec = stack.stages[stage - 1]
    kind = kinds()[spec.kind]
    return kind.leaves_out is not None and bool((kind.defaults() | dict(spec.options))[kind.leaves_out])


def check_switches(stack: StackSpec, phase: Phase) -> None:
    """Raise InputError if a phase decodes codes alone through a frozen stage whose decoder needs pooling switches."""
    for stage in range(phase.target_depth + 1, phase.input_depth + 1):
        need(
            dict(stack.stages[stage - 1].options).get("unpool", "nearest") == "nearest",
            f"phase {phase.name!r} decodes a code through frozen stage {stage}, whose decoder also needs the positions of the "
            "maxima: use unpool='nearest' there, or another policy, such as 'greedy-images'",
        )
