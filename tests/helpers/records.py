"""Records of finished runs that were never trained, with the curves of their phases, and what a store has of them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from stacked.spec import Budget, RunSpec, StackSpec
from stacked.tracking.tracker import Store, Tracker
from stacked.util.serialization import flat, to_json
from studies.record import runs as record
from studies.record.names import configuration, experiment_name

from mlflow import MlflowClient  # isort: skip

SEEDS, EVERY = range(3), 9
BASE = RunSpec(policy="greedy+finetune", stack=StackSpec.of("conv", 4, 8), budget=Budget((22.0, 29.0), 25.0, "updates"))
OWN = f"layerwise-{configuration(BASE, 'flops')}"


def specs(base: RunSpec = BASE) -> list[RunSpec]:
    return [dataclasses.replace(base, seed=seed) for seed in SEEDS]


def recorded(out: Path, base: RunSpec = BASE, commit: str = "a" * 40, error: float = 0.1) -> Path:
    """A record of three finished runs, whose curves are measured on a grid that does not end where phases do."""
    record.prepare(out, base, "flops", "digest")
    for spec in specs(base):
        whole = sum(phase.updates for phase in spec.phases())
        known = {"run": spec.id, "arm": spec.policy, "seed": spec.seed}
        row = known | {"status": "finished", "commit": commit, "updates": whole, "threads": 1, "device": "cpu"}
        curve: list[dict[str, Any]] = []
        done = 0
        for phase in spec.phases():
            for step in (
                step for step in range(1, phase.updates + 1) if (done + step) % EVERY == 0 or done + step == whole
            ):
                at = {"phase": phase.name, "step": done + step, "phase_step": step, "progress/stage": phase.depth}
                curve.append(known | at | {"eval/recon_mse": 1 / (done + step), "train/loss": 0.5, "train/lr": 0.1})
            done += phase.updates
        record.add(out, row | {"final/recon_mse": error, "spec": to_json(spec)}, curve, {})
    return out


def trained(store: Store, spec: RunSpec, **more: object) -> None:
    """A run as a study trains it into this store."""
    tags = {"kind": "arm", "arm": spec.policy, "seed": spec.seed, "study": OWN, "spec": spec.id, **more}
    work = store.root / "work" / spec.id
    name = f"{spec.policy}/s{spec.seed}"
    with Tracker(store, experiment_name(BASE), name=name, work=work, tags=tags, params=flat(spec)) as tracker:
        tracker.log({"eval/recon_mse": 0.5, "final/recon_mse": 0.5}, 10)


def runs(store: Store, query: str) -> list[Any]:
    client = MlflowClient(store.uri)
    return client.search_runs([each.experiment_id for each in client.search_experiments()], query)


def experiments(store: Store, found: list[Any]) -> set[str]:
    client = MlflowClient(store.uri)
    return {client.get_experiment(run.info.experiment_id).name for run in found}
