"""The report: statistics held against SciPy, tables against the rows, README blocks against the files."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from stacked.spec import RunSpec
from stacked.util.errors import InputError
from stacked.util.serialization import to_json
from studies.figures.curves import over_seeds
from studies.figures.figures import ARM_COLOURS, CAPTIONS, Record, arm_colours, draw
from studies.record.index import readme_block, update_readme
from studies.report import (
    headline,
    load_curves,
    load_rows,
    paired,
    table,
    verdict,
    write_report,
)
from studies.statistics.pairing import mean_interval

ARMS = ("greedy", "greedy+finetune", "joint", "random")
DEPTH = 4
PHASES = {
    "greedy": [f"stage {k}" for k in range(1, 5)],
    "greedy+finetune": [f"stage {k}" for k in range(1, 5)] + ["fine-tuning"],
    "joint": ["joint"],
    "random": ["untrained"],
}
LEVEL = {"greedy": 0.0088, "greedy+finetune": 0.0061, "joint": 0.0064, "random": 0.071}
PROBE = {"greedy": 0.955, "greedy+finetune": 0.961, "joint": 0.958, "random": 0.881}
DESCRIPTION = {
    "title": "Layer-wise",
    "question": "Which is better?",
    "command": "run it",
    "protocol": "Equal.",
}


def make_rows(seeds: int = 5) -> pd.DataFrame:
    """Four arms at depth 4; greedy+finetune and joint share much of their noise, as paired runs do."""
    lines = []
    for seed in range(seeds):
        shared = np.random.default_rng(seed).normal()
        for position, arm in enumerate(ARMS):
            noise = np.random.default_rng(100 * position + seed)
            mse = LEVEL[arm] * (1 + 0.02 * shared + 0.02 * noise.normal())
            probe = PROBE[arm] + 0.002 * shared + 0.001 * noise.normal()
            updates = {"greedy": 4000, "greedy+finetune": 5000, "joint": 3600, "random": 0}[arm]
            spec = RunSpec(policy=arm, seed=seed)
            line = {
                "run": spec.id,
                "arm": arm,
                "seed": seed,
                "status": "finished",
                "commit": "0a1b2c3",
            }
            line |= {"updates": updates, "images_seen": 256 * updates, "gflop": 0.4 * updates}
            line |= {
                "train_seconds": 0.011 * updates * (1 + 0.1 * noise.random()),
                "seconds": 9 + noise.random(),
            }
            line |= {"threads": 1, "device": "cpu", "final/recon_mse": mse, "final/recon_fvu": mse / 0.0675}
            line |= {"final/recon_psnr": -10 * np.log10(mse), "final/recon_sse": 784 * mse}
            for depth in range(1, DEPTH + 1):
                line[f"final/recon_mse_depth{depth}"] = mse * 0.35 ** (DEPTH - depth)
            for depth in range(DEPTH + 1):
                drop = 0.006 * depth * (1 if arm != "random" else 2)
                line[f"final/probe_acc_depth{depth}"] = 0.918 if depth == 0 else probe + 0.024 - drop
            line["final/probe_acc"] = line[f"final/probe_acc_depth{DEPTH}"]
            for budget, shift in (("100", -0.16), ("1000", -0.04), ("all", 0.026)):
                line[f"final/classifier_acc_{budget}"] = probe + shift * (2 - probe) + 0.003 * noise.normal()
            line["spec"] = to_json(spec)
            lines.append(line)
    return pd.DataFrame(lines)


def make_curves(rows: pd.DataFrame, points: int = 200) -> pd.DataFrame:
    """A saw-tooth by phase for the greedy arms, one decay for joint, a single point for random."""
    lines = []
    for row in rows.itertuples():
        phases = PHASES[row.arm]
        probe = PROBE[row.arm]
        for index, phase in enumerate(phases):
            count = 1 if row.arm == "random" else points // len(phases)
            final = LEVEL["greedy"] if phase.startswith("stage") else LEVEL[row.arm]
            noise = np.random.default_rng([row.seed, index, row.arm.startswith("greedy")])
            worse = 1 + 0.06 * noise.normal()
            length = row.updates / len(phases)
            depth = index + 1 if phase.startswith("stage") else DEPTH
            for k in range(count):
                part = k / max(count - 1, 1)
                step = round(index * length + part * length)
                start = {"fine-tuning": 0.4, "untrained": 0.0}.get(phase, 12.0)
                level = worse * final * 0.5 ** (DEPTH - depth) * (1 + start * np.exp(-9 * part))
                accuracy = (
                    probe - 0.15 * (start > 0) * np.exp(-6 * part) / (index + 1) if k % 10 == 0 or part == 1 else np.nan
                )
                spent = row.train_seconds * (index + part) / len(phases)
                line = {"run": row.run, "arm": row.arm, "seed": row.seed, "phase": phase, "step": step}
                line |= {"phase_step": round(part * length), "train/loss": level, "train/grad_norm": 1.0}
                line |= {"train/lr": 1e-3, "eval/recon_mse": level * (1 + 0.02 * noise.normal())}
                line |= {"eval/fvu": level / 0.0675, "eval/probe_acc": accuracy + 0.002 * noise.normal()}
                line |= {"progress/stage": depth, "progress/images_seen": 256 * step}
                line |= {"progress/gflop": 0.4 * step, "progress/train_seconds": spent}
                lines.append(line)
    return pd.DataFrame(lines)


def make_samples(folder: Path, arm: str, images: int = 10, channels: int = 1) -> None:
    """Blobs of 28x28, blurred more with depth, and sixteen 3x3 filters."""
    folder.mkdir(exist_ok=True)
    noise = np.random.default_rng(ARMS.index(arm))
    across, down = np.meshgrid(np.linspace(-1, 1, 28), np.linspace(-1, 1, 28))
    turns = np.linspace(0, 3, images)[:, None, None]
    ring = np.exp(-30 * (np.hypot(across - 0.3 * np.cos(turns), down - 0.3 * np.sin(2 * turns)) - 0.45) ** 2)
    arrays = {"originals": np.repeat((255 * ring)[..., None], channels, axis=3).astype(np.uint8)}
    for depth in range(1, DEPTH + 1):
        blurred = ring * (1 - 0.12 * depth) + 0.02 * depth * noise.random()
        arrays[f"depth{depth}"] = np.repeat((255 * blurred)[..., None], channels, axis=3).astype(np.uint8)
    filters = noise.normal(size=(16, channels, 3, 3)).astype(np.float32)
    np.savez(folder / f"{arm}-s0.npz", **arrays, filters=filters)


def write_csv(frame: pd.DataFrame, path: Path) -> None:
    frame.to_csv(path, index=False, lineterminator="\n")


@pytest.fixture
def rows() -> pd.DataFrame:
    return make_rows()


@pytest.fixture
def out(tmp_path: Path, rows: pd.DataFrame) -> Path:
    folder = tmp_path / "results" / "layerwise"
    folder.mkdir(parents=True)
    write_csv(rows, folder / "runs.csv")
    write_csv(make_curves(rows), folder / "curves.csv")
    for arm in ARMS:
        make_samples(folder / "samples", arm)
    reference = {"pca_mse": 0.0091, "pca_components": 64, "mean_mse": 0.0675, "train_labels": 55000}
    (folder / "reference.json").write_text(json.dumps(reference))
    return folder


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


def cells(markdown: str, arm: str, header: str) -> list[str]:
    """The cells of the arm's row in the table whose header line holds `header`."""
    lines = iter(markdown.splitlines())
    names = next(line for line in lines if line.startswith("|") and header in line)
    row = next(line for line in lines if line.startswith(f"| {arm} |"))
    columns = [name.strip() for name in names.strip("|").split("|")]
    return [dict(zip(columns, (cell.strip() for cell in row.strip("|").split("|")), strict=True))[header]]


def test_table_numbers_follow_from_the_rows(rows: pd.DataFrame) -> None:
    """Means and spreads recomputed with NumPy; the number format is written out here."""
    text = table(rows, ["final/recon_mse", "final/probe_acc", "final/classifier_acc_1000"])
    for arm in ARMS:
        mse = rows.loc[rows.arm == arm, "final/recon_mse"].to_numpy()
        probe = 100 * rows.loc[rows.arm == arm, "final/probe_acc"].to_numpy()
        decimals = 4 if arm == "random" else 5
        expected = f"{np.mean(mse):.{decimals}f} ± {np.std(mse, ddof=1):.{decimals}f}"
        assert cells(text, arm, "test MSE per pixel (lower is better)") == [expected]
        accuracy = f"{np.mean(probe):.2f} ± {np.std(probe, ddof=1):.2f}"
        assert cells(text, arm, "linear probe accuracy (%, higher is better)") == [accuracy]
        assert cells(text, arm, "seeds") == ["5"]
    assert cells(text, "joint", "images seen") == [f"{3600 * 256:,}"]
    result = paired(rows, "final/probe_acc", "greedy", "joint")
    difference, low, high = (f"{100 * x:+.2f}".replace("-", "−") for x in (result.difference, result.low, result.high))
    interval = f"{low} to {high} | {result.p:.3f} |"
    assert f"| linear probe accuracy | higher is better | greedy | 5 | {difference} points | {interval}" in text
    assert (
        "n = 5 seeds; a seed changes the initial weights, the data order, the corruption and the label subset" in text
    )
    assert "not corrected for the number of comparisons (9 here)" in text


def test_failed_runs_are_left_out_counted_and_listed(rows: pd.DataFrame) -> None:
    failed = (rows.arm == "joint") & (rows.seed == 3)
    rows.loc[failed, "status"] = "failed: loss is nan\nin stage 2 | update 7"
    rows.loc[failed, "final/recon_mse"] = 1e9
    text = table(rows, ["final/recon_mse"])
    rest = rows.loc[(rows.arm == "joint") & ~failed, "final/recon_mse"]
    assert cells(text, "joint", "seeds") == ["4"]
    assert cells(text, "joint", "test MSE per pixel (lower is better)") == [
        f"{rest.mean():.5f} ± {rest.std(ddof=1):.5f}"
    ]
    assert "1 of 20 runs did not finish and is left out" in text
    assert r"- joint, seed 3: failed: loss is nan\\nin stage 2 \| update 7" in text
    assert "n = 4 to 5" in text


def test_without_the_reference_arm_nothing_is_compared(rows: pd.DataFrame) -> None:
    rows.loc[rows.arm == "joint", "status"] = "failed: killed"
    assert "No paired differences" in table(rows, ["final/recon_mse"])
    assert cells(table(rows, ["final/recon_mse"]), "joint", "test MSE per pixel (lower is better)") == ["–"]


def test_rows_round_trip_and_blank_cells(out: Path, rows: pd.DataFrame) -> None:
    """A hash that looks like a number stays text, blank is NaN, JSON survives its commas and quotes."""
    loaded = load_rows(out)
    assert list(loaded.columns) == list(rows.columns)
    assert loaded["run"].tolist() == rows["run"].tolist()
    assert loaded["spec"].tolist() == rows["spec"].tolist()
    pd.testing.assert_series_equal(loaded["final/recon_mse"], rows["final/recon_mse"])
    curves = load_curves(out)
    assert curves["eval/probe_acc"].isna().any()
    assert not curves["eval/recon_mse"].isna().any()


@pytest.mark.parametrize("keep", [0.3, 0.95, 1.0])
def test_a_torn_last_line_is_dropped_with_a_warning(out: Path, rows: pd.DataFrame, keep: float) -> None:
    """Cut within the numbers (fewer fields), within the quoted JSON, and just before the newline."""
    path = out / "runs.csv"
    text = path.read_text()
    start = text.rstrip("\n").rindex("\n") + 1
    path.write_text(text[: start + int(keep * (len(text) - 1 - start))])
    with pytest.warns(UserWarning, match="the last line is incomplete"):
        loaded = load_rows(out)
    assert loaded["run"].tolist() == rows["run"].tolist()[:-1]


def test_a_damaged_middle_line_is_refused(out: Path) -> None:
    path = out / "runs.csv"
    lines = path.read_text().splitlines(keepends=True)
    lines[3] = "3,4\n"
    path.write_text("".join(lines))
    with pytest.raises(InputError, match="2 cells in line 4"):
        load_rows(out)


def test_bad_rows_are_refused_in_one_sentence(out: Path, tmp_path: Path, rows: pd.DataFrame) -> None:
    with pytest.raises(InputError, match=r"runs\.csv does not exist"):
        load_rows(tmp_path)
    write_csv(pd.concat([rows, rows.iloc[:1]]), out / "runs.csv")
    with pytest.raises(InputError, match="arm 'greedy' seed 0 twice"):
        load_rows(out)
    write_csv(rows.astype({"final/recon_mse": object}).assign(**{"final/recon_mse": "small"}), out / "runs.csv")
    with pytest.raises(InputError, match="column 'final/recon_mse', which must hold numbers"):
        load_rows(out)
    write_csv(rows.drop(columns="status"), out / "runs.csv")
    with pytest.raises(InputError, match="lacks the column 'status'"):
        load_rows(out)


def test_report_writes_readme_and_every_figure(out: Path) -> None:
    write_report(out, **DESCRIPTION)
    text = (out / "README.md").read_text()
    for name in CAPTIONS:
        picture = (out / "figures" / f"{name}.png").read_bytes()
        assert picture.startswith(b"\x89PNG")
        assert 5_000 < len(picture) < 200_000, name
        assert f"(figures/{name}.png)" in text
    assert table(load_rows(out), ["final/recon_mse"]).splitlines()[0].split("|")[3] in text
    assert all(value in text for value in DESCRIPTION.values())
    assert sorted(path.name for path in (out / "figures").iterdir()) == sorted(f"{name}.png" for name in CAPTIONS)
    assert not list(out.glob(".*"))


def test_what_has_no_data_is_not_drawn_and_said(out: Path, rows: pd.DataFrame) -> None:
    """Old pictures of it do not stay behind."""
    keep = [name for name in rows if "classifier" not in name]
    write_csv(rows[keep], out / "runs.csv")
    (out / "curves.csv").unlink()
    for path in (out / "samples").iterdir():
        path.unlink()
    (out / "figures").mkdir()
    (out / "figures" / "curves.png").write_bytes(b"old")
    write_report(out, **DESCRIPTION)
    assert {path.stem for path in (out / "figures").iterdir()} == {"headline", "probe_by_depth"}
    assert (
        "Not drawn, because their data are missing: curves, reconstructions, filters, label_budget."
        in (out / "README.md").read_text()
    )


def test_a_report_of_failures_only(out: Path, rows: pd.DataFrame) -> None:
    write_csv(rows.assign(status="failed: killed"), out / "runs.csv")
    write_report(out, **DESCRIPTION)
    text = (out / "README.md").read_text()
    assert "20 of 20 runs did not finish" in text
    assert "No answer" in text
    assert not list((out / "figures").glob("*.png"))


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


def test_mean_interval_equals_scipy(rows: pd.DataFrame) -> None:
    values = rows.loc[rows.arm == "joint", "final/recon_mse"]
    expected = stats.t.interval(0.95, 4, loc=values.mean(), scale=stats.sem(values))
    assert mean_interval(values)[1:] == pytest.approx(expected)


@pytest.mark.slow
def test_unreadable_extras_are_named(out: Path) -> None:
    """Null in reference.json is as good as absent; text and broken archives are the user's to mend."""
    (out / "reference.json").write_text('{"pca_mse": null, "mean_mse": 0.0675, "note": "x"}')
    write_report(out, **DESCRIPTION)
    (out / "reference.json").write_text('{"pca_mse": "low"}')
    with pytest.raises(InputError, match=r"reference\.json"):
        write_report(out, **DESCRIPTION)
    (out / "reference.json").unlink()
    (out / "samples" / "joint-s0.npz").write_bytes(b"PK\x03\x04 torn")
    with pytest.raises(InputError, match=r"joint-s0\.npz cannot be read"):
        write_report(out, **DESCRIPTION)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_few_seeds_and_other_arms_are_drawn(seeds: int) -> None:
    """One or two seeds have no interval; unknown arms and an unknown size of "all" are no obstacle."""
    rows = make_rows(seeds)
    curves = make_curves(rows)
    names = {"greedy": "progressive", "random": "sideways"}
    study = Record(rows.replace({"arm": names}), curves.replace({"arm": names}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("headline", "curves", "probe_by_depth", "label_budget"):
            assert draw(name, study) is not None, name


def test_figures_have_equal_bytes_for_equal_rows(rows: pd.DataFrame) -> None:
    assert draw("headline", Record(rows)) == draw("headline", Record(rows.copy()))


def test_colours_are_fixed_distinct_and_hexadecimal() -> None:
    arms = ["joint", "b", "greedy", "a", *(f"arm {k}" for k in range(12))]
    colours = arm_colours(arms)
    assert colours["joint"] == ARM_COLOURS["joint"]
    assert len(set(colours.values())) == len(arms)
    assert all(re.fullmatch("#[0-9A-F]{6}", colour) for colour in colours.values())
    assert arm_colours(arms) == colours
    assert arm_colours(["a, b", "joint, both"]) == {"a, b": colours["b"], "joint, both": ARM_COLOURS["joint"]}


README = (
    "# Project\r\n\n<!-- begin: layerwise -->\nold\n<!-- end: layerwise -->\n\n"
    "<!-- begin: other -->x<!-- end: other -->\n"
)


def test_readme_block_round_trips(out: Path, tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_bytes(README.encode())
    block = headline(out)
    assert readme_block(readme, "layerwise") == "old"
    update_readme(readme, "layerwise", block)
    assert readme_block(readme, "layerwise") == block
    written = readme.read_bytes()
    update_readme(readme, "layerwise", block)
    assert readme.read_bytes() == written
    assert written.decode().split("<!-- begin: layerwise -->")[0] == "# Project\r\n\n"
    assert readme_block(readme, "other") == "x"


def test_headline_follows_the_rows(out: Path, rows: pd.DataFrame) -> None:
    block = headline(out)
    assert f"({out.name}/figures/headline.png)" in block
    assert verdict(rows, "final/recon_mse", "greedy+finetune", "joint").split(": ")[1].rstrip(".") in block
    rows["final/recon_mse"] *= 1.5
    write_csv(rows, out / "runs.csv")
    assert headline(out) != block


def test_readme_without_markers_is_refused(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(README)
    with pytest.raises(InputError, match="begin: papers"):
        update_readme(readme, "papers", "block")
    readme.write_text(README * 2)
    with pytest.raises(InputError, match="once each"):
        readme_block(readme, "layerwise")
