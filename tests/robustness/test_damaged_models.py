"""Files of trained stacks: no flipped bit is taken for what was written, and no value that would make the model tell nothing."""

from __future__ import annotations

import random
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from stacked import InputError, RunSpec, StackSpec, load_classifier, load_encoder, load_stack, save_stack
from stacked.apps.anomaly import Detector
from stacked.apps.codec.codec import Codec
from stacked.apps.denoise import Denoiser
from stacked.model.classifier import Classifier, save_classifier
from stacked.model.encoder import save_encoder
from stacked.model.tensor_file import SEAL, read, to_bytes
from stacked.spec import Budget, Optimisation
from studies.record import samples
from tests.helpers.refused import refusal

SPEC = RunSpec(
    stack=StackSpec.of("conv", 2, 3),
    budget=Budget((3.0,), 3.0, "updates"),
    optimisation=Optimisation(batch_size=16),
)
SHAPE = (1, 8, 8)
LOAD: dict[str, Callable[[Path], Any]] = {
    "classifier": load_classifier,
    "encoder": load_encoder,
    "stack": load_stack,
    "detector": Detector.load,
    "denoiser": Denoiser.load,
    "codec": Codec.load,
}


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randint(0, 256, (60, *SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def kept(images: Tensor, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A file of each kind."""
    folder = tmp_path_factory.mktemp("kept")
    paths = {kind: folder / f"{kind}.safetensors" for kind in LOAD}
    detector = Detector(SPEC, false_alarms=0.1).fit(images)
    assert detector.stack is not None
    detector.save(paths["detector"])
    save_encoder(paths["encoder"], detector.stack, SPEC.stack)
    save_classifier(paths["classifier"], Classifier(detector.stack, ("a", "b")), SPEC.stack)
    save_stack(detector.stack, paths["stack"])
    Denoiser(SPEC).fit(images).save(paths["denoiser"])
    Codec(detector.stack, SPEC.stack, images).save(paths["codec"])
    return paths


def refused(kind: str, path: Path) -> str:
    """The one line in which a file is refused."""
    with pytest.raises(InputError) as error:
        LOAD[kind](path)
    message = str(error.value)
    assert message.startswith(f"{path} is not a")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("kind", LOAD)
def test_every_flipped_bit_is_refused(kind: str, kept: dict[str, Path], tmp_path: Path) -> None:
    whole = kept[kind].read_bytes()
    name = whole.index(SEAL.encode())
    bits = {8 * name + bit for bit in range(8 * len(SEAL))}  # without its name there would be no checksum
    bits |= set(random.Random(0).sample(range(8 * len(whole)), 200))
    bits |= set(random.Random(1).sample(range(8 * (8 + int.from_bytes(whole[:8], "little"))), 50))
    for bit in sorted(bits):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        (tmp_path / "x").write_bytes(damaged)
        refused(kind, tmp_path / "x")


@pytest.mark.parametrize("kind", LOAD)
def test_every_cut_is_refused(kind: str, kept: dict[str, Path], tmp_path: Path) -> None:
    whole = kept[kind].read_bytes()
    for length in [0, 1, 7, 8, 9, *range(10, len(whole), len(whole) // 30), len(whole) - 1]:
        (tmp_path / "x").write_bytes(whole[:length])
        refused(kind, tmp_path / "x")
    (tmp_path / "x").write_bytes(whole + b"\0")
    refused(kind, tmp_path / "x")
    assert "Is a directory" in refused(kind, tmp_path)


@pytest.mark.parametrize("kind", LOAD)
def test_files_without_a_checksum_load_with_a_warning(kind: str, kept: dict[str, Path], tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        LOAD[kind](kept[kind])
    tensors, texts, sealed = read(kept[kind])
    assert sealed
    save_file(tensors, tmp_path / "old", texts)
    with pytest.warns(UserWarning, match="has no checksum"):
        LOAD[kind](tmp_path / "old")
    save_file(tensors, tmp_path / "odd", texts | {"rha256": "0" * 64})
    assert "rha256" in refused(kind, tmp_path / "odd")


def test_the_codec_of_the_record_loads() -> None:
    path = Path(__file__).parents[2] / "results" / "compression" / "mnist" / "codec.safetensors"
    with pytest.warns(UserWarning, match="has no checksum"):
        assert len(Codec.load(path).identity) == 8


def test_equal_models_are_equal_bytes(kept: dict[str, Path], tmp_path: Path) -> None:
    for kind, path in kept.items():
        tensors, texts, _ = read(path)
        backwards = dict(reversed(texts.items()))
        assert {to_bytes(tensors, texts), to_bytes(tensors, backwards)} == {path.read_bytes()}, kind


def changed(path: Path, name: str, change: Callable[[Tensor], Tensor], to: Path) -> None:
    """The file with another tensor, and the checksum that goes with it."""
    tensors, texts, _ = read(path)
    assert name in tensors
    to.write_bytes(to_bytes(tensors | {name: change(tensors[name])}, texts))


def with_first(value: float) -> Callable[[Tensor], Tensor]:
    def change(tensor: Tensor) -> Tensor:
        changed = tensor.clone()
        changed.view(-1)[0] = value
        return changed

    return change


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        *(("encoder", name, value) for name in ("0.weight", "1.running_mean") for value in (NAN, INF)),
        ("encoder", "1.running_var", -1.0),
        ("stack", "stages.0.encoder.0.weight", NAN),
        ("stack", "stages.1.decoder.1.running_var", -0.5),
        ("denoiser", "stages.0.encoder.0.weight", NAN),
        ("denoiser", "stages.1.decoder.1.running_var", -0.5),
        ("detector", "stack.stages.0.encoder.0.weight", NAN),
        *(("detector", name, value) for name in ("mean", "precision", "held") for value in (NAN, INF, -INF)),
        *(("detector", name, -1.0) for name in ("held", "precision")),
        ("codec", "stack.stages.0.encoder.0.weight", NAN),
        *(("codec", "mean", value) for value in (NAN, INF)),
        *(("codec", "steps", value) for value in (NAN, 0.0, -1.0)),
    ],
)
def test_values_of_no_use_are_refused(
    kind: str, name: str, value: float, kept: dict[str, Path], tmp_path: Path
) -> None:
    changed(kept[kind], name, with_first(value), tmp_path / "x")
    assert "checksum" not in refused(kind, tmp_path / "x")


@pytest.mark.parametrize("part", [0, 1])
@pytest.mark.parametrize("value", [0.0, 0.5])
def test_calibration_images_that_all_score_alike_are_refused(
    part: int, value: float, kept: dict[str, Path], tmp_path: Path
) -> None:
    """As all errors, or all densities, then are equal, nothing can be ranked by the larger of the two."""

    def alike(held: Tensor) -> Tensor:
        held = held.clone()
        held[part] = value
        return held

    changed(kept["detector"], "held", alike, tmp_path / "x")
    assert "score 'both' is not defined" in refused("detector", tmp_path / "x")


@pytest.mark.parametrize(
    ("kind", "name", "text"),
    [
        *(("denoiser", "corruption", text) for text in ("null", "[]", "0.5", "true")),
        *(("detector", name, "1e-320") for name in ("false_alarms", "held_out")),
    ],
)
def test_other_headers_are_refused(kind: str, name: str, text: str, kept: dict[str, Path], tmp_path: Path) -> None:
    tensors, texts, _ = read(kept[kind])
    (tmp_path / "x").write_bytes(to_bytes(tensors, texts | {name: text}))
    assert "is not allowed" in refused(kind, tmp_path / "x")


def test_no_flipped_bit_changes_kept_pictures(tmp_path: Path) -> None:
    """Of .npz files: some bits of an archive, such as those of its dates, say nothing of what is in it."""
    arrays = {"images": np.arange(50, dtype=np.uint8), "error": np.linspace(0, 1, 7)}
    samples.save_arrays(tmp_path, "joint", arrays)
    [path] = (tmp_path / samples.FOLDER).iterdir()
    whole = path.read_bytes()
    for bit in random.Random(2).sample(range(8 * len(whole)), 300):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        found, message = refusal(lambda: samples.load_arrays(tmp_path))
        assert found or message.startswith(f"{path} cannot be read (")
        for name in (found or {}).get("joint", {}):
            assert np.array_equal(found["joint"][name], arrays[name]), bit


def test_a_denoiser_of_ones_own_may_be_written_over_when_it_is_damaged(kept: dict[str, Path], tmp_path: Path) -> None:
    from stacked.apps.denoise import FORMAT
    from stacked.model.model_file import kind_of

    shutil.copy(kept["denoiser"], tmp_path / "x")
    (tmp_path / "x").write_bytes((tmp_path / "x").read_bytes()[:-1] + b"\x01")
    assert kind_of(tmp_path / "x") == FORMAT
