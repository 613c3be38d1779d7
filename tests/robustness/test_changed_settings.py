"""Settings of a record (JSON) that were changed after they were written: a changed value is noticed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stacked import RunSpec
from stacked.spec import Budget
from stacked.util.errors import InputError
from studies.record import runs as record
from studies.statistics.checksums import object_text
from studies.statistics.reading import json_object
from studies.statistics.rows import load_reference
from tests.helpers.refused import refusal

READERS: dict[str, Callable[[Path], Any]] = {
    "configuration.json": record.recorded,
    "budgets.json": record.load_budgets,
    "reference.json": load_reference,
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made")
    record.prepare(out, RunSpec(), "flops", "d1")
    record.save_budgets(out, {arm: Budget((3, 4, 5, 6), 7, "updates") for arm in ("greedy", "joint")})
    (out / "reference.json").write_text(object_text({"pca_mse": 0.1, "mean_sse": 5.0, "train_labels": 3}))
    return out


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("out")


@pytest.mark.robustness
@pytest.mark.parametrize("name", list(READERS))
@given(data=st.data())
def test_every_flipped_bit_is_noticed_or_harmless(name: str, made: Path, out: Path, data: st.DataObject) -> None:
    content = bytearray((made / name).read_bytes())
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    content[bit // 8] ^= 1 << bit % 8
    (out / name).write_bytes(content)
    found, refused = refusal(lambda: READERS[name](out))
    assert refused.startswith(str(out / name)) if found is None else found == READERS[name](made)


@pytest.mark.parametrize(("name", "old", "new"), [("budgets.json", " 4", " 5"), ("reference.json", "0.1", "0.2")])
def test_a_changed_value_is_noticed(name: str, old: str, new: str, made: Path, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text((made / name).read_text().replace(old, new, 1))
    stored, expected = json.loads(path.read_text())["checksum"], checksum(path)
    with pytest.raises(InputError) as raised:
        READERS[name](tmp_path)
    assert str(raised.value) == (
        f"{path} was changed: its checksum is {stored!r} and should be {expected!r}. Restore it, or, if you changed it on "
        "purpose, remove 'checksum'"
    )


@pytest.mark.parametrize("name", list(READERS))
def test_a_file_without_a_checksum_is_read(name: str, made: Path, tmp_path: Path) -> None:
    values = json.loads((made / name).read_text())
    del values["checksum"]
    (tmp_path / name).write_text(json.dumps(values))
    assert READERS[name](tmp_path) == READERS[name](made)
    (tmp_path / name).write_text((made / name).read_text().replace("checksum", "checksun"))
    with pytest.raises(InputError, match="has the key 'checksun' in the place of 'checksum': restore it"):
        READERS[name](tmp_path)


def test_the_order_of_keys_and_spaces_do_not_matter(made: Path, tmp_path: Path) -> None:
    values = json.loads((made / "budgets.json").read_text())
    (tmp_path / "budgets.json").write_text(json.dumps(dict(reversed(values.items()))))
    assert record.load_budgets(tmp_path) == record.load_budgets(made)


def checksum(path: Path) -> str:
    """The checksum that the values of a file should have."""
    values = json.loads(path.read_text())
    del values["checksum"]
    return str(json.loads(object_text(values))["checksum"])


def test_a_checksum_is_no_setting(made: Path) -> None:
    assert "checksum" not in json_object(made / "configuration.json")
    record.prepare(made, RunSpec(), "flops", "d1")  # the same configuration: nothing is refused
