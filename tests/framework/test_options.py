"""The command line: what each word means, and what is refused."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import fields, replace
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
from yaml import safe_load as load_yaml

from stacked import InputError, StackSpec
from stacked.spec import Classification, Evaluation, StageSpec
from studies.cli.command_line import parser
from studies.cli.options import Options, options
from studies.cli.parsing import parse
from studies.pretraining.layerwise import STUDY
from studies.record.index import ROOT
from studies.record.names import slug

MEANINGS: list[tuple[str, str, Any]] = [
    ("--data digits", "base.data.name", "digits"),
    ("--limit 700", "base.data.limit", 700),
    ("--image-size 64", "base.data.image_size", 64),
    ("--grey", "base.data.grey", True),
    ("--white-level 4095", "base.data.white_level", 4095),
    ("--max-megapixels 200", "base.data.max_megapixels", 200),
    ("--data-dir there", "data_dir", "there"),
    ("--download", "download", True),
    ("--corruption gaussian --level 0.2", "base.optimisation.corruption", "gaussian"),
    ("--level 0.2", "base.optimisation.corruption_level", (0.2,)),
    ("--level 0.1 0.2 0.3 0.4", "base.optimisation.corruption_level", (0.1, 0.2, 0.3, 0.4)),
    ("--loss bce mse mse mse", "base.optimisation.loss", ("bce", "mse", "mse", "mse")),
    ("--optimiser sgd", "base.optimisation.optimiser", "sgd"),
    ("--lr 0.3", "base.optimisation.lr", 0.3),
    ("--schedule onecycle", "base.optimisation.schedule", "onecycle"),
    ("--warmup 7", "base.optimisation.warmup", 7),
    ("--clip 0.5", "base.optimisation.clip", 0.5),
    ("--batch-size 33", "base.optimisation.batch_size", 33),
    ("--patience 3", "base.optimisation.patience", 3),
    ("--epochs 2 3 4 5", "base.budget.stages", (2, 3, 4, 5)),
    ("--finetune 6", "base.budget.end_to_end", 6),
    ("--unit updates", "base.budget.unit", "updates"),
    ("--labels 50 all", "base.classification.labels", (50, None)),
    ("--arms joint random", "arms", ("joint", "random")),
    ("--seeds 2", "seeds", (0, 1)),
    ("--equal updates", "equal", "updates"),
    ("--device meta", "device", "meta"),
    ("--jobs 3", "jobs", 3),
    ("--codes recompute", "codes", "recompute"),
    ("--out here", "out", Path("here")),
    ("--store kept", "store", Path("kept")),
    ("--no-resume", "resume", False),
    ("--deterministic", "deterministic", True),
    ("--ui", "ui", True),
    ("--port 7000", "port", 7000),
    ("--host 0.0.0.0", "host", "0.0.0.0"),
]


def given(words: str = "") -> Options:
    return options("layerwise", parser("p", "q", STUDY.arm_names).parse_args(words.split()))


@pytest.mark.parametrize(("words", "field", "value"), MEANINGS, ids=[words for words, _, _ in MEANINGS])
def test_words_mean_what_they_say(words: str, field: str, value: Any) -> None:
    assert attrgetter(field)(given(words)) == value
    assert attrgetter(field)(given()) != value


def said(*words: str, defaults: dict[str, Any] | None = None) -> Options:
    """What a command line means, as a study reads it."""
    with_defaults = replace(STUDY, defaults=defaults or {})
    return with_defaults.given(list(words))


#: (option, YAML, where it goes, what it is there)
MAPPINGS: list[tuple[str, str, str, Any]] = [
    (
        "stack",
        "{norm: group, init: xavier}",
        "stack",
        StackSpec.of("conv", 16, 32, 64, 16, norm="group", init="xavier"),
    ),
    ("stack", "{output: linear}", "stack.output", "linear"),
    (
        "stack",
        "{stages: [{kind: conv, width: 8}, {kind: dense, width: 5, activation: sigmoid, options: {tied: true}}]}",
        "stack.stages",
        (StageSpec("conv", 8), StageSpec("dense", 5, "sigmoid", (("tied", True),))),
    ),
    (
        "stack",
        "{stages: [{kind: conv-pool, width: 4, decoder: softplus, options: {unpool: switches, kernel: 5}}]}",
        "stack.stages",
        (StageSpec("conv-pool", 4, options=(("unpool", "switches"), ("kernel", 5)), decoder="softplus"),),
    ),
    (
        "optimisation",
        "{penalties: {l1: 0.001}, emphasis: [1.0, 0.5]}",
        "optimisation",
        replace(given().base.optimisation, penalties=(("l1", 0.001),), emphasis=(1.0, 0.5)),
    ),
    (
        "optimisation",
        "{penalties: {orthogonality: 2, l1: 0.0001}}",
        "optimisation.penalties",
        (("l1", 1e-4), ("orthogonality", 2)),
    ),
    (
        "optimisation",
        "{corruption: masking+gaussian, corruption_level: [[0.25, 0.1]]}",
        "optimisation.corruption_level",
        ((0.25, 0.1),),
    ),
    (
        "optimisation",
        "{winner_take_all: lifetime, winner_take_all_rate: 0.1}",
        "optimisation.winner_take_all_rate",
        0.1,
    ),
    ("optimisation", "{check_every: 20, patience: 1}", "optimisation.check_every", 20),
    ("optimisation", "{linear_decoder: true}", "optimisation.linear_decoder", True),
    ("optimisation", "{weight_decay: 0.01, momentum: 0}", "optimisation.momentum", 0),
    ("optimisation", "{clip: null, lr: 0.5}", "optimisation.lr", 0.5),
    ("evaluation", "{probe_labels: 2000, images: 64}", "evaluation", Evaluation(probe_labels=2000, images=64)),
    (
        "classification",
        "{lrs: [0.1], labels: [10, null]}",
        "classification",
        Classification(labels=(10, None), lrs=(0.1,)),
    ),
]


@pytest.mark.parametrize(("option", "yaml", "field", "value"), MAPPINGS, ids=[yaml for _, yaml, _, _ in MAPPINGS])
def test_a_yaml_mapping_reaches_every_part_of_the_spec(
    option: str, yaml: str, field: str, value: Any, tmp_path: Path
) -> None:
    """On the command line, in a file, and as a study's own default; nothing else changes."""
    (tmp_path / "c.yaml").write_text(f"{option}: {yaml}\n")
    mapping = load_yaml(yaml)
    for found in (
        said(f"--{option}", yaml),
        said("--config", str(tmp_path / "c.yaml")),
        said(defaults={option: mapping}),
    ):
        assert attrgetter(field)(found.base) == value
        plain = getattr(given().base, option)
        assert replace(found.base, **{option: plain}) == given().base
        for name in {f.name for f in fields(plain)} - set(mapping):
            assert getattr(getattr(found.base, option), name) == getattr(plain, name)


def test_a_mapping_goes_before_words_and_a_later_mapping_replaces_it(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("lr: 0.3\noptimisation: {lr: 0.2, warmup: 4}\nstack: {norm: layer}\n")
    words = ["--config", str(tmp_path / "c.yaml")]
    assert said(*words).base.optimisation.lr == 0.2
    assert said(*words, "--lr", "0.4").base.optimisation.lr == 0.2
    later = said(*words, "--optimisation", "{lr: 0.1}").base
    assert (later.optimisation.lr, later.optimisation.warmup) == (0.1, 0)
    assert later.stack.norm == "layer"


def test_stages_of_one_kind_have_their_words() -> None:
    found = said("--kind", "dense", "--channels", "9", "4", "--activation", "tanh").base.stack
    assert found == StackSpec.of("dense", 9, 4, activation="tanh")
    assert said("--corruption", "masking+gaussian", "--level", "0.25+0.1").base.optimisation.corruption_level == (
        (0.25, 0.1),
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--stack", "{norm: instance}"], "norm of a conv stage 'instance' is not known: choose from batch"),
        (
            ["--stack", "{nrom: group}"],
            "field of StackSpec 'nrom' is not known; did you mean 'norm'? Choose from stages, output, norm, init",
        ),
        (["--stack", "{stages: 3}"], "3 is not a StageSpec: give its fields by name"),
        (["--stack", "{stages: [{width: 8, options: {tied: maybe}}]}"], "tied 'maybe' of a conv stage is not allowed"),
        (
            ["--stack", "{stages: [{knd: conv}]}"],
            "field of StageSpec 'knd' is not known; did you mean 'kind'? Choose from kind",
        ),
        (["--stack", "{init: 3}"], "init 3 is not allowed: give a word"),
        (["--optimisation", "{emphasis: 0.5}"], "emphasis 0.5 is not allowed: give a list"),
        (["--optimisation", "{emphasis: [1, 2, 3]}"], "emphasis (1, 2, 3) is not allowed: give two weights"),
        (["--optimisation", "{penalties: {l2: 0.1}}"], "penalty 'l2' is not known: choose from l1, kl"),
        (["--optimisation", "{penalties: {l1: lots}}"], "weight of penalty 'l1' 'lots' is not allowed"),
        (["--optimisation", "{weight_decay: some}"], "weight_decay 'some' is not allowed: give a number"),
        (["--optimisation", "{learning_rate: 0.1}"], "field of Optimisation 'learning_rate' is not known"),
        (["--optimisation", "3"], "--optimisation '3' is not allowed: give a mapping, as {field: value}"),
        (["--seeds", "2.5"], "--seeds '2.5' is not allowed: give an integer (--help"),
        (["--lr", "abc"], "--lr 'abc' is not allowed: give a number (--help"),
        (["--channels", "8", "16.5"], "--channels '16.5' is not allowed: give an integer (--help"),
        (["--patience", "abc"], "--patience 'abc' is not allowed: give an integer (--help"),
        (["--checkpoint-every", "x"], "--checkpoint-every 'x' is not allowed: give an integer (--help"),
        (
            ["--corruption", "gausian"],
            "corruption 'gausian' is not known; did you mean 'gaussian'? Choose from masking",
        ),
        (["--optimisation", "{lr: [}"], "'{lr: [}' cannot be read as YAML: while parsing a flow node"),
        (["--evaluation", "{probe_labels: few}"], "probe_labels 'few' is not allowed: give a whole number"),
        (["--classification", "{lrs: []}"], "lrs is empty: give at least one learning rate"),
        (["--level", "0.1+x"], "level '0.1+x' is not allowed: give a number, or numbers joined by +"),
        (
            ["--level", "0.1+0.2"],
            "corruption level (0.1, 0.2) does not fit 'masking': give a number for each of 1 parts",
        ),
        (["--kind", "konv"], "stage kind 'konv' is not known; did you mean 'conv'? Choose from conv"),
        (["--activation", "swish"], "activation 'swish' is not known: choose from relu"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_bad_mapping_is_named_in_one_line(words: list[str], message: str) -> None:
    with pytest.raises(InputError) as error:
        said(*words)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("optimisation: {weight_decay: some}", "weight_decay 'some' is not allowed: give a number"),
        (
            "stack:\n  stages:\n    - {kind: konv}",
            "stage kind 'konv' is not known; did you mean 'conv'? Choose from conv",
        ),
        ("optimisation: 3", "optimisation"),
        ("optimsation: {lr: 3}", "optimsation"),
        ("stack: {", "config"),
    ],
)
def test_a_bad_file_is_named_in_one_line(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(InputError) as error:
        said("--config", str(tmp_path / "c.yaml"))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_the_path_of_a_folder_is_no_part_of_the_spec() -> None:
    found = given("--data folder:/home/alice/photos")
    assert (found.base.data.name, found.data_dir) == ("folder:photos", "/home/alice")
    assert found.out.parent == Path("results/layerwise")
    assert found.out.name.startswith("folder-photos-")


def test_folders_whose_names_differ_in_umlauts_have_records_of_their_own() -> None:
    assert slug("folder:Meine Fotos/Blüten") == "folder-Meine-Fotos-Blüten" != slug("folder:Meine Fotos/Blöten")
    assert slug("Blu\u0308ten") == slug("Bl\u00fcten")  # as a file system may take it apart
    assert slug("a_b+c") == "a-b-c"  # as before
    if shutil.which("git") and (ROOT / ".git").exists():
        for name in ("folder", "npz", "csv", "parquet", "amat"):
            assert (
                subprocess.run(["git", "check-ignore", "-q", f"results/denoising/{name}-x/"], cwd=ROOT).returncode == 0
            )


def test_numbers_may_have_an_exponent() -> None:
    """YAML 1.1 would take them for words."""
    how = said("--optimisation", "{end_lr: 1e-4, penalties: {l1: 1e-3}}").base.optimisation
    assert (how.end_lr, how.penalties) == (1e-4, (("l1", 1e-3),))


def test_words_change_nothing_else() -> None:
    plain = given()
    for words, field, _ in MEANINGS:
        found, top = given(words), field.split(".")[0]
        if top != "base":
            assert replace(found, **{top: getattr(plain, top), "out": plain.out}) == plain, words


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--channels", "8"],
            "--channels has no effect here, because the stack is given stage by stage: use --stack '{stages: ",
        ),
        (["--kind", "conv-pool", "--smoke"], "--kind has no effect here"),
        (
            ["--evaluation", "{every: 5}"],
            "evaluation 'every' is not allowed: leave it out, because it follows from the budgets",
        ),
        (["--evaluation", "{until: 5}"], "evaluation 'until' is not allowed: leave it out"),
    ],
)
def test_what_would_have_no_effect_is_refused(words: list[str], message: str) -> None:
    from studies.papers.hinton2006 import STUDY as HINTON

    with pytest.raises(InputError) as error:
        parse(parser("x", "q", HINTON.arm_names), words, HINTON.defaults)
    assert str(error.value).startswith(message)
    if message.startswith("--"):
        parse(parser("x", "q", STUDY.arm_names), words, STUDY.defaults)


def test_what_is_said_of_a_part_leaves_the_rest_of_a_studys_own() -> None:
    from studies.papers.hinton2006 import STUDY as HINTON

    base = HINTON.given(["--optimisation", "{clip: 1.0}", "--stack", "{init: he}"]).base
    assert [stage.width for stage in base.stack.stages] == [1000, 500, 250, 30]
    assert (base.stack.init, base.optimisation.clip, base.optimisation.end_lr) == ("he", 1.0, 2e-3)


@pytest.mark.parametrize(
    ("what", "labels", "probes"),
    [("full", (100, None), ("logistic",)), ("probe", (), ("logistic",)), ("none", (), ())],
)
def test_labels_are_used_after_training_as_far_as_is_wanted(
    what: str, labels: tuple[int | None, ...], probes: tuple[str, ...]
) -> None:
    base = STUDY.given(["--labels", "100", "all", "--classify", what]).base
    assert (base.classification.labels, base.evaluation.probes) == (labels, probes)


def test_what_labels_cannot_be_used_for_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"classify 'probes' is not known; did you mean 'probe'\? Choose from none, probe, full"
    ):
        STUDY.given(["--classify", "probes"])
