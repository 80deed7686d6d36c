"""upstream_git: a real repository read in place, or mirrored in part over file:// remotes."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from speedrun import files
from speedrun.adapters import git_command, upstream_git
from speedrun.files import SpeedrunError
from upstream_mirror import opened, packs, url
from upstream_repo import UNRELATED, Built, History, build, without_blob
from upstream_rows import R12

NOWHERE = "a" * 40
README = "README.md"


@pytest.fixture(params=["in place", "mirrored"])
def both(request: pytest.FixtureRequest, built: Built, tmp_path: Path) -> Iterator[object]:
    """The same repository, read in place and through a mirror."""
    where = str(built.repository) if request.param == "in place" else url(built)
    return opened(built, where, tmp_path)  # type: ignore[return-value]


def test_trees_and_files_are_those_of_the_commit(
    both: upstream_git.GitRepository, built: Built
) -> None:
    folder = "records/track_1_short/2026-05-27-MuddGated"
    logs = [path for path in built.logs if path.startswith(folder)]
    assert both.tree(built.commit, folder) == sorted(logs) and len(logs) == 3
    assert both.tree(built.commit, folder[:-1]) == []  # a prefix of a name is no folder
    assert set(built.logs) < set(both.tree(built.commit, "records"))
    assert both.read(built.commit, "train_gpt.py").decode().startswith(R12["train_gpt.py"])
    wanted = list(reversed(built.logs))
    read = list(both.read_many(built.commit, wanted))
    assert read == [(path, built.logs[path].content()) for path in wanted]


def test_the_merge_is_not_the_timed_source(both: upstream_git.GitRepository, built: Built) -> None:
    merged = both.read(built.merge, "train_gpt.py").decode()
    assert merged != built.sources["r09"]["train_gpt.py"] and "import time" not in merged


def test_what_cannot_be_read_is_named(both: upstream_git.GitRepository, built: Built) -> None:
    moved = "records/old/8384493d.txt"
    reasons = both.unreadable(built.commit, [README, "nothing.txt", moved])
    assert list(reasons) == ["nothing.txt", moved]
    assert "it was moved to records/track_1_short/2024-11-19_FlexAttention" in reasons[moved]
    assert "correct the registry's path" in reasons["nothing.txt"]
    with pytest.raises(SpeedrunError, match=r"nothing\.txt is not in commit"):
        list(both.read_many(built.commit, [README, "nothing.txt"]))


def test_a_wrong_commit_is_one_clear_line(built: Built, tmp_path: Path) -> None:
    for where in (str(built.repository), url(built)):
        with pytest.raises(SpeedrunError, match="correct the registry's commit") as caught:
            upstream_git.open_repository(where, tmp_path / "m.git", [NOWHERE])
        assert NOWHERE in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "m.git").exists()
    for commit in ("f411b3d", "--upload-pack=touch", "master", ""):
        with pytest.raises(SpeedrunError, match="is no full commit id"):
            upstream_git.open_repository(str(built.repository), tmp_path / "m.git", [commit])


def test_what_is_no_repository_is_said(built: Built, tmp_path: Path) -> None:
    within = tmp_path / "project" / "folder"  # a folder in a repository is none itself
    within.mkdir(parents=True)
    subprocess.run(["git", "init", "-q", str(within.parent)], check=True)
    for where, said in [
        (str(within), "is no git repository"),
        (str(tmp_path / "gone"), "is no folder and no URL"),
        ((tmp_path / "gone").as_uri(), "does not appear to be a git repository"),
        ("https://127.0.0.1:9/nothing", "check the address and the network"),
        ("--upload-pack=touch://x", "is no URL"),
    ]:
        with pytest.raises(SpeedrunError, match=said) as caught:
            opened(built, where, tmp_path)
        assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.glob("*mirror*")] == ["mirror.git.lock"]
    (tmp_path / "mirror.git").mkdir()
    with pytest.raises(SpeedrunError, match="is no git mirror: delete it"):
        opened(built, url(built), tmp_path)


# --- in place ----------------------------------------------------------------------------------
def test_a_local_clone_is_read_without_a_write(tmp_path: Path) -> None:
    built = build(tmp_path)
    before = files.digest_tree(built.repository)
    for path in [built.repository, *built.repository.rglob("*")]:
        path.chmod(path.stat().st_mode & ~0o222)
    repository = opened(built, str(built.repository), tmp_path)
    assert len(list(repository.read_many(built.commit, built.logs))) == len(built.logs)
    assert files.digest_tree(built.repository) == before
    assert not list(tmp_path.glob("mirror*"))
    for path in [built.repository, *built.repository.rglob("*")]:
        path.chmod(path.stat().st_mode | 0o200)


def test_a_clone_with_a_work_tree_is_read_too(built: Built, tmp_path: Path) -> None:
    clone = tmp_path / 'clone with a "quote": and a colon'
    subprocess.run(["git", "clone", "-q", str(built.repository), str(clone)], check=True)
    repository = opened(built, str(clone), tmp_path)
    assert repository.read(built.commit, "LICENSE") == b"MIT\n"
    assert upstream_git.resolve(str(clone), tmp_path, "origin/next") == built.newer


def test_a_missing_blob_hurts_only_where_it_is_needed(tmp_path: Path) -> None:
    built = build(tmp_path)
    without_blob(built, UNRELATED)
    plain = ["git", "clone", "-q", built.repository.as_uri(), str(tmp_path / "clone")]
    assert subprocess.run(plain, capture_output=True, check=False).returncode != 0
    repository = opened(built, str(built.repository), tmp_path)
    assert not repository.unreadable(built.commit, built.logs)
    with pytest.raises(SpeedrunError, match=r"its content \(blob .*\) is missing there"):
        repository.read(built.commit, UNRELATED)


def test_a_partial_clone_is_not_made_to_fetch(built: Built, tmp_path: Path) -> None:
    clone = tmp_path / "partial.git"
    subprocess.run(
        ["git", "clone", "-q", "--bare", "--filter=blob:none", url(built), str(clone)], check=True
    )
    before = files.digest_tree(clone)
    repository = opened(built, str(clone), tmp_path)
    with pytest.raises(SpeedrunError, match="is missing there: give a complete clone"):
        repository.read(built.commit, README)
    assert files.digest_tree(clone) == before


def test_an_object_that_is_no_object_is_said(tmp_path: Path) -> None:
    built = build(tmp_path)
    found = git_command.run("--git-dir", str(built.repository), "rev-parse", f"master:{README}")
    name = found.decode().strip()
    damaged = built.repository / "objects" / name[:2] / name[2:]
    damaged.chmod(0o644)
    damaged.write_bytes(damaged.read_bytes()[:-200])
    repository = opened(built, str(built.repository), tmp_path)
    with pytest.raises(SpeedrunError, match="git fsck") as caught:
        repository.read(built.commit, README)
    assert name[:12] in str(caught.value) and "\n" not in str(caught.value)


def test_users_settings_change_nothing(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hook, a replaced object, an address rewritten: nothing of the user's git counts."""
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(
        f'[url "{tmp_path}/nowhere/"]\n\tinsteadOf = file://\n[core]\n\thooksPath = {home}\n'
    )
    hook = home / "reference-transaction"
    hook.write_text(f"#!/bin/sh\ntouch {home}/ran\n")
    hook.chmod(0o755)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(home / ".gitconfig"))
    repository = opened(built, url(built), tmp_path)
    assert repository.read(built.commit, "LICENSE") == b"MIT\n"
    assert not (home / "ran").exists()


def test_a_damaged_mirror_says_to_delete_it(built: Built, tmp_path: Path) -> None:
    repository = opened(built, url(built), tmp_path)
    repository.prefetch({built.commit: [README]})
    for pack in (tmp_path / "mirror.git" / "objects" / "pack").glob("*.pack"):
        pack.chmod(0o644)
        pack.write_bytes(pack.read_bytes()[:-60])
    advice = f"delete {tmp_path / 'mirror.git'} and run again"
    with pytest.raises(SpeedrunError, match=re.escape(advice)):
        opened(built, url(built), tmp_path)
    with pytest.raises(SpeedrunError, match=re.escape(advice)):
        list(repository._contents([repository._files(built.commit)[README]]))


# --- the mirror --------------------------------------------------------------------------------
def test_contents_are_fetched_in_bulk_and_once(built: Built, tmp_path: Path) -> None:
    repository = opened(built, url(built), tmp_path)
    mirror = tmp_path / "mirror.git"
    assert len(packs(mirror)) == 3  # history: pack, index, promisor
    assert len(list(repository.read_many(built.commit, built.logs))) == len(built.logs)
    assert len(packs(mirror)) == 6  # one request for all logs
    assert repository.prefetch({built.commit: [*built.logs, README]}) == 1
    assert repository.prefetch({built.commit: [*built.logs, README]}) == 0
    assert UNRELATED in repository.tree(built.commit, "records")
    assert repository._absent({repository._files(built.commit)[UNRELATED]})  # nobody asked for it


def test_the_second_run_needs_no_network(tmp_path: Path) -> None:
    built = build(tmp_path)
    opened(built, url(built), tmp_path).prefetch({built.commit: [README]})
    shutil.rmtree(built.repository)
    again = opened(built, url(built), tmp_path)
    assert again.read(built.commit, README).startswith(b"# A speedrun")
    with pytest.raises(SpeedrunError, match=r"fetching 1 files .* failed"):
        again.read(built.commit, "LICENSE")


def test_a_damaged_remote_gives_what_it_has(tmp_path: Path) -> None:
    built = build(tmp_path)
    for path in (UNRELATED, README):
        without_blob(built, path)
    repository = opened(built, url(built), tmp_path)
    reasons = repository.unreadable(built.commit, [README, UNRELATED, "LICENSE", *built.logs])
    assert set(reasons) == {README, UNRELATED}
    assert all("is missing there" in reason for reason in reasons.values())
    assert repository.read(built.commit, "LICENSE") == b"MIT\n"


def test_a_remote_without_partial_clones_gives_all(tmp_path: Path) -> None:
    built = build(tmp_path)
    (built.repository / "config").write_text("[core]\n\tbare = true\n")
    repository = opened(built, url(built), tmp_path)
    assert repository.prefetch({built.commit: [README, *built.logs]}) == 0
    without_blob(built, UNRELATED)
    with pytest.raises(SpeedrunError, match=r"set uploadpack\.allowFilter there"):
        opened(built, url(built), tmp_path / "second")
    assert [path.name for path in (tmp_path / "second").iterdir()] == ["mirror.git.lock"]


def test_a_newer_commit_is_fetched_when_it_is_asked_for(tmp_path: Path) -> None:
    built = build(tmp_path)
    repository = opened(built, url(built), tmp_path)
    newer = History(built.repository, day=99).commit("master", {"new.txt": "new\n"}, built.commit)
    assert repository.read(newer, "new.txt") == b"new\n"
    mirror = tmp_path / "mirror.git"
    assert upstream_git.resolve(url(built), mirror, "next") == built.newer
    assert upstream_git.resolve(url(built), mirror, "HEAD") == newer
    assert upstream_git.resolve(str(built.repository), mirror, "next") == built.newer
    for where in (url(built), str(built.repository)):
        for name in ("no-such-branch", "--exec=touch"):
            with pytest.raises(
                SpeedrunError, match=r"such branch or commit|no commit or branch|names no"
            ):
                upstream_git.resolve(where, mirror, name)


def test_another_address_takes_the_old_ones_place(tmp_path: Path) -> None:
    built = build(tmp_path)
    opened(built, url(built), tmp_path)
    moved = built.repository.rename(tmp_path / "moved.git")
    repository = opened(built, moved.as_uri(), tmp_path)
    assert repository.read(built.commit, "LICENSE") == b"MIT\n"
