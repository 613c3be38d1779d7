"""Glorot, Bordes & Bengio 2011: networks, losses and claims are those of the paper; a tiny run to the page."""

from __future__ import annotations

from pathlib import Path

import pytest

from studies.framework.main import main
from studies.framework.trials import search_space
from studies.papers.glorot2011 import LITTLE, RECTIFIER, SOFTPLUS, STUDY, TABLE_1, TANH, error, pretrained
from studies.statistics.rows import load_rows

#: units -> activation of the code, of the decoder on pixels and on codes, and their losses
UNITS = {
    RECTIFIER: ("relu", "softplus", "softplus", "softplus-quadratic", "softplus-quadratic"),
    TANH: ("tanh", "sigmoid", "tanh", "bce", "mse"),
    SOFTPLUS: ("softplus", "softplus", "softplus", "softplus-quadratic", "softplus-quadratic"),
}
SCALES = pytest.mark.parametrize("scale", ["default", "quick", "paper"])


@SCALES
@pytest.mark.parametrize("units", UNITS)
def test_networks_have_the_units_decoders_and_losses_of_the_paper(units: str, scale: str) -> None:
    base = STUDY.given(["--scale", scale]).base
    spec, same = (STUDY.arm(name).spec(base) for name in (pretrained(units), units))
    assert (spec.policy, same.policy) == ("greedy", "random")
    assert (spec.stack, spec.classification) == (same.stack, same.classification)
    activation, on_pixels, on_codes, loss_of_pixels, loss_of_codes = UNITS[units]
    assert [stage.width for stage in spec.stack.stages] == [1000] * 3
    assert {stage.activation for stage in spec.stack.stages} == {activation}
    assert all(dict(stage.options)["tied"] for stage in spec.stack.stages)
    assert [spec.stack.decoder_activation(k) for k in (1, 2, 3)] == [on_pixels, on_codes, on_codes]
    how = spec.optimisation
    assert [how.loss_at(k) for k in (0, 1, 2)] == [loss_of_pixels, loss_of_codes, loss_of_codes]
    assert (how.corruption, [how.levels_at(k) for k in (0, 1, 2)]) == ("masking", [(0.25,)] * 3)
    batch = 10 if scale == "paper" else 32
    for recipe in (how, spec.classification):
        assert (recipe.optimiser, recipe.momentum, recipe.schedule, recipe.batch_size) == (
            "sgd",
            0.0,
            "constant",
            batch,
        )


def test_images_and_label_budgets() -> None:
    budgets = {scale: STUDY.given(["--scale", scale]).base.classification.labels for scale in STUDY.scales}
    assert budgets == {"default": (1000, None), "quick": (1000, None), "paper": (1000, 10_000, None)}
    assert STUDY.given([]).base.data.valid == 1 / 6  # 10,000 of 60,000
    assert STUDY.given([]).base.classification.images == 10_000


def test_claims_have_the_numbers_of_table_1() -> None:
    numbers = {claim.arm: claim.paper for claim in STUDY.claims if claim.paper}
    assert numbers == {
        "rectifier, pretrained": "1.20",
        "rectifier": "1.43",
        "tanh, pretrained": "1.16",
        "tanh": "1.57",
        "softplus, pretrained": "1.17",
        "softplus": "1.77",
    }
    effects = {(claim.arm, claim.against, claim.stays_at) for claim in STUDY.claims if not claim.paper}
    assert effects == {
        ("rectifier", None, "rectifier, pretrained"),
        ("tanh, pretrained", "tanh", None),
        ("softplus, pretrained", "softplus", None),
        ("rectifier", "tanh", None),
        ("rectifier", "softplus", None),
    }
    assert {(claim.metric, claim.data, claim.images) for claim in STUDY.claims} == {(error("all"), "mnist", 10_000)}


def test_the_margin_holds_for_the_rectifiers_of_the_paper_and_for_no_other_units() -> None:
    gains = {units: float(without) / float(with_it) - 1 for units, (with_it, without) in TABLE_1.items()}
    assert [units for units, gain in gains.items() if gain <= LITTLE] == [RECTIFIER]
    assert [f"{gain:.0%}" for gain in gains.values()] == ["19%", "35%", "51%"]  # as the study says
    assert [claim.margin for claim in STUDY.claims if claim.stays_at] == [LITTLE]


def test_pretraining_is_compared_at_every_label_budget_once() -> None:
    compared = [
        (claim.arm, claim.against or claim.stays_at, claim.metric)
        for claim in (*STUDY.claims, *STUDY.comparisons)
        if "pretrained" in claim.arm and claim.against
    ]
    wanted = {(pretrained(units), units, error(labels)) for units in UNITS for labels in ("1000", "10000", "all")}
    assert set(compared) == wanted
    assert len(compared) == len(wanted)


def test_pretraining_and_fine_tuning_are_searched_in_ranges_that_hold_the_rates_without_tuning() -> None:
    base = STUDY.given([]).base
    for units in UNITS:
        for name, fields in (
            (pretrained(units), {"optimisation.lr", "classification.lrs"}),
            (units, {"classification.lrs"}),
        ):
            arm = STUDY.arm(name)
            spec, space = arm.spec(base), search_space(STUDY, arm, base)
            assert set(space) == fields
            untuned = {"optimisation.lr": spec.optimisation.lr, "classification.lrs": spec.classification.lrs[0]}
            assert [space[field].edge(untuned[field]) for field in sorted(space)] == [""] * len(space)
            for place in (0.0, 1.0):
                arm.with_values({field: within.at(place) for field, within in space.items()}).spec(base)


@pytest.mark.slow
def test_the_study_runs_to_its_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "stacked.tracking.tracker.Tracker.model", lambda *_: None
    )  # exporting takes longer than training
    out = tmp_path / "out"
    words = ["--data", "digits", "--limit", "200", "--labels", "100", "all", "--jobs", "1", "--seeds", "1"]
    words += ["--unit", "updates", "--epochs", "2", "--out", str(out), "--store", str(tmp_path / "store")]
    words += ["--classification", "{epochs: 1, checks: 1, updates: 2, images: 20}"]
    assert main(STUDY, words) == 0
    rows = load_rows(out)
    assert list(rows["arm"]) == list(STUDY.arm_names)
    assert set(rows["status"]) == {"finished"}
    assert rows[["final/classifier_acc_100", "final/classifier_acc_all"]].notna().all(axis=None)
    page = (out / "README.md").read_text(encoding="utf-8")
    assert page.count("**not tested here (other data)**") == len(STUDY.claims)
    assert page.count("| not tested here (other data) |") == len(STUDY.comparisons)
    assert "learn the classes of all 200 training images, or of 1,000" in page
    assert (out / "figures" / "label_budget.png").exists()
