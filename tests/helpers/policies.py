"""What a policy asks of a spec, read from its phases, so that tests of all policies need no list of them."""

from __future__ import annotations

from stacked.spec.growth import POLICIES, Phase, Updates


def phases_of(policy: str) -> list[Phase]:
    """Its phases at depth two, under a small budget."""
    return POLICIES[policy](2, Updates((2, 2), 4))


def makes_updates(policy: str) -> bool:
    """Whether it makes any update."""
    return any(phase.updates for phase in phases_of(policy))


def needs_equal_stages(policy: str) -> bool:
    """Whether stages that it adds begin as copies or as the identity, which not every stack of three stages or more can."""
    return any(phase.begins != "drawn" for phase in POLICIES[policy](3, Updates((2, 2, 2), 6)))


def needs_patience(policy: str) -> bool:
    """Whether a phase of its growth ends when it has converged, which the spec's `patience` decides."""
    return any(phase.inherits_unspent_flops and not phase.is_finetuning for phase in phases_of(policy))
