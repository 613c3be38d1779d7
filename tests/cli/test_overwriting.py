"""No command writes over a file that it did not write itself."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from stacked import RunSpec, StackSpec, data
from stacked.apps.codec import compress
from stacked.apps.codec.codec import Codec
from stacked.apps.denoise import Denoiser
from stacked.cli.overwriting import check_new
from stacked.model import export
from stacked.model.encoder import save_encoder
from stacked.model.stack import build
from stacked.util.errors import InputError
from studies.applications.anomaly import study as anomaly
from studies.applications.anomaly.score_folder import score_images
from studies.applications.denoising import study as denoising
from studies.applications.projection import study as projection
from studies.applications.projection.embed_folder import map_all
from studies.benchmark import study as benchmark
from studies.design.measurements import Context
from studies.framework.main import main
from studies.measuring.data_session import DataSession
from studies.measuring.study import MeasurementStudy
from studies.record import runs as record
from studies.reliability import endurance, torture
from studies.statistics.measurement_rows import FIELDS
from tests.helpers.splits import toy_splits

KEPT = b"a user's own"


@pytest.fixture(scope="module")
def codec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A codec's file, beside three images."""
    spec, folder = StackSpec.of("dense", 4, activation="linear"), tmp_path_factory.mktemp("codec")
    images = data.load("digits").train.inputs
    Codec(build(spec, (1, 8, 8)).eval(), spec, images[:50], 0.5).save(folder / "codec.safetensors")
    for k in range(3):
        Image.fromarray(images[k, 0].numpy()).save(folder / f"{k}.png")
    return folder / "codec.safetensors"


@pytest.fixture
def files(codec: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """The paths of copies of the codec and the images, and of files that are not there yet."""
    for path in codec.parent.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return lambda *names: [str(tmp_path / name) for name in names]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


CODEC = "codec.safetensors"


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (
            (CODEC, "0.png", "1.png", "2.png"),
            "2.png exists already: give another FILE, or overwrite it with --force",
        ),
        ((CODEC, "0.png", CODEC), "codec.safetensors is an input and cannot be overwritten: give another FILE"),
        ((CODEC, "0.png", "1.png", "0.png"), "0.png is an input and cannot be overwritten: give another FILE"),
    ],
)
def test_encode_leaves_what_is_there(
    names: tuple[str, ...], said: str, files: Callable[..., list[str]], tmp_path: Path, capsys: Any
) -> None:
    before = contents(tmp_path)
    assert compress.main(["encode", *files(*names)]) == 2
    assert capsys.readouterr().err == f"python -m stacked.compress: {tmp_path}/{said}\n"
    assert contents(tmp_path) == before


def test_encode_and_decode_write_over_what_is_there_when_told(
    files: Callable[..., list[str]], tmp_path: Path, capsys: Any
) -> None:
    encode, decode = ["encode", *files(CODEC, "0.png", "all.stk")], ["decode", *files(CODEC, "all.stk", "out")]
    assert compress.main(encode) == 0
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "0000.png").write_bytes(KEPT)
    assert compress.main(encode) == 2
    assert compress.main(decode) == 2
    assert "out/0000.png exists already: give another FOLDER, or overwrite it" in capsys.readouterr().err
    assert (tmp_path / "out" / "0000.png").read_bytes() == KEPT
    assert compress.main([*encode, "--force"]) == compress.main([*decode, "--force"]) == 0
    assert np.array(Image.open(tmp_path / "out" / "0000.png")).shape == (8, 8)
    assert compress.main([*encode[:-1], encode[2], "--force"]) == 2  # what is read, not even then


def test_export_leaves_what_is_there(tmp_path: Path, capsys: Any) -> None:
    spec = StackSpec.of("dense", 3)
    encoder, target = tmp_path / "encoder.pt2", tmp_path / "mine.pt2"  # whatever it is called
    save_encoder(encoder, build(spec, (1, 4, 4)), spec)
    target.write_bytes(KEPT)
    for path, said in (
        (target, "exists already: give another FILE"),
        (encoder, "is an input and cannot be overwritten"),
    ):
        before = path.read_bytes()
        assert export.main([str(encoder), str(path)]) == 2
        assert said in capsys.readouterr().err
        assert path.read_bytes() == before
    assert export.main([str(encoder), str(target), "--force"]) == 0
    assert target.read_bytes() != KEPT


def test_a_link_that_leads_nowhere_is_there(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match="link exists already"):
        check_new([tmp_path / "absent", tmp_path / "link"], "FILE")
    check_new([tmp_path / "link"], "FILE", force=True)


def context(out: Path, folder: Path | None = None, study: MeasurementStudy = anomaly.STUDY) -> Context:
    given = vars(study.parser().parse_args([]))
    given |= {"data": f"folder:{folder}", "judge": None, "noisy": f"folder:{folder}", "image_size": 8, "grey": True}
    given |= {"updates": 1, "corruption": "gaussian", "level": 0.1, "seeds": 1, "methods": []}
    return Context(toy_splits(32, size=8), argparse.Namespace(**given), out)


def prepare(study: MeasurementStudy, out: Path) -> None:
    """As a session of a study of measurements does."""
    where = context(out, study=study)
    session = DataSession(study, argparse.Namespace(**{**vars(where.given), "out": out}))
    session.context = where
    session.prepare()


def images(folder: Path, count: int = 220) -> Path:
    folder.mkdir()
    for k in range(count):
        Image.fromarray(np.full((8, 8), k % 251, np.uint8)).save(folder / f"{k:03}.png")
    return folder


COMMANDS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "study": ("README.md", lambda out: record.prepare(out, RunSpec(), "flops", "digest")),
    "study's figures": ("figures/headline.png", lambda out: record.prepare(out, RunSpec(), "flops", "digest")),
    "use": ("README.md", lambda out: prepare(anomaly.STUDY, out)),
    "use's page": ("map.html", lambda out: prepare(projection.STUDY, out)),
    "judge": ("worst.png", lambda out: score_images(context(out, images(out / "images")), RunSpec())),
    "map": ("map.csv", lambda out: map_all(context(out, images(out / "images")), [RunSpec()])),
    "noisy": ("restored/003.png", lambda out: denoising.restore_noisy_folder(context(out, images(out / "images", 4)))),
    "benchmark": ("README.md", lambda out: main(benchmark.STUDY, ["--out", str(out)])),
    "benchmark's rows": ("rows.csv", lambda out: main(benchmark.STUDY, ["--out", str(out)])),
    "endurance": ("README.md", lambda out: main(endurance.STUDY, ["--out", str(out)])),
    "torture": ("kills.csv", lambda out: main(torture.STUDY, ["--out", str(out)])),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_folder_of_a_user_is_left_as_it_is(name: str, tmp_path: Path, capsys: Any) -> None:
    file, command = COMMANDS[name]
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_bytes(KEPT)
    try:
        assert command(tmp_path) == 2
        told = capsys.readouterr().err
    except InputError as error:
        told = str(error)
    assert f"{file} exists already and was not written by this command: move it away, or give another --out" in told
    left = {path: content for path, content in contents(tmp_path).items() if not path.startswith("images/")}
    assert left == {file: KEPT}


@pytest.mark.slow
def test_a_folder_of_its_own_is_written_again(tmp_path: Path, capsys: Any) -> None:
    folder, out = images(tmp_path / "images"), tmp_path / "out"
    for _ in range(2):
        record.prepare(out / "study", RunSpec(), "flops", "digest")
        (out / "study" / "README.md").write_text("a page")
        prepare(anomaly.STUDY, out / "use")
        (out / "use" / "rows.csv").write_text(",".join(FIELDS) + "\n")
    words = ["--data", f"folder:{folder}", "--grey", "--image-size", "8", "--updates", "1"]
    for command, use in (("judge", anomaly.STUDY), ("map", projection.STUDY)):
        before = ""
        for _ in range(2):
            assert main(use, [*words, "--out", str(out / command)]) == 0
            said = re.sub(r"\d", "", capsys.readouterr().out)
            assert before in ("", said)
            before = said


@pytest.mark.slow
def test_what_a_denoiser_restored_is_restored_again(tmp_path: Path) -> None:
    given, written = (
        context(tmp_path, images(tmp_path / "images", 40), denoising.STUDY),
        tmp_path / "restored" / "003.png",
    )
    assert denoising.restore_noisy_folder(given) == 0
    written.write_bytes(b"")
    assert denoising.restore_noisy_folder(given) == 0
    assert written.read_bytes()
    Denoiser.load(tmp_path / "denoiser.safetensors")
    torch.save({}, tmp_path / "denoiser.safetensors")  # of another program
    with pytest.raises(InputError, match=r"denoiser\.safetensors exists already and was not written by this command"):
        denoising.restore_noisy_folder(given)
