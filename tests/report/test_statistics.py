"""Statistics over seeds, held against SciPy and against what is computed by hand."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from stacked.util.errors import InputError
from studies.figures.curves import over_seeds
from studies.report import paired, verdict
from studies.statistics.measures import measure
from studies.statistics.pairing import mean_interval


def test_paired_equals_scipy_and_a_hand_computed_interval(rows: pd.DataFrame) -> None:
    """The p-value against ttest_rel, the interval against the table's t quantile for 4 degrees of freedom."""
    metric = "final/recon_mse"
    greedy, joint = (rows.loc[rows.arm == arm, metric].to_numpy() for arm in ("greedy", "joint"))
    result = paired(rows, metric, "greedy", "joint")
    expected = stats.ttest_rel(greedy, joint)
    assert result.n == 5
    assert result.p == pytest.approx(expected.pvalue, rel=1e-9)
    differences = [a - b for a, b in zip(greedy, joint, strict=True)]
    mean = sum(differences) / 5
    sd = (sum((d - mean) ** 2 for d in differences) / 4) ** 0.5
    assert result.difference == pytest.approx(mean, rel=1e-12)
    assert result.low == pytest.approx(mean - 2.776445 * sd / 5**0.5, rel=1e-6)
    assert result.high == pytest.approx(mean + 2.776445 * sd / 5**0.5, rel=1e-6)


def test_pairs_only_common_finished_seeds_in_any_order(rows: pd.DataFrame) -> None:
    """A failed run, a missing row and a blank cell each take their seed out of the pairs."""
    rows.loc[(rows.arm == "greedy") & (rows.seed == 0), "status"] = "failed: the loss is not finite"
    rows.loc[(rows.arm == "joint") & (rows.seed == 1), "final/probe_acc"] = np.nan
    rows = rows[~((rows.arm == "joint") & (rows.seed == 2))].iloc[::-1]
    result = paired(rows, "final/probe_acc", "greedy", "joint")
    left = {seed: rows[(rows.arm == "greedy") & (rows.seed == seed)]["final/probe_acc"].item() for seed in (3, 4)}
    right = {seed: rows[(rows.arm == "joint") & (rows.seed == seed)]["final/probe_acc"].item() for seed in (3, 4)}
    assert result.n == 2
    assert result.difference == pytest.approx(sum(left[seed] - right[seed] for seed in (3, 4)) / 2)
    assert result.p == pytest.approx(stats.ttest_rel(list(left.values()), list(right.values())).pvalue)


def few(arm_values: list[float], joint_values: list[float]) -> pd.DataFrame:
    lines = [{"arm": "greedy", "seed": k, "final/probe_acc": value} for k, value in enumerate(arm_values)]
    lines += [{"arm": "joint", "seed": k, "final/probe_acc": value} for k, value in enumerate(joint_values)]
    return pd.DataFrame(lines).assign(status="finished", run="0")


def test_one_pair_has_no_interval() -> None:
    one = few([0.9], [0.8, 0.7])
    result = paired(one, "final/probe_acc", "greedy", "joint")
    assert (result.n, result.difference) == (1, pytest.approx(0.1))
    assert np.isnan([result.low, result.high, result.p]).all()
    assert "single seed" in verdict(one, "final/probe_acc", "greedy", "joint")


def test_no_common_seed_says_nothing() -> None:
    rows = few([0.9], [0.8])
    rows.loc[rows.arm == "joint", "seed"] = 7
    assert paired(rows, "final/probe_acc", "greedy", "joint").n == 0
    assert "they cannot be compared" in verdict(rows, "final/probe_acc", "greedy", "joint")


def test_equal_differences_claim_no_significance() -> None:
    """0.3 - 0.2 and 0.4 - 0.3 differ in the last bit: rounding must not become p < 0.001."""
    for joint in ([0.2, 0.3, 0.8], [0.3, 0.4, 0.9]):
        rows = few([0.3, 0.4, 0.9], joint)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            result = paired(rows, "final/probe_acc", "greedy", "joint")
        assert np.isnan([result.low, result.high, result.p]).all()
        assert "no test is possible, because all differences are equal" in verdict(
            rows, "final/probe_acc", "greedy", "joint"
        )
    assert result.difference == 0.0


def test_verdict_is_honest_about_zero_and_direction() -> None:
    better = few([0.90, 0.91, 0.93], [0.80, 0.82, 0.83])
    assert "greedy is higher (better) than joint, 91.33 % against 81.67 %" in verdict(
        better, "final/probe_acc", "greedy", "joint"
    )
    unclear = few([0.90, 0.80, 0.85], [0.80, 0.92, 0.84])
    sentence = verdict(unclear, "final/probe_acc", "greedy", "joint")
    assert "no difference between greedy and joint was shown" in sentence
    assert f"p = {stats.ttest_rel([0.90, 0.80, 0.85], [0.80, 0.92, 0.84]).pvalue:.3f}" in sentence


def test_verdict_knows_that_a_higher_error_is_worse(rows: pd.DataFrame) -> None:
    assert "random is higher (worse) than joint" in verdict(rows, "final/recon_mse", "random", "joint")


def test_unknown_names_are_refused(rows: pd.DataFrame) -> None:
    with pytest.raises(InputError, match=r"no metric 'final/acc'.*final/recon_mse"):
        paired(rows, "final/acc", "greedy", "joint")
    with pytest.raises(InputError, match=r"no arm 'gredy'.*greedy, greedy"):
        paired(rows, "final/recon_mse", "gredy", "joint")


def test_mean_interval_equals_scipy(rows: pd.DataFrame) -> None:
    values = rows.loc[rows.arm == "joint", "final/recon_mse"]
    expected = stats.t.interval(0.95, 4, loc=values.mean(), scale=stats.sem(values))
    assert mean_interval(values)[1:] == pytest.approx(expected)


def test_curves_average_cost_at_the_same_step_and_skip_steps_a_seed_lacks() -> None:
    """Three seeds, steps 0 and 10 in common, 20 of one seed only; the interval is mean ± t(2) * s.e., and two seeds have none."""
    seen = [(0, 0, 1.0, 0.5), (0, 10, 4.0, 0.3), (0, 20, 9.0, 0.1), (1, 0, 2.0, 0.7), (1, 10, 8.0, 0.2)]
    seen += [(2, 0, 3.0, 0.6), (2, 10, 6.0, 0.4)]
    curves = pd.DataFrame(seen, columns=["seed", "step", "seconds", "mse"])
    summary = over_seeds(curves.assign(phase="joint", phase_step=curves["step"]), "mse", "seconds")
    assert summary["step"].tolist() == [0, 10]
    assert summary["x"].tolist() == pytest.approx([2.0, 6.0])
    assert summary["mean"].tolist() == pytest.approx([0.6, 0.3])
    half = 4.302653 * 0.1 / 3**0.5
    assert summary["high"].tolist() == pytest.approx([0.6 + half, 0.3 + half], rel=1e-5)
    two = over_seeds(curves[curves["seed"] < 2].assign(phase="joint", phase_step=curves["step"]), "mse", "seconds")
    assert two["mean"].tolist() == pytest.approx([0.6, 0.25])
    assert two["high"].isna().all()


def test_a_spread_is_printed_whatever_its_size() -> None:
    rmse = measure("final/regressor_rmse_all")
    assert rmse.mean_sd(50_000.0, 1_234.0) == "50,000 ± 1,234"
    assert rmse.mean_sd(50_000.0, 0.0123) == "50,000 ± 0.01"
    assert rmse.mean_sd(50_000.0, 0.0) == "50,000 ± 0"
    assert measure("final/probe_acc").mean_sd(0.91234, 0.00001) == "91.23 ± 0.001"


@pytest.mark.parametrize(
    ("metric", "label", "margin"),
    [
        ("final/regressor_mse_all", "MSE of the regressor, all labels, in squared units of the target", "5 %"),
        ("final/regressor_rmse_100", "RMSE of the regressor, 100 labels, in units of the target", "5 %"),
        ("final/recon_mse_in_units", "test MSE in squared units of the data", "5 %"),
        ("final/kmeans_ari", "k-means ARI", "0.01"),  # whose 0 is chance
        ("final/recon_psnr", "test PSNR", "0.2 dB"),
    ],
)
def test_measures_have_units_and_margins(metric: str, label: str, margin: str) -> None:
    assert (measure(metric).label, measure(metric).margin_text) == (label, margin)
