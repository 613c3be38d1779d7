"""What studies of papers of 2007 to 2011 share: their networks and the gradient descent of the time, as values of a spec."""

from __future__ import annotations

from typing import Any

from studies.design.search import LogRange

#: gradient descent without momentum, and the decay of its learning rate lr0 / (1 + t decay)
PLAIN = {"momentum": 0.0, "schedule_options": {"decay": 1e-5}}
#: fine-tuning of classifiers by gradient descent; validation images select the learning rate and the epoch
FINE_TUNING = {
    "optimiser": "sgd",
    "momentum": 0.0,
    "schedule": "inverse",
    "schedule_options": {"decay": 1e-5},
    "batch_size": 20,
    "images": 10_000,
}
#: a deep network as one would train it today, without pretraining: rectifiers, He's initialisation, AdamW and a cosine schedule
MODERN_FINE_TUNING = {
    "classification.optimiser": "adamw",
    "classification.lrs": [3e-4, 1e-3],
    "classification.schedule": "cosine",
    "classification.schedule_options": {},
    "classification.weight_decay": 0.01,
    "classification.batch_size": 64,
}
#: options of a study with such a network
DEFAULTS: dict[str, Any] = {
    "loss": ["bce"],
    "optimiser": "sgd",
    "lr": 3.0,
    "schedule": "inverse",
    "batch_size": 20,
    "optimisation": PLAIN,
    "labels": ["all"],
}


def layers(*widths: int, activation: str = "sigmoid") -> list[dict[str, Any]]:
    """Return dense stages with these widths, whose decoders use the transposed weights of their encoders."""
    return [{"kind": "dense", "width": width, "activation": activation, "options": {"tied": True}} for width in widths]


def classification(epochs: int, lrs: tuple[float, ...], patience: int, updates: int = 150) -> dict[str, Any]:
    """Return the recipe of fine-tuning: `epochs`, with a check after each, and early stopping after `patience` checks.

    lrs: learning rates, of which validation images select one. updates: the fewest of a rate.
    """
    recipe = {"epochs": float(epochs), "checks": epochs, "lrs": list(lrs), "patience": patience}
    return {**FINE_TUNING, **recipe, "updates": max(updates, epochs)}


#: options of --scale quick of a study with such a network
QUICK: dict[str, Any] = {
    "limit": 2000,
    "epochs": [2.0],
    "seeds": 2,
    "classification": classification(4, (0.1,), patience=3, updates=20),
}
#: range of the learning rate of pretraining; the loss is a mean over all pixels
RATE = LogRange(1.0, 30.0)
#: the ranges that `--tune` searches where the fine-tuned classifier judges: rates of pretraining and of fine-tuning by gradient
#: descent; arms without pretraining have the latter alone (Vincent et al. 2010 search 5e-4 to 0.2, on single images). They span a
#: decade and a half, so that four trials come near the best values.
RATES = {"optimisation.lr": RATE, "classification.lrs": LogRange(0.03, 1.0)}
#: the ranges of `MODERN_FINE_TUNING`
MODERN_RATES = {"classification.lrs": LogRange(1e-4, 3e-3), "classification.weight_decay": LogRange(1e-3, 0.1)}
#: the measure by which trials are compared: the accuracy of the fine-tuned classifier on validation images
JUDGED_BY = "classifier_acc_all"
