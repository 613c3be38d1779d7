"""Pages of measurements that show joint training beside layer-wise training say that neither was tuned."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from studies.applications.anomaly import study as anomaly
from studies.applications.capacity import study as capacity
from studies.applications.compression import study as compression
from studies.applications.denoising import study as denoising
from studies.applications.linear import study as linear
from studies.applications.photographs import study as photographs
from studies.applications.projection import study as projection
from studies.measuring.page import NOT_TUNED, report, section
from studies.record.index import ROOT

STUDIES = {
    one.STUDY.name: one.STUDY for one in (anomaly, capacity, compression, denoising, linear, photographs, projection)
}
#: Arms of its own: settings were chosen such that one stage reaches the minimum, for which the ways of training are the same.
LINEAR = (
    "**Settings**: learning rate and updates were chosen by the angle on training images, such that one stage reaches"
)


@pytest.mark.parametrize("name", STUDIES)
def test_a_page_with_a_joint_arm_says_that_arms_were_not_tuned(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = replace(STUDIES[name], files={})
    shutil.copy(next((ROOT / "results" / name).glob("*/rows.csv")), tmp_path / "rows.csv")
    monkeypatch.setattr("studies.measuring.page.draw", lambda *_: [])
    used = vars(study.parser().parse_args([])) | {"limit": 10}
    page = report(study, tmp_path, "command", "", used)
    is_compared = any(line.startswith("| joint") for line in page.splitlines())
    assert is_compared == (name != "capacity")
    if name == "linear":
        assert LINEAR in page.replace("\n  ", " ")
        return
    assert (NOT_TUNED in page) == is_compared
    assert (NOT_TUNED in section(study, tmp_path, tmp_path)) == is_compared
