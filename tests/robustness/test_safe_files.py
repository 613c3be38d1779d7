"""No file that is read can run code, and no file that is written tells of the machine, or of who used it."""

from __future__ import annotations

import ast
import json
import os
import pickle
import re
import shutil
import sqlite3
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from stacked import InputError, StackSpec, load_encoder
from stacked.model.encoder import FORMAT, save_encoder
from stacked.model.stack import build
from stacked.util.serialization import to_json
from studies.framework.main import main
from studies.pretraining.layerwise import STUDY
from studies.statistics.rows import load_rows

import mlflow  # isort: skip
from mlflow.environment_variables import MLFLOW_ALLOW_PICKLE_DESERIALIZATION  # isort: skip

ROOT = Path(__file__).parents[2]
SOURCES = sorted([*ROOT.glob("stacked/**/*.py"), *ROOT.glob("studies/**/*.py")])
#: Calls that can run what a file says, and modules that are for nothing else.
RUNS = {"eval", "exec", "torch.load", "torch.jit.load", "yaml.load", "yaml.unsafe_load", "yaml.full_load"}
RUNS |= {"np.fromregex", "pd.read_pickle", "pd.read_hdf", "tarfile.extractall", "shutil.unpack_archive"}
PICKLES = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}


# Reading


def found(path: Path) -> Iterator[str]:
    """What a source calls or imports that can run what is in a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in RUNS or name.split(".")[-1] in ("extractall", "read_pickle"):
                yield name
            plain = any(word.arg == "allow_pickle" and ast.unparse(word.value) == "False" for word in node.keywords)
            if name in ("np.load", "numpy.load") and not plain:
                yield name
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from (name for name in names if name.split(".")[0] in PICKLES)


def test_nothing_of_ours_opens_a_file_that_can_run_code(tmp_path: Path) -> None:
    assert len(SOURCES) > 80
    assert {path.name: list(found(path)) for path in SOURCES if list(found(path))} == {}
    bad = tmp_path / "bad.py"
    bad.write_text("import pickle\nfrom joblib import load\nx = np.load(a)\ny = torch.load(b)\narchive.extractall()\n")
    assert list(found(bad)) == ["pickle", "joblib", "np.load", "torch.load", "archive.extractall"]


class Bomb:
    """An object whose unpickling leaves a trace."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


STACKS = {
    "conv": (StackSpec.of("conv", 4, 8), (3, 12, 12)),
    "pooled, tied": (StackSpec.of("conv-pool", 4, unpool="switches", tied=True), (1, 9, 9)),
    "dense": (StackSpec.of("dense", 20, 5, activation="sigmoid"), (1, 8, 8)),
    "residual, group": (StackSpec.of("residual", 8, norm="group"), (3, 16, 16)),
    "transformer": (StackSpec.of("transformer", 8), (3, 16, 16)),
}


@pytest.mark.parametrize("name", STACKS)
def test_an_encoder_loads_back_as_it_was(name: str, tmp_path: Path) -> None:
    spec, shape = STACKS[name]
    stack = build(spec, shape).to(memory_format=torch.channels_last)  # as training lays it out
    images = torch.rand(5, *shape)
    stack(torch.rand(9, *shape))  # fills the buffers of batch norm
    save_encoder(tmp_path / "e.safetensors", stack, spec)
    encoder = load_encoder(tmp_path / "e.safetensors")
    assert not encoder.training
    assert torch.equal(encoder(images), stack.eval().encode(images))
    assert [p.stride() for p in encoder.parameters()] == [p.stride() for p in stack.encoder.parameters()]
    assert {parameter.device.type for parameter in [*encoder.parameters(), *encoder.buffers()]} <= {"cpu"}
    encoder.train()(images).square().sum().backward()  # it can be trained on


def test_what_is_no_encoder_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    trace, path = tmp_path / "trace", tmp_path / "e.safetensors"
    spec, shape = STACKS["dense"]
    tensors = {k: v.contiguous() for k, v in build(spec, shape).encoder.state_dict().items()}
    good = {"format": FORMAT, "stack": to_json(spec), "input_shape": json.dumps(shape)}
    huge = to_json(StackSpec.of("dense", 10**9, 10**9))

    def refused(content: bytes | dict[str, str], what: dict[str, torch.Tensor] = tensors) -> str:
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            save_file(what, path, content)
        with pytest.raises(InputError) as error:
            load_encoder(path)
        message = str(error.value)
        assert re.fullmatch(
            rf"{re.escape(str(path))} is not an encoder \(.*\): give the encoder\.safetensors of a run", message
        )
        assert "\n" not in message
        return message

    for content in (b"", b"{}", pickle.dumps(Bomb(trace)), b"\xff" * 64):
        refused(content)
    torch.save(Bomb(trace), tmp_path / "pickled")
    refused((tmp_path / "pickled").read_bytes())
    assert "its format is None" in refused({})
    assert "stage kind 'os.system' is not known" in refused(
        good | {"stack": good["stack"].replace('"kind":"dense"', '"kind":"os.system"')}
    )
    assert "Missing key" in refused(good, {"0.weight": torch.zeros(1)})
    assert "size mismatch" in refused(good | {"stack": huge})  # and takes no memory
    shapes = (
        "3",
        '["x"]',
        "[Infinity, 8, 8]",
        "[1e400, 8, 8]",
        '"188"',
        "[1.9, 8, 8]",
        "[true, 8, 8]",
        "[8, 9]",
        "[1, 1, 1, 1, 64]",
        "[1, 0, 8]",
    )
    for name, value in (("stack", "["), ("stack", "[]"), *(("input_shape", shape) for shape in shapes)):
        refused(good | {name: value})
    for kind in (torch.float16, torch.float64, torch.complex64):
        assert f"is of {kind}, not torch.float32" in refused(good, {k: v.to(kind) for k, v in tensors.items()})
    with pytest.raises(InputError, match="it does not exist"):
        load_encoder(tmp_path / "nowhere")
    (tmp_path / "photo.jpg").write_bytes(bytes.fromhex("ffd8ffe000104a4649460001"))
    with pytest.raises(InputError, match=r"photo.jpg is not an encoder \(it is not a safetensors file\)"):
        load_encoder(tmp_path / "photo.jpg")
    assert not trace.exists()
    pickle.loads(pickle.dumps(Bomb(trace)))
    assert trace.exists()  # so it would have been seen


def test_a_configuration_makes_no_objects(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = tmp_path / "trace"
    made = f"{{class_path: pathlib.Path.touch, init_args: {{self: {trace}}}}}"
    for text in (
        f"stack: !!python/object/apply:pathlib.Path.touch [{trace}]",
        f"stack: {made}",
        f"optimisation: {made}",
        f"data_dir: !!python/object/apply:os.system ['touch {trace}']",
    ):
        (tmp_path / "c.yaml").write_text(text)
        words = [
            "--config",
            str(tmp_path / "c.yaml"),
            "--smoke",
            "--out",
            str(tmp_path / "o"),
            "--store",
            str(tmp_path),
        ]
        assert main(STUDY, words) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not trace.exists()


# Writing

SECRET, HOST = "secret-user-x7", "secret-host-q3"
#: Gives the machine a name that no compressed bytes have by chance.
RENAMED = f"""
import os, socket
real = os.uname()
os.uname = lambda: os.uname_result((real[0], {HOST!r}, *real[2:]))
socket.gethostname = lambda: {HOST!r}
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Path:
    """The home folder of a user with a telling name, with a finished study and one whose run failed, under absolute paths."""
    home = tmp_path_factory.mktemp("homes") / SECRET
    for label in ("cat", "dog"):
        (home / "photos" / label).mkdir(parents=True)
        for number in range(30):
            pixels = np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(home / "photos" / label / f"{number}.png")
    (home / "my.yaml").write_text("labels: [10]\nbatch_size: 16\n")
    shutil.copytree(
        ROOT, home / "code", ignore=shutil.ignore_patterns(".*", "results", "mlruns", "mnist", "__pycache__")
    )
    (home / "code" / "sitecustomize.py").write_text(RENAMED)
    (home / "store").mkdir()
    shutil.copy(empty_database, home / "store")
    words = ["--smoke", "--arms", "joint", "--jobs", "1", "--data", f"folder:{home}/photos", "--image-size", "16"]
    words += ["--config", str(home / "my.yaml"), "--store", str(home / "store")]
    code = f"""
import runpy, sys
for name, words in (("runs", []), ("failed", ["--lr", "1e30", "--optimiser", "sgd"])):  # in one process: it takes seconds to load
    sys.argv = ["-m", *{words!r}, *words, "--out=" + {str(home)!r} + "/" + name]
    try:
        runpy.run_module("studies.layerwise", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        assert end.code == (name == "failed"), name
    else:
        sys.exit(3)
"""
    env = {**os.environ, "HOME": str(home), "USER": SECRET, "LOGNAME": SECRET, "PYTHONPATH": str(home / "code")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=home, env=env, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    return home


def told(content: bytes) -> list[str]:
    """What in these bytes tells of the machine or of its user."""
    words = [SECRET, HOST, sys.prefix, sys.base_prefix, str(Path.home())]
    return [word for word in words if re.search(rb"(?<!\w)" + re.escape(word.encode()) + rb"(?!\w)", content)]


def test_what_would_tell_is_found() -> None:
    assert told(f"x {SECRET}".encode()) == [SECRET]
    assert sys.prefix in told(f'"{sys.prefix}/lib"'.encode())
    assert told(f"{Path.home()}/x on {HOST}".encode()) == [HOST, str(Path.home())]
    assert told(b"nothing") == []


def test_the_machine_has_a_telling_name(home: Path) -> None:
    code = "import platform, socket; print(platform.node(), socket.gethostname())"
    env = {**os.environ, "PYTHONPATH": str(home / "code")}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [HOST, HOST]


def test_the_store_tells_nothing_of_its_user(home: Path) -> None:
    """But for where artifacts are, which is MLflow's own."""
    values = []
    with closing(sqlite3.connect(home / "store" / "mlflow.db")) as store:
        for (table,) in store.execute("select name from sqlite_master where type = 'table'").fetchall():
            columns = [name for _, name, *_ in store.execute(f"pragma table_info({table})")]
            for row in store.execute(f"select * from {table}").fetchall():
                named = zip(columns, row, strict=True)
                values += [(table, n, v) for n, v in named if n not in ("artifact_uri", "artifact_location")]
    assert ("params", "value", "folder:photos") in values
    assert ("datasets", "name", "folder:photos") in values
    assert [each for each in values if told(str(each[2]).encode())] == []
    assert [each for each in values if each[2] in ("root", os.environ.get("USER", "root"))] == []


def test_artifacts_and_encoders_tell_nothing_of_their_user(home: Path) -> None:
    names, telling = set(), []
    for path in (home / "store" / "artifacts").rglob("*"):
        if path.is_file():
            names.add(path.name)
            telling += [(path.name, word) for word in told(path.read_bytes())]
            if zipfile.is_zipfile(path):
                with zipfile.ZipFile(path) as archive:
                    for member in archive.namelist():
                        names.add(member)
                        telling += [(path.name, member, word) for word in told(archive.read(member))]
    expected = {"MLmodel", "conda.yaml", "requirements.txt", "model.pt2", "model/models/model.json", "spec.json"}
    assert expected | {"phase-1.safetensors", "encoder.safetensors", "README.md", "runs.csv", "headline.png"} <= names
    assert telling == []


def test_checkpoints_and_results_tell_nothing_of_their_user(home: Path) -> None:
    for path in [*home.glob("store/work/**/*.safetensors"), *home.glob("store/work/**/points.jsonl")]:
        assert told(path.read_bytes()) == [], path
    with safe_open(next(home.glob("store/work/*/phase-1.safetensors")), "pt") as file:
        assert '"name":"folder:photos"' in file.metadata()["spec"]
    results = [path for out in ("runs", "failed") for path in (home / out).rglob("*") if path.is_file()]
    assert {"README.md", "runs.csv", "curves.csv", "configuration.json", "joint-s0.npz"} <= {
        path.name for path in results
    }
    assert {path.name: told(path.read_bytes()) for path in results if told(path.read_bytes())} == {}
    page = (home / "runs" / "README.md").read_text()
    assert "--data folder:photos --image-size 16 --config my.yaml --out=runs" in page
    assert load_rows(home / "failed")["status"][0].startswith("failed: the loss became")


def test_the_exported_model_loads_where_mlflow_allows_no_pickle(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = [str(path.parent) for path in home.glob("store/artifacts/models/*/artifacts/MLmodel")]
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    assert not MLFLOW_ALLOW_PICKLE_DESERIALIZATION.get()
    images = torch.rand(3, 3, 16, 16)
    shapes = [tuple(mlflow.pytorch.load_model(folder)(images).shape) for folder in folders]
    assert shapes.count((3, 8, 4, 4)) == 1  # the encoder; the others are classifiers
    assert len(shapes) > 1
