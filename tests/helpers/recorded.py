"""Rows and curves of runs that were never trained, as a study records them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stacked import RunSpec
from stacked.util.serialization import to_json
from studies.record import runs as record

ARMS = ("greedy", "joint")
RUNS = [RunSpec(policy=arm, seed=seed) for seed in range(4) for arm in ARMS]


def row(spec: RunSpec, **more: Any) -> dict[str, Any]:
    known = {"run": spec.id, "arm": spec.policy, "seed": spec.seed, "status": "finished", "updates": 10, "gflop": 0}
    return {**known, "final/recon_mse": 0.1 + spec.seed, **more, "spec": to_json(spec)}


def curve(spec: RunSpec) -> list[dict[str, Any]]:
    known = {"run": spec.id, "arm": spec.policy, "seed": spec.seed, "phase": "é, joint"}
    return [
        known | {"step": step, "phase_step": step, "progress/stage": 1, "train/loss": 0.5 / (1 + step)}
        for step in (0, 5, 9)
    ]


def add(out: Path, spec: RunSpec) -> None:
    record.add(out, row(spec), curve(spec), {}, ARMS)


def add_missing(out: Path) -> None:
    """Record each run that is not recorded yet, with an empty line on stdout when it is; then sort the rows."""
    done = record.finished(out)
    for spec in RUNS:
        if spec.id not in done:
            add(out, spec)
            print(flush=True)
    record.sort_rows(out, ARMS)
