"""speedrun review by hand: any folder against a task's start, and a person's word on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from speedrun import cli, files
from speedrun.stages.review import decisions

ROOT = Path(__file__).parents[1]
FORKS = "\nimport os\n\nif os.fork():\n    os._exit(0)\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A task of two nano records, and a solution that forks."""
    monkeypatch.chdir(tmp_path)
    records = ROOT / "tracks" / "nano" / "records"
    for record, place in (("r01", "public/start"), ("r02", "private/target")):
        code = (records / record / "train.py").read_text(encoding="utf-8")
        files.write_tree(Path("results/tasks/nano/r01-r02", place), {"train.py": code})
        files.write_tree(Path(record), {"train.py": code})
    files.write_tree(Path("mine"), {"train.py": Path("r01/train.py").read_text() + FORKS})
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], *words: str, solution: str = "mine") -> str:
    given = ["--solution", solution, "--task", "r01-r02", "--track", "nano"]
    assert cli.main(["review", *given, "--repository", str(ROOT), *words]) == 0
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *words: str, solution: str = "mine") -> str:
    given = ["--solution", solution, "--task", "r01-r02", "--track", "nano"]
    assert cli.main(["review", *given, "--repository", str(ROOT), *words]) == 1
    return capsys.readouterr().err


@pytest.mark.parametrize("record", ["r01", "r02"])
def test_a_records_own_code_has_nothing(
    folder: Path, record: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "nothing is new against the start" in said(capsys, solution=record)


def test_findings_are_a_table_with_places(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = said(capsys).splitlines()
    assert lines[0].split() == ["state", "rule", "place", "key", "what"]
    assert any(line.startswith("open   process  train.py:") for line in lines[1:])
    assert lines[-1].startswith("no decision on this code yet (reviews/nano/")


def test_a_violation_stands_in_the_table(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Path("mine/train.py").open("a") as file:
        file.write("import socket\n")
    assert "violation  network  train.py:" in said(capsys)


def test_a_cumulative_trials_own_start_is_seen(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the workflow sees it: a breach that the trial began with is a flag."""
    breach = {"train.py": Path("r01/train.py").read_text() + "\nimport socket\n"}
    files.write_tree(Path("s0/node_1/solution"), breach)
    assert "violation  network" in said(capsys, solution="s0/node_1/solution")
    files.write_tree(Path("s0/start/solution"), breach)
    link = {"from": "a/b/c", "node": 2, "ended": False, "reason": "r"}
    files.write_json(Path("s0/start/chain.json"), link)
    shown = said(capsys, solution="s0/node_1/solution")
    assert "violation" not in shown and "open   network" in shown


def flags(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return RULE:KEY of each flag, as the message of a wrong one lists them."""
    listed = refused(capsys, "--accept", "process:no", "--by", "me", "--reason", "r")
    return listed.partition("there is ")[2].partition("; a violation")[0].split(", ")


def test_a_persons_word_is_written_down_and_shown(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [word for flag in flags(capsys) for word in ("--accept", flag)]
    shown = said(capsys, *asked, "--by", "A. Reader", "--reason", "as upstream")
    assert "[A. Reader: as upstream]" in shown and "open" not in shown
    (place,) = Path("reviews/nano").iterdir()
    assert place.stem == files.digest_tree(Path("mine"))
    assert {one.decision for one in decisions.read(place)} == {"accepted"}
    shown = said(capsys, "--reject", flags(capsys)[0], "--by", "B", "--reason", "it hides work")
    assert "rejected  process" in shown
    assert {one.decision for one in decisions.read(place)} == {"accepted", "rejected"} or len(
        decisions.read(place)
    ) == 1


def test_a_flag_of_the_audit_is_decided_without_a_finding(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said(capsys, "--accept", "audit:untimed_before", "--by", "me", "--reason", "a kernel")
    (place,) = Path("reviews/nano").iterdir()
    assert [one["key"] for one in decisions.on_audit(place)] == ["untimed_before"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--accept", "audit:x", "--by", "me", "--reason", "r"], "audit:untimed_before, audit:"),
        (["--accept", "process:x"], "a decision needs --by NAME and --reason TEXT"),
        (["--reject", "process", "--by", "me", "--reason", "r"], "no flag 'process' here"),
        (["--accept", "network:x", "--by", "me", "--reason", "r"], "a violation is no flag"),
        (["--track", "nono"], "unknown track 'nono'; nearest is 'nano'"),
        (["--task", "r02-r09"], "r02-r09 is missing: run `snakemake"),
    ],
)
def test_a_wrong_word_is_one_line(
    folder: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    error = refused(capsys, *words)
    assert message in error
    assert error.count("\n") == 1
    assert not Path("reviews").exists()


def test_a_folder_without_code_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "results holds no train.py" in refused(capsys, solution="results")
    assert cli.main(["review", "--task", "r01-r02"]) == 1
    assert "give --plan and --out, or the folder" in capsys.readouterr().err


def test_hostile_files_beside_the_code_are_findings(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import os

    os.mkfifo("mine/pipe")
    Path("mine/weights.bin").write_bytes(b"\xff\xfe\x00" * 99)
    Path("mine/passwd").symlink_to("/etc/passwd")
    shown = said(capsys)
    assert shown.count("violation  files") >= 2
