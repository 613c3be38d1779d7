"""The arms of the study of local learning: each rule, in the ways that blocks can be trained by it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from studies.design.arms import Arm
from studies.design.search import Among, LogRange, Search

#: ways of training: all stages by one loss; one stage after another; all at once without gradients between stages, or between
#: pairs of stages
GLOBAL, GREEDY, SIMULTANEOUS, PAIRS = "end-to-end", "greedy", "simultaneous", "pairs"
#: arms that are no combination of a way and a rule
JOINT, LOCKING, RANDOM, DELAYED = "joint", "joint, locking", "random", "simultaneous, labels, delayed"
PROGRESSIVE, COPY = "progressive", "progressive-copy"
RECONSTRUCTION, LABELS, IMAGE = "reconstruction", "labels", "labels+image"
SIMILARITY, BOTH, TWINS, INFONCE = "similarity", "labels+similarity", "barlow-twins", "infonce"


@dataclass(frozen=True)
class Rule:
    """What a block learns: the weights of objectives (none: to reconstruct what it reads) and other changes of the spec.

    A weight is one for all stages, or one for each of the four. yardstick: name of the rule of the arm that is trained end to
    end and that blocks with this rule are compared with. search: addition to the search space.
    """

    weights: Mapping[str, float | tuple[float, ...]]
    yardstick: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    search: Search = field(default_factory=dict)

    @property
    def learns_labels(self) -> bool:
        """Whether the rule uses the labels of all training images."""
        return bool({LABELS, SIMILARITY} & set(self.weights))


#: a hidden layer of convolutions and a mean over positions before the linear layer (Belilovsky et al. 2019)
_HEAD = {"labels.layers": 1, "labels.pooled": True}
_CLASSIFIER = {"optimisation.objective_options": _HEAD}
#: Every rule by its name. The last block does not reconstruct the image, as in Wang et al. 2021; the weights of labels and
#: similarity together are those of Nøkland & Eidnes 2019.
RULES = {
    RECONSTRUCTION: Rule({}, RECONSTRUCTION),
    LABELS: Rule({"labels": 1.0}, LABELS, _CLASSIFIER),
    IMAGE: Rule(
        {"labels": 1.0, "image": (1.0, 1.0, 1.0, 0.0)},
        LABELS,
        _CLASSIFIER,
        {"optimisation.objectives.labels": LogRange(0.1, 10.0)},
    ),
    SIMILARITY: Rule({"similarity": 1.0}, LABELS),
    BOTH: Rule({"labels": 0.01, "similarity": 0.99}, LABELS, _CLASSIFIER),
    TWINS: Rule(
        {"barlow-twins": 1.0},
        TWINS,
        {"optimisation.corruption_level": 0.25},
        {"optimisation.corruption_level": Among((0.1, 0.25, 0.4))},
    ),
    INFONCE: Rule({"infonce": 1.0}, INFONCE),
}
#: the most updates by which codes are old in the arm that is delayed
STALENESS = 4
#: the rules of the arms that are trained end to end, beside `joint`
YARDSTICKS = (LABELS, TWINS, INFONCE)
#: the rules by which pairs of stages are trained
PAIRED = (RECONSTRUCTION, LABELS, TWINS)
#: the policy of each way, for a rule without objectives and with them
POLICIES = {
    GLOBAL: (JOINT, "end-to-end"),
    GREEDY: ("greedy", "local"),
    SIMULTANEOUS: ("simultaneous", "local-simultaneous"),
    PAIRS: ("simultaneous", "local-simultaneous"),
}


class Place(NamedTuple):
    """What an arm is: its way of training and the name of its rule."""

    way: str
    rule: str


def arm_name(way: str, rule: str) -> str:
    """Return the name of an arm: "greedy, labels"; `joint` is reconstruction end to end."""
    return JOINT if (way, rule) == (GLOBAL, RECONSTRUCTION) else f"{way}, {rule}"


#: the way and the rule of every combined arm, by its name
PLACES = {
    arm_name(way, rule): Place(way, rule)
    for way, rules in (
        (GLOBAL, (RECONSTRUCTION, *YARDSTICKS)),
        (GREEDY, tuple(RULES)),
        (SIMULTANEOUS, tuple(RULES)),
        (PAIRS, PAIRED),
    )
    for rule in rules
}


def yardstick(rule: str) -> str:
    """Return the name of the arm that is trained end to end and that arms with this rule are compared with."""
    return arm_name(GLOBAL, RULES[rule].yardstick)


def combined(name: str, place: Place, image: Mapping[str, Any]) -> Arm:
    """Return the arm of a way and a rule. image: options of the decoder of the image."""
    rule = RULES[place.rule]
    weights = {f"optimisation.objectives.{objective}": weight for objective, weight in rule.weights.items()}
    blocks: dict[str, Any] = {"blocks": 2} if place.way == PAIRS else {}
    policy = POLICIES[place.way][bool(rule.weights)]
    changes = {**weights, **rule.changes, **blocks}
    if "image" in rule.weights:
        changes["optimisation.objective_options"] = {**_HEAD, **image}
    return Arm(name, policy, changes, search=rule.search)


def arms(has_growth: bool, image: Mapping[str, Any]) -> tuple[Arm, ...]:
    """Return all arms; has_growth: whether stages can begin as copies of those below, so that growth by copying is among them.

    image: options of the decoder of the image. `joint, locking` has as many updates as `joint`, and so fewer FLOPs.
    """
    delayed = combined(DELAYED, Place(SIMULTANEOUS, LABELS), image).with_values({"optimisation.staleness": STALENESS})
    further = [delayed, Arm(LOCKING, "lock", own_budget=True)]
    if has_growth:
        further += [Arm(PROGRESSIVE), Arm(COPY)]
    return (*(combined(name, place, image) for name, place in PLACES.items()), *further, Arm(RANDOM))
