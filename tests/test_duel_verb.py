"""duel: what the verb refuses, and how it copies code and treats failures, without a real run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import sweep_files
from speedrun import cli, interleave, schema
from speedrun.cli import venue
from speedrun.files import SpeedrunError
from speedrun.schema import Outcome
from speedrun.stages import duel
from speedrun.stages.duel.conclusion import Settings

TRACK = sweep_files.TRACK
FACTS = {"hardware": "cpu", "sandbox": "none", "decisions": "reviews/x.yaml", "rules": []}


def test_the_copy_is_of_the_code_alone_and_is_made_once(tmp_path: Path) -> None:
    source = tmp_path / "mine"
    (source / "__pycache__").mkdir(parents=True)
    for name in ("train.py", "record.yaml", "__pycache__/x.pyc"):
        (source / name).write_text(name)
    (source / "away").symlink_to("/etc")
    frozen = venue.freeze(source, tmp_path / "frozen")
    assert sorted(one.name for one in frozen.iterdir()) == ["away", "train.py"]
    assert (frozen / "away").is_symlink()
    (frozen / "train.py").write_text("tampered with")
    assert (venue.freeze(source, tmp_path / "frozen") / "train.py").read_text() == "train.py"
    (source / "train.py").write_text("edited")
    assert venue.freeze(source, tmp_path / "frozen") != frozen


def test_what_cannot_be_copied_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    os.mkfifo(tmp_path / "mine" / "pipe")
    with pytest.raises(SpeedrunError, match="cannot be copied"):
        venue.freeze(tmp_path / "mine", tmp_path / "frozen")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["r01", "r99", "--track", "nano"], "'r99' is neither a folder nor a record of nano"),
        (["r01", "r002", "--track", "nano"], "record of nano; nearest is 'r02' (r01, "),
        (["r01", ".", "--track", "nano"], "has no train.py"),
        (["r01", "r02", "--track", "nono"], "nearest is 'nano'"),
        (["r01", "r02", "--track", "nano", "--set", "hardware.threads=2"], "hardware.threads=1"),
        (["r12", "r13", "--track", "nanogpt"], "needs an NVIDIA GPU"),
        ([".", ".", "--track", "nanogpt"], "say with --task"),
        (["r01"], "arguments are required: B"),
        (["r01", "r02", "--rounds", "many"], "invalid int value"),
    ],
)
def test_what_cannot_be_run_is_refused_with_exit_code_1(
    words: list[str],
    said: str,
    repository: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["duel", *words, "--repository", str(repository)]) == 1
    assert said in capsys.readouterr().err
    assert not (tmp_path / "store").exists()


def test_a_record_that_fails_as_a_is_an_error_and_a_folder_is_a_result(tmp_path: Path) -> None:
    def run(solution: Path, entry: str, out: Path, seed: int, cpu: int | None) -> Any:
        failed = solution.name == "a"
        outcome = Outcome.CANDIDATE_ERROR if failed else Outcome.OK
        found = sweep_files.analysis(outcome, None if failed else 5.0)
        return schema.RunExit(ran=True, reason="exited", cpu_total_s=6.0), found

    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.py").write_text(name)

    def fight(trusted: bool) -> dict[str, Any]:
        sides = duel.Side("a", tmp_path / "a", trusted), duel.Side("b", tmp_path / "b")
        out = tmp_path / "duel.json"
        settings = Settings(rounds=2)
        return duel.duel(TRACK, sides, run, tmp_path / "store", out, settings, "d", FACTS)

    with pytest.raises(SpeedrunError, match="record start failed"):
        fight(trusted=True)
    result = fight(trusted=False)
    assert result["verdict"] == "invalid" and result["sentence"].startswith("invalid: A failed")
    assert "failed" in duel.text(result)


def test_rounds_and_seeds_are_shared_by_both_sides(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    members = [interleave.member(name, tmp_path / name, trusted=False) for name in "ab"]
    planned = interleave.plan_block(members, "train.py", 20, 2, 0, "")
    firsts = {turn.order[0].name for turn in planned.rounds}
    assert firsts == {"a", "b"} and len({turn.seed for turn in planned.rounds}) == 20
