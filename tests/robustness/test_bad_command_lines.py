"""A study's command line with anything in it: it is taken, or refused in one line and with exit code 2."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

import studies.framework.main as command
from studies.cli.command_line import FLAGS, MAPPINGS, parser
from studies.cli.options import Options
from studies.framework.main import main
from studies.pretraining.layerwise import STUDY
from tests.helpers.refused import anything, broken, mutated, note
from tests.helpers.specs import PLAIN, WORDS

EVALUATION = {name: value for name, value in PLAIN[0]["evaluation"].items() if name not in ("every", "until")}
#: what a person writes, in part
CONFIGS: list[Any] = [
    {"arms": ["greedy", "joint"], "stack": PLAIN[1]["stack"], "optimisation": {"penalties": {"l1": 0.1}, "lr": 0.1}},
    {"data": "digits", "limit": 500, "corruption": "masking+gaussian", "level": ["0.1+0.2"], "seeds": 2, "clip": None},
    {"channels": [4, 8], "kind": "conv", "epochs": [1, 2.5], "finetune": 3, "unit": "epochs", "equal": "updates"},
    {"out": "there", "store": "kept", "data_dir": "data", "grey": True, "image_size": 32, "port": 7000, "jobs": 2},
    {"evaluation": EVALUATION, "classification": PLAIN[0]["classification"], "patience": 3, "resume": False},
    {"stack": PLAIN[2]["stack"], "optimisation": PLAIN[2]["optimisation"], "classification": {"lrs": [0.1]}},
    {"labels": ["10", 20, "all"]},
]
NAMES = sorted(
    action.option_strings[0]
    for action in parser("p", "q", STUDY.arm_names)._actions
    if action.option_strings and not {"--help", "--config"} & set(action.option_strings)
)


@pytest.fixture(scope="module", autouse=True)
def taken() -> Iterator[list[Options]]:
    """Nothing is trained or shown: what was taken is noted here."""
    found: list[Options] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "run_session", lambda session, *_: found.append(session.given) or 0)
        yield found


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("config") / "my.yaml"


def answer(*words: str) -> str:
    """What a command line is refused with, after the name of the program; "" where it is taken."""
    told, said = io.StringIO(), io.StringIO()
    with contextlib.redirect_stderr(told), contextlib.redirect_stdout(said):
        code = main(STUDY, list(words))
    note("refused" if code else "taken")
    assert not said.getvalue()
    if code == 0:
        assert not told.getvalue()
        return ""
    assert code == 2
    name, _, message = told.getvalue().removesuffix("\n").partition(": ")
    assert name == "python -m studies.layerwise"
    assert message
    assert message.isprintable()
    return message


def test_what_is_changed_here_is_taken(config: Path) -> None:
    for values in CONFIGS:
        config.write_text(yaml.safe_dump(values))
        assert answer("--config", str(config)) == ""


@given(data=st.data())
def test_changed_yaml(config: Path, data: st.DataObject) -> None:
    values = data.draw(mutated(CONFIGS, WORDS, most=2) | anything())
    config.write_text(yaml.safe_dump(values, allow_unicode=True), errors="surrogatepass")
    answer("--config", str(config))


#: ten times as much in every line
BOMB = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [{', '.join(10 * ['*' + a])}]\n" for a, b in pairwise("abcdefghijklm"))


@given(text=broken(mutated(CONFIGS, WORDS, most=1).map(yaml.safe_dump)) | st.text(max_size=20))
@example(text="a: &a [*a]")
@example(text="stack: &a {stages: *a}")
@example(text=BOMB)
@example(text="lr: 0.1\nlr: 0.2")
@example(text="stack: {init: he, init: xavier}")
@example(text="seeds: 0x" + "f" * 5000)
@example(text="optimisation: {lr: 0x" + "f" * 5000 + "}")
@example(text="level: " + "[" * 900 + "]" * 900)
@example(text="stack: " + "{a: " * 900 + "1" + "}" * 900)
@example(text="stack: " + "[" * 20_000)
@example(text='out: "a\\0b"')
@example(text='store: "\\uD800"')
@example(text="!!python/object/apply:os.system ['true']")
@example(text="lr: !!timestamp 2001-01-01")
@example(text="lr: 2001-01-01")
@example(text="stack: !!set {a, b}")
@example(text="stack: !!binary aGVsbG8=")
@example(text="? [1, 2]\n: 3")
@example(text="stack: {? [1] : 3}")
@example(text="- 1")
@example(text="lr")
@example(text="%YAML 9.9\n---\nlr: 1")
@example(text="lr: 1\n---\nlr: 2")
@example(text="config: my.yaml")
@example(text="seeds: 99999999999")
@example(text="labels: [²]")
@example(text="labels: 5")
@example(text="loss: [[mse]]")
@example(text="loss: [{a: 1}]")
@example(text="arms: {a: 1}")
@example(text="arms: joint")
@example(text="arms: []")
@example(text="arms: [joint, joint]")
@example(text="data: null")
@example(text="data: 5")
@example(text="stack: null")
@example(text="smoke: null")
@example(text="lr: 1" + ":00" * 400 + ".5")
@example(text="host: [1]")
def test_broken_yaml(config: Path, text: str) -> None:
    config.write_text(text, errors="surrogatepass")
    answer("--config", str(config))


@pytest.mark.parametrize("name", sorted({*FLAGS} - {"resume"}))  # which takes words for yes and no
@pytest.mark.parametrize("value", ['"false"', '"no"', "0", "5", "[]", "{}"])
def test_yes_or_no_is_never_guessed(config: Path, name: str, value: str) -> None:
    config.write_text(f"{name}: {value}")
    answered = answer("--config", str(config)).removeprefix(f"in the file {config}: ")
    assert answered.startswith((f"{name} ", f'parser key "{name}"'))


@given(content=st.binary(max_size=60))
@example(content=b"\xff\xfe")
@example(content=b"lr: \x00")
@example(content=b"?")
@example(content=b"5:")
@example(content=b"{5: 6}")
@example(content=b"lr: 1e400")
def test_bytes_that_are_no_yaml(config: Path, content: bytes) -> None:
    config.write_bytes(content)
    answer("--config", str(config))


@pytest.mark.parametrize("option", MAPPINGS)
@given(data=st.data())
def test_mappings(option: str, data: st.DataObject) -> None:
    """A part of a spec, as YAML in a word."""
    parts = [values[option] for values in [*PLAIN[:3], *PLAIN[-3:]]]
    value = data.draw(mutated(parts, WORDS, most=2))
    text = data.draw(st.sampled_from([json.dumps(value), yaml.safe_dump(value, default_flow_style=True)]))
    answer(f"--{option}", text)


@given(data=st.data())
def test_any_words(data: st.DataObject) -> None:
    good = st.sampled_from([*WORDS, "1", "2", "0.5", "all", "0.1+0.2", "true"])
    word = good | st.text(max_size=6).filter(lambda text: not text.startswith("-") and "\0" not in text)
    options = data.draw(st.lists(st.tuples(st.sampled_from(NAMES), st.lists(word, max_size=2)), max_size=3))
    answer(*(part for name, words in options for part in [name, *words]))


@pytest.mark.parametrize(
    "words",
    [
        ["--labels", "²"],
        ["--stack", "5:"],
        ["--stack=?"],
        ["--lr", "5:"],
        ["--config", "5:"],
        ["--lr", "1" + ":00" * 400 + ".5"],
        ["--stack", "{a: 1" + ":00" * 400 + ".5}"],
        ["--jobs", "3000000000"],
        ["--evaluation", "{images: 4611686018427387904}"],
        ["--classification", "{epochs: 1e308}"],
        ["--labels", "9" * 5000],
        ["--seeds", "99999999999"],
        ["--limit", "1" * 5000],
        ["--lr", "1e400"],
        ["--epochs", "1e300"],
        ["--level", "nan"],
        ["--data", "folder:\udcff"],
        ["--out", "\udcff"],
        ["--port", "99999"],
        ["--arms", "joint", "joint"],
        ["--config", "/nowhere/my.yaml"],
        ["--config", "{arms: {a: 1}}"],
        ["--conf", "{arms: {a: 1}}"],
        ["--con={config: {a: 1}}"],
        ["--config", "/"],
        ["--config", ""],
        ["--stack", "{"],
        ["--stack", "[1]"],
        ["--nothing"],
    ],
    ids=lambda words: " ".join(words)[:30],
)
def test_words_that_are_refused(words: list[str]) -> None:
    assert answer(*words)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (
            ["--stack", "{init: he, init: xavier}"],
            "'{init: he, init: xavier}' cannot be read as YAML: 'init' is given twice",
        ),
        (["--stack={a: &a [*a]}"], "'{a: &a [*a]}' cannot be read as YAML: 'a' is part of itself"),
        (
            ["--optimisation", "{lr: !!float 1}"],
            "'{lr: !!float 1}' cannot be read as YAML: the tag 'tag:yaml.org,2002:float'",
        ),
        (["--optimisation", "{lr: 1"], "'{lr: 1' cannot be read as YAML: while parsing a flow mapping"),
        (
            ["--optimisation", "{a: " * 60 + "}" * 60],
            f"'{'{a: ' * 60 + '}' * 60}' cannot be read as YAML: nested deeper than 50",
        ),
    ],
)
def test_it_is_said_what_is_wrong_with_yaml_in_a_word(words: list[str], reason: str) -> None:
    assert answer(*words).startswith(reason)


def test_it_is_said_what_is_wrong_with_a_file_of_options(config: Path) -> None:
    missing = config.with_name("none.yaml")
    assert answer("--config", str(missing)) == f"the file {missing} of --config does not exist: give a YAML file"
    assert answer("--config", str(config.parent)) == f"{config.parent} of --config is a folder: give a YAML file"
    config.write_text("optimisation: {lr: 1\nfoo")
    told = answer("--config", str(config))
    assert told.startswith(
        f"the file {config} of --config cannot be read as YAML: while parsing a flow mapping in line 1, column 15 "
    )
    assert "unicode string" not in told
    config.write_text("optimisation: {lrr: 1}\n")
    assert answer("--config", str(config)).endswith(" others ({list: 0} names all)")
    config.write_text("optimisation: {list: 0}\n")
    assert answer("--config", str(config)).endswith(", recalibrate")


def test_anchors_may_be_used_where_they_end(taken: list[Options], config: Path) -> None:
    config.write_text("stack:\n  stages:\n  - &a {kind: dense, width: 5}\n  - *a\n  - {<<: *a, width: 3}\n")
    assert answer("--config", str(config)) == ""
    assert [stage.width for stage in taken[-1].base.stack.stages] == [5, 5, 3]


def test_a_process_says_one_line_and_ends_with_2(tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text("optimisation: {lr: .nan}\n")
    command = [sys.executable, "-m", "studies.layerwise", "--config", str(tmp_path / "my.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    what = "learning rate nan is not allowed: give a number above 0"
    assert done.stderr == f"python -m studies.layerwise: in the file {tmp_path / 'my.yaml'}: {what}\n"
