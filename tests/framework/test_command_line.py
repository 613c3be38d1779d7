"""The command line of the main job: its help, its configuration file, and what it says of bad input."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from studies.capacity import STUDY as CAPACITY
from studies.framework.dry_run import busy
from studies.framework.main import main
from studies.papers import hinton2006
from studies.pretraining.layerwise import STUDY
from tests.helpers.layerwise import HARDLY_CLASSIFIED, ROOT


def test_help_fits_one_screen(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    with pytest.raises(SystemExit, match=r"^0$"):
        main(STUDY, ["--help"])
    help_text = capsys.readouterr().out
    lines = help_text.splitlines()
    assert len(lines) <= 60
    assert max(map(len, lines)) <= 120
    for word in [
        "data",
        "channels",
        "arms",
        "seeds",
        "epochs",
        "equal",
        "device",
        "jobs",
        "out",
        "resume",
        "smoke",
        "config",
    ]:
        assert f"--{word}" in help_text


def test_help_shows_the_defaults_of_the_study(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where they differ from those of other studies, too; options that the stack of a study makes ineffective name it."""
    monkeypatch.setenv("COLUMNS", "120")
    shown = {}
    for study in (STUDY, hinton2006.STUDY, CAPACITY):
        with pytest.raises(SystemExit, match=r"^0$"):
            main(study, ["--help"])
        found = re.findall(r"^ *--([a-z-]+) .*\(([^()]*)\)$", capsys.readouterr().out, re.MULTILINE)
        shown[study.name] = dict(found)
    assert shown["layerwise"]["seeds"] == "3"
    expected = {"seeds": "5", "optimiser": "adamw", "lr": "0.0005", "batch-size": "64", "epochs": "2", "labels": "none"}
    assert {name: shown["hinton2006"][name] for name in expected} == expected
    assert shown["hinton2006"]["channels"] == "see --stack"
    assert shown["capacity"]["limit"] == "10000"


#: Shows the help of both kinds of studies and refuses an option; prints the exit codes, and whether torch was loaded for any.
WITHOUT_TORCH = """
import sys
from studies.applications.denoising.study import STUDY as measuring
from studies.framework.main import main
from studies.pretraining.layerwise import STUDY as training

def code(study, *words):
    try:
        return main(study, list(words))
    except SystemExit as end:
        return end.code

print([code(study, word) for study in (training, measuring) for word in ("--help", "--chanels")], "torch" in sys.modules)
"""


def test_the_help_and_refused_options_load_no_torch() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "--channels" in done.stdout
    assert "--methods" in done.stdout
    assert done.stdout.splitlines()[-1] == "[0, 2, 0, 2] False"


def test_options_come_from_a_yaml_file_and_later_words_override_it(tmp_path: Path) -> None:
    from studies.cli.command_line import parser
    from studies.cli.options import options

    (tmp_path / "c.yaml").write_text("data: digits\nchannels: [4, 8]\nlr: 0.5\nbatch_size: 32\nresume: false\n")
    words = ["--config", str(tmp_path / "c.yaml"), "--lr", "0.25"]
    given = options("layerwise", parser("p", "q", STUDY.arm_names).parse_args(words))
    assert given.base.data.name == "digits"
    assert [stage.width for stage in given.base.stack.stages] == [4, 8]
    assert given.base.optimisation.lr == 0.25
    assert given.base.optimisation.batch_size == 32
    assert not given.resume


@pytest.mark.parametrize(
    ("words", "blocks"), [([], None), (["--blocks", "2"], 2), (["--blocks", "1", "3"], (1, 3))], ids=str
)
def test_blocks_are_one_number_or_one_for_each(words: list[str], blocks: int | tuple[int, ...] | None) -> None:
    from studies.cli.command_line import parser
    from studies.cli.options import options

    given = options("layerwise", parser("p", "q", STUDY.arm_names).parse_args(words))
    assert given.base.blocks == blocks


@pytest.mark.usefixtures("no_models", "no_page")
def test_a_loss_is_asked_to_fit_the_arms_that_run(tmp_path: Path) -> None:
    words = [
        "--smoke",
        "--loss",
        "bce",
        "--jobs",
        "1",
        "--out",
        str(tmp_path / "out"),
        "--store",
        str(tmp_path / "store"),
        *HARDLY_CLASSIFIED,
    ]
    assert main(STUDY, words) == 2
    assert main(STUDY, [*words, "--arms", "joint"]) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data", "mnits"], "there is no dataset 'mnits'"),
        (
            ["--arms", "gredy"],
            "arm 'gredy' is not known; did you mean 'greedy'? Choose from greedy, greedy+finetune, joint",
        ),
        (["--data", "cifar10", "--data-dir", "nowhere"], "--download"),
        (["--data", "folder:nowhere"], "nowhere"),
        (["--channels", "0"], "width of a conv stage 0 is not allowed"),
        (["--channels", *"11111"], "images of 28 x 28 pixels are too small for 5 conv stages"),
        (["--level", "1.5"], "corruption level 1.5 of masking is not allowed: give 0 to 1"),
        (["--epochs", "0"], "budget 0.0 is not allowed"),
        (["--finetune", "-1"], "budget -1.0 is not allowed"),
        (["--labels", "5"], "a budget of 5 labels does not fit"),
        (["--labels", "60000"], "a budget of 60000 labels does not fit"),
        (["--labels", "many"], "label budget 'many' is not allowed"),
        (["--device", "cuda:9"], "device 'cuda:9' cannot be used here"),
        (["--seeds", "0"], "seeds 0 is not allowed"),
        (["--jobs", "0"], "jobs 0 is not allowed"),
        (["--equal", "money"], "equal 'money' is not known: choose from flops, updates, seconds, span"),
        (["--limit", "3"], "limit=3"),
        (["--lr", "abc"], "abc"),
        (["--level", "inf", "--corruption", "gaussian"], "level"),
        (["--chanels", "3"], "chanels"),
        (["--config", "nowhere.yaml"], "nowhere.yaml"),
        (["--out", "/dev/null/x"], "/dev/null/x"),
        (["--store", "/dev/null/x"], "/dev/null/x"),
        (
            ["--register", "a/b"],
            "register 'a/b' is not allowed: give a name of letters, digits, spaces, '.', '_' and '-'",
        ),
        (["--register", "a" * 201], "has at most 200 characters"),
        (
            ["--register", "mine", "--tune", "2"],
            "--register registers a trained run, and --tune trains none: leave out one",
        ),
        (["--register", "mine", "--dry-run"], "--dry-run trains none"),
        (["--register", "mine", "--ui"], "--ui trains none"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    more = [] if "--out" in words else ["--out", str(tmp_path / "out")]
    more += [] if "--store" in words else ["--store", str(tmp_path / "store")]
    assert main(STUDY, [*words, *more]) == 2
    said = capsys.readouterr().err.strip()
    assert message in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "out" / "runs.csv").exists()


def test_a_forecast_says_that_the_machine_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.setattr("os.getloadavg", lambda: (1.9, 9.0, 9.0))
    assert busy() == []
    monkeypatch.setattr("os.getloadavg", lambda: (7.3, 1.0, 1.0))
    assert busy() == ["The machine is busy (load 7.3, 2 cores): when it is idle, times are shorter."]


def test_there_may_be_nothing_to_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("studies.viewing.ui.ROOT", tmp_path)
    assert main(STUDY, ["--ui", "--out", str(tmp_path / "out"), "--store", str(tmp_path / "store")]) == 2
    assert "there is nothing to show" in capsys.readouterr().err
