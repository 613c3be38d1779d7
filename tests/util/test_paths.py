"""What is recorded does not tell where on the machine files lie."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stacked.util.paths import command_without_folders, without_folders, without_login, without_logins


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[Errno 28] No space left: '/home/alice/my runs/x.jsonl'", "[Errno 28] No space left: 'x.jsonl'"),
        ("/home/alice/out/README.md cannot be written (full): choose", "README.md cannot be written (full): choose"),
        ("another process trains it in /srv/alice/work/4a: wait", "another process trains it in 4a: wait"),
        ("copy (/a/b/c.png), /a/b/d.png; [/a/b/e]", "copy (c.png), d.png; [e]"),
        ("--store=/home/alice/runs", "--store=runs"),
        ("folder:/home/alice/photos is", "folder:photos is"),
        ("/home/alice/", "alice"),
        ("sqlite:////home/alice/mlflow.db is locked", "sqlite:///mlflow.db is locked"),
        ("file:///home/alice/artifacts", "file:///artifacts"),
        ("http://127.0.0.1:5000/api/2.0/runs failed", "http://127.0.0.1:5000/api/2.0/runs failed"),
        ("https://alice:secret@mlflow.org:80/api/x?y=/z failed", "https://mlflow.org:80/api/x failed"),
        (
            "eval/recon_mse and 1/12, ../a/b, ./a/b, a/b/c, and / or",
            "eval/recon_mse and 1/12, ../a/b, ./a/b, a/b/c, and / or",
        ),
        ("the loss became nan in phase 'stage 1'", "the loss became nan in phase 'stage 1'"),
    ],
)
def test_absolute_paths_are_reduced_to_their_last_part(text: str, said: str) -> None:
    assert without_folders(text) == said


def test_folders_that_are_known_may_have_spaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "alice (smith), 2"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    assert without_folders(f"{home}/runs/a.csv is gone from {home}") == "a.csv is gone from alice (smith), 2"
    monkeypatch.delenv("HOME")
    known = "/srv/of alice/the store/work"
    text = "/srv/of alice/the store/work/1/x.json and /srv/of alice/the store, /srv/of alice/y and /srv/other"
    assert without_folders(text, known) == "x.json and the store, y and other"


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("postgresql://alice:secret@db.org:5432/runs?password=secret", "postgresql://db.org:5432/runs"),
        ("postgresql://alice:se/cr#e?t@db.org:5432/runs", "postgresql://db.org:5432/runs"),
        ("http://alice:se/cret@h:5000", "http://h:5000"),
        ("http://[::1]:5000/x", "http://[::1]:5000/x"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("sqlite:////srv/mlflow.db", "sqlite:////srv/mlflow.db"),
        ("local", "local"),
        ("https://h/x#token=abc", "https://h/x"),
        ("http://alice:secret@[x", "http://[x"),
        ("a://alice@℀x", "a://℀x"),
    ],
)
def test_an_address_is_told_without_its_login(address: str, told: str) -> None:
    assert without_login(address) == told
    assert without_logins(f"got '{address}', and no more") == f"got '{told}', and no more"


@pytest.mark.parametrize("password", ["secret", "se'cr)et", 'se"cr et', "se/cr?e#t"])
def test_a_command_has_no_login(password: str) -> None:
    address = f"postgresql://alice:{password}@db.org/runs"
    found = command_without_folders(["python", "--store", address, f"--store={address}"])
    assert found == "python --store postgresql://db.org/runs --store=postgresql://db.org/runs"


def test_a_command_keeps_its_words() -> None:
    words = ["python", "-m", "studies.x", "--store", "/home/alice smith/runs", "--data=folder:/home/alice/my photos"]
    words += ["--config", "~/my.yaml", "--out", "results/here", "--stack", "{init: he}", "--level", "0.1+0.2"]
    assert command_without_folders(words) == (
        "python -m studies.x --store runs '--data=folder:my photos' --config my.yaml --out results/here --stack '{init: he}' "
        "--level 0.1+0.2"
    )
    assert command_without_folders(["--data", "amat:/home/alice/rect"]) == "--data amat:rect"
    assert command_without_folders(["--data", "folder:../alice/my photos", "--data-dir=a/../../alice"]) == (
        "--data 'folder:my photos' --data-dir=alice"
    )
    assert os.sep == "/"
