"""Which code a record says it was made by: the checkout that the package runs from, and no other repository."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from stacked.runtime import environment
from stacked.runtime.environment import code_identity

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


def git(folder: Path, *words: str) -> str:
    """What git says in a folder, with an author and without this machine's configuration."""
    surroundings = {
        **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
        **{f"GIT_{who}_{what}": "a@b" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
        "GIT_CONFIG_GLOBAL": os.devnull,
    }
    words = ("git", "-C", str(folder), *words)
    return subprocess.run(words, capture_output=True, text=True, check=True, env=surroundings).stdout.strip()


def repository(folder: Path, *tracked: str) -> str:
    """Make a repository with these files, committed; returns the commit."""
    for name in tracked:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "first")
    return git(folder, "rev-parse", "HEAD")


def installed(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let the package lie in a folder."""
    path = folder / "stacked" / "runtime" / "environment.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    monkeypatch.setattr(environment, "__file__", str(path))


def test_the_commit_is_that_of_the_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = repository(tmp_path, "stacked/runtime/environment.py", "studies/study.py")
    installed(monkeypatch, tmp_path)
    assert code_identity() == (commit, False)
    (tmp_path / "studies" / "study.py").write_text("changed")
    assert code_identity() == (commit, True)


def test_a_checkout_that_is_reached_by_a_link_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "checkout").mkdir()
    commit = repository(tmp_path / "checkout", "stacked/runtime/environment.py")
    (tmp_path / "link").symlink_to("checkout")
    installed(monkeypatch, tmp_path / "link")
    assert code_identity() == (commit, False)


@pytest.mark.parametrize("where", [".", ".venv/lib/python3/site-packages"])
def test_a_repository_that_the_package_merely_lies_in_is_not_ours(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wheel, installed into a virtual environment in a project's folder, or by `pip install --target` beside its files."""
    repository(tmp_path, "theirs.py")
    installed(monkeypatch, tmp_path / where)
    assert code_identity() == ("unknown", False)


def test_a_package_that_another_project_keeps_in_a_folder_of_its_own_is_not_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository(tmp_path, "vendor/stacked/runtime/environment.py", "theirs.py")
    installed(monkeypatch, tmp_path / "vendor")
    assert code_identity() == ("unknown", False)


def test_outside_of_any_repository_it_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert code_identity() == ("unknown", False)


def test_a_hook_of_another_repository_does_not_lend_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Git tells hooks, and what they start, where their repository is."""
    for name in ("ours", "theirs"):
        (tmp_path / name).mkdir()
    commit = repository(tmp_path / "ours", "stacked/runtime/environment.py")
    repository(tmp_path / "theirs", "stacked/runtime/environment.py", "another.py")
    installed(monkeypatch, tmp_path / "ours")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "theirs" / ".git"))
    assert code_identity() == (commit, False)
