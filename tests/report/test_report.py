"""The report: tables against the rows, figures, pages, README blocks against the files."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stacked.util.errors import InputError
from studies.figures.figures import ARM_COLOURS, CAPTIONS, Record, arm_colours, draw
from studies.record.index import readme_section, update_readme
from studies.report import headline, load_rows, paired, table, verdict, write_report
from tests.helpers.made_records import ARMS, make_curves, make_rows, write_csv

DESCRIPTION = {
    "title": "Layer-wise",
    "question": "Which is better?",
    "command": "run it",
    "protocol": "Equal.",
}


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


@pytest.mark.slow
def test_unreadable_extras_are_named(out: Path) -> None:
    """Null in reference.json is as good as absent; text and broken archives are the user's to mend."""
    (out / "reference.json").write_text('{"pca_mse": null, "mean_mse": 0.0675, "note": "x"}')
    write_report(out, **DESCRIPTION, figures=("headline", "curves"))  # which show what is in it
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
    section = headline(out)
    assert readme_section(readme, "layerwise") == "old"
    update_readme(readme, "layerwise", section)
    assert readme_section(readme, "layerwise") == section
    written = readme.read_bytes()
    update_readme(readme, "layerwise", section)
    assert readme.read_bytes() == written
    assert written.decode().split("<!-- begin: layerwise -->")[0] == "# Project\r\n\n"
    assert readme_section(readme, "other") == "x"


def test_headline_follows_the_rows(out: Path, rows: pd.DataFrame) -> None:
    section = headline(out)
    assert f"({out.name}/figures/headline.png)" in section
    assert verdict(rows, "final/recon_mse", "greedy+finetune", "joint").split(": ")[1].rstrip(".") in section
    rows["final/recon_mse"] *= 1.5
    write_csv(rows, out / "runs.csv")
    assert headline(out) != section


def test_readme_without_markers_is_refused(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(README)
    with pytest.raises(InputError, match="begin: papers"):
        update_readme(readme, "papers", "section")
    readme.write_text(README * 2)
    with pytest.raises(InputError, match="once each"):
        readme_section(readme, "layerwise")
