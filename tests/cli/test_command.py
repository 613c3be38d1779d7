"""What command lines share: streams that are closed or take ASCII alone, misspelt words, and one name for all commands."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from stacked.apps.codec import compress
from stacked.cli.command import UNREAD, Command, carried_out, misspelt
from stacked.doctor.__main__ import main as doctor
from stacked.model import export
from stacked.util.checks import choice, meant
from stacked.util.errors import InputError
from studies import __main__ as stacked_command
from studies.applications.anomaly import study as anomaly
from studies.framework.main import main
from studies.pretraining import layerwise

ROOT = Path(__file__).parents[2]
PYTHON = f"'{sys.executable}'"


def shell(line: str, cwd: Path = ROOT, **env: str) -> subprocess.CompletedProcess[bytes]:
    """A line for a shell, which closes streams."""
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "", **env},
        capture_output=True,
        check=False,
    )


#: Writes to a file, says what it did on both streams, and to the numbers of these, as other programs and libraries do.
SAYS = """
import os, sys
from contextlib import suppress
from stacked.cli.command import carried_out
from stacked.runtime.progress import Bar, say
from stacked.util.errors import InputError
def do():
    with open(sys.argv[1], "w") as file:
        say("begun")
        with Bar("phase", 1, "updates", ends=True) as bar:
            bar.to(1, 0.5)
        os.write(1, b"by number")
        with suppress(OSError):  # of a full disk
            os.write(2, b"by number")
        print("x" * int(sys.argv[2]))
        file.write("é written")
        print("in \\N{GREEK SMALL LETTER ALPHA}")
    if sys.argv[3:]:
        raise InputError("bad \\N{GREEK SMALL LETTER ALPHA}")
    return 0
sys.exit(carried_out("prog", do))
"""


@pytest.mark.parametrize("closed", ["", "2>&-", ">&-", "<&-", "2>&- >&- <&-", "2>/dev/full"])
def test_a_closed_stream_keeps_nothing_from_being_done(closed: str, tmp_path: Path) -> None:
    (tmp_path / "says.py").write_text(SAYS)
    done = shell(f"{PYTHON} says.py file 1 {closed}", tmp_path, PYTHONUTF8="1")
    assert (tmp_path / "file").read_text("utf-8") == "é written"
    assert done.returncode == 0
    told = {"2>&-": b"", "2>/dev/full": b""}.get(closed.partition(" >")[0], b"begun\nphase: 1/1 updates")
    assert told in done.stderr
    assert b"Traceback" not in done.stderr
    if ">&- <" not in closed and closed != ">&-":
        assert done.stdout.endswith("in α\n".encode())
    refused = shell(f"{PYTHON} says.py file 1 bad {closed}", tmp_path, PYTHONUTF8="1")
    assert refused.returncode == 2


def test_what_a_stream_cannot_show_is_escaped(tmp_path: Path) -> None:
    (tmp_path / "says.py").write_text(SAYS)
    done = shell(f"{PYTHON} says.py file 1 bad", tmp_path, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stdout[-10:]) == (2, b"in \\u03b1\n")
    assert done.stderr.endswith(b"prog: bad \\u03b1\n")


def test_a_reader_that_has_gone_is_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "says.py").write_text(SAYS)
    done = shell(f"{PYTHON} says.py file 1000000 | head -c 1", tmp_path)
    assert done.returncode == UNREAD
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr
    done = shell(f"({PYTHON} says.py file 1; echo $? > code) 2>&1 >out | head -c 1", tmp_path)
    assert (tmp_path / "code").read_text() == "0\n"
    assert (tmp_path / "file").read_text("utf-8") == "é written"


@pytest.mark.slow
def test_a_study_with_closed_streams_is_refused_or_shown_as_any(tmp_path: Path) -> None:
    words = f"{PYTHON} -m studies.layerwise --data nosuch"
    assert [shell(f"{words} {closed}").returncode for closed in ("2>&-", ">&-", "2>&- >&-")] == [2, 2, 2]
    assert shell(f"{PYTHON} -m studies.layerwise --help >&- 2>&-").returncode == 0


# Misspelt words


def test_ctrl_c_is_one_line_and_exit_code_130(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> int:
        raise KeyboardInterrupt

    assert carried_out("stacked.predict", interrupted) == 130
    assert capsys.readouterr().err == "\nstacked.predict: interrupted\n"
    with pytest.raises(KeyboardInterrupt):  # for a study, which says what is saved
        carried_out("studies.layerwise", interrupted, tells_interruptions=False)


def test_a_known_word_is_compared_with_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """A study makes a thousand specs, each with several names."""
    monkeypatch.setattr("stacked.util.checks.meant", lambda *words: pytest.fail(f"{words} were compared"))
    choice("adam", ["adam", "sgd"], "optimiser")


def test_the_nearest_word_is_meant() -> None:
    assert meant("chanels", ["level", "channels"]) == "; did you mean 'channels'?"
    assert meant("JOINT", ["joint"]) == "; did you mean 'joint'?"
    assert meant(3, ["joint"]) == meant("x", []) == ""
    assert misspelt("unrecognized arguments: --chanels=4 8", ["--help", "--channels"]) == "; did you mean '--channels'?"
    assert misspelt("unrecognized arguments: 8", ["--help", "--channels"]) == ""
    with pytest.raises(
        InputError, match=r"stage kind 'cnv' is not known; did you mean 'conv'\? Choose from conv, dense$"
    ):
        choice("cnv", ("conv", "dense"), "stage kind")
    names = [f"n{number}" for number in range(20)]
    with pytest.raises(
        InputError, match=r"arm 'x' is not known: choose from n0, .*, n11 and 8 others \('list' names all\)$"
    ):
        choice("x", names, "arm")
    with pytest.raises(InputError, match=r"arm 'list' is not known: choose from n0, .*, n19$"):
        choice("list", names, "arm")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--chanels", "4"], "unrecognized arguments: --chanels 4; did you mean '--channels'?"),
        (["--chanels=4"], "unrecognized arguments: --chanels=4; did you mean '--channels'?"),
        (["--arms", "jont"], "arm 'jont' is not known"),
        (["--optimisation", "{lrr: 1}"], "did you mean 'lr'?"),
        (["--zzz"], "unrecognized arguments: --zzz (--help shows what is allowed)"),
        (["--seed", "3"], "unrecognized arguments: --seed 3; did you mean '--seeds'?"),
        (["--channels", "16,32"], "--channels '16,32' is one value: separate values by spaces, as in --channels 16 32"),
        (["--labels", "100,all"], "--labels '100,all' is one value: separate values by spaces, as in --labels 100 all"),
        (["--device", "gpu"], "device 'gpu' is not known: give cpu, cuda (cuda:1 ...) for a GPU"),
    ],
)
def test_a_study_names_what_was_meant(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(layerwise.STUDY, words) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("chanels: [4]", "'chanels' is not accepted; did you mean 'channels'?"),
        ("lr: fast", "'fast'"),
        ("channels: [0]", "width of a conv stage 0 is not allowed"),
        ("arms: [jont]", "arm 'jont' is not known"),
    ],
)
def test_what_is_wrong_in_a_file_is_named_with_the_file(
    text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my.yaml").write_text(f"{text}\n")
    assert main(layerwise.STUDY, ["--config", str(tmp_path / "my.yaml"), "--jobs", "1"]) == 2
    told = capsys.readouterr().err
    assert f"in the file {tmp_path / 'my.yaml'}: " in told
    assert said in told


def test_what_is_wrong_elsewhere_is_not_said_of_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "my.yaml").write_text("lr: 0.1\n")
    assert main(layerwise.STUDY, ["--config", str(tmp_path / "my.yaml"), "--channels", "0"]) == 2
    assert "my.yaml" not in capsys.readouterr().err


def test_every_other_command_names_what_was_meant(capsys: pytest.CaptureFixture[str]) -> None:
    for call, words, said in (
        (lambda words: main(anomaly.STUDY, words), ["--metods", "pca"], "did you mean '--methods'?"),
        (doctor, ["--stroe", "x"], "did you mean '--store'?"),
        (doctor, ["stael"], "did you mean 'stale'?"),
        (compress.main, ["encod"], "did you mean 'encode'?"),
        (compress.main, ["encode", "a", "b", "c", "--forc3"], "did you mean '--force'?"),
        (export.main, ["a", "b.onnx", "--frce"], "did you mean '--force'?"),
    ):
        assert call(words) == 2
        told = capsys.readouterr().err
        assert said in told
        assert told.count("\n") == 1


def test_a_parser_without_a_near_word_says_no_more() -> None:
    with pytest.raises(InputError, match=r"^unrecognized arguments: --zzz \(--help shows what is allowed\)$"):
        Command(prog="x").parse_args(["--zzz"])


def test_a_value_of_another_type_is_named_with_its_option() -> None:
    command = Command(prog="x")
    command.add_argument("--seeds", type=int)
    with pytest.raises(InputError, match=r"^--seeds '2\.5' is not allowed: give an integer \(--help shows"):
        command.parse_args(["--seeds", "2.5"])


def test_every_help_has_one_style(capsys: pytest.CaptureFixture[str]) -> None:
    calls = (partial(main, layerwise.STUDY), partial(main, anomaly.STUDY), doctor, compress.main, export.main)
    for call in calls:
        with pytest.raises(SystemExit, match=r"^0$"):
            call(["--help"])
        first, blank, *rest = capsys.readouterr().out.splitlines()
        assert first[0].isupper()
        assert blank == ""
        assert all(line.endswith(":") or line.startswith("  ") for line in rest)
        assert not any("usage:" in line or "--help" in line for line in rest)


# One name


def test_the_command_is_installed_with_the_package() -> None:
    assert '[project.scripts]\nstacked = "studies.__main__:main"\n' in (ROOT / "pyproject.toml").read_text()


def test_every_module_that_is_a_command_has_a_name() -> None:
    found = {name: module for name, (module, _) in stacked_command.commands().items()}
    assert found["layerwise"] == "studies.layerwise"
    assert found["hinton2006"] == "studies.papers.hinton2006"
    assert (found["doctor"], found["benchmark"]) == ("stacked.doctor", "studies.benchmark")
    assert "once" not in found  # a part of the benchmark
    sources = [*(ROOT / "stacked").rglob("*.py"), *(ROOT / "studies").rglob("*.py")]
    starts = [path for path in sources if stacked_command.STARTS in path.read_text()]
    assert (found["papers"], found["lesson"]) == ("studies.papers", "studies.papers.lesson")
    assert len(found) == len(starts) - 1  # the command itself


#: A user's own folder of this name, which Python finds before ours when it starts in the folder above.
SHADOW = "raise SystemExit('this is not the package')"


@pytest.fixture
def script(tmp_path: Path) -> str:
    """The console script as pip makes it, called in a folder in which a user has his own `studies`."""
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "__init__.py").write_text(SHADOW)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "stacked").write_text("import sys\nfrom studies.__main__ import main\nsys.exit(main())\n")
    return f"cd {tmp_path}; {PYTHON} bin/stacked"


@pytest.mark.slow
def test_the_command_is_not_hidden_by_a_folder_of_its_name(script: str) -> None:
    assert (
        b"this is not the package" in shell(f"{script.partition(';')[0]}; unset PYTHONPATH; {PYTHON} -m studies").stderr
    )
    listed = shell(f"{script} --help")
    assert listed.returncode == 0, listed.stderr
    assert b"\n  layerwise  " in listed.stdout
    assert listed.stdout == shell(script).stdout
    asked = shell(f"{script} layerwise --chanels 3")
    told = b"stacked layerwise: unrecognized arguments: --chanels 3; did you mean '--channels'? (--help shows what is allowed)"
    assert (asked.returncode, asked.stderr.strip()) == (2, told)
    assert shell(f"{script} compress --help").stdout.startswith(b"Compress images with a trained codec")


def test_a_command_that_is_none_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert stacked_command.main(["layrwise"]) == 2
    told = "stacked: there is no command 'layrwise'; did you mean 'layerwise'? (--help lists them)\n"
    assert capsys.readouterr().err == told


def test_names_of_commands_fit_their_column() -> None:
    lines = [line for line in stacked_command.help_text().splitlines() if line.startswith("  ")]
    column = max(len(line.split()[0]) for line in lines) + 4
    assert {(line[column - 1], line[column] != " ") for line in lines} == {(" ", True)}
    assert any(line.split()[:3] == ["migrate_rows", "For", "maintainers:"] for line in lines)


def test_the_list_of_commands_loads_no_torch() -> None:
    code = "import sys; from studies.__main__ import main; main(['--help']); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_every_folder_of_modules_is_a_package() -> None:
    """Else a wheel would lack it."""
    for top in ("stacked", "studies"):
        for module in (ROOT / top).rglob("*.py"):
            assert (module.parent / "__init__.py").exists(), module.parent


def test_the_package_is_found_beside_a_folder_of_its_name(tmp_path: Path) -> None:
    """Such as that of a clone, in the folder above it."""
    (tmp_path / "stacked" / "stacked").mkdir(parents=True)
    surroundings = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    words = [sys.executable, "-c", "import stacked, studies; print(stacked.__file__)"]
    done = subprocess.run(words, cwd=tmp_path, env=surroundings, capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()).name == "__init__.py"
