"""The record of a study of measurements, with anything in its files: all that is not as it must be is refused."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from studies.benchmark.questions import LOAD
from studies.benchmark.study import STUDY as BENCHMARK
from studies.design.drawing import Drawing
from studies.framework.main import main
from studies.framework.plan import tuned_settings
from studies.measuring.page import report
from studies.pretraining.layerwise import STUDY as LAYERWISE
from studies.record.samples import load_arrays, save_arrays
from studies.reliability.endurance_report import load as load_samples
from studies.statistics import measurement_rows
from studies.statistics.checksums import COLUMN, with_checksums
from studies.statistics.rows import FINISHED
from studies.statistics.trials import load_choices, load_trials
from tests.helpers.demo_use import CALLS, DEMO, words
from tests.helpers.options import given as of_layerwise
from tests.helpers.refused import damaged, note, refusal

ROOT = Path(__file__).parents[2]
RECORDS = sorted((ROOT / "results").glob("*/*/rows.csv"))
HEAD = "method,seed,arm,condition,measure,value,commit\n"
ROWS = HEAD + "".join(
    f"ours,{seed},ours,{condition},{measure},{0.5 + seed},0a1b2c3\n"
    for seed in (0, 1)
    for condition, measure in (("few", "score"), ("many", "score"), ("", "seconds"))
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a study of a use with one method and two seeds."""
    home = tmp_path_factory.mktemp("made")
    assert main(DEMO, words(home)) == 0
    return home


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("out")


def checked(text: str) -> str:
    """The text of a table with checksums, which a record of before they existed does not have."""
    return text if text.splitlines()[0].endswith(COLUMN) else with_checksums(text)


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.parent.relative_to(ROOT / "results").as_posix())
def test_committed_records_are_read_and_written_as_they_are(path: Path) -> None:
    rows = measurement_rows.read(path)
    assert measurement_rows.text(rows) == checked(path.read_text())
    for arrays in load_arrays(path.parent).values():
        assert arrays


def test_the_committed_record_of_the_benchmark_is_read_and_written_as_it_is() -> None:
    path = ROOT / "results" / "benchmark" / "rows.csv"
    assert measurement_rows.text(measurement_rows.read(path, BENCHMARK.methods, LOAD)) == checked(path.read_text())
    assert len(load_samples(ROOT / "results" / "endurance" / "samples.csv")) == 200


@pytest.mark.parametrize("seeds", [1, 2])
def test_rows_that_an_arm_lacks_are_missed_with_one_seed_too(seeds: int, tmp_path: Path) -> None:
    path, arms = tmp_path / "rows.csv", ("a", "b")
    lines = [
        f"ours,{seed},{arm},{condition},{measure},1.5,0a1b2c3\n"
        for seed in range(seeds)
        for arm in arms
        for condition, measure in (("few", "score"), ("many", "score"), ("", "seconds"))
    ]
    path.write_text(HEAD + "".join(lines))
    measurement_rows.check_arms(path, measurement_rows.read(path), ["ours"], arms)
    path.write_text(HEAD + "".join(line for line in lines if ",b,few," not in line))
    assert refusal(lambda: measurement_rows.read(path))[1] == (
        f"{path} lacks the row of condition few, measure score with method ours, seed 0, arm b, which another arm has: "
        "restore it, or remove all rows of that method and seed, which are then measured again"
    )
    path.write_text(HEAD + "".join(line for line in lines if ",b," not in line))
    rows = measurement_rows.read(path)
    refused = refusal(lambda: measurement_rows.check_arms(path, rows, ["ours"], arms))[1]
    assert refused.startswith(
        f"{path} lacks all rows of arm 'b' with seed 0: restore it, or remove all rows of the method"
    )
    for methods, names in ((["ours", "theirs"], arms), (["ours"], ("b", "c"))):  # not all measured, or of earlier names
        measurement_rows.check_arms(path, rows, methods, names)


LINES = ROWS.splitlines(keepends=True)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is empty, or its first line is incomplete"),
        (HEAD.encode()[:20], "is empty, or its first line is incomplete"),
        (b"\xff\xfe" + ROWS.encode(), "is not a CSV file ('utf-8' codec can't decode"),
        (ROWS.replace("few", "x" * 200_000).encode(), "is not a CSV file (field larger than field limit"),
        (b"method,seed\nours,0\n", "must have exactly the columns method, seed, arm"),
        (ROWS.replace("ours,1", "ours,abc").encode(), "has text in column 'seed', which must hold numbers"),
        (ROWS.replace("ours,1", "ours,nan").encode(), "has 'nan' in column 'seed', which must hold finite numbers"),
        (
            ROWS.replace("ours,1", "ours,-1").encode(),
            "has '-1' in column 'seed', which must hold numbers of at least 0",
        ),
        (ROWS.replace("ours,1", "ours,0.5").encode(), "has '0.5' in column 'seed', which must hold integers (line 5)"),
        (ROWS.replace("ours,1", "ours,").encode(), "has a row without a seed"),
        (ROWS.replace("ours,1", ",1").encode(), "has a row without a method"),
        (ROWS.replace("ours,1", "theirs,1").encode(), "has rows of the method 'theirs', which is not one of ours"),
        (ROWS.replace("0.5,", "abc,").encode(), "has text in column 'value', which must hold numbers"),
        (ROWS.replace("0.5,", "inf,").encode(), "has 'inf' in column 'value', which must hold finite numbers"),
        (ROWS.replace("0.5,", "nan,").encode(), "has 'nan' in column 'value', which must hold finite numbers"),
        ((ROWS + LINES[2]).encode(), "holds method ours, seed 0, arm ours, condition many, measure score twice"),
        (
            "".join(LINES[:4] + LINES[5:]).encode(),
            "lacks the row of arm ours, condition few, measure score with method ours",
        ),
        ("".join(LINES[:3] + LINES[4:]).encode(), "lacks the seconds of arm 'ours' of method 'ours' with seed 0"),
        ("".join(LINES[:-1]).encode(), "lacks the seconds of arm 'ours' of method 'ours' with seed 1"),
        ((ROWS + "ours\n").encode(), "has 1 cells in line 8, but 7 columns"),
    ],
)
def test_what_is_wrong_with_rows_is_said_before_anything_is_measured(
    content: bytes, told: str, made: Path, tmp_path: Path, capsys: Any
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "configuration.json").write_bytes((made / "out" / "configuration.json").read_bytes())
    (tmp_path / "out" / "rows.csv").write_bytes(content)
    CALLS.clear()
    assert main(DEMO, [*words(made)[:4], "--out", str(tmp_path / "out"), "--store", str(made / "store")]) == 2
    assert CALLS == []
    [said] = capsys.readouterr().err.splitlines()
    assert said.startswith(f"python -m studies.demo: {tmp_path / 'out' / 'rows.csv'} {told}")
    assert (tmp_path / "out" / "rows.csv").read_bytes() == content


@pytest.mark.parametrize("content", [b"", b"\xff", b"[" * 100_000, b"[]", b"{", b'{"a": 1, "a": 2}'])
def test_a_configuration_that_is_none_is_refused(content: bytes, made: Path, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "configuration.json").write_bytes(content)
    assert main(DEMO, [*words(made)[:4], "--out", str(tmp_path / "out"), "--store", str(made / "store")]) == 2
    [said] = capsys.readouterr().err.splitlines()
    assert said.startswith(f"python -m studies.demo: {tmp_path / 'out' / 'configuration.json'} ")
    assert said.endswith("restore it, or choose another --out")


def test_a_torn_row_is_measured_again_with_all_that_was_written_with_it(made: Path, tmp_path: Path) -> None:
    for name in ("configuration.json", "rows.csv"):
        (tmp_path / "out").mkdir(exist_ok=True)
        (tmp_path / "out" / name).write_bytes((made / "out" / name).read_bytes())
    path = tmp_path / "out" / "rows.csv"
    whole = path.read_text()
    path.write_text(whole[:-5])
    CALLS.clear()
    with pytest.warns(UserWarning, match=r"rows\.csv: the last line is incomplete and was dropped"):
        assert main(DEMO, [*words(made)[:4], "--out", str(tmp_path / "out"), "--store", str(made / "store")]) == 0
    assert CALLS == [1]
    without_times = [line for line in path.read_text().splitlines() if ",seconds," not in line]
    assert without_times == [line for line in whole.splitlines() if ",seconds," not in line]


def test_damaged_samples_are_refused_before_anything_is_measured(made: Path, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "samples").mkdir()
    (tmp_path / "configuration.json").write_bytes((made / "out" / "configuration.json").read_bytes())
    content = bytearray((made / "out" / "samples" / "ours.npz").read_bytes())
    content[60] ^= 1
    (tmp_path / "samples" / "ours.npz").write_bytes(content)
    CALLS.clear()
    assert main(DEMO, [*words(made)[:4], "--out", str(tmp_path), "--store", str(made / "store")]) == 2
    assert CALLS == []
    assert f"{tmp_path / 'samples' / 'ours.npz'} cannot be read (" in capsys.readouterr().err


def test_an_array_that_is_missing_or_of_another_shape_is_said_when_it_is_drawn(made: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(ROWS)
    used = {"seeds": 2}
    save_arrays(tmp_path, "ours", {"pictures": np.zeros(3)})
    refused = refusal(lambda: report(DEMO, tmp_path, "command", "", used))[1]
    assert refused == f"{tmp_path / 'samples' / 'ours.npz'} has no array 'images': delete it or run the study again"

    def odd(rows: pd.DataFrame, out: Path) -> None:
        load_arrays(out)["ours"]["pictures"].reshape(2, 2)

    use = replace(DEMO, drawings={"images": Drawing("Images.", odd)})
    refused = refusal(lambda: report(use, tmp_path, "command", "", used))[1]
    assert refused.startswith(
        f"images cannot be generated from the rows and samples in {tmp_path} (ValueError: cannot reshape"
    )
    np.savez(tmp_path / "samples" / "ours.npz", images=np.zeros(3))
    assert "has no array 'arm'" in refusal(lambda: load_arrays(tmp_path))[1]


@given(data=st.data())
@pytest.mark.filterwarnings("ignore:.*the last line is incomplete")
def test_damaged_rows_are_read_or_refused(out: Path, data: st.DataObject) -> None:
    (out / "rows.csv").write_bytes(data.draw(damaged(ROWS.encode())))
    rows, refused = refusal(lambda: measurement_rows.read(out / "rows.csv", ["ours"]))
    note("refused" if refused else "read")
    if rows is None:
        assert refused.startswith(str(out / "rows.csv"))
    else:
        assert np.isfinite(rows["value"].dropna()).all()
        report(replace(DEMO, drawings={}), out, "command", "", {"seeds": 2})


@given(data=st.data())
def test_damaged_samples_are_read_or_refused(made: Path, out: Path, data: st.DataObject) -> None:
    (out / "samples").mkdir(exist_ok=True)
    content = (made / "out" / "samples" / "ours.npz").read_bytes()
    (out / "samples" / "ours.npz").write_bytes(data.draw(damaged(content)))
    found, refused = refusal(lambda: load_arrays(out)["ours"]["images"])
    note("refused" if refused else "read")
    assert refused.startswith(str(out / "samples" / "ours.npz")) if found is None else found.shape == (2, 1, 4, 4)


# The benchmark, samples of endurance, trials and choices


MEASURED = HEAD + "".join(
    f"dense/loop,{seed},loop,dense,{name},1.5,0a1b2c3\n" for seed in (0, 1) for name in ("seconds", "mse", LOAD)
)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "is empty, or its first line is incomplete"),
        (MEASURED.replace("loop,1", "loop,abc"), "has text in column 'seed', which must hold numbers"),
        (MEASURED.replace("loop,1", "loop,-1"), "has '-1' in column 'seed', which must hold numbers of at least 0"),
        (MEASURED.replace("1.5", "inf"), "has 'inf' in column 'value', which must hold finite numbers"),
        (MEASURED.replace("dense/loop", "dense/none"), "has rows of the method 'dense/none', which is not one of "),
        (
            MEASURED + "dense/loop,1,loop,dense,mse,1.5,0a1b2c3\n",
            "holds method dense/loop, seed 1, arm loop, condition dense, measure mse twice",
        ),
        (MEASURED.rpartition("dense/loop,1")[0], "lacks the load of arm 'loop' of method 'dense/loop' with seed 1"),
        (
            MEASURED.replace("dense/loop,1,loop,dense,mse,1.5,0a1b2c3\n", ""),
            "lacks the row of arm loop, condition dense, measure mse with method dense/loop",
        ),
    ],
)
def test_rows_of_a_benchmark_that_are_none_are_refused(content: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(content)
    refused = refusal(lambda: measurement_rows.read(tmp_path / "rows.csv", BENCHMARK.methods, LOAD))[1]
    assert refused.startswith(f"{tmp_path / 'rows.csv'} {told}")


def test_a_measurement_that_was_torn_is_made_again_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(MEASURED[:-4])
    with pytest.warns(UserWarning, match="the last line is incomplete"):
        rows = measurement_rows.read(tmp_path / "rows.csv", BENCHMARK.methods, LOAD)
    assert rows["seed"].tolist() == [0, 0, 0]


SAMPLES = "run,phases,seconds,cpu_seconds,memory,files,threads,children,objects\n1,10,1.5,1.0,90.5,10,4,0,700\n"


@pytest.mark.parametrize(("old", "new"), [("90.5", "abc"), ("90.5", "nan"), ("10,4", "10.5,4"), ("700", "")])
def test_samples_of_endurance_that_are_none_are_refused(old: str, new: str, tmp_path: Path) -> None:
    path = tmp_path / "samples.csv"
    path.write_text(SAMPLES)
    assert load_samples(path)["objects"].tolist() == [700]
    path.write_text(SAMPLES.replace(old, new))
    assert refusal(lambda: load_samples(path))[1].startswith(f"{path} has ")


TRIALS = ROOT / "results" / "layerwise"


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        ("values", "[1]", "has an invalid trial in the row of run"),
        ("values", "{", "has an invalid trial in the row of run"),
        ("space", '{"optimisation.lr": 3}', "has an invalid trial in the row of run"),
        ("space", "[" * 9999, "has an invalid trial in the row of run"),
        ("spec", "{}", "has the spec of another run in the row of run"),
        ("trial", "-1", "has '-1' in column 'trial', which must hold numbers of at least 0 (line 5): restore it"),
        ("trial", "", "has an invalid trial in the row of run"),
        ("seed", "3", "has the seed 3 in the row of run"),
        ("trial", "abc", "has text in column 'trial', which must hold numbers"),
    ],
)
def test_trials_that_are_none_are_refused(column: str, value: str, told: str, tmp_path: Path) -> None:
    table = pd.read_csv(TRIALS / "trials.csv", dtype=str, keep_default_na=False)
    assert set(load_trials(TRIALS)["status"]) == {FINISHED}
    table.loc[3, column] = value
    table.to_csv(tmp_path / "trials.csv", index=False)
    assert refusal(lambda: load_trials(tmp_path))[1].startswith(f"{tmp_path / 'trials.csv'} {told}")


def test_a_trial_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    lines = (TRIALS / "trials.csv").read_text().splitlines(keepends=True)
    (tmp_path / "trials.csv").write_text("".join([*lines, lines[-1]]))
    assert "twice: keep one row" in refusal(lambda: load_trials(tmp_path))[1]


def test_choices_that_do_not_fit_the_trials_are_refused(tmp_path: Path) -> None:
    from studies.report.tuning import draw_tuning, tuning_note

    (tmp_path / "trials.csv").write_bytes((TRIALS / "trials.csv").read_bytes())
    choices = json.loads((TRIALS / "choices.json").read_text())
    (tmp_path / "choices.json").write_text(json.dumps(choices))
    assert "Each arm was tuned" in tuning_note(tmp_path)
    for change in ({"run": "0" * 16}, {"judged_by": "beauty"}):
        other = {arm: {**choice, **change} for arm, choice in choices["arms"].items()}
        (tmp_path / "choices.json").write_text(json.dumps({**choices, "arms": other}))
        assert load_choices(tmp_path)
        for read in (tuning_note, draw_tuning):
            refused = refusal(lambda read=read: read(tmp_path))[1]
            assert refused.startswith(f"{tmp_path / 'choices.json'} does not fit trials.csv")
    (tmp_path / "choices.json").write_text("[" * 100_000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "cannot be read" in refusal(lambda: load_choices(tmp_path))[1]


@pytest.mark.parametrize(
    ("arm", "values"),
    [
        ("joint", {"optimisation.lr": "x"}),
        ("joint", {"nothing.lr": 1}),
        ("none", {}),
        ("joint", {"budget.end_to_end": [1]}),
    ],
)
def test_choices_that_do_not_fit_the_study_are_refused_by_their_name(
    arm: str, values: dict[str, Any], tmp_path: Path
) -> None:
    choice = {"judged_by": "recon_mse", "run": "0", "values": values, "edges": {}}
    (tmp_path / "choices.json").write_text(json.dumps({"arms": {arm: choice}}))
    refused = refusal(lambda: tuned_settings(LAYERWISE, of_layerwise(f"--out {tmp_path}")))[1]
    assert refused.startswith(f"{tmp_path / 'choices.json'} does not fit this study (")
