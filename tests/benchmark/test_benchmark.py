"""The benchmark measures the same work for all, goes on where it was left, and says of its aims what the rows say."""

from __future__ import annotations

import copy
import csv
import mmap
import re
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from stacked import estimate_cost
from stacked.components import eager
from stacked.cost.roofline import H100
from stacked.evaluation.fine_tuning import FineTuning
from stacked.model.stack import StackedAutoencoder, grow
from stacked.spec import Budget
from stacked.training.codes import StoredInputs
from stacked.util.errors import Interrupted
from studies import migrate_rows
from studies.benchmark import study as benchmark
from studies.benchmark.findings import claim_values, curve, exponent, is_met
from studies.benchmark.page import claims_table, exponents_table, report
from studies.benchmark.questions import LOAD, Claim, Question, questions
from studies.benchmark.run_one import PROGRAMS, training
from studies.benchmark.workloads import classifiers, jax_loop, loops, ours, photos
from studies.benchmark.workloads.classifiers import classifying
from studies.benchmark.workloads.predicted import prediction_error
from studies.benchmark.workloads.scaling import AXES, WAYS, scaling, spec_of
from studies.benchmark.workloads.spent import MEMORY, Spent, resident
from studies.benchmark.workloads.whole import Recording
from studies.benchmark.workloads.works import WORKS, Work, error, pixels
from studies.framework.main import main
from studies.statistics.measurement_rows import FIELDS, load

pytestmark = pytest.mark.skipif(not MEMORY.exists(), reason="reads what a process holds from /proc")

TWO = Question(
    "dense",
    "two arms",
    {"loop": ("training", {"who": "loop"}), "stacked": ("training", {"who": "ours"})},
    (
        Claim("time", "cpu_seconds", "stacked", "loop", most=0.7),
        Claim("error", "mse", "stacked", most=0.02, unit="MSE"),
        Claim("rate", "share", "stacked", least=0.5, unit="share"),
    ),
    seeded=True,
)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Who was measured with which seed, where nothing is really measured."""
    calls: list[tuple[str, int]] = []

    def measured(call: Any, more: dict[str, int]) -> dict[str, float]:
        calls.append((call[1]["who"], more["seed"]))
        slow = call[1]["who"] == "loop"
        return {"cpu_seconds": (10.0 if slow else 6.0) + more["seed"], "mse": 0.03 if slow else 0.01, "share": 0.25}

    monkeypatch.setattr(benchmark, "measure_in_process", measured)
    return calls


def measure(out: Path, repeats: int, stop: Callable[[], bool] = lambda: False) -> None:
    """As `main` does, but for the page."""
    session = benchmark.benchmark((TWO,)).session(["--out", str(out), "--repeats", str(repeats)])
    session.begin()
    session.prepare()
    for _ in session.run(stop):
        pass


def test_arms_alternate_and_what_is_measured_is_not_measured_again(
    asked: list[tuple[str, int]], tmp_path: Path
) -> None:
    with pytest.raises(Interrupted):
        measure(tmp_path, 3, lambda: len(asked) == 3)
    measure(tmp_path, 3)
    assert asked == [(who, seed) for seed in range(3) for who in ("loop", "ours")]
    measure(tmp_path, 3)
    assert len(asked) == 6
    with (tmp_path / "rows.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6 * 4
    assert tuple(rows[0]) == (*FIELDS, "checksum")
    assert {(row["method"], row["arm"], row["condition"]) for row in rows} == {
        ("dense/loop", "loop", "dense"),
        ("dense/stacked", "stacked", "dense"),
    }
    assert [row["measure"] for row in rows[:4]] == ["cpu_seconds", "mse", "share", "load"]


@pytest.mark.slow
def test_the_command_writes_page_and_figures_and_goes_on(
    asked: list[tuple[str, int]], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    study, words = benchmark.benchmark((TWO,)), ["--out", str(tmp_path / "out"), "--repeats"]
    assert main(study, [*words, "1"]) == 0
    page = (tmp_path / "out" / "README.md").read_text()
    said = capsys.readouterr().out
    assert re.search(r"^dense: time, relative to loop +0\.600 × +0\.600 to 0\.600 +≤ 0\.7 +yes$", said, re.MULTILINE)
    places = f"All tables and the protocol: {tmp_path}/out/README.md; figures: {tmp_path}/out/figures\n"
    assert said.endswith(places)
    assert "| dense: time, relative to loop | 0.600 × | 0.600 to 0.600 | ≤ 0.7 | yes |" in page
    assert "```\npython -m studies.benchmark\n```" in page
    assert main(study, [*words, "2"]) == 0
    assert asked == [(who, seed) for seed in range(2) for who in ("loop", "ours")]


@pytest.mark.slow
def test_the_page_says_which_aims_are_reached(asked: list[tuple[str, int]], tmp_path: Path) -> None:
    measure(tmp_path, 3)
    rows = load(tmp_path, LOAD)
    time, _mse, share = TWO.claims
    assert claim_values(rows, TWO, time).tolist() == pytest.approx([6 / 10, 7 / 11, 8 / 12])
    assert [is_met(claim, claim_values(rows, TWO, claim).median()) for claim in TWO.claims] == [True, True, False]
    assert not is_met(replace(time, most=0.6), claim_values(rows, TWO, time).median())
    assert is_met(replace(share, least=0.25), claim_values(rows, TWO, share).median())
    lines = claims_table(rows, [TWO]).splitlines()
    assert "dense: time, relative to loop | 0.636 × | 0.600 to 0.667 | ≤ 0.7 | yes" in lines[2]
    assert "≥ 0.5 | **no**" in lines[4]
    page = report(benchmark.benchmark((TWO,)), (TWO,), tmp_path, "python -m studies.benchmark")
    assert (tmp_path / "README.md").read_text() == page
    for name in ("targets", "error"):
        assert (tmp_path / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_every_question_can_be_asked() -> None:
    """Of programs that there are, with claims about arms that it has."""
    for one in questions():
        assert all(program in PROGRAMS for program, _ in one.arms.values())
        for claim in one.claims:
            assert claim.arm in one.arms
            assert claim.against is None or claim.against in one.arms
            assert (claim.most is None) != (claim.least is None)


def test_floats_are_trained_on_as_the_bytes_that_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(WORKS, "tiny", Work("dense", (20, 5), batch=50))
    of_bytes, of_floats = (
        training("ours", "tiny", seed=0, epochs=1, images=100, floats=each) for each in (False, True)
    )
    assert of_floats["mse"] == of_bytes["mse"]
    (claim,) = next(one for one in questions() if one.name == "floats").claims
    assert (claim.arm, claim.against, claim.most) == ("floats", "bytes", 1.05)


@pytest.mark.slow
@pytest.mark.parametrize("what", WORKS)
def test_the_loop_and_the_package_train_the_same_stack_as_often(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    images, batch = (12 * 16, 2) if WORKS[what].layout == "volumes" else (120, 20)
    work = replace(WORKS[what], images=images, batch=batch, epochs=2)
    steps: list[int] = []

    def counting(step: Callable[..., Any]) -> Callable[..., Any]:
        def counted(self: torch.optim.Adam, *args: Any) -> Any:
            steps.append(sum(p.numel() for group in self.param_groups for p in group["params"]))
            return step(self, *args)

        return counted

    for optimiser in (torch.optim.Adam, eager.Adam):  # of the loop, and of the package
        monkeypatch.setattr(optimiser, "step", counting(optimiser.step))
    train, _ = pixels(work)
    assert train.shape[1:] == work.shape
    floats = train.float() / 255
    counts = []
    for way in (loops.loaded, loops.indexed):
        model = loops.train(work, 0, floats, way)
        assert model(floats[:2]).numel() == floats[:2].numel()
        counts.append(steps.copy())
        steps.clear()
    ours.train(work, 0, train if work.layout == "images" else floats)
    assert counts == [steps, steps]
    assert len(steps) == 2 * 6 * (len(work.widths) + 1)


def test_both_loops_read_every_image_once_an_epoch() -> None:
    images, work = torch.arange(10.0)[:, None], Work("dense", (), batch=4, epochs=2)
    for way in (loops.loaded, loops.indexed):
        parts = list(way(images, work))
        assert [len(part) for part in parts] == [4, 4, 2] * 2
        for epoch in (parts[:3], parts[3:]):
            assert sorted(torch.cat(epoch).flatten().tolist()) == list(range(10))
        assert not torch.equal(torch.cat(parts[:3]), images)


def test_jax_trains_as_the_loop_does() -> None:
    """On batches of all images, whose order does not matter, and without masking, which each draws for itself."""
    jax = pytest.importorskip("jax", reason="JAX is not installed")
    work = Work("dense", (20, 10, 5), images=60, batch=60, epochs=3, masking=0.0, lr=1e-2)
    images = pixels(work)[0].float() / 255
    by_hand, found = loops.train(work, 0, images), jax_loop.train(work, 0, images)
    for name, value in by_hand.state_dict().items():
        assert (value - found.state_dict()[name]).abs().max() < 1e-4, name
    untrained = loops.train(replace(work, epochs=0), 0, images)
    assert error(found, images) < 0.9 * error(untrained, images)
    # the last batch of an epoch is smaller, and every image is read once
    layers = [(jax.numpy.eye(2), jax.numpy.zeros(2))]
    state = (layers, *[jax.tree.map(jax.numpy.zeros_like, layers)] * 2, jax.numpy.float32(0))
    epoch = jax_loop.compiled_epoch(4, 0.0, 1e-3, ("linear",))
    assert epoch(state, jax.numpy.ones((10, 2)), jax.random.key(0))[3] == 3


def test_volumes_are_images_in_their_order() -> None:
    train, test = pixels(replace(WORKS["volumes"], images=40))
    images, _ = pixels(replace(WORKS["dense"], images=40))
    assert (train.shape, test.shape) == ((2, 1, 16, 28, 28), (625, 1, 16, 28, 28))
    assert torch.equal(train[1, 0, 3], images[19, 0])


def test_the_loop_and_the_package_fine_tune_the_same_classifier_as_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """And measure it: with as many parameters, better than chance after a few updates."""
    monkeypatch.setitem(WORKS, "tiny", Work("dense", (20, 10), batch=50, lr=1e-2))
    steps: list[int] = []

    def counting(step: Callable[..., Any]) -> Callable[..., Any]:
        def counted(self: torch.optim.Adam, *args: Any) -> Any:
            steps.append(sum(p.numel() for group in self.param_groups for p in group["params"]))
            return step(self, *args)

        return counted

    for optimiser in (torch.optim.Adam, eager.Adam):  # of the loop, and of the package
        monkeypatch.setattr(optimiser, "step", counting(optimiser.step))
    found = []
    for who in ("loop", "ours"):
        measured = classifying(who, "tiny", seed=0, epochs=4, images=300)
        found.append(steps.copy())
        steps.clear()
        assert measured["cpu_seconds"] > 0
        assert 0.2 < measured["accuracy"] <= 1
    assert found[0] == found[1]
    assert len(found[0]) == 1 + 4 * 6  # the first one is not timed
    assert found[0][0] == 784 * 20 + 20 + 20 * 10 + 10 + 10 * 10 + 10


def test_the_classifier_of_the_package_is_trained_as_by_hand() -> None:
    """From the same weights on the same batches, every update is the same up to rounding."""
    work = Work("dense", (6, 4), batch=8, epochs=1, lr=1e-2)
    images, labels = torch.rand(32, 1, 28, 28), torch.arange(32) % 10
    config = classifiers.recipe(work)
    stack = StackedAutoencoder(work.shape)
    grow(stack, ours.spec_of(work, 0, ours.RECIPES["same"]), 2)
    tuning = FineTuning(stack, (StoredInputs(images), labels), None, classifiers.CLASSES, config, 0)
    by_hand = copy.deepcopy(torch.nn.Sequential(*tuning.model.encoder, tuning.model.head))
    optimiser = torch.optim.Adam(by_hand.parameters(), lr=work.lr)
    for update in range(4):
        index = tuning.order.batch(update)
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(by_hand(images[index]), labels[index]).backward()
        optimiser.step()
    trained = tuning.train().model.eval()
    torch.testing.assert_close(trained(images), by_hand(images), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_what_is_trained_reconstructs_and_is_measured() -> None:
    work = replace(WORKS["conv"], images=512)
    train, test = pixels(work)
    assert train.shape == (512, 1, 28, 28)
    spec = ours.spec_of(work, 0, ours.RECIPES["same"])
    stack = StackedAutoencoder((1, 28, 28))
    grow(stack, spec, 3)
    untrained = error(ours.Reconstruction(stack.eval()), test[:1000].float() / 255)
    done = training("ours", "conv", seed=0, epochs=4, images=512)
    assert 0 < done["mse"] < untrained
    assert done["cpu_seconds"] > 0
    assert ours.spec_of(work, 0, ours.RECIPES["conv"]).optimisation.schedule == "cosine"


def test_what_a_context_takes_is_seen() -> None:
    with mmap.mmap(-1, 60_000_000) as filled:  # new pages: those of the heap may be here already
        with Spent() as spent:
            filled.write(bytes(60_000_000))
        assert 50 < spent.values()["growth_mb"] < 200
        assert resident("VmRSS") > len(filled) / 1e6
    with Spent() as nothing:
        pass
    assert nothing.values()["growth_mb"] < 5


def test_bad_words_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(benchmark.STUDY, ["--only", "densest", "--out", str(tmp_path)]) == 2
    assert "question 'densest'" in capsys.readouterr().err
    assert main(benchmark.STUDY, ["--repeats", "0", "--out", str(tmp_path)]) == 2


@pytest.mark.slow
def test_exponents_are_those_of_the_rows(tmp_path: Path) -> None:
    axis = Question(
        "scaling-stages",
        "an epoch",
        {f"{w} @ {v}": ("scaling", {}) for v in (1, 2, 4) for w in WAYS},
        (),
        axis="stages",
    )
    rows = [
        {
            "method": f"{axis.name}/{way} @ {value}",
            "seed": repeat,
            "arm": f"{way} @ {value}",
            "condition": axis.name,
            "measure": measure,
            "value": 3.0 * value**power,
        }
        for way in WAYS
        for value in (1, 2, 4)
        for repeat in range(2)
        for measure, power in (("cpu_seconds", 1.5), ("growth_mb", 0.5), (LOAD, 0.0))
    ]
    frame = pd.DataFrame(rows).assign(commit="abc")
    assert exponent(curve(frame, axis, "joint", "cpu_seconds")) == pytest.approx((1.5, 1.5, 1.5))
    assert "| stages | greedy | 1.50 (1.50 to 1.50) | 0.50 (0.50 to 0.50) |" in exponents_table(frame, [axis])
    frame.to_csv(tmp_path / "rows.csv", index=False)
    report(benchmark.benchmark((axis,)), (axis,), tmp_path, "python -m studies.benchmark")
    assert (tmp_path / "figures" / "scaling.png").exists()
    assert not (tmp_path / "figures" / "targets.png").exists()


@pytest.mark.slow
def test_the_ends_of_an_axis_can_be_built_and_an_epoch_is_told() -> None:
    for axis, (values, _) in AXES.items():
        for way in WAYS:
            for value in (values[0], values[-1]):
                spec, shape, images = spec_of(axis, value, way)
                phases = spec.phases(images // spec.optimisation.batch_size)
                assert len(phases) == (1 if way == "joint" else len(spec.stack.stages))
                if way != "greedy, 5 epochs a stage":  # whose updates are those of "greedy"
                    estimate_cost(replace(spec, budget=Budget((1.0,), 1.0, "updates")), shape, images, machine=H100)
    once, five = (scaling("stages", 1, way)["cpu_seconds"] for way in ("greedy", "greedy, 5 epochs a stage"))
    assert 0.2 * once < five < 5 * once


def test_a_forecast_is_held_beside_what_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(WORKS, "dense", replace(WORKS["dense"], widths=(20, 5), images=1000))
    told = prediction_error("dense")
    assert told["error"] == pytest.approx(abs(told["predicted"] / told["seconds"] - 1))


def test_a_folder_is_read_and_trained_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photos, "FILES", 5)
    monkeypatch.setattr(photos, "UPDATES", 1)
    told = photos.folder(40)
    assert told["pixels_mb"] == pytest.approx(40 * 3 * 224 * 224 / 1e6)
    assert told["resident_mb"] > told["pixels_mb"]
    assert told["codes_mb"] < 2**30 / 1e6


def test_what_recording_takes_is_counted_once_and_in_the_training_thread_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("studies.benchmark.workloads.whole.time.perf_counter", lambda: now[0])

    class Inner:
        def work(self, seconds: float) -> None:
            now[0] += seconds

    class Outer:
        def work(self) -> None:
            now[0] += 1
            Inner().work(2)
            Inner().work(4)

    before = Inner.work, Outer.work
    with Recording(Inner, Outer) as recording:
        Outer().work()
        other = threading.Thread(target=Inner().work, args=(8,))
        other.start()
        other.join()
        now[0] += 16
        Inner().work(32)
    assert (Inner.work, Outer.work) == before
    assert recording.seconds == 39


OLD = "question,arm,repeat,measure,value,load,commit\n" + "".join(
    f'utilisation,"{arm}",{repeat},{name},{value},{1.5 + repeat},0a1b2c3\n'
    for arm in ("AutoEncoder224 joint, batch 16", "dense 784-1000, batch 256")
    for repeat in (0, 1)
    for name, value in (("seconds", 0.0144292), ("share", 1e-05))
)


def test_rows_of_before_are_migrated_without_changing_a_number(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rows.csv").write_text(OLD)
    assert migrate_rows.main([str(tmp_path)]) == 0
    rows = load(tmp_path, LOAD)
    old = pd.read_csv(tmp_path / "rows.csv")
    assert len(old) == 2 * 2 * (2 + 1)
    assert rows["seed"].tolist() == [0] * 6 + [1] * 6
    assert list(dict.fromkeys(rows["arm"])) == ["dense 784-1000, batch 256", "AutoEncoder224 joint, batch 16"]
    assert set(rows["condition"]) == {"utilisation"}
    assert rows[rows["measure"] == "seconds"]["value"].tolist() == [0.0144292] * 4
    assert rows[rows["measure"] == LOAD]["value"].tolist() == [1.5, 1.5, 2.5, 2.5]
    capsys.readouterr()
    assert migrate_rows.main([str(tmp_path)]) == 2
    assert "is not a benchmark table in the old format" in capsys.readouterr().err
    session = benchmark.STUDY.session(["--out", str(tmp_path), "--only", "utilisation"])
    session.begin()
    session.prepare()  # the folder is one of the benchmark's now


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("utilisation,", "beauty,", "has rows of 'beauty/"),
        ("0.0144292", "nan", "which must hold finite numbers"),
        (",1.5,0a1b2c3\n", ",1.6,0a1b2c3\n", "has different loads"),
    ],
)
def test_rows_of_before_that_are_none_are_left_as_they_are(
    old: str, new: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = OLD.replace(old, new, 1)
    (tmp_path / "rows.csv").write_text(content)
    assert migrate_rows.main([str(tmp_path)]) == 2
    assert told in capsys.readouterr().err
    assert (tmp_path / "rows.csv").read_text() == content
