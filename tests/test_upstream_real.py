"""The registry of the nanogpt track against upstream itself: SPEEDRUN_UPSTREAM names a clone."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from speedrun import registry
from speedrun.adapters import upstream_git
from speedrun.cli import main
from speedrun.stages.records import newer, verify

UPSTREAM = os.environ.get("SPEEDRUN_UPSTREAM", "")
pytestmark = [
    pytest.mark.network,
    pytest.mark.skipif(not UPSTREAM, reason="SPEEDRUN_UPSTREAM names no clone of upstream"),
]


@pytest.fixture
def path(repository: Path) -> Path:
    return repository / "tracks" / "nanogpt" / "registry.yaml"


def test_everything_verifies(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["records", "--track", "nanogpt", "--registry", str(path), "--repo", UPSTREAM]
    assert main([*words, "--verify"]) == 0
    assert capsys.readouterr().out == "records 91, tasks 85, strict 82, logs 1053, problems 0\n"


def test_a_registry_pinned_weeks_ago_lists_what_came_since(path: Path, tmp_path: Path) -> None:
    facts = yaml.safe_load(path.read_text(encoding="utf-8"))
    facts["records"] = [one for one in facts["records"] if one["number"] <= 84]
    facts["excluded"] = {}
    pinned, facts["upstream"]["commit"] = (
        facts["upstream"]["commit"],
        facts["records"][-1]["source"]["commit"],
    )
    older = tmp_path / "registry.yaml"
    older.write_text(yaml.safe_dump(facts), encoding="utf-8")
    opened = upstream_git.open_repository(UPSTREAM, tmp_path / "mirror.git", [pinned])
    lines = list(newer.compare(opened, registry.load(older), pinned))
    new = [line.split()[1] for line in lines if line.startswith("new ")]
    assert new == ["85:", "86:", "87:", "88:", "89:"]
    assert not [line for line in lines if line.startswith("gone")]


def test_a_mirror_of_the_sources_alone_gives_every_record(path: Path, tmp_path: Path) -> None:
    """Over file://, as over the network: commits and trees, then all contents at once."""
    facts = registry.load(path)
    served, mirror = (
        _served(tmp_path / "served.git", facts.upstream.commit),
        tmp_path / "mirror.git",
    )
    opened = upstream_git.open_repository(served, mirror, [facts.upstream.commit])
    assert opened.prefetch(verify.source_files(facts)) > 80
    assert len(list((mirror / "objects" / "pack").glob("*.pack"))) == 2
    done = verify.Verified()
    assert len(verify._check_records(opened, facts, None, done)) == done.records == 91


def _served(folder: Path, commit: str) -> str:
    """Return the address of a repository that gives partial clones of the clone's objects."""
    objects = upstream_git.in_place(UPSTREAM)
    if objects is None:
        pytest.skip("SPEEDRUN_UPSTREAM is an address, not a folder")

    def git(*words: str) -> None:
        subprocess.run(["git", "--git-dir", str(folder), *words], check=True, capture_output=True)

    git("init", "--bare", str(folder))
    (folder / "objects" / "info" / "alternates").write_text(f"{objects.objects}\n")
    git("update-ref", "refs/heads/master", commit)
    for key in ("allowFilter", "allowAnySHA1InWant"):
        git("config", f"uploadpack.{key}", "true")
    return folder.as_uri()
