"""The settings that tuning chose for each arm of the policies study: the values in results/policies/mnist/choices.json."""

from __future__ import annotations

from typing import Any

CHOSEN: dict[str, dict[str, Any]] = {
    "greedy": {"optimisation.lr": 0.0101, "optimisation.batch_size": 64, "optimisation.schedule": "onecycle"},
    "greedy+finetune": {
        "optimisation.lr": 0.134,
        "optimisation.batch_size": 8,
        "optimisation.schedule": "onecycle",
        "budget.end_to_end": 86.8,
    },
    "greedy+unfreeze": {
        "optimisation.lr": 0.134,
        "optimisation.batch_size": 8,
        "optimisation.schedule": "onecycle",
        "budget.end_to_end": 86.8,
    },
    "greedy-pixels": {"optimisation.lr": 0.134, "optimisation.batch_size": 8, "optimisation.schedule": "onecycle"},
    "greedy-pixels+finetune": {
        "optimisation.lr": 0.134,
        "optimisation.batch_size": 8,
        "optimisation.schedule": "onecycle",
        "budget.end_to_end": 86.8,
    },
    "progressive": {"optimisation.lr": 0.134, "optimisation.batch_size": 8, "optimisation.schedule": "onecycle"},
    "progressive+finetune": {
        "optimisation.lr": 0.134,
        "optimisation.batch_size": 8,
        "optimisation.schedule": "onecycle",
        "budget.end_to_end": 86.8,
    },
    "simultaneous": {"optimisation.lr": 0.00332, "optimisation.batch_size": 32, "optimisation.schedule": "onecycle"},
    "simultaneous+finetune": {
        "optimisation.lr": 0.134,
        "optimisation.batch_size": 8,
        "optimisation.schedule": "onecycle",
        "budget.end_to_end": 86.8,
    },
    "supervised": {"optimisation.lr": 0.0057, "optimisation.batch_size": 16, "optimisation.schedule": "cosine"},
    "supervised+finetune": {
        "optimisation.lr": 0.0215,
        "optimisation.batch_size": 64,
        "optimisation.schedule": "onecycle",
        "budget.end_to_end": 39.8,
    },
    "converge": {"optimisation.lr": 0.00332, "optimisation.batch_size": 32},
    "converge+finetune": {"optimisation.lr": 0.00864, "optimisation.batch_size": 16, "budget.end_to_end": 3.59},
    "joint": {"optimisation.lr": 0.134, "optimisation.batch_size": 8, "optimisation.schedule": "onecycle"},
    "joint-local": {
        "optimisation.lr": 0.0139,
        "optimisation.batch_size": 8,
        "optimisation.schedule": "cosine",
        "optimisation.local_weight": 0.00425,
    },
}
