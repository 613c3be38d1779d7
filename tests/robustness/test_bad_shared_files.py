"""What the runs of a study's record share, with anything in it: configuration, budgets, references and pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from stacked import RunSpec
from stacked.spec import Budget
from stacked.util.serialization import to_dict, to_json
from studies.record import runs as record
from studies.statistics.rows import load_reference, load_samples
from tests.helpers.damaged_tables import ARMS
from tests.helpers.refused import broken, damaged, mutated, note, refusal, text_of


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    for name, reason in (("a" * 300, "File name too long"), ("a/" * 5000, "File name too long")):
        _, refused = refusal(lambda out=tmp_path / name: record.prepare(out, RunSpec(), "flops", "d1"))
        assert f"cannot be written ({reason}): choose a folder that can" in refused


CONFIGURATION = [{"equal": "flops", "data": "d1", "base": to_json(RunSpec())}]

BUDGETS = [{arm: to_dict(Budget((3, 4, 5, 6), 7, "updates")) for arm in ARMS}]

REFERENCE = [{"pca_mse": 0.1, "mean_sse": 5.0, "train_labels": 3, "pca_components": 16}]


@given(
    text=mutated(CONFIGURATION, most=2).map(text_of) | broken(st.just(text_of(CONFIGURATION[0]))) | st.text(max_size=9)
)
@example(text="[" * 100_000)
def test_other_configurations(out: Path, text: str) -> None:
    path = out / "configuration.json"
    path.write_bytes(text.encode(errors="surrogatepass"))
    _, refused = refusal(lambda: record.prepare(out, RunSpec(), "flops", "d1"))
    note("refused" if refused else "the same")
    assert not refused or refused.startswith(str(out))
    assert path.read_bytes() == text.encode(errors="surrogatepass")
    assert refused or json.loads(text) == CONFIGURATION[0]
    assert "()" not in refused
    shared, refused = refusal(lambda: record.recorded(out))
    assert refused.startswith(str(path)) if shared is None else isinstance(shared[0], RunSpec)


@given(text=mutated(BUDGETS, [1, 2, "updates", None], most=2).map(text_of) | broken(st.just(text_of(BUDGETS[0]))))
def test_other_budgets(out: Path, text: str) -> None:
    (out / "budgets.json").write_text(text, errors="surrogatepass")
    found, refused = refusal(lambda: record.load_budgets(out))
    note("refused" if refused else "read")
    if found is None:
        assert refused.startswith(str(out / "budgets.json"))
    else:
        assert all(isinstance(budget, Budget) for budget in found.values())


@given(text=mutated(REFERENCE, most=2).map(text_of) | broken(st.just(text_of(REFERENCE[0]))) | st.text(max_size=9))
def test_other_references(out: Path, text: str) -> None:
    (out / "reference.json").write_text(text, errors="surrogatepass")
    found, refused = refusal(lambda: load_reference(out))
    note("refused" if refused else "read")
    if found is None:
        assert refused.startswith(str(out / "reference.json"))
    else:
        assert all(isinstance(value, float) and np.isfinite(value) for value in found.values())


@given(data=st.data())
def test_damaged_pictures(made: Path, out: Path, data: st.DataObject) -> None:
    (out / "samples").mkdir(exist_ok=True)
    path = out / "samples" / "greedy-s0.npz"
    path.write_bytes(data.draw(damaged((made / "samples" / "greedy-s0.npz").read_bytes())))
    found, refused = refusal(lambda: load_samples(out))
    note("refused" if refused else "read")
    assert refused.startswith(str(path)) if found is None else found.keys() == {"greedy"}
