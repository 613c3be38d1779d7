"""The line that tells the results of a run tells those of what the run trained."""

from __future__ import annotations

from typing import Any

import pytest

from studies.framework.training_session import summary

ROW = {"status": "finished", "updates": 20, "gflop": 0.0502, "seconds": 3.4, "final/recon_mse": 0.104141}
ACCURACIES = {"final/classifier_acc_100": 0.5, "final/classifier_acc_all": 0.53333}


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({}, "test MSE 0.10414, 0.0502 GFLOP, 3 s"),
        ({"updates": 0}, "test MSE 0.10414, 0.0502 GFLOP, 3 s"),  # nothing else was measured
        ({"final/probe_acc": 0.82}, "test MSE 0.10414, probe 82.00 %, 0.0502 GFLOP, 3 s"),
        (ACCURACIES, "test MSE 0.10414, classifier 53.33 % (all labels), 0.0502 GFLOP, 3 s"),
        (
            ACCURACIES | {"updates": 0, "gflop": 0.0, "final/probe_acc": 0.81},
            "probe 81.00 %, classifier 53.33 % (all labels), 3 s",
        ),
        ({"final/classifier_acc_1000": 0.9, "updates": 0}, "classifier 90.00 % (1,000 labels), 3 s"),
        ({"final/regressor_r2_all": 0.5, "updates": 0}, "R² 0.500 (all labels), 3 s"),
        ({"status": "failed: it diverged"}, "failed: it diverged"),
    ],
)
def test_a_run_without_training_of_its_decoder_tells_no_reconstruction_error(more: dict[str, Any], text: str) -> None:
    assert summary(ROW | more) == text
